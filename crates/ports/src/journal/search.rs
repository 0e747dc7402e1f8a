//! What is asked for where people look for datasets: words, filters, an order. What it means is decided here, for every
//! journal; how it is found quickly is each journal's own.

use std::time::Duration;

use opendmp_model::ids::SlotId;

use super::decide;
use super::types::{ExportState, RevisionRow, RunId};
use crate::Result;

/// Rows of a page at most.
const MOST_ROWS: usize = 1_000;

const OPERATION: &str = "journal search";

/// By what datasets are put in order; equal ones are in order of their slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortBy {
    /// The name in lower case, as Unicode sorts it.
    Name,
    /// When the newest revision was committed.
    #[default]
    Committed,
    /// Bytes of the newest revision.
    Size,
}

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// By what.
    pub by: SortBy,
    /// The greatest first.
    pub descending: bool,
}

impl Default for Sort {
    /// What was committed last comes first.
    fn default() -> Self {
        Self { by: SortBy::Committed, descending: true }
    }
}

/// Which datasets are looked for, by the newest revision of each.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Words that the name has all of, anywhere in it, whether in small or in capital letters.
    pub text: String,
    /// Of this flow (slug).
    pub flow: Option<String>,
    /// In this collection.
    pub collection: Option<String>,
    /// Of this collect processor.
    pub processor: Option<String>,
    /// Of this media type, or (`image`) of any that begins so.
    pub media: Option<String>,
    /// Made in this run.
    pub run: Option<RunId>,
    /// Committed at this time or later.
    pub since: Option<i64>,
    /// Committed before this time.
    pub until: Option<i64>,
    /// At least so many bytes.
    pub least_size: Option<u64>,
    /// At most so many bytes.
    pub most_size: Option<u64>,
    /// Whose export stands so.
    pub export: Option<ExportState>,
    /// In this order.
    pub sort: Sort,
    /// At most this many; 0: a default of 100.
    pub limit: usize,
    /// What follows this cursor of an earlier answer.
    pub after: Option<String>,
    /// How long is waited for all that was answered before the call to be found.
    pub wait: Duration,
}

/// Datasets that were looked for.
#[derive(Clone, Debug)]
pub struct Found {
    /// The newest revision of each, in order.
    pub rows: Vec<RevisionRow>,
    /// Give this as [`Search::after`] for the next ones; `None` at the end.
    pub next: Option<String>,
    /// How many there are on all pages, where that costs little.
    pub total: Option<u64>,
    /// The page ends because so many were looked through for it; more may follow `next`.
    pub cut: bool,
    /// What was committed and is not found yet; `None`: all is.
    pub behind: Option<Behind>,
}

/// What was committed and is not found yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    /// All that was committed before this time is found.
    pub since: i64,
    /// Everything is being looked through anew: any dataset may be missing.
    pub building: bool,
}

/// Where a dataset stands in an order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// By time or size.
    Number(i64),
    /// By name, in lower case.
    Name(String),
}

/// A place in an order: cursors name one.
pub type Place = (Key, SlotId);

impl Search {
    /// The words, in lower case.
    pub fn words(&self) -> Vec<String> {
        self.text.to_lowercase().split_whitespace().map(str::to_owned).collect()
    }

    /// Rows of a page.
    pub fn page(&self) -> usize {
        match self.limit {
            0 => 100,
            limit => limit.min(MOST_ROWS),
        }
    }

    /// Whether only whole collections, flows or processors are asked for.
    pub fn is_plain(&self) -> bool {
        self.words().is_empty()
            && self.media.is_none()
            && self.run.is_none()
            && (self.since, self.until) == (None, None)
            && (self.least_size, self.most_size) == (None, None)
            && self.export.is_none()
    }

    /// The place that the cursor names.
    ///
    /// # Errors
    /// `Invalid` for what is no cursor of this order.
    pub fn place(&self) -> Result<Option<Place>> {
        let Some(after) = self.after.as_deref() else { return Ok(None) };
        let parse = || {
            let mut parts = after.splitn(3, '.');
            let (by, value, slot) = (parts.next()?, parts.next()?, parts.next()?);
            let key = match (by, self.sort.by) {
                ("n", SortBy::Name) => Key::Name(String::from_utf8(bytes_of(value)?).ok()?),
                ("c", SortBy::Committed) | ("s", SortBy::Size) => Key::Number(value.parse().ok()?),
                _ => return None,
            };
            Some((key, decide::slot_at(slot)?))
        };
        parse().map(Some).ok_or_else(|| decide::bad_cursor(OPERATION))
    }

    /// The cursor of a place.
    pub fn cursor(&self, (key, slot): &Place) -> String {
        let slot = decide::slot_cursor(*slot);
        match (key, self.sort.by) {
            (Key::Name(name), _) => {
                let hex: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
                format!("n.{hex}.{slot}")
            }
            (Key::Number(number), SortBy::Size) => format!("s.{number}.{slot}"),
            (Key::Number(number), _) => format!("c.{number}.{slot}"),
        }
    }

