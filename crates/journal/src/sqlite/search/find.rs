//! A search. Shelves are left out whose names lack the words. Unless few names have these, the order that is asked for is
//! walked a little way: where much is meant, that fills a page. Then what few rows can be meant is asked of an index: those
//! with the trigrams of the words, of the run, of a time. They are read, or the zones of them that come first in the order, or
//! the order is walked past all others. Where that are too many, the walk goes on as far as a page may cost, and the page
//! says so.

mod among;
mod walk;

use among::Among;
pub(crate) use among::Grams;
use walk::Walk;

use std::collections::HashMap;

use opendmp_model::ids::{Arrival, PathHash, SlotId};
use opendmp_ports::journal::search::{Key, Place, Search};
use opendmp_ports::journal::{Behind, Found, SortBy};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{file, shelves as kept};
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
    /// Least and greatest number of a row of the shelves; filled in where the file is read.
    numbers: (i64, i64),
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
    page: Page,
    state: file::State,
}

/// A page of places in the order.
struct Page {
    /// With their shelves.
    places: Vec<(Place, usize)>,
    /// Behind which the next page begins, if there is one.
    next: Option<Place>,
    /// How many are meant in all, where it is known.
    total: Option<u64>,
    /// It ended before it was full, though there may be more.
    cut: bool,
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
        Ok(Some(Self {
            search,
            most,
            grams,
            words,
            shelves,
            by_id,
            after,
            origins,
            export,
            media: Vec::new(),
            whole,
            numbers: (0, i64::MAX),
        }))
    }

    /// Finds places in the file.
    pub(crate) fn pick(&mut self, conn: &Connection) -> Result<Option<Picked>> {
        let _view = conn.unchecked_transaction()?;
        let Some(state) = file::state(conn)? else { return Ok(None) };
        self.media(conn)?;
        self.leave_out(conn)?;
        Ok(Some(Picked { page: self.find(conn)?, state }))
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

    /// Leaves out shelves on which no name can have the words.
    fn leave_out(&mut self, conn: &Connection) -> Result<()> {
        if self.words.is_empty() {
            return Ok(());
        }
        let (mut shelves, mut numbers) = (Vec::with_capacity(self.shelves.len()), (i64::MAX, 0));
        for shelf in self.shelves.drain(..) {
            if let Some((least, most)) = kept::with_words(conn, shelf.id, &self.words)? {
                numbers = (least.min(numbers.0), most.max(numbers.1));
                shelves.push(shelf);
            }
        }
        self.by_id = shelves.iter().enumerate().map(|(at, shelf)| (shelf.id, at)).collect();
        (self.shelves, self.numbers) = (shelves, numbers);
        Ok(())
    }

    fn find(&self, conn: &Connection) -> Result<Page> {
        let rare = among::rare(self, conn)?;
        let first = self.most / FIRST;
        let mut walk = None;
        // Where few have the words, so little of the order has none of them.
        if rare.as_ref().is_none_or(|rare| rare.of(first) >= self.search.page() / 4) {
            let mut begun = Walk::new(self, conn)?;
            begun.go(first)?;
            if begun.is_over() {
                return Ok(self.walked(begun));
            }
            walk = Some(begun);
        }
        if self.whole || !self.words.is_empty() {
            match among::all(self, conn, rare)? {
                Among::All(all) => return Ok(self.whole_page(all)),
                Among::First(first) => {
                    let (places, next) = cut_page(first, self.search.page());
                    let total = (next.is_none() && self.after.is_none()).then_some(places.len() as u64);
                    return Ok(Page { places, next, total, cut: false });
                }
                Among::Only(only) => match Walk::past(self, conn, only)? {
                    Ok(walk) => return Ok(self.walked(walk)),
                    Err(only) => {
                        if let Some(all) = among::few(self, conn, &only.ids)? {
                            return Ok(self.whole_page(all));
                        }
                    }
                },
                Among::Many => {}
            }
        }
        let mut walk = walk.map_or_else(|| Walk::new(self, conn), Ok)?;
        walk.go(self.most)?;
        Ok(self.walked(walk))
    }

    /// The page that a walk came to.
    fn walked(&self, walk: Walk<'_>) -> Page {
        let (cut, ended) = (!walk.is_over(), walk.ended());
        let (found, last) = walk.take();
        let total = (ended && self.after.is_none()).then_some(found.len() as u64);
        let (places, next) = cut_page(found, self.search.page());
        Page { places, next: if cut { last } else { next }, total, cut }
    }

    /// The page of all that are meant.
    fn whole_page(&self, all: Vec<(Place, usize)>) -> Page {
        let total = Some(all.len() as u64);
        let (places, next) = cut_page(self.following(all), self.search.page());
        Page { places, next, total, cut: false }
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
        let mut rows = Vec::with_capacity(picked.page.places.len());
        let slots = picked.page.places.iter().map(|((_, slot), shelf)| (&self.shelves[*shelf], *slot));
        for row in newest_told(journal, slots)? {
            // What is not so any more is not shown.
            if self.search.means(&row) {
                rows.push(row);
            }
        }
        let plain = self.search.is_plain();
        let total = if plain { Some(self.shelves.iter().map(|shelf| shelf.datasets).sum()) } else { picked.page.total };
        Ok(Found {
            rows,
            next: picked.page.next.map(|place| self.search.cursor(&place)),
            total,
            cut: picked.page.cut,
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
