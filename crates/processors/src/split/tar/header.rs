//! The headers of members: a record of 512 bytes, and what those of pax say beside it.

/// A record whose checksum is right.
pub(super) struct Header([u8; 512]);

/// What a member is.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    File,
    /// Of a type that none of the formats has. POSIX says to take it as a file.
    Unknown(u8),
    /// A file with holes, as GNU writes it.
    Sparse,
    Folder,
    HardLink,
    Link,
    Device,
    /// What a program wrote for itself, and is no member: labels, lists, rights.
    About,
    /// The rest of a file whose beginning is in another archive.
    Rest,
}

impl Header {
    /// `None` where the checksum differs.
    pub(super) fn read(record: [u8; 512]) -> Option<Self> {
        let said = number(&record[148..156])?;
        // The checksum itself counts as blanks. Some old programs took bytes as signed numbers.
        let blanks = 8 * u64::from(b' ');
        let rest = || record[..148].iter().chain(&record[156..]);
        let sum = blanks + rest().map(|byte| u64::from(*byte)).sum::<u64>();
        let signed = blanks.cast_signed() + rest().map(|byte| i64::from(byte.cast_signed())).sum::<i64>();
        (said == sum || i64::try_from(said) == Ok(signed)).then_some(Self(record))
    }

    /// The type, as it is written.
    pub(super) fn sort(&self) -> u8 {
        self.0[156]
    }

    pub(super) fn kind(&self) -> Kind {
        match self.sort() {
            b'0' | 0 | b'7' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Link,
            b'3' | b'4' | b'6' => Kind::Device,
            b'5' => Kind::Folder,
            b'S' => Kind::Sparse,
            b'M' => Kind::Rest,
            // GNU: folders with lists of what was in them, volume labels, long names of old. Solaris and star: rights,
            // attributes, inodes.
            b'D' | b'V' | b'N' | b'A' | b'E' | b'I' => Kind::About,
            other => Kind::Unknown(other),
        }
    }

    /// `None` where that is no number.
    pub(super) fn size(&self) -> Option<u64> {
        number(&self.0[124..136])
    }

    pub(super) fn path(&self) -> Vec<u8> {
        let (name, prefix) = (until_zero(&self.0[..100]), until_zero(&self.0[345..500]));
        // Where POSIX has the beginning of long paths, GNU has times, and what came before has nothing.
        let posix = self.0[257..].starts_with(b"ustar") && self.0[262] != b' ';
        match posix && !prefix.is_empty() {
            true => [prefix, b"/", name].concat(),
            false => name.to_vec(),
        }
    }

    pub(super) fn link(&self) -> &[u8] {
        until_zero(&self.0[157..257])
    }
}

pub(super) fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Octal digits with blanks around them, or, as GNU writes large ones, bytes behind one whose first bit is set.
fn number(field: &[u8]) -> Option<u64> {
    if let [0x80, rest @ ..] = field {
        let (high, low) = rest.split_at(rest.len().saturating_sub(8));
        let wide = low.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        return high.iter().all(|byte| *byte == 0).then_some(wide);
    }
    let digits = until_zero(field).trim_ascii();
    digits.iter().try_fold(0u64, |number, digit| match digit {
        b'0'..=b'7' => number.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// What is taken of pax headers.
#[derive(Default)]
pub(super) struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    /// They tell of a sparse file.
    pub sparse: bool,
}

impl Pax {
    /// Adds records, `LENGTH KEY=VALUE` and a line end each. Values may have any bytes in them, line ends too: the length
    /// tells. An empty value takes back what was said before. `None` where they can't be read.
    pub(super) fn add(&mut self, mut text: &[u8]) -> Option<()> {
        while !text.is_empty() && text[0] != 0 {
            let digits = text.iter().position(|byte| *byte == b' ')?;
            let length: usize = std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
            let record = text.get(digits + 1..length)?.strip_suffix(b"\n")?;
            let (key, value) = record.split_at(record.iter().position(|byte| *byte == b'=')?);
            let value = &value[1..];
            let said = || (!value.is_empty()).then(|| value.to_vec());
            match key {
                b"path" => self.path = said(),
                b"linkpath" => self.link = said(),
                b"size" if value.is_empty() => self.size = None,
                b"size" => self.size = Some(std::str::from_utf8(value).ok()?.parse().ok()?),
                _ => self.sparse = self.sparse || key.starts_with(b"GNU.sparse."),
            }
            text = &text[length..];
        }
        Some(())
    }
}
