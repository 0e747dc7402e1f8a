//! `split`: one file becomes 1,000,000 items, each a dataset, while another flow's single files go on being answered.
//!
//! The single files are dropped one after another, first alone and then from the moment the large file is dropped until the
//! last of its items is a dataset. Of each run the median, the 99th percentile and the longest are told.

use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::process::peak;
use super::report::ALL;
use super::server::Server;
use super::{Plan, Role, Row, w3};
use crate::{files, shell};

/// Lines of the file.
const LINES: usize = 1_000_000;

/// Single files that are dropped alone.
const ALONE: usize = 200;

/// At most so many while the large file is under way.
const BESIDE: usize = 5_000;

/// How often the datasets are counted meanwhile: seldom enough to cost nothing.
const COUNT: Duration = Duration::from_millis(250);

const FLOW: &str = "name: Split
processors:
  - id: inbox
    type: ingest
    source: { type: file_drop, path: ./large, settle: 0s, after: delete }
  - { id: lines, type: split, inputs: [inbox], as: lines }
  - { id: shelf, type: collect, inputs: [lines], collection: Split }
";

/// Times of single files: one value a run for each of the three.
#[derive(Default)]
struct Singles([Vec<f64>; 3]);

impl Singles {
    fn add(&mut self, mut times: Vec<f64>) {
        times.sort_by(f64::total_cmp);
        for (values, share) in self.0.iter_mut().zip([0.5, 0.99, 1.0]) {
            values.extend(quantile(&times, share));
        }
    }

    fn rows(self, role: Role, who: &str) -> Vec<Row> {
        let names = ["one file, p50", "one file, p99", "one file, longest"];
        let row = |(what, values): (&str, Vec<f64>)| Row {
            workload: "split",
            what: what.to_owned(),
            role,
            who: who.to_owned(),
            durable: ALL,
            unit: "ms",
            values,
        };
        names.into_iter().zip(self.0).map(row).collect()
    }
}

/// The value below or at which that share of sorted values lies; `None` without any.
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.max(1) - 1).copied()
}

/// Fresh folders each run.
pub fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let lines = plan.sized(LINES, 1_000);
    let (mut alone, mut beside) = (Singles::default(), Singles::default());
    let (mut rate, mut most) = (Vec::new(), Vec::new());
    for run in 0..plan.runs {
        let folder = plan.folder.join(format!("split-{run}"));
        files::fresh(&folder)?;
        let one = once(plan, &folder, lines)?;
        println!("  run {}: {:.3} s, {} single files meanwhile", run + 1, one.seconds, one.beside.len());
        rate.push(lines as f64 / one.seconds);
        most.push(one.most);
        alone.add(one.alone);
        beside.add(one.beside);
        fs::remove_dir_all(&folder).with_context(|| format!("can't remove {}", folder.display()))?;
    }
    let mut rows = vec![
        Row::ours("split", "lines of one file, each a dataset", "items/s", rate),
        Row::ours("split", "peak memory (VmHWM) of the server", "MiB", most),
    ];
    rows.extend(alone.rows(Role::Floor, "opendmp, nothing else to do"));
    rows.extend(beside.rows(Role::Ours, "opendmp, beside the split"));
    Ok(rows)
}

struct Once {
    seconds: f64,
    most: f64,
    alone: Vec<f64>,
    beside: Vec<f64>,
}

fn once(plan: &Plan, folder: &Path, lines: usize) -> Result<Once> {
    let alone = plan.sized(ALONE, 10);
    let drops = w3::Drops::stage(folder, 0, alone + plan.sized(BESIDE, 100))?;
    fs::create_dir(folder.join("large")).context("can't make the folders")?;
    // Not beside the data directory: what comes and goes there has script workers started anew.
    let large = folder.join("staged").join("large.csv");
    write_lines(&large, lines)?;
    let (split, shout) = (folder.join("split.yaml"), folder.join("shout.yaml"));
    fs::write(&split, FLOW).and_then(|()| fs::write(&shout, w3::flow("Shout"))).context("can't write the flows")?;
    let server = Server::start(&plan.binary, folder)?;
    server.enable(&split)?;
    server.enable(&shout)?;
    drops.warm()?;
    let (first, rest) = drops.singles().split_at(alone);
    let alone = first.iter().map(|name| drops.single(name)).collect::<Result<Vec<f64>>>()?;

    let (mut beside, mut counted, mut rest) = (Vec::new(), Instant::now(), rest.iter());
    let begin = Instant::now();
    fs::rename(&large, folder.join("large").join("large.csv")).context("can't drop the file")?;
    loop {
        if let Some(name) = rest.next() {
            beside.push(drops.single(name)?);
        } else {
            shell::pause(Duration::from_millis(1));
        }
        if counted.elapsed() >= COUNT {
            let datasets = server.datasets("Split")?;
            ensure!(datasets <= lines, "{datasets} datasets of {lines} lines");
            if datasets == lines {
                break;
            }
            ensure!(begin.elapsed() < super::process::PATIENCE, "{datasets} of {lines} lines are datasets");
            counted = Instant::now();
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Once { seconds, most: peak(server.service.id())?, alone, beside })
}

fn write_lines(path: &Path, count: usize) -> Result<()> {
    let mut file = BufWriter::new(fs::File::create(path).with_context(|| format!("can't write {}", path.display()))?);
    for number in 0..count {
        writeln!(file, "{number:07},the quick brown fox jumps over the lazy dog").context("can't write a line")?;
    }
    file.flush().context("can't write a line")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let times: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(quantile(&times, 0.5), Some(100.0));
        assert_eq!(quantile(&times, 0.99), Some(198.0));
        assert_eq!(quantile(&times, 1.0), Some(200.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
