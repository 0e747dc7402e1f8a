//! Runs and dead letters, newest first.

use std::collections::BTreeMap;

use opendmp_model::ids::{IdPrefix, PATH_HASH_LEN, Pass, PathHash, TaskId};
use opendmp_ports::journal::{
    DeadGroup, DeadHeld, DeadRow, DeadState, Filter, FlowId, Page, Reader, RunId, RunRow, RunState, decide, letters,
};
use opendmp_ports::transport::StepCounts;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::{PART, Texts};
use crate::sqlite::blobs::{counts_of, item_of, mode_of, path_hash_of, task_of};
use crate::sqlite::fail::{Fail, Result};

/// Dead letters that are looked through for one page of a search for words.
const LOOKED_AT: usize = 5_000;

/// Runs that are looked through for one page of those that are meant.
const RUNS_LOOKED_AT: usize = 20_000;

/// Groups of dead letters that are told of at most; where there are more, errors have nothing in common.
const MOST_GROUPS: i64 = 10_000;

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

/// The rows with the greatest numbers below `from`, at most `most`, read in parts; answers where it was left after so many
/// were looked at. `sql` takes the bound, the size of a
/// part, and `value`, and gives rows in falling order of their number; `keep` makes a row of what is meant.
fn newest<T>(
    conn: &Connection,
    sql: &str,
    value: &dyn ToSql,
    from: i64,
    (most, looked_at): (usize, usize),
    out: &mut BTreeMap<i64, T>,
    mut keep: impl FnMut(&Row<'_>) -> Result<(i64, Option<T>)>,
) -> Result<Option<i64>> {
    let (mut from, mut looked) = (from, 0);
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
                return Ok(None);
            }
            looked += 1;
            if let Some(kept) = kept {
                out.insert(number, kept);
                if out.len() > most {
                    out.pop_first();
                }
            }
            if looked >= looked_at {
                return Ok(Some(number));
            }
        }
        if read < PART {
            return Ok(None);
        }
    }
}

fn page<T>(rows: BTreeMap<i64, T>, limit: usize) -> Page<T> {
    let more = rows.len() > limit;
    let rows: Vec<(i64, T)> = rows.into_iter().rev().take(limit).collect();
    let next = rows.last().filter(|_| more).map(|(number, _)| number.to_string());
    Page { rows: rows.into_iter().map(|(_, row)| row).collect(), next }
}

/// The same where looking was left at a place: what lies behind it is for the next page.
fn page_up_to<T>(mut rows: BTreeMap<i64, T>, limit: usize, left: Option<i64>) -> Page<T> {
    if let Some(left) = left {
        rows.retain(|number, _| *number >= left);
    }
    let mut page = page(rows, limit);
    page.next = page.next.or(left.map(|left| left.to_string()));
    page
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
        Ok((run.id.0 as i64, decide::run_is_meant(filter, &run).then_some(run)))
    };
    let most = (limit + 1, RUNS_LOOKED_AT);
    let mut left = None;
    match (filter.run, &filter.flow) {
        (Some(run), _) => {
            let sql = format!("SELECT {RUN} FROM run WHERE id = ?3 AND id < ?1 LIMIT ?2");
            newest(conn, &sql, &(run.0 as i64), below, most, &mut out, keep)?;
        }
        (None, Some(slug)) => {
            let sql = format!(
                "SELECT {RUN} FROM run INDEXED BY run_flow WHERE flow = ?3 AND id < ?1 ORDER BY id DESC LIMIT ?2"
            );
            for flow in flows_of(conn, slug)? {
                left = left.max(newest(conn, &sql, &flow, below, most, &mut out, &mut keep)?);
            }
        }
        (None, None) => {
            let sql = format!("SELECT {RUN} FROM run WHERE id < ?1 AND ?3 = 0 ORDER BY id DESC LIMIT ?2");
            left = newest(conn, &sql, &0, below, most, &mut out, keep)?;
        }
    }
    Ok(page_up_to(out, limit, left))
}

const LETTER: &str = "number, id, flow, version, run, processor, input, item, fault, attempts, log, failed, state, \
                      pass, ended, actor, reason, shelf IS NOT NULL, grp";

