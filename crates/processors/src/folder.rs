//! Destination `folder`: results become files in a folder.
//!
//! A file appears whole and durable or not at all: it is written under a hidden name beside its target, synced, and
//! renamed. What is not the dataset's own is never replaced unless that was asked for, also when it appears at the
//! last moment. No symbolic link below the folder is followed, so that none leads out of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use opendmp_model::export::{IfExists, SinkClass};
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::ids::ContentHash;
use opendmp_model::item::Item;
use opendmp_model::kinds::{Class, KindInfo, Problem, Role, schema_of};
use opendmp_model::ledger::FileStat;
use opendmp_model::name;
use opendmp_processor::{Access, Body, Context, Export, ExportEnd, Place, Sink, SinkKind, config, saved_config};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::beneath::{self, Folder, Guard, Taken, is_file, version, version_of};
use crate::location::{Location, Unmounted, Unrecorded};
use crate::template::Template;
use crate::temporary::{ATTEMPTS, Swept, Temporary};

/// The config of a destination `folder`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The folder, relative to the flow file. It is made when it is missing.
    #[schemars(length(min = 1))]
    pub path: String,
    /// What the file of an item is called, with folders where it has `/`. Placeholders are `{name}`, `{stem}`, `{ext}`,
    /// `{path}` (the sub-folder the item came from), `{date:%Y-%m}` (of its arrival, UTC), `{hash:8}` (of its content),
    /// `{index:4}` (its place among the results of one item, from 0, with at least so many digits) and
    /// `{attributes.KEY}`; a brace itself is written twice.
    #[serde(default = "default_name")]
    pub name: String,
    /// What happens where a file of that name is there that this flow did not write: `version` writes beside it, under
    /// a numbered name; `overwrite` replaces it; `fail` makes a dead letter; `keep` leaves it, and exports nothing.
    #[serde(default)]
    pub if_exists: IfExists,
}

fn default_name() -> String {
    "{name}".to_owned()
}

/// The destination kind `folder`.
#[derive(Debug, Default)]
pub struct Kind;

impl SinkKind for Kind {
    fn info(&self) -> &KindInfo {
        static INFO: OnceLock<KindInfo> = OnceLock::new();
        INFO.get_or_init(|| KindInfo {
            name: "folder".to_owned(),
            class: Class::Destination,
            role: Role::Collect,
            summary: "Writes results as files into a folder.".to_owned(),
            docs: DOCS.to_owned(),
            schema: schema_of::<Config>(),
            examples: vec![
                "type: folder\npath: ./outbox\n".to_owned(),
                "type: folder\npath: ./outbox\nname: \"{date:%Y-%m}/{stem}.upper.{ext}\"\nif_exists: overwrite\n"
                    .to_owned(),
            ],
        })
    }

    fn prepare(&self, map: &Map<String, Value>) -> Vec<Problem> {
        let read: Config = match config(map) {
            Ok(read) => read,
            Err(problem) => return vec![problem],
        };
        Template::parse_path(&read.name).err().map(|error| error.problem("/name", &read.name)).into_iter().collect()
    }

    fn places(&self, map: &Map<String, Value>, base: &Path) -> Vec<Place> {
        config::<Config>(map).ok().and_then(|read| read.place(base)).into_iter().collect()
    }

    fn open(&self, map: &Map<String, Value>, context: &Context) -> Result<Arc<dyn Sink>, Fault> {
        let read: Config = saved_config(map)?;
        let Some(place) = read.place(&context.base) else {
            return Err(Fault::new(FaultKind::Failed, "bad-template", "the name of the files can't be read"));
        };
        let root = context.allowed(&place)?;
        let location = Location::new(root, context.locations.as_deref()).at_home(&context.policy);
        Ok(Arc::new(FolderSink::new(&read, location.guarded(Guard::new(&context.policy, place)))?))
    }
}

impl Config {
    /// The folder that it writes to.
    fn place(&self, base: &Path) -> Option<Place> {
        let names = Template::parse_path(&self.name).ok()?.names().or_numbered();
        Some(Place::new("/path", &self.path, base, Access::Write(names)))
    }
}

const DOCS: &str = "\
Each result becomes a file. A file appears whole or not at all, and is on disk before the export counts as done.

A dataset replaces the file it wrote before, if that is still as it was written; what anyone else put or changed there \
is left alone unless `if_exists` is `overwrite`. Names can't lead out of the folder, and symbolic links below it are \
not followed.

Where the folder was on a mounted file system and that is not mounted any more, exports wait until it is, so that no \
result is written below the mount point. If the folder that is there now is meant, make the file `.opendmp-accept` in it.
";

