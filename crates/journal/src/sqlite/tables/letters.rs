//! Dead letters: made, sent in again, given up.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use opendmp_model::export::IfExists;
use opendmp_model::fault::Fault;
use opendmp_model::ids::{Arrival, ItemId, Pass, SlotId, TaskId};
use opendmp_model::item::Item;
use opendmp_ports::journal::{
    FlowId, NewDeadLetter, NewExport, Reader, Reentry, RunId, RunMode, Seq, SpaceId, dead_letter_id, decide,
};
use opendmp_ports::{Error, ErrorKind};
use rusqlite::{OptionalExtension, params};

use super::exports::{Placed, Revision, Wanted};
use super::queue::json;
use super::{Origin, Tables, groups, seq_of, seq_value};
use crate::sqlite::blobs::{
    class_number, class_of, content_bytes, if_exists_number, if_exists_of, item_bytes, item_of, path_hash_of,
};
use crate::sqlite::fail::Result;

/// A dead letter as it is written.
pub(crate) struct PreparedLetter {
    id: TaskId,
    at: Reader,
    item: Vec<u8>,
    fault: String,
    log: String,
    attempts: u32,
    of: ItemId,
    words: Fault,
}

impl From<NewDeadLetter> for PreparedLetter {
    fn from(letter: NewDeadLetter) -> Self {
        Self {
            id: letter.id,
            at: letter.at,
            item: item_bytes(&letter.item),
            fault: json(&letter.fault),
            log: json(&letter.log),
            attempts: letter.attempts,
            of: letter.item.id,
            words: Fault { traceback: None, ..letter.fault },
        }
    }
}

impl PreparedLetter {
    /// Whose it is.
    pub(super) fn item(&self) -> ItemId {
        self.of
    }
}

/// An open dead letter that is sent in again.
struct OpenLetter {
    flow: FlowId,
    at: Reader,
    item: Item,
    export: Option<(Revision, Wanted)>,
    made: Option<Seq>,
}

