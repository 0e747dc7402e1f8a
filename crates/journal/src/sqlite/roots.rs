//! What content must be kept for: every reference to content in a journal that somebody may still follow.
//!
//! [`each`] is the one list of them. Garbage collection keeps what it tells, and a backup and a verification look
//! for just that; so what is let go by the one is not missed by the others.

use std::path::Path;

use opendmp_model::codec::decode_items;
use opendmp_model::ids::Arrival;
use opendmp_model::manifest::{Load, decode_load};
use opendmp_model::name;
use opendmp_ports::journal::Named;
use opendmp_ports::{Error, ErrorKind};
use rusqlite::{Connection, OptionalExtension, Row};
use tokio::sync::mpsc;

use super::blobs::{content_of, item_of, task_of};
use super::database;
use super::fail::Result;

/// References that are sent in one go.
const BATCH: usize = 4_096;

/// Who refers to content, in words, made only where somebody wants to know.
pub(crate) type By<'a> = &'a dyn Fn() -> String;

/// Told of each reference.
pub(crate) type Visit<'a> = dyn FnMut(&Named, By<'_>) -> Result<()> + 'a;

/// Tells every reference that is followed some day, in the view of the connection's transaction. Row by row: memory does
/// not grow with the journal. What a manifest lists is not opened. A dead letter that has ended is followed by nobody, nor
/// what retention let go; what a person put in place of an item's content is let go with the source of the item.
pub(crate) fn each(conn: &Connection, visit: &mut Visit<'_>) -> Result<()> {
    rows(conn, "SELECT id, path, content FROM arrival WHERE gone IS NULL", &mut |row| {
        let number = row.get::<_, i64>(0)?;
        let path = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        let content = content_of(row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?)?;
        let by = || format!("arrival {number}, {}", name::printable(&name::from_bytes(path)));
        visit(&Named::Content(content), &by)
    })?;
    let mut source = conn.prepare("SELECT gone IS NULL FROM arrival WHERE id = ?1")?;
    rows(conn, "SELECT letter, after FROM edit", &mut |row| {
        let number = task_of(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)?.arrival.0;
        let kept: Option<bool> = source.query_row([number as i64], |row| row.get(0)).optional()?;
        if kept != Some(true) {
            return Ok(());
        }
        let content = content_of(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?;
        visit(&Named::Content(content), &|| format!("what a person made of an item of arrival {number}"))
    })?;
    rows(conn, "SELECT items FROM bundle", &mut |row| {
        let (load, items) = decode_load(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)?;
        for item in &items {
            let by = || format!("an item that waits, {}", name::printable(&item.name));
            visit(&Named::Content(item.content), &by)?;
        }
        if let (Load::Expand(manifest), Some(item)) = (load, items.first()) {
            visit(&Named::Manifest(manifest), &|| format!("what came of {}", name::printable(&item.name)))?;
        }
        Ok(())
    })?;
    rows(conn, "SELECT items FROM held", &mut |row| {
        for item in decode_items(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)? {
            let by = || format!("an item that an aggregate holds, {}", name::printable(&item.name));
            visit(&Named::Content(item.content), &by)?;
        }
        Ok(())
    })?;
    let items = [
        ("a dataset", "SELECT arrival, item FROM revision WHERE gone IS NULL"),
        ("an export", "SELECT arrival, item FROM intent WHERE item IS NOT NULL"),
        ("a dead letter", "SELECT NULL, item FROM letter WHERE state = 0"),
    ];
    for (what, sql) in items {
        rows(conn, sql, &mut |row| {
            let arrival = row.get::<_, Option<i64>>(0)?.map(|number| Arrival(number as u64));
            let item = item_of(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?;
            let by = || {
                let of = arrival.map(|arrival| format!(" of arrival {}", arrival.0)).unwrap_or_default();
                format!("{what}{of}, {}", name::printable(&item.name))
            };
            visit(&Named::Content(item.content), &by)
        })?;
    }
    Ok(())
}

fn rows(conn: &Connection, sql: &str, tell: &mut dyn FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        tell(row)?;
    }
    Ok(())
}

/// Sends what [`each`] tells of the journal in a file, in one view of it. Blocks. The log can't begin anew meanwhile.
pub(crate) fn send(file: &Path, to: &mpsc::Sender<Vec<Named>>) -> Result<()> {
    let left = || Error::new(ErrorKind::Unavailable, "journal roots", "whoever asked has left");
    // A connection of its own: it is used for long, and the others have people waiting.
    let conn = database::open_reader(file)?;
    conn.execute_batch("BEGIN")?;
    let mut batch = Vec::with_capacity(BATCH);
    each(&conn, &mut |named, _| {
        batch.push(*named);
        if batch.len() == BATCH {
            let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
            to.blocking_send(full).map_err(|_| left())?;
        }
        Ok(())
    })?;
    if !batch.is_empty() {
        to.blocking_send(batch).map_err(|_| left())?;
    }
    Ok(())
}
