//! The directory of a zip archive, which stands at its end.

use std::io::Read;

use flate2::Crc;
use opendmp_model::fault::Fault;
use opendmp_processor::Body;

use super::super::archive::{cut_short, damaged, empty, wrong_format};
use crate::blocks::{Blocks, Stop, fault};

/// The end of the directory without the comment that follows it.
const END: u64 = 22;

/// Where the end of a directory with 64-bit numbers is.
const LOCATOR: u64 = 20;

/// That end itself, without what later versions may have added.
const END_64: u64 = 56;

/// The entries of a directory, read one after the other.
pub(super) struct Directory {
    blocks: Blocks,
    /// Entries that are still to come.
    left: u64,
    /// The number of entries has 16 bits only.
    short: bool,
    /// Where it begins, and contents end.
    begin: u64,
    end: u64,
    /// What stands before the archive and is not counted in it: a program that unpacks it.
    before: u64,
}

/// An entry.
pub(super) struct Member {
    /// Its path, as bytes of UTF-8 where the archive says so.
    pub path: Vec<u8>,
    /// How it was packed.
    pub method: u16,
    /// The checksum of its content.
    pub crc: u32,
    /// Bytes in the archive.
    pub packed: u64,
    /// Bytes of content.
    pub size: u64,
    /// Where its own header is.
    pub header: u64,
    /// Where contents end.
    pub limit: u64,
    flags: u16,
    /// The file type of Unix, where that made it.
    mode: u32,
}

impl Member {
    pub(super) fn is_encrypted(&self) -> bool {
        self.flags & 1 != 0
    }

    pub(super) fn is_folder(&self) -> bool {
        self.path.ends_with(b"/")
    }

    pub(super) fn is_link(&self) -> bool {
        self.mode & 0o17_0000 == 0o12_0000
    }
}

/// As many bytes as are asked for, or what `else_` says.
pub(super) fn exactly<const N: usize>(blocks: &mut Blocks, else_: impl FnOnce() -> Fault) -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    match blocks.read_exact(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(fault(error, |_| else_())),
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut wide = [0; 8];
    wide[..N].copy_from_slice(&bytes[at..at + N]);
    u64::from_le_bytes(wide)
}

impl Directory {
    pub(super) fn open(body: &Body, stop: &Stop) -> Result<Self, Fault> {
        let size = Blocks::new(body.clone(), stop).size()?;
        if size == 0 {
            return Err(empty());
        }
        let read = |from: u64, to: u64| Blocks::within(body.clone(), from..to, stop);
        // The comment behind the end has at most 65,535 bytes.
        let from = size.saturating_sub(END + u64::from(u16::MAX));
        let mut tail = Vec::new();
        read(from, size).read_to_end(&mut tail).map_err(|error| fault(error, damaged))?;
        let is_end = |at: &usize| {
            let rest = &tail[*at..];
            rest.starts_with(b"PK\x05\x06") && rest.len() as u64 == END + number::<2>(rest, 20)
        };
        let last = tail.len().checked_sub(usize::try_from(END).unwrap_or(usize::MAX));
        let Some(at) = last.and_then(|last| (0..=last).rev().find(is_end)) else {
            let begins: [u8; 4] = exactly(&mut read(0, size), || wrong_format("a zip archive"))?;
            return Err(match &begins {
                b"PK\x03\x04" | b"PK\x05\x06" => cut_short("its directory is missing"),
                _ => wrong_format("a zip archive"),
            });
        };
        let (mut end, found) = (from + at as u64, &tail[at..]);
        let several = || damaged("it is one of several parts");
        let mut disks = number::<2>(found, 4) | number::<2>(found, 6);
        let mut entries = number::<2>(found, 10);
        let (mut bytes, mut offset) = (number::<4>(found, 12), number::<4>(found, 16));
        let mut short = true;
        if let Some(place) = end.checked_sub(LOCATOR) {
            let locator: [u8; LOCATOR as usize] = exactly(&mut read(place, end), several)?;
            if locator.starts_with(b"PK\x06\x07") {
                let at = number::<8>(&locator, 8);
                let lost = || damaged("the end of its directory is not where it says");
                let wide: [u8; END_64 as usize] = exactly(&mut read(at, place), lost)?;
                if !wide.starts_with(b"PK\x06\x06") {
                    return Err(lost());
                }
                disks = number::<4>(&wide, 16) | number::<4>(&wide, 20);
                (entries, bytes, offset) = (number::<8>(&wide, 32), number::<8>(&wide, 40), number::<8>(&wide, 48));
                (end, short) = (at, false);
            }
        }
        if disks != 0 {
            return Err(several());
        }
        let begin = end.checked_sub(bytes);
        let (Some(begin), Some(before)) = (begin, begin.and_then(|begin| begin.checked_sub(offset))) else {
            return Err(cut_short("its directory does not fit into it"));
        };
        Ok(Self { blocks: read(begin, end), left: entries, short, begin, end, before })
    }

