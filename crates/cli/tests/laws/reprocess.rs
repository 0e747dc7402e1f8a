//! A real server that dies while it reprocesses, at named moments and at random ones: every item goes through the new
//! version once, and no dataset has a revision too many.

use std::process::Stdio;

use crate::harness::{Place, Rng, files, hash, pause, seed};
use crate::torture::forgive;

fn flow(last: &str) -> String {
    format!(
        "name: Torture\nprocessors:\n\
         - {{ id: inbox, type: ingest, source: {{ type: file_drop, path: ./inbox, settle: 0s }} }}\n\
         - id: first\n  type: script\n  inputs: [inbox]\n  memo: always\n  code: |\n    import os\n    def process(data: bytes) -> bytes:\n        return data + os.urandom(8).hex().encode()\n\
         - id: last\n  type: script\n  inputs: [first]\n  code: |\n    def process(data: bytes) -> bytes:\n        return data + b'{last}'\n\
         - {{ id: shelf, type: collect, inputs: [last], collection: Torture, destination: {{ type: folder, path: ./outbox }} }}\n"
    )
}

/// Everything once through the first version, and the second enabled.
fn prepared(count: usize) -> Place {
    let place = Place::new();
    for n in 0..count {
        std::fs::write(place.path(&format!("inbox/file-{n}")), format!("content {n} ")).unwrap();
    }
    place.write_flow(&flow("one"));
    place.ok(&["run", "flow.yaml"]);
    place.write_flow(&flow("two"));
    place.ok(&["flows", "enable", "flow.yaml"]);
    place
}

/// Waits for the end of the reprocess, and compares everything.
fn compare(place: &mut Place, count: usize, before: &std::collections::BTreeMap<String, Vec<u8>>) {
    place.wait_for("the reprocess is done", |place| {
        forgive(place);
        place.json(&["runs", "list"]).iter().all(|run| run["state"] == "done")
    });
    place.settle_down();
    let runs = place.json(&["runs", "list"]);
    let again: Vec<_> = runs.iter().filter(|run| run["trigger"] == "reprocess").collect();
    assert_eq!((again.len(), &again[0]["arrivals"]), (1, &count.into()), "each was sent in once");
    let (datasets, exports) = (place.datasets(), files(&place.path("outbox")));
    assert_eq!((datasets.len(), exports.len()), (count, count));
    for (name, row) in &datasets {
        assert_eq!(row["revision"], 2, "{name}: one revision more");
        assert_eq!(row["hash"], hash(&exports[name]).as_str(), "{name}: one truth");
        let expected = String::from_utf8_lossy(&before[name]).replace("one", "two");
        assert_eq!(String::from_utf8_lossy(&exports[name]), expected, "{name}: the first step is remembered");
    }
}

#[test]
fn a_server_that_dies_at_a_named_moment_goes_on() {
    for moment in opendmp_engine::failpoint::REPROCESS_MOMENTS {
        let mut place = prepared(6);
        let before = files(&place.path("outbox"));
        place.start(&[("OPENDMP_FAILPOINT", moment)]);
        place.wait_for("the server answers", |place| {
            std::os::unix::net::UnixStream::connect(place.path("data/opendmp.sock")).is_ok()
        });
        // Its server dies under it.
        place.run(&["reprocess", "torture", "--yes"]);
        assert_eq!(place.ended(), Some(6), "{moment} is reached");
        place.start_and_wait();
        compare(&mut place, 6, &before);
    }
}

#[test]
fn l1_l2_kills_during_a_reprocess_lose_and_double_nothing() {
    // More than two parts.
    let count = 1_200;
    let mut rng = Rng(seed());
    let mut place = prepared(count);
    let before = files(&place.path("outbox"));
    place.start_and_wait();
    let mut asking = place.command(&["reprocess", "torture", "--yes"]);
    let mut asking = asking.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    place
        .wait_for("it is begun", |place| place.json(&["runs", "list"]).iter().any(|run| run["trigger"] == "reprocess"));
    for _ in 0..6 {
        pause(50 + rng.below(600));
        place.kill();
        place.start(&[]);
    }
    asking.wait().unwrap();
    compare(&mut place, count, &before);
}
