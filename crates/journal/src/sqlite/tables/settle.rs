//! Settlement: all that comes of one claimed task, and the dataset revisions among it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use opendmp_model::history::{self, StepRecord};
use opendmp_model::ids::{Arrival, ContentHash, Pass, SlotId, TaskId};
use opendmp_model::item::{ContentRef, Item};
use opendmp_ports::journal::decide::{self, Made, Neighbour};
use opendmp_ports::journal::{
    Applied, CONFIRMED, Claims, Closing, ExportState, FlowId, Lease, NewRevision, RunId, Seq, Settled, Settlement,
    SpaceId,
};
use opendmp_ports::transport::StepCounts;
use rusqlite::{CachedStatement, OptionalExtension, params};

use super::again::PreparedMemo;
use super::exports::{Placed, RawIntent, Revision, Wanted};
use super::held::PreparedHeld;
use super::letters::PreparedLetter;
use super::queue::{PreparedTask, RawClaimed};
use super::{Origin, REMEMBERED, Tables, seq_of};
use crate::sqlite::blobs::{confirmed_bytes, export_number, item_bytes, item_of, made_values, mode_of};
use crate::sqlite::fail::Result;

/// A settlement encoded as far as it can be before the transaction, off the writer's thread.
pub(crate) struct Prepared {
    task: TaskId,
    lease: Lease,
    attempt: u32,
    tasks: Vec<PreparedTask>,
    held: Vec<PreparedHeld>,
    closing: Option<Closing>,
    revisions: Vec<(NewRevision, Vec<u8>)>,
    dead: Vec<PreparedLetter>,
    steps: Vec<StepRecord>,
    encoded: EncodedSteps,
    memos: Vec<PreparedMemo>,
    counts: BTreeMap<Arc<str>, StepCounts>,
    at: i64,
    actor: Arc<str>,
}

/// Steps, and the least and greatest arrival that they concern.
pub(super) struct EncodedSteps {
    span: Option<(Arrival, Arrival)>,
    bytes: Vec<u8>,
}

impl EncodedSteps {
    pub(super) fn new(steps: &[StepRecord]) -> Self {
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
            held: settlement.held.into_iter().map(Into::into).collect(),
            closing: settlement.closing,
            revisions: revisions.collect(),
            dead: settlement.dead_letters.into_iter().map(Into::into).collect(),
            encoded: EncodedSteps::new(&settlement.history),
            steps: settlement.history,
            memos: settlement.memos.into_iter().map(Into::into).collect(),
            counts: settlement.counts,
            at: settlement.at,
            actor: settlement.actor,
        }
    }
}

/// What a slot has around a new result.
#[derive(Default)]
struct Around {
    /// The content of a revision at the very same arrival and pass.
    here: Option<ContentHash>,
    before: Option<Before>,
}

/// The revision just before a new result, in order of what each is as new as.
#[derive(Clone, Copy)]
struct Before {
    at: Revision,
    latest: (Arrival, Pass),
    hash: ContentHash,
    target: Option<i64>,
    /// Its content was let go.
    gone: bool,
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
    /// The flow's slug.
    flow: Arc<str>,
    processor: Arc<str>,
    id: i64,
    /// Where it had nothing in the span: the slots that were put there since.
    only: Option<HashSet<SlotId>>,
}

/// Results in one settlement from which on it is worth asking for all of them at once whether any slot is known.
const MANY: usize = 16;

