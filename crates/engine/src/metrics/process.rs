//! What the operating system tells of this process.

use procfs::process::Process;
use procfs::{ProcResult, WithCurrentSystemInfo};

/// This process, in numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    /// Seconds of processor time.
    pub cpu: f64,
    /// Bytes in memory.
    pub memory: u64,
    pub threads: i64,
    pub files: usize,
    /// Seconds since 1970.
    pub started: f64,
}

/// Reads `/proc/self`.
pub(super) fn numbers() -> ProcResult<Numbers> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let ticks = procfs::ticks_per_second() as f64;
    Ok(Numbers {
        cpu: (stat.utime + stat.stime) as f64 / ticks,
        memory: stat.rss_bytes().get(),
        threads: stat.num_threads,
        files: process.fd_count()?,
        started: procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_is_known() {
        let numbers = super::numbers().unwrap();
        assert!(numbers.memory > 1 << 20 && numbers.threads >= 1 && numbers.files >= 3, "{numbers:?}");
        assert!(numbers.started > 1_577_836_800.0, "after 2020: {numbers:?}");
    }
}
