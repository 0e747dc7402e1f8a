//! What the journal in memory keeps, and the counting of work in and out of runs and flows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use opendmp_model::history::{Context, StepRecord};
use opendmp_model::ids::{Arrival, ContentHash, IdPrefix, ItemId, Pass, PathHash, SlotId, TaskId};
use opendmp_model::item::ContentRef;
use opendmp_model::ledger::Known;
use opendmp_model::manifest::Load;

use super::again::{Beside, StoredMemo};
use super::held::Group;
use crate::Result;
use crate::journal::again::{MemoKey, Reprocess};
use crate::journal::decide;
use crate::journal::draft::DraftRow;
use crate::journal::types::*;

/// Everything.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub leases: BTreeMap<Lease, bool>,
    pub flows: BTreeMap<FlowId, FlowRow>,
    pub versions: BTreeMap<VersionId, VersionRow>,
    pub drafts: BTreeMap<(SpaceId, String), (DraftRow, Bytes)>,
    pub contexts: Vec<Context>,
    pub sources: Vec<(SpaceId, String)>,
    pub arrivals: BTreeMap<Arrival, ArrivalRow>,
    pub paths: BTreeMap<(SourceId, Vec<u8>), Known>,
    pub runs: BTreeMap<RunId, Run>,
    pub tasks: BTreeMap<TaskId, Task>,
    /// Tasks in the order they entered.
    pub queue: BTreeMap<u64, TaskId>,
    pub revisions: BTreeMap<SlotId, BTreeMap<(Arrival, Pass), Revision>>,
    pub intents: BTreeMap<IntentId, StoredIntent>,
    pub targets: BTreeMap<Place, Target>,
    pub dead: BTreeMap<TaskId, Letter>,
    pub groups: BTreeMap<(FlowId, PathHash), Group>,
    /// In commit order, with where each began.
    pub history: Vec<(HistoryRow, decide::Made)>,
    /// The run of each record.
    pub recorded: BTreeMap<Seq, RunId>,
    /// What people put in place of the content of items, with their arrivals.
    pub edits: Vec<(Arrival, ContentRef)>,
    pub reprocesses: BTreeMap<RunId, Reprocess>,
    /// In the order in which they were remembered.
    pub memos: BTreeMap<u64, StoredMemo>,
    pub memo_keys: BTreeMap<(Arrival, MemoKey), u64>,
    /// What the ledger keeps of an arrival besides its row: its source, origin and media type; and whether the
    /// ledger knows of it.
    pub beside: BTreeMap<Arrival, Beside>,
    /// By flow: the time before which history was let go.
    pub forgot: BTreeMap<FlowId, i64>,
    pub last: Last,
}

/// The numbers given last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Last {
    pub lease: u64,
    pub flow: u32,
    pub version: u32,
    pub run: u64,
    pub arrival: u64,
    pub pass: u32,
    pub task: u64,
    pub intent: u64,
    pub letter: u64,
    pub memo: u64,
    pub seq: u64,
}

/// A destination and a name in it.
pub(super) type Place = (Arc<str>, Vec<u8>);

#[derive(Clone, Debug)]
pub(super) struct Run {
    pub row: RunRow,
    pub flow: FlowId,
    pub open: bool,
    /// At its end all is closed that its items were added to.
    pub flush: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Task {
    pub order: u64,
    pub task: NewTask,
    pub origin: Origin,
    pub attempts: u32,
    pub lease: Option<Lease>,
    /// The record in which its items were made.
    pub made: Option<Seq>,
}

/// Whose work it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub flow: FlowId,
    pub version: VersionId,
    pub run: RunId,
}

#[derive(Clone, Debug)]
pub(super) struct Revision {
    pub row: RevisionRow,
    pub space: SpaceId,
    /// The newest arrival and pass that came to the same: what the revision is as new as.
    pub latest: (Arrival, Pass),
    /// When it came out the same last; when it was committed, where it never did.
    pub touched: i64,
}

#[derive(Clone, Debug)]
pub(super) struct StoredIntent {
    pub intent: Intent,
    /// Of a release.
    pub source: Option<SourceId>,
    /// Of an export.
    pub target: Option<Place>,
    /// Number of the target's name, for a foreign file in the way.
    pub number: u32,
    pub due: i64,
    pub lease: Option<Lease>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Target {
    /// See [`decide::TargetState::owner`].
    pub owner: Option<SlotId>,
    /// What the owner wrote there last.
    pub written: Option<(Arrival, Pass, ContentHash)>,
    /// See [`decide::TargetState::numbers`].
    pub numbers: u32,
    /// Of a numbered name: the wanted one, and the number.
    pub of: Option<(Vec<u8>, u32)>,
}

#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub order: u64,
    pub row: DeadRow,
    pub export: Option<ExportAction>,
    /// The record in which its item was made, or one behind that.
    pub made: Option<Seq>,
}

