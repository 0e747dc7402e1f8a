//! A JSON Schema node with the questions the walk asks of it, and what it takes in words.

use crate::document::tree::{Node, Value};
use crate::document::words::listed;
use serde_json::{Map, Value as Json};

/// A schema node and the document its `$ref`s lead into.
#[derive(Clone, Copy)]
pub(in crate::document) struct Schema<'a> {
    pub(in crate::document) node: &'a Json,
    pub(in crate::document) root: &'a Json,
}

impl<'a> Schema<'a> {
    pub(in crate::document) fn root(root: &'a Json) -> Schema<'a> {
        Schema { node: root, root }
    }

    /// Follows `$ref`; the keys beside it are only words about it.
    pub(in crate::document) fn resolved(self) -> Schema<'a> {
        let mut schema = self;
        // A chain of references longer than this is a circle.
        for _ in 0..32 {
            let Some(target) =
                schema.node.get("$ref").and_then(Json::as_str).and_then(|target| target.strip_prefix('#'))
            else {
                break;
            };
            let Some(node) = self.root.pointer(target) else { break };
            schema.node = node;
        }
        schema
    }

    pub(super) fn of(self, node: &'a Json) -> Schema<'a> {
        Schema { node, root: self.root }.resolved()
    }

    /// Whether a map of this schema may have `key`.
    pub(super) fn knows(self, key: &str) -> bool {
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
    pub(super) fn value_of(self, key: &str) -> Schema<'a> {
        let more = || self.node.get("additionalProperties").map(|node| self.of(node));
        self.property(key)
            .or_else(|| self.by_pattern(key))
            .or_else(more)
            .unwrap_or(Schema { node: &Json::Bool(true), root: self.root })
    }

    /// A pattern for keys is what maps with keys other than text have.
    pub(super) fn by_pattern(self, key: &str) -> Option<Schema<'a>> {
        let patterns = self.node.get("patternProperties")?.as_object()?;
        patterns.iter().find(|(pattern, _)| matches_pattern(pattern, key)).map(|(_, node)| self.of(node))
    }

    pub(super) fn text(self, keyword: &str) -> Option<&'a str> {
        self.node.get(keyword).and_then(Json::as_str)
    }

    pub(in crate::document) fn properties(self) -> Option<&'a Map<String, Json>> {
        self.node.get("properties").and_then(Json::as_object)
    }

    pub(in crate::document) fn property(self, key: &str) -> Option<Schema<'a>> {
        self.properties().and_then(|all| all.get(key)).map(|node| self.of(node))
    }

    pub(in crate::document) fn required(self) -> impl Iterator<Item = &'a str> {
        self.node.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
    }

    pub(super) fn types(self) -> Vec<&'a str> {
        match self.node.get("type") {
            Some(Json::String(one)) => vec![one],
            Some(Json::Array(list)) => list.iter().filter_map(Json::as_str).collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn alternatives(self) -> Option<Vec<Schema<'a>>> {
        let list = self.node.get("anyOf").or_else(|| self.node.get("oneOf"))?.as_array()?;
        Some(list.iter().map(|node| self.of(node)).collect())
    }

    /// The texts it takes, if it is an enum of texts.
    pub(in crate::document) fn allowed(self) -> Option<Vec<&'a str>> {
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

    pub(super) fn nullable(self) -> bool {
        self.types().contains(&"null")
            || self.node.get("enum").and_then(Json::as_array).is_some_and(|list| list.contains(&Json::Null))
            || self.alternatives().is_some_and(|list| list.into_iter().any(Schema::nullable))
    }

    /// What it takes, in words.
    pub(super) fn words(self) -> String {
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
        let words: Vec<String> =
            self.types().into_iter().filter(|name| *name != "null").map(|name| self.type_words(name)).collect();
        if words.is_empty() { "another value".to_owned() } else { words.join(" or ") }
    }

    pub(super) fn type_words(self, name: &str) -> String {
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

    pub(super) fn limit(self, keyword: &str) -> Option<&'a Json> {
        self.node.get(keyword).filter(|limit| limit.is_number())
    }

    pub(super) fn takes(self, node: &Node) -> bool {
        if let Some(alternatives) = self.alternatives() {
            return alternatives.into_iter().any(|alternative| alternative.takes(node));
        }
        let types = self.types();
        types.is_empty() && self.allowed().is_none_or(|_| node.text().is_some())
            || types.into_iter().any(|name| is_type(node, name))
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

/// Whether `text` matches; a pattern that is no regular expression refuses nothing, and [`crate::kinds::lint`] tells.
pub(super) fn matches_pattern(pattern: &str, text: &str) -> bool {
    regex_lite::Regex::new(pattern).map_or(true, |regex| regex.is_match(text))
}
