//! W1, lightweight steps: one item through 40 scripts in sequence, each calling `fibonacci(10)`; W1c commits each step.
//!
//! Timed from the rename that drops the file to its output in place. That comes after the dataset's commit, which the
//! journal dates only to the millisecond; so the figure is an upper bound of what the workload asks for.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::peers::{self, Peer};
use super::report::NOTHING;
use super::server::{self, Server};
use super::{Plan, Reading, Role, Row, content, numbers, script, text, told};
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
         source: {{ type: file_drop, path: ./inbox, pattern: \"*.txt\", settle: 0s, after: delete }}\n"
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

    let mut rows = others(plan, name, checkpoint, &folder)?;

    let server = Server::start(&plan.binary, &folder)?;
    server.enable(&folder.join("flow.yaml"))?;
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
    let read = |name: &str| content(&folder.join(name), Reading::AsTheyAre);
    let (got, wanted) = (read("outbox")?, read("expected")?);
    ensure!(got == wanted, "the outputs are {got:?} instead of {wanted:?}");
    let datasets = server.datasets(name)?;
    ensure!(datasets == WARM + measured, "{datasets} datasets instead of {}", WARM + measured);

    rows.push(Row::ours(name, WHAT, "ms", times));
    Ok(rows)
}

/// What is measured.
const WHAT: &str = "one item through forty steps";

/// Floors and peers; for W1c only those that commit each step too.
fn others(plan: &Plan, workload: &'static str, checkpoint: bool, folder: &Path) -> Result<Vec<Row>> {
    let runs = plan.runs.to_string();
    let row = |role, who: &str, durable, values| Row {
        workload,
        what: WHAT.to_owned(),
        role,
        who: who.to_owned(),
        durable,
        unit: "ms",
        values,
    };
    let floor = told(shell::python().arg(script("floor_w1.py")).arg(&plan.folder).arg(&runs))?;
    let mut rows = Vec::new();
    for (key, who, durable) in [
        ("one_process", "floor: one Python process", NOTHING),
        ("process_per_step", "floor: a Python process per step", NOTHING),
        ("commit_per_step", "floor: one Python process, a commit per step", "each step's result"),
    ] {
        if !checkpoint || key == "commit_per_step" {
            rows.push(row(Role::Floor, who, durable, numbers(&floor, key, plan.runs)?));
        }
    }
    if plan.peers.has(Peer::Python) {
        if !checkpoint {
            let times = told(peers::python("luigi_w1.py").arg(folder).arg(&runs))?;
            rows.push(row(
                Role::Peer,
                "Luigi, local scheduler",
                "a file per step, not synced",
                numbers(&times, "ms", plan.runs)?,
            ));
        }
        let times = told(peers::python("dbos_w1.py").arg(folder).arg(&runs))?;
        rows.push(row(Role::Peer, "DBOS on SQLite", "each step's result", numbers(&times, "ms", plan.runs)?));
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
