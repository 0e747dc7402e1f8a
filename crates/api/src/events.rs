//! What happens, as it happens: one stream of facts for all who watch (`GET /api/v1/events`, server-sent events as in
//! the HTML standard).
//!
//! One publisher works for all watchers, and only while there are any: it puts what changed into one event, at most a
//! few times a second, encoded once. The last events are kept, so that a watcher whose connection broke goes on where it
//! was; whoever comes late or can't follow gets the whole state anew. So a slow watcher costs no more than its place in
//! the queue. Numbers are counted since the server began; what was ever done stands in the journal.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use opendmp_engine::recent::Recent;
use opendmp_engine::{Engine, Trouble};
use opendmp_ports::journal::{DEFAULT_SPACE, FlowId, FlowRow, FlowState, Seq};
use opendmp_ports::transport::Hint;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, broadcast, watch};
use utoipa::ToSchema;

use crate::ask::Problem;
use crate::rows::time;

/// The least time between two events: what happens meanwhile goes into the next one.
const PACE: Duration = Duration::from_millis(100);

/// How long the first of what happens waits for the rest of it: an item that is taken in is mostly done a moment later.
const GATHER: Duration = Duration::from_millis(25);

/// How often what gave no hint is looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// How long the publisher goes on when nobody watches, for those who come back.
const LINGER: Duration = Duration::from_secs(60);

/// How often something is sent that means nothing, so that neither side takes the other for gone.
const BEAT: Duration = Duration::from_secs(15);

/// Events that a watcher may be behind.
const BEHIND: usize = 64;

/// Bytes of events that are kept for those who come back.
const KEPT: usize = 4 << 20;

/// Ended items in one event.
const MOST_RECENT: usize = 50;

/// Tasks of a flow that are looked at to tell what waits where.
const MOST_TASKS: usize = 2_000;

/// Watchers at a time.
const MOST_WATCHERS: usize = 20_000;

/// Numbers of one processor. What went through is counted since the server began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProcessorNumbers {
    /// Items that went in and are done.
    pub r#in: u64,
    /// Items that came out.
    pub out: u64,
    /// Items that became dead letters.
    pub failed: u64,
    /// Items that were handed back to be tried again.
    pub retried: u64,
    /// Items that wait for it now; at least so many where very much waits.
    pub waiting: u64,
    /// Mean time of an item, in microseconds.
    pub took_us: u64,
}

/// Numbers of one flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowNumbers {
    /// Whether it works by itself.
    pub state: FlowState,
    /// Hash of its present version.
    pub version: String,
    /// Items and intents under way.
    pub outstanding: u64,
    /// Items that its aggregates hold.
    pub held: u64,
    /// Open dead letters.
    pub dead_letters: u64,
    /// By processor: those that anything is known of.
    pub processors: BTreeMap<String, ProcessorNumbers>,
}

/// What an event tells. A snapshot has all flows; else those that changed, as they are now, and `null` for a flow that
/// is gone.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Facts {
    /// Number of the event, from 1 with each start of the server.
    pub seq: u64,
    /// When.
    pub time: String,
    /// By slug.
    #[schema(schema_with = numbers_or_null)]
    pub flows: BTreeMap<String, Option<FlowNumbers>>,
    /// What came to an end lately, newest first; under load only some of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<Recent>,
    /// All that keeps work from going on at present; only where that changed, and in snapshots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub troubles: Option<Vec<Trouble>>,
}

/// A map to what may be `null`, which the derive can't say.
fn numbers_or_null() -> utoipa::openapi::Object {
    use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
    let null = ObjectBuilder::new().schema_type(Type::Null);
    let either = OneOfBuilder::new().item(utoipa::openapi::Ref::from_schema_name("FlowNumbers")).item(null);
    ObjectBuilder::new()
        .description(Some("By slug; `null` for a flow that is gone."))
        .additional_properties(Some(Schema::OneOf(either.build())))
        .build()
}

