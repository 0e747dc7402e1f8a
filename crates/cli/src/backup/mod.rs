//! A backup: a folder that holds a data directory as it was at one moment, in files that plain tools can read.
//!
//! ```text
//! backup.json      of what, made when, how far it came, and the hash of the journal; written last
//! journal.db       the journal at that moment
//! journal.db.new   the journal of a backup that is being made, or was just finished
//! content/         content, in the same layout as in a data directory
//! lock             locked by who works on it
//! ```
//! **Whole.** Content is durable before the journal names it, and no garbage is collected from before the snapshot of the
//! journal to the end of the copy. So the snapshot comes first and the content after it: whatever the snapshot names
//! is there to be copied. What came to the content in between is copied, too, and harms nothing.
//!
//! **Never a lie.** `backup.json` names its journal by hash, and is put in place by one rename, when the journal
//! (under `journal.db.new`) and all content are durable. Before that rename the folder is the earlier backup: its
//! `backup.json` names `journal.db`, and its content is there, since content in a backup only grows. From that rename
//! on it is the new one: `journal.db.new` has the hash, and takes its name as a last step, or with the next backup, or
//! is found under the other name. At no moment do both describe different moments, and a hash that neither file has
//! is told as damage.
//!
//! **Of one data directory.** The name of the installation (`instance`) is in `backup.json`, and a folder takes no
//! other's. It comes back with a restore, since sources mark with it what they set aside.

mod make;
mod restore;
#[cfg(test)]
mod tests;
mod verify;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use opendmp_api::ask::{Event, Problem};
use opendmp_api::backup::{Copying, Damaged, Holds};
use opendmp_content::backup::{Damage, Mark, Place};
use opendmp_model::ids::ContentHash;
use opendmp_model::name;
use opendmp_ports::journal::Named;
use serde::{Deserialize, Serialize};

pub use make::Maker;
pub use restore::{RESTORING, must_be_empty, restore};
pub use verify::{Verified, verify, verify_data};

/// Version of the folder's layout and of `backup.json`.
const FORMAT: u32 = 1;

const DOCUMENT: &str = "backup.json";
const JOURNAL: &str = "journal.db";
const JOURNAL_NEW: &str = "journal.db.new";
const CONTENT: &str = "content";
const LOCK: &str = "lock";

/// The pause between two numbers that are told.
const PAUSE: Duration = Duration::from_millis(100);

/// Damages that are told one by one; more are only counted.
const MOST_TOLD: u64 = 100;

/// `backup.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Version of the format.
    format: u32,
    /// Version of OpenDMP that wrote it.
    opendmp: String,
    /// Of what it is.
    pub from: From,
    /// The backup; none while the first has not come to its end.
    pub backup: Option<Made>,
}

/// A data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct From {
    /// The name of the installation.
    pub instance: String,
    /// Where it was.
    pub path: String,
}

/// A backup that came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// The moment it is of.
    pub at: String,
    /// Its journal.
    pub journal: Journal,
    /// What the journal holds.
    pub holds: Holds,
    /// The packs' end: up to there all was copied and durable.
    content_end: Option<End>,
    /// Where the source was damaged, and this copy is for it.
    damaged: Vec<BadPlace>,
    /// References to content that is not here as it should be.
    pub lacking: u64,
}

/// The journal of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// Bytes.
    pub size: u64,
    /// BLAKE3 of it, hexadecimal.
    pub blake3: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    pack: u64,
    length: u64,
}

/// Damaged bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "in")]
enum BadPlace {
    Pack { pack: u64, from: u64, to: u64 },
    File { blake3: ContentHash, generation: u32 },
}

impl BadPlace {
    fn of(place: Place) -> Self {
        match place {
            Place::Pack { pack, from, to } => Self::Pack { pack, from, to },
            Place::File { hash, generation } => Self::File { blake3: hash, generation },
        }
    }

    fn place(&self) -> Place {
        match *self {
            Self::Pack { pack, from, to } => Place::Pack { pack, from, to },
            Self::File { blake3, generation } => Place::File { hash: blake3, generation },
        }
    }
}

impl Made {
    fn past(&self) -> opendmp_content::backup::Past {
        opendmp_content::backup::Past {
            mark: self.content_end.map(|end| Mark { pack: end.pack, length: end.length }),
            damage: self.damaged.iter().map(BadPlace::place).collect(),
        }
    }
}

fn io(what: impl std::fmt::Display, error: &std::io::Error) -> Problem {
    opendmp_ports::Error::io("backup", what, error).into()
}

fn refused(message: impl Into<String>, hint: &str) -> Problem {
    Problem::new(409, "not-a-target", message).with_hint(hint)
}

