//! The format of a pack file: a header, then records one behind the other. Frozen by `tests/golden/pack-v1.hex`.
//!
//! ```text
//! pack    "ODMPPACK"  version u32  number u64  check 4        24 bytes
//! record  "ODR" 1  flags u32  length u32  hash 32  check 4    48 bytes, then `length` bytes of content
//! ```
//! Numbers are little-endian; `hash` is BLAKE3 of the content; a check is the first 4 bytes of BLAKE3 over the header
//! before it. Nothing is aligned, and nothing in a record depends on where it stands.

use opendmp_model::ids::ContentHash;

/// Bytes of the header of a pack.
pub const PACK_HEADER: usize = 24;
/// Bytes of the header of a record.
pub const RECORD_HEADER: usize = 48;

const PACK_MAGIC: &[u8; 8] = b"ODMPPACK";
const PACK_VERSION: u32 = 1;
const RECORD_MAGIC: &[u8; 4] = b"ODR\x01";

/// Why bytes are not the header that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// They were changed, or are something else.
    Damaged(&'static str),
    /// They are of a later format.
    Newer,
}

fn check(bytes: &[u8]) -> [u8; 4] {
    let hash = blake3::hash(bytes);
    let [a, b, c, d, ..] = *hash.as_bytes();
    [a, b, c, d]
}

/// The header of pack `number`.
pub fn pack_header(number: u64) -> [u8; PACK_HEADER] {
    let mut out = [0; PACK_HEADER];
    out[..8].copy_from_slice(PACK_MAGIC);
    out[8..12].copy_from_slice(&PACK_VERSION.to_le_bytes());
    out[12..20].copy_from_slice(&number.to_le_bytes());
    let check = check(&out[..20]);
    out[20..].copy_from_slice(&check);
    out
}

/// Checks that `header` begins pack `number` in a format that can be read here.
pub fn check_pack(header: &[u8; PACK_HEADER], number: u64) -> Result<(), Wrong> {
    if header[..8] != *PACK_MAGIC || header[20..] != check(&header[..20]) {
        return Err(Wrong::Damaged("the header of its pack is damaged"));
    }
    // The check is of every version's header, so that a flipped bit does not look like a newer version.
    if header[8..12] != PACK_VERSION.to_le_bytes() {
        return Err(Wrong::Newer);
    }
    if header[12..20] != number.to_le_bytes() {
        return Err(Wrong::Damaged("its pack is another one"));
    }
    Ok(())
}

/// The header of a record of content with this hash and length.
pub fn record_header(hash: ContentHash, length: u32) -> [u8; RECORD_HEADER] {
    let mut out = [0; RECORD_HEADER];
    out[..4].copy_from_slice(RECORD_MAGIC);
    out[8..12].copy_from_slice(&length.to_le_bytes());
    out[12..44].copy_from_slice(&hash.0);
    let check = check(&out[..44]);
    out[44..].copy_from_slice(&check);
    out
}

/// Appends a record to `out`.
pub fn append(out: &mut Vec<u8>, hash: ContentHash, content: &[u8]) {
    debug_assert!(content.len() as u64 <= opendmp_ports::content::SMALL);
    out.extend_from_slice(&record_header(hash, content.len() as u32));
    out.extend_from_slice(content);
}

/// What a header of a record begins with, in every version.
pub const RECORD_BEGIN: &[u8] = RECORD_MAGIC.split_at(3).0;

/// The hash and length that a header of a record tells.
pub fn read_header(header: &[u8; RECORD_HEADER]) -> Result<(ContentHash, u32), Wrong> {
    if header[44..] != check(&header[..44]) || header[..3] != *RECORD_BEGIN {
        return Err(Wrong::Damaged("there is no record in its place"));
    }
    if header[3] != RECORD_MAGIC[3] || header[4..8] != [0; 4] {
        return Err(Wrong::Newer);
    }
    let (mut hash, mut length) = ([0; 32], [0; 4]);
    hash.copy_from_slice(&header[12..44]);
    length.copy_from_slice(&header[8..12]);
    Ok((ContentHash(hash), u32::from_le_bytes(length)))
}

