//! A journal whose process is killed at random moments: every answered commit is there afterwards, and the file is whole.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use opendmp_journal::{Options, SqliteJournal};
use opendmp_model::history::{Entry, Result as Outcome, StepRecord};
use opendmp_model::ids::{Arrival, ContentHash, SlotId};
use opendmp_model::item::{Attributes, ContentRef, Place};
use opendmp_ports::Journal;
use opendmp_ports::journal::{
    ClaimRequest, DEFAULT_SPACE, Filter, Ingest, NewArrival, NewRevision, NewVersion, Reader, RunChoice, RunMode,
    Search, Settled, Settlement,
};
use opendmp_ports::transport::StepCounts;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rusqlite::Connection;

/// Tells this binary that it is the child, and where the journal is.
const DIR: &str = "OPENDMP_KILL_DIR";

/// How often the process is killed.
const ROUNDS: u64 = 20;

/// Small limits, so that kills also meet checkpoints.
fn open(dir: &Path) -> SqliteJournal {
    SqliteJournal::open(dir, Options { checkpoint: 64 << 10, log: 512 << 10, ..Options::default() }).unwrap()
}

/// Not a test by itself: the process that is killed. It takes in, claims and settles for ever, several at once, and
/// says what was answered.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let journal = Arc::new(open(Path::new(&dir)));
    journal.keep_search();
    let lease = journal.open_lease("child", true, 1).await.unwrap().lease;
    let new = NewVersion {
        space: DEFAULT_SPACE,
        slug: "f".to_owned(),
        name: "f".to_owned(),
        hash: "v".to_owned(),
        body: "b".into(),
        at: 1,
        actor: "a".to_owned(),
    };
    let (flow, version) = journal.save_version(new).await.unwrap();
    let source = journal.source(DEFAULT_SPACE, "kill").await.unwrap();
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..4u64 {
        let journal = Arc::clone(&journal);
        workers.spawn(async move {
            for number in 0u64.. {
                let arrival = |nth: u64| {
                    let name = format!("{}-{worker}-{number}-{nth}", lease.0);
                    let hash = ContentHash::of(name.as_bytes());
                    NewArrival {
                        path: name.clone().into_bytes(),
                        stat: None,
                        name: name.into(),
                        content: ContentRef { hash, size: 9, place: Place::Empty },
                        media_type: None,
                        attributes: Attributes::new().into(),
                        release: None,
                        took: 1,
                    }
                };
                let ingest = Ingest {
                    lease,
                    flow,
                    version,
                    processor: "inbox".into(),
                    source,
                    run: RunChoice::New { mode: RunMode::Live, trigger: "kill".to_owned() },
                    arrivals: (0..1 + number % 7).map(arrival).collect(),
                    readers: vec![Reader { processor: "shelf".into(), input: 0 }],
                    context: 1,
                    started: 1,
                    at: 1,
                };
                let run = journal.ingest(ingest).await.unwrap().run;
                let request = ClaimRequest { lease, now: 1, limit: 1, suspects: false, run: Some(run), idle: false };
                let claimed = journal.claim(request).await.unwrap().remove(0);
                let items = &claimed.task.items;
                tell("arrived", items.iter().map(|item| item.id.arrival));
                let revisions = items.iter().map(|item| NewRevision {
                    collection: "c".into(),
                    processor: "shelf".into(),
                    item: item.clone(),
                    export: None,
                });
                let entries = items.iter().map(|item| Entry {
                    input: item.id,
                    took: 1,
                    result: Outcome::Collected,
                    children: vec![],
                    log: vec![],
                    note: None,
                });
                let settlement = Settlement {
                    task: claimed.task.id,
                    lease,
                    attempt: claimed.attempt,
                    tasks: vec![],
                    held: Vec::new(),
                    closing: None,
                    memos: Vec::new(),
                    revisions: revisions.collect(),
                    dead_letters: vec![],
                    history: vec![StepRecord { context: 1, started: 1, entries: entries.collect() }],
                    counts: BTreeMap::from([("shelf".into(), StepCounts::default())]),
                    at: 1,
                    actor: "worker".into(),
                };
                let settled = journal.settle(vec![settlement]).await.unwrap();
                assert!(matches!(settled[..], [Settled::Applied(_)]));
                tell("settled", items.iter().map(|item| item.id.arrival));
            }
        });
    }
    workers.join_next().await.unwrap().unwrap();
}

