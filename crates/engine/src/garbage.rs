//! Garbage: content that nobody names any more is let go, when somebody asks and by itself now and then.
//!
//! The order matters, and is told in `docs/decisions/0011-garbage.md`: the store sets its fence first, then the journal
//! is asked for what it names, then everything else from before the fence goes. What is being stored meanwhile is held
//! ([`opendmp_ports::content::Hold`]) by whoever works on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opendmp_model::item::ContentRef;
use opendmp_model::manifest::{Load, Manifest};
use opendmp_ports::content::{Collection, Freed, Step};
use opendmp_ports::journal::{Named, Settlement};
use opendmp_ports::{Error, ErrorKind};
use tokio::sync::{mpsc, watch};

use crate::Engine;
use crate::execute::{read_blocks, read_children};
use crate::failpoint::reach;

/// How often garbage is collected by itself.
const OFTEN: Duration = Duration::from_secs(60 * 60);

/// How often it is looked whether the disk or the quota gets full.
const LOOK: Duration = Duration::from_secs(30);

/// How long it is waited between two collections although the disk is nearly full: what the first one left is named.
const AGAIN: Duration = Duration::from_secs(10 * 60);

/// How often it is checked whether journal and content are in their place.
const CHECK: Duration = Duration::from_secs(5);

/// How long after a commit the content notes how far the journal has come: once for many commits.
const SOON: Duration = Duration::from_millis(50);

/// What a health issue is about where they are not.
pub const STORAGE: &str = "data directory";

/// Batches of references on their way to the store.
const BATCHES: usize = 4;

/// Steps at which a test may let the process die.
fn reached(step: Step) {
    match step {
        Step::Look => {}
        Step::Condemned => reach("gc-condemned"),
        Step::Removed => reach("gc-removed"),
    }
}

impl Engine {
    /// Collects garbage; with `dry` it is only told how much there is. `stopped` is asked now and then whether to end
    /// early.
    ///
    /// # Errors
    /// `Conflict` while garbage is being collected already, or a backup or a verification goes on; `Damaged` where the
    /// journal is not the one that names this content; those of the ports.
    pub async fn collect_garbage(&self, dry: bool, stopped: Arc<AtomicBool>) -> Result<Freed, Error> {
        self.check_storage().await?;
        let mut collection = self.content.collect().await?;
        reach("gc-fence");
        self.roots(&mut *collection).await?;
        reach("gc-marked");
        let watch = move |step| {
            reached(step);
            !stopped.load(Ordering::Acquire)
        };
        let freed = collection.finish(dry, Arc::new(watch)).await?;
        if !dry && freed.contents > 0 {
            tracing::info!(contents = freed.contents, bytes = freed.bytes, disk = freed.disk, "garbage was let go");
        }
        Ok(freed)
    }

    /// Whether the journal is in its place and is the one that names this content, which remembers it.
    ///
    /// # Errors
    /// Those of [`Journal::mark`](opendmp_ports::Journal::mark) and
    /// [`Content::follow_journal`](opendmp_ports::Content::follow_journal).
    pub async fn check_storage(&self) -> Result<(), Error> {
        let mark = self.journal.mark().await?;
        self.content.follow_journal(&mark).await
    }

    /// Checks that now and then until `stop`, and reports where it is not so. What the journal commits meanwhile is noted
    /// by the content soon, so that an older copy of the journal is not taken for this one after a kill.
    pub(crate) async fn watch_storage(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut hints = self.transport.listen();
        while !*stop.borrow() {
            match self.check_storage().await {
                Ok(()) => self.clear_trouble(STORAGE),
                Err(error) => self.trouble(STORAGE, &error.message, error.hint.as_deref()),
            }
            let next = self.clock.sleep(CHECK);
            tokio::pin!(next);
            loop {
                tokio::select! {
                    () = &mut next => break,
                    _ = stop.changed() => break,
                    _ = hints.next() => {}
                }
                self.clock.sleep(SOON).await;
                // Only what is told from now on is not noted here.
                hints = self.transport.listen();
                if let Ok(mark) = self.journal.mark().await {
                    // What is wrong is told by the next check.
                    let _ = self.content.note_journal(&mark).await;
                }
            }
        }
    }

    /// Names to a collection all content that must stay: what the journal names, and what is listed in manifests that
    /// are still to be expanded, down to the children's own content.
    async fn roots(&self, collection: &mut dyn Collection) -> Result<(), Error> {
        let (sender, mut batches) = mpsc::channel::<Vec<Named>>(BATCHES);
        // Owns its end, so that the journal does not go on where the store could not.
        let named = async move {
            while let Some(batch) = batches.recv().await {
                let (mut plain, mut manifests) = (Vec::with_capacity(batch.len()), Vec::new());
                for named in batch {
                    match named {
                        Named::Content(content) => plain.push(content),
                        Named::Manifest(manifest) => manifests.push(manifest),
                    }
                }
                collection.keep(plain).await?;
                for manifest in manifests {
                    self.listed(&manifest, collection).await?;
                }
            }
            Ok::<(), Error>(())
        };
        let (told, named) = tokio::join!(self.journal.roots(sender), named);
        // Why the store failed says more than that the journal was left alone.
        named.and(told)
    }

