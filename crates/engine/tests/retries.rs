//! What waits for the world uses up no retry, and comes back no sooner than it may: steps, exports, releases and scans
//! of sources, with the real engine over ports in memory and a clock that the test moves.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use opendmp_engine::control::FlowText;
use opendmp_engine::{Engine, Options};
use opendmp_model::document::ProcessorDoc;
use opendmp_model::export::{IfExists, SinkClass};
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::item::{Attributes, Item};
use opendmp_model::kinds::{Class, Determinism, Facts, Files, KindInfo, Problem, Role, SourceConfig, schema_of};
use opendmp_ports::Clock;
use opendmp_ports::Journal;
use opendmp_ports::content::MemoryContent;
use opendmp_ports::journal::{DeadRow, Filter, MemoryJournal, VersionId};
use opendmp_ports::transport::InProcess;
use opendmp_processor::{
    Audit, Body, Claim, Claimed, Collect, Context, Done, Emission, Export, ExportEnd, Input, Ledger, Opened, Outcome,
    Processor, ProcessorKind, Registry, Scan, Sink, Source, SourceError, SourceKind, saved_config,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What somebody answers, one after the other, and the times at which they were asked; at the end all is well.
#[derive(Clone)]
struct Answers {
    faults: Arc<Mutex<VecDeque<Fault>>>,
    asked: Arc<Mutex<Vec<i64>>>,
    clock: Arc<Time>,
}

impl Answers {
    fn new(clock: &Arc<Time>) -> Self {
        Self { faults: Arc::default(), asked: Arc::default(), clock: Arc::clone(clock) }
    }

    fn then(&self, times: usize, fault: &Fault) {
        self.faults.lock().unwrap().extend(std::iter::repeat_n(fault.clone(), times));
    }

    fn next(&self) -> Result<(), Fault> {
        self.asked.lock().unwrap().push(self.clock.now());
        self.faults.lock().unwrap().pop_front().map_or(Ok(()), Err)
    }

    /// The waits between the tries so far, in milliseconds.
    fn waits(&self) -> Vec<i64> {
        self.asked.lock().unwrap().windows(2).map(|two| two[1] - two[0]).collect()
    }
}

/// A clock that stands still until it is moved.
struct Time(AtomicI64);

#[async_trait]
impl Clock for Time {
    fn now(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    fn steady(&self) -> i64 {
        self.now()
    }

    async fn sleep(&self, duration: Duration) {
        self.0.fetch_add(duration.as_millis() as i64, Ordering::Relaxed);
    }
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Nothing {}

#[derive(Serialize, Deserialize, JsonSchema)]
struct IngestConfig {
    /// Where items come from.
    source: SourceConfig,
}

#[derive(Clone)]
struct Kind {
    info: KindInfo,
    answers: Answers,
}

fn kind(class: Class, role: Role, name: &str, answers: &Answers) -> Kind {
    let info = KindInfo {
        name: name.to_owned(),
        class,
        role,
        summary: "A.".to_owned(),
        docs: "A.".to_owned(),
        schema: schema_of::<Nothing>(),
        examples: vec![],
    };
    Kind { info, answers: answers.clone() }
}

struct One(Answers);

#[async_trait]
impl ProcessorKind for Kind {
    fn info(&self) -> &KindInfo {
        &self.info
    }

    fn prepare(&self, _: &Registry, _: &ProcessorDoc, _: &dyn Files) -> Result<Facts, Vec<Problem>> {
        Ok(Facts { determinism: Determinism::ByConstruction, ..Facts::default() })
    }

    async fn open(&self, registry: &Registry, doc: &ProcessorDoc, context: &Context) -> Result<Opened, Fault> {
        let one = One(self.answers.clone());
        Ok(match self.info.role {
            Role::Ingest => {
                let read: IngestConfig = saved_config(&doc.config)?;
                Opened::Ingest(registry.source_kind(&read.source.0.kind)?.open(&read.source.0.config, context)?)
            }
            Role::Transform => Opened::Transform(Arc::new(one)),
            Role::Collect => Opened::Collect(Collect { collection: "Results".into(), sink: Some(Arc::new(one)) }),
        })
    }
}

impl SourceKind for Kind {
    fn info(&self) -> &KindInfo {
        &self.info
    }

    fn prepare(&self, _: &Map<String, Value>) -> Vec<Problem> {
        Vec::new()
    }

    fn open(&self, _: &Map<String, Value>, _: &Context) -> Result<Arc<dyn Source>, Fault> {
        Ok(Arc::new(One(self.answers.clone())))
    }
}

#[async_trait]
impl Processor for One {
    async fn process(&self, inputs: Vec<Input>) -> Result<Vec<Done>, Fault> {
        let one = |_| {
            Done::silent(match self.0.next() {
                Ok(()) => Outcome::Emit { many: false, children: vec![Emission::same(None)] },
                Err(fault) => Outcome::Fault(fault),
            })
        };
        Ok(inputs.into_iter().map(one).collect())
    }
}

#[async_trait]
impl Sink for One {
    fn class(&self) -> SinkClass {
        SinkClass::Overwrite
    }

    fn destination(&self) -> String {
        "nowhere".to_owned()
    }

    fn target(&self, item: &Item) -> Result<Vec<u8>, Fault> {
        Ok(item.name.as_bytes().to_vec())
    }

    fn if_exists(&self) -> IfExists {
        IfExists::Version
    }

    fn display(&self, target: &[u8]) -> String {
        String::from_utf8_lossy(target).into_owned()
    }

    async fn export(&self, _: Export) -> Result<ExportEnd, Fault> {
        self.0.next().map(|()| ExportEnd::Written)
    }
}

/// A source of one item, which is released.
#[async_trait]
impl Source for One {
    fn identity(&self) -> String {
        "one".to_owned()
    }

    async fn claim(&self, ledger: &dyn Ledger, _: i64, _: usize) -> Result<Scan, SourceError> {
        let known = ledger.known(vec![b"a".to_vec()]).await?.remove(0).is_some();
        let claim = Claim {
            known: None,
            path: b"a".to_vec(),
            version: None,
            name: "a".to_owned(),
            media_type: None,
            attributes: Attributes::new(),
            body: Body::Bytes(Bytes::from_static(b"bytes")),
            release: Some(Bytes::from_static(b"a")),
        };
        let claims = if known { Vec::new() } else { vec![claim] };
        Ok(Scan { claims, complete: true, ..Scan::default() })
    }

    async fn confirm(&self, _: &Claim) -> Result<Claimed, SourceError> {
        Ok(Claimed::Whole(None))
    }

    async fn release(&self, _: &[u8]) -> Result<(), SourceError> {
        let failed = |fault: Fault| SourceError { code: "away", message: fault.message, hint: None };
        self.0.next().map_err(failed)
    }

    async fn audit(&self, _: &dyn Ledger, _: &[Vec<u8>]) -> Result<Audit, SourceError> {
        Ok(Audit::default())
    }
}

struct Place {
    clock: Arc<Time>,
    engine: Engine,
    version: VersionId,
    source: Answers,
    step: Answers,
    sink: Answers,
}

impl Place {
    async fn new() -> Self {
        let clock = Arc::new(Time(AtomicI64::new(1_700_000_000_000)));
        let [source, step, sink] = [(); 3].map(|()| Answers::new(&clock));
        let registry = Registry::default()
            .processor(kind(Class::Processor, Role::Ingest, "ingest", &source))
            .processor(kind(Class::Processor, Role::Transform, "step", &step))
            .processor(kind(Class::Processor, Role::Collect, "results", &sink))
            .source(kind(Class::Source, Role::Transform, "one", &source));
        let journal = MemoryJournal::default();
        let lease = journal.open_lease("test", true, clock.now()).await.unwrap().lease;
        let engine = Engine::new(
            Arc::new(journal),
            Arc::new(MemoryContent::default()),
            Arc::new(InProcess::default()),
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::new(registry),
            Options::default(),
            lease,
        );
        let text = "
name: Retries
processors:
  - { id: inbox, type: ingest, source: { type: one } }
  - { id: work, type: step, inputs: [inbox], on_error: { retries: 2, backoff: 1s, max_backoff: 60s } }
  - { id: results, type: results, inputs: [work], on_error: { retries: 2, backoff: 1s, max_backoff: 60s } }
";
        let text = FlowText { text: text.to_owned(), files: BTreeMap::new(), base: "/".to_owned() };
        let progress: Arc<dyn Fn(&str) + Send + Sync> = Arc::new(|_| {});
        let saved = engine.save(text, "test", &progress).await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
        Self { clock, engine, version: saved.version, source, step, sink }
    }

    /// Works until nothing is left to do, going from one time that comes to the next.
    async fn finish(&self) {
        let loaded = self.engine.load(self.version).await.unwrap();
        let inbox = loaded.ingests().next().unwrap();
        self.engine.ingest_once(&loaded, inbox, None).await.unwrap();
        for _ in 0..1_000 {
            while self.engine.work_once(false).await.unwrap() || self.engine.intents_once().await.unwrap() > 0 {}
            let backlog = self.engine.journal.backlog(None).await.unwrap();
            let Some(due) = backlog.due else {
                assert_eq!((backlog.items, backlog.intents), (0, 0), "nothing is left");
                return;
            };
            self.clock.0.store(due, Ordering::Relaxed);
        }
        panic!("it goes on for ever");
    }

    async fn dead(&self) -> Vec<DeadRow> {
        self.engine.journal.dead_letters(Filter { limit: 9, ..Filter::default() }).await.unwrap().rows
    }

    async fn exported(&self) -> u64 {
        let runs = self.engine.journal.runs(Filter { limit: 9, ..Filter::default() }).await.unwrap().rows;
        runs.iter().map(|run| run.exported).sum()
    }
}

fn fault(kind: FaultKind) -> Fault {
    Fault::new(kind, "made", "made to fail")
}

/// Whether the waits double up to a minute, each shortened by up to half.
fn doubles(waits: &[i64]) {
    for (n, wait) in waits.iter().enumerate() {
        let full = (1_000_i64 << n).min(60_000);
        assert!((full / 2..=full).contains(wait), "wait {n}: {wait} ms of {waits:?}");
    }
}

#[tokio::test]
async fn an_export_that_waited_out_an_outage_has_all_its_retries() {
    let place = Place::new().await;
    place.sink.then(12, &fault(FaultKind::Unavailable));
    place.sink.then(2, &fault(FaultKind::Failed));
    place.finish().await;
    assert_eq!((place.dead().await.len(), place.exported().await), (0, 1));
    let waits = place.sink.waits();
    assert_eq!(waits.len(), 14);
    doubles(&waits[..12]);
    doubles(&waits[12..]);
}

#[tokio::test]
async fn an_export_is_refused_after_its_retries_and_says_how_often_it_was_tried() {
    let place = Place::new().await;
    place.sink.then(5, &fault(FaultKind::Unavailable));
    place.sink.then(1, &fault(FaultKind::Failed));
    place.sink.then(5, &fault(FaultKind::Throttled));
    place.sink.then(2, &fault(FaultKind::Failed));
    place.finish().await;
    let dead = place.dead().await;
    assert_eq!((dead.len(), dead[0].export_only, dead[0].attempts), (1, true, 3));
}

#[tokio::test]
async fn a_step_that_waited_out_an_outage_has_all_its_retries() {
    let place = Place::new().await;
    place.step.then(12, &fault(FaultKind::Unavailable));
    place.step.then(2, &fault(FaultKind::Failed));
    place.finish().await;
    assert_eq!((place.dead().await.len(), place.exported().await), (0, 1));
    doubles(&place.step.waits()[..12]);
    doubles(&place.step.waits()[12..]);
    let place = Place::new().await;
    place.step.then(12, &fault(FaultKind::Unavailable));
    place.step.then(3, &fault(FaultKind::Failed));
    place.finish().await;
    let dead = place.dead().await;
    assert_eq!((dead.len(), dead[0].attempts), (1, 3));
}

#[tokio::test]
async fn a_release_is_never_given_up() {
    let place = Place::new().await;
    place.source.then(40, &fault(FaultKind::Failed));
    place.finish().await;
    let waits = place.source.waits();
    assert_eq!(waits.len(), 40);
    doubles(&waits[..6]);
    assert!(waits.iter().all(|wait| *wait <= 300_000), "{waits:?}");
}

#[tokio::test]
async fn a_service_that_names_a_wait_is_not_asked_sooner() {
    for kind in [FaultKind::Throttled, FaultKind::Unavailable] {
        let place = Place::new().await;
        let wait = Duration::from_secs(90);
        place.sink.then(3, &fault(kind).with_retry_after(Some(wait)));
        place.step.then(3, &fault(kind).with_retry_after(Some(wait)));
        place.finish().await;
        assert_eq!((place.dead().await.len(), place.exported().await), (0, 1));
        for wait in place.sink.waits().into_iter().chain(place.step.waits()) {
            assert!((90_000..=102_000).contains(&wait), "{wait}");
        }
    }
}

#[tokio::test]
async fn a_refused_sign_in_is_a_health_issue_at_once() {
    let place = Place::new().await;
    place.step.then(1, &fault(FaultKind::Authentication).with_hint("renew the token"));
    let loaded = place.engine.load(place.version).await.unwrap();
    place.engine.ingest_once(&loaded, loaded.ingests().next().unwrap(), None).await.unwrap();
    while place.engine.work_once(false).await.unwrap() {}
    let issues = place.engine.troubles();
    assert_eq!((issues.len(), issues[0].hint.as_deref()), (1, Some("renew the token")), "{issues:?}");
    assert!(issues[0].about.contains("work"), "{issues:?}");
    place.finish().await;
    // An issue is over once it has been calm for some seconds.
    place.clock.sleep(Duration::from_secs(6)).await;
    assert!(place.engine.troubles().is_empty(), "it is over with the first success");
    assert!(place.step.waits()[0] >= 30_000, "tried slowly: {:?}", place.step.waits());
}
