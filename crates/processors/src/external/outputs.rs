//! The files that a command wrote into `{outputs}`, as children in the byte order of their names.
//!
//! There may be any number of them: names are sorted in parts that fit into memory, which wait in a file and are merged
//! as they are read, and each file is opened when its child is asked for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::item::Attributes;
use opendmp_model::name;
use opendmp_processor::Emission;
use rustix::fs::FileType;

use super::room::{Shelf, content, unreadable};
use super::world;

/// So many bytes of names are sorted in memory.
const MOST_NAMES: usize = 8 << 20;

/// What a name takes in memory besides its bytes.
const NAME_COST: usize = 40;

/// The children, in order.
pub(super) struct Outputs {
    names: Names,
    shelf: Arc<Shelf>,
    media_type: Option<String>,
}

impl Outputs {
    /// Looks at the whole folder. Names that are too many for memory wait in `scratch`, which no command can reach.
    ///
    /// # Errors
    /// The step's where something in it is no file.
    pub(super) fn list(shelf: Arc<Shelf>, scratch: &Path, media_type: Option<String>) -> Result<Self, Fault> {
        let listing = |error: io::Error| world("listing the results", &error);
        let mut sorter = Sorter::new(scratch, MOST_NAMES);
        for entry in shelf.folder().list().map_err(|error| unreadable("listing the results", &error))? {
            let (name, mut kind) = entry.map_err(listing)?;
            // Some file systems don't tell.
            if kind == FileType::Unknown {
                let stat = shelf.folder().stat(&name).map_err(listing)?;
                kind = FileType::from_raw_mode(stat.st_mode);
            }
            if kind != FileType::RegularFile {
                return Err(no_file(&name));
            }
            sorter.add(name).map_err(listing)?;
        }
        Ok(Self { names: sorter.finish().map_err(listing)?, shelf, media_type })
    }

    fn child(&self, file: &[u8]) -> Result<Emission, Fault> {
        let opened = self.shelf.file(file)?.ok_or_else(|| no_file(file))?;
        Ok(Emission {
            port: None,
            name: Some(name::from_bytes(file)),
            media_type: self.media_type.clone(),
            attributes: Attributes::new(),
            content: content(&self.shelf, file, opened)?,
        })
    }
}

fn no_file(name: &[u8]) -> Fault {
    let message = format!("`{}` in `{{outputs}}` is not a regular file", name::printable(&name::from_bytes(name)));
    Fault::new(FaultKind::Failed, "bad-output", message).with_hint("write all results into the folder itself")
}

impl Iterator for Outputs {
    type Item = Result<Emission, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.names.next()?.map_err(|error| world("reading a result", &error));
        Some(name.and_then(|name| self.child(&name)))
    }
}

/// Sorts any number of names.
struct Sorter<'a> {
    folder: &'a Path,
    most: usize,
    names: Vec<Vec<u8>>,
    held: usize,
    /// Sorted parts, and where each ends.
    file: Option<File>,
    ends: Vec<u64>,
}

impl<'a> Sorter<'a> {
    /// Names that do not fit into `most` bytes wait in a file in `folder`.
    fn new(folder: &'a Path, most: usize) -> Self {
        Self { folder, most, names: Vec::new(), held: 0, file: None, ends: Vec::new() }
    }

    fn add(&mut self, name: Vec<u8>) -> io::Result<()> {
        self.held += name.len() + NAME_COST;
        self.names.push(name);
        if self.held > self.most { self.write_out() } else { Ok(()) }
    }

    fn write_out(&mut self) -> io::Result<()> {
        self.names.sort_unstable();
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile_in(self.folder)?),
        };
        let mut end = self.ends.last().copied().unwrap_or(0);
        let mut out = BufWriter::new(&*file);
        for name in self.names.drain(..) {
            // No file system has names of 64 KiB.
            let length = u16::try_from(name.len()).map_err(io::Error::other)?;
            out.write_all(&length.to_le_bytes())?;
            out.write_all(&name)?;
            end += 2 + u64::from(length);
        }
        out.flush()?;
        drop(out);
        self.ends.push(end);
        self.held = 0;
        Ok(())
    }

    fn finish(mut self) -> io::Result<Names> {
        self.names.sort_unstable();
        let mut parts = Vec::new();
        if let Some(file) = self.file {
            let file = Arc::new(file);
            let begins = std::iter::once(0).chain(self.ends.iter().copied());
            for (at, end) in begins.zip(&self.ends) {
                parts.push(BufReader::new(Part { file: Arc::clone(&file), at, end: *end }));
            }
        }
        let mut names = Names { last: self.names.into_iter(), parts, next: BinaryHeap::new() };
        (0..=names.parts.len()).try_for_each(|part| names.read(part))?;
        Ok(names)
    }
}

/// All names, in order.
struct Names {
    /// Those that still were in memory: the part behind the others.
    last: std::vec::IntoIter<Vec<u8>>,
    parts: Vec<BufReader<Part>>,
    /// The first of each part.
    next: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
}

impl Names {
    /// Takes the next name of a part, if there is one.
    fn read(&mut self, part: usize) -> io::Result<()> {
        let name = match self.parts.get_mut(part) {
            None => self.last.next(),
            Some(reader) => {
                let mut length = [0; 2];
                match reader.read(&mut length[..1])? {
                    0 => None,
                    _ => {
                        reader.read_exact(&mut length[1..])?;
                        let mut name = vec![0; usize::from(u16::from_le_bytes(length))];
                        reader.read_exact(&mut name)?;
                        Some(name)
                    }
                }
            }
        };
        self.next.extend(name.map(|name| Reverse((name, part))));
        Ok(())
    }
}

impl Iterator for Names {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((name, part)) = self.next.pop()?;
        Some(self.read(part).map(|()| name))
    }
}

/// A part of the file, read without its position, which all share.
struct Part {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Part {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = into.len().min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut into[..most], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_order_however_many_fit_into_memory() {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<Vec<u8>> =
            (0..3_000u32).map(|n| blake3::hash(&n.to_le_bytes()).as_bytes()[..7].to_vec()).collect();
        let mut expected = names.clone();
        expected.sort_unstable();
        for most in [0, 47, 1_000, 50_000, MOST_NAMES] {
            let mut sorter = Sorter::new(folder.path(), most);
            for name in &names {
                sorter.add(name.clone()).unwrap();
                assert!(sorter.held <= most, "{most}");
            }
            let sorted: Vec<Vec<u8>> = sorter.finish().unwrap().map(|name| name.unwrap()).collect();
            assert!(sorted == expected, "{most}");
        }
        assert_eq!(Sorter::new(folder.path(), 9).finish().unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "what waits has no name");
    }
}
