//! One look: what it has gathered and not yet judged, and how it gathers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use opendmp_model::ledger::FileStat;
use opendmp_processor::SourceError;

use super::super::aside::{self, CLAIMED, Place};
use super::super::walk::{Met, Walk};
use super::super::{area, failed, no_root};
use super::{Answer, Call, Found, POLL, Scanner, Shared};
use crate::beneath::{Folder, join, version};

/// How many names are sorted at a time: within a window files are claimed by name, from window to window as the file
/// system lists them.
const WINDOW: usize = 65_536;
/// How many bytes of names a window has.
const WINDOW_BYTES: usize = 8 << 20;
/// How many folders of claims one look goes through; the next goes on.
const MOST_TOKENS: usize = 10_000;

/// A look under way.
pub(super) struct Pass {
    pub number: u64,
    pub root: Folder,
    pub foreign_clock: bool,
    /// The folders of claims that are to be walked, before the folder itself.
    pub tokens: VecDeque<Vec<u8>>,
    /// The folders that are to be walked of a look at names: those that are new.
    pub folders: VecDeque<Vec<u8>>,
    /// The walk under way, and the claim's folder it goes through.
    pub walk: Option<(Option<Place>, Walk)>,
    pub walked: bool,
    pub window: VecDeque<Found>,
    pub batch: VecDeque<(Found, Answer)>,
    /// Whether a batch is out to be asked for; a call that was cancelled meanwhile has taken it along.
    pub asking: bool,
    /// The folder opened last.
    pub near: Option<(Vec<u8>, Arc<Folder>)>,
    pub complete: bool,
    /// Whether something was left out that the next look at everything finds.
    pub unseen: bool,
    /// A path of which an older version waits, so that newer ones wait behind it.
    pub held: Option<Vec<u8>>,
}

impl Pass {
    pub(super) fn begin(scanner: &Scanner, shared: &Shared, owner: &[u8]) -> Result<Self, SourceError> {
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

    pub(super) fn of(root: Folder, number: u64, shared: &Shared) -> Self {
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
    pub(super) fn fill(&mut self, call: &mut Call<'_>) -> Result<(), SourceError> {
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
    pub(super) fn wait(&mut self, call: &mut Call<'_>, key: &[u8], until: i64) {
        self.complete = false;
        self.unseen |= !call.scanner.waiting.put(key, until, self.number);
    }

    /// Waits as for a file that is being written.
    pub(super) fn wait_a_while(&mut self, call: &mut Call<'_>, key: &[u8]) {
        self.wait(call, key, call.look.now.saturating_add(call.look.settle.max(POLL)));
    }
}

pub(super) fn not_followed() -> SourceError {
    SourceError {
        code: "symbolic-link",
        message: "a symbolic link is not followed".to_owned(),
        hint: Some("put the file itself here, or let `path` name the folder it is in".to_owned()),
    }
}
