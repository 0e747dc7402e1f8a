//! The values that go into and come out of a journal.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use opendmp_model::export::{IfExists, SinkClass};
use opendmp_model::fault::{Fault, LogLine, Tries};
use opendmp_model::history::StepRecord;
use opendmp_model::ids::{Arrival, ContentHash, ItemId, Pass, PathHash, SlotId, TaskId};
use opendmp_model::item::{ContentRef, Item, Order, SharedAttributes};
use opendmp_model::ledger::FileStat;
use opendmp_model::manifest::{Load, Manifest};
use serde::{Deserialize, Serialize};

use crate::transport::StepCounts;

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
numbers! {
    /// A tenant or team; part of every key.
    SpaceId(u32);
    /// A flow in a space.
    FlowId(u32);
    /// A saved flow version.
    VersionId(u32);
    /// A run.
    RunId(u64);
    /// A source: one place outside, whichever flow reads it.
    SourceId(u32);
    /// An intent.
    IntentId(u64);
    /// The commit sequence of settlements.
    Seq(u64);
}

/// The space that everything is in until there are more.
pub const DEFAULT_SPACE: SpaceId = SpaceId(1);

/// A worker's right to settle what it claimed. A newer epoch of any worker that was fenced makes its settlements
/// [`Settled::Fenced`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lease(pub u64);

/// How a run touches the world outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum RunMode {
    /// For real.
    #[default]
    Live,
    /// The same engine, without release, export, dataset or memo.
    Trial,
    /// Beside the live version, for comparison.
    Shadow,
}

/// Whether a flow works by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum FlowState {
    /// Its sources are not looked at; what is under way is finished.
    #[default]
    Disabled,
    /// Its sources are watched.
    Enabled,
    /// It is drained and then gone.
    Deleting,
    /// Gone; its datasets and history remain.
    Deleted,
}

/// A flow version to be saved.
#[derive(Clone, Debug)]
pub struct NewVersion {
    /// The space.
    pub space: SpaceId,
    /// Slug of the flow's name: its identity.
    pub slug: String,
    /// The name as written.
    pub name: String,
    /// Hash of the version, hexadecimal.
    pub hash: String,
    /// The version itself, serialised by `opendmp-model`.
    pub body: Bytes,
    /// Now.
    pub at: i64,
    /// Who saves it.
    pub actor: String,
}

/// A flow.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct FlowRow {
    /// Its number.
    pub id: FlowId,
    /// Its space.
    pub space: SpaceId,
    /// Its identity in the space.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// Whether it works by itself.
    pub state: FlowState,
    /// The version new items go through.
    pub version: VersionId,
    /// That version's hash, hexadecimal.
    pub version_hash: String,
    /// What relative paths in the flow are relative to; belongs to the enablement.
    pub base: String,
    /// Items in tasks and open intents.
    pub outstanding: u64,
    /// Items that its aggregates hold.
    #[serde(default)]
    pub held: u64,
    /// Open dead letters, also of flows of its name that were deleted: these are retried in it.
    pub dead_letters: u64,
    /// When the oldest of its runs began that are not done; `None` where all are.
    pub unfinished_since: Option<i64>,
    /// When the newest of its runs began that had items; `None` where none had.
    #[serde(default)]
    pub last_run: Option<i64>,
    /// When it was last changed.
    pub changed: i64,
}

/// A change of a flow's enablement.
#[derive(Clone, Debug)]
pub struct FlowChange {
    /// Which flow.
    pub flow: FlowId,
    /// The new state.
    pub state: FlowState,
    /// The version for new items, where it changes.
    pub version: Option<VersionId>,
    /// The new base folder, where it changes.
    pub base: Option<String>,
    /// Now.
    pub at: i64,
    /// Who does it.
    pub actor: String,
}

/// A saved flow version.
#[derive(Clone, Debug)]
pub struct VersionRow {
    /// Its number.
    pub id: VersionId,
    /// Its flow.
    pub flow: FlowId,
    /// Its hash, hexadecimal.
    pub hash: String,
    /// What was saved.
    pub body: Bytes,
    /// When.
    pub at: i64,
    /// By whom.
    pub actor: String,
}

