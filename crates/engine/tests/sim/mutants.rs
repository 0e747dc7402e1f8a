//! Ports that lie, each in one way, to see that the rules notice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use opendmp_model::history::Context;
use opendmp_model::ids::{Arrival, ContentHash, IdPrefix, ItemId, PathHash, SlotId, TaskId};
use opendmp_model::item::ContentRef;
use opendmp_model::ledger::{FileStat, Known};
use opendmp_model::manifest::Load;
use opendmp_ports::content::{Body, Collection, Hold, MemoryContent, Usage};
use opendmp_ports::journal::*;
use opendmp_ports::{Content, Journal, Result};

use super::ports::journal;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The journal loses one of the tasks that a settlement makes.
    DropsTask,
    /// The journal loses a dead letter of a settlement.
    DropsDeadLetter,
    /// The journal loses a task of an ingest's arrivals: the second reader's.
    ForgetsReader,
    /// The journal takes the settlement of a claim that was lost.
    AcceptsLate,
    /// The journal takes over what an earlier attempt left: its tasks with the later attempt's history.
    MixesAttempts,
    /// The journal loses what an aggregate is to hold.
    DropsHeld,
    /// The journal keeps holding what was taken to be joined.
    KeepsJoined,
    /// The journal forgets a part of a manifest.
    SkipsBlock,
    /// The journal hands a task that is under way to another worker.
    ClaimsTwice,
    /// The journal keeps no ledger of source items.
    NoLedger,
    /// The journal does not notice that its file is gone.
    WorksWithoutJournal,
    /// A sync of content does nothing.
    NoSync,
    /// The source lets go what it has just claimed.
    ReleasesAtClaim,
    /// The source lets go what lies under the claimed name by now.
    ReleasesByPath,
    /// The source says of a file whatever its bytes are that they are those of its latest arrival.
    TakesAllForUnchanged,
    /// The source sets files aside in a folder that had its place before, and looks for them in the one that has it now.
    ClaimsIntoFormerFolder,
    /// The source takes a release for done because the folder that has the place now does not have the file.
    ReleasesElsewhere,
    /// The sink writes half.
    TornSink,
    /// A step writes its result to the world itself.
    EagerStep,
}

/// The journal that engines get.
pub fn journal(mutant: Option<Mutant>, truth: &Arc<MemoryJournal>) -> Arc<dyn Journal> {
    match mutant {
        Some(mutant) => Arc::new(Liar { mutant, truth: Arc::clone(truth), kept: Mutex::default() }),
        None => Arc::clone(truth) as Arc<dyn Journal>,
    }
}

/// The content that engines get.
pub fn content(mutant: Option<Mutant>, disk: &Arc<MemoryContent>) -> Arc<dyn Content> {
    match mutant {
        Some(Mutant::NoSync) => Arc::new(Forgetful(Arc::clone(disk))),
        _ => Arc::clone(disk) as Arc<dyn Content>,
    }
}

#[derive(Default)]
struct Kept {
    settlements: u64,
    claimed: BTreeMap<TaskId, Claimed>,
    latest: BTreeMap<TaskId, (Lease, u32)>,
    fenced: BTreeMap<TaskId, Settlement>,
}

struct Liar {
    mutant: Mutant,
    truth: Arc<MemoryJournal>,
    kept: Mutex<Kept>,
}

impl Liar {
    fn inner(&self) -> &dyn Journal {
        &*self.truth
    }

    async fn pass<T>(&self, _: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
        call.await
    }

    /// The settlement as this journal takes it.
    fn twist(&self, mut settlement: Settlement) -> Settlement {
        let mut kept = self.kept.lock().unwrap();
        kept.settlements += 1;
        match self.mutant {
            Mutant::DropsTask if kept.settlements.is_multiple_of(3) => {
                settlement.tasks.pop();
            }
            Mutant::DropsDeadLetter => {
                settlement.dead_letters.pop();
            }
            Mutant::DropsHeld if kept.settlements.is_multiple_of(3) => {
                settlement.held.pop();
            }
            Mutant::KeepsJoined => {
                if let Some(closing) = &mut settlement.closing {
                    closing.whole.pop();
                }
            }
            Mutant::SkipsBlock => {
                for task in &mut settlement.tasks {
                    if let Load::Expand(manifest) = &mut task.load {
                        manifest.next += u32::from(manifest.next > 0);
                    }
                }
            }
            Mutant::AcceptsLate => {
                if let Some((lease, attempt)) = kept.latest.get(&settlement.task) {
                    (settlement.lease, settlement.attempt) = (*lease, *attempt);
                }
            }
            Mutant::MixesAttempts => {
                if let Some(earlier) = kept.fenced.remove(&settlement.task) {
                    settlement.tasks = earlier.tasks;
                    settlement.revisions = earlier.revisions;
                }
            }
            _ => {}
        }
        settlement
    }
}

