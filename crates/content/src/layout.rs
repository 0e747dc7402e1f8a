//! Where things are under the root, what makes a directory ours, and what is found in it at the start.
//!
//! ```text
//! format               the format of all this, in words
//! lock                 locked by the process that uses it
//! journal              whose content it is, and how far its journal had come: name and sequence number, in the last
//!                      line that is whole
//! whole                locked by who copies or checks everything, shared, or collects garbage
//! packs/NNNNNNNN.pack  small content (see `record`)
//! packs/NNNNNNNN.freed what was let go of it (see `freed`)
//! files/ab/cdef….G     large content: the hash in hexadecimal, the generation
//! tmp/                 what is being written; emptied at the start
//! ../content.reach     how far all this had come (see `reach`)
//! ```
//! Whatever has a name under `files` was durable before it got the name. Packs may end in a record that was torn by a
//! crash: no durable reference names it, and nothing is appended to a pack of an earlier process.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use opendmp_model::ids::ContentHash;
use opendmp_ports::journal::{JournalMark, Seq};
use opendmp_ports::{Error, ErrorKind, Result};
use tempfile::NamedTempFile;

use crate::freed;
use crate::place::{self, Folder, Identity, Opened, PLACE, away, identity};
use crate::reach::Reach;
use crate::record::PACK_HEADER;

/// Version of the layout and of everything in it.
const FORMAT: u32 = 1;
const FORMAT_TITLE: &str = "opendmp content";
const START: &str = "content start";
const FOLLOW: &str = "content follow journal";

/// The file that is locked.
const LOCK: &str = "lock";

/// The folders in the root.
pub const PACKS: &str = "packs";
const FILES: &str = "files";
const TMP: &str = "tmp";

/// How long the start waits for the lock: the last calls of a store that was just dropped may still be ending.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// The paths of a store; holds its lock.
#[derive(Debug)]
pub struct Layout {
    root: PathBuf,
    /// Open, too, so that nobody else gets the lock or the inode.
    _lock: File,
    lock_is: Identity,
    /// The root as it was opened.
    opened: Opened,
    /// `packs` and `files`.
    folders: Vec<Folder>,
}

/// What is in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    /// Highest number of a pack, 0 without packs.
    pub last_pack: u64,
    /// What packs and files there are.
    pub reach: Reach,
    /// Bytes of all packs and files.
    pub bytes: u64,
}

/// An error of the operating system in a call that changes the disk. That something is missing there is not the
/// caller's business, so it does not become `NotFound`.
pub fn write_error(operation: &'static str, what: impl std::fmt::Display, error: &io::Error) -> Error {
    // One of a store that is not in its place, on its way through calls of the system.
    if let Some(said) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        return said.clone();
    }
    let mut made = Error::io(operation, what, error);
    if made.kind == ErrorKind::NotFound {
        made.kind = ErrorKind::Unavailable;
    }
    let broken = error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
    if broken || error.kind() == io::ErrorKind::ReadOnlyFilesystem {
        made = made.with_hint("that disk or its file system has errors: check it (`dmesg` may say more)");
    }
    made
}

