//! What is stored stays readable: the schema is frozen, a stored database of each version opens, and what this program
//! must not touch it leaves alone.

use std::collections::BTreeMap;
use std::path::Path;

use opendmp_journal::{Options, SqliteJournal};
use opendmp_model::export::{IfExists, SinkClass};
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::history::{Context, Entry, Result as Outcome, StepRecord};
use opendmp_model::ids::{Arrival, ContentHash, SlotId};
use opendmp_model::item::{Attributes, ContentRef, Item, Place};
use opendmp_model::ledger::FileStat;
use opendmp_ports::journal::{
    ClaimRequest, Claimed, DEFAULT_SPACE, End, ExportState, Filter, Finished, FlowChange, FlowState, Ingest,
    NewArrival, NewDeadLetter, NewExport, NewRevision, NewTask, NewVersion, Reader, RunChoice, RunMode, RunState,
    Settled, Settlement, dead_letter_id, decide,
};
use opendmp_ports::transport::StepCounts;
use opendmp_ports::{ErrorKind, Journal};
use rusqlite::Connection;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

fn open(dir: &Path) -> SqliteJournal {
    SqliteJournal::open(dir, Options::default()).unwrap()
}

/// All that is defined in a database, by name.
fn dump(path: &Path) -> String {
    let conn = Connection::open(path).unwrap();
    let sql = "SELECT type || ' ' || name || char(10) || coalesce(sql, '(made by a constraint)') FROM sqlite_master \
               ORDER BY type DESC, name";
    let mut statement = conn.prepare(sql).unwrap();
    let rows: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    let application: i64 = conn.pragma_query_value(None, "application_id", |row| row.get(0)).unwrap();
    format!("application {application:#x}, version {version}\n\n{}\n", rows.join("\n\n"))
}

/// The migrations that led to each earlier schema.
const EARLIER: [&str; 10] = [
    include_str!("../migrations/0001_first.sql"),
    include_str!("../migrations/0002_held.sql"),
    include_str!("../migrations/0003_memo.sql"),
    include_str!("../migrations/0004_lineage.sql"),
    include_str!("../migrations/0005_retention.sql"),
    include_str!("../migrations/0006_drafts.sql"),
    include_str!("../migrations/0007_changes.sql"),
    include_str!("../migrations/0008_letters.sql"),
    include_str!("../migrations/0009_slots.sql"),
    include_str!("../migrations/0010_installation.sql"),
];

#[test]
fn earlier_schemas_are_frozen() {
    for version in 1..=EARLIER.len() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        let conn = Connection::open(&path).unwrap();
        EARLIER[..version].iter().for_each(|migration| conn.execute_batch(migration).unwrap());
        let marks = format!("PRAGMA application_id = 0x4f444d50; PRAGMA user_version = {version};");
        conn.execute_batch(&marks).unwrap();
        let golden = std::fs::read_to_string(format!("{GOLDEN}/schema-v{version}.txt")).unwrap();
        assert!(dump(&path) == golden, "schema {version} was changed: a stored schema never is");
    }
}

#[test]
fn schema_11_is_frozen() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let golden = std::fs::read_to_string(format!("{GOLDEN}/schema-v11.txt")).unwrap();
    let dumped = dump(&dir.path().join("journal.db"));
    assert!(dumped == golden, "a stored schema is never changed, make a new migration; it is now\n{dumped}");
}

fn content(text: &str) -> ContentRef {
    let hash = ContentHash::of(text.as_bytes());
    ContentRef { hash, size: text.len() as u64, place: Place::Pack { pack: 1, offset: 4096 } }
}

fn arrival(path: &[u8], text: &str) -> NewArrival {
    NewArrival {
        path: path.to_vec(),
        stat: Some(FileStat { device: 1, inode: 2, size: 3, mtime: 4, ctime: 5, recent: false }),
        name: opendmp_model::name::from_bytes(path).into(),
        content: content(text),
        media_type: Some("text/csv".into()),
        attributes: Attributes::from_iter([("folder".to_owned(), "x".into())]).into(),
        release: Some(format!("claim {text}").into()),
        took: 7,
    }
}

