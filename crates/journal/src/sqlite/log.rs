//! Whether the log beside the database is all that was committed to it.
//!
//! SQLite takes a log as far as its checksums go, and what is behind is to it a commit that a crash cut short. So a log
//! that was truncated or damaged afterwards would silently take the journal back to an earlier moment. But its index,
//! which a killed process leaves behind (`journal.db-shm`), says how far the log was committed and synced: where the log
//! does not go so far any more, that is told instead.
//!
//! Formats: <https://www.sqlite.org/walformat.html>, sections 1.2 (index) and <https://www.sqlite.org/fileformat2.html>,
//! section 4 (log).

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;

use opendmp_ports::{Error, ErrorKind};

use super::fail::{Fail, Result};

const OPERATION: &str = "open journal";

/// Bytes of the header of a log, and of each frame before its page.
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// Version of the index's and the log's format.
const VERSION: u32 = 3_007_000;

/// What an index says of its log.
#[derive(Debug, PartialEq, Eq)]
struct Index {
    /// Frames that were committed.
    frames: u32,
    /// How many of them are in the database.
    copied: u32,
    salts: [u32; 2],
}

impl Index {
    /// Reads the beginning of an index; `None` for one that says nothing: not begun, half written, of another format.
    fn read(bytes: &[u8]) -> Option<Self> {
        // In the byte order of the machine, but for the salts, which are as in the log; twice the same, and then how much
        // was copied.
        let four = |at: usize| bytes.get(at..at + 4)?.try_into().ok();
        let number = |at: usize| four(at).map(u32::from_ne_bytes);
        let is_begun = bytes.get(12) == Some(&1) && bytes.get(..48)? == bytes.get(48..96)?;
        if !is_begun || number(0)? != VERSION {
            return None;
        }
        Some(Self {
            frames: number(16)?,
            copied: number(96)?,
            salts: [four(32).map(u32::from_be_bytes)?, four(36).map(u32::from_be_bytes)?],
        })
    }
}

/// Checksum of the log's format over whole pairs of numbers.
fn add(sum: &mut [u32; 2], bytes: &[u8], number: fn([u8; 4]) -> u32) {
    let (numbers, _) = bytes.as_chunks::<4>();
    for pair in numbers.chunks_exact(2) {
        sum[0] = sum[0].wrapping_add(number(pair[0])).wrapping_add(sum[1]);
        sum[1] = sum[1].wrapping_add(number(pair[1])).wrapping_add(sum[0]);
    }
}

/// Salts of a log, and how many frames from its beginning on are as they were written, up to `most`.
fn sound(log: &mut dyn Read, most: u32) -> std::io::Result<Option<([u32; 2], u32)>> {
    let mut header = [0; LOG_HEADER];
    if !fill(log, &mut header)? {
        return Ok(None);
    }
    let at = |bytes: &[u8], at: usize| bytes[at..at + 4].iter().fold(0u32, |n, &byte| n << 8 | u32::from(byte));
    // The last bit says in which byte order the checksums are made.
    let number = match at(&header, 0) {
        0x377f_0682 => u32::from_le_bytes,
        0x377f_0683 => u32::from_be_bytes,
        _ => return Ok(None),
    };
    let (page, salts) = (at(&header, 8) as usize, [at(&header, 16), at(&header, 20)]);
    let mut sum = [0, 0];
    add(&mut sum, &header[..24], number);
    if sum != [at(&header, 24), at(&header, 28)] || !(512..=65_536).contains(&page) {
        return Ok(None);
    }
    let mut frame = vec![0; FRAME_HEADER + page];
    let mut count = 0;
    while count < most && fill(log, &mut frame)? {
        add(&mut sum, &frame[..8], number);
        add(&mut sum, &frame[FRAME_HEADER..], number);
        if [at(&frame, 8), at(&frame, 12)] != salts || [at(&frame, 16), at(&frame, 20)] != sum {
            break;
        }
        count += 1;
    }
    Ok(Some((salts, count)))
}

