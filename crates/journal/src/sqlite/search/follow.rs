//! The thread that keeps `search.db` up to the journal: it reads which datasets changed, looks what they are now, and
//! writes that down. It takes only what is left of the machine, and while the journal is written to, only a part of
//! that: what is found may then fall behind, and catches up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use opendmp_model::ids::SlotId;
use opendmp_ports::{Error, ErrorKind};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::file::{self, Built, State};
use super::rows::{Rows, behind};
use super::{Kept, Progress};
use crate::sqlite::blobs::slots_of;
use crate::sqlite::database;
use crate::sqlite::fail::{Fail, Result};
use crate::sqlite::lanes::Lane;
use crate::sqlite::tables::Tables;
use crate::sqlite::writer::{Call, Job};

/// Datasets that are written in one transaction, about.
const PART: usize = 4_000;

/// While others write, it rests so many times as long as it worked,
const REST: u32 = 2;
/// at least so long, so that many single changes are taken together,
const LEAST_REST: Duration = Duration::from_millis(2);
/// and at most so long: a part takes some tenths of a second where names, times or sizes come in no order.
const MOST_REST: Duration = Duration::from_secs(2);

/// Others write when something was committed as lately as this.
const BUSY: Duration = Duration::from_millis(100);

/// After so long without a change it tidies up.
const IDLE: Duration = Duration::from_secs(2);

/// After an error it is tried again after so long.
const AGAIN: Duration = Duration::from_secs(5);

/// And after damage, which is over once the file is another one.
const SOON: Duration = Duration::from_millis(500);

/// Bytes in its log after which they are copied into the file.
const LOG: u64 = 8 << 20;

/// Bytes in its log after which it waits for those who read, so that the log begins anew.
const LONG_LOG: u64 = 64 << 20;

/// The journal's writer, as far as it is asked from here.
pub(crate) type Jobs = mpsc::Sender<Box<dyn Job>>;

/// Follows until it is told to end.
pub(crate) fn run(search: &Arc<Kept>, jobs: &Jobs) {
    // Work for people comes first. Where this is refused it goes on as any other.
    let _ = rustix::process::setpriority_process(None, 19);
    let mut told = false;
    while !search.feed.is_closing() {
        match follow(search, jobs) {
            Ok(()) => return,
            Err(fail) => {
                let damaged = file::is_damage(&fail);
                let error = fail.told("search datasets", &search.dir);
                if damaged {
                    tracing::warn!(%error, "`search.db` is made anew");
                    search.doubt();
                } else if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "datasets are not found as they are now; tried again and again");
                }
                search.feed.rest(if damaged { SOON } else { AGAIN });
            }
        }
    }
}

