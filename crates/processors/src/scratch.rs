//! The folder where steps write while they work, and how much of its disk they leave free.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use opendmp_model::fault::{Fault, FaultClass, FaultKind};

use crate::beneath::{Folder, is_folder};

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
            false => Err(self.no_space(format!("the disk of {} has no room left", self.folder.display()))),
        }
    }

    fn has_room(&self, more: u64) -> bool {
        self.lacks(more) == 0
    }

    /// How many bytes are missing where `more` are to be written.
    fn lacks(&self, more: u64) -> u64 {
        if self.floor == 0 {
            return 0;
        }
        // Where it can't be told, the write itself will say so.
        let there = self.folder.ancestors().find(|folder| folder.exists());
        let disk = there.and_then(|folder| rustix::fs::statvfs(folder).ok());
        let free = disk.map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        self.floor.saturating_add(more).saturating_sub(free)
    }

    /// Whether the disk has too little room left, and would have enough without what is in `folder`: the program that
    /// writes there takes it from everybody. Blocks.
    pub(crate) fn is_filled_by(&self, folder: &Folder) -> bool {
        let lacks = self.lacks(0);
        lacks > 0 && takes(folder, lacks)
    }

    /// Why a program was stopped whose files fill the disk.
    pub(crate) fn filled_by(&self, program: &str) -> Fault {
        let folder = self.folder.display();
        self.no_space(format!("`{program}` was stopped: its files left too little room on the disk of {folder}"))
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

/// How many files and folders are looked at, and how deep: more than programs have that mean no harm.
const MOST: usize = 100_000;
const DEEPEST: usize = 64;

/// Whether the files in a folder take at least `bytes` of the disk, as far as that is looked at. Errors are files that
/// went meanwhile.
fn takes(folder: &Folder, bytes: u64) -> bool {
    let (mut taken, mut looked) = (0_u64, 0);
    let open = |folder: io::Result<Folder>| folder.and_then(|folder| Ok((folder.list()?, folder)));
    let mut levels: Vec<_> = open(folder.again()).into_iter().collect();
    while taken < bytes && looked < MOST {
        let depth = levels.len();
        let Some((listing, folder)) = levels.last_mut() else { break };
        let Some(entry) = listing.next() else {
            levels.pop();
            continue;
        };
        looked += 1;
        let Ok((name, _)) = entry else { continue };
        let Ok(stat) = folder.stat(&name) else { continue };
        taken = taken.saturating_add(u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(512));
        if is_folder(&stat) && depth < DEEPEST {
            let inner = open(folder.enter(&name));
            levels.extend(inner);
        }
    }
    taken >= bytes
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

    #[test]
    fn what_a_dead_server_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("external-1/outputs")).unwrap();
        Scratch::from(folder.path().to_owned()).empty().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        Scratch::from(folder.path().join("nowhere")).empty().unwrap();
    }

    #[test]
    fn who_fills_a_disk_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        std::fs::create_dir_all(at("one/sub/deep")).unwrap();
        std::fs::create_dir_all(at("two")).unwrap();
        let large = std::fs::File::create(at("one/sub/deep/large")).unwrap();
        // Much, since other tests write to that disk, too.
        rustix::fs::fallocate(&large, rustix::fs::FallocateFlags::empty(), 0, 256 << 20).unwrap();
        std::fs::write(at("two/small"), "x").unwrap();
        std::fs::File::create(at("two/sparse")).unwrap().set_len(1 << 40).unwrap();
        std::os::unix::fs::symlink(at("one"), at("two/link")).unwrap();
        let open = |path: &str| Folder::open(&at(path)).unwrap();
        assert!(takes(&open("one"), 256 << 20) && !takes(&open("one"), 257 << 20));
        assert!(takes(&open("two"), 512) && !takes(&open("two"), 1 << 20), "neither holes nor links count");
        let free = {
            let disk = rustix::fs::statvfs(folder.path()).unwrap();
            disk.f_bavail * disk.f_frsize
        };
        let short = Scratch::new(at("two"), free + (128 << 20));
        assert!(short.is_filled_by(&open("one")) && !short.is_filled_by(&open("two")));
        let hopeless = Scratch::new(at("two"), free + (1 << 40));
        assert!(!hopeless.is_filled_by(&open("one")), "it is not what makes the difference");
        assert!(!Scratch::from(at("two")).is_filled_by(&open("one")), "nothing is left free");
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
