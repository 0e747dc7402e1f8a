//! Tests of the source `file_drop`, against real files and a ledger in memory.

mod hostile;
mod moved;
mod names;
mod put;
mod rights;

use super::*;
use opendmp_model::ids::{Arrival, ContentHash};
use opendmp_model::ledger::{FileStat, Known};
use opendmp_processor::{Audit, AuditState, Body};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};

/// A ledger in memory.
#[derive(Default)]
struct Book {
    owner: String,
    known: Mutex<BTreeMap<Vec<u8>, Known>>,
    releasing: Mutex<BTreeSet<Bytes>>,
    /// Never answers, as a ledger that hangs.
    hangs: AtomicBool,
    asked: AtomicU64,
    arrivals: AtomicU64,
    /// How many paths it was asked for.
    paths: AtomicU64,
}

#[async_trait]
impl Ledger for Book {
    async fn known(&self, paths: Vec<Vec<u8>>) -> Result<Vec<Option<Known>>, SourceError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.paths.fetch_add(paths.len() as u64, Ordering::Relaxed);
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let known = self.known.lock().unwrap();
        Ok(paths.iter().map(|path| known.get(path).copied()).collect())
    }

    async fn affirm(&self, arrivals: Vec<(Arrival, FileStat)>) -> Result<(), SourceError> {
        let mut known = self.known.lock().unwrap();
        for known in known.values_mut() {
            let now = arrivals.iter().find(|(arrival, _)| *arrival == known.latest);
            known.stat = now.map_or(known.stat, |(_, stat)| *stat);
        }
        Ok(())
    }

    async fn releasing(&self, releases: Vec<Bytes>) -> Result<Vec<bool>, SourceError> {
        let releasing = self.releasing.lock().unwrap();
        Ok(releases.iter().map(|release| releasing.contains(release)).collect())
    }

    fn owner(&self) -> &str {
        &self.owner
    }
}

impl Book {
    /// What a settlement writes: the arrival, and the release to be carried out.
    fn settle(&self, claim: &Claim, stat: FileStat, content: &[u8]) {
        let latest = Arrival(self.arrivals.fetch_add(1, Ordering::Relaxed) + 1);
        let known = Known { origin: latest, latest, stat, hash: ContentHash::of(content) };
        self.known.lock().unwrap().insert(claim.path.clone(), known);
        self.releasing.lock().unwrap().extend(claim.release.clone());
    }
}

/// A folder with its source and ledger.
struct Inbox {
    dir: tempfile::TempDir,
    source: FileDrop,
    book: Book,
}

fn open(dir: &Path, config: &Value) -> FileDrop {
    let map = config.as_object().unwrap();
    assert_eq!(Kind.prepare(map), []);
    FileDrop::open(saved_config(map).unwrap(), &crate::fixtures::context(dir)).unwrap()
}

fn inbox(config: Value) -> Inbox {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let source = open(dir.path(), &config);
    Inbox { dir, source, book: Book::default() }
}

fn keep() -> Inbox {
    inbox(serde_json::json!({ "path": "./in" }))
}

fn delete() -> Inbox {
    inbox(serde_json::json!({ "path": "./in", "after": "delete" }))
}

#[expect(clippy::disallowed_methods, reason = "compared with the stamps of real files")]
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// A moment at which all that was written so far stood still for long.
fn later() -> i64 {
    now() + 3_600_000
}

fn content(claim: &Claim) -> Vec<u8> {
    match &claim.body {
        Body::Bytes(bytes) => bytes.to_vec(),
        Body::File(file) => {
            let mut out = Vec::new();
            let mut buffer = vec![0; 1 << 16];
            loop {
                match std::os::unix::fs::FileExt::read_at(&**file, &mut buffer, out.len() as u64).unwrap() {
                    0 => return out,
                    read => out.extend_from_slice(&buffer[..read]),
                }
            }
        }
        Body::Unread => panic!("a claim has its bytes"),
    }
}

