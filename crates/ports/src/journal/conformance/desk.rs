//! A journal with a flow, a lease and a source, and short ways to do what nearly every check does.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use opendmp_model::export::{IfExists, SinkClass};
use opendmp_model::fault::{Fault, FaultKind, Tries};
use opendmp_model::history::{Child, Context, Entry, Result as Outcome, StepRecord};
use opendmp_model::ids::{Arrival, ContentHash, SlotId};
use opendmp_model::item::{Attributes, ContentRef, Item, Place};
use opendmp_model::ledger::FileStat;
use tokio::sync::Mutex;

use super::Bench;
use crate::journal::types::*;
use crate::journal::{Journal, decide};
use crate::transport::StepCounts;

/// Shorthand for what a check can't go on without.
pub(super) const OK: &str = "the journal does what it is asked";

/// See the module.
pub struct Desk {
    bench: Box<dyn Bench>,
    reopen: bool,
    open: Mutex<Option<Arc<dyn Journal>>>,
    /// A lease that is live.
    pub(super) lease: Lease,
    /// The flow `penguins`.
    pub(super) flow: FlowId,
    /// Its version.
    pub(super) version: VersionId,
    /// A source.
    pub(super) source: SourceId,
    /// A context.
    pub(super) context: u32,
}

impl Desk {
    /// A journal with the flow `penguins`, a lease, a source and a context.
    pub async fn new(bench: Box<dyn Bench>, reopen: bool) -> Self {
        let open = Mutex::new(None);
        let (flow, version) = (FlowId(0), VersionId(0));
        let mut desk = Self { bench, reopen, open, lease: Lease(0), flow, version, source: SourceId(0), context: 0 };
        desk.lease = desk.lease(false).await;
        (desk.flow, desk.version) = desk.save("penguins", "v1").await;
        desk.source = desk.j().await.source(DEFAULT_SPACE, "file_drop:/in").await.expect(OK);
        desk.context = desk.j().await.context(context("clean")).await.expect(OK);
        desk
    }

    /// The journal, closed and opened again where that is wanted. Not to be held over another call of this.
    pub(super) async fn j(&self) -> Arc<dyn Journal> {
        let mut open = self.open.lock().await;
        if self.reopen {
            drop(open.take());
        }
        match &*open {
            Some(journal) => Arc::clone(journal),
            None => {
                let journal = self.bench.open().await;
                *open = Some(Arc::clone(&journal));
                journal
            }
        }
    }

    /// The journal, left open, for calls at the same time.
    pub(super) async fn same(&self) -> Arc<dyn Journal> {
        let mut open = self.open.lock().await;
        match &*open {
            Some(journal) => Arc::clone(journal),
            None => {
                let journal = self.bench.open().await;
                *open = Some(Arc::clone(&journal));
                journal
            }
        }
    }

    pub(super) async fn lease(&self, exclusive: bool) -> Lease {
        self.take_over(exclusive).await.lease
    }

    pub(super) async fn take_over(&self, exclusive: bool) -> TakeOver {
        self.j().await.open_lease("host-1", exclusive, 1).await.expect(OK)
    }

    pub(super) async fn save(&self, slug: &str, hash: &str) -> (FlowId, VersionId) {
        self.j().await.save_version(new_version(slug, hash)).await.expect(OK)
    }

    pub(super) async fn change(&self, flow: FlowId, state: FlowState) -> crate::Result<FlowRow> {
        let actor = "ada".to_owned();
        self.j().await.change_flow(FlowChange { flow, state, version: None, base: None, at: 7, actor }).await
    }

    /// An ingest of the desk's flow with a run of its own and one reader, `clean`.
    pub(super) fn ingest_of(&self, arrivals: Vec<NewArrival>) -> Ingest {
        Ingest {
            lease: self.lease,
            flow: self.flow,
            version: self.version,
            processor: "inbox".into(),
            source: self.source,
            run: RunChoice::New { mode: RunMode::Live, trigger: "files in ./in".to_owned() },
            arrivals,
            readers: vec![reader("clean", 0)],
            context: self.context,
            started: 90,
            at: 100,
        }
    }

    pub(super) async fn ingest(&self, ingest: Ingest) -> Ingested {
        self.j().await.ingest(ingest).await.expect(OK)
    }

    /// Takes in one item by path, and claims its task.
    pub(super) async fn arrive(&self, path: &str) -> Claimed {
        self.arrive_as(path, path).await
    }

    /// The same with content of its own.
    pub(super) async fn arrive_as(&self, path: &str, content: &str) -> Claimed {
        let done = self.ingest(self.ingest_of(vec![file(path, content)])).await;
        assert_eq!(done.new, 1, "{path} is new");
        self.claim_run(done.run).await
    }

    /// Claims the one task of a run.
    pub(super) async fn claim_run(&self, run: RunId) -> Claimed {
        let request = ClaimRequest { run: Some(run), ..self.request(10) };
        let mut claimed = self.j().await.claim(request).await.expect(OK);
        assert_eq!(claimed.len(), 1, "one task of run {run}");
        claimed.remove(0)
    }

