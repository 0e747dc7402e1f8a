//! `opendmp init`: a place to begin.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::fail::Fail;
use crate::term::Term;

/// What `init` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opendmp init shouting         writes shouting/flow.yaml and shouting/inbox/hello.txt
  opendmp init                  writes them here

Nothing that is there already is overwritten.")]
pub struct Args {
    /// The folder, made if it is missing
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
}

const FLOW: &str = r#"# A flow: what goes where. `opendmp validate flow.yaml` checks it, `opendmp run flow.yaml` runs it.
name: Uppercase
description: Shout whatever lands in the inbox.
processors:
  - id: inbox                                    # takes every text file dropped into ./inbox
    type: ingest
    phase: 1
    source: { type: file_drop, path: ./inbox, pattern: "*.txt" }
  - id: shout                                    # your script; a file beside this one with `file: ./shout.py`
    type: script
    phase: 2
    inputs: [inbox]
    language: python
    code: |
      def process(data: bytes) -> bytes:
          return data.upper()
    on_error: { retries: 2, backoff: 1s }        # then: a dead letter
  - id: shelf                                    # keeps every result, and writes it to ./outbox as well
    type: collect
    phase: 3
    inputs: [shout]
    collection: Shouting
    destination: { type: folder, path: ./outbox, name: "{stem}.upper.txt" }
"#;

const SAMPLE: &str = "Hello, world.\nDrop a text file beside this one, and run the flow again.\n";

/// Writes the starter flow and its sample.
pub fn init(args: &Args, term: &Term) -> Result<ExitCode, Fail> {
    let folder = &args.folder;
    let flow = folder.join("flow.yaml");
    let sample = folder.join("inbox").join("hello.txt");
    for path in [&flow, &sample] {
        // Also where a link leads nowhere.
        if path.symlink_metadata().is_ok() {
            return Err(
                Fail::new(format!("{} is there already", path.display())).hint("name another folder: opendmp init DIR")
            );
        }
    }
    let inbox = folder.join("inbox");
    fs::create_dir_all(&inbox).map_err(|error| Fail::io(format_args!("{} can't be made", inbox.display()), &error))?;
    write(&sample, SAMPLE)?;
    write(&flow, FLOW)?;
    let shown = |path: &Path| path.strip_prefix(".").unwrap_or(path).display().to_string();
    let (flow, sample, inbox) = (shown(&flow), shown(&sample), shown(&inbox));
    term.out(&format!(
        "wrote {}\nwrote {}\n\nnow:\n  opendmp run {flow}\nand to have {inbox} watched for good:\n  opendmp flows enable {flow}\n  opendmp serve\n",
        term.bold(&flow),
        term.bold(&sample),
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a file that is not there yet.
fn write(path: &Path, text: &str) -> Result<(), Fail> {
    let write = || fs::File::create_new(path)?.write_all(text.as_bytes());
    write().map_err(|error| Fail::io(format_args!("{} can't be written", path.display()), &error))
}
