//! The programs that resolve and install packages: finding them, and running them with their output as progress.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::unistd::Pid;
use opendmp_sandbox::disk::Disk;
use opendmp_sandbox::folders::TempFolder;
use opendmp_sandbox::{Child, Limits, Rules, Site};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::unix::pipe::Receiver;
use tokio::process::Command;

use super::Progress;
use crate::error::Error;
use crate::interpreter::Interpreter;

/// Versions looked for on the `PATH` when a script wants another than the usual one, newest first.
const MINORS: std::ops::RangeInclusive<u32> = 9..=15;
/// Size of `/dev/shm` for a tool.
const SHARED_MEMORY: u64 = 1 << 30;
/// How often it is looked whether a tool takes too much.
const LOOK: Duration = Duration::from_millis(250);
/// Lines of a tool's output that an error repeats.
const LAST_LINES: usize = 12;

/// What a step may touch beside what it sees as `/tmp`.
#[derive(Clone, Copy)]
pub(super) enum Reach<'a> {
    /// Read a folder.
    Read(&'a Path),
    /// Write into a folder.
    Write(&'a Path),
    /// The same, and into the user's caches. Only for steps that can't run code of a package.
    WriteWithCaches(&'a Path),
}

/// What packages are resolved and installed with.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The Python to use wherever its version fits; `python3` on the `PATH` if none.
    pub python: Option<PathBuf>,
    /// `uv`; none to use `venv` and `pip`.
    pub uv: Option<PathBuf>,
    /// Let packages without wheels be built, which runs their code, in the sandbox: `OPENDMP_ALLOW_BUILDS=1`.
    pub allow_builds: bool,
    /// What the tools, and the packages they build, may see and write beside what they make.
    pub site: Site,
    /// How long one step may take.
    pub timeout: Duration,
    /// Bytes of memory that one step may hold, with all that it starts.
    pub memory: u64,
    /// Bytes of each disk that are left free: a step that writes to it is stopped before.
    pub disk_floor: u64,
}

impl Tools {
    /// Those of this machine: `uv` is looked for on the `PATH` and where its installers put it.
    pub fn find(python: Option<PathBuf>) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let places = std::env::split_paths(&path)
            .chain(home.iter().flat_map(|home| [home.join(".local/bin"), home.join(".cargo/bin")]));
        let uv = places.map(|place| place.join("uv")).find(|file| file.is_file());
        let allow_builds = std::env::var_os("OPENDMP_ALLOW_BUILDS").is_some_and(|value| value == "1");
        let memory = opendmp_sandbox::memory_of_machine().map_or(u64::MAX, |bytes| bytes / 2);
        Self {
            python,
            uv,
            allow_builds,
            site: Site::default(),
            timeout: Duration::from_secs(15 * 60),
            memory,
            disk_floor: 0,
        }
    }

    /// An interpreter whose version fits: the usual one, else one found by its version. `wanted` is for the error.
    pub(super) async fn interpreter(
        &self,
        fits: impl Fn((u32, u32, u32)) -> bool,
        wanted: Option<&str>,
    ) -> Result<Interpreter, Error> {
        let usual = Interpreter::probe(self.python.as_deref().unwrap_or(Path::new("python3"))).await;
        if let Ok(interpreter) = &usual
            && fits(interpreter.version)
        {
            return usual;
        }
        for minor in MINORS.rev() {
            // The last part of the version is not known before it is asked.
            if let Ok(interpreter) = Interpreter::probe(Path::new(&format!("python3.{minor}"))).await
                && fits(interpreter.version)
            {
                return Ok(interpreter);
            }
        }
        if let (Some(uv), Some(wanted)) = (&self.uv, wanted) {
            let mut command = self.command(uv);
            // Where nobody can have put an environment or settings for it: it would run what is in them.
            command.args([
                "python",
                "find",
                "--system",
                "--no-config",
                "--no-python-downloads",
                "--no-project",
                wanted,
            ]);
            command.current_dir("/");
            let found = command.output().await.ok().filter(|output| output.status.success());
            if let Some(path) = found.and_then(|output| String::from_utf8(output.stdout).ok())
                && let Ok(interpreter) = Interpreter::probe(Path::new(path.trim())).await
                && fits(interpreter.version)
            {
                return Ok(interpreter);
            }
        }
        let wanted = wanted.unwrap_or_default();
        match usual {
            Err(error) => Err(error),
            Ok(interpreter) => Err(Error::Environment {
                message: format!(
                    "no Python {wanted} was found; `{}` is {}",
                    interpreter.executable.display(),
                    interpreter.version_text()
                ),
                hint: Some(format!(
                    "install a Python {wanted}, so that it is on the PATH or that `uv python find` knows it, or change \
                     `requires-python` in the script"
                )),
            }),
        }
    }

    /// A command with what such tools need of the environment, and nothing else.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().stdin(Stdio::null()).kill_on_drop(true).process_group(0);
        let wanted = |name: &str| {
            let exact = ["PATH", "HOME", "TMPDIR", "NETRC", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"];
            let upper = name.to_ascii_uppercase();
            exact.contains(&name)
                || ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "CURL_CA_BUNDLE"].contains(&upper.as_str())
                || ["PIP_", "UV_", "XDG_", "PYENV_"].iter().any(|prefix| name.starts_with(prefix))
        };
        command.envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(wanted)));
        command.envs([
            ("LANG", "C.UTF-8"),
            ("LC_ALL", "C.UTF-8"),
            ("PIP_NO_INPUT", "1"),
            ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
        ]);
        command
    }

    /// Run a step to its end, in the sandbox; it may write as `reach` says. Its output goes to `progress`; on failure the
    /// last lines are in the error.
    pub(super) async fn run(
        &self,
        command: Command,
        what: &str,
        reach: Reach<'_>,
        progress: &Progress,
    ) -> Result<(), Error> {
        let failed = |why: String| Error::Environment {
            message: format!("failed to {what}: {why}"),
            hint: Some(hint(&why).into()),
        };
        let tools = self.clone();
        let (folder, write, caches) = match reach {
            Reach::Read(folder) => (folder.to_owned(), false, false),
            Reach::Write(folder) => (folder.to_owned(), true, false),
            Reach::WriteWithCaches(folder) => (folder.to_owned(), true, !self.allow_builds),
        };
        let written = folder.clone();
        let start = move || tools.start(&command, &folder, write, caches);
        let started = tokio::task::spawn_blocking(start).await.map_err(|error| failed(error.to_string()))?;
        let (mut child, out, err, tmp) = started.map_err(failed)?;
        let reader = |pipe: OwnedFd| Receiver::from_owned_fd(pipe).map_err(|error| failed(error.to_string()));
        let (out, err) = (reader(out)?, reader(err)?);
        let step = child.id();
        let working = async {
            let (out, err, status) = tokio::join!(tell(out, progress), tell(err, progress), child.wait());
            (status, if err.is_empty() { out } else { err })
        };
        let folders = [written.as_path(), tmp.path()];
        let too_much = self.takes_too_much(step, &folders);
        let ended = tokio::select! {
            ended = tokio::time::timeout(self.timeout, working) => Ok(ended),
            why = too_much => Err(why),
        };
        if !matches!(ended, Ok(Ok(_))) {
            let _ = child.kill().await;
        }
        drop(tmp);
        let ended = ended.map_err(|TooMuch { why, hint }| Error::Environment {
            message: format!("failed to {what}: {why}"),
            hint: Some(hint.into()),
        })?;
        match ended {
            Ok((Ok(status), _)) if status.success() => Ok(()),
            Ok((Ok(status), last)) if last.is_empty() => Err(failed(crate::process::describe(status))),
            Ok((Ok(_), last)) => Err(failed(Vec::from(last).join("\n"))),
            Ok((Err(error), _)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("it took more than {} s", self.timeout.as_secs()))),
        }
    }

    /// Waits until a step holds more memory than it may, or too little is left free on a disk that it writes to.
    async fn takes_too_much(&self, step: Pid, folders: &[&Path]) -> TooMuch {
        let disks: Vec<Disk> = folders.iter().map(|folder| Disk::new((*folder).to_owned(), self.disk_floor)).collect();
        loop {
            tokio::time::sleep(LOOK).await;
            if opendmp_sandbox::holds_more(step, self.memory).await {
                let why = format!("it wanted more than {} MiB of memory, and was stopped", self.memory >> 20);
                return TooMuch {
                    why,
                    hint: "choose packages that have a wheel for this Python, which need no building",
                };
            }
            let disks = disks.clone();
            let look = move || disks.into_iter().find(|disk| disk.lacks(0) > 0);
            if let Ok(Some(disk)) = tokio::task::spawn_blocking(look).await {
                let folder = disk.folder().display();
                let why = format!("it was stopped, because the disk of {folder} has too little room left");
                return TooMuch { why, hint: "make room on that disk; the step is tried again by itself" };
            }
        }
    }

    /// Start a step: the process, its outputs, and what it sees as `/tmp`. Blocks.
    fn start(
        &self,
        command: &Command,
        folder: &Path,
        write: bool,
        caches: bool,
    ) -> Result<(Child, OwnedFd, OwnedFd, TempFolder), String> {
        let words = |error: std::io::Error| error.to_string();
        let tmp = TempFolder::new(None, "opendmp-").map_err(words)?;
        let command = command.as_std();
        let mut env: Vec<(OsString, OsString)> =
            command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
        env.retain(|(name, _)| name != "TMPDIR");
        env.push(("TMPDIR".into(), tmp.path().into()));
        let mut writable = if write { vec![folder] } else { Vec::new() };
        let caches = if caches { user_caches(&env) } else { own_cache(tmp.path(), &mut env) };
        for cache in &caches {
            // A cache that can't be made is not used.
            if std::fs::create_dir_all(cache).is_ok() {
                writable.push(cache);
            }
        }
        let ((out, to_out), (err, to_err)) = (std::io::pipe().map_err(words)?, std::io::pipe().map_err(words)?);
        let mut policy = self.site.policy(&Rules::default(), &writable, tmp.path(), SHARED_MEMORY);
        policy.readable.push(folder.to_owned());
        let command = opendmp_sandbox::Command {
            program: command.get_program().to_owned(),
            arguments: command.get_args().map(OsStr::to_owned).collect(),
            env,
            directory: command.get_current_dir().unwrap_or(folder).to_owned(),
            stdio: [None, Some(to_out.into()), Some(to_err.into())],
            pass: Vec::new(),
            limits: Limits::default(),
            policy,
        };
        let child = command.spawn().map_err(|error| error.to_string())?;
        Ok((child, out.into(), err.into(), tmp))
    }
}

