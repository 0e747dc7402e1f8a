//! A journal in memory: the reference of what a journal means, for model tests. Nothing is durable.

mod again;
mod exports;
mod held;
mod retain;
mod state;
mod work;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use opendmp_model::history::{Context, StepRecord};
use opendmp_model::ids::{Arrival, ContentHash, IdPrefix, ItemId, PathHash, SlotId, TaskId};
use opendmp_model::item::{ContentRef, Item};
use opendmp_model::ledger::{FileStat, Known};
use tokio::sync::mpsc;

use self::state::{State, StoredIntent};
use super::Journal;
use super::again::*;
use super::decide::{self, DraftDecision};
use super::draft::*;
use super::letters::{DeadGroup, Same, group_of, groups_page, has_words, words};
use super::retain::{LetGoPart, LetGone};
use super::search::{self, Found, Search};
use super::types::*;
use crate::{Error, ErrorKind, Result};

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    state: Mutex<State>,
}

/// What the law tests look at.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Every arrival: number, path, content hash.
    pub arrivals: Vec<(Arrival, Vec<u8>, ContentHash)>,
    /// Open tasks, claimed or not.
    pub tasks: Vec<NewTask>,
    /// Every revision.
    pub revisions: Vec<RevisionRow>,
    /// Every dead letter.
    pub dead: Vec<DeadRow>,
    /// Every settlement's steps.
    pub history: Vec<StepRecord>,
    /// Open intents.
    pub intents: usize,
    /// What aggregates hold, with its processor.
    pub held: Vec<(FlowId, Arc<str>, Item)>,
    /// What was taken from them to be made into one: its processor, and the items in order.
    pub joined: Vec<(FlowId, Arc<str>, Vec<Item>)>,
    /// What is collected and can't be followed back to its arrival from record to record.
    pub lost_ways: Vec<ItemId>,
}

impl MemoryJournal {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything the laws speak of.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        Snapshot {
            arrivals: state.arrivals.values().map(|a| (a.arrival, a.path.clone(), a.content.hash)).collect(),
            tasks: state.tasks.values().map(|task| task.task.clone()).collect(),
            revisions: state.revisions.values().flat_map(|slot| slot.values().map(|r| r.row.clone())).collect(),
            dead: state.dead.values().map(|letter| letter.row.clone()).collect(),
            history: state.history.iter().flat_map(|(row, _)| row.steps.clone()).collect(),
            intents: state.intents.len(),
            held: state.held(),
            joined: state.joined(),
            lost_ways: state.lost_ways(),
        }
    }
}

/// A page of rows that come in order, each with its cursor; `behind` are those that follow the page before.
fn page<T, K>(rows: impl Iterator<Item = (K, T)>, filter: &Filter, cursor: impl Fn(&K) -> String) -> Page<T> {
    let limit = decide::page_limit(filter);
    let mut rows: Vec<(K, T)> = rows.take(limit + 1).collect();
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|(key, _)| cursor(key));
    Page { rows: rows.into_iter().map(|(_, row)| row).collect(), next }
}

fn number_cursor(filter: &Filter, operation: &'static str) -> Result<u64> {
    let parsed = filter.after.as_ref().map(|after| after.parse().map_err(|_| decide::bad_cursor(operation)));
    Ok(parsed.transpose()?.unwrap_or(u64::MAX))
}

fn matches(filter: &Filter, flow: &str, run: RunId, name: &str) -> bool {
    filter.flow.as_ref().is_none_or(|f| f == flow)
        && filter.run.is_none_or(|r| r == run)
        && filter.name.as_ref().is_none_or(|pattern| decide::name_matches(pattern, name))
}

