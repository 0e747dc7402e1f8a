//! Templates for names: `{stem}.upper.txt` and an item give `survey.upper.txt`.
//!
//! A template is read once, with all its mistakes told by place, and rendered for each item. What an item brings along
//! (its name, its attributes) can choose a name but never a folder: only `{path}`, `{date:…}` and the template's own
//! `/` part folders. Where the result is written to is decided elsewhere.

use std::borrow::Cow;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use opendmp_model::diagnostic::codes;
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::item::Item;
use opendmp_model::kinds::Problem;
use opendmp_model::name;
use opendmp_processor::Names;
use serde_json::Value;

/// The placeholders, as the help of a config field lists them.
pub(crate) const PLACEHOLDERS: &[&str] = &["name", "stem", "ext", "path", "date", "hash", "index", "attributes.KEY"];

/// The longest name of a file or a folder that file systems take, in bytes.
const LONGEST_NAME: usize = 255;
/// The longest path that programs take, in bytes.
const LONGEST_PATH: usize = 4_095;

/// The longest text of a template, in bytes: what Linux takes as one argument of a command.
const LONGEST_TEMPLATE: usize = 128 << 10;

/// Names that begin so are the program's own, and swept.
pub(crate) const OWN_PREFIX: &[u8] = b".opendmp-";

