//! `opendmp serve`: the server, until it is asked to stop.

use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use opendmp_api::rows::{Setting, SettingFrom};
use opendmp_api::{Access, SOCKET, Service, http, router, serve_tcp};
use opendmp_engine::Quotas;
use opendmp_engine::health::{WATCHER, WATCHER_HINT};
use opendmp_engine::watch::Folders;
use opendmp_journal::lock::DataDirLock;
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing_subscriber::EnvFilter;

use crate::data::{Bounds, DataDir, Opened};
use crate::fail::Fail;
use crate::keeper::{Keeper, Place, Socket};
use crate::limits::{self, Short};
use crate::signals::Signals;
use crate::target::Target;
use crate::term::Term;
use crate::words;

/// The directives of the log.
const LOG: &str = "OPENDMP_LOG";

/// The file with the access token, in the data directory.
pub(super) const TOKEN: &str = "access-token";

/// The shortest token that is taken.
const LENGTH: usize = 32;

/// Threads that answer requests; what takes long is done on others.
const FRONT: usize = 2;

/// Connections that may wait to be accepted.
const WAITING: u32 = 1_024;

/// How often a start on a full disk is tried again.
const FULL: Duration = Duration::from_millis(500);

/// How long a verb that has the lock may take to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// What `serve` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opendmp serve
  opendmp serve --data-root /srv/data --log-format json
  curl -H \"Authorization: Bearer $(cat DATA_DIR/access-token)\" http://127.0.0.1:7117/metrics

On a terminal it prints a link that opens the web page. Elsewhere (a pipe, a file, a service's
journal) it does not, since others may read that: `opendmp token --link` makes a link that works
once. The link that `serve` prints contains the access token, which is kept in the file
`access-token` of the data directory and made again where that is missing. Without the token only
/healthz, /readyz and /livez are answered, each in one word. The commands of `opendmp` need no
token: they reach the server through a socket in the data directory that only its owner may use.

SIGTERM, Ctrl-C or closing its terminal stops it: what is in work may finish for as long as
--grace says, the rest is handed back unharmed; a second signal ends the grace. Under `nohup` a
closed terminal does not stop it.

