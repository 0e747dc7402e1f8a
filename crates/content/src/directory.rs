//! [`DirectoryContent`]: the calls of the port.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use opendmp_model::ids::ContentHash;
use opendmp_model::item::{ContentRef, Place};
use opendmp_ports::content::{Body, Collection, Content, Hold, PositionedReader, SMALL, Usage, may_follow};
use opendmp_ports::journal::JournalMark;
use opendmp_ports::{Error, ErrorKind, Result};

use crate::collect::Marking;
use crate::disk::Disk;
use crate::gone::Gone;
use crate::holds::{Holds, Stamp};
use crate::large::{self, FileKey, Fresh, Received};
use crate::layout::{Layout, PACKS};
use crate::packs::{self, Packs};
use crate::reach::{Reach, Removed};
use crate::record;
use crate::sync::Syncer;
use crate::tail::{SEGMENT, Tail};

const PUT: &str = "content put";
const OPEN: &str = "content open";
const CHECK: &str = "content check";

/// Batches below this many bytes are hashed where they are put, since handing them over would take as long.
const HASHED_INLINE: usize = 64 << 10;

/// Batches of one put that are hashed at once.
const AT_ONCE: usize = 4;

/// How much memory and how many files a store uses. The defaults suit everything but tests.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Length from which a pack is full, in bytes.
    pub pack_bytes: u64,
    /// Bytes of small content held in memory at most, about, until they are durable; a put then syncs.
    pub unsynced_bytes: usize,
    /// Bytes of small content kept in memory after they are durable.
    pub recent_bytes: usize,
    /// Free bytes of the disk below which large content is no longer written, so that the rest is left for what must be
    /// written.
    pub floor: u64,
    /// Large files that wait for a sync at most, about; a put then syncs. Each keeps two descriptors open.
    pub unsynced_files: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { pack_bytes: 64 << 20, unsynced_bytes: 64 << 20, recent_bytes: 32 << 20, unsynced_files: 64, floor: 0 }
    }
}

/// Content in a directory of its own. Clones share it.
///
/// Small content is held in memory until a sync writes it, so a full disk shows at the sync, or at a put once too much
/// waits; nothing that was put is forgotten by that, and the next sync tries again.
#[derive(Clone, Debug)]
pub struct DirectoryContent {
    pub(crate) inner: Arc<Inner>,
}

/// What the clones and the calls under way share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub layout: Layout,
    pub disk: Disk,
    pub packs: Packs,
    pub gone: Gone,
    pub syncer: Arc<tokio::sync::Mutex<Syncer>>,
    pub options: Options,
    state: Mutex<State>,
    mark: Mutex<Mark>,
    reach: Mutex<Known>,
    /// A sync in the background is under way.
    syncing: AtomicBool,
}

/// How far the journal of a store has come.
#[derive(Debug, Default)]
struct Mark {
    /// The journal that was followed last; `None` until the first time.
    known: Option<JournalMark>,
    /// Whether that is only noted, and not durable.
    noted: bool,
}

/// How far the store has come.
#[derive(Debug)]
struct Known {
    now: Reach,
    /// What is written beside the store.
    written: Option<Reach>,
    /// Whether what is there was compared with that.
    checked: bool,
    /// Folders that lack something of what was in them.
    removed: Vec<Removed>,
}

/// What changes with each put. Never locked over a call that may block.
#[derive(Debug)]
pub(crate) struct State {
    pub tail: Tail,
    /// Files that have no name yet, for reading.
    pub files: HashMap<FileKey, Arc<File>>,
    /// Those of them that were put after the last sync began.
    pub fresh: Vec<Fresh>,
    /// Directories with names that are not durable.
    pub dirs: BTreeSet<PathBuf>,
    /// Bytes of all files, and of the packs that were there at the start.
    pub stored: u64,
    /// Bytes of these, and of what was put since, that were let go.
    pub freed: u64,
    /// Who stores content at present.
    pub holds: Holds,
    /// How many puts were answered, and how many of them are durable.
    pub puts: u64,
    pub durable: u64,
    /// How many syncs were begun; the last if it failed.
    pub attempts: u64,
    pub failed: Option<(u64, Error)>,
}

impl State {
    /// Now, in the order of puts.
    pub fn stamp(&self) -> Stamp {
        Stamp { at: self.tail.position(), puts: self.puts }
    }
}

/// Runs what blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::new(ErrorKind::Unavailable, operation, format!("the call was ended: {error}"))),
    }
}

