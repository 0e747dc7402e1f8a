//! Walking a tree against JSON Schema, the part of it that `schemars` makes of plain structs, enums, options, maps and
//! lists. Not a general validator: every refusal is said in words, at its place, with the nearest thing that would do.

use super::flow::is_id;
use super::tree::{Entry, Node, Style, Value, shorten};
use super::values::{ByteSize, HumanDuration, ValueError};
use crate::diagnostic::{Diagnostic, Diagnostics, Span, codes};
use crate::kinds::{CLASS_KEYWORD, Class, Kinds};
use serde_json::{Map, Value as Json};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

/// How many schema steps a document may cost: what alternatives within alternatives could otherwise multiply.
const MOST_STEPS: usize = 4_000_000;

/// A schema node and the document its `$ref`s lead into.
#[derive(Clone, Copy)]
pub(super) struct Schema<'a> {
    pub(super) node: &'a Json,
    pub(super) root: &'a Json,
}

impl<'a> Schema<'a> {
    pub(super) fn root(root: &'a Json) -> Schema<'a> {
        Schema { node: root, root }
    }

    /// Follows `$ref`; the keys beside it are only words about it.
    pub(super) fn resolved(self) -> Schema<'a> {
        let mut schema = self;
        // A chain of references longer than this is a circle.
        for _ in 0..32 {
            let Some(target) = schema.node.get("$ref").and_then(Json::as_str).and_then(|target| target.strip_prefix('#')) else {
                break;
            };
            let Some(node) = self.root.pointer(target) else { break };
            schema.node = node;
        }
        schema
    }

    fn of(self, node: &'a Json) -> Schema<'a> {
        Schema { node, root: self.root }.resolved()
    }

    /// Whether a map of this schema may have `key`.
    fn knows(self, key: &str) -> bool {
        if self.properties().is_some_and(|all| all.contains_key(key)) || self.by_pattern(key).is_some() {
            return true;
        }
        match self.node.get("additionalProperties") {
            Some(more) => *more != Json::Bool(false),
            // Without a word on its keys it is a free map.
            None => self.properties().is_none(),
        }
    }

    /// The schema of the value of `key`, which it knows.
    fn value_of(self, key: &str) -> Schema<'a> {
        let more = || self.node.get("additionalProperties").map(|node| self.of(node));
        self.property(key).or_else(|| self.by_pattern(key)).or_else(more).unwrap_or(Schema { node: &Json::Bool(true), root: self.root })
    }

