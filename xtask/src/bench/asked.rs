//! What those who look on cost: a million datasets listed while a flow works (`listing`), thousands of open event streams
//! (`watchers`), and the page in a browser (`page`).

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::fanout::quantile;
use super::report::ALL;
use super::server::Server;
use super::{Plan, Role, Row, growth, process, w2};
use crate::{files, shell, web};

/// Datasets that are listed, and those of a run beside it.
const DATASETS: (usize, usize) = (1_000_000, 100_000);

/// Requests a second, and for how many seconds in each run.
const LISTING: (usize, usize) = (200, 12);

/// Event streams, and files that they are told of.
const WATCHERS: (usize, usize) = (5_000, 20);

fn script(name: &str) -> Command {
    let mut python = shell::python();
    python.arg(shell::root().join("bench").join(name));
    python
}

fn row(workload: &'static str, what: &str, role: Role, unit: &'static str, values: Vec<f64>) -> Row {
    Row { workload, what: what.to_owned(), role, who: "opendmp".to_owned(), durable: ALL, unit, values }
}

fn number(told: &Value, of: &str) -> Result<f64> {
    told[of].as_f64().with_context(|| format!("no {of} in {told}"))
}

/// Datasets are listed, searched and sorted while a flow makes more of them as fast as it can: in turn with nobody asking, since
/// a flow that begins on an idle disk is faster than one that goes on for a minute.
pub fn listing(plan: &Plan) -> Result<Vec<Row>> {
    let folder = plan.folder.join("listing");
    let server = growth::grown(plan, &folder, plan.sized(DATASETS.0, 1_000))?;
    let count = plan.sized(DATASETS.1, 100);
    let mut made = 0;
    let mut run = || -> Result<f64> {
        made += 1;
        let seconds = w2::run_datasets(&server, &folder, &format!("Beside-{made}"), &format!("run{made}"), count)?;
        Ok(count as f64 / seconds)
    };
    let (mut alone, mut beside, mut took) = (Vec::new(), Vec::new(), Vec::new());
    let seconds = plan.sized(LISTING.1, 2);
    for round in 0..plan.runs {
        let begun = Instant::now();
        while begun.elapsed().as_secs_f64() < seconds as f64 {
            alone.push(run()?);
        }
        let mut asking = script("listing.py");
        asking.args([
            &server.url(),
            &server.token()?,
            &LISTING.0.to_string(),
            &seconds.to_string(),
            &round.to_string(),
        ]);
        let asking = asking.stdout(Stdio::piped()).spawn().context("can't start listing.py")?;
        // Reads what it prints, so that it is not held up at its end.
        let asking = std::thread::spawn(|| asking.wait_with_output());
        while !asking.is_finished() {
            let rate = run()?;
            // The last one went on while nobody asked any more.
            if !asking.is_finished() || beside.is_empty() {
                beside.push(rate);
            }
        }
        let out = asking.join().ok().context("listing.py was lost")?.context("lost sight of listing.py")?;
        let told: Value = serde_json::from_slice(&out.stdout).context("listing.py printed no JSON")?;
        let answered = &told["statuses"];
        ensure!(answered.as_object().is_some_and(|all| all.keys().eq(["200"])), "not all were answered: {answered}");
        took.extend(told["took"].as_array().into_iter().flatten().filter_map(Value::as_f64));
    }
    took.sort_by(f64::total_cmp);
    let answer = |share| quantile(&took, share).context("nothing was answered");
    let (median, late, longest) = (answer(0.5)?, answer(0.99)?, answer(1.0)?);
    drop(server);
    fs::remove_dir_all(&folder).with_context(|| format!("can't remove {}", folder.display()))?;
    Ok(vec![
        row("listing", "datasets, nobody asks", Role::Floor, "items/s", alone),
        row("listing", "datasets, while 200 a second are asked", Role::Ours, "items/s", beside),
        row("listing", "an answer, median", Role::Ours, "ms", vec![median]),
        row("listing", "an answer, 99 of 100", Role::Ours, "ms", vec![late]),
        row("listing", "an answer, longest", Role::Ours, "ms", vec![longest]),
    ])
}

