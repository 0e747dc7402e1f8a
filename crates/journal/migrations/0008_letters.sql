-- Schema 8: dead letters by what went wrong.

-- Dead letters of one flow and processor whose errors differ only in what differs from item to item. key: a hash of all
-- that. code, message: what is the same, with the rest left out. open: how many of them are.
CREATE TABLE letter_group (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    flow INTEGER NOT NULL,
    processor INTEGER NOT NULL,
    code TEXT NOT NULL,
    message TEXT NOT NULL,
    open INTEGER NOT NULL
) STRICT;
CREATE INDEX letter_group_open ON letter_group (id) WHERE open > 0;

-- Its group; those that were there before are put into theirs when the schema is made.
ALTER TABLE letter ADD COLUMN grp INTEGER;
CREATE INDEX letter_of_group ON letter (grp, number) WHERE state = 0;
