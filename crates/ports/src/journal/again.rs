//! What is done again, and what need not be: reprocesses, and results of steps that are remembered.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use opendmp_model::codec::{Damaged, Reader as Decode, Writer};
use opendmp_model::history::{Entry, Result as Outcome, StepRecord};
use opendmp_model::ids::{Arrival, ItemId, Pass, PathHash};
use opendmp_model::item::{Item, SharedAttributes};
use opendmp_model::manifest::{Child, decode_children, encode_children};
use serde::{Deserialize, Serialize};

use super::types::{ArrivalRow, FlowId, Lease, NewTask, RunId, VersionId};
use crate::transport::StepCounts;

/// Which historic arrivals are meant: of each path the newest only, so that an older one never comes after a newer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Only those that arrived at this time or later, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// Only those of which something is in this collection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
    /// Only those whose path arrived first as one of these: the origins of dataset slots. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<Arrival>,
}

impl Selection {
    /// Whether it is looked up by origin, and not gone through by arrival.
    pub fn is_by_origin(&self) -> bool {
        self.collection.is_some() || !self.origins.is_empty()
    }
}

/// A reprocess to be begun.
#[derive(Clone, Debug)]
pub struct NewReprocess {
    /// The flow.
    pub flow: FlowId,
    /// The version that the arrivals go through.
    pub version: VersionId,
    /// Which ones.
    pub selection: Selection,
    /// In words: what sets the run off.
    pub trigger: String,
    /// Number of the interned history context (processor `reprocess`).
    pub context: u32,
    /// Who.
    pub actor: String,
    /// Now.
    pub at: i64,
}

/// How far a reprocess is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReprocessState {
    /// Arrivals are still sent in.
    Feeding,
    /// All of them were.
    Fed,
    /// Somebody has stopped it; what was sent in is finished.
    Stopped,
}

/// A reprocess.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reprocess {
    /// Its run, which is open until all is sent in.
    pub run: RunId,
    /// The flow.
    pub flow: FlowId,
    /// The version that the arrivals go through.
    pub version: VersionId,
    /// The pass that they go in.
    pub pass: Pass,
    /// Which ones.
    pub selection: Selection,
    /// How far they were sent in: see [`HistoricPage::next`].
    pub cursor: Arrival,
    /// The last arrival before it was begun: none behind it is meant.
    pub upto: Arrival,
    /// How many were sent in.
    pub taken: u64,
    /// How many could not be, because their bytes or their record are no longer kept.
    pub gone: u64,
    /// How far it is.
    pub state: ReprocessState,
    /// Number of the interned history context.
    pub context: u32,
    /// Who began it.
    pub actor: String,
}

/// A part of a reprocess: what is sent in, and how far it is then. Written whole, or not at all.
#[derive(Clone, Debug)]
pub struct Feed {
    /// Who sends.
    pub lease: Lease,
    /// Which reprocess.
    pub run: RunId,
    /// Where it stands; if it stands elsewhere, somebody else has sent this part in.
    pub after: Arrival,
    /// Where it stands now; `None`: all is sent in.
    pub next: Option<Arrival>,
    /// The work.
    pub tasks: Vec<NewTask>,
    /// Arrivals sent in.
    pub taken: u64,
    /// Arrivals that can't be.
    pub gone: u64,
    /// What is told of it.
    pub history: Vec<StepRecord>,
    /// In numbers, by ingest.
    pub counts: BTreeMap<Arc<str>, StepCounts>,
    /// Now.
    pub at: i64,
}

/// What an ingest recorded of an arrival.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// The ingest.
    pub processor: Arc<str>,
    /// The item as it left it.
    pub id: ItemId,
    /// Its name.
    pub name: Arc<str>,
    /// Its attributes.
    pub attributes: SharedAttributes,
}

/// An arrival as far as it is known.
#[derive(Clone, Debug)]
pub struct Historic {
    /// What the ledger has.
    pub row: ArrivalRow,
    /// The first arrival of its path.
    pub origin: Arrival,
    /// Its media type; `None` also for what arrived before this was kept.
    pub media_type: Option<Arc<str>>,
    /// What the history has; `None`: it is no longer kept.
    pub recorded: Option<Recorded>,
}

