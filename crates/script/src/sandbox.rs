//! What a script may touch: everything that its user may, but for the forbidden places, and none of the server.
//!
//! Landlock only ever allows, so all is allowed but the forbidden: along the way to each forbidden place, its
//! siblings are named one by one. A consequence: the folders on that way can't be listed, and what is put into them
//! later can't be read by a worker that runs already. `Sandbox::changed` tells, so that such a worker is replaced.
//!
//! Signals to processes outside and abstract sockets are denied from Linux 6.12 on, and looking into the server's
//! memory or environment by what Landlock does to `ptrace`. Pathname sockets in forbidden places are denied from
//! Linux 7.1 on; before that, a server must itself tell its clients apart.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How well scripts are kept in on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Landlock holds.
    Landlock {
        /// The kernel's version of it.
        version: u32,
        /// It keeps scripts from signalling the server (version 6 on).
        signals: bool,
    },
    /// Nothing keeps scripts from the files that the server itself can read.
    Missing {
        /// Why.
        why: &'static str,
    },
}

/// What this machine offers; for `opendmp doctor`.
pub fn status() -> Status {
    #[cfg(target_os = "linux")]
    match crate::os::child::landlock_version() {
        0 => Status::Missing {
            why: "the kernel has no Landlock, or it is not enabled (lsm=…,landlock on its command line)",
        },
        version => Status::Landlock { version, signals: version >= 6 },
    }
    #[cfg(not(target_os = "linux"))]
    Status::Missing { why: "only Linux has Landlock" }
}

/// The forbidden places, resolved, and the way to them.
#[derive(Debug)]
pub(crate) struct Sandbox {
    forbidden: Vec<PathBuf>,
    /// Folders that are neither forbidden nor allowed as a whole.
    on_the_way: Vec<PathBuf>,
}

/// What one child may do within the forbidden places.
#[derive(Default)]
pub(crate) struct Exceptions<'a> {
    /// Read, write, make, remove.
    pub write: Vec<&'a Path>,
    /// Read and execute; a forbidden place may be named itself.
    pub read: Vec<&'a Path>,
}

impl Sandbox {
    /// For absolute or relative paths, which need not exist yet.
    pub(crate) fn new(forbidden: impl IntoIterator<Item = PathBuf>) -> std::io::Result<Self> {
        let mut places: Vec<PathBuf> = Vec::new();
        for path in forbidden {
            places.push(resolve(&std::path::absolute(path)?));
        }
        places.sort();
        // What lies within another forbidden place is forbidden already.
        places.dedup_by(|inner, outer| inner.starts_with(&*outer));
        let mut on_the_way: Vec<PathBuf> =
            places.iter().flat_map(|place| place.ancestors().skip(1)).map(Path::to_owned).collect();
        on_the_way.sort();
        on_the_way.dedup();
        Ok(Self { forbidden: places, on_the_way })
    }

    /// The same with one more place.
    pub(crate) fn with(&self, place: &Path) -> std::io::Result<Self> {
        Self::new(self.forbidden.iter().cloned().chain([place.to_owned()]))
    }

    /// When the folders on the way last changed: a later answer that differs means that rules made now are outdated.
    pub(crate) fn changed(&self) -> Vec<Option<SystemTime>> {
        self.on_the_way.iter().map(|path| path.metadata().and_then(|m| m.modified()).ok()).collect()
    }

    /// The rules as a descriptor for [`crate::os::child::Setup`]; none where there is no Landlock.
    #[cfg(target_os = "linux")]
    pub(crate) fn ruleset(&self, exceptions: &Exceptions<'_>) -> std::io::Result<Option<std::os::fd::OwnedFd>> {
        linux::ruleset(self, exceptions)
    }

    /// There is no Landlock here.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn ruleset(&self, _exceptions: &Exceptions<'_>) -> std::io::Result<Option<std::os::fd::OwnedFd>> {
        Ok(None)
    }
}

