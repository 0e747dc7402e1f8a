//! What every implementation of [`Content`] does alike, as a suite that panics where one does not.
//!
//! An implementation gives a [`Subject`] and calls [`all`] from its own tests. Capabilities that it lacks (damage from
//! outside, a full disk) it says no to, and the suite leaves out what needs them.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use opendmp_model::ids::ContentHash;
use opendmp_model::item::{ContentRef, Place};

use super::{Body, Content, Freed, MemoryContent, SMALL, read_all};
use crate::journal::{JournalMark, Seq};
use crate::{Error, ErrorKind};

/// A store under test, empty at first.
#[async_trait]
pub trait Subject: Send + Sync {
    /// The open store.
    fn content(&self) -> Arc<dyn Content>;

    /// Ends the store as a power cut would, and opens it again. The suite holds no handle meanwhile.
    async fn crash(&mut self);

    /// Changes a stored byte of this content. Returns whether that can be done here.
    async fn damage(&mut self, content: &ContentRef) -> bool;

    /// Fills the disk, or makes room again. Returns whether that can be done here.
    async fn set_full(&mut self, full: bool) -> bool;
}

/// Runs every case, each with a subject of its own.
///
/// # Panics
/// Where the contract is broken.
pub async fn all<S: Subject>(make: impl AsyncFn() -> S) {
    what_was_put_is_read(&mut make().await).await;
    a_reader_that_fails_is_to_blame(&make().await).await;
    many_keep_their_order(&make().await).await;
    files_are_read_from_their_start(&make().await).await;
    what_is_stored_does_not_change(&make().await).await;
    a_crash_loses_what_was_not_synced_and_nothing_else(&mut make().await).await;
    equal_content_may_be_put_again(&mut make().await).await;
    all_calls_may_run_at_once(&mut make().await).await;
    made_up_references_are_refused(&make().await).await;
    damage_is_found(&mut make().await).await;
    a_full_disk_is_said_and_got_over(&mut make().await).await;
    usage_counts_what_is_stored(&make().await).await;
    what_nobody_names_is_collected(&mut make().await).await;
    what_is_held_stays(&mut make().await).await;
    one_collects_at_a_time(&make().await).await;
    only_its_own_journal_is_followed(&mut make().await).await;
    what_is_noted_first_is_not_followed(&mut make().await).await;
}

/// Bytes that look random, equal for equal `seed` and length.
pub fn sample(seed: u64, len: u64) -> Bytes {
    let mut out = vec![0; usize::try_from(len).unwrap_or(0)];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out.into()
}

/// An open file of these bytes without a name, positioned at its end.
///
/// # Panics
/// Where none can be made in the system's folder for temporary files.
pub fn file_of(bytes: &[u8]) -> File {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("opendmp-conformance-{}-{number}", std::process::id()));
    let made = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
    let mut file = made.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    std::fs::remove_file(&path).and_then(|()| file.write_all(bytes)).expect("a temporary file can be written");
    file
}

/// The lengths at which something changes.
const LENGTHS: [u64; 8] = [0, 1, 1_000, SMALL - 1, SMALL, SMALL + 1, 3 << 20, 9 << 20];

async fn read(content: &dyn Content, reference: &ContentRef) -> Result<Bytes, Error> {
    let body = content.open(reference).await?;
    Ok(read_all(&body).expect("an opened body can be read").into())
}

/// Panics unless `reference` leads to `bytes`.
async fn assert_reads(content: &dyn Content, reference: &ContentRef, bytes: &Bytes) {
    assert_eq!((reference.hash, reference.size), (ContentHash::of(bytes), bytes.len() as u64));
    let found = read(content, reference).await.unwrap_or_else(|error| panic!("{reference:?}: {error}"));
    assert!(found == *bytes, "{reference:?} leads to other bytes");
}

async fn synced(content: &dyn Content, bytes: Bytes) -> ContentRef {
    let reference = content.put(bytes).await.expect("put");
    content.sync().await.expect("sync");
    reference
}

