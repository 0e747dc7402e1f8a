//! `opendmp doctor`: whether this machine has what is needed, and what it lacks of what helps.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use opendmp_api::ask::Status;
use opendmp_script::environment::{Environment, Tools};
use serde::Serialize;

use crate::args::Format;
use crate::data::{DataDir, Need, Session, reserve};
use crate::fail::{FAILED, Fail};
use crate::limits::{self, Short};
use crate::target::Target;
use crate::term::Term;
use crate::{machine, table, words};

/// Free bytes below which it is worth a word.
const LITTLE: u64 = 1 << 30;

/// A sync of a small file that takes longer than this makes every commit slow.
const SLOW_SYNC: Duration = Duration::from_millis(20);

/// How often a sync is tried.
const SYNCS: usize = 9;

/// What `doctor` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opendmp doctor
  opendmp doctor --format json | jq '.[] | select(.state != \"ok\")'

Exit code 1 if something fails that is needed.")]
pub struct Args {
    /// How to print it: text, or json: an array with an object for each check
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    state: State,
    message: String,
    hint: Option<String>,
}

impl Check {
    fn new(check: &'static str, state: State, message: impl Into<String>) -> Self {
        Self { check, state, message: message.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Looks at the machine.
pub async fn doctor(args: &Args, target: &Target, term: &Term) -> Result<ExitCode, Fail> {
    let data = target.data_dir("`doctor`")?;
    let mut checks = vec![Check::new("opendmp", State::Ok, format!("version {}", env!("CARGO_PKG_VERSION")))];
    checks.push(python().await);
    checks.push(uv());
    checks.extend(sandbox());
    checks.extend(folder(&data));
    match data.is_used() {
        Ok(true) => checks.extend(kept(&data).await),
        Ok(false) => {}
        Err(fail) => {
            let check = Check::new("data directory", State::Fail, fail.message);
            checks.push(Check { hint: fail.hint, ..check });
        }
    }
    checks.extend(system_limits());
    checks.push(terminal(term));
    match args.format {
        Format::Json => term.out(&table::json(&checks)?)?,
        Format::Text => {
            let width = checks.iter().map(|check| check.check.len()).max().unwrap_or(0);
            for check in &checks {
                let mark = match check.state {
                    State::Ok => term.green("✓"),
                    State::Warn => term.yellow("!"),
                    State::Fail => term.red("✗"),
                };
                let hint =
                    check.hint.as_ref().map(|hint| format!("  {:width$}    hint: {hint}\n", "")).unwrap_or_default();
                term.out(&format!("{mark} {:width$}  {}\n{hint}", check.check, words::line(&check.message)))?;
            }
        }
    }
    let failed = checks.iter().any(|check| check.state == State::Fail);
    Ok(if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

async fn python() -> Check {
    match Environment::system(machine::python().as_deref()).await {
        Ok(found) => Check::new("python", State::Ok, format!("{} at {}", found.version, found.interpreter.display())),
        Err(error) => {
            let check = Check::new("python", State::Fail, error.to_string());
            let hint = error.hint().unwrap_or_else(|| "install Python 3.9 or newer".to_owned());
            check.hint(format!("{hint}; {} names another", machine::PYTHON))
        }
    }
}

fn uv() -> Check {
    match Tools::find(None).uv {
        Some(path) => Check::new("uv", State::Ok, path.display().to_string()),
        None => {
            Check::new("uv", State::Warn, "not found: packages of scripts are resolved by venv and pip, more slowly")
                .hint("`pip install uv`, or see https://docs.astral.sh/uv")
        }
    }
}

/// What keeps scripts and commands apart, one check for each means that is missing.
fn sandbox() -> Vec<Check> {
    let found = opendmp_sandbox::protection();
    let mut checks = Vec::new();
    if found.missing.is_empty() {
        let message = format!("{}: scripts and commands can't reach OpenDMP's data or processes", found.summary());
        checks.push(Check::new("sandbox", State::Ok, message));
    }
    for missing in &found.missing {
        let message = format!("no {} ({}): {}", missing.means, missing.why, missing.effect);
        let hint = missing.hint.unwrap_or("run only scripts you trust, as on your own workstation");
        checks.push(Check::new("sandbox", State::Warn, message).hint(hint));
    }
    if found.root {
        let message = "runs as root: what scripts and commands may write, they write as root";
        checks.push(Check::new("user", State::Warn, message).hint(opendmp_sandbox::AS_ROOT));
    }
    checks
}

/// The folder itself: whether it can be written, who else may read it, how fast and how full its disk is.
fn folder(data: &DataDir) -> Vec<Check> {
    const NAME: &str = "data directory";
    let path = data.path();
    let mut checks = Vec::new();
    let below = path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    if data.exists() {
        let mode = path.metadata().map_or(0, |meta| meta.permissions().mode() & 0o777);
        checks.push(match mode & 0o077 {
            0 => Check::new(NAME, State::Ok, path.display().to_string()),
            _ => Check::new(
                NAME,
                State::Warn,
                format!("{}: others than its owner may use it (mode {mode:o})", path.display()),
            )
            .hint(format!("`chmod 700 {}` keeps it private", path.display())),
        });
    } else {
        checks.push(Check::new(NAME, State::Ok, format!("{} will be made when it is needed", path.display())));
    }
    match syncs(below) {
        Ok(took) => {
            let message = format!("{} in {} for a durable write", words::took(micros(took)), below.display());
            checks.push(match took > SLOW_SYNC {
                true => Check::new("disk", State::Warn, message)
                    .hint("every commit waits for it: a local SSD is faster than this disk"),
                false => Check::new("disk", State::Ok, message),
            });
        }
        Err(error) => {
            checks.push(
                Check::new("disk", State::Fail, format!("{} can't be written: {}", below.display(), words::io(&error)))
                    .hint("say where data may be kept with --data-dir DIR"),
            );
        }
    }
    if let Ok(stat) = nix::sys::statvfs::statvfs(below) {
        let free = stat.blocks_available() * stat.fragment_size();
        let message = format!("{} free", words::size(free));
        let check = |state| Check::new("room", state, message.clone());
        checks.push(match reserve() {
            Err(fail) => Check::new("room", State::Fail, fail.message),
            Ok(reserve) => {
                // What the engine leaves alone where nothing else is asked for.
                let reserve = reserve.unwrap_or_else(|| opendmp_engine::Options::default().reserve);
                match free {
                    _ if free < reserve => {
                        let message =
                            format!("{message}, and input must leave {} free: it waits", words::size(reserve));
                        Check::new("room", State::Fail, message).hint("make room on that disk")
                    }
                    0..LITTLE => check(State::Warn).hint("make room before work stops for want of it"),
                    _ => check(State::Ok),
                }
            }
        });
    }
    checks
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The middle one of some durable writes.
fn syncs(folder: &Path) -> std::io::Result<Duration> {
    let mut file = tempfile::Builder::new().prefix(".opendmp-doctor-").tempfile_in(folder)?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let begun = Instant::now();
        file.write_all(&[0; 4096])?;
        file.as_file().sync_data()?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times[SYNCS / 2])
}

/// What is in the data directory, as whoever answers for it says.
async fn kept(data: &DataDir) -> Vec<Check> {
    let session = match Session::open(data, Need::Look).await {
        Ok(session) => session,
        Err(fail) => {
            let check = Check::new("journal", State::Fail, fail.message);
            return vec![match fail.hint {
                Some(hint) => check.hint(hint),
                None => check,
            }];
        }
    };
    let (status, own) = (session.client.status().await, session.is_own());
    session.close().await;
    match status {
        Ok(status) => told(&status, own),
        Err(problem) => vec![Check::new("server", State::Fail, problem.message)],
    }
}

fn told(status: &Status, own: bool) -> Vec<Check> {
    let mut checks = Vec::new();
    if own {
        checks.push(Check::new("server", State::Ok, "none is running: verbs do their work themselves"));
    } else {
        let message =
            format!("process {}, version {}, since {}", status.pid, status.version, words::when(&status.started));
        checks.push(match status.version == env!("CARGO_PKG_VERSION") {
            true => Check::new("server", State::Ok, message),
            false => Check::new("server", State::Warn, message)
                .hint("restart it, so that it is of the same version as this command"),
        });
    }
    let stored = status.usage.map(|usage| format!(", {} of content", words::size(usage.stored))).unwrap_or_default();
    checks.push(match &status.backlog {
        Some(backlog) => {
            let waits =
                format!("{} and {} wait", words::count(backlog.items, "item"), words::count(backlog.intents, "intent"));
            Check::new("journal", State::Ok, format!("answers: {waits}{stored}"))
        }
        None => Check::new("journal", State::Fail, "does not answer").hint("see the server's log"),
    });
    for trouble in &status.troubles {
        let check = Check::new("trouble", State::Warn, format!("{}: {}", trouble.about, trouble.message));
        checks.push(match &trouble.hint {
            Some(hint) => check.hint(hint.clone()),
            None => check,
        });
    }
    checks
}

fn system_limits() -> Vec<Check> {
    let mut checks = Vec::new();
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let watches = number("/proc/sys/fs/inotify/max_user_watches");
    let instances = number("/proc/sys/fs/inotify/max_user_instances");
    if let (Some(watches), Some(instances)) = (watches, instances) {
        let message =
            format!("{} folders can be watched, by {} programs", words::grouped(watches), words::grouped(instances));
        checks.push(match watches < 8_192 || instances < 16 {
            true => Check::new("watches", State::Warn, message).hint(
                "raise fs.inotify.max_user_watches and max_user_instances with sysctl; beyond them folders are looked at now and then",
            ),
            false => Check::new("watches", State::Ok, message),
        });
    }
    // As a server does when it begins.
    limits::raise();
    let short = limits::short();
    for Short { what, fatal, message, hint } in &short {
        let state = if *fatal { State::Fail } else { State::Warn };
        checks.push(Check::new(what, state, message.clone()).hint(hint.clone()));
    }
    if !short.iter().any(|short| short.what == "open files")
        && let Ok((soft, _)) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
    {
        let message = format!("{} can be open at once", words::count(soft, "file"));
        checks.push(Check::new("open files", State::Ok, message));
    }
    checks
}

fn terminal(term: &Term) -> Check {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let unicode = locale.as_deref().is_some_and(|locale| locale.to_lowercase().replace('-', "").contains("utf8"));
    let kind = match term.width() {
        Some(width) => format!("{width} columns, {}", if term.green("").is_empty() { "no colours" } else { "colours" }),
        None => "none: plain lines are printed".to_owned(),
    };
    match term.out_is_terminal && !unicode {
        true => Check::new("terminal", State::Warn, format!("{kind}; the locale does not say UTF-8"))
            .hint("set LANG to a locale with UTF-8, such as C.UTF-8, if lines and marks look odd"),
        false => Check::new("terminal", State::Ok, kind),
    }
}
