//! The description of the API: kept in `crates/api/openapi.json`, from which the page's types are made, and true.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

/// Set to `always`, the kept description is renewed; the same variable renews the snapshots of the command line.
const RENEW: &str = "INSTA_UPDATE";

fn described() -> Value {
    serde_json::from_str(opendmp_api::description()).unwrap()
}

/// Every operation: where it is, how it is asked, and what is said of it.
fn operations(description: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    let paths = description["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, item)| {
        let methods = ["get", "post", "put", "delete", "patch", "head"];
        let operations = item.as_object().unwrap().iter().filter(move |(key, _)| methods.contains(&key.as_str()));
        operations.map(move |(method, operation)| (path, method, operation))
    })
}

#[test]
fn the_kept_description_is_that_of_the_routes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    if std::env::var(RENEW).is_ok_and(|value| value == "always") {
        std::fs::write(&path, opendmp_api::description()).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == opendmp_api::description(),
        "crates/api/openapi.json is not what the routes say: renew it with\n\
         INSTA_UPDATE=always cargo test -p opendmp-api --test openapi\nand look through what changed"
    );
}

#[test]
fn operations_are_named_once_and_say_what_they_refuse() {
    let description = described();
    assert_eq!(description["openapi"], "3.1.0");
    let mut names = BTreeSet::new();
    for (path, method, operation) in operations(&description) {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name), "{name} is the name of two operations");
        assert!(operation["summary"].is_string() && operation["tags"][0].is_string(), "{method} {path}");
        let answers = operation["responses"].as_object().unwrap();
        let refusals = answers.iter().filter(|(status, _)| status.as_str() >= "400");
        for (status, answer) in refusals {
            // How it is, though it is not well.
            if status == "503" && ["/healthz", "/readyz"].contains(&path.as_str()) {
                continue;
            }
            // Either one of those that are described once, or one in words of its own: a problem document in any case.
            let response = match answer["$ref"].as_str() {
                Some(reference) => description.pointer(reference.strip_prefix('#').unwrap()).unwrap_or(&Value::Null),
                None => answer,
            };
            let content = &response["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(content, "#/components/schemas/Problem", "{status} of {method} {path}");
        }
        assert!(answers.contains_key("403"), "{method} {path}");
        assert_eq!(answers.contains_key("401"), operation["security"].is_null(), "{method} {path}");
        for hole in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            let parameters = operation["parameters"].as_array().unwrap();
            let told = parameters.iter().any(|parameter| parameter["in"] == "path" && parameter["name"] == hole);
            assert!(told, "{{{hole}}} of {method} {path}");
        }
    }
    assert!(names.len() > 25, "{names:?}");
}

#[test]
fn every_reference_leads_somewhere() {
    let description = described();
    let mut waiting = vec![&description];
    while let Some(value) = waiting.pop() {
        match value {
            Value::Object(map) => {
                if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
                    let found = reference.strip_prefix('#').and_then(|pointer| description.pointer(pointer));
                    assert!(found.is_some(), "{reference}");
                }
                waiting.extend(map.values());
            }
            Value::Array(list) => waiting.extend(list),
            _ => {}
        }
    }
}