/// Content of each size, put each way, is read before and after a sync, and after a crash.
async fn what_was_put_is_read(subject: &mut impl Subject) {
    let mut put = Vec::new();
    {
        let content = subject.content();
        for (seed, len) in LENGTHS.into_iter().enumerate() {
            let bytes = sample(seed as u64, len);
            put.push((content.put(bytes.clone()).await.expect("put"), bytes));
            let bytes = sample(seed as u64 + 100, len);
            let file = Arc::new(file_of(&bytes));
            put.push((content.put_file(file).await.expect("put of a file"), bytes));
            let bytes = sample(seed as u64 + 200, len);
            let reader = Dribble { left: bytes.clone(), error: false };
            put.push((content.put_reader(Box::new(reader)).await.expect("put of a reader"), bytes));
        }
        for (reference, bytes) in &put {
            assert_reads(&*content, reference, bytes).await;
            assert_eq!(*reference == ContentRef::empty(), bytes.is_empty());
        }
        content.sync().await.expect("sync");
        for (reference, bytes) in &put {
            assert_reads(&*content, reference, bytes).await;
        }
    }
    subject.crash().await;
    for (reference, bytes) in &put {
        assert_reads(&*subject.content(), reference, bytes).await;
    }
}

/// Gives its bytes in pieces of many lengths, and then ends or fails.
struct Dribble {
    left: Bytes,
    error: bool,
}

impl Read for Dribble {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.left.len().min(buffer.len()).min(1 + self.left.len() % 5_003);
        if count == 0 && self.error {
            return Err(io::Error::other("the script ended early"));
        }
        buffer[..count].copy_from_slice(&self.left.split_to(count));
        Ok(count)
    }
}

/// An error of a reader is its maker's, says what it was, and leaves nothing behind.
async fn a_reader_that_fails_is_to_blame(subject: &impl Subject) {
    let content = subject.content();
    let before = content.usage().await.expect("usage").stored;
    for len in LENGTHS {
        let reader = Dribble { left: sample(1, len), error: true };
        let error = content.put_reader(Box::new(reader)).await.expect_err("a torn result was stored");
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        assert!(error.message.contains("the script ended early"), "{error}");
    }
    content.sync().await.expect("sync");
    assert_eq!(content.usage().await.expect("usage").stored, before);
}

async fn many_keep_their_order(subject: &impl Subject) {
    let content = subject.content();
    assert_eq!(content.put_many(Vec::new()).await.expect("put of none"), []);
    let mut many: Vec<Bytes> = (0..3_000).map(|n| sample(n, n)).collect();
    many.extend([sample(7, 7), sample(1, SMALL + 1), Bytes::new(), sample(2, SMALL)]);
    let references = content.put_many(many.clone()).await.expect("put of many");
    assert_eq!(references.len(), many.len());
    content.sync().await.expect("sync");
    for (reference, bytes) in references.iter().zip(&many) {
        assert_reads(&*content, reference, bytes).await;
    }
}

/// The position of a file neither matters nor moves, however large the file is.
async fn files_are_read_from_their_start(subject: &impl Subject) {
    let content = subject.content();
    for len in [10, SMALL + 10] {
        let bytes = sample(1, len);
        let mut file = file_of(&bytes);
        file.seek(SeekFrom::Start(5)).expect("seek");
        let file = Arc::new(file);
        let reference = content.put_file(Arc::clone(&file)).await.expect("put of a file");
        assert_reads(&*content, &reference, &bytes).await;
        assert_eq!((&*file).stream_position().expect("position"), 5);
    }
}

/// Neither who put a file nor who opened it can change what is stored.
async fn what_is_stored_does_not_change(subject: &impl Subject) {
    let content = subject.content();
    for len in [10, SMALL + 10] {
        let bytes = sample(1, len);
        let file = Arc::new(file_of(&bytes));
        let reference = content.put_file(Arc::clone(&file)).await.expect("put of a file");
        file.write_all_at(b"changed", 0).and_then(|()| file.set_len(7)).expect("the source can be written");
        assert_reads(&*content, &reference, &bytes).await;
        content.sync().await.expect("sync");
        if let Body::File(stored) = content.open(&reference).await.expect("open") {
            assert!(stored.write_at(b"changed", 0).is_err(), "stored content can be written");
        }
        assert_reads(&*content, &reference, &bytes).await;
    }
}

