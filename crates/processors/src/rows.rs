//! Where the rows of a CSV end, by RFC 4180: quoted fields may have line ends in them, and quotes written twice. Also
//! read are rows that end with a CR alone. Bytes are never changed: nothing is unquoted but to compare.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use opendmp_model::diagnostic::codes;
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::kinds::Problem;

use crate::blocks::Blocks;

/// The longest header that is read, in bytes: it is kept in memory.
const MOST_HEADER: usize = 1 << 20;

/// How a UTF-8 text may begin.
pub(crate) const BOM: &[u8] = b"\xef\xbb\xbf";

/// What parts fields, where a flow does not say.
pub(crate) const COMMA: u8 = b',';

/// The delimiter a config says: one ASCII character.
pub(crate) fn delimiter(said: Option<&str>) -> Result<u8, Problem> {
    match said.map(str::as_bytes) {
        None => Ok(COMMA),
        Some(&[byte]) if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n' | 0) => Ok(byte),
        Some(_) => {
            Err(Problem::new("/delimiter", codes::INVALID_CONFIG, "a delimiter is one ASCII character, and no quote")
                .hint("write `;` for example, or `\"\\t\"` for a tab"))
        }
    }
}

/// The rows of a CSV, one after the other.
pub(crate) struct Rows {
    blocks: Blocks,
    reader: Reader,
    /// Fields that nobody looks at are written here, over and over.
    fields: Vec<u8>,
    ends: Vec<usize>,
    /// How many were read, the header among them.
    read: u64,
}

impl Rows {
    pub(crate) fn new(blocks: Blocks, delimiter: u8) -> Self {
        let reader = reader(delimiter);
        Self { blocks, reader, fields: vec![0; 8 << 10], ends: vec![0; 256], read: 0 }
    }

    /// Gives the bytes of the next row to `put`, its line end and blank lines behind it included; false at the end.
    ///
    /// # Errors
    /// Those of `put`, and the item's where a quote is never closed.
    pub(crate) fn next(&mut self, mut put: impl FnMut(&[u8]) -> Result<(), Fault>) -> Result<bool, Fault> {
        let line = self.reader.line();
        let mut begun = false;
        loop {
            let start = self.blocks.position() == 0;
            let block = self.blocks.block()?;
            if block.is_empty() {
                // As if a line end came: a row that does not end with it is within quotes.
                if begun && !scan(&mut self.reader, b"\n", &mut self.fields, &mut self.ends).1 {
                    return Err(unclosed(self.read + 1, line));
                }
                self.read += u64::from(begun);
                return Ok(begun);
            }
            let (count, ended) = scan(&mut self.reader, block, &mut self.fields, &mut self.ends);
            let text = block[..count].strip_prefix(BOM).filter(|_| start).unwrap_or(&block[..count]);
            begun = begun || text.iter().any(|byte| !matches!(byte, b'\r' | b'\n'));
            put(&block[..count])?;
            self.blocks.leave(count);
            if ended {
                self.read += 1;
                self.blank_lines(put)?;
                return Ok(true);
            }
        }
    }

    /// What is left of a line end, and line ends behind it.
    fn blank_lines(&mut self, mut put: impl FnMut(&[u8]) -> Result<(), Fault>) -> Result<(), Fault> {
        loop {
            let block = self.blocks.block()?;
            let count = block.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            if count == 0 {
                return Ok(());
            }
            // The reader counts lines, and gives no row for them.
            scan(&mut self.reader, &block[..count], &mut self.fields, &mut self.ends);
            put(&block[..count])?;
            self.blocks.leave(count);
        }
    }

    /// The first row, kept.
    ///
    /// # Errors
    /// As [`Rows::next`], and the item's where it is too long.
    pub(crate) fn header(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        let mut header = Vec::new();
        let there = self.next(|bytes| {
            header.extend_from_slice(bytes);
            if header.len() > MOST_HEADER {
                let message = format!("the first row is longer than {} MiB", MOST_HEADER >> 20);
                let fault = Fault::new(FaultKind::Rejected, "header-too-long", message);
                return Err(fault.with_hint("is it CSV? lines may end within quotes only"));
            }
            Ok(())
        })?;
        Ok(there.then_some(header))
    }

    /// Where the next row begins, in bytes.
    pub(crate) fn position(&self) -> u64 {
        self.blocks.position()
    }
}

/// The fields of a row, unquoted.
pub(crate) fn fields(row: &[u8], delimiter: u8) -> Vec<Vec<u8>> {
    let (mut reader, mut text, mut ends) = (reader(delimiter), vec![0; row.len() + 1], vec![0; row.len() + 2]);
    let (_, read, written, mut count) = reader.read_record(row, &mut text, &mut ends);
    if read == row.len() {
        count += reader.read_record(b"", &mut text[written..], &mut ends[count..]).3;
    }
    let begins = std::iter::once(0).chain(ends.iter().copied());
    begins.zip(&ends[..count]).map(|(begin, end)| text.get(begin..*end).unwrap_or_default().to_vec()).collect()
}