/// An open destination.
struct FolderSink {
    inner: Arc<Inner>,
    template: Template,
    if_exists: IfExists,
    written: String,
}

struct Inner {
    root: Location,
    swept: Swept,
}

impl FolderSink {
    fn new(read: &Config, root: Location) -> Result<Self, Fault> {
        let template = Template::parse_path(&read.name)
            .map_err(|error| Fault::new(FaultKind::Failed, "bad-template", error.message).with_hint(error.hint))?;
        let inner = Inner { root, swept: Swept::default() };
        Ok(Self { inner: Arc::new(inner), template, if_exists: read.if_exists, written: read.path.clone() })
    }
}

#[async_trait]
impl Sink for FolderSink {
    fn class(&self) -> SinkClass {
        SinkClass::Overwrite
    }

    fn destination(&self) -> String {
        let real = self.inner.root.real();
        format!("folder:{}", name::from_bytes(real.as_os_str().as_encoded_bytes()))
    }

    fn target(&self, item: &Item) -> Result<Vec<u8>, Fault> {
        self.template.path(item)
    }

    fn if_exists(&self) -> IfExists {
        self.if_exists
    }

    fn display(&self, target: &[u8]) -> String {
        format!("{}/{}", self.written.trim_end_matches('/'), name::printable(&name::from_bytes(target)))
    }

    async fn export(&self, export: Export) -> Result<ExportEnd, Fault> {
        let mut ends = self.export_all(vec![export]).await;
        ends.pop().unwrap_or_else(|| Err(Fault::new(FaultKind::Failed, "no-answer", "an export was not answered")))
    }

    async fn export_all(&self, exports: Vec<Export>) -> Vec<Result<ExportEnd, Fault>> {
        let inner = self.inner.clone();
        let shown: Vec<String> = exports.iter().map(|export| self.display(&export.target)).collect();
        let span = tracing::Span::current();
        let done = tokio::task::spawn_blocking(move || span.in_scope(|| inner.export_all(&exports))).await;
        match done {
            Ok(ends) => {
                ends.into_iter().zip(&shown).map(|(end, shown)| end.map_err(|stop| stop.fault(shown))).collect()
            }
            Err(error) => {
                let interrupted = |shown: &String| {
                    Err(Fault::new(FaultKind::Unavailable, "interrupted", format!("writing `{shown}`: {error}")))
                };
                shown.iter().map(interrupted).collect()
            }
        }
    }
}

/// Why an export can't be carried out.
#[derive(Debug)]
enum Stop {
    Io(&'static str, io::Error),
    /// It can't be seen what is at the target, so nothing is decided.
    Unseen(io::Error),
    /// The folder's file system is not mounted.
    Unmounted(Unmounted),
    /// What is recorded of the folder can't be read or written.
    Unrecorded(Unrecorded),
    /// A folder has the target's name, and `overwrite` does not mean a folder.
    FolderThere,
    /// The content is not what its hash says.
    Damaged,
    /// The target was changed by others over and over.
    Busy,
}

trait During<T> {
    fn during(self, what: &'static str) -> Result<T, Stop>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, what: &'static str) -> Result<T, Stop> {
        self.map_err(|error| Stop::Io(what, error))
    }
}

impl Stop {
    /// The same, for another export that it stops.
    fn again(&self) -> Self {
        match self {
            Self::Io(what, error) => Self::Io(what, same(error)),
            Self::Unseen(error) => Self::Unseen(same(error)),
            Self::Unmounted(unmounted) => Self::Unmounted(unmounted.clone()),
            Self::Unrecorded(unrecorded) => Self::Unrecorded(unrecorded.clone()),
            Self::FolderThere => Self::FolderThere,
            Self::Damaged => Self::Damaged,
            Self::Busy => Self::Busy,
        }
    }

