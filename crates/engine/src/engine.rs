//! The engine itself: its ports, its lease, and the versions it has open.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use opendmp_model::fault::Tries;
use opendmp_model::ids::Arrival;
use opendmp_model::ledger::{FileStat, Known};
use opendmp_ports::content::Recent;
use opendmp_ports::journal::{FlowRow, Lease, SourceId, VersionId};
use opendmp_ports::transport::Hint;
use opendmp_ports::{Clock, Content, Error, Journal, Transport};
use opendmp_processor::{Ledger, PathPolicy, Registry, SourceError};
use tokio::sync::{OnceCell, Semaphore, watch};

use crate::issues::{Issues, Log};
use crate::loaded::Loaded;
use crate::metrics::Metrics;
use crate::metrics::ports::{MeteredContent, MeteredJournal, MeteredTransport};
use crate::quota::{Counted, Quotas};
use crate::retry::{self, Cause, Next, Policy, seed_of_name};
use crate::sources::Rounds;
use crate::space::Space;
use crate::uploads::Uploads;

/// What an engine may use.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of this worker, for the history: host and process.
    pub worker: String,
    /// Name of this installation, the same after a restart and unlike any other: marks what is claimed in shared places.
    pub instance: String,
    /// Tasks in work at once.
    pub tasks: usize,
    /// Processor calls at once, where a processor does not say.
    pub parallel: usize,
    /// Items that may wait in a flow before its sources are no longer looked at.
    pub backlog: u64,
    /// Which folders sources and destinations may use.
    pub policy: PathPolicy,
    /// Where it is recorded which folders of this machine were used; see [`opendmp_processor::Context::locations`].
    pub locations: Option<std::path::PathBuf>,
    /// Bytes of the data directory's disk that input leaves free; see [`crate::space`].
    pub reserve: u64,
    /// Where steps write while they work, if that may be another disk.
    pub scratch: Option<std::path::PathBuf>,
    /// How much is taken in at most.
    pub quotas: Quotas,
    /// Results of one item in one settlement at most; more are written down first, and expanded part by part.
    pub fanout: usize,
    /// Bytes held in memory for one task's results before they are stored.
    pub memory: u64,
}

impl Default for Options {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            worker: "worker".to_owned(),
            instance: "instance".to_owned(),
            tasks: cores * 2,
            parallel: cores,
            backlog: 20_000,
            policy: PathPolicy::default(),
            locations: None,
            reserve: 64 << 20,
            scratch: None,
            quotas: Quotas::default(),
            fanout: 4_000,
            memory: 32 << 20,
        }
    }
}

/// Something that keeps the engine from going on and that a person can mend.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Trouble {
    /// What it concerns: `journal`, `content`, a flow's source.
    pub about: String,
    /// What is wrong.
    pub message: String,
    /// What can be done.
    pub hint: Option<String>,
    /// Since when, milliseconds since 1970.
    pub since: i64,
}

/// See the module.
pub struct Engine {
    /// Catalog and queue of record.
    pub journal: Arc<dyn Journal>,
    /// Bytes.
    pub content: Arc<dyn Content>,
    /// Hints.
    pub transport: Arc<dyn Transport>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Kinds.
    pub registry: Arc<Registry>,
    /// What it may use.
    pub options: Options,
    /// Its right to settle.
    pub lease: Lease,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    loaded: Mutex<HashMap<VersionId, Arc<OnceCell<Arc<Loaded>>>>>,
    sources: Mutex<HashMap<String, SourceId>>,
    troubles: Mutex<Issues>,
    /// Until when ages are in doubt because the clock jumped, by the steady clock.
    doubted: AtomicI64,
    pub(crate) dead: Counted,
    pub(crate) space: Space,
    pub(crate) recent: Option<Arc<dyn Recent>>,
    pub(crate) uploads: Option<Uploads>,
    /// How many try-outs there may be besides.
    pub(crate) tries: Semaphore,
    /// Held while a flow is enabled, so that two that get in each other's way are not enabled at the same time.
    pub(crate) enabling: tokio::sync::Mutex<()>,
    /// How often flows were compared with what is looked at.
    pub(crate) rounds: watch::Sender<Rounds>,
}

