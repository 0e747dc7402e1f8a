//! Intents, and the targets that exports go to.
//!
//! Of the intents for one target only the target's *head* may be claimed: the oldest, unless another one is claimed.
//! So a claim is a look into one index, however many intents wait for few targets.

use std::sync::Arc;

use bytes::Bytes;
use opendmp_model::export::IfExists;
use opendmp_model::fault::{Fault, Tries};
use opendmp_model::ids::{Arrival, ContentHash, Pass, SlotId};
use opendmp_ports::journal::decide::{self, Reservation, TargetState};
use opendmp_ports::journal::{
    Action, End, ExportAction, ExportState, Finished, FlowId, Intent, IntentId, Lease, NewExport, RunId, SourceId,
    VersionId,
};
use rusqlite::{OptionalExtension, Row, params};

use super::queue::json;
use super::{Origin, Tables};
use crate::sqlite::blobs::{
    class_number, class_of, export_number, if_exists_number, if_exists_of, item_of, path_hash_of,
};
use crate::sqlite::fail::{Fail, Result};

/// Intents whose time has come that are looked at in one claim at least, to find the oldest among them.
const DUE_WINDOW: usize = 256;

/// The key of a dataset revision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Revision {
    pub shelf: i64,
    pub slot: SlotId,
    pub arrival: Arrival,
    pub pass: Pass,
}

/// An export that is wanted, its destination as an interned name too.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub destination: i64,
    pub export: NewExport,
}

/// What a wish to export came to, each with the target it is about.
pub(crate) enum Placed {
    Target { id: i64, number: u32 },
    Kept { id: i64 },
    Refused { id: i64, fault: Fault },
}

impl Placed {
    pub(crate) fn state(&self) -> ExportState {
        match self {
            Self::Target { .. } => ExportState::Pending,
            Self::Kept { .. } => ExportState::Kept,
            Self::Refused { .. } => ExportState::Refused,
        }
    }

    pub(crate) fn target(&self) -> i64 {
        match self {
            Self::Target { id, .. } | Self::Kept { id } | Self::Refused { id, .. } => *id,
        }
    }
}

/// A target as it stands.
#[derive(Clone, Copy, Debug)]
struct Target {
    id: i64,
    owner: Option<SlotId>,
    numbers: u32,
    written: Option<(Arrival, Pass, ContentHash)>,
    head: Option<i64>,
}

/// The targets at one destination, for one decision.
struct Targets<'t, 'c> {
    tables: &'t Tables<'c>,
    destination: i64,
}

impl decide::Targets for Targets<'_, '_> {
    type Error = Fail;

    fn state(&mut self, target: &[u8]) -> Result<Option<TargetState>> {
        let known = self.tables.target_named(self.destination, target)?;
        Ok(known.map(|known| TargetState { owner: known.owner, numbers: known.numbers }))
    }

    fn owned(&mut self, slot: SlotId, wanted: &[u8], from: u32) -> Result<Option<u32>> {
        let Some(base) = self.tables.target_named(self.destination, wanted)? else { return Ok(None) };
        let sql = "SELECT number FROM target INDEXED BY target_numbered WHERE base = ?1 AND owner_origin = ?2 \
                   AND owner_slot = ?3 AND number >= ?4 ORDER BY number LIMIT 1";
        let mut statement = self.tables.sql(sql)?;
        let values = params![base.id, slot.origin.0 as i64, slot.hash.0, from];
        Ok(statement.query_row(values, |row| row.get(0)).optional()?)
    }
}

const TARGET: &str = "id, owner_origin, owner_slot, numbers, written_arrival, written_pass, written_hash, head";

/// The columns of [`TARGET`].
type TargetColumns = (i64, Option<i64>, Option<Vec<u8>>, u32, Option<i64>, Option<u32>, Option<[u8; 32]>, Option<i64>);

fn target_columns(row: &Row<'_>) -> rusqlite::Result<TargetColumns> {
    row.try_into()
}

fn target((id, origin, slot, numbers, arrival, pass, hash, head): TargetColumns) -> Result<Target> {
    let owner = match (origin, slot) {
        (Some(origin), Some(slot)) => Some(SlotId { origin: Arrival(origin as u64), hash: path_hash_of(&slot)? }),
        _ => None,
    };
    let written = match (arrival, pass, hash) {
        (Some(arrival), Some(pass), Some(hash)) => Some((Arrival(arrival as u64), Pass(pass), ContentHash(hash))),
        _ => None,
    };
    Ok(Target { id, owner, numbers, written, head })
}

