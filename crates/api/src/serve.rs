//! Routes on sockets: TCP for the page and those who have the access token, the Unix socket in the data directory for the
//! command line. How many may come, and how slowly they may ask, is bounded here; what a body may do in `request`.
//!
//! Who may reach the Unix socket is decided by its mode and its folder's. A script's process is of the same user, and
//! the sandbox can't keep it from a socket on every kernel; so such peers are told apart here and turned away.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// The pause after an accept that failed for want of descriptors or memory.
const BREATH: Duration = Duration::from_millis(100);

/// Connections of a listener at a time; more wait until one of them ends.
const MOST: usize = 24_000;

/// How long the head of a request may take to come, also of the first one and of one that follows another.
const HEAD: Duration = Duration::from_secs(30);

/// Serves until `stop` resolves and what is under way has been answered.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve_tcp(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve(listener, router, stop).await
}

/// The same on a Unix socket.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve_unix(
    listener: UnixListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve(Guarded(listener), router, stop).await
}

/// HTTP/1.1 on each connection (RFC 9112), which is all that browsers speak without TLS.
async fn serve<L: Listener>(mut listener: L, router: Router, stop: impl Future<Output = ()>) -> io::Result<()> {
    let (room, under_way) = (Arc::new(Semaphore::new(MOST)), GracefulShutdown::new());
    // Of the whole, not one for each connection: it holds all routes.
    let service = TowerToHyperService::new(router.with_state::<()>(()));
    let mut stop = pin!(stop);
    loop {
        let next = async {
            let place = Arc::clone(&room).acquire_owned().await.ok();
            (listener.accept().await.0, place)
        };
        let (stream, place) = tokio::select! {
            next = next => next,
            () = &mut stop => break,
        };
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD);
        let connection = under_way.watch(http.serve_connection(TokioIo::new(stream), service.clone()));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke off");
            }
            drop(place);
        });
    }
    // Nobody new is let in while those are answered who are.
    drop(listener);
    under_way.shutdown().await;
    Ok(())
}

struct Guarded(UnixListener);

impl Listener for Guarded {
    type Io = UnixStream;
    type Addr = tokio::net::unix::SocketAddr;

    async fn accept(&mut self) -> (UnixStream, Self::Addr) {
        loop {
            match self.0.accept().await {
                Ok((stream, address)) => match peer(&stream) {
                    Ok(()) => return (stream, address),
                    Err(why) => tracing::warn!(why, "a connection was turned away"),
                },
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// Whether the other end may ask: in words why not.
#[cfg(target_os = "linux")]
fn peer(stream: &UnixStream) -> Result<(), &'static str> {
    let peer = stream.peer_cred().map_err(|_| "it can't be told who it is from")?;
    let Some(pid) = peer.pid() else { return Ok(()) };
    let (own, other) = (Process::read("self"), Process::read(&pid.to_string()));
    // It has ended already, so nobody waits for an answer.
    let Some(other) = other else { return Err("the process that made it has ended") };
    // What a sandbox sets stays with all children. If this process has it, too, it tells nothing.
    if other.no_new_privileges && !own.is_some_and(|own| own.no_new_privileges) {
        return Err("it is from a process in a sandbox, such as a script");
    }
    let mut parent = other.parent;
    while parent > 1 {
        if parent == std::process::id() {
            return Err("it is from a process that this server started, such as a script");
        }
        parent = Process::read(&parent.to_string()).map_or(0, |process| process.parent);
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn peer(_: &UnixStream) -> Result<(), &'static str> {
    Ok(())
}

/// What `/proc` tells of a process.
#[cfg(target_os = "linux")]
struct Process {
    parent: u32,
    no_new_privileges: bool,
}

#[cfg(target_os = "linux")]
impl Process {
    fn read(name: &str) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{name}/status")).ok()?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        Some(Self { parent: field("PPid:")?.parse().ok()?, no_new_privileges: field("NoNewPrivs:") == Some("1") })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_of_the_server_is_turned_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        // Its own process is no child of itself.
        let _here = UnixStream::connect(&path).await.unwrap();
        assert_eq!(peer(&listener.accept().await.unwrap().0), Ok(()));
        let connect = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.recv(1)";
        let mut child = std::process::Command::new("python3").args(["-c", connect]).arg(&path).spawn().unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let answer = peer(&stream);
        drop(stream);
        child.wait().unwrap();
        assert!(answer.unwrap_err().contains("this server started"));
    }
}
