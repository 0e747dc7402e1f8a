//! Files beneath a folder, reached name by name, so that no symbolic link leads out of it.
//!
//! Only the folder itself is opened by path, and there links are followed: it is what a person wrote. Everything below
//! is reached through open folders, one name at a time, and never through a link. Names are bytes without `/`; folders
//! and paths are such names joined by `/`, and empty for the top. What is done with the files is decided elsewhere.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use opendmp_model::ledger::FileStat;
use opendmp_processor::{Access, Location, PathPolicy, PathRefused, Place};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Stat};

/// An open folder. It needs no right to list it until [`Folder::list`] or [`Folder::sync`].
#[derive(Debug)]
pub(crate) struct Folder {
    handle: OwnedFd,
    /// What it was opened by; it goes along to every folder below.
    guard: Option<Arc<Guard>>,
}

/// Opens the folder of a source or a destination, each time only if it may be used as it is then: a link may have been
/// set since the flow was enabled. No folder below it is entered that is the data directory.
#[derive(Debug)]
pub(crate) struct Guard {
    policy: PathPolicy,
    written: String,
    access: Access,
}

impl Guard {
    pub(crate) fn new(policy: &PathPolicy, place: Place) -> Arc<Self> {
        Arc::new(Self { policy: policy.clone(), written: place.written, access: place.access })
    }

    /// Opens a folder by path, through links.
    ///
    /// # Errors
    /// One that [`refused`] knows where it may not be used.
    pub(crate) fn open(self: &Arc<Self>, path: &Path) -> io::Result<Folder> {
        let mut folder = Folder::open(path)?;
        self.admit(&folder, path)?;
        folder.guard = Some(Arc::clone(self));
        Ok(folder)
    }

    /// The same, making it and its parents where they are missing. What is made is durable.
    pub(crate) fn open_or_make(self: &Arc<Self>, path: &Path) -> io::Result<Folder> {
        match self.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        // Before anything is made.
        match self.policy.refuses_at(&Location::of(path), &self.written, &self.access) {
            Some(refused) => return Err(refused_error(refused)),
            None => drop(Folder::open_or_make(path)?),
        }
        self.open(path)
    }

    /// Whether what the path leads to now may not be used.
    pub(crate) fn refuses(&self, path: &Path) -> bool {
        self.policy.refuses_at(&Location::of(path), &self.written, &self.access).is_some()
    }

    fn admit(&self, folder: &Folder, path: &Path) -> io::Result<()> {
        // What was opened, whatever has its path by now.
        let opened = PathBuf::from(format!("/proc/self/fd/{}", folder.handle.as_raw_fd()));
        let found = Location::of(if cfg!(target_os = "linux") { &opened } else { path });
        self.policy
            .refuses_at(&found, &self.written, &self.access)
            .map_or(Ok(()), |refused| Err(refused_error(refused)))
    }

    fn enters(&self, folder: &Folder) -> io::Result<()> {
        match self.policy.is_own(folder.identity()?) {
            true => Err(refused_error(self.policy.never_entered())),
            false => Ok(()),
        }
    }
}

fn refused_error(refused: PathRefused) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, refused)
}

/// Why a folder may not be used, where that is the error.
pub(crate) fn refused(error: &io::Error) -> Option<&PathRefused> {
    error.get_ref()?.downcast_ref()
}

/// How a rename treats what has the new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The rename fails with `AlreadyExists`.
    Refuse,
    /// It is replaced.
    Replace,
    /// The two change places.
    Exchange,
}

