//! W5, large content: one file of 5 GB dropped, through the external command `cat` into a folder; W5z: through `gzip -1`.
//!
//! Timed from the rename that drops the file to its output in place; `cat`, `cp`, `gzip` and Bento from the command to its
//! end. What is written before the measurement is synced first, and stays in the cache.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::peers::{self, Peer};
use super::process::{Service, peak};
use super::report::NOTHING;
use super::server::{self, Server};
use super::{Plan, Reading, Role, Row, content, text};
use crate::{files, shell};

/// MiB of the file: 5 GB.
const SIZE: usize = 4_768;

/// Bytes written at once.
const BLOCK: usize = 1 << 20;

/// Different blocks in the file: more than any compressor looks back.
const BLOCKS: usize = 64;

/// The file's name, everywhere.
const NAME: &str = "large.txt";

/// Who does the work.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contender {
    Cat,
    SyncedCat,
    Cp,
    Gzip,
    OpenDmp,
    Bento,
    Camel,
}

impl Contender {
    fn row(self, workload: &'static str, values: Vec<f64>) -> Row {
        let (role, who, durable) = match self {
            Self::Cat => (Role::Floor, "floor: cat to a file", NOTHING),
            Self::SyncedCat => (Role::Floor, "floor: cat to a file, synced", "the file"),
            Self::Cp => (Role::Floor, "floor: cp", NOTHING),
            Self::Gzip => (Role::Floor, "floor: gzip -1 to a file", NOTHING),
            Self::OpenDmp => return Row::ours(workload, "one large file", "MiB/s", values),
            Self::Bento => (Role::Peer, "Bento in chunks, without a command", NOTHING),
            Self::Camel => (Role::Peer, "Apache Camel by stream, without a command", NOTHING),
        };
        let what = "one large file".to_owned();
        Row { workload, what, role, who: who.to_owned(), durable, unit: "MiB/s", values }
    }
}

/// W5.
pub fn copied(plan: &Plan) -> Result<Vec<Row>> {
    let mut contenders = vec![Contender::Cat, Contender::SyncedCat, Contender::Cp, Contender::OpenDmp];
    contenders.extend(plan.peers.has(Peer::Bento).then_some(Contender::Bento));
    contenders.extend(plan.peers.has(Peer::Camel).then_some(Contender::Camel));
    measure(plan, "W5", "[cat]", &contenders)
}

/// W5z.
pub fn packed(plan: &Plan) -> Result<Vec<Row>> {
    measure(plan, "W5z", "[gzip, \"-1\"]", &[Contender::Gzip, Contender::OpenDmp])
}

fn measure(plan: &Plan, workload: &'static str, command: &str, contenders: &[Contender]) -> Result<Vec<Row>> {
    let size = plan.sized(SIZE, 8);
    let mut values = vec![Vec::new(); contenders.len()];
    let (mut ours, mut camel) = (Vec::new(), Vec::new());
    for run in 0..plan.runs {
        for (contender, values) in contenders.iter().zip(&mut values) {
            // One at a time on the disk, which needs four times the file's size.
            let folder = plan.folder.join(workload);
            let row = contender.row(workload, Vec::new());
            let (seconds, most) = once(plan, *contender, size, command, &folder).with_context(|| row.who.clone())?;
            println!("  run {}, {}: {seconds:.3} s", run + 1, row.who);
            values.push(size as f64 / seconds);
            match contender {
                Contender::Camel => camel.extend(most),
                _ => ours.extend(most),
            }
            fs::remove_dir_all(&folder).with_context(|| format!("can't remove {}", folder.display()))?;
        }
    }
    let mut rows: Vec<Row> =
        contenders.iter().zip(values).map(|(contender, values)| contender.row(workload, values)).collect();
    let what = "peak memory (VmHWM) of the server";
    rows.push(Row::ours(workload, what, "MiB", ours));
    if !camel.is_empty() {
        rows.push(Row { what: what.to_owned(), unit: "MiB", ..Contender::Camel.row(workload, camel) });
    }
    Ok(rows)
}

