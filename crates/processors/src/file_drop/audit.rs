//! Compares a folder with its ledger, and changes nothing.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use opendmp_model::ledger::{FileStat, Known};
use opendmp_model::name;
use opendmp_processor::{Audit, AuditEntry, AuditState, Ledger, NotTaken, SourceError};

use super::aside::{self, CLAIMED, Life, Place};
use super::roots::Root;
use super::scan::Shared;
use super::still::same;
use super::walk::{Met, Walk};
use super::{blocking, failed, no_root};
use crate::beneath::{is_file, split, version};

/// How many paths are compared at a time.
const BATCH: usize = 1_000;
/// For how long after it was set aside a file counts as being taken in, whoever does so, in nanoseconds.
pub(super) const RECENT: i64 = 10_000_000_000;
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
/// meanwhile is then met in one of them at least; the other way round it could be met in neither. Set aside may also be
/// what lies in folders that had the path before.
struct Walks {
    root: Arc<Root>,
    /// The folders in which what is set aside is to be walked.
    claimed: VecDeque<Arc<Root>>,
    at: At,
    /// What lies there and is never taken.
    not_taken: NotTaken,
}

/// Which walk is next.
enum At {
    Files(Walk),
    Claimed(Arc<Root>, Walk),
    End,
}

impl Walks {
    fn begin(shared: &Shared) -> Result<Self, SourceError> {
        let root = shared.roots.now().map_err(|error| no_root(&shared.roots.location, &error))?;
        let files = root.folder.again().and_then(|root| Walk::new(root, shared.recursive));
        let files = files.map_err(|error| failed("listing", b".", &error))?;
        let before = shared.roots.held().into_iter().filter(|held| !Arc::ptr_eq(held, &root));
        let claimed = [Arc::clone(&root)].into_iter().chain(before).collect();
        Ok(Self { root, claimed, at: At::Files(files), not_taken: NotTaken::default() })
    }

