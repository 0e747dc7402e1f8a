//! Landlock rules below the namespaces: all may be read, and only what the policy says may be written. Where there are
//! no namespaces, these rules alone hide what is hidden.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
    RulesetError, Scope,
};
use nix::libc;

use super::wire::Request;
use crate::policy::{Mount, ancestors};

/// All that the crate knows; what the kernel does not is left out by it.
const NEWEST: ABI = ABI::V10;
/// In a folder on the way to a hidden one, so many entries get a rule of their own.
const MAX_SIBLINGS: usize = 20_000;
/// Devices that may be written where `/dev` is that of the machine.
const DEVICES: [&str; 8] = ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts"];

/// Restricts this process and those it starts, as far as the kernel knows Landlock.
pub(super) fn restrict(request: &Request) -> io::Result<()> {
    rules(request).map_err(io::Error::other)
}

fn rules(request: &Request) -> Result<(), RulesetError> {
    let all = AccessFs::from_all(NEWEST);
    let read = AccessFs::from_read(NEWEST) | AccessFs::ResolveUnix;
    let hidden = Hidden::of(request);
    let mut rules = Ruleset::default().handle_access(all)?.scope(Scope::from_all(NEWEST))?.create()?;
    if request.apart {
        rules = allow(rules, Path::new("/"), read)?;
        rules = allow(rules, Path::new("/dev"), all)?;
    } else {
        rules = hidden.allow_around(rules, Path::new("/"), read)?;
        for name in DEVICES {
            rules = allow(rules, &Path::new("/dev").join(name), all)?;
        }
        rules = allow(rules, Path::new("/dev/shm"), all)?;
    }
    for mount in &request.mounts {
        match mount {
            Mount::Show { path, write: true } => rules = hidden.allow_around(rules, path, all)?,
            Mount::Show { path, write: false } if !request.apart => rules = hidden.allow_around(rules, path, read)?,
            // The folder that takes its place is the very same one.
            Mount::Replace { path, .. } if request.apart => rules = allow(rules, path, all)?,
            Mount::Replace { source, .. } => rules = allow(rules, source, all)?,
            Mount::Show { .. } | Mount::Hide(_) => {}
        }
    }
    rules.restrict_self()?;
    Ok(())
}

/// What is hidden by rules alone: nothing where mounts hide it.
struct Hidden {
    folders: BTreeSet<PathBuf>,
    /// Folders that neither are hidden nor may be allowed as a whole.
    on_the_way: BTreeSet<PathBuf>,
}

impl Hidden {
    fn of(request: &Request) -> Self {
        if request.apart {
            return Self { folders: BTreeSet::new(), on_the_way: BTreeSet::new() };
        }
        let hidden = request.mounts.iter().filter_map(|mount| match mount {
            Mount::Hide(path) => Some(path.clone()),
            _ => None,
        });
        Self { folders: hidden.collect(), on_the_way: ancestors(&request.mounts) }
    }

    /// Allows `access` at and beneath a path, but for what is hidden. Landlock only ever allows, so along the way to a
    /// hidden folder its siblings are named one by one.
    fn allow_around(
        &self,
        mut rules: RulesetCreated,
        path: &Path,
        access: BitFlags<AccessFs>,
    ) -> Result<RulesetCreated, RulesetError> {
        if self.folders.contains(path) {
            return Ok(rules);
        }
        if !self.on_the_way.contains(path) {
            return allow(rules, path, access);
        }
        for entry in fs::read_dir(path).into_iter().flatten().flatten().take(MAX_SIBLINGS) {
            rules = self.allow_around(rules, &entry.path(), access)?;
        }
        Ok(rules)
    }
}

/// Allows `access` at and beneath a path. A link is left out: what it points to has its own rule, or none.
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
