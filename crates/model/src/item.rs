//! Items: one piece of data in motion, and where its bytes are.

use std::sync::Arc;

use serde_json::Value;

use crate::ids::{Arrival, ContentHash, ID_LEN, ItemId, Pass, PathHash};

/// Attributes of an item: names to JSON scalars (text, number, boolean, null).
pub type Attributes = serde_json::Map<String, Value>;

/// How many items move together at most.
pub const BUNDLE_ITEMS: usize = 1_000;

/// The arrivals of one bundle span fewer numbers than this, so that what concerns an arrival is found in a range of
/// the history index instead of by a search.
pub const BUNDLE_SPAN: u64 = 4_096;

/// Where the bytes of some content are kept. Part of the reference, so that no index from hash to place has to be
/// searched or held in memory, and so that a put of condemned content goes to a new place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Nowhere: content without bytes.
    Empty,
    /// A record in a pack file.
    Pack {
        /// Number of the pack.
        pack: u64,
        /// Byte offset of the record in it.
        offset: u64,
    },
    /// A file of its own, named by hash and generation.
    File {
        /// Told apart from an earlier, condemned file of the same hash.
        generation: u32,
    },
}

/// A reference to stored content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentRef {
    /// BLAKE3 of the bytes.
    pub hash: ContentHash,
    /// Their number.
    pub size: u64,
    /// Where they are kept.
    pub place: Place,
}

impl ContentRef {
    /// The reference of no bytes at all.
    pub fn empty() -> Self {
        Self { hash: ContentHash::of(b""), size: 0, place: Place::Empty }
    }
}

/// One piece of data in motion. Immutable; a processor makes children of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Arrival, pass and path through the graph.
    pub id: ItemId,
    /// Unicode name; see [`crate::name`].
    pub name: Arc<str>,
    /// Where its bytes are.
    pub content: ContentRef,
    /// Media type (`text/csv`), where known.
    pub media_type: Option<Arc<str>>,
    /// JSON scalars by name; children inherit them.
    pub attributes: Arc<Attributes>,
    /// First arrival ever of the same source and path: what a dataset slot is keyed by.
    pub origin: Arrival,
    /// Tells siblings apart whose names become equal further on: 0 until an outcome of many, then a fold over the
    /// names of the ancestors at each such outcome (see [`label`]).
    pub label: u64,
    /// Its place among the results of the latest outcome of many in its ancestry, from 0.
    pub index: u32,
    /// When it arrived, milliseconds since 1970 (UTC).
    pub arrived: i64,
}

impl Item {
    /// The folder of the source file relative to the ingest's own, with `/`, empty at the top: the attribute
    /// `folder`, which a file ingest sets.
    pub fn folder(&self) -> &str {
        self.attributes.get("folder").and_then(Value::as_str).unwrap_or("")
    }
}

/// What held items are ordered by: arrival, pass, place among siblings, path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order {
    /// The source item it comes from.
    pub arrival: Arrival,
    /// Which time through.
    pub pass: Pass,
    /// [`Item::index`].
    pub index: u32,
    /// The way it took through the graph.
    pub path: PathHash,
}

/// Bytes of an encoded [`Order`].
pub const ORDER_LEN: usize = ID_LEN + 4;

impl Order {
    /// Of an item.
    pub fn of(item: &Item) -> Self {
        let ItemId { arrival, pass, path } = item.id;
        Self { arrival, pass, index: item.index, path }
    }

    /// Big-endian, so that bytes are in the same order.
    pub fn to_bytes(self) -> [u8; ORDER_LEN] {
        let mut out = [0; ORDER_LEN];
        out[..8].copy_from_slice(&self.arrival.0.to_be_bytes());
        out[8..12].copy_from_slice(&self.pass.0.to_be_bytes());
        out[12..16].copy_from_slice(&self.index.to_be_bytes());
        out[16..].copy_from_slice(&self.path.0);
        out
    }
}

/// The label of a child of an outcome of many: `nth` counts its earlier siblings of the same name.
pub fn label(parent: u64, name: &str, nth: u32) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("opendmp 2026 sibling label v1");
    hasher.update(&parent.to_le_bytes());
    hasher.update(&nth.to_le_bytes());
    hasher.update(name.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// Whether a value may stand as an attribute.
pub fn is_scalar(value: &Value) -> bool {
    !matches!(value, Value::Array(_) | Value::Object(_))
}
