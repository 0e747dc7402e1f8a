//! The torture: a real server, killed over and over while a hostile producer drops, appends to and replaces files.
//! Afterwards everything is compared with everything: what was written, the datasets, their revisions, the exports,
//! the ledger. Laws L1, L2, L3, L4 and L6 on the binary.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::harness::{Place, Producer, Rng, SETTLE, Written, files, hash, pause, seed};

/// The flow of the torture: a script between an inbox and an outbox.
fn flow(after: &str, settings: &str, code: &str) -> String {
    let after = match after {
        "move" => "after: move, to: ./done".to_owned(),
        other => format!("after: {other}"),
    };
    let code: String = code.lines().map(|line| format!("      {line}\n")).collect();
    format!(
        "name: Torture\n\
         processors:\n  \
           - id: inbox\n    type: ingest\n    source: {{ type: file_drop, path: ./inbox, pattern: \"*.txt\", settle: {SETTLE}ms, {after} }}\n  \
           - id: work\n    type: script\n    inputs: [inbox]\n{settings}    code: |\n{code}  \
           - id: shelf\n    type: collect\n    inputs: [work]\n    collection: Torture\n    destination: {{ type: folder, path: ./outbox }}\n"
    )
}

const UPPER: &str = "def process(data: bytes) -> bytes:\n    return data.upper()\n";

/// Drops files while the server is killed at random moments, then lets it finish.
fn torture(place: &mut Place, seed: u64, count: usize, kills: usize, waits: bool) -> Producer {
    let mut rng = Rng(seed);
    let mut producer = Producer {
        inbox: place.path("inbox"),
        outbox: place.path("outbox"),
        rng: Rng(seed ^ 0xabcd),
        written: Written::new(),
        waits,
        waited: BTreeSet::new(),
    };
    place.ok(&["flows", "enable", "flow.yaml"]);
    let producing = std::thread::spawn(move || {
        producer.produce(count, Duration::from_millis(if count < 1_000 { 10 } else { 5 }));
        producer
    });
    for _ in 0..kills {
        place.start(&[]);
        pause(100 + rng.below(900));
        place.kill();
    }
    place.start_and_wait();
    while !producing.is_finished() {
        forgive(place);
        pause(200);
    }
    let producer = producing.join().expect("the producer ends well");
    place.settle_down();
    forgive(place);
    place.settle_down();
    producer
}

/// An item under way in three kills in a row is put aside as one that may have killed the server. A person says that it
/// did not.
pub fn forgive(place: &Place) {
    let letters = place.json(&["dead-letters", "list", "--limit", "10000"]);
    let lost = letters.iter().filter(|letter| letter["fault"]["kind"] == "lost");
    let ids: Vec<&str> = lost.filter_map(|letter| letter["id"].as_str()).collect();
    if !ids.is_empty() {
        place.ok(&[&["dead-letters", "retry"], &ids[..]].concat());
    }
}

fn compare(place: &Place, producer: &Producer, result: impl Fn(&[u8]) -> Vec<u8>) {
    let datasets = place.datasets();
    let names: BTreeSet<&String> = producer.written.keys().collect();
    assert_eq!(datasets.keys().collect::<BTreeSet<_>>(), names, "each file has one dataset");
    let exports = files(&place.path("outbox"));
    assert_eq!(exports.keys().collect::<BTreeSet<_>>(), names, "each dataset has one file, and nothing else is there");
    for (name, versions) in &producer.written {
        let hashes: Vec<String> = versions.iter().map(|content| hash(&result(content))).collect();
        let newest = &datasets[name];
        assert_eq!(newest["hash"], hashes.last().unwrap().as_str(), "{name}: the newest version is last");
        assert_eq!(hash(&exports[name]), *hashes.last().unwrap(), "{name}: the export is the dataset, byte for byte");
        assert_eq!(newest["export"]["state"], "written", "{name}");
        let count = newest["revision"].as_u64().unwrap() as usize;
        assert!(count <= versions.len(), "{name}: {count} revisions of {} versions", versions.len());
        if versions.len() > 1 {
            let id = newest["id"].as_str().unwrap();
            let revisions = place.json(&["datasets", "show", id]);
            let found: Vec<usize> = revisions
                .iter()
                .map(|row| {
                    let at = hashes.iter().position(|hash| row["hash"] == hash.as_str());
                    at.unwrap_or_else(|| panic!("{name}: a revision is none of the versions, but a mixture"))
                })
                .collect();
            assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{name}: revisions {found:?} in order, each once");
            if producer.waited.contains(name) {
                assert!(
                    found.len() >= 2,
                    "{name}: a version that stood still is missing: {found:?} of {}",
                    hashes.len()
                );
            }
        }
    }
}

fn sources_are_let_go(place: &Place, producer: &Producer, after: &str) {
    let left = files(&place.path("inbox"));
    match after {
        "keep" => {
            let last = |name: &String| producer.written[name].last().unwrap();
            assert!(left.iter().all(|(name, content)| content == last(name)) && left.len() == producer.written.len());
        }
        _ => {
            assert!(left.is_empty(), "{:?} is still there", left.keys());
            assert!(!place.path("inbox/.opendmp-claimed").exists() || is_bare(&place.path("inbox/.opendmp-claimed")));
        }
    }
    if after == "move" {
        let moved: BTreeSet<String> = files(&place.path("done")).values().map(|content| hash(content)).collect();
        for (name, versions) in &producer.written {
            assert!(moved.contains(&hash(versions.last().unwrap())), "{name} was moved");
        }
    }
}

