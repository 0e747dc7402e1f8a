//! What a reprocess asks for: historic arrivals with all that is known of them, repeats of what aggregates have had,
//! and what is remembered.

use std::collections::HashMap;
use std::sync::Arc;

use opendmp_model::codec::decode_items;
use opendmp_model::history::{self, Context, Entry};
use opendmp_model::ids::{Arrival, ContentHash, ItemId, Pass, PathHash};
use opendmp_model::item::{BUNDLE_SPAN, ORDER_LEN};
use opendmp_ports::journal::{
    ArrivalRow, FlowId, Historic, HistoricPage, Memo, MemoKey, Recorded, RunId, Selection, decide, decode_memo,
    recorded,
};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use super::{Texts, contexts};
use crate::sqlite::blobs::{content_of, stat_of};
use crate::sqlite::fail::{Fail, Result};
use crate::sqlite::tables::json;

/// Arrivals of all flows that are looked through for one page at most.
const LOOKED_AT: u64 = 50_000;

/// Arrivals with these columns are told.
const ARRIVAL: &str = "a.id, a.origin, a.path, a.content, a.stat, a.at, a.run, a.media, s.identity, a.gone, \
                       (SELECT forgot FROM flow WHERE id = a.flow)";

/// Nothing newer has come under the same path up to `?2`.
const NEWEST: &str = "NOT EXISTS (SELECT 1 FROM arrival n INDEXED BY arrival_path WHERE n.known = 1 AND \
                      n.source = a.source AND n.path = a.path AND n.id > a.id AND n.id <= ?2)";

/// The flow of that number (`?4`), and those that were deleted before it under the same name.
const SAME: &str = "SELECT f.id FROM flow g JOIN flow f ON f.slug = g.slug AND f.space = g.space WHERE g.id = ?4";

type Raw = (i64, i64, [Vec<u8>; 2], Option<Vec<u8>>, i64, i64, Option<i64>, String, [Option<i64>; 2]);

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    let blobs = [row.get(2)?, row.get(3)?];
    let let_go = [row.get(9)?, row.get(10)?];
    Ok((row.get(0)?, row.get(1)?, blobs, row.get(4)?, row.get(5)?, row.get(6)?, row.get(7)?, row.get(8)?, let_go))
}

pub(crate) fn historic(
    conn: &Connection,
    flow: FlowId,
    selection: &Selection,
    after: Arrival,
    upto: Arrival,
    limit: usize,
) -> Result<HistoricPage> {
    let slug: Option<String> =
        conn.prepare_cached("SELECT slug FROM flow WHERE id = ?1")?.query_row([flow.0], |row| row.get(0)).optional()?;
    let slug = slug.ok_or_else(|| decide::missing("journal historic", format!("flow {flow}")))?;
    // What is asked for may reach behind the last there is.
    let last: i64 = conn.prepare_cached("SELECT arrival FROM counter")?.query_row([], |row| row.get(0))?;
    let upto = upto.min(Arrival(last as u64));
    let asked = Asked { conn, flow, slug: &slug, since: selection.since.unwrap_or(i64::MIN), upto, limit };
    let (rows, next) =
        if selection.is_by_origin() { asked.by_origin(selection, after)? } else { asked.by_arrival(after)? };
    Ok(HistoricPage { arrivals: told(conn, &slug, rows)?, next })
}

struct Asked<'a> {
    conn: &'a Connection,
    flow: FlowId,
    slug: &'a str,
    since: i64,
    upto: Arrival,
    limit: usize,
}

