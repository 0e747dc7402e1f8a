//! One watcher for the folders of all flows: an operating system allows far fewer watchers than there may be flows. It
//! notes for each who watches which names have changed. What it notes may be lost; sources are looked at now and then
//! in any case.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use notify::{Event, EventKind, RecursiveMode, Watcher};
use opendmp_processor::WatchRequest;
use tokio::sync::Notify;

use crate::engine::lock;
use crate::health::WATCHER_HINT;

/// How many names are noted for one who watches, and how many bytes they may have; beyond it, that everything may have
/// changed.
const MOST: usize = 16_384;
const MOST_BYTES: usize = 2 << 20;

/// What has changed, for one who watches.
#[derive(Debug, Default)]
pub struct Told {
    notify: Notify,
    news: Mutex<News>,
}

/// What [`Told`] notes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Changed names, as paths relative to the watched folder.
    pub names: BTreeSet<Vec<u8>>,
    /// Whether anything else may have changed too.
    pub everything: bool,
    /// Whether the folder itself went away: it is not watched any more.
    pub gone: bool,
    bytes: usize,
}

impl Told {
    /// Takes what was noted.
    pub fn take(&self) -> News {
        std::mem::take(&mut lock(&self.news))
    }

    /// Waits for something to take; once for many.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }

    fn name(&self, name: &[u8]) {
        let mut news = lock(&self.news);
        if news.names.len() >= MOST || news.bytes + name.len() > MOST_BYTES {
            news.everything = true;
        } else if !news.names.contains(name) {
            news.bytes += name.len();
            news.names.insert(name.to_vec());
        }
        drop(news);
        self.notify.notify_one();
    }

    fn everything(&self, gone: bool) {
        let mut news = lock(&self.news);
        news.everything = true;
        news.gone |= gone;
        drop(news);
        self.notify.notify_one();
    }
}

type Wakes = Arc<Mutex<BTreeMap<PathBuf, Vec<Wake>>>>;

#[derive(Clone)]
struct Wake {
    told: Arc<Told>,
    recursive: bool,
    /// The folder that is watched.
    identity: Option<Identity>,
}

/// What tells a folder from another that has its path, and one mount from another: device, inode and mount. What is
/// mounted anew may have the numbers of what was there before, but for that of the mount.
type Identity = (u64, u64, u64);

#[cfg(target_os = "linux")]
fn identity(folder: &Path) -> Option<Identity> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
    /// A number that is never given again; Linux 6.8.
    const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let asked = StatxFlags::INO | StatxFlags::MNT_ID | MNT_ID_UNIQUE;
    let found = statx(CWD, folder, AtFlags::empty(), asked).ok()?;
    Some((makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino, found.stx_mnt_id))
}

#[cfg(not(target_os = "linux"))]
fn identity(folder: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    folder.metadata().ok().map(|found| (found.dev(), found.ino(), 0))
}

/// See the module.
pub struct Folders {
    /// Held for as long as a folder begins or ends to be watched, so that who leaves does not take the watch of who has
    /// just come.
    watcher: Mutex<Box<dyn Watcher + Send>>,
    wakes: Wakes,
    probe: Option<Arc<Probe>>,
}

/// By what it is known whether the watcher still tells: a file that it watches, and that is opened now and then.
#[derive(Debug)]
struct Probe {
    path: PathBuf,
    /// It was opened, and nothing was heard of that yet.
    is_open: AtomicBool,
}

/// What came of a probe.
#[derive(Debug, PartialEq, Eq)]
pub enum Probed {
    /// The watcher tells.
    Alive,
    /// It did not, and another has taken its place.
    Restarted,
    /// There is none, in words.
    Failed(String),
}

/// A folder that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watching {
    /// As it was asked for, with links.
    requested: PathBuf,
    folder: PathBuf,
    identity: Option<Identity>,
}

impl Watching {
    /// Whether another folder has taken its place, of which nothing would be told.
    pub fn is_stale(&self) -> bool {
        identity(&self.requested) != self.identity || self.requested.canonicalize().ok().as_ref() != Some(&self.folder)
    }
}

