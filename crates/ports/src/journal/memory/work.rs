//! Ingest, settlement, and dead letters in memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use opendmp_model::ids::{Arrival, ItemId, Pass, SlotId, TaskId};
use opendmp_model::item::Item;
use opendmp_model::ledger::Known;
use opendmp_model::manifest::Load;

use super::again::Beside;
use super::state::{Letter, Origin, Revision, State, Task};
use crate::journal::decide::{self, Made, Neighbour};
use crate::journal::types::*;
use crate::transport::StepCounts;
use crate::{Error, ErrorKind, Result};

/// The ledger of one source.
struct Ledger<'a> {
    state: &'a mut State,
    source: SourceId,
    releasing: HashSet<Vec<u8>>,
}

impl decide::SourceLedger for Ledger<'_> {
    type Error = Infallible;

    fn known(&mut self, path: &[u8]) -> std::result::Result<Option<Known>, Infallible> {
        Ok(self.state.paths.get(&(self.source, path.to_vec())).copied())
    }

    fn releasing(&mut self, release: &[u8]) -> std::result::Result<bool, Infallible> {
        Ok(self.releasing.contains(release))
    }

    fn next(&mut self) -> Arrival {
        self.state.next_arrival()
    }
}

impl State {
    /// Releases of a source not yet carried out.
    pub(super) fn pending(&self, source: SourceId) -> impl Iterator<Item = &Bytes> {
        let of_source = self.intents.values().filter(move |stored| stored.source == Some(source));
        of_source.flat_map(|stored| match &stored.intent.action {
            Action::Release { releases } => releases.as_slice(),
            Action::Export(_) => &[],
        })
    }

    pub(super) fn ingest(&mut self, ingest: &Ingest) -> Result<Ingested> {
        if !self.live(ingest.lease) {
            return Err(decide::taken_over("journal ingest"));
        }
        let source = self.sources.get((ingest.source.0 as usize).wrapping_sub(1));
        let source =
            source.ok_or_else(|| decide::missing("journal ingest", format!("source {}", ingest.source)))?.1.clone();
        let (run, mode) = match &ingest.run {
            RunChoice::Existing(run) => {
                let known =
                    self.runs.get(run).ok_or_else(|| decide::missing("journal ingest", format!("run {run}")))?;
                if known.row.state == RunState::Done {
                    return Err(decide::run_over(*run));
                }
                if known.flow != ingest.flow {
                    return Err(decide::foreign_run(*run, ingest.flow));
                }
                (*run, known.row.mode)
            }
            RunChoice::New { mode, trigger } => {
                (self.new_run((ingest.flow, ingest.version), *mode, trigger, false, ingest.at)?, *mode)
            }
        };
        let releasing = self.pending(ingest.source).map(|release| release.to_vec()).collect();
        let mut ledger = Ledger { source: ingest.source, releasing, state: self };
        let Ok(new) = decide::admit(&ingest.arrivals, mode, &mut ledger);
        let (items, tasks) = decide::arrivals(ingest, &new);
        let flow = self.flows.get(&ingest.flow).map(|flow| flow.slug.clone()).unwrap_or_default();
        let mut releases: Vec<Bytes> = Vec::new();
        let seq = self.next_seq();
        for (admitted, item) in new.iter().zip(&items) {
            let arrival = &ingest.arrivals[admitted.index];
            let row = ArrivalRow {
                arrival: admitted.number,
                flow: flow.clone(),
                source: source.clone(),
                path: arrival.path.clone(),
                content: item.content,
                stat: arrival.stat,
                at: ingest.at,
                run,
                origin: admitted.origin,
                media_type: item.media_type.clone(),
                gone: None,
                forgot: None,
            };
            self.arrivals.insert(admitted.number, row);
            let (origin, live) = (admitted.origin, mode == RunMode::Live);
            let media_type = item.media_type.clone();
            let beside = Beside { source: ingest.source, flow: ingest.flow, origin, live, media_type, seq };
            self.beside.insert(admitted.number, beside);
            if mode == RunMode::Live {
                let (stat, hash) = (arrival.stat.unwrap_or_default(), item.content.hash);
                let known = Known { origin: admitted.origin, latest: admitted.number, stat, hash };
                self.paths.insert((ingest.source, arrival.path.clone()), known);
                releases.extend(arrival.release.clone());
            }
        }
        let origin = Origin { flow: ingest.flow, version: ingest.version, run };
        let mut change = self.enqueue(tasks, origin, Some(seq)) as i64;
        if !releases.is_empty() {
            self.add_release(ingest.source, &ingest.processor, releases, origin);
            change += 1;
        }
        let record = decide::arrival_record(ingest, &new, &items);
        self.recorded.insert(seq, run);
        let steps = if new.is_empty() { vec![] } else { vec![record] };
        self.record(seq, ingest.at, "source", steps, Made::Unknown);
        if let Some(run) = self.runs.get_mut(&run).filter(|_| !new.is_empty()) {
            run.row.arrivals += new.len() as u64;
            let counts = StepCounts { done: new.len() as u64, emitted: new.len() as u64, ..StepCounts::default() };
            run.row.processors.entry(ingest.processor.to_string()).or_default().add(&counts);
        }
        self.outstanding(run, change, ingest.at);
        Ok(Ingested { run, new: new.len() as u64, seq })
    }

