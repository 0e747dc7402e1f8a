//! Metrics as text: what was counted, beside what the journal, the disk and the operating system say now.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opendmp_ports::content::Usage;
use opendmp_ports::journal::{Backlog, CollectionRow, DEFAULT_SPACE, FlowId, FlowRow, FlowState};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::described::*;
use super::{Ends, Metrics, Put, Step};
use crate::Engine;
use crate::engine::lock;

/// The format of [`Engine::metrics_text`]: OpenMetrics 1.0.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long the journal is waited for; without its answer the rest is shown.
const PATIENCE: Duration = Duration::from_secs(2);

/// One moment.
struct Moment {
    metrics: Arc<Metrics>,
    steps: Vec<(String, Arc<str>, Arc<Step>)>,
    flows: Option<Vec<FlowRow>>,
    collections: Option<Vec<CollectionRow>>,
    backlog: Option<Backlog>,
    usage: Option<Usage>,
    reserve: u64,
    troubles: usize,
    healthy: bool,
    now: i64,
    #[cfg(target_os = "linux")]
    process: Option<super::process::Numbers>,
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moment").field("now", &self.now).finish_non_exhaustive()
    }
}

impl Engine {
    /// All metrics at this moment, as [`CONTENT_TYPE`] says. `healthy` is what `/healthz` says.
    pub async fn metrics_text(&self, healthy: bool) -> String {
        // Before the journal is asked: a flow that begins meanwhile is not taken for a deleted one.
        let counted = self.metrics.counted_flows();
        let asked = async {
            tokio::join!(
                self.journal.flows(DEFAULT_SPACE),
                self.journal.collections(DEFAULT_SPACE),
                self.journal.backlog(None)
            )
        };
        let (flows, collections, backlog) = match tokio::time::timeout(PATIENCE, asked).await {
            Ok((flows, collections, backlog)) => (flows.ok(), collections.ok(), backlog.ok()),
            Err(_) => (None, None, None),
        };
        if let Some(flows) = &flows {
            self.metrics.forget_but(flows, &counted);
        }
        let moment = Moment {
            metrics: Arc::clone(&self.metrics),
            steps: self.metrics.steps(),
            flows,
            collections,
            backlog,
            usage: self.content.usage().await.ok(),
            reserve: self.options.reserve,
            troubles: self.troubles().len(),
            healthy,
            now: self.clock.now(),
            #[cfg(target_os = "linux")]
            process: crate::loaded::run_blocking(|| super::process::numbers().ok()).await.ok().flatten(),
        };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(moment));
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }
}

impl Metrics {
    /// Forgets the flows that are not there any more, of those that had been `counted`.
    fn forget_but(&self, flows: &[FlowRow], counted: &[FlowId]) {
        let there: BTreeMap<FlowId, String> = flows.iter().map(|flow| (flow.id, flow.slug.clone())).collect();
        let gone: BTreeSet<FlowId> = counted.iter().copied().filter(|flow| !there.contains_key(flow)).collect();
        lock(&self.flows).retain(|flow, _| !gone.contains(flow));
        *lock(&self.slugs) = there;
    }

    /// What was counted by processor, with the name of its flow.
    fn steps(&self) -> Vec<(String, Arc<str>, Arc<Step>)> {
        let slugs = lock(&self.slugs);
        let flows = lock(&self.flows);
        let named = flows.iter().filter_map(|(flow, steps)| Some((slugs.get(flow)?, steps)));
        let each = named.flat_map(|(slug, steps)| steps.iter().map(move |(id, step)| (slug, id, step)));
        each.map(|(slug, id, step)| (slug.clone(), Arc::clone(id), Arc::clone(step))).collect()
    }
}

/// Writes metrics, each once and as it is described.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    /// A metric with its series: the values of its labels, and what was counted.
    fn series<'v, M: EncodeMetric>(
        &mut self,
        what: &Described,
        series: impl IntoIterator<Item = (Vec<&'v str>, M)>,
    ) -> fmt::Result {
        let (base, unit) = what.parts();
        let mut out = self.0.encode_descriptor(base, what.help, unit.as_ref(), what.kind.metric_type())?;
        for (values, metric) in series {
            debug_assert_eq!(values.len(), what.labels.len(), "{base}");
            let labels: Vec<(&str, &str)> = what.labels.iter().copied().zip(values).collect();
            metric.encode(out.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// A metric that is one number, or none where it is not known.
    fn one<M: EncodeMetric>(&mut self, what: &Described, metric: Option<M>) -> fmt::Result {
        debug_assert!(what.labels.is_empty(), "{}", what.base);
        match metric {
            Some(metric) => self.family(what, &metric),
            None => self.series(what, std::iter::empty::<(_, M)>()),
        }
    }

    /// A metric that knows its own labels, or has none.
    fn family(&mut self, what: &Described, family: &impl EncodeMetric) -> fmt::Result {
        let (base, unit) = what.parts();
        family.encode(self.0.encode_descriptor(base, what.help, unit.as_ref(), what.kind.metric_type())?)
    }
}

fn gauge(number: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX))
}

