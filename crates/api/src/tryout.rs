//! Uploads and try-outs, as they are asked for and answered: hashes as text, times as RFC 3339.

use std::collections::BTreeMap;
use std::time::Duration;

use opendmp_engine::control::FlowText;
use opendmp_engine::tryout::{self, Sample, TryOutcome};
use opendmp_engine::uploads::Kept;
use opendmp_model::diagnostic::Diagnostics;
use opendmp_model::export::IfExists;
use opendmp_model::fault::{Fault, FaultKind, LogLine};
use opendmp_model::item::Attributes;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::Via;
use crate::ask::FileContent;
use crate::problem::Problem;
use crate::rows::time;
use crate::service::Service;

/// What is handed in.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UploadRequest {
    /// The name that the sample is to have: that of a file.
    pub name: String,
    /// Its media type; without it what the name says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
}

/// A file that was handed in, or that came out of a try-out.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Uploaded {
    /// Its id.
    pub upload: String,
    /// Its name.
    pub name: String,
    /// Its media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Bytes.
    pub size: u64,
    /// BLAKE3 of its bytes, hexadecimal.
    pub hash: String,
    /// Until when it is kept.
    pub expires: String,
}

impl From<Kept> for Uploaded {
    fn from(kept: Kept) -> Self {
        Self {
            upload: kept.id,
            name: kept.name,
            media_type: kept.media_type,
            size: kept.size,
            hash: kept.hash.to_hex(),
            expires: time(kept.expires),
        }
    }
}

/// Where a sample comes from: one of `upload`, `item`, `dataset`, `dead_letter` and `text`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SampleRequest {
    /// An upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload: Option<String>,
    /// An item that went from one step to the next, by id; its bytes are computed again where they are not at hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// A dataset, by id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Which revision of the dataset; the newest without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u32>,
    /// The input of a dead letter, by id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<String>,
    /// The text itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The name that the sample is to have in place of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What is to be tried.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TryRequest {
    /// The flow, YAML or JSON; only what concerns the processor has to be right.
    pub text: String,
    /// The files it names, by path relative to it.
    #[serde(default)]
    pub files: BTreeMap<String, FileContent>,
    /// The processor, by id.
    pub processor: String,
    /// On what.
    pub sample: SampleRequest,
    /// Attributes that the sample gets besides its own, or in their place.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub attributes: Attributes,
    /// How long the call may take, in milliseconds; 30 seconds without it, never longer than the processor's `timeout`.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

impl Service {
    /// The request as the engine takes it.
    pub(crate) async fn try_request(&self, request: TryRequest) -> Result<tryout::TryRequest, Problem> {
        let sample = self.sample(&request.sample).await?;
        // Where it is, or would be; one that can't be enabled here can be tried all the same.
        let base = self.base("", &request.text, Via::Socket).await.unwrap_or_default();
        let files = request.files.into_iter().map(|(path, content)| (path, content.0)).collect();
        Ok(tryout::TryRequest {
            flow: FlowText { text: request.text, files, base },
            processor: request.processor,
            sample,
            name: request.sample.name,
            attributes: request.attributes,
            timeout: request.timeout_ms.map(Duration::from_millis),
        })
    }

    async fn sample(&self, asked: &SampleRequest) -> Result<Sample, Problem> {
        let SampleRequest { upload, item, dataset, dead_letter, text, .. } = asked;
        match (upload, item, dataset, dead_letter, text) {
            (Some(upload), None, None, None, None) => Ok(Sample::Upload(upload.clone())),
            (None, Some(item), None, None, None) => {
                let bad = |error| Problem::new(400, "bad-id", format!("`{item}`: {error}"));
                Ok(Sample::Item(item.parse().map_err(bad)?))
            }
            (None, None, Some(dataset), None, None) => {
                Ok(Sample::Revision(Box::new(self.revision(dataset, asked.revision).await?)))
            }
            (None, None, None, Some(letter), None) => Ok(Sample::Letter(Box::new(self.letter(letter).await?))),
            (None, None, None, None, Some(text)) => Ok(Sample::Text(text.clone())),
            _ => Err(Problem::new(
                400,
                "bad-sample",
                "a sample is one of an upload, an item, a dataset, a dead letter and text",
            )
            .with_hint("give exactly one of `upload`, `item`, `dataset`, `dead_letter` and `text`")),
        }
    }
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It gave results.
    Emitted,
    /// It was dropped on purpose.
    Dropped,
    /// The step says that the item is at fault.
    Rejected,
    /// The step wants to be tried again later.
    Retry,
    /// The step failed, or could not begin.
    Failed,
    /// An aggregate would hold it; told is what a group of it alone becomes.
    Held,
    /// It would be put on a shelf.
    Collected,
}

