//! Pools of workers: who gets one, when one is started, reused, replaced or closed, and what is run again after a
//! worker died.
//!
//! A worker belongs to one flow and environment and takes in the scripts that it is asked for. At most `max_workers` processes live at a time;
//! at the limit the one that was idle longest is closed for a new one. Waiting is first come, first served, and no
//! flow can take all workers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use opendmp_sandbox::{Policy, Site, Surroundings};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::error::Error;
use crate::scratch::Scratch;
use crate::value::{CallItem, CallResult, Failure, Numbers, Outcome, PoolKey, ScriptSpec};
use crate::worker::{End, Loaded, Worker, closed};

/// Workers that die before they begin with anything are replaced so often, then the call is given up.
const LOST: u32 = 3;

/// How pools behave.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where scratch directories are made; scripts see only their own.
    pub scratch_root: PathBuf,
    /// What no script may touch, such as the data directory, and what each may write.
    pub site: Site,
    /// Processes that may live at a time, busy and idle, over all flows.
    pub max_workers: usize,
    /// Processes that one flow's pool may keep busy at a time.
    pub max_per_pool: usize,
    /// How long an idle worker is kept.
    pub idle: Duration,
    /// After so many items a worker is replaced.
    pub recycle_after_calls: u64,
    /// How long loading a script may take.
    pub start_timeout: Duration,
    /// Bytes of results that one call may hold in memory; what is more comes in files.
    pub result_memory: u64,
    /// Results that one item may have. Where they are many, they are kept in a file.
    pub max_children: u64,
    /// Bytes that the names and attributes of one item's results may take, mostly in that file.
    pub max_metadata: u64,
    /// Bytes that one file written by a script may have.
    pub file_limit: u64,
    /// Bytes of the scratch directories' disk that are left free: a script whose files take them is stopped.
    pub disk_floor: u64,
    /// Further environment variables for scripts.
    pub env: Vec<(String, String)>,
}

impl Options {
    /// The usual settings.
    pub fn new(scratch_root: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let max_workers = (4 * cores).clamp(8, 64);
        Self {
            scratch_root: scratch_root.into(),
            site: Site::default(),
            max_workers,
            max_per_pool: (max_workers * 3 / 4).max(1),
            idle: Duration::from_secs(300),
            recycle_after_calls: 1_000_000,
            start_timeout: Duration::from_secs(60),
            result_memory: 64 << 20,
            // They are numbered with 32 bits.
            max_children: u32::MAX as u64,
            max_metadata: 64 << 30,
            file_limit: 64 << 30,
            disk_floor: 0,
            env: Vec::new(),
        }
    }
}

/// What starting and running workers needs.
#[derive(Debug)]
pub(crate) struct Shared {
    pub options: Options,
    pub scratch: Arc<Scratch>,
    /// Turns true when the pools shut down.
    pub closing: watch::Sender<bool>,
}

impl Shared {
    /// What a worker started now would see.
    pub(crate) fn surroundings(&self) -> Surroundings {
        let hidden = self.options.site.hidden.clone();
        Surroundings::of(&Policy { hidden, ..Policy::default() })
    }
}

/// All workers of a server. Cheap to clone; dropping the last one kills what still runs.
#[derive(Clone, Debug)]
pub struct Pools {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    /// One permit for each busy worker.
    slots: Arc<Semaphore>,
    state: Mutex<State>,
    /// Told when a call ends.
    left: Notify,
    started: AtomicU64,
    died: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Longest idle first.
    idle: Vec<Idle>,
    pools: HashMap<PoolKey, Pool>,
    next_epoch: u64,
    sweeping: bool,
}

#[derive(Debug)]
struct Idle {
    key: PoolKey,
    worker: Worker,
    since: Instant,
}

/// A pool with calls under way.
#[derive(Debug)]
struct Pool {
    slots: Arc<Semaphore>,
    calls: usize,
    /// Workers that were taken in an earlier epoch are not kept: the pool was closed since.
    epoch: u64,
}

