//! What a server counts and times, for whoever watches it: `GET /metrics`.
//!
//! The ports are metered by layers over them ([`ports`]), so that neither they nor those who call them know of it;
//! what is settled is told by the transport's own facts. Every metric stands in [`described`]; [`show`] puts what was
//! counted beside what the journal and the disk say at that moment. Nothing here is durable: counters begin at 0 with
//! the process, and what was ever done stands in the journal.
//!
//! Numbers of flows are kept by flow, and forgotten when the flow is deleted.

pub mod described;
pub(crate) mod ports;
#[cfg(target_os = "linux")]
mod process;
mod show;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use opendmp_ports::journal::{Action, Claimed, End, FlowId, Intent, Settled, SettledAndClaimed};
use opendmp_ports::transport::{Hint, StepCounts};
use opendmp_ports::{Error, ErrorKind};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::engine::lock;
use crate::retention::LetGoReport;
use ports::JournalCalls;

pub use described::{ALL, Described, Kind};
pub use show::CONTENT_TYPE;

/// Script workers, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workers {
    /// In a call.
    pub busy: usize,
    /// Waiting for one.
    pub idle: usize,
    /// How many there may be.
    pub most: usize,
    /// Ever started by this process.
    pub started: u64,
    /// Ended in the middle of a call.
    pub died: u64,
}

/// Where stored content came from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Put {
    Memory,
    File,
    Stream,
}

