//! The lock of a data directory: one server, or one command without a server, at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use opendmp_ports::{Error, ErrorKind, Result};

/// Name of the lock file in the data directory.
const FILE: &str = "lock";

/// The right to use a data directory alone, until dropped or until the process ends in whatever way: the kernel
/// releases it.
#[derive(Debug)]
pub struct DataDirLock {
    file: File,
    path: PathBuf,
}

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
        let mut open = OpenOptions::new();
        open.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = open.open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Empty for the moment between its lock and its writing; then there is no number to tell.
                let holder = match file.read_to_string(&mut text) {
                    Ok(_) if !text.trim().is_empty() => format!(" (process {})", text.trim()),
                    _ => String::new(),
                };
                let message = format!("{} is in use by another opendmp{holder}", dir.display());
                return Err(Error::new(ErrorKind::Conflict, operation, message)
                    .with_hint("stop it, or give another data directory"));
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        file.set_len(0).map_err(io)?;
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self { file, path })
    }

    /// Whether the lock file is still where it was: where it was removed, another process could take a lock of that name.
    pub fn is_in_place(&self) -> bool {
        let identity = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
        let (named, held) = (std::fs::symlink_metadata(&self.path).map(identity), self.file.metadata().map(identity));
        named.is_ok_and(|named| held.is_ok_and(|held| named == held))
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
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
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
}
