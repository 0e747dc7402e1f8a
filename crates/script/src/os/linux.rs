//! Linux: /proc and memfd.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

/// How many processes of one worker are looked at; a fork bomb must not busy the server.
const MOST_PROCESSES: usize = 128;

/// A file in memory without a name. `dir` is for systems that have no such thing.
pub(crate) fn anonymous_file(name: &str, _dir: &Path) -> io::Result<File> {
    Ok(File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?))
}

/// Bytes that a process and its descendants hold which are not pages of files; none if it is gone.
///
/// Memory shared by fork counts once for each process: an upper bound, which [`exact_memory`] settles.
pub(crate) fn memory(pid: Pid) -> Option<(u64, Vec<Pid>)> {
    let mut total = own_memory(pid)?;
    let mut all = vec![pid];
    let mut next = 0;
    while next < all.len() && all.len() < MOST_PROCESSES {
        for child in children(all[next]) {
            total += own_memory(child).unwrap_or(0);
            all.push(child);
        }
        next += 1;
    }
    Some((total, all))
}

/// The same with shared pages divided among those that share them. Walks page tables: milliseconds per gigabyte.
pub(crate) fn exact_memory(processes: &[Pid]) -> Option<u64> {
    let mut total = 0;
    for pid in processes {
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
        let fields = kilobytes(&text);
        total += match (fields.get("Pss_Anon"), fields.get("Pss_Shmem")) {
            (Some(private), shared) => private + shared.copied().unwrap_or(0),
            // Before Linux 5.3 there is only the sum with files.
            (None, _) => *fields.get("Pss")?,
        };
    }
    Some(total)
}

fn own_memory(pid: Pid) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let fields = kilobytes(&text);
    // A zombie has no such lines.
    Some(fields.get("RssAnon").unwrap_or(&0) + fields.get("RssShmem").unwrap_or(&0))
}

/// The lines `Name: 123 kB` of a file of /proc, in bytes.
fn kilobytes(text: &str) -> HashMap<&str, u64> {
    text.lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            let number: u64 = rest.trim().strip_suffix(" kB")?.trim().parse().ok()?;
            Some((name, number * 1024))
        })
        .collect()
}

fn children(pid: Pid) -> Vec<Pid> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<i32>>())
        .map(Pid::from_raw)
        .collect()
}

/// Kill every process whose environment, as it was started, has `mark` as the beginning of an entry: descendants of
/// a worker that left its session. Returns how many.
pub(crate) fn kill_marked(mark: &str) -> usize {
    let Ok(all) = fs::read_dir("/proc") else { return 0 };
    let own = Pid::this();
    let mut killed = 0;
    for entry in all.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).map(Pid::from_raw) else {
            continue;
        };
        // Others' processes can't be read; those are not ours.
        let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
        let marked = environment.split(|byte| *byte == 0).any(|entry| entry.starts_with(mark.as_bytes()));
        if marked && pid != own && kill(pid, Signal::SIGKILL).is_ok() {
            killed += 1;
        }
    }
    killed
}

/// Whether a child has ended; it stays to be waited for, so that its number is not used again.
pub(crate) fn has_ended(pid: Pid) -> bool {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    !matches!(waitid(Id::Pid(pid), look), Ok(WaitStatus::StillAlive))
}

/// Let the kernel, when memory runs out, take a script before the server.
pub(crate) fn prefer_to_lose(pid: Pid) {
    if let Err(error) = fs::write(format!("/proc/{pid}/oom_score_adj"), "500") {
        tracing::debug!(%error, "the kernel's out-of-memory score of a worker stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_lines_of_proc() {
        let fields = kilobytes("Name:\tpython3\nRssAnon:\t    5120 kB\nThreads:\t1\n");
        assert_eq!(fields.get("RssAnon"), Some(&(5120 * 1024)));
        assert_eq!(fields.len(), 1);
    }

    #[test]
    fn knows_its_own_memory() {
        let (bytes, processes) = memory(Pid::this()).unwrap();
        assert!(bytes > 100_000, "{bytes}");
        assert_eq!(processes[0], Pid::this());
        assert!(exact_memory(&processes[..1]).unwrap() > 100_000);
        assert_eq!(memory(Pid::from_raw(i32::MAX)), None);
    }
}
