//! Walking a tree against JSON Schema, the part of it that `schemars` makes of plain structs, enums, options, maps and
//! lists. Not a general validator: every refusal is said in words, at its place, with the nearest thing that would do.

mod expected;
mod leaves;

pub(super) use expected::Schema;

use super::tree::{Entry, Node, Style, Value, shorten};
use super::words::{joined, listed, nearest, there_are, with_article};
use crate::diagnostic::{Diagnostic, Diagnostics, Span, codes};
use crate::kinds::{CLASS_KEYWORD, Class, Kinds};
use expected::matches_pattern;
use leaves::found;
use serde_json::Value as Json;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

/// How many schema steps a document may cost: what alternatives within alternatives could otherwise multiply.
const MOST_STEPS: usize = 4_000_000;

/// What was probably meant where a key or one of some allowed values is misspelt, by the offset of the slip. Reading
/// goes on as if that stood there, so that one slip does not hide other problems; a document with corrections never
/// gets further than its check.
#[derive(Default)]
struct Corrections {
    /// `None` leaves the entry out.
    keys: HashMap<usize, Option<String>>,
    values: HashMap<usize, String>,
}

impl Corrections {
    fn extend(&mut self, other: Corrections) {
        self.keys.extend(other.keys);
        self.values.extend(other.values);
    }

    fn apply(&self, node: &Node) -> Node {
        let value = match &node.value {
            Value::List(list) => Value::List(list.iter().map(|item| self.apply(item)).collect()),
            Value::Map(entries) => Value::Map(
                entries
                    .iter()
                    .filter_map(|entry| {
                        let key = match self.keys.get(&entry.key_span.offset) {
                            Some(correction) => correction.clone()?,
                            None => entry.key.clone(),
                        };
                        Some(Entry { key, key_span: entry.key_span, value: self.apply(&entry.value) })
                    })
                    .collect(),
            ),
            Value::Text(text, style) => {
                let meant = self.values.get(&node.span.offset).unwrap_or(text);
                Value::Text(meant.clone(), *style)
            }
            other => other.clone(),
        };
        Node { value, ..*node }
    }
}

/// What is walked: the tree's owner for messages, and what was found.
pub(super) struct Walk<'k, 'o> {
    pub(super) kinds: &'k dyn Kinds,
    pub(super) out: &'o mut Diagnostics,
    /// The id of the processor under check.
    pub(super) processor: Option<String>,
    /// Whether texts may name secrets.
    pub(super) secrets_allowed: bool,
    /// The secrets named so far.
    pub(super) secrets: BTreeSet<String>,
    /// How many values were wrong so far, including those told before (broken ones). Corrected keys don't count.
    pub(super) faults: usize,
    corrections: Corrections,
    pub(super) steps: usize,
}

/// What came of trying one of several shapes.
struct Tried {
    faults: usize,
    out: Diagnostics,
    secrets: BTreeSet<String>,
    corrections: Corrections,
}

/// What a map is in messages, and where to point when something is missing in it.
#[derive(Clone, Copy)]
pub(super) struct Owner<'a> {
    /// "an ingest", "`on_error`".
    pub(super) name: &'a str,
    /// The kind whose help lists the keys.
    pub(super) kind: Option<&'a str>,
    pub(super) place: Span,
}

