//! A search. First the order that is asked for is walked a little way: where much is meant, that fills a page. Then what
//! few rows can be meant is asked of an index: those with the trigrams of the words, of the run, of a time. Where that are
//! too many, the walk goes on as far as a page may cost, and the page says so.

mod among;
mod walk;

pub(crate) use among::Grams;

use std::collections::HashMap;

use opendmp_model::ids::{Arrival, PathHash, SlotId};
use opendmp_ports::journal::search::{Key, Place, Search};
use opendmp_ports::journal::{Behind, Found, SortBy};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::file;
use crate::sqlite::blobs::export_number;
use crate::sqlite::fail::Result;
use crate::sqlite::read::{Shelf, newest_told, shelves};

/// Of the rows that may be looked at, this part is walked before an index is asked.
const FIRST: usize = 30;

/// What is asked for, with what the journal says to it.
pub(crate) struct Asked<'a> {
    search: &'a Search,
    /// Rows that are looked at for a page, about: by walking, and of what an index finds.
    most: usize,
    grams: &'a Grams,
    words: Vec<String>,
    shelves: Vec<Shelf>,
    /// Place in `shelves` by number.
    by_id: HashMap<i64, usize>,
    after: Option<Place>,
    /// Least and greatest origin of the run that is meant.
    origins: Option<(i64, i64)>,
    export: Option<i64>,
    /// Numbers of the media types that are meant; filled in where the file is read.
    media: Vec<i64>,
    /// What a row has besides its key must be looked at.
    whole: bool,
}

/// A row of the file, as far as it was read.
#[derive(Debug)]
pub(crate) struct Candidate {
    shelf: usize,
    slot: SlotId,
    at: i64,
    size: i64,
    run: i64,
    media: Option<i64>,
    export: i64,
    name: String,
}

/// Columns of a [`Candidate`].
const COLUMNS: &str = "shelf, origin, slot, at, size, run, media, export, name";

/// What the file says.
pub(crate) struct Picked {
    places: Vec<(Place, usize)>,
    next: Option<Place>,
    total: Option<u64>,
    cut: bool,
    state: file::State,
}

impl<'a> Asked<'a> {
    /// Looks up in the journal what is meant. `None`: nothing can be.
    pub(crate) fn of(journal: &Connection, search: &'a Search, most: usize, grams: &'a Grams) -> Result<Option<Self>> {
        let after = search.place()?;
        let mut shelves = shelves(journal, search.flow.as_deref(), search.collection.as_deref())?;
        shelves.retain(|shelf| search.processor.as_ref().is_none_or(|processor| *processor == shelf.processor));
        let mut origins = None;
        if let Some(run) = search.run {
            let sql = "SELECT revisions, least_origin, most_origin FROM run WHERE id = ?1";
            let found: Option<(i64, Option<i64>, Option<i64>)> =
                journal.prepare_cached(sql)?.query_row([run.0 as i64], |row| row.try_into()).optional()?;
            match found {
                None | Some((0, ..)) => return Ok(None),
                Some((_, least, most)) => origins = Some((least.unwrap_or(0), most.unwrap_or(i64::MAX))),
            }
        }
        let by_id = shelves.iter().enumerate().map(|(at, shelf)| (shelf.id, at)).collect();
        let words = search.words();
        let by = search.sort.by;
        let whole = (!words.is_empty() && by != SortBy::Name)
            || search.media.is_some()
            || search.run.is_some()
            || search.export.is_some()
            || ((search.since, search.until) != (None, None) && by != SortBy::Committed)
            || ((search.least_size, search.most_size) != (None, None) && by != SortBy::Size);
        let export = search.export.map(export_number);
        Ok(Some(Self { search, most, grams, words, shelves, by_id, after, origins, export, media: Vec::new(), whole }))
    }

    /// Finds places in the file.
    pub(crate) fn pick(&mut self, conn: &Connection) -> Result<Option<Picked>> {
        let _view = conn.unchecked_transaction()?;
        let Some(state) = file::state(conn)? else { return Ok(None) };
        self.media(conn)?;
        let (places, next, total, cut) = self.find(conn)?;
        Ok(Some(Picked { places, next, total, cut, state }))
    }

