//! The kinds of the simulated flows: an ingest, a step that behaves as badly as scripts may, a shelf; a source and a
//! destination over the world outside.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use opendmp_model::document::ProcessorDoc;
use opendmp_model::export::IfExists;
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::ids::ContentHash;
use opendmp_model::item::Item;
use opendmp_model::kinds::{
    Class, DestinationConfig, Determinism, Facts, Files, KindInfo, Problem, Role, SourceConfig, schema_of,
};
use opendmp_processor::{
    Aggregate, Body, Close, Collect, Context, Done, Emission, Emissions, Export, Input, Join, JoinError, Joining,
    NewContent, Opened, Outcome, Processor, ProcessorKind, Registry, ScratchFile, Sink, SinkKind, Source, SourceKind,
    config, saved_config,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::mutants::Mutant;
use super::outside::{PlaceSource, TargetSink, put};
use super::time::sleep;
use super::world::{Gate, Made};

/// The config of an ingest.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct IngestConfig {
    /// Where items come from.
    source: SourceConfig,
}

/// The config of a place as a source.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PlaceConfig {
    /// Which place.
    place: String,
    /// Whether what was taken in is let go.
    #[serde(default)]
    release: bool,
}

/// The config of a step.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StepConfig {
    /// Further ports.
    #[serde(default)]
    outputs: Vec<String>,
    /// Most children of an item; 0: it makes one of one.
    #[serde(default)]
    fan: u64,
    /// Whether the children are streamed.
    #[serde(default)]
    stream: bool,
    /// Whether equal input gives equal output.
    #[serde(default)]
    pure: bool,
    /// Whether items are only sent on, unread.
    #[serde(default)]
    route: bool,
    /// How long a call may take, in milliseconds.
    #[serde(default)]
    slow: u64,
    /// Items of a call at most.
    #[serde(default)]
    batch: u64,
    /// How often it fails in some way, of a thousand.
    #[serde(default)]
    trouble: u32,
}

/// The config of an aggregate.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BatchConfig {
    /// Items of a batch.
    #[serde(default)]
    count: Option<u64>,
    /// Milliseconds without another item.
    #[serde(default)]
    quiet: Option<u64>,
    /// Whether batches end with their run.
    #[serde(default)]
    end_of_run: bool,
    /// How often an item is turned away, of a thousand.
    #[serde(default)]
    trouble: u32,
}

/// The config of a shelf.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ShelfConfig {
    /// The collection.
    collection: String,
    /// Where results go.
    #[serde(default)]
    destination: Option<DestinationConfig>,
}

/// The config of the targets.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TargetsConfig {
    /// Which place.
    place: String,
    /// What happens where a target is taken.
    #[serde(default)]
    if_exists: IfExists,
}

fn info<C: JsonSchema>(class: Class, role: Role, name: &str) -> KindInfo {
    let words = format!("A {name}.");
    KindInfo {
        name: name.to_owned(),
        class,
        role,
        summary: words.clone(),
        docs: words,
        schema: schema_of::<C>(),
        examples: vec![],
    }
}

/// All kinds, for one engine.
pub fn registry(gate: &Gate) -> Registry {
    Registry::default()
        .processor(IngestKind(info::<IngestConfig>(Class::Processor, Role::Ingest, "ingest"), gate.clone()))
        .processor(StepKind(info::<StepConfig>(Class::Processor, Role::Transform, "step"), gate.clone()))
        .processor(BatchKind(info::<BatchConfig>(Class::Processor, Role::Transform, "batch"), gate.clone()))
        .processor(ShelfKind(info::<ShelfConfig>(Class::Processor, Role::Collect, "shelf")))
        .source(PlaceKind(info::<PlaceConfig>(Class::Source, Role::Transform, "place"), gate.clone()))
        .sink(TargetsKind(info::<TargetsConfig>(Class::Destination, Role::Transform, "targets"), gate.clone()))
}

fn typed<C: serde::de::DeserializeOwned>(map: &Map<String, Value>) -> Result<C, Vec<Problem>> {
    config(map).map_err(|problem| vec![problem])
}

struct IngestKind(KindInfo, Gate);

#[async_trait]
impl ProcessorKind for IngestKind {
    fn info(&self) -> &KindInfo {
        &self.0
    }

