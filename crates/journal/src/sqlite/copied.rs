//! How far the log was copied into the database, kept beside both in `journal.copied`.
//!
//! SQLite takes any log for that of the database beside it. Over an older copy of the database, a log that began after
//! that copy was made gives a mixture of both: the last number is the newest, and what was in the database only is
//! missing. So it is written down what the database has without its log, with the salts of that log, by which a journal
//! that is put back is known; a database that has less is refused.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use opendmp_ports::journal::Seq;
use opendmp_ports::{Error, ErrorKind};
use rusqlite::{Connection, OpenFlags};

use super::fail::Result;
use super::read;

/// What the file begins with; then come the salts of the log and the number.
const TITLE: &str = "opendmp journal copied 1 ";

/// What tells a log from all others, also from those of other copies of the journal.
pub(crate) type Salts = [u32; 2];

fn file(database: &Path) -> PathBuf {
    database.with_extension("copied")
}

/// The salts of the log beside a database, where there is one.
pub(crate) fn salts(database: &Path) -> Option<Salts> {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    let mut header = [0; 24];
    File::open(log).ok()?.read_exact(&mut header).ok()?;
    let at = |at: usize| header[at..at + 4].iter().fold(0u32, |n, &byte| n << 8 | u32::from(byte));
    Some([at(16), at(20)])
}

/// Writes down that the database had come to this number when this log began. It is not synced: what a process that is
/// killed leaves is there, and after a loss of power an older number, or none, only says less.
pub(crate) fn note(database: &Path, log: Salts, seq: Seq) -> io::Result<()> {
    let file = file(database);
    let new = file.with_extension("copied.new");
    let mut written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    writeln!(written, "{TITLE}{} {} {}", log[0], log[1], seq.0)?;
    fs::rename(new, file)
}

fn noted(database: &Path) -> Option<(Salts, Seq)> {
    let text = fs::read_to_string(file(database)).ok()?;
    let mut numbers = text.strip_prefix(TITLE)?.split_whitespace();
    let mut salt = || numbers.next()?.parse().ok();
    let log = [salt()?, salt()?];
    Some((log, Seq(numbers.next()?.parse().ok()?)))
}

/// The number that a database has without its log, where it can be told. Nobody may have it open: closing it ends the
/// locks of this process.
fn without_log(database: &Path) -> Option<Seq> {
    let mut name = "file:".to_owned();
    for byte in std::path::absolute(database).ok()?.as_os_str().as_bytes() {
        match byte {
            b'/' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => name.push(char::from(*byte)),
            other => name.push_str(&format!("%{other:02x}")),
        }
    }
    name.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // One row on a page of its own, which is whole also where copying was broken off.
    read::last_seq(&Connection::open_with_flags(name, flags).ok()?).ok()
}

/// Errs where the database is older than it was when the log beside it began. Answers how far the database has come
/// without that log, where it can be told. To be called before the database is opened.
pub(crate) fn check(database: &Path) -> Result<Option<Seq>> {
    let is_there = database.metadata().is_ok_and(|meta| meta.len() > 0);
    let found = if is_there { without_log(database) } else { None };
    let Some(log) = salts(database) else { return Ok(found) };
    // Another log is one of another copy of the journal, or one that began just before the process ended.
    let Some((_, noted)) = noted(database).filter(|(of, _)| *of == log) else { return Ok(None) };
    match found {
        Some(found) if found < noted => {
            let message = format!(
                "`journal.db` is older than it was: without its log (`journal.db-wal`) it ends at number {}, and has been \
                 at {}",
                found.0, noted.0
            );
            Err(Error::new(ErrorKind::Damaged, "open journal", message)
                .with_hint(
                    "put back the `journal.db` that was there, or `opendmp restore` a backup into a new directory; to go on \
                     with this one, remove `journal.db-wal` and `journal.db-shm`, which don't belong to it",
                )
                .into())
        }
        _ => Ok(Some(noted)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database with one number that is in it, and one that is in its log only.
    fn make(dir: &Path, copied: u32, last: u32) -> (PathBuf, Connection) {
        let file = dir.join("journal.db");
        let conn = Connection::open(&file).unwrap();
        conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0").unwrap();
        conn.execute_batch("CREATE TABLE IF NOT EXISTS counter (seq); DELETE FROM counter").unwrap();
        conn.execute("INSERT INTO counter VALUES (?1)", [copied]).unwrap();
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        assert_eq!(salts(&file), None);
        conn.execute("UPDATE counter SET seq = ?1", [last]).unwrap();
        note(&file, salts(&file).unwrap(), Seq(copied.into())).unwrap();
        (file, conn)
    }

    #[test]
    fn an_older_database_beside_a_newer_log_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        // A name that has to be written in another way in what SQLite is given.
        let dir = dir.path().join("größe ?#% x");
        fs::create_dir(&dir).unwrap();
        let (file, before) = make(&dir, 5, 6);
        fs::copy(&file, dir.join("older")).unwrap();
        drop(before);
        let (file, _open) = make(&dir, 8, 9);
        assert_eq!(check(&file).unwrap(), Some(Seq(8)));
        fs::copy(dir.join("older"), dir.join("new")).unwrap();
        fs::rename(dir.join("new"), &file).unwrap();
        let told = check(&file).unwrap_err().told("open journal", &dir);
        assert!(told.kind == ErrorKind::Damaged && told.hint.is_some() && told.message.contains("at 8"), "{told}");
        // Without the log it is an older one, of which the content knows more.
        fs::remove_file(dir.join("journal.db-wal")).unwrap();
        assert_eq!(check(&file).unwrap(), Some(Seq(5)));
    }

    #[test]
    fn what_is_not_known_is_no_reason_to_refuse() {
        let dir = tempfile::tempdir().unwrap();
        let (database, _open) = make(dir.path(), 5, 6);
        let log = salts(&database).unwrap();
        for text in
            ["", "opendmp journal copied 2 1 2 9", "opendmp journal copied 1 1 2", "opendmp journal copied 1 1 2 nine"]
        {
            fs::write(file(&database), text).unwrap();
            assert_eq!(check(&database).unwrap(), None, "{text}");
        }
        // Of another copy of the journal.
        note(&database, [log[0], log[1] ^ 1], Seq(9)).unwrap();
        assert_eq!(check(&database).unwrap(), None);
        note(&database, log, Seq(9)).unwrap();
        assert!(check(&database).is_err());
        fs::remove_file(&database).unwrap();
        assert_eq!(check(&database).unwrap(), Some(Seq(9)), "a missing database is refused elsewhere");
        fs::remove_file(file(&database)).unwrap();
        assert_eq!(check(&database).unwrap(), None);
    }
}
