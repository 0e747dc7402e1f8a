//! Clearing up beside the runtime, on a thread of its own that never ends.

use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

type Job = Box<dyn FnOnce() + Send>;

/// Jobs that may wait for the thread.
const WAITING: usize = 1024;

/// Do something that may block and that nobody waits for: removing files. When too much of that waits already, the
/// caller does it, who thereby makes no more of it meanwhile.
pub(crate) fn in_background(job: impl FnOnce() + Send + 'static) {
    match janitor().map(|jobs| jobs.try_send(Box::new(job))) {
        Some(Ok(())) => {}
        Some(Err(TrySendError::Full(job) | TrySendError::Disconnected(job))) => job(),
        None => tracing::warn!("no thread to remove scratch files with; the next start removes them"),
    }
}

/// Wait until everything given to [`in_background`] before is done. Blocks.
pub(crate) fn settle_background() {
    let (done, wait) = sync_channel(1);
    let job: Job = Box::new(move || {
        let _ = done.send(());
    });
    if janitor().is_some_and(|jobs| jobs.send(job).is_ok()) {
        // An error means that the thread is gone, and then there is nothing to wait for.
        let _ = wait.recv();
    }
}

fn janitor() -> Option<&'static SyncSender<Job>> {
    static JANITOR: OnceLock<Option<SyncSender<Job>>> = OnceLock::new();
    JANITOR.get_or_init(|| thread("opendmp-janitor")).as_ref()
}

fn thread(name: &str) -> Option<SyncSender<Job>> {
    let (jobs, todo) = sync_channel::<Job>(WAITING);
    let work = move || {
        for job in todo {
            // A job that panics must not take the thread along.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
        }
    };
    match std::thread::Builder::new().name(name.into()).spawn(work) {
        Ok(_) => Some(jobs),
        Err(error) => {
            tracing::error!(%error, "failed to start the thread {name}");
            None
        }
    }
}
