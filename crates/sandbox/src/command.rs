//! A command to be started, and the process that comes of it.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;

use nix::unistd::Pid;

use crate::{Policy, platform};

/// What each process of a command may take at most; they inherit it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Bytes of private writable memory of one process.
    pub memory: Option<u64>,
    /// Bytes that one file may grow to.
    pub file_size: Option<u64>,
}

/// A command to be started. Its environment is `env` alone.
#[derive(Debug)]
pub struct Command {
    /// The program; without a `/` it is looked for in `PATH` of `env`.
    pub program: OsString,
    /// Its arguments, without its name.
    pub arguments: Vec<OsString>,
    /// Its environment.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub directory: PathBuf,
    /// Its descriptors 0, 1 and 2; `/dev/null` where there is none.
    pub stdio: [Option<OwnedFd>; 3],
    /// Its further descriptors, from 3 on. At most 64.
    pub pass: Vec<OwnedFd>,
    /// What it may take.
    pub limits: Limits,
    /// What it may touch.
    pub policy: Policy,
}

/// The first number of [`Command::pass`].
pub const FIRST_PASSED: i32 = 3;

/// Why a command could not be started.
#[derive(Debug)]
pub enum StartError {
    /// The program: it is not there, or may not be run.
    Program(io::Error),
    /// A folder of the policy, or the working directory.
    Folder(PathBuf, io::Error),
    /// The machine: what was tried.
    Machine(String, io::Error),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Program(error) => write!(f, "{error}"),
            Self::Folder(path, error) => write!(f, "`{}`: {error}", path.display()),
            Self::Machine(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Why a folder is not shown.
#[derive(Debug)]
pub(crate) enum NotShown {
    /// It is or lies in what no command may be given.
    Closed,
    /// A link was put in its place, or on the way to it.
    Link,
}

impl std::fmt::Display for NotShown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Closed => "it lies in the data directory, or in a folder of sockets that lead out of the sandbox",
            Self::Link => "a link was put in its place, or on the way to it, after the flow was started",
        })
    }
}

impl std::error::Error for NotShown {}

/// Whether a [`StartError::Folder`] means that the folder is or lies in the data directory, or another folder that no
/// command may be given.
pub fn is_closed(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|why| matches!(why.downcast_ref(), Some(NotShown::Closed)))
}

/// A running command. Dropping it ends the command with everything it started.
#[derive(Debug)]
pub struct Child {
    pub(crate) inner: platform::Child,
}

impl Command {
    /// Starts it. Blocks for some milliseconds.
    ///
    /// # Errors
    /// By what it is about.
    pub fn spawn(self) -> Result<Child, StartError> {
        Ok(Child { inner: platform::spawn(self)? })
    }
}

impl Child {
    /// A process that has all others of this command as descendants.
    pub fn id(&self) -> Pid {
        self.inner.id()
    }

    /// Whether all of it has ended.
    pub fn has_ended(&self) -> bool {
        self.inner.has_ended()
    }

    /// Waits for the program to end; what it started has ended then, too. May be called again after it was cancelled.
    /// Has to be called in a runtime.
    ///
    /// # Errors
    /// When the end can't be known: what watched over it was killed from outside.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.inner.wait().await.map(ExitStatus::from_raw)
    }

    /// Ends it with everything it started, and waits for that.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub async fn kill(&mut self) -> io::Result<ExitStatus> {
        self.inner.kill();
        self.wait().await
    }

    /// The same for where nothing is awaited: waits for some seconds at most.
    pub fn kill_blocking(self) {
        self.inner.kill();
        self.inner.wait_blocking(std::time::Duration::from_secs(10));
    }
}
