//! What retention would let go. Looked for on a reader's connection, a part at a time; the writer then lets go of what it
//! still finds so.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use opendmp_model::codec::decode_items;
use opendmp_model::ids::{Arrival, ContentHash, ID_LEN, Pass, SlotId};
use opendmp_model::item::{BUNDLE_SPAN, ContentRef, Item, ORDER_LEN};
use opendmp_model::manifest::decode_load;
use opendmp_ports::journal::decide;
use opendmp_ports::journal::retain::{
    Done, KeptRevision, LetGo, LetGoPart, LetGone, RevisionRule, begins_at, ends_at, is_over, outdated,
};
use opendmp_ports::journal::{ExportState, FlowId, MOST_NAMED, SpaceId, VersionId, decode_memo};
use rusqlite::{Connection, OptionalExtension, params};

use crate::sqlite::blobs::{content_of as stored_content, export_of, item_of, path_hash_of};
use crate::sqlite::fail::Result;

const OPERATION: &str = "journal let go";

/// What was found to be let go.
pub(crate) enum Outdated {
    /// Arrivals.
    Sources(Vec<i64>),
    /// Datasets of a shelf, of which some revisions are.
    Revisions(i64, Vec<SlotId>),
    /// Records with their flows, and their bytes.
    History(Vec<(i64, u32, u64)>),
}

/// The times by flow: those of each flow count for the ones that were deleted before it under its name, too.
pub(crate) fn rules_by_flow(conn: &Connection, rules: &BTreeMap<FlowId, i64>) -> Result<HashMap<u32, i64>> {
    let mut statement = conn.prepare_cached(
        "SELECT f.id FROM flow g JOIN flow f ON f.slug = g.slug AND f.space = g.space WHERE g.id = ?1",
    )?;
    let mut out = HashMap::new();
    for (flow, before) in rules {
        for same in statement.query_map([flow.0], |row| row.get::<_, u32>(0))? {
            out.entry(same?).or_insert(*before);
        }
    }
    Ok(out)
}

pub(crate) fn find_outdated(conn: &Connection, part: &LetGoPart) -> Result<(Outdated, LetGone)> {
    // One view for all that is asked.
    let _all = conn.unchecked_transaction()?;
    match &part.what {
        LetGo::Sources(rules) => sources(conn, &rules_by_flow(conn, rules)?, part),
        LetGo::History(rules) => history(conn, &rules_by_flow(conn, rules)?, part),
        LetGo::Revisions { space, collection, flow, processor, rule } => {
            let shelf = shelf_of(conn, *space, [collection, flow, processor])?;
            revisions(conn, shelf, *rule, part)
        }
    }
}