/// The path without links, as far as it exists.
fn resolve(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => resolve(parent).join(name),
        _ => path.to_owned(),
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::{self, File, OpenOptions};
    use std::io;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::OpenOptionsExt;
    use std::path::Path;

    use landlock::{
        ABI, Access, AccessFs, BitFlags, PathBeneath, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
        RulesetError, Scope,
    };
    use nix::libc;

    use super::{Exceptions, Sandbox};

    /// All that the crate knows; what the kernel does not is left out by it.
    const NEWEST: ABI = ABI::V10;
    /// In a folder on the way to a forbidden place, so many entries get a rule of their own.
    const MOST_SIBLINGS: usize = 20_000;

    pub(super) fn ruleset(sandbox: &Sandbox, exceptions: &Exceptions<'_>) -> io::Result<Option<OwnedFd>> {
        // Without these a script could not even be loaded, so that they must be there.
        for path in exceptions.write.iter().chain(&exceptions.read) {
            open(path)?;
        }
        rules(sandbox, exceptions).map_err(io::Error::other)
    }

    fn rules(sandbox: &Sandbox, exceptions: &Exceptions<'_>) -> Result<Option<OwnedFd>, RulesetError> {
        let all = AccessFs::from_all(NEWEST);
        let read = AccessFs::from_read(NEWEST);
        let mut rules = Ruleset::default().handle_access(all)?.scope(Scope::from_all(NEWEST))?.create()?;
        if sandbox.forbidden.is_empty() {
            rules = allow(rules, Path::new("/"), all)?;
        }
        for folder in &sandbox.on_the_way {
            let Ok(entries) = fs::read_dir(folder) else { continue };
            for entry in entries.flatten().take(MOST_SIBLINGS) {
                let path = entry.path();
                if !sandbox.forbidden.contains(&path) && sandbox.on_the_way.binary_search(&path).is_err() {
                    rules = allow(rules, &path, all)?;
                }
            }
        }
        for path in &exceptions.write {
            rules = allow(rules, path, all)?;
        }
        for path in &exceptions.read {
            let path = super::resolve(path);
            // Never a folder that a forbidden place lies in: that would open it again.
            if sandbox.on_the_way.binary_search(&path).is_err() {
                rules = allow(rules, &path, read)?;
            }
        }
        Ok(rules.into())
    }

    /// Allow `access` at and beneath a path. A link is left out: what it points to has its own rule, or none.
    fn allow(rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
        let Ok((file, metadata)) = open(path) else { return Ok(rules) };
        if metadata.file_type().is_symlink() {
            return Ok(rules);
        }
        let access = if metadata.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
        rules.add_rule(PathBeneath::new(file, access))
    }

    fn open(path: &Path) -> io::Result<(File, fs::Metadata)> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)?;
        let metadata = file.metadata()?;
        Ok((file, metadata))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_forbidden_places_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        let sandbox = Sandbox::new([base.join("data"), base.join("data/inner"), base.join("other/later")]).unwrap();
        assert_eq!(sandbox.forbidden, [base.join("data"), base.join("other/later")]);
        assert!(sandbox.on_the_way.contains(&base) && sandbox.on_the_way.contains(&base.join("other")));
        assert!(!sandbox.on_the_way.contains(&base.join("data")), "it lies within nothing that is allowed");
    }

    #[test]
    fn links_are_resolved() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        std::fs::create_dir(base.join("real")).unwrap();
        std::os::unix::fs::symlink(base.join("real"), base.join("link")).unwrap();
        let sandbox = Sandbox::new([base.join("link/data")]).unwrap();
        assert_eq!(sandbox.forbidden, [base.join("real/data")]);
    }

    #[test]
    fn a_new_sibling_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::new([dir.path().join("data")]).unwrap();
        let before = sandbox.changed();
        assert_eq!(before, sandbox.changed());
        std::fs::File::create(dir.path().join("new")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        std::fs::File::open(dir.path()).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert_ne!(before, sandbox.changed());
    }
}
