//! What is to be looked at again, by name: told by who watches the folder, given back, or not yet standing still.

use std::collections::{BTreeMap, BTreeSet};

use super::super::aside::CLAIMED;

/// How many names are held, and how many bytes they may have; beyond it a look at everything finds them.
const MOST: usize = 65_536;
const MOST_BYTES: usize = 8 << 20;

/// Names told from outside the scan, by path from the root.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    names: BTreeSet<Vec<u8>>,
    bytes: usize,
    /// Whether there were more than could be held.
    more: bool,
}

impl Changed {
    /// Adds a name.
    pub(crate) fn tell(&mut self, name: Vec<u8>) {
        if self.names.len() >= MOST || self.bytes + name.len() > MOST_BYTES {
            self.more = true;
            return;
        }
        let bytes = name.len();
        if self.names.insert(name) {
            self.bytes += bytes;
        }
    }

    /// Takes everything: the names, and whether there were more.
    pub(super) fn take(&mut self) -> (BTreeSet<Vec<u8>>, bool) {
        let all = std::mem::take(self);
        (all.names, all.more)
    }
}

/// Names that wait for their time, by path from the root.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// When each is due (milliseconds since 1970), and the number of the look that said so.
    names: BTreeMap<Vec<u8>, (i64, u64)>,
    bytes: usize,
}

impl Waiting {
    /// Has a name wait: whether there was room.
    pub(super) fn put(&mut self, name: &[u8], due: i64, scan: u64) -> bool {
        let is_full = self.names.len() >= MOST || self.bytes + name.len() > MOST_BYTES;
        if let Some(known) = self.names.get_mut(name) {
            *known = (due, scan);
            return true;
        }
        if !is_full {
            self.bytes += name.len();
            self.names.insert(name.to_vec(), (due, scan));
        }
        !is_full
    }

    /// Forgets a name.
    pub(super) fn remove(&mut self, name: &[u8]) {
        if self.names.remove(name).is_some() {
            self.bytes -= name.len();
        }
    }

    /// Forgets what no look since the one of that number has seen.
    pub(super) fn end_of_scan(&mut self, scan: u64) {
        let bytes = &mut self.bytes;
        self.names.retain(|name, (_, of)| {
            if *of < scan {
                *bytes -= name.len();
            }
            *of >= scan
        });
    }

    /// When the first is due.
    pub(super) fn first(&self) -> Option<i64> {
        self.names.values().map(|(due, _)| *due).min()
    }

    /// Takes what is due, and all that is set aside: a newer version of the same path has to wait behind it.
    pub(super) fn take_due(&mut self, now: i64) -> Vec<Vec<u8>> {
        let is_due = |(name, (due, _)): (&Vec<u8>, &(i64, u64))| {
            (*due <= now || name.starts_with(CLAIMED)).then(|| name.clone())
        };
        let due: Vec<_> = self.names.iter().filter_map(is_due).collect();
        due.iter().for_each(|name| self.remove(name));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_taken_once() {
        let mut waiting = Waiting::default();
        assert!(waiting.put(b"a", 10, 1) && waiting.put(b"b", 20, 1) && waiting.put(b"a", 15, 2));
        assert_eq!((waiting.first(), waiting.take_due(14)), (Some(15), vec![]));
        assert_eq!(waiting.take_due(15), [b"a".to_vec()]);
        assert_eq!(waiting.take_due(15), Vec::<Vec<u8>>::new());
        assert!(waiting.put(b".opendmp-claimed/o/t/x", 99, 3));
        assert_eq!(waiting.take_due(0), [b".opendmp-claimed/o/t/x".to_vec()], "whatever its time");
        waiting.end_of_scan(2);
        assert_eq!((waiting.first(), waiting.bytes), (None, 0));
    }

    #[test]
    fn names_are_bounded() {
        let (mut waiting, mut changed) = (Waiting::default(), Changed::default());
        for n in 0..=MOST {
            let name = format!("{n}").into_bytes();
            assert_eq!(waiting.put(&name, 0, 1), n < MOST);
            changed.tell(name);
        }
        assert!(waiting.put(b"0", 5, 1), "what waits already has its room");
        let (names, more) = changed.take();
        assert_eq!((names.len(), more), (MOST, true));
        assert!(!changed.take().1);
    }
}
