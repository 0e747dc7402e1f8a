//! Every metric there is: its name, what it is, its labels, and what it says. What is not listed here can't be shown,
//! and `docs/OPERATING.md` lists the same.
//!
//! Names and units follow the conventions of Prometheus and OpenMetrics 1.0; `_total` is added to counters. Labels are
//! the names of flows, processors and collections, and words of the program: never what comes from items.

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// One metric, described.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// Its name without what its kind adds.
    pub(crate) base: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What its series differ by.
    pub labels: &'static [&'static str],
    /// What it says, in a sentence without a full stop.
    pub help: &'static str,
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, and begins at 0 when the process does.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How often, how much in all, and how often up to each of some bounds.
    Histogram,
    /// Always 1: what counts are its labels.
    Info,
}

impl Kind {
    /// As OpenMetrics calls it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }

    pub(crate) fn metric_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
            Self::Histogram => MetricType::Histogram,
            Self::Info => MetricType::Info,
        }
    }
}

impl Described {
    /// Its name as one asks for it.
    pub fn name(&self) -> String {
        match self.kind {
            Kind::Counter => format!("{}_total", self.base),
            Kind::Info => format!("{}_info", self.base),
            Kind::Gauge | Kind::Histogram => self.base.to_owned(),
        }
    }

    /// Its name without its unit, and the unit where it has one.
    pub(crate) fn parts(&self) -> (&'static str, Option<Unit>) {
        let bytes = self.base.strip_suffix("_bytes").map(|base| (base, Some(Unit::Bytes)));
        let seconds = self.base.strip_suffix("_seconds").map(|base| (base, Some(Unit::Seconds)));
        bytes.or(seconds).unwrap_or((self.base, None))
    }
}

macro_rules! described {
    ($($id:ident = $kind:ident $base:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(crate) const $id: Described =
            Described { base: $base, kind: Kind::$kind, labels: &[$($label),*], help: $help };)*

        /// All of them, in the order in which they are shown.
        pub const ALL: &[Described] = &[$($id),*];
    };
}

