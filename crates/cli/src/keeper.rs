//! Keeps what a server needs of its data directory while it runs: the lock, the socket, and the folders for what is
//! temporary are made again where somebody removed them; what can't be made again is a health issue.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::AccessFlags;
use opendmp_api::{Router, SOCKET, Service, serve_unix};
use opendmp_journal::lock::DataDirLock;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::data::DataDir;
use crate::fail::Fail;
use crate::{limits, words};

/// How often it looks.
const LOOK: Duration = Duration::from_secs(2);

/// After how many looks open files are counted, which takes as long as all the rest.
const COUNT: u32 = 5;

/// Folders that may be removed at any time, and are made again.
const FOLDERS: [&str; 3] = ["scratch", "uploads", "environments"];

/// Folders without which content is lost.
const CONTENT: [&str; 3] = ["content", "content/packs", "content/files"];

/// What health issues are about.
const DIRECTORY: &str = "path of the data directory";
const LOCK: &str = "lock";
const ABOUT_SOCKET: &str = "socket";
const ABOUT_CONTENT: &str = "stored content";
const FOLDER: &str = "folders";
const FILES: &str = "open files";

/// Device and inode of what a path names, without following a link.
type Identity = (u64, u64);

fn identity(path: &Path) -> Option<Identity> {
    path.symlink_metadata().ok().map(|meta| (meta.dev(), meta.ino()))
}

/// The socket in its place, and who serves it.
pub struct Socket {
    is: Option<Identity>,
    stop: watch::Sender<bool>,
    served: JoinHandle<io::Result<()>>,
}

impl Socket {
    /// Serves a listener that was bound to the socket of a data directory.
    pub fn serve(data: &DataDir, listener: UnixListener, router: Router) -> Self {
        let stop = watch::Sender::new(false);
        let mut stopped = stop.subscribe();
        let until = async move {
            // Dropped: it ends, too.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let served = tokio::spawn(serve_unix(listener, router, until));
        Self { is: identity(&data.path().join(SOCKET)), stop, served }
    }

    fn is_in_place(&self, data: &DataDir) -> bool {
        let path = data.path().join(SOCKET);
        path.symlink_metadata().is_ok_and(|meta| meta.file_type().is_socket()) && identity(&path) == self.is
    }

    /// Answers what is under way, and ends.
    async fn end(self) {
        self.stop.send_replace(true);
        let _ = tokio::time::timeout(Duration::from_secs(1), self.served).await;
    }
}

/// A data directory as it is when a server takes it.
#[derive(Clone, Debug)]
pub struct Place {
    data: DataDir,
    is: Option<Identity>,
}

impl Place {
    /// To be called under the lock.
    pub fn of(data: &DataDir) -> Self {
        Self { data: data.clone(), is: followed(data.path()) }
    }

    /// What is wrong with it, with what can be done.
    fn wrong(&self) -> Option<(String, String)> {
        let path = self.data.path();
        match path.metadata() {
            Err(error) if !is_missing(&error) => Some(unusable(path, &error)),
            Ok(now) if Some((now.dev(), now.ino())) == self.is => {
                usable(path).err().map(|error| unusable(path, &error))
            }
            // The path names another directory now, or none.
            Ok(_) | Err(_) => {
                let message = format!("{} was moved or removed while the server runs", path.display());
                Some((message, "move the directory back to its path; work continues without a restart".to_owned()))
            }
        }
    }
}

/// Device and inode of a folder, behind links.
fn followed(path: &Path) -> Option<Identity> {
    path.metadata().ok().map(|meta| (meta.dev(), meta.ino()))
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether a path names a folder that can be listed, entered and written to. Nothing is opened for that, so that it is
/// true also where too many files are open.
fn usable(path: &Path) -> io::Result<()> {
    if !path.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(nix::unistd::access(path, AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK)?)
}

/// What is said of a folder that is there and can't be used, with what can be done.
fn unusable(path: &Path, error: &io::Error) -> (String, String) {
    let message = format!("{} can't be used: {}", path.display(), words::io(error));
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let user = crate::data::actor();
            let path = words::name(&path.display().to_string());
            format!(
                "OpenDMP runs as {user}: `chmod u+rwx '{path}'` where that is the owner, else `chown -R {user} '{path}'`; \
                 work goes on by itself"
            )
        }
        io::ErrorKind::ReadOnlyFilesystem => "mount that disk writable; work goes on by itself".to_owned(),
        _ => "check the disk of the data directory".to_owned(),
    };
    (message, hint)
}

/// What is wrong with the folders of content, with what can be done.
fn content_wrong(data: &Path) -> Option<(String, String)> {
    CONTENT.iter().find_map(|name| {
        let path = data.join(name);
        let error = usable(&path).err()?;
        if !is_missing(&error) {
            return Some(unusable(&path, &error));
        }
        let message = format!("`{name}` is missing in {}: results and inputs that were in it can't be read", data.display());
        let hint = "if it was moved or unmounted, put the very folder back; if it is lost, stop the server and restore a \
                    backup: `opendmp restore FROM --data-dir NEW`";
        Some((message, hint.to_owned()))
    })
}

