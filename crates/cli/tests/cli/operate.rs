//! What a server tells those who run it: metrics that agree with what happened, and log lines that say what they are of.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::place::{PATIENCE, Place, flow, until};

/// A script with one answer for each sort of item.
const MOODY: &str = "\
import os
def process(item):
    if item.stem.startswith('bad'):
        raise ValueError(item.text())
    if item.stem.startswith('crash'):
        os._exit(3)
    return item
";

/// Asks the server's socket: head and body.
pub fn ask(place: &Place, path: &str, header: &str) -> (String, String) {
    let mut stream = UnixStream::connect(place.data.join("opendmp.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: opendmp\r\n{header}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    (head.to_owned(), body.to_owned())
}

/// The series of a scrape; each line of it has to be one that OpenMetrics knows.
fn scrape(place: &Place) -> BTreeMap<String, f64> {
    let (head, body) = ask(place, "/metrics", "");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-type: application/openmetrics-text"), "{head}");
    // Sent in pieces or not: what counts are the lines.
    let comment = regex_lite::Regex::new(r"^# (HELP|TYPE|UNIT) [a-z_]+ .+$|^# EOF$").unwrap();
    let sample =
        regex_lite::Regex::new(r#"^([a-z_]+(?:\{[a-z]+="[^"\\]*"(?:,[a-z]+="[^"\\]*")*\})?) (-?[0-9.e+-]+)$"#).unwrap();
    let mut series = BTreeMap::new();
    for line in body.lines() {
        if let Some(found) = sample.captures(line) {
            let known = series.insert(found[1].to_owned(), found[2].parse().unwrap());
            assert!(known.is_none(), "twice: {line}");
        } else {
            assert!(comment.is_match(line), "{line:?}");
        }
    }
    assert!(body.ends_with("# EOF\n"), "the whole of it");
    series
}

#[test]
fn metrics_agree_with_what_happened() {
    let place = Place::new();
    let settings = "  on_error: { retries: 1, backoff: 0s }\n";
    place.write("flow.yaml", flow("Counted", MOODY, settings));
    for n in 0..7 {
        place.write(&format!("inbox/good-{n}.txt"), "12345");
    }
    place.write("inbox/bad.txt", "a secret that is in the data");
    place.write("inbox/crash.txt", "12345");
    place.ok(&["flows", "enable", "flow.yaml"]);
    let server = place.serve(&[]);
    until("all is done", || {
        let flow = &place.rows(&["flows", "list"])[0];
        flow["outstanding"] == 0 && flow["dead_letters"] == 2
    });
    // The journal knows first; what is in work counts itself out after it has told.
    until("all is counted", || scrape(&place)["opendmp_tasks_in_work"] == 0.0);

    let series = scrape(&place);
    let value = |name: &str| *series.get(name).unwrap_or_else(|| panic!("no {name} in {series:#?}"));
    let items = |processor: &str, result: &str| {
        value(&format!(r#"opendmp_items_total{{flow="counted",processor="{processor}",result="{result}"}}"#))
    };
    assert_eq!(["done", "retried", "dead"].map(|result| items("inbox", result)), [9.0, 0.0, 0.0]);
    assert_eq!(["done", "retried", "dead"].map(|result| items("work", result)), [7.0, 2.0, 2.0]);
    assert_eq!(items("shelf", "done"), 7.0);
    assert_eq!(value(r#"opendmp_items_emitted_total{flow="counted",processor="work"}"#), 7.0);
    assert_eq!(value(r#"opendmp_ingested_bytes_total{flow="counted",processor="inbox"}"#), 8.0 * 5.0 + 28.0);
    let exported = r#"opendmp_intents_total{flow="counted",processor="shelf",kind="export",result="done"}"#;
    assert_eq!((value(exported), place.rows(&["datasets", "list"]).len()), (7.0, 7));
    assert_eq!(value(r#"opendmp_results_total{result="new"}"#), 7.0);
    assert_eq!(value(r#"opendmp_datasets{collection="Counted"}"#), 7.0);
    assert_eq!(value(r#"opendmp_revisions_bytes{collection="Counted"}"#), 35.0);
    assert_eq!(value(r#"opendmp_dead_letters{flow="counted"}"#), 2.0);
    for nothing in ["opendmp_queue_items", "opendmp_queue_intents", "opendmp_tasks_in_work", "opendmp_troubles"] {
        assert_eq!(value(nothing), 0.0, "{nothing}");
    }
    for name in [r#"opendmp_flow_outstanding{flow="counted"}"#, r#"opendmp_flow_oldest_run_seconds{flow="counted"}"#] {
        assert_eq!(value(name), 0.0, "{name}");
    }
    let calls = value(r#"opendmp_step_seconds_count{flow="counted",processor="work"}"#);
    assert!((2.0..=11.0).contains(&calls), "the items in calls, and the retries: {calls}");
    assert_eq!(value("opendmp_tasks_claimed_total"), value(r#"opendmp_tasks_ended_total{result="settled"}"#));
    let (commits, committed) = ("opendmp_journal_commit_calls_count", "opendmp_journal_commit_calls_sum");
    assert_eq!(value(commits), value("opendmp_journal_commit_seconds_count"));
    assert!(value(commits) >= 3.0 && value(committed) >= value(commits));
    let settles = value(r#"opendmp_journal_call_seconds_count{operation="settle_and_claim"}"#);
    assert_eq!(settles, value("opendmp_tasks_claimed_total"));
    let put = value(r#"opendmp_content_put_bytes_total{from="memory"}"#);
    assert!(put >= 8.0 * 5.0 + 28.0, "each file that arrived: {put}");
    let (started, died) = (value("opendmp_workers_started_total"), value("opendmp_workers_died_total"));
    assert!(died == 2.0 && started > died, "one worker for each time that it crashed: {died} of {started}");
    assert_eq!(value("opendmp_healthy"), 1.0);
    assert!(value("process_resident_memory_bytes") > 1e6 && value("process_cpu_seconds_total") > 0.0);
    assert!(!series.keys().any(|name| name.contains("good") || name.contains("secret")), "no names of items");

    place.ok(&["flows", "delete", "counted", "--yes"]);
    let after = scrape(&place);
    assert!(!after.keys().any(|name| name.contains(r#"flow="counted""#)), "{after:#?}");
    assert_eq!(after[r#"opendmp_datasets{collection="Counted"}"#], 7.0, "datasets stay");
    server.stop().exits(0);
}

/// The events of a log in JSON.
fn events(log: &str) -> Vec<Value> {
    log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The field of the span of that name around an event.
fn of<'a>(event: &'a Value, span: &str, field: &str) -> &'a Value {
    let spans = event["spans"].as_array().map_or(&[][..], Vec::as_slice);
    spans.iter().find(|found| found["name"] == span).map_or(&Value::Null, |found| &found[field])
}

#[test]
fn log_lines_say_what_they_are_of() {
    let place = Place::new();
    place.write("flow.yaml", flow("Logged", MOODY, "  on_error: { retries: 0 }\n"));
    place.write("inbox/crash.txt", "a secret that is in the data");
    place.write("inbox/bad.txt", "a secret that is in the data");
    place.ok(&["flows", "enable", "flow.yaml"]);
    let server =
        place.serve_with(&["--log-format", "json"], &[("OPENDMP_LOG", "opendmp_script=debug,opendmp_api=debug,info")]);
    until("both are dead letters", || place.rows(&["flows", "list"])[0]["dead_letters"] == 2);
    let (head, body) = ask(&place, "/api/v1/runs/99", "x-request-id: lost-and-found\r\n");
    assert!(head.starts_with("HTTP/1.1 404") && head.contains("x-request-id: lost-and-found"), "{head}");
    assert!(body.contains(r#""request_id":"lost-and-found""#), "{body}");
    let letters = place.rows(&["dead-letters", "list"]);
    fs::remove_dir_all(place.path("inbox")).unwrap();
    // A run that the server is asked for, with a folder that is gone: told, and of that request.
    place.run(&["run", "flow.yaml", "--timeout", "1s"]);
    let log = server.stop().exits(0).err;

    let events = events(&log);
    let said = |message: &str| {
        let found: Vec<&Value> = events
            .iter()
            .filter(|event| event["message"].as_str().is_some_and(|said| said.contains(message)))
            .collect();
        assert!(!found.is_empty(), "nobody said {message:?} in\n{log}");
        found
    };
    let runs: Vec<&Value> = letters.iter().map(|letter| &letter["run"]).collect();
    for died in said("a worker died") {
        let task = |field| of(died, "task", field);
        assert_eq!((task("flow"), task("processor"), task("attempt")), (&"logged".into(), &"work".into(), &1.into()));
        assert!(runs.contains(&task("run")) && task("task").as_str().is_some_and(|id| !id.is_empty()), "{died}");
    }
    let dead: u64 = said("could not be processed").iter().map(|event| event["dead_letters"].as_u64().unwrap()).sum();
    assert_eq!(dead, 2);
    assert!(said("could not be processed").iter().all(|event| of(event, "task", "flow") == "logged"));
    let lost: Vec<&Value> =
        said("answered").into_iter().filter(|event| of(event, "request", "request") == "lost-and-found").collect();
    assert_eq!(lost.len(), 1, "{log}");
    assert_eq!((&lost[0]["status"], of(lost[0], "request", "route")), (&404.into(), &"/api/v1/runs/{run}".into()));
    let begun = said("a run begins")[0];
    assert!(of(begun, "request", "route") == "/api/v1/runs" && begun["run"].is_u64(), "{begun}");
    assert!(!log.contains("a secret"), "no content in the log");
}
