//! What a command in the sandbox can and can't do, tried by commands.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use opendmp_sandbox::{Command, Limits, Network, Policy, Rules, Site, StartError, protection, read_only};

/// Where folders are made, in place of the build's own.
const BASE: &str = "OPENDMP_TEST_BASE";

/// A folder with a hidden data directory, and the scratch folder of a command in it.
struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        // Not below `/tmp`, which is replaced.
        let base = std::env::var_os(BASE).unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
        let root = tempfile::tempdir_in(base).unwrap();
        let place = Self { root };
        for folder in ["data/scratch/1/work", "data/scratch/1/tmp", "data/scratch/2", "inbox", "flow"] {
            fs::create_dir_all(place.path(folder)).unwrap();
        }
        fs::write(place.path("data/access-token"), "secret").unwrap();
        fs::write(place.path("flow/table.csv"), "table").unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().canonicalize().unwrap().join(name)
    }

    fn policy(&self) -> Policy {
        let site = Site { hidden: vec![self.path("data")], writable: Vec::new() };
        let rules = Rules { readable: vec![self.path("flow"), self.path("inbox")], ..Rules::default() };
        let (work, tmp) = (self.path("data/scratch/1/work"), self.path("data/scratch/1/tmp"));
        site.policy(&rules, &[&work], &tmp, 1 << 20)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        Command {
            program: program.into(),
            arguments: arguments.iter().map(OsString::from).collect(),
            env: vec![
                ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
                ("BASE".into(), self.path("").into()),
                ("LANG".into(), "C.UTF-8".into()),
                ("TMPDIR".into(), self.path("data/scratch/1/tmp").into()),
            ],
            directory: self.path("data/scratch/1/work"),
            stdio: [None, None, None],
            pass: Vec::new(),
            limits: Limits::default(),
            policy: self.policy(),
        }
    }

    /// What a shell line writes to both outputs, and its exit code.
    async fn shell(&self, line: &str) -> (String, Option<i32>) {
        self.shell_with(line, |_| {}).await
    }

    async fn shell_with(&self, line: &str, change: impl FnOnce(&mut Command)) -> (String, Option<i32>) {
        let mut command = self.command("sh", &["-c", line]);
        let output = tempfile::tempfile_in(self.path("data/scratch/1/work")).unwrap();
        command.stdio[1] = Some(output.try_clone().unwrap().into());
        command.stdio[2] = Some(output.try_clone().unwrap().into());
        change(&mut command);
        let mut child = tokio::task::spawn_blocking(move || command.spawn()).await.unwrap().unwrap();
        let status = child.wait().await.unwrap();
        (read(output), status.code())
    }
}

fn read(mut file: File) -> String {
    use std::io::Seek;
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text.trim_end().to_owned()
}

#[tokio::test]
async fn a_command_runs_and_its_status_is_known() {
    let place = Place::new();
    assert_eq!(place.shell("echo out; echo err >&2; exit 3").await, ("out\nerr".to_owned(), Some(3)));
    let mut child = place.command("sh", &["-c", "kill -9 $$"]).spawn().unwrap();
    assert_eq!(child.wait().await.unwrap().signal(), Some(9));
    assert!(child.has_ended());
    let aborted = place.shell("python3 -c 'import os; os.abort()'").await;
    assert_eq!(aborted.1, Some(134), "signals to oneself work as anywhere: {aborted:?}");
}

#[tokio::test]
async fn a_program_that_cannot_be_started_says_why() {
    let place = Place::new();
    let error = place.command("no-such-program", &[]).spawn().unwrap_err();
    assert!(matches!(&error, StartError::Program(error) if error.kind() == ErrorKind::NotFound), "{error}");
    let plain = place.path("flow/table.csv");
    let error = place.command(plain.to_str().unwrap(), &[]).spawn().unwrap_err();
    assert!(matches!(&error, StartError::Program(error) if error.kind() == ErrorKind::PermissionDenied), "{error}");
}

#[tokio::test]
async fn descriptors_are_passed_by_number_and_no_others() {
    let place = Place::new();
    let (one, two) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    let (first, second) = (one.try_clone().unwrap(), two.try_clone().unwrap());
    let listed = place
        .shell_with(
            "echo a >&3; echo b >&4; for n in 0 1 2 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$n ] && echo $n; done",
            |command| {
                command.pass = vec![first.into(), second.into()];
            },
        )
        .await;
    assert_eq!((read(one), read(two)), ("a".into(), "b".into()));
    assert_eq!(listed.0, "0\n1\n2\n3\n4");
}

