//! How much of a disk is left free, and whether one program's files are what takes it from everybody.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::dir::{Dir, OwningIter};
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, SFlag, fstat, fstatat};
use nix::sys::statvfs::statvfs;
use nix::unistd::Pid;

use crate::folders::{enter, is_dots, list};
use crate::platform;

/// How many files and folders are looked at, and how deep: more than programs have that mean no harm.
const MOST: usize = 100_000;
const DEEPEST: usize = 64;

/// The disk of a folder, of which some bytes are left free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    folder: PathBuf,
    floor: u64,
}

impl Disk {
    /// Of a folder, which need not be there yet. `floor`: bytes that are left free; with 0 it never lacks any.
    pub fn new(folder: PathBuf, floor: u64) -> Self {
        Self { folder, floor }
    }

    /// The folder that names it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many bytes are missing where `more` are to be written. Blocks.
    pub fn lacks(&self, more: u64) -> u64 {
        if self.floor == 0 {
            return 0;
        }
        // Where it can't be told, the write itself will say so.
        let there = self.folder.ancestors().find(|folder| folder.exists());
        let free = there.and_then(|folder| statvfs(folder).ok());
        // Their types differ between systems.
        #[allow(clippy::useless_conversion, clippy::allow_attributes, reason = "see above")]
        let free =
            free.map_or(u64::MAX, |disk| u64::from(disk.blocks_available()).saturating_mul(disk.fragment_size()));
        self.floor.saturating_add(more).saturating_sub(free)
    }

    /// Whether it has too little room left, and would have enough without what is in `folder`, on that disk, and what
    /// `program` and its descendants hold open there without a name: it takes the room from everybody. Blocks.
    pub fn is_filled_by(&self, program: Pid, folder: BorrowedFd<'_>) -> bool {
        let lacks = self.lacks(0);
        if lacks == 0 {
            return false;
        }
        let nameless = fstat(folder).map_or(0, |about| platform::nameless_files(program, about.st_dev));
        takes(folder, lacks.saturating_sub(nameless))
    }
}

/// Whether the files in a folder take at least `bytes` of the disk, as far as that is looked at. Errors are files that
/// went meanwhile.
fn takes(top: BorrowedFd<'_>, bytes: u64) -> bool {
    let (mut taken, mut looked) = (0_u64, 0);
    let mut levels: Vec<Level> = Level::of(top).into_iter().collect();
    while taken < bytes && looked < MOST {
        let depth = levels.len();
        let Some(level) = levels.last_mut() else { break };
        let Some(entry) = level.listing.next() else {
            levels.pop();
            continue;
        };
        let Ok(entry) = entry else { continue };
        let name = entry.file_name();
        if is_dots(name) {
            continue;
        }
        looked += 1;
        let Ok(stat) = fstatat(&level.folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) else { continue };
        taken = taken.saturating_add(u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(512));
        if is_folder(&stat) && depth < DEEPEST {
            let inner = level.inner(&CString::from(name));
            levels.extend(inner);
        }
    }
    taken >= bytes
}

/// A folder that is being looked at.
struct Level {
    folder: OwnedFd,
    listing: OwningIter,
}

impl Level {
    fn of(folder: BorrowedFd<'_>) -> Option<Self> {
        let listing: Dir = list(folder).ok()?;
        Some(Self { folder: folder.try_clone_to_owned().ok()?, listing: listing.into_iter() })
    }

    fn inner(&self, name: &CString) -> Option<Self> {
        Self::of(enter(self.folder.as_fd(), name).ok()?.as_fd())
    }
}

fn is_folder(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn who_fills_a_disk_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("one/sub/deep")).unwrap();
        fs::create_dir_all(at("two")).unwrap();
        // Much, since other tests write to that disk, too.
        nix::fcntl::posix_fallocate(File::create(at("one/sub/deep/large")).unwrap(), 0, 256 << 20).unwrap();
        fs::write(at("two/small"), "x").unwrap();
        File::create(at("two/sparse")).unwrap().set_len(1 << 40).unwrap();
        std::os::unix::fs::symlink(at("one"), at("two/link")).unwrap();
        let (one, two) = (File::open(at("one")).unwrap(), File::open(at("two")).unwrap());
        let takes = |folder: &File, bytes| takes(folder.as_fd(), bytes);
        assert!(takes(&one, 256 << 20) && !takes(&one, 257 << 20));
        assert!(takes(&two, 512) && !takes(&two, 1 << 20), "neither holes nor links count");
        let free = u64::MAX - Disk::new(at("two"), u64::MAX).lacks(0);
        let short = Disk::new(at("two/not there yet"), free + (128 << 20));
        let nobody = Pid::from_raw(i32::MAX);
        assert!(short.is_filled_by(nobody, one.as_fd()) && !short.is_filled_by(nobody, two.as_fd()));
        let hopeless = Disk::new(at("two"), free + (1 << 40));
        assert!(!hopeless.is_filled_by(nobody, one.as_fd()), "it is not what makes the difference");
        // What has no name any more takes as much, until it is closed.
        let open = File::open(at("one/sub/deep/large")).unwrap();
        fs::remove_file(at("one/sub/deep/large")).unwrap();
        assert_eq!(short.is_filled_by(Pid::this(), two.as_fd()), cfg!(target_os = "linux"));
        drop(open);
        assert!(!Disk::new(at("two"), 0).is_filled_by(nobody, one.as_fd()), "nothing is left free");
    }
}
