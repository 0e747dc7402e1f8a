//! Copying what is new; see [`super`].

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use opendmp_model::ids::ContentHash;
use opendmp_ports::{Error, ErrorKind, Result};

use super::walk::{Walk, What, whole_end};
use super::{Damage, Mark, Place, Source, Watch};
use crate::disk::Disk;
use crate::freed::{self, Ranges};
use crate::layout::{Paths, file_key, format_text, pack_number, write_error};
use crate::packs::read_up_to;
use crate::record::{self, PACK_HEADER, RECORD_HEADER, Wrong};

const COPY: &str = "content copy";

/// Bytes written at a time.
const CHUNK: usize = 1 << 20;

/// Bytes at either end of a pack's copy that are compared before it is continued.
const SAMPLE: u64 = 4 << 10;

/// What is known of earlier copies to the same place.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// How far they came: up to there all was durable.
    pub mark: Option<Mark>,
    /// Where the source was damaged then, and the copy is for it. It is looked at again.
    pub damage: Vec<Place>,
}

/// What came of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Bytes written now.
    pub bytes: u64,
    /// Records copied now.
    pub records: u64,
    /// Files copied now.
    pub files: u64,
    /// How far it came.
    pub mark: Option<Mark>,
    /// Where the source is damaged.
    pub damage: Vec<Damage>,
}

/// What a copy would write, about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Todo {
    /// Bytes.
    pub bytes: u64,
    /// Files.
    pub files: u64,
}

/// An error about a directory that is to be copied from.
fn reading(path: &Path, error: &io::Error) -> Error {
    Error::io(COPY, format_args!("reading {}", path.display()), error)
}

fn writing(path: &Path, error: &io::Error) -> Error {
    let made = write_error(COPY, format_args!("writing {}", path.display()), error);
    match made.kind {
        ErrorKind::Full => made.with_hint("make room on that disk and begin again: what was copied is kept"),
        _ => made,
    }
}

/// The numbers of all packs and their lengths, in order.
pub(crate) fn packs(root: &Path) -> Result<Vec<(u64, u64)>> {
    let dir = Paths(root).packs();
    let mut out = Vec::new();
    for entry in listed(&dir)? {
        let entry = entry.map_err(|error| reading(&dir, &error))?;
        if let Some(number) = pack_number(&entry.path()) {
            out.push((number, entry.metadata().map_err(|error| reading(&dir, &error))?.len()));
        }
    }
    out.sort_unstable();
    Ok(out)
}

/// What is in a directory, which may not be there.
fn listed(dir: &Path) -> Result<Box<dyn Iterator<Item = io::Result<fs::DirEntry>>>> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(Box::new(entries)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Box::new(std::iter::empty())),
        Err(error) => Err(reading(dir, &error)),
    }
}

/// Tells every file of large content and its length.
pub(super) fn files(root: &Path, tell: &mut dyn FnMut(ContentHash, u32, u64) -> Result<()>) -> Result<()> {
    let above = Paths(root).files();
    for dir in listed(&above)? {
        let dir = dir.map_err(|error| reading(&above, &error))?.path();
        if !dir.is_dir() {
            continue;
        }
        for file in listed(&dir)? {
            let file = file.map_err(|error| reading(&dir, &error))?;
            let Some((hash, generation)) = file_key(&file.path()) else { continue };
            let size = file.metadata().map_err(|error| reading(&file.path(), &error))?.len();
            tell(hash, generation, size)?;
        }
    }
    Ok(())
}

/// Errs where a directory is no content of this format.
pub(super) fn check_format(root: &Path) -> Result<()> {
    let path = Paths(root).format();
    match fs::read(&path) {
        Ok(text) if text == format_text().as_bytes() => Ok(()),
        Ok(_) => Err(Error::new(ErrorKind::Newer, COPY, format!("{} is of another format", path.display()))
            .with_hint("use the version of opendmp that wrote it, or a later one")),
        Err(error) => Err(reading(&path, &error)),
    }
}

/// How far a pack of the source is to be taken.
fn limit(from: &Source, number: u64, length: u64) -> u64 {
    match from.end {
        Some(end) if number == end.pack => end.length.min(length),
        Some(end) if number > end.pack => 0,
        _ => length,
    }
}

fn length_of(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |found| found.len())
}