    /// Whether a settlement is that of the claim which holds its task.
    pub(super) fn holds(&self, settlement: &Settlement) -> bool {
        let task = self.tasks.get(&settlement.task);
        let claimed = |task: &Task| task.lease == Some(settlement.lease) && task.attempts == settlement.attempt;
        self.live(settlement.lease) && task.is_some_and(claimed)
    }

    /// Settles one task; its children are new, see [`State::all_new`].
    pub(super) fn settle(&mut self, settlement: Settlement) -> Settled {
        let Some(task) = self.tasks.get(&settlement.task) else { return Settled::Already };
        if !self.holds(&settlement) {
            return Settled::Fenced;
        }
        let (order, origin, ended) = (task.order, task.origin, task.task.count() as i64);
        let (load, settled) = (task.task.load, task.made);
        self.queue.remove(&order);
        self.tasks.remove(&settlement.task);
        let at = settlement.at;
        let seq = self.next_seq();
        let mut applied = Applied { seq, tasks: settlement.tasks.len() as u64, ..Applied::default() };
        let maker = decide::maker(seq, &settlement.history, settled);
        let mut change = -ended;
        for task in settlement.tasks {
            let rest = decide::is_rest(&task) && matches!(load, Load::Expand(_));
            change += self.enqueue(vec![task], origin, if rest { settled } else { maker }) as i64;
        }
        for held in settlement.held {
            change += self.hold(held, origin, at, maker) as i64;
        }
        let mut makers = None;
        if let Load::Look(group) = load {
            let (work, taken) = self.looked(group, settlement.closing, origin);
            change += work as i64;
            makers = Some(taken);
        }
        let mut unchanged = HashSet::new();
        for revision in &settlement.revisions {
            let (new, exports, dead) = self.collect(revision, origin, at, seq);
            if new {
                applied.revisions += 1;
            } else {
                applied.unchanged += 1;
                unchanged.insert(revision.item.id);
            }
            applied.exports += exports;
            applied.dead += dead;
            change += exports as i64;
        }
        for letter in settlement.dead_letters {
            applied.dead += 1;
            // One that was taken from the group was made before; others came of what was made of it.
            let taken = makers.as_ref().and_then(|makers| makers.get(&letter.item.id));
            let made = taken.copied().unwrap_or(maker);
            self.add_dead(letter, origin, at, None, made);
        }
        for memo in settlement.memos {
            self.remember(memo, origin.run, at);
        }
        let mut steps = settlement.history;
        decide::mark_unchanged(&mut steps, &unchanged);
        self.recorded.insert(seq, origin.run);
        let made = match makers {
            Some(makers) => decide::joined_first(&steps).and_then(|first| makers.get(&first).copied().flatten()),
            None => settled,
        };
        self.record(seq, at, &settlement.actor, steps, made.into());
        if let Some(run) = self.runs.get_mut(&origin.run) {
            run.row.revisions += applied.revisions;
            run.row.unchanged += applied.unchanged;
            for (processor, counts) in &settlement.counts {
                run.row.processors.entry(processor.to_string()).or_default().add(counts);
            }
        }
        self.outstanding(origin.run, change, at);
        Settled::Applied(applied)
    }

