//! `opendmp reprocess`: what arrived before goes through the present version of its flow once more.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use opendmp_api::ask::{ReprocessForeseen, ReprocessRequest};
use opendmp_engine::reprocess::{PlannedStep, ReprocessPlan};
use opendmp_ports::Clock as _;
use opendmp_ports::clock::SystemClock;

use crate::args::Format;
use crate::data::{Need, Session};
use crate::fail::Fail;
use crate::table::{self, Value, column};
use crate::target::Target;
use crate::term::Term;
use crate::verbs::datasets::named;
use crate::verbs::flows::confirm;
use crate::verbs::run::{Watch, ended};
use crate::words;

/// What `reprocess` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opendmp reprocess penguins --plan             what it would do; nothing is changed
  opendmp reprocess penguins                    asks first, then does it
  opendmp reprocess penguins --since 7d --yes   only what arrived in the last seven days
  opendmp reprocess penguins --since 2026-11-01
  opendmp reprocess penguins --collection Penguins
  opendmp reprocess penguins survey.csv 1204-7k2p
  opendmp reprocess --stop 12                   sends nothing more in; what was sent in is finished

After an edit, `opendmp flows enable FLOW.yaml` saves the new version, and this takes through it what
arrived before: of each file the newest version. Results that differ become new revisions of their
datasets and are exported again; equal ones add only history. Steps that did not change are not done
again where their results are remembered (`memo:` in the flow).

With a running `opendmp serve` the server does it, and goes on when this command is stopped. Else this
command does it; what is left when it is stopped is done by the next `opendmp serve`.
Exit codes: 0 done, 1 failed, 2 bad usage, 3 some items became dead letters, 4 timed out")]
pub struct Args {
    /// The flow's name
    #[arg(value_name = "FLOW", required_unless_present = "stop")]
    flow: Option<String>,
    /// Only what these came of: datasets by id, the beginning of one, or name
    #[arg(value_name = "DATASET")]
    datasets: Vec<String>,
    /// Only what arrived in this time, as `90m`, `7d`, or since this day or time, as `2026-11-01`
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Since>,
    /// Only that of which something is in this collection
    #[arg(long, value_name = "NAME", conflicts_with = "datasets")]
    collection: Option<String>,
    /// Say what it would do, and change nothing
    #[arg(long, conflicts_with = "yes")]
    plan: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Have the reprocess of this run send nothing more in
    #[arg(long, value_name = "RUN", conflicts_with_all = ["flow", "datasets", "since", "collection", "plan"])]
    stop: Option<u64>,
    /// How long to wait for the end, as `30s`, `10m`, `2h`
    #[arg(long, value_name = "D", value_parser = crate::args::duration)]
    timeout: Option<Duration>,
    /// How to print it: text, or json: one object at the end
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
    format: Format,
}

/// A time, or how long ago one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    Ago(Duration),
    At(i64),
}

impl Since {
    /// Milliseconds since 1970.
    fn at(self, now: i64) -> i64 {
        match self {
            Self::Ago(ago) => now.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)),
            Self::At(at) => at,
        }
    }
}

/// Reads `7d`, `90m`, `2026-11-01`, `2026-11-01T14:30`, or a time with its zone.
fn since(text: &str) -> Result<Since, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    if let Some(days) = days {
        return Ok(Since::Ago(Duration::from_secs(days.saturating_mul(86_400))));
    }
    if let Ok(ago) = crate::args::duration(text) {
        return Ok(Since::Ago(ago));
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(Since::At(time.as_millisecond()));
    }
    let local = text.parse::<DateTime>().and_then(|time| time.to_zoned(TimeZone::system()));
    local
        .map(|time| Since::At(time.timestamp().as_millisecond()))
        .map_err(|_| "write how long ago, as `90m`, `12h` or `7d`, or a day or time, as `2026-11-01`".to_owned())
}

/// Reprocesses.
pub async fn reprocess(args: Args, target: &Target, term: &Term) -> Result<ExitCode, Fail> {
    let session = target.session(Need::Work).await?;
    let done = asked(&args, &session, term).await;
    ended(done, session).await
}