/// Fills a journal with some of everything.
async fn fill(journal: &SqliteJournal) {
    let lease = journal.open_lease("golden", true, 1).await.unwrap().lease;
    let new = NewVersion {
        space: DEFAULT_SPACE,
        slug: "penguins".to_owned(),
        name: "Penguins".to_owned(),
        hash: "3f9c1a".to_owned(),
        body: "the document".into(),
        at: 2,
        actor: "ada".to_owned(),
    };
    let (flow, version) = journal.save_version(new).await.unwrap();
    let (base, actor) = (Some("/data".to_owned()), "ada".to_owned());
    let change = FlowChange { flow, state: FlowState::Enabled, version: None, base, at: 3, actor };
    journal.change_flow(change).await.unwrap();
    let source = journal.source(DEFAULT_SPACE, "file_drop:/data/inbox").await.unwrap();
    let word = |text: &str| text.to_owned();
    let context = Context {
        flow: word("penguins"),
        version: word("3f9c1a"),
        processor: word("clean"),
        kind: word("script"),
        config: word("c0ffee"),
        environment: None,
        worker: word("host"),
        opendmp: word("0.1.0"),
    };
    let context = journal.context(context).await.unwrap();
    let ingest = Ingest {
        lease,
        flow,
        version,
        processor: "inbox".into(),
        source,
        run: RunChoice::New { mode: RunMode::Live, trigger: "4 files in ./inbox".to_owned() },
        arrivals: vec![arrival(b"a.csv", "one"), arrival(b"caf\xe9", "two"), arrival(b"c", "x"), arrival(b"d", "y")],
        readers: vec![Reader { processor: "clean".into(), input: 0 }],
        context,
        started: 9,
        at: 10,
    };
    let run = journal.ingest(ingest).await.unwrap().run;
    let request = ClaimRequest { lease, now: 20, limit: 9, suspects: false, run: Some(run), idle: false };
    let claimed = journal.claim(request).await.unwrap().remove(0);
    journal.settle(vec![settlement(&claimed, lease, context)]).await.unwrap();
    let intents = journal.claim_intents(lease, 30, 2).await.unwrap();
    let ends = intents.iter().map(|intent| Finished { id: intent.id, lease, attempt: 1, end: End::Done, at: 31 });
    journal.finish(ends.collect()).await.unwrap();
}

/// Two results, of which one is exported, a dead letter, and a task that waits.
fn settlement(claimed: &Claimed, lease: opendmp_ports::journal::Lease, context: u32) -> Settlement {
    let items = &claimed.task.items;
    let revision = |item: &Item, target: &[u8]| NewRevision {
        collection: "Penguins".into(),
        processor: "shelf".into(),
        item: item.clone(),
        export: Some(NewExport {
            destination: "folder:/data/outbox".into(),
            target: target.to_vec(),
            if_exists: IfExists::Version,
            class: SinkClass::Overwrite,
        }),
    };
    let at = claimed.task.to.clone();
    let fault = Fault::new(FaultKind::Failed, "ValueError", "could not convert").with_hint("look at it");
    let letter = NewDeadLetter {
        id: dead_letter_id(items[2].id, &at),
        at,
        item: items[2].clone(),
        fault,
        attempts: 3,
        log: vec![],
    };
    let to = Reader { processor: "sort".into(), input: 0 };
    let later =
        decide::tasks_for(&to, vec![items[3].clone()]).into_iter().map(|task| NewTask { due: Some(99), ..task });
    let results = [Outcome::Collected, Outcome::Collected, Outcome::Dead, Outcome::Emitted];
    let entry = |(item, result): (&Item, Outcome)| Entry {
        input: item.id,
        took: 5,
        result,
        children: vec![],
        log: vec![],
        note: Some("exit 0".into()),
    };
    Settlement {
        task: claimed.task.id,
        lease,
        attempt: 1,
        tasks: later.collect(),
        held: Vec::new(),
        closing: None,
        memos: Vec::new(),
        revisions: vec![revision(&items[0], b"a.csv"), revision(&items[1], b"a.csv")],
        dead_letters: vec![letter],
        history: vec![StepRecord { context, started: 21, entries: items.iter().zip(results).map(entry).collect() }],
        counts: BTreeMap::from([("clean".into(), StepCounts { done: 4, ..StepCounts::default() })]),
        at: 22,
        actor: "worker".into(),
    }
}