/// A call on the journal's writer.
fn ask<T, F>(jobs: &Jobs, work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce(&mut Tables<'_>) -> Result<T> + Send + 'static,
{
    let closed = || Fail::Port(Error::new(ErrorKind::Unavailable, "search datasets", "the journal is closed"));
    let (reply, answer) = oneshot::channel();
    let job: Box<dyn Job> = Box::new(Call::new("journal follow", Lane::Short, work, reply));
    jobs.blocking_send(job).map_err(|_| closed())?;
    Ok(answer.blocking_recv().map_err(|_| closed())??)
}

struct Follower<'a> {
    search: &'a Arc<Kept>,
    jobs: &'a Jobs,
    conn: Connection,
    journal: Connection,
    rows: Rows,
    state: State,
    /// Changes up to this one are in the file, whatever happens to the machine.
    durable: i64,
    /// Changes before this one were let go.
    let_go: i64,
}

fn follow(search: &Arc<Kept>, jobs: &Jobs) -> Result<()> {
    let mut follower = Follower::open(search, jobs)?;
    loop {
        let begun = Instant::now();
        let worked = follower.part()?;
        if search.feed.is_closing() {
            return follower.tidy();
        }
        if worked {
            // Told before it writes to the journal itself.
            let is_busy = search.feed.is_busy(BUSY);
            follower.copy()?;
            if is_busy {
                search.feed.rest((begun.elapsed() * REST).clamp(LEAST_REST, MOST_REST));
            }
        } else if !search.feed.wait_behind(follower.state.change, Some(IDLE)) {
            follower.tidy()?;
            search.feed.wait_behind(follower.state.change, None);
        }
    }
}

impl<'a> Follower<'a> {
    fn open(search: &'a Arc<Kept>, jobs: &'a Jobs) -> Result<Self> {
        let journal =
            database::open_reader(&search.dir.join(database::FILE)).map_err(|fail| of_journal(search, fail))?;
        let kept = if search.is_doubted() { None } else { file::open(&search.dir)? };
        let kept = match kept {
            Some((conn, state)) if follows(&journal, &state).map_err(|fail| of_journal(search, fail))? => {
                Some((conn, state))
            }
            _ => None,
        };
        let (conn, state) = match kept {
            Some(kept) => kept,
            None => {
                let (stamp, change) = ask(jobs, |tables| tables.follow())?;
                let state = State { stamp, change, building: Some(Built::default()) };
                (search.replace(|| file::create(&search.dir, &state))?, state)
            }
        };
        let rows = Rows::new(&conn)?;
        let follower = Self { search, jobs, conn, journal, rows, state, durable: 0, let_go: 0 };
        follower.tell();
        Ok(follower)
    }

    fn tell(&self) {
        self.search.tell(Progress { change: self.state.change, building: self.state.building.is_some(), opened: true });
    }

    /// Takes some of what is not in the file yet. Answers whether there was anything.
    fn part(&mut self) -> Result<bool> {
        if self.search.is_doubted() {
            return Err(Fail::Damaged("a reader found it so".to_owned()));
        }
        let mut next = self.state.clone();
        let slots = match self.state.building {
            Some(place) => {
                let slots = behind(&self.journal, place, PART).map_err(|fail| of_journal(self.search, fail))?;
                let last = slots.last().filter(|_| slots.len() == PART);
                next.building =
                    last.map(|(shelf, slot)| Built { shelf: *shelf, origin: slot.origin.0 as i64, slot: slot.hash.0 });
                slots
            }
            None => match changed(&self.journal, &self.state).map_err(|fail| of_journal(self.search, fail))? {
                Changed::Nothing => return Ok(false),
                Changed::Lost => return Err(Fail::Damaged("not all that changed was written down".to_owned())),
                Changed::Upto(change, slots) => {
                    next.change = change;
                    slots
                }
            },
        };
        let tx = self.conn.unchecked_transaction()?;
        {
            // One view of the journal for all of them.
            let _view = self.journal.unchecked_transaction()?;
            self.rows.put(&tx, &self.journal, &slots, |fail| of_journal(self.search, fail))?;
        }
        file::save(&tx, &next)?;
        tx.commit()?;
        self.state = next;
        self.tell();
        Ok(true)
    }

    /// Copies the log into the file where it has grown, and lets changes go that can't be needed any more.
    fn copy(&mut self) -> Result<()> {
        let log = file::log_size(&self.search.dir);
        if log >= LOG {
            self.checkpoint(if log >= LONG_LOG { "RESTART" } else { "PASSIVE" })?;
        }
        Ok(())
    }

    /// As [`Follower::copy`], all of it.
    fn tidy(&mut self) -> Result<()> {
        if self.durable < self.state.change || file::log_size(&self.search.dir) > 0 {
            self.checkpoint("TRUNCATE")?;
        }
        Ok(())
    }

    fn checkpoint(&mut self, mode: &str) -> Result<()> {
        let (log, copied) = self.conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
            Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        })?;
        if log == copied {
            self.durable = self.state.change;
        }
        while self.let_go < self.durable && self.state.building.is_none() {
            let upto = self.durable;
            let more = ask(self.jobs, move |tables| tables.let_changes_go(upto))?;
            self.search.feed.was_own();
            if !more {
                self.let_go = upto;
            } else if self.search.feed.is_closing() {
                break;
            }
        }
        Ok(())
    }
}

/// An error of the journal says nothing of this file.
fn of_journal(search: &Kept, fail: Fail) -> Fail {
    Fail::Port(fail.told("search datasets", &search.dir))
}

/// Whether all that changed since is written down.
fn follows(journal: &Connection, state: &State) -> Result<bool> {
    let stamp: Option<Vec<u8>> = journal.query_row("SELECT stamp FROM follower", [], |row| row.get(0))?;
    let ends = "SELECT min(id), max(id) FROM change";
    let (first, last): (Option<i64>, Option<i64>) = journal.query_row(ends, [], |row| row.try_into())?;
    let (first, last) = (first.unwrap_or(0), last.unwrap_or(0));
    Ok(stamp.as_ref() == Some(&state.stamp) && (first - 1..=last).contains(&state.change))
}

/// What comes next.
enum Changed {
    Nothing,
    /// It is not known: changes were not written down, or let go.
    Lost,
    /// Up to this change, these datasets.
    Upto(i64, Vec<(i64, SlotId)>),
}

fn changed(journal: &Connection, state: &State) -> Result<Changed> {
    let _view = journal.unchecked_transaction()?;
    if !follows(journal, state)? {
        return Ok(Changed::Lost);
    }
    let mut statement = journal.prepare_cached("SELECT id, slots FROM change WHERE id > ?1 ORDER BY id")?;
    let mut rows = statement.query([state.change])?;
    let (mut upto, mut slots) = (None, Vec::new());
    while let Some(row) = rows.next()? {
        upto = Some(row.get(0)?);
        slots.append(&mut slots_of(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?);
        if slots.len() >= PART {
            break;
        }
    }
    slots.sort_unstable();
    slots.dedup();
    Ok(upto.map_or(Changed::Nothing, |upto| Changed::Upto(upto, slots)))
}