/// Thousands look on while files are collected.
pub fn watchers(plan: &Plan) -> Result<Vec<Row>> {
    let watchers = plan.sized(WATCHERS.0, 50);
    let (mut memory, mut median, mut late, mut longest) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.runs {
        let folder = plan.folder.join("watchers");
        files::fresh(&folder)?;
        fs::create_dir(folder.join("inbox")).context("can't make the inbox")?;
        let flow = folder.join("flow.yaml");
        let text = "name: Seen\nprocessors:\n  - id: inbox\n    type: ingest\n    \
                    source: { type: file_drop, path: ./inbox, settle: 0s }\n  \
                    - { id: shelf, type: collect, inputs: [inbox], collection: Seen }\n";
        fs::write(&flow, text).context("can't write the flow")?;
        let server = Server::start(&plan.binary, &folder)?;
        server.enable(&flow)?;
        shell::pause(std::time::Duration::from_secs(1));
        let before = process::pss(server.service.id())?;
        let mut looking = script("watchers.py");
        looking.args([&server.url(), &server.token()?, &watchers.to_string()]).arg(folder.join("inbox"));
        looking.arg(WATCHERS.1.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut looking = looking.spawn().context("can't start watchers.py")?;
        let mut lines = looking.stdout.take().map(BufReader::new).context("watchers.py has no output")?.lines();
        if lines.next().transpose()?.as_deref() != Some("connected") {
            bail!("watchers.py did not connect");
        }
        shell::pause(std::time::Duration::from_secs(1));
        memory.push(process::pss(server.service.id())? - before);
        looking.stdin.take().context("watchers.py has no input")?.write_all(b"\n")?;
        let told: Value = serde_json::from_str(&lines.next().context("watchers.py ended early")??)?;
        looking.wait().context("lost sight of watchers.py")?;
        median.push(number(&told, "p50")?);
        late.push(number(&told, "p99")?);
        longest.push(number(&told, "longest")?);
        drop(server);
    }
    let who = format!("{watchers} watchers");
    Ok(vec![
        row("watchers", &format!("memory of {who}"), Role::Ours, "MiB", memory),
        row("watchers", "from the commit to one of them, median", Role::Ours, "ms", median),
        row("watchers", "the same, 99 of 100", Role::Ours, "ms", late),
        row("watchers", "the same, longest", Role::Ours, "ms", longest),
    ])
}

/// The page in a headless browser: how soon it is there, and how smoothly 300 processors move while their numbers change.
pub fn page(plan: &Plan) -> Result<Vec<Row>> {
    let (mut first, mut smooth) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let mut scripts = Vec::new();
    for _ in 0..plan.runs {
        let folder = plan.folder.join("page");
        files::fresh(&folder)?;
        let server = Server::start(&plan.binary, &folder)?;
        let mut measure = web::script("measure");
        measure.env("OPENDMP_URL", server.url()).env("OPENDMP_TOKEN", server.token()?);
        measure.env("OPENDMP_ROOT", &folder).env("OPENDMP_BINARY", &plan.binary);
        let told: Value = serde_json::from_str(&shell::capture(&mut measure)?).context("measure printed no JSON")?;
        for (values, view) in first.iter_mut().zip(["/flows", "/datasets"]) {
            let views = told["first_view"].as_array().into_iter().flatten();
            let view = views.clone().find(|one| one["path"] == view).with_context(|| format!("no {view} in {told}"))?;
            values.push(number(view, "shown_ms")?);
            if view["path"] == "/flows" {
                scripts.push(number(view, "script_bytes")? / 1_000.0);
            }
        }
        for (values, zoom) in smooth.iter_mut().zip(["zoomed_in", "zoomed_out"]) {
            values.push(number(&told["canvas"][zoom], "fps")?);
        }
        drop(server);
    }
    let ([flows, datasets], [near, far]) = (first, smooth);
    Ok(vec![
        row("page", "first view of the flows, median of 9", Role::Ours, "ms", flows),
        row("page", "first view of the datasets, median of 9", Role::Ours, "ms", datasets),
        row("page", "scripts of the first view, packed", Role::Ours, "kB", scripts),
        row("page", "300 processors, near", Role::Ours, "frames/s", near),
        row("page", "300 processors, from afar", Role::Ours, "frames/s", far),
    ])
}
