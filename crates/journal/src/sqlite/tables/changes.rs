//! Which datasets changed, written down for whoever follows: one row for each call that changed any, at the end of the
//! table. Where nobody follows, nothing is written.

use opendmp_model::codec::Writer;
use opendmp_model::ids::SlotId;
use rusqlite::{Connection, OptionalExtension, params};

use super::Tables;
use crate::sqlite::blobs::slots_bytes;
use crate::sqlite::fail::Result;

/// Bytes of slots that wait at most, some 18 million: with more, the follower is not followed for any more and has to
/// look through everything again, which is not much more work then.
const MOST_WAITING: i64 = 256 << 20;

/// Rows that are let go in one call.
const LET_GO: i64 = 100;

/// Room for slots that is kept from call to call.
const KEPT_ROOM: usize = 4_096;

/// What the writer knows of the changes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    followed: bool,
    /// The last row's number, and bytes up to it; 0 where there never was one.
    pub last: i64,
    upto: i64,
    /// Bytes up to the first row, its own among them.
    first_upto: i64,
    /// What the present call changed.
    slots: Vec<(i64, SlotId)>,
    at: i64,
}

impl Changes {
    pub(super) fn load(conn: &Connection) -> Result<Self> {
        let followed =
            conn.prepare_cached("SELECT stamp IS NOT NULL FROM follower")?.query_row([], |row| row.get(0))?;
        let mut ends = conn.prepare_cached("SELECT id, upto FROM change ORDER BY id DESC LIMIT 1")?;
        let (last, upto) = ends.query_row([], |row| row.try_into()).optional()?.unwrap_or((0, 0));
        let mut first = conn.prepare_cached("SELECT upto FROM change ORDER BY id LIMIT 1")?;
        let first_upto = first.query_row([], |row| row.get(0)).optional()?.unwrap_or(upto);
        Ok(Self { followed, last, upto, first_upto, slots: Vec::new(), at: 0 })
    }
}

impl Tables<'_> {
    /// What is shown of a dataset changes with this call.
    pub(super) fn changed(&mut self, shelf: i64, slot: SlotId, at: i64) {
        let changes = &mut self.memory.changes;
        if changes.followed {
            changes.slots.push((shelf, slot));
            changes.at = changes.at.max(at);
        }
    }

    /// Writes down what changed.
    pub(super) fn flush_changes(&mut self) -> Result<()> {
        let changes = &mut self.memory.changes;
        if changes.slots.is_empty() {
            return Ok(());
        }
        let mut slots = std::mem::take(&mut changes.slots);
        slots.sort_unstable();
        slots.dedup();
        let bytes = slots_bytes(&slots);
        let (id, upto, at) = (changes.last + 1, changes.upto + bytes.len() as i64, changes.at);
        let sql = "INSERT INTO change (id, upto, at, slots) VALUES (?1, ?2, ?3, ?4)";
        self.sql(sql)?.execute(params![id, upto, at, bytes])?;
        slots.clear();
        slots.shrink_to(KEPT_ROOM);
        let changes = &mut self.memory.changes;
        (changes.last, changes.upto, changes.slots, changes.at) = (id, upto, slots, 0);
        if upto - changes.first_upto > MOST_WAITING {
            tracing::warn!(
                "very many changes of datasets wait to be searched; all datasets are looked through instead"
            );
            self.stop_following()?;
        }
        Ok(())
    }

    fn stop_following(&mut self) -> Result<()> {
        self.sql("UPDATE follower SET stamp = NULL")?.execute([])?;
        self.memory.changes.followed = false;
        Ok(())
    }

    /// Begins to follow anew: answers the stamp by which it is known, and the last change before.
    pub(crate) fn follow(&mut self) -> Result<(Vec<u8>, i64)> {
        let sql = "UPDATE follower SET stamp = randomblob(16) RETURNING stamp";
        let stamp = self.sql(sql)?.query_row([], |row| row.get(0))?;
        // A first row, so that there is a last one at any time.
        if self.memory.changes.last == 0 {
            let nothing = Writer::default().out;
            self.sql("INSERT INTO change (id, upto, at, slots) VALUES (1, 0, 0, ?1)")?.execute([nothing])?;
            self.memory.changes.last = 1;
        }
        self.memory.changes.followed = true;
        Ok((stamp, self.memory.changes.last))
    }

    /// Lets changes go that were followed up to this one, some at a time. Answers whether there are more of them.
    pub(crate) fn let_changes_go(&mut self, upto: i64) -> Result<bool> {
        let upto = upto.min(self.memory.changes.last);
        let first = "SELECT id, upto FROM change ORDER BY id LIMIT 1";
        let found: Option<(i64, i64)> = self.sql(first)?.query_row([], |row| row.try_into()).optional()?;
        let Some((least, _)) = found.filter(|(least, _)| *least < upto) else { return Ok(false) };
        let end = upto.min(least + LET_GO);
        self.sql("DELETE FROM change WHERE id < ?1")?.execute([end])?;
        self.memory.changes.first_upto =
            self.sql(first)?.query_row([], |row| row.get(1)).optional()?.unwrap_or(self.memory.changes.upto);
        Ok(end < upto)
    }
}

#[cfg(test)]
impl Tables<'_> {
    /// As where very many changes wait.
    pub(crate) fn stop_following_for_test(&mut self) -> Result<()> {
        self.stop_following()
    }
}
