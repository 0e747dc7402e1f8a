-- Schema 5: retention.

-- When the content was let go; NULL while it is kept.
ALTER TABLE arrival ADD COLUMN gone INTEGER;
ALTER TABLE revision ADD COLUMN gone INTEGER;

-- When a later result came out the same last; NULL where none did, or it was before this was kept.
ALTER TABLE revision ADD COLUMN touched INTEGER;

-- History of the flow from before this time was let go.
ALTER TABLE flow ADD COLUMN forgot INTEGER;
