//! Small disks that fill up: the data directory's, the scratch folder's, an inbox's, an outbox's. Nothing is lost, no item
//! is blamed, the health says which disk it is, and everything goes on by itself when there is room.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;

use crate::harness::{Place, Rng, files, pause};
use crate::mounts::{free, in_own_mounts, mount, mount_for_few, resize};

const MIB: usize = 1 << 20;

/// Bytes that no two files share.
fn content(seed: u64, size: usize) -> Vec<u8> {
    let mut rng = Rng(seed);
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        bytes.extend_from_slice(&rng.next().to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Puts files into the inbox, each by a rename.
fn drop_in(place: &Place, count: usize, size: usize) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for n in 0..count {
        let (name, bytes) = (format!("file-{n}"), content(n as u64 + 1, size));
        let hidden = place.path("inbox").join(".new");
        fs::write(&hidden, &bytes).unwrap();
        fs::rename(&hidden, place.path("inbox").join(&name)).unwrap();
        all.insert(name, bytes);
    }
    all
}

/// A file that leaves so many MiB of its disk.
fn ballast(folder: &Path, leave: u64) {
    let size = free(folder).saturating_sub(leave << 20);
    fs::write(folder.join("ballast"), vec![1; size as usize]).unwrap();
    assert!(free(folder) >> 20 <= leave);
}

/// What the health says is wrong.
fn issues(place: &Place) -> Vec<(String, String)> {
    let mut socket = UnixStream::connect(place.path("data/opendmp.sock")).unwrap();
    socket.write_all(b"GET /healthz HTTP/1.0\r\nhost: local\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let body = answer.split_once("\r\n\r\n").expect("an answer with a body").1;
    let status: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    let text = |issue: &Value, key: &str| issue[key].as_str().unwrap_or_default().to_owned();
    let all = status["troubles"].as_array().unwrap();
    all.iter().map(|issue| (text(issue, "about") + ": " + &text(issue, "message"), text(issue, "hint"))).collect()
}

fn has_issue(place: &Place, words: &str) -> bool {
    issues(place).iter().any(|(issue, hint)| issue.contains(words) && hint.contains("make room"))
}

fn no_dead_letters(place: &Place) {
    let dead = place.json(&["dead-letters", "list"]);
    assert!(dead.is_empty(), "{dead:?}");
}

/// All is exported, as it should be, and nothing waits or is wrong.
fn all_is_well(place: &mut Place, expected: &BTreeMap<String, Vec<u8>>) {
    place.wait_for("everything is exported", |place| {
        let there = files(&place.path("outbox"));
        there.keys().filter(|name| !name.starts_with('.')).count() == expected.len()
    });
    place.wait_for("nothing is wrong any more", |place| issues(place).is_empty());
    let there = files(&place.path("outbox"));
    for (name, bytes) in expected {
        assert!(there.get(name) == Some(bytes), "{name} is not what it should be");
    }
    no_dead_letters(place);
    assert_eq!(place.json(&["datasets", "list"]).len(), expected.len());
}

const COPY: &str = "\
name: Copy
processors:
  - { id: inbox, type: ingest, source: { type: file_drop, path: ./inbox, settle: 0s, after: delete } }
  - id: results
    type: collect
    inputs: [inbox]
    collection: Results
    destination: { type: folder, path: ./outbox }
    on_error: { retries: 0, max_backoff: 1s }
";

#[test]
fn what_lies_there_is_taken_in_down_to_the_reserve_and_no_further() {
    in_own_mounts(|| {
        let mut place = Place::new();
        fs::create_dir(place.path("data")).unwrap();
        mount(&place.path("data"), 200);
        place.write_flow(COPY);
        place.ok(&["flows", "enable", "flow.yaml"]);
        let expected = drop_in(&place, 10, 20 * MIB);
        place.start_and_wait();
        let mut least = u64::MAX;
        place.wait_for("the reserve is told", |place| {
            least = least.min(free(&place.path("data")));
            has_issue(place, "reserve of 64 MiB") && files(&place.path("outbox")).len() >= 5
        });
        for _ in 0..40 {
            least = least.min(free(&place.path("data")));
            pause(25);
        }
        // The journal goes on writing, a little.
        assert!(least >> 20 >= 60, "{} MiB were left free", least >> 20);
        no_dead_letters(&place);
        resize(&place.path("data"), 400);
        all_is_well(&mut place, &expected);
        assert_eq!(files(&place.path("inbox")).len(), 0, "all was let go");
        place.stop();
    });
}

/// One branch for each way in which a step may fill the disk.
const STEPS: &str = "\
name: Steps
processors:
  - { id: inbox, type: ingest, source: { type: file_drop, path: ./inbox, settle: 0s } }
  - id: command
    type: external
    inputs: [inbox]
    shell: 'set -e; head -c 104857600 /dev/zero > big; wc -c < big > \"$OUTPUT\"'
    on_error: { retries: 0, max_backoff: 1s }
  - id: script
    type: script
    inputs: [inbox]
    on_error: { retries: 0, max_backoff: 1s }
    code: |
      import tempfile
      def process(data: bytes) -> bytes:
          with tempfile.TemporaryFile(dir='.') as big:
              for _ in range(100):
                  big.write(bytes(1 << 20))
              return str(big.tell()).encode()
  - id: bomb
    type: decompress
    inputs: [inbox]
    on_error: { retries: 0, max_backoff: 1s }
  - id: one
    type: collect
    inputs: [command]
    collection: Commands
    destination: { type: folder, path: ./outbox, name: command }
  - id: two
    type: collect
    inputs: [script]
    collection: Scripts
    destination: { type: folder, path: ./outbox, name: script }
  - id: three
    type: collect
    inputs: [bomb]
    collection: Bombs
    destination: { type: folder, path: ./outbox, name: bomb }
";

/// A step fails on `disk`, which is mounted in the data directory; `flow` has some branches of [`STEPS`].
fn a_step_is_not_blamed(place: &mut Place, disk: &str, flow: &str, names: &[&str]) {
    fs::create_dir(place.path("data")).unwrap();
    let disk = place.path(disk);
    fs::create_dir_all(&disk).unwrap();
    mount(&disk, 300);
    place.write_flow(flow);
    place.ok(&["flows", "enable", "flow.yaml"]);
    ballast(&disk, 72);
    let zeros = vec![0; 60 * MIB];
    let mut gzip = std::process::Command::new("gzip")
        .stdin(Stdio::piped())
        .stdout(fs::File::create(place.path("inbox/.new")).unwrap())
        .spawn()
        .unwrap();
    gzip.stdin.as_mut().unwrap().write_all(&zeros).unwrap();
    drop(gzip.stdin.take());
    assert!(gzip.wait().unwrap().success());
    fs::rename(place.path("inbox/.new"), place.path("inbox/zeros.gz")).unwrap();
    place.start_and_wait();
    place.wait_for("each step has met the full disk", |place| {
        let runs = place.json(&["runs", "list"]);
        let Some(run) = runs.first() else { return false };
        let shown: Value =
            serde_json::from_str(&place.ok(&["runs", "show", &run["run"].to_string(), "--format", "json"])).unwrap();
        names.iter().all(|name| shown["processors"][name]["retried"].as_u64().unwrap_or_default() >= 1)
    });
    assert!(has_issue(place, "step"), "{:?}", issues(place));
    no_dead_letters(place);
    fs::remove_file(disk.join("ballast")).unwrap();
    let bytes: &[u8] = b"104857600";
    let expected = names.iter().map(|name| {
        let bytes = match *name {
            "bomb" => zeros.clone(),
            "command" => [bytes, b"\n"].concat(),
            _ => bytes.to_vec(),
        };
        ((*name).to_owned(), bytes)
    });
    all_is_well(place, &expected.collect());
    place.stop();
}

/// [`STEPS`] with these branches only.
fn branches(names: &[&str]) -> String {
    let mut flow = String::new();
    for part in STEPS.split_inclusive("\n  - ") {
        let is_of =
            |name: &&str| part.starts_with(&format!("id: {name}\n")) || part.contains(&format!("inputs: [{name}]"));
        let other = ["command", "script", "bomb"].iter().any(|name| is_of(name) && !names.contains(name));
        if !other {
            flow.push_str(part);
        }
    }
    flow.trim_end_matches("- ").to_owned()
}

#[test]
fn a_command_on_a_full_data_disk_is_not_blamed() {
    in_own_mounts(|| a_step_is_not_blamed(&mut Place::new(), "data", &branches(&["command"]), &["command"]));
}

#[test]
fn a_script_on_a_full_data_disk_is_not_blamed() {
    in_own_mounts(|| a_step_is_not_blamed(&mut Place::new(), "data", &branches(&["script"]), &["script"]));
}

#[test]
fn steps_on_a_full_scratch_disk_are_not_blamed() {
    in_own_mounts(|| a_step_is_not_blamed(&mut Place::new(), "data/scratch", STEPS, &["command", "script", "bomb"]));
}

#[test]
fn whoever_fills_the_disk_each_time_is_not_excused_for_ever() {
    in_own_mounts(|| {
        let mut place = Place::new();
        fs::create_dir(place.path("data")).unwrap();
        mount(&place.path("data"), 128);
        place.write_flow(FILLS);
        place.ok(&["flows", "enable", "flow.yaml"]);
        place.start_and_wait();
        drop_in(&place, 2, 10);
        place.wait_for("each has lost its attempts", |place| place.json(&["dead-letters", "list"]).len() == 4);
        for letter in place.json(&["dead-letters", "list"]) {
            let fault = letter["fault"].to_string();
            assert!(fault.contains("fills-the-disk") && fault.contains("larger disk"), "{letter}");
        }
        place.wait_for("nothing is wrong any more", |place| issues(place).is_empty());
        place.stop();
    });
}

const FILLS: &str = "\
name: Fills
processors:
  - { id: inbox, type: ingest, source: { type: file_drop, path: ./inbox, settle: 0s, after: delete } }
  - id: command
    type: external
    inputs: [inbox]
    on_error: { retries: 0, max_backoff: 500ms }
    shell: cat /dev/zero > /tmp/big
  - id: script
    type: script
    inputs: [inbox]
    on_error: { retries: 0, max_backoff: 500ms }
    code: |
      import tempfile
      def process(data: bytes) -> bytes:
          with tempfile.TemporaryFile() as big:
              while True:
                  big.write(bytes(1 << 20))
  - { id: results, type: collect, inputs: [command, script], collection: Results }
";

#[test]
fn what_is_decompressed_stops_at_the_reserve() {
    in_own_mounts(|| {
        let mut place = Place::new();
        let (least, over) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::new(AtomicBool::new(false)));
        let (seen, end, data) = (Arc::clone(&least), Arc::clone(&over), place.path("data"));
        let watcher = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                if data.exists() {
                    seen.fetch_min(free(&data), Ordering::Relaxed);
                }
                pause(2);
            }
        });
        a_step_is_not_blamed(&mut place, "data", &branches(&["bomb"]), &["bomb"]);
        over.store(true, Ordering::Relaxed);
        watcher.join().unwrap();
        let least = least.load(Ordering::Relaxed) >> 20;
        assert!((24..72).contains(&least), "{least} MiB were left free");
    });
}