fn shown(path: &Path) -> String {
    name::printable(&name::from_bytes(path.as_os_str().as_bytes()))
}

/// Makes the names in a folder durable.
fn sync_names(dir: &Path) -> Result<(), Problem> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| io(format_args!("syncing {}", shown(dir)), &error))
}

/// Writes a small file whole or not at all, durable. The caller has the folder's lock.
fn write(dir: &Path, file: &str, bytes: &[u8]) -> Result<(), Problem> {
    let part = part(file);
    let failed = |error: std::io::Error| io(format_args!("writing {}", shown(&dir.join(file))), &error);
    let mut open = OpenOptions::new();
    let new = open.write(true).create(true).truncate(true).mode(0o600).open(dir.join(&part));
    let mut new = new.map_err(failed)?;
    new.write_all(bytes).and_then(|()| new.sync_all()).map_err(failed)?;
    rename(dir, &part, file)
}

/// The name of a small file on its way.
fn part(file: &str) -> String {
    format!(".{file}.part")
}

fn rename(dir: &Path, from: &str, to: &str) -> Result<(), Problem> {
    let renamed = fs::rename(dir.join(from), dir.join(to));
    renamed.map_err(|error| io(format_args!("renaming {}", shown(&dir.join(from))), &error))?;
    sync_names(dir)
}

fn make_folder(path: &Path) -> Result<(), Problem> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| io(format_args!("making {}", shown(path)), &error))
}

/// Whether a folder has nothing in it but what is named.
fn holds_only(path: &Path, names: &[&str]) -> Result<bool, Problem> {
    let failed = |error: std::io::Error| io(format_args!("looking into {}", shown(path)), &error);
    for entry in fs::read_dir(path).map_err(failed)? {
        let found = entry.map_err(failed)?.file_name();
        // A file system's own, at the top of a disk.
        if found != "lost+found" && !names.iter().any(|name| found == *name || found == *part(name)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads what a folder says of itself; `None` where it says nothing.
///
/// # Errors
/// Where that can't be read, or is of a later format.
fn document(dir: &Path) -> Result<Option<Document>, Problem> {
    let path = dir.join(DOCUMENT);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(format_args!("reading {}", shown(&path)), &error)),
    };
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let bad = |error: serde_json::Error| {
        Problem::new(409, "damaged", format!("{} is not as written: {error}", shown(&path)))
            .with_hint("if it is a backup's, it is damaged: use another one")
    };
    let Format { format } = serde_json::from_slice(&text).map_err(bad)?;
    if format > FORMAT {
        return Err(Problem::new(409, "newer", format!("{} is a backup of format {format}", shown(dir)))
            .with_hint(format!("this opendmp reads up to {FORMAT}: use the one that wrote it, or a later one")));
    }
    serde_json::from_slice(&text).map(Some).map_err(bad)
}

/// A backup that came to its end, to be read.
#[derive(Debug)]
pub struct Finished {
    dir: PathBuf,
    document: Document,
    made: Made,
    /// Keeps others from writing to it, where it can be locked.
    _lock: Option<File>,
}

impl Finished {
    /// Looks into a folder.
    pub fn open(dir: &Path) -> Result<Self, Problem> {
        let nothing = |message: String| {
            Problem::new(404, "no-backup", message).with_hint("name the folder that `opendmp backup` was given")
        };
        if !dir.is_dir() {
            return Err(nothing(format!("there is no folder {}", shown(dir))));
        }
        // Of a folder that can only be read nobody makes a backup meanwhile.
        let lock = File::open(dir.join(LOCK)).ok();
        if let Some(lock) = &lock
            && matches!(lock.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
        {
            return Err(busy(dir));
        }
        let document = document(dir)?.ok_or_else(|| nothing(format!("{} is not a backup", shown(dir))))?;
        let made = document.backup.clone().ok_or_else(|| {
            Problem::new(409, "unfinished", format!("the backup in {} never came to its end", shown(dir)))
                .with_hint("`opendmp backup` goes on with it")
        })?;
        Ok(Self { dir: dir.to_owned(), document, made, _lock: lock })
    }

    fn content(&self) -> PathBuf {
        self.dir.join(CONTENT)
    }

    /// The journal's file: the one that has the hash.
    fn journal(&self, moved: &mut dyn FnMut(u64)) -> Result<PathBuf, Problem> {
        for file in [JOURNAL, JOURNAL_NEW] {
            let path = self.dir.join(file);
            if path.metadata().is_ok_and(|found| found.len() == self.made.journal.size)
                && hash_of(&path, moved)? == self.made.journal.blake3
            {
                return Ok(path);
            }
        }
        Err(Problem::new(409, "damaged", format!("the journal in {} is damaged: its hash is wrong", shown(&self.dir)))
            .with_hint("use another backup; of this one only the content can be read"))
    }
}

fn busy(dir: &Path) -> Problem {
    Problem::new(409, "busy", format!("a backup into {} is under way", shown(dir))).with_hint("wait until it is done")
}

/// Locks a folder for writing a backup to it.
fn lock(dir: &Path) -> Result<File, Problem> {
    let path = dir.join(LOCK);
    let mut open = OpenOptions::new();
    let file = open.write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(|error| io(format_args!("locking {}", shown(dir)), &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(busy(dir)),
        Err(fs::TryLockError::Error(error)) => Err(io(format_args!("locking {}", shown(dir)), &error)),
    }
}

/// The hash of a file, hexadecimal.
fn hash_of(path: &Path, moved: &mut dyn FnMut(u64)) -> Result<String, Problem> {
    let failed = |error: std::io::Error| io(format_args!("reading {}", shown(path)), &error);
    let mut file = File::open(path).map_err(failed)?;
    let (mut hasher, mut buffer) = (blake3::Hasher::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hasher.finalize().to_hex().to_string()),
            read => {
                hasher.update(&buffer[..read]);
                moved(read as u64);
            }
        }
    }
}

/// Errs where a disk has less room than is needed.
fn room(dir: &Path, needed: u64) -> Result<(), Problem> {
    let Ok(stat) = nix::sys::statvfs::statvfs(dir) else { return Ok(()) };
    let free = stat.blocks_available() * stat.fragment_size();
    if free >= needed {
        return Ok(());
    }
    let (needed, free) = (crate::words::size(needed), crate::words::size(free));
    Err(Problem::new(507, "full", format!("{needed} are needed on the disk of {}, and {free} are free", shown(dir)))
        .with_hint("make room there, or name a folder on another disk; nothing was copied"))
}

/// Tells how something long goes on, and what is wrong, not too often.
struct Told<'a> {
    tell: &'a dyn Fn(Event),
    what: &'static str,
    done: u64,
    total: u64,
    last: Option<Instant>,
    damaged: u64,
}

