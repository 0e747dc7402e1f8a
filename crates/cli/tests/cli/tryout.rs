//! Uploads, try-outs, files put into a source, edited dead letters and what happened in a run, on the binary: over the
//! socket and over TCP.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::place::{PATIENCE, Place, Server, UPPER, exchange, flow, until};

/// Asks over the socket in JSON.
fn ask(place: &Place, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let stream = UnixStream::connect(place.data.join("opendmp.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let text = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let headers = "Host: x\r\nopendmp-actor: ada\r\n";
    let (status, _, answer) = exchange(stream, method, &format!("/api/v1{path}"), headers, ("application/json", &text));
    (status, serde_json::from_slice(&answer).unwrap_or(Value::Null))
}

fn upload(server: &Server, name: &str, bytes: &[u8]) -> Value {
    let path = format!("/api/v1/uploads?name={name}");
    let (status, _, body) = server.send("POST", &path, "application/octet-stream", bytes);
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap()
}

/// All that the journal tells of work.
fn seen(place: &Place) -> Vec<Value> {
    let lists = [&["runs", "list"][..], &["datasets", "list"], &["dead-letters", "list"], &["flows", "list"]];
    let mut all: Vec<Value> = lists.iter().map(|list| Value::Array(place.rows(list))).collect();
    all.push(ask(place, "GET", "/status", &Value::Null).1["backlog"].clone());
    all
}

fn uploads(place: &Place) -> usize {
    fs::read_dir(place.data.join("uploads")).unwrap().count()
}

#[test]
fn a_script_is_tried_on_the_binary_and_nothing_is_recorded() {
    let place = Place::new();
    place.write("flow.yaml", flow("Shout", UPPER, ""));
    place.write("inbox/a.txt", "live");
    place.ok(&["flows", "enable", "flow.yaml"]);
    let server = place.serve(&[]);
    until("it is through", || place.path("outbox/a.txt").exists());
    until("it is settled", || place.rows(&["runs", "list"])[0]["state"] == "done");
    let before = seen(&place);
    let size = || fs::metadata(place.data.join("journal.db")).unwrap().len();
    let journal = size();

    let bytes: Vec<u8> = (0..700_000u32).map(|n| b'a' + (n % 26) as u8).collect();
    let kept = upload(&server, "gr%C3%B6%C3%9Fe.txt", &bytes);
    assert_eq!((&kept["name"], &kept["size"]), (&json!("größe.txt"), &json!(700_000)));
    let id = kept["upload"].as_str().unwrap();
    let edited = flow("Shout", "def process(data: bytes) -> bytes:\n    print('try')\n    return data.upper()\n", "");
    let request = json!({ "text": edited, "processor": "work", "sample": { "upload": id } });
    let (status, tried) = ask(&place, "POST", "/try", &request);
    assert_eq!(
        (status, &tried["outcome"], &tried["log"][0]["text"]),
        (200, &json!("emitted"), &json!("try")),
        "{tried}"
    );
    let output = &tried["outputs"][0];
    assert_eq!(
        (&output["name"], &output["size"], &tried["more"]),
        (&json!("größe.txt"), &json!(700_000), &json!(false))
    );
    assert_eq!(output["preview"].as_str().unwrap().len(), 64 << 10);
    assert_eq!(tried["input"]["upload"], json!(id));
    let content = format!("/api/v1/uploads/{}/content", output["upload"].as_str().unwrap());
    let (status, head, body) = server.send("GET", &content, "text/plain", b"");
    assert!(status == 200 && body == bytes.to_ascii_uppercase() && head.contains("nosniff"), "{head}");

    let ranged = format!("Authorization: Bearer {}\r\nRange: bytes=26-29\r\n", server.token);
    let (status, part) = server.get_with(&content, &ranged);
    assert_eq!((status, part.as_bytes()), (206, &bytes.to_ascii_uppercase()[26..30]));

    // What went into the step lately is a sample, too; and so are a dataset and text.
    let (_, recent) = ask(&place, "GET", "/flows/shout/recent?processor=work", &Value::Null);
    assert_eq!(
        (&recent["rows"][0]["name"], recent["rows"].as_array().unwrap().len()),
        (&json!("a.txt"), 1),
        "{recent}"
    );
    let item = recent["rows"][0]["item"].as_str().unwrap();
    let dataset = place.rows(&["datasets", "list"])[0]["id"].as_str().unwrap().to_owned();
    for (sample, bytes) in [
        (json!({ "item": item }), "LIVE"),
        (json!({ "dataset": dataset }), "LIVE"),
        (json!({ "text": "written", "name": "w.txt" }), "WRITTEN"),
    ] {
        let request = json!({ "text": edited, "processor": "work", "sample": sample });
        let (status, tried) = ask(&place, "POST", "/try", &request);
        assert_eq!((status, &tried["outputs"][0]["preview"]), (200, &json!(bytes)), "{sample}: {tried}");
    }
    let (_, out) = ask(&place, "GET", "/flows/shout/recent?processor=work&side=out", &Value::Null);
    assert_eq!(out["rows"][0]["size"], json!(4), "{out}");

    // A script that fails gives its line; a flow that is wrong there is refused, one that is wrong elsewhere is not.
    let failing = flow("Shout", "def process(data: bytes) -> bytes:\n    x = 1\n    return x / 0\n", "");
    let sample = json!({ "text": "x", "name": "x" });
    let (_, tried) = ask(&place, "POST", "/try", &json!({ "text": failing, "processor": "work", "sample": sample }));
    let fault = &tried["fault"];
    assert_eq!(
        (&tried["outcome"], &fault["code"], &fault["line"]),
        (&json!("failed"), &json!("ZeroDivisionError"), &json!(3))
    );
    assert_eq!(fault["source"], json!("return x / 0"));
    let broken = flow("Shout", "def process(data: bytes) -> bytes\n    return data\n", "");
    let (status, told) = ask(&place, "POST", "/try", &json!({ "text": broken, "processor": "work", "sample": sample }));
    assert_eq!(
        (status, &told["code"], &told["diagnostics"][0]["processor"]),
        (422, &json!("bad-flow"), &json!("work"))
    );
    let elsewhere = edited.replace("collection:", "colection:");
    let (status, told) =
        ask(&place, "POST", "/try", &json!({ "text": elsewhere, "processor": "work", "sample": sample }));
    assert_eq!((status, &told["outcome"]), (200, &json!("emitted")));
    assert!(told["diagnostics"].as_array().unwrap().iter().any(|one| one["code"] == "unknown-key"), "{told}");
    let shelf = json!({ "text": edited, "processor": "shelf", "sample": sample });
    let (_, told) = ask(&place, "POST", "/try", &shelf);
    assert_eq!((&told["outcome"], &told["collected"]["target"]), (&json!("collected"), &json!("./outbox/x")), "{told}");
    for (request, status, code) in [
        (json!({ "text": edited, "processor": "inbox", "sample": sample }), 409, "not-a-step"),
        (json!({ "text": edited, "processor": "none", "sample": sample }), 404, "not-found"),
        (json!({ "text": edited, "processor": "work", "sample": {} }), 400, "bad-sample"),
        (json!({ "text": edited, "processor": "work", "sample": { "upload": "x" } }), 404, "not-found"),
        (json!({ "text": edited, "processor": "work", "sample": { "text": "x", "name": "a/b" } }), 400, "bad-name"),
    ] {
        let (answered, told) = ask(&place, "POST", "/try", &request);
        assert_eq!((answered, &told["code"]), (status, &json!(code)), "{told}");
    }
    assert_eq!(seen(&place), before);
    assert_eq!(size(), journal);
    assert_eq!(fs::read_dir(place.path("outbox")).unwrap().count(), 1, "nothing was exported");
    assert_eq!(ask(&place, "DELETE", &format!("/uploads/{id}"), &Value::Null).0, 204);
    assert_eq!(ask(&place, "GET", &format!("/uploads/{id}"), &Value::Null).0, 404);
    server.stop().exits(0);
}

#[test]
fn who_leaves_ends_a_try_out_and_an_upload() {
    let place = Place::new();
    let server = place.serve(&[]);
    let mark = place.path("mark").display().to_string();
    let code = format!(
        "import subprocess\ndef process(data: bytes) -> bytes:\n    \
         subprocess.run(['sh', '-c', 'sleep 600; true', {mark:?}])\n    return data\n"
    );
    // A script knows its processes by other numbers.
    let runs = || {
        let has = |entry: fs::DirEntry| {
            let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&arguments).contains(&mark)
        };
        fs::read_dir("/proc").unwrap().flatten().any(has)
    };
    let body = json!({ "text": flow("Slow", &code, ""), "processor": "work", "sample": { "text": "x" }, "timeout_ms": 500_000 });
    let body = body.to_string();
    let mut stream = UnixStream::connect(place.data.join("opendmp.sock")).unwrap();
    let length = body.len();
    write!(stream, "POST /api/v1/try HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .unwrap();
    until("it is tried", runs);
    drop(stream);
    until("its process is gone", || !runs());

    let mut stream = TcpStream::connect(&server.address).unwrap();
    let (host, token) = (&server.address, &server.token);
    write!(stream, "POST /api/v1/uploads?name=half HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nContent-Length: 9000000\r\n\r\n")
        .unwrap();
    stream.write_all(&vec![0; 1 << 20]).unwrap();
    until("it comes in", || uploads(&place) == 1);
    drop(stream);
    until("nothing is left of it", || uploads(&place) == 0);
    for (name, status, code) in
        [("", 400, "bad-name"), ("a%2Fb", 400, "bad-name"), ("a&media_type=x", 400, "bad-media-type")]
    {
        let (answered, _, body) = server.send("POST", &format!("/api/v1/uploads?name={name}"), "text/plain", b"x");
        let told: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((answered, &told["code"]), (status, &json!(code)), "{told}");
    }
    server.stop().exits(0);
}

#[test]
fn a_file_is_dropped_into_a_source() {
    let place = Place::new();
    place.write("flow.yaml", flow("Shout", UPPER, "").replace("settle: 0s", "settle: 0s, pattern: \"*.txt\""));
    fs::create_dir(place.path("inbox")).unwrap();
    place.ok(&["flows", "enable", "flow.yaml"]);
    let server = place.serve(&[]);
    let put = |name: &str, bytes: &[u8]| {
        let path = format!("/api/v1/flows/shout/sources/inbox/files?name={name}");
        let (status, _, body) = server.send("POST", &path, "application/octet-stream", bytes);
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let large = vec![b'x'; 2 << 20];
    assert_eq!(put("a.txt", &large), (201, json!({ "name": "a.txt" })));
    until("it is through", || fs::metadata(place.path("outbox/a.txt")).is_ok_and(|meta| meta.len() == 2 << 20));
    for (name, status, code) in [
        ("a.txt", 409, "name-taken"),
        ("a.csv", 400, "no-match"),
        ("..%2Fa.txt", 400, "bad-name"),
        ("sub%2Fa.txt", 400, "bad-name"),
    ] {
        let (answered, told) = put(name, b"x");
        assert_eq!((answered, &told["code"]), (status, &json!(code)), "{told}");
    }
    assert_eq!(put("a.txt&replace=true", b"again").0, 201);
    until("the new one is through", || place.read("outbox/a.txt") == "AGAIN");
    let (status, told) = ask(&place, "POST", "/flows/shout/sources/work/files?name=a.txt", &Value::Null);
    assert_eq!((status, &told["code"]), (404, &json!("not-found")), "{told}");
    let names: Vec<_> = fs::read_dir(place.path("inbox")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["a.txt"]);
    server.stop().exits(0);
}

#[test]
fn an_edited_dead_letter_goes_on_and_its_dataset_explains_the_edit() {
    let place = Place::new();
    let code = "import json\ndef process(data: bytes) -> bytes:\n    return json.dumps(json.loads(data)).encode()\n";
    place.write("flow.yaml", flow("Mend", code, "  on_error: { retries: 0 }\n"));
    place.write("inbox/a.json", "{broken");
    place.ok(&["flows", "enable", "flow.yaml"]);
    let server = place.serve(&[]);
    until("it failed", || place.rows(&["dead-letters", "list"]).len() == 1);
    let letter = place.rows(&["dead-letters", "list"])[0]["id"].as_str().unwrap().to_owned();
    // Its input is a sample, too.
    let sample = json!({ "dead_letter": letter });
    let tried =
        ask(&place, "POST", "/try", &json!({ "text": place.read("flow.yaml"), "processor": "work", "sample": sample }))
            .1;
    assert_eq!((&tried["outcome"], &tried["input"]["preview"]), (&json!("failed"), &json!("{broken")));

    let same = upload(&server, "a.json", b"{broken");
    let retry = |id: &Value| {
        ask(&place, "POST", &format!("/dead-letters/{letter}/retry"), &json!({ "upload": id, "note": "a brace" }))
    };
    let (status, told) = retry(&same["upload"]);
    assert_eq!((status, &told["code"]), (409, &json!("not-edited")), "{told}");
    let mended = upload(&server, "a.json", b"{\"mended\": 1}");
    let (status, told) = retry(&mended["upload"]);
    assert_eq!((status, &told["letters"]), (200, &json!(1)), "{told}");
    until("it is through", || place.path("outbox/a.json").exists());
    assert_eq!(place.read("outbox/a.json"), "{\"mended\": 1}");
    assert_eq!(retry(&mended["upload"]).0, 409, "it is not open any more");
    assert_eq!(ask(&place, "DELETE", &format!("/uploads/{}", mended["upload"].as_str().unwrap()), &Value::Null).0, 204);

    let told = place.run(&["datasets", "history", "a.json", "--format", "json"]).exits(0).json();
    let steps = told["steps"].as_array().unwrap();
    let edit = steps.iter().find(|step| step["processor"] == "retry").expect("the edit is a step");
    assert_eq!((&edit["actor"], &edit["hash"]), (&json!("ada"), &mended["hash"]));
    let (before, after) = (same["hash"].as_str().unwrap(), mended["hash"].as_str().unwrap());
    assert_eq!(edit["note"], json!(format!("edited: b3:{before} became b3:{after}")));
    let text = place.ok(&["datasets", "history", "a.json"]);
    assert!(
        text.contains("edited and sent in again by ada") && text.contains(&format!("became b3:{}", &after[..6])),
        "{text}"
    );
    assert!(place.ok(&["datasets", "history", "a.json", "--long"]).contains(&format!("before b3:{before}")));
    // What a person made stays as long as the source does, also when garbage is collected.
    place.ok(&["gc"]);
    let edited = edit["output"].as_str().unwrap();
    assert_eq!(place.run(&["items", "content", edited]).exits(0).out, "{\"mended\": 1}");

    // The steps of the runs, in order.
    let run = told["dataset"]["run"].as_u64().unwrap_or(2);
    let (status, page) = ask(&place, "GET", &format!("/runs/{run}/items"), &Value::Null);
    let rows = page["rows"].as_array().unwrap();
    let told: Vec<&str> = rows.iter().map(|row| row["processor"].as_str().unwrap()).collect();
    assert_eq!((status, told), (200, vec!["retry", "work", "shelf"]), "{page}");
    assert_eq!((&rows[1]["input"]["name"], &rows[1]["input"]["size"]), (&json!("a.json"), &json!(13)));
    assert!(rows[2]["dataset"]["id"].is_string() && rows[2]["children"].as_array().unwrap().is_empty(), "{page}");
    let (_, first) = ask(&place, "GET", "/runs/1/items?limit=1", &Value::Null);
    assert_eq!((&first["rows"][0]["processor"], first["rows"].as_array().unwrap().len()), (&json!("inbox"), 1));
    let (_, rest) =
        ask(&place, "GET", &format!("/runs/1/items?after={}", first["next"].as_str().unwrap()), &Value::Null);
    assert_eq!(
        (&rest["rows"][0]["result"], &rest["rows"][0]["dead_letter"]),
        (&json!("dead"), &json!(letter)),
        "{rest}"
    );
    assert_eq!(ask(&place, "GET", "/runs/99/items", &Value::Null).0, 404);
    assert_eq!(ask(&place, "GET", "/runs/1/items?after=x", &Value::Null).0, 400);
    server.stop().exits(0);
}

#[test]
fn what_comes_and_goes_in_the_middle_leaves_nothing() {
    let place = Place::new();
    place.write("flow.yaml", flow("Shout", UPPER, ""));
    fs::create_dir(place.path("inbox")).unwrap();
    // Noise, so that an archive of it is as large.
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b'A' + (state >> 27) as u8 % 26
    };
    place.write("inbox/large.txt", (0..24 << 20).map(|_| noise()).collect::<Vec<u8>>());
    place.ok(&["flows", "enable", "flow.yaml"]);
    let server = place.serve(&[]);
    until("it is through", || place.rows(&["datasets", "list"]).len() == 1);
    let id = place.rows(&["datasets", "list"])[0]["id"].as_str().unwrap().to_owned();
    let begin = |server: &Server, method: &str, path: &str, kind: &str, length: usize, body: &[u8]| {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        let (host, token) = (&server.address, &server.token);
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nContent-Type: {kind}\r\n\
             Content-Length: {length}\r\n\r\n"
        )
        .unwrap();
        stream.write_all(body).unwrap();
        stream
    };
    let into = "/api/v1/flows/shout/sources/inbox/files?name=half.txt";
    let inbox = || fs::read_dir(place.path("inbox")).unwrap().count();
    let open = |server: &Server| fs::read_dir(format!("/proc/{}/fd", server.running.id())).unwrap().count();

    // Who asked for archives takes the first of each, and no more.
    let before = open(&server);
    let ids = json!({ "ids": [id] }).to_string();
    let archive = |server: &Server| {
        let mut stream =
            begin(server, "POST", "/api/v1/datasets/archive", "application/json", ids.len(), ids.as_bytes());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut told = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut told).unwrap();
        (String::from_utf8_lossy(&told[9..]).into_owned(), stream)
    };
    let asked: Vec<_> = (0..32).map(|_| archive(&server)).collect();
    assert!(asked.iter().all(|(status, _)| status == "200"));
    assert_eq!(archive(&server).0, "503", "one more would take the last threads");
    assert!(open(&server) >= before + 32);
    drop(asked);
    until("all of them are let go", || archive(&server).0 == "200");
    until("nothing is open for them", || open(&server) <= before + 1);

    // A file that does not come whole never counts as one.
    let half = begin(&server, "POST", into, "application/octet-stream", 9_000_000, &vec![b'x'; 1 << 20]);
    until("it comes in", || inbox() == 2);
    drop(half);
    until("nothing is left of it", || inbox() == 1);

    // Nor where the server is killed.
    let _half = begin(&server, "POST", into, "application/octet-stream", 9_000_000, &vec![b'x'; 1 << 20]);
    let _other = begin(&server, "POST", "/api/v1/uploads?name=half", "text/plain", 9_000_000, &vec![b'x'; 1 << 20]);
    let _third = archive(&server);
    until("they come in", || inbox() == 2 && uploads(&place) == 1);
    server.running.signal(nix::sys::signal::Signal::SIGKILL);
    drop(server.running.end());
    let server = place.serve(&[]);
    until("no upload is left", || uploads(&place) == 0);
    let (status, _, body) = server.send("POST", into, "application/octet-stream", b"whole");
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
    until("the whole one is through", || place.rows(&["datasets", "list"]).len() == 2);
    assert_eq!(place.read("outbox/half.txt"), "WHOLE");
    assert!(place.rows(&["dead-letters", "list"]).is_empty());
    server.stop().exits(0);
}