    /// A pattern for keys is what maps with keys other than text have.
    fn by_pattern(self, key: &str) -> Option<Schema<'a>> {
        let patterns = self.node.get("patternProperties")?.as_object()?;
        patterns.iter().find(|(pattern, _)| matches_pattern(pattern, key)).map(|(_, node)| self.of(node))
    }

    fn text(self, keyword: &str) -> Option<&'a str> {
        self.node.get(keyword).and_then(Json::as_str)
    }

    pub(super) fn properties(self) -> Option<&'a Map<String, Json>> {
        self.node.get("properties").and_then(Json::as_object)
    }

    pub(super) fn property(self, key: &str) -> Option<Schema<'a>> {
        self.properties().and_then(|all| all.get(key)).map(|node| self.of(node))
    }

    pub(super) fn required(self) -> impl Iterator<Item = &'a str> {
        self.node.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
    }

    fn types(self) -> Vec<&'a str> {
        match self.node.get("type") {
            Some(Json::String(one)) => vec![one],
            Some(Json::Array(list)) => list.iter().filter_map(Json::as_str).collect(),
            _ => Vec::new(),
        }
    }

    fn alternatives(self) -> Option<Vec<Schema<'a>>> {
        let list = self.node.get("anyOf").or_else(|| self.node.get("oneOf"))?.as_array()?;
        Some(list.iter().map(|node| self.of(node)).collect())
    }

    /// The texts it takes, if it is an enum of texts.
    pub(super) fn allowed(self) -> Option<Vec<&'a str>> {
        if let Some(one) = self.text("const") {
            return Some(vec![one]);
        }
        if let Some(list) = self.node.get("enum").and_then(Json::as_array) {
            return list.iter().filter(|value| !value.is_null()).map(Json::as_str).collect();
        }
        let mut all = Vec::new();
        for alternative in self.alternatives()? {
            if alternative.types() != ["null"] {
                all.extend(alternative.allowed()?);
            }
        }
        Some(all)
    }

    fn nullable(self) -> bool {
        self.types().contains(&"null")
            || self.node.get("enum").and_then(Json::as_array).is_some_and(|list| list.contains(&Json::Null))
            || self.alternatives().is_some_and(|list| list.into_iter().any(Schema::nullable))
    }

    /// What it takes, in words.
    fn words(self) -> String {
        if let Some(allowed) = self.allowed() {
            return format!("one of {}", listed(allowed));
        }
        if let Some(alternatives) = self.alternatives() {
            let alternatives: Vec<Schema<'_>> = alternatives.into_iter().filter(|a| a.types() != ["null"]).collect();
            let mut words: Vec<String> = Vec::new();
            for alternative in &alternatives {
                let item = alternative.node.get("items").map(|items| self.of(items).words());
                let word = match item {
                    // One or several of the same.
                    Some(item) if alternatives.iter().any(|other| other.words() == item) => "a list of such".to_owned(),
                    _ => alternative.words(),
                };
                if !words.contains(&word) {
                    words.push(word);
                }
            }
            words.sort_by_key(|word| word == "a list of such");
            return words.join(" or ");
        }
        match self.text("format") {
            Some("duration") => return "a duration such as `30s`".to_owned(),
            Some("bytesize") => return "a size such as `64 MiB`".to_owned(),
            Some("id") => return "a name of letters, digits, `_` and `-`".to_owned(),
            Some("input") => return "a processor's id".to_owned(),
            _ => {}
        }
        let words: Vec<String> = self.types().into_iter().filter(|name| *name != "null").map(|name| self.type_words(name)).collect();
        if words.is_empty() { "another value".to_owned() } else { words.join(" or ") }
    }

    fn type_words(self, name: &str) -> String {
        match name {
            "string" => "text".to_owned(),
            "boolean" => "`true` or `false`".to_owned(),
            "integer" | "number" => {
                let what = if name == "integer" { "a whole number" } else { "a number" };
                match (self.limit("minimum"), self.limit("maximum")) {
                    (Some(low), Some(high)) => format!("{what} from {low} to {high}"),
                    (Some(low), None) => format!("{what} from {low}"),
                    (None, Some(high)) => format!("{what} up to {high}"),
                    (None, None) => what.to_owned(),
                }
            }
            "array" => match self.node.get("items").map(|items| self.of(items)) {
                Some(items) if !items.types().is_empty() => format!("a list, each entry {}", items.words()),
                _ => "a list".to_owned(),
            },
            "object" => "a map of keys and values".to_owned(),
            other => other.to_owned(),
        }
    }

    fn limit(self, keyword: &str) -> Option<&'a Json> {
        self.node.get(keyword).filter(|limit| limit.is_number())
    }

    fn takes(self, node: &Node) -> bool {
        if let Some(alternatives) = self.alternatives() {
            return alternatives.into_iter().any(|alternative| alternative.takes(node));
        }
        let types = self.types();
        types.is_empty() && self.allowed().is_none_or(|_| node.text().is_some()) || types.into_iter().any(|name| is_type(node, name))
    }
}

fn is_type(node: &Node, name: &str) -> bool {
    match (&node.value, name) {
        (Value::Broken, _)
        | (Value::Null, "null")
        | (Value::Bool(_), "boolean")
        | (Value::Number(_), "number")
        | (Value::Text(..), "string")
        | (Value::List(_), "array")
        | (Value::Map(_), "object") => true,
        // `1.0` is written for a fraction; what reads it would refuse it as a whole number.
        (Value::Number(number), "integer") => !number.is_f64(),
        _ => false,
    }
}

