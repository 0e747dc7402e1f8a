//! What is asked of the tables, on the readers' connections. A listing that may be long is read in parts, so that no
//! reader keeps the log from beginning anew.

mod again;
mod catalog;
mod datasets;
mod held;
mod listings;
mod records;
mod retain;

use std::collections::HashMap;
use std::sync::Arc;

use opendmp_model::history;
use opendmp_model::ids::{Arrival, IdPrefix, ItemId};
use opendmp_model::item::BUNDLE_SPAN;
use opendmp_ports::journal::decide::{Lineage, Next, Traces};
use opendmp_ports::journal::{ArrivalRow, FlowId, HistoryRow, RunId, Seq, SourceId, decide};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};

use super::blobs::{content_of, made_of, stat_of};
use super::fail::{Fail, Result};

pub(crate) use again::{historic, memos, repeats};
pub(crate) use catalog::{
    backlog, context, contexts, draft, draft_alone, drafts, flow, flows, source, version, versions,
};
#[cfg(test)]
pub(crate) use datasets::datasets_within;
pub(crate) use datasets::{Shelf, collections, datasets, newest_told, revisions, shelves};
pub(crate) use held::{group, held, watermark};
pub(crate) use listings::{dead_groups, dead_held, dead_letters, run, runs};
pub(crate) use records::records;
pub(crate) use retain::{
    Outdated, content_of as content_with, find_outdated, find_version, outdated_rows, over, rules_by_flow, size_of,
    slot_rows,
};

/// Rows that are read in one go.
const PART: usize = 2_000;

/// Looks up once what many rows name.
struct Texts<'c> {
    conn: &'c Connection,
    names: HashMap<i64, String>,
    versions: HashMap<i64, String>,
    slugs: HashMap<i64, String>,
}

impl<'c> Texts<'c> {
    fn new(conn: &'c Connection) -> Self {
        Self { conn, names: HashMap::new(), versions: HashMap::new(), slugs: HashMap::new() }
    }

    fn name(&mut self, id: i64) -> Result<String> {
        cached(self.conn, &mut self.names, id, "SELECT text FROM name WHERE id = ?1")
    }

    /// Hash of a flow version.
    fn version(&mut self, id: i64) -> Result<String> {
        cached(self.conn, &mut self.versions, id, "SELECT hash FROM version WHERE id = ?1")
    }

    fn slug(&mut self, flow: i64) -> Result<String> {
        cached(self.conn, &mut self.slugs, flow, "SELECT slug FROM flow WHERE id = ?1")
    }
}

fn cached(conn: &Connection, known: &mut HashMap<i64, String>, id: i64, sql: &str) -> Result<String> {
    if let Some(text) = known.get(&id) {
        return Ok(text.clone());
    }
    let text: Option<String> = conn.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?;
    let text = text.ok_or_else(|| Fail::Damaged(format!("a row names {id}, which is missing")))?;
    known.insert(id, text.clone());
    Ok(text)
}

/// The sequence number given last.
pub(crate) fn last_seq(conn: &Connection) -> Result<Seq> {
    let last: i64 = conn.prepare_cached("SELECT seq FROM counter")?.query_row([], |row| row.get(0))?;
    Ok(Seq(last as u64))
}

