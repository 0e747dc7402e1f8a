//! `opendmp run`: one run of a flow, from its sources to the last export.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use opendmp_api::Events;
use opendmp_api::ask::{Event, Given, Listing, RunEnd, RunProcessor, RunRequest};
use opendmp_api::rows::{DeadLetter, Run};
use serde::Serialize;

use crate::args::Format;
use crate::data::{Need, Session};
use crate::fail::{DEAD, FAILED, Fail, INTERRUPTED, TIMED_OUT, USAGE};
use crate::flow::FlowFile;
use crate::machine::Checker;
use crate::progress::Progress;
use crate::signals::Signals;
use crate::summary::{Summary, TOLD};
use crate::target::Target;
use crate::term::Term;
use crate::{draw, table, words};

/// What `run` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opendmp run flow.yaml
  opendmp run flow.yaml --input survey.csv --input notes.csv
  opendmp run flow.yaml --input inbox=survey.csv    where the flow has more than one ingest
  opendmp run flow.yaml --timeout 10m

It takes what the sources have, waits for retries, and ends when all is settled and exported. What
an earlier run of the flow left behind when it was stopped is finished, too. If a server runs, the
server does the work.

After --timeout, and after Ctrl-C, what is in work is still finished, for up to 10 s.
Exit codes: 0 all collected, 1 failed, 2 bad flow or usage, 3 some items became dead letters,
4 timed out.")]
pub struct Args {
    /// The flow file
    #[arg(value_name = "FLOW")]
    flow: PathBuf,
    /// A file to take in place of all sources; copied, never let go
    #[arg(long = "input", value_name = "[PROCESSOR=]FILE", num_args = 1..)]
    inputs: Vec<std::ffi::OsString>,
    /// How long to wait for the end, as `30s`, `10m`, `2h`
    #[arg(long, value_name = "D", value_parser = crate::args::duration)]
    timeout: Option<Duration>,
    /// How to print it: text, or json: one object at the end
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
    format: Format,
}

/// Runs a flow.
pub async fn run(args: Args, target: &Target, term: &Term) -> Result<ExitCode, Fail> {
    if target.is_remote() && !args.inputs.is_empty() {
        return Err(Fail::usage("--input takes files of this machine, which a server at an address can't read")
            .hint("put them where its flow looks for them"));
    }
    let flow = checked(&args.flow, target, term)?;
    let given = given(&args.inputs, flow.checked.as_ref().and_then(|checked| checked.flow.as_ref()))?;
    let trigger = match given.len() {
        0 => "run by hand".to_owned(),
        number => format!("run by hand on {}", words::count(number as u64, "file")),
    };
    let shown = flow.shown.clone();
    let timeout_ms = args.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
    let request = RunRequest { flow: flow.upload(target)?, given, trigger, timeout_ms };
    let session = target.session(Need::Begin).await?;
    let begun = Instant::now();
    let watched = async {
        let events = session.client.run(&request).await?;
        let again = format!("opendmp run {shown}");
        let watch = Watch { again, given: !request.given.is_empty(), format: args.format, begun };
        watch.follow(events, &session, term).await
    };
    ended(watched.await, session).await
}

/// Closes a session in order, unless the person wants to wait no longer.
pub async fn ended(result: Result<u8, Fail>, session: Session) -> Result<ExitCode, Fail> {
    if !matches!(&result, Err(fail) if fail.exit == INTERRUPTED) {
        session.close().await;
    }
    result.map(ExitCode::from)
}

/// Reads and checks a flow file; draws what is wrong or probably not meant.
pub fn checked(path: &std::path::Path, target: &Target, term: &Term) -> Result<crate::flow::CheckedFlow, Fail> {
    let checker = Checker::new()?;
    let flow = FlowFile::read(path)?.check_for(target, &checker.kinds);
    let drawn = draw::flow(&flow, term);
    if !drawn.is_empty() {
        term.err(drawn.trim_end_matches('\n'));
        term.err("");
    }
    if flow.problems.has_errors() {
        term.err(&format!("{}. Nothing was started.", draw::summary(&flow.shown, &flow.problems)));
        return Err(Fail::told(USAGE));
    }
    Ok(flow)
}

