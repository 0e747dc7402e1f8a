//! A single-threaded executor that polls one ready future at a time, chosen by the seed, and moves the time only when it
//! likes or when nothing else can happen. Each future has an owner; killing an owner drops its futures where they stand,
//! which is what a crash does.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::BoxFuture;

use super::world::World;

/// Who a future belongs to: the number of an engine, or [`OUTSIDE`].
pub type Owner = u32;

/// The world outside and the network: never killed.
pub const OUTSIDE: Owner = 0;

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Task {
    owner: Owner,
    future: BoxFuture<'static, ()>,
    woken: Arc<Woken>,
}

/// See the module.
pub struct Executor {
    world: Arc<World>,
    tasks: Vec<Task>,
    stalled: BTreeMap<Owner, u64>,
    /// Steps so far.
    pub step: u64,
}

impl Executor {
    pub fn new(world: Arc<World>) -> Self {
        Self { world, tasks: Vec::new(), stalled: BTreeMap::new(), step: 0 }
    }

    pub fn spawn(&mut self, owner: Owner, future: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push(Task { owner, future: Box::pin(future), woken: Arc::new(Woken(AtomicBool::new(true))) });
    }

    /// Drops all futures of an owner where they stand.
    pub fn kill(&mut self, owner: Owner) {
        self.tasks.retain(|task| task.owner != owner);
        self.stalled.remove(&owner);
    }

    /// Leaves an owner's futures alone for so many steps.
    pub fn stall(&mut self, owner: Owner, steps: u64) {
        self.stalled.insert(owner, self.step + steps);
    }

    /// How many futures an owner has.
    pub fn count(&self, owner: Owner) -> usize {
        self.tasks.iter().filter(|task| task.owner == owner).count()
    }

    /// Polls one future, or moves the time. False: nothing can ever happen again.
    pub fn step(&mut self) -> bool {
        self.step += 1;
        for (owner, future) in self.world.take_spawned() {
            self.tasks.push(Task { owner, future, woken: Arc::new(Woken(AtomicBool::new(true))) });
        }
        let now = self.step;
        self.stalled.retain(|_, until| *until > now);
        if self.world.chance(20) {
            let by = 1 + self.world.below(20);
            self.world.time.advance(by as i64);
        }
        let ready: Vec<usize> = (0..self.tasks.len())
            .filter(|at| {
                let task = &self.tasks[*at];
                task.woken.0.load(Ordering::Relaxed) && !self.stalled.contains_key(&task.owner)
            })
            .collect();
        if ready.is_empty() {
            let stalled = !self.stalled.is_empty();
            self.stalled.clear();
            return self.world.time.jump() || stalled;
        }
        let at = ready[self.world.below(ready.len() as u64) as usize];
        let task = &mut self.tasks[at];
        task.woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&task.woken));
        if task.future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            self.tasks.swap_remove(at);
        }
        true
    }
}

/// Gives way once.
#[derive(Default)]
pub struct Yield(bool);

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
