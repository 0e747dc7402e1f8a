//! A running `opendmp serve`: started, asked, measured from outside, and stopped again.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{shell, tools};

/// Longer than any start, any flow here takes; reached only if something is broken.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often a state that has no event is looked at. Short against what is measured, long against what a look costs.
const LOOK: Duration = Duration::from_micros(100);

/// A server on a data directory of its own.
pub struct Server {
    binary: PathBuf,
    data: PathBuf,
    child: Child,
    /// `127.0.0.1:PORT`.
    pub address: String,
    /// From the command to the first good answer of `/healthz`.
    pub ready: Duration,
}

impl Server {
    /// Starts a server whose data lies in `folder/data` and whose log is `folder/server.log`, and waits until it is healthy.
    pub fn start(binary: &Path, folder: &Path) -> Result<Self> {
        let data = folder.join("data");
        let log = fs::File::create(folder.join("server.log")).context("can't write the server's log")?;
        let begin = Instant::now();
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data).current_dir(folder);
        command.env("PATH", tools::path()?).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("can't start {}", binary.display()))?;
        let (sender, receiver) = mpsc::sync_channel::<String>(64);
        let mut log = Some(log);
        if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
            forward(out, sender.clone());
            forward(err, sender);
        }
        // From here on dropping `server` stops the process, whatever goes wrong.
        let mut server = Self { binary: binary.to_owned(), data, child, address: String::new(), ready: Duration::ZERO };
        let mut said = String::new();
        while server.address.is_empty() {
            let line = receiver
                .recv_timeout(PATIENCE.saturating_sub(begin.elapsed()))
                .with_context(|| format!("the server printed no address; it said: {}", said.trim()))?;
            said.push_str(&line);
            said.push('\n');
            server.address = address(&line).unwrap_or_default();
        }
        while !server.is_healthy() {
            if begin.elapsed() > PATIENCE {
                bail!("the server is not healthy after {}", shell::spell(PATIENCE));
            }
            shell::pause(LOOK);
        }
        server.ready = begin.elapsed();
        thread::spawn(move || {
            let mut log = log.take();
            for line in said.lines().map(str::to_owned).chain(receiver) {
                if let Some(log) = &mut log {
                    _ = writeln!(log, "{line}");
                }
            }
        });
        Ok(server)
    }

    fn is_healthy(&self) -> bool {
        let ask = || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect(&self.address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            write!(stream, "GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address)?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            Ok(answer.split(|byte| *byte == b' ').nth(1) == Some(b"200"))
        };
        ask().unwrap_or(false)
    }

    /// Runs a verb of the command line on this server's data directory and returns what it prints.
    pub fn ask(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg("--data-dir").arg(&self.data).env("PATH", tools::path()?);
        shell::capture(&mut command)
    }

    /// The datasets of a collection, as the command line lists them.
    pub fn datasets(&self, collection: &str) -> Result<usize> {
        let told = self.ask(&["collections", "--format", "json"])?;
        let list: Value = serde_json::from_str(&told).context("`collections --format json` printed no JSON")?;
        let entry = list
            .as_array()
            .and_then(|all| all.iter().find(|one| one["name"] == collection))
            .with_context(|| format!("no collection {collection} in {told}"))?;
        let count = entry["datasets"].as_u64().with_context(|| format!("no number of datasets in {entry}"))?;
        usize::try_from(count).context("more datasets than can be")
    }

    /// The processes that the server started, and theirs.
    pub fn workers(&self) -> Vec<u32> {
        let mut found = Vec::new();
        let mut parents = vec![self.child.id()];
        let all = processes();
        while let Some(parent) = parents.pop() {
            for (child, _) in all.iter().filter(|(_, of)| *of == parent) {
                found.push(*child);
                parents.push(*child);
            }
        }
        found
    }

    /// The server's own process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked first, so that its workers go with it. std can only kill, and the shell has its own `kill`, which a small
        // system may lack as a program.
        let asked = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.child.id())]).status();
        let begin = Instant::now();
        while asked.is_ok() && begin.elapsed() < Duration::from_secs(10) {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            shell::pause(Duration::from_millis(5));
        }
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Sends on what a stream says, line by line, until either end is closed.
fn forward(stream: impl Read + Send + 'static, to: mpsc::SyncSender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                break;
            }
        }
    });
}

/// Waits until `path` is there and returns how long after `begin` it was seen.
pub fn appears(path: &Path, begin: Instant) -> Result<Duration> {
    while !path.exists() {
        if begin.elapsed() > PATIENCE {
            bail!("{} did not appear within {}", path.display(), shell::spell(PATIENCE));
        }
        shell::pause(LOOK);
    }
    Ok(begin.elapsed())
}

/// The `127.0.0.1:PORT` in a line that the server printed.
fn address(line: &str) -> Option<String> {
    let rest = line.split_once("http://127.0.0.1:")?.1;
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (!port.is_empty()).then(|| format!("127.0.0.1:{port}"))
}

/// All processes with their parents.
fn processes() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(|id| Some((id, stat(id)?.first()?.parse().ok()?))).collect()
}

/// The fields of `/proc/ID/stat` from the parent's id on: those before may hold blanks.
fn stat(id: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    Some(text.rsplit_once(") ")?.1.split_whitespace().skip(1).map(str::to_owned).collect())
}

/// The proportional share of memory of a process, in MiB.
pub fn pss(id: u32) -> Result<f64> {
    let path = format!("/proc/{id}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("can't read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).with_context(|| format!("no Pss in {path}"))?;
    let kib: f64 =
        line.trim().trim_end_matches("kB").trim().parse().with_context(|| format!("Pss in {path} is no number"))?;
    Ok(kib / 1024.0)
}

/// Processor time that a process has used so far, in seconds.
pub fn cpu(id: u32) -> Result<f64> {
    let fields = stat(id).with_context(|| format!("process {id} has gone"))?;
    // utime and stime are fields 14 and 15 of the whole line (proc(5)); ours begins with field 4.
    let ticks =
        |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).context("/proc/ID/stat has another form");
    // USER_HZ has been 100 on every Linux for as long as there are these files.
    Ok((ticks(10)? + ticks(11)?) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_what_a_server_says() {
        assert_eq!(address("listening on http://127.0.0.1:40123/ (Ctrl-C ends)"), Some("127.0.0.1:40123".to_owned()));
        assert_eq!(address("listening on http://0.0.0.0:80"), None);
    }

    #[test]
    fn this_very_process_can_be_measured() {
        let me = std::process::id();
        assert!(pss(me).unwrap() > 0.1);
        assert!(cpu(me).unwrap() >= 0.0);
        let parents: Vec<u32> = processes().iter().filter(|(id, _)| *id == me).map(|(_, parent)| *parent).collect();
        assert_eq!(parents.len(), 1);
        assert!(fs::exists(format!("/proc/{}", parents[0])).unwrap());
    }
}