    fn prepare(&self, _: &Registry, doc: &ProcessorDoc, _: &dyn Files) -> Result<Facts, Vec<Problem>> {
        typed::<IngestConfig>(&doc.config)?;
        Ok(Facts { determinism: Determinism::ByConstruction, ..Facts::default() })
    }

    async fn open(&self, registry: &Registry, doc: &ProcessorDoc, context: &Context) -> Result<Opened, Fault> {
        let away = |_| Fault::new(FaultKind::Unavailable, "away", "the source can't be opened now");
        self.1.before(self.1.world.setup.faults.source, "ingest open").await.map_err(away)?;
        let read: IngestConfig = saved_config(&doc.config)?;
        let kind = registry.source_kind(&read.source.0.kind)?;
        Ok(Opened::Ingest(kind.open(&read.source.0.config, context)?))
    }
}

struct PlaceKind(KindInfo, Gate);

impl SourceKind for PlaceKind {
    fn info(&self) -> &KindInfo {
        &self.0
    }

    fn prepare(&self, map: &Map<String, Value>) -> Vec<Problem> {
        typed::<PlaceConfig>(map).err().unwrap_or_default()
    }

    fn open(&self, map: &Map<String, Value>, _: &Context) -> Result<Arc<dyn Source>, Fault> {
        let read: PlaceConfig = saved_config(map)?;
        let (held, open) = (Mutex::default(), Mutex::default());
        Ok(Arc::new(PlaceSource { gate: self.1.clone(), place: read.place, release: read.release, held, open }))
    }
}

struct ShelfKind(KindInfo);

#[async_trait]
impl ProcessorKind for ShelfKind {
    fn info(&self) -> &KindInfo {
        &self.0
    }

    fn prepare(&self, _: &Registry, doc: &ProcessorDoc, _: &dyn Files) -> Result<Facts, Vec<Problem>> {
        typed::<ShelfConfig>(&doc.config)?;
        Ok(Facts { determinism: Determinism::ByConstruction, ..Facts::default() })
    }

    async fn open(&self, registry: &Registry, doc: &ProcessorDoc, context: &Context) -> Result<Opened, Fault> {
        let read: ShelfConfig = saved_config(&doc.config)?;
        let sink = match read.destination {
            Some(nested) => Some(registry.sink_kind(&nested.0.kind)?.open(&nested.0.config, context)?),
            None => None,
        };
        Ok(Opened::Collect(Collect { collection: read.collection.into(), sink }))
    }
}

struct BatchKind(KindInfo, Gate);

#[async_trait]
impl ProcessorKind for BatchKind {
    fn info(&self) -> &KindInfo {
        &self.0
    }

    fn prepare(&self, _: &Registry, doc: &ProcessorDoc, _: &dyn Files) -> Result<Facts, Vec<Problem>> {
        typed::<BatchConfig>(&doc.config)?;
        Ok(Facts { determinism: Determinism::ByConstruction, ..Facts::default() })
    }

    async fn open(&self, _: &Registry, doc: &ProcessorDoc, _: &Context) -> Result<Opened, Fault> {
        let config: BatchConfig = saved_config(&doc.config)?;
        let away = |_| Fault::new(FaultKind::Failed, "away", "not now");
        self.1.before(config.trouble / 4, "batch open").await.map_err(away)?;
        let quiet = config.quiet.map(Duration::from_millis);
        let close = Close { count: config.count, bytes: None, quiet, end_of_run: config.end_of_run };
        let join = Arc::new(Glue { id: doc.id.clone(), config, gate: self.1.clone() });
        Ok(Opened::Aggregate(Aggregate { close, group_by: None, join }))
    }
}

/// Joins items by writing their bytes one after the other.
struct Glue {
    id: String,
    config: BatchConfig,
    gate: Gate,
}

impl Join for Glue {
    fn name(&self, first: &Item) -> Result<String, Fault> {
        Ok(format!("joined-{}", first.name))
    }

    fn media_type(&self) -> &str {
        "text/plain"
    }

    fn begin(&self) -> Box<dyn Joining> {
        Box::new(Gluing { id: self.id.clone(), trouble: self.config.trouble, gate: self.gate.clone(), made: None })
    }
}

struct Gluing {
    id: String,
    trouble: u32,
    gate: Gate,
    /// The first item's content, and what was written so far.
    made: Option<(ContentHash, Vec<u8>)>,
}

