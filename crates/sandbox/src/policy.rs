//! What a command may touch, and the mounts that come of it. Pure but for resolving links.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
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
    /// Folders it may write, absolute.
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
    /// Shown empty. What of `readable` and `writable` lies below them is shown all the same.
    pub hidden: Vec<PathBuf>,
    /// Read-only. Everything is, so only what lies below a hidden or replaced folder has to be named.
    pub readable: Vec<PathBuf>,
    /// May be written.
    pub writable: Vec<PathBuf>,
    /// The folder that takes the place of `/tmp` and `/var/tmp`.
    pub tmp: Option<PathBuf>,
    /// Whether the network may be used.
    pub network: Network,
    /// Size of `/dev/shm` in bytes.
    pub shared_memory: u64,
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
        let mut policy = Policy {
            hidden: self.hidden.clone(),
            readable: rules.readable.clone(),
            writable: self.writable.iter().chain(&rules.writable).cloned().collect(),
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
    /// What is there stays seen.
    Show { path: PathBuf, write: bool },
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
/// bus, and the servers of containers and virtual machines. Network services that are reached by a file stay.
const DOORS: [&str; 14] = [
    "/run/user",
    "/run/systemd/private",
    "/run/systemd/io.systemd.Manager",
    "/run/dbus",
    "/run/docker.sock",
    "/run/docker",
    "/run/containerd",
    "/run/crio",
    "/run/podman",
    "/run/libvirt",
    "/run/lxd.socket",
    "/run/snapd.socket",
    "/run/snapd-snap.socket",
    "/run/incus",
];

/// The mounts for a policy: folders before what lies in them, and nothing that is not needed.
pub(crate) fn mounts(policy: &Policy) -> Vec<Mount> {
    let mut all: Vec<Mount> = Vec::new();
    let existing = |path: &PathBuf| path.symlink_metadata().is_ok();
    let mut hidden: Vec<PathBuf> = policy.hidden.iter().map(|path| resolve(path)).collect();
    hidden.extend(aliases::of(&hidden));
    let hidden = hidden.into_iter().chain(DOORS.iter().map(PathBuf::from));
    all.extend(hidden.filter(existing).collect::<BTreeSet<_>>().into_iter().map(Mount::Hide));
    if let Some(source) = &policy.tmp {
        let places: BTreeSet<PathBuf> =
            TEMPORARY.iter().filter_map(|path| Path::new(path).canonicalize().ok()).collect();
        all.extend(places.into_iter().map(|path| Mount::Replace { path, source: resolve(source) }));
    }
    let writable: BTreeSet<PathBuf> = policy.writable.iter().map(|path| resolve(path)).collect();
    let readable: BTreeSet<PathBuf> = policy.readable.iter().map(|path| resolve(path)).filter(existing).collect();
    all.extend(readable.difference(&writable).cloned().map(|path| Mount::Show { path, write: false }));
    all.extend(writable.into_iter().map(|path| Mount::Show { path, write: true }));
    // Folders come before what lies in them; of one path, what shows it comes last.
    let depth = |mount: &Mount| {
        let order = match mount {
            Mount::Hide(_) => 0,
            Mount::Replace { .. } => 1,
            Mount::Show { .. } => 2,
        };
        (mount.path().components().count(), mount.path().to_owned(), order)
    };
    all.sort_by_cached_key(depth);
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

/// The folders around what is hidden.
pub(crate) fn ancestors(mounts: &[Mount]) -> BTreeSet<PathBuf> {
    let hidden = mounts.iter().filter(|mount| matches!(mount, Mount::Hide(_)));
    hidden.flat_map(|mount| mount.path().ancestors().skip(1)).map(Path::to_owned).collect()
}

/// When the folders around what is hidden last changed. Where there are no namespaces, a command can't read what is put
/// into them after it was started: a later answer that differs means that a new one would see more. Empty otherwise.
pub fn surroundings(policy: &Policy) -> Vec<Option<SystemTime>> {
    let found = crate::protection();
    if found.namespaces || found.landlock == 0 {
        return Vec::new();
    }
    let folders = ancestors(&mounts(policy));
    folders.iter().map(|path| path.metadata().and_then(|folder| folder.modified()).ok()).collect()
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
        mounts(policy).into_iter().filter(|mount| !DOORS.iter().any(|door| mount.path() == Path::new(door))).collect()
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
            Mount::Show { path: base.join("flow/data/environments/a"), write: false },
            Mount::Show { path: base.join("flow/data/scratch/1"), write: true },
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
