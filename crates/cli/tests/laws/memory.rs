//! L7: memory does not grow with item size, fan-out, backlog, history or what scripts say. On the real server, by the
//! most that was ever resident (VmHWM); each of these would hold far more than the limit if anything of it were kept in
//! memory.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::harness::{PATIENCE, Place, pause};

/// The most that the server ever had resident, MiB.
fn peak(place: &Place) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", place.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

/// Enables a flow, and waits until its collection has so many datasets and nothing is outstanding.
fn collected(place: &mut Place, flow: &str, collection: &str, count: u64) {
    place.write_flow(flow);
    place.ok(&["flows", "enable", "flow.yaml"]);
    comes(place, collection, count);
}

fn datasets(place: &Place, collection: &str) -> u64 {
    let rows = place.json(&["collections"]);
    let row = rows.iter().find(|row| row["name"] == collection);
    row.and_then(|row| row["datasets"].as_u64()).unwrap_or(0)
}

fn comes(place: &mut Place, collection: &str, count: u64) {
    place.wait_for("all datasets are there", |place| datasets(place, collection) == count);
    place.wait_for("nothing is outstanding", |place| {
        place.json(&["flows", "list"]).iter().all(|flow| flow["outstanding"] == 0)
    });
}

/// The server, of a debug build, never had more than so many MiB.
fn bounded(place: &Place, limit: u64, what: &str) {
    let peak = peak(place);
    println!("{what}: {peak} MiB");
    assert!(peak < limit, "{what}: the server had {peak} MiB resident");
}

/// A file without bytes on the disk until it is read.
fn large(path: &Path, bytes: u64) {
    let hidden = path.with_file_name(".hidden");
    fs::File::create(&hidden).unwrap().set_len(bytes).unwrap();
    fs::rename(&hidden, path).unwrap();
}

