//! The folder that claimed files are set aside in: made with the first claim and kept for those that follow, because
//! making and removing folders costs a file system more than the rename itself. It goes when the source is closed or
//! takes nothing for long.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::aside::{self, CLAIMED, Life};
use super::roots::{Root, Roots};
use super::{After, walk};
use crate::beneath::{Folder, join};

/// How many paths are set aside in one folder, and how many bytes they may have: no path comes twice in one, so that
/// each claim ever made has a name of its own.
const MOST_PATHS: usize = 4_096;
const MOST_BYTES: usize = 1 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Areas {
    /// How many were made.
    made: u64,
    present: Option<Area>,
    /// Its names, for those who tidy up while the scan goes on.
    shown: Arc<Mutex<Option<Shown>>>,
    /// Whether anything was claimed since [`Areas::rest`] was called last.
    used: bool,
}

#[derive(Clone, Debug)]
struct Shown {
    /// The folder it is in.
    root: Arc<Root>,
    owner: Vec<u8>,
    token: Vec<u8>,
}

#[derive(Debug)]
struct Area {
    shown: Shown,
    folder: Arc<Folder>,
    paths: BTreeSet<Vec<u8>>,
    bytes: usize,
}

/// Which folder is in use now.
#[derive(Clone, Debug, Default)]
pub(super) struct Present(Arc<Mutex<Option<Shown>>>);

impl Present {
    fn get(&self) -> Option<Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether that is the folder in use.
    pub(super) fn is(&self, owner: &[u8], token: &[u8]) -> bool {
        self.get().is_some_and(|shown| shown.owner == owner && shown.token == token)
    }

    /// In which folder files are claimed now.
    pub(super) fn root(&self) -> Option<Arc<Root>> {
        self.get().map(|shown| shown.root)
    }

    /// Ends its use, and removes what is empty of it.
    pub(super) fn end(&self) {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Shown { root, owner, token }) = shown {
            remove(&root.folder, &owner, &token);
            aside::remove_bare(&root.folder, &owner);
        }
    }
}

impl Areas {
    pub(super) fn new(present: &Present) -> Self {
        Self { shown: Arc::clone(&present.0), ..Self::default() }
    }

    /// The folder to set `path` aside in, which is within `root`, and its name.
    pub(super) fn take(
        &mut self,
        roots: &Roots,
        root: &Arc<Root>,
        owner: &[u8],
        life: &Life,
        after: After,
        path: &[u8],
    ) -> io::Result<(Vec<u8>, Arc<Folder>)> {
        let fits = |area: &Area| {
            Arc::ptr_eq(&area.shown.root, root)
                && area.shown.owner == owner
                && area.paths.len() < MOST_PATHS
                && area.bytes < MOST_BYTES
                && !area.paths.contains(path)
                && area.folder.is_there()
        };
        // With the data directory away, nothing could be done with what is set aside.
        roots.location.check_home()?;
        if !self.present.as_ref().is_some_and(fits) {
            roots.hold(root, owner)?;
            let token = life.token(self.made, &root.id, after);
            let folder = Arc::new(aside::make(&root.folder, owner, &token)?);
            self.made += 1;
            let shown = Shown { root: Arc::clone(root), owner: owner.to_vec(), token };
            *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown.clone());
            let area = Area { shown, folder, paths: BTreeSet::new(), bytes: 0 };
            if let Some(old) = self.present.replace(area) {
                remove(&old.shown.root.folder, &old.shown.owner, &old.shown.token);
            }
        }
        self.used = true;
        let area = self.present.as_ref().ok_or(io::ErrorKind::NotFound)?;
        Ok((area.shown.token.clone(), Arc::clone(&area.folder)))
    }

    /// Notes that a file was given that name in the present folder.
    pub(super) fn note(&mut self, path: &[u8]) {
        if let Some(area) = &mut self.present {
            area.bytes += path.len();
            area.paths.insert(path.to_vec());
        }
    }

    /// Ends the use of the folder, unless it is in `root`: what has the path is another folder by now, or none.
    pub(super) fn leave_all_but(&mut self, root: Option<&Arc<Root>>) {
        let stays = |area: &Area| root.is_some_and(|root| Arc::ptr_eq(&area.shown.root, root));
        if self.present.as_ref().is_some_and(|area| !stays(area)) {
            self.present = None;
            Present(Arc::clone(&self.shown)).end();
        }
    }

    /// Called now and then: removes the folder where nothing has been claimed since the last time.
    pub(super) fn rest(&mut self) {
        if !std::mem::replace(&mut self.used, false) && self.present.take().is_some() {
            Present(Arc::clone(&self.shown)).end();
        }
    }
}

/// Removes the folder of a claim, as far as it is empty.
pub(super) fn remove(root: &Folder, owner: &[u8], token: &[u8]) -> bool {
    let Ok(area) = root.descend(&join(CLAIMED, owner)) else { return false };
    if area.remove_folder(token).is_ok() {
        return true;
    }
    if let Ok(folder) = area.enter(token) {
        walk::remove_empty(&folder, 0);
    }
    area.remove_folder(token).is_ok()
}
