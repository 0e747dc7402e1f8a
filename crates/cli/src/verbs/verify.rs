//! `opendmp verify`: whether everything in the data directory is as it was written.

use std::process::ExitCode;

use super::backup::{beside, verified_text};
use crate::args::Format;
use crate::backup::verify_data;
use crate::fail::{DONE, FAILED, Fail};
use crate::table;
use crate::target::Target;
use crate::term::Term;

/// What `verify` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opendmp verify
  opendmp verify --data-dir ./again --format json
  opendmp backup --verify /mnt/disk/opendmp   the same for a backup

Every content is read and compared with its hash, the journal is checked, and whether everything
it names is there. Nothing is changed. It may run beside a server, and needs free room for a copy
of the journal.

What is damaged is told with who refers to it. It comes back from a sound backup, by `opendmp
restore` into a new directory; a file that is still at its source is taken in again once it is
changed there or dropped again.
Exit codes: 0 all is well, 1 something is damaged, or could not be read.")]
pub struct Args {
    /// How to print it: text, or json: one object at the end
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
    format: Format,
}

/// Reads the data directory whole.
pub async fn verify(args: Args, target: &Target, term: &Term) -> Result<ExitCode, Fail> {
    let data = target.data_dir("`verify`")?;
    if !data.is_used()? {
        return Err(data.none_yet());
    }
    data.check_restored()?;
    data.check_journal()?;
    let path = data.path().to_owned();
    let found = beside(term, move |tell| verify_data(&path, tell)).await?;
    term.out(&match args.format {
        Format::Json => table::object(&found)?,
        Format::Text => verified_text(&found, term),
    })?;
    if found.is_sound() {
        return Ok(ExitCode::from(DONE));
    }
    term.err("hint: `opendmp restore` of a sound backup into a new directory gets back what is damaged");
    Ok(ExitCode::from(FAILED))
}
