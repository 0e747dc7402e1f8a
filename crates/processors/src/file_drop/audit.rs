//! Compares a folder with its ledger, and changes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use opendmp_model::ledger::FileStat;
use opendmp_model::name;
use opendmp_processor::{Audit, AuditEntry, AuditState, Ledger, SourceError};

use super::aside::{self, CLAIMED, Place};
use super::scan::Shared;
use super::still::same;
use super::walk::{Met, Walk};
use super::{blocking, failed, no_root};
use crate::beneath::{Folder, is_file, split, version};

/// How many paths are compared at a time.
const BATCH: usize = 1_000;
/// How many entries an audit gives.
const MOST_ENTRIES: usize = 1_000;

/// What was found under one path.
struct Found {
    path: Vec<u8>,
    /// Where it was set aside.
    place: Option<Place>,
    stat: Result<FileStat, SourceError>,
}

/// The walks through the folder, one batch at a time.
struct Walks {
    root: Folder,
    claimed: Option<Walk>,
    files: Option<Walk>,
}

impl Walks {
    fn begin(shared: &Shared) -> Result<Self, SourceError> {
        let root = Folder::open(&shared.root).map_err(|error| no_root(&shared.root, &error))?;
        let claimed = root.enter(CLAIMED).and_then(|claimed| Walk::new(claimed, true)).ok();
        let files = root.again().and_then(|root| Walk::new(root, shared.recursive));
        let files = files.map_err(|error| failed("listing", b".", &error))?;
        Ok(Self { root, claimed, files: Some(files) })
    }

    fn batch(&mut self, shared: &Shared) -> Vec<Found> {
        let mut found = Vec::new();
        while found.len() < BATCH {
            let (met, is_claimed) = match (&mut self.claimed, &mut self.files) {
                (Some(walk), _) => (walk.next(None), true),
                (None, Some(walk)) => (walk.next(Some(&shared.matcher)), false),
                (None, None) => break,
            };
            match met {
                Some(Met::File(path)) if is_claimed => {
                    let mut parts = path.splitn(3, |&b| b == b'/').map(<[u8]>::to_vec);
                    if let (Some(owner), Some(token), Some(path)) = (parts.next(), parts.next(), parts.next()) {
                        let place = Place { owner, token, path: path.clone() };
                        let stat = self.stat(&place.key());
                        found.push(Found { path, place: Some(place), stat });
                    }
                }
                Some(Met::File(path)) => {
                    let stat = self.stat(&path);
                    found.push(Found { path, place: None, stat });
                }
                Some(Met::Link(path)) => {
                    let stat = Err(SourceError {
                        code: "symbolic-link",
                        message: "a symbolic link is not followed".to_owned(),
                        hint: None,
                    });
                    found.push(Found { path, place: None, stat });
                }
                Some(Met::Closed(path, error)) => {
                    found.push(Found { stat: Err(failed("listing", &path, &error)), path, place: None });
                }
                Some(Met::TooDeep(path)) => {
                    let stat = Err(SourceError {
                        code: "too-deep",
                        message: "the folders are nested too deep".to_owned(),
                        hint: None,
                    });
                    found.push(Found { path, place: None, stat });
                }
                None if is_claimed => self.claimed = None,
                None => self.files = None,
            }
        }
        found.sort_by(|one, other| one.path.cmp(&other.path));
        found
    }

    fn stat(&self, path: &[u8]) -> Result<FileStat, SourceError> {
        let (folder, file_name) = split(path);
        let looked = self.root.descend(folder).and_then(|folder| {
            let stat = folder.stat(file_name)?;
            if is_file(&stat) {
                // Whether it can be read is what an audit is asked for.
                folder.read(file_name)?;
            }
            Ok(version(&stat))
        });
        looked.map_err(|error| failed("opening", path, &error))
    }
}

/// Compares. `releasing` are the releases not yet carried out.
pub(super) async fn audit(
    shared: Arc<Shared>,
    ledger: &dyn Ledger,
    releasing: &[Vec<u8>],
) -> Result<Audit, SourceError> {
    let releasing: BTreeSet<&[u8]> = releasing.iter().map(Vec::as_slice).collect();
    let owner = aside::owner(ledger.owner());
    let mut audit = Audit::default();
    let begun = shared.clone();
    let mut walks = blocking(move || Walks::begin(&begun)).await??;
    loop {
        let with = shared.clone();
        let (back, batch) = blocking(move || {
            let batch = walks.batch(&with);
            (walks, batch)
        })
        .await?;
        walks = back;
        if batch.is_empty() {
            return Ok(audit);
        }
        let known = ledger.known(batch.iter().map(|found| found.path.clone()).collect()).await?;
        for (found, known) in batch.into_iter().zip(known) {
            audit.compared += 1;
            let is_known = |stat: &FileStat| known.is_some_and(|known| same(&known.stat, stat));
            let (state, detail) = match (&found.stat, &found.place) {
                (Err(problem), _) => (AuditState::Problem, Some(problem.message.clone())),
                (Ok(stat), Some(place)) if releasing.contains(&place.release(stat)[..]) => {
                    (AuditState::Releasing, None)
                }
                (Ok(_), Some(place)) if place.owner != owner => {
                    let folder = name::printable(&name::from_bytes(&place.key()));
                    (AuditState::Claimed, Some(format!("by another flow or data directory, in {folder}")))
                }
                (Ok(stat), Some(place)) if is_known(stat) => {
                    let at = name::printable(&name::from_bytes(&place.key()));
                    (AuditState::Problem, Some(format!("ingested, but never let go of; it is in {at}")))
                }
                (Ok(_), Some(_)) => (AuditState::Claimed, None),
                (Ok(stat), None) if is_known(stat) => (AuditState::Ingested, None),
                (Ok(_), None) => (AuditState::Waiting, known.map(|_| "changed since it arrived".to_owned())),
            };
            if state == AuditState::Ingested {
                continue;
            }
            if audit.entries.len() >= MOST_ENTRIES {
                audit.more = true;
                continue;
            }
            audit.entries.push(AuditEntry { path: name::from_bytes(&found.path), state, detail });
        }
    }
}
