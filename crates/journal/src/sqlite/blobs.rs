//! Small stored values: how they are written as columns. Each blob begins with a byte that says its format.

use opendmp_model::codec::{Damaged, Reader, Writer, decode_items, encode_items};
use opendmp_model::export::{IfExists, SinkClass};
use opendmp_model::ids::{Arrival, ID_LEN, PATH_HASH_LEN, PathHash, SlotId, TaskId};
use opendmp_model::item::{ContentRef, Item};
use opendmp_model::ledger::FileStat;
use opendmp_ports::journal::decide::Made;
use opendmp_ports::journal::{ExportState, FlowState, ReprocessState, RunMode, Seq};
use opendmp_ports::transport::StepCounts;

use super::fail::{Fail, Result};

/// Format of the blobs made here.
const FORMAT: u8 = 1;

fn begin() -> Writer {
    let mut w = Writer::default();
    w.byte(FORMAT);
    w
}

fn read(bytes: &[u8]) -> std::result::Result<Reader<'_>, Damaged> {
    let mut r = Reader::new(bytes);
    if r.byte()? == FORMAT { Ok(r) } else { Err(Damaged("an unknown format")) }
}

/// Format of a [`FileStat`] that is recent; the fields are those of the other.
const RECENT: u8 = 2;

pub(crate) fn stat_bytes(stat: &FileStat) -> Vec<u8> {
    let mut w = Writer::default();
    w.byte(if stat.recent { RECENT } else { FORMAT });
    w.number(stat.device);
    w.number(stat.inode);
    w.number(stat.size);
    w.signed(stat.mtime);
    w.signed(stat.ctime);
    w.out
}

pub(crate) fn stat_of(bytes: &[u8]) -> Result<FileStat> {
    let mut r = Reader::new(bytes);
    let recent = match r.byte()? {
        FORMAT => false,
        RECENT => true,
        _ => return Err(Damaged("an unknown format").into()),
    };
    let stat = FileStat {
        device: r.number()?,
        inode: r.number()?,
        size: r.number()?,
        mtime: r.signed()?,
        ctime: r.signed()?,
        recent,
    };
    r.end()?;
    Ok(stat)
}

pub(crate) fn content_bytes(content: &ContentRef) -> Vec<u8> {
    let mut w = begin();
    w.content(content);
    w.out
}

pub(crate) fn content_of(bytes: &[u8]) -> Result<ContentRef> {
    let mut r = read(bytes)?;
    let content = r.content()?;
    r.end()?;
    Ok(content)
}

/// Format of counts with what was remembered; those without are of [`FORMAT`].
const REMEMBERED_FORMAT: u8 = 2;

/// Numbers by processor, which is an interned name.
pub(crate) fn counts_bytes(counts: &[(i64, StepCounts)]) -> Vec<u8> {
    if counts.is_empty() {
        return Vec::new();
    }
    let mut w = Writer::default();
    w.byte(REMEMBERED_FORMAT);
    w.number(counts.len() as u64);
    for (name, counts) in counts {
        w.number(*name as u64);
        for number in [counts.done, counts.emitted, counts.dead, counts.retried, counts.took, counts.remembered] {
            w.number(number);
        }
    }
    w.out
}

pub(crate) fn counts_of(bytes: &[u8]) -> Result<Vec<(i64, StepCounts)>> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut r = Reader::new(bytes);
    let format = r.byte()?;
    if !matches!(format, FORMAT | REMEMBERED_FORMAT) {
        return Err(Damaged("an unknown format").into());
    }
    let mut out = Vec::with_capacity(r.count(6)?);
    for _ in 0..out.capacity() {
        let name = r.number()? as i64;
        let counts = StepCounts {
            done: r.number()?,
            emitted: r.number()?,
            dead: r.number()?,
            retried: r.number()?,
            took: r.number()?,
            remembered: if format == REMEMBERED_FORMAT { r.number()? } else { 0 },
        };
        out.push((name, counts));
    }
    r.end()?;
    Ok(out)
}

