//! The packages a script sees: its inline metadata (PEP 723) is resolved to a lock when a flow is saved, and the lock
//! is installed once on each machine that runs it.
//!
//! `uv` does both where it is found; otherwise `venv` and `pip` do, slower. Only wheels are installed unless
//! [`Tools::allow_builds`] says otherwise: building a package runs its code. All of it happens in the sandbox, and so
//! does everything that runs a program of an environment afterwards: packages can replace even its interpreter.
//!
//! Installed environments are shared by all flows with the same lock, so `cache_dir` belongs among the places that
//! are hidden from scripts ([`crate::Options::site`]); a worker can read its own environment.

mod direct;
mod install;
mod metadata;
mod tools;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Error;
use crate::interpreter::Interpreter;

pub use metadata::Metadata;
pub use tools::Tools;

/// Told, line by line, what is being done.
pub type Progress = Arc<dyn Fn(&str) + Send + Sync>;

/// The first line of a lock.
const LOCK_HEAD: &str = "# opendmp python lock 1";

/// An interpreter and the packages it sees.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Environment {
    /// The program that runs scripts. Where there are packages, they may have put anything in its place: it is run in
    /// the sandbox alone.
    pub interpreter: PathBuf,
    /// The machine's own Python that it was made with.
    pub(crate) made_with: PathBuf,
    /// The virtual environment's directory; none for the interpreter's own packages.
    pub root: Option<PathBuf>,
    /// Where the interpreter itself is installed.
    pub base: PathBuf,
    /// Its version, such as `3.11.7`.
    pub version: String,
    /// Equal for equal environments on one machine.
    pub id: String,
}

impl Environment {
    /// The machine's own Python with the packages installed for it: `python`, else `python3` on the `PATH`.
    ///
    /// # Errors
    /// When there is none, or it is older than 3.9.
    pub async fn system(python: Option<&Path>) -> Result<Self, Error> {
        let interpreter = Interpreter::probe(python.unwrap_or(Path::new("python3"))).await?;
        let version = interpreter.version_text();
        let id = format!("python {version} at {}", interpreter.executable.display());
        let Interpreter { executable, base, .. } = interpreter;
        Ok(Self { interpreter: executable.clone(), made_with: executable, root: None, base, version, id })
    }
}

/// The packages of a script, resolved to exact versions and their hashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lock {
    text: String,
    python: (u32, u32),
}

impl Lock {
    /// For requirements in pip's format, made for a version of Python.
    fn new(python: (u32, u32), requirements: &str) -> Self {
        let requirements = requirements.trim();
        let text = format!("{LOCK_HEAD}\n# python {}.{}\n{requirements}\n", python.0, python.1);
        Self { text, python }
    }

    /// Read a lock that [`Lock::text`] gave.
    ///
    /// # Errors
    /// When it is no such text.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let python = text
            .strip_prefix(LOCK_HEAD)
            .and_then(|rest| rest.strip_prefix("\n# python "))
            .and_then(|rest| rest.lines().next()?.split_once('.'))
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        match python {
            Some(python) => Ok(Self { text: text.to_owned(), python }),
            None => Err(Error::Environment {
                message: "this is not a lock of Python packages that this version can read".into(),
                hint: Some("save the flow again, so that its packages are resolved anew".into()),
            }),
        }
    }

    /// The lock as text, to be kept with the flow version. Also a requirements file that pip understands.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The version of Python it was made for, such as `3.11`.
    pub fn python(&self) -> String {
        format!("{}.{}", self.python.0, self.python.1)
    }

    /// Names and versions of the packages; a package that comes from an address has that in place of a version.
    pub fn packages(&self) -> Vec<(&str, &str)> {
        self.text
            .lines()
            .filter(|line| line.starts_with(|c: char| c.is_ascii_alphanumeric()))
            .filter_map(|line| {
                let line = line.split([' ', ';']).next().filter(|first| first.contains("==")).unwrap_or(line);
                let (name, version) = line.split_once("==").or_else(|| line.split_once(" @ "))?;
                Some((name.trim(), version.trim_end_matches('\\').trim()))
            })
            .collect()
    }

    fn is_empty(&self) -> bool {
        self.packages().is_empty()
    }

    /// A lock may have come with a flow from elsewhere: what would have to be built is refused here, too.
    fn refuse_builds(&self, tools: &Tools) -> Result<(), Error> {
        let lines = self.text.lines().map(|line| line.trim().trim_end_matches('\\').trim_end());
        let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#') && !line.starts_with("--hash="));
        match lines.find(|line| !tools.allow_builds && direct::is_built(line)) {
            Some(line) => Err(direct::refused(line)),
            None => Ok(()),
        }
    }
}

/// Resolve what a script asks for; none if it has no metadata block.
///
/// # Errors
/// When the block is not valid, no Python fits, or the packages can't be resolved; with a hint.
pub async fn lock(code: &str, tools: &Tools, progress: Progress) -> Result<Option<Lock>, Error> {
    let Some(metadata) = Metadata::parse(code)? else { return Ok(None) };
    let interpreter =
        tools.interpreter(|version| metadata.allows(version), metadata.requires_python.as_deref()).await?;
    let python = (interpreter.version.0, interpreter.version.1);
    if metadata.dependencies.is_empty() {
        return Ok(Some(Lock::new(python, "")));
    }
    // `--only-binary` does not hold for what is named by its address.
    if let Some(built) = metadata.dependencies.iter().find(|text| !tools.allow_builds && direct::is_built(text)) {
        return Err(direct::refused(built));
    }
    let requirements = install::resolve(&metadata.dependencies, &interpreter, tools, &progress).await?;
    let lock = Lock::new(python, &requirements);
    // Packages may ask for others by their address.
    lock.refuse_builds(tools)?;
    Ok(Some(lock))
}

/// The environment of a lock: from `cache_dir` if it was installed before, else installed now.
///
/// Safe to be called for the same lock by several tasks and processes at once, and to be killed at any moment.
///
/// # Errors
/// When there is no Python of the lock's version, or a package can't be installed; with a hint.
pub async fn ensure(lock: &Lock, tools: &Tools, cache_dir: &Path, progress: Progress) -> Result<Environment, Error> {
    lock.refuse_builds(tools)?;
    let wanted = lock.python;
    let text = format!("=={}.*", lock.python());
    let interpreter = tools.interpreter(|(major, minor, _)| (major, minor) == wanted, Some(&text)).await?;
    install::ensure(lock, &interpreter, tools, cache_dir, &progress).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_round_trip() {
        let lock = Lock::new(
            (3, 11),
            "six==1.17.0 \\\n    --hash=sha256:4721f391\nx @ https://example.org/x-1.whl\ny==2 ; python_version < '3'\n",
        );
        assert_eq!(Lock::parse(lock.text()).unwrap(), lock);
        assert_eq!(lock.packages(), [("six", "1.17.0"), ("x", "https://example.org/x-1.whl"), ("y", "2")]);
        assert_eq!(lock.python(), "3.11");
        assert!(Lock::new((3, 9), "").is_empty());
    }

    #[test]
    fn other_text_is_no_lock() {
        for text in
            ["", "six==1.17.0", "# opendmp python lock 2\n# python 3.11\n", "# opendmp python lock 1\n# python x"]
        {
            assert!(Lock::parse(text).is_err(), "{text}");
        }
    }
}
