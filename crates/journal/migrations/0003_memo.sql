-- What is done again, and what need not be.

-- Historic arrivals that go through a version once more, in a run and a pass of their own. state: 0 feeding, 1 fed, 2
-- stopped. selection: JSON. cursor: how far they were sent in. upto: the last arrival that is meant.
CREATE TABLE reprocess (
    run INTEGER PRIMARY KEY,
    flow INTEGER NOT NULL,
    version INTEGER NOT NULL,
    pass INTEGER NOT NULL,
    state INTEGER NOT NULL,
    selection TEXT NOT NULL,
    cursor INTEGER NOT NULL,
    upto INTEGER NOT NULL,
    taken INTEGER NOT NULL DEFAULT 0,
    gone INTEGER NOT NULL DEFAULT 0,
    context INTEGER NOT NULL,
    actor TEXT NOT NULL
) STRICT;
CREATE INDEX reprocess_open ON reprocess (run) WHERE state = 0;

-- The media type of an arrival, a name; NULL also for those that came before this was kept.
ALTER TABLE arrival ADD COLUMN media INTEGER;

-- A late repeat is looked for near its arrival.
CREATE INDEX joined_least ON joined (grp, least);

-- Results of steps, in the order in which they were remembered. upto: bytes of all that was ever remembered up to here,
-- so that it can be told how much there is without looking at all of it.
CREATE TABLE memo (
    id INTEGER PRIMARY KEY,
    arrival INTEGER NOT NULL,
    key BLOB NOT NULL,
    run INTEGER NOT NULL,
    at INTEGER NOT NULL,
    upto INTEGER NOT NULL,
    result BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX memo_key ON memo (arrival, key);
