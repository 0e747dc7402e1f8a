//! What a command may touch, and the mounts that come of it. Pure but for resolving links.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::aliases;

/// Whether a command sees the home folder of the server's user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Home {
    /// It can be read, and not written.
    #[default]
    Readable,
    /// It is empty.
    Private,
}

/// Whether a command may use the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// It may.
    #[default]
    On,
    /// It may not; only sockets of its own machine that are files remain.
    Off,
}

/// What holds for everything that a server starts.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// Folders that no command sees: the data directory.
    pub hidden: Vec<PathBuf>,
    /// Folders that every command may write.
    pub writable: Vec<PathBuf>,
}

/// What one processor asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rules {
    /// Folders it may write, absolute and without links ([`real_path`]): a link that takes the place of one later is
    /// not followed.
    pub writable: Vec<PathBuf>,
    /// Whether it sees the home folder.
    pub home: Home,
    /// Whether it may use the network.
    pub network: Network,
    /// Folders it can read even if they lie below `/tmp` or another folder that is replaced: that of its flow.
    pub readable: Vec<PathBuf>,
}

/// What one command may touch. Paths are absolute; those that don't exist are left out, but for `writable`.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Shown empty. What of `readable`, `writable` and `asked` lies below them is shown all the same.
    pub hidden: Vec<PathBuf>,
    /// Folders that nothing `asked` may be or lie in: the data directory. They are `hidden`, too.
    pub closed: Vec<PathBuf>,
    /// Read-only. Everything is, so only what lies below a hidden or replaced folder has to be named.
    pub readable: Vec<PathBuf>,
    /// May be written. As `readable` for the server's own folders, which no other command can put anything in place of.
    pub writable: Vec<PathBuf>,
    /// What people ask to have shown. Commands may change what is there, so each is looked at when it is opened.
    pub asked: Vec<Asked>,
    /// The folder that takes the place of `/tmp` and `/var/tmp`.
    pub tmp: Option<PathBuf>,
    /// Whether the network may be used.
    pub network: Network,
    /// Size of `/dev/shm` in bytes.
    pub shared_memory: u64,
}

/// A folder that people ask to have shown, without links: one that has a link on its way is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it may be written.
    pub write: bool,
}

impl Site {
    /// The hidden folder that a path lies in, if it does, by whatever link or mount.
    pub fn hides(&self, path: &Path) -> Option<PathBuf> {
        let path = resolve(path);
        let lies_in = |hidden: &PathBuf| {
            path.starts_with(hidden) || path.ancestors().any(|folder| aliases::is_same(folder, hidden))
        };
        self.hidden.iter().map(|hidden| resolve(hidden)).find(lies_in)
    }

    /// The policy of a command that works in `scratch` and may write there, with `tmp` in place of `/tmp`.
    pub fn policy(&self, rules: &Rules, scratch: &[&Path], tmp: &Path, shared_memory: u64) -> Policy {
        // A flow that was saved in the data directory: nobody can put a link there.
        let is_inside = |path: &&PathBuf| self.hidden.iter().any(|hidden| path.starts_with(hidden) && *path != hidden);
        let (inside, around): (Vec<&PathBuf>, Vec<&PathBuf>) = rules.readable.iter().partition(is_inside);
        let read = around.into_iter().map(|path| Asked { path: resolve(path), write: false });
        let write = self.writable.iter().map(|path| resolve(path)).chain(rules.writable.iter().cloned());
        let mut policy = Policy {
            hidden: self.hidden.clone(),
            closed: self.hidden.clone(),
            readable: inside.into_iter().cloned().collect(),
            writable: Vec::new(),
            asked: read.chain(write.map(|path| Asked { path, write: true })).collect(),
            tmp: Some(tmp.to_owned()),
            network: rules.network,
            shared_memory,
        };
        policy.writable.extend(scratch.iter().chain([&tmp]).map(|path| (*path).to_owned()));
        if rules.home == Home::Private
            && let Some(home) = std::env::home_dir().filter(|home| home.parent().is_some())
        {
            policy.hidden.push(home);
        }
        policy
    }
}

