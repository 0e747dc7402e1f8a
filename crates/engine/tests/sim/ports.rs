//! The ports as an engine of the simulation sees them: each call gives way before and after its effect, may fail on
//! either side of it, and may be delivered again. Every commit is looked at in the moment of its effect.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use opendmp_model::history::Context;
use opendmp_model::ids::{Arrival, ContentHash, IdPrefix, ItemId, PathHash, SlotId, TaskId};
use opendmp_model::item::ContentRef;
use opendmp_model::ledger::{FileStat, Known};
use opendmp_ports::content::{Body, Collection, Hold, Usage};
use opendmp_ports::journal::*;
use opendmp_ports::transport::{Hint, Listener};
use opendmp_ports::{Content, Error, ErrorKind, Journal, Result, Transport};

use super::check;
use super::executor::OUTSIDE;
use super::mutants::Mutant;
use super::time::sleep;
use super::world::Gate;

/// Writes `impl Journal` for a type with `fn inner(&self) -> &dyn Journal` and
/// `async fn pass(&self, name, call) -> Result`: what is not given by hand passes through.
macro_rules! journal {
    ($type:ty; $($by_hand:item)*) => {
        journal! { @ $type; [$($by_hand)*]
            open_lease(worker: &str, exclusive: bool, now: i64) -> TakeOver;
            save_version(version: NewVersion) -> (FlowId, VersionId);
            change_flow(change: FlowChange) -> FlowRow;
            flows(space: SpaceId) -> Vec<FlowRow>;
            flow(flow: FlowId) -> FlowRow;
            version(version: VersionId) -> VersionRow;
            versions(flow: FlowId, before: Option<VersionId>, limit: usize) -> Vec<VersionInfo>;
            drafts(space: SpaceId) -> Vec<DraftRow>;
            draft(space: SpaceId, slug: &str) -> Option<(DraftRow, Bytes)>;
            change_draft(change: DraftChange) -> DraftChanged;
            contexts(numbers: Vec<u32>) -> Vec<Context>;
            source(space: SpaceId, identity: &str) -> SourceId;
            known(source: SourceId, paths: Vec<Vec<u8>>) -> Vec<Option<Known>>;
            releasing(source: SourceId, releases: Vec<Vec<u8>>) -> Vec<bool>;
            pending_releases(source: SourceId, limit: usize) -> Vec<Vec<u8>>;
            retry_releases(source: SourceId, now: i64) -> u64;
            open_run(flow: FlowId, version: VersionId, mode: RunMode, trigger: &str, at: i64) -> RunId;
            close_run(run: RunId, at: i64) -> bool;
            group(flow: FlowId, group: PathHash) -> Option<GroupRow>;
            held(flow: FlowId, group: PathHash, after: Option<HeldKey>, limit: usize) -> Vec<HeldRow>;
            watermark(flow: FlowId, processors: Vec<Arc<str>>) -> Arrival;
            clock_set_back(back: SetBack) -> u64;
            backlog(flow: Option<FlowId>) -> Backlog;
            abandon(flow: FlowId, limit: usize, actor: &str, at: i64) -> u64;
            dead_groups(filter: Filter) -> Page<DeadGroup>;
            dead_letters(filter: Filter) -> Page<DeadRow>;
            dead_held() -> DeadHeld;
            reenter(reentry: Reentry) -> (RunId, u64);
            begin_reprocess(new: NewReprocess) -> Reprocess;
            reprocess(run: RunId) -> Reprocess;
            reprocesses() -> Vec<Reprocess>;
            historic(flow: FlowId, selection: Selection, after: Arrival, upto: Arrival, limit: usize) -> HistoricPage;
            feed(feed: Feed) -> bool;
            stop_reprocess(run: RunId, actor: &str, at: i64) -> bool;
            repeats(flow: FlowId, group: PathHash, items: Vec<ItemId>) -> Vec<Option<ContentHash>>;
            memos(keys: Vec<(Arrival, MemoKey)>) -> Vec<Option<Memo>>;
            forget_memos(limit: MemoLimit, most: usize) -> u64;
            discard(letters: Vec<TaskId>, reason: &str, actor: &str, at: i64) -> u64;
            runs(filter: Filter) -> Page<RunRow>;
            run(run: RunId) -> RunRow;
            collections(space: SpaceId) -> Vec<CollectionRow>;
            datasets(filter: Filter) -> Page<RevisionRow>;
            search(search: Search) -> Found;
            revisions(slot: SlotId) -> Vec<RevisionRow>;
            arrival(arrival: Arrival) -> ArrivalRow;
            lineage(seq: Seq, item: ItemId) -> Vec<HistoryRow>;
            traces(prefix: IdPrefix, most: usize) -> Vec<HistoryRow>;
            latest(after: Seq, entries: usize) -> Vec<HistoryRow>;
            waiting(flow: FlowId, most: usize) -> Vec<(Arc<str>, u64)>;
            records(whose: Records, after: Option<Seq>, most: usize) -> RecordsPage;
            history(arrival: Arrival) -> Vec<HistoryRow>;
            let_go(part: LetGoPart) -> LetGone;
            content_of(arrival: Arrival, hash: ContentHash) -> Vec<ContentRef>;
            find_version(space: SpaceId, slug: &str, hash: &str) -> Option<VersionId>;
            mark() -> JournalMark;
            roots(to: tokio::sync::mpsc::Sender<Vec<Named>>) -> ();
        }
    };
    (@ $type:ty; [$($by_hand:item)*] $($name:ident($($arg:ident: $arg_type:ty),*) -> $out:ty;)*) => {
        #[async_trait]
        impl Journal for $type {
            $($by_hand)*
            $(async fn $name(&self, $($arg: $arg_type),*) -> Result<$out> {
                self.pass(concat!("journal ", stringify!($name)), self.inner().$name($($arg),*)).await
            })*
        }
    };
}
pub(crate) use journal;

