//! `cargo xtask demo`: from a fresh clone to a server with its page open on real data.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::{files, shell, web};

/// The dataset whose history is shown.
const SHOWN: &str = "PAL0708-Biscoe.csv";

/// The address that is asked for; where something else has it, any that is free.
const ADDRESS: &str = "127.0.0.1:7117";

/// How long the server may take to have done what lies there.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the demonstration as the command line asks for it.
pub fn main(arguments: &[&str]) -> Result<()> {
    let folder = match arguments {
        [] => shell::target().join("demo"),
        ["--dir", folder] => std::env::current_dir()?.join(folder),
        _ => bail!("demo takes nothing but --dir D"),
    };
    let begin = Instant::now();
    println!("building opendmp and its page (a few minutes the first time)");
    let binary = build()?;
    println!("built in {}\n", shell::spell(begin.elapsed()));
    prepare(&binary, &folder)?;
    let address = if std::net::TcpListener::bind(ADDRESS).is_ok() { ADDRESS } else { "127.0.0.1:0" };
    let mut serve = serve(&binary, &folder, address);
    println!("$ {}", shell::describe(&serve));
    println!(
        "The link that follows opens the page, once; the flow works on what lies in its inbox. Drop more of it into"
    );
    println!("  {}", folder.join("penguins").join("inbox").display());
    println!("and look on. Ctrl-C stops the server; what it has is kept.\n");
    // Beside the server, which is not there yet: a shell of its own, which ends when it has the link.
    let ask = shell::describe(&opendmp(&binary, &folder, &["token", "--link"]));
    println!("$ {ask}");
    let wait = "(i=0; until \"$@\" 2>/dev/null || [ $i -gt 300 ]; do i=$((i+1)); sleep 0.2; done) &";
    let mut later = Command::new("/bin/sh");
    later.current_dir(&folder).args(["-c", wait, "sh"]).arg(&binary).args(["token", "--link", "--data-dir", "data"]);
    shell::run(&mut later)?;
    // The server takes this process's place, so that Ctrl-C is its own. Its own link would be another one.
    Err(serve.stdout(Stdio::null()).exec()).context("can't start the server")
}

/// The binary, and the page beside it, which Node builds while the compiler works.
pub fn build() -> Result<PathBuf> {
    let page = thread::spawn(web::build);
    let binary = shell::build(shell::Profile::Debug)?;
    match page.join() {
        Ok(built) => built?,
        Err(_) => bail!("the build of the page broke off"),
    }
    Ok(binary)
}

/// Puts the penguins into `folder`, which must be empty or an earlier demonstration's, and enables their flow.
fn prepare(binary: &Path, folder: &Path) -> Result<()> {
    files::fresh(folder)?;
    let example = folder.join("penguins");
    let original = original();
    for part in ["penguins.yaml", "clean.py"] {
        fs::create_dir_all(&example)?;
        fs::copy(original.join(part), example.join(part))?;
    }
    files::copy(&original.join("inbox"), &example.join("inbox"))?;
    println!("copied examples/penguins to {}: three seasons of field work in its inbox\n", example.display());
    shown(binary, folder, &["flows", "enable", "penguins/penguins.yaml"])
}

fn original() -> PathBuf {
    shell::root().join("examples").join("penguins")
}

fn opendmp(binary: &Path, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command.current_dir(folder).args(arguments).args(["--data-dir", "data"]);
    command
}

fn serve(binary: &Path, folder: &Path, address: &str) -> Command {
    let mut command = opendmp(binary, folder, &["serve", "--listen", address]);
    command.env("OPENDMP_LOG", "warn");
    command
}

fn shown(binary: &Path, folder: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = opendmp(binary, folder, arguments);
    println!("$ {}", shell::describe(&command));
    let result = shell::run(&mut command);
    println!();
    result
}

/// Ends the server when the demonstration fails.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The demonstration without a person: the tables come, the page is there for who has the link, and Ctrl-C ends it well.
pub fn show(binary: &Path, folder: &Path) -> Result<()> {
    prepare(binary, folder)?;
    let mut child =
        serve(binary, folder, "127.0.0.1:0").stdout(Stdio::piped()).spawn().context("can't start the server")?;
    let lines = child.stdout.take().map(BufReader::new).context("the server has no output")?;
    let mut server = Server(child);
    let mut lines = lines.lines();
    loop {
        let line = lines.next().context("the server ended before it was ready")??;
        if line.contains("token=") {
            bail!("the server wrote its token into a pipe");
        }
        if line.starts_with("listening on ") {
            break;
        }
    }
    let link = shell::capture(&mut opendmp(binary, folder, &["token", "--link"]))?.trim().to_owned();
    let outbox = folder.join("penguins").join("outbox");
    let expected = files::list(&original().join("expected"))?;
    let begin = Instant::now();
    while files::list(&outbox).unwrap_or_default() != expected {
        if begin.elapsed() > PATIENCE {
            bail!("the demonstration wrote {:?} instead of {expected:?}", files::list(&outbox));
        }
        shell::pause(Duration::from_millis(50));
    }
    shown(binary, folder, &["datasets", "list"])?;
    shown(binary, folder, &["datasets", "history", SHOWN])?;
    println!("{} tables in {}", expected.len(), outbox.display());
    page(&link)?;
    shell::run(Command::new("kill").args(["-INT", &server.0.id().to_string()]))?;
    let status = server.0.wait().context("lost sight of the server")?;
    if !status.success() {
        bail!("the server ended with {status} when it was asked to stop");
    }
    Ok(())
}

/// Opens the link as a browser does, as far as that needs none.
fn page(link: &str) -> Result<()> {
    let fetch = "import http.cookiejar, sys, urllib.request as r\n\
                 jar = http.cookiejar.CookieJar()\n\
                 get = r.build_opener(r.ProxyHandler({}), r.HTTPCookieProcessor(jar))\n\
                 get.addheaders = [('Accept', 'text/html')]\n\
                 answer = get.open(sys.argv[1])\n\
                 print(answer.url, answer.headers['Content-Security-Policy'], answer.read().decode())";
    let page = shell::capture(shell::python().args(["-c", fetch, link]))?;
    let (here, _) = link.split_once("?token=").context("the link has a token")?;
    let has = |text: &str| page.contains(text);
    if !page.starts_with(here) || has("token=") || !has("'nonce-") || !has("<div id=\"root\">") || !has("/assets/") {
        bail!("the page is not there: {page}");
    }
    println!("the page is there");
    Ok(())
}