#[tokio::test]
async fn nothing_outside_the_scratch_folder_can_be_changed() {
    let place = Place::new();
    let outside = [
        "echo x > $BASE/new",
        "echo x > $BASE/flow/table.csv",
        "rm $BASE/flow/table.csv",
        "mv $BASE/inbox $BASE/inbox2",
        "mkdir $BASE/flow/sub",
        "ln -s /etc $BASE/flow/link",
        "echo x >> ~/.profile",
        "echo x > /etc/opendmp-was-here",
        "echo x > /var/opendmp-was-here",
        "echo 1 > /proc/sys/vm/drop_caches",
        "echo 0 > /proc/self/oom_score_adj",
        "mknod $PWD/disk b 254 0 && head -c 1 $PWD/disk",
    ];
    for line in outside {
        let (said, code) = place.shell(line).await;
        assert_ne!(code, Some(0), "{line}: {said}");
    }
    assert_eq!(fs::read_to_string(place.path("flow/table.csv")).unwrap(), "table");
    for (line, expected) in [
        ("echo x > own && cat own", "x"),
        ("echo x > $TMPDIR/own && cat $TMPDIR/own", "x"),
        ("cat $BASE/flow/table.csv", "table"),
        ("echo x > /dev/null && echo fine", "fine"),
        ("echo x > /dev/shm/own && cat /dev/shm/own", "x"),
        ("echo x > /dev/stdout", "x"),
    ] {
        assert_eq!(place.shell(line).await, (expected.to_owned(), Some(0)), "{line}");
    }
}

#[tokio::test]
async fn modes_and_times_of_files_outside_stay() {
    if !protection().namespaces {
        return;
    }
    let place = Place::new();
    let file = place.path("flow/table.csv");
    let before = fs::metadata(&file).unwrap();
    for line in [
        "chmod 777 $BASE/flow/table.csv",
        "chmod 000 $BASE/data",
        "chmod 000 $BASE/flow",
        "touch $BASE/flow/table.csv",
        "chown 1:1 $BASE/flow/table.csv",
    ] {
        let (said, code) = place.shell(line).await;
        assert_ne!(code, Some(0), "{line}: {said}");
    }
    let after = fs::metadata(&file).unwrap();
    assert_eq!(
        (before.mode(), before.mtime_nsec(), before.ctime_nsec()),
        (after.mode(), after.mtime_nsec(), after.ctime_nsec())
    );
}

#[tokio::test]
async fn the_data_directory_and_other_scratch_folders_are_not_there() {
    let place = Place::new();
    fs::write(place.path("data/scratch/2/other"), "another flow's").unwrap();
    for line in [
        "cat $BASE/data/access-token",
        "cat $BASE/data/scratch/2/other",
        "cat /proc/1/root$BASE/data/access-token",
        "cat $PWD/../../../access-token",
    ] {
        let (said, code) = place.shell(line).await;
        assert_ne!(code, Some(0), "{line}: {said}");
    }
}

#[tokio::test]
async fn other_processes_are_not_there() {
    if !protection().namespaces {
        return;
    }
    let place = Place::new();
    let server = std::process::id();
    let (seen, _) = place.shell("cd /proc; ls -d [0-9]* | wc -l").await;
    assert!(seen.parse::<u32>().unwrap() <= 4, "{seen}");
    let python = "import os, sys, signal, resource\ntry:\n    os.kill(int(sys.argv[1]), 0); print('signalled')\nexcept ProcessLookupError: print('not there')\n";
    let (said, _) = place.shell(&format!("python3 -c \"{python}\" {server}")).await;
    assert_eq!(said, "not there");
    let (said, code) = place.shell("cat /proc/1/environ").await;
    assert_ne!(code, Some(0), "the server's environment: {said}");
    let (limit, _) =
        place.shell("python3 -c 'import resource; print(resource.getrlimit(resource.RLIMIT_NPROC)[0])'").await;
    assert_eq!(limit, "4096", "a fork bomb has an end");
    // Process 1 is what watches over the command: it can't be ended from inside.
    let (said, code) = place.shell("kill -9 1; kill -TERM 1; sleep 0.05; echo still here").await;
    assert_eq!((said.lines().last(), code), (Some("still here"), Some(0)));
}

#[tokio::test]
async fn what_a_command_started_ends_with_it() {
    let place = Place::new();
    let (_, code) = place
        .shell("setsid sh -c 'while true; do date +%N > $BASE/data/scratch/1/work/alive; sleep 0.01; done' & sleep 0.1; exit 0")
        .await;
    assert_eq!(code, Some(0));
    let alive = place.path("data/scratch/1/work/alive");
    let before = fs::read(&alive).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(before, fs::read(&alive).unwrap(), "nothing writes any more");
}