fn sources(conn: &Connection, rules: &HashMap<u32, i64>, part: &LetGoPart) -> Result<(Outdated, LetGone)> {
    let begin = begins_at(part.after.as_deref(), OPERATION)?;
    let last: i64 = conn.prepare_cached("SELECT arrival FROM counter")?.query_row([], |row| row.get(0))?;
    let (end, next) = ends_at(begin, part.limit, last as u64);
    let mut gone = LetGone { next, ..LetGone::default() };
    let mut found = Vec::new();
    let mut sizes: HashMap<i64, u64> = HashMap::new();
    {
        let sql = "SELECT a.id, a.flow, a.at, r.finished, a.content FROM arrival a JOIN run r ON r.id = a.run \
                   WHERE a.id > ?1 AND a.id <= ?2 AND a.gone IS NULL AND r.finished IS NOT NULL ORDER BY a.id";
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query(params![begin as i64, end as i64])?;
        while let Some(row) = rows.next()? {
            let (id, flow, at, finished): (i64, u32, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            if rules.get(&flow).is_some_and(|before| at < *before && finished < *before) {
                let content = stored_content(row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?)?;
                sizes.insert(id, content.size);
                found.push(id);
            }
        }
    }
    let found = over(conn, rules, &found)?;
    gone.count = found.len() as u64;
    gone.bytes = found.iter().filter_map(|id| sizes.get(id)).sum();
    Ok((Outdated::Sources(found), gone))
}

/// Those of these arrivals, in order, whose content may be let go.
pub(crate) fn over(conn: &Connection, rules: &HashMap<u32, i64>, arrivals: &[i64]) -> Result<Vec<i64>> {
    let (Some(first), Some(last)) = (arrivals.first(), arrivals.last()) else { return Ok(Vec::new()) };
    let (first, last) = (*first as u64, *last as u64);
    let busy = busy(conn, first, last)?;
    let feeding = feeding(conn)?;
    let mut times = times(conn, arrivals)?;
    ended_letters(conn, first, last, &mut times)?;
    let sql = "SELECT a.flow, a.at, r.finished, f.forgot FROM arrival a JOIN run r ON r.id = a.run \
               JOIN flow f ON f.id = a.flow WHERE a.id = ?1 AND a.gone IS NULL";
    let mut statement = conn.prepare_cached(sql)?;
    let mut out = Vec::new();
    for id in arrivals {
        let found = statement.query_row([id], |row| {
            Ok((row.get::<_, u32>(0)?, row.get::<_, i64>(1)?, row.get::<_, Option<i64>>(2)?, row.get(3)?))
        });
        let Some((flow, at, finished, forgot)) = found.optional()? else { continue };
        let Some(before) = rules.get(&flow) else { continue };
        let known = times.get(id).copied().unwrap_or(at);
        let done = Done {
            busy: busy.contains(&(*id as u64)) || finished.is_none() || feeding.contains(&flow),
            at: known.max(at).max(finished.unwrap_or(at)),
            forgot,
        };
        if is_over(done, *before) {
            out.push(*id);
        }
    }
    Ok(out)
}

/// Flows of which a reprocess is being fed, and those of the same names.
fn feeding(conn: &Connection) -> Result<HashSet<u32>> {
    let sql = "SELECT f.id FROM reprocess p INDEXED BY reprocess_open JOIN flow g ON g.id = p.flow \
               JOIN flow f ON f.slug = g.slug AND f.space = g.space WHERE p.state = 0";
    let mut statement = conn.prepare_cached(sql)?;
    Ok(statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// Arrivals between these of which something waits, is held, failed, or is to be exported.
fn busy(conn: &Connection, first: u64, last: u64) -> Result<BTreeSet<u64>> {
    let mut out = BTreeSet::new();
    waiting(conn, first, last, &mut |item| {
        if (first..=last).contains(&item.id.arrival.0) {
            out.insert(item.id.arrival.0);
        }
    })?;
    let mut statement = conn.prepare_cached("SELECT id FROM letter WHERE id BETWEEN ?1 AND ?2 AND state = 0")?;
    let mut rows = statement.query(params![first.to_be_bytes().to_vec(), of(last)])?;
    while let Some(row) = rows.next()? {
        out.insert(arrival_of(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?));
    }
    let sql = "SELECT DISTINCT arrival FROM intent WHERE kind = 1 AND arrival BETWEEN ?1 AND ?2";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params![first as i64, last as i64])?;
    while let Some(row) = rows.next()? {
        out.insert(row.get::<_, i64>(0)? as u64);
    }
    Ok(out)
}

/// Items that wait or are held, those of arrivals between these among them.
fn waiting(conn: &Connection, first: u64, last: u64, note: &mut dyn FnMut(&Item)) -> Result<()> {
    // Ids, and the order of what is held, begin with the first arrival of a bundle, whose others are near it.
    let from = first.saturating_sub(BUNDLE_SPAN - 1).to_be_bytes().to_vec();
    let to = |len: usize| {
        let mut to = last.saturating_add(BUNDLE_SPAN - 1).to_be_bytes().to_vec();
        to.resize(len, 0xff);
        to
    };
    let mut statement =
        conn.prepare_cached("SELECT b.items FROM task t JOIN bundle b ON b.seq = t.seq WHERE t.id BETWEEN ?1 AND ?2")?;
    let mut rows = statement.query(params![from, to(ID_LEN)])?;
    while let Some(row) = rows.next()? {
        let (_, items) = decode_load(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)?;
        items.iter().for_each(&mut *note);
    }
    let mut statement = conn.prepare_cached(
        "SELECT h.items FROM held_group g INDEXED BY held_group_run JOIN held h ON h.grp = g.id \
         WHERE g.items > 0 AND h.least BETWEEN ?1 AND ?2",
    )?;
    let mut rows = statement.query(params![from, to(ORDER_LEN)])?;
    while let Some(row) = rows.next()? {
        for item in decode_items(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)? {
            note(&item);
        }
    }
    Ok(())
}

/// The greatest id of an arrival.
fn of(arrival: u64) -> Vec<u8> {
    let mut id = arrival.to_be_bytes().to_vec();
    id.resize(ID_LEN, 0xff);
    id
}

fn arrival_of(id: &[u8]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(id.get(..8).unwrap_or(&[0; 8]));
    u64::from_be_bytes(first)
}

/// When something was last recorded that may be of these arrivals, in order.
fn times(conn: &Connection, arrivals: &[i64]) -> Result<HashMap<i64, i64>> {
    let sql = "SELECT least, most, at FROM history INDEXED BY history_span WHERE least BETWEEN ?1 AND ?2 AND most >= ?3 \
               UNION ALL \
               SELECT least, most, at FROM history INDEXED BY history_wide WHERE most - least >= 4096 AND least < ?1 AND \
               most >= ?3";
    const { assert!(BUNDLE_SPAN == 4096, "the index of wide records was made for this span") };
    let mut out = HashMap::with_capacity(arrivals.len());
    let (Some(first), Some(last)) = (arrivals.first(), arrivals.last()) else { return Ok(out) };
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params![first.saturating_sub(BUNDLE_SPAN as i64 - 1), last, first])?;
    while let Some(row) = rows.next()? {
        let (least, most, at): (i64, i64, i64) = row.try_into()?;
        let begin = arrivals.partition_point(|arrival| *arrival < least);
        for arrival in arrivals[begin..].iter().take_while(|arrival| **arrival <= most) {
            let known = out.entry(*arrival).or_insert(at);
            *known = at.max(*known);
        }
    }
    Ok(out)
}

/// When dead letters of arrivals between these ended.
fn ended_letters(conn: &Connection, first: u64, last: u64, times: &mut HashMap<i64, i64>) -> Result<()> {
    let mut statement =
        conn.prepare_cached("SELECT id, coalesce(ended, failed) FROM letter WHERE id BETWEEN ?1 AND ?2")?;
    let mut rows = statement.query(params![first.to_be_bytes().to_vec(), of(last)])?;
    while let Some(row) = rows.next()? {
        let arrival = arrival_of(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?) as i64;
        let at = row.get(1)?;
        let known = times.entry(arrival).or_insert(at);
        *known = at.max(*known);
    }
    Ok(())
}

/// A version by its flow's name and its hash.
pub(crate) fn find_version(conn: &Connection, space: SpaceId, slug: &str, hash: &str) -> Result<Option<VersionId>> {
    let sql = "SELECT v.id FROM flow f INDEXED BY flow_slug JOIN version v ON v.flow = f.id \
               WHERE f.slug = ?2 AND f.space = ?1 AND v.hash = ?3 ORDER BY v.id DESC LIMIT 1";
    let mut statement = conn.prepare_cached(sql)?;
    Ok(statement.query_row(params![space.0, slug, hash], |row| row.get(0).map(VersionId)).optional()?)
}

/// References to content of a hash that are known with an arrival.
pub(crate) fn content_of(conn: &Connection, arrival: Arrival, hash: ContentHash) -> Result<Vec<ContentRef>> {
    let _all = conn.unchecked_transaction()?;
    let mut found: BTreeSet<ContentRef> = BTreeSet::new();
    let number = arrival.0 as i64;
    let own = conn
        .prepare_cached("SELECT content, origin, flow FROM arrival WHERE id = ?1")?
        .query_row([number], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?, row.get::<_, u32>(2)?)))
        .optional()?;
    let Some((content, origin, flow)) = own else { return Ok(Vec::new()) };
    found.extend(Some(stored_content(&content)?).filter(|content| content.hash == hash));
    let mut blobs = |sql: &str, values: &[&dyn rusqlite::ToSql], items: fn(&[u8]) -> Result<Vec<Item>>| -> Result<()> {
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query(values)?;
        while let Some(row) = rows.next()? {
            let items = items(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)?;
            // What is remembered, and a revision, is of its arrival or its origin whatever its items say.
            found.extend(items.into_iter().map(|item| item.content).filter(|content| content.hash == hash));
        }
        Ok(())
    };
    let first = arrival.0.to_be_bytes().to_vec();
    let revisions = "SELECT r.item FROM shelf s JOIN revision r ON r.shelf = s.id WHERE r.origin = ?1 AND \
                     (s.flow, s.space) = (SELECT slug, space FROM flow WHERE id = ?2)";
    blobs(revisions, &[&origin, &flow], |bytes| Ok(decode_items(bytes)?))?;
    blobs("SELECT result FROM memo WHERE arrival = ?1", &[&number], |bytes| {
        Ok(decode_memo(bytes)?.1.into_iter().map(|(_, item)| item).collect())
    })?;
    blobs("SELECT item FROM letter WHERE id BETWEEN ?1 AND ?2", &[&first, &of(arrival.0)], |bytes| {
        Ok(decode_items(bytes)?)
    })?;
    let mut edits = conn.prepare_cached("SELECT after FROM edit WHERE letter BETWEEN ?1 AND ?2")?;
    let mut rows = edits.query(params![first, of(arrival.0)])?;
    while let Some(row) = rows.next()? {
        let content = stored_content(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)?;
        found.extend(Some(content).filter(|content| content.hash == hash));
    }
    waiting(conn, arrival.0, arrival.0, &mut |item| {
        if item.id.arrival == arrival && item.content.hash == hash {
            found.insert(item.content);
        }
    })?;
    Ok(found.into_iter().take(MOST_NAMED).collect())
}