/// One mount of a command's file system, in the order in which they are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mount {
    /// Nothing is seen there.
    Hide(PathBuf),
    /// `source` is seen there, and may be written.
    Replace { path: PathBuf, source: PathBuf },
    /// What is there stays seen. `asked`: by people, so that it may neither be nor lie in what is closed.
    Show { path: PathBuf, write: bool, asked: bool },
}

impl Mount {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Hide(path) | Self::Replace { path, .. } | Self::Show { path, .. } => path,
        }
    }
}

/// What `/tmp` is called.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// Sockets through which a process can have others started outside of the sandbox: by the service manager, the message
/// bus, and the servers of containers, virtual machines and terminals. Network services that are reached by a file stay.
const DOORS: [&str; 33] = [
    "/run/user",
    "/run/systemd/private",
    "/run/systemd/io.systemd.Manager",
    "/run/dbus",
    "/run/docker.sock",
    "/run/docker",
    "/run/cri-dockerd.sock",
    "/run/dockershim.sock",
    "/run/snap.docker",
    "/run/balena-engine.sock",
    "/run/balena",
    "/run/containerd",
    "/run/crio",
    "/run/k3s",
    "/run/buildkit",
    "/run/podman",
    "/run/libvirt",
    "/run/qemu-server",
    "/run/multipass_socket",
    "/run/lxd.socket",
    "/run/incus",
    "/run/snapd.socket",
    "/run/snapd-snap.socket",
    "/run/screen",
    "/run/screens",
    "/run/tmux",
    "/run/supervisor.sock",
    "/var/lib/lxd/unix.socket",
    "/var/lib/incus/unix.socket",
    "/var/snap/lxd/common/lxd/unix.socket",
    "/var/snap/lxd/common/lxd-user/unix.socket",
    "/var/snap/microk8s/common/run",
    "/var/snap/multipass/common/multipass_socket",
];
/// The same below the home folder.
const DOORS_AT_HOME: [&str; 8] = [
    ".docker/desktop",
    ".docker/run",
    ".docker/docker.sock",
    ".rd/docker.sock",
    ".colima",
    ".lima",
    ".screen",
    ".local/share/containers/podman/machine",
];

fn doors() -> impl Iterator<Item = PathBuf> {
    let home = std::env::home_dir();
    let at_home = home.into_iter().flat_map(|home| DOORS_AT_HOME.map(|door| home.join(door)));
    let all = DOORS.iter().map(PathBuf::from).chain(at_home);
    // Where one is a link, what it leads to.
    all.filter(|door| door.symlink_metadata().is_ok()).filter_map(|door| door.canonicalize().ok())
}

/// The folders of the network and of other sandboxes that desktops mount below `/run/user`.
fn is_mounted_by_desktop(path: &Path) -> bool {
    let rest = path.strip_prefix("/run/user").ok();
    rest.and_then(|rest| rest.iter().nth(1)).is_some_and(|name| name == "gvfs" || name == "doc")
}

/// What a policy comes to on this machine.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Folders before what lies in them, and nothing that is not needed.
    pub mounts: Vec<Mount>,
    /// All that is hidden and exists, without links.
    pub hidden: BTreeSet<PathBuf>,
    /// Device and number of what is closed.
    pub closed: BTreeSet<(u64, u64)>,
}

