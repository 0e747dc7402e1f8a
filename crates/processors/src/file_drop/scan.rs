//! A look through the folder, in steps: it gathers a batch of paths, asks for what the ledger knows of them, judges
//! each file, and claims what stands still. Memory is bounded by the batch and by the window of names that is sorted at
//! a time. A look at everything stops after a while and goes on where it stopped; in between, and afterwards, looks at
//! single names (told, given back, or waiting for their time) cost only themselves.

mod brief;
mod judge;
mod pass;
mod shared;
mod waiting;

use std::collections::HashMap;

use bytes::Bytes;
use opendmp_model::ids::Arrival;
use opendmp_model::ledger::{FileStat, Known};
use opendmp_model::name;
use opendmp_processor::{Body, Claim, SourceError};

use self::pass::Pass;
pub(super) use self::shared::Shared;
pub(super) use self::waiting::Changed;
use self::waiting::Waiting;
use super::After;
use super::area::{Areas, Present};
use super::aside::{self, Place};
use super::no_root;
use super::still::{Look, Still, TICK, same};
use crate::beneath::Identity;

/// How many paths the ledger is asked for at a time.
const BATCH: usize = 1_000;
/// How many files one call looks at: what is told meanwhile is taken in between.
const SLICE: usize = 4_096;
/// How many bytes one call reads.
const MOST_BYTES: usize = 16 << 20;
/// How many files one call leaves open.
const MOST_OPEN: usize = 128;
/// How many problems one call tells.
const MOST_PROBLEMS: usize = 1_000;
/// How many files are remembered as told of; beyond it they are told again.
const MOST_TOLD: usize = 10_000;
/// The least time until a file is looked at again that someone is writing, in milliseconds.
const POLL: i64 = 250;

/// Something to be judged.
#[derive(Debug)]
pub(super) enum Found {
    /// A file of the folder.
    Fresh(Vec<u8>),
    /// A claimed file that nobody is at work with.
    Left(Place, FileStat),
    /// A file offered earlier, perhaps in the ledger by now.
    Offered(Vec<u8>),
}

impl Found {
    /// The ledger's key.
    pub(super) fn path(&self) -> &[u8] {
        match self {
            Found::Fresh(path) | Found::Offered(path) => path,
            Found::Left(place, _) => &place.path,
        }
    }

    /// Before which other versions of its path it comes.
    fn age(&self) -> (bool, i64, i64) {
        match self {
            Found::Left(_, stat) => (false, stat.mtime, stat.ctime),
            Found::Fresh(_) | Found::Offered(_) => (true, 0, 0),
        }
    }

    /// What names it in a look at names; what was offered is known without.
    fn key(self) -> Option<Vec<u8>> {
        match self {
            Found::Fresh(path) => Some(path),
            Found::Left(place, _) => Some(place.key()),
            Found::Offered(_) => None,
        }
    }

    /// The release to be asked for, where there is one.
    pub(super) fn release(&self) -> Option<Bytes> {
        match self {
            Found::Left(place, stat) => Some(place.release(stat)),
            Found::Fresh(_) | Found::Offered(_) => None,
        }
    }
}

/// What the ledger says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub known: Option<Known>,
    pub releasing: bool,
}

/// What a step needs next.
pub(super) enum Next {
    /// Answers for these.
    Ask(Vec<Found>),
    /// Nothing: the call is over.
    Over(Over),
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Over {
    /// Whether nothing more is there.
    pub complete: bool,
    /// When to look again at names.
    pub again: Option<i64>,
    /// When to look again at everything.
    pub everything: Option<i64>,
}

/// What a call looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Everything.
    Everything,
    /// What is to be looked at again, by name.
    Names,
}

/// What is kept between calls.
pub(super) struct Scanner {
    /// The look at everything that is under way.
    pass: Option<Pass>,
    /// The look at names that is under way, within one call.
    brief: Option<Pass>,
    passes: u64,
    /// The folder that was looked at as a whole last.
    looked_at: Option<Identity>,
    /// Whether names were lost that only a look at everything finds again.
    unseen: bool,
    waiting: Waiting,
    areas: Areas,
    /// Arrivals that were looked at again, and are the same.
    sure: Vec<(Arrival, FileStat)>,
    still: Still,
    told: HashMap<Vec<u8>, (FileStat, u64)>,
    /// Claimed and not yet handed over; a call that is cancelled leaves them to the next.
    ready: Vec<Claim>,
    /// Bytes in memory and open files of `ready`.
    load: (usize, usize),
    /// Not yet told.
    problems: Vec<(String, SourceError)>,
    /// What is wrong with the folder, as the last look at everything found it.
    issues: Vec<SourceError>,
}