    /// Where a dataset stands.
    pub fn key(&self, row: &RevisionRow) -> Key {
        match self.sort.by {
            SortBy::Name => Key::Name(row.item.name.to_lowercase()),
            SortBy::Committed => Key::Number(row.at),
            SortBy::Size => Key::Number(number(row.item.content.size)),
        }
    }

    /// Whether a dataset is meant.
    pub fn means(&self, row: &RevisionRow) -> bool {
        let is = |wanted: &Option<String>, has: &str| wanted.as_ref().is_none_or(|wanted| wanted == has);
        let name = row.item.name.to_lowercase();
        self.words().iter().all(|word| name.contains(word.as_str()))
            && is(&self.flow, &row.flow)
            && is(&self.collection, &row.collection)
            && is(&self.processor, &row.processor)
            && self.means_media(row.item.media_type.as_deref())
            && self.run.is_none_or(|run| run == row.run)
            && self.means_time(row.at)
            && self.means_size(number(row.item.content.size))
            && self.export.is_none_or(|export| export == row.export)
    }

    /// Whether a media type is meant.
    pub fn means_media(&self, media: Option<&str>) -> bool {
        let Some(wanted) = self.media.as_deref() else { return true };
        media.is_some_and(|media| {
            media
                .strip_prefix(wanted.trim_end_matches('/'))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Whether a time of commit is meant.
    pub fn means_time(&self, at: i64) -> bool {
        self.since.is_none_or(|since| since <= at) && self.until.is_none_or(|until| at < until)
    }

    /// Whether a size is meant.
    pub fn means_size(&self, size: i64) -> bool {
        self.least_size.is_none_or(|least| number(least) <= size)
            && self.most_size.is_none_or(|most| size <= number(most))
    }
}

/// A size as it is stored and put in order.
pub fn number(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    if !hex.is_ascii() || !hex.len().is_multiple_of(2) {
        return None;
    }
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok()).collect()
}

/// The page of all datasets that is asked for, found by looking at each: what every journal answers, for one that is
/// never behind.
pub fn page_of(search: &Search, all: impl Iterator<Item = RevisionRow>) -> Result<Found> {
    let after = search.place()?;
    let mut meant: Vec<(Place, RevisionRow)> =
        all.filter(|row| search.means(row)).map(|row| ((search.key(&row), row.slot), row)).collect();
    meant.sort_by(|(one, _), (other, _)| one.cmp(other));
    if search.sort.descending {
        meant.reverse();
    }
    let total = Some(meant.len() as u64);
    let follows = |place: &Place| match &after {
        None => true,
        Some(after) if search.sort.descending => place < after,
        Some(after) => place > after,
    };
    let mut page: Vec<(Place, RevisionRow)> = meant.into_iter().filter(|(place, _)| follows(place)).collect();
    let more = page.len() > search.page();
    page.truncate(search.page());
    let next = page.last().filter(|_| more).map(|(place, _)| search.cursor(place));
    Ok(Found { rows: page.into_iter().map(|(_, row)| row).collect(), next, total, cut: false, behind: None })
}

#[cfg(test)]
mod tests {
    use opendmp_model::ids::{Arrival, PathHash};

    use super::*;
    use crate::ErrorKind;

    #[test]
    fn cursors_name_places_of_one_order() {
        let slot = SlotId { origin: Arrival(7), hash: PathHash([9; 12]) };
        let by = |by| Search { sort: Sort { by, descending: false }, ..Search::default() };
        for (search, key) in [
            (by(SortBy::Name), Key::Name("größe\n.txt".to_owned())),
            (by(SortBy::Name), Key::Name(String::new())),
            (by(SortBy::Size), Key::Number(0)),
            (by(SortBy::Committed), Key::Number(-1)),
        ] {
            let place = (key, slot);
            let after = Some(search.cursor(&place));
            assert_eq!(Search { after: after.clone(), ..search.clone() }.place().unwrap(), Some(place));
            for other in [SortBy::Name, SortBy::Committed, SortBy::Size].into_iter().filter(|by| *by != search.sort.by)
            {
                let error = Search { after: after.clone(), ..by(other) }.place().unwrap_err();
                assert_eq!(error.kind, ErrorKind::Invalid);
            }
        }
        for bad in ["", "n", "n.zz.7-00", "n.6.x", "n.ff.7-090909090909090909090909", "s..", "é.é.é"] {
            assert!(Search { after: Some(bad.to_owned()), ..by(SortBy::Name) }.place().is_err(), "{bad}");
        }
    }

    #[test]
    fn media_types_are_meant_whole_or_by_their_first_part() {
        let means = |wanted: &str, has| Search { media: Some(wanted.to_owned()), ..Search::default() }.means_media(has);
        assert!(
            means("text/csv", Some("text/csv")) && means("text", Some("text/csv")) && means("text/", Some("text/x"))
        );
        assert!(!means("text/c", Some("text/csv")) && !means("tex", Some("text/csv")) && !means("text", None));
    }
}
