//! Uploads: files that people hand in to try something with, and what came of trying. They lie beside the content, in a
//! folder of their own, for a day; nothing names them, so no dataset, history or backup knows of them.
//!
//! A file is written under its id, and is an upload once its facts lie beside it; what has none is left of something that
//! was broken off, and goes. What they are used for stands in [`crate::tryout`].

mod incoming;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opendmp_model::document::ByteSize;
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::ids::ContentHash;
use opendmp_model::name;
use opendmp_ports::Clock;
use serde::{Deserialize, Serialize};

use crate::Engine;
use crate::engine::lock;
use crate::loaded::run_blocking;

pub use incoming::Receiving;
pub(crate) use incoming::Writing;

/// Uploads that are kept at most, however small they are.
const MOST: usize = 10_000;

/// Bytes of a name at most, and of a media type.
const LONGEST_NAME: usize = 1_024;
const LONGEST_TYPE: usize = 255;

/// What is behind the id in the name of the file with the facts.
const FACTS: &str = ".json";

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct UploadLimits {
    /// Bytes of one.
    pub each: u64,
    /// Bytes of all; the oldest go first.
    pub all: u64,
    /// How long one is kept.
    pub keep: Duration,
    /// Free bytes of the disk below which nothing is taken.
    pub reserve: u64,
}

impl Default for UploadLimits {
    fn default() -> Self {
        Self { each: 1 << 30, all: 4 << 30, keep: Duration::from_secs(24 * 60 * 60), reserve: 64 << 20 }
    }
}

/// One upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its id: 32 hexadecimal digits.
    pub id: String,
    /// The name it was given.
    pub name: String,
    /// Its media type, as given or as its name says.
    pub media_type: Option<String>,
    /// Bytes.
    pub size: u64,
    /// Their hash.
    pub hash: ContentHash,
    /// Since when, milliseconds since 1970.
    pub since: i64,
    /// Until when.
    pub expires: i64,
}

/// All uploads of a data directory. Cheap to clone.
#[derive(Clone)]
pub struct Uploads(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    limits: UploadLimits,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Oldest first.
    kept: Vec<Kept>,
    /// Bytes of these, and of what is being written.
    taken: u64,
}

fn refused(code: &str, message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Rejected, code, message)
}

fn failed(doing: &str, error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => no_room("the disk of the data directory is full"),
        _ => Fault::new(FaultKind::Unavailable, "uploads", format!("{doing} an upload failed: {error}"))
            .with_hint("look at the disk and the rights of the data directory"),
    }
}

fn no_room(why: &str) -> Fault {
    Fault::new(FaultKind::NoSpace, "no-room", format!("{why}: no upload is taken"))
        .with_hint("make room on that disk (`opendmp gc`), or remove other uploads")
}

fn missing(id: &str) -> Fault {
    refused("not-found", format!("there is no upload `{}`", name::printable(id)))
        .with_hint("uploads are kept for a day at most; hand the file in again")
}

/// The name of an item, as it may be given by hand: that of a file.
///
/// # Errors
/// A fault `bad-name`.
pub(crate) fn file_name(given: &str) -> Result<&str, Fault> {
    let wrong = |why: &str| {
        refused("bad-name", format!("the name {why}")).with_hint("write that of a file, such as `sample.csv`")
    };
    match given {
        "" => Err(wrong("is empty")),
        "." | ".." => Err(wrong("is that of a folder")),
        long if long.len() > LONGEST_NAME => Err(wrong(&format!("is longer than {LONGEST_NAME} bytes"))),
        odd if odd.contains(['/', '\0']) => Err(wrong("has a `/` or NUL in it")),
        good => Ok(good),
    }
}

/// A media type as it was given, else as the name says.
pub(crate) fn media_type_of(given: Option<&str>, name: &str) -> Result<Option<String>, Fault> {
    let Some(given) = given.filter(|given| !given.is_empty()) else {
        return Ok(mime_guess::from_ext(name::extension(name)).first_raw().map(str::to_owned));
    };
    let good = given.len() <= LONGEST_TYPE
        && given.contains('/')
        && given.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    match good {
        true => Ok(Some(given.to_owned())),
        false => Err(refused("bad-media-type", "that is no media type").with_hint("write `text/csv`, for example")),
    }
}

