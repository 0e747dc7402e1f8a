//! W3, file drop: 2,000 files of 10 KiB renamed into a watched folder, upper-cased by a Python function; and single files.
//!
//! Floors, peers and `opendmp` get the same files from the same dropper and are watched in the same way. The time ends when
//! the last output is in place; `opendmp` commits each dataset before it exports it, and their number is checked after.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::peers::{self, Peer};
use super::process::Service;
use super::report::NOTHING;
use super::server::{self, Server};
use super::{Content, Plan, Reading, Role, Row, content, script, text};
use crate::{files, shell, tools};

/// Files of a run.
const FILES: usize = 2_000;

/// Files dropped one after another.
const SINGLES: usize = 50;

/// Files before the measured ones.
const WARM: usize = 5;

/// Bytes of each.
const SIZE: usize = 10 * 1024;

/// How long a peer that writes in place may take to end its last file, once that is there.
const ENDING: Duration = Duration::from_secs(5);

/// The flow, whose folders lie beside it. Files are removed from the inbox once they are safe, as `after: delete` says; no
/// settling time, because they are renamed in.
pub fn flow(name: &str) -> String {
    format!(
        r#"name: {name}
processors:
  - id: inbox
    type: ingest
    source: {{ type: file_drop, path: ./inbox, pattern: "*.txt", settle: 0s, after: delete }}
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
    collection: {name}
    destination: {{ type: folder, path: ./outbox, name: "{{name}}" }}
"#
    )
}

/// Files that wait to be dropped into `folder/inbox`.
pub struct Drops {
    folder: PathBuf,
    names: Vec<String>,
    wanted: Content,
    /// How many of them go one after another.
    singles: usize,
}

impl Drops {
    /// Writes the files, and the folders, into `folder`.
    pub fn stage(folder: &Path, batch: usize, singles: usize) -> Result<Self> {
        for name in ["inbox", "outbox", "staged"] {
            fs::create_dir_all(folder.join(name)).context("can't make the folders")?;
        }
        let names: Vec<String> = (0..WARM + batch + singles).map(|number| format!("{number:05}.txt")).collect();
        for (number, name) in names.iter().enumerate() {
            fs::write(folder.join("staged").join(name), text(number as u64, SIZE)).context("can't write a file")?;
        }
        let wanted = content(&folder.join("staged"), Reading::Upper)?;
        Ok(Self { folder: folder.to_owned(), names, wanted, singles })
    }

    /// How many files there are.
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// Drops one and waits for its output: milliseconds.
    pub fn single(&self, name: &str) -> Result<f64> {
        let begin = Instant::now();
        self.rename(name)?;
        Ok(server::appears(&self.folder.join("outbox").join(name), begin)?.as_secs_f64() * 1000.0)
    }

    /// The names of those that go one after another.
    pub fn singles(&self) -> &[String] {
        &self.names[self.names.len() - self.singles..]
    }

    fn rename(&self, name: &str) -> Result<()> {
        fs::rename(self.folder.join("staged").join(name), self.folder.join("inbox").join(name))
            .context("can't drop a file")
    }

    /// Drops those that warm up.
    pub fn warm(&self) -> Result<()> {
        self.names[..WARM].iter().try_for_each(|name| self.single(name).map(drop))
    }

    /// Drops all: seconds for the batch, and milliseconds for each single one.
    pub fn all(&self) -> Result<(f64, Vec<f64>)> {
        self.warm()?;
        let batch = &self.names[WARM..self.names.len() - self.singles];
        let start = Instant::now();
        for name in batch {
            self.rename(name)?;
        }
        let mut total = start.elapsed();
        for name in batch {
            total = server::appears(&self.folder.join("outbox").join(name), start)?;
        }
        let each = self.singles().iter().map(|name| self.single(name)).collect::<Result<_>>()?;
        self.check()?;
        Ok((total.as_secs_f64(), each))
    }

    /// Holds the outputs against the inputs.
    pub fn check(&self) -> Result<()> {
        let begin = Instant::now();
        loop {
            let got = content(&self.folder.join("outbox"), Reading::AsTheyAre)?;
            if got == self.wanted {
                return Ok(());
            }
            ensure!(begin.elapsed() < ENDING, "the outputs are {got:?} instead of {:?}", self.wanted);
            shell::pause(Duration::from_millis(100));
        }
    }
}

/// Who does the work.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contender {
    /// The script that people write.
    Floor,
    /// The same with an fsync and a row for each file.
    DurableFloor,
    /// Less than which no Python can do.
    BareFloor,
    OpenDmp,
    NodeRed,
    Camel,
}

