//! Ingest: from a source's claim to arrivals in the journal. Claim, store, confirm, sync, one transaction; only then
//! may the source be let go, by an intent that the transaction recorded (law L4).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use opendmp_model::fault::Fault;
use opendmp_model::ids::Arrival;
use opendmp_model::item::{BUNDLE_ITEMS, ContentRef};
use opendmp_model::ledger::FileStat;
use opendmp_ports::Error;
use opendmp_ports::journal::{Ingest, NewArrival, Reader, RunChoice, RunId, RunMode};
use opendmp_ports::transport::{Hint, Progress, StepCounts};
use opendmp_processor::{Body, Claim, Claimed, Ledger, Scan, Source, SourceError};

use crate::engine::SourceLedger;
use crate::failpoint::reach;
use crate::retry::{port_fault, source_fault};
use crate::space::Shortage;
use crate::{Engine, Loaded, Node};

/// How many source items are claimed at once: of a source that is looked at by itself as many as arrive together, in a run
/// some parts of that, so that one is stored while the one before it arrives.
const CLAIM_ITEMS: usize = BUNDLE_ITEMS;
const CLAIM_ITEMS_OF_RUN: usize = 4 * BUNDLE_ITEMS;

/// What one look at a source came to.
#[derive(Clone, Debug, Default)]
pub struct ScanReport {
    /// Items that arrived.
    pub arrived: u64,
    /// Whether nothing more is there now.
    pub complete: bool,
    /// When to look again at names at the latest, milliseconds since 1970; see [`opendmp_processor::Scan`].
    pub again: Option<i64>,
    /// When to look at everything again, milliseconds since 1970, because nothing else finds what is left.
    pub everything: Option<i64>,
    /// What could not be taken, by path.
    pub problems: Vec<(String, SourceError)>,
    /// What is wrong with the source as a whole, for as long as it is so.
    pub issues: Vec<SourceError>,
    /// Why some of what is there was left for later: there is no space for it.
    pub shortage: Option<Shortage>,
    /// Whether some of what was claimed could not be stored.
    pub not_stored: bool,
}

/// How soon a claim that did not hold is looked at again, in milliseconds.
const RETAKE: i64 = 100;

/// What of a source is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// All of it.
    Everything,
    /// These names, and what earlier looks left to be looked at again.
    Names(Vec<Vec<u8>>),
}

/// Claims whose bytes are stored.
#[derive(Default)]
struct Stored {
    arrivals: Vec<NewArrival>,
    /// Their claims.
    kept: Vec<Claim>,
    /// Claims of files whose bytes are those of their latest arrival, as they are now.
    unchanged: Vec<(Claim, Arrival, FileStat)>,
}

/// What became of one claim.
enum Kept {
    New(NewArrival),
    Unchanged(Arrival, FileStat),
    /// It changed meanwhile, and is offered again.
    Changed,
}

impl Engine {
    /// Looks at all of the source of an ingest once, or goes on with that, and takes in what it claims, as part of
    /// `run` or as a run of its own.
    ///
    /// # Errors
    /// A fault where the source can't be opened or looked at; nothing is lost, what was claimed is offered again.
    pub async fn ingest_once(&self, loaded: &Loaded, node: &Node, run: Option<RunId>) -> Result<ScanReport, Fault> {
        self.ingest_at(loaded, node, run, At::Everything).await
    }

    /// As [`Engine::ingest_once`], of part of a source.
    ///
    /// # Errors
    /// As there; what was claimed is then found by looking at everything.
    pub async fn ingest_at(
        &self,
        loaded: &Loaded,
        node: &Node,
        run: Option<RunId>,
        at: At,
    ) -> Result<ScanReport, Fault> {
        let begun = Instant::now();
        let report = self.look_at(loaded, node, run, at).await;
        let problems = report.as_ref().map_or(1, |report| report.problems.len() as u64);
        self.metrics.looked(loaded.flow.id, &node.id, begun.elapsed(), problems);
        report
    }

