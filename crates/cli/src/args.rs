//! What can be typed. Each verb's own arguments stand beside the verb.

use clap::{Parser, Subcommand, ValueEnum};

use crate::target::Target;
use crate::verbs;

/// Drop your script in: what you did by hand runs by itself, loses nothing, and can say how every result came to be.
#[derive(Debug, Parser)]
#[command(name = "opendmp", version, max_term_width = 100, subcommand_required = true)]
#[command(after_help = "\
Begin here:
  opendmp init shouting             a starter flow and a sample, in a new folder
  opendmp run shouting/flow.yaml    run it until all is collected
  opendmp datasets list             what came of it
  opendmp datasets history NAME     how one result came to be

To have a folder watched for good: `opendmp flows enable FLOW.yaml`, then `opendmp serve`.
Exit codes: 0 done, 1 failed, 2 bad flow or usage, 3 some items became dead letters, 4 timed out")]
pub struct Args {
    #[command(flatten)]
    pub target: Target,
    /// When to use colours: auto, always or never; NO_COLOR is respected
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Everywhere",
        hide_possible_values = true
    )]
    pub color: Color,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal
    Auto,
    /// In any case
    Always,
    /// In no case
    Never,
}

/// The verbs, in the order in which people meet them.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Write a starter flow and a sample to drop
    Init(verbs::init::Args),
    /// Check flows without running anything
    Validate(verbs::validate::Args),
    /// Show what a flow would do, in which order
    Plan(verbs::plan::Args),
    /// Run a flow until its sources are drained and all is collected
    Run(verbs::run::Args),
    /// Work on all enabled flows for as long as it runs
    Serve(verbs::serve::Args),
    /// Make a link that opens the page of the running server, or show its access token
    Token(verbs::token::Args),
    /// List, enable, disable and delete flows
    Flows(verbs::flows::Args),
    /// List and show runs
    Runs(verbs::runs::Args),
    /// List collections
    Collections(verbs::collections::Args),
    /// List, show and get datasets, and see how they came to be
    Datasets(verbs::datasets::Args),
    /// Show and get what went in and out of single steps
    Items(verbs::items::Args),
    /// Look after items that could not be processed
    DeadLetters(verbs::dead_letters::Args),
    /// Take what arrived before through the present version of a flow
    Reprocess(verbs::reprocess::Args),
    /// Compare sources with what was taken from them
    Ingest(verbs::ingest::Args),
    /// Copy everything to another folder, also while a server works
    Backup(verbs::backup::Args),
    /// Make a data directory from a backup
    Restore(verbs::restore::Args),
    /// Read everything that is stored and compare it with its hashes
    Verify(verbs::verify::Args),
    /// Let go of content that nothing needs any more
    Gc(verbs::gc::Args),
    /// Check what is installed, writable and reachable
    Doctor(verbs::doctor::Args),
    /// List the kinds of processors, sources and destinations, or explain one
    Kinds(verbs::kinds::Args),
    /// Print JSON Schemas, for editors
    Schema(verbs::kinds::SchemaArgs),
    /// Explain the code of an error in a flow
    Explain(verbs::kinds::ExplainArgs),
    /// Print completions for a shell
    Completions(verbs::CompletionsArgs),
}

/// How a listing is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// Reads a size such as `64 MiB`, in bytes.
pub fn size(text: &str) -> Result<u64, String> {
    let read = text.parse::<opendmp_model::document::ByteSize>();
    read.map(opendmp_model::document::ByteSize::get).map_err(|error| format!("{error}: {}", error.hint))
}

/// Reads a duration such as `30s`, `5m`, `2h`.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    let read = text.parse::<opendmp_model::document::HumanDuration>();
    read.map(opendmp_model::document::HumanDuration::get).map_err(|error| format!("{error}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("90s"), Ok(std::time::Duration::from_secs(90)));
        assert!(duration("90").is_err());
    }
}