/// A claimed intent whose item is still encoded.
pub(crate) struct RawIntent {
    id: IntentId,
    origin: Origin,
    processor: Arc<str>,
    attempt: u32,
    tries: Tries,
    unknown: bool,
    action: RawAction,
}

enum RawAction {
    Release(Vec<Bytes>),
    Export { of: Revision, export: NewExport, item: Vec<u8>, ours: Option<ContentHash> },
}

impl RawIntent {
    pub(crate) fn decode(self) -> Result<Intent> {
        let action = match self.action {
            RawAction::Release(releases) => Action::Release { releases },
            RawAction::Export { of, export, item, ours } => {
                let Revision { slot, arrival, pass, .. } = of;
                Action::Export(ExportAction { slot, arrival, pass, item: item_of(&item)?, export, ours })
            }
        };
        Ok(Intent {
            id: self.id,
            flow: self.origin.flow,
            version: VersionId(self.origin.version as u32),
            run: self.origin.run,
            processor: self.processor,
            action,
            attempt: self.attempt,
            tries: self.tries,
            unknown: self.unknown,
        })
    }
}

/// An intent's row.
struct Stored {
    id: i64,
    kind: i64,
    origin: Origin,
    processor: i64,
    lease: i64,
    attempts: u32,
    tries: Tries,
    uncertain: bool,
    export: Option<StoredExport>,
}

struct StoredExport {
    of: Revision,
    target: i64,
    number: u32,
    wanted: Wanted,
    item: Vec<u8>,
}

