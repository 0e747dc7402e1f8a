//! Tests of the destination `folder`, against real files.

use super::*;
use crate::fixtures::item;
use bytes::Bytes;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

struct Outbox {
    dir: tempfile::TempDir,
    sink: Arc<dyn Sink>,
}

fn outbox(config: Value) -> Outbox {
    let dir = tempfile::tempdir().unwrap();
    let context = crate::fixtures::context(dir.path());
    let sink = Kind.open(config.as_object().unwrap(), &context).unwrap();
    Outbox { dir, sink }
}

fn plain() -> Outbox {
    outbox(serde_json::json!({ "path": "./out" }))
}

fn export(target: &str, content: &[u8]) -> Export {
    Export {
        target: target.as_bytes().to_vec(),
        ours: None,
        overwrite: false,
        body: Body::Bytes(Bytes::copy_from_slice(content)),
        hash: ContentHash::of(content),
        size: content.len() as u64,
    }
}

impl Outbox {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("out").join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// All names, hidden ones too.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn the_descriptor_is_whole() {
    assert_eq!(opendmp_model::kinds::lint(Kind.info()), Vec::<String>::new());
}

#[test]
fn templates_are_checked_offline() {
    let problems = |config: Value| Kind.prepare(config.as_object().unwrap());
    assert_eq!(problems(serde_json::json!({ "path": "x" })), []);
    let found = problems(serde_json::json!({ "path": "x", "name": "{stm}" }));
    assert_eq!((found[0].pointer.as_str(), found[0].hint.as_deref()), ("/name", Some("did you mean `{stem}`?")));
    assert_eq!(problems(serde_json::json!({ "path": "x", "nam": "y" }))[0].code, "bad-config");
}

#[test]
fn targets_follow_the_template() {
    let outbox = outbox(serde_json::json!({ "path": "./out/", "name": "{stem}.upper.txt" }));
    let target = outbox.sink.target(&item("a.txt", b"x")).unwrap();
    assert_eq!(target, b"a.upper.txt");
    assert_eq!(outbox.sink.display(&target), "./out/a.upper.txt");
    assert_eq!(outbox.sink.if_exists(), IfExists::Version);
    assert!(outbox.sink.destination().starts_with("folder:/"));
}

#[tokio::test]
async fn files_appear_whole_in_folders_made_for_them() {
    let outbox = plain();
    let end = outbox.sink.export(export("a/b/c.txt", b"hello")).await.unwrap();
    assert_eq!((end, outbox.read("a/b/c.txt")), (ExportEnd::Written, b"hello".to_vec()));
    let mut large = tempfile::tempfile().unwrap();
    let content = vec![7u8; 700_001];
    large.write_all(&content).unwrap();
    let mut from_file = export("large", &content);
    from_file.body = Body::File(Arc::new(large));
    assert_eq!(outbox.sink.export(from_file).await.unwrap(), ExportEnd::Written);
    assert_eq!(outbox.read("large"), content);
    assert_eq!(outbox.names(), ["a", "large"], "nothing temporary stays");
}

#[tokio::test]
async fn repeating_an_export_writes_nothing() {
    let outbox = plain();
    outbox.sink.export(export("a", b"same")).await.unwrap();
    let before = std::fs::metadata(outbox.path("a")).unwrap();
    assert_eq!(outbox.sink.export(export("a", b"same")).await.unwrap(), ExportEnd::Written);
    let after = std::fs::metadata(outbox.path("a")).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((before.ino(), before.ctime_nsec()), (after.ino(), after.ctime_nsec()));
}

#[tokio::test]
async fn only_its_own_file_is_replaced() {
    let outbox = plain();
    outbox.sink.export(export("a", b"one")).await.unwrap();
    let mut next = export("a", b"two!");
    assert_eq!(outbox.sink.export(next).await.unwrap(), ExportEnd::Occupied);
    next = export("a", b"two!");
    next.ours = Some(ContentHash::of(b"one"));
    assert_eq!(outbox.sink.export(next).await.unwrap(), ExportEnd::Written);
    assert_eq!(outbox.read("a"), b"two!");

    std::fs::write(outbox.path("a"), "edited by hand").unwrap();
    let mut after_edit = export("a", b"three");
    after_edit.ours = Some(ContentHash::of(b"two!"));
    assert_eq!(outbox.sink.export(after_edit).await.unwrap(), ExportEnd::Occupied);
    assert_eq!(outbox.read("a"), b"edited by hand");

    let mut overwrite = export("a", b"four");
    overwrite.overwrite = true;
    assert_eq!(outbox.sink.export(overwrite).await.unwrap(), ExportEnd::Written);
    assert_eq!((outbox.read("a"), outbox.names()), (b"four".to_vec(), vec!["a".to_owned()]));
}

