//! All rows that are meant, where an index finds few that can be.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use opendmp_ports::journal::search::{Place, number};
use opendmp_ports::journal::{Sort, SortBy};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Rows, ToSql, params};

use super::{Asked, COLUMNS};
use crate::sqlite::fail::Result;
use crate::sqlite::search::{shelves, zones};

/// A place in the order, and a shelf.
type Found = (Place, usize);

/// For each row that may be looked at, so many that an index finds may be read, each by itself: all of them are the page.
const AMONG: usize = 2;

/// Steps of a walk along an index that cost about as much as reading one row by its number.
const STEPS: usize = 6;

/// Numbers of rows that are taken from the trigrams at most.
const MOST_NUMBERS: usize = 20_000;

/// Steps that are worth trying in any case: names with the same trigram are often beside each other.
pub(super) const LEAST_STEPS: usize = 4_000;

/// Steps along an index that a page may cost.
const MOST_STEPS: usize = 60_000;

/// Where so few can be meant for each row of a page, they are read in any case: it is told then how many are meant in all.
const FEW: usize = 16;

/// Trigrams that are asked for at once, the rarest ones.
const GRAMS: usize = 6;

/// No more trigrams are asked for where those that are leave about so few names: to read these costs less.
const ENOUGH: f64 = 32.0;

/// Trigrams of which it is looked how rare they are.
const LOOKED_AT: usize = 16;

/// Names that have a trigram, from which on it is not worth asking for.
const COMMON: i64 = 50_000;

/// How many of the first and the last names with a trigram are looked at to tell how many there are.
const SAMPLE: i64 = 48;

/// Places between the first and the last names where it is looked, too, and how many names at each.
const PLACES: i64 = 64;
const EACH: i64 = 128;

/// The only rows that can be meant.
pub(super) struct Only {
    /// Their numbers, which ascend.
    pub ids: Vec<i64>,
    /// By the last bits of a number whether one of them ends so: rules most others out without a search.
    ends: Vec<u64>,
    /// Steps from one of them to the next, if they are spread evenly.
    pub apart: usize,
    /// Steps after which a page would have been filled.
    pub most: usize,
}

/// Bits that are kept of the ends of numbers: several times as many as there are numbers, and still in the nearest cache.
const ENDS: usize = 1 << 17;

impl Only {
    fn new(ids: Vec<i64>, apart: usize, most: usize) -> Self {
        let mut ends = vec![0; ENDS / 64];
        for end in ids.iter().map(|id| *id as usize % ENDS) {
            ends[end / 64] |= 1 << (end % 64);
        }
        Self { ids, ends, apart, most }
    }

    /// Whether a row is one of them.
    pub(super) fn has(&self, id: i64) -> bool {
        let end = id as usize % ENDS;
        self.ends[end / 64] & (1 << (end % 64)) != 0 && self.ids.binary_search(&id).is_ok()
    }
}

/// What an index finds.
pub(super) enum Among {
    /// All that are meant, in any order.
    All(Vec<Found>),
    /// The first ones that follow the cursor, in order: a page and one more, or all that follow.
    First(Vec<Found>),
    /// So many that a walk which passes over the others fills a page for less than it costs to read each of them.
    Only(Only),
    /// No index has few enough.
    Many,
}

