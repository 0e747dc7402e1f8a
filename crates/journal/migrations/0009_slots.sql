-- Schema 9: the names of dataset slots begin with the number in the item's name, so that those of one origin come one
-- after the other. Origins up to this one, all that there were, keep slots that are named by a hash alone: their names
-- are what people have written down.
ALTER TABLE counter ADD COLUMN hashed INTEGER NOT NULL DEFAULT 0;
UPDATE counter SET hashed = arrival;
