//! What is around a dataset: what it was made of, step by step, and what else was made of the same source item. Bounded,
//! and it says where it is cut.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use opendmp_model::history::Result as Outcome;
use opendmp_model::ids::{Arrival, IdPrefix, ItemId, SlotId};
use opendmp_model::name;
use opendmp_ports::Error;
use opendmp_ports::journal::{Filter, RevisionRow};
use serde::{Deserialize, Serialize};

use crate::Engine;
use crate::explain::entries;

/// Entries and children that are looked up of what was made of the same arrival.
const MOST_TRACES: usize = 2_000;

/// Nodes of a graph at most.
const MOST_NODES: usize = 1_000;

/// Datasets of the same origin that are looked at.
const MOST_DATASETS: usize = 200;

/// What a node stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum NodeKind {
    /// A source item, as it arrived.
    Source,
    /// An item between steps.
    Item,
    /// A dataset revision.
    Dataset,
}

/// Something that was there on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Node {
    /// Names it in this graph. Of an item and of a dataset its id (of a dataset with `@` and the revision behind it).
    pub id: String,
    /// What it is.
    pub kind: NodeKind,
    /// Its name; of a source item its path.
    pub label: String,
    /// What made it: the ingest, the step, the collect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<String>,
    /// The run of a dataset revision, and of a source item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
    /// Of a dataset: its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Of a dataset: the revision's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u32>,
    /// Of a dataset: whether this revision is its newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<bool>,
    /// How an item ended that nothing was made of: `dead`, or `emitted` as nothing, which is dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Outcome>,
}

/// What became of what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Edge {
    /// A node.
    pub from: String,
    /// What was made of it.
    pub to: String,
    /// By which processor.
    pub processor: String,
}

/// What is around a dataset revision.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Graph {
    /// What was there; sources first, and what was made of something behind it.
    pub nodes: Vec<Node>,
    /// What became of what.
    pub edges: Vec<Edge>,
    /// Whether there is more than is told.
    pub cut: bool,
}

/// A graph in the making.
#[derive(Default)]
struct Made {
    nodes: Vec<Node>,
    known: HashMap<String, usize>,
    edges: BTreeSet<Edge>,
    cut: bool,
}