impl Joining for Gluing {
    fn add(&mut self, input: &Input, out: &mut dyn std::io::Write) -> Result<(), JoinError> {
        if self.gate.world.chance(self.trouble) {
            return Err(JoinError::Item(Fault::new(FaultKind::Rejected, "made", "made to be turned away")));
        }
        let Body::Bytes(bytes) = &input.body else { return Ok(()) };
        let (_, made) = self.made.get_or_insert_with(|| (input.item.content.hash, Vec::new()));
        // The own name in it, so that what two aggregates make is never equal.
        let part = [bytes, format!("+{}", self.id).as_bytes()].concat();
        made.extend_from_slice(&part);
        Ok(out.write_all(&part)?)
    }

    fn end(self: Box<Self>, _: &mut dyn std::io::Write) -> std::io::Result<()> {
        if let Some((parent, made)) = self.made {
            let origin = Made { parent, processor: self.id.clone(), nonce: 0 };
            self.gate.world.seen().made.insert(ContentHash::of(&made), origin);
        }
        Ok(())
    }
}

struct TargetsKind(KindInfo, Gate);

impl SinkKind for TargetsKind {
    fn info(&self) -> &KindInfo {
        &self.0
    }

    fn prepare(&self, map: &Map<String, Value>) -> Vec<Problem> {
        typed::<TargetsConfig>(map).err().unwrap_or_default()
    }

    fn open(&self, map: &Map<String, Value>, _: &Context) -> Result<Arc<dyn Sink>, Fault> {
        let read: TargetsConfig = saved_config(map)?;
        Ok(Arc::new(TargetSink { gate: self.1.clone(), place: read.place, if_exists: read.if_exists }))
    }
}

struct StepKind(KindInfo, Gate);

#[async_trait]
impl ProcessorKind for StepKind {
    fn info(&self) -> &KindInfo {
        &self.0
    }

    fn prepare(&self, _: &Registry, doc: &ProcessorDoc, _: &dyn Files) -> Result<Facts, Vec<Problem>> {
        let read: StepConfig = typed(&doc.config)?;
        Ok(Facts { determinism: Determinism::ByConstruction, outputs: read.outputs, ..Facts::default() })
    }

    async fn open(&self, _: &Registry, doc: &ProcessorDoc, _: &Context) -> Result<Opened, Fault> {
        let config: StepConfig = saved_config(&doc.config)?;
        let away = |_| Fault::new(FaultKind::Failed, "away", "no interpreter");
        self.1.before(config.trouble / 4, "step open").await.map_err(away)?;
        Ok(Opened::Transform(Arc::new(Step { id: doc.id.clone(), config, gate: self.1.clone() })))
    }
}

/// A step that gives other results each time it is asked, fails as it likes, and takes its host down with some items.
struct Step {
    id: String,
    config: StepConfig,
    gate: Gate,
}

#[async_trait]
impl Processor for Step {
    fn reads_content(&self) -> bool {
        !self.config.route
    }

    fn batch(&self) -> usize {
        // Not so many that the pace measured, which is real time, could ever decide how many a call gets.
        self.config.batch.clamp(1, 4) as usize
    }

    async fn process(&self, inputs: Vec<Input>) -> Result<Vec<Done>, Fault> {
        let world = &self.gate.world;
        world.note(|| {
            let names: Vec<&str> = inputs.iter().map(|input| &*input.item.name).collect();
            format!("#{} {} works on {}", self.gate.owner, self.id, names.join(", "))
        });
        self.gate.give_way().await;
        if self.config.slow > 0 {
            let takes = world.below(self.config.slow);
            sleep(world, takes as i64).await;
        }
        let poisonous = |input: &Input| input.item.name.starts_with("poison") && !self.config.route;
        if inputs.iter().any(poisonous) {
            world.note(|| format!("#{} dies of a poisonous item in {}", self.gate.owner, self.id));
            world.count("poisoned");
            world.seen().poisoned.insert(self.gate.owner);
            std::future::pending::<()>().await;
        }
        if world.chance(self.config.trouble / 4) {
            return Err(Fault::new(FaultKind::Crashed, "crashed", "the process died"));
        }
        let mut done: Vec<Done> = inputs.into_iter().map(|input| self.one(input)).collect();
        if world.chance(self.config.trouble / 8) {
            done.pop();
        }
        self.gate.give_way().await;
        Ok(done)
    }
}