/// A template, read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Literal(String),
    Name,
    Stem,
    Ext,
    Path,
    Date(String),
    Hash(usize),
    /// At least so many digits.
    Index(usize),
    Attribute(String),
    /// A placeholder that only the caller knows, by its place in the caller's list.
    Own(usize),
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct TemplateError {
    /// Bytes from its beginning.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

impl TemplateError {
    /// As a problem with the template `text` at `pointer`.
    pub(crate) fn problem(&self, pointer: &str, text: &str) -> Problem {
        let before = text.get(..self.offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
        Problem::new(pointer, codes::BAD_FORMAT, self.message.clone()).at(line, column).hint(self.hint.clone())
    }
}

/// What an item gives for one part of a template.
struct Piece<'a> {
    text: Cow<'a, str>,
    /// Whether a `/` in it parts folders.
    parts_folders: bool,
    /// Which placeholder it stands for, to be told of.
    of: &'static str,
}

impl Template {
    /// Reads a template of the common placeholders.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        Self::parse_with(text, &[])
    }

    /// Reads a template of a path: as [`Template::parse`], and what could never be a path is refused.
    pub(crate) fn parse_path(text: &str) -> Result<Self, TemplateError> {
        let error =
            |offset, message: &str, hint: &str| TemplateError { offset, message: message.into(), hint: hint.into() };
        if text.is_empty() {
            return Err(error(0, "the name is empty", "write a name such as `{name}`"));
        }
        if text.len() > LONGEST_PATH {
            return Err(error(0, "the name is longer than any path can be", "write a name such as `{name}`"));
        }
        if text.starts_with('/') {
            return Err(error(
                0,
                "a name is within the destination and can't begin with `/`",
                "put the folder into `path`",
            ));
        }
        if text.ends_with('/') {
            return Err(error(text.len() - 1, "the name ends in a folder", "add a file name, for example `{name}`"));
        }
        let mut at = 0;
        for segment in text.split('/') {
            if segment == ".." || segment == "." {
                return Err(error(at, "a name can't go up, or stay, with `..` or `.`", "put the folder into `path`"));
            }
            at += segment.len() + 1;
        }
        Self::parse(text)
    }

    /// Reads a template that may also have the placeholders `own`.
    pub(crate) fn parse_with(text: &str, own: &[&str]) -> Result<Self, TemplateError> {
        if text.len() > LONGEST_TEMPLATE {
            let message = format!("the text has {} bytes, and {LONGEST_TEMPLATE} are the limit", text.len());
            let hint = "put what is long into a file that the command reads";
            return Err(TemplateError { offset: 0, message, hint: hint.to_owned() });
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            let rest = &text[at..];
            if rest.starts_with("{{") || rest.starts_with("}}") {
                literal.push(c);
                at += 2;
            } else if c == '{' {
                let Some(end) = rest.find('}') else {
                    return Err(TemplateError {
                        offset: at,
                        message: "a `{` is never closed".to_owned(),
                        hint: "close it with `}`, or write `{{` for the brace itself".to_owned(),
                    });
                };
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                parts.push(placeholder(&rest[1..end], at, own)?);
                at += end + 1;
            } else if c == '}' {
                return Err(TemplateError {
                    offset: at,
                    message: "a `}` closes nothing".to_owned(),
                    hint: "write `}}` for the brace itself".to_owned(),
                });
            } else if c == '\0' {
                return Err(TemplateError {
                    offset: at,
                    message: "a name can't have a NUL in it".to_owned(),
                    hint: "leave it out".to_owned(),
                });
            } else {
                literal.push(c);
                at += c.len_utf8();
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self { parts })
    }

    /// Whether it has the `n`-th of the caller's own placeholders.
    pub(crate) fn has_own(&self, n: usize) -> bool {
        self.parts.contains(&Part::Own(n))
    }

    /// The paths that it can give, see [`Template::path`].
    pub(crate) fn names(&self) -> Names {
        let mut names = Names::exactly(b"");
        let mut may_be_empty = false;
        for part in &self.parts {
            let was_empty = std::mem::take(&mut may_be_empty);
            names = match part {
                // An empty name between folders is left out with its `/`.
                Part::Literal(text) if was_empty && text.starts_with('/') => {
                    names.then_path().then(&text.as_bytes()[1..])
                }
                Part::Literal(text) => names.then(text.as_bytes()),
                Part::Date(format) if !format.contains(['/', 'D']) => names.then_text(),
                Part::Path | Part::Date(_) | Part::Own(_) => names.then_path(),
                Part::Name | Part::Stem | Part::Hash(_) | Part::Index(_) | Part::Ext | Part::Attribute(_) => {
                    names.then_text()
                }
            };
            may_be_empty = matches!(part, Part::Path | Part::Ext | Part::Attribute(_) | Part::Own(_));
        }
        names
    }

    /// The text for an item, as it stands; `own` gives the values of the caller's placeholders.
    pub(crate) fn text(&self, item: &Item, own: &[&str]) -> Result<String, Fault> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Own(n) => out.push_str(own.get(*n).copied().unwrap_or_default()),
                part => out.push_str(&piece(part, item)?.text),
            }
        }
        Ok(out)
    }

    /// The name for an item, without folders; `own` as with [`Template::text`].
    pub(crate) fn item_name(&self, item: &Item, own: &[&str]) -> Result<String, Fault> {
        let text = self.text(item, own)?;
        if text.is_empty() || text == "." || text == ".." || text.contains(['/', '\0']) {
            return Err(bad(item, format!("`{}` can't be the name of an item", name::printable(&text))));
        }
        Ok(text)
    }

    /// The path for an item: bytes, relative, without empty names, `.` and `..`.
    ///
    /// # Errors
    /// A fault of the item whose name or attributes don't give a path within the destination.
    pub(crate) fn path(&self, item: &Item) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        for part in &self.parts {
            let piece = piece(part, item)?;
            if !piece.parts_folders && piece.text.contains('/') {
                return Err(bad(item, format!("`{}` has a `/` in it: `{}`", piece.of, name::printable(&piece.text))));
            }
            bytes.extend(name::to_bytes(&piece.text));
        }
        let shown = || name::printable(&name::from_bytes(&bytes));
        if bytes.contains(&0) {
            return Err(bad(item, format!("the target `{}` has a NUL in it", shown())));
        }
        if bytes.is_empty() || bytes.ends_with(b"/") {
            return Err(bad(item, format!("the target `{}` has no file name", shown())));
        }
        let segments: Vec<&[u8]> = bytes.split(|&b| b == b'/').filter(|segment| !segment.is_empty()).collect();
        for segment in &segments {
            if matches!(*segment, b"." | b"..") {
                return Err(bad(item, format!("the target `{}` goes through `.` or `..`", shown())));
            }
            if segment.starts_with(OWN_PREFIX) {
                return Err(bad(item, format!("the target `{}` has a name that OpenDMP keeps for itself", shown())));
            }
            if segment.len() > LONGEST_NAME {
                let message = format!("a name in the target is {} bytes long, over {LONGEST_NAME}", segment.len());
                return Err(bad(item, message));
            }
        }
        let path = segments.join(&b'/');
        if path.len() > LONGEST_PATH {
            return Err(bad(item, format!("the target is {} bytes long, over {LONGEST_PATH}", path.len())));
        }
        Ok(path)
    }
}