/// A saved flow version, without what was saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionInfo {
    /// Its number.
    pub id: VersionId,
    /// Its hash, hexadecimal.
    pub hash: String,
    /// When it was saved first.
    pub at: i64,
    /// By whom.
    pub actor: String,
}

/// The processor and input a bundle goes to next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reader {
    /// The processor's id in the flow.
    pub processor: Arc<str>,
    /// Which of its inputs, from 0.
    pub input: u32,
}

/// The run new work belongs to.
#[derive(Clone, Debug)]
pub enum RunChoice {
    /// One of its own.
    New {
        /// How it touches the world.
        mode: RunMode,
        /// What set it off, in words: `3 files in ./inbox`.
        trigger: String,
    },
    /// One that was opened before.
    Existing(RunId),
}

/// One source item, claimed and stored.
#[derive(Clone, Debug)]
pub struct NewArrival {
    /// The ledger's key within the source.
    pub path: Vec<u8>,
    /// Which version of it; `None` for a source whose items have none.
    pub stat: Option<FileStat>,
    /// Name of the item.
    pub name: Arc<str>,
    /// Its bytes, durable.
    pub content: ContentRef,
    /// Media type.
    pub media_type: Option<Arc<str>>,
    /// Attributes.
    pub attributes: SharedAttributes,
    /// What the source needs to let it go.
    pub release: Option<Bytes>,
    /// How long it took to store, in microseconds.
    pub took: u64,
}

/// Source items that become items, in one transaction with the numbers they get.
#[derive(Clone, Debug)]
pub struct Ingest {
    /// Who claims.
    pub lease: Lease,
    /// The flow.
    pub flow: FlowId,
    /// Its version.
    pub version: VersionId,
    /// The ingest processor.
    pub processor: Arc<str>,
    /// The source.
    pub source: SourceId,
    /// The run.
    pub run: RunChoice,
    /// The items.
    pub arrivals: Vec<NewArrival>,
    /// Who reads the ingest's output.
    pub readers: Vec<Reader>,
    /// Number of the interned history context.
    pub context: u32,
    /// When the claim began.
    pub started: i64,
    /// Now.
    pub at: i64,
}

/// What an ingest came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingested {
    /// The run.
    pub run: RunId,
    /// How many arrivals were new; the others were in the ledger already.
    pub new: u64,
    /// Commit sequence.
    pub seq: Seq,
}

/// A task as it enters the queue.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTask {
    /// Derived.
    pub id: TaskId,
    /// Where it goes.
    pub to: Reader,
    /// Its items: at most [`BUNDLE_ITEMS`](opendmp_model::item::BUNDLE_ITEMS), of one pass and run.
    pub items: Vec<Item>,
    /// What it carries besides.
    pub load: Load,
    /// How often these items were tried at this processor without success.
    pub tries: Tries,
    /// How often a worker was lost with them.
    pub lost: u32,
    /// How often they were handed back at this processor.
    pub generation: u32,
    /// Not before this time.
    pub due: Option<i64>,
    /// What went wrong last.
    pub fault: Option<Fault>,
}

impl NewTask {
    /// How many items it counts for: those in it, those its manifest still holds, and one for a look, so that a run is
    /// not done before it.
    pub fn count(&self) -> u64 {
        match &self.load {
            Load::Items => self.items.len() as u64,
            Load::Expand(manifest) => manifest.left,
            Load::Look(_) => 1,
        }
    }
}

/// A task under claim.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// The task.
    pub task: NewTask,
    /// Its flow.
    pub flow: FlowId,
    /// Its version.
    pub version: VersionId,
    /// Its run.
    pub run: RunId,
    /// How the run touches the world.
    pub mode: RunMode,
    /// Which claim of this task it is, from 1.
    pub attempt: u32,
}

/// What a worker asks for.
#[derive(Clone, Copy, Debug)]
pub struct ClaimRequest {
    /// Who.
    pub lease: Lease,
    /// Now.
    pub now: i64,
    /// How many tasks at most.
    pub limit: usize,
    /// Whether tasks may be taken with which a worker was lost before. They are to run alone.
    pub suspects: bool,
    /// Only of this run.
    pub run: Option<RunId>,
    /// Only of flows of which nothing is claimed.
    pub idle: bool,
}

