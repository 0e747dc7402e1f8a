//! Copies of a directory of content: made while its owner writes on, completed by what is new, checked as a whole.
//!
//! A copy has the same layout (see `layout`) and the same places, so that every reference to the one is one to the
//! other; going back is the same copying the other way. What makes it simple is that content does not change: a file never
//! changes under its name, a pack only grows at its end, and a pack is complete once there is one with a higher number.
//! So a copy needs the files it does not have, and of each pack the bytes behind those it has. What was let go of a pack
//! is noted beside it: the copy of a range that it never had is noted there in the same way, and what the copy had
//! before, it keeps. So a copy only grows, and what was let go since does not look like damage.
//!
//! [`copy()`] takes a running store's packs only as far as they are durable ([`Source`]). So whoever first takes a
//! snapshot of what refers to content, and then copies, has everything the snapshot refers to: content is durable
//! before anything refers to it, and from before the snapshot to the end of the copy nothing is removed, because who
//! copies holds the lock of [`untouched`] meanwhile.
//!
//! Every record and file is checked against its hash when it is copied. Damage is told and does not stop the copy: a
//! damaged record is copied as it is, because the places of those behind it must stay, and taken again the next time;
//! a damaged file is left out. What a copy has is never replaced by anything unsound.
//!
//! An end at any moment leaves at worst a torn end of the pack that was being copied, files under `tmp`, and names
//! that are not durable; the next copy cuts the end back to its last whole record and goes on. Everything is durable
//! when [`copy()`] returns.

mod check;
mod copy;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use opendmp_model::ids::ContentHash;
use opendmp_ports::{Error, Result};

pub use check::{Checked, Found, check, look, stored};
pub(crate) use copy::packs;
pub use copy::{Copied, Past, Todo, copy, todo};

use crate::DirectoryContent;
use crate::layout::Paths;

/// The end of what was copied: a pack and a length of it. Packs with lower numbers are complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The pack's number.
    pub pack: u64,
    /// Bytes of it.
    pub length: u64,
}

/// A directory of content to be copied.
#[derive(Clone, Debug)]
pub struct Source {
    root: PathBuf,
    /// Packs are taken up to here.
    end: Option<Mark>,
}

impl Source {
    /// One that nobody writes to.
    pub fn still(root: &Path) -> Self {
        Self { root: root.to_owned(), end: None }
    }
}

/// Keeps everything that is stored under a root from being collected as garbage while the file is kept: taken before
/// the snapshot of what refers to it, by whoever copies or checks all of it. Waits for a collection that is under way.
/// Blocks.
///
/// # Errors
/// Where the lock can't be made.
pub fn untouched(root: &Path) -> Result<File> {
    let locked = whole(root).and_then(|file| file.lock_shared().map(|()| file));
    locked.map_err(|error| Error::io("content copy", format_args!("locking {}", root.display()), &error))
}

/// The file that is locked.
pub(crate) fn whole(root: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(Paths(root).whole())
}

impl DirectoryContent {
    /// Its directory, as far as it is durable now.
    pub fn source(&self) -> Source {
        let (pack, length) = self.inner.lock().tail.durable();
        Source { root: self.inner.layout.root().to_owned(), end: Some(Mark { pack, length }) }
    }
}

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Of a pack.
    Pack {
        /// The pack's number.
        pack: u64,
        /// Where they begin.
        from: u64,
        /// Where they end.
        to: u64,
    },
    /// A file of large content.
    File {
        /// The hash it should have.
        hash: ContentHash,
        /// Its generation.
        generation: u32,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pack { pack, from, to } => write!(f, "packs/{pack:08}.pack, bytes {from} to {to}"),
            Self::File { hash, generation } => {
                let hex = hash.to_hex();
                write!(f, "files/{}/{}.{generation}", &hex[..2], &hex[2..])
            }
        }
    }
}

/// Something wrong with content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where.
    pub place: Place,
    /// What, in words.
    pub why: String,
    /// Only the source is: the copy has it as it should be.
    pub kept: bool,
}

/// Who looks on.
pub struct Watch<'a> {
    /// Told of bytes that were copied or read.
    pub moved: &'a mut dyn FnMut(u64),
    /// Told of damage when it is found.
    pub damaged: &'a mut dyn FnMut(&Damage),
    /// Asked now and then whether to stop.
    pub stopped: &'a dyn Fn() -> bool,
}

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

/// Ranges of packs that are damaged: where they begin, and their ends.
#[derive(Debug, Default)]
struct Bad(BTreeMap<(u64, u64), u64>);

impl Bad {
    fn add(&mut self, pack: u64, from: u64, to: u64) {
        self.0.insert((pack, from), to);
    }

    /// Whether any byte of a range is.
    fn touches(&self, pack: u64, from: u64, to: u64) -> bool {
        let before = self.0.range((pack, 0)..(pack, to)).next_back();
        // Ranges are parts of a pack without overlap, so the last one that begins before the end decides.
        before.is_some_and(|(_, end)| *end > from)
    }
}
