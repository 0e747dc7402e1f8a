//! What the engine decides, as plain functions of values: no clock, no ports, no I/O.

use std::time::Duration;

use opendmp_model::document::Memo;
use opendmp_ports::journal::GroupRow;
use opendmp_ports::journal::decide::is_full;

/// How much of a group is to be taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing.
    NotYet,
    /// As much as it is to have, of what nothing can come before any more.
    Full,
    /// Whatever is in it, in parts as large as it is to have at most.
    All,
}

/// Decides about a group.
pub fn cut(group: &GroupRow, now: i64) -> Cut {
    let quiet = |quiet: i64| group.changed.saturating_add(quiet) <= now;
    if group.items == 0 {
        Cut::NotYet
    } else if group.flush || group.rule.quiet.is_some_and(quiet) {
        Cut::All
    } else if is_full(&group.rule, group.items, group.bytes) {
        Cut::Full
    } else {
        Cut::NotYet
    }
}

/// When a group is looked at again that is full, but for which something earlier is still under way: soon at first,
/// less and less often afterwards.
pub fn again(group: &GroupRow, now: i64) -> i64 {
    now.saturating_add((now.saturating_sub(group.changed) / 4).clamp(20, 5_000))
}

/// How long a task is worked on before what is done is committed and the rest goes back to the queue.
pub const COMMIT_AFTER: Duration = Duration::from_secs(1);

/// How long one call of a processor should take, so that progress is seen and a crash costs little.
const CALL_TARGET: Duration = Duration::from_millis(100);

/// How many items to give to the next call: what should take [`CALL_TARGET`] at the pace seen so far, not more than
/// the processor takes, and not so many that other workers go idle. An unknown pace begins with a few.
pub fn chunk(left: usize, batch: usize, parallel: usize, pace: Option<Duration>) -> usize {
    let fair = left.div_ceil(parallel.max(1));
    let by_pace = match pace {
        None => 8,
        Some(pace) if pace.is_zero() => batch,
        Some(pace) => (CALL_TARGET.as_nanos() / pace.as_nanos().max(1)).min(1 << 20) as usize,
    };
    by_pace.min(batch).min(fair).max(1).min(left)
}

/// What it takes to remember a result: a row, and to look for it another time.
const REMEMBER: Duration = Duration::from_millis(1);

/// What it takes to store a byte of it, of which nothing else may keep it: 100 MB a second.
const REMEMBER_BYTE: Duration = Duration::from_nanos(10);

/// Whether a result that took so long to make, and has so many bytes that would not be stored else, is remembered: by
/// default where it was dearer to make than that is.
pub fn worth_remembering(memo: Memo, took: Duration, bytes: u64) -> bool {
    let store = REMEMBER_BYTE.saturating_mul(u32::try_from(bytes).unwrap_or(u32::MAX));
    match memo {
        Memo::Never => false,
        Memo::Always => true,
        Memo::Auto => took > REMEMBER.saturating_add(store),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dearer_than_remembering_is_remembered() {
        let worth = |memo, micros, bytes| worth_remembering(memo, Duration::from_micros(micros), bytes);
        assert!(!worth(Memo::Auto, 900, 0) && worth(Memo::Auto, 1_100, 0));
        // 10 MB are stored in about 0.1 s.
        assert!(!worth(Memo::Auto, 90_000, 10_000_000) && worth(Memo::Auto, 110_000, 10_000_000));
        assert!(worth(Memo::Always, 0, u64::MAX) && !worth(Memo::Never, 1 << 40, 0));
    }

    #[test]
    fn chunks_follow_the_pace() {
        assert_eq!(chunk(1000, 1000, 2, None), 8);
        assert_eq!(chunk(1000, 1000, 2, Some(Duration::from_micros(5))), 500);
        assert_eq!(chunk(1000, 1000, 2, Some(Duration::from_millis(10))), 10);
        assert_eq!(chunk(1000, 1000, 2, Some(Duration::from_secs(9))), 1);
        assert_eq!(chunk(3, 1, 2, None), 1);
        assert_eq!(chunk(1, 1000, 8, Some(Duration::ZERO)), 1);
    }
}
