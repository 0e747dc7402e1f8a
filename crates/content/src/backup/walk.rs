//! Reading a pack from one end to the other: its records, and what is none.
//!
//! A record can be read only where it begins, so behind a header that is damaged the next one is looked for byte by
//! byte; a header carries a check, so that what looks like one by accident is not taken for it. If none follows, the
//! rest is what a crash left of a last write, or damage: only who knows which records were promised can tell.

use std::fs::File;
use std::io;

use opendmp_model::ids::ContentHash;
use opendmp_ports::content::SMALL;

use crate::freed::Ranges;
use crate::packs::read_up_to;
use crate::record::{self, RECORD_BEGIN, RECORD_HEADER, Wrong};

/// Bytes read at a time, at least; more than any record has.
const WINDOW: usize = 1 << 20;
const _: () = assert!(WINDOW as u64 > SMALL + RECORD_HEADER as u64);

/// What bytes of a pack are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A record of this content; `sound` if its hash is right.
    Record { hash: ContentHash, sound: bool },
    /// No record, up to the one that begins at `to`. Told in parts.
    Gap { from: u64, to: u64 },
    /// No record, and none follows. Told in parts.
    Torn { from: u64 },
    /// A record of a later format.
    Newer,
}

/// Bytes of a pack, and where they are.
#[derive(Debug)]
pub struct Piece<'a> {
    pub at: u64,
    pub bytes: &'a [u8],
    pub what: What,
}

impl Piece<'_> {
    /// Where it ends.
    pub fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }
}

/// See the module.
#[derive(Debug)]
pub struct Walk<'f> {
    file: &'f File,
    at: u64,
    limit: u64,
    window: Vec<u8>,
    window_at: u64,
    /// What the bytes up to there are, where that is known already.
    known: Option<(What, u64)>,
}

impl<'f> Walk<'f> {
    /// Reads from `at`, where a record begins, to `limit` or the end of the file.
    pub fn new(file: &'f File, at: u64, limit: u64) -> io::Result<Self> {
        let limit = limit.min(file.metadata()?.len());
        Ok(Self { file, at, limit, window: Vec::new(), window_at: at, known: None })
    }

    /// How far it has come.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// What comes next; `None` at the end.
    pub fn next(&mut self) -> io::Result<Option<Piece<'_>>> {
        if self.at >= self.limit {
            return Ok(None);
        }
        let (what, until) = match self.known.take() {
            Some(known) => known,
            None => self.look()?,
        };
        let length = usize::try_from(until - self.at).unwrap_or(usize::MAX).min(WINDOW);
        let from = self.load(self.at, length)?;
        let at = self.at;
        let found = (self.window.len() - from).min(length);
        if found < length {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was read"));
        }
        self.at += length as u64;
        if self.at < until {
            self.known = Some((what, until));
        }
        let bytes = &self.window[from..from + length];
        let what = match what {
            What::Record { hash, .. } => What::Record { hash, sound: ContentHash::of(&bytes[RECORD_HEADER..]) == hash },
            other => other,
        };
        Ok(Some(Piece { at, bytes, what }))
    }

    /// What begins here, and where it ends.
    fn look(&mut self) -> io::Result<(What, u64)> {
        match self.header(self.at)? {
            Some(Ok((hash, length))) if u64::from(length) <= SMALL => {
                let end = self.at + RECORD_HEADER as u64 + u64::from(length);
                match end <= self.limit {
                    true => Ok((What::Record { hash, sound: false }, end)),
                    // Nothing is looked for in what may be the content of this one.
                    false => Ok((What::Torn { from: self.at }, self.limit)),
                }
            }
            Some(Err(Wrong::Newer)) => Ok((What::Newer, self.limit)),
            _ => Ok(match self.find(self.at + 1)? {
                Some(to) => (What::Gap { from: self.at, to }, to),
                None => (What::Torn { from: self.at }, self.limit),
            }),
        }
    }

    /// The header at an offset; `None` where there is no room for one.
    fn header(&mut self, at: u64) -> io::Result<Option<Result<(ContentHash, u32), Wrong>>> {
        if at + RECORD_HEADER as u64 > self.limit {
            return Ok(None);
        }
        let from = self.load(at, RECORD_HEADER)?;
        Ok(self.window[from..].first_chunk::<RECORD_HEADER>().map(record::read_header))
    }

    /// Where the next whole record begins.
    fn find(&mut self, mut at: u64) -> io::Result<Option<u64>> {
        while at + RECORD_HEADER as u64 <= self.limit {
            let from = self.load(at, WINDOW)?;
            let seen = &self.window[from..];
            if seen.len() < RECORD_BEGIN.len() {
                return Ok(None);
            }
            let Some(found) = seen.windows(RECORD_BEGIN.len()).position(|bytes| bytes == RECORD_BEGIN) else {
                at += (seen.len() - (RECORD_BEGIN.len() - 1)) as u64;
                continue;
            };
            at += found as u64;
            if let Some(Ok((_, length))) = self.header(at)?
                && u64::from(length) <= SMALL
                && at + RECORD_HEADER as u64 + u64::from(length) <= self.limit
            {
                return Ok(Some(at));
            }
            at += 1;
        }
        Ok(None)
    }

    /// Has `length` bytes from `at` in the window, or as many as there are; answers where in it they begin.
    fn load(&mut self, at: u64, length: usize) -> io::Result<usize> {
        let end = self.window_at + self.window.len() as u64;
        let wanted = (at + length as u64).min(self.limit);
        if at < self.window_at || wanted > end {
            let room = usize::try_from(self.limit - at).unwrap_or(usize::MAX).min(WINDOW.max(length));
            self.window.resize(room, 0);
            self.window_at = at;
            let read = match read_up_to(self.file, &mut self.window, at) {
                Ok(read) => read,
                Err(error) => {
                    self.window.clear();
                    return Err(error);
                }
            };
            self.window.truncate(read);
        }
        Ok((at - self.window_at) as usize)
    }
}

