//! Files that are being written into folders that others use, under hidden names until they are whole.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::sync::{Mutex, PoisonError};

use opendmp_model::export::numbered;
use opendmp_model::ledger::FileStat;
use opendmp_model::name;
use rustix::fs::FlockOperation;

use crate::beneath::{Folder, Taken, is_file, version, version_of};
use crate::life;
use crate::template::OWN_PREFIX;

/// How often what changes underneath is tried again.
pub(crate) const ATTEMPTS: usize = 16;

/// How many folders are remembered as swept; beyond it they are swept again.
const MOST_SWEPT: usize = 4_096;

/// What the names end with; they begin with [`OWN_PREFIX`].
const SUFFIX: &[u8] = b".tmp";

/// Folders (device, inode) in which what killed processes left was swept.
#[derive(Debug, Default)]
pub(crate) struct Swept(Mutex<HashSet<(u64, u64)>>);

impl Swept {
    /// Removes what killed processes left in a folder, the first time something is written there. A file that is in
    /// use is locked. Failures cost space, not meaning.
    pub(crate) fn sweep(&self, folder: &Folder) {
        let Ok(identity) = folder.identity() else { return };
        {
            let mut swept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if swept.len() >= MOST_SWEPT {
                swept.clear();
            }
            if !swept.insert(identity) {
                return;
            }
        }
        let Ok(listing) = folder.list() else { return };
        for (found, _) in listing.flatten() {
            let left = found.starts_with(OWN_PREFIX) && found.ends_with(SUFFIX);
            if left && folder.stat(&found).is_ok_and(|stat| is_file(&stat)) && !in_use(folder, &found) {
                tracing::debug!(file = %name::from_bytes(&found), "removing what a killed process left");
                let _ = folder.unlink(&found);
            }
        }
    }
}

/// Whether some process is still writing the temporary file; also where that can't be told.
fn in_use(folder: &Folder, found: &[u8]) -> bool {
    let Ok(file) = folder.read(found) else { return true };
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
}

/// A file under a hidden name, locked while it is in use and removed unless it was placed.
pub(crate) struct Temporary<'a> {
    folder: &'a Folder,
    name: Vec<u8>,
    pub(crate) file: File,
    placed: bool,
}

impl<'a> Temporary<'a> {
    /// Makes one in a folder.
    pub(crate) fn make(folder: &'a Folder) -> io::Result<Self> {
        for _ in 0..ATTEMPTS {
            let hidden = format!(".opendmp-{}.tmp", life::new());
            let file = folder.create_new(hidden.as_bytes())?;
            // Without locks on this file system nothing is ever swept here, so a failure does no harm.
            let locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
            let made = Self { folder, name: hidden.into_bytes(), file, placed: false };
            // Between creation and lock another process may have swept it.
            if locked.is_err() || rustix::fs::fstat(&made.file)?.st_nlink > 0 {
                return Ok(made);
            }
        }
        Err(io::Error::other("the temporary file is removed again and again"))
    }

    /// Gives it its name: whether that was possible.
    pub(crate) fn place(&mut self, target: &[u8], taken: Taken) -> io::Result<bool> {
        match self.folder.rename(&self.name, self.folder, target, taken) {
            Ok(()) => {
                self.placed = true;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Changes places with the version `old` of the target, and removes that: whether it still was that version.
    pub(crate) fn swap(&mut self, target: &[u8], old: &FileStat) -> io::Result<bool> {
        let mine = version_of(&self.file)?.inode;
        match self.folder.rename(&self.name, self.folder, target, Taken::Exchange) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            // File systems without the flag.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return self.place(target, Taken::Replace),
            Err(error) => return Err(error),
        }
        let aside = |folder: &Folder, hidden: &[u8]| folder.stat(hidden).map(|stat| version(&stat));
        let got = aside(self.folder, &self.name);
        // The rename itself is a change of the inode, so ctime says nothing.
        let is_old = |got: &FileStat| (got.inode, got.size, got.mtime) == (old.inode, old.size, old.mtime);
        if got.as_ref().is_ok_and(is_old) {
            return Ok(true);
        }
        // Someone else wrote there since it was looked at, or it can't be seen whether: give it back.
        for _ in 0..ATTEMPTS {
            match self.folder.rename(&self.name, self.folder, target, Taken::Exchange) {
                Ok(()) => match aside(self.folder, &self.name) {
                    Ok(back) if back.inode == mine => return got.map(|_| false),
                    // Meanwhile there was yet another one.
                    Ok(_) => {}
                    Err(error) => {
                        self.rescue(target)?;
                        return Err(error);
                    }
                },
                // Meanwhile ours was taken away.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if self.place(target, Taken::Refuse)? {
                        return Err(io::Error::other("something else moves it away"));
                    }
                }
                Err(error) => {
                    self.rescue(target)?;
                    return Err(error);
                }
            }
        }
        self.rescue(target)?;
        Err(io::Error::other("something else writes there all the time"))
    }

    /// Keeps what others wrote, and what is now under the hidden name, under a numbered one.
    fn rescue(&mut self, target: &[u8]) -> io::Result<()> {
        // Whatever happens, it is not ours to remove.
        self.placed = true;
        for n in 2..1_000 {
            match self.folder.rename(&self.name, self.folder, &numbered(target, n), Taken::Refuse) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                end => return end,
            }
        }
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.placed {
            // If that fails, the next process sweeps it.
            let _ = self.folder.unlink(&self.name);
        }
    }
}
