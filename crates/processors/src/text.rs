//! Text as UTF-8, whatever it was written in. What has no mark and of which nothing is said passes as it stands, byte for
//! byte.

use encoding_rs::{Decoder, DecoderResult};
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_processor::Body;

use crate::blocks::{Blocks, Stop};
use crate::rows::BOM;

/// What a text is written in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Encoding {
    /// By the tables of the WHATWG.
    Table(&'static encoding_rs::Encoding),
    /// Four bytes a character, the largest first or last; those tables do not have it.
    Utf32 {
        /// The largest first.
        big: bool,
    },
}

/// Bytes of a text that are looked at before its mark is believed.
const SAMPLE: usize = 4096;

impl Encoding {
    /// The encoding of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "utf-32" | "utf-32le" => Some(Self::Utf32 { big: false }),
            "utf-32be" => Some(Self::Utf32 { big: true }),
            // The tables name this one for bytes that are never to be read.
            other => encoding_rs::Encoding::for_label_no_replacement(other.as_bytes()).map(Self::Table),
        }
    }

    /// What the mark at the beginning says, and how long it is.
    pub(crate) fn marked(first: &[u8]) -> Option<(Self, usize)> {
        Some(match first {
            [0xff, 0xfe, 0, 0, ..] => (Self::Utf32 { big: false }, 4),
            [0, 0, 0xfe, 0xff, ..] => (Self::Utf32 { big: true }, 4),
            [0xff, 0xfe, ..] => (Self::Table(encoding_rs::UTF_16LE), 2),
            [0xfe, 0xff, ..] => (Self::Table(encoding_rs::UTF_16BE), 2),
            _ if first.starts_with(BOM) => (Self::Table(encoding_rs::UTF_8), BOM.len()),
            _ => return None,
        })
    }

    /// Whether the beginning of a text may be written in this: one place that can't be read is damage, several are other
    /// bytes.
    fn fits(self, first: &[u8]) -> bool {
        let sample = &first[..first.len().min(SAMPLE) / 4 * 4];
        let faults = match self {
            Self::Table(table) => {
                table.decode_without_bom_handling(sample).0.matches(char::REPLACEMENT_CHARACTER).count()
            }
            Self::Utf32 { big } => {
                let number = |unit: &[u8]| {
                    let unit = unit.try_into().unwrap_or_default();
                    if big { u32::from_be_bytes(unit) } else { u32::from_le_bytes(unit) }
                };
                sample.chunks_exact(4).filter(|unit| char::from_u32(number(unit)).is_none()).count()
            }
        };
        faults < 2
    }

    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Table(table) => table.name(),
            Self::Utf32 { big: false } => "UTF-32LE",
            Self::Utf32 { big: true } => "UTF-32BE",
        }
    }
}

/// The bytes of a text, in order.
pub(crate) struct Text {
    blocks: Blocks,
    said: Option<Encoding>,
    state: State,
}

enum State {
    New,
    /// As it stands.
    Plain,
    Decoded(Box<Decoded>),
}

/// A text that is read into UTF-8, block by block.
struct Decoded {
    encoding: Encoding,
    decoder: Option<Decoder>,
    /// The bytes of a character that the end of a block cut.
    cut: Vec<u8>,
    text: Vec<u8>,
    /// The first byte of it that was not left behind.
    from: usize,
    /// Where that is in the whole text.
    position: u64,
    over: bool,
}

impl Text {
    /// From the beginning; `said` is what it is written in where it has no mark.
    pub(crate) fn new(body: Body, said: Option<Encoding>, stop: &Stop) -> Self {
        Self { blocks: Blocks::new(body, stop), said, state: State::New }
    }

    /// What is left of the present block, or the next one; empty at the end.
    ///
    /// # Errors
    /// The item's where its bytes are no text of that encoding.
    pub(crate) fn block(&mut self) -> Result<&[u8], Fault> {
        if let State::New = self.state {
            self.state = self.begin()?;
        }
        match &mut self.state {
            State::New | State::Plain => self.blocks.block(),
            State::Decoded(decoded) => {
                decoded.fill(&mut self.blocks)?;
                Ok(&decoded.text[decoded.from..])
            }
        }
    }

    /// Leaves so many bytes of the block behind.
    pub(crate) fn leave(&mut self, count: usize) {
        match &mut self.state {
            State::New | State::Plain => self.blocks.leave(count),
            State::Decoded(decoded) => {
                decoded.from += count;
                decoded.position += count as u64;
            }
        }
    }

    /// Where the next byte is, of the text as it is given.
    pub(crate) fn position(&self) -> u64 {
        match &self.state {
            State::New | State::Plain => self.blocks.position(),
            State::Decoded(decoded) => decoded.position,
        }
    }

