//! The peers: installed below `target/bench/peers` from the lists in `bench/peers`, and started on their defaults.
//!
//! What each runs stands in `bench/peers`. A peer whose tool chain is missing here (Node, Go, Java) is left out, and that is
//! said with the results.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::process::{PATIENCE, free_port};
use crate::{files, shell};

/// What can be installed by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// Luigi, DBOS and bytewax, from PyPI.
    Python,
    /// Node-RED, from npm.
    NodeRed,
    /// Bento, from the Go proxy.
    Bento,
    /// Apache Camel, from Maven Central.
    Camel,
}

const ALL: [Peer; 4] = [Peer::Python, Peer::NodeRed, Peer::Bento, Peer::Camel];

impl Peer {
    /// Its folder, in `bench/peers` and in `target/bench/peers`. The Python scripts stay where they are.
    fn folder(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::NodeRed => "nodered",
            Self::Bento => "bento",
            Self::Camel => "camel",
        }
    }

    /// The versions that are installed: those that the lists ask for.
    fn versions(self) -> &'static [&'static str] {
        match self {
            Self::Python => &["Luigi 3.8.1", "DBOS 3.4.0", "bytewax 0.21.1"],
            Self::NodeRed => &["Node-RED 4.1.15"],
            Self::Bento => &["Bento 1.20.0"],
            Self::Camel => &["Apache Camel 4.17.0"],
        }
    }

    /// What it is installed from, in `bench/peers`: first the file that names the versions, then what is compiled.
    fn files(self) -> &'static [&'static str] {
        match self {
            Self::Python => &["requirements.txt"],
            Self::NodeRed => &["nodered/package.json"],
            Self::Bento => &["bento/go.mod", "bento/main.go"],
            Self::Camel => &["camel/pom.xml", "camel/src/main/java/Peer.java"],
        }
    }

    /// The content of these; it is installed anew when that changes.
    fn wanted(self) -> Result<String> {
        let read = |file: &&str| {
            let path = source().join(file);
            fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))
        };
        self.files().iter().map(read).collect()
    }
}

/// What is installed.
pub struct Peers {
    installed: Vec<Peer>,
    /// What is not, and why.
    pub left_out: Vec<String>,
}

impl Peers {
    /// None: floors only.
    pub fn none() -> Self {
        Self { installed: Vec::new(), left_out: Vec::new() }
    }

    /// Installs what is not installed yet. It takes some minutes the first time.
    pub fn install() -> Result<Self> {
        let mut peers = Self::none();
        for peer in ALL {
            match install(peer) {
                Ok(()) => peers.installed.push(peer),
                Err(error) => {
                    println!("note: {} left out: {error:#}", peer.versions().join(", "));
                    peers.left_out.push(format!("{}: {error:#}", peer.versions().join(", ")));
                }
            }
        }
        Ok(peers)
    }

    /// Whether it takes part.
    pub fn has(&self, peer: Peer) -> bool {
        self.installed.contains(&peer)
    }

    /// All that take part.
    pub fn versions(&self) -> Vec<&'static str> {
        self.installed.iter().flat_map(|peer| peer.versions()).copied().collect()
    }
}

/// Where their flows lie.
fn source() -> PathBuf {
    shell::root().join("bench").join("peers")
}

/// Where they are installed.
fn home() -> PathBuf {
    shell::target().join("bench").join("peers")
}

fn install(peer: Peer) -> Result<()> {
    let folder = home().join(peer.folder());
    let wanted = peer.wanted()?;
    let receipt = folder.join("installed.txt");
    if fs::read_to_string(&receipt).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    println!("installing {} into {}", peer.versions().join(", "), folder.display());
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("can't remove {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
    if peer != Peer::Python {
        files::copy(&source().join(peer.folder()), &folder)?;
    }
    let mut command = match peer {
        Peer::Python => {
            shell::run(shell::python().args(["-m", "venv"]).arg(&folder))?;
            let mut command = Command::new(folder.join("bin").join("python"));
            command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
            command.arg(source().join(peer.files()[0]));
            command
        }
        Peer::NodeRed => {
            let mut command = Command::new("npm");
            command.args(["install", "--no-audit", "--no-fund", "--loglevel=error"]);
            command
        }
        Peer::Bento => {
            let mut command = Command::new("go");
            // go.mod names Bento alone; what that needs is added while building.
            command.args(["build", "-mod=mod", "-ldflags=-s -w", "-o", "bento", "."]);
            command
        }
        Peer::Camel => {
            let mut command = Command::new("mvn");
            command.args(["-q", "package", "org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies"]);
            command
        }
    };
    shell::capture(command.current_dir(&folder))?;
    fs::write(&receipt, wanted).with_context(|| format!("can't write {}", receipt.display()))
}

/// What the checker needs beyond Python itself, as a folder to import from.
pub fn checker() -> Result<PathBuf> {
    let list = shell::root().join("bench").join("tools.txt");
    let wanted = fs::read_to_string(&list).with_context(|| format!("can't read {}", list.display()))?;
    let folder = shell::target().join("bench").join("checker");
    let receipt = folder.join("installed.txt");
    if !fs::read_to_string(&receipt).is_ok_and(|installed| installed == wanted) {
        let mut pip = shell::python();
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]);
        pip.args(["--only-binary=:all:", "--upgrade", "--target"]).arg(&folder).arg("--requirement").arg(&list);
        shell::run(&mut pip).context("can't install what the checker needs; pip is needed")?;
        fs::write(&receipt, wanted).with_context(|| format!("can't write {}", receipt.display()))?;
    }
    Ok(folder)
}

