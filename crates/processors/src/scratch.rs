//! The folder where steps write while they work, and how much of its disk they leave free.

use std::fs::Permissions;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use opendmp_model::fault::{Fault, FaultClass, FaultKind};
use rustix::fs::FileType;

use crate::beneath::{Folder, Taken, is_folder};

/// After so many bytes it is looked again whether the disk has room.
const LOOK: u64 = 4 << 20;

/// See the module.
#[derive(Clone, Debug)]
pub struct Scratch {
    folder: PathBuf,
    floor: u64,
}

impl Scratch {
    /// A folder, which need not be there yet, on a disk of which `floor` bytes are left free.
    pub fn new(folder: PathBuf, floor: u64) -> Self {
        Self { folder, floor }
    }

    /// Removes all that is in it, such as what commands of a dead server left. Blocks.
    ///
    /// # Errors
    /// Where something can't be removed.
    pub fn empty(&self) -> io::Result<()> {
        match Folder::open(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            opened => clear(&opened?),
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
            false => Err(self.no_space(format!("the disk of {} has no room left", self.folder.display()))),
        }
    }

    fn has_room(&self, more: u64) -> bool {
        if self.floor == 0 {
            return true;
        }
        // Where it can't be told, the write itself will say so.
        let there = self.folder.ancestors().find(|folder| folder.exists());
        let disk = there.and_then(|folder| rustix::fs::statvfs(folder).ok());
        disk.is_none_or(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) >= self.floor.saturating_add(more))
    }

    /// Blames the disk, not the item, where a program failed while the disk is nearly full. To be called while the files
    /// of that program are still there. Blocks.
    pub(crate) fn blame_disk(&self, fault: Fault) -> Fault {
        if fault.kind.class() != FaultClass::Item || self.has_room(0) {
            return fault;
        }
        let message = format!("the disk of {} was full: {fault}", self.folder.display());
        Fault { kind: FaultKind::NoSpace, code: "no-space".to_owned(), message, ..fault }.with_hint(MAKE_ROOM)
    }

    fn no_space(&self, message: String) -> Fault {
        Fault::new(FaultKind::NoSpace, "no-space", message).with_hint(MAKE_ROOM)
    }
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
        &self.folder
    }
}

/// Removes all that is in a folder, whatever was left there to prevent it: no link is followed, modes are changed where
/// they refuse, and folders in folders come up into this one, so that neither descriptors nor the stack run out however
/// deep they lie.
pub(crate) fn clear(top: &Folder) -> io::Result<()> {
    allow(top)?;
    let mut number = 0;
    loop {
        // What comes up meanwhile may be listed or not.
        let mut removed = false;
        for entry in top.list()? {
            let (name, kind) = entry?;
            if is_folder_there(top, &name, kind)? {
                let folder = top.enter(&name)?;
                allow(&folder)?;
                bring_up(&folder, top, &mut number)?;
                top.remove_folder(&name)?;
            } else {
                top.unlink(&name)?;
            }
            removed = true;
        }
        if !removed {
            return Ok(());
        }
    }
}

/// Empties a folder: its files are removed, and its folders get new names in `top`.
fn bring_up(folder: &Folder, top: &Folder, number: &mut u64) -> io::Result<()> {
    // Again until nothing is there: a listing may leave out what moves while it is read.
    loop {
        let mut emptied = true;
        for entry in folder.list()? {
            let (name, kind) = entry?;
            emptied = false;
            if !is_folder_there(folder, &name, kind)? {
                folder.unlink(&name)?;
                continue;
            }
            // A folder that may not be written can't be moved.
            allow(&folder.enter(&name)?)?;
            loop {
                *number += 1;
                match folder.rename(&name, top, format!(".removed-{number}").as_bytes(), Taken::Replace) {
                    Err(error)
                        if matches!(
                            error.kind(),
                            io::ErrorKind::DirectoryNotEmpty
                                | io::ErrorKind::AlreadyExists
                                | io::ErrorKind::NotADirectory
                        ) => {}
                    end => break end?,
                }
            }
        }
        if emptied {
            return Ok(());
        }
    }
}

fn is_folder_there(folder: &Folder, name: &[u8], kind: FileType) -> io::Result<bool> {
    match kind {
        // Some file systems don't tell.
        FileType::Unknown => Ok(is_folder(&folder.stat(name)?)),
        kind => Ok(kind == FileType::Directory),
    }
}

/// Gives its owner all rights on a folder.
fn allow(folder: &Folder) -> io::Result<()> {
    let stat = rustix::fs::fstat(folder)?;
    if stat.st_mode & 0o700 == 0o700 {
        return Ok(());
    }
    // The open folder itself, whatever has its name by now.
    let open = format!("/proc/self/fd/{}", folder.as_fd().as_raw_fd());
    std::fs::set_permissions(open, Permissions::from_mode(0o700))
}

/// A scratch file that could not be written: the machine's fault, not the item's.
pub(crate) fn failed(what: &str, error: &io::Error) -> Fault {
    let message = format!("{what}: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Fault::new(FaultKind::NoSpace, "no-space", message).with_hint(MAKE_ROOM)
        }
        _ => Fault::new(FaultKind::Unavailable, "scratch", message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More folders below folders than a stack or descriptors would last for, and links and modes that are in the way.
    #[test]
    fn a_folder_is_emptied_whatever_is_in_it() {
        // In memory where there is such a disk: it is much faster.
        let memory = Path::new("/dev/shm");
        let folder =
            tempfile::tempdir_in(if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }).unwrap();
        let (scratch, kept) = (folder.path().join("scratch"), folder.path().join("kept"));
        for (made, mode) in [("scratch/closed/inner", 0o000), ("scratch/closed", 0o500), ("kept", 0o755)] {
            let made = folder.path().join(made);
            std::fs::create_dir_all(&made).unwrap();
            std::fs::write(made.join("file"), "x").unwrap();
            std::fs::set_permissions(made, Permissions::from_mode(mode)).unwrap();
        }
        for link in ["link", ".removed-1", ".removed-3"] {
            std::os::unix::fs::symlink(&kept, scratch.join(link)).unwrap();
        }
        let mut at = Folder::open(&scratch).unwrap();
        for _ in 0..20_000 {
            at.make(b"d").unwrap();
            at = at.enter(b"d").unwrap();
        }
        Scratch::from(scratch.clone()).empty().unwrap();
        assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0);
        assert_eq!(std::fs::read(kept.join("file")).unwrap(), b"x");
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
