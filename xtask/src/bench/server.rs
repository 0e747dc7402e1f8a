//! A running `opendmp serve`: started, asked, and waited for.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::process::{PATIENCE, Service};
use crate::{shell, tools};

/// How often a state that has no event is looked at. Short against what is measured, long against what a look costs.
const LOOK: Duration = Duration::from_micros(100);

/// A server on a data directory of its own.
pub struct Server {
    binary: PathBuf,
    data: PathBuf,
    /// The process.
    pub service: Service,
    /// From the command to the first good answer of `/healthz`.
    pub ready: Duration,
    address: String,
}

impl Server {
    /// Starts a server whose data lies in `folder/data` and whose log is `folder/server.log`, and waits until it is healthy.
    pub fn start(binary: &Path, folder: &Path) -> Result<Self> {
        let data = folder.join("data");
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data).current_dir(folder);
        command.env("PATH", tools::path()?);
        let service = Service::start(&mut command, "http://127.0.0.1:", &folder.join("server.log"))?;
        let address = address(&service.line).with_context(|| format!("no address in {:?}", service.line))?;
        while !is_healthy(&address) {
            if service.begun.elapsed() > PATIENCE {
                bail!("the server is not healthy after {}", shell::spell(PATIENCE));
            }
            shell::pause(LOOK);
        }
        let ready = service.begun.elapsed();
        Ok(Self { binary: binary.to_owned(), data, service, ready, address })
    }

    /// Where it answers over HTTP.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What lets in there.
    pub fn token(&self) -> Result<String> {
        let token = std::fs::read_to_string(self.data.join("access-token")).context("there is no access token")?;
        Ok(token.trim().to_owned())
    }

    /// Waits until it has nothing left to do: what was made can be searched for, and both logs of its databases are cut.
    pub fn rest(&self) -> Result<()> {
        let begun = Instant::now();
        let logs = ["journal.db-wal", "search.db-wal"].map(|log| self.data.join(log));
        while logs.iter().any(|log| std::fs::metadata(log).is_ok_and(|log| log.len() > 0)) {
            ensure!(begun.elapsed() < PATIENCE, "the server does not come to rest");
            shell::pause(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Runs a verb of the command line on this server's data directory and returns what it prints.
    pub fn ask(&self, arguments: &[&str]) -> Result<String> {
        shell::capture(&mut self.verb(arguments)?)
    }

    /// A verb of the command line on this server's data directory.
    pub fn verb(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg("--data-dir").arg(&self.data).env("PATH", tools::path()?);
        Ok(command)
    }

    /// Has a flow work by itself.
    pub fn enable(&self, flow: &Path) -> Result<()> {
        self.ask(&["flows", "enable", flow.to_str().context("the folder's path is not UTF-8")?]).map(drop)
    }

    /// `opendmp run` of a flow, which the server carries out: how long the command took. It must bring `arrivals` items in
    /// and end without dead letters.
    pub fn run(&self, flow: &Path, arrivals: usize) -> Result<Duration> {
        let flow = flow.to_str().context("the folder's path is not UTF-8")?;
        let begin = Instant::now();
        let told = self.ask(&["run", "--format", "json", flow])?;
        let took = begin.elapsed();
        let run: Value = serde_json::from_str(&told).context("`run --format json` printed no JSON")?;
        ensure!(run["arrivals"] == arrivals && run["dead_letters"] == 0, "the run is {run}");
        Ok(took)
    }

    /// The datasets of a collection, as the command line lists them; 0 if there is no such collection.
    pub fn datasets(&self, collection: &str) -> Result<usize> {
        let told = self.ask(&["collections", "--format", "json"])?;
        let list: Value = serde_json::from_str(&told).context("`collections --format json` printed no JSON")?;
        let all = list.as_array().with_context(|| format!("no list in {told}"))?;
        let Some(entry) = all.iter().find(|one| one["name"] == collection) else { return Ok(0) };
        let count = entry["datasets"].as_u64().with_context(|| format!("no number of datasets in {entry}"))?;
        usize::try_from(count).context("more datasets than can be")
    }
}

fn is_healthy(address: &str) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer.split(|byte| *byte == b' ').nth(1) == Some(b"200"))
    };
    ask().unwrap_or(false)
}

/// Waits until `path` is there and returns how long after `begin` it was seen.
pub fn appears(path: &Path, begin: Instant) -> Result<Duration> {
    grows(path, 0, begin)
}

/// Waits until `path` has at least `size` bytes: for those who write in place.
pub fn grows(path: &Path, size: u64, begin: Instant) -> Result<Duration> {
    while !path.metadata().is_ok_and(|meta| meta.len() >= size) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_what_a_server_says() {
        assert_eq!(address("listening on http://127.0.0.1:40123/ (Ctrl-C ends)"), Some("127.0.0.1:40123".to_owned()));
        assert_eq!(address("listening on http://0.0.0.0:80"), None);
    }
}
