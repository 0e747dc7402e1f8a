//! The data directory, and who answers for it: its server, over the socket in it; or, without one, this process, which
//! then holds the directory's lock.

use std::ffi::OsString;
use std::fs::{DirBuilder, DirEntry, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use opendmp_api::{Client, GRACE, SOCKET, Service};
use opendmp_content::{DirectoryContent, Ring};
use opendmp_engine::metrics::Workers;
use opendmp_engine::space::floor;
use opendmp_engine::uploads::{UploadLimits, Uploads};
use opendmp_engine::{Engine, Options, Quotas};
use opendmp_journal::SqliteJournal;
use opendmp_journal::lock::DataDirLock;
use opendmp_model::document::ByteSize;
use opendmp_ports::clock::SystemClock;
use opendmp_ports::journal::{Lease, TakeOver};
use opendmp_ports::transport::InProcess;
use opendmp_ports::{Clock, ErrorKind, Journal};
use opendmp_processor::{PathPolicy, Registry};
use opendmp_sandbox::Site;
use opendmp_script::{Numbers, Pools};

use crate::backup::{Maker, RESTORING};
use crate::fail::Fail;
use crate::{limits, machine, present, private, words};

/// How long a verb waits for another one that has the lock.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it looks.
const LOOK: Duration = Duration::from_millis(20);

/// The longest path a socket's address can hold, with some room (`sun_path` has 108 bytes on Linux, 104 elsewhere).
const SOCKET_PATH: usize = 100;

/// The file with the name of the installation.
const INSTANCE: &str = "instance";

/// The journal.
const JOURNAL: &str = "journal.db";

/// Where it is recorded which folders of this machine were used.
const LOCATIONS: &str = "locations";

/// Where steps work, in the data directory.
const SCRATCH: &str = "scratch";

/// Files by one of which a data directory is known.
const MARKS: [&str; 4] = [JOURNAL, INSTANCE, "content/format", RESTORING];

/// What is in one that has only begun, or is the root of a file system.
const BEGUN: [&str; 5] = ["lock", "content", "access-token", "lost+found", SOCKET];

/// Folders in one that may be disks of their own.
const INNER: [&str; 4] = [SCRATCH, "uploads", "environments", "recent"];

/// With less bytes than this a disk is as good as full: a journal can't begin to work.
const NO_ROOM: u64 = 1 << 20;

/// A data directory.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
}

