//! Sorting more than memory holds: sorted parts go to files without a name, and are merged when they are read back.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

/// Parts that are merged at once; each is an open file.
const PARTS: usize = 64;

/// Keys of `N` bytes, in the order of their bytes, each once.
#[derive(Debug)]
pub struct Sorter<const N: usize> {
    keys: Vec<[u8; N]>,
    /// Keys in memory at most.
    most: usize,
    parts: Vec<File>,
}

/// The keys in order.
#[derive(Debug)]
pub struct Sorted<const N: usize> {
    parts: Vec<BufReader<File>>,
    next: BinaryHeap<Reverse<([u8; N], usize)>>,
    /// Keys that never left memory, the least at the end.
    left: Vec<[u8; N]>,
    last: Option<[u8; N]>,
}

impl<const N: usize> Sorter<N> {
    /// One that has so many keys in memory at most.
    pub fn new(most: usize) -> Self {
        Self { keys: Vec::new(), most: most.max(1), parts: Vec::new() }
    }

    /// Takes a key; `temp` makes an empty file where a part has to leave memory. Blocks then.
    pub fn push(&mut self, key: [u8; N], temp: &dyn Fn() -> io::Result<File>) -> io::Result<()> {
        self.keys.push(key);
        if self.keys.len() < self.most {
            return Ok(());
        }
        self.keys.sort_unstable();
        self.keys.dedup();
        if self.keys.len() > self.most / 2 {
            let mut keys = std::mem::take(&mut self.keys);
            self.parts.push(written(temp()?, keys.drain(..).map(Ok))?);
            self.keys = keys;
        }
        if self.parts.len() >= PARTS {
            let parts = std::mem::take(&mut self.parts);
            self.parts.push(written(temp()?, Sorted::<N>::new(parts, Vec::new())?)?);
        }
        Ok(())
    }

    /// All that was taken, in order.
    pub fn sorted(mut self) -> io::Result<Sorted<N>> {
        self.keys.sort_unstable_by(|a, b| b.cmp(a));
        Sorted::new(self.parts, self.keys)
    }
}

fn written<const N: usize>(file: File, keys: impl Iterator<Item = io::Result<[u8; N]>>) -> io::Result<File> {
    let mut out = BufWriter::with_capacity(256 << 10, file);
    for key in keys {
        out.write_all(&key?)?;
    }
    let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

impl<const N: usize> Sorted<N> {
    fn new(parts: Vec<File>, left: Vec<[u8; N]>) -> io::Result<Self> {
        let parts = parts.into_iter().map(|file| BufReader::with_capacity(64 << 10, file)).collect();
        let mut out = Self { parts, next: BinaryHeap::new(), left, last: None };
        for part in 0..out.parts.len() {
            out.refill(part)?;
        }
        Ok(out)
    }

    fn refill(&mut self, part: usize) -> io::Result<()> {
        let mut key = [0; N];
        match self.parts[part].read_exact(&mut key) {
            Ok(()) => self.next.push(Reverse((key, part))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn take(&mut self) -> io::Result<Option<[u8; N]>> {
        let stored = self.next.peek().map(|Reverse((key, _))| *key);
        match (stored, self.left.last()) {
            (Some(stored), Some(left)) if *left <= stored => Ok(self.left.pop()),
            (None, _) => Ok(self.left.pop()),
            (Some(_), _) => match self.next.pop() {
                Some(Reverse((key, part))) => {
                    self.refill(part)?;
                    Ok(Some(key))
                }
                None => Ok(None),
            },
        }
    }
}

impl<const N: usize> Iterator for Sorted<N> {
    type Item = io::Result<[u8; N]>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.take().transpose()? {
                Ok(key) if self.last == Some(key) => {}
                Ok(key) => {
                    self.last = Some(key);
                    return Some(Ok(key));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn any_number_of_keys_come_in_order_and_once() {
        for (most, count) in [(1_000, 0u64), (1_000, 500), (7, 3_000), (1, 200), (64, 20_000)] {
            let mut sorter = Sorter::<8>::new(most);
            let mut expected = BTreeSet::new();
            let mut files = 0;
            let made = std::cell::Cell::new(0);
            let temp = || {
                made.set(made.get() + 1);
                tempfile::tempfile()
            };
            for n in 0..count {
                let key = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48).to_be_bytes();
                expected.insert(key);
                sorter.push(key, &temp).unwrap();
                files = files.max(sorter.parts.len());
                assert!(sorter.keys.len() <= most, "memory is bounded");
            }
            assert!(files <= PARTS && (count < most as u64 || made.get() > 0));
            let found: Vec<[u8; 8]> = sorter.sorted().unwrap().map(io::Result::unwrap).collect();
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{most} {count}");
        }
    }
}
