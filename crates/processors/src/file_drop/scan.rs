//! One look through the folder, in steps: it gathers a batch of paths, asks for what the ledger knows of them, judges
//! each file, and claims what stands still. Memory is bounded by the batch and by the window of names that is sorted at
//! a time; a look that has claimed its fill goes on where it stopped.

mod judge;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use opendmp_model::ledger::{FileStat, Known};
use opendmp_model::name;
use opendmp_processor::{Body, Claim, SourceError};

use super::aside::{self, CLAIMED, Life, Place};
use super::pattern::Matcher;
use super::still::{Look, Still, TICK, same};
use super::walk::{Met, Walk};
use super::{After, failed, no_root};
use crate::beneath::{Folder, join, version};

/// How many paths the ledger is asked for at a time.
const BATCH: usize = 1_000;
/// How many names are sorted at a time: within a window files are claimed by name, from window to window as the file
/// system lists them.
const WINDOW: usize = 65_536;
/// How many bytes of names a window has.
const WINDOW_BYTES: usize = 8 << 20;
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

/// What does not change while a source is open, and what all its calls share.
pub(super) struct Shared {
    pub root: PathBuf,
    pub written: String,
    pub matcher: Matcher,
    pub recursive: bool,
    pub settle: i64,
    pub after: After,
    pub to: Option<PathBuf>,
    pub life: Life,
    pub tokens: AtomicU64,
    /// Whether the kernel can be asked for writers, once that was tried.
    pub leases: OnceLock<bool>,
    /// What was claimed and is neither known to the ledger nor given back, by path from the root.
    pub offered: Mutex<HashMap<Vec<u8>, FileStat>>,
}

impl Shared {
    /// Whether the kernel can be asked for writers, as far as is known.
    pub(super) fn asks_writers(&self) -> bool {
        self.leases.get() == Some(&true)
    }

    pub(super) fn offered(&self) -> std::sync::MutexGuard<'_, HashMap<Vec<u8>, FileStat>> {
        self.offered.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// How many folders of claims one look goes through; the next goes on.
const MOST_TOKENS: usize = 10_000;

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
    Over {
        /// Whether nothing more is there.
        complete: bool,
        /// When to look again.
        again: Option<i64>,
    },
}

/// A look under way.
struct Pass {
    number: u64,
    root: Folder,
    foreign_clock: bool,
    /// The folders of claims that are to be walked, before the folder itself.
    tokens: VecDeque<Vec<u8>>,
    /// The walk under way, and the claim's folder it goes through.
    walk: Option<(Option<Place>, Walk)>,
    walked: bool,
    window: VecDeque<Found>,
    batch: VecDeque<(Found, Answer)>,
    /// Whether a batch is out to be asked for; a call that was cancelled meanwhile has taken it along.
    asking: bool,
    /// The folder opened last.
    near: Option<(Vec<u8>, Arc<Folder>)>,
    /// Where claimed files go in this call.
    token: Option<(Vec<u8>, Arc<Folder>)>,
    again: Option<i64>,
    complete: bool,
    /// A path of which an older version waits, so that newer ones wait behind it.
    held: Option<Vec<u8>>,
}

/// What is kept between calls.
#[derive(Default)]
pub(super) struct Scanner {
    pass: Option<Pass>,
    passes: u64,
    still: Still,
    told: HashMap<Vec<u8>, (FileStat, u64)>,
    /// Claimed and not yet handed over; a call that is cancelled leaves them to the next.
    ready: Vec<Claim>,
    /// Bytes in memory and open files of `ready`.
    load: (usize, usize),
    /// Not yet told.
    problems: Vec<(String, SourceError)>,
}

