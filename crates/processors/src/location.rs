//! A folder that a flow names by a path, looked up each time it is used: what has the path may be renamed, replaced,
//! unmounted or mounted anew at any time.
//!
//! A folder below an unmounted file system looks like an empty one, or can be made anew as if nothing had happened. So it
//! is recorded below which mount point a location was last, and a location whose mount point is none any more is refused
//! until it is mounted again, or a person says that the folder which is there now is meant: by making the file
//! [`ACCEPT`] in it. Recorded too is in which folders files may lie claimed, see the source `file_drop`.
//!
//! The records are files in the data directory, because what is mounted is a matter of this machine. They may be deleted:
//! then whatever is there is taken for what is meant.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opendmp_model::ids::{PathHash, base32};
use opendmp_model::name;
use opendmp_processor::PathPolicy;
use serde::{Deserialize, Serialize};

use crate::beneath::{Folder, FolderId, Guard, Identity};
use crate::life;

/// The file by which a person says that the folder it is in is meant. It is removed once that is recorded.
pub(crate) const ACCEPT: &str = ".opendmp-accept";

/// The version of the format of records.
const FORMAT: u32 = 1;

/// Records are read, changed and written by one at a time.
static RECORDS: Mutex<()> = Mutex::new(());

/// What is recorded of a location. Paths are written as item names are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    format: u32,
    path: String,
    /// The folder that was there last.
    folder: Option<String>,
    /// The mount point that it was below.
    mount: Option<String>,
    /// Where claimed files may lie.
    #[serde(default)]
    claims: Vec<Claims>,
}

/// A folder in which files may lie claimed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claims {
    folder: String,
    owner: String,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Location {
    path: PathBuf,
    /// Opens it only where it may be used.
    guard: Option<Arc<Guard>>,
    /// The file of its record.
    file: Option<PathBuf>,
    /// Device and inode of the data directory that the folder of records is in; `None`: any folder will do.
    home: Option<(u64, u64)>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What was there when it was checked last.
    checked: Option<Identity>,
    /// The path without links, as it was found last.
    real: Option<PathBuf>,
    /// The record, where it has no file.
    record: Record,
}

impl Location {
    /// The folder that has `path`, an absolute path. Its record is kept in the folder `records`; where there is none, it
    /// is forgotten with this value.
    pub(crate) fn new(path: PathBuf, records: Option<&Path>) -> Self {
        let file = records.map(|records| {
            let mut file = base32(&PathHash::of("opendmp 2026 location v1", &[path.as_os_str().as_encoded_bytes()]).0);
            file.truncate(26);
            records.join(file + ".json")
        });
        Self { path, guard: None, file, home: None, state: Mutex::default() }
    }

    /// The same, its record kept only while the data directory of the policy is in its place.
    pub(crate) fn at_home(self, policy: &PathPolicy) -> Self {
        Self { home: policy.data_directory(), ..self }
    }