/// Calls that commit nothing, and do not ask whether the journal is there.
const READS: [&str; 12] = [
    "journal flows",
    "journal flow",
    "journal version",
    "journal context",
    "journal contexts",
    "journal known",
    "journal releasing",
    "journal group",
    "journal held",
    "journal watermark",
    "journal repeats",
    "journal reprocesses",
];

/// The journal of one engine.
pub struct SimJournal(pub Gate);

impl SimJournal {
    fn inner(&self) -> &dyn Journal {
        &*self.0.world.journal
    }

    fn rate(&self) -> u32 {
        self.0.world.setup.faults.journal
    }

    async fn pass<T>(&self, name: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
        self.before(name).await?;
        let out = call.await?;
        self.0.after(self.rate(), name).await?;
        Ok(out)
    }

    /// Before a call has its effect. While the journal's file is gone, what was open of it can be read, and nothing can
    /// be committed.
    async fn before(&self, name: &'static str) -> Result<()> {
        self.0.before(self.rate(), name).await?;
        let world = &self.0.world;
        let is_noticed = world.setup.mutant != Some(Mutant::WorksWithoutJournal);
        if world.gone_for().is_some() && is_noticed && !READS.contains(&name) {
            world.count("calls of a journal that was gone");
            return Err(Error::new(ErrorKind::Unavailable, name, "the journal was removed while it was in use"));
        }
        Ok(())
    }

    /// How often the answer to a claim is lost.
    fn lost_claims(&self) -> u32 {
        if self.0.world.setup.fresh { self.rate() / 4 } else { 0 }
    }

    /// Whether a call is delivered once more.
    fn again(&self) -> bool {
        !self.0.world.is_calm() && self.0.world.chance(self.0.world.setup.faults.again)
    }
}