impl Inbox {
    fn path(&self, name: &[u8]) -> PathBuf {
        self.dir.path().join("in").join(std::ffi::OsStr::from_bytes(name))
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name.as_bytes()), bytes).unwrap();
    }

    async fn scan(&self) -> Scan {
        self.source.claim(&self.book, later(), 1_000).await.unwrap()
    }

    /// Looks at names only.
    async fn told(&self, names: &[&str], now: i64) -> Scan {
        let names = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        self.source.claim_changed(&self.book, names, now, 1_000).await.unwrap()
    }

    /// How often the folder was listed.
    fn listed(&self) -> u64 {
        self.source.shared.listed.load(Ordering::Relaxed)
    }

    /// Everything that a claim needs until it is over: whether it held.
    async fn carry_through(&self, claim: Claim) -> Option<Vec<u8>> {
        let bytes = content(&claim);
        match self.source.confirm(&claim).await.unwrap() {
            Claimed::Changed => None,
            Claimed::Whole(stat) => {
                self.book.settle(&claim, stat.unwrap(), &bytes);
                if let Some(release) = &claim.release {
                    self.source.release(release).await.unwrap();
                    self.book.releasing.lock().unwrap().remove(release);
                }
                Some(bytes)
            }
        }
    }

    /// Takes all there is.
    async fn drain(&self) -> Vec<(String, String)> {
        let mut taken = Vec::new();
        loop {
            let scan = self.scan().await;
            for claim in scan.claims {
                let path = name::from_bytes(&claim.path);
                let bytes = self.carry_through(claim).await.expect("nobody else writes");
                taken.push((path, String::from_utf8_lossy(&bytes).into_owned()));
            }
            if scan.complete {
                return taken;
            }
        }
    }

    /// All names, hidden ones too, but for the folder of claims where no file is in it.
    fn names(&self) -> Vec<String> {
        let mut names = names(&self.dir.path().join("in"));
        names.retain(|name| name != ".opendmp-claimed" || holds_files(&self.path(b".opendmp-claimed")));
        names
    }

    async fn audit(&self) -> Vec<(String, AuditState)> {
        let releasing: Vec<Vec<u8>> = self.book.releasing.lock().unwrap().iter().map(|r| r.to_vec()).collect();
        let audit = self.source.audit(&self.book, &releasing).await.unwrap();
        audit.entries.into_iter().map(|entry| (entry.path, entry.state)).collect()
    }
}

fn holds_files(dir: &Path) -> bool {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries.into_iter().any(|entry| !entry.file_type().unwrap().is_dir() || holds_files(&entry.path()))
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(one, other)| ((*one).to_owned(), (*other).to_owned())).collect()
}

#[test]
fn the_descriptor_is_whole() {
    assert_eq!(opendmp_model::kinds::lint(Kind.info()), Vec::<String>::new());
}

#[test]
fn mistakes_are_told_offline() {
    let pointers = |config: Value| -> Vec<String> {
        Kind.prepare(config.as_object().unwrap()).into_iter().map(|problem| problem.pointer).collect()
    };
    let none: [&str; 0] = [];
    assert_eq!(pointers(serde_json::json!({ "path": "in", "pattern": ["*.a", "b"], "settle": "0s" })), none);
    assert_eq!(pointers(serde_json::json!({ "path": "in", "after": "move" })), [""]);
    assert_eq!(pointers(serde_json::json!({ "path": "in", "to": "x" })), ["/to"]);
    assert_eq!(pointers(serde_json::json!({ "path": "in", "after": "move", "to": "./x/../in/" })), ["/to"]);
    let within = serde_json::json!({ "path": "in", "after": "move", "to": "in/done" });
    assert_eq!(pointers(within.clone()), none, "sub-folders are left out");
    let mut recursive = within;
    recursive["recursive"] = true.into();
    recursive["pattern"] = serde_json::json!(["[", "{"]);
    assert_eq!(pointers(recursive), ["/pattern/0", "/pattern/1", "/to"]);
}

#[tokio::test]
async fn files_are_taken_once_each() {
    let inbox = inbox(serde_json::json!({ "path": "./in", "recursive": true, "pattern": ["*.csv", "*.txt"] }));
    std::fs::create_dir_all(inbox.path(b"2008/may")).unwrap();
    for name in ["b.csv", "a.txt", "2008/may/c.csv", ".hidden.csv", "other.doc", "empty.txt"] {
        inbox.put(name, if name == "empty.txt" { "" } else { name });
    }
    let scan = inbox.scan().await;
    assert!(scan.complete && scan.again.is_none() && scan.problems.is_empty());
    let found: Vec<_> = scan.claims.iter().map(|claim| (name::from_bytes(&claim.path), claim.name.clone())).collect();
    assert_eq!(
        found,
        pairs(&[("2008/may/c.csv", "c.csv"), ("a.txt", "a.txt"), ("b.csv", "b.csv"), ("empty.txt", "empty.txt")])
    );
    let deep = &scan.claims[0];
    assert_eq!(deep.media_type.as_deref(), Some("text/csv"));
    assert_eq!(
        Value::Object(deep.attributes.clone()),
        serde_json::json!({ "folder": "2008/may", "source_path": "./in/2008/may/c.csv" })
    );
    assert!(!scan.claims[1].attributes.contains_key("folder"));
    // Not settled yet, and not offered twice all the same.
    assert!(inbox.scan().await.claims.is_empty());
    for claim in scan.claims {
        inbox.carry_through(claim).await.unwrap();
    }
    assert_eq!(inbox.drain().await, []);
    assert_eq!(inbox.audit().await, []);
    assert!(inbox.source.shared.offered().is_empty(), "what the ledger knows needs no memory");
}

