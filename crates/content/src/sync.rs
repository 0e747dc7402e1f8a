//! Making durable what was put: one attempt at a time, for everybody who waits.
//!
//! A failed write is repeated at the same place by the next attempt. After a failed sync, what the system holds of a
//! file can't be trusted any more (its pages may be dropped, and a second sync may succeed without writing them), and
//! its place on the disk may be bad; so the file is written anew from what is in memory, beside the old one, and takes
//! its name when it is durable.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use opendmp_ports::content::PositionedReader;
use opendmp_ports::{Error, ErrorKind, Result};

use crate::directory::{Inner, blocking};
use crate::large::Fresh;
use crate::layout::write_error;
use crate::tail::Position;

const SYNC: &str = "content sync";

/// What only a sync touches.
#[derive(Debug, Default)]
pub struct Syncer {
    pack: Option<OpenPack>,
    /// Files that are not durable yet.
    files: Vec<Fresh>,
    /// An attempt is under way, or one ended in a panic and may have forgotten what it had at hand.
    begun: bool,
}

/// The pack written last.
#[derive(Debug)]
struct OpenPack {
    number: u64,
    file: File,
    /// Bytes that are durable.
    durable: u64,
    /// Its last sync failed.
    suspect: bool,
}

impl Inner {
    /// Makes everything durable that was put before.
    pub async fn sync(self: &Arc<Self>) -> Result<()> {
        let (wanted, begun) = {
            let state = self.lock();
            if state.durable >= state.puts {
                return Ok(());
            }
            (state.puts, state.attempts)
        };
        let mut syncer = Arc::clone(&self.syncer).lock_owned().await;
        {
            let state = self.lock();
            if state.durable >= wanted {
                return Ok(());
            }
            // An attempt that began after this call covered the same: its failure is this one's too.
            if let Some((attempt, error)) = &state.failed
                && *attempt > begun
            {
                return Err(error.clone());
            }
        }
        let inner = Arc::clone(self);
        // The guard goes along, so that a caller who no longer waits does not let a second attempt begin beside it.
        blocking(SYNC, move || syncer.attempt(&inner)).await
    }
}

impl Syncer {
    fn attempt(&mut self, inner: &Inner) -> Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            return Err(Error::new(ErrorKind::Unavailable, SYNC, "an earlier sync ended in a panic")
                .with_hint("restart opendmp: what was under way is done again"));
        }
        let (attempt, mark, segments) = {
            let mut state = inner.lock();
            state.attempts += 1;
            self.files.append(&mut state.fresh);
            (state.attempts, state.puts, state.tail.unsynced())
        };
        // What is not in its place is not touched; what was stored is looked for in it afterwards, each where it went.
        let result = inner.layout.keep_folders().and_then(|_| {
            let packs = self.packs(inner, &segments);
            let files = self.files(inner);
            packs.and(files).and_then(|()| dirs(inner)).and_then(|()| inner.layout.check_place())
        });
        self.begun = false;
        let mut state = inner.lock();
        match &result {
            Ok(()) => {
                state.durable = mark;
                state.failed = None;
            }
            Err(error) => state.failed = Some((attempt, error.clone())),
        }
        result
    }

    fn packs(&mut self, inner: &Inner, segments: &[(Position, Bytes)]) -> Result<()> {
        for pieces in segments.chunk_by(|a, b| a.0.0 == b.0.0) {
            let [((number, _), _), ..] = pieces else { continue };
            let end = self.pack(inner, *number, pieces).map_err(|error| {
                let what = format!("writing {}", inner.layout.pack(*number).display());
                write_error(SYNC, what, &error)
            })?;
            inner.made_pack(*number, end)?;
            inner.lock().tail.settle((*number, end));
        }
        Ok(())
    }

    /// Writes and syncs the last pieces of one pack. Returns its length.
    fn pack(&mut self, inner: &Inner, number: u64, pieces: &[(Position, Bytes)]) -> io::Result<u64> {
        let pack = match &mut self.pack {
            Some(pack) if pack.number == number => pack,
            other => {
                let file = inner.layout.create_pack(number)?;
                inner.lock().dirs.insert(inner.layout.packs());
                other.insert(OpenPack { number, file, durable: 0, suspect: false })
            }
        };
        // Removed while it was open, by whoever: what it holds is still in the open file.
        if !pack.suspect && !inner.layout.has(&inner.layout.pack(number), &pack.file) {
            tracing::error!(pack = number, "a pack was removed while it was written; it will be written anew");
            pack.suspect = true;
            inner.lock().tail.close(number);
        }
        if pack.suspect {
            pack.write_anew(inner, pieces)?;
        } else {
            pack.durable = inner.write_pieces(&pack.file, pieces, |file| {
                inner.disk.sync_data(file).inspect_err(|error| {
                    tracing::error!(pack = number, %error, "a sync of content failed; it will be written anew");
                    pack.suspect = true;
                    inner.lock().tail.close(number);
                })
            })?;
        }
        // Before anything in it is taken for durable. Where it is not there, the next attempt writes it anew.
        inner.layout.check_stored(&inner.layout.pack(number), &pack.file)?;
        Ok(pack.durable)
    }

    fn files(&mut self, inner: &Inner) -> Result<()> {
        let mut result = Ok(());
        let mut left = Vec::new();
        for mut fresh in std::mem::take(&mut self.files) {
            let Fresh { key, size, .. } = fresh;
            if let Err(error) = inner.make_durable(&mut fresh) {
                result = result.and(Err(error));
                left.push(fresh);
                continue;
            }
            match inner.name(fresh.temp, key, size) {
                Ok(named) => {
                    let mut state = inner.lock();
                    state.files.remove(&key);
                    state.stored -= if named { 0 } else { size };
                }
                Err((temp, error)) => {
                    // Where its temporary file was removed, it is written again from what is still open.
                    let suspect = !inner.layout.has(temp.path(), temp.as_file());
                    left.push(Fresh { temp, key, size, suspect });
                    result = result.and(Err(write_error(SYNC, "naming content", &error)));
                }
            }
        }
        self.files = left;
        result
    }
}