async fn a_crash_loses_what_was_not_synced_and_nothing_else(subject: &mut impl Subject) {
    for round in 0..3 {
        let mut put = Vec::new();
        {
            let content = subject.content();
            for len in LENGTHS {
                let bytes = sample(round, len);
                let durable = synced(&*content, bytes.clone()).await;
                let other = sample(round + 50, len);
                let lost = content.put(other.clone()).await.expect("put");
                put.push((durable, bytes, lost, other));
            }
            // All but the last two were synced by who put after them; those two may be lost.
            content.put(sample(round + 99, 5)).await.expect("put");
        }
        subject.crash().await;
        let content = subject.content();
        for (durable, bytes, lost, other) in &put {
            assert_reads(&*content, durable, bytes).await;
            match read(&*content, lost).await {
                Ok(found) => assert!(found == *other, "{lost:?} leads to other bytes after a crash"),
                Err(error) => assert!(
                    matches!(error.kind, ErrorKind::NotFound | ErrorKind::Damaged),
                    "{lost:?} after a crash: {error}"
                ),
            }
            let again = synced(&*content, other.clone()).await;
            assert_reads(&*content, &again, other).await;
            assert_reads(&*content, durable, bytes).await;
        }
    }
}

async fn equal_content_may_be_put_again(subject: &mut impl Subject) {
    let mut references = Vec::new();
    for round in 0..3 {
        for len in LENGTHS {
            let bytes = sample(1, len);
            let content = subject.content();
            // Twice before a sync, and again after it, and again after a crash.
            references.push((content.put(bytes.clone()).await.expect("put"), bytes.clone()));
            let file = Arc::new(file_of(&bytes));
            references.push((content.put_file(file).await.expect("put of a file"), bytes.clone()));
            references.push((synced(&*content, bytes.clone()).await, bytes.clone()));
            references.push((synced(&*content, bytes.clone()).await, bytes));
        }
        if round == 1 {
            subject.crash().await;
        }
    }
    subject.crash().await;
    for (reference, bytes) in &references {
        assert_reads(&*subject.content(), reference, bytes).await;
    }
}

/// Many tasks put, sync, open; what each has synced survives a crash.
async fn all_calls_may_run_at_once(subject: &mut impl Subject) {
    let content = subject.content();
    let tasks: Vec<_> = (0..8u64)
        .map(|task| {
            let content = Arc::clone(&content);
            tokio::spawn(async move {
                let mut put = Vec::new();
                for n in 0..40u64 {
                    // Some lengths and seeds are shared, so that equal content is put at once.
                    let len = if n % 10 == 9 { SMALL + n } else { n * 97 };
                    let bytes = sample(if n % 3 == 0 { 0 } else { task }, len);
                    let reference = match n % 4 {
                        0 => content.put_many(vec![bytes.clone(), sample(task, 30)]).await.map(|all| all[0]),
                        1 => content.put_file(Arc::new(file_of(&bytes))).await,
                        _ => content.put(bytes.clone()).await,
                    };
                    let reference = reference.expect("put");
                    assert_reads(&*content, &reference, &bytes).await;
                    put.push((reference, bytes));
                    if n % 5 == task % 5 {
                        content.sync().await.expect("sync");
                        content.usage().await.expect("usage");
                    }
                }
                content.sync().await.expect("sync");
                put
            })
        })
        .collect();
    let mut put = Vec::new();
    for task in tasks {
        put.extend(task.await.expect("the task did not panic"));
    }
    drop(content);
    subject.crash().await;
    for (reference, bytes) in &put {
        assert_reads(&*subject.content(), reference, bytes).await;
    }
}

