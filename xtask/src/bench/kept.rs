//! `kept`: a folder of 1,000,000 files that stay at their source, reconciled at a restart.
//!
//! Two figures, both from outside: how long `opendmp run` takes from its start to the finding that there is nothing new
//! (without a server: the command starts, looks through the folder, and ends); and how long after the start of a server
//! the dataset's output of one file is in place that was added while no server ran. Peak memory is the server's.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::process::peak;
use super::server::{Server, appears};
use super::{Plan, Row};
use crate::{files, shell, tools};

/// Files in the folder.
const FILES: usize = 1_000_000;

const FLOW: &str = "name: Kept
processors:
  - id: inbox
    type: ingest
    source: { type: file_drop, path: ./inbox, settle: 0s }
  - id: new
    type: route
    inputs: [inbox]
    routes: [{ port: added, when: 'name.startsWith(\"added\")' }]
  - { id: shelf, type: collect, inputs: [new.otherwise], collection: Kept }
  - id: added
    type: collect
    inputs: [new.added]
    collection: Added
    destination: { type: folder, path: ./outbox, name: \"{name}\" }
";

/// One folder for all runs: they change nothing but for one file each.
pub fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let count = plan.sized(FILES, 100);
    let folder = plan.folder.join("kept");
    files::fresh(&folder)?;
    let begin = Instant::now();
    let inbox = folder.join("inbox");
    fs::create_dir(&inbox).context("can't make the inbox")?;
    for number in 0..count {
        fs::write(inbox.join(format!("kept-{number:07}.txt")), format!("{number}\n")).context("can't write a file")?;
    }
    let flow = folder.join("flow.yaml");
    fs::write(&flow, FLOW).context("can't write the flow")?;
    println!("  {count} files written in {}", shell::spell(begin.elapsed()));
    let server = Server::start(&plan.binary, &folder)?;
    let took = server.run(&flow, count)?;
    println!("  taken in {}", shell::spell(took));
    server.enable(&flow)?;
    drop(server);

    let (mut nothing, mut added, mut most) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..plan.runs {
        nothing.push(look(plan, &folder, &flow)?);

        let name = format!("added-{run}.txt");
        fs::write(inbox.join(&name), "added\n").context("can't write a file")?;
        let begin = Instant::now();
        let server = Server::start(&plan.binary, &folder)?;
        added.push(appears(&folder.join("outbox").join(&name), begin)?.as_secs_f64());
        most.push(peak(server.service.id())?);
        println!("  run {}: nothing new after {:.3} s, one file after {:.3} s", run + 1, nothing[run], added[run]);
        let datasets = (server.datasets("Kept")?, server.datasets("Added")?);
        ensure!(datasets == (count, run + 1), "{datasets:?} datasets instead of {:?}", (count, run + 1));
    }
    fs::remove_dir_all(&folder).with_context(|| format!("can't remove {}", folder.display()))?;
    let files = format!("{count} kept files");
    Ok(vec![
        Row::ours("kept", format!("{files}: from start to nothing new"), "s", nothing),
        Row::ours("kept", format!("{files}: from start to the output of one that was added"), "s", added),
        Row::ours("kept", format!("{files}: peak memory (VmHWM) of the server"), "MiB", most),
    ])
}

/// `opendmp run` without a server, which must find nothing: seconds.
fn look(plan: &Plan, folder: &Path, flow: &Path) -> Result<f64> {
    let mut command = Command::new(&plan.binary);
    command.args(["run", "--format", "json", "--data-dir"]).arg(folder.join("data")).arg(flow);
    let begin = Instant::now();
    let told = super::told(command.env("PATH", tools::path()?))?;
    let took = begin.elapsed().as_secs_f64();
    ensure!(told["arrivals"] == 0, "the run is {told}");
    Ok(took)
}
