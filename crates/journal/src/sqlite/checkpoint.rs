//! Checkpoints, off the writer's thread: the log is copied into the database while the writer goes on. Only where the
//! log has grown long is the writer held up, for the tail that is left then, so that the log begins anew and its file
//! stays bounded; where somebody reads what was there before, only once it is several times as long.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use opendmp_ports::journal::Seq;
use rusqlite::Connection;

use super::copied::Salts;
use super::fail::Result;
use super::{copied, database, read};

/// Bytes of a page, by which the log grows.
const PAGE: u64 = 4096;

/// Rounds of copying beside the writer before it is held up, where the tail does not become short.
const ROUNDS: u32 = 6;

/// A short tail, which is copied while the writer waits: 1 MiB.
const TAIL_PAGES: u64 = (1 << 20) / PAGE;

/// A log that is so many times as long as it is to become is copied with the writer held up, whoever reads.
const PATIENCE: u64 = 4;

/// How long nothing must be written before the log is cut to nothing.
const IDLE: Duration = Duration::from_secs(2);

/// How long a log grows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Pages after which what is new is copied.
    pub begin: u64,
    /// Pages after which the log is to begin anew.
    pub most: u64,
}

impl Limits {
    pub(crate) fn new(begin_bytes: u64, most_bytes: u64) -> Self {
        let begin = (begin_bytes / PAGE).max(1);
        Self { begin, most: (most_bytes / PAGE).max(2 * begin) }
    }
}

#[derive(Debug, Default)]
struct State {
    /// A transaction is open.
    writing: bool,
    /// The writer is to wait.
    held: bool,
    /// Pages in the log.
    pages: u64,
    /// Of these, copied.
    copied: u64,
    /// Pages in the log when copying last ended: somebody who reads for long keeps it from coming further, and it is
    /// tried again only when as much has come again.
    tried: u64,
    /// Something was committed since the log was cut.
    dirty: bool,
    /// The log has begun anew.
    begun: bool,
    closing: bool,
}

impl State {
    /// Pages that came since copying last did what it could.
    fn waits(&self) -> u64 {
        self.pages.saturating_sub(self.copied.max(self.tried))
    }
}

/// Between the writer and the checkpoints.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
    limits: Limits,
}

impl Gate {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), limits }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer begins a transaction.
    pub(crate) fn enter(&self) {
        let mut state = self.lock();
        while state.held {
            state = self.wait(state);
        }
        state.writing = true;
    }

    /// The writer has ended it; `pages` are in the log now, where something was written.
    pub(crate) fn leave(&self, pages: Option<u64>) {
        let mut state = self.lock();
        state.writing = false;
        if let Some(pages) = pages {
            state.begun |= state.pages == 0 || pages < state.pages;
            if pages < state.pages {
                (state.copied, state.tried) = (0, 0);
            }
            (state.pages, state.dirty) = (pages, true);
        }
        if state.held || state.begun || state.waits() >= self.limits.begin {
            self.changed.notify_all();
        }
    }

    /// Ends the checkpoints.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_all();
    }

    /// Runs `work` while no transaction is open.
    fn hold<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut state = self.lock();
        state.held = true;
        while state.writing {
            state = self.wait(state);
        }
        drop(state);
        let out = work();
        self.lock().held = false;
        self.changed.notify_all();
        out
    }
}

/// What checkpoints are made with.
struct Copier {
    conn: Connection,
    database: PathBuf,
    /// How far the database has come, where that is known.
    copied: Option<Seq>,
    /// The log that this was written down for last.
    noted: Option<Salts>,
}

impl Copier {
    fn open(database: &Path, copied: Option<Seq>) -> Result<Self> {
        let conn = database::open_checkpointer(database)?;
        Ok(Self { conn, database: database.to_owned(), copied, noted: None })
    }

    /// Writes down how far the database had come when its present log began, which has all that came since.
    fn note(&mut self) {
        let log = copied::salts(&self.database).filter(|log| self.noted != Some(*log));
        let Some((log, seq)) = log.zip(self.copied) else { return };
        match copied::note(&self.database, log, seq) {
            Ok(()) => self.noted = Some(log),
            // While it is missing or older, only less is known.
            Err(error) => tracing::debug!(%error, "how far the journal's log was copied could not be written down"),
        }
    }
}

/// Starts the thread, with how far the database has come without its log; it ends with [`Gate::close`].
pub(crate) fn start(path: &Path, gate: Arc<Gate>, copied: Option<Seq>) -> Result<JoinHandle<()>> {
    let mut copier = Copier::open(path, copied)?;
    let thread = std::thread::Builder::new().name("journal-checkpoint".to_owned());
    let started = thread.spawn(move || serve(&mut copier, &gate));
    Ok(started.map_err(|e| opendmp_ports::Error::io("open journal", "a thread for checkpoints", &e))?)
}

