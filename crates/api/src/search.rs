//! Datasets as people look for them: what is asked, and what is answered.

use std::time::Duration;

use opendmp_ports::journal::{self, ExportState, Filter, RunId, Sort, SortBy};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::ask::Listing;
use crate::problem::Problem;
use crate::rows::{Dataset, time};

/// The longest that an answer waits for what was committed.
const MOST_WAIT: Duration = Duration::from_secs(60);

/// An order; with `-` the greatest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum Order {
    /// By name in lower case.
    #[serde(rename = "name")]
    Name,
    /// By name, the last first.
    #[serde(rename = "-name")]
    NameDown,
    /// The oldest first.
    #[serde(rename = "committed")]
    Committed,
    /// The newest first.
    #[serde(rename = "-committed")]
    CommittedDown,
    /// The smallest first.
    #[serde(rename = "size")]
    Size,
    /// The largest first.
    #[serde(rename = "-size")]
    SizeDown,
}

impl From<Order> for Sort {
    fn from(order: Order) -> Self {
        let (by, descending) = match order {
            Order::Name => (SortBy::Name, false),
            Order::NameDown => (SortBy::Name, true),
            Order::Committed => (SortBy::Committed, false),
            Order::CommittedDown => (SortBy::Committed, true),
            Order::Size => (SortBy::Size, false),
            Order::SizeDown => (SortBy::Size, true),
        };
        Self { by, descending }
    }
}

/// Which datasets are wanted, by the newest revision of each. With any of `q`, `processor`, `media`, `since`, `until`,
/// `min_size`, `max_size`, `export` or `sort` they come in the order of `sort`; else in the order of their origin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Datasets {
    /// Words that the name has all of, anywhere in it, whether in small or in capital letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// Of this flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
    /// In this collection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
    /// Of this collect processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processor: Option<String>,
    /// Of this media type, or (`image`) of any that begins so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media: Option<String>,
    /// Made in this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
    /// Committed at this time or later: RFC 3339, or a date (UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Committed before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// At least so many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_size: Option<u64>,
    /// At most so many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u64>,
    /// Whose export stands so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export: Option<ExportState>,
    /// In this order; `-committed` where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<Order>,
    /// Whose name contains this, or matches it where it has `*` or `?`. Only in the order of origin, in which all are
    /// looked through: `q` is the quick way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// At most this many; 0: 100. In an order by `sort` never more than 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// What follows this cursor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Wait for so many milliseconds at most until all is found that was committed before, 60,000 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

/// How long the command line waits for what was committed just before.
const PATIENCE_MS: u64 = 5_000;

impl From<Listing> for Datasets {
    fn from(listing: Listing) -> Self {
        let Listing { flow, run, collection, name, q, limit, after, .. } = listing;
        let limit = (limit != 0).then_some(limit);
        Self { q, flow, collection, run, name, limit, after, wait_ms: Some(PATIENCE_MS), ..Self::default() }
    }
}

impl From<Datasets> for Filter {
    fn from(asked: Datasets) -> Self {
        let Datasets { flow, collection, run, name, limit, after, .. } = asked;
        Self::from(Listing { flow, run, collection, name, limit: limit.unwrap_or(0), after, ..Listing::default() })
    }
}

impl Datasets {
    /// The search that is asked for; `None` where they are wanted in the order of origin.
    ///
    /// # Errors
    /// For a time that is none, and a pattern in a search.
    pub(crate) fn search(&self) -> Result<Option<journal::Search>, Problem> {
        let searched = self.q.is_some()
            || self.processor.is_some()
            || self.media.is_some()
            || self.since.is_some()
            || self.until.is_some()
            || self.min_size.is_some()
            || self.max_size.is_some()
            || self.export.is_some()
            || self.sort.is_some();
        if !searched {
            return Ok(None);
        }
        if self.name.is_some() {
            return Err(Problem::new(400, "bad-request", "`name` can't be combined with a search")
                .with_hint("give words as `q`, which the name has anywhere in it"));
        }
        let moment = |of: &str, text: &Option<String>| text.as_deref().map(|text| moment(of, text)).transpose();
        Ok(Some(journal::Search {
            text: self.q.clone().unwrap_or_default(),
            flow: self.flow.as_deref().map(opendmp_model::document::slug),
            collection: self.collection.clone(),
            processor: self.processor.clone(),
            media: self.media.clone(),
            run: self.run.map(RunId),
            since: moment("since", &self.since)?,
            until: moment("until", &self.until)?,
            least_size: self.min_size,
            most_size: self.max_size,
            export: self.export,
            sort: self.sort.map(Sort::from).unwrap_or_default(),
            limit: self.limit.unwrap_or(0),
            after: self.after.clone(),
            wait: Duration::from_millis(self.wait_ms.unwrap_or(0)).min(MOST_WAIT),
        }))
    }
}

