//! What log lines are told apart by: each task, each intent and each source has a span, and what is logged while one of
//! them is worked on bears its fields. Spans are made once for a bundle, never for an item, and hold names of the
//! program and of flows only, never content.
//!
//! They are of the level `error`, so that the lines of any level that is asked for have them.

use opendmp_ports::journal::{Action, Claimed, Intent};
use tracing::Span;
use tracing::field::Empty;

/// Of a task; its flow is added with [`of_flow`] when the version is loaded.
pub(crate) fn task(claimed: &Claimed) -> Span {
    tracing::error_span!(
        "task",
        task = %claimed.task.id,
        flow = Empty,
        processor = &*claimed.task.to.processor,
        run = claimed.run.0,
        attempt = claimed.attempt,
    )
}

/// Of an attempt at an intent; its flow is added with [`of_flow`].
pub(crate) fn intent(intent: &Intent) -> Span {
    let kind = match intent.action {
        Action::Release { .. } => "release",
        Action::Export(_) => "export",
    };
    tracing::error_span!(
        "intent",
        intent = intent.id.0,
        kind,
        flow = Empty,
        processor = &*intent.processor,
        run = intent.run.0,
        attempt = intent.attempt,
    )
}

/// Of the looks at a source.
pub(crate) fn source(flow: &str, processor: &str) -> Span {
    tracing::error_span!("source", flow, processor)
}

/// Says which flow the present span is about; once, since what is recorded again is added.
pub(crate) fn of_flow(slug: &str) {
    Span::current().record("flow", slug);
}
