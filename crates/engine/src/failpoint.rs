//! Named moments at which a test lets the process die, to see that nothing is lost there. Only in debug builds:
//! `OPENDMP_FAILPOINT=after-settle:3` aborts the third time that moment is reached.

/// The moments, in the order in which an item meets them.
pub const MOMENTS: [&str; 10] = [
    "after-claim",
    "before-arrive",
    "after-arrive",
    "after-queue-claim",
    "before-sync",
    "after-sync",
    "after-settle",
    "before-export",
    "after-export",
    "after-finish",
];

/// The moments of a collection of garbage, in order.
pub const GARBAGE: [&str; 4] = ["gc-fence", "gc-marked", "gc-condemned", "gc-removed"];

/// The moments that a reprocess meets besides.
pub const REPROCESS_MOMENTS: [&str; 2] = ["before-feed", "after-feed"];

/// Dies here if the environment says so.
#[cfg(debug_assertions)]
pub(crate) fn reach(moment: &'static str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static WANTED: LazyLock<Option<(String, AtomicU64)>> = LazyLock::new(|| {
        let text = std::env::var("OPENDMP_FAILPOINT").ok()?;
        let (moment, times) = text.split_once(':').unwrap_or((&text, "1"));
        Some((moment.to_owned(), AtomicU64::new(times.parse().ok()?)))
    });
    debug_assert!(
        MOMENTS.iter().chain(&GARBAGE).chain(&REPROCESS_MOMENTS).any(|known| *known == moment),
        "`{moment}` is not in the list"
    );
    if let Some((wanted, left)) = &*WANTED
        && wanted == moment
        && left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        std::process::abort();
    }
}

/// Nothing, in a release build.
#[cfg(not(debug_assertions))]
pub(crate) fn reach(_moment: &'static str) {}
