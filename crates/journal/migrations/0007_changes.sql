-- Schema 7: which datasets changed, for those who keep something beside the journal that is made from it.

-- stamp: of whoever follows the changes; NULL where nobody does, and then none are written down.
CREATE TABLE follower (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    stamp BLOB
) STRICT;
INSERT INTO follower (one, stamp) VALUES (1, NULL);

-- Dataset slots that a call changed what is shown of, in the order of commits. upto: bytes of all slots that were ever
-- written here up to this row, so that it can be told how many wait. Let go once they were followed, all but the last:
-- no id is given twice.
CREATE TABLE change (
    id INTEGER PRIMARY KEY,
    upto INTEGER NOT NULL,
    at INTEGER NOT NULL,
    slots BLOB NOT NULL
) STRICT;