pub(crate) fn pending_releases(conn: &Connection, source: SourceId, limit: usize) -> Result<Vec<Vec<u8>>> {
    let sql = "SELECT name FROM release INDEXED BY release_name WHERE source = ?1 LIMIT ?2";
    let mut statement = conn.prepare_cached(sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map([i64::from(source.0), limit], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn arrival(conn: &Connection, arrival: Arrival) -> Result<ArrivalRow> {
    let sql = "SELECT f.slug, s.identity, a.path, a.content, a.stat, a.at, a.run, a.gone, f.forgot, a.origin, m.text FROM arrival a \
               JOIN flow f ON f.id = a.flow JOIN source s ON s.id = a.source LEFT JOIN name m ON m.id = a.media \
               WHERE a.id = ?1";
    let found = conn.prepare_cached(sql)?.query_row([arrival.0 as i64], |row| {
        let texts: (String, String) = (row.get(0)?, row.get(1)?);
        let blobs: (Vec<u8>, Vec<u8>, Option<Vec<u8>>) = (row.get(2)?, row.get(3)?, row.get(4)?);
        Ok((
            texts,
            blobs,
            row.get(5)?,
            RunId(row.get::<_, i64>(6)? as u64),
            (row.get(7)?, row.get(8)?),
            (row.get::<_, i64>(9)?, row.get::<_, Option<String>>(10)?),
        ))
    });
    let missing = || decide::missing("journal arrival", format!("arrival {}", arrival.0));
    let ((flow, source), (path, content, stat), at, run, (gone, forgot), (origin, media)) =
        found.optional()?.ok_or_else(missing)?;
    let stat = stat.as_deref().map(stat_of).transpose()?;
    let (origin, media_type) = (Arrival(origin as u64), media.map(Arc::from));
    let content = content_of(&content)?;
    Ok(ArrivalRow { arrival, flow, source, path, content, stat, at, run, origin, media_type, gone, forgot })
}

/// The way of an item back to its arrival, record by record. Answers also how many records were read for it.
pub(crate) fn lineage(conn: &Connection, seq: Seq, item: ItemId) -> Result<(Vec<HistoryRow>, u64)> {
    let mut record = conn.prepare_cached("SELECT at, actor, steps, made, mades FROM history WHERE seq = ?1")?;
    let mut arrived = conn.prepare_cached("SELECT seq FROM arrival WHERE id = ?1")?;
    let mut texts = Texts::new(conn);
    let mut lineage = Lineage::new(item);
    let (mut next, mut read) = (Next::Record(seq), 0);
    loop {
        let seq = match next {
            Next::Arrived => return Ok((lineage.end(Vec::new()), read)),
            Next::Unknown(arrival) => {
                let rest = history(conn, arrival)?;
                read += rest.len() as u64;
                return Ok((lineage.end(rest), read));
            }
            Next::Record(seq) => Some(seq.0 as i64),
            Next::Arrival(arrival) => arrived.query_row([arrival.0 as i64], |row| row.get(0)).optional()?.flatten(),
        };
        let mut rows = record.query([seq])?;
        next = match rows.next()?.zip(seq) {
            None => Next::Unknown(item.arrival),
            Some((row, seq)) => {
                read += 1;
                let blob = |at: usize| row.get_ref(at)?.as_blob().map_err(rusqlite::Error::from);
                let steps = history::decode(blob(2)?)?;
                let mades = if row.get_ref(4)? == ValueRef::Null { None } else { Some(blob(4)?) };
                let made = made_of(row.get(3)?, mades)?;
                let (at, actor) = (row.get(0)?, texts.name(row.get(1)?)?);
                lineage.take(HistoryRow { seq: Seq(seq as u64), at, actor, steps }, &made)
            }
        };
    }
}

pub(crate) fn history(conn: &Connection, arrival: Arrival) -> Result<Vec<HistoryRow>> {
    let mut out = Vec::new();
    concerning(conn, arrival, |row| {
        out.push(row);
        true
    })?;
    Ok(out)
}

pub(crate) fn latest(conn: &Connection, after: Seq, entries: usize) -> Result<Vec<HistoryRow>> {
    let sql = "SELECT seq, at, actor, steps FROM history WHERE seq > ?1 ORDER BY seq DESC";
    let mut records = conn.prepare_cached(sql)?;
    let mut texts = Texts::new(conn);
    let mut rows = records.query([after.0 as i64])?;
    let (mut out, mut had) = (Vec::new(), 0);
    while had < entries
        && let Some(row) = rows.next()?
    {
        let steps = history::decode(row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?)?;
        had += decide::last_entries(&steps);
        let seq: i64 = row.get(0)?;
        out.push(HistoryRow { seq: Seq(seq as u64), at: row.get(1)?, actor: texts.name(row.get(2)?)?, steps });
    }
    Ok(out)
}

pub(crate) fn waiting(conn: &Connection, flow: FlowId, most: usize) -> Result<Vec<(Arc<str>, u64)>> {
    let sql = "SELECT processor, sum(items) FROM \
               (SELECT processor, items FROM task INDEXED BY task_flow WHERE lease = 0 AND flow = ?1 LIMIT ?2) \
               GROUP BY processor";
    let mut waiting = conn.prepare_cached(sql)?;
    let mut texts = Texts::new(conn);
    let mut rows = waiting.query(params![flow.0 as i64, i64::try_from(most).unwrap_or(i64::MAX)])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        let items: i64 = row.get(1)?;
        out.push((texts.name(row.get(0)?)?.into(), items as u64));
    }
    out.sort();
    Ok(out)
}

pub(crate) fn traces(conn: &Connection, prefix: IdPrefix, most: usize) -> Result<Vec<HistoryRow>> {
    let arrival = prefix.arrival;
    let mut traces = Traces::new(prefix, most);
    concerning(conn, arrival, |row| traces.take(row))?;
    Ok(traces.end())
}

/// Goes through the records that concern an arrival, in commit order, one at a time, for as long as `take` wants more.
fn concerning(conn: &Connection, arrival: Arrival, mut take: impl FnMut(HistoryRow) -> bool) -> Result<()> {
    // Nearly all records begin within a bundle's span before the arrival; the few wider ones have their own index. They
    // are put in order by number, and read by that: all of them together may be more than there is memory.
    let sql = "SELECT seq FROM history INDEXED BY history_span WHERE least BETWEEN ?1 AND ?2 AND most >= ?2 \
               UNION ALL \
               SELECT seq FROM history INDEXED BY history_wide WHERE most - least >= 4096 AND least < ?1 AND most >= ?2 \
               ORDER BY seq";
    const { assert!(BUNDLE_SPAN == 4096, "the index of wide records was made for this span") };
    let at = i64::try_from(arrival.0).unwrap_or(i64::MAX);
    let span = params![at.saturating_sub(BUNDLE_SPAN as i64 - 1), at];
    let mut numbers = conn.prepare_cached(sql)?;
    let mut record = conn.prepare_cached("SELECT at, actor, steps FROM history WHERE seq = ?1")?;
    let mut texts = Texts::new(conn);
    let mut rows = numbers.query(span)?;
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        let mut found = record.query([seq])?;
        let Some(row) = found.next()? else { continue };
        let steps = history::decode(row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?)?;
        if decide::concerns(&steps, arrival) {
            let (at, actor) = (row.get(0)?, texts.name(row.get(1)?)?);
            if !take(HistoryRow { seq: Seq(seq as u64), at, actor, steps }) {
                break;
            }
        }
    }
    Ok(())
}
