//! `opendmp validate`: everything that is wrong with flows, at once and without running anything.

use std::path::PathBuf;
use std::process::ExitCode;

use opendmp_model::diagnostic::Diagnostics;
use serde::Serialize;

use crate::args::Format;
use crate::fail::{Fail, USAGE};
use crate::flow::FlowFile;
use crate::machine::Checker;
use crate::target::Target;
use crate::term::Term;
use crate::{draw, table};

/// What `validate` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opendmp validate flow.yaml
  opendmp validate flows/*.yaml
  opendmp validate flow.yaml --format json | jq '.[].problems[].message'

All problems are told at once, each with its place and a hint; `opendmp explain CODE` tells more.
Exit code 2 if a flow has errors; warnings are no errors.")]
pub struct Args {
    /// Flow files; `-` is standard input
    #[arg(value_name = "FLOW", required = true)]
    flows: Vec<PathBuf>,
    /// How to print it: text, or json: an array with an object for each flow
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
    format: Format,
}

#[derive(Serialize)]
struct Row {
    file: String,
    ok: bool,
    errors: usize,
    warnings: usize,
    problems: Diagnostics,
}

/// Checks flows.
pub fn validate(args: &Args, target: &Target, term: &Term) -> Result<ExitCode, Fail> {
    let checker = Checker::new()?;
    let mut rows = Vec::new();
    for path in &args.flows {
        let flow = FlowFile::read(path)?.check_for(target, &checker.kinds);
        let problems = flow.problems.clone();
        if args.format == Format::Text {
            let drawn = draw::flow(&flow, term);
            if !drawn.is_empty() {
                term.err(drawn.trim_end_matches('\n'));
                term.err("");
            }
            let summary = draw::summary(&flow.shown, &problems);
            if problems.has_errors() {
                term.err(&format!("{summary}. Nothing was started."));
            } else {
                term.out(&format!("{} {summary}\n", term.green("✓")))?;
            }
        }
        rows.push(Row {
            file: flow.shown,
            ok: !problems.has_errors(),
            errors: problems.errors(),
            warnings: problems.warnings(),
            problems,
        });
    }
    if args.format == Format::Json {
        term.out(&table::json(&rows)?)?;
    }
    Ok(if rows.iter().all(|row| row.ok) { ExitCode::SUCCESS } else { ExitCode::from(USAGE) })
}
