//! The store against the conformance suite, with calls to the disk that fail, and at its start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use opendmp_model::ids::ContentHash;
use opendmp_model::item::{ContentRef, Place};
use opendmp_ports::content::conformance::{self, Subject, file_of, sample};
use opendmp_ports::content::{Body, Content, SMALL, read_all};
use opendmp_ports::journal::{JournalMark, Seq};
use opendmp_ports::{Error, ErrorKind};

use crate::disk::faults::Call;
use crate::record::{PACK_HEADER, RECORD_HEADER};
use crate::{DirectoryContent, Options};

/// Little of everything, so that every limit is met.
const SCARCE: Options =
    Options { pack_bytes: 700_000, unsynced_bytes: 400_000, recent_bytes: 9_000, unsynced_files: 3, floor: 0 };

struct Store {
    dir: tempfile::TempDir,
    options: Options,
    content: Option<DirectoryContent>,
}

impl Store {
    fn new(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let content = DirectoryContent::open(&dir.path().join("content"), options).unwrap();
        Self { dir, options, content: Some(content) }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("content")
    }

    fn content(&self) -> DirectoryContent {
        self.content.clone().unwrap()
    }

    fn path(&self, content: &ContentRef) -> PathBuf {
        let layout = &self.content.as_ref().unwrap().inner.layout;
        match content.place {
            Place::Empty => unreachable!("nothing is stored"),
            Place::Pack { pack, .. } => layout.pack(pack),
            Place::File { generation } => layout.file(content.hash, generation),
        }
    }

    /// Opens the store again, without what was not synced.
    fn reopen(&mut self) {
        self.content = None;
        self.content = Some(DirectoryContent::open(&self.root(), self.options).unwrap());
    }

    fn fail(&self, calls: &'static [Call], error: io::ErrorKind) {
        let fault = move |call, _: Option<&File>| if calls.contains(&call) { Err(error.into()) } else { Ok(()) };
        self.content().inner.disk.faults.set(fault);
    }

    fn mend(&self) {
        self.content().inner.disk.faults.clear();
    }
}

#[async_trait]
impl Subject for Store {
    fn content(&self) -> Arc<dyn Content> {
        Arc::new(self.content())
    }

    async fn crash(&mut self) {
        self.reopen();
    }

    async fn damage(&mut self, content: &ContentRef) -> bool {
        let at = match content.place {
            Place::Pack { offset, .. } => offset + RECORD_HEADER as u64 + content.size / 2,
            _ => content.size / 2,
        };
        flip(&self.path(content), at);
        true
    }

    async fn set_full(&mut self, full: bool) -> bool {
        match full {
            true => self.fail(&[Call::Write], io::ErrorKind::StorageFull),
            false => self.mend(),
        }
        true
    }
}

pub(crate) fn flip(path: &Path, at: u64) {
    let mode = fs::metadata(path).unwrap().permissions();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[!byte[0]], at).unwrap();
    fs::set_permissions(path, mode).unwrap();
}

async fn read(content: &DirectoryContent, reference: &ContentRef) -> Result<Bytes, Error> {
    content.open(reference).await.map(|body| read_all(&body).unwrap().into())
}

