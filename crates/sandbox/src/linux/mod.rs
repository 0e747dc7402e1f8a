//! Linux: namespaces, Landlock, seccomp.
//!
//! Here is the server's side; `launcher`, `init`, `program` and `view` run in processes of their own.

mod filter;
mod init;
mod landlock;
mod launcher;
mod memory;
mod mounts;
mod program;
mod shown;
mod sys;
mod view;
mod wire;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

pub(crate) use self::memory::{exact_memory, memory, memory_of_machine, nameless_files};
use self::wire::{Report, Request, Step, Wanted};
use crate::command::NotShown;
use crate::policy::{Plan, Policy, plan};
use crate::{Command, Missing, Protection, StartError};

/// How long the start of a command may take before the launcher counts as dead.
const PATIENCE: Duration = Duration::from_secs(60);
/// Switches namespaces off: for tests, and for looking for a fault.
const SWITCH: &str = "OPENDMP_NAMESPACES";

static LAUNCHER: Mutex<Option<OwnedFd>> = Mutex::new(None);
static VIEW: Mutex<Option<UnixStream>> = Mutex::new(None);
/// The list of mounts, which tells when it changes, and how often it has.
static MOUNTS: Mutex<(Option<File>, u64)> = Mutex::new((None, 0));

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn start_launcher() -> io::Result<()> {
    let mut launcher = lock(&LAUNCHER);
    if launcher.is_none() {
        *launcher = Some(launcher::start()?);
    }
    Ok(())
}

/// How often the mounts of this process have changed, as far as it was asked for. What was started before has those of then,
/// and keeps a disk busy that was unmounted: the view is closed, and others are for their owners to end.
pub(crate) fn changes_of_mounts() -> u64 {
    let mut held = lock(&MOUNTS);
    let (list, changes) = &mut *held;
    if list.is_none() {
        // Without it nothing is known of changes, as on a machine without `/proc`.
        *list = File::open("/proc/self/mounts").ok();
    }
    let Some(open) = list else { return *changes };
    // See proc_pid_mounts(5).
    let mut events = [PollFd::new(open.as_fd(), PollFlags::POLLPRI)];
    let changed = matches!(poll(&mut events, PollTimeout::ZERO), Ok(1..));
    if changed {
        *changes += 1;
        *lock(&VIEW) = None;
    }
    *changes
}

/// Sends the launcher a message; starts it anew where it is gone.
fn ask(wanted: Wanted, stdio: u8, descriptors: &[RawFd]) -> io::Result<()> {
    let mut launcher = lock(&LAUNCHER);
    for attempt in 0..2 {
        if launcher.is_none() {
            *launcher = Some(launcher::start()?);
        }
        let Some(socket) = &*launcher else { break };
        match wire::send(socket, &[wanted.byte(), stdio], descriptors) {
            Err(error) if attempt == 0 && matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)) => {
                tracing::warn!("the launcher of commands was killed; it is started anew");
                *launcher = None;
            }
            sent => return sent,
        }
    }
    Err(io::ErrorKind::BrokenPipe.into())
}

/// A running command.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    control: Control,
    received: Vec<u8>,
    status: Option<i32>,
}

#[derive(Debug)]
enum Control {
    Blocking(UnixStream),
    Async(tokio::net::UnixStream),
}

impl Control {
    fn number(&self) -> RawFd {
        match self {
            Self::Blocking(stream) => stream.as_raw_fd(),
            Self::Async(stream) => stream.as_raw_fd(),
        }
    }
}

pub(crate) fn spawn(command: Command) -> Result<Child, StartError> {
    start(command, protection().namespaces)
}

/// An error with the sockets of a start.
fn machine(error: io::Error) -> StartError {
    StartError::Machine("start a process".to_owned(), error)
}

fn failed(error: i32, step: Step) -> StartError {
    let error = io::Error::from_raw_os_error(error);
    match step {
        Step::Program => StartError::Program(error),
        // Not the folder's doing.
        Step::Folder(path)
            if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EIO)) =>
        {
            StartError::Machine(format!("open {}", path.display()), error)
        }
        Step::Folder(path) => StartError::Folder(path, error),
        Step::Closed(path) => StartError::Folder(path, io::Error::new(error.kind(), NotShown::Closed)),
        Step::Link(path) => StartError::Folder(path, io::Error::new(error.kind(), NotShown::Link)),
        Step::Other(what) => StartError::Machine(what, error),
    }
}

