//! Intents and targets in memory.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use opendmp_model::export::IfExists;
use opendmp_model::fault::{Fault, Tries};
use opendmp_model::ids::{Arrival, Pass, SlotId};

use super::state::{Origin, Place, State, StoredIntent, Target};
use crate::journal::decide::{self, Reservation, TargetState};
use crate::journal::types::*;

/// The targets at one destination.
struct Targets<'a> {
    state: &'a State,
    destination: Arc<str>,
}

impl decide::Targets for Targets<'_> {
    type Error = Infallible;

    fn state(&mut self, target: &[u8]) -> Result<Option<TargetState>, Infallible> {
        let known = self.state.targets.get(&(Arc::clone(&self.destination), target.to_vec()));
        Ok(known.map(|known| TargetState { owner: known.owner, numbers: known.numbers }))
    }

    fn owned(&mut self, slot: SlotId, wanted: &[u8], from: u32) -> Result<Option<u32>, Infallible> {
        let here = self
            .state
            .targets
            .iter()
            .filter(|((destination, _), target)| *destination == self.destination && target.owner == Some(slot));
        let numbers = here.filter_map(|(_, target)| {
            let (of, number) = target.of.as_ref()?;
            (of == wanted && *number >= from).then_some(*number)
        });
        Ok(numbers.min())
    }
}

impl State {
    pub(super) fn add_release(&mut self, source: SourceId, processor: &Arc<str>, releases: Vec<Bytes>, origin: Origin) {
        let id = self.next_intent();
        let intent = Intent {
            id,
            flow: origin.flow,
            version: origin.version,
            run: origin.run,
            processor: Arc::clone(processor),
            action: Action::Release { releases },
            attempt: 0,
            tries: Tries::default(),
            unknown: false,
        };
        let stored = StoredIntent { intent, source: Some(source), target: None, number: 1, due: 0, lease: None };
        self.intents.insert(id, stored);
    }

    /// Makes the intent of an export, or what stands for it. Answers (intents, dead letters) made.
    pub(super) fn add_export(
        &mut self,
        mut action: ExportAction,
        processor: &Arc<str>,
        origin: Origin,
        at: i64,
        from: u32,
    ) -> (u64, u64) {
        let key = (action.slot, action.arrival, action.pass);
        let wanted = action.export.target.clone();
        let destination = Arc::clone(&action.export.destination);
        let mut targets = Targets { state: self, destination: Arc::clone(&destination) };
        let Ok(reservation) = decide::reserve(action.slot, &action.export, from, &mut targets);
        match reservation {
            Reservation::Take { target, number } => {
                let place: Place = (Arc::clone(&destination), target);
                let entry = self.targets.entry(place.clone()).or_default();
                if entry.owner.is_none() {
                    entry.owner = Some(action.slot);
                    entry.of = entry.of.take().or((number > 1).then(|| (wanted.clone(), number)));
                }
                if number > 1 {
                    let base = self.targets.entry((destination, wanted)).or_default();
                    base.numbers = base.numbers.max(number);
                }
                self.set_export(key, ExportState::Pending, Some(&place), None);
                let id = self.next_intent();
                action.ours = None;
                let intent = Intent {
                    id,
                    flow: origin.flow,
                    version: origin.version,
                    run: origin.run,
                    processor: Arc::clone(processor),
                    action: Action::Export(action),
                    attempt: 0,
                    tries: Tries::default(),
                    unknown: false,
                };
                let stored = StoredIntent { intent, source: None, target: Some(place), number, due: 0, lease: None };
                self.intents.insert(id, stored);
                (1, 0)
            }
            Reservation::Keep => {
                self.set_export(key, ExportState::Kept, Some(&(destination, wanted)), None);
                (0, 0)
            }
            Reservation::Refuse(fault) => {
                self.set_export(key, ExportState::Refused, Some(&(destination, wanted)), None);
                self.refused(action, fault, processor, origin, at, 1);
                (0, 1)
            }
        }
    }