async fn asked(args: &Args, session: &Session, term: &Term) -> Result<u8, Fail> {
    if let Some(run) = args.stop {
        return stop(run, args.format, session, term).await;
    }
    let flow = args.flow.as_deref().unwrap_or_default();
    if flow.ends_with(".yaml") || flow.ends_with(".yml") || flow.ends_with(".json") {
        return Err(Fail::usage(format!("`{}` is a file; a flow is named here", words::line(flow)))
            .hint(format!("`opendmp flows enable {}` saves its present version first", words::line(flow))));
    }
    let mut datasets = Vec::with_capacity(args.datasets.len());
    for dataset in &args.datasets {
        datasets.push(named(dataset, flow, &session.client, term).await?.id);
    }
    let request = ReprocessRequest {
        since: args.since.map(|since| since.at(SystemClock.now())),
        collection: args.collection.clone(),
        datasets,
        timeout_ms: args.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
    };
    if args.plan {
        let foreseen = session.client.foresee(flow, &request).await?;
        term.out(&match args.format {
            Format::Json => table::object(&foreseen)?,
            Format::Text => text(&foreseen, term),
        })?;
        return Ok(crate::fail::DONE);
    }
    // What is named one by one is looked at in any case: that nothing can be done is then worth more than a run of nothing.
    if !args.yes || !request.datasets.is_empty() {
        let foreseen = session.client.foresee(flow, &request).await?;
        let ReprocessPlan { arrivals, gone, .. } = foreseen.plan;
        if arrivals == 0 && gone > 0 {
            let what = words::count(gone, "item");
            return Err(Fail::new(format!(
                "nothing of this can be reprocessed: the bytes of {what} are no longer kept"
            ))
            .hint("`retention: { sources: … }` of a flow says for how long they are; --plan tells more"));
        }
        if arrivals == 0 {
            term.out(&format!("{} nothing to reprocess\n", term.green("✓")))?;
            return Ok(crate::fail::DONE);
        }
        if !args.yes {
            term.err(text(&foreseen, term).trim_end());
            confirm("Do it?", false, term)?;
        }
    }
    let begun = Instant::now();
    let events = session.client.reprocess(flow, &request).await?;
    let watch = Watch { again: "opendmp serve".to_owned(), given: true, format: args.format, begun };
    watch.follow(events, session, term).await
}

async fn stop(run: u64, format: Format, session: &Session, term: &Term) -> Result<u8, Fail> {
    let stopped = session.client.stop(run).await?;
    if format == Format::Json {
        term.out(&table::object(&stopped)?)?;
        return Ok(crate::fail::DONE);
    }
    let taken = words::count(stopped.taken, "item");
    let line = match (stopped.stopped, stopped.run.outstanding) {
        (false, _) => format!("run {run} sends nothing more in: {taken} were sent in before"),
        (true, 0) => format!("run {run} is stopped: {taken} were sent in and are done"),
        (true, left) => format!(
            "run {run} is stopped: {taken} were sent in; {} still to do are finished",
            words::count(left, "item")
        ),
    };
    term.out(&format!("{} {line}\n", term.green("✓")))?;
    Ok(crate::fail::DONE)
}

/// What it would do, each line with its end.
fn text(foreseen: &ReprocessForeseen, term: &Term) -> String {
    let plan = &foreseen.plan;
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = writeln!(
        out,
        "{} · version {} · {} would be sent in again",
        term.bold(&foreseen.flow),
        words::short_hash(&foreseen.version),
        words::count(plan.arrivals, "item")
    );
    if plan.gone > 0 {
        let _ = writeln!(
            out,
            "  {} can't be: their bytes are no longer kept (`retention: {{ sources: … }}` of the flow says for how long \
             they are), or their ingest is not in this version",
            words::count(plan.gone, "item")
        );
    }
    if plan.arrivals > 0 {
        let columns = [
            column("processor", |step: &PlannedStep| Value::Text(step.processor.clone())),
            column("kind", |step| Value::Text(step.kind.clone())),
            column("runs", |step| Value::As(step.runs, runs(step))),
            column("remembered", |step| Value::Number(step.remembered)),
        ];
        let _ = write!(out, "\n{}", table::table(&plan.steps, &columns, term.width()));
        if plan.steps.iter().any(|step| !step.exact && !step.open) {
            let _ =
                writeln!(out, "\n  at most: as if each result behind a step that runs again were one, and a new one");
        }
    }
    out
}

fn runs(step: &PlannedStep) -> String {
    match (step.open, step.exact, step.runs) {
        (true, ..) => "by its groups".to_owned(),
        (_, true, runs) => words::grouped(runs),
        (_, false, runs) => format!("at most {}", words::grouped(runs)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(since("7d"), Ok(Since::Ago(Duration::from_secs(7 * 86_400))));
        assert_eq!(since("90m"), Ok(Since::Ago(Duration::from_secs(5_400))));
        assert_eq!(since("1970-01-01T00:00:01Z"), Ok(Since::At(1_000)));
        assert!(matches!(since("2026-11-01"), Ok(Since::At(_))));
        assert!(since("yesterday").unwrap_err().contains("7d"));
        assert_eq!(Since::Ago(Duration::from_secs(1)).at(5_000), 4_000);
    }
}