    async fn look_at(&self, loaded: &Loaded, node: &Node, run: Option<RunId>, at: At) -> Result<ScanReport, Fault> {
        let source = node.source(self).await?;
        let id = self.source_id(&loaded.flow, &identity(loaded, node, &*source)).await.map_err(port_fault)?;
        let ledger = SourceLedger::new(self, id);
        let started = self.clock.now();
        let (limit, part) = match run {
            None => (CLAIM_ITEMS, CLAIM_ITEMS),
            Some(_) => (CLAIM_ITEMS_OF_RUN, CLAIM_ITEMS_OF_RUN / 2),
        };
        let scan = match at {
            At::Everything => source.claim(&ledger, started, limit).await,
            At::Names(names) => source.claim_changed(&ledger, names, started, limit).await,
        };
        let scan = scan.map_err(source_fault)?;
        reach("after-claim");
        let Scan { claims, complete, again, everything, problems, issues } = scan;
        let mut report =
            ScanReport { arrived: 0, complete, again, everything, problems, issues, shortage: None, not_stored: false };
        let _hold = self.content.hold();
        let mut claims = claims.into_iter();
        let mut stored = Stored::default();
        loop {
            let next: Vec<Claim> = claims.by_ref().take(part).collect();
            if next.is_empty() && stored.arrivals.is_empty() {
                break;
            }
            let Stored { arrivals, kept, .. } = std::mem::take(&mut stored);
            let (arrived, next) = futures::join!(
                async {
                    if arrivals.is_empty() {
                        Ok(0)
                    } else {
                        self.arrive(loaded, node, id, arrivals, run, started).await
                    }
                },
                self.store_part(&*source, next, started, &mut report),
            );
            stored = next;
            self.affirm(&*source, &ledger, std::mem::take(&mut stored.unchanged)).await;
            match arrived {
                Ok(new) => {
                    report.arrived += new;
                    kept.iter().for_each(|claim| source.arrived(claim));
                }
                Err(error) => {
                    kept.iter().chain(&stored.kept).for_each(|claim| source.forget(claim));
                    claims.for_each(|claim| source.forget(&claim));
                    return Err(port_fault(error));
                }
            }
        }
        Ok(report)
    }

    /// Notes in the ledger how files are now whose bytes are those of their latest arrival.
    async fn affirm(&self, source: &dyn Source, ledger: &SourceLedger<'_>, unchanged: Vec<(Claim, Arrival, FileStat)>) {
        if unchanged.is_empty() {
            return;
        }
        tracing::debug!(files = unchanged.len(), "files have the bytes that they had: they are no new versions");
        let arrivals = unchanged.iter().map(|(_, arrival, stat)| (*arrival, *stat)).collect();
        match ledger.affirm(arrivals).await {
            Ok(()) => unchanged.iter().for_each(|(claim, ..)| source.arrived(claim)),
            // They are read once more.
            Err(_) => unchanged.iter().for_each(|(claim, ..)| source.forget(claim)),
        }
    }

    /// Stores what was claimed. What can't be stored, or did not hold, is to be looked at again, as the report then says.
    async fn store_part(
        &self,
        source: &dyn Source,
        claims: Vec<Claim>,
        started: i64,
        report: &mut ScanReport,
    ) -> Stored {
        let retake = |report: &mut ScanReport| {
            let at = started.saturating_add(RETAKE);
            report.complete = false;
            report.again = Some(report.again.map_or(at, |again| again.min(at)));
        };
        // Kept until all of it is stored.
        let sizes: Vec<u64> = claims.iter().map(size_of).collect();
        let mut admitted = self.admit(&sizes).await;
        let mut fits = std::mem::take(&mut admitted.fits).into_iter();
        let (claims, left): (Vec<Claim>, Vec<Claim>) = claims.into_iter().partition(|_| fits.next().unwrap_or(true));
        if !left.is_empty() {
            // Offered again later.
            left.iter().for_each(|claim| source.forget(claim));
            retake(report);
            report.shortage = admitted.shortage.take().or(report.shortage.take());
            report.not_stored |= report.shortage.is_some();
        }
        let mut at_hand = self.put_at_hand(&claims).await.into_iter();
        let room = claims.len();
        let mut out =
            Stored { arrivals: Vec::with_capacity(room), kept: Vec::with_capacity(room), unchanged: Vec::new() };
        for claim in claims {
            let stored = at_hand.next().flatten();
            match self.store(source, &claim, stored).await {
                Ok(Kept::New(arrival)) => {
                    out.arrivals.push(arrival);
                    out.kept.push(claim);
                }
                Ok(Kept::Unchanged(arrival, stat)) => out.unchanged.push((claim, arrival, stat)),
                Ok(Kept::Changed) => retake(report),
                Err(fault) => {
                    report.problems.push((
                        claim.name.clone(),
                        SourceError { code: "not-stored", message: fault.message.clone(), hint: fault.hint.clone() },
                    ));
                    source.forget(&claim);
                    retake(report);
                    report.not_stored = true;
                }
            }
        }
        out
    }

    /// Stores all bytes at once that claims have at hand, in order. What could not be stored is tried one by one
    /// afterwards, so that each says for itself why.
    async fn put_at_hand(&self, claims: &[Claim]) -> Vec<Option<ContentRef>> {
        let bytes_of = |claim: &Claim| match &claim.body {
            Body::Bytes(bytes) => Some(bytes.clone()),
            Body::File(_) | Body::Unread => None,
        };
        let many: Vec<Bytes> = claims.iter().filter_map(bytes_of).collect();
        if many.len() < 2 {
            return Vec::new();
        }
        let Ok(stored) = self.content.put_many(many).await else { return Vec::new() };
        let mut stored = stored.into_iter();
        claims.iter().map(|claim| bytes_of(claim).and_then(|_| stored.next())).collect()
    }

