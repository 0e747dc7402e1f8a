//! Dataset slots and their revisions. They are keyed by shelf first, so a listing over several shelves puts their
//! rows together in order of origin.

use std::collections::BTreeMap;

use opendmp_model::ids::{Arrival, SlotId};
use opendmp_ports::journal::{CollectionRow, Filter, Page, RevisionRow, RunId, Seq, SpaceId, decide};
use rusqlite::{Connection, Row, params};

use super::{PART, Texts};
use crate::sqlite::blobs::{export_of, item_of, path_hash_of};
use crate::sqlite::fail::Result;

const COLUMNS: &str = "origin, slot, arrival, pass, seq, at, run, version, export, target, exported, item, \
                       coalesce(latest_arrival, arrival), coalesce(latest_pass, pass), gone";

/// What the slots of a shelf have in common.
struct Shelf {
    id: i64,
    collection: String,
    flow: String,
    processor: String,
}

/// A revision as it is stored; its item is decoded only where it is asked for.
struct Stored {
    slot: SlotId,
    key: (i64, u32),
    latest: (i64, u32),
    seq: i64,
    at: i64,
    run: RunId,
    version: i64,
    export: i64,
    target: Option<i64>,
    exported: Option<i64>,
    item: Vec<u8>,
    gone: Option<i64>,
}

