//! W4, idle: from command to healthy; memory and processor time of a server with the Uppercase flow enabled and its worker
//! warm; and the same of one with 1,000 such flows. There is no floor beside it: doing nothing needs nothing.
//!
//! `opendmp` is healthy when `/healthz` says so; a peer is ready when it says that its flow runs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::peers::{self, Peer};
use super::process::{Service, pss};
use super::report::NOTHING;
use super::server::{self, Server};
use super::{Plan, Role, Row};
use crate::{files, shell};

/// Enabled flows of `W4-1000`.
const FLOWS: usize = 1_000;

/// How much of the idle time a server gets to come to rest, before it is watched.
const REST: f64 = 1.0 / 6.0;

/// Figures of one contender, one a run.
#[derive(Default)]
struct Idle {
    ready: Vec<f64>,
    own: Vec<f64>,
    all: Vec<f64>,
    load: Vec<f64>,
}

impl Idle {
    /// Watches a service for as long as the plan says.
    fn watch(&mut self, plan: &Plan, ready: Duration, service: &Service) -> Result<()> {
        self.ready.push(ready.as_secs_f64() * 1000.0);
        shell::pause(plan.idle().mul_f64(REST));
        self.load.push(service.load(plan.idle())?);
        let own = pss(service.id())?;
        self.own.push(own);
        self.all.push(service.workers().into_iter().filter_map(|id| pss(id).ok()).fold(own, |sum, one| sum + one));
        Ok(())
    }

    fn rows(self, plan: &Plan, workload: &'static str, row: impl Fn(&str, &'static str, Vec<f64>) -> Row) -> Vec<Row> {
        let load = format!("processor over {}, workers too", shell::spell(plan.idle()));
        let mut rows = vec![
            row("from command to healthy", "ms", self.ready),
            row("memory (PSS), server", "MiB", self.own),
            row("memory (PSS), workers too", "MiB", self.all),
            row(&load, "% of a core", self.load),
        ];
        rows.iter_mut().for_each(|row| row.workload = workload);
        rows
    }
}

/// A fresh server each run: started, warmed with one file, and left alone. Then the peers.
pub fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let mut idle = Idle::default();
    for run in 0..plan.runs {
        let folder = plan.folder.join(format!("W4-{run}"));
        files::fresh(&folder)?;
        let example = shell::root().join("examples").join("uppercase");
        fs::copy(example.join("uppercase.yaml"), folder.join("uppercase.yaml")).context("can't copy the flow")?;
        fs::create_dir(folder.join("inbox")).context("can't make the inbox")?;

        let server = Server::start(&plan.binary, &folder)?;
        server.enable(&folder.join("uppercase.yaml"))?;
        warm(&folder.join("inbox"), &folder.join("outbox"))?;
        ensure!(!server.service.workers().is_empty(), "there is no warm worker to measure");
        idle.watch(plan, server.ready, &server.service)?;
        println!("  run {}: healthy in {:.0} ms", run + 1, server.ready.as_secs_f64() * 1000.0);
    }
    let mut rows = idle.rows(plan, "W4", |what, unit, values| Row::ours("W4", what, unit, values));
    for (peer, who) in [
        (Peer::NodeRed, "Node-RED, W3's flow"),
        (Peer::Bento, "Bento, two families of components, an input that waits"),
        (Peer::Camel, "Apache Camel, W3's route"),
    ] {
        if plan.peers.has(peer) {
            let mut idle = Idle::default();
            for run in 0..plan.runs {
                once(plan, peer, &plan.folder.join(format!("W4-{peer:?}-{run}")), &mut idle)
                    .with_context(|| who.to_owned())?;
            }
            rows.extend(idle.rows(plan, "W4", |what, unit, values| Row {
                workload: "W4",
                what: what.to_owned(),
                role: Role::Peer,
                who: who.to_owned(),
                durable: NOTHING,
                unit,
                values,
            }));
        }
    }
    // By what was measured, so that contenders stand together.
    let order: Vec<String> = rows.iter().take(4).map(|row| row.what.clone()).collect();
    rows.sort_by_key(|row| order.iter().position(|what| *what == row.what));
    Ok(rows)
}

/// One peer, once.
fn once(plan: &Plan, peer: Peer, folder: &Path, idle: &mut Idle) -> Result<()> {
    files::fresh(folder)?;
    for part in ["inbox", "outbox"] {
        fs::create_dir(folder.join(part)).context("can't make the folders")?;
    }
    let (mut command, marker): (Command, &str) = match peer {
        Peer::Bento => (peers::bento("w4.yaml", &folder.join("outbox"))?, peers::BENTO_RUNS),
        Peer::Camel => (peers::camel("w3", folder), peers::CAMEL_RUNS),
        Peer::NodeRed | Peer::Python => (peers::node_red("w3.json", folder)?.0, peers::NODE_RED_RUNS),
    };
    let service = Service::start(&mut command, marker, &folder.join("peer.log"))?;
    if peer != Peer::Bento {
        peers::wake(folder)?;
    }
    idle.watch(plan, service.ready, &service)
}

/// Drops a file into the Uppercase flow and checks what comes out.
fn warm(inbox: &Path, outbox: &Path) -> Result<()> {
    let staged = inbox.with_file_name("staged");
    fs::write(&staged, "warm\n").context("can't write a file")?;
    fs::rename(&staged, inbox.join("warm.txt")).context("can't drop a file")?;
    let output = outbox.join("warm.upper.txt");
    server::appears(&output, Instant::now())?;
    let shouted = fs::read(&output).context("can't read the output")?;
    ensure!(shouted == b"WARM\n", "the output is {shouted:?}");
    Ok(())
}

/// A server started with 1,000 flows like Uppercase enabled, each on a folder of its own, and left alone. That the last of
/// them works is checked after the measurement.
pub fn many(plan: &Plan) -> Result<Vec<Row>> {
    let count = plan.sized(FLOWS, 10);
    let folder = plan.folder.join("W4-1000");
    files::fresh(&folder)?;
    let example = shell::root().join("examples").join("uppercase").join("uppercase.yaml");
    let text = fs::read_to_string(&example).with_context(|| format!("can't read {}", example.display()))?;
    ensure!(text.contains("name: Uppercase\n"), "{} has another name", example.display());
    let home = |number: usize| folder.join(format!("flow-{number:04}"));
    let begin = Instant::now();
    let server = Server::start(&plan.binary, &folder)?;
    for number in 0..count {
        fs::create_dir_all(home(number).join("inbox")).context("can't make the inbox")?;
        let flow = home(number).join("flow.yaml");
        let named = text.replace("name: Uppercase\n", &format!("name: Uppercase {number}\n"));
        fs::write(&flow, named).context("can't write the flow")?;
        server.enable(&flow)?;
    }
    drop(server);
    println!("  {count} flows enabled in {}", shell::spell(begin.elapsed()));

    let mut idle = Idle::default();
    for run in 0..plan.runs {
        let server = Server::start(&plan.binary, &folder)?;
        idle.watch(plan, server.ready, &server.service)?;
        println!("  run {}: healthy in {:.0} ms", run + 1, server.ready.as_secs_f64() * 1000.0);
        let last = home(count - 1);
        if run == 0 {
            warm(&last.join("inbox"), &last.join("outbox"))?;
        }
    }
    Ok(idle.rows(plan, "W4-1000", |what, unit, values| {
        Row::ours("W4-1000", format!("{count} flows: {what}"), unit, values)
    }))
}
