//! Whether there is space: for what is about to be taken in, and for the work that is under way.
//!
//! Input is admitted by its size before it is copied. It may fill the disk of the data directory down to the reserve and
//! the content up to its quota, whatever else is being stored at that moment. Work under way may use the upper half of
//! the reserve; the lower half is kept for the journal, so that what is done can be settled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use opendmp_model::document::ByteSize;
use opendmp_model::fault::{Fault, FaultClass, FaultKind};
use opendmp_ports::content::Usage;
use opendmp_ports::journal::FlowId;

use crate::Engine;
use crate::loaded::run_blocking;

/// For how long the usage of the content is not asked for again while all fits easily, in milliseconds.
const KNOWN: i64 = 200;

/// How long ago a disk may have been full for a step to be excused by it, in milliseconds: a program that meets a full
/// disk removes its own files before it reports that.
const EXCUSED: i64 = 1_000;

/// How often in a row an item is excused by a full disk: work begins only where there is room, so whoever meets a full
/// disk that often fills it. With the usual waits that is a quarter of an hour.
const EXCUSES: u32 = 10;

/// How long the disks are not looked at again for another failed item, in milliseconds.
const SEEN: i64 = 50;

/// With less free bytes than so many times the reserve, a disk may be full within a moment.
const NEAR: u64 = 4;

/// Free bytes below which no new work is begun and no large result is written: half of the reserve.
pub fn floor(reserve: u64) -> u64 {
    reserve / 2
}

/// Why nothing more can be stored, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// What there is too little of.
    pub message: String,
    /// What can be done.
    pub hint: &'static str,
}

/// How much may be taken in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// Bytes of content.
    pub quota: Option<u64>,
    /// Bytes of the disk that are left free.
    pub reserve: u64,
}

/// Whether something fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It does.
    Fits,
    /// Not beside what is being stored at this moment.
    Later,
    /// The content's quota does not allow it.
    Quota,
    /// The disk has too little room for it.
    Disk,
}

/// Decides about `size` bytes that would be stored beside `incoming` others that are not part of `usage` yet.
pub(crate) fn fit(size: u64, incoming: u64, usage: Usage, limits: Limits) -> Fit {
    let over_quota = |more: u64| limits.quota.is_some_and(|quota| usage.stored.saturating_add(more) > quota);
    let over_disk = |more: u64| usage.free.is_some_and(|free| free < limits.reserve.saturating_add(more));
    let both = size.saturating_add(incoming);
    if size > 0 && over_quota(size) {
        Fit::Quota
    } else if over_disk(size) {
        Fit::Disk
    } else if (size > 0 && over_quota(both)) || over_disk(both) {
        Fit::Later
    } else {
        Fit::Fits
    }
}

/// What an engine knows of the space it has.
#[derive(Default)]
pub(crate) struct Space {
    known: tokio::sync::Mutex<Known>,
    /// Bytes that were admitted and are being stored.
    incoming: Arc<AtomicU64>,
    low: AtomicBool,
    near: AtomicBool,
    /// When the disks were looked at last, and when one of them was below the reserve last, milliseconds since 1970.
    seen: AtomicI64,
    seen_low: AtomicI64,
}

/// The usage of the content as it was asked for last.
#[derive(Default)]
struct Known {
    at: Option<i64>,
    usage: Usage,
    /// Bytes that were admitted since, or were being stored then.
    since: u64,
}

/// Input that was admitted, for as long as it is being stored.
pub(crate) struct Admitted {
    /// By item: whether it may be stored.
    pub fits: Vec<bool>,
    /// Why some may not be, unless they only have to wait for others.
    pub shortage: Option<Shortage>,
    incoming: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.incoming.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl Space {
    /// Whether a disk had too little room for work when it was last looked at.
    pub(crate) fn is_low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }

    /// Whether it may soon have too little.
    pub(crate) fn is_near(&self) -> bool {
        self.near.load(Ordering::Relaxed)
    }
}