impl DataDir {
    /// The one that was asked for, else the user's own.
    pub fn choose(asked: Option<PathBuf>) -> Result<Self, Fail> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let path = asked
            .or_else(|| variable("XDG_DATA_HOME").filter(|path| path.is_absolute()).map(|path| path.join("opendmp")))
            .or_else(|| variable("HOME").map(|home| home.join(".local/share/opendmp")))
            .ok_or_else(|| {
                Fail::usage("there is no home folder to keep data in").hint("say where with --data-dir DIR")
            })?;
        let path = std::path::absolute(&path).map_err(|error| Fail::io(path.display(), &error))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Whether something was kept in it before; a folder that holds other things than a data directory is refused, so that
    /// nothing of them is changed or removed.
    pub fn is_used(&self) -> Result<bool, Fail> {
        let entries = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Fail::io(self.path.display(), &error)),
        };
        if MARKS.iter().any(|mark| self.path.join(mark).is_file()) {
            return Ok(true);
        }
        let entries = entries.collect::<Result<Vec<_>, _>>().map_err(|error| Fail::io(self.path.display(), &error))?;
        for entry in &entries {
            let is = |known: &&str| entry.file_name() == **known;
            // A disk of its own may be mounted there before the first start.
            let is_ready = INNER.iter().any(is) && is_empty(&entry.path());
            if !is_ready && !BEGUN.iter().any(is) {
                let message = format!(
                    "{} is not empty and is not a data directory: it holds `{}`",
                    self.path.display(),
                    words::name(&entry.file_name().to_string_lossy())
                );
                let names: Vec<_> = entries.iter().map(DirEntry::file_name).collect();
                return Err(Fail::new(message).hint(self.instead(&names)));
            }
        }
        Ok(false)
    }

    /// What can be done where it holds `names`, and is no data directory.
    fn instead(&self, names: &[OsString]) -> String {
        let typed = |path: &Path| words::path(&path.display().to_string());
        let path = typed(&self.path);
        // Another folder was made in its place while it was away, and it was moved back into that.
        let within = names.iter().find(|name| MARKS.iter().any(|mark| self.path.join(name).join(mark).is_file()));
        if let Some(within) = within {
            let mut beside = self.path.as_os_str().to_owned();
            beside.push(".beside");
            let beside = PathBuf::from(beside);
            let (inner, aside) = (typed(&self.path.join(within)), typed(&beside));
            return format!(
                "{inner} is a data directory: use it with --data-dir, or move it to where it is looked for: \
                 `mv {path} {aside} && mv {} {path}`",
                typed(&beside.join(within))
            );
        }
        if names.iter().all(|name| name == LOCATIONS || BEGUN.iter().any(|known| name == *known)) {
            return format!(
                "a server made it while its data directory was moved away: `rm -r {path}`, then move the data directory \
                 back to that path"
            );
        }
        "--data-dir names the folder in which OpenDMP keeps its own data: choose a new or an empty one".to_owned()
    }

    /// What is said where there is none.
    pub fn none_yet(&self) -> Fail {
        Fail::new(format!("there is no data directory at {} yet", self.path.display()))
            .hint("`opendmp run FLOW.yaml` makes it; --data-dir names another")
    }

    /// Refuses one that a restore has only begun to make.
    pub fn check_restored(&self) -> Result<(), Fail> {
        if !self.path.join(RESTORING).exists() {
            return Ok(());
        }
        Err(Fail::new(format!("the restore of a backup into {} was broken off", self.path.display()))
            .hint("`opendmp restore FROM --data-dir DIR` with the same backup goes on with it"))
    }

    /// Refuses one whose journal is missing, beside what an earlier one left or altogether.
    pub fn check_journal(&self) -> Result<(), Fail> {
        present::journal(&self.path, self.path.join(INSTANCE).exists())?;
        if self.path.join(JOURNAL).is_file() { Ok(()) } else { Err(self.none_yet()) }
    }

    /// Whether its disk has no room for anything.
    pub fn is_full(&self) -> bool {
        let Ok(stat) = nix::sys::statvfs::statvfs(&self.path) else { return false };
        stat.blocks_available() * stat.fragment_size() < NO_ROOM
    }

    /// Makes it, for nobody else to read; takes the rights of others away where it was there.
    pub fn make(&self) -> Result<(), Fail> {
        self.is_used()?;
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.path);
        made.map_err(|error| {
            Fail::io(format_args!("the data directory {} can't be made", self.path.display()), &error)
                .hint("say where it may be with --data-dir DIR")
        })?;
        self.close_to_others()
    }

    /// Takes the rights of others away; refuses a directory that is somebody else's.
    pub fn close_to_others(&self) -> Result<(), Fail> {
        if private::tighten(&self.path)? {
            let path = self.path.display();
            tracing::warn!(
                "other users could access {path} until now; consider a new access token (`opendmp token --help`)"
            );
        }
        Ok(())
    }

    /// A path by which the server's socket can be named, however long the directory's own is.
    pub fn socket(&self) -> Result<SocketPath, Fail> {
        let path = self.path.join(SOCKET);
        if path.as_os_str().len() <= SOCKET_PATH {
            return Ok(SocketPath { path, _folder: None });
        }
        let folder = File::open(&self.path).map_err(|error| Fail::io(self.path.display(), &error))?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(SOCKET);
        Ok(SocketPath { path, _folder: Some(folder) })
    }

    /// Takes the lock, waiting a little for a verb that is about to end.
    pub async fn lock(&self, patience: Duration) -> Result<DataDirLock, Fail> {
        let begun = Instant::now();
        loop {
            match DataDirLock::acquire(&self.path) {
                Err(error) if error.kind == ErrorKind::Conflict && begun.elapsed() < patience => {
                    tokio::time::sleep(LOOK).await;
                }
                taken => return Ok(taken?),
            }
        }
    }
}