    /// The next entry.
    pub(super) fn next(&mut self) -> Result<Option<Member>, Fault> {
        if self.blocks.position() >= self.end {
            // With 16 bits large numbers of entries are counted from 0 again by some programs.
            let left = if self.short { self.left & 0xffff } else { self.left };
            return match left {
                0 => Ok(None),
                _ => Err(damaged("entries of its directory are missing")),
            };
        }
        self.left = self.left.wrapping_sub(1);
        let broken = || damaged("an entry of its directory can't be read");
        let head: [u8; 46] = exactly(&mut self.blocks, broken)?;
        if !head.starts_with(b"PK\x01\x02") {
            return Err(broken());
        }
        let mut field = |at: usize| -> Result<Vec<u8>, Fault> {
            let length = usize::try_from(number::<2>(&head, at)).unwrap_or_default();
            let mut bytes = vec![0; length];
            self.blocks.read_exact(&mut bytes).map_err(|error| fault(error, |_| broken()))?;
            Ok(bytes)
        };
        let (path, extra, _comment) = (field(28)?, field(30)?, field(32)?);
        let unix = head[5] == 3;
        let mut member = Member {
            flags: number::<2>(&head, 8) as u16,
            method: number::<2>(&head, 10) as u16,
            crc: number::<4>(&head, 16) as u32,
            packed: number::<4>(&head, 20),
            size: number::<4>(&head, 24),
            mode: if unix { number::<2>(&head, 40) as u32 } else { 0 },
            header: number::<4>(&head, 42),
            limit: self.begin,
            path,
        };
        member.add(&extra).ok_or_else(broken)?;
        member.header = member.header.checked_add(self.before).ok_or_else(broken)?;
        Ok(Some(member))
    }
}

impl Member {
    /// Takes in what stands in the extra field; nothing where that is broken.
    fn add(&mut self, mut extra: &[u8]) -> Option<()> {
        // Some programs pad it with a few bytes.
        while extra.len() >= 4 {
            let (id, length) = (number::<2>(extra, 0), usize::try_from(number::<2>(extra, 2)).ok()?);
            let field = extra.get(4..4 + length)?;
            match id {
                // Numbers of 64 bits, in this order, of those that do not fit in.
                0x0001 => {
                    let mut numbers = field.chunks_exact(8).map(|bytes| number::<8>(bytes, 0));
                    for value in [&mut self.size, &mut self.packed, &mut self.header] {
                        if *value == u64::from(u32::MAX) {
                            *value = numbers.next()?;
                        }
                    }
                }
                // Unicode path: a version, the checksum of the other one, the path.
                0x7075 if length >= 5 => {
                    let mut crc = Crc::new();
                    crc.update(&self.path);
                    if field[0] == 1 && number::<4>(field, 1) == u64::from(crc.sum()) {
                        self.path = field[5..].to_vec();
                    }
                }
                _ => {}
            }
            extra = &extra[4 + length..];
        }
        Some(())
    }
}
