-- Schema 11: how often something was tried, apart from how often it was claimed.
--
-- failures: failed tries that use up a retry. waits: waits for the world since the last of these. An intent of an earlier
-- schema begins to count anew.
ALTER TABLE task ADD COLUMN waits INTEGER NOT NULL DEFAULT 0;
ALTER TABLE intent ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
ALTER TABLE intent ADD COLUMN waits INTEGER NOT NULL DEFAULT 0;
