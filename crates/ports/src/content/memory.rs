//! Content in memory: the reference of what a store means, for tests and models.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use opendmp_model::ids::ContentHash;
use opendmp_model::item::{ContentRef, Place};

use super::{Body, Collection, Content, Freed, Hold, Usage, Watch, may_follow, read_all};
use crate::journal::JournalMark;
use crate::{Error, ErrorKind, Result};

/// Content in memory: for tests and models. `crash` forgets what was not synced.
#[derive(Debug, Default)]
pub struct MemoryContent {
    inner: Arc<Mutex<Memory>>,
}

#[derive(Debug, Default)]
struct Memory {
    durable: HashMap<(ContentHash, u64), Bytes>,
    pending: HashMap<(ContentHash, u64), Bytes>,
    next: u64,
    /// What each hold began at, by its number: contents from there on are kept.
    holds: BTreeMap<u64, u64>,
    last_hold: u64,
    collecting: bool,
    /// Refuse puts as a full disk does.
    full: bool,
    /// The journal that was seen last.
    journal: Option<JournalMark>,
}

impl MemoryContent {
    fn lock(&self) -> std::sync::MutexGuard<'_, Memory> {
        locked(&self.inner)
    }

    /// Forgets what was not synced, as a power cut would, and who held what.
    pub fn crash(&self) {
        let mut memory = self.lock();
        memory.pending.clear();
        memory.holds.clear();
        memory.collecting = false;
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

fn locked(inner: &Mutex<Memory>) -> std::sync::MutexGuard<'_, Memory> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A collection of garbage in memory.
struct Marking {
    inner: Arc<Mutex<Memory>>,
    /// What was put from here on stays.
    fence: u64,
    named: BTreeSet<u64>,
}

impl Drop for Marking {
    fn drop(&mut self) {
        locked(&self.inner).collecting = false;
    }
}

#[async_trait]
impl Collection for Marking {
    async fn keep(&mut self, named: Vec<ContentRef>) -> Result<()> {
        self.named.extend(named.iter().filter_map(|content| match content.place {
            Place::Pack { pack: 0, offset } => Some(offset),
            _ => None,
        }));
        Ok(())
    }

    async fn finish(self: Box<Self>, dry: bool, _: Watch) -> Result<Freed> {
        let mut memory = locked(&self.inner);
        let mut freed = Freed::default();
        memory.durable.retain(|(_, at), bytes| {
            if *at >= self.fence {
                return true;
            }
            if self.named.contains(at) {
                freed.kept += 1;
                return true;
            }
            freed.contents += 1;
            freed.bytes += bytes.len() as u64;
            dry
        });
        freed.disk = if dry { 0 } else { freed.bytes };
        drop(memory);
        Ok(freed)
    }
}

#[async_trait]
impl Content for MemoryContent {
    fn hold(&self) -> Hold {
        let mut memory = self.lock();
        memory.last_hold += 1;
        let (number, begins) = (memory.last_hold, memory.next);
        memory.holds.insert(number, begins);
        let inner = Arc::clone(&self.inner);
        Hold::new(move || {
            locked(&inner).holds.remove(&number);
        })
    }

    async fn collect(&self) -> Result<Box<dyn Collection>> {
        let mut memory = self.lock();
        if std::mem::replace(&mut memory.collecting, true) {
            return Err(Error::new(ErrorKind::Conflict, "content collect", "garbage is being collected"));
        }
        let fence = memory.holds.values().min().map_or(memory.next, |held| memory.next.min(*held));
        Ok(Box::new(Marking { inner: Arc::clone(&self.inner), fence, named: BTreeSet::new() }))
    }

    async fn follow_journal(&self, mark: &JournalMark) -> Result<()> {
        let mut memory = self.lock();
        may_follow(memory.journal.as_ref(), mark, "the mark in memory")?;
        memory.journal = Some(mark.clone());
        Ok(())
    }

    async fn note_journal(&self, mark: &JournalMark) -> Result<()> {
        let mut memory = self.lock();
        if let Some(known) = &mut memory.journal
            && known.journal == mark.journal
        {
            known.seq = known.seq.max(mark.seq);
        }
        Ok(())
    }

    async fn vouch(&self, named: &[ContentRef]) -> Result<()> {
        let memory = self.lock();
        for content in named {
            let there = match content.place {
                Place::Pack { pack: 0, offset } => {
                    let key = (content.hash, offset);
                    memory.durable.contains_key(&key) || memory.pending.contains_key(&key)
                }
                _ => *content == ContentRef::empty(),
            };
            if !there {
                let message = format!("{:?} is not here any more", content.hash);
                return Err(Error::new(ErrorKind::Conflict, "content vouch", message));
            }
        }
        Ok(())
    }

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
