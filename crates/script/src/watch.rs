//! When an item has taken too long: decided from what the worker's page shows, without believing it too far.
//!
//! A script can write anything into the page. It can thereby let a call last longer, but never longer than all its
//! items together may take, and never get an item blamed that is not under way.

use std::time::{Duration, Instant};

/// Between items a worker only packs and sends; that may take this long.
const BETWEEN: Duration = Duration::from_secs(10);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Wait on.
    Fine,
    /// The item at this position has had its time.
    Item(usize),
    /// The worker does nothing that an item could be blamed for, or all items together had their time.
    Stuck,
}

/// The watch over one call.
#[derive(Debug)]
pub(crate) struct Watch {
    timeout: Duration,
    /// The position under way, and since when at least.
    current: Option<usize>,
    since: Instant,
    /// When the page was last looked at: nothing that is new now began before.
    looked: Instant,
    received: usize,
    end: Option<Instant>,
}

impl Watch {
    pub(crate) fn new(timeout: Duration, items: usize, now: Instant) -> Self {
        let all = timeout.saturating_mul(u32::try_from(items).unwrap_or(u32::MAX)).saturating_add(BETWEEN);
        Self { timeout, current: None, since: now, looked: now, received: 0, end: now.checked_add(all) }
    }

    /// How long the item under way has lasted.
    pub(crate) fn lasted(&self) -> Duration {
        self.since.elapsed()
    }

    /// How often to look.
    pub(crate) fn every(&self) -> Duration {
        (self.timeout / 8).clamp(Duration::from_millis(5), Duration::from_millis(50))
    }

    /// Judge by the position under way (if any), when the worker says it began, and how many results are in.
    pub(crate) fn look(&mut self, now: Instant, at: Option<usize>, began: Option<Instant>, received: usize) -> Verdict {
        let forward = match (at, self.current) {
            (Some(at), Some(current)) => at > current,
            (at, current) => at != current,
        };
        if forward {
            self.current = at;
            self.since = began.unwrap_or(now).clamp(self.looked, now);
        } else if received > self.received {
            // An item that is done can't be the one that hangs.
            if self.current.is_none_or(|current| received > current) {
                self.since = now;
            }
        }
        self.looked = now;
        self.received = received;
        let lasted = now.saturating_duration_since(self.since);
        match self.current {
            Some(at) if lasted > self.timeout => Verdict::Item(at.max(received)),
            None if lasted > self.timeout.saturating_add(BETWEEN) => Verdict::Stuck,
            _ if self.end.is_some_and(|end| now > end) => Verdict::Stuck,
            _ => Verdict::Fine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_item_has_its_own_time() {
        let start = Instant::now();
        let mut watch = Watch::new(SECOND, 3, start);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(watch.look(at(900), Some(0), Some(start), 0), Verdict::Fine);
        assert_eq!(watch.look(at(1800), Some(1), Some(at(950)), 0), Verdict::Fine);
        assert_eq!(watch.look(at(1940), Some(1), Some(at(950)), 1), Verdict::Fine);
        assert_eq!(watch.look(at(1960), Some(1), Some(at(950)), 1), Verdict::Item(1));
    }

    #[test]
    fn a_forged_time_gains_no_more_than_one_look() {
        let start = Instant::now();
        let mut watch = Watch::new(SECOND, 1, start);
        let far = start + Duration::from_secs(999);
        assert_eq!(watch.look(start + SECOND / 2, Some(0), Some(far), 0), Verdict::Fine);
        for n in 0..4 {
            watch.look(start + SECOND / 2 + SECOND * n / 5, Some(0), Some(far), 0);
        }
        assert_eq!(watch.look(start + SECOND * 2, Some(0), Some(far), 0), Verdict::Item(0));
    }

    #[test]
    fn forged_progress_ends_with_the_whole() {
        let start = Instant::now();
        let mut watch = Watch::new(SECOND, 4, start);
        let mut now = start;
        let mut verdict = Verdict::Fine;
        // It pretends to go to and fro between items for ever.
        for n in 0..400 {
            now += SECOND / 10;
            verdict = watch.look(now, Some(n % 4), Some(now), 0);
            if verdict != Verdict::Fine {
                break;
            }
        }
        assert_ne!(verdict, Verdict::Fine);
        assert!(now - start <= SECOND * 4 + BETWEEN + SECOND);
    }

    #[test]
    fn doing_nothing_is_stuck() {
        let start = Instant::now();
        let mut watch = Watch::new(SECOND, 100, start);
        assert_eq!(watch.look(start + SECOND * 10, None, None, 0), Verdict::Fine);
        assert_eq!(watch.look(start + SECOND * 12, None, None, 0), Verdict::Stuck);
    }

    #[test]
    fn a_result_that_is_in_is_never_blamed() {
        let start = Instant::now();
        let mut watch = Watch::new(SECOND, 9, start);
        watch.look(start, Some(0), None, 0);
        assert_eq!(watch.look(start + SECOND * 2, Some(0), None, 0), Verdict::Item(0));
        assert_eq!(watch.look(start + SECOND * 3, Some(0), None, 5), Verdict::Fine, "results came: it moves");
        assert_eq!(watch.look(start + SECOND * 5, Some(0), None, 5), Verdict::Item(5));
    }
}
