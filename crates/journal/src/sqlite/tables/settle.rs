//! Settlement: all that comes of one claimed task, and the dataset revisions among it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use opendmp_model::history::{self, StepRecord};
use opendmp_model::ids::{Arrival, ContentHash, Pass, SlotId, TaskId};
use opendmp_model::item::Item;
use opendmp_ports::journal::decide::{self, Neighbour};
use opendmp_ports::journal::{
    Applied, ExportState, FlowId, Lease, NewRevision, RunId, Seq, Settled, Settlement, SpaceId,
};
use opendmp_ports::transport::StepCounts;
use rusqlite::{CachedStatement, OptionalExtension, params};

use super::exports::{Placed, Revision, Wanted};
use super::letters::PreparedLetter;
use super::queue::PreparedTask;
use super::{Origin, REMEMBERED, Tables};
use crate::sqlite::blobs::{export_number, item_bytes, item_of, mode_of};
use crate::sqlite::fail::Result;

/// A settlement encoded as far as it can be before the transaction, off the writer's thread.
pub(crate) struct Prepared {
    task: TaskId,
    lease: Lease,
    attempt: u32,
    tasks: Vec<PreparedTask>,
    revisions: Vec<(NewRevision, Vec<u8>)>,
    dead: Vec<PreparedLetter>,
    steps: Vec<StepRecord>,
    encoded: EncodedSteps,
    counts: BTreeMap<Arc<str>, StepCounts>,
    at: i64,
    actor: Arc<str>,
}

/// Steps, and the least and greatest arrival that they concern.
struct EncodedSteps {
    span: Option<(Arrival, Arrival)>,
    bytes: Vec<u8>,
}

impl EncodedSteps {
    fn new(steps: &[StepRecord]) -> Self {
        let span = decide::record_span(steps);
        Self { span, bytes: if span.is_some() { history::encode(steps) } else { Vec::new() } }
    }
}

impl From<Settlement> for Prepared {
    fn from(settlement: Settlement) -> Self {
        let revisions = settlement.revisions.into_iter().map(|revision| {
            let bytes = item_bytes(&revision.item);
            (revision, bytes)
        });
        Self {
            task: settlement.task,
            lease: settlement.lease,
            attempt: settlement.attempt,
            tasks: settlement.tasks.into_iter().map(Into::into).collect(),
            revisions: revisions.collect(),
            dead: settlement.dead_letters.into_iter().map(Into::into).collect(),
            encoded: EncodedSteps::new(&settlement.history),
            steps: settlement.history,
            counts: settlement.counts,
            at: settlement.at,
            actor: settlement.actor,
        }
    }
}

/// What a revision made.
#[derive(Default)]
struct Collected {
    new: bool,
    exports: u64,
    dead: u64,
}

/// What collecting many results needs at hand: statements, and the shelves of those before.
struct Collecting<'c> {
    known: CachedStatement<'c>,
    insert: CachedStatement<'c>,
    shelves: Vec<Shelf>,
    /// Origins of all results, least and greatest, where there are many.
    span: Option<(i64, i64)>,
}

/// A shelf that results of this settlement go to.
struct Shelf {
    collection: Arc<str>,
    processor: Arc<str>,
    id: i64,
    /// Where it had nothing in the span: the slots that were put there since.
    only: Option<HashSet<SlotId>>,
}

/// Results in one settlement from which on it is worth asking for all of them at once whether any slot is known.
const MANY: usize = 16;

