//! What is known of an export before anything is done outside: the class of its sink, and what happens where its
//! target is taken.

use serde::{Deserialize, Serialize};

/// What repeating an export does, which decides what is done about one of unknown end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkClass {
    /// Overwrites or upserts by dataset: repeating is harmless.
    Overwrite,
    /// The target keeps a marker in its own transaction.
    Marker,
    /// The receiver drops what it has seen, by key.
    Deduplicates,
    /// Repeating is seen outside; an attempt of unknown end is shown to people.
    AtLeastOnce,
}

/// What to do where the target is taken by something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IfExists {
    /// Write beside it, under a numbered name.
    #[default]
    Version,
    /// Replace it.
    Overwrite,
    /// Refuse: the dataset is kept, the export becomes a dead letter.
    Fail,
    /// Leave what is there, and don't export.
    Keep,
}

/// The `n`-th other name for a target that is taken, `n` from 2: `a/report.csv` gives `a/report-2.csv`.
pub fn numbered(target: &[u8], n: u32) -> Vec<u8> {
    let name_at = target.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
    let dot = target[name_at..].iter().rposition(|&b| b == b'.').filter(|&at| at > 0);
    let (stem, extension) = target.split_at(dot.map_or(target.len(), |at| name_at + at));
    [stem, format!("-{n}").as_bytes(), extension].concat()
}

/// Whether `target` is `wanted` or one of its [`numbered`] names.
pub fn is_name_of(target: &[u8], wanted: &[u8]) -> bool {
    let digits = target.len().saturating_sub(wanted.len() + 1);
    target == wanted
        || (1..=9).contains(&digits)
            && (0..=target.len() - digits)
                .filter_map(|at| std::str::from_utf8(&target[at..at + digits]).ok()?.parse().ok())
                .any(|n: u32| n >= 2 && numbered(wanted, n) == target)
}

#[cfg(test)]
mod tests {
    use super::{is_name_of, numbered};

    #[test]
    fn numbers_stand_before_the_extension() {
        for (target, expected) in [
            ("a/report.csv", "a/report-2.csv"),
            ("x.y/plain", "x.y/plain-2"),
            (".env", ".env-2"),
            ("a.tar.gz", "a.tar-2.gz"),
        ] {
            assert_eq!(numbered(target.as_bytes(), 2), expected.as_bytes());
            assert!(is_name_of(expected.as_bytes(), target.as_bytes()));
            assert!(is_name_of(target.as_bytes(), target.as_bytes()));
            assert!(!is_name_of(target.as_bytes(), expected.as_bytes()));
        }
    }
}