/// `a`, `b` or `c`.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    joined(names, "or")
}

/// "there are `a` and `b`".
pub(super) fn there_are<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match names.as_slice() {
        [] => "there are none".to_owned(),
        [only] => format!("there is only `{only}`"),
        several => format!("there are {}", joined(several.iter().copied(), "and")),
    }
}

pub(super) fn joined<'a>(names: impl IntoIterator<Item = &'a str>, word: &str) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} {word} {last}", rest.join(", ")),
    }
}

/// "an ingest", "a script".
pub(super) fn with_article(name: &str) -> String {
    let article = if name.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O', 'U']) { "an" } else { "a" };
    format!("{article} {}", shorten(name))
}

/// The known name that was probably meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > 100 {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace(['-', ' '], "_");
    let word = plain(word);
    known
        .into_iter()
        .map(|name| {
            let name_plain = plain(name);
            let longest = word.chars().count().max(name_plain.chars().count());
            let distance = strsim::osa_distance(&word, &name_plain);
            // `file` for `file_drop`, `col` for `collection`: a beginning of some length counts as one slip.
            let begins = word.len() >= 3 && (name_plain.starts_with(&word) || word.starts_with(&name_plain) && name_plain.len() >= 3);
            (if begins { distance.min(1) } else { distance }, longest, name)
        })
        .filter(|(distance, longest, _)| *distance <= 1.max(longest / 3) && distance < longest)
        .min_by_key(|(distance, longest, _)| (*distance, *longest))
        .map(|(_, _, name)| name)
}

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
        Walk { kinds, out, processor: None, secrets_allowed: false, secrets: BTreeSet::new(), faults: 0, corrections: Corrections::default(), steps: 0 }
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
            return self.report(Diagnostic::error(codes::UNKNOWN_KEY, format!("`{}` has no place here", shorten(key))).at(key_span));
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
    pub(super) fn entries<'n>(&mut self, node: &'n Node, schemas: &[Schema<'_>], owner: Owner<'_>) -> Vec<(Cow<'n, str>, &'n Entry)> {
        let mut entries = Vec::new();
        for entry in node.entries() {
            if let Some(correction) = self.corrections.keys.get(&entry.key_span.offset) {
                entries.extend(correction.clone().map(|meant| (Cow::Owned(meant), entry)));
            } else if schemas.iter().any(|schema| schema.knows(&entry.key)) {
                entries.push((Cow::Borrowed(entry.key.as_str()), entry));
            } else {
                let meant = self.unknown_key(node, &entry.key, entry.key_span, schemas, owner);
                // Two slips for one key, or a slip beside the key itself, can't both be meant.
                let meant = meant.filter(|meant| node.get(meant).is_none() && entries.iter().all(|(key, _)| key != meant));
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
                    let name = Node { span: entry.key_span, value: Value::Text(key.to_string(), Style::Plain), complete: true };
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
                let mut diagnostic = Diagnostic::error(codes::MISSING_KEY, format!("{} needs `{key}`", owner.name)).at(owner.place);
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
            self.report(Diagnostic::error(codes::OUT_OF_RANGE, format!("{} takes at most {most} entries, not {count}", owner.name)).at(owner.place));
        }
        if let Some(least) = schemas.iter().find_map(|schema| schema.node.get("minProperties")?.as_u64())
            && (count as u64) < least
        {
            self.report(Diagnostic::error(codes::OUT_OF_RANGE, format!("{} takes at least {least} entries, not {count}", owner.name)).at(owner.place));
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
    fn unknown_key<'s>(&mut self, map: &Node, key: &str, place: Span, schemas: &[Schema<'s>], owner: Owner<'_>) -> Option<&'s str> {
        let known = || schemas.iter().filter_map(|schema| schema.properties()).flat_map(|all| all.keys().map(String::as_str));
        let meant = nearest(key, known().filter(|name| map.get(name).is_none())).or_else(|| nearest(key, known()));
        let deeper = schemas.iter().filter_map(|schema| schema.properties().map(|all| (schema, all))).find_map(|(schema, all)| {
            all.iter().find(|(name, node)| self.has_key(map.get(name), schema.of(node), key)).map(|(name, _)| name.as_str())
        });
        let mut diagnostic = Diagnostic::error(codes::UNKNOWN_KEY, format!("{} has no `{}`", owner.name, shorten(key))).at(place);
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
        let mut fitting: Vec<Schema<'_>> = alternatives.iter().copied().filter(|alternative| alternative.takes(node)).collect();
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

    fn list(&mut self, node: &Node, list: &[Node], schema: Schema<'_>, key: &str, key_span: Span) {
        let place = place_of(node, key_span);
        let limit = |keyword: &str| schema.node.get(keyword).and_then(Json::as_u64);
        if let Some(least) = limit("minItems")
            && (list.len() as u64) < least
        {
            let message = match list.len() {
                0 => format!("`{}` is empty", shorten(key)),
                count => format!("`{}` takes at least {least} entries, not {count}", shorten(key)),
            };
            self.report(Diagnostic::error(codes::OUT_OF_RANGE, message).at(place));
        }
        if let Some(most) = limit("maxItems")
            && list.len() as u64 > most
        {
            self.report(Diagnostic::error(codes::OUT_OF_RANGE, format!("`{}` takes at most {most} entries, not {}", shorten(key), list.len())).at(place));
        }
        let prefix = schema.node.get("prefixItems").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        for (index, item) in list.iter().enumerate() {
            match prefix.get(index).or_else(|| schema.node.get("items")) {
                Some(node) => self.value(item, schema.of(node), key, key_span),
                None => self.value(item, Schema { node: &Json::Bool(true), root: schema.root }, key, key_span),
            }
        }
        if schema.node.get("uniqueItems") == Some(&Json::Bool(true)) {
            let mut seen = BTreeSet::new();
            for item in list {
                if !seen.insert(item.to_json().to_string()) {
                    let message = format!("`{}` has this entry twice", shorten(key));
                    self.report(Diagnostic::error(codes::NOT_ALLOWED, message).at(item.first_line()).hint("remove one of the two"));
                }
            }
        }
    }

    fn number(&mut self, node: &Node, number: &serde_json::Number, schema: Schema<'_>, key: &str) {
        let (low, high) = match schema.text("format") {
            Some("uint8") => (Some(0.0), Some(f64::from(u8::MAX))),
            Some("uint16") => (Some(0.0), Some(f64::from(u16::MAX))),
            Some("uint32") => (Some(0.0), Some(f64::from(u32::MAX))),
            Some("uint64" | "uint") => (Some(0.0), None),
            Some("int8") => (Some(f64::from(i8::MIN)), Some(f64::from(i8::MAX))),
            Some("int16") => (Some(f64::from(i16::MIN)), Some(f64::from(i16::MAX))),
            Some("int32") => (Some(f64::from(i32::MIN)), Some(f64::from(i32::MAX))),
            _ => (None, None),
        };
        // Whole numbers over 64 bits were refused by the reader, so only the signed 64-bit bound is left to check.
        let signed = matches!(schema.text("format"), Some("int64" | "int")) && number.is_u64() && !number.is_i64();
        let value = number.as_f64().unwrap_or(f64::NAN);
        let limit = |keyword: &str| schema.limit(keyword).and_then(Json::as_f64);
        let low = limit("minimum").or(low);
        let high = limit("maximum").or(high);
        let fine = low.is_none_or(|low| value >= low)
            && high.is_none_or(|high| value <= high)
            && limit("exclusiveMinimum").is_none_or(|low| value > low)
            && limit("exclusiveMaximum").is_none_or(|high| value < high)
            && !signed;
        if !fine {
            let range = match (low.or(limit("exclusiveMinimum")), high.or(limit("exclusiveMaximum"))) {
                (Some(low), Some(high)) => format!("a number from {low} to {high}"),
                (Some(low), None) => format!("a number from {low}"),
                (None, Some(high)) => format!("a number up to {high}"),
                (None, None) => "a smaller number".to_owned(),
            };
            self.report(Diagnostic::error(codes::OUT_OF_RANGE, format!("`{}` takes {range}, not {number}", shorten(key))).at(node.span));
        }
    }

    fn text(&mut self, node: &Node, text: &str, style: Style, schema: Schema<'_>, key: &str) {
        let format = schema.text("format");
        let bad = |why: Result<(), ValueError>| match why {
            Ok(()) => None,
            Err(error) => Some(
                Diagnostic::error(codes::BAD_FORMAT, format!("`{}` takes {}, not `{}`", shorten(key), schema.words(), shorten(text)))
                    .at(node.span)
                    .hint(error.hint),
            ),
        };
        let by_format = match format {
            Some("duration") => bad(text.parse::<HumanDuration>().map(drop)),
            Some("bytesize") => bad(text.parse::<ByteSize>().map(drop)),
            Some("id") if is_id(text) => None,
            Some("input") if super::flow::InputRef::parse(text).is_some() => None,
            Some("id" | "input") => {
                let hint = "use letters, digits, `_` and `-`, at most 64 of them; a dot stands before the name of an output".to_owned();
                bad(Err(ValueError { message: String::new(), hint }))
            }
            _ => match schema.text("pattern") {
                Some(pattern) if !matches_pattern(pattern, text) => {
                    bad(Err(ValueError { message: String::new(), hint: format!("it has to match `{pattern}`") }))
                }
                _ => None,
            },
        };
        if let Some(diagnostic) = by_format {
            self.report(diagnostic);
        }
        let length = text.chars().count() as u64;
        let limit = |keyword: &str| schema.node.get(keyword).and_then(Json::as_u64);
        if limit("minLength").is_some_and(|least| length < least) {
            let message = if length == 0 { format!("`{}` is empty", shorten(key)) } else { format!("`{}` is too short", shorten(key)) };
            self.report(Diagnostic::error(codes::OUT_OF_RANGE, message).at(node.span));
        }
        if let Some(most) = limit("maxLength")
            && length > most
        {
            let message = format!("`{}` takes at most {most} characters, not {length}", shorten(key));
            self.report(Diagnostic::error(codes::OUT_OF_RANGE, message).at(node.span));
        }
        // Code is never filled in, and braces are part of many languages.
        if self.secrets_allowed && format != Some("code") {
            self.find_secrets(node, text, style);
        }
    }

    fn find_secrets(&mut self, node: &Node, text: &str, style: Style) {
        let mut at = 0;
        while let Some(begin) = text[at..].find("{{").map(|found| at + found) {
            let inner_at = begin + 2;
            let end = text[inner_at..].find("}}").map(|found| inner_at + found);
            let inner = text[inner_at..end.unwrap_or(text.len())].trim();
            let looks = inner.get(..6).is_some_and(|word| word.eq_ignore_ascii_case("secret"));
            match (inner.strip_prefix("secrets."), end) {
                (Some(name), Some(_)) if is_secret_name(name) => {
                    self.secrets.insert(name.to_owned());
                }
                _ if looks => {
                    let message = if end.is_none() { "the name of a secret ends with `}}`" } else { "this is not the name of a secret" };
                    // Without escapes the place within the text is known as well.
                    let place = if style == Style::Plain {
                        Span { offset: node.span.offset + begin, len: end.map_or(2, |end| end + 2 - begin), column: node.span.column + text[..begin].chars().count(), ..node.span }
                    } else {
                        node.span
                    };
                    self.report(Diagnostic::error(codes::BAD_SECRET, message).at(place).hint("write `{{ secrets.NAME }}`"));
                }
                _ => {}
            }
            at = end.map_or(text.len(), |end| end + 2);
        }
    }

    fn wrong_type(&mut self, node: &Node, schema: Schema<'_>, key: &str, key_span: Span) {
        if !node.complete {
            // It might have become right.
            self.faults += 1;
            return;
        }
        let key = shorten(key);
        let message = match node.value {
            Value::Null => format!("`{key}` is empty; it takes {}", schema.words()),
            _ => format!("`{key}` takes {}, not {}", schema.words(), found(node)),
        };
        let mut diagnostic = Diagnostic::error(codes::WRONG_TYPE, message).at(place_of(node, key_span));
        if let Some(hint) = type_hint(node, schema) {
            diagnostic = diagnostic.hint(hint);
        }
        self.report(diagnostic);
    }
}

/// The kind a map names under `type`, told when it names none or an unknown one.
pub(super) fn kind_of<'k>(walk: &mut Walk<'k, '_>, node: &Node, class: Class, owner: &str, place: Span) -> Option<(&'k str, &'k crate::kinds::KindInfo)> {
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
    let other = [Class::Processor, Class::Source, Class::Destination].into_iter().find(|class| kinds.get(*class, name).is_some());
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
        let values: Option<Vec<&str>> = alternatives.iter().map(|alternative| alternative.property(key)?.text("const")).collect();
        values.map(|values| (key.as_str(), values))
    })
}

