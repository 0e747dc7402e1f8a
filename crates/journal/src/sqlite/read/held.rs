//! What aggregates hold, and how far everything before them has come.

use std::sync::Arc;

use opendmp_model::codec::decode_items;
use opendmp_model::ids::{Arrival, PathHash, TaskId};
use opendmp_model::item::Order;
use opendmp_ports::journal::{FlowId, GroupRow, HeldKey, HeldRow, Reader};
use rusqlite::{Connection, OptionalExtension, params};

use crate::sqlite::blobs::task_of;
use crate::sqlite::fail::{Fail, Result};
use crate::sqlite::tables::text_of;

pub(crate) fn group(conn: &Connection, flow: FlowId, group: PathHash) -> Result<Option<GroupRow>> {
    let sql = "SELECT processor, input, rule, items, bytes, changed, generation, flush FROM held_group \
               WHERE flow = ?1 AND grouping = ?2";
    let found = conn.prepare_cached(sql)?.query_row(params![flow.0, group.0], |row| {
        let numbers = (row.get::<_, i64>(3)? as u64, row.get::<_, i64>(4)? as u64);
        Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?, numbers, row.get(5)?, row.get(6)?, row.get(7)?))
    });
    let Some((processor, input, rule, (items, bytes), changed, generation, flush)) = found.optional()? else {
        return Ok(None);
    };
    let to = Reader { processor: text_of(conn, processor)?, input };
    let rule = serde_json::from_str(&rule)?;
    Ok(Some(GroupRow { group, to, rule, items, bytes, changed, generation, flush }))
}

pub(crate) fn held(
    conn: &Connection,
    flow: FlowId,
    group: PathHash,
    after: Option<HeldKey>,
    limit: usize,
) -> Result<Vec<HeldRow>> {
    let sql = "SELECT h.id, h.items FROM held_group g JOIN held h ON h.grp = g.id \
               WHERE g.flow = ?1 AND g.grouping = ?2 AND (h.least, h.id) > (?3, ?4) ORDER BY h.least, h.id LIMIT ?5";
    let mut statement = conn.prepare_cached(sql)?;
    let (least, id) = match after {
        Some((order, id)) => (order.to_bytes().to_vec(), id as i64),
        None => (Vec::new(), 0),
    };
    let rows = statement.query_map(params![flow.0, group.0, least, id, limit as i64], |row| {
        Ok((row.get::<_, i64>(0)? as u64, row.get::<_, Vec<u8>>(1)?))
    })?;
    let mut out = Vec::new();
    for row in rows {
        let (id, items) = row?;
        let items = decode_items(&items)?;
        let first = items.first().ok_or_else(|| Fail::Damaged(format!("held row {id} is empty")))?;
        out.push(HeldRow { row: (Order::of(first), id), items });
    }
    Ok(out)
}

pub(crate) fn watermark(conn: &Connection, flow: FlowId, processors: &[Arc<str>]) -> Result<Arrival> {
    // Read first: all up to it have been queued by then.
    let last: i64 = conn.prepare_cached("SELECT arrival FROM counter")?.query_row([], |row| row.get(0))?;
    // In order of the ids, and so of arrivals: the first that fits is the least. Looks, which have no arrival, apart.
    let sql = "SELECT t.id FROM task t JOIN name n ON n.id = t.processor \
               WHERE t.id >= ?3 AND t.flow = ?1 AND n.text IN (SELECT value FROM json_each(?2)) ORDER BY t.id LIMIT 1";
    let names: Vec<&str> = processors.iter().map(|name| &**name).collect();
    let first = TaskId { arrival: Arrival(1), pass: Default::default(), path: Default::default() };
    let mut statement = conn.prepare_cached(sql)?;
    let names = crate::sqlite::tables::json(&names);
    let found = statement.query_row(params![flow.0, names, first.to_bytes()], |row| row.get::<_, Vec<u8>>(0));
    match found.optional()? {
        Some(id) => Ok(task_of(&id)?.arrival),
        None => Ok(Arrival(last as u64 + 1)),
    }
}
