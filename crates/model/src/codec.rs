//! The binary encoding of what is stored in great numbers: bundles of items and history.
//!
//! Little machinery, frozen by golden tests: unsigned LEB128 varints, zigzag for signed, length-prefixed bytes, and
//! columns (all names, then all sizes, …) instead of rows. Each stored value begins with a format version byte.
//! Readers check every length against what is left, so that damaged bytes give an error and never a large allocation.

use std::sync::Arc;

use crate::ids::{Arrival, ContentHash, ItemId, PATH_HASH_LEN, Pass, PathHash};
use crate::item::{ContentRef, Item, Place, SharedAttributes};

/// Says that stored bytes are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stored bytes are damaged or of a newer format: {0}")]
pub struct Damaged(pub &'static str);

/// Appends values to a buffer.
#[derive(Debug, Default)]
pub struct Writer {
    /// What was written.
    pub out: Vec<u8>,
}

impl Writer {
    /// One byte.
    pub fn byte(&mut self, value: u8) {
        self.out.push(value);
    }

    /// An unsigned number, 7 bits a byte.
    pub fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    /// A signed number, zigzag.
    pub fn signed(&mut self, value: i64) {
        self.number((value << 1 ^ value >> 63) as u64);
    }

    /// Bytes of a length known to the reader.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Bytes behind their length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.raw(bytes);
    }

    /// A place; a hash and a size beside it make a reference.
    pub fn place(&mut self, place: Place) {
        match place {
            Place::Empty => self.byte(0),
            Place::Pack { pack, offset } => {
                self.byte(1);
                self.number(pack);
                self.number(offset);
            }
            Place::File { generation } => {
                self.byte(2);
                self.number(u64::from(generation));
            }
        }
    }

    /// A content reference.
    pub fn content(&mut self, content: &ContentRef) {
        self.raw(&content.hash.0);
        self.number(content.size);
        self.place(content.place);
    }
}

/// Reads what [`Writer`] wrote.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not read yet.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// Errs unless everything was read.
    pub fn end(&self) -> Result<(), Damaged> {
        if self.rest.is_empty() { Ok(()) } else { Err(Damaged("bytes left over")) }
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, Damaged> {
        let (&first, rest) = self.rest.split_first().ok_or(Damaged("cut short"))?;
        self.rest = rest;
        Ok(first)
    }

    /// An unsigned number.
    pub fn number(&mut self) -> Result<u64, Damaged> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damaged("a number is too long"))
    }

    /// An unsigned number of 32 bits.
    pub fn number32(&mut self) -> Result<u32, Damaged> {
        u32::try_from(self.number()?).map_err(|_| Damaged("a number is too large"))
    }

    /// A signed number.
    pub fn signed(&mut self) -> Result<i64, Damaged> {
        let value = self.number()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// How many things follow, each of at least `least` bytes: no more than can still be there.
    pub fn count(&mut self, least: usize) -> Result<usize, Damaged> {
        let count = usize::try_from(self.number()?).map_err(|_| Damaged("a count is too large"))?;
        if count.saturating_mul(least.max(1)) > self.rest.len() && count > 0 && least > 0 {
            return Err(Damaged("a count is too large"));
        }
        Ok(count)
    }

    /// `N` bytes.
    pub fn raw<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (first, rest) = self.rest.split_first_chunk::<N>().ok_or(Damaged("cut short"))?;
        self.rest = rest;
        Ok(*first)
    }

    /// Bytes behind their length.
    pub fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let len = self.count(1)?;
        let (first, rest) = self.rest.split_at_checked(len).ok_or(Damaged("cut short"))?;
        self.rest = rest;
        Ok(first)
    }

    /// Text behind its length.
    pub fn text(&mut self) -> Result<&'a str, Damaged> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Damaged("text is not UTF-8"))
    }

    /// A place.
    pub fn place(&mut self) -> Result<Place, Damaged> {
        Ok(match self.byte()? {
            0 => Place::Empty,
            1 => Place::Pack { pack: self.number()?, offset: self.number()? },
            2 => Place::File { generation: self.number32()? },
            _ => return Err(Damaged("an unknown place")),
        })
    }

    /// A content reference.
    pub fn content(&mut self) -> Result<ContentRef, Damaged> {
        Ok(ContentRef { hash: ContentHash(self.raw()?), size: self.number()?, place: self.place()? })
    }
}

