//! A journal in memory: the reference of what a journal means, for model tests. Nothing is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use opendmp_model::export::IfExists;
use opendmp_model::history::{Context, Entry, StepRecord};
use opendmp_model::ids::{Arrival, ContentHash, ItemId, Pass, SlotId, TaskId};
use opendmp_model::item::Item;
use opendmp_model::ledger::Known;

use super::decide::{self, Neighbour, Owner, Reservation};
use super::types::*;
use super::Journal;
use crate::transport::StepCounts;
use crate::{Error, ErrorKind, Result};

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    leases: BTreeMap<Lease, bool>,
    flows: BTreeMap<FlowId, FlowRow>,
    versions: BTreeMap<VersionId, VersionRow>,
    contexts: Vec<Context>,
    sources: Vec<(SpaceId, String)>,
    arrivals: BTreeMap<Arrival, (SourceId, ArrivalRow)>,
    paths: BTreeMap<(SourceId, Vec<u8>), Known>,
    runs: BTreeMap<RunId, Run>,
    tasks: BTreeMap<TaskId, Task>,
    /// Tasks in the order they entered.
    queue: BTreeMap<u64, TaskId>,
    settled: BTreeSet<TaskId>,
    revisions: BTreeMap<SlotId, BTreeMap<(Arrival, Pass), Revision>>,
    intents: BTreeMap<IntentId, StoredIntent>,
    targets: BTreeMap<(Arc<str>, Vec<u8>), Target>,
    dead: BTreeMap<TaskId, (u64, DeadRow, Option<ExportAction>)>,
    history: Vec<(Option<(Arrival, Arrival)>, HistoryRow)>,
    next: u64,
    pass: u32,
}

#[derive(Clone, Debug)]
struct Run {
    row: RunRow,
    flow: FlowId,
    open: bool,
}

#[derive(Clone, Debug)]
struct Task {
    order: u64,
    task: NewTask,
    flow: FlowId,
    version: VersionId,
    run: RunId,
    attempts: u32,
    lease: Option<Lease>,
}

#[derive(Clone, Debug)]
struct Revision {
    row: RevisionRow,
}

#[derive(Clone, Debug)]
struct StoredIntent {
    intent: Intent,
    space_source: Option<SourceId>,
    due: i64,
    lease: Option<Lease>,
    /// Number of the name that is tried, for a foreign file in the way.
    number: u32,
}

#[derive(Clone, Debug)]
struct Target {
    slot: SlotId,
    written: Option<(Arrival, Pass, ContentHash)>,
}

/// What the law tests look at.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Every arrival: number, path, content hash.
    pub arrivals: Vec<(Arrival, Vec<u8>, ContentHash)>,
    /// Items in open tasks.
    pub queued: Vec<ItemId>,
    /// Every revision.
    pub revisions: Vec<RevisionRow>,
    /// Every dead letter.
    pub dead: Vec<DeadRow>,
    /// Every settlement's steps.
    pub history: Vec<StepRecord>,
    /// Open intents.
    pub intents: usize,
}

impl MemoryJournal {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything the laws speak of.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        Snapshot {
            arrivals: state.arrivals.values().map(|(_, a)| (a.arrival, a.path.clone(), a.content.hash)).collect(),
            queued: state.tasks.values().flat_map(|t| t.task.items.iter().map(|i| i.id)).collect(),
            revisions: state.revisions.values().flat_map(|slot| slot.values().map(|r| r.row.clone())).collect(),
            dead: state.dead.values().map(|(_, row, _)| row.clone()).collect(),
            history: state.history.iter().flat_map(|(_, row)| row.steps.clone()).collect(),
            intents: state.intents.len(),
        }
    }
}

