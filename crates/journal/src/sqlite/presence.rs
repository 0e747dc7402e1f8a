//! Whether the journal's files are still in their place, and what they were. A file that is removed or replaced while it is open is written
//! to as before, and everything written to it is gone with the process: so nothing is committed any more.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use opendmp_ports::{Error, ErrorKind, Result};

use super::fail::{Fail, damaged, is_damage};

/// The files of one open journal.
#[derive(Debug)]
pub(crate) struct Presence {
    database: PathBuf,
    /// Device and inode.
    id: (u64, u64),
    /// The greatest length that was seen: a database in use never gets shorter.
    length: AtomicU64,
    log: PathBuf,
    log_id: OnceLock<(u64, u64)>,
    /// What the database said when it could not read its own file.
    damage: OnceLock<String>,
}

impl Presence {
    /// Of a database that has just been opened.
    pub(crate) fn of(database: &Path) -> Result<Self> {
        let meta = database.metadata().map_err(|error| Error::io("open journal", database.display(), &error))?;
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        Ok(Self {
            database: database.to_owned(),
            id: (meta.dev(), meta.ino()),
            length: AtomicU64::new(meta.len()),
            log: log.into(),
            log_id: OnceLock::new(),
            damage: OnceLock::new(),
        })
    }

    /// A failure of an operation on this journal as its caller gets it. Once the database can't read its own file, each
    /// [`Presence::check`] fails: what is written next could be lost, and what is read could lack something.
    pub(crate) fn told(&self, fail: Fail, operation: &'static str) -> Error {
        if let Fail::Sql(error) = &fail
            && is_damage(error)
        {
            self.damage.get_or_init(|| error.to_string());
        }
        fail.told(operation, self.database.parent().unwrap_or(&self.database))
    }

    /// Errs where what is written can't be found again after a restart.
    pub(crate) fn check(&self, operation: &'static str) -> Result<()> {
        let gone = |file: &Path, how: &str| {
            let message =
                format!("{} was {how} while it was in use: nothing is recorded or taken in any more", file.display());
            Err(Error::new(ErrorKind::Unavailable, operation, message).with_hint(
                "put the very file back where it was (`mv`), or stop the server and `opendmp restore` a backup into a \
                 new directory",
            ))
        };
        let look = |file: &Path| match file.metadata() {
            Ok(meta) => Ok(Some(meta)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(operation, file.display(), &error)),
        };
        match look(&self.database)? {
            None => return gone(&self.database, "removed"),
            Some(meta) if (meta.dev(), meta.ino()) != self.id => return gone(&self.database, "replaced"),
            Some(meta) if meta.len() < self.length.fetch_max(meta.len(), Ordering::Relaxed) => {
                return gone(&self.database, "cut short");
            }
            Some(_) => {}
        }
        match (look(&self.log)?.map(|meta| (meta.dev(), meta.ino())), self.log_id.get()) {
            (None, None) => {}
            (None, Some(_)) => return gone(&self.log, "removed"),
            (Some(id), _) if *self.log_id.get_or_init(|| id) == id => {}
            (Some(_), _) => return gone(&self.log, "replaced"),
        }
        // Last: what was done to the files is the better explanation.
        self.damage.get().map_or(Ok(()), |what| Err(damaged(operation, what)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_that_are_removed_replaced_or_cut_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (file, name) in [("journal.db", "journal.db"), ("journal.db-wal", "journal.db-wal")] {
            fs::write(at("journal.db"), "database").unwrap();
            let presence = Presence::of(&at("journal.db")).unwrap();
            presence.check("test").unwrap();
            fs::write(at("journal.db-wal"), "log").unwrap();
            presence.check("test").unwrap();
            fs::rename(at(file), at("aside")).unwrap();
            let said = presence.check("test").unwrap_err();
            assert!(said.kind == ErrorKind::Unavailable && said.message.contains("removed"), "{said}");
            fs::write(at(file), "another one").unwrap();
            assert!(presence.check("test").unwrap_err().message.contains("replaced"), "{name}");
            fs::rename(at("aside"), at(file)).unwrap();
            presence.check("test").unwrap();
            fs::remove_file(at("journal.db-wal")).unwrap();
        }
        fs::write(at("journal.db"), "grows").unwrap();
        let presence = Presence::of(&at("journal.db")).unwrap();
        fs::write(at("journal.db"), "grows and grows").unwrap();
        presence.check("test").unwrap();
        fs::write(at("journal.db"), "grows").unwrap();
        assert!(presence.check("test").unwrap_err().message.contains("cut short"));
    }

    #[test]
    fn a_damaged_file_is_told_from_then_on() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("journal.db");
        fs::write(&file, "database").unwrap();
        let presence = Presence::of(&file).unwrap();
        let told = |code| {
            presence.told(Fail::Sql(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)), "test")
        };
        assert_eq!(told(rusqlite::ffi::SQLITE_BUSY).kind, ErrorKind::Unavailable);
        presence.check("test").unwrap();
        assert_eq!(told(rusqlite::ffi::SQLITE_CORRUPT).kind, ErrorKind::Damaged);
        let said = presence.check("another").unwrap_err();
        assert!(said.kind == ErrorKind::Damaged && said.operation == "another" && said.hint.is_some(), "{said}");
    }
}
