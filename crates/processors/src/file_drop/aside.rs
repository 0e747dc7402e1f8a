//! Files claimed by renaming them aside, within their file system, to
//! `.opendmp-claimed/<ledger>/<life>.<number>.<folder>.<d|m>/<path>`: which ledger claimed them, in which life of a source
//! and in which folder (which may be moved afterwards), to be deleted or moved. Here is how such places are named, made,
//! and let go of; when is decided by the scan.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use opendmp_model::export::numbered;
use opendmp_model::ids::{PathHash, base32};
use opendmp_model::ledger::FileStat;
use opendmp_model::name;
use opendmp_processor::SourceError;
use rustix::fs::{Timespec, Timestamps};

use super::area::Present;
use super::lease::{self, Writer};
use super::roots::{Reached, Root, Roots};
use super::still::TICK;
use super::{After, failed, known};
use crate::beneath::{Folder, FolderId, Taken, is_file, join, split, version};
use crate::life;
use crate::location::Location;

/// One release: its position among those asked for, the claimed file, and its version then.
type ToRelease = (usize, Place, FileStat);

/// The folder of everything claimed, in the source's own.
pub(super) const CLAIMED: &[u8] = b".opendmp-claimed";

/// What a release begins with: the version of its format.
const FORMAT: &str = "1";

/// How often what changes underneath is tried again.
const ATTEMPTS: u32 = 16;

/// Where a claimed file is, relative to [`CLAIMED`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The folder of its ledger, see [`owner`].
    pub owner: Vec<u8>,
    /// The folder of the claim.
    pub token: Vec<u8>,
    /// Its path in the source.
    pub path: Vec<u8>,
}

impl Place {
    /// The path from [`CLAIMED`] on.
    pub(super) fn within(&self) -> Vec<u8> {
        [&self.owner[..], &self.token, &self.path].join(&b'/')
    }

    /// What names it among everything a source offers.
    pub(super) fn key(&self) -> Vec<u8> {
        [CLAIMED, &self.within()].join(&b'/')
    }

    /// The inverse of [`Place::key`].
    pub(super) fn from_key(key: &[u8]) -> Option<Self> {
        let mut parts = key.strip_prefix(CLAIMED)?.strip_prefix(b"/")?.splitn(3, |&b| b == b'/');
        let (owner, token, path) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { owner: owner.to_vec(), token: token.to_vec(), path: path.to_vec() })
    }

    /// What [`Releaser::release_all`] needs of it: where it is, and which version was claimed, for a program that had just begun
    /// to open the file when it was set aside may still come to write to it.
    pub(super) fn release(&self, stat: &FileStat) -> Bytes {
        let FileStat { inode, size, mtime, .. } = stat;
        [format!("{FORMAT} {inode} {size} {mtime} ").as_bytes(), &self.within()].concat().into()
    }

    /// The inverse of [`Place::release`]; what the version leaves out is zero.
    pub(super) fn from_release(release: &[u8]) -> Result<(Self, FileStat), SourceError> {
        let bad = || SourceError {
            code: "bad-release",
            message: "a recorded release can't be read".to_owned(),
            hint: Some(
                "it was recorded by another version of OpenDMP; take the file out of `.opendmp-claimed` by hand"
                    .to_owned(),
            ),
        };
        let mut words = release.splitn(5, |&b| b == b' ');
        let mut word = || words.next().ok_or_else(bad);
        let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse::<i128>().ok();
        if word()? != FORMAT.as_bytes() {
            return Err(bad());
        }
        let (inode, size, mtime) = (number(word()?), number(word()?), number(word()?));
        let stat = FileStat {
            inode: inode.and_then(|n| n.try_into().ok()).ok_or_else(bad)?,
            size: size.and_then(|n| n.try_into().ok()).ok_or_else(bad)?,
            mtime: mtime.and_then(|n| n.try_into().ok()).ok_or_else(bad)?,
            ..FileStat::default()
        };
        let within = word()?;
        let mut parts = within.splitn(3, |&b| b == b'/');
        let (Some(owner), Some(token), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad());
        };
        let upward = within.split(|&b| b == b'/').any(|name| matches!(name, b"" | b"." | b".."));
        if upward || mode_of(token).is_none() {
            return Err(bad());
        }
        Ok((Self { owner: owner.to_vec(), token: token.to_vec(), path: path.to_vec() }, stat))
    }

    /// The folder of its claim.
    pub(super) fn area(&self, root: &Folder) -> io::Result<Folder> {
        root.enter(CLAIMED)?.enter(&self.owner)?.enter(&self.token)
    }

    /// The folder it is in, and its name there.
    pub(super) fn open<'a>(&'a self, root: &Folder) -> io::Result<(Folder, &'a [u8])> {
        let (folder, name) = split(&self.path);
        Ok((self.area(root)?.descend(folder)?, name))
    }
}