/// One run of one contender in a fresh folder, checked: seconds, and peak memory of a server in MiB.
fn once(plan: &Plan, contender: Contender, size: usize, command: &str, folder: &Path) -> Result<(f64, Option<f64>)> {
    files::fresh(folder)?;
    for part in ["inbox", "outbox", "staged"] {
        fs::create_dir(folder.join(part)).context("can't make the folders")?;
    }
    let (staged, dropped) = (folder.join("staged").join(NAME), folder.join("inbox").join(NAME));
    let output = folder.join("outbox").join(NAME);
    make(&staged, size)?;
    let wanted = content(&folder.join("staged"), Reading::AsTheyAre)?;

    let drop_and_wait = |service: &Service| -> Result<(f64, Option<f64>)> {
        let begin = Instant::now();
        fs::rename(&staged, &dropped).context("can't drop the file")?;
        let took = server::appears(&output, begin)?.as_secs_f64();
        Ok((took, Some(peak(service.id())?)))
    };
    let (seconds, most) = match contender {
        Contender::OpenDmp => {
            let flow = folder.join("flow.yaml");
            fs::write(&flow, document(command)).context("can't write the flow")?;
            let server = Server::start(&plan.binary, folder)?;
            server.enable(&flow)?;
            let measured = drop_and_wait(&server.service)?;
            let datasets = server.datasets("W5")?;
            ensure!(datasets == 1, "{datasets} datasets instead of 1");
            measured
        }
        Contender::Camel => {
            let mut command = peers::camel("w5", folder);
            drop_and_wait(&Service::start(&mut command, peers::CAMEL_RUNS, &folder.join("camel.log"))?)?
        }
        _ => {
            let mut command = match contender {
                Contender::Bento => peers::bento("w5.yaml", &output)?,
                Contender::Cp => Command::new("cp"),
                _ => Command::new("sh"),
            };
            match contender {
                Contender::Bento => _ = command.env("IN", &staged),
                Contender::Cp => _ = command.arg(&staged).arg(&output),
                Contender::Gzip => {
                    _ = command.args(["-c", "gzip -1 < \"$1\" > \"$2\"", "sh"]).arg(&staged).arg(&output);
                }
                Contender::SyncedCat => {
                    _ = command.args(["-c", "cat < \"$1\" > \"$2\" && sync \"$2\"", "sh"]).arg(&staged).arg(&output);
                }
                _ => _ = command.args(["-c", "cat < \"$1\" > \"$2\"", "sh"]).arg(&staged).arg(&output),
            }
            let begin = Instant::now();
            shell::capture(&mut command)?;
            (begin.elapsed().as_secs_f64(), None)
        }
    };
    let reading = if command.contains("gzip") { Reading::Gunzip } else { Reading::AsTheyAre };
    let got = content(&folder.join("outbox"), reading)?;
    ensure!(got == wanted, "the output is {got:?} instead of {wanted:?}");
    Ok((seconds, most))
}

/// The flow; the output has the input's name, packed or not, so that they can be held against each other.
fn document(command: &str) -> String {
    format!(
        "name: W5\nprocessors:\n  - id: inbox\n    type: ingest\n    \
         source: {{ type: file_drop, path: ./inbox, settle: 0s, after: delete }}\n  - id: work\n    type: external\n    \
         inputs: [inbox]\n    command: {command}\n    timeout: 1h\n  - id: shelf\n    type: collect\n    inputs: [work]\n    \
         collection: W5\n    destination: {{ type: folder, path: ./outbox, name: \"{{name}}\" }}\n"
    )
}

/// Writes a file of `size` MiB of text and syncs it.
fn make(path: &Path, size: usize) -> Result<()> {
    let blocks: Vec<Vec<u8>> = (0..BLOCKS.min(size)).map(|number| text(number as u64, BLOCK)).collect();
    let mut file = fs::File::create(path).with_context(|| format!("can't write {}", path.display()))?;
    for number in 0..size {
        let block = &blocks[number % blocks.len()];
        // No two blocks alike, so that one that is lost or doubled shows.
        let head = format!("{number:08}\n");
        file.write_all(head.as_bytes()).and_then(|()| file.write_all(&block[head.len()..])).context("can't write")?;
    }
    file.sync_all().context("can't sync the file")?;
    // What earlier runs wrote should not be written back during this one.
    Command::new("sync").stdin(Stdio::null()).status().context("can't start sync")?;
    Ok(())
}
