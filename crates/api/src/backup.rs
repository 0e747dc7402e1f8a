//! Backups, as they are asked for and told of. Who can make them, the service is given: it knows the journal and the
//! content only as ports, and a backup is one of files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ask::{Event, Problem};
use crate::service::{Service, Teller};

/// Makes backups of one data directory, while it is in use.
pub trait Backups: Send + Sync {
    /// Makes one in the folder `to` (absolute), or brings the one there up to date. `at` is the time, in milliseconds
    /// since 1970; `tell` is told how it goes on, `stopped` asked whether to break off. Blocks.
    ///
    /// # Errors
    /// Where there can't be a backup in that folder, or it can't be written; one that was there before is kept then.
    fn back_up(
        &self,
        to: &Path,
        at: i64,
        tell: &dyn Fn(Event),
        stopped: &dyn Fn() -> bool,
    ) -> Result<BackedUp, Problem>;
}

/// How far something long is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Copying {
    /// What is being done, in words.
    pub what: String,
    /// Bytes done.
    pub done: u64,
    /// Of how many, about.
    pub total: u64,
}

/// Something wrong with stored bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Damaged {
    /// Where, or who refers to it.
    pub what: String,
    /// What is wrong.
    pub why: String,
}

/// What a journal holds, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Holds {
    /// Flows.
    pub flows: u64,
    /// Of these, enabled.
    pub enabled: u64,
    /// Datasets.
    pub datasets: u64,
    /// Their revisions.
    pub revisions: u64,
    /// Open dead letters.
    pub dead_letters: u64,
    /// Open tasks.
    pub tasks: u64,
    /// Exports and releases that are still to be done.
    pub intents: u64,
    /// Source items that were ever taken in.
    pub arrivals: u64,
}

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackedUp {
    /// The folder it is in.
    pub to: String,
    /// The moment it is of.
    pub made: String,
    /// Whether the folder held an earlier one.
    pub again: bool,
    /// What it holds.
    pub holds: Holds,
    /// Bytes of the journal.
    pub journal_bytes: u64,
    /// Bytes of content that were copied now.
    pub copied_bytes: u64,
    /// Small contents that were copied now.
    pub copied_records: u64,
    /// Large contents that were copied now.
    pub copied_files: u64,
    /// Places where the content of the data directory is damaged.
    pub damaged: u64,
    /// References in the journal to content that the backup does not have as it should be.
    pub lacking: u64,
}

impl Service {
    /// Lets it make backups.
    #[must_use]
    pub fn with_backups(self: Arc<Self>, backups: Arc<dyn Backups>) -> Arc<Self> {
        // Given once, where the data directory is opened.
        let _ = self.backups.set(backups);
        self
    }

    /// Backs everything up into a folder.
    pub async fn back_up(&self, to: PathBuf, tell: &Teller) -> Result<(), Problem> {
        let backups = self.backups.get().map(Arc::clone);
        let backups = backups.ok_or_else(|| Problem::new(501, "no-backups", "this service can't make backups"))?;
        let (stopped, at) = (Arc::new(AtomicBool::new(false)), self.engine.clock.now());
        let (asked, told) = (Arc::clone(&stopped), tell.clone());
        let work = tokio::task::spawn_blocking(move || {
            let tell = |event| match event {
                Event::Copying(_) => told.number(event),
                other => told.now(other),
            };
            backups.back_up(&to, at, &tell, &|| asked.load(Ordering::Acquire))
        });
        tokio::pin!(work);
        let mut stop = self.stop.subscribe();
        let stop = async move { stop.wait_for(|stop| *stop).await.is_ok() };
        let done = tokio::select! {
            done = &mut work => done,
            _ = stop => {
                stopped.store(true, Ordering::Release);
                work.await
            }
        };
        let backed_up = done
            .map_err(|error| Problem::new(500, "backup", format!("the backup was ended: {error}")))?
            .inspect_err(|problem| tracing::warn!(code = problem.code, "a backup failed: {problem}"))?;
        if backed_up.damaged + backed_up.lacking > 0 {
            let (damaged, lacking) = (backed_up.damaged, backed_up.lacking);
            tracing::error!(damaged, lacking, "content is damaged: a backup could not take all of it");
        } else {
            tracing::info!(to = backed_up.to, bytes = backed_up.copied_bytes, "backed up");
        }
        tell.send(Event::BackedUp(backed_up)).await;
        Ok(())
    }
}
