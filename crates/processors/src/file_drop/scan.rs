//! One look through the folder, in steps: it gathers a batch of paths, asks for what the ledger knows of them, judges
//! each file, and claims what stands still. Memory is bounded by the batch and by the window of names that is sorted at
//! a time; a look that has claimed its fill goes on where it stopped.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use opendmp_model::item::Attributes;
use opendmp_model::ledger::{FileStat, Known};
use opendmp_model::name;
use opendmp_processor::{Body, Claim, SourceError};
use serde_json::Value;

use super::aside::{self, CLAIMED, Life, Place, same_content};
use super::lease::{self, Writer};
use super::pattern::Matcher;
use super::still::{Look, Still, Verdict, same};
use super::walk::{Met, Walk};
use super::{After, failed, no_root};
use crate::beneath::{Folder, Taken, is_file, join, split, version, version_of};

/// How many paths the ledger is asked for at a time.
const BATCH: usize = 1_000;
/// How many names are sorted at a time: within a window files are claimed by name, from window to window as the file
/// system lists them.
const WINDOW: usize = 65_536;
/// How many bytes of names a window has.
const WINDOW_BYTES: usize = 8 << 20;
/// Content up to this many bytes is read at once, so that it needs no open file.
const SMALL: u64 = 256 << 10;
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
/// A file that is open for writing, but has not changed for this long, is told of, in milliseconds.
const OPEN_TOO_LONG: i64 = 10_000;

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
    /// The folder opened last.
    near: Option<(Vec<u8>, Arc<Folder>)>,
    /// Where claimed files go in this call.
    token: Option<(Vec<u8>, Folder)>,
    again: Option<i64>,
    complete: bool,
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
            pass.batch.extend(answers);
        }
    }

    /// Goes on until something is to be asked, `limit` is reached, or everything was looked at.
    pub(super) fn step(&mut self, shared: &Shared, owner: &str, now: i64, limit: usize) -> Result<Next, SourceError> {
        let owner = aside::owner(owner);
        let mut pass = match self.pass.take() {
            Some(pass) => pass,
            None => {
                self.passes += 1;
                Pass::begin(shared, &owner, self.passes)?
            }
        };
        let look = Look { now, settle: shared.settle, foreign_clock: pass.foreign_clock, scan: pass.number };
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
        self.scanner.ready.len() >= limit
            || bytes >= MOST_BYTES
            || open >= MOST_OPEN
            || self.scanner.problems.len() >= MOST_PROBLEMS
    }

    /// Tells of a problem with a version of a file, once.
    fn tell(&mut self, path: &[u8], stat: FileStat, problem: SourceError) {
        let told = &mut self.scanner.told;
        if told.len() >= MOST_TOLD && !told.contains_key(path) {
            told.clear();
        }
        let before = told.insert(path.to_vec(), (stat, self.look.scan));
        if before.is_none_or(|(before, _)| !same(&before, &stat)) {
            self.scanner.problems.push((name::from_bytes(path), problem));
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
            near: None,
            token: None,
            again: None,
            complete,
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
        found.sort_by(|one, other| one.path().cmp(other.path()));
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

    fn judge(&mut self, call: &mut Call<'_>, found: Found, answer: &Answer) -> Result<(), SourceError> {
        match found {
            Found::Offered(key) => {
                // A claimed file stays offered until it is released; one that is gone needs no watching.
                let claimed = key.starts_with(CLAIMED);
                let is_over = if claimed {
                    let there = self.root.descend(split(&key).0).and_then(|folder| folder.look(split(&key).1));
                    matches!(there, Ok(None)) || there.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
                } else {
                    let mut offered = call.shared.offered();
                    let stat = offered.get(&key).copied();
                    let settled = answer.known.zip(stat).is_some_and(|(known, stat)| same(&known.stat, &stat));
                    if settled {
                        offered.remove(&key);
                    }
                    false
                };
                if is_over {
                    call.shared.offered().remove(&key);
                }
                Ok(())
            }
            Found::Fresh(path) => self.fresh(call, path, answer),
            Found::Left(place, asked) => {
                self.left(call, &place, &asked, answer);
                Ok(())
            }
        }
    }

    /// A file of the folder.
    fn fresh(&mut self, call: &mut Call<'_>, path: Vec<u8>, answer: &Answer) -> Result<(), SourceError> {
        let (folder, file_name) = split(&path);
        let opened = match &self.near {
            Some((near, opened)) if near == folder => Ok(opened.clone()),
            _ => self.root.descend(folder).map(Arc::new),
        };
        let found = opened.and_then(|opened| {
            let stat = opened.look(file_name)?;
            Ok((opened, stat))
        });
        let (opened, stat) = match found {
            Ok((opened, Some(stat))) if is_file(&stat) => (opened, version(&stat)),
            Ok(_) => return Ok(()),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
            Err(error) => {
                call.tell(&path, FileStat::default(), failed("looking at", &path, &error));
                return Ok(());
            }
        };
        if self.near.as_ref().is_none_or(|(near, _)| near != folder) {
            self.near = Some((folder.to_vec(), opened.clone()));
        }
        if answer.known.is_some_and(|known| same(&known.stat, &stat)) {
            call.scanner.still.forget(&path);
            return Ok(());
        }
        let offered = call.shared.offered().get(&path).copied();
        match offered {
            Some(offered) if same(&offered, &stat) => return Ok(()),
            // An earlier version is still on its way into the ledger.
            Some(_) => {
                self.wait_a_while(&call.look);
                return Ok(());
            }
            None => {}
        }
        match call.scanner.still.judge(&path, &stat, &call.look) {
            Verdict::Wait(until) => {
                self.wait(until);
                Ok(())
            }
            Verdict::Take(_) if call.shared.after == After::Keep => {
                self.take(call, &opened, path, stat);
                Ok(())
            }
            Verdict::Take(stood) => self.set_aside(call, &opened, path, stat, stood),
        }
    }

    /// Opens a file that should still be `stat`; what stands in the way is told, or waited for.
    fn open(&mut self, call: &mut Call<'_>, folder: &Folder, path: &[u8], stat: &FileStat) -> Option<std::fs::File> {
        match folder.read(split(path).1).and_then(|file| Ok((version_of(&file)?, file))) {
            Ok((now, file)) if same(&now, stat) => Some(file),
            Ok(_) => {
                self.wait_a_while(&call.look);
                None
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                call.tell(path, *stat, failed("opening", path, &error));
                None
            }
        }
    }

    /// Claims a file that stays where it is.
    fn take(&mut self, call: &mut Call<'_>, folder: &Folder, path: Vec<u8>, stat: FileStat) {
        let Some(file) = self.open(call, folder, &path, &stat) else { return };
        match body(file, stat.size) {
            Ok(body) => {
                let claim = claim(call.shared, &path, stat, body, None);
                call.offer(path, stat, claim);
            }
            Err(error) => call.tell(&path, stat, failed("reading", &path, &error)),
        }
    }

    /// Claims a file by renaming it aside.
    fn set_aside(
        &mut self,
        call: &mut Call<'_>,
        folder: &Folder,
        path: Vec<u8>,
        stat: FileStat,
        stood: i64,
    ) -> Result<(), SourceError> {
        let Some(file) = self.open(call, folder, &path, &stat) else { return Ok(()) };
        let (token, area) = match self.token.take() {
            Some(token) => token,
            None => {
                let number = call.shared.tokens.fetch_add(1, Ordering::Relaxed);
                let token = call.shared.life.token(number, call.shared.after);
                let area = aside::make(&self.root, call.owner, &token).map_err(|error| no_aside(&error))?;
                (token, area)
            }
        };
        let asked = leases(call.shared, &area)?.then(|| lease::writer(&file));
        if asked == Some(Writer::Someone) {
            self.token = Some((token, area));
            self.wait_a_while(&call.look);
            if stood >= OPEN_TOO_LONG {
                call.tell(&path, stat, still_open());
            }
            return Ok(());
        }
        let (parent, file_name) = split(&path);
        let renamed = area
            .descend_making(parent, false)
            .and_then(|into| folder.rename(file_name, &into, file_name, Taken::Refuse).map(|()| into));
        let into = match renamed {
            Ok(into) => into,
            // Gone, or listed twice.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => return Ok(()),
            Err(error) => {
                self.token = Some((token, area));
                call.tell(&path, stat, not_renamed(&path, &error));
                return Ok(());
            }
        };
        let place = Place { owner: call.owner.to_vec(), token: token.clone(), path: path.clone() };
        self.token = Some((token, area));
        let got = match into.stat(file_name) {
            Ok(got) => got,
            Err(error) => {
                call.tell(&place.path, stat, failed("looking at", &place.path, &error));
                return Ok(());
            }
        };
        if !is_file(&got) {
            // Something else took the name at the last moment.
            if let Err(error) = into.rename(file_name, folder, file_name, Taken::Refuse) {
                call.tell(&place.path, stat, failed("putting back", &place.path, &error));
            }
            return Ok(());
        }
        let got = version(&got);
        let unchanged = same_content(&got, &stat);
        // Who opened the file before the rename may still write to it.
        let certain = asked == Some(Writer::Nobody) && lease::writer(&file) == Writer::Nobody;
        if unchanged && certain {
            self.offer_claimed(call, &place, file, &into);
        } else {
            self.wait_a_while(&call.look);
            let key = place.key();
            call.scanner.still.judge(&key, &got, &call.look);
        }
        Ok(())
    }

    /// Offers a claimed file that nobody writes any more, as it is now.
    fn offer_claimed(&mut self, call: &mut Call<'_>, place: &Place, file: std::fs::File, folder: &Folder) {
        let named = folder.stat(split(&place.path).1).map(|stat| version(&stat));
        match version_of(&file).and_then(|stat| Ok((stat, named?))) {
            Ok((stat, named)) if same(&stat, &named) => match body(file, stat.size) {
                Ok(body) => {
                    let claim = claim(call.shared, &place.path, stat, body, Some(place.release(&stat)));
                    call.offer(place.key(), stat, claim);
                }
                Err(error) => call.tell(&place.path, stat, failed("reading", &place.path, &error)),
            },
            Ok(_) => self.wait_a_while(&call.look),
            Err(error) => call.tell(&place.path, FileStat::default(), failed("looking at", &place.path, &error)),
        }
    }

    /// A claimed file that nobody is at work with: set aside and not yet still, given back, or left by a crash.
    fn left(&mut self, call: &mut Call<'_>, place: &Place, asked: &FileStat, answer: &Answer) {
        let key = place.key();
        if call.shared.offered().contains_key(&key) {
            return;
        }
        let opened = place.open(&self.root).and_then(|(folder, name)| Ok((folder.look(name)?, folder)));
        let (folder, stat) = match opened {
            Ok((Some(stat), folder)) if is_file(&stat) => (folder, version(&stat)),
            Ok(_) => return,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return call.tell(&key, FileStat::default(), failed("looking at", &place.path, &error)),
        };
        if !same_content(&stat, asked) {
            return self.wait_a_while(&call.look);
        }
        if answer.releasing {
            return;
        }
        // In the ledger, and its release carried out, as far as the ledger knows: left for a person to decide.
        if answer.known.is_some_and(|known| same(&known.stat, &stat)) {
            return;
        }
        let Some(file) = self.open(call, &folder, &place.path, &stat) else { return };
        let asked = match leases(call.shared, &folder) {
            Ok(true) => lease::writer(&file),
            _ => Writer::Unknown,
        };
        let verdict = call.scanner.still.judge(&key, &stat, &call.look);
        match (asked, verdict) {
            (Writer::Someone, verdict) => {
                self.wait_a_while(&call.look);
                if matches!(verdict, Verdict::Take(stood) if stood >= OPEN_TOO_LONG) {
                    call.tell(&key, stat, still_open());
                }
            }
            (Writer::Nobody, _) | (Writer::Unknown, Verdict::Take(_)) => self.offer_claimed(call, place, file, &folder),
            (Writer::Unknown, Verdict::Wait(until)) => self.wait(until),
        }
    }

}

/// Whether leases can be relied on here, tried once.
fn leases(shared: &Shared, area: &Folder) -> Result<bool, SourceError> {
    if let Some(known) = shared.leases.get() {
        return Ok(*known);
    }
    let found = lease::dependable(area).map_err(|error| no_aside(&error))?;
    Ok(*shared.leases.get_or_init(|| found))
}

/// The bytes to be stored: read at once where they are few.
fn body(file: std::fs::File, size: u64) -> io::Result<Body> {
    if size > SMALL {
        return Ok(Body::File(file.into()));
    }
    let mut bytes = BytesMut::zeroed(usize::try_from(size).unwrap_or_default());
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0)?;
    Ok(Body::Bytes(bytes.freeze()))
}

