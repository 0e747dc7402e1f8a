//! What a folder is at each moment of a backup, and which folders are refused.

use std::cell::RefCell;

use opendmp_content::DirectoryContent;
use opendmp_journal::SqliteJournal;
use opendmp_journal::lock::DataDirLock;
use opendmp_ports::Content;

use opendmp_api::backup::{BackedUp, Backups};

use super::*;

struct Bench {
    dir: tempfile::TempDir,
    maker: Maker,
    _journal: SqliteJournal,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let journal = SqliteJournal::open(&data, opendmp_journal::Options::default()).unwrap();
        let content = DirectoryContent::open(&data.join("content"), opendmp_content::Options::default()).unwrap();
        let maker = Maker { data, content, instance: "00112233aabbccdd".to_owned() };
        Self { dir, maker, _journal: journal }
    }

    fn to(&self) -> PathBuf {
        self.dir.path().join("backup")
    }

    async fn put(&self, bytes: &[u8]) {
        self.maker.content.put(bytes.to_vec().into()).await.unwrap();
        self.maker.content.sync().await.unwrap();
    }

    fn back_up(&self) -> Result<BackedUp, Problem> {
        self.maker.back_up(&self.to(), 1_795_356_131_042, &|_| {}, &|| false)
    }

    fn refusal(&self, to: &Path) -> String {
        let problem = self.maker.back_up(to, 0, &|_| {}, &|| false).unwrap_err();
        assert!(problem.hint.is_some(), "{problem}");
        problem.message
    }

    fn sound(&self) -> Verified {
        let verified = verify(&self.to(), &|_| {}).unwrap();
        assert!(verified.is_sound(), "{verified:?}");
        verified
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_one_at_every_moment() {
    let bench = Bench::new();
    bench.put(b"first").await;
    let first = bench.back_up().unwrap();
    assert_eq!((first.copied_records, first.again, first.made.as_str()), (1, false, "2026-11-22T14:02:11.042Z"));
    assert_eq!(names(&bench.to()), ["backup.json", "content", "journal.db", "lock"]);
    assert_eq!(bench.sound().contents, 1);

    // Killed before `backup.json`: the earlier one is there.
    fs::write(bench.to().join(JOURNAL_NEW), "half a journal").unwrap();
    fs::write(bench.to().join(part(DOCUMENT)), "half").unwrap();
    assert_eq!(bench.sound().contents, 1);
    bench.put(b"second").await;
    let second = bench.back_up().unwrap();
    assert_eq!((second.copied_records, second.again), (1, true));
    assert_eq!(names(&bench.to()), ["backup.json", "content", "journal.db", "lock"]);

    // Killed after it, before the journal has its name.
    fs::rename(bench.to().join(JOURNAL), bench.to().join(JOURNAL_NEW)).unwrap();
    fs::write(bench.to().join(JOURNAL), "the journal of before").unwrap();
    assert_eq!(bench.sound().contents, 2);
    // The next one, which does not come to its end, takes nothing from it.
    let stopped = bench.maker.back_up(&bench.to(), 0, &|_| {}, &|| true).unwrap_err();
    assert!(stopped.message.contains("stopped"), "{stopped}");
    assert_eq!(names(&bench.to()), ["backup.json", "content", "journal.db", "lock"]);
    assert_eq!(bench.sound().contents, 2);
    assert_eq!(bench.back_up().unwrap().copied_bytes, 0);

    // Neither file is the one that was written.
    fs::write(bench.to().join(JOURNAL), "something else").unwrap();
    let damaged = verify(&bench.to(), &|_| {}).unwrap_err();
    assert!(damaged.message.contains("its hash is wrong"), "{damaged}");
}

#[tokio::test]
async fn a_first_backup_that_was_killed_is_known_as_one() {
    let bench = Bench::new();
    bench.put(b"first").await;
    bench.maker.back_up(&bench.to(), 0, &|_| {}, &|| true).unwrap_err();
    let unfinished = Finished::open(&bench.to()).unwrap_err();
    assert!(unfinished.message.contains("never came to its end"), "{unfinished}");
    assert_eq!(bench.back_up().unwrap().copied_records, 1);
    bench.sound();
}

#[tokio::test]
async fn folders_that_are_no_targets_are_left_as_they_are() {
    let bench = Bench::new();
    let here = bench.dir.path();
    let full = here.join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("thesis.txt"), "mine").unwrap();
    assert!(bench.refusal(&full).contains("something that is not a backup"));
    assert_eq!(names(&full), ["thesis.txt"]);
    assert!(bench.refusal(&full.join("thesis.txt")).contains("is not a folder"));
    std::os::unix::fs::symlink(&bench.maker.data, here.join("link")).unwrap();
    for inside in ["data", "data/backup", "data/content/deep/er", "link/backup"] {
        assert!(bench.refusal(&here.join(inside)).contains("in the data directory itself"), "{inside}");
    }
    let relative = bench.maker.back_up(Path::new("backup"), 0, &|_| {}, &|| false).unwrap_err();
    assert_eq!(relative.status, 400);

    bench.back_up().unwrap();
    let held = lock(&bench.to()).unwrap();
    assert!(bench.refusal(&bench.to()).contains("is under way"));
    assert!(Finished::open(&bench.to()).unwrap_err().message.contains("is under way"));
    drop(held);
    let mut other = Bench::new();
    other.maker.instance = "ffffffffffffffff".to_owned();
    let message = other.refusal(&bench.to());
    assert!(message.contains("of another data directory") && message.contains("/data"), "{message}");
    let text = fs::read_to_string(bench.to().join(DOCUMENT)).unwrap();
    fs::write(bench.to().join(DOCUMENT), text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    assert!(bench.refusal(&bench.to()).contains("of format 2"));
}

#[tokio::test]
async fn a_restore_that_was_broken_off_goes_on() {
    let bench = Bench::new();
    bench.put(b"first").await;
    bench.back_up().unwrap();
    let again = bench.dir.path().join("again");
    let lock = DataDirLock::acquire(&again).unwrap();
    // The journal is damaged, and then it is not.
    let journal = fs::read(bench.to().join(JOURNAL)).unwrap();
    fs::write(bench.to().join(JOURNAL), vec![0; journal.len()]).unwrap();
    restore(&bench.to(), &again, &lock, &|_| {}).unwrap_err();
    assert_eq!(names(&again), ["lock", RESTORING]);
    fs::write(bench.to().join(JOURNAL), journal).unwrap();
    // Another backup's is not mixed in.
    let mark = fs::read_to_string(again.join(RESTORING)).unwrap();
    fs::write(again.join(RESTORING), "another").unwrap();
    assert!(restore(&bench.to(), &again, &lock, &|_| {}).unwrap_err().message.contains("another backup"));
    fs::write(again.join(RESTORING), mark).unwrap();
    let wrong = RefCell::new(0);
    let tell = |event| *wrong.borrow_mut() += u32::from(matches!(event, Event::Damaged(_)));
    let restored = restore(&bench.to(), &again, &lock, &tell).unwrap();
    assert_eq!((restored.damaged, restored.lacking, wrong.into_inner()), (0, 0, 0));
    assert_eq!(fs::read_to_string(again.join("instance")).unwrap(), "00112233aabbccdd\n");
    assert!(!again.join(RESTORING).exists());
    let refused = restore(&bench.to(), &again, &lock, &|_| {}).unwrap_err();
    assert!(refused.message.contains("is not empty"), "{refused}");
    let within = bench.to().join("within");
    let lock = DataDirLock::acquire(&within).unwrap();
    assert!(restore(&bench.to(), &within, &lock, &|_| {}).unwrap_err().message.contains("in the backup itself"));
}

#[test]
fn a_disk_without_room_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let full = room(dir.path(), u64::MAX).unwrap_err();
    assert_eq!((full.status, full.message.contains("are free")), (507, true));
    room(dir.path(), 1).unwrap();
}
