//! Snapshots of a journal that is in use: made beside its writer, checked, and read for what they refer to.
//!
//! A snapshot is one read transaction's view, copied page by page by SQLite's own backup. The writer goes on meanwhile;
//! the log grows for as long as it takes, and begins anew afterwards. The file that comes of it stands alone: it needs
//! no log beside it, and `sqlite3` reads it. Opened as a journal again it works on from there.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use opendmp_ports::journal::Named;
use opendmp_ports::{Error, ErrorKind, Result};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::fail::{self, Fail};
use super::roots::By;
use super::{database, roots};

const SNAPSHOT: &str = "journal snapshot";
const CHECK: &str = "journal check";

/// Pages copied at a time: 4 MiB.
const STEP: i32 = 1_024;

/// Faults of a damaged file that are told.
const FAULTS: u32 = 20;

/// What a journal holds, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// Flows that are not deleted.
    pub flows: u64,
    /// Of these, enabled.
    pub enabled: u64,
    /// Dataset slots.
    pub datasets: u64,
    /// Their revisions.
    pub revisions: u64,
    /// Open dead letters.
    pub dead_letters: u64,
    /// Open tasks.
    pub tasks: u64,
    /// Intents that are not carried out.
    pub intents: u64,
    /// Arrivals ever.
    pub arrivals: u64,
}

fn opened(file: &Path) -> fail::Result<Connection> {
    if !file.is_file() {
        let message = format!("{} is missing", file.display());
        return Err(Error::new(ErrorKind::NotFound, CHECK, message).into());
    }
    database::check_header(file)?;
    Ok(Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?)
}

fn told(file: &Path, operation: &'static str) -> impl Fn(Fail) -> Error {
    move |fail| {
        let mut error = fail.told(operation, file.parent().unwrap_or(file));
        if error.kind == ErrorKind::Damaged {
            // Not the journal of a server, whose advice would not fit.
            error = Error::new(ErrorKind::Damaged, operation, format!("{}: {}", file.display(), error.message));
        }
        error
    }
}

/// Copies the journal in `dir`, as it is now, to a new file, and makes it durable. `moved` is told how many of how many
/// bytes are copied, and says whether to go on. Blocks.
///
/// # Errors
/// `Full` and `Unavailable` where the file can't be written, `Unavailable` where `moved` ended it.
pub fn snapshot(dir: &Path, to: &Path, moved: &mut dyn FnMut(u64, u64) -> bool) -> Result<()> {
    match fs::remove_file(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io(SNAPSHOT, to.display(), &error));
        }
        _ => {}
    }
    // Made here, so that nobody else may ever read it.
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let made = made.map_err(|error| Error::io(SNAPSHOT, format_args!("making {}", to.display()), &error))?;
    copied(dir, to, moved).map_err(told(to, SNAPSHOT))?;
    made.sync_all().map_err(|error| Error::io(SNAPSHOT, format_args!("writing {}", to.display()), &error))
}

/// Errs where what was done last is missing from a journal that nobody has open, which the caller has locked. A snapshot
/// of it would be one of an earlier moment, and nobody could tell afterwards. Blocks.
///
/// # Errors
/// `Damaged`, and where its files can't be read.
pub fn check_log(dir: &Path) -> Result<()> {
    super::log::check(&dir.join(database::FILE)).map_err(|fail| fail.told(CHECK, dir))
}

