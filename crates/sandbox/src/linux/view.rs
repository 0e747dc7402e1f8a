//! The view: one process that sees all files read-only and opens them for others. A descriptor that it opened can't be
//! used to change a file's mode, owner or times, as one of the server's could (`chmod /proc/self/fd/0`).

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::{mounts, sys, wire};

/// Longest path of the system.
pub(super) const MAX_PATH: usize = 4096;
/// It ends when it was asked nothing for so many milliseconds, and is started anew by the next one who asks.
const REST: u16 = 5_000;

/// Answers paths with descriptors, until the other end is closed or nobody has asked for a while.
pub(super) fn run(socket: &UnixStream) -> ! {
    let _ = nix::sys::prctl::set_name(c"opendmp-view");
    if nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).is_err()
        || mounts::own().is_err()
        || sys::make_read_only(Path::new("/"), true).is_err()
    {
        sys::exit(1);
    }
    let mut body = [0; MAX_PATH];
    loop {
        // While it lives, a disk that the machine unmounts stays busy.
        let mut events = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut events, PollTimeout::from(REST)), Ok(1..) | Err(Errno::EINTR)) {
            sys::exit(0);
        }
        let length = match wire::receive(socket, &mut body) {
            Ok((0, _)) | Err(_) => sys::exit(0),
            Ok((length, _)) => length,
        };
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let path = Path::new(OsStr::from_bytes(&body[..length]));
        let answered = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(file) => wire::send(socket, b"+", &[file.as_raw_fd()]),
            Err(_) => wire::send(socket, b"-", &[]),
        };
        if answered.is_err() {
            sys::exit(0);
        }
    }
}
