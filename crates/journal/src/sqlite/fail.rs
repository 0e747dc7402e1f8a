//! What can go wrong inside, and how it is told outside.

use std::path::Path;

use opendmp_model::codec::Damaged;
use opendmp_ports::{Error, ErrorKind};
use rusqlite::ErrorCode;

/// An error before it is known which operation met it.
#[derive(Debug)]
pub(crate) enum Fail {
    /// The database said so.
    Sql(rusqlite::Error),
    /// Decided here.
    Port(Error),
    /// Stored bytes are not what was written.
    Damaged(String),
}

pub(crate) type Result<T> = std::result::Result<T, Fail>;

impl From<rusqlite::Error> for Fail {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Fail {
    fn from(error: Error) -> Self {
        Self::Port(error)
    }
}

impl From<Damaged> for Fail {
    fn from(error: Damaged) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<serde_json::Error> for Fail {
    fn from(error: serde_json::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// Whether the database says that its file is not what it was.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Free bytes below which an I/O error is taken for a lack of room: SQLite can't always tell.
const NO_ROOM: u64 = 1 << 20;

impl Fail {
    /// The error as the caller of `operation` gets it; `dir` is where the database lives.
    pub(crate) fn told(self, operation: &'static str, dir: &Path) -> Error {
        match self {
            Self::Port(error) => error,
            Self::Damaged(what) => damaged(operation, &what),
            Self::Sql(error) => sql(&error, operation, dir),
        }
    }
}

pub(crate) fn damaged(operation: &'static str, what: &str) -> Error {
    Error::new(ErrorKind::Damaged, operation, format!("the journal is damaged: {what}")).with_hint(
        "stop the server and `opendmp restore` a backup into a new directory; what is still readable in `journal.db`, \
         `sqlite3 journal.db .recover` shows",
    )
}

fn full(operation: &'static str, dir: &Path) -> Error {
    Error::new(ErrorKind::Full, operation, format!("no room left on the disk of {}", dir.display()))
        .with_hint("make room on that disk; work goes on by itself")
}

fn sql(error: &rusqlite::Error, operation: &'static str, dir: &Path) -> Error {
    let Some(code) = error.sqlite_error_code() else {
        // A value of another type than was written, or a column that is not there.
        return damaged(operation, &error.to_string());
    };
    let unavailable = |hint: &str| {
        Error::new(ErrorKind::Unavailable, operation, format!("{}: {error}", dir.display())).with_hint(hint)
    };
    match code {
        ErrorCode::DiskFull => full(operation, dir),
        ErrorCode::SystemIoFailure | ErrorCode::CannotOpen if no_room(dir) => full(operation, dir),
        ErrorCode::SystemIoFailure => unavailable("check the disk and the system's log"),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => damaged(operation, &error.to_string()),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
            unavailable("another program is using `journal.db`; let it finish")
        }
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => {
            unavailable("look at the owner and the rights of that directory")
        }
        ErrorCode::ConstraintViolation => Error::new(ErrorKind::Conflict, operation, error.to_string()),
        _ => unavailable("try again; where that does not help, report it with this message"),
    }
}

fn no_room(dir: &Path) -> bool {
    rustix::fs::statvfs(dir).is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) < NO_ROOM)
}
