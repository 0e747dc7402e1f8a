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

/// What programs call files that they have not finished: browsers, file transfers, synchronisation; and the lock files of
/// office programs.
const UNFINISHED: [&str; 9] =
    ["*.part", "*.partial", "*.filepart", "*.crdownload", "*.download", "*.opdownload", "*.!ut", "~$*", "~syncthing~*"];

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
            Value::Array(several) => several
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
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "maxItems": 1000 }] })
    }
}

/// Patterns, compiled. Those without `/` are held against names, the others against whole paths.
#[derive(Clone, Debug)]
struct Sets {
    names: GlobSet,
    /// Those that begin with a dot, and so mean hidden files too.
    hidden_names: GlobSet,
    paths: GlobSet,
    hidden_paths: GlobSet,
}

/// Which files are taken.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    taken: Sets,
    excluded: Sets,
    /// What is left out where no pattern says otherwise.
    unfinished: GlobSet,
}

/// What says which files are taken, as written.
pub(super) struct Selection<'a> {
    pub pattern: &'a Patterns,
    /// `None`: what is not finished.
    pub exclude: Option<&'a Patterns>,
    pub ignore_case: bool,
    pub recursive: bool,
}

impl Selection<'_> {
    /// Compiles it.
    ///
    /// # Errors
    /// All problems, with pointers within the config.
    pub(super) fn compile(&self) -> Result<Matcher, Vec<Problem>> {
        let sets = |key: &str, patterns: &Patterns, recursive| {
            let below = |problems: Vec<Problem>| -> Vec<Problem> {
                problems.into_iter().map(|problem| problem.below(key)).collect()
            };
            patterns.compile(recursive, self.ignore_case).map_err(below)
        };
        let taken = match self.pattern.0.is_empty() {
            true => Err(vec![
                Problem::new("/pattern", codes::BAD_FORMAT, "no pattern is given, so that nothing would be taken")
                    .hint("write `*` for all files"),
            ]),
            false => sets("/pattern", self.pattern, self.recursive),
        };
        // Of folders that are not entered there is nothing to be left out, which is no mistake.
        let excluded = self.excluded().map_or_else(|| Ok(Sets::none()), |exclude| sets("/exclude", &exclude, true));
        match (taken, excluded) {
            (Ok(taken), Ok(excluded)) => Ok(Matcher { unfinished: self.unfinished()?, taken, excluded }),
            (taken, excluded) => Err([taken.err(), excluded.err()].into_iter().flatten().flatten().collect()),
        }
    }

    /// What is left out by default, but for what a pattern names by its ending, or beginning.
    fn unfinished(&self) -> Result<GlobSet, Vec<Problem>> {
        if self.exclude.is_some() {
            return Ok(GlobSet::empty());
        }
        let is_named = |glob: &str| {
            let mark = glob.trim_matches('*');
            let extension = mark.trim_start_matches('.');
            let named = |pattern: &str| {
                let pattern = pattern.to_lowercase();
                let name = pattern.rsplit('/').next().unwrap_or(&pattern);
                // Of `*.{csv,part}` the alternatives are looked at one by one.
                name.split(['{', ',', '}']).any(|part| {
                    part == extension
                        || if glob.starts_with('*') { part.ends_with(mark) } else { part.starts_with(mark) }
                })
            };
            self.pattern.each().any(named)
        };
        let globs = UNFINISHED.iter().filter(|glob| !is_named(glob));
        let globs = globs.filter_map(|glob| GlobBuilder::new(glob).case_insensitive(true).build().ok());
        GlobSet::new(globs).map_err(|error| vec![Problem::new("", codes::BAD_FORMAT, error.to_string())])
    }

    /// The paths that can be matched.
    pub(super) fn names(&self) -> Names {
        let names = self.pattern.names(self.recursive);
        let names = if self.ignore_case { names.in_any_case() } else { names };
        let excluded = self.excluded();
        let folders = excluded.iter().flat_map(Patterns::each).filter_map(plain_folder);
        folders.fold(names, |names, (anywhere, folder)| names.without_folder(anywhere, folder))
    }

    /// `old/` is the folder `old`.
    fn excluded(&self) -> Option<Patterns> {
        let plain = |written: &String| written.strip_suffix('/').unwrap_or(written).to_owned();
        self.exclude.map(|exclude| Patterns(exclude.0.iter().map(plain).collect()))
    }
}

/// The folder that a pattern means and all below it: by its name, wherever it is, or by its path.
fn plain_folder(pattern: &str) -> Option<(bool, &[u8])> {
    let folder = pattern.strip_suffix("/**").unwrap_or(pattern);
    let is_plain = !folder.is_empty() && !folder.contains(['*', '?', '[', ']', '{', '}', '\\']);
    let anywhere = !pattern.contains('/');
    is_plain.then_some((anywhere, folder.as_bytes()))
}

