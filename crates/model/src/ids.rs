//! Identifiers on the hot path: arrival-first, derived, never random.
//!
//! An id begins with the arrival number of the source item it comes from, so that every index keyed by it
//! is append-mostly (DESIGN.md section 8: random keys cost a factor of ten). What follows is the pass and a
//! hash of the path through the graph, so that two attempts at the same work derive the same ids.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The number a source item gets in the transaction that claims it: ever growing, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Arrival(pub u64);

/// Which time through: 0 for the first, a fresh number for each reprocess and each retry of a dead letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pass(pub u32);

/// Bytes of a [`PathHash`].
pub const PATH_HASH_LEN: usize = 12;

/// 96 bits of BLAKE3 over the path an item took through the graph: (processor, port, ordinal) from the ingest on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PathHash(pub [u8; PATH_HASH_LEN]);

/// Domain of every hash made here; a change of encoding changes the number.
const PATH_DOMAIN: &str = "opendmp 2026 item path v1";

fn hasher(domain: &str) -> blake3::Hasher {
    blake3::Hasher::new_derive_key(domain)
}

fn feed(hasher: &mut blake3::Hasher, part: &[u8]) {
    hasher.update(&(part.len() as u64).to_le_bytes());
    hasher.update(part);
}

fn cut(hasher: &blake3::Hasher) -> PathHash {
    let mut out = [0; PATH_HASH_LEN];
    out.copy_from_slice(&hasher.finalize().as_bytes()[..PATH_HASH_LEN]);
    PathHash(out)
}

impl PathHash {
    /// The path of an item as it leaves its ingest.
    pub fn root(processor: &str) -> Self {
        let mut h = hasher(PATH_DOMAIN);
        feed(&mut h, processor.as_bytes());
        cut(&h)
    }

    /// The path of the `ordinal`-th child that `processor` emits on `port` for the item at this path.
    #[must_use]
    pub fn child(self, processor: &str, port: &str, ordinal: u32) -> Self {
        let mut h = hasher(PATH_DOMAIN);
        feed(&mut h, &self.0);
        feed(&mut h, processor.as_bytes());
        feed(&mut h, port.as_bytes());
        feed(&mut h, &ordinal.to_le_bytes());
        cut(&h)
    }

    /// A hash of any sequence of parts in a domain of its own.
    pub fn of(domain: &str, parts: &[&[u8]]) -> Self {
        let mut h = hasher(domain);
        for part in parts {
            feed(&mut h, part);
        }
        cut(&h)
    }
}

impl fmt::Debug for PathHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32(&self.0))
    }
}

/// Bytes of an encoded [`ItemId`], [`TaskId`].
pub const ID_LEN: usize = 8 + 4 + PATH_HASH_LEN;

/// The name of one item: arrival ‖ pass ‖ path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemId {
    /// The source item it comes from.
    pub arrival: Arrival,
    /// Which time through.
    pub pass: Pass,
    /// The way it took through the graph.
    pub path: PathHash,
}

impl ItemId {
    /// The `ordinal`-th child that `processor` emits on `port` for this item.
    #[must_use]
    pub fn child(self, processor: &str, port: &str, ordinal: u32) -> Self {
        Self { path: self.path.child(processor, port, ordinal), ..self }
    }
}

/// The name of one task. Derived from its first item, the processor and input it is for, and the attempt that
/// made it, so that a settlement that is repeated names the same tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// Arrival of the bundle's first item.
    pub arrival: Arrival,
    /// Pass of the bundle.
    pub pass: Pass,
    /// Hash over (first item, processor, input, how often it was handed back).
    pub path: PathHash,
}

impl TaskId {
    /// The task of a bundle that begins with `first`, for input `input` of `processor`; `generation` counts how
    /// often the item was handed back to the queue by settlements (a retry, a split).
    pub fn new(first: ItemId, processor: &str, input: u32, generation: u32) -> Self {
        let path = PathHash::of(
            "opendmp 2026 task v1",
            &[&first.path.0, processor.as_bytes(), &input.to_le_bytes(), &generation.to_le_bytes()],
        );
        Self { arrival: first.arrival, pass: first.pass, path }
    }
}

macro_rules! bytes_of_id {
    ($name:ident) => {
        impl $name {
            /// Big-endian, so that byte order is (arrival, pass, path).
            pub fn to_bytes(self) -> [u8; ID_LEN] {
                let mut out = [0; ID_LEN];
                out[..8].copy_from_slice(&self.arrival.0.to_be_bytes());
                out[8..12].copy_from_slice(&self.pass.0.to_be_bytes());
                out[12..].copy_from_slice(&self.path.0);
                out
            }

            /// The inverse of [`Self::to_bytes`]; `None` for any other length.
            pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
                let bytes: &[u8; ID_LEN] = bytes.try_into().ok()?;
                let (arrival, rest) = bytes.split_first_chunk::<8>()?;
                let (pass, path) = rest.split_first_chunk::<4>()?;
                Some(Self {
                    arrival: Arrival(u64::from_be_bytes(*arrival)),
                    pass: Pass(u32::from_be_bytes(*pass)),
                    path: PathHash(path.try_into().ok()?),
                })
            }
        }

        impl fmt::Display for $name {
            /// `1204-7k2p…`, with `.PASS` behind the arrival where it is not the first.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.arrival.0)?;
                if self.pass.0 > 0 {
                    write!(f, ".{}", self.pass.0)?;
                }
                write!(f, "-{}", base32(&self.path.0))
            }
        }
    };
}
bytes_of_id!(ItemId);
bytes_of_id!(TaskId);

