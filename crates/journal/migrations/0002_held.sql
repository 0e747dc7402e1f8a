-- Schema 2: what aggregates hold, and a queue that is fair between flows.
--
-- The tables for held items of schema 1 were never written to.
DROP TABLE held;
DROP TABLE held_group;

-- Groups of an aggregate, by a hash of its flow's own naming. rule: JSON. version, run: of those who added last. flush:
-- everything in it is to be closed. looks: how many looks there were; looking: one is queued or under way. generation:
-- how often it was closed.
CREATE TABLE held_group (
    id INTEGER PRIMARY KEY,
    flow INTEGER NOT NULL,
    grouping BLOB NOT NULL,
    processor INTEGER NOT NULL,
    input INTEGER NOT NULL,
    rule TEXT NOT NULL,
    version INTEGER NOT NULL,
    run INTEGER NOT NULL,
    items INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    flush INTEGER NOT NULL,
    looks INTEGER NOT NULL,
    looking INTEGER NOT NULL,
    UNIQUE (flow, grouping)
) STRICT;
CREATE INDEX held_group_run ON held_group (run) WHERE items > 0;

-- What is held: rows of items in order, by the order of their first.
CREATE TABLE held (
    grp INTEGER NOT NULL,
    least BLOB NOT NULL,
    id INTEGER NOT NULL,
    items BLOB NOT NULL,
    PRIMARY KEY (grp, least, id)
) STRICT, WITHOUT ROWID;

-- What was taken from a group at each closing: the marks by which a late repeat is known, and who is in what was made.
CREATE TABLE joined (
    grp INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    least BLOB NOT NULL,
    id INTEGER NOT NULL,
    items BLOB NOT NULL,
    PRIMARY KEY (grp, generation, least, id)
) STRICT, WITHOUT ROWID;

ALTER TABLE flow ADD COLUMN held INTEGER NOT NULL DEFAULT 0;

-- flush: at its end all is closed that its items were added to.
ALTER TABLE run ADD COLUMN flush INTEGER NOT NULL DEFAULT 0;

-- Work is taken flow by flow, so that one flow's backlog does not stand before another's item.
DROP INDEX task_queue;
DROP INDEX task_due;
CREATE INDEX task_flow ON task (flow, suspect, due, seq) WHERE lease = 0;
CREATE INDEX flow_busy ON flow (id) WHERE items > 0;