#[tokio::test]
async fn a_stored_database_of_version_1_opens() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(format!("{GOLDEN}/journal-v1.db"), dir.path().join("journal.db")).unwrap();
    let journal = open(dir.path());
    let flow = journal.flows(DEFAULT_SPACE).await.unwrap().remove(0);
    assert_eq!((flow.slug.as_str(), flow.state, flow.base.as_str()), ("penguins", FlowState::Enabled, "/data"));
    assert_eq!((flow.outstanding, flow.dead_letters), (2, 1));
    assert_eq!(&*journal.version(flow.version).await.unwrap().body, b"the document");
    let run = journal.runs(Filter::default()).await.unwrap().rows.remove(0);
    let run = journal.run(run.id).await.unwrap();
    assert_eq!((run.state, run.arrivals, run.revisions, run.exported, run.dead), (RunState::Running, 4, 2, 1, 1));
    assert_eq!(run.processors["clean"].done, 4);
    let datasets = journal.datasets(Filter::default()).await.unwrap().rows;
    let told: Vec<_> = datasets.iter().map(|row| (&*row.item.name, row.export, row.item.content)).collect();
    assert_eq!(
        told,
        [("a.csv", ExportState::Written, content("one")), ("caf\\xe9", ExportState::Pending, content("two"))]
    );
    assert_eq!(datasets[1].target, Some(("folder:/data/outbox".to_owned(), b"a-2.csv".to_vec())));
    let letter = journal.dead_letters(Filter::default()).await.unwrap().rows.remove(0);
    assert_eq!((&*letter.item.name, letter.fault.code.as_str(), letter.attempts), ("c", "ValueError", 3));
    let history = journal.history(Arrival(3)).await.unwrap();
    assert_eq!(history.iter().map(|row| row.actor.as_str()).collect::<Vec<_>>(), ["source", "worker"]);
    assert_eq!(history[1].steps[0].entries[2].result, Outcome::Dead);
    let row = journal.arrival(Arrival(2)).await.unwrap();
    assert_eq!((row.path.as_slice(), row.source.as_str()), (&b"caf\xe9"[..], "file_drop:/data/inbox"));
    // The way of what was made before it was kept in links is found among all that concerns the arrival.
    let row = &datasets[0];
    let way = journal.lineage(row.seq, row.item.id).await.unwrap();
    assert_eq!(way.iter().map(|row| row.actor.as_str()).collect::<Vec<_>>(), ["source", "worker"]);
    let of_run = journal.datasets(Filter { run: Some(run.id), ..Filter::default() }).await.unwrap().rows;
    assert_eq!(of_run.len(), 2, "and so are the datasets of a run");
    // And goes on.
    let lease = journal.open_lease("later", true, 100).await.unwrap().lease;
    let request = ClaimRequest { lease, now: 100, limit: 9, suspects: false, run: None, idle: false };
    let claimed = journal.claim(request).await.unwrap().remove(0);
    assert_eq!((&*claimed.task.to.processor, claimed.task.due), ("sort", Some(99)));
    let settlement = Settlement {
        tasks: vec![],
        held: Vec::new(),
        closing: None,
        memos: Vec::new(),
        revisions: vec![],
        dead_letters: vec![],
        history: vec![],
        task: claimed.task.id,
        ..settlement_of_nothing(lease)
    };
    assert!(matches!(journal.settle(vec![settlement]).await.unwrap()[..], [Settled::Applied(_)]));
    let intent = journal.claim_intents(lease, 100, 9).await.unwrap().remove(0);
    journal
        .finish(vec![Finished { id: intent.id, lease, attempt: intent.attempt, end: End::Done, at: 101 }])
        .await
        .unwrap();
    assert_eq!(journal.run(run.id).await.unwrap().state, RunState::Done);
    let check: String = Connection::open(dir.path().join("journal.db"))
        .unwrap()
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
}

/// Datasets keep the names they had before those of slots began with numbers; others are named by these.
#[tokio::test]
async fn a_stored_dataset_keeps_its_name() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(format!("{GOLDEN}/journal-v1.db"), dir.path().join("journal.db")).unwrap();
    let journal = open(dir.path());
    let before = journal.datasets(Filter::default()).await.unwrap().rows;
    let (flow, lease) =
        (journal.flows(DEFAULT_SPACE).await.unwrap().remove(0), journal.open_lease("x", true, 50).await.unwrap());
    let source = journal.source(DEFAULT_SPACE, "file_drop:/data/inbox").await.unwrap();
    let later = FileStat { device: 1, inode: 2, size: 3, mtime: 40, ctime: 50, recent: false };
    let changed = |path: &[u8]| NewArrival { stat: Some(later), release: None, ..arrival(path, "changed") };
    let ingest = Ingest {
        lease: lease.lease,
        flow: flow.id,
        version: flow.version,
        processor: "inbox".into(),
        source,
        run: RunChoice::New { mode: RunMode::Live, trigger: "again".to_owned() },
        arrivals: vec![changed(b"a.csv"), changed(b"part-000123.csv")],
        readers: vec![Reader { processor: "clean".into(), input: 0 }],
        context: 1,
        started: 60,
        at: 60,
    };
    let run = journal.ingest(ingest).await.unwrap().run;
    let request = ClaimRequest { lease: lease.lease, now: 60, limit: 9, suspects: false, run: Some(run), idle: false };
    let claimed = journal.claim(request).await.unwrap().remove(0);
    let revision = |item: &Item| NewRevision {
        collection: "Penguins".into(),
        processor: "shelf".into(),
        item: item.clone(),
        export: None,
    };
    let items = &claimed.task.items;
    let settlement = Settlement {
        task: claimed.task.id,
        attempt: claimed.attempt,
        revisions: items.iter().map(revision).collect(),
        ..settlement_of_nothing(lease.lease)
    };
    assert!(matches!(journal.settle(vec![settlement]).await.unwrap()[..], [Settled::Applied(_)]));
    let after = journal.datasets(Filter::default()).await.unwrap().rows;
    assert_eq!(after.len(), before.len() + 1);
    assert_eq!((after[0].slot, after[0].revision), (before[0].slot, 2), "the same dataset, changed");
    assert_eq!(after[0].slot, SlotId::hashed(Arrival(1), "Penguins", "penguins", "shelf", "a.csv", 0));
    let new = after.last().unwrap();
    assert_eq!(new.slot, SlotId::new(new.item.origin, "Penguins", "penguins", "shelf", "part-000123.csv", 0));
    assert_eq!(new.slot.hash.0[..4], 123_u32.to_be_bytes());
}

