//! Reading a copy whole, and telling whether a reference leads to what it names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use opendmp_model::ids::ContentHash;
use opendmp_model::item::{self, ContentRef};
use opendmp_model::manifest::{Manifest, decode_blocks, decode_children};
use opendmp_ports::{Error, ErrorKind, Result};

use super::copy::{check_format, files, packs};
use super::walk::{Walk, What};
use super::{Bad, Damage, Place, Watch};
use crate::freed::{self, Ranges};
use crate::layout::Paths;
use crate::packs::read_up_to;
use crate::record::{self, PACK_HEADER, RECORD_HEADER};

const CHECK: &str = "content check";

/// What was read.
#[derive(Debug, Default)]
pub struct Checked {
    /// Sound records.
    pub records: u64,
    /// Sound files.
    pub files: u64,
    /// Bytes of all packs and files.
    pub bytes: u64,
    /// What is wrong.
    pub damage: Vec<Damage>,
}

/// Bytes of all packs and files of a directory of content.
///
/// # Errors
/// Where it can't be listed.
pub fn stored(root: &Path) -> Result<u64> {
    let mut bytes = 0;
    for (pack, length) in packs(root)? {
        bytes += length.saturating_sub(freed::read(root, pack).unwrap_or_default().0.bytes());
    }
    files(root, &mut |_, _, size| {
        bytes += size;
        Ok(())
    })?;
    Ok(bytes)
}

/// Reads every pack and file of a directory of content, which nobody changes meanwhile, and compares every hash.
/// Blocks.
///
/// # Errors
/// Where the directory can't be listed, or is of another format. Damage is no error: it is told in what comes back.
pub fn check(root: &Path, watch: &mut Watch<'_>) -> Result<Checked> {
    check_format(root)?;
    let mut out = Checked::default();
    let damaged = |damage: Damage, out: &mut Checked, watch: &mut Watch<'_>| {
        (watch.damaged)(&damage);
        out.damage.push(damage);
    };
    for (pack, length) in packs(root)? {
        let (freed, unknown) = match freed::read(root, pack) {
            Ok((freed, _)) => (freed, None),
            Err(error) => (Ranges::default(), Some(error)),
        };
        out.bytes += length.saturating_sub(freed.bytes());
        let bad = |from, to, why: &str, out: &mut Checked, watch: &mut Watch<'_>| {
            damaged(Damage { place: Place::Pack { pack, from, to }, why: why.to_owned(), kept: false }, out, watch);
        };
        let file = match File::open(Paths(root).pack(pack)) {
            Ok(file) => file,
            Err(error) => {
                bad(0, length, &format!("it can't be opened: {error}"), &mut out, watch);
                continue;
            }
        };
        if let Some(error) = unknown {
            bad(0, 0, &format!("what was let go of it is not known: {error}"), &mut out, watch);
        }
        let mut header = [0; PACK_HEADER];
        // What can't be read is told below.
        let _ = read_up_to(&file, &mut header, 0);
        if record::check_pack(&header, pack).is_err() && length > PACK_HEADER as u64 {
            bad(0, PACK_HEADER as u64, "the header of the pack is damaged", &mut out, watch);
        }
        for (from, to) in freed.gaps(PACK_HEADER as u64, length).iter() {
            let walk = Walk::new(&file, from, to);
            let mut walk = walk.map_err(|error| Error::io(CHECK, Paths(root).pack(pack).display(), &error))?;
            loop {
                if (watch.stopped)() {
                    return Err(Error::new(ErrorKind::Unavailable, CHECK, "the check was stopped"));
                }
                let at = walk.at();
                let piece = match walk.next() {
                    Ok(Some(piece)) => piece,
                    Ok(None) => break,
                    Err(error) => {
                        bad(at, to, &format!("it can't be read: {error}"), &mut out, watch);
                        break;
                    }
                };
                (watch.moved)(piece.bytes.len() as u64);
                match piece.what {
                    What::Record { sound: true, .. } => out.records += 1,
                    What::Record { hash, sound: false } => {
                        let why = format!("the content of {hash:?} is not what was written");
                        bad(piece.at, piece.end(), &why, &mut out, watch);
                    }
                    What::Gap { from, to } if from == piece.at => {
                        bad(from, to, "there is no record, though one follows", &mut out, watch);
                    }
                    What::Torn { from } if from == piece.at && to < length => {
                        bad(from, to, "there is no record, though more follows", &mut out, watch);
                    }
                    What::Newer => bad(piece.at, piece.end(), "it is of a later format", &mut out, watch),
                    // An end that a crash left. If something refers to it, that reference is found to lead nowhere.
                    What::Gap { .. } | What::Torn { .. } => {}
                }
            }
        }
    }
    files(root, &mut |hash, generation, size| {
        out.bytes += size;
        let place = Place::File { hash, generation };
        let why = match hash_of(&Paths(root).file(hash, generation), watch)? {
            Ok(found) if found == hash => {
                out.files += 1;
                return Ok(());
            }
            Ok(_) => "its content is not what was written".to_owned(),
            Err(error) => format!("it can't be read: {error}"),
        };
        damaged(Damage { place, why, kept: false }, &mut out, watch);
        Ok(())
    })?;
    Ok(out)
}

