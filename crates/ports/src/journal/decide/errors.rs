//! The errors that every journal gives in the same words.

use opendmp_model::ids::TaskId;

use crate::journal::{FlowId, RunId, VersionId};
use crate::{Error, ErrorKind};

/// The error for a cursor that no page ended with.
pub fn bad_cursor(operation: &'static str) -> Error {
    Error::new(ErrorKind::Invalid, operation, "this is not where an earlier page ended")
        .with_hint("give `next` of the page before, or nothing")
}

/// The error of a call under a lease that was taken over.
pub fn taken_over(operation: &'static str) -> Error {
    Error::new(ErrorKind::Conflict, operation, "the lease was taken over by another worker")
}

/// The error for what is not there.
pub fn missing(operation: &'static str, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::NotFound, operation, format!("there is no {what}"))
}

/// The error for a run that is no reprocess.
pub fn no_reprocess(run: RunId) -> Error {
    Error::new(ErrorKind::NotFound, "journal reprocess", format!("run {run} is no reprocess"))
}

/// The error for an arrival in a run that is over.
pub fn run_over(run: RunId) -> Error {
    Error::new(ErrorKind::Conflict, "journal ingest", format!("run {run} is over"))
}

/// The error for an arrival in a run of another flow.
pub fn foreign_run(run: RunId, flow: FlowId) -> Error {
    Error::new(ErrorKind::Invalid, "journal ingest", format!("run {run} is not of flow {flow}"))
}

/// The error for a version of another flow.
pub fn foreign_version(operation: &'static str, version: VersionId, flow: FlowId) -> Error {
    Error::new(ErrorKind::Invalid, operation, format!("version {version} is not of flow {flow}"))
}

/// The error for a task that is in the queue already: the same work twice, which a plan does not make.
pub fn task_twice(task: TaskId) -> Error {
    Error::new(ErrorKind::Conflict, "journal", format!("task {task} is in the queue already"))
}

/// The error for a change of a flow that is gone.
pub fn flow_gone(flow: FlowId) -> Error {
    Error::new(ErrorKind::Conflict, "journal change flow", format!("flow {flow} is deleted"))
        .with_hint("save it again under its name")
}

/// The error for dead letters that are not all of the flow they are to go through.
pub fn letters_differ() -> Error {
    Error::new(ErrorKind::Invalid, "journal reenter", "these dead letters are of different flows")
        .with_hint("retry those of one flow at a time")
}