/// The files given by hand: `FILE`, or `PROCESSOR=FILE` where the flow has such a processor.
fn given(inputs: &[std::ffi::OsString], flow: Option<&opendmp_model::document::Flow>) -> Result<Vec<Given>, Fail> {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let ids: Vec<&str> = flow.iter().flat_map(|flow| &flow.processors).map(|processor| processor.id.as_str()).collect();
    let mut out = Vec::with_capacity(inputs.len());
    for input in inputs {
        let bytes = input.as_bytes();
        let split = bytes.iter().position(|byte| *byte == b'=').and_then(|at| {
            let id = std::str::from_utf8(&bytes[..at]).ok()?;
            ids.contains(&id).then(|| (id.to_owned(), &bytes[at + 1..]))
        });
        let (processor, file) = match split {
            Some((processor, file)) => (Some(processor), file),
            None => (None, bytes),
        };
        let path = PathBuf::from(std::ffi::OsString::from_vec(file.to_vec()));
        let shown = words::name(&path.display().to_string());
        let usage = |mut fail: Fail| {
            fail.exit = USAGE;
            fail
        };
        let real = path
            .canonicalize()
            .map_err(|error| usage(Fail::io(format_args!("the input `{shown}` can't be read"), &error)))?;
        if !real.is_file() {
            return Err(
                Fail::usage(format!("the input `{shown}` is not a file")).hint("name its files, as `--input folder/*`")
            );
        }
        // The name stays as it was given; only the folder is made absolute.
        let absolute = std::path::absolute(&path).map_err(|error| Fail::io(&shown, &error))?;
        out.push(Given { processor, path: opendmp_model::name::from_bytes(absolute.as_os_str().as_bytes()) });
    }
    Ok(out)
}

/// How a run is watched to its end.
pub struct Watch {
    /// The command that goes on where this one stops.
    pub again: String,
    /// Files were given by hand.
    pub given: bool,
    /// How its end is told.
    pub format: Format,
    /// When the person began to wait.
    pub begun: Instant,
}

/// How a run stands at the end.
#[derive(Serialize)]
struct Ended {
    #[serde(flatten)]
    run: Run,
    end: RunEnd,
    problems: u64,
    resumed: Vec<Run>,
}

/// What `--format json` prints.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    ended: &'a Ended,
    /// The first dead letters.
    letters: &'a [DeadLetter],
}

/// Whether the work was asked to stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stopping {
    No,
    Yes,
    Done,
}

