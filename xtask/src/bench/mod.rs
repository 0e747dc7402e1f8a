//! `cargo xtask bench`: the workloads, each beside its floors and peers in the same run, with results that are checked.
//!
//! What is measured stands in a module each. The floors are the Python scripts in `bench/`, what the peers run stands in
//! `bench/peers`. A run whose results are wrong is void: it ends the whole measurement with an error.

mod asked;
mod commands;
mod fanout;
mod growth;
mod kept;
mod peers;
mod process;
mod report;
mod server;
mod w1;
mod w2;
mod w3;
mod w4;
mod w5;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::shell::{self, Profile};
use crate::{files, tools, web};
use peers::Peers;
pub use report::{Role, Row};

/// What is to be measured, and how often.
pub struct Plan {
    /// The binary under test.
    pub binary: PathBuf,
    /// A fresh folder for everything; on the disk that is measured.
    pub folder: PathBuf,
    /// How often each thing is measured.
    pub runs: usize,
    /// What sizes are multiplied with.
    pub scale: f64,
    /// Who takes part beside `opendmp` and the floors.
    pub peers: Peers,
}

impl Plan {
    /// A size times the scale, but at least `least`.
    pub fn sized(&self, size: usize, least: usize) -> usize {
        // Sizes are far below 2^53, and the cast ends at the bounds.
        ((size as f64 * self.scale) as usize).max(least)
    }

    /// How long an idle server is watched.
    pub fn idle(&self) -> Duration {
        Duration::from_secs(60).mul_f64(self.scale).max(Duration::from_secs(2))
    }
}

/// A workload by name.
struct Workload {
    name: &'static str,
    /// Whether it takes so long that it is measured only when it is named.
    long: bool,
    measure: fn(&Plan) -> Result<Vec<Row>>,
}

const fn short(name: &'static str, measure: fn(&Plan) -> Result<Vec<Row>>) -> Workload {
    Workload { name, long: false, measure }
}

const fn long(name: &'static str, measure: fn(&Plan) -> Result<Vec<Row>>) -> Workload {
    Workload { name, long: true, measure }
}

const WORKLOADS: &[Workload] = &[
    short("W1", w1::fused),
    short("W1c", w1::checkpointed),
    short("W2p", w2::scripts),
    short("W2b", w2::built_in),
    short("W2d", w2::datasets),
    short("W3", w3::measure),
    short("W4", w4::measure),
    short("W5", w5::copied),
    long("W4-1000", w4::many),
    long("W5z", w5::packed),
    long("growth", growth::datasets),
    long("flows", growth::flows),
    long("split", fanout::measure),
    long("kept", kept::measure),
    long("commands", commands::measure),
    long("listing", asked::listing),
    long("watchers", asked::watchers),
    long("page", asked::page),
];

/// Fewer are no median.
const LEAST_RUNS: usize = 5;

/// Measures what the command line asks for.
pub fn main(arguments: &[&str]) -> Result<()> {
    let mut wanted = Vec::new();
    let (mut runs, mut scale, mut with_peers) = (LEAST_RUNS, 1.0, false);
    let mut profile = Profile::Release;
    let mut binary = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match *argument {
            "--runs" => {
                let count = rest.next().context("--runs needs a number")?;
                runs = count.parse().with_context(|| format!("--runs needs a number, not {count}"))?;
                ensure!(runs > 0, "--runs needs at least 1");
            }
            "--scale" => {
                let by = rest.next().context("--scale needs a number")?;
                scale = by.parse().with_context(|| format!("--scale needs a number, not {by}"))?;
                ensure!(scale > 0.0 && scale <= 1.0, "--scale needs a number above 0, at most 1");
            }
            "--peers" => with_peers = true,
            "--release" => profile = Profile::Release,
            "--debug" => profile = Profile::Debug,
            "--binary" => {
                let path = rest.next().context("--binary needs a path")?;
                binary = Some(std::path::absolute(path).with_context(|| format!("{path} is no path"))?);
            }
            name => match WORKLOADS.iter().find(|known| known.name.eq_ignore_ascii_case(name)) {
                Some(workload) => wanted.push(workload),
                None => {
                    let known: Vec<&str> = WORKLOADS.iter().map(|known| known.name).collect();
                    bail!("there is no workload {name}; known are {}", known.join(", "))
                }
            },
        }
    }
    if wanted.is_empty() {
        wanted.extend(WORKLOADS.iter().filter(|workload| !workload.long));
    }
    if runs < LEAST_RUNS {
        println!("note: medians of fewer than {LEAST_RUNS} runs say little");
    }
    tools::install()?;
    if wanted.iter().any(|workload| workload.name == "page") {
        // Before the binary, which embeds it.
        web::build()?;
    }
    let folder = shell::target().join("bench").join("work");
    files::fresh(&folder)?;
    let plan = Plan {
        binary: binary.map_or_else(|| shell::build(profile), Ok)?,
        folder,
        runs,
        scale,
        peers: if with_peers { Peers::install()? } else { Peers::none() },
    };
    let mut rows = Vec::new();
    for Workload { name, measure, .. } in wanted {
        println!("\n{name}: {} runs", plan.runs);
        match measure(&plan) {
            Ok(measured) => rows.extend(measured),
            Err(error) => {
                // What was measured before took long, and stands.
                if !rows.is_empty() {
                    report::publish(&plan, &rows)?;
                }
                return Err(error.context(format!("{name} is void")));
            }
        }
    }
    report::publish(&plan, &rows)
}

/// Runs something that prints one JSON object.
fn told(command: &mut Command) -> Result<Value> {
    let line = shell::describe(command);
    serde_json::from_str(&shell::capture(command)?).with_context(|| format!("`{line}` printed no JSON"))
}

/// A number in what was told.
fn number(told: &Value, key: &str) -> Result<f64> {
    told[key].as_f64().with_context(|| format!("no number {key} in {told}"))
}

/// The numbers in what was told.
fn numbers(told: &Value, key: &str, count: usize) -> Result<Vec<f64>> {
    let all: Vec<f64> = told[key].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    ensure!(all.len() == count, "{} numbers {key} instead of {count} in {told}", all.len());
    Ok(all)
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

/// How the checker reads the files of a folder.
#[derive(Clone, Copy)]
enum Reading {
    AsTheyAre,
    /// As if every file had been upper-cased.
    Upper,
    /// Unpacked.
    Gunzip,
}

/// Counts and hashes a folder.
fn content(folder: &Path, reading: Reading) -> Result<Content> {
    let mut command = shell::python();
    command.arg(script("check.py")).arg(folder).args(match reading {
        Reading::AsTheyAre => None,
        Reading::Upper => Some("--upper"),
        Reading::Gunzip => Some("--gunzip"),
    });
    let told = told(&mut command)?;
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
        let wanted = content(&folder.join("in"), Reading::Upper).unwrap();
        assert_eq!(wanted.count, 1);
        assert_eq!(content(&folder.join("out"), Reading::AsTheyAre).unwrap(), wanted);
        assert_ne!(content(&folder.join("in"), Reading::AsTheyAre).unwrap(), wanted);
        std::fs::rename(folder.join("out/a"), folder.join("out/b")).unwrap();
        assert_ne!(content(&folder.join("out"), Reading::AsTheyAre).unwrap(), wanted);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
