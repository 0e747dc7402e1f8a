//! A flow version, opened: its plan, and its processors as far as they were needed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opendmp_model::document::{ProcessorDoc, Version, check};
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::history::Context as HistoryContext;
use opendmp_model::ids::ItemId;
use opendmp_model::kinds::{DEFAULT_PORT, Role, SavedFiles};
use opendmp_model::plan::{PlannedProcessor, RunPlan, compile_checked};
use opendmp_ports::journal::{FlowRow, Reader, VersionId};
use opendmp_ports::{Error, ErrorKind};
use opendmp_processor::{Context, Opened};
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{OnceCell, Semaphore};

use crate::Engine;
use crate::engine::lock;

/// A version that is ready to work.
pub struct Loaded {
    /// The flow, as it was when the version was opened.
    pub flow: FlowRow,
    /// The version's number.
    pub version: VersionId,
    /// Its plan.
    pub plan: RunPlan,
    /// Its processors, as in the plan.
    pub nodes: Vec<Node>,
}

/// One processor of a loaded version.
pub struct Node {
    /// Its index in the plan.
    pub index: usize,
    /// Its id.
    pub id: Arc<str>,
    /// Its plan.
    pub planned: PlannedProcessor,
    /// By output port: who reads it, as the queue names them, with the index of each.
    pub readers: BTreeMap<String, Vec<(Reader, usize)>>,
    /// How many calls at once.
    pub permits: Semaphore,
    /// As many as `permits` began with.
    pub parallel: usize,
    context: HistoryContext,
    interned: OnceCell<u32>,
    doc: ProcessorDoc,
    open_with: Context,
    opened: OnceCell<Opened>,
    /// Nanoseconds an item takes, smoothed; 0: not known yet.
    pace: AtomicU64,
    /// How long its calls take; of a step only.
    calls: Option<Histogram>,
    /// What its health issues are about, and the item that the present one is of.
    about: String,
    reported: Mutex<Option<ItemId>>,
}

impl Loaded {
    /// Opens a saved version.
    ///
    /// # Errors
    /// `Damaged` where what was saved can't be read any more.
    pub async fn open(engine: &Engine, version: VersionId) -> Result<Self, Error> {
        let row = engine.journal.version(version).await?;
        let flow = engine.journal.flow(row.flow).await?;
        let damaged = |message: String| Error::new(ErrorKind::Damaged, "engine load", message);
        let saved: Version = serde_json::from_slice(&row.body)
            .map_err(|error| damaged(format!("flow version {} can't be read: {error}", row.hash)))?;
        let registry = Arc::clone(&engine.registry);
        // Beside the runtime: a flow may be long.
        let compile = move || {
            let checked = check(&saved.text, &*registry, &SavedFiles(&saved.files));
            let plan = compile_checked(&checked, &saved).map(|(plan, _)| plan);
            (saved, checked, plan)
        };
        let (saved, checked, plan) = run_blocking(compile).await?;
        let plan = plan.map_err(|problems| {
            damaged(format!("this OpenDMP version refuses the saved flow version {}: {problems}", row.hash)).with_hint(
                "correct the flow and enable it again; waiting items become dead letters then, which a retry processes",
            )
        })?;
        let docs = checked.flow.map(|flow| flow.processors).unwrap_or_default();
        let mut nodes = Vec::with_capacity(plan.processors.len());
        for (index, (planned, doc)) in plan.processors.iter().zip(docs).enumerate() {
            let context = history_context(engine, &plan, planned);
            nodes.push(Node::new(engine, &flow, &plan, index, doc, &saved, context));
        }
        Ok(Self { flow, version, plan, nodes })
    }

    /// The processor of that id.
    pub fn node(&self, id: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| &*node.id == id)
    }

    /// The documents of its processors.
    pub(crate) fn docs(&self) -> impl Iterator<Item = &ProcessorDoc> + Clone {
        self.nodes.iter().map(|node| &node.doc)
    }

    /// The ingests.
    pub fn ingests(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.planned.role == Role::Ingest)
    }

    /// Opens every processor and makes it ready. What fails is tried again, and told, when there is an item for it.
    pub async fn warm(&self, engine: &Engine) {
        for node in &self.nodes {
            if let Ok(Opened::Transform(processor)) = node.opened(engine).await {
                processor.warm().await;
            }
        }
    }

    /// Closes what was opened.
    pub async fn close(&self, engine: &Engine) {
        for node in &self.nodes {
            // Whoever opens the version again reports anew.
            if lock(&node.reported).take().is_some() {
                engine.clear_trouble(&node.about);
            }
            if let Some(Opened::Transform(processor)) = node.opened.get() {
                processor.close().await;
            }
        }
    }
}

/// Runs blocking work beside the runtime where there is one, in place in a model's own executor.
pub(crate) async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Ok(work());
    }
    let failed = |error| Error::new(ErrorKind::Unavailable, "engine", format!("a thread ended early: {error}"));
    // What it logs belongs to what it is done for.
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work)).await.map_err(failed)
}

