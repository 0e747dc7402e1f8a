//! Finding out what an interpreter is, and looking at scripts with it without running them.

use std::ffi::OsString;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use opendmp_sandbox::folders::TempFolder;
use opendmp_sandbox::{Child, Limits, Network, Rules, Site};
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::process::Command;

use crate::PYTHON_WORKER;
use crate::error::Error;

/// Prints what [`Interpreter`] holds.
const PROBE: &str = "import json, sys; print(json.dumps([sys.executable, list(sys.version_info[:3]), \
                     sys.implementation.name, sys.prefix, sys.base_prefix]))";
/// The oldest version whose standard library has all that the worker needs.
const OLDEST: (u32, u32) = (3, 9);
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of code that are looked at.
const LARGEST_CODE: usize = 1 << 20;
/// How long looking at code may take, and the memory that it may take.
const CHECK_PATIENCE: Duration = Duration::from_secs(10);
const CHECK_MEMORY: u64 = 512 << 20;
/// One at a time, however many flows are saved.
static CHECKING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What [`PROBE`] prints.
#[derive(Deserialize)]
struct Answer(PathBuf, (u32, u32, u32), String, PathBuf, PathBuf);

/// A Python that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interpreter {
    /// The program itself, not a wrapper that looks for it.
    pub executable: PathBuf,
    pub version: (u32, u32, u32),
    /// Its environment, equal to `base` unless it is a virtual one.
    pub prefix: PathBuf,
    /// Its installation.
    pub base: PathBuf,
}

impl Interpreter {
    /// Ask the program at `path`, or of that name on the `PATH`. It runs outside of the sandbox, and must not be that of
    /// an environment, which its packages can replace.
    pub(crate) async fn probe(path: &Path) -> Result<Self, Error> {
        let bad = |why: String| Error::Interpreter { path: path.to_owned(), why };
        let program = if path.components().count() > 1 { std::path::absolute(path) } else { Ok(path.to_owned()) };
        let mut command = Command::new(program.map_err(|error| bad(error.to_string()))?);
        // Without `-S` packages of an environment could run code here; in the folder of the server, files that a
        // version manager goes by (`.python-version`) or a relative `PATH` could choose what runs.
        command.args(["-I", "-S", "-c", PROBE]).current_dir("/").stdin(Stdio::null()).kill_on_drop(true);
        let output = match tokio::time::timeout(PATIENCE, command.output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => return Err(bad("there is none".into())),
            Ok(Err(error)) => return Err(bad(error.to_string())),
            Err(_) => return Err(bad(format!("it did not answer within {} s", PATIENCE.as_secs()))),
        };
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or_default();
            return Err(bad(format!("{}: {last}", crate::process::describe(output.status))));
        }
        let answer = serde_json::from_slice::<Answer>(&output.stdout);
        let Ok(Answer(executable, version, implementation, prefix, base)) = answer else {
            return Err(bad("it is not a Python 3".into()));
        };
        if implementation != "cpython" || (version.0, version.1) < OLDEST {
            let (major, minor, micro) = version;
            return Err(bad(format!("it is {implementation} {major}.{minor}.{micro}, not CPython 3.9 or newer")));
        }
        Ok(Self { executable, version, prefix, base })
    }

    pub(crate) fn version_text(&self) -> String {
        let (major, minor, micro) = self.version;
        format!("{major}.{minor}.{micro}")
    }
}

/// What a script's text tells without running it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Inspection {
    /// The function that will be called.
    pub function: String,
    /// The line it begins at, if it is defined in the script itself.
    pub line: Option<u32>,
    /// The name of its parameter, where that can be told.
    pub parameter: Option<String>,
    /// What it is given: `bytes`, `str`, `dict`, `list`, `json`, `path`, `pandas`, `polars`, `pyarrow` or `item`;
    /// none if only loading the script can tell.
    pub input: Option<String>,
    /// It is a generator; none if that can't be told.
    pub many: Option<bool>,
    /// The annotation of its result as written.
    pub returns: Option<String>,
}

impl Inspection {
    /// Whether it is given an `Item`, and may thus read attributes, name and hash. Counts as such if it can't be told.
    pub fn wants_item(&self) -> bool {
        self.input.as_deref().is_none_or(|input| input == "item")
    }
}

/// Why a script can't be run, found before it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxProblem {
    /// The line, from 1, if it is known.
    pub line: Option<u32>,
    /// The column, from 1 and in characters, if it is known.
    pub column: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// Look at a Python script with `interpreter`, the machine's own, whose version decides what is valid. Nothing of the