fn hash_of(path: &Path, watch: &mut Watch<'_>) -> Result<std::io::Result<ContentHash>> {
    let (mut hasher, mut buffer, mut at) = (blake3::Hasher::new(), vec![0; 1 << 20], 0);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return Ok(Err(error)),
    };
    loop {
        if (watch.stopped)() {
            return Err(Error::new(ErrorKind::Unavailable, CHECK, "the check was stopped"));
        }
        match read_up_to(&file, &mut buffer, at) {
            Ok(0) => return Ok(Ok(ContentHash(*hasher.finalize().as_bytes()))),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                at += read as u64;
                (watch.moved)(read as u64);
            }
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// What is in a directory of content, by which references are looked up.
#[derive(Debug)]
pub struct Found {
    root: PathBuf,
    /// Lengths of packs.
    packs: BTreeMap<u64, u64>,
    bad: Bad,
    bad_files: BTreeSet<(ContentHash, u32)>,
    /// The pack that was looked into last, and what was let go of it.
    open: Option<(u64, File)>,
    freed: Option<(u64, Ranges)>,
}

/// Looks at a directory of content in which `damage` was found.
///
/// # Errors
/// Where it can't be listed.
pub fn look(root: &Path, damage: &[Damage]) -> Result<Found> {
    let mut found = Found {
        root: root.to_owned(),
        packs: packs(root)?.into_iter().collect(),
        bad: Bad::default(),
        bad_files: BTreeSet::new(),
        open: None,
        freed: None,
    };
    for damage in damage.iter().filter(|damage| !damage.kept) {
        match damage.place {
            Place::Pack { pack, from, to } => found.bad.add(pack, from, to),
            Place::File { hash, generation } => {
                found.bad_files.insert((hash, generation));
            }
        }
    }
    Ok(found)
}

impl Found {
    /// Why a reference does not lead to its content; `None` where it does. `closely`: the record's header is read, too.
    pub fn lacks(&mut self, content: &ContentRef, closely: bool) -> Option<String> {
        match content.place {
            // Nothing is stored for it.
            item::Place::Empty => None,
            item::Place::Pack { pack, offset } => {
                let end = offset.saturating_add(RECORD_HEADER as u64).saturating_add(content.size);
                match self.packs.get(&pack) {
                    None => return Some(format!("pack {pack} is missing")),
                    Some(length) if *length < end => {
                        return Some(format!("pack {pack} has {length} bytes, and {end} are needed"));
                    }
                    Some(_) if self.bad.touches(pack, offset, end) => {
                        return Some(format!("it is damaged, in pack {pack} at byte {offset}"));
                    }
                    Some(_) => {}
                }
                if self.freed(pack).touches(offset, end) {
                    return Some(format!("it was let go, in pack {pack} at byte {offset}"));
                }
                let right = !closely || self.header(pack, offset) == Some((content.hash, content.size));
                (!right).then(|| format!("another record is in its place, in pack {pack} at byte {offset}"))
            }
            item::Place::File { generation } if self.bad_files.contains(&(content.hash, generation)) => {
                Some("its file is damaged".to_owned())
            }
            item::Place::File { generation } => {
                let path = Paths(&self.root).file(content.hash, generation);
                match std::fs::symlink_metadata(&path) {
                    Ok(found) if found.len() == content.size => None,
                    Ok(found) => Some(format!("its file has {} bytes instead of {}", found.len(), content.size)),
                    Err(_) => Some("its file is missing".to_owned()),
                }
            }
        }
    }

    /// What of a manifest does not lead to its content, and why: the list of its blocks, the blocks that are still to be
    /// expanded, and what the children in them are.
    pub fn lacks_of(&mut self, manifest: &Manifest, closely: bool, lacks: &mut dyn FnMut(ContentHash, String)) {
        let Some(list) = self.whole(&manifest.content, closely, lacks) else { return };
        let blocks = match decode_blocks(&list) {
            Ok(blocks) => blocks,
            Err(error) => return lacks(manifest.content.hash, format!("it is no list of blocks: {error}")),
        };
        for block in blocks.iter().skip(manifest.next as usize) {
            let Some(bytes) = self.whole(&block.content, closely, lacks) else { continue };
            match decode_children(&bytes) {
                Ok(children) => {
                    for (_, child) in children {
                        if let Some(why) = self.lacks(&child.content, closely) {
                            lacks(child.content.hash, why);
                        }
                    }
                }
                Err(error) => lacks(block.content.hash, format!("it is no block of children: {error}")),
            }
        }
    }

    /// Reads content whole and compares its hash; where that fails, it is told.
    fn whole(
        &mut self,
        content: &ContentRef,
        closely: bool,
        lacks: &mut dyn FnMut(ContentHash, String),
    ) -> Option<Vec<u8>> {
        let read = match self.lacks(content, closely) {
            Some(why) => Err(why),
            None => self.read(content).map_err(|error| format!("it can't be read: {error}")),
        };
        let whole = read.and_then(|bytes| match ContentHash::of(&bytes) == content.hash {
            true => Ok(bytes),
            false => Err("its content is not what was written".to_owned()),
        });
        whole.map_err(|why| lacks(content.hash, why)).ok()
    }

    fn read(&mut self, content: &ContentRef) -> std::io::Result<Vec<u8>> {
        let (path, offset) = match content.place {
            item::Place::Empty => return Ok(Vec::new()),
            item::Place::Pack { pack, offset } => (Paths(&self.root).pack(pack), offset + RECORD_HEADER as u64),
            item::Place::File { generation } => (Paths(&self.root).file(content.hash, generation), 0),
        };
        let mut bytes = vec![0; usize::try_from(content.size).map_err(std::io::Error::other)?];
        let read = read_up_to(&File::open(path)?, &mut bytes, offset)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    fn freed(&mut self, pack: u64) -> &Ranges {
        if self.freed.as_ref().is_none_or(|(known, _)| *known != pack) {
            // What can't be read is told as damage of the pack.
            self.freed = Some((pack, freed::read(&self.root, pack).unwrap_or_default().0));
        }
        &self.freed.get_or_insert_default().1
    }

    fn header(&mut self, pack: u64, offset: u64) -> Option<(ContentHash, u64)> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != pack) {
            self.open = Some((pack, File::open(Paths(&self.root).pack(pack)).ok()?));
        }
        let (_, file) = self.open.as_ref()?;
        let mut header = [0; RECORD_HEADER];
        let read = read_up_to(file, &mut header, offset).ok()?;
        let (hash, length) = record::read_header(&header).ok().filter(|_| read == RECORD_HEADER)?;
        Some((hash, u64::from(length)))
    }
}