impl Made {
    /// Adds a node, or finds it. `None` where there is no room for it.
    fn node(&mut self, node: Node) -> Option<&mut Node> {
        let at = match self.known.get(&node.id) {
            Some(at) => *at,
            None if self.nodes.len() >= MOST_NODES => {
                self.cut = true;
                return None;
            }
            None => {
                self.known.insert(node.id.clone(), self.nodes.len());
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        self.nodes.get_mut(at)
    }

    fn edge(&mut self, from: &str, to: &str, processor: &str) {
        if self.known.contains_key(from) && self.known.contains_key(to) {
            self.edges.insert(Edge { from: from.to_owned(), to: to.to_owned(), processor: processor.to_owned() });
        }
    }
}

fn item(id: ItemId, label: &str, processor: Option<&str>) -> Node {
    Node {
        id: id.to_string(),
        kind: NodeKind::Item,
        label: label.to_owned(),
        processor: processor.map(str::to_owned),
        run: None,
        dataset: None,
        revision: None,
        present: None,
        ended: None,
    }
}

impl Engine {
    /// What is around a revision of a dataset.
    ///
    /// # Errors
    /// Those of the journal.
    pub async fn graph(&self, row: &RevisionRow) -> Result<Graph, Error> {
        let id = row.item.id;
        // First its own way, so that it is there whatever is cut.
        let mut history = self.journal.lineage(row.seq, id).await?;
        let around = self.journal.traces(every(id.arrival), MOST_TRACES).await?;
        let looked_up: usize = entries(&around).map(|found| 1 + found.entry.children.len()).sum();
        let mut made = Made { cut: looked_up >= MOST_TRACES, ..Made::default() };
        // What is in both adds nothing the second time.
        history.extend(around);
        let contexts = self.contexts_of(&history).await?;
        let mut labels: HashMap<ItemId, String> = HashMap::new();
        let mut collected: BTreeMap<ItemId, String> = BTreeMap::new();
        for found in entries(&history) {
            let Some(context) = contexts.get(&found.context) else { continue };
            let (entry, processor) = (found.entry, context.processor.as_str());
            let arrived = entry.result == Outcome::Arrived;
            for child in &entry.children {
                let inherited = || labels.get(&entry.input).cloned().unwrap_or_default();
                let label = child.name.as_deref().map_or_else(inherited, str::to_owned);
                let from = if arrived {
                    self.source(&mut made, child.id.arrival, processor).await?
                } else {
                    let from = item(entry.input, &inherited(), None);
                    made.node(from).map(|node| node.id.clone())
                };
                let to = made.node(item(child.id, &label, Some(processor))).map(|node| node.id.clone());
                labels.entry(child.id).or_insert(label);
                if let (Some(from), Some(to)) = (from, to) {
                    made.edge(&from, &to, processor);
                }
            }
            match entry.result {
                Outcome::Collected | Outcome::Unchanged => {
                    collected.insert(entry.input, processor.to_owned());
                }
                // Emitted as nothing: it was dropped on purpose.
                Outcome::Dead | Outcome::Emitted if entry.children.is_empty() => {
                    let label = labels.get(&entry.input).cloned().unwrap_or_default();
                    if let Some(node) = made.node(item(entry.input, &label, None)) {
                        node.ended = Some(entry.result);
                    }
                }
                _ => {}
            }
        }
        self.datasets_around(row, &collected, &mut made).await?;
        Ok(Graph { nodes: made.nodes, edges: made.edges.into_iter().collect(), cut: made.cut })
    }

    /// Adds a source item; answers its node.
    async fn source(&self, made: &mut Made, arrival: Arrival, processor: &str) -> Result<Option<String>, Error> {
        let id = format!("arrival-{}", arrival.0);
        if made.known.contains_key(&id) {
            return Ok(Some(id));
        }
        let row = self.journal.arrival(arrival).await?;
        let node = Node {
            id,
            kind: NodeKind::Source,
            label: name::from_bytes(&row.path),
            processor: Some(processor.to_owned()),
            run: Some(row.run.0),
            dataset: None,
            revision: None,
            present: None,
            ended: None,
        };
        Ok(made.node(node).map(|node| node.id.clone()))
    }

    /// Adds the dataset itself, and those of the same origin that items of the graph were collected as.
    async fn datasets_around(
        &self,
        row: &RevisionRow,
        collected: &BTreeMap<ItemId, String>,
        made: &mut Made,
    ) -> Result<(), Error> {
        let mut slots: Vec<SlotId> = vec![row.slot];
        let of_origin = Filter { id: Some(every(row.slot.origin)), limit: MOST_DATASETS, ..Filter::default() };
        let page = self.journal.datasets(of_origin).await?;
        made.cut |= page.next.is_some();
        slots.extend(page.rows.iter().map(|other| other.slot).filter(|slot| *slot != row.slot));
        for slot in slots {
            let revisions = self.journal.revisions(slot).await?;
            let newest = revisions.last().map(|newest| newest.revision);
            for revision in revisions {
                let own = slot == row.slot && revision.revision == row.revision;
                if !own && !collected.contains_key(&revision.item.id) {
                    continue;
                }
                let from = made.node(item(revision.item.id, &revision.item.name, None)).map(|node| node.id.clone());
                let node = Node {
                    id: format!("{slot}@{}", revision.revision),
                    kind: NodeKind::Dataset,
                    label: revision.item.name.to_string(),
                    processor: Some(revision.processor.clone()),
                    run: Some(revision.run.0),
                    dataset: Some(slot.to_string()),
                    revision: Some(revision.revision),
                    present: Some(newest == Some(revision.revision)),
                    ended: None,
                };
                let to = made.node(node).map(|node| node.id.clone());
                if let (Some(from), Some(to)) = (from, to) {
                    made.edge(&from, &to, &revision.processor);
                }
            }
        }
        Ok(())
    }
}

/// All ids that begin with an arrival.
fn every(arrival: Arrival) -> IdPrefix {
    IdPrefix { arrival, pass: None, hash: String::new() }
}
