//! Reading YAML 1.2 and JSON into a tree that keeps the place of every key and value.
//!
//! What is wrong with the text becomes diagnostics and the rest is still read: duplicate keys, unknown aliases, tags,
//! and everything before a syntax error. Size, depth, number of values and what aliases unfold to are bounded, and
//! nothing here recurses deeper than [`MOST_DEPTH`]. What the values mean is checked in [`mod@super::check`].

mod read;
#[cfg(test)]
mod tests;

pub use read::parse;

use crate::diagnostic::Span;
use serde_json::{Map, Number, Value as Json};
use std::borrow::Cow;

/// The largest document, in bytes.
pub const MOST_BYTES: usize = 4 << 20;
/// The deepest nesting of lists and maps, aliases included.
pub const MOST_DEPTH: usize = 64;
/// The most values in a document, aliases unfolded.
pub const MOST_VALUES: usize = 100_000;
/// The most bytes of text in a document, aliases unfolded.
pub const MOST_TEXT: usize = 16 << 20;

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// From its first to its last character, quotes included. A value that came by an alias has the place where it
    /// is written, which is the place to mend.
    pub span: Span,
    /// The value.
    pub value: Value,
    /// Whether it was read to its end; `false` when a syntax error cut it off.
    pub complete: bool,
}

/// A value of the document.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number JSON can hold.
    Number(Number),
    /// Text and how it is written.
    Text(String, Style),
    /// A list.
    List(Vec<Node>),
    /// A map with unique keys, in the order of the document.
    Map(Vec<Entry>),
    /// Something that could not be read; a diagnostic says so, and nothing more is to be said of it.
    Broken,
}

/// How text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes.
    Plain,
    /// In single or double quotes.
    Quoted,
    /// A block that keeps its lines (`|`).
    Literal,
    /// A block whose lines are joined (`>`).
    Folded,
}