impl<'c> Collecting<'c> {
    fn new(tables: &Tables<'c>, revisions: &[(NewRevision, Vec<u8>)]) -> Result<Self> {
        let origins = || revisions.iter().map(|(revision, _)| revision.slot.origin.0 as i64);
        let span = origins().min().zip(origins().max()).filter(|_| revisions.len() >= MANY);
        Ok(Self {
            known: tables.sql("SELECT 1 FROM revision WHERE shelf = ?1 AND origin = ?2 AND slot = ?3 LIMIT 1")?,
            insert: tables.sql(
                "INSERT INTO revision (shelf, origin, slot, arrival, pass, seq, at, run, version, export, target, \
                 item) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?,
            shelves: Vec::new(),
            span,
        })
    }

    fn slot_is_known(&mut self, shelf: usize, slot: SlotId) -> Result<bool> {
        let Shelf { id, only, .. } = &mut self.shelves[shelf];
        let id = *id;
        match only {
            Some(only) => Ok(!only.insert(slot)),
            None => Ok(self.known.exists(params![id, slot.origin.0 as i64, slot.hash.0])?),
        }
    }

    /// The place of a result's shelf among those of this settlement.
    fn shelf(&mut self, tables: &mut Tables<'c>, new: &NewRevision, origin: Origin) -> Result<usize> {
        let same = |shelf: &Shelf| shelf.collection == new.collection && shelf.processor == new.processor;
        if let Some(at) = self.shelves.iter().position(same) {
            return Ok(at);
        }
        let flow = tables.flow(origin.flow)?;
        let (collection, processor) = (Arc::clone(&new.collection), Arc::clone(&new.processor));
        let key = (flow.space, Arc::clone(&collection), Arc::clone(&flow.slug), Arc::clone(&processor));
        let id = tables.shelf(key)?;
        let only = match self.span {
            Some((least, most)) => {
                let sql = "SELECT 1 FROM revision WHERE shelf = ?1 AND origin BETWEEN ?2 AND ?3 LIMIT 1";
                let some = tables.sql(sql)?.exists([id, least, most])?;
                (!some).then(HashSet::new)
            }
            None => None,
        };
        self.shelves.push(Shelf { collection, processor, id, only });
        Ok(self.shelves.len() - 1)
    }
}

impl<'c> Tables<'c> {
    pub(crate) fn settle(&mut self, settlement: &mut Prepared) -> Result<Settled> {
        let sql = "SELECT seq, flow, version, run, mode, items, lease, attempts FROM task WHERE id = ?1";
        let id = settlement.task.to_bytes();
        let found = self.sql(sql)?.query_row([id], |row| {
            let origin =
                Origin { flow: FlowId(row.get(1)?), version: row.get(2)?, run: RunId(row.get::<_, i64>(3)? as u64) };
            let claim = (row.get::<_, i64>(6)? as u64, row.get::<_, u32>(7)?);
            Ok((row.get::<_, i64>(0)?, origin, row.get::<_, i64>(4)?, row.get::<_, i64>(5)?, claim))
        });
        // Ids are never used again: a task that is not there was settled.
        let Some((order, origin, mode, ended, claim)) = found.optional()? else { return Ok(Settled::Already) };
        if claim != (settlement.lease.0, settlement.attempt) || !self.live(settlement.lease) {
            return Ok(Settled::Fenced);
        }
        self.sql("DELETE FROM task WHERE id = ?1")?.execute([id])?;
        self.sql("DELETE FROM bundle WHERE seq = ?1")?.execute([order])?;
        let at = settlement.at;
        let seq = self.next_seq();
        let mut applied = Applied { seq, tasks: settlement.tasks.len() as u64, ..Applied::default() };
        let items = self.enqueue(&settlement.tasks, origin, mode_of(mode)?)? - ended;
        let mut unchanged = HashSet::new();
        let mut collecting = Collecting::new(self, &settlement.revisions)?;
        for (revision, bytes) in &settlement.revisions {
            let collected = self.collect(revision, bytes, origin, (at, seq), &mut collecting)?;
            if collected.new {
                applied.revisions += 1;
            } else {
                applied.unchanged += 1;
                unchanged.insert(revision.item.id);
            }
            applied.exports += collected.exports;
            applied.dead += collected.dead;
        }
        drop(collecting);
        for letter in &settlement.dead {
            applied.dead += 1;
            self.add_dead(letter, origin, at, None)?;
        }
        if !unchanged.is_empty() {
            decide::mark_unchanged(&mut settlement.steps, &unchanged);
            settlement.encoded = EncodedSteps::new(&settlement.steps);
        }
        self.write_history(seq, origin.run, at, &settlement.actor, &settlement.encoded)?;
        let mut counts = Vec::with_capacity(settlement.counts.len());
        for (processor, one) in &settlement.counts {
            counts.push((self.name(processor)?, *one));
        }
        let run = self.run(origin.run)?;
        run.revisions += applied.revisions;
        run.unchanged += applied.unchanged;
        counts.iter().for_each(|(processor, one)| run.count(*processor, one));
        self.outstanding(origin.run, items, applied.exports as i64, at)?;
        Ok(Settled::Applied(applied))
    }

    /// Writes steps under a number of their own.
    pub(super) fn record(&mut self, run: RunId, at: i64, actor: &str, steps: &[StepRecord]) -> Result<Seq> {
        let seq = self.next_seq();
        self.write_history(seq, run, at, actor, &EncodedSteps::new(steps))?;
        Ok(seq)
    }

    fn write_history(&mut self, seq: Seq, run: RunId, at: i64, actor: &str, steps: &EncodedSteps) -> Result<()> {
        // What concerns no arrival is found by none.
        let Some((least, most)) = steps.span else { return Ok(()) };
        let actor = self.name(actor)?;
        let space = self.run(run)?.space;
        let sql = "INSERT INTO history (seq, space, run, at, actor, least, most, steps) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let (seq, run, least, most) = (seq.0 as i64, run.0 as i64, least.0 as i64, most.0 as i64);
        self.sql(sql)?.execute(params![seq, space.0, run, at, actor, least, most, steps.bytes])?;
        Ok(())
    }