/// Where the last whole and sound record ends that follows `from` without a gap but for what was let go.
pub fn whole_end(file: &File, from: u64, freed: &Ranges) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut end = from;
    for (begin, to) in freed.gaps(from, length).iter() {
        let mut walk = Walk::new(file, begin, to)?;
        end = end.max(begin);
        while let Some(piece) = walk.next()? {
            match piece.what {
                What::Record { sound: true, .. } => end = piece.end(),
                _ => return Ok(end),
            }
        }
    }
    // What was let go at the end is as good as there.
    Ok(freed.within(end, length).iter().filter(|(begin, _)| *begin == end).map(|(_, to)| to).next().unwrap_or(end))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::record::PACK_HEADER;

    fn pack(contents: &[&[u8]]) -> Vec<u8> {
        let mut out = record::pack_header(1).to_vec();
        contents.iter().for_each(|content| record::append(&mut out, ContentHash::of(content), content));
        out
    }

    /// Offsets and kinds of what is found.
    fn walked(bytes: &[u8]) -> Vec<(u64, u64, What)> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let mut walk = Walk::new(&file, PACK_HEADER as u64, u64::MAX).unwrap();
        let mut out: Vec<(u64, u64, What)> = Vec::new();
        while let Some(piece) = walk.next().unwrap() {
            assert_eq!(bytes[piece.at as usize..piece.end() as usize], *piece.bytes);
            match out.last_mut() {
                Some((_, end, what)) if *what == piece.what && *end == piece.at => *end = piece.end(),
                _ => out.push((piece.at, piece.end(), piece.what)),
            }
        }
        assert_eq!(
            out.last().map_or(PACK_HEADER as u64, |(_, end, _)| *end),
            bytes.len() as u64,
            "nothing is left out"
        );
        out
    }

    fn sound(content: &[u8]) -> What {
        What::Record { hash: ContentHash::of(content), sound: true }
    }

    #[test]
    fn records_are_found_around_damage() {
        let big = vec![7; SMALL as usize];
        let contents: [&[u8]; 4] = [b"one", &big, b"three", b"four"];
        let bytes = pack(&contents);
        let found = walked(&bytes);
        assert_eq!(found.iter().map(|(_, _, what)| *what).collect::<Vec<_>>(), contents.map(sound));
        let starts: Vec<usize> = found.iter().map(|(at, ..)| *at as usize).collect();
        let with = |at: usize| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 4;
            walked(&bytes)
        };
        // In a content: the record is still known.
        let content = with(starts[1] + RECORD_HEADER + 1_000);
        assert_eq!(content[1].2, What::Record { hash: ContentHash::of(&big), sound: false });
        assert_eq!(content[2..], found[2..]);
        // In a header: it is a gap up to the next record, however long.
        for at in [starts[1], starts[1] + 9, starts[1] + 47] {
            let header = with(at);
            assert_eq!(header[1], (found[1].0, found[1].1, What::Gap { from: found[1].0, to: found[1].1 }));
            assert_eq!(header[2..], found[2..]);
        }
        // In the last one's header: nothing tells it from a torn write.
        assert_eq!(with(starts[3] + 20)[3].2, What::Torn { from: found[3].0 });
    }

    #[test]
    fn every_cut_leaves_the_whole_records() {
        let bytes = pack(&[b"one", b"two"]);
        let second = PACK_HEADER + RECORD_HEADER + 3;
        for cut in second..bytes.len() {
            let found = walked(&bytes[..cut]);
            assert_eq!(found[0].2, sound(b"one"));
            assert_eq!(found.get(1).map(|found| found.2), (cut > second).then_some(What::Torn { from: second as u64 }));
        }
    }

    #[test]
    fn content_that_looks_like_a_pack_is_content() {
        let inner = pack(&[b"one", b"two", b"three"]);
        let bytes = pack(&[&inner, b"four"]);
        assert_eq!(walked(&bytes).iter().map(|(.., what)| *what).collect::<Vec<_>>(), [sound(&inner), sound(b"four")]);
        // Torn in it, nothing within is taken for a record.
        let torn = walked(&bytes[..PACK_HEADER + RECORD_HEADER + inner.len() - 1]);
        assert_eq!(torn.iter().map(|(.., what)| *what).collect::<Vec<_>>(), [What::Torn { from: PACK_HEADER as u64 }]);
    }
}
