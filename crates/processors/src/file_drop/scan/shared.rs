//! What all calls of an open source share.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use opendmp_model::ledger::FileStat;

use super::super::After;
use super::super::area::Present;
use super::super::aside::{CLAIMED, Life};
use super::super::pattern::{Matcher, Patterns};
use super::super::roots::Roots;
use super::{Changed, Found};
use crate::location::Location;

/// What does not change while a source is open, and what all its calls share.
pub(crate) struct Shared {
    pub roots: Roots,
    pub written: String,
    pub matcher: Matcher,
    /// As written.
    pub patterns: Patterns,
    pub recursive: bool,
    pub settle: i64,
    pub after: After,
    pub to: Option<Location>,
    pub life: Life,
    /// The folder that claims are set aside in now.
    pub present: Present,
    /// What is to be looked at again, told from outside the scan.
    pub changed: Mutex<Changed>,
    /// How often the folder was listed from its beginning.
    pub listed: AtomicU64,
    /// Whether the kernel can be asked for writers, once that was tried.
    pub leases: OnceLock<bool>,
    /// Whether the folder's file system may keep time by another clock than ours.
    pub foreign_clock: OnceLock<bool>,
    /// What was claimed and is neither known to the ledger nor given back, by path from the root.
    pub offered: Mutex<HashMap<Vec<u8>, FileStat>>,
}

impl Shared {
    /// Whether the kernel can be asked for writers, as far as is known.
    pub(crate) fn asks_writers(&self) -> bool {
        self.leases.get() == Some(&true)
    }

    pub(crate) fn offered(&self) -> MutexGuard<'_, HashMap<Vec<u8>, FileStat>> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was claimed in its place, to be looked for in the ledger: once it is there it needs no memory.
    pub(super) fn offered_in_place(&self) -> Vec<Found> {
        let offered = self.offered();
        offered.keys().filter(|key| !key.starts_with(CLAIMED)).cloned().map(Found::Offered).collect()
    }

    pub(crate) fn changed(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes back an offer, so that what it was of is looked at again.
    pub(crate) fn take_back(&self, key: Vec<u8>) {
        self.offered().remove(&key);
        self.changed().tell(key);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.present.end();
        self.roots.tidy(None);
    }
}
