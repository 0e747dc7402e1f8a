//! Whether content was let go, asked where a reference to it turns up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opendmp_model::item::{ContentRef, Place};

use crate::freed::{self, Ranges};
use crate::layout::Paths;

/// Packs whose ranges are kept in memory, at most 1 MiB each and mostly far less.
const PACKS: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub struct Gone {
    /// Whether anything was condemned since the start: until then nothing that is named can be gone.
    pub any: AtomicBool,
    known: Mutex<BTreeMap<u64, Arc<Ranges>>>,
    condemned: Mutex<BTreeSet<u64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Changed by single calls.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gone {
    /// Notes what is condemned of a pack now.
    pub fn condemned(&self, pack: u64, ranges: &Ranges) {
        let mut known = lock(&self.known);
        if known.len() >= PACKS {
            known.pop_first();
        }
        known.insert(pack, Arc::new(ranges.clone()));
        drop(known);
        lock(&self.condemned).insert(pack);
        self.any.store(true, Ordering::Release);
    }

    /// The same as [`Gone::has`] where nothing has to be looked at for it.
    pub fn has_now(&self, content: &ContentRef) -> Option<bool> {
        if !self.any.load(Ordering::Acquire) {
            return Some(false);
        }
        match content.place {
            Place::Empty => Some(false),
            Place::Pack { pack, .. } if !lock(&self.condemned).contains(&pack) => Some(false),
            Place::Pack { pack, offset } => lock(&self.known).get(&pack).map(|known| known.touches(offset, offset + 1)),
            Place::File { .. } => None,
        }
    }

    /// Whether content was condemned since the start. Blocks where a pack has to be looked at.
    pub fn has(&self, root: &Path, content: &ContentRef) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        match content.place {
            Place::Empty => false,
            Place::Pack { pack, .. } if !lock(&self.condemned).contains(&pack) => false,
            Place::Pack { pack, .. } if !Paths(root).pack(pack).exists() => true,
            Place::Pack { pack, offset } => self.ranges(root, pack).touches(offset, offset + 1),
            Place::File { generation } => !Paths(root).file(content.hash, generation).exists(),
        }
    }

    fn ranges(&self, root: &Path, pack: u64) -> Arc<Ranges> {
        if let Some(known) = lock(&self.known).get(&pack) {
            return Arc::clone(known);
        }
        // What can't be read is told by a verification.
        let read = Arc::new(freed::read(root, pack).unwrap_or_default().0);
        let mut known = lock(&self.known);
        if known.len() >= PACKS {
            known.pop_first();
        }
        known.insert(pack, Arc::clone(&read));
        read
    }
}