/// One of the scripts of [`Peer::Python`].
pub fn python(script: &str) -> Command {
    let mut command = Command::new(home().join(Peer::Python.folder()).join("bin").join("python"));
    command.arg(source().join(script)).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// What Node-RED says once its flows run.
pub const NODE_RED_RUNS: &str = "Started flows";

/// Node-RED on `bench/peers/nodered/FLOW`, with everything of its own in `folder`; what is dropped into `folder/inbox`
/// goes to `folder/outbox`. Returns its port, too.
pub fn node_red(flow: &str, folder: &Path) -> Result<(Command, u16)> {
    let list = source().join(Peer::NodeRed.folder()).join(flow);
    let text = fs::read_to_string(&list).with_context(|| format!("can't read {}", list.display()))?;
    let inbox = folder.join("inbox");
    let inbox = inbox.to_str().context("the folder's path is not UTF-8")?;
    ensure!(!inbox.contains(['"', '\\']), "{inbox} can't stand in a flow of Node-RED");
    // Its watch node takes no variable.
    fs::write(folder.join("flows.json"), text.replace("INBOX", inbox)).context("can't write the flow")?;
    let port = free_port()?;
    let mut command = Command::new("node");
    command.arg(home().join(Peer::NodeRed.folder()).join("node_modules/node-red/red.js"));
    command.arg("--userDir").arg(folder.join("node-red")).args(["--port", &port.to_string()]);
    command.arg(folder.join("flows.json")).env("OUT", folder.join("outbox"));
    Ok((command, port))
}

/// What Bento says once it runs; an input that waits has nothing more to say.
pub const BENTO_RUNS: &str = "Launching a Bento instance";

/// Bento on `bench/peers/bento/CONFIG`.
pub fn bento(config: &str, out: &Path) -> Result<Command> {
    let mut command = Command::new(home().join(Peer::Bento.folder()).join("bento"));
    command.arg("-c").arg(source().join(Peer::Bento.folder()).join(config));
    command.env("PORT", free_port()?.to_string()).env("OUT", out);
    Ok(command)
}

/// What our program around Camel says once the routes run.
pub const CAMEL_RUNS: &str = "ready";

/// Camel's route for a workload, from `folder/inbox` to `folder/outbox`.
pub fn camel(work: &str, folder: &Path) -> Command {
    let classes = home().join(Peer::Camel.folder()).join("target");
    let mut command = Command::new("java");
    command.arg("-cp").arg(format!("{0}/classes:{0}/dependency/*", classes.display()));
    command.args(["Peer", work]).arg(folder.join("inbox")).arg(folder.join("outbox"));
    command
}

/// Drops a file into `folder/inbox` until its output is in `folder/outbox`, and removes that: a peer may say that it runs
/// before it watches.
pub fn wake(folder: &Path) -> Result<()> {
    let (inbox, output) = (folder.join("inbox").join("wake.txt"), folder.join("outbox").join("wake.txt"));
    let aside = folder.join("wake.txt");
    let begin = Instant::now();
    while !output.metadata().is_ok_and(|meta| meta.len() > 0) {
        ensure!(begin.elapsed() < PATIENCE, "no file is taken from {}", inbox.display());
        fs::write(&aside, "wake\n").context("can't write a file")?;
        fs::rename(&aside, &inbox).context("can't drop a file")?;
        let dropped = Instant::now();
        while dropped.elapsed() < Duration::from_secs(2) && !output.metadata().is_ok_and(|meta| meta.len() > 0) {
            shell::pause(Duration::from_millis(5));
        }
    }
    // It is removed from the inbox after it was written to the outbox.
    while inbox.exists() {
        ensure!(begin.elapsed() < PATIENCE, "{} stays", inbox.display());
        shell::pause(Duration::from_millis(5));
    }
    fs::remove_file(&output).with_context(|| format!("can't remove {}", output.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_ask_for_the_versions_that_are_told() {
        for peer in ALL {
            let list = peer.wanted().unwrap();
            for version in peer.versions() {
                let number = version.rsplit(' ').next().unwrap();
                assert!(list.contains(number), "{version} is not in {}", peer.files()[0]);
            }
        }
    }
}