fn letter_row(
    row: &Row<'_>,
    filter: &Filter,
    (group, words): (Option<i64>, &[String]),
    texts: &mut Texts<'_>,
) -> Result<(i64, Option<DeadRow>)> {
    let number: i64 = row.get(0)?;
    let id = task_of(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?;
    let (flow, run) = (FlowId(row.get(2)?), RunId(row.get::<_, i64>(4)? as u64));
    let state = letter_state(row)?;
    let slug = texts.slug(flow.0.into())?;
    let meant = (filter.ended || state == DeadState::Open)
        && filter.flow.as_ref().is_none_or(|flow| *flow == slug)
        && filter.run.is_none_or(|wanted| wanted == run)
        && filter.id.as_ref().is_none_or(|prefix| decide::id_matches(prefix, id))
        && (group.is_none() || group == row.get(18)?);
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
    let meant = letters::has_words(words, &letter);
    Ok((number, meant.then_some(letter)))
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
    let words = letters::words(filter.text.as_deref());
    let group = match filter.group {
        Some(group) => match group_number(conn, group)? {
            Some(number) => Some(number),
            None => return Ok(Page { rows: Vec::new(), next: None }),
        },
        None => None,
    };
    let most = (limit + 1, if words.is_empty() { usize::MAX } else { LOOKED_AT });
    let mut left = None;
    let mut keep = |row: &Row<'_>| letter_row(row, filter, (group, &words), &mut texts);
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
    if let Some(group) = group.filter(|_| !filter.ended) {
        let sql = format!(
            "SELECT {LETTER} FROM letter INDEXED BY letter_of_group WHERE grp = ?3 AND state = 0 AND number < ?1 \
             ORDER BY number DESC LIMIT ?2"
        );
        left = newest(conn, &sql, &group, below, most, &mut out, keep)?;
    } else if let Some(run) = filter.run {
        let sql = format!(
            "SELECT {LETTER} FROM letter INDEXED BY letter_run WHERE run = ?3 AND number < ?1 ORDER BY number DESC LIMIT ?2"
        );
        left = newest(conn, &sql, &(run.0 as i64), below, most, &mut out, keep)?;
    } else if let Some(slug) = &filter.flow {
        let sql = format!(
            "SELECT {LETTER} FROM letter INDEXED BY letter_flow WHERE flow = ?3 AND number < ?1 ORDER BY number DESC LIMIT ?2"
        );
        for flow in flows_of(conn, slug)? {
            left = left.max(newest(conn, &sql, &flow, below, most, &mut out, &mut keep)?);
        }
    } else if filter.ended {
        let sql = format!("SELECT {LETTER} FROM letter WHERE number < ?1 AND ?3 = 0 ORDER BY number DESC LIMIT ?2");
        left = newest(conn, &sql, &0, below, most, &mut out, keep)?;
    } else {
        let sql = format!(
            "SELECT {LETTER} FROM letter INDEXED BY letter_open WHERE state = 0 AND number < ?1 AND ?3 = 0 \
             ORDER BY number DESC LIMIT ?2"
        );
        left = newest(conn, &sql, &0, below, most, &mut out, keep)?;
    }
    Ok(page_up_to(out, limit, left))
}

fn group_number(conn: &Connection, group: PathHash) -> Result<Option<i64>> {
    let mut statement = conn.prepare_cached("SELECT id FROM letter_group WHERE key = ?1")?;
    Ok(statement.query_row([group.0], |row| row.get(0)).optional()?)
}

pub(crate) fn dead_groups(conn: &Connection, filter: &Filter) -> Result<Page<DeadGroup>> {
    let _view = conn.unchecked_transaction()?;
    let mut texts = Texts::new(conn);
    let sql = "SELECT id, key, flow, processor, code, message, open FROM letter_group INDEXED BY letter_group_open \
               WHERE open > 0 ORDER BY id LIMIT ?1";
    let ends = |order: &str| {
        format!(
            "SELECT failed, id FROM letter INDEXED BY letter_of_group WHERE grp = ?1 AND state = 0 \
             ORDER BY number {order} LIMIT 1"
        )
    };
    let mut first = conn.prepare_cached(&ends("ASC"))?;
    let mut last = conn.prepare_cached(&ends("DESC"))?;
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([MOST_GROUPS])?;
    let mut groups = Vec::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let slug = texts.slug(row.get(2)?)?;
        if filter.flow.as_ref().is_some_and(|flow| *flow != slug) {
            continue;
        }
        let (last, sample) = last.query_row([id], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        groups.push(DeadGroup {
            group: path_hash_of(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?,
            flow: slug,
            processor: texts.name(row.get(3)?)?,
            code: row.get(4)?,
            message: row.get(5)?,
            count: row.get::<_, i64>(6)? as u64,
            first: first.query_row([id], |row| row.get(0))?,
            last,
            sample: task_of(&sample)?,
        });
    }
    Ok(letters::groups_page(groups, filter)?)
}