    /// Names what a manifest lists from its next block on, a block at a time.
    async fn listed(&self, manifest: &Manifest, collection: &mut dyn Collection) -> Result<(), Error> {
        let left = read_blocks(self, manifest).await?.into_iter().skip(manifest.next as usize);
        collection.keep(vec![manifest.content]).await?;
        for block in left {
            let children = read_children(self, &block).await?;
            let content = children.iter().map(|(_, item)| item.content);
            collection.keep(content.chain([block.content]).collect()).await?;
        }
        Ok(())
    }

    /// Applies retention and collects garbage hourly, and when the disk is nearly full, until `stop`; uploads go when it
    /// is time.
    pub(crate) async fn keep_clean(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut last = self.clock.steady();
        while !*stop.borrow() {
            tokio::select! {
                () = self.clock.sleep(LOOK) => {}
                _ = stop.changed() => break,
            }
            if let Some(uploads) = &self.uploads {
                uploads.sweep().await;
            }
            let since = Duration::from_millis(self.clock.steady().saturating_sub(last).max(0) as u64);
            if since < OFTEN && !(since >= AGAIN && self.is_nearly_full().await) {
                continue;
            }
            last = self.clock.steady();
            let stopped = Arc::new(AtomicBool::new(false));
            let collected = async {
                if !self.doubts_ages() {
                    self.keep_retention(&stopped).await;
                }
                self.collect_garbage(false, Arc::clone(&stopped)).await
            };
            tokio::pin!(collected);
            let done = tokio::select! {
                done = &mut collected => done,
                _ = stop.changed() => {
                    stopped.store(true, Ordering::Release);
                    collected.await
                }
            };
            match done {
                Ok(_) => {}
                // A backup or a verification goes on: next time.
                Err(error) if error.kind == ErrorKind::Conflict => tracing::debug!(%error, "garbage waits"),
                Err(error) => tracing::warn!(%error, hint = error.hint, "garbage could not be collected"),
            }
        }
    }

    /// Whether the disk has little more than the reserve left, or nine tenths of the quota are used.
    async fn is_nearly_full(&self) -> bool {
        let Ok(usage) = self.content.usage().await else { return false };
        usage.free.is_some_and(|free| free < self.options.reserve.saturating_mul(2))
            || self.options.quotas.content.is_some_and(|quota| usage.stored >= quota - quota / 10)
    }
}

/// All content that a settlement names.
pub(crate) fn named(settlement: &Settlement) -> Vec<ContentRef> {
    let tasks = settlement.tasks.iter().flat_map(|task| task.items.iter().map(|item| item.content));
    let revisions = settlement.revisions.iter().map(|revision| revision.item.content);
    let letters = settlement.dead_letters.iter().map(|letter| letter.item.content);
    let held = settlement.held.iter().flat_map(|held| held.items.iter().map(|item| item.content));
    let manifests = settlement.tasks.iter().filter_map(|task| match &task.load {
        Load::Expand(manifest) => Some(manifest.content),
        Load::Items | Load::Look(_) => None,
    });
    tasks.chain(revisions).chain(letters).chain(held).chain(manifests).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use opendmp_ports::clock::SystemClock;
    use opendmp_ports::content::MemoryContent;
    use opendmp_ports::journal::{DEFAULT_SPACE, Lease, MemoryJournal, NewVersion};
    use opendmp_ports::transport::InProcess;
    use opendmp_ports::{Content, Journal};
    use opendmp_processor::Registry;

    use super::*;
    use crate::Options;

    fn engine(journal: &Arc<MemoryJournal>, content: &Arc<MemoryContent>) -> Engine {
        Engine::new(
            Arc::clone(journal) as Arc<dyn Journal>,
            Arc::clone(content) as Arc<dyn Content>,
            Arc::new(InProcess::default()),
            Arc::new(SystemClock),
            Arc::new(Registry::default()),
            Options::default(),
            Lease(1),
        )
    }

    async fn used() -> Arc<MemoryJournal> {
        let journal = Arc::<MemoryJournal>::default();
        let version = NewVersion {
            space: DEFAULT_SPACE,
            slug: "a".to_owned(),
            name: "A".to_owned(),
            hash: "1".to_owned(),
            body: Bytes::new(),
            at: 0,
            actor: "test".to_owned(),
        };
        journal.save_version(version).await.unwrap();
        journal
    }

    /// What a new journal, or one that was taken back, does not name may be named by the one that is gone.
    #[tokio::test]
    async fn a_journal_that_is_younger_than_the_content_frees_nothing() {
        let content = Arc::<MemoryContent>::default();
        let stored = content.put(Bytes::from_static(b"named by the journal that is gone")).await.unwrap();
        content.sync().await.unwrap();
        let journal = used().await;
        assert!(journal.mark().await.unwrap().seq.0 > 0);
        engine(&journal, &content).check_storage().await.unwrap();
        let new = engine(&Arc::default(), &content);
        for dry in [true, false] {
            let refused = new.collect_garbage(dry, Arc::default()).await.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Damaged);
        }
        assert!(content.open(&stored).await.is_ok());
        // The right one decides.
        let freed = engine(&journal, &content).collect_garbage(false, Arc::default()).await.unwrap();
        assert_eq!(freed.contents, 1);
    }
}
