//! Processor `ingest`: takes items from a source.

use std::path::Path;
use std::sync::OnceLock;

use async_trait::async_trait;
use opendmp_model::document::ProcessorDoc;
use opendmp_model::fault::Fault;
use opendmp_model::kinds::{Class, Determinism, Facts, Files, KindInfo, Problem, Role, SourceConfig, schema_of};
use opendmp_processor::{Context, Opened, Place, ProcessorKind, Registry, config, saved_config};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The config of an `ingest`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the items come from; its `type` chooses the kind of source: `file_drop`, `inline`, `generate`.
    pub source: SourceConfig,
}

/// The processor kind `ingest`.
#[derive(Debug, Default)]
pub struct Kind;

const DOCS: &str = "\
Takes items from a source and makes them durable before anything else happens to them. Only then is the source let go \
of what was taken. What was taken before is not taken again, unless it has changed.
";

#[async_trait]
impl ProcessorKind for Kind {
    fn info(&self) -> &KindInfo {
        static INFO: OnceLock<KindInfo> = OnceLock::new();
        INFO.get_or_init(|| KindInfo {
            name: "ingest".to_owned(),
            class: Class::Processor,
            role: Role::Ingest,
            summary: "Takes items from a source.".to_owned(),
            docs: DOCS.to_owned(),
            schema: schema_of::<Config>(),
            examples: vec![
                "id: inbox\ntype: ingest\nsource: { type: file_drop, path: ./inbox, pattern: \"*.csv\" }\n".to_owned(),
            ],
        })
    }

    fn prepare(&self, registry: &Registry, doc: &ProcessorDoc, _files: &dyn Files) -> Result<Facts, Vec<Problem>> {
        let read: Config = config(&doc.config).map_err(|problem| vec![problem])?;
        let problems: Vec<Problem> =
            registry.prepare_source(&read.source.0).into_iter().map(|problem| problem.below("/source")).collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Facts { determinism: Determinism::ByConstruction, ..Facts::default() })
    }

    fn places(&self, registry: &Registry, doc: &ProcessorDoc, base: &Path) -> Vec<Place> {
        let Ok(read) = config::<Config>(&doc.config) else { return Vec::new() };
        registry.places_of_source(&read.source.0, base).into_iter().map(|place| place.below("/source")).collect()
    }

    async fn open(&self, registry: &Registry, doc: &ProcessorDoc, context: &Context) -> Result<Opened, Fault> {
        let read: Config = saved_config(&doc.config)?;
        let nested = read.source.0;
        Ok(Opened::Ingest(registry.source_kind(&nested.kind)?.open(&nested.config, context)?))
    }
}