    fn refused(
        &mut self,
        action: ExportAction,
        fault: Fault,
        processor: &Arc<str>,
        origin: Origin,
        at: i64,
        attempts: u32,
    ) {
        let reader = Reader { processor: Arc::clone(processor), input: 0 };
        let letter = NewDeadLetter {
            id: dead_letter_id(action.item.id, &reader),
            at: reader,
            item: action.item.clone(),
            fault,
            attempts,
            log: Vec::new(),
        };
        self.add_dead(letter, origin, at, Some(action), None);
    }

    /// Says where a revision's export stands, and where it goes.
    fn set_export(
        &mut self,
        key: (SlotId, Arrival, Pass),
        state: ExportState,
        to: Option<&Place>,
        exported: Option<i64>,
    ) {
        let row = self.revisions.get_mut(&key.0).and_then(|slot| slot.get_mut(&(key.1, key.2)));
        if let Some(revision) = row {
            revision.row.export = state;
            if let Some((destination, target)) = to {
                revision.row.target = Some((destination.to_string(), target.clone()));
            }
            revision.row.exported = exported.or(revision.row.exported);
        }
    }

    /// The end of an export is the revision's, unless the revision was sent elsewhere meanwhile.
    fn end_export(&mut self, stored: &StoredIntent, state: ExportState, exported: Option<i64>) {
        let (Action::Export(action), Some((destination, target))) = (&stored.intent.action, &stored.target) else {
            return;
        };
        let row = self.revisions.get(&action.slot).and_then(|slot| slot.get(&(action.arrival, action.pass)));
        let here = row.and_then(|revision| revision.row.target.as_ref());
        if here.is_some_and(|(d, t)| **d == **destination && t == target) {
            self.set_export((action.slot, action.arrival, action.pass), state, None, exported);
        }
    }

    /// Unclaimed intents that may be next: any release, and of the exports to one target the one that was attempted
    /// before, or else the oldest, unless one of them is claimed. In the order in which they are claimed.
    fn heads(&self) -> Vec<IntentId> {
        let claimed = self.intents.values().filter(|stored| stored.lease.is_some());
        let mut busy: BTreeSet<&Place> = claimed.filter_map(|stored| stored.target.as_ref()).collect();
        let mut order: Vec<&StoredIntent> = self.intents.values().filter(|stored| stored.lease.is_none()).collect();
        let key = |stored: &&StoredIntent| match &stored.intent.action {
            Action::Release { .. } => (Arrival(0), Pass(0), stored.intent.id),
            Action::Export(action) => (action.arrival, action.pass, stored.intent.id),
        };
        order.sort_by_key(|stored| (stored.intent.attempt == 0, key(stored)));
        order.retain(|stored| stored.target.as_ref().is_none_or(|target| busy.insert(target)));
        order.sort_by_key(key);
        order.into_iter().map(|stored| stored.intent.id).collect()
    }

    /// The earliest time for which an intent waits.
    pub(super) fn intents_due(&self, flow: Option<FlowId>) -> Option<i64> {
        let heads = self.heads();
        let stored = heads.iter().filter_map(|id| self.intents.get(id));
        stored.filter(|s| s.due > 0 && flow.is_none_or(|flow| flow == s.intent.flow)).map(|s| s.due).min()
    }

    /// The newest arrival and pass that came to what is exported.
    fn as_new_as(&self, action: &ExportAction) -> (Arrival, Pass) {
        let key = (action.arrival, action.pass);
        let row = self.revisions.get(&action.slot).and_then(|slot| slot.get(&key));
        row.map_or(key, |revision| revision.latest)
    }

