//! Where the rows of a CSV end, by RFC 4180: quoted fields may have line ends in them, and quotes written twice. Also
//! read are rows that end with a CR alone. Bytes are never changed: nothing is unquoted but to compare.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use opendmp_model::diagnostic::codes;
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::kinds::Problem;

use crate::text::{Encoding, Text};

/// The longest header that is read, in bytes: it is kept in memory.
const MOST_HEADER: usize = 1 << 20;

/// How a UTF-8 text may begin.
pub(crate) const BOM: &[u8] = b"\xef\xbb\xbf";

/// What parts fields, where a flow does not say.
const COMMA: u8 = b',';

/// What fields are within that have delimiters or line ends in them, where a flow does not say.
const QUOTE: u8 = b'"';

/// What may part fields where a flow says `auto`, the likeliest first.
const CANDIDATES: [u8; 4] = [COMMA, b';', b'\t', b'|'];

/// So much of a text, and so many of its rows, are looked at to tell what parts its fields.
const LOOKED_AT: usize = 64 << 10;
const ROWS_LOOKED_AT: usize = 50;

/// How a text is read, and a CSV in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Settings {
    pub encoding: Option<Encoding>,
    /// `None`: to be told by the text.
    delimiter: Option<u8>,
    /// `None`: fields are not quoted.
    quote: Option<u8>,
    escape: Option<u8>,
    ragged: bool,
}

/// The keys of a config that say how a text is read.
pub(crate) struct Said<'a> {
    pub encoding: Option<&'a str>,
    pub delimiter: Option<&'a str>,
    pub quote: Option<&'a str>,
    pub escape: Option<&'a str>,
    pub ragged: bool,
}

impl Said<'_> {
    /// What they mean; `text` and `csv` say of which they may be.
    pub(crate) fn settings(&self, text: bool, csv: bool) -> Result<Settings, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, message: &str, hint: &str| {
            problems.push(Problem::new(format!("/{key}"), codes::INVALID_CONFIG, message).hint(hint));
        };
        let keys = [("delimiter", self.delimiter), ("quote", self.quote), ("escape", self.escape)];
        if !csv {
            for (key, _) in keys.iter().filter(|(_, said)| said.is_some()) {
                wrong(key, &format!("only CSV has a {key}"), "remove it");
            }
            if self.ragged {
                wrong("ragged", "only CSV has fields to be counted", "remove it");
            }
        }
        if self.encoding.is_some() && !text {
            wrong("encoding", "only lines and CSV are read as text", "remove it");
        }
        let encoding = self.encoding.and_then(|name| {
            let found = Encoding::named(name);
            if found.is_none() {
                let hint = "write `windows-1252`, `utf-16le` or `shift_jis`, for example: a name that browsers know";
                wrong("encoding", &format!("there is no encoding `{name}`"), hint);
            }
            found
        });
        let mut character = |key: &str, said: Option<&str>, usual: Option<u8>, none: &str, hint: &str| match said {
            None => usual,
            Some(word) if word == none => None,
            Some(other) => match other.as_bytes() {
                &[byte] if byte.is_ascii() && !matches!(byte, b'\r' | b'\n' | 0) => Some(byte),
                _ => {
                    wrong(key, &format!("a {key} is one ASCII character"), hint);
                    usual
                }
            },
        };
        let hint = "write `;` for example, or `\"\\t\"` for a tab, or `auto`";
        let delimiter = character("delimiter", self.delimiter, Some(COMMA), "auto", hint);
        let quote = character("quote", self.quote, Some(QUOTE), "none", "write `\"'\"`, for example, or `none`");
        let escape = character("escape", self.escape, None, "none", "write `\"\\\\\"`, for example, or `none`");
        let all = [delimiter, quote, escape];
        if csv && (0..3).any(|n| all[n].is_some() && all[..n].contains(&all[n])) {
            let key =
                if escape.is_some_and(|escape| all[..2].contains(&Some(escape))) { "escape" } else { "delimiter" };
            let hint = "write another one; quotes within quoted fields are written twice where nothing is said";
            wrong(key, "delimiter, quote and escape are different characters", hint);
        }
        match problems.is_empty() {
            true => Ok(Settings { encoding, delimiter, quote, escape, ragged: self.ragged }),
            false => Err(problems),
        }
    }
}

