//! How a result came to be: the way of one dataset revision back to its source, from the history (law L5).

use std::collections::{BTreeMap, BTreeSet};

use opendmp_model::history::{Context, Entry, Result as Outcome};
use opendmp_model::ids::{ContentHash, ItemId, SlotId};
use opendmp_model::name;
use opendmp_ports::journal::{HistoryRow, RevisionRow, Seq};
use opendmp_ports::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

use crate::Engine;

/// One step of a way, as people read it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WayStep {
    /// The processor; `retry` for a person's retry.
    pub processor: String,
    /// Its kind.
    pub kind: String,
    /// Hash of the flow version, hexadecimal.
    pub version: String,
    /// Hash of the processor's own configuration, code included.
    pub config: String,
    /// What it ran in.
    pub environment: Option<String>,
    /// Where.
    pub worker: String,
    /// Version of OpenDMP.
    pub opendmp: String,
    /// Who or what caused it.
    pub actor: String,
    /// When it began, milliseconds since 1970.
    pub started: i64,
    /// When it was committed.
    pub committed: i64,
    /// How long it took, in microseconds.
    pub took: u64,
    /// What came of it.
    pub result: Outcome,
    /// Id of the item that went in.
    pub input: String,
    /// Id of the item that came out, where one did.
    pub output: Option<String>,
    /// Name of what came out.
    pub name: String,
    /// Its port, where it is not the default.
    pub port: Option<String>,
    /// Hash of what came out.
    pub hash: ContentHash,
    /// Its size.
    pub size: u64,
    /// A remark: `exit 0`.
    pub note: Option<String>,
    /// How many lines it logged.
    pub log: Vec<opendmp_model::fault::LogLine>,
    /// Attempts at this step that failed before.
    pub failed: Vec<String>,
}

/// Where the bytes came from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Origin {
    /// Arrival number.
    pub arrival: u64,
    /// Kind and place of the source.
    pub source: String,
    /// Path in it, as an item name is written.
    pub path: String,
    /// Hash of the bytes that arrived.
    pub hash: ContentHash,
    /// Their number.
    pub size: u64,
    /// When they were let go, by retention.
    pub gone: Option<i64>,
    /// When they arrived.
    pub at: i64,
}

/// The whole way of a revision: from its source on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Way {
    /// Where it came from.
    pub origin: Origin,
    /// The steps in order, the ingest first and the collect last.
    pub steps: Vec<WayStep>,
    /// Results that were equal, and so added only history: when, and by which version. The last ones of many.
    pub confirmed: Vec<(i64, String)>,
}

impl Engine {
    /// The way of a revision, by slot and number (the newest for `None`).
    ///
    /// # Errors
    /// `NotFound`, and `Damaged` where a step of it is missing from the history.
    pub async fn explain(&self, slot: SlotId, revision: Option<u32>) -> Result<(RevisionRow, Way), Error> {
        let rows = self.journal.revisions(slot).await?;
        let found = match revision {
            Some(number) => rows.iter().find(|row| row.revision == number),
            None => rows.last(),
        };
        let row = found.cloned().ok_or_else(|| {
            let message = match revision {
                Some(number) => format!("dataset {slot} has no revision {number}"),
                None => format!("there is no dataset {slot}"),
            };
            Error::new(ErrorKind::NotFound, "explain", message)
        })?;
        let way = self.way(&row).await?;
        Ok((row, way))
    }