impl Engine {
    /// An engine over these ports, holding `lease`. What it does with them is metered.
    pub fn new(
        journal: Arc<dyn Journal>,
        content: Arc<dyn Content>,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
        registry: Arc<Registry>,
        options: Options,
        lease: Lease,
    ) -> Self {
        let metrics = Arc::<Metrics>::default();
        Self {
            journal: Arc::new(MeteredJournal { inner: journal, metrics: Arc::clone(&metrics) }),
            content: Arc::new(MeteredContent { inner: content, metrics: Arc::clone(&metrics) }),
            transport: Arc::new(MeteredTransport { inner: transport, metrics: Arc::clone(&metrics) }),
            clock,
            registry,
            options,
            lease,
            metrics,
            loaded: Mutex::default(),
            sources: Mutex::default(),
            troubles: Mutex::default(),
            doubted: AtomicI64::new(i64::MIN),
            dead: Counted::default(),
            space: Space::default(),
            recent: None,
            uploads: None,
            tries: Semaphore::new(crate::tryout::AT_ONCE),
            enabling: tokio::sync::Mutex::default(),
            rounds: watch::Sender::default(),
        }
    }

    /// The same, which hands over what its steps are given and give.
    #[must_use]
    pub fn with_recent(self, recent: Arc<dyn Recent>) -> Self {
        Self { recent: Some(recent), ..self }
    }

    /// The same, which keeps uploads.
    #[must_use]
    pub fn with_uploads(self, uploads: Uploads) -> Self {
        Self { uploads: Some(uploads), ..self }
    }

    /// A version, opened; opened once and kept.
    pub async fn load(&self, version: VersionId) -> Result<Arc<Loaded>, Error> {
        let cell = Arc::clone(lock(&self.loaded).entry(version).or_default());
        let loaded = cell.get_or_try_init(|| async { Loaded::open(self, version).await.map(Arc::new) }).await?;
        Ok(Arc::clone(loaded))
    }

    /// Closes versions that nothing uses: not the present one of an enabled flow, and not in work.
    pub async fn unload(&self, flows: &[FlowRow]) {
        let idle: Vec<Arc<Loaded>> = {
            let mut map = lock(&self.loaded);
            let keep = |version: &VersionId| {
                flows.iter().any(|f| f.version == *version && f.state == opendmp_ports::journal::FlowState::Enabled)
            };
            let idle: Vec<VersionId> = map
                .iter()
                .filter(|(version, cell)| {
                    !keep(version) && cell.get().is_some_and(|loaded| Arc::strong_count(loaded) == 1)
                })
                .map(|(version, _)| *version)
                .collect();
            idle.iter().filter_map(|version| map.remove(version)?.get().cloned()).collect()
        };
        for loaded in idle {
            loaded.close(self).await;
        }
    }

    /// Forgets an opened version, so that it is opened anew: its base folder has changed.
    pub(crate) async fn reopen(&self, version: VersionId) {
        let old = lock(&self.loaded).remove(&version);
        if let Some(loaded) = old.as_ref().and_then(|cell| cell.get()) {
            loaded.close(self).await;
        }
    }

    /// Closes everything.
    pub async fn close(&self) {
        let all: Vec<_> = lock(&self.loaded).drain().collect();
        for (_, cell) in all {
            if let Some(loaded) = cell.get() {
                loaded.close(self).await;
            }
        }
    }

    /// The number of a source, asked for once.
    pub(crate) async fn source_id(&self, flow: &FlowRow, identity: &str) -> Result<SourceId, Error> {
        if let Some(id) = lock(&self.sources).get(identity) {
            return Ok(*id);
        }
        let id = self.journal.source(flow.space, identity).await?;
        lock(&self.sources).insert(identity.to_owned(), id);
        Ok(id)
    }

