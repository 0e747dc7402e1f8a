//! The writer under calls that fail, a disk that is full, and a long load.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc::sync_channel;

use opendmp_model::ids::ContentHash;
use opendmp_model::item::{Attributes, ContentRef, Place};
use opendmp_ports::journal::{
    ClaimRequest, Claimed, DEFAULT_SPACE, FlowId, Ingest, Lease, NewArrival, NewVersion, Reader, RunChoice, RunMode,
    Settlement, SourceId, VersionId,
};
use opendmp_ports::{Error, ErrorKind, Journal};
use rusqlite::Connection;

use super::{Options, SqliteJournal, database};

pub(super) struct Desk {
    pub(super) journal: SqliteJournal,
    lease: Lease,
    flow: FlowId,
    version: VersionId,
    source: SourceId,
}

pub(super) async fn desk(dir: &Path, options: Options) -> Desk {
    let journal = SqliteJournal::open(dir, options).unwrap();
    let lease = journal.open_lease("test", true, 1).await.unwrap().lease;
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
    let source = journal.source(DEFAULT_SPACE, "test").await.unwrap();
    Desk { journal, lease, flow, version, source }
}

impl Desk {
    pub(super) fn ingest(&self, name: &str, count: usize) -> Ingest {
        let arrival = |n: usize| NewArrival {
            path: format!("{name}-{n}").into_bytes(),
            stat: None,
            name: "x".repeat(400).into(),
            content: ContentRef { hash: ContentHash::of(name.as_bytes()), size: 9, place: Place::Empty },
            media_type: None,
            attributes: Attributes::new().into(),
            release: None,
            took: 1,
        };
        Ingest {
            lease: self.lease,
            flow: self.flow,
            version: self.version,
            processor: "inbox".into(),
            source: self.source,
            run: RunChoice::New { mode: RunMode::Live, trigger: name.to_owned() },
            arrivals: (0..count).map(arrival).collect(),
            readers: vec![Reader { processor: "shelf".into(), input: 0 }],
            context: 1,
            started: 1,
            at: 1,
        }
    }

    /// The next task.
    pub(super) async fn claim(&self) -> Claimed {
        let request = ClaimRequest { lease: self.lease, now: 9, limit: 1, suspects: false, run: None, idle: false };
        self.journal.claim(request).await.unwrap().remove(0)
    }

    /// A settlement of a claim, without anything.
    pub(super) fn nothing(&self, claimed: &Claimed) -> Settlement {
        Settlement {
            task: claimed.task.id,
            lease: self.lease,
            attempt: claimed.attempt,
            tasks: Vec::new(),
            held: Vec::new(),
            closing: None,
            revisions: Vec::new(),
            dead_letters: Vec::new(),
            history: Vec::new(),
            memos: Vec::new(),
            counts: Default::default(),
            at: 9,
            actor: "worker".into(),
        }
    }

    pub(super) async fn items(&self) -> u64 {
        self.journal.backlog(None).await.unwrap().items
    }
}

/// The file is whole, and what the counters say is what is there.
pub(super) fn whole(dir: &Path) {
    let conn = Connection::open(dir.join(database::FILE)).unwrap();
    let check: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let sql = "SELECT (SELECT total(items) FROM flow), (SELECT total(items) FROM task), (SELECT total(items) FROM run), \
               (SELECT count(*) FROM arrival), (SELECT count(*) FROM task), (SELECT count(*) FROM bundle)";
    let numbers: [f64; 6] = conn
        .query_row(sql, [], |row| {
            Ok([
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get::<_, i64>(3)? as f64,
                row.get::<_, i64>(4)? as f64,
                row.get::<_, i64>(5)? as f64,
            ])
        })
        .unwrap();
    assert_eq!(numbers[..3], [numbers[3]; 3], "items of flows, tasks, runs and arrivals");
    assert_eq!(numbers[4], numbers[5], "tasks and their bundles");
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_are_told_before_what_they_answer() {
    let dir = tempfile::tempdir().unwrap();
    let d = desk(dir.path(), Options::default()).await;
    let (told, commits) = sync_channel(8);
    d.journal.on_commit(move |commit| told.send(commit).unwrap());
    for name in ["one", "two", "three"] {
        d.journal.ingest(d.ingest(name, 2)).await.unwrap();
        let commit = commits.try_recv().expect("told when it is answered");
        assert!(commit.calls == 1 && !commit.took.is_zero(), "{commit:?}");
    }
    d.items().await;
    assert!(commits.try_recv().is_err(), "who only reads commits nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_call_takes_back_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let d = desk(dir.path(), Options::default()).await;
    let before = d.journal.ingest(d.ingest("first", 1)).await.unwrap();
    // The writer is held up until all the others wait behind, so that they run under one commit.
    let (go, gone) = sync_channel::<()>(0);
    let (held, holds) = sync_channel::<()>(0);
    let holding = d.journal.write("hold", move |_| {
        held.send(()).unwrap();
        gone.recv().unwrap();
        Ok(())
    });
    let others = async {
        tokio::task::spawn_blocking(move || holds.recv().unwrap()).await.unwrap();
        let bad = Ingest { run: RunChoice::Existing(opendmp_ports::journal::RunId(99)), ..d.ingest("bad", 3) };
        let writes_and_fails = d.journal.write("half", |t| {
            t.new_name_for_test("a name that is taken back")?;
            Err::<(), _>(Error::new(ErrorKind::Conflict, "half", "on purpose").into())
        });
        let breaks_off = d.journal.write("broken", |t| {
            t.new_name_for_test("another")?;
            let _: u8 = "no number".parse().unwrap();
            Ok(())
        });
        let all = async {
            tokio::join!(
                d.journal.ingest(d.ingest("good", 2)),
                d.journal.ingest(bad),
                writes_and_fails,
                breaks_off,
                d.journal.ingest(d.ingest("good too", 3)),
            )
        };
        let release = async {
            let jobs = d.journal.jobs.as_ref().unwrap();
            while jobs.max_capacity() - jobs.capacity() < 5 {
                tokio::task::yield_now().await;
            }
            go.send(()).unwrap();
        };
        let (all, ()) = tokio::join!(all, release);
        all
    };
    let (held, (good, bad, half, broken, too)) = tokio::join!(holding, others);
    held.unwrap();
    let (good, too) = (good.unwrap(), too.unwrap());
    assert_eq!((good.new, too.new), (2, 3));
    assert!(before.seq < good.seq && good.seq < too.seq && good.run < too.run);
    let kinds = [bad.unwrap_err().kind, half.unwrap_err().kind, broken.unwrap_err().kind];
    assert_eq!(kinds, [ErrorKind::NotFound, ErrorKind::Conflict, ErrorKind::Conflict]);
    assert_eq!(d.items().await, 6);
    drop(d);
    whole(dir.path());
    let conn = Connection::open(dir.path().join(database::FILE)).unwrap();
    let left: i64 = conn
        .query_row("SELECT count(*) FROM name WHERE text IN ('a name that is taken back', 'another')", [], |r| r.get(0))
        .unwrap();
    assert_eq!(left, 0);
}

/// Takes in until there is no room; answers how many items were answered for.
async fn fill(d: &Desk, name: &str) -> u64 {
    let mut answered = 0;
    for round in 0..10_000 {
        let (one, two) = (d.ingest(&format!("{name}-{round}-a"), 50), d.ingest(&format!("{name}-{round}-b"), 50));
        let (one, two) = tokio::join!(d.journal.ingest(one), d.journal.ingest(two));
        for end in [&one, &two] {
            match end {
                Ok(done) => answered += done.new,
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::Full, "{error}");
                    assert!(error.hint.is_some() && error.is_temporary());
                }
            }
        }
        if one.is_err() || two.is_err() {
            return answered;
        }
    }
    panic!("the disk never was full");
}

