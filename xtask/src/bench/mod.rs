//! `cargo xtask bench`: the workloads, each beside its floor in the same run, with results that are checked.
//!
//! What is measured stands in a module each: `w1` (lightweight steps), `w3` (file drop), `w4` (idle). The floors are the
//! Python scripts in `bench/`. A run whose results are wrong is void: it ends the whole measurement with an error.

mod report;
mod server;
mod w1;
mod w3;
mod w4;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::shell::{self, Profile};
use crate::{files, tools};
pub use report::Row;

/// What is to be measured, and how often.
pub struct Plan {
    /// The binary under test.
    pub binary: PathBuf,
    /// A fresh folder for everything; on the disk that is measured.
    pub folder: PathBuf,
    /// How often each thing is measured.
    pub runs: usize,
    /// Files of one W3 run.
    pub files: usize,
    /// Files dropped one after another in W3.
    pub singles: usize,
    /// How long the idle server is watched in W4.
    pub idle: Duration,
}

/// A workload by name.
struct Workload {
    name: &'static str,
    measure: fn(&Plan) -> Result<Vec<Row>>,
}

const WORKLOADS: &[Workload] = &[
    Workload { name: "W1", measure: w1::fused },
    Workload { name: "W1c", measure: w1::checkpointed },
    Workload { name: "W3", measure: w3::measure },
    Workload { name: "W4", measure: w4::measure },
];

/// Fewer are no median.
const LEAST_RUNS: usize = 5;

/// Measures what the command line asks for.
pub fn main(arguments: &[&str]) -> Result<()> {
    let mut wanted = Vec::new();
    let mut runs = LEAST_RUNS;
    let mut profile = Profile::Release;
    let mut binary = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match *argument {
            "--runs" => {
                let count = rest.next().context("--runs needs a number")?;
                runs = count.parse().with_context(|| format!("--runs needs a number, not {count}"))?;
            }
            "--release" => profile = Profile::Release,
            "--debug" => profile = Profile::Debug,
            "--binary" => {
                let path = rest.next().context("--binary needs a path")?;
                binary = Some(std::path::absolute(path).with_context(|| format!("{path} is no path"))?);
            }
            name => match WORKLOADS.iter().find(|known| known.name.eq_ignore_ascii_case(name)) {
                Some(workload) => wanted.push(workload),
                None => bail!("there is no workload {name}; known are W1, W1c, W3, W4"),
            },
        }
    }
    if wanted.is_empty() {
        wanted.extend(WORKLOADS);
    }
    if runs < LEAST_RUNS {
        println!("note: medians of fewer than {LEAST_RUNS} runs say little");
    }
    tools::install()?;
    let folder = shell::target().join("bench").join("work");
    files::fresh(&folder)?;
    let plan = Plan {
        binary: binary.map_or_else(|| shell::build(profile), Ok)?,
        folder,
        runs,
        files: w3::FILES,
        singles: w3::SINGLES,
        idle: Duration::from_secs(60),
    };
    let mut rows = Vec::new();
    for Workload { name, measure } in wanted {
        println!("\n{name}: {} runs", plan.runs);
        rows.extend(measure(&plan).with_context(|| format!("{name} is void"))?);
    }
    report::publish(&plan, &rows)
}

/// The path of a script in `bench/`.
fn script(name: &str) -> PathBuf {
    shell::root().join("bench").join(name)
}

/// What `bench/check.py` says of a folder.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    count: u64,
    sha256: String,
}

/// Counts and hashes a folder; with `upper` as if every file had been upper-cased.
fn content(folder: &Path, upper: bool) -> Result<Content> {
    let mut command = shell::python();
    command.arg(script("check.py")).arg(folder).args(upper.then_some("--upper"));
    let told: Value = serde_json::from_str(&shell::capture(&mut command)?).context("check.py printed no JSON")?;
    Ok(Content {
        count: told["count"].as_u64().context("check.py printed no count")?,
        sha256: told["sha256"].as_str().context("check.py printed no hash")?.to_owned(),
    })
}

/// `size` bytes of lower-case words, the same for the same `seed` and different for another.
fn text(seed: u64, size: usize) -> Vec<u8> {
    // Knuth's MMIX generator; its upper bits are good enough to choose letters.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let letter = (state >> 33) % 32;
        bytes.push(match letter {
            0..26 => b'a' + letter as u8,
            26 => b'\n',
            _ => b' ',
        });
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_text_is_its_seed_s_own() {
        assert_eq!(text(7, 10_240), text(7, 10_240));
        assert_ne!(text(7, 100), text(8, 100));
        assert!(text(7, 1_000).iter().all(|byte| byte.is_ascii_lowercase() || b" \n".contains(byte)));
    }

    #[test]
    fn the_checker_sees_count_names_and_bytes() {
        let folder = std::env::temp_dir().join(format!("xtask-check-{}", std::process::id()));
        for side in ["in", "out"] {
            std::fs::create_dir_all(folder.join(side)).unwrap();
        }
        std::fs::write(folder.join("in/a"), "hello").unwrap();
        std::fs::write(folder.join("out/a"), "HELLO").unwrap();
        let wanted = content(&folder.join("in"), true).unwrap();
        assert_eq!(wanted.count, 1);
        assert_eq!(content(&folder.join("out"), false).unwrap(), wanted);
        assert_ne!(content(&folder.join("in"), false).unwrap(), wanted);
        std::fs::rename(folder.join("out/a"), folder.join("out/b")).unwrap();
        assert_ne!(content(&folder.join("out"), false).unwrap(), wanted);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
