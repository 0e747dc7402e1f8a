//! When something that failed is tried again: one policy for steps, exports, releases, sources and ports.
//!
//! Everything here is a plain function of values. The jitter comes from a seed (an item, an outbox entry, the name of a
//! port) and the number of the try, so that the same failure always gives the same wait, while many items that failed
//! together do not come back together.

use std::time::Duration;

use opendmp_model::document::OnError;
use opendmp_model::fault::{Fault, FaultClass, FaultKind, Tries};
use opendmp_model::ids::ItemId;
use opendmp_ports::{Error, ErrorKind};
use opendmp_processor::SourceError;

/// How often and how soon something is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Retries of faults that concern one item. Faults of the world use up none.
    pub retries: u32,
    /// The wait before the first retry; each further one is twice as long.
    pub first: Duration,
    /// The longest wait, unless more was asked for.
    pub max: Duration,
}

impl Policy {
    /// Calls of a port: a disk or a database that does not answer now.
    pub const PORT: Self = Self { retries: 0, first: Duration::from_millis(50), max: Duration::from_secs(2) };
    /// Scans of a source. Few calls, and people wait for what is new.
    pub const SOURCE: Self = Self { retries: 0, first: Duration::from_secs(1), max: Duration::from_secs(10) };
    /// Releases of source items: never given up, since the item would stay claimed.
    pub const RELEASE: Self = Self { retries: u32::MAX, first: Duration::from_secs(1), max: Duration::from_secs(300) };
}

impl From<&OnError> for Policy {
    fn from(on_error: &OnError) -> Self {
        Self { retries: u32::from(on_error.retries), first: on_error.backoff.get(), max: on_error.max_backoff.get() }
    }
}

/// Why something is to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What can be done about it.
    pub class: FaultClass,
    /// How long to wait at least, where the step or the service says so.
    pub retry_after: Option<Duration>,
}

impl Cause {
    /// What the world may mend, at an unknown time.
    pub const TRANSIENT: Self = Self { class: FaultClass::Transient, retry_after: None };
}

impl From<&Fault> for Cause {
    fn from(fault: &Fault) -> Self {
        Self { class: fault.kind.class(), retry_after: fault.retry_after() }
    }
}

impl From<&Error> for Cause {
    fn from(error: &Error) -> Self {
        let class = if error.is_temporary() { FaultClass::Transient } else { FaultClass::Permanent };
        Self { class, retry_after: None }
    }
}

/// A port's error as a fault of an item.
pub(crate) fn port_fault(error: Error) -> Fault {
    let kind = match error.kind {
        ErrorKind::Full => FaultKind::NoSpace,
        _ if error.is_temporary() => FaultKind::Unavailable,
        _ => FaultKind::Failed,
    };
    let fault = Fault::new(kind, error.operation.replace(' ', "-"), error.message);
    match error.hint {
        Some(hint) => fault.with_hint(hint),
        None => fault,
    }
}

/// A source's error as a fault: always transient, since a source is scanned again whatever happened.
pub(crate) fn source_fault(error: SourceError) -> Fault {
    let fault = Fault::new(FaultKind::Unavailable, error.code, error.message);
    match error.hint {
        Some(hint) => fault.with_hint(hint),
        None => fault,
    }
}

/// What follows a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another try.
    Wait {
        /// After this time.
        wait: Duration,
        /// The tries so far, this one included.
        tries: Tries,
    },
    /// No other try.
    GiveUp,
}

/// The shortest wait, so that a `backoff: 0s` can't spin.
const MIN_WAIT: Duration = Duration::from_millis(10);

/// The first wait after a refused sign-in: sooner, nobody will have renewed it, and many services lock an account that
/// is tried too often.
const SIGN_IN_WAIT: Duration = Duration::from_secs(60);