/// Whether that is a folder without anything in it, but for what a new file system has.
fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder)
        .is_ok_and(|entries| entries.flatten().all(|entry| entry.file_name().as_encoded_bytes() == b"lost+found"))
}

/// A path to a socket, good while this is kept.
#[derive(Debug)]
pub struct SocketPath {
    /// The path.
    pub path: PathBuf,
    _folder: Option<File>,
}

/// What a verb needs where no server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To look at what is there.
    Look,
    /// To work on flows that are there.
    Work,
    /// The same, in a directory that may not be there yet.
    Begin,
}

/// Whoever answers for a data directory, for one verb.
pub struct Session {
    /// Asks it.
    pub client: Client,
    own: Option<Own>,
    _socket: Option<SocketPath>,
}

struct Own {
    service: Arc<Service>,
    opened: Opened,
}

impl Session {
    /// The server if one runs, else this process itself.
    pub async fn open(data: &DataDir, need: Need) -> Result<Self, Fail> {
        if !data.is_used()? {
            if need != Need::Begin {
                return Err(data.none_yet());
            }
            data.make()?;
        }
        data.close_to_others()?;
        let begun = Instant::now();
        let lock = loop {
            let socket = data.socket()?;
            if tokio::net::UnixStream::connect(&socket.path).await.is_ok() {
                let client = Client::socket(&socket.path, &actor());
                return Ok(Self { client, own: None, _socket: Some(socket) });
            }
            match DataDirLock::acquire(data.path()) {
                // A server that is starting, or a verb that is about to end.
                Err(error) if error.kind == ErrorKind::Conflict && begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(LOOK).await;
                }
                Err(error) if error.kind == ErrorKind::Conflict => {
                    return Err(
                        Fail::from(error).hint("wait until it is done; a running `opendmp serve` answers many at once")
                    );
                }
                taken => break taken?,
            }
        };
        if need != Need::Look {
            limits::enough()?;
        }
        let opened = Opened::open(data, lock, need != Need::Look, Bounds::default()).await?;
        let service = Service::command(Arc::clone(&opened.engine)).with_backups(opened.backups());
        let client = Client::here(opendmp_api::router(Arc::clone(&service)), &actor());
        Ok(Self { client, own: Some(Own { service, opened }), _socket: None })
    }

    /// With a server that is reached otherwise.
    pub fn with(client: Client) -> Self {
        Self { client, own: None, _socket: None }
    }

    /// Whether this process does the work, so that the work ends with it.
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Has work under way end soon; nothing where a server does it.
    pub async fn stop(&self) {
        if let Some(own) = &self.own {
            own.service.stop(GRACE).await;
        }
    }

    /// Has a stop that is under way wait for nothing more.
    pub fn hurry(&self) {
        if let Some(own) = &self.own {
            own.service.hurry();
        }
    }

    /// Ends it in order.
    pub async fn close(self) {
        if let Some(own) = self.own {
            own.service.stop(GRACE).await;
            drop((self.client, own.service));
            own.opened.close().await;
        }
    }
}

/// What a server may not go beyond.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// Folders that the paths of flows may not leave; none: no limit.
    pub roots: Vec<PathBuf>,
    /// How much is taken in.
    pub quotas: Quotas,
    /// Bytes kept of what went in and out of steps lately.
    pub recent: u64,
    /// Folders that every script and command may write.
    pub writable: Vec<PathBuf>,
}

