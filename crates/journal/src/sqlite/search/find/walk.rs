//! The order that is asked for, walked from a place on. There is one index for each order, by shelf first, so that the
//! shelves that are meant are walked beside each other.

use std::collections::{BTreeMap, VecDeque};

use opendmp_model::ids::{Arrival, PathHash, SlotId};
use opendmp_ports::journal::SortBy;
use opendmp_ports::journal::search::{Key, Place, number};
use rusqlite::types::Value;
use rusqlite::{Connection, ToSql};

use super::among::{LEAST_STEPS, Only};
use super::{Asked, COLUMNS, Candidate, slot_of};
use crate::sqlite::fail::Result;

/// Rows of a shelf that are read at once, at most.
const CHUNK: usize = 512;

/// The same where most of them are passed over.
const PASSED: usize = 1_024;

/// A walk ends where it met so many times fewer than it should have.
const FEWER: usize = 8;

/// A shelf, as far as it was walked.
struct Front {
    id: i64,
    rows: VecDeque<Candidate>,
    /// The last one that was read; in the beginning where to begin, if anywhere.
    place: Option<Place>,
    chunk: usize,
    /// All were read.
    read: bool,
}

/// A walk past all rows but some.
struct Passing {
    only: Only,
    steps: usize,
    met: usize,
}

impl Passing {
    /// Whether it is to end without a page: after all steps that it may take, or where it meets far fewer than if they were
    /// spread evenly, so that this order has the rest of them far away.
    fn is_vain(&self) -> bool {
        let expected = self.steps / self.only.apart;
        self.steps >= self.only.most || (self.steps >= LEAST_STEPS && self.met * FEWER < expected)
    }
}

