//! Simulated time: stands still until the executor moves it; sleepers wake when it has passed.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use opendmp_ports::Clock;

use super::world::World;

/// See the module.
pub struct Time {
    now: AtomicI64,
    sleepers: Mutex<(u64, BTreeMap<(i64, u64), Waker>)>,
}

impl Default for Time {
    fn default() -> Self {
        Self { now: AtomicI64::new(1_700_000_000_000), sleepers: Mutex::default() }
    }
}

impl Time {
    /// Milliseconds since 1970.
    pub fn now(&self) -> i64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Moves on by so many milliseconds.
    pub fn advance(&self, by: i64) {
        let now = self.now.fetch_add(by, Ordering::Relaxed) + by;
        let mut sleepers = self.sleepers.lock().unwrap();
        while let Some(first) = sleepers.1.first_entry().filter(|first| first.key().0 <= now) {
            first.remove().wake();
        }
    }

    /// Moves on to the next sleeper; false: nobody sleeps.
    pub fn jump(&self) -> bool {
        let next = self.sleepers.lock().unwrap().1.keys().next().map(|(at, _)| *at);
        if let Some(at) = next {
            self.advance((at - self.now()).max(0));
        }
        next.is_some()
    }
}

/// One engine's view of the time, which may be off by a constant.
pub struct SimClock {
    pub world: Arc<World>,
    pub skew: i64,
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> i64 {
        self.world.time.now() + self.skew
    }

    fn steady(&self) -> i64 {
        self.world.time.now()
    }

    async fn sleep(&self, duration: Duration) {
        sleep(&self.world, duration.as_millis() as i64).await;
    }
}

/// Waits so many milliseconds.
pub fn sleep(world: &Arc<World>, milliseconds: i64) -> impl Future<Output = ()> + Send + 'static {
    Sleep { world: Arc::clone(world), until: world.time.now() + milliseconds.max(1) }
}

struct Sleep {
    world: Arc<World>,
    until: i64,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.world.time.now() >= self.until {
            return Poll::Ready(());
        }
        let mut sleepers = self.world.time.sleepers.lock().unwrap();
        sleepers.0 += 1;
        let key = (self.until, sleepers.0);
        sleepers.1.insert(key, context.waker().clone());
        Poll::Pending
    }
}