fn shelf_of(conn: &Connection, space: SpaceId, of: [&str; 3]) -> Result<Option<i64>> {
    let sql = "SELECT id FROM shelf WHERE space = ?1 AND collection = ?2 AND flow = ?3 AND processor = ?4";
    let [collection, flow, processor] = of;
    let values = params![space.0, collection, flow, processor];
    Ok(conn.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()?)
}

/// A revision with its key.
pub(crate) struct Row {
    pub slot: SlotId,
    pub arrival: i64,
    pub pass: u32,
    pub kept: KeptRevision,
}

const REVISION: &str = "origin, slot, arrival, pass, coalesce(latest_arrival, arrival), coalesce(latest_pass, pass), \
                        coalesce(touched, at), gone IS NOT NULL, export";

fn row_of(row: &rusqlite::Row<'_>) -> Result<Row> {
    let hash = path_hash_of(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?;
    let latest = (Arrival(row.get::<_, i64>(4)? as u64), Pass(row.get(5)?));
    let pending = export_of(row.get(8)?)? == ExportState::Pending;
    Ok(Row {
        slot: SlotId { origin: Arrival(row.get::<_, i64>(0)? as u64), hash },
        arrival: row.get(2)?,
        pass: row.get(3)?,
        kept: KeptRevision { latest, at: row.get(6)?, gone: row.get(7)?, pending },
    })
}

/// All revisions of a dataset.
pub(crate) fn slot_rows(conn: &Connection, shelf: i64, slot: SlotId) -> Result<Vec<Row>> {
    let sql = format!("SELECT {REVISION} FROM revision WHERE shelf = ?1 AND origin = ?2 AND slot = ?3");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![shelf, slot.origin.0 as i64, slot.hash.0])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        out.push(row_of(row)?);
    }
    Ok(out)
}

