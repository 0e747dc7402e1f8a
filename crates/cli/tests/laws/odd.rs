//! Odd input on the real binary: names, files still being written, missing rights, a full disk. A clear error, nothing
//! lost, and work that goes on when it can. Law L5 too: a dataset says how it came to be.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::harness::{Place, files, hash, pause};

fn flow(source: &str, code: &str) -> String {
    let code: String = code.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "name: Torture\nprocessors:\n\
         - {{ id: inbox, type: ingest, source: {{ type: file_drop, path: ./inbox, {source} }} }}\n\
         - id: work\n  type: script\n  inputs: [inbox]\n  on_error: {{ retries: 0 }}\n  code: |\n{code}\
         - {{ id: shelf, type: collect, inputs: [work], collection: Torture, destination: {{ type: folder, path: ./outbox }} }}\n"
    )
}

const SAME: &str = "def process(data: bytes) -> bytes:\n    return data + b'!'\n";

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn l1_odd_names_and_empty_files_come_through() {
    for after in ["keep", "delete"] {
        let place = Place::new();
        place.write_flow(&flow(&format!("settle: 0s, after: {after}"), SAME));
        let long = [b'n'; 255];
        let names: [&[u8]; 10] = [
            b"plain.txt",
            b"with space.txt",
            b"quotes '\"`$(x).txt",
            b"new\nline.txt",
            b"-rf",
            b"caf\xe9.txt",
            "größe 日本.txt".as_bytes(),
            b"back\\xe9slash.txt",
            &long,
            b"~",
        ];
        for (n, name) in names.iter().enumerate() {
            let content = if n == 0 { Vec::new() } else { format!("content {n}").into_bytes() };
            std::fs::write(place.path("inbox").join(OsStr::from_bytes(name)), content).unwrap();
        }
        place.ok(&["run", "flow.yaml"]);
        assert_eq!(place.datasets().len(), names.len());
        for (n, name) in names.iter().enumerate() {
            let expected = if n == 0 { "!".to_owned() } else { format!("content {n}!") };
            let found = std::fs::read(place.path("outbox").join(OsStr::from_bytes(name)));
            assert_eq!(found.unwrap(), expected.as_bytes(), "{}", String::from_utf8_lossy(name));
        }
        assert_eq!(files(&place.path("inbox")).is_empty(), after == "delete");
    }
}

#[test]
fn a_file_that_is_still_written_is_taken_when_it_is_whole() {
    for after in ["keep", "delete"] {
        let place = Place::new();
        place.write_flow(&flow(&format!("settle: 600ms, after: {after}"), SAME));
        let path = place.path("inbox/slow.txt");
        let mut whole = Vec::new();
        let mut file = std::fs::File::create(&path).unwrap();
        let writer = std::thread::spawn(move || {
            use std::io::Write;
            for n in 0..20 {
                let part = format!("part {n}\n");
                file.write_all(part.as_bytes()).unwrap();
                whole.extend(part.into_bytes());
                pause(60);
            }
            whole
        });
        place.ok(&["run", "flow.yaml"]);
        let whole = writer.join().unwrap();
        let datasets = place.datasets();
        assert_eq!(datasets["slow.txt"]["hash"], hash(&[&whole[..], b"!"].concat()).as_str(), "{after}");
        assert_eq!(datasets["slow.txt"]["revision"], 1, "{after}");
    }
}

/// Runs as a user without special rights, so that missing rights are missing. Root has all.
fn nobodys(place: &Place, arguments: &[&str]) -> Command {
    let mut command = place.command(arguments);
    command.env("HOME", place.root.path());
    if nix::unistd::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    command
}

fn as_nobody(place: &Place, arguments: &[&str]) -> Output {
    nobodys(place, arguments).output().unwrap()
}

