//! Keeps a data directory private: its owner's alone, whatever the umask, and however it came to be readable by others.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::libc::O_NOFOLLOW;

use crate::fail::Fail;

/// The rights of everybody but the owner.
const OTHERS: u32 = 0o077;

/// The rights to write of everybody but the owner.
const WRITE: u32 = 0o022;

/// Takes the rights of others away from a data directory and the files right in it; answers whether others had some.
/// What lies deeper can't be reached any more then.
///
/// # Errors
/// Where it, or something in it, belongs to another user, or is a link where others could have put one; and where its
/// rights can't be changed.
pub fn tighten(path: &Path) -> Result<bool, Fail> {
    let failed = |error: std::io::Error| Fail::io(path.display(), &error);
    let found = path.metadata().map_err(failed)?;
    owned(path, found.uid())?;
    let was_open = found.mode() & OTHERS != 0;
    if was_open {
        let refused = |why: &str| {
            Fail::new(format!("other users can access the data directory {}, and {why}", path.display()))
                .hint("choose another one with --data-dir DIR, on a file system with permissions for each user")
        };
        fs::set_permissions(path, Permissions::from_mode(found.mode() & 0o7700))
            .map_err(|error| refused(&format!("its permissions can't be changed: {}", crate::words::io(&error))))?;
        if path.metadata().map_err(failed)?.mode() & OTHERS != 0 {
            return Err(refused("its file system can't prevent it"));
        }
    }
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let about = match entry.metadata() {
            Ok(about) => about,
            // Removed just now, as files on their way are.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Fail::io(path.display(), &error)),
        };
        owned(&path, about.uid())?;
        if about.is_symlink() && found.mode() & WRITE != 0 {
            return Err(Fail::new(format!(
                "{} is a symbolic link in a directory that other users could write",
                path.display()
            ))
            .hint("remove it if you did not make it, else put the file it leads to in its place"));
        }
        if (about.is_file() || about.is_dir()) && about.mode() & OTHERS != 0 {
            close(&path).map_err(|error| Fail::io(path.display(), &error))?;
        }
    }
    Ok(was_open)
}

fn owned(path: &Path, owner: u32) -> Result<(), Fail> {
    let own = nix::unistd::geteuid();
    if owner == own.as_raw() {
        return Ok(());
    }
    let name = |uid: nix::unistd::Uid| {
        nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| format!("user {uid}"), |user| user.name)
    };
    let (theirs, ours) = (name(nix::unistd::Uid::from_raw(owner)), name(own));
    Err(Fail::new(format!("{} belongs to {theirs}, not to {ours}", path.display())).hint(format!(
        "run this as {theirs}, or give the whole data directory to {ours} with `chown -R`; --data-dir names another one"
    )))
}

/// Takes the rights of others away, never from what a link leads to.
fn close(path: &Path) -> std::io::Result<()> {
    let opened = File::options().read(true).custom_flags(O_NOFOLLOW).open(path);
    match opened {
        Ok(file) => {
            let mode = file.metadata()?.mode() & 0o7700;
            file.set_permissions(Permissions::from_mode(mode))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o777
    }

    #[test]
    fn what_others_may_read_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let (data, token) = (dir.path().join("data"), dir.path().join("data/access-token"));
        fs::create_dir(&data).unwrap();
        fs::write(&token, "x").unwrap();
        fs::create_dir(data.join("content")).unwrap();
        for path in [&data, &token, &data.join("content")] {
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        symlink("/etc/hostname", data.join("link")).unwrap();
        assert!(tighten(&data).unwrap());
        assert_eq!([mode(&data), mode(&token), mode(&data.join("content"))], [0o700; 3]);
        assert!(!tighten(&data).unwrap(), "once");
    }

    #[test]
    fn a_link_that_others_could_have_put_there_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::set_permissions(&data, Permissions::from_mode(0o777)).unwrap();
        symlink("/etc/hostname", data.join("journal.db")).unwrap();
        assert!(tighten(&data).unwrap_err().message.contains("is a symbolic link"));
    }

    #[test]
    fn what_belongs_to_somebody_else_is_refused() {
        if !nix::unistd::geteuid().is_root() {
            // Only root can give something away; `/` is root's then.
            assert!(tighten(Path::new("/")).unwrap_err().message.contains("belongs to root"));
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("journal.db");
        fs::write(&journal, "").unwrap();
        std::os::unix::fs::chown(&journal, Some(65_534), None).unwrap();
        assert!(tighten(dir.path()).unwrap_err().message.contains("journal.db belongs to"));
        std::os::unix::fs::chown(&journal, Some(0), None).unwrap();
        std::os::unix::fs::chown(dir.path(), Some(65_534), None).unwrap();
        assert!(tighten(dir.path()).unwrap_err().hint.unwrap().contains("chown -R"));
    }
}