impl Historic {
    /// The item as it left the ingest, in another pass.
    pub fn item(&self, pass: Pass) -> Option<Item> {
        let recorded = self.recorded.as_ref()?;
        Some(Item {
            id: ItemId { pass, ..recorded.id },
            name: Arc::clone(&recorded.name),
            content: self.row.content,
            media_type: self.media_type.clone(),
            attributes: recorded.attributes.clone(),
            origin: self.origin,
            label: 0,
            index: 0,
            arrived: self.row.at,
        })
    }
}

/// Some historic arrivals.
#[derive(Clone, Debug, Default)]
pub struct HistoricPage {
    /// They; perhaps none, although more follow.
    pub arrivals: Vec<Historic>,
    /// What to ask for those behind with; `None` at the end.
    pub next: Option<Arrival>,
}

/// What the records of these steps say of arrivals, by arrival, with the context of each.
pub fn recorded(steps: &[StepRecord], wanted: impl Fn(Arrival) -> bool) -> HashMap<Arrival, (u32, Entry)> {
    let mut out = HashMap::new();
    for step in steps {
        let arrived = step.entries.iter().filter(|entry| entry.result == Outcome::Arrived);
        for entry in arrived.filter(|entry| wanted(entry.input.arrival)) {
            out.insert(entry.input.arrival, (step.context, entry.clone()));
        }
    }
    out
}

impl Recorded {
    /// Of the entry of an arrival, made by `processor`.
    ///
    /// # Errors
    /// Where its attributes are no JSON object.
    pub fn of(entry: &Entry, processor: Arc<str>) -> Result<Self, Damaged> {
        let child = entry.children.first().ok_or(Damaged("an arrival without its item"))?;
        let attributes = match child.attributes.as_deref() {
            None => SharedAttributes::default(),
            Some(text) => SharedAttributes::from_json(text.as_bytes())?,
        };
        let name = child.name.clone().ok_or(Damaged("an arrival without its name"))?;
        Ok(Self { processor, id: child.id, name, attributes })
    }
}

/// What a remembered result is found by, within its arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemoKey(pub PathHash);

/// A result of a step that is to be remembered.
#[derive(Clone, Debug, PartialEq)]
pub struct NewMemo {
    /// The arrival.
    pub arrival: Arrival,
    /// What it is found by.
    pub key: MemoKey,
    /// Whether the step is of the sort that makes many of one.
    pub many: bool,
    /// The children in order, with their ports.
    pub children: Vec<Child>,
}

/// A remembered result. Nothing keeps its content alive: it is looked for before it is used.
#[derive(Clone, Debug, PartialEq)]
pub struct Memo {
    /// The run in which it was made.
    pub run: RunId,
    /// See [`NewMemo::many`].
    pub many: bool,
    /// See [`NewMemo::children`].
    pub children: Vec<Child>,
}

const MEMO_FORMAT: u8 = 1;

/// Encodes what is remembered.
pub fn encode_memo(many: bool, children: &[Child]) -> Vec<u8> {
    let mut w = Writer::default();
    w.byte(MEMO_FORMAT);
    w.byte(many.into());
    w.raw(&encode_children(children));
    w.out
}

/// The inverse of [`encode_memo`].
///
/// # Errors
/// For other bytes.
pub fn decode_memo(bytes: &[u8]) -> Result<(bool, Vec<Child>), Damaged> {
    let mut r = Decode::new(bytes);
    if r.byte()? != MEMO_FORMAT {
        return Err(Damaged("an unknown format of what is remembered"));
    }
    let many = r.byte()? != 0;
    Ok((many, decode_children(&bytes[bytes.len() - r.left()..])?))
}

/// How much is remembered at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoLimit {
    /// So many bytes of records; the content that they name does not count, because nothing keeps it for them.
    pub bytes: u64,
    /// Nothing that was remembered before this time.
    pub before: i64,
}