described! {
    ITEMS = Counter "opendmp_items" ["flow", "processor", "result"]
        "Items that left a processor, once for each time they were committed: `done`, handed back to be tried again (`retried`), or made a dead letter (`dead`); for an ingest, the items that arrived";
    ITEMS_EMITTED = Counter "opendmp_items_emitted" ["flow", "processor"]
        "Items that came out of a processor";
    STEP = Histogram "opendmp_step_seconds" ["flow", "processor"]
        "Time that one call of a processor took; a call takes from one item to a bundle of 1,000";
    LOOK = Histogram "opendmp_source_look_seconds" ["flow", "processor"]
        "Time that one look at a source took, with all that was taken in";
    SOURCE_PROBLEMS = Counter "opendmp_source_problems" ["flow", "processor"]
        "Source items that could not be taken in, and looks that failed, each time it was tried";
    INGESTED = Counter "opendmp_ingested_bytes" ["flow", "processor"]
        "Bytes of the source items that were taken in";
    INTENTS = Counter "opendmp_intents" ["flow", "processor", "kind", "result"]
        "Attempts at an `export` or at letting source items go (`release`): `done`, put off (`retried`), `refused`, or `occupied` by a foreign file, so that another name is tried";
    OUTSTANDING = Gauge "opendmp_flow_outstanding" ["flow"]
        "Items in tasks and open intents of a flow";
    OLDEST = Gauge "opendmp_flow_oldest_run_seconds" ["flow"]
        "Age of the oldest run of a flow that is not done; 0 where nothing waits";
    DEAD_LETTERS = Gauge "opendmp_dead_letters" ["flow"]
        "Open dead letters of a flow";
    ENABLED = Gauge "opendmp_flow_enabled" ["flow"]
        "1 where a flow looks at its sources, else 0";
    QUEUE_ITEMS = Gauge "opendmp_queue_items" []
        "Items in tasks, waiting or in work";
    QUEUE_INTENTS = Gauge "opendmp_queue_intents" []
        "Open intents: exports and releases that are still to be done";
    TASKS_IN_WORK = Gauge "opendmp_tasks_in_work" []
        "Tasks that are being worked on now";
    TASKS_CLAIMED = Counter "opendmp_tasks_claimed" []
        "Claims of tasks";
    TASKS_RECLAIMED = Counter "opendmp_tasks_reclaimed" []
        "Claims of tasks that had been claimed before: their worker was lost";
    TASKS_ENDED = Counter "opendmp_tasks_ended" ["result"]
        "Ends of work on a task: `settled`, settled by somebody else before (`already`), taken over meanwhile (`fenced`), or handed back (`returned`)";
    RESULTS = Counter "opendmp_results" ["result"]
        "Results that were collected: a `new` revision, or `unchanged` since the last";
    LET_GO = Counter "opendmp_let_go" ["what"]
        "What retention let go: content of `sources`, content of `revisions`, records of `history`";
    DATASETS = Gauge "opendmp_datasets" ["collection"]
        "Datasets in a collection";
    REVISIONS = Gauge "opendmp_revisions" ["collection"]
        "Revisions of the datasets in a collection";
    DATASET_BYTES = Gauge "opendmp_revisions_bytes" ["collection"]
        "Bytes of all revisions in a collection that are kept, equal content counted each time";
    JOURNAL_CALL = Histogram "opendmp_journal_call_seconds" ["operation"]
        "Time that a call of the journal took, with waiting and commit";
    JOURNAL_ERRORS = Counter "opendmp_journal_errors" ["operation", "kind"]
        "Calls of the journal that failed";
    COMMIT = Histogram "opendmp_journal_commit_seconds" []
        "Time that a commit of the journal took: mostly the disk's sync";
    COMMIT_CALLS = Histogram "opendmp_journal_commit_calls" []
        "Calls that one commit of the journal answered together";
    CONTENT_PUTS = Counter "opendmp_content_puts" ["from"]
        "Contents that were stored, from `memory`, from a `file`, or from a `stream`";
    CONTENT_PUT_BYTES = Counter "opendmp_content_put_bytes" ["from"]
        "Bytes of the contents that were stored";
    CONTENT_OPENS = Counter "opendmp_content_opens" []
        "Contents that were opened to be read";
    CONTENT_SYNC = Histogram "opendmp_content_sync_seconds" []
        "Time that it took to make stored content durable";
    CONTENT_ERRORS = Counter "opendmp_content_errors" ["operation", "kind"]
        "Calls of the content store that failed";
    CONTENT_STORED = Gauge "opendmp_content_stored_bytes" []
        "Bytes taken by stored content";
    DISK_FREE = Gauge "opendmp_disk_free_bytes" []
        "Bytes free on the disk of the content";
    DISK_RESERVE = Gauge "opendmp_disk_reserve_bytes" []
        "Disk space in bytes that input must leave free";
    HINTS = Counter "opendmp_hints" ["hint"]
        "Hints sent to those who may have something to do";
    WORKERS = Gauge "opendmp_workers" ["state"]
        "Script worker processes, `busy` and `idle`";
    WORKERS_MOST = Gauge "opendmp_workers_most" []
        "Script worker processes that may live at a time";
    WORKERS_STARTED = Counter "opendmp_workers_started" []
        "Script worker processes that were started";
    WORKERS_DIED = Counter "opendmp_workers_died" []
        "Script worker processes that ended in the middle of a call: crashed, or stopped for time or memory";
    TROUBLES = Gauge "opendmp_troubles" []
        "What keeps work from going on at present, as /healthz lists it";
    HEALTHY = Gauge "opendmp_healthy" []
        "1 where /healthz answers 200, else 0";
    REQUESTS = Counter "opendmp_requests" ["method", "route", "status"]
        "Requests that were answered";
    REQUEST = Histogram "opendmp_request_seconds" ["route"]
        "Time until an answer began; what is streamed takes longer";
    BUILD = Info "opendmp_build" ["version"]
        "The version of the program";
    CPU = Counter "process_cpu_seconds" []
        "Processor time of the server, without its workers";
    MEMORY = Gauge "process_resident_memory_bytes" []
        "Memory of the server, without its workers";
    THREADS = Gauge "process_threads" []
        "Threads of the server";
    FILES = Gauge "process_open_fds" []
        "Files and sockets that the server has open";
    STARTED = Gauge "process_start_time_seconds" []
        "When the server began, in seconds since 1970";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_told_apart_and_say_their_unit() {
        let names: BTreeSet<String> = ALL.iter().map(Described::name).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            assert!(metric.base.starts_with("opendmp_") || metric.base.starts_with("process_"), "{}", metric.base);
            assert!(!metric.base.ends_with("_total") && !metric.help.ends_with('.'), "{}", metric.base);
            assert!(!metric.labels.iter().any(|label| ["item", "name", "path", "run"].contains(label)));
        }
        assert_eq!(STEP.parts().0, "opendmp_step");
        assert_eq!(CPU.name(), "process_cpu_seconds_total");
    }

    /// What people read and what there is are the same.
    #[test]
    fn the_handbook_lists_every_metric() {
        let row = |metric: &Described| {
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            format!("| `{}` | {} | {} | {} |", metric.name(), metric.kind.word(), labels.join(", "), metric.help)
        };
        let expected: Vec<String> = ALL.iter().map(row).collect();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/OPERATING.md");
        let handbook = std::fs::read_to_string(path).unwrap();
        let listed: Vec<&str> = handbook
            .lines()
            .filter(|line| line.starts_with("| `opendmp_") || line.starts_with("| `process_"))
            .collect();
        assert_eq!(listed, expected, "the table in docs/OPERATING.md should be\n{}", expected.join("\n"));
    }
}
