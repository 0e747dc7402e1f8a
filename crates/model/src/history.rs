//! History: what each processor did with each item, recorded per bundle and in columns.
//!
//! One [`StepRecord`] is one processor's work on the items of one bundle, under one interned [`Context`]. It is
//! written with the settlement that makes it true, and is enough to do the step again and compare hashes (law L5).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::codec::{Damaged, Reader, Writer};
use crate::fault::LogLine;
use crate::ids::{Arrival, ContentHash, ItemId, Pass, PathHash};

/// What is the same for many steps, stored once and named by number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Context {
    /// Slug of the flow.
    pub flow: String,
    /// Flow version, hexadecimal.
    pub version: String,
    /// The processor's id in the flow; `retry` for a person's retry of a dead letter.
    pub processor: String,
    /// Its kind.
    pub kind: String,
    /// Hash of its own configuration, code included.
    pub config: String,
    /// What it ran in: `Python 3.11.7`, with the hash of the environment lock.
    pub environment: Option<String>,
    /// Host and boot of the worker.
    pub worker: String,
    /// OpenDMP's own version.
    pub opendmp: String,
}

/// What came of one item in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = StepResult))]
pub enum Result {
    /// Children were emitted; none means dropped on purpose.
    Emitted,
    /// It was collected into a dataset revision.
    Collected,
    /// Its dataset had the very same content already.
    Unchanged,
    /// It became a dead letter.
    Dead,
    /// It went back to the queue.
    Retried,
    /// It came in from a source.
    Arrived,
    /// A person sent it in again.
    Reentered,
    /// More children than one settlement carries: they are emitted in entries of their own that follow.
    Spooled,
    /// An aggregate holds it.
    Held,
    /// A group was closed, and made into the child. The item is the group's first.
    Joined,
}

const RESULTS: [Result; 10] = [
    Result::Emitted,
    Result::Collected,
    Result::Unchanged,
    Result::Dead,
    Result::Retried,
    Result::Arrived,
    Result::Reentered,
    Result::Spooled,
    Result::Held,
    Result::Joined,
];

/// One child in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its id.
    pub id: ItemId,
    /// Its port, where it is not the default.
    pub port: Option<Arc<str>>,
    /// Its name, where it is not its parent's.
    pub name: Option<Arc<str>>,
    /// Its content, where it is not its parent's: hash and size.
    pub content: Option<(ContentHash, u64)>,
    /// Attributes added or replaced, as JSON.
    pub attributes: Option<Box<str>>,
}

/// One item in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The item that went in. For an arrival: the item itself.
    pub input: ItemId,
    /// How long it took, in microseconds.
    pub took: u64,
    /// What came of it.
    pub result: Result,
    /// What it emitted.
    pub children: Vec<Child>,
    /// What it printed and logged.
    pub log: Vec<LogLine>,
    /// A remark: `exit 0`, an error in words, where it arrived from.
    pub note: Option<Box<str>>,
}

/// One processor's work on the items of one bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRecord {
    /// Number of the interned [`Context`].
    pub context: u32,
    /// When it began, milliseconds since 1970.
    pub started: i64,
    /// The items.
    pub entries: Vec<Entry>,
}

/// Format version of an encoded history record.
const HISTORY_FORMAT: u8 = 1;

