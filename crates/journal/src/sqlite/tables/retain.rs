//! Letting go of what retention no longer keeps. What is given here was found on a reader's connection, and is looked at
//! once more.

use std::collections::BTreeMap;

use opendmp_model::ids::SlotId;
use opendmp_ports::journal::{FlowId, LetGone, RevisionRule};
use rusqlite::params;

use super::Tables;
use crate::sqlite::blobs::content_of;
use crate::sqlite::fail::Result;
use crate::sqlite::read::{outdated_rows, over, rules_by_flow, size_of, slot_rows};

impl Tables<'_> {
    pub(crate) fn let_sources_go(
        &mut self,
        rules: &BTreeMap<FlowId, i64>,
        arrivals: &[i64],
        at: i64,
    ) -> Result<LetGone> {
        let mut gone = LetGone::default();
        let rules = rules_by_flow(self.conn, rules)?;
        for arrival in over(self.conn, &rules, arrivals)? {
            let content: Vec<u8> = self
                .sql("UPDATE arrival SET gone = ?2 WHERE id = ?1 RETURNING content")?
                .query_row(params![arrival, at], |row| row.get(0))?;
            gone.count += 1;
            gone.bytes += content_of(&content)?.size;
        }
        Ok(gone)
    }

    pub(crate) fn let_revisions_go(
        &mut self,
        shelf: i64,
        rule: RevisionRule,
        slots: &[SlotId],
        at: i64,
    ) -> Result<LetGone> {
        let mut gone = LetGone::default();
        let sql = "UPDATE revision SET gone = ?6 \
                   WHERE shelf = ?1 AND origin = ?2 AND slot = ?3 AND arrival = ?4 AND pass = ?5";
        for slot in slots {
            for row in outdated_rows(slot_rows(self.conn, shelf, *slot)?, rule) {
                let size = size_of(self.conn, shelf, &row)?;
                let origin = slot.origin.0 as i64;
                self.sql(sql)?.execute(params![shelf, origin, slot.hash.0, row.arrival, row.pass, at])?;
                gone.count += 1;
                gone.bytes += size;
            }
        }
        self.shelf_tally(shelf).bytes -= gone.bytes as i64;
        Ok(gone)
    }

    /// Records of runs that are done, which stay so: nothing is to be looked at again.
    pub(crate) fn let_history_go(
        &mut self,
        rules: &BTreeMap<FlowId, i64>,
        records: &[(i64, u32, u64)],
    ) -> Result<LetGone> {
        let mut gone = LetGone::default();
        let rules = rules_by_flow(self.conn, rules)?;
        let mut forgot: BTreeMap<u32, i64> = BTreeMap::new();
        for (seq, flow, bytes) in records {
            if self.sql("DELETE FROM history WHERE seq = ?1")?.execute([seq])? > 0 {
                gone.count += 1;
                gone.bytes += bytes;
                forgot.extend(rules.get(flow).map(|before| (*flow, *before)));
            }
        }
        let sql = "UPDATE flow SET forgot = max(coalesce(forgot, ?2), ?2) WHERE (slug, space) = \
                   (SELECT slug, space FROM flow WHERE id = ?1)";
        for (flow, before) in forgot {
            self.sql(sql)?.execute(params![flow, before])?;
        }
        Ok(gone)
    }
}
