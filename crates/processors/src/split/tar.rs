//! Members of a tar archive. The crate `tar` reads headers; its entries borrow from the archive, so each is read with an
//! archive of its own that begins where the one before ended.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opendmp_model::fault::{Fault, FaultKind};
use opendmp_processor::Body;
use tar::{Archive, Entry, EntryType};

use super::archive::{LeftOut, cut_short, damaged, empty, shown, wrong_format};
use super::{Part, Parts, Room};
use crate::blocks::{BLOCK, Blocks, Spill, Stop, fault};

/// Headers and contents fill whole records of so many bytes.
const RECORD: u64 = 512;

/// The most that the headers of one member may take, long names and attributes included: they are held in memory.
const MOST_HEADERS: u64 = 4 << 20;

/// The members of an archive.
pub(super) struct Members {
    source: Source,
    size: u64,
    over: bool,
}

/// Where headers and contents are read from.
struct Source {
    blocks: Blocks,
    /// How many bytes may still be read.
    left: Arc<AtomicU64>,
}

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 && !into.is_empty() {
            let message = format!("the headers of a member take more than {} MiB", MOST_HEADERS >> 20);
            return Err(io::Error::other(damaged(message)));
        }
        let most = into.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = self.blocks.read(&mut into[..most])?;
        self.left.store(left - count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// An entry of the archive.
struct Found {
    path: Vec<u8>,
    sort: Sort,
    /// Bytes that the content takes in the archive, where it was not read.
    unread: u64,
}

enum Sort {
    /// Its content, where that was asked for.
    File(Option<Spill>),
    /// Without a content; what it is, where somebody may miss it.
    Other(Option<&'static str>),
}

impl Members {
    pub(super) fn new(body: Body, stop: &Stop) -> Self {
        let source = Source { blocks: Blocks::new(body, stop), left: Arc::default() };
        Self { source, size: 0, over: false }
    }

    /// Looks at all headers.
    pub(super) fn survey(mut self, left_out: &mut LeftOut) -> Result<(), Fault> {
        while let Some(found) = self.step(None)? {
            if let Sort::Other(Some(what)) = found.sort {
                left_out.add(&found.path, what);
            }
        }
        Ok(())
    }

    /// The next entry, with its content where there is room for one.
    fn step(&mut self, room: Option<&Room>) -> Result<Option<Found>, Fault> {
        if self.over {
            return Ok(None);
        }
        let begin = self.source.blocks.position();
        if begin == 0 {
            self.size = self.source.blocks.size()?;
            if self.size == 0 {
                return Err(empty());
            }
        }
        let found = read(&mut self.source, room);
        let end = self.source.blocks.position();
        let found = found.map_err(|error| fault(error, |error| self.broken(&error, begin)))?;
        let Some(found) = found else {
            self.over = true;
            return self.check_end(begin).map(|()| None);
        };
        let next = end.checked_add(found.unread).and_then(|end| end.checked_next_multiple_of(RECORD));
        match next {
            // The last content may lack what fills its record up: then the mark of the end is missing, too.
            Some(next) if next <= self.size => self.source.blocks.go_to(next),
            _ => return Err(cut_short(format_args!("within `{}`", shown(&found.path)))),
        }
        Ok(Some(found))
    }

    /// The archive ends with a record of zeros, and more of them may follow.
    fn check_end(&mut self, begin: u64) -> Result<(), Fault> {
        if self.source.blocks.position() == begin {
            return Err(cut_short("the mark of its end is missing"));
        }
        loop {
            let block = self.source.blocks.take_block()?;
            if block.is_empty() {
                return Ok(());
            }
            if block.iter().any(|byte| *byte != 0) {
                let message = "other bytes follow the end of the archive";
                return Err(Fault::new(FaultKind::Rejected, "trailing-bytes", message)
                    .with_hint("remove them; archives that were joined have to be taken apart before"));
            }
        }
    }

    fn broken(&self, error: &io::Error, begin: u64) -> Fault {
        if begin == 0 && self.source.blocks.position() >= RECORD {
            wrong_format("a tar archive")
        } else if self.source.blocks.position() >= self.size {
            cut_short(format_args!("within the member that begins at byte {begin}"))
        } else {
            damaged(format_args!("{error}, in the member that begins at byte {begin}"))
        }
    }
}

/// Reads one entry.
fn read(source: &mut Source, room: Option<&Room>) -> io::Result<Option<Found>> {
    let left = Arc::clone(&source.left);
    left.store(MOST_HEADERS, Ordering::Relaxed);
    let mut archive = Archive::new(source);
    let Some(mut entry) = archive.entries()?.next().transpose()? else { return Ok(None) };
    let path = entry.path_bytes().into_owned();
    let kind = entry.header().entry_type();
    let other = match kind {
        // Before there was a type for them, folders were told by their names.
        EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => Some(None),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => None,
        EntryType::Directory | EntryType::XGlobalHeader => Some(None),
        EntryType::Link | EntryType::Symlink => Some(Some("a link")),
        EntryType::Char | EntryType::Block | EntryType::Fifo => Some(Some("a device")),
        _ => Some(Some("of a type that is not known")),
    };
    // A sparse file says how large it becomes, its header how much of it is there.
    let stored = if kind == EntryType::GNUSparse { entry.header().entry_size()? } else { entry.size() };
    let (sort, unread) = match (other, room) {
        (Some(what), _) => (Sort::Other(what), stored),
        (None, None) => {
            refuse_pax_sparse(&mut entry, &path)?;
            (Sort::File(None), stored)
        }
        (None, Some(room)) => {
            left.store(u64::MAX, Ordering::Relaxed);
            (Sort::File(Some(content(&mut entry, room, &path)?)), 0)
        }
    };
    Ok(Some(Found { path, sort, unread }))
}

fn content(entry: &mut Entry<'_, impl Read>, room: &Room, path: &[u8]) -> io::Result<Spill> {
    let mut content = room.spill();
    let mut buffer = vec![0; BLOCK.min(usize::try_from(entry.size()).unwrap_or(BLOCK).max(1))];
    loop {
        match entry.read(&mut buffer)? {
            0 if content.written() == entry.size() => return Ok(content),
            0 => return Err(io::Error::other(cut_short(format_args!("within `{}`", shown(path))))),
            count => content.put(&buffer[..count]).map_err(io::Error::other)?,
        }
    }
}

/// Sparse files in pax archives have a table before their content, which would be taken for a part of it.
fn refuse_pax_sparse(entry: &mut Entry<'_, impl Read>, path: &[u8]) -> io::Result<()> {
    let Some(extensions) = entry.pax_extensions()? else { return Ok(()) };
    for extension in extensions {
        if extension?.key_bytes().starts_with(b"GNU.sparse.") {
            let message = format!("`{}` is a sparse file of a sort that can't be read", shown(path));
            let fault = Fault::new(FaultKind::Rejected, "sparse-member", message);
            let hint = "make the archive without `--sparse`, or with `--format=gnu`";
            return Err(io::Error::other(fault.with_hint(hint)));
        }
    }
    Ok(())
}

impl Parts for Members {
    fn next(&mut self, room: &Room) -> Result<Option<Part>, Fault> {
        while let Some(found) = self.step(Some(room))? {
            if let Sort::File(Some(content)) = found.sort {
                return Ok(Some(Part { content, member: Some(found.path) }));
            }
        }
        Ok(None)
    }
}