/// Decides after a failed try; `tries` are those before it.
pub fn next(cause: Cause, tries: Tries, policy: &Policy, seed: u64) -> Next {
    let (after, nth, first) = match cause.class {
        FaultClass::Permanent => return Next::GiveUp,
        FaultClass::Item if tries.failures >= policy.retries => return Next::GiveUp,
        FaultClass::Item => (Tries { failures: tries.failures + 1, waits: 0 }, tries.failures, policy.first),
        class => {
            let first = match class {
                FaultClass::Authentication => policy.first.max(SIGN_IN_WAIT),
                _ => policy.first,
            };
            (Tries { waits: tries.waits.saturating_add(1), ..tries }, tries.waits, first)
        }
    };
    let fraction = jitter(seed, after);
    let wait = match cause.retry_after {
        // Never sooner than asked for, and not all at the same moment.
        Some(asked) => asked.saturating_add((asked / 8).mul_f64(fraction)),
        None => {
            let longest = policy.max.max(first);
            let full = first.saturating_mul(1u32.checked_shl(nth).unwrap_or(u32::MAX)).min(longest);
            full / 2 + (full / 2).mul_f64(fraction)
        }
    };
    Next::Wait { wait: wait.max(MIN_WAIT), tries: after }
}

/// A number from 0 to 1 that looks random (SplitMix64).
fn jitter(seed: u64, tries: Tries) -> f64 {
    let try_number = (u64::from(tries.failures) << 32) | u64::from(tries.waits);
    let mut z = seed ^ try_number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (z >> 11) as f64 / (1u64 << 53) as f64
}

/// The seed of an item.
pub(crate) fn seed_of_item(id: ItemId) -> u64 {
    let mut path = [0; 8];
    path.copy_from_slice(&id.path.0[..8]);
    u64::from_le_bytes(path) ^ id.arrival.0.rotate_left(32) ^ u64::from(id.pass.0)
}

/// The seed of something that has a name (FNV-1a).
pub(crate) fn seed_of_name(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// The waits of something that goes on whatever happens, such as the scans of a source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    policy: Policy,
    seed: u64,
    tries: Tries,
}

impl Waits {
    /// Nothing failed yet.
    pub fn new(policy: Policy, name: &str) -> Self {
        Self { policy, seed: seed_of_name(name), tries: Tries::default() }
    }

    /// How long to wait after another failure. What trying again can't help is tried as seldom as the policy allows.
    pub fn next(&mut self, cause: Cause) -> Duration {
        match next(cause, self.tries, &self.policy, self.seed) {
            Next::Wait { wait, tries } => {
                self.tries = tries;
                wait
            }
            Next::GiveUp => self.policy.max,
        }
    }

    /// It works.
    pub fn reset(&mut self) {
        self.tries = Tries::default();
    }
}

#[cfg(test)]
mod tests {
    use opendmp_model::document::HumanDuration;

    use super::*;

    const POLICY: Policy = Policy { retries: 4, first: Duration::from_secs(1), max: Duration::from_secs(5) };

    fn cause(class: FaultClass) -> Cause {
        Cause { class, retry_after: None }
    }

    fn tries(failures: u32, waits: u32) -> Tries {
        Tries { failures, waits }
    }

    /// The wait, which is checked against what it may be at most; half of that is the least.
    fn wait(cause: Cause, before: Tries, most: u64) -> (Duration, Tries) {
        let Next::Wait { wait, tries } = next(cause, before, &POLICY, 7) else { panic!("given up: {cause:?}") };
        let most = Duration::from_secs(most);
        assert!((most / 2..=most).contains(&wait), "{cause:?} after {before:?}: {wait:?}");
        (wait, tries)
    }

    #[test]
    fn faults_of_the_item_use_up_retries_with_growing_waits() {
        let mut before = Tries::default();
        for most in [1, 2, 4, 5] {
            (_, before) = wait(cause(FaultClass::Item), before, most);
        }
        assert_eq!(before, tries(4, 0));
        assert_eq!(next(cause(FaultClass::Item), before, &POLICY, 7), Next::GiveUp);
    }

