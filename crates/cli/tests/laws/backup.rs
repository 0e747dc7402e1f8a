//! A server that is killed while it backs up: what the folder had stays whole, and the next backup goes on.

use std::fs;
use std::process::{Command, Stdio};

use crate::harness::{Place, Rng, pause, seed};

/// Files of a round.
const FILES: usize = 30;

/// Drops files of 300 kB each, no two alike, and waits until they are datasets.
fn drop_files(place: &mut Place, round: usize) {
    for n in 0..FILES {
        let content: String = (0..10_000).map(|line| format!("{round} {n} {line}: something like this\n")).collect();
        let name = format!("{round}-{n}.txt");
        fs::write(place.path(&format!("inbox/.{name}")), content).unwrap();
        fs::rename(place.path(&format!("inbox/.{name}")), place.path(&format!("inbox/{name}"))).unwrap();
    }
    place.wait_for("all are collected", |place| place.datasets().len() == FILES * (round + 1));
    place.settle_down();
}

#[test]
fn kills_during_backups_leave_one_that_is_whole() {
    let mut rng = Rng(seed());
    let mut place = Place::new();
    place.write_flow(
        "name: Torture\nprocessors:\n\
         - { id: inbox, type: ingest, source: { type: file_drop, path: ./inbox, settle: 0s, after: delete } }\n\
         - { id: shelf, type: collect, inputs: [inbox], collection: Kept }\n",
    );
    place.ok(&["flows", "enable", "flow.yaml"]);
    place.start_and_wait();
    drop_files(&mut place, 0);
    place.ok(&["backup", "copy"]);
    let mut broken_off = 0;
    for round in 1..7 {
        drop_files(&mut place, round);
        let mut asking = place.command(&["backup", "copy"]);
        let mut asking = asking.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        pause(rng.below(120));
        place.kill();
        broken_off += usize::from(!asking.wait().unwrap().success());
        place.ok(&["backup", "--verify", "copy"]);
        place.start_and_wait();
    }
    println!("{broken_off} of 6 backups were broken off");
    place.ok(&["backup", "copy"]);
    place.ok(&["backup", "--verify", "copy"]);
    let opendmp = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_opendmp"));
        command.arg("--data-dir").arg(place.path("again")).current_dir(place.path("")).stdin(Stdio::null());
        command
    };
    assert!(opendmp().args(["restore", "copy"]).stdout(Stdio::null()).status().unwrap().success());
    let listed = opendmp().args(["datasets", "list", "--limit", "10000", "--format", "json"]).output().unwrap();
    let restored: Vec<serde_json::Value> = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(restored.len(), 7 * FILES);
    let datasets = place.datasets();
    for row in restored {
        assert_eq!(row["hash"], datasets[row["name"].as_str().unwrap()]["hash"]);
    }
}