/// A data directory, opened by this process.
pub struct Opened {
    /// The engine over it.
    pub engine: Arc<Engine>,
    /// What an earlier process left.
    pub left: TakeOver,
    pools: Option<Arc<Pools>>,
    backups: Arc<Maker>,
    /// Held until it is closed.
    pub lock: Arc<DataDirLock>,
}

impl Opened {
    /// Opens it. `works`: with kinds and the right to settle, which takes over what a dead process had under claim.
    pub async fn open(data: &DataDir, lock: DataDirLock, works: bool, bounds: Bounds) -> Result<Self, Fail> {
        data.check_restored()?;
        let path = data.path().to_owned();
        let Bounds { roots, quotas, recent, writable } = bounds;
        // The user's own directory has the access token of another server.
        let own = DataDir::choose(None).ok().filter(|own| own.path != path && own.is_used().unwrap_or(false));
        let hidden = std::iter::once(path.clone()).chain(own.map(|own| own.path)).collect();
        let site = works.then_some(Site { hidden, writable });
        let written = journal_written(&path);
        let reserve = reserve()?.unwrap_or_else(|| Options::default().reserve);
        let opening = tokio::task::spawn_blocking(move || open_blocking(&path, site, floor(reserve)));
        let (journal, content, registry, pools, instance) =
            opening.await.map_err(|error| Fail::new(format!("the data directory can't be opened: {error}")))??;
        let maker = Maker { data: data.path().to_owned(), content: content.clone(), instance: instance.clone() };
        let clock = SystemClock;
        let recent = open_recent(data.path(), recent).await;
        let (locations, scratch) = (Some(data.path().join(LOCATIONS)), Some(data.path().join(SCRATCH)));
        let policy = PathPolicy::new(roots, Some(data.path()));
        let options =
            Options { worker: worker(), instance, policy, locations, quotas, reserve, scratch, ..Options::default() };
        let uploads = match works {
            true => Some(open_uploads(data.path(), options.reserve, Arc::new(clock)).await?),
            false => None,
        };
        let left = match works {
            true => journal.open_lease(&options.worker, true, clock.now()).await?,
            // No lease settles anything, so nothing is fenced and no claim counts as lost.
            false => TakeOver { lease: Lease(0), ..TakeOver::default() },
        };
        let journal = Arc::new(journal);
        let engine = Engine::new(
            Arc::clone(&journal) as Arc<dyn Journal>,
            Arc::new(content),
            Arc::new(InProcess::default()),
            Arc::new(clock),
            Arc::new(registry),
            options,
            left.lease,
        );
        let engine = match recent {
            Some(recent) => engine.with_recent(Arc::new(recent)),
            None => engine,
        };
        let engine = match uploads {
            Some(uploads) => engine.with_uploads(uploads),
            None => engine,
        };
        if let (true, Some(written)) = (works, written) {
            engine.written_last(written).await;
        }
        if works {
            engine.check_storage().await?;
        }
        let metrics = Arc::clone(&engine.metrics);
        journal.on_commit(move |commit| metrics.committed(commit.calls, commit.took));
        if let Some(pools) = pools.clone() {
            engine.metrics.ask_workers(move || {
                let Numbers { busy, idle, most, started, died } = pools.numbers();
                Workers { busy, idle, most, started, died }
            });
        }
        Ok(Self { engine: Arc::new(engine), left, pools, backups: Arc::new(maker), lock: Arc::new(lock) })
    }

    /// What makes backups of it.
    pub fn backups(&self) -> Arc<Maker> {
        Arc::clone(&self.backups)
    }

    /// Closes it: workers first, then the journal, the lock last.
    pub async fn close(self) {
        if let Some(pools) = self.pools {
            pools.shutdown().await;
            // So that content knows how far its journal came; what is wrong is told at the next start.
            let _ = self.engine.check_storage().await;
        }
        let (engine, backups, lock) = (self.engine, self.backups, self.lock);
        // The last owner waits for the journal's threads.
        let _ = tokio::task::spawn_blocking(move || {
            drop((engine, backups));
            drop(lock);
        })
        .await;
    }
}

