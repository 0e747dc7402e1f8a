//! The verbs, a file each: what they take, what they ask, what they print.

pub mod backup;
pub mod collections;
pub mod datasets;
pub mod dead_letters;
pub mod doctor;
pub mod flows;
pub mod gc;
pub mod history;
pub mod ingest;
pub mod init;
pub mod items;
pub mod kinds;
pub mod plan;
pub mod reprocess;
pub mod restore;
pub mod run;
pub mod runs;
pub mod serve;
pub mod token;
pub mod validate;
pub mod verify;

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::fail::Fail;
use crate::term::Term;

/// What `completions` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opendmp completions bash > ~/.local/share/bash-completion/completions/opendmp
  opendmp completions zsh > ~/.zfunc/_opendmp
  opendmp completions fish > ~/.config/fish/completions/opendmp.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints completions for a shell.
pub fn completions(args: &CompletionsArgs, term: &Term) -> Result<ExitCode, Fail> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut crate::args::Args::command(), "opendmp", &mut text);
    term.out(&String::from_utf8_lossy(&text))?;
    Ok(ExitCode::SUCCESS)
}