pub(super) fn next(number: &mut u64) -> u64 {
    *number += 1;
    *number
}

impl State {
    /// Every reference to content that somebody may still follow.
    pub fn roots(&self) -> Vec<Named> {
        let tasks = self.tasks.values().flat_map(|task| task.task.items.iter().map(|item| item.content));
        let manifests = self.tasks.values().filter_map(|task| match task.task.load {
            Load::Expand(manifest) => Some(Named::Manifest(manifest)),
            Load::Items | Load::Look(_) => None,
        });
        let held = self
            .groups
            .values()
            .flat_map(|group| group.rows.values().flat_map(|row| &row.items).map(|item| item.content));
        let kept = self.revisions.values().flat_map(|slot| slot.values()).filter(|r| r.row.gone.is_none());
        let revisions = kept.map(|r| r.row.item.content);
        let open = self.dead.values().filter(|letter| letter.row.state == DeadState::Open);
        let letters = open.map(|letter| letter.row.item.content);
        let intents = self.intents.values().filter_map(|stored| match &stored.intent.action {
            Action::Export(export) => Some(export.item.content),
            Action::Release { .. } => None,
        });
        let arrivals = self.arrivals.values().filter(|a| a.gone.is_none()).map(|arrival| arrival.content);
        let stays = |of: &Arrival| self.arrivals.get(of).is_some_and(|arrival| arrival.gone.is_none());
        let edits = self.edits.iter().filter(|(of, _)| stays(of)).map(|(_, content)| *content);
        let all = tasks.chain(held).chain(revisions).chain(letters).chain(intents).chain(arrivals).chain(edits);
        all.map(Named::Content).chain(manifests).collect()
    }

    pub(super) fn live(&self, lease: Lease) -> bool {
        self.leases.get(&lease).copied().unwrap_or(false)
    }

    /// A flow as it is told: with what is counted when it is asked for.
    pub(super) fn flow_row(&self, flow: FlowId) -> Option<FlowRow> {
        let open = self.runs.values().filter(|run| run.flow == flow && run.row.finished.is_none());
        let unfinished_since = open.map(|run| run.row.started).next();
        let mut newest = self.runs.values().rev().filter(|run| run.flow == flow && run.row.arrivals > 0);
        let last_run = newest.next().map(|run| run.row.started);
        let row = self.flows.get(&flow)?;
        let of_name = self.flows.values().filter(|other| (other.space, &other.slug) == (row.space, &row.slug));
        let dead_letters = of_name.map(|other| other.dead_letters).sum();
        Some(FlowRow { unfinished_since, last_run, dead_letters, ..row.clone() })
    }

    pub(super) fn next_arrival(&mut self) -> Arrival {
        Arrival(next(&mut self.last.arrival))
    }

    pub(super) fn next_intent(&mut self) -> IntentId {
        IntentId(next(&mut self.last.intent))
    }

    pub(super) fn next_letter(&mut self) -> u64 {
        next(&mut self.last.letter)
    }

    pub(super) fn next_seq(&mut self) -> Seq {
        Seq(next(&mut self.last.seq))
    }

    /// Puts tasks into the queue, and counts their items, which were made in a record.
    pub(super) fn enqueue(&mut self, tasks: Vec<NewTask>, origin: Origin, made: Option<Seq>) -> u64 {
        let mut items = 0;
        for task in tasks {
            let order = next(&mut self.last.task);
            items += task.count();
            self.queue.insert(order, task.id);
            self.tasks.insert(task.id, Task { order, task, origin, attempts: 0, lease: None, made });
        }
        items
    }

