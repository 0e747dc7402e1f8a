//! Items: one piece of data in motion, and where its bytes are.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use serde::de::IgnoredAny;
use serde_json::Value;

use crate::codec::Damaged;
use crate::ids::{Arrival, ContentHash, ID_LEN, ItemId, Pass, PathHash};

/// Attributes of an item: names to JSON scalars (text, number, boolean, null).
pub type Attributes = serde_json::Map<String, Value>;

/// Attributes that items share. Both ways of having them, as a map and as JSON, are made when they are first asked for:
/// most items go through a step that asks for neither.
#[derive(Clone, Default)]
pub struct SharedAttributes(Option<Arc<Both>>);

/// One of them is there from the beginning.
#[derive(Default)]
struct Both {
    map: OnceLock<Attributes>,
    json: OnceLock<Arc<str>>,
}

impl Both {
    fn json(&self) -> &Arc<str> {
        self.json.get_or_init(|| match self.map.get().map(serde_json::to_string) {
            Some(Ok(json)) => json.into(),
            // A map of JSON values always is JSON, and one of both is there.
            Some(Err(_)) | None => "{}".into(),
        })
    }
}

impl SharedAttributes {
    /// From the JSON of an object; no bytes are no attributes.
    ///
    /// # Errors
    /// `Damaged` where it is something else.
    pub fn from_json(json: &[u8]) -> Result<Self, Damaged> {
        if json.is_empty() || json == b"{}" {
            return Ok(Self::default());
        }
        let text = std::str::from_utf8(json).map_err(|_| Damaged("text is not UTF-8"))?;
        if !text.starts_with('{') || serde_json::from_str::<IgnoredAny>(text).is_err() {
            return Err(Damaged("attributes are not JSON"));
        }
        Ok(Self(Some(Arc::new(Both { map: OnceLock::new(), json: OnceLock::from(Arc::from(text)) }))))
    }

    /// As JSON; empty where there are none.
    pub fn json(&self) -> &str {
        self.0.as_ref().map_or("", |both| both.json())
    }

    /// As JSON that is shared; `None` where there are none.
    pub fn to_json(&self) -> Option<Arc<str>> {
        self.0.as_ref().map(|both| Arc::clone(both.json()))
    }

    /// Whether both are shared, and so equal. Equal ones need not be.
    pub fn is_shared_with(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

impl From<Attributes> for SharedAttributes {
    fn from(map: Attributes) -> Self {
        Self((!map.is_empty()).then(|| Arc::new(Both { map: OnceLock::from(map), json: OnceLock::new() })))
    }
}

impl Deref for SharedAttributes {
    type Target = Attributes;

    fn deref(&self) -> &Attributes {
        static NONE: OnceLock<Attributes> = OnceLock::new();
        let Some(both) = &self.0 else { return NONE.get_or_init(Attributes::new) };
        // Checked when it was read.
        both.map.get_or_init(|| both.json.get().and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default())
    }
}

impl PartialEq for SharedAttributes {
    fn eq(&self, other: &Self) -> bool {
        self.is_shared_with(other) || **self == **other
    }
}

impl fmt::Debug for SharedAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.json())
    }
}

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

/// BLAKE3 of no bytes.
const HASH_OF_NOTHING: ContentHash = ContentHash([
    0xaf, 0x13, 0x49, 0xb9, 0xf5, 0xf9, 0xa1, 0xa6, 0xa0, 0x40, 0x4d, 0xea, 0x36, 0xdc, 0xc9, 0x49, 0x9b, 0xcb, 0x25,
    0xc9, 0xad, 0xc1, 0x12, 0xb7, 0xcc, 0x9a, 0x93, 0xca, 0xe4, 0x1f, 0x32, 0x62,
]);

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
    pub const fn empty() -> Self {
        Self { hash: HASH_OF_NOTHING, size: 0, place: Place::Empty }
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
    pub attributes: SharedAttributes,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_have_the_hash_of_no_bytes() {
        assert_eq!(ContentRef::empty().hash, ContentHash::of(b""));
    }

    #[test]
    fn attributes_are_the_same_both_ways() {
        let Value::Object(map) = serde_json::json!({ "n": 1, "deep": 0.1, "text": "a\u{e9}\"", "none": null }) else {
            unreachable!()
        };
        let made = SharedAttributes::from(map.clone());
        let read = SharedAttributes::from_json(made.json().as_bytes()).unwrap();
        assert_eq!((&*read, read.json(), &read), (&map, made.json(), &made));
        assert!(!read.is_shared_with(&made) && read.is_shared_with(&read.clone()));
    }

    #[test]
    fn no_attributes_are_no_bytes() {
        let none = SharedAttributes::from_json(b"").unwrap();
        assert_eq!((none.json(), none.len()), ("", 0));
        assert!(none.is_shared_with(&Attributes::new().into()));
        assert_eq!(SharedAttributes::from_json(b"{}").unwrap(), none);
    }

    #[test]
    fn what_is_no_object_is_told_when_it_is_read() {
        for damaged in [&b"[1]"[..], b"{", b"{\"a\": }", b"{} x", b"\xff", b"null"] {
            assert!(SharedAttributes::from_json(damaged).is_err(), "{damaged:?}");
        }
    }
}
