//! From YAML events to the tree: keys, anchors, aliases, merge keys, tags, numbers, and the limits on all of them.
//!
//! JSON goes the same way: YAML 1.2 contains it.

use super::{Entry, MOST_BYTES, MOST_DEPTH, MOST_TEXT, MOST_VALUES, Node, Style, Value, shorten};
use crate::diagnostic::{Diagnostic, Diagnostics, Span, codes};
use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, StructureStyle, Tag};
use serde_json::Number;
use std::borrow::Cow;
use std::collections::HashMap;

/// Reads a document. `None` when nothing of it could be read; otherwise what was read, with `complete` told per node.
pub fn parse(text: &str) -> (Option<Node>, Diagnostics) {
    let mut builder = Builder {
        source: text,
        out: Diagnostics::new(),
        stack: Vec::new(),
        anchors: HashMap::new(),
        root: None,
        values: 0,
        bytes: 0,
    };
    if text.len() > MOST_BYTES {
        builder.out.push(
            Diagnostic::error(codes::TOO_LARGE, format!("the document is larger than {} MiB", MOST_BYTES >> 20))
                .hint("keep large code in files of its own, named with `file:`"),
        );
        return (None, builder.out);
    }
    builder.run();
    let Builder { root, mut out, .. } = builder;
    if root.is_none() && !out.has_errors() {
        out.push(
            Diagnostic::error(codes::EMPTY_DOCUMENT, "the document is empty")
                .at(Span::of(text, 0, 0))
                .hint("begin with `name:` and `processors:`"),
        );
    }
    out.sort();
    (root, out)
}

struct Builder<'a> {
    source: &'a str,
    out: Diagnostics,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    values: usize,
    bytes: usize,
}

struct Frame {
    span: Span,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, seen: HashMap<String, usize>, key: Option<Key>, merged: Vec<Node> },
}

enum Key {
    Text(String, Span),
    /// `<<`
    Merge,
    /// Told already; its value is read and left out.
    Bad,
}

/// Reading can't go on.
struct Stop;

