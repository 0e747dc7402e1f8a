//! Retention in memory.

use std::collections::{BTreeMap, BTreeSet};

use opendmp_model::history;
use opendmp_model::ids::{Arrival, ContentHash, SlotId};
use opendmp_model::item::ContentRef;

use super::state::State;
use crate::Result;
use crate::journal::again::ReprocessState;
use crate::journal::retain::{
    Done, KeptRevision, LetGo, LetGoPart, LetGone, RevisionRule, begins_at, ends_at, is_over, outdated,
};
use crate::journal::types::*;
use crate::journal::{MOST_NAMED, decide};

const OPERATION: &str = "journal let go";

impl State {
    /// An arrival as it is told.
    pub(super) fn arrival_row(&self, arrival: Arrival) -> Option<ArrivalRow> {
        let forgot = self.beside.get(&arrival).and_then(|beside| self.forgot.get(&beside.flow).copied());
        Some(ArrivalRow { forgot, ..self.arrivals.get(&arrival)?.clone() })
    }

    pub(super) fn content_of(&self, arrival: Arrival, hash: ContentHash) -> Vec<ContentRef> {
        let Some(row) = self.arrivals.get(&arrival) else { return Vec::new() };
        let tasks = self.tasks.values().flat_map(|task| &task.task.items);
        let held = self.groups.values().flat_map(|group| group.rows.values().flat_map(|row| &row.items));
        let dead = self.dead.values().map(|letter| &letter.row.item);
        let of_it = tasks.chain(held).chain(dead).filter(|item| item.id.arrival == arrival).map(|item| item.content);
        let memos = self.memos.values().filter(|memo| memo.arrival == arrival).flat_map(|memo| &memo.children);
        let revisions = self.revisions.values().flat_map(|slot| slot.values());
        let same = revisions.filter(|one| one.row.slot.origin == row.origin && one.row.flow == row.flow);
        let all = [row.content].into_iter().chain(of_it).chain(memos.map(|(_, item)| item.content));
        let edits = self.edits.iter().filter(|(of, _)| *of == arrival).map(|(_, content)| *content);
        let all = all.chain(same.map(|one| one.row.item.content)).chain(edits).filter(|content| content.hash == hash);
        let unique: BTreeSet<ContentRef> = all.collect();
        unique.into_iter().take(MOST_NAMED).collect()
    }

    pub(super) fn let_go(&mut self, part: LetGoPart) -> Result<LetGone> {
        match &part.what {
            LetGo::Sources(rules) => self.let_sources_go(rules, &part),
            LetGo::History(rules) => self.let_history_go(rules, &part),
            LetGo::Revisions { space, collection, flow, processor, rule } => {
                let shelf = |slot: &SlotId| {
                    let Some(one) = self.revisions[slot].values().next() else { return false };
                    let RevisionRow { collection: on, flow: of, processor: by, .. } = &one.row;
                    one.space == *space && (on, of, by) == (collection, flow, processor)
                };
                let slots: Vec<SlotId> = self.revisions.keys().copied().filter(shelf).collect();
                self.let_revisions_go(slots, *rule, &part)
            }
        }
    }

    /// What the rules say of a flow: of itself, or of one that was saved later under its name.
    fn rule_of(&self, rules: &BTreeMap<FlowId, i64>, flow: FlowId) -> Option<i64> {
        let named = |flow: FlowId| self.flows.get(&flow).map(|row| (row.space, &row.slug));
        rules.iter().find(|(other, _)| named(**other).is_some() && named(**other) == named(flow)).map(|(_, at)| *at)
    }

    fn let_sources_go(&mut self, rules: &BTreeMap<FlowId, i64>, part: &LetGoPart) -> Result<LetGone> {
        let begin = begins_at(part.after.as_deref(), OPERATION)?;
        let (end, next) = ends_at(begin, part.limit, self.last.arrival);
        let mut gone = LetGone { next, ..LetGone::default() };
        let here: Vec<Arrival> =
            self.arrivals.keys().copied().filter(|arrival| arrival.0 > begin && arrival.0 <= end).collect();
        for arrival in here {
            let (row, flow) = (&self.arrivals[&arrival], self.beside[&arrival].flow);
            let Some(before) = self.rule_of(rules, flow) else { continue };
            if row.gone.is_some() || !is_over(self.done(arrival, flow), before) {
                continue;
            }
            gone.count += 1;
            gone.bytes += row.content.size;
            if let Some(row) = self.arrivals.get_mut(&arrival).filter(|_| !part.dry) {
                row.gone = Some(part.at);
            }
        }
        Ok(gone)
    }