fn serve(copier: &mut Copier, gate: &Gate) {
    loop {
        let mut state = gate.lock();
        let mut idle = false;
        while !state.closing && !state.begun && state.waits() < gate.limits.begin && !idle {
            if state.dirty {
                let before = state.pages;
                let (next, timeout) = gate.changed.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
                state = next;
                idle = timeout.timed_out() && state.pages == before;
            } else {
                state = gate.wait(state);
            }
        }
        let (closing, begun) = (state.closing, std::mem::take(&mut state.begun));
        let waits = state.waits() >= gate.limits.begin;
        drop(state);
        if begun {
            copier.note();
            if !closing && !waits {
                continue;
            }
        }
        if idle || closing {
            cut(copier, gate);
        } else {
            copy(copier, gate);
        }
        if closing {
            return;
        }
    }
}

/// Copies what is new; holds the writer up for the rest of a long log.
fn copy(copier: &mut Copier, gate: &Gate) {
    let mut seen = 0;
    for round in 1..=ROUNDS {
        let Some((log, copied)) = checkpoint(copier, "PASSIVE", gate) else { return };
        seen = log;
        let pages = gate.lock().pages;
        if pages < gate.limits.most {
            break;
        }
        // Where somebody still reads what was there before, the writer would be held up for nothing.
        let is_read = copied < log;
        let is_short = pages.saturating_sub(copied) <= TAIL_PAGES;
        let is_last = if is_read { pages >= gate.limits.most.saturating_mul(PATIENCE) } else { round == ROUNDS };
        if is_short || is_last {
            // The writer begins the log anew by itself once all of it is copied and nobody reads from it.
            let Some((log, _)) = gate.hold(|| checkpoint(copier, "PASSIVE", gate)) else { return };
            seen = log;
            break;
        }
        if is_read {
            break;
        }
    }
    let mut state = gate.lock();
    // Fewer if the writer has begun the log anew since.
    state.tried = seen.min(state.pages);
}

/// Cuts the log to nothing; where somebody reads from it just then, it stays to be cut.
fn cut(copier: &mut Copier, gate: &Gate) {
    if checkpoint(copier, "PASSIVE", gate).is_none() {
        return;
    }
    gate.hold(|| {
        if checkpoint(copier, "TRUNCATE", gate).is_some_and(|(log, _)| log == 0) {
            gate.lock().dirty = false;
        }
    });
}

/// Answers how many pages the log has and how many of them are in the database; `None` where it did not work, which
/// is told in the log and tried again with the next commits.
fn checkpoint(copier: &mut Copier, mode: &str, gate: &Gate) -> Option<(u64, u64)> {
    // Committed by now, and so in the database once all of the log is.
    let seq = read::last_seq(&copier.conn).ok();
    let numbers = copier.conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
    });
    // Both are -1 where it could not be tried.
    if let (Some(seq), Ok((_, log @ 0.., copied))) = (seq, &numbers)
        && copied == log
    {
        copier.copied = Some(seq);
    }
    let mut state = gate.lock();
    match numbers {
        Ok((_, log, copied)) => {
            let (log, copied) = (log.max(0) as u64, copied.max(0) as u64);
            // The writer may have gone on since; its own number is the newer one.
            state.copied = copied.min(state.pages);
            if mode == "TRUNCATE" && log == 0 {
                (state.pages, state.copied, state.tried) = (0, 0, 0);
            }
            Some((log, copied))
        }
        Err(error) => {
            tracing::warn!(%error, "the journal's log was not copied into its database; tried again later");
            // As if copied: tried again when as much has come again, not at once and for ever.
            state.copied = state.pages;
            state.dirty = false;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_read_is_cut_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(database::FILE);
        let writer = database::open_writer(&path).unwrap();
        let mut copier = Copier::open(&path, None).unwrap();
        let gate = Gate::new(Limits::new(1 << 20, 4 << 20));
        gate.enter();
        writer.execute_batch("UPDATE counter SET arrival = 1").unwrap();
        gate.leave(Some(1));
        let reader = database::open_reader(&path).unwrap();
        let view = reader.unchecked_transaction().unwrap();
        view.query_row("SELECT arrival FROM counter", [], |_| Ok(())).unwrap();
        cut(&mut copier, &gate);
        assert!(gate.lock().dirty, "tried again after another rest");
        drop(view);
        cut(&mut copier, &gate);
        assert!(!gate.lock().dirty);
        assert_eq!(std::fs::metadata(dir.path().join("journal.db-wal")).unwrap().len(), 0);
    }
}
