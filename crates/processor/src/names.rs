//! Sets of relative paths, as patterns and name templates describe them, and whether two of them can have a path in
//! common.
//!
//! A set here never has fewer paths than what it stands for, so "they can't meet" is certain and "they may meet" is not.

use std::collections::BTreeSet;

/// Alternatives that one pattern is written out to; beyond it, braces stand for any text.
const MAX_ALTERNATIVES: usize = 64;

/// Pairs that are compared one by one; two larger sets count as meeting.
const MAX_PAIRS: usize = 100_000;

/// One part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// This byte.
    Byte(u8),
    /// Any text within one name, also none.
    Text,
    /// Any text, with any number of folders, also none.
    Path,
}

/// Relative paths, `/` between their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    alternatives: Vec<Vec<Part>>,
    /// Folders of which none of the paths is.
    without: Vec<Without>,
    /// Whether letters count as equal to their other case.
    any_case: bool,
}

/// A folder that is left out with all that is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Without {
    /// It lies in this one: empty, or with `/` at its end.
    within: Vec<u8>,
    /// Whether it may lie deeper than that.
    anywhere: bool,
    folder: Vec<u8>,
}

impl Without {
    /// Whether the folder `path` is it, or is in it.
    fn has(&self, path: &[u8]) -> bool {
        let Some(rest) = path.strip_prefix(&self.within[..]) else { return false };
        if self.anywhere {
            return rest.split(|byte| *byte == b'/').any(|name| name == self.folder);
        }
        rest.strip_prefix(&self.folder[..]).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    }
}

impl Names {
    /// Every path.
    pub fn all() -> Self {
        Self::of(vec![vec![Part::Path]])
    }

    /// The paths that a glob matches: `*`, `?`, `[ab]`, `{a,b}`, `**` and `\` before a character.
    pub fn glob(pattern: &str) -> Self {
        let alternatives = braces(pattern).unwrap_or_else(|| vec![pattern.to_owned()]);
        Self::of(alternatives.iter().map(|one| glob(one)).collect())
    }

    /// One path, exactly.
    pub fn exactly(path: &[u8]) -> Self {
        Self::of(vec![path.iter().copied().map(Part::Byte).collect()])
    }

    fn of(alternatives: Vec<Vec<Part>>) -> Self {
        Self { alternatives, ..Self::default() }
    }

    /// What is in either.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.alternatives.extend(other.alternatives);
        self.without.retain(|one| other.without.contains(one));
        self.any_case |= other.any_case;
        self
    }

    /// These paths, where letters may be of either case.
    #[must_use]
    pub fn in_any_case(mut self) -> Self {
        self.any_case = true;
        self
    }

    /// These paths but for those in a folder: by its path, or by its name wherever it is.
    #[must_use]
    pub fn without_folder(mut self, anywhere: bool, folder: &[u8]) -> Self {
        self.without.push(Without { within: Vec::new(), anywhere, folder: folder.to_vec() });
        self
    }

    /// Whether none of the paths is in the folder `path`, because that was left out.
    pub fn leaves_out(&self, path: &[u8]) -> bool {
        self.without.iter().any(|one| one.has(path))
    }

    /// These paths, followed by exactly this text.
    #[must_use]
    pub fn then(mut self, text: &[u8]) -> Self {
        for one in &mut self.alternatives {
            one.extend(text.iter().copied().map(Part::Byte));
        }
        self
    }

    /// These paths, followed by any text within one name.
    #[must_use]
    pub fn then_text(mut self) -> Self {
        self.alternatives.iter_mut().for_each(|one| one.push(Part::Text));
        self
    }

    /// These paths, followed by any text, with folders.
    #[must_use]
    pub fn then_path(mut self) -> Self {
        self.alternatives.iter_mut().for_each(|one| one.push(Part::Path));
        self
    }

    /// These and what they become where a number is put before the extension because a name is taken.
    #[must_use]
    pub fn or_numbered(self) -> Self {
        let numbered = self.alternatives.iter().map(|one| {
            let start = one.iter().rposition(|part| *part == Part::Byte(b'/')).map_or(0, |at| at + 1);
            let dot = one[start..].iter().rposition(|part| *part == Part::Byte(b'.'));
            let at = dot.filter(|at| *at > 0).map_or(one.len(), |at| start + at);
            [&one[..at], &[Part::Text], &one[at..]].concat()
        });
        let numbered = numbered.collect();
        let numbered = Self { alternatives: numbered, ..self.clone() };
        self.or(numbered)
    }

    /// The same paths, all below the folder `folder`.
    #[must_use]
    pub fn below(mut self, folder: &[u8]) -> Self {
        if !folder.is_empty() {
            for one in &mut self.alternatives {
                let prefix = folder.iter().copied().chain([b'/']).map(Part::Byte);
                *one = prefix.chain(one.drain(..)).collect();
            }
            for one in &mut self.without {
                one.within.splice(..0, folder.iter().copied().chain([b'/']));
            }
        }
        self
    }

    /// The same names in every folder, too.
    #[must_use]
    pub fn in_any_folder(self) -> Self {
        let deeper = self.alternatives.iter().map(|one| {
            let folders = [Part::Path, Part::Byte(b'/')];
            folders.into_iter().chain(one.iter().copied()).collect()
        });
        let deeper = deeper.collect();
        let deeper = Self { alternatives: deeper, ..self.clone() };
        self.or(deeper)
    }

    /// Whether a path may be in both. `false` is certain.
    pub fn may_meet(&self, other: &Self) -> bool {
        let pairs = self.alternatives.len().saturating_mul(other.alternatives.len());
        if pairs > MAX_PAIRS {
            return true;
        }
        let any_case = self.any_case || other.any_case;
        let kept = |names: &Self, one: &&Vec<Part>| !folder_of(one).is_some_and(|folder| names.leaves_out(&folder));
        let mut mine = self.alternatives.iter().filter(|one| kept(other, one));
        mine.any(|one| other.alternatives.iter().filter(|two| kept(self, two)).any(|two| meet(one, two, any_case)))
    }
}

