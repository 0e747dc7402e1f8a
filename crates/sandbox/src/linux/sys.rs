//! The unsafe code of the crate: system calls that no library wraps, and what a forked process does with them.
//!
//! The launcher and its children are single-threaded, so they may allocate after a fork.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::libc;
use nix::unistd::Pid;

/// Attribute of a mount: read-only (`linux/mount.h`).
const MOUNT_ATTR_RDONLY: u64 = 1;
const OPEN_TREE_CLONE: libc::c_uint = 1;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;
const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;

/// Which side of a fork this is.
pub(super) enum Side {
    /// The process that forked.
    Parent { pid: Pid, pidfd: OwnedFd },
    /// The new process.
    Child,
}

/// Namespaces of their own for a new process.
pub(super) const ALL_NAMESPACES: libc::c_int =
    libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC;
/// For a process that only sees files in its own way.
pub(super) const FILE_NAMESPACES: libc::c_int = libc::CLONE_NEWUSER | libc::CLONE_NEWNS;

#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// `fork` with namespaces. Only for the single-threaded launcher.
#[expect(unsafe_code, reason = "clone3 has no wrapper")]
pub(super) fn fork_with(namespaces: libc::c_int) -> io::Result<Side> {
    let mut pidfd: RawFd = -1;
    let arguments = CloneArguments {
        flags: (namespaces | libc::CLONE_PIDFD) as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArguments::default()
    };
    // SAFETY: the arguments live through the call and have the size that is said. No memory is shared (no CLONE_VM),
    // and the caller has one thread, so the child goes on with whole memory.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArguments>()) })?;
    if pid == 0 {
        return Ok(Side::Child);
    }
    // SAFETY: the kernel has just made this descriptor for us.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Side::Parent { pid: Pid::from_raw(i32::try_from(pid).map_err(io::Error::other)?), pidfd })
}

/// Forks this process; the child runs `child`, which ends it.
#[expect(unsafe_code, reason = "fork is unsafe in a process with several threads")]
pub(super) fn fork(child: impl FnOnce()) -> io::Result<Pid> {
    // SAFETY: the child calls code that allocates, which glibc and musl allow after a fork in a process with several
    // threads, and takes no other lock that a thread of the parent may have held.
    if let nix::unistd::ForkResult::Parent { child } = unsafe { nix::unistd::fork() }? {
        return Ok(child);
    }
    child();
    exit(0)
}

/// Ends this process at once, without what is to be done at exit: that is the parent's.
#[expect(unsafe_code, reason = "_exit has no wrapper")]
pub(super) fn exit(code: i32) -> ! {
    // SAFETY: it does nothing but end the process.
    unsafe { libc::_exit(code) }
}

/// The mounts at and below a path, as a copy that is mounted nowhere yet.
pub(super) fn open_tree(place: &Path) -> io::Result<OwnedFd> {
    copy_tree(libc::AT_FDCWD, &path(place)?, 0)
}

/// The same of an open place.
pub(super) fn open_tree_at(place: &OwnedFd) -> io::Result<OwnedFd> {
    copy_tree(place.as_raw_fd(), &c"".to_owned(), libc::AT_EMPTY_PATH)
}

#[expect(unsafe_code, reason = "open_tree has no wrapper")]
fn copy_tree(folder: RawFd, place: &CString, flags: libc::c_int) -> io::Result<OwnedFd> {
    let flags = OPEN_TREE_CLONE | (libc::AT_RECURSIVE | libc::O_CLOEXEC | flags) as libc::c_uint;
    // SAFETY: the path lives through the call, and the descriptor that comes back is ours.
    unsafe {
        let fd = check(libc::syscall(libc::SYS_open_tree, folder, place.as_ptr(), flags))?;
        Ok(OwnedFd::from_raw_fd(i32::try_from(fd).map_err(io::Error::other)?))
    }
}

/// Mounts what [`open_tree`] gave on an open place.
#[expect(unsafe_code, reason = "move_mount has no wrapper")]
pub(super) fn move_mount(tree: &OwnedFd, place: &OwnedFd) -> io::Result<()> {
    // SAFETY: the paths are constants.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            place.as_raw_fd(),
            c"".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    })?;
    Ok(())
}

#[repr(C)]
#[derive(Default)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

#[expect(unsafe_code, reason = "mount_setattr has no wrapper")]
fn mount_read_only(folder: RawFd, place: &CString, flags: libc::c_int) -> io::Result<()> {
    let attributes = MountAttributes { set: MOUNT_ATTR_RDONLY, ..MountAttributes::default() };
    // SAFETY: the path and the attributes live through the call, and their size is said.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            folder,
            place.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    })?;
    Ok(())
}

/// Makes a mount read-only, with those below it where that is asked for.
pub(super) fn make_read_only(place: &Path, below: bool) -> io::Result<()> {
    mount_read_only(libc::AT_FDCWD, &path(place)?, if below { libc::AT_RECURSIVE } else { 0 })
}

/// The same for an open mount alone.
pub(super) fn make_mount_read_only(root: &OwnedFd) -> io::Result<()> {
    mount_read_only(root.as_raw_fd(), &c"".to_owned(), libc::AT_EMPTY_PATH)
}