impl Asked<'_> {
    fn by_arrival(&self, after: Arrival) -> Result<(Vec<Raw>, Option<Arrival>)> {
        let sql = format!(
            "SELECT {ARRIVAL} FROM arrival a JOIN source s ON s.id = a.source \
             WHERE a.id > ?1 AND a.id <= ?3 AND a.known = 1 AND a.at >= ?5 \
             AND a.flow IN ({SAME}) AND {NEWEST} ORDER BY a.id LIMIT ?6"
        );
        let end = after.0.saturating_add(LOOKED_AT).min(self.upto.0);
        let most = self.limit as i64 + 1;
        let mut statement = self.conn.prepare_cached(&sql)?;
        let values = params![after.0 as i64, self.upto.0 as i64, end as i64, self.flow.0, self.since, most];
        let mut rows = statement.query_map(values, raw)?.collect::<rusqlite::Result<Vec<Raw>>>()?;
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let next = match rows.last() {
            Some(last) if more => Some(Arrival(last.0 as u64)),
            _ => (end < self.upto.0).then_some(Arrival(end)),
        };
        Ok((rows, next))
    }

    fn by_origin(&self, selection: &Selection, after: Arrival) -> Result<(Vec<Raw>, Option<Arrival>)> {
        let mut given: Vec<u64> = selection.origins.iter().map(|origin| origin.0).collect();
        given.sort_unstable();
        given.dedup();
        let origins: Vec<i64> = match &selection.collection {
            None => given.iter().filter(|one| **one > after.0).take(self.limit + 1).map(|one| *one as i64).collect(),
            Some(collection) => {
                let sql = "SELECT DISTINCT r.origin FROM shelf s JOIN revision r ON r.shelf = s.id \
                           WHERE s.collection = ?1 AND s.flow = ?2 AND r.origin > ?3 \
                           AND s.space = (SELECT space FROM flow WHERE id = ?6) \
                           AND (?4 = '[]' OR r.origin IN (SELECT value FROM json_each(?4))) ORDER BY r.origin LIMIT ?5";
                let mut statement = self.conn.prepare_cached(sql)?;
                let most = self.limit as i64 + 1;
                let values = params![collection, self.slug, after.0 as i64, json(&given), most, self.flow.0];
                statement.query_map(values, |row| row.get(0))?.collect::<rusqlite::Result<_>>()?
            }
        };
        let sql = format!(
            "SELECT {ARRIVAL} FROM arrival o JOIN arrival a INDEXED BY arrival_path \
             ON a.known = 1 AND a.source = o.source AND a.path = o.path AND a.origin = o.id \
             JOIN source s ON s.id = a.source WHERE o.id = ?1 AND a.id <= ?2 AND a.at >= ?3 \
             AND a.flow IN ({SAME}) AND {NEWEST}"
        );
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut out = Vec::new();
        for origin in origins.iter().take(self.limit) {
            let values = params![origin, self.upto.0 as i64, self.since, self.flow.0];
            out.extend(statement.query_row(values, raw).optional()?);
        }
        let next = (origins.len() > self.limit).then(|| Arrival(origins[self.limit - 1] as u64));
        Ok((out, next))
    }
}

/// Arrivals with what the history has of them.
fn told(conn: &Connection, slug: &str, rows: Vec<Raw>) -> Result<Vec<Historic>> {
    let wanted: Vec<u64> = rows.iter().map(|row| row.0 as u64).collect();
    let entries = entries(conn, &wanted)?;
    let mut texts = Texts::new(conn);
    let mut known: HashMap<u32, Context> = HashMap::new();
    let mut out = Vec::with_capacity(rows.len());
    for (id, origin, [path, content], stat, at, run, media, source, [gone, forgot]) in rows {
        let arrival = Arrival(id as u64);
        let recorded = match entries.get(&arrival) {
            None => None,
            Some((context, entry)) => {
                if !known.contains_key(context) {
                    known.extend(contexts(conn, &[*context])?.into_iter().map(|found| (*context, found)));
                }
                let processor = known.get(context).map(|context| context.processor.as_str().into());
                processor.map(|processor| Recorded::of(entry, processor)).transpose()?
            }
        };
        let media_type: Option<Arc<str>> = media.map(|media| texts.name(media)).transpose()?.map(Arc::from);
        let row = ArrivalRow {
            arrival,
            flow: slug.to_owned(),
            source,
            path,
            content: content_of(&content)?,
            stat: stat.as_deref().map(stat_of).transpose()?,
            at,
            run: RunId(run as u64),
            origin: Arrival(origin as u64),
            media_type: media_type.clone(),
            gone,
            forgot,
        };
        out.push(Historic { row, origin: Arrival(origin as u64), media_type, recorded });
    }
    Ok(out)
}