/// See [`Among`].
pub(super) fn all(asked: &Asked<'_>, conn: &Connection, rare: Option<Rare>) -> Result<Among> {
    let search = asked.search;
    let most = asked.most * AMONG;
    if let Some(export) = asked.export.filter(|export| *export > 2) {
        let ids = "SELECT id FROM row INDEXED BY row_export WHERE export > 2 AND export = ?1 ORDER BY id LIMIT ?2";
        let ids = numbers(conn, ids, export.into(), most)?;
        if ids.len() <= most {
            return Ok(Among::All(read(asked, conn, &ids)?));
        }
    }
    if let Some(rare) = rare {
        let ids = matched(asked, conn, &rare.wanted)?;
        let all: u64 = asked.shelves.iter().map(|shelf| shelf.datasets).sum();
        let apart = usize::try_from(all).unwrap_or(usize::MAX) / ids.len().max(1) + 1;
        let steps = (search.page() + 1).saturating_mul(apart);
        if ids.len() > FEW * search.page() && ids.len() <= MOST_NUMBERS {
            let few = steps.div_ceil(STEPS).min(ids.len()) / 2;
            if let Some(first) = first(asked, conn, &ids, few)? {
                return Ok(Among::First(first));
            }
        }
        let is_soon = steps <= MOST_STEPS && steps < STEPS * ids.len() && asked.origins.is_none();
        if is_soon && ids.len() <= MOST_NUMBERS {
            let most = (3 * steps).clamp(LEAST_STEPS, MOST_STEPS);
            return Ok(Among::Only(Only::new(ids, apart, most)));
        }
        if ids.len() <= most {
            return Ok(Among::All(read(asked, conn, &ids)?));
        }
    }
    let size = |size: Option<u64>, none: i64| size.map_or(none, number);
    let ranges = [
        ("origin", "row_slot", asked.origins),
        (
            "at",
            "row_at",
            ((search.since, search.until) != (None, None) && search.sort.by != SortBy::Committed).then(|| {
                (search.since.unwrap_or(i64::MIN), search.until.map_or(i64::MAX, |until| until.saturating_sub(1)))
            }),
        ),
        (
            "size",
            "row_size",
            ((search.least_size, search.most_size) != (None, None) && search.sort.by != SortBy::Size)
                .then(|| (size(search.least_size, 0), size(search.most_size, i64::MAX))),
        ),
    ];
    for (column, index, range) in ranges {
        let Some(range) = range else { continue };
        if let Some(found) = within(asked, conn, (column, index), range)? {
            return Ok(Among::All(found));
        }
    }
    Ok(Among::Many)
}

/// The row numbers that a statement finds, ascending: up to one more than `most`.
fn numbers(conn: &Connection, ids: &str, value: Value, most: usize) -> Result<Vec<i64>> {
    let mut statement = conn.prepare_cached(ids)?;
    let ids = statement.query_map(params![value, most as i64 + 1], |row| row.get(0))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

/// The numbers of rows of the shelves with trigrams, ascending: up to one more than [`MOST_NUMBERS`].
fn matched(asked: &Asked<'_>, conn: &Connection, wanted: &str) -> Result<Vec<i64>> {
    let sql = "SELECT rowid FROM trigram WHERE trigram MATCH ?1 AND rowid BETWEEN ?2 AND ?3 ORDER BY rowid LIMIT ?4";
    let (least, most) = asked.numbers;
    let mut statement = conn.prepare_cached(sql)?;
    let ids = statement.query_map(params![wanted, least, most, MOST_NUMBERS as i64 + 1], |row| row.get(0))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

/// The first ones that follow the cursor of rows by their numbers, a page and one more. They are read zone by zone, until no
/// other zone can have any before them; `None` where these are too many rows.
fn first(asked: &Asked<'_>, conn: &Connection, ids: &[i64], most: usize) -> Result<Option<Vec<Found>>> {
    let Sort { by, descending } = asked.search.sort;
    let mut zones = zones::of(conn, by, ids)?;
    if let Some(after) = &asked.after {
        zones.retain(|zone| if descending { zone.least < *after } else { zone.most > *after });
    }
    if descending {
        zones.sort_unstable_by(|one, other| other.most.cmp(&one.most));
    } else {
        zones.sort_unstable_by(|one, other| one.least.cmp(&other.least));
    }
    let (mut found, mut left): (Vec<Found>, usize) = (Vec::new(), most);
    for zone in zones {
        let is_behind = |(last, _): &Found| if descending { zone.most < *last } else { zone.least > *last };
        if found.get(asked.search.page()).is_some_and(is_behind) {
            break;
        }
        let Some(rest) = left.checked_sub(zone.ids.len()) else { return Ok(None) };
        left = rest;
        found.append(&mut read(asked, conn, &ids[zone.ids])?);
        found = asked.following(found);
        found.truncate(asked.search.page() + 1);
    }
    Ok(Some(found))
}

/// Those that are meant of rows by their numbers, where these are few enough.
pub(super) fn few(asked: &Asked<'_>, conn: &Connection, ids: &[i64]) -> Result<Option<Vec<Found>>> {
    if ids.len() > asked.most * AMONG { Ok(None) } else { read(asked, conn, ids).map(Some) }
}

/// Those that are meant of rows by their numbers.
fn read(asked: &Asked<'_>, conn: &Connection, ids: &[i64]) -> Result<Vec<Found>> {
    let mut statement = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM row WHERE id = ?1"))?;
    let mut found = Vec::new();
    for id in ids {
        found.append(&mut taken(asked, &mut statement.query([id])?)?);
    }
    Ok(found)
}

/// The greatest number of a row, about as many as there are.
fn last(conn: &Connection) -> Result<i64> {
    let last: Option<i64> = conn.prepare_cached("SELECT max(id) FROM row")?.query_row([], |row| row.get(0))?;
    Ok(last.unwrap_or(0))
}

/// Those of some rows that are meant.
fn taken(asked: &Asked<'_>, rows: &mut Rows<'_>) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if let Some(mut row) = asked.candidate(row)?.filter(|row| asked.means(row)) {
            found.push(((asked.key(&mut row), row.slot), row.shelf));
        }
    }
    Ok(found)
}