    /// Does something until it works or fails for good: a full disk or a service that is away is waited out, told as
    /// a trouble meanwhile. What is under way stays in memory, bounded by the tasks in work.
    pub async fn patiently<T, F>(&self, about: &str, mut attempt: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut tries = Tries::default();
        loop {
            let error = match attempt().await {
                Ok(value) => {
                    self.clear_trouble(about);
                    return Ok(value);
                }
                Err(error) => error,
            };
            match retry::next(Cause::from(&error), tries, &Policy::PORT, seed_of_name(about)) {
                Next::GiveUp => return Err(error),
                Next::Wait { wait, tries: after } => {
                    self.trouble(about, &error.message, error.hint.as_deref());
                    self.clock.sleep(wait).await;
                    tries = after;
                }
            }
        }
    }

    /// Waits for a call of the journal, and hints at what will come of it while it is still under way: whoever is
    /// to work on that asks at once then, and a journal that commits many calls together answers both after the same
    /// commit. A hint too early finds nothing and does no harm; the caller sends it again afterwards.
    pub(crate) async fn heralded<T>(&self, call: impl Future<Output = T>, hints: &[Hint]) -> T {
        let mut call = std::pin::pin!(call);
        // Begun first, so that it stands in the queue before those who are hinted at it.
        if let std::task::Poll::Ready(done) = futures::poll!(call.as_mut()) {
            return done;
        }
        for hint in hints {
            self.transport.send(hint.clone());
        }
        call.await
    }

    /// Raises a health issue; logged when it is new, and not each time that it comes back.
    pub fn trouble(&self, about: &str, message: &str, hint: Option<&str>) {
        let log = lock(&self.troubles).raise(about, message, hint, self.clock.now(), self.clock.steady());
        if log == Log::Raised {
            tracing::error!(about, hint, "{message}");
        }
    }

    /// Says that what a health issue is about works. The issue is resolved when that holds for a while.
    pub fn clear_trouble(&self, about: &str) {
        lock(&self.troubles).clear(about, || self.clock.steady());
    }

    /// Drops health issues that concern what is no longer there.
    pub fn withdraw_troubles(&self, concerns: impl Fn(&str) -> bool) {
        lock(&self.troubles).withdraw(concerns);
    }

    /// What keeps the engine from going on at present.
    pub fn troubles(&self) -> Vec<Trouble> {
        let mut issues = lock(&self.troubles);
        issues.settle(self.clock.steady(), |about| tracing::info!(about, "works again"));
        issues.open()
    }

    /// Has nothing be judged by its age until then, by the steady clock: the clock jumped.
    pub(crate) fn doubt_ages(&self, until: i64) {
        self.doubted.store(until, Ordering::Relaxed);
    }

    /// Whether ages are in doubt.
    pub(crate) fn doubts_ages(&self) -> bool {
        self.clock.steady() < self.doubted.load(Ordering::Relaxed)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while one of these maps is held leaves the map whole: they are changed by single calls.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ledger of one source, as the source asks for it.
pub(crate) struct SourceLedger<'a> {
    pub journal: &'a dyn Journal,
    pub source: SourceId,
    /// See [`Ledger::owner`].
    pub owner: String,
}

impl<'a> SourceLedger<'a> {
    pub fn new(engine: &'a Engine, source: SourceId) -> Self {
        Self { journal: &*engine.journal, source, owner: format!("{}-{source}", engine.options.instance) }
    }
}

fn ledger_error(error: Error) -> SourceError {
    SourceError { code: "journal", message: error.to_string(), hint: error.hint }
}

#[async_trait]
impl Ledger for SourceLedger<'_> {
    async fn known(&self, paths: Vec<Vec<u8>>) -> Result<Vec<Option<Known>>, SourceError> {
        self.journal.known(self.source, paths).await.map_err(ledger_error)
    }

    async fn affirm(&self, arrivals: Vec<(Arrival, FileStat)>) -> Result<(), SourceError> {
        self.journal.affirm(self.source, arrivals).await.map_err(ledger_error)
    }

    async fn releasing(&self, releases: Vec<Bytes>) -> Result<Vec<bool>, SourceError> {
        let releases = releases.into_iter().map(Vec::from).collect();
        self.journal.releasing(self.source, releases).await.map_err(ledger_error)
    }

    fn owner(&self) -> &str {
        &self.owner
    }
}