impl Step {
    fn one(&self, input: Input) -> Done {
        let world = &self.gate.world;
        if world.chance(self.config.trouble) {
            let fault = |kind| Fault::new(kind, "made", "made to fail");
            let after = world.chance(500).then(|| Duration::from_millis(world.below(50)));
            return Done::silent(match world.below(5) {
                0 => Outcome::Fault(fault(FaultKind::Rejected)),
                1 => Outcome::Fault(fault(FaultKind::TimedOut)),
                2 => Outcome::Fault(fault(FaultKind::Unavailable).with_retry_after(after)),
                _ => Outcome::Fault(fault(FaultKind::Failed)),
            });
        }
        let bytes = match &input.body {
            Body::Bytes(bytes) => bytes.clone(),
            _ => Bytes::new(),
        };
        let mut seen = world.seen();
        let nonce = seen.next_number();
        drop(seen);
        // What a pure step decides comes from its input.
        let mut digit = input.item.content.hash.0.into_iter().chain(std::iter::repeat(0));
        let mut die = |n: u64| match self.config.pure {
            true => u64::from(digit.next().unwrap_or(0)) % n,
            false => world.below(n),
        };
        let count =
            if self.config.fan > 0 { die(self.config.fan + 1) } else { u64::from(die(20) > 0 || self.config.pure) };
        let rename = self.config.fan > 0 && die(2) == 0;
        let mut children = Vec::new();
        for ordinal in 0..count {
            let ports = self.config.outputs.len() as u64;
            let port = match die(ports + 1) {
                at if at < ports => Some(self.config.outputs[at as usize].as_str().into()),
                _ => None,
            };
            let what = if self.config.route { 0 } else { die(16) };
            let content = match what {
                0 => NewContent::Same,
                1 if !self.config.pure => NewContent::Bytes(Bytes::new()),
                _ => self.made(&input, &bytes, ordinal, nonce, what == 2 && world.setup.large),
            };
            if world.setup.mutant == Some(Mutant::EagerStep) {
                self.write_at_once(&input, &content);
            }
            let mut emission = Emission { content, ..Emission::same(port) };
            emission.name = rename.then(|| format!("{ordinal}-{}", input.item.name));
            if !self.config.pure {
                emission.attributes.insert(self.id.clone(), nonce.into());
            }
            children.push(emission);
        }
        let outcome = match self.config.stream {
            true => {
                // Now and then it ends in the middle.
                let torn = world.chance(self.config.trouble / 2);
                let fault = torn.then(|| Err(Fault::new(FaultKind::Failed, "made", "made to end early")));
                Outcome::Stream(Emissions::new(children.into_iter().map(Ok).chain(fault)))
            }
            false => Outcome::Emit { many: self.config.fan > 0, children },
        };
        Done { took: Duration::from_millis(1), ..Done::silent(outcome) }
    }

    /// New bytes, which say where they come from.
    fn made(&self, input: &Input, bytes: &Bytes, ordinal: u64, nonce: u64, large: bool) -> NewContent {
        let world = &self.gate.world;
        let nonce = if self.config.pure { 0 } else { nonce };
        let mut made = bytes.to_vec();
        made.extend_from_slice(format!("|{}.{ordinal}#{nonce}", self.id).as_bytes());
        if large && made.len() < 1_000 {
            made.resize(300 << 10, b' ');
        }
        let hash = ContentHash::of(&made);
        let origin = Made { parent: input.item.content.hash, processor: self.id.clone(), nonce };
        world.seen().made.insert(hash, origin);
        if !self.config.pure && world.chance(10) {
            let (file, path) = tempfile::NamedTempFile::new().unwrap().keep().unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &made, 0).unwrap();
            return NewContent::Stream(Arc::new(ScratchFile::new(path, file)));
        }
        NewContent::Bytes(made.into())
    }

    /// What no step may do.
    fn write_at_once(&self, input: &Input, content: &NewContent) {
        if let NewContent::Bytes(bytes) = content {
            let export = Export {
                target: input.item.name.as_bytes().to_vec(),
                ours: None,
                overwrite: true,
                body: Body::Bytes(bytes.clone()),
                hash: ContentHash::of(bytes),
                size: bytes.len() as u64,
            };
            put(&self.gate, "targets:a", &export);
        }
    }
}
