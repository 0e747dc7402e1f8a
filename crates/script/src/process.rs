//! One worker process: what it is started with, whether it lives, and how it and all that it started are ended.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use opendmp_sandbox::{Child, Command, StartError};

use crate::launch;
use crate::scratch::WorkerDir;

/// A process in the sandbox. Dropping it kills it, with all that it started.
#[derive(Debug)]
pub(crate) struct Process {
    child: Option<Child>,
    pid: Pid,
    output: (Option<OwnedFd>, Option<OwnedFd>),
    /// Kept until all of it has ended.
    dir: Arc<WorkerDir>,
}

impl Process {
    /// Start a prepared command; its standard output and error are pipes. Blocks.
    pub(crate) fn start(mut command: Command, dir: Arc<WorkerDir>) -> Result<Self, StartError> {
        let pipe = || std::io::pipe().map_err(|error| StartError::Machine("make a pipe".into(), error));
        let ((out, to_out), (err, to_err)) = (pipe()?, pipe()?);
        command.stdio = [None, Some(to_out.into()), Some(to_err.into())];
        let child = command.spawn()?;
        Ok(Self { pid: child.id(), child: Some(child), output: (Some(out.into()), Some(err.into())), dir })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it is over, with all that it started.
    pub(crate) fn has_ended(&self) -> bool {
        self.child.as_ref().is_none_or(Child::has_ended)
    }

    /// Standard output and error; once.
    pub(crate) fn take_output(&mut self) -> (Option<OwnedFd>, Option<OwnedFd>) {
        (self.output.0.take(), self.output.1.take())
    }

    /// Let it go on for at most `grace`, then kill it and its descendants; how it ended.
    pub(crate) async fn end(&mut self, grace: Duration) -> String {
        let Some(child) = &mut self.child else { return "it had ended before".into() };
        let status = match tokio::time::timeout(grace, child.wait()).await {
            Ok(status) => status,
            Err(_) if grace.is_zero() => child.kill().await,
            Err(_) => {
                let _ = child.kill().await;
                self.child = None;
                return "it closed its connection, and did not end".into();
            }
        };
        self.child = None;
        match status {
            Ok(status) => describe(status),
            Err(error) => format!("its end is not known: {error}"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            let dir = Arc::clone(&self.dir);
            // Waiting for it may take a while, and its folder is not removed under it.
            launch::in_background(move || {
                child.kill_blocking();
                drop(dir);
            });
        }
    }
}

/// `exit code 3`, `killed by signal 11 (SIGSEGV)`.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(number)) => match Signal::try_from(number) {
            Ok(signal) => format!("killed by signal {number} ({})", signal.as_str()),
            Err(_) => format!("killed by signal {number}"),
        },
        (None, None) => status.to_string(),
    }
}

/// The environment of a worker: nothing of the server's but what every program needs.
pub(crate) fn clean_env(dir: &WorkerDir) -> Vec<(OsString, OsString)> {
    let mut env: Vec<(OsString, OsString)> = ["PATH", "TZ", "HOME"]
        .into_iter()
        .filter_map(|name| std::env::var_os(name).map(|value| (name.into(), value)))
        .collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8).to_string();
    // Numeric libraries take memory for every core there is; on a large machine that alone can pass the limit.
    for name in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"] {
        env.push((name.into(), threads.clone().into()));
    }
    env.extend([("LANG", "C.UTF-8"), ("LC_ALL", "C.UTF-8")].map(|(name, value)| (name.into(), value.into())));
    env.push(("TMPDIR".into(), dir.tmp().into()));
    // Libraries write their caches there, which they would else do in the home folder.
    for name in ["XDG_CACHE_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR"] {
        env.push((name.into(), dir.cache().into()));
    }
    env
}

/// `PATH` with `first` before what the server has.
pub(crate) fn path_with(first: &Path) -> OsString {
    let mut path = OsString::from(first);
    if let Some(rest) = std::env::var_os("PATH").filter(|rest| !rest.is_empty()) {
        path.push(":");
        path.push(rest);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_described() {
        assert_eq!(describe(ExitStatus::from_raw(3 << 8)), "exit code 3");
        assert_eq!(describe(ExitStatus::from_raw(9)), "killed by signal 9 (SIGKILL)");
    }
}
