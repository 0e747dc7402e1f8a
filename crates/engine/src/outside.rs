//! Intents under way in a live engine: how many at once, and who carries them out. An export begins as soon as it is
//! claimed; releases wait a moment for others, because nobody waits for them and many cost little more than one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opendmp_ports::journal::{Action, Intent};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::Engine;
use crate::engine::lock;
use crate::intents::together;

/// How many intents are carried out at once.
const AT_ONCE: usize = 64;

/// How long releases wait for others, and how many wait at most.
const GATHER: Duration = Duration::from_millis(25);
const GATHERED: usize = 64;

/// See the module. Clones share it.
#[derive(Clone)]
pub(crate) struct Outside {
    engine: Arc<Engine>,
    permits: Arc<Semaphore>,
    running: Arc<Mutex<JoinSet<()>>>,
    releases: mpsc::Sender<Intent>,
}

impl Outside {
    /// The other end is for [`Outside::gather`].
    pub fn new(engine: Arc<Engine>) -> (Self, mpsc::Receiver<Intent>) {
        let (releases, gathered) = mpsc::channel(GATHERED);
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        (Self { engine, permits, running: Arc::default(), releases }, gathered)
    }

    /// How many more may be claimed.
    pub fn room(&self) -> usize {
        self.permits.available_permits()
    }

    /// Waits until there is room.
    pub async fn has_room(&self) {
        // Never closed.
        drop(self.permits.acquire().await);
    }

    /// Carries claimed intents out, beside the caller.
    pub fn carry_out(&self, intents: Vec<Intent>) {
        let mut now = Vec::with_capacity(intents.len());
        for intent in intents {
            match &intent.action {
                Action::Export(_) => now.push(intent),
                Action::Release { .. } => match self.releases.try_send(intent) {
                    Ok(()) => {}
                    // Too many wait already, or nobody gathers any more.
                    Err(mpsc::error::TrySendError::Full(intent) | mpsc::error::TrySendError::Closed(intent)) => {
                        now.push(intent);
                    }
                },
            }
        }
        for some in together(now) {
            let (engine, permits) = (Arc::clone(&self.engine), Arc::clone(&self.permits));
            let wanted = some.len().min(AT_ONCE) as u32;
            // At once, so that who asks next how much room there is knows of it.
            let permit = Arc::clone(&permits).try_acquire_many_owned(wanted).ok();
            let mut running = lock(&self.running);
            while running.try_join_next().is_some() {}
            running.spawn(async move {
                let _permit = match permit {
                    Some(permit) => Ok(permit),
                    None => permits.acquire_many_owned(wanted).await,
                };
                carry_out(&engine, some).await;
            });
        }
    }

    /// Carries releases out as they come, many together.
    pub async fn gather(engine: Arc<Engine>, mut gathered: mpsc::Receiver<Intent>, mut stopped: watch::Receiver<bool>) {
        loop {
            let first = tokio::select! {
                first = gathered.recv() => first,
                _ = stopped.wait_for(|stopped| *stopped) => None,
            };
            let mut together: Vec<Intent> = first.into_iter().collect();
            if together.is_empty() {
                // From here on nobody can hand one over any more; what was handed over before is carried out now.
                gathered.close();
            } else {
                tokio::select! {
                    () = tokio::time::sleep(GATHER) => {}
                    _ = stopped.wait_for(|stopped| *stopped) => {}
                }
            }
            while let Ok(more) = gathered.try_recv() {
                together.push(more);
            }
            if together.is_empty() {
                return;
            }
            carry_out(&engine, together).await;
        }
    }

    /// Waits until nothing is under way any more. Nothing may be handed over meanwhile.
    pub async fn ended(&self) {
        loop {
            // A lock is not held while one waits, so not for the tasks themselves.
            drop(self.permits.acquire_many(AT_ONCE as u32).await);
            if self.is_idle() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    fn is_idle(&self) -> bool {
        let mut running = lock(&self.running);
        while running.try_join_next().is_some() {}
        running.is_empty()
    }

    /// Breaks off what is under way.
    pub fn abort(&self) {
        lock(&self.running).abort_all();
    }
}

async fn carry_out(engine: &Engine, intents: Vec<Intent>) {
    match engine.carry_out(intents).await {
        Ok(()) => engine.clear_trouble("intents"),
        Err(error) => engine.trouble("intents", &error.to_string(), error.hint.as_deref()),
    }
}