/// An export that a revision wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewExport {
    /// Kind and resolved place of the destination.
    pub destination: Arc<str>,
    /// Resolved target bytes in it.
    pub target: Vec<u8>,
    /// What to do where it is taken.
    pub if_exists: IfExists,
    /// What repeating does.
    pub class: SinkClass,
}

/// A result for a dataset slot.
#[derive(Clone, Debug)]
pub struct NewRevision {
    /// The collection's name.
    pub collection: Arc<str>,
    /// The collect processor.
    pub processor: Arc<str>,
    /// The result.
    pub item: Item,
    /// Where it is exported to.
    pub export: Option<NewExport>,
}

/// An item that could not be processed.
#[derive(Clone, Debug)]
pub struct NewDeadLetter {
    /// Derived from item and processor.
    pub id: TaskId,
    /// Where it failed.
    pub at: Reader,
    /// Its exact input.
    pub item: Item,
    /// What went wrong.
    pub fault: Fault,
    /// How often it was tried.
    pub attempts: u32,
    /// What it logged the last time.
    pub log: Vec<LogLine>,
}

/// When a group of held items is to be closed, as far as a journal has to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldRule {
    /// So many items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// So many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// So many milliseconds after something was added last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<i64>,
    /// When its run has nothing else to do. Then all its items are of one run.
    #[serde(default)]
    pub end_of_run: bool,
}

/// Items that an aggregate holds from now on.
#[derive(Clone, Debug)]
pub struct NewHeld {
    /// The group they are added to; of a flow.
    pub group: PathHash,
    /// The aggregate, and the input they came by.
    pub to: Reader,
    /// When the group is closed.
    pub rule: HoldRule,
    /// The items, in [`Order`]: as many as a bundle has at most.
    pub items: Vec<Item>,
}

/// A group of held items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRow {
    /// Its name in its flow.
    pub group: PathHash,
    /// The aggregate that holds it.
    pub to: Reader,
    /// When it is closed.
    pub rule: HoldRule,
    /// Items held.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When something was added last.
    pub changed: i64,
    /// How often it was closed.
    pub generation: u32,
    /// It is to be closed whatever is in it: its run is over, or its flow is being deleted.
    pub flush: bool,
}

/// Names a row of a group: the order of its first item, and a number.
pub type HeldKey = (Order, u64);

/// Some items of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldRow {
    /// Names the row in its group.
    pub row: HeldKey,
    /// The items, in order.
    pub items: Vec<Item>,
}

/// A part of a row that is taken.
#[derive(Clone, Debug)]
pub struct HeldPart {
    /// [`HeldRow::row`].
    pub row: HeldKey,
    /// What is taken.
    pub taken: Vec<Item>,
    /// What stays.
    pub rest: Vec<Item>,
}

/// What a look at a group came to. Nobody else takes items from it meanwhile.
#[derive(Clone, Debug)]
pub struct Closing {
    /// The group.
    pub group: PathHash,
    /// Rows whose items are all taken.
    pub whole: Vec<HeldKey>,
    /// Rows of which a part is taken.
    pub parts: Vec<HeldPart>,
    /// It is not to be looked at again before this time.
    pub again: i64,
}

/// All that comes of one claimed task: written whole or not at all.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The task that ends.
    pub task: TaskId,
    /// Who settles.
    pub lease: Lease,
    /// The claim it settles.
    pub attempt: u32,
    /// Work that follows.
    pub tasks: Vec<NewTask>,
    /// Items that aggregates hold from now on.
    pub held: Vec<NewHeld>,
    /// Of a task that looked at a group: what it took.
    pub closing: Option<Closing>,
    /// Results.
    pub revisions: Vec<NewRevision>,
    /// What could not be processed.
    pub dead_letters: Vec<NewDeadLetter>,
    /// What was done.
    pub history: Vec<StepRecord>,
    /// Results of steps that are remembered.
    pub memos: Vec<super::NewMemo>,
    /// In numbers.
    pub counts: BTreeMap<Arc<str>, StepCounts>,
    /// Now.
    pub at: i64,
    /// Who or what caused it, for the audit log.
    pub actor: Arc<str>,
}

/// What a settlement came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is the task's truth.
    Applied(Applied),
    /// The task was settled before; nothing of this one counts.
    Already,
    /// The claim is not this worker's any more; nothing of this one counts.
    Fenced,
}

