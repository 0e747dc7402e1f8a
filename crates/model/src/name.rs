//! Item names: Unicode text that gives back, byte for byte, the file name it was made from.
//!
//! A file name on Unix is any bytes without `/` and NUL. What is valid UTF-8 stays as it is; each byte that is not
//! becomes `\xHH`, and a backslash that could be mistaken for such an escape is itself escaped. So ordinary names
//! look ordinary, and no two file names share an item name.

use std::collections::HashMap;

/// The text for the bytes of a file name or of a relative path.
pub fn from_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid();
        for (at, c) in valid.char_indices() {
            if c == '\\' && valid[at + 1..].starts_with('x') {
                out.push_str("\\x5c");
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            // A backslash just before the invalid byte would read as part of an escape only if followed by `x`,
            // and the escape written here begins with its own backslash, so nothing is ambiguous.
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// The inverse of [`from_bytes`]. Text that no file name gave, such as `\x41` or a lone `\xZZ`, is taken as it
/// stands where it is not an escape of a byte.
pub fn to_bytes(name: &str) -> Vec<u8> {
    let bytes = name.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match escape(&bytes[at..]) {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

/// The byte an escape at the beginning of `text` stands for: a backslash or one that is not ASCII. Others are never
/// written by [`from_bytes`], and must not let a name smuggle in a `/` or a NUL.
fn escape(text: &[u8]) -> Option<u8> {
    let &[b'\\', b'x', high, low, ..] = text else { return None };
    let digit = |b: u8| char::from(b).to_digit(16);
    let byte = u8::try_from(digit(high)? * 16 + digit(low)?).ok()?;
    (byte == b'\\' || byte >= 0x80).then_some(byte)
}

/// The name as it can stand on one line of a terminal: control characters, and what would reorder the line, are
/// shown as escapes.
pub fn printable(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        let reorders = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || reorders {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// The part before the last dot, the whole where there is none or it begins the name: `a.tar.gz` gives `a.tar`.
pub fn stem(name: &str) -> &str {
    split(name).0
}

/// The part behind the last dot, without it; empty where there is none.
pub fn extension(name: &str) -> &str {
    split(name).1
}

fn split(name: &str) -> (&str, &str) {
    match name.rsplit_once('.') {
        Some((stem, ext)) if !stem.is_empty() => (stem, ext),
        _ => (name, ""),
    }
}

/// The longest name that [`portable`] gives, in bytes: what file systems take, less room for a number.
const MOST: usize = 240;

/// An item's name as a file name that can be written anywhere: no path, nothing that some system gives a meaning.
pub fn portable(name: &str) -> String {
    let mut safe: String =
        name.chars().map(|c| if c.is_control() || "/\\:*?\"<>|".contains(c) { '_' } else { c }).collect();
    if safe.len() > MOST {
        let (stem, ext) = split(&safe);
        let ext = if ext.is_empty() || ext.len() > MOST / 2 { String::new() } else { format!(".{ext}") };
        let cut = stem.floor_char_boundary(MOST - ext.len());
        safe = format!("{}{ext}", &stem[..cut]);
    }
    if safe.trim_matches(['.', ' ']).is_empty() { "item".to_owned() } else { safe }
}

/// Gives names that can be beside each other in one folder.
#[derive(Debug, Default)]
pub struct Distinct {
    /// Names in lower case, for those who write them where letters are not told apart so, and the last number each got.
    names: HashMap<String, u64>,
}

impl Distinct {
    /// A name that is [`portable`], and that was not given before.
    pub fn take(&mut self, item: &str) -> String {
        let safe = portable(item);
        let key = safe.to_lowercase();
        let Some(last) = self.names.get(&key) else {
            self.names.insert(key, 1);
            return safe;
        };
        let (stem, ext) = split(&safe);
        let mut number = *last;
        loop {
            number += 1;
            let numbered = if ext.is_empty() { format!("{stem}-{number}") } else { format!("{stem}-{number}.{ext}") };
            let other = numbered.to_lowercase();
            if !self.names.contains_key(&other) {
                self.names.insert(other, 1);
                self.names.insert(key, number);
                return numbered;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_names_stay() {
        for name in ["a.csv", "größe 日本.txt", "-rf", "new\nline", "a\\b", "\\", "quote'\"s"] {
            assert_eq!(from_bytes(name.as_bytes()), name);
            assert_eq!(to_bytes(name), name.as_bytes());
        }
    }

    #[test]
    fn odd_bytes_come_back() {
        assert_eq!(from_bytes(b"caf\xe9.txt"), "caf\\xe9.txt");
        assert_eq!(from_bytes(b"\\xe9"), "\\x5cxe9");
        assert_eq!(to_bytes("\\x5cxe9"), b"\\xe9");
        assert_eq!(to_bytes("\\x2f\\x00"), b"\\x2f\\x00", "a slash or NUL can't be smuggled in");
    }

    #[test]
    fn stems_and_extensions() {
        let parts = |name| (stem(name), extension(name));
        assert_eq!(parts("a.tar.gz"), ("a.tar", "gz"));
        assert_eq!(parts(".profile"), (".profile", ""));
        assert_eq!(parts("plain"), ("plain", ""));
        assert_eq!(parts("dot."), ("dot", ""));
    }

    #[test]
    fn names_can_be_beside_each_other() {
        let mut names = Distinct::default();
        let given: Vec<String> = ["a.csv", "A.csv", "a-2.csv", "a.csv", "../x", "..", "c:\\d", ""]
            .into_iter()
            .map(|n| names.take(n))
            .collect();
        assert_eq!(given, ["a.csv", "A-2.csv", "a-2-2.csv", "a-3.csv", ".._x", "item", "c__d", "item-2"]);
        assert!(portable(&format!("{}.csv", "ö".repeat(300))).len() <= MOST);
    }

    #[test]
    fn terminals_are_safe() {
        assert_eq!(printable("a\n\u{1b}[31m\u{202e}b"), "a\\n\\u{1b}[31m\\u{202e}b");
    }

    proptest! {
        #[test]
        fn any_bytes_round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(to_bytes(&from_bytes(&bytes)), bytes);
        }

        #[test]
        fn escapes_round_trip(text in "(\\\\|x|5|c|e|9|a|é){0,12}", odd in proptest::collection::vec(0x80u8.., 0..3)) {
            let mut bytes = text.into_bytes();
            bytes.extend(odd);
            prop_assert_eq!(to_bytes(&from_bytes(&bytes)), bytes);
        }
    }
}