/// Whether there were bytes for all of it.
fn fill(from: &mut dyn Read, bytes: &mut [u8]) -> std::io::Result<bool> {
    match from.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Errs where the log of a database that nobody has open does not go as far as it was committed. Reads the log, and
/// changes nothing.
pub(crate) fn check(database: &Path) -> Result<()> {
    let beside = |end: &str| {
        let mut name = database.as_os_str().to_owned();
        name.push(end);
        std::path::PathBuf::from(name)
    };
    let (index, log) = (beside("-shm"), beside("-wal"));
    let told = |path: &Path, error: &std::io::Error| Fail::from(Error::io(OPERATION, path.display(), error));
    let bytes = match fs::read(&index) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(told(&index, &error)),
    };
    // All that is in the database already may be missing from the log.
    let Some(index) = Index::read(&bytes).filter(|index| index.copied < index.frames) else { return Ok(()) };
    let found = match File::open(&log) {
        Ok(file) => sound(&mut BufReader::with_capacity(1 << 20, file), index.frames).map_err(|e| told(&log, &e))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(told(&log, &error)),
    };
    let left = match found {
        // A log that began anew after its index was written last: what was in the one before is in the database.
        Some((salts, _)) if salts != index.salts => return Ok(()),
        Some((_, count)) if count >= index.frames => return Ok(()),
        Some((_, count)) => count,
        None => 0,
    };
    let message = format!(
        "`journal.db-wal` is damaged: of {} pages that were committed to it {left} are left, and what was done last is lost",
        index.frames
    );
    Err(Error::new(ErrorKind::Damaged, OPERATION, message)
        .with_hint(
            "restore a backup; or, to go on from an earlier moment without what is lost, remove `journal.db-shm`",
        )
        .into())
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::FileExt;

    use rusqlite::Connection;

    use super::*;

    /// A database as a killed process leaves it: everything but a first table is in the log.
    fn left(rows: u32) -> tempfile::TempDir {
        let (dir, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let conn = Connection::open(dir.path().join("journal.db")).unwrap();
        conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x)").unwrap();
        for n in 0..rows {
            conn.execute("INSERT INTO t VALUES (zeroblob(?1))", [3_000 + n]).unwrap();
        }
        for name in ["journal.db", "journal.db-wal", "journal.db-shm"] {
            fs::copy(dir.path().join(name), left.path().join(name)).unwrap();
        }
        left
    }

    fn checked(dir: &Path) -> Result<()> {
        check(&dir.join("journal.db"))
    }

    #[test]
    fn a_whole_log_is_whole() {
        let dir = left(30);
        checked(dir.path()).unwrap();
        let conn = Connection::open(dir.path().join("journal.db")).unwrap();
        assert_eq!(conn.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 30);
        drop(conn);
        checked(dir.path()).unwrap();
    }

    #[test]
    fn a_log_that_was_cut_damaged_or_removed_is_told() {
        let length = fs::metadata(left(30).path().join("journal.db-wal")).unwrap().len();
        for cut in [length - 1, length / 2, 40, 0] {
            let dir = left(30);
            let log = OpenOptions::new().write(true).open(dir.path().join("journal.db-wal")).unwrap();
            log.set_len(cut).unwrap();
            assert!(checked(dir.path()).is_err(), "cut to {cut} of {length}");
        }
        for at in [5, 1_000, length / 2, length - 10] {
            let dir = left(30);
            let log = OpenOptions::new().read(true).write(true).open(dir.path().join("journal.db-wal")).unwrap();
            let mut byte = [0];
            log.read_exact_at(&mut byte, at).unwrap();
            log.write_all_at(&[byte[0] ^ 1], at).unwrap();
            assert!(checked(dir.path()).is_err(), "byte {at} of {length}");
        }
        let dir = left(30);
        fs::remove_file(dir.path().join("journal.db-wal")).unwrap();
        assert!(checked(dir.path()).is_err());
        // The hint: without the index, SQLite goes on from what is there.
        fs::remove_file(dir.path().join("journal.db-shm")).unwrap();
        checked(dir.path()).unwrap();
    }

    #[test]
    fn what_is_in_the_database_may_be_missing_from_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let conn = Connection::open(dir.path().join("journal.db")).unwrap();
        conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x)").unwrap();
        conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
        let left = tempfile::tempdir().unwrap();
        for name in ["journal.db", "journal.db-shm"] {
            fs::copy(dir.path().join(name), left.path().join(name)).unwrap();
        }
        checked(left.path()).unwrap();
        // And a log that began anew, of which the index knows nothing yet.
        let before = fs::read(dir.path().join("journal.db-shm")).unwrap();
        conn.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        fs::copy(dir.path().join("journal.db-wal"), left.path().join("journal.db-wal")).unwrap();
        fs::write(left.path().join("journal.db-shm"), before).unwrap();
        checked(left.path()).unwrap();
    }
}