/// Numbers of an applied settlement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Commit sequence.
    pub seq: Seq,
    /// New revisions.
    pub revisions: u64,
    /// Results that equalled their dataset's.
    pub unchanged: u64,
    /// Export intents made.
    pub exports: u64,
    /// Dead letters made, refused exports among them.
    pub dead: u64,
    /// Tasks made.
    pub tasks: u64,
}

/// What is claimed along with a settlement.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claims {
    /// Which tasks, if any.
    pub tasks: Option<ClaimRequest>,
    /// How many intents at most, for the settlement's lease, of those that are due when it settles.
    pub intents: usize,
}

/// What a settlement came to, and what was claimed along with it.
#[derive(Clone, Debug)]
pub struct SettledAndClaimed {
    /// See [`Settled`].
    pub settled: Settled,
    /// Claimed tasks.
    pub tasks: Vec<Claimed>,
    /// Claimed intents.
    pub intents: Vec<Intent>,
}

/// An intent, claimed to be carried out.
#[derive(Clone, Debug)]
pub struct Intent {
    /// Its number.
    pub id: IntentId,
    /// The flow.
    pub flow: FlowId,
    /// The version whose configuration says how.
    pub version: VersionId,
    /// The run.
    pub run: RunId,
    /// The processor that wants it.
    pub processor: Arc<str>,
    /// What is to be done.
    pub action: Action,
    /// Which claim of it this is, from 1.
    pub attempt: u32,
    /// How often it was tried without success, as the ends of the attempts said.
    pub tries: Tries,
    /// Whether an earlier attempt ended without anyone knowing how.
    pub unknown: bool,
}

/// What is to be done outside.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are few of these at a time, and nearly all are exports")]
pub enum Action {
    /// Let source items go.
    Release {
        /// What the source said it needs.
        releases: Vec<Bytes>,
    },
    /// Write a dataset revision to a destination.
    Export(ExportAction),
}

/// One export.
#[derive(Clone, Debug)]
pub struct ExportAction {
    /// The slot.
    pub slot: SlotId,
    /// Arrival and pass of the revision.
    pub arrival: Arrival,
    /// See `arrival`.
    pub pass: Pass,
    /// The item.
    pub item: Item,
    /// Where to.
    pub export: NewExport,
    /// What this slot wrote to the target last.
    pub ours: Option<ContentHash>,
}

/// The end of an attempt at an intent.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Which intent.
    pub id: IntentId,
    /// Who carried it out.
    pub lease: Lease,
    /// Which attempt: [`Intent::attempt`]. An end that is told again says nothing of a later one.
    pub attempt: u32,
    /// How it ended.
    pub end: End,
    /// Now.
    pub at: i64,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub enum End {
    /// Done.
    Done,
    /// The export's target is taken by something foreign.
    Occupied,
    /// Not now.
    Retry {
        /// Try again at this time.
        due: i64,
        /// How often it was tried so far.
        tries: Tries,
        /// Why.
        fault: Fault,
    },
    /// Never: it becomes a dead letter whose retry repeats only this.
    Refused(Fault),
}

/// Which runs are meant by how they went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum RunsMeant {
    /// Something is outstanding.
    Running,
    /// All is settled and exported.
    Done,
    /// Dead letters were made, whether it is done or not.
    Failures,
}

/// Which dead letters, datasets or runs are meant.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this flow (slug).
    pub flow: Option<String>,
    /// Of this run.
    pub run: Option<RunId>,
    /// In this collection.
    pub collection: Option<String>,
    /// Whose name contains this, or matches it where it has `*` or `?`.
    pub name: Option<String>,
    /// With this id.
    pub id: Option<opendmp_model::ids::IdPrefix>,
    /// Of this group of dead letters.
    pub group: Option<PathHash>,
    /// Dead letters that have all these words in their item's name or in what is said of them; runs that have them in
    /// their number, their flow, their version or what set them off.
    pub text: Option<String>,
    /// Runs that stand so.
    pub runs: Option<RunsMeant>,
    /// Runs that began at this time or later.
    pub since: Option<i64>,
    /// Runs that began before this time.
    pub until: Option<i64>,
    /// Discarded and retried dead letters, too.
    pub ended: bool,
    /// At most this many; 0: a default of 100.
    pub limit: usize,
    /// What follows this cursor of an earlier answer.
    pub after: Option<String>,
}

