//! `opendmp backup`: everything in a folder of its own, and whether it is whole.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use opendmp_api::Events;
use opendmp_api::ask::{BackupRequest, Event};
use opendmp_api::backup::{BackedUp, Copying, Holds};

use crate::args::Format;
use crate::backup::{Verified, verify};
use crate::data::Need;
use crate::fail::{DONE, FAILED, Fail};
use crate::target::Target;
use crate::term::Term;
use crate::{table, words};

/// At most one plain line in this time.
const PAUSE: Duration = Duration::from_secs(5);

/// What `backup` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opendmp backup /mnt/disk/opendmp
  opendmp backup /mnt/disk/opendmp           again: only what is new is copied
  opendmp backup --verify /mnt/disk/opendmp  read it whole and check every hash
  opendmp restore /mnt/disk/opendmp --data-dir ./again

It may be made while a server works, which then does the copying: what comes of it is the state of
one moment. If it is broken off, the earlier backup in that folder stays good, and the next one
goes on where it ended. Each data directory needs a folder of its own.

It holds flows with their code, datasets with all revisions and history, dead letters, and work
under way. Files that wait at their sources, and what was exported, are not in it.
Exit codes: 0 all is well, 1 failed, or something is damaged; the rest was backed up then.")]
pub struct Args {
    /// The folder it goes to: empty, not there yet, or an earlier backup
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// Back nothing up, but read what is there: every content, the journal, and whether all it names is there
    #[arg(long)]
    verify: bool,
    /// How to print it: text, or json: one object at the end
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
    format: Format,
}

/// Makes or verifies a backup.
pub async fn backup(args: Args, target: &Target, term: &Term) -> Result<ExitCode, Fail> {
    let folder = std::path::absolute(&args.folder).map_err(|error| Fail::io(args.folder.display(), &error))?;
    if target.is_remote() && args.folder.is_relative() {
        return Err(Fail::usage("with --server the folder is one of the server's machine, in full")
            .hint("write it from the root on, within a data root of that server"));
    }
    if args.verify {
        if target.is_remote() {
            target.data_dir("`backup --verify`")?;
        }
        let verified = beside(term, move |tell| verify(&folder, tell)).await?;
        let text = match args.format {
            Format::Json => table::object(&verified)?,
            Format::Text => verified_text(&verified, term),
        };
        term.out(&text)?;
        return Ok(ExitCode::from(if verified.is_sound() { DONE } else { FAILED }));
    }
    let session = target.session(Need::Look).await?;
    let request = BackupRequest { to: opendmp_model::name::from_bytes(folder.as_os_str().as_bytes()) };
    let begun = Instant::now();
    let done = async { follow(session.client.back_up(&request).await?, term).await }.await;
    session.close().await;
    let done = done?;
    let text = match args.format {
        Format::Json => table::object(&done)?,
        Format::Text => backed_up_text(&done, begun.elapsed(), term),
    };
    term.out(&text)?;
    if done.damaged + done.lacking == 0 {
        return Ok(ExitCode::from(DONE));
    }
    let hint = "check its disk; `opendmp restore` of a sound backup into a new directory gets back what is damaged";
    Err(Fail::new(match done.lacking {
        0 => "content in the data directory is damaged; what its journal names, the backup has as it should be",
        _ => "content in the data directory is damaged; everything else is backed up",
    })
    .hint(hint))
}

async fn follow(mut events: Events, term: &Term) -> Result<BackedUp, Fail> {
    let mut meter = Meter::new(term);
    loop {
        match events.next().await? {
            Some(Event::BackedUp(done)) => return Ok(done),
            Some(event) => meter.told(&event),
            None => {
                return Err(Fail::new("the news of the backup broke off")
                    .hint("the server's log tells what became of it; a backup can be begun again at any time"));
            }
        }
    }
}

/// Does something that blocks on a thread of its own, and shows how it goes on.
pub async fn beside<T: Send + 'static>(
    term: &Term,
    work: impl FnOnce(&dyn Fn(Event)) -> Result<T, opendmp_api::ask::Problem> + Send + 'static,
) -> Result<T, Fail> {
    let (sender, mut events) = tokio::sync::mpsc::channel(64);
    let work = tokio::task::spawn_blocking(move || {
        work(&|event| {
            // Nobody looks on any more.
            let _ = sender.blocking_send(event);
        })
    });
    let mut meter = Meter::new(term);
    while let Some(event) = events.recv().await {
        meter.told(&event);
    }
    drop(meter);
    Ok(work.await.map_err(|error| Fail::new(format!("it was ended: {error}")))??)
}

