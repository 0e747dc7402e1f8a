//! The tools that the suite needs and that are no crates: installed with pip below `target/tools`, nowhere else.
//!
//! Versions and hashes are pinned in `xtask/tools.txt`, because two of the packages are others' repackagings of a binary.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::shell;

/// The folder with the tools, which Python can import from.
pub fn packages() -> PathBuf {
    shell::target().join("tools")
}

/// The folder with the tools' programs.
fn programs() -> PathBuf {
    packages().join("bin")
}

/// Installs what `xtask/tools.txt` pins, unless that very list is installed already.
pub fn install() -> Result<()> {
    install_list("tools.txt", &packages())
}

/// The same for another list, into a folder of its own.
pub fn install_list(name: &str, folder: &Path) -> Result<()> {
    let list = shell::root().join("xtask").join(name);
    let wanted = fs::read_to_string(&list).with_context(|| format!("can't read {}", list.display()))?;
    let receipt = folder.join("installed.txt");
    if fs::read_to_string(&receipt).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    println!("installing the tools of xtask/{name} into {}", folder.display());
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("can't remove {}", folder.display()))?;
    }
    let mut pip = shell::python();
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]);
    pip.args(["--no-deps", "--only-binary=:all:", "--require-hashes", "--target"])
        .arg(folder)
        .arg("--requirement")
        .arg(&list);
    shell::run(&mut pip).context("can't install the tools; pip is needed (Debian: apt-get install python3-pip)")?;
    fs::write(&receipt, wanted).with_context(|| format!("can't write {}", receipt.display()))
}

/// A tool's program: ours if it is installed, else the one on the `PATH`.
pub fn program(name: &str) -> OsString {
    let ours = programs().join(name);
    if ours.is_file() { ours.into_os_string() } else { name.into() }
}

/// The `PATH` with our tools in front.
pub fn path() -> Result<OsString> {
    let rest = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(programs()).chain(std::env::split_paths(&rest)))
        .context("the folder of the workspace can't stand in a PATH")
}
