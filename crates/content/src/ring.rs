//! What steps were given and gave lately, in files of bounded size: see [`Recent`]. Nothing here is durable, nothing is
//! synced, and a start begins with nothing: what is missing can be made again.
//!
//! One thread writes. It is given what there is through a short queue, of which the senders drop what does not fit, and
//! it rests nine times as long as it works, so that it never takes more than a tenth of a core from those who send.
//! Segments hold bytes and nothing else; where what lies is known in memory, by the first eight bytes of its hash, and
//! what is read is hashed again. The oldest segment makes room for the newest bytes.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use opendmp_model::ids::ContentHash;
use opendmp_ports::Error;
use opendmp_ports::content::{Recent, SMALL};

/// Parts that the room is cut into: one of them is let go at a time.
const SEGMENTS: u64 = 16;

/// Bytes that one content is taken to need at least, so that what is known in memory is bounded too.
const LEAST: u64 = 1 << 10;

/// Handings-over that may wait.
const QUEUE: usize = 8;

/// How long it rests for each unit of time that it works.
const REST: u32 = 9;

/// How long nothing is kept after a disk was full or failed.
const PAUSE: Duration = Duration::from_secs(60);

/// Files in a folder of their own, with the newest bytes.
#[derive(Debug)]
pub struct Ring {
    sender: Option<SyncSender<Vec<(ContentHash, Bytes)>>>,
    kept: Arc<Mutex<Kept>>,
    thread: Option<JoinHandle<()>>,
}

/// Where one content lies.
#[derive(Clone, Copy, Debug)]
struct Spot {
    segment: u64,
    at: u64,
    length: u32,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    file: Arc<File>,
    path: PathBuf,
    length: u64,
    contents: u64,
}

#[derive(Debug)]
struct Kept {
    folder: PathBuf,
    most: u64,
    bytes: u64,
    next: u64,
    segments: VecDeque<Segment>,
    spots: HashMap<u64, Spot>,
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    // What is half done after a panic is at worst not found, or has another hash.
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(hash: ContentHash) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&hash.0[..8]);
    u64::from_le_bytes(first)
}

impl Ring {
    /// Keeps at most so many bytes in `folder`, which is its own: what is in it is removed.
    ///
    /// # Errors
    /// Where the folder can't be made or no thread started.
    pub fn open(folder: &Path, most: u64) -> Result<Self, Error> {
        let failed = |error| Error::io("open recent", folder.display(), &error);
        make_folder(folder).map_err(failed)?;
        let before = files(folder).map_err(failed)?;
        let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u64>().ok();
        let next = before.iter().filter_map(number).max().map_or(0, |last| last + 1);
        let kept =
            Kept { folder: folder.to_owned(), most, bytes: 0, next, segments: VecDeque::new(), spots: HashMap::new() };
        let kept = Arc::new(Mutex::new(kept));
        let (sender, queue) = sync_channel(QUEUE);
        let shared = Arc::clone(&kept);
        let work = move || {
            // Here, because it takes its time, and a start need not wait for it.
            for path in before {
                if let Err(error) = fs::remove_file(&path) {
                    tracing::warn!(%error, path = %path.display(), "what was recent before can't be removed");
                }
            }
            write(&shared, &queue);
        };
        let thread = std::thread::Builder::new().name("recent-writer".to_owned()).spawn(work).map_err(failed)?;
        Ok(Self { sender: Some(sender), kept, thread: Some(thread) })
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was told by its own message.
            let _ = thread.join();
        }
        lock(&self.kept).clear();
    }
}

impl Recent for Ring {
    fn keep(&self, some: Vec<(ContentHash, Bytes)>) {
        if let Some(sender) = &self.sender {
            // Full: whoever wants it makes it again.
            let _ = sender.try_send(some);
        }
    }

    fn find(&self, hash: ContentHash) -> Option<Bytes> {
        let (file, spot) = {
            let kept = lock(&self.kept);
            let spot = *kept.spots.get(&key(hash))?;
            let segment = kept.segments.iter().find(|segment| segment.number == spot.segment)?;
            (Arc::clone(&segment.file), spot)
        };
        let mut bytes = vec![0; spot.length as usize];
        file.read_exact_at(&mut bytes, spot.at).ok()?;
        (ContentHash::of(&bytes) == hash).then(|| bytes.into())
    }
}