const HANDLE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Folder {
    /// Opens a folder by path, through links. The `.` has a file system mounted there that is mounted on demand.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { handle: rustix::fs::openat(CWD, path.join("."), HANDLE, Mode::empty())?, guard: None })
    }

    /// Opens a folder by path, making it and its parents where they are missing. What is made is durable.
    pub(crate) fn open_or_make(path: &Path) -> io::Result<Self> {
        match Self::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let parent = Self::open_or_make(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
        if parent.make(name.as_encoded_bytes())? {
            parent.sync()?;
        }
        Self::open(path)
    }

    /// The folder of that name within this one; not through a link.
    pub(crate) fn enter(&self, name: &[u8]) -> io::Result<Self> {
        let handle = rustix::fs::openat(&self.handle, name, HANDLE | OFlags::NOFOLLOW, Mode::empty())?;
        let folder = Self { handle, guard: self.guard.clone() };
        if let Some(guard) = &folder.guard {
            guard.enters(&folder)?;
        }
        Ok(folder)
    }

    /// The folder at a relative path.
    pub(crate) fn descend(&self, folder: &[u8]) -> io::Result<Self> {
        let mut at = self.again()?;
        for name in names(folder) {
            at = at.enter(name)?;
        }
        Ok(at)
    }

    /// The folder at a relative path, made where it is missing; what is made is durable where asked for.
    pub(crate) fn descend_making(&self, folder: &[u8], durable: bool) -> io::Result<Self> {
        let mut at = self.again()?;
        for name in names(folder) {
            at = match at.enter(name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if at.make(name)? && durable {
                        at.sync()?;
                    }
                    at.enter(name)?
                }
                entered => entered?,
            };
        }
        Ok(at)
    }

    /// A second handle of the same folder.
    pub(crate) fn again(&self) -> io::Result<Self> {
        Ok(Self { handle: self.handle.try_clone()?, guard: self.guard.clone() })
    }

    /// Makes a folder, unless something of that name is there: whether it was made.
    pub(crate) fn make(&self, name: &[u8]) -> io::Result<bool> {
        match rustix::fs::mkdirat(&self.handle, name, Mode::from_raw_mode(0o777)) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::EXIST) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What has that name; a link itself, not what it points at.
    pub(crate) fn stat(&self, name: &[u8]) -> io::Result<Stat> {
        Ok(rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// As [`Folder::stat`], `None` where nothing has that name.
    pub(crate) fn look(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        match self.stat(name) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The device and inode of the folder itself.
    pub(crate) fn identity(&self) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::fstat(&self.handle)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// What tells this folder from any other.
    pub(crate) fn identify(&self) -> io::Result<Identity> {
        Identity::of(self.handle.as_fd(), Path::new(""))
    }

    /// Whether it still has a name.
    pub(crate) fn is_there(&self) -> bool {
        rustix::fs::fstat(&self.handle).is_ok_and(|stat| stat.st_nlink > 0)
    }

    /// Opens a file for reading. It never waits (for the other end of a pipe), and it refuses a link; whether it is a
    /// regular file is the caller's to check before and after.
    pub(crate) fn read(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.handle, name, flags, Mode::empty())?))
    }

    /// Makes a file that was not there, open for reading and writing.
    pub(crate) fn create_new(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.handle, name, flags, Mode::from_raw_mode(0o666))?))
    }

    /// Gives what is `name` here the name `new` in `to`.
    pub(crate) fn rename(&self, name: &[u8], to: &Folder, new: &[u8], taken: Taken) -> io::Result<()> {
        let flags = match taken {
            Taken::Refuse => RenameFlags::NOREPLACE,
            Taken::Replace => RenameFlags::empty(),
            Taken::Exchange => RenameFlags::EXCHANGE,
        };
        match rustix::fs::renameat_with(&self.handle, name, &to.handle, new, flags) {
            // File systems without the flag (some network ones): a hard link refuses what is taken just as well.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if taken == Taken::Refuse => {
                rustix::fs::linkat(&self.handle, name, &to.handle, new, AtFlags::empty())?;
                self.unlink(name)
            }
            end => Ok(end?),
        }
    }

    /// Removes a name that is not a folder's.
    pub(crate) fn unlink(&self, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.handle, name, AtFlags::empty())?)
    }

    /// Removes an empty folder.
    pub(crate) fn remove_folder(&self, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.handle, name, AtFlags::REMOVEDIR)?)
    }

    /// Makes what was named, renamed and removed here durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match self.readable() {
            Ok(folder) => Ok(rustix::fs::fsync(folder)?),
            // A folder that may be written but not listed can't be synced by itself.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                rustix::fs::sync();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// What is in it, as the file system gives it, without `.` and `..`.
    pub(crate) fn list(&self) -> io::Result<Listing> {
        Ok(Listing { entries: rustix::fs::Dir::new(self.readable()?)? })
    }

    fn readable(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.handle, ".", flags, Mode::empty())?)
    }

    /// Whether the folder's file system keeps time by a clock of its own (a network file system, perhaps), or the
    /// kind can't be told.
    pub(crate) fn foreign_clock(&self) -> bool {
        #[cfg(target_os = "linux")]
        {
            // statfs(2): NFS, SMB1, CIFS, SMB2, FUSE, 9P, Ceph, AFS, AFS of kAFS, Coda, OCFS2, GFS2, Lustre.
            const FOREIGN: [u32; 13] = [
                0x6969,
                0x517b,
                0xff53_4d42,
                0xfe53_4d42,
                0x6573_5546,
                0x0102_1997,
                0x00c3_6400,
                0x5346_414f,
                0x6b41_4653,
                0x7375_7245,
                0x7461_636f,
                0x0116_1970,
                0x0bd0_0bd0,
            ];
            self.readable().and_then(|folder| Ok(rustix::fs::fstatfs(folder)?)).map_or(true, |found| {
                // The type of `f_type` differs between machines; the numbers are 32 bits wide on all.
                u32::try_from(found.f_type).is_ok_and(|magic| FOREIGN.contains(&magic))
            })
        }
        #[cfg(not(target_os = "linux"))]
        true
    }
}