impl Inner {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        // Each change of the state is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The journal that was followed last.
    fn known_mark(&self) -> Result<MutexGuard<'_, Mark>> {
        self.layout.check_place()?;
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        if mark.known.is_none() {
            mark.known = self.layout.read_mark()?;
        }
        Ok(mark)
    }

    fn may_follow(&self, known: Option<&JournalMark>, now: &JournalMark) -> Result<()> {
        may_follow(known, now, &self.layout.mark().display().to_string())
    }

    fn follow(&self, now: &JournalMark) -> Result<()> {
        let mut mark = self.known_mark()?;
        self.may_follow(mark.known.as_ref(), now)?;
        self.check_reach(mark.known.as_ref())?;
        // The file beside the store never says more than the one in it, unless that one is missing.
        if mark.known.is_none() {
            self.write_reach(now)?;
        }
        if mark.noted || mark.known.as_ref() != Some(now) {
            self.layout.write_mark(now)?;
            *mark = Mark { known: Some(now.clone()), noted: false };
        }
        // Only now: what was noted since the last time is one line again, though content is away for long.
        self.check_removed()?;
        self.write_reach(now)
    }

    /// Notes how far the journal and the store have come, where the store follows that journal already.
    fn note(&self, now: &JournalMark) -> Result<()> {
        let mut mark = self.known_mark()?;
        if !mark.known.as_ref().is_some_and(|known| known.journal == now.journal && known.seq < now.seq) {
            return Ok(());
        }
        self.layout.note_mark(now)?;
        *mark = Mark { known: Some(now.clone()), noted: true };
        let (pack, length) = self.lock().tail.durable();
        let reach = self.reach();
        let last = reach.written.as_ref().and_then(|written| written.packs.last());
        if reach.checked && last == Some(&pack) && reach.removed.is_empty() {
            Reach::note_length(self.layout.root(), length)?;
        }
        Ok(())
    }

    fn reach(&self) -> MutexGuard<'_, Known> {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Errs where the store that was opened is not the whole one.
    fn check_reach(&self, mark: Option<&JournalMark>) -> Result<()> {
        let mut reach = self.reach();
        if reach.checked {
            return Ok(());
        }
        reach.written = Reach::read(self.layout.root())?;
        reach.now.mark = mark.cloned();
        if let Some(written) = &reach.written {
            written.check(&reach.now, self.layout.root())?;
        }
        reach.checked = true;
        Ok(())
    }

    /// Errs where a folder was removed while it was in use, until all that was in it is back.
    fn check_removed(&self) -> Result<()> {
        let former = self.layout.take_former();
        let mut reach = self.reach();
        let Known { now, written, removed, .. } = &mut *reach;
        for (name, former) in former {
            let was_used =
                written.as_ref().is_some_and(|was| if name == PACKS { !was.packs.is_empty() } else { was.files });
            if was_used && removed.iter().all(|one| one.name != name) {
                removed.push(Removed { name, former });
            }
        }
        while let Some(one) = removed.last() {
            one.check(&now.packs, self.layout.root())?;
            removed.pop();
        }
        Ok(())
    }

    fn write_reach(&self, now: &JournalMark) -> Result<()> {
        let durable = {
            let state = self.lock();
            state.tail.durable()
        };
        let mut reach = self.reach();
        reach.now.mark = Some(now.clone());
        if reach.now.packs.last() == Some(&durable.0) {
            reach.now.length = durable.1;
        }
        if reach.written.as_ref() != Some(&reach.now) {
            reach.now.write(self.layout.root())?;
            reach.written = Some(reach.now.clone());
        }
        Ok(())
    }

    /// Notes a pack that is durable up to its length; durably where it is new, before anything in it counts.
    pub fn made_pack(&self, number: u64, length: u64) -> Result<()> {
        let mut reach = self.reach();
        reach.now.packs.insert(number);
        if reach.now.packs.last() == Some(&number) {
            reach.now.length = length;
        }
        // Before the store was compared with what is written, nothing is written over it.
        let Some(mut written) = reach.written.clone().filter(|_| reach.checked) else { return Ok(()) };
        if written.packs.insert(number) {
            written.length = if written.packs.last() == Some(&number) { length } else { written.length };
            written.write(self.layout.root())?;
            reach.written = Some(written);
        }
        Ok(())
    }

    /// Notes, durably, that a pack is about to be removed.
    pub fn unmake_pack(&self, number: u64) -> Result<()> {
        let mut reach = self.reach();
        reach.now.packs.remove(&number);
        let Some(mut written) = reach.written.clone() else { return Ok(()) };
        if written.packs.remove(&number) {
            written.write(self.layout.root())?;
            reach.written = Some(written);
        }
        Ok(())
    }

    /// Notes that there is large content.
    pub fn made_file(&self) {
        self.reach().now.files = true;
    }

    /// Holds a put back while too much waits for a sync, and has the waiting written in the background before.
    async fn make_room(self: &Arc<Self>, more: usize) -> Result<()> {
        let limit = self.options.unsynced_bytes;
        let (pending, failed) = loop {
            {
                let state = self.lock();
                let (pending, files) = (state.tail.pending(), state.files.len());
                if (pending == 0 || pending + more <= limit) && files < self.options.unsynced_files {
                    break (pending, state.failed.is_some());
                }
            }
            self.sync().await?;
        };
        if failed {
            // Not more and more into memory, of work that is tried again, while the store is away.
            self.layout.check_root()?;
        }
        if pending > limit / 4 && !failed && !self.syncing.swap(true, Ordering::AcqRel) {
            let inner = Arc::clone(self);
            tokio::spawn(async move {
                // Whatever goes wrong, everything waits for the next sync, which says so.
                let _ = inner.sync().await;
                inner.syncing.store(false, Ordering::Release);
            });
        }
        Ok(())
    }

    fn append(&self, hash: ContentHash, bytes: &[u8]) -> ContentRef {
        let mut state = self.lock();
        let place = state.tail.append(hash, bytes);
        state.puts += 1;
        ContentRef { hash, size: bytes.len() as u64, place }
    }

    fn open_large(&self, content: &ContentRef, generation: u32) -> Result<Arc<File>> {
        let path = self.layout.file(content.hash, generation);
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => packs::not_found(&self.layout, content),
            _ => Error::io(OPEN, format_args!("opening {}", path.display()), &error),
        };
        let file = File::open(&path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if !found.is_file() || found.len() != content.size {
            let why = format!("{} has {} bytes instead of {}", path.display(), found.len(), content.size);
            return Err(packs::damaged(&self.layout, content, &why));
        }
        Ok(Arc::new(file))
    }
}