pub(crate) fn plan(policy: &Policy) -> Plan {
    let existing = |path: &PathBuf| path.symlink_metadata().is_ok();
    let with_aliases = |paths: &[PathBuf]| {
        let mut all: Vec<PathBuf> = paths.iter().flat_map(|path| known_places(path)).collect();
        all.extend(aliases::of(&all));
        all
    };
    let doors: Vec<PathBuf> = doors().collect();
    let hidden = with_aliases(&policy.hidden).into_iter().chain(doors.iter().cloned());
    let hidden: BTreeSet<PathBuf> = hidden.filter(existing).collect();
    let id = |path: PathBuf| path.symlink_metadata().ok().map(|found| (found.dev(), found.ino()));
    let closed = if policy.asked.is_empty() {
        BTreeSet::new()
    } else {
        with_aliases(&policy.closed).into_iter().chain(doors).filter_map(id).collect()
    };
    let mut all: Vec<Mount> = hidden.iter().cloned().map(Mount::Hide).collect();
    if let Some(source) = &policy.tmp {
        let places: BTreeSet<PathBuf> =
            TEMPORARY.iter().filter_map(|path| Path::new(path).canonicalize().ok()).collect();
        all.extend(places.into_iter().map(|path| Mount::Replace { path, source: resolve(source) }));
    }
    // By path: whether it may be written, and whether it was asked for.
    let mut shown: BTreeMap<PathBuf, (bool, bool)> = BTreeMap::new();
    let mut show = |path: PathBuf, write: bool, asked: bool| {
        let held = shown.entry(path).or_default();
        *held = (held.0 || write, held.1 || asked);
    };
    policy.readable.iter().map(|path| resolve(path)).filter(existing).for_each(|path| show(path, false, false));
    policy.writable.iter().for_each(|path| show(resolve(path), true, false));
    for Asked { path, write } in &policy.asked {
        if *write || existing(path) {
            show(path.clone(), *write, !is_mounted_by_desktop(path));
        }
    }
    all.extend(shown.into_iter().map(|(path, (write, asked))| Mount::Show { path, write, asked }));
    let mut mounts = in_order(all);
    mounts = with_pins(mounts);
    Plan { mounts, hidden, closed }
}

/// Folders come before what lies in them; of one path, what shows it comes last. What is not needed is left out.
fn in_order(mut all: Vec<Mount>) -> Vec<Mount> {
    sort(&mut all);
    let mut kept: Vec<Mount> = Vec::with_capacity(all.len());
    for mount in all {
        let around = kept.iter().rev().find(|outer| mount.path().starts_with(outer.path()));
        let needed = match (&mount, around) {
            // Hidden already, with what it lies in.
            (Mount::Hide(_), Some(Mount::Hide(_) | Mount::Replace { .. })) => false,
            (Mount::Show { write: false, .. }, Some(Mount::Show { write: false, .. }) | None) => false,
            (Mount::Show { write: true, .. }, Some(Mount::Show { write: true, .. })) => false,
            _ => true,
        };
        if needed {
            kept.push(mount);
        }
    }
    kept
}

fn sort(mounts: &mut [Mount]) {
    let depth = |mount: &Mount| {
        let order = match mount {
            Mount::Hide(_) => 0,
            Mount::Replace { .. } => 1,
            Mount::Show { .. } => 2,
        };
        (mount.path().components().count(), mount.path().to_owned(), order)
    };
    mounts.sort_by_cached_key(depth);
}

/// Folders between what may be written and what is hidden in it get mounts of their own: what is mounted can't be
/// renamed, so that what is hidden stays where it is and other commands look for it.
fn with_pins(mut mounts: Vec<Mount>) -> Vec<Mount> {
    let mut pins: Vec<Mount> = Vec::new();
    for (n, mount) in mounts.iter().enumerate() {
        let Mount::Hide(path) = mount else { continue };
        let around = mounts[..n].iter().rev().find(|outer| path.starts_with(outer.path()));
        let Some(Mount::Show { path: outer, write: true, asked }) = around else { continue };
        let between = path.ancestors().skip(1).take_while(|folder| *folder != outer);
        for folder in between {
            let pin = Mount::Show { path: folder.to_owned(), write: true, asked: *asked };
            if !pins.contains(&pin) {
                pins.push(pin);
            }
        }
    }
    mounts.extend(pins);
    sort(&mut mounts);
    mounts
}

