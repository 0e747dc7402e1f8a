//! Folders that programs write into: made for one user alone, and emptied whatever was left in them to prevent it.

use std::ffi::CStr;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use tempfile::TempDir;

/// A temporary folder that programs may write into; removed with the value, as [`clear`] does.
#[derive(Debug)]
pub struct TempFolder {
    folder: TempDir,
    /// The folder that was made, whatever has its name by then.
    open: File,
}

impl TempFolder {
    /// Makes one among the temporary files of the system, or in `parent`. Its name begins with `prefix`. Blocks.
    ///
    /// # Errors
    /// Where it can't be made.
    pub fn new(parent: Option<&Path>, prefix: &str) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(prefix);
        let folder = parent.map_or_else(|| builder.tempdir(), |parent| builder.tempdir_in(parent))?;
        Ok(Self { open: open(folder.path())?, folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl AsFd for TempFolder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.open.as_fd()
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        // Then nothing is left for `folder` to go down into.
        if let Err(error) = clear(self.as_fd()) {
            tracing::warn!(path = %self.path().display(), %error, "a temporary folder can't be removed");
            self.folder.disable_cleanup(true);
        }
    }
}

/// Makes a folder of its owner's alone, and the one above it, where they are missing. What is above these has to be
/// there: while the data directory is elsewhere, nothing is made in its place. Blocks.
///
/// # Errors
/// Where it can't be made.
pub fn make_private(folder: &Path) -> io::Result<()> {
    let make = |folder: &Path| match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done,
    };
    match make(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            folder.parent().map_or(Ok(()), make)?;
            make(folder)
        }
        done => done,
    }
}

/// Removes a folder and all that is in it, as [`clear`] does; a link in its place is an error. Blocks.
///
/// # Errors
/// Where something can't be removed, and where it is not there.
pub fn remove(folder: &Path) -> io::Result<()> {
    clear(open(folder)?.as_fd())?;
    std::fs::remove_dir(folder)
}

fn open(folder: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags((OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits()).open(folder)
}

/// Removes all that is in a folder, whatever was left there to prevent it: no link is followed, modes are changed where
/// they refuse, and folders in folders come up into this one, so that neither descriptors nor the stack run out however
/// deep they lie. Blocks.
///
/// # Errors
/// Where something can't be removed.
pub fn clear(top: BorrowedFd<'_>) -> io::Result<()> {
    allow(top)?;
    let mut number = 0;
    loop {
        // What comes up meanwhile may be listed or not.
        let mut removed = false;
        let mut listing = list(top)?;
        for entry in listing.iter() {
            let entry = entry?;
            let name = entry.file_name();
            if is_dots(name) {
                continue;
            }
            if is_folder(top, name, entry.file_type())? {
                let folder = enter(top, name)?;
                allow(folder.as_fd())?;
                bring_up(folder.as_fd(), top, &mut number)?;
                unlinkat(top, name, UnlinkatFlags::RemoveDir)?;
            } else {
                unlinkat(top, name, UnlinkatFlags::NoRemoveDir)?;
            }
            removed = true;
        }
        if !removed {
            return Ok(());
        }
    }
}

/// Empties a folder: its files are removed, and its folders get new names in `top`.
fn bring_up(folder: BorrowedFd<'_>, top: BorrowedFd<'_>, number: &mut u64) -> io::Result<()> {
    // Again until nothing is there: a listing may leave out what moves while it is read.
    loop {
        let mut emptied = true;
        let mut listing = list(folder)?;
        for entry in listing.iter() {
            let entry = entry?;
            let name = entry.file_name();
            if is_dots(name) {
                continue;
            }
            emptied = false;
            if !is_folder(folder, name, entry.file_type())? {
                unlinkat(folder, name, UnlinkatFlags::NoRemoveDir)?;
                continue;
            }
            // A folder that may not be written can't be moved.
            allow(enter(folder, name)?.as_fd())?;
            loop {
                *number += 1;
                match renameat(folder, name, top, format!(".removed-{number}").as_str()) {
                    Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOTDIR) => {}
                    end => break end?,
                }
            }
        }
        if emptied {
            return Ok(());
        }
    }
}

const HANDLE: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Opens it so that it needs no right to be read.
pub(crate) fn enter(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    let flags = HANDLE | OFlag::O_PATH;
    #[cfg(not(target_os = "linux"))]
    let flags = HANDLE | OFlag::O_RDONLY;
    Ok(openat(folder, name, flags, Mode::empty())?)
}

pub(crate) fn list(folder: BorrowedFd<'_>) -> io::Result<Dir> {
    Ok(Dir::openat(folder, ".", HANDLE | OFlag::O_RDONLY, Mode::empty())?)
}

pub(crate) fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

fn is_folder(folder: BorrowedFd<'_>, name: &CStr, kind: Option<Type>) -> io::Result<bool> {
    match kind {
        Some(kind) => Ok(kind == Type::Directory),
        // Some file systems don't tell.
        None => {
            let mode = SFlag::from_bits_truncate(fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW)?.st_mode);
            Ok(mode & SFlag::S_IFMT == SFlag::S_IFDIR)
        }
    }
}

/// Gives its owner all rights on a folder.
fn allow(folder: BorrowedFd<'_>) -> io::Result<()> {
    if fstat(folder)?.st_mode & 0o700 == 0o700 {
        return Ok(());
    }
    // The open folder itself, whatever has its name by now.
    let open = format!("/proc/self/fd/{}", folder.as_raw_fd());
    std::fs::set_permissions(open, Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests {
    use std::fs;

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
            fs::create_dir_all(&made).unwrap();
            fs::write(made.join("file"), "x").unwrap();
            fs::set_permissions(made, Permissions::from_mode(mode)).unwrap();
        }
        for link in ["link", ".removed-1", ".removed-3"] {
            std::os::unix::fs::symlink(&kept, scratch.join(link)).unwrap();
        }
        let top: OwnedFd = File::open(&scratch).unwrap().into();
        let mut at = top.try_clone().unwrap();
        for _ in 0..20_000 {
            nix::sys::stat::mkdirat(&at, "d", Mode::from_bits_truncate(0o777)).unwrap();
            at = enter(at.as_fd(), c"d").unwrap();
        }
        clear(top.as_fd()).unwrap();
        assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
        assert_eq!(fs::read(kept.join("file")).unwrap(), b"x");
    }

    #[test]
    fn nothing_is_made_where_the_folders_above_are_missing() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        assert_eq!(make_private(&data.join("scratch/scripts")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!data.exists());
        fs::create_dir(&data).unwrap();
        for _ in 0..2 {
            make_private(&data.join("scratch/scripts")).unwrap();
        }
        assert_eq!(fs::metadata(data.join("scratch")).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_temporary_folder_goes_whatever_has_its_name() {
        let root = tempfile::tempdir().unwrap();
        let folder = TempFolder::new(Some(root.path()), "x-").unwrap();
        let (path, kept, moved) = (folder.path().to_owned(), root.path().join("kept"), root.path().join("moved"));
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "x").unwrap();
        fs::write(path.join("file"), "x").unwrap();
        fs::rename(&path, &moved).unwrap();
        std::os::unix::fs::symlink(&kept, &path).unwrap();
        drop(folder);
        assert_eq!((fs::read_dir(&moved).unwrap().count(), fs::read_dir(&kept).unwrap().count()), (0, 1));
        assert!(remove(&path).is_err() && remove(&root.path().join("nowhere")).is_err());
        remove(&kept).unwrap();
        assert!(!kept.exists());
    }
}
