//! The web page: built by Node from `web/` to `web/dist`, which the binary embeds (a debug build reads it from there).
//!
//! Packages are those of `web/package-lock.json`, installed once for each state of it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::shell;

/// The oldest Node that the build was tried with.
const NODE: u32 = 20;

/// The folder of the page's sources.
pub fn folder() -> PathBuf {
    shell::root().join("web")
}

/// Installs what is missing and builds the page.
pub fn build() -> Result<()> {
    install()?;
    shell::run(npm().args(["run", "--silent", "build"]))
}

/// A script of `web/package.json`.
pub fn script(name: &str) -> Command {
    let mut command = npm();
    command.args(["run", "--silent", name]);
    command
}

/// Installs the packages, unless those of this very lock file are there.
pub fn install() -> Result<()> {
    check_node()?;
    let lock = folder().join("package-lock.json");
    let wanted = fs::read_to_string(&lock).with_context(|| format!("can't read {}", lock.display()))?;
    let receipt = folder().join("node_modules").join(".opendmp-installed");
    if fs::read_to_string(&receipt).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    println!("installing the packages of web/package-lock.json");
    shell::run(npm().args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]))?;
    fs::write(&receipt, wanted).with_context(|| format!("can't write {}", receipt.display()))
}

fn npm() -> Command {
    let mut command = shell::command("npm");
    command.current_dir(folder());
    command
}

fn check_node() -> Result<()> {
    let needed =
        format!("Node {NODE} or newer is needed for the web page (https://nodejs.org); the server works without");
    let said = shell::capture(shell::command("node").arg("--version")).with_context(|| needed.clone())?;
    let major = said.trim().trim_start_matches('v').split('.').next().and_then(|number| number.parse::<u32>().ok());
    if major.is_none_or(|major| major < NODE) {
        bail!("this is Node {}; {needed}", said.trim());
    }
    Ok(())
}