impl DirectoryContent {
    /// Opens the store under `root`, or makes one (mode 0700). Blocks, also for a listing of all large content.
    ///
    /// # Errors
    /// `Conflict` while another process uses it, `Newer` for a later format, `Damaged` if it is no store of content.
    pub fn open(root: &Path, options: Options) -> Result<Self> {
        let layout = Layout::open(root)?;
        let stock = layout.take_stock()?;
        let state = State {
            tail: Tail::new(stock.last_pack, options.pack_bytes, options.recent_bytes),
            files: HashMap::new(),
            fresh: Vec::new(),
            dirs: BTreeSet::new(),
            stored: stock.bytes,
            freed: 0,
            holds: Holds::default(),
            puts: 0,
            durable: 0,
            attempts: 0,
            failed: None,
        };
        let inner = Inner {
            layout,
            disk: Disk::default(),
            packs: Packs::default(),
            gone: Gone::default(),
            syncer: Arc::default(),
            options,
            state: Mutex::new(state),
            mark: Mutex::default(),
            reach: Mutex::new(Known { now: stock.reach, written: None, checked: false, removed: Vec::new() }),
            syncing: AtomicBool::new(false),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Errs where [`Content::follow_journal`] would refuse this journal; remembers nothing. Blocks.
    ///
    /// # Errors
    /// As there.
    pub fn check_journal(&self, now: &JournalMark) -> Result<()> {
        self.inner.may_follow(self.inner.known_mark()?.known.as_ref(), now)
    }

    /// Reads one content whole, by streaming, and compares its hash.
    ///
    /// # Errors
    /// `Damaged` or `NotFound` as at the port's `open`, here also for a changed byte in large content.
    pub async fn check(&self, content: &ContentRef) -> Result<()> {
        let Body::File(file) = self.open(content).await? else { return Ok(()) };
        let (inner, content) = (Arc::clone(&self.inner), *content);
        blocking(CHECK, move || {
            let mut reader = PositionedReader::new(&file);
            let failed: large::ReadError = |error| Error::io(CHECK, "reading content", error);
            if inner.stream(CHECK, &mut reader, failed, None)? != (content.hash, content.size) {
                return Err(packs::damaged(&inner.layout, &content, "its hash is wrong"));
            }
            Ok(())
        })
        .await
    }

    async fn put_large(&self, bytes: Bytes) -> Result<ContentRef> {
        self.inner.make_room(0).await?;
        let inner = Arc::clone(&self.inner);
        blocking(PUT, move || inner.keep(inner.receive_bytes(&bytes)?)).await
    }

    /// Puts what `receive`, which may block, has read.
    async fn put_received(
        &self,
        receive: impl FnOnce(&Inner) -> Result<Received> + Send + 'static,
    ) -> Result<ContentRef> {
        self.inner.make_room(0).await?;
        let inner = Arc::clone(&self.inner);
        let received = blocking(PUT, move || match receive(&inner)? {
            Received::Small(bytes) => Ok(Err((ContentHash::of(&bytes), bytes))),
            Received::Large(written) => inner.keep(written).map(Ok),
        });
        match received.await? {
            Ok(content) => Ok(content),
            Err((_, bytes)) if bytes.is_empty() => Ok(ContentRef::empty()),
            Err((hash, bytes)) => {
                self.inner.make_room(bytes.len()).await?;
                Ok(self.inner.append(hash, &bytes))
            }
        }
    }

    /// Puts small content, and says of each index what is there.
    async fn put_batch(&self, batch: Vec<(usize, Bytes)>) -> Result<Vec<(usize, ContentRef)>> {
        let size = batch.iter().map(|(_, bytes)| bytes.len() + record::RECORD_HEADER).sum();
        let encode = move || {
            let mut encoded = Vec::with_capacity(size);
            let mut refs = Vec::with_capacity(batch.len());
            for (index, bytes) in &batch {
                let hash = ContentHash::of(bytes);
                refs.push((*index, hash, bytes.len() as u64, encoded.len() as u64));
                record::append(&mut encoded, hash, bytes);
            }
            Ok((encoded, refs))
        };
        self.inner.layout.check_root()?;
        self.inner.make_room(size).await?;
        let (encoded, refs) = if size <= HASHED_INLINE { encode()? } else { blocking(PUT, encode).await? };
        let (pack, start) = {
            let mut state = self.inner.lock();
            state.puts += refs.len() as u64;
            state.tail.append_encoded(encoded)
        };
        let content = |(index, hash, size, at)| {
            (index, ContentRef { hash, size, place: Place::Pack { pack, offset: start + at } })
        };
        Ok(refs.into_iter().map(content).collect())
    }
}

impl DirectoryContent {
    /// Whether content was let go since the start.
    async fn is_gone(&self, named: &[ContentRef]) -> Result<Option<ContentRef>> {
        let mut open = Vec::new();
        for content in named {
            if let Place::File { generation } = content.place
                && self.inner.lock().files.contains_key(&(content.hash, generation))
            {
                continue;
            }
            match self.inner.gone.has_now(content) {
                Some(true) => return Ok(Some(*content)),
                Some(false) => {}
                None => open.push(*content),
            }
        }
        if open.is_empty() {
            return Ok(None);
        }
        let inner = Arc::clone(&self.inner);
        blocking("content vouch", move || {
            let found = open.into_iter().find(|content| inner.gone.has(inner.layout.root(), content));
            if found.is_some() {
                // While the store is elsewhere, a pack that is not found was not removed.
                inner.layout.check_place()?;
            }
            Ok(found)
        })
        .await
    }
}

#[async_trait]
impl Content for DirectoryContent {
    fn hold(&self) -> Hold {
        let mut state = self.inner.lock();
        let now = state.stamp();
        let number = state.holds.add(now);
        drop(state);
        // Who forgets one does not keep the store open by it.
        let inner = Arc::downgrade(&self.inner);
        Hold::new(move || {
            if let Some(inner) = inner.upgrade() {
                inner.lock().holds.end(number);
            }
        })
    }

    async fn collect(&self) -> Result<Box<dyn Collection>> {
        let inner = Arc::clone(&self.inner);
        let marking = blocking("content collect", move || Marking::begin(&inner)).await?;
        Ok(Box::new(marking))
    }

    async fn follow_journal(&self, mark: &JournalMark) -> Result<()> {
        let (inner, mark) = (Arc::clone(&self.inner), mark.clone());
        blocking("content follow journal", move || inner.follow(&mark)).await
    }

    async fn note_journal(&self, mark: &JournalMark) -> Result<()> {
        let (inner, mark) = (Arc::clone(&self.inner), mark.clone());
        blocking("content note journal", move || inner.note(&mark)).await
    }

    async fn vouch(&self, named: &[ContentRef]) -> Result<()> {
        // The last look before they are named by a commit.
        self.inner.layout.check_root()?;
        match self.is_gone(named).await? {
            None => Ok(()),
            Some(content) => {
                let message = format!("{:?} at {:?} was let go", content.hash, content.place);
                Err(Error::new(ErrorKind::Conflict, "content vouch", message).with_hint("what made it is done again"))
            }
        }
    }

    async fn put(&self, bytes: Bytes) -> Result<ContentRef> {
        if bytes.is_empty() {
            return Ok(ContentRef::empty());
        }
        if bytes.len() as u64 > SMALL {
            return self.put_large(bytes).await;
        }
        self.inner.make_room(bytes.len()).await?;
        Ok(self.inner.append(ContentHash::of(&bytes), &bytes))
    }

    async fn put_many(&self, many: Vec<Bytes>) -> Result<Vec<ContentRef>> {
        let mut out = vec![ContentRef::empty(); many.len()];
        let mut batches: Vec<Vec<(usize, Bytes)>> = Vec::new();
        let mut size = SEGMENT;
        for (index, bytes) in many.into_iter().enumerate() {
            if bytes.len() as u64 > SMALL {
                out[index] = self.put_large(bytes).await?;
            } else if !bytes.is_empty() {
                if size >= SEGMENT {
                    size = 0;
                    batches.push(Vec::new());
                }
                size += bytes.len() + record::RECORD_HEADER;
                if let Some(batch) = batches.last_mut() {
                    batch.push((index, bytes));
                }
            }
        }
        // Hashed beside each other, where there are processors for it.
        let mut putting = stream::iter(batches.into_iter().map(|batch| self.put_batch(batch))).buffered(AT_ONCE);
        while let Some(put) = putting.try_next().await? {
            put.into_iter().for_each(|(index, content)| out[index] = content);
        }
        Ok(out)
    }

    async fn put_file(&self, file: Arc<File>) -> Result<ContentRef> {
        self.put_received(move |inner| inner.receive(&file)).await
    }

    async fn put_reader(&self, mut reader: Box<dyn Read + Send>) -> Result<ContentRef> {
        let failed: large::ReadError =
            |error| Error::new(ErrorKind::Invalid, PUT, format!("a result can't be read: {error}"));
        self.put_received(move |inner| inner.receive_reader(&mut *reader, 0, failed)).await
    }

    async fn sync(&self) -> Result<()> {
        self.inner.sync().await
    }

    async fn open(&self, content: &ContentRef) -> Result<Body> {
        match self.open_stored(content).await {
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Damaged) => {
                // Where the store is away, nothing is missing.
                let inner = Arc::clone(&self.inner);
                blocking(OPEN, move || inner.layout.check_place()).await?;
                Err(error)
            }
            done => done,
        }
    }

    async fn usage(&self) -> Result<Usage> {
        let inner = Arc::clone(&self.inner);
        blocking("content usage", move || {
            let (stored, waiting) = {
                let state = inner.lock();
                ((state.stored + state.tail.appended()).saturating_sub(state.freed), state.tail.pending())
            };
            let free =
                inner.layout.free().map_err(|error| Error::io("content usage", "asking for free room", &error))?;
            Ok(Usage { stored, free: Some(free.saturating_sub(waiting as u64)) })
        })
        .await
    }
}

impl DirectoryContent {
    /// Opens what is stored, wherever the store is.
    async fn open_stored(&self, content: &ContentRef) -> Result<Body> {
        let inner = Arc::clone(&self.inner);
        let content = *content;
        match content.place {
            Place::Empty if content == ContentRef::empty() => Ok(Body::Bytes(Bytes::new())),
            Place::Empty => Err(packs::damaged(&inner.layout, &content, "the reference has a hash, but no place")),
            Place::Pack { .. } if content.size > SMALL => {
                Err(packs::damaged(&inner.layout, &content, "the reference is too large for a pack"))
            }
            Place::Pack { .. } if self.is_gone(&[content]).await?.is_some() => {
                Err(packs::let_go(&inner.layout, &content))
            }
            Place::Pack { pack, offset } => {
                let found = inner.lock().tail.find(pack, offset, content.size as usize);
                let bytes = match found {
                    // Copied, so that who keeps it does not keep its neighbours.
                    Some(bytes) => record::content_at_hand(&bytes, content.hash)
                        .map(Bytes::copy_from_slice)
                        .map_err(|error| packs::wrong(&inner.layout, &content, error))?,
                    None => match inner.packs.read_now(&inner.layout, &content, pack, offset) {
                        Some(read) => read?,
                        None => {
                            let read = move || inner.packs.read(&inner.layout, &content, pack, offset);
                            blocking(OPEN, read).await?
                        }
                    },
                };
                Ok(Body::Bytes(bytes))
            }
            Place::File { generation } => {
                let found = inner.lock().files.get(&(content.hash, generation)).map(Arc::clone);
                let file = match found {
                    Some(file) => file,
                    None => blocking(OPEN, move || inner.open_large(&content, generation)).await?,
                };
                Ok(Body::File(file))
            }
        }
    }
}
