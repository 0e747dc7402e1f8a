//! What every kind's descriptor has to keep, so that parser, help and form can rest on it: the registry's tests call
//! [`lint`] for each kind, and config without documentation fails there.

use super::{Class, KindInfo};
use crate::document::Common;
use crate::document::values::{ByteSize, HumanDuration};
use serde_json::{Map, Value};

/// The keywords [`crate::document::check`] understands; a schema with others would not be checked as it says.
const KEYWORDS: &[&str] = &[
    "$schema",
    "$ref",
    "$defs",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "type",
    "enum",
    "const",
    "anyOf",
    "oneOf",
    "allOf",
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "contentMediaType",
];

/// What is wrong with a descriptor, a sentence each; nothing if it is fine.
pub fn lint(info: &KindInfo) -> Vec<String> {
    let mut found = Vec::new();
    let mut say = |what: String| found.push(format!("{} {}: {what}", info.class, info.name));
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if info.name.is_empty() || !info.name.chars().all(word) {
        say("a name is made of lower-case letters, digits and `_`".to_owned());
    }
    if info.summary.trim().is_empty() || info.summary.contains('\n') {
        say("it needs a summary of one line".to_owned());
    }
    if info.docs.trim().is_empty() {
        say("it needs docs".to_owned());
    }
    if info.examples.is_empty() {
        say("it needs an example".to_owned());
    }
    for (number, example) in info.examples.iter().enumerate() {
        let (_, diagnostics) = crate::document::tree::parse(example);
        if diagnostics.has_errors() {
            say(format!("example {} can't be read: {diagnostics}", number + 1));
        }
    }
    let schema = info.schema.as_object();
    if schema.and_then(|schema| schema.get("type")).and_then(Value::as_str) != Some("object") {
        say("its config is not a struct".to_owned());
    }
    if schema.and_then(|schema| schema.get("additionalProperties")) != Some(&Value::Bool(false)) {
        say("its config needs `#[serde(deny_unknown_fields)]`".to_owned());
    }
    let common = super::schema_of::<Common>();
    let taken = |key: &str| match info.class {
        Class::Processor => common.pointer("/properties").and_then(|all| all.get(key)).is_some(),
        Class::Source | Class::Destination => key == "type",
    };
    for key in schema.and_then(|schema| schema.get("properties")?.as_object()).into_iter().flat_map(Map::keys) {
        if taken(key) {
            say(format!("`{key}` is a key that every {} has", info.class));
        }
    }
    walk(&info.schema, "", &mut |path, what| say(format!("{}: {what}", if path.is_empty() { "/" } else { path })));
    found
}

/// Looks at every schema within `schema`.
fn walk(schema: &Value, path: &str, say: &mut dyn FnMut(&str, String)) {
    let Value::Object(map) = schema else { return };
    for (keyword, value) in map {
        let below = format!("{path}/{keyword}");
        match keyword.as_str() {
            "properties" | "patternProperties" | "$defs" => {
                for (name, node) in value.as_object().into_iter().flatten() {
                    let below = format!("{below}/{name}");
                    if keyword == "properties" && !is_described(node) {
                        say(&below, "it has no doc comment".to_owned());
                    }
                    if keyword == "patternProperties" && regex_lite::Regex::new(name).is_err() {
                        say(&below, "the pattern is not a regular expression".to_owned());
                    }
                    walk(node, &below, say);
                }
            }
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => {
                for (number, node) in value.as_array().into_iter().flatten().enumerate() {
                    walk(node, &format!("{below}/{number}"), say);
                }
            }
            "items" | "additionalProperties" | "propertyNames" => walk(value, &below, say),
            "pattern" if value.as_str().is_none_or(|pattern| regex_lite::Regex::new(pattern).is_err()) => {
                say(path, "the pattern is not a regular expression".to_owned());
            }
            "default" => default(map, value, path, say),
            known if KEYWORDS.contains(&known) || known.starts_with("x-opendmp-") => {}
            unknown => say(path, format!("the keyword `{unknown}` is not checked here")),
        }
    }
}

/// A tag of an enum's shape says enough by itself.
fn is_described(node: &Value) -> bool {
    node.get("const").is_some()
        || node.get("description").and_then(Value::as_str).is_some_and(|text| !text.trim().is_empty())
}

/// A default that does not read back would be shown to people as something they can write.
fn default(schema: &Map<String, Value>, value: &Value, path: &str, say: &mut dyn FnMut(&str, String)) {
    let text = value.as_str().unwrap_or("");
    let reads = match schema.get("format").and_then(Value::as_str) {
        Some("duration") => text.parse::<HumanDuration>().is_ok(),
        Some("bytesize") => text.parse::<ByteSize>().is_ok(),
        _ => true,
    };
    if !reads && !value.is_null() {
        say(path, format!("the default {value} can't be written"));
    }
}
