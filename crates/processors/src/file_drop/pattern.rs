//! Which files a file drop takes, by name.

use std::borrow::Cow;

use globset::{Candidate, GlobBuilder, GlobSet};
use opendmp_model::diagnostic::codes;
use opendmp_model::kinds::Problem;
use opendmp_processor::Names;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use crate::beneath;

/// The longest pattern, and the longest all of one ingest together, in bytes. They become one automaton, whose size, and the
/// time to build it, grow with them; and the crate recurses into nested `{`.
const MAX_PATTERN: usize = 1_000;
const MAX_PATTERNS: usize = 64 << 10;

/// One pattern or several, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patterns(pub Vec<String>);

impl Default for Patterns {
    fn default() -> Self {
        Self(vec!["*".to_owned()])
    }
}

impl Serialize for Patterns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0[..] {
            [one] => serializer.serialize_str(one),
            several => serializer.collect_seq(several),
        }
    }
}

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || de::Error::custom("a pattern is text such as `*.csv`, or a list of such");
        match Value::deserialize(deserializer)? {
            Value::String(one) => Ok(Self(vec![one])),
            Value::Array(several) if !several.is_empty() => several
                .into_iter()
                .map(|one| if let Value::String(one) = one { Ok(one) } else { Err(wrong()) })
                .collect::<Result<_, _>>()
                .map(Self),
            _ => Err(wrong()),
        }
    }
}

impl JsonSchema for Patterns {
    fn schema_name() -> Cow<'static, str> {
        "Patterns".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = serde_json::json!({ "type": "string", "minLength": 1 });
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1, "maxItems": 1000 }] })
    }
}

/// Patterns, compiled. Those without `/` are held against names, the others against whole paths.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    names: GlobSet,
    /// Those that begin with a dot, and so mean hidden files too.
    hidden_names: GlobSet,
    paths: GlobSet,
    hidden_paths: GlobSet,
}

impl Patterns {
    /// Compiles them.
    ///
    /// # Errors
    /// All problems, with pointers within the value.
    pub(super) fn compile(&self, recursive: bool) -> Result<Matcher, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut sets = [const { Vec::new() }; 4];
        let all: usize = self.0.iter().map(String::len).sum();
        if all > MAX_PATTERNS {
            let message = format!("the patterns have {all} bytes together, and {MAX_PATTERNS} are the limit");
            let hint = "write fewer, with `*` for what differs, or put the files into folders of their own";
            return Err(vec![Problem::new("", codes::BAD_FORMAT, message).hint(hint)]);
        }
        for (n, written) in self.0.iter().enumerate() {
            let pointer = if self.0.len() == 1 { String::new() } else { format!("/{n}") };
            let pattern = written.strip_prefix("./").unwrap_or(written);
            let mut say = |code, message: String, hint: &str| {
                problems.push(Problem::new(pointer.as_str(), code, message).hint(hint));
            };
            if pattern.len() > MAX_PATTERN {
                let message = format!("the pattern has {} bytes, and {MAX_PATTERN} are the limit", pattern.len());
                say(codes::BAD_FORMAT, message, "write several shorter ones as a list");
                continue;
            }
            let has_folders = pattern.contains('/');
            if pattern.is_empty() {
                say(codes::BAD_FORMAT, "the pattern is empty".to_owned(), "write `*` for all files");
            } else if pattern.starts_with('/') || pattern.split('/').any(|name| name == "..") {
                let message = format!("the pattern `{written}` leaves the folder");
                say(codes::BAD_FORMAT, message, "put the folder into `path`; patterns are for what is in it");
            } else if has_folders && !recursive {
                let message = format!("the pattern `{written}` names sub-folders, which are left out");
                say(codes::BAD_FORMAT, message, "add `recursive: true`, or leave the folder out");
            }
            match GlobBuilder::new(pattern).literal_separator(true).build() {
                Ok(glob) => {
                    let hidden = pattern.split('/').any(|name| name.starts_with('.'));
                    sets[usize::from(has_folders) * 2 + usize::from(hidden)].push(glob);
                }
                Err(error) => say(
                    codes::BAD_FORMAT,
                    format!("the pattern `{written}` can't be read: {}", error.kind()),
                    "`*` stands for any text, `?` for one character, `[ab]` for one of some, `{a,b}` for alternatives",
                ),
            }
        }
        let mut built = Vec::new();
        for set in sets {
            match GlobSet::new(set) {
                Ok(set) => built.push(set),
                Err(error) => {
                    problems.push(Problem::new("", codes::BAD_FORMAT, format!("the patterns are too large: {error}")));
                }
            }
        }
        match <[GlobSet; 4]>::try_from(built) {
            Ok([names, hidden_names, paths, hidden_paths]) if problems.is_empty() => {
                Ok(Matcher { names, hidden_names, paths, hidden_paths })
            }
            _ => Err(problems),
        }
    }
}

impl Patterns {
    fn each(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|written| written.strip_prefix("./").unwrap_or(written))
    }

    /// The paths that can be matched.
    pub(super) fn names(&self, recursive: bool) -> Names {
        self.each().fold(Names::default(), |names, pattern| {
            let these = Names::glob(pattern);
            names.or(if recursive && !pattern.contains('/') { these.in_any_folder() } else { these })
        })
    }

    /// Whether folders are entered whose names begin with a dot; see [`Matcher::enters`].
    pub(super) fn means_hidden_folders(&self) -> bool {
        self.each().any(|pattern| pattern.contains('/') && pattern.split('/').any(|name| name.starts_with('.')))
    }
}

