//! Whether anyone has a file open for writing, asked of the kernel by taking a read lease (`F_SETLEASE`) for a moment.

use std::fs::File;
use std::io;

use crate::beneath::Folder;
use crate::life;

/// Who has the file open for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// Nobody.
    Nobody,
    /// Someone.
    Someone,
    /// The kernel won't say: not our file and no `CAP_LEASE`, or no leases on this file system.
    Unknown,
}

/// Asks for the writer of a file that is open for reading only.
///
/// Who opens the file for writing during that moment waits for its end (with `O_NONBLOCK`: fails), which is some
/// microseconds long.
#[cfg(target_os = "linux")]
pub(super) fn writer(file: &File) -> Writer {
    use nix::libc;
    use std::os::fd::AsRawFd;

    /// `fcntl.h` of every Linux that Rust builds for, but PA-RISC; libc has no name for it.
    const F_SETSIG: libc::c_int = 10;

    let call = |command: libc::c_int, argument: libc::c_int| {
        #[expect(unsafe_code, reason = "no crate wraps F_SETLEASE; the call takes two integers and touches no memory")]
        // SAFETY: the descriptor is open for as long as `file` is borrowed.
        let answer = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
        if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // Who opens the file while the lease is held has the kernel send its holder SIGIO, which would end this process;
    // SIGURG is ignored unless a program asks for it.
    if call(F_SETSIG, libc::SIGURG).is_err() {
        return Writer::Unknown;
    }
    match call(libc::F_SETLEASE, libc::F_RDLCK) {
        Ok(()) => {
            let released = call(libc::F_SETLEASE, libc::F_UNLCK);
            debug_assert!(released.is_ok(), "a lease that was just granted can be given back");
            Writer::Nobody
        }
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Writer::Someone,
        Err(_) => Writer::Unknown,
    }
}

/// No leases on this system.
#[cfg(not(target_os = "linux"))]
pub(super) fn writer(_: &File) -> Writer {
    Writer::Unknown
}

/// Whether the answers can be relied on in `folder`: some file systems refuse all leases in the words of a file that is
/// being written. Tried with a file of its own, which is removed again.
pub(super) fn dependable(folder: &Folder) -> io::Result<bool> {
    let name = format!(".opendmp-lease-{}.tmp", life::new());
    let writing = folder.create_new(name.as_bytes())?;
    let reading = folder.read(name.as_bytes());
    folder.unlink(name.as_bytes())?;
    let reading = reading?;
    let during = writer(&reading);
    drop(writing);
    Ok(during == Writer::Someone && writer(&reading) == Writer::Nobody)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_seen_while_there_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let writing = folder.create_new(b"a").unwrap();
        let reading = folder.read(b"a").unwrap();
        assert_eq!(writer(&reading), Writer::Someone);
        drop(writing);
        assert_eq!(writer(&reading), Writer::Nobody);
        assert!(dependable(&folder).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn opening_during_the_lease_harms_nobody() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "x").unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let path = dir.path().join("a");
        let opener = std::thread::spawn(move || {
            for _ in 0..20_000 {
                File::options().append(true).open(&path).unwrap();
            }
        });
        let mut seen = [0u32; 2];
        while !opener.is_finished() {
            match writer(&folder.read(b"a").unwrap()) {
                Writer::Nobody => seen[0] += 1,
                Writer::Someone => seen[1] += 1,
                Writer::Unknown => panic!("leases work here"),
            }
        }
        opener.join().unwrap();
        assert!(seen[0] > 0, "{seen:?}");
    }
}