/// Those that are meant of a range of an index, where it is short.
fn within(
    asked: &Asked<'_>,
    conn: &Connection,
    (column, index): (&str, &str),
    (least, most): (i64, i64),
) -> Result<Option<Vec<Found>>> {
    let of = format!("FROM row INDEXED BY {index} WHERE shelf = ?1 AND {column} BETWEEN ?2 AND ?3");
    let mut count = conn.prepare_cached(&format!("SELECT count(*) FROM (SELECT 1 {of} LIMIT ?4)"))?;
    let mut left = (asked.most * AMONG) as i64;
    for shelf in &asked.shelves {
        left -= count.query_row(params![shelf.id, least, most, left + 1], |row| row.get::<_, i64>(0))?;
        if left < 0 {
            return Ok(None);
        }
    }
    let mut statement = conn.prepare_cached(&format!("SELECT {COLUMNS} {of}"))?;
    let mut found = Vec::new();
    for shelf in &asked.shelves {
        let values: [&dyn ToSql; 3] = [&shelf.id, &least, &most];
        found.append(&mut taken(asked, &mut statement.query(values)?)?);
    }
    Ok(Some(found))
}

/// Trigrams that few names have.
pub(super) struct Rare {
    /// As they are asked for.
    wanted: String,
    /// How many names have the rarest, of so many.
    names: (i64, i64),
}

impl Rare {
    /// Of so many rows about how many have it, if they are spread evenly.
    pub(super) fn of(&self, rows: usize) -> usize {
        let (some, all) = self.names;
        (rows as f64 * some as f64 / all.max(1) as f64) as usize
    }
}

/// A trigram of a word, and how many names have it.
struct Gram {
    names: i64,
    text: String,
    word: usize,
    /// Where in the word it begins.
    at: usize,
}

impl Gram {
    /// Whether they share a part of a word: a name with the one may well have the other.
    fn is_beside(&self, other: &Self) -> bool {
        self.text == other.text || (self.word == other.word && self.at.abs_diff(other.at) < 3)
    }
}