#[tokio::test]
async fn a_changed_file_arrives_again() {
    let inbox = keep();
    inbox.put("a", "one");
    assert_eq!(inbox.drain().await, pairs(&[("a", "one")]));
    inbox.put("a", "two");
    assert_eq!(inbox.audit().await, [("a".to_owned(), AuditState::Waiting)]);
    assert_eq!(inbox.drain().await, pairs(&[("a", "two")]));
    std::fs::write(inbox.path(b"b"), "three").unwrap();
    std::fs::rename(inbox.path(b"b"), inbox.path(b"a")).unwrap();
    assert_eq!(inbox.drain().await, pairs(&[("a", "three")]));
    std::fs::remove_file(inbox.path(b"a")).unwrap();
    assert_eq!(inbox.drain().await, []);
}

#[tokio::test]
async fn a_fresh_file_settles_first() {
    let inbox = keep();
    inbox.put("a", "x");
    let first = now();
    let scan = inbox.source.claim(&inbox.book, first, 10).await.unwrap();
    assert!(scan.claims.is_empty() && !scan.complete);
    let again = scan.again.unwrap();
    assert!((first + 900..=first + 1_100).contains(&again), "{}", again - first);
    let scan = inbox.source.claim(&inbox.book, again, 10).await.unwrap();
    assert_eq!((scan.claims.len(), scan.complete), (1, true));
}

#[tokio::test]
async fn what_changes_under_the_reader_is_read_again() {
    let inbox = keep();
    for (large, change) in
        [(false, "append"), (true, "append"), (false, "replace"), (true, "replace"), (false, "remove")]
    {
        inbox.put("a", vec![b'x'; if large { 300_000 } else { 3 }]);
        let claim = inbox.scan().await.claims.pop().unwrap();
        assert_eq!(matches!(claim.body, Body::File(_)), large);
        match change {
            "append" => {
                let mut file = std::fs::File::options().append(true).open(inbox.path(b"a")).unwrap();
                io::Write::write_all(&mut file, b"more").unwrap();
            }
            "replace" => {
                inbox.put("b", "new");
                std::fs::rename(inbox.path(b"b"), inbox.path(b"a")).unwrap();
            }
            _ => std::fs::remove_file(inbox.path(b"a")).unwrap(),
        }
        assert_eq!(inbox.source.confirm(&claim).await.unwrap(), Claimed::Changed, "{change}");
        let again = inbox.drain().await;
        assert_eq!(again.len(), usize::from(change != "remove"), "{change}");
    }
}

#[tokio::test]
async fn deleted_only_when_settled_and_nothing_else_is() {
    let inbox = delete();
    std::fs::create_dir(inbox.path(b"not-entered")).unwrap();
    inbox.put("a", "one");
    let scan = inbox.scan().await;
    let claim = scan.claims.into_iter().next().unwrap();
    assert_eq!(inbox.names(), [".opendmp-claimed", "not-entered"], "set aside");
    assert_eq!(inbox.audit().await, [("a".to_owned(), AuditState::Waiting)], "a living source has it");
    // The producer drops another file of that name meanwhile.
    inbox.put("a", "two");
    assert_eq!(inbox.carry_through(claim).await.unwrap(), b"one");
    assert_eq!(inbox.names(), ["a", "not-entered"], "nothing stays behind, and the new file is untouched");
    assert_eq!(inbox.drain().await, pairs(&[("a", "two")]));
    assert_eq!(inbox.names(), ["not-entered"]);
}

