//! A disk that is really full: a small file system where one can be mounted, and a limit on the size of files.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use opendmp_content::{DirectoryContent, Options};
use opendmp_ports::content::conformance::{file_of, sample};
use opendmp_ports::content::{Content, read_all};
use opendmp_ports::{Error, ErrorKind};

const DIR: &str = "OPENDMP_TEST_DIR";
/// What is full: `disk` or `limit`.
const FULL: &str = "OPENDMP_TEST_FULL";

fn assert_full(error: &Error) {
    assert_eq!(error.kind, ErrorKind::Full, "{error}");
    assert!(error.hint.is_some(), "{error}");
}

/// Fills the disk, has `make_room` called, and goes on.
async fn fill_and_go_on(dir: &Path, make_room: impl FnOnce()) {
    let root = dir.join("content");
    let content = DirectoryContent::open(&root, Options::default()).unwrap();
    let (mut put, mut durable) = (Vec::new(), 0);
    let error = loop {
        let bytes = sample(put.len() as u64, 100_000);
        match content.put(bytes.clone()).await {
            Ok(reference) => put.push((reference, bytes)),
            Err(error) => break error,
        }
        match content.sync().await {
            Ok(()) => durable = put.len(),
            Err(error) => break error,
        }
        assert!(durable < 100, "the disk is never full");
    };
    assert_full(&error);
    assert!(durable > 5, "only {durable}");
    for len in [3 << 20, 10 << 20] {
        let error = match content.put_file(Arc::new(file_of(&sample(7, len)))).await {
            Ok(_) => content.sync().await.unwrap_err(),
            Err(error) => error,
        };
        assert_full(&error);
    }
    assert_eq!(fs::read_dir(root.join("tmp")).unwrap().count(), 0, "what could not be stored takes no room");
    assert_full(&content.sync().await.unwrap_err());
    for (reference, bytes) in &put {
        assert!(read_all(&content.open(reference).await.unwrap()).unwrap() == *bytes);
    }
    make_room();
    let later = sample(500, 3 << 20);
    put.push((content.put_file(Arc::new(file_of(&later))).await.unwrap(), later));
    put.push((content.put(sample(501, 10)).await.unwrap(), sample(501, 10)));
    content.sync().await.unwrap();
    drop(content);
    let content = DirectoryContent::open(&root, Options::default()).unwrap();
    for (reference, bytes) in &put {
        assert!(read_all(&content.open(reference).await.unwrap()).unwrap() == *bytes);
    }
}

/// Not a test of its own: run where the disk is small or files are limited.
#[test]
#[ignore = "started by the other tests here"]
fn where_there_is_little_room() {
    let (Ok(dir), Ok(full)) = (std::env::var(DIR), std::env::var(FULL)) else { return };
    let dir = Path::new(&dir);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    if full == "disk" {
        let filler = dir.join("filler");
        fs::write(&filler, vec![1; 6 << 20]).unwrap();
        runtime.block_on(fill_and_go_on(dir, || fs::remove_file(&filler).unwrap()));
    } else {
        let (_, most) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
        // Less than the files that `file_of` makes need: those come first.
        let (limit, raise) = (1 << 20, move || setrlimit(Resource::RLIMIT_FSIZE, most, most).unwrap());
        let sources = [file_of(&sample(7, 3 << 20)), file_of(&sample(500, 3 << 20))];
        setrlimit(Resource::RLIMIT_FSIZE, limit, most).unwrap();
        runtime.block_on(limited(dir, sources, raise));
    }
}

/// The same with a limit on the size of each file instead of their sum.
async fn limited(dir: &Path, sources: [fs::File; 2], raise: impl FnOnce()) {
    let root = dir.join("content");
    let content = DirectoryContent::open(&root, Options::default()).unwrap();
    let [refused, later] = sources;
    let mut put = Vec::new();
    let error = loop {
        let bytes = sample(put.len() as u64, 100_000);
        put.push((content.put(bytes.clone()).await.unwrap(), bytes));
        if let Err(error) = content.sync().await {
            break error;
        }
        assert!(put.len() < 100, "there is no limit");
    };
    assert_full(&error);
    assert!(put.len() > 5);
    assert_full(&content.put_file(Arc::new(refused)).await.unwrap_err());
    assert_eq!(fs::read_dir(root.join("tmp")).unwrap().count(), 0);
    assert_full(&content.sync().await.unwrap_err());
    raise();
    put.push((content.put_file(Arc::new(later)).await.unwrap(), sample(500, 3 << 20)));
    content.sync().await.unwrap();
    drop(content);
    let content = DirectoryContent::open(&root, Options::default()).unwrap();
    for (reference, bytes) in &put {
        assert!(read_all(&content.open(reference).await.unwrap()).unwrap() == *bytes);
    }
}

/// Runs `prepare` in a shell, then the test above in its place.
fn run(wrapper: &[&str], prepare: &str, dir: &Path, full: &str) -> Output {
    let script = format!("{prepare} && exec \"$0\" --exact where_there_is_little_room --ignored --nocapture");
    let words = wrapper.iter().copied().chain(["sh", "-c", &script]);
    let mut words = words.map(std::ffi::OsStr::new);
    Command::new(words.next().expect("there is a shell"))
        .args(words)
        .arg(std::env::current_exe().unwrap())
        .env(DIR, dir)
        .env(FULL, full)
        .output()
        .unwrap()
}

fn assert_passed(output: &Output) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{out}{err}");
}

#[test]
fn a_limit_on_files_is_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    assert_passed(&run(&[], "trap '' XFSZ", dir.path(), "limit"));
}

/// In a mount namespace of its own, so that nothing stays mounted. Where neither root nor a user namespace may mount,
/// the limit on files is all that can be tried.
#[test]
fn a_full_file_system_is_said_and_got_over() {
    let dir = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size=8m none '{}'", dir.path().display());
    let ways: [&[&str]; 2] = [&["unshare", "--mount"], &["unshare", "--user", "--map-root-user", "--mount"]];
    let can = |way: &[&str]| {
        let probe = Command::new(way[0]).args(&way[1..]).args(["sh", "-c", &mount]).output();
        probe.is_ok_and(|output| output.status.success())
    };
    match ways.into_iter().find(|way| can(way)) {
        Some(way) => assert_passed(&run(way, &mount, dir.path(), "disk")),
        None => a_limit_on_files_is_a_full_disk(),
    }
}
