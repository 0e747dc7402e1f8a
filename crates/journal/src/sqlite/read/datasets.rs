//! Dataset slots and their revisions. They are keyed by shelf first, so a listing over several shelves puts their
//! rows together in order of origin.

use std::collections::BTreeMap;

use opendmp_model::ids::{Arrival, PATH_HASH_LEN, PathHash, SlotId};
use opendmp_ports::journal::{CollectionRow, Confirmed, Filter, Page, RevisionRow, RunId, Seq, SpaceId, decide};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{PART, Texts};
use crate::sqlite::blobs::{confirmed_of, export_of, item_of, path_hash_of};
use crate::sqlite::fail::Result;

const COLUMNS: &str = "origin, slot, arrival, pass, seq, at, run, version, export, target, exported, item, \
                       coalesce(latest_arrival, arrival), coalesce(latest_pass, pass), confirmed, gone";

/// Revisions that are looked through for one page at most, so that a search among very many is one of many short reads.
const LOOKED_AT: usize = 50_000;

/// What the slots of a shelf have in common.
pub(crate) struct Shelf {
    pub id: i64,
    pub collection: String,
    pub flow: String,
    pub processor: String,
    /// How many slots it has.
    pub datasets: u64,
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
    confirmed: Option<Vec<u8>>,
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
        confirmed: row.get(14)?,
        gone: row.get(15)?,
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
        let confirmed = confirmed_of(self.confirmed.as_deref().unwrap_or_default())?.into_iter();
        let confirmed = confirmed.map(|(seq, at, version)| Ok(Confirmed { seq, at, version: texts.version(version)? }));
        Ok(RevisionRow {
            confirmed: confirmed.collect::<Result<_>>()?,
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
pub(crate) fn shelves(conn: &Connection, flow: Option<&str>, collection: Option<&str>) -> Result<Vec<Shelf>> {
    let sql = "SELECT id, collection, flow, processor, datasets FROM shelf \
               WHERE (?1 IS NULL OR flow = ?1) AND (?2 IS NULL OR collection = ?2)";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map([flow, collection], |row| {
        let datasets = row.get::<_, i64>(4)? as u64;
        Ok(Shelf { id: row.get(0)?, collection: row.get(1)?, flow: row.get(2)?, processor: row.get(3)?, datasets })
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

/// The newest revision of each of these slots, in their order; what is not there is left out.
pub(crate) fn newest_told<'a>(
    conn: &Connection,
    slots: impl Iterator<Item = (&'a Shelf, SlotId)>,
) -> Result<Vec<RevisionRow>> {
    let sql = format!("SELECT {COLUMNS} FROM revision WHERE shelf = ?1 AND origin = ?2 AND slot = ?3");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut texts = Texts::new(conn);
    let mut out = Vec::new();
    for (shelf, slot) in slots {
        let mut rows = statement.query(params![shelf.id, slot.origin.0 as i64, slot.hash.0])?;
        let mut newest: Option<(u32, Stored)> = None;
        while let Some(row) = rows.next()? {
            let next = stored(row)?;
            newest = Some(match newest {
                Some((count, last)) => (count + 1, if next.latest > last.latest { next } else { last }),
                None => (1, next),
            });
        }
        if let Some((revision, stored)) = newest {
            out.push(stored.told(shelf, revision, &mut texts)?);
        }
    }
    Ok(out)
}

/// The newest revisions of slots, the first ones in order.
type Newest = BTreeMap<SlotId, (usize, u32, Stored)>;

pub(crate) fn datasets(conn: &Connection, filter: &Filter) -> Result<Page<RevisionRow>> {
    datasets_within(conn, filter, LOOKED_AT)
}

/// A page for which so many revisions of a shelf are looked at.
pub(crate) fn datasets_within(conn: &Connection, filter: &Filter, looked_at: usize) -> Result<Page<RevisionRow>> {
    let operation = "journal datasets";
    let after = match filter.after.as_deref() {
        Some(cursor) => Some(decide::slot_at(cursor).ok_or_else(|| decide::bad_cursor(operation))?),
        None => None,
    };
    let limit = decide::page_limit(filter);
    let Some(bounds) = bounds(conn, filter, after)? else { return Ok(Page { rows: Vec::new(), next: None }) };
    let shelves = shelves(conn, filter.flow.as_deref(), filter.collection.as_deref())?;
    let mut search = Search { bounds, filter, most: limit + 1, newest: BTreeMap::new(), looked_at };
    for (at, shelf) in shelves.iter().enumerate() {
        search.scan(conn, (at, shelf))?;
    }
    let Search { mut newest, bounds, .. } = search;
    // What lies behind the place where one shelf was left is for the next page, of all of them.
    if let Some(left) = bounds.left {
        newest.retain(|slot, _| *slot <= left);
    }
    let more = newest.len() > limit;
    let mut texts = Texts::new(conn);
    let told = newest.into_values().take(limit);
    let rows = told.map(|(shelf, revision, stored)| stored.told(&shelves[shelf], revision, &mut texts));
    let rows = rows.collect::<Result<Vec<_>>>()?;
    let last = if more { rows.last().map(|row| row.slot) } else { bounds.left };
    Ok(Page { rows, next: last.map(decide::slot_cursor) })
}

/// The slots among which those are that are meant.
struct Bounds {
    /// Behind this one.
    after: Option<SlotId>,
    least: SlotId,
    most: SlotId,
    /// All up to this one were looked at, on every shelf; `None`: all up to the end.
    left: Option<SlotId>,
}

/// Where to look; `None`: there is nothing.
fn bounds(conn: &Connection, filter: &Filter, after: Option<SlotId>) -> Result<Option<Bounds>> {
    let slot = |origin: i64, fill: u8| SlotId { origin: Arrival(origin as u64), hash: PathHash([fill; PATH_HASH_LEN]) };
    let mut bounds = Bounds { after, least: slot(0, 0), most: slot(i64::MAX, 0xff), left: None };
    if let Some(id) = &filter.id {
        let (least, most) = id.range();
        bounds.least = SlotId { origin: id.arrival, hash: least };
        bounds.most = SlotId { origin: id.arrival, hash: most };
    }
    if let Some(run) = filter.run {
        let sql = "SELECT revisions, least_origin, most_origin FROM run WHERE id = ?1";
        let found = conn.prepare_cached(sql)?.query_row([run.0 as i64], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?.zip(row.get::<_, Option<i64>>(2)?)))
        });
        match found.optional()? {
            None | Some((0, _)) => return Ok(None),
            // Counted before these were kept.
            Some((_, None)) => {}
            Some((_, Some((least, most)))) => {
                bounds.least = bounds.least.max(slot(least, 0));
                bounds.most = bounds.most.min(slot(most, 0xff));
            }
        }
    }
    Ok((bounds.least <= bounds.most).then_some(bounds))
}

/// Where a scan goes on: behind this slot, arrival and pass.
struct Place {
    slot: SlotId,
    key: (i64, u32),
}

/// The newest revisions that are meant, as far as they were found.
struct Search<'a> {
    bounds: Bounds,
    filter: &'a Filter,
    /// So many slots are wanted.
    most: usize,
    newest: Newest,
    /// So many revisions of a shelf are looked at.
    looked_at: usize,
}

impl Search<'_> {
    /// Puts the newest revisions of one shelf into `newest`, as far as they are among the first.
    fn scan(&mut self, conn: &Connection, (at, shelf): (usize, &Shelf)) -> Result<()> {
        let sql = format!(
            "SELECT {COLUMNS} FROM revision WHERE shelf = ?1 AND (origin, slot, arrival, pass) > (?2, ?3, ?4, ?5) \
             ORDER BY origin, slot, arrival, pass LIMIT ?6"
        );
        let Bounds { after, least, most, .. } = self.bounds;
        let mut place = match after {
            Some(after) if after >= least => Place { slot: after, key: (i64::MAX, u32::MAX) },
            _ => Place { slot: least, key: (-1, 0) },
        };
        let mut group: Option<(u32, Stored)> = None;
        let mut looked_at = 0;
        loop {
            let mut statement = conn.prepare_cached(&sql)?;
            let (from, key) = (place.slot.origin.0 as i64, place.key);
            let mut rows = statement.query(params![shelf.id, from, place.slot.hash.0, key.0, key.1, PART as i64])?;
            let mut read = 0;
            while let Some(row) = rows.next()? {
                let next = stored(row)?;
                read += 1;
                looked_at += 1;
                place = Place { slot: next.slot, key: next.key };
                let same = group.as_ref().is_some_and(|(_, last)| last.slot == next.slot);
                if same {
                    group = group.map(|(count, last)| (count + 1, if next.latest > last.latest { next } else { last }));
                    continue;
                }
                if let Some(done) = group.replace((1, next)) {
                    let slot = done.1.slot;
                    keep(at, done, self.filter, self.most, &mut self.newest)?;
                    if looked_at > self.looked_at {
                        self.bounds.left = Some(self.bounds.left.map_or(slot, |left| left.min(slot)));
                        return Ok(());
                    }
                }
                let full = self.newest.len() >= self.most
                    && self.newest.last_key_value().is_some_and(|(last, _)| place.slot > *last);
                let left = self.bounds.left.is_some_and(|left| place.slot > left);
                if place.slot > most || full || left {
                    return Ok(());
                }
            }
            if read < PART {
                break;
            }
        }
        match group {
            Some(done) if done.1.slot <= most => keep(at, done, self.filter, self.most, &mut self.newest),
            _ => Ok(()),
        }
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
