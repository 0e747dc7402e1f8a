//! What the system lets this process have: open files, address space, processes. Too little of it shows in the middle of
//! work as errors of all kinds, so it is told before anything is begun.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

use crate::fail::Fail;
use crate::words;

/// Open files without which work is not begun: a server at rest has about 50 open, and some 110 with one flow at work on
/// two cores.
pub const MIN_FILES: u64 = 256;

/// Open files that are enough for many flows and watchers of the page.
pub const GOOD_FILES: u64 = 1_024;

/// Up to how many the soft limit is raised by itself. Programs that close all there may be take long with more.
const RAISED_FILES: u64 = 65_536;

/// Bytes of address space without which work is not begun: threads and their heaps take about 1.1 GiB of it, though
/// little memory.
pub const MIN_SPACE: u64 = 2 << 30;

/// Bytes of address space that are enough.
pub const GOOD_SPACE: u64 = 8 << 30;

/// Processes and threads that are left to this user at least.
const GOOD_PROCESSES: u64 = 128;

/// A limit that is too low.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Short {
    /// What is short, as in a list of checks.
    pub what: &'static str,
    /// Whether work can't be begun with it.
    pub fatal: bool,
    /// In words.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl From<Short> for Fail {
    fn from(short: Short) -> Self {
        Self::new(short.message).hint(short.hint)
    }
}

/// Raises the soft limit of open files as far as it may be, and refuses where a limit is too low to work at all. Answers
/// those that are merely low.
pub fn enough() -> Result<Vec<Short>, Fail> {
    raise();
    let all = short();
    match all.iter().find(|short| short.fatal) {
        Some(fatal) => Err(fatal.clone().into()),
        None => Ok(all),
    }
}

/// Raises the soft limit of open files.
pub fn raise() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let wanted = hard.min(RAISED_FILES);
        // Where that fails, what follows tells that there are too few.
        let _ = if soft < wanted { setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) } else { Ok(()) };
    }
}

/// The limits that are too low.
pub fn short() -> Vec<Short> {
    let soft = |resource| getrlimit(resource).map_or(RLIM_INFINITY, |(soft, _)| soft);
    let mut out = Vec::new();
    out.extend(files(soft(Resource::RLIMIT_NOFILE)));
    out.extend(space(soft(Resource::RLIMIT_AS)));
    #[cfg(target_os = "linux")]
    if !nix::unistd::geteuid().is_root() {
        out.extend(processes(soft(Resource::RLIMIT_NPROC), processes_of_user()));
    }
    out
}

fn files(limit: u64) -> Option<Short> {
    (limit < GOOD_FILES).then(|| Short {
        what: "open files",
        fatal: limit < MIN_FILES,
        message: match limit < MIN_FILES {
            true => {
                format!("only {} can be open at once, and at least {MIN_FILES} are needed", words::count(limit, "file"))
            }
            false => format!(
                "only {} can be open at once; {GOOD_FILES} are enough for many flows",
                words::count(limit, "file")
            ),
        },
        hint: format!("raise the limit: `ulimit -n {GOOD_FILES}`, or LimitNOFILE={GOOD_FILES} in a systemd unit"),
    })
}

fn space(limit: u64) -> Option<Short> {
    (limit < GOOD_SPACE).then(|| Short {
        what: "address space",
        fatal: limit < MIN_SPACE,
        message: match limit < MIN_SPACE {
            true => {
                format!(
                    "the address space is limited to {}, and at least {} are needed",
                    words::size(limit),
                    words::size(MIN_SPACE)
                )
            }
            false => format!("the address space is limited to {}; this holds for scripts, too", words::size(limit)),
        },
        hint: "lift the limit: `ulimit -v unlimited`, or LimitAS=infinity in a systemd unit; scripts are limited by `memory:` in the flow"
            .to_owned(),
    })
}

#[cfg(target_os = "linux")]
fn processes(limit: u64, taken: u64) -> Option<Short> {
    let left = limit.saturating_sub(taken);
    (left < GOOD_PROCESSES).then(|| Short {
        what: "processes",
        fatal: false,
        message: format!("this user may start {left} more processes and threads, of {limit}"),
        hint: "raise the limit: `ulimit -u 4096`, or TasksMax= and LimitNPROC= in a systemd unit".to_owned(),
    })
}

/// Threads of all processes of this user.
#[cfg(target_os = "linux")]
fn processes_of_user() -> u64 {
    use std::os::unix::fs::MetadataExt;
    let own = nix::unistd::getuid().as_raw();
    let threads = |entry: std::fs::DirEntry| {
        let is_process = entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit);
        (is_process && entry.metadata().is_ok_and(|meta| meta.uid() == own))
            .then(|| std::fs::read_dir(entry.path().join("task")).map_or(1, |tasks| tasks.count() as u64))
    };
    std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(threads).sum()
}

/// Open files of this process, and how many it may have, where most of them are in use.
#[cfg(target_os = "linux")]
pub fn nearly_all_files() -> Option<(u64, u64)> {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let open = match std::fs::read_dir("/proc/self/fd") {
        Ok(open) => open.count() as u64,
        // None is left to look with.
        Err(error) if error.raw_os_error() == Some(nix::libc::EMFILE) => limit,
        Err(_) => return None,
    };
    (open >= limit - limit / 10).then_some((open, limit))
}

#[cfg(not(target_os = "linux"))]
pub fn nearly_all_files() -> Option<(u64, u64)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_is_told_and_much_too_little_refused() {
        let fatal = |short: Option<Short>| short.map(|short| short.fatal);
        assert_eq!(
            [32, 64, 255, 256, 1_023].map(|limit| fatal(files(limit))).map(Option::unwrap),
            [true, true, true, false, false]
        );
        assert_eq!(fatal(files(1_024)), None);
        assert_eq!(fatal(files(RLIM_INFINITY)), None);
        assert_eq!(
            (fatal(space(1 << 30)), fatal(space(4 << 30)), fatal(space(RLIM_INFINITY))),
            (Some(true), Some(false), None)
        );
        #[cfg(target_os = "linux")]
        assert_eq!((fatal(processes(100, 90)), fatal(processes(4_096, 90))), (Some(false), None));
        let told = files(64).unwrap();
        assert!(told.message.contains("64 files") && told.hint.contains("ulimit -n 1024"));
    }
}