impl Layout {
    /// Free bytes of the disk.
    pub fn free(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.root)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Locks the root, makes or checks what must be in it, and empties `tmp`.
    pub fn open(root: &Path) -> Result<Self> {
        let failed = |what: &'static str| {
            move |error: io::Error| write_error(START, format_args!("{what} in {}", root.display()), &error)
        };
        let made = !root.exists();
        DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(failed("making the directory"))?;
        if made {
            let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            sync_dir(parent).map_err(failed("making the directory"))?;
        }
        let opened = File::open(root).and_then(Opened::new).map_err(failed("opening the directory"))?;
        let lock = lock(root)?;
        let lock_is = identity(&lock.metadata().map_err(failed("looking at the lock"))?);
        let mut layout = Self { root: root.to_owned(), _lock: lock, lock_is, opened, folders: Vec::new() };
        layout.check_format()?;
        // Not made where they are to be put back.
        if let Some(reach) = Reach::read(root)? {
            reach.check_folders(root)?;
        }
        for dir in [layout.packs(), layout.files(), layout.tmp()] {
            match DirBuilder::new().mode(0o700).create(&dir) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(failed("making a directory")(error));
                }
                _ => {}
            }
            // Names that a process before this one made and did not sync are durable from here on.
            sync_dir(&dir).map_err(failed("syncing a directory"))?;
        }
        sync_dir(root).map_err(failed("syncing the directory"))?;
        for name in [PACKS, FILES] {
            let folder = Folder::open(root, name, layout.opened.is).map_err(failed("opening a directory"))?;
            folder.check_mount(&layout.opened)?;
            layout.folders.push(folder);
        }
        layout.check_place()?;
        for entry in fs::read_dir(layout.tmp()).map_err(failed("emptying tmp"))? {
            let entry = entry.map_err(failed("emptying tmp"))?;
            // Folders are not made there: whatever they are, they are someone else's.
            if !entry.file_type().map_err(failed("emptying tmp"))?.is_dir() {
                fs::remove_file(entry.path()).map_err(failed("emptying tmp"))?;
            }
        }
        Ok(layout)
    }

    /// Errs where the directory is not in its place any more: what is written would come into another one. Two looks at
    /// what the system has in memory.
    pub fn check_root(&self) -> Result<()> {
        let at = |path: &Path| match path.metadata() {
            Ok(found) => Ok(Some(identity(&found))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(Error::io(PLACE, path.display(), &error)),
        };
        let root = self.root.display();
        if at(&self.root)? != Some(self.opened.is) {
            return Err(away(format!("{root} was removed or replaced while it was in use"))
                .with_hint("put the very folder back where it was, with the file `lock` in it; then work goes on"));
        }
        if at(&self.root.join(LOCK))? != Some(self.lock_is) {
            return Err(away(format!("the file `{LOCK}` in {root} was removed or replaced while it was in use"))
                .with_hint("put the very file back, or restart opendmp; then work goes on"));
        }
        Ok(())
    }

    /// The same of the folders in it, too.
    pub fn check_place(&self) -> Result<()> {
        self.check_root()?;
        self.folders.iter().try_for_each(|folder| folder.check().map(|_| ()))
    }

    /// The journal that was followed last.
    pub fn read_mark(&self) -> Result<Option<JournalMark>> {
        let path = self.mark();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(FOLLOW, path.display(), &error)),
        };
        let mark = |line: &str| {
            let (journal, seq) = line.split_once(' ')?;
            Some(JournalMark { journal: journal.to_owned(), seq: Seq(seq.parse().ok()?) })
        };
        // The last may be torn.
        let parsed = text.lines().map_while(mark).last();
        parsed.map(Some).ok_or_else(|| {
            Error::new(ErrorKind::Damaged, FOLLOW, format!("{} is not as written", path.display())).with_hint(
                "it says whose content this is; if nothing else is wrong with the data directory, remove that file",
            )
        })
    }

    /// Writes it, durably.
    pub fn write_mark(&self, mark: &JournalMark) -> Result<()> {
        let path = self.mark();
        let write = || {
            let mut temp = self.temp()?;
            writeln!(temp, "{} {}", mark.journal, mark.seq.0)?;
            temp.as_file().sync_all()?;
            temp.persist(&path).map_err(|error| error.error)?;
            sync_dir(&self.root)
        };
        write().map_err(|error| write_error(FOLLOW, format_args!("writing {}", path.display()), &error))
    }

    /// Writes that the journal has come further, without waiting for the disk: what a process that is killed leaves.
    pub fn note_mark(&self, mark: &JournalMark) -> Result<()> {
        let path = self.mark();
        let write = || {
            let line = format!("{} {}\n", mark.journal, mark.seq.0);
            OpenOptions::new().append(true).open(&path)?.write_all(line.as_bytes())
        };
        write().map_err(|error| write_error(FOLLOW, format_args!("writing {}", path.display()), &error))
    }

    /// The file with the mark of the journal.
    pub fn mark(&self) -> PathBuf {
        self.root.join("journal")
    }

    fn check_format(&self) -> Result<()> {
        let (path, root) = (self.root.join("format"), self.root.display());
        let mut text = String::new();
        let read = File::open(&path).and_then(|file| file.take(1_024).read_to_string(&mut text));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.make_format(&path),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => text.clear(),
            Err(error) => return Err(Error::io(START, format_args!("reading {}", path.display()), &error)),
        }
        let number = text.strip_prefix(FORMAT_TITLE).and_then(|rest| rest.trim().parse::<u32>().ok());
        match number {
            Some(FORMAT) => Ok(()),
            Some(newer) if newer > FORMAT => Err(Error::new(
                ErrorKind::Newer,
                START,
                format!("the content in {root} is of format {newer}, and this program reads up to {FORMAT}"),
            )
            .with_hint("use the version of opendmp that wrote it, or a later one")),
            _ => Err(Error::new(ErrorKind::Damaged, START, format!("{} is not as written", path.display()))
                .with_hint(format!("it should say `{FORMAT_TITLE} {FORMAT}`; restore it from a backup"))),
        }
    }

    fn make_format(&self, path: &Path) -> Result<()> {
        let used = |dir: PathBuf| fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
        if used(self.packs()) || used(self.files()) {
            return Err(Error::new(ErrorKind::Damaged, START, format!("{} is missing", path.display()))
                .with_hint(format!("if nothing else is wrong, write `{FORMAT_TITLE} {FORMAT}` to it")));
        }
        let make = || {
            let mut temp = tempfile::Builder::new().prefix("format").tempfile_in(&self.root)?;
            writeln!(temp, "{FORMAT_TITLE} {FORMAT}")?;
            temp.as_file().sync_all()?;
            temp.persist(path).map_err(|error| error.error)?;
            sync_dir(&self.root)
        };
        make().map_err(|error| write_error(START, format_args!("writing {}", path.display()), &error))
    }

    /// Counts what is there. Removes packs without a record, which a crash leaves behind.
    pub fn take_stock(&self) -> Result<Stock> {
        self.count().map_err(|error| Error::io(START, format_args!("listing {}", self.root.display()), &error))
    }

    fn count(&self) -> io::Result<Stock> {
        let mut stock = Stock::default();
        let mut freed = Vec::new();
        for entry in fs::read_dir(self.packs())? {
            let entry = entry?;
            freed.extend(freed_number(&entry.path()));
            let Some(number) = pack_number(&entry.path()) else { continue };
            stock.last_pack = stock.last_pack.max(number);
            match entry.metadata()?.len() {
                len if len <= PACK_HEADER as u64 => fs::remove_file(entry.path())?,
                len => {
                    stock.bytes += len;
                    stock.reach.packs.insert(number);
                    if stock.reach.packs.last() == Some(&number) {
                        stock.reach.length = len;
                    }
                }
            }
        }
        for number in freed {
            match self.pack(number).exists() {
                // One that can't be read is told by a verification, and written anew by the next collection.
                true => stock.bytes -= freed::read(&self.root, number).map_or(0, |(ranges, _)| ranges.bytes()),
                false => freed::forget(&self.root, number)?,
            }
        }
        for dir in fs::read_dir(self.files())? {
            let dir = dir?;
            if !dir.file_type()?.is_dir() {
                continue;
            }
            // Collections of garbage leave the folder.
            stock.reach.files = true;
            for file in fs::read_dir(dir.path())? {
                stock.bytes += file?.metadata()?.len();
            }
        }
        Ok(stock)
    }

    /// The root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of all packs.
    pub fn packs(&self) -> PathBuf {
        Paths(&self.root).packs()
    }

    /// One pack.
    pub fn pack(&self, number: u64) -> PathBuf {
        Paths(&self.root).pack(number)
    }

    /// The folder above the folders of all files.
    pub fn files(&self) -> PathBuf {
        Paths(&self.root).files()
    }

    /// The folder of the files whose hash begins as this one.
    pub fn file_dir(&self, hash: ContentHash) -> PathBuf {
        Paths(&self.root).file_dir(hash)
    }

    /// One file.
    pub fn file(&self, hash: ContentHash, generation: u32) -> PathBuf {
        Paths(&self.root).file(hash, generation)
    }

    fn tmp(&self) -> PathBuf {
        Paths(&self.root).tmp()
    }

    /// Does something that needs the folders of a store; where one is missing because somebody removed it, it is made
    /// again. What was in it is lost.
    pub fn with_folders<T>(&self, mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match work() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.mend()? => work(),
            done => done,
        }
    }

    /// Makes `packs` and `files` again where they are missing. Answers whether one was; errs where the root itself is not
    /// in its place, or a folder is elsewhere.
    pub fn keep_folders(&self) -> Result<bool> {
        self.check_root()?;
        let mut made = false;
        for folder in &self.folders {
            made |= folder.make_again(&self.opened)?;
        }
        if made {
            let synced = self.opened.file.sync_all();
            synced.map_err(|error| write_error(PLACE, format_args!("syncing {}", self.root.display()), &error))?;
        }
        Ok(made)
    }

    /// The folders that were removed since this was asked last, and are made again: their names, and what was there.
    pub fn take_former(&self) -> Vec<(&'static str, File)> {
        let former = self.folders.iter().filter_map(|folder| Some((folder.name(), folder.take_former()?)));
        former.collect()
    }

    /// The same, and `tmp`.
    fn mend(&self) -> io::Result<bool> {
        let made = self.keep_folders().map_err(io::Error::other)?;
        Ok(place::make_in(&self.opened, TMP)? || made)
    }

    /// Errs unless an open file is what a path below the root names, and all is in its place: what it holds is stored.
    pub fn check_stored(&self, path: &Path, file: &File) -> io::Result<()> {
        self.check_place().map_err(io::Error::other)?;
        if self.has(path, file) {
            return Ok(());
        }
        Err(io::Error::other(away(format!("{} was removed while it was written", path.display()))))
    }

    /// Whether an open file is still what a path names, as far as that may be seen.
    pub fn has(&self, path: &Path, file: &File) -> bool {
        match fs::symlink_metadata(path) {
            Ok(named) => file.metadata().is_ok_and(|open| identity(&named) == identity(&open)),
            Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
        }
    }

    /// A new file (0600), removed when dropped.
    pub fn temp(&self) -> io::Result<NamedTempFile> {
        self.check_place().map_err(io::Error::other)?;
        self.with_folders(|| tempfile::Builder::new().prefix("put-").tempfile_in(self.tmp()))
    }

    /// A new, empty pack.
    pub fn create_pack(&self, number: u64) -> io::Result<File> {
        let mut open = OpenOptions::new();
        open.write(true).read(true).create_new(true).mode(0o600);
        self.with_folders(|| open.open(self.pack(number)))
    }
}