/// Which of a dataset's revisions go.
pub(crate) fn outdated_rows(rows: Vec<Row>, rule: RevisionRule) -> Vec<Row> {
    let kept: Vec<KeptRevision> = rows.iter().map(|row| row.kept).collect();
    let go: HashSet<usize> = outdated(&kept, rule).into_iter().collect();
    rows.into_iter().enumerate().filter(|(at, _)| go.contains(at)).map(|(_, row)| row).collect()
}

/// Bytes of a revision's content.
pub(crate) fn size_of(conn: &Connection, shelf: i64, row: &Row) -> Result<u64> {
    let sql = "SELECT item FROM revision WHERE shelf = ?1 AND origin = ?2 AND slot = ?3 AND arrival = ?4 AND pass = ?5";
    let key = params![shelf, row.slot.origin.0 as i64, row.slot.hash.0, row.arrival, row.pass];
    let item: Vec<u8> = conn.prepare_cached(sql)?.query_row(key, |row| row.get(0))?;
    Ok(item_of(&item)?.content.size)
}

fn revisions(
    conn: &Connection,
    shelf: Option<i64>,
    rule: RevisionRule,
    part: &LetGoPart,
) -> Result<(Outdated, LetGone)> {
    let after = part.after.as_deref().map(|at| decide::slot_at(at).ok_or_else(|| decide::bad_cursor(OPERATION)));
    let after = after.transpose()?.unwrap_or(SlotId { origin: Arrival(0), hash: Default::default() });
    let mut gone = LetGone::default();
    let Some(shelf) = shelf else { return Ok((Outdated::Revisions(0, Vec::new()), gone)) };
    let limit = part.limit.max(1);
    let sql = format!(
        "SELECT {REVISION} FROM revision WHERE shelf = ?1 AND (origin, slot) > (?2, ?3) \
         ORDER BY origin, slot, arrival, pass LIMIT ?4"
    );
    let mut all: Vec<Row> = Vec::new();
    {
        let mut statement = conn.prepare_cached(&sql)?;
        let mut rows = statement.query(params![shelf, after.origin.0 as i64, after.hash.0, limit as i64])?;
        while let Some(row) = rows.next()? {
            all.push(row_of(row)?);
        }
    }
    if all.len() == limit
        && let Some(last) = all.last().map(|row| row.slot)
    {
        // The last one may go on.
        all.retain(|row| row.slot != last);
        all.extend(slot_rows(conn, shelf, last)?);
        gone.next = Some(decide::slot_cursor(last));
    }
    let mut slots = Vec::new();
    let mut rows = all.into_iter().peekable();
    while let Some(first) = rows.next() {
        let slot = first.slot;
        let mut of_slot = vec![first];
        while let Some(row) = rows.next_if(|row| row.slot == slot) {
            of_slot.push(row);
        }
        let go = outdated_rows(of_slot, rule);
        for row in &go {
            gone.count += 1;
            gone.bytes += size_of(conn, shelf, row)?;
        }
        if !go.is_empty() {
            slots.push(slot);
        }
    }
    Ok((Outdated::Revisions(shelf, slots), gone))
}