fn copied(dir: &Path, to: &Path, moved: &mut dyn FnMut(u64, u64) -> bool) -> fail::Result<()> {
    let source = database::open_reader(&dir.join(database::FILE))?;
    let mut target =
        Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // Synced once at the end; a torn file is begun anew.
    target.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
    // The view of this transaction, which the steps keep to. Without it a step would begin anew after every commit.
    source.execute_batch("BEGIN")?;
    source.query_row("SELECT count(*) FROM counter", [], |_| Ok(()))?;
    let page: i64 = source.pragma_query_value(None, "page_size", |row| row.get(0))?;
    {
        let backup = Backup::new(&source, &mut target)?;
        loop {
            let step = backup.step(STEP)?;
            let progress = backup.progress();
            let (total, left) = (i64::from(progress.pagecount), i64::from(progress.remaining));
            if !moved(((total - left) * page) as u64, (total * page) as u64) {
                return Err(Error::new(ErrorKind::Unavailable, SNAPSHOT, "the snapshot was stopped").into());
            }
            match step {
                StepResult::Done => break,
                StepResult::More => {}
                _ => {
                    let busy = "another program is using the journal or its copy";
                    return Err(Error::new(ErrorKind::Unavailable, SNAPSHOT, busy).into());
                }
            }
        }
    }
    source.execute_batch("COMMIT")?;
    // The copy has its source's mode, in which it would need a log beside it.
    let mode: String = target.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))?;
    if mode != "delete" {
        return Err(Fail::Damaged(format!("the copy stays in mode {mode}")));
    }
    target.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// Reads a snapshot whole; what SQLite finds wrong with it, in words. Blocks.
///
/// # Errors
/// Where it is missing, no journal, or one of a newer program.
pub fn check(file: &Path) -> Result<Vec<String>> {
    let faults = || -> fail::Result<Vec<String>> {
        let conn = opened(file)?;
        let mut statement = conn.prepare(&format!("PRAGMA integrity_check({FAULTS})"))?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
        let mut faults = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        faults.retain(|line| line != "ok");
        Ok(faults)
    };
    match faults().map_err(told(file, CHECK)) {
        Err(error) if error.kind == ErrorKind::Damaged => Ok(vec![error.message]),
        other => other,
    }
}

/// What a snapshot holds. Blocks.
///
/// # Errors
/// Where it can't be read.
pub fn holds(file: &Path) -> Result<Holds> {
    let counted = || -> fail::Result<Holds> {
        let conn = opened(file)?;
        let count = |sql: &str| -> fail::Result<u64> {
            Ok(conn.query_row(&format!("SELECT count(*) FROM {sql}"), [], |row| row.get::<_, i64>(0))? as u64)
        };
        let sums = "SELECT coalesce(sum(datasets), 0), coalesce(sum(revisions), 0) FROM shelf";
        let (datasets, revisions) =
            conn.query_row(sums, [], |row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64)))?;
        Ok(Holds {
            flows: count("flow WHERE state <> 3")?,
            enabled: count("flow WHERE state = 1")?,
            datasets,
            revisions,
            dead_letters: count("letter WHERE state = 0")?,
            tasks: count("task")?,
            intents: count("intent")?,
            arrivals: count("arrival")?,
        })
    };
    counted().map_err(told(file, CHECK))
}

