//! The calls of the port, each on its thread.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use opendmp_model::history::Context;
use opendmp_model::ids::{Arrival, ContentHash, IdPrefix, ItemId, PathHash, SlotId, TaskId};
use opendmp_model::item::ContentRef;
use opendmp_model::ledger::{FileStat, Known};
use opendmp_ports::journal::{
    ArrivalRow, Backlog, ClaimRequest, Claimed, Claims, CollectionRow, DeadGroup, DeadHeld, DeadRow, DraftChange,
    DraftChanged, DraftRow, Feed, Filter, Finished, FlowChange, FlowId, FlowRow, Found, GroupRow, HeldKey, HeldRow,
    HistoricPage, HistoryRow, Ingest, Ingested, Intent, JournalMark, Lease, LetGo, LetGoPart, LetGone, Memo, MemoKey,
    MemoLimit, Named, NewReprocess, NewVersion, Page, Records, RecordsPage, Reentry, Reprocess, RevisionRow, RunId,
    RunMode, RunRow, Search, Selection, Seq, SetBack, Settled, SettledAndClaimed, Settlement, SourceId, SpaceId,
    TakeOver, VersionId, VersionInfo, VersionRow, decide,
};
use opendmp_ports::{Journal, Result};
use tokio::sync::mpsc;

use super::database::FILE;
use super::fail::Result as Fallible;
use super::lanes::Lane;
use super::readers::closed;
use super::tables::{
    KnownPaths, Prepared, PreparedFeed, RawClaimed, RawIntent, Releasing, Tables, find_reprocess, json,
    open_reprocesses,
};
use super::{SqliteJournal, read, roots};

/// Arrivals, datasets or records that are let go in one call of the writer.
const LET_GO: usize = 200;