/// Whether no file is below a folder.
fn is_bare(folder: &std::path::Path) -> bool {
    std::fs::read_dir(folder).unwrap().all(|entry| {
        let entry = entry.unwrap();
        entry.file_type().unwrap().is_dir() && is_bare(&entry.path())
    })
}

fn whole_torture(after: &str) {
    let mut place = Place::new();
    place.write_flow(&flow(after, "", UPPER));
    let producer = torture(&mut place, seed(), 2_000, 20, true);
    compare(&place, &producer, |content| content.to_ascii_uppercase());
    sources_are_let_go(&place, &producer, after);
    place.stop();
    // The same is true for whoever asks without a server.
    compare_count(&place, producer.written.len());
}

fn compare_count(place: &Place, count: usize) {
    assert_eq!(place.datasets().len(), count);
}

#[test]
fn l1_l2_l3_l4_survive_20_kills_with_after_keep() {
    whole_torture("keep");
}

#[test]
fn l1_l2_l3_l4_survive_20_kills_with_after_move() {
    whole_torture("move");
}

#[test]
fn l1_l2_l3_l4_survive_20_kills_with_after_delete() {
    whole_torture("delete");
}

#[test]
fn l1_failing_items_are_dead_letters_until_they_are_fixed() {
    let mut place = Place::new();
    let settings = "    on_error: { retries: 1, backoff: 20ms }\n";
    // 200 of the 400 names end in a digit below 5.
    let code = "def process(item: Item) -> bytes:\n    if item.stem[-1] in '01234':\n        raise ValueError('no ' + item.stem)\n    return item.bytes().upper()\n";
    place.write_flow(&flow("delete", settings, code));
    let producer = torture(&mut place, seed(), 400, 8, false);
    let letters = place.json(&["dead-letters", "list", "--limit", "10000"]);
    let failed: BTreeSet<&str> = letters.iter().filter_map(|letter| letter["item"]["name"].as_str()).collect();
    let bad = |name: &&String| name.trim_end_matches(".txt").ends_with(['0', '1', '2', '3', '4']);
    let expected: BTreeSet<&str> = producer.written.keys().filter(bad).map(String::as_str).collect();
    assert_eq!(failed, expected, "exactly those that fail");
    for letter in &letters {
        assert_eq!(letter["fault"]["code"], "ValueError");
        assert_eq!(letter["attempts"], 2);
    }
    place.write_flow(&flow("delete", settings, UPPER));
    place.ok(&["flows", "enable", "flow.yaml"]);
    place.ok(&["dead-letters", "retry", "--all"]);
    place.settle_down();
    assert!(place.json(&["dead-letters", "list"]).is_empty());
    compare(&place, &producer, |content| content.to_ascii_uppercase());
}

#[test]
fn l6_a_script_that_kills_its_worker_harms_only_its_item() {
    only_the_bad_ones(
        "import os, signal\ndef process(item: Item) -> bytes:\n    if item.stem.endswith('7'):\n        os.kill(os.getpid(), signal.SIGKILL)\n    return item.bytes().upper()\n",
        "",
        "crashed",
        '7',
        200,
    );
}

#[test]
fn l6_a_script_that_hangs_harms_only_its_item() {
    only_the_bad_ones(
        "import time\ndef process(item: Item) -> bytes:\n    if item.stem.endswith('07'):\n        time.sleep(1000000)\n    return item.bytes().upper()\n",
        "    timeout: 1s\n",
        "timed_out",
        '7',
        200,
    );
}

/// Runs a script that does something terrible to some items. Their last digit is `digit`.
fn only_the_bad_ones(code: &str, settings: &str, kind: &str, digit: char, count: usize) {
    let mut place = Place::new();
    place.write_flow(&flow("keep", &format!("{settings}    on_error: {{ retries: 0 }}\n"), code));
    let producer = torture(&mut place, seed(), count, 4, false);
    let letters = place.json(&["dead-letters", "list", "--limit", "10000"]);
    assert!(!letters.is_empty());
    let datasets = place.datasets();
    for letter in &letters {
        let (name, found) = (letter["item"]["name"].as_str().unwrap(), letter["fault"]["kind"].as_str().unwrap());
        let bad = name.trim_end_matches(".txt").ends_with(digit);
        assert!(found == kind && bad, "{name} is {found}");
    }
    let dead: BTreeSet<&str> = letters.iter().filter_map(|letter| letter["item"]["name"].as_str()).collect();
    for name in producer.written.keys() {
        assert!(dead.contains(name.as_str()) != datasets.contains_key(name), "{name} is in one of the two");
    }
}

#[test]
fn l2_a_script_that_answers_differently_each_time_has_one_truth() {
    let mut place = Place::new();
    let code =
        "import os\ndef process(data: bytes) -> bytes:\n    return os.urandom(16).hex().encode() + b' ' + data\n";
    place.write_flow(&flow("delete", "    checkpoint: true\n", code));
    let producer = torture(&mut place, seed(), 400, 8, false);
    let (datasets, exports) = (place.datasets(), files(&place.path("outbox")));
    assert_eq!(datasets.len(), producer.written.len());
    assert_eq!(exports.len(), producer.written.len());
    for (name, row) in &datasets {
        assert_eq!(row["hash"], hash(&exports[name]).as_str(), "{name}: dataset and export are of one attempt");
        assert_eq!(&exports[name][33..], producer.written[name].last().unwrap(), "{name}");
    }
}
