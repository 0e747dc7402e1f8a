//! The directory of a zip archive, which stands at its end.

use std::io::Read;

use flate2::Crc;
use opendmp_model::fault::Fault;
use opendmp_processor::Body;

use super::super::archive::{cut_short, damaged, empty, several_parts, wrong_format};
use crate::blocks::{Blocks, Stop, fault};

/// The end of the directory without the comment that follows it.
const END: u64 = 22;

/// Where the end of a directory with 64-bit numbers is.
const LOCATOR: u64 = 20;

/// That end itself, without what later versions may have added.
const END_64: u64 = 56;

/// The flag of names that are UTF-8.
const UTF_8: u16 = 0x800;

/// The upper half of code page 437, in which names are by APPNOTE.TXT, appendix D, where nothing else is said.
const CP437: &str = "\
ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

fn cp437(byte: u8) -> char {
    match byte {
        ..0x80 => char::from(byte),
        _ => CP437.chars().nth(usize::from(byte - 0x80)).unwrap_or(char::REPLACEMENT_CHARACTER),
    }
}

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
    /// Bytes behind the end of the archive that do not belong to it.
    pub behind: u64,
}

/// An entry.
pub(super) struct Member {
    /// Its path: UTF-8, but where the archive says so and it is not.
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
        let last = tail.len().checked_sub(END as usize);
        let ends = |exact: bool| {
            let is_end = |at: &usize| {
                let rest = &tail[*at..];
                // A comment that is cut is none.
                let whole = rest.starts_with(b"PK\x05\x06").then(|| END + number::<2>(rest, 20));
                whole.is_some_and(|whole| if exact { rest.len() as u64 == whole } else { rest.len() as u64 > whole })
            };
            (0..last.map_or(0, |last| last + 1)).rev().filter(is_end).collect::<Vec<_>>()
        };
        // Comments and names may look like an end: one is right where a directory stands before it.
        let mut first = None;
        for at in ends(true) {
            match Self::at(body, stop, from + at as u64, &tail[at..]) {
                Ok((directory, true)) => return Ok(directory),
                Ok((_, false)) => {}
                Err(error) => drop(first.get_or_insert(error)),
            }
        }
        // Transfers add a line end or fill up. What has bytes before it as well would be a member of an archive that was cut.
        for at in ends(false) {
            if let Ok((mut directory, true)) = Self::at(body, stop, from + at as u64, &tail[at..])
                && directory.before == 0
            {
                directory.behind = (tail.len() - at) as u64 - END - number::<2>(&tail[at..], 20);
                return Ok(directory);
            }
        }
        if let Some(error) = first {
            return Err(error);
        }
        let begins: [u8; 4] = exactly(&mut read(0, size), || wrong_format("a zip archive"))?;
        Err(match &begins {
            b"PK\x03\x04" | b"PK\x05\x06" => cut_short("its directory is missing"),
            _ => wrong_format("a zip archive"),
        })
    }

    /// The directory whose end is `found`, at `end`; whether one is there.
    fn at(body: &Body, stop: &Stop, mut end: u64, found: &[u8]) -> Result<(Self, bool), Fault> {
        let read = |from: u64, to: u64| Blocks::within(body.clone(), from..to, stop);
        let mut disks = number::<2>(found, 4) | number::<2>(found, 6);
        let mut entries = number::<2>(found, 10);
        let (mut bytes, mut offset) = (number::<4>(found, 12), number::<4>(found, 16));
        let mut short = true;
        if let Some(place) = end.checked_sub(LOCATOR) {
            let locator: [u8; LOCATOR as usize] = exactly(&mut read(place, end), several_parts)?;
            if locator.starts_with(b"PK\x06\x07") {
                let at = number::<8>(&locator, 8);
                let lost = || damaged("the end of its directory is not where it says");
                let wide: Result<[u8; END_64 as usize], Fault> = exactly(&mut read(at, place), lost);
                // The last name or comment of a directory may look like it.
                let needed = entries == 0xffff || bytes == 0xffff_ffff || offset == 0xffff_ffff;
                match wide {
                    Ok(wide) if wide.starts_with(b"PK\x06\x06") => {
                        disks = number::<4>(&wide, 16) | number::<4>(&wide, 20);
                        entries = number::<8>(&wide, 32);
                        (bytes, offset) = (number::<8>(&wide, 40), number::<8>(&wide, 48));
                        (end, short) = (at, false);
                    }
                    _ if needed => return Err(lost()),
                    _ => {}
                }
            }
        }
        if disks != 0 {
            return Err(several_parts());
        }
        let begin = end.checked_sub(bytes);
        let (Some(begin), Some(before)) = (begin, begin.and_then(|begin| begin.checked_sub(offset))) else {
            return Err(cut_short("its directory does not fit into it"));
        };
        // What begins with a member is no program that unpacks it, but an archive that was cut behind one that is in it.
        let head: Result<[u8; 4], Fault> = exactly(&mut read(0, end), several_parts);
        let cut = before > 0 && head.is_ok_and(|head| head == *b"PK\x03\x04");
        let there = bytes == 0 || {
            let head: Result<[u8; 4], Fault> = exactly(&mut read(begin, end), several_parts);
            head.is_ok_and(|head| head == *b"PK\x01\x02")
        };
        Ok((Self { blocks: read(begin, end), left: entries, short, begin, end, before, behind: 0 }, there && !cut))
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
        let said = member.flags & UTF_8 != 0;
        let unicode = member.add(&extra).ok_or_else(broken)?;
        if let Some(unicode) = unicode {
            member.path = unicode;
        } else if !said && std::str::from_utf8(&member.path).is_err() {
            member.path = member.path.iter().map(|byte| cp437(*byte)).collect::<String>().into_bytes();
        }
        // DOS and Windows, where no name has a backslash in it: some programs part folders with it all the same.
        if matches!(head[5], 0 | 10 | 14) && !member.path.contains(&b'/') {
            member.path.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
        }
        member.header = member.header.checked_add(self.before).ok_or_else(broken)?;
        Ok(Some(member))
    }
}

impl Member {
    /// Takes in what stands in the extra field, and gives the path in Unicode where it has one; nothing where it is broken.
    fn add(&mut self, mut extra: &[u8]) -> Option<Option<Vec<u8>>> {
        let mut unicode = None;
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
                        unicode = Some(field[5..].to_vec());
                    }
                }
                _ => {}
            }
            extra = &extra[4 + length..];
        }
        Some(unicode)
    }
}
