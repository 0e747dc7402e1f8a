//! What all engines of a simulation share: the stores as they really are, the world outside, the die, and what was
//! observed. The rules it is judged by live in `check.rs`.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use futures::future::BoxFuture;
use opendmp_model::ids::{Arrival, ContentHash, Pass, SlotId, TaskId};
use opendmp_model::item::ContentRef;
use opendmp_ports::content::MemoryContent;
use opendmp_ports::journal::{Claimed, IntentId, Lease, MemoryJournal};
use opendmp_ports::{Content, Error, ErrorKind, Journal};

use super::Setup;
use super::executor::{Owner, Yield};
use super::flows::Plans;
use super::outside::{Place, Stored};
use super::rng::Rng;
use super::time::Time;

/// How long what was under way when the journal went may go on, in milliseconds.
const UNDER_WAY: i64 = 400;

/// What a violation is a violation of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Law {
    /// Nothing lost.
    L1,
    /// One truth.
    L2,
    /// Bytes first, world last.
    L3,
    /// Sources let go last.
    L4,
    /// Every dataset can explain itself.
    L5,
    /// A source version arrives once.
    Once,
    /// An older result never takes a newer one's place.
    Order,
    /// A dead letter has used up its retries.
    Retries,
    /// What a worker was lost with runs alone.
    Alone,
    /// Work comes to rest when nothing fails any more, and the numbers say so.
    Rest,
}

/// A broken rule, as it was seen.
#[derive(Clone, Debug)]
pub struct Violation {
    pub law: Law,
    pub message: String,
}

/// The origin of bytes that a step made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub parent: ContentHash,
    pub processor: String,
    pub nonce: u64,
}

/// An export that some engine carries out: of which slot, arrival and pass, the content, and under which lease.
#[derive(Clone, Copy, Debug)]
pub struct Exporting {
    pub slot: SlotId,
    pub key: (Arrival, Pass),
    pub hash: ContentHash,
    pub lease: Lease,
}

/// What was observed.
#[derive(Default)]
pub struct Seen {
    /// Since when the journal's file is gone.
    pub gone: Option<i64>,
    pub places: BTreeMap<String, Place>,
    /// Folders that had a place and were moved away, by place and folder.
    pub away: BTreeMap<(String, u64), Place>,
    /// Folders, by place, in which something may lie set aside: what sources have recorded of them.
    pub recorded: BTreeSet<(String, u64)>,
    /// Next number for a version, an inode, a claim.
    pub number: u64,
    pub targets: BTreeMap<(String, Vec<u8>), Stored>,
    pub made: HashMap<ContentHash, Made>,
    /// Leases that were not fenced.
    pub leases: BTreeSet<Lease>,
    pub claims: BTreeMap<TaskId, (Lease, Claimed)>,
    pub settled: BTreeSet<TaskId>,
    pub intents: BTreeMap<IntentId, (Lease, Option<(String, Vec<u8>)>)>,
    /// The attempts at an intent that ended with a fault of its own.
    pub failed_intents: BTreeMap<IntentId, BTreeSet<u32>>,
    pub exporting: BTreeMap<(Owner, String, Vec<u8>), Exporting>,
    /// All content that a commit has named.
    pub named: BTreeSet<ContentRef>,
    /// The arrivals of each version, by the source that took it.
    pub arrived: BTreeMap<u64, BTreeMap<String, Vec<Arrival>>>,
    /// Versions with the bytes of the latest arrival of their path, by the source that found that out.
    pub unchanged: BTreeMap<u64, BTreeSet<String>>,
    pub last_arrival: Arrival,
    /// By slot what each arrival and pass came to.
    pub results: BTreeMap<SlotId, BTreeMap<(Arrival, Pass), ContentHash>>,
    /// Version and processor by number of context.
    pub contexts: HashMap<u32, (String, String)>,
    /// Engines that a poisonous item took down.
    pub poisoned: BTreeSet<Owner>,
    /// Ingests that an engine found empty.
    pub clean: BTreeSet<(Owner, String)>,
    pub commits: u64,
    pub violation: Option<Violation>,
    pub counted: BTreeMap<&'static str, u64>,
    notes: VecDeque<String>,
}