/// The folder name of a ledger.
pub(super) fn owner(ledger: &str) -> Vec<u8> {
    let mut name = base32(&PathHash::of("opendmp 2026 claimed by v1", &[ledger.as_bytes()]).0);
    name.truncate(16);
    name.into_bytes()
}

fn mode_of(token: &[u8]) -> Option<After> {
    match token {
        [.., b'.', b'd'] => Some(After::Delete),
        [.., b'.', b'm'] => Some(After::Move),
        _ => None,
    }
}

/// The folder that a claim was made in; `None` where it does not say.
pub(super) fn folder_of(token: &[u8]) -> Option<FolderId> {
    let mut parts = token.split(|&b| b == b'.').skip(2);
    let (folder, _mode) = (parts.next()?, parts.next()?);
    FolderId::parse(std::str::from_utf8(folder).ok()?)
}

/// The lives of the sources that are open in this process. A data directory has one process, so what is not of one of
/// these was left by a process that is gone.
static LIVING: Mutex<BTreeSet<Vec<u8>>> = Mutex::new(BTreeSet::new());

/// The life of one open source.
#[derive(Debug)]
pub(super) struct Life(Vec<u8>);

impl Life {
    pub(super) fn begin() -> Self {
        let life = life::new().into_bytes();
        LIVING.lock().unwrap_or_else(PoisonError::into_inner).insert(life.clone());
        Self(life)
    }

    /// The folder name of the `number`-th claim of this life, made in `folder`.
    pub(super) fn token(&self, number: u64, folder: &FolderId, after: After) -> Vec<u8> {
        let mode = if after == After::Move { "m" } else { "d" };
        [&self.0[..], format!(".{number}.{folder}.{mode}").as_bytes()].concat()
    }

    /// Whether the folder of that name is a claim of this life.
    pub(super) fn made(&self, token: &[u8]) -> bool {
        token.split(|&b| b == b'.').next() == Some(&self.0)
    }

    /// Whether the folder of that name is a claim of a source that is open in this process.
    pub(super) fn is_living(token: &[u8]) -> bool {
        let life = token.split(|&b| b == b'.').next().unwrap_or_default();
        LIVING.lock().unwrap_or_else(PoisonError::into_inner).contains(life)
    }

