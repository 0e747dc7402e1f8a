//! Brings rows up to what the journal has: of single datasets, and of all, part by part.

use std::collections::HashMap;

use opendmp_model::ids::SlotId;
use opendmp_ports::journal::SortBy;
use opendmp_ports::journal::search::{Key, number};
use rusqlite::{Connection, OptionalExtension, params};

use super::file::Built;
use super::shelves::Shelves;
use super::zones::Zones;
use crate::sqlite::blobs::item_of;
use crate::sqlite::fail::Result;

/// Media types that are remembered by number.
const REMEMBERED: usize = 1_024;

/// What is kept of a dataset.
struct Row {
    at: i64,
    size: i64,
    run: i64,
    media: Option<String>,
    export: i64,
    name: String,
}

/// Writes rows.
#[derive(Debug)]
pub(crate) struct Rows {
    next: i64,
    media: HashMap<String, i64>,
    shelves: Shelves,
    zones: Zones,
}

impl Rows {
    pub(crate) fn new(conn: &Connection) -> Result<Self> {
        let last: Option<i64> = conn.query_row("SELECT max(id) FROM row", [], |row| row.get(0))?;
        Ok(Self {
            next: last.unwrap_or(0) + 1,
            media: HashMap::new(),
            shelves: Shelves::default(),
            zones: Zones::default(),
        })
    }

    /// Writes what is to be said of these datasets, which are in order of their keys. An error of the journal is told by
    /// `of_journal`.
    pub(crate) fn put(
        &mut self,
        conn: &Connection,
        journal: &Connection,
        slots: &[(i64, SlotId)],
        of_journal: impl Fn(crate::sqlite::fail::Fail) -> crate::sqlite::fail::Fail,
    ) -> Result<()> {
        for (shelf, slot) in slots {
            let Some(row) = newest(journal, *shelf, *slot).map_err(&of_journal)? else { continue };
            self.put_one(conn, *shelf, *slot, &row)?;
        }
        self.shelves.save(conn)?;
        self.zones.save(conn)
    }

    fn put_one(&mut self, conn: &Connection, shelf: i64, slot: SlotId, row: &Row) -> Result<()> {
        let media = row.media.as_deref().map(|media| self.media(conn, media)).transpose()?;
        let (origin, hash) = (slot.origin.0 as i64, slot.hash.0);
        let mut known =
            conn.prepare_cached("SELECT id, at, size FROM row WHERE shelf = ?1 AND origin = ?2 AND slot = ?3")?;
        let known: Option<(i64, i64, i64)> =
            known.query_row(params![shelf, origin, hash], |row| row.try_into()).optional()?;
        let mut zone = |id, by, key| self.zones.add(conn, id, by, (key, origin));
        match known {
            Some((id, at, size)) if (at, size) == (row.at, row.size) => {
                let sql = "UPDATE row SET run = ?2, media = ?3, export = ?4 WHERE id = ?1";
                conn.prepare_cached(sql)?.execute(params![id, row.run, media, row.export])?;
                Ok(())
            }
            Some((id, ..)) => {
                let sql = "UPDATE row SET run = ?2, media = ?3, export = ?4, at = ?5, size = ?6 WHERE id = ?1";
                conn.prepare_cached(sql)?.execute(params![id, row.run, media, row.export, row.at, row.size])?;
                zone(id, SortBy::Committed, Key::Number(row.at))?;
                zone(id, SortBy::Size, Key::Number(row.size))
            }
            None => {
                let id = self.next;
                self.next += 1;
                let sql = "INSERT INTO row (id, shelf, origin, slot, at, size, run, media, export, name) \
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
                let Row { at, size, run, export, name, .. } = row;
                let values = params![id, shelf, origin, hash, at, size, run, media, export, name];
                conn.prepare_cached(sql)?.execute(values)?;
                conn.prepare_cached("INSERT INTO trigram (rowid, name) VALUES (?1, ?2)")?.execute(params![id, name])?;
                self.shelves.add(conn, shelf, id, name)?;
                zone(id, SortBy::Name, Key::Name(name.clone()))?;
                zone(id, SortBy::Committed, Key::Number(*at))?;
                zone(id, SortBy::Size, Key::Number(*size))
            }
        }
    }

    fn media(&mut self, conn: &Connection, media: &str) -> Result<i64> {
        if let Some(id) = self.media.get(media) {
            return Ok(*id);
        }
        conn.prepare_cached("INSERT OR IGNORE INTO media (text) VALUES (?1)")?.execute([media])?;
        let id = conn.prepare_cached("SELECT id FROM media WHERE text = ?1")?.query_row([media], |row| row.get(0))?;
        if self.media.len() >= REMEMBERED {
            self.media.clear();
        }
        self.media.insert(media.to_owned(), id);
        Ok(id)
    }
}

/// The newest revision of a dataset, as the journal has it.
fn newest(journal: &Connection, shelf: i64, slot: SlotId) -> Result<Option<Row>> {
    let sql = "SELECT at, run, export, item FROM revision WHERE shelf = ?1 AND origin = ?2 AND slot = ?3 \
               ORDER BY coalesce(latest_arrival, arrival) DESC, coalesce(latest_pass, pass) DESC LIMIT 1";
    let mut statement = journal.prepare_cached(sql)?;
    let mut rows = statement.query(params![shelf, slot.origin.0 as i64, slot.hash.0])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let item = item_of(row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?)?;
    Ok(Some(Row {
        at: row.get(0)?,
        run: row.get(1)?,
        export: row.get(2)?,
        size: number(item.content.size),
        media: item.media_type.as_deref().map(str::to_owned),
        name: item.name.to_lowercase(),
    }))
}

/// Datasets behind a place, in order of their keys, at most `most`.
pub(crate) fn behind(journal: &Connection, place: Built, most: usize) -> Result<Vec<(i64, SlotId)>> {
    let sql = "SELECT DISTINCT shelf, origin, slot FROM revision WHERE (shelf, origin, slot) > (?1, ?2, ?3) \
               ORDER BY shelf, origin, slot LIMIT ?4";
    let mut statement = journal.prepare_cached(sql)?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![place.shelf, place.origin, place.slot, most], |row| {
        let hash = opendmp_model::ids::PathHash(row.get(2)?);
        Ok((row.get(0)?, SlotId { origin: opendmp_model::ids::Arrival(row.get::<_, i64>(1)? as u64), hash }))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