#[tokio::test]
async fn a_file_open_for_writing_is_not_taken() {
    let inbox = delete();
    let mut writing = std::fs::File::create(inbox.path(b"a")).unwrap();
    io::Write::write_all(&mut writing, b"half").unwrap();
    let scan = inbox.scan().await;
    assert!(scan.claims.is_empty() && !scan.complete && scan.again.is_some());
    assert_eq!(
        scan.problems.iter().map(|(path, problem)| (path.as_str(), problem.code)).collect::<Vec<_>>(),
        [("a", "still-open")]
    );
    assert!(inbox.scan().await.problems.is_empty(), "told once");
    assert_eq!(inbox.names(), ["a"], "no empty folders are left");
    io::Write::write_all(&mut writing, b" and half").unwrap();
    drop(writing);
    assert_eq!(inbox.drain().await, pairs(&[("a", "half and half")]));
}

#[tokio::test]
async fn who_comes_late_loses_nothing() {
    let inbox = delete();
    inbox.put("a", "one");
    let claim = inbox.scan().await.claims.pop().unwrap();
    let claimed = inbox.path(&FileDrop::key(&claim).unwrap());
    // A program that had begun to open the file before it was set aside.
    let mut late = std::fs::File::options().append(true).open(&claimed).unwrap();
    assert_eq!(inbox.source.confirm(&claim).await.unwrap(), Claimed::Changed);
    let scan = inbox.scan().await;
    assert!(scan.claims.is_empty() && !scan.complete);
    io::Write::write_all(&mut late, b" more").unwrap();
    drop(late);
    let claim = inbox.scan().await.claims.pop().unwrap();
    assert_eq!(content(&claim), b"one more");
    // And one that is later still.
    let Claimed::Whole(stat) = inbox.source.confirm(&claim).await.unwrap() else { panic!("nobody writes") };
    inbox.book.settle(&claim, stat.unwrap(), b"one more");
    let release = claim.release.clone().unwrap();
    let mut late = std::fs::File::options().append(true).open(&claimed).unwrap();
    assert_eq!(inbox.source.release(&release).await.unwrap_err().code, "being-written");
    io::Write::write_all(&mut late, b" and more").unwrap();
    drop(late);
    inbox.source.release(&release).await.unwrap();
    inbox.book.releasing.lock().unwrap().clear();
    assert_eq!(inbox.drain().await, pairs(&[("a", "one more and more")]));
    assert!(inbox.names().is_empty());
}

#[tokio::test]
async fn without_leases_a_claimed_file_settles_again() {
    let inbox = delete();
    inbox.source.shared.leases.set(false).unwrap();
    inbox.put("a", "one");
    let set_aside = inbox.source.claim(&inbox.book, now() + 1_200, 10).await.unwrap();
    assert!(set_aside.claims.is_empty() && !set_aside.complete);
    assert_eq!(inbox.names(), [".opendmp-claimed"]);
    let soon = inbox.source.claim(&inbox.book, now() + 10, 10).await.unwrap();
    assert!(soon.claims.is_empty() && soon.again.is_some());
    assert_eq!(inbox.drain().await, pairs(&[("a", "one")]));
    assert!(inbox.names().is_empty());
}

#[tokio::test]
async fn what_is_taken_and_let_go_while_an_audit_goes_on_is_as_it_should_be() {
    let inbox = delete();
    for name in ["a", "b"] {
        inbox.put(name, name);
    }
    let claims = inbox.scan().await.claims;
    for claim in &claims {
        inbox.book.settle(claim, claim.version.unwrap(), claim.name.as_bytes());
    }
    // It was asked what is to be let go before any of it arrived.
    let audit = || audit::audit(inbox.source.shared.clone(), &inbox.book, &[], 0);
    let states = |audit: Audit| audit.entries.into_iter().map(|entry| entry.state).collect::<Vec<_>>();
    assert_eq!(states(audit().await.unwrap()), [AuditState::Releasing, AuditState::Releasing]);
    // It is there still, and nothing says that it is to be let go.
    inbox.book.releasing.lock().unwrap().clear();
    assert_eq!(states(audit().await.unwrap()), [AuditState::Problem, AuditState::Problem]);
}