    /// Errs while the data directory is not where it was: nothing is to be made in its place, and nothing begun that it
    /// has to remember.
    pub(crate) fn check_home(&self) -> io::Result<()> {
        let (Some(home), Some(data)) = (self.home, self.file.as_deref().and_then(Path::parent).and_then(Path::parent))
        else {
            return Ok(());
        };
        match data.metadata() {
            Ok(found) if (found.dev(), found.ino()) == home => Ok(()),
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Err(unrecorded("looking at", data, &error))
            }
            Ok(_) | Err(_) => Err(io::Error::other(Unrecorded {
                code: "data-directory-away",
                message: format!("the data directory {} was moved or removed while it is in use", shown(data)),
                hint: "move the directory back to its path; work continues without a restart".to_owned(),
            })),
        }
    }

    /// The same, opened only as far as it may be used.
    pub(crate) fn guarded(self, guard: Arc<Guard>) -> Self {
        Self { guard: Some(guard), ..self }
    }

    fn open_folder(&self) -> io::Result<Folder> {
        self.guard.as_ref().map_or_else(|| Folder::open(&self.path), |guard| guard.open(&self.path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path, as it is shown.
    pub(crate) fn shown(&self) -> String {
        shown(&self.path)
    }

    /// The path without links. While it can't be followed to its end (nothing is mounted there, or there is no looking at
    /// it) it is what it was last, so that one place does not seem to be another; else it is followed as far as it goes.
    pub(crate) fn real(&self) -> PathBuf {
        // Where a link leads now that must not be followed, it will not lead when anything is written.
        if self.guard.as_ref().is_some_and(|guard| guard.refuses(&self.path)) {
            return self.state().real.clone().unwrap_or_else(|| self.path.clone());
        }
        match self.path.canonicalize() {
            Ok(real) => {
                self.state().real = Some(real.clone());
                real
            }
            Err(_) => self.state().real.clone().unwrap_or_else(|| crate::beneath::real(&self.path)),
        }
    }

    /// Opens what has the path now.
    ///
    /// # Errors
    /// Of the system; an [`Unmounted`] where the file system it was on is not mounted.
    pub(crate) fn open(&self) -> io::Result<(Folder, Identity)> {
        let folder = match self.open_folder() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.check_parents()?;
                return Err(error);
            }
            opened => opened?,
        };
        let identity = folder.identify()?;
        self.check(&folder, &identity)?;
        Ok((folder, identity))
    }

    /// The same; the folder and its parents are made where they are missing, and what is made is durable.
    pub(crate) fn open_or_make(&self) -> io::Result<Folder> {
        match self.open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return Ok(opened?.0),
        }
        match &self.guard {
            Some(guard) => drop(guard.open_or_make(&self.path)?),
            None => drop(Folder::open_or_make(&self.path)?),
        }
        Ok(self.open()?.0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses an open folder that is not on the file system which was mounted there.
    fn check(&self, folder: &Folder, identity: &Identity) -> io::Result<()> {
        if self.state().checked == Some(*identity) {
            return Ok(());
        }
        let real = self.path.canonicalize()?;
        let mount = mount_point(&real)?;
        if Identity::at(&real)? != *identity {
            return Err(io::Error::other("it is being replaced"));
        }
        let id = identity.folder();
        let record = self.record()?;
        let is_known = record.folder().is_some_and(|known| known.is(&id));
        if !is_known
            && let Some(unmounted) = self.unmounted(&record, &mount)?
            && !self.accept(folder, &id, &mount)?
        {
            return Err(io::Error::other(unmounted));
        }
        let (folder, mount) = (id.to_string(), as_text(&mount));
        if record.folder.as_ref() != Some(&folder) || record.mount.as_ref() != Some(&mount) {
            self.change(|record| (record.folder, record.mount) = (Some(folder), Some(mount)))?;
        }
        // What was accepted is recorded by now; a second location of the same path finds it in the record.
        self.state().checked = Some(*identity);
        Ok(())
    }

    /// Whether a person said that this folder is meant; the folders that were there before are forgotten then.
    fn accept(&self, folder: &Folder, id: &FolderId, mount: &Path) -> io::Result<bool> {
        if folder.look(ACCEPT.as_bytes())?.is_none() {
            return Ok(false);
        }
        tracing::info!(path = self.shown(), "the folder that is there now is the one that is meant");
        self.change(|record| {
            (record.folder, record.mount) = (Some(id.to_string()), Some(as_text(mount)));
            let here = |claims: &Claims| FolderId::parse(&claims.folder).is_some_and(|folder| folder.is(id));
            record.claims.retain(here);
        })?;
        // Where it can't be removed it does no harm: it says what is so.
        let _ = folder.unlink(ACCEPT.as_bytes());
        Ok(true)
    }

    /// The same, once more than where something is not mounted: where files may lie claimed in folders that are not there.
    pub(crate) fn accept_now(&self, folder: &Folder, id: &FolderId) -> io::Result<bool> {
        let mount = mount_point(&self.path.canonicalize()?)?;
        self.accept(folder, id, &mount)
    }

    /// Refuses a missing folder where the file system it was on is not mounted, so that it is not made elsewhere.
    fn check_parents(&self) -> io::Result<()> {
        for parent in self.path.ancestors().skip(1) {
            let real = match parent.canonicalize() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                real => real?,
            };
            return match self.unmounted(&self.record()?, &mount_point(&real)?)? {
                Some(unmounted) => Err(io::Error::other(unmounted)),
                None => Ok(()),
            };
        }
        Ok(())
    }

    /// Whether what is below the mount point `now` was below another one, which is none any more.
    fn unmounted(&self, record: &Record, now: &Path) -> io::Result<Option<Unmounted>> {
        let Some(before) = record.mount.as_deref().map(|mount| PathBuf::from(bytes_to_os(name::to_bytes(mount))))
        else {
            return Ok(None);
        };
        if before == now || !before.starts_with(now) || is_mount_point(&before)? {
            return Ok(None);
        }
        Ok(Some(Unmounted { path: self.shown(), mount: shown(&before) }))
    }

    /// Says, durably, that files may lie claimed in a folder, before the first is.
    pub(crate) fn add_claims(&self, folder: &FolderId, owner: &[u8]) -> io::Result<()> {
        let claims = Claims { folder: folder.to_string(), owner: name::from_bytes(owner) };
        if self.record()?.claims.contains(&claims) {
            return Ok(());
        }
        self.change(|record| record.claims.push(claims))
    }

    /// Says that no files lie claimed any more in folders.
    pub(crate) fn remove_claims(&self, gone: impl Fn(&FolderId, &[u8]) -> bool) -> io::Result<()> {
        let is_gone = |claims: &Claims| {
            FolderId::parse(&claims.folder).is_none_or(|folder| gone(&folder, &name::to_bytes(&claims.owner)))
        };
        if !self.record()?.claims.iter().any(is_gone) {
            return Ok(());
        }
        self.change(|record| record.claims.retain(|claims| !is_gone(claims)))
    }

    /// The folders in which files may lie claimed, and whose.
    pub(crate) fn claims(&self) -> io::Result<Vec<(FolderId, Vec<u8>)>> {
        let claims = self.record()?.claims.into_iter();
        Ok(claims.filter_map(|c| Some((FolderId::parse(&c.folder)?, name::to_bytes(&c.owner)))).collect())
    }

    fn record(&self) -> io::Result<Record> {
        let Some(file) = &self.file else { return Ok(self.state().record.clone()) };
        // With the data directory away, that nothing is recorded would only seem so.
        self.check_home()?;
        let damaged = |why: &str| io::Error::other(format!("the record {} {why}; remove it", shown(file)));
        match std::fs::read(file) {
            Ok(bytes) => match serde_json::from_slice::<Record>(&bytes) {
                Ok(record) if record.format == FORMAT => Ok(record),
                Ok(_) => Err(damaged("was written by another version of OpenDMP")),
                Err(_) => Err(damaged("is damaged")),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Record::default()),
            Err(error) => Err(unrecorded("reading", file, &error)),
        }
    }

    /// Changes the record, durably.
    fn change(&self, change: impl FnOnce(&mut Record)) -> io::Result<()> {
        let _one = RECORDS.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = self.record()?;
        change(&mut record);
        (record.format, record.path) = (FORMAT, as_text(&self.path));
        let Some(file) = &self.file else {
            self.state().record = record;
            return Ok(());
        };
        let Some(folder) = file.parent() else { return Ok(()) };
        // Only this one, never what it is in: with the data directory away, another would be made in its place.
        match std::fs::DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(unrecorded("making", folder, &error));
            }
            Ok(()) | Err(_) => {}
        }
        let new = folder.join(format!("{}.tmp", life::new()));
        let written: io::Result<()> = (|| {
            // The data directory is its owner's alone, whatever the umask.
            let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            out.write_all(&serde_json::to_vec_pretty(&record)?)?;
            out.sync_all()?;
            std::fs::rename(&new, file)?;
            std::fs::File::open(folder)?.sync_all()
        })();
        if written.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        written.map_err(|error| unrecorded("writing", file, &error))
    }
}

