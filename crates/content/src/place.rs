//! Whether the folders of a store are still the ones that were opened. A disk that is unmounted, or a folder that is moved
//! away, leaves a path behind below which other folders may be, or be made: what is written there is hidden as soon as the
//! right folder is back. So nothing counts as stored before it was looked where it went, and folders are made again only
//! within the very folder that was opened.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use opendmp_ports::{Error, ErrorKind, Result};
use rustix::fs::{Mode, OFlags};

pub const PLACE: &str = "content place";

/// Device and inode.
pub type Identity = (u64, u64);

pub fn identity(found: &Metadata) -> Identity {
    (found.dev(), found.ino())
}

/// A folder that was opened, and its path. Open as long as the store, so that its inode is not another one's meanwhile.
#[derive(Debug)]
pub struct Opened {
    pub file: File,
    pub is: Identity,
}

impl Opened {
    pub fn new(file: File) -> io::Result<Self> {
        let is = identity(&file.metadata()?);
        Ok(Self { file, is })
    }
}

/// Through which mount a folder was reached: nothing is renamed from one to another, not even on the same disk.
#[cfg(target_os = "linux")]
fn mount(folder: &File) -> io::Result<u64> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    Ok(statx(folder, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}

#[cfg(not(target_os = "linux"))]
fn mount(folder: &File) -> io::Result<u64> {
    Ok(folder.metadata()?.dev())
}

/// What a path names at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Now {
    /// The folder that was opened.
    Same,
    Missing,
    Other,
}

/// `packs` or `files`.
#[derive(Debug)]
pub struct Folder {
    name: &'static str,
    path: PathBuf,
    /// A mount point or a link when it was opened: without it, what is missing was not removed, but is elsewhere.
    elsewhere: bool,
    opened: Mutex<Opened>,
    /// What was in its place before it was made again, until somebody asks.
    former: Mutex<Option<File>>,
}

impl Folder {
    /// Opens it in a root of this identity.
    pub fn open(root: &Path, name: &'static str, root_is: Identity) -> io::Result<Self> {
        let path = root.join(name);
        let opened = Opened::new(File::open(&path)?)?;
        let elsewhere = opened.is.0 != root_is.0 || path.symlink_metadata()?.is_symlink();
        Ok(Self { name, path, elsewhere, opened: Mutex::new(opened), former: Mutex::default() })
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Errs where it is a mount of its own: files are written in the root first, and renamed into it when they are
    /// durable.
    pub fn check_mount(&self, root: &Opened) -> Result<()> {
        let failed = |error| Error::io(PLACE, self.path.display(), &error);
        let own = mount(&self.opened.lock().unwrap_or_else(PoisonError::into_inner).file).map_err(failed)?;
        if own == mount(&root.file).map_err(failed)? {
            return Ok(());
        }
        let message = format!("{} is mounted by itself, and files can't be renamed into it", self.path.display());
        Err(Error::new(ErrorKind::Invalid, PLACE, message).with_hint(
            "mount that disk at the folder of the content or at the data directory, and move all that belongs there onto it",
        ))
    }

    fn now(&self) -> io::Result<Now> {
        let is = self.opened.lock().unwrap_or_else(PoisonError::into_inner).is;
        match self.path.metadata() {
            Ok(found) if identity(&found) == is => Ok(Now::Same),
            Ok(_) => Ok(Now::Other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Now::Missing),
            Err(error) => Err(error),
        }
    }

    /// Errs where another folder is in its place, or none and it is not to be made again. Whether it is there.
    pub fn check(&self) -> Result<bool> {
        let now = self.now().map_err(|error| Error::io(PLACE, self.path.display(), &error))?;
        let (path, what) = (self.path.display(), "put the very folder back where it was");
        match now {
            Now::Same => Ok(true),
            Now::Missing if !self.elsewhere => Ok(false),
            Now::Missing => Err(away(format!("{path} was removed or unmounted while it was in use"))
                .with_hint(format!("{what}; then work goes on"))),
            Now::Other => Err(away(format!("{path} was replaced or unmounted while it was in use")).with_hint(format!(
                "{what}; then work goes on. If that is done, what was stored in its place meanwhile is missing: copy it beside \
                 what is here, `cp -an OTHER/. {path}/`. If the former folder is lost, stop the server and `opendmp restore` \
                 a backup into a new directory"
            ))),
        }
    }

    /// The folder that was in its place until it was made again, once.
    pub fn take_former(&self) -> Option<File> {
        self.former.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Makes it again within the root, where it is missing and may be made. Whether it was.
    pub fn make_again(&self, root: &Opened) -> Result<bool> {
        if self.check()? {
            return Ok(false);
        }
        let made = make_in(root, self.name).and_then(|made| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = Opened::new(File::from(rustix::fs::openat(&root.file, self.name, flags, Mode::empty())?))?;
            if made {
                tracing::error!(folder = %self.path.display(), "a folder of the content was removed, and is made again");
                let mut now = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
                let former = std::mem::replace(&mut *now, opened);
                let mut kept = self.former.lock().unwrap_or_else(PoisonError::into_inner);
                kept.get_or_insert(former.file);
            }
            Ok(made)
        });
        made.map_err(|error| crate::layout::write_error(PLACE, format_args!("making {}", self.path.display()), &error))
    }
}

/// Makes a folder (0700) within the very root, whatever is at its path. Whether it was missing.
pub fn make_in(root: &Opened, name: &str) -> io::Result<bool> {
    match rustix::fs::mkdirat(&root.file, name, Mode::RWXU) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::EXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What is not in its place: whoever has work waits until it is.
pub fn away(message: String) -> Error {
    Error::new(ErrorKind::Unavailable, PLACE, message)
}
