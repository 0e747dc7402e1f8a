//! Copies of stores that are in use, damaged, or killed in the middle.

use std::fs;
use std::io;
use std::path::Path;

use bytes::Bytes;
use opendmp_model::item::{ContentRef, Place as At};
use opendmp_ports::content::{Content, SMALL, read_all};
use opendmp_ports::{ErrorKind, Result};

use super::copy::copy_with;
use super::*;
use crate::disk::Disk;
use crate::disk::faults::Call;
use crate::layout::Paths;
use crate::record::RECORD_HEADER;
use crate::tests::flip;
use crate::{DirectoryContent, Options};

/// Packs that are soon full.
const SMALL_PACKS: Options =
    Options { pack_bytes: 20_000, unsynced_bytes: 1 << 20, recent_bytes: 1 << 20, unsynced_files: 8, floor: 0 };

struct Bench {
    dir: tempfile::TempDir,
    store: Option<DirectoryContent>,
    past: Past,
    disk: Disk,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = DirectoryContent::open(&dir.path().join("store"), SMALL_PACKS).unwrap();
        Self { dir, store: Some(store), past: Past::default(), disk: Disk::default() }
    }

    fn store(&self) -> &DirectoryContent {
        self.store.as_ref().unwrap()
    }

    fn target(&self) -> PathBuf {
        self.dir.path().join("copy/content")
    }

    fn source(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// Puts `many` small contents and a large one; durable.
    async fn put(&self, seed: u8, many: u16) -> Vec<(ContentRef, Vec<u8>)> {
        let mut out = Vec::new();
        let small = (0..many).map(|n| {
            let mut bytes = vec![seed; 500];
            bytes[..2].copy_from_slice(&n.to_le_bytes());
            bytes
        });
        for bytes in small.chain([vec![seed; SMALL as usize + 1 + usize::from(seed)]]) {
            out.push((self.store().put(Bytes::from(bytes.clone())).await.unwrap(), bytes));
        }
        self.store().sync().await.unwrap();
        out
    }

    fn try_copy(&self) -> Result<(Copied, u64)> {
        let source = self.store.as_ref().map_or_else(|| Source::still(&self.source()), DirectoryContent::source);
        let mut moved = 0;
        let mut watch = Watch { moved: &mut |bytes| moved += bytes, damaged: &mut |_| {}, stopped: &|| false };
        let copied = copy_with(&self.disk, &source, &self.target(), &self.past, &mut watch)?;
        Ok((copied, moved))
    }

    /// Copies, and remembers it as a backup does.
    fn copy(&mut self) -> Copied {
        let todo = todo(&self.source_now(), &self.target()).unwrap();
        let (copied, moved) = self.try_copy().unwrap();
        assert_eq!(copied.bytes, moved);
        if copied.damage.is_empty() && self.past.damage.is_empty() {
            assert_eq!(todo.bytes, copied.bytes, "the estimate is right where nothing is wrong");
        }
        self.past.mark = copied.mark;
        self.past.damage = copied.damage.iter().filter(|damage| !damage.kept).map(|damage| damage.place).collect();
        copied
    }

    fn source_now(&self) -> Source {
        self.store.as_ref().map_or_else(|| Source::still(&self.source()), DirectoryContent::source)
    }

    /// Opens a copy of the copy, and reads everything from it.
    async fn expect(&self, contents: &[(ContentRef, Vec<u8>)]) {
        let restored = self.dir.path().join("restored");
        let _ = fs::remove_dir_all(&restored);
        let mut watch = Watch { moved: &mut |_| {}, damaged: &mut |_| {}, stopped: &|| false };
        copy(&Source::still(&self.target()), &restored, &Past::default(), &mut watch).unwrap();
        let mut found = look(&self.target(), &[]).unwrap();
        let store = DirectoryContent::open(&restored, SMALL_PACKS).unwrap();
        for (content, bytes) in contents {
            assert_eq!(found.lacks(content, true), None);
            assert_eq!(read_all(&store.open(content).await.unwrap()).unwrap(), *bytes);
        }
    }

    fn check(&self) -> Checked {
        let mut watch = Watch { moved: &mut |_| {}, damaged: &mut |_| {}, stopped: &|| false };
        check(&self.target(), &mut watch).unwrap()
    }

    fn pack(&self, root: &Path, content: &ContentRef) -> (PathBuf, u64) {
        match content.place {
            At::Pack { pack, offset } => (Paths(root).pack(pack), offset),
            At::File { generation } => (Paths(root).file(content.hash, generation), 0),
            At::Empty => unreachable!("nothing is stored"),
        }
    }
}

