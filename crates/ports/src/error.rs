//! Why a port could not do what was asked.

use std::fmt;

/// What the caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// What was named is not there.
    NotFound,
    /// It can't be done in the present state.
    Conflict,
    /// No room left on a disk.
    Full,
    /// A service or disk does not answer now; may be tried again.
    Unavailable,
    /// Stored bytes are not what was written.
    Damaged,
    /// The data is of a newer format than this program.
    Newer,
    /// The caller's arguments don't fit.
    Invalid,
}

/// An error of a port: kind, operation, words, hint.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Error {
    /// What the caller can do about it.
    pub kind: ErrorKind,
    /// The operation, as `journal settle`.
    pub operation: &'static str,
    /// What happened: lower case, no full stop.
    pub message: String,
    /// What a person can do about it.
    pub hint: Option<String>,
}

/// Result of a port's operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with words.
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        Self { kind, operation, message: message.into(), hint: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether the same call may succeed later without anyone changing the program.
    pub fn is_temporary(&self) -> bool {
        matches!(self.kind, ErrorKind::Full | ErrorKind::Unavailable)
    }

    /// An error of the operating system.
    pub fn io(operation: &'static str, what: impl fmt::Display, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            Io::NotFound => ErrorKind::NotFound,
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => ErrorKind::Full,
            _ => ErrorKind::Unavailable,
        };
        let made = Self::new(kind, operation, format!("{what}: {error}"));
        match error.kind() {
            _ if kind == ErrorKind::Full => made.with_hint("make room on that disk; work goes on by itself"),
            Io::PermissionDenied => made
                .with_hint("give the user who runs opendmp the right to read and write there; work goes on by itself"),
            _ => made,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.message)
    }
}
