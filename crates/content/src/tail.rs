//! The records that were put last, in memory: all that are not durable yet, and the latest of the others.
//!
//! A put only appends here and gets its place; [`crate::sync`] writes. So what is not durable can be written again at
//! the same place when a write or a sync fails, reading what was just put needs no disk, and nothing is written twice
//! in the ordinary case. Memory stays bounded because [`crate::directory`] syncs before too much is pending.

use std::collections::BTreeMap;

use bytes::Bytes;
use opendmp_model::ids::ContentHash;
use opendmp_model::item::Place;

use crate::record::{self, PACK_HEADER, RECORD_HEADER};

/// A pack and a byte offset in it, in the order of writing.
pub type Position = (u64, u64);

/// Bytes that are kept and written in one piece.
pub const SEGMENT: usize = 1 << 20;

/// How many pieces are kept at most after they are durable, however small they are.
const RECENT_SEGMENTS: usize = 4_096;

/// See the module.
#[derive(Debug)]
pub struct Tail {
    /// Length from which a pack is full.
    pack_bytes: u64,
    /// Bytes kept after they are durable.
    recent_bytes: usize,
    /// The pack that records go to, and whether it takes no more.
    pack: u64,
    closed: bool,
    /// Its length, written or not.
    end: u64,
    /// Its last bytes, from `end - filling.len()` on, which may still grow.
    filling: Vec<u8>,
    /// Pieces that no longer change, of this and earlier packs, without gaps.
    segments: BTreeMap<Position, Bytes>,
    /// Everything before is durable.
    durable: Position,
    /// Bytes of the segments before `durable`.
    recent: usize,
    /// Bytes from `durable` on, `filling` included.
    pending: usize,
    /// Bytes ever appended.
    appended: u64,
}

impl Tail {
    /// Begins a new pack at the first put; `last` is the highest number ever used.
    pub fn new(last: u64, pack_bytes: u64, recent_bytes: usize) -> Self {
        Self {
            pack_bytes,
            recent_bytes,
            pack: last,
            closed: true,
            end: 0,
            filling: Vec::new(),
            segments: BTreeMap::new(),
            durable: (last + 1, 0),
            recent: 0,
            pending: 0,
            appended: 0,
        }
    }

    /// Bytes that are not durable.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Everything before this is durable.
    pub fn durable(&self) -> Position {
        self.durable
    }

    /// Where the next record goes, or behind.
    pub fn position(&self) -> Position {
        if self.closed { (self.pack + 1, 0) } else { (self.pack, self.end) }
    }

    /// Bytes that were appended, durable or not.
    pub fn appended(&self) -> u64 {
        self.appended
    }

    /// Appends a record. Returns its place.
    pub fn append(&mut self, hash: ContentHash, content: &[u8]) -> Place {
        self.make_room(RECORD_HEADER + content.len());
        let before = self.filling.len();
        let place = Place::Pack { pack: self.pack, offset: self.end };
        record::append(&mut self.filling, hash, content);
        let added = self.filling.len() - before;
        self.grow(added);
        if self.filling.len() >= SEGMENT {
            self.freeze();
        }
        place
    }

    /// Appends records that are already encoded. Returns the place where the first begins.
    pub fn append_encoded(&mut self, records: Vec<u8>) -> Position {
        self.make_room(records.len());
        self.freeze();
        let at = (self.pack, self.end);
        self.grow(records.len());
        self.segments.insert(at, records.into());
        at
    }

    /// Begins a new pack unless `more` bytes still go into this one.
    fn make_room(&mut self, more: usize) {
        if !self.closed && self.end + more as u64 <= self.pack_bytes {
            return;
        }
        self.freeze();
        self.pack += 1;
        self.closed = false;
        self.filling.extend_from_slice(&record::pack_header(self.pack));
        self.end = 0;
        self.grow(PACK_HEADER);
    }

    fn grow(&mut self, by: usize) {
        self.end += by as u64;
        self.appended += by as u64;
        self.pending += by;
    }

    /// Lets no more records go into `pack`.
    pub fn close(&mut self, pack: u64) {
        self.closed |= self.pack == pack;
    }

    fn freeze(&mut self) {
        if self.filling.is_empty() {
            return;
        }
        let at = (self.pack, self.end - self.filling.len() as u64);
        let mut filled = std::mem::take(&mut self.filling);
        filled.shrink_to_fit();
        self.segments.insert(at, filled.into());
    }

    /// Everything that is not durable, in the order of writing.
    pub fn unsynced(&mut self) -> Vec<(Position, Bytes)> {
        self.freeze();
        self.segments.range(self.durable..).map(|(at, bytes)| (*at, bytes.clone())).collect()
    }

    /// Notes that everything before `to`, the end of a piece, is durable.
    pub fn settle(&mut self, to: Position) {
        let settled: usize = self.segments.range(self.durable..to).map(|(_, bytes)| bytes.len()).sum();
        self.durable = to;
        self.pending -= settled;
        self.recent += settled;
        while self.recent > self.recent_bytes || self.segments.len() > RECENT_SEGMENTS {
            match self.segments.first_entry() {
                Some(first) if *first.key() < self.durable => self.recent -= first.remove().len(),
                _ => break,
            }
        }
    }