impl Collector for Moment {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut Out(encoder);
        self.of_flows(out)?;
        self.of_work(out)?;
        self.of_stores(out)?;
        self.of_server(out)
    }
}

impl Moment {
    fn of_flows(&self, out: &mut Out<'_>) -> fmt::Result {
        let steps = || self.steps.iter().map(|(flow, id, step)| (flow.as_str(), &**id, &**step));
        let results = steps().flat_map(|(flow, id, step)| {
            [("done", &step.done), ("retried", &step.retried), ("dead", &step.dead)]
                .map(|(result, counter)| (vec![flow, id, result], counter.clone()))
        });
        out.series(&ITEMS, results)?;
        out.series(&ITEMS_EMITTED, steps().map(|(flow, id, step)| (vec![flow, id], step.emitted.clone())))?;
        let calls = steps().filter_map(|(flow, id, step)| Some((vec![flow, id], step.calls.get()?.clone())));
        out.series(&STEP, calls)?;
        let looks = || steps().filter_map(|(flow, id, step)| Some((vec![flow, id], step.looks.get()?)));
        out.series(&LOOK, looks().map(|(labels, looks)| (labels, looks.took.clone())))?;
        out.series(&SOURCE_PROBLEMS, looks().map(|(labels, looks)| (labels, looks.problems.clone())))?;
        out.series(&INGESTED, looks().map(|(labels, looks)| (labels, looks.bytes.clone())))?;
        let intents = steps().flat_map(|(flow, id, step)| {
            let kinds = [("export", step.exports.get()), ("release", step.releases.get())];
            kinds.into_iter().flat_map(move |(kind, ends)| {
                let ends = ends.into_iter().flat_map(Ends::each);
                ends.map(move |(result, counter)| (vec![flow, id, kind, result], counter.clone()))
            })
        });
        out.series(&INTENTS, intents)?;
        let each = |number: fn(&FlowRow, i64) -> ConstGauge<f64>| {
            self.flows.iter().flatten().map(move |flow| (vec![flow.slug.as_str()], number(flow, self.now)))
        };
        out.series(&OUTSTANDING, each(|flow, _| ConstGauge::new(flow.outstanding as f64)))?;
        out.series(
            &OLDEST,
            each(|flow, now| {
                let age = flow.unfinished_since.map_or(0, |since| now.saturating_sub(since).max(0));
                ConstGauge::new(age as f64 / 1e3)
            }),
        )?;
        out.series(&DEAD_LETTERS, each(|flow, _| ConstGauge::new(flow.dead_letters as f64)))?;
        out.series(&ENABLED, each(|flow, _| ConstGauge::new(f64::from(u8::from(flow.state == FlowState::Enabled)))))
    }

    fn of_work(&self, out: &mut Out<'_>) -> fmt::Result {
        let metrics = &*self.metrics;
        out.one(&QUEUE_ITEMS, self.backlog.map(|backlog| gauge(backlog.items)))?;
        out.one(&QUEUE_INTENTS, self.backlog.map(|backlog| gauge(backlog.intents)))?;
        out.one(&TASKS_IN_WORK, Some(metrics.tasks_in_work.clone()))?;
        out.one(&TASKS_CLAIMED, Some(metrics.tasks_claimed.clone()))?;
        out.one(&TASKS_RECLAIMED, Some(metrics.tasks_reclaimed.clone()))?;
        let ends = [
            ("settled", &metrics.tasks_settled),
            ("already", &metrics.tasks_already),
            ("fenced", &metrics.tasks_fenced),
            ("returned", &metrics.tasks_returned),
        ];
        out.series(&TASKS_ENDED, ends.map(|(result, counter)| (vec![result], counter.clone())))?;
        let results = [("new", &metrics.results_new), ("unchanged", &metrics.results_unchanged)];
        out.series(&RESULTS, results.map(|(result, counter)| (vec![result], counter.clone())))?;
        let gone = [
            ("sources", &metrics.let_go_sources),
            ("revisions", &metrics.let_go_revisions),
            ("history", &metrics.let_go_records),
        ];
        out.series(&LET_GO, gone.map(|(what, counter)| (vec![what], counter.clone())))?;
        let each = |number: fn(&CollectionRow) -> u64| {
            self.collections.iter().flatten().map(move |row| (vec![row.name.as_str()], gauge(number(row))))
        };
        out.series(&DATASETS, each(|row| row.datasets))?;
        out.series(&REVISIONS, each(|row| row.revisions))?;
        out.series(&DATASET_BYTES, each(|row| row.bytes))
    }

