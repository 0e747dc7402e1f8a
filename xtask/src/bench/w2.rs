//! W2, item stream: 200,000 items of 1 KiB through three stages, by batches of 10,000 into files of lines (W2p with Python
//! stages, W2b with built-in ones); W2d: 100,000 items, each a dataset of its own, without any export.
//!
//! Timed is `opendmp run` on a running server, as a command: it ends when all is settled and exported. The floors' loops
//! are timed from within, without the start of Python; Bento from its start to its end, Node-RED from a request to its
//! last file, bytewax from within. Each has items of its own making, which the checker makes again.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::peers::{self, Peer};
use super::process::Service;
use super::report::NOTHING;
use super::server::{Server, grows};
use super::{Plan, Role, Row, number, script, told};
use crate::{files, shell};

/// Items of a run.
const ITEMS: usize = 200_000;

/// Items of a run of W2d.
const DATASETS: usize = 100_000;

/// Files that the batches make.
const FILES: usize = 20;

/// Bytes of an item, and with its line feed.
const LINE: u64 = 1_025;

/// What the items go through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stages {
    Python,
    BuiltIn,
}

/// W2p.
pub fn scripts(plan: &Plan) -> Result<Vec<Row>> {
    batches(plan, "W2p", Stages::Python)
}

/// W2b.
pub fn built_in(plan: &Plan) -> Result<Vec<Row>> {
    batches(plan, "W2b", Stages::BuiltIn)
}

/// The source and the three stages; what comes out is read as the second value.
fn stages(name: &str, items: &str, count: usize, stages: Stages) -> (String, &'static str) {
    let source = format!(
        "name: {name}\nprocessors:\n  - id: source\n    type: ingest\n    \
         source: {{ type: generate, count: {count}, size: 1 KiB, name: {items} }}\n"
    );
    let stage = |id: &str, input: &str| match stages {
        Stages::Python => format!(
            "  - id: {id}\n    type: script\n    inputs: [{input}]\n    language: python\n    code: |\n      \
             def process(data: bytes) -> bytes:\n          return data\n"
        ),
        Stages::BuiltIn => format!(
            "  - id: {id}\n    type: route\n    inputs: [{input}]\n    routes: [{{ port: all, when: \"size >= 0\" }}]\n"
        ),
    };
    let [first, second, last] = match stages {
        Stages::Python => ["one", "two", "three"],
        Stages::BuiltIn => ["one.all", "two.all", "three.all"],
    };
    (source + &stage("one", "source") + &stage("two", first) + &stage("three", second), last)
}

/// Who does the work.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contender {
    Loop,
    SyncedLoop,
    OpenDmp,
    Bytewax,
    Bento,
    NodeRed,
}

impl Contender {
    fn row(self, workload: &'static str, values: Vec<f64>) -> Row {
        let (role, who, durable) = match self {
            Self::Loop => (Role::Floor, "floor: Python loop", NOTHING),
            Self::SyncedLoop => (Role::Floor, "floor: Python loop, files synced", "the files; not what they are of"),
            Self::OpenDmp => return Row::ours(workload, "items to files of batches", "items/s", values),
            Self::Bytewax => (Role::Peer, "bytewax, by 1,000, Python stages", NOTHING),
            Self::Bento => (Role::Peer, "Bento, its own stages, order not kept", NOTHING),
            Self::NodeRed => (Role::Peer, "Node-RED, JavaScript stages", NOTHING),
        };
        let what = "items to files of batches".to_owned();
        Row { workload, what, role, who: who.to_owned(), durable, unit: "items/s", values }
    }
}

fn batches(plan: &Plan, workload: &'static str, stages: Stages) -> Result<Vec<Row>> {
    // As many batches at any scale, and no incomplete one.
    let batch = plan.sized(ITEMS / FILES, 10);
    let mut contenders = vec![Contender::Loop, Contender::SyncedLoop];
    let bytewax = stages == Stages::Python && plan.peers.has(Peer::Python);
    contenders.extend(bytewax.then_some(Contender::Bytewax));
    if stages == Stages::BuiltIn {
        contenders.extend(plan.peers.has(Peer::Bento).then_some(Contender::Bento));
        contenders.extend(plan.peers.has(Peer::NodeRed).then_some(Contender::NodeRed));
    }
    contenders.push(Contender::OpenDmp);
    let mut values = vec![Vec::new(); contenders.len()];
    for run in 0..plan.runs {
        for (contender, values) in contenders.iter().zip(&mut values) {
            let folder = plan.folder.join(format!("{workload}-{run}-{}", values.len()));
            let row = contender.row(workload, Vec::new());
            let seconds = once(plan, *contender, stages, batch, &folder).with_context(|| row.who.clone())?;
            println!("  run {}, {}: {seconds:.3} s", run + 1, row.who);
            values.push((batch * FILES) as f64 / seconds);
            fs::remove_dir_all(&folder).with_context(|| format!("can't remove {}", folder.display()))?;
        }
    }
    Ok(contenders.iter().zip(values).map(|(contender, values)| contender.row(workload, values)).collect())
}

