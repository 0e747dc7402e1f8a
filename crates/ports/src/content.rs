//! Bytes by hash, streamed.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use opendmp_model::ids::ContentHash;
use opendmp_model::item::{ContentRef, Place};

use crate::{Error, ErrorKind, Result};

pub mod conformance;

/// Content up to this many bytes may be held in memory and packed with others; larger content is a file of its own.
pub const SMALL: u64 = 256 << 10;

/// Stored bytes, opened.
#[derive(Clone, Debug)]
pub enum Body {
    /// Small content, in memory.
    Bytes(Bytes),
    /// Large content: an open, read-only file that is exactly the content, positioned anywhere.
    File(Arc<std::fs::File>),
}

/// How much is stored and how much room is left, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Bytes taken by content.
    pub stored: u64,
    /// Bytes free on its disk; `None` where that can't be told.
    pub free: Option<u64>,
}

/// The store of all content.
///
/// - A put is durable only after a [`Content::sync`] that was called after it has answered; the engine never settles
///   a reference before (law L3). A crash may lose what was put and not synced, and nothing else.
/// - Content behind a reference never changes and shares no inode with anything that others can write.
/// - `open` MUST give the bytes of the reference's hash or an error of kind `Damaged` or `NotFound`; small content is
///   checked at each open, large content by `verify`.
/// - Equal content may be stored twice; references to both stay good.
/// - All calls may run at once.
#[async_trait]
pub trait Content: Send + Sync {
    /// Stores bytes in memory.
    async fn put(&self, bytes: Bytes) -> Result<ContentRef>;

    /// Stores many at once, in order.
    async fn put_many(&self, many: Vec<Bytes>) -> Result<Vec<ContentRef>> {
        let mut out = Vec::with_capacity(many.len());
        for bytes in many {
            out.push(self.put(bytes).await?);
        }
        Ok(out)
    }

    /// Stores what can be read from `file` from its start to its end as it is read, by streaming.
    async fn put_file(&self, file: Arc<std::fs::File>) -> Result<ContentRef>;

    /// Stores what `reader` gives until its end, by streaming. The reader blocks, so it is read beside the async runtime.
    /// An error of the reader is of kind `Invalid`: whoever made the bytes has to answer for it.
    async fn put_reader(&self, reader: Box<dyn Read + Send>) -> Result<ContentRef>;

    /// Makes everything durable whose put was answered before this call.
    async fn sync(&self) -> Result<()>;

    /// Opens stored content.
    async fn open(&self, content: &ContentRef) -> Result<Body>;

    /// What is stored and what is free.
    async fn usage(&self) -> Result<Usage>;
}

/// Content in memory: for tests and models. `crash` forgets what was not synced.
#[derive(Debug, Default)]
pub struct MemoryContent {
    inner: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    durable: HashMap<(ContentHash, u64), Bytes>,
    pending: HashMap<(ContentHash, u64), Bytes>,
    next: u64,
    /// Refuse puts as a full disk does.
    full: bool,
}

impl MemoryContent {
    fn lock(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was not synced, as a power cut would.
    pub fn crash(&self) {
        self.lock().pending.clear();
    }

    /// Whether a crash would leave this.
    pub fn is_durable(&self, content: &ContentRef) -> bool {
        match content.place {
            Place::Pack { pack: 0, offset } => self.lock().durable.contains_key(&(content.hash, offset)),
            _ => *content == ContentRef::empty(),
        }
    }

    /// Whether the disk is full from now on.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }
}

#[async_trait]
impl Content for MemoryContent {
    async fn put(&self, bytes: Bytes) -> Result<ContentRef> {
        if bytes.is_empty() {
            return Ok(ContentRef::empty());
        }
        let mut memory = self.lock();
        if memory.full {
            return Err(Error::new(ErrorKind::Full, "content put", "no space left"));
        }
        let (hash, size) = (ContentHash::of(&bytes), bytes.len() as u64);
        let offset = memory.next;
        memory.next += 1;
        memory.pending.insert((hash, offset), bytes);
        Ok(ContentRef { hash, size, place: Place::Pack { pack: 0, offset } })
    }

    async fn put_file(&self, file: Arc<std::fs::File>) -> Result<ContentRef> {
        let bytes =
            read_all(&Body::File(file)).map_err(|error| Error::io("content put", "reading the source", &error))?;
        self.put(bytes.into()).await
    }

    async fn put_reader(&self, mut reader: Box<dyn Read + Send>) -> Result<ContentRef> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(|error| {
            Error::new(ErrorKind::Invalid, "content put", format!("a result can't be read: {error}"))
        })?;
        self.put(bytes.into()).await
    }

    async fn sync(&self) -> Result<()> {
        let mut memory = self.lock();
        let pending = std::mem::take(&mut memory.pending);
        memory.durable.extend(pending);
        Ok(())
    }

    async fn open(&self, content: &ContentRef) -> Result<Body> {
        if *content == ContentRef::empty() {
            return Ok(Body::Bytes(Bytes::new()));
        }
        let Place::Pack { pack: 0, offset } = content.place else {
            return Err(Error::new(ErrorKind::NotFound, "content open", format!("{:?} is not here", content.place)));
        };
        let memory = self.lock();
        let key = (content.hash, offset);
        let found = memory.durable.get(&key).or_else(|| memory.pending.get(&key));
        found
            .filter(|bytes| bytes.len() as u64 == content.size)
            .map(|bytes| Body::Bytes(bytes.clone()))
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "content open", format!("{:?} is not here", content.hash)))
    }

    async fn usage(&self) -> Result<Usage> {
        let memory = self.lock();
        let stored = memory.durable.values().chain(memory.pending.values()).map(|b| b.len() as u64).sum();
        Ok(Usage { stored, free: None })
    }
}

/// Reads a file by position, so that clones of one open file don't disturb each other.
#[derive(Debug)]
pub struct PositionedReader<'a> {
    file: &'a std::fs::File,
    at: u64,
}

impl<'a> PositionedReader<'a> {
    /// Reads from the beginning.
    pub fn new(file: &'a std::fs::File) -> Self {
        Self { file, at: 0 }
    }
}

impl Read for PositionedReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = std::os::unix::fs::FileExt::read_at(self.file, buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Reads a body whole; for tests and small content.
pub fn read_all(body: &Body) -> std::io::Result<Vec<u8>> {
    match body {
        Body::Bytes(bytes) => Ok(bytes.to_vec()),
        Body::File(file) => {
            let mut out = Vec::new();
            PositionedReader::new(file).read_to_end(&mut out)?;
            Ok(out)
        }
    }
}