/// When the journal was written to last, milliseconds since 1970, as the file system says.
fn journal_written(data: &Path) -> Option<i64> {
    let time = |name: &str| {
        let found = data.join(name).metadata().ok()?;
        Some(std::os::unix::fs::MetadataExt::mtime(&found).saturating_mul(1_000))
    };
    ["journal.db", "journal.db-wal"].into_iter().filter_map(time).max()
}

/// Where what went in and out of steps is kept for a while; nowhere, where that is not asked for or can't be done.
async fn open_recent(data: &Path, most: u64) -> Option<Ring> {
    let folder = data.join("recent");
    let open = move || {
        if most > 0 {
            return Ring::open(&folder, most).map(Some);
        }
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(opendmp_ports::Error::io("empty recent", folder.display(), &error))
            }
            _ => Ok(None),
        }
    };
    let opened = tokio::task::spawn_blocking(open).await.ok()?;
    opened.inspect_err(|error| tracing::warn!(%error, "what goes in and out of steps is not kept for a while")).ok()?
}

/// Where uploads are kept.
async fn open_uploads(data: &Path, reserve: u64, clock: Arc<dyn Clock>) -> Result<Uploads, Fail> {
    let folder = data.join("uploads");
    let shown = folder.clone();
    let limits = UploadLimits { reserve, ..UploadLimits::default() };
    let opened = tokio::task::spawn_blocking(move || Uploads::open(&folder, limits, clock)).await;
    let opened = opened.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    opened.map_err(|error| Fail::io(format_args!("{} can't be used", shown.display()), &error))
}

type Parts = (SqliteJournal, DirectoryContent, Registry, Option<Arc<Pools>>, String);

/// `site`: what scripts and commands may see and write; none where none will run. `floor`: bytes of the disk that large
/// results leave free.
fn open_blocking(path: &Path, site: Option<Site>, floor: u64) -> Result<Parts, Fail> {
    let known = instance(path)?;
    present::journal(path, known.is_some())?;
    let options = opendmp_journal::Options { instance: known.clone(), ..Default::default() };
    let journal = SqliteJournal::open(path, options)?;
    present::content(path, journal.was_fresh())?;
    let content =
        DirectoryContent::open(&path.join("content"), opendmp_content::Options { floor, ..Default::default() })?;
    content.check_journal(&journal.opened_at())?;
    let instance = journal.instance().to_owned();
    if known.is_none() {
        // Also where the file is gone: the journal knows the name.
        keep_instance(path, &instance)?;
    }
    let (registry, pools) = if let Some(site) = site {
        let scratch = path.join(SCRATCH);
        // What commands of a dead process left there; scripts clean up after themselves.
        let external = scratch.join("external");
        opendmp_processors::Scratch::from(external.clone())
            .empty()
            .map_err(|error| Fail::io(format_args!("{} can't be emptied", external.display()), &error))?;
        let (registry, pools) = machine::kinds(&scratch, floor, &path.join("environments"), site)?;
        (registry, Some(pools))
    } else {
        (Registry::default(), None)
    };
    Ok((journal, content, registry, pools, instance))
}