impl<'c> Collecting<'c> {
    fn new(tables: &Tables<'c>, revisions: &[(NewRevision, Vec<u8>)]) -> Result<Self> {
        let origins = || revisions.iter().map(|(revision, _)| revision.item.origin.0 as i64);
        let span = origins().min().zip(origins().max()).filter(|_| revisions.len() >= MANY);
        Ok(Self {
            known: tables.sql("SELECT 1 FROM revision WHERE shelf = ?1 AND origin = ?2 AND slot = ?3 LIMIT 1")?,
            insert: tables.sql(
                "INSERT INTO revision (shelf, origin, slot, arrival, pass, within, seq, at, run, version, export, \
                 target, item) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
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
        let (space, flow) = (flow.space, Arc::clone(&flow.slug));
        let id = tables.shelf((space, Arc::clone(&collection), Arc::clone(&flow), Arc::clone(&processor)))?;
        let only = match self.span {
            Some((least, most)) => {
                let sql = "SELECT 1 FROM revision WHERE shelf = ?1 AND origin BETWEEN ?2 AND ?3 LIMIT 1";
                let some = tables.sql(sql)?.exists([id, least, most])?;
                (!some).then(HashSet::new)
            }
            None => None,
        };
        self.shelves.push(Shelf { collection, flow, processor, id, only });
        Ok(self.shelves.len() - 1)
    }
}

impl<'c> Tables<'c> {
    pub(crate) fn settle(&mut self, settlement: &mut Prepared) -> Result<Settled> {
        let sql = "SELECT seq, flow, version, run, mode, items, lease, attempts, made FROM task WHERE id = ?1";
        let id = settlement.task.to_bytes();
        let found = self.sql(sql)?.query_row([id], |row| {
            let origin =
                Origin { flow: FlowId(row.get(1)?), version: row.get(2)?, run: RunId(row.get::<_, i64>(3)? as u64) };
            let claim = (row.get::<_, i64>(6)? as u64, row.get::<_, u32>(7)?);
            let numbers: (i64, i64, i64) = (row.get(0)?, row.get(4)?, row.get(5)?);
            Ok((numbers, origin, claim, seq_of(row.get(8)?)))
        });
        // Ids are never used again: a task that is not there was settled.
        let Some(((order, mode, ended), origin, claim, settled)) = found.optional()? else {
            return Ok(Settled::Already);
        };
        if claim != (settlement.lease.0, settlement.attempt) || !self.live(settlement.lease) {
            return Ok(Settled::Fenced);
        }
        let look = self.look_of(settlement.task, order)?;
        let expanded = settlement.tasks.iter().any(|task| task.rest) && self.expanded(order)?;
        self.sql("DELETE FROM task WHERE id = ?1")?.execute([id])?;
        self.sql("DELETE FROM bundle WHERE seq = ?1")?.execute([order])?;
        let at = settlement.at;
        let seq = self.next_seq();
        let mut applied = Applied { seq, tasks: settlement.tasks.len() as u64, ..Applied::default() };
        let mode = mode_of(mode)?;
        let maker = decide::maker(seq, &settlement.steps, settled);
        let made = |task: &PreparedTask| if task.rest && expanded { settled } else { maker };
        let mut items = self.enqueue(&settlement.tasks, origin, mode, made)? - ended;
        for held in &settlement.held {
            items += self.hold(held, origin, mode, at, maker)?;
        }
        let mut makers = None;
        if let Some(group) = look {
            let first = decide::joined_first(&settlement.steps);
            let wanted = first.into_iter().chain(settlement.dead.iter().map(PreparedLetter::item)).collect();
            let (work, taken) = self.looked(group, settlement.closing.as_ref(), origin, mode, &wanted)?;
            items += work;
            makers = Some(taken);
        }
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
            // One that was taken from the group was made before; others came of what was made of it.
            let taken = makers.as_ref().and_then(|makers| makers.get(&letter.item()));
            let made = taken.copied().unwrap_or(maker);
            self.add_dead(letter, origin, at, None, made)?;
        }
        if !unchanged.is_empty() {
            decide::mark_unchanged(&mut settlement.steps, &unchanged);
            settlement.encoded = EncodedSteps::new(&settlement.steps);
        }
        let made = match makers {
            Some(makers) => {
                decide::joined_first(&settlement.steps).and_then(|first| makers.get(&first).copied().flatten())
            }
            None => settled,
        };
        self.write_history(seq, origin.run, at, &settlement.actor, &settlement.encoded, &made.into())?;
        self.remember(&settlement.memos, origin.run, at)?;
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

    /// Settles, and claims what may be claimed then.
    pub(crate) fn settle_and_claim(
        &mut self,
        settlement: &mut Prepared,
        claims: &Claims,
    ) -> Result<(Settled, Vec<RawClaimed>, Vec<RawIntent>)> {
        let settled = self.settle(settlement)?;
        if !matches!(settled, Settled::Applied(_)) || (claims.tasks.is_none() && claims.intents == 0) {
            return Ok((settled, Vec::new(), Vec::new()));
        }
        // Numbers first: a claim looks for flows that have something waiting.
        self.flush()?;
        self.sql("SAVEPOINT claims")?.execute([])?;
        let (tasks, intents) = match self.claim_both(claims, settlement.lease, settlement.at) {
            Ok(claimed) => claimed,
            // What is wrong there is told to who claims next; the settlement has nothing to do with it.
            Err(_) => {
                self.sql("ROLLBACK TO claims")?.execute([])?;
                self.unflushed();
                Default::default()
            }
        };
        self.sql("RELEASE claims")?.execute([])?;
        Ok((settled, tasks, intents))
    }

    fn claim_both(&mut self, claims: &Claims, lease: Lease, now: i64) -> Result<(Vec<RawClaimed>, Vec<RawIntent>)> {
        let tasks = match &claims.tasks {
            Some(request) => self.claim(request)?,
            None => Vec::new(),
        };
        let intents = if claims.intents > 0 { self.claim_intents(lease, now, claims.intents)? } else { Vec::new() };
        Ok((tasks, intents))
    }

    /// Writes steps under a number of their own.
    pub(super) fn record(
        &mut self,
        run: RunId,
        at: i64,
        actor: &str,
        steps: &[StepRecord],
        made: &Made,
    ) -> Result<Seq> {
        let seq = self.next_seq();
        self.write_history(seq, run, at, actor, &EncodedSteps::new(steps), made)?;
        Ok(seq)
    }

    pub(super) fn write_history(
        &mut self,
        seq: Seq,
        run: RunId,
        at: i64,
        actor: &str,
        steps: &EncodedSteps,
        made: &Made,
    ) -> Result<()> {
        // What concerns no arrival is found by none.
        let Some((least, most)) = steps.span else { return Ok(()) };
        let actor = self.name(actor)?;
        let space = self.run(run)?.space;
        let sql = "INSERT INTO history (seq, space, run, at, actor, least, most, steps, made, mades) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        let (seq, run, least, most) = (seq.0 as i64, run.0 as i64, least.0 as i64, most.0 as i64);
        let (made, mades) = made_values(made);
        self.sql(sql)?.execute(params![seq, space.0, run, at, actor, least, most, steps.bytes, made, mades])?;
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
        let Shelf { id: shelf, flow, .. } = &collecting.shelves[on];
        let (shelf, slot) = (*shelf, decide::slot(flow, new, self.memory.hashed));
        let hash = new.item.content.hash;
        let (arrival, pass) = (new.item.id.arrival, new.item.id.pass);
        let mut at_slot = Revision { shelf, slot, arrival, pass };
        let mut fresh = !collecting.slot_is_known(on, slot)?;
        let mut before = if fresh { Around::default() } else { self.around(at_slot)? };
        if before.here.is_some_and(|here| here != hash) {
            at_slot.slot = decide::slot_beside(slot, new.item.id);
            fresh = !collecting.slot_is_known(on, at_slot.slot)?;
            before = if fresh { Around::default() } else { self.around(at_slot)? };
        }
        let before = before.before;
        let neighbour = match &before {
            Some(before) => Some(self.neighbour(before)?),
            None => None,
        };
        let choice = decide::revision(neighbour.as_ref(), hash, new.export.as_ref());
        let wanted = new.export.as_ref().filter(|_| choice.export);
        let of = if choice.new { at_slot } else { before.map_or(at_slot, |before| before.at) };
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
                before.is_some_and(|before| before.latest > (arrival, pass)),
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
            self.run(origin.run)?.made_of(of.slot.origin.0 as i64);
            self.changed(shelf, of.slot, at);
        } else {
            // Before the export: a target that is left with this is as new as what was written there then.
            if let Some(before) = before {
                self.confirm(before.at, (seq, at, origin.version))?;
                self.reaffirm(&before, (arrival, pass), at)?;
                if before.gone {
                    self.bring_back(before.at, new.item.content)?;
                }
            }
            if placed.is_some() {
                self.set_export(of, state, target, at)?;
            }
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

    /// What a slot has at a place, and the newest of what it has up to there.
    fn around(&self, at: Revision) -> Result<Around> {
        let sql = "SELECT arrival, pass, coalesce(latest_arrival, arrival), coalesce(latest_pass, pass), within, item, \
                   target, gone IS NOT NULL FROM revision WHERE shelf = ?1 AND origin = ?2 AND slot = ?3 AND (arrival, pass) <= (?4, ?5) \
                   ORDER BY arrival DESC, pass DESC";
        let (origin, arrival) = (at.slot.origin.0 as i64, at.arrival.0 as i64);
        let mut out = Around::default();
        let mut statement = self.sql(sql)?;
        let mut rows = statement.query(params![at.shelf, origin, at.slot.hash.0, arrival, at.pass.0])?;
        while let Some(row) = rows.next()? {
            let number = |column: usize| row.get::<_, i64>(column).map(|number| Arrival(number as u64));
            let key = (number(0)?, Pass(row.get(1)?));
            let hash = item_of(row.get_ref(5)?.as_blob().map_err(rusqlite::Error::from)?)?.content.hash;
            if key == (at.arrival, at.pass) {
                out.here = Some(hash);
            }
            let latest = (number(2)?, Pass(row.get(3)?));
            if out.before.is_none_or(|before| before.latest < latest) {
                let at = Revision { arrival: key.0, pass: key.1, ..at };
                out.before = Some(Before { at, latest, hash, target: row.get(6)?, gone: row.get(7)? });
            }
            // Those ahead of it by key are older, unless it came within the time of one of them.
            if !row.get::<_, bool>(4)? {
                break;
            }
        }
        Ok(out)
    }

    /// Another result came to the same.
    fn confirm(&mut self, revision: Revision, (seq, at, version): (Seq, i64, i64)) -> Result<()> {
        let of = "WHERE shelf = ?1 AND origin = ?2 AND slot = ?3 AND arrival = ?4 AND pass = ?5";
        let Revision { shelf, slot, arrival, pass } = revision;
        let (origin, arrival) = (slot.origin.0 as i64, arrival.0 as i64);
        let mut statement = self.sql(&format!("SELECT confirmed FROM revision {of}"))?;
        let known = statement.query_row(params![shelf, origin, slot.hash.0, arrival, pass.0], |row| row.get(0))?;
        let by = confirmed_bytes(seq, at, version);
        let mut confirmed: Vec<u8> = Option::unwrap_or_default(known);
        confirmed.extend(by);
        let last = &confirmed[confirmed.len().saturating_sub(CONFIRMED * by.len())..];
        let mut statement = self.sql(&format!("UPDATE revision SET confirmed = ?6 {of}"))?;
        statement.execute(params![shelf, origin, slot.hash.0, arrival, pass.0, last])?;
        Ok(())
    }

    /// A later result came to the same: the revision, and what was written of it, are as new as that.
    fn reaffirm(&mut self, before: &Before, key: (Arrival, Pass), at: i64) -> Result<()> {
        let Revision { shelf, slot, arrival, pass } = before.at;
        let (origin, (arrival, latest)) = (slot.origin.0 as i64, (arrival.0 as i64, key.0.0 as i64));
        if before.latest >= key {
            let sql = "UPDATE revision SET touched = max(coalesce(touched, at), ?6) \
                       WHERE shelf = ?1 AND origin = ?2 AND slot = ?3 AND arrival = ?4 AND pass = ?5";
            self.sql(sql)?.execute(params![shelf, origin, slot.hash.0, arrival, pass.0, at])?;
            return Ok(());
        }
        let sql = "UPDATE revision SET latest_arrival = ?6, latest_pass = ?7, touched = max(coalesce(touched, at), ?8) \
                   WHERE shelf = ?1 AND origin = ?2 AND slot = ?3 AND arrival = ?4 AND pass = ?5";
        self.sql(sql)?.execute(params![shelf, origin, slot.hash.0, arrival, pass.0, latest, key.1.0, at])?;
        self.changed(shelf, slot, at);
        if let Some(target) = before.target {
            let sql = "UPDATE target SET written_arrival = ?2, written_pass = ?3 WHERE id = ?1 AND owner_origin = ?4 \
                       AND owner_slot = ?5 AND written_arrival = ?6 AND written_pass = ?7 AND written_hash = ?8";
            let was = (before.latest.0.0 as i64, before.latest.1.0);
            let hash = before.hash.0;
            self.sql(sql)?.execute(params![target, latest, key.1.0, origin, slot.hash.0, was.0, was.1, hash])?;
        }
        Ok(())
    }

    /// A revision whose content was let go has it again: an equal result came.
    fn bring_back(&mut self, at: Revision, content: ContentRef) -> Result<()> {
        let key = "WHERE shelf = ?1 AND origin = ?2 AND slot = ?3 AND arrival = ?4 AND pass = ?5";
        let Revision { shelf, slot, arrival, pass } = at;
        let (origin, arrival) = (slot.origin.0 as i64, arrival.0 as i64);
        let item: Vec<u8> = self
            .sql(&format!("SELECT item FROM revision {key}"))?
            .query_row(params![shelf, origin, slot.hash.0, arrival, pass.0], |row| row.get(0))?;
        let item = item_bytes(&Item { content, ..item_of(&item)? });
        self.sql(&format!("UPDATE revision SET item = ?6, gone = NULL {key}"))?.execute(params![
            shelf,
            origin,
            slot.hash.0,
            arrival,
            pass.0,
            item
        ])?;
        self.shelf_tally(shelf).bytes += content.size as i64;
        Ok(())
    }

    fn neighbour(&mut self, before: &Before) -> Result<Neighbour> {
        let target = match before.target {
            Some(id) => {
                let mut statement = self.sql("SELECT destination, name FROM target WHERE id = ?1")?;
                let (destination, name) =
                    statement.query_row([id], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
                drop(statement);
                Some((self.text(destination)?, name))
            }
            None => None,
        };
        Ok(Neighbour { hash: before.hash, target })
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
