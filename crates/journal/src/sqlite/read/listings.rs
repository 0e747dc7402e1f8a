//! Runs and dead letters, newest first.

use std::collections::BTreeMap;

use opendmp_model::ids::{IdPrefix, PATH_HASH_LEN, Pass, PathHash, TaskId};
use opendmp_ports::journal::{
    DeadHeld, DeadRow, DeadState, Filter, FlowId, Page, Reader, RunId, RunRow, RunState, decide,
};
use opendmp_ports::transport::StepCounts;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::{PART, Texts};
use crate::sqlite::blobs::{counts_of, item_of, mode_of, task_of};
use crate::sqlite::fail::{Fail, Result};

/// The number that rows must be below.
fn below(filter: &Filter, operation: &'static str) -> Result<i64> {
    match filter.after.as_deref() {
        None => Ok(i64::MAX),
        Some(cursor) => Ok(cursor.parse().map_err(|_| decide::bad_cursor(operation))?),
    }
}

/// Numbers of the flows that have a slug: several where it was deleted and saved again.
fn flows_of(conn: &Connection, slug: &str) -> Result<Vec<u32>> {
    let mut statement = conn.prepare_cached("SELECT id FROM flow INDEXED BY flow_slug WHERE slug = ?1")?;
    Ok(statement.query_map([slug], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// The rows with the greatest numbers below `from`, at most `most`, read in parts. `sql` takes the bound, the size of a
/// part, and `value`, and gives rows in falling order of their number; `keep` makes a row of what is meant.
fn newest<T>(
    conn: &Connection,
    sql: &str,
    value: &dyn ToSql,
    from: i64,
    most: usize,
    out: &mut BTreeMap<i64, T>,
    mut keep: impl FnMut(&Row<'_>) -> Result<(i64, Option<T>)>,
) -> Result<()> {
    let mut from = from;
    loop {
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query(params![from, PART as i64, value])?;
        let mut read = 0;
        while let Some(row) = rows.next()? {
            read += 1;
            let (number, kept) = keep(row)?;
            from = number;
            let full = out.len() >= most && out.first_key_value().is_some_and(|(least, _)| number < *least);
            if full {
                return Ok(());
            }
            if let Some(kept) = kept {
                out.insert(number, kept);
                if out.len() > most {
                    out.pop_first();
                }
            }
        }
        if read < PART {
            return Ok(());
        }
    }
}

fn page<T>(rows: BTreeMap<i64, T>, limit: usize) -> Page<T> {
    let more = rows.len() > limit;
    let rows: Vec<(i64, T)> = rows.into_iter().rev().take(limit).collect();
    let next = rows.last().filter(|_| more).map(|(number, _)| number.to_string());
    Page { rows: rows.into_iter().map(|(_, row)| row).collect(), next }
}

pub(crate) fn dead_held(conn: &Connection) -> Result<DeadHeld> {
    let mut statement = conn.prepare_cached("SELECT item FROM letter INDEXED BY letter_open WHERE state = 0")?;
    let (mut rows, mut held) = (statement.query([])?, DeadHeld::default());
    while let Some(row) = rows.next()? {
        held.letters += 1;
        held.bytes += item_of(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)?.content.size;
    }
    Ok(held)
}

const RUN: &str = "id, flow, version, mode, trigger, started, finished, items + intents, arrivals, revisions, \
                   unchanged, dead, exported, counts";

fn run_row(row: &Row<'_>, texts: &mut Texts<'_>) -> Result<(RunRow, Vec<u8>)> {
    let number = |at: usize| row.get::<_, i64>(at).map(|number| number.max(0) as u64);
    let finished: Option<i64> = row.get(6)?;
    let run = RunRow {
        id: RunId(number(0)?),
        flow: texts.slug(row.get(1)?)?,
        version: texts.version(row.get(2)?)?,
        mode: mode_of(row.get(3)?)?,
        trigger: row.get(4)?,
        state: if finished.is_some() { RunState::Done } else { RunState::Running },
        started: row.get(5)?,
        finished,
        arrivals: number(8)?,
        outstanding: number(7)?,
        revisions: number(9)?,
        unchanged: number(10)?,
        dead: number(11)?,
        exported: number(12)?,
        processors: BTreeMap::new(),
    };
    Ok((run, row.get(13)?))
}

pub(crate) fn run(conn: &Connection, run: RunId) -> Result<RunRow> {
    let mut texts = Texts::new(conn);
    let mut statement = conn.prepare_cached(&format!("SELECT {RUN} FROM run WHERE id = ?1"))?;
    let mut rows = statement.query([run.0 as i64])?;
    let Some(row) = rows.next()? else { return Err(decide::missing("journal run", format!("run {run}")).into()) };
    let (mut found, counts) = run_row(row, &mut texts)?;
    for (name, counts) in counts_of(&counts)? {
        let known: &mut StepCounts = found.processors.entry(texts.name(name)?).or_default();
        known.add(&counts);
    }
    Ok(found)
}

pub(crate) fn runs(conn: &Connection, filter: &Filter) -> Result<Page<RunRow>> {
    let below = below(filter, "journal runs")?;
    let limit = decide::page_limit(filter);
    let mut texts = Texts::new(conn);
    let mut out = BTreeMap::new();
    let mut keep = |row: &Row<'_>| {
        let (run, _) = run_row(row, &mut texts)?;
        let meant = filter.flow.as_ref().is_none_or(|flow| *flow == run.flow)
            && filter.name.as_ref().is_none_or(|pattern| decide::name_matches(pattern, &run.trigger));
        Ok((run.id.0 as i64, meant.then_some(run)))
    };
    match (filter.run, &filter.flow) {
        (Some(run), _) => {
            let sql = format!("SELECT {RUN} FROM run WHERE id = ?3 AND id < ?1 LIMIT ?2");
            newest(conn, &sql, &(run.0 as i64), below, limit + 1, &mut out, keep)?;
        }
        (None, Some(slug)) => {
            let sql = format!(
                "SELECT {RUN} FROM run INDEXED BY run_flow WHERE flow = ?3 AND id < ?1 ORDER BY id DESC LIMIT ?2"
            );
            for flow in flows_of(conn, slug)? {
                newest(conn, &sql, &flow, below, limit + 1, &mut out, &mut keep)?;
            }
        }
        (None, None) => {
            let sql = format!("SELECT {RUN} FROM run WHERE id < ?1 AND ?3 = 0 ORDER BY id DESC LIMIT ?2");
            newest(conn, &sql, &0, below, limit + 1, &mut out, keep)?;
        }
    }
    Ok(page(out, limit))
}

const LETTER: &str = "number, id, flow, version, run, processor, input, item, fault, attempts, log, failed, state, \
                      pass, ended, actor, reason, shelf IS NOT NULL";

fn letter_row(row: &Row<'_>, filter: &Filter, texts: &mut Texts<'_>) -> Result<(i64, Option<DeadRow>)> {
    let number: i64 = row.get(0)?;
    let id = task_of(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?;
    let (flow, run) = (FlowId(row.get(2)?), RunId(row.get::<_, i64>(4)? as u64));
    let state = letter_state(row)?;
    let slug = texts.slug(flow.0.into())?;
    let meant = (filter.ended || state == DeadState::Open)
        && filter.flow.as_ref().is_none_or(|flow| *flow == slug)
        && filter.run.is_none_or(|wanted| wanted == run)
        && filter.id.as_ref().is_none_or(|prefix| decide::id_matches(prefix, id));
    if !meant {
        return Ok((number, None));
    }
    let item = item_of(row.get_ref(7)?.as_blob().map_err(rusqlite::Error::from)?)?;
    if filter.name.as_ref().is_some_and(|pattern| !decide::name_matches(pattern, &item.name)) {
        return Ok((number, None));
    }
    let letter = DeadRow {
        id,
        flow: slug,
        flow_id: flow,
        version: texts.version(row.get(3)?)?,
        run,
        at: Reader { processor: texts.name(row.get(5)?)?.into(), input: row.get(6)? },
        item,
        fault: serde_json::from_str(row.get_ref(8)?.as_str().map_err(rusqlite::Error::from)?)?,
        attempts: row.get(9)?,
        log: serde_json::from_str(row.get_ref(10)?.as_str().map_err(rusqlite::Error::from)?)?,
        failed: row.get(11)?,
        state,
        export_only: row.get(17)?,
    };
    Ok((number, Some(letter)))
}

fn letter_state(row: &Row<'_>) -> Result<DeadState> {
    let actor = || row.get::<_, Option<String>>(15).map(Option::unwrap_or_default);
    let at = || row.get::<_, Option<i64>>(14).map(Option::unwrap_or_default);
    match row.get::<_, i64>(12)? {
        0 => Ok(DeadState::Open),
        1 => {
            let pass = Pass(row.get::<_, Option<u32>>(13)?.unwrap_or_default());
            Ok(DeadState::Retried { pass, at: at()?, actor: actor()? })
        }
        2 => {
            let reason = row.get::<_, Option<String>>(16)?.unwrap_or_default();
            Ok(DeadState::Discarded { reason, at: at()?, actor: actor()? })
        }
        other => Err(Fail::Damaged(format!("a dead letter has the unknown state {other}"))),
    }
}

/// Rows whose ids may begin as was typed. An id is arrival, pass and hash: within each pass that the arrival has letters
/// of, only that range of hashes is read.
fn by_id(conn: &Connection, prefix: &IdPrefix, keep: &mut dyn FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
    let (arrival, (least, most)) = (prefix.arrival, prefix.range());
    let id = |pass: u32, path: PathHash| TaskId { arrival, pass: Pass(pass), path }.to_bytes();
    let end = PathHash([0xff; PATH_HASH_LEN]);
    let mut next = conn.prepare_cached("SELECT id FROM letter WHERE id >= ?1 AND id <= ?2 ORDER BY id LIMIT 1")?;
    let mut rows =
        conn.prepare_cached(&format!("SELECT {LETTER} FROM letter WHERE id >= ?1 AND id <= ?2 ORDER BY id"))?;
    let (mut from, last) = prefix.pass.map_or((0, u32::MAX), |pass| (pass.0, pass.0));
    loop {
        let found = next.query_row([id(from, PathHash::default()), id(last, end)], |row| row.get::<_, Vec<u8>>(0));
        let Some(found) = found.optional()? else { return Ok(()) };
        let pass = task_of(&found)?.pass.0;
        let mut rows = rows.query([id(pass, least), id(pass, most)])?;
        while let Some(row) = rows.next()? {
            keep(row)?;
        }
        if pass == last {
            return Ok(());
        }
        from = pass + 1;
    }
}

pub(crate) fn dead_letters(conn: &Connection, filter: &Filter) -> Result<Page<DeadRow>> {
    let below = below(filter, "journal dead letters")?;
    let limit = decide::page_limit(filter);
    let mut texts = Texts::new(conn);
    let mut out = BTreeMap::new();
    let mut keep = |row: &Row<'_>| letter_row(row, filter, &mut texts);
    if let Some(prefix) = &filter.id {
        let mut keep = |row: &Row<'_>| -> Result<()> {
            let (number, kept) = keep(row)?;
            if let Some(kept) = kept.filter(|_| number < below) {
                out.insert(number, kept);
                if out.len() > limit + 1 {
                    out.pop_first();
                }
            }
            Ok(())
        };
        by_id(conn, prefix, &mut keep)?;
        return Ok(page(out, limit));
    }
    if let Some(run) = filter.run {
        let sql = format!(
            "SELECT {LETTER} FROM letter INDEXED BY letter_run WHERE run = ?3 AND number < ?1 ORDER BY number DESC LIMIT ?2"
        );
        newest(conn, &sql, &(run.0 as i64), below, limit + 1, &mut out, keep)?;
    } else if let Some(slug) = &filter.flow {
        let sql = format!(
            "SELECT {LETTER} FROM letter INDEXED BY letter_flow WHERE flow = ?3 AND number < ?1 ORDER BY number DESC LIMIT ?2"
        );
        for flow in flows_of(conn, slug)? {
            newest(conn, &sql, &flow, below, limit + 1, &mut out, &mut keep)?;
        }
    } else if filter.ended {
        let sql = format!("SELECT {LETTER} FROM letter WHERE number < ?1 AND ?3 = 0 ORDER BY number DESC LIMIT ?2");
        newest(conn, &sql, &0, below, limit + 1, &mut out, keep)?;
    } else {
        let sql = format!(
            "SELECT {LETTER} FROM letter INDEXED BY letter_open WHERE state = 0 AND number < ?1 AND ?3 = 0 \
             ORDER BY number DESC LIMIT ?2"
        );
        newest(conn, &sql, &0, below, limit + 1, &mut out, keep)?;
    }
    Ok(page(out, limit))
}
