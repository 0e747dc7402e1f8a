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
        ("echo x > /dev/shm/own$$ && cat /dev/shm/own$$ && rm /dev/shm/own$$", "x"),
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
        // Devices are those of the machine. Their modes as they are, lest it be harmed.
        "chmod 666 /dev/full",
        "chmod 666 /dev/null",
        "chmod 666 /proc/self/fd/0",
        "python3 -c 'import os; os.fchmod(0, 0o666)'",
    ] {
        let (said, code) = place.shell(line).await;
        assert_ne!(code, Some(0), "{line}: {said}");
    }
    let after = fs::metadata(&file).unwrap();
    assert_eq!(
        (before.mode(), before.mtime_nsec(), before.ctime_nsec()),
        (after.mode(), after.mtime_nsec(), after.ctime_nsec())
    );
    let used =
        place.shell("echo lost > /dev/null && head -c 3 /dev/zero | wc -c && cat <&0 && head -c 1 /dev/full | wc -c");
    assert_eq!(used.await, ("3\n1".to_owned(), Some(0)), "they are used all the same");
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
async fn files_in_shared_memory_have_a_limit() {
    if !protection().namespaces {
        return;
    }
    let place = Place::new();
    let (said, code) =
        place.shell("cd /dev/shm; i=0; while [ $i -lt 5000 ]; do : > $i || exit 1; i=$((i+1)); done").await;
    assert!(code != Some(0) && said.contains("No space left"), "{said}");
    let (said, _) = place
        .shell_with("df --output=itotal /dev/shm | tail -1", |command| command.policy.shared_memory = 256 << 20)
        .await;
    assert_eq!(said.trim(), "65536");
}

#[tokio::test]
async fn pipes_keep_no_huge_pages() {
    let place = Place::new();
    let python = "import ctypes, os; r, w = os.pipe(); b = ctypes.create_string_buffer(4096); \
        v = (ctypes.c_void_p * 2)(ctypes.addressof(b), 4096); c = ctypes.CDLL(None, use_errno=True); \
        print(c.vmsplice(w, v, 1, 0), os.strerror(ctypes.get_errno()))";
    assert_eq!(place.shell(&format!("python3 -c '{python}'")).await.0, "-1 Function not implemented");
}

#[tokio::test]
async fn watchers_of_the_user_are_left_to_others() {
    if !protection().namespaces {
        return;
    }
    let place = Place::new();
    let python = "import ctypes, os; c = ctypes.CDLL(None); print(sum(c.inotify_init() >= 0 for _ in range(100)))";
    assert_eq!(place.shell(&format!("python3 -c '{python}'")).await.0, "16");
    let (said, code) = place
        .shell("echo one > f; timeout 5 tail -n +1 -f f | (read a; echo two >> f; read b; echo $a $b); true")
        .await;
    assert_eq!((said.as_str(), code), ("one two", Some(0)), "`tail -f` sees what is written");
}

#[tokio::test]
async fn the_server_is_neither_slowed_nor_pinned() {
    let place = Place::new();
    // Nothing changes by it even where it is not refused.
    let mut attacks =
        vec![format!("import os; os.sched_setaffinity({0}, os.sched_getaffinity({0}))", std::process::id())];
    if !protection().namespaces {
        attacks.push("import os; os.setpriority(os.PRIO_USER, 0, 0)".to_owned());
        // 251: ioprio_set; the class of all is 2 at its middle.
        attacks.push("import ctypes, sys; sys.exit(ctypes.CDLL(None).syscall(251, 3, 0, 2 << 13 | 4) < 0)".to_owned());
    }
    for attack in attacks {
        let (said, code) = place.shell(&format!("python3 -c '{attack}'")).await;
        assert_ne!(code, Some(0), "{attack}: {said}");
    }
    let own = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); os.nice(1); print(1)";
    assert_eq!(place.shell(&format!("python3 -c '{own}'")).await, ("1".to_owned(), Some(0)));
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

impl Place {
    /// A command that may write a folder, as a processor asks for it.
    fn writing(&self, folder: &str, line: &str, output: &File) -> Command {
        let site = Site { hidden: vec![self.path("data")], writable: Vec::new() };
        let rules = Rules { writable: vec![self.path(folder)], ..Rules::default() };
        let mut command = self.command("sh", &["-c", line]);
        let (work, tmp) = (self.path("data/scratch/1/work"), self.path("data/scratch/1/tmp"));
        command.policy = site.policy(&rules, &[&work], &tmp, 1 << 20);
        command.stdio[1] = Some(output.try_clone().unwrap().into());
        command
    }
}