fn stored(row: &Row<'_>) -> Result<Stored> {
    let hash = path_hash_of(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?;
    Ok(Stored {
        slot: SlotId { origin: Arrival(row.get::<_, i64>(0)? as u64), hash },
        key: (row.get(2)?, row.get(3)?),
        seq: row.get(4)?,
        at: row.get(5)?,
        run: RunId(row.get::<_, i64>(6)? as u64),
        version: row.get(7)?,
        export: row.get(8)?,
        target: row.get(9)?,
        exported: row.get(10)?,
        item: row.get(11)?,
        latest: (row.get(12)?, row.get(13)?),
        gone: row.get(14)?,
    })
}

impl Stored {
    fn told(self, shelf: &Shelf, revision: u32, texts: &mut Texts<'_>) -> Result<RevisionRow> {
        let target = match self.target {
            Some(id) => {
                let mut statement = texts.conn.prepare_cached("SELECT destination, name FROM target WHERE id = ?1")?;
                let (destination, name): (i64, Vec<u8>) = statement.query_row([id], |row| row.try_into())?;
                Some((texts.name(destination)?, name))
            }
            None => None,
        };
        Ok(RevisionRow {
            slot: self.slot,
            collection: shelf.collection.clone(),
            flow: shelf.flow.clone(),
            processor: shelf.processor.clone(),
            revision,
            item: item_of(&self.item)?,
            version: texts.version(self.version)?,
            run: self.run,
            at: self.at,
            seq: Seq(self.seq as u64),
            export: export_of(self.export)?,
            target,
            exported: self.exported,
            gone: self.gone,
        })
    }
}

/// The shelves of a flow and of a collection, where these are given.
fn shelves(conn: &Connection, flow: Option<&str>, collection: Option<&str>) -> Result<Vec<Shelf>> {
    let sql = "SELECT id, collection, flow, processor FROM shelf \
               WHERE (?1 IS NULL OR flow = ?1) AND (?2 IS NULL OR collection = ?2)";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map([flow, collection], |row| {
        Ok(Shelf { id: row.get(0)?, collection: row.get(1)?, flow: row.get(2)?, processor: row.get(3)? })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn collections(conn: &Connection, space: SpaceId) -> Result<Vec<CollectionRow>> {
    let sql = "SELECT collection, sum(datasets), sum(revisions), sum(bytes), max(changed) FROM shelf \
               WHERE space = ?1 GROUP BY collection HAVING sum(revisions) > 0 ORDER BY collection";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map([space.0], |row| {
        Ok(CollectionRow {
            name: row.get(0)?,
            datasets: row.get::<_, i64>(1)? as u64,
            revisions: row.get::<_, i64>(2)? as u64,
            bytes: row.get::<_, i64>(3)? as u64,
            changed: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn revisions(conn: &Connection, slot: SlotId) -> Result<Vec<RevisionRow>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM revision WHERE shelf = ?1 AND origin = ?2 AND slot = ?3 ORDER BY coalesce(latest_arrival, arrival), coalesce(latest_pass, pass)"
    );
    let mut texts = Texts::new(conn);
    let mut out = Vec::new();
    // A slot is on one shelf, and its id does not say which; there are few shelves.
    for shelf in shelves(conn, None, None)? {
        let mut statement = conn.prepare_cached(&sql)?;
        let mut rows = statement.query(params![shelf.id, slot.origin.0 as i64, slot.hash.0])?;
        while let Some(row) = rows.next()? {
            out.push(stored(row)?.told(&shelf, out.len() as u32 + 1, &mut texts)?);
        }
        if !out.is_empty() {
            break;
        }
    }
    Ok(out)
}

/// The newest revisions of slots, the first ones in order.
type Newest = BTreeMap<SlotId, (usize, u32, Stored)>;

pub(crate) fn datasets(conn: &Connection, filter: &Filter) -> Result<Page<RevisionRow>> {
    let operation = "journal datasets";
    let after = match filter.after.as_deref() {
        Some(cursor) => Some(decide::slot_at(cursor).ok_or_else(|| decide::bad_cursor(operation))?),
        None => None,
    };
    let limit = decide::page_limit(filter);
    let shelves = shelves(conn, filter.flow.as_deref(), filter.collection.as_deref())?;
    let mut newest: Newest = BTreeMap::new();
    for (at, shelf) in shelves.iter().enumerate() {
        scan(conn, (at, shelf), filter, after, limit + 1, &mut newest)?;
    }
    let more = newest.len() > limit;
    let mut texts = Texts::new(conn);
    let told = newest.into_values().take(limit);
    let rows = told.map(|(shelf, revision, stored)| stored.told(&shelves[shelf], revision, &mut texts));
    let rows = rows.collect::<Result<Vec<_>>>()?;
    let next = rows.last().filter(|_| more).map(|row| decide::slot_cursor(row.slot));
    Ok(Page { rows, next })
}

/// Where a scan goes on: behind this slot, arrival and pass.
struct Place {
    slot: SlotId,
    key: (i64, u32),
}

/// Puts the newest revisions of one shelf into `newest`, as far as they are among the first `most`.
fn scan(
    conn: &Connection,
    (at, shelf): (usize, &Shelf),
    filter: &Filter,
    after: Option<SlotId>,
    most: usize,
    newest: &mut Newest,
) -> Result<()> {
    let sql = format!(
        "SELECT {COLUMNS} FROM revision WHERE shelf = ?1 AND (origin, slot, arrival, pass) > (?2, ?3, ?4, ?5) \
         ORDER BY origin, slot, arrival, pass LIMIT ?6"
    );
    let behind = |slot: SlotId| Place { slot, key: (i64::MAX, u32::MAX) };
    let start = SlotId { origin: Arrival(0), hash: Default::default() };
    let mut place = match after {
        Some(after) => behind(after),
        None => Place { slot: start, key: (-1, 0) },
    };
    // Of an id with its origin only that origin is looked at.
    let origin = filter.id.as_ref().map(|id| id.arrival);
    if let Some(origin) = origin.filter(|origin| *origin > place.slot.origin) {
        place = Place { slot: SlotId { origin, ..start }, key: (-1, 0) };
    }
    let mut group: Option<(u32, Stored)> = None;
    loop {
        let mut statement = conn.prepare_cached(&sql)?;
        let (from, key) = (place.slot.origin.0 as i64, place.key);
        let mut rows = statement.query(params![shelf.id, from, place.slot.hash.0, key.0, key.1, PART as i64])?;
        let mut read = 0;
        while let Some(row) = rows.next()? {
            let next = stored(row)?;
            read += 1;
            place = Place { slot: next.slot, key: next.key };
            let same = group.as_ref().is_some_and(|(_, last)| last.slot == next.slot);
            if same {
                group = group.map(|(count, last)| (count + 1, if next.latest > last.latest { next } else { last }));
                continue;
            }
            if let Some(done) = group.replace((1, next)) {
                keep(at, done, filter, most, newest)?;
            }
            let past = origin.is_some_and(|origin| place.slot.origin > origin);
            let full = newest.len() >= most && newest.last_key_value().is_some_and(|(last, _)| place.slot > *last);
            if past || full {
                return Ok(());
            }
        }
        if read < PART {
            break;
        }
    }
    match group {
        Some(done) => keep(at, done, filter, most, newest),
        None => Ok(()),
    }
}

fn keep(at: usize, (count, stored): (u32, Stored), filter: &Filter, most: usize, newest: &mut Newest) -> Result<()> {
    let slot = stored.slot;
    let meant = filter.run.is_none_or(|run| run == stored.run)
        && filter.id.as_ref().is_none_or(|id| id.arrival == slot.origin && id.matches(slot.hash))
        && match &filter.name {
            Some(pattern) => decide::name_matches(pattern, &item_of(&stored.item)?.name),
            None => true,
        };
    if meant {
        newest.insert(slot, (at, count, stored));
        if newest.len() > most {
            newest.pop_last();
        }
    }
    Ok(())
}
