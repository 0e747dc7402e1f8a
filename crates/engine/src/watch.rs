//! One watcher for the folders of all flows: an operating system allows far fewer watchers than there may be flows.
//! A wake-up may be lost; sources are looked at now and then in any case.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use opendmp_processor::WatchRequest;
use tokio::sync::Notify;

use crate::engine::lock;

type Wakes = Arc<Mutex<BTreeMap<PathBuf, Vec<Wake>>>>;

#[derive(Clone)]
struct Wake {
    notify: Arc<Notify>,
    recursive: bool,
}

/// See the module.
pub struct Folders {
    watcher: Mutex<RecommendedWatcher>,
    wakes: Wakes,
}

impl Folders {
    /// Starts the watcher.
    ///
    /// # Errors
    /// In words, where the operating system gives none.
    pub fn start() -> Result<Self, String> {
        let wakes = Wakes::default();
        let told = Arc::clone(&wakes);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| tell(&told, event))
            .map_err(|error| format!("changes of folders can't be watched: {error}"))?;
        Ok(Self { watcher: Mutex::new(watcher), wakes })
    }

    /// Wakes `notify` from now on when something changes in the folder.
    ///
    /// # Errors
    /// In words: no such folder, or no more watches to be had.
    pub fn watch(&self, request: &WatchRequest, notify: &Arc<Notify>) -> Result<(), String> {
        // Events name real paths.
        let folder = request.folder.canonicalize().map_err(|error| format!("{}: {error}", request.folder.display()))?;
        let mut wakes = lock(&self.wakes);
        let list = wakes.entry(folder.clone()).or_default();
        let already = list.iter().any(|wake| wake.recursive || !request.recursive) && !list.is_empty();
        list.push(Wake { notify: Arc::clone(notify), recursive: request.recursive });
        drop(wakes);
        if already {
            return Ok(());
        }
        let mode = if request.recursive { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
        lock(&self.watcher).watch(&folder, mode).map_err(|error| {
            self.unwatch(&request.folder, notify);
            format!("{} can't be watched: {error}", folder.display())
        })
    }

    /// Ends it.
    pub fn unwatch(&self, folder: &Path, notify: &Arc<Notify>) {
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let mut wakes = lock(&self.wakes);
        let Some(list) = wakes.get_mut(&folder) else { return };
        list.retain(|wake| !Arc::ptr_eq(&wake.notify, notify));
        if list.is_empty() {
            wakes.remove(&folder);
            drop(wakes);
            // Gone already when the folder is.
            let _ = lock(&self.watcher).unwatch(&folder);
        }
    }
}

/// What is begun with this is our own doing, or nobody's business: see `OWN_PREFIX` of the kinds.
const OWN_PREFIX: &[u8] = b".opendmp-";

/// Whether there may be something new behind a kind of event. Reading a folder is not a change of it, and our own looks
/// would wake us for ever; and where something left, as what we claim does, nothing has come.
fn brings(kind: EventKind) -> bool {
    use notify::event::{AccessKind, ModifyKind, RenameMode};
    !matches!(
        kind,
        EventKind::Access(AccessKind::Open(_) | AccessKind::Read)
            | EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Name(RenameMode::From))
    )
}

fn tell(wakes: &Wakes, event: notify::Result<Event>) {
    let wakes = lock(wakes);
    let all = || wakes.values().flatten().for_each(|wake| wake.notify.notify_one());
    match event {
        Ok(event) if event.need_rescan() || event.paths.is_empty() => all(),
        Ok(event) if !brings(event.kind) => {}
        Ok(event) => {
            let own = |path: &Path| path.file_name().is_some_and(|name| name.as_bytes().starts_with(OWN_PREFIX));
            for path in &event.paths {
                for (depth, folder) in path.ancestors().enumerate() {
                    for wake in wakes.get(folder).into_iter().flatten() {
                        if depth <= 1 || wake.recursive {
                            wake.notify.notify_one();
                        }
                    }
                    // What is in a folder of ours is nothing to those above it; where it stands itself, they may watch.
                    if own(folder) {
                        break;
                    }
                }
            }
        }
        Err(_) => all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_change_wakes_those_who_watch() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        let folders = Folders::start().unwrap();
        let (flat, deep) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let request = |recursive| WatchRequest { folder: folder.path().to_owned(), recursive };
        folders.watch(&request(false), &flat).unwrap();
        folders.watch(&request(true), &deep).unwrap();
        std::fs::write(folder.path().join("sub/a"), b"x").unwrap();
        tokio::time::timeout(Duration::from_secs(10), deep.notified()).await.expect("the deep watch is told");
        folders.unwatch(folder.path(), &deep);
        std::fs::write(folder.path().join("b"), b"x").unwrap();
        tokio::time::timeout(Duration::from_secs(10), flat.notified()).await.expect("the flat watch is told");
    }

    /// Whether a change of `path` wakes who watches `folder` with all below it.
    fn wakes(folder: &str, path: &str, kind: EventKind) -> bool {
        let notify = Arc::new(Notify::new());
        let wake = Wake { notify: Arc::clone(&notify), recursive: true };
        let wakes = Arc::new(Mutex::new(BTreeMap::from([(PathBuf::from(folder), vec![wake])])));
        tell(&wakes, Ok(Event::new(kind).add_path(path.into())));
        futures::FutureExt::now_or_never(notify.notified()).is_some()
    }

    #[test]
    fn what_we_do_ourselves_and_what_leaves_wakes_nobody() {
        use notify::event::{CreateKind, ModifyKind, RemoveKind, RenameMode};
        let made = EventKind::Create(CreateKind::File);
        assert!(wakes("/in", "/in/a", made));
        assert!(wakes("/in", "/in/sub/.opendmp", made));
        assert!(wakes("/in", "/in/a", EventKind::Modify(ModifyKind::Name(RenameMode::To))));
        for own in ["/in/.opendmp-claimed", "/in/.opendmp-claimed/x/a", "/in/sub/.opendmp-1.tmp"] {
            assert!(!wakes("/in", own, made), "{own}");
        }
        for left in [EventKind::Remove(RemoveKind::File), EventKind::Modify(ModifyKind::Name(RenameMode::From))] {
            assert!(!wakes("/in", "/in/a", left), "{left:?}");
        }
        assert!(wakes("/home/.opendmp-trial/in", "/home/.opendmp-trial/in/a", made), "only below what is watched");
    }

    #[test]
    fn a_missing_folder_is_told() {
        let folders = Folders::start().unwrap();
        let request = WatchRequest { folder: "/nonexistent/inbox".into(), recursive: false };
        assert!(folders.watch(&request, &Arc::new(Notify::new())).unwrap_err().contains("/nonexistent/inbox"));
    }
}
