//! A program that runs while others are at work: started, waited for, measured from outside, and stopped again.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::shell;

/// Longer than any start, any flow here takes; reached only if something is broken.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// A running program; dropping it ends it.
pub struct Service {
    child: Child,
    /// The line by which it told that it runs.
    pub line: String,
    /// When it was started.
    pub begun: Instant,
    /// From the command to that line.
    pub ready: Duration,
}

impl Service {
    /// Starts it with both streams in the file `log`, and waits for a line that holds `marker`.
    pub fn start(command: &mut Command, marker: &str, log: &Path) -> Result<Self> {
        let said = shell::describe(command);
        let mut log = fs::File::create(log).with_context(|| format!("can't write {}", log.display()))?;
        let begun = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("can't start `{said}`"))?;
        let (sender, receiver) = mpsc::sync_channel::<String>(64);
        if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
            forward(out, sender.clone());
            forward(err, sender);
        }
        // From here on dropping `service` stops the process, whatever goes wrong.
        let mut service = Self { child, line: String::new(), begun, ready: Duration::ZERO };
        let mut heard = String::new();
        while service.line.is_empty() {
            let line = receiver
                .recv_timeout(PATIENCE.saturating_sub(begun.elapsed()))
                .with_context(|| format!("`{said}` never said {marker:?}, but: {}", heard.trim()))?;
            if line.contains(marker) {
                service.ready = begun.elapsed();
                service.line.clone_from(&line);
            }
            heard.push_str(&line);
            heard.push('\n');
        }
        thread::spawn(move || {
            for line in heard.lines().map(str::to_owned).chain(receiver) {
                _ = writeln!(log, "{line}");
            }
        });
        Ok(service)
    }

    /// The process itself.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The processes that it started, and theirs.
    pub fn workers(&self) -> Vec<u32> {
        let mut found = Vec::new();
        let mut parents = vec![self.id()];
        let all = processes();
        while let Some(parent) = parents.pop() {
            for (child, _) in all.iter().filter(|(_, of)| *of == parent) {
                found.push(*child);
                parents.push(*child);
            }
        }
        found
    }

    /// Processor time of the process and its workers together over a stretch of time, in percent of a core.
    pub fn load(&self, over: Duration) -> Result<f64> {
        let workers = self.workers();
        let used = || -> Result<f64> {
            // A worker that ended meanwhile takes its time with it; the server itself must be there.
            Ok(cpu(self.id())? + workers.iter().filter_map(|id| cpu(*id).ok()).sum::<f64>())
        };
        let (begin, before) = (Instant::now(), used()?);
        shell::pause(over);
        Ok((used()? - before) / begin.elapsed().as_secs_f64() * 100.0)
    }
}

impl Drop for Service {
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

/// A port of this machine that nobody listens on.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("can't listen on 127.0.0.1")?;
    Ok(listener.local_addr().context("a listener has no address")?.port())
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
    mebibytes(&format!("/proc/{id}/smaps_rollup"), "Pss:")
}

/// The most memory that a process had in use at any time so far, in MiB.
pub fn peak(id: u32) -> Result<f64> {
    mebibytes(&format!("/proc/{id}/status"), "VmHWM:")
}

fn mebibytes(path: &str, key: &str) -> Result<f64> {
    let text = fs::read_to_string(path).with_context(|| format!("can't read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no {key} in {path}"))?;
    let kib: f64 =
        line.trim().trim_end_matches("kB").trim().parse().with_context(|| format!("{key} in {path} is no number"))?;
    Ok(kib / 1024.0)
}

/// Processor time that a process has used so far, in seconds.
fn cpu(id: u32) -> Result<f64> {
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
    fn this_very_process_can_be_measured() {
        let me = std::process::id();
        assert!(pss(me).unwrap() > 0.1);
        assert!(peak(me).unwrap() > 0.1);
        assert!(cpu(me).unwrap() >= 0.0);
        let parents: Vec<u32> = processes().iter().filter(|(id, _)| *id == me).map(|(_, parent)| *parent).collect();
        assert_eq!(parents.len(), 1);
        assert!(fs::exists(format!("/proc/{}", parents[0])).unwrap());
    }

    #[test]
    fn a_service_is_waited_for_and_one_that_ends_is_no_service() {
        let log = std::env::temp_dir().join(format!("xtask-service-{}", std::process::id()));
        let sh = |text: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", text]);
            command
        };
        let service = Service::start(&mut sh("echo hello; echo up on 7; exec sleep 60"), "up on", &log).unwrap();
        assert_eq!(service.line, "up on 7");
        assert!(fs::exists(format!("/proc/{}", service.id())).unwrap());
        let error = Service::start(&mut sh("echo broken; exit 1"), "up on", &log).err().unwrap();
        assert!(error.to_string().contains("broken"), "{error}");
        drop(service);
        fs::remove_file(log).unwrap();
    }
}
