//! Reprocess and memo on the real binary: after an edit, only what changed is done again, for exactly the items that
//! are meant.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::place::{Place, until};

/// A flow of five steps, each of which adds its own letter.
fn five(letters: [&str; 5], memo: &str) -> String {
    let mut out = "name: Five\nprocessors:\n\
                   - { id: inbox, type: ingest, source: { type: file_drop, path: ./inbox, settle: 0s } }\n"
        .to_owned();
    for (n, letter) in letters.iter().enumerate() {
        let (id, before) = (n + 1, if n == 0 { "inbox".to_owned() } else { format!("s{n}") });
        out.push_str(&format!(
            "- id: s{id}\n  type: script\n  inputs: [{before}]\n  memo: {memo}\n  code: |\n      \
             def process(data: bytes) -> bytes:\n          return data + b'{letter}'\n"
        ));
    }
    out.push_str(
        "- { id: shelf, type: collect, inputs: [s5], collection: Five, destination: { type: folder, path: ./outbox } }\n",
    );
    out
}

/// Steps with what each did: done and remembered.
fn steps(run: &Value) -> BTreeMap<String, (u64, u64)> {
    let processors = run["processors"].as_object().unwrap();
    let number = |counts: &Value, key: &str| counts.get(key).and_then(Value::as_u64).unwrap_or(0);
    let of = |(id, counts): (&String, &Value)| (id.clone(), (number(counts, "done"), number(counts, "remembered")));
    processors.iter().filter(|(id, _)| *id != "inbox").map(of).collect()
}

fn all(numbers: [(u64, u64); 6]) -> BTreeMap<String, (u64, u64)> {
    let names = ["s1", "s2", "s3", "s4", "s5", "shelf"];
    names.into_iter().map(str::to_owned).zip(numbers).collect()
}

#[track_caller]
fn again(place: &Place, more: &[&str]) -> Value {
    let mut arguments = vec!["reprocess", "five", "--yes", "--format", "json"];
    arguments.extend(more);
    place.run(&arguments).exits(0).json()
}

/// Saves an edit: nothing new arrives, so that the run does nothing.
fn save(place: &Place, letters: [&str; 5], memo: &str) {
    place.write("flow.yaml", five(letters, memo));
    place.ok(&["run", "flow.yaml"]);
}

fn an_edit_in_the_middle(count: u64) {
    let place = Place::new();
    for n in 0..count {
        place.write(&format!("inbox/f{n}.txt"), format!("{n}:"));
    }
    save(&place, ["a", "b", "c", "d", "e"], "always");
    assert_eq!(place.read("outbox/f7.txt"), "7:abcde");

    save(&place, ["a", "b", "C", "d", "e"], "always");
    let before = place.rows(&["datasets", "list", "--limit", "10000"]);
    let planned = place.run(&["reprocess", "five", "--plan", "--format", "json"]).exits(0).json();
    assert_eq!((&planned["arrivals"], &planned["gone"]), (&count.into(), &0.into()));
    let plan = planned["steps"].as_array().unwrap().iter().map(|step| {
        let number = |key: &str| step[key].as_u64().unwrap();
        (step["processor"].as_str().unwrap().to_owned(), (number("runs"), number("remembered")))
    });
    let n = count;
    assert_eq!(plan.collect::<BTreeMap<_, _>>(), all([(0, n), (0, n), (n, 0), (n, 0), (n, 0), (n, 0)]));
    let exact: Vec<bool> = planned["steps"].as_array().unwrap().iter().map(|s| s["exact"] == true).collect();
    assert_eq!(exact, [true, true, true, false, false, false]);
    assert_eq!(place.rows(&["datasets", "list", "--limit", "10000"]), before, "a plan changes nothing");
    assert_eq!(place.rows(&["runs", "list"]).len(), 2);

    let run = again(&place, &[]);
    assert_eq!(steps(&run), all([(0, n), (0, n), (n, 0), (n, 0), (n, 0), (n, 0)]));
    assert_eq!((&run["revisions"], &run["unchanged"], &run["exported"]), (&n.into(), &0.into(), &n.into()));
    assert_eq!(place.read("outbox/f7.txt"), "7:abCde");
    let rows = place.rows(&["datasets", "list", "--limit", "10000"]);
    assert_eq!(rows.len() as u64, n, "revisions, not new datasets");
    assert!(rows.iter().all(|row| row["revision"] == 2));

    // The revert runs nothing.
    save(&place, ["a", "b", "c", "d", "e"], "always");
    let run = again(&place, &[]);
    assert_eq!(steps(&run), all([(0, n), (0, n), (0, n), (0, n), (0, n), (n, 0)]));
    assert_eq!(place.read("outbox/f7.txt"), "7:abcde");
    // And once more: equal results add only history.
    let run = again(&place, &[]);
    assert_eq!((&run["revisions"], &run["unchanged"], &run["exported"]), (&0.into(), &n.into(), &0.into()));
}

