//! `validate` and `plan`.

use std::io::Write;
use std::process::Stdio;

use crate::place::{Place, UPPER, flow};

const TEN: &str = r#"name: Ten
procesors:
  - id: inbox
    type: ingest
    sorce: { type: file_drop, path: ./inbox, patern: "*.txt" }
  - id: shout
    type: script
    inputs: [inbx]
    language: pyton
    code: |
      def process(data):
          return 5 5
    timeout: 30
    concurrency: 5000
  - id: shout
    type: colect
    inputs: [shout]
  - id: shelf
    type: collect
    inputs: [inbox.bad]
    destination: { type: folder, path: 5 }
"#;

#[test]
fn every_fault_is_drawn_at_once() {
    let place = Place::new();
    place.write("ten.yaml", TEN);
    let done = place.run(&["validate", "ten.yaml"]).exits(2);
    assert_eq!(done.out, "", "what is wrong goes to standard error");
    // The interpreter's own words differ by version.
    let drawn = regex_lite::Regex::new(r"error\[bad-code\]: .*")
        .unwrap()
        .replace(&done.err, "error[bad-code]: SYNTAX")
        .into_owned();
    insta::assert_snapshot!(drawn);
    assert!(!place.data.exists(), "a check touches nothing");
}

#[test]
fn programs_get_json() {
    let place = Place::new();
    place.write("ten.yaml", TEN);
    place.write("good.yaml", flow("Good", UPPER, ""));
    let done = place.run(&["validate", "good.yaml", "ten.yaml", "--format", "json"]).exits(2);
    assert_eq!(done.err, "");
    let rows = done.json();
    assert_eq!((&rows[0]["file"], &rows[0]["ok"]), (&"good.yaml".into(), &true.into()));
    assert_eq!(rows[1]["ok"], false);
    let first = &rows[1]["problems"][0];
    assert_eq!((&first["code"], &first["span"]["line"]), (&"unknown-key".into(), &2.into()));
    assert!(rows[1]["errors"].as_u64() > Some(9));
}

#[test]
fn good_flows_and_plans() {
    let place = Place::new();
    place.write("good.yaml", flow("Good", UPPER, ""));
    assert_eq!(place.ok(&["validate", "good.yaml"]), "✓ no problems in good.yaml\n");
    insta::assert_snapshot!(place.ok(&["plan", "good.yaml"]));
    assert!(place.ok(&["plan", "good.yaml", "--format", "mermaid"]).starts_with("flowchart LR\n"));
    assert_eq!(place.run(&["plan", "good.yaml", "--format", "json"]).exits(0).json()["slug"], "good");
    let mut command = place.command(&["validate", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(flow("Piped", UPPER, "").as_bytes()).unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
}

#[test]
fn what_is_no_flow_is_told() {
    let place = Place::new();
    place.write("latin.yaml", b"name: caf\xe9\n");
    place.write("dir/flow.yaml", flow("Inner", UPPER, ""));
    place.write("outer.py", UPPER);
    place.write("sub/out.yaml", "name: Out\nprocessors:\n- { id: a, type: ingest, source: { type: file_drop, path: i } }\n- { id: b, type: script, inputs: [a], file: ../outer.py }\n- { id: c, type: collect, inputs: [b], collection: C }\n");
    let missing = place.run(&["validate", "none.yaml"]).exits(2);
    assert_eq!(missing.err, "error: the flow `none.yaml` can't be read: there is no such file or folder\n");
    assert!(place.run(&["validate", "latin.yaml"]).exits(2).err.contains("error[not-utf8]: line 1 is not UTF-8 text"));
    assert!(place.run(&["run", "dir"]).exits(2).err.contains("did you mean `dir/flow.yaml`?"));
    assert!(place.run(&["validate", "sub/out.yaml"]).exits(2).err.contains("leaves the folder of the flow"));
    let bad = place.run(&["run", "sub/out.yaml"]).exits(2);
    assert!(bad.err.contains("Nothing was started.") && !place.data.exists());
}

#[test]
fn problems_in_files_are_drawn_in_them() {
    let place = Place::new();
    place.write("clean.py", "import os\n\ndef process(data: bytes) -> bytes:\n    return 5 5\n");
    place.write("flow.yaml", "name: F\nprocessors:\n- { id: a, type: ingest, source: { type: file_drop, path: i } }\n- { id: b, type: script, inputs: [a], file: ./clean.py }\n- { id: c, type: collect, inputs: [b], collection: C }\n");
    let drawn = place.run(&["validate", "flow.yaml"]).exits(2).err;
    assert!(drawn.contains("clean.py:4:") && drawn.contains("4 │     return 5 5"), "{drawn}");
}
