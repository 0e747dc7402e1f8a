//! JSON documents and the elements of arrays, checked to be JSON and passed on byte for byte. Nothing of them is held in
//! memory, whatever their size: the parser is `serde_json`'s, which here only looks.

use std::io::{self, Read};

use bytes::Bytes;
use opendmp_model::fault::{Fault, FaultKind};
use serde::de::IgnoredAny;

use crate::blocks::{Blocks, Spill, fault};
use crate::rows::BOM;
use crate::text::Encoding;

/// How deep values may be nested. Others who read them have such a limit too, and each level is held in memory.
const MOST_NESTED: u32 = 10_000;

/// A JSON text that is read.
pub(crate) struct Json {
    blocks: Blocks,
    block: Bytes,
    /// The next byte in the block.
    at: usize,
    /// The first byte in the block that belongs to the value under way and was not passed on.
    from: usize,
    /// Where the value under way goes.
    into: Option<Spill>,
    /// Whether the parser is within a value.
    inside: bool,
    depth: u32,
    string: InString,
    /// The bytes of a character that the end of a block cut.
    cut: Vec<u8>,
    line: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum InString {
    No,
    Yes,
    /// Behind a backslash.
    Escaped,
    /// Within the digits of `\uXXXX`: so many are missing, and those before make this number.
    Number(u8, u16),
    /// Behind the first half of a character that is written as two such numbers.
    Half,
    /// And behind the backslash of the second half.
    HalfEscaped,
    /// As `Number`, of the second half.
    HalfNumber(u8, u16),
}

impl Json {
    /// From the beginning; a byte order mark is left out.
    pub(crate) fn new(mut blocks: Blocks) -> Result<Self, Fault> {
        let first = blocks.block()?;
        if first.starts_with(BOM) {
            blocks.leave(BOM.len());
        } else if let Some(encoding) = Encoding::marked(first) {
            let message = format!("it is text in {}, and JSON is UTF-8", encoding.0.name());
            return Err(Fault::new(FaultKind::Rejected, "bad-json", message)
                .with_hint("have it written in UTF-8, or let a `script` or an `external` (`iconv`) do that before"));
        }
        Ok(Self {
            blocks,
            block: Bytes::new(),
            at: 0,
            from: 0,
            into: None,
            inside: false,
            depth: 0,
            string: InString::No,
            cut: Vec::new(),
            line: 1,
        })
    }

    /// The next byte that is no white space, which stays.
    pub(crate) fn peek(&mut self) -> Result<Option<u8>, Fault> {
        while self.fill()? {
            match self.block[self.at] {
                b'\n' => self.line += 1,
                b' ' | b'\t' | b'\r' => {}
                byte => return Ok(Some(byte)),
            }
            self.at += 1;
        }
        Ok(None)
    }

    /// Leaves the byte behind that was looked at.
    pub(crate) fn leave(&mut self) {
        self.at += 1;
    }

    /// Back to the byte that was read last.
    fn back(&mut self) {
        self.at -= 1;
        self.line -= u64::from(self.block[self.at] == b'\n');
    }

    /// Where the next byte is: bytes from the beginning.
    pub(crate) fn position(&self) -> u64 {
        self.blocks.position() - (self.block.len() - self.at) as u64
    }

    /// Reads the value that begins at the byte that was looked at; its bytes go to `into`.
    ///
    /// # Errors
    /// The item's where it is no JSON; those of `into`.
    pub(crate) fn value(&mut self, into: Option<Spill>) -> Result<Option<Spill>, Fault> {
        (self.into, self.from, self.inside) = (into, self.at, true);
        (self.depth, self.string) = (0, InString::No);
        let before = self.position();
        let mut values = serde_json::Deserializer::from_reader(&mut *self).into_iter::<IgnoredAny>();
        let read = values.next();
        let end = before + values.byte_offset() as u64;
        drop(values);
        match read {
            Some(Ok(_)) => {}
            Some(Err(error)) if error.is_io() => return Err(fault(error.into(), |error| self.bad(&error.to_string()))),
            Some(Err(error)) if error.is_eof() => return Err(self.ends_early()),
            Some(Err(error)) => {
                // The parser took the byte that is wrong.
                self.back();
                return Err(match &self.block[self.at..] {
                    [b'N', b'a', b'N', ..] | [b'I', b'n', b'f', ..] => self
                        .bad("NaN and Infinity are no numbers of it")
                        .with_hint("have `null` or a text written there; no step takes them for numbers"),
                    _ => self.bad(without_place(&error.to_string())),
                });
            }
            None => return Err(self.ends_early()),
        }
        // Behind a number the parser looks at one byte more, which may be in a new block already.
        if self.position() > end {
            self.back();
        }
        self.inside = false;
        self.pass_on()?;
        Ok(self.into.take())
    }

    /// Nothing but white space follows.
    pub(crate) fn end(&mut self) -> Result<(), Fault> {
        match self.peek()? {
            None => Ok(()),
            Some(_) => Err(self.bad("something follows its end")),
        }
    }