impl Record {
    fn folder(&self) -> Option<FolderId> {
        FolderId::parse(self.folder.as_deref()?)
    }
}

/// What is recorded of a folder can't be read or written: a matter of the data directory, not of the folder.
#[derive(Clone, Debug)]
pub(crate) struct Unrecorded {
    /// A short stable name.
    pub code: &'static str,
    message: String,
    pub hint: String,
}

impl Unrecorded {
    /// What an error says, if it says that.
    pub(crate) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl std::fmt::Display for Unrecorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Unrecorded {}

/// An error with a record. It names what refuses, which may be a folder above.
fn unrecorded(doing: &str, path: &Path, error: &io::Error) -> io::Error {
    let (code, hint) = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            // The deepest that can be looked at is what lets nobody in.
            let closed = path.ancestors().find(|at| at.metadata().is_ok()).unwrap_or(path);
            let (closed, rights) = (shown(closed), if closed.is_dir() { "rwx" } else { "rw" });
            (
                "no-rights",
                format!(
                    "`{closed}` refuses the user OpenDMP runs as: `chmod u+{rights} '{closed}'`, or give that user the data \
                     directory with `chown -R`"
                ),
            )
        }
        io::ErrorKind::ReadOnlyFilesystem => ("read-only", "mount the disk of the data directory writable".to_owned()),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ("no-space", "make room on the disk of the data directory; it is tried again".to_owned())
        }
        _ => ("io", "check the disk of the data directory; it is tried again".to_owned()),
    };
    let message = format!("{doing} `{}` in the data directory: {error}", shown(path));
    io::Error::other(Unrecorded { code, message, hint })
}