    /// Goes on from there, which lies ahead.
    ///
    /// # Errors
    /// As [`Text::block`].
    pub(crate) fn go_to(&mut self, position: u64) -> Result<(), Fault> {
        self.block()?;
        if let State::Plain = self.state {
            self.blocks.go_to(position);
            return Ok(());
        }
        while self.position() < position {
            let count = self.block()?.len();
            if count == 0 {
                break;
            }
            let left = usize::try_from(position - self.position()).unwrap_or(usize::MAX);
            self.leave(count.min(left));
        }
        Ok(())
    }

    /// Whether all of it can be read: what passes as it stands always can.
    ///
    /// # Errors
    /// As [`Text::block`].
    pub(crate) fn check(mut self) -> Result<(), Fault> {
        loop {
            let count = self.block()?.len();
            if count == 0 || matches!(self.state, State::Plain) {
                return Ok(());
            }
            self.leave(count);
        }
    }

    fn begin(&mut self) -> Result<State, Fault> {
        let first = self.blocks.block()?;
        let encoding = match (Encoding::marked(first), self.said) {
            (None, None) => {
                unmarked(first)?;
                return Ok(State::Plain);
            }
            (Some((Encoding::Table(table), _)), None) if table == encoding_rs::UTF_8 => return Ok(State::Plain),
            // Other bytes may begin as a mark does.
            (Some((marked, length)), None) if !marked.fits(&first[length..]) => return Ok(State::Plain),
            (Some((marked, length)), _) => {
                self.blocks.leave(length);
                marked
            }
            (None, Some(said)) => said,
        };
        let decoder = match encoding {
            Encoding::Table(table) => Some(table.new_decoder_without_bom_handling()),
            Encoding::Utf32 { .. } => None,
        };
        let (cut, text) = (Vec::new(), Vec::new());
        Ok(State::Decoded(Box::new(Decoded { encoding, decoder, cut, text, from: 0, position: 0, over: false })))
    }
}

/// Every second byte is zero: a letter of UTF-16, which would be cut within characters.
fn unmarked(first: &[u8]) -> Result<(), Fault> {
    let zeros = |at: usize| {
        let mut pairs = first.chunks_exact(2).take(8);
        pairs.len() > 1 && pairs.all(|pair| pair[at] == 0 && pair[1 - at] != 0)
    };
    let name = match (zeros(1), zeros(0)) {
        (true, _) => "utf-16le",
        (_, true) => "utf-16be",
        _ => return Ok(()),
    };
    let message = format!("the text seems to be {}, but has no mark that says so", name.to_ascii_uppercase());
    Err(Fault::new(FaultKind::Rejected, "no-mark", message).with_hint(format!("say `encoding: {name}`")))
}

impl Decoded {
    fn fill(&mut self, blocks: &mut Blocks) -> Result<(), Fault> {
        while self.from == self.text.len() && !self.over {
            (self.from, self.over) = (0, false);
            self.text.clear();
            let begin = blocks.position();
            let block = blocks.take_block()?;
            self.over = block.is_empty();
            match &mut self.decoder {
                Some(decoder) => {
                    let most = decoder.max_utf8_buffer_length_without_replacement(block.len());
                    self.text.resize(most.unwrap_or(block.len() * 4 + 16), 0);
                    let (result, read, written) =
                        decoder.decode_to_utf8_without_replacement(&block, &mut self.text, self.over);
                    self.text.truncate(written);
                    match result {
                        DecoderResult::InputEmpty => {}
                        DecoderResult::Malformed(..) | DecoderResult::OutputFull => {
                            return Err(self.no_text(begin + read as u64));
                        }
                    }
                }
                None => self.wide(&block, begin)?,
            }
        }
        Ok(())
    }

