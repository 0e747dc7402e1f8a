//! Definitions: leases, flows and their versions, contexts, sources, runs that are opened and closed.

use opendmp_ports::Error;
use opendmp_ports::journal::decide::DraftDecision;
use opendmp_ports::journal::{
    DraftChange, DraftChanged, FlowChange, FlowId, FlowState, Lease, NewVersion, RunId, RunMode, SourceId, SpaceId,
    TakeOver, VersionId, decide,
};
use rusqlite::{OptionalExtension, params};

use super::Tables;
use crate::sqlite::blobs::{state_number, state_of};
use crate::sqlite::fail::{Fail, Result};
use crate::sqlite::read;

impl Tables<'_> {
    pub(crate) fn open_lease(&mut self, worker: &str, exclusive: bool, now: i64) -> Result<TakeOver> {
        let mut out = TakeOver::default();
        if exclusive {
            self.sql("UPDATE lease SET live = 0 WHERE live = 1")?.execute([])?;
            self.memory.leases.clear();
            out.tasks = self.lose_tasks()?;
            out.intents = self.lose_intents()?;
        }
        let sql = "INSERT INTO lease (worker, opened, live) VALUES (?1, ?2, 1)";
        let id = self.sql(sql)?.insert(params![worker, now])? as u64;
        self.memory.leases.insert(id);
        Ok(TakeOver { lease: Lease(id), ..out })
    }

    pub(crate) fn save_version(&mut self, new: &NewVersion) -> Result<(FlowId, VersionId)> {
        let sql = "SELECT id FROM flow WHERE space = ?1 AND slug = ?2 AND state <> 3";
        let known: Option<u32> =
            self.sql(sql)?.query_row(params![new.space.0, new.slug], |row| row.get(0)).optional()?;
        let flow = match known {
            Some(flow) => flow,
            None => {
                let sql = "INSERT INTO flow (space, slug, name, state, version, base, changed) \
                           VALUES (?1, ?2, ?3, 0, 0, '', ?4)";
                self.sql(sql)?.insert(params![new.space.0, new.slug, new.name, new.at])? as u32
            }
        };
        let sql = "SELECT id FROM version WHERE flow = ?1 AND hash = ?2";
        let found: Option<u32> = self.sql(sql)?.query_row(params![flow, new.hash], |row| row.get(0)).optional()?;
        let version = match found {
            Some(version) => version,
            None => {
                let sql = "INSERT INTO version (flow, hash, body, at, actor) VALUES (?1, ?2, ?3, ?4, ?5)";
                let values = params![flow, new.hash, &*new.body, new.at, new.actor];
                let version = self.sql(sql)?.insert(values)? as u32;
                self.audit(new.space, new.at, &new.actor, "save", &new.slug, Some(&new.hash))?;
                version
            }
        };
        if known.is_none() {
            self.sql("UPDATE flow SET version = ?2 WHERE id = ?1")?.execute([flow, version])?;
        }
        Ok((FlowId(flow), VersionId(version)))
    }

    pub(crate) fn change_flow(&mut self, change: &FlowChange) -> Result<()> {
        let operation = "journal change flow";
        if let Some(version) = change.version {
            match self.flow_of_version(version.0.into())? {
                None => return Err(decide::missing(operation, format!("version {version}")).into()),
                Some(flow) if flow != change.flow => {
                    return Err(decide::foreign_version(operation, version, change.flow).into());
                }
                Some(_) => {}
            }
        }
        let sql = "SELECT space, slug, state, items + intents + held FROM flow WHERE id = ?1";
        let found = self.sql(sql)?.query_row([change.flow.0], |row| {
            Ok((row.get(0).map(SpaceId)?, row.get::<_, String>(1)?, row.get(2)?, row.get::<_, i64>(3)?))
        });
        let Some((space, slug, state, outstanding)) = found.optional()? else {
            return Err(decide::missing(operation, format!("flow {}", change.flow)).into());
        };
        let state = state_of(state)?;
        let next = decide::flow_state(state, change.state, outstanding.max(0) as u64);
        let next = next.ok_or_else(|| decide::flow_gone(change.flow))?;
        if state != FlowState::Deleted {
            let sql = "UPDATE flow SET state = ?2, version = coalesce(?3, version), base = coalesce(?4, base), \
                       changed = ?5 WHERE id = ?1";
            let version = change.version.map(|version| version.0);
            self.sql(sql)?.execute(params![change.flow.0, state_number(next), version, change.base, change.at])?;
            let action = match next {
                FlowState::Disabled => "disable",
                FlowState::Enabled => "enable",
                FlowState::Deleting | FlowState::Deleted => "delete",
            };
            self.audit(space, change.at, &change.actor, action, &slug, change.base.as_deref())?;
            if next == FlowState::Deleting {
                self.flush_flow(change.flow, change.at)?;
            }
        }
        Ok(())
    }

    pub(crate) fn change_draft(&mut self, change: DraftChange) -> Result<DraftChanged> {
        let present = read::draft_alone(self.conn, change.space, &change.slug)?;
        match decide::draft_change(present.as_ref().map(|row| row.etag), &change) {
            DraftDecision::Refuse => return Ok(DraftChanged::Otherwise(present)),
            DraftDecision::IsDone => return Ok(DraftChanged::Done(present)),
            DraftDecision::Change => {}
        }
        let (space, slug) = (change.space, change.slug.clone());
        let Some((row, body)) = change.row() else {
            self.sql("DELETE FROM draft WHERE space = ?1 AND slug = ?2")?.execute(params![space.0, slug])?;
            return Ok(DraftChanged::Done(None));
        };
        let sql = "INSERT OR REPLACE INTO draft (space, slug, name, etag, based_on, changed, actor, body) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let values = params![space.0, slug, row.name, row.etag.0, row.based_on, row.changed, row.actor, &*body];
        self.sql(sql)?.execute(values)?;
        Ok(DraftChanged::Done(Some(row)))
    }

    /// Interns a context by its JSON.
    pub(crate) fn context(&mut self, body: &str) -> Result<u32> {
        let known = self.sql("SELECT id FROM context WHERE body = ?1")?.query_row([body], |row| row.get(0));
        match known.optional()? {
            Some(id) => Ok(id),
            None => Ok(self.sql("INSERT INTO context (body) VALUES (?1)")?.insert([body])? as u32),
        }
    }

    pub(crate) fn source(&mut self, space: SpaceId, identity: &str) -> Result<SourceId> {
        let sql = "SELECT id FROM source WHERE space = ?1 AND identity = ?2";
        let known = self.sql(sql)?.query_row(params![space.0, identity], |row| row.get(0));
        let id: u32 = match known.optional()? {
            Some(id) => id,
            None => {
                let sql = "INSERT INTO source (space, identity) VALUES (?1, ?2)";
                self.sql(sql)?.insert(params![space.0, identity])? as u32
            }
        };
        Ok(SourceId(id))
    }

    pub(crate) fn open_run(
        &mut self,
        flow: FlowId,
        version: VersionId,
        mode: RunMode,
        trigger: &str,
        at: i64,
    ) -> Result<RunId> {
        let run = self.new_run(flow, version.0.into(), mode, trigger, true, at)?;
        self.run(run)?.flush = true;
        Ok(run)
    }

    pub(crate) fn close_run(&mut self, run: RunId, at: i64) -> Result<()> {
        let missing = || -> Error { decide::missing("journal close run", format!("run {run}")) };
        let fed = self.is_fed(run)?;
        self.find_run(run)?.ok_or_else(|| Fail::Port(missing()))?.open &= fed;
        self.outstanding(run, 0, 0, at)
    }
}
