//! What was let go of a pack: ranges of it that hold no content any more, in a file beside it. It is durable before the
//! disk gets anything back, so nobody takes what is missing there for damage. Frozen by `tests/golden/freed-v1.hex`.
//!
//! ```text
//! "ODMPFREE"  version u32  pack u64  ranges u32  { from u64  to u64 }…  check 32  done u8
//! ```
//! Numbers are little-endian; ranges are in order and don't touch; the check is BLAKE3 of all before it. `done` is 1
//! when the disk has got all of it back, and is no part of the check: it is written later, in its place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::layout::{Paths, sync_dir};

const MAGIC: &[u8; 8] = b"ODMPFREE";
const VERSION: u32 = 1;
const HEAD: usize = 24;

/// Ranges of a pack, in order, that don't touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Adds a range that begins where the last one begins, or behind.
    fn push(&mut self, from: u64, to: u64) {
        match self.0.last_mut() {
            _ if from >= to => {}
            Some((_, end)) if from <= *end => *end = to.max(*end),
            _ => self.0.push((from, to)),
        }
    }

    /// Of any ranges.
    pub fn of(mut ranges: Vec<(u64, u64)>) -> Self {
        ranges.sort_unstable();
        let mut out = Self::default();
        ranges.into_iter().for_each(|(from, to)| out.push(from, to));
        out
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().copied()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.iter().map(|(from, to)| to - from).sum()
    }

    /// Whether any byte of a range is in one of them.
    pub fn touches(&self, from: u64, to: u64) -> bool {
        let behind = self.0.partition_point(|(_, end)| *end <= from);
        self.0.get(behind).is_some_and(|(begin, _)| *begin < to)
    }

    /// What is in these or in those.
    pub fn and(&self, others: &Self) -> Self {
        Self::of(self.iter().chain(others.iter()).collect())
    }

    /// What of these is within a range.
    pub fn within(&self, from: u64, to: u64) -> Self {
        Self::of(self.iter().map(|(a, b)| (a.max(from), b.min(to))).filter(|(a, b)| a < b).collect())
    }

    /// What is in a range and in none of these.
    pub fn gaps(&self, from: u64, to: u64) -> Self {
        let (mut out, mut at) = (Self::default(), from);
        for (begin, end) in self.within(from, to).iter() {
            out.push(at, begin);
            at = end;
        }
        out.push(at, to);
        out
    }

    /// What is in these and not in those.
    pub fn without(&self, others: &Self) -> Self {
        Self::of(self.iter().flat_map(|(from, to)| others.gaps(from, to).0).collect())
    }
}

fn encoded(pack: u64, ranges: &Ranges) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + ranges.0.len() * 16 + 33);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&pack.to_le_bytes());
    out.extend_from_slice(&(ranges.0.len() as u32).to_le_bytes());
    for (from, to) in ranges.iter() {
        out.extend_from_slice(&from.to_le_bytes());
        out.extend_from_slice(&to.to_le_bytes());
    }
    let check = blake3::hash(&out);
    out.extend_from_slice(check.as_bytes());
    out.push(0);
    out
}

fn decoded(bytes: &[u8], pack: u64) -> Option<(Ranges, bool)> {
    let (done, bytes) = bytes.split_last()?;
    let (body, check) = bytes.split_last_chunk::<32>()?;
    let (head, ranges) = body.split_at_checked(HEAD)?;
    let numbers = ranges.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap_or_default()));
    let numbers: Vec<u64> = numbers.collect();
    let sound = *blake3::hash(body).as_bytes() == *check
        && head[..8] == *MAGIC
        && head[8..12] == VERSION.to_le_bytes()
        && head[12..20] == pack.to_le_bytes();
    sound.then(|| (Ranges(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()), *done == 1))
}

