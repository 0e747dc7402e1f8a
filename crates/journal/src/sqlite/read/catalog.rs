//! Flows, versions, contexts, and what waits.

use bytes::Bytes;
use opendmp_model::history::Context;
use opendmp_model::ids::ContentHash;
use opendmp_ports::journal::{
    Backlog, DraftRow, FlowId, FlowRow, SourceId, SpaceId, VersionId, VersionInfo, VersionRow, decide,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::sqlite::blobs::state_of;
use crate::sqlite::fail::Result;

const FLOW: &str = "SELECT f.id, f.space, f.slug, f.name, f.state, f.version, v.hash, f.base, f.items + f.intents, \
                    (SELECT sum(o.dead) FROM flow o INDEXED BY flow_slug WHERE o.slug = f.slug AND o.space = f.space), \
                    f.changed, f.held, (SELECT r.started FROM run r INDEXED BY run_open WHERE r.flow = f.id AND \
                    r.finished IS NULL ORDER BY r.id LIMIT 1), (SELECT r.started FROM run r INDEXED BY run_flow WHERE \
                    r.flow = f.id AND r.arrivals > 0 ORDER BY r.id DESC LIMIT 1) FROM flow f JOIN version v ON \
                    v.id = f.version";

fn flow_row(row: &Row<'_>) -> rusqlite::Result<(FlowRow, i64)> {
    let flow = FlowRow {
        id: FlowId(row.get(0)?),
        space: SpaceId(row.get(1)?),
        slug: row.get(2)?,
        name: row.get(3)?,
        state: Default::default(),
        version: VersionId(row.get(5)?),
        version_hash: row.get(6)?,
        base: row.get(7)?,
        outstanding: row.get::<_, i64>(8)?.max(0) as u64,
        held: row.get::<_, i64>(11)?.max(0) as u64,
        dead_letters: row.get::<_, i64>(9)?.max(0) as u64,
        changed: row.get(10)?,
        unfinished_since: row.get(12)?,
        last_run: row.get(13)?,
    };
    Ok((flow, row.get(4)?))
}

pub(crate) fn flows(conn: &Connection, space: SpaceId) -> Result<Vec<FlowRow>> {
    let mut statement = conn.prepare_cached(&format!("{FLOW} WHERE f.space = ?1 AND f.state <> 3 ORDER BY f.slug"))?;
    let rows = statement.query_map([space.0], flow_row)?;
    rows.map(|row| row.map_err(Into::into).and_then(|(flow, state)| Ok(FlowRow { state: state_of(state)?, ..flow })))
        .collect()
}

pub(crate) fn flow(conn: &Connection, flow: FlowId) -> Result<FlowRow> {
    let mut statement = conn.prepare_cached(&format!("{FLOW} WHERE f.id = ?1"))?;
    let found = statement.query_row([flow.0], flow_row).optional()?;
    let (row, state) = found.ok_or_else(|| decide::missing("journal flow", format!("flow {flow}")))?;
    Ok(FlowRow { state: state_of(state)?, ..row })
}

pub(crate) fn version(conn: &Connection, version: VersionId) -> Result<VersionRow> {
    let sql = "SELECT flow, hash, body, at, actor FROM version WHERE id = ?1";
    let found = conn.prepare_cached(sql)?.query_row([version.0], |row| {
        Ok(VersionRow {
            id: version,
            flow: FlowId(row.get(0)?),
            hash: row.get(1)?,
            body: Bytes::from(row.get::<_, Vec<u8>>(2)?),
            at: row.get(3)?,
            actor: row.get(4)?,
        })
    });
    let missing = || decide::missing("journal version", format!("version {version}"));
    Ok(found.optional()?.ok_or_else(missing)?)
}

/// The versions of a flow, newest first.
pub(crate) fn versions(
    conn: &Connection,
    flow: FlowId,
    before: Option<VersionId>,
    limit: usize,
) -> Result<Vec<VersionInfo>> {
    let sql = "SELECT id, hash, at, actor FROM version WHERE flow = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";
    let before = before.map_or(i64::MAX, |version| version.0.into());
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map(params![flow.0, before, limit as i64], |row| {
        Ok(VersionInfo { id: VersionId(row.get(0)?), hash: row.get(1)?, at: row.get(2)?, actor: row.get(3)? })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

const DRAFT: &str = "SELECT slug, name, etag, based_on, changed, actor FROM draft WHERE space = ?1";

fn draft_row(row: &Row<'_>) -> rusqlite::Result<DraftRow> {
    Ok(DraftRow {
        slug: row.get(0)?,
        name: row.get(1)?,
        etag: ContentHash(row.get(2)?),
        based_on: row.get(3)?,
        changed: row.get(4)?,
        actor: row.get(5)?,
    })
}

pub(crate) fn drafts(conn: &Connection, space: SpaceId) -> Result<Vec<DraftRow>> {
    let mut statement = conn.prepare_cached(&format!("{DRAFT} ORDER BY slug"))?;
    let rows = statement.query_map([space.0], draft_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// A draft without what is in it.
pub(crate) fn draft_alone(conn: &Connection, space: SpaceId, slug: &str) -> Result<Option<DraftRow>> {
    let mut statement = conn.prepare_cached(&format!("{DRAFT} AND slug = ?2"))?;
    Ok(statement.query_row(params![space.0, slug], draft_row).optional()?)
}

pub(crate) fn draft(conn: &Connection, space: SpaceId, slug: &str) -> Result<Option<(DraftRow, Bytes)>> {
    let sql = DRAFT.replace(" FROM", ", body FROM") + " AND slug = ?2";
    let mut statement = conn.prepare_cached(&sql)?;
    let found = statement
        .query_row(params![space.0, slug], |row| Ok((draft_row(row)?, Bytes::from(row.get::<_, Vec<u8>>(6)?))));
    Ok(found.optional()?)
}

/// The number of a context, by its JSON, where it has one.
pub(crate) fn context(conn: &Connection, body: &str) -> Result<Option<u32>> {
    let mut statement = conn.prepare_cached("SELECT id FROM context WHERE body = ?1")?;
    Ok(statement.query_row([body], |row| row.get(0)).optional()?)
}

pub(crate) fn contexts(conn: &Connection, numbers: &[u32]) -> Result<Vec<Context>> {
    let mut statement = conn.prepare_cached("SELECT body FROM context WHERE id = ?1")?;
    let mut out = Vec::with_capacity(numbers.len());
    for number in numbers {
        let body: Option<String> = statement.query_row([number], |row| row.get(0)).optional()?;
        let missing = || decide::missing("journal contexts", format!("context {number}"));
        out.push(serde_json::from_str(&body.ok_or_else(missing)?)?);
    }
    Ok(out)
}

/// The number of a source, where it has one.
pub(crate) fn source(conn: &Connection, space: SpaceId, identity: &str) -> Result<Option<SourceId>> {
    let sql = "SELECT id FROM source WHERE space = ?1 AND identity = ?2";
    let found = conn.prepare_cached(sql)?.query_row(params![space.0, identity], |row| row.get(0).map(SourceId));
    Ok(found.optional()?)
}

pub(crate) fn backlog(conn: &Connection, flow: Option<FlowId>) -> Result<Backlog> {
    // One flow's without the others': each source asks for that before it looks for something.
    let sql = match flow {
        Some(_) => "SELECT total(items), total(intents) FROM flow WHERE id = ?1",
        None => "SELECT total(items), total(intents) FROM flow WHERE ?1 IS NULL",
    };
    let number = |row: &Row<'_>, at: usize| row.get::<_, f64>(at).map(|number| number as u64);
    let flow_id = flow.map(|flow| flow.0);
    let (items, intents) =
        conn.prepare_cached(sql)?.query_row([flow_id], |row| Ok((number(row, 0)?, number(row, 1)?)))?;
    let least = |sql: &str| -> Result<Option<i64>> {
        let mut statement = conn.prepare_cached(sql)?;
        let found = match flow_id {
            Some(flow) => statement.query_row([flow], |row| row.get(0)),
            None => statement.query_row([], |row| row.get(0)),
        };
        Ok(found.optional()?)
    };
    let dues = match flow {
        Some(_) => vec![
            task_due(conn, flow.unwrap_or_default())?,
            least(
                "SELECT due FROM intent INDEXED BY intent_due WHERE lease = 0 AND head = 1 AND due > 0 AND flow = ?1 \
                 ORDER BY due LIMIT 1",
            )?,
        ],
        None => vec![
            busy_due(conn)?,
            least(
                "SELECT due FROM intent INDEXED BY intent_queue WHERE lease = 0 AND head = 1 AND due > 0 \
                 ORDER BY due LIMIT 1",
            )?,
        ],
    };
    Ok(Backlog { items, intents, due: dues.into_iter().flatten().min() })
}

/// The earliest time that a task of a flow waits for.
fn task_due(conn: &Connection, flow: FlowId) -> Result<Option<i64>> {
    let sql = "SELECT due FROM task INDEXED BY task_flow WHERE lease = 0 AND flow = ?1 AND suspect = ?2 AND due > 0 \
               ORDER BY due LIMIT 1";
    let mut statement = conn.prepare_cached(sql)?;
    let mut out = None;
    for suspect in [0, 1] {
        let due: Option<i64> = statement.query_row([flow.0, suspect], |row| row.get(0)).optional()?;
        out = out.into_iter().chain(due).min();
    }
    Ok(out)
}

/// The earliest time that a task of any flow waits for.
fn busy_due(conn: &Connection) -> Result<Option<i64>> {
    let mut statement = conn.prepare_cached("SELECT id FROM flow INDEXED BY flow_busy WHERE items > 0")?;
    let flows = statement.query_map([], |row| row.get(0).map(FlowId))?.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut out = None;
    for flow in flows {
        out = out.into_iter().chain(task_due(conn, flow)?).min();
    }
    Ok(out)
}
