//! The file system of one command: everything read-only, then what is hidden, replaced and shown, in the order of the
//! policy. Made by init in a mount namespace of its own, which ends with the command.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

use super::init::{Failed, at};
use super::shown::without_links;
use super::sys;
use super::wire::Step;
use crate::policy::Mount;

/// What of `/dev` is seen: no disks, no terminals of others, no memory. Graphics processors are, for computing.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Beginnings of the names of graphics processors.
const ACCELERATORS: [&str; 4] = ["nvidia", "dri", "kfd", "accel"];
/// Links of `/dev`, and where they lead to.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Files that `/dev/shm` can have where `memory` is small.
const FEWEST_FILES: u64 = 1024;

/// Watchers of files (`inotify`) that the processes of one command may have together. The user has 128 as a rule, for
/// the server and all others.
const MOST_WATCHERS: u64 = 16;
/// Of all files that the user may watch, one command gets this part.
const PART_OF_WATCHES: u64 = 4;

/// Makes all mounts. `shown`: what each of them shows. `shared_memory`: bytes of `/dev/shm`.
pub(super) fn make(mounts: &[Mount], shown: &[Option<OwnedFd>], shared_memory: u64) -> Result<(), Failed> {
    own()?;
    limit_watchers();
    // Copies of what is to be written, and of devices, are taken while they can be written.
    let devices = devices();
    let mut trees = Vec::with_capacity(mounts.len());
    for (step, shown) in mounts.iter().zip(shown) {
        trees.push(tree(step, shown.as_ref()).map_err(|error| Failed(Step::Folder(step.path().to_owned()), error))?);
    }
    sys::make_read_only(Path::new("/"), true).map_err(at("make the file system read-only"))?;
    processes()?;
    device_folder(&devices, shared_memory)?;
    let mut hidden = Vec::new();
    for (step, tree) in mounts.iter().zip(trees) {
        place(step, tree, &mut hidden).map_err(|error| Failed(Step::Folder(step.path().to_owned()), error))?;
    }
    for folder in hidden {
        sys::make_mount_read_only(&folder).map_err(at("close a hidden folder"))?;
    }
    nix::unistd::chdir("/").map_err(|error| at("leave a hidden folder")(error.into()))
}

/// Limits of this user namespace, below those of the user. Where `/proc/sys` is read-only, as in containers, they stay.
fn limit_watchers() {
    let _ = fs::write("/proc/sys/user/max_inotify_instances", MOST_WATCHERS.to_string());
    let watches = fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").unwrap_or_default();
    if let Ok(watches) = watches.trim().parse::<u64>() {
        let _ = fs::write("/proc/sys/user/max_inotify_watches", (watches / PART_OF_WATCHES).to_string());
    }
}

/// Mounts of this namespace are its own from here on: what the machine mounts later is not seen. A disk that the machine
/// unmounts is kept busy for as long as this namespace lives; see [`super::changes_of_mounts`].
pub(super) fn own() -> Result<(), Failed> {
    let none: Option<&str> = None;
    let made = mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none);
    made.map_err(|error| at("make mounts private")(error.into()))
}

/// What is to be mounted for a step, where it is a copy of something.
fn tree(step: &Mount, shown: Option<&OwnedFd>) -> io::Result<Option<OwnedFd>> {
    let tree = shown.map(sys::open_tree_at).transpose()?;
    if let (Some(tree), Mount::Show { write: false, .. }) = (&tree, step) {
        sys::make_tree_read_only(tree)?;
    }
    Ok(tree)
}

