//! Flows as the page works on them: drafts, checks, versions and what differs between these, folders of their own.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::place::{PATIENCE, Place, Server, UPPER, flow, until};

struct Answer {
    status: u16,
    etag: Option<String>,
    /// JSON, or the last line of it.
    body: Value,
}

/// Asks over TCP; a body is sent as JSON.
fn ask(server: &Server, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    // HTTP/1.0, so that the answer ends with the connection.
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n{more}\r\n{body}",
        server.address,
        server.token,
        body.len(),
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let etag = head.lines().find_map(|line| line.strip_prefix("etag: ")).map(str::to_owned);
    let last = body.trim().lines().last().unwrap_or("null");
    let body = serde_json::from_str(body)
        .or_else(|_| serde_json::from_str(last))
        .unwrap_or_else(|error| panic!("{error}: {body}"));
    Answer { status, etag, body }
}

fn get(server: &Server, path: &str) -> Value {
    let answer = ask(server, "GET", path, &[], None);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.body
}

#[test]
fn a_draft_is_written_by_those_who_saw_it_and_goes_when_it_is_enabled() {
    let place = Place::new();
    let server = place.serve(&[]);
    let draft = |text: &str| Some(json!({"text": text, "files": {}}));
    let path = "/api/v1/drafts/my-flow";
    assert_eq!(ask(&server, "GET", path, &[], None).body["code"], "not-found");
    let refused = ask(&server, "PUT", path, &[], draft("name: ["));
    assert_eq!((refused.status, refused.body["code"].as_str()), (428, Some("no-precondition")));
    let refused = ask(&server, "PUT", "/api/v1/drafts/My%20flow", &[("If-None-Match", "*")], draft(""));
    assert_eq!((refused.status, refused.body["code"].as_str()), (400, Some("bad-id")));
    let begun = ask(&server, "PUT", path, &[("If-None-Match", "*")], draft("name: ["));
    assert_eq!((begun.status, begun.body["name"].as_str()), (201, Some("my-flow")), "it may be broken");
    let first = begun.etag.unwrap();
    assert_eq!(first, format!("\"{}\"", begun.body["etag"].as_str().unwrap()));
    let again = ask(&server, "PUT", path, &[("If-None-Match", "*")], draft("other"));
    assert_eq!((again.status, again.body["code"].as_str()), (412, Some("changed-meanwhile")));
    assert!(again.body["detail"].as_str().unwrap().contains(begun.body["changed"].as_str().unwrap()), "{}", again.body);

    let text = flow("My Flow", UPPER, "");
    let changed = ask(&server, "PUT", path, &[("If-Match", &first)], draft(&text));
    assert_eq!((changed.status, changed.body["name"].as_str()), (200, Some("My Flow")));
    let late = ask(&server, "PUT", path, &[("If-Match", &first)], draft("late"));
    assert_eq!(late.status, 412);
    let read = ask(&server, "GET", path, &[], None);
    assert_eq!((read.body["text"].as_str(), &read.etag), (Some(text.as_str()), &changed.etag));
    assert_eq!(get(&server, "/api/v1/drafts")["rows"][0]["flow"], "my-flow");

    // One that is changed meanwhile stays; the one that was enabled goes.
    let etag = changed.body["etag"].as_str().unwrap().to_owned();
    let enable = |etag: &str| {
        let path = format!("/api/v1/flows?draft={etag}");
        ask(&server, "POST", &path, &[], Some(json!({"text": text, "files": {}, "base": ""})))
    };
    let enabled = enable(&"0".repeat(64));
    assert_eq!(enabled.body["event"], "enabled", "{}", enabled.body);
    let row = &get(&server, "/api/v1/flows")["rows"][0];
    assert_eq!((&row["draft"], &row["processors"], row["flow"].as_str()), (&json!(true), &json!(3), Some("my-flow")));
    enable(&etag);
    assert_eq!(ask(&server, "GET", path, &[], None).status, 404);
    assert_eq!(get(&server, "/api/v1/flows")["rows"][0]["draft"], false);

    // Dropped by hand.
    let begun = ask(&server, "PUT", path, &[("If-None-Match", "*")], draft("x"));
    assert_eq!(ask(&server, "DELETE", path, &[], None).status, 428);
    assert_eq!(ask(&server, "DELETE", path, &[("If-Match", &first)], None).status, 412);
    assert_eq!(ask(&server, "DELETE", path, &[("If-Match", &begun.etag.unwrap())], None).status, 204);
    assert!(get(&server, "/api/v1/drafts")["rows"].as_array().unwrap().is_empty());
}

