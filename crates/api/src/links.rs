//! Links that can be followed once, and soon, without the token that the page has: to one answer, or to sign in.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use opendmp_model::ids::SlotId;

/// How long a link leads somewhere, in milliseconds.
const TIME: i64 = 10 * 60 * 1_000;

/// Links at a time; with more the oldest leads nowhere any more.
const MOST: usize = 10_000;

/// Where a link leads: a revision of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub slot: SlotId,
    pub revision: u32,
}

#[derive(Debug)]
struct Link<T> {
    target: T,
    expires: i64,
    order: u64,
}

impl<T> Link<T> {
    /// Whether it leads somewhere. Where the clock was set back, it does so no longer than it was to.
    fn is_good(&self, now: i64) -> bool {
        self.expires > now && self.expires <= now.saturating_add(TIME)
    }
}

/// The links that were given out, by the hash of their secret part: whoever reads this memory can follow none. They do not
/// outlive the server.
#[derive(Debug)]
pub(crate) struct Links<T>(Mutex<BTreeMap<[u8; 32], Link<T>>>);

impl<T> Default for Links<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

fn key(token: &str) -> [u8; 32] {
    *blake3::hash(token.as_bytes()).as_bytes()
}

impl<T: Copy> Links<T> {
    /// A new link; answers its secret part, and when it ends.
    pub(crate) fn give(&self, target: T, now: i64) -> (String, i64) {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|_, link| link.is_good(now));
        let order = links.values().map(|link| link.order).max().unwrap_or(0) + 1;
        if links.len() >= MOST
            && let Some(oldest) = links.iter().min_by_key(|(_, link)| link.order).map(|(key, _)| *key)
        {
            links.remove(&oldest);
        }
        let token = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        let expires = now.saturating_add(TIME);
        links.insert(key(&token), Link { target, expires, order });
        (token, expires)
    }

    /// Where a link would lead.
    pub(crate) fn see(&self, token: &str, now: i64) -> Option<T> {
        let links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.get(&key(token)).filter(|link| link.is_good(now)).map(|link| link.target)
    }

    /// Where a link leads; it does so once.
    pub(crate) fn take(&self, token: &str, now: i64) -> Option<T> {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.remove(&key(token)).filter(|link| link.is_good(now)).map(|link| link.target)
    }
}

#[cfg(test)]
mod tests {
    use opendmp_model::ids::{Arrival, PathHash};

    use super::*;

    #[test]
    fn a_link_leads_somewhere_once_and_for_a_while() {
        let links = Links::default();
        let target = |n| Target { slot: SlotId { origin: Arrival(n), hash: PathHash::default() }, revision: 1 };
        let (one, ends) = links.give(target(1), 1_000);
        let (other, _) = links.give(target(2), 1_000);
        assert_ne!(one, other);
        assert_eq!(links.see(&one, ends - 1), Some(target(1)));
        assert_eq!(links.take(&one, ends - 1), Some(target(1)));
        assert_eq!(links.take(&one, ends - 1), None, "once");
        assert_eq!(links.take(&other, ends), None, "its time is over");
        assert_eq!(links.take("", 0), None);
        let (first, _) = links.give(target(3), 1_000);
        (0..MOST as u64).for_each(|n| _ = links.give(target(n), 1_000));
        assert_eq!(links.take(&first, 1_001), None, "memory is bounded");
    }
}
