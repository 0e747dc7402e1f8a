//! Items in, outcomes out.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use opendmp_model::fault::{Fault, LogLine};
use opendmp_model::item::{Attributes, Item};

/// The bytes of an item, as a processor gets them.
#[derive(Clone, Debug)]
pub enum Body {
    /// Not opened, for a processor that does not [read content](crate::Processor::reads_content).
    Unread,
    /// Small content, in memory.
    Bytes(Bytes),
    /// Large content: an open, read-only file whose whole extent is the content. Positions are shared between
    /// clones, so read with `pread` or open `/proc/self/fd` again.
    File(Arc<std::fs::File>),
}

/// One item with its bytes.
#[derive(Clone, Debug)]
pub struct Input {
    /// The item.
    pub item: Item,
    /// Its bytes.
    pub body: Body,
}

/// A file that the step made and nobody else keeps; removed when dropped.
#[derive(Debug)]
pub struct ScratchFile {
    path: PathBuf,
    /// Kept open so that the content can't be swapped between the check and the read.
    pub file: std::fs::File,
}

impl ScratchFile {
    /// Takes over `path`, already opened as `file`.
    pub fn new(path: PathBuf, file: std::fs::File) -> Self {
        Self { path, file }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        // The scratch folder is emptied at the next start in any case, so a failure costs space, not meaning.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Bytes too many for memory, kept until they were read.
pub trait Stream: Send + Sync + std::fmt::Debug {
    /// Begins to read them. Called again where storing them had to be repeated. Blocks.
    ///
    /// # Errors
    /// Where they are not all there any more.
    fn open(&self) -> std::io::Result<Box<dyn std::io::Read + Send>>;
}

impl Stream for ScratchFile {
    fn open(&self) -> std::io::Result<Box<dyn std::io::Read + Send>> {
        use std::io::{Seek, SeekFrom};
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Box::new(file))
    }
}

/// The content of a child.
#[derive(Debug)]
pub enum NewContent {
    /// The input's own.
    Same,
    /// New bytes, small enough for memory.
    Bytes(Bytes),
    /// New bytes, many: a [`ScratchFile`] for example. Hashed as they are copied, because the step's process may still
    /// write to them.
    Stream(Arc<dyn Stream>),
}

/// One child of an item.
#[derive(Debug)]
pub struct Emission {
    /// The output port; `None` is the default one.
    pub port: Option<Arc<str>>,
    /// A new name; `None` inherits.
    pub name: Option<String>,
    /// A new media type; `None` inherits.
    pub media_type: Option<String>,
    /// Attributes that are added or replaced; the others are inherited.
    pub attributes: Attributes,
    /// Its bytes.
    pub content: NewContent,
}

impl Emission {
    /// The input unchanged, on `port`.
    pub fn same(port: Option<Arc<str>>) -> Self {
        Self { port, name: None, media_type: None, attributes: Attributes::new(), content: NewContent::Same }
    }
}

/// Children that are made one after the other, because they may be too many to hold: rows of a file, members of an
/// archive. Read beside the async runtime, so it may block. A fault ends it, and nothing of its children is kept.
pub struct Emissions(Box<dyn Iterator<Item = Result<Emission, Fault>> + Send>);

impl Emissions {
    /// Children as this gives them.
    pub fn new(children: impl Iterator<Item = Result<Emission, Fault>> + Send + 'static) -> Self {
        Self(Box::new(children))
    }
}

impl Iterator for Emissions {
    type Item = Result<Emission, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

impl std::fmt::Debug for Emissions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Emissions")
    }
}

/// What a processor says of an item. It can't be ignored: an item is over only with one of these.
#[derive(Debug)]
#[must_use]
pub enum Outcome {
    /// Nothing (dropped on purpose), one, or many children.
    Emit {
        /// Whether the step is of the sort that makes many of one (an iterator, a folder of outputs), however many
        /// it made this time.
        many: bool,
        /// The children in order.
        children: Vec<Emission>,
    },
    /// Many children, read as they are needed; however many there are, the step is of the sort that makes many of one.
    Stream(Emissions),
    /// It was not processed. The kind of the fault says whether it is tried again, `on_error` how often and when; a
    /// fault may ask for a longer wait ([`Fault::with_retry_after`]).
    Fault(Fault),
}

/// The outcome of one item, with what is told about it.
#[derive(Debug)]
pub struct Done {
    /// What came of it.
    pub outcome: Outcome,
    /// What it printed and logged, bounded.
    pub log: Vec<LogLine>,
    /// How long it took.
    pub took: Duration,
    /// A short remark for the history, such as `exit 0`.
    pub note: Option<String>,
}

impl Done {
    /// An outcome with nothing to tell.
    pub fn silent(outcome: Outcome) -> Self {
        Self { outcome, log: Vec::new(), took: Duration::ZERO, note: None }
    }
}
