//! Kinds, and the registry that holds them: the one place the parser, the help, the schema and the engine ask.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use opendmp_model::diagnostic::codes::CodeInfo;
use opendmp_model::document::ProcessorDoc;
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::kinds::{Class, Facts, Files, KindInfo, Kinds, Nested, Problem};
use serde_json::{Map, Value};

use crate::location::Location;
use crate::{Aggregate, Collect, PathPolicy, Place, Processor, Sink, Source};

/// A type of processor, as its author writes it: descriptor, offline check, constructor.
#[async_trait]
pub trait ProcessorKind: Send + Sync {
    /// The descriptor: name, schema, docs, examples.
    fn info(&self) -> &KindInfo;

    /// Checks what can be checked without touching anything but `files`, and says what it is. The config satisfies the
    /// schema. All problems at once.
    fn prepare(&self, registry: &Registry, doc: &ProcessorDoc, files: &dyn Files) -> Result<Facts, Vec<Problem>>;

    /// The folders outside that it reads and writes, for a flow whose paths begin at `base`; pointers are within the
    /// processor. Pure; the config was found right.
    fn places(&self, _registry: &Registry, _doc: &ProcessorDoc, _base: &Path) -> Vec<Place> {
        Vec::new()
    }

    /// Resolves the environment the processor runs in, when a version is saved: the text of the lock, or `None` where
    /// it needs none. May take minutes; `progress` is told a line now and then.
    async fn lock(
        &self,
        _doc: &ProcessorDoc,
        _files: &dyn SharedFiles,
        _progress: &Progress,
    ) -> Result<Option<String>, Fault> {
        Ok(None)
    }

    /// Opens it for work.
    async fn open(&self, registry: &Registry, doc: &ProcessorDoc, context: &Context) -> Result<Opened, Fault>;
}

/// [`Files`] that may be held over an await.
pub trait SharedFiles: Files + Send + Sync {}
impl<T: Files + Send + Sync> SharedFiles for T {}

/// Is told what a long preparation is doing.
pub type Progress = Arc<dyn Fn(&str) + Send + Sync>;

/// A type of source.
pub trait SourceKind: Send + Sync {
    /// The descriptor.
    fn info(&self) -> &KindInfo;

    /// Checks a config offline; pointers are within it.
    fn prepare(&self, config: &Map<String, Value>) -> Vec<Problem>;

    /// The folders it uses, for a flow whose paths begin at `base`; pointers are within the config. Pure; the config was
    /// found right.
    fn places(&self, _config: &Map<String, Value>, _base: &Path) -> Vec<Place> {
        Vec::new()
    }

    /// Opens the source.
    fn open(&self, config: &Map<String, Value>, context: &Context) -> Result<Arc<dyn Source>, Fault>;
}

/// A type of destination.
pub trait SinkKind: Send + Sync {
    /// The descriptor.
    fn info(&self) -> &KindInfo;

    /// Checks a config offline; pointers are within it.
    fn prepare(&self, config: &Map<String, Value>) -> Vec<Problem>;

    /// The folders it uses, for a flow whose paths begin at `base`; pointers are within the config. Pure; the config was
    /// found right.
    fn places(&self, _config: &Map<String, Value>, _base: &Path) -> Vec<Place> {
        Vec::new()
    }

    /// Opens the destination.
    fn open(&self, config: &Map<String, Value>, context: &Context) -> Result<Arc<dyn Sink>, Fault>;
}

/// What a kind is opened with.
#[derive(Clone, Debug)]
pub struct Context {
    /// Slug of the flow.
    pub flow: String,
    /// The folder that relative paths begin at.
    pub base: PathBuf,
    /// Which folders paths may lead to.
    pub policy: PathPolicy,
    /// Files of the version by clean path.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The environment lock made when the version was saved.
    pub lock: Option<String>,
    /// The longest a call may take.
    pub timeout: Duration,
    /// How many items may be in work at once.
    pub concurrency: usize,
    /// A folder in the data directory where it is recorded which folders of this machine were used, so that one that is
    /// replaced or unmounted is noticed after a restart too. None: nothing outlasts this process.
    pub locations: Option<PathBuf>,
}

