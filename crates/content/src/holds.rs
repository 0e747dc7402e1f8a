//! Who stores content at present, and since when: what is younger than the oldest of them is not collected.
//!
//! Places in packs are given in the order of puts, so for them a hold is a position. A large file may be put onto one
//! that was there before, so for these it is noted when each was put last.

use std::collections::{BTreeMap, HashMap, HashSet};

use opendmp_model::ids::ContentHash;

use crate::large::FileKey;
use crate::tail::Position;

/// Large contents that are remembered before it is looked which of them nobody holds any more.
const REMEMBERED: usize = 1_024;

/// A moment in the order of puts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Records put later are here or behind.
    pub at: Position,
    /// Puts that were answered before.
    pub puts: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Holds {
    live: BTreeMap<u64, Stamp>,
    last: u64,
    /// When large content was put last, in puts.
    put: HashMap<ContentHash, u64>,
    /// Looked through when it has so many.
    full: usize,
    /// Files that are condemned and may still have their names.
    condemned: HashSet<FileKey>,
}

impl Holds {
    /// Holds everything put since `since`. Answers the number to let go by.
    pub fn add(&mut self, since: Stamp) -> u64 {
        self.last += 1;
        self.live.insert(self.last, since);
        self.last
    }

    /// Ends a hold.
    pub fn end(&mut self, number: u64) {
        self.live.remove(&number);
    }

    /// Since when anything is held.
    pub fn oldest(&self) -> Option<Stamp> {
        // Few: as many as there are tasks in work. A collection holds from before its own number.
        self.live.values().copied().min_by_key(|stamp| stamp.puts)
    }

    /// Notes that large content is being put; answers whether a file of it may not be used.
    pub fn put(&mut self, hash: ContentHash, puts: u64) -> HashSet<FileKey> {
        if self.put.len() >= self.full.max(REMEMBERED) {
            let oldest = self.oldest().map_or(puts, |stamp| stamp.puts);
            self.put.retain(|_, put| *put >= oldest);
            self.full = self.put.len() * 2;
        }
        self.put.insert(hash, puts);
        match self.condemned.is_empty() {
            true => HashSet::new(),
            false => self.condemned.iter().filter(|key| key.0 == hash).copied().collect(),
        }
    }

    /// Condemns a file unless it was put at `since` or later; answers whether it did.
    pub fn condemn(&mut self, key: FileKey, since: Stamp) -> bool {
        !self.is_young(key.0, since) && self.condemned.insert(key)
    }

    /// Whether large content was put at `since` or later.
    pub fn is_young(&self, hash: ContentHash, since: Stamp) -> bool {
        self.put.get(&hash).is_some_and(|put| *put >= since.puts)
    }

    /// A condemned file has no name any more.
    pub fn removed(&mut self, key: FileKey) {
        self.condemned.remove(&key);
    }
}