/// The content in `record`, a whole record, if it is of this hash.
pub fn content(record: &[u8], hash: ContentHash) -> Result<&[u8], Wrong> {
    let Some((header, content)) = record.split_first_chunk::<RECORD_HEADER>() else {
        return Err(Wrong::Damaged("it is cut short"));
    };
    if read_header(header)? != (hash, content.len() as u32) {
        return Err(Wrong::Damaged("another record is in its place"));
    }
    if ContentHash::of(content) != hash {
        return Err(Wrong::Damaged("its hash is wrong"));
    }
    Ok(content)
}

/// The same of a record that has not left memory since [`append`] wrote it from what was hashed: only that it is this one
/// is looked at.
pub fn content_at_hand(record: &[u8], hash: ContentHash) -> Result<&[u8], Wrong> {
    match record.split_first_chunk::<RECORD_HEADER>() {
        Some((header, content))
            if header[12..44] == hash.0 && header[8..12] == (content.len() as u32).to_le_bytes() =>
        {
            Ok(content)
        }
        _ => Err(Wrong::Damaged("another record is in its place")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Vec<u8>, ContentHash) {
        let hash = ContentHash::of(b"shout");
        let mut out = Vec::new();
        append(&mut out, hash, b"shout");
        (out, hash)
    }

    #[test]
    fn the_pack_format_is_frozen() {
        let mut pack = pack_header(7).to_vec();
        for content in [b"shout".as_slice(), b"", &[0xa5; 300]] {
            append(&mut pack, ContentHash::of(content), content);
        }
        let hex: String = pack.iter().map(|byte| format!("{byte:02x}")).collect();
        let golden = include_str!("../tests/golden/pack-v1.hex").trim();
        assert_eq!(hex, golden, "stored packs could no longer be read: make a new format version instead");
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let (record, hash) = sample();
        assert_eq!(content(&record, hash), Ok(b"shout".as_slice()));
        assert_eq!(content_at_hand(&record, hash), Ok(b"shout".as_slice()));
        for bit in 0..record.len() * 8 {
            let mut damaged = record.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(content(&damaged, hash), Err(Wrong::Damaged(_))), "bit {bit}");
        }
        let header = pack_header(7);
        assert_eq!(check_pack(&header, 7), Ok(()));
        for bit in 0..PACK_HEADER * 8 {
            let mut damaged = header;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(check_pack(&damaged, 7), Err(Wrong::Damaged(_))), "bit {bit}");
        }
    }

    #[test]
    fn every_cut_is_found() {
        let (record, hash) = sample();
        for cut in 0..record.len() {
            assert!(matches!(content(&record[..cut], hash), Err(Wrong::Damaged(_))), "cut at {cut}");
        }
    }

    #[test]
    fn another_record_or_pack_is_not_taken_for_it() {
        let (record, _) = sample();
        assert!(content(&record, ContentHash::of(b"SHOUT")).is_err());
        assert!(content_at_hand(&record, ContentHash::of(b"SHOUT")).is_err());
        assert!(content_at_hand(&record[..record.len() - 1], ContentHash::of(b"shout")).is_err());
        assert!(check_pack(&pack_header(7), 8).is_err());
    }

    #[test]
    fn newer_formats_are_told_apart_from_damage() {
        let (mut record, hash) = sample();
        record[4] = 1;
        let check_bytes = check(&record[..44]);
        record[44..48].copy_from_slice(&check_bytes);
        assert_eq!(content(&record, hash), Err(Wrong::Newer));
        let mut header = pack_header(7);
        header[8] = 2;
        let check_bytes = check(&header[..20]);
        header[20..].copy_from_slice(&check_bytes);
        assert_eq!(check_pack(&header, 7), Err(Wrong::Newer));
    }
}
