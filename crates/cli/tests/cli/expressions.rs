//! What people write as a condition or a pattern never stops the server: it is refused, or it is quick.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::place::{Place, until};

fn routed(name: &str, pattern: &str, when: &str) -> String {
    format!(
        "name: {name}\nprocessors:\n\
         - {{ id: inbox, type: ingest, source: {{ type: file_drop, path: ./inbox, settle: 0s, pattern: {pattern:?} }} }}\n\
         - {{ id: way, type: route, inputs: [inbox], routes: [{{ port: a, when: {when:?} }}] }}\n\
         - {{ id: results, type: collect, inputs: [way.a, way.otherwise], collection: {name} }}\n"
    )
}

/// Loops within loops, as long as the worst that stopped a server.
fn nested(body: &str) -> String {
    let names = ["name", "size", "media_type", "attributes"];
    let mut text = body.to_owned();
    for n in 0.. {
        let next = format!("[0,1,2,3,4,5,6,7,8,9].all({},{text})", names[n % 4]);
        if next.len() > 410 {
            break;
        }
        text = next;
    }
    text
}

#[test]
fn a_flow_that_would_stop_the_server_is_refused_by_it() {
    let place = Place::new();
    let server = place.serve(&[]);
    let deep = format!("{}a{}", "{".repeat(100_000), "}".repeat(100_000));
    for (pattern, when, word) in [
        ("*", nested("true").as_str(), "expression-too-costly"),
        ("*", "attributes.all(k, k != 'a')", "expression-too-costly"),
        ("*", &format!("name.matches('{}')", "(\\\\w{50}){50}"), "expression-too-costly"),
        ("*", &"!!(!!!!!!(!!!!(((((!!(!!(!!!!((".repeat(5), "bad-expression"),
        (&deep, "true", "bad-format"),
    ] {
        let text = routed("Heavy", pattern, when);
        place.write("flow.yaml", &text);
        let body = json!({ "text": text, "files": {}, "base": place.path("") }).to_string();
        for _ in 0..4 {
            let (status, _, answer) = server.send("POST", "/api/v1/validate", "application/json", body.as_bytes());
            let answer = String::from_utf8_lossy(&answer);
            assert!(status < 500 && answer.contains(word), "{status} {word}: {answer:.500}");
        }
        let refused = place.run(&["flows", "enable", "flow.yaml"]);
        assert!(!refused.status.success() && refused.err.contains(word), "{word}: {:.500}", refused.err);
        assert_eq!(server.get("/healthz").0, 200);
    }
    let began = std::time::Instant::now();
    server.stop().exits(0);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn a_flow_that_an_older_program_accepted_does_not_stop_the_server() {
    let place = Place::new();
    // As long as what it is exchanged for, so that the journal stays whole.
    let (when, heavy) = (nested("false"), nested("1 > 0"));
    let light = format!("{:1$}", "size > 0", heavy.len());
    assert!(when.len() == heavy.len() && light.len() == heavy.len());
    place.write("flow.yaml", routed("Old", "*", &light));
    place.write("steady/flow.yaml", routed("Steady", "*", "true"));
    place.ok(&["flows", "enable", "flow.yaml"]);
    place.ok(&["flows", "enable", "steady/flow.yaml"]);
    // One file is in the queue when the older program ends.
    place.write("inbox/queued.txt", "q");
    let mut dying = place.command(&["serve"]);
    let ended = dying.env("OPENDMP_FAILPOINT", "after-queue-claim:1").output().unwrap();
    assert_eq!(ended.status.signal(), Some(6), "{}", String::from_utf8_lossy(&ended.stderr));
    place.ok(&["runs", "list"]);
    place.write("inbox/a.txt", "a");
    let journal = place.data.join("journal.db");
    let mut bytes = fs::read(&journal).unwrap();
    let found: Vec<usize> =
        bytes.windows(light.len()).enumerate().filter(|(_, w)| *w == light.as_bytes()).map(|(at, _)| at).collect();
    assert!(!found.is_empty(), "the version is in the journal as it was written");
    for at in found {
        bytes[at..at + heavy.len()].copy_from_slice(heavy.as_bytes());
    }
    fs::write(&journal, bytes).unwrap();

    let server = place.serve(&[]);
    place.write("steady/inbox/b.txt", "b");
    until("another flow works", || place.rows(&["datasets", "list"]).len() == 1);
    let health = || serde_json::from_str::<Value>(&server.get("/healthz").1).unwrap()["troubles"].to_string();
    until("the flow is a health issue", || health().contains("expression-too-costly"));
    assert!(health().contains("correct the flow"), "{}", health());
    // The flow is corrected, and takes what waited.
    place.write("flow.yaml", routed("Old", "*", "size > 0"));
    place.ok(&["flows", "enable", "flow.yaml"]);
    until("what waited in the folder is there", || place.rows(&["datasets", "list"]).len() == 2);
    until("what waited in the queue is a dead letter", || place.rows(&["dead-letters", "list"]).len() == 1);
    let letter = &place.rows(&["dead-letters", "list"])[0];
    assert!(letter.to_string().contains("old-version"), "{letter}");
    place.ok(&["dead-letters", "retry", letter["id"].as_str().unwrap()]);
    until("it is there, too", || place.rows(&["datasets", "list"]).len() == 3);
    until("all is well", || health() == "[]");
    server.stop().exits(0);
}