fn settlement_of_nothing(lease: opendmp_ports::journal::Lease) -> Settlement {
    Settlement {
        task: opendmp_model::ids::TaskId { arrival: Arrival(0), pass: Default::default(), path: Default::default() },
        lease,
        attempt: 1,
        tasks: vec![],
        held: Vec::new(),
        closing: None,
        memos: Vec::new(),
        revisions: vec![],
        dead_letters: vec![],
        history: vec![],
        counts: BTreeMap::new(),
        at: 100,
        actor: "worker".into(),
    }
}

/// Writes the golden files of the newest version: by hand, once, before it is released.
#[tokio::test]
#[ignore = "writes the golden files"]
async fn write_golden() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal).await;
    drop(journal);
    let path = dir.path().join("journal.db");
    let conn = Connection::open(&path).unwrap();
    // Small pages keep the file small; they are not part of the format.
    conn.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA page_size = 512; VACUUM;").unwrap();
    drop(conn);
    std::fs::write(format!("{GOLDEN}/schema-v2.txt"), dump(&path)).unwrap();
    std::fs::copy(&path, format!("{GOLDEN}/journal-v2.db")).unwrap();
}

/// Names and contents of all files in a directory.
fn files(dir: &Path) -> BTreeMap<std::ffi::OsString, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn a_newer_database_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    Connection::open(dir.path().join("journal.db")).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = files(dir.path());
    let error = SqliteJournal::open(dir.path(), Options::default()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Newer);
    assert!(error.message.contains("format 99") && error.hint.is_some(), "{error}");
    assert_eq!(files(dir.path()), before);
}

#[test]
fn a_newer_database_whose_log_was_left_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let path = dir.path().join("journal.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("PRAGMA wal_autocheckpoint = 0; PRAGMA user_version = 99;").unwrap();
    // As a killed process leaves it: the new number is in the log alone.
    let left = tempfile::tempdir().unwrap();
    for name in ["journal.db", "journal.db-wal"] {
        std::fs::copy(dir.path().join(name), left.path().join(name)).unwrap();
    }
    let error = SqliteJournal::open(left.path(), Options::default()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Newer);
    drop(conn);
}

#[test]
fn foreign_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    for version in [0, 1] {
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch(&format!("CREATE TABLE IF NOT EXISTS x (y); PRAGMA user_version = {version};")).unwrap();
        drop(conn);
        let before = files(dir.path());
        let error = SqliteJournal::open(dir.path(), Options::default()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert_eq!(files(dir.path()), before);
    }
    for bytes in [&b"not a database"[..], &[0; 5000]] {
        std::fs::write(&path, bytes).unwrap();
        let before = files(dir.path());
        let error = SqliteJournal::open(dir.path(), Options::default()).unwrap_err();
        assert_eq!((error.kind, error.hint.is_some()), (ErrorKind::Damaged, true));
        assert_eq!(files(dir.path()), before);
    }
}

#[tokio::test]
async fn damage_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal).await;
    drop(journal);
    let path = dir.path().join("journal.db");
    let mut bytes = std::fs::read(&path).unwrap();
    // All but the header and the schema's first pages.
    let from = 24 * 4096;
    bytes[from..].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let told = match SqliteJournal::open(dir.path(), Options::default()) {
        Err(error) => error,
        Ok(journal) => {
            let mut errors = vec![
                journal.runs(Filter::default()).await.err(),
                journal.datasets(Filter::default()).await.err(),
                journal.history(Arrival(1)).await.err(),
                journal.open_lease("later", true, 1).await.err(),
            ];
            errors.retain(Option::is_some);
            errors.pop().flatten().expect("some of it is told")
        }
    };
    assert_eq!((told.kind, told.hint.is_some()), (ErrorKind::Damaged, true), "{told}");
}
