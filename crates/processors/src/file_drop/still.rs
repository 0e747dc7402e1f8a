//! Whether a file stands still, so that it can be taken: plain decisions on what was seen and when.

use std::collections::HashMap;

use opendmp_model::ledger::FileStat;

/// A write is told by the time stamps only if they are older than the steps in which file systems count time, in
/// milliseconds: the kernel's tick, with room to spare.
pub(super) const TICK: i64 = 20;
/// The same where stamps are whole seconds (FAT counts in twos).
const COARSE_TICK: i64 = 2_000;
/// How many files are watched at a time for standing still; the others are looked at again later.
const MOST_WATCHED: usize = 65_536;

/// Whether two looks saw the same version. Device numbers may change with a restart, so they don't count.
pub(super) fn same(one: &FileStat, other: &FileStat) -> bool {
    FileStat { device: 0, ..one.settled() } == FileStat { device: 0, ..other.settled() }
}

/// Until when a further change of a file that is `stat` may not show in its stamps, milliseconds since 1970; `None`
/// where that time is over, or can't be told because its stamps are of the future or by another clock.
pub(super) fn recent_until(stat: &FileStat, look: &Look) -> Option<i64> {
    let changed = changed(stat);
    let until = changed.saturating_add(tick_of(stat, TICK));
    (!look.foreign_clock && changed <= look.now.saturating_add(TICK) && look.now < until).then_some(until)
}

/// The moment of the last change, milliseconds since 1970, rounded up.
fn changed(stat: &FileStat) -> i64 {
    stat.mtime.max(stat.ctime).div_euclid(1_000_000).saturating_add(1)
}

fn tick_of(stat: &FileStat, tick: i64) -> i64 {
    if tick > 0 && stat.ctime % 1_000_000_000 == 0 { COARSE_TICK } else { tick }
}

/// The answer of [`Still::judge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It stood still for long enough; this many milliseconds at least.
    Take(i64),
    /// Look again at this moment, milliseconds since 1970.
    Wait(i64),
}

#[derive(Debug)]
struct Seen {
    stat: FileStat,
    /// First seen so, milliseconds since 1970.
    since: i64,
    /// The scan that saw it last.
    scan: u64,
}

/// What was seen of files that don't stand still yet.
#[derive(Debug, Default)]
pub(super) struct Still {
    seen: HashMap<Vec<u8>, Seen>,
}

impl Still {
    /// Judges a file that is `stat` at `now` (milliseconds since 1970). It must have stood still for `settle`
    /// milliseconds, and for a tick of its file system's clock unless whoever takes it makes sure of it in another way.
    ///
    /// With a clock that is also ours, stamps that are old enough say so at first sight. Else, or where a stamp is of
    /// the future, the file has to be seen again unchanged.
    pub(super) fn judge(&mut self, path: &[u8], stat: &FileStat, look: &Look) -> Verdict {
        let Look { now, settle, tick, foreign_clock, scan } = *look;
        let quiet = settle.max(tick_of(stat, tick));
        let changed = changed(stat);
        if quiet == 0 {
            self.seen.remove(path);
            return Verdict::Take((now - changed).max(0));
        }
        // A look that began just before the change is of the same clock.
        if !foreign_clock && changed <= now.saturating_add(TICK) {
            let ready = changed.saturating_add(quiet);
            if ready <= now {
                self.seen.remove(path);
                return Verdict::Take(now - changed);
            }
            return Verdict::Wait(ready);
        }
        match self.seen.get_mut(path) {
            // A clock set back must not stop the file for as long.
            Some(seen) if same(&seen.stat, stat) && seen.since <= now => {
                seen.scan = scan;
                let stood = now - seen.since;
                if stood >= quiet { Verdict::Take(stood) } else { Verdict::Wait(seen.since.saturating_add(quiet)) }
            }
            _ => {
                if self.seen.len() < MOST_WATCHED || self.seen.contains_key(path) {
                    self.seen.insert(path.to_vec(), Seen { stat: *stat, since: now, scan });
                }
                Verdict::Wait(now.saturating_add(quiet))
            }
        }
    }

    /// Forgets what is no longer waited for.
    pub(super) fn forget(&mut self, path: &[u8]) {
        self.seen.remove(path);
    }

    /// Forgets what this scan did not see.
    pub(super) fn end_of_scan(&mut self, scan: u64) {
        self.seen.retain(|_, seen| seen.scan == scan);
    }
}