    fn fault(self, shown: &str) -> Fault {
        use io::ErrorKind as E;
        if let Stop::Io(_, error) = &self
            && let Some(refused) = beneath::refused(error)
        {
            // Not the item's fault: it is exported once the folder is another one.
            return refused.clone().fault(FaultKind::Unavailable);
        }
        let (kind, code, message, hint) = match self {
            Stop::Unmounted(unmounted) => {
                let fault = Fault::new(FaultKind::Unavailable, Unmounted::CODE, unmounted.to_string());
                return fault.with_hint(unmounted.hint());
            }
            Stop::Unrecorded(unrecorded) => {
                let fault = Fault::new(FaultKind::Unavailable, unrecorded.code, unrecorded.to_string());
                return fault.with_hint(unrecorded.hint);
            }
            Stop::Unseen(error) => {
                let (code, hint) = match error.kind() {
                    E::PermissionDenied => (
                        "no-rights",
                        "give the user OpenDMP runs as the right to read it, or move it away; the export is tried again",
                    ),
                    _ => ("io", "check the disk; the export is tried again"),
                };
                (FaultKind::Unavailable, code, format!("looking at `{shown}`: {error}"), hint)
            }
            Stop::Io(what, error) => {
                let (kind, code, hint) = match error.kind() {
                    E::StorageFull => (
                        FaultKind::NoSpace,
                        "no-space",
                        "make room on the disk of that folder; the export is tried again",
                    ),
                    E::QuotaExceeded => (
                        FaultKind::NoSpace,
                        "no-space",
                        "raise the quota, or free some space; the export is tried again",
                    ),
                    // A matter of the folder, not of the item: once it can be written again, all that waits is.
                    E::PermissionDenied => (
                        FaultKind::Unavailable,
                        "no-rights",
                        "give the user OpenDMP runs as the right to write there; the export is tried again",
                    ),
                    E::ReadOnlyFilesystem => (
                        FaultKind::Unavailable,
                        "read-only",
                        "mount it writable, or choose another `path`; the export is tried again",
                    ),
                    E::NotADirectory => (
                        FaultKind::ExportRefused,
                        "not-a-folder",
                        "a file or a symbolic link (they are not followed) is where a folder of the target should be; \
                         move it away, or change `path` or `name`",
                    ),
                    E::InvalidFilename | E::InvalidInput => {
                        (FaultKind::ExportRefused, "bad-name", "the file system refuses that name; change `name`")
                    }
                    E::FileTooLarge => {
                        (FaultKind::ExportRefused, "too-large", "the file system takes no file of that size")
                    }
                    _ => (FaultKind::Unavailable, "io", "check the disk; the export is tried again"),
                };
                (kind, code, format!("{what} `{shown}`: {error}"), hint)
            }
            Stop::FolderThere => (
                FaultKind::ExportRefused,
                "folder-there",
                format!("`{shown}` is a folder"),
                "move it away, or change `name`; `overwrite` replaces files only",
            ),
            Stop::Damaged => (
                FaultKind::ExportRefused,
                "damaged-content",
                format!("the stored content for `{shown}` is damaged"),
                "reprocess the item; then check the disk",
            ),
            Stop::Busy => (
                FaultKind::Unavailable,
                "busy-target",
                format!("`{shown}` is changed by something else again and again"),
                "find out what else writes there; the export is tried again",
            ),
        };
        Fault::new(kind, code, message).with_hint(hint)
    }
}

/// An error once more.
fn same(error: &io::Error) -> io::Error {
    if let Some(refused) = beneath::refused(error) {
        return io::Error::new(error.kind(), refused.clone());
    }
    error.raw_os_error().map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}

/// What is at the target.
enum There {
    Nothing,
    /// The very content that is to be there.
    Equal(File),
    /// What this dataset wrote last.
    Ours(FileStat),
    /// Something that may be replaced.
    Replaceable,
    Foreign,
}

impl Inner {
    /// Carries exports out, folder by folder, answered in order.
    fn export_all(&self, exports: &[Export]) -> Vec<Result<ExportEnd, Stop>> {
        let mut folders: BTreeMap<&[u8], Vec<(usize, &Export)>> = BTreeMap::new();
        for (at, export) in exports.iter().enumerate() {
            folders.entry(beneath::split(&export.target).0).or_default().push((at, export));
        }
        let mut ends = Vec::with_capacity(exports.len());
        for (parents, some) in folders {
            let (places, some): (Vec<usize>, Vec<&Export>) = some.into_iter().unzip();
            let answers = match self.folder(parents) {
                Ok(folder) => self.export_into(&folder, &some),
                Err(stop) => some.iter().map(|_| Err(stop.again())).collect(),
            };
            ends.extend(places.into_iter().zip(answers));
        }
        ends.sort_by_key(|(at, _)| *at);
        ends.into_iter().map(|(_, end)| end).collect()
    }

    /// The folder at a path below the root, made where it is missing.
    fn folder(&self, parents: &[u8]) -> Result<Folder, Stop> {
        let root = self.root.open_or_make().map_err(|error| match (Unmounted::of(&error), Unrecorded::of(&error)) {
            (Some(unmounted), _) => Stop::Unmounted(unmounted.clone()),
            (None, Some(unrecorded)) => Stop::Unrecorded(unrecorded.clone()),
            (None, None) => Stop::Io("opening the folder of", error),
        })?;
        let folder = root.descend_making(parents, true).during("making the folder of")?;
        self.swept.sweep(&folder);
        Ok(folder)
    }

