//! Large content: streamed into a file of its own, hashed on the way, and moved to its name once it is durable.
//!
//! A file below [`BATCHED`] bytes waits for the next sync together with others, which is much cheaper than one by one;
//! a larger one is made durable by its own put, so that nobody else's sync has to wait for it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::sync::Arc;

use bytes::Bytes;
use opendmp_model::ids::ContentHash;
use opendmp_model::item::{ContentRef, Place};
use opendmp_ports::content::{PositionedReader, SMALL};
use opendmp_ports::{Error, ErrorKind, Result};
use tempfile::{NamedTempFile, TempPath};

use crate::directory::Inner;
use crate::layout::write_error;

const PUT: &str = "content put";
const SYNC: &str = "content sync";

/// Files from this many bytes on are synced by their own put.
pub const BATCHED: u64 = 8 << 20;

/// Bytes read and written at a time.
const CHUNK: usize = 512 << 10;

/// After so many bytes it is looked again whether the disk has room.
const LOOK: u64 = 4 << 20;

/// A temporary file, written whole.
#[derive(Debug)]
pub struct Written {
    pub temp: NamedTempFile,
    pub hash: ContentHash,
    pub size: u64,
}

/// A written file that waits for a sync.
#[derive(Debug)]
pub struct Fresh {
    pub temp: NamedTempFile,
    pub key: FileKey,
    pub size: u64,
    /// Its last sync failed: what the file holds can't be trusted until it was read and written again.
    pub suspect: bool,
}

/// Hash and generation.
pub type FileKey = (ContentHash, u32);

/// What a source turned out to be.
#[derive(Debug)]
pub enum Received {
    Small(Bytes),
    Large(Written),
}

/// Makes an error of a source that can't be read.
pub type ReadError = fn(&io::Error) -> Error;

/// A [`ReadError`] for a file.
pub fn reading(error: &io::Error) -> Error {
    Error::io(PUT, "reading the source", error)
}

/// Reads until the buffer is full or the reader ends. Returns how many bytes were read.
fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match reader.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

impl Inner {
    /// Reads a file to its end. Blocks.
    pub fn receive(&self, source: &File) -> Result<Received> {
        let size = source.metadata().map_err(|error| reading(&error))?.len();
        if size > SMALL {
            // A clone is a moment's state of the source and costs no room; it is hashed by reading it.
            let temp = self.layout.temp().map_err(|error| write_error(PUT, "making a file", &error))?;
            if clone(temp.as_file(), source).is_ok() {
                let (hash, size) = self.stream(PUT, &mut PositionedReader::new(temp.as_file()), reading, None)?;
                return match size {
                    // The source was cut short meanwhile.
                    0..=SMALL => self.receive_reader(&mut PositionedReader::new(temp.as_file()), size, reading),
                    _ => Ok(Received::Large(Written { temp, hash, size })),
                };
            }
        }
        self.receive_reader(&mut PositionedReader::new(source), size, reading)
    }

    /// Reads to the end what is thought to be `size` bytes. Blocks.
    pub fn receive_reader(&self, reader: &mut dyn Read, size: u64, failed: ReadError) -> Result<Received> {
        let mut head = Vec::with_capacity(size.min(SMALL) as usize + 1);
        let read = (&mut *reader).take(SMALL + 1).read_to_end(&mut head).map_err(|error| failed(&error))?;
        if read as u64 <= SMALL {
            return Ok(Received::Small(head.into()));
        }
        // Before the disk is filled with what can't all come to lie there.
        self.leave_floor(PUT, size)?;
        let temp = self.layout.temp().map_err(|error| write_error(PUT, "making a file", &error))?;
        let (hash, size) = self.stream(PUT, &mut head.chain(reader), failed, Some(temp.as_file()))?;
        Ok(Received::Large(Written { temp, hash, size }))
    }

    /// Writes bytes in memory to a temporary file. Blocks.
    pub fn receive_bytes(&self, bytes: &[u8]) -> Result<Written> {
        let failed = |error: io::Error| write_error(PUT, "writing content", &error);
        self.leave_floor(PUT, bytes.len() as u64)?;
        let temp = self.layout.temp().map_err(failed)?;
        self.disk.write_at(temp.as_file(), bytes, 0).map_err(failed)?;
        self.disk.begin_writing(temp.as_file(), 0, bytes.len() as u64);
        Ok(Written { temp, hash: ContentHash::of(bytes), size: bytes.len() as u64 })
    }