    /// Whether what lies in the folder of that name is to be looked after by this source.
    pub(super) fn looks_after(&self, token: &[u8]) -> bool {
        mode_of(token).is_some() && (self.made(token) || !Self::is_living(token))
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        LIVING.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// Makes and opens the folder of one ledger. A release may remove it again as empty meanwhile.
pub(super) fn make(root: &Folder, owner: &[u8], token: &[u8]) -> io::Result<Folder> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match root.descend_making(&[CLAIMED, owner, token].join(&b'/'), false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => last = Some(error),
            end => return end,
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

/// How letting a claimed file go ended.
#[derive(Clone, Debug)]
pub(super) struct Released {
    /// Where it was.
    pub place: Place,
    /// Whether it is another version by now, which is still there and is to be claimed anew.
    pub changed: bool,
}

/// Whether two looks at a claimed file saw the same version. Its name changes with the claim, and so may its ctime.
pub(super) fn same_content(one: &FileStat, other: &FileStat) -> bool {
    (one.inode, one.size, one.mtime) == (other.inode, other.size, other.mtime)
}

/// How claimed files are let go.
#[derive(Clone, Copy)]
pub(super) struct Releaser<'a> {
    pub roots: &'a Roots,
    /// Where files are moved to.
    pub to: Option<&'a Location>,
    /// Whether a file that is open for writing is not let go yet.
    pub ask_writer: bool,
    pub present: &'a Present,
}

/// How many releases are made durable together; each may keep two folders open.
const CHUNK: usize = 128;

impl Releaser<'_> {
    /// Lets claimed files go, answered in order: what is gone already from the folder it was claimed in is done, and so is
    /// what has become another version, which is left to be claimed anew.
    pub(super) fn release_all(&self, releases: &[Bytes]) -> Vec<Result<Released, SourceError>> {
        let now = self.roots.now();
        let mut ends: Vec<Option<Result<Released, SourceError>>> = Vec::with_capacity(releases.len());
        // Folder by folder, of which there are several only where one was moved away.
        let mut within: Vec<(Reached, Vec<ToRelease>)> = Vec::new();
        for release in releases {
            let n = ends.len();
            ends.push(None);
            let (place, stat) = match Place::from_release(release) {
                Ok(read) => read,
                Err(error) => {
                    ends[n] = Some(Err(error));
                    continue;
                }
            };
            let Some(reached) = self.roots.of(&place, now.as_ref().ok()) else {
                ends[n] = now.as_ref().err().map(|error| Err(super::no_root(&self.roots.location, error)));
                continue;
            };
            let same = |other: &Reached| Arc::ptr_eq(&other.root, &reached.root) && other.sure == reached.sure;
            match within.iter_mut().find(|(other, _)| same(other)) {
                Some((_, some)) => some.push((n, place, stat)),
                None => within.push((reached, vec![(n, place, stat)])),
            }
        }
        for (reached, some) in within {
            for chunk in some.chunks(CHUNK) {
                let answers = self.release_chunk(&reached, chunk);
                chunk.iter().zip(answers).for_each(|((n, ..), end)| ends[*n] = Some(end));
            }
        }
        let unanswered = || SourceError { code: "io", message: "a release was not answered".to_owned(), hint: None };
        ends.into_iter().map(|end| end.unwrap_or_else(|| Err(unanswered()))).collect()
    }

    fn release_chunk(
        &self,
        reached: &Reached,
        chunk: &[(usize, Place, FileStat)],
    ) -> Vec<Result<Released, SourceError>> {
        // Each folder in which a name was given or taken is synced once, behind all of them.
        let mut touched: BTreeMap<(u64, u64), (Arc<Folder>, Vec<usize>)> = BTreeMap::new();
        let mut near = None;
        let mut ends: Vec<Result<Released, SourceError>> = Vec::with_capacity(chunk.len());
        for (n, (_, place, stat)) in chunk.iter().enumerate() {
            let end = self.release_one(reached, &mut near, place, stat).and_then(|done| {
                let place = place.clone();
                let Some(folders) = done else { return Ok(Released { place, changed: true }) };
                for folder in folders {
                    let identity =
                        folder.identity().map_err(|error| failed("deleting or moving", &place.path, &error))?;
                    touched.entry(identity).or_insert_with(|| (folder, Vec::new())).1.push(n);
                }
                Ok(Released { place, changed: false })
            });
            ends.push(end);
        }
        for (folder, of) in touched.into_values() {
            let Err(error) = folder.sync() else { continue };
            for n in of {
                if let Ok(released) = &ends[n] {
                    ends[n] = Err(failed("syncing the folder of", &released.place.path, &error));
                }
            }
        }
        // One of each folder will do.
        let places = ends.iter().flatten().map(|end| &end.place);
        let folders: BTreeMap<_, _> = places.map(|at| ((&at.owner, &at.token, split(&at.path).0), at)).collect();
        tidy(&reached.root, self.present, folders.into_values());
        ends
    }

    /// Lets one go: the folders to be synced behind it, `None` where it has become another version. `near` is the folder
    /// opened last.
    fn release_one(
        &self,
        reached: &Reached,
        near: &mut Option<(Place, Arc<Folder>)>,
        place: &Place,
        stat: &FileStat,
    ) -> Result<Option<Vec<Arc<Folder>>>, SourceError> {
        let (folder, name) = split(&place.path);
        let is_near = |near: &Place| (&near.owner, &near.token, &near.path[..]) == (&place.owner, &place.token, folder);
        let opened = match near {
            Some((at, opened)) if is_near(at) => Ok(opened.clone()),
            _ => place.open(&reached.root.folder).map(|(opened, _)| Arc::new(opened)),
        };
        let opened = opened.and_then(|from| {
            *near = Some((Place { path: folder.to_vec(), ..place.clone() }, from.clone()));
            Ok((from.look(name)?, from))
        });
        let doing = |error: &io::Error| failed("deleting or moving", &place.path, error);
        let (found, from) = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.is_gone(reached, place)?;
                return Ok(Some(Vec::new()));
            }
            opened => opened.map_err(|error| doing(&error))?,
        };
        let Some(found) = found else {
            self.is_gone(reached, place)?;
            return Ok(Some(vec![from]));
        };
        if !is_file(&found) || !same_content(&version(&found), stat) {
            return Ok(None);
        }
        if self.ask_writer {
            let writer = match from.read(name) {
                Ok(file) => lease::writer(&file),
                // Its rights were taken away: nobody can be asked.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Writer::Unknown,
                Err(error) => return Err(doing(&error)),
            };
            if writer == Writer::Someone {
                return Err(SourceError {
                    code: "being-written",
                    message: format!("`{}` is written to again", name::printable(&name::from_bytes(&place.path))),
                    hint: Some("it is deleted or moved, or read again, once the program closes it".to_owned()),
                });
            }
        }
        let into = match mode_of(&place.token) {
            Some(After::Move) => move_out(&from, &place.path, self.to)?.map(Arc::new),
            _ => {
                if self.ask_writer {
                    // As it is: the release does not say when the claim was.
                    outlast(&version(&found));
                }
                remove(&from, name).map_err(|error| failed("deleting", &place.path, &error))?;
                None
            }
        };
        Ok(Some(into.into_iter().chain([from]).collect()))
    }

    /// What was not found is gone, unless it may lie in a folder that is not there.
    fn is_gone(&self, reached: &Reached, place: &Place) -> Result<(), SourceError> {
        if reached.sure {
            return Ok(());
        }
        match self.roots.is_missed(place) {
            Ok(false) => Ok(()),
            Ok(true) => Err(self.roots.missed(1)),
            Err(error) => Err(failed("deleting or moving", &place.path, &error)),
        }
    }
}

