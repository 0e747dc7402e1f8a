//! Bytes by hash, streamed.

use std::fmt;
use std::io::Read;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use opendmp_model::ids::ContentHash;
use opendmp_model::item::ContentRef;

use crate::journal::JournalMark;
use crate::{Error, ErrorKind, Result};

pub mod conformance;
mod memory;

pub use memory::MemoryContent;

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
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Usage {
    /// Bytes taken by content.
    pub stored: u64,
    /// Bytes free on its disk; `null` where that can't be told.
    pub free: Option<u64>,
}

/// Keeps what is put while it lives from being collected as garbage. Whoever stores content takes one before the first
/// put, and drops it when what names the content is committed, or will never be.
pub struct Hold(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Hold {
    /// One that does `end` when it is dropped.
    pub fn new(end: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(end)))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hold")
    }
}

/// What a collection of garbage freed, or would free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Freed {
    /// Contents.
    pub contents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that the disk got back. Less where a content shares blocks with its neighbours, or holes can't be made in
    /// files; 0 where nothing was removed.
    pub disk: u64,
    /// Contents that stay, as far as they were stored before the collection began and are named.
    pub kept: u64,
}

/// Moments of a collection of garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something is about to be looked at.
    Look,
    /// Something is condemned, and the disk has not got it back yet.
    Condemned,
    /// The disk has got it back.
    Removed,
}

/// Told of each step; answers whether to go on. Where it does not, the collection ends right there, as a crash would end
/// it; what is freed stays freed, and the next one goes on with the rest.
pub type Watch = Arc<dyn Fn(Step) -> bool + Send + Sync>;

/// A collection of garbage under way; dropping it collects nothing. See [`Content::collect`].
#[async_trait]
pub trait Collection: Send + Sync {
    /// Names content that stays. In any order, as often as one likes; memory stays bounded.
    async fn keep(&mut self, named: Vec<ContentRef>) -> Result<()>;

    /// Condemns all other content that was stored and not held when the collection began, and removes it. With `dry`
    /// nothing is condemned.
    async fn finish(self: Box<Self>, dry: bool, watch: Watch) -> Result<Freed>;
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
/// - Nothing is removed but by a [`Collection`]. What was put under a [`Hold`] that lives stays, also where the put found
///   equal content that was there before. Content that is condemned does not come back: a put of it goes to a new place,
///   or to one that is not removed; `open` answers `NotFound` once it is gone.
#[async_trait]
pub trait Content: Send + Sync {
    /// Keeps what is put from now on; see [`Hold`].
    fn hold(&self) -> Hold;

    /// Begins a collection of garbage. The caller asks for what is named *after* this, in one view of everything that
    /// was committed under a hold that had ended by now; so whatever this view does not name, and was not held, is
    /// named by nobody and never will be.
    ///
    /// # Errors
    /// `Conflict` while another collection goes on, or somebody copies or checks the content as a whole.
    async fn collect(&self) -> Result<Box<dyn Collection>>;

    /// Remembers, durably, that this journal names its content, and how far it had come. To be called before a collection,
    /// and now and then.
    ///
    /// # Errors
    /// `Damaged` for another journal than before, and for one that is behind: what it does not name may be named by the
    /// one that was there before. `Unavailable` where the store itself is not in its place any more.
    async fn follow_journal(&self, mark: &JournalMark) -> Result<()>;

    /// Remembers how far that journal has come, as a process that is killed leaves it: without waiting for a disk. To be
    /// called soon after a commit. A journal that was not followed yet is not noted.
    ///
    /// # Errors
    /// Where it can't be written.
    async fn note_journal(&self, mark: &JournalMark) -> Result<()>;

    /// Errs with `Conflict` where one of these is condemned or removed: a settlement must not name it. What was put
    /// under a hold that lives never is.
    async fn vouch(&self, named: &[ContentRef]) -> Result<()>;

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

/// What steps were given and gave lately, as far as it is at hand: a place to look before something is made again. It
/// promises nothing: what is kept may be missing a moment later, and after a restart.
pub trait Recent: Send + Sync {
    /// Keeps these for a while, or some of them, or none. Never waits: it stands in the way of work.
    fn keep(&self, some: Vec<(ContentHash, Bytes)>);

    /// Bytes with this hash, if they are there. Blocks.
    fn find(&self, hash: ContentHash) -> Option<Bytes>;
}

/// Decides whether content that followed `before` may follow `now`; see [`Content::follow_journal`]. The hint names `file`,
/// where what was remembered is kept.
///
/// # Errors
/// As there.
pub fn may_follow(before: Option<&JournalMark>, now: &JournalMark, file: &str) -> Result<()> {
    let Some(before) = before else { return Ok(()) };
    let hint = format!(
        "stop the server and `opendmp restore` a backup into a new directory, or bring the right `journal.db` back; to go \
         on with this one, remove `{file}`: content that it does not name is garbage then, and is removed for good"
    );
    let operation = "content follow journal";
    if before.journal != now.journal {
        let message =
            format!("this content belongs to the journal {}, and the journal here is {}", before.journal, now.journal);
        return Err(Error::new(ErrorKind::Damaged, operation, message).with_hint(hint));
    }
    if before.seq > now.seq {
        let message = format!(
            "the journal is older than its content: it ends at number {}, and was at {} before",
            now.seq.0, before.seq.0
        );
        return Err(Error::new(ErrorKind::Damaged, operation, message).with_hint(hint));
    }
    Ok(())
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