/// The paths under a root, whoever has it locked.
#[derive(Clone, Copy, Debug)]
pub struct Paths<'a>(pub &'a Path);

impl Paths<'_> {
    /// What says the format.
    pub fn format(self) -> PathBuf {
        self.0.join("format")
    }

    /// The folder of all packs.
    pub fn packs(self) -> PathBuf {
        self.0.join(PACKS)
    }

    /// One pack.
    pub fn pack(self, number: u64) -> PathBuf {
        self.packs().join(format!("{number:08}.pack"))
    }

    /// What was let go of a pack.
    pub fn freed(self, number: u64) -> PathBuf {
        self.packs().join(format!("{number:08}.freed"))
    }

    /// Locked shared by who copies or checks everything, and by who collects garbage.
    pub fn whole(self) -> PathBuf {
        self.0.join("whole")
    }

    /// The folder above the folders of all files.
    pub fn files(self) -> PathBuf {
        self.0.join(FILES)
    }

    /// The folder of the files whose hash begins as this one.
    pub fn file_dir(self, hash: ContentHash) -> PathBuf {
        self.files().join(hash.short(2))
    }

    /// One file.
    pub fn file(self, hash: ContentHash, generation: u32) -> PathBuf {
        self.file_dir(hash).join(format!("{}.{generation}", &hash.to_hex()[2..]))
    }

    /// What is being written.
    pub fn tmp(self) -> PathBuf {
        self.0.join(TMP)
    }
}

