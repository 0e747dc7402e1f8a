//! The scratch folder of a call, and how results are taken out of it.
//!
//! While the command runs it may put anything in place of anything in there, a link to other people's files too. So the
//! folder itself is opened before the command starts (its parent is out of the command's reach), and what is read or
//! removed afterwards is reached from there name by name, never by path and never through a link.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::ledger::FileStat;
use opendmp_processor::{NewContent, Stream};
use opendmp_sandbox::folders::TempFolder;

use super::world;
use crate::beneath::{Folder, is_file, version, version_of};

/// The largest result that is held in memory.
const SMALL: u64 = 256 << 10;

const IN: &str = "in";
/// Where the file of `{output}` is.
pub(super) const OUT: &str = "out";
/// The folder of `{outputs}`.
pub(super) const OUTPUTS: &str = "outputs";
const TMP: &str = "tmp";
const CACHE: &str = "cache";

/// See the module. The folder is removed with the value, as the links that are in it by then, not what they lead to.
pub(super) struct Room {
    folder: TempFolder,
    open: Folder,
    input: OsString,
    output: OsString,
}

impl Room {
    /// Makes one below `scratch`, for content and a result of these names, and the file for the content where that is
    /// wanted.
    pub(super) fn make(
        scratch: &Path,
        input: Vec<u8>,
        output: Vec<u8>,
        by_file: bool,
    ) -> io::Result<(Self, Option<File>)> {
        let folder = TempFolder::new(Some(scratch), "external-")?;
        let open = Folder::open(folder.path())?;
        for name in [IN, OUT, OUTPUTS, TMP, CACHE] {
            open.make(name.as_bytes())?;
        }
        let file = by_file.then(|| open.enter(IN.as_bytes())?.create_new(&input)).transpose()?;
        Ok((Self { folder, open, input: OsString::from_vec(input), output: OsString::from_vec(output) }, file))
    }

    /// The path by which the command knows the folder, as all that follow.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The same, open.
    pub(super) fn folder(&self) -> &Folder {
        &self.open
    }

    pub(super) fn input(&self) -> PathBuf {
        self.path().join(IN).join(&self.input)
    }

    pub(super) fn output(&self) -> PathBuf {
        self.path().join(OUT).join(&self.output)
    }

    pub(super) fn outputs(&self) -> PathBuf {
        self.path().join(OUTPUTS)
    }

    /// What the command sees as `/tmp`.
    pub(super) fn tmp(&self) -> PathBuf {
        self.path().join(TMP)
    }

    pub(super) fn cache(&self) -> PathBuf {
        self.path().join(CACHE)
    }

    pub(super) fn output_name(&self) -> &[u8] {
        self.output.as_bytes()
    }
}

/// An open folder with results; it keeps the scratch folder.
pub(super) struct Shelf {
    folder: Folder,
    _room: Arc<Room>,
}

impl Shelf {
    fn enter(room: &Arc<Room>, name: &str) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { folder: room.open.enter(name.as_bytes())?, _room: Arc::clone(room) }))
    }

    /// Makes the file for standard output, before the command starts: to be written by it, and to be read afterwards.
    pub(super) fn with_output(room: &Arc<Room>) -> io::Result<(Arc<Self>, File, File)> {
        let shelf = Self::enter(room, OUT)?;
        let name = room.output_name();
        let (write, read) = (shelf.folder.create_new(name)?, shelf.folder.read(name)?);
        Ok((shelf, write, read))
    }

    /// The folder into which a command wrote. It may have made it anew, but anything else in its place is refused.
    ///
    /// # Errors
    /// The step's where there is no such folder any more.
    pub(super) fn find(room: &Arc<Room>, name: &str, command: &str) -> Result<Arc<Self>, Fault> {
        Self::enter(room, name).map_err(|error| {
            let end = match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
                Some(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => "replaced by something else",
                Some(rustix::io::Errno::NOENT) => "removed",
                _ => return unreadable("opening the output folder", &error),
            };
            let message =
                format!("`{command}` ended well, but the output folder was {end}: `{name}` in its scratch folder");
            Fault::new(FaultKind::Failed, "output-replaced", message)
                .with_hint("write the results into the folder that is there; links in its place are not followed")
        })
    }

    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Opens a result; `None` where no regular file has the name. A pipe is not waited for, a device not touched.
    ///
    /// # Errors
    /// The step's where it made the file unreadable.
    pub(super) fn file(&self, name: &[u8]) -> Result<Option<File>, Fault> {
        let failed = |error| unreadable("opening a result", &error);
        if !self.folder.look(name).map_err(failed)?.is_some_and(|stat| is_file(&stat)) {
            return Ok(None);
        }
        let file = self.folder.read(name).map_err(failed)?;
        // What the command left running may have put something else there since.
        Ok(file.metadata().map_err(failed)?.is_file().then_some(file))
    }
}

/// A failure to read what the command left: its own doing where it took the right away.
pub(super) fn unreadable(what: &str, error: &io::Error) -> Fault {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return world(what, error);
    }
    Fault::new(FaultKind::Failed, "unreadable-output", format!("{what}: {error}"))
        .with_hint("the command must leave its results and their folder readable for the server's user")
}

/// A result: in memory where it is small, else left in its folder, which is kept for as long as it is needed.
pub(super) fn content(shelf: &Arc<Shelf>, name: &[u8], mut file: File) -> Result<NewContent, Fault> {
    let failed = |error| world("reading a result", &error);
    if file.metadata().map_err(failed)?.len() <= SMALL {
        let mut bytes = Vec::new();
        file.by_ref().take(SMALL + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 <= SMALL {
            return Ok(NewContent::Bytes(Bytes::from(bytes)));
        }
    }
    Ok(NewContent::Stream(Arc::new(Kept { file, name: name.to_owned(), shelf: Arc::clone(shelf) })))
}

/// A large result, open; its name is removed when it is dropped, so that its room on the disk is free at once.
struct Kept {
    file: File,
    name: Vec<u8>,
    shelf: Arc<Shelf>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let named = self.shelf.folder.stat(&self.name).ok().map(|stat| version(&stat));
        let open = version_of(&self.file).ok();
        let identity = |version: FileStat| (version.device, version.inode);
        if named.is_some() && named.map(identity) == open.map(identity) {
            // Where it fails, the file goes with the scratch folder.
            let _ = self.shelf.folder.unlink(&self.name);
        }
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.file.fmt(f)
    }
}

impl Stream for Kept {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        Ok(Box::new(file))
    }
}
