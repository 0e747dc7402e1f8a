//! The journal on SQLite: `journal.db` in the data directory.
//!
//! One thread writes ([`writer`]), a few connections read ([`readers`]), one thread copies the log into the database
//! ([`checkpoint`]). What a call does stands in [`tables`] and [`read`]; here is only who does it, and on which thread.

pub mod backup;
mod blobs;
mod checkpoint;
mod copied;
mod database;
mod fail;
mod journal;
mod lanes;
mod log;
mod presence;
mod read;
mod readers;
mod roots;
mod search;
mod tables;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod work;
mod writer;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use opendmp_ports::journal::{JournalMark, Seq};
use opendmp_ports::{Error, Result};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use checkpoint::{Gate, Limits};
use database::Identity;
use fail::Fail;
use lanes::Lane;
use presence::Presence;
use readers::{Readers, closed};
use search::{Feed, Search};
use tables::Tables;
use writer::{Call, Job, QUEUE, Shared, Writer};

/// How a journal uses its machine.
#[derive(Clone, Debug)]
pub struct Options {
    /// Calls that read at once; each keeps up to 2 MiB of pages.
    pub readers: usize,
    /// Bytes in the log after which they are copied into the database.
    pub checkpoint: u64,
    /// Bytes in the log after which the writer waits until it can begin anew: about its greatest size, but for four
    /// times as much while somebody reads what was there before.
    pub log: u64,
    /// Datasets that are looked at for one page of a search, about.
    pub looked_at: usize,
    /// The name of the data directory, where it is known: a journal that has another one is not opened.
    pub instance: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { readers: 4, checkpoint: 4 << 20, log: 64 << 20, looked_at: 6_000, instance: None }
    }
}

/// A commit: one sync of the disk.
#[derive(Clone, Copy, Debug)]
pub struct Commit {
    /// Calls that it answers.
    pub calls: usize,
    /// How long the commit itself took, without what the calls did before it.
    pub took: Duration,
}

/// Who is told of commits, on the writer's thread.
type Observer = OnceLock<Box<dyn Fn(Commit) + Send + Sync>>;

/// The journal on SQLite. Dropping it waits for what was asked of it, and closes the file; the caller has locked the
/// data directory ([`DataDirLock`](crate::lock::DataDirLock)).
pub struct SqliteJournal {
    jobs: Option<mpsc::Sender<Box<dyn Job>>>,
    readers: Arc<Readers>,
    gate: Arc<Gate>,
    observer: Arc<Observer>,
    search: Search,
    threads: Vec<JoinHandle<()>>,
    dir: PathBuf,
    presence: Arc<Presence>,
    identity: Identity,
    opened_at: Seq,
}

impl std::fmt::Debug for SqliteJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteJournal").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl SqliteJournal {
    /// Opens the journal in a directory, made where it is missing. Blocks for as long as that takes.
    ///
    /// # Errors
    /// `Newer` where a newer program wrote it, which is left as it is; `Damaged` where it is no database; `Full` and
    /// `Unavailable` where the disk does not let it be opened.
    pub fn open(dir: &Path, options: Options) -> Result<Self> {
        let operation = "open journal";
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| Error::io(operation, dir.display(), &error))?;
        Self::start(dir, &options).map_err(|fail| fail.told(operation, dir))
    }

    fn start(dir: &Path, options: &Options) -> fail::Result<Self> {
        let path = dir.join(database::FILE);
        let gate = Arc::new(Gate::new(Limits::new(options.checkpoint, options.log)));
        let observer = Arc::<Observer>::default();
        let feed = Arc::<Feed>::default();
        database::check_header(&path)?;
        let copied = copied::check(&path)?;
        let conn = database::open_writer(&path)?;
        let identity = database::identity(&conn, options.instance.as_deref())?;
        let opened_at = read::last_seq(&conn)?;
        let presence = Arc::new(Presence::of(&path)?);
        let shared =
            Shared { gate: Arc::clone(&gate), observer: Arc::clone(&observer), presence: Arc::clone(&presence) };
        let writer = Writer::new(conn, shared, Arc::clone(&feed))?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        // The journal owns the threads as soon as they run, so that an error on the way ends them.
        let mut journal = Self {
            jobs: Some(jobs),
            readers: Arc::new(Readers::new(path.clone(), options.readers, Arc::clone(&presence))),
            gate: Arc::clone(&gate),
            observer,
            search: Search::new(dir, feed, options.looked_at),
            threads: Vec::new(),
            dir: dir.to_owned(),
            presence,
            identity,
            opened_at,
        };
        journal.threads.push(checkpoint::start(&path, gate, copied)?);
        journal.threads.push(writer.start(queue)?);
        Ok(journal)
    }

    /// The name of the data directory it belongs to.
    pub fn instance(&self) -> &str {
        &self.identity.instance
    }

    /// Whether nothing was ever done with it when it was opened.
    pub fn was_fresh(&self) -> bool {
        self.identity.fresh
    }

    /// How far it had come when it was opened.
    pub fn opened_at(&self) -> JournalMark {
        JournalMark { journal: self.identity.instance.clone(), seq: self.opened_at }
    }

    /// Has `tell` told of each commit from now on, on the thread that writes: it must be quick. Only the first one asked
    /// for counts.
    pub fn on_commit(&self, tell: impl Fn(Commit) + Send + Sync + 'static) {
        let _ = self.observer.set(Box::new(tell));
    }

    /// Keeps `search.db` up to the journal from now on; else that begins with the first search. For who goes on for long.
    pub fn keep_search(&self) {
        if let Some(jobs) = &self.jobs {
            self.search.start(jobs);
        }
    }

    /// Runs `work`, a short call, on the writer's thread and answers when it is committed.
    async fn write<T, F>(&self, operation: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tables<'_>) -> fail::Result<T> + Send + 'static,
    {
        self.write_in(Lane::Short, operation, work).await
    }

    /// As [`SqliteJournal::write`], in its lane.
    async fn write_in<T, F>(&self, lane: Lane, operation: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tables<'_>) -> fail::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Box<dyn Job> = Box::new(Call::new(operation, lane, work, reply));
        let jobs = self.jobs.as_ref().ok_or_else(|| closed(operation))?;
        jobs.send(job).await.map_err(|_| closed(operation))?;
        answer.await.map_err(|_| closed(operation))?
    }

    /// Runs `work` on a reader's connection, on a thread that may block.
    async fn read<T, F>(&self, operation: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> fail::Result<T> + Send + 'static,
    {
        let permit = Arc::clone(&self.readers.permits).acquire_owned().await.map_err(|_| closed(operation))?;
        let readers = Arc::clone(&self.readers);
        let work = move || {
            let _permit = permit;
            readers.with(work)
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| closed(operation))?.map_err(|fail| self.told(fail, operation))
    }

    fn told(&self, fail: Fail, operation: &'static str) -> Error {
        self.presence.told(fail, operation)
    }
}

impl Drop for SqliteJournal {
    fn drop(&mut self) {
        // In this order: what follows the writer asks it for the last time; the writer ends when all that was sent is answered, the readers let go of the log, and the
        // checkpoints end with a last one.
        self.search.close();
        self.jobs = None;
        if self.threads.len() > 1
            && let Some(writer) = self.threads.pop()
        {
            // A panic there was told by its own message.
            let _ = writer.join();
        }
        self.readers.close();
        self.gate.close();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
