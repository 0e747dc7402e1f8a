//! What happened: the steps of a run in order, and what went into or came out of a processor lately. All of it is in the
//! history; where the history does not say what an item is called, that is looked up.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use opendmp_model::history::{Child, Result as Outcome};
use opendmp_model::ids::{ItemId, SlotId, TaskId};
use opendmp_ports::journal::{Filter, FlowRow, Records, RunId, Seq};
use opendmp_ports::{Error, ErrorKind};

use crate::Engine;
use crate::explain::{Found, entries};

/// Records that are read at once.
const READ: usize = 20;

/// Pages of records that are looked at for one answer: what is asked for may be of a processor that works rarely.
const PAGES: usize = 50;

/// Children that are told of one step.
const CHILDREN: usize = 100;

/// Datasets and dead letters of a run that are looked through for those of its steps.
const NAMED: usize = 1_000;

/// An item of a step.
#[derive(Clone, Debug)]
pub struct StepItem {
    /// Its id.
    pub id: ItemId,
    /// Its name; empty where nobody knows it any more.
    pub name: Arc<str>,
    /// Bytes.
    pub size: u64,
    /// The port it came out of, where it is not the default one.
    pub port: Option<Arc<str>>,
}

/// One item in one step.
#[derive(Clone, Debug)]
pub struct RunStep {
    /// The processor; `retry` and `reprocess` for a person's.
    pub processor: String,
    /// Its kind.
    pub kind: String,
    /// What came of it.
    pub result: Outcome,
    /// When the step began, milliseconds since 1970.
    pub started: i64,
    /// When it was committed.
    pub committed: i64,
    /// How long it took, in microseconds.
    pub took: u64,
    /// A remark, or what went wrong.
    pub note: Option<Box<str>>,
    /// What went in.
    pub input: StepItem,
    /// What came out, the first of it.
    pub children: Vec<StepItem>,
    /// How many more came out.
    pub more: u64,
    /// The dataset and revision that it became.
    pub dataset: Option<(SlotId, u32)>,
    /// The dead letter that it became.
    pub letter: Option<TaskId>,
}

/// Some steps of a run.
#[derive(Clone, Debug, Default)]
pub struct StepsPage {
    /// In the order in which they were committed.
    pub steps: Vec<RunStep>,
    /// Where to go on.
    pub next: Option<String>,
}

/// An item that may be a sample.
#[derive(Clone, Debug)]
pub struct PastItem {
    /// Its id.
    pub id: ItemId,
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Its media type, as far as that is known.
    pub media_type: Option<Arc<str>>,
    /// When it was in that step.
    pub at: i64,
}

/// On which side of a processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// What went in.
    #[default]
    In,
    /// What came out.
    Out,
}

fn cursor(text: &str) -> Result<(u64, usize), Error> {
    let parts = text.split_once('.').and_then(|(seq, rows)| Some((seq.parse().ok()?, rows.parse().ok()?)));
    parts.ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "run items", format!("`{text}` is no cursor"))
            .with_hint("give what the answer before had as `next`")
    })
}