/// What went wrong.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TriedFault {
    /// Whose fault it is.
    pub kind: FaultKind,
    /// A short stable name, such as `ValueError` or `exit-code`.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What a person can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The user's own lines of the traceback, or the end of standard error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
    /// The line of the code, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// What that line says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The name of the file that the line is in, as tracebacks have it; code within the flow is called as its processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

impl From<Fault> for TriedFault {
    fn from(fault: Fault) -> Self {
        let (file, line, source) = match fault.place {
            Some((place, source)) => match place.rsplit_once(':') {
                Some((file, line)) => (Some(file.to_owned()), line.parse().ok(), Some(source)),
                None => (Some(place), None, Some(source)),
            },
            None => (None, None, None),
        };
        let Fault { kind, code, message, hint, traceback, .. } = fault;
        Self { kind, code, message, hint, traceback, line, source, file }
    }
}

/// What went in.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TriedInput {
    /// Its name.
    pub name: String,
    /// Its media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Its attributes.
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub attributes: Attributes,
    /// Bytes.
    pub size: u64,
    /// BLAKE3 of its bytes, hexadecimal.
    pub hash: String,
    /// The upload that it is, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<String>,
    /// The first 64 KiB, where that is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
}

/// One result.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TriedOutput {
    /// The port it leaves by, where it is not the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Its name.
    pub name: String,
    /// Its media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Its attributes.
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub attributes: Attributes,
    /// Bytes.
    pub size: u64,
    /// BLAKE3 of its bytes, hexadecimal.
    pub hash: String,
    /// The upload that keeps its bytes: to be looked at, and to be the next sample.
    pub upload: String,
    /// The first 64 KiB, where that is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
}

/// What would be collected; nothing was.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TriedCollect {
    /// The collection.
    pub collection: String,
    /// Where it would be exported to, where it would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What happens where something foreign is there: `version`, `overwrite`, `fail` or `keep`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub if_exists: Option<IfExists>,
}

/// What came of trying. Nothing else was changed: no journal row, dataset, memo or export.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Tried {
    /// In a word.
    pub outcome: Outcome,
    /// How long the call took, in microseconds.
    pub took_us: u64,
    /// Remarks, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What it printed and logged, the first of it.
    pub log: Vec<LogLine>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<TriedFault>,
    /// When the step wants to be tried again, in milliseconds, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
    /// The results, the first hundred of them.
    pub outputs: Vec<TriedOutput>,
    /// Whether there are more.
    pub more: bool,
    /// What would be collected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collected: Option<TriedCollect>,
    /// What went in.
    pub input: TriedInput,
    /// What is wrong with the flow elsewhere, and warnings.
    pub diagnostics: Diagnostics,
}

fn text(shared: &str) -> String {
    shared.to_owned()
}

impl From<tryout::Tried> for Tried {
    fn from(tried: tryout::Tried) -> Self {
        let output = |one: tryout::TriedOutput| TriedOutput {
            port: one.port.as_deref().map(text),
            name: one.name.to_string(),
            media_type: one.media_type.as_deref().map(text),
            attributes: one.attributes,
            size: one.size,
            hash: one.hash.to_hex(),
            upload: one.upload,
            preview: one.preview,
        };
        let item = tried.input.item;
        let collected = tried.collected.map(|collect| {
            let (target, if_exists) = collect.target.unzip();
            TriedCollect { collection: collect.collection.to_string(), target, if_exists }
        });
        Self {
            outcome: match tried.outcome {
                TryOutcome::Emitted => Outcome::Emitted,
                TryOutcome::Dropped => Outcome::Dropped,
                TryOutcome::Rejected => Outcome::Rejected,
                TryOutcome::Retry => Outcome::Retry,
                TryOutcome::Failed => Outcome::Failed,
                TryOutcome::Held => Outcome::Held,
                TryOutcome::Collected => Outcome::Collected,
            },
            took_us: u64::try_from(tried.took.as_micros()).unwrap_or(u64::MAX),
            note: (!tried.notes.is_empty()).then(|| tried.notes.join("; ")),
            log: tried.log,
            fault: tried.fault.map(Into::into),
            after_ms: tried.after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            outputs: tried.outputs.into_iter().map(output).collect(),
            more: tried.more,
            collected,
            input: TriedInput {
                name: item.name.to_string(),
                media_type: item.media_type.as_deref().map(text),
                attributes: (*item.attributes).clone(),
                size: item.content.size,
                hash: item.content.hash.to_hex(),
                upload: tried.input.upload,
                preview: tried.input.preview,
            },
            diagnostics: tried.diagnostics,
        }
    }
}