/// A folder lies below a mount point at which nothing is mounted any more.
#[derive(Clone, Debug)]
pub(crate) struct Unmounted {
    path: String,
    mount: String,
}

impl Unmounted {
    /// A short stable name.
    pub(crate) const CODE: &str = "not-mounted";

    /// What an error says, if it says that.
    pub(crate) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    pub(crate) fn hint(&self) -> String {
        let Self { path, mount } = self;
        format!(
            "mount `{mount}` again. To use the folder without the mount instead, and forget files that were claimed on it: \
             `mkdir -p '{path}' && touch '{path}/{ACCEPT}'`"
        )
    }
}

impl std::fmt::Display for Unmounted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, mount } = self;
        write!(f, "`{path}` was on the file system at `{mount}`, where nothing is mounted now")
    }
}

impl std::error::Error for Unmounted {}

/// The mount point that a path without links is below, or is itself.
fn mount_point(real: &Path) -> io::Result<PathBuf> {
    let mut at = real;
    let mount = Identity::at(real)?.mount;
    while let Some(parent) = at.parent() {
        if Identity::at(parent)?.mount != mount {
            break;
        }
        at = parent;
    }
    Ok(at.to_owned())
}

/// Whether something is mounted at that very path.
fn is_mount_point(path: &Path) -> io::Result<bool> {
    let Some(parent) = path.parent() else { return Ok(true) };
    let mount = |path: &Path| match Identity::at(path) {
        Ok(identity) => Ok(Some(identity.mount)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    };
    let own = mount(path)?;
    Ok(own.is_some() && own != mount(parent)?)
}

fn bytes_to_os(bytes: Vec<u8>) -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes)
}

/// A path as it is recorded.
fn as_text(path: &Path) -> String {
    name::from_bytes(path.as_os_str().as_encoded_bytes())
}