/// The folder that all of a pattern's paths are in, as far as it is written out.
fn folder_of(pattern: &[Part]) -> Option<Vec<u8>> {
    let written = pattern.iter().map_while(|part| if let Part::Byte(byte) = part { Some(*byte) } else { None });
    let mut written: Vec<u8> = written.collect();
    written.truncate(written.iter().rposition(|byte| *byte == b'/')?);
    Some(written)
}

/// Whether two bytes may be of one letter.
fn same(one: u8, two: u8, any_case: bool) -> bool {
    // Beyond ASCII the cases differ in any of the bytes of a letter.
    one == two || any_case && (one.eq_ignore_ascii_case(&two) || !one.is_ascii() && !two.is_ascii())
}

/// Whether some text is matched by both: a walk over the pairs of places that one text can lead to.
fn meet(one: &[Part], two: &[Part], any_case: bool) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![(0, 0)];
    while let Some((i, j)) = open.pop() {
        if !seen.insert((i, j)) {
            continue;
        }
        let (left, right) = (one.get(i), two.get(j));
        match (left, right) {
            (None, None) => return true,
            (Some(Part::Byte(a)), Some(Part::Byte(b))) if same(*a, *b, any_case) => open.push((i + 1, j + 1)),
            (Some(Part::Byte(byte)), Some(wild @ (Part::Text | Part::Path))) if takes(*wild, *byte) => {
                open.push((i + 1, j));
            }
            (Some(wild @ (Part::Text | Part::Path)), Some(Part::Byte(byte))) if takes(*wild, *byte) => {
                open.push((i, j + 1));
            }
            _ => {}
        }
        if matches!(left, Some(Part::Text | Part::Path)) {
            open.push((i + 1, j));
        }
        if matches!(right, Some(Part::Text | Part::Path)) {
            open.push((i, j + 1));
        }
    }
    false
}

fn takes(wild: Part, byte: u8) -> bool {
    wild == Part::Path || byte != b'/'
}

/// A glob without braces.
fn glob(pattern: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = pattern.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'*' if after.first() == Some(&b'*') => {
                rest = &after[1..];
                // `**/` is no folder, too.
                rest = rest.strip_prefix(b"/").unwrap_or(rest);
                parts.push(Part::Path);
            }
            b'*' | b'?' => parts.push(Part::Text),
            b'[' => {
                // The first `]` may be one of those that are meant.
                let skip = after.iter().take_while(|byte| matches!(byte, b'!' | b'^')).count().min(1);
                let from = skip + usize::from(after.get(skip) == Some(&b']'));
                let end = after[from.min(after.len())..].iter().position(|byte| *byte == b']');
                rest = end.map_or(&[][..], |end| &after[from + end + 1..]);
                parts.push(Part::Text);
            }
            b'\\' if !after.is_empty() => {
                parts.push(Part::Byte(after[0]));
                rest = &after[1..];
            }
            // Braces that were not written out: whatever follows.
            b'{' => {
                parts.push(Part::Path);
                return parts;
            }
            byte => parts.push(Part::Byte(*byte)),
        }
    }
    parts
}