journal! { SimJournal;
    async fn context(&self, context: Context) -> Result<u32> {
        self.before("journal context").await?;
        let (version, processor) = (context.version.clone(), context.processor.clone());
        let number = self.inner().context(context).await?;
        self.0.world.seen().contexts.insert(number, (version, processor));
        self.0.after(self.rate(), "journal context").await?;
        Ok(number)
    }

    async fn affirm(&self, source: SourceId, arrivals: Vec<(Arrival, FileStat)>) -> Result<()> {
        self.before("journal affirm").await?;
        self.inner().affirm(source, arrivals.clone()).await?;
        check::affirmed(&self.0.world, &arrivals);
        self.0.after(self.rate(), "journal affirm").await
    }

    async fn ingest(&self, ingest: Ingest) -> Result<Ingested> {
        self.before("journal ingest").await?;
        let world = &self.0.world;
        let done = self.inner().ingest(ingest.clone()).await;
        check::ingested(world, &ingest, &done);
        let keeps = ingest.arrivals.iter().all(|arrival| arrival.release.is_none());
        if done.is_ok() && keeps && self.again() {
            world.note(|| format!("#{} ingest is delivered again", self.0.owner));
            let wait = world.below(80) as i64;
            sleep(world, wait).await;
            let done = self.inner().ingest(ingest.clone()).await;
            check::ingested(world, &ingest, &done);
        }
        let done = done?;
        self.0.after(self.rate(), "journal ingest").await?;
        Ok(done)
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>> {
        self.before("journal claim").await?;
        let claimed = self.inner().claim(request).await?;
        check::claimed(&self.0.world, &request, &claimed);
        self.0.after(self.lost_claims(), "journal claim").await?;
        Ok(claimed)
    }

    async fn unclaim(&self, lease: Lease, tasks: Vec<TaskId>) -> Result<()> {
        self.before("journal unclaim").await?;
        self.inner().unclaim(lease, tasks.clone()).await?;
        check::unclaimed(&self.0.world, lease, &tasks);
        self.0.after(self.rate(), "journal unclaim").await
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Result<Vec<Settled>> {
        let world = &self.0.world;
        if self.again() {
            // The same message, on its own way through the network.
            let (late, world) = (batch.clone(), Arc::clone(world));
            let wait = world.below(400) as i64;
            self.0.world.spawn(OUTSIDE, async move {
                sleep(&world, wait).await;
                world.note(|| format!("a settlement of {} is delivered late", late[0].task));
                if let Ok(settled) = world.journal.settle(late.clone()).await {
                    check::settled(&world, &late, &settled);
                }
            });
        }
        self.before("journal settle").await?;
        let settled = self.inner().settle(batch.clone()).await?;
        world.note(|| format!("#{} settles {}: {:?}", self.0.owner, batch[0].task, settled));
        check::settled(world, &batch, &settled);
        self.0.after(self.rate(), "journal settle").await?;
        Ok(settled)
    }

    async fn claim_intents(&self, lease: Lease, now: i64, limit: usize) -> Result<Vec<Intent>> {
        self.before("journal claim_intents").await?;
        let limit = limit.min(1 + self.0.world.below(8) as usize);
        let intents = self.inner().claim_intents(lease, now, limit).await?;
        check::intents_claimed(&self.0, lease, &intents);
        self.0.after(self.lost_claims(), "journal claim_intents").await?;
        Ok(intents)
    }

    async fn finish(&self, batch: Vec<Finished>) -> Result<bool> {
        check::intents_ended(&self.0.world, &batch);
        self.before("journal finish").await?;
        let mut work = self.inner().finish(batch.clone()).await?;
        if self.again() {
            self.0.world.note(|| format!("#{} finish is delivered again", self.0.owner));
            let wait = self.0.world.below(400) as i64;
            sleep(&self.0.world, wait).await;
            work |= self.inner().finish(batch).await?;
        }
        self.0.after(self.rate(), "journal finish").await?;
        Ok(work)
    }
}

/// The content of one engine.
pub struct SimContent(pub Gate);

impl SimContent {
    async fn pass<T>(&self, name: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
        let rate = self.0.world.setup.faults.content;
        self.0.before(rate, name).await?;
        let out = call.await?;
        self.0.after(rate, name).await?;
        Ok(out)
    }
}

#[async_trait]
impl Content for SimContent {
    fn hold(&self) -> Hold {
        self.0.world.content.hold()
    }

    async fn collect(&self) -> Result<Box<dyn Collection>> {
        self.pass("content collect", self.0.world.content.collect()).await
    }

    async fn follow_journal(&self, mark: &JournalMark) -> Result<()> {
        self.pass("content follow journal", self.0.world.content.follow_journal(mark)).await
    }

    async fn note_journal(&self, mark: &JournalMark) -> Result<()> {
        self.pass("content note journal", self.0.world.content.note_journal(mark)).await
    }

    async fn vouch(&self, named: &[ContentRef]) -> Result<()> {
        self.pass("content vouch", self.0.world.content.vouch(named)).await
    }

    async fn put(&self, bytes: Bytes) -> Result<ContentRef> {
        self.pass("content put", self.0.world.content.put(bytes)).await
    }

    async fn put_many(&self, many: Vec<Bytes>) -> Result<Vec<ContentRef>> {
        self.pass("content put_many", self.0.world.content.put_many(many)).await
    }

    async fn put_file(&self, file: Arc<std::fs::File>) -> Result<ContentRef> {
        self.pass("content put_file", self.0.world.content.put_file(file)).await
    }

    async fn put_reader(&self, reader: Box<dyn std::io::Read + Send>) -> Result<ContentRef> {
        self.pass("content put_reader", self.0.world.content.put_reader(reader)).await
    }

    async fn sync(&self) -> Result<()> {
        self.pass("content sync", self.0.world.content.sync()).await
    }

    async fn open(&self, content: &ContentRef) -> Result<Body> {
        self.pass("content open", self.0.world.content.open(content)).await
    }

    async fn usage(&self) -> Result<Usage> {
        self.pass("content usage", self.0.world.content.usage()).await
    }
}

/// A transport that loses every hint, as it may.
pub struct Deaf;

#[async_trait]
impl Transport for Deaf {
    fn send(&self, _: Hint) {}

    fn listen(&self) -> Box<dyn Listener> {
        Box::new(Deaf)
    }
}

#[async_trait]
impl Listener for Deaf {
    async fn next(&mut self) -> Option<Hint> {
        None
    }
}