impl Tables<'_> {
    fn target_named(&self, destination: i64, name: &[u8]) -> Result<Option<Target>> {
        let sql = format!("SELECT {TARGET} FROM target WHERE destination = ?1 AND name = ?2");
        let found = self.sql(&sql)?.query_row(params![destination, name], target_columns).optional()?;
        found.map(target).transpose()
    }

    fn target(&self, id: i64) -> Result<Target> {
        let sql = format!("SELECT {TARGET} FROM target WHERE id = ?1");
        let found = self.sql(&sql)?.query_row([id], target_columns).optional()?;
        target(found.ok_or_else(|| Fail::Damaged(format!("target {id} is missing")))?)
    }

    /// The row of a target's name, made where it is missing.
    fn target_row(&self, destination: i64, name: &[u8], of: Option<(i64, u32)>) -> Result<Target> {
        if let Some(known) = self.target_named(destination, name)? {
            return Ok(known);
        }
        let sql = "INSERT INTO target (destination, name, base, number) VALUES (?1, ?2, ?3, ?4)";
        let (base, number) = (of.map(|(base, _)| base), of.map_or(1, |(_, number)| number));
        let id = self.sql(sql)?.insert(params![destination, name, base, number])?;
        Ok(Target { id, owner: None, numbers: 0, written: None, head: None })
    }

    /// Decides where a slot's export goes, and reserves the target.
    pub(super) fn place(&mut self, slot: SlotId, wanted: &Wanted, from: u32) -> Result<Placed> {
        let destination = wanted.destination;
        let reservation = decide::reserve(slot, &wanted.export, from, &mut Targets { tables: self, destination })?;
        let (name, number) = match reservation {
            Reservation::Take { target, number } => (target, number),
            Reservation::Keep => {
                return Ok(Placed::Kept { id: self.target_row(destination, &wanted.export.target, None)?.id });
            }
            Reservation::Refuse(fault) => {
                let id = self.target_row(destination, &wanted.export.target, None)?.id;
                return Ok(Placed::Refused { id, fault });
            }
        };
        let of = if number > 1 {
            let base = self.target_row(destination, &wanted.export.target, None)?;
            if base.numbers < number {
                self.sql("UPDATE target SET numbers = ?2 WHERE id = ?1")?.execute(params![base.id, number])?;
            }
            Some((base.id, number))
        } else {
            None
        };
        let target = self.target_row(destination, &name, of)?;
        if target.owner.is_none() {
            let sql = "UPDATE target SET owner_origin = ?2, owner_slot = ?3, base = coalesce(base, ?4), \
                       number = CASE WHEN base IS NULL AND ?4 IS NOT NULL THEN ?5 ELSE number END WHERE id = ?1";
            let base = of.map(|(base, _)| base);
            let values = params![target.id, slot.origin.0 as i64, slot.hash.0, base, number];
            self.sql(sql)?.execute(values)?;
        }
        Ok(Placed::Target { id: target.id, number })
    }

    /// Says where a revision's export stands; `target` where it is another one now.
    pub(super) fn set_export(&mut self, of: Revision, state: ExportState, target: Option<i64>, at: i64) -> Result<()> {
        let sql = "UPDATE revision SET export = ?6, target = coalesce(?7, target) \
                   WHERE shelf = ?1 AND origin = ?2 AND slot = ?3 AND arrival = ?4 AND pass = ?5";
        let Revision { shelf, slot, arrival, pass } = of;
        let (origin, arrival) = (slot.origin.0 as i64, arrival.0 as i64);
        let values = params![shelf, origin, slot.hash.0, arrival, pass.0, export_number(state), target];
        self.sql(sql)?.execute(values)?;
        self.changed(shelf, slot, at);
        Ok(())
    }

    /// The end of an export is the revision's, unless the revision was sent elsewhere meanwhile.
    fn end_export(&mut self, export: &StoredExport, state: ExportState, at: i64) -> Result<()> {
        let exported = (state == ExportState::Written).then_some(at);
        let sql = "UPDATE revision SET export = ?6, exported = coalesce(?7, exported) \
                   WHERE shelf = ?1 AND origin = ?2 AND slot = ?3 AND arrival = ?4 AND pass = ?5 AND target = ?8";
        let Revision { shelf, slot, arrival, pass } = export.of;
        let (origin, arrival) = (slot.origin.0 as i64, arrival.0 as i64);
        let state = export_number(state);
        self.sql(sql)?.execute(params![shelf, origin, slot.hash.0, arrival, pass.0, state, exported, export.target])?;
        self.changed(shelf, slot, at);
        Ok(())
    }

    pub(super) fn add_release(
        &mut self,
        source: SourceId,
        processor: &str,
        releases: &[&Bytes],
        origin: Origin,
    ) -> Result<()> {
        self.memory.last.intent += 1;
        let id = self.memory.last.intent;
        let processor = self.name(processor)?;
        let space = self.flow(origin.flow)?.space;
        let sql = "INSERT INTO intent (id, kind, space, flow, version, run, processor, lease, due, head, attempts, \
                   uncertain, arrival, pass, source) VALUES (?1, 0, ?2, ?3, ?4, ?5, ?6, 0, 0, 1, 0, 0, 0, 0, ?7)";
        let values = params![id, space.0, origin.flow.0, origin.version, origin.run.0 as i64, processor, source.0];
        self.sql(sql)?.execute(values)?;
        let mut insert = self.sql("INSERT INTO release (intent, ordinal, source, name) VALUES (?1, ?2, ?3, ?4)")?;
        for (ordinal, release) in releases.iter().enumerate() {
            insert.execute(params![id, ordinal as i64, source.0, &***release])?;
        }
        Ok(())
    }

    pub(crate) fn retry_releases(&mut self, source: SourceId, now: i64) -> Result<u64> {
        let sql = "UPDATE intent INDEXED BY intent_queue SET due = ?2 \
                   WHERE lease = 0 AND head = 1 AND due > ?2 AND kind = 0 AND source = ?1";
        Ok(self.sql(sql)?.execute(params![source.0, now])? as u64)
    }

    /// Makes an export's intent. The run's and flow's numbers are the caller's.
    pub(super) fn add_intent(
        &mut self,
        of: Revision,
        wanted: &Wanted,
        (target, number): (i64, u32),
        item: &[u8],
        processor: i64,
        origin: Origin,
    ) -> Result<()> {
        self.memory.last.intent += 1;
        let id = self.memory.last.intent;
        let space = self.flow(origin.flow)?.space;
        let head = match self.target(target)?.head {
            None => true,
            Some(head) => {
                let sql = "UPDATE intent SET head = 0 WHERE id = ?1 AND lease = 0 AND attempts = 0 \
                           AND (arrival, pass) > (?2, ?3)";
                // The older one goes first, unless the other is under way already, or was.
                self.sql(sql)?.execute(params![head, of.arrival.0 as i64, of.pass.0])? > 0
            }
        };
        if head {
            self.sql("UPDATE target SET head = ?2 WHERE id = ?1")?.execute([target, id])?;
        }
        let sql = "INSERT INTO intent (id, kind, space, flow, version, run, processor, lease, due, head, attempts, \
                   uncertain, arrival, pass, shelf, origin, slot, target, number, destination, wanted, if_exists, \
                   class, item) VALUES (?1, 1, ?2, ?3, ?4, ?5, ?6, 0, 0, ?7, 0, 0, ?8, ?9, ?10, ?11, ?12, ?13, ?14, \
                   ?15, ?16, ?17, ?18, ?19)";
        self.sql(sql)?.execute(params![
            id,
            space.0,
            origin.flow.0,
            origin.version,
            origin.run.0 as i64,
            processor,
            head,
            of.arrival.0 as i64,
            of.pass.0,
            of.shelf,
            of.slot.origin.0 as i64,
            of.slot.hash.0,
            target,
            number,
            wanted.destination,
            wanted.export.target,
            if_exists_number(wanted.export.if_exists),
            class_number(wanted.export.class),
            item,
        ])?;
        Ok(())
    }

    /// Gives a target its next head: the intent that was attempted before, since nobody knows what it wrote, or else the
    /// oldest that waits for it. None of them is claimed.
    fn elect(&mut self, target: i64) -> Result<()> {
        let sql = "SELECT id FROM intent INDEXED BY intent_target WHERE target = ?1 \
                   ORDER BY attempts = 0, arrival, pass, id LIMIT 1";
        let next: Option<i64> = self.sql(sql)?.query_row([target], |row| row.get(0)).optional()?;
        let before = self.target(target)?.head;
        if before == next {
            return Ok(());
        }
        if let Some(before) = before {
            self.sql("UPDATE intent SET head = 0 WHERE id = ?1")?.execute([before])?;
        }
        if let Some(next) = next {
            self.sql("UPDATE intent SET head = 1 WHERE id = ?1")?.execute([next])?;
        }
        self.sql("UPDATE target SET head = ?2 WHERE id = ?1")?.execute(params![target, next])?;
        Ok(())
    }

    fn stored_intent(&mut self, id: i64) -> Result<Option<Stored>> {
        let sql = "SELECT kind, flow, version, run, processor, lease, attempts, uncertain, arrival, pass, shelf, origin, \
                   slot, target, number, destination, wanted, if_exists, class, item, failures, waits FROM intent WHERE id = ?1";
        let found = self.sql(sql)?.query_row([id], |row| {
            let origin =
                Origin { flow: FlowId(row.get(1)?), version: row.get(2)?, run: RunId(row.get::<_, i64>(3)? as u64) };
            let stored = Stored {
                id,
                kind: row.get(0)?,
                origin,
                processor: row.get(4)?,
                lease: row.get(5)?,
                attempts: row.get(6)?,
                tries: Tries { failures: row.get(20)?, waits: row.get(21)? },
                uncertain: row.get(7)?,
                export: None,
            };
            if stored.kind == 0 {
                return Ok((stored, None));
            }
            let key: (i64, i64, Vec<u8>, i64, u32) =
                (row.get(10)?, row.get(11)?, row.get(12)?, row.get(8)?, row.get(9)?);
            let target: (i64, u32) = (row.get(13)?, row.get(14)?);
            let sink: (i64, Vec<u8>, i64, i64) = (row.get(15)?, row.get(16)?, row.get(17)?, row.get(18)?);
            Ok((stored, Some((key, target, sink, row.get::<_, Vec<u8>>(19)?))))
        });
        let Some((stored, export)) = found.optional()? else { return Ok(None) };
        let Some(((shelf, origin, slot, arrival, pass), (target, number), sink, item)) = export else {
            return Ok(Some(stored));
        };
        let (destination, wanted, if_exists, class) = sink;
        let slot = SlotId { origin: Arrival(origin as u64), hash: path_hash_of(&slot)? };
        let of = Revision { shelf, slot, arrival: Arrival(arrival as u64), pass: Pass(pass) };
        let export = NewExport {
            destination: self.text(destination)?,
            target: wanted,
            if_exists: if_exists_of(if_exists)?,
            class: class_of(class)?,
        };
        let wanted = Wanted { destination, export };
        Ok(Some(Stored { export: Some(StoredExport { of, target, number, wanted, item }), ..stored }))
    }

    /// The newest arrival and pass that came to what is exported.
    fn as_new_as(&self, of: Revision) -> Result<(Arrival, Pass)> {
        let sql = "SELECT coalesce(latest_arrival, arrival), coalesce(latest_pass, pass) FROM revision \
                   WHERE shelf = ?1 AND origin = ?2 AND slot = ?3 AND arrival = ?4 AND pass = ?5";
        let Revision { shelf, slot, arrival, pass } = of;
        let values = params![shelf, slot.origin.0 as i64, slot.hash.0, arrival.0 as i64, pass.0];
        let latest =
            self.sql(sql)?.query_row(values, |row| Ok((Arrival(row.get::<_, i64>(0)? as u64), Pass(row.get(1)?))));
        Ok(latest.optional()?.unwrap_or((arrival, pass)))
    }

    /// Unclaimed heads whose time has come, oldest first.
    fn claimable_intents(&self, now: i64, limit: usize) -> Result<Vec<i64>> {
        let key = |row: &Row<'_>| -> rusqlite::Result<(i64, i64, i64)> { row.try_into() };
        let mut found = Vec::new();
        let sql = "SELECT arrival, pass, id FROM intent INDEXED BY intent_queue \
                   WHERE lease = 0 AND head = 1 AND due = 0 ORDER BY arrival, pass, id LIMIT ?1";
        let limit_sql = i64::try_from(limit).unwrap_or(i64::MAX);
        for row in self.sql(sql)?.query_map([limit_sql], key)? {
            found.push(row?);
        }
        let sql = "SELECT arrival, pass, id FROM intent INDEXED BY intent_queue \
                   WHERE lease = 0 AND head = 1 AND due > 0 AND due <= ?1 ORDER BY due, arrival, pass, id LIMIT ?2";
        let window = i64::try_from(limit.max(DUE_WINDOW)).unwrap_or(i64::MAX);
        for row in self.sql(sql)?.query_map([now, window], key)? {
            found.push(row?);
        }
        found.sort_unstable();
        found.truncate(limit);
        Ok(found.into_iter().map(|(_, _, id)| id).collect())
    }

    pub(crate) fn claim_intents(&mut self, lease: Lease, now: i64, limit: usize) -> Result<Vec<RawIntent>> {
        if !self.live(lease) {
            return Err(decide::taken_over("journal claim intents").into());
        }
        let mut out = Vec::new();
        loop {
            let mut superseded = false;
            for id in self.claimable_intents(now, limit - out.len())? {
                let found = self.stored_intent(id)?;
                let stored = found.ok_or_else(|| Fail::Damaged(format!("intent {id} is missing")))?;
                match self.claim_intent(stored, lease, now)? {
                    Some(raw) => out.push(raw),
                    None => superseded = true,
                }
            }
            // What was superseded made room for the next of its target.
            if !superseded || out.len() >= limit {
                return Ok(out);
            }
        }
    }

    /// Claims one intent; `None` where a newer one was there first, and ended it.
    fn claim_intent(&mut self, stored: Stored, lease: Lease, now: i64) -> Result<Option<RawIntent>> {
        let action = match stored.export {
            None => {
                let sql = "SELECT name FROM release WHERE intent = ?1 ORDER BY ordinal";
                let mut statement = self.sql(sql)?;
                let names = statement.query_map([stored.id], |row| row.get::<_, Vec<u8>>(0).map(Bytes::from))?;
                RawAction::Release(names.collect::<rusqlite::Result<_>>()?)
            }
            Some(export) => {
                let target = self.target(export.target)?;
                let of = export.of;
                let written = target.written.map(|(arrival, pass, _)| (arrival, pass));
                if decide::supersedes(written, self.as_new_as(of)?) {
                    self.end_export(&export, ExportState::Superseded, now)?;
                    self.sql("DELETE FROM intent WHERE id = ?1")?.execute([stored.id])?;
                    self.elect(export.target)?;
                    self.outstanding(stored.origin.run, 0, -1, now)?;
                    return Ok(None);
                }
                let ours = target.written.filter(|_| target.owner == Some(of.slot)).map(|(_, _, hash)| hash);
                let name =
                    self.sql("SELECT name FROM target WHERE id = ?1")?.query_row([export.target], |row| row.get(0))?;
                let export_to = NewExport { target: name, ..export.wanted.export };
                RawAction::Export { of, export: export_to, item: export.item, ours }
            }
        };
        let sql = "UPDATE intent SET lease = ?2, attempts = attempts + 1 WHERE id = ?1";
        self.sql(sql)?.execute([stored.id, lease.0 as i64])?;
        Ok(Some(RawIntent {
            id: IntentId(stored.id as u64),
            origin: stored.origin,
            processor: self.text(stored.processor)?,
            attempt: stored.attempts + 1,
            tries: stored.tries,
            unknown: stored.uncertain,
            action,
        }))
    }

    /// Takes all claimed intents from whoever has them.
    pub(super) fn lose_intents(&mut self) -> Result<u64> {
        let mut statement = self.sql("SELECT target FROM intent INDEXED BY intent_lease WHERE lease > 0")?;
        let targets = statement.query_map([], |row| row.get::<_, Option<i64>>(0))?;
        let targets = targets.collect::<rusqlite::Result<Vec<_>>>()?;
        drop(statement);
        let sql = "UPDATE intent INDEXED BY intent_lease SET lease = 0, uncertain = 1 WHERE lease > 0";
        self.sql(sql)?.execute([])?;
        for target in targets.iter().flatten() {
            self.elect(*target)?;
        }
        Ok(targets.len() as u64)
    }

    pub(crate) fn finish(&mut self, done: &Finished) -> Result<()> {
        let Some(stored) = self.stored_intent(done.id.0 as i64)? else { return Ok(()) };
        if stored.lease != done.lease.0 as i64 || stored.attempts != done.attempt || !self.live(done.lease) {
            return Ok(());
        }
        if let End::Retry { due, tries, fault } = &done.end {
            let sql = "UPDATE intent SET lease = 0, due = ?2, failures = ?3, waits = ?4, fault = ?5 WHERE id = ?1";
            self.sql(sql)?.execute(params![stored.id, (*due).max(0), tries.failures, tries.waits, json(fault)])?;
            return match stored.export {
                Some(export) => self.elect(export.target),
                None => Ok(()),
            };
        }
        self.sql("DELETE FROM intent WHERE id = ?1")?.execute([stored.id])?;
        let origin = stored.origin;
        let mut exports = 0;
        match stored.export {
            None => {
                self.sql("DELETE FROM release WHERE intent = ?1")?.execute([stored.id])?;
            }
            Some(export) => {
                self.elect(export.target)?;
                let processor = self.text(stored.processor)?;
                exports = self.end(&export, done, &processor, origin, stored.tries.failures + 1)?;
            }
        }
        self.outstanding(origin.run, 0, exports - 1, done.at)
    }

    /// What follows from the end of an export. Answers how many intents.
    fn end(
        &mut self,
        export: &StoredExport,
        done: &Finished,
        processor: &Arc<str>,
        origin: Origin,
        attempts: u32,
    ) -> Result<i64> {
        let (of, wanted, at) = (export.of, &export.wanted, done.at);
        let fault = match &done.end {
            End::Retry { .. } => return Ok(0),
            End::Done => {
                let sql = "UPDATE target SET owner_origin = ?2, owner_slot = ?3, written_arrival = ?4, \
                           written_pass = ?5, written_hash = ?6 WHERE id = ?1";
                let hash = item_of(&export.item)?.content.hash;
                let (arrival, pass) = self.as_new_as(of)?;
                let (first, arrival) = (of.slot.origin.0 as i64, arrival.0 as i64);
                self.sql(sql)?.execute(params![export.target, first, of.slot.hash.0, arrival, pass.0, hash.0])?;
                self.end_export(export, ExportState::Written, at)?;
                self.run(origin.run)?.exported += 1;
                return Ok(0);
            }
            End::Occupied => {
                self.disown(export)?;
                match wanted.export.if_exists {
                    IfExists::Version | IfExists::Overwrite => {
                        let (item, from) = (item_of(&export.item)?, export.number.saturating_add(1));
                        return self.export_again(of, wanted, item, processor, origin, at, from);
                    }
                    IfExists::Keep => {
                        self.end_export(export, ExportState::Kept, at)?;
                        return Ok(0);
                    }
                    IfExists::Fail => decide::taken(&wanted.export.target),
                }
            }
            End::Refused(fault) => fault.clone(),
        };
        self.end_export(export, ExportState::Refused, at)?;
        self.add_refused(of, wanted, item_of(&export.item)?, fault, processor, origin, at, attempts)?;
        Ok(0)
    }

    /// Gives up a target that its slot never wrote, because a foreign file is there. Nobody else waits for it.
    fn disown(&mut self, export: &StoredExport) -> Result<()> {
        let sql = "UPDATE target SET owner_origin = NULL, owner_slot = NULL \
                   WHERE id = ?1 AND head IS NULL AND written_arrival IS NULL AND owner_origin = ?2 AND owner_slot = ?3";
        let slot = export.of.slot;
        self.sql(sql)?.execute(params![export.target, slot.origin.0 as i64, slot.hash.0])?;
        Ok(())
    }
}