/// Estimates what [`copy()`] would write.
///
/// # Errors
/// Those of the source, which can't be listed.
pub fn todo(from: &Source, to: &Path) -> Result<Todo> {
    let mut todo = Todo::default();
    for (number, length) in packs(&from.root)? {
        let (there, limit) = (length_of(&Paths(to).pack(number)), limit(from, number, length));
        if there < limit {
            todo.bytes += freed::read(&from.root, number).unwrap_or_default().0.gaps(there, limit).bytes();
        }
    }
    files(&from.root, &mut |hash, generation, size| {
        if length_of(&Paths(to).file(hash, generation)) != size {
            todo.bytes += size;
            todo.files += 1;
        }
        Ok(())
    })?;
    Ok(todo)
}

/// Copies what `to` does not have of `from`; `to` is made where it is missing. Blocks. The caller keeps others from
/// copying to the same place.
///
/// # Errors
/// `Full` and `Unavailable` where the target can't be written; `Conflict` where it holds a copy of something else;
/// `Newer` where either is of a later format. Damage of the source is no error: it is told in what comes back.
pub fn copy(from: &Source, to: &Path, past: &Past, watch: &mut Watch<'_>) -> Result<Copied> {
    copy_with(&Disk::default(), from, to, past, watch)
}

pub(super) fn copy_with(disk: &Disk, from: &Source, to: &Path, past: &Past, watch: &mut Watch<'_>) -> Result<Copied> {
    check_format(&from.root)?;
    let mut copy = Copy { disk, from, to, watch, dirs: BTreeSet::new(), out: Copied::default() };
    copy.begin()?;
    copy.again(&past.damage)?;
    for (number, length) in packs(&from.root)? {
        let limit = limit(from, number, length);
        if limit > PACK_HEADER as u64 {
            let end = copy.pack(number, limit, past.mark)?;
            copy.out.mark = Some(Mark { pack: number, length: end });
        }
    }
    files(&from.root, &mut |hash, generation, size| copy.file(hash, generation, size))?;
    for dir in std::mem::take(&mut copy.dirs) {
        disk.sync_dir(&dir).map_err(|error| writing(&dir, &error))?;
    }
    Ok(copy.out)
}

struct Copy<'a, 'w> {
    disk: &'a Disk,
    from: &'a Source,
    to: &'a Path,
    watch: &'a mut Watch<'w>,
    /// Directories with names that may not be durable.
    dirs: BTreeSet<PathBuf>,
    out: Copied,
}

impl Copy<'_, '_> {
    /// Makes the directories, and empties `tmp`.
    fn begin(&mut self) -> Result<()> {
        let to = Paths(self.to);
        let mut make = DirBuilder::new();
        make.recursive(true).mode(0o700);
        for dir in [to.packs(), to.files(), to.tmp()] {
            make.create(&dir).map_err(|error| writing(&dir, &error))?;
            // Also what an earlier copy named there and did not sync.
            self.dirs.insert(dir);
        }
        if let Some(above) = self.to.parent() {
            self.dirs.insert(above.to_owned());
        }
        self.dirs.insert(self.to.to_owned());
        for entry in listed(&to.tmp())? {
            let path = entry.map_err(|error| reading(&to.tmp(), &error))?.path();
            fs::remove_file(&path).map_err(|error| writing(&path, &error))?;
        }
        if to.format().exists() {
            return check_format(self.to);
        }
        let temp = self.temp()?;
        let write = self.disk.write_at(temp.as_file(), format_text().as_bytes(), 0);
        write.and_then(|()| self.disk.sync_data(temp.as_file())).map_err(|error| writing(&to.format(), &error))?;
        temp.persist(to.format()).map_err(|error| writing(&to.format(), &error.error))?;
        Ok(())
    }

    fn temp(&self) -> Result<tempfile::NamedTempFile> {
        let tmp = Paths(self.to).tmp();
        tempfile::Builder::new().prefix("copy-").tempfile_in(&tmp).map_err(|error| writing(&tmp, &error))
    }

    fn go_on(&self) -> Result<()> {
        match (self.watch.stopped)() {
            true => Err(Error::new(ErrorKind::Unavailable, COPY, "the copy was stopped")
                .with_hint("begin again: what was copied is kept")),
            false => Ok(()),
        }
    }

    fn damaged(&mut self, place: Place, why: impl Into<String>) {
        self.tell(Damage { place, why: why.into(), kept: false });
    }

    /// Damage of the source that the copy does not have.
    fn kept(&mut self, place: Place, why: impl Into<String>) {
        self.tell(Damage { place, why: why.into(), kept: true });
    }

    fn tell(&mut self, damage: Damage) {
        (self.watch.damaged)(&damage);
        self.out.damage.push(damage);
    }

    fn moved(&mut self, bytes: u64) {
        self.out.bytes += bytes;
        (self.watch.moved)(bytes);
    }

