//! The rows of listings as JSON: ids and hashes as text, item names as Unicode text, times as RFC 3339 in UTC with
//! milliseconds, sizes in bytes. What is asked for stands in [`crate::ask`].

use std::collections::BTreeMap;

use opendmp_engine::{explain, items};
use opendmp_model::fault::{Fault, LogLine};
use opendmp_model::history;
use opendmp_model::item::{Attributes, Item};
use opendmp_model::name;
use opendmp_ports::journal::{self, DeadState, ExportState, FlowState, RunMode, RunState};
use opendmp_ports::transport::StepCounts;
use opendmp_processor::{AuditEntry, NotTaken};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Milliseconds since 1970 as RFC 3339 in UTC: `2026-11-22T14:02:11.042Z`.
pub fn time(milliseconds: i64) -> String {
    match jiff::Timestamp::from_millisecond(milliseconds) {
        Ok(time) => format!("{time:.3}"),
        // Beyond the year 9999 no clock is right; the number says at least what was recorded.
        Err(_) => milliseconds.to_string(),
    }
}

/// A part of a listing.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// The cursor of the next ones; `null` at the end.
    pub next: Option<String>,
}

impl<T> Page<T> {
    pub(crate) fn of<R>(page: &journal::Page<R>) -> Self
    where
        for<'a> T: From<&'a R>,
    {
        Self { rows: page.rows.iter().map(T::from).collect(), next: page.next.clone() }
    }
}

/// A flow.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Flow {
    /// Its identity.
    pub flow: String,
    /// Its name as written.
    pub name: String,
    /// Whether it works by itself.
    pub state: FlowState,
    /// Hash of the version that new items go through, hexadecimal.
    pub version: String,
    /// The folder its relative paths begin at.
    pub base: String,
    /// Items and intents under way.
    pub outstanding: u64,
    /// Open dead letters.
    pub dead_letters: u64,
    /// When it was last changed.
    pub changed: String,
    /// What it is for; only in listings, and where one flow is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How many processors it has; only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processors: Option<u64>,
    /// Whether somebody works on a draft of it; only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<bool>,
    /// When the newest of its runs began that had items; only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_item: Option<String>,
}

impl From<&journal::FlowRow> for Flow {
    fn from(row: &journal::FlowRow) -> Self {
        Self {
            flow: row.slug.clone(),
            name: row.name.clone(),
            state: row.state,
            version: row.version_hash.clone(),
            base: row.base.clone(),
            outstanding: row.outstanding,
            dead_letters: row.dead_letters,
            changed: time(row.changed),
            description: None,
            processors: None,
            draft: None,
            last_item: None,
        }
    }
}

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Run {
    /// Its number.
    pub run: u64,
    /// Its flow.
    pub flow: String,
    /// Hash of the version it began with.
    pub version: String,
    /// How it touches the world.
    pub mode: RunMode,
    /// What set it off.
    pub trigger: String,
    /// Its state.
    pub state: RunState,
    /// When it began.
    pub started: String,
    /// When it was done.
    pub finished: Option<String>,
    /// How long it took, in milliseconds.
    pub took_ms: Option<i64>,
    /// Items that arrived in it.
    pub arrivals: u64,
    /// Items and intents still to do.
    pub outstanding: u64,
    /// New dataset revisions.
    pub revisions: u64,
    /// Results equal to their dataset's.
    pub unchanged: u64,
    /// Dead letters made in it.
    pub dead_letters: u64,
    /// Exports carried out.
    pub exported: u64,
    /// Numbers by processor; only where one run is asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub processors: BTreeMap<String, StepCounts>,
}

impl From<&journal::RunRow> for Run {
    fn from(row: &journal::RunRow) -> Self {
        Self {
            run: row.id.0,
            flow: row.flow.clone(),
            version: row.version.clone(),
            mode: row.mode,
            trigger: row.trigger.clone(),
            state: row.state,
            started: time(row.started),
            finished: row.finished.map(time),
            took_ms: row.finished.map(|end| end.saturating_sub(row.started)),
            arrivals: row.arrivals,
            outstanding: row.outstanding,
            revisions: row.revisions,
            unchanged: row.unchanged,
            dead_letters: row.dead,
            exported: row.exported,
            processors: row.processors.clone(),
        }
    }
}

/// Where a setting's value is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SettingFrom {
    /// Nobody said anything.
    Default,
    /// The command line that the server was started with.
    CommandLine,
    /// A variable of the environment that it was started in.
    Environment,
    /// What the machine offers; nobody sets it.
    Machine,
}