    fn done(&self, arrival: Arrival, flow: FlowId) -> Done {
        let row = &self.arrivals[&arrival];
        let finished = self.runs.get(&row.run).and_then(|run| run.row.finished);
        let of = |item: &opendmp_model::item::Item| item.id.arrival == arrival;
        let letters = || self.dead.values().filter(|letter| of(&letter.row.item));
        let exports = self.intents.values().any(|stored| match &stored.intent.action {
            Action::Export(export) => export.arrival == arrival,
            Action::Release { .. } => false,
        });
        let fed = BTreeMap::from([(flow, 0)]);
        let feeding = |one: &crate::journal::Reprocess| {
            one.state == ReprocessState::Feeding && self.rule_of(&fed, one.flow).is_some()
        };
        let busy = finished.is_none()
            || self.tasks.values().any(|task| task.task.items.iter().any(of))
            || self.groups.values().any(|group| group.rows.values().flat_map(|row| &row.items).any(of))
            || letters().any(|letter| letter.row.state == DeadState::Open)
            || exports
            || self.reprocesses.values().any(feeding);
        let spans = |steps: &[_]| decide::record_span(steps).is_some_and(|(a, b)| a <= arrival && arrival <= b);
        let steps = self.history.iter().filter(|(row, _)| spans(&row.steps)).map(|(row, _)| row.at);
        let ended = letters().map(|letter| match letter.row.state {
            DeadState::Open => letter.row.failed,
            DeadState::Retried { at, .. } | DeadState::Discarded { at, .. } => at,
        });
        let at = steps.chain(ended).chain(finished).chain([row.at]).max().unwrap_or(row.at);
        Done { busy, at, forgot: self.forgot.get(&flow).copied() }
    }

    fn let_revisions_go(&mut self, slots: Vec<SlotId>, rule: RevisionRule, part: &LetGoPart) -> Result<LetGone> {
        let after = part.after.as_deref().map(|at| decide::slot_at(at).ok_or_else(|| decide::bad_cursor(OPERATION)));
        let after = after.transpose()?;
        let (mut gone, mut looked) = (LetGone::default(), 0);
        for slot in slots.into_iter().filter(|slot| after.is_none_or(|after| *slot > after)) {
            let Some(revisions) = self.revisions.get_mut(&slot) else { continue };
            let mut all: Vec<_> = revisions.values_mut().collect();
            let kept = all.iter().map(|one| KeptRevision {
                latest: one.latest,
                at: one.touched,
                gone: one.row.gone.is_some(),
                pending: one.row.export == ExportState::Pending,
            });
            for at in outdated(&kept.collect::<Vec<_>>(), rule) {
                gone.count += 1;
                gone.bytes += all[at].row.item.content.size;
                if !part.dry {
                    all[at].row.gone = Some(part.at);
                }
            }
            looked += all.len();
            if looked >= part.limit {
                gone.next = Some(decide::slot_cursor(slot));
                break;
            }
        }
        Ok(gone)
    }

    fn let_history_go(&mut self, rules: &BTreeMap<FlowId, i64>, part: &LetGoPart) -> Result<LetGone> {
        let begin = begins_at(part.after.as_deref(), OPERATION)?;
        let (end, next) = ends_at(begin, part.limit, self.last.seq);
        let mut gone = LetGone { next, ..LetGone::default() };
        let mut outdated: BTreeMap<Seq, FlowId> = BTreeMap::new();
        for (row, _) in self.history.iter().filter(|(row, _)| row.seq.0 > begin && row.seq.0 <= end) {
            let Some(run) = self.recorded.get(&row.seq).and_then(|run| self.runs.get(run)) else { continue };
            let Some(before) = self.rule_of(rules, run.flow) else { continue };
            let Some((least, most)) = decide::record_span(&row.steps) else { continue };
            let source = |(arrival, one): (&Arrival, &ArrivalRow)| {
                let same = BTreeMap::from([(run.flow, 0)]);
                one.gone.is_none() && self.rule_of(&same, self.beside[arrival].flow).is_some()
            };
            let needed = row.actor == "source" && self.arrivals.range(least..=most).any(source);
            if row.at >= before || run.row.finished.is_none() || needed {
                continue;
            }
            gone.count += 1;
            gone.bytes += history::encode(&row.steps).len() as u64;
            outdated.insert(row.seq, run.flow);
        }
        if !part.dry {
            self.history.retain(|(row, _)| !outdated.contains_key(&row.seq));
            for flow in outdated.into_values() {
                let Some(before) = self.rule_of(rules, flow) else { continue };
                let known = BTreeMap::from([(flow, 0)]);
                let same: Vec<FlowId> =
                    self.flows.keys().copied().filter(|other| self.rule_of(&known, *other).is_some()).collect();
                for flow in same {
                    let forgot = self.forgot.entry(flow).or_insert(before);
                    *forgot = before.max(*forgot);
                }
            }
        }
        Ok(gone)
    }
}
