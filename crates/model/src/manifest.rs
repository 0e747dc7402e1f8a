//! Manifests: children of one item that are too many for one settlement. They are written as blocks of content while
//! they come; a list of the blocks is content, too, and the queue carries one reference to it, which it expands block
//! by block; and whatever else a task carries besides its items. What expands them lives in `opendmp-engine`.

use std::sync::Arc;

use crate::codec::{Damaged, Reader, Writer, decode_items, encode_items};
use crate::ids::{PATH_HASH_LEN, PathHash};
use crate::item::{ContentRef, Item};

/// Children of one item in a block at most.
pub const BLOCK_ITEMS: usize = 1_000;

/// A child, and the port it came out of; `None` is the default one.
pub type Child = (Option<Arc<str>>, Item);

/// Some of the children: their number, and where they are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// [`encode_children`] of them.
    pub content: ContentRef,
    /// How many.
    pub children: u32,
}

/// What is left to expand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// [`encode_blocks`] of all blocks.
    pub content: ContentRef,
    /// The block that is next, from 0.
    pub next: u32,
    /// Children in it and behind it.
    pub left: u64,
}

/// What a task carries besides its items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Load {
    /// Nothing: the items enter the processor.
    #[default]
    Items,
    /// The children that the processor made of the one item, to be expanded.
    Expand(Manifest),
    /// No item: a group that an aggregate holds is to be looked at, because it may have to be closed.
    Look(PathHash),
}

/// Encodes what a task carries. Items alone are a bundle as [`encode_items`] writes it.
pub fn encode_load(load: &Load, items: &[Item]) -> Vec<u8> {
    let mut w = Writer::default();
    match load {
        Load::Items => return encode_items(items),
        Load::Expand(manifest) => {
            w.byte(EXPAND_FORMAT);
            w.content(&manifest.content);
            w.number(u64::from(manifest.next));
            w.number(manifest.left);
        }
        Load::Look(group) => {
            w.byte(LOOK_FORMAT);
            w.raw(&group.0);
        }
    }
    w.raw(&encode_items(items));
    w.out
}

/// The inverse of [`encode_load`].
///
/// # Errors
/// For other bytes.
pub fn decode_load(bytes: &[u8]) -> Result<(Load, Vec<Item>), Damaged> {
    let mut r = Reader::new(bytes);
    let load = match r.byte()? {
        EXPAND_FORMAT => Load::Expand(Manifest { content: r.content()?, next: r.number32()?, left: r.number()? }),
        LOOK_FORMAT => Load::Look(PathHash(r.raw()?)),
        _ => return Ok((Load::Items, decode_items(bytes)?)),
    };
    let items = decode_items(&bytes[bytes.len() - r.left()..])?;
    Ok((load, items))
}

/// Told apart from a bundle's own format byte.
const EXPAND_FORMAT: u8 = 0x81;
const LOOK_FORMAT: u8 = 0x82;

const BLOCKS_FORMAT: u8 = 1;
const CHILDREN_FORMAT: u8 = 1;

/// Encodes a list of blocks.
pub fn encode_blocks(blocks: &[Block]) -> Vec<u8> {
    let mut w = Writer::default();
    w.byte(BLOCKS_FORMAT);
    w.number(blocks.len() as u64);
    for block in blocks {
        w.content(&block.content);
        w.number(u64::from(block.children));
    }
    w.out
}

/// The inverse of [`encode_blocks`].
///
/// # Errors
/// For other bytes.
pub fn decode_blocks(bytes: &[u8]) -> Result<Vec<Block>, Damaged> {
    let mut r = Reader::new(bytes);
    if r.byte()? != BLOCKS_FORMAT {
        return Err(Damaged("an unknown manifest format"));
    }
    let count = r.count(35)?;
    let mut out = Vec::with_capacity(count);
    for _ in 0..count {
        out.push(Block { content: r.content()?, children: r.number32()? });
    }
    r.end()?;
    Ok(out)
}

/// Encodes children: their ports, by run, and the items.
pub fn encode_children(children: &[Child]) -> Vec<u8> {
    let mut w = Writer::default();
    w.byte(CHILDREN_FORMAT);
    w.number(children.len() as u64);
    for run in children.chunk_by(|(one, _), (other, _)| one == other) {
        w.number(run.len() as u64);
        w.bytes(run[0].0.as_deref().unwrap_or("").as_bytes());
    }
    let items: Vec<Item> = children.iter().map(|(_, item)| item.clone()).collect();
    w.bytes(&encode_items(&items));
    w.out
}

/// The inverse of [`encode_children`].
///
/// # Errors
/// For other bytes.
pub fn decode_children(bytes: &[u8]) -> Result<Vec<Child>, Damaged> {
    let mut r = Reader::new(bytes);
    if r.byte()? != CHILDREN_FORMAT {
        return Err(Damaged("an unknown manifest format"));
    }
    let count = r.count(PATH_HASH_LEN)?;
    let mut ports: Vec<Option<Arc<str>>> = Vec::with_capacity(count);
    while ports.len() < count {
        let run = usize::try_from(r.number()?).map_err(|_| Damaged("a run is too long"))?;
        if run == 0 || run > count - ports.len() {
            return Err(Damaged("a run is too long"));
        }
        let port: Option<Arc<str>> = Some(r.text()?).filter(|port| !port.is_empty()).map(Into::into);
        ports.resize(ports.len() + run, port);
    }
    let items = decode_items(r.bytes()?)?;
    r.end()?;
    if items.len() != count {
        return Err(Damaged("a manifest's numbers differ"));
    }
    Ok(ports.into_iter().zip(items).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Arrival, ContentHash, ItemId, Pass};
    use crate::item::{Attributes, Place};

    fn item(n: u32) -> Item {
        let id = ItemId { arrival: Arrival(7), pass: Pass(0), path: PathHash::root("inbox").child("split", "out", n) };
        let place = Place::Pack { pack: 3, offset: u64::from(n) };
        Item {
            id,
            name: format!("row-{n}").into(),
            content: ContentRef { hash: ContentHash::of(&n.to_le_bytes()), size: 4, place },
            media_type: None,
            attributes: Attributes::new().into(),
            origin: Arrival(7),
            label: 1,
            index: n,
            arrived: 5,
        }
    }

    #[test]
    fn children_keep_their_ports() {
        let ports = [None, None, Some("bad".into()), None];
        let children: Vec<Child> = ports.into_iter().zip(0..).map(|(port, n)| (port, item(n))).collect();
        let bytes = encode_children(&children);
        assert_eq!(decode_children(&bytes), Ok(children));
        for cut in 0..bytes.len() {
            assert!(decode_children(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert_eq!(decode_children(&encode_children(&[])), Ok(Vec::new()));
    }

    #[test]
    fn loads_are_read_as_written() {
        let manifest = Manifest { content: item(1).content, next: 4, left: 1 << 40 };
        let loads = [
            (Load::Items, vec![item(1), item(2)]),
            (Load::Expand(manifest), vec![item(3)]),
            (Load::Look(PathHash::root("group")), Vec::new()),
        ];
        for (load, items) in loads {
            assert_eq!(decode_load(&encode_load(&load, &items)), Ok((load, items)));
        }
    }

    #[test]
    fn blocks_are_read_as_written() {
        let blocks = [1, 2, 3].map(|n| Block { content: item(n).content, children: n });
        let bytes = encode_blocks(&blocks);
        assert_eq!(decode_blocks(&bytes).as_deref(), Ok(&blocks[..]));
        for cut in 0..bytes.len() {
            assert!(decode_blocks(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}
