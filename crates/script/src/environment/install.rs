//! Resolving and installing, with `uv` or with `venv` and `pip`.
//!
//! An environment holds absolute paths, so it is made where it will be used, under a file lock, and counts as made
//! only when its last file, a copy of the lock, is there.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::fcntl::OFlag;
use serde::Deserialize;

use super::tools::Reach;
use super::{Environment, Lock, Progress, Tools};
use crate::error::Error;
use crate::interpreter::Interpreter;

/// The file that says that an environment is whole.
const COMPLETE: &str = "opendmp-complete";
/// Bytes of a file that the tools made which are read.
const LARGEST: u64 = 64 << 20;
/// The first pip that can say what it would install.
const PIP_REPORTS: (u32, u32) = (22, 2);

/// Exact versions with hashes, in pip's format.
pub(super) async fn resolve(
    dependencies: &[String],
    python: &Interpreter,
    tools: &Tools,
    progress: &Progress,
) -> Result<String, Error> {
    let dir = opendmp_sandbox::folders::TempFolder::new(None, "opendmp-");
    let dir = dir.map_err(|error| Error::start("resolve packages", error))?;
    let wanted = dir.path().join("requirements.in");
    let resolved = dir.path().join("requirements.txt");
    write(&wanted, &(dependencies.join("\n") + "\n"))?;
    let Some(uv) = &tools.uv else {
        return resolve_with_pip(dir.path(), &wanted, python, tools, progress).await;
    };
    let mut command = tools.command(uv);
    command.current_dir(dir.path());
    command.args(["pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"]);
    command.args(["--color", "never", "--no-python-downloads", "--no-progress"]);
    if !tools.allow_builds {
        command.args(["--only-binary", ":all:"]);
    }
    command.arg("--python").arg(&python.executable).arg("--output-file").arg(&resolved).arg(&wanted);
    progress(&format!("resolving {}", dependencies.join(", ")));
    tools.run(command, "resolve the script's packages", Reach::WriteWithCaches(dir.path()), progress).await?;
    read(&resolved).map_err(|error| Error::start("read the resolved packages", error))
}

#[derive(Deserialize)]
struct Report {
    install: Vec<Installed>,
}

#[derive(Deserialize)]
struct Installed {
    metadata: Named,
    download_info: Download,
    #[serde(default)]
    is_direct: bool,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    version: String,
}

#[derive(Deserialize)]
struct Download {
    url: String,
    archive_info: Option<Archive>,
}

#[derive(Deserialize)]
struct Archive {
    #[serde(default)]
    hashes: std::collections::BTreeMap<String, String>,
}

async fn resolve_with_pip(
    dir: &Path,
    wanted: &Path,
    python: &Interpreter,
    tools: &Tools,
    progress: &Progress,
) -> Result<String, Error> {
    progress("resolving with pip; `uv` would be faster");
    let venv = dir.join("venv");
    let pip = make_venv(&venv, python, tools, progress).await?;
    let said = Arc::new(Mutex::new(String::new()));
    let to = Arc::clone(&said);
    let note: Progress = Arc::new(move |line| to.lock().unwrap_or_else(PoisonError::into_inner).push_str(line));
    let mut command = tools.command(&pip);
    command.args(["-m", "pip", "--version"]);
    tools.run(command, "ask pip for its version", Reach::Read(dir), &note).await?;
    let version = said.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if pip_version(&version).is_none_or(|version| version < PIP_REPORTS) {
        let mut command = tools.command(&pip);
        command.args(["-m", "pip", "install", "--quiet", "--only-binary", ":all:", "--upgrade", "pip"]);
        tools.run(command, "get a pip that can resolve packages", Reach::Write(dir), progress).await?;
    }
    let report = dir.join("report.json");
    let mut command = tools.command(&pip);
    command.args(["-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-color"]);
    if !tools.allow_builds {
        command.args(["--only-binary", ":all:"]);
    }
    command.arg("--report").arg(&report).arg("-r").arg(wanted);
    tools.run(command, "resolve the script's packages", Reach::Write(dir), progress).await?;
    let bad = |error: io::Error| Error::start("read what pip resolved", error);
    let report: Report = serde_json::from_str(&read(&report).map_err(bad)?).map_err(|error| bad(error.into()))?;
    let mut lines: Vec<String> = report.install.iter().map(requirement).collect();
    lines.sort();
    Ok(lines.join("\n"))
}