    pub(super) fn request(&self, limit: usize) -> ClaimRequest {
        ClaimRequest { lease: self.lease, now: 1_000, limit, suspects: false, run: None, idle: false }
    }

    pub(super) async fn claim(&self, limit: usize) -> Vec<Claimed> {
        self.j().await.claim(self.request(limit)).await.expect(OK)
    }

    pub(super) async fn settle(&self, settlement: Settlement) -> Settled {
        let mut settled = self.j().await.settle(vec![settlement]).await.expect(OK);
        assert_eq!(settled.len(), 1);
        settled.remove(0)
    }

    /// Settles what must be applied.
    pub(super) async fn apply(&self, settlement: Settlement) -> Applied {
        match self.settle(settlement).await {
            Settled::Applied(applied) => applied,
            other => panic!("the settlement is {other:?}"),
        }
    }

    /// A settlement of a claim that says its items were dropped.
    pub(super) fn dropped(&self, claimed: &Claimed) -> Settlement {
        let entries = claimed.task.items.iter().map(|item| entry(item, Outcome::Emitted)).collect();
        Settlement {
            task: claimed.task.id,
            lease: self.lease,
            attempt: claimed.attempt,
            tasks: Vec::new(),
            held: Vec::new(),
            closing: None,
            memos: Vec::new(),
            revisions: Vec::new(),
            dead_letters: Vec::new(),
            history: vec![StepRecord { context: self.context, started: 150, entries }],
            counts: BTreeMap::from([("clean".into(), StepCounts { done: 1, ..StepCounts::default() })]),
            at: 200,
            actor: "worker".into(),
        }
    }

    /// A settlement that collects the claim's only item into `shelf`.
    pub(super) fn collected(&self, claimed: &Claimed, export: Option<NewExport>) -> Settlement {
        let revision = self.revision(&claimed.task.items[0], "Shelf", export);
        let history = vec![StepRecord {
            context: self.context,
            started: 150,
            entries: vec![entry(&claimed.task.items[0], Outcome::Collected)],
        }];
        Settlement { revisions: vec![revision], history, ..self.dropped(claimed) }
    }

    pub(super) fn revision(&self, item: &Item, collection: &str, export: Option<NewExport>) -> NewRevision {
        NewRevision { collection: collection.into(), processor: "shelf".into(), item: item.clone(), export }
    }

    /// A claim of a version of a file, from which `result` comes.
    pub(super) async fn version_of(&self, file: NewArrival, result: &str) -> Claimed {
        let done = self.ingest(self.ingest_of(vec![file])).await;
        let mut claimed = self.claim_run(done.run).await;
        claimed.task.items[0].content = content(result);
        claimed
    }

    /// Takes a file in and collects it, to be exported or not. Answers its slot.
    pub(super) async fn collect(&self, path: &str, content: &str, export: Option<NewExport>) -> (SlotId, Applied) {
        let claimed = self.arrive_as(path, content).await;
        let applied = self.apply(self.collected(&claimed, export)).await;
        (slot_of(&claimed.task.items[0], "Shelf"), applied)
    }

    /// A settlement that makes a dead letter of the claim's only item.
    pub(super) fn failed(&self, claimed: &Claimed) -> Settlement {
        let item = claimed.task.items[0].clone();
        let history =
            vec![StepRecord { context: self.context, started: 150, entries: vec![entry(&item, Outcome::Dead)] }];
        Settlement { dead_letters: vec![letter(item, &claimed.task.to)], history, ..self.dropped(claimed) }
    }

    pub(super) async fn intents(&self, limit: usize) -> Vec<Intent> {
        self.intents_at(1_000, limit).await
    }

    pub(super) async fn intents_at(&self, now: i64, limit: usize) -> Vec<Intent> {
        self.j().await.claim_intents(self.lease, now, limit).await.expect(OK)
    }

    /// Claims the only intent, an export.
    pub(super) async fn export(&self) -> (Intent, ExportAction) {
        let mut intents = self.intents(10).await;
        assert_eq!(intents.len(), 1, "one intent: {intents:?}");
        let intent = intents.remove(0);
        let action = export_of(&intent);
        (intent, action)
    }

    pub(super) async fn finish(&self, intent: &Intent, end: End) {
        let done = Finished { id: intent.id, lease: self.lease, attempt: intent.attempt, end, at: 300 };
        self.j().await.finish(vec![done]).await.expect(OK);
    }

    pub(super) async fn revisions(&self, slot: SlotId) -> Vec<RevisionRow> {
        self.j().await.revisions(slot).await.expect(OK)
    }

    /// The newest revision of a slot.
    pub(super) async fn newest(&self, slot: SlotId) -> RevisionRow {
        self.revisions(slot).await.pop().expect("a revision")
    }

    pub(super) async fn run(&self, run: RunId) -> RunRow {
        self.j().await.run(run).await.expect(OK)
    }

    pub(super) async fn flow_row(&self) -> FlowRow {
        self.j().await.flow(self.flow).await.expect(OK)
    }

