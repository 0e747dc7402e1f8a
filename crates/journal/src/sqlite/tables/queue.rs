//! The queue: tasks in, claimed, handed back, taken over, abandoned.

use std::collections::{HashMap, VecDeque};

use opendmp_model::fault::{Fault, Tries};
use opendmp_model::ids::{ItemId, TaskId};
use opendmp_model::manifest::{Load, decode_load, encode_load};
use opendmp_ports::journal::{
    ClaimRequest, Claimed, FlowId, Lease, NewTask, Reader, RunId, RunMode, Seq, SetBack, VersionId, decide,
};
use rusqlite::{ErrorCode, OptionalExtension, Row, params};

use super::{Origin, Tables, seq_of, seq_value};
use crate::sqlite::blobs::{mode_number, mode_of, task_of};
use crate::sqlite::fail::{Fail, Result};

/// Tasks whose time has come that are looked at in one claim at least, to find the oldest among them.
const DUE_WINDOW: usize = 256;

/// A task with its items encoded.
#[derive(Debug)]
pub(crate) struct PreparedTask {
    id: TaskId,
    to: Reader,
    count: u64,
    items: Vec<u8>,
    tries: Tries,
    lost: u32,
    generation: u32,
    due: Option<i64>,
    fault: Option<String>,
    /// It is the rest of a manifest.
    pub(super) rest: bool,
    first: Option<ItemId>,
}

impl From<NewTask> for PreparedTask {
    fn from(task: NewTask) -> Self {
        Self {
            id: task.id,
            count: task.count(),
            rest: decide::is_rest(&task),
            first: task.items.first().map(|item| item.id),
            to: task.to,
            items: encode_load(&task.load, &task.items),
            tries: task.tries,
            lost: task.lost,
            generation: task.generation,
            due: task.due,
            fault: task.fault.as_ref().map(json),
        }
    }
}

impl PreparedTask {
    /// Its first item.
    pub(super) fn first(&self) -> Option<ItemId> {
        self.first
    }
}

/// JSON of a value that always has one.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> String {
    // Faults and logs are text and numbers: nothing in them can't be written.
    serde_json::to_string(value).unwrap_or_default()
}

/// A claimed task whose items are still encoded, so that they are decoded off the writer's thread.
#[derive(Debug)]
pub(crate) struct RawClaimed {
    id: TaskId,
    to: Reader,
    items: Vec<u8>,
    tries: Tries,
    lost: u32,
    generation: u32,
    due: i64,
    fault: Option<String>,
    flow: FlowId,
    version: VersionId,
    run: RunId,
    mode: RunMode,
    attempt: u32,
}

impl RawClaimed {
    pub(crate) fn decode(self) -> Result<Claimed> {
        let fault: Option<Fault> = self.fault.as_deref().map(serde_json::from_str).transpose()?;
        let (load, items) = decode_load(&self.items)?;
        let task = NewTask {
            id: self.id,
            to: self.to,
            items,
            load,
            tries: self.tries,
            lost: self.lost,
            generation: self.generation,
            due: (self.due != NOT_DUE).then_some(self.due),
            fault,
        };
        let Self { flow, version, run, mode, attempt, .. } = self;
        Ok(Claimed { task, flow, version, run, mode, attempt })
    }
}

/// Stored for a task that waits for no time.
const NOT_DUE: i64 = 0;

/// Flows that are looked at in one claim at most.
const FLOWS: usize = 64;

