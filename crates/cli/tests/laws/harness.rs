//! What the tests share that kill the real server: a server that can be killed, a producer that misbehaves, and the
//! comparison of everything with everything at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A small random generator that a seed repeats (SplitMix64).
pub struct Rng(pub u64);

impl Rng {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// A seed that is told when a test fails, and can be given again with `OPENDMP_SEED`.
pub fn seed() -> u64 {
    let seed = match std::env::var("OPENDMP_SEED") {
        Ok(text) => text.parse().expect("OPENDMP_SEED is a number"),
        Err(_) => u64::from(std::process::id()) * 1_000_003 + Instant::now().elapsed().subsec_nanos() as u64,
    };
    eprintln!("OPENDMP_SEED={seed}");
    seed
}

/// A data directory, a flow's folder, and a server that comes and goes.
pub struct Place {
    pub root: tempfile::TempDir,
    server: Option<Child>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.root.path().join("server.log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("--- end of the server's log ---");
            tail.into_iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

impl Place {
    /// An empty one.
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("inbox")).unwrap();
        Self { root, server: None }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The command line on this data directory.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_opendmp"));
        command.arg("--data-dir").arg(self.path("data")).args(arguments).current_dir(self.root.path());
        command.env_remove("OPENDMP_DATA_DIR").stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs, and expects exit code 0.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "opendmp {} ended with {}:\n{}\n{}",
            arguments.join(" "),
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// A listing as JSON.
    pub fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let mut all = arguments.to_vec();
        all.extend(["--format", "json"]);
        serde_json::from_str(&self.ok(&all)).expect("a listing is a JSON array")
    }

    /// Changes the journal of a server that does not run.
    pub fn sql(&self, sql: &str) {
        let done = Command::new("python3")
            .args([
                "-c",
                "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.executescript(sys.argv[2]); c.close()",
            ])
            .arg(self.path("data/journal.db"))
            .arg(sql)
            .status()
            .unwrap();
        assert!(done.success());
    }

    pub fn write_flow(&self, text: &str) {
        fs::write(self.path("flow.yaml"), text).unwrap();
    }

    /// Starts the server; `environment` beside what it inherits.
    pub fn start(&mut self, environment: &[(&str, &str)]) {
        self.start_command(self.server_command(&[], environment));
    }

    fn server_command(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.args(arguments).envs(environment.iter().copied());
        command
    }

    /// Starts the server by a command of its own.
    pub fn start_command(&mut self, mut command: Command) {
        assert!(self.server.is_none(), "one server at a time");
        let log = OpenOptions::new().create(true).append(true).open(self.path("server.log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.server = Some(command.spawn().unwrap());
    }

    /// Starts the server with so many descriptors at most; it need not come to answer.
    pub fn start_with_descriptors(&mut self, most: u32) {
        assert!(self.server.is_none(), "one server at a time");
        let log = OpenOptions::new().create(true).append(true).open(self.path("server.log")).unwrap();
        let serve = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -n {most}; exec \"$0\" \"$@\"")).arg(serve.get_program());
        command.args(serve.get_args()).current_dir(self.root.path()).env_remove("OPENDMP_DATA_DIR");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.server = Some(command.spawn().unwrap());
    }

    /// Runs in a shell, after what `setup` sets there.
    pub fn shell(&self, setup: &str, arguments: &[&str]) -> Output {
        self.in_shell(setup, &[], arguments).output().unwrap()
    }

    fn in_shell(&self, setup: &str, around: &[&str], arguments: &[&str]) -> Command {
        let shell = ["sh", "-c", "eval \"$0\"; exec \"$@\"", setup, env!("CARGO_BIN_EXE_opendmp"), "--data-dir"];
        let mut all = around.iter().chain(&shell);
        let mut command = Command::new(all.next().unwrap());
        command.args(all).arg(self.path("data")).args(arguments).current_dir(self.root.path());
        command.env_remove("OPENDMP_DATA_DIR").stdin(Stdio::null());
        command
    }