impl Engine {
    fn limits(&self) -> Limits {
        Limits { quota: self.options.quotas.content, reserve: self.options.reserve }
    }

    /// Decides which items of these sizes may be stored now. Whoever stores them keeps the answer until they are stored.
    pub(crate) async fn admit(&self, sizes: &[u64]) -> Admitted {
        let limits = self.limits();
        let mut out = Admitted {
            fits: Vec::with_capacity(sizes.len()),
            shortage: None,
            incoming: Arc::clone(&self.space.incoming),
            bytes: 0,
        };
        let mut known = self.space.known.lock().await;
        let now = self.clock.now();
        let mut fresh = false;
        for size in sizes {
            if !fresh && known.at.is_none_or(|at| !(at..at + KNOWN).contains(&now)) {
                self.ask_again(&mut known).await;
                fresh = true;
            }
            let mut fits = fit(*size, known.since, known.usage, limits);
            if fits != Fit::Fits && !fresh {
                self.ask_again(&mut known).await;
                fresh = true;
                fits = fit(*size, known.since, known.usage, limits);
            }
            match fits {
                Fit::Fits => {
                    known.since += size;
                    out.bytes += size;
                    out.incoming.fetch_add(*size, Ordering::AcqRel);
                }
                Fit::Later => {}
                Fit::Quota => _ = out.shortage.get_or_insert_with(|| over_quota(limits.quota)),
                Fit::Disk => _ = out.shortage.get_or_insert_with(|| below_reserve(limits.reserve)),
            }
            out.fits.push(fits == Fit::Fits);
        }
        out
    }

    async fn ask_again(&self, known: &mut Known) {
        // First what is being stored: what ends in between counts twice for a moment, never not at all.
        known.since = self.space.incoming.load(Ordering::Acquire);
        // Where it can't be told, the put itself will say so.
        known.usage = self.content.usage().await.unwrap_or_default();
        known.at = Some(self.clock.now());
    }

    /// Whether the sources of a flow are left alone for now: too much waits already, or there is too little space (then
    /// in words).
    pub async fn holds_back(&self, flow: FlowId) -> Option<Option<Shortage>> {
        let usage = self.content.usage().await.unwrap_or_default();
        if let Some(over) = self.over_quota(usage.stored).await {
            return Some(Some(over));
        }
        if usage.free.is_some_and(|free| free < self.options.reserve) {
            return Some(Some(below_reserve(self.options.reserve)));
        }
        match self.journal.backlog(Some(flow)).await {
            Ok(backlog) => (backlog.items > self.options.backlog).then_some(None),
            Err(_) => Some(None),
        }
    }

    /// Looks at the disks that work writes to: which of them has too little room for more work.
    pub(crate) async fn look_at_disks(&self) -> Option<Shortage> {
        let reserve = self.options.reserve;
        if reserve == 0 {
            return None;
        }
        let data = self.content.usage().await.ok().and_then(|usage| usage.free).unwrap_or(u64::MAX);
        let (mut least, mut disk) = (data, "the data directory's disk".to_owned());
        if let Some(scratch) = self.options.scratch.clone() {
            let shown = scratch.display().to_string();
            let free = run_blocking(move || free_on_disk(&scratch)).await.ok().flatten().unwrap_or(u64::MAX);
            if free < least {
                (least, disk) = (free, format!("the disk of {shown}"));
            }
        }
        let (now, floor) = (self.clock.now(), floor(reserve));
        self.space.seen.store(now, Ordering::Relaxed);
        self.space.low.store(least < floor, Ordering::Relaxed);
        self.space.near.store(least < reserve.saturating_mul(NEAR), Ordering::Relaxed);
        if least < reserve {
            self.space.seen_low.store(now, Ordering::Relaxed);
        }
        (least < floor).then(|| {
            let message = format!("less than {} are free on {disk}: no new step starts", ByteSize::bytes(floor));
            Shortage { message, hint: MAKE_ROOM }
        })
    }