/// A call's right to one busy worker; given back when dropped.
struct Seat {
    inner: Arc<Inner>,
    key: PoolKey,
    epoch: u64,
    permits: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.permits = None;
        let mut state = self.inner.state();
        if let Some(pool) = state.pools.get_mut(&self.key) {
            pool.calls -= 1;
            if pool.calls == 0 {
                state.pools.remove(&self.key);
            }
        }
        drop(state);
        self.inner.left.notify_waiters();
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic happens under the lock, and what it guards is whole at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn closing(&self) -> bool {
        *self.shared.closing.borrow()
    }
}

impl Pools {
    /// Make the scratch directory, and remove what earlier servers left in `scratch_root`. Blocks.
    ///
    /// # Errors
    /// When the scratch directory can't be made.
    pub fn new(mut options: Options) -> Result<Self, Error> {
        let scratch = Scratch::create(&options.scratch_root).map_err(|error| {
            Error::start(format!("make scratch space in {}", options.scratch_root.display()), error)
        })?;
        // Found out now, so that the first script need not wait for it.
        opendmp_sandbox::protection();
        options.site.hidden.push(options.scratch_root.clone());
        let slots = Arc::new(Semaphore::new(options.max_workers.max(1)));
        let shared = Arc::new(Shared { options, scratch, closing: watch::Sender::new(false) });
        let inner = Inner {
            shared,
            slots,
            state: Mutex::default(),
            left: Notify::new(),
            started: AtomicU64::new(0),
            died: AtomicU64::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Run a script on a batch of items; one result for each, in order.
    ///
    /// What happens under one item (a crash, a time-out) is that item's result: the others are run on a new worker.
    /// Those whose results were not sent yet when the worker died are thereby run twice. Dropping the future kills
    /// the worker.
    ///
    /// # Errors
    /// When no worker could be had: no interpreter, a script that can't be loaded, a shutdown.
    pub async fn call(
        &self,
        key: &PoolKey,
        spec: &Arc<ScriptSpec>,
        items: Vec<CallItem>,
    ) -> Result<Vec<CallResult>, Error> {
        let mut results: Vec<Option<CallResult>> = items.iter().map(refuse).collect();
        let mut pending: Vec<usize> = (0..items.len()).filter(|at| results[*at].is_none()).collect();
        if !pending.is_empty() {
            let seat = self.enter(key).await?;
            let mut lost = 0;
            while !pending.is_empty() {
                let (mut worker, loaded) = self.worker(&seat, spec).await?;
                let before = pending.len();
                let end = worker.run(&self.inner.shared, loaded, &items, &pending, &mut results).await;
                pending.retain(|at| results[*at].is_none());
                match end {
                    End::Done => self.give_back(&seat, worker),
                    End::Closed => return Err(Error::Closed),
                    End::Full => {
                        for at in pending.drain(..) {
                            results[at] = Some(put_off());
                        }
                    }
                    End::Died { blamed, status, stderr } => {
                        self.inner.died.fetch_add(1, Ordering::Relaxed);
                        let item = blamed.map(|at| &*items[at].name);
                        tracing::debug!(flow = key.flow, script = spec.file_name, item, status, "a worker died");
                        lost = if pending.len() < before { 0 } else { lost + 1 };
                        if lost == LOST {
                            tracing::warn!(flow = key.flow, script = spec.file_name, status, "workers die idle");
                            // Of the script's own making, so not for every log.
                            tracing::debug!(stderr, "what the last of them wrote");
                            return Err(Error::Lost { status });
                        }
                    }
                }
            }
        }
        // The loop above ends only when each item has its result.
        Ok(results.into_iter().flatten().collect())
    }

    /// Have a worker ready, so that the first call need not wait, and errors in loading show early.
    ///
    /// # Errors
    /// As [`Pools::call`].
    pub async fn warm(&self, key: &PoolKey, spec: &Arc<ScriptSpec>) -> Result<(), Error> {
        let seat = self.enter(key).await?;
        let (worker, _) = self.worker(&seat, spec).await?;
        self.give_back(&seat, worker);
        Ok(())
    }

    /// Close a pool's workers: the idle ones now, the others when their calls are done.
    pub async fn close(&self, key: &PoolKey) {
        let idle = {
            let mut state = self.inner.state();
            state.next_epoch += 1;
            let epoch = state.next_epoch;
            if let Some(pool) = state.pools.get_mut(key) {
                pool.epoch = epoch;
            }
            state.idle.extract_if(.., |idle| idle.key == *key).collect::<Vec<_>>()
        };
        close_all(idle).await;
    }

    /// Kill what is under way, close all workers, and remove the scratch directories. Later calls fail.
    pub async fn shutdown(&self) {
        self.inner.shared.closing.send_replace(true);
        self.inner.slots.close();
        loop {
            let left = self.inner.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.inner.state().pools.is_empty() {
                break;
            }
            left.await;
        }
        let idle = std::mem::take(&mut self.inner.state().idle);
        close_all(idle).await;
        // An error here means that the runtime ends as well.
        let _ = tokio::task::spawn_blocking(crate::launch::settle_background).await;
    }

    /// How many processes live now: busy, idle.
    pub fn workers(&self) -> (usize, usize) {
        let busy = self.inner.shared.options.max_workers.max(1).saturating_sub(self.inner.slots.available_permits());
        (busy, self.inner.state().idle.len())
    }

    /// How many processes live now, may live, and ever did.
    pub fn numbers(&self) -> Numbers {
        let (busy, idle) = self.workers();
        Numbers {
            busy,
            idle,
            most: self.inner.shared.options.max_workers.max(1),
            started: self.inner.started.load(Ordering::Relaxed),
            died: self.inner.died.load(Ordering::Relaxed),
        }
    }

    /// Wait for the right to keep a worker busy.
    async fn enter(&self, key: &PoolKey) -> Result<Seat, Error> {
        if self.inner.closing() {
            return Err(Error::Closed);
        }
        let (slots, epoch) = {
            let mut state = self.inner.state();
            self.sweep_idle(&mut state);
            state.next_epoch += 1;
            let epoch = state.next_epoch;
            let most = self.inner.shared.options.max_per_pool.max(1);
            let pool = state.pools.entry(key.clone()).or_insert_with(|| Pool {
                slots: Arc::new(Semaphore::new(most)),
                calls: 0,
                epoch,
            });
            pool.calls += 1;
            (Arc::clone(&pool.slots), pool.epoch)
        };
        // From here on the seat counts the call out again, whatever happens.
        let mut seat = Seat { inner: Arc::clone(&self.inner), key: key.clone(), epoch, permits: None };
        let mut closing = self.inner.shared.closing.subscribe();
        let permits = async {
            let own = slots.acquire_owned().await.ok()?;
            let shared = Arc::clone(&self.inner.slots).acquire_owned().await.ok()?;
            Some((own, shared))
        };
        tokio::select! {
            permits = permits => seat.permits = Some(permits.ok_or(Error::Closed)?),
            () = closed(&mut closing) => return Err(Error::Closed),
        }
        Ok(seat)
    }

    /// A worker with this script: an idle one that has it, an idle one that takes it in, or a new one.
    async fn worker(&self, seat: &Seat, spec: &Arc<ScriptSpec>) -> Result<(Worker, Loaded), Error> {
        let shared = &self.inner.shared;
        if let Some(mut worker) = self.idle(seat, spec).await {
            if let Some(loaded) = worker.has(spec) {
                return Ok((worker, loaded));
            }
            match worker.load(shared, spec).await {
                Ok(loaded) => return Ok((worker, loaded)),
                Err(error) if !worker.worn => {
                    // The script can't be used, but the worker can.
                    self.give_back(seat, worker);
                    return Err(error);
                }
                Err(Error::Closed) => return Err(Error::Closed),
                // What else was loaded may have been to blame: a new one tells.
                Err(error) => tracing::debug!(flow = seat.key.flow, %error, "a worker could not take in a script"),
            }
        }
        let mut worker = Worker::start(shared, spec).await?;
        self.inner.started.fetch_add(1, Ordering::Relaxed);
        match worker.load(shared, spec).await {
            Ok(loaded) => Ok((worker, loaded)),
            Err(error) => {
                tokio::spawn(worker.close().in_current_span());
                Err(error)
            }
        }
    }

    /// The idle worker that suits best; at the limit of workers, room for a new one is made.
    async fn idle(&self, seat: &Seat, spec: &Arc<ScriptSpec>) -> Option<Worker> {
        let surroundings = std::cell::OnceCell::new();
        let (found, too_many) = {
            let mut state = self.inner.state();
            let mine =
                |idle: &mut Idle| idle.key == seat.key && (idle.worker.has(spec).is_some() || idle.worker.suits(spec));
            let (mut fit, mut unfit) = (Vec::new(), Vec::new());
            for mut idle in state.idle.extract_if(.., mine) {
                let changed = || surroundings.get_or_init(|| self.inner.shared.surroundings());
                let fits = idle.worker.is_settled(changed) && idle.worker.is_alive();
                if fits { fit.push(idle) } else { unfit.push(idle) }
            }
            // The one used last of those that have it: its memory is warm, and the others grow old enough to be closed.
            let best = fit.iter().rposition(|idle| idle.worker.has(spec).is_some()).or(fit.len().checked_sub(1));
            let found = best.map(|at| fit.remove(at));
            let mut too_many = unfit;
            // Those not taken keep their order among all.
            state.idle.extend(fit);
            state.idle.sort_by_key(|idle| idle.since);
            if found.is_none() {
                let most = self.inner.shared.options.max_workers.max(1);
                let busy = most.saturating_sub(self.inner.slots.available_permits());
                let excess = (state.idle.len() + busy).saturating_sub(most).min(state.idle.len());
                too_many.extend(state.idle.drain(..excess));
            }
            (found, too_many)
        };
        close_all(too_many).await;
        found.map(|idle| idle.worker)
    }

    /// Keep a worker for the next call, unless there is a reason not to.
    fn give_back(&self, seat: &Seat, worker: Worker) {
        let mut state = self.inner.state();
        let current = state.pools.get(&seat.key).is_some_and(|pool| pool.epoch == seat.epoch);
        let old = worker.worn || worker.served >= self.inner.shared.options.recycle_after_calls;
        if current && !old {
            state.idle.push(Idle { key: seat.key.clone(), worker, since: Instant::now() });
        } else {
            drop(state);
            tokio::spawn(worker.close().in_current_span());
        }
    }

    /// Close idle workers after a while, from now on until the pools are gone.
    fn sweep_idle(&self, state: &mut State) {
        if std::mem::replace(&mut state.sweeping, true) {
            return;
        }
        let idle = self.inner.shared.options.idle;
        let weak: Weak<Inner> = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep((idle / 4).clamp(Duration::from_millis(10), Duration::from_secs(10))).await;
                let Some(inner) = weak.upgrade() else { return };
                // Also those that keep a disk busy which was unmounted.
                let now = std::cell::OnceCell::new();
                let is_over = |one: &mut Idle| {
                    let changed = || now.get_or_init(|| inner.shared.surroundings());
                    one.since.elapsed() >= idle || !one.worker.is_settled(changed)
                };
                let over: Vec<Idle> = inner.state().idle.extract_if(.., is_over).collect();
                drop(inner);
                close_all(over).await;
            }
        });
    }
}

