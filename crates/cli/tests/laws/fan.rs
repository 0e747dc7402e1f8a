//! A real server that is killed while one file becomes many items and many become few: nothing lost, nothing twice.

use std::fs;

use crate::harness::{Place, Rng, files, hash, pause, seed};
use crate::torture::forgive;

/// Lines of the file: more children than are settled at once, so that they are written down first.
const LINES: usize = 30_000;

/// Lines of a batch.
const BATCH: usize = 700;

#[test]
fn l1_l2_kills_during_a_split_and_its_batches_lose_and_double_nothing() {
    let mut rng = Rng(seed());
    let mut place = Place::new();
    place.write_flow(&format!(
        "name: Torture\nprocessors:\n\
         - {{ id: inbox, type: ingest, source: {{ type: file_drop, path: ./inbox, settle: 0s, after: delete }} }}\n\
         - {{ id: rows, type: split, inputs: [inbox], as: lines }}\n\
         - {{ id: packs, type: aggregate, inputs: [rows], batch: {{ count: {BATCH}, end_of_run: true }}, as: lines }}\n\
         - {{ id: shelf, type: collect, inputs: [packs], collection: Fan, destination: {{ type: folder, path: ./outbox }} }}\n"
    ));
    place.ok(&["flows", "enable", "flow.yaml"]);
    let lines: Vec<String> = (0..LINES).map(|n| format!("line {n:06} of many")).collect();
    fs::write(place.path("inbox/.large"), lines.join("\n") + "\n").unwrap();
    fs::rename(place.path("inbox/.large"), place.path("inbox/large.txt")).unwrap();
    for _ in 0..3 {
        place.start(&[]);
        pause(100 + rng.below(500));
        place.kill();
    }
    let mut among_batches = 0;
    for wanted in [1, 8, 16, 24, 32] {
        place.start_and_wait();
        place.wait_for("some batches are out", |place| {
            forgive(place);
            files(&place.path("outbox")).len() >= wanted
        });
        place.kill();
        among_batches += usize::from(files(&place.path("outbox")).len() < LINES / BATCH);
    }
    assert!(among_batches > 0, "some kills come between the first batch and the last");
    place.start_and_wait();
    place.settle_down();
    while !place.json(&["dead-letters", "list"]).is_empty() {
        forgive(&place);
        place.settle_down();
    }

    let (datasets, outputs) = (place.datasets(), files(&place.path("outbox")));
    assert!(files(&place.path("inbox")).is_empty(), "the source is let go");
    assert_eq!(datasets.len(), outputs.len());
    let mut seen: Vec<String> = Vec::with_capacity(LINES);
    for (name, content) in &outputs {
        assert_eq!(datasets[name]["hash"], hash(content).as_str(), "{name}");
        assert_eq!(datasets[name]["revision"], 1, "{name}: once");
        let text = String::from_utf8(content.clone()).unwrap();
        assert!(text.lines().count() <= BATCH, "{name}");
        seen.extend(text.lines().map(str::to_owned));
    }
    seen.sort_unstable();
    assert!(seen == lines, "each line is in one batch, once: {} lines of {LINES}", seen.len());
}