    /// Blames the disk, not the item, where a step failed while a disk was nearly full; the item where that happens too
    /// often: `waits` is how often it waited since its last retry.
    pub(crate) async fn blame_disk(&self, fault: Fault, waits: u32) -> Fault {
        let excused = match fault.kind {
            FaultKind::NoSpace => fault,
            FaultKind::OverMemory => return fault,
            kind if kind.class() != FaultClass::Item => return fault,
            _ if !self.was_full().await => return fault,
            _ => {
                let message =
                    format!("a disk was full while this step ran; it is repeated and no retry is counted: {fault}");
                Fault { kind: FaultKind::NoSpace, code: "no-space".to_owned(), message, ..fault }.with_hint(MAKE_ROOM)
            }
        };
        match waits < EXCUSES {
            true => excused,
            false => fills_the_disk(excused),
        }
    }

    /// Whether a disk was full a moment ago.
    async fn was_full(&self) -> bool {
        if !(0..SEEN).contains(&self.clock.now().saturating_sub(self.space.seen.load(Ordering::Relaxed))) {
            self.look_at_disks().await;
        }
        let ago = self.clock.now().saturating_sub(self.space.seen_low.load(Ordering::Relaxed));
        (0..=EXCUSED).contains(&ago)
    }
}

fn fills_the_disk(fault: Fault) -> Fault {
    let message = format!("there was room each of the {EXCUSES} times it began, and none while it ran: {fault}");
    Fault { kind: FaultKind::Failed, code: "fills-the-disk".to_owned(), message, ..fault }
        .with_hint("it may need more room than that disk has: give it a larger disk or less to do, then retry it")
}

/// What a person can do about a full disk.
pub(crate) const MAKE_ROOM: &str = "make room on that disk; work goes on by itself";

/// What a person can do about a quota of the content.
const MORE_CONTENT: &str = "discard dead letters that are not needed, run `opendmp gc`, or raise --content-quota";

/// The content is as large as it may be.
pub(crate) fn quota_reached(quota: u64) -> Shortage {
    let message = format!("content is full, its quota of {} is reached: nothing is taken in", ByteSize::bytes(quota));
    Shortage { message, hint: MORE_CONTENT }
}

/// The content would be larger than it may be.
fn over_quota(quota: Option<u64>) -> Shortage {
    let quota = ByteSize::bytes(quota.unwrap_or_default());
    let message = format!("the next input does not fit into the content's quota of {quota}: it waits");
    Shortage { message, hint: MORE_CONTENT }
}

/// Less of the disk would be free than is left free.
pub(crate) fn below_reserve(reserve: u64) -> Shortage {
    let reserve = ByteSize::bytes(reserve);
    let message = format!(
        "the next input would leave less than the reserve of {reserve} free on the data directory's disk: it waits"
    );
    Shortage { message, hint: MAKE_ROOM }
}

