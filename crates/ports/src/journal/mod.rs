//! The journal: catalog and queue of record, in one transaction.
//!
//! What is decided here and is the same for every implementation stands in [`decide`]; [`MemoryJournal`] is the
//! reference that the step-driven model tests run on.

mod again;
pub mod conformance;
pub mod decide;
mod draft;
pub mod letters;
mod memory;
pub mod retain;
pub mod search;
mod types;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use opendmp_model::history::Context;
use opendmp_model::ids::{Arrival, ContentHash, IdPrefix, ItemId, PathHash, SlotId, TaskId};
use opendmp_model::item::ContentRef;
use opendmp_model::ledger::{FileStat, Known};
use tokio::sync::mpsc;

use crate::Result;

pub use again::*;
pub use draft::*;
pub use letters::DeadGroup;
pub use memory::{MemoryJournal, Snapshot};
pub use retain::{LetGo, LetGoPart, LetGone, RevisionRule};
pub use search::{Behind, Found, Search, Sort, SortBy};
pub use types::*;

/// References that [`Journal::content_of`] tells at most.
pub const MOST_NAMED: usize = 16;

/// Catalog and queue of record.
///
/// - Every call is one transaction: applied whole and durable when it answers `Ok`, or not at all. A call whose answer
///   is lost may be repeated: definitions are idempotent by key, [`Journal::ingest`] by the ledger (but not once its
///   releases were carried out, which anyone may do from the commit on: ask the source again instead),
///   [`Journal::settle`] by the task, [`Journal::finish`] by the intent and its attempt.
/// - **L2**: of all settlements of a task the first one applied is its truth; later ones answer
///   [`Settled::Already`], those of a lost claim [`Settled::Fenced`], and change nothing.
/// - Attempts are counted at the claim. A claim whose lease is taken over counts as lost.
/// - A task is claimed by at most one lease at a time; an intent likewise, and of the intents for one target at most
///   one at a time, in order of (arrival, pass).
/// - A dataset revision is visible once, with its export intent, in the transaction that settles it.
/// - An older (arrival, pass) never overwrites a target that a newer one of the same slot has written. A revision is as
///   new as the newest result that equalled it: after A, B and A again, of which B settles last, the slot shows A.
/// - Content must be synced before a call names it; a journal does not check that.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Opens a lease. `exclusive` fences every other one, as the owner of a locked data directory may.
    async fn open_lease(&self, worker: &str, exclusive: bool, now: i64) -> Result<TakeOver>;

    /// Saves a version, and its flow where it is new; equal hash, same version. Does not enable anything.
    async fn save_version(&self, version: NewVersion) -> Result<(FlowId, VersionId)>;

    /// Changes a flow's enablement. A flow that is [`FlowState::Deleting`] becomes `Deleted` with the settlement
    /// that leaves nothing outstanding, or now.
    async fn change_flow(&self, change: FlowChange) -> Result<FlowRow>;

    /// All flows but the deleted ones, by slug.
    async fn flows(&self, space: SpaceId) -> Result<Vec<FlowRow>>;

    /// A flow by number, deleted ones too.
    async fn flow(&self, flow: FlowId) -> Result<FlowRow>;

    /// A saved version.
    async fn version(&self, version: VersionId) -> Result<VersionRow>;

    /// The versions of a flow, newest first; those saved before `before`, at most `limit`.
    async fn versions(&self, flow: FlowId, before: Option<VersionId>, limit: usize) -> Result<Vec<VersionInfo>>;

    /// All drafts, by slug.
    async fn drafts(&self, space: SpaceId) -> Result<Vec<DraftRow>>;

    /// A draft with what is in it, where there is one.
    async fn draft(&self, space: SpaceId, slug: &str) -> Result<Option<(DraftRow, Bytes)>>;

    /// Writes or drops a draft, if it still is what was seen of it. One that already is what it is to be counts as done.
    async fn change_draft(&self, change: DraftChange) -> Result<DraftChanged>;

    /// The number of a history context; equal context, same number.
    async fn context(&self, context: Context) -> Result<u32>;

    /// Contexts by number.
    async fn contexts(&self, numbers: Vec<u32>) -> Result<Vec<Context>>;

    /// The number of a source (kind and place); equal identity, same number.
    async fn source(&self, space: SpaceId, identity: &str) -> Result<SourceId>;

    /// What the ledger knows of paths in a source, in order.
    async fn known(&self, source: SourceId, paths: Vec<Vec<u8>>) -> Result<Vec<Option<Known>>>;

    /// Says of arrivals in a source how their files are now that have the same bytes as then. Of arrivals without a file
    /// nothing is noted. It is true whoever says it and does no harm when it is lost, so it needs no lease.
    async fn affirm(&self, source: SourceId, arrivals: Vec<(Arrival, FileStat)>) -> Result<()>;

    /// Whether each release is recorded and not yet carried out.
    async fn releasing(&self, source: SourceId, releases: Vec<Vec<u8>>) -> Result<Vec<bool>>;

    /// All releases of a source not yet carried out, at most `limit`.
    async fn pending_releases(&self, source: SourceId, limit: usize) -> Result<Vec<Vec<u8>>>;

    /// Makes the release intents of a source that wait for a later time due now, because what they waited for may be
    /// there again. Answers how many.
    async fn retry_releases(&self, source: SourceId, now: i64) -> Result<u64>;

    /// Opens a run that several ingests go into; it can't be done before [`Journal::close_run`]. It is a person's, who
    /// waits for all that comes of it: whatever its items were added to at aggregates is closed at its end.
    async fn open_run(&self, flow: FlowId, version: VersionId, mode: RunMode, trigger: &str, at: i64) -> Result<RunId>;

    /// Says that no more arrivals go into a run. Answers whether that makes work, as [`Journal::finish`] does.
    async fn close_run(&self, run: RunId, at: i64) -> Result<bool>;

    /// Gives arrival numbers, writes the ledger, the first tasks, the release intents and history. Arrivals whose
    /// release is pending, or whose version the ledger has as its latest, are left out: they were ingested before.
    async fn ingest(&self, ingest: Ingest) -> Result<Ingested>;

    /// Claims tasks that are due, oldest first.
    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>>;

    /// Hands claimed tasks back unharmed: the claim does not count.
    async fn unclaim(&self, lease: Lease, tasks: Vec<TaskId>) -> Result<()>;

    /// Settles tasks; each by itself, all under one commit.
    async fn settle(&self, batch: Vec<Settlement>) -> Result<Vec<Settled>>;

    /// Settles a task and, where that was applied, claims what may be claimed then, what the settlement made among it:
    /// as [`Journal::settle`], [`Journal::claim`] and [`Journal::claim_intents`] one after the other, each with its own
    /// rules, but in one transaction where a journal can, so that who goes on need not wait for a second one. Where the
    /// claims alone fail, nothing is claimed and the settlement stands.
    async fn settle_and_claim(&self, settlement: Settlement, claims: Claims) -> Result<SettledAndClaimed> {
        let (lease, now) = (settlement.lease, settlement.at);
        let settled = self.settle(vec![settlement]).await?.pop().unwrap_or(Settled::Fenced);
        let mut out = SettledAndClaimed { settled, tasks: Vec::new(), intents: Vec::new() };
        if matches!(out.settled, Settled::Applied(_)) {
            if let Some(request) = claims.tasks {
                out.tasks = self.claim(request).await.unwrap_or_default();
            }
            if claims.intents > 0 {
                out.intents = self.claim_intents(lease, now, claims.intents).await.unwrap_or_default();
            }
        }
        Ok(out)
    }

    /// A group that an aggregate of a flow holds.
    async fn group(&self, flow: FlowId, group: PathHash) -> Result<Option<GroupRow>>;

    /// What a group holds, at most `limit` rows in order of their first items, behind the row `after`.
    async fn held(&self, flow: FlowId, group: PathHash, after: Option<HeldKey>, limit: usize) -> Result<Vec<HeldRow>>;

    /// The least arrival of which a task of the flow is for one of these processors, looks apart, else the next that
    /// there will be: no item of an earlier one comes from them any more, but in a new pass.
    async fn watermark(&self, flow: FlowId, processors: Vec<Arc<str>>) -> Result<Arrival>;

    /// Claims intents that are due.
    async fn claim_intents(&self, lease: Lease, now: i64, limit: usize) -> Result<Vec<Intent>>;

    /// Ends attempts at intents. What is not this lease's and the present attempt's is ignored. Answers whether that makes
    /// work: a run has nothing else left, so that the groups that end with it are to be closed.
    async fn finish(&self, batch: Vec<Finished>) -> Result<bool>;

    /// Brings due times that were given by a clock which has been set back since to where they belong: see [`SetBack`].
    /// Answers how many tasks and outbox entries it changed.
    async fn clock_set_back(&self, back: SetBack) -> Result<u64>;

    /// What waits, of one flow or of all.
    async fn backlog(&self, flow: Option<FlowId>) -> Result<Backlog>;

    /// Turns up to `limit` unclaimed tasks of a flow into dead letters; answers how many items.
    async fn abandon(&self, flow: FlowId, limit: usize, actor: &str, at: i64) -> Result<u64>;

    /// Open dead letters by what went wrong, the largest groups first.
    async fn dead_groups(&self, filter: Filter) -> Result<Page<DeadGroup>>;

    /// Dead letters, newest first. A page of a search for words MAY have fewer rows than asked for, even none, although
    /// more follow.
    async fn dead_letters(&self, filter: Filter) -> Result<Page<DeadRow>>;

    /// What all open dead letters hold.
    async fn dead_held(&self) -> Result<DeadHeld>;

    /// Sends dead letters in again in a new run, those before each processor as a new pass: an item that had made something
    /// before it failed makes it again in another pass than that in which what it made is sent in. Those that are not
    /// open are left out, and of each arrival all but those of the newest pass ([`decide::newest_passes`]). With an edit the
    /// item goes in with other content, which its record tells beside the content that it had; `Invalid` where it is
    /// another number of dead letters than one, or only an export failed.
    async fn reenter(&self, reentry: Reentry) -> Result<(RunId, u64)>;

    /// Begins a reprocess: opens its run and a pass of its own. The run can't be done before all is sent in, or the
    /// reprocess is stopped; [`Journal::close_run`] does not close it.
    async fn begin_reprocess(&self, new: NewReprocess) -> Result<Reprocess>;

    /// A reprocess, by its run.
    async fn reprocess(&self, run: RunId) -> Result<Reprocess>;

    /// Reprocesses of which arrivals are still to be sent in, oldest first.
    async fn reprocesses(&self) -> Result<Vec<Reprocess>>;

    /// Arrivals of a flow that are meant, at most `limit`: of each path the newest up to `upto`, in order of arrival,
    /// or of origin where the selection is by origin; behind `after`.
    async fn historic(
        &self,
        flow: FlowId,
        selection: Selection,
        after: Arrival,
        upto: Arrival,
        limit: usize,
    ) -> Result<HistoricPage>;

    /// Sends a part of a reprocess in. Answers whether it was the one that was next, and the content of none of its
    /// arrivals was let go meanwhile; else nothing is changed.
    async fn feed(&self, feed: Feed) -> Result<bool>;

    /// Sends nothing more in; what was sent in is finished. Answers whether it was still being fed.
    async fn stop_reprocess(&self, run: RunId, actor: &str, at: i64) -> Result<bool>;

    /// Of each item, in order: the content of the same one (equal arrival and path) of an earlier pass that is in a
    /// group or was taken from it, the latest.
    async fn repeats(&self, flow: FlowId, group: PathHash, items: Vec<ItemId>) -> Result<Vec<Option<ContentHash>>>;

    /// What is remembered, in order.
    async fn memos(&self, keys: Vec<(Arrival, MemoKey)>) -> Result<Vec<Option<Memo>>>;

    /// Forgets what was remembered first until no more is left than `limit` says, at most `most` results. Answers how
    /// many.
    async fn forget_memos(&self, limit: MemoLimit, most: usize) -> Result<u64>;

    /// Gives dead letters up; answers how many were open.
    async fn discard(&self, letters: Vec<TaskId>, reason: &str, actor: &str, at: i64) -> Result<u64>;

    /// Runs, newest first.
    async fn runs(&self, filter: Filter) -> Result<Page<RunRow>>;

    /// One run with its numbers by processor.
    async fn run(&self, run: RunId) -> Result<RunRow>;

    /// Collections by name.
    async fn collections(&self, space: SpaceId) -> Result<Vec<CollectionRow>>;

    /// The newest revision of each dataset, in order of origin. A page MAY have fewer rows than asked for, even none,
    /// although more follow: so many are looked through for it that nothing waits long.
    async fn datasets(&self, filter: Filter) -> Result<Page<RevisionRow>>;

    /// Datasets that people look for, in the order they ask for. What the rows say is as new as what
    /// [`Journal::revisions`] says, but which rows there are, and their order, MAY be a little behind, and the answer says
    /// so; [`Search::wait`] is how long that is waited for. Pages follow each other by place, so that what is committed
    /// meanwhile makes none of them repeat or leave out what stays as it was. A page MAY have fewer rows than asked for,
    /// even none, although more follow ([`Found::cut`]).
    async fn search(&self, search: Search) -> Result<Found>;

    /// All revisions of a slot, oldest first.
    async fn revisions(&self, slot: SlotId) -> Result<Vec<RevisionRow>>;

    /// One arrival.
    async fn arrival(&self, arrival: Arrival) -> Result<ArrivalRow>;

    /// Which journal it is, and how far it has come; no number of what was committed before is greater.
    ///
    /// # Errors
    /// `Unavailable` where what is written can't be found again after a restart: its file was removed, replaced or cut
    /// short. Nothing is committed then, by any call.
    async fn mark(&self) -> Result<JournalMark>;

    /// Sends every reference to content that somebody may still follow: of open tasks, held items, open dead letters,
    /// intents, of dataset revisions and arrivals whose content was not let go, and what a person put in place of the
    /// content of items of such arrivals. What a manifest lists is not opened.
    /// All in one view, which has whatever was sent to this journal before the call, answered or not; a reference may be
    /// told more than once. Memory does not grow with the journal.
    ///
    /// # Errors
    /// `Unavailable` where the receiver is dropped before the end.
    async fn roots(&self, to: mpsc::Sender<Vec<Named>>) -> Result<()>;

    /// References to content of this hash that are known with an arrival, at most [`MOST_NAMED`]: its own, those of items
    /// of it that wait, are held, failed or are remembered, and those of datasets of its flow with the same origin. Also of
    /// what was let go: each may lead nowhere.
    async fn content_of(&self, arrival: Arrival, hash: ContentHash) -> Result<Vec<ContentRef>>;

    /// What the history has of the items whose ids begin so, in commit order: the entries that made or took one, with those
    /// of their children that are meant, or all where an item is meant that was taken. At most `most` entries and
    /// children, the first ones: what is held in memory does not grow with what else was made of the arrival, though all
    /// that concerns it is looked through.
    async fn traces(&self, prefix: IdPrefix, most: usize) -> Result<Vec<HistoryRow>>;

    /// A saved version by its flow and its hash, also of a flow that was deleted; the latest where there are several.
    async fn find_version(&self, space: SpaceId, slug: &str, hash: &str) -> Result<Option<VersionId>>;

    /// Lets a part of what is kept go, in small transactions. Repeating it does no harm: what went, went.
    async fn let_go(&self, part: LetGoPart) -> Result<LetGone>;

    /// Of an item that was settled in `seq`: the records by which it came to be, from its arrival to that one, in commit
    /// order, with what they have of it and of those that it was made of. What is read does not grow with what else was
    /// made of its arrival; only where records were written before they named those before them ([`decide::Made`]) is
    /// all that concerns the arrival among the answer.
    async fn lineage(&self, seq: Seq, item: ItemId) -> Result<Vec<HistoryRow>>;

    /// Settlements behind a commit sequence, the newest first: so many that their last steps have `entries` together, or
    /// all there are.
    async fn latest(&self, after: Seq, entries: usize) -> Result<Vec<HistoryRow>>;

    /// Items in tasks of a flow that nobody has claimed, by processor. At most `most` tasks are looked at: where there are
    /// more, it is at least as many.
    async fn waiting(&self, flow: FlowId, most: usize) -> Result<Vec<(Arc<str>, u64)>>;

    /// Records of the history, at most `most`, behind the one `after`. A page MAY have fewer, even none, although more
    /// follow: so many are looked through for it that nothing waits long.
    async fn records(&self, whose: Records, after: Option<Seq>, most: usize) -> Result<RecordsPage>;

    /// Every settlement that concerns an arrival, in commit order.
    async fn history(&self, arrival: Arrival) -> Result<Vec<HistoryRow>>;
}