impl Builder<'_> {
    fn run(&mut self) {
        let options = granit_parser::options! {
            emit_comments: false,
            emit_unresolved_aliases: true,
            flow_nesting_limit: MOST_DEPTH,
            block_nesting_limit: MOST_DEPTH,
            // JSON has no limit on keys; the document's size is one.
            simple_key_max_lookahead: 64 << 10,
        };
        let mut documents = 0;
        for event in Parser::new_from_str_with_options(self.source, options) {
            let result = match event {
                Ok((Event::DocumentStart(..), span)) => {
                    documents += 1;
                    if documents > 1 {
                        self.out.push(
                            Diagnostic::error(codes::MORE_THAN_ONE_DOCUMENT, "a second document begins here")
                                .at(self.span(&span))
                                .hint("a file holds one flow; put the other one into a file of its own"),
                        );
                        Err(Stop)
                    } else {
                        Ok(())
                    }
                }
                Ok((event, span)) => self.event(event, &span),
                Err(error) => {
                    self.syntax(&error);
                    Err(Stop)
                }
            };
            if result.is_err() {
                break;
            }
        }
        while let Some(frame) = self.stack.pop() {
            let node = self.close(frame, false);
            // The budget is already spent or the text is at its end: nothing more can go wrong.
            let _ = self.place(node, None);
        }
    }

    fn event(&mut self, event: Event<'_>, span: &granit_parser::Span) -> Result<(), Stop> {
        let place = self.span(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.charge(text.len(), place)?;
                let plain_merge = style == ScalarStyle::Plain && tag.is_none() && text == "<<";
                if self.awaits_key() {
                    let key = if plain_merge { Key::Merge } else { Key::Text(text.clone().into_owned(), place) };
                    self.set_key(key, place);
                    if anchor > 0 {
                        self.anchors.insert(anchor, text_node(text.into_owned(), style, place));
                    }
                    return Ok(());
                }
                let value = self.scalar(text, style, tag.as_deref(), place);
                let node = Node { span: place, value, complete: true };
                self.remember(anchor, &node)?;
                self.place(node, None)
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.open(place, style, anchor, tag.as_deref(), "seq", Content::List(Vec::new()))
            }
            Event::MappingStart(style, anchor, tag) => {
                let content = Content::Map { entries: Vec::new(), seen: HashMap::new(), key: None, merged: Vec::new() };
                self.open(place, style, anchor, tag.as_deref(), "map", content)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(mut frame) = self.stack.pop() else { return Ok(()) };
                // The end of a block collection is an empty span at the next token; its own end is its last child's.
                if place.len > 0 {
                    frame.span.len = (place.offset + place.len).saturating_sub(frame.span.offset);
                }
                let anchor = frame.anchor;
                let node = self.close(frame, true);
                self.remember(anchor, &node)?;
                self.place(node, None)
            }
            Event::Alias(id) => {
                if self.awaits_key() {
                    return self.bad_key(place, "an alias");
                }
                let Some(node) = self.anchors.get(&id).cloned() else {
                    self.out.push(
                        Diagnostic::error(codes::UNKNOWN_ALIAS, "the alias stands within the value that it names")
                            .at(place),
                    );
                    return self.place(Node { span: place, value: Value::Broken, complete: true }, Some(place));
                };
                self.weigh(&node, place, self.stack.len())?;
                self.place(node, Some(place))
            }
            Event::UnresolvedAlias(name) => {
                self.charge(0, place)?;
                self.out.push(
                    Diagnostic::error(
                        codes::UNKNOWN_ALIAS,
                        format!("nothing is marked `&{}` before this alias", shorten(&name)),
                    )
                    .at(place)
                    .hint(format!("if text is meant, quote it: \"*{}\"", shorten(&name))),
                );
                if self.awaits_key() {
                    self.set_key(Key::Bad, place);
                    return Ok(());
                }
                self.place(Node { span: place, value: Value::Broken, complete: true }, Some(place))
            }
            Event::DocumentEnd => {
                // `key:` with nothing behind it is an event of its own, so nothing is left open here.
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn open(
        &mut self,
        place: Span,
        style: StructureStyle,
        anchor: usize,
        tag: Option<&Tag>,
        core: &str,
        content: Content,
    ) -> Result<(), Stop> {
        self.charge(0, place)?;
        if self.stack.len() >= MOST_DEPTH {
            return self.too_large(place, format!("lists and maps are nested deeper than {MOST_DEPTH}"));
        }
        if let Some(tag) = tag
            && !tag.is_yaml_core_schema_tag(core)
        {
            self.bad_tag(tag, place);
        }
        // A pair within a list, `[a: b]`, is a map of flow style without a bracket.
        let bracket = self.source.get(place.offset..).is_some_and(|rest| rest.starts_with(['[', '{']));
        let len = usize::from(style == StructureStyle::Flow && bracket);
        self.stack.push(Frame { span: Span { len, ..place }, anchor, content });
        Ok(())
    }

    /// Puts a finished node where it belongs. `alias` is the place of the alias it came by.
    fn place(&mut self, node: Node, alias: Option<Span>) -> Result<(), Stop> {
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        let end = alias.unwrap_or(node.span);
        if end.offset >= frame.span.offset {
            frame.span.len = frame.span.len.max(end.offset + end.len - frame.span.offset);
        }
        match &mut frame.content {
            Content::List(list) => list.push(node),
            Content::Map { entries, key, merged, .. } => match key.take() {
                Some(Key::Text(text, key_span)) => entries.push(Entry { key: text, key_span, value: node }),
                Some(Key::Merge) => merged.push(Node { span: alias.unwrap_or(node.span), ..node }),
                Some(Key::Bad) => {}
                // A list or map as a key; scalars were taken as keys before they came here.
                None => return self.bad_key(node.first_line(), "a list or map"),
            },
        }
        Ok(())
    }

    fn awaits_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { content: Content::Map { key: None, .. }, .. }))
    }

    fn bad_key(&mut self, place: Span, what: &str) -> Result<(), Stop> {
        self.out.push(
            Diagnostic::error(codes::BAD_KEY, format!("{what} can't be a key"))
                .at(place)
                .hint("quote text that begins with `{`, `[` or `*`"),
        );
        self.set_key(Key::Bad, place);
        Ok(())
    }

    /// Takes the key whose value comes next; a repeated one is told and its value left out.
    fn set_key(&mut self, new: Key, place: Span) {
        let Some(Frame { content: Content::Map { entries, seen, key, .. }, .. }) = self.stack.last_mut() else {
            return;
        };
        let new = match new {
            Key::Text(text, span) => match seen.get(&text) {
                Some(&first) => {
                    let mut diagnostic =
                        Diagnostic::error(codes::DUPLICATE_KEY, format!("`{}` stands here twice", shorten(&text)))
                            .at(place)
                            .hint("remove one of the two");
                    if let Some(entry) = entries.get(first) {
                        diagnostic = diagnostic.related(entry.key_span, "first here");
                    }
                    self.out.push(diagnostic);
                    Key::Bad
                }
                None => {
                    seen.insert(text.clone(), entries.len());
                    Key::Text(text, span)
                }
            },
            other => other,
        };
        *key = Some(new);
    }

    fn close(&mut self, frame: Frame, complete: bool) -> Node {
        let span = frame.span;
        let value = match frame.content {
            Content::List(list) => Value::List(list),
            Content::Map { mut entries, mut seen, key, merged } => {
                if let Some(Key::Text(key, key_span)) = key {
                    let value = Node { span: key_span, value: Value::Broken, complete: false };
                    entries.push(Entry { key, key_span, value });
                }
                for node in merged {
                    self.merge(node, &mut entries, &mut seen);
                }
                Value::Map(entries)
            }
        };
        Node { span, value, complete }
    }

    /// Takes the keys of `node` that are not there yet: what is written wins over what is merged, earlier over later.
    fn merge(&mut self, node: Node, entries: &mut Vec<Entry>, seen: &mut HashMap<String, usize>) {
        let span = node.span;
        let maps = match node.value {
            Value::Map(_) => vec![node],
            Value::List(list) if list.iter().all(|item| matches!(item.value, Value::Map(_))) => list,
            Value::Broken => return,
            _ => {
                self.out.push(
                    Diagnostic::error(codes::BAD_MERGE, "a merge key takes a map")
                        .at(span)
                        .hint("write `<<: *name`, where `&name` marks a map earlier in the document"),
                );
                return;
            }
        };
        for map in maps {
            let Value::Map(more) = map.value else { continue };
            for entry in more {
                if !seen.contains_key(&entry.key) {
                    seen.insert(entry.key.clone(), entries.len());
                    entries.push(entry);
                }
            }
        }
    }

    fn remember(&mut self, anchor: usize, node: &Node) -> Result<(), Stop> {
        if anchor > 0 {
            // The copy kept for the aliases counts too.
            self.weigh(node, node.span, 0)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(())
    }

    /// Charges a copy of `node` that will stand at depth `depth`.
    fn weigh(&mut self, node: &Node, place: Span, depth: usize) -> Result<(), Stop> {
        if depth > MOST_DEPTH {
            return self.too_large(place, format!("lists and maps are nested deeper than {MOST_DEPTH}"));
        }
        match &node.value {
            Value::Text(text, _) => self.charge(text.len(), place),
            Value::List(list) => {
                self.charge(0, place)?;
                list.iter().try_for_each(|item| self.weigh(item, place, depth + 1))
            }
            Value::Map(entries) => {
                self.charge(0, place)?;
                entries.iter().try_for_each(|entry| {
                    self.charge(entry.key.len(), place)?;
                    self.weigh(&entry.value, place, depth + 1)
                })
            }
            _ => self.charge(0, place),
        }
    }

    fn charge(&mut self, bytes: usize, place: Span) -> Result<(), Stop> {
        self.values += 1;
        self.bytes += bytes;
        if self.values > MOST_VALUES {
            return self.too_large(place, format!("the document has more than {MOST_VALUES} values"));
        }
        if self.bytes > MOST_TEXT {
            return self.too_large(place, format!("the document unfolds to more than {} MiB", MOST_TEXT >> 20));
        }
        Ok(())
    }

    fn too_large(&mut self, place: Span, message: String) -> Result<(), Stop> {
        self.out.push(Diagnostic::error(codes::TOO_LARGE, message).at(place));
        Err(Stop)
    }

    fn scalar(&mut self, text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>, place: Span) -> Value {
        let quoted = |text: Cow<'_, str>| Value::Text(text.into_owned(), style_of(style));
        match tag.map(|tag| (tag, tag.core_suffix())) {
            None if style == ScalarStyle::Plain => self.plain(text, place),
            None | Some((_, Some("str"))) => quoted(text),
            Some((tag, suffix)) => {
                // `!` alone says "text".
                if matches!((tag.handle(), tag.suffix()), ("", "!") | ("!", "")) {
                    return quoted(text);
                }
                let value = self.plain(text, place);
                let fits = matches!(
                    (suffix, &value),
                    (Some("int"), Value::Number(_)) | (Some("bool"), Value::Bool(_)) | (Some("null"), Value::Null)
                ) || (suffix == Some("float") && matches!(value, Value::Number(_)));
                if !fits {
                    self.bad_tag(tag, place);
                    return Value::Broken;
                }
                value
            }
        }
    }

    /// The value of a plain scalar by the core schema of YAML 1.2: `no` is text.
    fn plain(&mut self, text: Cow<'_, str>, place: Span) -> Value {
        match text.as_ref() {
            "" | "~" | "null" | "Null" | "NULL" => Value::Null,
            "true" | "True" | "TRUE" => Value::Bool(true),
            "false" | "False" | "FALSE" => Value::Bool(false),
            other => match number(other) {
                Some(Ok(number)) => Value::Number(number),
                Some(Err(why)) => {
                    self.out.push(
                        Diagnostic::error(codes::BAD_NUMBER, format!("`{}` {why}", shorten(other)))
                            .at(place)
                            .hint("quote it if it is meant as text"),
                    );
                    Value::Broken
                }
                None => Value::Text(text.into_owned(), Style::Plain),
            },
        }
    }

    fn bad_tag(&mut self, tag: &Tag, place: Span) {
        let name = shorten(&format!("{}{}", tag.original_handle(), tag.suffix())).into_owned();
        self.out.push(
            Diagnostic::error(
                codes::UNSUPPORTED_TAG,
                format!("the tag `{name}` is not known here or does not fit its value"),
            )
            .at(place)
            .hint("remove the tag; quote text that begins with `!`"),
        );
    }

    fn syntax(&mut self, error: &ScanError) {
        let offset = error.marker().byte_offset().unwrap_or(self.source.len()).min(self.source.len());
        if *error.kind() == ErrorKind::RecursionLimitExceeded {
            let message = format!("lists and maps are nested deeper than {MOST_DEPTH}");
            self.out.push(Diagnostic::error(codes::TOO_LARGE, message).at(Span::of(self.source, offset, 1)));
            return;
        }
        let width = self
            .source
            .get(offset..)
            .and_then(|rest| rest.chars().next())
            .filter(|c| *c != '\n')
            .map_or(0, char::len_utf8);
        let mut diagnostic =
            Diagnostic::error(codes::SYNTAX, error.info().replace('\n', " ")).at(Span::of(self.source, offset, width));
        if let Some(hint) = syntax_hint(error.kind()) {
            diagnostic = diagnostic.hint(hint);
        }
        self.out.push(diagnostic);
    }

    fn span(&self, span: &granit_parser::Span) -> Span {
        let offset = span.start.byte_offset().unwrap_or(0);
        let end = span.end.byte_offset().unwrap_or(offset);
        let raw = self.source.get(offset..end).unwrap_or("");
        // The end of a block scalar is the beginning of the next token; its last line break is not part of a place.
        Span { offset, len: raw.trim_end().len(), line: span.start.line(), column: span.start.col() + 1 }
    }
}

