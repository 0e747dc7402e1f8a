//! `cargo xtask test`: every check and test of the project as named, timed steps, and one table at the end.
//!
//! What a step does is in the modules below; here is only which there are, in which order, and how they are told.
//! Nothing is skipped silently: a step that can't do its work fails, and under `CI=true` so does a skipped test.

mod checks;
mod contract;
mod counts;
mod documents;
mod examples;
mod page;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::{shell, tools};
pub use counts::Counts;

/// What a step reports: how many tests it ran, or why it failed before it could.
pub type Report = Result<Counts>;

/// A check or a group of tests.
struct Step {
    /// As given on the command line.
    name: &'static str,
    /// What is checked, in a few words.
    about: &'static str,
    run: fn() -> Report,
}

/// Cheap ones first, so that a slip is told early.
const STEPS: &[Step] = &[
    Step { name: "format", about: "Rust sources are formatted", run: checks::format },
    Step { name: "links", about: "links and anchors in the documents lead somewhere", run: documents::links },
    Step { name: "licences", about: "licences, banned crates, sources (cargo-deny)", run: checks::licences },
    Step { name: "packages", about: "licences of the page's packages", run: page::package_licences },
    Step { name: "page", about: "types, unit tests and size of the web page", run: page::page },
    Step { name: "clippy", about: "lints, all targets, warnings denied", run: checks::clippy },
    Step { name: "docs", about: "the API documentation builds without warnings", run: checks::docs },
    Step { name: "tests", about: "unit and integration tests (nextest)", run: checks::tests },
    Step { name: "doctests", about: "examples in the API documentation", run: checks::doctests },
    Step { name: "statements", about: "commands and files that the documents show", run: documents::statements },
    Step { name: "examples", about: "each example gives what its expected/ holds", run: examples::all },
    Step { name: "demo", about: "cargo xtask demo", run: examples::demo },
    Step {
        name: "contract",
        about: "a server answers as its description says, whatever is asked",
        run: contract::kept,
    },
    Step { name: "e2e", about: "journeys through the page in a real browser", run: page::e2e },
    Step { name: "derived", about: "no snapshot waits for review, Cargo.lock is up to date", run: checks::derived },
];

/// Runs the suite as the command line asks for it.
pub fn main(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["--list"] => {
            for step in STEPS {
                println!("{:<12} {}", step.name, step.about);
            }
            Ok(())
        }
        [] => {
            tools::install()?;
            all(&STEPS.iter().collect::<Vec<_>>())
        }
        ["e2e", filter] => {
            let counts = page::journeys(Some(filter))?;
            println!("{}", counts.closing_line());
            if counts.failed > 0 { bail!("{} journeys failed", counts.failed) } else { Ok(()) }
        }
        [filter] if !filter.starts_with('-') => {
            tools::install()?;
            match STEPS.iter().find(|step| step.name == *filter) {
                Some(step) => all(&[step]),
                None => {
                    let counts = checks::tests_named(filter)?;
                    println!("{}", counts.closing_line());
                    if counts.failed > 0 { bail!("{} tests failed", counts.failed) } else { Ok(()) }
                }
            }
        }
        _ => bail!("test takes one filter, `e2e` and a part of a journey's name, or --list"),
    }
}

/// `cargo xtask advisories`, apart from the suite because its database has to be fetched from github.com.
pub fn advisories() -> Result<()> {
    tools::install()?;
    checks::advisories()
}

/// Runs the steps one after another, all of them whatever happens, and prints the table.
fn all(steps: &[&Step]) -> Result<()> {
    let begin = Instant::now();
    let mut rows: Vec<(&Step, Report, Duration)> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        println!("\n== {}/{} {}: {}", number + 1, steps.len(), step.name, step.about);
        let begin = Instant::now();
        let report = (step.run)();
        if let Err(error) = &report {
            println!("{}: {error:#}", step.name);
        }
        rows.push((step, report, begin.elapsed()));
    }

    let mut sum = Counts::default();
    let mut failed = Vec::new();
    println!("\n{:<12} {:<8} {:>14} {:>13}", "step", "result", "tests", "time");
    for (step, report, time) in &rows {
        let counts = report.as_ref().copied().unwrap_or_else(|_| Counts::failure());
        let skipping = shell::in_ci() && counts.skipped > 0;
        let result = match (report, counts.failed, skipping) {
            (Ok(_), 0, false) => "passed",
            (Ok(_), 0, true) => "SKIPPED",
            _ => "FAILED",
        };
        if result != "passed" {
            failed.push(step.name);
        }
        println!("{:<12} {result:<8} {:>14} {:>13}", step.name, counts.to_string(), shell::spell(*time));
        sum = sum + counts;
    }
    println!("{} in all; a step without tests of its own counts as one", shell::spell(begin.elapsed()));
    println!("{}", sum.closing_line());
    if !failed.is_empty() {
        let why = if shell::in_ci() { " (under CI=true a skipped test is a failure too)" } else { "" };
        bail!("failed: {}{why}", failed.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::STEPS;

    #[test]
    fn steps_can_be_told_apart() {
        for (number, step) in STEPS.iter().enumerate() {
            assert!(STEPS[..number].iter().all(|other| other.name != step.name), "{}", step.name);
            assert!(!step.about.ends_with('.'), "{}", step.about);
        }
    }
}
