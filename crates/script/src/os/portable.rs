//! Other systems: what POSIX has. No Landlock, no look at another process's memory.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::unistd::Pid;

/// A file in `dir` that has lost its name already.
pub(crate) fn anonymous_file(_name: &str, dir: &Path) -> io::Result<File> {
    tempfile::tempfile_in(dir)
}

/// The same with a size; nothing keeps it here.
pub(crate) fn file_of_size(_name: &str, dir: &Path, size: u64) -> io::Result<File> {
    let file = tempfile::tempfile_in(dir)?;
    file.set_len(size)?;
    Ok(file)
}

/// Not known here: `setrlimit` alone limits memory.
pub(crate) fn memory(_pid: Pid) -> Option<(u64, Vec<Pid>)> {
    None
}

/// Not known here.
pub(crate) fn exact_memory(_processes: &[Pid]) -> Option<u64> {
    None
}
