//! The only unsafe code of the crate: what has to happen between `fork` and `exec`.
//!
//! Everything that allocates or can block (rules, limits, descriptors) is prepared before; the child itself makes
//! system calls only.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
use nix::sys::resource::{Resource, setrlimit};

/// What is left of root's powers to a script of a server that runs as root: changing owners, modes and contents of
/// files, and low ports. Above all it loses those that let it look into the server past Landlock (`CAP_PERFMON`).
#[cfg(target_os = "linux")]
const KEPT_CAPABILITIES: [libc::c_ulong; 5] = [0, 1, 3, 4, 10];
/// The highest number that a capability can have: the sets are of 64 bits.
#[cfg(target_os = "linux")]
const LAST_CAPABILITY: u32 = 63;

/// What a child is given and denied.
#[derive(Default)]
pub(crate) struct Setup {
    /// Descriptors that stay open under their numbers; all others but 0 to 2 are closed.
    pub pass: Vec<OwnedFd>,
    /// Landlock rules to live under.
    pub ruleset: Option<OwnedFd>,
    /// Bytes of private writable memory.
    pub memory: Option<u64>,
    /// Bytes that one file may grow to.
    pub file_size: Option<u64>,
}

/// Have `command` start its process in a session of its own, limited and confined, to die with the calling thread.
///
/// The thread that spawns it must therefore live as long as the process may: see [`crate::launch`]. The passed
/// descriptors keep their numbers, rather than being moved to agreed ones: there `Command` may have put its own.
#[expect(unsafe_code, reason = "there is no safe way to run system calls between fork and exec")]
pub(crate) fn confine(command: &mut Command, setup: Setup) {
    let Setup { pass, ruleset, memory, file_size } = setup;
    let parent = nix::unistd::getpid();
    let in_child = move || -> io::Result<()> {
        nix::unistd::setsid()?;
        #[cfg(target_os = "linux")]
        {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
            // The server may have died before the line above.
            if nix::unistd::getppid() != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = parent;
        setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
        if let Some(bytes) = memory {
            setrlimit(Resource::RLIMIT_DATA, bytes, bytes)?;
        }
        if let Some(bytes) = file_size {
            setrlimit(Resource::RLIMIT_FSIZE, bytes, bytes)?;
        }
        #[cfg(target_os = "linux")]
        {
            // SAFETY: close_range only marks descriptors of this child as close-on-exec. Kernels before 5.11 refuse
            // it, and there every descriptor that Rust opened bears the mark already.
            unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
        }
        for fd in &pass {
            // SAFETY: fcntl is async-signal-safe, and takes the mark off a descriptor that is open.
            if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        #[cfg(target_os = "linux")]
        {
            for capability in 0..=libc::c_ulong::from(LAST_CAPABILITY) {
                if !KEPT_CAPABILITIES.contains(&capability) {
                    // SAFETY: the call takes numbers. It is refused where there is nothing to drop: not as root.
                    unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
                }
            }
            nix::sys::prctl::set_no_new_privs()?;
            if let Some(rules) = &ruleset {
                // SAFETY: the descriptor is an open ruleset, the flags are none; it confines this child only.
                if unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) } != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = &ruleset;
        Ok(())
    };
    // SAFETY: the closure makes system calls only (nix's are thin wrappers whose errors hold a number), allocates
    // nothing, takes no lock, and touches no memory that another thread could have left half changed.
    unsafe { command.pre_exec(in_child) };
}

/// The version of Landlock that the kernel speaks; 0 for none.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the landlock crate tells the version only to those who confine themselves")]
pub(crate) fn landlock_version() -> u32 {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the call takes no pointer and only returns a number.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0_usize, VERSION) };
    u32::try_from(version).unwrap_or(0)
}