    /// Errs where one of these tasks is in the queue already, or twice among them.
    pub(super) fn all_new<'a>(&self, tasks: impl Iterator<Item = &'a NewTask>) -> Result<()> {
        let mut seen = BTreeSet::new();
        for task in tasks {
            if self.tasks.contains_key(&task.id) || !seen.insert(task.id) {
                return Err(decide::task_twice(task.id));
            }
        }
        Ok(())
    }

    /// Counts work in and out of a run and its flow, and closes what has nothing left. Answers whether groups that end
    /// with the run are to be closed now.
    pub(super) fn outstanding(&mut self, run: RunId, change: i64, at: i64) -> bool {
        let Some(state) = self.runs.get_mut(&run) else { return false };
        let (flow, flush) = (state.flow, state.flush);
        let over = state.row.outstanding.saturating_add_signed(change) == 0
            && !state.open
            && state.row.state == RunState::Running;
        let closing = if over { self.run_over(run, flow, flush) } else { 0 };
        let change = change + closing as i64;
        let Some(state) = self.runs.get_mut(&run) else { return false };
        state.row.outstanding = state.row.outstanding.saturating_add_signed(change);
        if state.row.outstanding == 0 && over {
            state.row.state = RunState::Done;
            state.row.finished = Some(at);
        }
        if let Some(flow) = self.flows.get_mut(&flow) {
            flow.outstanding = flow.outstanding.saturating_add_signed(change);
            if flow.outstanding + flow.held == 0 && flow.state == FlowState::Deleting {
                flow.state = FlowState::Deleted;
            }
        }
        closing > 0
    }

    pub(super) fn new_run(
        &mut self,
        of: (FlowId, VersionId),
        mode: RunMode,
        trigger: &str,
        open: bool,
        at: i64,
    ) -> Result<RunId> {
        let (flow, version) = of;
        let flow_row = self.flows.get(&flow).ok_or_else(|| decide::missing("journal run", format!("flow {flow}")))?;
        let saved =
            self.versions.get(&version).ok_or_else(|| decide::missing("journal run", format!("version {version}")))?;
        if saved.flow != flow {
            return Err(decide::foreign_version("journal run", version, flow));
        }
        let id = RunId(next(&mut self.last.run));
        let row = RunRow {
            id,
            flow: flow_row.slug.clone(),
            version: saved.hash.clone(),
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
        self.runs.insert(id, Run { row, flow, open, flush: false });
        Ok(id)
    }

    pub(super) fn record(&mut self, seq: Seq, at: i64, actor: &str, steps: Vec<StepRecord>, made: decide::Made) {
        self.history.push((HistoryRow { seq, at, actor: actor.to_owned(), steps }, made));
    }

    pub(super) fn records(&self, whose: Records, after: Option<Seq>, most: usize) -> RecordsPage {
        let meant = |row: &&HistoryRow| {
            let run = self.recorded.get(&row.seq);
            let of = match whose {
                Records::OfRun(run_asked) => run == Some(&run_asked),
                Records::OfFlow(flow) => run.and_then(|run| self.runs.get(run)).is_some_and(|run| run.flow == flow),
            };
            of && decide::record_span(&row.steps).is_some()
        };
        let rows = self.history.iter().map(|(row, _)| row).filter(meant);
        let mut rows: Vec<HistoryRow> = match whose {
            Records::OfRun(_) => rows.filter(|row| after.is_none_or(|after| row.seq > after)).cloned().collect(),
            Records::OfFlow(_) => rows.rev().filter(|row| after.is_none_or(|after| row.seq < after)).cloned().collect(),
        };
        let more = rows.len() > most;
        rows.truncate(most);
        let next = rows.last().filter(|_| more).map(|row| row.seq);
        RecordsPage { rows, next }
    }

    /// Every settlement that concerns an arrival.
    pub(super) fn concerning(&self, arrival: Arrival) -> Vec<HistoryRow> {
        let rows = self.history.iter().map(|(row, _)| row);
        rows.filter(|row| decide::concerns(&row.steps, arrival)).cloned().collect()
    }

    pub(super) fn traces(&self, prefix: IdPrefix, most: usize) -> Vec<HistoryRow> {
        let arrival = prefix.arrival;
        let mut traces = decide::Traces::new(prefix, most);
        let _ = self.concerning(arrival).into_iter().all(|row| traces.take(row));
        traces.end()
    }

    pub(super) fn lineage(&self, seq: Seq, item: ItemId) -> Vec<HistoryRow> {
        match self.way(seq, item) {
            (lineage, Some(arrival)) => lineage.end(self.concerning(arrival)),
            (lineage, None) => lineage.end(Vec::new()),
        }
    }

    /// Goes back from record to record; and where the way got lost before it came to an arrival, of which one it is.
    fn way(&self, seq: Seq, item: ItemId) -> (decide::Lineage, Option<Arrival>) {
        let mut lineage = decide::Lineage::new(item);
        let mut next = decide::Next::Record(seq);
        loop {
            let seq = match next {
                decide::Next::Arrived => return (lineage, None),
                decide::Next::Record(seq) => Some(seq),
                decide::Next::Arrival(arrival) => self.beside.get(&arrival).map(|beside| beside.seq),
                decide::Next::Unknown(arrival) => return (lineage, Some(arrival)),
            };
            let at = seq.and_then(|seq| self.history.binary_search_by_key(&seq, |(row, _)| row.seq).ok());
            // What concerns no arrival is no record.
            let found = at.and_then(|at| self.history.get(at));
            next = match found.filter(|(row, _)| decide::record_span(&row.steps).is_some()) {
                Some((row, made)) => lineage.take(row.clone(), made),
                None => decide::Next::Unknown(item.arrival),
            };
        }
    }

    /// Revisions whose way does not lead back to an arrival.
    pub(super) fn lost_ways(&self) -> Vec<ItemId> {
        let rows = self.revisions.values().flat_map(|slot| slot.values().map(|revision| &revision.row));
        rows.filter(|row| self.way(row.seq, row.item.id).1.is_some()).map(|row| row.item.id).collect()
    }
}
