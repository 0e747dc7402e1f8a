//! commands: 2,000 files through `cat` as an `external` step, beside `xargs -P2` that runs `cat` for the same files.
//!
//! What is compared is the price of a command: its process, the walls around it, and handing its bytes in and out. So each
//! value is milliseconds per command, and the difference of the two is what `opendmp` adds. `xargs` runs as many commands at
//! once as the flow does.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::report::NOTHING;
use super::server::{self, Server};
use super::{Content, Plan, Reading, Role, Row, content, text};
use crate::{files, shell};

/// Commands of a run.
const COMMANDS: usize = 2_000;

/// How many of them at once.
const AT_ONCE: usize = 2;

/// Bytes of each file: little, so that the commands count and not the copying.
const SIZE: usize = 1_024;

/// Files before the measured ones.
const WARM: usize = 5;

fn flow() -> String {
    format!(
        r#"name: Commands
processors:
  - id: inbox
    type: ingest
    source: {{ type: file_drop, path: ./inbox, pattern: "*.txt", settle: 0s, after: delete }}
  - id: cat
    type: external
    inputs: [inbox]
    concurrency: {AT_ONCE}
    command: [cat]
  - id: results
    type: collect
    inputs: [cat]
    collection: Commands
    destination: {{ type: folder, path: ./outbox, name: "{{name}}" }}
"#
    )
}

/// Both in turn, round by round.
pub fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let count = plan.sized(COMMANDS, 20);
    let (mut bare, mut ours, mut added) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..plan.runs {
        let folder = plan.folder.join(format!("commands-{run}"));
        files::fresh(&folder)?;
        let wanted = stage(&folder, count)?;
        let floor = floor(&folder, count).context("xargs")?;
        ensure!(content(&folder.join("bare"), Reading::AsTheyAre)? == wanted, "xargs wrote something else");
        let here = opendmp(plan, &folder, count).context("opendmp")?;
        ensure!(content(&folder.join("outbox"), Reading::AsTheyAre)? == wanted, "opendmp wrote something else");
        println!("  run {}: xargs {floor:.3} ms, opendmp {here:.3} ms, {:.3} ms more a command", run + 1, here - floor);
        bare.push(floor);
        ours.push(here);
        added.push(here - floor);
        fs::remove_dir_all(&folder).with_context(|| format!("can't remove {}", folder.display()))?;
    }
    let what = format!("{count} x cat, a command");
    let row = |role, who: &str, what: &str, values| Row {
        workload: "commands",
        what: what.to_owned(),
        role,
        who: who.to_owned(),
        durable: NOTHING,
        unit: "ms",
        values,
    };
    Ok(vec![
        row(Role::Floor, "floor: xargs -P2, sh and cat", &what, bare),
        Row::ours("commands", what, "ms", ours),
        Row::ours("commands", "what opendmp adds to a command (2 ms at most)", "ms", added),
    ])
}

/// Writes the files into `staged`, and answers what must come out.
fn stage(folder: &Path, count: usize) -> Result<Content> {
    for name in ["staged", "inbox", "outbox", "bare"] {
        fs::create_dir_all(folder.join(name)).context("can't make the folders")?;
    }
    for number in 0..WARM + count {
        let path = folder.join("staged").join(name(number));
        fs::write(path, text(number as u64, SIZE)).context("can't write a file")?;
    }
    content(&folder.join("staged"), Reading::AsTheyAre)
}

fn name(number: usize) -> String {
    format!("{number:05}.txt")
}

/// Milliseconds a command of `xargs`. A shell for each redirects its output, since `cat` itself can't.
fn floor(folder: &Path, count: usize) -> Result<f64> {
    let mut command = Command::new("sh");
    let line = format!("ls staged | xargs -P{AT_ONCE} -n1 sh -c 'exec cat < \"staged/$1\" > \"bare/$1\"' sh");
    let begin = Instant::now();
    shell::run(command.current_dir(folder).args(["-c", &line]))?;
    // The warm ones are among them.
    Ok(begin.elapsed().as_secs_f64() * 1_000.0 / (WARM + count) as f64)
}

/// Milliseconds a command of the flow, from the first file dropped to the last output in place.
fn opendmp(plan: &Plan, folder: &Path, count: usize) -> Result<f64> {
    let path = folder.join("flow.yaml");
    fs::write(&path, flow()).context("can't write the flow")?;
    let server = Server::start(&plan.binary, folder)?;
    server.enable(&path)?;
    let drop = |number: usize| {
        let name = name(number);
        fs::rename(folder.join("staged").join(&name), folder.join("inbox").join(&name)).context("can't drop a file")
    };
    let awaited = |number: usize, begin: Instant| server::appears(&folder.join("outbox").join(name(number)), begin);
    for number in 0..WARM {
        drop(number)?;
        awaited(number, Instant::now())?;
    }
    let begin = Instant::now();
    (WARM..WARM + count).try_for_each(drop)?;
    let mut total = begin.elapsed();
    for number in WARM..WARM + count {
        total = awaited(number, begin)?;
    }
    let datasets = server.datasets("Commands")?;
    ensure!(datasets == WARM + count, "{datasets} datasets instead of {}", WARM + count);
    Ok(total.as_secs_f64() * 1_000.0 / count as f64)
}