fn history_context(engine: &Engine, plan: &RunPlan, planned: &PlannedProcessor) -> HistoryContext {
    HistoryContext {
        flow: plan.slug.clone(),
        version: plan.version.to_hex(),
        processor: planned.id.clone(),
        kind: planned.kind.clone(),
        config: planned.config_hash.to_hex(),
        environment: None,
        worker: engine.options.worker.clone(),
        opendmp: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

impl Node {
    fn new(
        engine: &Engine,
        flow: &FlowRow,
        plan: &RunPlan,
        index: usize,
        doc: ProcessorDoc,
        saved: &Version,
        context: HistoryContext,
    ) -> Self {
        let planned = plan.processors[index].clone();
        let readers = planned
            .readers
            .iter()
            .map(|(port, readers)| {
                let named = readers.iter().map(|reader| {
                    let processor: Arc<str> = plan.processors[reader.processor].id.as_str().into();
                    (Reader { processor, input: reader.input as u32 }, reader.processor)
                });
                (port.clone(), named.collect())
            })
            .collect();
        let parallel = planned.settings.concurrency.map_or(engine.options.parallel, usize::from).max(1);
        let open_with = Context {
            flow: plan.slug.clone(),
            base: PathBuf::from(&flow.base),
            policy: engine.options.policy.clone(),
            files: saved.files.clone(),
            lock: saved.locks.get(&planned.id).cloned(),
            timeout: planned.settings.timeout.get(),
            concurrency: parallel,
            locations: engine.options.locations.clone(),
        };
        Self {
            index,
            id: planned.id.as_str().into(),
            readers,
            context,
            interned: OnceCell::new(),
            permits: Semaphore::new(parallel),
            parallel,
            doc,
            open_with,
            opened: OnceCell::new(),
            pace: AtomicU64::new(0),
            calls: (planned.role == Role::Transform).then(|| engine.metrics.calls(flow.id, &planned.id)),
            about: format!("flow {}, step {}", plan.slug, planned.id),
            reported: Mutex::default(),
            planned,
        }
    }

    /// Reports why an item waits here that a person may have to act for.
    pub(crate) fn report(&self, engine: &Engine, item: ItemId, fault: &Fault) {
        *lock(&self.reported) = Some(item);
        engine.trouble(&self.about, &fault.to_string(), fault.hint.as_deref());
    }

    /// Ends the report where these items, which wait no longer, have the one it was about among them.
    pub(crate) fn end_report(&self, engine: &Engine, mut over: impl Iterator<Item = ItemId>) {
        let mut reported = lock(&self.reported);
        if reported.is_some_and(|item| over.any(|one| one == item)) {
            *reported = None;
            engine.clear_trouble(&self.about);
        }
    }

    /// The processor, opened now if it was not yet. A failure is not kept: the next call tries again.
    pub async fn opened(&self, engine: &Engine) -> Result<&Opened, Fault> {
        let open = || async {
            let kind = engine.registry.processor_kind(&self.doc.kind)?;
            kind.open(&engine.registry, &self.doc, &self.open_with).await
        };
        self.opened.get_or_try_init(open).await
    }

    /// The number of its history context, with the environment it runs in once it is open.
    pub async fn context(&self, engine: &Engine) -> Result<u32, Error> {
        let intern = || async {
            let environment = match self.opened.get() {
                Some(Opened::Transform(processor)) => processor.environment(),
                _ => None,
            };
            engine.journal.context(HistoryContext { environment, ..self.context.clone() }).await
        };
        match self.opened.get() {
            Some(_) => self.interned.get_or_try_init(intern).await.copied(),
            // Not open: it failed to, and the next time it may be another environment.
            None => intern().await,
        }
    }

    /// The source of an ingest.
    pub async fn source(&self, engine: &Engine) -> Result<Arc<dyn opendmp_processor::Source>, Fault> {
        match self.opened(engine).await? {
            Opened::Ingest(source) => Ok(Arc::clone(source)),
            _ => Err(Fault::new(FaultKind::Failed, "not-an-ingest", format!("`{}` is not an ingest", self.id))),
        }
    }

    /// Who reads a port; `None` is the default port.
    pub fn readers_of(&self, port: Option<&str>) -> &[(Reader, usize)] {
        self.readers.get(port.unwrap_or(DEFAULT_PORT)).map_or(&[], Vec::as_slice)
    }

    /// How long an item takes here, as far as it is known.
    pub fn pace(&self) -> Option<Duration> {
        match self.pace.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// Learns from a call that took `items` and this long.
    pub fn learn(&self, items: usize, took: Duration) {
        if let Some(calls) = &self.calls {
            calls.observe(took.as_secs_f64());
        }
        let seen = (took.as_nanos() / items.max(1) as u128).clamp(1, u128::from(u64::MAX)) as u64;
        let before = self.pace.load(Ordering::Relaxed);
        let after = if before == 0 { seen } else { before / 2 + seen / 2 };
        self.pace.store(after.max(1), Ordering::Relaxed);
    }
}