impl<'a> Told<'a> {
    fn new(tell: &'a dyn Fn(Event)) -> Self {
        Self { tell, what: "", done: 0, total: 0, last: None, damaged: 0 }
    }

    fn begin(&mut self, what: &'static str, total: u64) {
        (self.what, self.done, self.total, self.last) = (what, 0, total, None);
        self.moved(0);
    }

    fn moved(&mut self, bytes: u64) {
        self.done += bytes;
        if self.last.is_none_or(|last| last.elapsed() >= PAUSE) {
            self.last = Some(Instant::now());
            let (done, total) = (self.done, self.total.max(self.done));
            (self.tell)(Event::Copying(Copying { what: self.what.to_owned(), done, total }));
        }
    }

    fn damage(&mut self, damage: &Damage) {
        self.wrong(damage.place.to_string(), damage.why.clone());
    }

    fn wrong(&mut self, what: String, why: String) {
        self.damaged += 1;
        if self.damaged <= MOST_TOLD {
            (self.tell)(Event::Damaged(Damaged { what, why }));
        }
    }
}

/// Counts the references of a journal that don't lead to their content, and tells who refers.
fn lacking(
    journal: &Path,
    content: &Path,
    damage: &[Damage],
    closely: bool,
    told: &mut Told<'_>,
    stopped: &dyn Fn() -> bool,
) -> Result<u64, Problem> {
    let mut found = opendmp_content::backup::look(content, damage)?;
    let mut lacking = 0;
    opendmp_journal::backup::references(journal, &mut |named, by| {
        let mut lacks = |hash: ContentHash, why: String| {
            lacking += 1;
            told.wrong(by(), format!("{hash:?}: {why}"));
        };
        match named {
            Named::Content(content) => {
                if let Some(why) = found.lacks(content, closely) {
                    lacks(content.hash, why);
                }
            }
            Named::Manifest(manifest) => found.lacks_of(manifest, closely, &mut lacks),
        }
        match stopped() {
            true => Err(opendmp_ports::Error::new(opendmp_ports::ErrorKind::Unavailable, "backup", "it was stopped")),
            false => Ok(()),
        }
    })?;
    Ok(lacking)
}

fn holds(journal: &Path) -> Result<Holds, Problem> {
    let held = opendmp_journal::backup::holds(journal)?;
    Ok(Holds {
        flows: held.flows,
        enabled: held.enabled,
        datasets: held.datasets,
        revisions: held.revisions,
        dead_letters: held.dead_letters,
        tasks: held.tasks,
        intents: held.intents,
        arrivals: held.arrivals,
    })
}
