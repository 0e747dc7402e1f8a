//! Collecting garbage: everything that was stored before a fence, and that nobody names, is condemned and removed.
//!
//! The protocol, and why it loses nothing, is in `docs/decisions/0011-garbage.md`. Of a pack, what is named is put in
//! order; the gaps between are garbage, so no pack has to be read. They are noted beside the pack (see
//! [`freed`]), durably, before the disk gets them back. A pack without anything named is removed whole,
//! unless it has the highest number: numbers are not given twice. A large file is condemned in memory and removed: under
//! its name there is never anything but that content, so a crash in between does no harm.

mod sort;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use opendmp_model::ids::ContentHash;
use opendmp_model::item::{ContentRef, Place};
use opendmp_ports::content::{Collection, Freed, Step, Watch};
use opendmp_ports::{Error, ErrorKind, Result};

use crate::backup::{packs, whole};
use crate::directory::{Inner, blocking};
use crate::freed::{self, Ranges};
use crate::holds::Stamp;
use crate::large::FileKey;
use crate::layout::{file_key, write_error};
use crate::packs::read_up_to;
use crate::record::{self, PACK_HEADER, RECORD_HEADER};
use crate::tail::Position;
use sort::{Sorted, Sorter};

const COLLECT: &str = "content collect";

/// Named records and files in memory at most, 20 and 36 bytes each.
const RECORDS: usize = 1 << 20;
const FILES: usize = 1 << 17;

/// See the module.
#[derive(Debug)]
pub(crate) struct Marking {
    inner: Arc<Inner>,
    /// Keeps those away who copy or check everything.
    _whole: File,
    hold: u64,
    /// Since when anything is held.
    since: Stamp,
    /// Records from here on are left alone.
    fence: Position,
    named: Named,
}

/// What stays: records by pack, offset and length, files by hash and generation.
#[derive(Debug)]
struct Named {
    records: Sorter<20>,
    files: Sorter<36>,
}

impl Drop for Marking {
    fn drop(&mut self) {
        self.inner.lock().holds.end(self.hold);
    }
}

fn failed(error: &io::Error) -> Error {
    write_error(COLLECT, "collecting garbage", error)
}

impl Marking {
    /// Sets the fence.
    pub fn begin(inner: &Arc<Inner>) -> Result<Self> {
        inner.layout.check_place()?;
        let file = whole(inner.layout.root()).map_err(|error| failed(&error))?;
        file.try_lock().map_err(|_| {
            let message = "all content is being copied or checked, or garbage is being collected already";
            Error::new(ErrorKind::Conflict, COLLECT, message).with_hint("try again when that is done")
        })?;
        let mut state = inner.lock();
        let now = state.stamp();
        let since = state.holds.oldest().unwrap_or(now);
        // Also what was put meanwhile by those who held something, when they hold it no more.
        let hold = state.holds.add(since);
        let fence = since.at.min(state.tail.durable());
        drop(state);
        let named = Named { records: Sorter::new(RECORDS), files: Sorter::new(FILES) };
        Ok(Self { inner: Arc::clone(inner), _whole: file, hold, since, fence, named })
    }
}

impl Named {
    fn keep(&mut self, inner: &Inner, named: &[ContentRef]) -> io::Result<()> {
        let temp = || inner.layout.temp().map(tempfile::NamedTempFile::into_file);
        for content in named {
            match content.place {
                Place::Empty => {}
                Place::Pack { pack, offset } => {
                    let mut key = [0; 20];
                    key[..8].copy_from_slice(&pack.to_be_bytes());
                    key[8..16].copy_from_slice(&offset.to_be_bytes());
                    key[16..].copy_from_slice(&u32::try_from(content.size).unwrap_or(u32::MAX).to_be_bytes());
                    self.records.push(key, &temp)?;
                }
                Place::File { generation } => self.files.push(file_bytes((content.hash, generation)), &temp)?,
            }
        }
        Ok(())
    }
}

fn file_bytes((hash, generation): FileKey) -> [u8; 36] {
    let mut key = [0; 36];
    key[..32].copy_from_slice(&hash.0);
    key[32..].copy_from_slice(&generation.to_be_bytes());
    key
}

#[async_trait]
impl Collection for Marking {
    async fn keep(&mut self, named: Vec<ContentRef>) -> Result<()> {
        // Beside the async runtime: now and then a part is sorted and written.
        let empty = Named { records: Sorter::new(1), files: Sorter::new(1) };
        let mut all = std::mem::replace(&mut self.named, empty);
        let inner = Arc::clone(&self.inner);
        self.named = blocking(COLLECT, move || {
            all.keep(&inner, &named).map_err(|error| failed(&error))?;
            Ok(all)
        })
        .await?;
        Ok(())
    }

