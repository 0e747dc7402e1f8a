//! Scratch directories: one for each set of pools, within it one for each worker, and the files that results lie in.
//!
//! ```text
//! <scratch root>/.lock                 held while a set is made or left-overs are removed
//! <scratch root>/s-XXXXXX/lock         held by the living set
//! <scratch root>/s-XXXXXX/         (nameless) results too many for memory
//! <scratch root>/s-XXXXXX/lib/         the worker program
//! <scratch root>/s-XXXXXX/<n>/tmp/     working directory of worker n
//! <scratch root>/s-XXXXXX/<n>/private/ what it sees as `/tmp`
//! <scratch root>/s-XXXXXX/<n>/cache/   caches of its libraries
//! <scratch root>/s-XXXXXX/<n>/out/     its large results, named 1, 2, …
//! ```

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::launch;

/// The directory of one set of pools.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    /// Kept open: its lock says that the set lives.
    lock: Mutex<File>,
    /// Interpreters that the worker program was compiled for.
    compiled: Mutex<HashSet<PathBuf>>,
    next: AtomicU64,
}

impl Scratch {
    /// Make one beneath `root`, and remove those that dead servers left.
    pub(crate) fn create(root: &Path) -> io::Result<Arc<Self>> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        let root = root.canonicalize()?;
        let guard = open_lock(&root.join(".lock"))?;
        guard.lock()?;
        sweep(&root)?;
        let path = tempfile::Builder::new()
            .prefix("s-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(&root)?
            .keep();
        let lock = Mutex::new(furnish(&path)?);
        Ok(Arc::new(Self { path, lock, compiled: Mutex::default(), next: AtomicU64::new(1) }))
    }

    /// The directory of the set, which no script sees.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the worker program is.
    pub(crate) fn lib(&self) -> PathBuf {
        self.path.join("lib")
    }

    /// Compile the worker program for an interpreter, once and while its first worker starts: later ones start faster.
    /// The interpreter must be the machine's own: it runs outside of the sandbox, and all workers use what it writes.
    pub(crate) fn compile_for(self: &Arc<Self>, interpreter: &Path) {
        let new = self.compiled.lock().is_ok_and(|mut compiled| compiled.insert(interpreter.to_owned()));
        if new {
            let (scratch, interpreter) = (Arc::clone(self), interpreter.to_owned());
            launch::in_background(move || {
                let mut command = Command::new(interpreter);
                // By their names alone, so that nothing is made at a path that is not theirs any more.
                command.args(["-I", "-S", "-m", "py_compile"]).current_dir(scratch.lib());
                command.args(crate::PYTHON_FILES.map(|(name, _)| name));
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                // Without it workers compile the program themselves.
                let _ = command.status();
            });
        }
    }

    /// Makes the directory again where somebody removed it while the set lives.
    fn restore(&self) -> io::Result<()> {
        let program = self.path.join("lib").join(crate::PYTHON_WORKER_FILE);
        let mut lock = self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if program.exists() {
            return Ok(());
        }
        tracing::warn!(path = %self.path.display(), "the scratch directory of scripts was removed, and is made again");
        let Some(root) = self.path.parent() else { return Err(io::ErrorKind::NotFound.into()) };
        opendmp_sandbox::folders::make_private(root)?;
        let guard = open_lock(&root.join(".lock"))?;
        guard.lock()?;
        opendmp_sandbox::folders::make_private(&self.path)?;
        *lock = furnish(&self.path)?;
        Ok(())
    }

    /// A directory for a new worker.
    pub(crate) fn worker(self: &Arc<Self>) -> io::Result<Arc<WorkerDir>> {
        self.restore()?;
        let path = self.path.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let mut private = fs::DirBuilder::new();
        private.mode(0o700);
        for part in ["", "tmp", "out", "private", "cache"] {
            private.create(path.join(part))?;
        }
        let out = OpenOptions::new()
            .read(true)
            .custom_flags((OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits())
            .open(path.join("out"))?;
        Ok(Arc::new(WorkerDir { path, out: out.into(), scratch: Arc::clone(self) }))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.path);
        launch::in_background(move || remove(&path));
    }
}

/// Puts into the directory of a set what it needs, and locks it.
fn furnish(path: &Path) -> io::Result<File> {
    let lock = open_lock(&path.join("lock"))?;
    lock.lock()?;
    let lib = path.join("lib");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&lib)?;
    let mut program = OpenOptions::new();
    program.write(true).create(true).truncate(true).mode(0o600);
    for (name, text) in crate::PYTHON_FILES {
        program.open(lib.join(name))?.write_all(text.as_bytes())?;
    }
    Ok(lock)
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)
}