/// About how many rows a settlement writes.
fn rows(settlement: &Settlement) -> usize {
    let tasks: usize = settlement.tasks.iter().map(|task| task.items.len()).sum();
    let held: usize = settlement.held.iter().map(|held| held.items.len()).sum();
    let entries: usize = settlement.history.iter().map(|record| record.entries.len()).sum();
    let ends = settlement.revisions.len() + settlement.dead_letters.len() + settlement.memos.len();
    tasks + held + entries + ends
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn open_lease(&self, worker: &str, exclusive: bool, now: i64) -> Result<TakeOver> {
        let worker = worker.to_owned();
        self.write_in(Lane::Last, "journal open lease", move |t| t.open_lease(&worker, exclusive, now)).await
    }

    async fn save_version(&self, version: NewVersion) -> Result<(FlowId, VersionId)> {
        self.write("journal save version", move |t| t.save_version(&version)).await
    }

    async fn change_flow(&self, change: FlowChange) -> Result<FlowRow> {
        let flow = change.flow;
        self.write("journal change flow", move |t| t.change_flow(&change)).await?;
        self.flow(flow).await
    }

    async fn flows(&self, space: SpaceId) -> Result<Vec<FlowRow>> {
        self.read("journal flows", move |conn| read::flows(conn, space)).await
    }

    async fn flow(&self, flow: FlowId) -> Result<FlowRow> {
        self.read("journal flow", move |conn| read::flow(conn, flow)).await
    }

    async fn version(&self, version: VersionId) -> Result<VersionRow> {
        self.read("journal version", move |conn| read::version(conn, version)).await
    }

    async fn versions(&self, flow: FlowId, before: Option<VersionId>, limit: usize) -> Result<Vec<VersionInfo>> {
        self.read("journal versions", move |conn| read::versions(conn, flow, before, limit)).await
    }

    async fn drafts(&self, space: SpaceId) -> Result<Vec<DraftRow>> {
        self.read("journal drafts", move |conn| read::drafts(conn, space)).await
    }

    async fn draft(&self, space: SpaceId, slug: &str) -> Result<Option<(DraftRow, Bytes)>> {
        let slug = slug.to_owned();
        self.read("journal draft", move |conn| read::draft(conn, space, &slug)).await
    }

    async fn change_draft(&self, change: DraftChange) -> Result<DraftChanged> {
        let kibibytes = change.new.as_ref().map_or(0, |new| new.body.len() >> 10);
        self.write_in(Lane::of(kibibytes), "journal change draft", move |t| t.change_draft(change)).await
    }

    async fn context(&self, context: Context) -> Result<u32> {
        let operation = "journal context";
        let body = json(&context);
        let asked = body.clone();
        // Nearly always known: then nothing is written.
        match self.read(operation, move |conn| read::context(conn, &asked)).await? {
            Some(number) => Ok(number),
            None => self.write(operation, move |t| t.context(&body)).await,
        }
    }

    async fn contexts(&self, numbers: Vec<u32>) -> Result<Vec<Context>> {
        self.read("journal contexts", move |conn| read::contexts(conn, &numbers)).await
    }

    async fn source(&self, space: SpaceId, identity: &str) -> Result<SourceId> {
        let operation = "journal source";
        let identity = identity.to_owned();
        let asked = identity.clone();
        match self.read(operation, move |conn| read::source(conn, space, &asked)).await? {
            Some(source) => Ok(source),
            None => self.write(operation, move |t| t.source(space, &identity)).await,
        }
    }

    async fn known(&self, source: SourceId, paths: Vec<Vec<u8>>) -> Result<Vec<Option<Known>>> {
        let work = move |conn: &rusqlite::Connection| {
            // One transaction for all: each by itself locks and unlocks the file.
            let _all = conn.unchecked_transaction()?;
            let mut known = KnownPaths::new(conn, source)?;
            paths.iter().map(|path| known.get(path)).collect()
        };
        self.read("journal known", work).await
    }

    async fn affirm(&self, source: SourceId, arrivals: Vec<(Arrival, FileStat)>) -> Result<()> {
        self.write_in(Lane::of(arrivals.len()), "journal affirm", move |t| t.affirm(source, &arrivals)).await
    }

    async fn releasing(&self, source: SourceId, releases: Vec<Vec<u8>>) -> Result<Vec<bool>> {
        let work = move |conn: &rusqlite::Connection| {
            let _all = conn.unchecked_transaction()?;
            let mut releasing = Releasing::new(conn, source)?;
            releases.iter().map(|release| releasing.get(release)).collect()
        };
        self.read("journal releasing", work).await
    }

    async fn pending_releases(&self, source: SourceId, limit: usize) -> Result<Vec<Vec<u8>>> {
        self.read("journal pending releases", move |conn| read::pending_releases(conn, source, limit)).await
    }

    async fn retry_releases(&self, source: SourceId, now: i64) -> Result<u64> {
        self.write_in(Lane::Last, "journal retry releases", move |t| t.retry_releases(source, now)).await
    }

    async fn open_run(&self, flow: FlowId, version: VersionId, mode: RunMode, trigger: &str, at: i64) -> Result<RunId> {
        let trigger = trigger.to_owned();
        self.write("journal open run", move |t| t.open_run(flow, version, mode, &trigger, at)).await
    }

    async fn close_run(&self, run: RunId, at: i64) -> Result<bool> {
        let work = move |t: &mut Tables<'_>| {
            t.close_run(run, at)?;
            t.end_runs()
        };
        self.write("journal close run", work).await
    }

    async fn ingest(&self, ingest: Ingest) -> Result<Ingested> {
        let lane = Lane::of(ingest.arrivals.len());
        let work = move |t: &mut Tables<'_>| {
            let (ingested, items) = t.ingest(&ingest)?;
            Ok((ingested, items, ingest))
        };
        Ok(self.write_in(lane, "journal ingest", work).await?.0)
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>> {
        let operation = "journal claim";
        let raw = self.write(operation, move |t| t.claim(&request)).await?;
        let claimed = raw.into_iter().map(RawClaimed::decode).collect::<Fallible<_>>();
        claimed.map_err(|fail| self.told(fail, operation))
    }

    async fn unclaim(&self, lease: Lease, tasks: Vec<TaskId>) -> Result<()> {
        // Behind a settlement whose sender has left meanwhile: that would else find its claim gone.
        self.write_in(Lane::Last, "journal unclaim", move |t| t.unclaim(lease, &tasks)).await
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Result<Vec<Settled>> {
        let lane = Lane::of(batch.iter().map(rows).sum());
        // Encoded here, on the caller's thread.
        let mut batch: Vec<Prepared> = batch.into_iter().map(Prepared::from).collect();
        let work = move |t: &mut Tables<'_>| {
            let mut settled = Vec::with_capacity(batch.len());
            for settlement in &mut batch {
                settled.push(t.settle(settlement)?);
                // A run that this one ends is over before the next one adds to the queue.
                t.flush()?;
            }
            // What was sent goes back with the answer: a thousand items are let go on this thread, not on the writer's.
            Ok((settled, batch))
        };
        Ok(self.write_in(lane, "journal settle", work).await?.0)
    }

    async fn settle_and_claim(&self, settlement: Settlement, claims: Claims) -> Result<SettledAndClaimed> {
        let operation = "journal settle and claim";
        let lane = Lane::of(rows(&settlement));
        let mut prepared = Prepared::from(settlement);
        let work = move |t: &mut Tables<'_>| {
            let settled = t.settle_and_claim(&mut prepared, &claims)?;
            Ok((settled, prepared))
        };
        let ((settled, tasks, intents), _) = self.write_in(lane, operation, work).await?;
        let tasks = tasks.into_iter().map(RawClaimed::decode).collect::<Fallible<_>>();
        let intents = intents.into_iter().map(RawIntent::decode).collect::<Fallible<_>>();
        let told = |fail| self.told(fail, operation);
        Ok(SettledAndClaimed { settled, tasks: tasks.map_err(told)?, intents: intents.map_err(told)? })
    }

    async fn group(&self, flow: FlowId, group: PathHash) -> Result<Option<GroupRow>> {
        self.read("journal group", move |conn| read::group(conn, flow, group)).await
    }

    async fn held(&self, flow: FlowId, group: PathHash, after: Option<HeldKey>, limit: usize) -> Result<Vec<HeldRow>> {
        self.read("journal held", move |conn| read::held(conn, flow, group, after, limit)).await
    }

    async fn watermark(&self, flow: FlowId, processors: Vec<Arc<str>>) -> Result<Arrival> {
        self.read("journal watermark", move |conn| read::watermark(conn, flow, &processors)).await
    }

    async fn claim_intents(&self, lease: Lease, now: i64, limit: usize) -> Result<Vec<Intent>> {
        let operation = "journal claim intents";
        let raw = self.write(operation, move |t| t.claim_intents(lease, now, limit)).await?;
        let intents = raw.into_iter().map(RawIntent::decode).collect::<Fallible<_>>();
        intents.map_err(|fail| self.told(fail, operation))
    }

    async fn finish(&self, batch: Vec<Finished>) -> Result<bool> {
        let lane = Lane::of(batch.len());
        let work = move |t: &mut Tables<'_>| {
            batch.iter().try_for_each(|done| t.finish(done))?;
            t.end_runs()
        };
        self.write_in(lane, "journal finish", work).await
    }

    async fn clock_set_back(&self, back: SetBack) -> Result<u64> {
        self.write_in(Lane::Last, "journal clock set back", move |t| t.clock_set_back(back)).await
    }

    async fn backlog(&self, flow: Option<FlowId>) -> Result<Backlog> {
        self.read("journal backlog", move |conn| read::backlog(conn, flow)).await
    }

    async fn abandon(&self, flow: FlowId, limit: usize, actor: &str, at: i64) -> Result<u64> {
        let actor = actor.to_owned();
        self.write_in(Lane::of(limit), "journal abandon", move |t| t.abandon(flow, limit, &actor, at)).await
    }

    async fn dead_groups(&self, filter: Filter) -> Result<Page<DeadGroup>> {
        self.read("journal dead groups", move |conn| read::dead_groups(conn, &filter)).await
    }

    async fn dead_letters(&self, filter: Filter) -> Result<Page<DeadRow>> {
        self.read("journal dead letters", move |conn| read::dead_letters(conn, &filter)).await
    }

    async fn dead_held(&self) -> Result<DeadHeld> {
        self.read("journal dead held", read::dead_held).await
    }

    async fn reenter(&self, reentry: Reentry) -> Result<(RunId, u64)> {
        self.write_in(Lane::of(reentry.letters.len()), "journal reenter", move |t| t.reenter(&reentry)).await
    }

    async fn begin_reprocess(&self, new: NewReprocess) -> Result<Reprocess> {
        self.write("journal begin reprocess", move |t| t.begin_reprocess(&new)).await
    }

    async fn reprocess(&self, run: RunId) -> Result<Reprocess> {
        let find =
            move |conn: &rusqlite::Connection| Ok(find_reprocess(conn, run)?.ok_or_else(|| decide::no_reprocess(run))?);
        self.read("journal reprocess", find).await
    }

    async fn reprocesses(&self) -> Result<Vec<Reprocess>> {
        self.read("journal reprocesses", open_reprocesses).await
    }

    async fn historic(
        &self,
        flow: FlowId,
        selection: Selection,
        after: Arrival,
        upto: Arrival,
        limit: usize,
    ) -> Result<HistoricPage> {
        let asked = move |conn: &rusqlite::Connection| read::historic(conn, flow, &selection, after, upto, limit);
        self.read("journal historic", asked).await
    }

    async fn feed(&self, feed: Feed) -> Result<bool> {
        let feed = PreparedFeed::from(feed);
        self.write_in(Lane::Long, "journal feed", move |t| t.feed(&feed)).await
    }

    async fn stop_reprocess(&self, run: RunId, actor: &str, at: i64) -> Result<bool> {
        let actor = actor.to_owned();
        self.write("journal stop reprocess", move |t| t.stop_reprocess(run, &actor, at)).await
    }

    async fn repeats(&self, flow: FlowId, group: PathHash, items: Vec<ItemId>) -> Result<Vec<Option<ContentHash>>> {
        self.read("journal repeats", move |conn| read::repeats(conn, flow, group, &items)).await
    }

    async fn memos(&self, keys: Vec<(Arrival, MemoKey)>) -> Result<Vec<Option<Memo>>> {
        self.read("journal memos", move |conn| read::memos(conn, &keys)).await
    }

    async fn forget_memos(&self, limit: MemoLimit, most: usize) -> Result<u64> {
        self.write_in(Lane::of(most), "journal forget memos", move |t| t.forget_memos(limit, most)).await
    }

    async fn discard(&self, letters: Vec<TaskId>, reason: &str, actor: &str, at: i64) -> Result<u64> {
        let (reason, actor) = (reason.to_owned(), actor.to_owned());
        self.write_in(Lane::of(letters.len()), "journal discard", move |t| t.discard(&letters, &reason, &actor, at))
            .await
    }

    async fn runs(&self, filter: Filter) -> Result<Page<RunRow>> {
        self.read("journal runs", move |conn| read::runs(conn, &filter)).await
    }

    async fn run(&self, run: RunId) -> Result<RunRow> {
        self.read("journal run", move |conn| read::run(conn, run)).await
    }

    async fn collections(&self, space: SpaceId) -> Result<Vec<CollectionRow>> {
        self.read("journal collections", move |conn| read::collections(conn, space)).await
    }

    async fn datasets(&self, filter: Filter) -> Result<Page<RevisionRow>> {
        self.read("journal datasets", move |conn| read::datasets(conn, &filter)).await
    }

    async fn search(&self, search: Search) -> Result<Found> {
        self.keep_search();
        self.search.wait(search.wait).await;
        let kept = self.search.kept();
        self.read("journal search", move |conn| kept.search(conn, &search)).await
    }

    async fn revisions(&self, slot: SlotId) -> Result<Vec<RevisionRow>> {
        self.read("journal revisions", move |conn| read::revisions(conn, slot)).await
    }

    async fn arrival(&self, arrival: Arrival) -> Result<ArrivalRow> {
        self.read("journal arrival", move |conn| read::arrival(conn, arrival)).await
    }

    async fn mark(&self) -> Result<JournalMark> {
        let (presence, journal) = (Arc::clone(&self.presence), self.instance().to_owned());
        let work = move |conn: &rusqlite::Connection| {
            presence.check("journal mark")?;
            Ok(JournalMark { journal, seq: read::last_seq(conn)? })
        };
        self.read("journal mark", work).await
    }

    async fn roots(&self, to: mpsc::Sender<Vec<Named>>) -> Result<()> {
        let operation = "journal roots";
        // Behind all that was sent to the writer before: that is committed then, also where its sender has left.
        self.write_in(Lane::Last, operation, |_| Ok(())).await?;
        let (file, presence) = (self.dir.join(FILE), Arc::clone(&self.presence));
        let send = move || {
            roots::send(&file, &to)?;
            // They were read from a file of that name: from this one.
            Ok(presence.check(operation)?)
        };
        let sent = tokio::task::spawn_blocking(send).await;
        sent.map_err(|_| closed(operation))?.map_err(|fail| self.told(fail, operation))
    }

    async fn content_of(&self, arrival: Arrival, hash: ContentHash) -> Result<Vec<ContentRef>> {
        self.read("journal content of", move |conn| read::content_with(conn, arrival, hash)).await
    }

    async fn find_version(&self, space: SpaceId, slug: &str, hash: &str) -> Result<Option<VersionId>> {
        let (slug, hash) = (slug.to_owned(), hash.to_owned());
        self.read("journal find version", move |conn| read::find_version(conn, space, &slug, &hash)).await
    }

    async fn let_go(&self, part: LetGoPart) -> Result<LetGone> {
        let operation = "journal let go";
        let (dry, at, what) = (part.dry, part.at, part.what.clone());
        let (outdated, found) = self.read(operation, move |conn| read::find_outdated(conn, &part)).await?;
        if dry || found.count == 0 {
            return Ok(found);
        }
        let mut gone = LetGone { next: found.next, ..LetGone::default() };
        let mut add = |part: LetGone| {
            gone.count += part.count;
            gone.bytes += part.bytes;
        };
        match (outdated, what) {
            (read::Outdated::Sources(arrivals), LetGo::Sources(rules)) => {
                for some in arrivals.chunks(LET_GO).map(<[i64]>::to_vec) {
                    let rules = rules.clone();
                    add(self
                        .write_in(Lane::of(LET_GO), operation, move |t| t.let_sources_go(&rules, &some, at))
                        .await?);
                }
            }
            (read::Outdated::Revisions(shelf, slots), LetGo::Revisions { rule, .. }) => {
                for some in slots.chunks(LET_GO).map(<[SlotId]>::to_vec) {
                    add(self
                        .write_in(Lane::of(LET_GO), operation, move |t| t.let_revisions_go(shelf, rule, &some, at))
                        .await?);
                }
            }
            (read::Outdated::History(records), LetGo::History(rules)) => {
                for some in records.chunks(LET_GO).map(<[_]>::to_vec) {
                    let rules = rules.clone();
                    add(self.write_in(Lane::of(LET_GO), operation, move |t| t.let_history_go(&rules, &some)).await?);
                }
            }
            // What is found is of the sort that was asked for.
            _ => {}
        }
        Ok(gone)
    }

    async fn lineage(&self, seq: Seq, item: ItemId) -> Result<Vec<HistoryRow>> {
        Ok(self.read("journal lineage", move |conn| read::lineage(conn, seq, item)).await?.0)
    }

    async fn traces(&self, prefix: IdPrefix, most: usize) -> Result<Vec<HistoryRow>> {
        self.read("journal traces", move |conn| read::traces(conn, prefix, most)).await
    }

    async fn latest(&self, after: Seq, entries: usize) -> Result<Vec<HistoryRow>> {
        self.read("journal latest", move |conn| read::latest(conn, after, entries)).await
    }

    async fn waiting(&self, flow: FlowId, most: usize) -> Result<Vec<(Arc<str>, u64)>> {
        self.read("journal waiting", move |conn| read::waiting(conn, flow, most)).await
    }

    async fn records(&self, whose: Records, after: Option<Seq>, most: usize) -> Result<RecordsPage> {
        self.read("journal records", move |conn| read::records(conn, whose, after, most)).await
    }

    async fn history(&self, arrival: Arrival) -> Result<Vec<HistoryRow>> {
        self.read("journal history", move |conn| read::history(conn, arrival)).await
    }
}