impl Put {
    const ALL: [(Self, &'static str); 3] = [(Self::Memory, "memory"), (Self::File, "file"), (Self::Stream, "stream")];
}

/// Asked how many script workers there are.
type AskWorkers = Box<dyn Fn() -> Workers + Send + Sync>;

/// Of one flow, by processor.
type Steps = BTreeMap<Arc<str>, Arc<Step>>;

/// Labels that are words of the program.
type Words = [(&'static str, &'static str); 2];

/// What was counted since the process began. Cheap to count in: atomic numbers, and a lock held for a few
/// instructions where a distribution is kept.
#[derive(Default)]
pub struct Metrics {
    flows: Mutex<BTreeMap<FlowId, Steps>>,
    /// Names of flows when they were last asked for: what they are shown under while the journal does not answer.
    slugs: Mutex<BTreeMap<FlowId, String>>,
    tasks_in_work: Gauge,
    tasks_claimed: Counter,
    tasks_reclaimed: Counter,
    tasks_settled: Counter,
    tasks_already: Counter,
    tasks_fenced: Counter,
    tasks_returned: Counter,
    results_new: Counter,
    results_unchanged: Counter,
    let_go_sources: Counter,
    let_go_revisions: Counter,
    let_go_records: Counter,
    journal_calls: JournalCalls,
    journal_errors: Family<Words, Counter>,
    commit: Brief,
    commit_calls: Sizes,
    content_puts: [(Counter, Counter); 3],
    content_opens: Counter,
    content_sync: Brief,
    content_errors: Family<Words, Counter>,
    hints: Family<[(&'static str, &'static str); 1], Counter>,
    workers: OnceLock<AskWorkers>,
    requests: Family<[(&'static str, String); 3], Counter>,
    request: Requests,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// What is counted of one processor of a flow, over all versions of it.
#[derive(Debug, Default)]
struct Step {
    done: Counter,
    retried: Counter,
    dead: Counter,
    emitted: Counter,
    remembered: Counter,
    /// Microseconds.
    took: Counter,
    /// Made with the first of each: most processors have only some.
    calls: OnceLock<Histogram>,
    looks: OnceLock<Looks>,
    exports: OnceLock<Ends>,
    releases: OnceLock<Ends>,
}

/// Of a source.
#[derive(Debug)]
struct Looks {
    took: Histogram,
    problems: Counter,
    bytes: Counter,
}

/// How attempts at intents ended.
#[derive(Debug, Default)]
struct Ends {
    done: Counter,
    retried: Counter,
    refused: Counter,
    occupied: Counter,
}

/// Counts a task in work until it is dropped.
pub(crate) struct InWork<'a>(&'a Gauge);

impl Drop for InWork<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Of a request.
type Route = [(&'static str, String); 1];

/// Times of requests by route.
struct Requests(Family<Route, Histogram, fn() -> Histogram>);

impl Default for Requests {
    fn default() -> Self {
        Self(Family::new_with_constructor(brief))
    }
}

/// A distribution of times that are short where all is well.
#[derive(Debug)]
struct Brief(Histogram);

impl Default for Brief {
    fn default() -> Self {
        Self(brief())
    }
}

/// A distribution of numbers from 1 to what one commit takes.
#[derive(Debug)]
struct Sizes(Histogram);

impl Default for Sizes {
    fn default() -> Self {
        Self(Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0]))
    }
}

/// Times from a tenth of a millisecond to ten seconds.
fn brief() -> Histogram {
    Histogram::new([0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0])
}

/// Times of what people's code does: from a tenth of a millisecond to an hour.
fn long() -> Histogram {
    Histogram::new([0.0001, 0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 300.0, 3600.0])
}

/// What a kind of error is called.
fn word(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "not_found",
        ErrorKind::Conflict => "conflict",
        ErrorKind::Full => "full",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Damaged => "damaged",
        ErrorKind::Newer => "newer",
        ErrorKind::Invalid => "invalid",
    }
}

impl Metrics {
    /// Says whom to ask for the script workers. Only the first one counts.
    pub fn ask_workers(&self, ask: impl Fn() -> Workers + Send + Sync + 'static) {
        let _ = self.workers.set(Box::new(ask));
    }

    /// Counts a commit of the journal that answered so many calls.
    pub fn committed(&self, calls: usize, took: Duration) {
        self.commit.0.observe(took.as_secs_f64());
        self.commit_calls.0.observe(calls as f64);
    }

    /// Counts a request. `method` and `route` must come from a bounded set: never the path as it was asked for.
    pub fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        let labels = [("method", method.to_owned()), ("route", route.to_owned()), ("status", status.to_string())];
        self.requests.get_or_create(&labels).inc();
        self.request.0.get_or_create(&[("route", route.to_owned())]).observe(took.as_secs_f64());
    }

    fn step(&self, flow: FlowId, processor: &str) -> Arc<Step> {
        let mut flows = lock(&self.flows);
        let steps = flows.entry(flow).or_default();
        if let Some(step) = steps.get(processor) {
            return Arc::clone(step);
        }
        Arc::clone(steps.entry(processor.into()).or_default())
    }

    /// Where the times of a processor's calls go.
    pub(crate) fn calls(&self, flow: FlowId, processor: &str) -> Histogram {
        self.step(flow, processor).calls.get_or_init(long).clone()
    }

    pub(crate) fn looked(&self, flow: FlowId, processor: &str, took: Duration, problems: u64) {
        let step = self.step(flow, processor);
        let looks = step.looks();
        looks.took.observe(took.as_secs_f64());
        looks.problems.inc_by(problems);
    }

    pub(crate) fn took_in(&self, flow: FlowId, processor: &str, bytes: u64) {
        self.step(flow, processor).looks().bytes.inc_by(bytes);
    }

    pub(crate) fn carried_out(&self, intent: &Intent, end: &End) {
        let step = self.step(intent.flow, &intent.processor);
        let ends = match intent.action {
            Action::Export(_) => step.exports.get_or_init(Ends::default),
            Action::Release { .. } => step.releases.get_or_init(Ends::default),
        };
        let counter = match end {
            End::Done => &ends.done,
            End::Retry { .. } => &ends.retried,
            End::Refused(_) => &ends.refused,
            End::Occupied => &ends.occupied,
        };
        counter.inc();
    }

    pub(crate) fn begin_work(&self) -> InWork<'_> {
        self.tasks_in_work.inc();
        InWork(&self.tasks_in_work)
    }

    /// Retention let something go.
    pub(crate) fn let_go(&self, report: &LetGoReport) {
        self.let_go_sources.inc_by(report.sources);
        self.let_go_revisions.inc_by(report.revisions);
        self.let_go_records.inc_by(report.records);
    }

    pub(crate) fn returned(&self) {
        self.tasks_returned.inc();
    }

    fn claimed(&self, claimed: &[Claimed]) {
        self.tasks_claimed.inc_by(claimed.len() as u64);
        self.tasks_reclaimed.inc_by(claimed.iter().filter(|claimed| claimed.attempt > 1).count() as u64);
    }

    fn settled_and_claimed(&self, done: &SettledAndClaimed) {
        self.settled(std::slice::from_ref(&done.settled));
        self.claimed(&done.tasks);
    }

    fn settled(&self, settled: &[Settled]) {
        for settled in settled {
            match settled {
                Settled::Applied(applied) => {
                    self.tasks_settled.inc();
                    self.results_new.inc_by(applied.revisions);
                    self.results_unchanged.inc_by(applied.unchanged);
                }
                Settled::Already => {
                    self.tasks_already.inc();
                }
                Settled::Fenced => {
                    self.tasks_fenced.inc();
                }
            }
        }
    }

    fn journal_failed(&self, operation: &'static str, error: &Error) {
        self.journal_errors.get_or_create(&[("operation", operation), ("kind", word(error.kind))]).inc();
    }

    fn content_failed(&self, operation: &'static str, error: &Error) {
        self.content_errors.get_or_create(&[("operation", operation), ("kind", word(error.kind))]).inc();
    }

    fn stored(&self, from: Put, contents: u64, bytes: u64) {
        let (count, sum) = &self.content_puts[from as usize];
        count.inc_by(contents);
        sum.inc_by(bytes);
    }

    fn hinted(&self, hint: &Hint) {
        let word = match hint {
            Hint::Tasks(_) => "tasks",
            Hint::Intents => "intents",
            Hint::Flow(_) => "flow",
            Hint::Run(_) => "run",
            Hint::Reprocess(_) => "reprocess",
            Hint::Settled(_) => "settled",
        };
        self.hints.get_or_create(&[("hint", word)]).inc();
        if let Hint::Settled(progress) = hint {
            for (processor, counts) in &progress.processors {
                self.step(progress.flow, processor).count(counts);
            }
        }
    }

    /// What was settled of a flow since the process began, by processor.
    pub fn counts(&self, flow: FlowId) -> BTreeMap<Arc<str>, StepCounts> {
        let flows = lock(&self.flows);
        let steps = flows.get(&flow).into_iter().flatten();
        let counts = steps.map(|(processor, step)| {
            let counts = StepCounts {
                done: step.done.get(),
                emitted: step.emitted.get(),
                dead: step.dead.get(),
                retried: step.retried.get(),
                took: step.took.get(),
                remembered: step.remembered.get(),
            };
            (Arc::clone(processor), counts)
        });
        counts.collect()
    }

    /// Flows of which something was counted.
    fn counted_flows(&self) -> Vec<FlowId> {
        lock(&self.flows).keys().copied().collect()
    }
}

impl Step {
    fn count(&self, counts: &StepCounts) {
        self.done.inc_by(counts.done);
        self.retried.inc_by(counts.retried);
        self.dead.inc_by(counts.dead);
        self.emitted.inc_by(counts.emitted);
        self.remembered.inc_by(counts.remembered);
        self.took.inc_by(counts.took);
    }

    fn looks(&self) -> &Looks {
        let new = || Looks { took: long(), problems: Counter::default(), bytes: Counter::default() };
        self.looks.get_or_init(new)
    }
}