impl Context {
    /// The path a flow means by `written`: below the base folder unless absolute, and within the roots.
    /// Links are followed as far as the path exists, so that none leads out of the roots.
    ///
    /// # Errors
    /// A fault where the path leaves the roots.
    pub fn resolve(&self, written: &str) -> Result<PathBuf, Fault> {
        let path = normal(&self.base.join(written));
        let roots = self.policy.roots();
        if roots.is_empty() || is_within(&path, roots) {
            return Ok(path);
        }
        Err(self.policy.outside(written, &Location::of(&path)).fault(FaultKind::Failed))
    }

    /// The path of a place, if it may be used.
    ///
    /// # Errors
    /// A fault where the path leaves the roots, or would let the data directory be read or written.
    pub fn allowed(&self, place: &Place) -> Result<PathBuf, Fault> {
        match self.policy.refuses(place) {
            None => Ok(place.path.clone()),
            Some(refused) => Err(refused.fault(FaultKind::Failed)),
        }
    }
}

/// Whether an absolute path is in one of some folders. Links are followed as far as it exists.
pub fn is_within(path: &Path, roots: &[PathBuf]) -> bool {
    let real_path = real(&normal(path));
    roots.iter().any(|root| real_path.starts_with(real(&normal(root))))
}

/// The path without `.` and `..`, by text.
pub(crate) fn normal(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// The path with links resolved as far as it exists.
pub(crate) fn real(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let Ok(real) = ancestor.canonicalize() {
            let rest = path.strip_prefix(ancestor).unwrap_or(Path::new(""));
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    path.to_owned()
}

/// A processor, opened according to its role.
#[derive(Clone)]
pub enum Opened {
    /// Takes from this source.
    Ingest(Arc<dyn Source>),
    /// Works on items.
    Transform(Arc<dyn Processor>),
    /// Holds items and makes one of many.
    Aggregate(Aggregate),
    /// Puts results on a shelf.
    Collect(Collect),
}

/// All kinds there are.
#[derive(Default)]
pub struct Registry {
    processors: Vec<Box<dyn ProcessorKind>>,
    sources: Vec<Box<dyn SourceKind>>,
    sinks: Vec<Box<dyn SinkKind>>,
    codes: &'static [CodeInfo],
}

impl Registry {
    /// Adds a type of processor.
    #[must_use]
    pub fn processor(mut self, kind: impl ProcessorKind + 'static) -> Self {
        self.processors.push(Box::new(kind));
        self
    }

    /// Adds a type of source.
    #[must_use]
    pub fn source(mut self, kind: impl SourceKind + 'static) -> Self {
        self.sources.push(Box::new(kind));
        self
    }

    /// Adds a type of destination.
    #[must_use]
    pub fn sink(mut self, kind: impl SinkKind + 'static) -> Self {
        self.sinks.push(Box::new(kind));
        self
    }

    /// Says what the codes mean that the kinds use in their problems.
    #[must_use]
    pub fn codes(mut self, codes: &'static [CodeInfo]) -> Self {
        self.codes = codes;
        self
    }

    /// The processor kind of that name.
    ///
    /// # Errors
    /// A fault that lists the known kinds: a version that was saved by a program with more kinds.
    pub fn processor_kind(&self, name: &str) -> Result<&dyn ProcessorKind, Fault> {
        let found = self.processors.iter().find(|kind| kind.info().name == name);
        found.map(|kind| &**kind).ok_or_else(|| self.unknown(Class::Processor, name))
    }

    /// The source kind of that name; errors as [`Registry::processor_kind`].
    pub fn source_kind(&self, name: &str) -> Result<&dyn SourceKind, Fault> {
        let found = self.sources.iter().find(|kind| kind.info().name == name);
        found.map(|kind| &**kind).ok_or_else(|| self.unknown(Class::Source, name))
    }

    /// The destination kind of that name; errors as [`Registry::processor_kind`].
    pub fn sink_kind(&self, name: &str) -> Result<&dyn SinkKind, Fault> {
        let found = self.sinks.iter().find(|kind| kind.info().name == name);
        found.map(|kind| &**kind).ok_or_else(|| self.unknown(Class::Destination, name))
    }

    /// Checks a nested source; pointers begin at the nested config.
    pub fn prepare_source(&self, nested: &Nested) -> Vec<Problem> {
        self.source_kind(&nested.kind).map_or_else(|_| Vec::new(), |kind| kind.prepare(&nested.config))
    }

    /// Checks a nested destination; pointers begin at the nested config.
    pub fn prepare_sink(&self, nested: &Nested) -> Vec<Problem> {
        self.sink_kind(&nested.kind).map_or_else(|_| Vec::new(), |kind| kind.prepare(&nested.config))
    }

    /// The folders that a processor uses, see [`ProcessorKind::places`].
    pub fn places(&self, doc: &ProcessorDoc, base: &Path) -> Vec<Place> {
        self.processor_kind(&doc.kind).map_or_else(|_| Vec::new(), |kind| kind.places(self, doc, base))
    }

    /// Those of a nested source; pointers begin at the nested config.
    pub fn places_of_source(&self, nested: &Nested, base: &Path) -> Vec<Place> {
        self.source_kind(&nested.kind).map_or_else(|_| Vec::new(), |kind| kind.places(&nested.config, base))
    }

    /// Those of a nested destination; pointers begin at the nested config.
    pub fn places_of_sink(&self, nested: &Nested, base: &Path) -> Vec<Place> {
        self.sink_kind(&nested.kind).map_or_else(|_| Vec::new(), |kind| kind.places(&nested.config, base))
    }

    fn unknown(&self, class: Class, name: &str) -> Fault {
        let known: Vec<&str> =
            self.list().into_iter().filter(|kind| kind.class == class).map(|kind| kind.name.as_str()).collect();
        Fault::new(FaultKind::Failed, "unknown-kind", format!("there is no {class} of type `{name}`"))
            .with_hint(format!("known are: {}", known.join(", ")))
    }
}

impl Kinds for Registry {
    fn get(&self, class: Class, name: &str) -> Option<&KindInfo> {
        self.list().into_iter().find(|kind| kind.class == class && kind.name == name)
    }

    fn list(&self) -> Vec<&KindInfo> {
        let processors = self.processors.iter().map(|kind| kind.info());
        let sources = self.sources.iter().map(|kind| kind.info());
        let sinks = self.sinks.iter().map(|kind| kind.info());
        processors.chain(sources).chain(sinks).collect()
    }

    fn codes(&self) -> &'static [CodeInfo] {
        self.codes
    }

    fn prepare(&self, doc: &ProcessorDoc, files: &dyn Files) -> Result<Facts, Vec<Problem>> {
        match self.processor_kind(&doc.kind) {
            Ok(kind) => kind.prepare(self, doc, files),
            Err(fault) => Err(vec![Problem::new("/type", "unknown-kind", fault.message)]),
        }
    }
}

/// Kinds that also check where the folders of a flow are: on this machine, for a flow whose paths begin at `base`.
pub struct KindsAt<'a> {
    /// The kinds.
    pub registry: &'a Registry,
    /// Where paths begin, absolute.
    pub base: &'a Path,
    /// Which folders may be used.
    pub policy: &'a PathPolicy,
}

