//! How `run` ends: what it says, and its exit code.

use std::time::Instant;

use nix::sys::signal::Signal;

use crate::place::{Place, UPPER, flow, steady, until};

const FUSSY: &str = "def process(item: Item) -> bytes:\n    print('looking')\n    if item.stem == 'bad':\n        return float('n/a')\n    return item.bytes().upper()\n";

#[test]
fn dead_letters_make_3_and_can_be_mended() {
    let place = Place::new();
    place.write("flow.yaml", flow("Fussy", FUSSY, "  on_error: { retries: 1, backoff: 20ms }\n"));
    place.write("inbox/bad.txt", "bad");
    place.write("inbox/good.txt", "good");
    let done = place.run(&["run", "flow.yaml"]).exits(3);
    insta::assert_snapshot!("summary", steady(&done.out));
    let letters = place.rows(&["dead-letters", "list", "--flow", "fussy"]);
    let [letter] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!(
        (&letter["attempts"], &letter["item"]["name"], &letter["state"]),
        (&2.into(), &"bad.txt".into(), &"open".into())
    );
    let id = letter["id"].as_str().unwrap();
    insta::assert_snapshot!("show", steady(&place.ok(&["dead-letters", "show", &id[..6]])));

    // The next run counts only its own.
    place.write("inbox/good.txt", "better");
    place.run(&["run", "flow.yaml"]).exits(0);
    // It fails again, as a new pass.
    let again = place.run(&["dead-letters", "retry", "--all"]).exits(3);
    assert!(
        again.out.contains("✗ 1 dead letter") && again.err.contains("1 dead letter sent in again"),
        "{} {}",
        again.out,
        again.err
    );
    place.run(&["dead-letters", "retry", id]).exits(1);
    // Mended, and retried through the present version.
    place.write("flow.yaml", flow("Fussy", UPPER, ""));
    place.ok(&["flows", "enable", "flow.yaml"]);
    let retried = place.run(&["dead-letters", "retry", "--all", "--flow", "Fussy"]).exits(0);
    assert_eq!(steady(&retried.out), "✓ 1 dataset (1 new, 0 unchanged) · TOOK\n");
    assert_eq!(place.read("outbox/bad.txt"), "BAD");
    assert_eq!(place.ok(&["dead-letters", "retry", "--all"]), "there is no dead letter to retry\n");
    assert!(place.ok(&["datasets", "history", "bad.txt"]).contains("sent in again by"));
}

#[test]
fn dead_letters_are_discarded_only_on_purpose() {
    let place = Place::new();
    place.write("flow.yaml", flow("Fussy", FUSSY, "  on_error: { retries: 0 }\n"));
    place.write("inbox/bad.txt", "bad");
    place.run(&["run", "flow.yaml"]).exits(3);
    let asked = place.run(&["dead-letters", "discard", "--all", "--reason", "a test"]).exits(2);
    assert!(asked.err.contains("hint: add --yes"), "{}", asked.err);
    place.run(&["dead-letters", "discard", "--all", "--yes"]).exits(2);
    let blank = place.run(&["dead-letters", "discard", "--all", "--yes", "--reason", " "]).exits(1);
    assert!(blank.err.contains("a discard needs a reason"), "{}", blank.err);
    assert_eq!(
        place.ok(&["dead-letters", "discard", "--all", "--yes", "--reason", "a test"]),
        "✓ 1 dead letter discarded\n"
    );
    let ended = place.rows(&["dead-letters", "list", "--ended"]);
    assert_eq!((&ended[0]["state"], &ended[0]["end"]["reason"]), (&"discarded".into(), &"a test".into()));
    assert!(place.rows(&["dead-letters", "list"]).is_empty());
    place.run(&["dead-letters", "retry", "no-such"]).exits(2);
    place.run(&["dead-letters", "retry", "99-abcd"]).exits(1);
}

