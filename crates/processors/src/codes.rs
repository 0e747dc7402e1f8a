//! What the codes of the kinds' own problems mean, beyond those of `opendmp-model`.

use opendmp_model::diagnostic::codes::CodeInfo;

macro_rules! table {
    ($($code:literal: $explanation:literal;)*) => {
        &[$(CodeInfo { code: $code, explanation: $explanation },)*]
    };
}

/// The table.
pub const CODES: &[CodeInfo] = table! {
    "bad-config": "A kind could not read its config although its schema allows it. The message is the decoder's.";
    "bad-expression": "The condition is not a CEL expression, is too long or nested too deeply, or names something it can't look at. Conditions look at `name`, `size`, `media_type` and `attributes.KEY`.";
    "expression-too-costly": "Conditions are evaluated for every item, beside everything else that the server does, so each has to be quick for any item. This one could take long: its loops are nested or go over what has no known length, it makes long texts or lists, or its pattern is large. Loops go over lists that are written out, and patterns are written out. What needs more is decided by a `script`, which sets an attribute for the condition to ask for.";
    "too-much-text": "The name and the attributes of the item are longer than conditions look at. Attributes are for short facts; long texts belong into the content.";
    "reserved-port": "The port `otherwise` is where items go for which no condition holds; no route may be named so.";
    "duplicate-name": "Two inline items have the same name. Names tell them apart, so each is used once.";
    "bad-attribute": "An attribute is a text, a number, true or false, so that it can stand in names and conditions.";
    "bad-collection": "A collection's name is one line of text and not empty.";
    "never-full": "An `aggregate` holds items until a group of them is full, and nothing says when that is, so it would hold them for ever. Its `batch` says so: after so many items (`count`) or bytes (`bytes`), when nothing came for a while (`quiet`), or at the end of the run (`end_of_run`).";
    "other-header": "An `aggregate` with `as: csv` puts the rows of all items below one header, the first item's. This item has another one, so its columns would mean something else.";
    "no-code": "A script needs its code: in the flow with `code:`, or in a file beside it with `file:`.";
    "two-codes": "A script has its code in the flow or in a file, not in both.";
    "bad-code": "The script is not valid Python, or has no function `process` of one parameter. It was looked at without running it.";
    "bad-metadata": "The inline metadata (PEP 723, the block that begins with `# /// script`) can't be read.";
    "no-command": "An external needs to know what to run: `command:` with the program and its arguments as a list, or `shell:` with a line for the shell.";
    "two-commands": "An external has either a `command` or a `shell` line.";
    "two-outputs": "A command writes either one file, `{output}`, or any number of files into a folder, `{outputs}`.";
    "no-name-here": "With `{outputs}` each item gets the name of its file, so there is nothing for `name` to say.";
    "bad-variable": "The name of an environment variable can't be empty or have a `=` in it.";
    "not-checked": "The code could not be looked at, because the interpreter could not be started. The flow can't run here until that is mended.";
    "empty-archive": "The item has no bytes at all. Even an archive of nothing has some, so whatever made this one failed.";
    "not-compressed": "The first bytes of the item are not those of a format that `decompress` knows. Names are not looked at. A `route` before it can send other items past it.";
    "wrong-format": "The item does not begin as the `format` of this `decompress` does. `format: auto` tells formats apart by the first bytes.";
    "cut-short": "The archive ends before its end: a copy or a download that was broken off, or a file that was taken half written.";
    "damaged": "The archive can't be read, or what comes out of it does not have the checksum that was written into it. Its bytes were changed since it was made.";
    "trailing-bytes": "Bytes follow the end of the archive that are not another one. Nothing of it is passed on, because what they were meant to be can't be told.";
    "holds-too-much": "The item holds more than the `max_size` of this `decompress`. A few kilobytes can be made to hold any amount, so there is always a limit.";
    "header-too-long": "The first row of a CSV is its header, and this one is longer than any header. Most often the item is no CSV, or its lines end otherwise.";
    "other-field-count": "A row of the CSV has more or fewer fields than the header, so its values can't be told to columns. Most often the fields are parted by another character than `delimiter` says, or a quote within a field was not written twice. `ragged: true` lets such rows pass.";
    "no-text": "The bytes of the item are no text in the encoding that its mark or the setting `encoding` says. Most often it was written in another one, or cut.";
    "no-mark": "Every second byte at the beginning of the text is zero, as in UTF-16, and no mark says so. Read as it stands, it would be cut within characters.";
    "open-quote": "A field of the CSV begins with a quote that is never closed, so the rest of the file would be one field. Most often the end of the file is missing.";
    "bad-json": "The item is not JSON (RFC 8259) at the place that is told. Comments, trailing commas and NaN are no JSON.";
    "no-array": "`split` with `as: json` takes an array, and makes a document of each of its elements. This item is another JSON value.";
    "encrypted": "A member of the archive can only be read with a password, which `split` does not have.";
    "unknown-method": "A member of the zip archive was packed in a way that `split` can't read. It reads members that were stored or deflated.";
    "sparse-member": "The tar archive has a sparse file in the form of pax archives, which can't be read. GNU archives with sparse files can.";
    "several-parts": "The zip archive was made in several parts, each in a file of its own, and only all of them together can be read.";
    "too-many-links": "Hard links of the tar archive name more files than `split` keeps in mind. Their contents come out once more for each link, so where each is has to be known.";
    "too-many-children": "The item would have more children than can be told apart by a number of 32 bits.";
    "data-directory": "A source or a destination is, contains or lies within the data directory, where OpenDMP keeps everything: its own files would be taken in, deleted or replaced. Links and mounts are followed to find that out.";
    "outside-roots": "The server was started with `--data-root`, and this path leads to a folder outside all of these, perhaps by a symbolic link.";
    "feedback-loop": "What comes of a file is written where a source takes files in, under a name that it matches, so that each result is taken in again, for ever. Where that is meant, the source says `feedback: true`.";
    "shared-source": "Two sources take the same files, and one of them deletes or moves what it takes, so that each file comes to one of them only. Where that is meant, both say `shared: true`.";
    "window-too-large": "The zstd archive was made with a window of more than 128 MiB (`--long=28` and above), so that much memory would be needed to read it. Make it again with a smaller one.";
};