    pub(super) async fn letters(&self, filter: Filter) -> Vec<DeadRow> {
        self.j().await.dead_letters(filter).await.expect(OK).rows
    }

    pub(super) async fn datasets(&self, filter: Filter) -> Vec<RevisionRow> {
        self.j().await.datasets(filter).await.expect(OK).rows
    }

    pub(super) async fn backlog(&self) -> Backlog {
        self.j().await.backlog(None).await.expect(OK)
    }

    pub(super) fn reentry(&self, letters: &[DeadRow]) -> Reentry {
        Reentry {
            letters: letters.iter().map(|letter| letter.id).collect(),
            edit: None,
            version: self.version,
            context: self.context,
            actor: "ada".to_owned(),
            at: 400,
        }
    }
}

pub(super) fn new_version(slug: &str, hash: &str) -> NewVersion {
    NewVersion {
        space: DEFAULT_SPACE,
        slug: slug.to_owned(),
        name: slug.to_uppercase(),
        hash: hash.to_owned(),
        body: Bytes::from(format!("body of {hash}")),
        at: 5,
        actor: "ada".to_owned(),
    }
}

pub(super) fn context(processor: &str) -> Context {
    Context {
        flow: "penguins".to_owned(),
        version: "v1".to_owned(),
        processor: processor.to_owned(),
        kind: "script".to_owned(),
        config: "c0ffee".to_owned(),
        environment: Some("Python 3.11.7".to_owned()),
        worker: "host-1".to_owned(),
        opendmp: "0.1.0".to_owned(),
    }
}

pub(super) fn reader(processor: &str, input: u32) -> Reader {
    Reader { processor: processor.into(), input }
}

pub(super) fn content(text: &str) -> ContentRef {
    let place = Place::Pack { pack: 3, offset: text.len() as u64 };
    ContentRef { hash: ContentHash::of(text.as_bytes()), size: text.len() as u64, place }
}

/// A version of a file told by one number.
pub(super) fn stat(version: u64) -> FileStat {
    FileStat {
        device: 9,
        inode: 1 << 40,
        size: version,
        mtime: -(version as i64),
        ctime: i64::MAX - version as i64,
        recent: false,
    }
}

/// A kept file whose version is its content's.
pub(super) fn file(path: &str, text: &str) -> NewArrival {
    let version = text.bytes().fold(7u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte))) % (1 << 40);
    NewArrival { stat: Some(stat(version)), ..item_arrival(path.as_bytes(), path, text) }
}

/// A source item without a version.
pub(super) fn item_arrival(path: &[u8], name: &str, text: &str) -> NewArrival {
    NewArrival {
        path: path.to_vec(),
        stat: None,
        name: name.into(),
        content: content(text),
        media_type: None,
        attributes: Attributes::new().into(),
        release: None,
        took: 12,
    }
}

pub(super) fn slot_of(item: &Item, collection: &str) -> SlotId {
    SlotId::new(item.origin, collection, "penguins", "shelf", &item.name, item.label)
}

pub(super) fn entry(item: &Item, result: Outcome) -> Entry {
    Entry { input: item.id, took: 3, result, children: Vec::new(), log: Vec::new(), note: None }
}

/// A child of an item, and the history's word of it.
pub(super) fn child(item: &Item, nth: u32) -> (Item, Child) {
    let id = item.id.child("clean", "out", nth);
    let made = Item { id, ..item.clone() };
    (made, Child { id, port: None, name: None, content: None, attributes: None })
}

/// An end of an attempt after which the intent waits until `due`.
pub(super) fn later(due: i64, message: &str) -> End {
    End::Retry { due, tries: Tries::default(), fault: fault(message) }
}

pub(super) fn fault(message: &str) -> Fault {
    Fault::new(FaultKind::Failed, "ValueError", message).with_hint("look at the item")
}

pub(super) fn letter(item: Item, at: &Reader) -> NewDeadLetter {
    let log = vec![opendmp_model::fault::LogLine { level: "stderr".to_owned(), text: "oh\tno".to_owned() }];
    let id = dead_letter_id(item.id, at);
    NewDeadLetter { id, at: at.clone(), item, fault: fault("could not convert"), attempts: 3, log }
}

/// An export to a folder.
pub(super) fn to(target: &str, if_exists: IfExists) -> NewExport {
    NewExport {
        destination: "folder:/out".into(),
        target: target.as_bytes().to_vec(),
        if_exists,
        class: SinkClass::Overwrite,
    }
}

pub(super) fn export_of(intent: &Intent) -> ExportAction {
    match &intent.action {
        Action::Export(action) => action.clone(),
        Action::Release { .. } => panic!("a release: {intent:?}"),
    }
}

/// A task for some items at `processor`.
pub(super) fn task(items: Vec<Item>, processor: &str) -> NewTask {
    decide::tasks_for(&reader(processor, 0), items).pop().expect("a task for items")
}

pub(super) fn numbers(items: &[Item]) -> Vec<u64> {
    items.iter().map(|item| item.id.arrival.0).collect()
}

pub(super) fn arrival(number: u64) -> Arrival {
    Arrival(number)
}
