//! Garbage on the binary: what a finished step left goes, everything that is asked for stays.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::Value;

use crate::place::{Place, until};

/// Two scripts, of which the first has its results stored.
const FLOW: &str = "\
name: Kept
processors:
  - id: inbox
    type: ingest
    source: { type: file_drop, path: ./inbox, settle: 0s, after: delete }
  - id: double
    type: script
    inputs: [inbox]
    checkpoint: true
    code: |
      def process(data: bytes) -> bytes:
          return data + data
  - id: shout
    type: script
    inputs: [double]
    code: |
      def process(data: bytes) -> bytes:
          if b'bad' in data:
              raise ValueError('no')
          return data.upper()
    on_error: { retries: 0 }
  - id: shelf
    type: collect
    inputs: [shout]
    collection: Kept
";

/// Bytes that the disk has given to content.
pub fn taken(content: &Path) -> u64 {
    let (mut sum, mut folders) = (0, vec![content.join("packs"), content.join("files")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => sum += entry.metadata().unwrap().blocks() * 512,
            }
        }
    }
    sum
}

fn drop_files(place: &Place, range: std::ops::Range<usize>) {
    for n in range {
        let length = if n % 20 == 0 { 60_000 } else { 2_000 };
        place.write(&format!(".new-{n}"), format!("file {n}\n").repeat(length));
        fs::rename(place.path(&format!(".new-{n}")), place.path(&format!("inbox/f{n:03}.txt"))).unwrap();
    }
}

fn collected(place: &Place, arguments: &[&str]) -> Value {
    let mut all = vec!["gc", "--format", "json"];
    all.extend(arguments);
    place.run(&all).exits(0).json()
}

#[test]
fn garbage_is_let_go_and_everything_else_stays() {
    let place = Place::new();
    place.write("flow.yaml", FLOW);
    fs::create_dir(place.path("inbox")).unwrap();
    let nothing = place.run(&["gc"]).exits(1);
    assert!(nothing.err.contains("there is no data directory"), "{}", nothing.err);
    place.ok(&["flows", "enable", "flow.yaml"]);
    let server = place.serve(&[]);
    drop_files(&place, 0..60);
    place.write(".bad", "a bad file\n".repeat(3_000));
    fs::rename(place.path(".bad"), place.path("inbox/bad.txt")).unwrap();
    let idle = || place.rows(&["flows", "list"])[0]["outstanding"] == 0;
    until("all is done", || place.rows(&["datasets", "list", "--all"]).len() == 60 && idle());
    until("one is dead", || place.rows(&["dead-letters", "list"]).len() == 1);
    place.ok(&["backup", "backup"]);

    let content = place.data.join("content");
    let before = taken(&content);
    let would = collected(&place, &["--dry-run"]);
    assert!(would["contents"].as_u64().unwrap() >= 60, "the results of the first step: {would}");
    assert_eq!((taken(&content), &would["disk"]), (before, &0.into()), "nothing is freed by asking");
    let freed = place.ok(&["gc"]);
    assert!(freed.starts_with("✓ freed ") && freed.contains("more are free on it"), "{freed}");
    assert!(taken(&content) + would["bytes"].as_u64().unwrap() / 2 < before, "{freed}");
    assert!(place.ok(&["gc"]).contains("there is no garbage"));

    // All that is shown is there; the dead letter can still be retried, and its item goes when it is given up.
    for row in place.rows(&["datasets", "list", "--all"]) {
        let n: usize = row["name"].as_str().unwrap()[1..4].parse().unwrap();
        let length = if n.is_multiple_of(20) { 60_000 } else { 2_000 };
        let text = place.ok(&["datasets", "get", row["id"].as_str().unwrap()]);
        assert_eq!(text, format!("FILE {n}\n").repeat(2 * length));
    }
    place.ok(&["dead-letters", "retry", "--all"]);
    until("it failed again", || place.rows(&["dead-letters", "list"]).len() == 1);
    let during = place.ok(&["verify"]);
    assert!(during.contains("is whole"), "{during}");
    place.ok(&["dead-letters", "discard", "--all", "--yes", "--reason", "bad"]);
    assert!(collected(&place, &[])["contents"].as_u64().unwrap() > 0, "the item of the dead letter");
    // An earlier backup goes on and stays whole, and a new one is.
    drop_files(&place, 60..70);
    until("the later ones are done", || place.rows(&["datasets", "list", "--all"]).len() == 70 && idle());
    place.ok(&["backup", "backup"]);
    place.ok(&["backup", "fresh"]);
    server.stop().exits(0);
    // Without a server, too.
    assert!(collected(&place, &[])["contents"].as_u64().unwrap() >= 10);
    for arguments in [&["verify"][..], &["backup", "--verify", "backup"], &["backup", "--verify", "fresh"]] {
        place.run(arguments).exits(0);
    }
    place.ok(&["restore", "fresh", "--data-dir", "again"]);
    let mut again = place;
    again.data = again.path("again");
    again.run(&["verify"]).exits(0);
    assert_eq!(again.rows(&["datasets", "list", "--all"]).len(), 70);
}