    async fn finish(self: Box<Self>, dry: bool, watch: Watch) -> Result<Freed> {
        blocking(COLLECT, move || Sweep::run(*self, dry, watch)).await
    }
}

/// The second half of a collection: what is named is known.
struct Sweep {
    inner: Arc<Inner>,
    since: Stamp,
    fence: Position,
    dry: bool,
    watch: Watch,
    freed: Freed,
}

/// The end of a sweep that was asked to stop.
struct Stopped;

impl Sweep {
    fn run(mut marking: Marking, dry: bool, watch: Watch) -> Result<Freed> {
        let empty = Named { records: Sorter::new(1), files: Sorter::new(1) };
        let named = std::mem::replace(&mut marking.named, empty);
        let (inner, since, fence) = (Arc::clone(&marking.inner), marking.since, marking.fence);
        let mut sweep = Self { inner, since, fence, dry, watch, freed: Freed::default() };
        let swept = (|| {
            let (records, files) = (named.records.sorted()?, named.files.sorted()?);
            if sweep.packs(records)?.is_ok() && sweep.files(files)?.is_err() {
                tracing::debug!("a collection of garbage was stopped");
            }
            Ok(())
        })();
        swept.map_err(|error: io::Error| failed(&error))?;
        // Until here, so that the hold and the lock cover all of it.
        drop(marking);
        Ok(sweep.freed)
    }

    fn step(&self, step: Step) -> std::result::Result<(), Stopped> {
        if (self.watch)(step) { Ok(()) } else { Err(Stopped) }
    }

    fn packs(&mut self, records: Sorted<20>) -> io::Result<std::result::Result<(), Stopped>> {
        let root = self.inner.layout.root().to_owned();
        let listed = packs(&root).map_err(|error| io::Error::other(error.to_string()))?;
        // The highest number that a start finds again, whatever happens now.
        let durable = self.inner.lock().tail.durable();
        let is_durable = |(number, length): &&(u64, u64)| {
            *length > PACK_HEADER as u64
                && (*number < durable.0 || *number == durable.0 && durable.1 > PACK_HEADER as u64)
        };
        let highest = listed.iter().filter(is_durable).map(|(number, _)| *number).max().unwrap_or(0);
        if !self.dry {
            self.inner.disk.sync_dir(&self.inner.layout.packs())?;
        }
        let mut records = records.map(|key| key.map(record_of)).peekable();
        for (number, length) in listed {
            if self.step(Step::Look).is_err() {
                return Ok(Err(Stopped));
            }
            let end = match number.cmp(&self.fence.0) {
                std::cmp::Ordering::Less => length,
                std::cmp::Ordering::Equal => self.fence.1.min(length),
                std::cmp::Ordering::Greater => break,
            };
            let mut live = Vec::new();
            loop {
                match records.next_if(|next| next.as_ref().map_or(true, |(pack, ..)| *pack <= number)) {
                    None => break,
                    Some(next) => match next? {
                        (pack, from, to) if pack == number => {
                            self.freed.kept += u64::from(from < end);
                            live.push((from, to));
                        }
                        // Its pack is missing; verification tells.
                        _ => {}
                    },
                }
            }
            let whole = end == length && number < highest;
            if self.pack(number, length, end, &Ranges::of(live), whole)?.is_err() {
                return Ok(Err(Stopped));
            }
        }
        Ok(Ok(()))
    }

