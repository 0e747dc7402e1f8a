//! What went wrong with an item, as people read it and as the engine decides by; and what an item logged.

use std::time::Duration;

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
    /// The world's: a service is away. Tried again after a while, without an end to the tries.
    Unavailable,
    /// A service answers that it is asked too often. As [`FaultKind::Unavailable`].
    Throttled,
    /// A disk is full. As [`FaultKind::Unavailable`].
    NoSpace,
    /// A service refuses the sign-in. Tried again slowly, without an end to the tries, because a person has to act.
    Authentication,
    /// The server itself died three times with this item under way.
    Lost,
    /// The export was refused (`if_exists: fail`, missing rights): the dataset is there.
    ExportRefused,
    /// A person took the item out of a flow that was deleted.
    Abandoned,
}

/// What can be done about a fault. It decides whether, and how soon, the same is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultClass {
    /// It concerns this item only, and may succeed another time: each try counts as one of its `retries`.
    Item,
    /// Trying again changes nothing.
    Permanent,
    /// The world may recover by itself: tried again without an end, no retry is used up.
    Transient,
    /// As `Transient`; the other side says that it is asked too often.
    Throttled,
    /// As `Transient`, but slowly: only a person can renew a sign-in.
    Authentication,
}

impl FaultKind {
    /// What can be done about a fault of this kind.
    pub fn class(self) -> FaultClass {
        match self {
            Self::Failed | Self::TimedOut | Self::OverMemory | Self::Crashed => FaultClass::Item,
            Self::Rejected | Self::Lost | Self::ExportRefused | Self::Abandoned => FaultClass::Permanent,
            Self::Unavailable | Self::NoSpace => FaultClass::Transient,
            Self::Throttled => FaultClass::Throttled,
            Self::Authentication => FaultClass::Authentication,
        }
    }
}

impl FaultClass {
    /// Whether the item is blameless: the same is tried again until it succeeds.
    pub fn is_waited_out(self) -> bool {
        matches!(self, Self::Transient | Self::Throttled | Self::Authentication)
    }
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
    /// How long to wait at least before the next try, in milliseconds: said by the step, or by the service it asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Fault {
    /// A fault with a kind, a code and words.
    pub fn new(kind: FaultKind, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: code.into(),
            message: message.into(),
            hint: None,
            traceback: None,
            place: None,
            retry_after_ms: None,
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same, not to be tried again before that time has passed; `None` leaves it to the policy.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after_ms = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// How long to wait at least before the next try.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after_ms.map(Duration::from_millis)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Fault {}

/// How often something was tried without success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    /// Failed tries of the item's own: what `retries` limits.
    pub failures: u32,
    /// Waits for the world since the last of these. They use up no retry.
    pub waits: u32,
}

/// A line of an item's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LogLine {
    /// `stdout`, `stderr`, or a logging level in lower case.
    pub level: String,
    /// The text, without its line end.
    pub text: String,
}