/// See the module.
pub struct Keeper {
    place: Place,
    service: Arc<Service>,
    router: Router,
    socket: Socket,
    bind: fn(&DataDir) -> Result<UnixListener, Fail>,
    lock: Arc<DataDirLock>,
}

impl Keeper {
    /// Of a server that has begun.
    pub fn new(
        place: Place,
        service: Arc<Service>,
        router: Router,
        socket: Socket,
        bind: fn(&DataDir) -> Result<UnixListener, Fail>,
        lock: Arc<DataDirLock>,
    ) -> Self {
        Self { place, service, router, socket, bind, lock }
    }

    /// Looks until `stop`, then ends the socket.
    pub async fn keep(mut self, mut stop: watch::Receiver<bool>) {
        let mut looks = 0u32;
        while !*stop.borrow() {
            if looks.is_multiple_of(COUNT) {
                self.count_files();
            }
            looks = looks.wrapping_add(1);
            self.look().await;
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = stop.changed() => {}
            }
        }
        self.socket.end().await;
    }

    fn count_files(&self) {
        let engine = self.service.engine();
        match limits::nearly_all_files() {
            Some((open, limit)) => engine.trouble(
                FILES,
                &format!("{open} of the {limit} files that may be open at once are in use"),
                Some("raise the limit (`ulimit -n`, LimitNOFILE=), or close connections"),
            ),
            None => engine.clear_trouble(FILES),
        }
    }

    async fn look(&mut self) {
        let engine = Arc::clone(self.service.engine());
        let path = self.place.data.path().to_owned();
        if let Some((message, hint)) = self.place.wrong() {
            engine.trouble(DIRECTORY, &message, Some(&hint));
            // Whatever is there now is not this server's.
            return;
        }
        engine.clear_trouble(DIRECTORY);
        let lock = Arc::clone(&self.lock);
        match tokio::task::spawn_blocking(move || lock.renew()).await {
            Ok(Err(error)) => {
                engine.trouble(LOCK, &error.message, error.hint.as_deref());
                return;
            }
            Ok(Ok(())) | Err(_) => engine.clear_trouble(LOCK),
        }
        match self.keep_socket().await {
            Ok(()) => engine.clear_trouble(ABOUT_SOCKET),
            Err(fail) => engine.trouble(ABOUT_SOCKET, &fail.message, fail.hint.as_deref()),
        }
        match keep_folders(&path) {
            Ok(()) => engine.clear_trouble(FOLDER),
            Err(fail) => engine.trouble(FOLDER, &fail.message, fail.hint.as_deref()),
        }
        match content_wrong(&path) {
            Some((message, hint)) => engine.trouble(ABOUT_CONTENT, &message, Some(&hint)),
            None => engine.clear_trouble(ABOUT_CONTENT),
        }
    }

    /// Binds the socket again where it was removed or replaced.
    async fn keep_socket(&mut self) -> Result<(), Fail> {
        if self.socket.is_in_place(&self.place.data) {
            return Ok(());
        }
        let listener = (self.bind)(&self.place.data)?;
        let new = Socket::serve(&self.place.data, listener, self.router.clone());
        tracing::warn!("the socket was removed, and is made again");
        std::mem::replace(&mut self.socket, new).end().await;
        Ok(())
    }
}

/// Makes the folders that are missing.
fn keep_folders(data: &Path) -> Result<(), Fail> {
    for name in FOLDERS {
        let path = data.join(name);
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => tracing::info!(path = %path.display(), "a folder was missing, and is made"),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Fail::io(format_args!("{} can't be made", path.display()), &error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_without_rights_is_not_missing() {
        let dir = tempfile::tempdir().unwrap();
        let told = || content_wrong(dir.path()).unwrap();
        assert!(told().0.contains("`content` is missing") && told().1.contains("restore"));
        std::fs::create_dir_all(dir.path().join("content/packs")).unwrap();
        std::fs::create_dir_all(dir.path().join("content/files")).unwrap();
        assert_eq!(content_wrong(dir.path()), None);
        std::fs::remove_dir(dir.path().join("content/files")).unwrap();
        std::fs::write(dir.path().join("content/files"), "").unwrap();
        assert!(told().0.contains("`content/files` is missing"));
        let refused = unusable(&dir.path().join("content"), &io::ErrorKind::PermissionDenied.into());
        assert!(refused.0.contains("content can't be used"), "{refused:?}");
        assert!(refused.1.contains("chmod u+rwx") && refused.1.contains("chown"), "{refused:?}");
    }

    #[test]
    fn folders_are_made_again_for_nobody_else_to_read() {
        let dir = tempfile::tempdir().unwrap();
        keep_folders(dir.path()).unwrap();
        std::fs::remove_dir(dir.path().join("uploads")).unwrap();
        keep_folders(dir.path()).unwrap();
        assert!(FOLDERS.iter().all(|name| dir.path().join(name).is_dir()));
        let mode = dir.path().join("scratch").metadata().unwrap().mode() & 0o777;
        assert_eq!(mode, 0o700);
        assert!(keep_folders(&dir.path().join("missing")).is_err(), "the directory itself is not made");
    }
}