/// A point in time as it is written, in milliseconds.
pub(crate) fn moment(of: &str, text: &str) -> Result<i64, Problem> {
    let time = text.parse::<jiff::Timestamp>();
    let date = || text.parse::<jiff::civil::Date>().and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC));
    time.or_else(|_| date().map(|zoned| zoned.timestamp())).map(jiff::Timestamp::as_millisecond).map_err(|_| {
        Problem::new(400, "bad-time", format!("{of} `{text}` is no time"))
            .with_hint("write it as 2026-11-22T14:02:11Z, or a date as 2026-11-22")
    })
}

/// Which bytes of a dataset, and what for.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WhichBytes {
    /// Number of the revision; the newest where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u32>,
    /// `1`: to be kept as a file, whatever it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download: Option<u8>,
}

/// A part of the datasets that are meant.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DatasetPage {
    /// The newest revision of each.
    pub rows: Vec<Dataset>,
    /// The cursor of the next ones; `null` at the end.
    pub next: Option<String>,
    /// How many there are on all pages, where that costs little to tell; `null` where it does not.
    #[serde(default)]
    pub total: Option<u64>,
    /// Whether the page ends because so many were looked through for it, and more may follow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// What was committed and is not found yet; left out where all is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<Behind>,
}

/// How far what is found is behind what was committed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Behind {
    /// By so many milliseconds; 0 while `building`.
    pub ms: i64,
    /// All that was committed before this time is found.
    pub since: String,
    /// All datasets are being looked through anew, and any may be missing.
    pub building: bool,
}

impl DatasetPage {
    pub(crate) fn listed(page: &journal::Page<journal::RevisionRow>) -> Self {
        let rows = page.rows.iter().map(Dataset::from).collect();
        Self { rows, next: page.next.clone(), total: None, cut: false, behind: None }
    }

    pub(crate) fn found(found: &journal::Found, now: i64) -> Self {
        let behind = found.behind.map(|behind| Behind {
            ms: if behind.building { 0 } else { now.saturating_sub(behind.since).max(0) },
            since: time(behind.since),
            building: behind.building,
        });
        let rows = found.rows.iter().map(Dataset::from).collect();
        Self { rows, next: found.next.clone(), total: found.total, cut: found.cut, behind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(moment("since", "2026-11-22T14:02:11.042Z").unwrap(), 1_795_356_131_042);
        assert_eq!(moment("since", "2026-11-22T16:02:11.042+02:00").unwrap(), 1_795_356_131_042);
        assert_eq!(moment("since", "1970-01-02").unwrap(), 86_400_000);
        for bad in ["", "yesterday", "12", "2026-13-01"] {
            let problem = moment("since", bad).unwrap_err();
            assert_eq!((problem.status, problem.code.as_str()), (400, "bad-time"), "{bad}");
        }
    }

    #[test]
    fn a_search_is_told_from_a_listing() {
        let listing = Datasets { collection: Some("C".into()), name: Some("*.csv".into()), ..Datasets::default() };
        assert!(listing.search().unwrap().is_none());
        let search = Datasets { sort: Some(Order::SizeDown), flow: Some("My Flow".into()), ..Datasets::default() };
        let found = search.search().unwrap().unwrap();
        assert_eq!((found.sort.by, found.sort.descending), (SortBy::Size, true));
        assert_eq!(found.flow.as_deref(), Some("my-flow"));
        let both = Datasets { name: Some("a".into()), q: Some("a".into()), ..Datasets::default() };
        assert_eq!(both.search().unwrap_err().status, 400);
    }
}