impl Scanner {
    pub(super) fn new(present: &Present) -> Self {
        Self {
            pass: None,
            brief: None,
            passes: 0,
            looked_at: None,
            unseen: false,
            waiting: Waiting::default(),
            areas: Areas::new(present),
            sure: Vec::new(),
            still: Still::default(),
            told: HashMap::new(),
            ready: Vec::new(),
            load: (0, 0),
            problems: Vec::new(),
            issues: Vec::new(),
        }
    }

    /// Stops the look, after an error.
    pub(super) fn stop(&mut self) {
        (self.pass, self.brief) = (None, None);
        self.unseen = true;
    }

    /// Whether something is to be handed over that an earlier call claimed.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// What was claimed, and what is to be told.
    pub(super) fn hand_over(&mut self) -> (Vec<Claim>, Vec<(String, SourceError)>) {
        self.load = (0, 0);
        (std::mem::take(&mut self.ready), std::mem::take(&mut self.problems))
    }

    /// What is wrong with the folder.
    pub(super) fn issues(&self) -> Vec<SourceError> {
        self.issues.clone()
    }

    /// The arrivals that were found to be the same, to be told to the ledger.
    pub(super) fn hand_over_sure(&mut self) -> Vec<(Arrival, FileStat)> {
        std::mem::take(&mut self.sure)
    }

    fn under_way(&mut self, at: At) -> &mut Option<Pass> {
        match at {
            At::Everything => &mut self.pass,
            At::Names => &mut self.brief,
        }
    }

    /// Takes answers for what [`Next::Ask`] asked.
    pub(super) fn answer(&mut self, at: At, answers: impl Iterator<Item = (Found, Answer)>) {
        if let Some(pass) = self.under_way(at) {
            pass.asking = false;
            pass.batch.extend(answers);
        }
    }

    /// Begins a call, which may find what an earlier one left that was cancelled.
    pub(super) fn begin(&mut self, shared: &Shared, at: At) {
        // Its names were taken along.
        self.unseen |= self.brief.take().is_some();
        if at == At::Everything && self.pass.as_ref().is_some_and(|pass| pass.asking) {
            self.pass = None;
        }
        if let Some(pass) = self.pass.as_mut().filter(|_| at == At::Everything) {
            // What the call before claimed is in the ledger by now.
            for found in shared.offered_in_place() {
                pass.window.push_front(found);
            }
        }
    }

    /// Goes on until something is to be asked, `limit` is reached, `seen` is, or everything was looked at.
    pub(super) fn step(
        &mut self,
        shared: &Shared,
        owner: &str,
        at: At,
        now: i64,
        limit: usize,
        seen: &mut usize,
    ) -> Result<Next, SourceError> {
        let owner = aside::owner(owner);
        let taken = self.under_way(at).take();
        let mut pass = match (taken, at) {
            (Some(pass), At::Everything) if !is_now(shared, &pass)? => {
                // Another folder has the path by now: what was seen of the one before says nothing of it.
                self.passes += 1;
                Pass::begin(self, shared, &owner)?
            }
            (Some(mut pass), _) => {
                // Sub-folders are looked up anew with each step.
                pass.near = None;
                pass
            }
            (None, At::Everything) => {
                self.passes += 1;
                self.unseen = false;
                Pass::begin(self, shared, &owner)?
            }
            (None, At::Names) => match Pass::of_names(self, shared, now)? {
                Some(pass) => pass,
                None => return Ok(Next::Over(self.end_of_names(None, now))),
            },
        };
        // What is set aside is read when the kernel says that nobody writes it, whatever the stamps say.
        let tick = if shared.after != After::Keep && shared.asks_writers() { 0 } else { TICK };
        let look = Look { now, settle: shared.settle, tick, foreign_clock: pass.foreign_clock, scan: pass.number };
        let mut call = Call { shared, owner: &owner, look, scanner: self };
        loop {
            while !call.is_full(limit) && *seen < SLICE {
                let Some((found, answer)) = pass.batch.pop_front() else { break };
                *seen += 1;
                pass.judge(&mut call, found, &answer)?;
            }
            if pass.batch.is_empty() && pass.window.is_empty() {
                pass.fill(&mut call)?;
                if pass.window.is_empty() {
                    return Ok(Next::Over(match at {
                        At::Everything => call.scanner.end(&pass, shared, now),
                        At::Names => call.scanner.end_of_names(Some(pass), now),
                    }));
                }
            }
            if call.is_full(limit) || *seen >= SLICE {
                return Ok(Next::Over(match at {
                    At::Everything => {
                        self.pass = Some(pass);
                        Over { complete: false, again: self.waiting.first(), everything: Some(now) }
                    }
                    At::Names => self.end_of_names(Some(pass), now),
                }));
            }
            if pass.batch.is_empty() {
                let many = pass.window.len().min(BATCH);
                let asked = pass.window.drain(..many).collect();
                pass.asking = true;
                *self.under_way(at) = Some(pass);
                return Ok(Next::Ask(asked));
            }
        }
    }

