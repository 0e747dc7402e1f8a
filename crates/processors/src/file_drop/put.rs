//! Files that are put into the folder by OpenDMP itself, for somebody who hands them in elsewhere.

use std::io::{self, Read, Write};

use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::name;

use super::no_root;
use super::scan::Shared;
use crate::beneath::{Folder, Taken, split};
use crate::template::OWN_PREFIX;
use crate::temporary::{Swept, Temporary};

/// Bytes copied at a time.
const PIECE: usize = 256 << 10;

/// The longest name that file systems take, and the longest path.
const LONGEST_NAME: usize = 255;
const LONGEST_PATH: usize = 4_000;

fn refused(code: &str, message: String, hint: &str) -> Fault {
    Fault::new(FaultKind::Rejected, code, message).with_hint(hint)
}

fn failed(doing: &str, path: &[u8], error: &io::Error) -> Fault {
    use io::ErrorKind as E;
    let shown = name::printable(&name::from_bytes(path));
    let message = format!("{doing} `{shown}`: {error}");
    let (kind, code, hint) = match error.kind() {
        E::StorageFull | E::QuotaExceeded => (FaultKind::NoSpace, "no-space", "free some space, and upload it again"),
        E::PermissionDenied => {
            (FaultKind::Failed, "no-rights", "give the user OpenDMP runs as the right to write into that folder")
        }
        E::ReadOnlyFilesystem => (FaultKind::Failed, "read-only", "mount the file system writable"),
        E::NotADirectory | E::IsADirectory => {
            (FaultKind::Rejected, "bad-name", "a file or a link is where a folder should be, or the other way round")
        }
        E::InvalidFilename | E::InvalidInput => {
            (FaultKind::Rejected, "bad-name", "the file system refuses that name; choose another one")
        }
        _ => (FaultKind::Unavailable, "io", "check the disk, and upload it again"),
    };
    Fault::new(kind, code, message).with_hint(hint)
}

/// The path within the folder that a name means.
fn path_of(shared: &Shared, written: &str) -> Result<Vec<u8>, Fault> {
    let path = name::to_bytes(written);
    let shown = name::printable(written);
    let bad = |why: &str| refused("bad-name", format!("`{shown}` {why}"), "write the name of a file, such as `a.csv`");
    let own = |part: &[u8]| part.starts_with(OWN_PREFIX);
    let mut parts = path.split(|byte| *byte == b'/');
    if path.is_empty() || path.contains(&0) {
        return Err(bad("is no name of a file"));
    }
    if parts.clone().any(|part| matches!(part, b"" | b"." | b"..")) {
        return Err(bad("leads out of the folder, or nowhere"));
    }
    if parts.clone().any(own) {
        return Err(bad("has a name that OpenDMP keeps for itself"));
    }
    if path.len() > LONGEST_PATH || parts.any(|part| part.len() > LONGEST_NAME) {
        return Err(bad("is too long"));
    }
    if path.contains(&b'/') && !shared.recursive {
        let message = format!("`{shown}` is in a sub-folder, and this source does not look into these");
        return Err(refused("bad-name", message, "leave the folder out, or say `recursive: true`"));
    }
    if shared.matcher.excludes(&path) {
        let message = format!("`{shown}` would not be taken: this source leaves such names out");
        let hint =
            "give it another name, or change `exclude` (by default, what programs call unfinished files is left out)";
        return Err(refused("no-match", message, hint));
    }
    if !shared.matcher.takes(&path) {
        let patterns = shared.patterns.0.join("`, `");
        let message = format!("`{shown}` would not be taken: the pattern of this source is `{patterns}`");
        let hint =
            "give it a name that matches, or change the pattern (names that begin with a dot are left out by most)";
        return Err(refused("no-match", message, hint));
    }
    Ok(path)
}

/// See [`Source::put`](opendmp_processor::Source::put). Blocks.
pub(super) fn put(
    shared: &Shared,
    swept: &Swept,
    written: &str,
    content: &mut dyn Read,
    replace: bool,
) -> Result<(), Fault> {
    let path = path_of(shared, written)?;
    let (folder, file_name) = split(&path);
    let now = || {
        shared.roots.now().map_err(|error| {
            let said = no_root(&shared.roots.location, &error);
            Fault { hint: said.hint, ..Fault::new(FaultKind::Unavailable, said.code, said.message) }
        })
    };
    let root = now()?;
    let into =
        root.folder.descend_making(folder, true).map_err(|error| failed("making the folder of", &path, &error))?;
    let taken = || {
        refused(
            "name-taken",
            format!("there is a `{}` already", name::printable(written)),
            "choose another name, or say that it is to be replaced",
        )
    };
    // Said before anything is sent in vain; what comes meanwhile is met by the rename.
    if !replace && into.look(file_name).map_err(|error| failed("looking at", &path, &error))?.is_some() {
        return Err(taken());
    }
    swept.sweep(&into);
    let mut file = Temporary::make(&into).map_err(|error| failed("writing", &path, &error))?;
    let mut piece = vec![0; PIECE];
    loop {
        match content.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => file.file.write_all(&piece[..read]).map_err(|error| failed("writing", &path, &error))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let message = format!("`{}` did not come in whole: {error}", name::printable(written));
                return Err(Fault::new(FaultKind::Unavailable, "broken-off", message).with_hint("upload it again"));
            }
        }
    }
    file.file.sync_all().map_err(|error| failed("syncing", &path, &error))?;
    let how = if replace { Taken::Replace } else { Taken::Refuse };
    if !file.place(file_name, how).map_err(|error| failed("renaming to", &path, &error))? {
        return Err(taken());
    }
    into.sync().map_err(|error| failed("syncing the folder of", &path, &error))?;
    let is_there = |now: &Folder| -> io::Result<bool> { Ok(now.descend(folder)?.identity()? == into.identity()?) };
    if is_there(&now()?.folder).unwrap_or(false) {
        return Ok(());
    }
    // It lies in a folder that nobody looks into.
    let message = format!("the folder of `{}` was replaced meanwhile", name::printable(written));
    Err(Fault::new(FaultKind::Unavailable, "folder-moved", message).with_hint("upload it again"))
}