fn claim(shared: &Shared, path: &[u8], stat: FileStat, body: Body, release: Option<Bytes>) -> Claim {
    let (folder, file_name) = split(path);
    let mut attributes = Attributes::new();
    if !folder.is_empty() {
        attributes.insert("folder".to_owned(), Value::String(name::from_bytes(folder)));
    }
    let source_path = format!("{}/{}", shared.written.trim_end_matches('/'), name::from_bytes(path));
    attributes.insert("source_path".to_owned(), Value::String(source_path));
    let item_name = name::from_bytes(file_name);
    let media_type = mime_guess::from_ext(name::extension(&item_name)).first_raw().map(str::to_owned);
    Claim { path: path.to_vec(), version: Some(stat), name: item_name, media_type, attributes, body, release }
}

fn still_open() -> SourceError {
    SourceError {
        code: "still-open",
        message: "the file does not change, but a program still has it open for writing".to_owned(),
        hint: Some("it is taken once that program closes it".to_owned()),
    }
}

fn no_aside(error: &io::Error) -> SourceError {
    let hint = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => "the folder is on a read-only file system: use `after: keep`, or mount it writable",
        io::ErrorKind::PermissionDenied => "use `after: keep`, or give the user OpenDMP runs as the right to write to the folder",
        io::ErrorKind::NotADirectory => "something named `.opendmp-claimed` is in the folder and is no folder: move it away",
        io::ErrorKind::StorageFull => "free some space",
        _ => "use `after: keep`, or look at the disk",
    };
    SourceError {
        code: "no-claims",
        message: format!("files can't be set aside in `.opendmp-claimed`: {error}"),
        hint: Some(hint.to_owned()),
    }
}

fn not_renamed(path: &[u8], error: &io::Error) -> SourceError {
    match error.kind() {
        io::ErrorKind::CrossesDevices => SourceError {
            code: "other-file-system",
            message: "the file is on another file system than the folder and can't be set aside".to_owned(),
            hint: Some("add an ingest whose `path` is on that file system, or use `after: keep`".to_owned()),
        },
        _ => failed("setting aside", path, error),
    }
}