impl Kinds for KindsAt<'_> {
    fn get(&self, class: Class, name: &str) -> Option<&KindInfo> {
        self.registry.get(class, name)
    }

    fn list(&self) -> Vec<&KindInfo> {
        self.registry.list()
    }

    fn codes(&self) -> &'static [CodeInfo] {
        self.registry.codes()
    }

    fn prepare(&self, doc: &ProcessorDoc, files: &dyn Files) -> Result<Facts, Vec<Problem>> {
        let facts = self.registry.prepare(doc, files)?;
        let places = self.registry.places(doc, self.base);
        let refused = places.iter().filter_map(|place| {
            let refused = self.policy.refuses(place)?;
            Some(Problem::new(place.pointer.as_str(), refused.code, refused.message).hint(refused.hint))
        });
        let problems: Vec<Problem> = refused.collect();
        if problems.is_empty() { Ok(facts) } else { Err(problems) }
    }
}

/// Reads a config that satisfies its schema; what the schema could not say becomes a problem.
///
/// # Errors
/// One problem at the top of the config.
pub fn config<C: serde::de::DeserializeOwned>(map: &Map<String, Value>) -> Result<C, Problem> {
    serde_json::from_value(Value::Object(map.clone()))
        .map_err(|error| Problem::new("", "bad-config", error.to_string()))
}

/// Reads a config that was checked when its version was saved.
///
/// # Errors
/// A fault where this program reads it otherwise than the one that saved it.
pub fn saved_config<C: serde::de::DeserializeOwned>(map: &Map<String, Value>) -> Result<C, Fault> {
    config(map).map_err(|problem| Fault::new(FaultKind::Failed, problem.code, problem.message))
}
