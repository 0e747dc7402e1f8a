//! Runs, flows and shelves: their numbers, counted during a call and written at its end.

use std::sync::Arc;

use opendmp_ports::journal::{FlowId, FlowState, RunId, RunMode, SpaceId, decide};
use opendmp_ports::transport::StepCounts;
use rusqlite::{OptionalExtension, params};

use super::Tables;
use crate::sqlite::blobs::{counts_bytes, counts_of, mode_number, mode_of, state_number, state_of};
use crate::sqlite::fail::{Fail, Result};

/// A run as this call leaves it.
#[derive(Debug)]
pub(crate) struct RunTally {
    /// To be inserted: version and trigger.
    new: Option<(i64, String, i64)>,
    pub space: SpaceId,
    pub flow: FlowId,
    pub mode: RunMode,
    pub open: bool,
    /// At its end all is closed that its items were added to.
    pub flush: bool,
    pub finished: Option<i64>,
    pub items: i64,
    pub intents: i64,
    pub arrivals: u64,
    pub revisions: u64,
    pub unchanged: u64,
    pub dead: u64,
    pub exported: u64,
    counts: Vec<(i64, StepCounts)>,
    /// Least and greatest origin of the revisions made in it.
    origins: Option<(i64, i64)>,
    /// When it was changed last.
    at: i64,
}

impl RunTally {
    /// Nothing of it is left to do, and it has not ended yet.
    fn is_over(&self) -> bool {
        self.items + self.intents == 0 && !self.open && self.finished.is_none()
    }

    /// A revision was made of this origin.
    pub(crate) fn made_of(&mut self, origin: i64) {
        let (least, most) = self.origins.unwrap_or((origin, origin));
        self.origins = Some((least.min(origin), most.max(origin)));
    }

    /// Adds numbers of a processor, which is an interned name.
    pub(crate) fn count(&mut self, processor: i64, counts: &StepCounts) {
        match self.counts.iter_mut().find(|(name, _)| *name == processor) {
            Some((_, known)) => known.add(counts),
            None => self.counts.push((processor, *counts)),
        }
    }
}

/// A flow as this call leaves it.
#[derive(Debug)]
pub(crate) struct FlowTally {
    pub space: SpaceId,
    pub slug: Arc<str>,
    pub state: FlowState,
    pub items: i64,
    pub intents: i64,
    pub dead: i64,
    /// What its aggregates hold.
    pub held: i64,
    changed: bool,
}

impl FlowTally {
    pub(crate) fn outstanding(&self) -> u64 {
        self.items.saturating_add(self.intents).max(0) as u64
    }

    /// Counts what is held.
    pub(crate) fn hold(&mut self, change: i64) {
        self.held += change;
        self.changed = true;
    }
}

/// What is new on a shelf.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ShelfTally {
    pub datasets: i64,
    pub revisions: i64,
    pub bytes: i64,
    pub changed: i64,
}