fn reader(delimiter: u8) -> Reader {
    ReaderBuilder::new().delimiter(delimiter).build()
}

/// How many of the bytes belong to the present row, and whether it ends there.
fn scan(reader: &mut Reader, bytes: &[u8], fields: &mut [u8], ends: &mut [usize]) -> (usize, bool) {
    let mut at = 0;
    while at < bytes.len() {
        let (result, read, ..) = reader.read_record(&bytes[at..], fields, ends);
        at += read;
        match result {
            ReadRecordResult::Record => return (at, true),
            ReadRecordResult::InputEmpty | ReadRecordResult::End => break,
            // Nobody looks at the fields.
            ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {}
        }
    }
    (at, false)
}

fn unclosed(row: u64, line: u64) -> Fault {
    let message = format!("row {row}, which begins in line {line}, has a quote that is never closed");
    Fault::new(FaultKind::Rejected, "open-quote", message)
        .with_hint("look whether the end of the file is missing, or a quote within a field was not written twice")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::{BLOCK, Stop};
    use opendmp_processor::Body;

    fn rows(text: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
        let body = Body::Bytes(bytes::Bytes::copy_from_slice(text));
        let mut rows = Rows::new(Blocks::new(body, &Stop::default()), COMMA);
        let mut all = Vec::new();
        loop {
            let mut row = Vec::new();
            let there = rows.next(|bytes| {
                row.extend_from_slice(bytes);
                Ok(())
            })?;
            if !there {
                assert_eq!(rows.position(), text.len() as u64);
                return Ok(all);
            }
            all.push(row);
        }
    }

    #[test]
    fn rows_keep_their_bytes() {
        for (text, expected) in [
            ("", &[][..]),
            ("\r\n\n", &[]),
            ("\u{feff}", &[]),
            ("a,b\n1,2", &["a,b\n", "1,2"]),
            ("a\r\nb\r\n", &["a\r\n", "b\r\n"]),
            ("a\rb\r", &["a\r", "b\r"]),
            ("\u{feff}\"a\nb\",c\nd\n", &["\u{feff}\"a\nb\",c\n", "d\n"]),
            ("\"a\r\n\"\"b\"\"\",c\nd", &["\"a\r\n\"\"b\"\"\",c\n", "d"]),
            ("a\n\n\r\nb\n\n", &["a\n\n\r\n", "b\n\n"]),
            ("\n\na\n", &["\n\na\n"]),
            ("a\"b\nc\n", &["a\"b\n", "c\n"]),
            ("\"\"\n\"a\"", &["\"\"\n", "\"a\""]),
            (",\n,", &[",\n", ","]),
        ] {
            let got = rows(text.as_bytes()).unwrap();
            assert_eq!(got, expected.iter().map(|row| row.as_bytes().to_vec()).collect::<Vec<_>>(), "{text:?}");
        }
    }

    #[test]
    fn a_quote_that_is_never_closed_is_told_with_its_place() {
        let fault = rows(b"a,b\n\"x\ny\",2\n3,\"4\n5\n").unwrap_err();
        assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::Rejected, "open-quote"));
        assert!(fault.message.contains("row 3, which begins in line 4"), "{fault}");
    }

    #[test]
    fn rows_may_end_anywhere_around_the_edge_of_a_block() {
        for size in BLOCK - 4..BLOCK + 4 {
            for end in ["\n", "\r\n", "\r", "\n\n"] {
                let first = format!("\"{}\"{end}", "x\n".repeat(size / 2));
                let text = format!("{first}b{end}c");
                let got = rows(text.as_bytes()).unwrap();
                assert!(got == [first.as_bytes(), format!("b{end}").as_bytes(), b"c"], "{size} {end:?}");
            }
        }
    }

    #[test]
    fn fields_are_unquoted_to_compare() {
        let text = |row: &str| -> Vec<String> {
            fields(row.as_bytes(), COMMA).into_iter().map(|field| String::from_utf8(field).unwrap()).collect()
        };
        assert_eq!(text("\u{feff}a,\"b \"\"c\"\"\",\n"), ["a", "b \"c\"", ""]);
        assert_eq!(text("a,b"), text("\"a\",\"b\"\r\n\r\n"));
        assert_eq!(text("a,"), ["a", ""]);
    }

    #[test]
    fn delimiters_are_one_character() {
        assert_eq!(delimiter(None).unwrap(), b',');
        assert_eq!(delimiter(Some("\t")).unwrap(), b'\t');
        for bad in ["", ";;", "\"", "\n", "ö"] {
            assert!(delimiter(Some(bad)).unwrap_err().hint.is_some(), "{bad}");
        }
    }
}
