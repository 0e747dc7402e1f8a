//! `opendmp dead-letters`: items that could not be processed, and what becomes of them.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use clap::Subcommand;
use opendmp_api::ask::{Follow, Found, Letters, Listing, Reference};
use opendmp_api::rows::{DeadGroup, DeadLetter, LetterState};

use crate::args::Format;
use crate::data::{Need, Session};
use crate::fail::{Fail, USAGE};
use crate::table::{self, Listed, Value, column, wide};
use crate::target::Target;
use crate::term::Term;
use crate::verbs::flows::confirm;
use crate::verbs::run::{Watch, ended};
use crate::words;

/// What `dead-letters` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List dead letters that wait for a person, the newest first
    #[command(after_help = "\
Examples:
  opendmp dead-letters list --flow penguins
  opendmp dead-letters list --format json | jq -r '.[].fault.message'")]
    List {
        /// Only of this flow
        #[arg(long, value_name = "FLOW")]
        flow: Option<String>,
        /// Only made in this run
        #[arg(long, value_name = "RUN")]
        run: Option<u64>,
        /// Only of items whose name contains this, or matches it where it has `*` or `?`
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Only those that have all of these words in their item's name or in what is said of them
        #[arg(long, value_name = "WORDS")]
        search: Option<String>,
        /// Only of this group, as `opendmp dead-letters groups` tells it
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
        /// Those that were retried or discarded, too
        #[arg(long)]
        ended: bool,
        #[command(flatten)]
        listed: Listed,
    },
    /// List what went wrong: one row for all dead letters with the same error, the most frequent first
    #[command(after_help = "\
Examples:
  opendmp dead-letters groups --flow penguins
  opendmp dead-letters retry --all --group $(opendmp dead-letters groups --format json | jq -r '.[0].group')")]
    Groups {
        /// Only of this flow
        #[arg(long, value_name = "FLOW")]
        flow: Option<String>,
        /// Only those that have all of these words in what is said of them
        #[arg(long, value_name = "WORDS")]
        search: Option<String>,
        #[command(flatten)]
        listed: Listed,
    },
    /// Show one dead letter: what failed, where, with what
    #[command(after_help = "Examples:\n  opendmp dead-letters show 1204-7k2p")]
    Show {
        /// Its id, or the beginning of it
        #[arg(value_name = "ID")]
        id: String,
        /// How to print it: text, or json: one object
        #[arg(long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
        format: Format,
    },
    /// Send dead letters in again, through the present version of their flow
    #[command(after_help = "\
Examples:
  opendmp dead-letters retry 1204-7k2p
  opendmp flows enable flow.yaml && opendmp dead-letters retry --all --flow penguins