/// Remove the directories whose servers are dead. The caller holds the root's lock.
fn sweep(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)?.flatten() {
        let path = entry.path();
        if !entry.file_name().as_encoded_bytes().starts_with(b"s-") || !entry.file_type()?.is_dir() {
            continue;
        }
        // A directory without a lock file was being made when its server died: nobody makes one now.
        let dead = match OpenOptions::new().write(true).open(path.join("lock")) {
            Ok(lock) => lock.try_lock().is_ok(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if dead {
            tracing::info!(path = %path.display(), "removing what an earlier server's scripts left");
            remove(&path);
        }
    }
    Ok(())
}

/// Removes a folder that scripts wrote into: whatever they left there, nothing else is touched.
fn remove(path: &Path) {
    if let Err(error) = opendmp_sandbox::folders::remove(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "failed to remove a scratch directory");
    }
}

/// The directory of one worker; removed when nothing refers to it any more.
#[derive(Debug)]
pub(crate) struct WorkerDir {
    path: PathBuf,
    /// `out`, opened before the script could put anything else in its place.
    out: OwnedFd,
    /// Kept, so that the set's directory outlives this one.
    scratch: Arc<Scratch>,
}

impl WorkerDir {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Working directory and home of temporary files.
    pub(crate) fn tmp(&self) -> PathBuf {
        self.path.join("tmp")
    }

    /// Whether it is still there: somebody may have removed it, and whoever works in it can't write any more.
    pub(crate) fn is_there(&self) -> bool {
        self.tmp().is_dir() && self.out().is_dir()
    }

    /// Where large results are put.
    pub(crate) fn out(&self) -> PathBuf {
        self.path.join("out")
    }

    /// What takes the place of `/tmp`.
    pub(crate) fn private(&self) -> PathBuf {
        self.path.join("private")
    }

    /// For what libraries want to find again.
    pub(crate) fn cache(&self) -> PathBuf {
        self.path.join("cache")
    }

    /// A file without a name, of which no script knows.
    pub(crate) fn spool(&self) -> io::Result<File> {
        tempfile::tempfile_in(&self.scratch.path)
    }

    /// Take over result file `number`, if it is a regular file of at least `size` bytes. No link is followed.
    pub(crate) fn take(self: &Arc<Self>, number: u32, size: u64) -> io::Result<Arc<Numbered>> {
        let file = Numbered { dir: Arc::clone(self), number };
        file.check(size)?;
        Ok(Arc::new(file))
    }
}

impl Drop for WorkerDir {
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.path);
        let scratch = Arc::clone(&self.scratch);
        launch::in_background(move || {
            remove(&path);
            drop(scratch);
        });
    }
}

/// A result file that the server has taken over; removed when dropped.
#[derive(Debug)]
pub(crate) struct Numbered {
    dir: Arc<WorkerDir>,
    number: u32,
}

impl Numbered {
    /// Whether it is still a regular file of at least `size` bytes.
    pub(crate) fn check(&self, size: u64) -> io::Result<()> {
        let about = fstatat(&self.dir.out, self.number.to_string().as_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let kind = SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT;
        if kind != SFlag::S_IFREG {
            return Err(io::Error::other("it is not a regular file"));
        }
        if u64::try_from(about.st_size).unwrap_or(0) < size {
            return Err(io::Error::other(format!("it has {} bytes instead of {size}", about.st_size)));
        }
        Ok(())
    }
}

impl Drop for Numbered {
    fn drop(&mut self) {
        let (dir, number) = (Arc::clone(&self.dir), self.number);
        launch::in_background(move || {
            if let Err(error) = unlinkat(&dir.out, number.to_string().as_str(), UnlinkatFlags::NoRemoveDir)
                && error != nix::Error::ENOENT
            {
                tracing::debug!(%error, number, "a result file stays until its worker's directory goes");
            }
        });
    }
}

/// A large result: a part of a file in a worker's scratch directory, which nobody else can have replaced by a link.
///
/// The script may still hold the file open, so a hash must be taken of what is copied. Dropping the last value that
/// refers to the file removes it.
#[derive(Clone, Debug)]
pub struct ScratchFile {
    file: Arc<Numbered>,
    offset: u64,
    size: u64,
}

impl ScratchFile {
    pub(crate) fn new(file: Arc<Numbered>, offset: u64, size: u64) -> Self {
        Self { file, offset, size }
    }

