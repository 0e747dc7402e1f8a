//! Names for what a process leaves in folders that it shares with others: unlike any other process's, before and after.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use opendmp_model::ids::{PathHash, base32};

/// A name of 20 letters and digits, unlike any other ever made on any machine.
#[expect(clippy::disallowed_methods, reason = "the time makes the name unique and decides nothing")]
pub(crate) fn new() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    // The standard library seeds its hash maps from the operating system's randomness.
    let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), count);
    let parts: [&[u8]; 4] = [
        &std::process::id().to_le_bytes(),
        &since.as_nanos().to_le_bytes(),
        &count.to_le_bytes(),
        &random.to_le_bytes(),
    ];
    base32(&PathHash::of("opendmp 2026 life v1", &parts).0)
}
