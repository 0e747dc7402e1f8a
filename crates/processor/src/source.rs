//! Sources: where an ingest takes its items from.
//!
//! A source claims, the engine makes the claim durable, then the source is let go (law L4). A source keeps no record of
//! its own: what it must know of earlier work it is told from the ledger.

use std::io::Read;

use async_trait::async_trait;
use bytes::Bytes;
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::ids::Arrival;
use opendmp_model::item::Attributes;
use opendmp_model::ledger::{FileStat, Known};
use serde::{Deserialize, Serialize};

use crate::outcome::Body;

/// Answers what has arrived before. Given to a source by the engine.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// What is known of each of `paths`, in order.
    async fn known(&self, paths: Vec<Vec<u8>>) -> Result<Vec<Option<Known>>, SourceError>;

    /// Says of the latest arrivals of paths that their files, as they are now, have the same bytes. It may be lost without
    /// harm: then they are read once more.
    async fn affirm(&self, _arrivals: Vec<(Arrival, FileStat)>) -> Result<(), SourceError> {
        Ok(())
    }

    /// Whether each of these releases is recorded and not yet carried out, in order.
    async fn releasing(&self, releases: Vec<Bytes>) -> Result<Vec<bool>, SourceError>;

    /// Names this ledger among all that may ever read the same place: the same after a restart, another for every
    /// journal and every source. A source that sets claimed items aside marks them with it, so that what a crash left
    /// there is taken up again by the ledger it belongs to and by no other.
    fn owner(&self) -> &str;
}

/// Why a source could not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// A short stable name, such as `no-folder`.
    pub code: &'static str,
    /// What happened.
    pub message: String,
    /// What a person can do about it.
    pub hint: Option<String>,
}

/// What [`Source::claim`] hands over: items claimed in the outside world but not yet durable here.
#[derive(Debug)]
pub struct Claim {
    /// The path of the source item, relative to the source: the ledger's key.
    pub path: Vec<u8>,
    /// Which version of it; `None` for sources whose items have no versions.
    pub version: Option<Version>,
    /// What the ledger has of that path, where its bytes decide whether this is another version of it; `None` where it is
    /// new whatever its bytes are.
    pub known: Option<Known>,
    /// The item's name.
    pub name: String,
    /// Media type, where known.
    pub media_type: Option<String>,
    /// Attributes the item starts with.
    pub attributes: Attributes,
    /// The bytes to store.
    pub body: Body,
    /// What [`Source::release`] needs to let the source item go; `None` where nothing is to be let go. It names what
    /// was claimed, never what lies under the original name by then.
    pub release: Option<Bytes>,
}

/// Which version of a source item was claimed.
pub type Version = FileStat;

/// Whether a claim still holds after its bytes were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// What was read is one whole version: this one.
    Whole(Option<Version>),
    /// It changed under the reader: forget what was read, it will be offered again.
    Changed,
}

/// A folder to be watched for a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchRequest {
    /// The folder.
    pub folder: std::path::PathBuf,
    /// Whether its sub-folders count.
    pub recursive: bool,
    /// Whether it may be changed without this machine being told, as on a network file system.
    pub remote: bool,
}

/// What an audit says of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum AuditState {
    /// Arrived, and unchanged since.
    Ingested,
    /// There, and not yet arrived: it will be with the next scan.
    Waiting,
    /// Claimed, and not yet in the ledger.
    Claimed,
    /// Settled, and still to be let go.
    Releasing,
    /// In the way of the audit: unreadable, for example.
    Problem,
}

/// One line of an audit.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// Path relative to the source, as an item name is written.
    pub path: String,
    /// What was found.
    pub state: AuditState,
    /// Words, where the state needs some.
    pub detail: Option<String>,
}

/// A comparison of a source with its ledger.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Audit {
    /// How many paths were compared.
    pub compared: u64,
    /// What is not [`AuditState::Ingested`], up to a bound.
    pub entries: Vec<AuditEntry>,
    /// Whether more were left out.
    pub more: bool,
    /// What is there and is never taken.
    pub not_taken: NotTaken,
}

/// What is there and is never taken: no pattern matches it, or it is excluded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct NotTaken {
    /// How many files, and how many folders that are not looked into.
    pub count: u64,
    /// The first of them, as item names are written; folders with `/` at the end.
    pub examples: Vec<String>,
}

