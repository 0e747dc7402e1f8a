//! A real server that collects garbage and dies of it at each of its moments, and one that is killed over and over while
//! it collects and works: nothing that is named is gone (L1, L3, L5), and what was let go is no damage.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{Place, Rng, files, hash, pause, seed};

/// Leaves a stored result behind at each item, of both sizes.
const FLOW: &str = "\
name: Torture
processors:
  - { id: inbox, type: ingest, source: { type: file_drop, path: ./inbox, settle: 0s, after: delete } }
  - id: work
    type: script
    inputs: [inbox]
    checkpoint: true
    code: |
      def process(data: bytes) -> bytes:
          return data.upper() * (20_000 if b'large' in data else 400)
  - id: cut
    type: script
    inputs: [work]
    code: |
      def process(data: bytes) -> bytes:
          return data[:len(data) // 2]
  - { id: shelf, type: collect, inputs: [cut], collection: Torture, destination: { type: folder, path: ./outbox } }
";

fn drop_file(place: &std::path::Path, n: usize) {
    let size = if n.is_multiple_of(4) { "large" } else { "small" };
    let hidden = place.join(format!("inbox/.{n}"));
    std::fs::write(&hidden, format!("{size} content of file {n}\n")).unwrap();
    std::fs::rename(&hidden, place.join(format!("inbox/file-{n:03}"))).unwrap();
}

/// Everything that can be asked for is there.
fn all_is_there(place: &Place, count: usize) {
    let (datasets, exports) = (place.datasets(), files(&place.path("outbox")));
    assert_eq!((datasets.len(), exports.len()), (count, count));
    for (name, row) in &datasets {
        let got = place.run(&["datasets", "get", row["id"].as_str().unwrap()]);
        assert_eq!(row["hash"], hash(&got.stdout).as_str(), "{name}");
        assert_eq!(row["hash"], hash(&exports[name]).as_str(), "{name}");
        place.ok(&["datasets", "history", row["id"].as_str().unwrap()]);
    }
    place.ok(&["verify"]);
}

#[test]
fn a_collection_that_dies_loses_nothing() {
    for moment in opendmp_engine::failpoint::GARBAGE {
        let mut place = Place::new();
        place.write_flow(FLOW);
        place.ok(&["flows", "enable", "flow.yaml"]);
        place.start(&[("OPENDMP_FAILPOINT", &format!("{moment}:1"))]);
        (0..12).for_each(|n| drop_file(place.root.path(), n));
        place.wait_for("all is done", |place| files(&place.path("outbox")).len() == 12);
        assert!(!place.run(&["gc"]).status.success(), "{moment}: the server dies in the middle");
        assert_eq!(place.ended(), Some(6), "{moment}");
        // As it was left, without a server.
        place.ok(&["verify"]);
        place.start_and_wait();
        place.settle_down();
        all_is_there(&place, 12);
        let freed: serde_json::Value = serde_json::from_str(&place.ok(&["gc", "--format", "json"])).unwrap();
        assert!(moment == "gc-removed" || freed["contents"].as_u64().unwrap() > 0, "{moment}: {freed}");
        all_is_there(&place, 12);
        place.stop();
        assert!(place.ok(&["gc"]).contains("there is no garbage"), "{moment}");
        place.ok(&["verify"]);
    }
}

#[test]
fn kills_during_collections_lose_nothing() {
    // Each item's source and result stay.
    killed(FLOW, 120, 240);
}

#[test]
fn kills_during_retention_lose_nothing_else() {
    let kept = "destination: { type: folder, path: ./outbox } }";
    let flow = FLOW
        .replace("processors:", "retention: { sources: 1ms, history: 1000d }\nprocessors:")
        .replace(kept, &format!("retention: {{ revisions: 1 }}, {kept}"));
    // The results alone stay; how they came to be is told all the same.
    killed(&flow, 60, 60);
}

/// Drops files while the server works, collects and is killed; in the end all results are there, and no more content than
/// is to be kept.
fn killed(flow: &str, items: usize, kept: usize) {
    let mut place = Place::new();
    place.write_flow(flow);
    place.ok(&["flows", "enable", "flow.yaml"]);
    let mut rng = Rng(seed());
    let ended = Arc::new(AtomicBool::new(false));
    let (root, end) = (place.root.path().to_owned(), Arc::clone(&ended));
    let dropping = std::thread::spawn(move || {
        for n in 0..items {
            drop_file(&root, n);
            pause(40);
        }
        end.store(true, Ordering::Release);
    });
    let (mut kills, mut freed) = (0, 0);
    while kills < 8 || !ended.load(Ordering::Acquire) {
        place.start_and_wait();
        // It takes up its work in this time, or not yet.
        pause(rng.below(2_500));
        let piped = std::process::Stdio::piped;
        let gc = place.command(&["gc", "--format", "json"]).stdout(piped()).stderr(piped()).spawn().unwrap();
        pause(rng.below(if kills % 2 == 0 { 30 } else { 300 }));
        place.kill();
        // It ends with its server; or does the work itself, where that is gone.
        let done = gc.wait_with_output().unwrap();
        let done: Option<serde_json::Value> = serde_json::from_slice(&done.stdout).ok();
        freed += done.map_or(0, |done| done["contents"].as_u64().unwrap());
        kills += 1;
    }
    dropping.join().unwrap();
    place.start_and_wait();
    place.settle_down();
    let letters = place.json(&["dead-letters", "list"]);
    let lost: Vec<&str> = letters.iter().filter_map(|letter| letter["id"].as_str()).collect();
    assert!(letters.iter().all(|letter| letter["fault"]["kind"] == "lost"), "{letters:?}");
    if !lost.is_empty() {
        place.ok(&[&["dead-letters", "retry"], &lost[..]].concat());
        place.settle_down();
    }
    all_is_there(&place, items);
    let last: serde_json::Value = serde_json::from_str(&place.ok(&["gc", "--format", "json"])).unwrap();
    freed += last["contents"].as_u64().unwrap();
    assert!(freed > 0, "none of the results between the steps was freed");
    // What a collection freed whose server was killed before it answered is counted by nobody; but what is left is no more
    // than what is kept of each, so all that stood between the steps is gone.
    assert_eq!(last["kept"], kept, "{last}");
    all_is_there(&place, items);
    place.stop();
    assert!(place.ok(&["gc"]).contains("there is no garbage"));
    place.ok(&["verify"]);
}
