//! What aggregates hold: groups, the looks at them, and their closing.

use std::collections::{HashMap, HashSet};

use opendmp_model::codec::{decode_items, encode_items};
use opendmp_model::ids::{ItemId, PathHash, TaskId};
use opendmp_model::item::{Item, Order};
use opendmp_model::manifest::Load;
use opendmp_ports::journal::{
    Closing, FlowId, GroupRow, HeldKey, HoldRule, NewHeld, Reader, RunId, RunMode, Seq, decide,
};
use rusqlite::{OptionalExtension, Row, params};

use super::queue::json;
use super::{Origin, Tables, seq_of, seq_value};
use crate::sqlite::blobs::path_hash_of;
use crate::sqlite::fail::{Fail, Result};

/// Where items that were held were made.
pub(super) type Makers = HashMap<ItemId, Option<Seq>>;

/// Held items, encoded off the writer's thread.
pub(crate) struct PreparedHeld {
    group: PathHash,
    to: Reader,
    rule: HoldRule,
    items: Vec<u8>,
    count: i64,
    bytes: i64,
    least: Option<Order>,
}

impl From<NewHeld> for PreparedHeld {
    fn from(held: NewHeld) -> Self {
        Self {
            group: held.group,
            to: held.to,
            rule: held.rule,
            count: held.items.len() as i64,
            bytes: bytes_of(&held.items),
            least: held.items.first().map(Order::of),
            items: encode_items(&held.items),
        }
    }
}

fn bytes_of(items: &[Item]) -> i64 {
    items.iter().map(|item| item.content.size).sum::<u64>() as i64
}

/// A group as this call leaves it.
struct Held {
    id: i64,
    row: GroupRow,
    version: i64,
    looks: u32,
    looking: bool,
}

/// Columns of a [`Held`].
const GROUP: &str = "id, grouping, processor, input, rule, version, items, bytes, changed, generation, flush, looks, \
                     looking";

/// The columns as they are, with what has to be looked up or read: the processor, the rule, the name.
fn raw(row: &Row<'_>) -> rusqlite::Result<(Held, i64, String, Vec<u8>)> {
    let group = GroupRow {
        group: PathHash::default(),
        to: Reader { processor: "".into(), input: row.get(3)? },
        rule: HoldRule::default(),
        items: row.get::<_, i64>(6)? as u64,
        bytes: row.get::<_, i64>(7)? as u64,
        changed: row.get(8)?,
        generation: row.get(9)?,
        flush: row.get(10)?,
    };
    let held = Held { id: row.get(0)?, row: group, version: row.get(5)?, looks: row.get(11)?, looking: row.get(12)? };
    Ok((held, row.get(2)?, row.get(4)?, row.get(1)?))
}

