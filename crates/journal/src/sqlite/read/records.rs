//! Records of the history by whose they are. There is no index for that: it would be written with every settlement for the
//! few who ask. They are looked through near to where they must be, a bounded number for each page.

use opendmp_model::history;
use opendmp_ports::journal::{HistoryRow, Records, RecordsPage, RunId, Seq, decide};
use rusqlite::{Connection, OptionalExtension, params};

use super::Texts;
use crate::sqlite::fail::Result;

/// Records that are looked through for one page at most.
const LOOKED_AT: i64 = 20_000;

/// Records are written in the order of their times but for so many milliseconds: one may wait for another.
const DISORDER: i64 = 60_000;

pub(crate) fn records(conn: &Connection, whose: Records, after: Option<Seq>, most: usize) -> Result<RecordsPage> {
    let _all = conn.unchecked_transaction()?;
    let numbers = match whose {
        Records::OfFlow(flow) => {
            // Whose a record is stands before its steps, so these are not read for it.
            let sql = "SELECT h.seq, r.flow = ?3 FROM history h JOIN run r ON r.id = h.run WHERE h.seq < ?1 \
                       ORDER BY h.seq DESC LIMIT ?2";
            let below = after.map_or(i64::MAX, |after| after.0 as i64);
            meant(conn, sql, params![below, LOOKED_AT, flow.0], most)?
        }
        Records::OfRun(run) => {
            let (begin, end) = span(conn, run)?;
            let sql = "SELECT seq, run = ?3 FROM history WHERE seq > ?1 AND seq < ?4 ORDER BY seq LIMIT ?2";
            let above = after.map_or(begin, |after| after.0 as i64);
            let end = match end {
                // What ends it in order of number is the first that is surely later.
                Some(end) => first_at(conn, end.saturating_add(DISORDER))?,
                None => i64::MAX,
            };
            meant(conn, sql, params![above, LOOKED_AT, run.0 as i64, end], most)?
        }
    };
    let (numbers, next) = numbers;
    let mut record = conn.prepare_cached("SELECT at, actor, steps FROM history WHERE seq = ?1")?;
    let mut texts = Texts::new(conn);
    let mut rows = Vec::with_capacity(numbers.len());
    for seq in numbers {
        let mut found = record.query([seq])?;
        let Some(row) = found.next()? else { continue };
        let steps = history::decode(row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?)?;
        rows.push(HistoryRow { seq: Seq(seq as u64), at: row.get(0)?, actor: texts.name(row.get(1)?)?, steps });
    }
    Ok(RecordsPage { rows, next: next.map(|seq| Seq(seq as u64)) })
}

/// The numbers of those that are meant, and where to go on.
fn meant(
    conn: &Connection,
    sql: &str,
    values: &[&dyn rusqlite::ToSql],
    most: usize,
) -> Result<(Vec<i64>, Option<i64>)> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    let (mut found, mut looked_at, mut last) = (Vec::new(), 0, None);
    while let Some(row) = rows.next()? {
        let (seq, is): (i64, bool) = (row.get(0)?, row.get(1)?);
        if is && found.len() == most {
            // One more is there.
            return Ok((found.clone(), found.last().copied().or(last)));
        }
        looked_at += 1;
        last = Some(seq);
        if is {
            found.push(seq);
        }
    }
    Ok((found, last.filter(|_| looked_at >= LOOKED_AT)))
}

/// The number of a record before all of a run, and when it was done.
fn span(conn: &Connection, run: RunId) -> Result<(i64, Option<i64>)> {
    let found = conn
        .prepare_cached("SELECT started, finished FROM run WHERE id = ?1")?
        .query_row([run.0 as i64], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?)))
        .optional()?;
    let (started, finished) = found.ok_or_else(|| decide::missing("journal records", format!("run {run}")))?;
    Ok((first_at(conn, started.saturating_sub(DISORDER))? - 1, finished))
}

/// The number of about the first record of that time or later: none before it is later by more than the disorder.
fn first_at(conn: &Connection, at: i64) -> Result<i64> {
    let mut near = conn.prepare_cached("SELECT seq, at FROM history WHERE seq >= ?1 ORDER BY seq LIMIT 1")?;
    let last: i64 = conn.prepare_cached("SELECT seq FROM counter")?.query_row([], |row| row.get(0))?;
    let (mut low, mut high) = (0, last + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        match near.query_row([middle], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).optional()? {
            // What has no record up to there is skipped at once.
            Some((seq, then)) if then < at => low = seq + 1,
            Some(_) | None => high = middle,
        }
    }
    Ok(low)
}