    pub(super) fn claim_intents(&mut self, lease: Lease, now: i64, limit: usize) -> Vec<Intent> {
        let mut out = Vec::new();
        loop {
            let mut superseded = false;
            // No more than there is room for: behind one that is superseded another may come before all others.
            let due = |id: &IntentId| self.intents.get(id).is_some_and(|stored| stored.due <= now);
            let heads: Vec<IntentId> = self.heads().into_iter().filter(due).take(limit - out.len()).collect();
            for id in heads {
                let Some(stored) = self.intents.get(&id) else { continue };
                let target = stored.target.as_ref().and_then(|target| self.targets.get(target));
                let written = target.and_then(|target| target.written);
                if let Action::Export(action) = &stored.intent.action
                    && decide::supersedes(written.map(|(a, p, _)| (a, p)), self.as_new_as(action))
                {
                    let stored = stored.clone();
                    self.end_export(&stored, ExportState::Superseded, None);
                    self.intents.remove(&id);
                    self.outstanding(stored.intent.run, -1, now);
                    superseded = true;
                    continue;
                }
                let owner = target.and_then(|target| target.owner);
                let Some(stored) = self.intents.get_mut(&id) else { continue };
                stored.lease = Some(lease);
                stored.intent.attempt += 1;
                let mut intent = stored.intent.clone();
                if let (Action::Export(action), Some((_, name))) = (&mut intent.action, &stored.target) {
                    action.ours = written.filter(|_| owner == Some(action.slot)).map(|(_, _, hash)| hash);
                    action.export.target.clone_from(name);
                }
                out.push(intent);
            }
            if !superseded {
                return out;
            }
        }
    }

    /// Ends an attempt at an intent. Answers whether its run, which has nothing else left, has groups to be closed.
    pub(super) fn finish(&mut self, done: Finished) -> bool {
        let live = self.live(done.lease);
        let Some(stored) = self.intents.get_mut(&done.id) else { return false };
        if stored.lease != Some(done.lease) || stored.intent.attempt != done.attempt || !live {
            return false;
        }
        if let End::Retry { due, tries, .. } = done.end {
            stored.lease = None;
            stored.due = due;
            stored.intent.tries = tries;
            return false;
        }
        let Some(stored) = self.intents.remove(&done.id) else { return false };
        let intent = &stored.intent;
        let origin = Origin { flow: intent.flow, version: intent.version, run: intent.run };
        let mut exports = 0;
        if let Action::Export(action) = &intent.action {
            match done.end {
                End::Done => {
                    let (arrival, pass) = self.as_new_as(action);
                    if let Some(target) = stored.target.as_ref().and_then(|target| self.targets.get_mut(target)) {
                        target.owner = Some(action.slot);
                        target.written = Some((arrival, pass, action.item.content.hash));
                    }
                    self.end_export(&stored, ExportState::Written, Some(done.at));
                    if let Some(run) = self.runs.get_mut(&intent.run) {
                        run.row.exported += 1;
                    }
                }
                End::Occupied => {
                    self.disown(&stored, action.slot);
                    match action.export.if_exists {
                        IfExists::Version | IfExists::Overwrite => {
                            let from = stored.number.saturating_add(1);
                            (exports, _) = self.add_export(action.clone(), &intent.processor, origin, done.at, from);
                        }
                        IfExists::Keep => self.end_export(&stored, ExportState::Kept, None),
                        IfExists::Fail => {
                            self.end_export(&stored, ExportState::Refused, None);
                            let fault = decide::taken(&action.export.target);
                            self.refused(
                                action.clone(),
                                fault,
                                &intent.processor,
                                origin,
                                done.at,
                                intent.tries.failures + 1,
                            );
                        }
                    }
                }
                End::Refused(fault) => {
                    self.end_export(&stored, ExportState::Refused, None);
                    self.refused(action.clone(), fault, &intent.processor, origin, done.at, intent.tries.failures + 1);
                }
                End::Retry { .. } => {}
            }
        }
        self.outstanding(origin.run, exports as i64 - 1, done.at)
    }

    /// Gives up a target that its slot never wrote, because a foreign file is there.
    fn disown(&mut self, stored: &StoredIntent, slot: SlotId) {
        let Some(place) = &stored.target else { return };
        let waited_for = self.intents.values().any(|other| other.target.as_ref() == Some(place));
        let target: Option<&mut Target> = self.targets.get_mut(place);
        if let Some(target) = target.filter(|t| !waited_for && t.written.is_none() && t.owner == Some(slot)) {
            target.owner = None;
        }
    }
}