/// A part of a listing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Give this as [`Filter::after`] for the next ones; `None` at the end.
    pub next: Option<String>,
}

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum RunState {
    /// Something is outstanding.
    Running,
    /// All is settled and exported.
    Done,
}

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunRow {
    /// Its number.
    pub id: RunId,
    /// Slug of its flow.
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
    pub started: i64,
    /// When it was done.
    pub finished: Option<i64>,
    /// Items that arrived in it, or were sent in again by it.
    pub arrivals: u64,
    /// Items and intents still to do.
    pub outstanding: u64,
    /// New dataset revisions.
    pub revisions: u64,
    /// Results equal to their dataset's.
    pub unchanged: u64,
    /// Dead letters made in it.
    pub dead: u64,
    /// Exports carried out.
    pub exported: u64,
    /// Numbers by processor; only in `run`, not in a listing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub processors: BTreeMap<String, StepCounts>,
}

/// A collection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CollectionRow {
    /// Its name.
    pub name: String,
    /// How many datasets it has.
    pub datasets: u64,
    /// How many revisions.
    pub revisions: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When something was last collected.
    pub changed: i64,
}

/// Where an export stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum ExportState {
    /// Not asked for.
    None,
    /// To be done.
    Pending,
    /// Done.
    Written,
    /// A newer revision was there first.
    Superseded,
    /// What was there was kept, as `if_exists: keep` says.
    Kept,
    /// Refused: see the dead letters.
    Refused,
}

/// One dataset revision.
#[derive(Clone, Debug)]
pub struct RevisionRow {
    /// The slot.
    pub slot: SlotId,
    /// The collection.
    pub collection: String,
    /// Slug of the flow.
    pub flow: String,
    /// The collect processor.
    pub processor: String,
    /// Number within the slot, from 1, in order of arrival and pass.
    pub revision: u32,
    /// The item.
    pub item: Item,
    /// Hash of the flow version that made it.
    pub version: String,
    /// The run.
    pub run: RunId,
    /// When it was committed.
    pub at: i64,
    /// Commit sequence.
    pub seq: Seq,
    /// Where its export stands.
    pub export: ExportState,
    /// Kind and place of the destination, and the target in it.
    pub target: Option<(String, Vec<u8>)>,
    /// When it was exported.
    pub exported: Option<i64>,
    /// Later results that were equal to it, oldest first: the last [`CONFIRMED`] of them.
    pub confirmed: Vec<Confirmed>,
    /// When its content was let go, by retention. An equal result brings it back.
    pub gone: Option<i64>,
}

/// How many of the results that equalled a revision are named at it.
pub const CONFIRMED: usize = 20;

/// A result that equalled a dataset's revision, and so added only history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// Commit sequence of its settlement.
    pub seq: Seq,
    /// When it was committed.
    pub at: i64,
    /// Hash of the flow version that made it.
    pub version: String,
}

/// Whether a dead letter is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum DeadState {
    /// It waits for a person.
    Open,
    /// Sent in again.
    Retried {
        /// As this pass.
        pass: Pass,
        /// When.
        at: i64,
        /// By whom.
        actor: String,
    },
    /// Given up.
    Discarded {
        /// Why.
        reason: String,
        /// When.
        at: i64,
        /// By whom.
        actor: String,
    },
}

/// A reference to content that somebody may still follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// It leads to bytes.
    Content(ContentRef),
    /// It leads to a list of blocks of children, from which on they are to be expanded, and so on to the children's
    /// content.
    Manifest(Manifest),
}

/// What the open dead letters hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadHeld {
    /// Their number.
    pub letters: u64,
    /// Bytes of their items.
    pub bytes: u64,
}

/// A dead letter.
#[derive(Clone, Debug)]
pub struct DeadRow {
    /// Its id.
    pub id: TaskId,
    /// Slug of the flow.
    pub flow: String,
    /// The flow.
    pub flow_id: FlowId,
    /// Hash of the version it failed in.
    pub version: String,
    /// The run it failed in.
    pub run: RunId,
    /// Where it failed.
    pub at: Reader,
    /// Its exact input.
    pub item: Item,
    /// What went wrong.
    pub fault: Fault,
    /// How often it was tried.
    pub attempts: u32,
    /// What it logged the last time.
    pub log: Vec<LogLine>,
    /// When it failed.
    pub failed: i64,
    /// Whether it is open.
    pub state: DeadState,
    /// Whether only the export failed.
    pub export_only: bool,
}