/// One setting of the server. They are given when it is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Setting {
    /// What it is called, as on the command line: `content-quota`.
    pub name: String,
    /// What it is set to, as it was written; `null` where it is not.
    pub value: Option<String>,
    /// Where that is from.
    pub from: SettingFrom,
    /// What it is for.
    pub about: String,
    /// What is not well with it, and what to do; `null` where all is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// A collection.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Collection {
    /// Its name.
    pub name: String,
    /// How many datasets it has.
    pub datasets: u64,
    /// How many revisions.
    pub revisions: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When something was last collected.
    pub changed: String,
}

impl From<&journal::CollectionRow> for Collection {
    fn from(row: &journal::CollectionRow) -> Self {
        Self {
            name: row.name.clone(),
            datasets: row.datasets,
            revisions: row.revisions,
            bytes: row.bytes,
            changed: time(row.changed),
        }
    }
}

/// Where a revision was exported to.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Export {
    /// How far it is.
    pub state: ExportState,
    /// Kind and place of the destination.
    pub destination: Option<String>,
    /// The target in it, written as an item name.
    pub target: Option<String>,
    /// When it was written.
    pub written: Option<String>,
}

/// A dataset, by one of its revisions.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Dataset {
    /// Its id: `1204-7k2p…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The collection it is in.
    pub collection: String,
    /// The flow that makes it.
    pub flow: String,
    /// The collect processor.
    pub processor: String,
    /// Number of the revision, from 1.
    pub revision: u32,
    /// BLAKE3 of its bytes, hexadecimal.
    pub hash: String,
    /// Their number.
    pub size: u64,
    /// Media type, where known.
    pub media_type: Option<String>,
    /// Attributes.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub attributes: Attributes,
    /// Hash of the flow version that made it.
    pub version: String,
    /// The run it was made in.
    pub run: u64,
    /// The arrival it comes from.
    pub arrival: u64,
    /// Id of the item that was collected.
    pub item: String,
    /// When it was committed.
    pub committed: String,
    /// When its content was let go, by the flow's retention; absent while it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<String>,
    /// Where it was exported to.
    pub export: Export,
}

impl From<&journal::RevisionRow> for Dataset {
    fn from(row: &journal::RevisionRow) -> Self {
        let target = row.target.as_ref();
        Self {
            id: row.slot.to_string(),
            name: row.item.name.to_string(),
            collection: row.collection.clone(),
            flow: row.flow.clone(),
            processor: row.processor.clone(),
            revision: row.revision,
            hash: row.item.content.hash.to_hex(),
            size: row.item.content.size,
            media_type: row.item.media_type.as_deref().map(str::to_owned),
            attributes: (*row.item.attributes).clone(),
            version: row.version.clone(),
            run: row.run.0,
            arrival: row.item.id.arrival.0,
            item: row.item.id.to_string(),
            committed: time(row.at),
            gone: row.gone.map(time),
            export: Export {
                state: row.export,
                destination: target.map(|(destination, _)| destination.clone()),
                target: target.map(|(_, bytes)| name::from_bytes(bytes)),
                written: row.exported.map(time),
            },
        }
    }
}

/// A dataset with its revisions.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Revisions {
    /// Oldest first; never empty.
    pub revisions: Vec<Dataset>,
}

/// An item, as far as people ask for it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ItemRow {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// BLAKE3 of its bytes.
    pub hash: String,
    /// Their number.
    pub size: u64,
    /// Media type, where known.
    pub media_type: Option<String>,
    /// Attributes.
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub attributes: Attributes,
    /// When its source item arrived.
    pub arrived: String,
}

impl From<&Item> for ItemRow {
    fn from(item: &Item) -> Self {
        Self {
            id: item.id.to_string(),
            name: item.name.to_string(),
            hash: item.content.hash.to_hex(),
            size: item.content.size,
            media_type: item.media_type.as_deref().map(str::to_owned),
            attributes: (*item.attributes).clone(),
            arrived: time(item.arrived),
        }
    }
}

/// Whether a dead letter waits for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LetterState {
    /// It does.
    Open,
    /// It was sent in again.
    Retried,
    /// It was given up.
    Discarded,
}

/// How a dead letter ended.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LetterEnd {
    /// When.
    pub at: String,
    /// By whom.
    pub actor: String,
    /// Why it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// As which pass it was sent in again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<u32>,
}

