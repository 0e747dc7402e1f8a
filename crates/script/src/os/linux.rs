//! Linux: files in memory.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// A file in memory without a name. `dir` is for systems that have no such thing.
pub(crate) fn anonymous_file(name: &str, _dir: &Path) -> io::Result<File> {
    Ok(File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?))
}

/// The same with a size that stays: whoever maps it can rely on all of its pages, whoever else has it.
pub(crate) fn file_of_size(name: &str, _dir: &Path, size: u64) -> io::Result<File> {
    let file = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
    file.set_len(size)?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_fixed_size_can_be_neither_cut_nor_grown() {
        let file = file_of_size("test", Path::new("/"), 8192).unwrap();
        for size in [0, 4096, 16384] {
            assert_eq!(file.set_len(size).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        }
    }
}