impl Tables<'_> {
    pub(crate) fn new_run(
        &mut self,
        flow: FlowId,
        version: i64,
        mode: RunMode,
        trigger: &str,
        open: bool,
        at: i64,
    ) -> Result<RunId> {
        let operation = "journal run";
        let Some(tally) = self.find_flow(flow)? else {
            return Err(decide::missing(operation, format!("flow {flow}")).into());
        };
        let space = tally.space;
        match self.flow_of_version(version)? {
            None => return Err(decide::missing(operation, format!("version {version}")).into()),
            Some(of) if of != flow => {
                let version = opendmp_ports::journal::VersionId(version as u32);
                return Err(decide::foreign_version(operation, version, flow).into());
            }
            Some(_) => {}
        }
        self.memory.last.run += 1;
        let id = RunId(self.memory.last.run as u64);
        let tally = RunTally {
            new: Some((version, trigger.to_owned(), at)),
            space,
            flow,
            mode,
            open,
            flush: false,
            finished: None,
            items: 0,
            intents: 0,
            arrivals: 0,
            revisions: 0,
            unchanged: 0,
            dead: 0,
            exported: 0,
            counts: Vec::new(),
            origins: None,
            at,
        };
        self.runs.insert(id, tally);
        Ok(id)
    }

    pub(super) fn flow_of_version(&self, version: i64) -> Result<Option<FlowId>> {
        let mut statement = self.sql("SELECT flow FROM version WHERE id = ?1")?;
        Ok(statement.query_row([version], |row| row.get(0).map(FlowId)).optional()?)
    }

    /// A run that is there.
    pub(crate) fn run(&mut self, run: RunId) -> Result<&mut RunTally> {
        self.find_run(run)?;
        self.runs.get_mut(&run).ok_or_else(|| Fail::Damaged(format!("run {run} is missing")))
    }

    pub(crate) fn find_run(&mut self, run: RunId) -> Result<Option<&mut RunTally>> {
        if !self.runs.contains_key(&run) {
            let sql = "SELECT space, flow, mode, open, finished, items, intents, arrivals, revisions, unchanged, dead, \
                       exported, counts, started, flush, least_origin, most_origin FROM run WHERE id = ?1";
            let found = self.sql(sql)?.query_row([run.0 as i64], |row| {
                let number = |at: usize| row.get::<_, i64>(at).map(|n| n as u64);
                let tally = RunTally {
                    new: None,
                    space: SpaceId(row.get(0)?),
                    flow: FlowId(row.get(1)?),
                    mode: RunMode::Live,
                    open: row.get(3)?,
                    flush: row.get(14)?,
                    finished: row.get(4)?,
                    items: row.get(5)?,
                    intents: row.get(6)?,
                    arrivals: number(7)?,
                    revisions: number(8)?,
                    unchanged: number(9)?,
                    dead: number(10)?,
                    exported: number(11)?,
                    counts: Vec::new(),
                    origins: row.get::<_, Option<i64>>(15)?.zip(row.get(16)?),
                    at: row.get(13)?,
                };
                Ok((tally, row.get::<_, i64>(2)?, row.get::<_, Vec<u8>>(12)?))
            });
            let Some((tally, mode, counts)) = found.optional()? else { return Ok(None) };
            let tally = RunTally { mode: mode_of(mode)?, counts: counts_of(&counts)?, ..tally };
            self.runs.insert(run, tally);
        }
        Ok(self.runs.get_mut(&run))
    }

    /// A flow that is there.
    pub(crate) fn flow(&mut self, flow: FlowId) -> Result<&mut FlowTally> {
        self.find_flow(flow)?.ok_or_else(|| Fail::Damaged(format!("flow {flow} is missing")))
    }

    pub(crate) fn find_flow(&mut self, flow: FlowId) -> Result<Option<&mut FlowTally>> {
        if !self.flows.contains_key(&flow) {
            let sql = "SELECT space, slug, state, items, intents, dead, held FROM flow WHERE id = ?1";
            let found = self.sql(sql)?.query_row([flow.0], |row| {
                let slug: String = row.get(1)?;
                let tally = FlowTally {
                    space: SpaceId(row.get(0)?),
                    slug: slug.into(),
                    state: FlowState::Disabled,
                    items: row.get(3)?,
                    intents: row.get(4)?,
                    dead: row.get(5)?,
                    held: row.get(6)?,
                    changed: false,
                };
                Ok((tally, row.get::<_, i64>(2)?))
            });
            let Some((tally, state)) = found.optional()? else { return Ok(None) };
            self.flows.insert(flow, FlowTally { state: state_of(state)?, ..tally });
        }
        Ok(self.flows.get_mut(&flow))
    }

    /// Counts work in and out of a run and its flow.
    pub(crate) fn outstanding(&mut self, run: RunId, items: i64, intents: i64, at: i64) -> Result<()> {
        let tally = self.run(run)?;
        tally.items += items;
        tally.intents += intents;
        tally.at = at;
        let flow = tally.flow;
        let tally = self.flow(flow)?;
        tally.items += items;
        tally.intents += intents;
        tally.changed = true;
        Ok(())
    }

    /// Counts dead letters of a flow that are open.
    pub(crate) fn count_dead(&mut self, flow: FlowId, change: i64) -> Result<()> {
        let tally = self.flow(flow)?;
        tally.dead += change;
        tally.changed = true;
        Ok(())
    }

    pub(crate) fn shelf_tally(&mut self, shelf: i64) -> &mut ShelfTally {
        self.shelves.entry(shelf).or_default()
    }

    /// Forgets numbers that were counted since the last [`Tables::flush`].
    pub(super) fn unflushed(&mut self) {
        self.runs.clear();
        self.flows.clear();
        self.shelves.clear();
    }

    /// Looks at what is to be closed at the ends of runs. Answers whether there is anything.
    pub(crate) fn end_runs(&mut self) -> Result<bool> {
        let mut any = false;
        let over: Vec<RunId> = self.runs.iter().filter(|(_, run)| run.is_over()).map(|(id, _)| *id).collect();
        for id in over {
            let run = self.run(id)?;
            let (flow, mode, flush, at) = (run.flow, run.mode, run.flush, run.at);
            let work = self.run_over(id, flow, mode, flush)?;
            if work > 0 {
                self.outstanding(id, work, 0, at)?;
                any = true;
            }
        }
        Ok(any)
    }

    /// Writes what was counted, and closes runs and flows that have nothing left.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.end_runs()?;
        for (id, run) in std::mem::take(&mut self.runs) {
            self.flush_run(id, run)?;
        }
        for (id, flow) in std::mem::take(&mut self.flows).into_iter().filter(|(_, flow)| flow.changed) {
            let state = match flow.state {
                FlowState::Deleting if flow.outstanding() == 0 && flow.held <= 0 => FlowState::Deleted,
                other => other,
            };
            let sql = "UPDATE flow SET state = ?2, items = ?3, intents = ?4, dead = ?5, held = ?6 WHERE id = ?1";
            let FlowTally { items, intents, dead, held, .. } = flow;
            self.sql(sql)?.execute(params![id.0, state_number(state), items, intents, dead, held])?;
        }
        for (id, shelf) in std::mem::take(&mut self.shelves) {
            let sql = "UPDATE shelf SET datasets = datasets + ?2, revisions = revisions + ?3, bytes = bytes + ?4, \
                       changed = max(changed, ?5) WHERE id = ?1";
            let ShelfTally { datasets, revisions, bytes, changed } = shelf;
            self.sql(sql)?.execute(params![id, datasets, revisions, bytes, changed])?;
        }
        self.flush_changes()
    }

    fn flush_run(&mut self, id: RunId, run: RunTally) -> Result<()> {
        let finished = run.finished.or(run.is_over().then_some(run.at));
        let counts = counts_bytes(&run.counts);
        let (least, most) = run.origins.unzip();
        let [arrivals, revisions, unchanged, dead, exported] =
            [run.arrivals, run.revisions, run.unchanged, run.dead, run.exported].map(|number| number as i64);
        match run.new {
            Some((version, trigger, started)) => {
                let sql = "INSERT INTO run (id, space, flow, version, mode, trigger, open, started, finished, items, \
                           intents, arrivals, revisions, unchanged, dead, exported, counts, flush, least_origin, \
                           most_origin) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, \
                           ?17, ?18, ?19, ?20)";
                self.sql(sql)?.execute(params![
                    id.0 as i64,
                    run.space.0,
                    run.flow.0,
                    version,
                    mode_number(run.mode),
                    trigger,
                    run.open,
                    started,
                    finished,
                    run.items,
                    run.intents,
                    arrivals,
                    revisions,
                    unchanged,
                    dead,
                    exported,
                    counts,
                    run.flush,
                    least,
                    most
                ])?;
            }
            None => {
                let sql = "UPDATE run SET open = ?2, finished = ?3, items = ?4, intents = ?5, arrivals = ?6, \
                           revisions = ?7, unchanged = ?8, dead = ?9, exported = ?10, counts = ?11, least_origin = ?12, \
                           most_origin = ?13 WHERE id = ?1";
                self.sql(sql)?.execute(params![
                    id.0 as i64,
                    run.open,
                    finished,
                    run.items,
                    run.intents,
                    arrivals,
                    revisions,
                    unchanged,
                    dead,
                    exported,
                    counts,
                    least,
                    most
                ])?;
            }
        }
        Ok(())
    }
}
