//! Processor `collect`: puts results on a shelf, and exports them where that is wanted.

use std::path::Path;
use std::sync::OnceLock;

use async_trait::async_trait;
use opendmp_model::diagnostic::codes;
use opendmp_model::document::{DatasetRetention, ProcessorDoc};
use opendmp_model::fault::Fault;
use opendmp_model::kinds::{Class, DestinationConfig, Determinism, Facts, Files, KindInfo, Problem, Role, schema_of};
use opendmp_processor::{Collect, Context, Opened, Place, ProcessorKind, Registry, config, saved_config};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The config of a `collect`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The collection the results become datasets of. Several flows may collect into one.
    #[schemars(length(min = 1, max = 200))]
    pub collection: String,
    /// Where each result is written to beside; its `type` chooses the kind of destination: `folder`. Without one,
    /// results are datasets only.
    #[serde(default)]
    pub destination: Option<DestinationConfig>,
    /// Which revisions of each dataset are kept. By default all. What was exported stays where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<DatasetRetention>,
}

/// The processor kind `collect`.
#[derive(Debug, Default)]
pub struct Kind;

const DOCS: &str = "\
Each result becomes a dataset, told apart by the source item it comes of and by its own name. A result for a dataset \
that is there already becomes a new revision of it; one that is equal to the newest revision adds only to its history. \
What is exported follows from what was committed, so a crash in between repeats the export and not the work.

`retention` says which revisions are kept: a revision stays while it is among the newest, or young enough. What is let \
go of one is its content, in the data directory; it is still listed, with its history.
";

#[async_trait]
impl ProcessorKind for Kind {
    fn info(&self) -> &KindInfo {
        static INFO: OnceLock<KindInfo> = OnceLock::new();
        INFO.get_or_init(|| KindInfo {
            name: "collect".to_owned(),
            class: Class::Processor,
            role: Role::Collect,
            summary: "Puts results into a collection, and exports them where that is wanted.".to_owned(),
            docs: DOCS.to_owned(),
            schema: schema_of::<Config>(),
            examples: vec![
                "id: shelf\ntype: collect\ninputs: [clean]\ncollection: Penguins\n".to_owned(),
                "id: shelf\ntype: collect\ninputs: [clean]\ncollection: Penguins\n\
                 destination: { type: folder, path: ./outbox, name: \"{stem}.clean.csv\" }\n"
                    .to_owned(),
                "id: shelf\ntype: collect\ninputs: [clean]\ncollection: Penguins\n\
                 retention: { revisions: 10, age: 90d }\n"
                    .to_owned(),
            ],
        })
    }

    fn prepare(&self, registry: &Registry, doc: &ProcessorDoc, _files: &dyn Files) -> Result<Facts, Vec<Problem>> {
        let read: Config = config(&doc.config).map_err(|problem| vec![problem])?;
        let mut problems = Vec::new();
        if read.collection.trim().is_empty() || read.collection.chars().any(char::is_control) {
            problems.push(
                Problem::new("/collection", "bad-collection", "a collection's name is one line of text, and not empty")
                    .hint("for example `collection: Penguins`"),
            );
        }
        if read.retention.and_then(|retention| retention.age).is_some_and(|age| age.as_millis() == 0) {
            problems.push(
                Problem::new(
                    "/retention/age",
                    codes::INVALID_CONFIG,
                    "what is kept for no time at all is gone at once",
                )
                .hint("write how long it is to be kept, as `90d`; `revisions: 1` keeps the newest only"),
            );
        }
        if let Some(destination) = &read.destination {
            let found = registry.prepare_sink(&destination.0);
            problems.extend(found.into_iter().map(|problem| problem.below("/destination")));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Facts { default_output: false, determinism: Determinism::ByConstruction, ..Facts::default() })
    }

    fn places(&self, registry: &Registry, doc: &ProcessorDoc, base: &Path) -> Vec<Place> {
        let destination = config::<Config>(&doc.config).ok().and_then(|read| read.destination);
        let places = destination.map(|nested| registry.places_of_sink(&nested.0, base)).unwrap_or_default();
        places.into_iter().map(|place| place.below("/destination")).collect()
    }

    async fn open(&self, registry: &Registry, doc: &ProcessorDoc, context: &Context) -> Result<Opened, Fault> {
        let read: Config = saved_config(&doc.config)?;
        let sink = match read.destination {
            Some(nested) => Some(registry.sink_kind(&nested.0.kind)?.open(&nested.0.config, context)?),
            None => None,
        };
        Ok(Opened::Collect(Collect { collection: read.collection.into(), sink }))
    }
}