#[tokio::test]
async fn a_folder_that_is_swapped_for_a_link_to_the_data_directory_is_not_mounted() {
    let place = Place::new();
    fs::create_dir_all(place.path("w/sub")).unwrap();
    std::os::unix::fs::symlink(place.path("data"), place.path("w/link")).unwrap();
    let line = "cat $BASE/w/sub/access-token $BASE/w/link/access-token $BASE/data/access-token; \
                echo x > $BASE/w/sub/new; echo x > $BASE/data/new; echo x > $BASE/w/link/new; true";
    let output = tempfile::tempfile().unwrap();
    // What another command does that may write `w`.
    let (one, other) = (place.path("w/sub"), place.path("w/link"));
    let swap = move || {
        use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
        renameat2(AT_FDCWD, &one, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE).unwrap();
    };
    let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let end = std::sync::Arc::clone(&over);
    let swapping = std::thread::spawn(move || {
        while !end.load(std::sync::atomic::Ordering::Relaxed) {
            swap();
            std::thread::park_timeout(std::time::Duration::from_micros(300));
        }
    });
    let (mut ran, mut refused) = (0, 0);
    for _ in 0..150 {
        match place.writing("w/sub", line, &output).spawn() {
            Ok(mut child) => {
                ran += 1;
                child.wait().await.unwrap();
            }
            Err(StartError::Folder(path, _)) => {
                refused += 1;
                assert_eq!(path, place.path("w/sub"));
            }
            Err(error) => panic!("{error}"),
        }
    }
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    swapping.join().unwrap();
    let said = read(output);
    assert!(!said.contains("secret"), "after {ran} that ran and {refused} that were refused: {said}");
    assert!(!place.path("data/new").exists(), "{ran} ran, {refused} were refused");
    assert!(ran > 0 && refused > 0, "{ran} ran, {refused} were refused");
}

#[tokio::test]
async fn a_link_to_the_data_directory_is_refused_and_says_why() {
    let place = Place::new();
    fs::create_dir_all(place.path("data/content")).unwrap();
    std::os::unix::fs::symlink(place.path("data"), place.path("link")).unwrap();
    std::os::unix::fs::symlink(place.path("flow"), place.path("other")).unwrap();
    let output = tempfile::tempfile().unwrap();
    for folder in ["link", "link/content", "data", "data/content"] {
        let started = place.writing(folder, "cat $BASE/data/access-token", &output).spawn();
        let error = started.expect_err(folder);
        assert!(error.to_string().contains("it lies in the data directory"), "{folder}: {error}");
    }
    let error = place.writing("other", "true", &output).spawn().unwrap_err();
    assert!(error.to_string().contains("a link was put in its place"), "{error}");
    // The same of folders that are written for all, and of the flow's own.
    for of_flow in [true, false] {
        let folders = vec![place.path("link")];
        let (readable, writable) = if of_flow { (folders, Vec::new()) } else { (Vec::new(), folders) };
        let site = Site { hidden: vec![place.path("data")], writable };
        let rules = Rules { readable, ..Rules::default() };
        let mut command = place.command("true", &[]);
        let (work, tmp) = (place.path("data/scratch/1/work"), place.path("data/scratch/1/tmp"));
        command.policy = site.policy(&rules, &[&work], &tmp, 1 << 20);
        let error = command.spawn().unwrap_err();
        assert!(error.to_string().contains("it lies in the data directory"), "{of_flow}: {error}");
    }
}

#[tokio::test]
async fn what_is_shown_around_the_data_directory_shows_it_empty() {
    let place = Place::new();
    fs::create_dir_all(place.path("w/deep/er/data")).unwrap();
    fs::write(place.path("w/deep/er/data/token"), "secret").unwrap();
    std::os::unix::fs::symlink(place.path("data"), place.path("w/link")).unwrap();
    let output = tempfile::tempfile().unwrap();
    let hidden = vec![place.path("data"), place.path("w/deep/er/data")];
    // A command that moves it away, and one that comes after that.
    for line in [
        "mv $BASE/w/deep $BASE/w/other; mv $BASE/w/deep/er $BASE/w/er; echo x > $BASE/w/new && echo written",
        "ls $BASE/w/; cat $BASE/w/*/token $BASE/w/*/*/token $BASE/w/*/*/*/token $BASE/w/link/access-token; true",
    ] {
        let mut command = place.writing("w", line, &output);
        let rules = Rules { writable: vec![place.path("w")], ..Rules::default() };
        let (work, tmp) = (place.path("data/scratch/1/work"), place.path("data/scratch/1/tmp"));
        let site = Site { hidden: hidden.clone(), writable: Vec::new() };
        command.policy = site.policy(&rules, &[&work], &tmp, 1 << 20);
        let mut child = command.spawn().unwrap();
        child.wait().await.unwrap();
    }
    let said = read(output);
    assert!(!said.contains("secret"), "{said}");
    assert!(place.path("w/deep/er/data/token").exists(), "it stays where others look for it: {said}");
    assert!(said.starts_with("written") || !protection().namespaces, "{said}");
}

/// The same tests in a process of their own.
fn all_again(command: &mut std::process::Command) {
    let output = command.args(["--test-threads=2", "--skip", "again_"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains(" 22 passed"), "{said}");
}

#[test]
fn again_without_namespaces() {
    all_again(std::process::Command::new(std::env::current_exe().unwrap()).env("OPENDMP_NAMESPACES", "off"));
}

#[test]
fn again_as_a_plain_user() {
    again_as_nobody(&[]);
}

/// What capabilities keep root from: here nothing but the filter does.
#[test]
fn again_as_a_plain_user_without_namespaces() {
    again_as_nobody(&[("OPENDMP_NAMESPACES", "off")]);
}

fn again_as_nobody(environment: &[(&str, &str)]) {
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
    command.envs(environment.iter().copied());
    all_again(&mut command);
}
