//! A look through the folder, in steps: it gathers a batch of paths, asks for what the ledger knows of them, judges
//! each file, and claims what stands still. Memory is bounded by the batch and by the window of names that is sorted at
//! a time. A look at everything stops after a while and goes on where it stopped; in between, and afterwards, looks at
//! single names (told, given back, or waiting for their time) cost only themselves.

mod brief;
mod judge;
mod waiting;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use opendmp_model::ids::Arrival;
use opendmp_model::ledger::{FileStat, Known};
use opendmp_model::name;
use opendmp_processor::{Body, Claim, SourceError};

pub(super) use self::waiting::Changed;
use self::waiting::Waiting;
use super::area::{self, Areas, Present};
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
    /// The folder that claims are set aside in now.
    pub present: Present,
    /// What is to be looked at again, told from outside the scan.
    pub changed: Mutex<Changed>,
    /// How often the folder was listed from its beginning.
    pub listed: AtomicU64,
    /// Whether the kernel can be asked for writers, once that was tried.
    pub leases: OnceLock<bool>,
    /// Whether the folder's file system may keep time by another clock than ours.
    pub foreign_clock: OnceLock<bool>,
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

    /// What was claimed in its place, to be looked for in the ledger: once it is there it needs no memory.
    fn offered_in_place(&self) -> Vec<Found> {
        let offered = self.offered();
        offered.keys().filter(|key| !key.starts_with(CLAIMED)).cloned().map(Found::Offered).collect()
    }

    pub(super) fn changed(&self) -> std::sync::MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes back an offer, so that what it was of is looked at again.
    pub(super) fn take_back(&self, key: Vec<u8>) {
        self.offered().remove(&key);
        self.changed().tell(key);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.present.is_some()
            && let Ok(root) = Folder::open(&self.root)
        {
            self.present.end(&root);
        }
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

/// A look under way.
struct Pass {
    number: u64,
    root: Folder,
    foreign_clock: bool,
    /// The folders of claims that are to be walked, before the folder itself.
    tokens: VecDeque<Vec<u8>>,
    /// The folders that are to be walked of a look at names: those that are new.
    folders: VecDeque<Vec<u8>>,
    /// The walk under way, and the claim's folder it goes through.
    walk: Option<(Option<Place>, Walk)>,
    walked: bool,
    window: VecDeque<Found>,
    batch: VecDeque<(Found, Answer)>,
    /// Whether a batch is out to be asked for; a call that was cancelled meanwhile has taken it along.
    asking: bool,
    /// The folder opened last.
    near: Option<(Vec<u8>, Arc<Folder>)>,
    complete: bool,
    /// Whether something was left out that the next look at everything finds.
    unseen: bool,
    /// A path of which an older version waits, so that newer ones wait behind it.
    held: Option<Vec<u8>>,
}

/// What is kept between calls.
pub(super) struct Scanner {
    /// The look at everything that is under way.
    pass: Option<Pass>,
    /// The look at names that is under way, within one call.
    brief: Option<Pass>,
    passes: u64,
    /// Whether names were lost that only a look at everything finds again.
    unseen: bool,
    waiting: Waiting,
    areas: Areas,
    /// Arrivals that were looked at again, and are the same.
    sure: Vec<Arrival>,
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
    pub(super) fn new(present: &Present) -> Self {
        Self {
            pass: None,
            brief: None,
            passes: 0,
            unseen: false,
            waiting: Waiting::default(),
            areas: Areas::new(present),
            sure: Vec::new(),
            still: Still::default(),
            told: HashMap::new(),
            ready: Vec::new(),
            load: (0, 0),
            problems: Vec::new(),
        }
    }

    /// Stops the look, after an error.
    pub(super) fn stop(&mut self) {
        self.pass = None;
        self.unseen |= self.brief.take().is_some();
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

    /// The arrivals that were found to be the same, to be told to the ledger.
    pub(super) fn hand_over_sure(&mut self) -> Vec<Arrival> {
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
            (Some(pass), _) => pass,
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
        self.areas.rest(&pass.root);
        // A folder put in the place of the one that was walked has not been looked at.
        let is_same = Folder::open(&shared.root).and_then(|root| Ok(root.identity()? == pass.root.identity()?));
        let is_same = is_same.unwrap_or(false);
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
    fn begin(scanner: &Scanner, shared: &Shared, owner: &[u8]) -> Result<Self, SourceError> {
        let root = Folder::open(&shared.root).map_err(|error| no_root(&shared.root, &error))?;
        let mut pass = Self::of(root, scanner.passes, shared);
        if let Ok(area) = pass.root.descend(&join(CLAIMED, owner)) {
            for (token, _) in area.list().into_iter().flatten().flatten() {
                if !shared.life.looks_after(&token) {
                    continue;
                }
                if pass.tokens.len() >= MOST_TOKENS {
                    (pass.complete, pass.unseen) = (false, true);
                    break;
                }
                // Folders that a crash left empty.
                if shared.life.made(&token) || !area::remove(&pass.root, owner, &token) {
                    pass.tokens.push_back(token);
                }
            }
            if pass.tokens.is_empty() {
                aside::remove_bare(&pass.root, owner);
            }
        }
        pass.window = shared.offered().keys().map(|key| Found::Offered(key.clone())).collect();
        Ok(pass)
    }

    fn of(root: Folder, number: u64, shared: &Shared) -> Self {
        let foreign_clock = *shared.foreign_clock.get_or_init(|| root.foreign_clock());
        Self {
            number,
            root,
            foreign_clock,
            tokens: VecDeque::new(),
            folders: VecDeque::new(),
            walk: None,
            walked: false,
            window: VecDeque::new(),
            batch: VecDeque::new(),
            asking: false,
            near: None,
            complete: true,
            unseen: false,
            held: None,
        }
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
        while let Some(path) = self.folders.pop_front() {
            let folder = self.root.descend(&path);
            if let Ok(walk) = folder.and_then(|folder| Walk::within(folder, path, true)) {
                self.walk = Some((None, walk));
                return Ok(true);
            }
        }
        if std::mem::replace(&mut self.walked, true) {
            return Ok(false);
        }
        call.shared.listed.fetch_add(1, Ordering::Relaxed);
        let walk = self.root.again().and_then(|root| Walk::new(root, call.shared.recursive));
        self.walk = Some((None, walk.map_err(|error| failed("listing", b".", &error))?));
        Ok(true)
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
                Some(Met::Link(path)) => call.tell(&path, none, not_followed()),
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

    /// Has a name looked at again.
    fn wait(&mut self, call: &mut Call<'_>, key: &[u8], until: i64) {
        self.complete = false;
        self.unseen |= !call.scanner.waiting.put(key, until, self.number);
    }

    /// Waits as for a file that is being written.
    fn wait_a_while(&mut self, call: &mut Call<'_>, key: &[u8]) {
        self.wait(call, key, call.look.now.saturating_add(call.look.settle.max(POLL)));
    }
}

fn not_followed() -> SourceError {
    SourceError {
        code: "symbolic-link",
        message: "a symbolic link is not followed".to_owned(),
        hint: Some("put the file itself here, or let `path` name the folder it is in".to_owned()),
    }
}