fn bad(item: &Item, message: String) -> Fault {
    let hint =
        format!("give `{}` another name or other attributes in an earlier step, or change the template", item.name);
    Fault::new(FaultKind::Rejected, "bad-target", message).with_hint(hint)
}

fn placeholder(text: &str, at: usize, own: &[&str]) -> Result<Part, TemplateError> {
    let error = |message: String, hint: String| TemplateError { offset: at, message, hint };
    let (word, option) = match text.split_once(':') {
        Some((word, option)) => (word, Some(option)),
        None => (text, None),
    };
    if let Some(key) = word.strip_prefix("attributes.") {
        // A key may have a `:` in it, as those of some metadata do.
        let key = text.strip_prefix("attributes.").unwrap_or(key);
        return if key.is_empty() {
            Err(error("the attribute has no name".into(), "write `{attributes.KEY}`".into()))
        } else {
            Ok(Part::Attribute(key.to_owned()))
        };
    }
    if let (Some(n), None) = (own.iter().position(|own| *own == word), option) {
        return Ok(Part::Own(n));
    }
    match (word, option) {
        ("name", None) => Ok(Part::Name),
        ("stem", None) => Ok(Part::Stem),
        ("ext", None) => Ok(Part::Ext),
        ("path", None) => Ok(Part::Path),
        ("hash", None) => Ok(Part::Hash(64)),
        ("hash", Some(digits)) => match digits.parse() {
            Ok(digits @ 1..=64) => Ok(Part::Hash(digits)),
            _ => Err(error(
                format!("`{digits}` is not a number of digits"),
                "write 1 to 64, for example `{hash:8}`".into(),
            )),
        },
        ("index", None) => Ok(Part::Index(1)),
        ("index", Some(digits)) => match digits.parse() {
            Ok(digits @ 1..=10) => Ok(Part::Index(digits)),
            _ => Err(error(
                format!("`{digits}` is not a number of digits"),
                "write 1 to 10, for example `{index:4}`".into(),
            )),
        },
        ("date", format) => {
            let format = format.unwrap_or("%Y-%m-%d");
            match date(format, 0) {
                // A width (`%255Y`) makes much of little.
                Ok(text) if text.len() > LONGEST_NAME => Err(error(
                    format!("the date is {} bytes long, over {LONGEST_NAME}", text.len()),
                    "write it as strftime does, for example `{date:%Y-%m}`".into(),
                )),
                Ok(_) => Ok(Part::Date(format.to_owned())),
                Err(reason) => Err(error(
                    format!("the date format `{format}` can't be used: {reason}"),
                    "write it as strftime does, for example `{date:%Y-%m}`".into(),
                )),
            }
        }
        ("name" | "stem" | "ext" | "path", Some(_)) => {
            Err(error(format!("`{word}` takes no option"), format!("write `{{{word}}}`")))
        }
        _ => {
            let known = PLACEHOLDERS.iter().chain(own);
            // What is much longer was not meant as one of these, and to compare it would take much memory.
            let comparable = known.clone().filter(|_| word.len() <= 100);
            let near = comparable.map(|known| (strsim::damerau_levenshtein(word, known), known)).min();
            let hint = match near {
                Some((0..=2, near)) => format!("did you mean `{{{near}}}`?"),
                _ => {
                    let all: Vec<String> = known.map(|known| format!("`{{{known}}}`")).collect();
                    format!("known are {}; write `{{{{` for the brace itself", all.join(", "))
                }
            };
            Err(error(format!("there is no placeholder `{{{text}}}`"), hint))
        }
    }
}

/// The moment (milliseconds since 1970, UTC) in words.
fn date(format: &str, millis: i64) -> Result<String, jiff::Error> {
    let moment: Zoned = Timestamp::from_millisecond(millis)?.to_zoned(TimeZone::UTC);
    jiff::fmt::strtime::format(format, &moment)
}

