//! Results of one item that are too many for memory: they wait in a file without a name until the call has ended, and are
//! read from it afterwards. What is kept are the records as they came over the wire, each behind its length.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::frame::{Place, Record, take_record};
use crate::scratch::{Numbered, ScratchFile, WorkerDir};
use crate::value::{Child, ChildContent, Outcome};

/// So many bytes are written to the file at once.
const AT_ONCE: usize = 1 << 20;

/// After the file could not be written, the item is tried again after this long: most often the disk is full.
const LATER: Duration = Duration::from_secs(30);

/// Results as they come in.
#[derive(Debug, Default)]
pub(crate) struct Spool {
    file: Option<File>,
    /// What is not in the file yet.
    buffer: Vec<u8>,
    count: u64,
    bytes: u64,
    failed: Option<io::Error>,
}

impl Spool {
    /// Adds the record of a result, which was checked.
    pub(crate) fn push(&mut self, record: &[u8]) {
        self.count += 1;
        self.bytes += 4 + record.len() as u64;
        if self.failed.is_none() {
            // A record is part of a frame, whose length has 32 bits.
            self.buffer.extend_from_slice(&(record.len() as u32).to_le_bytes());
            self.buffer.extend_from_slice(record);
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// How much of the disk they take.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes what came so far, if it is enough. That it failed is told by [`Spool::finish`].
    pub(crate) async fn write_out(&mut self, dir: &Arc<WorkerDir>) {
        if self.buffer.len() < AT_ONCE || self.failed.is_some() {
            return;
        }
        let (dir, file, mut buffer) = (Arc::clone(dir), self.file.take(), std::mem::take(&mut self.buffer));
        let write = move || {
            let mut file = file.map_or_else(|| dir.spool(), Ok)?;
            file.write_all(&buffer)?;
            buffer.clear();
            Ok((file, buffer))
        };
        match tokio::task::spawn_blocking(write).await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok((file, buffer)) => (self.file, self.buffer) = (Some(file), buffer),
            Err(error) => self.failed = Some(error),
        }
    }

    /// What became of the item: all of its results, the large ones among them in `files`.
    pub(crate) fn finish(self, files: &HashMap<u32, Arc<Numbered>>) -> Outcome {
        let Self { file, buffer, count, failed, .. } = self;
        match failed {
            None => Outcome::Spooled(Spooled { left: count, from: From::Begin(file, buffer), files: files.clone() }),
            Some(error) => {
                let reason = format!("the results could not be kept in a scratch file: {error}");
                Outcome::Retry { reason, after: Some(LATER) }
            }
        }
    }
}

/// Results too many for memory, in order. Reading them blocks. Their file goes with this value.
pub struct Spooled {
    left: u64,
    from: From,
    files: HashMap<u32, Arc<Numbered>>,
}

enum From {
    /// The file, and what follows it.
    Begin(Option<File>, Vec<u8>),
    Middle(Box<dyn Read + Send>),
}

impl Spooled {
    /// How many are still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    fn read(&mut self) -> io::Result<Child> {
        if let From::Begin(file, rest) = &mut self.from {
            let rest = Cursor::new(std::mem::take(rest));
            self.from = From::Middle(match file.take() {
                Some(mut file) => {
                    file.seek(SeekFrom::Start(0))?;
                    Box::new(BufReader::with_capacity(256 << 10, file).chain(rest))
                }
                None => Box::new(rest),
            });
        }
        let From::Middle(reader) = &mut self.from else { return Err(damaged()) };
        let mut length = [0; 4];
        reader.read_exact(&mut length)?;
        let mut record = vec![0; u32::from_le_bytes(length) as usize];
        reader.read_exact(&mut record)?;
        let Ok(Some(Record::Child { name, media_type, port, attributes, place })) =
            take_record(&mut Bytes::from(record))
        else {
            return Err(damaged());
        };
        let content = match place {
            Place::Same => ChildContent::Same,
            Place::Inline(bytes) => ChildContent::Bytes(bytes),
            Place::File { number, offset, size } => {
                let file = self.files.get(&number).ok_or_else(damaged)?;
                ChildContent::File(ScratchFile::new(Arc::clone(file), offset, size))
            }
        };
        Ok(Child { name, media_type, port, attributes, content })
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a record is damaged")
}

impl Iterator for Spooled {
    type Item = io::Result<Child>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let read = self.read();
        if read.is_err() {
            self.left = 0;
        }
        Some(read)
    }
}

impl std::fmt::Debug for Spooled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spooled").field("left", &self.left).finish_non_exhaustive()
    }
}