journal! { Liar;
    async fn context(&self, context: Context) -> Result<u32> {
        self.truth.context(context).await
    }

    async fn affirm(&self, source: SourceId, arrivals: Vec<(Arrival, FileStat)>) -> Result<()> {
        self.truth.affirm(source, arrivals).await
    }

    async fn ingest(&self, mut ingest: Ingest) -> Result<Ingested> {
        match self.mutant {
            Mutant::ForgetsReader => ingest.readers.truncate(0),
            Mutant::NoLedger => ingest.arrivals.iter_mut().for_each(|arrival| {
                arrival.path.extend(format!("?{}", self.kept.lock().unwrap().settlements).into_bytes());
                self.kept.lock().unwrap().settlements += 1;
            }),
            _ => {}
        }
        self.truth.ingest(ingest).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>> {
        let mut claimed = self.truth.claim(request).await?;
        let mut kept = self.kept.lock().unwrap();
        if self.mutant == Mutant::ClaimsTwice && claimed.is_empty() && !request.suspects {
            claimed.extend(kept.claimed.first_key_value().map(|(_, claimed)| claimed.clone()));
        }
        for claimed in &claimed {
            kept.latest.insert(claimed.task.id, (request.lease, claimed.attempt));
            if claimed.task.lost == 0 {
                kept.claimed.insert(claimed.task.id, claimed.clone());
            }
        }
        Ok(claimed)
    }

    async fn unclaim(&self, lease: Lease, tasks: Vec<TaskId>) -> Result<()> {
        self.truth.unclaim(lease, tasks).await
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Result<Vec<Settled>> {
        let mut out = Vec::new();
        for settlement in batch {
            let twisted = self.twist(settlement.clone());
            let mut settled = self.truth.settle(vec![twisted]).await?;
            let mut kept = self.kept.lock().unwrap();
            kept.claimed.remove(&settlement.task);
            if settled == [Settled::Fenced] {
                kept.fenced.insert(settlement.task, settlement);
            }
            out.append(&mut settled);
        }
        Ok(out)
    }

    async fn claim_intents(&self, lease: Lease, now: i64, limit: usize) -> Result<Vec<Intent>> {
        self.truth.claim_intents(lease, now, limit).await
    }

    async fn finish(&self, batch: Vec<Finished>) -> Result<bool> {
        self.truth.finish(batch).await
    }
}

/// Content that is never durable.
struct Forgetful(Arc<MemoryContent>);

#[async_trait]
impl Content for Forgetful {
    fn hold(&self) -> Hold {
        self.0.hold()
    }

    async fn collect(&self) -> Result<Box<dyn Collection>> {
        self.0.collect().await
    }

    async fn follow_journal(&self, mark: &JournalMark) -> Result<()> {
        self.0.follow_journal(mark).await
    }

    async fn note_journal(&self, mark: &JournalMark) -> Result<()> {
        self.0.note_journal(mark).await
    }

    async fn vouch(&self, named: &[ContentRef]) -> Result<()> {
        self.0.vouch(named).await
    }

    async fn put(&self, bytes: Bytes) -> Result<ContentRef> {
        self.0.put(bytes).await
    }

    async fn put_file(&self, file: Arc<std::fs::File>) -> Result<ContentRef> {
        self.0.put_file(file).await
    }

    async fn put_reader(&self, reader: Box<dyn std::io::Read + Send>) -> Result<ContentRef> {
        self.0.put_reader(reader).await
    }

    async fn sync(&self) -> Result<()> {
        Ok(())
    }

    async fn open(&self, content: &ContentRef) -> Result<Body> {
        self.0.open(content).await
    }

    async fn usage(&self) -> Result<Usage> {
        self.0.usage().await
    }
}