/// Bytes of everything stored.
fn stored(contents: &[(ContentRef, Vec<u8>)]) -> u64 {
    contents
        .iter()
        .map(|(content, bytes)| {
            let header = if matches!(content.place, At::Pack { .. }) { RECORD_HEADER } else { 0 };
            (header + bytes.len()) as u64
        })
        .sum()
}

#[tokio::test]
async fn a_second_copy_takes_only_what_is_new() {
    let mut bench = Bench::new();
    let mut all = bench.put(1, 100).await;
    let first = bench.copy();
    assert!(first.bytes >= stored(&all) && first.bytes < stored(&all) + 200, "{first:?}");
    assert_eq!((first.records, first.files, first.damage.len()), (100, 1, 0));
    let nothing = bench.copy();
    assert_eq!((nothing.bytes, nothing.records, nothing.files), (0, 0, 0));
    assert_eq!(nothing.mark, first.mark);
    let more = bench.put(2, 3).await;
    let second = bench.copy();
    assert_eq!((second.bytes, second.records, second.files), (stored(&more), 3, 1));
    all.extend(more);
    // The next process begins a pack of its own.
    bench.store = None;
    bench.store = Some(DirectoryContent::open(&bench.source(), SMALL_PACKS).unwrap());
    let more = bench.put(3, 50).await;
    let third = bench.copy();
    assert_eq!(third.records, 50);
    assert!(third.bytes < stored(&more) + 100);
    all.extend(more);
    bench.expect(&all).await;
    let checked = bench.check();
    assert_eq!((checked.records, checked.files, checked.damage.len()), (153, 3, 0));
}

#[tokio::test]
async fn what_is_not_durable_is_not_copied() {
    let mut bench = Bench::new();
    let durable = bench.put(1, 3).await;
    bench.store().put(Bytes::from_static(b"waits")).await.unwrap();
    let first = bench.copy();
    assert_eq!(first.records, 3);
    bench.store().sync().await.unwrap();
    assert_eq!(bench.copy().records, 1);
    bench.expect(&durable).await;
}

/// Fails the `n`th write or sync, and all that follow: as if the process had ended there.
fn die_at(disk: &Disk, n: usize) {
    let mut calls = 0;
    disk.faults.set(move |_: Call, _| {
        calls += 1;
        if calls > n { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    });
}

#[tokio::test]
async fn a_copy_that_was_killed_goes_on() {
    let mut bench = Bench::new();
    let mut all = bench.put(1, 150).await;
    bench.copy();
    let before = all.clone();
    all.extend(bench.put(2, 150).await);
    let mut n = 0;
    loop {
        // From the state of the first backup each time.
        let saved = bench.dir.path().join("saved");
        let _ = fs::remove_dir_all(&saved);
        copy_tree(&bench.target(), &saved);
        die_at(&bench.disk, n);
        let ended = bench.try_copy();
        bench.disk.faults.clear();
        // The earlier backup is as good as before at every moment.
        bench.expect(&before).await;
        match ended {
            Err(error) => assert_eq!(error.kind, ErrorKind::Full, "{error}"),
            Ok(_) => break,
        }
        // Once more, dead in the middle again, and then to its end.
        let (again, _) = bench.try_copy().unwrap();
        assert!(again.damage.is_empty());
        bench.expect(&all).await;
        fs::remove_dir_all(bench.target()).unwrap();
        fs::rename(&saved, bench.target()).unwrap();
        n += 1;
    }
    assert!(n > 10, "only {n} moments were tried");
    bench.expect(&all).await;
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() { copy_tree(&path, &to) } else { assert!(fs::copy(&path, &to).is_ok()) }
    }
}

#[tokio::test]
async fn a_torn_end_is_cut_back_to_the_last_whole_record() {
    let mut bench = Bench::new();
    let all = bench.put(1, 20).await;
    bench.copy();
    let (path, offset) = bench.pack(&bench.target(), &all[10].0);
    let length = fs::metadata(&path).unwrap().len();
    // Nothing of it was said to be durable.
    bench.past = Past::default();
    for (cut, again) in [
        (offset + 100, length - offset),
        (offset, length - offset),
        (offset + 47, length - offset),
        (10, length),
        (0, length),
    ] {
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(cut).unwrap();
        // As a file system may leave it: the length is there, the bytes are not.
        file.set_len(cut + 300).unwrap();
        let (copied, _) = bench.try_copy().unwrap();
        assert_eq!((copied.bytes, copied.damage.len()), (again, 0), "cut at {cut}");
        bench.expect(&all).await;
    }
}

