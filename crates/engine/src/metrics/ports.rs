//! The ports, metered: each call goes to the port itself, and is counted and timed on the way.

use std::future::Future;
use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use opendmp_model::history::Context;
use opendmp_model::ids::{Arrival, SlotId, TaskId};
use opendmp_model::item::ContentRef;
use opendmp_model::ledger::Known;
use opendmp_ports::content::{Body, Usage};
use opendmp_ports::journal::{
    ArrivalRow, Backlog, ClaimRequest, Claimed, CollectionRow, DeadRow, Filter, Finished, FlowChange, FlowId, FlowRow,
    HistoryRow, Ingest, Ingested, Intent, Lease, NewVersion, Page, Reentry, RevisionRow, RunId, RunMode, RunRow,
    Settled, Settlement, SourceId, SpaceId, TakeOver, VersionId, VersionRow,
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
        #[derive(Debug)]
        pub(crate) struct JournalCalls {
            $($name: Histogram,)*
        }

        impl Default for JournalCalls {
            fn default() -> Self {
                Self { $($name: brief(),)* }
            }
        }

        impl JournalCalls {
            /// By operation.
            pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
                [$((stringify!($name), &self.$name),)*].into_iter()
            }
        }

        #[async_trait]
        impl Journal for MeteredJournal {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$answer> {
                let begun = Instant::now();
                let answer = self.inner.$name($($argument),*).await;
                self.metrics.journal_calls.$name.observe(begun.elapsed().as_secs_f64());
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
    fn context(context: Context) -> u32;
    fn contexts(numbers: Vec<u32>) -> Vec<Context>;
    fn source(space: SpaceId, identity: &str) -> SourceId;
    fn known(source: SourceId, paths: Vec<Vec<u8>>) -> Vec<Option<Known>>;
    fn releasing(source: SourceId, releases: Vec<Vec<u8>>) -> Vec<bool>;
    fn pending_releases(source: SourceId, limit: usize) -> Vec<Vec<u8>>;
    fn open_run(flow: FlowId, version: VersionId, mode: RunMode, trigger: &str, at: i64) -> RunId;
    fn close_run(run: RunId, at: i64) -> ();
    fn ingest(ingest: Ingest) -> Ingested;
    fn claim(request: ClaimRequest) -> Vec<Claimed> => claimed;
    fn unclaim(lease: Lease, tasks: Vec<TaskId>) -> ();
    fn settle(batch: Vec<Settlement>) -> Vec<Settled> => settled;
    fn claim_intents(lease: Lease, now: i64, limit: usize) -> Vec<Intent>;
    fn finish(batch: Vec<Finished>) -> ();
    fn backlog(flow: Option<FlowId>) -> Backlog;
    fn abandon(flow: FlowId, limit: usize, actor: &str, at: i64) -> u64;
    fn dead_letters(filter: Filter) -> Page<DeadRow>;
    fn reenter(reentry: Reentry) -> (RunId, u64);
    fn discard(letters: Vec<TaskId>, reason: &str, actor: &str, at: i64) -> u64;
    fn runs(filter: Filter) -> Page<RunRow>;
    fn run(run: RunId) -> RunRow;
    fn collections(space: SpaceId) -> Vec<CollectionRow>;
    fn datasets(filter: Filter) -> Page<RevisionRow>;
    fn revisions(slot: SlotId) -> Vec<RevisionRow>;
    fn arrival(arrival: Arrival) -> ArrivalRow;
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