#[tokio::test]
async fn a_full_database_is_told_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let d = desk(dir.path(), Options::default()).await;
    let pages = |most: i64| d.journal.write("limit", move |t| t.limit_for_test(most));
    pages(600).await.unwrap();
    let answered = fill(&d, "first").await;
    assert_eq!(d.items().await, answered, "nothing half-applied, nothing lost");
    let request = ClaimRequest { lease: d.lease, now: 1, limit: 1, suspects: false, run: None, idle: false };
    let claimed = d.journal.claim(request).await.unwrap().remove(0);
    d.journal.unclaim(d.lease, vec![claimed.task.id]).await.unwrap();
    pages(1 << 30).await.unwrap();
    assert_eq!(d.journal.ingest(d.ingest("after", 50)).await.unwrap().new, 50);
    assert_eq!(d.items().await, answered + 50);
    drop(d);
    whole(dir.path());
}

/// A small disk of its own in memory; unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where this user may not mount.
    fn new(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(dir.path());
        let mounted = mount.stderr(std::process::Stdio::null()).status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_goes_on() {
    let Some(disk) = SmallDisk::new("6m") else {
        eprintln!("not run: mounting a small disk needs root");
        return;
    };
    // What is in the way, and can be removed.
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![0; 2 << 20]).unwrap();
    let dir = disk.0.path().join("data");
    let d = desk(&dir, Options::default()).await;
    let answered = fill(&d, "first").await;
    assert!(answered > 0);
    assert_eq!(d.items().await, answered, "nothing half-applied, nothing lost");
    let still = d.journal.ingest(d.ingest("second", 500)).await.unwrap_err();
    assert_eq!(still.kind, ErrorKind::Full, "{still}");
    std::fs::remove_file(&ballast).unwrap();
    assert_eq!(d.journal.ingest(d.ingest("after", 50)).await.unwrap().new, 50, "by itself, when there is room");
    let more = fill(&d, "again").await;
    assert_eq!(d.items().await, answered + 50 + more);
    drop(d);
    // Opened on a disk without room, all that was answered can be read.
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&dir).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let again = SqliteJournal::open(copy.path(), Options::default()).unwrap();
    assert_eq!(again.backlog(None).await.unwrap().items, answered + 50 + more);
    drop(again);
    whole(copy.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_stays_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let limit = 1 << 20;
    let d = desk(dir.path(), Options { checkpoint: 128 << 10, log: limit, ..Options::default() }).await;
    let mut most = 0;
    for round in 0..150 {
        d.journal.ingest(d.ingest(&format!("r-{round}"), 100)).await.unwrap();
        // Readers come and go meanwhile, and never keep the log from beginning anew for long.
        d.journal.runs(Default::default()).await.unwrap();
        most = most.max(std::fs::metadata(dir.path().join("journal.db-wal")).unwrap().len());
    }
    let written = std::fs::metadata(dir.path().join(database::FILE)).unwrap().len();
    assert!(written > 8 * limit, "{written} bytes went through the log");
    assert!(most < 4 * limit, "the log grew to {most} bytes");
    drop(d);
    let left = std::fs::metadata(dir.path().join("journal.db-wal")).map_or(0, |meta| meta.len());
    assert_eq!(left, 0, "closed, nothing is left in it");
    whole(dir.path());
}
