//! The steps of the web page: what Node checks, and journeys through it in a real browser against a real server.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::{Counts, Report};
use crate::{demo, files, shell, web};

/// Bytes of compressed scripts that the first view may load.
const FIRST_SCRIPTS: u64 = 260_000;

/// Where Debian puts the browser.
const CHROMIUM: &str = "/usr/bin/chromium";

/// Types, unit tests, the build, its size, and whether the types of the API are those of its description.
pub fn page() -> Report {
    web::install()?;
    shell::run(&mut web::script("check"))?;
    let told = shell::tell(web::script("test").env("NO_COLOR", "1"))?;
    let counts = Counts::from_vitest(&told.text)?;
    if !told.success && counts.failed == 0 {
        bail!("vitest ended with {}", told.end);
    }
    shell::run(&mut web::script("build"))?;
    let bytes = first_scripts()?;
    println!("the first view loads {bytes} bytes of compressed scripts, of {FIRST_SCRIPTS} that it may");
    if bytes > FIRST_SCRIPTS {
        bail!("the first view loads {bytes} bytes of compressed scripts, more than {FIRST_SCRIPTS}");
    }
    types()?;
    Ok(counts + Counts::success())
}

/// The scripts that the document names, compressed as a server would send them.
fn first_scripts() -> Result<u64> {
    let dist = web::folder().join("dist");
    let document = fs::read_to_string(dist.join("index.html")).context("the build made no document")?;
    let sum = "import gzip, sys; print(sum(len(gzip.compress(open(p, 'rb').read(), 9)) for p in sys.argv[1:]))";
    let mut python = shell::python();
    python.args(["-c", sum]);
    let names = document.split(['"', '\'']).filter(|part| part.starts_with('/') && part.ends_with(".js"));
    let mut some = false;
    for name in names {
        python.arg(dist.join(name.trim_start_matches('/')));
        some = true;
    }
    if !some {
        bail!("the document names no scripts");
    }
    shell::capture(&mut python)?.trim().parse().context("the sum is no number")
}

/// The committed types are what the committed description of the API gives.
fn types() -> Result<()> {
    let committed = web::folder().join("src/api/schema.d.ts");
    let before = fs::read_to_string(&committed).with_context(|| format!("can't read {}", committed.display()))?;
    shell::run(&mut web::script("api"))?;
    let after = fs::read_to_string(&committed)?;
    if before != after {
        bail!("web/src/api/schema.d.ts was not made of crates/api/openapi.json as it is; it is now: commit it");
    }
    Ok(())
}

/// Journeys in a browser.
pub fn e2e() -> Report {
    journeys(None)
}

/// Those whose name has `filter`, or all.
pub fn journeys(filter: Option<&str>) -> Report {
    browser()?;
    let binary = demo::build()?;
    let folder = shell::target().join("e2e");
    files::fresh(&folder)?;
    let server = Server::start(&binary, &folder)?;
    let mut run = web::script("e2e");
    if let Some(filter) = filter {
        run.args(["--", filter]);
    }
    run.env("OPENDMP_URL", &server.url).env("OPENDMP_TOKEN", &server.token).env("OPENDMP_ROOT", &folder);
    run.env("OPENDMP_BINARY", &binary).env("SCREENSHOTS", folder.join("screenshots")).env("NO_COLOR", "1");
    let told = shell::tell(&mut run)?;
    drop(server);
    let counts = Counts::from_closing_line(&told.text)?;
    if !told.success && counts.failed == 0 {
        bail!("the journeys ended with {}", told.end);
    }
    println!("pictures of the pages are in {}", folder.join("screenshots").display());
    Ok(counts)
}

/// A browser, installed where that is possible.
fn browser() -> Result<()> {
    if Path::new(CHROMIUM).exists() {
        return Ok(());
    }
    println!("installing Chromium");
    for arguments in [&["update", "-qq"][..], &["install", "-qq", "-y", "--no-install-recommends", "chromium"]] {
        let mut apt = Command::new("apt-get");
        shell::run(apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
            .context("Chromium is needed at /usr/bin/chromium, and could not be installed")?;
    }
    Ok(())
}

/// A server of its own, killed at the end.
pub(super) struct Server {
    child: Child,
    pub(super) url: String,
    pub(super) token: String,
}

impl Server {
    pub(super) fn start(binary: &Path, folder: &Path) -> Result<Self> {
        let log = fs::File::create(folder.join("server.log")).context("can't write the server's log")?;
        let mut command = Command::new(binary);
        command.current_dir(folder).args(["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"]);
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().context("can't start the server")?;
        let lines = child.stdout.take().map(BufReader::new).context("the server has no output")?;
        let mut server = Self { child, url: String::new(), token: String::new() };
        for line in lines.lines() {
            if let Some(url) = line?.strip_prefix("listening on ") {
                server.url = url.to_owned();
                let token = fs::read_to_string(folder.join("data/access-token")).context("there is no access token")?;
                server.token = token.trim().to_owned();
                return Ok(server);
            }
        }
        bail!("the server ended before it was ready; see {}", folder.join("server.log").display())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The licences of the packages that go into the page, as their own manifests tell them: all must be of those that the
/// project takes.
pub fn package_licences() -> Report {
    const TAKEN: [&str; 10] = [
        "MIT",
        "ISC",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "0BSD",
        "OFL-1.1",
        "Unlicense",
        "CC0-1.0",
        "Python-2.0",
    ];
    web::install()?;
    let list = shell::capture(shell::command("npm").current_dir(web::folder()).args([
        "ls",
        "--all",
        "--omit=dev",
        "--parseable",
    ]))?;
    let mut other = Vec::new();
    for folder in list.lines().map(PathBuf::from).filter(|folder| *folder != web::folder()) {
        let manifest = folder.join("package.json");
        let text = fs::read_to_string(&manifest).with_context(|| format!("can't read {}", manifest.display()))?;
        let licence = text.lines().find_map(|line| {
            let (key, value) = line.trim().split_once(':')?;
            (key.trim() == "\"license\"").then(|| value.trim().trim_matches([',', '"', ' ']).to_owned())
        });
        let licence = licence.unwrap_or_default();
        let parts = licence.trim_matches(['(', ')']).split(" OR ");
        if !parts.into_iter().any(|part| TAKEN.contains(&part)) {
            other.push(format!("{} ({licence})", folder.display()));
        }
    }
    if !other.is_empty() {
        bail!("packages with other licences: {}", other.join(", "));
    }
    Ok(Counts::success())
}