fn requirement(package: &Installed) -> String {
    let Named { name, version } = &package.metadata;
    let what = if package.is_direct {
        format!("{name} @ {}", package.download_info.url)
    } else {
        format!("{name}=={version}")
    };
    let hashes = package.download_info.archive_info.as_ref().map(|archive| &archive.hashes);
    match hashes.and_then(|hashes| hashes.get("sha256")) {
        Some(hash) => format!("{what} \\\n    --hash=sha256:{hash}"),
        None => what,
    }
}

/// `pip 23.2.1 from …` as (23, 2).
fn pip_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split_whitespace().nth(1)?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// A virtual environment with pip; its Python.
async fn make_venv(dir: &Path, python: &Interpreter, tools: &Tools, progress: &Progress) -> Result<PathBuf, Error> {
    fs::create_dir_all(dir).map_err(|error| Error::start("make a virtual environment", error))?;
    let mut command = tools.command(&python.executable);
    command.args(["-I", "-m", "venv"]).arg(dir);
    tools.run(command, "make a virtual environment", Reach::Write(dir), progress).await?;
    Ok(dir.join("bin/python"))
}

/// See [`super::ensure`].
pub(super) async fn ensure(
    lock: &Lock,
    python: &Interpreter,
    tools: &Tools,
    cache_dir: &Path,
    progress: &Progress,
) -> Result<Environment, Error> {
    let disk = |error| Error::start(format!("use the environments in {}", cache_dir.display()), error);
    opendmp_sandbox::folders::make_private(cache_dir).map_err(disk)?;
    let cache_dir = cache_dir.canonicalize().map_err(disk)?;
    let key = format!(
        "{}\n{}\n{}\n{}-{}",
        lock.text(),
        python.executable.display(),
        python.version_text(),
        std::env::consts::OS,
        std::env::consts::ARCH
    );
    let id = blake3::derive_key("opendmp 2026 python environment v1", key.as_bytes());
    let name = blake3::Hash::from_bytes(id).to_hex()[..32].to_owned();
    let dir = cache_dir.join(&name);
    if let Some(found) = complete(&dir, lock, python, &name) {
        return Ok(found);
    }
    // Held until the environment is whole; the system lets go of it if this process is killed.
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(cache_dir.join(format!("{name}.lock")))
        .map_err(disk)?;
    let waiting = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
    let _guard = waiting.map_err(io::Error::other).and_then(|locked| locked).map_err(disk)?;
    if let Some(found) = complete(&dir, lock, python, &name) {
        return Ok(found);
    }
    let (old, new) = (dir.clone(), dir.clone());
    let removing = tokio::task::spawn_blocking(move || match opendmp_sandbox::folders::remove(&old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir(&new),
    });
    removing.await.map_err(io::Error::other).and_then(|removed| removed).map_err(disk)?;
    progress(&format!("installing {} packages for Python {}", lock.packages().len(), python.version_text()));
    let wanted = dir.join("requirements.txt");
    write(&wanted, lock.text())?;
    match &tools.uv {
        Some(uv) => install_with_uv(uv, lock, python, &dir, &wanted, tools, progress).await?,
        None => install_with_pip(lock, python, &dir, &wanted, tools, progress).await?,
    }
    let mut command = tools.command(&dir.join("bin/python"));
    command.args(["-I", "-S", "-c", ""]);
    tools.run(command, "start Python in the new environment", Reach::Read(&dir), progress).await?;
    finish(&dir, lock).map_err(disk)?;
    complete(&dir, lock, python, &name).ok_or_else(|| Error::Environment {
        message: format!("the environment in {} does not work", dir.display()),
        hint: Some("remove that directory, and try again".into()),
    })
}

