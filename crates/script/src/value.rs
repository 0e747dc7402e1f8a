//! What callers hand in and get back: scripts, items, outcomes, logs. Plain values; nothing here runs anything.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use opendmp_sandbox::Rules;
use serde_json::{Map, Value};

use crate::environment::Environment;
use crate::scratch::ScratchFile;
use crate::spool::Spooled;

/// A script as a processor names it.
#[derive(Clone, Debug, PartialEq)]
pub struct ScriptSpec {
    /// The language it is written in.
    pub language: Language,
    /// Its text.
    pub code: String,
    /// The name shown in tracebacks, such as `clean.py`.
    pub file_name: String,
    /// The ports declared beside the default one.
    pub outputs: Vec<String>,
    /// The interpreter, and the packages it sees.
    pub environment: Environment,
    /// How long the script may take for one item.
    pub timeout: Duration,
    /// Bytes of memory for one worker with its child processes.
    pub memory_limit: u64,
    /// What it may touch beyond what all scripts may.
    pub rules: Rules,
    /// Reserved; may be null.
    pub parameters: Value,
}

/// Languages that scripts are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    /// CPython 3.9 or newer.
    Python,
}

/// One item to be processed.
#[derive(Debug)]
pub struct CallItem {
    /// Unicode name.
    pub name: Arc<str>,
    /// Media type, where known.
    pub media_type: Option<Arc<str>>,
    /// JSON scalars by name, as a JSON object; they travel only when the script asks for an `Item`. `None`: it has none.
    pub attributes: Option<Arc<str>>,
    /// Hash of the content; it travels in hex when the script asks for an `Item`.
    pub hash: [u8; 32],
    /// Length of the content in bytes.
    pub size: u64,
    /// The content.
    pub content: CallContent,
}

/// The content of an item to be processed.
#[derive(Debug)]
pub enum CallContent {
    /// In memory. Beyond 1 MiB it is passed on as a descriptor all the same.
    Bytes(Bytes),
    /// A regular file, open for reading only; read by offset, so its position neither matters nor moves.
    File(File),
}

/// What became of one item.
#[derive(Debug)]
pub struct CallResult {
    /// What the script said of it, or what happened to the worker under it.
    pub outcome: Outcome,
    /// What it logged and printed, in order as far as can be told.
    pub log: Vec<LogLine>,
    /// Bytes of log that were left out because there were too many.
    pub log_left_out: u64,
    /// Time in the script, conversions included.
    pub took: Duration,
}

/// What a script said of an item, or what happened to its worker.
#[derive(Debug)]
pub enum Outcome {
    /// Results; none means that the item is dropped on purpose.
    Emit {
        /// They came from an iterator, even if it was only one or none.
        many: bool,
        /// The results in order.
        children: Vec<Child>,
    },
    /// Results from an iterator, too many for memory.
    Spooled(Spooled),
    /// `opendmp.reject(…)`: the item's fault.
    Reject {
        /// Why, in the script's words.
        reason: String,
    },
    /// `opendmp.retry(…)`: the world's fault.
    Retry {
        /// Why, in the script's words.
        reason: String,
        /// When to try again, if the script said so.
        after: Option<Duration>,
    },
    /// It raised an exception, could not be given the item, or returned what can't be an item.
    Failed(Failure),
    /// It took too long, and the worker was killed with all its children.
    TimedOut {
        /// The limit.
        after: Duration,
    },
    /// It wanted too much memory.
    OverMemory {
        /// The limit in bytes.
        limit: u64,
    },
    /// Its files left too little room on the disk for others: the worker was killed, and they are removed.
    FillsTheDisk {
        /// A folder of that disk.
        folder: PathBuf,
    },
    /// The worker died under it.
    Crashed {
        /// `killed by signal 11 (SIGSEGV)`, `exit code 3`, or how it broke the protocol.
        status: String,
        /// The end of what the process wrote to standard error.
        stderr: String,
    },
}

/// An exception, as its reader needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// Class of the exception, such as `ValueError`.
    pub kind: String,
    /// What it says.
    pub message: String,
    /// The traceback with only the script's own lines; empty if it was not raised in the script.
    pub traceback: String,
    /// The script's file name, if it was raised there.
    pub file: Option<String>,
    /// The line of the script, from 1.
    pub line: Option<u32>,
    /// The text of that line.
    pub source_line: Option<String>,
    /// What can be done about it, where that is known.
    pub hint: Option<String>,
}

/// One result.
#[derive(Debug)]
pub struct Child {
    /// Its name, if it is not that of the item.
    pub name: Option<String>,
    /// Its media type, if it is not that of the item.
    pub media_type: Option<String>,
    /// The declared port it leaves by; none is the default one.
    pub port: Option<String>,
    /// Attributes that were added or changed.
    pub attributes: Map<String, Value>,
    /// Its content.
    pub content: ChildContent,
}

/// The content of a result.
#[derive(Debug)]
pub enum ChildContent {
    /// That of the item, unchanged.
    Same,
    /// In memory; at most 1 MiB.
    Bytes(Bytes),
    /// In a scratch file, to be copied; it is removed when the value is dropped.
    File(ScratchFile),
}

/// One line of an item's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Where it came from.
    pub level: LogLevel,
    /// The text, without its line end.
    pub text: String,
}

/// Where a line of log came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogLevel {
    /// `print`, or standard output of the process.
    Stdout,
    /// Standard error.
    Stderr,
    /// `logging.debug`.
    Debug,
    /// `logging.info`.
    Info,
    /// `logging.warning`.
    Warning,
    /// `logging.error` and what is worse.
    Error,
}

impl LogLevel {
    /// The name in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// The level by its number in the protocol; what is unknown counts as standard error.
    pub(crate) fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Stdout,
            3 => Self::Debug,
            4 => Self::Info,
            5 => Self::Warning,
            6 => Self::Error,
            _ => Self::Stderr,
        }
    }
}

/// Which processes may run a script: those that never held the code of another flow or environment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolKey {
    /// The flow, by whatever name is unique in the server.
    pub flow: String,
    /// The environment's [`Environment::id`].
    pub environment: String,
}

impl PoolKey {
    /// The key for a flow's scripts in an environment.
    pub fn new(flow: impl Into<String>, environment: &Environment) -> Self {
        Self { flow: flow.into(), environment: environment.id.clone() }
    }
}

/// How many processes there are and were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Living and in a call.
    pub busy: usize,
    /// Living and waiting for one.
    pub idle: usize,
    /// That may live at a time.
    pub most: usize,
    /// Ever started by these pools.
    pub started: u64,
    /// That ended in the middle of a call: crashed, or stopped for time or memory.
    pub died: u64,
}