async fn put_file(content: &DirectoryContent, bytes: &[u8]) -> ContentRef {
    content.put_file(Arc::new(file_of(bytes))).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_conforms() {
    conformance::all(async || Store::new(Options::default())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_conforms_when_all_is_scarce() {
    conformance::all(async || Store::new(SCARCE)).await;
}

/// What was written since the last good sync is gone, as it may be after a failed one, and syncs of that very file go on
/// failing, as with a bad place on the disk.
#[tokio::test]
async fn a_failed_sync_loses_nothing_though_the_disk_dropped_it() {
    let mut store = Store::new(Options { recent_bytes: 0, ..Options::default() });
    let content = store.content();
    let durable = content.put(sample(1, 5_000)).await.unwrap();
    content.sync().await.unwrap();
    assert_eq!(read(&content, &durable).await.unwrap(), sample(1, 5_000));
    // Held open, so that no other file gets its number.
    let held = File::open(store.path(&durable)).unwrap();
    let bad = held.metadata().unwrap();

    let small = content.put(sample(2, 5_000)).await.unwrap();
    content.inner.disk.faults.set(move |call, file| match (call, file) {
        (Call::Sync, Some(file)) if file.metadata()?.ino() == bad.ino() => {
            file.set_len(bad.len()).and(Err(rustix::io::Errno::IO.into()))
        }
        _ => Ok(()),
    });
    let error = content.sync().await.unwrap_err();
    assert!(error.kind == ErrorKind::Unavailable && error.hint.is_some(), "{error}");
    let later = content.put(sample(3, 5_000)).await.unwrap();
    assert_ne!(store.path(&later), store.path(&small), "a pack whose sync failed takes no more");
    content.sync().await.unwrap();
    let all = [(1, durable), (2, small), (3, later)];
    for (seed, reference) in all {
        assert_eq!(read(&content, &reference).await.unwrap(), sample(seed, 5_000));
    }
    drop(content);
    store.reopen();
    for (seed, reference) in all {
        assert_eq!(read(&store.content(), &reference).await.unwrap(), sample(seed, 5_000));
    }
}

/// Nothing can be synced for a while, neither the pack nor what is written in its place.
#[tokio::test]
async fn syncs_fail_until_one_succeeds() {
    let mut store = Store::new(Options::default());
    let content = store.content();
    let reference = content.put(sample(1, 5_000)).await.unwrap();
    store.fail(&[Call::Sync], io::ErrorKind::Other);
    for _ in 0..3 {
        assert_eq!(content.sync().await.unwrap_err().kind, ErrorKind::Unavailable);
        assert_eq!(read(&content, &reference).await.unwrap(), sample(1, 5_000));
    }
    store.mend();
    content.sync().await.unwrap();
    drop(content);
    store.reopen();
    assert_eq!(read(&store.content(), &reference).await.unwrap(), sample(1, 5_000));
}

#[tokio::test]
async fn a_file_that_can_not_be_named_waits() {
    let mut store = Store::new(Options::default());
    let content = store.content();
    let bytes = sample(1, 1 << 20);
    let reference = put_file(&content, &bytes).await;
    let folder = store.path(&reference).parent().unwrap().to_owned();
    fs::write(&folder, "in the way").unwrap();
    for _ in 0..2 {
        assert_eq!(content.sync().await.unwrap_err().kind, ErrorKind::Unavailable);
    }
    fs::remove_file(&folder).unwrap();
    content.sync().await.unwrap();
    drop(content);
    store.reopen();
    assert_eq!(read(&store.content(), &reference).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_failed_sync_of_a_file_is_mended_by_writing_it_anew() {
    let mut store = Store::new(Options::default());
    let content = store.content();
    let bytes = sample(1, 2 << 20);
    let reference = put_file(&content, &bytes).await;
    store.fail(&[Call::Sync], io::ErrorKind::Other);
    content.sync().await.unwrap_err();
    assert!(!store.path(&reference).exists(), "only what is durable has a name");
    store.mend();
    content.sync().await.unwrap();
    assert_eq!(read(&content, &reference).await.unwrap(), bytes);
    drop(content);
    store.reopen();
    assert_eq!(read(&store.content(), &reference).await.unwrap(), bytes);
    store.content().check(&reference).await.unwrap();
}

#[tokio::test]
async fn a_file_that_the_disk_lost_is_never_said_to_be_durable() {
    let mut store = Store::new(Options::default());
    let content = store.content();
    let reference = put_file(&content, &sample(1, 2 << 20)).await;
    content.inner.disk.faults.set(|call, file| match (call, file) {
        (Call::Sync, Some(file)) => file.write_all_at(b"lost", 4_096).and(Err(io::ErrorKind::Other.into())),
        _ => Ok(()),
    });
    content.sync().await.unwrap_err();
    store.mend();
    for _ in 0..2 {
        let other = content.put(sample(2, 10)).await.unwrap();
        let error = content.sync().await.unwrap_err();
        assert!(error.kind == ErrorKind::Damaged && error.hint.is_some(), "{error}");
        assert_eq!(read(&content, &other).await.unwrap(), sample(2, 10));
    }
    drop(content);
    store.reopen();
    assert_eq!(read(&store.content(), &reference).await.unwrap_err().kind, ErrorKind::NotFound);
    let again = put_file(&store.content(), &sample(1, 2 << 20)).await;
    store.content().sync().await.unwrap();
    assert_eq!(read(&store.content(), &again).await.unwrap(), sample(1, 2 << 20));
}

#[tokio::test]
async fn very_large_content_is_synced_by_its_own_put() {
    let store = Store::new(Options::default());
    let content = store.content();
    let bytes = sample(1, 9 << 20);
    store.fail(&[Call::Sync], io::ErrorKind::Other);
    assert!(content.put_file(Arc::new(file_of(&bytes))).await.is_err());
    store.mend();
    let reference = put_file(&content, &bytes).await;
    assert!(store.path(&reference).exists());
    assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn names_are_synced_again_until_that_succeeds() {
    for bytes in [sample(1, 10), sample(1, 1 << 20), sample(1, 9 << 20)] {
        let store = Store::new(Options::default());
        let content = store.content();
        content.put(bytes).await.unwrap();
        store.fail(&[Call::SyncDir], io::ErrorKind::Other);
        for _ in 0..2 {
            content.sync().await.unwrap_err();
        }
        let synced = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&synced);
        content.inner.disk.faults.set(move |call, _| {
            seen.fetch_or(call == Call::SyncDir, Ordering::Relaxed);
            Ok(())
        });
        content.sync().await.unwrap();
        assert!(synced.load(Ordering::Relaxed));
    }
}

/// A panic in the middle may have forgotten a file; nothing is said to be durable after it.
#[tokio::test]
async fn nothing_is_durable_after_a_panic() {
    let store = Store::new(Options::default());
    let content = store.content();
    put_file(&content, &sample(1, 2 << 20)).await;
    content.inner.disk.faults.set(|_, _| panic!("as a test wants it"));
    content.sync().await.unwrap_err();
    for _ in 0..2 {
        let error = content.sync().await.unwrap_err();
        assert!(error.hint.is_some(), "{error}");
    }
}

/// Every write is cut short at some point; nothing that is put later gets to a wrong place.
#[tokio::test]
async fn a_torn_write_is_repeated_at_its_place() {
    let mut store = Store::new(SCARCE);
    let mut put = Vec::new();
    for n in 0..60u64 {
        let content = store.content();
        content.inner.disk.faults.set(move |call, file| match (call, file) {
            (Call::Write, Some(file)) => {
                let end = file.metadata()?.len();
                file.write_all_at(&[0xee; 700], end)?;
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        });
        let bytes = sample(n, n * 131);
        put.push((content.put(bytes.clone()).await.unwrap(), bytes));
        if n > 0 {
            assert_eq!(content.sync().await.unwrap_err().kind, ErrorKind::Full);
        }
        store.mend();
        if n % 3 == 0 {
            content.sync().await.unwrap();
            drop(content);
            store.reopen();
        }
    }
    store.content().sync().await.unwrap();
    store.reopen();
    for (reference, bytes) in &put {
        assert_eq!(read(&store.content(), reference).await.unwrap(), *bytes);
    }
}

#[tokio::test]
async fn memory_for_what_waits_is_bounded() {
    let store = Store::new(SCARCE);
    let content = store.content();
    store.fail(&[Call::Write], io::ErrorKind::StorageFull);
    let mut taken = 0;
    let error = loop {
        match content.put(sample(taken, 10_000)).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind, taken), (ErrorKind::Full, 39));
    let many = (0..100).map(|n| sample(n, 10_000)).collect();
    assert_eq!(content.put_many(many).await.unwrap_err().kind, ErrorKind::Full);
    store.mend();
    content.put(sample(taken, 10_000)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_waits_together_syncs_together() {
    let store = Store::new(Options::default());
    let content = store.content();
    let (syncs, seen) = (Arc::new(std::sync::Mutex::new(0)), Arc::new(AtomicBool::new(false)));
    let (counted, wait) = (Arc::clone(&syncs), Arc::clone(&seen));
    content.inner.disk.faults.set(move |call, _| {
        if call == Call::Sync {
            *counted.lock().unwrap() += 1;
            // The first waits until all others have put.
            while !wait.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        }
        Ok(())
    });
    let spawn = |n| {
        let content = content.clone();
        tokio::spawn(async move {
            content.put(sample(n, 100)).await.unwrap();
            content.sync().await.unwrap();
        })
    };
    let first = spawn(0);
    while *syncs.lock().unwrap() == 0 {
        tokio::task::yield_now().await;
    }
    let others: Vec<_> = (1..50).map(spawn).collect();
    while content.inner.lock().puts < 50 {
        tokio::task::yield_now().await;
    }
    seen.store(true, Ordering::Release);
    for task in others.into_iter().chain([first]) {
        task.await.unwrap();
    }
    let syncs = *syncs.lock().unwrap();
    assert!(syncs <= 3, "{syncs} syncs for 50 callers");
    content.sync().await.unwrap();
    assert_eq!(content.inner.lock().attempts, syncs, "nothing to do, nothing done");
}

#[tokio::test]
async fn equal_large_content_is_stored_once_and_told_apart_from_a_damaged_file() {
    let mut store = Store::new(Options::default());
    let bytes = sample(1, 1 << 20);
    let first = put_file(&store.content(), &bytes).await;
    assert_eq!(put_file(&store.content(), &bytes).await, first);
    store.content().sync().await.unwrap();
    let stored = store.content().usage().await.unwrap().stored;
    assert_eq!(stored, 1 << 20);
    assert_eq!(store.content().put(bytes.clone()).await.unwrap(), first);
    store.reopen();
    assert_eq!(put_file(&store.content(), &bytes).await, first);
    assert_eq!(store.content().usage().await.unwrap().stored, stored);

    fs::set_permissions(store.path(&first), fs::Permissions::from_mode(0o600)).unwrap();
    OpenOptions::new().write(true).open(store.path(&first)).unwrap().set_len(77).unwrap();
    assert_eq!(read(&store.content(), &first).await.unwrap_err().kind, ErrorKind::Damaged);
    let second = put_file(&store.content(), &bytes).await;
    assert_eq!(second.place, Place::File { generation: 1 });
    store.content().sync().await.unwrap();
    assert_eq!(read(&store.content(), &second).await.unwrap(), bytes);
}

/// The name of a file that is there may not be durable: whoever made it may have been killed before its sync.
#[tokio::test]
async fn content_that_is_there_already_is_synced_too() {
    let mut store = Store::new(Options::default());
    for bytes in [sample(1, 1 << 20), sample(1, 9 << 20)] {
        put_file(&store.content(), &bytes).await;
        store.content().sync().await.unwrap();
        store.reopen();
        put_file(&store.content(), &bytes).await;
        store.fail(&[Call::SyncDir], io::ErrorKind::Other);
        store.content().sync().await.unwrap_err();
        store.mend();
    }
}

#[tokio::test]
async fn a_check_finds_a_changed_byte_in_large_content() {
    let mut store = Store::new(Options::default());
    for bytes in [sample(1, 10), sample(1, 1 << 20)] {
        let reference = put_file(&store.content(), &bytes).await;
        store.content().sync().await.unwrap();
        store.reopen();
        store.content().check(&reference).await.unwrap();
        store.damage(&reference).await;
        let error = store.content().check(&reference).await.unwrap_err();
        assert!(error.kind == ErrorKind::Damaged && error.hint.is_some(), "{error}");
    }
}

/// A file that grows or shrinks while it is read is stored as it was read: the reference always fits the bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_changing_file_is_stored_as_it_was_read() {
    let store = Store::new(Options::default());
    let content = store.content();
    let source = Arc::new(file_of(&sample(1, SMALL + 1)));
    let stop = Arc::new(AtomicBool::new(false));
    let producer = {
        let (source, stop) = (Arc::clone(&source), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut len = SMALL + 1;
            while !stop.load(Ordering::Relaxed) {
                len = if len > 3 << 20 { SMALL - 7 } else { len + 9_999 };
                source.set_len(len).unwrap();
                source.write_all_at(b"changed", len / 3).unwrap();
            }
        })
    };
    let mut sizes = std::collections::BTreeSet::new();
    while sizes.len() < 20 {
        let reference = content.put_file(Arc::clone(&source)).await.unwrap();
        content.check(&reference).await.unwrap();
        let packed = matches!(reference.place, Place::Pack { .. });
        assert_eq!(packed, reference.size <= SMALL);
        sizes.insert(reference.size);
    }
    stop.store(true, Ordering::Relaxed);
    producer.join().unwrap();
}

#[tokio::test]
async fn nobody_else_may_read_or_write_what_is_stored() {
    let store = Store::new(Options::default());
    let small = store.content().put(sample(1, 10)).await.unwrap();
    let large = store.content().put(sample(1, 1 << 20)).await.unwrap();
    store.content().sync().await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&store.path(&small)), 0o600);
    assert_eq!(mode(&store.path(&large)), 0o400);
    let large = store.path(&large);
    for dir in [&store.root(), &store.root().join("tmp"), &store.root().join("packs"), large.parent().unwrap()] {
        assert_eq!(mode(dir), 0o700, "{}", dir.display());
    }
}

#[tokio::test]
async fn what_a_crash_leaves_behind_is_cleared_away() {
    let mut store = Store::new(Options::default());
    let reference = store.content().put(sample(1, 1_000)).await.unwrap();
    store.content().sync().await.unwrap();
    let usage = store.content().usage().await.unwrap().stored;
    File::create(store.root().join("tmp/put-x")).unwrap().write_all(b"half").unwrap();
    fs::write(store.root().join("packs/00000002.pack"), [0; PACK_HEADER - 1]).unwrap();
    store.reopen();
    assert!(!store.root().join("tmp/put-x").exists() && !store.root().join("packs/00000002.pack").exists());
    assert_eq!(store.content().usage().await.unwrap().stored, usage);
    let later = store.content().put(sample(2, 1_000)).await.unwrap();
    assert!(matches!(later.place, Place::Pack { pack: 3.., .. }), "{later:?}");
    assert_eq!(read(&store.content(), &reference).await.unwrap(), sample(1, 1_000));
    store.reopen();
    assert_eq!(fs::read_dir(store.root().join("packs")).unwrap().count(), 1, "no pack without a synced record");
}

#[tokio::test]
async fn a_directory_is_used_by_one_process() {
    let store = Store::new(Options::default());
    let error = DirectoryContent::open(&store.root(), Options::default()).unwrap_err();
    assert!(error.kind == ErrorKind::Conflict && error.hint.is_some(), "{error}");
}

#[test]
fn other_formats_and_other_directories_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let open = || DirectoryContent::open(dir.path(), Options::default());
    drop(open().unwrap());
    assert_eq!(fs::read_to_string(dir.path().join("format")).unwrap(), "opendmp content 1\n");
    drop(open().unwrap());
    for (text, kind) in [
        ("opendmp content 2\n", ErrorKind::Newer),
        ("opendmp content 0\n", ErrorKind::Damaged),
        ("opendmp content\n", ErrorKind::Damaged),
        ("something else\n", ErrorKind::Damaged),
        ("", ErrorKind::Damaged),
    ] {
        fs::write(dir.path().join("format"), text).unwrap();
        let error = open().unwrap_err();
        assert!(error.kind == kind && error.hint.is_some(), "{text}: {error}");
    }
    fs::remove_file(dir.path().join("format")).unwrap();
    drop(open().unwrap());
    fs::write(dir.path().join("packs/00000001.pack"), "x").unwrap();
    fs::remove_file(dir.path().join("format")).unwrap();
    assert_eq!(open().unwrap_err().kind, ErrorKind::Damaged);
}

/// The pack of the golden file, as an earlier version wrote it, is read.
#[tokio::test]
async fn packs_of_every_format_are_read() {
    let mut store = Store::new(Options::default());
    let hex = include_str!("../tests/golden/pack-v1.hex").trim().as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let pack: Vec<u8> = hex.chunks(2).map(byte).collect();
    fs::write(store.root().join("packs/00000007.pack"), pack).unwrap();
    store.reopen();
    for (offset, bytes) in [(24, b"shout".to_vec()), (77, Vec::new()), (125, vec![0xa5; 300])] {
        let (hash, size) = (ContentHash::of(&bytes), bytes.len() as u64);
        let reference = ContentRef { hash, size, place: Place::Pack { pack: 7, offset } };
        assert_eq!(read(&store.content(), &reference).await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn a_pack_of_a_newer_format_is_said_to_be_one() {
    let mut store = Store::new(Options::default());
    let reference = store.content().put(sample(1, 10)).await.unwrap();
    store.content().sync().await.unwrap();
    let pack = OpenOptions::new().write(true).open(store.path(&reference)).unwrap();
    let mut header = crate::record::pack_header(1);
    header[8] = 9;
    let check = blake3::hash(&header[..20]);
    header[20..].copy_from_slice(&check.as_bytes()[..4]);
    pack.write_all_at(&header, 0).unwrap();
    store.reopen();
    assert_eq!(read(&store.content(), &reference).await.unwrap_err().kind, ErrorKind::Newer);
}

#[tokio::test]
async fn small_content_does_not_keep_its_neighbours_in_memory() {
    let store = Store::new(Options::default());
    let content = store.content();
    let put = content.put_many((0..500).map(|n| sample(n, 1_000)).collect()).await.unwrap();
    let Body::Bytes(bytes) = content.open(&put[3]).await.unwrap() else { unreachable!("it is small") };
    assert!(bytes.try_into_mut().is_ok_and(|bytes| bytes.capacity() < 2_000), "a slice of something larger");
}

#[tokio::test]
async fn folders_that_are_removed_cost_only_what_was_in_them() {
    let mut store = Store::new(SCARCE);
    let content = store.content();
    let before = content.put_many(vec![Bytes::from_static(b"before")]).await.unwrap().remove(0);
    content.sync().await.unwrap();
    let large = vec![7; SMALL as usize + 1];
    for folder in ["packs", "files", "tmp"] {
        // One that waits for the sync, in memory or as a temporary file.
        let waits = put_file(&content, &[&large[..], folder.as_bytes()].concat()).await;
        fs::remove_dir_all(store.root().join(folder)).unwrap();
        let small = content.put_many(vec![Bytes::from(folder)]).await.unwrap().remove(0);
        let mut synced = content.sync().await;
        for _ in 0..3 {
            if synced.is_ok() {
                break;
            }
            // Told once, and tried again, as the engine does.
            synced = content.sync().await;
        }
        synced.unwrap();
        store.content = None;
        drop(content.clone());
        assert_eq!(read(&content, &small).await.unwrap(), folder);
        assert_eq!(read(&content, &waits).await.unwrap().len(), large.len() + folder.len());
        let mode = fs::metadata(store.root().join(folder)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{folder}");
    }
    drop(content);
    store.reopen();
    // The pack that was being written was still open, so that it could be written again.
    assert_eq!(read(&store.content(), &before).await.unwrap(), "before");
}

/// What is put while the store is away, of every size, and what is expected of each call.
async fn nothing_is_stored(content: &DirectoryContent, known: &ContentRef) {
    let large = sample(7, SMALL + 1);
    let huge = sample(8, crate::large::BATCHED + 1);
    for round in 0..3 {
        let text = format!("meanwhile {round}");
        let put = content.put_many(vec![Bytes::from(text)]).await;
        assert_eq!(put.unwrap_err().kind, ErrorKind::Unavailable);
        for bytes in [&large, &huge] {
            let error = content.put_file(Arc::new(file_of(bytes))).await.unwrap_err();
            assert!(error.kind == ErrorKind::Unavailable && error.hint.is_some(), "{error:?}");
        }
        assert_eq!(content.sync().await.unwrap_err().kind, ErrorKind::Unavailable);
        assert_eq!(content.vouch(&[*known]).await.unwrap_err().kind, ErrorKind::Unavailable);
        let _ = content.put(Bytes::from_static(b"one alone")).await;
        assert!(content.open(known).await.is_ok(), "it is in memory");
    }
}

#[tokio::test]
async fn a_store_that_is_away_takes_nothing() {
    let mut store = Store::new(Options::default());
    let content = store.content();
    let before = content.put(Bytes::from_static(b"before")).await.unwrap();
    content.sync().await.unwrap();
    let aside = store.dir.path().join("aside");
    for empty in [None, Some(false), Some(true)] {
        let waits = put_file(&content, &sample(empty.map_or(3, u64::from), SMALL * 2)).await;
        let small = content.put(Bytes::from(format!("waits {empty:?}"))).await.unwrap();
        fs::rename(store.root(), &aside).unwrap();
        match empty {
            None => {}
            Some(true) => fs::create_dir(store.root()).unwrap(),
            // Another store, as a copy of this one may be.
            Some(false) => drop(DirectoryContent::open(&store.root(), Options::default()).unwrap()),
        }
        nothing_is_stored(&content, &before).await;
        if empty == Some(true) {
            assert_eq!(fs::read_dir(store.root()).unwrap().count(), 0, "nothing is made in its place");
        }
        if empty.is_some() {
            assert_eq!(fs::read_dir(store.root().join("packs")).map_or(0, Iterator::count), 0);
            fs::remove_dir_all(store.root()).unwrap();
        }
        assert!(!store.root().exists());
        fs::rename(&aside, store.root()).unwrap();
        content.sync().await.unwrap();
        content.vouch(&[before, waits, small]).await.unwrap();
        let reread = DirectoryContent::open(&store.root(), Options::default());
        assert_eq!(reread.unwrap_err().kind, ErrorKind::Conflict, "it holds its lock all the time");
        assert_eq!(read(&content, &waits).await.unwrap(), sample(empty.map_or(3, u64::from), SMALL * 2));
        assert_eq!(read(&content, &small).await.unwrap(), format!("waits {empty:?}"));
    }
    drop(content);
    store.reopen();
    assert_eq!(read(&store.content(), &before).await.unwrap(), "before");
}

#[tokio::test]
async fn what_goes_away_while_it_is_written_is_written_where_it_belongs() {
    let mut store = Store::new(Options::default());
    let content = store.content();
    let (root, aside) = (store.root(), store.dir.path().join("aside"));
    for round in 0..6u64 {
        let small = content.put(sample(round, 5_000)).await.unwrap();
        let large = put_file(&content, &sample(round, SMALL * 2)).await;
        // Replaced at one of the calls to the disk, by folders that take everything.
        let (mut calls, at, from, to) = (0, round, root.clone(), aside.clone());
        content.inner.disk.faults.set(move |_, _| {
            if calls == at {
                fs::rename(&from, &to)?;
                for folder in ["packs", "files", "tmp"] {
                    fs::create_dir_all(from.join(folder))?;
                }
            }
            calls += 1;
            Ok(())
        });
        let synced = content.sync().await;
        content.inner.disk.faults.clear();
        if aside.exists() {
            assert_eq!(synced.unwrap_err().kind, ErrorKind::Unavailable, "at call {round}");
            fs::remove_dir_all(&root).unwrap();
            fs::rename(&aside, &root).unwrap();
        }
        for _ in 0..3 {
            if content.sync().await.is_ok() {
                break;
            }
        }
        content.sync().await.unwrap();
        assert_eq!(read(&content, &small).await.unwrap(), sample(round, 5_000));
        for reference in [&small, &large] {
            assert!(store.path(reference).exists(), "at call {round}: {reference:?}");
        }
    }
    drop(content);
    let all = |seed| [sample(seed, 5_000), sample(seed, SMALL * 2)];
    store.reopen();
    let content = store.content();
    for bytes in (0..6).flat_map(all).filter(|bytes| bytes.len() as u64 > SMALL) {
        let hash = ContentHash::of(&bytes);
        let stored = ContentRef { hash, size: bytes.len() as u64, place: Place::File { generation: 0 } };
        assert_eq!(read(&content, &stored).await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn folders_that_are_elsewhere_are_not_made_again() {
    let mut store = Store::new(Options::default());
    for folder in ["packs", "files"] {
        store.content = None;
        let (path, elsewhere) = (store.root().join(folder), store.dir.path().join(folder));
        fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        store.reopen();
        let content = store.content();
        let away = store.dir.path().join("away");
        fs::rename(&elsewhere, &away).unwrap();
        for replaced in [false, true] {
            if replaced {
                fs::create_dir(&elsewhere).unwrap();
            }
            let _ = content.put(Bytes::from(folder)).await;
            let error = content.sync().await.unwrap_err();
            assert!(error.kind == ErrorKind::Unavailable && error.hint.is_some(), "{error:?}");
            let error = content.put_file(Arc::new(file_of(&sample(9, SMALL * 2)))).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unavailable);
            if replaced {
                fs::remove_dir(&elsewhere).unwrap();
            }
        }
        fs::rename(&away, &elsewhere).unwrap();
        content.sync().await.unwrap();
    }
}

#[tokio::test]
async fn large_content_leaves_the_floor_free() {
    let store = Store::new(Options { floor: u64::MAX / 2, ..Options::default() });
    let content = store.content();
    let large = sample(7, SMALL * 40);
    let file = Arc::new(file_of(&large));
    for put in [
        content.put(large.clone()).await,
        content.put_file(file).await,
        content.put_reader(Box::new(io::Cursor::new(large))).await,
    ] {
        let error = put.unwrap_err();
        assert!(error.kind == ErrorKind::Full && error.hint.is_some(), "{error:?}");
    }
    assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0, "nothing is left of it");
    // What is small is what work in progress has to settle.
    let small = content.put(sample(8, 1_000)).await.unwrap();
    content.sync().await.unwrap();
    assert!(content.open(&small).await.is_ok());
}

fn mark(seq: u64) -> JournalMark {
    JournalMark { journal: "one".to_owned(), seq: Seq(seq) }
}

/// A copy of a folder and all that is in it.
fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

/// A process that is killed leaves no time to follow the journal once more.
#[tokio::test]
async fn a_copy_from_before_is_told_from_what_came_after_it_whenever_it_ended() {
    let mut store = Store::new(Options::default());
    let older = store.dir.path().join("older");
    store.content().follow_journal(&mark(5)).await.unwrap();
    for round in 0..3u64 {
        store.content().put(sample(round, 5_000)).await.unwrap();
        store.content().sync().await.unwrap();
        store.content().note_journal(&mark(10 + round)).await.unwrap();
        let packs = store.root().join("packs");
        copy(&packs, &older);
        // In the same pack, and, after a start, in the next.
        store.content().put(sample(10 + round, 5_000)).await.unwrap();
        store.content().sync().await.unwrap();
        store.content().note_journal(&mark(20 + round)).await.unwrap();
        store.content = None;
        let newer = store.dir.path().join("newer");
        fs::rename(&packs, &newer).unwrap();
        fs::rename(&older, &packs).unwrap();
        store.reopen();
        let error = store.content().follow_journal(&mark(20 + round)).await.unwrap_err();
        assert!(error.kind == ErrorKind::Damaged && error.hint.is_some(), "{error:?}");
        store.content = None;
        fs::remove_dir_all(&packs).unwrap();
        fs::rename(&newer, &packs).unwrap();
        store.reopen();
        store.content().follow_journal(&mark(20 + round)).await.unwrap();
    }
}

/// A folder of content may be missing for days, while the journal goes on.
#[tokio::test]
async fn the_mark_stays_small_while_content_is_missing() {
    let mut store = Store::new(Options::default());
    store.content().follow_journal(&mark(5)).await.unwrap();
    store.content().put(sample(1, 5_000)).await.unwrap();
    store.content().sync().await.unwrap();
    store.content().follow_journal(&mark(6)).await.unwrap();
    // Its pack is not written any more.
    store.content = None;
    store.reopen();
    store.content().follow_journal(&mark(7)).await.unwrap();
    fs::remove_dir_all(store.root().join("packs")).unwrap();
    store.content().put(sample(2, 5_000)).await.unwrap();
    // It fails once; whoever syncs tries again.
    let _ = store.content().sync().await;
    store.content().sync().await.unwrap();
    for round in 1..4u64 {
        for seq in 0..20 {
            store.content().note_journal(&mark(round * 100 + seq)).await.unwrap();
        }
        let error = store.content().follow_journal(&mark(round * 100 + 50)).await.unwrap_err();
        assert!(error.message.contains("was removed or moved away"), "{error:?}");
        let written = fs::read_to_string(store.root().join("journal")).unwrap();
        assert_eq!(written, format!("one {}\n", round * 100 + 50));
    }
}

#[tokio::test]
async fn a_new_pack_is_written_down_before_anything_in_it_counts() {
    let mut store = Store::new(Options::default());
    store.content().follow_journal(&mark(5)).await.unwrap();
    store.content().put(sample(1, 5_000)).await.unwrap();
    store.content().sync().await.unwrap();
    store.content = None;
    fs::remove_file(store.root().join("packs/00000001.pack")).unwrap();
    store.reopen();
    let error = store.content().follow_journal(&mark(5)).await.unwrap_err();
    assert!(error.message.contains("00000001.pack"), "{error:?}");
}

#[tokio::test]
async fn the_last_lines_of_both_marks_may_be_torn() {
    let mut store = Store::new(Options::default());
    store.content().follow_journal(&mark(5)).await.unwrap();
    store.content().put(sample(1, 5_000)).await.unwrap();
    store.content().sync().await.unwrap();
    store.content().follow_journal(&mark(7)).await.unwrap();
    for (file, torn) in [("content/journal", "one"), ("content.reach", "las")] {
        store.content = None;
        let mut file = OpenOptions::new().append(true).open(store.dir.path().join(file)).unwrap();
        file.write_all(torn.as_bytes()).unwrap();
        store.reopen();
        assert!(store.content().follow_journal(&mark(6)).await.is_err());
        store.content().follow_journal(&mark(7)).await.unwrap();
    }
}

/// It is an issue until what was in the folder is beside what is new; it may be put there while the store is in use.
#[tokio::test]
async fn a_folder_that_was_removed_is_told_until_its_content_is_back() {
    for (folder, size) in [("packs", 5_000), ("files", SMALL * 2)] {
        let store = Store::new(Options::default());
        let content = store.content();
        content.follow_journal(&mark(5)).await.unwrap();
        let before = put_file(&content, &sample(1, size)).await;
        content.sync().await.unwrap();
        content.follow_journal(&mark(6)).await.unwrap();
        let (path, moved) = (store.root().join(folder), store.dir.path().join("moved"));
        // In a pack that is not written any more.
        content.inner.lock().tail.close(1);
        fs::rename(&path, &moved).unwrap();
        let mut after = content.put_file(Arc::new(file_of(&sample(2, size)))).await;
        for _ in 0..3 {
            after = match after {
                Ok(after) => content.sync().await.map(|()| after),
                Err(_) => content.put_file(Arc::new(file_of(&sample(2, size)))).await,
            };
        }
        let after = after.unwrap();
        for _ in 0..2 {
            let error = content.follow_journal(&mark(7)).await.unwrap_err();
            assert!(error.message.contains(folder) && error.hint.unwrap().contains("cp -an"), "{}", error.message);
        }
        copy(&moved.join("."), &path);
        content.follow_journal(&mark(7)).await.unwrap();
        assert_eq!(read(&content, &before).await.unwrap(), sample(1, size));
        assert_eq!(read(&content, &after).await.unwrap(), sample(2, size));
    }
}