/// Somewhere items come from.
///
/// `claim` MUST NOT destroy anything, MUST offer again what was claimed before but is not in the ledger, and MUST NOT
/// offer what the ledger knows. `release` MUST be repeatable, and MUST remove only what was claimed.
///
/// What an address names may change at any time: a folder is renamed and made anew, unmounted, replaced by a link. A
/// source MUST look it up with each scan, and finish what it claimed in the place that it was claimed in. `release` MUST
/// NOT count as done because the item is not found in another place than that; while its place can't be reached it MUST
/// fail, `claim` MUST say so in [`Scan::issues`], and `audit` MUST count it.
#[async_trait]
pub trait Source: Send + Sync {
    /// What makes two sources the same one: kind and resolved place. The ledger is kept under it.
    fn identity(&self) -> String;

    /// The folder whose changes should wake this source.
    fn watch(&self) -> Option<WatchRequest> {
        None
    }

    /// Looks for items and claims up to `limit` of them. `now` is in milliseconds since 1970.
    /// `complete` in the answer says that nothing more is there now, neither unclaimed nor settling.
    async fn claim(&self, ledger: &dyn Ledger, now: i64, limit: usize) -> Result<Scan, SourceError>;

    /// Looks only at `changed`, paths relative to the watched folder, and at what earlier looks left to be looked at
    /// again; else as [`Source::claim`]. What it costs does not grow with the source. `complete` in the answer says
    /// that nothing more is known to be there. A source that can't do so looks at everything.
    async fn claim_changed(
        &self,
        ledger: &dyn Ledger,
        _changed: Vec<Vec<u8>>,
        now: i64,
        limit: usize,
    ) -> Result<Scan, SourceError> {
        self.claim(ledger, now, limit).await
    }

    /// Checks a claim after its bytes were read. After [`Claimed::Changed`] an earlier [`Scan::complete`] no longer
    /// holds.
    async fn confirm(&self, claim: &Claim) -> Result<Claimed, SourceError>;

    /// Takes a claim back that will not be settled, so that it is offered again. MUST be called for every claim that
    /// was neither answered with [`Claimed::Changed`] nor settled, unless the source itself is dropped.
    fn forget(&self, _claim: &Claim) {}

    /// Says that the ledger has this claim from now on. It need not be said (a crash may come before): it only saves
    /// questions.
    fn arrived(&self, _claim: &Claim) {}

    /// Lets one claimed source item go (deletes or moves it), durably.
    async fn release(&self, release: &[u8]) -> Result<(), SourceError>;

    /// Lets many go, answered in order; cheaper than one by one where making it durable costs.
    async fn release_all(&self, releases: &[Bytes]) -> Vec<Result<(), SourceError>> {
        let mut ends = Vec::with_capacity(releases.len());
        for release in releases {
            ends.push(self.release(release).await);
        }
        ends
    }

    /// Puts something of that name, written as an item name, where the source takes from: whole, durable and under its name
    /// when it answers, or not at all, also where `content` ends with an error. What has the name is replaced only where
    /// that is asked for. `content` blocks.
    ///
    /// # Errors
    /// A fault of the kind `Rejected` where the name is refused, and for a source that nothing can be put into.
    async fn put(&self, _name: &str, _content: Box<dyn Read + Send>, _replace: bool) -> Result<(), Fault> {
        Err(Fault::new(FaultKind::Rejected, "no-drop", "nothing can be put into this source")
            .with_hint("only a `file_drop` takes files; its folder is where they are put"))
    }

    /// Compares the source with the ledger. `releasing` are the releases not yet carried out.
    async fn audit(&self, ledger: &dyn Ledger, releasing: &[Vec<u8>]) -> Result<Audit, SourceError>;
}

/// What a look at the source gave.
#[derive(Debug, Default)]
pub struct Scan {
    /// What was claimed.
    pub claims: Vec<Claim>,
    /// Whether nothing more is there now.
    pub complete: bool,
    /// When to look again at the latest, milliseconds since 1970 (something is settling); `None`: when woken.
    /// [`Source::claim_changed`] will do.
    pub again: Option<i64>,
    /// When to call [`Source::claim`] again, milliseconds since 1970, because nothing else finds what is left: this one
    /// has not come to the end, or more changed than could be kept in mind.
    pub everything: Option<i64>,
    /// What could not be taken, and why; told once, not an end to the scan.
    pub problems: Vec<(String, SourceError)>,
    /// What is wrong with the source as a whole and does not keep it from being read: said with each scan for as long as
    /// it is so.
    pub issues: Vec<SourceError>,
}
