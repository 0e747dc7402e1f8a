//! Quotas: how much may be stored, and how many dead letters may wait, before nothing more is taken in.

use opendmp_model::document::ByteSize;
use opendmp_ports::journal::DeadHeld;

use crate::Engine;
use crate::engine::lock;
use crate::space::{Shortage, quota_reached};

/// For how long the dead letters are not counted again, in milliseconds.
const COUNTED: i64 = 2_000;

/// How much a server takes in at most; `None`: no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quotas {
    /// Bytes of content.
    pub content: Option<u64>,
    /// Open dead letters.
    pub dead_letters: Option<u64>,
    /// Bytes of the items of open dead letters.
    pub dead_bytes: Option<u64>,
}

/// The dead letters as they were counted last, and when.
pub(crate) type Counted = std::sync::Mutex<Option<(i64, DeadHeld)>>;

impl Engine {
    /// What is over its quota; `stored`: bytes of content. Results of work under way may still be stored.
    pub(crate) async fn over_quota(&self, stored: u64) -> Option<Shortage> {
        let quotas = self.options.quotas;
        if let Some(quota) = quotas.content.filter(|quota| stored >= *quota) {
            return Some(quota_reached(quota));
        }
        if quotas.dead_letters.is_none() && quotas.dead_bytes.is_none() {
            return None;
        }
        let held = self.dead_held().await?;
        let hint = "retry or discard some of them (`opendmp dead-letters list`), or raise the quota of the server";
        if let Some(quota) = quotas.dead_letters.filter(|quota| held.letters >= *quota) {
            let message =
                format!("{} dead letters wait, their quota of {quota} is reached: nothing is taken in", held.letters);
            return Some(Shortage { message, hint });
        }
        let quota = quotas.dead_bytes.filter(|quota| held.bytes >= *quota)?;
        let (bytes, quota) = (held.bytes >> 10, ByteSize::bytes(quota));
        let message = format!("dead letters hold {bytes} KiB, their quota of {quota} is reached: nothing is taken in");
        Some(Shortage { message, hint })
    }

    /// The number of dead letters has changed.
    pub(crate) fn count_dead_again(&self) {
        *lock(&self.dead) = None;
    }

    /// The open dead letters; asked again after a while. None where the journal does not answer: then nothing can be
    /// taken in anyway.
    async fn dead_held(&self) -> Option<DeadHeld> {
        let now = self.clock.now();
        if let Some((at, held)) = *lock(&self.dead)
            && (at..at + COUNTED).contains(&now)
        {
            return Some(held);
        }
        let held = self.journal.dead_held().await.ok()?;
        *lock(&self.dead) = Some((now, held));
        Some(held)
    }
}