#[test]
fn exports_wait_for_a_full_outbox() {
    in_own_mounts(|| {
        let mut place = Place::new();
        fs::create_dir(place.path("outbox")).unwrap();
        mount(&place.path("outbox"), 50);
        place.write_flow(COPY);
        place.ok(&["flows", "enable", "flow.yaml"]);
        let expected = drop_in(&place, 5, 15 * MIB);
        place.start_and_wait();
        place.wait_for("the full outbox is told", |place| has_issue(place, "outbox"));
        place.wait_for("everything is taken in", |place| files(&place.path("inbox")).is_empty());
        for _ in 0..20 {
            no_dead_letters(&place);
            pause(50);
        }
        resize(&place.path("outbox"), 200);
        all_is_well(&mut place, &expected);
        place.stop();
    });
}

#[test]
fn an_inbox_without_room_for_another_name_is_told() {
    in_own_mounts(|| {
        let mut place = Place::new();
        mount_for_few(&place.path("inbox"), 50, 8);
        place.write_flow(COPY);
        place.ok(&["flows", "enable", "flow.yaml"]);
        let expected = drop_in(&place, 3, MIB);
        let mut others = Vec::new();
        for n in 0..9 {
            let other = place.path(&format!("inbox/.other-{n}"));
            if fs::write(&other, "").is_ok() {
                others.push(other);
            }
        }
        assert!(!others.is_empty() && others.len() < 9, "{others:?}");
        place.start_and_wait();
        place.wait_for("it is told", |place| !issues(place).is_empty());
        let told = issues(&place);
        assert!(told[0].0.contains("No space left") && !told[0].1.is_empty(), "{told:?}");
        others.iter().for_each(|other| fs::remove_file(other).unwrap());
        all_is_well(&mut place, &expected);
        place.stop();
    });
}

#[test]
fn a_run_says_that_it_waits_for_space() {
    in_own_mounts(|| {
        let place = Place::new();
        fs::create_dir(place.path("data")).unwrap();
        mount(&place.path("data"), 100);
        place.write_flow(&COPY.replace("after: delete", "after: keep"));
        let expected = drop_in(&place, 1, 50 * MIB);
        for input in [&[][..], &["--input", "inbox/file-0"]] {
            let mut arguments = vec!["run", "flow.yaml", "--timeout", "2s"];
            arguments.extend(input);
            let output = place.run(&arguments);
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(4), "{told}");
            assert!(told.contains("waits for space") && told.contains("make room on that disk"), "{told}");
            assert!(free(&place.path("data")) >> 20 >= 64);
        }
        let mut run = place.command(&["run", "flow.yaml", "--timeout", "60s"]);
        let mut run = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        pause(1_500);
        resize(&place.path("data"), 200);
        assert!(run.wait().unwrap().success());
        assert_eq!(files(&place.path("outbox")), expected);
        no_dead_letters(&place);
    });
}