/// See the module.
pub struct World {
    pub setup: Setup,
    /// The journal and the content as they are; what the engines are given may lie about them.
    pub truth: Arc<MemoryJournal>,
    pub disk: Arc<MemoryContent>,
    pub journal: Arc<dyn Journal>,
    pub content: Arc<dyn Content>,
    pub time: Time,
    pub plans: Mutex<Plans>,
    rng: Mutex<Rng>,
    seen: Mutex<Seen>,
    calm: AtomicBool,
    verbose: bool,
    spawned: Mutex<Vec<(Owner, BoxFuture<'static, ()>)>>,
}

impl World {
    pub fn new(setup: Setup, seed: u64, verbose: bool) -> Arc<Self> {
        let truth = Arc::new(MemoryJournal::default());
        let disk = Arc::new(MemoryContent::default());
        let journal = super::mutants::journal(setup.mutant, &truth);
        let content = super::mutants::content(setup.mutant, &disk);
        Arc::new(Self {
            setup,
            truth,
            disk,
            journal,
            content,
            time: Time::default(),
            plans: Mutex::default(),
            rng: Mutex::new(Rng::new(seed)),
            seen: Mutex::default(),
            calm: AtomicBool::new(false),
            verbose,
            spawned: Mutex::default(),
        })
    }

    pub fn rng(&self) -> MutexGuard<'_, Rng> {
        self.rng.lock().unwrap()
    }

    pub fn below(&self, n: u64) -> u64 {
        self.rng().below(n)
    }

    pub fn chance(&self, per_mille: u32) -> bool {
        self.rng().chance(per_mille)
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// For how long the journal's file has been gone, in milliseconds.
    pub fn gone_for(&self) -> Option<i64> {
        let since = self.seen().gone?;
        Some(self.time.now() - since)
    }

    /// Nothing is changed outside on the word of a journal that is gone, but for what was under way.
    pub fn changes_outside(&self, law: Law, what: &str) {
        if self.gone_for().is_some_and(|gone| gone > UNDER_WAY) {
            self.broken(law, format!("{what} although the journal was gone"));
        }
    }

    /// From now on nothing fails that was not asked to, and nobody outside acts.
    pub fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub fn spawn(&self, owner: Owner, future: impl Future<Output = ()> + Send + 'static) {
        self.spawned.lock().unwrap().push((owner, Box::pin(future)));
    }

    pub fn take_spawned(&self) -> Vec<(Owner, BoxFuture<'static, ()>)> {
        std::mem::take(&mut self.spawned.lock().unwrap())
    }

    /// Tells what happens, when a seed is replayed.
    pub fn note(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            let line = format!("{:>6} {}", self.time.now() - 1_700_000_000_000, what());
            let notes = &mut self.seen().notes;
            notes.push_back(line);
            if notes.len() > 4_000 {
                notes.pop_front();
            }
        }
    }

    pub fn notes(&self) -> Vec<String> {
        self.seen().notes.iter().cloned().collect()
    }

    /// Counts something that happened, so that a test can tell that it did.
    pub fn count(&self, what: &'static str) {
        *self.seen().counted.entry(what).or_default() += 1;
    }

    /// Notes the first broken rule.
    pub fn broken(&self, law: Law, message: impl Into<String>) {
        let message = message.into();
        self.note(|| format!("!! {law:?}: {message}"));
        self.seen().violation.get_or_insert(Violation { law, message });
    }

    pub fn violation(&self) -> Option<Violation> {
        self.seen().violation.clone()
    }
}

/// Where a port's calls of one engine pass: they give way there, and may fail.
#[derive(Clone)]
pub struct Gate {
    pub world: Arc<World>,
    pub owner: Owner,
}

impl Gate {
    pub async fn give_way(&self) {
        let times = self.world.below(3);
        for _ in 0..times {
            Yield::default().await;
        }
    }

    /// Before a call has its effect; an error means that it has none.
    pub async fn before(&self, per_mille: u32, operation: &'static str) -> Result<(), Error> {
        self.give_way().await;
        self.fail(per_mille, operation, "before")
    }

    /// After a call had its effect; an error means that its answer was lost.
    pub async fn after(&self, per_mille: u32, operation: &'static str) -> Result<(), Error> {
        let failed = self.fail(per_mille, operation, "after");
        self.give_way().await;
        failed
    }

    fn fail(&self, per_mille: u32, operation: &'static str, when: &'static str) -> Result<(), Error> {
        if self.world.is_calm() || !self.world.chance(per_mille) {
            return Ok(());
        }
        let kind = *self.world.rng().pick(&[ErrorKind::Unavailable, ErrorKind::Unavailable, ErrorKind::Full]);
        self.world.note(|| format!("#{} {operation} fails {when} its effect", self.owner));
        self.world.count("failed calls");
        Err(Error::new(kind, operation, format!("made to fail {when} its effect")))
    }
}