impl Scanner {
    /// Stops the look, after an error.
    pub(super) fn stop(&mut self, owner: &str) {
        if let Some(mut pass) = self.pass.take() {
            pass.end_of_call(&aside::owner(owner));
        }
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

    /// Takes answers for what [`Next::Ask`] asked.
    pub(super) fn answer(&mut self, answers: impl Iterator<Item = (Found, Answer)>) {
        if let Some(pass) = &mut self.pass {
            pass.asking = false;
            pass.batch.extend(answers);
        }
    }

    /// Goes on until something is to be asked, `limit` is reached, or everything was looked at.
    pub(super) fn step(&mut self, shared: &Shared, owner: &str, now: i64, limit: usize) -> Result<Next, SourceError> {
        let owner = aside::owner(owner);
        let mut pass = match self.pass.take() {
            Some(pass) if !pass.asking => pass,
            other => {
                if let Some(mut cancelled) = other {
                    cancelled.end_of_call(&owner);
                }
                self.passes += 1;
                Pass::begin(shared, &owner, self.passes)?
            }
        };
        // What is set aside is read when the kernel says that nobody writes it, whatever the stamps say.
        let tick = if shared.after != After::Keep && shared.asks_writers() { 0 } else { TICK };
        let look = Look { now, settle: shared.settle, tick, foreign_clock: pass.foreign_clock, scan: pass.number };
        let mut call = Call { shared, owner: &owner, look, scanner: self };
        loop {
            while !call.is_full(limit) {
                let Some((found, answer)) = pass.batch.pop_front() else { break };
                pass.judge(&mut call, found, &answer)?;
            }
            if pass.batch.is_empty() && pass.window.is_empty() {
                pass.fill(&mut call)?;
                if pass.window.is_empty() {
                    pass.end_of_call(&owner);
                    return Ok(call.scanner.end(&pass, shared, now));
                }
            }
            if call.is_full(limit) {
                pass.end_of_call(&owner);
                self.pass = Some(pass);
                return Ok(Next::Over { complete: false, again: Some(now) });
            }
            if pass.batch.is_empty() {
                let many = pass.window.len().min(BATCH);
                let asked = pass.window.drain(..many).collect();
                pass.asking = true;
                self.pass = Some(pass);
                return Ok(Next::Ask(asked));
            }
        }
    }

    fn end(&mut self, pass: &Pass, shared: &Shared, now: i64) -> Next {
        self.still.end_of_scan(pass.number);
        self.told.retain(|_, (_, scan)| *scan == pass.number);
        // A folder put in the place of the one that was walked has not been looked at.
        let is_same = Folder::open(&shared.root).and_then(|root| Ok(root.identity()? == pass.root.identity()?));
        let complete = pass.complete && is_same.unwrap_or(false);
        let soon = now.saturating_add(shared.settle.max(POLL));
        Next::Over { complete, again: if complete { None } else { Some(pass.again.unwrap_or(soon)) } }
    }
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

impl Pass {
    fn begin(shared: &Shared, owner: &[u8], number: u64) -> Result<Self, SourceError> {
        let root = Folder::open(&shared.root).map_err(|error| no_root(&shared.root, &error))?;
        let mut tokens = VecDeque::new();
        let mut complete = true;
        if let Ok(area) = root.descend(&join(CLAIMED, owner)) {
            for (token, _) in area.list().into_iter().flatten().flatten() {
                if !shared.life.looks_after(&token) {
                    continue;
                }
                if tokens.len() >= MOST_TOKENS {
                    complete = false;
                    break;
                }
                // Folders that a crash left empty.
                if shared.life.made(&token) || area.remove_folder(&token).is_err() {
                    tokens.push_back(token);
                }
            }
        }
        let window = shared.offered().keys().map(|key| Found::Offered(key.clone())).collect();
        let foreign_clock = root.foreign_clock();
        Ok(Self {
            number,
            root,
            foreign_clock,
            tokens,
            walk: None,
            walked: false,
            window,
            batch: VecDeque::new(),
            asking: false,
            near: None,
            token: None,
            again: None,
            complete,
            held: None,
        })
    }

    /// Begins the next walk, if there is one more.
    fn next_walk(&mut self, call: &Call<'_>) -> Result<bool, SourceError> {
        while let Some(token) = self.tokens.pop_front() {
            let place = Place { owner: call.owner.to_vec(), token, path: Vec::new() };
            let folder = self.root.descend(&join(CLAIMED, &join(&place.owner, &place.token)));
            // Gone, if it can't be opened: its files were released.
            if let Ok(walk) = folder.and_then(|folder| Walk::new(folder, true)) {
                self.walk = Some((Some(place), walk));
                return Ok(true);
            }
        }
        if std::mem::replace(&mut self.walked, true) {
            return Ok(false);
        }
        let walk = self.root.again().and_then(|root| Walk::new(root, call.shared.recursive));
        self.walk = Some((None, walk.map_err(|error| failed("listing", b".", &error))?));
        Ok(true)
    }

    /// Ends the use of the folder for this call's claims, which may be tidied away once they are released.
    fn end_of_call(&mut self, owner: &[u8]) {
        if let Some((token, _)) = self.token.take() {
            aside::remove_if_empty(&self.root, owner, &token);
        }
    }

    /// Gathers the next window of names, sorted.
    fn fill(&mut self, call: &mut Call<'_>) -> Result<(), SourceError> {
        let mut bytes = 0;
        let mut found = Vec::new();
        while found.len() < WINDOW && bytes < WINDOW_BYTES {
            let Some((of, walk)) = &mut self.walk else {
                if self.next_walk(call)? {
                    continue;
                }
                break;
            };
            let matcher = of.is_none().then_some(&call.shared.matcher);
            let none = FileStat::default();
            match walk.next(matcher) {
                Some(Met::File(path)) => {
                    bytes += path.len();
                    let Some(of) = of else {
                        found.push(Found::Fresh(path));
                        continue;
                    };
                    let place = Place { path, ..of.clone() };
                    let looked = place.open(&self.root).and_then(|(folder, name)| folder.stat(name));
                    // What is gone was released meanwhile.
                    found.extend(looked.ok().map(|stat| Found::Left(place, version(&stat))));
                }
                Some(Met::Link(path)) => call.tell(
                    &path,
                    none,
                    SourceError {
                        code: "symbolic-link",
                        message: "a symbolic link is not followed".to_owned(),
                        hint: Some("put the file itself here, or let `path` name the folder it is in".to_owned()),
                    },
                ),
                Some(Met::Closed(path, error)) => call.tell(&path, none, failed("listing", &path, &error)),
                Some(Met::TooDeep(path)) => call.tell(
                    &path,
                    none,
                    SourceError {
                        code: "too-deep",
                        message: "the folders are nested too deep".to_owned(),
                        hint: Some("let `path` name a folder further down".to_owned()),
                    },
                ),
                None => self.walk = None,
            }
        }
        // Of several versions of one path those that were set aside come first, the oldest before the others, so that
        // the newest arrives last.
        found.sort_by(|one, other| (one.path(), one.age()).cmp(&(other.path(), other.age())));
        self.window = found.into();
        Ok(())
    }

    fn wait(&mut self, until: i64) {
        self.complete = false;
        self.again = Some(self.again.map_or(until, |again| again.min(until)));
    }

    /// Waits as for a file that is being written.
    fn wait_a_while(&mut self, look: &Look) {
        self.wait(look.now.saturating_add(look.settle.max(POLL)));
    }
}