#[test]
fn a_quota_pauses_the_ingest_until_there_is_room() {
    let place = Place::new();
    place.write("flow.yaml", FLOW);
    fs::create_dir(place.path("inbox")).unwrap();
    place.ok(&["flows", "enable", "flow.yaml"]);
    let wrong = place.run(&["serve", "--content-quota", "5 gigs"]).exits(2);
    assert!(wrong.err.contains("units are"), "{}", wrong.err);
    let server = place.serve(&["--most-dead-letters", "2", "--content-quota", "1GiB"]);
    for n in 0..2 {
        place.write(&format!("inbox/bad-{n}.txt"), "bad");
    }
    until("both are dead", || place.rows(&["dead-letters", "list"]).len() == 2);
    server.stop().exits(0);
    place.write("inbox/good.txt", "good");
    let server = place.serve(&["--most-dead-letters", "2", "--content-quota", "1GiB"]);
    let status = || serde_json::from_str::<Value>(&server.get("/healthz").1).unwrap();
    until("it is told", || {
        status()["troubles"].to_string().contains("2 dead letters wait, their quota of 2 is reached")
    });
    assert!(status()["troubles"][0]["hint"].as_str().unwrap().contains("opendmp dead-letters list"));
    assert!(place.path("inbox/good.txt").exists(), "nothing is taken in");
    place.ok(&["dead-letters", "discard", "--all", "--yes", "--reason", "bad"]);
    until("it goes on by itself", || place.rows(&["datasets", "list"]).len() == 1);
    until("the trouble is over", || status()["troubles"] == Value::Array(Vec::new()));
    server.stop().exits(0);

    let server = place.serve(&["--content-quota", "10B"]);
    place.write("inbox/later.txt", "later");
    let status = || serde_json::from_str::<Value>(&server.get("/healthz").1).unwrap();
    until("it is told", || {
        status()["troubles"].to_string().contains("its quota of 10 B is reached: nothing is taken in")
    });
    server.stop().exits(0);
}

/// Files are collected as they are.
const PASS: &str = "\
name: Kept
processors:
  - { id: inbox, type: ingest, source: { type: file_drop, path: ./inbox, settle: 0s, after: delete } }
  - { id: results, type: collect, inputs: [inbox], collection: Results }
";