impl Uploads {
    /// Those in `folder`, which is made where it is missing, for nobody else to read. What an earlier process left half
    /// written, and what is too old, is removed. Blocks.
    ///
    /// # Errors
    /// Where the folder can't be made or read.
    pub fn open(folder: &Path, limits: UploadLimits, clock: Arc<dyn Clock>) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
        let mut state = State::default();
        let mut others = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let found = entry.file_name();
            let of = found.to_str().and_then(|found| found.strip_suffix(FACTS)).filter(|id| is_id(id));
            match of.and_then(|id| read_facts(folder, id)) {
                Some(kept) => state.kept.push(kept),
                None => others.push(entry.path()),
            }
        }
        state.kept.sort_by_key(|kept| kept.since);
        state.taken = state.kept.iter().map(|kept| kept.size).sum();
        let is_kept = |path: &Path| state.kept.iter().any(|kept| path.file_name() == Some(kept.id.as_ref()));
        for left in others.iter().filter(|path| !is_kept(path)) {
            // A folder is nothing that was put here, and stays.
            let _ = std::fs::remove_file(left);
        }
        let uploads = Self(Arc::new(Shared { folder: folder.to_owned(), limits, clock, state: Mutex::new(state) }));
        uploads.0.let_go_old();
        Ok(uploads)
    }

    /// Begins one.
    ///
    /// # Errors
    /// A fault where the name can't be one, or there is no room.
    pub async fn begin(&self, name: &str, media_type: Option<&str>) -> Result<Receiving, Fault> {
        let name = file_name(name)?.to_owned();
        let media_type = media_type_of(media_type, &name)?;
        let uploads = self.clone();
        let begun = run_blocking(move || uploads.writing(name, media_type)).await.map_err(broken_off)??;
        Ok(Receiving::of(begun))
    }

    /// Begins one, for who may block and has a name that somebody else answers for.
    pub(crate) fn writing(&self, name: String, media_type: Option<String>) -> Result<Writing, Fault> {
        let shared = Arc::clone(&self.0);
        shared.let_go_old();
        shared.look_at_disk(0)?;
        let id = format!("{:032x}", rand::random::<u128>());
        let mut open = OpenOptions::new();
        open.write(true).create_new(true).mode(0o600);
        let file = match open.open(shared.folder.join(&id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Somebody removed the folder; the one above it is not ours to make.
                let made = DirBuilder::new().mode(0o700).create(&shared.folder);
                made.and_then(|()| open.open(shared.folder.join(&id)))
            }
            opened => opened,
        };
        let file = file.map_err(|error| failed("making", &error))?;
        Ok(Writing::new(shared, id, name, media_type, file))
    }

    /// One that is there.
    ///
    /// # Errors
    /// A fault `not-found`.
    pub fn get(&self, id: &str) -> Result<Kept, Fault> {
        let now = self.0.clock.now();
        let state = lock(&self.0.state);
        let found = state.kept.iter().find(|kept| kept.id == id && kept.expires > now);
        found.cloned().ok_or_else(|| missing(id))
    }

    /// One with its bytes: an open file that is exactly these, which stays readable when the upload goes.
    ///
    /// # Errors
    /// A fault `not-found`, or that it can't be read.
    pub async fn open_one(&self, id: &str) -> Result<(Kept, Arc<File>), Fault> {
        let kept = self.get(id)?;
        let path = self.0.folder.join(&kept.id);
        let opened = run_blocking(move || {
            let file = File::open(path)?;
            let size = file.metadata()?.len();
            Ok::<_, io::Error>((file, size))
        });
        match opened.await.map_err(broken_off)? {
            Ok((file, size)) if size == kept.size => Ok((kept, Arc::new(file))),
            Ok(_) => Err(Fault::new(FaultKind::Failed, "damaged", format!("upload `{id}` is not what it was"))
                .with_hint("hand the file in again")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing(id)),
            Err(error) => Err(failed("opening", &error)),
        }
    }

    /// Removes one.
    ///
    /// # Errors
    /// A fault `not-found`.
    pub async fn remove(&self, id: &str) -> Result<(), Fault> {
        let (shared, id) = (Arc::clone(&self.0), id.to_owned());
        run_blocking(move || {
            let mut state = lock(&shared.state);
            let at = state.kept.iter().position(|kept| kept.id == id).ok_or_else(|| missing(&id))?;
            shared.let_go(&mut state, at);
            Ok(())
        })
        .await
        .map_err(broken_off)?
    }

    /// Removes what is too old.
    pub async fn sweep(&self) {
        let now = self.0.clock.now();
        if lock(&self.0.state).kept.iter().any(|kept| kept.expires <= now) {
            let shared = Arc::clone(&self.0);
            // It is swept again soon.
            let _ = run_blocking(move || shared.let_go_old()).await;
        }
    }
}