impl Folders {
    /// Starts the watcher.
    ///
    /// # Errors
    /// In words, where the operating system gives none.
    pub fn start() -> Result<Self, String> {
        let wakes = Wakes::default();
        Ok(Self { watcher: Mutex::new(started(&wakes, None)?), wakes, probe: None })
    }

    /// The same, with a file by which [`Folders::probe`] finds out whether the watcher works: one that is there all the
    /// time, and that others hardly ever open.
    ///
    /// # Errors
    /// As there, and where the file can't be watched.
    pub fn start_probed(file: &Path) -> Result<Self, String> {
        let path = file.canonicalize().map_err(|error| format!("{}: {error}", file.display()))?;
        let (wakes, probe) = (Wakes::default(), Arc::new(Probe { path, is_open: AtomicBool::new(false) }));
        Ok(Self { watcher: Mutex::new(started(&wakes, Some(&probe))?), wakes, probe: Some(probe) })
    }

    /// Whether what the last probe did was told; if not, starts another watcher, and has everybody watch and look at
    /// everything anew. To be called now and then. Blocks.
    pub fn probe(&self) -> Probed {
        let Some(probe) = &self.probe else { return Probed::Alive };
        if probe.is_open.load(Ordering::Acquire) {
            match started(&self.wakes, Some(probe)) {
                Ok(watcher) => {
                    let dead = std::mem::replace(&mut *lock(&self.watcher), watcher);
                    // It panics when it is dropped and its thread is gone.
                    std::mem::forget(dead);
                }
                Err(message) => return Probed::Failed(message),
            }
            probe.is_open.store(false, Ordering::Release);
            lock(&self.wakes).values().flatten().for_each(|wake| wake.told.everything(true));
            return Probed::Restarted;
        }
        probe.is_open.store(true, Ordering::Release);
        if std::fs::File::open(&probe.path).is_err() {
            // Not the watcher's fault.
            probe.is_open.store(false, Ordering::Release);
        }
        Probed::Alive
    }

    /// Notes in `told` from now on what changes in the folder.
    ///
    /// # Errors
    /// Where there is no such folder, it or a folder in it may not be read, or no more watches are to be had.
    pub fn watch(&self, request: &WatchRequest, told: &Arc<Told>) -> Result<Watching, Unwatchable> {
        // Events name real paths.
        let folder = request.folder.canonicalize().map_err(|error| Unwatchable::of(&request.folder, &error))?;
        let requested = request.folder.clone();
        let watching = Watching { identity: identity(&folder), requested, folder: folder.clone() };
        let mut watcher = lock(&self.watcher);
        let mut wakes = lock(&self.wakes);
        let list = wakes.entry(folder.clone()).or_default();
        let identity = watching.identity;
        let already = list.iter().any(|wake| (wake.recursive || !request.recursive) && wake.identity == identity);
        list.push(Wake { told: Arc::clone(told), recursive: request.recursive, identity });
        drop(wakes);
        if already {
            return Ok(watching);
        }
        let mode = if request.recursive { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
        // Not under the lock of `wakes`, which the watcher's own thread takes for each event.
        watcher.watch(&folder, mode).map(|()| watching.clone()).map_err(|error| {
            self.end(&mut watcher, &watching, told);
            let path = error.paths.first().unwrap_or(&folder);
            match &error.kind {
                notify::ErrorKind::Io(error) => Unwatchable::of(path, error),
                _ => Unwatchable {
                    message: format!("{} can't be watched: {error}", folder.display()),
                    hint: WATCHER_HINT,
                },
            }
        })
    }

    /// Ends it.
    pub fn unwatch(&self, watching: &Watching, told: &Arc<Told>) {
        self.end(&mut lock(&self.watcher), watching, told);
    }

    fn end(&self, watcher: &mut Box<dyn Watcher + Send>, watching: &Watching, told: &Arc<Told>) {
        let mut wakes = lock(&self.wakes);
        let Some(list) = wakes.get_mut(&watching.folder) else { return };
        list.retain(|wake| !Arc::ptr_eq(&wake.told, told));
        if list.is_empty() {
            wakes.remove(&watching.folder);
            drop(wakes);
            // Gone already when the folder is.
            let _ = watcher.unwatch(&watching.folder);
        }
    }
}

/// Why a folder can't be watched, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwatchable {
    /// What happened.
    pub message: String,
    /// What a person can do about it.
    pub hint: &'static str,
}