fn style_of(style: ScalarStyle) -> Style {
    match style {
        ScalarStyle::Plain => Style::Plain,
        ScalarStyle::Literal => Style::Literal,
        ScalarStyle::Folded => Style::Folded,
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
    }
}

fn text_node(text: String, style: ScalarStyle, span: Span) -> Node {
    Node { span, value: Value::Text(text, style_of(style)), complete: true }
}

/// The number a plain scalar is by the core schema, `None` if it isn't one.
fn number(text: &str) -> Option<Result<Number, &'static str>> {
    const TOO_LONG: &str = "is a whole number of more than 64 bits";
    const NOT_FINITE: &str = "is not a finite number";
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some(Err(NOT_FINITE));
    }
    for (prefix, radix) in [("0o", 8), ("0x", 16)] {
        if let Some(digits) = text.strip_prefix(prefix)
            && !digits.is_empty()
            && digits.chars().all(|c| c.is_digit(radix))
        {
            return Some(u64::from_str_radix(digits, radix).map(Number::from).map_err(|_| TOO_LONG));
        }
    }
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(unsigned);
    if whole == unsigned.len() && whole > 0 {
        // `parse` knows `+` only for signed types, and `-0` is 0.
        let signed = text.strip_prefix('+').unwrap_or(text);
        let number = signed.parse::<i64>().map(Number::from).or_else(|_| signed.parse::<u64>().map(Number::from));
        return Some(number.map_err(|_| TOO_LONG));
    }
    let mut rest = &unsigned[whole..];
    let mut fraction = 0;
    if let Some(after) = rest.strip_prefix('.') {
        fraction = digits(after);
        rest = &after[fraction..];
    }
    if whole + fraction == 0 {
        return None;
    }
    if let Some(after) = rest.strip_prefix(['e', 'E']) {
        let after = after.strip_prefix(['-', '+']).unwrap_or(after);
        if after.is_empty() || digits(after) != after.len() {
            return None;
        }
        rest = "";
    }
    if !rest.is_empty() {
        return None;
    }
    Some(text.parse::<f64>().ok().and_then(Number::from_f64).ok_or(NOT_FINITE))
}