async fn install_with_uv(
    uv: &Path,
    lock: &Lock,
    python: &Interpreter,
    dir: &Path,
    wanted: &Path,
    tools: &Tools,
    progress: &Progress,
) -> Result<(), Error> {
    let mut command = tools.command(uv);
    command.args(["venv", "--quiet", "--allow-existing", "--no-project", "--no-python-downloads", "--color", "never"]);
    command.arg("--python").arg(&python.executable).arg(dir);
    tools.run(command, "make a virtual environment", Reach::WriteWithCaches(dir), progress).await?;
    if lock.is_empty() {
        return Ok(());
    }
    let mut command = tools.command(uv);
    // Not `clone`: where the file system can't, that makes hard links, by which one environment could change uv's cache.
    command.args(["pip", "install", "--no-progress", "--color", "never", "--no-deps", "--link-mode", "copy"]);
    if !tools.allow_builds {
        command.args(["--only-binary", ":all:"]);
    }
    if lock.text().contains("--hash=") {
        command.arg("--require-hashes");
    }
    command.arg("--python").arg(dir.join("bin/python")).arg("-r").arg(wanted);
    tools.run(command, "install the script's packages", Reach::WriteWithCaches(dir), progress).await?;
    // Scripts may not write here, so what Python would keep of the compilation is made now. Not by uv, which would run
    // the environment's own Python, with whatever packages put in its place, where it can write its cache.
    let mut command = tools.command(&python.executable);
    command.args(["-I", "-S", "-m", "compileall", "-q", "-j", "0"]).arg(dir.join("lib"));
    let silent: Progress = Arc::new(|_| {});
    // Packages have files that are not for this version. Without it scripts start slower.
    let _ = tools.run(command, "compile the script's packages", Reach::Write(dir), &silent).await;
    Ok(())
}

async fn install_with_pip(
    lock: &Lock,
    python: &Interpreter,
    dir: &Path,
    wanted: &Path,
    tools: &Tools,
    progress: &Progress,
) -> Result<(), Error> {
    let python = make_venv(dir, python, tools, progress).await?;
    if lock.is_empty() {
        return Ok(());
    }
    let mut command = tools.command(&python);
    command.args(["-m", "pip", "install", "--no-deps", "--no-color", "--progress-bar", "off"]);
    if !tools.allow_builds {
        command.args(["--only-binary", ":all:"]);
    }
    if lock.text().contains("--hash=") {
        command.arg("--require-hashes");
    }
    command.arg("-r").arg(wanted);
    // A package may replace modules of pip, which then run in it.
    tools.run(command, "install the script's packages", Reach::Write(dir), progress).await
}

/// Say that an environment is whole: durable only after everything before it.
fn finish(dir: &Path, lock: &Lock) -> io::Result<()> {
    let beside = dir.join(format!("{COMPLETE}.new"));
    // The installation may have put a link there, which must not be followed.
    let mut file = File::create_new(&beside)?;
    file.write_all(lock.text().as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, dir.join(COMPLETE))?;
    File::open(dir)?.sync_all()
}

/// The environment in a directory, if it is whole. Nothing of it is run, and nothing that it says of itself is believed:
/// its packages may have changed all of it. Its directory is named by the interpreter that it was made with.
fn complete(dir: &Path, lock: &Lock, python: &Interpreter, name: &str) -> Option<Environment> {
    if read(&dir.join(COMPLETE)).ok()? != lock.text() {
        return None;
    }
    let interpreter = dir.join("bin/python");
    interpreter.exists().then(|| Environment {
        interpreter,
        made_with: python.executable.clone(),
        root: Some(dir.to_owned()),
        base: python.base.clone(),
        version: python.version_text(),
        id: name.to_owned(),
    })
}

/// A file that a step made. What it put there instead, such as a link to what it can't read itself, is not read.
fn read(path: &Path) -> io::Result<String> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text)?;
    Ok(text)
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|error| Error::start(format!("write {}", path.display()), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pip_says_its_version() {
        assert_eq!(pip_version("pip 23.2.1 from /x (python 3.11)"), Some((23, 2)));
        assert_eq!(pip_version(""), None);
    }

    #[test]
    fn reports_become_requirements() {
        let report: Report = serde_json::from_str(
            r#"{"version": "1", "install": [
                {"metadata": {"name": "six", "version": "1.17.0"}, "is_direct": false,
                 "download_info": {"url": "https://e/six.whl", "archive_info": {"hash": "sha256=4721", "hashes": {"sha256": "4721"}}}},
                {"metadata": {"name": "own", "version": "1"}, "is_direct": true,
                 "download_info": {"url": "https://e/own.whl", "archive_info": {}}}]}"#,
        )
        .unwrap();
        let lines: Vec<_> = report.install.iter().map(requirement).collect();
        assert_eq!(lines, ["six==1.17.0 \\\n    --hash=sha256:4721", "own @ https://e/own.whl"]);
    }
}