/// One line, whole, at once.
fn tell(what: &str, arrivals: impl Iterator<Item = Arrival>) {
    let numbers: Vec<String> = arrivals.map(|arrival| arrival.0.to_string()).collect();
    let line = format!("\n{what} {}\n", numbers.join(" "));
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(7);
    let (mut arrived, mut settled) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--quiet"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut hear = |line: String| {
            let mut words = line.split(' ');
            let into = match words.next() {
                Some("arrived") => &mut arrived,
                Some("settled") => &mut settled,
                _ => return false,
            };
            into.extend(words.map(|word| word.parse::<u64>().unwrap()));
            true
        };
        let until = rng.random_range(1..150);
        let mut heard = 0;
        for line in lines.by_ref() {
            heard += u32::from(hear(line));
            if heard >= until {
                break;
            }
        }
        assert_eq!(heard, until, "round {round}: the child ended by itself");
        // SIGKILL, at whatever it is doing now.
        child.kill().unwrap();
        // What was answered before it died and not heard yet counts too; a last line may be cut.
        let rest: Vec<String> = lines.collect();
        rest.into_iter().rev().skip(1).for_each(|line| _ = hear(line));
        child.wait().unwrap();
        check(dir.path(), &arrived, &settled).await;
    }
}

async fn all(journal: &SqliteJournal, mut filter: Filter) -> Vec<SlotId> {
    let mut slots = Vec::new();
    loop {
        let page = journal.datasets(filter.clone()).await.unwrap();
        slots.extend(page.rows.iter().map(|row| row.slot));
        filter.after = page.next;
        if filter.after.is_none() {
            return slots;
        }
    }
}

async fn check(dir: &Path, arrived: &[u64], settled: &[u64]) {
    let journal = open(dir);
    for &number in arrived {
        journal.arrival(Arrival(number)).await.unwrap();
    }
    for &number in settled {
        let row = journal.arrival(Arrival(number)).await.unwrap();
        let name = String::from_utf8(row.path).unwrap();
        let revisions = journal.revisions(SlotId::new(Arrival(number), "c", "f", "shelf", &name, 0)).await.unwrap();
        assert_eq!(revisions.len(), 1, "the dataset of arrival {number}");
        assert_eq!(revisions[0].item.content.hash, row.content.hash);
        let history = journal.history(Arrival(number)).await.unwrap();
        assert_eq!(history.len(), 2, "the history of arrival {number}");
    }
    // What is found is what there is.
    let mut listed = all(&journal, Filter { limit: 10_000, ..Filter::default() }).await;
    let mut search = Search { limit: 1_000, wait: Duration::from_secs(60), ..Search::default() };
    let mut found = Vec::new();
    loop {
        let page = journal.search(search.clone()).await.unwrap();
        assert!(page.behind.is_none(), "{:?}", page.behind);
        found.extend(page.rows.iter().map(|row| row.slot));
        search.after = page.next;
        if search.after.is_none() {
            break;
        }
    }
    listed.sort_unstable();
    found.sort_unstable();
    assert!(listed == found, "{} datasets, {} are found", listed.len(), found.len());
    // What is outstanding by the counters is what is in the queue.
    let backlog = journal.backlog(None).await.unwrap();
    drop(journal);
    let conn = Connection::open(dir.join("journal.db")).unwrap();
    let check: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let queued: i64 = conn.query_row("SELECT total(items) FROM task", [], |row| row.get::<_, f64>(0)).unwrap() as i64;
    assert_eq!(backlog.items as i64, queued);
    let (arrivals, datasets): (i64, i64) = conn
        .query_row("SELECT (SELECT count(*) FROM arrival), (SELECT count(*) FROM revision)", [], |row| row.try_into())
        .unwrap();
    assert_eq!(arrivals, datasets + queued, "nothing is lost, nothing is twice");
    assert!(datasets as usize >= settled.len());
}