/// The name of a dataset slot: the first arrival of its origin (source and path), and a hash over collection, flow,
/// collect processor, item name and [label](crate::item::Item::label) that begins with the number in the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId {
    /// First arrival ever of the same source and path.
    pub origin: Arrival,
    /// Which of the results that come of it.
    pub hash: PathHash,
}

impl SlotId {
    /// Derives the slot; equal input, equal slot, whatever version of the flow runs.
    ///
    /// Where the item's name has digits, the first four bytes of its hash are, big-endian, the number that the last nine
    /// of these make, whatever is between them. So the many of one origin, which are named by counting or by
    /// a time, mostly come one after the other where they are kept, whatever stands before or behind: keyed by a hash
    /// alone, each of a million would change another page.
    pub fn new(origin: Arrival, collection: &str, flow: &str, processor: &str, name: &str, label: u64) -> Self {
        let mut slot = Self::hashed(origin, collection, flow, processor, name, label);
        if let Some(number) = digits(name) {
            slot.hash.0[..4].copy_from_slice(&number.to_be_bytes());
        }
        slot
    }

    /// The slot as it was named before numbers led: those that were kept then keep their names.
    pub fn hashed(origin: Arrival, collection: &str, flow: &str, processor: &str, name: &str, label: u64) -> Self {
        let parts: [&[u8]; 5] =
            [collection.as_bytes(), flow.as_bytes(), processor.as_bytes(), name.as_bytes(), &label.to_le_bytes()];
        Self { origin, hash: PathHash::of("opendmp 2026 dataset slot v1", &parts) }
    }
}

/// The number that the last nine digits of a name make.
fn digits(name: &str) -> Option<u32> {
    let all = name.bytes().filter(u8::is_ascii_digit).map(|digit| u32::from(digit - b'0'));
    all.fold(None, |number, digit| Some(number.unwrap_or(0) % 100_000_000 * 10 + digit))
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.origin.0, base32(&self.hash.0))
    }
}

/// What a person types to name something with an arrival-first id: `1204-7k2p`, cut anywhere behind the dash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdPrefix {
    /// The arrival number before the dash.
    pub arrival: Arrival,
    /// The pass, where one was written (`1204.3-7k2p`).
    pub pass: Option<Pass>,
    /// The beginning of the hash, lower case base 32.
    pub hash: String,
}

impl IdPrefix {
    /// The least and the greatest hash that may begin as was typed: a database looks no further.
    pub fn range(&self) -> (PathHash, PathHash) {
        let fill = |digit: u8| {
            let typed =
                self.hash.bytes().map(|letter| ALPHABET.iter().position(|known| *known == letter).unwrap_or(0) as u8);
            let mut out = PathHash::default();
            for (at, value) in typed.chain(std::iter::repeat(digit)).take(PATH_HASH_LEN * 8 / 5 + 1).enumerate() {
                for bit in (0..5).filter(|bit| value >> (4 - bit) & 1 == 1) {
                    let to = at * 5 + bit;
                    if let Some(byte) = out.0.get_mut(to / 8) {
                        *byte |= 0x80 >> (to % 8);
                    }
                }
            }
            out
        };
        (fill(0), fill(31))
    }

    /// Whether `hash` begins as was typed.
    pub fn matches(&self, hash: PathHash) -> bool {
        base32(&hash.0).starts_with(&self.hash)
    }
}

impl From<ItemId> for IdPrefix {
    /// The whole id of one item.
    fn from(id: ItemId) -> Self {
        Self { arrival: id.arrival, pass: Some(id.pass), hash: base32(&id.path.0) }
    }
}

/// Says that a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id looks like `1204-7k2p`: a number, a dash, and letters or digits")]
pub struct BadId;

impl FromStr for IdPrefix {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let (number, hash) = text.split_once('-').unwrap_or((text, ""));
        let (arrival, pass) = match number.split_once('.') {
            Some((arrival, pass)) => (arrival, Some(Pass(pass.parse().map_err(|_| BadId)?))),
            None => (number, None),
        };
        let hash = hash.to_ascii_lowercase();
        if !hash.bytes().all(|b| ALPHABET.contains(&b)) {
            return Err(BadId);
        }
        Ok(Self { arrival: Arrival(arrival.parse().map_err(|_| BadId)?), pass, hash })
    }
}

