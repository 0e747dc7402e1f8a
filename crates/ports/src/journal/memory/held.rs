//! What aggregates hold, in memory: groups, the looks at them, and their closing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use opendmp_model::ids::{Arrival, ItemId, PathHash, TaskId};
use opendmp_model::item::{Item, Order};
use opendmp_model::manifest::Load;

use super::state::{Origin, State};
use crate::journal::decide;
use crate::journal::types::*;

/// Where items that were held were made.
pub(super) type Makers = HashMap<ItemId, Option<Seq>>;

/// A group, and what is in it.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub row: GroupRow,
    /// The version of those who added last.
    version: VersionId,
    /// The run of those who added last.
    run: RunId,
    /// How many looks there were.
    looks: u32,
    /// The look that is queued or under way.
    looking: Option<TaskId>,
    pub rows: BTreeMap<HeldKey, Row>,
    /// What each closing took.
    pub joined: Vec<Vec<Item>>,
}

/// Items that a settlement added.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub items: Vec<Item>,
    /// The record in which they were made, or one behind that.
    pub made: Option<Seq>,
}

impl State {
    /// Adds to a group. Answers how much work that makes.
    pub(super) fn hold(&mut self, new: NewHeld, origin: Origin, at: i64, made: Option<Seq>) -> u64 {
        let key = (origin.flow, new.group);
        let group = self.groups.entry(key).or_insert_with(|| Group {
            row: GroupRow {
                group: new.group,
                to: new.to.clone(),
                rule: new.rule,
                items: 0,
                bytes: 0,
                changed: at,
                generation: 0,
                flush: false,
            },
            version: origin.version,
            run: origin.run,
            looks: 0,
            looking: None,
            rows: BTreeMap::new(),
            joined: Vec::new(),
        });
        group.row.items += new.items.len() as u64;
        group.row.bytes += new.items.iter().map(|item| item.content.size).sum::<u64>();
        group.row.changed = at;
        (group.version, group.run) = (origin.version, origin.run);
        self.last.task += 1;
        let row = self.last.task;
        let items = new.items.len() as i64;
        if let Some(first) = new.items.first() {
            group.rows.insert((Order::of(first), row), Row { items: new.items, made });
        }
        self.count_held(origin.flow, items);
        self.arm(key, origin.run, 0)
    }

    /// Ends a look. Answers how much work follows, and where what was taken was made.
    pub(super) fn looked(&mut self, group: PathHash, closing: Option<Closing>, origin: Origin) -> (u64, Makers) {
        let key = (origin.flow, group);
        let mut makers = Makers::new();
        let Some(held) = self.groups.get_mut(&key) else { return (0, makers) };
        held.looking = None;
        let mut again = 0;
        let mut taken: Vec<Item> = Vec::new();
        if let Some(closing) = closing {
            again = closing.again;
            for row in closing.whole {
                let Some(row) = held.rows.remove(&row) else { continue };
                makers.extend(row.items.iter().map(|item| (item.id, row.made)));
                taken.extend(row.items);
            }
            for part in closing.parts {
                let made = held.rows.remove(&part.row).and_then(|row| row.made);
                if let Some(first) = part.rest.first() {
                    held.rows.insert((Order::of(first), part.row.1), Row { items: part.rest, made });
                }
                makers.extend(part.taken.iter().map(|item| (item.id, made)));
                taken.extend(part.taken);
            }
        }
        let count = taken.len() as i64;
        if count > 0 {
            held.row.generation += 1;
            held.row.items -= taken.len() as u64;
            held.row.bytes -= taken.iter().map(|item| item.content.size).sum::<u64>();
            taken.sort_by_key(Order::of);
            held.joined.push(taken);
        }
        if held.row.items == 0 {
            held.row.flush = false;
        }
        self.count_held(origin.flow, -count);
        (self.arm(key, origin.run, again), makers)
    }

    /// Sees to it that a group is looked at when it may have to be closed. Answers how much work that makes.
    fn arm(&mut self, key: (FlowId, PathHash), run: RunId, again: i64) -> u64 {
        let Some(group) = self.groups.get_mut(&key) else { return 0 };
        let Some(due) = decide::look_due(&group.row) else { return 0 };
        let due = due.max(again);
        if let Some(task) = group.looking.and_then(|id| self.tasks.get_mut(&id)) {
            if task.lease.is_none() && task.task.due.unwrap_or(0) > due {
                task.task.due = (due > 0).then_some(due);
            }
            return 0;
        }
        group.looks += 1;
        let task = decide::look(key.0, key.1, &group.row.to, group.looks, due);
        group.looking = Some(task.id);
        let origin = Origin { flow: key.0, version: group.version, run };
        self.enqueue(vec![task], origin, None)
    }