    /// It is not JSON, and where.
    pub(crate) fn bad(&self, why: &str) -> Fault {
        let message = format!("it is not JSON: {why}, in line {} at byte {}", self.line, self.position());
        Fault::new(FaultKind::Rejected, "bad-json", message).with_hint("look at that place, or at what made the item")
    }

    /// It was cut.
    pub(crate) fn ends_early(&self) -> Fault {
        let message = format!("the JSON ends too early, in line {} at byte {}", self.line, self.position());
        Fault::new(FaultKind::Rejected, "cut-short", message).with_hint("send it again; its end was not copied")
    }

    /// A character of two halves has one here only.
    fn half(&self) -> Fault {
        self.bad("a text has half a character (a lone surrogate)")
            .with_hint("look at what made the item: it cut a text within a character")
    }

    /// Whether there is a byte in the block, which may be a new one.
    fn fill(&mut self) -> Result<bool, Fault> {
        if self.at == self.block.len() {
            if self.inside {
                self.pass_on()?;
            }
            self.block = self.blocks.take_block()?;
            (self.at, self.from) = (0, 0);
            self.check_text()?;
        }
        Ok(!self.block.is_empty())
    }

    /// Passes on what of the block belongs to the value.
    fn pass_on(&mut self) -> Result<(), Fault> {
        match &mut self.into {
            Some(into) if self.from < self.at => into.put(&self.block[self.from..self.at]),
            _ => Ok(()),
        }
    }

    /// JSON is UTF-8, which the parser does not look at where it only looks.
    fn check_text(&mut self) -> Result<(), Fault> {
        let mut from = 0;
        while !self.cut.is_empty() {
            match self.block.get(from) {
                Some(byte) => self.cut.push(*byte),
                None if self.block.is_empty() => return Err(self.no_text(0)),
                None => return Ok(()),
            }
            from += 1;
            match std::str::from_utf8(&self.cut) {
                Ok(_) => self.cut.clear(),
                Err(error) if error.error_len().is_some() => return Err(self.no_text(from - 1)),
                Err(_) => {}
            }
        }
        match std::str::from_utf8(&self.block[from..]) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_some() => Err(self.no_text(from + error.valid_up_to())),
            Err(error) => {
                self.cut = self.block[from + error.valid_up_to()..].to_vec();
                Ok(())
            }
        }
    }

    /// What stands there in the block is no character; the parser has not come so far.
    fn no_text(&mut self, at: usize) -> Fault {
        self.line += self.block[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at = at;
        self.bad("it is not UTF-8").with_hint("have it written in UTF-8; look at that place, or at what made the item")
    }

    /// Follows how deep values are nested.
    fn follow(&mut self, byte: u8) -> Result<(), Fault> {
        self.string = match (self.string, byte) {
            (InString::Yes, b'\\') => InString::Escaped,
            (InString::Yes, b'"') => InString::No,
            (InString::No, b'"') => InString::Yes,
            (InString::No, b'[' | b'{') => {
                self.depth += 1;
                if self.depth > MOST_NESTED {
                    return Err(self.bad(&format!("values are nested more than {MOST_NESTED} deep")));
                }
                InString::No
            }
            (InString::No, b']' | b'}') => {
                self.depth = self.depth.saturating_sub(1);
                InString::No
            }
            (InString::Escaped, b'u') => InString::Number(4, 0),
            (InString::Escaped, _) => InString::Yes,
            (InString::Number(left, number), digit) => match (left, shifted(number, digit)) {
                (1, 0xd800..0xdc00) => InString::Half,
                (1, 0xdc00..0xe000) => return Err(self.half()),
                (1, _) => InString::Yes,
                (left, number) => InString::Number(left - 1, number),
            },
            (InString::Half, b'\\') => InString::HalfEscaped,
            (InString::HalfEscaped, b'u') => InString::HalfNumber(4, 0),
            (InString::HalfNumber(left, number), digit) => match (left, shifted(number, digit)) {
                (1, 0xdc00..0xe000) => InString::Yes,
                (1, _) => return Err(self.half()),
                (left, number) => InString::HalfNumber(left - 1, number),
            },
            (InString::Half | InString::HalfEscaped, _) => return Err(self.half()),
            (same, _) => same,
        };
        Ok(())
    }
}

/// A digit more behind a hexadecimal number. What is no digit the parser refuses.
fn shifted(number: u16, digit: u8) -> u16 {
    number << 4 | char::from(digit).to_digit(16).unwrap_or(0) as u16
}

/// The parser's words without its own line and column, which count from where the value begins.
fn without_place(message: &str) -> &str {
    message.split(" at line ").next().unwrap_or(message)
}

impl Read for Json {
    /// A byte at a time, as the parser asks for them.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(place) = into.first_mut() else { return Ok(0) };
        if !self.fill().map_err(io::Error::other)? {
            return Ok(0);
        }
        let byte = self.block[self.at];
        self.follow(byte).map_err(io::Error::other)?;
        self.at += 1;
        self.line += u64::from(byte == b'\n');
        *place = byte;
        Ok(1)
    }
}
