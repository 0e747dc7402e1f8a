-- Schema 10: the journal says whose it is: the name of the data directory (the file `instance`), so that it is known
-- again when that file is gone, and so that the content beside it is never judged by another journal. No row until a
-- program of this version has opened it.
CREATE TABLE installation (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    instance TEXT NOT NULL
) STRICT;
