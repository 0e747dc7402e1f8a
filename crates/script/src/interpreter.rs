//! Finding out what an interpreter is, and looking at scripts with it without running them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::PYTHON_WORKER;
use crate::error::Error;

/// Prints what [`Interpreter`] holds.
const PROBE: &str = "import json, sys; print(json.dumps([sys.executable, list(sys.version_info[:3]), \
                     sys.implementation.name, sys.prefix, sys.base_prefix]))";
/// The oldest version whose standard library has all that the worker needs.
const OLDEST: (u32, u32) = (3, 9);
const PATIENCE: Duration = Duration::from_secs(30);

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
    /// Ask the program at `path`, or of that name on the `PATH`.
    pub(crate) async fn probe(path: &Path) -> Result<Self, Error> {
        let bad = |why: String| Error::Interpreter { path: path.to_owned(), why };
        let mut command = Command::new(path);
        // Without `-S` packages of an environment could run code here.
        command.args(["-I", "-S", "-c", PROBE]).stdin(Stdio::null()).kill_on_drop(true);
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

/// Look at a Python script with `interpreter`, whose version decides what is valid. Nothing of the script is run.
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

    let bad = |why: String| Error::Interpreter { path: interpreter.to_owned(), why };
    let mut command = Command::new(interpreter);
    command.args(["-I", "-X", "utf8", "-c", PYTHON_WORKER, "--check", file_name]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| bad(error.to_string()))?;
    let stdin = child.stdin.take();
    let asking = async {
        if let Some(mut stdin) = stdin {
            // An error here means that it ended early, which its status tells better.
            let _ = stdin.write_all(code.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(PATIENCE, asking).await {
        Ok(output) => output.map_err(|error| bad(error.to_string()))?,
        Err(_) => return Ok(Err(unreadable(format!("reading it took more than {} s", PATIENCE.as_secs())))),
    };
    if !output.status.success() {
        // The parser itself gave up: hopelessly nested code can do that.
        return Ok(Err(unreadable(format!("reading it ended Python: {}", crate::process::describe(output.status)))));
    }
    let verdict: Verdict = serde_json::from_slice(&output.stdout).map_err(|error| bad(error.to_string()))?;
    Ok(if verdict.ok {
        Ok(serde_json::from_slice(&output.stdout).map_err(|error| bad(error.to_string()))?)
    } else {
        Err(serde_json::from_slice(&output.stdout).map_err(|error| bad(error.to_string()))?)
    })
}

fn unreadable(message: String) -> SyntaxProblem {
    SyntaxProblem { line: None, column: None, message, hint: Some("make the script simpler".into()) }
}
