//! W3, file drop: 2,000 files of 10 KiB renamed into a watched folder, upper-cased by a Python function; and single files.
//!
//! The floors and `opendmp` get the same files from the same dropper and are watched in the same way. The time ends when
//! the last output is in place; `opendmp` commits each dataset before it exports it, and their number is checked after.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::server::{self, Server};
use super::{Content, Plan, Row, content, script, text};
use crate::{files, shell, tools};

/// Files of a run.
pub const FILES: usize = 2_000;

/// Files dropped one after another.
pub const SINGLES: usize = 50;

/// Files before the measured ones.
const WARM: usize = 5;

/// Bytes of each.
const SIZE: usize = 10 * 1024;

/// Files removed from the inbox once they are safe, as `after: delete` says; no settling time, because they are renamed in.
const FLOW: &str = r#"name: W3
processors:
  - id: inbox
    type: ingest
    source: { type: file_drop, path: ./inbox, pattern: "*.txt", settle: 0s, after: delete }
  - id: shout
    type: script
    inputs: [inbox]
    language: python
    code: |
      def process(data: bytes) -> bytes:
          return data.upper()
  - id: shelf
    type: collect
    inputs: [shout]
    collection: W3
    destination: { type: folder, path: ./outbox, name: "{name}" }
"#;

/// Who does the work.
#[derive(Clone, Copy)]
enum Contender {
    /// The script that people write.
    Floor,
    /// The same with an fsync and a row for each file.
    DurableFloor,
    /// Less than which no Python can do.
    BareFloor,
    OpenDmp,
}

const CONTENDERS: [Contender; 4] =
    [Contender::Floor, Contender::DurableFloor, Contender::BareFloor, Contender::OpenDmp];

impl Contender {
    fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor, nothing durable (watchdog)",
            Self::DurableFloor => "floor, durable (watchdog)",
            Self::BareFloor => "floor, nothing durable (bare inotify)",
            Self::OpenDmp => "opendmp",
        }
    }
}

/// A running contender; dropping it ends it.
enum Running {
    Floor(Child),
    OpenDmp(Server),
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Self::Floor(child) = self {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

/// All contenders in turn, round by round, so that a noisy minute hits each of them.
pub fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let mut totals = [const { Vec::new() }; CONTENDERS.len()];
    let mut singles = [const { Vec::new() }; CONTENDERS.len()];
    for run in 0..plan.runs {
        for (number, contender) in CONTENDERS.into_iter().enumerate() {
            let folder = plan.folder.join(format!("W3-{run}-{number}"));
            let (total, mut each) = once(plan, contender, &folder).with_context(|| contender.name().to_owned())?;
            println!("  run {}, {}: {total:.3} s", run + 1, contender.name());
            totals[number].push(total);
            singles[number].append(&mut each);
            // Thousands of files a run; the log and the journal of a run that went well tell nothing.
            fs::remove_dir_all(&folder).with_context(|| format!("can't remove {}", folder.display()))?;
        }
    }
    let mut rows = Vec::new();
    for (number, contender) in CONTENDERS.into_iter().enumerate() {
        let who = contender.name();
        let what = format!("{} files, to the last output in place", plan.files);
        rows.push(Row { workload: "W3", who, what, unit: "s", values: std::mem::take(&mut totals[number]) });
        let what = "one file, to its output in place".to_owned();
        rows.push(Row { workload: "W3", who, what, unit: "ms", values: std::mem::take(&mut singles[number]) });
    }
    Ok(rows)
}

/// One run of one contender on fresh folders: seconds for all files, and milliseconds for each single one.
fn once(plan: &Plan, contender: Contender, folder: &Path) -> Result<(f64, Vec<f64>)> {
    files::fresh(folder)?;
    let part = |name: &str| folder.join(name);
    for name in ["inbox", "outbox", "staged"] {
        fs::create_dir(part(name)).context("can't make the folders")?;
    }
    fs::write(part("flow.yaml"), FLOW).context("can't write the flow")?;
    let all = WARM + plan.files + plan.singles;
    let names: Vec<PathBuf> = (0..all).map(|number| PathBuf::from(format!("{number:05}.txt"))).collect();
    for (number, name) in names.iter().enumerate() {
        fs::write(part("staged").join(name), text(number as u64, SIZE)).context("can't write a file")?;
    }
    let wanted: Content = content(&part("staged"), true)?;
    let drop =
        |name: &Path| fs::rename(part("staged").join(name), part("inbox").join(name)).context("can't drop a file");
    let placed = |name: &Path, begin: Instant| server::appears(&part("outbox").join(name), begin);

    let running = begin(plan, contender, folder)?;
    let (warm, rest) = names.split_at(WARM);
    let (batch, single) = rest.split_at(plan.files);
    for name in warm {
        drop(name)?;
        placed(name, Instant::now())?;
    }

    let start = Instant::now();
    for name in batch {
        drop(name)?;
    }
    let mut total = start.elapsed();
    for name in batch {
        total = placed(name, start)?;
    }

    let mut each = Vec::new();
    for name in single {
        let start = Instant::now();
        drop(name)?;
        each.push(placed(name, start)?.as_secs_f64() * 1000.0);
    }

    let got = content(&part("outbox"), false)?;
    ensure!(got == wanted, "the outputs are {got:?} instead of {wanted:?}");
    if let Running::OpenDmp(server) = &running {
        let datasets = server.datasets("W3")?;
        ensure!(datasets == all, "{datasets} datasets instead of {all}");
    }
    Ok((total.as_secs_f64(), each))
}

/// Starts a contender and returns once it watches the inbox.
fn begin(plan: &Plan, contender: Contender, folder: &Path) -> Result<Running> {
    if matches!(contender, Contender::OpenDmp) {
        let server = Server::start(&plan.binary, folder)?;
        let flow = folder.join("flow.yaml");
        server.ask(&["flows", "enable", flow.to_str().context("the folder's path is not UTF-8")?])?;
        return Ok(Running::OpenDmp(server));
    }
    let mut command = shell::python();
    command.arg(script("floor_w3.py")).arg(folder.join("inbox")).arg(folder.join("outbox"));
    match contender {
        Contender::BareFloor => _ = command.arg("inotify"),
        Contender::DurableFloor => _ = command.arg("watchdog").arg(folder.join("journal.db")),
        Contender::Floor | Contender::OpenDmp => _ = command.arg("watchdog"),
    }
    command.env("PYTHONPATH", tools::packages());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("can't start floor_w3.py")?;
    let out = child.stdout.take();
    let running = Running::Floor(child);
    let mut line = String::new();
    if let Some(out) = out {
        BufReader::new(out).read_line(&mut line).context("floor_w3.py can't be read")?;
    }
    ensure!(line.trim() == "ready", "floor_w3.py said {line:?} instead of ready");
    Ok(running)
}