impl OpenPack {
    /// Puts a new file in the place of this pack: what was durable of it, and `pieces`.
    fn write_anew(&mut self, inner: &Inner, pieces: &[(Position, Bytes)]) -> io::Result<()> {
        let temp = inner.layout.temp()?;
        let mut source = PositionedReader::new(&self.file).take(self.durable);
        let (mut buffer, mut at) = (vec![0; 256 << 10], 0);
        while at < self.durable {
            let read = source.read(&mut buffer)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            inner.disk.write_at(temp.as_file(), &buffer[..read], at)?;
            at += read as u64;
        }
        let durable = inner.write_pieces(temp.as_file(), pieces, |file| inner.disk.sync_data(file))?;
        // By its own path, so that a folder that is missing is made first.
        inner.layout.with_folders(|| inner.disk.sync_dir(&inner.layout.packs()))?;
        let file = temp.persist(inner.layout.pack(self.number)).map_err(|error| error.error)?;
        inner.lock().dirs.insert(inner.layout.packs());
        inner.packs.forget(self.number);
        *self = Self { number: self.number, file, durable, suspect: false };
        Ok(())
    }
}

impl Inner {
    /// Writes pieces at their places, then syncs. Returns the end of the last.
    fn write_pieces(
        &self,
        file: &File,
        pieces: &[(Position, Bytes)],
        sync: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<u64> {
        let mut end = 0;
        for ((_, at), bytes) in pieces {
            self.disk.write_at(file, bytes, *at)?;
            end = at + bytes.len() as u64;
        }
        sync(file)?;
        Ok(end)
    }
}

/// Makes new names durable.
fn dirs(inner: &Inner) -> Result<()> {
    loop {
        let Some(dir) = inner.lock().dirs.pop_first() else { return Ok(()) };
        let synced = inner.disk.sync_dir(&dir);
        // Another folder at that path was synced instead, or may have been.
        if let Err(error) = inner.layout.check_place() {
            inner.lock().dirs.insert(dir);
            return Err(error);
        }
        if let Err(error) = synced {
            let what = format!("syncing {}", dir.display());
            // Where somebody removed it, its names are gone with it; that is told once.
            if error.kind() != io::ErrorKind::NotFound {
                inner.lock().dirs.insert(dir);
            }
            return Err(write_error(SYNC, what, &error));
        }
    }
}