impl Settings {
    fn reader(&self, delimiter: u8) -> Reader {
        let mut builder = ReaderBuilder::new();
        builder.delimiter(delimiter).escape(self.escape);
        match self.quote {
            Some(quote) => builder.quote(quote).build(),
            None => builder.quoting(false).build(),
        }
    }

    /// What parts the fields of a text that begins so: what gives most of them, the same number in each row.
    fn guess(&self, sample: &[u8]) -> u8 {
        let sample = &sample[..sample.len().min(LOOKED_AT)];
        let score = |delimiter: u8| {
            let (mut reader, mut at, mut counts) = (self.reader(delimiter), 0, Vec::new());
            let (mut fields, mut ends) = (vec![0; 8 << 10], vec![0; 256]);
            while at < sample.len() && counts.len() < ROWS_LOOKED_AT {
                let (read, ended, count) = scan(&mut reader, &sample[at..], &mut fields, &mut ends);
                at += read;
                // The last row may be cut.
                if ended || counts.is_empty() {
                    counts.push(count + usize::from(!ended));
                }
            }
            let first = counts.first().copied().unwrap_or(0);
            let same = counts.iter().all(|count| *count == first);
            (first > 1 && same, if first > 1 { first } else { 0 })
        };
        let best = CANDIDATES.iter().rev().max_by_key(|candidate| score(**candidate));
        best.copied().unwrap_or(COMMA)
    }
}

/// The first line where it says what parts fields, `sep=;`: what it says, and how long it is, mark and line end included.
/// Excel writes and reads it.
fn sep_line(text: &[u8]) -> Option<(u8, usize)> {
    let line = text.strip_prefix(BOM).unwrap_or(text);
    let line = &line[..line.len().min(16)];
    let end = memchr::memchr2(b'\n', b'\r', line).unwrap_or(line.len());
    let said = line[..end].strip_prefix(b"\"").and_then(|said| said.strip_suffix(b"\"")).unwrap_or(&line[..end]);
    let ended = if line[end..].starts_with(b"\r\n") { 2 } else { usize::from(end < line.len()) };
    match said {
        [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', delimiter] if delimiter.is_ascii() && *delimiter != QUOTE => {
            Some((*delimiter, text.len() - text.strip_prefix(BOM).unwrap_or(text).len() + end + ended))
        }
        _ => None,
    }
}

/// The rows of a CSV, one after the other.
pub(crate) struct Rows {
    text: Text,
    settings: Settings,
    reader: Reader,
    delimiter: u8,
    /// Where the header begins; `None` before anything was read.
    begin: Option<u64>,
    /// Lines before it, of which the reader knows nothing.
    before: u64,
    /// How many fields the header has.
    expected: Option<usize>,
    /// Fields that nobody looks at are written here, over and over.
    fields: Vec<u8>,
    ends: Vec<usize>,
    /// How many were read, the header among them.
    read: u64,
}

impl Rows {
    pub(crate) fn new(text: Text, settings: Settings) -> Self {
        let delimiter = settings.delimiter.unwrap_or(COMMA);
        Self {
            text,
            settings,
            reader: settings.reader(delimiter),
            delimiter,
            begin: None,
            before: 0,
            expected: None,
            fields: vec![0; 8 << 10],
            ends: vec![0; 256],
            read: 0,
        }
    }

