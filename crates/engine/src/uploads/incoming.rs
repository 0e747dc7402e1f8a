//! Uploads on their way in: hashed as they are written, counted before, and gone without a trace where they end early.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use opendmp_model::document::ByteSize;
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::ids::ContentHash;

use super::{FACTS, Kept, MOST, Shared, broken_off, failed, refused};
use crate::engine::lock;
use crate::loaded::run_blocking;

/// Bytes that are gathered before they are written.
const PIECE: usize = 256 << 10;

/// An upload that is being written by who may block; dropped before its end, it leaves nothing.
pub(crate) struct Writing {
    shared: Arc<Shared>,
    id: String,
    name: String,
    media_type: Option<String>,
    file: File,
    hasher: blake3::Hasher,
    size: u64,
    done: bool,
}

impl Writing {
    pub(super) fn new(shared: Arc<Shared>, id: String, name: String, media_type: Option<String>, file: File) -> Self {
        let hasher = blake3::Hasher::new();
        Self { shared, id, name, media_type, file, hasher, size: 0, done: false }
    }

    /// Adds bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let more = bytes.len() as u64;
        let each = self.shared.limits.each;
        if self.size + more > each {
            return Err(refused("too-large", format!("an upload has {} at most", ByteSize::bytes(each)))
                .with_hint("try with a part of it"));
        }
        self.shared.look_at_disk(more)?;
        self.shared.take(more)?;
        // Counted before it is written, so that it is given back however this ends.
        self.size += more;
        self.file.write_all(bytes).map_err(|error| failed("writing", &error))?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Makes an upload of it.
    pub(crate) fn end(mut self) -> Result<Kept, Fault> {
        let shared = Arc::clone(&self.shared);
        let since = shared.clock.now();
        let kept = Kept {
            id: self.id.clone(),
            name: std::mem::take(&mut self.name),
            media_type: self.media_type.take(),
            size: self.size,
            hash: ContentHash(*self.hasher.finalize().as_bytes()),
            since,
            expires: since.saturating_add(i64::try_from(shared.limits.keep.as_millis()).unwrap_or(i64::MAX)),
        };
        write_facts(&shared.folder, &kept).map_err(|error| failed("writing", &error))?;
        let mut state = lock(&shared.state);
        while state.kept.len() >= MOST {
            shared.let_go(&mut state, 0);
        }
        state.kept.push(kept.clone());
        self.done = true;
        Ok(kept)
    }
}

/// Whole or not at all; a crash of the machine may lose it, which costs a second upload.
fn write_facts(folder: &Path, kept: &Kept) -> io::Result<()> {
    let (hidden, place) = (folder.join(format!("{}.new", kept.id)), folder.join(format!("{}{FACTS}", kept.id)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&hidden)?;
    let written = file.write_all(&serde_json::to_vec(kept)?).and_then(|()| std::fs::rename(&hidden, place));
    if written.is_err() {
        let _ = std::fs::remove_file(&hidden);
    }
    written
}

impl Drop for Writing {
    fn drop(&mut self) {
        if !self.done {
            let mut state = lock(&self.shared.state);
            state.taken = state.taken.saturating_sub(self.size);
            drop(state);
            // If that fails, the next start removes it.
            let _ = std::fs::remove_file(self.shared.folder.join(&self.id));
        }
    }
}

/// An upload that is coming in; dropped before its end, it leaves nothing.
pub struct Receiving {
    writing: Option<Writing>,
    gathered: Vec<u8>,
}

impl Receiving {
    pub(super) fn of(writing: Writing) -> Self {
        Self { writing: Some(writing), gathered: Vec::new() }
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// A fault where it is too large, or there is no more room; nothing is left of it then.
    pub async fn write(&mut self, piece: &Bytes) -> Result<(), Fault> {
        for part in piece.chunks(PIECE) {
            self.gathered.extend_from_slice(part);
            if self.gathered.len() >= PIECE {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        let Some(mut writing) = self.writing.take() else { return Err(ended()) };
        let mut gathered = std::mem::take(&mut self.gathered);
        let (writing, gathered) = run_blocking(move || {
            writing.write(&gathered)?;
            gathered.clear();
            Ok::<_, Fault>((writing, gathered))
        })
        .await
        .map_err(broken_off)??;
        (self.writing, self.gathered) = (Some(writing), gathered);
        Ok(())
    }

    /// Makes an upload of it.
    ///
    /// # Errors
    /// As [`Receiving::write`].
    pub async fn end(mut self) -> Result<Kept, Fault> {
        self.flush().await?;
        let writing = self.writing.take().ok_or_else(ended)?;
        run_blocking(move || writing.end()).await.map_err(broken_off)?
    }
}

/// Only after an error that was told before.
fn ended() -> Fault {
    Fault::new(FaultKind::Failed, "uploads", "this upload has ended")
}

impl Drop for Receiving {
    fn drop(&mut self) {
        let Some(writing) = self.writing.take() else { return };
        // A large file takes a while to be removed.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(writing))),
            Err(_) => drop(writing),
        }
    }
}