    /// The next walk of what is set aside. Opened only now: the folder is not there while nothing is.
    fn next_claimed(&mut self) -> Result<At, io::Error> {
        while let Some(root) = self.claimed.pop_front() {
            match root.folder.enter(CLAIMED).and_then(|claimed| Walk::new(claimed, true)) {
                Ok(walk) => return Ok(At::Claimed(root, walk)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(At::End)
    }

    fn batch(&mut self, shared: &Shared) -> Vec<Found> {
        let mut found = Vec::new();
        while found.len() < BATCH {
            let (met, claimed) = match &mut self.at {
                At::Files(walk) => (walk.next(Some(&shared.matcher)), None),
                At::Claimed(root, walk) => (walk.next(None), Some(Arc::clone(root))),
                At::End => break,
            };
            match met {
                Some(Met::File(path)) => match &claimed {
                    Some(root) => {
                        let mut parts = path.splitn(3, |&b| b == b'/').map(<[u8]>::to_vec);
                        if let (Some(owner), Some(token), Some(path)) = (parts.next(), parts.next(), parts.next()) {
                            let place = Place { owner, token, path: path.clone() };
                            if let Some(stat) = stat(root, &place.key()) {
                                found.push(Found { path, place: Some(place), stat });
                            }
                        }
                    }
                    None => {
                        if let Some(stat) = stat(&self.root, &path) {
                            found.push(Found { path, place: None, stat });
                        }
                    }
                },
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
                Some(Met::Replaced) => {}
                None => {
                    if let At::Files(walk) = &mut self.at
                        && walk.not_taken.count > 0
                    {
                        self.not_taken = std::mem::take(&mut walk.not_taken);
                    }
                    self.at = self.next_claimed().unwrap_or_else(|error| {
                        let stat = Err(failed("listing", CLAIMED, &error));
                        found.push(Found { path: CLAIMED.to_vec(), place: None, stat });
                        At::Files(Walk::default())
                    });
                }
            }
        }
        found.sort_by(|one, other| one.path.cmp(&other.path));
        found
    }
}

/// `None` where it is gone: it was set aside, which the later walk meets, or let go of.
fn stat(root: &Root, path: &[u8]) -> Option<Result<FileStat, SourceError>> {
    let (folder, file_name) = split(path);
    let looked = root.folder.descend(folder).and_then(|folder| {
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

/// Whether each file is where it was found; what was set aside is asked for once more.
fn still_there(shared: &Shared, batch: Vec<Found>) -> Vec<(Found, bool)> {
    let now = shared.roots.now().ok();
    let is_there = |found: &Found| {
        let (Some(place), Ok(_)) = (&found.place, &found.stat) else { return true };
        let Some(reached) = shared.roots.of(place, now.as_ref()) else { return true };
        stat(&reached.root, &place.key()).is_some()
    };
    batch.into_iter().map(|found| (is_there(&found), found)).map(|(is_there, found)| (found, is_there)).collect()
}

/// Whether a file was set aside a moment ago, by the clock of its stamps, which may be a little ahead: its name changed
/// then. Its source may be one of another process, or one that was killed and takes it up again when it starts.
#[cfg(target_os = "linux")]
fn is_recent(stat: &FileStat, recent: i64) -> bool {
    use nix::sys::time::TimeValLike;
    use nix::time::{ClockId, clock_gettime};
    let now = clock_gettime(ClockId::CLOCK_REALTIME_COARSE).map(|now| now.num_nanoseconds());
    now.is_ok_and(|now| now.saturating_sub(stat.ctime).saturating_abs() < recent)
}

/// By what is living alone.
#[cfg(not(target_os = "linux"))]
fn is_recent(_: &FileStat, _: i64) -> bool {
    false
}

/// What is not to be found, because the folder it is in is not there.
fn missing(shared: &Shared, owner: &[u8], releasing: &[Vec<u8>]) -> Result<Vec<AuditEntry>, SourceError> {
    let failed = |error: io::Error| no_root(&shared.roots.location, &error);
    let now = shared.roots.now().map_err(failed)?;
    let folders = shared.roots.missing(&now, owner).map_err(failed)?;
    if folders.is_empty() {
        return Ok(Vec::new());
    }
    let entry = |path: &[u8], detail: String| AuditEntry {
        path: name::from_bytes(path),
        state: AuditState::Problem,
        detail: Some(detail),
    };
    let moved = shared.roots.missed(folders.len());
    let hint = moved.hint.unwrap_or_default();
    let mut entries = vec![entry(CLAIMED, format!("{}; {hint}", moved.message))];
    for release in releasing {
        let Ok((place, _)) = Place::from_release(release) else { continue };
        let reached = shared.roots.of(&place, Some(&now));
        if reached.is_some_and(|reached| !reached.sure) && shared.roots.is_missed(&place).map_err(failed)? {
            entries.push(entry(
                &place.path,
                "ingested; its file is in a folder that is missing now, so it can't be deleted or moved".to_owned(),
            ));
        }
    }
    Ok(entries)
}

/// Compares. `releasing` are the releases not yet carried out; what was set aside less than `recent` ago counts as being
/// taken in.
pub(super) async fn audit(
    shared: Arc<Shared>,
    ledger: &dyn Ledger,
    releasing: &[Vec<u8>],
    recent: i64,
) -> Result<Audit, SourceError> {
    let owner = aside::owner(ledger.owner());
    let mut audit = Audit::default();
    let (with, of, named) = (shared.clone(), owner.clone(), releasing.to_vec());
    for entry in blocking(move || missing(&with, &of, &named)).await?? {
        audit.compared += 1;
        audit.more |= audit.entries.len() >= MOST_ENTRIES;
        if !audit.more {
            audit.entries.push(entry);
        }
    }
    let releasing: BTreeSet<&[u8]> = releasing.iter().map(Vec::as_slice).collect();
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
            audit.not_taken = walks.not_taken;
            return Ok(audit);
        }
        let known = ledger.known(batch.iter().map(|found| found.path.clone()).collect()).await?;
        let knows = |known: &Option<Known>, stat: &FileStat| known.is_some_and(|known| same(&known.stat, stat));
        // What arrived since the audit began is being let go by now, or was. Asked for only once it is known to the
        // ledger, with which it is recorded that it is to be let go.
        let late = |(found, known): (&Found, &Option<Known>)| match (&found.stat, &found.place) {
            (Ok(stat), Some(place)) if knows(known, stat) => Some(place.release(stat)),
            _ => None,
        };
        let asked: Vec<Bytes> = batch.iter().zip(&known).filter_map(late).collect();
        let answers = if asked.is_empty() { Vec::new() } else { ledger.releasing(asked.clone()).await? };
        let late: BTreeSet<Bytes> = asked.into_iter().zip(answers).filter_map(|(one, is)| is.then_some(one)).collect();
        let with = shared.clone();
        let batch = blocking(move || still_there(&with, batch)).await?;
        for ((found, is_there), known) in batch.into_iter().zip(known) {
            if !is_there {
                continue;
            }
            audit.compared += 1;
            let is_known = |stat: &FileStat| knows(&known, stat);
            let in_work = |place: &Place, stat: &FileStat| Life::is_living(&place.token) || is_recent(stat, recent);
            let (state, detail) = match (&found.stat, &found.place) {
                (Err(problem), _) => (AuditState::Problem, Some(problem.message.clone())),
                (Ok(stat), Some(place)) if late.contains(&place.release(stat)) => (AuditState::Releasing, None),
                (Ok(stat), Some(place)) if releasing.contains(&place.release(stat)[..]) => {
                    (AuditState::Releasing, None)
                }
                (Ok(stat), Some(place)) if place.owner != owner && in_work(place, stat) => {
                    (AuditState::Waiting, Some("set aside, and being taken in by another flow".to_owned()))
                }
                (Ok(_), Some(place)) if place.owner != owner => {
                    let folder = name::printable(&name::from_bytes(&place.key()));
                    (AuditState::Claimed, Some(format!("by another flow or data directory, in {folder}")))
                }
                (Ok(stat), Some(place)) if is_known(stat) => {
                    let at = name::printable(&name::from_bytes(&place.key()));
                    (AuditState::Problem, Some(format!("ingested, but not yet deleted or moved; it is in {at}")))
                }
                (Ok(stat), Some(place)) if in_work(place, stat) => {
                    (AuditState::Waiting, Some("set aside, and being taken in".to_owned()))
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
    fn what_is_never_taken_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("sub/old")).unwrap();
        for path in ["a.csv", "b.CSV", "c.csv.part", "d.txt", ".e.csv", "sub/f.csv", "sub/old/g.csv"] {
            std::fs::write(dir.path().join(path), path).unwrap();
        }
        let not_taken = |config: serde_json::Value| {
            let config = saved_config(config.as_object().unwrap()).unwrap();
            let source = FileDrop::open(config, &crate::fixtures::context(dir.path())).unwrap();
            let mut walks = Walks::begin(&source.shared).unwrap();
            let mut compared = 0;
            loop {
                let batch = walks.batch(&source.shared);
                if batch.is_empty() {
                    break;
                }
                compared += batch.len();
            }
            walks.not_taken.examples.sort();
            assert_eq!(walks.not_taken.count, walks.not_taken.examples.len() as u64);
            (compared, walks.not_taken.examples)
        };
        let (compared, left) = not_taken(serde_json::json!({ "path": ".", "pattern": "*.csv" }));
        assert_eq!(
            (compared, left),
            (1, [".e.csv", "b.CSV", "c.csv.part", "d.txt", "sub/"].map(str::to_owned).to_vec())
        );
        let config = serde_json::json!({ "path": ".", "recursive": true, "exclude": ["old", "*.txt"] });
        let (compared, left) = not_taken(config);
        assert_eq!((compared, left), (4, [".e.csv", "d.txt", "sub/old/"].map(str::to_owned).to_vec()));
        for n in 0..20 {
            std::fs::write(dir.path().join(format!("{n}.txt")), "").unwrap();
        }
        let mut walk = Walk::new(crate::beneath::Folder::open(dir.path()).unwrap(), false).unwrap();
        let pattern = super::super::pattern::Patterns(vec!["*.csv".to_owned()]);
        let selection =
            super::super::pattern::Selection { pattern: &pattern, exclude: None, ignore_case: false, recursive: false };
        let matcher = selection.compile().unwrap();
        while walk.next(Some(&matcher)).is_some() {}
        assert_eq!((walk.not_taken.count, walk.not_taken.examples.len()), (25, 10));
    }

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