fn missing(operation: &'static str, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::NotFound, operation, format!("there is no {what}"))
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn live(&self, lease: Lease) -> bool {
        self.leases.get(&lease).copied().unwrap_or(false)
    }

    fn enqueue(&mut self, tasks: Vec<NewTask>, flow: FlowId, version: VersionId, run: RunId) -> u64 {
        let mut items = 0;
        for task in tasks {
            let order = self.number();
            items += task.items.len() as u64;
            self.queue.insert(order, task.id);
            self.tasks.insert(task.id, Task { order, task, flow, version, run, attempts: 0, lease: None });
        }
        items
    }

    /// Counts work in and out of a run and its flow, and closes what has nothing left.
    fn outstanding(&mut self, run: RunId, change: i64, at: i64) {
        let Some(state) = self.runs.get_mut(&run) else { return };
        state.row.outstanding = state.row.outstanding.saturating_add_signed(change);
        let flow = state.flow;
        if state.row.outstanding == 0 && !state.open && state.row.state == RunState::Running {
            state.row.state = RunState::Done;
            state.row.finished = Some(at);
        }
        if let Some(flow) = self.flows.get_mut(&flow) {
            flow.outstanding = flow.outstanding.saturating_add_signed(change);
            if flow.outstanding == 0 && flow.state == FlowState::Deleting {
                flow.state = FlowState::Deleted;
            }
        }
    }

    fn new_run(&mut self, flow: FlowId, version: VersionId, mode: RunMode, trigger: &str, open: bool, at: i64) -> Result<RunId> {
        let flow_row = self.flows.get(&flow).ok_or_else(|| missing("journal run", format!("flow {flow}")))?;
        let version = self.versions.get(&version).ok_or_else(|| missing("journal run", format!("version {version}")))?;
        let row = RunRow {
            id: RunId(0),
            flow: flow_row.slug.clone(),
            version: version.hash.clone(),
            mode,
            trigger: trigger.to_owned(),
            state: RunState::Running,
            started: at,
            finished: None,
            arrivals: 0,
            outstanding: 0,
            revisions: 0,
            unchanged: 0,
            dead: 0,
            exported: 0,
            processors: BTreeMap::new(),
        };
        let id = RunId(self.number());
        self.runs.insert(id, Run { row: RunRow { id, ..row }, flow, open });
        Ok(id)
    }

    fn record(&mut self, at: i64, actor: &str, steps: Vec<StepRecord>) -> Seq {
        let seq = Seq(self.number());
        self.history.push((decide::record_span(&steps), HistoryRow { seq, at, actor: actor.to_owned(), steps }));
        seq
    }

    fn add_dead(&mut self, letter: NewDeadLetter, flow: FlowId, version: VersionId, run: RunId, at: i64, export: Option<ExportAction>) {
        let (slug, hash) = (self.flows[&flow].slug.clone(), self.versions[&version].hash.clone());
        let row = DeadRow {
            id: letter.id,
            flow: slug,
            flow_id: flow,
            version: hash,
            run,
            at: letter.at,
            item: letter.item,
            fault: letter.fault,
            attempts: letter.attempts,
            log: letter.log,
            failed: at,
            state: DeadState::Open,
            export_only: export.is_some(),
        };
        let order = self.number();
        if let Some(run) = self.runs.get_mut(&run) {
            run.row.dead += 1;
        }
        if let Some(flow) = self.flows.get_mut(&flow) {
            flow.dead_letters += 1;
        }
        self.dead.insert(row.id, (order, row, export));
    }

    /// Makes the intent of an export, or what stands for it. Answers (intents, dead letters) made.
    fn add_export(&mut self, action: ExportAction, processor: &Arc<str>, flow: FlowId, version: VersionId, run: RunId, at: i64, from: u32) -> (u64, u64) {
        let key = (action.slot, action.arrival, action.pass);
        let destination = Arc::clone(&action.export.destination);
        let targets = &self.targets;
        let mut number = from;
        let reservation = decide::reserve(action.slot, &action.export, from, |target| {
            Ok::<_, std::convert::Infallible>(
                targets.get(&(Arc::clone(&destination), target.to_vec())).map(|t| Owner { slot: t.slot }),
            )
        });
        let Ok(reservation) = reservation;
        match reservation {
            Reservation::Take(target) => {
                while number < u32::MAX && decide::name(&action.export.target, number) != target {
                    number += 1;
                }
                let entry = self.targets.entry((destination.clone(), target.clone()));
                let owner = entry.or_insert(Target { slot: action.slot, written: None });
                owner.slot = action.slot;
                self.set_export(key, ExportState::Pending, Some((destination, target)), None);
                let id = IntentId(self.number());
                let intent = Intent {
                    id,
                    flow,
                    version,
                    run,
                    processor: Arc::clone(processor),
                    action: Action::Export(action),
                    attempt: 0,
                    unknown: false,
                };
                self.intents.insert(id, StoredIntent { intent, space_source: None, due: 0, lease: None, number });
                (1, 0)
            }
            Reservation::Keep => {
                self.set_export(key, ExportState::Kept, None, None);
                (0, 0)
            }
            Reservation::Refuse(fault) => {
                self.refuse(action, fault, processor, flow, version, run, at, 1);
                (0, 1)
            }
        }
    }

    fn refuse(&mut self, action: ExportAction, fault: opendmp_model::fault::Fault, processor: &Arc<str>, flow: FlowId, version: VersionId, run: RunId, at: i64, attempts: u32) {
        self.set_export((action.slot, action.arrival, action.pass), ExportState::Refused, None, None);
        let reader = Reader { processor: Arc::clone(processor), input: 0 };
        let letter = NewDeadLetter {
            id: dead_letter_id(action.item.id, &reader),
            at: reader,
            item: action.item.clone(),
            fault,
            attempts,
            log: Vec::new(),
        };
        self.add_dead(letter, flow, version, run, at, Some(action));
    }

    fn set_export(&mut self, (slot, arrival, pass): (SlotId, Arrival, Pass), state: ExportState, target: Option<(Arc<str>, Vec<u8>)>, exported: Option<i64>) {
        let row = self.revisions.get_mut(&slot).and_then(|slot| slot.get_mut(&(arrival, pass)));
        if let Some(revision) = row {
            revision.row.export = state;
            if let Some((destination, target)) = target {
                revision.row.target = Some((destination.to_string(), target));
            }
            revision.row.exported = exported.or(revision.row.exported);
        }
    }

    fn settle(&mut self, settlement: Settlement) -> Settled {
        let Some(task) = self.tasks.get(&settlement.task) else {
            return if self.settled.contains(&settlement.task) { Settled::Already } else { Settled::Fenced };
        };
        if task.lease != Some(settlement.lease) || task.attempts != settlement.attempt || !self.live(settlement.lease) {
            return Settled::Fenced;
        }
        let (order, flow, version, run) = (task.order, task.flow, task.version, task.run);
        let ended = task.task.items.len() as i64;
        self.queue.remove(&order);
        self.tasks.remove(&settlement.task);
        self.settled.insert(settlement.task);
        let at = settlement.at;
        let mut applied = Applied { tasks: settlement.tasks.len() as u64, ..Applied::default() };
        let mut change = self.enqueue(settlement.tasks, flow, version, run) as i64 - ended;
        let mut steps = settlement.history;
        let seq = Seq(self.next + 1);
        for revision in settlement.revisions {
            let (new, exports, dead) = self.collect(&revision, flow, version, run, at, seq);
            if new {
                applied.revisions += 1;
            } else {
                applied.unchanged += 1;
                decide::mark_unchanged(&mut steps, revision.item.id);
            }
            applied.exports += exports;
            applied.dead += dead;
            change += exports as i64;
        }
        for letter in settlement.dead_letters {
            applied.dead += 1;
            self.add_dead(letter, flow, version, run, at, None);
        }
        applied.seq = self.record(at, &settlement.actor, steps);
        if let Some(run) = self.runs.get_mut(&run) {
            run.row.revisions += applied.revisions;
            run.row.unchanged += applied.unchanged;
            for (processor, counts) in &settlement.counts {
                run.row.processors.entry(processor.to_string()).or_default().add(counts);
            }
        }
        self.outstanding(run, change, at);
        Settled::Applied(applied)
    }

    fn collect(&mut self, new: &NewRevision, flow: FlowId, version: VersionId, run: RunId, at: i64, seq: Seq) -> (bool, u64, u64) {
        let key = (new.item.id.arrival, new.item.id.pass);
        let slot = self.revisions.entry(new.slot).or_default();
        let before = slot.range(..=key).next_back().map(|(key, revision)| {
            let target = revision.row.target.as_ref().map(|(d, t)| (Arc::from(d.as_str()), t.clone()));
            (*key, Neighbour { hash: revision.row.item.content.hash, target })
        });
        let choice = decide::revision(before.as_ref().map(|(_, n)| n), new.item.content.hash, new.export.as_ref());
        let (arrival, pass) = if choice.new { key } else { before.map_or(key, |(key, _)| key) };
        if choice.new {
            let row = RevisionRow {
                slot: new.slot,
                collection: new.collection.to_string(),
                flow: self.flows[&flow].slug.clone(),
                processor: new.processor.to_string(),
                revision: 0,
                item: new.item.clone(),
                version: self.versions[&version].hash.clone(),
                run,
                at,
                seq,
                export: ExportState::None,
                target: None,
                exported: None,
            };
            self.revisions.entry(new.slot).or_default().insert(key, Revision { row });
        }
        let (mut exports, mut dead) = (0, 0);
        if let Some(export) = new.export.clone().filter(|_| choice.export) {
            let action = ExportAction { slot: new.slot, arrival, pass, item: new.item.clone(), export, ours: None };
            (exports, dead) = self.add_export(action, &new.processor, flow, version, run, at, 1);
        }
        (choice.new, exports, dead)
    }

    fn finish(&mut self, done: Finished) {
        let live = self.live(done.lease);
        let Some(stored) = self.intents.get_mut(&done.id) else { return };
        if stored.lease != Some(done.lease) || !live {
            return;
        }
        let (number, intent) = (stored.number, stored.intent.clone());
        match (done.end, intent.action) {
            (End::Retry { due, .. }, _) => {
                stored.lease = None;
                stored.due = due;
                return;
            }
            (_, Action::Release { .. }) => {}
            (End::Done, Action::Export(action)) => {
                let row = self.revisions.get(&action.slot).and_then(|s| s.get(&(action.arrival, action.pass)));
                let target = row.and_then(|r| r.row.target.clone()).map(|(d, t)| (Arc::from(d.as_str()), t));
                let key = (action.slot, action.arrival, action.pass);
                let mut state = ExportState::Written;
                if let Some(target) = target {
                    let written = self.targets.get_mut(&target);
                    if let Some(written) = written {
                        if decide::supersedes(written.written.map(|(a, p, _)| (a, p)), (action.arrival, action.pass)) {
                            state = ExportState::Superseded;
                        } else {
                            written.written = Some((action.arrival, action.pass, action.item.content.hash));
                        }
                    }
                }
                self.set_export(key, state, None, Some(done.at));
                if let Some(run) = self.runs.get_mut(&intent.run) {
                    run.row.exported += 1;
                }
            }
            (End::Occupied, Action::Export(action)) => {
                self.intents.remove(&done.id);
                let (mut exports, policy) = (0, action.export.if_exists);
                match policy {
                    IfExists::Version | IfExists::Overwrite => {
                        (exports, _) = self.add_export(action, &intent.processor, intent.flow, intent.version, intent.run, done.at, number + 1);
                    }
                    IfExists::Keep => self.set_export((action.slot, action.arrival, action.pass), ExportState::Kept, None, None),
                    IfExists::Fail => {
                        let fault = decide::taken(&action.export.target);
                        self.refuse(action, fault, &intent.processor, intent.flow, intent.version, intent.run, done.at, intent.attempt);
                    }
                }
                self.outstanding(intent.run, exports as i64 - 1, done.at);
                return;
            }
            (End::Refused(fault), Action::Export(action)) => {
                self.refuse(action, fault, &intent.processor, intent.flow, intent.version, intent.run, done.at, intent.attempt);
            }
        }
        self.intents.remove(&done.id);
        self.outstanding(intent.run, -1, done.at);
    }

    fn matches(filter: &Filter, flow: &str, run: RunId, name: &str) -> bool {
        filter.flow.as_ref().is_none_or(|f| f == flow)
            && filter.run.is_none_or(|r| r == run)
            && filter.name.as_ref().is_none_or(|pattern| decide::name_matches(pattern, name))
    }

    fn with_revisions(&self, slot: SlotId) -> Vec<RevisionRow> {
        let rows = self.revisions.get(&slot).into_iter().flat_map(|s| s.values());
        rows.enumerate().map(|(n, r)| RevisionRow { revision: n as u32 + 1, ..r.row.clone() }).collect()
    }
}