    /// Looks again at what was damaged the last time: what is sound now takes its place in the copy.
    fn again(&mut self, damage: &[Place]) -> Result<()> {
        for place in damage {
            // A damaged file was left out, and is looked at like any other that is missing.
            let Place::Pack { pack, from, to } = *place else { continue };
            let (source, target) = (Paths(&self.from.root).pack(pack), Paths(self.to).pack(pack));
            let freed = freed::read(&self.from.root, pack).unwrap_or_default().0;
            if length_of(&target) < to || freed.touches(from, to) {
                // Let go since: nothing refers to it any more.
                continue;
            }
            match sound(&source, from, to) {
                Ok(Some((bytes, records))) => {
                    let written = (|| {
                        let file = OpenOptions::new().write(true).open(&target)?;
                        self.disk.write_at(&file, &bytes, from)?;
                        self.disk.sync_data(&file)
                    })();
                    written.map_err(|error| writing(&target, &error))?;
                    self.out.records += records;
                    self.moved(bytes.len() as u64);
                }
                Ok(None) => self.damaged(*place, "it is still damaged"),
                Err(error) => self.damaged(*place, format!("it can't be read: {error}")),
            }
        }
        Ok(())
    }

    /// Copies what is new of a pack. Returns the length of the copy.
    fn pack(&mut self, number: u64, limit: u64, mark: Option<Mark>) -> Result<u64> {
        self.go_on()?;
        let (source_path, target_path) = (Paths(&self.from.root).pack(number), Paths(self.to).pack(number));
        let there = length_of(&target_path);
        let source = match File::open(&source_path) {
            Ok(source) => source,
            Err(error) => {
                let place = Place::Pack { pack: number, from: there, to: limit };
                self.damaged(place, format!("it can't be opened: {error}"));
                return Ok(there);
            }
        };
        let freed = match freed::read(&self.from.root, number) {
            Ok((freed, _)) => freed,
            Err(error) => {
                self.damaged(Place::Pack { pack: number, from: 0, to: 0 }, error.to_string());
                Ranges::default()
            }
        };
        // What the copy never had. One that can't be read is written anew below.
        let lacks = freed::read(self.to, number).unwrap_or_default().0;
        let mut open = OpenOptions::new();
        let open = open.read(true).write(true).create(true).truncate(false).mode(0o600);
        let target = open.open(&target_path).map_err(|error| writing(&target_path, &error))?;
        let failed = |error: io::Error| writing(&target_path, &error);
        let header = PACK_HEADER as u64;
        // What is durable by an earlier copy's word is not read again, unless its length speaks against it.
        let trusted = match mark {
            Some(mark) if number < mark.pack && there >= limit => there,
            Some(mark) if number == mark.pack && there >= mark.length => mark.length,
            _ => 0,
        };
        let mut end = match trusted {
            0 if !starts_as(&target, number).map_err(failed)? => 0,
            trusted => whole_end(&target, trusted.max(header), &lacks).map_err(failed)?.max(trusted),
        };
        // An earlier copy's records are only ever written over by the same: a stop in between takes nothing from it.
        let mut cut = mark.is_none_or(|mark| number >= mark.pack);
        let both = freed.and(&lacks).gaps(header, end.min(limit));
        if end > header && !self.same(number, &source, &target, &both)? {
            (end, cut) = (0, false);
        }
        if end > limit {
            let place = Place::Pack { pack: number, from: limit, to: end };
            self.kept(place, "it is gone, and was there when it was copied; the copy keeps it");
        }
        if cut && end < there {
            target.set_len(end).map_err(failed)?;
        }
        let fresh = freed.within(if cut { end } else { there }, limit);
        if !fresh.without(&lacks).is_empty() {
            freed::write(self.to, number, &lacks.and(&fresh)).map_err(failed)?;
        }
        if end < there || end < limit || trusted < there {
            let appended = self.append(number, &source, &target, (end, limit), &freed)?;
            self.disk.sync_data(&target).map_err(failed)?;
            end = if cut { appended } else { length_of(&target_path) };
        }
        Ok(end)
    }