    fn media(&mut self, conn: &Connection) -> Result<()> {
        if self.search.media.is_some() {
            let mut statement = conn.prepare_cached("SELECT id, text FROM media")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if self.search.means_media(Some(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)) {
                    self.media.push(row.get(0)?);
                }
            }
        }
        Ok(())
    }

    #[expect(
        clippy::type_complexity,
        reason = "places, where the next page begins, how many there are, and whether it was cut"
    )]
    fn find(&self, conn: &Connection) -> Result<(Vec<(Place, usize)>, Option<Place>, Option<u64>, bool)> {
        let page = self.search.page();
        let mut walk = walk::Walk::new(self, conn)?;
        walk.go(self.most / FIRST)?;
        if !walk.is_over() && (self.whole || !self.words.is_empty()) {
            let all = match among::all(self, conn)? {
                among::Among::All(all) => Some(all),
                among::Among::Only(ids, steps) if walk.go_among(&ids, steps)? => None,
                among::Among::Only(ids, _) => {
                    walk = walk::Walk::new(self, conn)?;
                    among::few(self, conn, &ids)?
                }
                among::Among::Many => None,
            };
            if let Some(all) = all {
                let total = Some(all.len() as u64);
                let (places, next) = cut_page(self.following(all), page);
                return Ok((places, next, total, false));
            }
        }
        if !walk.is_over() {
            walk.go(self.most)?;
        }
        let cut = !walk.is_over();
        let ended = walk.ended();
        let (found, last) = walk.take();
        let total = (ended && self.after.is_none()).then_some(found.len() as u64);
        let (places, next) = cut_page(found, page);
        Ok((places, if cut { last } else { next }, total, cut))
    }

    /// Those that follow the cursor, in order.
    fn following(&self, mut all: Vec<(Place, usize)>) -> Vec<(Place, usize)> {
        all.sort_unstable();
        if self.search.sort.descending {
            all.reverse();
        }
        if let Some(after) = &self.after {
            let descending = self.search.sort.descending;
            all.retain(|(place, _)| if descending { place < after } else { place > after });
        }
        all
    }

    fn key(&self, row: &mut Candidate) -> Key {
        match self.search.sort.by {
            SortBy::Name => Key::Name(std::mem::take(&mut row.name)),
            SortBy::Committed => Key::Number(row.at),
            SortBy::Size => Key::Number(row.size),
        }
    }

    /// Whether a row is meant; it is of one of the shelves.
    fn means(&self, row: &Candidate) -> bool {
        self.words.iter().all(|word| row.name.contains(word.as_str())) && self.means_but_words(row)
    }

    fn means_but_words(&self, row: &Candidate) -> bool {
        let search = self.search;
        search.means_time(row.at)
            && search.means_size(row.size)
            && search.run.is_none_or(|run| run.0 as i64 == row.run)
            && self.export.is_none_or(|export| export == row.export)
            && (search.media.is_none() || row.media.is_some_and(|media| self.media.contains(&media)))
    }

    /// Reads a row; `None` where it is of another shelf.
    fn candidate(&self, row: &Row<'_>) -> Result<Option<Candidate>> {
        let Some(shelf) = self.by_id.get(&row.get(0)?).copied() else { return Ok(None) };
        Ok(Some(Candidate {
            shelf,
            slot: slot_of(row, 1)?,
            at: row.get(3)?,
            size: row.get(4)?,
            run: row.get(5)?,
            media: row.get(6)?,
            export: row.get(7)?,
            name: row.get(8)?,
        }))
    }

    /// What is shown of what was picked, as the journal has it.
    pub(crate) fn told(&self, journal: &Connection, picked: Picked) -> Result<Found> {
        let mut rows = Vec::with_capacity(picked.places.len());
        let slots = picked.places.iter().map(|((_, slot), shelf)| (&self.shelves[*shelf], *slot));
        for row in newest_told(journal, slots)? {
            // What is not so any more is not shown.
            if self.search.means(&row) {
                rows.push(row);
            }
        }
        let plain = self.search.is_plain();
        let total = if plain { Some(self.shelves.iter().map(|shelf| shelf.datasets).sum()) } else { picked.total };
        Ok(Found {
            rows,
            next: picked.next.map(|place| self.search.cursor(&place)),
            total,
            cut: picked.cut,
            behind: behind(journal, &picked.state)?,
        })
    }
}

fn slot_of(row: &Row<'_>, at: usize) -> Result<SlotId> {
    Ok(SlotId { origin: Arrival(row.get::<_, i64>(at)? as u64), hash: PathHash(row.get(at + 1)?) })
}

/// A page of those that were found, and the place behind which the next one begins.
fn cut_page(mut found: Vec<(Place, usize)>, page: usize) -> (Vec<(Place, usize)>, Option<Place>) {
    let more = found.len() > page;
    found.truncate(page);
    let next = found.last().filter(|_| more).map(|(place, _)| place.clone());
    (found, next)
}

/// What of the journal is not in the file.
fn behind(journal: &Connection, state: &file::State) -> Result<Option<Behind>> {
    let mut follower = journal.prepare_cached("SELECT stamp IS ?1 FROM follower")?;
    let followed: bool = follower.query_row([&state.stamp], |row| row.get(0))?;
    if state.building.is_some() || !followed {
        return Ok(Some(Behind { since: 0, building: true }));
    }
    let sql = "SELECT at FROM change WHERE id > ?1 ORDER BY id LIMIT 1";
    let since: Option<i64> =
        journal.prepare_cached(sql)?.query_row(params![state.change], |row| row.get(0)).optional()?;
    Ok(since.map(|since| Behind { since, building: false }))
}