/// Makes the folder for nobody else to read. The one above it must be there.
fn make_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// The segments of an earlier process.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

/// Writes what comes until nobody sends any more.
fn write(kept: &Mutex<Kept>, queue: &Receiver<Vec<(ContentHash, Bytes)>>) {
    let mut off: Option<Instant> = None;
    while let Ok(some) = queue.recv() {
        if off.is_some_and(|since| since.elapsed() < PAUSE) {
            continue;
        }
        off = None;
        let begun = Instant::now();
        for (hash, bytes) in some {
            if let Err(error) = keep(kept, hash, &bytes) {
                tracing::warn!(%error, "what is recent can't be kept; it goes on in a minute");
                lock(kept).clear();
                off = Some(Instant::now());
                break;
            }
        }
        rest(begun.elapsed() * REST);
    }
}

#[expect(clippy::disallowed_methods, reason = "its own thread, whose only work is not to be in the way")]
fn rest(time: Duration) {
    std::thread::sleep(time);
}

fn keep(kept: &Mutex<Kept>, hash: ContentHash, bytes: &Bytes) -> io::Result<()> {
    let length = bytes.len() as u64;
    let (file, spot) = {
        let mut kept = lock(kept);
        if length == 0 || length > SMALL.min(kept.most) || kept.spots.contains_key(&key(hash)) {
            return Ok(());
        }
        kept.room(length)?
    };
    // Not under the lock: whoever looks for something does not wait for the disk.
    file.write_all_at(bytes, spot.at)?;
    lock(kept).spots.insert(key(hash), spot);
    Ok(())
}

impl Kept {
    /// Room for so many bytes, which the oldest ones make.
    fn room(&mut self, length: u64) -> io::Result<(Arc<File>, Spot)> {
        let (part, contents) = (self.most / SEGMENTS, self.most / LEAST / SEGMENTS);
        let full = self.segments.back().is_none_or(|last| last.length + length > part || last.contents > contents);
        if full && self.segments.back().is_none_or(|last| last.length > 0) {
            self.begin()?;
        }
        while self.bytes + length > self.most && self.segments.len() > 1 {
            self.let_go();
        }
        let Some(last) = self.segments.back_mut() else { return Err(io::ErrorKind::NotFound.into()) };
        let spot = Spot { segment: last.number, at: last.length, length: length as u32 };
        last.length += length;
        last.contents += 1;
        self.bytes += length;
        while self.segments.len() as u64 > SEGMENTS + 1 {
            self.let_go();
        }
        Ok((Arc::clone(&self.segments[self.segments.len() - 1].file), spot))
    }