    /// Frees what is not `live` of a pack, up to `end`.
    fn pack(
        &mut self,
        number: u64,
        length: u64,
        end: u64,
        live: &Ranges,
        whole: bool,
    ) -> io::Result<std::result::Result<(), Stopped>> {
        let root = self.inner.layout.root().to_owned();
        let path = self.inner.layout.pack(number);
        let garbage = live.gaps(PACK_HEADER as u64, end);
        // What can't be read is written anew: garbage is known without it.
        let (before, done) = freed::read(&root, number).unwrap_or_default();
        let new = garbage.without(&before);
        let dead = whole && live.is_empty();
        if new.is_empty() && done && !dead {
            return Ok(Ok(()));
        }
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        self.freed.contents += new.iter().map(|(from, to)| records_in(&file, from, to)).sum::<u64>();
        self.freed.bytes += new.bytes();
        if self.dry {
            return Ok(Ok(()));
        }
        self.inner.layout.check_place().map_err(io::Error::other)?;
        let blocks = file.metadata()?.blocks();
        let all = before.and(&garbage);
        // From here on it is condemned.
        freed::write(&root, number, &all)?;
        self.inner.gone.condemned(number, &all);
        if self.step(Step::Condemned).is_err() {
            return Ok(Err(Stopped));
        }
        if dead {
            self.inner.unmake_pack(number).map_err(io::Error::other)?;
            fs::remove_file(&path)?;
            self.inner.packs.forget(number);
            if self.step(Step::Removed).is_err() {
                return Ok(Err(Stopped));
            }
            freed::forget(&root, number)?;
            self.freed.disk += blocks * 512;
            self.inner.lock().freed += length.saturating_sub(before.bytes());
            return Ok(Ok(()));
        }
        for (from, to) in all.iter() {
            freed::punch(&file, from, to)?;
        }
        file.sync_data()?;
        self.freed.disk += blocks.saturating_sub(file.metadata()?.blocks()) * 512;
        if self.step(Step::Removed).is_err() {
            return Ok(Err(Stopped));
        }
        freed::done(&root, number)?;
        self.inner.lock().freed += new.bytes();
        Ok(Ok(()))
    }

    fn files(&mut self, named: Sorted<36>) -> io::Result<std::result::Result<(), Stopped>> {
        let mut named = named.peekable();
        let mut dirs = BTreeSet::new();
        for entry in fs::read_dir(self.inner.layout.files())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.insert(entry.path());
            }
        }
        // Names are hexadecimal, so that their order is the one of the hashes. One folder's fit into memory.
        for dir in dirs {
            let mut keys: BTreeSet<[u8; 36]> = BTreeSet::new();
            for entry in fs::read_dir(&dir)? {
                keys.extend(file_key(&entry?.path()).map(file_bytes));
            }
            for key in keys {
                if self.step(Step::Look).is_err() {
                    return Ok(Err(Stopped));
                }
                while named.next_if(|next| next.as_ref().is_ok_and(|next| *next < key)).is_some() {}
                match named.peek() {
                    Some(Err(_)) => {
                        if let Some(next) = named.next() {
                            next?;
                        }
                    }
                    Some(Ok(next)) if *next == key => self.freed.kept += 1,
                    _ => {
                        if self.file(key)?.is_err() {
                            return Ok(Err(Stopped));
                        }
                    }
                }
            }
        }
        Ok(Ok(()))
    }

    /// Removes a large file, unless it is being put.
    fn file(&mut self, key: [u8; 36]) -> io::Result<std::result::Result<(), Stopped>> {
        let (mut hash, mut generation) = ([0; 32], [0; 4]);
        hash.copy_from_slice(&key[..32]);
        generation.copy_from_slice(&key[32..]);
        let key = (ContentHash(hash), u32::from_be_bytes(generation));
        let path = self.inner.layout.file(key.0, key.1);
        if !self.dry {
            self.inner.layout.check_place().map_err(io::Error::other)?;
        }
        let found = fs::symlink_metadata(&path)?;
        let young = {
            let mut state = self.inner.lock();
            let young =
                if self.dry { state.holds.is_young(key.0, self.since) } else { !state.holds.condemn(key, self.since) };
            young || state.files.contains_key(&key)
        };
        if young {
            return Ok(Ok(()));
        }
        self.freed.contents += 1;
        self.freed.bytes += found.len();
        if self.dry {
            return Ok(Ok(()));
        }
        self.inner.gone.any.store(true, Ordering::Release);
        let removed = self.step(Step::Condemned).map(|()| fs::remove_file(&path));
        self.inner.lock().holds.removed(key);
        let Ok(removed) = removed else { return Ok(Err(Stopped)) };
        removed?;
        self.freed.disk += found.blocks() * 512;
        self.inner.lock().freed += found.len();
        Ok(self.step(Step::Removed))
    }
}

/// Pack, and from where to where.
fn record_of(key: [u8; 20]) -> (u64, u64, u64) {
    let number = |bytes: &[u8]| bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let from = number(&key[8..16]);
    (number(&key[..8]), from, from.saturating_add(RECORD_HEADER as u64).saturating_add(number(&key[16..])))
}

/// How many records begin in a range; what can't be read counts as one.
fn records_in(file: &File, from: u64, to: u64) -> u64 {
    let (mut count, mut at, mut header) = (0, from, [0; RECORD_HEADER]);
    while at < to {
        count += 1;
        match read_up_to(file, &mut header, at).ok().map(|_| record::read_header(&header)) {
            Some(Ok((_, length))) => at += RECORD_HEADER as u64 + u64::from(length),
            _ => break,
        }
    }
    count
}
