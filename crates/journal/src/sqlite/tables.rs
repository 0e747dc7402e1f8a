//! What a call does to the tables, inside the writer's transaction. One file for each part of the contract; the
//! decisions themselves are [`opendmp_ports::journal::decide`]'s.

mod again;
mod changes;
mod define;
mod exports;
mod groups;
mod held;
mod ledger;
mod letters;
mod queue;
mod retain;
mod runs;
mod settle;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use opendmp_model::ids::Arrival;
use opendmp_ports::journal::{FlowId, Lease, RunId, Seq, SpaceId};
use rusqlite::types::Value;
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::fail::{Fail, Result};

pub(crate) use again::{PreparedFeed, find as find_reprocess, open as open_reprocesses};
pub(crate) use changes::Changes;
pub(crate) use exports::RawIntent;
pub(crate) use groups::group_letters;
pub(crate) use ledger::{KnownPaths, Releasing};
pub(crate) use queue::{RawClaimed, json};
pub(crate) use settle::Prepared;

use runs::{FlowTally, RunTally, ShelfTally};

/// Names and shelves remembered at most; beyond that they are looked up again.
const REMEMBERED: usize = 4096;

/// Whose work it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub flow: FlowId,
    pub version: i64,
    pub run: RunId,
}

/// The numbers given last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Last {
    pub arrival: i64,
    pub pass: i64,
    pub run: i64,
    pub task: i64,
    pub intent: i64,
    pub letter: i64,
    pub seq: i64,
}

/// What the writer knows without looking: bounded, and true of the transaction it is in.
#[derive(Debug)]
pub(crate) struct Memory {
    pub last: Last,
    stored: Last,
    /// The last arrival before dataset slots were named by numbers, too.
    hashed: Arrival,
    /// The flow after which the next claim looks for work, where there are very many.
    turn: u32,
    /// Must be loaded again before use.
    pub stale: bool,
    leases: BTreeSet<u64>,
    names: HashMap<Arc<str>, i64>,
    texts: HashMap<i64, Arc<str>>,
    shelves: HashMap<ShelfKey, i64>,
    pub changes: Changes,
}

/// Space, collection, flow's slug, processor.
type ShelfKey = (SpaceId, Arc<str>, Arc<str>, Arc<str>);

impl Memory {
    pub(crate) fn load(conn: &Connection) -> Result<Self> {
        let sql = "SELECT arrival, pass, run, task, intent, letter, seq, hashed FROM counter WHERE one = 1";
        let (last, hashed) = conn.query_row(sql, [], |row| {
            let last = Last {
                arrival: row.get(0)?,
                pass: row.get(1)?,
                run: row.get(2)?,
                task: row.get(3)?,
                intent: row.get(4)?,
                letter: row.get(5)?,
                seq: row.get(6)?,
            };
            Ok((last, Arrival(row.get::<_, i64>(7)? as u64)))
        })?;
        let mut memory = Self {
            last,
            stored: last,
            hashed,
            turn: 0,
            stale: false,
            leases: BTreeSet::new(),
            names: HashMap::new(),
            texts: HashMap::new(),
            shelves: HashMap::new(),
            changes: Changes::default(),
        };
        memory.reload(conn)?;
        Ok(memory)
    }

    /// Forgets what a call that was taken back may have left. The numbers are the caller's to put right.
    pub(crate) fn reload(&mut self, conn: &Connection) -> Result<()> {
        self.names.clear();
        self.texts.clear();
        self.shelves.clear();
        self.changes = Changes::load(conn)?;
        let mut statement = conn.prepare_cached("SELECT id FROM lease WHERE live = 1")?;
        self.leases = statement
            .query_map([], |row| row.get::<_, i64>(0))?
            .map(|id| id.map(|id| id as u64))
            .collect::<rusqlite::Result<_>>()?;
        Ok(())
    }

    /// Writes the numbers where they have changed.
    pub(crate) fn store(&mut self, conn: &Connection) -> Result<()> {
        if self.last != self.stored {
            let Last { arrival, pass, run, task, intent, letter, seq } = self.last;
            let sql = "UPDATE counter SET arrival = ?1, pass = ?2, run = ?3, task = ?4, intent = ?5, letter = ?6, \
                       seq = ?7 WHERE one = 1";
            conn.prepare_cached(sql)?.execute(params![arrival, pass, run, task, intent, letter, seq])?;
            self.stored = self.last;
        }
        Ok(())
    }
}

