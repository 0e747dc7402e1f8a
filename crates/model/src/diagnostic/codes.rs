//! Every diagnostic code of this crate with its explanation, one table: what `opendmp explain CODE` and the reference
//! page show. A code can't exist without an explanation, because the macro makes both.

/// A code and what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CodeInfo {
    /// Kebab case.
    pub code: &'static str,
    /// A paragraph.
    pub explanation: &'static str,
}

macro_rules! codes {
    ($($name:ident = $code:literal: $explanation:literal;)*) => {
        $(#[doc = $explanation] pub const $name: &str = $code;)*

        /// The table, sorted by subject.
        pub fn codes() -> &'static [CodeInfo] {
            const TABLE: &[CodeInfo] = &[$(CodeInfo { code: $code, explanation: $explanation },)*];
            TABLE
        }
    };
}

/// The explanation of a code of this crate.
pub fn explain(code: &str) -> Option<&'static str> {
    codes().iter().find(|info| info.code == code).map(|info| info.explanation)
}

codes! {
    // The text.
    NOT_UTF8 = "not-utf8": "The flow file is not UTF-8 text. Flows are written in YAML or JSON, both in UTF-8; save the file again with that encoding.";
    TOO_LARGE = "too-large": "The document is larger, deeper or has more values than a flow may have, or its aliases unfold to more than that. Nothing beyond the limit was read. Large code belongs into a file of its own, named with `file:`.";
    SYNTAX = "syntax": "The text is not well-formed YAML or JSON. What stands after this place could not be read, so further problems may show once it is mended. Indentation in YAML is made of spaces.";
    EMPTY_DOCUMENT = "empty-document": "The file holds nothing but blanks or comments. The smallest flow has a `name` and one processor.";
    MORE_THAN_ONE_DOCUMENT = "more-than-one-document": "A file holds one flow. A second YAML document begins here (after `---`); it was not read. Put it into a file of its own.";
    DUPLICATE_KEY = "duplicate-key": "A map has the same key twice. Which of the two is meant can't be known, so neither is silently preferred; remove one.";
    BAD_KEY = "bad-key": "A key of a map is a list, a map or an alias. Keys are plain text.";
    BAD_MERGE = "bad-merge": "A merge key `<<` takes the keys of another map into this one. Its value has to be an alias of a map, or a list of such.";
    UNKNOWN_ALIAS = "unknown-alias": "An alias `*name` repeats the value that was marked `&name` earlier in the document; there is no such mark. Text that begins with `*` has to be quoted.";
    UNSUPPORTED_TAG = "unsupported-tag": "A YAML tag such as `!name` changes how a value is read. Only the core tags (`!!str`, `!!int`, `!!float`, `!!bool`, `!!null`, `!!seq`, `!!map`) are known here, and only on values they fit. Text that begins with `!` has to be quoted.";
    BAD_NUMBER = "bad-number": "The number can't be kept exactly: it is infinite, not a number, or a whole number of more than 64 bits. Quote it if it is meant as text.";

    // Values against their schema.
    UNKNOWN_KEY = "unknown-key": "There is no such key here. A misspelt key is never ignored, because the flow would then silently do something else. `opendmp kinds KIND` lists the keys of a kind.";
    MISSING_KEY = "missing-key": "A required key is missing. `opendmp kinds KIND` lists the keys of a kind and which of them are required.";
    WRONG_TYPE = "wrong-type": "The value is of another sort than the key takes, for example a number where text is expected. Text that looks like a number, `true`, `false` or `null` has to be quoted.";
    NOT_ALLOWED = "not-allowed": "The value is not one of those the key takes.";
    OUT_OF_RANGE = "out-of-range": "The number is too small or too large, or the text or list too short or too long.";
    BAD_FORMAT = "bad-format": "The text is not of the form the key takes, for example a duration (`30s`, `5m`, `2h`), a size (`64 MiB`) or an id.";
    BAD_SECRET = "bad-secret": "Secrets are named, never written: `{{ secrets.NAME }}` with a name of letters, digits and `_` that begins with a letter or `_`. What stands here looks like one but is not, and would have been passed on as plain text.";
    INVALID_CONFIG = "invalid-config": "The kind refused its config although the schema allows it. The message is the kind's own.";

    // Kinds and files.
    UNKNOWN_KIND = "unknown-kind": "There is no processor, source or destination of this `type`. `opendmp kinds` lists all.";
    BAD_FILE = "bad-file": "A file that the flow names can't be read. Paths are relative to the flow file and may not leave its folder.";
    PORT_CLASH = "port-clash": "Two outputs of a processor have the same name, or a named output is called `out`, which is the name of the default one, or its name is not made of letters, digits, `_` and `-`.";

    // The graph.
    BAD_NAME = "bad-name": "A flow's identity is made from its `name`, in lower case with `-` between words, so the name needs at least one letter or digit.";
    NO_PROCESSORS = "no-processors": "A flow without processors does nothing. The smallest one has an ingest, which takes items from a source.";
    DUPLICATE_ID = "duplicate-id": "Two processors have the same `id`. Inputs name processors by id, so it has to be unique within the flow.";
    UNKNOWN_INPUT = "unknown-input": "An input names a processor that the flow does not have.";
    UNKNOWN_PORT = "unknown-port": "An input names an output that the processor does not have. `name` alone reads the default output, `name.port` a named one; a processor such as `route` has only named ones.";
    DUPLICATE_INPUT = "duplicate-input": "A processor names the same input twice. Every item would be processed twice.";
    CYCLE = "cycle": "Processors read each other in a circle, so none of them can come first. To try something again use `on_error`; to feed results back, write them to a folder that another flow watches.";
    INGEST_WITH_INPUTS = "ingest-with-inputs": "An ingest takes its items from its source; it can't read another processor.";
    MISSING_INPUTS = "missing-inputs": "Only an ingest begins a flow; every other processor reads another one, named in `inputs`.";
    READS_COLLECT = "reads-collect": "A collect ends a branch and has no output. To go on with the same items, read the processor before it.";
    UNKNOWN_PHASE = "unknown-phase": "The flow lists its `phases`, and this one is not among them. Phases only lay the flow out; they never decide order.";

    // What runs, but perhaps not as meant.
    UNREAD_OUTPUT = "unread-output": "No processor reads this output, so its items are dropped once they come out. If that is meant, nothing is wrong.";
    NO_COLLECT = "no-collect": "The flow has no collect, so nothing it makes is kept as a dataset.";
    DETERMINISM_UNKNOWN = "determinism-unknown": "It is not known that this processor gives the same output for the same input, so that a flow has the same results on a laptop and on a cluster (law L8) can't be promised from here on. Nothing else depends on it: the first settled result is the truth either way.";

    TOO_MANY_PROBLEMS = "too-many-problems": "The document has more problems than are worth showing at once; many of them probably have the same cause.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_kebab_case_and_explained() {
        let mut seen = BTreeSet::new();
        for info in codes() {
            assert!(seen.insert(info.code), "{} twice", info.code);
            assert!(
                info.code.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
                "{}",
                info.code
            );
            assert!(info.explanation.len() > 40 && info.explanation.ends_with('.'), "{}", info.code);
            assert_eq!(explain(info.code), Some(info.explanation));
        }
        assert_eq!(explain("no-such-code"), None);
    }
}