    /// Length of the content in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The content, to be read once. Blocks.
    ///
    /// # Errors
    /// When the file is gone, is no regular file or became shorter: the script's doing.
    pub fn open(&self) -> io::Result<impl Read + Send + use<>> {
        self.file.check(self.offset.saturating_add(self.size))?;
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let mut file =
            File::from(openat(&self.file.dir.out, self.file.number.to_string().as_str(), flags, Mode::empty())?);
        // It may have been replaced since the check.
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        file.seek(SeekFrom::Start(self.offset))?;
        Ok(file.take(self.size))
    }

    /// The content in memory. Blocks; for tests and small parts.
    ///
    /// # Errors
    /// As [`ScratchFile::open`], and when there is less than [`ScratchFile::size`].
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        self.open()?.read_to_end(&mut out)?;
        if out.len() as u64 != self.size {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the script made the file shorter"));
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_regular_files_of_the_said_size_are_taken() {
        let root = tempfile::tempdir().unwrap();
        let dir = Scratch::create(root.path()).unwrap().worker().unwrap();
        fs::write(dir.out().join("1"), b"0123456789").unwrap();
        symlink("/etc/passwd", dir.out().join("2")).unwrap();
        fs::create_dir(dir.out().join("3")).unwrap();
        let taken = dir.take(1, 10).unwrap();
        assert_eq!(ScratchFile::new(Arc::clone(&taken), 2, 3).read().unwrap(), b"234");
        assert!(dir.take(1, 11).is_err() && dir.take(2, 1).is_err() && dir.take(3, 0).is_err());
        assert!(dir.take(4, 0).is_err());
    }

    #[test]
    fn a_folder_put_in_place_of_out_changes_nothing() {
        let root = tempfile::tempdir().unwrap();
        let dir = Scratch::create(root.path()).unwrap().worker().unwrap();
        fs::write(dir.out().join("1"), b"ours").unwrap();
        fs::rename(dir.out(), dir.path().join("moved")).unwrap();
        symlink("/etc", dir.out()).unwrap();
        assert_eq!(ScratchFile::new(dir.take(1, 4).unwrap(), 0, 4).read().unwrap(), b"ours");
    }

    #[test]
    fn what_a_dead_server_left_is_removed_and_what_a_living_one_has_is_not() {
        let root = tempfile::tempdir().unwrap();
        let living = Scratch::create(root.path()).unwrap();
        let left = root.path().join("s-dead");
        fs::create_dir_all(left.join("1/tmp")).unwrap();
        fs::write(left.join("lock"), b"").unwrap();
        let half_made = root.path().join("s-half");
        fs::create_dir(&half_made).unwrap();
        let other = root.path().join("kept");
        fs::create_dir(&other).unwrap();
        let _second = Scratch::create(root.path()).unwrap();
        assert!(living.path.exists() && other.exists());
        assert!(!left.exists() && !half_made.exists());
    }

    /// Deeper than a stack would last for.
    #[test]
    fn folders_go_however_deep_they_lie() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("s-dead");
        fs::create_dir(&path).unwrap();
        let mut at: OwnedFd = File::open(&path).unwrap().into();
        for _ in 0..20_000 {
            nix::sys::stat::mkdirat(&at, "d", Mode::from_bits_truncate(0o700)).unwrap();
            at = openat(&at, "d", OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
        }
        let _new = Scratch::create(root.path()).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_was_removed_is_made_again() {
        let root = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(root.path()).unwrap();
        fs::remove_dir_all(root.path()).unwrap();
        let dir = scratch.worker().unwrap();
        assert!(dir.tmp().is_dir() && scratch.lib().join(crate::PYTHON_WORKER_FILE).is_file());
        let mode = fs::metadata(root.path()).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700);
        // Another server takes it for living.
        let _other = Scratch::create(root.path()).unwrap();
        assert!(scratch.lib().is_dir());
    }

    #[test]
    fn files_and_folders_go_with_their_last_user() {
        let root = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(root.path()).unwrap();
        let path = scratch.path.clone();
        let dir = scratch.worker().unwrap();
        fs::write(dir.out().join("1"), b"x").unwrap();
        let file = ScratchFile::new(dir.take(1, 1).unwrap(), 0, 1);
        drop((scratch, dir));
        launch::settle_background();
        assert_eq!(file.read().unwrap(), b"x", "its directory waits for it");
        drop(file);
        // Each removal queues the next: file, worker, set.
        (0..3).for_each(|_| launch::settle_background());
        assert!(!path.exists());
    }
}