    #[test]
    fn the_world_is_waited_out_and_uses_up_no_retry() {
        for class in [FaultClass::Transient, FaultClass::Throttled] {
            let mut before = tries(3, 0);
            for most in [1, 2, 4].into_iter().chain([5; 97]) {
                (_, before) = wait(cause(class), before, most);
            }
            assert_eq!(before, tries(3, 100), "{class:?}");
            // What follows the outage has the retries it had before, and begins with a short wait if it is away again.
            let (_, after) = wait(cause(FaultClass::Item), before, 5);
            assert_eq!(after, tries(4, 0));
            wait(cause(class), after, 1);
        }
        let forever = tries(u32::MAX, u32::MAX);
        wait(cause(FaultClass::Transient), forever, 5);
    }

    #[test]
    fn what_is_permanent_is_not_tried_again() {
        assert_eq!(next(cause(FaultClass::Permanent), Tries::default(), &POLICY, 7), Next::GiveUp);
    }

    #[test]
    fn a_refused_sign_in_is_tried_slowly() {
        let (_, after) = wait(cause(FaultClass::Authentication), Tries::default(), 60);
        assert_eq!(after, tries(0, 1));
        let long = Policy { max: Duration::from_secs(300), ..POLICY };
        let Next::Wait { wait, .. } = next(cause(FaultClass::Authentication), tries(0, 9), &long, 7) else { panic!() };
        assert!((150..=300).contains(&wait.as_secs()), "{wait:?}");
    }

    #[test]
    fn nothing_is_tried_sooner_than_asked_for() {
        let asked = Duration::from_secs(60);
        for class in [FaultClass::Transient, FaultClass::Throttled, FaultClass::Item] {
            for seed in 0..100 {
                let cause = Cause { class, retry_after: Some(asked) };
                let Next::Wait { wait, .. } = next(cause, Tries::default(), &POLICY, seed) else { panic!() };
                assert!(wait >= asked && wait <= asked + asked / 8, "{wait:?}");
            }
        }
    }

    #[test]
    fn no_backoff_does_not_spin() {
        let zero = HumanDuration::from_millis(0);
        let policy = Policy::from(&OnError { backoff: zero, max_backoff: zero, retries: 1 });
        let Next::Wait { wait, .. } = next(cause(FaultClass::Item), Tries::default(), &policy, 7) else { panic!() };
        assert_eq!(wait, MIN_WAIT);
    }

    #[test]
    fn the_jitter_is_the_same_each_time_and_another_for_each_item_and_try() {
        let waits = |seed| (0..9).map(|n| jitter(seed, tries(n, 0))).collect::<Vec<_>>();
        assert_eq!(waits(1), waits(1));
        let all: Vec<f64> = (0..200).flat_map(waits).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        assert!((0.47..0.53).contains(&mean) && all.iter().all(|one| (0.0..1.0).contains(one)), "{mean}");
        let mut distinct: Vec<u64> = all.iter().map(|one| one.to_bits()).collect();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn errors_of_ports_are_waited_out_where_time_can_help() {
        use ErrorKind as K;
        for kind in [K::Full, K::Unavailable, K::NotFound, K::Conflict, K::Damaged, K::Newer, K::Invalid] {
            let error = Error::new(kind, "content put", "no");
            let waits = matches!(next(Cause::from(&error), tries(0, 99), &Policy::PORT, 0), Next::Wait { .. });
            assert_eq!(waits, matches!(kind, K::Full | K::Unavailable), "{kind:?}");
            assert_eq!(port_fault(error).kind.class().is_waited_out(), waits, "{kind:?}");
        }
    }

    #[test]
    fn what_never_gives_up_waits_as_long_as_it_may() {
        let mut waits = Waits::new(Policy::SOURCE, "a");
        assert_eq!(waits.next(cause(FaultClass::Permanent)), Policy::SOURCE.max);
        let first = waits.next(cause(FaultClass::Transient));
        assert!(first <= Policy::SOURCE.first);
        waits.next(cause(FaultClass::Transient));
        waits.reset();
        assert_eq!(waits.next(cause(FaultClass::Transient)), first);
    }
}