/// A key of a map and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The place of the key.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The entry of a map.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The value of a key of a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The entries of a map; none if it isn't one.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The values of a list; none if it isn't one.
    pub fn list(&self) -> &[Node] {
        match &self.value {
            Value::List(list) => list,
            _ => &[],
        }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text, _) => Some(text),
            _ => None,
        }
    }

    /// As JSON; what is broken becomes `null`.
    pub fn to_json(&self) -> Json {
        match &self.value {
            Value::Null | Value::Broken => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Number(value) => Json::Number(value.clone()),
            Value::Text(value, _) => Json::String(value.clone()),
            Value::List(list) => Json::Array(list.iter().map(Node::to_json).collect()),
            Value::Map(entries) => {
                Json::Object(entries.iter().map(|e| (e.key.clone(), e.value.to_json())).collect::<Map<_, _>>())
            }
        }
    }

    /// The place of what a JSON pointer names: the value, or the key when the value is a map or list; the nearest
    /// that exists when the pointer leads to nothing.
    pub fn place(&self, pointer: &str) -> Span {
        self.resolve(pointer).1
    }

    /// The node a JSON pointer names, or the nearest that exists, and its place.
    pub fn resolve(&self, pointer: &str) -> (&Node, Span) {
        let (mut node, mut span) = (self, self.first_line());
        for part in pointer.split('/').skip(1) {
            let part = part.replace("~1", "/").replace("~0", "~");
            match &node.value {
                Value::Map(entries) => match entries.iter().find(|entry| entry.key == part) {
                    Some(entry) => {
                        node = &entry.value;
                        span = if matches!(node.value, Value::Map(_) | Value::List(_) | Value::Null) {
                            entry.key_span
                        } else {
                            node.span
                        };
                    }
                    None => return (node, span),
                },
                Value::List(list) => match part.parse::<usize>().ok().and_then(|index| list.get(index)) {
                    Some(item) => {
                        node = item;
                        span = item.first_line();
                    }
                    None => return (node, span),
                },
                _ => return (node, span),
            }
        }
        (node, span)
    }

    /// A place short enough to be drawn: the first key of a map, the bracket of a list, the whole of anything else.
    pub fn first_line(&self) -> Span {
        match &self.value {
            Value::Map(entries) => entries.first().map_or(Span { len: 0, ..self.span }, |e| e.key_span),
            // A list that stands in the column of its key has the place of its first entry, without the dash.
            Value::List(list) => match list.first() {
                Some(first) if first.span.offset == self.span.offset => first.first_line(),
                _ => Span { len: self.span.len.min(1), ..self.span },
            },
            _ => self.span,
        }
    }

    /// The place in `source` of line `line`, column `column` (both from 1) of a text value: where a compiler that saw
    /// only the text found something. Falls back to the whole text when escapes or folding hide the place.
    pub fn place_in(&self, source: &str, line: usize, column: usize) -> Span {
        let Value::Text(text, style) = &self.value else { return self.span };
        let Some(raw) = source.get(self.span.offset..self.span.offset + self.span.len) else { return self.span };
        match style {
            // The header is the nearest line above that is not blank. Line n of the text stands n lines below it, after
            // the indentation, which is what the source line has more than the text's.
            Style::Literal => {
                let rows: Vec<&str> = source
                    .split('\n')
                    .map(|row| row.strip_suffix('\r').unwrap_or(row))
                    .take(self.span.line + line)
                    .collect();
                let above = rows.get(..self.span.line.saturating_sub(1)).unwrap_or(&[]);
                let header = above.iter().rposition(|row| !row.trim().is_empty());
                let target = header.map(|header| header + line.max(1));
                let indent = target
                    .zip(text.split('\n').nth(line.max(1) - 1))
                    .and_then(|(at, row)| rows.get(at)?.strip_suffix(row));
                match (target, indent) {
                    (Some(at), Some(indent)) => Span::at(source, at + 1, indent.chars().count() + column.max(1)),
                    _ => self.span,
                }
            }
            Style::Plain if raw == text && line <= 1 => {
                Span::at(source, self.span.line, self.span.column + column.max(1) - 1)
            }
            Style::Quoted if !raw.contains('\n') => quoted_offset(raw, text, line, column)
                .map_or(self.span, |offset| Span::of(source, self.span.offset + offset, 0)),
            _ => self.span,
        }
    }
}

/// Where in `raw`, a quoted scalar on one source line, the character at `line`, `column` of its `text` is written.
fn quoted_offset(raw: &str, text: &str, line: usize, column: usize) -> Option<usize> {
    let mut wanted = 0;
    for row in text.split('\n').take(line.max(1) - 1) {
        wanted += row.chars().count() + 1;
    }
    wanted += column.max(1) - 1;
    let double = raw.starts_with('"');
    let (mut at, mut seen) = (1, 0);
    while seen < wanted {
        let rest = raw.get(at..)?;
        let first = rest.chars().next()?;
        at += match (double, first) {
            (true, '\\') => match rest.as_bytes().get(1)? {
                b'x' => 4,
                // Two escapes of a surrogate pair are one character.
                b'u' if rest.len() >= 12
                    && matches!(rest.get(2..4)?.to_ascii_lowercase().as_str(), "d8" | "d9" | "da" | "db") =>
                {
                    12
                }
                b'u' => 6,
                b'U' => 10,
                _ => 2,
            },
            (false, '\'') => 2,
            _ => first.len_utf8(),
        };
        seen += 1;
    }
    (at < raw.len()).then_some(at)
}

/// A text short enough for a message.
pub(crate) fn shorten(text: &str) -> Cow<'_, str> {
    let line = text.lines().next().unwrap_or("");
    match line.char_indices().nth(60) {
        Some((at, _)) => Cow::Owned(format!("{}…", &line[..at])),
        None if line.len() < text.trim_end().len() => Cow::Owned(format!("{line}…")),
        None => Cow::Borrowed(line),
    }
}