/// The same for what [`open_tree`] gave, with those below it.
pub(super) fn make_tree_read_only(tree: &OwnedFd) -> io::Result<()> {
    mount_read_only(tree.as_raw_fd(), &c"".to_owned(), libc::AT_EMPTY_PATH | libc::AT_RECURSIVE)
}

/// Marks every descriptor from `first` on to be closed by `exec`, or closes it.
#[expect(unsafe_code, reason = "close_range has no wrapper")]
pub(super) fn close_from(first: RawFd, on_exec: bool) {
    let flags = if on_exec { libc::CLOSE_RANGE_CLOEXEC } else { 0 };
    // SAFETY: the caller keeps no owner of these descriptors that it still uses. Kernels without the call have no
    // namespaces that are used here either; every descriptor bears the mark there already.
    unsafe { libc::syscall(libc::SYS_close_range, first as libc::c_uint, libc::c_uint::MAX, flags) };
}

/// Gives a descriptor a number; it stays open over `exec`.
#[expect(unsafe_code, reason = "the number is not owned")]
pub(super) fn renumber(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: the process is about to call `exec` and owns all its descriptors.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }.into())?;
    Ok(())
}

/// All signals as they are at the start of a process, and none blocked.
pub(super) fn reset_signals() {
    set_signals(1..=64, libc::SIG_DFL);
    // An error would mean that the mask is not one.
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
}

/// What the launcher and init ignore; their children inherit it.
const IGNORED: [libc::c_int; 5] = [libc::SIGCHLD, libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGPIPE];

/// Ignores what ends other processes; this one ends with the server. Children leave no status.
pub(super) fn ignore_signals() {
    set_signals(IGNORED, libc::SIG_IGN);
}

/// Has children leave their status again.
pub(super) fn notice_children() {
    set_signals([libc::SIGCHLD], libc::SIG_DFL);
}

/// Has SIGTERM, which comes when the launcher ends, be noticed again.
pub(super) fn notice_the_end() {
    set_signals([libc::SIGTERM], libc::SIG_DFL);
}

/// Takes [`ignore_signals`] back, and blocks none.
pub(super) fn notice_signals() {
    set_signals(IGNORED, libc::SIG_DFL);
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
}

#[expect(unsafe_code, reason = "sigaction is unsafe, because handlers may be; and some signals have no name in nix")]
fn set_signals(signals: impl IntoIterator<Item = libc::c_int>, to: libc::sighandler_t) {
    for signal in signals {
        // SAFETY: no handler of ours is set. It is refused for those that can't be changed.
        unsafe { libc::signal(signal, to) };
    }
}

/// Gives up capabilities for good, all but `kept`.
#[expect(unsafe_code, reason = "prctl of capabilities has no wrapper")]
pub(super) fn drop_capabilities(kept: &[libc::c_ulong]) {
    /// The highest number that a capability can have: the sets are of 64 bits.
    const LAST: libc::c_ulong = 63;
    for capability in (0..=LAST).filter(|capability| !kept.contains(capability)) {
        // SAFETY: the call takes numbers. It is refused where there is nothing to give up.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
}

/// The version of Landlock that the kernel speaks; 0 for none.
#[expect(unsafe_code, reason = "the landlock crate tells the version only to those who confine themselves")]
pub(super) fn landlock_version() -> u32 {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the call takes no pointer and only returns a number.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0_usize, VERSION) };
    u32::try_from(version).unwrap_or(0)
}

/// Whether the kernel filters system calls.
#[expect(unsafe_code, reason = "prctl has no wrapper for it")]
pub(super) fn has_seccomp() -> bool {
    // SAFETY: the call takes no pointer.
    unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) >= 0 }
}

/// Closes the descriptors from `first` up to, but not including, `end`.
#[expect(unsafe_code, reason = "close_range has no wrapper")]
pub(super) fn close_between(first: RawFd, end: RawFd) {
    if first < end {
        // SAFETY: as for `close_from`.
        unsafe { libc::syscall(libc::SYS_close_range, first as libc::c_uint, (end - 1) as libc::c_uint, 0) };
    }
}

/// As [`renumber`], for a number that was just made.
#[expect(unsafe_code, reason = "the number is not owned")]
pub(super) fn renumber_raw(fd: RawFd, number: RawFd) -> io::Result<()> {
    // SAFETY: the descriptor is open: its number was made by this process and is closed only by `exec`.
    renumber(unsafe { BorrowedFd::borrow_raw(fd) }, number)
}

/// Waits for a child to end: which, and its wait status. None: there is none, or none has ended and that is not to be
/// waited for.
#[expect(unsafe_code, reason = "nix tells the status only in parts")]
pub(super) fn wait_any(block: bool) -> Option<(Pid, i32)> {
    let mut status = 0;
    loop {
        // SAFETY: the status lives through the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, if block { 0 } else { libc::WNOHANG }) };
        if pid > 0 {
            return Some((Pid::from_raw(pid), status));
        }
        if pid == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return None;
        }
    }
}
