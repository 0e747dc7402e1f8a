//! The published JSON Schema (2020-12) of a flow, made from the same descriptors the check uses: what
//! `opendmp schema flow` prints, for editors and for the API. Which keys a processor has depends on its `type`, said
//! with `if`/`then`, so that an editor completes and refuses by kind.

use super::flow::{Common, FlowKeys};
use crate::kinds::{CLASS_KEYWORD, Class, KindInfo, Kinds, schema_of};
use serde_json::{Map, Value, json};

/// The schema of the whole document, YAML or JSON.
pub fn flow_schema(kinds: &dyn Kinds) -> Value {
    let mut definitions = Map::new();
    let mut root = lift(schema_of::<FlowKeys>(), "flow", &mut definitions);
    let common = lift(schema_of::<Common>(), "common", &mut definitions);
    for class in [Class::Processor, Class::Source, Class::Destination] {
        let infos: Vec<&KindInfo> = kinds.list().into_iter().filter(|info| info.class == class).collect();
        for info in &infos {
            let node = of_kind(info, &common, &mut definitions);
            definitions.insert(definition(class, &info.name), node);
        }
        definitions.insert(class.as_str().to_owned(), chooser(class, &infos));
    }
    if let Value::Object(map) = &mut root {
        map.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        map.insert("$defs".to_owned(), Value::Object(definitions));
    }
    root
}

fn definition(class: Class, name: &str) -> String {
    format!("{class}.{name}")
}

/// Picks the schema by `type`.
fn chooser(class: Class, infos: &[&KindInfo]) -> Value {
    let types: Vec<Value> = infos.iter().map(|info| json!({ "const": info.name, "description": info.summary })).collect();
    let rules: Vec<Value> = infos
        .iter()
        .map(|info| {
            json!({
                "if": { "properties": { "type": { "const": info.name } }, "required": ["type"] },
                "then": { "$ref": format!("#/$defs/{}", definition(class, &info.name)) },
            })
        })
        .collect();
    let mut schema = json!({
        "type": "object",
        "properties": { "type": { "description": format!("The kind of {class}."), "oneOf": types } },
        "required": ["type"],
    });
    // An empty `allOf` is not a schema.
    if !rules.is_empty() {
        schema["allOf"] = Value::Array(rules);
    }
    schema
}

/// The keys of one kind: its own, `type`, and for a processor those that all have.
fn of_kind(info: &KindInfo, common: &Value, definitions: &mut Map<String, Value>) -> Value {
    let own = lift(info.schema.clone(), &definition(info.class, &info.name), definitions);
    let own_properties = own.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let own_required = own.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut properties = Map::new();
    let mut required = vec![json!("type")];
    if info.class == Class::Processor {
        properties.extend(common.get("properties").and_then(Value::as_object).cloned().unwrap_or_default());
        required.insert(0, json!("id"));
    }
    properties.insert("type".to_owned(), json!({ "const": info.name, "description": info.summary }));
    properties.extend(own_properties);
    required.extend(own_required);
    json!({
        "title": info.name,
        "description": info.summary,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// Moves the `$defs` of a schema into the common ones, under names that can't clash, and turns the class keyword into
/// a reference.
fn lift(mut schema: Value, prefix: &str, definitions: &mut Map<String, Value>) -> Value {
    if let Value::Object(map) = &mut schema {
        map.shift_remove("$schema");
        if let Some(Value::Object(own)) = map.shift_remove("$defs") {
            for (name, node) in own {
                let node = rewrite(node, prefix);
                definitions.insert(format!("{prefix}.{name}"), node);
            }
        }
    }
    rewrite(schema, prefix)
}

fn rewrite(node: Value, prefix: &str) -> Value {
    match node {
        Value::Array(list) => Value::Array(list.into_iter().map(|item| rewrite(item, prefix)).collect()),
        Value::Object(map) => {
            let class = map.get(CLASS_KEYWORD).and_then(Value::as_str).map(|class| format!("#/$defs/{class}"));
            let mut out = Map::new();
            for (keyword, value) in map {
                match (keyword.as_str(), &class) {
                    (CLASS_KEYWORD, Some(target)) => {
                        out.insert("$ref".to_owned(), json!(target));
                    }
                    // What is below is data, not a schema.
                    ("default" | "examples" | "enum" | "const", _) => {
                        out.insert(keyword, value);
                    }
                    // The keys of these are names, not keywords.
                    ("properties" | "patternProperties", _) => {
                        let Value::Object(named) = value else { continue };
                        let named = named.into_iter().map(|(name, node)| (name, rewrite(node, prefix)));
                        out.insert(keyword, Value::Object(named.collect()));
                    }
                    ("$ref", _) => {
                        let moved = value.as_str().and_then(|target| target.strip_prefix("#/$defs/"));
                        let target = moved.map(|name| json!(format!("#/$defs/{prefix}.{name}")));
                        out.insert(keyword, target.unwrap_or(value));
                    }
                    _ => {
                        out.insert(keyword, rewrite(value, prefix));
                    }
                }
            }
            Value::Object(out)
        }
        other => other,
    }
}