/// Free bytes of the disk of a path, or of the nearest folder above it that is there. Blocks.
fn free_on_disk(path: &std::path::Path) -> Option<u64> {
    let there = path.ancestors().find(|path| path.exists())?;
    let disk = rustix::fs::statvfs(there).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use opendmp_ports::clock::SystemClock;
    use opendmp_ports::content::MemoryContent;
    use opendmp_ports::journal::{Lease, MemoryJournal};
    use opendmp_ports::transport::InProcess;
    use opendmp_processor::Registry;

    use super::*;
    use crate::{Options, Quotas};

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_fits_is_decided_by_size_before_it_is_stored() {
        let usage = Usage { stored: 5 * MIB, free: Some(100 * MIB) };
        let quota = Limits { quota: Some(10 * MIB), reserve: 0 };
        let reserve = Limits { quota: None, reserve: 64 * MIB };
        for (size, incoming, limits, expected) in [
            (5 * MIB, 0, quota, Fit::Fits),
            (5 * MIB + 1, 0, quota, Fit::Quota),
            (3 * MIB, 3 * MIB, quota, Fit::Later),
            (0, 99 * MIB, quota, Fit::Fits),
            (36 * MIB, 0, reserve, Fit::Fits),
            (36 * MIB + 1, 0, reserve, Fit::Disk),
            (18 * MIB, 19 * MIB, reserve, Fit::Later),
            (u64::MAX, u64::MAX, reserve, Fit::Disk),
            (u64::MAX, u64::MAX, Limits::default(), Fit::Disk),
        ] {
            assert_eq!(fit(size, incoming, usage, limits), expected, "{size} beside {incoming} in {limits:?}");
        }
        let full = Usage { stored: 5 * MIB, free: Some(60 * MIB) };
        assert_eq!(fit(0, 0, full, reserve), Fit::Disk, "not even what is empty");
        let unknown = Usage { stored: 5 * MIB, free: None };
        assert_eq!(fit(u64::MAX, 0, unknown, reserve), Fit::Fits);
    }

    fn with(options: Options) -> Engine {
        Engine::new(
            Arc::new(MemoryJournal::default()),
            Arc::new(MemoryContent::default()),
            Arc::new(InProcess::default()),
            Arc::new(SystemClock),
            Arc::new(Registry::default()),
            options,
            Lease::default(),
        )
    }

    #[tokio::test]
    async fn what_is_being_stored_counts_until_it_is_stored() {
        let quotas = Quotas { content: Some(10 * MIB), ..Quotas::default() };
        let engine = with(Options { quotas, ..Options::default() });
        let first = engine.admit(&[6 * MIB, 11 * MIB, 4 * MIB, 1]).await;
        assert_eq!(first.fits, [true, false, true, false], "each by itself");
        let shortage = first.shortage.clone().unwrap();
        assert!(shortage.message.contains("quota of 10 MiB"), "{shortage:?}");
        let second = engine.admit(&[6 * MIB]).await;
        assert_eq!((second.fits.as_slice(), second.shortage.clone()), (&[false][..], None), "it waits for the others");
        engine.content.put(vec![1; 6 << 20].into()).await.unwrap();
        drop((first, second));
        let third = engine.admit(&[6 * MIB, 4 * MIB]).await;
        assert_eq!(third.fits, [false, true]);
        assert!(third.shortage.is_some(), "6 MiB are stored, and 4 MiB came to nothing");
    }

    #[tokio::test]
    async fn a_small_reserve_is_told_as_it_is() {
        assert!(below_reserve(MIB / 2).message.contains("the reserve of 512 KiB free"));
        assert!(below_reserve(64 * MIB).message.contains("the reserve of 64 MiB free"));
        // More than any disk has, and no whole number of MiB.
        let reserve = (1 << 62) + MIB;
        let engine = with(Options { reserve, scratch: Some("/dev/null".into()), ..Options::default() });
        let told = engine.look_at_disks().await.unwrap().message;
        assert!(told.contains(&format!("less than {} KiB are free", reserve >> 11)), "{told}");
    }

    #[tokio::test]
    async fn a_full_disk_excuses_an_item_some_times() {
        // Always nearly full.
        let engine = with(Options { reserve: u64::MAX, scratch: Some("/".into()), ..Options::default() });
        let fault = |kind| Fault::new(kind, "x", "it failed");
        for (kind, waits, expected) in [
            (FaultKind::Failed, 0, FaultKind::NoSpace),
            (FaultKind::NoSpace, EXCUSES - 1, FaultKind::NoSpace),
            (FaultKind::Failed, EXCUSES, FaultKind::Failed),
            (FaultKind::NoSpace, EXCUSES, FaultKind::Failed),
            (FaultKind::OverMemory, EXCUSES, FaultKind::OverMemory),
            (FaultKind::Unavailable, EXCUSES, FaultKind::Unavailable),
        ] {
            let blamed = engine.blame_disk(fault(kind), waits).await;
            assert_eq!(blamed.kind, expected, "{kind:?} after {waits} waits");
            assert_eq!(blamed.hint.is_some(), blamed.code != "x", "{blamed:?}");
        }
    }
}
