//! W1, lightweight steps: one item through 40 scripts in sequence, each calling `fibonacci(10)`; W1c commits each step.
//!
//! Timed from the rename that drops the file to its output in place. That comes after the dataset's commit, which the
//! journal dates only to the millisecond; so the figure is an upper bound of what the workload asks for.

use std::fmt::Write as _;
use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::server::{self, Server};
use super::{Plan, Row, content, script, text};
use crate::{files, shell};

/// Scripts in sequence.
const STEPS: usize = 40;

/// Drops before the measured ones, for workers and caches to be warm.
const WARM: usize = 5;

/// Measured drops for each asked run: they are cheap, and one takes milliseconds.
const DROPS: usize = 4;

/// W1 as it stands.
pub fn fused(plan: &Plan) -> Result<Vec<Row>> {
    measure(plan, "W1", false)
}

/// W1c: each step says `checkpoint: true`.
pub fn checkpointed(plan: &Plan) -> Result<Vec<Row>> {
    measure(plan, "W1c", true)
}

/// The flow as a document.
fn flow(name: &str, checkpoint: bool) -> String {
    let mut flow = format!(
        "name: {name}\nprocessors:\n  - id: inbox\n    type: ingest\n    \
         source: {{ type: file_drop, path: ./inbox, pattern: \"*.txt\", settle: 0s }}\n"
    );
    let mut before = "inbox".to_owned();
    for step in 1..=STEPS {
        // Writing to a string can't fail.
        _ = write!(
            flow,
            "  - id: step{step}\n    type: script\n    inputs: [{before}]\n    language: python\n{}    code: |\n      \
             def fibonacci(n):\n          return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)\n\n      \
             def process(data: bytes) -> bytes:\n          fibonacci(10)\n          return data\n",
            if checkpoint { "    checkpoint: true\n" } else { "" }
        );
        before = format!("step{step}");
    }
    _ = write!(
        flow,
        "  - id: shelf\n    type: collect\n    inputs: [{before}]\n    collection: {name}\n    \
         destination: {{ type: folder, path: ./outbox, name: \"{{name}}\" }}\n"
    );
    flow
}

fn measure(plan: &Plan, name: &'static str, checkpoint: bool) -> Result<Vec<Row>> {
    let folder = plan.folder.join(name);
    files::fresh(&folder)?;
    for part in ["inbox", "outbox", "staged", "expected"] {
        fs::create_dir(folder.join(part)).context("can't make the folders")?;
    }
    fs::write(folder.join("flow.yaml"), flow(name, checkpoint)).context("can't write the flow")?;

    let mut rows = floors(plan, name, checkpoint)?;

    let server = Server::start(&plan.binary, &folder)?;
    let flow = folder.join("flow.yaml");
    server.ask(&["flows", "enable", flow.to_str().context("the folder's path is not UTF-8")?])?;
    let mut times = Vec::new();
    let measured = plan.runs * DROPS;
    for drop in 0..WARM + measured {
        let file = format!("{drop:04}.txt");
        let data = text(drop as u64, 64);
        fs::write(folder.join("expected").join(&file), &data).context("can't write a file")?;
        fs::write(folder.join("staged").join(&file), &data).context("can't write a file")?;
        let begin = Instant::now();
        fs::rename(folder.join("staged").join(&file), folder.join("inbox").join(&file)).context("can't drop a file")?;
        let took = server::appears(&folder.join("outbox").join(&file), begin)?;
        if drop >= WARM {
            times.push(took.as_secs_f64() * 1000.0);
        }
    }
    let (got, wanted) = (content(&folder.join("outbox"), false)?, content(&folder.join("expected"), false)?);
    ensure!(got == wanted, "the outputs are {got:?} instead of {wanted:?}");
    let datasets = server.datasets(name)?;
    ensure!(datasets == WARM + measured, "{datasets} datasets instead of {}", WARM + measured);

    let what = if checkpoint { "each step committed, to output in place" } else { "to output in place" };
    rows.push(Row { workload: name, who: "opendmp", what: what.to_owned(), unit: "ms", values: times });
    Ok(rows)
}

/// The floors that belong to the workload: for W1c only the one that commits each step too.
fn floors(plan: &Plan, workload: &'static str, checkpoint: bool) -> Result<Vec<Row>> {
    let mut command = shell::python();
    command.arg(script("floor_w1.py")).arg(&plan.folder).arg(plan.runs.to_string());
    let told: Value = serde_json::from_str(&shell::capture(&mut command)?).context("floor_w1.py printed no JSON")?;
    let floors: &[(&str, &'static str, &str)] = &[
        ("one_process", "floor, nothing durable", "one Python process"),
        ("process_per_step", "floor, nothing durable", "a Python process per step"),
        ("commit_per_step", "floor, durable", "one Python process, one commit per step"),
    ];
    let mut rows = Vec::new();
    for (key, who, what) in floors.iter().skip(if checkpoint { 2 } else { 0 }) {
        let values = told[*key].as_array().with_context(|| format!("floor_w1.py printed no {key}"))?;
        let values: Vec<f64> = values.iter().filter_map(Value::as_f64).collect();
        ensure!(values.len() == plan.runs, "floor_w1.py printed {} values for {key}", values.len());
        rows.push(Row { workload, who, what: (*what).to_owned(), unit: "ms", values });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flow_is_a_chain_of_forty() {
        let flow = flow("W1c", true);
        assert_eq!(flow.matches("type: script").count(), STEPS);
        assert_eq!(flow.matches("checkpoint: true").count(), STEPS);
        assert!(
            flow.contains("inputs: [inbox]") && flow.contains("inputs: [step39]") && flow.contains("inputs: [step40]")
        );
    }
}