impl Matcher {
    /// Whether a file is to be taken.
    pub(super) fn takes(&self, path: &[u8]) -> bool {
        let (folder, name) = beneath::split(path);
        let within_hidden = beneath::names(folder).any(|name| name.starts_with(b"."));
        let is_hidden = name.starts_with(b".");
        let (name, path) = (Candidate::from_bytes(name), Candidate::from_bytes(path));
        let by_name = !within_hidden
            && (self.hidden_names.is_match_candidate(&name) || !is_hidden && self.names.is_match_candidate(&name));
        by_name
            || self.hidden_paths.is_match_candidate(&path)
            || !within_hidden && !is_hidden && self.paths.is_match_candidate(&path)
    }

    /// Whether a folder of that name can have files to be taken.
    pub(super) fn enters(&self, name: &[u8]) -> bool {
        !name.starts_with(b".") || !self.hidden_paths.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken<'a>(patterns: &[&str], paths: &[&'a str]) -> Vec<&'a str> {
        let patterns = Patterns(patterns.iter().map(|&p| p.to_owned()).collect());
        let matcher = patterns.compile(true).unwrap();
        paths.iter().copied().filter(|path| matcher.takes(path.as_bytes())).collect()
    }

    #[test]
    fn hidden_files_are_left_out_unless_meant() {
        let paths = ["a.csv", ".a.csv", "sub/b.csv", "sub/.b.csv", ".git/c.csv", "d.txt"];
        assert_eq!(taken(&["*"], &paths), ["a.csv", "sub/b.csv", "d.txt"]);
        assert_eq!(taken(&["*.csv"], &paths), ["a.csv", "sub/b.csv"]);
        assert_eq!(taken(&[".*"], &paths), [".a.csv", "sub/.b.csv"]);
        assert_eq!(taken(&["*.txt", ".a*"], &paths), [".a.csv", "d.txt"]);
        assert_eq!(taken(&["./sub/*.csv"], &paths), ["sub/b.csv"]);
        assert_eq!(taken(&[".git/*"], &paths), [".git/c.csv"]);
        assert_eq!(taken(&["**/*.csv"], &paths), ["a.csv", "sub/b.csv"]);
        assert_eq!(taken(&["{a,d}.*"], &paths), ["a.csv", "d.txt"]);
    }

    #[test]
    fn what_can_be_matched_is_known() {
        let of = |pattern: &str| Patterns(vec![pattern.to_owned()]);
        let may = |pattern: &str, recursive, path: &str| {
            of(pattern).names(recursive).may_meet(&Names::exactly(path.as_bytes()))
        };
        assert!(may("*.csv", true, "a/b.csv") && may("./*.csv", false, "b.csv") && may("a/*", true, "a/b"));
        assert!(!may("*.csv", false, "a/b.csv") && !may("*.csv", true, "b.txt") && !may("a/*", true, "b/b"));
        assert!(of(".git/*").means_hidden_folders() && !of(".*").means_hidden_folders());
    }

    #[test]
    fn names_are_bytes() {
        let matcher = Patterns(vec!["caf?.txt".into(), "-*".into()]).compile(false).unwrap();
        assert!(matcher.takes(b"caf\xe9.txt") && matcher.takes(b"-rf") && matcher.takes(b"-a\nb"));
        assert!(!matcher.takes(b"cafe\xe9.txt"));
    }

    #[test]
    fn all_mistakes_are_told() {
        let patterns = Patterns(["[a", "../x", "a/b", ""].map(str::to_owned).to_vec());
        let problems = patterns.compile(false).unwrap_err();
        let pointers: Vec<&str> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
        assert_eq!(pointers, ["/0", "/1", "/2", "/3"]);
        assert!(problems.iter().all(|problem| problem.hint.is_some()));
        assert_eq!(Patterns(vec!["[a".into()]).compile(false).unwrap_err()[0].pointer, "");
    }

    #[test]
    fn no_pattern_is_too_much() {
        // The crate would go as deep as this is nested, and end the process when the stack does.
        let deep = |depth: usize| format!("{}a{}", "{".repeat(depth), "}".repeat(depth));
        for depth in [100, 499, 500, 100_000] {
            let compiled = Patterns(vec![deep(depth)]).compile(true);
            assert_eq!(compiled.is_ok(), depth < 200, "{depth}");
        }
        let many = |n: usize, one: &str| Patterns((0..n).map(|n| format!("{one}{n}")).collect());
        assert_eq!(many(1_000, &"*a".repeat(60)).compile(true).unwrap_err()[0].code, codes::BAD_FORMAT);
        let matcher = many(500, &"*a".repeat(60)).compile(true).unwrap();
        assert!(!matcher.takes("a".repeat(255).as_bytes()));
        for costly in ["?".repeat(990), "{a*b,a}".repeat(140), "[!a-zé-ü一-龥]".repeat(45)] {
            // Refused or compiled, within the limits of the crate.
            let _ = many(60, &costly).compile(true);
        }
    }

    #[test]
    fn one_or_several() {
        let read = |json| serde_json::from_value::<Patterns>(json);
        assert_eq!(read(serde_json::json!("*.csv")).unwrap().0, ["*.csv"]);
        assert_eq!(read(serde_json::json!(["a", "b"])).unwrap().0, ["a", "b"]);
        assert!(read(serde_json::json!([])).is_err() && read(serde_json::json!([1])).is_err());
        assert_eq!(serde_json::to_value(Patterns::default()).unwrap(), serde_json::json!("*"));
    }
}