/// A page of rows that are sorted, `key` giving the cursor of each.
fn page<T>(rows: Vec<T>, filter: &Filter, key: impl Fn(&T) -> String) -> Page<T> {
    let limit = decide::page_limit(filter);
    let from = match &filter.after {
        Some(after) => rows.iter().position(|row| key(row) == *after).map_or(rows.len(), |at| at + 1),
        None => 0,
    };
    let more = rows.len() > from + limit;
    let rows: Vec<T> = rows.into_iter().skip(from).take(limit).collect();
    let next = rows.last().filter(|_| more).map(key);
    Page { rows, next }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn open_lease(&self, _worker: &str, exclusive: bool, _now: i64) -> Result<TakeOver> {
        let mut state = self.lock();
        let lease = Lease(state.number());
        let mut out = TakeOver { lease, ..TakeOver::default() };
        if exclusive {
            state.leases.values_mut().for_each(|live| *live = false);
            for task in state.tasks.values_mut().filter(|task| task.lease.is_some()) {
                task.lease = None;
                task.task.lost += 1;
                out.tasks += 1;
            }
            for stored in state.intents.values_mut().filter(|stored| stored.lease.is_some()) {
                stored.lease = None;
                stored.intent.unknown = true;
                out.intents += 1;
            }
        }
        state.leases.insert(lease, true);
        Ok(out)
    }

    async fn save_version(&self, new: NewVersion) -> Result<(FlowId, VersionId)> {
        let mut state = self.lock();
        let known = state.flows.values().find(|f| f.space == new.space && f.slug == new.slug && f.state != FlowState::Deleted);
        let flow = match known {
            Some(flow) => flow.id,
            None => FlowId(state.number() as u32),
        };
        let found = state.versions.values().find(|v| v.flow == flow && v.hash == new.hash).map(|v| v.id);
        let version = match found {
            Some(version) => version,
            None => {
                let id = VersionId(state.number() as u32);
                let row = VersionRow { id, flow, hash: new.hash.clone(), body: new.body, at: new.at, actor: new.actor };
                state.versions.insert(id, row);
                id
            }
        };
        state.flows.entry(flow).or_insert_with(|| FlowRow {
            id: flow,
            space: new.space,
            slug: new.slug,
            name: new.name,
            state: FlowState::Disabled,
            version,
            version_hash: new.hash,
            base: String::new(),
            outstanding: 0,
            dead_letters: 0,
            changed: new.at,
        });
        Ok((flow, version))
    }

    async fn change_flow(&self, change: FlowChange) -> Result<FlowRow> {
        let mut state = self.lock();
        let hash = match change.version {
            Some(version) => Some(
                state.versions.get(&version).map(|v| v.hash.clone()).ok_or_else(|| missing("journal change flow", "such version"))?,
            ),
            None => None,
        };
        let flow = state.flows.get_mut(&change.flow).ok_or_else(|| missing("journal change flow", "such flow"))?;
        flow.state = match change.state {
            FlowState::Deleting if flow.outstanding == 0 => FlowState::Deleted,
            other => other,
        };
        if let (Some(version), Some(hash)) = (change.version, hash) {
            (flow.version, flow.version_hash) = (version, hash);
        }
        if let Some(base) = change.base {
            flow.base = base;
        }
        flow.changed = change.at;
        Ok(flow.clone())
    }

    async fn flows(&self, space: SpaceId) -> Result<Vec<FlowRow>> {
        let state = self.lock();
        let live = state.flows.values().filter(|f| f.space == space && f.state != FlowState::Deleted);
        let mut rows: Vec<FlowRow> = live.cloned().collect();
        rows.sort_by(|a, b| a.slug.cmp(&b.slug));
        Ok(rows)
    }

    async fn flow(&self, flow: FlowId) -> Result<FlowRow> {
        self.lock().flows.get(&flow).cloned().ok_or_else(|| missing("journal flow", "such flow"))
    }

    async fn version(&self, version: VersionId) -> Result<VersionRow> {
        self.lock().versions.get(&version).cloned().ok_or_else(|| missing("journal version", "such version"))
    }

    async fn context(&self, context: Context) -> Result<u32> {
        let mut state = self.lock();
        let at = state.contexts.iter().position(|c| *c == context).unwrap_or_else(|| {
            state.contexts.push(context);
            state.contexts.len() - 1
        });
        Ok(at as u32 + 1)
    }

    async fn contexts(&self, numbers: Vec<u32>) -> Result<Vec<Context>> {
        let state = self.lock();
        let find = |n: u32| state.contexts.get((n as usize).wrapping_sub(1)).cloned();
        numbers.into_iter().map(|n| find(n).ok_or_else(|| missing("journal contexts", format!("context {n}")))).collect()
    }

    async fn source(&self, space: SpaceId, identity: &str) -> Result<SourceId> {
        let mut state = self.lock();
        let at = state.sources.iter().position(|(s, i)| *s == space && i == identity).unwrap_or_else(|| {
            state.sources.push((space, identity.to_owned()));
            state.sources.len() - 1
        });
        Ok(SourceId(at as u32 + 1))
    }

    async fn known(&self, source: SourceId, paths: Vec<Vec<u8>>) -> Result<Vec<Option<Known>>> {
        let state = self.lock();
        Ok(paths.into_iter().map(|path| state.paths.get(&(source, path)).copied()).collect())
    }

    async fn releasing(&self, source: SourceId, releases: Vec<Vec<u8>>) -> Result<Vec<bool>> {
        let pending: BTreeSet<Vec<u8>> = self.pending_releases(source, usize::MAX).await?.into_iter().collect();
        Ok(releases.iter().map(|release| pending.contains(release)).collect())
    }

    async fn pending_releases(&self, source: SourceId, limit: usize) -> Result<Vec<Vec<u8>>> {
        let state = self.lock();
        let of_source = state.intents.values().filter(|stored| stored.space_source == Some(source));
        let releases = of_source.flat_map(|stored| match &stored.intent.action {
            Action::Release { releases } => releases.clone(),
            Action::Export(_) => Vec::new(),
        });
        Ok(releases.take(limit).map(|bytes| bytes.to_vec()).collect())
    }

    async fn open_run(&self, flow: FlowId, version: VersionId, mode: RunMode, trigger: &str, at: i64) -> Result<RunId> {
        self.lock().new_run(flow, version, mode, trigger, true, at)
    }

    async fn close_run(&self, run: RunId, at: i64) -> Result<()> {
        let mut state = self.lock();
        state.runs.get_mut(&run).ok_or_else(|| missing("journal close run", "such run"))?.open = false;
        state.outstanding(run, 0, at);
        Ok(())
    }

    async fn ingest(&self, ingest: Ingest) -> Result<Ingested> {
        let pending: BTreeSet<Vec<u8>> =
            self.pending_releases(ingest.source, usize::MAX).await?.into_iter().collect();
        let mut state = self.lock();
        if !state.live(ingest.lease) {
            return Err(Error::new(ErrorKind::Conflict, "journal ingest", "the lease was taken over"));
        }
        let fresh = |arrival: &&NewArrival| {
            let known = state.paths.get(&(ingest.source, arrival.path.clone()));
            decide::is_fresh(arrival, known, |release| pending.contains(release))
        };
        let new: Vec<&NewArrival> = ingest.arrivals.iter().filter(fresh).collect();
        let run = match &ingest.run {
            RunChoice::Existing(run) => *run,
            RunChoice::New { mode, trigger } => {
                state.new_run(ingest.flow, ingest.version, *mode, trigger, false, ingest.at)?
            }
        };
        let numbers: Vec<(Arrival, Arrival)> = new
            .iter()
            .map(|arrival| {
                let number = Arrival(state.number());
                let known = state.paths.get(&(ingest.source, arrival.path.clone()));
                (number, known.map_or(number, |known| known.origin))
            })
            .collect();
        // A path that comes twice in one batch keeps the origin of the first.
        let mut origins: BTreeMap<&[u8], Arrival> = BTreeMap::new();
        let numbers: Vec<(Arrival, Arrival)> = new
            .iter()
            .zip(numbers)
            .map(|(arrival, (number, origin))| (number, *origins.entry(&arrival.path).or_insert(origin)))
            .collect();
        let (items, tasks) = decide::arrivals(&ingest, &new, &numbers);
        let flow_slug = state.flows[&ingest.flow].slug.clone();
        let source = state.sources[ingest.source.0 as usize - 1].1.clone();
        let mut releases: Vec<Bytes> = Vec::new();
        for ((arrival, item), &(number, origin)) in new.iter().zip(&items).zip(&numbers) {
            let row = ArrivalRow {
                arrival: number,
                flow: flow_slug.clone(),
                source: source.clone(),
                path: arrival.path.clone(),
                content: item.content,
                stat: arrival.stat,
                at: ingest.at,
                run,
            };
            state.arrivals.insert(number, (ingest.source, row));
            let known = Known { origin, latest: number, stat: arrival.stat.unwrap_or_default(), hash: item.content.hash };
            state.paths.insert((ingest.source, arrival.path.clone()), known);
            releases.extend(arrival.release.clone());
        }
        let mut change = state.enqueue(tasks, ingest.flow, ingest.version, run) as i64;
        if !releases.is_empty() {
            let id = IntentId(state.number());
            let intent = Intent {
                id,
                flow: ingest.flow,
                version: ingest.version,
                run,
                processor: Arc::clone(&ingest.processor),
                action: Action::Release { releases },
                attempt: 0,
                unknown: false,
            };
            let stored = StoredIntent { intent, space_source: Some(ingest.source), due: 0, lease: None, number: 1 };
            state.intents.insert(id, stored);
            change += 1;
        }
        let record = decide::arrival_record(&ingest, &new, &items);
        let seq = state.record(ingest.at, "source", if new.is_empty() { vec![] } else { vec![record] });
        if let Some(run) = state.runs.get_mut(&run) {
            run.row.arrivals += new.len() as u64;
            let counts = StepCounts { done: new.len() as u64, emitted: new.len() as u64, ..StepCounts::default() };
            run.row.processors.entry(ingest.processor.to_string()).or_default().add(&counts);
        }
        state.outstanding(run, change, ingest.at);
        Ok(Ingested { run, new: new.len() as u64, seq })
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>> {
        let mut state = self.lock();
        if !state.live(request.lease) {
            return Err(Error::new(ErrorKind::Conflict, "journal claim", "the lease was taken over"));
        }
        let order: Vec<TaskId> = state.queue.values().copied().collect();
        let mut out = Vec::new();
        for id in order {
            if out.len() >= request.limit {
                break;
            }
            let Some(task) = state.tasks.get_mut(&id) else { continue };
            let due = task.task.due.is_none_or(|due| due <= request.now);
            let wanted = request.run.is_none_or(|run| run == task.run);
            if task.lease.is_some() || !due || !wanted || (task.task.lost > 0) != request.suspects {
                continue;
            }
            task.lease = Some(request.lease);
            task.attempts += 1;
            let claimed = Claimed {
                task: task.task.clone(),
                flow: task.flow,
                version: task.version,
                run: task.run,
                mode: RunMode::Live,
                attempt: task.attempts,
            };
            let mode = state.runs.get(&claimed.run).map_or(RunMode::Live, |run| run.row.mode);
            out.push(Claimed { mode, ..claimed });
        }
        Ok(out)
    }

    async fn unclaim(&self, lease: Lease, tasks: Vec<TaskId>) -> Result<()> {
        let mut state = self.lock();
        for id in tasks {
            if let Some(task) = state.tasks.get_mut(&id).filter(|task| task.lease == Some(lease)) {
                task.lease = None;
            }
        }
        Ok(())
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Result<Vec<Settled>> {
        let mut state = self.lock();
        Ok(batch.into_iter().map(|settlement| state.settle(settlement)).collect())
    }

    async fn claim_intents(&self, lease: Lease, now: i64, limit: usize) -> Result<Vec<Intent>> {
        let mut state = self.lock();
        if !state.live(lease) {
            return Err(Error::new(ErrorKind::Conflict, "journal claim intents", "the lease was taken over"));
        }
        let target = |stored: &StoredIntent, state: &State| match &stored.intent.action {
            Action::Release { .. } => None,
            Action::Export(action) => {
                let row = state.revisions.get(&action.slot)?.get(&(action.arrival, action.pass))?;
                row.row.target.clone()
            }
        };
        let mut busy: BTreeSet<(String, Vec<u8>)> = state
            .intents
            .values()
            .filter(|stored| stored.lease.is_some())
            .filter_map(|stored| target(stored, &state))
            .collect();
        // Of the intents for one target the oldest arrival goes first.
        let mut order: Vec<IntentId> = state.intents.keys().copied().collect();
        order.sort_by_key(|id| match &state.intents[id].intent.action {
            Action::Release { .. } => (Arrival(0), Pass(0), *id),
            Action::Export(action) => (action.arrival, action.pass, *id),
        });
        let mut out = Vec::new();
        let mut superseded = Vec::new();
        for id in order {
            if out.len() >= limit {
                break;
            }
            let stored = &state.intents[&id];
            if stored.lease.is_some() {
                continue;
            }
            let key = target(stored, &state);
            if key.as_ref().is_some_and(|key| busy.contains(key)) {
                continue;
            }
            if let Some(key) = &key {
                busy.insert(key.clone());
            }
            if stored.due > now {
                continue;
            }
            let mut intent = stored.intent.clone();
            if let (Action::Export(action), Some((destination, name))) = (&mut intent.action, &key) {
                let owner = state.targets.get(&(Arc::from(destination.as_str()), name.clone()));
                let written = owner.and_then(|owner| owner.written);
                if decide::supersedes(written.map(|(a, p, _)| (a, p)), (action.arrival, action.pass)) {
                    superseded.push((id, action.clone(), intent.run));
                    continue;
                }
                action.ours = owner.and_then(|owner| owner.written.map(|(_, _, hash)| hash));
                action.export.target.clone_from(name);
            }
            if let Some(stored) = state.intents.get_mut(&id) {
                stored.lease = Some(lease);
                stored.intent.attempt += 1;
                intent.attempt = stored.intent.attempt;
            }
            out.push(intent);
        }
        for (id, action, run) in superseded {
            state.set_export((action.slot, action.arrival, action.pass), ExportState::Superseded, None, None);
            state.intents.remove(&id);
            state.outstanding(run, -1, now);
        }
        Ok(out)
    }

    async fn finish(&self, batch: Vec<Finished>) -> Result<()> {
        let mut state = self.lock();
        batch.into_iter().for_each(|done| state.finish(done));
        Ok(())
    }

    async fn backlog(&self, flow: Option<FlowId>) -> Result<Backlog> {
        let state = self.lock();
        let tasks = || state.tasks.values().filter(|task| flow.is_none_or(|f| f == task.flow));
        let intents = || state.intents.values().filter(|stored| flow.is_none_or(|f| f == stored.intent.flow));
        let dues = tasks().filter_map(|t| t.task.due).chain(intents().map(|i| i.due).filter(|due| *due > 0));
        Ok(Backlog {
            items: tasks().map(|task| task.task.items.len() as u64).sum(),
            intents: intents().count() as u64,
            due: dues.min(),
        })
    }

    async fn abandon(&self, flow: FlowId, limit: usize, actor: &str, at: i64) -> Result<u64> {
        let mut state = self.lock();
        let open = state.tasks.values().filter(|task| task.flow == flow && task.lease.is_none());
        let tasks: Vec<Task> = open.take(limit).cloned().collect();
        let mut items = 0;
        for task in tasks {
            state.queue.remove(&task.order);
            state.tasks.remove(&task.task.id);
            state.settled.insert(task.task.id);
            let count = task.task.items.len();
            items += count as u64;
            for item in &task.task.items {
                let letter = decide::abandoned(&task.task.to, item.clone(), task.task.failures);
                state.add_dead(letter, flow, task.version, task.run, at, None);
            }
            state.record(at, actor, Vec::new());
            state.outstanding(task.run, -(count as i64), at);
        }
        Ok(items)
    }

    async fn dead_letters(&self, filter: Filter) -> Result<Page<DeadRow>> {
        let state = self.lock();
        let mut rows: Vec<&(u64, DeadRow, Option<ExportAction>)> = state
            .dead
            .values()
            .filter(|(_, row, _)| {
                (filter.ended || row.state == DeadState::Open)
                    && State::matches(&filter, &row.flow, row.run, &row.item.name)
                    && filter.id.as_ref().is_none_or(|id| decide::id_matches(id, row.id))
            })
            .collect();
        rows.sort_by_key(|(order, ..)| std::cmp::Reverse(*order));
        Ok(page(rows.into_iter().map(|(_, row, _)| row.clone()).collect(), &filter, |row| row.id.to_string()))
    }

    async fn reenter(&self, reentry: Reentry) -> Result<(RunId, u64)> {
        let mut state = self.lock();
        let open: Vec<TaskId> = reentry
            .letters
            .iter()
            .copied()
            .filter(|id| state.dead.get(id).is_some_and(|(_, row, _)| row.state == DeadState::Open))
            .collect();
        let Some(first) = open.first() else {
            return Err(Error::new(ErrorKind::NotFound, "journal reenter", "none of these dead letters is open"));
        };
        let flow = state.dead[first].1.flow_id;
        state.pass += 1;
        let pass = Pass(state.pass);
        let trigger = decide::retry_trigger(open.len());
        let run = state.new_run(flow, reentry.version, RunMode::Live, &trigger, true, reentry.at)?;
        let mut entries: Vec<Entry> = Vec::new();
        let mut groups: BTreeMap<Reader, Vec<Item>> = BTreeMap::new();
        let mut change = 0i64;
        for id in &open {
            let Some((_, row, export)) = state.dead.get_mut(id) else { continue };
            row.state = DeadState::Retried { pass, at: reentry.at, actor: reentry.actor.clone() };
            let (item, export, processor, flow_id) = (row.item.clone(), export.clone(), Arc::clone(&row.at.processor), row.flow_id);
            if let Some(flow) = state.flows.get_mut(&flow_id) {
                flow.dead_letters = flow.dead_letters.saturating_sub(1);
            }
            match export {
                Some(action) => {
                    let (intents, _) = state.add_export(action, &processor, flow, reentry.version, run, reentry.at, 1);
                    change += intents as i64;
                }
                None => {
                    let again = Item { id: ItemId { pass, ..item.id }, ..item.clone() };
                    entries.push(decide::reentered(item.id, again.id));
                    let at = state.dead[id].1.at.clone();
                    groups.entry(at).or_default().push(again);
                }
            }
        }
        for (to, items) in groups {
            let tasks = decide::tasks_for(&to, items);
            change += state.enqueue(tasks, flow, reentry.version, run) as i64;
        }
        for steps in decide::split_records(reentry.context, reentry.at, entries) {
            state.record(reentry.at, &reentry.actor, vec![steps]);
        }
        if let Some(run) = state.runs.get_mut(&run) {
            run.open = false;
        }
        state.outstanding(run, change, reentry.at);
        Ok((run, open.len() as u64))
    }

    async fn discard(&self, letters: Vec<TaskId>, reason: &str, actor: &str, at: i64) -> Result<u64> {
        let mut state = self.lock();
        let mut count = 0;
        for id in letters {
            let Some((_, row, _)) = state.dead.get_mut(&id) else { continue };
            if row.state == DeadState::Open {
                row.state = DeadState::Discarded { reason: reason.to_owned(), at, actor: actor.to_owned() };
                let flow = row.flow_id;
                count += 1;
                if let Some(flow) = state.flows.get_mut(&flow) {
                    flow.dead_letters = flow.dead_letters.saturating_sub(1);
                }
            }
        }
        Ok(count)
    }

    async fn runs(&self, filter: Filter) -> Result<Page<RunRow>> {
        let state = self.lock();
        let runs = state.runs.values().rev().filter(|run| State::matches(&filter, &run.row.flow, run.row.id, ""));
        let rows = runs.map(|run| RunRow { processors: BTreeMap::new(), ..run.row.clone() }).collect();
        Ok(page(rows, &filter, |row| row.id.to_string()))
    }

    async fn run(&self, run: RunId) -> Result<RunRow> {
        self.lock().runs.get(&run).map(|run| run.row.clone()).ok_or_else(|| missing("journal run", format!("run {run}")))
    }

    async fn collections(&self, _space: SpaceId) -> Result<Vec<CollectionRow>> {
        let state = self.lock();
        let mut rows: BTreeMap<String, CollectionRow> = BTreeMap::new();
        for slot in state.revisions.values() {
            let mut first = true;
            for revision in slot.values() {
                let name = &revision.row.collection;
                let row = rows.entry(name.clone()).or_insert_with(|| CollectionRow {
                    name: name.clone(),
                    datasets: 0,
                    revisions: 0,
                    bytes: 0,
                    changed: 0,
                });
                row.datasets += u64::from(std::mem::take(&mut first));
                row.revisions += 1;
                row.bytes += revision.row.item.content.size;
                row.changed = row.changed.max(revision.row.at);
            }
        }
        Ok(rows.into_values().collect())
    }

    async fn datasets(&self, filter: Filter) -> Result<Page<RevisionRow>> {
        let state = self.lock();
        let newest = state.revisions.keys().filter_map(|slot| state.with_revisions(*slot).pop());
        let rows = newest
            .filter(|row| {
                State::matches(&filter, &row.flow, row.run, &row.item.name)
                    && filter.collection.as_ref().is_none_or(|c| *c == row.collection)
                    && filter.id.as_ref().is_none_or(|id| id.arrival == row.slot.origin && id.matches(row.slot.hash))
            })
            .collect();
        Ok(page(rows, &filter, |row| row.slot.to_string()))
    }

    async fn revisions(&self, slot: SlotId) -> Result<Vec<RevisionRow>> {
        Ok(self.lock().with_revisions(slot))
    }

    async fn arrival(&self, arrival: Arrival) -> Result<ArrivalRow> {
        let state = self.lock();
        state.arrivals.get(&arrival).map(|(_, row)| row.clone()).ok_or_else(|| missing("journal arrival", format!("arrival {}", arrival.0)))
    }

    async fn history(&self, arrival: Arrival) -> Result<Vec<HistoryRow>> {
        let state = self.lock();
        let concerns = |span: &Option<(Arrival, Arrival)>| span.is_some_and(|(from, to)| from <= arrival && arrival <= to);
        Ok(state.history.iter().filter(|(span, _)| concerns(span)).map(|(_, row)| row.clone()).collect())
    }
}