#[tokio::test]
async fn a_crash_leaves_claims_to_the_same_ledger() {
    let config = serde_json::json!({ "path": "./in", "after": "delete" });
    let mut inbox = inbox(config.clone());
    for name in ["claimed", "settled"] {
        inbox.put(name, name);
    }
    let claims = inbox.scan().await.claims;
    let stat = claims[1].version.unwrap();
    inbox.book.settle(&claims[1], stat, b"settled");
    // A second source of the same ledger does not take what the first is at work with.
    let second = open(inbox.dir.path(), &config);
    assert!(second.claim(&inbox.book, later(), 10).await.unwrap().claims.is_empty());
    drop(second);

    inbox.source = open(inbox.dir.path(), &config);
    let stranger = Book { owner: "another journal".to_owned(), ..Book::default() };
    let seen = inbox.source.claim(&stranger, later(), 10).await.unwrap();
    assert!(seen.claims.is_empty() && seen.complete);
    let audit = inbox.source.audit(&stranger, &[]).await.unwrap();
    assert!(audit.entries.iter().all(|entry| entry.detail.as_deref().unwrap().ends_with("by another flow")));
    assert_eq!(
        inbox.audit().await,
        [("claimed".to_owned(), AuditState::Waiting), ("settled".to_owned(), AuditState::Releasing)],
        "it was set aside just now"
    );
    // As if that had been long ago.
    let releasing = [claims[1].release.clone().unwrap().to_vec()];
    let audit = |ledger| audit::audit(inbox.source.shared.clone(), ledger, &releasing, 0);
    let states = |audit: Audit| audit.entries.into_iter().map(|entry| entry.state).collect::<Vec<_>>();
    assert_eq!(states(audit(&inbox.book).await.unwrap()), [AuditState::Claimed, AuditState::Releasing]);
    let theirs = audit(&stranger).await.unwrap();
    assert!(theirs.entries[0].detail.as_deref().unwrap().starts_with("by another flow"), "{theirs:?}");

    let scan = inbox.scan().await;
    let again: Vec<&[u8]> = scan.claims.iter().map(|claim| &claim.path[..]).collect();
    assert_eq!(again, [b"claimed"]);
    assert_eq!(scan.claims[0].release, claims[0].release, "the same claim");
    for claim in scan.claims {
        inbox.carry_through(claim).await.unwrap();
    }
    let pending: Vec<Bytes> = inbox.book.releasing.lock().unwrap().iter().cloned().collect();
    for _ in 0..2 {
        assert!(inbox.source.release_all(&pending).await.iter().all(Result::is_ok), "repeatable");
    }
    assert!(inbox.names().is_empty());
}

#[tokio::test]
async fn what_is_given_back_is_offered_again() {
    for inbox in [keep(), delete()] {
        inbox.put("a", "x");
        let claim = inbox.scan().await.claims.pop().unwrap();
        assert!(inbox.scan().await.claims.is_empty());
        inbox.source.forget(&claim);
        assert_eq!(inbox.drain().await, pairs(&[("a", "x")]));
    }
}

#[tokio::test]
async fn a_cancelled_call_loses_nothing() {
    for inbox in [keep(), delete()] {
        for n in 0..1_500 {
            inbox.put(&format!("{n:04}"), "x");
        }
        // The ledger answers the first batch and hangs at the second.
        let cancelled = tokio::select! {
            _ = inbox.source.claim(&inbox.book, later(), 10_000) => false,
            () = async {
                while inbox.book.asked.load(Ordering::Relaxed) == 0 {
                    tokio::task::yield_now().await;
                }
                inbox.book.hangs.store(true, Ordering::Relaxed);
                while inbox.book.asked.load(Ordering::Relaxed) < 2 {
                    tokio::task::yield_now().await;
                }
            } => true,
        };
        assert!(cancelled);
        inbox.book.hangs.store(false, Ordering::Relaxed);
        let taken = inbox.drain().await;
        let distinct: BTreeSet<_> = taken.iter().collect();
        assert_eq!((taken.len(), distinct.len()), (1_500, 1_500));
    }
}

#[tokio::test]
async fn moved_files_keep_their_folders_and_lose_no_one() {
    let inbox = inbox(serde_json::json!({ "path": "./in", "recursive": true, "after": "move", "to": "./done/here" }));
    std::fs::create_dir(inbox.path(b"sub")).unwrap();
    for content in ["one", "two", "three"] {
        inbox.put("sub/a.txt", content);
        assert_eq!(inbox.drain().await, pairs(&[("sub/a.txt", content)]));
    }
    assert_eq!(inbox.names(), ["sub"]);
    let done = inbox.dir.path().join("done/here/sub");
    assert_eq!(names(&done), ["a-2.txt", "a-3.txt", "a.txt"]);
    assert_eq!(std::fs::read(done.join("a-3.txt")).unwrap(), b"three");
}