/// References to nothing give an error, never other bytes and never a panic.
async fn made_up_references_are_refused(subject: &impl Subject) {
    let content = subject.content();
    let real = synced(&*content, sample(1, 100)).await;
    synced(&*content, sample(1, SMALL + 100)).await;
    let (pack, offset) = match real.place {
        Place::Pack { pack, offset } => (pack, offset),
        _ => (0, 0),
    };
    let places = [
        Place::Empty,
        Place::Pack { pack, offset: offset + 1 },
        Place::Pack { pack, offset: u64::MAX },
        Place::Pack { pack: pack + 1, offset },
        Place::Pack { pack: u64::MAX, offset: 0 },
        Place::File { generation: 0 },
        Place::File { generation: u32::MAX },
    ];
    let other = ContentHash::of(b"never put");
    let moved = places.into_iter().map(|place| ContentRef { place, ..real });
    let changed = [
        ContentRef { hash: other, ..real },
        ContentRef { size: real.size + 1, ..real },
        ContentRef { size: real.size - 1, ..real },
        ContentRef { size: u64::MAX, ..real },
        ContentRef { size: 0, ..real },
        ContentRef { hash: other, size: 1 << 40, place: Place::File { generation: 0 } },
    ];
    for reference in moved.chain(changed) {
        let error = read(&*content, &reference).await.err();
        let kind = error.map(|error| error.kind);
        assert!(matches!(kind, Some(ErrorKind::NotFound | ErrorKind::Damaged)), "{reference:?}: {kind:?}");
    }
    assert_reads(&*content, &real, &sample(1, 100)).await;
}

/// A changed byte is an error with a hint where the contract asks for it, for that content only.
async fn damage_is_found(subject: &mut impl Subject) {
    for len in [1, 100, SMALL] {
        let (before, after) = (sample(1, len), sample(2, len));
        let put = {
            let content = subject.content();
            [
                synced(&*content, before.clone()).await,
                synced(&*content, sample(3, len)).await,
                synced(&*content, after.clone()).await,
            ]
        };
        subject.crash().await;
        if !subject.damage(&put[1]).await {
            return;
        }
        let content = subject.content();
        let error = read(&*content, &put[1]).await.expect_err("damaged content was opened");
        assert_eq!(error.kind, ErrorKind::Damaged, "{error}");
        assert!(error.hint.is_some(), "{error} has no hint");
        assert_reads(&*content, &put[0], &before).await;
        assert_reads(&*content, &put[2], &after).await;
        let again = synced(&*content, sample(3, len)).await;
        assert_reads(&*content, &again, &sample(3, len)).await;
    }
}

/// A full disk is said at the put or at the sync; what is durable stays readable, and all goes on when there is room.
async fn a_full_disk_is_said_and_got_over(subject: &mut impl Subject) {
    for len in [100, SMALL, SMALL + 1, 10 << 20] {
        let before = sample(1, len);
        let durable = synced(&*subject.content(), before.clone()).await;
        if !subject.set_full(true).await {
            return;
        }
        let mut refused = Vec::new();
        for n in 0..3 {
            let (content, bytes) = (subject.content(), sample(10 + n, len));
            let error = match content.put(bytes.clone()).await {
                Err(error) => error,
                Ok(reference) => {
                    refused.push((reference, bytes));
                    content.sync().await.expect_err("a full disk took more")
                }
            };
            assert_eq!(error.kind, ErrorKind::Full, "{error}");
            assert!(error.is_temporary(), "{error}");
            assert_reads(&*content, &durable, &before).await;
        }
        subject.set_full(false).await;
        let content = subject.content();
        let bytes = sample(20, len);
        let reference = synced(&*content, bytes.clone()).await;
        assert_reads(&*content, &reference, &bytes).await;
        // The sync covers what was put before, also where an earlier one could not.
        drop(content);
        subject.crash().await;
        let content = subject.content();
        assert_reads(&*content, &reference, &bytes).await;
        assert_reads(&*content, &durable, &before).await;
        for (reference, bytes) in &refused {
            assert_reads(&*content, reference, bytes).await;
        }
    }
}