/// Digits and letters without `i`, `l`, `o`, `u` (Crockford's base 32), lower case.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Crockford base 32 of `bytes`, most significant bit first, without padding.
pub fn base32(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut buffer, mut bits) = (0u32, 0u32);
    for &byte in bytes {
        buffer = buffer << 8 | u32::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(char::from(ALPHABET[(buffer >> bits & 31) as usize]));
        }
    }
    if bits > 0 {
        out.push(char::from(ALPHABET[(buffer << (5 - bits) & 31) as usize]));
    }
    out
}

/// The BLAKE3 hash of some content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// Hashes bytes at hand.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Lower-case hexadecimal, 64 digits.
    pub fn to_hex(self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    /// The first `digits` hexadecimal digits, for people.
    pub fn short(self, digits: usize) -> String {
        let mut hex = self.to_hex();
        hex.truncate(digits);
        hex
    }

    /// The inverse of [`Self::to_hex`].
    pub fn from_hex(hex: &str) -> Option<Self> {
        blake3::Hash::from_hex(hex).ok().map(|h| Self(*h.as_bytes()))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b3:{}", self.short(12))
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl Serialize for ContentHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hex = String::deserialize(deserializer)?;
        Self::from_hex(&hex).ok_or_else(|| serde::de::Error::custom("a hash is 64 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_arrival_then_pass() {
        let id = |arrival, pass| ItemId { arrival: Arrival(arrival), pass: Pass(pass), path: PathHash::root("inbox") };
        let mut ids = [id(256, 0), id(2, 1), id(2, 0), id(u64::MAX, 0)];
        ids.sort_by_key(|id| id.to_bytes());
        assert_eq!(ids, [id(2, 0), id(2, 1), id(256, 0), id(u64::MAX, 0)]);
        for id in ids {
            assert_eq!(ItemId::from_bytes(&id.to_bytes()), Some(id));
        }
    }

    #[test]
    fn the_range_of_a_prefix_has_what_it_matches() {
        let hashes: Vec<PathHash> = (0u32..300).map(|n| PathHash::of("test", &[&n.to_le_bytes()])).collect();
        for hash in &hashes {
            for len in [0, 1, 2, 5, 19, 20] {
                let prefix = IdPrefix { arrival: Arrival(1), pass: None, hash: base32(&hash.0)[..len].to_owned() };
                let (least, most) = prefix.range();
                for other in &hashes {
                    assert_eq!(prefix.matches(*other), (least..=most).contains(other), "{prefix:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn slots_are_in_the_order_of_the_numbers_in_names() {
        for (name, number) in [
            ("measured-000123.csv", Some(123)),
            ("frame_000123_cam2.png", Some(1232)),
            ("2026-11-28T10-15-30.csv", Some(128_101_530)),
            ("20261128-000001", Some(128_000_001)),
            ("999999999999", Some(999_999_999)),
            ("größe", None),
            ("١٢٣", None),
            ("", None),
        ] {
            assert_eq!(digits(name), number, "{name}");
        }
        let slot = |n| SlotId::new(Arrival(7), "Shelf", "f", "shelf", &format!("part-{n:06}.csv"), 0);
        assert!((0..2000).map(slot).is_sorted());
    }

    #[test]
    fn derivation_is_frozen() {
        let root = PathHash::root("inbox");
        let id = ItemId { arrival: Arrival(1204), pass: Pass(0), path: root };
        let child = id.child("clean", "out", 3);
        let task = TaskId::new(child, "shelf", 0, 0);
        assert_eq!(
            format!("{id} {child} {task}"),
            "1204-nj54cknzkgj1asv8qrp0 1204-2wp4323q7276zzr3yew0 1204-4b08rnm4c2p8jv7yck70"
        );
        let slots = |name| {
            [SlotId::new, SlotId::hashed]
                .map(|of| of(Arrival(1204), "penguins", "penguins", "shelf", name, 0).to_string())
        };
        assert_eq!(slots("biscoe.csv"), ["1204-ec8sscvtvjze6eydmaqg"; 2]);
        assert_eq!(slots("biscoe-000123.csv"), ["1204-00000yr62zrcfseq0eeg", "1204-hjws8w062zrcfseq0eeg"]);
    }

    #[test]
    fn children_differ_in_each_part() {
        let root = PathHash::root("a");
        let all = [
            root.child("b", "out", 0),
            root.child("b", "out", 1),
            root.child("b", "o", 0),
            root.child("bo", "ut", 0),
            root,
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|other| one != other));
        }
    }

    #[test]
    fn people_type_a_prefix() {
        let slot = SlotId::new(Arrival(7), "c", "f", "p", "n", 0);
        let text = slot.to_string();
        for cut in 1..text.len() {
            let prefix: IdPrefix = text[..cut].parse().unwrap();
            assert!(prefix.arrival == Arrival(7) && prefix.matches(slot.hash));
        }
        assert_eq!(
            "1204.3-7K".parse(),
            Ok(IdPrefix { arrival: Arrival(1204), pass: Some(Pass(3)), hash: "7k".into() })
        );
        assert_eq!("notes.csv".parse::<IdPrefix>(), Err(BadId));
    }
}
