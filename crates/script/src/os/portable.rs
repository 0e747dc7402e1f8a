//! Other systems: what POSIX has.

use std::fs::File;
use std::io;
use std::path::Path;

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
