//! `search.db`: the file, its tables, and how it is opened. It is made from the journal, so that it may be deleted at any
//! time, and is where anything about it is doubtful.
//!
//! One row a dataset, of its newest revision. Names are in lower case. Rows are found by three orders, each within a
//! shelf, and by the trigrams of their names (FTS5), which know neither where in a name they are nor the name itself:
//! what they find is compared with the row.

use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use crate::sqlite::database::create_private;
use crate::sqlite::fail::{Fail, Result};

/// The file in the data directory.
pub(crate) const FILE: &str = "search.db";

/// Goes up with each change of the tables or of what is in them; a file of another one is made anew.
const VERSION: i64 = 3;

const APPLICATION_ID: i64 = 0x4f44_5343;

/// Page cache of the one that writes, KiB.
const WRITER_CACHE: i64 = 16 << 10;

/// Page cache of each that reads, KiB.
const READER_CACHE: i64 = 8 << 10;

/// export: as in the journal. media: number in `media`; NULL where it has none. least, most: numbers of the first and the last
/// row of a shelf. grams: see [`Shelves`](super::shelves::Shelves). zone: see [`zones`](super::zones).
pub(crate) const TABLES: &str = "
CREATE TABLE row (
    id INTEGER PRIMARY KEY,
    shelf INTEGER NOT NULL,
    origin INTEGER NOT NULL,
    slot BLOB NOT NULL,
    at INTEGER NOT NULL,
    size INTEGER NOT NULL,
    run INTEGER NOT NULL,
    media INTEGER,
    export INTEGER NOT NULL,
    name TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX row_slot ON row (shelf, origin, slot);
CREATE INDEX row_at ON row (shelf, at, origin, slot);
CREATE INDEX row_name ON row (shelf, name, origin, slot);
CREATE INDEX row_size ON row (shelf, size, origin, slot);
CREATE INDEX row_export ON row (export) WHERE export > 2;
CREATE VIRTUAL TABLE trigram USING fts5(
    name, content = '', columnsize = 0, detail = none, tokenize = 'trigram case_sensitive 1'
);
CREATE TABLE shelf (
    id INTEGER PRIMARY KEY, least INTEGER NOT NULL, most INTEGER NOT NULL, grams BLOB NOT NULL
) STRICT;
CREATE TABLE zone (
    sort INTEGER NOT NULL,
    id INTEGER NOT NULL,
    least ANY NOT NULL,
    least_origin INTEGER NOT NULL,
    most ANY NOT NULL,
    most_origin INTEGER NOT NULL,
    PRIMARY KEY (sort, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE media (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    stamp BLOB NOT NULL,
    change INTEGER NOT NULL,
    building INTEGER NOT NULL,
    shelf INTEGER NOT NULL,
    origin INTEGER NOT NULL,
    slot BLOB NOT NULL
) STRICT;
";

/// How far the file follows the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// By which the journal knows it.
    pub stamp: Vec<u8>,
    /// Changes up to this one are in it.
    pub change: i64,
    /// All datasets are still being looked through; those up to this place are in it.
    pub building: Option<Built>,
}

/// Shelf, origin and slot up to which datasets were looked through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Built {
    pub shelf: i64,
    pub origin: i64,
    pub slot: [u8; 12],
}

/// The files that belong to it.
fn files(dir: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|end| dir.join(format!("{FILE}{end}")))
}

/// Bytes of its log.
pub(crate) fn log_size(dir: &Path) -> u64 {
    let [_, log, _] = files(dir);
    std::fs::metadata(log).map_or(0, |log| log.len())
}

/// Opens the file for writing; `None` where it is not there, or not one of this version.
pub(crate) fn open(dir: &Path) -> Result<Option<(Connection, State)>> {
    if !dir.join(FILE).exists() {
        return Ok(None);
    }
    let opened = connect(dir, OpenFlags::SQLITE_OPEN_READ_WRITE).and_then(|conn| {
        let number = |pragma| conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        if (number("application_id")?, number("user_version")?) != (APPLICATION_ID, VERSION) {
            return Ok(None);
        }
        settings(&conn)?;
        Ok(state(&conn)?.map(|state| (conn, state)))
    });
    match opened {
        Err(fail) if is_damage(&fail) => Ok(None),
        other => other,
    }
}

/// Makes the file anew. Nobody else has it open.
pub(crate) fn create(dir: &Path, state: &State) -> Result<Connection> {
    for file in files(dir) {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(opendmp_ports::Error::io("open search", file.display(), &error).into());
            }
            _ => {}
        }
    }
    create_private(&dir.join(FILE))?;
    let conn = connect(dir, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    settings(&conn)?;
    // All or nothing: a file without its number is made anew.
    let tx = conn.unchecked_transaction()?;
    tx.execute_batch(TABLES)?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", VERSION)?;
    save(&tx, state)?;
    tx.commit()?;
    Ok(conn)
}

/// Opens a file that is there for reading.
pub(crate) fn open_reader(dir: &Path) -> Result<Connection> {
    let conn = connect(dir, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    conn.execute_batch(&format!("PRAGMA query_only = 1; PRAGMA cache_size = -{READER_CACHE};"))?;
    Ok(conn)
}

fn connect(dir: &Path, flags: OpenFlags) -> Result<Connection> {
    let conn = Connection::open_with_flags(dir.join(FILE), flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.set_prepared_statement_cache_capacity(128);
    // Else statements are made anew for the values that they are given.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.execute_batch("PRAGMA busy_timeout = 1000; PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY;")?;
    Ok(conn)
}

fn settings(conn: &Connection) -> Result<()> {
    // NORMAL: the file is whole whatever happens, and what a loss of power takes of its end is followed again.
    conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")?;
    conn.execute_batch(&format!("PRAGMA cache_size = -{WRITER_CACHE};"))?;
    Ok(())
}

/// How far it is.
pub(crate) fn state(conn: &Connection) -> Result<Option<State>> {
    let sql = "SELECT stamp, change, building, shelf, origin, slot FROM state";
    let found = conn.prepare_cached(sql)?.query_row([], |row| {
        let built = Built { shelf: row.get(3)?, origin: row.get(4)?, slot: row.get(5)? };
        Ok(State { stamp: row.get(0)?, change: row.get(1)?, building: row.get::<_, bool>(2)?.then_some(built) })
    });
    Ok(found.optional()?)
}

/// Notes how far it is.
pub(crate) fn save(conn: &Connection, state: &State) -> Result<()> {
    let Built { shelf, origin, slot } = state.building.unwrap_or_default();
    let sql = "INSERT OR REPLACE INTO state (one, stamp, change, building, shelf, origin, slot) \
               VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)";
    let values = params![state.stamp, state.change, state.building.is_some(), shelf, origin, slot];
    conn.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// Whether an error says that the file is not what was written, so that it is to be made anew.
pub(crate) fn is_damage(fail: &Fail) -> bool {
    match fail {
        Fail::Sql(error) => match error.sqlite_error_code() {
            Some(code) => matches!(code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase),
            None => true,
        },
        Fail::Damaged(_) => true,
        Fail::Port(_) => false,
    }
}
