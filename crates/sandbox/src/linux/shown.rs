//! The folders that a command is shown. Each is opened once, and what was opened is what is looked at, mounted and named
//! in rules: paths may lead elsewhere at any time, because other commands may write the folders around.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::libc;
use nix::sys::stat::{Mode, fstat};

use super::init::Failed;
use super::wire::{Request, Step};
use crate::policy::Mount;

/// More folders than the longest path has.
const DEEPEST: usize = 4096;

/// What tells a folder from all others.
pub(super) type Identity = (u64, u64);

/// For each mount the folder that it shows, in the order of the request.
pub(super) fn open(request: &Request) -> Result<Vec<Option<OwnedFd>>, Failed> {
    request.mounts.iter().map(|mount| open_one(mount, request)).collect()
}

fn open_one(mount: &Mount, request: &Request) -> Result<Option<OwnedFd>, Failed> {
    let (path, asked) = match mount {
        Mount::Hide(_) => return Ok(None),
        Mount::Replace { source, .. } => (source, false),
        Mount::Show { path, asked, .. } => (path, *asked),
    };
    let is_closed = |place: &OwnedFd| -> io::Result<bool> {
        Ok(identities(place)?.iter().any(|found| request.closed.contains(found)))
    };
    let refused = || Failed(Step::Closed(path.clone()), io::Error::from_raw_os_error(libc::EACCES));
    let failed = |error: io::Error| Failed(Step::Folder(path.clone()), error);
    match without_links(path) {
        Ok(place) if asked && is_closed(&place).map_err(failed)? => Err(refused()),
        Ok(place) => Ok(Some(place)),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            // Only to tell why: it is not used in any case.
            let place = openat(AT_FDCWD, path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
            let leads_there = place.map_err(io::Error::from).and_then(|place| is_closed(&place)).unwrap_or(false);
            if leads_there { Err(refused()) } else { Err(Failed(Step::Link(path.clone()), error)) }
        }
        Err(error) => Err(failed(error)),
    }
}

/// Opens a place to be named. A link on the way is an error.
pub(super) fn without_links(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let how =
        OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    match openat2(AT_FDCWD, path, how) {
        // Before Linux 5.6, and in containers that don't know the call.
        Err(Errno::ENOSYS | Errno::EPERM) => {}
        opened => return Ok(opened?),
    }
    let place = openat(AT_FDCWD, path, flags | OFlag::O_NOFOLLOW, Mode::empty())?;
    let led_to = std::fs::read_link(format!("/proc/self/fd/{}", place.as_raw_fd()))?;
    if led_to == path { Ok(place) } else { Err(Errno::ELOOP.into()) }
}

pub(super) fn identity(place: impl AsFd) -> io::Result<Identity> {
    let found = fstat(place)?;
    Ok((found.st_dev, found.st_ino))
}

/// Of a folder and of all folders around it.
pub(super) fn identities(place: &OwnedFd) -> io::Result<Vec<Identity>> {
    let root = nix::sys::stat::stat("/")?;
    let root = (root.st_dev, root.st_ino);
    let mut found = vec![identity(place)?];
    let up = |place: &OwnedFd| openat(place, "..", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
    let mut outer = up(place)?;
    for _ in 0..DEEPEST {
        let id = identity(&outer)?;
        // Only the root is its own parent; another folder that looks so is a mount of it.
        if found.last() == Some(&id) && id == root {
            return Ok(found);
        }
        found.push(id);
        outer = up(&outer)?;
    }
    Err(Errno::ELOOP.into())
}
