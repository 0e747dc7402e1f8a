//! Systems other than Linux: processes with limits and a group of their own, and no sandbox.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::command::FIRST_PASSED;
use crate::{Command, Limits, Missing, Protection, StartError};

pub(crate) fn start_launcher() -> io::Result<()> {
    Ok(())
}

pub(crate) fn probe() -> Protection {
    let missing = Missing {
        means: "namespaces",
        effect: "a script or command can read and change every file that the server can, the data directory included",
        why: "only Linux has them".to_owned(),
        hint: None,
    };
    Protection {
        namespaces: false,
        landlock: 0,
        seccomp: false,
        root: nix::unistd::geteuid().is_root(),
        missing: vec![missing],
    }
}

pub(crate) fn read_only(file: &File, scratch: &Path) -> io::Result<File> {
    let path = scratch.join(format!(".copy-{}-{}", std::process::id(), file.as_raw_fd()));
    let mut copy = File::create_new(&path)?;
    let opened = io::copy(&mut &*file, &mut copy).and_then(|_| File::open(&path));
    std::fs::remove_file(&path)?;
    opened
}

/// A running command.
#[derive(Debug)]
pub(crate) struct Child {
    process: std::process::Child,
    ended: Option<i32>,
}

#[expect(unsafe_code, reason = "there is no safe way to run system calls between fork and exec")]
pub(crate) fn spawn(command: Command) -> Result<Child, StartError> {
    let Command { program, arguments, env, directory, stdio, pass, limits, .. } = command;
    let mut started = std::process::Command::new(program);
    started.args(arguments).env_clear().envs(env).current_dir(directory).process_group(0);
    let [input, output, error] = stdio;
    let given = |fd: Option<OwnedFd>| fd.map_or_else(Stdio::null, Stdio::from);
    started.stdin(given(input)).stdout(given(output)).stderr(given(error));
    let in_child = move || {
        let Limits { memory, file_size } = limits;
        setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
        if let Some(bytes) = memory {
            setrlimit(Resource::RLIMIT_DATA, bytes, bytes)?;
        }
        if let Some(bytes) = file_size {
            setrlimit(Resource::RLIMIT_FSIZE, bytes, bytes)?;
        }
        for (number, fd) in (FIRST_PASSED..).zip(&pass) {
            // SAFETY: dup2 is async-signal-safe and takes numbers of open descriptors.
            if unsafe { libc::dup2(fd.as_raw_fd(), number) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls only and allocates nothing.
    unsafe { started.pre_exec(in_child) };
    Ok(Child { process: started.spawn().map_err(StartError::Program)?, ended: None })
}

impl Child {
    pub(crate) fn id(&self) -> Pid {
        Pid::from_raw(self.process.id() as i32)
    }

    pub(crate) fn has_ended(&self) -> bool {
        use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        self.ended.is_some() || !matches!(waitid(Id::Pid(self.id()), look), Ok(WaitStatus::StillAlive))
    }

    pub(crate) fn kill(&self) {
        if self.ended.is_none() {
            let _ = killpg(self.id(), Signal::SIGKILL);
        }
    }

    pub(crate) fn wait_blocking(mut self, _patience: Duration) {
        // Its group was killed, so it ends at once.
        let _ = self.process.wait();
        self.ended = Some(0);
    }

    pub(crate) async fn wait(&mut self) -> io::Result<i32> {
        let mut pause = Duration::from_millis(1);
        while !self.has_ended() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        self.kill();
        if self.ended.is_none() {
            self.ended = Some(self.process.wait()?.into_raw());
        }
        self.ended.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        if self.ended.is_none() {
            let _ = self.process.wait();
        }
    }
}

/// Nothing keeps the mounts of its start here.
pub(crate) fn changes_of_mounts() -> u64 {
    0
}

/// Not asked for here.
pub(crate) fn memory_of_machine() -> Option<u64> {
    None
}

/// Not known here: `setrlimit` alone limits memory.
pub(crate) fn memory(_pid: Pid) -> Option<(u64, Vec<Pid>)> {
    None
}

/// Not known here.
pub(crate) fn nameless_files(_pid: Pid, _disk: u64) -> u64 {
    0
}

/// Not known here.
pub(crate) fn exact_memory(_processes: &[Pid]) -> Option<u64> {
    None
}
