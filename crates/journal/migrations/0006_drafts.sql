-- Drafts: what people work on before it is saved as a version. etag: BLAKE3 of body, which is the API's.
CREATE TABLE draft (
    space INTEGER NOT NULL REFERENCES space,
    slug TEXT NOT NULL,
    name TEXT NOT NULL,
    etag BLOB NOT NULL,
    based_on TEXT,
    changed INTEGER NOT NULL,
    actor TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (space, slug)
) STRICT;