#[test]
fn an_edit_of_step_3_of_5_runs_steps_3_to_5() {
    an_edit_in_the_middle(if cfg!(debug_assertions) { 500 } else { 10_000 });
}

#[test]
fn only_what_is_meant_is_done_again() {
    let place = Place::new();
    for n in 0..5 {
        place.write(&format!("inbox/f{n}.txt"), format!("{n}:"));
    }
    save(&place, ["a", "b", "c", "d", "e"], "never");
    // A file that changed: only its newest arrival is meant.
    place.write("inbox/f1.txt", "one:");
    save(&place, ["a", "b", "c", "d", "E"], "never");
    assert_eq!(place.read("outbox/f1.txt"), "one:abcdE");
    let run = again(&place, &["f3.txt"]);
    assert_eq!(steps(&run), all([(1, 0); 6]));
    assert_eq!((place.read("outbox/f3.txt"), place.read("outbox/f2.txt")), ("3:abcdE".into(), "2:abcde".into()));
    assert_eq!(again(&place, &["--since", "1970-01-01"])["arrivals"], 5);
    assert_eq!(place.read("outbox/f1.txt"), "one:abcdE", "an older one never overwrites a newer");
    assert_eq!(again(&place, &["--since", "2100-01-01"])["arrivals"], 0);
    assert_eq!(again(&place, &["--collection", "Five"])["arrivals"], 5);

    let asked = place.run(&["reprocess", "five"]).exits(2);
    assert!(asked.err.contains("--yes") && asked.err.contains("5 items would be sent in again"), "{}", asked.err);
    let other = place.run(&["reprocess", "five", "--collection", "None", "--yes"]).exits(1);
    assert!(other.err.contains("there is no collection"), "{}", other.err);
    let file = place.run(&["reprocess", "flow.yaml", "--yes"]).exits(2);
    assert!(file.err.contains("flows enable"), "{}", file.err);
}

#[test]
fn the_history_says_what_was_remembered() {
    let place = Place::new();
    place.write("inbox/a.txt", "a:");
    save(&place, ["1", "2", "3", "4", "5"], "always");
    save(&place, ["1", "2", "3", "4", "6"], "always");
    again(&place, &[]);
    let history = place.ok(&["datasets", "history", "a.txt"]);
    assert!(history.contains("remembered from run 1") && history.contains("reprocess"), "{history}");
    let first = place.ok(&["datasets", "history", "a.txt", "--revision", "1"]);
    assert!(!first.contains("remembered"), "{first}");
}

#[test]
fn a_dear_step_is_remembered_by_itself() {
    let place = Place::new();
    place.write("inbox/a.txt", "a");
    let flow = |last: &str| {
        format!(
            "name: Five\nprocessors:\n\
             - {{ id: inbox, type: ingest, source: {{ type: file_drop, path: ./inbox, settle: 0s }} }}\n\
             - id: dear\n  type: external\n  inputs: [inbox]\n  command: [sh, -c, 'sleep 0.05; cat; date +%N']\n\
             - id: cheap\n  type: script\n  inputs: [dear]\n  code: |\n      def process(data: bytes) -> bytes:\n          return data + b'{last}'\n\
             - {{ id: shelf, type: collect, inputs: [cheap], collection: Five }}\n"
        )
    };
    place.write("flow.yaml", flow("x"));
    place.ok(&["run", "flow.yaml"]);
    let first = place.ok(&["datasets", "get", "a.txt"]);
    place.write("flow.yaml", flow("y"));
    place.ok(&["run", "flow.yaml"]);
    let run = again(&place, &[]);
    assert_eq!(steps(&run)["dear"], (0, 1), "{run}");
    assert_eq!(steps(&run)["cheap"], (1, 0));
    assert_eq!(place.ok(&["datasets", "get", "a.txt"]), first.replace('x', "y"), "what the clock said is remembered");
}

#[test]
fn a_server_reprocesses_by_itself_and_may_be_stopped() {
    let place = Place::new();
    for n in 0..20 {
        place.write(&format!("inbox/f{n}.txt"), format!("{n}:"));
    }
    save(&place, ["a", "b", "c", "d", "e"], "never");
    save(&place, ["a", "b", "c", "d", "f"], "never");
    let server = place.serve(&[]);
    assert_eq!(again(&place, &[])["revisions"], 20);
    until("all is exported", || (0..20).all(|n| place.read(&format!("outbox/f{n}.txt")) == format!("{n}:abcdf")));
    let stopped = place.ok(&["reprocess", "--stop", "3"]);
    assert!(stopped.contains("20 items were sent in before"), "{stopped}");
    let other = place.run(&["reprocess", "--stop", "1"]).exits(1);
    assert!(other.err.contains("run 1 is no reprocess"), "{}", other.err);
    server.stop().exits(0);
}
