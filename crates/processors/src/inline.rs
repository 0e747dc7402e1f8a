//! Source `inline`: items written in the flow itself, for trying things out and for parameters that are data.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use opendmp_model::fault::Fault;
use opendmp_model::ids::ContentHash;
use opendmp_model::item::Attributes;
use opendmp_model::kinds::{Class, KindInfo, Problem, Role, schema_of};
use opendmp_processor::{
    Audit, AuditEntry, AuditState, Body, Claim, Claimed, Context, Ledger, Scan, Source, SourceError, SourceKind,
    config, saved_config,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The config of a source `inline`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The items. Each arrives once, and again when it is changed.
    #[schemars(length(min = 1, max = 1000))]
    pub items: Vec<InlineItem>,
}

/// One item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InlineItem {
    /// Its name; each is used once.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// Its content.
    pub text: String,
    /// Its media type, for example `text/csv`.
    #[serde(default)]
    pub media_type: Option<String>,
    /// Its attributes: texts, numbers, true or false.
    #[serde(default)]
    pub attributes: Attributes,
}

/// The source kind `inline`.
#[derive(Debug, Default)]
pub struct Kind;

const DOCS: &str = "\
Items that are written in the flow. Each arrives once, when the flow is enabled or run for the first time; one whose \
text is changed arrives again.
";

impl SourceKind for Kind {
    fn info(&self) -> &KindInfo {
        static INFO: OnceLock<KindInfo> = OnceLock::new();
        INFO.get_or_init(|| KindInfo {
            name: "inline".to_owned(),
            class: Class::Source,
            role: Role::Ingest,
            summary: "Items written in the flow itself.".to_owned(),
            docs: DOCS.to_owned(),
            schema: schema_of::<Config>(),
            examples: vec!["type: inline\nitems:\n  - { name: hello.txt, text: \"Hello, world\" }\n".to_owned()],
        })
    }

    fn prepare(&self, map: &Map<String, Value>) -> Vec<Problem> {
        let read: Config = match config(map) {
            Ok(read) => read,
            Err(problem) => return vec![problem],
        };
        let mut problems = Vec::new();
        for (n, item) in read.items.iter().enumerate() {
            if read.items[..n].iter().any(|before| before.name == item.name) {
                let message = format!("`{}` is there twice", item.name);
                problems.push(
                    Problem::new(format!("/items/{n}/name"), "duplicate-name", message)
                        .hint("name each item differently"),
                );
            }
            for (key, value) in &item.attributes {
                if !opendmp_model::item::is_scalar(value) {
                    let message = "an attribute is a text, a number, true or false";
                    problems.push(Problem::new(format!("/items/{n}/attributes/{key}"), "bad-attribute", message));
                }
            }
        }
        problems
    }

    fn open(&self, map: &Map<String, Value>, _context: &Context) -> Result<Arc<dyn Source>, Fault> {
        let read: Config = saved_config(map)?;
        Ok(Arc::new(Inline { items: read.items }))
    }
}

struct Inline {
    items: Vec<InlineItem>,
}

impl Inline {
    /// Those that the ledger does not know with this content.
    async fn new_items(&self, ledger: &dyn Ledger) -> Result<Vec<&InlineItem>, SourceError> {
        let paths = self.items.iter().map(|item| item.name.as_bytes().to_vec()).collect();
        let known = ledger.known(paths).await?;
        let is_new = |(item, known): &(&InlineItem, Option<opendmp_model::ledger::Known>)| {
            known.is_none_or(|known| known.hash != ContentHash::of(item.text.as_bytes()))
        };
        Ok(self.items.iter().zip(known).filter(is_new).map(|(item, _)| item).collect())
    }
}

#[async_trait]
impl Source for Inline {
    fn identity(&self) -> String {
        "inline".to_owned()
    }

    async fn claim(&self, ledger: &dyn Ledger, _now: i64, limit: usize) -> Result<Scan, SourceError> {
        let new = self.new_items(ledger).await?;
        let complete = new.len() <= limit;
        let claims = new.into_iter().take(limit).map(|item| Claim {
            known: None,
            path: item.name.as_bytes().to_vec(),
            version: None,
            name: item.name.clone(),
            media_type: item.media_type.clone(),
            attributes: item.attributes.clone(),
            body: Body::Bytes(Bytes::from(item.text.clone())),
            release: None,
        });
        Ok(Scan { claims: claims.collect(), complete, ..Scan::default() })
    }

    async fn confirm(&self, _claim: &Claim) -> Result<Claimed, SourceError> {
        Ok(Claimed::Whole(None))
    }

    async fn release(&self, _release: &[u8]) -> Result<(), SourceError> {
        Ok(())
    }

    async fn audit(&self, ledger: &dyn Ledger, _releasing: &[Vec<u8>]) -> Result<Audit, SourceError> {
        let entry =
            |item: &InlineItem| AuditEntry { path: item.name.clone(), state: AuditState::Waiting, detail: None };
        let entries = self.new_items(ledger).await?.into_iter().map(entry).collect();
        Ok(Audit { compared: self.items.len() as u64, entries, ..Audit::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else { unreachable!() };
        map
    }

    #[test]
    fn names_are_used_once_and_attributes_are_scalars() {
        let problems = Kind.prepare(&map(json!({ "items": [
            { "name": "a", "text": "1" }, { "name": "a", "text": "2", "attributes": { "k": [1] } },
        ] })));
        let told: Vec<(&str, &str)> = problems.iter().map(|p| (p.pointer.as_str(), p.code)).collect();
        assert_eq!(told, [("/items/1/name", "duplicate-name"), ("/items/1/attributes/k", "bad-attribute")]);
    }
}