impl Tables<'_> {
    fn group_of(&mut self, (held, processor, rule, name): (Held, i64, String, Vec<u8>)) -> Result<Held> {
        let mut held = held;
        held.row.group = path_hash_of(&name)?;
        held.row.to.processor = self.text(processor)?;
        held.row.rule = serde_json::from_str(&rule)?;
        Ok(held)
    }

    fn find_group(&mut self, flow: FlowId, group: PathHash) -> Result<Option<Held>> {
        let sql = format!("SELECT {GROUP} FROM held_group WHERE flow = ?1 AND grouping = ?2");
        let found = self.sql(&sql)?.query_row(params![flow.0, group.0], raw).optional()?;
        found.map(|found| self.group_of(found)).transpose()
    }

    fn write_group(&mut self, held: &Held, run: RunId) -> Result<()> {
        let sql = "UPDATE held_group SET version = ?2, run = ?3, items = ?4, bytes = ?5, changed = ?6, generation = ?7, \
                   flush = ?8, looks = ?9, looking = ?10 WHERE id = ?1";
        let row = &held.row;
        self.sql(sql)?.execute(params![
            held.id,
            held.version,
            run.0 as i64,
            row.items as i64,
            row.bytes as i64,
            row.changed,
            row.generation,
            row.flush,
            held.looks,
            held.looking,
        ])?;
        Ok(())
    }

    /// The run of those who added last.
    fn run_of_group(&self, id: i64) -> Result<RunId> {
        let mut statement = self.sql("SELECT run FROM held_group WHERE id = ?1")?;
        Ok(statement.query_row([id], |row| row.get::<_, i64>(0).map(|run| RunId(run as u64)))?)
    }

    /// Adds to a group. Answers how much work that makes.
    pub(super) fn hold(
        &mut self,
        new: &PreparedHeld,
        origin: Origin,
        mode: RunMode,
        at: i64,
        made: Option<Seq>,
    ) -> Result<i64> {
        let mut held = match self.find_group(origin.flow, new.group)? {
            Some(held) => held,
            None => {
                let processor = self.name(&new.to.processor)?;
                let sql = "INSERT INTO held_group (flow, grouping, processor, input, rule, version, run, items, bytes, \
                           changed, generation, flush, looks, looking) \
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0, ?8, 0, 0, 0, 0)";
                let (run, rule) = (origin.run.0 as i64, json(&new.rule));
                let id = self.sql(sql)?.insert(params![
                    origin.flow.0,
                    new.group.0,
                    processor,
                    new.to.input,
                    rule,
                    origin.version,
                    run,
                    at
                ])?;
                let row = GroupRow {
                    group: new.group,
                    to: new.to.clone(),
                    rule: new.rule,
                    items: 0,
                    bytes: 0,
                    changed: at,
                    generation: 0,
                    flush: false,
                };
                Held { id, row, version: origin.version, looks: 0, looking: false }
            }
        };
        held.row.items += new.count as u64;
        held.row.bytes += new.bytes as u64;
        held.row.changed = at;
        held.version = origin.version;
        self.memory.last.task += 1;
        let row = self.memory.last.task;
        if let Some(least) = new.least {
            self.put_row(held.id, (least, row as u64), &new.items, made)?;
        }
        self.count_held(origin.flow, new.count)?;
        let work = self.arm(&mut held, origin.flow, origin.run, mode, 0)?;
        self.write_group(&held, origin.run)?;
        Ok(work)
    }

    /// Ends a look. Answers how much work follows, and where of `wanted` those were made that were taken.
    pub(super) fn looked(
        &mut self,
        group: PathHash,
        closing: Option<&Closing>,
        origin: Origin,
        mode: RunMode,
        wanted: &HashSet<ItemId>,
    ) -> Result<(i64, Makers)> {
        let mut makers = Makers::new();
        let Some(mut held) = self.find_group(origin.flow, group)? else { return Ok((0, makers)) };
        let mut note = |items: &[Item], made: Option<Seq>| {
            let here = items.iter().map(|item| item.id).filter(|id| wanted.contains(id));
            makers.extend(here.map(|id| (id, made)));
        };
        held.looking = false;
        let (mut count, mut bytes, mut again) = (0i64, 0i64, 0);
        let generation = held.row.generation + 1;
        if let Some(closing) = closing {
            again = closing.again;
            for row in &closing.whole {
                let Some((items, made)) = self.take_row(held.id, *row)? else { continue };
                let taken = decode_items(&items)?;
                note(&taken, made);
                count += taken.len() as i64;
                bytes += bytes_of(&taken);
                self.mark(held.id, generation, *row, &items)?;
            }
            for part in &closing.parts {
                let Some((_, made)) = self.take_row(held.id, part.row)? else { continue };
                note(&part.taken, made);
                if let Some(first) = part.rest.first() {
                    self.put_row(held.id, (Order::of(first), part.row.1), &encode_items(&part.rest), made)?;
                }
                if let Some(first) = part.taken.first() {
                    count += part.taken.len() as i64;
                    bytes += bytes_of(&part.taken);
                    let row = (Order::of(first), part.row.1);
                    self.mark(held.id, generation, row, &encode_items(&part.taken))?;
                }
            }
        }
        if count > 0 {
            held.row.generation = generation;
            held.row.items = held.row.items.saturating_sub(count as u64);
            held.row.bytes = held.row.bytes.saturating_sub(bytes as u64);
            self.count_held(origin.flow, -count)?;
        }
        if held.row.items == 0 {
            held.row.flush = false;
        }
        let run = self.run_of_group(held.id)?;
        let work = self.arm(&mut held, origin.flow, origin.run, mode, again)?;
        self.write_group(&held, run)?;
        Ok((work, makers))
    }

    fn put_row(&mut self, group: i64, row: HeldKey, items: &[u8], made: Option<Seq>) -> Result<()> {
        let sql = "INSERT INTO held (grp, least, id, items, made) VALUES (?1, ?2, ?3, ?4, ?5)";
        self.sql(sql)?.execute(params![group, row.0.to_bytes(), row.1 as i64, items, seq_value(made)])?;
        Ok(())
    }

    fn take_row(&mut self, group: i64, row: HeldKey) -> Result<Option<(Vec<u8>, Option<Seq>)>> {
        let sql = "DELETE FROM held WHERE grp = ?1 AND least = ?2 AND id = ?3 RETURNING items, made";
        let mut statement = self.sql(sql)?;
        let found = statement
            .query_row(params![group, row.0.to_bytes(), row.1 as i64], |row| Ok((row.get(0)?, seq_of(row.get(1)?))));
        Ok(found.optional()?)
    }

    fn mark(&mut self, group: i64, generation: u32, row: HeldKey, items: &[u8]) -> Result<()> {
        let sql = "INSERT INTO joined (grp, generation, least, id, items) VALUES (?1, ?2, ?3, ?4, ?5)";
        self.sql(sql)?.execute(params![group, generation, row.0.to_bytes(), row.1 as i64, items])?;
        Ok(())
    }

    /// Sees to it that a group is looked at when it may have to be closed. Answers how much work that makes.
    fn arm(&mut self, held: &mut Held, flow: FlowId, run: RunId, mode: RunMode, again: i64) -> Result<i64> {
        let Some(due) = decide::look_due(&held.row) else { return Ok(0) };
        let due = due.max(again);
        if held.looking {
            let id = decide::look(flow, held.row.group, &held.row.to, held.looks, due).id;
            let sql = "UPDATE task SET due = ?2 WHERE id = ?1 AND lease = 0 AND due > ?2";
            self.sql(sql)?.execute(params![id.to_bytes(), due])?;
            return Ok(0);
        }
        held.looks += 1;
        held.looking = true;
        let task = decide::look(flow, held.row.group, &held.row.to, held.looks, due);
        self.enqueue(&[task.into()], Origin { flow, version: held.version, run }, mode, |_| None)
    }

    /// Everything in these groups is to be closed, in this run. Answers how much work that makes.
    fn flush_groups(&mut self, flow: FlowId, groups: Vec<i64>, run: RunId, mode: RunMode) -> Result<i64> {
        let mut work = 0;
        for id in groups {
            let sql = format!("SELECT {GROUP} FROM held_group WHERE id = ?1");
            let found = self.sql(&sql)?.query_row([id], raw)?;
            let mut held = self.group_of(found)?;
            let of = self.run_of_group(id)?;
            held.row.flush = true;
            work += self.arm(&mut held, flow, run, mode, 0)?;
            self.write_group(&held, of)?;
        }
        Ok(work)
    }

    /// A run has nothing left to do: groups that end with it are closed. Answers how much work that makes.
    pub(super) fn run_over(&mut self, run: RunId, flow: FlowId, mode: RunMode, all: bool) -> Result<i64> {
        let sql = "SELECT id, rule FROM held_group INDEXED BY held_group_run WHERE run = ?1 AND items > 0 AND flow = ?2 \
                   ORDER BY grouping";
        let mut statement = self.sql(sql)?;
        let rows =
            statement.query_map(params![run.0 as i64, flow.0], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
        let mut groups: Vec<i64> = Vec::new();
        for row in rows {
            let (id, rule) = row?;
            let rule: HoldRule = serde_json::from_str(&rule)?;
            if all || rule.end_of_run {
                groups.push(id);
            }
        }
        drop(statement);
        self.flush_groups(flow, groups, run, mode)
    }

    /// A flow is deleted: what it holds is closed, in a run of its own.
    pub(super) fn flush_flow(&mut self, flow: FlowId, at: i64) -> Result<()> {
        if self.flow(flow)?.held <= 0 {
            return Ok(());
        }
        let version = self.sql("SELECT version FROM flow WHERE id = ?1")?.query_row([flow.0], |row| row.get(0))?;
        let run = self.new_run(flow, version, RunMode::Live, decide::FLUSH_TRIGGER, false, at)?;
        let sql = "SELECT id FROM held_group WHERE flow = ?1 AND items > 0 ORDER BY grouping";
        let mut statement = self.sql(sql)?;
        let groups = statement.query_map([flow.0], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        drop(statement);
        let work = self.flush_groups(flow, groups, run, RunMode::Live)?;
        self.outstanding(run, work, 0, at)
    }

    /// Turns what a flow holds into dead letters, but for groups that somebody looks at now. Answers how many items.
    pub(super) fn abandon_held(&mut self, flow: FlowId, limit: usize, at: i64) -> Result<u64> {
        let sql = format!("SELECT {GROUP} FROM held_group WHERE flow = ?1 AND items > 0 ORDER BY grouping");
        let mut statement = self.sql(&sql)?;
        let groups = statement.query_map([flow.0], raw)?.collect::<rusqlite::Result<Vec<_>>>()?;
        drop(statement);
        let mut count = 0u64;
        for group in groups {
            let mut held = self.group_of(group)?;
            let look = decide::look(flow, held.row.group, &held.row.to, held.looks, 0).id.to_bytes();
            if held.looking && self.sql("SELECT 1 FROM task WHERE id = ?1 AND lease > 0")?.exists([look])? {
                continue;
            }
            let run = self.run_of_group(held.id)?;
            let origin = Origin { flow, version: held.version, run };
            while count < limit as u64 {
                let sql = "SELECT least, id, items, made FROM held WHERE grp = ?1 ORDER BY least, id LIMIT 1";
                let found = self.sql(sql)?.query_row([held.id], |row| {
                    let key: (Vec<u8>, i64) = (row.get(0)?, row.get(1)?);
                    Ok((key, row.get::<_, Vec<u8>>(2)?, seq_of(row.get(3)?)))
                });
                let Some(((least, row), items, made)) = found.optional()? else { break };
                self.sql("DELETE FROM held WHERE grp = ?1 AND least = ?2 AND id = ?3")?
                    .execute(params![held.id, least, row])?;
                let items = decode_items(&items)?;
                held.row.items = held.row.items.saturating_sub(items.len() as u64);
                held.row.bytes = held.row.bytes.saturating_sub(bytes_of(&items) as u64);
                count += items.len() as u64;
                self.count_held(flow, -(items.len() as i64))?;
                for item in items {
                    let letter = decide::abandoned(&held.row.to, item, 0);
                    self.add_dead(&letter.into(), origin, at, None, made)?;
                }
                self.outstanding(run, 0, 0, at)?;
            }
            self.write_group(&held, run)?;
        }
        Ok(count)
    }

    /// A look that nobody has claimed is over.
    pub(super) fn unlook(&mut self, flow: FlowId, load: &Load) -> Result<()> {
        if let Load::Look(group) = load {
            let sql = "UPDATE held_group SET looking = 0 WHERE flow = ?1 AND grouping = ?2";
            self.sql(sql)?.execute(params![flow.0, group.0])?;
        }
        Ok(())
    }

    /// Whether a task that is settled was the expansion of a manifest.
    pub(super) fn expanded(&self, order: i64) -> Result<bool> {
        let items: Vec<u8> =
            self.sql("SELECT items FROM bundle WHERE seq = ?1")?.query_row([order], |row| row.get(0))?;
        Ok(matches!(opendmp_model::manifest::decode_load(&items)?.0, Load::Expand(_)))
    }

    /// What a task that is settled looked at.
    pub(super) fn look_of(&self, id: TaskId, order: i64) -> Result<Option<PathHash>> {
        // Looks alone have no arrival, so that no other bundle is read for this.
        if id.arrival.0 > 0 {
            return Ok(None);
        }
        let items: Vec<u8> =
            self.sql("SELECT items FROM bundle WHERE seq = ?1")?.query_row([order], |row| row.get(0))?;
        match opendmp_model::manifest::decode_load(&items)?.0 {
            Load::Look(group) => Ok(Some(group)),
            _ => Err(Fail::Damaged(format!("task {id} is no look"))),
        }
    }

    fn count_held(&mut self, flow: FlowId, change: i64) -> Result<()> {
        self.flow(flow)?.hold(change);
        Ok(())
    }
}