    async fn way(&self, row: &RevisionRow) -> Result<Way, Error> {
        let id = row.item.id;
        let arrival = self.journal.arrival(id.arrival).await?;
        let history = self.journal.lineage(row.seq, id).await?;
        let index = Index::new(&history);
        let contexts = self.contexts_of(&history).await?;
        // From the collected item back to the ingest.
        let mut chain: Vec<(Found<'_>, Option<ItemId>)> = Vec::new();
        let collected = index.ended.get(&id).into_iter().flatten();
        let collect = collected
            .filter(|found| contexts.get(&found.context).is_some_and(|c| c.processor == row.processor))
            .find(|found| matches!(found.entry.result, Outcome::Collected | Outcome::Unchanged));
        let missing = || no_step(id, arrival.forgot.is_some_and(|forgot| row.at < forgot));
        chain.push((*collect.ok_or_else(missing)?, None));
        let mut at = id;
        loop {
            let made = index.made.get(&at).ok_or_else(missing)?;
            chain.push((*made, Some(at)));
            if made.entry.result == Outcome::Arrived {
                break;
            }
            at = made.entry.input;
        }
        chain.reverse();
        let (mut name, mut hash, mut size) = (String::new(), arrival.content.hash, arrival.content.size);
        let mut steps = Vec::with_capacity(chain.len());
        for (found, child) in chain {
            let child = child.and_then(|id| found.entry.children.iter().find(|child| child.id == id));
            if let Some(new) = child.and_then(|child| child.name.as_deref()) {
                new.clone_into(&mut name);
            }
            if let Some(content) = child.and_then(|child| child.content) {
                (hash, size) = content;
            }
            let context = contexts.get(&found.context).cloned().ok_or_else(missing)?;
            let failures = index.failed.get(&found.entry.input).into_iter().flatten();
            let failed = failures
                .filter(|failure| contexts.get(&failure.context).is_some_and(|c| c.processor == context.processor))
                .filter_map(|failure| failure.entry.note.as_deref().map(str::to_owned))
                .collect();
            steps.push(WayStep {
                processor: context.processor,
                kind: context.kind,
                version: context.version,
                config: context.config,
                environment: context.environment,
                worker: context.worker,
                opendmp: context.opendmp,
                actor: found.row.actor.clone(),
                started: found.started,
                committed: found.row.at,
                took: found.entry.took,
                result: found.entry.result,
                input: found.entry.input.to_string(),
                output: child.map(|child| child.id.to_string()),
                name: name.clone(),
                port: child.and_then(|child| child.port.as_deref().map(str::to_owned)),
                hash,
                size,
                note: found.entry.note.as_deref().map(str::to_owned),
                log: found.entry.log.clone(),
                failed,
            });
        }
        let origin = Origin {
            arrival: arrival.arrival.0,
            source: arrival.source,
            path: name::from_bytes(&arrival.path),
            hash: arrival.content.hash,
            size: arrival.content.size,
            at: arrival.at,
            gone: arrival.gone,
        };
        // Those from before they were kept with the revision are in the history alone.
        let known: BTreeSet<Seq> = row.confirmed.iter().map(|one| one.seq).collect();
        let ended = index.ended.values().flatten();
        let earlier = ended
            .filter(|found| found.entry.result == Outcome::Unchanged && found.entry.input.path == id.path)
            .filter(|found| !known.contains(&found.row.seq))
            .filter_map(|found| Some((found.row.at, contexts.get(&found.context)?.version.clone())));
        let kept = row.confirmed.iter().map(|one| (one.at, one.version.clone()));
        let confirmed = earlier.chain(kept).collect();
        Ok(Way { origin, steps, confirmed })
    }
}

impl Engine {
    /// The contexts of some history, by number.
    pub(crate) async fn contexts_of(&self, history: &[HistoryRow]) -> Result<BTreeMap<u32, Context>, Error> {
        let numbers: BTreeSet<u32> = entries(history).map(|found| found.context).collect();
        let numbers: Vec<u32> = numbers.into_iter().collect();
        let contexts = self.journal.contexts(numbers.clone()).await?;
        Ok(numbers.into_iter().zip(contexts).collect())
    }
}

/// The history does not have a step that made an item; `forgot`: it may have been let go.
pub(crate) fn no_step(id: ItemId, forgot: bool) -> Error {
    if forgot {
        let message = format!("how {id} came to be is no longer kept: the flow's retention let its history go");
        return Error::new(ErrorKind::NotFound, "explain", message)
            .with_hint("`retention: { history: … }` of the flow says how long it is kept");
    }
    Error::new(ErrorKind::Damaged, "explain", format!("the history has no step that made {id}"))
        .with_hint("`opendmp doctor` checks the data directory")
}

/// One item in one step, with where it stands in the history.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    pub row: &'a HistoryRow,
    pub context: u32,
    pub started: i64,
    pub entry: &'a Entry,
}

/// All of some history, in commit order.
pub(crate) fn entries(history: &[HistoryRow]) -> impl Iterator<Item = Found<'_>> {
    history.iter().flat_map(|row| row.steps.iter().map(move |step| (row, step))).flat_map(|(row, step)| {
        step.entries.iter().map(move |entry| Found { row, context: step.context, started: step.started, entry })
    })
}

/// The history of one arrival, by item.
struct Index<'a> {
    /// What made an item.
    made: BTreeMap<ItemId, Found<'a>>,
    /// Where an item was collected.
    ended: BTreeMap<ItemId, Vec<Found<'a>>>,
    /// Where it failed and was tried again.
    failed: BTreeMap<ItemId, Vec<Found<'a>>>,
}

impl<'a> Index<'a> {
    fn new(history: &'a [HistoryRow]) -> Self {
        let mut index = Self { made: BTreeMap::new(), ended: BTreeMap::new(), failed: BTreeMap::new() };
        for found in entries(history) {
            let entry = found.entry;
            for child in &entry.children {
                index.made.entry(child.id).or_insert(found);
            }
            match entry.result {
                Outcome::Collected | Outcome::Unchanged => index.ended.entry(entry.input).or_default().push(found),
                Outcome::Retried | Outcome::Dead => index.failed.entry(entry.input).or_default().push(found),
                _ => {}
            }
        }
        index
    }
}
