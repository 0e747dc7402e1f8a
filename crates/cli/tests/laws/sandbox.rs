//! Law L6 where scripts and commands have bad intent: what they try against the server, its data and its folders, as
//! root and as a plain user, with namespaces and without.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Place, files};
use crate::mounts::{bind, in_own_mounts, mount, share_mounts, unmount};

/// Each must fail. `DATA`, `BASE` and `SERVER` stand for the data directory, the folder of the flow, and the server's
/// process.
const ATTACKS: [&str; 16] = [
    "cat DATA/access-token",
    "cat DATA/journal.db > stolen && test -s stolen",
    "ls DATA/content/packs DATA/journal.db",
    "echo x >> DATA/journal.db && test $(stat -c %s DATA/journal.db) -gt 2",
    "rm -rf DATA/content/packs && test ! -e BASE/inbox",
    "mv BASE/inbox BASE/inbox2 && ln -s /etc BASE/inbox",
    "echo x > BASE/outbox/forged",
    "rm BASE/flow.yaml",
    "cat DATA/scratch/*/*/tmp/secret",
    "kill -9 SERVER",
    "kill -STOP SERVER",
    "prlimit --pid SERVER --nofile=10:10",
    "renice -n 19 -p SERVER",
    "echo 1000 > /proc/SERVER/oom_score_adj",
    "cat /proc/SERVER/environ > stolen && test -s stolen",
    "ls /proc/SERVER/fd/0",
];

/// The same, which only namespaces prevent.
const ATTACKS_ON_MODES: [&str; 4] = [
    "chmod 000 DATA && test ! -r DATA/journal.db",
    "chmod 777 BASE/inbox",
    "touch -d 2001-01-01 BASE/flow.yaml",
    "chmod u+w /proc/self/fd/0 < BASE/flow.yaml",
];

const FLOW: &str = r#"
name: Attacks
processors:
  - id: inbox
    type: ingest
    source: { type: file_drop, path: ./inbox, pattern: "*.sh", settle: 0s }
  - id: by_script
    type: script
    inputs: [inbox]
    code: |
      import subprocess
      def process(item: Item):
          open("secret", "w").write("of another step")
          line = item.text()
          ended = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
          return item.with_(f"{ended.returncode} {line}: {ended.stdout[:200]}{ended.stderr[:200]}", name=f"{item.stem}.script")
  - id: by_command
    type: external
    inputs: [inbox]
    command: [sh, -c, "sh -c \"$(cat)\" > out.log 2>&1; echo $? $(head -c 200 out.log)"]
    name: "{stem}.command"
  - id: results
    type: collect
    inputs: [by_script, by_command]
    collection: Attacks
    destination: { type: folder, path: ./outbox }
"#;

/// A bind mount shows the data directory under another path.
#[test]
fn l6_the_data_directory_is_hidden_wherever_it_is_mounted() {
    in_own_mounts(|| {
        for namespaces in [true, false] {
            let mut place = Place::new();
            place.write_flow(FLOW);
            fs::create_dir(place.path("outbox")).unwrap();
            place.ok(&["flows", "enable", "flow.yaml"]);
            for (folder, at) in [("data", "alias"), ("data/content", "part"), ("", "whole")] {
                fs::create_dir(place.path(at)).unwrap();
                bind(&place.path(folder), &place.path(at));
            }
            let off: &[(&str, &str)] = if namespaces { &[] } else { &[("OPENDMP_NAMESPACES", "off")] };
            place.start(off);
            place.wait_for("there is a token", |place| place.path("data/access-token").exists());
            let base = place.path("").display().to_string();
            let attacks = [
                "cat BASE/alias/access-token",
                "cat BASE/whole/data/access-token",
                "ls BASE/part/packs BASE/part/format",
                "cat BASE/whole/data/journal.db > stolen && test -s stolen",
            ];
            for (n, attack) in attacks.iter().enumerate() {
                fs::write(place.path(".next"), attack.replace("BASE/", &base)).unwrap();
                fs::rename(place.path(".next"), place.path(&format!("inbox/{n:02}.sh"))).unwrap();
            }
            place.wait_for("all was tried", |place| files(&place.path("outbox")).len() == 2 * attacks.len());
            for (name, content) in files(&place.path("outbox")) {
                let said = String::from_utf8_lossy(&content);
                assert!(!said.starts_with("0 "), "{name} (namespaces {namespaces}) succeeded: {said}");
            }
            place.stop();
        }
    });
}