/// Open dead letters of one flow and processor whose errors differ only in what differs from item to item.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeadGroup {
    /// Its id.
    pub group: String,
    /// The flow.
    pub flow: String,
    /// Where they failed.
    pub processor: String,
    /// The error's code.
    pub code: String,
    /// Its message, with `…` for what differs.
    pub message: String,
    /// How many there are.
    pub count: u64,
    /// When the first of them failed.
    pub first: String,
    /// When the last of them failed.
    pub last: String,
    /// Id of the last of them.
    pub sample: String,
}

impl From<&journal::DeadGroup> for DeadGroup {
    fn from(row: &journal::DeadGroup) -> Self {
        Self {
            group: journal::letters::group_text(row.group),
            flow: row.flow.clone(),
            processor: row.processor.clone(),
            code: row.code.clone(),
            message: row.message.clone(),
            count: row.count,
            first: time(row.first),
            last: time(row.last),
            sample: row.sample.to_string(),
        }
    }
}

/// A dead letter.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeadLetter {
    /// Its id.
    pub id: String,
    /// The flow.
    pub flow: String,
    /// Where it failed.
    pub processor: String,
    /// By which of the processor's inputs it came, from 0.
    pub input: u32,
    /// Its exact input.
    pub item: ItemRow,
    /// What went wrong.
    pub fault: Fault,
    /// How often it was tried.
    pub attempts: u32,
    /// What it logged the last time.
    pub log: Vec<LogLine>,
    /// When it failed.
    pub failed: String,
    /// The run it failed in.
    pub run: u64,
    /// Hash of the version it failed in.
    pub version: String,
    /// Whether it waits for a person.
    pub state: LetterState,
    /// How it ended, where it did.
    pub end: Option<LetterEnd>,
    /// Whether only the export failed: the dataset is there.
    pub export_only: bool,
}

impl From<&journal::DeadRow> for DeadLetter {
    fn from(row: &journal::DeadRow) -> Self {
        let (state, end) = match &row.state {
            DeadState::Open => (LetterState::Open, None),
            DeadState::Retried { pass, at, actor } => {
                let end = LetterEnd { at: time(*at), actor: actor.clone(), reason: None, pass: Some(pass.0) };
                (LetterState::Retried, Some(end))
            }
            DeadState::Discarded { reason, at, actor } => {
                let end = LetterEnd { at: time(*at), actor: actor.clone(), reason: Some(reason.clone()), pass: None };
                (LetterState::Discarded, Some(end))
            }
        };
        Self {
            id: row.id.to_string(),
            flow: row.flow.clone(),
            processor: row.at.processor.to_string(),
            input: row.at.input,
            item: ItemRow::from(&row.item),
            fault: row.fault.clone(),
            attempts: row.attempts,
            log: row.log.clone(),
            failed: time(row.failed),
            run: row.run.0,
            version: row.version.clone(),
            state,
            end,
            export_only: row.export_only,
        }
    }
}

/// Where a result's bytes came from.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Origin {
    /// Arrival number.
    pub arrival: u64,
    /// Kind and place of the source.
    pub source: String,
    /// Path in it.
    pub path: String,
    /// Hash of the bytes that arrived.
    pub hash: String,
    /// Their number.
    pub size: u64,
    /// When they arrived.
    pub arrived: String,
    /// When they were let go, by the flow's retention; absent while they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<String>,
}

/// One step of a result's way.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WayStep {
    /// The processor; `retry` for a person's retry.
    pub processor: String,
    /// Its kind.
    pub kind: String,
    /// Hash of the flow version.
    pub version: String,
    /// Hash of the processor's own configuration, code included.
    pub config: String,
    /// What it ran in.
    pub environment: Option<String>,
    /// Where.
    pub worker: String,
    /// Version of OpenDMP.
    pub opendmp: String,
    /// Who or what caused it.
    pub actor: String,
    /// When it began.
    pub started: String,
    /// When it was committed.
    pub committed: String,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// What came of it.
    pub result: history::Result,
    /// Id of the item that went in.
    pub input: String,
    /// Id of the item that came out, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Name of what came out.
    pub name: String,
    /// Its port, where it is not the default.
    pub port: Option<String>,
    /// Hash of what came out.
    pub hash: String,
    /// Its size.
    pub size: u64,
    /// A remark: `exit 0`.
    pub note: Option<String>,
    /// What was logged.
    pub log: Vec<LogLine>,
    /// Attempts at this step that failed before.
    pub failed: Vec<String>,
}

