//! Retention on the binary: what a flow no longer keeps gives its room back, is still told of, and takes nothing else
//! with it.

use std::fs;

use serde_json::Value;

use crate::gc::taken;
use crate::operate::ask;
use crate::place::{Place, until};

fn flow(retention: &str, shelf: &str) -> String {
    format!(
        "name: Kept\n{retention}processors:\n\
         - {{ id: inbox, type: ingest, source: {{ type: file_drop, path: ./inbox, settle: 0s, after: delete }} }}\n\
         - id: shout\n  type: script\n  inputs: [inbox]\n  code: |\n    def process(data: bytes) -> bytes:\n      return data.upper()\n\
         - {{ id: shelf, type: collect, inputs: [shout], collection: Kept, {shelf}destination: {{ type: folder, path: ./outbox }} }}\n"
    )
}

/// Drops a version of a file; each is of 400,000 bytes.
fn put(place: &Place, word: &str) {
    fs::create_dir_all(place.path("inbox")).unwrap();
    place.write(".new", format!("{word}\n").repeat(400_000 / (word.len() + 1)));
    fs::rename(place.path(".new"), place.path("inbox/a.txt")).unwrap();
}

fn gc(place: &Place, arguments: &[&str]) -> Value {
    let mut all = vec!["gc", "--format", "json"];
    all.extend(arguments);
    place.run(&all).exits(0).json()
}

#[test]
fn what_a_flow_no_longer_keeps_gives_its_room_back() {
    let place = Place::new();
    place.write("flow.yaml", flow("", ""));
    for word in ["one", "two", "three"] {
        put(&place, word);
        place.ok(&["run", "flow.yaml"]);
    }
    let content = place.data.join("content");
    let of = |name, more: &[&'static str]| [&["datasets", name, "a.txt"][..], more].concat();
    assert_eq!(gc(&place, &[])["retention"]["sources"], 0, "a flow that says nothing keeps everything");
    assert!(taken(&content) > 2_300_000);

    // Saved and not enabled: it counts, and nothing is done by saving it.
    place.write("flow.yaml", flow("retention: { sources: 1ms, history: 1000d }\n", "retention: { revisions: 1 }, "));
    place.ok(&["run", "flow.yaml"]);
    let would = gc(&place, &["--dry-run"]);
    let told = &would["retention"];
    assert_eq!((&told["sources"], &told["revisions"], &told["records"]), (&3.into(), &2.into(), &0.into()), "{would}");
    assert!(
        place.ok(&["gc", "--dry-run"]).starts_with("✓ retention would let go of 3 sources (1.2 MB), 2 revisions (")
    );
    assert!(taken(&content) > 2_300_000);

    let done = place.ok(&["gc"]);
    assert!(done.starts_with("✓ retention let go of 3 sources (1.2 MB), 2 revisions ("), "{done}");
    assert!(taken(&content) < 500_000, "{} bytes are left: {done}", taken(&content));
    assert_eq!(gc(&place, &[])["retention"]["sources"], 0, "once");

    // It is still told of.
    let rows = place.rows(&of("show", &[]));
    let gone: Vec<bool> = rows.iter().map(|row| row["gone"].is_string()).collect();
    assert_eq!(gone, [true, true, false]);
    assert!(place.ok(&of("show", &[])).contains("let go 20"));
    let way = place.ok(&of("history", &["--revision", "1"]));
    assert!(way.contains("its content was let go 20") && way.contains(", let go 20"), "{way}");
    let failed = place.run(&of("get", &["--revision", "1"])).exits(1);
    assert!(failed.err.contains("was let go at 20") && failed.err.contains("hint"), "{}", failed.err);
    assert!(place.ok(&of("get", &[])).starts_with("THREE\n"));
    let planned = place.ok(&["reprocess", "kept", "--plan"]);
    assert!(planned.contains("1 item can't be: their bytes are no longer kept (`retention"), "{planned}");

    let failed = place.run(&["reprocess", "kept", "a.txt", "--yes"]).exits(1);
    assert!(failed.err.contains("nothing of this can be reprocessed"), "{}", failed.err);

    // Neither damage nor lost elsewhere.
    assert!(place.ok(&["verify"]).contains("is whole"));
    place.ok(&["backup", "backup"]);
    place.ok(&["restore", "backup", "--data-dir", "again"]);
    place.ok(&["verify", "--data-dir", "again"]);
    assert!(place.read("outbox/a.txt").starts_with("THREE\n"));
    put(&place, "two");
    place.ok(&["run", "flow.yaml"]);
    let rows = place.rows(&of("show", &[]));
    assert_eq!(rows.len(), 4, "the newest was another: a revision of its own");
    assert!(rows[3]["gone"].is_null());
}

#[test]
fn a_server_lets_go_while_it_works_and_history_goes_by_age() {
    let place = Place::new();
    place.write("flow.yaml", flow("retention: { sources: 1ms, history: 1ms }\n", ""));
    place.ok(&["flows", "enable", "flow.yaml"]);
    let server = place.serve(&[]);
    put(&place, "one");
    until("it is exported", || place.path("outbox/a.txt").exists());
    until("it is done", || place.rows(&["flows", "list"])[0]["outstanding"] == 0);
    let done = gc(&place, &[]);
    assert_eq!((&done["retention"]["sources"], &done["retention"]["records"]), (&1.into(), &2.into()), "{done}");
    let failed = place.run(&["datasets", "history", "a.txt"]).exits(1);
    assert!(failed.err.contains("is no longer kept: the flow's retention let its history go"), "{}", failed.err);
    assert!(place.ok(&["datasets", "get", "a.txt"]).starts_with("ONE\n"));
    let metrics = ask(&place, "/metrics", "").1;
    for line in ["opendmp_let_go_total{what=\"sources\"} 1", "opendmp_let_go_total{what=\"history\"} 2"] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    server.stop().exits(0);
}

#[test]
fn what_would_let_go_of_everything_is_refused() {
    let place = Place::new();
    place.write("flow.yaml", flow("retention: { sources: 2d, history: 1d }\n", "retention: { revisions: 0 }, "));
    let failed = place.run(&["validate", "flow.yaml"]).exits(2);
    let all = format!("{}{}", failed.out, failed.err);
    assert!(all.contains("`history` is kept for a shorter time than `sources`"), "{all}");
    assert!(all.contains("`revisions` takes a number from 1 to 1000000, not 0"), "{all}");
    place.write("flow.yaml", flow("", "retention: { age: 0s }, "));
    let failed = place.run(&["validate", "flow.yaml"]).exits(2);
    assert!(format!("{}{}", failed.out, failed.err).contains("kept for no time at all is gone at once"));
}