/// See the module.
pub(super) struct Walk<'a> {
    asked: &'a Asked<'a>,
    conn: &'a Connection,
    fronts: Vec<Front>,
    /// The next row of each shelf.
    next: BTreeMap<Place, (usize, Candidate)>,
    /// The last one that was looked at.
    last: Option<Place>,
    found: Vec<(Place, usize)>,
    looked_at: usize,
    passing: Option<Passing>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(asked: &'a Asked<'a>, conn: &'a Connection) -> Result<Self> {
        Self::begin(asked, conn, None)
    }

    /// Walks until a page is full or everything was walked, along the index alone, past all rows but some. Gives them back
    /// where that was in vain.
    pub(super) fn past(
        asked: &'a Asked<'a>,
        conn: &'a Connection,
        only: Only,
    ) -> Result<std::result::Result<Self, Only>> {
        let mut walk = Self::begin(asked, conn, Some(Passing { only, steps: 0, met: 0 }))?;
        walk.go(usize::MAX)?;
        Ok(match walk.passing.take() {
            Some(passing) if !walk.is_over() || passing.is_vain() => Err(passing.only),
            _ => Ok(walk),
        })
    }

    fn begin(asked: &'a Asked<'a>, conn: &'a Connection, passing: Option<Passing>) -> Result<Self> {
        let place = asked.after.clone().or_else(|| asked.begin());
        // Of one shelf a page; of many, less of each.
        let chunk = (2 * asked.search.page() / asked.shelves.len().max(1)).clamp(4, CHUNK);
        let front = |shelf: &crate::sqlite::read::Shelf| Front {
            id: shelf.id,
            rows: VecDeque::new(),
            place: place.clone(),
            chunk,
            read: false,
        };
        let fronts = asked.shelves.iter().map(front).collect();
        let (next, found) = (BTreeMap::new(), Vec::new());
        let mut walk = Self { asked, conn, fronts, next, last: None, found, looked_at: 0, passing };
        for shelf in 0..walk.fronts.len() {
            walk.advance(shelf)?;
        }
        Ok(walk)
    }

    /// Walks until a page is full, everything was walked, or so many rows were looked at in all.
    pub(super) fn go(&mut self, most: usize) -> Result<()> {
        while !self.is_over() && self.looked_at < most {
            let first = if self.asked.search.sort.descending { self.next.pop_last() } else { self.next.pop_first() };
            let Some((place, (shelf, row))) = first else { break };
            self.looked_at += 1;
            if self.means(&place, &row) {
                self.found.push((place.clone(), shelf));
            }
            self.last = Some(place);
            self.advance(shelf)?;
        }
        Ok(())
    }

    fn means(&self, place: &Place, row: &Candidate) -> bool {
        if self.asked.whole {
            return match &place.0 {
                // The name is in the key.
                Key::Name(name) => {
                    self.asked.words.iter().all(|word| name.contains(word.as_str())) && self.asked.means_but_words(row)
                }
                Key::Number(_) => self.asked.means(row),
            };
        }
        match &place.0 {
            Key::Name(name) => self.asked.words.iter().all(|word| name.contains(word.as_str())),
            // Bounds of the order itself are kept by where the walk begins and ends.
            Key::Number(_) => true,
        }
    }

    /// Whether a page is full, or there is nothing more.
    pub(super) fn is_over(&self) -> bool {
        self.found.len() > self.asked.search.page() || self.ended()
    }

    /// Whether there is nothing more.
    pub(super) fn ended(&self) -> bool {
        self.next.is_empty()
    }

    /// What was found, and the last place that was looked at.
    pub(super) fn take(self) -> (Vec<(Place, usize)>, Option<Place>) {
        (self.found, self.last)
    }

    /// Puts the next row of a shelf among those of the others.
    fn advance(&mut self, shelf: usize) -> Result<()> {
        while self.fronts[shelf].rows.is_empty() && !self.fronts[shelf].read {
            self.read(shelf)?;
            if self.passing.as_ref().is_some_and(Passing::is_vain) {
                // Nothing that comes now would be in order.
                self.next.clear();
                self.fronts.iter_mut().for_each(|front| (front.read = true, front.rows.clear()).1);
                return Ok(());
            }
        }
        let Some(mut row) = self.fronts[shelf].rows.pop_front() else { return Ok(()) };
        let place = (self.asked.key(&mut row), row.slot);
        if self.asked.is_beyond(&place.0) {
            self.fronts[shelf].rows.clear();
            self.fronts[shelf].read = true;
        } else {
            self.next.insert(place, (shelf, row));
        }
        Ok(())
    }

    /// Reads the next rows of a shelf.
    fn read(&mut self, shelf: usize) -> Result<()> {
        if let Some(passing) = &self.passing {
            self.fronts[shelf].chunk = PASSED.min(passing.only.most.saturating_sub(passing.steps) / 2 + 1);
        }
        let by = self.asked.search.sort.by;
        let (column, index) = index(by);
        // Where only the key is needed, the index alone is read.
        let columns = match (&self.passing, self.asked.whole) {
            (Some(_), _) => "id".to_owned(),
            (None, true) => COLUMNS.to_owned(),
            (None, false) => format!("origin, slot, {column}"),
        };
        let (order, follows) = if self.asked.search.sort.descending { ("DESC", "<") } else { ("ASC", ">") };
        let front = &mut self.fronts[shelf];
        let mut left = front.chunk;
        let mut last = None;
        // What follows a place, range by range: a comparison of all three at once would be made again for each row.
        let ranges: &[&str] = match &front.place {
            Some(_) => {
                &["AND {c} = ?3 AND origin = ?4 AND slot {f} ?5", "AND {c} = ?3 AND origin {f} ?4", "AND {c} {f} ?3"]
            }
            None => &[""],
        };
        let mut values: Vec<Value> = Vec::new();
        if let Some((key, slot)) = &front.place {
            values.push(match key {
                Key::Number(number) => (*number).into(),
                Key::Name(name) => name.clone().into(),
            });
            values.extend([Value::from(slot.origin.0 as i64), slot.hash.0.to_vec().into()]);
        }
        for (at, range) in ranges.iter().enumerate() {
            if left == 0 {
                break;
            }
            let range = range.replace("{c}", column).replace("{f}", follows);
            let sql = format!(
                "SELECT {columns} FROM row INDEXED BY {index} WHERE shelf = ?1 {range} \
                 ORDER BY {column} {order}, origin {order}, slot {order} LIMIT ?2"
            );
            let limit = left as i64;
            let mut bound: Vec<&dyn ToSql> = vec![&front.id, &limit];
            bound.extend(values[..values.len().saturating_sub(at)].iter().map(|value| value as &dyn ToSql));
            let mut statement = self.conn.prepare_cached(&sql)?;
            let mut rows = statement.query(&*bound)?;
            while let Some(row) = rows.next()? {
                left -= 1;
                if let Some(passing) = &mut self.passing {
                    let id: i64 = row.get(0)?;
                    let wanted = passing.only.has(id);
                    passing.met += usize::from(wanted);
                    if wanted || left == 0 {
                        let sql = format!("SELECT {COLUMNS} FROM row WHERE id = ?1");
                        let mut whole = self.conn.prepare_cached(&sql)?;
                        let found = whole.query_row([id], |row| Ok(self.asked.candidate(row)))??;
                        last = found.as_ref().map(|row| row.place(by)).or(last);
                        front.rows.extend(found.filter(|_| wanted));
                    }
                } else if self.asked.whole {
                    front.rows.extend(self.asked.candidate(row)?);
                } else {
                    let mut candidate = Candidate::bare(shelf, slot_of(row, 0)?);
                    match by {
                        SortBy::Name => candidate.name = row.get(2)?,
                        SortBy::Committed => candidate.at = row.get(2)?,
                        SortBy::Size => candidate.size = row.get(2)?,
                    }
                    front.rows.push_back(candidate);
                }
            }
        }
        if let Some(passing) = &mut self.passing {
            passing.steps += front.chunk - left;
        }
        front.read = left > 0;
        front.chunk = (2 * front.chunk).min(CHUNK);
        if let Some(last) = last.or_else(|| front.rows.back().map(|row| row.place(by))) {
            front.place = Some(last);
        }
        Ok(())
    }
}

