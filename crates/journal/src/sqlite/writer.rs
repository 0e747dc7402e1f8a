//! The one thread that writes. It takes what waits in its queue, runs each call under a savepoint of one transaction,
//! commits once, and answers all: one sync of the disk for many calls. A call that fails takes back only itself.
//!
//! Short calls do not wait behind long ones ([`lanes`](super::lanes)): the settlement of one item is not to take as long
//! as that of a thousand others.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use opendmp_ports::{Error, ErrorKind};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::checkpoint::Gate;
use super::fail::{Fail, Result};
use super::lanes::{Lane, Lanes};
use super::presence::Presence;
use super::search::Feed;
use super::tables::{Memory, Tables};
use super::{Commit, Observer};

/// Calls that wait for the writer at most; further ones wait to be let in.
pub(crate) const QUEUE: usize = 1024;

/// Calls under one commit at most.
const BATCH: usize = 512;

/// How long calls are gathered under one commit at most: those answered first wait as long.
const GATHER: Duration = Duration::from_millis(20);

thread_local! {
    /// Pages in the log after the last commit, as SQLite told this thread.
    static LOG_PAGES: Cell<Option<u64>> = const { Cell::new(None) };
}

/// A call that writes.
pub(crate) trait Job: Send {
    fn operation(&self) -> &'static str;
    fn lane(&self) -> Lane;
    fn run(&mut self, tables: &mut Tables<'_>) -> Result<()>;
    /// Answers, after the commit.
    fn answer(self: Box<Self>, end: std::result::Result<(), Error>);
}

/// A call with its answer.
pub(crate) struct Call<F, T> {
    operation: &'static str,
    lane: Lane,
    work: Option<F>,
    value: Option<T>,
    reply: oneshot::Sender<std::result::Result<T, Error>>,
}

impl<F, T> Call<F, T> {
    pub(crate) fn new(
        operation: &'static str,
        lane: Lane,
        work: F,
        reply: oneshot::Sender<std::result::Result<T, Error>>,
    ) -> Self {
        Self { operation, lane, work: Some(work), value: None, reply }
    }
}

impl<F, T> Job for Call<F, T>
where
    F: FnOnce(&mut Tables<'_>) -> Result<T> + Send,
    T: Send,
{
    fn operation(&self) -> &'static str {
        self.operation
    }

    fn lane(&self) -> Lane {
        self.lane
    }

    fn run(&mut self, tables: &mut Tables<'_>) -> Result<()> {
        if let Some(work) = self.work.take() {
            self.value = Some(work(tables)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, end: std::result::Result<(), Error>) {
        let Self { operation, value, reply, .. } = *self;
        let nothing = || Error::new(ErrorKind::Unavailable, operation, "the call did not run");
        // Where nobody waits any more, the commit stands all the same.
        let _ = reply.send(end.and_then(|()| value.ok_or_else(nothing)));
    }
}

/// What the writer shares with the rest of the journal.
pub(crate) struct Shared {
    pub gate: Arc<Gate>,
    pub observer: Arc<Observer>,
    pub presence: Arc<Presence>,
}

pub(crate) struct Writer {
    conn: Connection,
    memory: Memory,
    gate: Arc<Gate>,
    observer: Arc<Observer>,
    presence: Arc<Presence>,
    feed: Arc<Feed>,
}

/// A call that ran, and how.
type Ran = (Box<dyn Job>, std::result::Result<(), Error>);

impl Writer {
    pub(crate) fn new(conn: Connection, shared: Shared, feed: Arc<Feed>) -> Result<Self> {
        let Shared { gate, observer, presence } = shared;
        conn.wal_hook(Some(|_, pages| {
            LOG_PAGES.set(Some(pages.max(0) as u64));
            Ok(())
        }));
        let memory = Memory::load(&conn)?;
        feed.begin(memory.changes.last);
        Ok(Self { conn, memory, gate, observer, presence, feed })
    }

    /// Starts the thread; it ends when all senders are gone.
    pub(crate) fn start(mut self, jobs: mpsc::Receiver<Box<dyn Job>>) -> Result<JoinHandle<()>> {
        let thread = std::thread::Builder::new().name("journal-writer".to_owned());
        let started = thread.spawn(move || {
            let mut lanes = Lanes::new(jobs);
            while let Some(first) = lanes.wait() {
                self.gate.enter();
                let ran = self.batch(first, &mut lanes);
                self.gate.leave(LOG_PAGES.take());
                for (job, end) in ran {
                    job.answer(end);
                }
            }
        });
        Ok(started.map_err(|e| Error::io("open journal", "a thread for writing", &e))?)
    }

    /// Runs calls under one commit.
    fn batch(&mut self, first: Box<dyn Job>, lanes: &mut Lanes) -> Vec<Ran> {
        let mut ran: Vec<Ran> = Vec::new();
        if let Err(error) = self.begin() {
            let error = self.presence.told(error, first.operation());
            return vec![(first, Err(error))];
        }
        let began = Instant::now();
        let mut next = Some(first);
        while let Some(mut job) = next.take() {
            let end = self.run(&mut *job);
            let lost = end.is_err() && self.conn.is_autocommit();
            ran.push((job, end));
            if lost {
                // A full or failing disk: SQLite took the whole transaction back, with what ran before in it.
                self.forget();
                tell_all(&mut ran);
                return ran;
            }
            if ran.len() < BATCH && began.elapsed() < GATHER {
                next = lanes.more();
            }
        }
        let begun = Instant::now();
        let committed = self.commit();
        if committed.is_ok() {
            self.feed.committed(self.memory.changes.last);
        }
        if committed.is_ok()
            && let Some(tell) = self.observer.get()
        {
            tell(Commit { calls: ran.len(), took: begun.elapsed() });
        }
        if let Err(error) = committed {
            self.forget();
            let operation = ran.first().map_or("journal", |(job, _)| job.operation());
            let error = self.presence.told(error, operation);
            ran.iter_mut().filter(|(_, end)| end.is_ok()).for_each(|(_, end)| *end = Err(error.clone()));
        }
        ran
    }

    fn begin(&mut self) -> Result<()> {
        if self.memory.stale {
            self.memory = Memory::load(&self.conn)?;
        }
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        self.presence.check("journal commit")?;
        self.memory.store(&self.conn)?;
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// Takes the transaction back, and what was remembered of it.
    fn forget(&mut self) {
        if !self.conn.is_autocommit() {
            // Where even this fails, the next BEGIN fails too and says so.
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        self.memory.stale = true;
    }

    /// Runs one call under a savepoint.
    fn run(&mut self, job: &mut dyn Job) -> std::result::Result<(), Error> {
        let numbers = self.memory.last;
        let end = self.savepoint(job);
        if end.is_err() && !self.conn.is_autocommit() {
            let back = self.conn.execute_batch("ROLLBACK TO call; RELEASE call");
            self.memory.last = numbers;
            if back.is_err() || self.memory.reload(&self.conn).is_err() {
                // Then nothing of this transaction can be trusted.
                let _ = self.conn.execute_batch("ROLLBACK");
            }
        }
        end.map_err(|fail| self.presence.told(fail, job.operation()))
    }

    fn savepoint(&mut self, job: &mut dyn Job) -> Result<()> {
        self.conn.prepare_cached("SAVEPOINT call")?.execute([])?;
        let mut tables = Tables::new(&self.conn, &mut self.memory);
        let end = catch_unwind(AssertUnwindSafe(|| {
            job.run(&mut tables)?;
            tables.flush()
        }));
        end.unwrap_or_else(|_| {
            let message = "the call broke off; the server's log says where";
            Err(Fail::Port(Error::new(ErrorKind::Conflict, "journal", message)))
        })?;
        self.conn.prepare_cached("RELEASE call")?.execute([])?;
        Ok(())
    }
}

/// Gives the calls that went well the error by which they were lost.
fn tell_all(ran: &mut [Ran]) {
    let Some(error) = ran.last().and_then(|(_, end)| end.clone().err()) else { return };
    for (job, end) in ran.iter_mut().filter(|(_, end)| end.is_ok()) {
        *end = Err(Error { operation: job.operation(), ..error.clone() });
    }
}
