//! Looks now and then at what an engine can't do without, so that who asks how it is learns of what nobody has tripped
//! over yet, and logs what works again.

use std::sync::Arc;
use std::time::Duration;

use opendmp_ports::content::Usage;
use opendmp_ports::journal::{Backlog, FlowRow, FlowState};
use tokio::sync::watch;

use crate::Engine;
use crate::issues::{DISK, JOURNAL_READ};
use crate::loaded::run_blocking;
use crate::space::MAKE_ROOM;
use crate::watch::{Folders, Probed};

/// How often.
const LOOK: Duration = Duration::from_secs(5);

/// How long the journal may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// After how many looks the watcher of folders is probed.
const PROBE: u32 = 6;

/// What the health issue of the watcher is about.
pub const WATCHER: &str = "watcher";

/// What can be done where folders can't be watched.
pub const WATCHER_HINT: &str =
    "raise fs.inotify.max_user_instances and fs.inotify.max_user_watches with `sysctl`; until then folders are scanned";

impl Engine {
    /// Asks journal and content how they are, and raises health issues where that is not well.
    pub async fn check(&self) -> (Option<Backlog>, Option<Usage>) {
        let why = |message: String, hint: Option<String>| Some((message, hint));
        let asking = async {
            let backlog = self.journal.backlog(None).await?;
            // It can be read and yet not be what it was.
            self.journal.mark().await?;
            Ok::<_, opendmp_ports::Error>(backlog)
        };
        let (backlog, wrong) = match tokio::time::timeout(PATIENCE, asking).await {
            Ok(Ok(backlog)) => (Some(backlog), None),
            Ok(Err(error)) => (None, why(error.to_string(), error.hint)),
            Err(_) => {
                let message = format!("the journal has not answered within {} s", PATIENCE.as_secs());
                (None, why(message, Some("see whether the disk of the data directory answers".to_owned())))
            }
        };
        match wrong {
            Some((message, hint)) => self.trouble(JOURNAL_READ, &message, hint.as_deref()),
            None => self.clear_trouble(JOURNAL_READ),
        }
        let usage = self.content.usage().await.ok();
        let reserve = self.options.reserve;
        match usage.and_then(|usage| usage.free).filter(|free| *free < reserve) {
            Some(free) => {
                let message = format!(
                    "{} MiB are free on the data directory's disk, less than the reserve of {} MiB: input waits",
                    free >> 20,
                    reserve >> 20
                );
                self.trouble(DISK, &message, Some(MAKE_ROOM));
            }
            // Those of scratch files and destinations are looked at while work goes on.
            None if self.space.is_low() => {}
            None => self.clear_trouble(DISK),
        }
        (backlog, usage)
    }

    /// Looks until `stop`.
    pub(crate) async fn watch_health(self: Arc<Self>, folders: Option<Arc<Folders>>, mut stop: watch::Receiver<bool>) {
        let mut looks = 0u32;
        while !*stop.borrow() {
            self.check().await;
            // Logs what is resolved.
            self.troubles();
            if let Some(folders) = folders.clone().filter(|_| looks.is_multiple_of(PROBE)) {
                match run_blocking(move || folders.probe()).await {
                    Ok(Probed::Alive) => self.clear_trouble(WATCHER),
                    Ok(Probed::Restarted) => {
                        let message = "the watcher of folders had stopped, and was started again; all are scanned";
                        self.trouble(WATCHER, message, None);
                    }
                    Ok(Probed::Failed(message)) => self.trouble(WATCHER, &message, Some(WATCHER_HINT)),
                    Err(error) => tracing::debug!(%error, "the watcher was not probed"),
                }
            }
            looks = looks.wrapping_add(1);
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// Drops the issues of flows that have nothing to do any more: disabled, and without work under way.
    pub(crate) fn withdraw_idle(&self, rows: &[FlowRow]) {
        let works = |flow: &str| {
            let is = |row: &&FlowRow| row.slug == flow || row.id.to_string() == flow;
            rows.iter().find(is).is_some_and(|row| row.state == FlowState::Enabled || row.outstanding > 0)
        };
        self.withdraw_troubles(|about| flow_in(about).is_some_and(|flow| !works(flow)));
    }
}

/// The flow that an issue concerns, by its slug or number: `flow a`, `flow a, ingest b`, `b of flow 1`.
fn flow_in(about: &str) -> Option<&str> {
    let (before, rest) = about.split_once("flow ")?;
    if !before.is_empty() && !before.ends_with(" of ") {
        return None;
    }
    Some(rest.split(',').next().unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issues_say_which_flow_they_concern() {
        for about in ["flow a-b", "flow a-b, ingest inbox", "flow a-b, processor x, y", "results of flow a-b"] {
            assert_eq!(flow_in(about), Some("a-b"), "{about}");
        }
        for about in ["journal", "clock", "reprocess in run 3", "overflow a"] {
            assert_eq!(flow_in(about), None, "{about}");
        }
    }
}