    /// Starts the server by a shell, after what `setup` sets there; `around`: a command that runs the shell.
    pub fn start_by(&mut self, setup: &str, around: &[&str]) {
        assert!(self.server.is_none(), "one server at a time");
        let log = OpenOptions::new().create(true).append(true).open(self.path("server.log")).unwrap();
        let mut command = self.in_shell(setup, around, &["serve", "--listen", "127.0.0.1:0"]);
        self.server = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// Whether the server has ended; forgotten then.
    pub fn has_ended(&mut self) -> bool {
        let ended = self.server.as_mut().is_none_or(|server| server.try_wait().unwrap().is_some());
        if ended {
            self.server = None;
        }
        ended
    }

    /// Starts the server and waits until it answers.
    pub fn start_and_wait(&mut self) {
        self.start_with(&[]);
    }

    /// The same, with further arguments.
    pub fn start_with(&mut self, arguments: &[&str]) {
        self.start_command(self.server_command(arguments, &[]));
        self.wait_for("the server answers", |place| {
            std::os::unix::net::UnixStream::connect(place.path("data/opendmp.sock")).is_ok()
        });
    }

    /// The process of the server.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().expect("a server runs").id()
    }

    /// SIGKILL, as a power cut of the process.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// SIGTERM; expects a clean end.
    pub fn stop(&mut self) {
        let mut server = self.server.take().expect("a server runs");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(server.id() as i32), nix::sys::signal::Signal::SIGTERM)
            .unwrap();
        assert!(server.wait().unwrap().success(), "a server that is asked to stop ends well");
    }

    /// Waits for the server to end by itself; the signal that ended it.
    pub fn ended(&mut self) -> Option<i32> {
        let mut server = self.server.take().expect("a server runs");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = server.try_wait().unwrap() {
                return status.signal();
            }
            assert!(Instant::now() < deadline, "the server goes on");
            pause(10);
        }
    }

    /// Waits until something holds, or the server has ended, whatever of it.
    pub fn wait_for_or_end(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let ended = |place: &mut Self| place.server.as_mut().is_none_or(|server| server.try_wait().unwrap().is_some());
        while !ended(self) && !holds(self) {
            assert!(Instant::now() < deadline, "not within {} s: {what}", PATIENCE.as_secs());
            pause(5);
        }
    }

    pub fn wait_for(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            if let Some(server) = &mut self.server
                && let Some(status) = server.try_wait().unwrap()
            {
                panic!("the server ended with {status} before {what}");
            }
            assert!(Instant::now() < deadline, "not within {} s: {what}", PATIENCE.as_secs());
            pause(25);
        }
    }

    /// Waits until the sources are empty of news and nothing is outstanding.
    pub fn settle_down(&mut self) {
        self.wait_for("everything is done", |place| {
            let flows = place.json(&["flows", "list"]);
            let idle = flows.iter().all(|flow| flow["outstanding"] == 0);
            idle && place.waiting() == 0 && place.json(&["flows", "list"]).iter().all(|flow| flow["outstanding"] == 0)
        });
    }

    /// How many source items an audit finds not ingested and let go. An unclean audit counts as one at least.
    fn waiting(&self) -> usize {
        let output = self.run(&["ingest", "audit", "torture", "--format", "json"]);
        let Ok(Value::Array(rows)) = serde_json::from_slice(&output.stdout) else { return 1 };
        let entries: usize = rows.iter().map(|row| row["entries"].as_array().map_or(1, Vec::len)).sum();
        entries + usize::from(!output.status.success())
    }

    /// The newest revision of each dataset, by name.
    pub fn datasets(&self) -> BTreeMap<String, Value> {
        let rows = self.json(&["datasets", "list", "--limit", "10000"]);
        let count = rows.len();
        let named: BTreeMap<String, Value> =
            rows.into_iter().map(|row| (row["name"].as_str().unwrap().to_owned(), row)).collect();
        assert_eq!(named.len(), count, "two datasets have one name");
        named
    }
}

/// Waits a moment between two looks, or between two acts of the producer.
#[expect(
    clippy::disallowed_methods,
    reason = "a producer's pace; whoever waits for something looks again until a deadline"
)]
pub fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// What a producer wrote under one name: every content that stood there as a whole version, in order.
pub type Written = BTreeMap<String, Vec<Vec<u8>>>;

/// How long a file stands still before it is taken, as the flow says.
pub const SETTLE: u64 = 400;

/// A producer that behaves as producers do: renames files in, writes them in parts, appends, replaces.
pub struct Producer {
    pub inbox: PathBuf,
    pub outbox: PathBuf,
    pub rng: Rng,
    /// Each name's contents; the last is what stays.
    pub written: Written,
    /// Whether some files are replaced only once they were collected.
    pub waits: bool,
    /// Names whose first version was seen collected before it was replaced: both must be revisions.
    pub waited: BTreeSet<String>,
}

