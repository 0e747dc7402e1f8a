//! Growth: W2d and W3 with 10 thousand, 1 million and 10 million datasets already there (`growth`), and with 1, 100 and
//! 1,000 flows enabled (`flows`).
//!
//! What is there already was made by the product itself, from items of 64 bytes. The smallest size stands as the floor in
//! the table: the ratio to it is what growth costs.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::report::ALL;
use super::server::Server;
use super::{Plan, Role, Row, w2, w3};
use crate::{files, shell};

/// Datasets that are there already.
const LEVELS: [usize; 3] = [10_000, 1_000_000, 10_000_000];

/// Flows that are enabled.
const FLOWS: [usize; 3] = [1, 100, 1_000];

/// Datasets of a run of W2d.
const DATASETS: usize = 100_000;

/// Files of a run of W3, together and one after another.
const FILES: (usize, usize) = (2_000, 50);

/// Figures at one size.
#[derive(Default)]
struct Figures {
    rate: Vec<f64>,
    total: Vec<f64>,
    single: Vec<f64>,
}

impl Figures {
    /// One run of W2d and of W3 on a server, under names of their own.
    fn measure(&mut self, plan: &Plan, server: &Server, folder: &Path, run: usize) -> Result<()> {
        let count = plan.sized(DATASETS, 100);
        let seconds = w2::run_datasets(server, folder, &format!("W2d-{run}"), &format!("run{run}"), count)?;
        self.rate.push(count as f64 / seconds);

        let folder = folder.join(format!("W3-{run}"));
        let drops = w3::Drops::stage(&folder, plan.sized(FILES.0, 10), plan.sized(FILES.1, 5))?;
        let flow = folder.join("flow.yaml");
        let name = format!("W3-{run}");
        fs::write(&flow, w3::flow(&name)).context("can't write the flow")?;
        server.enable(&flow)?;
        let (total, mut each) = drops.all()?;
        self.total.push(total);
        self.single.append(&mut each);
        let datasets = server.datasets(&name)?;
        ensure!(datasets == drops.count(), "{datasets} datasets instead of {}", drops.count());
        // Only the flows that belong to the size are to be enabled in the next run.
        server.ask(&["flows", "disable", &name.to_lowercase()])?;
        println!("  run {}: W2d {seconds:.3} s, W3 {total:.3} s", run + 1);
        Ok(())
    }

    fn rows(self, workload: &'static str, who: &str, least: bool) -> Vec<Row> {
        let role = if least { Role::Floor } else { Role::Ours };
        let row = |what: &str, unit, values| Row {
            workload,
            what: what.to_owned(),
            role,
            who: format!("opendmp, {who}"),
            durable: ALL,
            unit,
            values,
        };
        vec![
            row("W2d", "items/s", self.rate),
            row("W3, all files", "s", self.total),
            row("W3, one file", "ms", self.single),
        ]
    }
}

/// Rows of all sizes, those of one measure together.
fn together(all: Vec<Vec<Row>>) -> Vec<Row> {
    let mut rows: Vec<(usize, Row)> = all.into_iter().flat_map(|rows| rows.into_iter().enumerate()).collect();
    rows.sort_by_key(|(measure, _)| *measure);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// With datasets that are there already.
pub fn datasets(plan: &Plan) -> Result<Vec<Row>> {
    let mut all = Vec::new();
    for level in LEVELS {
        let before = plan.sized(level, 100);
        let mut figures = Figures::default();
        if before > plan.sized(DATASETS, 100) {
            let folder = plan.folder.join(format!("growth-{level}"));
            let server = grown(plan, &folder, before)?;
            for run in 0..plan.runs {
                figures.measure(plan, &server, &folder, run)?;
            }
            drop(server);
            fs::remove_dir_all(&folder).with_context(|| format!("can't remove {}", folder.display()))?;
        } else {
            // What a run adds is more than what is there: each run has a server of its own.
            for run in 0..plan.runs {
                let folder = plan.folder.join(format!("growth-{level}-{run}"));
                let server = grown(plan, &folder, before)?;
                figures.measure(plan, &server, &folder, run)?;
                drop(server);
                fs::remove_dir_all(&folder).with_context(|| format!("can't remove {}", folder.display()))?;
            }
        }
        all.push(figures.rows("growth", &format!("{before} datasets before"), level == LEVELS[0]));
    }
    Ok(together(all))
}

/// A server with that many datasets, at rest.
pub fn grown(plan: &Plan, folder: &Path, before: usize) -> Result<Server> {
    files::fresh(folder)?;
    let flow = folder.join("before.yaml");
    let text = format!(
        "name: Before\nprocessors:\n  - id: source\n    type: ingest\n    \
         source: {{ type: generate, count: {before}, size: 64 B, name: before }}\n  \
         - {{ id: shelf, type: collect, inputs: [source], collection: Before }}\n"
    );
    fs::write(&flow, text).context("can't write the flow")?;
    let server = Server::start(&plan.binary, folder)?;
    let took = server.run(&flow, before)?;
    let datasets = server.datasets("Before")?;
    ensure!(datasets == before, "{datasets} datasets instead of {before}");
    let begun = Instant::now();
    server.rest()?;
    println!("  {before} datasets made in {}, at rest {} later", shell::spell(took), shell::spell(begun.elapsed()));
    Ok(server)
}

/// With flows that are enabled and idle: each watches a folder of its own.
pub fn flows(plan: &Plan) -> Result<Vec<Row>> {
    let mut all = Vec::new();
    for level in FLOWS {
        let enabled = plan.sized(level, 1);
        let folder = plan.folder.join(format!("flows-{level}"));
        files::fresh(&folder)?;
        let server = Server::start(&plan.binary, &folder)?;
        let begin = Instant::now();
        // The one that is measured counts, too.
        for number in 1..enabled {
            let home = folder.join(format!("idle-{number:04}"));
            fs::create_dir_all(home.join("inbox")).context("can't make the inbox")?;
            let flow = home.join("flow.yaml");
            let text = format!(
                "name: Idle {number}\nprocessors:\n  - id: inbox\n    type: ingest\n    \
                 source: {{ type: file_drop, path: ./inbox }}\n  \
                 - {{ id: shelf, type: collect, inputs: [inbox], collection: Idle }}\n"
            );
            fs::write(&flow, text).context("can't write the flow")?;
            server.enable(&flow)?;
        }
        println!("  {} idle flows enabled in {}", enabled - 1, shell::spell(begin.elapsed()));
        let mut figures = Figures::default();
        for run in 0..plan.runs {
            figures.measure(plan, &server, &folder, run)?;
        }
        drop(server);
        fs::remove_dir_all(&folder).with_context(|| format!("can't remove {}", folder.display()))?;
        let who = if enabled == 1 { "1 flow enabled".to_owned() } else { format!("{enabled} flows enabled") };
        all.push(figures.rows("flows", &who, level == FLOWS[0]));
    }
    Ok(together(all))
}
