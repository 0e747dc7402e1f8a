//! How `run` ends: what it says, and its exit code.

use std::time::Instant;

use nix::sys::signal::Signal;

use crate::place::{Done, Place, UPPER, flow, steady, until};

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

/// `--data-dir` names OpenDMP's own folder; one that holds somebody's files is left as it is.
#[test]
fn a_folder_of_files_is_never_taken_for_a_data_directory() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.write("flow.yaml", flow("Own", UPPER, ""));
    place.write("inbox/a.txt", "a");
    for made in ["mine/recent/2026/run.csv", "mine/uploads/x.csv", "mine/notes.txt"] {
        place.write(made, "precious");
    }
    let notes = place.path("mine/notes.txt");
    std::fs::set_permissions(&notes, std::fs::Permissions::from_mode(0o664)).unwrap();
    let mine = place.path("mine");
    for verb in [&["datasets", "list"][..], &["run", "flow.yaml"], &["serve", "--listen", "127.0.0.1:0"], &["gc"]] {
        let mut command = place.command(verb);
        command.arg("--data-dir").arg(&mine);
        let refused = Done::of(command.output().unwrap());
        assert_ne!(refused.status.code(), Some(0));
        assert!(refused.err.contains("is not empty and is not a data directory"), "{verb:?}: {}", refused.err);
    }
    for made in ["mine/recent/2026/run.csv", "mine/uploads/x.csv", "mine/notes.txt"] {
        assert_eq!(place.read(made), "precious");
    }
    assert_eq!(notes.metadata().unwrap().permissions().mode() & 0o777, 0o664);
    assert_eq!(std::fs::read_dir(&mine).unwrap().count(), 3, "and nothing is made in it");
}

/// What enabled flows read, a run by hand may not take from them either.
#[test]
fn a_run_takes_no_files_from_enabled_flows() {
    let place = Place::new();
    place.write("keep.yaml", flow("Keep", UPPER, ""));
    place.write("take.yaml", flow("Take", UPPER, "").replace("settle: 0s", "settle: 0s, after: delete"));
    place.write("inbox/a.txt", "a");
    place.ok(&["flows", "enable", "keep.yaml"]);
    let refused = place.run(&["run", "take.yaml"]);
    assert_ne!(refused.status.code(), Some(0));
    assert!(refused.err.contains("takes files from") && refused.err.contains("shared: true"), "{}", refused.err);
    assert_eq!(place.read("inbox/a.txt"), "a");
    // Files that are given by hand are copied, and stand in nobody's way.
    place.ok(&["run", "take.yaml", "--input", "inbox/a.txt"]);
    place.ok(&["flows", "disable", "keep"]);
    place.ok(&["run", "take.yaml"]);
}

/// A shell finds its files where the line names them, and placeholders of commands are refused there.
#[test]
fn a_shell_line_reads_and_writes_the_files_that_it_names() {
    let place = Place::new();
    place.write("inbox/a.txt", "one\ntwo\nthree\n");
    let shell = |line: &str| {
        format!(
            "name: Shell\nprocessors:\n\
             - {{ id: inbox, type: ingest, source: {{ type: file_drop, path: ./inbox, settle: 0s }} }}\n\
             - id: work\n  type: external\n  inputs: [inbox]\n  shell: {}\n\
             - {{ id: shelf, type: collect, inputs: [work], collection: Shell, destination: {{ type: folder, path: ./outbox, if_exists: overwrite }} }}\n",
            serde_json::Value::from(line)
        )
    };
    for (line, name, result) in [
        ("cat \"$INPUT\" | wc -l | tr -d ' '", "a.txt", "3\n"),
        ("wc -l < ${INPUT} | tr -d ' ' > \"$OUTPUT\"", "a.txt", "3\n"),
        ("split -l 1 - \"$OUTPUTS/part-\"", "part-ac", "three\n"),
        ("tr a-z A-Z", "a.txt", "ONE\nTWO\nTHREE\n"),
    ] {
        place.write("flow.yaml", shell(line));
        place.ok(&["run", "flow.yaml", "--input", "inbox/a.txt"]);
        assert_eq!(place.read(&format!("outbox/{name}")), result, "{line}");
    }
    place.write("flow.yaml", shell("cat {input}"));
    let refused = place.run(&["validate", "flow.yaml"]).exits(2);
    assert!((refused.out + &refused.err).contains("$INPUT"));
}

/// Nobody means a folder that is named `~`.
#[test]
fn paths_that_a_shell_would_replace_are_refused() {
    let place = Place::new();
    for path in ["~/results", "~/", "$HOME/results"] {
        place.write("flow.yaml", flow("Home", UPPER, "").replace("./outbox", path));
        let refused = place.run(&["validate", "flow.yaml"]).exits(2);
        assert!((refused.out + &refused.err).contains("are replaced in paths"), "{path}");
    }
    place.write("flow.yaml", flow("Home", UPPER, "").replace("./outbox", "./~/results"));
    place.ok(&["validate", "flow.yaml"]);
}

/// What may be written is checked when the flow is, and not first when an item comes.
#[test]
fn folders_that_may_not_be_written_are_refused_with_the_flow() {
    let place = Place::new();
    place.write("inbox/a.txt", "a");
    place.write("flow.yaml", flow("Mine", UPPER, ""));
    place.ok(&["run", "flow.yaml"]);
    let inside = place.data.join("scratch");
    for (folder, told) in [
        (inside.to_str().unwrap(), "no script or command may write there"),
        ("", "this names no folder"),
        ("~/cache", "are replaced in paths"),
    ] {
        let writable = format!("  writable: [{}]\n", serde_json::Value::from(folder));
        place.write("flow.yaml", flow("Mine", UPPER, &writable));
        for verb in [&["validate", "flow.yaml"][..], &["flows", "enable", "flow.yaml"]] {
            let refused = place.run(verb);
            assert_eq!(refused.status.code(), Some(2));
            assert!((refused.out.clone() + &refused.err).contains(told), "{folder}: {}{}", refused.out, refused.err);
        }
    }
}