    fn of_stores(&self, out: &mut Out<'_>) -> fmt::Result {
        let metrics = &*self.metrics;
        let calls = metrics.journal_calls.made().map(|(operation, calls)| (vec![operation], calls.clone()));
        out.series(&JOURNAL_CALL, calls)?;
        out.family(&JOURNAL_ERRORS, &metrics.journal_errors)?;
        out.one(&COMMIT, Some(metrics.commit.0.clone()))?;
        out.one(&COMMIT_CALLS, Some(metrics.commit_calls.0.clone()))?;
        let puts = |number: fn(&(Counter, Counter)) -> &Counter| {
            Put::ALL.map(|(put, word)| (vec![word], number(&metrics.content_puts[put as usize]).clone()))
        };
        out.series(&CONTENT_PUTS, puts(|(contents, _)| contents))?;
        out.series(&CONTENT_PUT_BYTES, puts(|(_, bytes)| bytes))?;
        out.one(&CONTENT_OPENS, Some(metrics.content_opens.clone()))?;
        out.one(&CONTENT_SYNC, Some(metrics.content_sync.0.clone()))?;
        out.family(&CONTENT_ERRORS, &metrics.content_errors)?;
        out.one(&CONTENT_STORED, self.usage.map(|usage| gauge(usage.stored)))?;
        out.one(&DISK_FREE, self.usage.and_then(|usage| usage.free).map(gauge))?;
        out.one(&DISK_RESERVE, Some(gauge(self.reserve)))
    }

    fn of_server(&self, out: &mut Out<'_>) -> fmt::Result {
        let metrics = &*self.metrics;
        out.family(&HINTS, &metrics.hints)?;
        let workers = metrics.workers.get().map(|ask| ask());
        let states = workers.iter().flat_map(|workers| [("busy", workers.busy), ("idle", workers.idle)]);
        out.series(&WORKERS, states.map(|(state, number)| (vec![state], gauge(number as u64))))?;
        out.one(&WORKERS_MOST, workers.map(|workers| gauge(workers.most as u64)))?;
        out.one(&WORKERS_STARTED, workers.map(|workers| ConstCounter::new(workers.started)))?;
        out.one(&WORKERS_DIED, workers.map(|workers| ConstCounter::new(workers.died)))?;
        out.one(&TROUBLES, Some(gauge(self.troubles as u64)))?;
        out.one(&HEALTHY, Some(gauge(u64::from(self.healthy))))?;
        out.family(&REQUESTS, &metrics.requests)?;
        out.family(&REQUEST, &metrics.request.0)?;
        out.family(&BUILD, &Info::new([("version", env!("CARGO_PKG_VERSION"))]))?;
        self.of_process(out)
    }

    #[cfg(target_os = "linux")]
    fn of_process(&self, out: &mut Out<'_>) -> fmt::Result {
        out.one(&CPU, self.process.map(|process| ConstCounter::new(process.cpu)))?;
        out.one(&MEMORY, self.process.map(|process| gauge(process.memory)))?;
        out.one(&THREADS, self.process.map(|process| ConstGauge::new(process.threads)))?;
        out.one(&FILES, self.process.map(|process| gauge(process.files as u64)))?;
        out.one(&STARTED, self.process.map(|process| ConstGauge::new(process.started)))
    }

    /// Elsewhere nobody tells; an exporter of that system does.
    #[cfg(not(target_os = "linux"))]
    fn of_process(&self, _: &mut Out<'_>) -> fmt::Result {
        Ok(())
    }
}