    fn end(&mut self, pass: &Pass, shared: &Shared, now: i64) -> Over {
        self.still.end_of_scan(pass.number);
        self.waiting.end_of_scan(pass.number);
        self.told.retain(|_, (_, scan)| *scan >= pass.number);
        self.areas.rest();
        shared.roots.tidy(shared.present.root().as_ref());
        // A folder put in the place of the one that was walked has not been looked at.
        let is_same = is_now(shared, pass).unwrap_or(false);
        let complete = pass.complete && is_same;
        let soon = now.saturating_add(shared.settle.max(POLL));
        let unseen = pass.unseen || self.unseen || !is_same;
        Over { complete, again: self.waiting.first(), everything: unseen.then_some(soon) }
    }

    /// Ends a call that looked at names; those it did not come to wait for the next.
    fn end_of_names(&mut self, pass: Option<Pass>, now: i64) -> Over {
        if let Some(pass) = pass {
            let number = pass.number;
            self.unseen |= pass.unseen || pass.walk.is_some() || !pass.folders.is_empty();
            for found in pass.batch.into_iter().map(|(found, _)| found).chain(pass.window) {
                if let Some(key) = found.key() {
                    self.unseen |= !self.waiting.put(&key, now, number);
                }
            }
        }
        self.rest(now)
    }

    /// What is left to look at, between two looks.
    pub(super) fn rest(&self, now: i64) -> Over {
        let again = self.waiting.first();
        let complete = again.is_none() && !self.unseen && self.pass.is_none();
        Over { complete, again, everything: self.unseen.then_some(now) }
    }
}

/// Whether the folder that is walked is the one that has the path.
fn is_now(shared: &Shared, pass: &Pass) -> Result<bool, SourceError> {
    let now = shared.roots.now().map_err(|error| no_root(&shared.roots.location, &error))?;
    Ok(now.is(&pass.root))
}

/// One call of [`Scanner::step`].
struct Call<'a> {
    shared: &'a Shared,
    owner: &'a [u8],
    look: Look,
    scanner: &'a mut Scanner,
}

impl Call<'_> {
    fn is_full(&self, limit: usize) -> bool {
        let (bytes, open) = self.scanner.load;
        self.scanner.ready.len() >= limit || bytes >= MOST_BYTES || open >= MOST_OPEN
    }

    /// Tells of a problem with a version of a file, once.
    fn tell(&mut self, path: &[u8], stat: FileStat, problem: SourceError) {
        let Scanner { told, problems, .. } = &mut *self.scanner;
        match told.get_mut(path) {
            Some((before, scan)) if same(before, &stat) => *scan = self.look.scan,
            // The next look tells of the others.
            _ if problems.len() >= MOST_PROBLEMS => {}
            _ => {
                if told.len() >= MOST_TOLD {
                    told.clear();
                }
                told.insert(path.to_vec(), (stat, self.look.scan));
                problems.push((name::from_bytes(path), problem));
            }
        }
    }

    fn offer(&mut self, key: Vec<u8>, stat: FileStat, claim: Claim) {
        match &claim.body {
            Body::Bytes(bytes) => self.scanner.load.0 += bytes.len(),
            _ => self.scanner.load.1 += 1,
        }
        self.scanner.still.forget(&key);
        self.shared.offered().insert(key, stat);
        self.scanner.ready.push(claim);
    }
}