/// One run of one contender in a fresh folder, checked: seconds.
fn once(plan: &Plan, contender: Contender, stages: Stages, batch: usize, folder: &Path) -> Result<f64> {
    files::fresh(folder)?;
    let out = folder.join("outbox");
    fs::create_dir(&out).context("can't make the folders")?;
    let count = batch * FILES;
    let (items, size) = (count.to_string(), batch.to_string());
    let seconds = match contender {
        Contender::Loop | Contender::SyncedLoop => {
            let what = if contender == Contender::Loop { "loop" } else { "synced" };
            let mut command = shell::python();
            number(&told(command.arg(script("floor_w2.py")).args([what, &items, &size]).arg(&out))?, "seconds")?
        }
        Contender::Bytewax => {
            number(&told(peers::python("bytewax_w2.py").args([&items, &size]).arg(&out))?, "seconds")?
        }
        Contender::Bento => {
            let begin = Instant::now();
            shell::capture(peers::bento("w2.yaml", &out)?.env("COUNT", &items).env("BATCH", &size))?;
            begin.elapsed().as_secs_f64()
        }
        Contender::NodeRed => {
            let (mut command, port) = peers::node_red("w2.json", folder)?;
            command.env("COUNT", &items).env("BATCH", &size);
            let _running = Service::start(&mut command, peers::NODE_RED_RUNS, &folder.join("node-red.log"))?;
            let begin = Instant::now();
            let mut request = TcpStream::connect(("127.0.0.1", port)).context("Node-RED does not listen")?;
            write!(request, "POST /w2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .context("Node-RED takes no request")?;
            let last = out.join(format!("batch-{:05}.txt", FILES - 1));
            grows(&last, batch as u64 * LINE, begin)?.as_secs_f64()
        }
        Contender::OpenDmp => {
            let (begin, last) = self::stages("W2", "item", count, stages);
            let flow = format!(
                "{begin}  - {{ id: batch, type: aggregate, inputs: [{last}], batch: {{ count: {batch} }}, as: lines }}\n  \
                 - id: shelf\n    type: collect\n    inputs: [batch]\n    collection: W2\n    \
                 destination: {{ type: folder, path: ./outbox, name: \"{{name}}\" }}\n"
            );
            let path = folder.join("flow.yaml");
            fs::write(&path, flow).context("can't write the flow")?;
            let server = Server::start(&plan.binary, folder)?;
            let seconds = server.run(&path, count)?.as_secs_f64();
            let datasets = server.datasets("W2")?;
            ensure!(datasets == FILES, "{datasets} datasets instead of {FILES}");
            seconds
        }
    };
    let kind = if contender == Contender::OpenDmp { "generated" } else { "numbered" };
    let mut command = shell::python();
    command.arg(script("check_items.py")).args([kind, &items]).arg(&out).env("PYTHONPATH", peers::checker()?);
    let checked = told(command.args((contender == Contender::Bento).then_some("--any-order")))?;
    ensure!(checked["files"] == FILES, "{} files instead of {FILES}", checked["files"]);
    Ok(seconds)
}

/// W2d beside the bare rows.
pub fn datasets(plan: &Plan) -> Result<Vec<Row>> {
    let count = plan.sized(DATASETS, 100);
    let what = "items, each a dataset";
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for run in 0..plan.runs {
        let folder = plan.folder.join(format!("W2d-{run}"));
        files::fresh(&folder)?;
        let mut command = shell::python();
        command.arg(script("floor_w2.py")).args(["rows", &count.to_string()]).arg(&folder);
        floor.push(count as f64 / number(&told(&mut command)?, "seconds")?);
        let server = Server::start(&plan.binary, &folder)?;
        let seconds = run_datasets(&server, &folder, "W2d", "item", count)?;
        println!("  run {}, opendmp: {seconds:.3} s", run + 1);
        ours.push(count as f64 / seconds);
        check_datasets(&server, "W2d", count)?;
        drop(server);
        fs::remove_dir_all(&folder).with_context(|| format!("can't remove {}", folder.display()))?;
    }
    Ok(vec![
        Row {
            workload: "W2d",
            what: what.to_owned(),
            role: Role::Floor,
            who: "floor: bare SQLite rows, 1,000 a commit, from Python".to_owned(),
            durable: "the rows; no content",
            unit: "items/s",
            values: floor,
        },
        Row::ours("W2d", what, "items/s", ours),
    ])
}

/// Runs W2d's flow once, under a name and with items of their own: seconds. What came of it is counted.
pub fn run_datasets(server: &Server, folder: &Path, name: &str, items: &str, count: usize) -> Result<f64> {
    let (begin, last) = stages(name, items, count, Stages::BuiltIn);
    let flow = format!("{begin}  - {{ id: shelf, type: collect, inputs: [{last}], collection: {name} }}\n");
    let path = folder.join(format!("{name}.yaml"));
    fs::write(&path, flow).context("can't write the flow")?;
    let seconds = server.run(&path, count)?.as_secs_f64();
    let datasets = server.datasets(name)?;
    ensure!(datasets == count, "{datasets} datasets instead of {count}");
    Ok(seconds)
}

/// Holds every dataset's name and hash against the item that it is of.
fn check_datasets(server: &Server, collection: &str, count: usize) -> Result<()> {
    let mut listing = server.verb(&["datasets", "list", "--collection", collection, "--all", "--format", "json"])?;
    let mut listing = listing.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("can't list the datasets")?;
    let out = listing.stdout.take().context("the listing has no output")?;
    let mut check = shell::python();
    check.arg(script("check_items.py")).args(["generated", &count.to_string(), "-"]);
    check.env("PYTHONPATH", peers::checker()?).stdin(out);
    let status = check.stdout(Stdio::null()).status().context("can't start check_items.py")?;
    let listed = listing.wait().context("lost sight of the listing")?;
    ensure!(status.success() && listed.success(), "the datasets are not those of the items");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flows_differ_in_their_stages_only() {
        let (python, last) = stages("W2", "item", 100, Stages::Python);
        assert_eq!((python.matches("type: script").count(), last), (3, "three"));
        let (built_in, last) = stages("W2", "item", 100, Stages::BuiltIn);
        assert_eq!((built_in.matches("type: route").count(), last), (3, "three.all"));
        assert!(built_in.contains("inputs: [two.all]") && python.contains("inputs: [two]"));
    }
}