    /// The bytes of the record at this place with `length` bytes of content, if they are still in memory.
    pub fn find(&self, pack: u64, offset: u64, length: usize) -> Option<Bytes> {
        let cut = |bytes_at: u64, bytes: &[u8]| {
            let from = usize::try_from(offset.checked_sub(bytes_at)?).ok()?;
            let to = from.checked_add(RECORD_HEADER + length)?;
            (to <= bytes.len()).then_some((from, to))
        };
        let filling_at = self.end - self.filling.len() as u64;
        if pack == self.pack && offset >= filling_at {
            let (from, to) = cut(filling_at, &self.filling)?;
            return Some(Bytes::copy_from_slice(&self.filling[from..to]));
        }
        let (at, bytes) = self.segments.range(..=(pack, offset)).next_back()?;
        let (from, to) = if at.0 == pack { cut(at.1, bytes)? } else { return None };
        Some(bytes.slice(from..to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(tail: &mut Tail, content: &[u8]) -> Position {
        match tail.append(ContentHash::of(content), content) {
            Place::Pack { pack, offset } => (pack, offset),
            other => unreachable!("{other:?}"),
        }
    }

    fn held(tail: &Tail, at: Position, content: &[u8]) -> bool {
        let found = tail.find(at.0, at.1, content.len());
        found.is_some_and(|bytes| record::content(&bytes, ContentHash::of(content)) == Ok(content))
    }

    /// The bytes each pack would have, put together from what is to be written.
    fn written(tail: &mut Tail) -> BTreeMap<u64, Vec<u8>> {
        let mut packs: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for ((pack, at), bytes) in tail.unsynced() {
            let pack = packs.entry(pack).or_default();
            assert_eq!(pack.len() as u64, at, "no gaps");
            pack.extend_from_slice(&bytes);
        }
        packs
    }

    #[test]
    fn places_are_where_the_bytes_get_to() {
        let mut tail = Tail::new(4, 1_000, 0);
        let contents: Vec<Vec<u8>> = (0..40u8).map(|n| vec![n; usize::from(n) * 7]).collect();
        let mut places = Vec::new();
        for pair in contents.chunks(2) {
            places.push(put(&mut tail, &pair[0]));
            let mut encoded = Vec::new();
            record::append(&mut encoded, ContentHash::of(&pair[1]), &pair[1]);
            places.push(tail.append_encoded(encoded));
        }
        let packs = written(&mut tail);
        assert_eq!(packs.keys().next(), Some(&5), "an earlier process's pack is never appended to");
        assert!(packs.len() > 3 && packs.values().all(|pack| pack.len() <= 1_000));
        assert_eq!(tail.pending(), packs.values().map(Vec::len).sum::<usize>());
        for (number, pack) in &packs {
            assert_eq!(pack[..PACK_HEADER], record::pack_header(*number));
        }
        for ((pack, offset), content) in places.into_iter().zip(&contents) {
            let at = offset as usize;
            let record = &packs[&pack][at..at + RECORD_HEADER + content.len()];
            assert_eq!(record::content(record, ContentHash::of(content)), Ok(content.as_slice()));
            assert!(held(&tail, (pack, offset), content));
        }
    }

    #[test]
    fn memory_is_given_back_when_durable() {
        let mut tail = Tail::new(0, 1 << 20, 100);
        let first = put(&mut tail, b"first");
        let end = |tail: &mut Tail| tail.unsynced().last().map(|((pack, at), b)| (*pack, at + b.len() as u64));
        let to = end(&mut tail).unwrap();
        let second = put(&mut tail, b"second");
        tail.settle(to);
        assert!(held(&tail, first, b"first"), "few enough bytes to be kept");
        assert_eq!(tail.pending(), RECORD_HEADER + 6);
        let to = end(&mut tail).unwrap();
        tail.settle(to);
        assert!(!held(&tail, first, b"first") && held(&tail, second, b"second"));
        assert_eq!((tail.pending(), end(&mut tail)), (0, None));
    }

    #[test]
    fn a_closed_pack_takes_no_more() {
        let mut tail = Tail::new(0, 1 << 20, 100);
        assert_eq!(put(&mut tail, b"a").0, 1);
        tail.close(7);
        assert_eq!(put(&mut tail, b"a").0, 1);
        tail.close(1);
        assert_eq!(put(&mut tail, b"a"), (2, PACK_HEADER as u64));
    }

    #[test]
    fn places_that_were_never_given_are_not_found() {
        let mut tail = Tail::new(0, 1 << 20, 100);
        let (pack, offset) = put(&mut tail, b"first");
        for (pack, offset, length) in
            [(pack, offset, 6), (pack, offset + 1, 5), (pack + 1, offset, 5), (0, offset, 5), (pack, u64::MAX, 5)]
        {
            assert_eq!(tail.find(pack, offset, length), None);
            let _ = tail.unsynced();
            assert_eq!(tail.find(pack, offset, length), None);
        }
    }
}