/// Shows how far it is: a bar on a terminal, a line now and then elsewhere.
struct Meter<'t> {
    term: &'t Term,
    bar: Option<ProgressBar>,
    last: Instant,
}

impl<'t> Meter<'t> {
    fn new(term: &'t Term) -> Self {
        let bar = term.err_is_terminal.then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(10));
            let style = ProgressStyle::with_template("  {prefix:10} {bar:24} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("█▉▊▋▌▍▎▏░"));
            bar
        });
        Self { term, bar, last: Instant::now() }
    }

    fn told(&mut self, event: &Event) {
        match event {
            Event::Copying(copying) => self.draw(copying),
            Event::Damaged(damaged) => {
                let (what, why) = (words::line(&damaged.what), words::line(&damaged.why));
                let line = format!("{} {what}: {why}", self.term.bad("damaged:"));
                match &self.bar {
                    Some(bar) => bar.suspend(|| self.term.err(&line)),
                    None => self.term.err(&line),
                }
            }
            _ => {}
        }
    }

    fn draw(&mut self, copying: &Copying) {
        let numbers = match copying.total {
            0 => String::new(),
            total => format!("{} of {}", words::size(copying.done), words::size(total)),
        };
        match &self.bar {
            Some(bar) => {
                bar.set_prefix(copying.what.clone());
                bar.set_length(copying.total);
                bar.set_position(copying.done);
                bar.set_message(numbers);
            }
            None if self.last.elapsed() >= PAUSE => {
                self.last = Instant::now();
                self.term.err(format!("{} {numbers}", copying.what).trim_end());
            }
            None => {}
        }
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn backed_up_text(done: &BackedUp, took: Duration, term: &Term) -> String {
    let mark = if done.damaged + done.lacking == 0 { term.green("✓") } else { term.red("✗") };
    let to = words::path(&done.to);
    let took = words::took(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    let mut out = format!("{mark} backed up to {to} as of {} · {took}\n", words::when(&done.made));
    let contents = words::count(done.copied_records + done.copied_files, "content");
    let new = if done.again { " new" } else { "" };
    let _ = writeln!(
        out,
        "  copied  {}{new} in {contents}, and the journal of {}",
        words::size(done.copied_bytes),
        words::size(done.journal_bytes)
    );
    holds_text(&mut out, &done.holds);
    damage_text(&mut out, done.damaged, done.lacking, term);
    let _ = writeln!(out, "  check   opendmp backup --verify {to}");
    out
}

/// What reading something whole came to.
pub fn verified_text(found: &Verified, term: &Term) -> String {
    let mark = if found.is_sound() { term.green("✓") } else { term.red("✗") };
    let how = if found.is_sound() { "is whole" } else { "is damaged" };
    let mut out = format!("{mark} {} {how}", words::path(&found.path));
    if let Some(of) = &found.backup {
        let _ = write!(out, ": {} as of {}", words::name(&of.from), words::when(&of.made));
    }
    out.push('\n');
    let _ = writeln!(
        out,
        "  read    {} in {}, and the journal of {}",
        words::size(found.content_bytes),
        words::count(found.contents, "content"),
        words::size(found.journal_bytes)
    );
    if let Some(holds) = &found.holds {
        holds_text(&mut out, holds);
    }
    damage_text(&mut out, found.damaged, found.lacking, term);
    out
}

/// What a journal holds, on a line.
pub fn holds_text(out: &mut String, holds: &Holds) {
    let mut parts = vec![
        format!("{} ({} enabled)", words::count(holds.flows, "flow"), words::grouped(holds.enabled)),
        format!("{} ({})", words::count(holds.datasets, "dataset"), words::count(holds.revisions, "revision")),
        words::count(holds.dead_letters, "open dead letter"),
    ];
    if holds.tasks + holds.intents > 0 {
        parts.push(format!("{} under way", words::count(holds.tasks + holds.intents, "task")));
    }
    let _ = writeln!(out, "  holds   {}", parts.join(", "));
}

/// How much is damaged, where something is.
pub fn damage_text(out: &mut String, damaged: u64, lacking: u64, term: &Term) {
    if damaged > 0 {
        let _ = writeln!(out, "  {}  {}", term.red("damage"), words::count(damaged, "damaged place"));
    }
    if lacking > 0 {
        let line = format!("{} without sound content", words::count(lacking, "reference"));
        let _ = writeln!(out, "  {}  {line}", term.red("damage"));
    }
}

/// A path as it can be typed again.
pub fn typed(path: &Path) -> String {
    words::path(&path.display().to_string())
}