/// The tables during one call. Numbers of runs, flows and shelves are counted here and written by [`Tables::flush`].
pub(crate) struct Tables<'c> {
    conn: &'c Connection,
    memory: &'c mut Memory,
    runs: BTreeMap<RunId, RunTally>,
    flows: BTreeMap<FlowId, FlowTally>,
    shelves: BTreeMap<i64, ShelfTally>,
}

impl<'c> Tables<'c> {
    pub(crate) fn new(conn: &'c Connection, memory: &'c mut Memory) -> Self {
        Self { conn, memory, runs: BTreeMap::new(), flows: BTreeMap::new(), shelves: BTreeMap::new() }
    }

    fn sql(&self, sql: &str) -> Result<CachedStatement<'c>> {
        Ok(self.conn.prepare_cached(sql)?)
    }

    fn next_seq(&mut self) -> Seq {
        self.memory.last.seq += 1;
        Seq(self.memory.last.seq as u64)
    }

    fn live(&self, lease: Lease) -> bool {
        self.memory.leases.contains(&lease.0)
    }

    /// The number of an interned text.
    fn name(&mut self, text: &str) -> Result<i64> {
        if let Some(id) = self.memory.names.get(text) {
            return Ok(*id);
        }
        let known = self.sql("SELECT id FROM name WHERE text = ?1")?.query_row([text], |row| row.get(0)).optional()?;
        let id = match known {
            Some(id) => id,
            None => self.sql("INSERT INTO name (text) VALUES (?1)")?.insert([text])?,
        };
        if self.memory.names.len() >= REMEMBERED {
            self.memory.names.clear();
        }
        self.memory.names.insert(text.into(), id);
        Ok(id)
    }

    /// The text of a number.
    fn text(&mut self, id: i64) -> Result<Arc<str>> {
        if let Some(text) = self.memory.texts.get(&id) {
            return Ok(Arc::clone(text));
        }
        let text = text_of(self.conn, id)?;
        if self.memory.texts.len() >= REMEMBERED {
            self.memory.texts.clear();
        }
        self.memory.texts.insert(id, Arc::clone(&text));
        Ok(text)
    }

    /// Notes who did what.
    fn audit(
        &mut self,
        space: SpaceId,
        at: i64,
        actor: &str,
        action: &str,
        subject: &str,
        detail: Option<&str>,
    ) -> Result<Seq> {
        let seq = self.next_seq();
        let sql =
            "INSERT INTO audit (seq, space, at, actor, action, subject, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        self.sql(sql)?.execute(params![seq.0 as i64, space.0, at, actor, action, subject, detail])?;
        Ok(seq)
    }
}

#[cfg(test)]
impl Tables<'_> {
    /// Writes something.
    pub(crate) fn new_name_for_test(&mut self, text: &str) -> Result<i64> {
        self.name(text)
    }

    /// Bounds the database to so many pages.
    pub(crate) fn limit_for_test(&mut self, pages: i64) -> Result<()> {
        Ok(self.conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?)
    }
}

/// The text of an interned name.
pub(crate) fn text_of(conn: &Connection, id: i64) -> Result<Arc<str>> {
    let found =
        conn.prepare_cached("SELECT text FROM name WHERE id = ?1")?.query_row([id], |row| row.get::<_, String>(0));
    let text = found.optional()?.ok_or_else(|| Fail::Damaged(format!("name {id} is missing")))?;
    Ok(text.into())
}

/// A commit sequence or NULL as a parameter.
fn seq_value(seq: Option<Seq>) -> Option<i64> {
    seq.map(|seq| seq.0 as i64)
}

/// The inverse of [`seq_value`].
fn seq_of(stored: Option<i64>) -> Option<Seq> {
    stored.map(|seq| Seq(seq as u64))
}

/// A blob or NULL as a parameter.
fn blob(bytes: Option<Vec<u8>>) -> Value {
    bytes.map_or(Value::Null, Value::Blob)
}
