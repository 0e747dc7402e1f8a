//! How much memory a process with its descendants holds, by /proc.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::unistd::Pid;

/// How many processes of one command are looked at: as many as it may have.
const MOST_PROCESSES: usize = 4096;

pub(crate) fn memory_of_machine() -> Option<u64> {
    nix::sys::sysinfo::sysinfo().ok().map(|about| about.ram_total())
}

/// Bytes that a process and its descendants hold which are not pages of files; none if it is gone.
///
/// Memory shared by fork counts once for each process: an upper bound, which [`exact_memory`] settles.
pub(crate) fn memory(pid: Pid) -> Option<(u64, Vec<Pid>)> {
    let mut total = own_memory(pid)?;
    let all = with_descendants(pid, |child| total += own_memory(child).unwrap_or(0));
    Some((total + files_in_memory(&all), all))
}

/// A process and its descendants; `found` is told of each of these.
fn with_descendants(pid: Pid, mut found: impl FnMut(Pid)) -> Vec<Pid> {
    let mut all = vec![pid];
    let mut next = 0;
    while next < all.len() && all.len() < MOST_PROCESSES {
        for child in children(all[next]) {
            found(child);
            all.push(child);
        }
        next += 1;
    }
    all
}

/// Bytes of files that lie in memory: those without a name that the processes hold open, and their `/dev/shm`.
///
/// What of it is mapped counts as shared memory, too: an upper bound, which [`exact_memory`] settles.
fn files_in_memory(processes: &[Pid]) -> u64 {
    let total = open_files(processes, |link| link.starts_with(b"/memfd:"), |_| true);
    // Without namespaces it is that of the machine, and nobody's own.
    // The first one is what watches over the others, and can't be looked into.
    let own = processes.get(1).filter(|_| crate::protection().namespaces);
    let shared = own.and_then(|pid| nix::sys::statvfs::statvfs(format!("/proc/{pid}/root/dev/shm").as_str()).ok());
    total + shared.map_or(0, |shm| shm.blocks().saturating_sub(shm.blocks_free()) * shm.fragment_size())
}

/// Bytes of a disk that files take which a process and its descendants hold open and which have no name any more.
pub(crate) fn nameless_files(pid: Pid, disk: u64) -> u64 {
    let all = with_descendants(pid, |_| {});
    open_files(&all, |link| link.ends_with(b" (deleted)"), |found| found.dev() == disk && found.nlink() == 0)
}

/// Bytes of the files that processes hold open, each counted once, by the link that the system shows and by the file.
fn open_files(processes: &[Pid], link: impl Fn(&[u8]) -> bool, file: impl Fn(&fs::Metadata) -> bool) -> u64 {
    let mut seen = HashSet::new();
    let mut total = 0;
    for pid in processes {
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            if fs::read_link(entry.path()).is_ok_and(|shown| link(shown.as_os_str().as_encoded_bytes()))
                && let Ok(found) = entry.path().metadata()
                && file(&found)
                && seen.insert((found.dev(), found.ino()))
            {
                total += found.blocks() * 512;
            }
        }
    }
    total
}

/// The same with shared pages divided among those that share them, and counted once where they are a file's. Walks page
/// tables: milliseconds per gigabyte.
pub(crate) fn exact_memory(processes: &[Pid]) -> Option<u64> {
    let (mut total, mut shared_total) = (0, 0);
    for pid in processes {
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
        let fields = kilobytes(&text);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let status = kilobytes(&status);
        let of = |name| status.get(name).copied().unwrap_or(0);
        total += tables(&status) + of("VmSwap").min(fields.get("SwapPss").copied().unwrap_or(0));
        total += match (fields.get("Pss_Anon"), fields.get("Pss_Shmem")) {
            (Some(private), shared) => {
                shared_total += shared.copied().unwrap_or(0);
                *private
            }
            // Before Linux 5.3 there is only the sum with files.
            (None, _) => *fields.get("Pss")?,
        };
    }
    Some(total + shared_total.max(files_in_memory(processes)))
}

fn own_memory(pid: Pid) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let fields = kilobytes(&text);
    // A zombie has no such lines.
    let of = |name| fields.get(name).copied().unwrap_or(0);
    Some(of("RssAnon") + of("RssShmem") + of("VmSwap") + tables(&fields))
}

/// What no page of the process's own shows: its page tables, which can be larger than all that they describe, and
/// pages that were set aside at boot.
fn tables(status: &HashMap<&str, u64>) -> u64 {
    ["VmPTE", "HugetlbPages"].iter().filter_map(|name| status.get(name)).sum()
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

#[cfg(test)]
mod tests {
    use std::io;

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

    #[test]
    fn page_tables_are_memory() {
        // Each page read is the one of zeros, and has a table of its own.
        const CODE: &str = "import mmap, sys\n\
            m = mmap.mmap(-1, 16 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, mmap.PROT_READ)\n\
            m.madvise(15)\n\
            for at in range(0, len(m), 2 << 20): m[at]\n\
            print('ready', flush=True)\n\
            sys.stdin.read()\n";
        use std::io::BufRead;
        use std::process::{Command, Stdio};
        let mut command = Command::new("python3");
        command.args(["-c", CODE]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = Pid::from_raw(child.id() as i32);
        let (held, exact) = (memory(pid).unwrap().0, exact_memory(&[pid]).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(line, "ready\n");
        assert!(held > 32 << 20 && exact > 32 << 20, "{held}, {exact}: 8192 tables of 4 KiB");
    }
}