    /// Whether a copy is the beginning of its pack: of what `both` have, compared at both ends, and whole where these
    /// differ. `false` where the copy is what is wrong.
    fn same(&mut self, number: u64, source: &File, target: &File, both: &Ranges) -> Result<bool> {
        let (Some((head, first)), Some((begin, end))) = (both.iter().next(), both.iter().last()) else {
            return Ok(true);
        };
        let sample = |file: &File, from: u64, to: u64| {
            let mut bytes = vec![0; SAMPLE.min(to - from) as usize];
            read_up_to(file, &mut bytes, from).map(|read| {
                bytes.truncate(read);
                bytes
            })
        };
        let last = end.saturating_sub(SAMPLE).max(begin);
        let agree = |from, to| match (sample(source, from, to), sample(target, from, to)) {
            (Ok(source), Ok(target)) => source == target,
            _ => false,
        };
        if agree(head, first) && agree(last, end) {
            return Ok(true);
        }
        let (source_bad, target_bad) = (first_bad(source, both), first_bad(target, both));
        match (source_bad, target_bad) {
            (None, Some(_)) => Ok(false),
            (Some(at), _) => {
                let place = Place::Pack { pack: number, from: at, to: end };
                self.kept(place, "it is not as it was when it was copied; the copy keeps what it has");
                Ok(true)
            }
            (None, None) => {
                let message = format!("{} holds a copy of other content", self.to.display());
                Err(Error::new(ErrorKind::Conflict, COPY, message)
                    .with_hint("it and this data directory have gone different ways; give another target"))
            }
        }
    }

    /// Appends the bytes of a pack from `at` to `limit`, but for what was let go there. Returns where it came to.
    fn append(
        &mut self,
        number: u64,
        source: &File,
        target: &File,
        (at, limit): (u64, u64),
        freed: &Ranges,
    ) -> Result<u64> {
        let path = Paths(self.to).pack(number);
        let header = PACK_HEADER as u64;
        let mut out = Pending { at, bytes: Vec::with_capacity(2 * CHUNK) };
        if at < header {
            self.header(number, source)?;
            out.bytes.extend_from_slice(&record::pack_header(number));
        }
        let mut end = at;
        for (from, to) in freed.gaps(at.max(header), limit).iter() {
            self.write(&mut out, target, &path)?;
            out.at = from;
            end = self.append_range(number, source, target, (from, to, limit), &mut out)?;
            if end < to {
                return Ok(end);
            }
        }
        self.write(&mut out, target, &path)?;
        // So far it came, though nothing of the rest is there.
        if freed.touches(limit.saturating_sub(1), limit) && length_of(&path) < limit {
            target.set_len(limit).map_err(|error| writing(&path, &error))?;
            end = limit;
        }
        Ok(end.max(out.at))
    }

    /// Appends a range of a pack in which nothing was let go; the pack goes on to `limit`.
    fn append_range(
        &mut self,
        number: u64,
        source: &File,
        target: &File,
        (at, to, limit): (u64, u64, u64),
        out: &mut Pending,
    ) -> Result<u64> {
        let path = Paths(self.to).pack(number);
        let mut walk = match Walk::new(source, at, to) {
            Ok(walk) => walk,
            Err(error) => {
                self.damaged(Place::Pack { pack: number, from: at, to: limit }, format!("it can't be read: {error}"));
                return Ok(at);
            }
        };
        loop {
            let from = walk.at();
            let piece = match walk.next() {
                Ok(None) => break,
                Ok(Some(piece)) => piece,
                Err(error) => {
                    let place = Place::Pack { pack: number, from, to: limit };
                    self.damaged(place, format!("it can't be read: {error}"));
                    break;
                }
            };
            out.bytes.extend_from_slice(piece.bytes);
            let (at, end) = (piece.at, piece.end());
            match piece.what {
                What::Record { sound: true, .. } => self.out.records += 1,
                What::Record { hash, sound: false } => {
                    let place = Place::Pack { pack: number, from: at, to: end };
                    self.damaged(place, format!("the content of {hash:?} is not what was written"));
                }
                What::Gap { from, to } if from == at => {
                    let place = Place::Pack { pack: number, from, to };
                    self.damaged(place, "there is no record, though one follows");
                }
                What::Torn { from } if from == at && to < limit => {
                    let place = Place::Pack { pack: number, from, to };
                    self.damaged(place, "there is no record, though more follows");
                }
                // A crash leaves such an end, and nothing refers to it; if something does, that is told of the whole.
                What::Gap { .. } | What::Torn { .. } => {}
                What::Newer => return Err(newer(number)),
            }
            if out.bytes.len() >= CHUNK {
                self.write(out, target, &path)?;
                self.go_on()?;
            }
        }
        self.write(out, target, &path)?;
        Ok(out.at)
    }

    fn write(&mut self, out: &mut Pending, target: &File, path: &Path) -> Result<()> {
        if out.bytes.is_empty() {
            return Ok(());
        }
        self.disk.write_at(target, &out.bytes, out.at).map_err(|error| writing(path, &error))?;
        self.disk.begin_writing(target, out.at, out.bytes.len() as u64);
        self.moved(out.bytes.len() as u64);
        out.at += out.bytes.len() as u64;
        out.bytes.clear();
        Ok(())
    }