fn shown(path: &Path) -> String {
    name::printable(&as_text(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> FolderId {
        FolderId::parse(&format!("{n:x}-0")).unwrap()
    }

    #[test]
    fn records_outlast_the_process_and_may_be_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let (path, records) = (dir.path().join("in"), dir.path().join("records"));
        std::fs::create_dir(&path).unwrap();
        let one = || Location::new(path.clone(), Some(&records));
        one().add_claims(&id(1), b"a").unwrap();
        one().add_claims(&id(1), b"a").unwrap();
        one().add_claims(&id(2), b"b").unwrap();
        assert_eq!(one().claims().unwrap(), [(id(1), b"a".to_vec()), (id(2), b"b".to_vec())]);
        one().remove_claims(|folder, _| folder.is(&id(1))).unwrap();
        assert_eq!(one().claims().unwrap(), [(id(2), b"b".to_vec())]);
        let other = Location::new(dir.path().join("out"), Some(&records));
        assert_eq!(other.claims().unwrap(), []);
        std::fs::remove_dir_all(&records).unwrap();
        assert_eq!(one().claims().unwrap(), []);
        one().open().unwrap();
        let file = std::fs::read_dir(&records).unwrap().next().unwrap().unwrap().path();
        std::fs::write(&file, "{").unwrap();
        let error = one().open().unwrap_err().to_string();
        assert!(error.contains("damaged") && error.contains(file.to_str().unwrap()), "{error}");
    }

    #[test]
    fn nothing_is_made_in_the_place_of_a_data_directory_that_is_away() {
        let dir = tempfile::tempdir().unwrap();
        let (path, data, away) = (dir.path().join("in"), dir.path().join("data"), dir.path().join("away"));
        std::fs::create_dir(&path).unwrap();
        std::fs::create_dir(&data).unwrap();
        let policy = PathPolicy::new(Vec::new(), Some(&data));
        let location = |path: &Path| Location::new(path.to_owned(), Some(&data.join("locations"))).at_home(&policy);
        location(&path).open().unwrap();
        // As anybody may do at any time.
        std::fs::remove_dir_all(data.join("locations")).unwrap();
        location(&path).open().unwrap();
        assert!(data.join("locations").is_dir());
        std::fs::rename(&data, &away).unwrap();
        let told = |error: io::Error| {
            let Some(found) = Unrecorded::of(&error) else { panic!("{error}") };
            assert!(found.message.contains("was moved or removed") && found.hint.contains("back"), "{found:?}");
        };
        told(location(&path).open().unwrap_err());
        told(location(&path).add_claims(&id(1), b"a").unwrap_err());
        assert!(!data.exists(), "nothing is made in its place");
        // Nor where another folder has its place.
        std::fs::create_dir(&data).unwrap();
        told(location(&path).open().unwrap_err());
        told(location(&dir.path().join("out")).open_or_make().unwrap_err());
        assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);
        std::fs::remove_dir(&data).unwrap();
        std::fs::rename(&away, &data).unwrap();
        location(&path).open().unwrap();
        location(&path).add_claims(&id(1), b"a").unwrap();
        assert_eq!(location(&path).claims().unwrap().len(), 1);
    }

    #[test]
    fn a_record_that_can_not_be_used_is_not_put_down_to_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let (path, data) = (dir.path().join("in"), dir.path().join("data"));
        std::fs::create_dir(&path).unwrap();
        std::fs::create_dir_all(data.join("locations")).unwrap();
        let location = Location::new(path, Some(&data.join("locations")));
        let refused = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = unrecorded("reading", location.file.as_deref().unwrap(), &refused);
        let found = Unrecorded::of(&error).unwrap();
        let folder = data.join("locations").display().to_string();
        assert!(found.hint.contains(&format!("chmod u+rwx '{folder}'")), "the deepest that is there: {found:?}");
        assert!(found.message.contains("in the data directory"), "{found:?}");
        // A file is where its folder should be.
        std::fs::remove_dir(data.join("locations")).unwrap();
        std::fs::write(data.join("locations"), "").unwrap();
        let error = location.open().unwrap_err();
        assert!(Unrecorded::of(&error).is_some_and(|found| found.message.contains(&folder)), "{error}");
    }

    #[test]
    fn a_folder_made_anew_on_the_same_file_system_is_the_one_that_is_meant() {
        let dir = tempfile::tempdir().unwrap();
        let location = Location::new(dir.path().join("a/out"), Some(&dir.path().join("records")));
        location.open_or_make().unwrap();
        std::fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
        assert_eq!(location.open().unwrap_err().kind(), io::ErrorKind::NotFound);
        location.open_or_make().unwrap();
        assert!(dir.path().join("a/out").exists());
    }

    #[test]
    fn what_was_below_a_mount_point_is_refused_where_nothing_is_mounted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk/out");
        let records = dir.path().join("records");
        let location = Location::new(path.clone(), Some(&records));
        // As if a disk had been mounted at `disk`, and its root had been another folder.
        let disk = as_text(&dir.path().canonicalize().unwrap().join("disk"));
        location.change(|record| (record.folder, record.mount) = (Some("1-1".to_owned()), Some(disk))).unwrap();
        let refused =
            |error: &io::Error| Unmounted::of(error).is_some_and(|unmounted| unmounted.hint().contains("touch"));
        for _ in 0..2 {
            assert!(refused(&location.open().unwrap_err()) && refused(&location.open_or_make().unwrap_err()));
            assert!(!path.exists(), "nothing is made below the mount point");
        }
        std::fs::create_dir_all(&path).unwrap();
        assert!(refused(&location.open().unwrap_err()) && refused(&location.open_or_make().unwrap_err()));
        std::fs::write(path.join(ACCEPT), "").unwrap();
        location.open().unwrap();
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
        // From then on it is what is meant, for others and after a restart too.
        Location::new(path, Some(&records)).open_or_make().unwrap();
    }

    #[test]
    fn a_place_that_can_not_be_followed_is_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, link) = (dir.path().join("disk"), dir.path().join("disk/link"));
        std::fs::create_dir_all(disk.join("data")).unwrap();
        std::os::unix::fs::symlink("data", &link).unwrap();
        let location = Location::new(link, None);
        let real = location.real();
        assert!(real.ends_with("disk/data"));
        std::fs::rename(&disk, dir.path().join("away")).unwrap();
        assert_eq!(location.real(), real);
        assert!(Location::new(disk.join("link"), None).real().ends_with("disk/link"), "as far as it goes");
    }

    #[test]
    fn mount_points_are_found() {
        assert_eq!(mount_point(Path::new("/")).unwrap(), Path::new("/"));
        assert!(is_mount_point(Path::new("/")).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        let mount = mount_point(&real).unwrap();
        assert!(real.starts_with(&mount) && mount != real && is_mount_point(&mount).unwrap());
        assert!(!is_mount_point(&real).unwrap() && !is_mount_point(&real.join("missing")).unwrap());
    }
}