/// Where a hidden folder is, and where it was when it was first looked for: a link on its way may lead elsewhere by now.
fn known_places(path: &Path) -> BTreeSet<PathBuf> {
    static FIRST: Mutex<Option<HashMap<PathBuf, PathBuf>>> = Mutex::new(None);
    let now = resolve(path);
    let mut first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    let first = first.get_or_insert_default().entry(path.to_owned()).or_insert_with(|| now.clone());
    BTreeSet::from([first.clone(), now])
}

/// The folders around what is hidden.
fn ancestors(hidden: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    hidden.iter().flat_map(|path| path.ancestors().skip(1)).map(Path::to_owned).collect()
}

/// What a process sees of the machine that was started at some moment: a later one that differs means that one started
/// anew would see something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// How often mounts have changed: the process has those of its start.
    mounts: u64,
    /// Where there are no namespaces, a command can't read what is put into the folders around what is hidden after it was
    /// started: when these last changed. Empty otherwise.
    folders: Vec<Option<SystemTime>>,
}

impl Surroundings {
    /// Those of a process that is started now. Blocks for a moment.
    pub fn of(policy: &Policy) -> Self {
        let found = crate::protection();
        let folders = if found.namespaces || found.landlock == 0 {
            Vec::new()
        } else {
            let folders = ancestors(&plan(policy).hidden);
            folders.iter().map(|path| path.metadata().and_then(|folder| folder.modified()).ok()).collect()
        };
        Self { mounts: crate::platform::changes_of_mounts(), folders }
    }
}

/// The path of a folder without links, as far as it exists: for [`Rules::writable`].
pub fn real_path(path: &Path) -> PathBuf {
    resolve(path)
}

/// The path without links, as far as it exists.
pub(crate) fn resolve(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => resolve(parent).join(name),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without_doors(policy: &Policy) -> Vec<Mount> {
        let doors: Vec<PathBuf> = doors().collect();
        plan(policy).mounts.into_iter().filter(|mount| !doors.iter().any(|door| mount.path() == door)).collect()
    }

    #[test]
    fn folders_come_before_what_lies_in_them() {
        let dir =
            tempfile::tempdir_in("/var").or_else(|_| tempfile::tempdir_in(std::env::current_dir().unwrap())).unwrap();
        let base = dir.path().canonicalize().unwrap();
        for name in ["flow/data/scratch/1", "flow/data/environments/a", "flow/data/scratch/tmp"] {
            std::fs::create_dir_all(base.join(name)).unwrap();
        }
        std::os::unix::fs::symlink(base.join("flow/data"), base.join("link")).unwrap();
        let policy = Policy {
            hidden: vec![base.join("link"), base.join("missing")],
            readable: vec![base.join("flow"), base.join("flow/data/environments/a")],
            writable: vec![base.join("flow/data/scratch/1")],
            tmp: None,
            ..Policy::default()
        };
        let expected = [
            Mount::Hide(base.join("flow/data")),
            Mount::Show { path: base.join("flow/data/environments/a"), write: false, asked: false },
            Mount::Show { path: base.join("flow/data/scratch/1"), write: true, asked: false },
        ];
        assert_eq!(without_doors(&policy), expected, "the flow's folder is seen in any case");
    }

    #[test]
    fn what_is_writable_around_the_data_directory_does_not_open_it() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(base.join("data/inner")).unwrap();
        std::fs::create_dir_all(base.join("own")).unwrap();
        let policy = Policy {
            hidden: vec![base.join("data"), base.join("data/inner")],
            writable: vec![base.clone()],
            tmp: Some(base.join("own")),
            ..Policy::default()
        };
        let mounts = without_doors(&policy);
        let at = |path: &Path| mounts.iter().position(|mount| mount.path() == path);
        assert!(at(&base) < at(&base.join("data")) && at(&base).is_some(), "{mounts:?}");
        assert_eq!(at(&base.join("data/inner")), None);
    }
}