impl Contender {
    fn row(self, what: String, unit: &'static str, values: Vec<f64>) -> Row {
        let (role, who, durable) = match self {
            Self::Floor => (Role::Floor, "floor: Python and watchdog", NOTHING),
            Self::DurableFloor => (Role::Floor, "floor: Python and watchdog, durable", "each output and a row"),
            Self::BareFloor => (Role::Floor, "floor: Python on bare inotify", NOTHING),
            Self::OpenDmp => return Row::ours("W3", what, unit, values),
            Self::NodeRed => (Role::Peer, "Node-RED, JavaScript", NOTHING),
            Self::Camel => (Role::Peer, "Apache Camel, Java", NOTHING),
        };
        Row { workload: "W3", what, role, who: who.to_owned(), durable, unit, values }
    }
}

/// All contenders in turn, round by round, so that a noisy minute hits each of them.
pub fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let mut contenders = vec![Contender::Floor, Contender::DurableFloor, Contender::BareFloor, Contender::OpenDmp];
    contenders.extend(plan.peers.has(Peer::NodeRed).then_some(Contender::NodeRed));
    contenders.extend(plan.peers.has(Peer::Camel).then_some(Contender::Camel));
    let mut all = vec![(Vec::new(), Vec::new()); contenders.len()];
    let (batch, singles) = (plan.sized(FILES, 10), plan.sized(SINGLES, 5));
    for run in 0..plan.runs {
        for (number, (contender, values)) in contenders.iter().zip(&mut all).enumerate() {
            let folder = plan.folder.join(format!("W3-{run}-{number}"));
            let who = contender.row(String::new(), "s", Vec::new()).who;
            let (total, mut each) = once(plan, *contender, &folder, batch, singles).with_context(|| who.clone())?;
            println!("  run {}, {who}: {total:.3} s", run + 1);
            values.0.push(total);
            values.1.append(&mut each);
            // Thousands of files a run; the log and the journal of a run that went well tell nothing.
            fs::remove_dir_all(&folder).with_context(|| format!("can't remove {}", folder.display()))?;
        }
    }
    let mut rows = Vec::new();
    for (contender, (totals, _)) in contenders.iter().zip(&all) {
        rows.push(contender.row(format!("{batch} files, to the last output"), "s", totals.clone()));
    }
    for (contender, (_, each)) in contenders.iter().zip(all) {
        rows.push(contender.row("one file, to its output".to_owned(), "ms", each));
    }
    Ok(rows)
}

/// One run of one contender on fresh folders: seconds for all files, and milliseconds for each single one.
fn once(plan: &Plan, contender: Contender, folder: &Path, batch: usize, singles: usize) -> Result<(f64, Vec<f64>)> {
    files::fresh(folder)?;
    let drops = Drops::stage(folder, batch, singles)?;
    if contender == Contender::OpenDmp {
        let path = folder.join("flow.yaml");
        fs::write(&path, flow("W3")).context("can't write the flow")?;
        let server = Server::start(&plan.binary, folder)?;
        server.enable(&path)?;
        let times = drops.all()?;
        let datasets = server.datasets("W3")?;
        ensure!(datasets == drops.count(), "{datasets} datasets instead of {}", drops.count());
        return Ok(times);
    }
    let _running = begin(contender, folder)?;
    drops.all()
}

/// Starts a floor or a peer and returns once it watches the inbox.
fn begin(contender: Contender, folder: &Path) -> Result<Service> {
    let log = folder.join("contender.log");
    let peer = match contender {
        Contender::NodeRed => Some((peers::node_red("w3.json", folder)?.0, peers::NODE_RED_RUNS)),
        Contender::Camel => Some((peers::camel("w3", folder), peers::CAMEL_RUNS)),
        _ => None,
    };
    if let Some((mut command, marker)) = peer {
        let service = Service::start(&mut command, marker, &log)?;
        peers::wake(folder)?;
        return Ok(service);
    }
    let mut command = shell::python();
    command.arg(script("floor_w3.py")).arg(folder.join("inbox")).arg(folder.join("outbox"));
    match contender {
        Contender::BareFloor => _ = command.arg("inotify"),
        Contender::DurableFloor => _ = command.arg("watchdog").arg(folder.join("journal.db")),
        _ => _ = command.arg("watchdog"),
    }
    Service::start(command.env("PYTHONPATH", tools::packages()), "ready", &log)
}