#[tokio::test]
async fn moves_cross_file_systems() {
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
    let to = elsewhere.path().join("done");
    let inbox = inbox(serde_json::json!({ "path": "./in", "after": "move", "to": to }));
    inbox.put("a", "x");
    assert_eq!(inbox.drain().await, pairs(&[("a", "x")]));
    assert_eq!((names(&to), inbox.names()), (vec!["a".to_owned()], vec![]));
}

#[tokio::test]
async fn names_of_any_bytes() {
    let longest = [b'n'; 255];
    let odd: [&[u8]; 8] = [b" ", b"a b", b"it's \"q\"", b"new\nline", b"-rf", b"caf\xe9", b"\\xe9", &longest];
    for inbox in [keep(), delete()] {
        for name in odd {
            std::fs::write(inbox.path(name), name).unwrap();
        }
        let mut seen = BTreeSet::new();
        for claim in inbox.scan().await.claims {
            assert_eq!(name::to_bytes(&claim.name), claim.path);
            let path = claim.path.clone();
            assert_eq!(inbox.carry_through(claim).await.unwrap(), path);
            seen.insert(path);
        }
        assert_eq!(seen, odd.iter().map(|name| name.to_vec()).collect());
        assert_eq!(inbox.drain().await, []);
    }
}

#[tokio::test]
async fn what_is_no_file_is_left_alone() {
    for inbox in [keep(), delete()] {
        std::os::unix::fs::symlink("/etc/passwd", inbox.path(b"link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            inbox.path(b"pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        let scan = inbox.scan().await;
        assert!(scan.claims.is_empty() && scan.complete);
        assert_eq!(
            (scan.problems[0].0.as_str(), scan.problems[0].1.code, scan.problems.len()),
            ("link", "symbolic-link", 1)
        );
        assert!(inbox.scan().await.problems.is_empty(), "told once");
        assert_eq!(inbox.names(), ["link", "pipe"]);
    }
}

#[tokio::test]
async fn many_files_in_bites_by_name() {
    let inbox = delete();
    for n in 0..2_345 {
        inbox.put(&format!("{:04}", n * 11 % 2_345), "x");
    }
    let (mut order, mut calls) = (Vec::new(), 0);
    loop {
        let scan = inbox.source.claim(&inbox.book, later(), 100).await.unwrap();
        calls += 1;
        assert!(scan.claims.len() <= 100);
        for claim in scan.claims {
            order.push(claim.path.clone());
            inbox.carry_through(claim).await.unwrap();
        }
        if scan.complete {
            break;
        }
        assert!(scan.everything.is_some());
    }
    assert_eq!((order.len(), calls), (2_345, 24));
    assert!(order.is_sorted());
    assert!(inbox.book.asked.load(Ordering::Relaxed) < 10, "the ledger is asked for batches");
    assert!(inbox.names().is_empty());
}

#[tokio::test]
async fn a_call_holds_a_bounded_number_of_bytes_and_files() {
    let inbox = keep();
    for n in 0..200 {
        inbox.put(&format!("large {n:03}"), vec![0; 300_000]);
        inbox.put(&format!("small {n:03}"), vec![0; 200_000]);
    }
    let (mut taken, mut complete) = (0, false);
    while !complete {
        let scan = inbox.scan().await;
        let open = scan.claims.iter().filter(|claim| matches!(claim.body, Body::File(_))).count();
        let bytes: usize =
            scan.claims.iter().map(|claim| if let Body::Bytes(b) = &claim.body { b.len() } else { 0 }).sum();
        assert!(open <= 128 && bytes <= 17 << 20, "{open} files, {bytes} bytes");
        taken += scan.claims.len();
        complete = scan.complete;
    }
    assert_eq!(taken, 400);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_told_and_looked_for_again() {
    let inbox = keep();
    std::fs::remove_dir(inbox.path(b"")).unwrap();
    let error = inbox.source.claim(&inbox.book, later(), 10).await.unwrap_err();
    assert_eq!(error.code, "no-folder");
    assert!(error.hint.unwrap().contains("mkdir -p"));
    std::fs::create_dir(inbox.path(b"")).unwrap();
    inbox.put("a", "x");
    assert_eq!(inbox.drain().await, pairs(&[("a", "x")]));
}

#[tokio::test]
async fn an_audit_is_bounded() {
    let inbox = keep();
    for n in 0..1_200 {
        inbox.put(&format!("{n}"), "x");
    }
    let audit = inbox.source.audit(&inbox.book, &[]).await.unwrap();
    assert_eq!((audit.compared, audit.entries.len(), audit.more), (1_200, 1_000, true));
}
