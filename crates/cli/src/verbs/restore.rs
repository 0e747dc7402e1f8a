//! `opendmp restore`: a data directory from a backup.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::args::Format;
use crate::backup;
use crate::data::{Bounds, Opened};
use crate::fail::{DONE, FAILED, Fail};
use crate::target::Target;
use crate::term::Term;
use crate::verbs::backup::{beside, damage_text, holds_text, typed};
use crate::{table, words};

/// How long it waits for a verb that is about to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// What `restore` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opendmp restore /mnt/disk/opendmp                      where no data directory is left
  opendmp restore /mnt/disk/opendmp --data-dir ./again   beside the one that is there
  opendmp datasets list --data-dir ./again
  opendmp serve --data-dir ./again

Nothing is ever restored over a data directory that has something in it. Every content is checked
while it is copied; if it is broken off, the same command goes on.

Flows are enabled or not as they were, and work under way goes on, as soon as a server runs on it.
Never let two directories of one backup work on the same sources.")]
pub struct Args {
    /// The folder that `opendmp backup` was given
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// How to print it: text, or json: one object at the end
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
    format: Format,
}

/// Restores a backup.
pub async fn restore(args: Args, target: &Target, term: &Term) -> Result<ExitCode, Fail> {
    let from = std::path::absolute(&args.from).map_err(|error| Fail::io(args.from.display(), &error))?;
    let data = target.data_dir("`restore`")?;
    // Looked at before anything is made.
    backup::Finished::open(&from)?;
    backup::must_be_empty(data.path())?;
    data.make()?;
    let lock = data.lock(PATIENCE).await?;
    let path = data.path().to_owned();
    let (restored, lock) = beside(term, move |tell| Ok((backup::restore(&from, &path, &lock, tell)?, lock))).await?;
    // Whether it opens is only told by opening it.
    Opened::open(&data, lock, false, Bounds::default()).await?.close().await;
    let sound = restored.damaged + restored.lacking == 0;
    match args.format {
        Format::Json => term.out(&table::object(&restored)?)?,
        Format::Text => {
            let mark = if sound { term.green("✓") } else { term.red("✗") };
            let made = words::when(&restored.made);
            let mut out = format!("{mark} restored to {} as of {made}\n", typed(data.path()));
            holds_text(&mut out, &restored.holds);
            damage_text(&mut out, restored.damaged, restored.lacking, term);
            out.push_str(&format!("  was in  {}\n\n", words::name(&restored.from)));
            out.push_str("It goes on from that moment as soon as a server runs on it: enabled flows look at their sources again.\n");
            out.push_str("What was taken in after it and let go at its source (after: delete or move) is not in it.\n");
            out.push_str("Where files are kept (after: keep), what came later is taken in again.\n");
            out.push_str(&format!("  look    opendmp datasets list --data-dir {}\n", typed(data.path())));
            out.push_str(&format!("  start   opendmp serve --data-dir {}\n", typed(data.path())));
            term.out(&out)?;
        }
    }
    if sound {
        return Ok(ExitCode::from(DONE));
    }
    term.err(&format!("{} the backup is damaged; everything else is restored", term.bad("error:")));
    Ok(ExitCode::from(FAILED))
}