#[tokio::test]
async fn damage_of_the_source_is_told_and_the_rest_is_copied() {
    let mut bench = Bench::new();
    let all = bench.put(1, 60).await;
    let source = bench.source();
    let (pack, offset) = bench.pack(&source, &all[20].0);
    flip(&pack, offset + RECORD_HEADER as u64 + 9);
    let (other, other_offset) = bench.pack(&source, &all[40].0);
    flip(&other, other_offset + 5);
    let (file, _) = bench.pack(&source, &all[60].0);
    flip(&file, 300_000 % (SMALL + 1));
    let copied = bench.copy();
    let places: Vec<String> = copied.damage.iter().map(|damage| damage.place.to_string()).collect();
    assert_eq!(places.len(), 3, "{places:?}");
    assert!(places[0].ends_with(&format!("bytes {offset} to {}", offset + 548)), "{places:?}");
    assert!(copied.damage[0].why.contains("is not what was written"));
    assert!(places[1].ends_with(&format!("bytes {other_offset} to {}", other_offset + 548)), "{places:?}");
    assert!(places[2].starts_with("files/"), "{places:?}");
    let mut found = look(&bench.target(), &copied.damage).unwrap();
    for (at, (content, _)) in all.iter().enumerate() {
        assert_eq!(found.lacks(content, false).is_some(), [20, 40, 60].contains(&at), "{at}");
    }
    // Checked as a whole, the copy says the same; the file is not there.
    let checked = bench.check();
    assert_eq!((checked.records, checked.damage.len()), (58, 2));
    // As long as it is damaged it is told again.
    assert_eq!(bench.copy().damage.len(), 3);
    // Mended, it takes its place.
    flip(&pack, offset + RECORD_HEADER as u64 + 9);
    flip(&other, other_offset + 5);
    flip(&file, 300_000 % (SMALL + 1));
    let mended = bench.copy();
    assert_eq!((mended.damage.len(), mended.records, mended.files), (0, 2, 1));
    bench.expect(&all).await;
}

#[tokio::test]
async fn what_was_copied_well_outlives_its_source() {
    let mut bench = Bench::new();
    let mut all = bench.put(1, 30).await;
    bench.copy();
    let (pack, offset) = bench.pack(&bench.source(), &all[0].0);
    flip(&pack, offset + RECORD_HEADER as u64);
    let (_, last) = bench.pack(&bench.source(), &all[29].0);
    flip(&pack, last);
    all.extend(bench.put(2, 5).await);
    let copied = bench.copy();
    assert!(copied.damage.iter().all(|damage| damage.kept) && copied.damage.len() == 1, "{:?}", copied.damage);
    assert_eq!(copied.records, 5);
    bench.expect(&all).await;
}

#[tokio::test]
async fn a_copy_of_something_else_is_left_alone() {
    let mut bench = Bench::new();
    let all = bench.put(1, 10).await;
    bench.copy();
    let (pack, _) = bench.pack(&bench.target(), &all[0].0);
    let kept = fs::read(&pack).unwrap();
    let mut other = Bench::new();
    other.put(9, 40).await;
    other.store = None;
    let mut watch = Watch { moved: &mut |_| {}, damaged: &mut |_| {}, stopped: &|| false };
    let error = copy(&Source::still(&other.source()), &bench.target(), &bench.past, &mut watch).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert_eq!(fs::read(&pack).unwrap(), kept);
    let stopping = &mut Watch { moved: &mut |_| {}, damaged: &mut |_| {}, stopped: &|| true };
    let stopped = copy(&other.source_now(), &other.target(), &Past::default(), stopping).unwrap_err();
    assert!(stopped.message.contains("stopped"), "{stopped}");
}

#[tokio::test]
async fn references_that_lead_elsewhere_are_found() {
    let mut bench = Bench::new();
    let all = bench.put(1, 10).await;
    bench.copy();
    let mut found = look(&bench.target(), &[]).unwrap();
    let small = all[3].0;
    let At::Pack { pack, offset } = small.place else { unreachable!("it is small") };
    let at = |pack, offset| ContentRef { place: At::Pack { pack, offset }, ..small };
    for (wrong, why) in [
        (at(pack + 7, offset), "is missing"),
        (at(pack, offset + 1), "another record"),
        (at(pack, 1 << 40), "are needed"),
        (ContentRef { hash: all[4].0.hash, ..small }, "another record"),
        (ContentRef { size: all[10].0.size + 1, ..all[10].0 }, "bytes instead of"),
        (ContentRef { place: At::File { generation: 3 }, ..all[10].0 }, "its file is missing"),
    ] {
        assert!(found.lacks(&wrong, true).is_some_and(|told| told.contains(why)), "{wrong:?}");
    }
    assert_eq!(found.lacks(&ContentRef::empty(), true), None);
}
