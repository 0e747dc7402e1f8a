//! Starting processes and clearing up after them, each on a thread of its own that never ends.
//!
//! A child asks the kernel to be killed when the *thread* that started it dies (`PR_SET_PDEATHSIG`), so that no
//! script outlives a killed server. Pool threads of a runtime come and go; hence one thread starts all children.

use std::io;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

type Job = Box<dyn FnOnce() + Send>;

/// Jobs that may wait for a thread.
const WAITING: usize = 1024;

/// Start a process from the thread that lives as long as the server. Blocks.
pub(crate) fn spawn(mut command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<Option<SyncSender<Job>>> = OnceLock::new();
    let (answer, answered) = sync_channel(1);
    let job: Job = Box::new(move || {
        let child = command.spawn();
        if let Err(std::sync::mpsc::SendError(Ok(mut orphan))) = answer.send(child) {
            // Nobody waits for it any more.
            let _ = orphan.kill();
            let _ = orphan.wait();
        }
    });
    let starter = STARTER.get_or_init(|| thread("opendmp-start")).as_ref();
    starter
        .and_then(|jobs| jobs.send(job).ok())
        .ok_or_else(|| io::Error::other("no thread to start processes from"))?;
    answered.recv().map_err(|_| io::Error::other("the thread that starts processes died"))?
}

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
            // A job that panics must not take the thread, and with it every running script, along.
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