#[tokio::test]
async fn what_is_no_file_is_in_the_way() {
    let outbox = plain();
    std::fs::create_dir_all(outbox.path("folder")).unwrap();
    std::fs::write(outbox.dir.path().join("victim"), "v").unwrap();
    symlink("../victim", outbox.path("link")).unwrap();
    for name in ["folder", "link"] {
        assert_eq!(outbox.sink.export(export(name, b"x")).await.unwrap(), ExportEnd::Occupied);
    }
    let forced = |name| Export { overwrite: true, ..export(name, b"x") };
    let fault = outbox.sink.export(forced("folder")).await.unwrap_err();
    assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::ExportRefused, "folder-there"));
    assert_eq!(outbox.sink.export(forced("link")).await.unwrap(), ExportEnd::Written);
    assert_eq!(outbox.read("link"), b"x");
    assert_eq!(std::fs::read(outbox.dir.path().join("victim")).unwrap(), b"v", "a link is replaced, not followed");
}

#[tokio::test]
async fn links_and_files_are_no_folders() {
    let outbox = plain();
    std::fs::create_dir_all(outbox.path("")).unwrap();
    std::fs::create_dir(outbox.dir.path().join("elsewhere")).unwrap();
    symlink("../elsewhere", outbox.path("sub")).unwrap();
    std::fs::write(outbox.path("file"), "").unwrap();
    for target in ["sub/x", "file/x"] {
        let fault = outbox.sink.export(export(target, b"x")).await.unwrap_err();
        assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::ExportRefused, "not-a-folder"), "{target}");
        assert!(fault.message.contains(&format!("./out/{target}")) && fault.hint.is_some());
    }
    assert_eq!(std::fs::read_dir(outbox.dir.path().join("elsewhere")).unwrap().count(), 0);
}

#[tokio::test]
async fn damaged_content_never_appears() {
    let outbox = plain();
    let damaged = Export { hash: ContentHash::of(b"other"), ..export("a", b"x") };
    let fault = outbox.sink.export(damaged).await.unwrap_err();
    assert_eq!(fault.code, "damaged-content");
    assert!(outbox.names().is_empty());
}

#[tokio::test]
async fn a_full_disk_is_the_worlds_fault() {
    // A file size limit of the process would hit other tests, so the mapping is tested on errors as they come.
    for (errno, kind, code) in [
        (rustix::io::Errno::NOSPC, FaultKind::NoSpace, "no-space"),
        (rustix::io::Errno::DQUOT, FaultKind::NoSpace, "no-space"),
        (rustix::io::Errno::IO, FaultKind::Unavailable, "io"),
        (rustix::io::Errno::ACCESS, FaultKind::Unavailable, "no-rights"),
        (rustix::io::Errno::PERM, FaultKind::Unavailable, "no-rights"),
        (rustix::io::Errno::ROFS, FaultKind::Unavailable, "read-only"),
        (rustix::io::Errno::NOTDIR, FaultKind::ExportRefused, "not-a-folder"),
        (rustix::io::Errno::NAMETOOLONG, FaultKind::ExportRefused, "bad-name"),
    ] {
        let fault = Stop::Io("writing", errno.into()).fault("./out/a");
        assert_eq!((fault.kind, fault.code.as_str()), (kind, code));
    }
    // A device that is always full.
    let full = File::options().write(true).open("/dev/full").unwrap();
    let error = (&full).write_all(b"x").unwrap_err();
    assert_eq!(Stop::Io("writing", error).fault("a").code, "no-space");
}

