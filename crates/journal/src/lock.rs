//! The lock of a data directory: one server, or one command without a server, at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use opendmp_ports::{Error, ErrorKind, Result};

/// Name of the lock file in the data directory.
const FILE: &str = "lock";

/// The right to use a data directory alone, until dropped or until the process ends in whatever way: the kernel
/// releases it.
///
/// The directory itself is locked beside the file in it, so that the right does not end with the file's name: whoever
/// finds the file removed and makes another one meets the lock of the directory.
#[derive(Debug)]
pub struct DataDirLock {
    file: Mutex<File>,
    path: PathBuf,
    /// `None` on file systems that lock no directories.
    _directory: Option<File>,
}

/// How often a lock file is looked for that somebody removes while it is taken.
const ATTEMPTS: u32 = 16;

impl DataDirLock {
    /// Takes the lock of `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// `Conflict`, with the holder's process number, where another process has it; an error of the operating system
    /// where the directory can't be used.
    pub fn acquire(dir: &Path) -> Result<Self> {
        let operation = "lock data directory";
        let path = dir.join(FILE);
        let io = |error: std::io::Error| Error::io(operation, path.display(), &error);
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
        // Not truncated at opening: what stands there is the holder's number, for the message below.
        let used = |file: Option<&mut File>| {
            let mut text = String::new();
            // Empty for the moment between its lock and its writing; then there is no number to tell.
            let holder = match file.map(|file| file.read_to_string(&mut text)) {
                Some(Ok(_)) if !text.trim().is_empty() => format!(" (process {})", text.trim()),
                _ => String::new(),
            };
            let message = format!("{} is in use by another opendmp{holder}", dir.display());
            Error::new(ErrorKind::Conflict, operation, message).with_hint("stop it, or give another data directory")
        };
        for _ in 0..ATTEMPTS {
            let mut file = open(&path).map_err(io)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(used(Some(&mut file))),
                Err(TryLockError::Error(error)) => return Err(io(error)),
            }
            let directory = File::open(dir).map_err(io)?;
            let directory = match directory.try_lock() {
                Ok(()) => Some(directory),
                Err(TryLockError::WouldBlock) => return Err(used(None)),
                // Network file systems, some of them: the file alone has to do.
                Err(TryLockError::Error(_)) => None,
            };
            // One that was removed between its opening and its lock is nobody's.
            if is_at(&file, &path).map_err(io)? {
                sign(&mut file).map_err(io)?;
                return Ok(Self { file: Mutex::new(file), path, _directory: directory });
            }
        }
        Err(Error::new(ErrorKind::Unavailable, operation, format!("{} is removed over and over", path.display()))
            .with_hint("find out what removes it"))
    }

    /// Makes the lock file again where it was removed; to be called now and then.
    ///
    /// # Errors
    /// `Conflict` where another process has put one of its own in its place.
    pub fn renew(&self) -> Result<()> {
        let operation = "lock data directory";
        let io = |error: std::io::Error| Error::io(operation, self.path.display(), &error);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if is_at(&file, &self.path).map_err(io)? {
            return Ok(());
        }
        let mut new = open(&self.path).map_err(io)?;
        match new.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(io(error)),
            Err(TryLockError::WouldBlock) => {
                let message = format!(
                    "two opendmp processes use this data directory: the other one holds {}",
                    self.path.display()
                );
                return Err(
                    Error::new(ErrorKind::Conflict, operation, message).with_hint("stop one of them immediately")
                );
            }
        }
        sign(&mut new).map_err(io)?;
        *file = new;
        Ok(())
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for DataDirLock {
    fn drop(&mut self) {
        // The file stays: removing it would let two processes lock two files of one name. The kernel releases the
        // lock with the last descriptor; this only says so earlier where a child process inherited one.
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = file.set_len(0);
        let _ = file.unlock();
    }
}

/// Opens the lock file. It is not truncated: what stands there is the holder's number, for the message.
fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Writes down who holds it.
fn sign(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}

/// Whether an open file is the one of that name.
fn is_at(file: &File, path: &Path) -> std::io::Result<bool> {
    let own = file.metadata()?;
    match path.metadata() {
        Ok(found) => Ok((found.dev(), found.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::DataDirLock;
    use opendmp_ports::ErrorKind;

    #[test]
    fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("deep/data");
        let first = DataDirLock::acquire(&data).unwrap();
        let second = DataDirLock::acquire(&data).unwrap_err();
        assert_eq!(second.kind, ErrorKind::Conflict);
        assert!(second.message.contains(&format!("process {}", std::process::id())), "{second}");
        assert!(second.hint.is_some());
        drop(first);
        DataDirLock::acquire(&data).unwrap();
    }

    #[test]
    fn a_lock_does_not_end_with_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDirLock::acquire(dir.path()).unwrap();
        for replaced in [false, true] {
            std::fs::remove_file(first.path()).unwrap();
            if replaced {
                std::fs::write(first.path(), "").unwrap();
            }
            assert_eq!(DataDirLock::acquire(dir.path()).unwrap_err().kind, ErrorKind::Conflict);
            first.renew().unwrap();
            let said = DataDirLock::acquire(dir.path()).unwrap_err();
            assert!(said.message.contains(&format!("process {}", std::process::id())), "{said}");
        }
        // Nor with the name of the directory.
        let moved = dir.path().with_extension("moved");
        std::fs::rename(dir.path(), &moved).unwrap();
        assert_eq!(DataDirLock::acquire(&moved).unwrap_err().kind, ErrorKind::Conflict);
        std::fs::rename(&moved, dir.path()).unwrap();
        drop(first);
        DataDirLock::acquire(dir.path()).unwrap();
    }
}