/// Collects all but what is named.
async fn collected(content: &dyn Content, named: &[ContentRef], dry: bool) -> Freed {
    let mut collection = content.collect().await.expect("a collection");
    for one in named {
        collection.keep(vec![*one]).await.expect("keep");
    }
    collection.finish(dry, Arc::new(|_| true)).await.expect("the end of a collection")
}

async fn assert_gone(content: &dyn Content, reference: &ContentRef) {
    let error = content.open(reference).await.expect_err("what was let go does not open");
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
}

/// What is named stays as it is, the rest goes, and comes back where it is put again.
async fn what_nobody_names_is_collected(subject: &mut impl Subject) {
    let (mut kept, mut gone) = (Vec::new(), Vec::new());
    {
        let content = subject.content();
        for seed in 0..6 {
            for len in [100, 5_000, SMALL, SMALL + 1, 1 << 20] {
                let bytes = sample(seed << 32 | len, len);
                let put = synced(&*content, bytes.clone()).await;
                if seed % 2 == 0 { kept.push((put, bytes)) } else { gone.push((put, bytes)) }
            }
        }
        let named: Vec<ContentRef> = kept.iter().map(|(reference, _)| *reference).collect();
        let would = collected(&*content, &named, true).await;
        let bytes: u64 = gone.iter().map(|(reference, _)| reference.size).sum();
        assert_eq!((would.contents, would.kept, would.disk), (gone.len() as u64, kept.len() as u64, 0));
        assert!(would.bytes >= bytes, "{would:?} of {bytes}");
        for (reference, bytes) in kept.iter().chain(&gone) {
            assert_reads(&*content, reference, bytes).await;
            content.vouch(&[*reference]).await.expect("nothing was let go");
        }
        let before = content.usage().await.expect("usage").stored;
        let freed = collected(&*content, &named, false).await;
        assert_eq!((freed.contents, freed.bytes, freed.kept), (would.contents, would.bytes, would.kept));
        assert_eq!(content.usage().await.expect("usage").stored, before - freed.bytes);
        for (reference, _) in &gone {
            assert_gone(&*content, reference).await;
            let error = content.vouch(&[kept[0].0, *reference]).await.expect_err("it was let go");
            assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
        }
        content.vouch(&named).await.expect("these were not");
        assert_eq!(collected(&*content, &named, false).await.contents, 0, "once");
    }
    subject.crash().await;
    let content = subject.content();
    for (reference, bytes) in &kept {
        assert_reads(&*content, reference, bytes).await;
    }
    let mut again = Vec::new();
    for (reference, bytes) in &gone {
        assert_gone(&*content, reference).await;
        again.push((synced(&*content, bytes.clone()).await, bytes.clone()));
    }
    drop(content);
    subject.crash().await;
    for (reference, bytes) in kept.iter().chain(&again) {
        assert_reads(&*subject.content(), reference, bytes).await;
    }
}

/// What is put under a hold stays, also onto equal content from before it, and until the last hold ends.
async fn what_is_held_stays(subject: &mut impl Subject) {
    let lens = [4_000, SMALL + 10, 2 << 20];
    let content = subject.content();
    let mut before = Vec::new();
    for len in lens {
        before.push(synced(&*content, sample(1, len)).await);
    }
    let early = content.hold();
    let mut held = Vec::new();
    for len in lens {
        held.push((synced(&*content, sample(1, len)).await, sample(1, len)));
        held.push((synced(&*content, sample(2, len)).await, sample(2, len)));
    }
    let late = content.hold();
    let mut collection = content.collect().await.expect("a collection");
    // What comes under a hold while it goes on.
    for len in lens {
        held.push((synced(&*content, sample(3, len)).await, sample(3, len)));
        held.push((synced(&*content, sample(1, len)).await, sample(1, len)));
    }
    // Committed meanwhile, too late for the view that the collection has.
    drop(early);
    collection.keep(Vec::new()).await.expect("keep");
    collection.finish(false, Arc::new(|_| true)).await.expect("the end of a collection");
    for (reference, bytes) in &held {
        assert_reads(&*content, reference, bytes).await;
    }
    let all: Vec<ContentRef> = held.iter().map(|(reference, _)| *reference).collect();
    content.vouch(&all).await.expect("they are held");
    drop(late);
    collected(&*content, &all[..2], false).await;
    for (reference, bytes) in &held {
        if all[..2].contains(reference) {
            assert_reads(&*content, reference, bytes).await;
        } else {
            assert_gone(&*content, reference).await;
        }
    }
    drop(content);
    // A hold ends with its process.
    std::mem::forget(subject.content().hold());
    subject.crash().await;
    assert!(collected(&*subject.content(), &[], false).await.contents > 0);
    assert_gone(&*subject.content(), &all[0]).await;
}