/// Waits until the kernel's clock for stamps has left the moment of the claim, so that a file which is given the same
/// inode once this one is removed can't look like the same version. Most have: a tick is some milliseconds.
#[cfg(target_os = "linux")]
#[expect(clippy::disallowed_methods, reason = "a blocking thread that waits for the kernel's clock, not for work")]
fn outlast(stat: &FileStat) {
    use nix::sys::time::TimeValLike;
    use nix::time::{ClockId, clock_gettime};
    for _ in 0..TICK {
        match clock_gettime(ClockId::CLOCK_REALTIME_COARSE) {
            Ok(now) if now.num_nanoseconds() <= stat.ctime => std::thread::sleep(std::time::Duration::from_millis(1)),
            _ => return,
        }
    }
}

/// There are no leases either, so that stamps have decided.
#[cfg(not(target_os = "linux"))]
fn outlast(_: &FileStat) {}

fn remove(folder: &Folder, name: &[u8]) -> io::Result<()> {
    match folder.unlink(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        end => end,
    }
}

/// Removes the folder of a ledger, and [`CLAIMED`] itself, where nothing is in them.
pub(super) fn remove_bare(root: &Folder, owner: &[u8]) {
    // What is missing or holds something stays as it is.
    if let Ok(claimed) = root.enter(CLAIMED) {
        let _ = claimed.remove_folder(owner);
    }
    let _ = root.remove_folder(CLAIMED);
}

/// Removes the folders of claims that are empty now, up to [`CLAIMED`] itself; the one in use stays.
fn tidy<'a>(root: &Arc<Root>, present: &Present, places: impl IntoIterator<Item = &'a Place>) {
    let mut places = places.into_iter().filter(|place| !present.is(&place.owner, &place.token)).peekable();
    if places.peek().is_none() {
        return;
    }
    let in_use = present.root().is_some_and(|used| Arc::ptr_eq(&used, root));
    let root = &root.folder;
    let Ok(claimed) = root.enter(CLAIMED) else { return };
    for place in places {
        let Ok(owner) = claimed.enter(&place.owner) else { continue };
        let mut path = join(&place.token, &place.path);
        // Each of these fails where something is left, and that is all that is meant.
        loop {
            let (parent, _) = split(&path);
            if parent.is_empty() {
                break;
            }
            let (above, name) = split(parent);
            let removed = owner.descend(above).and_then(|folder| folder.remove_folder(name));
            if removed.is_err() {
                break;
            }
            path = parent.to_vec();
        }
        if !in_use {
            remove_bare(root, &place.owner);
        }
    }
}