fn give_to_nobody(place: &Place) {
    let own = |path: &Path| {
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
        }
    };
    own(place.root.path());
    for entry in std::fs::read_dir(place.root.path()).unwrap() {
        own(&entry.unwrap().path());
    }
    for entry in std::fs::read_dir(place.path("inbox")).unwrap() {
        own(&entry.unwrap().path());
    }
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn missing_rights_are_told_and_nothing_is_lost() {
    let place = Place::new();
    place.write_flow(&flow("settle: 0s", SAME));
    for name in ["good.txt", "secret.txt"] {
        std::fs::write(place.path("inbox").join(name), name).unwrap();
    }
    std::fs::create_dir(place.path("outbox")).unwrap();
    give_to_nobody(&place);

    mode(&place.path("inbox"), 0o000);
    let output = as_nobody(&place, &["run", "flow.yaml"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("inbox") && text(&output).contains("hint"), "{}", text(&output));
    mode(&place.path("inbox"), 0o755);

    // One file can't be read: the other is taken, and this one is told of.
    mode(&place.path("inbox/secret.txt"), 0o000);
    let output = as_nobody(&place, &["run", "flow.yaml"]);
    assert!(text(&output).contains("secret.txt"), "{}", text(&output));
    assert_eq!(files(&place.path("outbox")).keys().collect::<Vec<_>>(), ["good.txt"]);

    // The outbox can't be written to: that is reported, and the export waits until it can.
    mode(&place.path("inbox/secret.txt"), 0o644);
    mode(&place.path("outbox"), 0o555);
    let mut running = nobodys(&place, &["run", "flow.yaml"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    let mut lines = BufReader::new(running.stderr.take().unwrap()).lines();
    while !said.contains("the right to write there") {
        said += &lines.next().unwrap_or_else(|| panic!("it ended: {said}")).unwrap();
    }
    mode(&place.path("outbox"), 0o755);
    lines.for_each(drop);
    assert_eq!(running.wait().unwrap().code(), Some(0));
    assert_eq!(files(&place.path("outbox"))["secret.txt"], b"secret.txt!");
    let letters = as_nobody(&place, &["dead-letters", "list", "--format", "json"]);
    assert_eq!(text(&letters).trim(), "[]");
}

/// A small disk of its own for the data directory.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(path: &'a Path, size: &str) -> Self {
        std::fs::create_dir_all(path).unwrap();
        Self::do_mount(path, &["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "opendmp-test"]);
        Self(path)
    }

    fn grow(&self, size: &str) {
        Self::do_mount(self.0, &["-o", &format!("remount,size={size}")]);
    }

    fn do_mount(path: &Path, arguments: &[&str]) {
        let output = Command::new("mount").args(arguments).arg(path).output().unwrap();
        assert!(output.status.success(), "a disk that can be filled needs root: {}", text(&output));
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn l1_a_full_disk_is_told_and_work_goes_on_when_there_is_room() {
    // With the reserve, nothing is taken in any more; without, writes fail in the middle.
    for reserve in ["1MiB", "0B"] {
        let mut place = Place::new();
        let data = place.path("data");
        place.write_flow(&flow("settle: 0s, after: delete", SAME));
        let disk = SmallDisk::mount(&data, "20m");
        place.ok(&["flows", "enable", "flow.yaml"]);
        let mut contents = std::collections::BTreeMap::new();
        let mut rng = crate::harness::Rng(7);
        for n in 0..120 {
            let content: Vec<u8> = (0..40_000).flat_map(|_| rng.next().to_le_bytes()).collect();
            let name = format!("file-{n:03}");
            std::fs::write(place.path("inbox").join(&name), &content).unwrap();
            contents.insert(name, content);
        }
        place.start(&[("OPENDMP_RESERVE", reserve)]);
        place.wait_for("the full disk is told", |place| {
            let log = std::fs::read_to_string(place.path("server.log")).unwrap_or_default();
            log.contains("make room on that disk")
        });
        // Killed in the middle of it, too.
        place.kill();
        // Not a byte is left: the server waits for room before it can begin, or, where what it has lets it begin, before it
        // takes anything in. Either is told anew.
        let mut filler = std::fs::File::create(data.join("filler")).unwrap();
        while std::io::Write::write(&mut filler, &[0; 512]).is_ok() {}
        let before = std::fs::read_to_string(place.path("server.log")).unwrap().len();
        place.start(&[("OPENDMP_RESERVE", reserve)]);
        place.wait_for("it is told that it waits", |place| {
            let log = std::fs::read_to_string(place.path("server.log")).unwrap_or_default();
            let told = log.get(before..).unwrap_or_default();
            told.contains("the server begins by itself then") || told.contains("make room on that disk")
        });
        disk.grow("400m");
        place.wait_for("the server answers", |place| {
            std::os::unix::net::UnixStream::connect(place.path("data/opendmp.sock")).is_ok()
        });
        place.settle_down();
        let (datasets, exports) = (place.datasets(), files(&place.path("outbox")));
        assert_eq!((datasets.len(), exports.len()), (contents.len(), contents.len()), "reserve {reserve}");
        for (name, content) in &contents {
            let expected = hash(&[content, &b"!"[..]].concat());
            assert_eq!(datasets[name]["hash"], expected.as_str());
            assert_eq!(hash(&exports[name]), expected);
        }
        assert!(place.json(&["dead-letters", "list"]).is_empty());
        place.kill();
        drop(disk);
    }
}

#[test]
fn l5_a_dataset_says_how_it_came_to_be_and_can_be_made_again() {
    let histories: Vec<serde_json::Value> = (0..2)
        .map(|_| {
            let place = Place::new();
            place.write_flow(&flow(
                "settle: 0s",
                "def process(item: Item) -> bytes:\n    print('seen', item.name)\n    return item.bytes()[::-1]\n",
            ));
            std::fs::write(place.path("inbox/a.txt"), "abc").unwrap();
            place.ok(&["run", "flow.yaml"]);
            let output = place.ok(&["datasets", "history", "a.txt", "--format", "json"]);
            serde_json::from_str(&output).unwrap()
        })
        .collect();
    let [one, two] = &histories[..] else { unreachable!() };
    assert_eq!(one["origin"]["hash"], hash(b"abc").as_str());
    assert_eq!(one["dataset"]["hash"], hash(b"cba").as_str());
    let steps = one["steps"].as_array().unwrap();
    let processors: Vec<&str> = steps.iter().map(|step| step["processor"].as_str().unwrap()).collect();
    assert_eq!(processors, ["inbox", "work", "shelf"]);
    for step in steps {
        for field in ["version", "config", "worker", "opendmp", "started", "committed", "hash"] {
            assert!(step[field].as_str().is_some_and(|text| !text.is_empty()), "{field} of {step}");
        }
    }
    assert!(steps[1]["environment"].as_str().is_some_and(|text| text.starts_with("Python 3.")), "{}", steps[1]);
    assert_eq!(steps[1]["log"][0]["text"], "seen a.txt");
    // Done again elsewhere from the same flow and bytes, each step gives the same.
    for (a, b) in steps.iter().zip(two["steps"].as_array().unwrap()) {
        for field in ["processor", "kind", "version", "config", "hash"] {
            assert_eq!(a[field], b[field], "{field}");
        }
    }
}
