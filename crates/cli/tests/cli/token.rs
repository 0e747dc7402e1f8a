//! Who gets to see the access token, and links that sign a browser in once.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::place::{Place, until};

const HTML: &str = "Accept: text/html\r\n";

#[test]
fn a_link_opens_the_page_once() {
    let place = Place::new();
    let none = place.run(&["token", "--link"]).exits(1);
    assert!(none.err.contains("no server is running") && none.err.contains("opendmp serve"), "{}", none.err);
    let none = place.run(&["token"]).exits(1);
    assert!(none.err.contains("no access token") && none.err.contains("opendmp serve"), "{}", none.err);

    let server = place.serve(&[]);
    let link = place.ok(&["token", "--link"]);
    let path = link.trim().strip_prefix(&format!("http://{}", server.address)).unwrap().to_owned();
    assert!(path.starts_with("/?token=") && !link.contains(&server.token) && link.lines().count() == 1, "{link}");
    assert_eq!(server.get_with(&path, HTML).0, 303);
    let (code, page) = server.get_with(&path, HTML);
    assert!(code == 401 && page.contains("opendmp token --link"), "{code} {page}");
    assert_ne!(link, place.ok(&["token", "--link"]));
    let (code, _, refused) = server.send("POST", "/api/v1/sign-in-link", "application/json", b"");
    assert!(code == 403 && String::from_utf8_lossy(&refused).contains("not-over-http"));

    let told = place.run(&["token"]).exits(0);
    assert!(
        told.out.contains("access-token") && !told.out.contains(&server.token) && told.err.is_empty(),
        "{}",
        told.out
    );
    assert_eq!(place.ok(&["token", "--show"]).trim(), server.token);
    place.run(&["token", "--show", "--link"]).exits(2);
    place.run(&["token", "--link", "--server", "http://127.0.0.1:1"]).exits(2);
    server.stop().exits(0);
    // What is damaged is not printed either.
    fs::write(place.data.join("access-token"), "secret but short").unwrap();
    for arguments in [&["token"][..], &["token", "--show"], &["serve", "--listen", "127.0.0.1:0"]] {
        let damaged = place.run(arguments);
        assert!(!damaged.status.success() && damaged.err.contains("holds no token"), "{}", damaged.err);
        assert!(!damaged.err.contains("secret") && !damaged.out.contains("secret"), "{}", damaged.err);
    }
}

#[test]
fn the_token_is_in_no_pipe_log_or_process_list() {
    let place = Place::new();
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    let out = fs::File::create(place.path("out")).unwrap();
    let err = fs::File::create(place.path("err")).unwrap();
    // As much as it can say.
    let mut child = command.env("OPENDMP_LOG", "trace").stdout(out).stderr(err).spawn().unwrap();
    until("it listens", || place.read("out").lines().count() == 2);
    let token = fs::read_to_string(place.data.join("access-token")).unwrap().trim().to_owned();
    let link = place.ok(&["token", "--link"]);
    let secret = link.trim().split('=').nth(1).unwrap();
    let url = place.read("out").lines().next().unwrap().strip_prefix("listening on http://").unwrap().to_owned();
    let ask = |path: &str, headers: &str| {
        let stream = std::net::TcpStream::connect(&url).unwrap();
        crate::place::exchange(stream, "GET", path, &format!("Host: {url}\r\n{headers}"), ("text/plain", b"")).0
    };
    assert_eq!(ask(&format!("/?token={secret}"), HTML), 303);
    assert_eq!(ask(&format!("/?token={token}"), HTML), 303);
    assert_eq!(ask(&format!("/x?token={token}x"), HTML), 401);
    assert_eq!(ask("/api/v1/flows", &format!("Authorization: Bearer {token}\r\n")), 200);
    assert_eq!(ask(&format!("/api/v1/nothing?token={token}"), &format!("Authorization: Bearer {token}\r\n")), 404);
    let commands = fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success());
    let (out, log) = (place.read("out"), place.read("err"));
    assert!(out.contains("opendmp token --link --data-dir"), "{out}");
    assert!(log.contains("stopped"), "{log}");
    for (what, text) in [("output", &out), ("log", &log), ("command", &String::from_utf8_lossy(&commands).into_owned())]
    {
        let found = text.lines().find(|line| line.contains(&token) || line.contains(secret));
        assert!(found.is_none(), "the {what} has a secret: {}", found.unwrap_or_default());
    }
}

#[test]
fn a_terminal_gets_the_link_with_the_token() {
    let place = Place::new();
    let program = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
    let mut command = Command::new("python3");
    command.args(["-c", program, env!("CARGO_BIN_EXE_opendmp"), "serve", "--listen", "127.0.0.1:0"]);
    command.env("OPENDMP_DATA_DIR", &place.data).current_dir(place.path(""));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let open = lines.into_iter().find(|line| line.starts_with("open http://")).unwrap();
    let token = fs::read_to_string(place.data.join("access-token")).unwrap();
    assert!(open.contains(token.trim()), "{open}");
    let _ = child.kill();
    let _ = child.wait();
}
