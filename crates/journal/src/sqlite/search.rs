//! Searches of datasets: `search.db` beside the journal, made from it, followed by one thread ([`follow`]) and read by a
//! few connections ([`find`]). The journal alone is the truth: what is shown is read from it, and this file only says
//! which datasets those are.

mod feed;
mod file;
mod find;
mod follow;
mod rows;
mod shelves;
#[cfg(test)]
mod tests;
mod zones;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use opendmp_ports::journal::{Behind, Found, Search as Asked};
use opendmp_ports::{Error, ErrorKind};
use rusqlite::Connection;
use tokio::sync::watch;

use super::fail::Result;
use follow::Jobs;

pub(crate) use feed::Feed;

/// How long a search waits for the file to be there at all.
const OPENING: Duration = Duration::from_secs(1);

/// How far the file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Changes up to this one are in it.
    pub change: i64,
    /// Not all datasets were looked through yet.
    pub building: bool,
    /// It is there.
    pub opened: bool,
}

/// The file, who follows, and who reads.
#[derive(Debug)]
pub(crate) struct Search {
    kept: Arc<Kept>,
    thread: OnceLock<Mutex<Option<JoinHandle<()>>>>,
}

/// What the thread that follows and those who search share.
#[derive(Debug)]
pub(crate) struct Kept {
    pub dir: PathBuf,
    pub feed: Arc<Feed>,
    progress: watch::Sender<Progress>,
    /// The file is not what was written.
    doubted: AtomicBool,
    /// Held to read by who uses a connection for reading, and to write by who takes the file away.
    there: RwLock<()>,
    idle: Mutex<Vec<Connection>>,
    /// Rows that are looked at for a page.
    most: usize,
    grams: find::Grams,
}

impl Kept {
    fn is_doubted(&self) -> bool {
        self.doubted.load(Ordering::Acquire)
    }

    /// Has the file made anew.
    fn doubt(&self) {
        self.doubted.store(true, Ordering::Release);
        self.feed.wake();
    }

    fn tell(&self, progress: Progress) {
        self.progress.send_if_modified(|known| std::mem::replace(known, progress) != progress);
    }

    /// Puts another file in the place of this one, while nobody has it open.
    fn replace<T>(&self, make: impl FnOnce() -> Result<T>) -> Result<T> {
        let _alone = self.there.write().unwrap_or_else(PoisonError::into_inner);
        self.tell(Progress::default());
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.grams.forget();
        let made = make()?;
        self.doubted.store(false, Ordering::Release);
        Ok(made)
    }

    /// Runs `work` on a connection for reading; `None` where there is no file.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<Option<T>> {
        let _there = self.there.read().unwrap_or_else(PoisonError::into_inner);
        if !self.progress.borrow().opened {
            return Ok(None);
        }
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => file::open_reader(&self.dir)?,
        };
        let out = work(&conn)?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
        Ok(Some(out))
    }
}

impl Search {
    pub(crate) fn new(dir: &Path, feed: Arc<Feed>, most: usize) -> Self {
        let kept = Arc::new(Kept {
            dir: dir.to_owned(),
            feed,
            progress: watch::Sender::default(),
            doubted: AtomicBool::new(false),
            there: RwLock::default(),
            idle: Mutex::default(),
            most,
            grams: find::Grams::default(),
        });
        Self { kept, thread: OnceLock::new() }
    }

    /// Begins to follow; once.
    pub(crate) fn start(&self, jobs: &Jobs) {
        self.thread.get_or_init(|| {
            let (kept, jobs) = (Arc::clone(&self.kept), jobs.clone());
            let thread = std::thread::Builder::new().name("journal-search".to_owned());
            let started = thread.spawn(move || follow::run(&kept, &jobs));
            let told = started.inspect_err(|error| tracing::warn!(%error, "datasets can't be searched: no thread"));
            Mutex::new(told.ok())
        });
    }

    /// Ends it.
    pub(crate) fn close(&self) {
        self.kept.feed.close();
        if let Some(thread) = self.thread.get()
            && let Some(thread) = thread.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            // A panic there was told by its own message.
            let _ = thread.join();
        }
        self.kept.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What reads it.
    pub(crate) fn kept(&self) -> Arc<Kept> {
        Arc::clone(&self.kept)
    }

    /// Waits until all that was committed before is found, at most so long; and a moment for there to be anything.
    pub(crate) async fn wait(&self, most: Duration) {
        let last = self.kept.feed.last();
        let mut progress = self.kept.progress.subscribe();
        // An error is the time that has passed: the answer says how far it is.
        let _ = tokio::time::timeout(OPENING.max(most), progress.wait_for(|progress| progress.opened)).await;
        let all = |progress: &Progress| progress.opened && !progress.building && progress.change >= last;
        let _ = tokio::time::timeout(most, progress.wait_for(all)).await;
    }
}

impl Kept {
    /// Searches, with a connection to the journal.
    pub(crate) fn search(&self, journal: &Connection, search: &Asked) -> Result<Found> {
        // One view of it from beginning to end.
        let _view = journal.unchecked_transaction()?;
        let nothing = |behind| Found { rows: Vec::new(), next: None, total: None, cut: false, behind };
        let Some(mut asked) = find::Asked::of(journal, search, self.most, &self.grams)? else {
            return Ok(Found { total: Some(0), ..nothing(None) });
        };
        match self.read(|conn| asked.pick(conn)) {
            Ok(picked) => match picked.flatten() {
                Some(picked) => asked.told(journal, picked),
                None => Ok(nothing(Some(Behind { since: 0, building: true }))),
            },
            Err(fail) if file::is_damage(&fail) => {
                self.doubt();
                let error = Error::new(ErrorKind::Unavailable, "search datasets", "`search.db` is damaged");
                Err(error.with_hint("it is made anew by itself; ask again").into())
            }
            Err(fail) => Err(fail),
        }
    }
}