/// Moves a claimed file to the folder for files that are done, under a numbered name where its own is taken. The
/// folder it came to, to be synced; `None` where it was gone already.
fn move_out(from: &Folder, path: &[u8], to: Option<&Location>) -> Result<Option<Folder>, SourceError> {
    let Some(to) = to else {
        return Err(SourceError {
            code: "no-to",
            message: "a file that was to be moved is waiting, and `to` is no longer set".to_owned(),
            hint: Some("set `to` again, or take the file out of `.opendmp-claimed` by hand".to_owned()),
        });
    };
    let (folder, name) = split(path);
    let doing = |error: io::Error| not_moved(path, to, &error);
    let into = to.open_or_make().and_then(|to| to.descend_making(folder, true)).map_err(doing)?;
    match with_free_name(name, |new| from.rename(name, &into, new, Taken::Refuse)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => copy_out(from, name, &into).map_err(doing)?,
        Err(error) => return Err(doing(error)),
    }
    Ok(Some(into))
}

/// A file could not be moved: what has to be mended is the folder that it was to come to, or its disk.
fn not_moved(path: &[u8], to: &Location, error: &io::Error) -> SourceError {
    let shown = to.shown();
    let hint = match error.kind() {
        io::ErrorKind::StorageFull => format!("make room on the disk of `{shown}`"),
        io::ErrorKind::QuotaExceeded => format!("raise the quota on the disk of `{shown}`, or make room there"),
        io::ErrorKind::PermissionDenied => format!("give the user OpenDMP runs as the right to write to `{shown}`"),
        io::ErrorKind::ReadOnlyFilesystem => {
            format!("mount the file system of `{shown}` writable, or choose another `to`")
        }
        _ => return failed("moving", path, error),
    };
    let mut told = failed("moving", path, error);
    if known(error).is_none() {
        let file = name::printable(&name::from_bytes(path));
        told.message = format!("moving `{file}` to `{shown}`: {error}");
        told.hint = Some(format!("{hint}; it is tried again"));
    }
    told
}

