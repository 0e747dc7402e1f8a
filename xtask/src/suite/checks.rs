//! The steps that hand over to a tool: formatter, linter, documentation, licences, test runners.

use anyhow::{Context as _, Result, bail};

use super::Report;
use super::counts::Counts;
use crate::{files, shell, tools};

/// Runs one command whose exit code is the answer.
fn plain(command: &mut std::process::Command) -> Report {
    shell::run(command).map(|()| Counts::success())
}

pub fn format() -> Report {
    plain(shell::cargo().args(["fmt", "--all", "--check"]))
}

pub fn clippy() -> Report {
    plain(shell::cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))
}

/// Private items are documented too: the links inside the crates are for the people who work on them.
pub fn docs() -> Report {
    plain(
        shell::cargo()
            .args(["doc", "--workspace", "--no-deps", "--document-private-items", "--locked", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

fn deny() -> std::process::Command {
    let mut command = shell::command(tools::program("cargo-deny"));
    command.args(["--workspace", "--locked", "check", "--hide-inclusion-graph"]);
    command
}

pub fn licences() -> Report {
    plain(deny().args(["licenses", "bans", "sources"]))
}

/// Known vulnerabilities. cargo-deny clones the RustSec database from github.com, and no registry carries a copy of it.
pub fn advisories() -> Result<()> {
    let told = shell::tell(deny().arg("advisories"))?;
    if !told.success {
        let unreachable = told.text.contains("failed to fetch advisory database");
        let hint = if unreachable {
            ": the RustSec database is not reachable from here (https://github.com/rustsec/advisory-db)"
        } else {
            ""
        };
        bail!("cargo-deny ended with {}{hint}", told.end);
    }
    Ok(())
}

/// Runs nextest over the workspace.
fn nextest(arguments: &[&str]) -> Report {
    let mut command = shell::command(tools::program("cargo-nextest"));
    command.args(["nextest", "run", "--workspace", "--locked", "--no-fail-fast"]).args(arguments);
    // A snapshot that differs fails its test; nothing is written beside it behind our back.
    command.env("INSTA_UPDATE", "no").env("PATH", tools::path()?);
    let told = shell::tell(&mut command)?;
    let counts = Counts::from_nextest(&told.text).with_context(|| format!("nextest ended with {}", told.end))?;
    if !told.success && counts.failed == 0 {
        bail!("nextest ended with {} although no test failed", told.end);
    }
    Ok(counts)
}

pub fn tests() -> Report {
    let counts = nextest(&[])?;
    let parts = parts_of_tests()?;
    Ok(Counts { skipped: counts.skipped.saturating_sub(parts), ..counts })
}

/// How many functions carry the mark of a test without being one: another test starts them as a process of its own to
/// kill it, or a person writes golden files with them. Their `#[ignore]` says which; any other is a skipped test.
fn parts_of_tests() -> Result<u32> {
    let crates = shell::root().join("crates");
    let mut parts = 0;
    for path in files::list(&crates)? {
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(crates.join(&path))?;
            let reasons = text.lines().filter_map(|line| line.trim().strip_prefix("#[ignore = \""));
            let is_part =
                |reason: &&str| ["started by", "run by", "writes"].iter().any(|start| reason.starts_with(start));
            parts += reasons.filter(is_part).count() as u32;
        }
    }
    Ok(parts)
}

/// Only the tests whose names contain `filter`. What the filter leaves out does not count as skipped.
pub fn tests_named(filter: &str) -> Report {
    nextest(&[filter]).map(|counts| Counts { skipped: 0, ..counts })
}

/// nextest leaves these to cargo.
pub fn doctests() -> Report {
    let told =
        shell::tell(shell::cargo().args(["test", "--workspace", "--doc", "--locked"]).env("PATH", tools::path()?))?;
    let counts = Counts::from_cargo_test(&told.text)?;
    if !told.success && counts.failed == 0 {
        bail!("cargo test --doc ended with {}", told.end);
    }
    Ok(counts)
}

/// Files that others are made from or compared with are neither stale nor half accepted.
pub fn derived() -> Report {
    let crates = shell::root().join("crates");
    let waiting: Vec<String> = files::list(&crates)?
        .iter()
        .filter(|path| path.to_string_lossy().ends_with(".snap.new"))
        .map(|path| format!("crates/{}", path.display()))
        .collect();
    if !waiting.is_empty() {
        bail!("snapshots wait for review, accept or remove them: {}", waiting.join(", "));
    }
    let quiet = std::process::Stdio::null();
    plain(shell::cargo().args(["metadata", "--locked", "--format-version=1"]).stdout(quiet))
        .context("Cargo.lock does not fit the manifests; run `cargo check` and commit it")
}