impl<'k, 'o> Walk<'k, 'o> {
    pub(super) fn new(kinds: &'k dyn Kinds, out: &'o mut Diagnostics) -> Walk<'k, 'o> {
        Walk {
            kinds,
            out,
            processor: None,
            secrets_allowed: false,
            secrets: BTreeSet::new(),
            faults: 0,
            corrections: Corrections::default(),
            steps: 0,
        }
    }

    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        self.faults += 1;
        self.out.push(diagnostic.of_processor(self.processor.as_deref()));
    }

    /// Checks the value of `key`.
    pub(super) fn value(&mut self, node: &Node, schema: Schema<'_>, key: &str, key_span: Span) {
        let schema = schema.resolved();
        self.steps += 1;
        if matches!(node.value, Value::Broken) || self.steps > MOST_STEPS {
            self.faults += 1;
            return;
        }
        if let Some(class) = schema.text(CLASS_KEYWORD).and_then(Class::from_keyword) {
            return self.nested(node, class, key, key_span);
        }
        if matches!(node.value, Value::Null) && schema.nullable() {
            return;
        }
        if let Some(allowed) = schema.allowed() {
            return self.one_of(node, schema, &allowed, key, key_span);
        }
        if let Some(alternatives) = schema.alternatives() {
            return self.any_of(node, schema, &alternatives, key, key_span);
        }
        for part in schema.node.get("allOf").and_then(Json::as_array).into_iter().flatten() {
            self.value(node, schema.of(part), key, key_span);
        }
        if *schema.node == Json::Bool(false) {
            return self.report(
                Diagnostic::error(codes::UNKNOWN_KEY, format!("`{}` has no place here", shorten(key))).at(key_span),
            );
        }
        if !schema.takes(node) {
            return self.wrong_type(node, schema, key, key_span);
        }
        match &node.value {
            Value::Text(text, style) => self.text(node, text, *style, schema, key),
            Value::Number(number) => self.number(node, number, schema, key),
            Value::List(list) => self.list(node, list, schema, key, key_span),
            Value::Map(_) => {
                let name = format!("`{}`", shorten(key));
                self.object(node, &[schema], Owner { name: &name, kind: None, place: key_span });
            }
            Value::Null | Value::Bool(_) | Value::Broken => {}
        }
    }

    /// The entries of a map under the keys that were meant; unknown keys are told, and left out when nothing is near.
    pub(super) fn entries<'n>(
        &mut self,
        node: &'n Node,
        schemas: &[Schema<'_>],
        owner: Owner<'_>,
    ) -> Vec<(Cow<'n, str>, &'n Entry)> {
        let mut entries = Vec::new();
        for entry in node.entries() {
            if let Some(correction) = self.corrections.keys.get(&entry.key_span.offset) {
                entries.extend(correction.clone().map(|meant| (Cow::Owned(meant), entry)));
            } else if schemas.iter().any(|schema| schema.knows(&entry.key)) {
                entries.push((Cow::Borrowed(entry.key.as_str()), entry));
            } else {
                let meant = self.unknown_key(node, &entry.key, entry.key_span, schemas, owner);
                // Two slips for one key, or a slip beside the key itself, can't both be meant.
                let meant =
                    meant.filter(|meant| node.get(meant).is_none() && entries.iter().all(|(key, _)| key != meant));
                self.corrections.keys.insert(entry.key_span.offset, meant.map(str::to_owned));
                entries.extend(meant.map(|meant| (Cow::Owned(meant.to_owned()), entry)));
            }
        }
        entries
    }

    /// A value with the corrections: what was probably meant.
    pub(super) fn corrected<'n>(&self, node: &'n Node) -> Cow<'n, Node> {
        if self.corrections.keys.is_empty() && self.corrections.values.is_empty() {
            Cow::Borrowed(node)
        } else {
            Cow::Owned(self.corrections.apply(node))
        }
    }

    /// A problem that reading goes on behind, as if what was meant stood there.
    fn slip(&mut self, diagnostic: Diagnostic) {
        self.out.push(diagnostic.of_processor(self.processor.as_deref()));
    }

    /// Checks a map against schemas that each know some of its keys.
    pub(super) fn object(&mut self, node: &Node, schemas: &[Schema<'_>], owner: Owner<'_>) {
        let entries = self.entries(node, schemas, owner);
        for (key, entry) in &entries {
            if let Some(schema) = schemas.iter().find(|schema| schema.knows(key)) {
                if let Some(names) = schema.node.get("propertyNames") {
                    let name = Node {
                        span: entry.key_span,
                        value: Value::Text(key.to_string(), Style::Plain),
                        complete: true,
                    };
                    self.value(&name, schema.of(names), key, entry.key_span);
                }
                self.value(&entry.value, schema.value_of(key), key, entry.key_span);
            }
        }
        if !node.complete {
            self.faults += 1;
            return;
        }
        for key in schemas.iter().flat_map(|schema| schema.required()) {
            if entries.iter().all(|(known, _)| known != key) {
                let mut diagnostic =
                    Diagnostic::error(codes::MISSING_KEY, format!("{} needs `{key}`", owner.name)).at(owner.place);
                if let Some(schema) = schemas.iter().find_map(|schema| schema.property(key)) {
                    diagnostic = diagnostic.hint(self.missing_hint(key, schema));
                }
                self.report(diagnostic);
            }
        }
        let count = node.entries().len();
        if let Some(most) = schemas.iter().find_map(|schema| schema.node.get("maxProperties")?.as_u64())
            && count as u64 > most
        {
            self.report(
                Diagnostic::error(
                    codes::OUT_OF_RANGE,
                    format!("{} takes at most {most} entries, not {count}", owner.name),
                )
                .at(owner.place),
            );
        }
        if let Some(least) = schemas.iter().find_map(|schema| schema.node.get("minProperties")?.as_u64())
            && (count as u64) < least
        {
            self.report(
                Diagnostic::error(
                    codes::OUT_OF_RANGE,
                    format!("{} takes at least {least} entries, not {count}", owner.name),
                )
                .at(owner.place),
            );
        }
    }

    /// What to add when `key` is missing.
    pub(super) fn missing_hint(&self, key: &str, schema: Schema<'_>) -> String {
        match schema.text(CLASS_KEYWORD).and_then(Class::from_keyword) {
            Some(class) => format!("add `{key}:` with a `type`; {}", self.known(class)),
            None => format!("add `{key}:`, {}", schema.words()),
        }
    }

    /// Reports a key nobody knows; returns the key that was probably meant.
    fn unknown_key<'s>(
        &mut self,
        map: &Node,
        key: &str,
        place: Span,
        schemas: &[Schema<'s>],
        owner: Owner<'_>,
    ) -> Option<&'s str> {
        if self.out.is_full() {
            // Looking for what was meant takes long, and nobody sees what is beyond the limit.
            self.slip(Diagnostic::error(codes::UNKNOWN_KEY, "").at(place));
            return None;
        }
        let known =
            || schemas.iter().filter_map(|schema| schema.properties()).flat_map(|all| all.keys().map(String::as_str));
        let meant = nearest(key, known().filter(|name| map.get(name).is_none())).or_else(|| nearest(key, known()));
        let deeper = schemas.iter().filter_map(|schema| schema.properties().map(|all| (schema, all))).find_map(
            |(schema, all)| {
                all.iter()
                    .find(|(name, node)| self.has_key(map.get(name), schema.of(node), key))
                    .map(|(name, _)| name.as_str())
            },
        );
        let mut diagnostic =
            Diagnostic::error(codes::UNKNOWN_KEY, format!("{} has no `{}`", owner.name, shorten(key))).at(place);
        diagnostic = match (meant, deeper, owner.kind) {
            (_, Some(within), _) => diagnostic.hint(format!("`{}` belongs into `{within}`", shorten(key))),
            (Some(meant), None, _) => diagnostic.hint(format!("did you mean `{meant}`?")),
            (None, None, Some(kind)) => diagnostic.hint(format!("`opendmp kinds {kind}` lists its keys")),
            (None, None, None) => diagnostic.hint(format!("it has {}", joined(known(), "and"))),
        };
        self.slip(diagnostic);
        if deeper.is_some() { None } else { meant }
    }

    /// Whether `key` is one that stands in the map `schema` is of.
    fn has_key(&self, node: Option<&Node>, schema: Schema<'_>, key: &str) -> bool {
        match schema.text(CLASS_KEYWORD).and_then(Class::from_keyword) {
            Some(class) => node
                .and_then(|node| node.get("type")?.text())
                .and_then(|kind| self.kinds.get(class, kind))
                .is_some_and(|info| Schema::root(&info.schema).resolved().property(key).is_some()),
            None => schema.property(key).is_some(),
        }
    }

    /// The config of a nested kind.
    fn nested(&mut self, node: &Node, class: Class, key: &str, key_span: Span) {
        let Value::Map(_) = &node.value else {
            if !node.complete {
                self.faults += 1;
                return;
            }
            let hint = format!("write `{key}: {{ type: … }}`; {}", self.known(class));
            let message = format!("`{key}` takes a map with a `type`, not {}", found(node));
            return self.report(Diagnostic::error(codes::WRONG_TYPE, message).at(place_of(node, key_span)).hint(hint));
        };
        let own = kind_of(self, node, class, &format!("`{key}`"), key_span);
        let type_schema = serde_json::json!({ "properties": { "type": { "type": "string" } } });
        if let Some((kind, info)) = own {
            let name = with_article(kind);
            let schemas = [Schema::root(&type_schema), Schema::root(&info.schema).resolved()];
            self.object(node, &schemas, Owner { name: &name, kind: Some(kind), place: key_span });
        }
    }

    /// Which kinds of a class there are, for hints.
    pub(super) fn known(&self, class: Class) -> String {
        there_are(self.kinds.list().into_iter().filter(|info| info.class == class).map(|info| info.name.as_str()))
    }

    fn one_of(&mut self, node: &Node, schema: Schema<'_>, allowed: &[&str], key: &str, key_span: Span) {
        let Some(text) = node.text() else { return self.wrong_type(node, schema, key, key_span) };
        if allowed.contains(&text) {
            return;
        }
        let message = format!("`{}` takes {}, not `{}`", shorten(key), listed(allowed.iter().copied()), shorten(text));
        let diagnostic = Diagnostic::error(codes::NOT_ALLOWED, message).at(node.span);
        match nearest(text, allowed.iter().copied()) {
            Some(meant) => {
                self.corrections.values.insert(node.span.offset, meant.to_owned());
                self.slip(diagnostic.hint(format!("did you mean `{meant}`?")));
            }
            None => self.report(diagnostic),
        }
    }

    /// Several shapes: the one whose tag or type fits is the one that was meant.
    fn any_of(&mut self, node: &Node, schema: Schema<'_>, alternatives: &[Schema<'_>], key: &str, key_span: Span) {
        let mut fitting: Vec<Schema<'_>> =
            alternatives.iter().copied().filter(|alternative| alternative.takes(node)).collect();
        if let Value::Map(entries) = &node.value {
            // A tag (`mode: count`) says which shape is meant, even if the rest of it is wrong.
            let tagged = |alternative: &Schema<'_>| {
                entries.iter().any(|entry| {
                    let tag = alternative.property(&entry.key).and_then(|schema| schema.text("const"));
                    tag.is_some() && tag == entry.value.text()
                })
            };
            if fitting.iter().any(&tagged) {
                fitting.retain(tagged);
            } else if let Some((tag, allowed)) = tag_of(&fitting)
                && let Some(value) = node.get(tag)
            {
                let schema = serde_json::json!({ "enum": allowed });
                return self.value(value, Schema::root(&schema), tag, key_span);
            }
        }
        match fitting.as_slice() {
            [] => self.wrong_type(node, schema, key, key_span),
            [only] => self.value(node, *only, key, key_span),
            several => {
                let mut best: Option<Tried> = None;
                for alternative in several {
                    let mut out = Diagnostics::new();
                    let mut walk = Walk {
                        kinds: self.kinds,
                        out: &mut out,
                        processor: self.processor.clone(),
                        secrets_allowed: self.secrets_allowed,
                        secrets: BTreeSet::new(),
                        faults: 0,
                        corrections: Corrections::default(),
                        steps: self.steps,
                    };
                    walk.value(node, *alternative, key, key_span);
                    let (faults, secrets, corrections) = (walk.faults, walk.secrets, walk.corrections);
                    self.steps = walk.steps;
                    let problems = out.len();
                    if best.as_ref().is_none_or(|best| problems < best.out.len()) {
                        best = Some(Tried { faults, out, secrets, corrections });
                    }
                    if problems == 0 {
                        break;
                    }
                }
                if let Some(best) = best {
                    self.faults += best.faults;
                    self.out.append(best.out);
                    self.secrets.extend(best.secrets);
                    self.corrections.extend(best.corrections);
                }
            }
        }
    }
}

