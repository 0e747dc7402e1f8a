//! Measures the journal on SQLite by itself.
//!
//! ```text
//! cargo run --release -p opendmp-journal --example spike -- bulk 10000000 datasets
//! cargo run --release -p opendmp-journal --example spike -- bulk 10000000 plain
//! cargo run --release -p opendmp-journal --example spike -- bulk 3000000 random     # paths in no order
//! cargo run --release -p opendmp-journal --example spike -- floor 1000000           # the bare rows of `datasets`
//! cargo run --release -p opendmp-journal --example spike -- single 2000 20          # 20 rounds, the journal growing
//! cargo run --release -p opendmp-journal --example spike -- queue 1000000           # claims before a long queue
//! cargo run --release -p opendmp-journal --example spike -- bulk 10000000 datasets /tmp/ten   # kept there
//! cargo run --release -p opendmp-journal --example spike -- list /tmp/ten           # what people ask of it
//! ```
//!
//! `floor` writes the rows that `bulk … datasets` leaves, with rusqlite alone and 1,000 items a commit: what the
//! journal's figure is to be held against in the same hour on the same machine. `bulk` takes items in by bundles of 1,000, claims and settles them, with one step of history each and, but for
//! `plain`, a dataset each. `single` does 2,000 times at once what one dropped file needs: ingest with a release,
//! claim, settle with an export, claim of intents, their ends. A second argument in the environment, `SPIKE_DIR`,
//! says on which disk; else the temporary folder.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use opendmp_journal::{Options, SqliteJournal};
use opendmp_model::export::{IfExists, SinkClass};
use opendmp_model::history::{Child, Entry, Result as Outcome, StepRecord};
use opendmp_model::ids::ContentHash;
use opendmp_model::item::{ContentRef, Item, Place, SharedAttributes};
use opendmp_ports::Journal;
use opendmp_ports::journal::{
    ClaimRequest, Claimed, DEFAULT_SPACE, End, Filter, Finished, FlowId, Ingest, Lease, NewArrival, NewExport,
    NewRevision, NewTask, NewVersion, Reader, RevisionRow, RunChoice, RunId, RunMode, Settled, Settlement, SourceId,
    VersionId, decide,
};
use opendmp_ports::transport::StepCounts;

type Outcomes<T> = Result<T, Box<dyn Error + Send + Sync>>;

struct Desk {
    journal: SqliteJournal,
    lease: Lease,
    flow: FlowId,
    version: VersionId,
    source: SourceId,
}

async fn open(dir: &Path) -> Outcomes<Desk> {
    let journal = SqliteJournal::open(dir, Options::default())?;
    let lease = journal.open_lease("spike", true, 1).await?.lease;
    let new = NewVersion {
        space: DEFAULT_SPACE,
        slug: "spike".to_owned(),
        name: "Spike".to_owned(),
        hash: "v1".to_owned(),
        body: Bytes::from_static(b"{}"),
        at: 1,
        actor: "spike".to_owned(),
    };
    let (flow, version) = journal.save_version(new).await?;
    let source = journal.source(DEFAULT_SPACE, "generate").await?;
    Ok(Desk { journal, lease, flow, version, source })
}

fn content(number: u64) -> ContentRef {
    let hash = ContentHash::of(&number.to_le_bytes());
    ContentRef { hash, size: 1024, place: Place::Pack { pack: number >> 14, offset: (number & 0x3fff) << 10 } }
}

fn arrival(number: u64, random: bool, attributes: &SharedAttributes) -> NewArrival {
    let text = if random { content(number).hash.short(24) } else { format!("item-{number:010}") };
    NewArrival {
        path: text.clone().into_bytes(),
        stat: None,
        name: text.into(),
        content: content(number),
        media_type: None,
        attributes: attributes.clone(),
        release: None,
        took: 20,
    }
}

impl Desk {
    fn ingest(&self, run: RunChoice, arrivals: Vec<NewArrival>) -> Ingest {
        Ingest {
            lease: self.lease,
            flow: self.flow,
            version: self.version,
            processor: "inbox".into(),
            source: self.source,
            run,
            arrivals,
            readers: vec![Reader { processor: "shelf".into(), input: 0 }],
            context: 1,
            started: 1_700_000_000_000,
            at: 1_700_000_000_100,
        }
    }

