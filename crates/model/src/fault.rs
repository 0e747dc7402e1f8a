//! What went wrong with an item, as people read it and as the engine decides by; and what an item logged.

use serde::{Deserialize, Serialize};

/// Whose fault it is, which decides whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum FaultKind {
    /// The item's: said so by the processor. No retry.
    Rejected,
    /// The step failed: an exception, a non-zero exit. Uses up `retries`.
    Failed,
    /// The call took longer than its `timeout` and was killed. Uses up `retries`.
    TimedOut,
    /// The call took more memory than its limit and was killed. Uses up `retries`.
    OverMemory,
    /// The process died under the item. Uses up `retries`.
    Crashed,
    /// The world's: a service away, a disk full. Tried again after a while, without an end to the tries if it is
    /// the engine's own world.
    Unavailable,
    /// The server itself died three times with this item under way.
    Lost,
    /// The export was refused (`if_exists: fail`, missing rights): the dataset is there.
    ExportRefused,
    /// A person took the item out of a flow that was deleted.
    Abandoned,
}

/// What went wrong, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Fault {
    /// Whose fault it is.
    pub kind: FaultKind,
    /// A short stable name, such as `ValueError` or `exit-code`.
    pub code: String,
    /// What happened: lower case, no full stop.
    pub message: String,
    /// What a person can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The user's own lines of the traceback, or the end of standard error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
    /// `clean.py:14` and the text of that line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<(String, String)>,
}

impl Fault {
    /// A fault with a kind, a code and words.
    pub fn new(kind: FaultKind, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, code: code.into(), message: message.into(), hint: None, traceback: None, place: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Fault {}

/// A line of an item's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LogLine {
    /// `stdout`, `stderr`, or a logging level in lower case.
    pub level: String,
    /// The text, without its line end.
    pub text: String,
}