    /// Stores the bytes of a claim, unless they are.
    async fn store(&self, source: &dyn Source, claim: &Claim, stored: Option<ContentRef>) -> Result<Kept, Fault> {
        let began = Instant::now();
        let stored = match (&claim.body, stored) {
            (_, Some(content)) => Ok(content),
            (Body::Unread, None) => Ok(ContentRef::empty()),
            (Body::Bytes(bytes), None) => self.content.put(bytes.clone()).await,
            (Body::File(file), None) => self.content.put_file(Arc::clone(file)).await,
        };
        let content = stored.map_err(port_fault)?;
        let stat = match source.confirm(claim).await.map_err(source_fault)? {
            Claimed::Whole(stat) => stat,
            Claimed::Changed => return Ok(Kept::Changed),
        };
        if let (Some(known), Some(stat), None) = (claim.known, stat, &claim.release)
            && known.hash == content.hash
        {
            return Ok(Kept::Unchanged(known.latest, stat));
        }
        Ok(Kept::New(NewArrival {
            path: claim.path.clone(),
            stat,
            name: claim.name.as_str().into(),
            content,
            media_type: claim.media_type.as_deref().map(Into::into),
            attributes: claim.attributes.clone().into(),
            release: claim.release.clone(),
            took: began.elapsed().as_micros() as u64,
        }))
    }

    /// Makes arrivals durable in the journal.
    pub(crate) async fn arrive(
        &self,
        loaded: &Loaded,
        node: &Node,
        source: opendmp_ports::journal::SourceId,
        arrivals: Vec<NewArrival>,
        run: Option<RunId>,
        started: i64,
    ) -> Result<u64, Error> {
        self.content.sync().await?;
        let named: Vec<_> = arrivals.iter().map(|arrival| arrival.content).collect();
        self.content.vouch(&named).await?;
        let count = arrivals.len();
        let bytes = arrivals.iter().map(|arrival| arrival.content.size).sum();
        let releases = arrivals.iter().any(|arrival| arrival.release.is_some());
        let trigger = || match arrivals.as_slice() {
            [one] => format!("`{}` in `{}`", opendmp_model::name::printable(&one.name), node.id),
            _ => format!("{count} items in `{}`", node.id),
        };
        let run = match run {
            Some(run) => RunChoice::Existing(run),
            None => RunChoice::New { mode: RunMode::Live, trigger: trigger() },
        };
        let readers: Vec<Reader> = node.readers_of(None).iter().map(|(reader, _)| reader.clone()).collect();
        let ingest = Ingest {
            lease: self.lease,
            flow: loaded.flow.id,
            version: loaded.version,
            processor: Arc::clone(&node.id),
            source,
            run,
            arrivals,
            readers,
            context: node.context(self).await?,
            started,
            at: self.clock.now(),
        };
        reach("before-arrive");
        let both = [Hint::Tasks(loaded.flow.id), Hint::Intents];
        let follows = if releases { &both[..] } else { &both[..1] };
        let ingested = if releases {
            // Not repeated where its answer was lost: the releases may be carried out by then, and the same claims would
            // count as new. The source offers again what did not arrive.
            self.heralded(self.journal.ingest(ingest), follows).await?
        } else {
            self.patiently("journal", || self.heralded(self.journal.ingest(ingest.clone()), follows)).await?
        };
        reach("after-arrive");
        self.metrics.took_in(loaded.flow.id, &node.id, bytes);
        let counts = StepCounts { done: ingested.new, emitted: ingested.new, ..StepCounts::default() };
        let processors = BTreeMap::from([(node.id.to_string(), counts)]);
        self.transport.send(Hint::Settled(Arc::new(Progress { flow: loaded.flow.id, run: ingested.run, processors })));
        follows.iter().for_each(|hint| self.transport.send(hint.clone()));
        Ok(ingested.new)
    }
}

/// How many bytes a claim has, as far as that can be told before it is read.
fn size_of(claim: &Claim) -> u64 {
    match (&claim.body, &claim.version) {
        (Body::Unread, _) => 0,
        (Body::Bytes(bytes), _) => bytes.len() as u64,
        (Body::File(_), Some(version)) => version.size,
        (Body::File(file), None) => file.metadata().map_or(0, |meta| meta.len()),
    }
}

/// What the ledger of an ingest is kept under: two flows may read the same place without taking from each other.
pub(crate) fn identity(loaded: &Loaded, node: &Node, source: &dyn Source) -> String {
    format!("{}/{}/{}", loaded.plan.slug, node.id, source.identity())
}
