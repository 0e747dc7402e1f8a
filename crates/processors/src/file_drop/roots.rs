//! The folders that the path of a source named, each held open for as long as files may lie claimed in it: a claimed file
//! is finished in the folder it was claimed in, whatever has the path by then.
//!
//! That files may lie claimed in a folder is recorded before the first is, so that a folder which is not there after a
//! restart is missed, and not taken for finished.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opendmp_processor::SourceError;

use super::aside::{CLAIMED, Place, folder_of};
use crate::beneath::{Folder, FolderId, Identity, join};
use crate::location::{ACCEPT, Location};

/// A folder that the path of a source named when it was opened.
#[derive(Debug)]
pub(super) struct Root {
    pub folder: Folder,
    pub id: FolderId,
    pub identity: Identity,
}

impl Root {
    /// Whether both are one folder; they are both open.
    pub(super) fn is(&self, other: &Root) -> bool {
        (self.identity.device, self.identity.inode) == (other.identity.device, other.identity.inode)
    }

    /// Whether nothing of a ledger is set aside in it; also where the folder was deleted.
    fn is_clear(&self, owner: &[u8]) -> bool {
        let area = self.folder.descend(&join(CLAIMED, owner));
        match area.and_then(|area| area.list()) {
            Ok(mut listing) => listing.next().is_none(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

/// A folder in which files of a ledger may lie claimed.
#[derive(Debug)]
struct Held {
    root: Arc<Root>,
    owner: Vec<u8>,
}

/// Where a claimed file is to be looked for.
#[derive(Clone, Debug)]
pub(super) struct Reached {
    pub root: Arc<Root>,
    /// Whether it is the folder that the file was claimed in; else it is the one that has the path now.
    pub sure: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Roots {
    pub location: Location,
    held: Mutex<Vec<Held>>,
}

impl Roots {
    pub(super) fn new(location: Location) -> Self {
        Self { location, held: Mutex::default() }
    }

    fn all_held(&self) -> MutexGuard<'_, Vec<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder that has the path now.
    pub(super) fn now(&self) -> io::Result<Arc<Root>> {
        let (folder, identity) = self.location.open()?;
        let held = self.all_held();
        let same = |root: &Root| (root.identity.device, root.identity.inode) == (identity.device, identity.inode);
        let known = held.iter().find(|held| same(&held.root)).map(|held| Arc::clone(&held.root));
        Ok(known.unwrap_or_else(|| Arc::new(Root { folder, id: identity.folder(), identity })))
    }

    /// The folders that are held open, each once.
    pub(super) fn held(&self) -> Vec<Arc<Root>> {
        let mut roots: Vec<Arc<Root>> = Vec::new();
        for held in self.all_held().iter() {
            if !roots.iter().any(|root| Arc::ptr_eq(root, &held.root)) {
                roots.push(Arc::clone(&held.root));
            }
        }
        roots
    }

    /// Holds a folder open, because files of a ledger are claimed in it from now on.
    pub(super) fn hold(&self, root: &Arc<Root>, owner: &[u8]) -> io::Result<()> {
        let mut all = self.all_held();
        if all.iter().any(|held| Arc::ptr_eq(&held.root, root) && held.owner == owner) {
            return Ok(());
        }
        self.location.add_claims(&root.id, owner)?;
        all.push(Held { root: Arc::clone(root), owner: owner.to_vec() });
        Ok(())
    }

    /// Where a claimed file is to be looked for; `now` is what has the path.
    pub(super) fn of(&self, place: &Place, now: Option<&Arc<Root>>) -> Option<Reached> {
        let Some(id) = folder_of(&place.token) else {
            // Claimed by a version that did not note the folder.
            return now.map(|now| Reached { root: Arc::clone(now), sure: true });
        };
        let held = self.all_held().iter().find(|held| held.root.id.is(&id)).map(|held| Arc::clone(&held.root));
        if let Some(root) = held {
            return Some(Reached { root, sure: true });
        }
        let is_there = |now: &Root| now.id.is(&id) || place.area(&now.folder).is_ok();
        now.map(|now| Reached { root: Arc::clone(now), sure: is_there(now) })
    }

    /// Whether a claimed file is still to be found, in a folder that is not there.
    pub(super) fn is_missed(&self, place: &Place) -> io::Result<bool> {
        let Some(id) = folder_of(&place.token) else { return Ok(false) };
        Ok(self.location.claims()?.iter().any(|(folder, owner)| folder.is(&id) && *owner == place.owner))
    }

    /// The folders in which files may lie claimed, and which are not there; none of them once a person said that the
    /// folder is meant which is there now.
    pub(super) fn missing(&self, now: &Arc<Root>, owner: &[u8]) -> io::Result<Vec<(FolderId, Vec<u8>)>> {
        let all = self.all_held();
        let held = |folder: &FolderId| all.iter().any(|held| held.root.id.is(folder));
        let mut missing = self.location.claims()?;
        missing.retain(|(folder, _)| !held(folder));
        if missing.is_empty() {
            return Ok(missing);
        }
        // The same folder once more: perhaps its file system numbers it anew.
        let is_now = |folder: &FolderId, of: &[u8]| folder.is(&now.id) || has_claims_of(now, folder, of);
        self.location.remove_claims(|folder, of| {
            !held(folder) && is_now(folder, of) && (of == owner || !folder.is(&now.id)) && now.is_clear(of)
        })?;
        missing.retain(|(folder, of)| !is_now(folder, of));
        if !missing.is_empty() && self.location.accept_now(&now.folder, &now.id)? {
            missing.clear();
        }
        Ok(missing)
    }

    /// Ends holding folders in which nothing is claimed any more; `in_use` is where files are claimed now.
    pub(super) fn tidy(&self, in_use: Option<&Arc<Root>>) {
        let is_over = |held: &Held| {
            let in_use = in_use.is_some_and(|root| Arc::ptr_eq(root, &held.root));
            !held.root.folder.is_there() || !in_use && held.root.is_clear(&held.owner)
        };
        let mut all = self.all_held();
        let over: Vec<_> =
            all.iter().filter(|held| is_over(held)).map(|held| (held.root.id, held.owner.clone())).collect();
        // With the data directory away, which is told elsewhere, nothing can be recorded.
        if over.is_empty() || self.location.check_home().is_err() {
            return;
        }
        let gone = |folder: &FolderId, owner: &[u8]| over.iter().any(|(f, o)| f.is(folder) && o == owner);
        if let Err(error) = self.location.remove_claims(gone) {
            // Held until that is recorded: else the folder would be missed once another has the path.
            tracing::warn!(path = self.location.shown(), %error, "the record of a folder can't be changed");
            return;
        }
        all.retain(|held| !gone(&held.root.id, &held.owner));
    }

    /// What to say of folders that are not there.
    pub(super) fn missed(&self, count: usize) -> SourceError {
        let shown = self.location.shown();
        let folders = if count == 1 { "a folder".to_owned() } else { format!("{count} folders") };
        SourceError {
            code: "folder-moved",
            message: format!(
                "`{shown}` is another folder than before, and claimed files may lie in {folders} that it was before"
            ),
            hint: Some(format!(
                "move or mount the old folder back to this path, and the files in its `.opendmp-claimed` are finished. If it \
                 is lost for good, forget them: `touch '{shown}/{ACCEPT}'`"
            )),
        }
    }
}

/// Whether a folder has the claims that were made in one of that name.
fn has_claims_of(now: &Root, folder: &FolderId, owner: &[u8]) -> bool {
    let area = now.folder.descend(&join(CLAIMED, owner));
    let listing = area.and_then(|area| area.list());
    listing.is_ok_and(|mut all| all.any(|found| found.is_ok_and(|(token, _)| folder_of(&token) == Some(*folder))))
}
