//! The server: its socket, its health, its locks, its end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::exits::waiting;
use crate::place::{Place, UPPER, flow, steady, until};

#[test]
fn verbs_are_answered_by_the_server() {
    let place = Place::new();
    place.write("flow.yaml", flow("Served", UPPER, ""));
    place.write("inbox/early.txt", "early");
    let before = place.ok(&["flows", "enable", "flow.yaml"]);
    assert!(before.contains("is enabled") && before.contains("work begins with `opendmp serve`"), "{before}");
    assert!(before.contains("looks at  inbox  file_drop ./inbox"), "{before}");
    assert!(!place.path("outbox").exists(), "nothing works without a server");

    let server = place.serve(&[]);
    until("what waited is collected", || place.path("outbox/early.txt").exists());
    place.write(".late", "late");
    fs::rename(place.path(".late"), place.path("inbox/late.txt")).unwrap();
    until("what is dropped is collected", || place.path("outbox/late.txt").exists());
    until("all is done", || place.rows(&["flows", "list"])[0]["outstanding"] == 0);
    assert_eq!(place.rows(&["datasets", "list"]).len(), 2);
    assert_eq!(place.ok(&["datasets", "get", "late.txt"]), "LATE");
    assert!(place.ok(&["ingest", "audit", "served"]).starts_with("✓ inbox · 2 source items compared: all ingested"));
    let again = place.ok(&["flows", "enable", "flow.yaml"]);
    assert!(!again.contains("opendmp serve"), "{again}");
    // A run of another flow, by the server.
    place.write("other/flow.yaml", flow("Other", UPPER, ""));
    place.write("other/inbox/x.txt", "x");
    let run = place.run(&["run", "other/flow.yaml"]).exits(0);
    assert_eq!(steady(&run.out), "✓ 1 dataset in Other (1 new, 0 unchanged) · TOOK\n");
    let doctor = place.rows(&["doctor"]);
    let found = doctor.iter().find(|check| check["check"] == "server").unwrap();
    assert!(found["message"].as_str().unwrap().starts_with(&format!("process {}", server.running.id())), "{found}");

    assert_eq!(place.ok(&["flows", "disable", "Served"]), "✓ served is disabled\n");
    let asked = place.run(&["flows", "delete", "served"]).exits(2);
    assert!(asked.err.contains("--yes"), "{}", asked.err);
    assert_eq!(place.ok(&["flows", "delete", "served", "--yes"]), "✓ served is deleted\n");
    let gone = place.run(&["flows", "disable", "served"]).exits(1);
    assert!(
        gone.err.contains("there is no flow `served`") && gone.err.contains("hint: there are: other"),
        "{}",
        gone.err
    );
    assert_eq!(place.rows(&["datasets", "list"]).len(), 3, "datasets stay");
    server.stop().exits(0);
    assert!(!place.data.join("opendmp.sock").exists());
    assert_eq!(place.rows(&["datasets", "list"]).len(), 3, "the same without a server");
}

#[test]
fn tcp_tells_strangers_no_more_than_that_it_is_well() {
    let place = Place::new();
    let server = place.serve(&[]);
    let (code, body) = server.get("/healthz");
    let health: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &health["status"], &health["troubles"]), (200, &"ok".into(), &serde_json::json!([])));
    for path in ["/healthz", "/readyz", "/livez"] {
        assert_eq!(server.get_with(path, ""), (200, r#"{"status":"ok"}"#.to_owned()), "{path}");
    }
    let wrong = format!("Authorization: Bearer {}\r\n", "x".repeat(64));
    for path in ["/api/v1/flows", "/api/v1/status", "/", "/api/v1/datasets/1-a/content", "/metrics", "/nothing"] {
        for headers in ["", wrong.as_str()] {
            let (code, body) = server.get_with(path, headers);
            assert!(code == 401 && body.contains("not-signed-in"), "{path}: {code} {body}");
        }
    }
    assert_eq!(server.get("/api/v1/flows").0, 200);
    let token = fs::metadata(place.data.join("access-token")).unwrap();
    assert_eq!(PermissionsExt::mode(&token.permissions()) & 0o777, 0o600);
    // One flow's trouble is told, and is no reason to take the server away.
    place.write("flow.yaml", flow("Trouble", UPPER, ""));
    place.ok(&["flows", "enable", "flow.yaml"]);
    until("the missing folder is told", || server.get("/healthz").1.contains("inbox"));
    let (code, body) = server.get("/healthz");
    assert!(code == 200 && body.contains("\"status\":\"degraded\""), "{body}");
    fs::create_dir(place.path("inbox")).unwrap();
    until("it works again", || server.get("/healthz").1.contains("\"status\":\"ok\""));
    server.stop().exits(0);
}

#[test]
fn only_this_machine_may_ask() {
    let place = Place::new();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80", "nonsense"] {
        let refused = place.run(&["serve", "--listen", address]).exits(2);
        assert!(refused.err.contains("hint: write an address of this machine"), "{}", refused.err);
    }
    assert!(!place.data.exists());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = place.run(&["serve", "--listen", &address]).exits(1);
    assert!(refused.err.contains("can't be listened on") && refused.err.contains("--listen"), "{}", refused.err);
}