#[test]
fn drafts_stay_when_the_server_stops() {
    let place = Place::new();
    let server = place.serve(&[]);
    let body = json!({"text": "name: Kept", "files": {"a.py": {"text": "x"}, "b": {"bytes": [255, 0]}}});
    ask(&server, "PUT", "/api/v1/drafts/kept", &[("If-None-Match", "*")], Some(body.clone()));
    server.stop().exits(0);
    let server = place.serve(&[]);
    let read = get(&server, "/api/v1/drafts/kept");
    assert_eq!((&read["files"], &read["text"]), (&body["files"], &body["text"]));
}

#[test]
fn a_flow_without_a_folder_gets_one_of_its_own_and_no_other_place_is_named_over_http() {
    let place = Place::new();
    fs::create_dir(place.path("root")).unwrap();
    std::os::unix::fs::symlink("/tmp", place.path("root/led-out")).unwrap();
    let root = place.path("root").canonicalize().unwrap();
    let server = place.serve(&["--data-root", root.to_str().unwrap()]);
    let enable = |name: &str, base: &str| {
        let body = json!({"text": flow(name, UPPER, ""), "files": {}, "base": base});
        ask(&server, "POST", "/api/v1/flows", &[], Some(body)).body
    };
    let enabled = enable("Of its own", "");
    let own = root.join("of-its-own");
    assert_eq!(
        (enabled["event"].as_str(), enabled["flow"]["base"].as_str()),
        (Some("enabled"), own.to_str()),
        "{enabled}"
    );
    assert!(own.is_dir());
    for (name, base) in [
        ("Out", place.path("elsewhere")),
        ("Out", root.join("../elsewhere")),
        ("Out", "/".into()),
        ("Led out", "".into()),
    ] {
        let refused = enable(name, base.to_str().unwrap());
        assert_eq!(
            (refused["event"].as_str(), refused["code"].as_str()),
            (Some("failed"), Some("outside-roots")),
            "{refused}"
        );
    }
    assert_eq!(get(&server, "/api/v1/flows")["rows"].as_array().unwrap().len(), 1, "nothing was saved");
    for (path, body) in [
        ("/api/v1/backups", json!({"to": place.path("backup")})),
        (
            "/api/v1/runs",
            json!({"flow": {"text": flow("Given", UPPER, "")}, "given": [{"path": "/etc/hostname"}], "trigger": "x"}),
        ),
    ] {
        let refused = ask(&server, "POST", path, &[], Some(body)).body;
        assert_eq!(refused["code"], "outside-roots", "{path}: {refused}");
    }
    // On the machine itself any folder may be the flow's, if those that it uses are within the roots; and then over HTTP
    // the flow keeps it.
    place.write("flow.yaml", flow("Local", UPPER, ""));
    place.run(&["flows", "enable", "flow.yaml"]).exits(2);
    fs::create_dir(root.join("elsewhere")).unwrap();
    place.write("root/elsewhere/flow.yaml", flow("Local", UPPER, ""));
    place.ok(&["flows", "enable", "root/elsewhere/flow.yaml"]);
    let kept = enable("Local", "");
    assert_eq!(kept["flow"]["base"].as_str(), root.join("elsewhere").to_str(), "{kept}");
}