If a server runs, the server does the work; without one this command does, and ends as `run` does:
with 3 if some fail again.")]
    Retry {
        #[command(flatten)]
        which: Which,
    },
    /// Give dead letters up; they stay in the history
    #[command(after_help = "Examples:\n  opendmp dead-letters discard 1204-7k2p --reason 'a test file'")]
    Discard {
        #[command(flatten)]
        which: Which,
        /// Why, for the history
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// Which dead letters.
#[derive(Debug, clap::Args)]
struct Which {
    /// Their ids, or the beginnings of them
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,
    /// Every one that waits
    #[arg(long)]
    all: bool,
    /// With --all: only of this flow
    #[arg(long, value_name = "FLOW", requires = "all")]
    flow: Option<String>,
    /// With --all: only made in this run
    #[arg(long, value_name = "RUN", requires = "all")]
    run: Option<u64>,
    /// With --all: only of this group, as `opendmp dead-letters groups` tells it
    #[arg(long, value_name = "GROUP", requires = "all")]
    group: Option<String>,
}

impl Which {
    fn letters(self, reason: String) -> Letters {
        let all = self.all.then(|| Listing { flow: self.flow, run: self.run, group: self.group, ..Listing::default() });
        Letters { ids: self.ids, all, reason }
    }
}

/// Looks after dead letters.
pub async fn dead_letters(args: Args, target: &Target, term: &Term) -> Result<ExitCode, Fail> {
    let need = if matches!(args.verb, Verb::Retry { .. }) { Need::Work } else { Need::Look };
    let session = target.session(need).await?;
    let done = verb(args.verb, &session, term).await;
    ended(done, session).await
}

async fn verb(verb: Verb, session: &Session, term: &Term) -> Result<u8, Fail> {
    let client = &session.client;
    match verb {
        Verb::List { flow, run, name, search, group, ended, listed } => {
            let columns = [
                column("id", |row: &DeadLetter| Value::Id(row.id.clone())),
                column("flow", |row| Value::Text(row.flow.clone())),
                column("processor", |row| Value::Text(row.processor.clone())),
                wide("item", |row| Value::Text(row.item.name.clone())),
                wide("fault", |row| Value::Text(row.fault.to_string().lines().next().unwrap_or_default().to_owned())),
                column("attempts", |row| Value::Number(u64::from(row.attempts))),
                column("failed", |row| Value::Time(Some(row.failed.clone()))),
                column("state", |row| Value::Text(state(row.state).to_owned())),
            ];
            let listing = Listing { flow, run, name, q: search, group, ended, ..Listing::default() };
            table::pages(listing, &listed, &columns, "no dead letters", term, |listing| async move {
                client.letters(&listing).await
            })
            .await?;
        }
        Verb::Groups { flow, search, listed } => {
            let columns = [
                column("group", |row: &DeadGroup| Value::Text(row.group.clone())),
                column("count", |row| Value::Number(row.count)),
                column("flow", |row| Value::Text(row.flow.clone())),
                column("processor", |row| Value::Text(row.processor.clone())),
                wide("fault", |row| Value::Text(format!("{}: {}", row.code, row.message))),
                column("last", |row| Value::Time(Some(row.last.clone()))),
            ];
            let listing = Listing { flow, q: search, ..Listing::default() };
            table::pages(listing, &listed, &columns, "no dead letters", term, |listing| async move {
                client.letter_groups(&listing).await
            })
            .await?;
        }
        Verb::Show { id, format } => {
            let row = one(&id, session, term).await?;
            term.out(&match format {
                Format::Json => table::object(&row)?,
                Format::Text => page(&row, term),
            })?;
        }
        Verb::Retry { which } => return retry(which, session, term).await,
        Verb::Discard { which, reason, yes } => {
            let what = if which.all {
                "all that wait".to_owned()
            } else {
                words::count(which.ids.len() as u64, "dead letter")
            };
            confirm(
                &format!("Discard {what}? Their items stay in the history, but nothing more comes of them."),
                yes,
                term,
            )?;
            let done = client.discard(&which.letters(reason)).await?;
            term.out(&format!("{} {} discarded\n", term.green("✓"), words::count(done.letters, "dead letter")))?;
        }
    }
    Ok(crate::fail::DONE)
}

async fn retry(which: Which, session: &Session, term: &Term) -> Result<u8, Fail> {
    let retried = session.client.retry(&which.letters(String::new())).await?;
    if retried.is_empty() {
        term.out("there is no dead letter to retry\n")?;
        return Ok(crate::fail::DONE);
    }
    let mut worst = crate::fail::DONE;
    for run in retried {
        let sent = words::count(run.letters, "dead letter");
        if !session.is_own() {
            term.out(&format!("{} {sent} of {} sent in again as run {}\n", term.green("✓"), run.flow, run.run))?;
            term.out(&format!("  see    opendmp runs show {}\n", run.run))?;
            continue;
        }
        term.err(&format!("{} · {sent} sent in again · run {}", run.flow, run.run));
        let watch =
            Watch { again: "opendmp serve".to_owned(), given: true, format: Format::Text, begun: Instant::now() };
        let events = session.client.follow(run.run, Follow::default()).await?;
        worst = worst.max(watch.follow(events, session, term).await?);
    }
    Ok(worst)
}

fn state(state: LetterState) -> &'static str {
    match state {
        LetterState::Open => "open",
        LetterState::Retried => "retried",
        LetterState::Discarded => "discarded",
    }
}