/// script is run. One is looked at at a time, in the sandbox, with limits: reading can take much time and memory, too.
///
/// # Errors
/// The outer error: there is no interpreter to ask.
pub async fn check_syntax(
    interpreter: &Path,
    code: &str,
    file_name: &str,
) -> Result<Result<Inspection, SyntaxProblem>, Error> {
    #[derive(Deserialize)]
    struct Verdict {
        ok: bool,
    }

    if code.len() > LARGEST_CODE {
        let message = format!("the code has {} bytes, and {LARGEST_CODE} at most can be read", code.len());
        let hint = "keep data in a file beside the script, or in a package";
        return Ok(Err(SyntaxProblem { line: None, column: None, message, hint: Some(hint.into()) }));
    }
    let bad = |why: String| Error::Interpreter { path: interpreter.to_owned(), why };
    let _one = CHECKING.lock().await;
    let (program, text, name) = (interpreter.to_owned(), code.to_owned(), file_name.to_owned());
    let starting = tokio::task::spawn_blocking(move || start_check(&program, &text, &name)).await;
    let (mut child, answer, _tmp) = starting.map_err(|error| bad(error.to_string()))?.map_err(bad)?;
    let mut answer = Receiver::from_owned_fd(answer).map_err(|error| bad(error.to_string()))?;
    let mut said = Vec::new();
    let asking = async {
        answer.read_to_end(&mut said).await?;
        child.wait().await
    };
    let ended = tokio::time::timeout(CHECK_PATIENCE, asking).await;
    let status = match ended {
        Ok(status) => status.map_err(|error| bad(error.to_string()))?,
        Err(_) => {
            // An error means that it is gone already.
            let _ = child.kill().await;
            return Ok(Err(unreadable(format!("reading the code took more than {} s", CHECK_PATIENCE.as_secs()))));
        }
    };
    if !status.success() {
        // The parser itself gave up: hopelessly nested code can do that.
        return Ok(Err(unreadable(format!("reading it ended Python: {}", crate::process::describe(status)))));
    }
    let verdict: Verdict = serde_json::from_slice(&said).map_err(|error| bad(error.to_string()))?;
    Ok(if verdict.ok {
        Ok(serde_json::from_slice(&said).map_err(|error| bad(error.to_string()))?)
    } else {
        Err(serde_json::from_slice(&said).map_err(|error| bad(error.to_string()))?)
    })
}

/// Starts the interpreter on the code: the process, what it answers, and its folder. Blocks.
fn start_check(interpreter: &Path, code: &str, file_name: &str) -> Result<(Child, OwnedFd, TempFolder), String> {
    let words = |error: std::io::Error| error.to_string();
    let tmp = TempFolder::new(None, "opendmp-").map_err(words)?;
    let mut given = tempfile::tempfile_in(tmp.path()).map_err(words)?;
    given.write_all(code.as_bytes()).and_then(|()| given.rewind()).map_err(words)?;
    let (answer, to_answer) = std::io::pipe().map_err(words)?;
    let program = if interpreter.components().count() > 1 {
        std::path::absolute(interpreter).map_err(words)?
    } else {
        interpreter.to_owned()
    };
    let kept = |name: &OsString| {
        name == "PATH" || name == "HOME" || name.to_str().is_some_and(|name| name.starts_with("PYENV_"))
    };
    let mut env: Vec<_> = std::env::vars_os().filter(|(name, _)| kept(name)).collect();
    env.push(("TMPDIR".into(), tmp.path().into()));
    let rules = Rules { network: Network::Off, ..Rules::default() };
    let mut policy = Site::default().policy(&rules, &[], tmp.path(), CHECK_MEMORY);
    policy.readable.extend(program.parent().filter(|parent| parent.is_absolute()).map(Path::to_owned));
    let command = opendmp_sandbox::Command {
        program: program.into(),
        arguments: ["-I", "-X", "utf8", "-c", PYTHON_WORKER, "--check", file_name].map(OsString::from).into(),
        env,
        directory: tmp.path().to_owned(),
        stdio: [Some(given.into()), Some(to_answer.into()), None],
        pass: Vec::new(),
        limits: Limits { memory: Some(CHECK_MEMORY), file_size: Some(CHECK_MEMORY) },
        policy,
    };
    let child = command.spawn().map_err(|error| error.to_string())?;
    Ok((child, answer.into(), tmp))
}

fn unreadable(message: String) -> SyntaxProblem {
    SyntaxProblem { line: None, column: None, message, hint: Some("make the script simpler".into()) }
}