    fn settlement(&self, claimed: &Claimed, datasets: bool, export: bool) -> Settlement {
        let items = &claimed.task.items;
        let entry = |item: &Item| Entry {
            input: item.id,
            took: 15,
            result: Outcome::Collected,
            children: Vec::<Child>::new(),
            log: Vec::new(),
            note: None,
        };
        let revision = |item: &Item| NewRevision {
            collection: "Shelf".into(),
            processor: "shelf".into(),
            item: item.clone(),
            export: export.then(|| NewExport {
                destination: "folder:/out".into(),
                target: item.name.as_bytes().to_vec(),
                if_exists: IfExists::Version,
                class: SinkClass::Overwrite,
            }),
        };
        let done = items.len() as u64;
        Settlement {
            task: claimed.task.id,
            lease: self.lease,
            attempt: claimed.attempt,
            tasks: Vec::new(),
            held: Vec::new(),
            closing: None,
            memos: Vec::new(),
            revisions: if datasets { items.iter().map(revision).collect() } else { Vec::new() },
            dead_letters: Vec::new(),
            history: vec![StepRecord {
                context: 1,
                started: 1_700_000_000_200,
                entries: items.iter().map(entry).collect(),
            }],
            counts: BTreeMap::from([("shelf".into(), StepCounts { done, ..StepCounts::default() })]),
            at: 1_700_000_000_300,
            actor: "worker".into(),
        }
    }

    async fn claim(&self, limit: usize, run: Option<RunId>) -> Outcomes<Vec<Claimed>> {
        let request =
            ClaimRequest { lease: self.lease, now: 1_700_000_000_000, limit, suspects: false, run, idle: false };
        Ok(self.journal.claim(request).await?)
    }

    async fn settle(&self, settlement: Settlement) -> Outcomes<()> {
        match self.journal.settle(vec![settlement]).await?.pop() {
            Some(Settled::Applied(_)) => Ok(()),
            other => Err(format!("not applied: {other:?}").into()),
        }
    }
}

fn size(dir: &Path, name: &str) -> u64 {
    std::fs::metadata(dir.join(name)).map_or(0, |meta| meta.len())
}

fn memory(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0) / 1024
}

/// Seconds of processor time that the threads of this name have used.
fn cpu(name: &str) -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let ticks = |dir: std::fs::DirEntry| -> Option<u64> {
        let stat = std::fs::read_to_string(dir.path().join("stat")).ok()?;
        let (head, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        head.ends_with(&format!("({}", &name[..name.len().min(15)])).then_some(())?;
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    };
    threads.filter_map(ticks).sum::<u64>() as f64 / 100.0
}

/// How many bundles are under way at once.
const WORKERS: u64 = 4;

async fn bulk(dir: &Path, items: u64, datasets: bool, random: bool) -> Outcomes<()> {
    let desk = Arc::new(open(dir).await?);
    let run = desk.journal.open_run(desk.flow, desk.version, RunMode::Live, "spike", 1).await?;
    println!(
        "items, items/s since the line before, bytes an item, log MiB, most resident MiB, longest call ms, \
         writer and checkpoint processor us an item"
    );
    let (mut writer, mut copier) = (cpu("journal-writer"), cpu("journal-checkpoint"));
    let next = Arc::new(AtomicU64::new(0));
    let longest = Arc::new(AtomicU64::new(0));
    let (mut done, mut stop) = (0, 100_000.min(items));
    while done < items {
        let began = Instant::now();
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..WORKERS {
            let (desk, next, longest) = (Arc::clone(&desk), Arc::clone(&next), Arc::clone(&longest));
            workers.spawn(async move {
                let attributes = SharedAttributes::default();
                loop {
                    let from = next.fetch_add(1_000, Ordering::Relaxed);
                    if from >= stop {
                        next.fetch_sub(1_000, Ordering::Relaxed);
                        return Ok::<_, Box<dyn Error + Send + Sync>>(());
                    }
                    let arrivals = (from..from + 1_000).map(|number| arrival(number, random, &attributes)).collect();
                    let call = Instant::now();
                    desk.journal.ingest(desk.ingest(RunChoice::Existing(run), arrivals)).await?;
                    longest.fetch_max(call.elapsed().as_millis() as u64, Ordering::Relaxed);
                    for claimed in desk.claim(1, None).await? {
                        let settlement = desk.settlement(&claimed, datasets, false);
                        let call = Instant::now();
                        desk.settle(settlement).await?;
                        longest.fetch_max(call.elapsed().as_millis() as u64, Ordering::Relaxed);
                    }
                }
            });
        }
        while let Some(worker) = workers.join_next().await {
            worker??;
        }
        let rate = (stop - done) as f64 / began.elapsed().as_secs_f64();
        let bytes = size(dir, "journal.db") / stop;
        let (log, most) = (size(dir, "journal.db-wal") >> 20, memory("VmHWM"));
        let longest = longest.swap(0, Ordering::Relaxed);
        let (w, c) = (cpu("journal-writer"), cpu("journal-checkpoint"));
        let each = |seconds: f64| seconds * 1e6 / (stop - done) as f64;
        let (w_each, c_each) = (each(w - writer), each(c - copier));
        println!("{stop}, {rate:.0}, {bytes}, {log}, {most}, {longest}, {w_each:.2}, {c_each:.2}");
        (writer, copier) = (w, c);
        done = stop;
        stop = (if stop < 1_000_000 { 1_000_000 } else { stop + 1_000_000 }).min(items);
    }
    desk.journal.close_run(run, 2).await?;
    let row = desk.journal.run(run).await?;
    assert_eq!((row.arrivals, row.outstanding), (items, 0), "all are there");
    assert_eq!(row.revisions, if datasets { items } else { 0 });
    Ok(())
}

