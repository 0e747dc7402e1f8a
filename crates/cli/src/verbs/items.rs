//! `opendmp items`: what went in and out of single steps.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use opendmp_api::Client;
use opendmp_api::rows::{ItemInfo, ItemStep};
use opendmp_engine::items::BytesFrom;
use opendmp_model::history::Result as Outcome;

use crate::args::Format;
use crate::data::Need;
use crate::fail::Fail;
use crate::table;
use crate::target::Target;
use crate::term::Term;
use crate::verbs::datasets::{to_file, to_out};
use crate::words;

/// Ids of children that are shown.
const CHILDREN: usize = 5;

/// What `items` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show what is known of an item: what it is, what made it, and what became of it
    #[command(after_help = "\
Examples:
  opendmp datasets history hello.upper.txt --long    tells the ids of items
  opendmp items show 1204-7k2p")]
    Show {
        /// Its id, or the beginning of that
        #[arg(value_name = "ITEM")]
        item: String,
        /// How to print it: text, or json: one object
        #[arg(long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
        format: Format,
    },
    /// Get the bytes of an item, as they went from one step to the next
    #[command(after_help = "\
Examples:
  opendmp items content 1204-7k2p
  opendmp items content 1204-7k2p -o between.csv

What is stored, or among what a server keeps for a while (serve --recent), is given as it is. Else
the steps that led to it are done again, by the very versions that the history names, from the
nearest item whose bytes are there; each result is held against its hash. Nothing of that is
recorded, exported or made a dataset. What a step itself does to the world outside it does again.
Where a step answers differently each time, that is told. Items made by an aggregate are not
computed again. What is written to standard error says where the bytes came from.")]
    Content {
        /// Its id, or the beginning of that
        #[arg(value_name = "ITEM")]
        item: String,
        /// The file to write, instead of standard output
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Replace the file if it is there
        #[arg(long, requires = "output")]
        force: bool,
    },
}

/// Looks at items.
pub async fn items(args: Args, target: &Target, term: &Term) -> Result<ExitCode, Fail> {
    // Steps may have to be done again.
    let need = match args.verb {
        Verb::Show { .. } => Need::Look,
        Verb::Content { .. } => Need::Work,
    };
    let session = target.session(need).await?;
    let done = verb(args.verb, &session.client, term).await;
    session.close().await;
    done
}

async fn verb(verb: Verb, client: &Client, term: &Term) -> Result<ExitCode, Fail> {
    match verb {
        Verb::Show { item, format } => {
            let info = client.item(&item).await?;
            term.out(&match format {
                Format::Json => table::object(&info)?,
                Format::Text => page(&info, term),
            })?;
        }
        Verb::Content { item, output, force } => {
            let content = client.item_content(&item).await?;
            let from = match content.from.as_deref() {
                Some("recent") => "from what was kept for a while",
                Some("computed") => "computed again, the same as then",
                _ => "stored",
            };
            let size = words::size(content.size);
            match output {
                Some(path) => to_file(content, &path, force, term).await?,
                None => to_out(content, term).await?,
            }
            term.err(&format!("{size}, {from}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn page(info: &ItemInfo, term: &Term) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = writeln!(out, "{} · {}", term.bold(&words::name(&info.name)), info.flow);
    let _ = writeln!(out, "  id        {}", info.id);
    let _ = writeln!(out, "  size      {}", words::size(info.size));
    let _ = writeln!(out, "  hash      b3:{}", info.hash);
    if let Some(port) = &info.port {
        let _ = writeln!(out, "  port      {}", words::line(port));
    }
    out.push_str(&words::attributes(&info.attributes));
    let _ = writeln!(out, "  source    arrival {}, {}", info.arrival, words::path(&info.path));
    let at_hand = match info.at_hand {
        Some(BytesFrom::Stored) => "stored",
        Some(_) => "kept for a while",
        None => "to be computed again",
    };
    let _ = writeln!(out, "  bytes     {at_hand}; `opendmp items content {}` gives them", words::short_id(&info.id));
    let _ = writeln!(out, "  made      {}", made(&info.made, &info.id));
    if info.read.is_empty() {
        let _ = writeln!(out, "  taken     by nothing so far");
    }
    for step in &info.read {
        let _ = writeln!(out, "  taken     {}", taken(step));
    }
    out
}

/// By whom an item was made, of what.
fn made(step: &ItemStep, own: &str) -> String {
    let of = if step.input == own { String::new() } else { format!(", of {}", step.input) };
    let at = words::when(&step.started);
    format!("by {} ({}){of}, {at}, version {}", step.processor, step.kind, words::short_hash(&step.version))
}

/// By whom an item was taken, and what came of it.
fn taken(step: &ItemStep) -> String {
    let came = match step.result {
        Outcome::Emitted if step.children.is_empty() => "dropped".to_owned(),
        Outcome::Emitted | Outcome::Reentered | Outcome::Joined => {
            let some: Vec<&str> = step.children.iter().take(CHILDREN).map(String::as_str).collect();
            let more = step.children.len().saturating_sub(CHILDREN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("made {}{more}", some.join(", "))
        }
        Outcome::Collected => "collected".to_owned(),
        Outcome::Unchanged => "the same as its dataset".to_owned(),
        Outcome::Dead => "became a dead letter".to_owned(),
        Outcome::Retried => "failed, to be tried again".to_owned(),
        Outcome::Held => "held".to_owned(),
        Outcome::Spooled => "made many".to_owned(),
        Outcome::Arrived => "arrived".to_owned(),
    };
    let note = step.note.as_deref().map(|note| format!(": {}", words::line(note))).unwrap_or_default();
    format!("by {} ({}), {came}{note}", step.processor, step.kind)
}
