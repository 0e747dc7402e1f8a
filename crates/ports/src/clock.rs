//! Time, as the engine sees it: a port, so that tests decide when it passes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

/// Tells the time, and waits.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970 (UTC).
    fn now(&self) -> i64;

    /// Milliseconds since some moment before the first call. Nobody can set this clock: differences of it are durations,
    /// also where [`Clock::now`] was set forward or back in between.
    fn steady(&self) -> i64;

    /// Waits this long.
    async fn sleep(&self, duration: Duration);
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the port that everything else asks")]
    fn now(&self) -> i64 {
        // Before 1970 only on a machine whose clock is not set; it counts as 1970.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }

    fn steady(&self) -> i64 {
        static FIRST: OnceLock<Instant> = OnceLock::new();
        FIRST.get_or_init(Instant::now).elapsed().as_millis() as i64
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A clock that stands still until it is moved. Whoever sleeps moves it, and gives way once.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: AtomicI64,
    steady: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn at(now: i64) -> Self {
        Self { now: AtomicI64::new(now), steady: AtomicI64::new(0) }
    }

    /// Moves it on.
    pub fn advance(&self, milliseconds: i64) {
        self.now.fetch_add(milliseconds, Ordering::SeqCst);
        self.steady.fetch_add(milliseconds, Ordering::SeqCst);
    }

    /// Sets the time, as a person or a time server does: no time passes by that.
    pub fn set(&self, now: i64) {
        self.now.store(now, Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> i64 {
        self.now.load(Ordering::SeqCst)
    }

    fn steady(&self) -> i64 {
        self.steady.load(Ordering::SeqCst)
    }

    async fn sleep(&self, duration: Duration) {
        self.advance(duration.as_millis() as i64);
        tokio::task::yield_now().await;
    }
}