fn syntax_hint(kind: &ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInPlainScalar => "indent with spaces, not tabs",
        ErrorKind::UnclosedQuotedScalar => "a closing quote is missing",
        ErrorKind::UnclosedFlowCollection { open: '[' } | ErrorKind::UnexpectedEofFlowSequence => {
            "a closing `]` is missing"
        }
        ErrorKind::UnclosedFlowCollection { .. }
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::ExpectedFlowMappingSeparator => "a `,` or a closing `}` is missing",
        ErrorKind::ExpectedFlowSequenceSeparator => "a `,` or a closing `]` is missing",
        ErrorKind::ExpectedBlockMappingKey | ErrorKind::InvalidIndentation | ErrorKind::ExpectedBlockSequenceEntry => {
            "lines of one map or list begin in the same column"
        }
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => "a key ends with `:` and a blank",
        ErrorKind::MappingValueNotAllowed | ErrorKind::MappingKeyNotAllowed | ErrorKind::InvalidColonPlacement => {
            "quote text that contains `: `; lines of one map begin in the same column"
        }
        ErrorKind::UnexpectedCharacter { character: '@' | '`' } => "quote text that begins with `@` or a backtick",
        ErrorKind::UnexpectedCharacter { character: '%' } => "quote text that begins with `%`",
        ErrorKind::UnknownQuotedScalarEscape => "in double quotes write a backslash as `\\\\`, or use single quotes",
        _ => return None,
    })
}