    /// Everything in these groups is to be closed, in this run. Answers how much work that makes.
    fn flush_groups(&mut self, run: RunId, meant: impl Fn(&(FlowId, PathHash), &Group) -> bool) -> u64 {
        let groups = self.groups.iter().filter(|(key, group)| group.row.items > 0 && meant(key, group));
        let keys: Vec<_> = groups.map(|(key, _)| *key).collect();
        let mut work = 0;
        for key in keys {
            if let Some(group) = self.groups.get_mut(&key) {
                group.row.flush = true;
            }
            work += self.arm(key, run, 0);
        }
        work
    }

    /// A run has nothing left to do: groups that end with it are closed. Answers how much work that makes.
    pub(super) fn run_over(&mut self, run: RunId, of: FlowId, all: bool) -> u64 {
        self.flush_groups(run, |key, group| key.0 == of && group.run == run && (all || group.row.rule.end_of_run))
    }

    /// A flow is deleted: what it holds is closed, in a run of its own.
    pub(super) fn flush_flow(&mut self, flow: FlowId, at: i64) {
        let Some(row) = self.flows.get(&flow).filter(|row| row.held > 0) else { return };
        let version = row.version;
        let Ok(run) = self.new_run((flow, version), RunMode::Live, decide::FLUSH_TRIGGER, false, at) else { return };
        let work = self.flush_groups(run, |key, _| key.0 == flow);
        self.outstanding(run, work as i64, at);
    }

    /// Turns what a flow holds into dead letters, but for groups that somebody looks at now. Answers how many items.
    pub(super) fn abandon_held(&mut self, flow: FlowId, limit: usize, at: i64) -> u64 {
        let mut items = 0;
        let keys: Vec<_> = self.groups.keys().filter(|key| key.0 == flow).copied().collect();
        for key in keys {
            while items < limit as u64 {
                let looking = self.groups.get(&key).and_then(|group| self.tasks.get(&group.looking?));
                if looking.is_some_and(|task| task.lease.is_some()) {
                    break;
                }
                let Some(group) = self.groups.get_mut(&key) else { break };
                let Some((_, row)) = group.rows.pop_first() else { break };
                let Row { items: row, made } = row;
                group.row.items -= row.len() as u64;
                group.row.bytes -= row.iter().map(|item| item.content.size).sum::<u64>();
                let (to, origin) = (group.row.to.clone(), Origin { flow, version: group.version, run: group.run });
                items += row.len() as u64;
                self.count_held(flow, -(row.len() as i64));
                for item in row {
                    self.add_dead(decide::abandoned(&to, item, 0), origin, at, None, made);
                }
                self.outstanding(origin.run, 0, at);
            }
        }
        items
    }

    /// A look that nobody has claimed is over.
    pub(super) fn unlook(&mut self, flow: FlowId, load: &Load) {
        if let Load::Look(group) = load
            && let Some(group) = self.groups.get_mut(&(flow, *group))
        {
            group.looking = None;
        }
    }

    pub(super) fn watermark(&self, flow: FlowId, processors: &[Arc<str>]) -> Arrival {
        let of_flow = self.tasks.values().filter(|task| task.origin.flow == flow);
        let upstream = of_flow.filter(|task| processors.contains(&task.task.to.processor));
        let least = upstream.filter(|task| !matches!(task.task.load, Load::Look(_))).map(|task| task.task.id.arrival);
        least.min().unwrap_or(Arrival(self.last.arrival + 1))
    }

    /// See [`super::Snapshot::held`].
    pub(super) fn held(&self) -> Vec<(FlowId, Arc<str>, Item)> {
        let of = |((flow, _), group): (&(FlowId, PathHash), &Group)| {
            let (flow, processor) = (*flow, Arc::clone(&group.row.to.processor));
            let items: Vec<Item> = group.rows.values().flat_map(|row| &row.items).cloned().collect();
            items.into_iter().map(move |item| (flow, Arc::clone(&processor), item))
        };
        self.groups.iter().flat_map(of).collect()
    }

    /// See [`super::Snapshot::joined`].
    pub(super) fn joined(&self) -> Vec<(FlowId, Arc<str>, Vec<Item>)> {
        let of = |((flow, _), group): (&(FlowId, PathHash), &Group)| {
            let (flow, processor) = (*flow, Arc::clone(&group.row.to.processor));
            let joined = group.joined.clone();
            joined.into_iter().map(move |items| (flow, Arc::clone(&processor), items))
        };
        self.groups.iter().flat_map(of).collect()
    }

    fn count_held(&mut self, flow: FlowId, change: i64) {
        if let Some(flow) = self.flows.get_mut(&flow) {
            flow.held = flow.held.saturating_add_signed(change);
        }
    }
}