fn place(step: &Mount, tree: Option<OwnedFd>, hidden: &mut Vec<OwnedFd>) -> io::Result<()> {
    let path = step.path();
    let found = match without_links(path) {
        Ok(found) => Some(found),
        // It lies in something that is hidden: it is made there.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        // Nobody can reach it.
        Err(error) if tree.is_none() && error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
        Err(error) => return Err(error),
    };
    match (tree, found) {
        (Some(tree), Some(found)) => sys::move_mount(&tree, &found),
        (Some(tree), None) => {
            make_place(path, &tree)?;
            sys::move_mount(&tree, &without_links(path)?)
        }
        (None, Some(found)) if is_folder(&found)? => {
            nix::unistd::fchdir(&found)?;
            in_memory(Path::new("."), "mode=0755,size=1m")?;
            let empty = without_links(path)?;
            // Where it was moved meanwhile, another folder is there.
            if fstatfs(&empty)?.filesystem_type() != TMPFS_MAGIC {
                return Err(io::ErrorKind::NotFound.into());
            }
            hidden.push(empty);
            Ok(())
        }
        (None, Some(found)) => sys::move_mount(&sys::open_tree(Path::new("/dev/null"))?, &found),
        (None, None) => Ok(()),
    }
}

/// Makes what a mount needs to lie on.
fn make_place(path: &Path, tree: &OwnedFd) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    if is_folder(tree)? { fs::create_dir(path) } else { File::create_new(path).map(|_| ()) }
}

fn is_folder(tree: &OwnedFd) -> io::Result<bool> {
    let kind = nix::sys::stat::fstat(tree)?.st_mode & nix::sys::stat::SFlag::S_IFMT.bits();
    Ok(kind == nix::sys::stat::SFlag::S_IFDIR.bits())
}

fn in_memory(path: &Path, options: &str) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(options))?)
}

/// `/proc` with the processes of this namespace. Containers that cover parts of theirs allow no new one: the old one
/// stays then, which is read-only and shows others by number, without letting them be touched.
fn processes() -> Result<(), Failed> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
    let none: Option<&str> = None;
    match mount(Some("proc"), "/proc", Some("proc"), flags, none) {
        Ok(()) | Err(nix::Error::EPERM) => Ok(()),
        Err(error) => Err(at("mount /proc")(error.into())),
    }
}

/// The devices to be seen, by name, with their mounts. These are read-only, which leaves their modes and times as they are
/// and does not keep anybody from writing to a device.
fn devices() -> Vec<(String, OwnedFd)> {
    let wanted = |name: &str| DEVICES.contains(&name) || ACCELERATORS.iter().any(|start| name.starts_with(start));
    let names =
        fs::read_dir("/dev").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    // What can't be had is not seen.
    names
        .filter(|name| wanted(name))
        .filter_map(|name| {
            let tree = sys::open_tree(&Path::new("/dev").join(&name)).ok()?;
            sys::make_tree_read_only(&tree).ok()?;
            Some((name, tree))
        })
        .collect()
}

fn device_folder(devices: &[(String, OwnedFd)], shared_memory: u64) -> Result<(), Failed> {
    let dev = Path::new("/dev");
    let made = || -> io::Result<()> {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        mount(Some("tmpfs"), dev, Some("tmpfs"), flags, Some("mode=0755,size=1m"))?;
        for (name, tree) in devices {
            let place = dev.join(name);
            make_place(&place, tree)?;
            sys::move_mount(tree, &without_links(&place)?)?;
        }
        for (name, target) in LINKS {
            symlink(target, dev.join(name))?;
        }
        for name in ["pts", "shm"] {
            fs::create_dir(dev.join(name))?;
        }
        // Each file takes about a kilobyte of the kernel's memory, which `size` does not count.
        let files = (shared_memory / 4096).max(FEWEST_FILES);
        in_memory(&dev.join("shm"), &format!("mode=1777,size={shared_memory},nr_inodes={files}"))?;
        // Without terminals of its own, a command that wants one says so.
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        let _ =
            mount(Some("devpts"), &dev.join("pts"), Some("devpts"), flags, Some("newinstance,ptmxmode=0666,mode=620"));
        sys::make_read_only(dev, false)
    };
    made().map_err(at("make /dev"))
}