async fn close_all(workers: Vec<Idle>) {
    let mut closing: JoinSet<()> = workers.into_iter().map(|idle| idle.worker.close()).collect();
    while closing.join_next().await.is_some() {}
}

/// The result of an item that is too large to be sent, if it is.
fn refuse(item: &CallItem) -> Option<CallResult> {
    const NAME: usize = 64 << 10;
    const SHORT: usize = 4 << 10;
    const ATTRIBUTES: usize = 1 << 20;
    let what = if item.name.len() > NAME {
        "name is"
    } else if item.media_type.as_ref().is_some_and(|text| text.len() > SHORT) {
        "media type is"
    } else if item.attributes.as_ref().is_some_and(|json| json.len() > ATTRIBUTES) {
        "attributes are"
    } else {
        return None;
    };
    let failure = Failure {
        kind: "ItemTooLarge".into(),
        message: format!("the item's {what} too long to be passed to a script"),
        hint: Some("keep large values in the content".into()),
        ..Failure::default()
    };
    Some(result(Outcome::Failed(failure)))
}

fn put_off() -> CallResult {
    let reason = "the results of the items before it filled the memory of one call".into();
    result(Outcome::Retry { reason, after: Some(Duration::ZERO) })
}

fn result(outcome: Outcome) -> CallResult {
    CallResult { outcome, log: Vec::new(), log_left_out: 0, took: Duration::ZERO }
}