/// What the format file says.
pub fn format_text() -> String {
    format!("{FORMAT_TITLE} {FORMAT}\n")
}

/// The number of a pack by its path.
pub fn pack_number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".pack")?.parse().ok()
}

/// The number of a pack by the path of what was let go of it.
fn freed_number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".freed")?.parse().ok()
}

/// Hash and generation of large content by its path.
pub fn file_key(path: &Path) -> Option<(ContentHash, u32)> {
    let (rest, generation) = path.file_name()?.to_str()?.split_once('.')?;
    let hash = format!("{}{rest}", path.parent()?.file_name()?.to_str()?);
    Some((ContentHash::from_hex(&hash)?, generation.parse().ok()?))
}

/// Makes the names in a directory durable.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn lock(root: &Path) -> Result<File> {
    let path = root.join(LOCK);
    let failed = |error: io::Error| write_error(START, format_args!("locking {}", path.display()), &error);
    let mut open = OpenOptions::new();
    let file = open.write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_WAIT => {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the start blocks, as it says, and a lock can't be awaited"
                )]
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => {
                let message = format!("{} is in use by another process", root.display());
                return Err(Error::new(ErrorKind::Conflict, START, message)
                    .with_hint("stop the other opendmp, or give this one a data directory of its own"));
            }
        }
    }
}
