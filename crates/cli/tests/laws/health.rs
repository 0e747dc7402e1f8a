//! Health tells the truth, and a server lives through what happens to it while it runs: a clock that is set, folders and
//! the socket removed, limits of the system, a closed terminal, rights that are too wide.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::{Place, files, pause};

/// A script between an inbox and an outbox; `code` is its body.
fn flow(source: &str, settings: &str, code: &str) -> String {
    let code: String = code.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "name: Torture\nprocessors:\n\
         - {{ id: inbox, type: ingest, source: {{ type: file_drop, path: ./inbox, settle: 0s, {source} }} }}\n\
         - id: work\n  type: script\n  inputs: [inbox]\n{settings}  code: |\n{code}\
         - {{ id: results, type: collect, inputs: [work], collection: Torture, destination: {{ type: folder, path: ./outbox }} }}\n"
    )
}

const SAME: &str = "def process(data: bytes) -> bytes:\n    return data + b'!'\n";

fn log(place: &Place) -> String {
    fs::read_to_string(place.path("server.log")).unwrap_or_default()
}

fn drop_file(place: &Place, name: &str) {
    fs::write(place.path("inbox").join(name), name).unwrap();
}

/// What the server says of itself, over its socket.
pub fn status(place: &Place) -> Value {
    let output = Command::new("curl")
        .args(["--silent", "--unix-socket"])
        .arg(place.path("data/opendmp.sock"))
        .arg("http://localhost/api/v1/status")
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

fn issue(place: &Place, about: &str) -> Option<Value> {
    status(place)["troubles"].as_array()?.iter().find(|issue| issue["about"] == about).cloned()
}

/// Whether a file went through the flow.
fn is_out(place: &Place, name: &str) -> bool {
    fs::read(place.path("outbox").join(name)).is_ok_and(|bytes| bytes == format!("{name}!").into_bytes())
}

fn send(place: &Place, signal: Signal) {
    kill(Pid::from_raw(place.pid() as i32), signal).unwrap();
}

#[test]
fn a_clock_set_back_between_two_starts_stops_nothing() {
    let mut place = Place::new();
    let code = "import os\ndef process(data: bytes) -> bytes:\n    if not os.path.exists('GO'): raise ValueError('not yet')\n    return data + b'!'\n"
        .replace("GO", &place.path("go").display().to_string());
    place.write_flow(&flow("after: delete", "  on_error: { retries: 9, backoff: 2s, max_backoff: 2s }\n", &code));
    place.ok(&["flows", "enable", "flow.yaml"]);
    drop_file(&place, "a");
    place.start_and_wait();
    place.wait_for("it waits to be tried again", |place| status(place)["backlog"]["due"].as_i64().is_some());
    place.stop();
    // As if all that had happened ten years later, with a clock that was wrong.
    let ahead = 10 * 365 * 24 * 3_600_000_i64;
    let journal = place.path("data/journal.db");
    let sql = format!(
        "UPDATE task SET due = due + {ahead} WHERE due > 0; UPDATE intent SET due = due + {ahead} WHERE due > 0;"
    );
    place.sql(&sql);
    // It was written just now.
    let written = journal.metadata().unwrap().modified().unwrap();
    let later = written + std::time::Duration::from_millis(ahead as u64);
    fs::File::options().write(true).open(&journal).unwrap().set_modified(later).unwrap();
    fs::write(place.path("go"), "").unwrap();
    place.start_and_wait();
    place.wait_for("it goes on", |place| is_out(place, "a"));
    let told = issue(&place, "clock").expect("it is told that the clock was set");
    assert!(told["message"].as_str().unwrap().contains("set back by 36"), "{told}");
    assert!(log(&place).contains("set back"));
}

#[test]
fn an_issue_that_comes_and_goes_is_not_logged_each_time() {
    let mut place = Place::new();
    place.write_flow(&flow("after: keep", "", SAME));
    place.ok(&["flows", "enable", "flow.yaml"]);
    place.start_and_wait();
    let inbox = place.path("inbox");
    for n in 0..12 {
        fs::remove_dir_all(&inbox).unwrap();
        pause(400);
        fs::create_dir(&inbox).unwrap();
        drop_file(&place, &format!("file-{n}"));
        pause(600);
    }
    place.wait_for("the last one is taken", |place| is_out(place, "file-11"));
    place.wait_for("all is well", |place| status(place)["status"] == "ok");
    let text = log(&place);
    let (raised, cleared) = (text.matches("ERROR").count(), text.matches("works again").count());
    assert!(raised <= 4 && cleared <= 2, "{raised} and {cleared} lines:\n{text}");
}

#[test]
fn what_health_is_called_and_what_it_lists_agree() {
    let mut place = Place::new();
    place.write_flow(&flow("after: keep", "", SAME));
    place.ok(&["flows", "enable", "flow.yaml"]);
    // More is to be kept free than any disk has; nobody has tried to take anything in.
    fs::remove_dir(place.path("inbox")).unwrap();
    place.start(&[("OPENDMP_RESERVE", "900000 TiB")]);
    place.wait_for("it is told", |place| status(place)["status"] == "troubled");
    let told = status(&place);
    let issues = told["troubles"].as_array().unwrap();
    assert!(issues.iter().any(|issue| issue["about"] == "disk" && issue["hint"].is_string()), "{told}");
    place.kill();
    fs::create_dir(place.path("inbox")).unwrap();
    // A flow that is disabled takes its issues with it.
    fs::remove_dir(place.path("inbox")).unwrap();
    place.start_and_wait();
    place.wait_for("the missing folder is told", |place| status(place)["status"] == "degraded");
    place.ok(&["flows", "disable", "torture"]);
    place.wait_for("all is well", |place| status(place)["status"] == "ok");
    assert_eq!(status(&place)["troubles"], serde_json::json!([]));
}

#[test]
fn folders_and_the_socket_may_be_removed_while_a_server_works() {
    let mut place = Place::new();
    // Results by way of files: one beside the script's small answers, one of an external command.
    let code =
        "def process(path: Path) -> bytes:\n    open('left', 'w').write('x')\n    return path.read_bytes() + b'!'\n";
    let text = flow("after: delete", "", &format!("from pathlib import Path\n{code}"));
    let external =
        "- { id: copy, type: external, inputs: [work], command: [cp, \"{input}\", \"{output}\"] }\n- { id: results";
    place.write_flow(
        &text.replace("- { id: results", external).replace("inputs: [work], collection", "inputs: [copy], collection"),
    );
    place.ok(&["flows", "enable", "flow.yaml"]);
    place.start_and_wait();
    drop_file(&place, "first");
    place.wait_for("the first one is through", |place| is_out(place, "first"));
    for (n, folder) in [
        "scratch",
        "scratch/scripts",
        "scratch/external",
        "uploads",
        "environments",
        "recent",
        "content/tmp",
        "opendmp.sock",
        "lock",
    ]
    .into_iter()
    .enumerate()
    {
        let path = place.path("data").join(folder);
        let before = path.symlink_metadata().ok().map(|meta| std::os::unix::fs::MetadataExt::ino(&meta));
        match path.is_dir() {
            true => fs::remove_dir_all(&path).unwrap(),
            false if before.is_some() => fs::remove_file(&path).unwrap(),
            false => {}
        }
        for part in 0..3 {
            let name = format!("after-{n}-{part}");
            drop_file(&place, &name);
            place.wait_for(&format!("work goes on without `{folder}`"), |place| is_out(place, &name));
            pause(500);
        }
        // Those that are not needed at once are made when they are.
        let later = ["recent", "content/tmp"].contains(&folder) || folder.starts_with("scratch/");
        place.wait_for(&format!("`{folder}` is there again"), |_| later || path.symlink_metadata().is_ok());
        if path.is_dir() {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o077, 0, "{folder}");
        }
    }
    // By the socket that was made again, and under the lock that was.
    place.wait_for("it answers", |place| place.run(&["flows", "list"]).status.success());
    assert_eq!(place.path("data/opendmp.sock").symlink_metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let second = place.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(!second.status.success() && String::from_utf8_lossy(&second.stderr).contains("in use"));
    assert!(place.json(&["dead-letters", "list"]).is_empty());
    place.wait_for("all is well", |place| status(place)["status"] == "ok");
    place.stop();
    assert!(!place.path("data/opendmp.sock").exists());
    // What was exported is stored, too.
    assert_eq!(place.datasets().len(), 1 + 9 * 3);
    place.ok(&["verify"]);
}

/// A server with a flow, through which one file went already.
fn at_work() -> Place {
    let mut place = Place::new();
    place.write_flow(&flow("after: delete", "", SAME));
    place.ok(&["flows", "enable", "flow.yaml"]);
    place.start_and_wait();
    drop_file(&place, "first");
    place.wait_for("the first one is through", |place| is_out(place, "first"));
    place
}

#[test]
fn content_that_is_removed_is_told_and_new_results_are_kept() {
    let mut place = at_work();
    // Its pack is not written any more: what is open can be written anew.
    place.stop();
    place.start_and_wait();
    for folder in ["content/packs", "content/files"] {
        fs::remove_dir_all(place.path("data").join(folder)).unwrap();
        let name = format!("after-{}", folder.replace('/', "-"));
        drop_file(&place, &name);
        place.wait_for("work goes on", |place| is_out(place, &name));
        place.wait_for("it is reported", |place| {
            let issues = status(place)["troubles"].to_string();
            // Nothing large was stored before.
            folder == "content/files" || issues.contains(&format!("{folder} was removed or moved away"))
        });
    }
    place.stop();
    for name in ["after-content-packs", "after-content-files"] {
        let out = place.path("copy");
        place.ok(&["datasets", "get", name, "--output", &out.display().to_string()]);
        assert_eq!(fs::read(&out).unwrap(), format!("{name}!").into_bytes());
        fs::remove_file(out).unwrap();
    }
}

#[test]
fn a_data_directory_that_is_moved_away_is_told() {
    let mut place = Place::new();
    place.start_and_wait();
    let (data, moved) = (place.path("data"), place.path("moved"));
    fs::rename(&data, &moved).unwrap();
    place.wait_for("it is told", |place| log(place).contains("was moved or removed while the server runs"));
    assert!(!data.exists(), "nothing is made in its place");
    fs::rename(&moved, &data).unwrap();
    place.wait_for("all is well", |place| status(place)["status"] == "ok");
    place.stop();
}

#[test]
fn nothing_is_made_or_taken_while_the_data_directory_is_away() {
    let mut place = at_work();
    let (data, moved, inbox) = (place.path("data"), place.path("moved"), place.path("inbox"));
    // Python compiles the worker's program aside while the first worker starts, and would make the folder for that.
    place.wait_for("it is compiled", |place| {
        let found = Command::new("find").arg(place.path("data/scratch")).args(["-name", "*.pyc"]).output().unwrap();
        !found.stdout.is_empty()
    });
    pause(1_500);
    fs::rename(&data, &moved).unwrap();
    drop_file(&place, "same-inbox");
    pause(1_500);
    assert!(files(&inbox).keys().eq(["same-inbox"]), "nothing is set aside");
    fs::rename(&inbox, place.path("inbox.old")).unwrap();
    fs::rename(place.path("outbox"), place.path("outbox.old")).unwrap();
    fs::create_dir(&inbox).unwrap();
    drop_file(&place, "new-inbox");
    pause(4_000);
    let made = Command::new("find").arg(&data).output().unwrap();
    assert!(!data.exists(), "made in its place: {}", String::from_utf8_lossy(&made.stdout));
    assert!(files(&inbox).keys().eq(["new-inbox"]), "nothing is set aside");
    // As `mv` does: had anything been made, it would come to lie in that.
    fs::rename(&moved, &data).unwrap();
    place.wait_for("work goes on", |place| is_out(place, "new-inbox"));
    place.wait_for("all is well", |place| status(place)["status"] == "ok");
    place.kill();
    place.start_and_wait();
    drop_file(&place, "last");
    place.wait_for("work goes on", |place| is_out(place, "last"));
    place.stop();
}

#[test]
fn rights_that_were_taken_away_are_told_where_they_are_missing() {
    let mut place = Place::new();
    place.write_flow(&flow("after: delete", "", SAME));
    // Root has all rights.
    let (mut around, mut chown) = (Vec::new(), String::new());
    if nix::unistd::geteuid().is_root() {
        let copy = place.path("opendmp");
        fs::copy(env!("CARGO_BIN_EXE_opendmp"), &copy).unwrap();
        chown = format!("chown -R 65534:65534 {}", place.path("").display());
        around = vec!["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    }
    place.ok(&["flows", "enable", "flow.yaml"]);
    assert!(chown.is_empty() || Command::new("sh").args(["-c", &chown]).status().unwrap().success());
    let program = place.path(if around.is_empty() { "." } else { "opendmp" });
    let mut serve = place.command(&["serve", "--listen", "127.0.0.1:0"]);
    if let Some((first, rest)) = around.split_first() {
        let plain = place.command(&["serve", "--listen", "127.0.0.1:0"]);
        serve = Command::new(first);
        serve.args(rest).arg(program).args(plain.get_args()).current_dir(place.path("")).env("HOME", place.path(""));
    }
    place.start_command(serve);
    place.wait_for("the server answers", |place| status(place)["status"] == "ok");
    drop_file(&place, "first");
    place.wait_for("the first one is through", |place| is_out(place, "first"));
    let (data, inbox) = (place.path("data"), place.path("inbox").display().to_string());
    let mode = |folder: &Path, mode| fs::set_permissions(folder, Permissions::from_mode(mode)).unwrap();

    mode(&data.join("content"), 0);
    drop_file(&place, "second");
    place.wait_for("it is told", |place| issue(place, "stored content").is_some());
    let told = issue(&place, "stored content").unwrap();
    let message = told["message"].as_str().unwrap();
    assert!(message.contains("/content can't be used") && !message.contains("missing"), "{told}");
    assert!(told["hint"].as_str().unwrap().contains("chmod u+rwx"), "{told}");
    mode(&data.join("content"), 0o700);
    place.wait_for("work goes on", |place| is_out(place, "second"));
    place.wait_for("all is well", |place| status(place)["status"] == "ok");

    // Of the directory itself, which can be entered by root only.
    mode(&data, 0);
    fs::rename(place.path("inbox"), place.path("inbox.old")).unwrap();
    fs::create_dir(place.path("inbox")).unwrap();
    let old = place.path("outbox");
    fs::rename(&old, place.path("outbox.old")).unwrap();
    place.wait_for("it is told", |place| log(place).contains("data can't be used"));
    pause(3_000);
    let text = log(&place);
    let blamed = format!("opening `{inbox}`");
    assert!(!text.contains(&blamed) && text.contains("chmod u+rwx"), "{text}");
    mode(&data, 0o700);
    place.wait_for("all is well", |place| status(place)["status"] == "ok");
    place.kill();
}

#[test]
fn exports_and_what_is_let_go_are_told_by_the_name_of_their_flow() {
    let mut place = Place::new();
    place.write_flow(&flow("after: move, to: ./done", "", SAME));
    // Links that lead nowhere but to themselves.
    for name in ["outbox", "done"] {
        std::os::unix::fs::symlink(name, place.path(name)).unwrap();
    }
    place.ok(&["flows", "enable", "flow.yaml"]);
    place.start_and_wait();
    drop_file(&place, "a");
    for about in ["flow torture, step results: export", "flow torture, ingest inbox: deleting or moving"] {
        place.wait_for(&format!("{about} is told"), |place| issue(place, about).is_some());
        assert!(issue(&place, about).unwrap()["hint"].is_string());
    }
    let all = status(&place)["troubles"].to_string();
    assert!(!all.contains("of flow 1"), "{all}");
    for name in ["outbox", "done"] {
        fs::remove_file(place.path(name)).unwrap();
    }
    place.wait_for("it is written", |place| is_out(place, "a"));
    place.wait_for("all is well", |place| status(place)["status"] == "ok");
    assert!(files(&place.path("done")).keys().eq(["a"]));
    place.stop();
}

/// Starts a server in a shell with `setup` before it, and answers its output when it has ended, or has got ready.
fn serve_with(place: &mut Place, setup: &str) -> Option<String> {
    place.start_by(setup, &[]);
    place.wait_for_or_end("it is ready or ends", |place| {
        std::os::unix::net::UnixStream::connect(place.path("data/opendmp.sock")).is_ok()
    });
    place.has_ended().then(|| log(place))
}

#[test]
fn too_few_descriptors_are_refused_at_the_start() {
    for limit in [32, 64] {
        let mut place = Place::new();
        place.write_flow(&flow("after: delete", "", SAME));
        place.ok(&["flows", "enable", "flow.yaml"]);
        for n in 0..300 {
            drop_file(&place, &format!("file-{n}"));
        }
        let told = serve_with(&mut place, &format!("ulimit -n {limit}")).expect("it refuses");
        assert!(told.contains(&format!("only {limit} files can be open at once")), "{told}");
        assert!(told.contains("ulimit -n 1024") && told.contains("LimitNOFILE="), "{told}");
        let run = place.shell(&format!("ulimit -n {limit}"), &["run", "flow.yaml"]);
        assert!(!run.status.success() && String::from_utf8_lossy(&run.stderr).contains("ulimit -n 1024"));
        let doctor = place.shell(&format!("ulimit -n {limit}"), &["doctor"]);
        assert!(String::from_utf8_lossy(&doctor.stdout).contains("LimitNOFILE="), "{doctor:?}");
        assert_eq!(files(&place.path("inbox")).len(), 300, "nothing was taken");
        // The soft limit is raised by itself; with enough, each is written once.
        assert_eq!(serve_with(&mut place, &format!("ulimit -Sn {limit}")), None);
        place.wait_for("all are through", |place| files(&place.path("outbox")).len() >= 300);
        place.settle_down();
        assert_eq!(files(&place.path("outbox")).len(), 300);
        place.kill();
    }
}

#[test]
fn few_descriptors_and_little_address_space_are_told() {
    let mut place = Place::new();
    place.write_flow(&flow("after: delete", "", SAME));
    place.ok(&["flows", "enable", "flow.yaml"]);
    for n in 0..300 {
        drop_file(&place, &format!("file-{n}"));
    }
    assert_eq!(serve_with(&mut place, "ulimit -n 256; ulimit -v 6000000"), None);
    for about in ["open files", "address space"] {
        let told = issue(&place, about).unwrap_or_else(|| panic!("{about} is told"));
        assert!(told["hint"].as_str().unwrap().contains("ulimit"), "{told}");
    }
    place.wait_for("all are through", |place| files(&place.path("outbox")).len() >= 300);
    place.settle_down();
    assert_eq!(files(&place.path("outbox")).len(), 300, "none is written twice");
    assert!(place.json(&["dead-letters", "list"]).is_empty());
    place.kill();
    let told = serve_with(&mut place, "ulimit -v 1500000").expect("it refuses");
    assert!(told.contains("address space") && told.contains("LimitAS="), "{told}");
}

#[test]
fn where_no_folder_can_be_watched_all_are_scanned_and_it_is_told() {
    let mut place = Place::new();
    place.write_flow(&flow("after: delete", "", SAME));
    place.ok(&["flows", "enable", "flow.yaml"]);
    for (limit, about) in [("instances", "watcher"), ("watches", "flow torture, ingest inbox, watcher")] {
        // A limit of a user namespace of its own.
        let number = if limit == "instances" { 0 } else { 1 };
        let limits = format!("echo {number} > /proc/sys/user/max_inotify_{limit} || exit 9");
        place.start_by(&limits, &["unshare", "--user", "--map-root-user"]);
        place.wait_for("it is told", |place| issue(place, about).is_some());
        let told = issue(&place, about).unwrap();
        assert!(told["hint"].as_str().unwrap().contains("max_user_watches"), "{told}");
        assert_eq!(status(&place)["status"], "degraded");
        drop_file(&place, limit);
        place.wait_for("it is found all the same", |place| is_out(place, limit));
        place.stop();
    }
}

#[test]
fn a_closed_terminal_stops_with_grace() {
    let slow = "import time\ndef process(data: bytes) -> bytes:\n    time.sleep(1.5)\n    return data + b'!'\n";
    let mut place = Place::new();
    place.write_flow(&flow("after: delete", "", slow));
    place.ok(&["flows", "enable", "flow.yaml"]);
    place.start_and_wait();
    drop_file(&place, "a");
    place.wait_for("it is in work", |place| status(place)["in_work"] == 1);
    send(&place, Signal::SIGHUP);
    assert_eq!(place.ended(), None, "by itself, not killed by the signal");
    assert!(log(&place).contains("SIGHUP") && log(&place).contains("stopped"), "{}", log(&place));
    assert!(is_out(&place, "a") || place.path("data").join("journal.db").exists());
    place.start_and_wait();
    place.wait_for("nothing is lost", |place| is_out(place, "a"));
    place.stop();

    // Ignored from the beginning, as under `nohup`, it stays so.
    assert_eq!(serve_with(&mut place, "trap '' HUP"), None);
    send(&place, Signal::SIGHUP);
    drop_file(&place, "b");
    place.wait_for("it goes on", |place| is_out(place, "b"));
    place.stop();

    // A run finishes what is in work; what it would say has no reader any more.
    drop_file(&place, "c");
    place.ok(&["flows", "disable", "torture"]);
    let mut run = place.command(&["run", "flow.yaml"]);
    let mut run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    place.wait_for("it is in work", |place| files(&place.path("inbox")).is_empty());
    drop((run.stdout.take(), run.stderr.take()));
    kill(Pid::from_raw(run.id() as i32), Signal::SIGHUP).unwrap();
    let ended = run.wait().unwrap();
    assert!(ended.code().is_some(), "{ended}");
    place.ok(&["run", "flow.yaml"]);
    assert!(is_out(&place, "c"));
}

#[test]
fn a_server_whose_output_nobody_reads_goes_on() {
    let mut place = Place::new();
    place.write_flow(&flow("after: delete", "", SAME));
    place.ok(&["flows", "enable", "flow.yaml"]);
    let mut serve = place.command(&["serve", "--listen", "127.0.0.1:0"]);
    serve.env("OPENDMP_LOG", "debug").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = serve.spawn().unwrap();
    drop((server.stdout.take(), server.stderr.take()));
    for n in 0..20 {
        let name = format!("file-{n}");
        drop_file(&place, &name);
        place.wait_for("work goes on", |place| is_out(place, &name));
    }
    kill(Pid::from_raw(server.id() as i32), Signal::SIGPIPE).unwrap();
    drop_file(&place, "last");
    place.wait_for("work goes on", |place| is_out(place, "last"));
    kill(Pid::from_raw(server.id() as i32), Signal::SIGTERM).unwrap();
    assert!(server.wait().unwrap().success());
}

/// All that has rights for others, below a folder.
fn open_to_others(folder: &Path, out: &mut BTreeMap<PathBuf, u32>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let about = path.symlink_metadata().unwrap();
        let mode = about.permissions().mode() & 0o7777;
        if !about.is_symlink() && mode & 0o077 != 0 {
            out.insert(path.clone(), mode);
        }
        // What scripts write where they work has the rights that they give it; nobody else gets there.
        if about.is_dir() && !path.ends_with("data/scratch") {
            open_to_others(&path, out);
        }
    }
}

#[test]
fn a_data_directory_is_its_owners_alone_whatever_the_umask() {
    let mut place = Place::new();
    let split = "def process(item: Item):\n    open('left', 'w').write('x')\n    yield item.with_(item.bytes() * 300_000, name='large')\n    yield item.with_(item.bytes() + b'!', name=item.name)\n";
    place.write_flow(&flow("after: delete", "", split));
    let data = place.path("data");
    // There before, and open to everybody.
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, Permissions::from_mode(0o777)).unwrap();
    let enabled = place.shell("umask 000", &["flows", "enable", "flow.yaml"]);
    assert!(enabled.status.success(), "{enabled:?}");
    drop_file(&place, "before");
    assert_eq!(serve_with(&mut place, "umask 000"), None);
    place.wait_for("it is through", |place| is_out(place, "before"));
    let uploaded = Command::new("curl")
        .args(["--silent", "--fail", "--data-binary", "text", "--unix-socket"])
        .arg(place.path("data/opendmp.sock"))
        .arg("http://localhost/api/v1/uploads?name=a.txt")
        .output()
        .unwrap();
    assert!(uploaded.status.success(), "{uploaded:?}");
    let backup = place.path("backup");
    let backed_up = place.shell("umask 000", &["backup", &backup.display().to_string()]);
    assert!(backed_up.status.success(), "{backed_up:?}");
    place.ok(&["datasets", "list", "--search", "before"]);
    let mut open = BTreeMap::new();
    for folder in [&data, &backup] {
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o077, 0, "{}", folder.display());
        open_to_others(folder, &mut open);
    }
    assert!(open.is_empty(), "{open:#?}");
    // What is written for others has the rights that the umask gives.
    assert_eq!(place.path("outbox/before").metadata().unwrap().permissions().mode() & 0o777, 0o666);
    place.stop();
    // Opened again later, by whoever: closed with the next command.
    fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(data.join("access-token"), Permissions::from_mode(0o644)).unwrap();
    place.ok(&["flows", "list"]);
    assert_eq!(data.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(data.join("access-token").metadata().unwrap().permissions().mode() & 0o777, 0o600);
}
