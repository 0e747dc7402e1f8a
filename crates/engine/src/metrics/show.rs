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
            if values.is_empty() {
                metric.encode(out.encode_family(&NONE)?)?;
            } else {
                let labels: Vec<(&str, &str)> = what.labels.iter().copied().zip(values).collect();
                metric.encode(out.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    /// A metric that is one number, or none where it is not known.
    fn one<M: EncodeMetric>(&mut self, what: &Described, metric: Option<M>) -> fmt::Result {
        self.series(what, metric.map(|metric| (Vec::new(), metric)))
    }

    /// A metric that knows its own labels.
    fn family(&mut self, what: &Described, family: &impl EncodeMetric) -> fmt::Result {
        let (base, unit) = what.parts();
        family.encode(self.0.encode_descriptor(base, what.help, unit.as_ref(), what.kind.metric_type())?)
    }
}

/// No labels.
const NONE: [(&str, &str); 0] = [];

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
        let each = |number: fn(&CollectionRow) -> u64| {
            self.collections.iter().flatten().map(move |row| (vec![row.name.as_str()], gauge(number(row))))
        };
        out.series(&DATASETS, each(|row| row.datasets))?;
        out.series(&REVISIONS, each(|row| row.revisions))?;
        out.series(&DATASET_BYTES, each(|row| row.bytes))
    }

    fn of_stores(&self, out: &mut Out<'_>) -> fmt::Result {
        let metrics = &*self.metrics;
        let calls = metrics.journal_calls.all().map(|(operation, calls)| (vec![operation], calls.clone()));
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