async fn one_collects_at_a_time(subject: &impl Subject) {
    let content = subject.content();
    let put = synced(&*content, sample(1, 1_000)).await;
    let first = content.collect().await.expect("a collection");
    assert_eq!(content.collect().await.map(drop).expect_err("another one").kind, ErrorKind::Conflict);
    drop(first);
    assert_reads(&*content, &put, &sample(1, 1_000)).await;
    assert_eq!(collected(&*content, &[], false).await.contents, 1);
}

/// Another journal, or one that is behind, decides nothing; also after a restart.
async fn only_its_own_journal_is_followed(subject: &mut impl Subject) {
    let mark = |journal: &str, seq| JournalMark { journal: journal.to_owned(), seq: Seq(seq) };
    for (journal, seq) in [("one", 5), ("one", 5), ("one", 7)] {
        subject.content().follow_journal(&mark(journal, seq)).await.unwrap();
    }
    for crashed in [false, true] {
        if crashed {
            subject.crash().await;
        }
        for (journal, seq) in [("one", 6), ("two", 9), ("", 9), ("one", 0)] {
            let refused = subject.content().follow_journal(&mark(journal, seq)).await.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Damaged, "{refused}");
            assert!(refused.hint.is_some());
        }
        subject.content().follow_journal(&mark("one", 7)).await.unwrap();
    }
    subject.content().follow_journal(&mark("one", 8)).await.unwrap();
    // What is noted counts, too, but for another journal, and for one that is behind.
    for (journal, seq) in [("one", 9), ("one", 1_000), ("one", 10), ("two", 2_000)] {
        subject.content().note_journal(&mark(journal, seq)).await.unwrap();
    }
    subject.crash().await;
    for seq in [8, 999] {
        let refused = subject.content().follow_journal(&mark("one", seq)).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Damaged, "{refused}");
    }
    subject.content().follow_journal(&mark("one", 1_000)).await.unwrap();
}

/// A store that follows no journal is not tied to one by a note.
async fn what_is_noted_first_is_not_followed(subject: &mut impl Subject) {
    let mark = |journal: &str, seq| JournalMark { journal: journal.to_owned(), seq: Seq(seq) };
    subject.content().note_journal(&mark("one", 5)).await.unwrap();
    subject.crash().await;
    subject.content().follow_journal(&mark("two", 1)).await.unwrap();
}

async fn usage_counts_what_is_stored(subject: &impl Subject) {
    let content = subject.content();
    let mut before = content.usage().await.expect("usage").stored;
    for len in [1_000, SMALL + 1_000] {
        synced(&*content, sample(1, len)).await;
        let after = content.usage().await.expect("usage").stored;
        assert!((before + len..before + len + 1_000).contains(&after), "{before} and {len} became {after}");
        before = after;
    }
}

/// The suite's way to the implementation in memory.
#[async_trait]
impl Subject for Arc<MemoryContent> {
    fn content(&self) -> Arc<dyn Content> {
        Self::clone(self) as Arc<dyn Content>
    }

    async fn crash(&mut self) {
        MemoryContent::crash(self);
    }

    async fn damage(&mut self, _: &ContentRef) -> bool {
        false
    }

    async fn set_full(&mut self, full: bool) -> bool {
        MemoryContent::set_full(self, full);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn content_in_memory_conforms() {
        all(async || Arc::new(MemoryContent::default())).await;
    }
}