impl Sets {
    fn none() -> Self {
        let none = GlobSet::empty;
        Self { names: none(), hidden_names: none(), paths: none(), hidden_paths: none() }
    }

    /// Whether a name or a whole path is of any of them.
    fn has(&self, path: &[u8]) -> bool {
        let (name, path) = (Candidate::from_bytes(beneath::split(path).1), Candidate::from_bytes(path));
        let by_name = [&self.names, &self.hidden_names].iter().any(|set| set.is_match_candidate(&name));
        by_name || [&self.paths, &self.hidden_paths].iter().any(|set| set.is_match_candidate(&path))
    }
}

impl Patterns {
    /// Compiles them.
    ///
    /// # Errors
    /// All problems, with pointers within the value.
    fn compile(&self, recursive: bool, ignore_case: bool) -> Result<Sets, Vec<Problem>> {
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
            match GlobBuilder::new(pattern).literal_separator(true).case_insensitive(ignore_case).build() {
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
                Ok(Sets { names, hidden_names, paths, hidden_paths })
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
    fn names(&self, recursive: bool) -> Names {
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
        self.taken.takes(path) && !self.excludes(path)
    }

    /// Whether a file is left out, or all in a folder: by its own path or that of a folder around it.
    pub(super) fn excludes(&self, path: &[u8]) -> bool {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        self.unfinished.is_match_candidate(&Candidate::from_bytes(beneath::split(path).1))
            || ends.chain([path.len()]).any(|end| self.excluded.has(&path[..end]))
    }

    /// Whether a folder at that path can have files to be taken.
    pub(super) fn enters(&self, path: &[u8]) -> bool {
        let name = beneath::split(path).1;
        (!name.starts_with(b".") || !self.taken.hidden_paths.is_empty()) && !self.excluded.has(path)
    }
}

impl Sets {
    fn takes(&self, path: &[u8]) -> bool {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(pattern: Patterns, recursive: bool) -> Result<Matcher, Vec<Problem>> {
        Selection { pattern: &pattern, exclude: None, ignore_case: false, recursive }.compile()
    }

    fn taken<'a>(patterns: &[&str], paths: &[&'a str]) -> Vec<&'a str> {
        let patterns = Patterns(patterns.iter().map(|&p| p.to_owned()).collect());
        let matcher = compile(patterns, true).unwrap();
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

    /// What is taken of these by `*`, or by a pattern, without what is excluded.
    fn left(pattern: &str, exclude: Option<&[&str]>, ignore_case: bool, paths: &[&str]) -> Vec<String> {
        let pattern = Patterns(vec![pattern.to_owned()]);
        let exclude = exclude.map(|all| Patterns(all.iter().map(|&one| one.to_owned()).collect()));
        let selection = Selection { pattern: &pattern, exclude: exclude.as_ref(), ignore_case, recursive: true };
        let matcher = selection.compile().unwrap();
        let enters = |path: &str| path.match_indices('/').all(|(at, _)| matcher.enters(&path.as_bytes()[..at]));
        let taken = |path: &&&str| enters(path) && matcher.takes(path.as_bytes());
        paths.iter().filter(taken).map(|&path| path.to_owned()).collect()
    }

    #[test]
    fn unfinished_files_are_left_out_unless_meant() {
        let paths = ["a.csv", "a.csv.part", "B.CSV.FilePart", "~$a.xlsx", "sub/c.crdownload", "partial", "d.PART"];
        assert_eq!(left("*", None, false, &paths), ["a.csv", "partial"]);
        assert_eq!(left("*.part", None, false, &paths), ["a.csv.part"]);
        assert_eq!(left("*.{csv,part}", None, true, &paths), ["a.csv", "a.csv.part", "d.PART"]);
        assert_eq!(left("~$*", None, false, &paths), ["~$a.xlsx"]);
        assert_eq!(left("*", Some(&["*.csv"]), false, &paths).len(), 6, "the default yields to what is written");
        assert_eq!(left("*", Some(&[]), false, &paths), paths);
    }

    #[test]
    fn files_and_folders_are_left_out_by_name_or_path() {
        let paths = ["a.csv", "old/a.csv", "x/old/b.csv", "x/new/c.tmp", "x/y/old.csv", "Old/d.csv"];
        assert_eq!(left("*", Some(&["old"]), false, &paths), ["a.csv", "x/new/c.tmp", "x/y/old.csv", "Old/d.csv"]);
        assert_eq!(left("*", Some(&["old"]), true, &paths), ["a.csv", "x/new/c.tmp", "x/y/old.csv"]);
        assert_eq!(left("*", Some(&["x/old", "*.tmp"]), false, &paths).len(), 4);
        assert_eq!(left("*", Some(&["x/**"]), false, &paths), ["a.csv", "old/a.csv", "Old/d.csv"]);
        assert_eq!(left("**/*.csv", Some(&["**/old/**", "./Old/"]), false, &paths), ["a.csv", "x/y/old.csv"]);
        assert_eq!(left("*.CSV", None, true, &["a.csv", "b.Csv", "c.txt"]), ["a.csv", "b.Csv"]);
        assert_eq!(left("É*.CSV", None, true, &["É.csv", "é.csv"]), ["É.csv"]);
        let mistake = Patterns(vec!["[".to_owned()]);
        let selection =
            Selection { pattern: &Patterns::default(), exclude: Some(&mistake), ignore_case: false, recursive: false };
        assert_eq!(selection.compile().unwrap_err()[0].pointer, "/exclude");
    }

    #[test]
    fn excluded_folders_meet_nothing() {
        let may = |exclude: &str, ignore_case, path: &str| {
            let (pattern, exclude) = (Patterns::default(), Patterns(vec![exclude.to_owned()]));
            let selection = Selection { pattern: &pattern, exclude: Some(&exclude), ignore_case, recursive: true };
            selection.names().may_meet(&Names::glob(path))
        };
        for (exclude, path) in
            [("out", "out/*"), ("out", "a/out/b"), ("a/out", "a/out/**"), ("out/**", "out/b"), ("out/", "a/out/b")]
        {
            assert!(!may(exclude, false, path), "{exclude} {path}");
        }
        for (exclude, path) in
            [("out", "a/*"), ("out", "*/b"), ("a/out", "out/b"), ("o*", "out/b"), ("out", "out"), ("out//", "out/b")]
        {
            assert!(may(exclude, false, path), "{exclude} {path}");
        }
        let csv = Patterns(vec!["*.csv".to_owned()]);
        let any = Selection { pattern: &csv, exclude: None, ignore_case: true, recursive: true };
        assert!(any.names().may_meet(&Names::exactly(b"A.CSV")) && !any.names().may_meet(&Names::exactly(b"a.txt")));
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
        let matcher = compile(Patterns(vec!["caf?.txt".into(), "-*".into()]), false).unwrap();
        assert!(matcher.takes(b"caf\xe9.txt") && matcher.takes(b"-rf") && matcher.takes(b"-a\nb"));
        assert!(!matcher.takes(b"cafe\xe9.txt"));
    }

    #[test]
    fn all_mistakes_are_told() {
        let patterns = Patterns(["[a", "../x", "a/b", ""].map(str::to_owned).to_vec());
        let problems = compile(patterns, false).unwrap_err();
        let pointers: Vec<&str> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
        assert_eq!(pointers, ["/pattern/0", "/pattern/1", "/pattern/2", "/pattern/3"]);
        assert!(problems.iter().all(|problem| problem.hint.is_some()));
        assert_eq!(compile(Patterns(vec!["[a".into()]), false).unwrap_err()[0].pointer, "/pattern");
    }

    #[test]
    fn no_pattern_is_too_much() {
        // The crate would go as deep as this is nested, and end the process when the stack does.
        let deep = |depth: usize| format!("{}a{}", "{".repeat(depth), "}".repeat(depth));
        for depth in [100, 499, 500, 100_000] {
            let compiled = compile(Patterns(vec![deep(depth)]), true);
            assert_eq!(compiled.is_ok(), depth < 200, "{depth}");
        }
        let many = |n: usize, one: &str| Patterns((0..n).map(|n| format!("{one}{n}")).collect());
        assert_eq!(compile(many(1_000, &"*a".repeat(60)), true).unwrap_err()[0].code, codes::BAD_FORMAT);
        let matcher = compile(many(500, &"*a".repeat(60)), true).unwrap();
        assert!(!matcher.takes("a".repeat(255).as_bytes()));
        for costly in ["?".repeat(990), "{a*b,a}".repeat(140), "[!a-zé-ü一-龥]".repeat(45)] {
            // Refused or compiled, within the limits of the crate.
            let _ = compile(many(60, &costly), true);
        }
    }

    #[test]
    fn one_or_several() {
        let read = |json| serde_json::from_value::<Patterns>(json);
        assert_eq!(read(serde_json::json!("*.csv")).unwrap().0, ["*.csv"]);
        assert_eq!(read(serde_json::json!(["a", "b"])).unwrap().0, ["a", "b"]);
        assert!(read(serde_json::json!([1])).is_err() && read(serde_json::json!(1)).is_err());
        let nothing = read(serde_json::json!([])).unwrap();
        assert_eq!(compile(nothing, true).unwrap_err()[0].code, codes::BAD_FORMAT);
        assert_eq!(serde_json::to_value(Patterns::default()).unwrap(), serde_json::json!("*"));
    }
}