    /// Characters of four bytes.
    fn wide(&mut self, block: &[u8], begin: u64) -> Result<(), Fault> {
        let mut bytes = std::mem::take(&mut self.cut);
        bytes.extend_from_slice(block);
        let big = self.encoding == Encoding::Utf32 { big: true };
        let (characters, rest) = bytes.as_chunks::<4>();
        for (n, character) in characters.iter().enumerate() {
            let number = if big { u32::from_be_bytes(*character) } else { u32::from_le_bytes(*character) };
            let Some(character) = char::from_u32(number) else { return Err(self.no_text(begin + 4 * n as u64)) };
            self.text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        if self.over && !rest.is_empty() {
            return Err(self.no_text(begin));
        }
        self.cut = rest.to_vec();
        Ok(())
    }

    fn no_text(&self, at: u64) -> Fault {
        let message = format!("it is not text in {}, near byte {at}", self.encoding.name());
        Fault::new(FaultKind::Rejected, "no-text", message).with_hint(
            "say what it is written in with `encoding`, `windows-1252` for example, or look whether it was cut",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_pass_as_they_stand() {
        let noise = |first: &[u8]| {
            let mut state = 7u64;
            let more = (0..2_000).map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            });
            [first, &more.collect::<Vec<u8>>()].concat()
        };
        for first in [&[0xff, 0xfe][..], &[0xfe, 0xff], &[0, 0, 0xfe, 0xff], &[7, 0, 9, 0, 3, 3], &[0, 7, 0, 9, 3, 3]] {
            let mut text = Text::new(Body::Bytes(noise(first).into()), None, &Stop::default());
            assert!(text.block().unwrap() == noise(first), "{first:?}");
        }
    }
    use crate::blocks::BLOCK;

    fn read(bytes: &[u8], said: Option<&str>) -> Result<String, Fault> {
        let body = Body::Bytes(bytes::Bytes::copy_from_slice(bytes));
        let mut text = Text::new(body, said.map(|name| Encoding::named(name).unwrap()), &Stop::default());
        let mut all = Vec::new();
        loop {
            assert_eq!(text.position(), all.len() as u64);
            let block = text.block()?;
            if block.is_empty() {
                return Ok(String::from_utf8(all).unwrap());
            }
            all.extend_from_slice(block);
            let count = block.len();
            text.leave(count);
        }
    }

    /// A text in some encodings, without a mark.
    fn written(text: &str) -> [(&'static str, Vec<u8>); 4] {
        let utf_16: Vec<u16> = text.encode_utf16().collect();
        [
            ("utf-16le", utf_16.iter().flat_map(|unit| unit.to_le_bytes()).collect()),
            ("utf-16be", utf_16.iter().flat_map(|unit| unit.to_be_bytes()).collect()),
            ("utf-32le", text.chars().flat_map(|character| u32::from(character).to_le_bytes()).collect()),
            ("utf-32be", text.chars().flat_map(|character| u32::from(character).to_be_bytes()).collect()),
        ]
    }

    #[test]
    fn marks_tell_what_a_text_is_written_in() {
        let text = "id,name\r\n1,Zo\u{eb} \u{1F600}\n";
        for ((name, bytes), (_, marked)) in written(text).into_iter().zip(written(&format!("\u{feff}{text}"))) {
            assert_eq!(read(&marked, None).unwrap(), text, "{name}");
            assert_eq!(read(&marked, Some("windows-1252")).unwrap(), text, "a mark says more than a setting");
            assert_eq!(read(&bytes, Some(name)).unwrap(), text, "{name}");
        }
        // UTF-8 stands as it is, and without its mark where a setting has it read.
        let marked = format!("\u{feff}{text}");
        assert_eq!(
            (read(marked.as_bytes(), None).unwrap(), read(marked.as_bytes(), Some("utf-8")).unwrap()),
            (marked.clone(), text.to_owned())
        );
        assert_eq!(read(b"Gr\xf6\xdfe \x80", Some("latin1")).unwrap(), "Größe €");
        assert_eq!(read(b"\x93\xfa\x96{", Some("shift_jis")).unwrap(), "日本");
        assert_eq!((read(b"", None).unwrap(), read(b"\xff\xfe", None).unwrap()), (String::new(), String::new()));
        assert_eq!((Encoding::named("klingon"), Encoding::named("replacement")), (None, None));
    }

    #[test]
    fn characters_may_meet_the_edge_of_a_block() {
        for pad in 0..5 {
            let text = format!("{}{}", "x".repeat(BLOCK / 4 - pad), "\u{1F600}\u{df}".repeat(BLOCK / 3));
            for (name, bytes) in written(&text) {
                assert!(read(&bytes, Some(name)).unwrap() == text, "{name} {pad}");
            }
        }
    }

    #[test]
    fn what_is_no_text_is_told_with_its_place() {
        for (bytes, said, place) in [
            (&b"abc\xffd"[..], Some("utf-8"), "byte 4"),
            (b"\xff\xfea\0\0\xd8b\0", None, "byte"),
            (b"\xff\xfea\0b", None, "byte"),
            (b"\xff\xfe\0\0a\0\0\0\0\0\x11\0", None, "byte 8"),
            (b"\xff\xfe\0\0a\0\0", None, "byte"),
        ] {
            let fault = read(bytes, said).unwrap_err();
            assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::Rejected, "no-text"), "{bytes:?}");
            assert!(fault.message.contains(place) && fault.hint.is_some(), "{fault}");
        }
        for (bytes, name) in [(b"i\0d\0,\0", "utf-16le"), (b"\0i\0d\0,", "utf-16be")] {
            let fault = read(bytes, None).unwrap_err();
            assert_eq!((fault.code.as_str(), fault.hint.unwrap()), ("no-mark", format!("say `encoding: {name}`")));
        }
    }
}