    /// Puts a result into its slot. Answers whether it is new, and the intents and dead letters it made.
    fn collect(&mut self, new: &NewRevision, origin: Origin, at: i64, seq: Seq) -> (bool, u64, u64) {
        let key = (new.item.id.arrival, new.item.id.pass);
        let hash = new.item.content.hash;
        let flow = self.flows.get(&origin.flow);
        let own = decide::slot(flow.map_or("", |flow| &flow.slug), new, Arrival(0));
        let taken = self.revisions.get(&own).and_then(|slot| slot.get(&key));
        let slot = match taken {
            Some(other) if other.row.item.content.hash != hash => decide::slot_beside(own, new.item.id),
            _ => own,
        };
        let before = self
            .revisions
            .get(&slot)
            .and_then(|slot| slot.range(..=key).max_by_key(|(_, revision)| revision.latest))
            .map(|(key, revision)| {
                let target = revision.row.target.as_ref().map(|(d, t)| (Arc::from(d.as_str()), t.clone()));
                (*key, Neighbour { hash: revision.row.item.content.hash, target })
            });
        let choice = decide::revision(before.as_ref().map(|(_, n)| n), hash, new.export.as_ref());
        let (arrival, pass) = if choice.new { key } else { before.map_or(key, |(key, _)| key) };
        if choice.new {
            let flow = self.flows.get(&origin.flow);
            let row = RevisionRow {
                slot,
                collection: new.collection.to_string(),
                flow: flow.map(|flow| flow.slug.clone()).unwrap_or_default(),
                processor: new.processor.to_string(),
                revision: 0,
                item: new.item.clone(),
                version: self.versions.get(&origin.version).map(|v| v.hash.clone()).unwrap_or_default(),
                run: origin.run,
                at,
                seq,
                export: ExportState::None,
                target: None,
                exported: None,
                confirmed: Vec::new(),
                gone: None,
            };
            let space = flow.map_or(DEFAULT_SPACE, |flow| flow.space);
            let made = Revision { row, space, latest: key, touched: at };
            self.revisions.entry(slot).or_default().insert(key, made);
        } else {
            let version = self.versions.get(&origin.version).map(|v| v.hash.clone()).unwrap_or_default();
            self.confirm((slot, arrival, pass), Confirmed { seq, at, version });
            self.reaffirm((slot, arrival, pass), key);
            if let Some(known) = self.revisions.get_mut(&slot).and_then(|slot| slot.get_mut(&(arrival, pass))) {
                known.touched = known.touched.max(at);
                if known.row.gone.take().is_some() {
                    known.row.item.content = new.item.content;
                }
            }
        }
        let (mut exports, mut dead) = (0, 0);
        if let Some(export) = new.export.clone().filter(|_| choice.export) {
            let action = ExportAction { slot, arrival, pass, item: new.item.clone(), export, ours: None };
            (exports, dead) = self.add_export(action, &new.processor, origin, at, 1);
        }
        (choice.new, exports, dead)
    }