    fn begin(&mut self) -> io::Result<()> {
        let path = self.folder.join(format!("{:08}", self.next));
        let mut open = OpenOptions::new();
        open.read(true).write(true).create_new(true).mode(0o600);
        let file = match open.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Removed meanwhile: what was in it can be made again.
                make_folder(&self.folder)?;
                open.open(&path)?
            }
            opened => opened?,
        };
        let (number, file) = (self.next, Arc::new(file));
        self.next += 1;
        self.segments.push_back(Segment { number, file, path, length: 0, contents: 0 });
        Ok(())
    }

    /// Lets the oldest segment go.
    fn let_go(&mut self) {
        let Some(oldest) = self.segments.pop_front() else { return };
        self.bytes -= oldest.length;
        self.spots.retain(|_, spot| spot.segment != oldest.number);
        // Where it can't be removed it is at the next start.
        let _ = fs::remove_file(&oldest.path);
    }

    fn clear(&mut self) {
        while !self.segments.is_empty() {
            self.let_go();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(n: u64, length: usize) -> (ContentHash, Bytes) {
        let bytes: Bytes = (0..length).map(|at| (n as usize * 31 + at) as u8).chain(n.to_le_bytes()).collect();
        (ContentHash::of(&bytes), bytes)
    }

    fn ring(most: u64) -> (tempfile::TempDir, Ring) {
        let dir = tempfile::tempdir().unwrap();
        let ring = Ring::open(&dir.path().join("recent"), most).unwrap();
        (dir, ring)
    }

    /// Bytes in the folder, and files. What is removed meanwhile is not there any more.
    fn taken(dir: &tempfile::TempDir) -> (u64, usize) {
        let entries = fs::read_dir(dir.path().join("recent")).unwrap();
        let length = |entry: io::Result<fs::DirEntry>| match entry.and_then(|entry| entry.metadata()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            found => Some(found.unwrap().len()),
        };
        let lengths: Vec<u64> = entries.filter_map(length).collect();
        (lengths.iter().sum(), lengths.len())
    }

    /// Has it written by the thread of the test, so that it is there afterwards.
    fn put(ring: &Ring, (hash, bytes): &(ContentHash, Bytes)) {
        keep(&ring.kept, *hash, bytes).unwrap();
    }

    #[test]
    fn the_newest_bytes_are_found_and_no_more_are_kept() {
        for (most, length) in [(100_000, 500), (100_000, 20_000), (1 << 20, 3), (4_000, 3_000)] {
            let (dir, ring) = ring(most);
            let all: Vec<_> = (0..600).map(|n| content(n, length)).collect();
            for one in &all {
                put(&ring, one);
                let (bytes, files) = taken(&dir);
                assert!(bytes <= most && files <= SEGMENTS as usize + 2, "{bytes} bytes in {files} files of {most}");
            }
            let found = all.iter().filter(|(hash, _)| ring.find(*hash).is_some()).count() as u64;
            let entries = lock(&ring.kept).spots.len() as u64;
            assert_eq!(found, entries);
            assert!(entries <= most / LEAST + 2 * SEGMENTS, "{entries}");
            let (hash, bytes) = all.last().unwrap();
            assert_eq!(ring.find(*hash).as_ref(), Some(bytes));
        }
    }

    #[test]
    fn equal_content_is_kept_once_and_what_is_too_large_is_not() {
        let (dir, ring) = ring(1 << 20);
        let one = content(1, 1_000);
        (0..9).for_each(|_| put(&ring, &one));
        put(&ring, &content(2, SMALL as usize));
        put(&ring, &(ContentHash::of(b""), Bytes::new()));
        assert_eq!(taken(&dir), (1_008, 1));
        assert_eq!(ring.find(content(2, SMALL as usize).0), None);
        let (_dir, tiny) = self::ring(500);
        put(&tiny, &one);
        assert_eq!(tiny.find(one.0), None);
    }

    #[test]
    fn what_is_handed_over_is_written_by_its_thread() {
        let (dir, ring) = ring(1 << 20);
        let all: Vec<_> = (0..50).map(|n| content(n, 100)).collect();
        ring.keep(all.clone());
        let deadline = Instant::now() + Duration::from_secs(30);
        while all.iter().any(|(hash, _)| ring.find(*hash).is_none()) {
            assert!(Instant::now() < deadline, "it is not written");
            std::thread::yield_now();
        }
        drop(ring);
        assert_eq!(taken(&dir).1, 0, "nothing is left");
    }

    #[test]
    fn a_start_begins_with_nothing() {
        let (dir, ring) = ring(1 << 20);
        let one = content(1, 1_000);
        put(&ring, &one);
        // As a kill leaves it.
        std::mem::forget(ring);
        assert_eq!(taken(&dir).1, 1);
        let next = Ring::open(&dir.path().join("recent"), 1 << 20).unwrap();
        assert_eq!(next.find(one.0), None);
        let deadline = Instant::now() + Duration::from_secs(30);
        while taken(&dir).1 > 0 {
            assert!(Instant::now() < deadline, "it is not removed");
            std::thread::yield_now();
        }
    }

    #[test]
    fn damage_is_not_given_out() {
        let (dir, ring) = ring(1 << 20);
        let one = content(1, 1_000);
        put(&ring, &one);
        let path = fs::read_dir(dir.path().join("recent")).unwrap().next().unwrap().unwrap().path();
        OpenOptions::new().write(true).open(path).unwrap().write_all_at(b"x", 500).unwrap();
        assert_eq!(ring.find(one.0), None);
    }
}