impl Watch {
    /// Shows a run until it ends, or until the person stops it; answers the exit code.
    pub async fn follow(&self, mut events: Events, session: &Session, term: &Term) -> Result<u8, Fail> {
        let mut signals = Signals::new()?;
        let mut shown = Shown { progress: None, processors: Vec::new(), run: None, flow: String::new() };
        // Kept over the events that come meanwhile: a stop that is dropped half-way would drop the work with it.
        let stop = session.stop();
        tokio::pin!(stop);
        let mut stopping = Stopping::No;
        let mut hurried = false;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                _ = signals.next() => {
                    if !session.is_own() {
                        return Ok(shown.left(term));
                    }
                    if hurried {
                        shown.say(&format!("stopped at once; `{}` goes on", self.again), term);
                        return Err(Fail::told(INTERRUPTED));
                    }
                    if stopping != Stopping::No {
                        shown.say("stopping at once: what is in work is handed back", term);
                        session.hurry();
                        hurried = true;
                        continue;
                    }
                    shown.say("stopping: what is in work is finished first; once more stops at once", term);
                    stopping = Stopping::Yes;
                    continue;
                }
                () = &mut stop, if stopping == Stopping::Yes => {
                    // What the run had to say is still in the pipe.
                    stopping = Stopping::Done;
                    continue;
                }
            };
            match event? {
                Some(event) => {
                    if let Some(code) = self.told(event, &mut shown, session, term).await? {
                        return Ok(code);
                    }
                }
                None => {
                    return Err(Fail::new("the run's news broke off").hint("`opendmp runs list` tells how far it came"));
                }
            }
        }
    }

    async fn told(&self, event: Event, shown: &mut Shown, session: &Session, term: &Term) -> Result<Option<u8>, Fail> {
        match event {
            Event::Preparing { message } => shown.say(&format!("  {}", words::line(&message)), term),
            Event::Started { run, flow, name, version, processors, resumed } => {
                shown.begin(run, flow, &processors, term, self.head(&name, &version, run, &processors));
                for run in resumed {
                    shown.say(&format!("run {run} was stopped before its end; it goes on with this one"), term);
                }
            }
            Event::Fed => shown.fed(),
            Event::Progress { processors } => shown.update(processors, term),
            Event::Problem { about, message, hint } => shown.problem(&about, &message, hint.as_deref(), term),
            Event::Trouble(trouble) => shown.problem(&trouble.about, &trouble.message, trouble.hint.as_deref(), term),
            Event::Ended { run, end, problems, resumed } => {
                let ended = Ended { run, end, problems, resumed };
                return self.end(&ended, shown, session, term).await.map(Some);
            }
            Event::Enabled { .. } | Event::Failed(_) => {}
            Event::Copying(_) | Event::Damaged(_) | Event::BackedUp(_) | Event::Collected(_) => {}
        }
        Ok(None)
    }

    /// `Penguins · version 3f9c1a · run 7 · ./inbox`.
    fn head(&self, name: &str, version: &str, run: u64, processors: &[RunProcessor]) -> String {
        let mut parts =
            vec![words::name(name), format!("version {}", words::short_hash(version)), format!("run {run}")];
        let places = processors.iter().filter(|processor| processor.reads.is_empty()).filter_map(|p| p.place.clone());
        let places: Vec<String> = places.collect();
        if !self.given && !places.is_empty() {
            parts.push(words::name(&places.join(", ")));
        }
        parts.join(" · ")
    }

    async fn end(&self, ended: &Ended, shown: &mut Shown, session: &Session, term: &Term) -> Result<u8, Fail> {
        let Ended { run, end, problems, resumed } = ended;
        if let Some(progress) = shown.progress.take() {
            progress.end(run.processors.clone(), *end == RunEnd::Done, term);
        }
        let letters = if run.dead_letters > 0 {
            let listing = Listing { run: Some(run.run), limit: TOLD + 1, ended: true, ..Listing::default() };
            session.client.letters(&listing).await?.rows
        } else {
            Vec::new()
        };
        match self.format {
            Format::Json => term.out(&table::object(&Told { ended, letters: &letters })?)?,
            Format::Text => {
                let summary = Summary {
                    run,
                    end: *end,
                    processors: &shown.processors,
                    letters: &letters,
                    resumed,
                    took: u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX),
                    given: self.given,
                    problems: *problems,
                };
                term.out(&summary.text(term))?;
            }
        }
        if *problems > 0 {
            let items = words::count(*problems, "source item");
            term.err(&format!("{} {items} could not be taken", term.bad("error:")));
        }
        let left = run.outstanding + resumed.iter().map(|run| run.outstanding).sum::<u64>();
        let left = format!("{} still to do", words::count(left, "item"));
        Ok(match end {
            RunEnd::TimedOut => {
                let goes_on = if session.is_own() {
                    format!("`{}` goes on", self.again)
                } else {
                    "the server goes on".to_owned()
                };
                term.err(&format!("{} timed out with {left}; {goes_on}", term.bad("error:")));
                TIMED_OUT
            }
            RunEnd::Interrupted => {
                term.err(&format!("stopped with {left}; `{}` goes on", self.again));
                INTERRUPTED
            }
            RunEnd::Done if run.dead_letters > 0 => DEAD,
            RunEnd::Done if *problems > 0 => FAILED,
            RunEnd::Done => crate::fail::DONE,
        })
    }
}

/// What is on the screen.
struct Shown {
    progress: Option<Progress>,
    processors: Vec<RunProcessor>,
    run: Option<u64>,
    flow: String,
}

impl Shown {
    fn begin(&mut self, run: u64, flow: String, processors: &[RunProcessor], term: &Term, head: String) {
        term.err(&head);
        self.run = Some(run);
        self.flow = flow;
        self.processors = processors.to_vec();
        self.progress = Some(Progress::begin(processors.to_vec(), term));
    }

    fn say(&self, line: &str, term: &Term) {
        match &self.progress {
            Some(progress) => progress.say(line, term),
            None => term.err(line),
        }
    }

    fn problem(&self, about: &str, message: &str, hint: Option<&str>, term: &Term) {
        self.say(&format!("{} {}: {}", term.warn("problem:"), words::line(about), words::line(message)), term);
        if let Some(hint) = hint {
            self.say(&format!("{} {hint}", term.cyan("hint:")), term);
        }
    }

    fn fed(&mut self) {
        if let Some(progress) = &mut self.progress {
            progress.fed();
        }
    }

    fn update(
        &mut self,
        counts: std::collections::BTreeMap<String, opendmp_ports::transport::StepCounts>,
        term: &Term,
    ) {
        if let Some(progress) = &mut self.progress {
            progress.update(counts, term);
        }
    }

    /// The person leaves; the server goes on.
    fn left(&self, term: &Term) -> u8 {
        match self.run {
            Some(run) => self
                .say(&format!("run {run} goes on in the server; `opendmp runs show {run}` tells how far it is"), term),
            None => self.say("the server goes on; `opendmp runs list` tells how far it is", term),
        }
        INTERRUPTED
    }
}
