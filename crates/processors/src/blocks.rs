//! Content that is read and written block by block, for kinds that work on bytes in this process: memory stays the same
//! whatever the size, and the work stops within a block once nobody waits for it.
//!
//! What is made of the bytes is decided elsewhere.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use opendmp_model::document::ByteSize;
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_processor::{Body, Done, Emission, Input, NewContent, Outcome, ScratchFile};
use tempfile::NamedTempFile;
use tokio::task::JoinError;

use crate::scratch::{self, Scratch};

/// How much is read at once.
pub(crate) const BLOCK: usize = 128 << 10;

/// The largest result that is held in memory.
const SMALL: usize = 256 << 10;

/// Says whether the result of some work is still waited for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    gone: AtomicBool,
    /// When the time of the work is over, and how much it had.
    end: Mutex<Option<(Instant, Duration)>>,
}

impl Stop {
    /// Nothing, or why the work is to end here. Of a call that was cancelled nobody reads that fault.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        if self.0.gone.load(Ordering::Relaxed) {
            return Err(Fault::new(FaultKind::Unavailable, "interrupted", "the call was cancelled"));
        }
        match *self.0.end.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((end, timeout)) if Instant::now() > end => Err(timed_out(timeout)),
            _ => Ok(()),
        }
    }

    /// Ends the work at `end`; it had `timeout` in all.
    pub(crate) fn at(&self, end: Instant, timeout: Duration) {
        *self.0.end.lock().unwrap_or_else(PoisonError::into_inner) = Some((end, timeout));
    }
}

fn timed_out(timeout: Duration) -> Fault {
    let message = format!("it took longer than {} s, and was stopped", timeout.as_secs_f64());
    Fault::new(FaultKind::TimedOut, "timed-out", message).with_hint("raise `timeout` if that is how long it takes")
}

struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.0.gone.store(true, Ordering::Relaxed);
    }
}

/// Works apart from the async threads; `work` is told to stop when this future is dropped.
pub(crate) async fn stoppable<T: Send + 'static>(
    work: impl FnOnce(&Stop) -> T + Send + 'static,
) -> Result<T, JoinError> {
    let guard = StopOnDrop(Stop::default());
    let stop = guard.0.clone();
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(|| work(&stop))).await
}

/// As [`stoppable`], and no longer than `timeout`.
pub(crate) async fn in_time<T: Send + 'static>(
    timeout: Duration,
    work: impl FnOnce(&Stop) -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::time::timeout(timeout, stoppable(work)).await {
        Ok(Ok(end)) => end,
        // Trying again without end would not help an item that a library panics on.
        Ok(Err(error)) if error.is_panic() => Err(Fault::new(FaultKind::Failed, "panicked", error.to_string())),
        Ok(Err(error)) => Err(Fault::new(FaultKind::Unavailable, "interrupted", error.to_string())),
        Err(_) => Err(timed_out(timeout)),
    }
}

/// Makes one item of each, one after another, and takes the time.
pub(crate) async fn one_by_one<F>(inputs: Vec<Input>, mut one: impl FnMut(Input) -> F) -> Vec<Done>
where
    F: Future<Output = Result<Emission, Fault>>,
{
    let mut done = Vec::with_capacity(inputs.len());
    for input in inputs {
        let began = Instant::now();
        let outcome = match one(input).await {
            Ok(child) => Outcome::Emit { many: false, children: vec![child] },
            Err(fault) => Outcome::Fault(fault),
        };
        done.push(Done { took: began.elapsed(), ..Done::silent(outcome) });
    }
    done
}

/// A fault that went through code which knows `io::Error` alone, or what `other` makes of an error of that code's own.
pub(crate) fn fault(error: io::Error, other: impl FnOnce(io::Error) -> Fault) -> Fault {
    error.downcast::<Fault>().unwrap_or_else(other)
}

/// The bytes of an item, in order. Every block but the last is whole, whether the bytes are in memory or in a file:
/// compressors may cut their output where their input was cut, and equal items are to give equal results.
pub(crate) struct Blocks {
    body: Body,
    /// Where the next block begins.
    next: u64,
    /// Where the last one ends at the latest.
    end: u64,
    block: Bytes,
    stop: Stop,
}

impl Blocks {
    /// From the beginning.
    pub(crate) fn new(body: Body, stop: &Stop) -> Self {
        Self::within(body, 0..u64::MAX, stop)
    }

    /// Those of a part; what there is not of it is not given.
    pub(crate) fn within(body: Body, part: Range<u64>, stop: &Stop) -> Self {
        Self { body, next: part.start, end: part.end, block: Bytes::new(), stop: stop.clone() }
    }

