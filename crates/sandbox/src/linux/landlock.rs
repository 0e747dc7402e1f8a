//! Landlock rules below the namespaces: all may be read, and only what the policy says may be written. Where there are
//! no namespaces, these rules alone hide what is hidden.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
    RulesetError, Scope,
};
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat};

use super::shown::{Identity, identities, identity, without_links};
use super::wire::Request;
use crate::policy::Mount;

/// All that the crate knows; what the kernel does not is left out by it.
const NEWEST: ABI = ABI::V10;
/// In a folder on the way to a hidden one, so many entries get a rule of their own.
const MAX_SIBLINGS: usize = 20_000;
/// Devices that may be written where `/dev` is that of the machine.
const DEVICES: [&str; 8] = ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts"];

/// Restricts this process and those it starts, as far as the kernel knows Landlock. `shown`: what each mount shows.
pub(super) fn restrict(request: &Request, shown: &[Option<OwnedFd>]) -> io::Result<()> {
    rules(request, shown).map_err(io::Error::other)
}

fn rules(request: &Request, shown: &[Option<OwnedFd>]) -> Result<(), RulesetError> {
    let all = AccessFs::from_all(NEWEST);
    let read = AccessFs::from_read(NEWEST) | AccessFs::ResolveUnix;
    let hidden = Hidden::of(request);
    let mut rules = Ruleset::default().handle_access(all)?.scope(Scope::from_all(NEWEST))?.create()?;
    if request.apart {
        rules = allow(rules, Path::new("/"), read)?;
        rules = allow(rules, Path::new("/dev"), all)?;
    } else {
        if let Ok(root) = without_links(Path::new("/")) {
            rules = hidden.allow_around(rules, root.as_fd(), read)?;
        }
        for name in DEVICES {
            rules = allow(rules, &Path::new("/dev").join(name), all)?;
        }
        rules = allow(rules, Path::new("/dev/shm"), all)?;
    }
    for (mount, folder) in request.mounts.iter().zip(shown) {
        let Some(folder) = folder else { continue };
        match mount {
            Mount::Show { write: true, .. } => rules = hidden.allow_around(rules, folder.as_fd(), all)?,
            Mount::Show { write: false, .. } if !request.apart => {
                rules = hidden.allow_around(rules, folder.as_fd(), read)?;
            }
            // The folder that takes a place is the very same one there.
            Mount::Replace { .. } => rules = allow_open(rules, folder.as_fd(), all)?,
            Mount::Show { .. } | Mount::Hide(_) => {}
        }
    }
    rules.restrict_self()?;
    Ok(())
}

/// What is hidden by rules alone: nothing where mounts hide it.
#[derive(Default)]
struct Hidden {
    folders: BTreeSet<Identity>,
    /// Folders that neither are hidden nor may be allowed as a whole.
    on_the_way: BTreeSet<Identity>,
}

impl Hidden {
    fn of(request: &Request) -> Self {
        let mut found = Self::default();
        if request.apart {
            return found;
        }
        for path in &request.hidden {
            // What can't be opened can't be read by the command either.
            let Ok(place) = without_links(path) else { continue };
            let Ok(id) = identity(&place) else { continue };
            found.folders.insert(id);
            // Sockets and other files have no way up.
            let folder = without_links(path.parent().unwrap_or(path));
            found.on_the_way.extend(folder.and_then(|folder| identities(&folder)).unwrap_or_default());
        }
        found
    }

    /// Allows `access` at and beneath a folder, but for what is hidden in it. Landlock only ever allows, so along the
    /// way to a hidden folder its siblings are named one by one.
    fn allow_around(
        &self,
        mut rules: RulesetCreated,
        place: BorrowedFd<'_>,
        access: BitFlags<AccessFs>,
    ) -> Result<RulesetCreated, RulesetError> {
        if !identity(place).is_ok_and(|id| self.on_the_way.contains(&id)) {
            return allow_open(rules, place, access);
        }
        let listed = fs::read_dir(format!("/proc/self/fd/{}", place.as_raw_fd()));
        for entry in listed.into_iter().flatten().flatten().take(MAX_SIBLINGS) {
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let Ok(inner) = openat(place, entry.file_name().as_os_str(), flags, Mode::empty()) else { continue };
            if !identity(&inner).is_ok_and(|id| self.folders.contains(&id)) {
                rules = self.allow_around(rules, inner.as_fd(), access)?;
            }
        }
        Ok(rules)
    }
}

/// Allows `access` at and beneath a path of the system's own.
fn allow(rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(AT_FDCWD, path, flags, Mode::empty()) {
        Ok(place) => allow_open(rules, place.as_fd(), access),
        Err(_) => Ok(rules),
    }
}

/// Allows `access` at and beneath an open place. A link is left out: what it points to has its own rule, or none.
fn allow_open(
    rules: RulesetCreated,
    place: BorrowedFd<'_>,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(found) = fstat(place) else { return Ok(rules) };
    let kind = SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits());
    if kind == SFlag::S_IFLNK {
        return Ok(rules);
    }
    let access = if kind == SFlag::S_IFDIR { access } else { access & AccessFs::from_file(NEWEST) };
    rules.add_rule(PathBeneath::new(place, access))
}
