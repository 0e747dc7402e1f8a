//! The ports, metered: each call goes to the port itself, and is counted and timed on the way.

use std::future::Future;
use std::io::Read;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use opendmp_model::history::Context;
use opendmp_model::ids::{Arrival, ContentHash, IdPrefix, ItemId, PathHash, SlotId, TaskId};
use opendmp_model::item::ContentRef;
use opendmp_model::ledger::{FileStat, Known};
use opendmp_ports::content::{Body, Collection, Hold, Usage};
use opendmp_ports::journal::{
    ArrivalRow, Backlog, ClaimRequest, Claimed, Claims, CollectionRow, DeadGroup, DeadHeld, DeadRow, DraftChange,
    DraftChanged, DraftRow, Feed, Filter, Finished, FlowChange, FlowId, FlowRow, Found, GroupRow, HeldKey, HeldRow,
    HistoricPage, HistoryRow, Ingest, Ingested, Intent, JournalMark, Lease, LetGoPart, LetGone, Memo, MemoKey,
    MemoLimit, Named, NewReprocess, NewVersion, Page, Records, RecordsPage, Reentry, Reprocess, RevisionRow, RunId,
    RunMode, RunRow, Search, Selection, Seq, SetBack, Settled, SettledAndClaimed, Settlement, SourceId, SpaceId,
    TakeOver, VersionId, VersionInfo, VersionRow,
};
use opendmp_ports::transport::{Hint, Listener};
use opendmp_ports::{Content, Error, Journal, Result, Transport};
use prometheus_client::metrics::histogram::Histogram;

use super::{Metrics, Put, brief};

/// A journal, metered.
pub(crate) struct MeteredJournal {
    pub inner: Arc<dyn Journal>,
    pub metrics: Arc<Metrics>,
}

/// Every call of the port: its arguments, its answer, and what is noted of the answer besides.
macro_rules! calls {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty $(=> $note:ident)?;)*) => {
        /// How long calls of a journal take, by operation.
        #[derive(Debug, Default)]
        pub(crate) struct JournalCalls {
            $($name: OnceLock<Histogram>,)*
        }

        impl JournalCalls {
            /// By operation, of those that were ever called.
            pub(crate) fn made(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
                [$((stringify!($name), self.$name.get()),)*].into_iter().filter_map(|(name, calls)| Some((name, calls?)))
            }
        }

        #[async_trait]
        impl Journal for MeteredJournal {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$answer> {
                let begun = Instant::now();
                let answer = self.inner.$name($($argument),*).await;
                self.metrics.journal_calls.$name.get_or_init(brief).observe(begun.elapsed().as_secs_f64());
                match &answer {
                    Ok(_answer) => { $(self.metrics.$note(_answer);)? }
                    Err(error) => self.metrics.journal_failed(stringify!($name), error),
                }
                answer
            })*
        }
    };
}