/// What tells one folder from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Device and inode: no other folder has both while this one is open.
    pub device: u64,
    pub inode: u64,
    /// When it was made, nanoseconds since 1970; 0 where its file system does not say.
    pub born: i64,
    /// Through which mount it was reached.
    pub mount: u64,
}

impl Identity {
    /// Of the folder at a path.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        Self::of(CWD, path)
    }

    #[cfg(target_os = "linux")]
    fn of(from: std::os::fd::BorrowedFd<'_>, path: &Path) -> io::Result<Self> {
        use rustix::fs::{StatxFlags, makedev, statx};
        /// Never given to another mount again, unlike `STATX_MNT_ID`; Linux 6.8.
        const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
        let asked = StatxFlags::INO | StatxFlags::BTIME | StatxFlags::MNT_ID;
        let mut stat = statx(from, path, AtFlags::EMPTY_PATH, asked | MNT_ID_UNIQUE)?;
        if stat.stx_mask & (MNT_ID_UNIQUE | StatxFlags::MNT_ID).bits() == 0 {
            stat.stx_mnt_id = makedev(stat.stx_dev_major, stat.stx_dev_minor);
        }
        let born = i128::from(stat.stx_btime.tv_sec) * 1_000_000_000 + i128::from(stat.stx_btime.tv_nsec);
        Ok(Self {
            device: makedev(stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            born: if stat.stx_mask & StatxFlags::BTIME.bits() == 0 {
                0
            } else {
                i64::try_from(born).unwrap_or_default()
            },
            mount: stat.stx_mnt_id,
        })
    }

    /// Without `statx` a mount is told by its device only.
    #[cfg(not(target_os = "linux"))]
    fn of(from: std::os::fd::BorrowedFd<'_>, path: &Path) -> io::Result<Self> {
        let stat = match path.as_os_str().is_empty() {
            true => rustix::fs::fstat(from)?,
            false => rustix::fs::statat(from, path, AtFlags::empty())?,
        };
        Ok(Self { device: stat.st_dev as u64, inode: stat.st_ino as u64, born: 0, mount: stat.st_dev as u64 })
    }

    /// What names the folder from one start of the machine to the next.
    pub(crate) fn folder(&self) -> FolderId {
        FolderId { inode: self.inode, born: self.born }
    }
}

/// Names a folder for as long as it exists, wherever it is moved within its file system and however that is mounted:
/// device numbers change with each mount, so they don't count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FolderId {
    inode: u64,
    born: i64,
}

impl FolderId {
    /// Whether both name one folder, as far as their file systems say.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.inode == other.inode && (self.born == other.born || self.born == 0 || other.born == 0)
    }

    /// The inverse of its `Display`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (inode, born) = text.split_once('-')?;
        Some(Self { inode: u64::from_str_radix(inode, 16).ok()?, born: i64::from_str_radix(born, 16).ok()? })
    }
}

impl std::fmt::Display for FolderId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}-{:x}", self.inode, self.born)
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// What is in a folder, one entry at a time.
#[derive(Debug)]
pub(crate) struct Listing {
    entries: rustix::fs::Dir,
}