    /// How many bytes there are in all.
    pub(crate) fn size(&self) -> Result<u64, Fault> {
        match &self.body {
            Body::Unread => Ok(0),
            Body::Bytes(bytes) => Ok(bytes.len() as u64),
            Body::File(file) => Ok(file.metadata().map_err(|error| unread(&error))?.len()),
        }
    }

    /// What is left of the present block, or the next one; empty at the end.
    pub(crate) fn block(&mut self) -> Result<&[u8], Fault> {
        if self.block.is_empty() {
            self.stop.check()?;
            self.block = match &self.body {
                Body::Unread => Bytes::new(),
                Body::Bytes(bytes) => {
                    let end = usize::try_from(self.end).unwrap_or(usize::MAX).min(bytes.len());
                    let from = usize::try_from(self.next).unwrap_or(usize::MAX).min(end);
                    bytes.slice(from..end.min(from + BLOCK))
                }
                Body::File(file) => {
                    let most = usize::try_from(self.end.saturating_sub(self.next)).unwrap_or(BLOCK).min(BLOCK);
                    read_block(file, self.next, most).map_err(|error| unread(&error))?
                }
            };
            self.next += self.block.len() as u64;
        }
        Ok(&self.block)
    }

    /// As [`Blocks::block`], and it is left behind.
    pub(crate) fn take_block(&mut self) -> Result<Bytes, Fault> {
        self.block()?;
        Ok(std::mem::take(&mut self.block))
    }

    /// Where the next byte is.
    pub(crate) fn position(&self) -> u64 {
        self.next - self.block.len() as u64
    }

    /// Goes on from there.
    pub(crate) fn go_to(&mut self, position: u64) {
        (self.next, self.block) = (position, Bytes::new());
    }

    /// Leaves so many bytes of the block behind.
    pub(crate) fn leave(&mut self, count: usize) {
        let _ = self.block.split_to(count.min(self.block.len()));
    }
}

/// So many bytes from `at`, or what is left. Positions of the file itself are shared, and left alone.
fn read_block(file: &File, at: u64, most: usize) -> io::Result<Bytes> {
    let mut buffer = vec![0; most];
    let mut filled = 0;
    while filled < most {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(Bytes::from(buffer))
}

impl Read for Blocks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let block = self.fill_buf()?;
        let count = block.len().min(into.len());
        into[..count].copy_from_slice(&block[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Blocks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.block().map_err(io::Error::other)
    }

    fn consume(&mut self, count: usize) {
        self.leave(count);
    }
}

/// The most that may come of an item, and how it is told that it was more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    /// In bytes.
    pub bytes: u64,
    /// What they are of: `the item holds`.
    pub what: &'static str,
    /// The limit as it was written, and its key.
    pub said: (ByteSize, &'static str),
}

/// A result that grows: in memory while it is small, then in a scratch file, up to a size that is no longer meant.
pub(crate) struct Spill {
    scratch: Scratch,
    most: Most,
    written: u64,
    small: Vec<u8>,
    large: Option<NamedTempFile>,
    stop: Stop,
}

impl Spill {
    /// Nothing yet, at most `most` bytes later, in the folder `scratch` if need be.
    pub(crate) fn new(scratch: Scratch, most: ByteSize, stop: &Stop) -> Self {
        Self::within(scratch, Most { bytes: most.get(), what: "the item holds", said: (most, "max_size") }, stop)
    }

    /// As [`Spill::new`], where other words say what is too much.
    pub(crate) fn within(scratch: Scratch, most: Most, stop: &Stop) -> Self {
        Self { scratch, most, written: 0, small: Vec::new(), large: None, stop: stop.clone() }
    }

    /// How many bytes it has.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// The item's fault where it is too large, else the world's.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.stop.check()?;
        self.written += bytes.len() as u64;
        if self.written > self.most.bytes {
            let Most { what, said: (most, key), .. } = self.most;
            return Err(Fault::new(FaultKind::Rejected, "holds-too-much", format!("{what} more than {most}"))
                .with_hint(format!("raise `{key}` if that much is meant to be in it")));
        }
        if self.large.is_none() && self.small.len() + bytes.len() <= SMALL {
            self.small.extend_from_slice(bytes);
            return Ok(());
        }
        let before = if self.large.is_some() { self.written - bytes.len() as u64 } else { 0 };
        self.scratch.grow(before, self.written - before)?;
        self.spill(bytes).map_err(|error| unwritten(&error))
    }

    fn spill(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(file) = &mut self.large {
            return file.write_all(bytes);
        }
        make_scratch(&self.scratch)?;
        let mut file = tempfile::Builder::new().prefix("blocks-").tempfile_in(&self.scratch)?;
        file.write_all(&std::mem::take(&mut self.small))?;
        file.write_all(bytes)?;
        self.large = Some(file);
        Ok(())
    }

    /// All that was added.
    ///
    /// # Errors
    /// The world's fault.
    pub(crate) fn finish(self) -> Result<NewContent, Fault> {
        let Some(file) = self.large else { return Ok(NewContent::Bytes(Bytes::from(self.small))) };
        let (file, path) = file.keep().map_err(|error| unwritten(&error.error))?;
        Ok(NewContent::Stream(Arc::new(ScratchFile::new(path, file))))
    }
}