fn start(command: Command, apart: bool) -> Result<Child, StartError> {
    let Command { program, arguments, env, directory, stdio, pass, limits, policy } = command;
    let asked = policy.asked.iter().filter(|asked| asked.write).map(|asked| &asked.path);
    for folder in policy.writable.iter().chain(asked) {
        folder.metadata().map_err(|error| StartError::Folder(folder.clone(), error))?;
    }
    let Plan { mounts, hidden, closed } = plan(&policy);
    let request = Request {
        program,
        arguments,
        env,
        directory,
        memory: limits.memory,
        file_size: limits.file_size,
        mounts,
        hidden,
        closed,
        network: policy.network,
        shared_memory: policy.shared_memory.max(64 << 10),
        apart,
    };
    let (ours, theirs) = UnixStream::pair().map_err(machine)?;
    ours.set_read_timeout(Some(PATIENCE)).map_err(machine)?;
    ours.set_write_timeout(Some(PATIENCE)).map_err(machine)?;
    let mut descriptors = vec![theirs.as_raw_fd()];
    let mut given = 0;
    for (number, fd) in stdio.iter().enumerate() {
        if let Some(fd) = fd {
            given |= 1 << number;
            descriptors.push(fd.as_raw_fd());
        }
    }
    descriptors.extend(pass.iter().map(AsRawFd::as_raw_fd));
    let wanted = if apart { Wanted::Apart } else { Wanted::Plain };
    ask(wanted, given, &descriptors).map_err(machine)?;
    drop((theirs, stdio, pass));
    // Where init is gone already, what it said tells why.
    let sent = request.send(&ours);
    let begun = first_report(&ours).map_err(machine)?;
    let (pid, pidfd) = match begun {
        (Report::Begun(pid), Some(pidfd)) => (Pid::from_raw(pid), pidfd),
        (Report::Failed(error, step), _) => return Err(failed(error, step)),
        _ => return Err(machine(io::Error::other("the launcher answered something else"))),
    };
    sent.map_err(machine)?;
    let mut child = Child { pid, pidfd, control: Control::Blocking(ours), received: Vec::new(), status: None };
    match child.next_blocking().map_err(machine)? {
        Report::Started => {}
        Report::Ended(status) => child.status = Some(status),
        Report::Failed(error, step) => return Err(failed(error, step)),
        Report::Begun(_) => {}
    }
    if let Control::Blocking(stream) = &child.control {
        stream.set_nonblocking(true).map_err(machine)?;
    }
    Ok(child)
}