/// The entries by which arrivals came in. Those that are near each other are looked for together.
fn entries(conn: &Connection, wanted: &[u64]) -> Result<HashMap<Arrival, (u32, Entry)>> {
    let mut sorted = wanted.to_vec();
    sorted.sort_unstable();
    let sql = "SELECT steps FROM history INDEXED BY history_span WHERE least BETWEEN ?1 AND ?2 AND most >= ?3 \
               AND actor = (SELECT id FROM name WHERE text = 'source') \
               UNION ALL \
               SELECT steps FROM history INDEXED BY history_wide WHERE most - least >= 4096 AND least < ?1 AND \
               most >= ?3 AND actor = (SELECT id FROM name WHERE text = 'source')";
    const { assert!(BUNDLE_SPAN == 4096, "the index of wide records was made for this span") };
    let mut statement = conn.prepare_cached(sql)?;
    let mut out = HashMap::with_capacity(sorted.len());
    for near in sorted.chunk_by(|one, next| next - one < BUNDLE_SPAN) {
        let (Some(first), Some(last)) = (near.first(), near.last()) else { continue };
        let (first, last) = (*first as i64, *last as i64);
        let mut rows = statement.query(params![first.saturating_sub(BUNDLE_SPAN as i64 - 1), last, first])?;
        while let Some(row) = rows.next()? {
            let steps = history::decode(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)?;
            out.extend(recorded(&steps, |arrival| near.binary_search(&arrival.0).is_ok()));
        }
    }
    Ok(out)
}

pub(crate) fn repeats(
    conn: &Connection,
    flow: FlowId,
    group: PathHash,
    items: &[ItemId],
) -> Result<Vec<Option<ContentHash>>> {
    let mut found: Vec<Option<(Pass, ContentHash)>> = vec![None; items.len()];
    let mut wanted: HashMap<(Arrival, PathHash), Vec<usize>> = HashMap::new();
    for (n, item) in items.iter().enumerate() {
        wanted.entry((item.arrival, item.path)).or_default().push(n);
    }
    let mut arrivals: Vec<u64> = items.iter().map(|item| item.arrival.0).collect();
    arrivals.sort_unstable();
    let of = |table: &str| {
        format!(
            "SELECT t.items FROM held_group g JOIN {table} t ON t.grp = g.id WHERE g.flow = ?1 AND g.grouping = ?2 \
             AND t.least BETWEEN ?3 AND ?4"
        )
    };
    let mut look = |statement: &mut CachedStatement<'_>, near: &[u64]| -> Result<()> {
        let (Some(first), Some(last)) = (near.first(), near.last()) else { return Ok(()) };
        // A row is of one bundle, whose arrivals are near each other.
        let from = first.saturating_sub(BUNDLE_SPAN - 1).to_be_bytes().to_vec();
        let mut to = last.to_be_bytes().to_vec();
        to.resize(ORDER_LEN, 0xff);
        let mut rows = statement.query(params![flow.0, group.0, from, to])?;
        while let Some(row) = rows.next()? {
            for item in decode_items(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)? {
                for n in wanted.get(&(item.id.arrival, item.id.path)).into_iter().flatten() {
                    let newer = found[*n].is_none_or(|(pass, _)| pass < item.id.pass);
                    if newer && decide::is_repeat(items[*n], item.id) {
                        found[*n] = Some((item.id.pass, item.content.hash));
                    }
                }
            }
        }
        Ok(())
    };
    for table in ["held", "joined"] {
        let mut statement = conn.prepare_cached(&of(table))?;
        for near in arrivals.chunk_by(|one, next| next - one < BUNDLE_SPAN) {
            look(&mut statement, near)?;
        }
    }
    Ok(found.into_iter().map(|found| found.map(|(_, hash)| hash)).collect())
}

pub(crate) fn memos(conn: &Connection, keys: &[(Arrival, MemoKey)]) -> Result<Vec<Option<Memo>>> {
    let mut statement = conn.prepare_cached("SELECT run, result FROM memo WHERE arrival = ?1 AND key = ?2")?;
    let find = |(arrival, key): &(Arrival, MemoKey)| {
        let found = statement.query_row(params![arrival.0 as i64, key.0.0], |row| {
            Ok((row.get::<_, i64>(0)? as u64, row.get::<_, Vec<u8>>(1)?))
        });
        let Some((run, result)) = found.optional()? else { return Ok(None) };
        let (many, children) = decode_memo(&result)?;
        Ok::<_, Fail>(Some(Memo { run: RunId(run), many, children }))
    };
    keys.iter().map(find).collect()
}