    /// Looks at the header of a pack. The copy gets the right one, which its number tells.
    fn header(&mut self, number: u64, source: &File) -> Result<()> {
        let mut header = [0; PACK_HEADER];
        let read = read_up_to(source, &mut header, 0);
        match read.map(|_| record::check_pack(&header, number)) {
            Ok(Ok(())) => {}
            Ok(Err(Wrong::Newer)) => return Err(newer(number)),
            Ok(Err(Wrong::Damaged(why))) => {
                let place = Place::Pack { pack: number, from: 0, to: PACK_HEADER as u64 };
                self.kept(place, format!("{why}; the copy has it right"));
            }
            // Told of the whole pack when it is read on.
            Err(_) => {}
        }
        Ok(())
    }

    /// Copies a file that is not there.
    fn file(&mut self, hash: ContentHash, generation: u32, size: u64) -> Result<()> {
        let path = Paths(self.to).file(hash, generation);
        // What has a name was durable before, and whole.
        if length_of(&path) == size && path.exists() {
            return Ok(());
        }
        self.go_on()?;
        let place = Place::File { hash, generation };
        let source_path = Paths(&self.from.root).file(hash, generation);
        let source = match File::open(&source_path) {
            Ok(source) => source,
            Err(error) => {
                self.damaged(place, format!("it can't be opened: {error}"));
                return Ok(());
            }
        };
        let temp = self.temp()?;
        let failed = |error: io::Error| writing(&path, &error);
        let (mut hasher, mut buffer, mut at) = (blake3::Hasher::new(), vec![0; CHUNK], 0u64);
        loop {
            let read = match read_up_to(&source, &mut buffer, at) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) => {
                    self.damaged(place, format!("it can't be read: {error}"));
                    return Ok(());
                }
            };
            hasher.update(&buffer[..read]);
            self.disk.write_at(temp.as_file(), &buffer[..read], at).map_err(failed)?;
            self.disk.begin_writing(temp.as_file(), at, read as u64);
            at += read as u64;
            self.moved(read as u64);
            self.go_on()?;
        }
        if ContentHash(*hasher.finalize().as_bytes()) != hash {
            self.damaged(place, "its content is not what was written; it is left out");
            return Ok(());
        }
        let dir = Paths(self.to).file_dir(hash);
        if !dir.is_dir() {
            DirBuilder::new().mode(0o700).create(&dir).map_err(failed)?;
        }
        self.disk.sync_data(temp.as_file()).map_err(failed)?;
        temp.as_file().set_permissions(fs::Permissions::from_mode(0o400)).map_err(failed)?;
        temp.persist(&path).map_err(|error| failed(error.error))?;
        self.dirs.insert(dir);
        self.out.files += 1;
        Ok(())
    }
}

/// Bytes on their way to a pack, and where they belong.
struct Pending {
    at: u64,
    bytes: Vec<u8>,
}

fn newer(number: u64) -> Error {
    Error::new(ErrorKind::Newer, COPY, format!("pack {number} is of a newer format than this program"))
        .with_hint("use the version of opendmp that wrote it, or a later one")
}

/// Whether a file begins as this pack does.
fn starts_as(file: &File, number: u64) -> io::Result<bool> {
    let mut header = [0; PACK_HEADER];
    let read = read_up_to(file, &mut header, 0)?;
    Ok(read == PACK_HEADER && record::check_pack(&header, number).is_ok())
}

/// Where in some ranges the first thing begins that is no sound record.
fn first_bad(file: &File, ranges: &Ranges) -> Option<u64> {
    ranges.iter().find_map(|(from, to)| {
        let mut walk = Walk::new(file, from, to).ok()?;
        loop {
            let at = walk.at();
            match walk.next() {
                Ok(None) => return (at < to).then_some(at),
                Ok(Some(piece)) if matches!(piece.what, What::Record { sound: true, .. }) => {}
                _ => return Some(at),
            }
        }
    })
}

/// The bytes of a range, if it is whole and sound now, and the number of records in it.
fn sound(path: &Path, from: u64, to: u64) -> io::Result<Option<(Vec<u8>, u64)>> {
    let file = File::open(path)?;
    let (mut walk, mut bytes, mut records) = (Walk::new(&file, from, to)?, Vec::new(), 0);
    while let Some(piece) = walk.next()? {
        if !matches!(piece.what, What::Record { sound: true, .. }) {
            return Ok(None);
        }
        bytes.extend_from_slice(piece.bytes);
        records += 1;
    }
    Ok((walk.at() == to).then_some((bytes, records)))
}

const _: () = assert!(SAMPLE > RECORD_HEADER as u64);