impl Unwatchable {
    fn of(folder: &Path, error: &std::io::Error) -> Self {
        let hint = match error.kind() {
            std::io::ErrorKind::PermissionDenied => "give the user OpenDMP runs as the right to read that folder",
            std::io::ErrorKind::NotFound => "make the folder",
            _ => WATCHER_HINT,
        };
        Self { message: format!("{} can't be watched: {error}", folder.display()), hint }
    }
}

/// A watcher that tells those in `wakes`, and notes what it hears of the probe.
fn started(wakes: &Wakes, probe: Option<&Arc<Probe>>) -> Result<Box<dyn Watcher + Send>, String> {
    let failed = |error| format!("changes of folders can't be watched: {error}");
    let (told, heard) = (Arc::clone(wakes), probe.cloned());
    let hear = move |event: notify::Result<Event>| {
        if let (Some(probe), Ok(event)) = (&heard, &event)
            && event.paths.contains(&probe.path)
        {
            probe.is_open.store(false, Ordering::Release);
        }
        tell(&told, event);
    };
    let mut watcher = notify::recommended_watcher(hear).map_err(failed)?;
    if let Some(probe) = probe {
        watcher.watch(&probe.path, RecursiveMode::NonRecursive).map_err(failed)?;
    }
    Ok(Box::new(watcher))
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

/// Whether what had a name has left it.
fn leaves(kind: EventKind) -> bool {
    use notify::event::{ModifyKind, RenameMode};
    matches!(kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)))
}