impl Write for Spill {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A scratch file can't be written.
pub(crate) fn unwritten(error: &io::Error) -> Fault {
    scratch::failed("writing a scratch file", error)
}

/// Makes the folder for scratch files where it is missing, for nobody else to read: it may have been removed meanwhile.
pub(crate) fn make_scratch(folder: impl AsRef<Path>) -> io::Result<()> {
    opendmp_sandbox::folders::make_private(folder.as_ref())
}

fn unread(error: &io::Error) -> Fault {
    Fault::new(FaultKind::Unavailable, "content", format!("reading the content: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut blocks: Blocks) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut sizes) = (Vec::new(), Vec::new());
        loop {
            let block = blocks.block().unwrap().to_vec();
            if block.is_empty() {
                return (bytes, sizes);
            }
            sizes.push(block.len());
            bytes.extend_from_slice(&block);
            blocks.leave(block.len());
        }
    }

    #[test]
    fn bytes_and_files_come_in_the_same_blocks() {
        let content: Vec<u8> = (0..2 * BLOCK + 5).map(|n| (n % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        // The position of the file is at its end, and stays there.
        for body in [Body::Bytes(Bytes::from(content.clone())), Body::File(Arc::new(file))] {
            let blocks = Blocks::new(body, &Stop::default());
            assert_eq!(blocks.size().unwrap(), content.len() as u64);
            let (bytes, sizes) = all(blocks);
            assert!(bytes == content);
            assert_eq!(sizes, [BLOCK, BLOCK, 5]);
        }
        assert!(all(Blocks::new(Body::Unread, &Stop::default())).0.is_empty());
    }

    #[test]
    fn results_spill_when_they_grow_and_leave_nothing_behind() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("made");
        let most = ByteSize::mib(1);
        let filled = |pieces: usize| {
            let mut spill = Spill::new(folder.clone().into(), most, &Stop::default());
            for n in 0..pieces {
                spill.put(&vec![n as u8; SMALL / 2])?;
            }
            spill.finish()
        };
        assert!(matches!(filled(2).unwrap(), NewContent::Bytes(bytes) if bytes.len() == SMALL));
        assert!(!folder.exists());
        let NewContent::Stream(stream) = filled(8).unwrap() else { panic!("that much is no longer in memory") };
        for _ in 0..2 {
            let mut read = Vec::new();
            stream.open().unwrap().read_to_end(&mut read).unwrap();
            assert!(read.chunks(SMALL / 2).enumerate().all(|(n, piece)| piece.iter().all(|byte| *byte == n as u8)));
            assert_eq!(read.len(), 1 << 20);
        }
        let fault = filled(9).unwrap_err();
        assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::Rejected, "holds-too-much"));
        drop(stream);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[test]
    fn what_can_not_be_written_is_the_worlds_fault() {
        let file = NamedTempFile::new().unwrap();
        let mut spill = Spill::new(file.path().join("below a file").into(), ByteSize::mib(9), &Stop::default());
        let fault = spill.put(&vec![0; SMALL + 1]).unwrap_err();
        assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::Unavailable, "scratch"));
    }

    #[tokio::test]
    async fn work_stops_when_nobody_waits_for_it() {
        let endless = Arc::new(File::open("/dev/zero").unwrap());
        let body = Body::File(Arc::clone(&endless));
        let run = in_time(Duration::from_millis(20), move |stop| -> Result<(), Fault> {
            let mut blocks = Blocks::new(body, stop);
            loop {
                let count = blocks.block()?.len();
                blocks.leave(count);
            }
        });
        let fault = run.await.unwrap_err();
        assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::TimedOut, "timed-out"));
        let deadline = Instant::now() + Duration::from_secs(30);
        while Arc::strong_count(&endless) > 1 {
            assert!(Instant::now() < deadline, "the work goes on");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_panic_is_a_failure_of_the_step() {
        let fault = in_time::<()>(Duration::from_secs(60), |_| panic!("a library's")).await.unwrap_err();
        assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::Failed, "panicked"));
    }
}