/// The column and the index of an order.
fn index(by: SortBy) -> (&'static str, &'static str) {
    match by {
        SortBy::Name => ("name", "row_name"),
        SortBy::Committed => ("at", "row_at"),
        SortBy::Size => ("size", "row_size"),
    }
}

impl Candidate {
    fn place(&self, by: SortBy) -> Place {
        let key = match by {
            SortBy::Name => Key::Name(self.name.clone()),
            SortBy::Committed => Key::Number(self.at),
            SortBy::Size => Key::Number(self.size),
        };
        (key, self.slot)
    }

    /// One of which only the key is read.
    fn bare(shelf: usize, slot: SlotId) -> Self {
        Self { shelf, slot, at: 0, size: 0, run: 0, media: None, export: 0, name: String::new() }
    }
}

impl Asked<'_> {
    /// Where a walk begins without a cursor, where the order itself is bounded there: before all of this key.
    fn begin(&self) -> Option<Place> {
        let search = self.search;
        let key = match (search.sort.by, search.sort.descending) {
            (SortBy::Name, _) => return None,
            (SortBy::Committed, false) => search.since?,
            (SortBy::Committed, true) => search.until?,
            (SortBy::Size, false) => number(search.least_size?),
            (SortBy::Size, true) => number(search.most_size?).checked_add(1)?,
        };
        // Origins begin with 1, so that this is before all of them.
        Some((Key::Number(key), SlotId { origin: Arrival(0), hash: PathHash::default() }))
    }

    /// Whether a walk is past what is meant.
    fn is_beyond(&self, key: &Key) -> bool {
        match (key, self.search.sort.by) {
            (Key::Number(at), SortBy::Committed) => !self.search.means_time(*at),
            (Key::Number(size), SortBy::Size) => !self.search.means_size(*size),
            _ => false,
        }
    }
}