    /// What the text itself says of how it is read counts before what a flow says.
    fn begin(&mut self) -> Result<(), Fault> {
        let first = self.text.block()?;
        if let Some((delimiter, length)) = sep_line(first) {
            self.delimiter = delimiter;
            self.before = 1;
            self.text.leave(length);
        } else if self.settings.delimiter.is_none() {
            self.delimiter = self.settings.guess(first);
        }
        self.reader = self.settings.reader(self.delimiter);
        self.begin = Some(self.text.position());
        Ok(())
    }

    /// Gives the bytes of the next row to `put`, its line end and blank lines behind it included; false at the end.
    ///
    /// # Errors
    /// Those of `put`, and the item's where a quote is never closed, or a row has not as many fields as the header.
    pub(crate) fn next(&mut self, mut put: impl FnMut(&[u8]) -> Result<(), Fault>) -> Result<bool, Fault> {
        if self.begin.is_none() {
            self.begin()?;
        }
        let line = self.reader.line() + self.before;
        let (mut begun, mut fields) = (false, 0);
        loop {
            let start = self.text.position() == 0;
            let block = self.text.block()?;
            if block.is_empty() {
                if begun {
                    // As if a line end came: a row that does not end with it is within quotes.
                    let (_, ended, more) = scan(&mut self.reader, b"\n", &mut self.fields, &mut self.ends);
                    if !ended {
                        return Err(unclosed(self.read + 1, line));
                    }
                    self.ended(fields + more, line)?;
                }
                return Ok(begun);
            }
            let (count, ended, more) = scan(&mut self.reader, block, &mut self.fields, &mut self.ends);
            fields += more;
            let text = block[..count].strip_prefix(BOM).filter(|_| start).unwrap_or(&block[..count]);
            begun = begun || text.iter().any(|byte| !matches!(byte, b'\r' | b'\n'));
            put(&block[..count])?;
            self.text.leave(count);
            if ended {
                self.ended(fields, line)?;
                self.blank_lines(put)?;
                return Ok(true);
            }
        }
    }

    /// A row of so many fields was read, which began in that line.
    fn ended(&mut self, fields: usize, line: u64) -> Result<(), Fault> {
        self.read += 1;
        let expected = *self.expected.get_or_insert(fields);
        if fields == expected || self.settings.ragged {
            return Ok(());
        }
        Err(other_count(self.read, line, fields, expected, self.delimiter))
    }

