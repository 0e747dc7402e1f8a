//! What was done lately, for those who watch: the ends of items, read from the newest settlements.

use std::collections::HashMap;

use opendmp_model::history::{Context, Entry, Result as Outcome};
use opendmp_model::ids::{Arrival, ItemId};
use opendmp_model::name;
use opendmp_ports::Result;
use opendmp_ports::journal::{HistoryRow, Seq};
use serde::{Deserialize, Serialize};

use crate::Engine;

/// How an item ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum RecentEnd {
    /// A new revision of a dataset.
    Collected,
    /// Equal to what its dataset had.
    Unchanged,
    /// A dead letter.
    Dead,
    /// Nothing came of it, on purpose.
    Dropped,
}

/// A step of it, within the settlement that ended it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RecentStep {
    /// The processor.
    pub processor: String,
    /// How long it took, in microseconds.
    pub took_us: u64,
}

/// An item that came to an end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Recent {
    /// The flow.
    pub flow: String,
    /// Id of the item that went into the last step.
    pub item: String,
    /// Its name, or that of its arrival where the settlement does not say it.
    pub name: String,
    /// The arrival.
    pub arrival: u64,
    /// Its size in bytes, or that of its arrival.
    pub size: Option<u64>,
    /// When it ended, milliseconds since 1970.
    pub at: i64,
    /// How.
    pub result: RecentEnd,
    /// Where.
    pub processor: String,
    /// Its last steps, the first one first.
    pub steps: Vec<RecentStep>,
    /// Why, where it is a dead letter.
    pub note: Option<String>,
}

impl Engine {
    /// The last items that came to an end behind a commit sequence, at most `most`, newest first; and how far that is.
    /// Only the newest settlements are read: under load most of what ends is left out.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub async fn recent(&self, after: Seq, most: usize) -> Result<(Seq, Vec<Recent>)> {
        let rows = self.journal.latest(after, most).await?;
        let upto = rows.first().map_or(after, |row| row.seq);
        let mut ends: Vec<(usize, End<'_>)> = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            ends.extend(ends_of(row, most - ends.len()).into_iter().map(|end| (at, end)));
            if ends.len() >= most {
                break;
            }
        }
        let mut numbers: Vec<u32> =
            ends.iter().flat_map(|(_, end)| end.steps.iter().map(|(context, _)| *context)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let contexts: HashMap<u32, Context> =
            numbers.iter().copied().zip(self.journal.contexts(numbers.clone()).await?).collect();
        let mut arrivals: HashMap<Arrival, (String, u64)> = HashMap::new();
        let mut out = Vec::with_capacity(ends.len());
        for (at, end) in ends {
            let Some((last, _)) = end.steps.last() else { continue };
            let Some(context) = contexts.get(last) else { continue };
            let arrival = end.item.arrival;
            if (end.name.is_none() || end.size.is_none()) && !arrivals.contains_key(&arrival) {
                // Retention may have let it go.
                if let Ok(row) = self.journal.arrival(arrival).await {
                    let path = name::from_bytes(&row.path);
                    let name = path.rsplit('/').next().unwrap_or(&path).to_owned();
                    arrivals.insert(arrival, (name, row.content.size));
                }
            }
            let of_arrival = arrivals.get(&arrival);
            let steps = end.steps.iter().filter_map(|(context, took)| {
                let processor = contexts.get(context)?.processor.clone();
                Some(RecentStep { processor, took_us: *took })
            });
            out.push(Recent {
                flow: context.flow.clone(),
                item: end.item.to_string(),
                name: end.name.map(str::to_owned).or_else(|| Some(of_arrival?.0.clone())).unwrap_or_default(),
                arrival: arrival.0,
                size: end.size.or_else(|| Some(of_arrival?.1)),
                at: rows[at].at,
                result: end.result,
                processor: context.processor.clone(),
                steps: steps.collect(),
                note: end.note.map(str::to_owned),
            });
        }
        Ok((upto, out))
    }
}

/// An end, as one settlement tells it.
#[derive(Debug, PartialEq, Eq)]
struct End<'a> {
    item: ItemId,
    name: Option<&'a str>,
    size: Option<u64>,
    result: RecentEnd,
    /// Contexts and microseconds, the first step first.
    steps: Vec<(u32, u64)>,
    note: Option<&'a str>,
}

/// The ends in a settlement, its last entries first, each with its way as far as the same settlement has it.
fn ends_of(row: &HistoryRow, most: usize) -> Vec<End<'_>> {
    let ended =
        row.steps.iter().rev().flat_map(|step| step.entries.iter().rev().map(move |entry| (step.context, entry)));
    let ended: Vec<_> =
        ended.filter_map(|(context, entry)| Some((context, entry, end_of(entry)?))).take(most).collect();
    if ended.is_empty() {
        return Vec::new();
    }
    let mut made = HashMap::new();
    for step in &row.steps {
        for entry in &step.entries {
            made.extend(entry.children.iter().map(|child| (child.id, (step.context, entry, child))));
        }
    }
    let way = |context: u32, entry: &Entry| {
        let mut steps = vec![(context, entry.took)];
        let (mut name, mut size, mut at) = (None, None, entry.input);
        while let Some((context, maker, child)) = made.get(&at) {
            name = name.or(child.name.as_deref());
            size = size.or(child.content.map(|(_, size)| size));
            steps.push((*context, maker.took));
            // An arrival is made of itself.
            if maker.input == at || steps.len() > made.len() + 1 {
                break;
            }
            at = maker.input;
        }
        steps.reverse();
        (steps, name, size)
    };
    let ends = ended.into_iter().map(|(context, entry, result)| {
        let (steps, name, size) = way(context, entry);
        End { item: entry.input, name, size, result, steps, note: entry.note.as_deref() }
    });
    ends.collect()
}

fn end_of(entry: &Entry) -> Option<RecentEnd> {
    match entry.result {
        Outcome::Collected => Some(RecentEnd::Collected),
        Outcome::Unchanged => Some(RecentEnd::Unchanged),
        Outcome::Dead => Some(RecentEnd::Dead),
        Outcome::Emitted if entry.children.is_empty() => Some(RecentEnd::Dropped),
        _ => None,
    }
}