#[test]
fn files_are_given_by_hand() {
    let place = Place::new();
    place.write("flow.yaml", flow("Given", UPPER, ""));
    place.write("inbox/other.txt", "not taken");
    place.write("else where/a=b.txt", "by hand");
    let one = "else where/a=b.txt";
    let done = place.run(&["run", "flow.yaml", "--input", one]).exits(0);
    assert_eq!(steady(&done.out), "✓ 1 dataset in Given (1 new, 0 unchanged) · TOOK\n");
    assert_eq!(place.read("outbox/a=b.txt"), "BY HAND");
    place.ok(&["run", "flow.yaml", "--input", &format!("inbox={one}")]);
    assert!(!place.path("outbox/other.txt").exists());
    assert_eq!(place.read(one), "by hand", "it is copied, never let go");
    let json = place.run(&["run", "flow.yaml", "--input", one, "--format", "json"]).exits(0).json();
    assert_eq!((&json["end"], &json["arrivals"], &json["unchanged"]), (&"done".into(), &1.into(), &1.into()));
    let missing = place.run(&["run", "flow.yaml", "--input", "none.txt"]).exits(2);
    assert!(missing.err.contains("the input `none.txt` can't be read: there is no such file"), "{}", missing.err);
    place.run(&["run", "flow.yaml", "--input", "inbox"]).exits(2);
    // Also by a link, none of the server's own files becomes a dataset.
    std::os::unix::fs::symlink(place.data.join("journal.db"), place.path("link.db")).unwrap();
    for own in [place.data.join("journal.db"), place.path("link.db")] {
        let refused = place.run(&["run", "flow.yaml", "--input", own.to_str().unwrap()]);
        assert!(refused.err.contains("lies in") || refused.err.contains(" is the data directory"), "{}", refused.err);
        assert_ne!(refused.status.code(), Some(0));
    }
    assert_eq!(place.rows(&["datasets", "list"]).len(), 1);
}

#[test]
fn a_source_that_is_not_there_is_told() {
    let place = Place::new();
    place.write("flow.yaml", flow("Nowhere", UPPER, ""));
    let done = place.run(&["run", "flow.yaml"]).exits(1);
    assert!(done.err.contains("error: ") && done.err.contains("inbox"), "{}", done.err);
}

/// A script that waits until it is told to go on.
const WAITS: &str = "import pathlib, time\ndef process(item: Item) -> bytes:\n    gate = pathlib.Path(item.text())\n    (gate / 'waiting').touch()\n    while not (gate / 'open').exists():\n        time.sleep(0.01)\n    return b'through'\n";

/// A flow with one item, whose script waits until there is a `gate/open`.
pub fn waiting() -> Place {
    let place = Place::new();
    place.write("flow.yaml", flow("Gate", WAITS, "  writable: [./gate]\n"));
    place.write("inbox/a", place.path("gate").to_str().unwrap());
    std::fs::create_dir(place.path("gate")).unwrap();
    place
}

#[test]
fn a_run_that_takes_too_long_ends_with_4_and_goes_on() {
    let place = waiting();
    let begun = Instant::now();
    let run = place.start(&["run", "flow.yaml", "--timeout", "1s"]);
    // If the item is in work by then, it is finished first.
    until("time is up", || begun.elapsed().as_millis() > 1_500);
    place.write("gate/open", "");
    let done = run.end().exits(4);
    assert!(
        done.err.contains("timed out with") && done.err.contains("`opendmp run flow.yaml` goes on"),
        "{}",
        done.err
    );
    place.run(&["run", "flow.yaml"]).exits(0);
    assert_eq!(place.read("outbox/a"), "through");
}

#[test]
fn an_interrupt_stops_gracefully() {
    let place = waiting();
    let run = place.start(&["run", "flow.yaml"]);
    until("the script works", || place.path("gate/waiting").exists());
    run.signal(Signal::SIGINT);
    place.write("gate/open", "");
    let done = run.end().exits(130);
    assert!(done.err.contains("stopping: what is in work is finished first"), "{}", done.err);
    assert!(done.err.contains("`opendmp run flow.yaml` goes on"), "{}", done.err);
    place.run(&["run", "flow.yaml"]).exits(0);
    assert_eq!(place.read("outbox/a"), "through");
}

#[test]
fn what_a_killed_run_left_is_finished_by_the_next() {
    let place = waiting();
    let run = place.start(&["run", "flow.yaml"]);
    until("the script works", || place.path("gate/waiting").exists());
    run.signal(Signal::SIGKILL);
    run.end();
    place.write("gate/open", "");
    let done = place.run(&["run", "flow.yaml"]).exits(0);
    assert!(done.err.contains("run 1 was stopped before its end; it goes on with this one"), "{}", done.err);
    assert!(done.out.starts_with("✓ run 1 is done now, too: 1 dataset\n"), "{}", done.out);
    assert_eq!(place.read("outbox/a"), "through");
    assert!(place.rows(&["runs", "list"]).iter().all(|run| run["state"] == "done"));
}

#[test]
fn a_second_interrupt_stops_at_once() {
    let place = waiting();
    let run = place.start(&["run", "flow.yaml"]);
    until("the script works", || place.path("gate/waiting").exists());
    let begun = Instant::now();
    run.signal(Signal::SIGINT);
    // Signals of one kind that wait are one; so the first must be seen.
    until("the first is seen", || begun.elapsed().as_millis() > 300);
    run.signal(Signal::SIGTERM);
    run.end().exits(130);
    assert!(begun.elapsed().as_secs() < 8, "it did not wait for the item in work");
    place.write("gate/open", "");
    place.run(&["run", "flow.yaml"]).exits(0);
    assert_eq!(place.read("outbox/a"), "through");
}