    /// Puts a result into its slot.
    fn collect(
        &mut self,
        new: &NewRevision,
        bytes: &[u8],
        origin: Origin,
        (at, seq): (i64, Seq),
        collecting: &mut Collecting<'c>,
    ) -> Result<Collected> {
        let on = collecting.shelf(self, new, origin)?;
        let shelf = collecting.shelves[on].id;
        let hash = new.item.content.hash;
        let (arrival, pass) = (new.item.id.arrival, new.item.id.pass);
        let mut at_slot = Revision { shelf, slot: new.slot, arrival, pass };
        let mut fresh = !collecting.slot_is_known(on, new.slot)?;
        let mut before = if fresh { None } else { self.before(at_slot)? };
        if let Some((taken, item, _)) = &before
            && (taken.arrival, taken.pass) == (arrival, pass)
            && item.content.hash != hash
        {
            at_slot.slot = decide::slot_beside(new.slot, new.item.id);
            fresh = !collecting.slot_is_known(on, at_slot.slot)?;
            before = if fresh { None } else { self.before(at_slot)? };
        }
        let before = before.map(|(at_slot, item, target)| (at_slot, item.content.hash, target));
        let neighbour = match &before {
            Some((_, hash, target)) => Some(self.neighbour(*hash, *target)?),
            None => None,
        };
        let choice = decide::revision(neighbour.as_ref(), hash, new.export.as_ref());
        let wanted = new.export.as_ref().filter(|_| choice.export);
        let of = if choice.new { at_slot } else { before.map_or(at_slot, |(before, ..)| before) };
        let placed = match wanted {
            Some(export) => {
                let wanted = Wanted { destination: self.name(&export.destination)?, export: export.clone() };
                let placed = self.place(of.slot, &wanted, 1)?;
                Some((wanted, placed))
            }
            None => None,
        };
        let (state, target) = match &placed {
            None => (ExportState::None, None),
            Some((_, placed)) => (placed.state(), Some(placed.target())),
        };
        if choice.new {
            collecting.insert.execute(params![
                shelf,
                of.slot.origin.0 as i64,
                of.slot.hash.0,
                arrival.0 as i64,
                pass.0,
                seq.0 as i64,
                at,
                origin.run.0 as i64,
                origin.version,
                export_number(state),
                target,
                bytes,
            ])?;
            let size = new.item.content.size as i64;
            let tally = self.shelf_tally(shelf);
            tally.datasets += i64::from(fresh);
            tally.revisions += 1;
            tally.bytes += size;
            tally.changed = tally.changed.max(at);
        } else if placed.is_some() {
            self.set_export(of, state, target, None)?;
        }
        let mut out = Collected { new: choice.new, ..Collected::default() };
        match placed {
            Some((wanted, Placed::Target { id, number })) => {
                let processor = self.name(&new.processor)?;
                self.add_intent(of, &wanted, (id, number), bytes, processor, origin)?;
                out.exports = 1;
            }
            Some((wanted, Placed::Refused { fault, .. })) => {
                self.add_refused(of, &wanted, new.item.clone(), fault, &new.processor, origin, at, 1)?;
                out.dead = 1;
            }
            Some((_, Placed::Kept { .. })) | None => {}
        }
        Ok(out)
    }

    /// The revision at or before a place in a slot: where, what, and its target.
    fn before(&self, at: Revision) -> Result<Option<(Revision, Item, Option<i64>)>> {
        let sql = "SELECT arrival, pass, item, target FROM revision \
                   WHERE shelf = ?1 AND origin = ?2 AND slot = ?3 AND (arrival, pass) <= (?4, ?5) \
                   ORDER BY arrival DESC, pass DESC LIMIT 1";
        let (origin, arrival) = (at.slot.origin.0 as i64, at.arrival.0 as i64);
        let found = self.sql(sql)?.query_row(params![at.shelf, origin, at.slot.hash.0, arrival, at.pass.0], |row| {
            let before = Revision { arrival: Arrival(row.get::<_, i64>(0)? as u64), pass: Pass(row.get(1)?), ..at };
            Ok((before, row.get::<_, Vec<u8>>(2)?, row.get(3)?))
        });
        let Some((before, item, target)) = found.optional()? else { return Ok(None) };
        Ok(Some((before, item_of(&item)?, target)))
    }

    fn neighbour(&mut self, hash: ContentHash, target: Option<i64>) -> Result<Neighbour> {
        let target = match target {
            Some(id) => {
                let mut statement = self.sql("SELECT destination, name FROM target WHERE id = ?1")?;
                let (destination, name) =
                    statement.query_row([id], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
                drop(statement);
                Some((self.text(destination)?, name))
            }
            None => None,
        };
        Ok(Neighbour { hash, target })
    }

    fn shelf(&mut self, key: (SpaceId, Arc<str>, Arc<str>, Arc<str>)) -> Result<i64> {
        if let Some(id) = self.memory.shelves.get(&key) {
            return Ok(*id);
        }
        let (space, collection, flow, processor) = &key;
        let sql = "SELECT id FROM shelf WHERE space = ?1 AND collection = ?2 AND flow = ?3 AND processor = ?4";
        let values = params![space.0, &**collection, &**flow, &**processor];
        let known = self.sql(sql)?.query_row(values, |row| row.get(0)).optional()?;
        let id = match known {
            Some(id) => id,
            None => {
                let sql = "INSERT INTO shelf (space, collection, flow, processor) VALUES (?1, ?2, ?3, ?4)";
                self.sql(sql)?.insert(values)?
            }
        };
        if self.memory.shelves.len() >= REMEMBERED {
            self.memory.shelves.clear();
        }
        self.memory.shelves.insert(key, id);
        Ok(id)
    }
}
