//! Reprocesses, and results that are remembered.

use std::collections::{BTreeSet, HashMap};

use opendmp_model::ids::{Arrival, ItemId, Pass};
use opendmp_ports::journal::decide::Made;
use opendmp_ports::journal::{
    Feed, FlowId, MemoKey, MemoLimit, NewMemo, NewReprocess, Reprocess, ReprocessState, RunId, RunMode, Seq, VersionId,
    decide, encode_memo,
};
use opendmp_ports::transport::StepCounts;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::queue::{PreparedTask, json};
use super::{Origin, Tables};
use crate::sqlite::blobs::{reprocess_number, reprocess_of};
use crate::sqlite::fail::{Fail, Result};

const COLUMNS: &str = "run, flow, version, pass, state, selection, cursor, upto, taken, gone, context, actor";

/// A reprocess as it is stored.
fn raw(row: &Row<'_>) -> rusqlite::Result<(Reprocess, i64, String)> {
    let arrival = |at: usize| row.get::<_, i64>(at).map(|number| Arrival(number as u64));
    let reprocess = Reprocess {
        run: RunId(row.get::<_, i64>(0)? as u64),
        flow: FlowId(row.get(1)?),
        version: VersionId(row.get(2)?),
        pass: Pass(row.get(3)?),
        state: ReprocessState::Fed,
        selection: Default::default(),
        cursor: arrival(6)?,
        upto: arrival(7)?,
        taken: row.get::<_, i64>(8)? as u64,
        gone: row.get::<_, i64>(9)? as u64,
        context: row.get(10)?,
        actor: row.get(11)?,
    };
    Ok((reprocess, row.get(4)?, row.get(5)?))
}

fn told((reprocess, state, selection): (Reprocess, i64, String)) -> Result<Reprocess> {
    let state = reprocess_of(state)?;
    Ok(Reprocess { state, selection: serde_json::from_str(&selection)?, ..reprocess })
}

/// A reprocess, by its run.
pub(crate) fn find(conn: &Connection, run: RunId) -> Result<Option<Reprocess>> {
    let sql = format!("SELECT {COLUMNS} FROM reprocess WHERE run = ?1");
    let found = conn.prepare_cached(&sql)?.query_row([run.0 as i64], raw).optional()?;
    found.map(told).transpose()
}

/// Those that are still fed.
pub(crate) fn open(conn: &Connection) -> Result<Vec<Reprocess>> {
    let sql = format!("SELECT {COLUMNS} FROM reprocess INDEXED BY reprocess_open WHERE state = 0 ORDER BY run");
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map([], raw)?.collect::<rusqlite::Result<Vec<_>>>()?;
    rows.into_iter().map(told).collect()
}

/// What of a part is sent in, encoded off the writer's thread.
pub(crate) struct PreparedFeed {
    tasks: Vec<PreparedTask>,
    /// Of which it is.
    arrivals: BTreeSet<Arrival>,
    feed: Feed,
}

impl From<Feed> for PreparedFeed {
    fn from(mut feed: Feed) -> Self {
        let tasks = std::mem::take(&mut feed.tasks);
        let arrivals = tasks.iter().flat_map(|task| &task.items).map(|item| item.id.arrival).collect();
        Self { tasks: tasks.into_iter().map(Into::into).collect(), arrivals, feed }
    }
}

/// What is remembered, encoded off the writer's thread.
pub(crate) struct PreparedMemo {
    arrival: Arrival,
    key: MemoKey,
    result: Vec<u8>,
}

impl From<NewMemo> for PreparedMemo {
    fn from(memo: NewMemo) -> Self {
        Self { arrival: memo.arrival, key: memo.key, result: encode_memo(memo.many, &memo.children) }
    }
}

