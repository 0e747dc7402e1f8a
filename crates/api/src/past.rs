//! What happened, as it is asked for and told: steps of a run, items of the past; and what is handed in by hand.

use opendmp_engine::past;
use opendmp_model::history::Result as Outcome;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::rows::time;

/// Which steps of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StepsRequest {
    /// At most so many rows; 100 without it, 500 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Behind this cursor of an earlier answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// On which side of a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// What went in.
    In,
    /// What came out.
    Out,
}

/// Which items of the past.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PastRequest {
    /// Of this processor; without it what arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processor: Option<String>,
    /// What went in, or what came out; what went in without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub side: Option<Side>,
    /// At most so many; 100 without it, and at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Which file is put into a source.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DropRequest {
    /// Its name, with the folder within the source's where that looks into these; written as an item name.
    pub name: String,
    /// Whether a file of that name is replaced.
    #[serde(default)]
    pub replace: bool,
}

/// A file that was put into a source.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Dropped {
    /// Its name.
    pub name: String,
}

/// How a dead letter is retried.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EditRequest {
    /// The upload whose bytes the item has from now on; without it, it goes on as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload: Option<String>,
    /// Why, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// An item that went into a step, or came out of one.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StepItem {
    /// Its id.
    pub id: String,
    /// Its name; empty where the history does not know it any more.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// The port it came out of, where it is not the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
}

impl From<past::StepItem> for StepItem {
    fn from(item: past::StepItem) -> Self {
        let port = item.port.as_deref().map(str::to_owned);
        Self { id: item.id.to_string(), name: item.name.to_string(), size: item.size, port }
    }
}

/// A revision of a dataset.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RevisionOf {
    /// The dataset.
    pub id: String,
    /// Its number.
    pub revision: u32,
}

/// One item in one step of a run.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RunStep {
    /// The processor; `retry` and `reprocess` for a person's.
    pub processor: String,
    /// Its kind.
    pub kind: String,
    /// What came of it.
    pub result: Outcome,
    /// When the step began.
    pub started: String,
    /// When it was committed.
    pub committed: String,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// A remark, or what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What went in.
    pub input: StepItem,
    /// What came out, the first hundred.
    pub children: Vec<StepItem>,
    /// How many more came out.
    pub more: u64,
    /// The revision that it became, where a look at the newest thousand datasets of the run tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<RevisionOf>,
    /// The dead letter that it became, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<String>,
}

impl From<past::RunStep> for RunStep {
    fn from(step: past::RunStep) -> Self {
        Self {
            processor: step.processor,
            kind: step.kind,
            result: step.result,
            started: time(step.started),
            committed: time(step.committed),
            took_us: step.took,
            note: step.note.map(Into::into),
            input: step.input.into(),
            children: step.children.into_iter().map(Into::into).collect(),
            more: step.more,
            dataset: step.dataset.map(|(slot, revision)| RevisionOf { id: slot.to_string(), revision }),
            dead_letter: step.letter.map(|letter| letter.to_string()),
        }
    }
}

/// An item of the past: a sample to try something on.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PastItem {
    /// Its id.
    pub item: String,
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Its media type, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// When it was in that step.
    pub at: String,
}

impl From<past::PastItem> for PastItem {
    fn from(item: past::PastItem) -> Self {
        Self {
            item: item.id.to_string(),
            name: item.name,
            size: item.size,
            media_type: item.media_type.as_deref().map(str::to_owned),
            at: time(item.at),
        }
    }
}