    /// Another result came to the same.
    fn confirm(&mut self, (slot, arrival, pass): (SlotId, Arrival, Pass), by: Confirmed) {
        let revision = self.revisions.get_mut(&slot).and_then(|slot| slot.get_mut(&(arrival, pass)));
        let Some(confirmed) = revision.map(|revision| &mut revision.row.confirmed) else { return };
        confirmed.push(by);
        let most = confirmed.len().saturating_sub(CONFIRMED);
        confirmed.drain(..most);
    }

    /// A later result came to the same: the revision, and what was written of it, are as new as that.
    fn reaffirm(&mut self, (slot, arrival, pass): (SlotId, Arrival, Pass), key: (Arrival, Pass)) {
        let revision = self.revisions.get_mut(&slot).and_then(|slot| slot.get_mut(&(arrival, pass)));
        let Some(revision) = revision.filter(|revision| revision.latest < key) else { return };
        let before = std::mem::replace(&mut revision.latest, key);
        let place = revision.row.target.as_ref().map(|(d, target)| (Arc::from(d.as_str()), target.clone()));
        let hash = revision.row.item.content.hash;
        if let Some(target) = place.and_then(|place| self.targets.get_mut(&place))
            && target.owner == Some(slot)
            && target.written == Some((before.0, before.1, hash))
        {
            target.written = Some((key.0, key.1, hash));
        }
    }

    pub(super) fn add_dead(
        &mut self,
        letter: NewDeadLetter,
        origin: Origin,
        at: i64,
        export: Option<ExportAction>,
        made: Option<Seq>,
    ) {
        let row = DeadRow {
            id: letter.id,
            flow: self.flows.get(&origin.flow).map(|flow| flow.slug.clone()).unwrap_or_default(),
            flow_id: origin.flow,
            version: self.versions.get(&origin.version).map(|v| v.hash.clone()).unwrap_or_default(),
            run: origin.run,
            at: letter.at,
            item: letter.item,
            fault: letter.fault,
            attempts: letter.attempts,
            log: letter.log,
            failed: at,
            state: DeadState::Open,
            export_only: export.is_some(),
        };
        let order = self.next_letter();
        let before = self.dead.insert(row.id, Letter { order, row, export, made });
        if let Some(run) = self.runs.get_mut(&origin.run) {
            run.row.dead += 1;
        }
        if before.is_none_or(|before| before.row.state != DeadState::Open) {
            self.count_dead(origin.flow, 1);
        }
    }

    fn count_dead(&mut self, flow: FlowId, change: i64) {
        if let Some(flow) = self.flows.get_mut(&flow) {
            flow.dead_letters = flow.dead_letters.saturating_add_signed(change);
        }
    }

    pub(super) fn abandon(&mut self, flow: FlowId, limit: usize, at: i64) -> u64 {
        let mut open: Vec<&Task> =
            self.tasks.values().filter(|task| task.origin.flow == flow && task.lease.is_none()).collect();
        // By run, as a database finds them.
        open.sort_by_key(|task| (task.origin.run, task.task.lost > 0, task.task.due.unwrap_or(0), task.order));
        let open: Vec<TaskId> = open.into_iter().take(limit).map(|task| task.task.id).collect();
        if !open.is_empty() {
            self.next_seq();
        }
        // What is held first: else a run that ends by this would have it closed.
        let mut items = self.abandon_held(flow, limit, at);
        for id in &open {
            if let Some(load) = self.tasks.get(id).map(|task| task.task.load) {
                self.unlook(flow, &load);
            }
        }
        for id in open {
            let Some(task) = self.tasks.remove(&id) else { continue };
            self.queue.remove(&task.order);
            let count = task.task.count();
            items += if task.task.items.is_empty() { 0 } else { count };
            for item in task.task.items {
                let letter = decide::abandoned(&task.task.to, item, task.task.tries.failures);
                self.add_dead(letter, task.origin, at, None, task.made);
            }
            self.outstanding(task.origin.run, -(count as i64), at);
        }
        items
    }