/// Tells every reference to content in a snapshot that somebody may still follow, and who refers to it. What a manifest
/// lists is not opened: whoever has the content does that. Blocks.
///
/// # Errors
/// Where it can't be read, or a row is not as it was written; those of `visit`.
pub fn references(file: &Path, visit: &mut dyn FnMut(&Named, By<'_>) -> Result<()>) -> Result<()> {
    let mut read = || roots::each(&opened(file)?, &mut |named, by| Ok(visit(named, by)?));
    read().map_err(told(file, CHECK))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, PermissionsExt};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use opendmp_model::ids::ContentHash;
    use opendmp_model::item::{ContentRef, Place};
    use opendmp_ports::Journal;

    use super::*;
    use crate::sqlite::tests::{desk, whole};
    use crate::{Options, SqliteJournal};

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn a_snapshot_is_one_moment_of_a_journal_that_goes_on() {
        let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        // A log that soon begins anew, so that checkpoints and the snapshot meet.
        let options = Options { checkpoint: 64 << 10, log: 256 << 10, ..Options::default() };
        let d = Arc::new(desk(dir.path(), options).await);
        d.journal.ingest(d.ingest("before", 2_000)).await.unwrap();
        let file = to.path().join("journal.db");
        let during = Arc::new(AtomicBool::new(false));
        let (writes, seen) = (Arc::clone(&d), Arc::clone(&during));
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        let writer = tokio::spawn(async move {
            let mut done = 0u64;
            while !end.load(Ordering::Acquire) || done < 20 {
                writes.journal.ingest(writes.ingest(&format!("during {done}"), 20)).await.unwrap();
                done += 1;
                seen.store(true, Ordering::Release);
            }
            done
        });
        for _ in 0..5 {
            let (dir, target, during) = (dir.path().to_owned(), file.clone(), Arc::clone(&during));
            let copy = move || {
                let (mut last, mut total) = (0, 0);
                during.store(false, Ordering::Release);
                snapshot(&dir, &target, &mut |done, of| {
                    // The writer commits while this goes on: it is not held up.
                    while !during.load(Ordering::Acquire) {
                        std::thread::yield_now();
                    }
                    assert!(done >= last && done <= of);
                    (last, total) = (done, of);
                    true
                })
                .unwrap();
                assert_eq!(last, total);
            };
            tokio::task::spawn_blocking(copy).await.unwrap();
            assert_eq!(names(to.path()), ["journal.db"], "it stands alone");
            assert_eq!(check(&file).unwrap(), Vec::<String>::new());
            whole(to.path());
            let holds = holds(&file).unwrap();
            assert!(holds.arrivals >= 2_000 && (holds.arrivals - 2_000).is_multiple_of(20), "{holds:?}");
        }
        ended.store(true, Ordering::Release);
        let done = writer.await.unwrap();
        assert_eq!(d.items().await, 2_000 + 20 * done);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        // It is a journal again.
        let held = holds(&file).unwrap().arrivals;
        let journal = SqliteJournal::open(to.path(), Options::default()).unwrap();
        assert_eq!(journal.backlog(None).await.unwrap().items, held);
    }

    #[tokio::test]
    async fn references_are_told_with_who_refers() {
        let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let d = desk(dir.path(), Options::default()).await;
        let mut ingest = d.ingest("survey", 2);
        let content = |byte: u8| ContentRef {
            hash: ContentHash::of(&[byte]),
            size: 1,
            place: Place::Pack { pack: 1, offset: u64::from(byte) },
        };
        ingest.arrivals[0].content = content(1);
        ingest.arrivals[1].content = content(2);
        d.journal.ingest(ingest).await.unwrap();
        let file = to.path().join("journal.db");
        snapshot(dir.path(), &file, &mut |_, _| true).unwrap();
        let mut found = Vec::new();
        references(&file, &mut |named, by| {
            let Named::Content(content) = named else { panic!("no manifest is there: {named:?}") };
            found.push((*content, by().chars().take(30).collect::<String>()));
            Ok(())
        })
        .unwrap();
        let expected = [
            (content(1), "arrival 1, survey-0".to_owned()),
            (content(2), "arrival 2, survey-1".to_owned()),
            (content(1), "an item that waits, xxxxxxxxxx".to_owned()),
            (content(2), "an item that waits, xxxxxxxxxx".to_owned()),
        ];
        assert_eq!(found, expected);
        let stop = references(&file, &mut |_, _| Err(Error::new(ErrorKind::Conflict, "test", "enough"))).unwrap_err();
        assert_eq!(stop.message, "enough");
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_snapshot_is_told() {
        let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let d = desk(dir.path(), Options::default()).await;
        d.journal.ingest(d.ingest("many", 3_000)).await.unwrap();
        let file = to.path().join("journal.db");
        let stopped = snapshot(dir.path(), &file, &mut |_, _| false).unwrap_err();
        assert!(stopped.message.contains("stopped"), "{stopped}");
        // The next one begins anew.
        snapshot(dir.path(), &file, &mut |_, _| true).unwrap();
        assert_eq!(check(&file).unwrap(), Vec::<String>::new());
        let size = fs::metadata(&file).unwrap().len();
        let damaged = OpenOptions::new().write(true).open(&file).unwrap();
        for page in 20..60 {
            damaged.write_all_at(&[0xa5; 64], page * 4096).unwrap();
        }
        assert!(size > 60 * 4096 && !check(&file).unwrap().is_empty());
        fs::write(&file, "something else, and long enough to be looked at".repeat(4)).unwrap();
        assert!(check(&file).unwrap()[0].contains("is not a database"));
        fs::remove_file(&file).unwrap();
        assert_eq!(check(&file).unwrap_err().kind, ErrorKind::NotFound);
        assert_eq!(holds(&file).unwrap_err().kind, ErrorKind::NotFound);
    }
}
