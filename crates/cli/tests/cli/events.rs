//! What watchers are told, over a real connection.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::place::{PATIENCE, Place, Server, UPPER, flow, until};

/// A watcher, as a browser is one.
struct Watcher {
    lines: BufReader<TcpStream>,
}

/// One event: its id, its name, what it tells.
#[derive(Debug)]
struct Told {
    id: String,
    event: String,
    facts: Value,
}

impl Watcher {
    fn new(server: &Server, last: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let last = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let (address, token) = (&server.address, &server.token);
        write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n{last}\r\n")
            .unwrap();
        let mut watcher = Self { lines: BufReader::new(stream) };
        assert!(watcher.line().contains("200 OK"));
        while !watcher.line().is_empty() {}
        watcher
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "the stream ended");
        line.trim_end().to_owned()
    }

    fn next(&mut self) -> Told {
        loop {
            let Some(id) = self.line().strip_prefix("id: ").map(str::to_owned) else { continue };
            let event = self.line().strip_prefix("event: ").unwrap().to_owned();
            let facts = serde_json::from_str(self.line().strip_prefix("data: ").unwrap()).unwrap();
            return Told { id, event, facts };
        }
    }

    /// Reads on until an event holds.
    fn until(&mut self, holds: impl Fn(&Value) -> bool) -> Told {
        loop {
            let told = self.next();
            if holds(&told.facts) {
                return told;
            }
        }
    }
}

#[test]
fn watchers_see_what_happens_and_go_on_where_they_were() {
    let place = Place::new();
    fs::create_dir(place.path("inbox")).unwrap();
    place.write("flow.yaml", flow("Watched", UPPER, ""));
    let server = place.serve(&[]);
    let mut early = Watcher::new(&server, None);
    let first = early.next();
    assert_eq!((first.event.as_str(), &first.facts["flows"]), ("snapshot", &serde_json::json!({})));

    place.ok(&["flows", "enable", "flow.yaml"]);
    let enabled = early.until(|facts| facts["flows"]["watched"]["state"] == "enabled");
    assert_eq!(enabled.event, "facts");

    place.write("inbox/a.txt", "quiet");
    let collected = |facts: &Value| facts["recent"].as_array().is_some_and(|recent| !recent.is_empty());
    let told = early.until(collected);
    let recent = &told.facts["recent"][0];
    assert_eq!(
        (&recent["flow"], &recent["name"], &recent["result"]),
        (&"watched".into(), &"a.txt".into(), &"collected".into())
    );
    let steps: Vec<&str> =
        recent["steps"].as_array().unwrap().iter().filter_map(|step| step["processor"].as_str()).collect();
    assert_eq!(steps, ["work", "shelf"]);
    assert_eq!(told.facts["flows"]["watched"]["processors"]["work"]["in"], 1);

    // Who comes back gets what was missed, not everything anew; who was never there gets the whole.
    let mut again = Watcher::new(&server, Some(&first.id));
    let missed = again.next();
    assert_eq!(
        (missed.event.as_str(), missed.facts["seq"].as_u64()),
        ("facts", first.facts["seq"].as_u64().map(|seq| seq + 1))
    );
    again.until(collected);
    let mut late = Watcher::new(&server, None);
    let snapshot = late.next();
    assert_eq!((snapshot.event.as_str(), &snapshot.facts["recent"][0]["name"]), ("snapshot", &"a.txt".into()));
    let mut strange = Watcher::new(&server, Some("12-9"));
    assert_eq!(strange.next().event, "snapshot", "an id of another start");

    // In order, whoever watches.
    place.write("inbox/b.txt", "quiet");
    let (mut seen, mut before) = (Vec::new(), 0);
    until("all is told in order", || {
        let told = late.next();
        let seq = told.facts["seq"].as_u64().unwrap();
        assert!(seq > before, "{seq} after {before}");
        before = seq;
        seen.extend(told.facts["recent"].as_array().into_iter().flatten().map(|recent| recent["name"].clone()));
        seen.contains(&"b.txt".into())
    });

    // A trouble is told, and that it is over.
    fs::remove_dir_all(place.path("inbox")).unwrap();
    early.until(|facts| facts["troubles"].to_string().contains("inbox"));
    fs::create_dir(place.path("inbox")).unwrap();
    early.until(|facts| facts["troubles"] == serde_json::json!([]));
    server.stop().exits(0);
}
