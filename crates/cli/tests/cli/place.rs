//! What the tests share: a folder with a data directory, the binary on it, and a server.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A flow of one script between an inbox and an outbox.
pub fn flow(name: &str, code: &str, settings: &str) -> String {
    let code: String = code.lines().map(|line| format!("      {line}\n")).collect();
    format!(
        "name: {name}\nprocessors:\n\
         - {{ id: inbox, type: ingest, source: {{ type: file_drop, path: ./inbox, settle: 0s }} }}\n\
         - id: work\n  type: script\n  inputs: [inbox]\n{settings}  code: |\n{code}\
         - {{ id: shelf, type: collect, inputs: [work], collection: {name}, destination: {{ type: folder, path: ./outbox }} }}\n"
    )
}

/// A script that shouts.
pub const UPPER: &str = "def process(data: bytes) -> bytes:\n    return data.upper()\n";

/// A folder for one test.
pub struct Place {
    root: tempfile::TempDir,
    pub data: PathBuf,
}

/// What a command came to.
pub struct Done {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

impl Done {
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the output is text");
        Self { status: output.status, out: text(output.stdout), err: text(output.stderr) }
    }

    /// Expects an exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "\n--- stdout\n{}\n--- stderr\n{}", self.out, self.err);
        self
    }

    /// Its output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

impl Place {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        Self { root, data }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Writes a file and the folders above it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_opendmp"));
        command.args(arguments).current_dir(self.root.path()).stdin(Stdio::null());
        command.env("OPENDMP_DATA_DIR", &self.data).env("TZ", "UTC");
        for name in ["NO_COLOR", "OPENDMP_LOG", "OPENDMP_PYTHON", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Done {
        Done::of(self.command(arguments).output().unwrap())
    }

    /// Runs, and expects exit code 0.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        self.run(arguments).exits(0).out
    }

    /// The rows of a listing.
    #[track_caller]
    pub fn rows(&self, arguments: &[&str]) -> Vec<Value> {
        let mut all = arguments.to_vec();
        all.extend(["--format", "json"]);
        match self.run(&all).exits(0).json() {
            Value::Array(rows) => rows,
            other => panic!("not an array: {other}"),
        }
    }

    /// Starts something that is stopped by a signal or ends by itself.
    pub fn start(&self, arguments: &[&str]) -> Running {
        Self::spawn(self.command(arguments))
    }

    fn spawn(mut command: Command) -> Running {
        Running(Some(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()))
    }

    /// Starts a server and waits until it is healthy.
    pub fn serve(&self, arguments: &[&str]) -> Server {
        self.serve_with(arguments, &[])
    }

    /// The same with environment variables.
    pub fn serve_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Server {
        let mut all = vec!["serve", "--listen", "127.0.0.1:0"];
        all.extend(arguments);
        let mut command = self.command(&all);
        command.envs(variables.iter().copied());
        let mut running = Self::spawn(command);
        let child = running.0.as_mut().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").map(str::to_owned);
        let Some(address) = address else {
            let done = running.end();
            panic!("the server said {line:?} and {}", done.err);
        };
        let token = fs::read_to_string(self.data.join("access-token")).unwrap().trim().to_owned();
        let server = Server { running, address, token };
        until("the server is healthy", || server.get("/healthz").0 == 200);
        server
    }
}

/// A command under way; killed when dropped.
pub struct Running(Option<Child>);

impl Running {
    pub fn id(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.id()).unwrap()), signal).unwrap();
    }

    /// Waits for its end.
    pub fn end(mut self) -> Done {
        Done::of(self.0.take().unwrap().wait_with_output().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A server that answers.
pub struct Server {
    pub running: Running,
    pub address: String,
    /// The access token.
    pub token: String,
}

impl Server {
    /// Asks over TCP with the access token: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.get_with(path, &format!("Authorization: Bearer {}\r\n", self.token))
    }

    /// Asks over TCP with these header lines.
    pub fn get_with(&self, path: &str, headers: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}Connection: close\r\n\r\n", self.address).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Asks with a body over TCP: status, head and bytes.
    pub fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (host, token) = (&self.address, &self.token);
        exchange(stream, method, path, &format!("Host: {host}\r\nAuthorization: Bearer {token}\r\n"), (kind, body))
    }

    /// SIGTERM; its end.
    pub fn stop(self) -> Done {
        self.running.signal(Signal::SIGTERM);
        self.running.end()
    }
}

/// One request and its answer: status, head and bytes.
pub fn exchange(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    headers: &str,
    (kind, body): (&str, &[u8]),
) -> (u16, String, Vec<u8>) {
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\n{headers}Content-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    // Who is refused early need not take it all.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let body = answer.split_off(end + 4);
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = if head.to_lowercase().contains("transfer-encoding: chunked") { unchunked(&body) } else { body };
    (status, head, body)
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(at) = body.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&body[..at]).unwrap().trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        out.extend_from_slice(&body[at + 2..at + 2 + size]);
        body = &body[at + 4 + size..];
    }
    out
}

/// Waits until something holds.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "what is awaited is looked for again and again, up to a deadline")]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Text without what differs from run to run.
pub fn steady(text: &str) -> String {
    let mut out = text.to_owned();
    for (pattern, with) in [
        (r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}", "DATE TIME"),
        (r"\b\d{2}:\d{2}:\d{2}\b", "TIME"),
        (r"(<1|\d+) ms|\d+\.\d s\b", "TOOK"),
        (r"Python 3\.\d+\.\d+", "Python 3"),
        (r"b3:[0-9a-f]{6,64}", "b3:HASH"),
        (r"(version|config|at) [0-9a-f]{6}\b", "$1 HASH"),
        (r"\b(\d+(?:\.\d+)?)-[0-9a-hjkmnp-tv-z]{4,}\b", "$1-ID"),
        (r"on [^ ]+/\d+, by [^ \n]+", "on WORKER, by SOMEONE"),
    ] {
        out = regex_lite::Regex::new(pattern).unwrap().replace_all(&out, with).into_owned();
    }
    out
}