async fn single(dir: &Path, count: u64, rounds: u64) -> Outcomes<()> {
    let desk = Arc::new(open(dir).await?);
    println!("round, calls/s, files/s, seconds, log MiB, most resident MiB");
    for round in 0..rounds {
        let began = Instant::now();
        let mut files = tokio::task::JoinSet::new();
        for number in round * count..(round + 1) * count {
            let desk = Arc::clone(&desk);
            files.spawn(async move {
                let attributes = SharedAttributes::default();
                let mut one = arrival(number, true, &attributes);
                one.release = Some(Bytes::from(format!("claim-{number}")));
                let run = RunChoice::New { mode: RunMode::Live, trigger: format!("`item-{number}` in `inbox`") };
                let done = desk.journal.ingest(desk.ingest(run, vec![one])).await?;
                let claimed = desk.claim(1, Some(done.run)).await?;
                let first = claimed.first().ok_or("the task is not there")?;
                desk.settle(desk.settlement(first, true, true)).await?;
                // Whoever's they are: as many are claimed as are made.
                let intents = desk.journal.claim_intents(desk.lease, 1_700_000_000_000, 2).await?;
                let ends = intents.iter().map(|intent| Finished {
                    id: intent.id,
                    lease: desk.lease,
                    attempt: intent.attempt,
                    end: End::Done,
                    at: 1_700_000_000_400,
                });
                desk.journal.finish(ends.collect()).await?;
                Ok::<_, Box<dyn Error + Send + Sync>>(())
            });
        }
        while let Some(file) = files.join_next().await {
            file??;
        }
        let seconds = began.elapsed().as_secs_f64();
        let (calls, each) = ((count * 5) as f64 / seconds, count as f64 / seconds);
        let (log, most) = (size(dir, "journal.db-wal") >> 20, memory("VmHWM"));
        println!("{round}, {calls:.0}, {each:.0}, {seconds:.3}, {log}, {most}");
    }
    let backlog = desk.journal.backlog(None).await?;
    assert_eq!((backlog.items, backlog.intents), (0, 0), "all is carried out");
    Ok(())
}