/// The first report comes with a descriptor and is read by itself.
fn first_report(stream: &UnixStream) -> io::Result<(Report, Option<OwnedFd>)> {
    let mut head = vec![0; Report::HEAD];
    let (length, mut descriptors) = wire::receive(stream, &mut head)?;
    head.truncate(length);
    loop {
        if let Some(report) = Report::take(&mut head)? {
            return Ok((report, descriptors.pop()));
        }
        let mut byte = [0];
        let mut from = stream;
        from.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
}

impl Child {
    pub(crate) fn id(&self) -> Pid {
        self.pid
    }

    pub(crate) fn has_ended(&self) -> bool {
        let mut events = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        self.status.is_some() || matches!(poll(&mut events, PollTimeout::ZERO), Ok(1..))
    }

    /// Whoever watches over it ends it when this end is closed for writing.
    pub(crate) fn kill(&self) {
        // An error means that it is over.
        let _ = nix::sys::socket::shutdown(self.control.number(), nix::sys::socket::Shutdown::Write);
    }

    pub(crate) fn wait_blocking(&self, patience: Duration) {
        let mut events = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        // Interrupted or not: whoever needs it to be gone finds out.
        let _ = poll(&mut events, PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX));
    }

    fn next_blocking(&mut self) -> io::Result<Report> {
        loop {
            if let Some(report) = Report::take(&mut self.received)? {
                return Ok(report);
            }
            let Control::Blocking(stream) = &mut self.control else { return Err(io::ErrorKind::WouldBlock.into()) };
            let mut buffer = [0; 256];
            match stream.read(&mut buffer) {
                Ok(0) => return Err(gone()),
                Ok(read) => self.received.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) async fn wait(&mut self) -> io::Result<i32> {
        loop {
            if let Some(status) = self.status {
                return Ok(status);
            }
            match Report::take(&mut self.received)? {
                Some(Report::Ended(status)) => {
                    self.status = Some(status);
                    continue;
                }
                Some(_) => continue,
                None => {}
            }
            if let Control::Blocking(stream) = &self.control {
                self.control = Control::Async(tokio::net::UnixStream::from_std(stream.try_clone()?)?);
            }
            let Control::Async(stream) = &self.control else { return Err(gone()) };
            stream.readable().await?;
            let mut buffer = [0; 256];
            match stream.try_read(&mut buffer) {
                Ok(0) => return Err(gone()),
                Ok(read) => self.received.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the process that watched over it was killed")
}

pub(crate) fn probe() -> Protection {
    let landlock = sys::landlock_version();
    let seccomp = sys::has_seccomp();
    let mut missing = Vec::new();
    let tried = match std::env::var(SWITCH) {
        Ok(value) if value == "off" => Err((format!("switched off by `{SWITCH}=off`"), None)),
        _ => try_namespaces(),
    };
    let namespaces = tried.is_ok();
    if let Err((why, hint)) = tried {
        missing.push(Missing {
            means: "namespaces",
            effect: "a script or command can change modes and times of files of the server's user outside its scratch \
                     folder, sees the names of all processes, and shares `/dev/shm` with others",
            why,
            hint,
        });
    }
    if landlock == 0 {
        missing.push(Missing {
            means: "landlock",
            effect: if namespaces {
                "scripts and commands are kept apart by namespaces alone"
            } else {
                "a script or command can read and change every file that the server can, the data directory included"
            },
            why: "the kernel has no Landlock, or it is not enabled".to_owned(),
            hint: Some("use Linux 5.13 or newer with `landlock` in its list of security modules (`lsm=landlock,…` on its command line)"),
        });
    } else if landlock < 6 && !namespaces {
        missing.push(Missing {
            means: "landlock",
            effect: "a script or command can signal the server",
            why: format!("this kernel's Landlock is version {landlock}, signals are kept in from 6 on"),
            hint: Some("use Linux 6.12 or newer"),
        });
    }
    if !seccomp {
        missing.push(Missing {
            means: "seccomp",
            effect: "system calls are not filtered, so `network: off` does not hold",
            why: "the kernel has no seccomp".to_owned(),
            hint: None,
        });
    }
    Protection { namespaces, landlock, seccomp, root: nix::unistd::geteuid().is_root(), missing }
}

/// Starts a command that only makes its mounts.
fn try_namespaces() -> Result<(), (String, Option<&'static str>)> {
    let command = Command {
        program: Default::default(),
        arguments: Vec::new(),
        env: Vec::new(),
        directory: "/".into(),
        stdio: [None, None, None],
        pass: Vec::new(),
        limits: crate::Limits::default(),
        policy: Policy { tmp: Some("/".into()), ..Policy::default() },
    };
    match start(command, true) {
        Ok(_) => Ok(()),
        Err(found) => {
            let number = match &found {
                StartError::Program(error) | StartError::Folder(_, error) | StartError::Machine(_, error) => {
                    error.raw_os_error()
                }
            };
            let hint = match number {
                Some(libc::ENOSPC) => Some("raise `sysctl user.max_user_namespaces`"),
                Some(libc::EPERM | libc::EACCES) => Some(
                    "allow user namespaces: `sysctl kernel.unprivileged_userns_clone=1` (Debian), \
                     `sysctl kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu), or in a container \
                     `--security-opt seccomp=unconfined --security-opt apparmor=unconfined`",
                ),
                Some(libc::ENOSYS | libc::EINVAL) => Some("Linux 5.12 or newer"),
                _ => None,
            };
            Err((found.to_string(), hint))
        }
    }
}

pub(crate) fn read_only(file: &File, scratch: &Path) -> io::Result<File> {
    if protection().namespaces
        && let Ok(Some(file)) = through_view(file)
    {
        return Ok(file);
    }
    copy(file, scratch)
}

/// The file as the view opens it; none where its path leads to another one by now.
fn through_view(file: &File) -> io::Result<Option<File>> {
    let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let path = path.as_os_str().as_bytes();
    if path.len() > view::MAX_PATH {
        return Ok(None);
    }
    changes_of_mounts();
    let mut held = lock(&VIEW);
    let mut answer = [0];
    for attempt in 0..2 {
        if held.is_none() {
            *held = Some(start_view()?);
        }
        let Some(socket) = &*held else { return Ok(None) };
        let answered = wire::send(socket, path, &[]).and_then(|()| wire::receive(socket, &mut answer));
        match answered {
            Ok((1.., mut descriptors)) => {
                let Some(opened) = descriptors.pop() else { return Ok(None) };
                let opened = File::from(opened);
                let (one, other) = (file.metadata()?, opened.metadata()?);
                return Ok(((one.dev(), one.ino()) == (other.dev(), other.ino())).then_some(opened));
            }
            // It was killed: once more with a new one.
            _ if attempt == 0 => *held = None,
            Ok(_) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn start_view() -> io::Result<UnixStream> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    ask(Wanted::View, 0, &[theirs.as_raw_fd()])?;
    let ours = UnixStream::from(ours);
    ours.set_read_timeout(Some(PATIENCE))?;
    Ok(ours)
}

/// A copy that has no name, open for reading only.
fn copy(file: &File, scratch: &Path) -> io::Result<File> {
    let (path, mut copy) = loop {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = scratch.join(format!(".copy-{}-{number}", std::process::id()));
        match File::create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => break (path, made?),
        }
    };
    let opened = (|| {
        let mut from = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        io::copy(&mut from, &mut copy)?;
        File::open(&path)
    })();
    fs::remove_file(&path)?;
    opened
}

fn protection() -> &'static Protection {
    crate::protection()
}
