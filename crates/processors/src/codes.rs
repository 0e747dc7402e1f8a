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
    "reserved-port": "The port `otherwise` is where items go for which no condition holds; no route may be named so.";
    "duplicate-name": "Two inline items have the same name. Names tell them apart, so each is used once.";
    "bad-attribute": "An attribute is a text, a number, true or false, so that it can stand in names and conditions.";
    "bad-collection": "A collection's name is one line of text and not empty.";
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
    "window-too-large": "The zstd archive was made with a window of more than 128 MiB (`--long=28` and above), so that much memory would be needed to read it. Make it again with a smaller one.";
};