#[tokio::test]
async fn a_dropped_command_is_killed() {
    let place = Place::new();
    let file = tempfile::tempfile().unwrap();
    let mut command = place.command("sh", &["-c", "echo begun; sleep 600"]);
    command.stdio[1] = Some(file.try_clone().unwrap().into());
    let child = command.spawn().unwrap();
    let pid = child.id();
    drop(child);
    let began = std::time::Instant::now();
    while Path::new(&format!("/proc/{pid}")).exists() {
        assert!(began.elapsed().as_secs() < 20);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn content_cannot_be_changed_through_a_descriptor() {
    let place = Place::new();
    let stored = place.path("data/content");
    fs::write(&stored, "stored").unwrap();
    fs::set_permissions(&stored, fs::Permissions::from_mode(0o400)).unwrap();
    let file = File::open(&stored).unwrap();
    let sealed = read_only(&file, &place.path("data/scratch")).unwrap();
    let (said, _) = place
        .shell_with("cat; chmod u+w /proc/self/fd/0; echo damaged > /proc/self/fd/0; true", |command| {
            command.stdio[0] = Some(sealed.into());
        })
        .await;
    assert!(said.starts_with("stored"), "{said}");
    assert_eq!(fs::read_to_string(&stored).unwrap(), "stored");
    assert_eq!(fs::metadata(&stored).unwrap().mode() & 0o777, 0o400);
}

#[tokio::test]
async fn the_network_can_be_closed() {
    let place = Place::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let line = format!(
        "python3 -c \"import socket; socket.create_connection(('127.0.0.1', {port})); print('connected')\" 2>&1 | tail -1"
    );
    assert_eq!(place.shell(&line).await.0, "connected");
    let closed = place.shell_with(&line, |command| command.policy.network = Network::Off).await.0;
    assert!(closed.contains("unreachable"), "{closed}");
}

#[tokio::test]
async fn what_is_declared_can_be_written() {
    let place = Place::new();
    let (said, code) = place
        .shell_with("echo x > $BASE/inbox/new && rm $BASE/inbox/new && echo fine", |command| {
            command.policy.writable.push(place.path("inbox"));
        })
        .await;
    assert_eq!((said.as_str(), code), ("fine", Some(0)));
    let mut command = place.command("true", &[]);
    command.policy.writable.push(place.path("missing"));
    let error = command.spawn().unwrap_err();
    assert!(matches!(&error, StartError::Folder(path, _) if *path == place.path("missing")), "{error}");
}

#[tokio::test]
async fn no_way_leads_around_the_mounts() {
    if !protection().namespaces {
        return;
    }
    let place = Place::new();
    let (said, code) = place.shell("echo x > /tmp/own && cat /tmp/own && ls $BASE/data/access-token").await;
    assert!(code != Some(0) && said.starts_with("x\n"), "`/tmp` is its own, and not even names are seen: {said}");
    for line in [
        "umount $BASE/data",
        "mount -t tmpfs tmpfs /mnt",
        "mount -o remount,rw /",
        "unshare -Ur true",
        "unshare -m true",
        "nsenter -t 1 -m true",
        "python3 -c \"import ctypes; import sys; sys.exit(ctypes.CDLL(None).syscall(435, 0, 0) == -1)\"",
        // Memory that would be counted nowhere.
        "python3 -c \"import ctypes; import sys; sys.exit(ctypes.CDLL(None).unshare(0x400) == -1)\"",
        "python3 -c \"import ctypes; import sys; sys.exit(ctypes.CDLL(None).shmget(0, 1 << 20, 0o1600) == -1)\"",
    ] {
        let (said, code) = place.shell(line).await;
        assert_ne!(code, Some(0), "{line}: {said}");
    }
}

#[tokio::test]
async fn shared_memory_has_a_limit() {
    if !protection().namespaces {
        return;
    }
    let place = Place::new();
    let (said, code) = place.shell("head -c 4000000 /dev/zero > /dev/shm/large").await;
    assert!(code != Some(0) && said.contains("No space left"), "{said}");
}

#[tokio::test]
async fn input_is_passed_through_a_pipe() {
    let place = Place::new();
    let (read_end, write_end) = std::io::pipe().unwrap();
    let writing = std::thread::spawn(move || {
        let mut write_end = write_end;
        write_end.write_all(&vec![b'x'; 1 << 20]).unwrap();
    });
    let (said, _) = place.shell_with("wc -c", |command| command.stdio[0] = Some(read_end.into())).await;
    writing.join().unwrap();
    assert_eq!(said, "1048576");
}

/// The same tests in a process of their own.
fn all_again(command: &mut std::process::Command) {
    let output = command.args(["--test-threads=2", "--skip", "again_"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains(" 15 passed"), "{said}");
}

#[test]
fn again_without_namespaces() {
    all_again(std::process::Command::new(std::env::current_exe().unwrap()).env("OPENDMP_NAMESPACES", "off"));
}

#[test]
fn again_as_a_plain_user() {
    use std::os::unix::process::CommandExt;
    if !nix::unistd::geteuid().is_root() {
        // They ran as one.
        return;
    }
    let base = tempfile::Builder::new().prefix("opendmp-test-").tempdir_in("/var").unwrap();
    let program = base.path().join("tests");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(base.path(), fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = std::process::Command::new(&program);
    command.uid(65_534).gid(65_534).env(BASE, base.path()).env("HOME", base.path()).current_dir(base.path());
    all_again(&mut command);
}
