//! The folder where steps write while they work, and how much of its disk they leave free.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use opendmp_model::fault::{Fault, FaultClass, FaultKind};
use opendmp_sandbox::disk::Disk;

use crate::beneath::Folder;

/// After so many bytes it is looked again whether the disk has room.
const LOOK: u64 = 4 << 20;

/// See the module.
#[derive(Clone, Debug)]
pub struct Scratch {
    disk: Disk,
}

impl Scratch {
    /// A folder, which need not be there yet, on a disk of which `floor` bytes are left free.
    pub fn new(folder: PathBuf, floor: u64) -> Self {
        Self { disk: Disk::new(folder, floor) }
    }

    fn folder(&self) -> &Path {
        self.disk.folder()
    }

    /// Removes all that is in it, such as what commands of a dead server left. Blocks.
    ///
    /// # Errors
    /// Where something can't be removed.
    pub fn empty(&self) -> io::Result<()> {
        match Folder::open(self.folder()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            opened => opendmp_sandbox::folders::clear(opened?.as_fd()),
        }
    }

    /// To be called when a file of `written` bytes grows by `more`. Blocks.
    ///
    /// # Errors
    /// Where the disk has no room for it. The item is tried again when there is.
    pub(crate) fn grow(&self, written: u64, more: u64) -> Result<(), Fault> {
        let looked = written > 0 && written / LOOK == (written + more) / LOOK;
        match looked || self.has_room(more) {
            true => Ok(()),
            false => Err(no_space(format!("the disk of {} has no room left", self.folder().display()))),
        }
    }

    fn has_room(&self, more: u64) -> bool {
        self.disk.lacks(more) == 0
    }

    /// Its disk.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Blames the disk, not the item, where a program failed while the disk is nearly full. To be called while the files
    /// of that program are still there. Blocks.
    pub(crate) fn blame_disk(&self, fault: Fault) -> Fault {
        if fault.kind.class() != FaultClass::Item || self.has_room(0) {
            return fault;
        }
        let message = format!("the disk of {} was full: {fault}", self.folder().display());
        Fault { kind: FaultKind::NoSpace, code: "no-space".to_owned(), message, ..fault }.with_hint(MAKE_ROOM)
    }
}

/// Why a program was stopped whose files fill the disk that `folder` is on.
pub(crate) fn fills_the_disk(program: &str, folder: &Path) -> Fault {
    no_space(format!("{program} was stopped: its files left too little room on the disk of {}", folder.display()))
}

fn no_space(message: String) -> Fault {
    Fault::new(FaultKind::NoSpace, "no-space", message).with_hint(MAKE_ROOM)
}

const MAKE_ROOM: &str = "make room on that disk; work goes on by itself";

impl<P: Into<PathBuf>> From<P> for Scratch {
    /// On a disk of which nothing is left free.
    fn from(folder: P) -> Self {
        Self::new(folder.into(), 0)
    }
}

impl AsRef<Path> for Scratch {
    fn as_ref(&self) -> &Path {
        self.folder()
    }
}

/// A scratch file that could not be written: the machine's fault, not the item's.
pub(crate) fn failed(what: &str, error: &io::Error) -> Fault {
    let message = format!("{what}: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => no_space(message),
        _ => Fault::new(FaultKind::Unavailable, "scratch", message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_server_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("external-1/outputs")).unwrap();
        Scratch::from(folder.path().to_owned()).empty().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        Scratch::from(folder.path().join("nowhere")).empty().unwrap();
    }

    #[test]
    fn a_file_grows_while_the_disk_has_room() {
        let folder = tempfile::tempdir().unwrap();
        let free = {
            let disk = rustix::fs::statvfs(folder.path()).unwrap();
            disk.f_bavail * disk.f_frsize
        };
        let below = folder.path().join("not/there");
        assert!(Scratch::new(below.clone(), 0).grow(0, u64::MAX).is_ok(), "no floor");
        assert!(Scratch::new(below.clone(), 1).grow(0, 1 << 20).is_ok());
        let full = Scratch::new(below, free.saturating_mul(2));
        let fault = full.grow(0, 1).unwrap_err();
        assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::NoSpace, "no-space"));
        assert!(full.grow(1, 1).is_ok() && full.grow(LOOK - 1, 1).is_err(), "looked at now and then");
        let failed = |kind| Fault::new(kind, "exit-code", "it ended with exit code 1");
        assert_eq!(full.blame_disk(failed(FaultKind::Failed)).kind, FaultKind::NoSpace);
        assert_eq!(full.blame_disk(failed(FaultKind::Rejected)).kind, FaultKind::Rejected, "the item was refused");
    }
}