fn is_secret_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether `text` matches; a pattern that is no regular expression refuses nothing, and [`crate::kinds::lint`] tells.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    regex_lite::Regex::new(pattern).map_or(true, |regex| regex.is_match(text))
}

fn place_of(node: &Node, key_span: Span) -> Span {
    match node.value {
        Value::Null | Value::Map(_) | Value::List(_) => key_span,
        _ => node.span,
    }
}

fn found(node: &Node) -> String {
    match &node.value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(number) => format!("the number {number}"),
        Value::Text(text, _) if text.is_empty() => "empty text".to_owned(),
        Value::Text(text, _) => format!("`{}`", shorten(text)),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a map".to_owned(),
        Value::Broken => "this".to_owned(),
    }
}

fn type_hint(node: &Node, schema: Schema<'_>) -> Option<String> {
    let types = schema.types();
    let takes = |name: &str| types.contains(&name);
    match &node.value {
        Value::Null => Some("give it a value or remove the key".to_owned()),
        Value::Number(number) if schema.text("format") == Some("duration") => Some(format!("did you mean `{number}s`?")),
        Value::Number(number) if schema.text("format") == Some("bytesize") => Some(format!("did you mean `{number} B`?")),
        Value::Number(number) if takes("integer") && number.is_f64() => Some("write it without a fraction".to_owned()),
        Value::Bool(_) | Value::Number(_) if takes("string") => Some(format!("quote it: \"{}\"", node.to_json())),
        Value::Text(text, _) if takes("boolean") => match text.to_lowercase().as_str() {
            "yes" | "on" | "y" | "true" => Some("write `true`, without quotes".to_owned()),
            "no" | "off" | "n" | "false" => Some("write `false`, without quotes".to_owned()),
            _ => None,
        },
        Value::Text(text, _) if (takes("integer") || takes("number")) && text.trim().parse::<f64>().is_ok() => Some("remove the quotes".to_owned()),
        Value::Map(_) if takes("array") => Some("begin each entry with `- `".to_owned()),
        Value::Text(_, _) | Value::Number(_) | Value::Bool(_) if takes("array") => Some(format!("write `[{}]`", shorten(&node.to_json().to_string()))),
        _ => None,
    }
}