/// A glob written out without braces; `None` where there are too many alternatives.
fn braces(pattern: &str) -> Option<Vec<String>> {
    let Some((from, to)) = outermost(pattern) else { return Some(vec![pattern.to_owned()]) };
    let (before, inner, after) = (&pattern[..from], &pattern[from + 1..to], &pattern[to + 1..]);
    let after = braces(after)?;
    let mut out = Vec::new();
    for alternative in split(inner) {
        for middle in braces(alternative)? {
            for end in &after {
                out.push(format!("{before}{middle}{end}"));
                if out.len() > MAX_ALTERNATIVES {
                    return None;
                }
            }
        }
    }
    Some(out)
}

/// The first pair of braces.
fn outermost(pattern: &str) -> Option<(usize, usize)> {
    let (mut depth, mut from, mut escaped, mut class) = (0, None, false, false);
    for (at, c) in pattern.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' if !class => class = true,
            ']' if class => class = false,
            _ if class => {}
            '{' => {
                from.get_or_insert(at);
                depth += 1;
            }
            '}' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    return from.map(|from| (from, at));
                }
            }
            _ => {}
        }
    }
    None
}

/// The alternatives between commas.
fn split(inner: &str) -> Vec<&str> {
    let (mut depth, mut from, mut escaped) = (0, 0, false);
    let mut out = Vec::new();
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                out.push(&inner[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    out.push(&inner[from..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(one: &str, two: &str) -> bool {
        let (one, two) = (Names::glob(one), Names::glob(two));
        assert_eq!(one.may_meet(&two), two.may_meet(&one), "{one:?} {two:?}");
        one.may_meet(&two)
    }

    #[test]
    fn globs_that_can_match_one_name_meet() {
        for (one, two) in [
            ("*", "*"),
            ("*.txt", "*.txt"),
            ("*.txt", "a*"),
            ("*.txt", "a.txt"),
            ("a?c", "abc"),
            ("[ab]x", "bx"),
            ("[]x]y", "]y"),
            ("{a,b}.csv", "b.*"),
            ("{a,{b,c}}.csv", "c.csv"),
            ("**/x", "x"),
            ("a/**/b", "a/b"),
            ("sub/*", "*/x"),
            ("a\\*b", "a*b"),
            ("*a*b*", "*c*d*"),
            ("é*", "é"),
        ] {
            assert!(globs(one, two), "{one} and {two}");
        }
    }

    #[test]
    fn globs_that_can_match_no_name_both_do_not_meet() {
        for (one, two) in [
            ("*.txt", "*.csv"),
            ("a*", "b*"),
            ("*.csv", "*.csv.gz"),
            ("{a,b}.csv", "{c,d}.csv"),
            ("*", "sub/x"),
            ("a/*", "b/*"),
            ("a\\*b", "axb"),
            ("x", "xx"),
        ] {
            assert!(!globs(one, two), "{one} and {two}");
        }
    }

    #[test]
    fn too_many_alternatives_meet_everything_that_begins_alike() {
        let many = "{a,b,c,d,e}".repeat(4);
        assert!(globs(&many, "aaaa"));
        assert!(globs(&format!("x{many}"), "xaaaa"));
    }

    #[test]
    fn names_are_put_together() {
        let result = Names::exactly(b"").then_text().then(b".csv").or_numbered();
        assert!(result.may_meet(&Names::glob("*.csv")));
        assert!(!result.may_meet(&Names::glob("*.txt")));
        let fixed = Names::exactly(b"result.txt").or_numbered();
        assert!(fixed.may_meet(&Names::exactly(b"result-2.txt")));
        assert!(!Names::exactly(b"result.txt").may_meet(&Names::exactly(b"result-2.txt")));
        let deep = Names::glob("*.txt").in_any_folder();
        assert!(deep.may_meet(&Names::exactly(b"a/b/c.txt")) && deep.may_meet(&Names::exactly(b"c.txt")));
        assert!(!Names::glob("*.txt").may_meet(&Names::exactly(b"a/c.txt")));
        assert!(Names::glob("*").below(b"out").may_meet(&Names::exactly(b"out/x")));
        assert!(!Names::glob("*").below(b"out").may_meet(&Names::exactly(b"in/x")));
        assert!(Names::all().may_meet(&Names::exactly(b"in/x")));
        assert!(!Names::default().may_meet(&Names::all()));
    }
}