/// The name of this installation, as its file says.
fn instance(path: &Path) -> Result<Option<String>, Fail> {
    let file = path.join(INSTANCE);
    match std::fs::read_to_string(&file) {
        Ok(text) if is_instance(text.trim()) => Ok(Some(text.trim().to_owned())),
        Ok(_) => Err(Fail::new(format!("{} is damaged", file.display())).hint(
            "it holds 16 hexadecimal digits, by which files are known that were set aside at sources; the journal knows \
             them, too: remove the file, and it is made again",
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Fail::io(file.display(), &error)),
    }
}

/// Writes it down.
fn keep_instance(path: &Path, name: &str) -> Result<(), Fail> {
    let file = path.join(INSTANCE);
    let failed = |error: std::io::Error| Fail::io(file.display(), &error);
    let mut new = tempfile::NamedTempFile::new_in(path).map_err(failed)?;
    writeln!(new, "{name}").map_err(failed)?;
    new.as_file().sync_all().map_err(failed)?;
    new.persist(&file).map_err(|error| failed(error.error))?;
    File::open(path).and_then(|folder| folder.sync_all()).map_err(failed)
}

fn is_instance(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Overrides how much room on the disk of the data directory is left alone: `64 MiB`.
const RESERVE: &str = "OPENDMP_RESERVE";

/// The reserve that was asked for, in bytes.
pub fn reserve() -> Result<Option<u64>, Fail> {
    let Some(text) = std::env::var(RESERVE).ok().filter(|text| !text.is_empty()) else { return Ok(None) };
    match text.parse::<ByteSize>() {
        Ok(size) => Ok(Some(size.get())),
        Err(error) => Err(Fail::usage(format!("{RESERVE}: {}", error.message)).hint(error.hint)),
    }
}

/// This process among all that ever work: host and number.
fn worker() -> String {
    let host = nix::unistd::gethostname().ok().and_then(|host| host.into_string().ok());
    format!("{}/{}", host.as_deref().unwrap_or("localhost"), std::process::id())
}

/// Who asks, for the audit log.
pub fn actor() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::effective()).ok().flatten();
    user.map_or_else(|| format!("uid-{}", nix::unistd::Uid::effective()), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_keeps_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let name = || open_blocking(folder.path(), None, 0).unwrap().4;
        let first = name();
        assert!(is_instance(&first));
        assert_eq!(name(), first);
        let file = folder.path().join(INSTANCE);
        // The journal knows it.
        std::fs::remove_file(&file).unwrap();
        assert_eq!(name(), first);
        assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), first);
        std::fs::write(&file, "other").unwrap();
        assert!(instance(folder.path()).unwrap_err().message.contains("damaged"));
        std::fs::write(&file, "0123456789abcdef").unwrap();
        assert!(open_blocking(folder.path(), None, 0).err().unwrap().message.contains("another data directory"));
    }

    #[test]
    fn a_data_directory_that_was_moved_into_another_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::choose(Some(folder.path().join("data"))).unwrap();
        let refused = || {
            let fail = data.is_used().unwrap_err();
            assert!(fail.message.contains("is not a data directory"), "{}", fail.message);
            fail.hint.unwrap()
        };
        std::fs::create_dir_all(data.path().join("locations")).unwrap();
        let hint = refused();
        assert!(hint.contains("moved away") && hint.contains("`rm -r ") && hint.contains("back"), "{hint}");
        std::fs::write(data.path().join("other"), "").unwrap();
        assert!(refused().contains("a new or an empty one"));
        std::fs::remove_file(data.path().join("other")).unwrap();
        std::fs::create_dir_all(data.path().join("away/content")).unwrap();
        std::fs::write(data.path().join("away/journal.db"), "x").unwrap();
        let hint = refused();
        let (_, rest) = hint.split_once('`').unwrap();
        let done = std::process::Command::new("sh").args(["-c", rest.trim_end_matches('`')]).status().unwrap();
        assert!(done.success(), "{hint}");
        assert!(data.is_used().unwrap(), "the command that is told puts it back");
        assert!(folder.path().join("data.beside/locations").is_dir(), "and removes nothing");
    }

    #[tokio::test]
    async fn a_long_path_has_a_socket_too() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("x".repeat(120));
        let data = DataDir::choose(Some(deep.clone())).unwrap();
        data.make().unwrap();
        let socket = data.socket().unwrap();
        assert!(socket.path.as_os_str().len() <= SOCKET_PATH);
        let _listener = tokio::net::UnixListener::bind(&socket.path).unwrap();
        assert!(deep.join(SOCKET).exists());
    }
}