fn attack(user: Option<u32>, namespaces: bool) {
    let mut place = Place::new();
    place.write_flow(FLOW);
    fs::create_dir(place.path("outbox")).unwrap();
    let program = env!("CARGO_BIN_EXE_opendmp");
    let mut prefix = Vec::new();
    if let Some(user) = user {
        for path in [place.path(""), place.path("inbox"), place.path("outbox"), place.path("flow.yaml")] {
            chown(&path, Some(user), Some(user)).unwrap();
        }
        prefix = vec![
            "setpriv".to_owned(),
            format!("--reuid={user}"),
            format!("--regid={user}"),
            "--clear-groups".to_owned(),
        ];
    }
    // A plain user may not be able to reach the build's folder.
    let copy = place.path("opendmp");
    if user.is_some() {
        fs::copy(program, &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let root = place.path("");
    let opendmp = |arguments: &[&str]| {
        let program: &Path = if user.is_some() { &copy } else { Path::new(program) };
        let mut command = match prefix.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.arg("--data-dir").arg(root.join("data")).args(arguments).current_dir(&root);
        command.env("HOME", &root).env("PATH", "/usr/local/bin:/usr/bin:/bin").env_remove("OPENDMP_DATA_DIR");
        if !namespaces {
            command.env("OPENDMP_NAMESPACES", "off");
        }
        command
    };
    let enabled = opendmp(&["flows", "enable", "flow.yaml"]).output().unwrap();
    assert!(enabled.status.success(), "{}", String::from_utf8_lossy(&enabled.stderr));
    let mut serve = opendmp(&["serve", "--listen", "127.0.0.1:0"]);
    serve.process_group(0);
    place.start_command(serve);
    let server = place.pid();
    place.wait_for("the server answers", |place| {
        std::os::unix::net::UnixStream::connect(place.path("data/opendmp.sock")).is_ok()
    });
    let state = |place: &Place| -> Vec<(PathBuf, u32, u64, i64)> {
        let watched = ["data", "data/journal.db", "data/access-token", "inbox", "flow.yaml"];
        let seen = watched.map(|name| (name, fs::symlink_metadata(place.path(name)).unwrap()));
        let changed = |name: &str, found: &fs::Metadata| if name == "flow.yaml" { found.mtime() } else { 0 };
        seen.map(|(name, found)| (name.into(), found.mode(), found.ino(), changed(name, &found))).into()
    };
    let before = state(&place);
    let token = fs::read_to_string(place.path("data/access-token")).unwrap();
    let on_modes: &[&str] = if namespaces { &ATTACKS_ON_MODES } else { &[] };
    let attacks: Vec<&str> = ATTACKS.iter().chain(on_modes).copied().collect();
    let (data, base) = (place.path("data").display().to_string(), place.path("").display().to_string());
    for (n, attack) in attacks.iter().enumerate() {
        let line = attack.replace("DATA", &data).replace("BASE/", &base).replace("SERVER", &server.to_string());
        let hidden = place.path(".next");
        fs::write(&hidden, line).unwrap();
        fs::set_permissions(&hidden, fs::Permissions::from_mode(0o644)).unwrap();
        fs::rename(hidden, place.path(&format!("inbox/{n:02}.sh"))).unwrap();
    }
    place.wait_for("all was tried", |place| files(&place.path("outbox")).len() == 2 * attacks.len());
    for (name, content) in files(&place.path("outbox")) {
        let said = String::from_utf8_lossy(&content);
        assert!(!said.starts_with("0 "), "{name} (user {user:?}, namespaces {namespaces}) succeeded: {said}");
        assert!(!said.contains(token.trim()), "{name}: {said}");
    }
    assert_eq!(state(&place), before, "nothing was changed");
    assert_eq!(place.pid(), server);
    let listed = opendmp(&["datasets", "list", "--format", "json"]).output().unwrap();
    assert!(listed.status.success(), "the server still answers: {}", String::from_utf8_lossy(&listed.stderr));
}

/// Nobody's own files are touched by this user.
const NOBODY: u32 = 65_534;

fn plain_user() -> Option<u32> {
    nix::unistd::geteuid().is_root().then_some(NOBODY)
}

#[test]
fn l6_nothing_of_the_server_is_in_reach() {
    attack(None, true);
}

#[test]
fn l6_nothing_of_the_server_is_in_reach_without_namespaces() {
    attack(None, false);
}

#[test]
fn l6_nothing_of_the_server_is_in_reach_as_a_plain_user() {
    attack(plain_user(), true);
}

#[test]
fn l6_nothing_of_the_server_is_in_reach_as_a_plain_user_without_namespaces() {
    attack(plain_user(), false);
}

/// How many processes have an argument with this in it.
fn with_argument(part: &str) -> usize {
    let has = |entry: &fs::DirEntry| {
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains(part)
    };
    fs::read_dir("/proc").unwrap().flatten().filter(has).count()
}

fn nothing_is_left(environment: &[(&str, &str)]) {
    let mut place = Place::new();
    let mark = format!("{}-mark", place.path("").display());
    let line = format!("setsid sh -c 'sleep 600; true' {mark} & sh -c 'sleep 600; true' {mark} & wait");
    place.write_flow(&format!(
        r#"
name: Leaves processes
processors:
  - id: inbox
    type: ingest
    source: {{ type: file_drop, path: ./inbox, settle: 0s }}
  - id: by_script
    type: script
    inputs: [inbox]
    code: |
      import subprocess
      def process(data: bytes):
          subprocess.run(["sh", "-c", {line:?}])
  - id: by_command
    type: external
    inputs: [inbox]
    shell: {line:?}
  - id: results
    type: collect
    inputs: [by_script, by_command]
    collection: C
"#
    ));
    place.ok(&["flows", "enable", "flow.yaml"]);
    place.start(environment);
    fs::write(place.path("inbox/a"), "x").unwrap();
    place.wait_for("both run", |_| with_argument(&mark) >= 6);
    place.kill();
    place.wait_for("nothing is left", |_| with_argument(&mark) == 0);
}

#[test]
fn l6_nothing_is_left_of_a_server_that_was_killed() {
    nothing_is_left(&[]);
}

#[test]
fn l6_nothing_is_left_of_a_server_that_was_killed_without_namespaces() {
    nothing_is_left(&[("OPENDMP_NAMESPACES", "off")]);
}

/// What a command must not reach by putting a link in place of a folder that the server reads and clears afterwards.
fn folders_of_results(environment: &[(&str, &str)]) {
    let mut place = Place::new();
    let (data, victim) = (place.path("data"), place.path("victim"));
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("small"), "of somebody else").unwrap();
    fs::write(victim.join("large"), vec![b'l'; 300 << 10]).unwrap();
    let by_file = r#"[sh, -c, "d=$(dirname \"$1\"); rm -rf \"$d\"; ln -s \"$2\" \"$d\"", sh, "{output}""#;
    let by_folder = r#"[sh, -c, "rmdir \"$1\"; ln -s \"$2\" \"$1\"", sh, "{outputs}""#;
    let steps = [
        ("journal", by_file, &data, "\n    name: journal.db"),
        ("token", by_file, &data, "\n    name: access-token"),
        ("small", by_file, &victim, "\n    name: small"),
        ("large", by_file, &victim, "\n    name: large"),
        ("folder", by_folder, &victim, ""),
    ];
    let mut flow = "name: Links\nprocessors:\n  - id: inbox\n    type: ingest\n    source: { type: file_drop, path: ./inbox, settle: 0s }\n".to_owned();
    for (id, command, target, name) in &steps {
        let target = target.display();
        flow += &format!(
            "  - id: {id}\n    type: external\n    inputs: [inbox]\n    command: {command}, \"{target}\"]{name}\n"
        );
    }
    let ids = steps.map(|(id, ..)| id).join(", ");
    flow += &format!("  - id: results\n    type: collect\n    inputs: [{ids}]\n    collection: Links\n");
    place.write_flow(&flow);
    place.ok(&["flows", "enable", "flow.yaml"]);
    place.start(environment);
    fs::write(place.path("inbox/a"), "x").unwrap();
    let failed = |place: &Place| place.json(&["dead-letters", "list"]);
    place.wait_for("all are dead letters", |place| failed(place).len() == steps.len());
    for letter in failed(&place) {
        assert!(letter.to_string().contains("output-replaced"), "{letter}");
    }
    assert!(place.datasets().is_empty(), "nothing of anybody's became a dataset");
    assert!(data.join("journal.db").exists() && data.join("access-token").exists());
    assert_eq!(files(&victim).values().map(Vec::len).collect::<Vec<_>>(), [300 << 10, 16]);
}

#[test]
fn l6_links_in_place_of_folders_of_results_lead_nowhere() {
    folders_of_results(&[]);
}

#[test]
fn l6_links_in_place_of_folders_of_results_lead_nowhere_without_namespaces() {
    folders_of_results(&[("OPENDMP_NAMESPACES", "off")]);
}

/// The mount points of the processes that a server has started.
fn mounts_of_children(place: &Place) -> String {
    let mut pids = vec![place.pid()];
    let mut next = 0;
    while next < pids.len() {
        let tasks = fs::read_dir(format!("/proc/{}/task", pids[next])).into_iter().flatten().flatten();
        let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        pids.extend(
            children.flat_map(|text| text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>()),
        );
        next += 1;
    }
    assert!(pids.len() > 1, "the launcher, and what it started: {pids:?}");
    pids[1..].iter().filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/mountinfo")).ok()).collect()
}

/// A worker waits for its next item, and a view for the next file, when a disk is unmounted that has nothing to do with
/// them. What is mounted later is seen by the next item and can't be written to.
fn keep_no_disk_busy() {
    let mut place = Place::new();
    let disk = place.path("stick");
    fs::create_dir(&disk).unwrap();
    mount(&disk, 1);
    let code = format!(
        "import os\n\ndef process(data: bytes) -> bytes:\n    there = os.listdir({disk:?})\n    try:\n        open({:?}, 'w')\n    except \
         OSError:\n        there.append('closed')\n    return repr(there).encode()\n",
        disk.join("written")
    );
    fs::write(place.path("look.py"), code).unwrap();
    place.write_flow(
        "name: Stick\nprocessors:\n  - { id: inbox, type: ingest, source: { type: file_drop, path: ./inbox, settle: 0s, after: delete } }\n  \
         - { id: command, type: external, inputs: [inbox], command: [wc, -c] }\n  - { id: script, type: script, inputs: [inbox], file: look.py }\n  \
         - { id: results, type: collect, inputs: [command], collection: C, destination: { type: folder, path: ./counted } }\n  \
         - { id: looked, type: collect, inputs: [script], collection: L, destination: { type: folder, path: ./out } }\n",
    );
    place.ok(&["flows", "enable", "flow.yaml"]);
    place.start_and_wait();
    let put = |name: &str, size: usize| {
        fs::write(place.path(".new"), vec![b'x'; size]).unwrap();
        fs::rename(place.path(".new"), place.path("inbox").join(name)).unwrap();
    };
    // Large, so that the command is given a file.
    put("one", 1 << 20);
    place.wait_for("it was looked", |place| files(&place.path("out")).len() + files(&place.path("counted")).len() == 2);
    let point = format!(" {} ", disk.display());
    assert!(mounts_of_children(&place).contains(&point), "it is seen");
    unmount(&disk);
    place.wait_for("nobody has it", |place| !mounts_of_children(place).contains(&point));
    mount(&disk, 1);
    fs::write(disk.join("new"), "").unwrap();
    fs::write(place.path(".new"), "two").unwrap();
    fs::rename(place.path(".new"), place.path("inbox/two")).unwrap();
    place.wait_for("it was looked again", |place| files(&place.path("out")).len() == 2);
    let seen: Vec<String> = files(&place.path("out")).into_values().map(|it| String::from_utf8(it).unwrap()).collect();
    assert!(seen.contains(&"['closed']".to_owned()) && seen.contains(&"['new', 'closed']".to_owned()), "{seen:?}");
    place.stop();
}

#[test]
fn a_disk_that_is_unmounted_is_kept_busy_by_nobody() {
    in_own_mounts(keep_no_disk_busy);
}

/// Mounts are shared with the namespaces made of them on most machines.
#[test]
fn a_disk_that_is_unmounted_where_mounts_are_shared_is_kept_busy_by_nobody() {
    in_own_mounts(|| {
        share_mounts();
        keep_no_disk_busy();
    });
}
