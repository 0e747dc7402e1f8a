//! The launcher: a small fork of the server from which all commands are forked.
//!
//! A server has many threads and much memory; a process forked from it must not allocate, copies its page tables, and
//! keeps its old pages alive. The launcher has one thread and little memory.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{Pid, getegid, geteuid};

use super::filter::Filters;
use super::sys::{self, Side};
use super::wire::{self, Report, Step, Wanted};
use super::{init, view};

/// What all processes that are forked from the launcher share.
pub(super) struct Shared {
    /// Filters of system calls.
    pub filters: Filters,
    /// `/dev/null`, for descriptors that a command is not given.
    pub null: File,
    /// How many files a command may have open, at first and at most.
    pub files: (u64, u64),
}

/// Forks the launcher; the socket to it.
pub(super) fn start() -> io::Result<OwnedFd> {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).map_err(io::Error::from)?;
    // Made before the fork: what fails here is told to the caller.
    let shared = Shared {
        filters: Filters::compile().map_err(io::Error::other)?,
        null: OpenOptions::new().read(true).write(true).open("/dev/null")?,
        files: getrlimit(Resource::RLIMIT_NOFILE)?,
    };
    let number = theirs.as_raw_fd();
    sys::fork(|| run(&theirs, &shared))?;
    tracing::debug!(number, "the launcher of commands was started");
    Ok(ours)
}

fn run(socket: &OwnedFd, shared: &Shared) -> ! {
    // A session of its own, so that Ctrl-C in the server's terminal does not reach it: it ends with the server.
    let _ = nix::unistd::setsid();
    let _ = nix::sys::prctl::set_name(c"opendmp-launch");
    sys::reset_signals();
    sys::ignore_signals();
    keep_only(socket, &shared.null);
    // All folders that a command is shown are open at once for a moment.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, shared.files.1, shared.files.1);
    let _ = nix::unistd::chdir("/");
    loop {
        let mut body = [0; 2];
        match wire::receive(socket, &mut body) {
            Ok((0, _)) | Err(_) => sys::exit(0),
            Ok((_, descriptors)) => {
                if let Some(wanted) = Wanted::of(body[0]) {
                    launch(wanted, body[1], descriptors, socket, shared);
                }
            }
        }
    }
}

/// Closes what was the server's, but for the descriptors named.
fn keep_only(socket: &OwnedFd, null: &File) {
    for number in 0..3 {
        let _ = sys::renumber(null.as_fd(), number);
    }
    let (low, high) = (socket.as_raw_fd().min(null.as_raw_fd()), socket.as_raw_fd().max(null.as_raw_fd()));
    sys::close_between(3, low);
    sys::close_between(low + 1, high);
    sys::close_from(high + 1, false);
}

/// Forks one command, or a view.
fn launch(wanted: Wanted, stdio: u8, mut descriptors: Vec<OwnedFd>, socket: &OwnedFd, shared: &Shared) {
    if descriptors.is_empty() {
        return;
    }
    let control = UnixStream::from(descriptors.remove(0));
    let namespaces = match wanted {
        Wanted::Apart => sys::ALL_NAMESPACES,
        Wanted::View => sys::FILE_NAMESPACES,
        Wanted::Plain => 0,
    };
    let tell = |report: Report| {
        // An error means that the server does not wait for it any more.
        let _ = wire::send(&control, &report.encode(), &[]);
    };
    let failed = |what: &str, error: &io::Error| tell(Report::Failed(number(error), Step::Other(what.to_owned())));
    let (wait, go) = match nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC) {
        Ok(pipe) => pipe,
        Err(error) => return failed("make a pipe", &error.into()),
    };
    match sys::fork_with(namespaces) {
        Ok(Side::Child) => {
            drop(go);
            sys::close_between(socket.as_raw_fd(), socket.as_raw_fd() + 1);
            // Nothing comes, and the end, where its user and group could not be set.
            let mut byte = [0];
            if !matches!(nix::unistd::read(&wait, &mut byte), Ok(1)) {
                sys::exit(1);
            }
            drop(wait);
            match wanted {
                Wanted::View => view::run(&control),
                Wanted::Apart | Wanted::Plain => {
                    init::run(&control, wanted == Wanted::Apart, stdio, descriptors, shared)
                }
            };
        }
        Ok(Side::Parent { pid, pidfd }) => {
            if namespaces != 0
                && let Err(error) = map_users(pid)
            {
                return failed("map the user into a namespace", &error);
            }
            if wanted != Wanted::View {
                let _ = wire::send(&control, &Report::Begun(pid.as_raw()).encode(), &[pidfd.as_raw_fd()]);
            }
            let _ = nix::unistd::write(&go, b"g");
        }
        Err(error) => failed("make namespaces", &error),
    }
}

/// The number of a system's error.
pub(super) fn number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// Lets the process have the same user and group as the server. Root keeps all users, so that it can still give files
/// to others.
fn map_users(pid: Pid) -> io::Result<()> {
    let file = |name: &str| format!("/proc/{pid}/{name}");
    if geteuid().is_root() {
        for name in ["uid_map", "gid_map"] {
            let own = fs::read_to_string(format!("/proc/self/{name}"))?;
            let same = own.lines().filter_map(|line| {
                let mut columns = line.split_whitespace();
                let (first, _, count) = (columns.next()?, columns.next()?, columns.next()?);
                Some(format!("{first} {first} {count}\n"))
            });
            fs::write(file(name), same.collect::<String>())?;
        }
        return Ok(());
    }
    fs::write(file("setgroups"), "deny")?;
    let (user, group) = (geteuid(), getegid());
    fs::write(file("uid_map"), format!("{user} {user} 1\n"))?;
    fs::write(file("gid_map"), format!("{group} {group} 1\n"))
}
