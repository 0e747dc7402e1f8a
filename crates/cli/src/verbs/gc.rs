//! `opendmp gc`: lets go of content that nobody needs any more.

use std::fmt::Write as _;
use std::process::ExitCode;

use opendmp_api::ask::Event;
use opendmp_api::garbage::{CollectRequest, Collected};

use crate::args::Format;
use crate::data::Need;
use crate::fail::Fail;
use crate::target::Target;
use crate::term::Term;
use crate::{table, words};

/// What `gc` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opendmp gc --dry-run    how much could be freed
  opendmp gc
  opendmp gc --format json

Freed is what nothing leads to any more: results between two steps that are done with, results
that equalled what was there, leftovers of work that was broken off, the items of dead letters
that were retried or discarded. All that open work, aggregates, open dead letters, exports still
to be done, datasets and their sources need stays.

Before, what the flows' `retention` no longer keeps is let go: content of sources and of older
revisions, and old history. What was let go is still listed, and what was exported stays where it
is; --dry-run tells how much it would be, and its room comes on top of what would be freed.

A server does this by itself every hour, and when its disk is nearly full. What is being worked
on is left for the next time, so a step that takes hours puts that off. It does not run while a
backup or `opendmp verify` reads everything; these wait for its end.")]
pub struct Args {
    /// Free nothing, only tell what would be freed
    #[arg(long)]
    dry_run: bool,
    /// How to print it: text, or json: one object at the end
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
    format: Format,
}

/// Collects garbage.
pub async fn gc(args: Args, target: &Target, term: &Term) -> Result<ExitCode, Fail> {
    let session = target.session(Need::Work).await?;
    let request = CollectRequest { dry_run: args.dry_run };
    let done = async {
        let mut events = session.client.collect_garbage(request).await?;
        loop {
            match events.next().await? {
                Some(Event::Collected(collected)) => return Ok(collected),
                Some(_) => {}
                None => {
                    return Err(Fail::new("the news of it broke off").hint("the server's log tells what became of it"));
                }
            }
        }
    }
    .await;
    session.close().await;
    let collected = done?;
    term.out(&match args.format {
        Format::Json => table::object(&collected)?,
        Format::Text => text(&collected, term),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What retention let go; nothing where it did not.
fn retention(collected: &Collected, term: &Term) -> String {
    let gone = &collected.retention;
    if gone.is_empty() {
        return String::new();
    }
    let part = |count: u64, what: &str, bytes: u64| {
        (count > 0).then(|| format!("{} ({})", words::count(count, what), words::size(bytes)))
    };
    let parts = [
        part(gone.sources, "source", gone.source_bytes),
        part(gone.revisions, "revision", gone.revision_bytes),
        part(gone.records, "record", gone.record_bytes).map(|records| format!("{records} of history")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let verb = if collected.dry_run { "retention would let go of" } else { "retention let go of" };
    format!("{} {verb} {}\n", term.green("✓"), parts.join(", "))
}

fn text(collected: &Collected, term: &Term) -> String {
    let (bytes, contents) = (words::size(collected.bytes), words::count(collected.contents, "content"));
    let took = words::took(collected.took_ms * 1_000);
    let mut out = retention(collected, term);
    out += &match (collected.contents, collected.dry_run) {
        (0, _) => format!("{} there is no garbage · {took}\n", term.green("✓")),
        (_, true) => format!("{} {bytes} in {contents} would be freed · {took}\n", term.green("✓")),
        (_, false) => format!("{} freed {bytes} in {contents} · {took}\n", term.green("✓")),
    };
    if collected.stopped {
        let _ = writeln!(out, "  it was stopped early: there is more");
    }
    if !collected.dry_run && collected.contents > 0 {
        let _ = writeln!(out, "  disk    {} more are free on it", words::size(collected.disk));
    }
    let _ = writeln!(out, "  kept    {}", words::count(collected.kept, "content"));
    out
}