/// The kind a map names under `type`, told when it names none or an unknown one.
pub(super) fn kind_of<'k>(
    walk: &mut Walk<'k, '_>,
    node: &Node,
    class: Class,
    owner: &str,
    place: Span,
) -> Option<(&'k str, &'k crate::kinds::KindInfo)> {
    // `typ: script` is a slip of the key; what stands there still says which kind is meant.
    let slip = || {
        node.entries().iter().find(|entry| {
            let near = entry.key == "kind" || nearest(&entry.key, ["type"]).is_some();
            near && entry.value.text().is_some_and(|name| walk.kinds.get(class, name).is_some())
        })
    };
    let written = node.entry("type");
    let Some(entry) = written.or_else(slip) else {
        if node.complete {
            let hint = walk.known(class);
            walk.report(Diagnostic::error(codes::MISSING_KEY, format!("{owner} needs a `type`")).at(place).hint(hint));
        } else {
            walk.faults += 1;
        }
        return None;
    };
    if written.is_none() {
        let message = format!("{owner} has no `{}`", shorten(&entry.key));
        let diagnostic = Diagnostic::error(codes::UNKNOWN_KEY, message).at(entry.key_span).hint("did you mean `type`?");
        walk.slip(diagnostic);
        walk.corrections.keys.insert(entry.key_span.offset, Some("type".to_owned()));
    }
    let Some(name) = entry.value.text() else {
        let schema = serde_json::json!({ "type": "string" });
        walk.value(&entry.value, Schema::root(&schema), "type", entry.key_span);
        return None;
    };
    let kinds = walk.kinds;
    if let Some(info) = kinds.get(class, name) {
        return Some((info.name.as_str(), info));
    }
    let names = kinds.list().into_iter().filter(|info| info.class == class).map(|info| info.name.as_str());
    let other = [Class::Processor, Class::Source, Class::Destination]
        .into_iter()
        .find(|class| kinds.get(*class, name).is_some());
    let message = format!("there is no {class} of type `{}`", shorten(name));
    let diagnostic = Diagnostic::error(codes::UNKNOWN_KIND, message).at(place_of(&entry.value, entry.key_span));
    if let Some(other) = other {
        let hint = format!("`{name}` is {}; {}", with_article(other.as_str()), walk.known(class));
        walk.report(diagnostic.hint(hint));
        return None;
    }
    let Some(meant) = nearest(name, names) else {
        let hint = walk.known(class);
        walk.report(diagnostic.hint(hint));
        return None;
    };
    walk.slip(diagnostic.hint(format!("did you mean `{meant}`?")));
    walk.corrections.values.insert(entry.value.span.offset, meant.to_owned());
    kinds.get(class, meant).map(|info| (info.name.as_str(), info))
}

/// The key that tells shapes apart, with all its values.
fn tag_of<'a>(alternatives: &[Schema<'a>]) -> Option<(&'a str, Vec<&'a str>)> {
    let first = alternatives.first()?.properties()?;
    first.keys().find_map(|key| {
        let values: Option<Vec<&str>> =
            alternatives.iter().map(|alternative| alternative.property(key)?.text("const")).collect();
        values.map(|values| (key.as_str(), values))
    })
}

fn place_of(node: &Node, key_span: Span) -> Span {
    match node.value {
        Value::Null | Value::Map(_) | Value::List(_) => key_span,
        _ => node.span,
    }
}