#[tokio::test]
async fn leftovers_of_killed_processes_are_swept_and_others_not() {
    let outbox = plain();
    std::fs::create_dir_all(outbox.path("")).unwrap();
    for name in [".opendmp-dead-0-0.tmp", ".opendmp-live-0-0.tmp", ".opendmp-note", "x.tmp"] {
        std::fs::write(outbox.path(name), "").unwrap();
    }
    let live = File::open(outbox.path(".opendmp-live-0-0.tmp")).unwrap();
    rustix::fs::flock(&live, rustix::fs::FlockOperation::LockExclusive).unwrap();
    outbox.sink.export(export("a", b"x")).await.unwrap();
    assert_eq!(outbox.names(), [".opendmp-live-0-0.tmp", ".opendmp-note", "a", "x.tmp"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_any_bytes_and_many_at_once() {
    let outbox = plain();
    let longest = "n".repeat(255);
    let odd: Vec<Vec<u8>> = vec![b"-rf".to_vec(), b"a b\n'\"".to_vec(), b"caf\xe9".to_vec(), longest.into_bytes()];
    let all: Vec<Vec<u8>> = odd.into_iter().chain((0..60).map(|n| format!("d{}/f{n}", n % 5).into_bytes())).collect();
    let tasks: Vec<_> = all
        .iter()
        .map(|target| {
            let (sink, export) = (outbox.sink.clone(), Export { target: target.clone(), ..export("", target) });
            tokio::spawn(async move { sink.export(export).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap(), ExportEnd::Written);
    }
    for target in &all {
        use std::os::unix::ffi::OsStrExt;
        let path = outbox.path("").join(std::ffi::OsStr::from_bytes(target));
        assert_eq!(&std::fs::read(path).unwrap(), target);
    }
}

/// A foreign hand puts files at the target and takes away what it finds, while the dataset writes its revisions: each
/// file it put is taken by itself, or is still there in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_hand_loses_nothing() {
    let outbox = plain();
    outbox.sink.export(export("a", b"revision 0")).await.unwrap();
    let (folder, stop) = (outbox.path(""), Arc::new(AtomicBool::new(false)));
    let hand = {
        let (stop, scratch) = (stop.clone(), Folder::open(outbox.dir.path()).unwrap());
        std::thread::spawn(move || {
            let out = Folder::open(&folder).unwrap();
            let (mut taken, mut put) = (Vec::new(), 0u32);
            while !stop.load(Ordering::Relaxed) || put == 0 {
                if out.rename(b"a", &scratch, b"aside", Taken::Replace).is_ok() {
                    let mut content = String::new();
                    io::Read::read_to_string(&mut scratch.read(b"aside").unwrap(), &mut content).unwrap();
                    taken.push(content);
                }
                scratch.create_new(b"hand").unwrap().write_all(format!("foreign {put}").as_bytes()).unwrap();
                match scratch.rename(b"hand", &out, b"a", Taken::Refuse) {
                    Ok(()) => put += 1,
                    Err(_) => scratch.unlink(b"hand").unwrap(),
                }
            }
            (taken, put)
        })
    };
    let mut ends = [0; 2];
    for revision in 1..600u32 {
        let mut next = export("a", format!("revision {revision}").as_bytes());
        // Ours is also what the hand put, as far as the look before the rename can tell.
        let content = std::fs::read(outbox.path("a")).unwrap_or_default();
        next.ours = Some(ContentHash::of(&content));
        if content.starts_with(b"foreign") {
            next.ours = Some(ContentHash::of(format!("revision {}", revision - 1).as_bytes()));
        }
        match outbox.sink.export(next).await {
            Ok(ExportEnd::Written) => ends[0] += 1,
            Ok(ExportEnd::Occupied) => ends[1] += 1,
            Err(fault) => assert!(matches!(fault.code.as_str(), "busy-target" | "io"), "{fault}"),
        }
    }
    stop.store(true, Ordering::Relaxed);
    let (mut seen, put) = hand.join().unwrap();
    for name in outbox.names() {
        seen.push(String::from_utf8(outbox.read(&name)).unwrap());
    }
    let lost: Vec<u32> = (0..put).filter(|n| !seen.contains(&format!("foreign {n}"))).collect();
    assert_eq!(lost, Vec::<u32>::new());
    assert!(ends[0] > 0 && put > 0, "{put} put, {ends:?}");
}

#[tokio::test]
async fn some_go_together_and_each_has_its_own_end() {
    let outbox = plain();
    std::fs::create_dir_all(outbox.path("b")).unwrap();
    std::fs::write(outbox.path("b/taken"), "somebody's").unwrap();
    std::fs::write(outbox.path("file"), "no folder").unwrap();
    let exports =
        ["b/one", "a/one", "b/taken", "file/one", "top", "a/two"].map(|target| export(target, target.as_bytes()));
    let ends = outbox.sink.export_all(exports.into()).await;
    let shown: Vec<_> = ends.iter().map(|end| end.as_ref().map_err(|fault| fault.code.as_str())).collect();
    let (written, occupied) = (Ok(&ExportEnd::Written), Ok(&ExportEnd::Occupied));
    assert_eq!(shown, [written, written, occupied, Err("not-a-folder"), written, written]);
    for target in ["b/one", "a/one", "top", "a/two"] {
        assert_eq!(std::fs::read_to_string(outbox.path(target)).unwrap(), target);
    }
    assert_eq!(std::fs::read_to_string(outbox.path("b/taken")).unwrap(), "somebody's");
    assert!(outbox.sink.export_all(Vec::new()).await.is_empty());
}

/// Does the file work without root's rights, where the test has them.
fn as_nobody<F: Future<Output = ()>>(test: F) {
    use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
    let give_up = || {
        if Uid::effective().is_root() {
            setfsgid(Gid::from_raw(65_534));
            setfsuid(Uid::from_raw(65_534));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().on_thread_start(give_up).build().unwrap();
    runtime.block_on(test);
}

#[test]
fn what_can_not_be_looked_at_is_not_taken_for_foreign() {
    use std::os::unix::fs::PermissionsExt;
    let outbox = plain();
    let chmod =
        |name: &str, mode| std::fs::set_permissions(outbox.dir.path().join(name), PermissionsExt::from_mode(mode));
    std::fs::create_dir_all(outbox.path("sub")).unwrap();
    std::fs::write(outbox.path("a"), "same").unwrap();
    std::fs::write(outbox.path("sub/a"), "same").unwrap();
    ["", "out", "out/sub"].iter().for_each(|name| chmod(name, 0o777).unwrap());
    as_nobody(async {
        // The file itself, and the folder it is in.
        for (closed, target) in [("out/a", "a"), ("out/sub", "sub/a")] {
            chmod(closed, 0).unwrap();
            let mut all = vec![export(target, b"same"), export(target, b"else")];
            all[1].ours = Some(ContentHash::of(b"same"));
            for (n, export) in all.into_iter().enumerate() {
                let fault = outbox.sink.export(export).await.unwrap_err();
                assert_eq!(fault.code, "no-rights", "{closed} {n}: {fault}");
                assert_eq!(fault.kind, FaultKind::Unavailable, "{closed} {n}: {fault}");
            }
            chmod(closed, 0o777).unwrap();
            assert_eq!(outbox.sink.export(export(target, b"same")).await.unwrap(), ExportEnd::Written);
        }
        // What is to be replaced need not be seen.
        chmod("out/a", 0).unwrap();
        let replacing = Export { overwrite: true, ..export("a", b"same") };
        assert_eq!(outbox.sink.export(replacing).await.unwrap(), ExportEnd::Written);
    });
    assert_eq!((outbox.names(), outbox.read("a")), (vec!["a".to_owned(), "sub".to_owned()], b"same".to_vec()));
}

/// In a process of its own, whose descriptors run out at one place after the other.
#[test]
fn without_descriptors_nothing_is_taken_for_foreign() {
    use nix::sys::resource::{Resource, setrlimit};
    const INSIDE: &str = "OPENDMP_TEST_DESCRIPTORS";
    if std::env::var_os(INSIDE).is_none() {
        let name = std::thread::current().name().unwrap().to_owned();
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        let status = again.args([&name, "--exact", "--nocapture"]).env(INSIDE, "1").status().unwrap();
        assert!(status.success());
        return;
    }
    let outbox = plain();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        assert_eq!(outbox.sink.export(export("sub/a", b"one")).await.unwrap(), ExportEnd::Written);
        let next = std::os::fd::AsRawFd::as_raw_fd(&File::open("/dev/null").unwrap());
        let (mut starved, mut written) = (0, 0);
        for spare in 0..16 {
            setrlimit(Resource::RLIMIT_NOFILE, (next + spare) as u64, 4_096).unwrap();
            for (content, ours) in [(&b"one"[..], None), (b"two", Some(ContentHash::of(b"one")))] {
                let export = Export { ours, ..export("sub/a", content) };
                match outbox.sink.export(export).await {
                    Ok(end) => {
                        assert_eq!(end, ExportEnd::Written, "{spare}");
                        written += 1;
                    }
                    Err(fault) => {
                        assert_eq!(fault.kind, FaultKind::Unavailable, "{spare}: {fault}");
                        starved += 1;
                    }
                }
            }
            // As it was.
            setrlimit(Resource::RLIMIT_NOFILE, 4_096, 4_096).unwrap();
            let export = Export { overwrite: true, ..export("sub/a", b"one") };
            outbox.sink.export(export).await.unwrap();
        }
        assert!(starved > 4 && written > 4, "{starved} {written}");
    });
    assert_eq!(std::fs::read_dir(outbox.path("sub")).unwrap().count(), 1);
}