impl Tables<'_> {
    pub(crate) fn begin_reprocess(&mut self, new: &NewReprocess) -> Result<Reprocess> {
        let version = i64::from(new.version.0);
        let run = self.new_run(new.flow, version, RunMode::Live, &new.trigger, true, new.at)?;
        let pass = self.new_pass()?;
        let reprocess = Reprocess {
            run,
            flow: new.flow,
            version: new.version,
            pass,
            selection: new.selection.clone(),
            cursor: Arrival(0),
            upto: Arrival(self.memory.last.arrival as u64),
            taken: 0,
            gone: 0,
            state: ReprocessState::Feeding,
            context: new.context,
            actor: new.actor.clone(),
        };
        let sql = "INSERT INTO reprocess (run, flow, version, pass, state, selection, cursor, upto, context, actor) \
                   VALUES (?1, ?2, ?3, ?4, 0, ?5, 0, ?6, ?7, ?8)";
        let (run, upto) = (run.0 as i64, self.memory.last.arrival);
        let selection = json(&new.selection);
        self.sql(sql)?.execute(params![run, new.flow.0, version, pass.0, selection, upto, new.context, new.actor])?;
        let flow = self.flow(new.flow)?;
        let (space, slug) = (flow.space, flow.slug.clone());
        self.audit(space, new.at, &new.actor, "reprocess", &slug, Some(&new.trigger))?;
        Ok(reprocess)
    }

    /// A pass that nothing went in yet.
    pub(super) fn new_pass(&mut self) -> Result<Pass> {
        self.memory.last.pass += 1;
        let pass = u32::try_from(self.memory.last.pass).map(Pass);
        pass.map_err(|_| Fail::Damaged("all pass numbers are used up".to_owned()))
    }

    /// Whether a run is one that is still fed by a reprocess.
    pub(super) fn is_fed(&self, run: RunId) -> Result<bool> {
        Ok(self.sql("SELECT 1 FROM reprocess WHERE run = ?1 AND state = 0")?.exists([run.0 as i64])?)
    }

    pub(crate) fn feed(&mut self, PreparedFeed { tasks, arrivals, feed }: &PreparedFeed) -> Result<bool> {
        if !self.live(feed.lease) {
            return Err(decide::taken_over("journal feed").into());
        }
        let found = find(self.conn, feed.run)?.ok_or_else(|| decide::no_reprocess(feed.run))?;
        if found.state != ReprocessState::Feeding || found.cursor != feed.after {
            return Ok(false);
        }
        let mut gone = self.sql("SELECT 1 FROM arrival WHERE id = ?1 AND gone IS NOT NULL")?;
        for arrival in arrivals {
            if gone.exists([arrival.0 as i64])? {
                return Ok(false);
            }
        }
        drop(gone);
        let origin = Origin { flow: found.flow, version: found.version.0.into(), run: feed.run };
        let mut made: HashMap<ItemId, Seq> = HashMap::new();
        for steps in &feed.history {
            let seq = self.record(feed.run, feed.at, &found.actor, std::slice::from_ref(steps), &Made::Unknown)?;
            made.extend(decide::children(steps).map(|child| (child, seq)));
        }
        let maker = |task: &PreparedTask| made.get(&task.first()?).copied();
        let work = self.enqueue(tasks, origin, RunMode::Live, maker)?;
        let state = if feed.next.is_none() { ReprocessState::Fed } else { ReprocessState::Feeding };
        let sql = "UPDATE reprocess SET state = ?2, cursor = ?3, taken = taken + ?4, gone = gone + ?5 WHERE run = ?1";
        let (run, cursor) = (feed.run.0 as i64, feed.next.unwrap_or(found.upto).0 as i64);
        self.sql(sql)?.execute(params![run, reprocess_number(state), cursor, feed.taken as i64, feed.gone as i64])?;
        let mut counts: Vec<(i64, StepCounts)> = Vec::with_capacity(feed.counts.len());
        for (processor, one) in &feed.counts {
            counts.push((self.name(processor)?, *one));
        }
        let run = self.run(feed.run)?;
        run.open = feed.next.is_some();
        run.arrivals += feed.taken;
        counts.iter().for_each(|(processor, one)| run.count(*processor, one));
        self.outstanding(feed.run, work, 0, feed.at)?;
        Ok(true)
    }

    pub(crate) fn stop_reprocess(&mut self, run: RunId, actor: &str, at: i64) -> Result<bool> {
        let found = find(self.conn, run)?.ok_or_else(|| decide::no_reprocess(run))?;
        if found.state != ReprocessState::Feeding {
            return Ok(false);
        }
        let sql = "UPDATE reprocess SET state = ?2 WHERE run = ?1";
        self.sql(sql)?.execute(params![run.0 as i64, reprocess_number(ReprocessState::Stopped)])?;
        let space = self.flow(found.flow)?.space;
        self.audit(space, at, actor, "stop", &format!("run {run}"), None)?;
        self.run(run)?.open = false;
        self.outstanding(run, 0, 0, at)?;
        Ok(true)
    }

    pub(super) fn remember(&mut self, memos: &[PreparedMemo], run: RunId, at: i64) -> Result<()> {
        if memos.is_empty() {
            return Ok(());
        }
        let last = self.sql("SELECT upto FROM memo ORDER BY id DESC LIMIT 1")?.query_row([], |row| row.get(0));
        let mut upto: i64 = last.optional()?.unwrap_or(0);
        let sql = "INSERT OR REPLACE INTO memo (arrival, key, run, at, upto, result) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let mut insert = self.sql(sql)?;
        for memo in memos {
            upto += memo.result.len() as i64;
            insert.execute(params![memo.arrival.0 as i64, memo.key.0.0, run.0 as i64, at, upto, memo.result])?;
        }
        Ok(())
    }

    pub(crate) fn forget_memos(&mut self, limit: MemoLimit, most: usize) -> Result<u64> {
        let last = self.sql("SELECT upto FROM memo ORDER BY id DESC LIMIT 1")?.query_row([], |row| row.get(0));
        let last: i64 = last.optional()?.unwrap_or(0);
        let keep = last.saturating_sub(i64::try_from(limit.bytes).unwrap_or(i64::MAX));
        let sql = "SELECT id, at, upto FROM memo ORDER BY id LIMIT ?1";
        let mut statement = self.sql(sql)?;
        let mut rows = statement.query([i64::try_from(most).unwrap_or(i64::MAX)])?;
        let (mut end, mut count) = (None, 0);
        while let Some(row) = rows.next()? {
            let (id, at, upto): (i64, i64, i64) = row.try_into()?;
            if at >= limit.before && upto > keep {
                break;
            }
            (end, count) = (Some(id), count + 1);
        }
        drop(rows);
        if let Some(end) = end {
            self.sql("DELETE FROM memo WHERE id <= ?1")?.execute([end])?;
        }
        Ok(count)
    }
}