fn history(conn: &Connection, rules: &HashMap<u32, i64>, part: &LetGoPart) -> Result<(Outdated, LetGone)> {
    let begin = begins_at(part.after.as_deref(), OPERATION)?;
    let last: i64 = conn.prepare_cached("SELECT seq FROM counter")?.query_row([], |row| row.get(0))?;
    let (end, next) = ends_at(begin, part.limit, last as u64);
    let mut gone = LetGone { next, ..LetGone::default() };
    let sql = "SELECT h.seq, h.at, r.flow, n.text = 'source', h.least, h.most, length(h.steps) FROM history h \
               JOIN run r ON r.id = h.run JOIN name n ON n.id = h.actor \
               WHERE h.seq > ?1 AND h.seq <= ?2 AND r.finished IS NOT NULL ORDER BY h.seq";
    let mut statement = conn.prepare_cached(sql)?;
    let mut needed = conn.prepare_cached(
        "SELECT 1 FROM arrival a WHERE a.id BETWEEN ?1 AND ?2 AND a.gone IS NULL AND a.flow IN \
         (SELECT f.id FROM flow g JOIN flow f ON f.slug = g.slug AND f.space = g.space WHERE g.id = ?3) LIMIT 1",
    )?;
    let mut rows = statement.query(params![begin as i64, end as i64])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (seq, at, flow): (i64, i64, u32) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if rules.get(&flow).is_none_or(|before| at >= *before) {
            continue;
        }
        let (source, least, most): (bool, i64, i64) = (row.get(3)?, row.get(4)?, row.get(5)?);
        if source && needed.exists(params![least, most, flow])? {
            continue;
        }
        let bytes = row.get::<_, i64>(6)? as u64;
        gone.count += 1;
        gone.bytes += bytes;
        found.push((seq, flow, bytes));
    }
    Ok((Outdated::History(found), gone))
}
