//! The page that a worker shares with the server: which item is under way since when, and its log so far.
//!
//! The worker maps it and writes without a system call; the server reads it by offset, so that no memory of the
//! server's can be changed or torn away by a script. What stands in it is a hint by an untrusted writer.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where the log begins.
const LOG_AT: usize = 4096;
/// Bytes of log that one item can have.
const LOG_ROOM: usize = 64 << 10;
/// Word 0 while no item is under way.
const IDLE: u64 = u64::MAX;

/// The server's end.
#[derive(Debug)]
pub(crate) struct Page(File);

/// What the page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Glance {
    /// Call number and index of the item under way.
    pub item: Option<(u32, u32)>,
    /// When it began, in nanoseconds of the monotonic clock.
    pub began: u64,
}

impl Page {
    /// A new page; `dir` holds it where the system has no anonymous files.
    pub(crate) fn new(dir: &Path) -> io::Result<Self> {
        // A script that could cut it would have its worker killed by what that writes there.
        let file = crate::os::file_of_size("opendmp-page", dir, (LOG_AT + LOG_ROOM) as u64)?;
        file.write_all_at(&IDLE.to_ne_bytes(), 0)?;
        Ok(Self(file))
    }

    /// The file, for the worker to map.
    pub(crate) fn file(&self) -> &File {
        &self.0
    }

    /// What is under way now; nothing if it can't be read.
    pub(crate) fn look(&self) -> Glance {
        let mut words = [0; 16];
        if self.0.read_exact_at(&mut words, 0).is_err() {
            return Glance { item: None, began: 0 };
        }
        let [item, began] = [0, 8].map(|at| u64::from_ne_bytes(words[at..at + 8].try_into().unwrap_or_default()));
        let item = (item != IDLE).then_some(((item >> 32) as u32, item as u32));
        Glance { item, began }
    }

    /// The log of the item under way, as a result would carry it: what was left out, then the entries.
    pub(crate) fn log(&self) -> Vec<u8> {
        let mut words = [0; 32];
        let mut out = vec![0; 8];
        if self.0.read_exact_at(&mut words, 0).is_ok() {
            let used = u64::from_ne_bytes(words[16..24].try_into().unwrap_or_default());
            let left_out = u64::from_ne_bytes(words[24..32].try_into().unwrap_or_default());
            let used = usize::try_from(used).unwrap_or(LOG_ROOM).min(LOG_ROOM);
            out[..8].copy_from_slice(&left_out.to_le_bytes());
            out.resize(8 + used, 0);
            if self.0.read_exact_at(&mut out[8..], LOG_AT as u64).is_err() {
                out.truncate(8);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_is_under_way() {
        let page = Page::new(&std::env::temp_dir()).unwrap();
        assert_eq!(page.look().item, None);
        page.0.write_all_at(&((7_u64 << 32) | 3).to_ne_bytes(), 0).unwrap();
        page.0.write_all_at(&99_u64.to_ne_bytes(), 8).unwrap();
        assert_eq!(page.look(), Glance { item: Some((7, 3)), began: 99 });
    }

    #[test]
    fn a_forged_length_reads_no_further_than_the_page() {
        let page = Page::new(&std::env::temp_dir()).unwrap();
        page.0.write_all_at(&u64::MAX.to_ne_bytes(), 16).unwrap();
        assert_eq!(page.log().len(), 8 + LOG_ROOM);
        // As it may become where the system can't keep its size.
        let page = Page(tempfile::tempfile().unwrap());
        page.0.set_len(10).unwrap();
        assert_eq!(page.look().item, None);
        assert_eq!(page.log(), [0; 8]);
    }
}
