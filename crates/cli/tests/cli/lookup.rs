//! Datasets looked for, read by parts, taken along by the dozen, and followed back; dead letters by what went wrong: on
//! the binary, over TCP.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::place::{Place, Server, exchange, flow, until};

/// Fails on items that say so, each in words of its own; splits those with commas.
const CODE: &str = "\
def process(item):
    text = item.text()
    if text.startswith('bad'):
        raise ValueError(f\"row {len(text)} of '{item.name}' is bad\")
    if text.startswith('odd'):
        raise KeyError('odd')
    if ',' not in text:
        yield item.with_(text.upper())
    else:
        for n, part in enumerate(text.split(',')):
            yield item.with_(part.upper(), name=f'{item.stem}-{n}.txt')
";

fn get(server: &Server, path: &str) -> Value {
    let (status, body) = server.get(path);
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

fn names(page: &Value) -> Vec<&str> {
    page["rows"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect()
}

/// Asks with headers: status, head, body.
fn with(server: &Server, method: &str, path: &str, headers: &str) -> (u16, String, Vec<u8>) {
    let stream = TcpStream::connect(&server.address).unwrap();
    let headers = format!("Host: {}\r\nAuthorization: Bearer {}\r\n{headers}", server.address, server.token);
    exchange(stream, method, path, &headers, ("application/json", b""))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, v)| v)
}

#[test]
fn datasets_are_found_read_and_taken_along() {
    let place = Place::new();
    place.write("flow.yaml", flow("Look", CODE, ""));
    place.write("inbox/Survey März.txt", "one,two,three");
    place.write("inbox/report.csv", "a longer text than the others");
    place.write("inbox/page.html", "<script>alert(1)</script>");
    for (name, text) in [("x1.txt", "bad"), ("x2.txt", "bad luck"), ("x3.txt", "odd")] {
        place.write(&format!("inbox/{name}"), text);
    }
    place.ok(&["flows", "enable", "flow.yaml"]);
    let server = place.serve(&[]);
    let all = "/api/v1/datasets?sort=name&wait_ms=5000";
    until("all is there", || names(&get(&server, all)).len() == 5);
    until("all have failed", || get(&server, "/api/v1/dead-letters")["rows"].as_array().unwrap().len() == 3);

    // In order, by words, by what they are.
    let sorted = ["page.html", "report.csv", "Survey März-0.txt", "Survey März-1.txt", "Survey März-2.txt"];
    let page = get(&server, all);
    assert_eq!((names(&page), &page["total"]), (sorted.to_vec(), &json!(5)));
    assert_eq!(page["behind"], Value::Null);
    let asked = |query: &str| {
        let page = get(&server, &format!("/api/v1/datasets?wait_ms=5000&{query}"));
        names(&page).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(asked("q=M%C3%84RZ%20-1"), ["Survey März-1.txt"]);
    assert_eq!(asked("sort=-size&limit=1"), ["report.csv"]);
    assert_eq!(asked("q=survey&sort=-name&limit=2"), ["Survey März-2.txt", "Survey März-1.txt"]);
    assert_eq!(asked("media=text&q=report"), ["report.csv"]);
    assert_eq!(asked("export=written&sort=name").len(), 5);
    assert_eq!(asked("since=2100-01-01"), [""; 0]);
    for bad in ["sort=shape", "since=yesterday", "q=a&name=b", "export=lost", "sort=name&after=x"] {
        assert_eq!(server.get(&format!("/api/v1/datasets?{bad}")).0, 400, "{bad}");
    }
    assert_eq!(place.rows(&["datasets", "list", "--search", "survey", "--sort=-name"])[0]["name"], "Survey März-2.txt");

    // Bytes: whole, a part, not again; under its name; nothing that could run.
    let id = |name: &str| {
        let rows = get(&server, all)["rows"].as_array().unwrap().clone();
        let row = rows.into_iter().find(|row| row["name"] == name).unwrap();
        (row["id"].as_str().unwrap().to_owned(), row["hash"].as_str().unwrap().to_owned())
    };
    let (report, hash) = id("report.csv");
    let path = format!("/api/v1/datasets/{report}/content");
    let (status, head, body) = with(&server, "GET", &path, "");
    assert_eq!((status, body.as_slice()), (200, "A LONGER TEXT THAN THE OTHERS".as_bytes()));
    assert_eq!(header(&head, "etag"), Some(format!("\"{hash}\"").as_str()));
    assert_eq!(header(&head, "content-type"), Some("text/csv; charset=utf-8"));
    assert!(header(&head, "content-disposition").unwrap().starts_with("inline; filename=\"report.csv\""));
    let (status, head, body) = with(&server, "GET", &path, "Range: bytes=2-7\r\n");
    assert_eq!((status, body.as_slice()), (206, "LONGER".as_bytes()));
    assert_eq!(header(&head, "content-range"), Some("bytes 2-7/29"));
    assert_eq!(with(&server, "GET", &path, "Range: bytes=-6\r\n").2, b"OTHERS");
    assert_eq!(with(&server, "GET", &path, "Range: bytes=29-\r\n").0, 416);
    assert_eq!(with(&server, "GET", &path, "Range: bytes=0-1\r\nIf-Range: \"other\"\r\n").0, 200);
    let (status, _, body) = with(&server, "GET", &path, &format!("If-None-Match: \"{hash}\"\r\n"));
    assert_eq!((status, body.len()), (304, 0));
    let (status, head, body) = with(&server, "HEAD", &path, "");
    assert_eq!((status, header(&head, "content-length"), body.len()), (200, Some("29"), 0));
    let (_, head, _) = with(&server, "GET", &format!("{path}?download=1"), "");
    assert!(header(&head, "content-disposition").unwrap().starts_with("attachment"));
    let (page_id, _) = id("page.html");
    let (_, head, _) = with(&server, "GET", &format!("/api/v1/datasets/{page_id}/content"), "");
    assert_eq!(header(&head, "content-type"), Some("application/octet-stream"));
    assert_eq!(header(&head, "x-content-type-options"), Some("nosniff"));
    assert!(header(&head, "content-disposition").unwrap().starts_with("attachment"));

    // A link, once, without a token.
    let (status, _, body) = server.send("POST", &format!("/api/v1/datasets/{report}/link"), "application/json", b"");
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let link: Value = serde_json::from_slice(&body).unwrap();
    let follow = || {
        let stream = TcpStream::connect(&server.address).unwrap();
        let host = format!("Host: {}\r\n", server.address);
        exchange(stream, "GET", link["url"].as_str().unwrap(), &host, ("text/plain", b""))
    };
    let (status, head, body) = follow();
    assert_eq!((status, body.len()), (200, 29));
    assert!(header(&head, "content-disposition").unwrap().starts_with("attachment"));
    assert_eq!(follow().0, 404);

    // An archive of all, the same name twice: also from a form.
    let (survey, _) = id("Survey März-0.txt");
    let ids = [&report, &survey, &report].map(String::as_str);
    let (status, head, zip) = server.send(
        "POST",
        "/api/v1/datasets/archive",
        "application/json",
        json!({ "ids": ids }).to_string().as_bytes(),
    );
    assert_eq!((status, header(&head, "content-type")), (200, Some("application/zip")));
    place.write("all.zip", &zip);
    let list = "import sys,zipfile; z=zipfile.ZipFile('all.zip'); assert z.testzip() is None; \
                [print(n, z.read(n).decode()) for n in z.namelist()]";
    let python = std::process::Command::new("python3").args(["-c", list]).current_dir(place.path("")).output().unwrap();
    let listed = String::from_utf8(python.stdout).unwrap();
    let expected =
        "report.csv A LONGER TEXT THAN THE OTHERS\nSurvey März-0.txt ONE\nreport-2.csv A LONGER TEXT THAN THE OTHERS\n";
    assert_eq!(listed, expected, "{}", String::from_utf8_lossy(&python.stderr));
    let form = format!("ids={}", ids.join("%2C"));
    let kind = "application/x-www-form-urlencoded";
    let (status, _, body) = server.send("POST", "/api/v1/datasets/archive", kind, form.as_bytes());
    assert_eq!((status, &body[..2]), (200, &b"PK"[..]));
    for (body, status) in [("{\"ids\":[]}", 422), ("{\"ids\":[\"1-zzzz\"]}", 404)] {
        assert_eq!(
            server.send("POST", "/api/v1/datasets/archive", "application/json", body.as_bytes()).0,
            status,
            "{body}"
        );
    }

    // What it was made of, and what else was made of the same file.
    let graph = get(&server, &format!("/api/v1/datasets/{survey}/lineage"));
    let nodes = graph["nodes"].as_array().unwrap();
    let of = |kind: &str| {
        let of_kind = nodes.iter().filter(|node| node["kind"] == kind);
        let mut labels: Vec<_> = of_kind.map(|node| node["label"].as_str().unwrap()).collect();
        labels.sort_unstable();
        labels
    };
    assert_eq!(of("source"), ["Survey März.txt"]);
    assert_eq!(of("dataset"), ["Survey März-0.txt", "Survey März-1.txt", "Survey März-2.txt"]);
    assert_eq!((of("item").len(), &graph["cut"]), (4, &json!(false)), "{graph}");
    let edges = graph["edges"].as_array().unwrap();
    assert_eq!(edges.len(), 7, "{graph}");
    for edge in edges {
        for end in ["from", "to"] {
            assert!(nodes.iter().any(|node| node["id"] == edge[end]), "{edge}");
        }
    }

    // Dead letters by what went wrong.
    let groups = get(&server, "/api/v1/dead-letters/groups");
    let told: Vec<_> = groups["rows"].as_array().unwrap().iter().map(|row| (&row["code"], &row["count"])).collect();
    assert_eq!(told, [(&json!("ValueError"), &json!(2)), (&json!("KeyError"), &json!(1))], "{groups}");
    let (group, message) = (&groups["rows"][0]["group"], groups["rows"][0]["message"].as_str().unwrap());
    assert_eq!(message, "row … of '…' is bad");
    let group = group.as_str().unwrap();
    let of_group = get(&server, &format!("/api/v1/dead-letters?group={group}"));
    assert_eq!(of_group["rows"].as_array().unwrap().len(), 2);
    assert_eq!(get(&server, "/api/v1/dead-letters?q=x2%20luck")["rows"].as_array().unwrap().len(), 0);
    assert_eq!(get(&server, "/api/v1/dead-letters?q=X2%20row")["rows"].as_array().unwrap().len(), 1);
    assert_eq!(server.get("/api/v1/dead-letters?group=typo").0, 400);
    let letter = get(&server, "/api/v1/dead-letters?q=x3")["rows"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(get(&server, &format!("/api/v1/dead-letters/{letter}"))["item"]["name"], "x3.txt");
    let (status, _, body) =
        with(&server, "GET", &format!("/api/v1/dead-letters/{letter}/content"), "Range: bytes=0-1\r\n");
    assert_eq!((status, body.as_slice()), (206, &b"od"[..]));
    let rows = place.rows(&["dead-letters", "groups", "--search", "row"]);
    assert_eq!((rows.len(), &rows[0]["group"]), (1, &json!(group)));
    let done = place.ok(&["dead-letters", "discard", "--all", "--group", group, "--reason", "known", "--yes"]);
    assert!(done.contains("2 dead letters discarded"), "{done}");
    assert_eq!(place.rows(&["dead-letters", "list"]).len(), 1);
    server.stop().exits(0);

    // Without a server it is the same.
    assert_eq!(place.rows(&["datasets", "list", "--search", "märz-2"])[0]["name"], "Survey März-2.txt");
}

#[test]
fn an_asker_who_leaves_ends_his_archive() {
    let place = Place::new();
    place.write("flow.yaml", flow("Look", CODE, ""));
    place.write(
        "inbox/big.bin",
        (0..3_000_000u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes().map(|b| b & 0x3f | 0x40))
            .collect::<Vec<u8>>(),
    );
    place.ok(&["flows", "enable", "flow.yaml"]);
    let server = place.serve(&[]);
    let all = "/api/v1/datasets?sort=name&wait_ms=5000";
    until("it is there", || names(&get(&server, all)).len() == 1);
    let id = get(&server, all)["rows"][0]["id"].as_str().unwrap().to_owned();
    let body = json!({ "ids": vec![id; 50] }).to_string();
    let mut stream = TcpStream::connect(&server.address).unwrap();
    write!(
        stream,
        "POST /api/v1/datasets/archive HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        server.address,
        server.token,
        body.len()
    )
    .unwrap();
    let mut some = [0; 100_000];
    stream.read_exact(&mut some).unwrap();
    drop(stream);
    // Nothing is left that a stop would wait for.
    assert_eq!(names(&get(&server, all)).len(), 1);
    server.stop().exits(0);
}
