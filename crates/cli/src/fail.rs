//! Why a verb ends badly: in words, with a hint, and with the exit code.

use std::process::ExitCode;

use opendmp_api::ask::Problem;
use opendmp_model::diagnostic::Diagnostics;

use crate::term::Term;

/// All is well.
pub const DONE: u8 = 0;
/// Something failed.
pub const FAILED: u8 = 1;
/// A bad flow, or arguments that don't fit.
pub const USAGE: u8 = 2;
/// Some items became dead letters.
pub const DEAD: u8 = 3;
/// Time ran out.
pub const TIMED_OUT: u8 = 4;
/// Stopped by a signal, as shells have it.
pub const INTERRUPTED: u8 = 130;

/// See the module.
#[derive(Debug)]
pub struct Fail {
    /// The exit code.
    pub exit: u8,
    /// What is wrong; empty where it was told already.
    pub message: String,
    /// What can be done.
    pub hint: Option<String>,
    /// What is wrong with a flow, where a server found it.
    pub diagnostics: Option<Diagnostics>,
}

impl Fail {
    /// A failure.
    pub fn new(message: impl Into<String>) -> Self {
        Self { exit: FAILED, message: message.into(), hint: None, diagnostics: None }
    }

    /// Arguments that don't fit.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: USAGE, ..Self::new(message) }
    }

    /// One that was told already.
    pub fn told(exit: u8) -> Self {
        Self { exit, ..Self::new("") }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An error of the operating system.
    pub fn io(what: impl std::fmt::Display, error: &std::io::Error) -> Self {
        Self::new(format!("{what}: {}", crate::words::io(error)))
    }

    /// Tells it on standard error.
    pub fn tell(self, term: &Term) -> ExitCode {
        if let Some(diagnostics) = &self.diagnostics {
            for line in diagnostics.to_string().lines() {
                term.err(line);
            }
        }
        if !self.message.is_empty() {
            term.err(&format!("{} {}", term.bad("error:"), self.message));
            if let Some(hint) = &self.hint {
                term.err(&format!("{} {hint}", term.cyan("hint:")));
            }
        }
        ExitCode::from(self.exit)
    }
}

impl From<Problem> for Fail {
    fn from(problem: Problem) -> Self {
        let exit = match (problem.status, problem.code.as_str()) {
            (400 | 422, _) | (_, "ambiguous" | "which-ingest") => USAGE,
            _ => FAILED,
        };
        let Problem { message, hint, diagnostics, .. } = problem;
        Self { exit, message, hint, diagnostics }
    }
}

impl From<opendmp_ports::Error> for Fail {
    fn from(error: opendmp_ports::Error) -> Self {
        let hint = match error.kind {
            // That work goes on by itself is true of a server, not of a verb that ends with this.
            opendmp_ports::ErrorKind::Full => Some("make room on that disk, and do it again".to_owned()),
            _ => error.hint,
        };
        Self { hint, ..Self::new(error.message) }
    }
}

impl From<std::io::Error> for Fail {
    /// Of writing to standard output: a reader that has left is no failure.
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::told(DONE),
            _ => Self::io("the output can't be written", &error),
        }
    }
}