/// Dataset slots with their shelves, in this order.
pub(crate) fn slots_bytes(slots: &[(i64, SlotId)]) -> Vec<u8> {
    let mut w = begin();
    w.out.reserve(slots.len() * (PATH_HASH_LEN + 3));
    let (mut shelf, mut origin) = (0, 0);
    for (on, slot) in slots {
        w.signed(on - shelf);
        w.signed(slot.origin.0 as i64 - origin);
        w.raw(&slot.hash.0);
        (shelf, origin) = (*on, slot.origin.0 as i64);
    }
    w.out
}

/// The inverse of [`slots_bytes`].
pub(crate) fn slots_of(bytes: &[u8]) -> Result<Vec<(i64, SlotId)>> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut r = read(bytes)?;
    let (mut out, mut shelf, mut origin) = (Vec::new(), 0, 0);
    while r.left() > 0 {
        shelf += r.signed()?;
        origin += r.signed()?;
        out.push((shelf, SlotId { origin: Arrival(origin as u64), hash: PathHash(r.raw()?) }));
    }
    Ok(out)
}

pub(crate) fn item_bytes(item: &Item) -> Vec<u8> {
    encode_items(std::slice::from_ref(item))
}

/// Columns `made` and `mades` of a record.
pub(crate) fn made_values(made: &Made) -> (Option<i64>, Option<Vec<u8>>) {
    match made {
        Made::Unknown => (None, None),
        Made::In(seq) => (Some(seq.0 as i64), None),
        Made::Each(each) => {
            let mut w = begin();
            w.number(each.len() as u64);
            // No record has the number 0.
            each.iter().for_each(|seq| w.number(seq.map_or(0, |seq| seq.0)));
            (None, Some(w.out))
        }
    }
}

/// The inverse of [`made_values`].
pub(crate) fn made_of(made: Option<i64>, mades: Option<&[u8]>) -> Result<Made> {
    let Some(bytes) = mades else { return Ok(made.map(|seq| Seq(seq as u64)).into()) };
    let mut r = read(bytes)?;
    let mut each = Vec::with_capacity(r.count(1)?);
    for _ in 0..each.capacity() {
        each.push(Some(Seq(r.number()?)).filter(|seq| seq.0 > 0));
    }
    r.end()?;
    Ok(Made::Each(each))
}

/// Bytes of a result that equalled a revision.
const CONFIRMED_LEN: usize = 1 + 8 + 8 + 4;

/// A result that equalled a revision: of one size, so that the last ones of many are found by their bytes.
pub(crate) fn confirmed_bytes(seq: Seq, at: i64, version: i64) -> [u8; CONFIRMED_LEN] {
    let mut out = [FORMAT; CONFIRMED_LEN];
    out[1..9].copy_from_slice(&seq.0.to_be_bytes());
    out[9..17].copy_from_slice(&at.to_be_bytes());
    out[17..].copy_from_slice(&(version as u32).to_be_bytes());
    out
}

/// All that equalled a revision: commit sequence, time and version of each.
pub(crate) fn confirmed_of(bytes: &[u8]) -> Result<Vec<(Seq, i64, i64)>> {
    let one = |bytes: &[u8]| -> Option<(Seq, i64, i64)> {
        let (format, rest) = bytes.split_first()?;
        let (seq, rest) = rest.split_first_chunk::<8>()?;
        let (at, version) = rest.split_first_chunk::<8>()?;
        let version = u32::from_be_bytes(version.try_into().ok()?);
        (*format == FORMAT).then(|| (Seq(u64::from_be_bytes(*seq)), i64::from_be_bytes(*at), version.into()))
    };
    let all = bytes.chunks(CONFIRMED_LEN).map(one).collect::<Option<_>>();
    all.ok_or_else(|| Fail::Damaged("what equalled a revision can't be read".to_owned()))
}

pub(crate) fn item_of(bytes: &[u8]) -> Result<Item> {
    decode_items(bytes)?.pop().ok_or_else(|| Fail::Damaged("an item is missing".to_owned()))
}

pub(crate) fn task_of(bytes: &[u8]) -> Result<TaskId> {
    TaskId::from_bytes(bytes).ok_or_else(|| Fail::Damaged(format!("a task id has not {ID_LEN} bytes")))
}