impl Tables<'_> {
    /// Puts tasks into the queue, each with the record in which its items were made, and counts their items.
    pub(crate) fn enqueue(
        &mut self,
        tasks: &[PreparedTask],
        origin: Origin,
        mode: RunMode,
        made: impl Fn(&PreparedTask) -> Option<Seq>,
    ) -> Result<i64> {
        let mut items = 0;
        if tasks.is_empty() {
            return Ok(items);
        }
        let space = self.flow(origin.flow)?.space;
        for task in tasks {
            self.memory.last.task += 1;
            let seq = self.memory.last.task;
            let processor = self.name(&task.to.processor)?;
            let sql = "INSERT INTO task (id, seq, space, flow, version, run, mode, processor, input, items, attempts, \
                       lease, due, suspect, failures, waits, lost, generation, fault, made) VALUES (?1, ?2, ?3, ?4, ?5, ?6, \
                       ?7, ?8, ?9, ?10, 0, 0, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";
            let inserted = self.sql(sql)?.execute(params![
                task.id.to_bytes(),
                seq,
                space.0,
                origin.flow.0,
                origin.version,
                origin.run.0 as i64,
                mode_number(mode),
                processor,
                task.to.input,
                task.count as i64,
                // A time of 0 or before has come already: the same as none.
                task.due.map_or(NOT_DUE, |due| due.max(NOT_DUE)),
                task.lost > 0,
                task.tries.failures,
                task.tries.waits,
                task.lost,
                task.generation,
                task.fault,
                seq_value(made(task)),
            ]);
            inserted.map_err(|error| match error.sqlite_error_code() {
                Some(ErrorCode::ConstraintViolation) => Fail::Port(decide::task_twice(task.id)),
                _ => error.into(),
            })?;
            self.sql("INSERT INTO bundle (seq, items) VALUES (?1, ?2)")?.execute(params![seq, task.items])?;
            items += task.count as i64;
        }
        Ok(items)
    }

    pub(crate) fn claim(&mut self, request: &ClaimRequest) -> Result<Vec<RawClaimed>> {
        if !self.live(request.lease) {
            return Err(decide::taken_over("journal claim").into());
        }
        let mut out = Vec::new();
        for id in self.claimable(request)? {
            let sql = "UPDATE task SET lease = ?2, attempts = attempts + 1 WHERE id = ?1 \
                       RETURNING seq, flow, version, run, mode, processor, input, attempts, due, failures, waits, \
                       lost, generation, fault";
            let mut statement = self.sql(sql)?;
            let (seq, processor, mode, mut claimed) =
                statement.query_row(params![id.to_bytes(), request.lease.0 as i64], |row| raw(row, id))?;
            drop(statement);
            claimed.to.processor = self.text(processor)?;
            claimed.mode = mode_of(mode)?;
            claimed.items = self.bundle(seq)?;
            out.push(claimed);
        }
        Ok(out)
    }

    /// Tasks that may be claimed, oldest first: of those that wait for no time the oldest, of those whose time has
    /// come the ones whose time came first; by order of entry. Of all flows, those have precedence that have the least
    /// under way.
    fn claimable(&mut self, request: &ClaimRequest) -> Result<Vec<TaskId>> {
        let mut found: Vec<(i64, Vec<u8>)> = Vec::new();
        let suspects = request.suspects;
        let window = request.limit.max(DUE_WINDOW);
        let pair = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        match request.run {
            None => return self.fair(request),
            Some(run) => {
                let run = run.0 as i64;
                let sql = "SELECT seq, id FROM task INDEXED BY task_run \
                           WHERE lease = 0 AND run = ?1 AND suspect = ?2 AND due = 0 ORDER BY seq LIMIT ?3";
                let mut ready = self.sql(sql)?;
                for row in ready.query_map(params![run, suspects, request.limit as i64], pair)? {
                    found.push(row?);
                }
                let sql = "SELECT seq, id FROM task INDEXED BY task_run WHERE lease = 0 AND run = ?1 AND suspect = ?2 \
                           AND due > 0 AND due <= ?3 ORDER BY due, seq LIMIT ?4";
                let mut due = self.sql(sql)?;
                for row in due.query_map(params![run, suspects, request.now, window as i64], pair)? {
                    found.push(row?);
                }
            }
        }
        found.sort_unstable();
        found.truncate(request.limit);
        found.iter().map(|(_, id)| task_of(id)).collect()
    }

    /// See [`decide::fair`].
    fn fair(&mut self, request: &ClaimRequest) -> Result<Vec<TaskId>> {
        let sql = "SELECT flow, count(*) FROM task INDEXED BY task_lease WHERE lease > 0 GROUP BY flow";
        let mut statement = self.sql(sql)?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, i64>(1)? as usize)))?;
        let busy: HashMap<u32, usize> = rows.collect::<rusqlite::Result<_>>()?;
        drop(statement);
        // A few flows of very many, others the next time.
        let sql = "SELECT id FROM flow INDEXED BY flow_busy WHERE items > 0 AND id > ?1 ORDER BY id LIMIT ?2";
        let mut statement = self.sql(sql)?;
        let mut some = |after: u32, limit: usize| {
            let rows = statement.query_map(params![after, limit as i64], |row| row.get::<_, u32>(0))?;
            rows.collect::<rusqlite::Result<Vec<u32>>>()
        };
        let mut flows = some(self.memory.turn, FLOWS)?;
        if flows.len() < FLOWS {
            let left = FLOWS - flows.len();
            let turn = self.memory.turn;
            flows.extend(some(0, left)?.into_iter().filter(|flow| *flow <= turn));
        }
        drop(statement);
        self.memory.turn = flows.last().copied().filter(|_| flows.len() == FLOWS).unwrap_or(0);
        let mut queues = Vec::with_capacity(flows.len());
        for flow in flows {
            let busy = busy.get(&flow).copied().unwrap_or(0);
            if busy > 0 && request.idle {
                continue;
            }
            let ready = self.ready(flow, request)?;
            if !ready.is_empty() {
                queues.push(decide::Queue { busy, ready });
            }
        }
        let ids = decide::fair(queues, request.limit);
        ids.iter().map(|id| task_of(id)).collect()
    }

    /// What a flow has ready, oldest first.
    fn ready(&self, flow: u32, request: &ClaimRequest) -> Result<VecDeque<(i64, Vec<u8>)>> {
        let window = request.limit.max(DUE_WINDOW) as i64;
        let pair = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let mut found: Vec<(i64, Vec<u8>)> = Vec::new();
        let sql = "SELECT seq, id FROM task INDEXED BY task_flow \
                   WHERE lease = 0 AND flow = ?1 AND suspect = ?2 AND due = 0 ORDER BY seq LIMIT ?3";
        let mut ready = self.sql(sql)?;
        for row in ready.query_map(params![flow, request.suspects, request.limit as i64], pair)? {
            found.push(row?);
        }
        let sql = "SELECT seq, id FROM task INDEXED BY task_flow \
                   WHERE lease = 0 AND flow = ?1 AND suspect = ?2 AND due > 0 AND due <= ?3 ORDER BY due, seq LIMIT ?4";
        let mut due = self.sql(sql)?;
        for row in due.query_map(params![flow, request.suspects, request.now, window], pair)? {
            found.push(row?);
        }
        found.sort_unstable();
        found.truncate(request.limit);
        Ok(found.into())
    }

    pub(crate) fn unclaim(&mut self, lease: Lease, tasks: &[TaskId]) -> Result<()> {
        let sql = "UPDATE task SET lease = 0, attempts = attempts - 1 WHERE id = ?1 AND lease = ?2";
        let mut statement = self.sql(sql)?;
        for id in tasks {
            statement.execute(params![id.to_bytes(), lease.0 as i64])?;
        }
        Ok(())
    }

    pub(crate) fn clock_set_back(&mut self, back: SetBack) -> Result<u64> {
        let given = params![back.from.max(1), back.by];
        let mut changed = 0;
        for table in ["task", "intent"] {
            let sql = format!("UPDATE {table} SET due = max(due - ?2, 1) WHERE due >= ?1");
            changed += self.sql(&sql)?.execute(given)?;
        }
        let sql = "UPDATE held_group SET changed = max(changed - ?2, 1) WHERE items > 0 AND changed >= ?1";
        self.sql(sql)?.execute(given)?;
        Ok(changed as u64)
    }

    /// Takes all claimed tasks from whoever has them.
    pub(super) fn lose_tasks(&mut self) -> Result<u64> {
        let sql = "UPDATE task INDEXED BY task_lease SET lease = 0, lost = lost + 1, suspect = 1 WHERE lease > 0";
        Ok(self.sql(sql)?.execute([])? as u64)
    }

    pub(crate) fn abandon(&mut self, flow: FlowId, limit: usize, actor: &str, at: i64) -> Result<u64> {
        let sql = "SELECT t.id, t.seq, t.version, t.run, t.processor, t.input, t.failures, t.items, t.made FROM run r \
                   INDEXED BY run_open JOIN task t INDEXED BY task_run ON t.run = r.id AND t.lease = 0 \
                   WHERE r.flow = ?1 AND r.finished IS NULL LIMIT ?2";
        let mut statement = self.sql(sql)?;
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![flow.0, most], |row| {
            let origin = Origin { flow, version: row.get(2)?, run: RunId(row.get::<_, i64>(3)? as u64) };
            let (id, seq): (Vec<u8>, i64) = (row.get(0)?, row.get(1)?);
            let (processor, input, failures): (i64, u32, u32) = (row.get(4)?, row.get(5)?, row.get(6)?);
            Ok((id, seq, origin, (processor, input, failures), row.get::<_, i64>(7)?, seq_of(row.get(8)?)))
        })?;
        let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        drop(statement);
        // What is held first: else a run that ends by this would have it closed.
        let mut count = self.abandon_held(flow, limit, at)?;
        if !rows.is_empty() {
            let tally = self.flow(flow)?;
            let (space, slug) = (tally.space, tally.slug.clone());
            self.audit(space, at, actor, "abandon", &slug, None)?;
        }
        for (id, seq, origin, (processor, input, failures), ended, made) in rows {
            let reader = Reader { processor: self.text(processor)?, input };
            let (load, items) = decode_load(&self.bundle(seq)?)?;
            self.sql("DELETE FROM task WHERE id = ?1")?.execute([&id])?;
            self.sql("DELETE FROM bundle WHERE seq = ?1")?.execute([seq])?;
            self.unlook(flow, &load)?;
            let is_look = matches!(load, Load::Look(_));
            for item in items {
                let letter = decide::abandoned(&reader, item, failures);
                self.add_dead(&letter.into(), origin, at, None, made)?;
            }
            self.outstanding(origin.run, -ended, 0, at)?;
            count += if is_look { 0 } else { ended as u64 };
        }
        Ok(count)
    }

    /// The encoded items of a task, by its order of entry.
    fn bundle(&self, seq: i64) -> Result<Vec<u8>> {
        let mut statement = self.sql("SELECT items FROM bundle WHERE seq = ?1")?;
        let items = statement.query_row([seq], |row| row.get(0)).optional()?;
        items.ok_or_else(|| Fail::Damaged(format!("the items of task {seq} are missing")))
    }
}

/// A row of a claim: its order, processor and mode, and the rest.
fn raw(row: &Row<'_>, id: TaskId) -> rusqlite::Result<(i64, i64, i64, RawClaimed)> {
    let claimed = RawClaimed {
        id,
        to: Reader { processor: "".into(), input: row.get(6)? },
        items: Vec::new(),
        tries: Tries { failures: row.get(9)?, waits: row.get(10)? },
        lost: row.get(11)?,
        generation: row.get(12)?,
        due: row.get(8)?,
        fault: row.get(13)?,
        flow: FlowId(row.get(1)?),
        version: VersionId(row.get(2)?),
        run: RunId(row.get::<_, i64>(3)? as u64),
        mode: RunMode::Live,
        attempt: row.get(7)?,
    };
    Ok((row.get(0)?, row.get(5)?, row.get(4)?, claimed))
}
