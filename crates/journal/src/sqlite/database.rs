//! Opening the file: formats, migrations, settings.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use opendmp_ports::{Error, ErrorKind};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::fail::{Fail, Result};

/// The database in the data directory.
pub(crate) const FILE: &str = "journal.db";

/// `ODMP`: tells our files from other programs' ones.
const APPLICATION_ID: u32 = 0x4f44_4d50;

/// The schema's versions, in order. A released one is never changed (`tests/schema.rs` holds them).
const MIGRATIONS: [&str; 11] = [
    include_str!("../../migrations/0001_first.sql"),
    include_str!("../../migrations/0002_held.sql"),
    include_str!("../../migrations/0003_memo.sql"),
    include_str!("../../migrations/0004_lineage.sql"),
    include_str!("../../migrations/0005_retention.sql"),
    include_str!("../../migrations/0006_drafts.sql"),
    include_str!("../../migrations/0007_changes.sql"),
    include_str!("../../migrations/0008_letters.sql"),
    include_str!("../../migrations/0009_slots.sql"),
    include_str!("../../migrations/0010_installation.sql"),
    include_str!("../../migrations/0011_tries.sql"),
];

/// The schema from which on dead letters have a group.
const LETTER_GROUPS: usize = 8;

/// Page cache of the writer, KiB.
const WRITER_CACHE: i64 = 16 << 10;

/// Page cache of each reader, KiB.
const READER_CACHE: i64 = 2 << 10;

/// Opens the database for writing, made or migrated where that is needed.
pub(crate) fn open_writer(path: &Path) -> Result<Connection> {
    check_header(path)?;
    super::log::check(path)?;
    create_private(path)?;
    let mut conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    check_owner(&conn)?;
    // FULL: a commit is on the disk before it is answered.
    conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;
    conn.execute_batch(&format!("PRAGMA cache_size = -{WRITER_CACHE};"))?;
    migrate(&mut conn)?;
    Ok(conn)
}

/// Makes an empty file for a database that nobody else may read, where there is none; SQLite gives what it puts beside it
/// the same rights. A file that is there is not opened: closing it again would end the locks that SQLite has on it.
pub(crate) fn create_private(path: &Path) -> Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::io("open journal", path.display(), &error).into())
        }
        _ => Ok(()),
    }
}

/// Opens a migrated database for reading.
pub(crate) fn open_reader(path: &Path) -> Result<Connection> {
    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    conn.execute_batch(&format!("PRAGMA query_only = 1; PRAGMA cache_size = -{READER_CACHE};"))?;
    Ok(conn)
}

/// Opens a migrated database for checkpoints.
pub(crate) fn open_checkpointer(path: &Path) -> Result<Connection> {
    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // FULL here syncs the database file before the log is used again.
    conn.execute_batch("PRAGMA synchronous = FULL; PRAGMA cache_size = -64; PRAGMA busy_timeout = 0;")?;
    Ok(conn)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let conn = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.set_prepared_statement_cache_capacity(256);
    // Plans don't depend on bound values; else each new value for a column that a partial index speaks of has its
    // statement prepared again.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.execute_batch(
        "PRAGMA busy_timeout = 5000; PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY;
         PRAGMA trusted_schema = 0;",
    )?;
    Ok(conn)
}

/// Looks at the file without opening it as a database, which would write beside it: one of a newer version, or of
/// another program, stays as it is.
pub(crate) fn check_header(path: &Path) -> Result<()> {
    let mut header = Vec::with_capacity(100);
    match File::open(path) {
        Ok(file) => {
            file.take(100).read_to_end(&mut header).map_err(|e| Error::io("open journal", path.display(), &e))?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("open journal", path.display(), &error).into()),
    }
    if header.is_empty() {
        return Ok(());
    }
    if header.len() < 100 || !header.starts_with(b"SQLite format 3\0") {
        return Err(Fail::Damaged(format!("{} is not a database", path.display())));
    }
    // Offsets by https://www.sqlite.org/fileformat.html, section 1.3.
    let number = |at: usize| header[at..at + 4].iter().fold(0u32, |n, &byte| n << 8 | u32::from(byte));
    check_format(number(68), number(60))
}

/// Errs for what this program must not touch. Both numbers are 0 while a new database is being made.
fn check_format(application: u32, version: u32) -> Result<()> {
    if (application, version) == (0, 0) {
        return Ok(());
    }
    if application != APPLICATION_ID {
        return Err(foreign());
    }
    if version as usize > MIGRATIONS.len() {
        let known = MIGRATIONS.len();
        let message = format!("`journal.db` has format {version}, and this opendmp knows {known}");
        return Err(Error::new(ErrorKind::Newer, "open journal", message)
            .with_hint("use the opendmp that wrote it, or a newer one; nothing was changed")
            .into());
    }
    Ok(())
}

fn foreign() -> Fail {
    let error = Error::new(ErrorKind::Invalid, "open journal", "`journal.db` is the database of another program");
    error.with_hint("give another data directory").into()
}

fn number(conn: &Connection, pragma: &str) -> Result<u32> {
    Ok(conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))? as u32)
}

/// Errs for a database that has no number of ours and is not new, before anything is written to it.
fn check_owner(conn: &Connection) -> Result<()> {
    let unmarked = number(conn, "application_id")? == 0;
    if unmarked && conn.prepare("SELECT 1 FROM sqlite_master LIMIT 1")?.exists([])? { Err(foreign()) } else { Ok(()) }
}

/// Whose journal it is, and whether it was ever worked with.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub instance: String,
    pub fresh: bool,
}

/// The identity of a migrated journal. One that has no name yet gets `instance`, or a new one.
///
/// # Errors
/// `Invalid` where it has another name than that.
pub(crate) fn identity(conn: &Connection, instance: Option<&str>) -> Result<Identity> {
    let used = "SELECT EXISTS (SELECT 1 FROM lease) OR EXISTS (SELECT 1 FROM version)";
    let fresh = !conn.query_row(used, [], |row| row.get::<_, bool>(0))?;
    let new = "INSERT OR IGNORE INTO installation (one, instance) VALUES (1, coalesce(?1, lower(hex(randomblob(8)))))";
    conn.execute(new, [instance])?;
    let own: String = conn.query_row("SELECT instance FROM installation", [], |row| row.get(0))?;
    match instance {
        Some(instance) if instance != own => {
            let message = format!(
                "`journal.db` is that of another data directory: its name is {own}, and this one is {instance}"
            );
            let hint = "bring the right `journal.db` back, or `opendmp restore` a backup into a new directory";
            Err(Error::new(ErrorKind::Invalid, "open journal", message).with_hint(hint).into())
        }
        _ => Ok(Identity { instance: own, fresh }),
    }
}

fn migrate(conn: &mut Connection) -> Result<()> {
    let (application, version) = (number(conn, "application_id")?, number(conn, "user_version")?);
    // Once more: the header that was looked at before may be followed by a newer one in the log.
    check_format(application, version)?;
    let from = version as usize;
    for (at, migration) in MIGRATIONS.iter().enumerate().skip(from) {
        let tx = conn.transaction()?;
        tx.execute_batch(migration)?;
        if at + 1 == LETTER_GROUPS {
            super::tables::group_letters(&tx)?;
        }
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", at as i64 + 1)?;
        tx.commit()?;
    }
    if from < MIGRATIONS.len() {
        // Into the file at once, where an older program finds the number before it opens anything.
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    }
    Ok(())
}