    /// What is left of a line end, and line ends behind it.
    fn blank_lines(&mut self, mut put: impl FnMut(&[u8]) -> Result<(), Fault>) -> Result<(), Fault> {
        loop {
            let block = self.text.block()?;
            let count = block.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            if count == 0 {
                return Ok(());
            }
            // The reader counts lines, and gives no row for them.
            scan(&mut self.reader, &block[..count], &mut self.fields, &mut self.ends);
            put(&block[..count])?;
            self.text.leave(count);
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

    /// Where the header begins and where the next row does, in bytes of the text.
    pub(crate) fn positions(&self) -> (u64, u64) {
        (self.begin.unwrap_or(0), self.text.position())
    }

    /// What parts fields.
    pub(crate) fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// The fields of a row, unquoted.
    pub(crate) fn fields_of(&self, row: &[u8]) -> Vec<Vec<u8>> {
        fields(row, self.settings.reader(self.delimiter))
    }
}

fn fields(row: &[u8], mut reader: Reader) -> Vec<Vec<u8>> {
    let (mut text, mut ends) = (vec![0; row.len() + 1], vec![0; row.len() + 2]);
    let (_, read, written, mut count) = reader.read_record(row, &mut text, &mut ends);
    if read == row.len() {
        count += reader.read_record(b"", &mut text[written..], &mut ends[count..]).3;
    }
    let begins = std::iter::once(0).chain(ends.iter().copied());
    begins.zip(&ends[..count]).map(|(begin, end)| text.get(begin..*end).unwrap_or_default().to_vec()).collect()
}

/// How many of the bytes belong to the present row, whether it ends there, and how many fields ended in them.
fn scan(reader: &mut Reader, bytes: &[u8], fields: &mut [u8], ends: &mut [usize]) -> (usize, bool, usize) {
    let (mut at, mut count) = (0, 0);
    while at < bytes.len() {
        let (result, read, _, more) = reader.read_record(&bytes[at..], fields, ends);
        at += read;
        count += more;
        match result {
            ReadRecordResult::Record => return (at, true, count),
            ReadRecordResult::InputEmpty | ReadRecordResult::End => break,
            // Nobody looks at the fields.
            ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {}
        }
    }
    (at, false, count)
}

fn other_count(row: u64, line: u64, fields: usize, expected: usize, delimiter: u8) -> Fault {
    let counted = |count: usize| if count == 1 { "1 field".to_owned() } else { format!("{count} fields") };
    let (has, header) = (counted(fields), counted(expected));
    let message = format!("row {row}, which begins in line {line}, has {has}, and the header has {header}");
    let parted = char::from(delimiter).escape_default();
    let hint = format!(
        "look there for a quote or a `{parted}` that should not be one; say `delimiter`, `quote` or `escape` if the file is \
         written otherwise, or `ragged: true` if rows may differ"
    );
    Fault::new(FaultKind::Rejected, "other-field-count", message).with_hint(hint)
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

    const NOTHING: Said<'static> = Said { encoding: None, delimiter: None, quote: None, escape: None, ragged: false };
    use opendmp_processor::Body;

    fn rows(text: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
        rows_of(text, &NOTHING)
    }

    fn rows_of(text: &[u8], said: &Said<'_>) -> Result<Vec<Vec<u8>>, Fault> {
        let body = Body::Bytes(bytes::Bytes::copy_from_slice(text));
        let settings = said.settings(true, true).unwrap();
        let mut rows = Rows::new(Text::new(body, settings.encoding, &Stop::default()), settings);
        let mut all = Vec::new();
        loop {
            let mut row = Vec::new();
            let there = rows.next(|bytes| {
                row.extend_from_slice(bytes);
                Ok(())
            })?;
            if !there {
                if settings.encoding.is_none() {
                    assert_eq!(rows.positions().1, text.len() as u64);
                }
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
            let got = rows_of(text.as_bytes(), &Said { ragged: true, ..NOTHING }).unwrap();
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
            fields(row.as_bytes(), NOTHING.settings(true, true).unwrap().reader(COMMA))
                .into_iter()
                .map(|field| String::from_utf8(field).unwrap())
                .collect()
        };
        assert_eq!(text("\u{feff}a,\"b \"\"c\"\"\",\n"), ["a", "b \"c\"", ""]);
        assert_eq!(text("a,b"), text("\"a\",\"b\"\r\n\r\n"));
        assert_eq!(text("a,"), ["a", ""]);
    }

    #[test]
    fn settings_are_one_character_each_and_differ() {
        let good = |said: Said<'_>| said.settings(true, true).unwrap();
        assert_eq!(good(NOTHING).delimiter, Some(b','));
        assert_eq!(good(Said { delimiter: Some("\t"), ..NOTHING }).delimiter, Some(b'\t'));
        assert_eq!(good(Said { delimiter: Some("auto"), quote: Some("none"), ..NOTHING }).quote, None);
        for bad in ["", ";;", "\"", "\n", "ö"] {
            for said in [Said { delimiter: Some(bad), ..NOTHING }, Said { escape: Some(bad), ..NOTHING }] {
                let problems = said.settings(true, true).unwrap_err();
                assert!(problems.len() == 1 && problems[0].hint.is_some(), "{bad}");
            }
        }
        let all =
            Said { encoding: Some("x"), delimiter: Some(";"), quote: Some("'"), escape: Some("\\"), ragged: true };
        assert_eq!(all.settings(false, false).unwrap_err().len(), 6);
    }

    #[test]
    fn the_first_line_may_say_what_parts_fields() {
        let expected = ["id;name\n", "1;\"a;b\"\n"].map(|row| row.as_bytes().to_vec());
        for first in ["sep=;\n", "sep=;\r\n", "SEP=;\r", "\"sep=;\"\n", "\u{feff}sep=;\n"] {
            for delimiter in [None, Some(";"), Some("auto"), Some(",")] {
                let text = format!("{first}id;name\n1;\"a;b\"\n");
                let got = rows_of(text.as_bytes(), &Said { delimiter, ..NOTHING }).unwrap();
                assert_eq!(got, expected, "{first:?}");
            }
        }
        assert_eq!(
            rows(b"sep=;\nid;n\n1;2\n3;4;5\n").unwrap_err().message.split(" has").next().unwrap(),
            "row 3, which begins in line 4,"
        );
        // A header of that name, or what is no delimiter.
        for header in ["sep=,b\n", "sep=\n", "sep\n", "xsep=;\n"] {
            assert_eq!(rows(header.as_bytes()).unwrap(), [header.as_bytes()]);
        }
    }

    #[test]
    fn what_parts_fields_is_told_by_the_text() {
        let auto = Said { delimiter: Some("auto"), ..NOTHING };
        for (text, count) in [
            ("a,b;c,d\n1,2,3\n", 2),
            ("a;b\n1,5;2,5\n3,5;4,5\n", 3),
            ("a\tb\tc\n1\t\"x\ty\nz\"\t3\n", 2),
            ("a|b\n1,2|3\n", 2),
            ("one\n1\n2\n", 3),
            ("\"a;x\",b\n\"1;\n2\",3\n", 2),
            ("a;b", 1),
            ("", 0),
        ] {
            let got = rows_of(text.as_bytes(), &auto);
            assert_eq!(got.map(|rows| rows.len()).unwrap_or(9), count, "{text:?}");
        }
    }

    #[test]
    fn a_row_that_does_not_fit_the_header_is_told_with_its_place() {
        // Two quotes astray make one field of the rows between them.
        let stray = b"id,text\n1,a\n2,\"b\n3,c\n4,d\"\n5,e,f\n";
        let fault = rows(stray).unwrap_err();
        assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::Rejected, "other-field-count"));
        assert!(
            fault.message.contains("row 4, which begins in line 6, has 3 fields, and the header has 2 fields"),
            "{fault}"
        );
        for text in ["a,b\n1\n", "a,b\n1,2,\n", "a,b\n\"x;y,z\"\n", "a;b\n1;\"x,\ny\",2\n", "a\n1,2"] {
            let fault = rows(text.as_bytes()).unwrap_err();
            assert!(fault.code == "other-field-count" && fault.hint.unwrap().contains("ragged"), "{text:?}");
            let ragged = Said { ragged: true, ..NOTHING };
            assert_eq!(rows_of(text.as_bytes(), &ragged).unwrap().concat(), text.as_bytes());
        }
        // More fields than are kept at once.
        let wide = ["x"; 1_000].join(",");
        assert_eq!(rows(format!("{wide}\n{wide}\n{wide}").as_bytes()).unwrap().len(), 3);
        assert!(rows(format!("{wide}\n{wide},y\n").as_bytes()).unwrap_err().message.contains("1001 fields"));
    }

    #[test]
    fn quotes_and_escapes_are_those_that_are_said() {
        let backslash = Said { escape: Some("\\"), ..NOTHING };
        assert_eq!(rows_of(b"a,b\n1,\"x\\\",\ny\"\n", &backslash).unwrap().len(), 2);
        let single = Said { quote: Some("'"), delimiter: Some(";"), ..NOTHING };
        assert_eq!(rows_of(b"a;b\n'1;\n2';\"\n", &single).unwrap().len(), 2);
        let none = Said { quote: Some("none"), ..NOTHING };
        assert_eq!(rows_of(b"a,b\n\"1,2\n3,4\"\n", &none).unwrap().len(), 3);
    }
}