/// Format version of an encoded bundle.
const BUNDLE_FORMAT: u8 = 1;

/// Encodes items in columns. Numbers that grow from item to item are stored as differences, what is often equal
/// (media types, attributes) once, with a number per item.
pub fn encode_items(items: &[Item]) -> Vec<u8> {
    let mut w = Writer { out: Vec::with_capacity(32 + items.len() * 96) };
    w.byte(BUNDLE_FORMAT);
    w.number(items.len() as u64);
    let mut before = Arrival(0);
    for item in items {
        w.signed(item.id.arrival.0.wrapping_sub(before.0) as i64);
        before = item.id.arrival;
        w.number(u64::from(item.id.pass.0));
        w.raw(&item.id.path.0);
    }
    for item in items {
        w.signed(item.id.arrival.0.wrapping_sub(item.origin.0) as i64);
        w.number(item.label);
        w.number(u64::from(item.index));
    }
    let mut before = 0;
    for item in items {
        w.signed(item.arrived.wrapping_sub(before));
        before = item.arrived;
    }
    for item in items {
        w.content(&item.content);
    }
    for item in items {
        w.bytes(item.name.as_bytes());
    }
    dictionary(&mut w, items.iter().map(|item| item.media_type.as_deref().unwrap_or_default()));
    dictionary(&mut w, items.iter().map(|item| item.attributes.json()));
    w.out
}

/// Writes a column in which many values are equal to the one before: a run length and the value.
fn dictionary<'a>(w: &mut Writer, values: impl Iterator<Item = &'a str>) {
    let mut run: Option<(&str, u64)> = None;
    for value in values {
        match &mut run {
            Some((current, count)) if *current == value => *count += 1,
            _ => {
                if let Some((current, count)) = run.replace((value, 1)) {
                    w.number(count);
                    w.bytes(current.as_bytes());
                }
            }
        }
    }
    if let Some((current, count)) = run {
        w.number(count);
        w.bytes(current.as_bytes());
    }
}

fn runs<'a>(r: &mut Reader<'a>, items: usize) -> Result<Vec<(usize, &'a [u8])>, Damaged> {
    let (mut out, mut left) = (Vec::new(), items);
    while left > 0 {
        let count = usize::try_from(r.number()?).map_err(|_| Damaged("a run is too long"))?;
        if count == 0 || count > left {
            return Err(Damaged("a run is too long"));
        }
        left -= count;
        out.push((count, r.bytes()?));
    }
    Ok(out)
}

