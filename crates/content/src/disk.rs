//! The calls that change the disk, in one place, so that tests can make each of them fail.

use std::fs::File;
use std::io;
#[cfg(target_os = "linux")]
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Writes and syncs.
#[derive(Debug, Default)]
pub struct Disk {
    /// Asked before each call; see [`faults::Faults`].
    #[cfg(test)]
    pub faults: faults::Faults,
}

#[cfg_attr(not(test), expect(clippy::unused_self, reason = "tests keep their faults there"))]
impl Disk {
    /// Writes all of `bytes` at an offset.
    pub fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        #[cfg(test)]
        self.faults.before(faults::Call::Write, Some(file))?;
        file.write_all_at(bytes, at)
    }

    /// Has the system begin to write what it holds of a range, so that a later sync has less to wait for.
    pub fn begin_writing(&self, file: &File, from: u64, len: u64) {
        // Linux begins to write dirty pages when told that they are not needed, and keeps them in memory. A hint only.
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::fadvise(file, from, NonZeroU64::new(len), rustix::fs::Advice::DontNeed);
        #[cfg(not(target_os = "linux"))]
        let _ = (file, from, len);
    }

    /// Makes the content of a file durable, and what is needed to read it.
    pub fn sync_data(&self, file: &File) -> io::Result<()> {
        #[cfg(test)]
        self.faults.before(faults::Call::Sync, Some(file))?;
        file.sync_data()
    }

    /// Makes the names in a directory durable.
    pub fn sync_dir(&self, path: &Path) -> io::Result<()> {
        #[cfg(test)]
        self.faults.before(faults::Call::SyncDir, None)?;
        File::open(path)?.sync_all()
    }
}

/// Calls that fail when a test wants them to.
#[cfg(test)]
pub mod faults {
    use std::fmt;
    use std::fs::File;
    use std::io;
    use std::sync::Mutex;

    /// A kind of call.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Call {
        Write,
        Sync,
        SyncDir,
    }

    type Fault = Box<dyn FnMut(Call, Option<&File>) -> io::Result<()> + Send>;

    /// At most one rule, which sees each call before it is made.
    #[derive(Default)]
    pub struct Faults(Mutex<Option<Fault>>);

    impl Faults {
        /// Asks `fault` from now on.
        pub fn set(&self, fault: impl FnMut(Call, Option<&File>) -> io::Result<()> + Send + 'static) {
            *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Box::new(fault));
        }

        /// Lets every call succeed again.
        pub fn clear(&self) {
            *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
        }

        pub(super) fn before(&self, call: Call, file: Option<&File>) -> io::Result<()> {
            self.0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .as_mut()
                .map_or(Ok(()), |fault| fault(call, file))
        }
    }

    impl fmt::Debug for Faults {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Faults")
        }
    }
}
