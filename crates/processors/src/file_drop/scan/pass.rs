//! One look: what it has gathered and not yet judged, and how it gathers.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use opendmp_model::ledger::FileStat;
use opendmp_processor::SourceError;

use super::super::aside::{self, CLAIMED, Place};
use super::super::roots::Root;
use super::super::walk::{Met, Walk};
use super::super::{area, failed, no_root};
use super::{Answer, Call, Found, POLL, Scanner, Shared};
use crate::beneath::{Folder, join, version};

/// The folder of a claim, and what it is in.
type ClaimFolder = (Arc<Root>, Place);

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
    pub root: Arc<Root>,
    pub foreign_clock: bool,
    /// The folders of claims that are to be walked, before the folder itself, and what they are in.
    pub tokens: VecDeque<(Arc<Root>, Vec<u8>)>,
    /// The folders that are to be walked of a look at names: those that are new.
    pub folders: VecDeque<Vec<u8>>,
    /// The walk under way, and the claim's folder it goes through.
    pub walk: Option<(Option<ClaimFolder>, Walk)>,
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
    pub(super) fn begin(scanner: &mut Scanner, shared: &Shared, owner: &[u8]) -> Result<Self, SourceError> {
        let no_root = |error: io::Error| no_root(&shared.roots.location, &error);
        let root = shared.roots.now();
        scanner.areas.leave_all_but(root.as_ref().ok());
        if root.is_err() {
            // Where all was finished in the folder that was there, it is not missed.
            shared.roots.tidy(None);
        }
        let root = root.map_err(no_root)?;
        let missing = shared.roots.missing(&root, owner).map_err(no_root)?;
        scanner.issues.clear();
        if !missing.is_empty() {
            scanner.issues.push(shared.roots.missed(missing.len()));
        }
        scanner.looked_at = Some(root.identity);
        let mut pass = Self::of(root, scanner.passes, shared);
        let root = Arc::clone(&pass.root);
        for held in shared.roots.held().iter().filter(|held| !Arc::ptr_eq(held, &root)) {
            // What can't be reached in a folder that is elsewhere by now stands in nobody's way here.
            if let Err(error) = pass.claims_in(held, shared, owner) {
                pass.complete = false;
                scanner.issues.push(failed("listing", CLAIMED, &error));
            }
        }
        pass.claims_in(&root, shared, owner).map_err(|error| failed("listing", CLAIMED, &error))?;
        pass.window = shared.offered().keys().map(|key| Found::Offered(key.clone())).collect();
        Ok(pass)
    }

    /// Notes the folders of claims in a folder.
    fn claims_in(&mut self, root: &Arc<Root>, shared: &Shared, owner: &[u8]) -> io::Result<()> {
        let listing = match root.folder.descend(&join(CLAIMED, owner)).and_then(|area| area.list()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            listing => listing?,
        };
        let before = self.tokens.len();
        for token in listing {
            let (token, _) = token?;
            if !shared.life.looks_after(&token) {
                continue;
            }
            if self.tokens.len() >= MOST_TOKENS {
                (self.complete, self.unseen) = (false, true);
                break;
            }
            // Folders that a crash left empty.
            if shared.life.made(&token) || !area::remove(&root.folder, owner, &token) {
                self.tokens.push_back((Arc::clone(root), token));
            }
        }
        if self.tokens.len() == before {
            aside::remove_bare(&root.folder, owner);
            return Ok(());
        }
        shared.roots.hold(root, owner)
    }

    pub(super) fn of(root: Arc<Root>, number: u64, shared: &Shared) -> Self {
        let foreign_clock = *shared.foreign_clock.get_or_init(|| root.folder.foreign_clock());
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
        while let Some((root, token)) = self.tokens.pop_front() {
            let place = Place { owner: call.owner.to_vec(), token, path: Vec::new() };
            match place.area(&root.folder).and_then(|folder| Walk::new(folder, true)) {
                Ok(walk) => {
                    self.walk = Some((Some((root, place)), walk));
                    return Ok(true);
                }
                // Its files were released.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("listing", &place.within(), &error)),
            }
        }
        while let Some(path) = self.folders.pop_front() {
            match self.root.folder.descend(&path).and_then(|folder| Walk::within(folder, path, true)) {
                Ok(walk) => {
                    self.walk = Some((None, walk));
                    return Ok(true);
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                // A look at everything says what is in the way.
                Err(_) => self.unseen = true,
            }
        }
        if std::mem::replace(&mut self.walked, true) {
            return Ok(false);
        }
        call.shared.listed.fetch_add(1, Ordering::Relaxed);
        let walk = self.root.folder.again().and_then(|root| Walk::new(root, call.shared.recursive));
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
                    let (root, of) = of;
                    let place = Place { path, ..of.clone() };
                    match place.open(&root.folder).and_then(|(folder, name)| folder.stat(name)) {
                        Ok(stat) => found.push(Found::Left(place, version(&stat))),
                        // What is gone was released meanwhile.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => {
                            self.complete = false;
                            call.tell(&place.path, none, failed("looking at", &place.path, &error));
                        }
                    }
                }
                Some(Met::Link(path)) => call.tell(&path, none, not_followed()),
                Some(Met::Closed(path, error)) => {
                    // What is not there for us is left out; what could not be looked at for now is not.
                    self.complete &= error.kind() == io::ErrorKind::PermissionDenied;
                    call.tell(&path, none, failed("listing", &path, &error));
                }
                Some(Met::Replaced) => (self.complete, self.unseen) = (false, true),
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