/// Tries `name`, then its numbered names, until one is free.
fn with_free_name(name: &[u8], mut rename: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut new = name.to_vec();
    for n in 2..100_000 {
        match rename(&new) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => new = numbered(name, n),
            end => return end,
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Moves to another file system: the copy is whole and durable before the original is removed, and is known again by
/// its time stamp and content where a crash came between.
fn copy_out(from: &Folder, name: &[u8], into: &Folder) -> io::Result<()> {
    let original = from.read(name)?;
    let stat = rustix::fs::fstat(&original)?;
    let hidden = format!(".opendmp-{}.tmp", life::new());
    let mut copy = into.create_new(hidden.as_bytes())?;
    let copied = (|| {
        io::copy(&mut &original, &mut copy)?;
        let stamp = Timespec { tv_sec: stat.st_mtime, tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or_default() };
        rustix::fs::futimens(
            &copy,
            &Timestamps {
                last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
                last_modification: stamp,
            },
        )?;
        rustix::fs::fchmod(&copy, rustix::fs::Mode::from_raw_mode(stat.st_mode & 0o777))?;
        copy.sync_all()?;
        with_free_name(name, |new| {
            if is_copy(&original, into, new)? {
                return into.unlink(hidden.as_bytes());
            }
            into.rename(hidden.as_bytes(), into, new, Taken::Refuse)
        })
    })();
    if copied.is_err() {
        let _ = into.unlink(hidden.as_bytes());
    }
    copied?;
    into.sync()?;
    remove(from, name)
}

/// Whether what has that name is the very copy an earlier attempt made.
fn is_copy(original: &File, into: &Folder, name: &[u8]) -> io::Result<bool> {
    let Some(found) = into.look(name)? else { return Ok(false) };
    let (found, stat) = (found, rustix::fs::fstat(original)?);
    let (one, other) = (version(&found), version(&stat));
    if !is_file(&found) || (one.size, one.mtime) != (other.size, other.mtime) {
        return Ok(false);
    }
    let copy = into.read(name)?;
    let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut at = 0;
    while at < one.size {
        let most = usize::try_from(one.size - at).unwrap_or(usize::MAX).min(left.len());
        original.read_exact_at(&mut left[..most], at)?;
        copy.read_exact_at(&mut right[..most], at)?;
        if left[..most] != right[..most] {
            return Ok(false);
        }
        at += most as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &[u8]) -> Place {
        Place { owner: owner("journal 1"), token: b"life.0.m".to_vec(), path: path.to_vec() }
    }

    #[test]
    fn a_full_disk_is_told_with_the_folder_that_files_are_moved_to() {
        let to = Location::new("/mnt/done".into(), None);
        let told = not_moved(b"a.txt", &to, &io::ErrorKind::StorageFull.into());
        assert_eq!(told.code, "no-space");
        assert!(told.message.starts_with("moving `a.txt` to `/mnt/done`: "), "{told:?}");
        assert_eq!(told.hint.unwrap(), "make room on the disk of `/mnt/done`; it is tried again");
    }

    #[test]
    fn releases_name_what_was_claimed_and_nothing_else() {
        let place = place(b"sub/caf\xe9");
        let stat = FileStat { inode: u64::MAX, size: 7, mtime: -3, ..FileStat::default() };
        assert_eq!(Place::from_release(&place.release(&stat)).unwrap(), (place.clone(), stat));
        assert_eq!(place.owner.len(), 16);
        assert_eq!(owner("journal 1"), place.owner);
        assert_ne!(owner("journal 2"), place.owner);
        for bad in [
            "2 1 2 3 o/l.0.d/x",
            "1 1 2 3 o/l.0.d",
            "1 1 2 3 o/l.0.d/",
            "1 1 2 3 o/l.0.d/../x",
            "1 1 2 3 ../l.0.d/x",
            "1 1 2 3 o/l.0.x/x",
            "1 1 2 3 o//x",
            "1 1 2 o/l.0.d/x",
            "1 -1 2 3 o/l.0.d/x",
            "",
        ] {
            let bad = bad.as_bytes();
            assert_eq!(Place::from_release(bad).unwrap_err().code, "bad-release", "{bad:?}");
        }
    }

    #[test]
    fn what_others_claimed_is_theirs_while_they_live() {
        let (one, other) = (Life::begin(), Life::begin());
        let folder = FolderId::parse("2a-17c9").unwrap();
        let token = one.token(7, &folder, After::Delete);
        assert_eq!((folder_of(&token), mode_of(&token)), (Some(folder), Some(After::Delete)));
        assert_eq!(folder_of(b"life.7.d"), None, "of a version before");
        assert!(one.looks_after(&token) && !other.looks_after(&token));
        drop(one);
        assert!(other.looks_after(&token));
        assert!(!other.looks_after(b"something else"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_comes_after_a_removal_has_a_later_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let stat = || version(&folder.stat(b"a").unwrap());
        for _ in 0..50 {
            std::fs::write(dir.path().join("a"), "same length").unwrap();
            let before = stat();
            outlast(&before);
            folder.unlink(b"a").unwrap();
            std::fs::write(dir.path().join("a"), "in the inode").unwrap();
            assert!(stat().ctime > before.ctime, "{:?} {before:?}", stat());
        }
    }

    #[test]
    fn a_copy_is_known_again_after_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["from", "to"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let (from, to) =
            (Folder::open(&dir.path().join("from")).unwrap(), Folder::open(&dir.path().join("to")).unwrap());
        std::fs::write(dir.path().join("from/a.txt"), vec![3; 100_000]).unwrap();
        std::fs::write(dir.path().join("to/a.txt"), "an older one").unwrap();
        copy_out(&from, b"a.txt", &to).unwrap();
        assert!(from.look(b"a.txt").unwrap().is_none());
        // The crash came before the original was removed.
        let copied = std::fs::metadata(dir.path().join("to/a-2.txt")).unwrap();
        std::fs::write(dir.path().join("from/a.txt"), vec![3; 100_000]).unwrap();
        let again = File::options().write(true).open(dir.path().join("from/a.txt")).unwrap();
        again.set_modified(copied.modified().unwrap()).unwrap();
        copy_out(&from, b"a.txt", &to).unwrap();
        let mut names: Vec<_> =
            std::fs::read_dir(dir.path().join("to")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["a-2.txt", "a.txt"]);
        assert!(from.look(b"a.txt").unwrap().is_none());
        // Another file of the same name is not taken for it.
        std::fs::write(dir.path().join("from/a.txt"), vec![4; 100_000]).unwrap();
        copy_out(&from, b"a.txt", &to).unwrap();
        assert!(to.look(b"a-3.txt").unwrap().is_some());
    }
}
