//! `opendmp runs`: what was run, and how it came out.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use opendmp_api::ask::{Listing, Runs};
use opendmp_api::rows::Run;
use opendmp_ports::journal::{RunState, RunsMeant};
use opendmp_ports::transport::StepCounts;

use crate::args::Format;
use crate::data::{Need, Session};
use crate::fail::Fail;
use crate::table::{self, Listed, Value, column, wide};
use crate::target::Target;
use crate::term::Term;
use crate::words;

/// What `runs` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List runs, the newest first
    #[command(
        after_help = "Examples:\n  opendmp runs list --flow penguins --limit 10\n  opendmp runs list --state failures --since 2026-11-22\n  opendmp runs list --format json | jq '.[0].run'"
    )]
    List {
        /// Only of this flow
        #[arg(long, value_name = "FLOW")]
        flow: Option<String>,
        /// Only those that stand so: running, done, or failures, which made dead letters
        #[arg(long, value_name = "STATE", value_enum, hide_possible_values = true)]
        state: Option<State>,
        /// Only those begun at this time or later: 2026-11-22T14:02:11Z, or 2026-11-22
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Only those begun before this time
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        #[command(flatten)]
        listed: Listed,
    },
    /// Show one run with its numbers by processor
    #[command(after_help = "Examples:\n  opendmp runs show 7")]
    Show {
        /// Its number
        #[arg(value_name = "RUN")]
        run: u64,
        /// How to print it: text, or json: one object
        #[arg(long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
        format: Format,
    },
}

/// How runs are chosen by how they went.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    Running,
    Done,
    Failures,
}

impl From<State> for RunsMeant {
    fn from(state: State) -> Self {
        match state {
            State::Running => Self::Running,
            State::Done => Self::Done,
            State::Failures => Self::Failures,
        }
    }
}

/// Lists or shows runs.
pub async fn runs(args: Args, target: &Target, term: &Term) -> Result<ExitCode, Fail> {
    let session = target.session(Need::Look).await?;
    let done = verb(args.verb, &session, term).await;
    session.close().await;
    done
}

async fn verb(verb: Verb, session: &Session, term: &Term) -> Result<ExitCode, Fail> {
    match verb {
        Verb::List { flow, state: stands, since, until, listed } => {
            let columns = [
                column("run", |run: &Run| Value::Number(run.run)),
                column("flow", |run| Value::Text(run.flow.clone())),
                column("state", |run| Value::Text(state(run).to_owned())),
                column("arrived", |run| Value::Number(run.arrivals)),
                column("new", |run| Value::Number(run.revisions)),
                column("unchanged", |run| Value::Number(run.unchanged)),
                column("dead", |run| Value::Number(run.dead_letters)),
                column("left", |run| Value::Number(run.outstanding)),
                column("started", |run| Value::Time(Some(run.started.clone()))),
                column("took", |run| {
                    let took = run.took_ms.and_then(|took| u64::try_from(took).ok());
                    took.map_or(Value::As(u64::MAX, "-".to_owned()), |took| Value::As(took, words::took(took * 1_000)))
                }),
                wide("trigger", |run| Value::Text(run.trigger.clone())),
            ];
            let narrowed = flow.is_some() || stands.is_some() || since.is_some() || until.is_some();
            let empty = if narrowed { "no such runs" } else { "no runs yet; `opendmp run FLOW.yaml` makes one" };
            let which = Runs { flow, state: stands.map(RunsMeant::from), since, until, ..Runs::default() };
            table::pages(Listing::default(), &listed, &columns, empty, term, |part| {
                let which = Runs { name: part.name, limit: part.limit, after: part.after, ..which.clone() };
                async move { session.client.runs(&which).await }
            })
            .await?;
        }
        Verb::Show { run, format } => {
            let run = session.client.one_run(run).await?;
            term.out(&match format {
                Format::Json => table::object(&run)?,
                Format::Text => page(&run, term),
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn state(run: &Run) -> &'static str {
    match run.state {
        RunState::Running => "running",
        RunState::Done => "done",
    }
}

fn page(run: &Run, term: &Term) -> String {
    let mut out = String::new();
    let took = run.took_ms.and_then(|took| u64::try_from(took).ok()).map(|took| words::took(took * 1_000));
    // Writing to a string can't fail.
    let _ = writeln!(
        out,
        "{} · {} · version {} · {}",
        term.bold(&format!("run {}", run.run)),
        run.flow,
        words::short_hash(&run.version),
        state(run)
    );
    let _ = writeln!(out, "  trigger    {}", words::line(&run.trigger));
    let _ = writeln!(out, "  started    {}", words::when(&run.started));
    if let Some(finished) = &run.finished {
        let _ = writeln!(
            out,
            "  finished   {}{}",
            words::when(finished),
            took.map(|took| format!(", after {took}")).unwrap_or_default()
        );
    }
    let _ = writeln!(out, "  arrived    {}", words::grouped(run.arrivals));
    let _ = writeln!(
        out,
        "  collected  {} new, {} unchanged",
        words::grouped(run.revisions),
        words::grouped(run.unchanged)
    );
    let _ = writeln!(out, "  exported   {}", words::grouped(run.exported));
    let _ = writeln!(out, "  dead       {}", words::grouped(run.dead_letters));
    let _ = writeln!(out, "  left       {}", words::grouped(run.outstanding));
    if !run.processors.is_empty() {
        let rows: Vec<(String, StepCounts)> = run.processors.iter().map(|(id, counts)| (id.clone(), *counts)).collect();
        let columns = [
            column("processor", |row: &(String, StepCounts)| Value::Text(row.0.clone())),
            column("done", |row| Value::Number(row.1.done)),
            column("remembered", |row| Value::Number(row.1.remembered)),
            column("emitted", |row| Value::Number(row.1.emitted)),
            column("retried", |row| Value::Number(row.1.retried)),
            column("dead", |row| Value::Number(row.1.dead)),
            column("each", |row| {
                let each = row.1.took / (row.1.done + row.1.dead + row.1.retried).max(1);
                Value::As(each, if each == 0 { "-".to_owned() } else { words::took(each) })
            }),
        ];
        let _ = write!(out, "\n{}", table::table(&rows, &columns, term.width()));
    }
    if run.dead_letters > 0 {
        let _ = writeln!(out, "\n  opendmp dead-letters list --run {}", run.run);
    }
    out
}