calls! {
    fn open_lease(worker: &str, exclusive: bool, now: i64) -> TakeOver;
    fn save_version(version: NewVersion) -> (FlowId, VersionId);
    fn change_flow(change: FlowChange) -> FlowRow;
    fn flows(space: SpaceId) -> Vec<FlowRow>;
    fn flow(flow: FlowId) -> FlowRow;
    fn version(version: VersionId) -> VersionRow;
    fn versions(flow: FlowId, before: Option<VersionId>, limit: usize) -> Vec<VersionInfo>;
    fn drafts(space: SpaceId) -> Vec<DraftRow>;
    fn draft(space: SpaceId, slug: &str) -> Option<(DraftRow, Bytes)>;
    fn change_draft(change: DraftChange) -> DraftChanged;
    fn context(context: Context) -> u32;
    fn contexts(numbers: Vec<u32>) -> Vec<Context>;
    fn source(space: SpaceId, identity: &str) -> SourceId;
    fn known(source: SourceId, paths: Vec<Vec<u8>>) -> Vec<Option<Known>>;
    fn releasing(source: SourceId, releases: Vec<Vec<u8>>) -> Vec<bool>;
    fn affirm(source: SourceId, arrivals: Vec<(Arrival, FileStat)>) -> ();
    fn pending_releases(source: SourceId, limit: usize) -> Vec<Vec<u8>>;
    fn retry_releases(source: SourceId, now: i64) -> u64;
    fn open_run(flow: FlowId, version: VersionId, mode: RunMode, trigger: &str, at: i64) -> RunId;
    fn close_run(run: RunId, at: i64) -> bool;
    fn ingest(ingest: Ingest) -> Ingested;
    fn claim(request: ClaimRequest) -> Vec<Claimed> => claimed;
    fn unclaim(lease: Lease, tasks: Vec<TaskId>) -> ();
    fn settle(batch: Vec<Settlement>) -> Vec<Settled> => settled;
    fn settle_and_claim(settlement: Settlement, claims: Claims) -> SettledAndClaimed => settled_and_claimed;
    fn claim_intents(lease: Lease, now: i64, limit: usize) -> Vec<Intent>;
    fn finish(batch: Vec<Finished>) -> bool;
    fn group(flow: FlowId, group: PathHash) -> Option<GroupRow>;
    fn held(flow: FlowId, group: PathHash, after: Option<HeldKey>, limit: usize) -> Vec<HeldRow>;
    fn watermark(flow: FlowId, processors: Vec<Arc<str>>) -> Arrival;
    fn clock_set_back(back: SetBack) -> u64;
    fn backlog(flow: Option<FlowId>) -> Backlog;
    fn abandon(flow: FlowId, limit: usize, actor: &str, at: i64) -> u64;
    fn dead_groups(filter: Filter) -> Page<DeadGroup>;
    fn dead_letters(filter: Filter) -> Page<DeadRow>;
    fn reenter(reentry: Reentry) -> (RunId, u64);
    fn begin_reprocess(new: NewReprocess) -> Reprocess;
    fn reprocess(run: RunId) -> Reprocess;
    fn reprocesses() -> Vec<Reprocess>;
    fn historic(flow: FlowId, selection: Selection, after: Arrival, upto: Arrival, limit: usize) -> HistoricPage;
    fn feed(feed: Feed) -> bool;
    fn stop_reprocess(run: RunId, actor: &str, at: i64) -> bool;
    fn repeats(flow: FlowId, group: PathHash, items: Vec<ItemId>) -> Vec<Option<ContentHash>>;
    fn memos(keys: Vec<(Arrival, MemoKey)>) -> Vec<Option<Memo>>;
    fn forget_memos(limit: MemoLimit, most: usize) -> u64;
    fn discard(letters: Vec<TaskId>, reason: &str, actor: &str, at: i64) -> u64;
    fn runs(filter: Filter) -> Page<RunRow>;
    fn run(run: RunId) -> RunRow;
    fn collections(space: SpaceId) -> Vec<CollectionRow>;
    fn datasets(filter: Filter) -> Page<RevisionRow>;
    fn search(search: Search) -> Found;
    fn revisions(slot: SlotId) -> Vec<RevisionRow>;
    fn arrival(arrival: Arrival) -> ArrivalRow;
    fn mark() -> JournalMark;
    fn roots(to: tokio::sync::mpsc::Sender<Vec<Named>>) -> ();
    fn let_go(part: LetGoPart) -> LetGone;
    fn content_of(arrival: Arrival, hash: ContentHash) -> Vec<ContentRef>;
    fn find_version(space: SpaceId, slug: &str, hash: &str) -> Option<VersionId>;
    fn dead_held() -> DeadHeld;
    fn lineage(seq: Seq, item: ItemId) -> Vec<HistoryRow>;
    fn traces(prefix: IdPrefix, most: usize) -> Vec<HistoryRow>;
    fn latest(after: Seq, entries: usize) -> Vec<HistoryRow>;
    fn waiting(flow: FlowId, most: usize) -> Vec<(Arc<str>, u64)>;
    fn records(whose: Records, after: Option<Seq>, most: usize) -> RecordsPage;
    fn history(arrival: Arrival) -> Vec<HistoryRow>;
}

/// A content store, metered.
pub(crate) struct MeteredContent {
    pub inner: Arc<dyn Content>,
    pub metrics: Arc<Metrics>,
}

impl MeteredContent {
    fn put_one(&self, from: Put, stored: Result<ContentRef>) -> Result<ContentRef> {
        match &stored {
            Ok(content) => self.metrics.stored(from, 1, content.size),
            Err(error) => self.metrics.content_failed("put", error),
        }
        stored
    }
}

#[async_trait]
impl Content for MeteredContent {
    fn hold(&self) -> Hold {
        self.inner.hold()
    }

    async fn collect(&self) -> Result<Box<dyn Collection>> {
        self.inner.collect().await
    }

    async fn follow_journal(&self, mark: &JournalMark) -> Result<()> {
        self.inner.follow_journal(mark).await
    }

    async fn note_journal(&self, mark: &JournalMark) -> Result<()> {
        self.inner.note_journal(mark).await
    }

    async fn vouch(&self, named: &[ContentRef]) -> Result<()> {
        self.inner.vouch(named).await
    }

    async fn put(&self, bytes: Bytes) -> Result<ContentRef> {
        self.put_one(Put::Memory, self.inner.put(bytes).await)
    }

    async fn put_many(&self, many: Vec<Bytes>) -> Result<Vec<ContentRef>> {
        let stored = self.inner.put_many(many).await;
        match &stored {
            Ok(contents) => {
                let bytes = contents.iter().map(|content| content.size).sum();
                self.metrics.stored(Put::Memory, contents.len() as u64, bytes);
            }
            Err(error) => self.metrics.content_failed("put", error),
        }
        stored
    }