impl Tables<'_> {
    pub(super) fn add_dead(
        &mut self,
        letter: &PreparedLetter,
        origin: Origin,
        at: i64,
        export: Option<(Revision, &Wanted)>,
        made: Option<Seq>,
    ) -> Result<()> {
        let id = letter.id.to_bytes();
        let before = self
            .sql("DELETE FROM letter WHERE id = ?1 RETURNING state, flow, grp")?
            .query_row([id], |row| Ok((row.get::<_, i64>(0)?, row.get(1).map(FlowId)?, row.get(2)?)));
        let before = before.optional()?;
        self.memory.last.letter += 1;
        let number = self.memory.last.letter;
        let processor = self.name(&letter.at.processor)?;
        let space = self.flow(origin.flow)?.space;
        if let Some((0, _, group)) = before {
            groups::count(self.conn, group, -1)?;
        }
        let group = groups::find(self.conn, origin.flow, (processor, &letter.at.processor), &letter.words)?;
        groups::count(self.conn, Some(group), 1)?;
        let sql = "INSERT INTO letter (number, id, space, flow, version, run, processor, input, attempts, failed, state, \
                   item, fault, log, shelf, origin, slot, arrival, revision_pass, destination, wanted, if_exists, class, made, grp) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 0, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, \
                   ?20, ?21, ?22, ?23, ?24)";
        let revision = export.as_ref().map(|(revision, _)| *revision);
        let wanted = export.map(|(_, wanted)| wanted);
        self.sql(sql)?.execute(params![
            number,
            id,
            space.0,
            origin.flow.0,
            origin.version,
            origin.run.0 as i64,
            processor,
            letter.at.input,
            letter.attempts,
            at,
            letter.item,
            letter.fault,
            letter.log,
            revision.map(|r| r.shelf),
            revision.map(|r| r.slot.origin.0 as i64),
            revision.map(|r| r.slot.hash.0),
            revision.map(|r| r.arrival.0 as i64),
            revision.map(|r| r.pass.0),
            wanted.map(|w| w.destination),
            wanted.map(|w| w.export.target.as_slice()),
            wanted.map(|w| if_exists_number(w.export.if_exists)),
            wanted.map(|w| class_number(w.export.class)),
            seq_value(made),
            group,
        ])?;
        self.run(origin.run)?.dead += 1;
        match before {
            // It was open and counted already.
            Some((0, flow, _)) if flow == origin.flow => Ok(()),
            Some((0, flow, _)) => {
                self.count_dead(flow, -1)?;
                self.count_dead(origin.flow, 1)
            }
            _ => self.count_dead(origin.flow, 1),
        }
    }

    /// The dead letter of an export that was refused.
    #[expect(clippy::too_many_arguments, reason = "all of it is what the letter keeps")]
    pub(super) fn add_refused(
        &mut self,
        of: Revision,
        wanted: &Wanted,
        item: Item,
        fault: Fault,
        processor: &Arc<str>,
        origin: Origin,
        at: i64,
        attempts: u32,
    ) -> Result<()> {
        let reader = Reader { processor: Arc::clone(processor), input: 0 };
        let id = dead_letter_id(item.id, &reader);
        let letter = NewDeadLetter { id, at: reader, item, fault, attempts, log: Vec::new() };
        self.add_dead(&letter.into(), origin, at, Some((of, wanted)), None)
    }

    fn open_letter(&mut self, id: TaskId) -> Result<Option<OpenLetter>> {
        let sql = "SELECT flow, processor, input, item, shelf, origin, slot, arrival, revision_pass, destination, wanted, \
                   if_exists, class, made FROM letter WHERE id = ?1 AND state = 0";
        let found = self.sql(sql)?.query_row([id.to_bytes()], |row| {
            let reader: (i64, u32) = (row.get(1)?, row.get(2)?);
            let export = match row.get::<_, Option<i64>>(4)? {
                Some(shelf) => {
                    let numbers: (i64, i64, u32) = (row.get(5)?, row.get(7)?, row.get(8)?);
                    let sink: (i64, Vec<u8>, i64, i64) = (row.get(9)?, row.get(10)?, row.get(11)?, row.get(12)?);
                    Some((shelf, numbers, row.get::<_, Vec<u8>>(6)?, sink))
                }
                None => None,
            };
            Ok((FlowId(row.get(0)?), reader, row.get::<_, Vec<u8>>(3)?, export, seq_of(row.get(13)?)))
        });
        let Some((flow, (processor, input), item, export, made)) = found.optional()? else { return Ok(None) };
        let export = match export {
            None => None,
            Some((shelf, (origin, arrival, pass), slot, (destination, target, if_exists, class))) => {
                let slot = SlotId { origin: Arrival(origin as u64), hash: path_hash_of(&slot)? };
                let of = Revision { shelf, slot, arrival: Arrival(arrival as u64), pass: Pass(pass) };
                let if_exists: IfExists = if_exists_of(if_exists)?;
                let class = class_of(class)?;
                let export = NewExport { destination: self.text(destination)?, target, if_exists, class };
                Some((of, Wanted { destination, export }))
            }
        };
        let at = Reader { processor: self.text(processor)?, input };
        Ok(Some(OpenLetter { flow, at, item: item_of(&item)?, export, made }))
    }

    pub(crate) fn reenter(&mut self, reentry: &Reentry) -> Result<(RunId, u64)> {
        let operation = "journal reenter";
        let mut open: Vec<(TaskId, OpenLetter)> = Vec::new();
        let mut seen = HashSet::new();
        for &id in &reentry.letters {
            if seen.insert(id)
                && let Some(letter) = self.open_letter(id)?
            {
                open.push((id, letter));
            }
        }
        decide::newest_passes(&mut open, |(id, _)| *id);
        if open.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, operation, "none of these dead letters is open").into());
        }
        let version = i64::from(reentry.version.0);
        let flow = self.flow_of_version(version)?;
        let flow = flow.ok_or_else(|| decide::missing(operation, format!("version {version}")))?;
        let slug = Arc::clone(&self.flow(flow)?.slug);
        for (_, letter) in &open {
            if self.flow(letter.flow)?.slug != slug {
                return Err(decide::letters_differ().into());
            }
        }
        if reentry.edit.is_some() {
            decide::fits_edit(&open.iter().map(|(_, letter)| letter.export.is_some()).collect::<Vec<_>>())?;
        }
        let at = reentry.at;
        let trigger = decide::retry_trigger(open.len());
        let run = self.new_run(flow, version, RunMode::Live, &trigger, false, at)?;
        let origin = Origin { flow, version, run };
        let space = self.flow(flow)?.space;
        self.audit(space, at, &reentry.actor, "retry", &slug, Some(&trigger))?;
        let mut before: HashMap<ItemId, (Item, Option<Seq>)> = HashMap::new();
        let mut edited = None;
        let mut groups: BTreeMap<Reader, Vec<Item>> = BTreeMap::new();
        let mut passes: BTreeMap<Reader, Pass> = BTreeMap::new();
        let mut intents = 0;
        let count = open.len() as u64;
        for (id, letter) in open {
            let pass = match passes.get(&letter.at) {
                Some(pass) => *pass,
                None => {
                    let pass = self.new_pass()?;
                    passes.insert(letter.at.clone(), pass);
                    pass
                }
            };
            let sql = "UPDATE letter SET state = 1, pass = ?2, ended = ?3, actor = ?4 WHERE id = ?1 RETURNING grp";
            let values = params![id.to_bytes(), pass.0, at, reentry.actor];
            let group = self.sql(sql)?.query_row(values, |row| row.get(0))?;
            groups::count(self.conn, group, -1)?;
            self.count_dead(letter.flow, -1)?;
            match letter.export {
                Some((of, wanted)) => {
                    intents += self.export_again(of, &wanted, letter.item, &letter.at.processor, origin, at, 1)?;
                }
                None => {
                    let mut again = Item { id: ItemId { pass, ..letter.item.id }, ..letter.item.clone() };
                    if let Some(edit) = &reentry.edit {
                        again.content = edit.content;
                        edited = Some((id, pass, letter.item.content, edit));
                    }
                    before.insert(again.id, (letter.item, letter.made));
                    groups.entry(letter.at).or_default().push(again);
                }
            }
        }
        let mut items = 0;
        for (to, group) in groups {
            for task in decide::tasks_for(&to, group) {
                let (steps, made) = decide::reentry_record(reentry.context, at, &task, &before);
                let seq = self.record(run, at, &reentry.actor, &[steps], &made)?;
                if let Some((letter, pass, before, edit)) = edited.take() {
                    let sql = "INSERT INTO edit (space, letter, pass, seq, at, actor, note, before, after) \
                               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
                    let (before, after) = (content_bytes(&before), content_bytes(&edit.content));
                    let (letter, seq) = (letter.to_bytes(), seq.0 as i64);
                    let values = params![space.0, letter, pass.0, seq, at, reentry.actor, edit.note, before, after];
                    self.sql(sql)?.execute(values)?;
                }
                items += self.enqueue(&[task.into()], origin, RunMode::Live, |_| Some(seq))?;
            }
        }
        self.outstanding(run, items, intents, at)?;
        Ok((run, count))
    }

    /// Reserves a target anew and makes the intent, or what stands for it. Answers how many intents.
    #[expect(clippy::too_many_arguments, reason = "an export, whose it is, and where its search begins")]
    pub(super) fn export_again(
        &mut self,
        of: Revision,
        wanted: &Wanted,
        item: Item,
        processor: &Arc<str>,
        origin: Origin,
        at: i64,
        from: u32,
    ) -> Result<i64> {
        let placed = self.place(of.slot, wanted, from)?;
        self.set_export(of, placed.state(), Some(placed.target()), at)?;
        match placed {
            Placed::Target { id, number } => {
                let name = self.name(processor)?;
                self.add_intent(of, wanted, (id, number), &item_bytes(&item), name, origin)?;
                Ok(1)
            }
            Placed::Kept { .. } => Ok(0),
            Placed::Refused { fault, .. } => {
                self.add_refused(of, wanted, item, fault, processor, origin, at, 1)?;
                Ok(0)
            }
        }
    }

    pub(crate) fn discard(&mut self, letters: &[TaskId], reason: &str, actor: &str, at: i64) -> Result<u64> {
        let mut count = 0;
        let mut space: Option<SpaceId> = None;
        let sql = "UPDATE letter SET state = 2, reason = ?2, actor = ?3, ended = ?4 WHERE id = ?1 AND state = 0 \
                   RETURNING flow, space, grp";
        for id in letters {
            let ended = self.sql(sql)?.query_row(params![id.to_bytes(), reason, actor, at], |row| {
                Ok((row.get(0).map(FlowId)?, row.get(1).map(SpaceId)?, row.get(2)?))
            });
            if let Some((flow, of, group)) = ended.optional()? {
                groups::count(self.conn, group, -1)?;
                space = Some(of);
                self.count_dead(flow, -1)?;
                count += 1;
            }
        }
        if let Some(space) = space {
            self.audit(space, at, actor, "discard", &format!("{count} dead letters"), Some(reason))?;
        }
        Ok(count)
    }
}