impl Engine {
    /// Steps of a run in the order in which they were committed, at most `limit`, behind the cursor `after`. A page may
    /// have fewer, even none, although more follow.
    ///
    /// # Errors
    /// `NotFound`, and `Invalid` where the cursor is none.
    pub async fn steps_of_run(&self, run: RunId, after: Option<&str>, limit: usize) -> Result<StepsPage, Error> {
        let (seq, mut skip) = after.map(cursor).transpose()?.unwrap_or((0, 0));
        let from = seq.checked_sub(1).map(Seq);
        let page = self.journal.records(Records::OfRun(run), from, READ).await?;
        let contexts = self.contexts_of(&page.rows).await?;
        let mut out = StepsPage { steps: Vec::new(), next: page.next.map(|seq| format!("{}.0", seq.0 + 1)) };
        let mut names: HashMap<ItemId, (Arc<str>, u64)> = HashMap::new();
        let mut known: BTreeMap<Seq, usize> = BTreeMap::new();
        for found in entries(&page.rows) {
            let told = known.entry(found.row.seq).or_default();
            *told += 1;
            if found.row.seq.0 == seq && skip > 0 {
                skip -= 1;
                learn(&mut names, &found, None);
                continue;
            }
            if out.steps.len() >= limit {
                out.next = Some(format!("{}.{}", found.row.seq.0, *told - 1));
                break;
            }
            let Some(context) = contexts.get(&found.context) else { continue };
            let input = found.entry.input;
            if !names.contains_key(&input) && found.entry.result != Outcome::Arrived {
                // What was let go of the history has no name any more.
                let (name, size) = match self.described(input).await {
                    Ok((name, size, _)) => (name.into(), size),
                    Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Damaged) => ("".into(), 0),
                    Err(error) => return Err(error),
                };
                names.insert(input, (name, size));
            }
            let arrival = match found.entry.result {
                Outcome::Arrived if !names.contains_key(&input) => {
                    Some(self.journal.arrival(input.arrival).await.map_or(0, |row| row.content.size))
                }
                _ => None,
            };
            learn(&mut names, &found, arrival);
            let item = |id: ItemId, port: Option<Arc<str>>| {
                let (name, size) = names.get(&id).cloned().unwrap_or_else(|| ("".into(), 0));
                StepItem { id, name, size, port }
            };
            let entry = found.entry;
            out.steps.push(RunStep {
                processor: context.processor.clone(),
                kind: context.kind.clone(),
                result: entry.result,
                started: if found.started > 0 { found.started } else { found.row.at },
                committed: found.row.at,
                took: entry.took,
                note: entry.note.clone(),
                input: item(input, None),
                children: entry.children.iter().take(CHILDREN).map(|one| item(one.id, one.port.clone())).collect(),
                more: entry.children.len().saturating_sub(CHILDREN) as u64,
                dataset: None,
                letter: None,
            });
        }
        self.name_ends(run, &mut out.steps).await?;
        Ok(out)
    }

    /// Says which dataset or dead letter a step's item became, as far as a look at the newest of the run tells.
    async fn name_ends(&self, run: RunId, steps: &mut [RunStep]) -> Result<(), Error> {
        let of_run = || Filter { run: Some(run), limit: NAMED, ended: true, ..Filter::default() };
        let is_collected = |result| matches!(result, Outcome::Collected | Outcome::Unchanged);
        if steps.iter().any(|step| is_collected(step.result)) {
            let rows = self.journal.datasets(of_run()).await?.rows;
            let by_item: HashMap<_, _> =
                rows.iter().map(|row| ((row.item.id, row.processor.as_str()), (row.slot, row.revision))).collect();
            for step in steps.iter_mut().filter(|step| is_collected(step.result)) {
                step.dataset = by_item.get(&(step.input.id, step.processor.as_str())).copied();
            }
        }
        if steps.iter().any(|step| step.result == Outcome::Dead) {
            let rows = self.journal.dead_letters(of_run()).await?.rows;
            let by_item: HashMap<_, _> = rows.iter().map(|row| ((row.item.id, &*row.at.processor), row.id)).collect();
            for step in steps.iter_mut().filter(|step| step.result == Outcome::Dead) {
                step.letter = by_item.get(&(step.input.id, step.processor.as_str())).copied();
            }
        }
        Ok(())
    }

    /// What went into a processor of a flow lately, or came out of it, newest first; without a processor what arrived.
    /// What the history does not know any more is left out.
    ///
    /// # Errors
    /// Where the journal can't be read.
    pub async fn past_items(
        &self,
        flow: &FlowRow,
        processor: Option<&str>,
        side: Side,
        limit: usize,
    ) -> Result<Vec<PastItem>, Error> {
        let mut out = Vec::new();
        let mut seen: HashSet<ItemId> = HashSet::new();
        let mut after = None;
        for _ in 0..PAGES {
            let page = self.journal.records(Records::OfFlow(flow.id), after, READ).await?;
            let contexts = self.contexts_of(&page.rows).await?;
            let meant = |found: &Found<'_>| {
                let arrived = found.entry.result == Outcome::Arrived;
                match processor {
                    None => arrived,
                    Some(wanted) => {
                        let of = contexts.get(&found.context).is_some_and(|context| context.processor == wanted);
                        of && (side == Side::Out || !arrived)
                    }
                }
            };
            for row in &page.rows {
                let found: Vec<Found<'_>> = entries(std::slice::from_ref(row)).filter(meant).collect();
                for found in found.into_iter().rev() {
                    let children = found.entry.children.iter().map(|child| child.id).take(CHILDREN);
                    let ids: Vec<ItemId> = match (processor, side) {
                        (Some(_), Side::In) => vec![found.entry.input],
                        (None, _) | (_, Side::Out) => children.collect(),
                    };
                    for id in ids.into_iter().filter(|id| seen.insert(*id)).collect::<Vec<_>>() {
                        if out.len() >= limit {
                            return Ok(out);
                        }
                        match self.described(id).await {
                            Ok((name, size, media_type)) => {
                                out.push(PastItem { id, name, size, media_type, at: found.row.at });
                            }
                            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Damaged) => {}
                            Err(error) => return Err(error),
                        }
                    }
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(out)
    }
}

/// Learns what the children of a step are called, as far as it says or is known of what went in; `arrived`: bytes of what
/// arrived.
fn learn(names: &mut HashMap<ItemId, (Arc<str>, u64)>, found: &Found<'_>, arrived: Option<u64>) {
    let input = names.get(&found.entry.input).cloned();
    for Child { id, name, content, .. } in &found.entry.children {
        let name = name.clone().or_else(|| input.as_ref().map(|(name, _)| Arc::clone(name)));
        let size = content.map(|(_, size)| size).or(arrived).or(input.as_ref().map(|(_, size)| *size));
        if let (Some(name), Some(size)) = (name, size) {
            names.insert(*id, (name, size));
        }
    }
}