/// What is asked of the trigrams of the words. `None` where there are none that few names have.
pub(super) fn rare(asked: &Asked<'_>, conn: &Connection) -> Result<Option<Rare>> {
    let words = asked.words.iter().enumerate();
    let all = words.flat_map(|(word, text)| grams(text).enumerate().map(move |(at, text)| (word, at, text)));
    let all: Vec<(usize, usize, String)> = all.collect();
    if all.is_empty() {
        return Ok(None);
    }
    let last = last(conn)?;
    let mut sized = Vec::new();
    // Of a long word some, spread over it.
    let step = all.len().div_ceil(LOOKED_AT);
    for (word, at, text) in all.into_iter().step_by(step) {
        let names = asked.grams.about(&text, last, || about(conn, &text, last))?;
        if names <= COMMON {
            sized.push(Gram { names, text, word, at });
        }
    }
    sized.sort_by_key(|gram| gram.names);
    let Some(rarest) = sized.first() else { return Ok(None) };
    let names = (rarest.names, last);
    // First those that have nothing to do with each other, until they leave few names; then the others.
    let (mut chosen, mut left): (Vec<&Gram>, f64) = (Vec::new(), last as f64);
    for beside in [false, true] {
        for gram in &sized {
            let is_wanted = chosen.len() < GRAMS
                && (left > ENOUGH || chosen.is_empty())
                && !chosen.iter().any(|one| one.text == gram.text);
            if is_wanted && chosen.iter().any(|one| one.is_beside(gram)) == beside {
                left *= if beside { 1.0 } else { gram.names as f64 / last.max(1) as f64 };
                chosen.push(gram);
            }
        }
    }
    let wanted: Vec<String> = chosen.iter().map(|gram| quoted(&gram.text)).collect();
    Ok(Some(Rare { wanted: wanted.join(" AND "), names }))
}

/// The trigrams of a word, as far as they can be asked for.
fn grams(word: &str) -> impl Iterator<Item = String> {
    // A query ends at a zero, and names lose theirs.
    shelves::grams(word).filter(|gram| !gram.contains(&'\0')).map(|gram| gram.iter().collect())
}

fn quoted(gram: &str) -> String {
    format!("\"{}\"", gram.replace('"', "\"\""))
}

/// Trigrams of which it is remembered how rare they are.
const REMEMBERED: usize = 4_096;

/// How rare trigrams were found to be, so that it is not looked for with each search.
#[derive(Debug, Default)]
pub(crate) struct Grams(Mutex<HashMap<String, (i64, i64)>>);

impl Grams {
    /// About how many names of so many have a trigram. What was found among about as many is still so.
    fn about(&self, gram: &str, last: i64, look: impl FnOnce() -> Result<i64>) -> Result<i64> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((names, then)) = lock().get(gram).copied()
            && last >= then
            && last - then <= then / 8
        {
            return Ok(names);
        }
        let names = look()?;
        let mut known = lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(gram.to_owned(), (names, last));
        Ok(names)
    }

    /// Forgets all, which were of another file.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// About how many names have a trigram, by how near to each other the first of them are, and the last.
fn about(conn: &Connection, gram: &str, last: i64) -> Result<i64> {
    let mut most = 0;
    for order in ["ASC", "DESC"] {
        let sql = format!("SELECT rowid FROM trigram WHERE trigram MATCH ?1 ORDER BY rowid {order} LIMIT 1 OFFSET ?2");
        let mut statement = conn.prepare_cached(&sql)?;
        let at: Option<i64> = statement.query_row(params![quoted(gram), SAMPLE], |row| row.get(0)).optional()?;
        // Fewer than that.
        let Some(at) = at else { return Ok(SAMPLE) };
        let span = if order == "ASC" { at } else { last - at + 1 };
        most = most.max(last.saturating_mul(SAMPLE) / span.max(1));
    }
    // Names that are counted up have some trigrams much more often at their ends.
    if most > COMMON { Ok(most.min(between(conn, gram, last)?)) } else { Ok(most) }
}

/// About how many names have a trigram, by how many have it here and there between the first and the last.
fn between(conn: &Connection, gram: &str, last: i64) -> Result<i64> {
    let sql = "SELECT count(*) FROM trigram WHERE trigram MATCH ?1 AND rowid BETWEEN ?2 AND ?3";
    let mut statement = conn.prepare_cached(sql)?;
    let (apart, mut names) = ((last / PLACES).max(EACH), 0);
    let mut looked_at = 0;
    for place in (1..=last).step_by(apart as usize) {
        names += statement.query_row(params![quoted(gram), place, place + EACH - 1], |row| row.get::<_, i64>(0))?;
        looked_at += EACH;
    }
    Ok(names.saturating_mul(last) / looked_at.max(1))
}