    pub(super) fn reenter(&mut self, reentry: &Reentry) -> Result<(RunId, u64)> {
        let mut seen = HashSet::new();
        let mut open: Vec<TaskId> = reentry
            .letters
            .iter()
            .copied()
            .filter(|id| {
                self.dead.get(id).is_some_and(|letter| letter.row.state == DeadState::Open) && seen.insert(*id)
            })
            .collect();
        decide::newest_passes(&mut open, |id| *id);
        if open.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, "journal reenter", "none of these dead letters is open"));
        }
        let version = self.versions.get(&reentry.version);
        let flow =
            version.ok_or_else(|| decide::missing("journal reenter", format!("version {}", reentry.version)))?.flow;
        let slug = self.flows.get(&flow).map(|flow| flow.slug.clone());
        if open.iter().any(|id| self.dead.get(id).map(|letter| &letter.row.flow) != slug.as_ref()) {
            return Err(decide::letters_differ());
        }
        if reentry.edit.is_some() {
            let exports = open.iter().filter_map(|id| Some(self.dead.get(id)?.export.is_some())).collect::<Vec<_>>();
            decide::fits_edit(&exports)?;
        }
        let trigger = decide::retry_trigger(open.len());
        let run = self.new_run((flow, reentry.version), RunMode::Live, &trigger, true, reentry.at)?;
        let origin = Origin { flow, version: reentry.version, run };
        self.next_seq();
        let mut before: HashMap<ItemId, (Item, Option<Seq>)> = HashMap::new();
        let mut groups: BTreeMap<Reader, Vec<Item>> = BTreeMap::new();
        let mut passes: BTreeMap<Reader, Pass> = BTreeMap::new();
        let mut change = 0i64;
        for id in &open {
            let Some(letter) = self.dead.get_mut(id) else { continue };
            let pass = *passes.entry(letter.row.at.clone()).or_insert_with(|| {
                self.last.pass += 1;
                Pass(self.last.pass)
            });
            letter.row.state = DeadState::Retried { pass, at: reentry.at, actor: reentry.actor.clone() };
            let Letter { row, export, made, .. } = letter.clone();
            self.count_dead(row.flow_id, -1);
            match export {
                Some(action) => {
                    let (intents, _) = self.add_export(action, &row.at.processor, origin, reentry.at, 1);
                    change += intents as i64;
                }
                None => {
                    let mut again = Item { id: ItemId { pass, ..row.item.id }, ..row.item.clone() };
                    if let Some(edit) = &reentry.edit {
                        again.content = edit.content;
                        self.edits.push((row.item.id.arrival, edit.content));
                    }
                    before.insert(again.id, (row.item, made));
                    groups.entry(row.at).or_default().push(again);
                }
            }
        }
        for (to, items) in groups {
            for task in decide::tasks_for(&to, items) {
                let (steps, made) = decide::reentry_record(reentry.context, reentry.at, &task, &before);
                let seq = self.next_seq();
                self.recorded.insert(seq, run);
                self.record(seq, reentry.at, &reentry.actor, vec![steps], made);
                change += self.enqueue(vec![task], origin, Some(seq)) as i64;
            }
        }
        if let Some(run) = self.runs.get_mut(&run) {
            run.open = false;
        }
        self.outstanding(run, change, reentry.at);
        Ok((run, open.len() as u64))
    }

    pub(super) fn discard(&mut self, letters: Vec<TaskId>, reason: &str, actor: &str, at: i64) -> u64 {
        let mut count = 0;
        for id in letters {
            let Some(letter) = self.dead.get_mut(&id).filter(|letter| letter.row.state == DeadState::Open) else {
                continue;
            };
            letter.row.state = DeadState::Discarded { reason: reason.to_owned(), at, actor: actor.to_owned() };
            let flow = letter.row.flow_id;
            self.count_dead(flow, -1);
            count += 1;
        }
        if count > 0 {
            self.next_seq();
        }
        count
    }
}