/// A person's retry of dead letters.
#[derive(Clone, Debug)]
pub struct Reentry {
    /// Which ones, all of one flow, open.
    pub letters: Vec<TaskId>,
    /// What a person put in place of the content of the only one of them.
    pub edit: Option<Edit>,
    /// The version they go through now.
    pub version: VersionId,
    /// Number of the interned history context (processor `retry`).
    pub context: u32,
    /// Who.
    pub actor: String,
    /// Now.
    pub at: i64,
}

/// Other content for an item that failed. It is kept for as long as the source that the item comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The bytes, durable.
    pub content: ContentRef,
    /// Why, in words.
    pub note: Option<String>,
}

/// What is known of one arrival.
#[derive(Clone, Debug)]
pub struct ArrivalRow {
    /// Its number.
    pub arrival: Arrival,
    /// Slug of the flow that took it.
    pub flow: String,
    /// Kind and place of the source.
    pub source: String,
    /// The ledger's key.
    pub path: Vec<u8>,
    /// Content as it arrived.
    pub content: ContentRef,
    /// The file as it was.
    pub stat: Option<FileStat>,
    /// When.
    pub at: i64,
    /// The run.
    pub run: RunId,
    /// The first arrival of its path.
    pub origin: Arrival,
    /// The media type; `None` also for what arrived before this was kept.
    pub media_type: Option<Arc<str>>,
    /// When its content was let go, by retention.
    pub gone: Option<i64>,
    /// History of its flow from before this time was let go.
    pub forgot: Option<i64>,
}

/// One settlement in the history.
#[derive(Clone, Debug)]
pub struct HistoryRow {
    /// Commit sequence.
    pub seq: Seq,
    /// When.
    pub at: i64,
    /// Who or what.
    pub actor: String,
    /// The steps.
    pub steps: Vec<StepRecord>,
}

/// Whose records of the history are meant, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    /// Those of a flow, newest first.
    OfFlow(FlowId),
    /// Those of a run, in commit order.
    OfRun(RunId),
}

/// Some records of the history.
#[derive(Clone, Debug)]
pub struct RecordsPage {
    /// The records.
    pub rows: Vec<HistoryRow>,
    /// Where to go on; `None` at the end.
    pub next: Option<Seq>,
}

/// Which journal it is, and how far it has come. Content remembers the last one, so that no other journal, and none that
/// was taken back to an earlier moment, decides what of it is garbage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalMark {
    /// Its name: the same for as long as it exists, copies of it included.
    pub journal: String,
    /// The sequence number given last.
    pub seq: Seq,
}

/// What is known of a lost claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakeOver {
    /// The new lease.
    pub lease: Lease,
    /// Tasks whose worker was lost.
    pub tasks: u64,
    /// Intents whose end is unknown.
    pub intents: u64,
}

/// The clock was set back. What is due at `from` or later becomes due earlier by `by`, as does the last change of a group
/// at `from` or later, so that waits keep their length instead of lasting until the clock shows the old time again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetBack {
    /// Milliseconds that the clock was set back by, more than 0.
    pub by: i64,
    /// Milliseconds since 1970; earlier times stay.
    pub from: i64,
}

impl SetBack {
    /// Where a time belongs; never 0 or before, which would stand for no time.
    pub fn correct(self, time: i64) -> i64 {
        if time >= self.from { time.saturating_sub(self.by).max(1) } else { time }
    }
}

/// What waits, in numbers, for back pressure, health and `doctor`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Backlog {
    /// Items in tasks.
    pub items: u64,
    /// Intents.
    pub intents: u64,
    /// The earliest time at which something becomes due; `null`: nothing waits for a time.
    pub due: Option<i64>,
}

/// The id of the item as an input of a processor, for dead letters.
pub fn dead_letter_id(item: ItemId, at: &Reader) -> TaskId {
    TaskId::new(item, &at.processor, at.input, u32::MAX)
}
