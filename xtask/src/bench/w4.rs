//! W4, idle: from command to healthy; memory and processor time of a server with the Uppercase flow enabled and its worker
//! warm. There is no floor beside it: doing nothing needs nothing.

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::server::{self, Server};
use super::{Plan, Row};
use crate::{files, shell};

/// A fresh server each run: started, warmed with one file, and left alone.
pub fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let mut ready = Vec::new();
    let mut own = Vec::new();
    let mut workers = Vec::new();
    let mut load = Vec::new();
    for run in 0..plan.runs {
        let folder = plan.folder.join(format!("W4-{run}"));
        files::fresh(&folder)?;
        let example = shell::root().join("examples").join("uppercase");
        fs::copy(example.join("uppercase.yaml"), folder.join("uppercase.yaml")).context("can't copy the flow")?;
        fs::create_dir(folder.join("inbox")).context("can't make the inbox")?;

        let server = Server::start(&plan.binary, &folder)?;
        ready.push(server.ready.as_secs_f64() * 1000.0);
        let flow = folder.join("uppercase.yaml");
        server.ask(&["flows", "enable", flow.to_str().context("the folder's path is not UTF-8")?])?;
        fs::write(folder.join("staged"), "warm\n").context("can't write a file")?;
        fs::rename(folder.join("staged"), folder.join("inbox").join("warm.txt")).context("can't drop a file")?;
        let output = folder.join("outbox").join("warm.upper.txt");
        server::appears(&output, Instant::now())?;
        let shouted = fs::read(&output).context("can't read the output")?;
        ensure!(shouted == b"WARM\n", "the output is {shouted:?}");

        let ids = server.workers();
        ensure!(!ids.is_empty(), "there is no warm worker to measure");
        let used = || -> Result<f64> {
            ids.iter()
                .map(|id| server::cpu(*id))
                .sum::<Result<f64>>()
                .map(|sum| sum + server::cpu(server.id()).unwrap_or(0.0))
        };
        let begin = Instant::now();
        let before = used()?;
        shell::pause(plan.idle);
        load.push((used()? - before) / begin.elapsed().as_secs_f64() * 100.0);
        own.push(server::pss(server.id())?);
        workers.push(ids.iter().map(|id| server::pss(*id)).sum::<Result<f64>>()?);
        println!("  run {}: healthy in {:.0} ms", run + 1, server.ready.as_secs_f64() * 1000.0);
    }
    let row = |what: &str, unit, values| Row { workload: "W4", who: "opendmp", what: what.to_owned(), unit, values };
    Ok(vec![
        row("from command to healthy", "ms", ready),
        row("memory (PSS), server", "MiB", own),
        row("memory (PSS), warm worker", "MiB", workers),
        row(&format!("processor over {}, both", shell::spell(plan.idle)), "% of a core", load),
    ])
}