fn tell(wakes: &Wakes, event: notify::Result<Event>) {
    let mut wakes = lock(wakes);
    let all = |wakes: &BTreeMap<PathBuf, Vec<Wake>>| {
        wakes.values().flatten().for_each(|wake| wake.told.everything(false));
    };
    match event {
        Ok(event) if event.need_rescan() || event.paths.is_empty() => all(&wakes),
        Ok(event) if leaves(event.kind) => {
            for path in &event.paths {
                for wake in wakes.get_mut(path).into_iter().flatten() {
                    wake.identity = None;
                    wake.told.everything(true);
                }
            }
        }
        Ok(event) if !brings(event.kind) => {}
        Ok(event) => {
            let own = |path: &Path| path.file_name().is_some_and(|name| name.as_bytes().starts_with(OWN_PREFIX));
            for path in &event.paths {
                for (depth, folder) in path.ancestors().enumerate() {
                    let name = path.strip_prefix(folder).unwrap_or(path).as_os_str().as_bytes();
                    for wake in wakes.get(folder).into_iter().flatten() {
                        match depth {
                            0 => wake.told.everything(false),
                            1 => wake.told.name(name),
                            _ if wake.recursive => wake.told.name(name),
                            _ => {}
                        }
                    }
                    // What is in a folder of ours is nothing to those above it; where it stands itself, they may watch.
                    if own(folder) {
                        break;
                    }
                }
            }
        }
        Err(_) => all(&wakes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn request(folder: &Path, recursive: bool) -> WatchRequest {
        WatchRequest { folder: folder.to_owned(), recursive, remote: false }
    }

    /// Waits until something is told, and takes it.
    async fn next(told: &Told) -> News {
        tokio::time::timeout(Duration::from_secs(10), told.changed()).await.expect("a change is told");
        told.take()
    }

    #[test]
    fn why_a_folder_is_not_watched_comes_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let why = Folders::start().unwrap().watch(&request(&missing, false), &Arc::default()).unwrap_err();
        assert!(why.message.contains("missing can't be watched") && why.hint == "make the folder", "{why:?}");
        let denied = Unwatchable::of(&missing, &std::io::ErrorKind::PermissionDenied.into());
        assert!(denied.hint.contains("the right to read"), "{denied:?}");
        assert_eq!(Unwatchable::of(&missing, &std::io::ErrorKind::StorageFull.into()).hint, WATCHER_HINT);
    }

    #[tokio::test]
    async fn a_change_wakes_those_who_watch() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        let folders = Folders::start().unwrap();
        let (flat, deep) = (Arc::<Told>::default(), Arc::<Told>::default());
        folders.watch(&request(folder.path(), false), &flat).unwrap();
        let watching = folders.watch(&request(folder.path(), true), &deep).unwrap();
        std::fs::write(folder.path().join("sub/a"), b"x").unwrap();
        let news = next(&deep).await;
        assert!(news.names.contains(&b"sub/a"[..]) && !news.everything);
        folders.unwatch(&watching, &deep);
        std::fs::write(folder.path().join("b"), b"x").unwrap();
        assert_eq!(next(&flat).await.names, BTreeSet::from([b"b".to_vec()]), "and nothing below it");
    }

    #[tokio::test]
    async fn who_leaves_does_not_take_the_watch_of_who_comes() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders::start().unwrap();
        for n in 0..100 {
            let (old, new) = (Arc::<Told>::default(), Arc::<Told>::default());
            let watching = folders.watch(&request(folder.path(), false), &old).unwrap();
            let together = std::sync::Barrier::new(2);
            let watching = std::thread::scope(|scope| {
                scope.spawn(|| {
                    together.wait();
                    folders.unwatch(&watching, &old);
                });
                together.wait();
                folders.watch(&request(folder.path(), false), &new).unwrap()
            });
            let name = format!("{n}");
            std::fs::write(folder.path().join(&name), b"x").unwrap();
            assert!(next(&new).await.names.contains(name.as_bytes()));
            folders.unwatch(&watching, &new);
        }
    }

    #[tokio::test]
    async fn a_folder_that_goes_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("in");
        std::fs::create_dir(&folder).unwrap();
        let folders = Folders::start().unwrap();
        let told = Arc::<Told>::default();
        let watching = folders.watch(&request(&folder, false), &told).unwrap();
        assert!(!watching.is_stale());
        std::fs::remove_dir(&folder).unwrap();
        assert!(next(&told).await.gone && watching.is_stale());
        std::fs::create_dir(&folder).unwrap();
        folders.unwatch(&watching, &told);
        folders.watch(&request(&folder, false), &told).unwrap();
        std::fs::write(folder.join("a"), b"x").unwrap();
        while next(&told).await.names.is_empty() {}
    }

    #[tokio::test]
    async fn a_link_that_leads_elsewhere_is_watched_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other, link) = (dir.path().join("one"), dir.path().join("other"), dir.path().join("in"));
        std::fs::create_dir(&one).unwrap();
        std::fs::create_dir(&other).unwrap();
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let folders = Folders::start().unwrap();
        let told = Arc::<Told>::default();
        let watching = folders.watch(&request(&link, false), &told).unwrap();
        assert!(!watching.is_stale());
        std::fs::remove_file(&link).unwrap();
        assert!(watching.is_stale(), "nothing has the path");
        std::os::unix::fs::symlink(&other, &link).unwrap();
        assert!(watching.is_stale());
        folders.unwatch(&watching, &told);
        let watching = folders.watch(&request(&link, false), &told).unwrap();
        assert!(!watching.is_stale());
        std::fs::write(other.join("a"), b"x").unwrap();
        while !next(&told).await.names.contains(&b"a"[..]) {}
    }

    #[tokio::test]
    async fn a_watcher_that_tells_nothing_any_more_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, file) = (dir.path().join("in"), dir.path().join("probe"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(&file, "").unwrap();
        let folders = Folders::start_probed(&file).unwrap();
        let told = Arc::<Told>::default();
        let watching = folders.watch(&request(&folder, false), &told).unwrap();
        for _ in 0..3 {
            assert_eq!(folders.probe(), Probed::Alive);
            let probe = folders.probe.as_ref().unwrap();
            let heard = async {
                while probe.is_open.load(Ordering::Acquire) {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), heard).await.expect("the probe is heard of");
        }
        // As when its thread has ended.
        *lock(&folders.watcher) = Box::new(notify::NullWatcher);
        assert_eq!((folders.probe(), folders.probe()), (Probed::Alive, Probed::Restarted));
        assert!(next(&told).await.gone, "who watches has to watch anew");
        folders.unwatch(&watching, &told);
        folders.watch(&request(&folder, false), &told).unwrap();
        std::fs::write(folder.join("a"), b"x").unwrap();
        while !next(&told).await.names.contains(&b"a"[..]) {}
    }

    /// What who watches `folder` with all below it is told of a change of `path`.
    fn told(folder: &str, path: &str, kind: EventKind) -> News {
        let told = Arc::<Told>::default();
        let wake = Wake { told: Arc::clone(&told), recursive: true, identity: None };
        let wakes = Arc::new(Mutex::new(BTreeMap::from([(PathBuf::from(folder), vec![wake])])));
        tell(&wakes, Ok(Event::new(kind).add_path(path.into())));
        let news = told.take();
        let woken = futures::FutureExt::now_or_never(told.changed()).is_some();
        assert_eq!(woken, news != News::default(), "who has news is woken");
        news
    }

    #[test]
    fn what_we_do_ourselves_and_what_leaves_wakes_nobody() {
        use notify::event::{CreateKind, ModifyKind, RemoveKind, RenameMode};
        let made = EventKind::Create(CreateKind::File);
        let name = |name: &str| BTreeSet::from([name.as_bytes().to_vec()]);
        assert_eq!(told("/in", "/in/a", made).names, name("a"));
        assert_eq!(told("/in", "/in/sub/.opendmp", made).names, name("sub/.opendmp"));
        assert_eq!(told("/in", "/in/a", EventKind::Modify(ModifyKind::Name(RenameMode::To))).names, name("a"));
        for own in ["/in/.opendmp-claimed", "/in/.opendmp-claimed/x/a", "/in/sub/.opendmp-1.tmp"] {
            assert_eq!(told("/in", own, made), News::default(), "{own}");
        }
        for left in [EventKind::Remove(RemoveKind::File), EventKind::Modify(ModifyKind::Name(RenameMode::From))] {
            assert_eq!(told("/in", "/in/a", left), News::default(), "{left:?}");
            assert!(told("/in", "/in", left).gone, "{left:?}");
        }
        let below = told("/home/.opendmp-trial/in", "/home/.opendmp-trial/in/a", made);
        assert_eq!(below.names, name("a"), "only below what is watched");
    }

    #[test]
    fn an_overflow_and_too_many_names_are_everything() {
        let told = Arc::<Told>::default();
        let wake = Wake { told: Arc::clone(&told), recursive: false, identity: None };
        let wakes = Arc::new(Mutex::new(BTreeMap::from([(PathBuf::from("/in"), vec![wake])])));
        tell(&wakes, Ok(Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan)));
        assert!(told.take().everything);
        for n in 0..=MOST {
            let made = EventKind::Create(notify::event::CreateKind::File);
            tell(&wakes, Ok(Event::new(made).add_path(format!("/in/{n}").into())));
        }
        let news = told.take();
        assert!(news.everything && news.names.len() == MOST);
        assert_eq!(told.take(), News::default());
    }

    #[test]
    fn a_missing_folder_is_told() {
        let folders = Folders::start().unwrap();
        let missing = request(Path::new("/nonexistent/inbox"), false);
        assert!(folders.watch(&missing, &Arc::default()).unwrap_err().message.contains("/nonexistent/inbox"));
    }
}
