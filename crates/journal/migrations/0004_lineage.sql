-- Schema 4: the way of one item is found whatever else was made of its arrival, and the datasets of a run without all
-- others. Of what was written before, these columns are NULL.

-- The record in which the items were made that this one begins with: of all of them, or (mades) of each of its
-- entries.
ALTER TABLE history ADD COLUMN made INTEGER;
ALTER TABLE history ADD COLUMN mades BLOB;

-- The record in which these items were made, or one behind that.
ALTER TABLE task ADD COLUMN made INTEGER;
ALTER TABLE held ADD COLUMN made INTEGER;
ALTER TABLE letter ADD COLUMN made INTEGER;

-- The record by which it came in.
ALTER TABLE arrival ADD COLUMN seq INTEGER;

-- The last results that equalled it, oldest first, 21 bytes each: format, commit sequence, time, version.
ALTER TABLE revision ADD COLUMN confirmed BLOB;

-- Least and greatest origin of the revisions made in it.
ALTER TABLE run ADD COLUMN least_origin INTEGER;
ALTER TABLE run ADD COLUMN most_origin INTEGER;
