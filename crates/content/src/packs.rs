//! Reading small content from packs on the disk.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use opendmp_model::item::ContentRef;
use opendmp_ports::{Error, ErrorKind, Result};

use crate::freed;
use crate::layout::Layout;
use crate::record::{self, PACK_HEADER, RECORD_HEADER, Wrong};

const OPEN: &str = "content open";

/// Packs kept open for reading.
const OPEN_PACKS: usize = 32;

/// The packs that were read last, latest first.
#[derive(Debug, Default)]
pub struct Packs {
    open: Mutex<VecDeque<(u64, Arc<File>)>>,
}

/// An error about content that was found to be wrong.
pub fn damaged(layout: &Layout, content: &ContentRef, why: &str) -> Error {
    let root = layout.root().display();
    Error::new(ErrorKind::Damaged, OPEN, format!("{:?} at {:?} in {root}: {why}", content.hash, content.place))
        .with_hint("check that disk; restore the content from a backup, or process its source again")
}

/// An error about content that is not there.
pub fn not_found(layout: &Layout, content: &ContentRef) -> Error {
    let message = format!("{:?} at {:?} is not in {}", content.hash, content.place, layout.root().display());
    Error::new(ErrorKind::NotFound, OPEN, message)
}

/// An error about content that was let go.
pub fn let_go(layout: &Layout, content: &ContentRef) -> Error {
    let message = format!("{:?} at {:?} in {} was let go", content.hash, content.place, layout.root().display());
    Error::new(ErrorKind::NotFound, OPEN, message).with_hint("process its source again")
}

/// The error for a header or record that is [`Wrong`].
pub fn wrong(layout: &Layout, content: &ContentRef, wrong: Wrong) -> Error {
    match wrong {
        Wrong::Damaged(why) => damaged(layout, content, why),
        Wrong::Newer => Error::new(ErrorKind::Newer, OPEN, "the record is of a newer format than this program")
            .with_hint("use the version of opendmp that wrote it, or a later one"),
    }
}

impl Packs {
    /// Reads and checks the record at `offset` of `pack`. Blocks.
    pub fn read(&self, layout: &Layout, content: &ContentRef, pack: u64, offset: u64) -> Result<Bytes> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => not_found(layout, content),
            _ => Error::io(OPEN, format_args!("reading {}", layout.pack(pack).display()), &error),
        };
        let file = match self.cached(pack) {
            Some(file) => file,
            None => {
                let file = Arc::new(File::open(layout.pack(pack)).map_err(failed)?);
                let mut header = [0; PACK_HEADER];
                read_up_to(&file, &mut header, 0).map_err(failed)?;
                record::check_pack(&header, pack).map_err(|error| wrong(layout, content, error))?;
                self.keep(pack, Arc::clone(&file));
                file
            }
        };
        let mut bytes = vec![0; RECORD_HEADER + content.size as usize];
        match read_up_to(&file, &mut bytes, offset).map_err(failed)? {
            0 => Err(not_found(layout, content)),
            read if read < bytes.len() => Err(damaged(layout, content, "it is cut short")),
            _ => checked(layout, content, bytes).map_err(|error| {
                let freed = freed::read(layout.root(), pack).unwrap_or_default().0;
                if freed.touches(offset, offset + 1) { let_go(layout, content) } else { error }
            }),
        }
    }

    /// The same where no disk has to be waited for: the pack is open, and the system holds the record in memory.
    pub fn read_now(&self, layout: &Layout, content: &ContentRef, pack: u64, offset: u64) -> Option<Result<Bytes>> {
        let file = self.cached(pack)?;
        let mut bytes = vec![0; RECORD_HEADER + content.size as usize];
        let read = read_without_waiting(&file, &mut bytes, offset)?;
        // What is wrong is looked at where there is time.
        (read == bytes.len()).then(|| checked(layout, content, bytes)).filter(Result::is_ok)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(u64, Arc<File>)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cached(&self, pack: u64) -> Option<Arc<File>> {
        let mut open = self.lock();
        let at = open.iter().position(|(number, _)| *number == pack)?;
        let found = open.remove(at)?;
        let file = Arc::clone(&found.1);
        open.push_front(found);
        Some(file)
    }

    fn keep(&self, pack: u64, file: Arc<File>) {
        let mut open = self.lock();
        open.push_front((pack, file));
        open.truncate(OPEN_PACKS);
    }

    /// Forgets an open pack, because another file is in its place.
    pub fn forget(&self, pack: u64) {
        self.lock().retain(|(number, _)| *number != pack);
    }
}

/// The content of a whole record, if it is the right one.
fn checked(layout: &Layout, content: &ContentRef, record: Vec<u8>) -> Result<Bytes> {
    record::content(&record, content.hash).map_err(|error| wrong(layout, content, error))?;
    Ok(Bytes::from(record).slice(RECORD_HEADER..))
}

#[cfg(target_os = "linux")]
fn read_without_waiting(file: &File, buffer: &mut [u8], at: u64) -> Option<usize> {
    // Beyond, an offset has another meaning to this call.
    i64::try_from(at).ok()?;
    rustix::io::preadv2(file, &mut [io::IoSliceMut::new(buffer)], at, rustix::io::ReadWriteFlags::NOWAIT).ok()
}

#[cfg(not(target_os = "linux"))]
fn read_without_waiting(_: &File, _: &mut [u8], _: u64) -> Option<usize> {
    None
}

/// Reads until `buffer` is full or the file ends. Returns how many bytes were read.
pub fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], at.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // An offset that no file can have.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