/// The inverse of [`encode_items`].
pub fn decode_items(bytes: &[u8]) -> Result<Vec<Item>, Damaged> {
    let mut r = Reader::new(bytes);
    if r.byte()? != BUNDLE_FORMAT {
        return Err(Damaged("an unknown bundle format"));
    }
    let count = r.count(PATH_HASH_LEN + 40)?;
    let mut ids = Vec::with_capacity(count);
    let mut before = 0u64;
    for _ in 0..count {
        before = before.wrapping_add(r.signed()? as u64);
        let pass = Pass(r.number32()?);
        ids.push(ItemId { arrival: Arrival(before), pass, path: PathHash(r.raw()?) });
    }
    let empty: Arc<str> = "".into();
    let mut items = Vec::with_capacity(count);
    for id in ids {
        let origin = Arrival(id.arrival.0.wrapping_sub(r.signed()? as u64));
        items.push(Item {
            id,
            name: Arc::clone(&empty),
            content: ContentRef::empty(),
            media_type: None,
            attributes: SharedAttributes::default(),
            origin,
            label: r.number()?,
            index: r.number32()?,
            arrived: 0,
        });
    }
    let mut before = 0i64;
    for item in &mut items {
        before = before.wrapping_add(r.signed()?);
        item.arrived = before;
    }
    for item in &mut items {
        item.content = r.content()?;
    }
    for item in &mut items {
        item.name = r.text()?.into();
    }
    let mut at = 0;
    for (count, value) in runs(&mut r, items.len())? {
        if !value.is_empty() {
            let text = std::str::from_utf8(value).map_err(|_| Damaged("text is not UTF-8"))?;
            let text: Arc<str> = text.into();
            for item in &mut items[at..at + count] {
                item.media_type = Some(Arc::clone(&text));
            }
        }
        at += count;
    }
    let mut at = 0;
    for (count, value) in runs(&mut r, items.len())? {
        if !value.is_empty() {
            let attributes = SharedAttributes::from_json(value)?;
            for item in &mut items[at..at + count] {
                item.attributes = attributes.clone();
            }
        }
        at += count;
    }
    r.end()?;
    Ok(items)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn sample(n: u64) -> Item {
        let id = ItemId { arrival: Arrival(1200 + n), pass: Pass((n % 2) as u32), path: PathHash::root("inbox") };
        let mut attributes = crate::item::Attributes::new();
        if n > 1 {
            attributes.insert("region".into(), serde_json::json!("north"));
        }
        Item {
            id,
            name: format!("survey-{n}.csv").into(),
            content: match n {
                0 => ContentRef::empty(),
                1 => {
                    ContentRef { hash: ContentHash::of(b"one"), size: 3, place: Place::Pack { pack: 7, offset: 4096 } }
                }
                _ => ContentRef { hash: ContentHash::of(b"big"), size: 1 << 33, place: Place::File { generation: 0 } },
            },
            media_type: (n > 0).then(|| "text/csv".into()),
            attributes: attributes.into(),
            origin: Arrival(1200),
            label: n * 1_000_003,
            index: n as u32,
            arrived: 1_700_000_000_000 + n as i64,
        }
    }

    #[test]
    fn bundles_round_trip() {
        for n in [0, 1, 4] {
            let items: Vec<Item> = (0..n).map(sample).collect();
            assert_eq!(decode_items(&encode_items(&items)), Ok(items));
        }
    }

    #[test]
    fn the_bundle_format_is_frozen() {
        let items: Vec<Item> = (0..4).map(sample).collect();
        let golden = include_str!("../tests/golden/bundle-v1.hex").trim();
        let hex: String = encode_items(&items).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, golden, "stored bundles could no longer be read: make a new format version instead");
    }

    proptest! {
        #[test]
        fn damaged_bundles_are_told(at in 0usize..400, value: u8, cut in 0usize..400) {
            let mut bytes = encode_items(&(0..4).map(sample).collect::<Vec<_>>());
            let len = bytes.len();
            bytes[at % len] ^= value;
            bytes.truncate(len - cut % len);
            let _ = decode_items(&bytes);
        }

        /// To the last bit, as a script wrote them (`float_roundtrip` of serde_json).
        #[test]
        fn float_attributes_come_back_as_they_were(bits: u64, whole in -1_000_000i32..1_000_000) {
            for float in [f64::from_bits(bits), f64::from(whole) / 7.0, f64::from(whole) * 1e-17] {
                let Some(number) = serde_json::Number::from_f64(float) else { continue };
                let written = number.to_string();
                let mut item = sample(1);
                let map = [("x".to_owned(), serde_json::from_str(&written).unwrap())];
                item.attributes = crate::item::Attributes::from_iter(map).into();
                let back = decode_items(&encode_items(&[item])).unwrap();
                let read = back[0].attributes["x"].as_f64().unwrap();
                prop_assert_eq!(read.to_bits(), float.to_bits(), "{}", written);
            }
        }

        #[test]
        fn numbers_round_trip(a: u64, b: i64) {
            let mut w = Writer::default();
            w.number(a);
            w.signed(b);
            let mut r = Reader::new(&w.out);
            prop_assert_eq!((r.number(), r.signed(), r.end()), (Ok(a), Ok(b), Ok(())));
        }
    }
}