/// The circumstances of a look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Milliseconds since 1970.
    pub now: i64,
    /// Milliseconds.
    pub settle: i64,
    /// [`TICK`], or 0 where stamps don't decide.
    pub tick: i64,
    /// Whether the file system's clock may be another than ours.
    pub foreign_clock: bool,
    /// Number of the scan.
    pub scan: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Take, Wait};

    const NOW: i64 = 1_700_000_000_000;

    fn stat(age: i64) -> FileStat {
        let nanos = (NOW - age) * 1_000_000 - 1;
        FileStat { device: 1, inode: 2, size: 3, mtime: nanos, ctime: nanos, recent: false }
    }

    fn look(now: i64, settle: i64, foreign_clock: bool) -> Look {
        Look { now, settle, tick: TICK, foreign_clock, scan: 1 }
    }

    #[test]
    fn an_old_file_is_taken_at_first_sight() {
        let mut still = Still::default();
        assert_eq!(still.judge(b"a", &stat(1_000), &look(NOW, 1_000, false)), Take(1_000));
        assert_eq!(still.judge(b"a", &stat(400), &look(NOW, 1_000, false)), Wait(NOW + 600));
        assert_eq!(still.judge(b"a", &stat(400), &look(NOW + 600, 1_000, false)), Take(1_000));
    }

    #[test]
    fn without_settling_a_tick_is_waited_for() {
        let mut still = Still::default();
        assert_eq!(still.judge(b"a", &stat(5), &look(NOW, 0, false)), Wait(NOW + 15));
        assert_eq!(still.judge(b"a", &stat(20), &look(NOW, 0, false)), Take(20));
        let coarse = FileStat { ctime: (NOW - 500) * 1_000_000 / 1_000_000_000 * 1_000_000_000, mtime: 0, ..stat(0) };
        assert!(matches!(still.judge(b"a", &coarse, &look(NOW, 0, false)), Wait(at) if at > NOW + 1_000));
    }

    #[test]
    fn where_stamps_do_not_decide_nothing_is_waited_for() {
        let mut still = Still::default();
        assert_eq!(still.judge(b"a", &stat(0), &Look { tick: 0, ..look(NOW, 0, false) }), Take(0));
        assert_eq!(still.judge(b"a", &stat(3), &Look { tick: 0, ..look(NOW, 9, false) }), Wait(NOW + 6));
    }

    #[test]
    fn stamps_within_a_tick_may_hide_a_change() {
        assert_eq!(recent_until(&stat(5), &look(NOW, 0, false)), Some(NOW + 15));
        assert_eq!(recent_until(&stat(20), &look(NOW, 0, false)), None);
        let coarse = FileStat { ctime: NOW / 1_000 * 1_000_000_000, mtime: 0, ..stat(0) };
        assert_eq!(recent_until(&coarse, &look(NOW + 1_999, 0, false)), Some(NOW + 2_001));
        assert_eq!(recent_until(&stat(5), &look(NOW, 0, true)), None, "another clock tells nothing");
        assert_eq!(recent_until(&stat(-5), &look(NOW, 0, false)), Some(NOW + 25), "a look that began before");
        assert_eq!(recent_until(&stat(-50), &look(NOW, 0, false)), None, "nor does the future tell anything");
    }

    #[test]
    fn a_change_of_the_inode_alone_counts() {
        let mut still = Still::default();
        let moved_in = FileStat { mtime: 0, ..stat(10) };
        assert!(matches!(still.judge(b"a", &moved_in, &look(NOW, 1_000, false)), Wait(_)));
    }

    #[test]
    fn stamps_of_another_clock_or_of_the_future_must_be_seen_twice() {
        for (stat, foreign) in [(stat(-3_600_000), false), (stat(3_600_000), true)] {
            let mut still = Still::default();
            assert_eq!(still.judge(b"a", &stat, &look(NOW, 1_000, foreign)), Wait(NOW + 1_000));
            assert_eq!(still.judge(b"a", &stat, &look(NOW + 999, 1_000, foreign)), Wait(NOW + 1_000));
            let other = FileStat { size: 4, ..stat };
            assert_eq!(still.judge(b"a", &other, &look(NOW + 1_000, 1_000, foreign)), Wait(NOW + 2_000));
            assert_eq!(still.judge(b"a", &other, &look(NOW + 2_000, 1_000, foreign)), Take(1_000));
        }
    }

    #[test]
    fn a_clock_set_back_starts_again() {
        let mut still = Still::default();
        let future = stat(-3_600_000);
        still.judge(b"a", &future, &look(NOW, 1_000, false));
        assert_eq!(still.judge(b"a", &future, &look(NOW - 60_000, 1_000, false)), Wait(NOW - 59_000));
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut still = Still::default();
        still.judge(b"a", &stat(0), &look(NOW, 1_000, true));
        still.judge(b"b", &stat(0), &Look { scan: 2, ..look(NOW, 1_000, true) });
        still.end_of_scan(2);
        assert_eq!(still.seen.len(), 1);
        still.forget(b"b");
        assert!(still.seen.is_empty());
    }

    #[test]
    fn a_device_number_is_no_difference() {
        assert!(same(&stat(0), &FileStat { device: 9, ..stat(0) }));
        assert!(!same(&stat(0), &FileStat { inode: 9, ..stat(0) }));
    }
}
