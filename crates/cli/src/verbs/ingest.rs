//! `opendmp ingest audit`: what the sources of a flow have, beside what was taken from them.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use opendmp_api::rows::AuditRow;
use opendmp_model::document::slug;
use opendmp_processor::{AuditEntry, AuditState, NotTaken};

use crate::args::Format;
use crate::data::Need;
use crate::fail::{DEAD, Fail};
use crate::table::{self, Value, column, wide};
use crate::target::Target;
use crate::term::Term;
use crate::words;

/// What `ingest` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Compare the sources of a flow with its ledger
    #[command(after_help = "\
Examples:
  opendmp ingest audit penguins
  opendmp ingest audit flow.yaml --format json

Files that wait for the next look at the folder, that are being taken in, or that are about to be
deleted or moved are listed, too: they are no fault. Nor are files that the ingest does not take,
which are counted at the end. The exit code is 0 if no file was lost and none is stuck, else 3.")]
    Audit {
        /// The flow's name, or its file
        #[arg(value_name = "FLOW")]
        flow: String,
        /// How to print it: text, or json: an array with an object for each ingest
        #[arg(long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
        format: Format,
    },
}

/// Audits a flow's sources.
pub async fn ingest(args: Args, target: &Target, term: &Term) -> Result<ExitCode, Fail> {
    let Verb::Audit { flow, format } = args.verb;
    let flow = identity(&flow);
    let session = target.session(Need::Work).await?;
    let rows = session.client.audit(&flow).await;
    session.close().await;
    let rows = rows?;
    match format {
        Format::Json => term.out(&table::json(&rows)?)?,
        Format::Text => term.out(&rows.iter().map(|row| page(row, term)).collect::<Vec<_>>().join("\n"))?,
    }
    Ok(if rows.iter().all(is_clean) { ExitCode::SUCCESS } else { ExitCode::from(DEAD) })
}

/// The identity of the flow in a file, or the name itself.
fn identity(flow: &str) -> String {
    let path = Path::new(flow);
    let named = path.is_file().then(|| std::fs::read(path).ok()).flatten().and_then(|bytes| {
        let text = String::from_utf8(bytes).ok()?;
        let (root, _) = opendmp_model::document::tree::parse(&text);
        root?.get("name")?.text().map(slug)
    });
    named.unwrap_or_else(|| flow.to_owned())
}

/// Whether everything is in the ledger or on its way there.
fn is_clean(row: &AuditRow) -> bool {
    row.entries.iter().all(|entry| !matches!(entry.state, AuditState::Claimed | AuditState::Problem))
}

fn page(row: &AuditRow, term: &Term) -> String {
    let mut parts = Vec::new();
    for (state, words) in [
        (AuditState::Waiting, "waiting"),
        (AuditState::Claimed, "claimed and not recorded"),
        (AuditState::Releasing, "being let go"),
        (AuditState::Problem, "in the way"),
    ] {
        let number = row.entries.iter().filter(|entry| entry.state == state).count() as u64;
        if number > 0 {
            parts.push(format!("{} {words}", words::grouped(number)));
        }
    }
    if parts.is_empty() {
        parts.push("all ingested".to_owned());
    }
    let mark = if is_clean(row) { term.green("✓") } else { term.red("✗") };
    let compared = words::count(row.compared, "source item");
    let mut out = format!("{mark} {} · {compared} compared: {}\n", term.bold(&row.ingest), parts.join(", "));
    if !row.entries.is_empty() {
        let columns = [
            column("state", |entry: &AuditEntry| Value::Text(state(entry.state).to_owned())),
            wide("path", |entry| Value::Text(entry.path.clone())),
            wide("detail", |entry| Value::Text(entry.detail.clone().unwrap_or_default())),
        ];
        out.push_str(&table::table(&row.entries, &columns, term.width()));
    }
    if row.more {
        out.push_str("more were left out\n");
    }
    let NotTaken { count, examples } = &row.not_taken;
    if *count > 0 {
        let named: Vec<String> = examples.iter().map(|path| format!("`{}`", words::name(path))).collect();
        let more = if *count > examples.len() as u64 { ", …" } else { "" };
        let (count, named) = (words::grouped(*count), named.join(", "));
        let _ = writeln!(out, "{count} not taken because of `pattern`, `exclude` or `recursive`: {named}{more}");
    }
    out
}

fn state(state: AuditState) -> &'static str {
    match state {
        AuditState::Ingested => "ingested",
        AuditState::Waiting => "waiting",
        AuditState::Claimed => "claimed",
        AuditState::Releasing => "releasing",
        AuditState::Problem => "problem",
    }
}