    /// Whether `more` bytes may be written: not where too little would be left for what must be written.
    fn leave_floor(&self, operation: &'static str, more: u64) -> Result<()> {
        let floor = self.options.floor;
        let free = match floor {
            0 => return Ok(()),
            // Where it can't be told, the write itself will say so.
            _ => self.layout.free().unwrap_or(u64::MAX),
        };
        if free >= floor.saturating_add(more) {
            return Ok(());
        }
        let message = format!(
            "{} more MiB don't fit on the disk of {}: {} MiB are free, of which {} MiB are kept for the journal",
            more.div_ceil(1 << 20),
            self.layout.root().display(),
            free >> 20,
            floor >> 20
        );
        Err(Error::new(ErrorKind::Full, operation, message).with_hint("make room on that disk; work goes on by itself"))
    }

    /// Reads to the end, writes what was read to `target`, and hashes it. Returns hash and size. Blocks.
    pub fn stream(
        &self,
        operation: &'static str,
        reader: &mut dyn Read,
        failed: ReadError,
        target: Option<&File>,
    ) -> Result<(ContentHash, u64)> {
        let (mut hasher, mut buffer, mut at, mut begun) = (blake3::Hasher::new(), vec![0; CHUNK], 0u64, 0u64);
        loop {
            let read = fill(reader, &mut buffer).map_err(|error| failed(&error))?;
            let bytes = &buffer[..read];
            if let Some(target) = target {
                if operation == PUT && at.is_multiple_of(LOOK) {
                    self.leave_floor(operation, read as u64)?;
                }
                let written = self.disk.write_at(target, bytes, at);
                written.map_err(|error| write_error(operation, "writing content", &error))?;
            }
            hasher.update(bytes);
            at += read as u64;
            let ended = read < buffer.len();
            if let Some(target) = target
                && (ended || at - begun >= BATCHED)
            {
                self.disk.begin_writing(target, begun, at - begun);
                begun = at;
            }
            if ended {
                return Ok((ContentHash(*hasher.finalize().as_bytes()), at));
            }
        }
    }

    /// Gives a written file its place, or drops it where equal content is stored. Blocks.
    pub fn keep(&self, written: Written) -> Result<ContentRef> {
        let Written { temp, hash, size } = written;
        let failed = |error: io::Error| write_error(PUT, "storing content", &error);
        // Before it is looked what is there: from here on nothing of it is condemned.
        let condemned = {
            let mut state = self.lock();
            let puts = state.puts;
            state.holds.put(hash, puts)
        };
        let waits = size < BATCHED;
        temp.as_file().set_permissions(fs::Permissions::from_mode(0o400)).map_err(failed)?;
        if !waits {
            self.disk.sync_data(temp.as_file()).map_err(failed)?;
        }
        let (generation, stored) = self.generation(hash, size, &condemned).map_err(failed)?;
        let content = ContentRef { hash, size, place: Place::File { generation } };
        let key = (hash, generation);
        if stored {
            // What was found may lie in another folder than the store's.
            self.layout.check_place()?;
            let mut state = self.lock();
            // Another process may have named it and gone before the name was durable.
            state.dirs.insert(self.layout.file_dir(hash));
            state.puts += 1;
            return Ok(content);
        }
        if waits {
            let read = File::open(temp.path()).map_err(failed)?;
            let mut state = self.lock();
            state.puts += 1;
            if let std::collections::hash_map::Entry::Vacant(entry) = state.files.entry(key) {
                entry.insert(Arc::new(read));
                state.fresh.push(Fresh { temp, key, size, suspect: false });
                state.stored += size;
            }
            return Ok(content);
        }
        match self.name(temp, key, size) {
            Ok(named) => {
                let mut state = self.lock();
                state.stored += if named { size } else { 0 };
                state.puts += 1;
                Ok(content)
            }
            Err((_, error)) => Err(failed(error)),
        }
    }