#[test]
fn one_server_serves_a_data_directory() {
    let place = Place::new();
    let server = place.serve(&[]);
    let second = place.run(&["serve", "--listen", "127.0.0.1:0"]).exits(1);
    assert!(second.err.contains(&format!("(process {})", server.running.id())), "{}", second.err);
    assert!(second.err.contains("hint: a server is running there already"), "{}", second.err);
    let done = server.stop().exits(0);
    assert!(done.err.contains("stopped"), "{}", done.err);
}

#[test]
fn only_the_owner_reaches_the_socket() {
    let place = Place::new();
    let server = place.serve(&[]);
    let mode = |name: &str| fs::symlink_metadata(place.data.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("opendmp.sock"), mode("")), (0o600, 0o700));
    let names: Vec<String> =
        fs::read_dir(&place.data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.starts_with(".socket-")), "{names:?}");
    server.stop().exits(0);
}

#[test]
fn a_killed_server_is_replaced() {
    let place = Place::new();
    let server = place.serve(&[]);
    server.running.signal(Signal::SIGKILL);
    server.running.end();
    let socket = place.data.join("opendmp.sock");
    assert!(socket.exists(), "it could not clean up");
    assert_eq!(place.rows(&["runs", "list"]).len(), 0, "verbs are not misled by its socket");
    place.serve(&[]).stop().exits(0);
    // Not even by one that somebody else left, or by a file.
    drop(UnixListener::bind(&socket).unwrap());
    place.serve(&[]).stop().exits(0);
    fs::write(&socket, "in the way").unwrap();
    place.serve(&[]).stop().exits(0);
}

#[test]
fn a_long_path_is_served_too() {
    let mut place = Place::new();
    place.data = place.path(&format!("{}/data", "deep/".repeat(30)));
    let server = place.serve(&[]);
    assert_eq!(place.rows(&["runs", "list"]).len(), 0);
    assert!(
        place
            .rows(&["doctor"])
            .iter()
            .any(|check| check["check"] == "server" && check["message"].as_str().unwrap().contains("process"))
    );
    server.stop().exits(0);
}

#[test]
fn flows_stay_within_the_data_roots() {
    let place = Place::new();
    place.write("roots/in/flow.yaml", flow("Inside", UPPER, ""));
    place.write("roots/in/inbox/a.txt", "a");
    place.write("elsewhere/flow.yaml", flow("Outside", UPPER, ""));
    place.write("elsewhere/inbox/a.txt", "a");
    let server = place.serve(&["--data-root", "roots"]);
    place.ok(&["run", "roots/in/flow.yaml"]);
    let refused = place.run(&["run", "elsewhere/flow.yaml"]).exits(2);
    assert!(refused.err.contains("is outside the data roots of this server"), "{}", refused.err);
    assert!(!place.path("elsewhere/outbox").exists());
    server.stop().exits(0);
    place.run(&["serve", "--data-root", "nowhere"]).exits(2);
}

#[test]
fn scripts_can_not_ask_the_server() {
    let place = Place::new();
    let ask = "import json, socket\ndef process(item: Item) -> bytes:\n    s = socket.socket(socket.AF_UNIX)\n    try:\n        s.connect(item.text())\n        s.sendall(b'GET /api/v1/flows HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n')\n        answer = s.recv(100000)\n    except OSError as error:\n        return b'refused'\n    return answer or b'refused'\n";
    place.write("flow.yaml", flow("Curious", ask, ""));
    let socket = place.data.join("opendmp.sock");
    place.write("inbox/path", socket.to_str().unwrap());
    let server = place.serve(&[]);
    place.ok(&["run", "flow.yaml"]);
    assert_eq!(place.read("outbox/path"), "refused");
    server.stop().exits(0);
}

#[test]
fn a_server_that_is_stopped_finishes_what_is_in_work() {
    let place = waiting();
    place.ok(&["flows", "enable", "flow.yaml"]);
    let server = place.serve(&["--log-format", "json"]);
    until("the script works", || place.path("gate/waiting").exists());
    let follower = place.start(&["run", "flow.yaml"]);
    until("it is followed", || place.rows(&["runs", "list"]).len() == 2);
    server.running.signal(Signal::SIGTERM);
    place.write("gate/open", "");
    let done = server.running.end().exits(0);
    for line in done.err.lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    follower.end();
    // What was in work is settled, and its export is carried out now or at the next start.
    let server = place.serve(&[]);
    until("it is exported", || place.path("outbox/a").exists());
    assert_eq!(place.read("outbox/a"), "through");
    assert_eq!(place.rows(&["dead-letters", "list"]).len(), 0);
    server.stop().exits(0);
}

