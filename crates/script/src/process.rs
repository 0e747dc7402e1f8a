//! One child process: what it is started with, whether it lives, and how it and all that it started are ended.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::launch;
use crate::os::child::{Setup, confine};
use crate::scratch::{MARK, WorkerDir};

/// A child in a session of its own. Dropping it kills it, with its group and what left the group.
#[derive(Debug)]
pub(crate) struct Process {
    child: Option<Child>,
    pid: Pid,
    dir: Arc<WorkerDir>,
}

impl Process {
    /// Start a prepared command, confined by `setup`. Blocks.
    pub(crate) fn start(mut command: Command, setup: Setup, dir: Arc<WorkerDir>) -> io::Result<Self> {
        confine(&mut command, setup);
        let child = launch::spawn(command)?;
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        crate::os::prefer_to_lose(pid);
        Ok(Self { child: Some(child), pid, dir })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it is over, even if a descendant still holds its connection.
    pub(crate) fn has_ended(&self) -> bool {
        self.child.is_none() || crate::os::has_ended(self.pid)
    }

    /// Standard output and error, if they are piped; once.
    pub(crate) fn take_output(&mut self) -> (Option<OwnedFd>, Option<OwnedFd>) {
        match &mut self.child {
            Some(child) => (child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from)),
            None => (None, None),
        }
    }

    /// Let it go on for at most `grace`, then kill it and its descendants; how it ended.
    pub(crate) async fn end(&mut self, grace: Duration) -> String {
        let Some(pid) = self.child.as_ref().map(|_| self.pid) else { return "it had ended before".into() };
        let until = Instant::now() + grace;
        let mut pause = Duration::from_millis(1);
        // While the child is still ours, so that it is killed even if nobody waits here to the end.
        while !self.has_ended() && Instant::now() < until {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        let overdue = !grace.is_zero() && cfg!(target_os = "linux") && !self.has_ended();
        let Some(child) = self.child.take() else { return "it had ended before".into() };
        let dir = Arc::clone(&self.dir);
        match tokio::task::spawn_blocking(move || finish(child, pid, &dir)).await {
            Ok(Ok(_)) if overdue => "it closed its connection, and did not end".into(),
            Ok(Ok(status)) => describe(status),
            Ok(Err(error)) => format!("its end is not known: {error}"),
            Err(_) => "its end is not known".into(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            let (pid, dir) = (self.pid, Arc::clone(&self.dir));
            // At once, so that it does no more; waiting for it may take a while.
            kill_group(pid);
            launch::in_background(move || {
                let _ = finish(child, pid, &dir);
            });
        }
    }
}

fn kill_group(pid: Pid) {
    // An error means that all of it is gone.
    let _ = killpg(pid, Signal::SIGKILL);
}

/// Kill a process with all that it started. The order matters: while the leader is not waited for, its number can't
/// stand for another group.
fn finish(mut child: Child, pid: Pid, dir: &WorkerDir) -> io::Result<ExitStatus> {
    kill_group(pid);
    let status = child.wait();
    // Those that left the session; again, because one may have forked while they were looked for.
    let mark = format!("{MARK}={}", dir.mark());
    for _ in 0..4 {
        if crate::os::kill_marked(&mark) == 0 {
            break;
        }
    }
    status
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

/// A command with nothing of the server's environment but what every program needs.
pub(crate) fn clean_command(program: &Path, dir: &WorkerDir) -> Command {
    let tmp = dir.tmp();
    let mut command = Command::new(program);
    command.env_clear().current_dir(&tmp);
    for name in ["PATH", "TZ"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8).to_string();
    // Numeric libraries take memory for every core there is; on a large machine that alone can pass the limit.
    for name in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"] {
        command.env(name, &threads);
    }
    command.envs([("LANG", "C.UTF-8"), ("LC_ALL", "C.UTF-8")]);
    command.env("TMPDIR", &tmp).env("HOME", &tmp).env(MARK, dir.mark());
    command
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