    /// The first generation of this hash that is free, or holds a file of this size; and which of both. Not one that is
    /// condemned.
    fn generation(&self, hash: ContentHash, size: u64, condemned: &HashSet<FileKey>) -> io::Result<(u32, bool)> {
        for generation in (0..=u32::MAX).filter(|generation| !condemned.contains(&(hash, *generation))) {
            match fs::symlink_metadata(self.layout.file(hash, generation)) {
                Ok(found) if found.is_file() && found.len() == size => return Ok((generation, true)),
                // Of another size: damaged. References to it stay what they are.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((generation, false)),
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("no generation is left"))
    }

    /// Moves a durable temporary file to its name. Returns false where a file of equal content has the name already;
    /// gives the file back if it could not be moved.
    pub fn name(&self, temp: NamedTempFile, key: FileKey, size: u64) -> Result<bool, (NamedTempFile, io::Error)> {
        let (dir, path) = (self.layout.file_dir(key.0), self.layout.file(key.0, key.1));
        match self.layout.with_folders(|| fs::DirBuilder::new().mode(0o700).create(&dir)) {
            Ok(()) => {
                let private = fs::set_permissions(&dir, fs::Permissions::from_mode(0o700));
                self.lock().dirs.insert(self.layout.files());
                if let Err(error) = private {
                    return Err((temp, error));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err((temp, error)),
        }
        let named = match temp.persist_noclobber(&path) {
            Ok(file) => match self.layout.check_stored(&path, &file) {
                Ok(()) => true,
                // It went where it is not found again: given back without a name, to be written anew.
                Err(error) => return Err((self.nameless(file), error)),
            },
            Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => {
                match fs::symlink_metadata(&path) {
                    // Put twice at once. What has a name is durable.
                    Ok(found) if found.len() == size => match self.layout.check_place() {
                        Ok(()) => false,
                        Err(error) => return Err((refused.file, io::Error::other(error))),
                    },
                    Ok(_) => return Err((refused.file, refused.error)),
                    Err(error) => return Err((refused.file, error)),
                }
            }
            Err(refused) => return Err((refused.file, refused.error)),
        };
        self.lock().dirs.insert(dir);
        self.made_file();
        Ok(named)
    }

    /// A file whose name is not to be trusted: it is read from here, and its name is left alone.
    #[expect(deprecated, reason = "the other one may fail, and this path is never used")]
    fn nameless(&self, file: File) -> NamedTempFile {
        let mut kept = NamedTempFile::from_parts(file, TempPath::from_path(self.layout.root().join("tmp/nameless")));
        kept.disable_cleanup(true);
        kept
    }

    /// Makes a waiting file durable. Blocks.
    pub fn make_durable(&self, fresh: &mut Fresh) -> Result<()> {
        let failed = |error: io::Error| write_error(SYNC, "storing content", &error);
        if fresh.suspect {
            let temp = self.layout.temp().map_err(failed)?;
            let (hash, _) = self.stream(
                SYNC,
                &mut PositionedReader::new(fresh.temp.as_file()),
                |error| write_error(SYNC, "reading content again", error),
                Some(temp.as_file()),
            )?;
            if hash != fresh.key.0 {
                let lost = format!("the disk lost {:?} before it was durable", fresh.key.0);
                return Err(Error::new(ErrorKind::Damaged, SYNC, lost)
                    .with_hint("check that disk, then restart opendmp: what was under way is done again"));
            }
            temp.as_file().set_permissions(fs::Permissions::from_mode(0o400)).map_err(failed)?;
            let read = File::open(temp.path()).map_err(failed)?;
            self.lock().files.insert(fresh.key, Arc::new(read));
            fresh.temp = temp;
            fresh.suspect = false;
        }
        self.disk.sync_data(fresh.temp.as_file()).map_err(|error| {
            fresh.suspect = true;
            failed(error)
        })
    }
}

#[cfg(target_os = "linux")]
fn clone(target: &File, source: &File) -> io::Result<()> {
    Ok(rustix::fs::ioctl_ficlone(target, source)?)
}

#[cfg(not(target_os = "linux"))]
fn clone(_: &File, _: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