impl Producer {
    pub fn content(&mut self, name: &str, version: u64) -> Vec<u8> {
        let mut out = format!("{name} version {version} {:016x}\n", self.rng.next());
        for _ in 0..self.rng.below(160) {
            out.push_str(&format!("line {:016x} of {name}\n", self.rng.next()));
        }
        let check = blake3::hash(out.as_bytes()).to_hex();
        out.push_str(&format!("end {check}\n"));
        out.into_bytes()
    }

    /// Drops `count` files; replaces some of them a little later, and some when their first version was collected.
    pub fn produce(&mut self, count: usize, pace: Duration) {
        let mut later: Vec<(String, Option<Instant>)> = Vec::new();
        for n in 0..count {
            let name = format!("file-{n:04}.txt");
            let content = self.content(&name, 1);
            self.write(&name, &content);
            match self.rng.below(20) {
                0 | 1 => later.push((name, Some(Instant::now() + Duration::from_millis(self.rng.below(2 * SETTLE))))),
                2 if self.waits => later.push((name, None)),
                _ => {}
            }
            self.replace_what_is_due(&mut later);
            pause(pace.as_millis() as u64);
        }
        let deadline = Instant::now() + PATIENCE;
        while !later.is_empty() {
            assert!(Instant::now() < deadline, "never collected: {later:?}");
            self.replace_what_is_due(&mut later);
            pause(10);
        }
    }

    fn replace_what_is_due(&mut self, later: &mut Vec<(String, Option<Instant>)>) {
        let due = |outbox: &Path, name: &String, at: &Option<Instant>| match at {
            Some(at) => Instant::now() >= *at,
            None => outbox.join(name).exists(),
        };
        let (now, rest) = std::mem::take(later).into_iter().partition(|(name, at)| due(&self.outbox, name, at));
        *later = rest;
        let now: Vec<(String, Option<Instant>)> = now;
        for (name, at) in now {
            if at.is_none() {
                self.waited.insert(name.clone());
            }
            let second = self.content(&name, 2);
            self.replace(&name, &second);
        }
    }

    fn note(&mut self, name: &str, content: &[u8]) {
        self.written.entry(name.to_owned()).or_default().push(content.to_vec());
    }

    fn write(&mut self, name: &str, content: &[u8]) {
        let path = self.inbox.join(name);
        let half = content.len() / 2;
        match self.rng.below(3) {
            0 => {
                let hidden = self.inbox.join(format!(".{name}.part"));
                fs::write(&hidden, content).unwrap();
                fs::rename(&hidden, &path).unwrap();
            }
            1 => {
                // Written in two parts through one open file.
                let mut file = File::create(&path).unwrap();
                file.write_all(&content[..half]).unwrap();
                pause(self.rng.below(20));
                file.write_all(&content[half..]).unwrap();
            }
            _ => {
                // Appended to after it was closed, well within the time that it has to stand still.
                let began = Instant::now();
                fs::write(&path, &content[..half]).unwrap();
                pause(self.rng.below(20));
                let appended =
                    OpenOptions::new().append(true).open(&path).and_then(|mut file| file.write_all(&content[half..]));
                if appended.is_err() || began.elapsed() > Duration::from_millis(SETTLE / 2) {
                    // The machine was too slow for that: what stood there is a version of its own.
                    self.note(name, &content[..half]);
                    let hidden = self.inbox.join(format!(".{name}.part"));
                    fs::write(&hidden, content).unwrap();
                    fs::rename(&hidden, &path).unwrap();
                }
            }
        }
        self.note(name, content);
    }

    fn replace(&mut self, name: &str, content: &[u8]) {
        let path = self.inbox.join(name);
        if self.rng.below(2) == 0 {
            let hidden = self.inbox.join(format!(".{name}.part"));
            fs::write(&hidden, content).unwrap();
            fs::rename(&hidden, &path).unwrap();
        } else {
            fs::write(&path, content).unwrap();
        }
        self.note(name, content);
    }
}

/// The hash under which content is known.
pub fn hash(content: &[u8]) -> String {
    blake3::hash(content).to_hex().to_string()
}

/// The files of a folder by name, hidden ones too. What goes meanwhile (a file that is renamed when it is whole) is not
/// there.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut out = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            let name = String::from_utf8_lossy(entry.file_name().as_bytes()).into_owned();
            match fs::read(entry.path()) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                content => _ = out.insert(name, content.unwrap()),
            }
        }
    }
    out
}