/// Encodes the steps of one settlement. An item that a step takes from the step before it in the same record is
/// stored as a difference of positions, and content hashes only where content changed.
pub fn encode(steps: &[StepRecord]) -> Vec<u8> {
    let mut w = Writer::default();
    w.byte(HISTORY_FORMAT);
    w.number(steps.len() as u64);
    // Positions of the ids written so far: children of earlier steps, in order.
    let mut positions = std::collections::HashMap::new();
    let mut next_expected = 0u64;
    for step in steps {
        w.number(u64::from(step.context));
        w.signed(step.started);
        w.number(step.entries.len() as u64);
        let mut before = 0u64;
        for entry in &step.entries {
            match positions.get(&entry.input) {
                Some(&position) => {
                    w.byte(1);
                    w.signed((position as i64).wrapping_sub(next_expected as i64));
                    next_expected = position + 1;
                }
                None => {
                    w.byte(0);
                    w.signed(entry.input.arrival.0.wrapping_sub(before) as i64);
                    w.number(u64::from(entry.input.pass.0));
                    w.raw(&entry.input.path.0);
                    before = entry.input.arrival.0;
                }
            }
        }
        for entry in &step.entries {
            w.number(entry.took);
        }
        for entry in &step.entries {
            let result = RESULTS.iter().position(|r| *r == entry.result).unwrap_or(0);
            let more = !entry.log.is_empty() || entry.note.is_some();
            w.byte(result as u8 | u8::from(more) << 7);
            if more {
                w.bytes(entry.note.as_deref().unwrap_or("").as_bytes());
                w.number(entry.log.len() as u64);
                for line in &entry.log {
                    w.bytes(line.level.as_bytes());
                    w.bytes(line.text.as_bytes());
                }
            }
            w.number(entry.children.len() as u64);
        }
        for entry in &step.entries {
            for child in &entry.children {
                let moved = child.id.arrival != entry.input.arrival || child.id.pass != entry.input.pass;
                let flags = u8::from(child.port.is_some())
                    | u8::from(child.name.is_some()) << 1
                    | u8::from(child.content.is_some()) << 2
                    | u8::from(child.attributes.is_some()) << 3
                    | u8::from(moved) << 4;
                w.byte(flags);
                if moved {
                    w.number(child.id.arrival.0);
                    w.number(u64::from(child.id.pass.0));
                }
                w.raw(&child.id.path.0);
                if let Some(port) = &child.port {
                    w.bytes(port.as_bytes());
                }
                if let Some(name) = &child.name {
                    w.bytes(name.as_bytes());
                }
                if let Some((hash, size)) = &child.content {
                    w.raw(&hash.0);
                    w.number(*size);
                }
                if let Some(attributes) = &child.attributes {
                    w.bytes(attributes.as_bytes());
                }
                let position = positions.len() as u64;
                positions.entry(child.id).or_insert(position);
            }
        }
    }
    w.out
}