#[test]
fn what_a_stop_breaks_off_is_nobodys_fault() {
    let place = waiting();
    place.ok(&["flows", "enable", "flow.yaml"]);
    let waits = place.path("gate/waiting");
    // More often than a task may be lost.
    for round in 0..4 {
        let server = place.serve(if round == 0 { &["--grace", "1s"] } else { &["--grace", "1h"] });
        until("the script works", || waits.exists());
        fs::remove_file(&waits).unwrap();
        server.running.signal(Signal::SIGTERM);
        if round > 0 {
            until("it stops", || !place.data.join("opendmp.sock").exists());
            server.running.signal(Signal::SIGTERM);
        }
        server.running.end().exits(0);
    }
    place.write("gate/open", "");
    let server = place.serve(&[]);
    until("it is exported", || place.path("outbox/a").exists());
    assert_eq!(place.rows(&["dead-letters", "list"]).len(), 0);
    server.stop().exits(0);
}

#[test]
fn what_a_killed_run_left_is_finished_by_a_server() {
    let place = waiting();
    let run = place.start(&["run", "flow.yaml"]);
    until("the script works", || place.path("gate/waiting").exists());
    run.signal(Signal::SIGKILL);
    run.end();
    place.write("gate/open", "");
    let server = place.serve(&[]);
    until("it is done", || place.rows(&["runs", "list"])[0]["state"] == "done");
    assert_eq!(place.read("outbox/a"), "through");
    assert_eq!(place.rows(&["flows", "list"])[0]["state"], "disabled", "its sources are not looked at");
    let done = server.stop().exits(0);
    assert!(done.err.contains("runs that were interrupted go on"), "{}", done.err);
}

#[test]
fn who_follows_a_run_of_the_server_may_leave() {
    let place = waiting();
    let server = place.serve(&[]);
    let run = place.start(&["run", "flow.yaml"]);
    until("the script works", || place.path("gate/waiting").exists());
    run.signal(Signal::SIGINT);
    let done = run.end().exits(130);
    assert!(
        done.err.contains("run 1 goes on in the server; `opendmp runs show 1` tells how far it is"),
        "{}",
        done.err
    );
    place.write("gate/open", "");
    until("it is done", || place.rows(&["runs", "list"])[0]["state"] == "done");
    assert_eq!(place.read("outbox/a"), "through");
    server.stop().exits(0);
}

#[test]
fn the_settings_are_told_with_where_they_are_from() {
    let place = Place::new();
    let server = place.serve_with(&["--content-quota", "500GiB", "--grace", "3s"], &[("OPENDMP_RECENT", "1GiB")]);
    let (status, body) = server.get("/api/v1/settings");
    assert_eq!(status, 200, "{body}");
    let told: Value = serde_json::from_str(&body).unwrap();
    let of = |name: &str| {
        let row = told["rows"].as_array().unwrap().iter().find(|row| row["name"] == name);
        row.unwrap_or_else(|| panic!("{name} in {told}")).clone()
    };
    for (name, value, from) in [
        ("listen", json!("127.0.0.1:0"), "command_line"),
        ("content-quota", json!("500GiB"), "command_line"),
        ("grace", json!("3s"), "command_line"),
        ("recent", json!("1GiB"), "environment"),
        ("dead-letter-quota", Value::Null, "default"),
        ("log-format", json!("text"), "default"),
        ("insecure-listen-on-network", json!("false"), "default"),
    ] {
        let row = of(name);
        assert_eq!((&row["value"], &row["from"]), (&value, &json!(from)), "{row}");
        assert!(row["about"].as_str().unwrap().len() > 20, "{row}");
    }
    // Nothing that is secret, or of no concern to a server, is among them.
    let names: Vec<_> = told["rows"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert!(["token-file", "server", "color", "help"].iter().all(|name| !names.contains(name)), "{names:?}");
    assert!(!body.contains(&server.token));
    server.stop().exits(0);
}

#[test]
fn what_flows_did_lately_is_told_by_the_hour() {
    let place = Place::new();
    place
        .write("flow.yaml", flow("Busy", "def process(data: bytes) -> bytes:\n    return bytes(1 // len(data))\n", ""));
    for name in ["a", "b"] {
        place.write(&format!("inbox/{name}.txt"), name);
    }
    place.write("inbox/empty.txt", "");
    place.ok(&["flows", "enable", "flow.yaml"]);
    let server = place.serve(&[]);
    let told = || -> Value { serde_json::from_str(&server.get("/api/v1/activity").1).unwrap() };
    let sum = |told: &Value, of: &str| -> u64 {
        let parts = told["rows"][0][of].as_array().map(Vec::as_slice).unwrap_or_default();
        parts.iter().map(|part| part.as_u64().unwrap()).sum()
    };
    until("all are counted", || (sum(&told(), "arrived"), sum(&told(), "failed")) == (3, 1));
    let told = told();
    assert_eq!((&told["part_ms"], &told["cut"]), (&json!(3_600_000), &json!(false)));
    assert_eq!((&told["rows"][0]["flow"], told["rows"].as_array().unwrap().len()), (&json!("busy"), 1));
    let parts = told["rows"][0]["arrived"].as_array().unwrap();
    // The last hour, or the one before where it has just struck.
    assert_eq!(parts.len(), 24);
    assert_eq!(parts[22].as_u64().unwrap() + parts[23].as_u64().unwrap(), 3);
    let (status, body) = server.get("/api/v1/activity?hours=0");
    assert!(status == 400 && body.contains("from 1 to 744"), "{body}");
    server.stop().exits(0);
}