impl Ends {
    fn each(&self) -> [(&'static str, &Counter); 4] {
        let (done, retried) = (&self.done, &self.retried);
        [("done", done), ("retried", retried), ("refused", &self.refused), ("occupied", &self.occupied)]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use opendmp_ports::clock::ManualClock;
    use opendmp_ports::content::MemoryContent;
    use opendmp_ports::journal::{FlowChange, Lease, MemoryJournal, NewVersion, RunId, RunMode};
    use opendmp_ports::transport::{Hint, InProcess, Progress, StepCounts};
    use opendmp_processor::Registry as Kinds;

    use super::*;
    use crate::Options;
    use crate::metrics::Workers;

    fn engine() -> (Engine, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(1_000_000));
        let engine = Engine::new(
            Arc::new(MemoryJournal::default()),
            Arc::new(MemoryContent::default()),
            Arc::new(InProcess::default()),
            Arc::clone(&clock) as Arc<dyn opendmp_ports::Clock>,
            Arc::new(Kinds::default()),
            Options::default(),
            Lease::default(),
        );
        (engine, clock)
    }

    /// A flow of which `done` items are done in `clean`, with a run that is open.
    async fn flow(engine: &Engine, slug: &str, done: u64) -> FlowId {
        let version = NewVersion {
            space: DEFAULT_SPACE,
            slug: slug.to_owned(),
            name: slug.to_owned(),
            hash: slug.to_owned(),
            body: bytes::Bytes::new(),
            actor: "ada".to_owned(),
            at: 1,
        };
        let (flow, version) = engine.journal.save_version(version).await.unwrap();
        engine.journal.open_run(flow, version, RunMode::Live, "scan", engine.clock.now()).await.unwrap();
        let counts = StepCounts { done, emitted: 2 * done, dead: 1, retried: 3, took: 9, ..StepCounts::default() };
        let processors = BTreeMap::from([("clean".to_owned(), counts)]);
        engine.transport.send(Hint::Settled(Arc::new(Progress { flow, run: RunId(1), processors })));
        engine.metrics.calls(flow, "clean").observe(0.02);
        flow
    }

    /// The lines that are no comments, by what stands before the number.
    fn samples(text: &str) -> BTreeMap<&str, f64> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| line.rsplit_once(' ')).map(|(name, value)| (name, value.parse().unwrap())).collect()
    }

    #[tokio::test]
    async fn what_happened_is_shown_with_what_is() {
        let (engine, clock) = engine();
        flow(&engine, "penguins", 7).await;
        flow(&engine, "otters", 1).await;
        clock.advance(2_500);
        engine.metrics.ask_workers(|| Workers { busy: 1, idle: 2, most: 8, started: 5, died: 2 });
        engine.metrics.committed(3, Duration::from_millis(2));
        engine.metrics.answered("GET", "/api/v1/runs/{run}", 404, Duration::from_millis(5));
        engine.trouble("ingest inbox", "there is no such folder", None);
        let text = engine.metrics_text(true).await;
        let samples = samples(&text);
        for (name, value) in [
            (r#"opendmp_items_total{flow="penguins",processor="clean",result="done"}"#, 7.0),
            (r#"opendmp_items_total{flow="penguins",processor="clean",result="retried"}"#, 3.0),
            (r#"opendmp_items_total{flow="otters",processor="clean",result="dead"}"#, 1.0),
            (r#"opendmp_items_emitted_total{flow="penguins",processor="clean"}"#, 14.0),
            (r#"opendmp_step_seconds_count{flow="penguins",processor="clean"}"#, 1.0),
            (r#"opendmp_step_seconds_bucket{le="0.01",flow="penguins",processor="clean"}"#, 0.0),
            (r#"opendmp_step_seconds_bucket{le="0.03",flow="penguins",processor="clean"}"#, 1.0),
            (r#"opendmp_flow_oldest_run_seconds{flow="otters"}"#, 2.5),
            (r#"opendmp_flow_enabled{flow="otters"}"#, 0.0),
            (r#"opendmp_journal_call_seconds_count{operation="open_run"}"#, 2.0),
            ("opendmp_journal_commit_calls_sum", 3.0),
            (r#"opendmp_workers{state="idle"}"#, 2.0),
            ("opendmp_workers_died_total", 2.0),
            ("opendmp_troubles", 1.0),
            ("opendmp_healthy", 1.0),
            ("opendmp_queue_items", 0.0),
            (r#"opendmp_requests_total{method="GET",route="/api/v1/runs/{run}",status="404"}"#, 1.0),
            (concat!("opendmp_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
        ] {
            assert_eq!(samples.get(name), Some(&value), "{name} in\n{text}");
        }
        assert!(!text.contains(r#"opendmp_source_look_seconds_count{"#), "nothing was looked at");
        assert!(text.ends_with("# EOF\n"));
        let typed: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let expected: Vec<String> = ALL
            .iter()
            .filter(|metric| cfg!(target_os = "linux") || !metric.base.starts_with("process_"))
            .map(|metric| {
                let name = metric.name();
                let family = name.strip_suffix("_total").or(name.strip_suffix("_info")).unwrap_or(&name);
                format!("{family} {}", metric.kind.word())
            })
            .collect();
        let sorted = |mut list: Vec<String>| {
            list.sort();
            list
        };
        assert_eq!(sorted(typed.iter().map(|&line| line.to_owned()).collect()), sorted(expected));
    }

    #[tokio::test]
    async fn a_deleted_flow_leaves_and_others_stay() {
        let (engine, _) = engine();
        let penguins = flow(&engine, "penguins", 7).await;
        flow(&engine, "otters", 1).await;
        let change = FlowChange {
            flow: penguins,
            state: FlowState::Deleted,
            version: None,
            base: None,
            at: 2,
            actor: "ada".to_owned(),
        };
        assert!(engine.metrics_text(true).await.contains("penguins"));
        engine.journal.change_flow(change).await.unwrap();
        let text = engine.metrics_text(true).await;
        assert!(!text.contains("penguins") && text.contains("otters"), "{text}");
        assert_eq!(engine.metrics.counted_flows().len(), 1);
    }
}