fn piece<'a>(part: &'a Part, item: &'a Item) -> Result<Piece<'a>, Fault> {
    let plain = |text: &'a str, of| Piece { text: text.into(), parts_folders: false, of };
    Ok(match part {
        Part::Literal(text) => Piece { text: text.into(), parts_folders: true, of: "" },
        Part::Name => plain(&item.name, "{name}"),
        Part::Stem => plain(name::stem(&item.name), "{stem}"),
        Part::Ext => plain(name::extension(&item.name), "{ext}"),
        Part::Path => Piece { text: item.folder().into(), parts_folders: true, of: "{path}" },
        Part::Hash(digits) => {
            Piece { text: item.content.hash.short(*digits).into(), parts_folders: false, of: "{hash}" }
        }
        Part::Index(digits) => {
            Piece { text: format!("{:0digits$}", item.index).into(), parts_folders: false, of: "{index}" }
        }
        Part::Date(format) => match date(format, item.arrived) {
            Ok(text) => Piece { text: text.into(), parts_folders: true, of: "{date}" },
            Err(error) => {
                return Err(bad(item, format!("the date of arrival can't be written as `{format}`: {error}")));
            }
        },
        Part::Attribute(key) => match item.attributes.get(key) {
            Some(Value::String(text)) => plain(text, "{attributes}"),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => {
                Piece { text: value.to_string().into(), parts_folders: false, of: "{attributes}" }
            }
            _ => {
                return Err(Fault::new(
                    FaultKind::Rejected,
                    "bad-target",
                    format!("the item has no attribute `{key}`, which the template asks for"),
                )
                .with_hint(format!("set `{key}` in an earlier step, or leave `{{attributes.{key}}}` out")));
            }
        },
        Part::Own(_) => plain("", ""),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::item;
    use proptest::prelude::*;

    fn path(template: &str, item: &Item) -> Result<String, String> {
        let template = Template::parse_path(template).unwrap();
        template.path(item).map(|bytes| name::from_bytes(&bytes)).map_err(|fault| fault.message)
    }

    #[test]
    fn placeholders_are_filled() {
        let mut item = item("Größe 1.tar.gz", b"hello");
        item.arrived = 1_700_000_000_000;
        item.index = 27;
        let attributes = serde_json::json!({ "region": "north", "n": 3, "ok": true, "folder": "in/deep", "a:b": "c" });
        item.attributes = attributes.as_object().unwrap().clone().into();
        for (template, expected) in [
            ("{name}", "Größe 1.tar.gz"),
            ("{stem}.upper.{ext}", "Größe 1.tar.upper.gz"),
            ("{path}/{name}", "in/deep/Größe 1.tar.gz"),
            ("{date:%Y-%m}/{date}.txt", "2023-11/2023-11-14.txt"),
            ("{date:%Y/%m}/x", "2023/11/x"),
            ("{hash:8}", "ea8f163d"),
            ("{index}-{index:4}-{index:1}", "27-0027-27"),
            ("{attributes.region}-{attributes.n}-{attributes.ok}", "north-3-true"),
            ("{attributes.a:b}", "c"),
            ("{{{stem}}}", "{Größe 1.tar}"),
            ("a//b/{name}", "a/b/Größe 1.tar.gz"),
        ] {
            assert_eq!(path(template, &item).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn bytes_that_are_not_text_come_back() {
        let item = item(&name::from_bytes(b"caf\xe9.txt"), b"");
        let path = Template::parse_path("x/{stem}-2.{ext}").unwrap().path(&item).unwrap();
        assert_eq!(path, b"x/caf\xe9-2.txt");
    }

    #[test]
    fn an_empty_folder_collapses() {
        assert_eq!(path("{path}/{name}", &item("a", b"")).as_deref(), Ok("a"));
    }

    #[test]
    fn the_names_it_can_give_are_known() {
        let may = |template: &str, pattern: &str| {
            Template::parse_path(template).unwrap().names().may_meet(&Names::glob(pattern))
        };
        for (template, pattern) in [
            ("{name}", "*.txt"),
            ("{stem}.upper.txt", "*.txt"),
            ("{stem}.{ext}", "*.txt"),
            ("{path}/{name}", "*.txt"),
            ("{ext}/{name}", "*.txt"),
            ("{attributes.site}/{hash:8}.csv", "*.csv"),
            ("{date:%Y}/{name}", "2026/*"),
        ] {
            assert!(may(template, pattern), "{template} and {pattern}");
        }
        for (template, pattern) in [
            ("{stem}.csv", "*.txt"),
            ("out/{name}", "*"),
            ("{date:%Y}/{name}", "*"),
            ("a-{index:4}", "b*"),
            ("{{x}}", "x"),
        ] {
            assert!(!may(template, pattern), "{template} and {pattern}");
        }
    }

    #[test]
    fn nothing_leaves_the_destination() {
        let mut odd = item("a", b"");
        odd.attributes =
            serde_json::json!({ "folder": "../..", "up": "..", "slash": "x/y", "nul": "\u{0}", "null": null })
                .as_object()
                .unwrap()
                .clone()
                .into();
        for template in [
            "{path}/{name}",
            "{attributes.up}/{name}",
            "{attributes.slash}",
            "{attributes.nul}",
            "{attributes.null}",
            "{attributes.missing}",
            "x/{ext}",
            "{ext}",
            ".opendmp-{name}",
        ] {
            let fault = Template::parse_path(template).unwrap().path(&odd).unwrap_err();
            assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::Rejected, "bad-target"), "{template}");
            assert!(fault.hint.is_some());
        }
        assert!(path("{name}", &item("..", b"")).is_err());
        assert!(path("{name}", &item("a/b", b"")).is_err());
        assert!(path("{name}", &item(&"x".repeat(256), b"")).is_err());
        assert!(path("{name}", &item(&"x".repeat(255), b"")).is_ok());
    }

    #[test]
    fn mistakes_have_a_place_and_a_hint() {
        for (template, offset, hint) in [
            ("{nmae}", 0, "did you mean `{name}`?"),
            ("a{steam}", 1, "did you mean `{stem}`?"),
            ("{name", 0, "close it with `}`, or write `{{` for the brace itself"),
            ("name}", 4, "write `}}` for the brace itself"),
            ("{index:x}", 0, "write 1 to 10, for example `{index:4}`"),
            ("{hash:65}", 0, "write 1 to 64, for example `{hash:8}`"),
            ("{date:%!}", 0, "write it as strftime does, for example `{date:%Y-%m}`"),
            ("{name:3}", 0, "write `{name}`"),
            ("{attributes.}", 0, "write `{attributes.KEY}`"),
            ("/etc/{name}", 0, "put the folder into `path`"),
            ("a/../{name}", 2, "put the folder into `path`"),
            ("a/", 1, "add a file name, for example `{name}`"),
            ("", 0, "write a name such as `{name}`"),
        ] {
            let error = Template::parse_path(template).unwrap_err();
            assert_eq!((error.offset, error.hint.as_str()), (offset, hint), "{template}");
        }
        let unknown = Template::parse("{whatever}").unwrap_err();
        assert!(unknown.hint.starts_with("known are `{name}`, `{stem}`"), "{}", unknown.hint);
        let problem = Template::parse("é{x}").unwrap_err().problem("/name", "é{x}");
        assert_eq!(problem.offset, Some((1, 2)));
    }

    #[test]
    fn no_template_is_too_much() {
        let date = |width: usize| format!("{{date:%{width}Y}}");
        assert!(Template::parse(&date(255)).is_ok());
        for (template, word) in [
            ("x".repeat(200_000), "131072 are the limit"),
            (date(255).replace("%255Y", &"%255Y".repeat(20)), "bytes long"),
            // To compare it with what is known would take hundreds of bytes for each of its own.
            (format!("{{{}}}", "n".repeat(100_000)), "no placeholder"),
        ] {
            let error = Template::parse(&template).unwrap_err();
            assert!(error.message.contains(word), "{}", error.message);
        }
        assert!(Template::parse_path(&"x".repeat(5_000)).unwrap_err().message.contains("longer than any path"));
    }

    #[test]
    fn callers_have_their_own() {
        let template = Template::parse_with("--in={input}/{name}", &["input", "output"]).unwrap();
        assert!(template.has_own(0) && !template.has_own(1));
        assert_eq!(template.text(&item("a b", b""), &["/x", "/y"]).unwrap(), "--in=/x/a b");
        assert_eq!(Template::parse_with("{inptu}", &["input"]).unwrap_err().hint, "did you mean `{input}`?");
    }

    proptest! {
        #[test]
        fn whatever_an_item_is_called_its_path_stays_inside(text in "[./\\\\a\u{0}é{}x]{0,12}", folder in "[./a]{0,8}") {
            let mut item = item(&text, b"");
            item.attributes = serde_json::json!({ "folder": folder }).as_object().unwrap().clone().into();
            if let Ok(path) = Template::parse_path("{path}/{name}").unwrap().path(&item) {
                for segment in path.split(|&b| b == b'/') {
                    prop_assert!(!segment.is_empty() && segment != b"." && segment != b".." && !segment.contains(&0));
                }
            }
        }

        #[test]
        fn any_text_is_answered(text in "\\PC{0,16}") {
            let _ = Template::parse_path(&text);
        }
    }
}