fn numbered(state: &State, slot: SlotId) -> Vec<RevisionRow> {
    let mut rows: Vec<_> = state.revisions.get(&slot).into_iter().flat_map(|slot| slot.values()).collect();
    rows.sort_by_key(|revision| revision.latest);
    rows.into_iter().enumerate().map(|(n, r)| RevisionRow { revision: n as u32 + 1, ..r.row.clone() }).collect()
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn open_lease(&self, _worker: &str, exclusive: bool, _now: i64) -> Result<TakeOver> {
        let mut state = self.lock();
        state.last.lease += 1;
        let lease = Lease(state.last.lease);
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
        let live =
            |flow: &&FlowRow| flow.space == new.space && flow.slug == new.slug && flow.state != FlowState::Deleted;
        let known = state.flows.values().find(live).map(|flow| flow.id);
        let flow = known.unwrap_or_else(|| {
            state.last.flow += 1;
            FlowId(state.last.flow)
        });
        let found = state.versions.values().find(|v| v.flow == flow && v.hash == new.hash).map(|v| v.id);
        let version = found.unwrap_or_else(|| {
            state.last.version += 1;
            let id = VersionId(state.last.version);
            let row = VersionRow { id, flow, hash: new.hash.clone(), body: new.body, at: new.at, actor: new.actor };
            state.versions.insert(id, row);
            state.next_seq();
            id
        });
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
            held: 0,
            dead_letters: 0,
            unfinished_since: None,
            last_run: None,
            changed: new.at,
        });
        Ok((flow, version))
    }

    async fn change_flow(&self, change: FlowChange) -> Result<FlowRow> {
        let mut state = self.lock();
        let operation = "journal change flow";
        let version = match change.version {
            Some(id) => {
                let known =
                    state.versions.get(&id).ok_or_else(|| decide::missing(operation, format!("version {id}")))?;
                if known.flow != change.flow {
                    return Err(decide::foreign_version(operation, id, change.flow));
                }
                Some((id, known.hash.clone()))
            }
            None => None,
        };
        let flow = state.flows.get_mut(&change.flow);
        let flow = flow.ok_or_else(|| decide::missing(operation, format!("flow {}", change.flow)))?;
        let next = decide::flow_state(flow.state, change.state, flow.outstanding + flow.held);
        let next = next.ok_or_else(|| decide::flow_gone(change.flow))?;
        if flow.state != FlowState::Deleted {
            flow.state = next;
            if let Some((version, hash)) = version {
                (flow.version, flow.version_hash) = (version, hash);
            }
            if let Some(base) = change.base {
                flow.base = base;
            }
            flow.changed = change.at;
            state.next_seq();
            if next == FlowState::Deleting {
                state.flush_flow(change.flow, change.at);
            }
        }
        state.flow_row(change.flow).ok_or_else(|| decide::missing(operation, format!("flow {}", change.flow)))
    }

    async fn flows(&self, space: SpaceId) -> Result<Vec<FlowRow>> {
        let state = self.lock();
        let live = state.flows.values().filter(|f| f.space == space && f.state != FlowState::Deleted);
        let mut rows: Vec<FlowRow> = live.filter_map(|flow| state.flow_row(flow.id)).collect();
        rows.sort_by(|a, b| a.slug.cmp(&b.slug));
        Ok(rows)
    }

    async fn flow(&self, flow: FlowId) -> Result<FlowRow> {
        self.lock().flow_row(flow).ok_or_else(|| decide::missing("journal flow", format!("flow {flow}")))
    }

    async fn version(&self, version: VersionId) -> Result<VersionRow> {
        let state = self.lock();
        let row = state.versions.get(&version).cloned();
        row.ok_or_else(|| decide::missing("journal version", format!("version {version}")))
    }

    async fn versions(&self, flow: FlowId, before: Option<VersionId>, limit: usize) -> Result<Vec<VersionInfo>> {
        let state = self.lock();
        let of_flow = state.versions.values().rev().filter(|row| row.flow == flow);
        let older = of_flow.filter(|row| before.is_none_or(|before| row.id < before)).take(limit);
        let info =
            |row: &VersionRow| VersionInfo { id: row.id, hash: row.hash.clone(), at: row.at, actor: row.actor.clone() };
        Ok(older.map(info).collect())
    }

    async fn drafts(&self, space: SpaceId) -> Result<Vec<DraftRow>> {
        let state = self.lock();
        let of_space = state.drafts.iter().filter(|((s, _), _)| *s == space);
        Ok(of_space.map(|(_, (row, _))| row.clone()).collect())
    }

    async fn draft(&self, space: SpaceId, slug: &str) -> Result<Option<(DraftRow, Bytes)>> {
        Ok(self.lock().drafts.get(&(space, slug.to_owned())).cloned())
    }

    async fn change_draft(&self, change: DraftChange) -> Result<DraftChanged> {
        let mut state = self.lock();
        let key = (change.space, change.slug.clone());
        let present = state.drafts.get(&key).map(|(row, _)| row.clone());
        match decide::draft_change(present.as_ref().map(|row| row.etag), &change) {
            DraftDecision::Refuse => return Ok(DraftChanged::Otherwise(present)),
            DraftDecision::IsDone => return Ok(DraftChanged::Done(present)),
            DraftDecision::Change => {}
        }
        Ok(DraftChanged::Done(match change.row() {
            Some((row, body)) => {
                state.drafts.insert(key, (row.clone(), body));
                Some(row)
            }
            None => {
                state.drafts.remove(&key);
                None
            }
        }))
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
        let missing = |n: u32| decide::missing("journal contexts", format!("context {n}"));
        numbers.into_iter().map(|n| find(n).ok_or_else(|| missing(n))).collect()
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

    async fn affirm(&self, source: SourceId, arrivals: Vec<(Arrival, FileStat)>) -> Result<()> {
        let mut state = self.lock();
        let identity = state.sources.get((source.0 as usize).wrapping_sub(1)).map(|(_, identity)| identity.clone());
        for (arrival, stat) in arrivals {
            let row = state.arrivals.get_mut(&arrival).filter(|row| Some(&row.source) == identity.as_ref());
            let Some(row) = row.filter(|row| row.stat.is_some()) else { continue };
            row.stat = Some(stat);
            let path = row.path.clone();
            if let Some(known) = state.paths.get_mut(&(source, path)).filter(|known| known.latest == arrival) {
                known.stat = stat;
            }
        }
        Ok(())
    }

    async fn releasing(&self, source: SourceId, releases: Vec<Vec<u8>>) -> Result<Vec<bool>> {
        let state = self.lock();
        Ok(releases.iter().map(|release| state.pending(source).any(|pending| pending == release)).collect())
    }

    async fn pending_releases(&self, source: SourceId, limit: usize) -> Result<Vec<Vec<u8>>> {
        let state = self.lock();
        Ok(state.pending(source).take(limit).map(|release| release.to_vec()).collect())
    }

    async fn retry_releases(&self, source: SourceId, now: i64) -> Result<u64> {
        let mut state = self.lock();
        let waits = |stored: &StoredIntent| stored.source == Some(source) && stored.lease.is_none() && stored.due > now;
        let mut changed = 0;
        for stored in state.intents.values_mut().filter(|stored| waits(stored)) {
            stored.due = now;
            changed += 1;
        }
        Ok(changed)
    }

    async fn open_run(&self, flow: FlowId, version: VersionId, mode: RunMode, trigger: &str, at: i64) -> Result<RunId> {
        let mut state = self.lock();
        let run = state.new_run((flow, version), mode, trigger, true, at)?;
        state.runs.entry(run).and_modify(|run| run.flush = true);
        Ok(run)
    }

    async fn close_run(&self, run: RunId, at: i64) -> Result<bool> {
        let mut state = self.lock();
        let fed = state.reprocesses.get(&run).is_some_and(|reprocess| reprocess.state == ReprocessState::Feeding);
        let known = state.runs.get_mut(&run);
        known.ok_or_else(|| decide::missing("journal close run", format!("run {run}")))?.open &= fed;
        Ok(state.outstanding(run, 0, at))
    }

    async fn ingest(&self, ingest: Ingest) -> Result<Ingested> {
        self.lock().ingest(&ingest)
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>> {
        let mut state = self.lock();
        if !state.live(request.lease) {
            return Err(decide::taken_over("journal claim"));
        }
        let state = &mut *state;
        let mut queues: BTreeMap<FlowId, decide::Queue<TaskId>> = BTreeMap::new();
        for (order, id) in &state.queue {
            let Some(task) = state.tasks.get(id) else { continue };
            let queue = queues
                .entry(task.origin.flow)
                .or_insert_with(|| decide::Queue { busy: 0, ready: std::collections::VecDeque::new() });
            let due = task.task.due.is_none_or(|due| due <= request.now);
            let wanted = request.run.is_none_or(|run| run == task.origin.run);
            if task.lease.is_some() {
                queue.busy += usize::from(request.run.is_none());
            } else if due && wanted && (task.task.lost > 0) == request.suspects {
                queue.ready.push_back((*order as i64, *id));
            }
        }
        let queues = queues.into_values().filter(|queue| !request.idle || queue.busy == 0);
        let mut out = Vec::new();
        for id in decide::fair(queues.collect(), request.limit) {
            let Some(task) = state.tasks.get_mut(&id) else { continue };
            task.lease = Some(request.lease);
            task.attempts += 1;
            out.push(Claimed {
                task: task.task.clone(),
                flow: task.origin.flow,
                version: task.origin.version,
                run: task.origin.run,
                mode: state.runs.get(&task.origin.run).map_or(RunMode::Live, |run| run.row.mode),
                attempt: task.attempts,
            });
        }
        Ok(out)
    }

    async fn unclaim(&self, lease: Lease, tasks: Vec<TaskId>) -> Result<()> {
        let mut state = self.lock();
        for id in tasks {
            if let Some(task) = state.tasks.get_mut(&id).filter(|task| task.lease == Some(lease)) {
                task.lease = None;
                task.attempts -= 1;
            }
        }
        Ok(())
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Result<Vec<Settled>> {
        let mut state = self.lock();
        // One transaction: a settlement that can't be applied takes none of the others with it.
        let mut ended = HashSet::new();
        let applied = batch.iter().filter(|settlement| state.holds(settlement) && ended.insert(settlement.task));
        state.all_new(applied.flat_map(|settlement| &settlement.tasks))?;
        Ok(batch.into_iter().map(|settlement| state.settle(settlement)).collect())
    }

    async fn group(&self, flow: FlowId, group: PathHash) -> Result<Option<GroupRow>> {
        Ok(self.lock().groups.get(&(flow, group)).map(|group| group.row.clone()))
    }

    async fn held(&self, flow: FlowId, group: PathHash, after: Option<HeldKey>, limit: usize) -> Result<Vec<HeldRow>> {
        let state = self.lock();
        let Some(group) = state.groups.get(&(flow, group)) else { return Ok(Vec::new()) };
        let behind = group.rows.iter().filter(|(at, _)| after.is_none_or(|after| **at > after));
        Ok(behind.take(limit).map(|(key, row)| HeldRow { row: *key, items: row.items.clone() }).collect())
    }

    async fn watermark(&self, flow: FlowId, processors: Vec<Arc<str>>) -> Result<Arrival> {
        Ok(self.lock().watermark(flow, &processors))
    }

    async fn claim_intents(&self, lease: Lease, now: i64, limit: usize) -> Result<Vec<Intent>> {
        let mut state = self.lock();
        if !state.live(lease) {
            return Err(decide::taken_over("journal claim intents"));
        }
        Ok(state.claim_intents(lease, now, limit))
    }

    async fn finish(&self, batch: Vec<Finished>) -> Result<bool> {
        let mut state = self.lock();
        let mut work = false;
        for done in batch {
            work |= state.finish(done);
        }
        Ok(work)
    }

    async fn clock_set_back(&self, back: SetBack) -> Result<u64> {
        let mut state = self.lock();
        let mut changed = 0;
        let mut correct = |due: &mut i64| {
            if *due > 0 && *due >= back.from {
                *due = back.correct(*due);
                changed += 1;
            }
        };
        state.tasks.values_mut().filter_map(|task| task.task.due.as_mut()).for_each(&mut correct);
        state.intents.values_mut().for_each(|stored| correct(&mut stored.due));
        for group in state.groups.values_mut().filter(|group| group.row.items > 0) {
            group.row.changed = back.correct(group.row.changed);
        }
        Ok(changed)
    }

    async fn backlog(&self, flow: Option<FlowId>) -> Result<Backlog> {
        let state = self.lock();
        let tasks = || state.tasks.values().filter(|task| flow.is_none_or(|f| f == task.origin.flow));
        let intents = state.intents.values().filter(|stored| flow.is_none_or(|f| f == stored.intent.flow));
        let waiting =
            tasks().filter(|task| task.lease.is_none()).filter_map(|task| task.task.due).filter(|due| *due > 0);
        Ok(Backlog {
            items: tasks().map(|task| task.task.count()).sum(),
            intents: intents.count() as u64,
            due: waiting.chain(state.intents_due(flow)).min(),
        })
    }

    async fn abandon(&self, flow: FlowId, limit: usize, _actor: &str, at: i64) -> Result<u64> {
        Ok(self.lock().abandon(flow, limit, at))
    }

    async fn dead_groups(&self, filter: Filter) -> Result<Page<DeadGroup>> {
        let state = self.lock();
        let mut open: Vec<_> = state.dead.values().filter(|letter| letter.row.state == DeadState::Open).collect();
        open.sort_by_key(|letter| letter.order);
        let mut groups: BTreeMap<PathHash, DeadGroup> = BTreeMap::new();
        for DeadRow { id, flow, flow_id, at, fault, failed, .. } in open.into_iter().map(|letter| &letter.row) {
            let Same { group, code, message } = group_of(*flow_id, &at.processor, fault);
            let (flow, processor) = (flow.clone(), at.processor.to_string());
            let new =
                DeadGroup { group, flow, processor, code, message, count: 0, first: *failed, last: 0, sample: *id };
            let known = groups.entry(group).or_insert(new);
            (known.count, known.last, known.sample) = (known.count + 1, *failed, *id);
        }
        groups_page(groups.into_values().collect(), &filter)
    }

    async fn dead_letters(&self, filter: Filter) -> Result<Page<DeadRow>> {
        let before = number_cursor(&filter, "journal dead letters")?;
        let words = words(filter.text.as_deref());
        let state = self.lock();
        let meant = |row: &DeadRow| {
            (filter.ended || row.state == DeadState::Open)
                && matches(&filter, &row.flow, row.run, &row.item.name)
                && filter.id.as_ref().is_none_or(|id| decide::id_matches(id, row.id))
                && filter.group.is_none_or(|group| group == group_of(row.flow_id, &row.at.processor, &row.fault).group)
                && has_words(&words, row)
        };
        let rows = state.dead.values().filter(|letter| letter.order < before && meant(&letter.row));
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by_key(|letter| std::cmp::Reverse(letter.order));
        Ok(page(rows.into_iter().map(|letter| (letter.order, letter.row.clone())), &filter, u64::to_string))
    }

    async fn dead_held(&self) -> Result<DeadHeld> {
        let state = self.lock();
        let open = state.dead.values().filter(|letter| letter.row.state == DeadState::Open);
        Ok(open.fold(DeadHeld::default(), |held, letter| DeadHeld {
            letters: held.letters + 1,
            bytes: held.bytes + letter.row.item.content.size,
        }))
    }

    async fn reenter(&self, reentry: Reentry) -> Result<(RunId, u64)> {
        self.lock().reenter(&reentry)
    }

    async fn begin_reprocess(&self, new: NewReprocess) -> Result<Reprocess> {
        self.lock().begin_reprocess(new)
    }

    async fn reprocess(&self, run: RunId) -> Result<Reprocess> {
        let found = self.lock().reprocesses.get(&run).cloned();
        found.ok_or_else(|| decide::no_reprocess(run))
    }

    async fn reprocesses(&self) -> Result<Vec<Reprocess>> {
        let state = self.lock();
        let open = state.reprocesses.values().filter(|one| one.state == ReprocessState::Feeding);
        Ok(open.cloned().collect())
    }

    async fn historic(
        &self,
        flow: FlowId,
        selection: Selection,
        after: Arrival,
        upto: Arrival,
        limit: usize,
    ) -> Result<HistoricPage> {
        self.lock().historic(flow, &selection, after, upto, limit)
    }

    async fn feed(&self, feed: Feed) -> Result<bool> {
        self.lock().feed(feed)
    }

    async fn stop_reprocess(&self, run: RunId, _actor: &str, at: i64) -> Result<bool> {
        self.lock().stop_reprocess(run, at)
    }

    async fn repeats(&self, flow: FlowId, group: PathHash, items: Vec<ItemId>) -> Result<Vec<Option<ContentHash>>> {
        Ok(self.lock().repeats(flow, group, &items))
    }

    async fn memos(&self, keys: Vec<(Arrival, MemoKey)>) -> Result<Vec<Option<Memo>>> {
        Ok(self.lock().memos(&keys))
    }

    async fn forget_memos(&self, limit: MemoLimit, most: usize) -> Result<u64> {
        Ok(self.lock().forget_memos(limit, most))
    }

    async fn discard(&self, letters: Vec<TaskId>, reason: &str, actor: &str, at: i64) -> Result<u64> {
        Ok(self.lock().discard(letters, reason, actor, at))
    }

    async fn runs(&self, filter: Filter) -> Result<Page<RunRow>> {
        let before = number_cursor(&filter, "journal runs")?;
        let state = self.lock();
        let runs = state.runs.values().rev().map(|run| &run.row);
        let runs = runs.filter(|row| row.id.0 < before && decide::run_is_meant(&filter, row));
        let rows = runs.map(|row| (row.id.0, RunRow { processors: BTreeMap::new(), ..row.clone() }));
        Ok(page(rows, &filter, u64::to_string))
    }

    async fn run(&self, run: RunId) -> Result<RunRow> {
        let state = self.lock();
        state
            .runs
            .get(&run)
            .map(|run| run.row.clone())
            .ok_or_else(|| decide::missing("journal run", format!("run {run}")))
    }

    async fn collections(&self, space: SpaceId) -> Result<Vec<CollectionRow>> {
        let state = self.lock();
        let mut rows: BTreeMap<String, CollectionRow> = BTreeMap::new();
        for slot in state.revisions.values() {
            let mut first = true;
            for revision in slot.values().filter(|revision| revision.space == space) {
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
                if revision.row.gone.is_none() {
                    row.bytes += revision.row.item.content.size;
                }
                row.changed = row.changed.max(revision.row.at);
            }
        }
        Ok(rows.into_values().collect())
    }

    async fn datasets(&self, filter: Filter) -> Result<Page<RevisionRow>> {
        let after =
            filter.after.as_deref().map(|at| decide::slot_at(at).ok_or_else(|| decide::bad_cursor("journal datasets")));
        let after = after.transpose()?;
        let state = self.lock();
        let slots = state.revisions.keys().filter(|slot| after.is_none_or(|after| **slot > after));
        let newest = slots.filter_map(|slot| numbered(&state, *slot).pop());
        let meant = newest.filter(|row| {
            matches(&filter, &row.flow, row.run, &row.item.name)
                && filter.collection.as_ref().is_none_or(|c| *c == row.collection)
                && filter.id.as_ref().is_none_or(|id| id.arrival == row.slot.origin && id.matches(row.slot.hash))
        });
        Ok(page(meant.map(|row| (row.slot, row)), &filter, |slot| decide::slot_cursor(*slot)))
    }

    async fn search(&self, search: Search) -> Result<Found> {
        let state = self.lock();
        search::page_of(&search, state.revisions.keys().filter_map(|slot| numbered(&state, *slot).pop()))
    }

    async fn revisions(&self, slot: SlotId) -> Result<Vec<RevisionRow>> {
        Ok(numbered(&self.lock(), slot))
    }

    async fn arrival(&self, arrival: Arrival) -> Result<ArrivalRow> {
        let state = self.lock();
        let row = state.arrival_row(arrival);
        row.ok_or_else(|| decide::missing("journal arrival", format!("arrival {}", arrival.0)))
    }

    async fn mark(&self) -> Result<JournalMark> {
        Ok(JournalMark { journal: "memory".to_owned(), seq: Seq(self.lock().last.seq) })
    }

    async fn roots(&self, to: mpsc::Sender<Vec<Named>>) -> Result<()> {
        let named = self.lock().roots();
        let left = || Error::new(ErrorKind::Unavailable, "journal roots", "whoever asked has left");
        to.send(named).await.map_err(|_| left())
    }

    async fn content_of(&self, arrival: Arrival, hash: ContentHash) -> Result<Vec<ContentRef>> {
        Ok(self.lock().content_of(arrival, hash))
    }

    async fn find_version(&self, space: SpaceId, slug: &str, hash: &str) -> Result<Option<VersionId>> {
        let state = self.lock();
        let of = |flow: FlowId| state.flows.get(&flow).is_some_and(|row| row.space == space && row.slug == slug);
        Ok(state.versions.values().rev().find(|row| row.hash == hash && of(row.flow)).map(|row| row.id))
    }

    async fn let_go(&self, part: LetGoPart) -> Result<LetGone> {
        self.lock().let_go(part)
    }

    async fn lineage(&self, seq: Seq, item: ItemId) -> Result<Vec<HistoryRow>> {
        Ok(self.lock().lineage(seq, item))
    }

    async fn traces(&self, prefix: IdPrefix, most: usize) -> Result<Vec<HistoryRow>> {
        Ok(self.lock().traces(prefix, most))
    }

    async fn latest(&self, after: Seq, entries: usize) -> Result<Vec<HistoryRow>> {
        let state = self.lock();
        let newest = state.history.iter().rev().map(|(row, _)| row).take_while(|row| row.seq > after);
        let mut had = 0;
        let enough = |row: &&HistoryRow| {
            let before = had;
            had += decide::last_entries(&row.steps);
            before < entries
        };
        Ok(newest.take_while(enough).cloned().collect())
    }

    async fn waiting(&self, flow: FlowId, most: usize) -> Result<Vec<(Arc<str>, u64)>> {
        let state = self.lock();
        let tasks = state.tasks.values().filter(|task| task.origin.flow == flow && task.lease.is_none());
        let mut waiting = BTreeMap::new();
        for task in tasks.take(most) {
            *waiting.entry(Arc::clone(&task.task.to.processor)).or_default() += task.task.count();
        }
        Ok(waiting.into_iter().collect())
    }

    async fn records(&self, whose: Records, after: Option<Seq>, most: usize) -> Result<RecordsPage> {
        let state = self.lock();
        match whose {
            Records::OfRun(run) if !state.runs.contains_key(&run) => {
                Err(decide::missing("journal records", format!("run {run}")))
            }
            _ => Ok(state.records(whose, after, most)),
        }
    }

    async fn history(&self, arrival: Arrival) -> Result<Vec<HistoryRow>> {
        let state = self.lock();
        Ok(state.concerning(arrival))
    }
}