    /// Carries exports into one folder out, which is synced once for all of them.
    fn export_into(&self, folder: &Folder, exports: &[&Export]) -> Vec<Result<ExportEnd, Stop>> {
        // What changed places with a new version is removed only when that is durable.
        let mut aside = Vec::new();
        let mut ends: Vec<_> = exports.iter().map(|export| self.export(folder, export, &mut aside)).collect();
        let is_written = |end: &Result<ExportEnd, Stop>| matches!(end, Ok(ExportEnd::Written));
        if ends.iter().any(is_written)
            && let Err(stop) = folder.sync().during("syncing the folder of")
        {
            ends.iter_mut().filter(|end| is_written(end)).for_each(|end| *end = Err(stop.again()));
        }
        ends
    }

    /// Puts an export in its place, durably but for its name.
    fn export<'a>(
        &self,
        folder: &'a Folder,
        export: &Export,
        aside: &mut Vec<Temporary<'a>>,
    ) -> Result<ExportEnd, Stop> {
        let target = beneath::split(&export.target).1;
        let mut temporary = None;
        for _ in 0..ATTEMPTS {
            let there = there(folder, target, export)?;
            match &there {
                There::Foreign => return Ok(ExportEnd::Occupied),
                There::Equal(file) => {
                    // It may be from an attempt that was stopped before it was durable.
                    rustix::fs::fsync(file).map_err(io::Error::from).during("syncing")?;
                    return Ok(ExportEnd::Written);
                }
                There::Nothing | There::Ours(_) | There::Replaceable => {}
            }
            let written = match &mut temporary {
                Some(made) => made,
                none => none.insert(self.write(folder, export)?),
            };
            let placed = match there {
                There::Ours(version) => written.swap(target, &version),
                There::Replaceable => written.place(target, Taken::Replace),
                _ => written.place(target, Taken::Refuse),
            };
            if placed.during("renaming to")? {
                aside.extend(temporary);
                return Ok(ExportEnd::Written);
            }
        }
        Err(Stop::Busy)
    }

    /// The content under a hidden name in `folder`, durable.
    fn write<'a>(&self, folder: &'a Folder, export: &Export) -> Result<Temporary<'a>, Stop> {
        let mut temporary = Temporary::make(folder).during("writing")?;
        let mut hasher = blake3::Hasher::new();
        let mut put = |bytes: &[u8]| {
            hasher.update(bytes);
            temporary.file.write_all(bytes).during("writing")
        };
        match &export.body {
            Body::Unread => return Err(Stop::Damaged),
            Body::Bytes(bytes) => put(bytes)?,
            Body::File(content) => {
                let mut buffer = vec![0; 256 << 10];
                let mut at = 0;
                loop {
                    match content.read_at(&mut buffer, at) {
                        Ok(0) => break,
                        Ok(read) => {
                            put(&buffer[..read])?;
                            at += read as u64;
                        }
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(Stop::Io("reading the content for", error)),
                    }
                }
            }
        }
        if ContentHash(*hasher.finalize().as_bytes()) != export.hash {
            return Err(Stop::Damaged);
        }
        temporary.file.sync_all().during("syncing")?;
        Ok(temporary)
    }
}

/// What is at the target, seen from this export.
fn there(folder: &Folder, target: &[u8], export: &Export) -> Result<There, Stop> {
    let Some(stat) = folder.look(target).map_err(Stop::Unseen)? else { return Ok(There::Nothing) };
    let other = if export.overwrite { There::Replaceable } else { There::Foreign };
    if !is_file(&stat) {
        let is_folder = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory;
        return if export.overwrite && is_folder { Err(Stop::FolderThere) } else { Ok(other) };
    }
    if version(&stat).size != export.size && (export.ours.is_none() || export.overwrite) {
        return Ok(other);
    }
    let (hash, file, before) = match hash_of(folder, target) {
        Ok(Some(hashed)) => hashed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(There::Nothing),
        // Whatever it is, it is replaced.
        Ok(None) | Err(_) if export.overwrite => return Ok(other),
        Ok(None) => return Err(Stop::Busy),
        // It may be this dataset's.
        Err(error) => return Err(Stop::Unseen(error)),
    };
    if hash == export.hash {
        Ok(There::Equal(file))
    } else if Some(hash) == export.ours && !export.overwrite {
        Ok(There::Ours(before))
    } else {
        Ok(other)
    }
}

/// The hash of a file, and which version of it was read; `None` where it changed meanwhile.
fn hash_of(folder: &Folder, target: &[u8]) -> io::Result<Option<(ContentHash, File, FileStat)>> {
    let file = folder.read(target)?;
    let before = version_of(&file)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(&file)?;
    if version_of(&file)? != before {
        return Ok(None);
    }
    Ok(Some((ContentHash(*hasher.finalize().as_bytes()), file, before)))
}

#[cfg(test)]
mod tests;
