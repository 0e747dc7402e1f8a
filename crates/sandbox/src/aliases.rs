//! Where else a folder is seen: a bind mount, another mount of the same file system, or a mount of a part of it shows a
//! hidden folder under another path, which has to be hidden too.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The mounts of this process (`proc_pid_mountinfo(5)`); other systems than Linux have no such file.
const MOUNTS: &str = "/proc/self/mountinfo";

/// A mount: of which part of which file system, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mounted {
    device: String,
    root: PathBuf,
    point: PathBuf,
}

/// The other paths of folders, which are real paths without links.
pub(crate) fn of(folders: &[PathBuf]) -> Vec<PathBuf> {
    let mounts = parse(&std::fs::read(MOUNTS).unwrap_or_default());
    let mut found: Vec<PathBuf> = folders.iter().flat_map(|folder| of_one(folder, &mounts)).collect();
    found.retain(|path| path.symlink_metadata().is_ok());
    found
}

/// Whether both paths lead to the same folder.
pub(crate) fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| path.metadata().ok().map(|found| (found.dev(), found.ino()));
    id(one).is_some_and(|one| id(other) == Some(one))
}

fn of_one(folder: &Path, mounts: &[Mounted]) -> Vec<PathBuf> {
    // What is seen at the folder: a part of the file system of the mount around it, and whatever is mounted within.
    let around = mounts.iter().filter(|mount| folder.starts_with(&mount.point));
    let around = around.max_by_key(|mount| mount.point.components().count());
    let own = around.and_then(|mount| Some((&mount.device, mount.root.join(folder.strip_prefix(&mount.point).ok()?))));
    let within = mounts.iter().filter(|mount| mount.point.starts_with(folder));
    let shown = own.into_iter().chain(within.map(|mount| (&mount.device, mount.root.clone())));
    let mut found = Vec::new();
    for (device, part) in shown {
        for mount in mounts.iter().filter(|mount| mount.device == *device) {
            let path = if let Ok(below) = part.strip_prefix(&mount.root) {
                mount.point.join(below)
            } else if mount.root.starts_with(&part) {
                mount.point.clone()
            } else {
                continue;
            };
            // Joining nothing leaves a slash at the end.
            let path: PathBuf = path.components().collect();
            if !path.starts_with(folder) && !found.contains(&path) {
                found.push(path);
            }
        }
    }
    found
}

fn parse(text: &[u8]) -> Vec<Mounted> {
    let line = |line: &[u8]| {
        let mut columns = line.split(|byte| *byte == b' ');
        let device = String::from_utf8(columns.nth(2)?.to_vec()).ok()?;
        let (root, point) = (path(columns.next()?), path(columns.next()?));
        Some(Mounted { device, root, point })
    };
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// A path with its blanks, tabs, line feeds and backslashes, which are written as `\040` and so on.
fn path(written: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(written.len());
    let mut rest = written;
    while let Some((first, after)) = rest.split_first() {
        let number = after.get(..3).filter(|_| *first == b'\\');
        let number = number.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match number {
            Some(byte) => {
                out.push(byte);
                rest = &after[3..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(out).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_found_under_every_mount_that_shows_it() {
        let text = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            30 22 8:1 /srv /media/a\\040lias rw - ext4 /dev/sda1 rw\n\
            31 22 8:1 /srv/data/content /part rw - ext4 /dev/sda1 rw\n\
            32 22 8:1 /other /no rw - ext4 /dev/sda1 rw\n\
            33 22 8:2 / /srv/data/content/packs rw - ext4 /dev/sdb1 rw\n\
            34 22 8:2 / /packs rw - ext4 /dev/sdb1 rw\n\
            35 22 8:3 / /mnt rw - ext4 /dev/sdc1 rw\n";
        let paths = |folder: &str| {
            let mut found: Vec<String> =
                of_one(Path::new(folder), &parse(text)).iter().map(|path| path.display().to_string()).collect();
            found.sort();
            found
        };
        assert_eq!(paths("/srv/data"), ["/media/a lias/data", "/packs", "/part"]);
        assert_eq!(paths("/media/a lias/data"), ["/part", "/srv/data"]);
        assert!(paths("/mnt/data").is_empty());
    }
}