impl Shared {
    /// Removes the one at that place.
    fn let_go(&self, state: &mut State, at: usize) {
        let kept = state.kept.remove(at);
        state.taken = state.taken.saturating_sub(kept.size);
        // The facts first: what has none is removed at the next start at the latest.
        for file in [format!("{}{FACTS}", kept.id), kept.id] {
            if let Err(error) = std::fs::remove_file(self.folder.join(&file))
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(file, %error, "an upload could not be removed");
            }
        }
    }

    fn let_go_old(&self) {
        let now = self.clock.now();
        let mut state = lock(&self.state);
        while let Some(at) = state.kept.iter().position(|kept| kept.expires <= now) {
            self.let_go(&mut state, at);
        }
    }

    /// Counts bytes that are about to be written; older uploads go for them.
    fn take(&self, bytes: u64) -> Result<(), Fault> {
        let mut state = lock(&self.state);
        while state.taken + bytes > self.limits.all && !state.kept.is_empty() {
            self.let_go(&mut state, 0);
        }
        if state.taken + bytes > self.limits.all {
            let all = ByteSize::bytes(self.limits.all);
            return Err(no_room(&format!("what is being uploaded now takes {all}, the most there may be")));
        }
        state.taken += bytes;
        Ok(())
    }

    /// Whether the disk has room for so many bytes more.
    fn look_at_disk(&self, more: u64) -> Result<(), Fault> {
        let disk = rustix::fs::statvfs(&self.folder).map_err(|error| failed("finding room for", &error.into()))?;
        let (free, reserve) = (disk.f_bavail.saturating_mul(disk.f_frsize), self.limits.reserve);
        match free < reserve.saturating_add(more) {
            true => Err(no_room(&format!(
                "this upload would leave less than the reserve of {} MiB free on the data directory's disk",
                reserve >> 20
            ))),
            false => Ok(()),
        }
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The facts of an upload that is whole.
fn read_facts(folder: &Path, id: &str) -> Option<Kept> {
    let mut text = String::new();
    File::open(folder.join(format!("{id}{FACTS}"))).ok()?.take(64 << 10).read_to_string(&mut text).ok()?;
    let kept: Kept = serde_json::from_str(&text).ok()?;
    let meta = std::fs::symlink_metadata(folder.join(id)).ok()?;
    (kept.id == id && meta.is_file() && meta.len() == kept.size).then_some(kept)
}

fn broken_off(error: opendmp_ports::Error) -> Fault {
    crate::retry::port_fault(error)
}

impl Engine {
    /// Where uploads are kept.
    ///
    /// # Errors
    /// A fault where this engine keeps none.
    pub fn uploads(&self) -> Result<&Uploads, Fault> {
        self.uploads.as_ref().ok_or_else(|| {
            Fault::new(FaultKind::Unavailable, "no-uploads", "no uploads are kept here")
                .with_hint("ask a running `opendmp serve`")
        })
    }
}

#[cfg(test)]
mod tests;