OPENDMP_RESERVE (64 MiB unless set) is the disk space that input leaves free on the disk of the data
directory: an input that would use it waits. With less than half of it free no new step starts;
exports, and deleting or moving what was ingested, go on.")]
pub struct Args {
    /// Where to answer the web page and the API; a loopback address, port 0 for any that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7117")]
    listen: String,
    /// Let --listen be an address that other machines reach, though nothing is encrypted and whoever has the token, or
    /// reads it on the way, may run code as you
    #[arg(long)]
    insecure_listen_on_network: bool,
    /// A folder that the paths of flows may not leave; can be given more than once. Without it they may go wherever
    /// the user may who runs the server
    #[arg(long = "data-root", value_name = "DIR")]
    roots: Vec<PathBuf>,
    /// A folder that every script and command may write; can be given more than once. Elsewhere they can only read,
    /// unless a processor names a folder in `writable`
    #[arg(long, value_name = "DIR")]
    writable: Vec<PathBuf>,
    /// The most that stored content may take, as 500GiB: an input that does not fit waits until there is space; what is
    /// under way goes on
    #[arg(long, value_name = "SIZE", value_parser = crate::args::size)]
    content_quota: Option<u64>,
    /// Take nothing more in when the items of open dead letters take as much as this, as 10GiB
    #[arg(long, value_name = "SIZE", value_parser = crate::args::size)]
    dead_letter_quota: Option<u64>,
    /// Take nothing more in when so many dead letters are open
    #[arg(long, value_name = "NUMBER")]
    most_dead_letters: Option<u64>,
    /// Keep so much of what went in and out of steps lately, as 1GiB, for `opendmp items content`; what is not there any
    /// more is computed again when it is asked for. 0 keeps none
    #[arg(long, value_name = "SIZE", value_parser = recent, default_value = "256 MiB", env = "OPENDMP_RECENT", hide_env_values = true)]
    recent: u64,
    /// How long what is in work may go on after a signal, as 30s or 5m
    #[arg(long, value_name = "TIME", value_parser = crate::args::duration, default_value = "10s")]
    grace: Duration,
    /// How the log on standard error is written: text or json; OPENDMP_LOG says how much, as `info` or
    /// `opendmp_engine=debug`
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
    log_format: LogFormat,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum LogFormat {
    /// A line for people
    #[default]
    Text,
    /// An object on a line
    Json,
}

/// A size; 0 needs no unit.
fn recent(text: &str) -> Result<u64, String> {
    if text.trim() == "0" { Ok(0) } else { crate::args::size(text) }
}

/// Serves until a signal.
pub async fn serve(args: Args, settings: Vec<Setting>, target: &Target, term: &Term) -> Result<ExitCode, Fail> {
    let begun = Instant::now();
    log(args.log_format, term)?;
    let address = address(&args.listen, args.insecure_listen_on_network)?;
    let quotas = Quotas {
        content: args.content_quota,
        dead_letters: args.most_dead_letters,
        dead_bytes: args.dead_letter_quota,
    };
    let writable = roots(&args.writable, "--writable")?;
    let bounds = Bounds { roots: roots(&args.roots, "--data-root")?, quotas, recent: args.recent, writable };
    let home = home(&bounds.roots)?;
    let data = target.data_dir("`serve`")?;
    let short = limits::enough()?;
    data.make()?;
    let mut signals = Signals::new()?;
    let locked = match lock(&data).await {
        Err(fail) if !data.is_full() => return Err(fail),
        locked => locked,
    };
    let token = access_token(&data)?;
    let front = Front::new()?;
    // Before anything is begun: a port that is taken ends the start.
    let listener = front.listen(address).map_err(|error| {
        Fail::io(format_args!("{address} can't be listened on"), &error)
            .hint("choose another port with --listen 127.0.0.1:PORT")
    })?;
    let bound = listener.local_addr().map_err(|error| Fail::io(address, &error))?;
    let Some((opened, service)) = begin(&data, locked, &bounds, &mut signals).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    let access = Arc::new(Access::new(&token, bound, &crate::data::actor()));
    let settings = settings.into_iter().chain([sandbox()]).collect();
    let service = service.with_home(home).with_settings(settings).with_access(Arc::clone(&access));
    for Short { what, message, hint, .. } in &short {
        service.engine().trouble(what, message, Some(hint));
    }
    let stop = watch::Sender::new(false);
    let stopped = |mut stop: watch::Receiver<bool>| async move {
        // The sender lives until the end.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let keeper = {
        let _within = front.handle.enter();
        let place = Place::of(&data);
        let routes = router(Arc::clone(&service));
        let socket = Socket::serve(&data, bind(&data)?, routes.clone());
        Keeper::new(place, Arc::clone(&service), routes, socket, bind, Arc::clone(&opened.lock))
    };
    let unix = front.spawn(keeper.keep(stop.subscribe()));
    let tcp = http(Arc::clone(&service), Arc::clone(&access));
    let tcp = front.spawn(serve_tcp(listener, tcp, stopped(stop.subscribe())));
    tracing::info!(
        data = %data.path().display(),
        pid = std::process::id(),
        ready_ms = begun.elapsed().as_millis() as u64,
        "ready"
    );
    // For people, and for programs that wait for the port.
    // The token goes to a terminal alone: a log or a service's journal has more readers, and keeps it.
    let page = if term.out_is_terminal {
        format!("open {}", access.link())
    } else {
        format!("for a link to the page: opendmp token --link --data-dir {}", data.path().display())
    };
    term.out(&format!("listening on http://{bound}\n{page}\n")).or_else(broken)?;
    for missing in &opendmp_sandbox::protection().missing {
        tracing::warn!(missing.means, missing.why, hint = missing.hint, "{}", missing.effect);
    }
    if opendmp_sandbox::protection().root {
        tracing::warn!(
            hint = opendmp_sandbox::AS_ROOT,
            "this server runs as root: what scripts and commands may write, they write as root"
        );
    }
    if !bound.ip().is_loopback() {
        tracing::warn!(
            "other machines can reach {bound}: nothing is encrypted, and whoever has the token may run code"
        );
    }

    let signal = signals.next().await;
    tracing::info!(
        signal,
        "stopping: what is in work may go on for {} s; a second signal stops at once",
        args.grace.as_secs()
    );
    let path = data.path().join(SOCKET);
    let in_order = async {
        stop.send_replace(true);
        // First of all, so that no verb takes this for a server that will answer; after the keeper has ended, which would
        // bind it again. A listener that holds on to a connection does not hold up the end.
        let _ = tokio::time::timeout(Duration::from_secs(2), unix).await;
        let _ = std::fs::remove_file(&path);
        service.stop(args.grace).await;
        let _ = tokio::time::timeout(Duration::from_secs(1), tcp).await;
    };
    let hurried = async {
        signals.next().await;
        tracing::info!("stopping at once: what is in work is handed back");
        service.hurry();
        signals.next().await;
    };
    let stopped = tokio::select! {
        () = in_order => true,
        () = hurried => false,
    };
    drop(front);
    if stopped {
        drop(service);
        opened.close().await;
        tracing::info!("stopped");
    } else {
        tracing::warn!("broken off; what was in work is taken up at the next start");
    }
    Ok(ExitCode::SUCCESS)
}

/// What keeps scripts and commands apart on this machine, to be shown with the settings.
fn sandbox() -> Setting {
    let found = opendmp_sandbox::protection();
    let about = "What keeps scripts and commands from OpenDMP's data and processes on this machine".to_owned();
    let missing = found.missing.iter().map(|missing| {
        let hint = missing.hint.as_ref().map_or_else(String::new, |hint| format!(": {hint}"));
        format!("without {} ({}) {}{hint}", missing.means, missing.why, missing.effect)
    });
    let root = found
        .root
        .then(|| format!("the server runs as root, and so do scripts and commands: {}", opendmp_sandbox::AS_ROOT));
    let warnings: Vec<String> = missing.chain(root).collect();
    let warning = (!warnings.is_empty()).then(|| warnings.join(". "));
    Setting { name: "sandbox".to_owned(), value: Some(found.summary()), from: SettingFrom::Machine, about, warning }
}

/// Requests are answered on threads of their own: beside flows at full speed, on the same ones, an answer waited for
/// whatever was to be done before it.
struct Front {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Front {
    fn new() -> Result<Self, Fail> {
        let made = Builder::new_multi_thread().worker_threads(FRONT).thread_name("answers").enable_all().build();
        let runtime = made.map_err(|error| Fail::new(format!("the runtime can't be started: {error}")))?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    fn listen(&self, address: SocketAddr) -> std::io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // The port of a server that has just ended can be had at once.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let _within = self.handle.enter();
        socket.listen(WAITING)
    }

    fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.handle.spawn(work)
    }
}

impl Drop for Front {
    /// What still answers, or blocks a thread, does not hold up the end.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Opens the data directory and begins to work. On a full disk that can't be done, and is tried again until there is
/// room; nothing where a signal ended that.
async fn begin(
    data: &DataDir,
    mut locked: Result<DataDirLock, Fail>,
    bounds: &Bounds,
    signals: &mut Signals,
) -> Result<Option<(Opened, Arc<Service>)>, Fail> {
    let mut told = false;
    loop {
        let tried = match locked {
            Ok(lock) => begin_once(data, lock, bounds.clone()).await,
            Err(fail) => Err(fail),
        };
        match tried {
            Err(fail) if data.is_full() => {
                if !std::mem::replace(&mut told, true) {
                    tracing::error!(
                        hint = "make room on that disk; the server begins by itself then",
                        "{}",
                        fail.message
                    );
                }
            }
            tried => return tried.map(Some),
        }
        tokio::select! {
            () = tokio::time::sleep(FULL) => {}
            _ = signals.next() => return Ok(None),
        }
        locked = lock(data).await;
    }
}

async fn begin_once(data: &DataDir, lock: DataDirLock, bounds: Bounds) -> Result<(Opened, Arc<Service>), Fail> {
    let opened = Opened::open(data, lock, true, bounds).await?;
    if opened.left.tasks + opened.left.intents > 0 {
        tracing::warn!(
            tasks = opened.left.tasks,
            intents = opened.left.intents,
            "an earlier process ended in the middle of work; it is taken over"
        );
    }
    // The lock file is there all the time, and hardly anybody opens it.
    let watcher = match Folders::start_probed(&data.path().join("lock")) {
        Ok(watcher) => Some(Arc::new(watcher)),
        Err(message) => {
            opened.engine.trouble(WATCHER, &message, Some(WATCHER_HINT));
            None
        }
    };
    match Service::server(Arc::clone(&opened.engine), watcher).await {
        Ok(service) => {
            let service = service.with_backups(opened.backups());
            Ok((opened, service))
        }
        Err(problem) => {
            opened.close().await;
            Err(problem.into())
        }
    }
}

/// Whoever started the server need not read on.
fn broken(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}

fn log(format: LogFormat, term: &Term) -> Result<(), Fail> {
    let directives = std::env::var(LOG).ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "info".to_owned());
    let filter = EnvFilter::try_new(&directives).map_err(|error| {
        Fail::usage(format!("{LOG} is not understood: {error}"))
            .hint("write `info`, `debug`, or `opendmp_engine=debug,info`")
    })?;
    // A log that can't be written (its reader has left, its disk is full) is no reason to end: by default it would be.
    let subscriber = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_ansi(term.err_colors());
    let set = match format {
        LogFormat::Text => subscriber.with_target(false).try_init(),
        // `spans` has all of them; `span` would be the innermost once more.
        LogFormat::Json => subscriber.json().flatten_event(true).with_current_span(false).try_init(),
    };
    set.map_err(|error| Fail::new(format!("the log can't be written: {error}")))
}

/// A loopback address.
fn address(text: &str, network: bool) -> Result<SocketAddr, Fail> {
    let hint = "write an address of this machine and a port, as 127.0.0.1:7117 or [::1]:7117";
    let named = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let address: SocketAddr = named
        .as_deref()
        .unwrap_or(text)
        .parse()
        .map_err(|_| Fail::usage(format!("`{}` is not an address with a port", words::line(text))).hint(hint))?;
    if !address.ip().is_loopback() && !network {
        return Err(Fail::usage(format!(
            "`{address}` can be reached from other machines, and nobody signs in here yet"
        ))
        .hint(format!("{hint}; `ssh -L 7117:127.0.0.1:7117 HOST` brings it to another machine")));
    }
    Ok(address)
}

fn roots(given: &[PathBuf], option: &str) -> Result<Vec<PathBuf>, Fail> {
    let real = |path: &PathBuf| {
        path.canonicalize().map_err(|error| {
            let mut fail = Fail::io(format_args!("the folder `{}` of {option} can't be used", path.display()), &error);
            fail.exit = crate::fail::USAGE;
            fail
        })
    };
    given.iter().map(real).collect()
}

/// The folder in which flows that come without one get theirs: the first data root, else the present folder.
fn home(roots: &[PathBuf]) -> Result<PathBuf, Fail> {
    let failed = |error: std::io::Error| Fail::io("the present folder can't be used", &error);
    roots.first().map_or_else(|| PathBuf::from(".").canonicalize().map_err(failed), |root| Ok(root.clone()))
}

/// The right to serve this data directory.
async fn lock(data: &DataDir) -> Result<DataDirLock, Fail> {
    let answered = match data.socket() {
        Ok(socket) => tokio::net::UnixStream::connect(&socket.path).await.is_ok(),
        Err(_) => false,
    };
    // A server does not end by itself; a verb does.
    let patience = if answered { Duration::ZERO } else { PATIENCE };
    data.lock(patience).await.map_err(|fail| {
        if answered {
            fail.hint("a server is running there already: use it, stop it, or serve another --data-dir")
        } else {
            fail
        }
    })
}

/// The token that lets in over HTTP: made with the first start, for nobody else to read.
fn access_token(data: &DataDir) -> Result<String, Fail> {
    let path = data.path().join(TOKEN);
    let failed = |error: std::io::Error| Fail::io(path.display(), &error);
    let read = || {
        let mut text = String::new();
        let open = std::fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(&path);
        open.and_then(|mut file| std::io::Read::read_to_string(&mut file, &mut text)).map(|_| text)
    };
    match read() {
        Ok(text) if is_token(text.trim()) => return Ok(text.trim().to_owned()),
        Ok(_) => {
            return Err(Fail::usage(format!("{} holds no token", path.display())).hint(format!(
                "a token is {LENGTH} or more letters and digits; remove the file to have a new one made"
            )));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let token: String = (0..4).map(|_| format!("{:016x}", rand::random::<u64>())).collect();
    // Whole or not at all, as nobody but its owner may read it from the first moment.
    let mut file = tempfile::Builder::new().prefix(".access-token-").tempfile_in(data.path()).map_err(failed)?;
    std::io::Write::write_all(&mut file, format!("{token}\n").as_bytes()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(&path).map_err(|error| failed(error.error))?;
    Ok(token)
}

/// Whether a text can be a token.
pub(super) fn is_token(text: &str) -> bool {
    text.len() >= LENGTH && text.len() <= 512 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The socket that the verbs use: nobody else's from the first moment, and in the place of a killed server's.
fn bind(data: &DataDir) -> Result<UnixListener, Fail> {
    let failed =
        |error: std::io::Error| Fail::io(format_args!("the socket in {} can't be made", data.path().display()), &error);
    // Made in a folder of its own that nobody else enters, then moved: it is there whole, or the old one is.
    let folder = tempfile::Builder::new().prefix(".socket-").tempdir_in(data.path()).map_err(failed)?;
    let inner = DataDir::choose(Some(folder.path().to_owned()))?;
    let socket = inner.socket()?;
    let listener = UnixListener::bind(&socket.path).map_err(failed)?;
    let made = folder.path().join(SOCKET);
    std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    std::fs::rename(&made, data.path().join(SOCKET)).map_err(failed)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_listened_on() {
        for good in ["127.0.0.1:0", "localhost:80", "[::1]:7117", "127.3.2.1:9"] {
            assert!(address(good, false).is_ok(), "{good}");
        }
        for bad in ["0.0.0.0:7117", "[::]:80", "192.168.0.1:80", "7117", "example.org:80", "127.0.0.1"] {
            assert_eq!(address(bad, false).unwrap_err().exit, crate::fail::USAGE, "{bad}");
        }
        assert!(address("0.0.0.0:7117", true).is_ok(), "only when asked for by name");
    }
}