/// Why a step was stopped, and what to do.
struct TooMuch {
    why: String,
    hint: &'static str,
}

/// The user's own folders in which the tools keep what they downloaded.
fn user_caches(env: &[(OsString, OsString)]) -> Vec<PathBuf> {
    let named = |wanted: &str| env.iter().find(|(name, _)| name == wanted).map(|(_, value)| PathBuf::from(value));
    let base = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")));
    named("UV_CACHE_DIR").or_else(|| Some(base?.join("uv"))).into_iter().collect()
}

/// A cache that goes with the step, so that what a package writes there is used by nobody else.
fn own_cache(tmp: &Path, env: &mut Vec<(OsString, OsString)>) -> Vec<PathBuf> {
    env.retain(|(name, _)| name != "UV_CACHE_DIR" && name != "PIP_CACHE_DIR" && name != "XDG_CACHE_HOME");
    env.push(("XDG_CACHE_HOME".into(), tmp.join("cache").into()));
    Vec::new()
}

/// Pass on what is said, and keep the last lines.
async fn tell(pipe: impl AsyncRead + Unpin, progress: &Progress) -> VecDeque<String> {
    let mut last = VecDeque::new();
    let mut lines = BufReader::new(pipe).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if line.trim().is_empty() {
            continue;
        }
        progress(line);
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line.to_owned());
    }
    last
}