/// The inverse of [`encode`].
pub fn decode(bytes: &[u8]) -> std::result::Result<Vec<StepRecord>, Damaged> {
    let mut r = Reader::new(bytes);
    if r.byte()? != HISTORY_FORMAT {
        return Err(Damaged("an unknown history format"));
    }
    let mut steps = Vec::new();
    let mut known: Vec<ItemId> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut next_expected = 0i64;
    for _ in 0..r.count(3)? {
        let context = r.number32()?;
        let started = r.signed()?;
        let count = r.count(2)?;
        let mut entries = Vec::with_capacity(count);
        let mut before = 0u64;
        for _ in 0..count {
            let input = match r.byte()? {
                1 => {
                    let position = next_expected.wrapping_add(r.signed()?);
                    next_expected = position.wrapping_add(1);
                    let at = usize::try_from(position).map_err(|_| Damaged("a position before the first"))?;
                    *known.get(at).ok_or(Damaged("a position behind the last"))?
                }
                0 => {
                    before = before.wrapping_add(r.signed()? as u64);
                    ItemId { arrival: Arrival(before), pass: Pass(r.number32()?), path: PathHash(r.raw()?) }
                }
                _ => return Err(Damaged("an unknown sort of input")),
            };
            entries.push(Entry {
                input,
                took: 0,
                result: Result::Emitted,
                children: Vec::new(),
                log: Vec::new(),
                note: None,
            });
        }
        for entry in &mut entries {
            entry.took = r.number()?;
        }
        let mut children = Vec::with_capacity(count);
        for entry in &mut entries {
            let byte = r.byte()?;
            entry.result = *RESULTS.get(usize::from(byte & 0x7f)).ok_or(Damaged("an unknown result"))?;
            if byte & 0x80 != 0 {
                let note = r.text()?;
                entry.note = (!note.is_empty()).then(|| note.into());
                for _ in 0..r.count(2)? {
                    entry.log.push(LogLine { level: r.text()?.into(), text: r.text()?.into() });
                }
            }
            children.push(r.count(1)?);
        }
        for (entry, children) in entries.iter_mut().zip(children) {
            for _ in 0..children {
                let flags = r.byte()?;
                let (mut arrival, mut pass) = (entry.input.arrival, entry.input.pass);
                if flags & 16 != 0 {
                    arrival = Arrival(r.number()?);
                    pass = Pass(r.number32()?);
                }
                let id = ItemId { arrival, pass, path: PathHash(r.raw()?) };
                let child = Child {
                    id,
                    port: (flags & 1 != 0).then(|| r.text().map(Into::into)).transpose()?,
                    name: (flags & 2 != 0).then(|| r.text().map(Into::into)).transpose()?,
                    content: (flags & 4 != 0).then(|| Ok((ContentHash(r.raw()?), r.number()?))).transpose()?,
                    attributes: (flags & 8 != 0).then(|| r.text().map(Into::into)).transpose()?,
                };
                if seen.insert(id) {
                    known.push(id);
                }
                entry.children.push(child);
            }
        }
        steps.push(StepRecord { context, started, entries });
    }
    r.end()?;
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::sample;
    use proptest::prelude::*;

    fn steps(count: u64) -> Vec<StepRecord> {
        let items: Vec<_> = (0..count).map(sample).collect();
        let mut ids: Vec<ItemId> = items.iter().map(|item| item.id).collect();
        let mut out = Vec::new();
        for (context, processor) in ["clean", "island", "sort"].into_iter().enumerate() {
            let mut entries = Vec::new();
            let mut next = Vec::new();
            for (n, &input) in ids.iter().enumerate() {
                let id = input.child(processor, "out", 0);
                next.push(id);
                entries.push(Entry {
                    input,
                    took: 1500 + n as u64,
                    result: Result::Emitted,
                    children: vec![Child {
                        id,
                        port: (context == 1).then(|| "biscoe".into()),
                        name: (context == 0).then(|| format!("s-{n}.csv").into()),
                        content: (context != 1).then(|| (ContentHash::of(processor.as_bytes()), 1000)),
                        attributes: (context == 0 && n == 0).then(|| "{\"a\":1}".into()),
                    }],
                    log: if n == 1 { vec![LogLine { level: "stdout".into(), text: "hi".into() }] } else { vec![] },
                    note: (context == 2).then(|| "exit 0".into()),
                });
            }
            out.push(StepRecord { context: context as u32 + 1, started: 1_700_000_000_000, entries });
            ids = next;
        }
        let old = ids[0];
        let new = ItemId { pass: Pass(9), ..old };
        out.push(StepRecord {
            context: 9,
            started: 1_700_000_000_500,
            entries: vec![Entry {
                input: old,
                took: 0,
                result: Result::Reentered,
                children: vec![Child { id: new, port: None, name: None, content: None, attributes: None }],
                log: vec![],
                note: None,
            }],
        });
        out
    }

    #[test]
    fn records_round_trip() {
        for n in [1, 3, 100] {
            assert_eq!(decode(&encode(&steps(n))), Ok(steps(n)));
        }
        assert_eq!(decode(&encode(&[])), Ok(vec![]));
    }

    #[test]
    fn an_item_and_step_takes_under_100_bytes() {
        let bytes = encode(&steps(1000)).len();
        assert!(bytes < 3 * 1000 * 70, "{bytes} bytes for 3,000 items and steps");
    }

    #[test]
    fn the_history_format_is_frozen() {
        let golden = include_str!("../tests/golden/history-v1.hex").trim();
        let hex: String = encode(&steps(3)).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, golden, "stored history could no longer be read: make a new format version instead");
    }

    proptest! {
        #[test]
        fn damaged_records_are_told(at in 0usize..2000, value: u8, cut in 0usize..2000) {
            let mut bytes = encode(&steps(3));
            let len = bytes.len();
            bytes[at % len] ^= value;
            bytes.truncate(len - cut % len);
            let _ = decode(&bytes);
        }
    }
}