/// The dead letter that is meant; where that is not clear, the candidates are told.
async fn one(id: &str, session: &Session, term: &Term) -> Result<DeadLetter, Fail> {
    let reference = Reference { name: id.to_owned(), ..Reference::default() };
    let Found { mut rows, more } = session.client.find_letters(&reference).await?;
    let shown = words::line(id);
    match rows.len() {
        0 => Err(Fail::new(format!("there is no dead letter `{shown}`"))
            .hint("`opendmp dead-letters list` shows them with their ids")),
        1 => Ok(rows.remove(0)),
        number => {
            let columns = [
                column("id", |row: &DeadLetter| Value::Id(row.id.clone())),
                column("flow", |row| Value::Text(row.flow.clone())),
                column("processor", |row| Value::Text(row.processor.clone())),
                wide("item", |row| Value::Text(row.item.name.clone())),
                column("state", |row| Value::Text(state(row.state).to_owned())),
            ];
            term.err(table::table(&rows, &columns, None).trim_end());
            let many = if more { format!("more than {number}") } else { number.to_string() };
            let mut fail =
                Fail::new(format!("`{shown}` may mean any of {many} dead letters")).hint("write more of the id");
            fail.exit = USAGE;
            Err(fail)
        }
    }
}

fn page(row: &DeadLetter, term: &Term) -> String {
    let mut out = String::new();
    let fault = &row.fault;
    // Writing to a string can't fail.
    let _ = writeln!(
        out,
        "{} · {} · {} · {}",
        term.bold(&words::short_id(&row.id)),
        row.flow,
        row.processor,
        state(row.state)
    );
    let _ = writeln!(out, "{} {}", term.red("✗"), block(&fault.to_string()));
    if let Some((place, line)) = &fault.place {
        let _ = writeln!(out, "  {}     {}", words::line(place), words::line(line));
    }
    if let Some(hint) = &fault.hint {
        let _ = writeln!(out, "  hint: {}", words::line(hint));
    }
    let attempts = words::count(u64::from(row.attempts), "attempt");
    let _ = writeln!(
        out,
        "\n  failed    {} after {attempts}, in run {} at version {}",
        words::when(&row.failed),
        row.run,
        words::short_hash(&row.version)
    );
    let item = &row.item;
    let _ = writeln!(out, "  item      {} · {} · b3:{}", words::name(&item.name), words::size(item.size), item.hash);
    let _ = writeln!(out, "  arrived   {}", words::when(&item.arrived));
    out.push_str(&words::attributes(&item.attributes));
    if row.export_only {
        let _ = writeln!(out, "  only the export failed: the dataset is there, and a retry repeats only the export");
    }
    if let Some(end) = &row.end {
        let reason = end.reason.as_deref().map(|reason| format!(": {}", words::line(reason))).unwrap_or_default();
        let _ =
            writeln!(out, "  {:<9} {} by {}{reason}", state(row.state), words::when(&end.at), words::line(&end.actor));
    }
    if let Some(traceback) = &fault.traceback {
        let _ = writeln!(out, "\n{}\n{}", term.bold("traceback"), indented(traceback));
    }
    if !row.log.is_empty() {
        let _ = writeln!(out, "\n{}", term.bold("log"));
        for line in &row.log {
            let _ = writeln!(out, "  {:<7} {}", words::line(&line.level), words::name(&line.text));
        }
    }
    if row.state == LetterState::Open {
        let id = words::short_id(&row.id);
        let _ = writeln!(out, "\n  retry    opendmp dead-letters retry {id}");
        let _ = writeln!(out, "  discard  opendmp dead-letters discard {id} --reason WHY");
    }
    out
}

/// Text of several lines, each safe for a terminal, all but the first indented.
fn block(text: &str) -> String {
    text.lines().map(words::name).collect::<Vec<_>>().join("\n  ")
}

fn indented(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("  {}", words::name(line))).collect::<Vec<_>>().join("\n")
}