/// A later run that gave the same bytes.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Confirmed {
    /// When.
    pub at: String,
    /// By which version of the flow.
    pub version: String,
}

/// How a revision came to be.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// The revision.
    pub dataset: Dataset,
    /// Where it came from.
    pub origin: Origin,
    /// The steps, the ingest first and the collect last.
    pub steps: Vec<WayStep>,
    /// Later results that were equal.
    pub confirmed: Vec<Confirmed>,
}

impl History {
    pub(crate) fn new(row: &journal::RevisionRow, way: explain::Way) -> Self {
        let origin = Origin {
            arrival: way.origin.arrival,
            source: way.origin.source,
            path: way.origin.path,
            hash: way.origin.hash.to_hex(),
            size: way.origin.size,
            arrived: time(way.origin.at),
            gone: way.origin.gone.map(time),
        };
        let step = |step: explain::WayStep| WayStep {
            processor: step.processor,
            kind: step.kind,
            version: step.version,
            config: step.config,
            environment: step.environment,
            worker: step.worker,
            opendmp: step.opendmp,
            actor: step.actor,
            started: time(step.started),
            committed: time(step.committed),
            took_us: step.took,
            result: step.result,
            input: step.input,
            output: step.output,
            name: step.name,
            port: step.port,
            hash: step.hash.to_hex(),
            size: step.size,
            note: step.note,
            log: step.log,
            failed: step.failed,
        };
        let confirmed = way.confirmed.into_iter().map(|(at, version)| Confirmed { at: time(at), version });
        Self {
            dataset: Dataset::from(row),
            origin,
            steps: way.steps.into_iter().map(step).collect(),
            confirmed: confirmed.collect(),
        }
    }
}

/// A step that made or took an item.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ItemStep {
    /// The processor; `retry` and `reprocess` for a person's.
    pub processor: String,
    /// Its kind.
    pub kind: String,
    /// Hash of the flow version.
    pub version: String,
    /// When it began.
    pub started: String,
    /// What came of it.
    pub result: history::Result,
    /// Id of the item that went in.
    pub input: String,
    /// Ids of the items that came out, the first thousand of them.
    pub children: Vec<String>,
    /// A remark.
    pub note: Option<String>,
}

impl From<items::ItemStep> for ItemStep {
    fn from(step: items::ItemStep) -> Self {
        Self {
            processor: step.processor,
            kind: step.kind,
            version: step.version,
            started: time(step.started),
            result: step.result,
            input: step.input,
            children: step.children,
            note: step.note,
        }
    }
}

/// What is known of an item.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ItemInfo {
    /// Its id.
    pub id: String,
    /// The flow.
    pub flow: String,
    /// Its name.
    pub name: String,
    /// BLAKE3 of its bytes, hexadecimal.
    pub hash: String,
    /// Their number.
    pub size: u64,
    /// Attributes.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub attributes: Attributes,
    /// The output that it left by, where it is not the default one.
    pub port: Option<String>,
    /// The arrival it comes from, or the first of several.
    pub arrival: u64,
    /// Kind and place of its source.
    pub source: String,
    /// The path in it.
    pub path: String,
    /// What made it.
    pub made: ItemStep,
    /// What took it, the first thousand of these.
    pub read: Vec<ItemStep>,
    /// Where its bytes are at hand; `null`: they would have to be computed again.
    pub at_hand: Option<items::BytesFrom>,
}

impl From<items::ItemFacts> for ItemInfo {
    fn from(facts: items::ItemFacts) -> Self {
        Self {
            id: facts.id,
            flow: facts.flow,
            name: facts.name,
            hash: facts.hash.to_hex(),
            size: facts.size,
            attributes: facts.attributes,
            port: facts.port,
            arrival: facts.arrival,
            source: facts.source,
            path: facts.path,
            made: facts.made.into(),
            read: facts.read.into_iter().map(Into::into).collect(),
            at_hand: facts.at_hand,
        }
    }
}

/// What an audit found in one ingest.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditRow {
    /// The ingest.
    pub ingest: String,
    /// How many paths were compared.
    pub compared: u64,
    /// What is not simply ingested.
    pub entries: Vec<AuditEntry>,
    /// Whether more were left out.
    pub more: bool,
    /// What is there and is never taken: no pattern matches it, or it is excluded.
    pub not_taken: NotTaken,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_with_milliseconds() {
        assert_eq!(time(1_795_356_131_042), "2026-11-22T14:02:11.042Z");
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(i64::MAX), i64::MAX.to_string());
    }
}