pub(crate) fn path_hash_of(bytes: &[u8]) -> Result<PathHash> {
    let hash = bytes.try_into().map(PathHash);
    hash.map_err(|_| Fail::Damaged(format!("a slot has not {PATH_HASH_LEN} bytes")))
}

/// Enumerations and the numbers they are stored as.
macro_rules! stored {
    ($($to:ident $from:ident $type:ty { $($variant:path = $number:literal),* $(,)? })*) => {$(
        pub(crate) fn $to(value: $type) -> i64 {
            match value { $($variant => $number),* }
        }

        pub(crate) fn $from(number: i64) -> Result<$type> {
            match number {
                $($number => Ok($variant),)*
                _ => Err(Fail::Damaged(format!("no {} has number {number}", stringify!($type)))),
            }
        }
    )*};
}
stored! {
    mode_number mode_of RunMode { RunMode::Live = 0, RunMode::Trial = 1, RunMode::Shadow = 2 }
    state_number state_of FlowState {
        FlowState::Disabled = 0, FlowState::Enabled = 1, FlowState::Deleting = 2, FlowState::Deleted = 3,
    }
    export_number export_of ExportState {
        ExportState::None = 0, ExportState::Pending = 1, ExportState::Written = 2, ExportState::Superseded = 3,
        ExportState::Kept = 4, ExportState::Refused = 5,
    }
    class_number class_of SinkClass {
        SinkClass::Overwrite = 0, SinkClass::Marker = 1, SinkClass::Deduplicates = 2, SinkClass::AtLeastOnce = 3,
    }
    reprocess_number reprocess_of ReprocessState {
        ReprocessState::Feeding = 0, ReprocessState::Fed = 1, ReprocessState::Stopped = 2,
    }
    if_exists_number if_exists_of IfExists {
        IfExists::Version = 0, IfExists::Overwrite = 1, IfExists::Fail = 2, IfExists::Keep = 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formats_are_frozen() {
        let stat =
            FileStat { device: 7, inode: 300, size: 0, mtime: -1, ctime: 1_700_000_000_000_000_000, recent: false };
        let counts = [(3, StepCounts { done: 1, emitted: 2, dead: 3, retried: 4, took: 500, remembered: 6 })];
        let content = ContentRef::empty();
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(hex(&stat_bytes(&stat)), "0107ac0200018080d0e2c6bfce972f");
        assert_eq!(hex(&counts_bytes(&counts)), "02010301020304f40306");
        let before = [(3, StepCounts { remembered: 0, ..counts[0].1 })];
        assert_eq!(counts_of(b"\x01\x01\x03\x01\x02\x03\x04\xf4\x03").unwrap(), before);
        assert_eq!(
            hex(&content_bytes(&content)),
            "01af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f32620000"
        );
        assert_eq!(stat_of(&stat_bytes(&stat)).unwrap(), stat);
        let recent = FileStat { recent: true, ..stat };
        assert_eq!(hex(&stat_bytes(&recent)), "0207ac0200018080d0e2c6bfce972f");
        assert_eq!(stat_of(&stat_bytes(&recent)).unwrap(), recent);
        assert_eq!(counts_of(&counts_bytes(&counts)).unwrap(), counts);
        assert_eq!(content_of(&content_bytes(&content)).unwrap(), content);
        assert!(counts_of(&[]).unwrap().is_empty());
        let made = Made::Each(vec![Some(Seq(300)), None, Some(Seq(7))]);
        let (none, mades) = made_values(&made);
        assert_eq!((none, mades.as_deref().map(hex).as_deref()), (None, Some("0103ac020007")));
        assert_eq!(made_of(None, mades.as_deref()).unwrap(), made);
        assert_eq!(made_of(Some(5), None).unwrap(), Made::In(Seq(5)));
        let confirmed = confirmed_bytes(Seq(300), -2, 9);
        assert_eq!(hex(&confirmed), "01000000000000012cfffffffffffffffe00000009");
        assert_eq!(confirmed_of(&[confirmed, confirmed].concat()).unwrap(), [(Seq(300), -2, 9); 2]);
        assert!(confirmed_of(&confirmed[1..]).is_err() && confirmed_of(&[]).unwrap().is_empty());
    }
}