#[test]
fn versions_are_listed_read_and_compared() {
    let place = Place::new();
    let server = place.serve(&[]);
    let texts = [flow("Steps", UPPER, ""), flow("Steps", UPPER, "  timeout: 7s\n").replace("upper()", "lower()")];
    for text in &texts {
        let body = json!({"text": text, "files": {}});
        assert_eq!(ask(&server, "POST", "/api/v1/flows", &[], Some(body)).body["event"], "enabled");
    }
    let versions = get(&server, "/api/v1/flows/steps/versions");
    let hash = |at: usize| versions["rows"][at]["version"].as_str().unwrap().to_owned();
    assert_eq!((&versions["rows"][0]["present"], &versions["rows"][1]["present"]), (&json!(true), &json!(false)));
    let first = get(&server, "/api/v1/flows/steps/versions?limit=1");
    assert_eq!(first["rows"].as_array().unwrap().len(), 1);
    let second =
        get(&server, &format!("/api/v1/flows/steps/versions?limit=1&after={}", first["next"].as_str().unwrap()));
    assert_eq!((&second["rows"][0]["version"], &second["next"]), (&json!(hash(1)), &Value::Null));

    let present = ask(&server, "GET", "/api/v1/flows/Steps", &[], None);
    assert_eq!(present.etag, Some(format!("\"{}\"", hash(0))));
    assert_eq!(present.body["text"], texts[1]);
    let plan = &present.body["plan"];
    let rows: Vec<Value> = plan["processors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| json!([row["id"], row["type"], row["line"], row["phase"]]))
        .collect();
    assert_eq!(json!(rows), json!([["inbox", "ingest", 3, 1], ["work", "script", 4, 2], ["shelf", "collect", 11, 3]]));
    assert_eq!((&plan["order"], &plan["starts"]), (&json!([["inbox"], ["work"], ["shelf"]]), &json!(["inbox"])));
    assert_eq!(
        (&plan["processors"][1]["language"], &plan["processors"][2]["collection"]),
        (&json!("python"), &json!("Steps"))
    );
    assert_eq!(get(&server, &format!("/api/v1/flows/steps/versions/{}", hash(1)))["text"], texts[0]);
    assert_eq!(ask(&server, "GET", "/api/v1/flows/steps/versions/none", &[], None).status, 404);

    let diff = get(&server, &format!("/api/v1/flows/steps/diff?from={}&to=present", hash(1)));
    assert_eq!(
        diff["processors"],
        json!([
            {"id": "inbox", "change": "same", "fields": []},
            {"id": "work", "change": "changed", "fields": ["timeout", "code"]},
            {"id": "shelf", "change": "same", "fields": []},
        ])
    );
    assert_eq!((&diff["to"], &diff["text"]["from"]), (&json!(hash(0)), &json!(texts[0])));
    assert_eq!(ask(&server, "GET", "/api/v1/flows/steps/diff?from=present&to=draft", &[], None).status, 404);
    let draft = json!({"text": "name: Steps\nprocessors: []\n", "files": {}, "based_on": hash(0)});
    ask(&server, "PUT", "/api/v1/drafts/steps", &[("If-None-Match", "*")], Some(draft));
    let diff = get(&server, "/api/v1/flows/steps/diff?from=present&to=draft");
    assert_eq!((&diff["processors"][2]["change"], &diff["to"]), (&json!("removed"), &json!("draft")));

    // What is disabled is enabled again as it was.
    assert_eq!(ask(&server, "POST", "/api/v1/flows/steps/disable", &[], None).body["state"], "disabled");
    let enabled = ask(&server, "POST", "/api/v1/flows/steps/enable", &[], None).body;
    assert_eq!(
        (&enabled["flow"]["state"], &enabled["flow"]["version"]),
        (&json!("enabled"), &json!(hash(0))),
        "{enabled}"
    );
    assert_eq!(ask(&server, "POST", "/api/v1/flows/none/enable", &[], None).body["code"], "not-found");
}

#[test]
fn flows_are_checked_found_and_sorted() {
    let place = Place::new();
    let server = place.serve(&[]);
    let validate = |text: &str| {
        let answer = ask(&server, "POST", "/api/v1/validate", &[], Some(json!({"text": text, "files": {}})));
        assert_eq!(answer.status, 200);
        answer.body
    };
    let good = validate(&flow("Über alles", UPPER, ""));
    assert_eq!(
        (good["slug"].as_str(), good["plan"]["processors"][1]["line"].as_u64()),
        (Some("über-alles"), Some(4)),
        "{good}"
    );
    let bad = validate("name: Bad\nprocesors: []\n");
    assert!(bad["plan"].is_null() && bad["name"] == "Bad", "{bad}");
    assert!(bad["diagnostics"].as_array().unwrap().iter().any(|row| row["code"] == "unknown-key"), "{bad}");
    assert!(validate("")["name"].is_null());

    let kinds = get(&server, "/api/v1/kinds");
    let script = kinds["rows"].as_array().unwrap().iter().find(|row| row["name"] == "script").unwrap();
    assert!(script["schema"]["properties"]["language"].is_object() && script["class"] == "processor", "{script}");
    assert_eq!(get(&server, "/api/v1/kinds/destination/folder")["class"], "destination");
    let unknown = ask(&server, "GET", "/api/v1/kinds/source/none", &[], None);
    assert!(unknown.status == 404 && unknown.body["hint"].as_str().unwrap().contains("file_drop"), "{}", unknown.body);
    assert_eq!(ask(&server, "GET", "/api/v1/kinds/nonsense/x", &[], None).status, 400);

    for name in ["Beta", "alpha", "Gamma rays"] {
        let text = flow(name, UPPER, "").replacen('\n', "\ndescription: About Größe\n", 1);
        ask(&server, "POST", "/api/v1/flows", &[], Some(json!({"text": text, "files": {}})));
    }
    let names = |query: &str| {
        let rows = get(&server, &format!("/api/v1/flows?{query}"))["rows"].clone();
        rows.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(""), ["alpha", "Beta", "Gamma rays"]);
    assert_eq!(names("sort=-name"), ["Gamma rays", "Beta", "alpha"]);
    assert_eq!(names("q=RAYS%20gr%C3%B6%C3%9Fe"), ["Gamma rays"]);
    assert_eq!(names("q=nothing"), Vec::<String>::new());
    assert_eq!(ask(&server, "GET", "/api/v1/flows?sort=colour", &[], None).status, 400);
    assert!(get(&server, "/api/v1/flows")["rows"][0]["last_item"].is_null());
    place.write("beta/inbox/a.txt", "a");
    until("the item is told of", || names("sort=-last_item")[0] == "Beta");
}

#[test]
fn what_comes_after_enabling_goes_through_what_was_enabled() {
    let place = Place::new();
    fs::create_dir(place.path("inbox")).unwrap();
    let text = |version: usize| {
        let code = format!("def process(data: bytes) -> bytes:\n    return data + b' by {version}'\n");
        flow("Turn", &code, "")
    };
    place.write("flow.yaml", text(0));
    place.ok(&["flows", "enable", "flow.yaml"]);
    let server = place.serve(&[]);
    for version in 1..=20 {
        let base = place.path("").display().to_string();
        let upload = json!({ "text": text(version), "files": {}, "base": base }).to_string();
        let (status, _, body) = server.send("POST", "/api/v1/flows", "application/json", upload.as_bytes());
        // At once, as a script does that enables and then delivers.
        fs::write(place.path(&format!("inbox/{version}.txt")), "made").unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        until("it is through", || place.path(&format!("outbox/{version}.txt")).exists());
        assert_eq!(place.read(&format!("outbox/{version}.txt")), format!("made by {version}"));
    }
    // Nothing that comes after disabling is taken in.
    let (status, _, _) = server.send("POST", "/api/v1/flows/turn/disable", "application/json", b"null");
    fs::write(place.path("inbox/late.txt"), "late").unwrap();
    assert_eq!(status, 200);
    server.stop().exits(0);
    let server = place.serve(&[]);
    assert_eq!(place.rows(&["runs", "list"]).iter().map(|run| run["arrivals"].as_u64().unwrap()).sum::<u64>(), 20);
    server.stop().exits(0);
}