/// What to do about a failure, from what the tool said.
fn hint(said: &str) -> &'static str {
    if said.contains("ensurepip") || said.contains("No module named venv") || said.contains("No module named pip") {
        "install `uv`, or Python's own tools (`apt install python3-venv python3-pip`)"
    } else if said.contains("no wheel") || said.contains("no usable wheels") || said.contains("--only-binary") {
        "only wheels are installed, because building a package runs its code: choose a version that has a wheel for \
         this Python, or start the server with `OPENDMP_ALLOW_BUILDS=1`"
    } else {
        "check the names and versions in the `# /// script` block, and the way to the package index"
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn uv_looks_for_interpreters_where_nobody_put_one() {
        let folder = tempfile::tempdir().unwrap();
        let (uv, said) = (folder.path().join("uv"), folder.path().join("said"));
        std::fs::write(&uv, format!("#!/bin/sh\necho \"$PWD $*\" > {}\n", said.display())).unwrap();
        std::fs::set_permissions(&uv, std::fs::Permissions::from_mode(0o755)).unwrap();
        let tools = Tools { uv: Some(uv), ..Tools::find(None) };
        tools.interpreter(|_| false, Some(">=4")).await.unwrap_err();
        let said = std::fs::read_to_string(said).unwrap();
        let mut words = said.split_whitespace();
        // It runs a `.venv` that it finds there or above, and does as a `uv.toml` says.
        assert_eq!(words.next(), Some("/"));
        assert!(words.clone().any(|word| word == "--system") && words.any(|word| word == "--no-config"), "{said}");
    }
}