    async fn put_file(&self, file: Arc<std::fs::File>) -> Result<ContentRef> {
        self.put_one(Put::File, self.inner.put_file(file).await)
    }

    async fn put_reader(&self, reader: Box<dyn Read + Send>) -> Result<ContentRef> {
        self.put_one(Put::Stream, self.inner.put_reader(reader).await)
    }

    async fn sync(&self) -> Result<()> {
        let begun = Instant::now();
        let synced = self.inner.sync().await;
        self.metrics.content_sync.0.observe(begun.elapsed().as_secs_f64());
        synced.inspect_err(|error: &Error| self.metrics.content_failed("sync", error))
    }

    // Once for each item, so that it is passed on as it is: no future around a future.
    fn open<'a, 'b, 'async_trait>(
        &'a self,
        content: &'b ContentRef,
    ) -> Pin<Box<dyn Future<Output = Result<Body>> + Send + 'async_trait>>
    where
        'a: 'async_trait,
        'b: 'async_trait,
        Self: 'async_trait,
    {
        self.metrics.content_opens.inc();
        self.inner.open(content)
    }

    async fn usage(&self) -> Result<Usage> {
        self.inner.usage().await
    }
}

/// A transport, metered. What is settled is told by it, and so counted here.
pub(crate) struct MeteredTransport {
    pub inner: Arc<dyn Transport>,
    pub metrics: Arc<Metrics>,
}

impl Transport for MeteredTransport {
    fn send(&self, hint: Hint) {
        self.metrics.hinted(&hint);
        self.inner.send(hint);
    }

    fn listen(&self) -> Box<dyn Listener> {
        self.inner.listen()
    }
}

#[cfg(test)]
mod tests {
    use opendmp_ports::content::MemoryContent;
    use opendmp_ports::journal::MemoryJournal;
    use opendmp_ports::journal::conformance::Bench;
    use opendmp_ports::transport::InProcess;

    use super::*;

    struct Metered(Arc<MeteredJournal>);

    #[async_trait]
    impl Bench for Metered {
        async fn open(&self) -> Arc<dyn Journal> {
            Arc::clone(&self.0) as Arc<dyn Journal>
        }
    }

    #[tokio::test]
    async fn a_metered_port_keeps_its_contract() {
        let metrics = Arc::<Metrics>::default();
        let (told, mine) = (Arc::clone(&metrics), || Arc::<MemoryJournal>::default());
        let journal = move || Metered(Arc::new(MeteredJournal { inner: mine(), metrics: Arc::clone(&told) }));
        opendmp_ports::journal::conformance::all(journal, false).await;
        // The suite settles tasks once, twice, and after a lease was taken over.
        let ends = [&metrics.tasks_settled, &metrics.tasks_already, &metrics.tasks_fenced].map(|ends| ends.get());
        assert!(ends.iter().all(|ends| *ends > 0), "{ends:?}");
        assert!(metrics.tasks_claimed.get() > metrics.tasks_reclaimed.get());
        assert!(metrics.tasks_reclaimed.get() > 0);
        let unknown = metrics.journal_errors.get(&[("operation", "flow"), ("kind", "not_found")]).map(|n| n.get());
        assert!(unknown.is_some_and(|unknown| unknown > 0), "the suite asks for a flow that is not there");

        let transport = MeteredTransport { inner: Arc::new(InProcess::default()), metrics };
        opendmp_ports::transport::conformance::all(&transport).await;
    }

    #[tokio::test]
    async fn stored_content_is_counted() {
        let metrics = Arc::<Metrics>::default();
        let memory = Arc::new(MemoryContent::default());
        let content = MeteredContent { inner: Arc::clone(&memory) as Arc<dyn Content>, metrics: Arc::clone(&metrics) };
        let one = content.put(Bytes::from_static(b"one")).await.unwrap();
        content.put_many(vec![Bytes::from_static(b"two"), Bytes::from_static(b"three")]).await.unwrap();
        content.put_reader(Box::new(&b"streamed"[..])).await.unwrap();
        content.sync().await.unwrap();
        assert!(matches!(content.open(&one).await.unwrap(), Body::Bytes(bytes) if bytes == "one"));
        memory.set_full(true);
        content.put(Bytes::from_static(b"four")).await.unwrap_err();
        let counted = metrics.content_puts.each_ref().map(|(contents, bytes)| (contents.get(), bytes.get()));
        assert_eq!(counted, [(3, 11), (0, 0), (1, 8)]);
        assert_eq!(metrics.content_opens.get(), 1);
        assert_eq!(metrics.content_errors.get(&[("operation", "put"), ("kind", "full")]).unwrap().get(), 1);
    }
}