#[test]
fn l7_bounded_memory_with_a_large_item() {
    const BYTES: u64 = 640 << 20;
    let mut place = Place::new();
    place.start_and_wait();
    large(&place.path("inbox/large.bin"), BYTES);
    let flow = "\
name: Large
processors:
  - { id: inbox, type: ingest, source: { type: file_drop, path: ./inbox, settle: 0s, after: delete } }
  - { id: copy, type: external, inputs: [inbox], command: [cat] }
  - id: shelf
    type: collect
    inputs: [copy]
    collection: Large
    destination: { type: folder, path: ./outbox, name: \"{name}\" }
";
    collected(&mut place, flow, "Large", 1);
    assert_eq!(fs::metadata(place.path("outbox/large.bin")).unwrap().len(), BYTES);
    bounded(&place, 120, "an item of 640 MiB through a command");
}

#[test]
fn l7_bounded_memory_with_many_of_one_and_one_of_many() {
    // 48,000 rows of 5 KiB: 240 MiB, of which each part is small.
    const ROWS: usize = 48_000;
    let mut place = Place::new();
    place.start_and_wait();
    let hidden = place.path("inbox/.rows.txt");
    let mut file = std::io::BufWriter::new(fs::File::create(&hidden).unwrap());
    for n in 0..ROWS {
        writeln!(file, "{n:08}{}", "x".repeat(5 << 10)).unwrap();
    }
    file.into_inner().unwrap();
    let bytes = fs::metadata(&hidden).unwrap().len();
    fs::rename(&hidden, place.path("inbox/rows.txt")).unwrap();
    let flow = "\
name: Rows
processors:
  - { id: inbox, type: ingest, source: { type: file_drop, path: ./inbox, settle: 0s, after: delete } }
  - { id: rows, type: split, inputs: [inbox], as: lines }
  - { id: all, type: aggregate, inputs: [rows], batch: { end_of_run: true }, as: lines }
  - id: shelf
    type: collect
    inputs: [all]
    collection: Rows
    destination: { type: folder, path: ./outbox, name: \"{name}\" }
";
    collected(&mut place, flow, "Rows", 1);
    let out = fs::read_dir(place.path("outbox")).unwrap().next().unwrap().unwrap();
    assert_eq!(out.metadata().unwrap().len(), bytes, "all rows are in what was made of them");
    bounded(&place, 200, "48,000 rows of 5 KiB, apart and together");
}

#[test]
fn l7_bounded_memory_with_a_backlog() {
    // As many as wait at most are taken in, and so many more; 16 KiB each, 344 MiB in all.
    const WAITING: u64 = 20_000;
    const COUNT: u64 = WAITING + 2_000;
    let mut place = Place::new();
    place.start_and_wait();
    let gate = place.path("gate");
    let flow = format!(
        "\
name: Backlog
processors:
  - {{ id: made, type: ingest, source: {{ type: generate, count: {COUNT}, size: 16KiB }} }}
  - id: slow
    type: script
    inputs: [made]
    timeout: 600s
    code: |
      import os, time
      def process(data: bytes) -> bytes:
          while not os.path.exists({gate:?}):
              time.sleep(0.05)
          return data[:8]
  - {{ id: shelf, type: collect, inputs: [slow], collection: Backlog }}
"
    );
    place.write_flow(&flow);
    place.ok(&["flows", "enable", "flow.yaml"]);
    let arrived = |place: &Place| -> u64 {
        place.json(&["runs", "list"]).iter().map(|run| run["arrivals"].as_u64().unwrap()).sum()
    };
    place.wait_for("as many wait as may", |place| arrived(place) >= WAITING);
    // It pauses: what came in before anybody asked is a part or two, and then nothing comes for as long as it is so.
    let mut still = (0, 0);
    let deadline = std::time::Instant::now() + PATIENCE;
    while still.1 < 20 {
        assert!(std::time::Instant::now() < deadline, "the ingest goes on before a step that does not");
        let now = arrived(&place);
        still = if now == still.0 { (now, still.1 + 1) } else { (now, 0) };
        pause(50);
    }
    assert!((WAITING..COUNT).contains(&still.0), "{} came in before a step that does not go on", still.0);
    bounded(&place, 240, "20,000 waiting items of 16 KiB");
    fs::write(gate, "").unwrap();
    comes(&mut place, "Backlog", COUNT);
    bounded(&place, 240, "and their way through");
}

#[test]
fn l7_bounded_memory_while_the_history_grows() {
    // As many items again and again: what the server knows of those before is on the disk.
    let mut place = Place::new();
    place.start_and_wait();
    let flow = |count: u64| {
        format!(
            "\
name: Grows
processors:
  - {{ id: made, type: ingest, source: {{ type: generate, count: {count}, size: 100B }} }}
  - {{ id: same, type: route, inputs: [made], routes: [{{ port: all, when: 'size > 1' }}] }}
  - {{ id: shelf, type: collect, inputs: [same.all], collection: Grows }}
"
        )
    };
    collected(&mut place, &flow(30_000), "Grows", 30_000);
    let first = peak(&place);
    collected(&mut place, &flow(150_000), "Grows", 150_000);
    let last = peak(&place);
    println!("{first} MiB after 30,000 items, {last} MiB after 150,000");
    // Two thirds of what the journal's file has grown by meanwhile: 370 bytes an item.
    assert!(last <= first + 30, "{first} MiB after 30,000 items, {last} MiB after 150,000");
}

#[test]
fn l7_bounded_memory_with_a_flood_of_log_lines() {
    // 300 MB of lines of one item.
    let mut place = Place::new();
    place.start_and_wait();
    fs::write(place.path("inbox/one.txt"), "one").unwrap();
    let flow = "\
name: Flood
processors:
  - { id: inbox, type: ingest, source: { type: file_drop, path: ./inbox, settle: 0s } }
  - id: loud
    type: script
    inputs: [inbox]
    timeout: 600s
    code: |
      import sys
      def process(data: bytes) -> bytes:
          line = 'x' * 999 + '\\n'
          for n in range(300_000):
              sys.stdout.write(line)
          return data
  - { id: shelf, type: collect, inputs: [loud], collection: Flood }
";
    collected(&mut place, flow, "Flood", 1);
    bounded(&place, 120, "300 MB of log lines");
    let history = place.ok(&["datasets", "history", "one.txt", "--format", "json"]);
    assert!(history.len() < 4 << 20, "{} bytes of history", history.len());
}
