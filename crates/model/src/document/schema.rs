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
    let types: Vec<Value> =
        infos.iter().map(|info| json!({ "const": info.name, "description": info.summary })).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::fixtures::{DESIGN, PENGUINS, kinds};
    use crate::document::tree;

    /// A plain validator of the keywords that are published, apart from the one that checks flows.
    fn valid(value: &Value, schema: &Value, root: &Value) -> bool {
        let Some(keywords) = schema.as_object() else { return schema != &Value::Bool(false) };
        let all = |list: &Value, test: &dyn Fn(&Value) -> bool| list.as_array().expect("a list").iter().all(test);
        let count =
            |list: &Value| list.as_array().expect("a list").iter().filter(|one| valid(value, one, root)).count();
        let number = |limit: &Value| limit.as_f64().expect("a number");
        let length = |limit: &Value| usize::try_from(limit.as_u64().expect("a length")).expect("a length");
        keywords.iter().all(|(keyword, argument)| match keyword.as_str() {
            "$ref" => {
                let target = argument.as_str().and_then(|target| target.strip_prefix('#')).expect("a reference");
                valid(value, root.pointer(target).unwrap_or_else(|| panic!("{target} leads nowhere")), root)
            }
            "type" => {
                let is = |name: &Value| match name.as_str().expect("a type") {
                    "null" => value.is_null(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "number" => value.is_number(),
                    "string" => value.is_string(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    other => panic!("type {other}"),
                };
                if argument.is_array() { argument.as_array().expect("types").iter().any(is) } else { is(argument) }
            }
            "const" => value == argument,
            "enum" => argument.as_array().expect("values").contains(value),
            "anyOf" => count(argument) > 0,
            "oneOf" => count(argument) == 1,
            "allOf" => all(argument, &|one| valid(value, one, root)),
            "if" => !valid(value, argument, root) || valid(value, &keywords["then"], root),
            "then" => keywords.contains_key("if"),
            "properties" => argument
                .as_object()
                .expect("properties")
                .iter()
                .all(|(key, one)| value.get(key).is_none_or(|inner| valid(inner, one, root))),
            "required" => !value.is_object() || all(argument, &|key| value.get(key.as_str().expect("a key")).is_some()),
            "additionalProperties" => {
                let known = keywords.get("properties").and_then(Value::as_object);
                value.as_object().into_iter().flatten().all(|(key, inner)| {
                    known.is_some_and(|known| known.contains_key(key)) || valid(inner, argument, root)
                })
            }
            "items" => value.as_array().into_iter().flatten().all(|item| valid(item, argument, root)),
            "minimum" => value.as_f64().is_none_or(|value| value >= number(argument)),
            "maximum" => value.as_f64().is_none_or(|value| value <= number(argument)),
            "minLength" => value.as_str().is_none_or(|text| text.chars().count() >= length(argument)),
            "maxLength" => value.as_str().is_none_or(|text| text.chars().count() <= length(argument)),
            "minItems" => value.as_array().is_none_or(|list| list.len() >= length(argument)),
            "maxItems" => value.as_array().is_none_or(|list| list.len() <= length(argument)),
            "minProperties" => value.as_object().is_none_or(|map| map.len() >= length(argument)),
            "maxProperties" => value.as_object().is_none_or(|map| map.len() <= length(argument)),
            "pattern" => value.as_str().is_none_or(|text| {
                regex_lite::Regex::new(argument.as_str().expect("a pattern")).expect("a pattern").is_match(text)
            }),
            "title" | "description" | "default" | "examples" | "format" | "$schema" | "$defs" => true,
            other => panic!("keyword {other}"),
        })
    }

    fn accepts(text: &str) -> bool {
        let schema = flow_schema(&kinds());
        let value = tree::parse(text).0.expect("a value").to_json();
        valid(&value, &schema, &schema)
    }

    #[test]
    fn it_takes_what_the_check_takes() {
        assert!(accepts(DESIGN));
        assert!(accepts(PENGUINS));
        for (from, to) in [
            ("name: Uppercase", "nam: Uppercase"),
            ("name: Uppercase", "name: 5"),
            ("type: script", "type: scrpt"),
            ("    type: script\n", ""),
            ("type: file_drop, ", ""),
            ("path: ./inbox, ", ""),
            ("path: ./inbox, ", "path: ./inbox, recursve: true, "),
            ("type: folder", "type: file_drop"),
            ("language: python", "language: pyton"),
            ("language: python", "language: python\n    sorce: x"),
            ("inputs: [inbox]", "inputs: [a b]"),
            ("inputs: [inbox]", "inputs: 5"),
            ("retries: 2", "retries: -2"),
            ("retries: 2", "retires: 2"),
            ("backoff: 1s", "backoff: 1"),
            ("phase: 2", "phase: 0"),
            ("phase: 2", "concurrency: 1025"),
            ("collection: Shouting", "id: shelf2"),
            ("- id: inbox", "- id: in box"),
        ] {
            let text = DESIGN.replace(from, to);
            assert_ne!(text, DESIGN, "{from}");
            let (root, _) = tree::parse(&text);
            let schema = flow_schema(&kinds());
            assert!(!valid(&root.expect("a value").to_json(), &schema, &schema), "{to}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_key_has_help() {
        fn walk(node: &Value, root: &Value, path: &str) {
            if let Some(target) = node.get("$ref").and_then(Value::as_str) {
                assert!(root.pointer(target.trim_start_matches('#')).is_some(), "{path}: {target}");
            }
            if let Some(properties) = node.get("properties").and_then(Value::as_object)
                && !path.ends_with("/if")
            {
                for (key, property) in properties {
                    assert!(property.get("description").is_some() || property.get("const").is_some(), "{path}/{key}");
                }
            }
            match node {
                Value::Object(map) => map.iter().for_each(|(key, inner)| walk(inner, root, &format!("{path}/{key}"))),
                Value::Array(list) => {
                    for (at, inner) in list.iter().enumerate() {
                        walk(inner, root, &format!("{path}/{at}"));
                    }
                }
                _ => {}
            }
        }
        let schema = flow_schema(&kinds());
        walk(&schema, &schema, "");
        assert!(!schema.to_string().contains(CLASS_KEYWORD));
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    }

    #[test]
    fn a_flow_without_kinds_still_has_a_schema() {
        struct None;
        impl Kinds for None {
            fn get(&self, _: Class, _: &str) -> Option<&KindInfo> {
                Option::None
            }
            fn list(&self) -> Vec<&KindInfo> {
                Vec::new()
            }
            fn prepare(
                &self,
                _: &crate::document::ProcessorDoc,
                _: &dyn crate::kinds::Files,
            ) -> Result<crate::kinds::Facts, Vec<crate::kinds::Problem>> {
                Ok(crate::kinds::Facts::default())
            }
        }
        let schema = flow_schema(&None);
        assert!(schema.pointer("/$defs/processor/allOf").is_none());
        assert!(valid(&json!({ "name": "x", "processors": [] }), &schema, &schema));
    }
}