/// The bare rows: an arrival and a revision an item, two records of history a bundle, one synced commit a bundle.
fn floor(dir: &Path, items: u64) -> Outcomes<()> {
    drop(SqliteJournal::open(dir, Options::default())?);
    let mut conn = rusqlite::Connection::open(dir.join("journal.db"))?;
    conn.execute_batch("PRAGMA synchronous = FULL; PRAGMA cache_size = -16384;")?;
    let began = Instant::now();
    let blob = [7u8; 60_000];
    for from in (0..items).step_by(1_000) {
        let tx = conn.transaction()?;
        for number in from..from + 1_000 {
            let item = arrival(number, false, &Arc::default());
            let mut arrivals = tx.prepare_cached(
                "INSERT INTO arrival (id, source, flow, run, origin, at, known, path, content, stat) \
                 VALUES (?1, 1, 1, 1, ?1, 1700000000100, 1, ?2, ?3, NULL)",
            )?;
            arrivals.execute(rusqlite::params![number as i64, item.path, &blob[..40]])?;
            let mut revisions = tx.prepare_cached(
                "INSERT INTO revision (shelf, origin, slot, arrival, pass, within, seq, at, run, version, export, item) \
                 VALUES (1, ?1, ?2, ?1, 0, 0, ?1, 1700000000300, 1, 1, 0, ?3)",
            )?;
            revisions.execute(rusqlite::params![number as i64, &item.content.hash.0[..12], &blob[..100]])?;
        }
        let mut history = tx.prepare_cached(
            "INSERT INTO history (space, run, at, actor, least, most, steps) VALUES (1, 1, 1, 1, ?1, ?2, ?3)",
        )?;
        history.execute(rusqlite::params![from as i64, from as i64 + 999, &blob[..]])?;
        history.execute(rusqlite::params![from as i64, from as i64 + 999, &blob[..20_000]])?;
        drop(history);
        tx.commit()?;
    }
    println!("{items} bare: {:.0} items/s", items as f64 / began.elapsed().as_secs_f64());
    Ok(())
}

/// Claims and intents before a queue of `count` tasks that wait for later, and as many that are ready.
async fn queue(dir: &Path, count: u64) -> Outcomes<()> {
    let desk = open(dir).await?;
    let mut run = RunId(0);
    let attributes = SharedAttributes::default();
    for from in (0..count).step_by(1_000) {
        let arrivals = (from..from + 1_000).map(|number| arrival(number, false, &attributes)).collect();
        let own = RunChoice::New { mode: RunMode::Live, trigger: "spike".to_owned() };
        run = desk.journal.ingest(desk.ingest(own, arrivals)).await?.run;
        let claimed = desk.claim(1, Some(run)).await?;
        let first = claimed.first().ok_or("the task is not there")?;
        let mut settlement = desk.settlement(first, true, true);
        settlement.tasks = Vec::with_capacity(2_000);
        for item in &first.task.items {
            for (processor, due) in [("later", Some(1_800_000_000_000)), ("ready", None)] {
                let to = Reader { processor: processor.into(), input: 0 };
                let mut tasks = decide::tasks_for(&to, vec![item.clone()]);
                settlement.tasks.extend(tasks.drain(..).map(|task| NewTask { due, ..task }));
            }
        }
        desk.settle(settlement).await?;
    }
    let time = |name: &'static str, times: &mut Vec<Duration>| {
        times.sort();
        println!("{name}: median {:?}, most {:?}", times[times.len() / 2], times[times.len() - 1]);
    };
    println!("{count} ready, {count} later, {count} exports");
    let (mut claims, mut runs, mut intents, mut backlogs) = (vec![], vec![], vec![], vec![]);
    for _ in 0..500 {
        let began = Instant::now();
        assert_eq!(desk.claim(1, None).await?.len(), 1);
        claims.push(began.elapsed());
        let began = Instant::now();
        assert_eq!(desk.claim(1, Some(run)).await?.len(), 1);
        runs.push(began.elapsed());
        let began = Instant::now();
        assert_eq!(desk.journal.claim_intents(desk.lease, 1_700_000_000_000, 1).await?.len(), 1);
        intents.push(began.elapsed());
        let began = Instant::now();
        assert!(desk.journal.backlog(None).await?.due.is_some());
        backlogs.push(began.elapsed());
    }
    time("claim of one", &mut claims);
    time("claim of one of a run", &mut runs);
    time("claim of one intent", &mut intents);
    time("backlog", &mut backlogs);
    Ok(())
}