#[test]
fn a_quota_is_decided_by_file_before_the_copy() {
    const SIZE: usize = 10 << 20;
    let place = Place::new();
    place.write("flow.yaml", PASS);
    fs::create_dir(place.path("inbox")).unwrap();
    for n in 0..10_u8 {
        place.write(&format!("inbox/file-{n}"), vec![n; SIZE]);
    }
    place.ok(&["flows", "enable", "flow.yaml"]);
    let server = place.serve(&["--content-quota", "10MiB"]);
    let status = || serde_json::from_str::<Value>(&server.get("/healthz").1).unwrap();
    until("one is stored", || place.rows(&["datasets", "list"]).len() == 1);
    until("it is told", || status()["troubles"].to_string().contains("quota of 10 MiB"));
    // A small one fits no more either.
    place.write("inbox/small", "small");
    let since = status()["troubles"][0]["since"].clone();
    let stored = || status()["usage"]["stored"].as_u64().unwrap();
    for _ in 0..30 {
        assert!(stored() < 11 << 20, "{} bytes are stored", stored());
        assert_eq!(status()["troubles"][0]["since"], since, "told once");
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
    server.stop().exits(0);
    let server = place.serve(&["--content-quota", "35MiB"]);
    until("three are stored, and the small one", || place.rows(&["datasets", "list"]).len() == 4);
    server.stop().exits(0);
    let server = place.serve(&[]);
    until("all are stored", || place.rows(&["datasets", "list"]).len() == 11);
    assert!(place.rows(&["dead-letters", "list"]).is_empty());
    server.stop().exits(0);
}

/// Work that is written down in stored content itself: children that wait to be expanded, and what an aggregate holds.
#[test]
fn what_waits_in_manifests_and_aggregates_stays() {
    const COUNT: usize = 4_500;
    let place = Place::new();
    place.write(
        "flow.yaml",
        format!(
            "\
name: Many
processors:
  - {{ id: inbox, type: ingest, source: {{ type: file_drop, path: ./inbox, settle: 0s }} }}
  - id: many
    type: script
    inputs: [inbox]
    code: |
      def process(item: Item) -> Iterator[Item]:
          for n in range({COUNT}):
              yield item.with_(f'number {{n}}'.encode(), name=f'n{{n}}')
  - {{ id: shelf, type: collect, inputs: [many], collection: Many }}
"
        ),
    );
    place.write("inbox/one.txt", "one");
    place.ok(&["flows", "enable", "flow.yaml"]);
    // Dies when the children are written down, and none is expanded.
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("OPENDMP_FAILPOINT", "after-settle:1").stdout(std::process::Stdio::null());
    assert!(!command.stderr(std::process::Stdio::null()).status().unwrap().success());
    assert_eq!(place.rows(&["flows", "list"])[0]["outstanding"], COUNT);
    collected(&place, &[]);
    place.ok(&["verify"]);
    let server = place.serve(&[]);
    until("all are there", || place.rows(&["collections"]).first().is_some_and(|row| row["datasets"] == COUNT));
    until("all is done", || place.rows(&["flows", "list"])[0]["outstanding"] == 0);
    assert!(collected(&place, &[])["contents"].as_u64().unwrap() >= 5, "the list and its blocks are garbage now");
    for n in [0, 1, COUNT / 2, COUNT - 1] {
        assert_eq!(place.ok(&["datasets", "get", &format!("n{n}")]), format!("number {n}"));
    }
    place.ok(&["flows", "delete", "many", "--yes"]);

    place.write(
        "three.yaml",
        "\
name: Three
processors:
  - { id: inbox, type: ingest, source: { type: file_drop, path: ./parts, settle: 0s } }
  - id: upper
    type: script
    inputs: [inbox]
    code: |
      def process(data: bytes) -> bytes:
          return data.upper()
  - { id: pack, type: aggregate, inputs: [upper], batch: { count: 3 }, as: lines, name: packed.txt }
  - { id: shelf, type: collect, inputs: [pack], collection: Three }
",
    );
    fs::create_dir(place.path("parts")).unwrap();
    place.ok(&["flows", "enable", "three.yaml"]);
    place.write("parts/a.txt", "a\n");
    place.write("parts/b.txt", "b\n");
    let three = || place.rows(&["flows", "list"]).into_iter().find(|row| row["flow"] == "three").unwrap();
    until("two are taken", || place.run(&["ingest", "audit", "three"]).status.success());
    until("nothing is under way", || three()["outstanding"] == 0);
    collected(&place, &[]);
    place.write("parts/c.txt", "c\n");
    until("they are packed", || !place.rows(&["datasets", "list", "--flow", "three"]).is_empty());
    let packed = place.ok(&["datasets", "get", "packed.txt"]);
    let mut lines: Vec<&str> = packed.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["A", "B", "C"]);
    place.ok(&["verify"]);
    server.stop().exits(0);
}
