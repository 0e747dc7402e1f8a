//! Starts what users run (scripts, commands, builds of packages) in processes that can reach neither the server nor
//! its data.
//!
//! A process started here sees the file system read-only, with the data directory and other hidden folders empty, a
//! private `/tmp`, `/dev` and `/dev/shm`, and only its own processes. It may write where its [`Policy`] says. When it
//! ends, everything that it started ends too, and nothing outlives the server.
//!
//! ```text
//! server ── launcher ── init ── the command        init is process 1 of a PID namespace:
//!    │         │          │         └ …             when it ends, the kernel ends all others
//!    └─────────┴──────────┘
//!      one socket a command: the request, its process ID, its exit status; closed by the server to end it
//! ```
//!
//! The launcher is forked from the server, small, single-threaded, and ends with it. Which means the kernel offers is
//! found out once ([`protection()`]); where namespaces are missing, Landlock and seccomp still apply, and
//! [`Protection::missing`] lists what is not protected.
//!
//! Nothing here knows flows or items. Linux has all of it (`linux`); elsewhere processes are started without a
//! sandbox (`portable`).

mod aliases;
mod command;
pub mod disk;
pub mod folders;
#[cfg(target_os = "linux")]
mod linux;
mod policy;
#[cfg(not(target_os = "linux"))]
mod portable;
mod protection;
mod refused;

pub use command::{Child, Command, FIRST_PASSED, Limits, StartError, is_closed};
pub use policy::{Asked, Home, Network, Policy, Rules, Site, Surroundings, real_path};
pub use protection::{AS_ROOT, Missing, Protection};
pub use refused::hint as refused_write_hint;

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(not(target_os = "linux"))]
use portable as platform;

use std::fs::File;
use std::io;
use std::path::Path;

use nix::unistd::Pid;

/// Starts the launcher. To be called before the process has more than one thread: the launcher is a fork of it, and
/// is smallest then. It is started by the first command otherwise.
///
/// # Errors
/// When it can't be forked.
pub fn start_launcher() -> io::Result<()> {
    platform::start_launcher()
}

/// What this machine offers to keep commands apart, found out at the first call. Blocks for some milliseconds.
pub fn protection() -> &'static Protection {
    static FOUND: std::sync::OnceLock<Protection> = std::sync::OnceLock::new();
    FOUND.get_or_init(platform::probe)
}

/// The same file for a command to read, through a descriptor that can change neither its bytes nor its attributes.
/// Where namespaces are missing, a copy in `scratch` that has no name. Blocks.
///
/// # Errors
/// When the file can't be opened again, or the copy can't be made.
pub fn read_only(file: &File, scratch: &Path) -> io::Result<File> {
    platform::read_only(file, scratch)
}

/// Bytes of memory that this machine has. None where the system does not tell.
pub fn memory_of_machine() -> Option<u64> {
    platform::memory_of_machine()
}

/// Bytes that a process with its descendants holds, counted as [`holds_more`] does, but that what they share counts for
/// each of them. None where the system does not tell, or the process is gone.
pub fn memory_of(pid: Pid) -> Option<u64> {
    platform::memory(pid).map(|(held, _)| held)
}

/// Whether a process with its descendants holds more than `limit` bytes: what is private to each, what they share, their
/// page tables, files in `/dev/shm` and files in memory without a name. Never where the system does not tell.
pub async fn holds_more(pid: Pid, limit: u64) -> bool {
    let Some((held, processes)) = platform::memory(pid) else { return false };
    if held <= limit || processes.len() == 1 {
        return held > limit;
    }
    // Processes that came of a fork share pages, which the quick sum counts for each of them.
    let exact = tokio::task::spawn_blocking(move || platform::exact_memory(&processes)).await;
    exact.ok().flatten().is_some_and(|held| held > limit)
}