/// What people ask for, of a journal that `bulk` left.
async fn list(dir: &Path) -> Outcomes<()> {
    let began = Instant::now();
    let journal = SqliteJournal::open(dir, Options::default())?;
    println!("open: {:?}", began.elapsed());
    let arrivals = journal.run(RunId(1)).await?.arrivals;
    let named = |number: u64| format!("item-{number:010}");
    let filter = Filter { limit: 100, ..Filter::default() };
    let asked = [
        ("datasets, first page", filter.clone()),
        (
            "datasets, a page in the middle",
            Filter { after: Some(decide::slot_cursor(dataset(&journal, arrivals / 2).await?.slot)), ..filter.clone() },
        ),
        ("datasets of a collection", Filter { collection: Some("Shelf".to_owned()), ..filter.clone() }),
        ("datasets of a flow", Filter { flow: Some("spike".to_owned()), ..filter.clone() }),
        ("datasets of a run", Filter { run: Some(RunId(1)), ..filter.clone() }),
        ("datasets of a run that has none", Filter { run: Some(RunId(2)), ..filter.clone() }),
        ("datasets by id", Filter { id: Some((arrivals / 3).to_string().parse()?), ..filter.clone() }),
        ("datasets by part of a name, early", Filter { name: Some("item-000000".to_owned()), ..filter.clone() }),
        ("datasets by a name in the middle", Filter { name: Some(named(arrivals / 2)), ..filter.clone() }),
        ("datasets by a name that is not there", Filter { name: Some("nothing*".to_owned()), ..filter.clone() }),
    ];
    for (what, filter) in asked {
        let mut times = Vec::new();
        let (mut found, mut pages) = (0, 0);
        for _ in 0..5 {
            let began = Instant::now();
            (found, pages) = (0, 0);
            let mut filter = filter.clone();
            // As many pages as it takes to have one full, or to know that there is no more.
            loop {
                let page = journal.datasets(filter.clone()).await?;
                (found, pages) = (found + page.rows.len(), pages + 1);
                filter.after = page.next;
                if found >= filter.limit || filter.after.is_none() {
                    break;
                }
            }
            times.push(began.elapsed());
            if times[0] > Duration::from_secs(2) {
                break;
            }
        }
        times.sort();
        let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
        println!("{what}: {found} rows in {pages} pages, median {median:?}, most {most:?}");
    }
    let mut times = [vec![], vec![], vec![], vec![], vec![]];
    for n in 0..101u64 {
        let slot = dataset(&journal, 1 + n * (arrivals - 1) / 100).await?.slot;
        let began = Instant::now();
        let rows = journal.revisions(slot).await?;
        times[0].push(began.elapsed());
        let row = rows.first().ok_or("a dataset is missing")?;
        let began = Instant::now();
        assert!(!journal.history(row.item.id.arrival).await?.is_empty());
        times[1].push(began.elapsed());
        let began = Instant::now();
        assert_eq!(journal.runs(filter.clone()).await?.rows.len(), 1);
        times[2].push(began.elapsed());
        let began = Instant::now();
        assert_eq!(journal.collections(DEFAULT_SPACE).await?.len(), 1);
        times[3].push(began.elapsed());
        let began = Instant::now();
        assert_eq!(journal.flows(DEFAULT_SPACE).await?.len(), 1);
        times[4].push(began.elapsed());
    }
    for (what, times) in ["revisions", "history", "runs", "collections", "flows"].into_iter().zip(&mut times) {
        times.sort();
        println!("{what}: median {:?}, most {:?}", times[50], times[100]);
    }
    println!("most resident: {} MiB", memory("VmHWM"));
    Ok(())
}

/// The dataset of an arrival. Which name it has is not known: bundles of several workers come in any order.
async fn dataset(journal: &SqliteJournal, arrival: u64) -> Outcomes<RevisionRow> {
    let filter = Filter { id: Some(arrival.to_string().parse()?), ..Filter::default() };
    Ok(journal.datasets(filter).await?.rows.pop().ok_or("a dataset is missing")?)
}

#[tokio::main]
async fn main() -> Outcomes<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let parent = std::env::var_os("SPIKE_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(parent)?;
    match words[..] {
        ["bulk", items, kind] => bulk(dir.path(), items.parse()?, kind != "plain", kind == "random").await,
        ["bulk", items, kind, to] => bulk(Path::new(to), items.parse()?, kind != "plain", kind == "random").await,
        ["list", of] => list(Path::new(of)).await,
        ["floor", items] => floor(dir.path(), items.parse()?),
        ["single", count, rounds] => single(dir.path(), count.parse()?, rounds.parse()?).await,
        ["queue", count] => queue(dir.path(), count.parse()?).await,
        _ => Err("see the head of examples/spike.rs for its arguments".into()),
    }
}