impl Iterator for Listing {
    type Item = io::Result<(Vec<u8>, FileType)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.entries.next()? {
                Ok(entry) => match entry.file_name().to_bytes() {
                    b"." | b".." => {}
                    name => return Some(Ok((name.to_vec(), entry.file_type()))),
                },
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}

/// The names in a path.
pub(crate) fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    path.split(|&b| b == b'/').filter(|name| !name.is_empty())
}

/// A path as folder and name.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// `folder` and `name` as one path.
pub(crate) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

/// Whether it is a regular file.
pub(crate) fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// Whether it is a symbolic link.
pub(crate) fn is_link(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
}

/// Whether it is a folder.
pub(crate) fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// What tells this version of a file from another.
pub(crate) fn version(stat: &Stat) -> FileStat {
    let nanos = |seconds: i64, nanos: u64| {
        seconds.saturating_mul(1_000_000_000).saturating_add(i64::try_from(nanos).unwrap_or_default())
    };
    FileStat {
        device: stat.st_dev,
        inode: stat.st_ino,
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        mtime: nanos(stat.st_mtime, stat.st_mtime_nsec),
        ctime: nanos(stat.st_ctime, stat.st_ctime_nsec),
        recent: false,
    }
}

/// The version an open file is now.
pub(crate) fn version_of(file: &File) -> io::Result<FileStat> {
    Ok(version(&rustix::fs::fstat(file)?))
}

/// The path with links followed as far as it exists.
pub(crate) fn real(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (ancestor.canonicalize(), path.strip_prefix(ancestor)) {
            return real.components().chain(rest.components()).collect();
        }
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        std::fs::write(dir.path().join("secret"), "s").unwrap();
        symlink("..", dir.path().join("root/up")).unwrap();
        symlink("../secret", dir.path().join("root/file")).unwrap();
        let root = Folder::open(&dir.path().join("root")).unwrap();
        assert!(root.enter(b"up").is_err());
        assert!(root.descend_making(b"up/new", true).is_err());
        assert!(!dir.path().join("new").exists());
        assert!(root.read(b"file").is_err());
        assert!(!is_file(&root.stat(b"file").unwrap()));
    }

    #[test]
    fn a_link_to_the_folder_itself_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        symlink("real", dir.path().join("link")).unwrap();
        let made = Folder::open_or_make(&dir.path().join("link/a/b")).unwrap();
        made.create_new(b"x").unwrap();
        assert!(dir.path().join("real/a/b/x").exists());
    }

    #[test]
    fn a_rename_refuses_what_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let root = Folder::open(dir.path()).unwrap();
        for name in ["a", "b"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let refused = root.rename(b"a", &root, b"b", Taken::Refuse).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        root.rename(b"a", &root, b"b", Taken::Exchange).unwrap();
        assert_eq!(std::fs::read(dir.path().join("a")).unwrap(), b"b");
        root.rename(b"a", &root, b"c", Taken::Refuse).unwrap();
        assert!(root.look(b"a").unwrap().is_none());
    }

    #[test]
    fn a_folder_is_told_from_one_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in");
        std::fs::create_dir(&path).unwrap();
        let one = Folder::open(&path).unwrap();
        let id = one.identify().unwrap();
        assert_eq!(Identity::at(&path).unwrap(), id);
        assert_eq!(FolderId::parse(&id.folder().to_string()), Some(id.folder()));
        std::fs::rename(&path, dir.path().join("in2")).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(one.identify().unwrap(), id, "a moved folder is the same one");
        let other = Identity::at(&path).unwrap();
        assert!(!other.folder().is(&id.folder()) && other.mount == id.mount);
        let unknown = FolderId { born: 0, ..id.folder() };
        assert!(unknown.is(&id.folder()) && FolderId::parse("7").is_none() && FolderId::parse("x-y").is_none());
    }

    #[test]
    fn paths_come_apart_and_together() {
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(split(b"c"), (&b""[..], &b"c"[..]));
        assert_eq!(join(b"a/b", b"c"), b"a/b/c");
        assert_eq!(names(b"/a//b/").collect::<Vec<_>>(), [b"a", b"b"]);
    }
}