/// What was let go of a pack, and whether the disk has got it back; nothing where there is no such file.
///
/// # Errors
/// Of kind `InvalidData` where the file is not as it was written.
pub fn read(root: &Path, pack: u64) -> io::Result<(Ranges, bool)> {
    let path = Paths(root).freed(pack);
    match fs::read(&path) {
        Ok(bytes) => decoded(&bytes, pack).ok_or_else(|| {
            let message = format!("{} is not as written", path.display());
            io::Error::new(io::ErrorKind::InvalidData, message)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((Ranges::default(), true)),
        Err(error) => Err(error),
    }
}

/// Writes it, durable when this answers.
pub fn write(root: &Path, pack: u64, ranges: &Ranges) -> io::Result<()> {
    let mut temp = tempfile::Builder::new().prefix("freed-").tempfile_in(Paths(root).tmp())?;
    temp.write_all(&encoded(pack, ranges))?;
    temp.as_file().sync_all()?;
    temp.persist(Paths(root).freed(pack)).map_err(|error| error.error)?;
    sync_dir(&Paths(root).packs())
}

/// Notes that the disk has got it back. If that is lost, holes are made again where there are some.
pub fn done(root: &Path, pack: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(Paths(root).freed(pack))?;
    let end = file.metadata()?.len();
    file.write_all_at(&[1], end.saturating_sub(1))
}

/// Forgets it: the pack is gone.
pub fn forget(root: &Path, pack: u64) -> io::Result<()> {
    match fs::remove_file(Paths(root).freed(pack)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Gives a range of a file back to the disk; its length stays, and what is there reads as zeros. Where that can't be
/// done the bytes stay.
#[cfg(target_os = "linux")]
pub fn punch(file: &File, from: u64, to: u64) -> io::Result<()> {
    use rustix::fs::FallocateFlags as Flags;
    match rustix::fs::fallocate(file, Flags::PUNCH_HOLE | Flags::KEEP_SIZE, from, to - from) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
        done => Ok(done?),
    }
}

/// The same where no system call is known for it: the bytes stay until their whole pack goes.
#[cfg(not(target_os = "linux"))]
pub fn punch(_: &File, _: u64, _: u64) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_frozen() {
        let ranges = Ranges::of(vec![(24, 77), (4_096, 70_000)]);
        let bytes = encoded(7, &ranges);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let golden = include_str!("../tests/golden/freed-v1.hex").trim();
        assert_eq!(hex, golden, "what was let go would be told as damage: make a new format version instead");
        assert_eq!(decoded(&bytes, 7), Some((ranges, false)));
        assert_eq!(decoded(&bytes, 8), None);
        for bit in 0..(bytes.len() - 1) * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decoded(&damaged, 7), None, "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert_eq!(decoded(&bytes[..cut], 7), None, "cut at {cut}");
        }
    }

    #[test]
    fn ranges_are_reckoned_with() {
        let set = |ranges: &Ranges| (0..40u64).filter(|at| ranges.touches(*at, at + 1)).collect::<Vec<_>>();
        let some = [vec![], vec![(3, 9)], vec![(0, 2), (2, 4), (30, 40)], vec![(5, 6), (1, 20), (8, 12)]];
        for a in &some {
            let a = Ranges::of(a.clone());
            assert!(a.0.windows(2).all(|pair| pair[0].1 < pair[1].0), "{a:?} does not touch");
            assert_eq!(a.bytes(), set(&a).len() as u64);
            for b in &some {
                let b = Ranges::of(b.clone());
                let expect = |keep: &dyn Fn(bool, bool) -> bool| {
                    (0..40).filter(|at| keep(a.touches(*at, at + 1), b.touches(*at, at + 1))).collect::<Vec<u64>>()
                };
                assert_eq!(set(&a.and(&b)), expect(&|a, b| a || b));
                assert_eq!(set(&a.without(&b)), expect(&|a, b| a && !b));
            }
            let inner = |wanted: bool| (4..33).filter(|at| a.touches(*at, at + 1) == wanted).collect::<Vec<u64>>();
            assert_eq!(set(&a.within(4, 33)), inner(true));
            assert_eq!(set(&a.gaps(4, 33)), inner(false));
        }
    }
}