#[derive(Clone)]
struct Frame {
    seq: u64,
    bytes: Bytes,
}

/// See the module.
pub(crate) struct Hub {
    /// Tells the events of this start of the server from those of others.
    epoch: i64,
    state: Mutex<State>,
    frames: broadcast::Sender<Frame>,
    watchers: AtomicUsize,
    woken: Notify,
    ready: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    seq: u64,
    kept: VecDeque<Frame>,
    bytes: usize,
    rows: BTreeMap<FlowId, FlowRow>,
    flows: BTreeMap<String, Option<FlowNumbers>>,
    recent: VecDeque<Recent>,
    troubles: Vec<Trouble>,
    at: i64,
    /// The state as an event, made when it is first asked for.
    snapshot: Option<Frame>,
}

/// Counts a watcher until it is dropped.
struct Watching(Arc<Hub>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Hub {
    pub(crate) fn new(epoch: i64) -> Self {
        Self {
            epoch,
            state: Mutex::default(),
            frames: broadcast::channel(BEHIND).0,
            watchers: AtomicUsize::new(0),
            woken: Notify::new(),
            ready: watch::Sender::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What is kept here is changed by single calls, so a panic leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes for as long as the service works.
    pub(crate) async fn publish(self: Arc<Self>, engine: Arc<Engine>, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            if self.watchers.load(Ordering::Acquire) == 0 {
                tokio::select! {
                    () = self.woken.notified() => {}
                    _ = stop.wait_for(|stop| *stop) => return,
                }
            }
            self.publish_while_watched(&engine, &mut stop).await;
            self.ready.send_replace(false);
            let mut state = self.lock();
            // Nothing is known of what happens from here on.
            *state = State { seq: state.seq + 1, ..State::default() };
        }
    }

    async fn publish_while_watched(&self, engine: &Engine, stop: &mut watch::Receiver<bool>) {
        let mut hints = engine.transport.listen();
        // What ended before anyone watched is worth a look, too.
        let mut upto = Seq(0);
        let mut changed = Changed { flows: BTreeSet::new(), all: true, settled: true };
        let (mut next, mut sweep) = (tokio::time::Instant::now(), tokio::time::Instant::now());
        let mut watched = next;
        loop {
            if changed.is_some() && tokio::time::Instant::now() >= next {
                if std::mem::take(&mut changed.all) {
                    sweep = tokio::time::Instant::now() + SWEEP;
                    self.sweep(engine, &mut changed).await;
                }
                self.tell(engine, std::mem::take(&mut changed), &mut upto).await;
                self.ready.send_replace(true);
                next = tokio::time::Instant::now() + PACE;
            }
            let wake = if changed.is_some() { next.min(sweep) } else { sweep };
            tokio::select! {
                hint = hints.next() => {
                    if !changed.is_some() {
                        next = next.max(tokio::time::Instant::now() + GATHER);
                    }
                    changed.take(hint);
                }
                () = tokio::time::sleep_until(wake) => {
                    if tokio::time::Instant::now() >= sweep {
                        changed.all = true;
                    }
                }
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let now = tokio::time::Instant::now();
            if self.watchers.load(Ordering::Acquire) > 0 {
                watched = now;
            } else if now >= watched + LINGER {
                return;
            }
        }
    }

    /// Finds the flows that changed without a hint.
    async fn sweep(&self, engine: &Engine, changed: &mut Changed) {
        let Ok(rows) = engine.journal.flows(DEFAULT_SPACE).await else { return };
        let rows: BTreeMap<FlowId, FlowRow> = rows.into_iter().map(|row| (row.id, row)).collect();
        let state = self.lock();
        let differ = rows.iter().filter(|(id, row)| state.rows.get(id) != Some(*row)).map(|(id, _)| *id);
        let gone = state.rows.keys().filter(|id| !rows.contains_key(id)).copied();
        changed.flows.extend(differ.chain(gone));
    }

    /// Makes one event of what changed, where anything did.
    async fn tell(&self, engine: &Engine, changed: Changed, upto: &mut Seq) {
        let mut numbers = Vec::with_capacity(changed.flows.len());
        for id in changed.flows {
            let Ok(row) = engine.journal.flow(id).await else { continue };
            let waiting =
                if row.outstanding > 0 { engine.journal.waiting(id, MOST_TASKS).await } else { Ok(Vec::new()) };
            numbers.push((id, numbers_of(engine, &row, waiting.unwrap_or_default()), row));
        }
        let recent = if changed.settled { engine.recent(*upto, MOST_RECENT).await.ok() } else { None };
        let recent = recent.map(|(seq, recent)| {
            *upto = seq;
            recent
        });
        let troubles = engine.troubles();
        let mut state = self.lock();
        let mut flows = BTreeMap::new();
        for (id, numbers, row) in numbers {
            let slug = row.slug.clone();
            let numbers = if row.state == FlowState::Deleted {
                state.rows.remove(&id);
                state.flows.remove(&slug);
                None
            } else {
                state.rows.insert(id, row);
                let before = state.flows.insert(slug.clone(), Some(numbers.clone()));
                if before.flatten().as_ref() == Some(&numbers) {
                    continue;
                }
                Some(numbers)
            };
            flows.insert(slug, numbers);
        }
        let recent = recent.unwrap_or_default();
        let troubles = (troubles != state.troubles).then(|| troubles.clone());
        if flows.is_empty() && recent.is_empty() && troubles.is_none() {
            return;
        }
        if let Some(troubles) = &troubles {
            state.troubles.clone_from(troubles);
        }
        for recent in recent.iter().rev() {
            state.recent.push_front(recent.clone());
        }
        state.recent.truncate(MOST_RECENT);
        state.seq += 1;
        state.at = engine.clock.now();
        state.snapshot = None;
        let facts = Facts { seq: state.seq, time: time(state.at), flows, recent, troubles };
        let frame = self.frame("facts", &facts);
        state.bytes += frame.bytes.len();
        state.kept.push_back(frame.clone());
        while state.bytes > KEPT
            && let Some(oldest) = state.kept.pop_front()
        {
            state.bytes -= oldest.bytes.len();
        }
        // Nobody listening is no harm.
        let _ = self.frames.send(frame);
    }

    fn frame(&self, event: &str, facts: &Facts) -> Frame {
        let mut text = format!("id: {}-{}\nevent: {event}\ndata: ", self.epoch, facts.seq);
        // JSON has no line breaks of its own here.
        let _ = writeln!(text, "{}\n", serde_json::to_string(facts).unwrap_or_default());
        Frame { seq: facts.seq, bytes: text.into() }
    }

    /// The whole state as an event.
    fn snapshot(&self, state: &mut State) -> Frame {
        if let Some(frame) = &state.snapshot {
            return frame.clone();
        }
        let facts = Facts {
            seq: state.seq,
            time: time(state.at),
            flows: state.flows.clone(),
            recent: state.recent.iter().cloned().collect(),
            troubles: Some(state.troubles.clone()),
        };
        let frame = self.frame("snapshot", &facts);
        state.snapshot = Some(frame.clone());
        frame
    }

    /// What a watcher gets first: what it missed where that is still kept, else everything.
    fn first(&self, last: Option<u64>) -> VecDeque<Frame> {
        let mut state = self.lock();
        if let Some(last) = last
            && last <= state.seq
            && (last == state.seq || state.kept.front().is_some_and(|oldest| oldest.seq <= last + 1))
        {
            return state.kept.iter().filter(|frame| frame.seq > last).cloned().collect();
        }
        VecDeque::from([self.snapshot(&mut state)])
    }

    /// Answers a watcher, for as long as it stays.
    pub(crate) async fn watch(self: Arc<Self>, headers: &HeaderMap, stop: watch::Receiver<bool>) -> Response {
        if self.watchers.fetch_add(1, Ordering::AcqRel) >= MOST_WATCHERS {
            self.watchers.fetch_sub(1, Ordering::AcqRel);
            return Problem::new(503, "too-many-watchers", format!("{MOST_WATCHERS} watch already"))
                .with_hint("close some of them")
                .into_response();
        }
        let watching = Watching(Arc::clone(&self));
        self.woken.notify_one();
        let mut ready = self.ready.subscribe();
        let mut stopping = stop.clone();
        tokio::select! {
            _ = ready.wait_for(|ready| *ready) => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
        let frames = self.frames.subscribe();
        let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| self.number(id));
        let mut first = self.first(last);
        let seq = first.back().map_or(last.unwrap_or(0), |frame| frame.seq);
        first.push_front(Frame { seq: 0, bytes: Bytes::from_static(b"retry: 2000\n\n") });
        let watcher = Watcher { watching, frames, first, seq, stop };
        let events = stream::unfold(watcher, |mut watcher| async move {
            let bytes = watcher.next().await?;
            Some((Ok::<_, Infallible>(bytes), watcher))
        });
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        (headers, axum::body::Body::from_stream(events)).into_response()
    }

    /// The number in an id of this start of the server.
    fn number(&self, id: &str) -> Option<u64> {
        let (epoch, seq) = id.split_once('-')?;
        (epoch == self.epoch.to_string()).then(|| seq.parse().ok()).flatten()
    }
}

struct Watcher {
    watching: Watching,
    frames: broadcast::Receiver<Frame>,
    first: VecDeque<Frame>,
    seq: u64,
    stop: watch::Receiver<bool>,
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(frame) = self.first.pop_front() {
            return Some(frame.bytes);
        }
        loop {
            let frame = tokio::select! {
                frame = self.frames.recv() => frame,
                () = tokio::time::sleep(BEAT) => return Some(Bytes::from_static(b": \n\n")),
                _ = self.stop.wait_for(|stop| *stop) => return None,
            };
            match frame {
                Ok(frame) if frame.seq > self.seq => {
                    self.seq = frame.seq;
                    return Some(frame.bytes);
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    let hub = &self.watching.0;
                    let frame = hub.snapshot(&mut hub.lock());
                    self.seq = frame.seq;
                    return Some(frame.bytes);
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// What may have changed since the last event.
#[derive(Default)]
struct Changed {
    flows: BTreeSet<FlowId>,
    all: bool,
    settled: bool,
}

impl Changed {
    fn is_some(&self) -> bool {
        self.all || self.settled || !self.flows.is_empty()
    }

    fn take(&mut self, hint: Option<Hint>) {
        match hint {
            Some(Hint::Settled(progress)) => {
                self.settled = true;
                self.flows.insert(progress.flow);
            }
            Some(Hint::Flow(flow) | Hint::Tasks(flow)) => {
                self.flows.insert(flow);
            }
            Some(Hint::Intents | Hint::Run(_) | Hint::Reprocess(_)) => {}
            // Some were lost.
            None => (self.all, self.settled) = (true, true),
        }
    }
}

fn numbers_of(engine: &Engine, row: &FlowRow, waiting: Vec<(Arc<str>, u64)>) -> FlowNumbers {
    let mut processors: BTreeMap<String, ProcessorNumbers> = BTreeMap::new();
    for (processor, counts) in engine.metrics.counts(row.id) {
        let numbers = ProcessorNumbers {
            r#in: counts.done + counts.remembered,
            out: counts.emitted,
            failed: counts.dead,
            retried: counts.retried,
            waiting: 0,
            took_us: counts.took.checked_div(counts.done).unwrap_or(0),
        };
        processors.insert(processor.to_string(), numbers);
    }
    for (processor, items) in waiting {
        processors.entry(processor.to_string()).or_default().waiting = items;
    }
    FlowNumbers {
        state: row.state,
        version: row.version_hash.clone(),
        outstanding: row.outstanding,
        held: row.held,
        dead_letters: row.dead_letters,
        processors,
    }
}
