//! Why a script could not be run at all. What happens to single items is an [`Outcome`](crate::Outcome), not an error.

use std::path::PathBuf;
use std::time::Duration;

use crate::value::{Failure, LogLine};

/// Why no worker could be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no usable interpreter.
    #[error("no usable Python at `{}`: {why}", path.display())]
    Interpreter {
        /// What was tried.
        path: PathBuf,
        /// What came of it.
        why: String,
    },
    /// The script's own module could not be loaded.
    #[error("the script can't be loaded: {}: {}", failure.kind, failure.message)]
    Load {
        /// The exception, with the script's own lines.
        failure: Box<Failure>,
        /// What it printed meanwhile.
        log: Vec<LogLine>,
    },
    /// Loading the script took too long.
    #[error("the script was not loaded within {} s", after.as_secs_f32())]
    LoadTimeout {
        /// The limit.
        after: Duration,
    },
    /// Workers die before they have begun with any item.
    #[error("the worker died before it began with an item: {status}")]
    Lost {
        /// How it ended.
        status: String,
    },
    /// A process could not be started, or its scratch directory not be made.
    #[error("failed to {what}: {source}")]
    Start {
        /// What was attempted.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A folder that the script is to see or write is not there.
    #[error("the folder `{}` can't be given to the script: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// While it was loaded its files left too little room on the disk for others.
    #[error("the script was stopped while it was loaded: its files left too little room on the disk of {}", folder.display())]
    FillsTheDisk {
        /// A folder of that disk.
        folder: PathBuf,
    },
    /// The packages could not be resolved or installed.
    #[error("{message}")]
    Environment {
        /// What went wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The server is shutting down.
    #[error("scripts are being shut down")]
    Closed,
}

impl Error {
    pub(crate) fn start(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Start { what: what.into(), source }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Interpreter { .. } => Some(
                "install Python 3.9 or newer (`apt install python3`, `brew install python`), or name another one in \
                 the configuration"
                    .into(),
            ),
            Self::Load { failure, .. } if failure.hint.is_some() => failure.hint.clone(),
            Self::Load { failure, .. } if failure.kind == "ModuleNotFoundError" => Some(
                "name the package at the top of the script: `# /// script`, `# dependencies = [\"…\"]`, `# ///`".into(),
            ),
            Self::Load { .. } => None,
            Self::LoadTimeout { .. } => {
                Some("what stands outside of `process` runs once while the script is loaded; keep it short".into())
            }
            Self::Lost { .. } => Some("see what the process wrote to standard error in the server's log".into()),
            Self::Start { .. } => Some("check the free space and the rights of the scratch directory".into()),
            Self::Folder { path, .. } => {
                Some(format!("make it (`mkdir -p '{}'`), or take it out of `writable`", path.display()))
            }
            Self::FillsTheDisk { .. } => Some("make room on that disk; work goes on by itself".into()),
            Self::Environment { hint, .. } => hint.clone(),
            Self::Closed => None,
        }
    }
}
