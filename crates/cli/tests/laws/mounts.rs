//! File systems of a test's own: small disks, and folders that are mounted and unmounted while a server runs.
//!
//! The test runs again in a mount namespace of its own (`unshare`, as root or with a user namespace), so that nothing
//! it mounts is seen by others or outlives it.

use std::path::Path;
use std::process::Command;

/// Says that the test runs in its own namespace already.
const INSIDE: &str = "OPENDMP_TEST_MOUNTS";

/// Runs `body` where it may mount and unmount; to be called first in a test.
pub fn in_own_mounts(body: impl FnOnce()) {
    let name = std::thread::current().name().expect("a test's thread has its name").to_owned();
    if std::env::var(INSIDE).is_ok_and(|inside| inside == name) {
        body();
        return;
    }
    let mut unshare = Command::new("unshare");
    unshare.arg("--mount");
    if !nix::unistd::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    unshare.arg(std::env::current_exe().unwrap()).args([&name, "--exact", "--nocapture"]).env(INSIDE, &name);
    let status = unshare.status().expect("`unshare` (util-linux) can be started");
    assert!(status.success(), "{name} in a mount namespace of its own: {status}");
}

/// Mounts an empty file system in memory, of `mebibytes` at most, over an existing folder.
pub fn mount(folder: &Path, mebibytes: u64) {
    let options = format!("size={mebibytes}m,mode=755");
    call(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder));
}

/// Mounts a folder at another one, too.
pub fn bind(folder: &Path, at: &Path) {
    call(Command::new("mount").arg("--bind").args([folder, at]));
}

/// The same with room for so many files and folders.
pub fn mount_for_few(folder: &Path, mebibytes: u64, files: u64) {
    let options = format!("size={mebibytes}m,nr_inodes={files},mode=755");
    call(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder));
}

/// Gives a file system that was mounted here another size.
pub fn resize(folder: &Path, mebibytes: u64) {
    call(Command::new("mount").args(["-o", &format!("remount,size={mebibytes}m")]).arg(folder));
}

/// Free bytes of the file system of a folder.
pub fn free(folder: &Path) -> u64 {
    let stat = nix::sys::statvfs::statvfs(folder).unwrap();
    stat.blocks_available() * stat.fragment_size()
}

/// Takes the file system away from a folder at once, whoever has files of it open.
pub fn unmount(folder: &Path) {
    call(Command::new("umount").arg("--lazy").arg(folder));
}

/// What is mounted and unmounted here from now on is in namespaces made of this one, too, where these let it.
pub fn share_mounts() {
    call(Command::new("mount").args(["--make-rshared", "/"]));
}

fn call(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

#[test]
fn a_mount_is_the_tests_own() {
    let dir = tempfile::tempdir().unwrap();
    let inside = std::env::var_os(INSIDE).is_some();
    in_own_mounts(|| {
        std::fs::write(dir.path().join("below"), "").unwrap();
        mount(dir.path(), 1);
        assert!(!dir.path().join("below").exists());
        let full = std::fs::write(dir.path().join("large"), vec![1; 2 << 20]).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        unmount(dir.path());
        assert!(dir.path().join("below").exists());
    });
    assert!(inside || !dir.path().join("below").exists(), "the folder of this process was not touched");
}
