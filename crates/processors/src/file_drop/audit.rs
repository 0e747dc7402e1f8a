//! Compares a folder with its ledger, and changes nothing.

use std::collections::BTreeSet;
use std::io;
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

/// The walks through the folder, one batch at a time: first what lies there, then what is set aside. What is set aside
/// meanwhile is then met in one of them at least; the other way round it could be met in neither.
struct Walks {
    root: Folder,
    at: At,
}

/// Which walk is next.
enum At {
    Files(Walk),
    Claimed(Walk),
    End,
}

impl Walks {
    fn begin(shared: &Shared) -> Result<Self, SourceError> {
        let root = Folder::open(&shared.root).map_err(|error| no_root(&shared.root, &error))?;
        let files = root.again().and_then(|root| Walk::new(root, shared.recursive));
        let files = files.map_err(|error| failed("listing", b".", &error))?;
        Ok(Self { root, at: At::Files(files) })
    }

    /// Opened only now: the folder is not there while nothing is set aside.
    fn claimed(&self) -> At {
        let walk = self.root.enter(CLAIMED).and_then(|claimed| Walk::new(claimed, true));
        walk.map_or(At::End, At::Claimed)
    }

    fn batch(&mut self, shared: &Shared) -> Vec<Found> {
        let mut found = Vec::new();
        while found.len() < BATCH {
            let (met, is_claimed) = match &mut self.at {
                At::Files(walk) => (walk.next(Some(&shared.matcher)), false),
                At::Claimed(walk) => (walk.next(None), true),
                At::End => break,
            };
            match met {
                Some(Met::File(path)) if is_claimed => {
                    let mut parts = path.splitn(3, |&b| b == b'/').map(<[u8]>::to_vec);
                    if let (Some(owner), Some(token), Some(path)) = (parts.next(), parts.next(), parts.next()) {
                        let place = Place { owner, token, path: path.clone() };
                        if let Some(stat) = self.stat(&place.key()) {
                            found.push(Found { path, place: Some(place), stat });
                        }
                    }
                }
                Some(Met::File(path)) => {
                    if let Some(stat) = self.stat(&path) {
                        found.push(Found { path, place: None, stat });
                    }
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
                None if is_claimed => self.at = At::End,
                None => self.at = self.claimed(),
            }
        }
        found.sort_by(|one, other| one.path.cmp(&other.path));
        found
    }

    /// `None` where it is gone: it was set aside, which the later walk meets, or let go of.
    fn stat(&self, path: &[u8]) -> Option<Result<FileStat, SourceError>> {
        let (folder, file_name) = split(path);
        let looked = self.root.descend(folder).and_then(|folder| {
            let stat = folder.stat(file_name)?;
            if is_file(&stat) {
                // Whether it can be read is what an audit is asked for.
                folder.read(file_name)?;
            }
            Ok(version(&stat))
        });
        match looked {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            looked => Some(looked.map_err(|error| failed("opening", path, &error))),
        }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::FileDrop;
    use super::*;
    use crate::file_drop::saved_config;

    #[test]
    fn what_is_set_aside_while_an_audit_walks_is_met() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for name in ["a.txt", "b.txt"] {
            std::fs::write(at(name), name).unwrap();
        }
        let config = serde_json::json!({ "path": ".", "after": "delete" });
        let config = saved_config(config.as_object().unwrap()).unwrap();
        let source = FileDrop::open(config, &crate::fixtures::context(dir.path())).unwrap();
        let mut walks = Walks::begin(&source.shared).unwrap();
        std::fs::create_dir_all(at(".opendmp-claimed/owner/life.0.d")).unwrap();
        std::fs::rename(at("a.txt"), at(".opendmp-claimed/owner/life.0.d/a.txt")).unwrap();
        let mut met = BTreeSet::new();
        loop {
            let batch = walks.batch(&source.shared);
            if batch.is_empty() {
                break;
            }
            met.extend(batch.into_iter().map(|found| (found.path, found.place.is_some(), found.stat.is_ok())));
        }
        assert_eq!(met, BTreeSet::from([(b"a.txt".to_vec(), true, true), (b"b.txt".to_vec(), false, true)]));
    }
}
