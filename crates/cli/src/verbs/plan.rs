//! `opendmp plan`: what a flow would do.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use opendmp_model::diagnostic::{Diagnostics, codes};
use opendmp_model::plan::compile_checked;

use crate::fail::{Fail, USAGE};
use crate::flow::FlowFile;
use crate::machine::Checker;
use crate::term::Term;
use crate::{draw, table};

/// What `plan` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opendmp plan flow.yaml
  opendmp plan flow.yaml --format mermaid > flow.mmd

Environments are resolved when a flow is run or enabled; a plan is made without.")]
pub struct Args {
    /// The flow file; `-` is standard input
    #[arg(value_name = "FLOW")]
    flow: PathBuf,
    /// How to print it: text, json or mermaid
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text", hide_possible_values = true)]
    format: PlanFormat,
}

/// How a plan is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PlanFormat {
    /// Stages, for people
    Text,
    /// The whole plan, for programs
    Json,
    /// A flowchart for Markdown
    Mermaid,
}

/// Prints a flow's plan.
pub fn plan(args: &Args, term: &Term) -> Result<ExitCode, Fail> {
    let checker = Checker::new()?;
    let mut flow = FlowFile::read(&args.flow)?.check(&*checker.kinds);
    let compiled = match &flow.checked {
        Some(checked) => checked.version(BTreeMap::new()).and_then(|version| compile_checked(checked, &version)),
        None => Err(flow.problems.clone()),
    };
    let (plan, problems) = match compiled {
        Ok((plan, warnings)) => (Some(plan), warnings),
        Err(problems) => (None, problems),
    };
    // The plan says itself, and in one word, of which processors it is not known whether they are deterministic.
    let told = problems.into_iter().filter(|problem| problem.code != codes::DETERMINISM_UNKNOWN);
    flow.problems = Diagnostics::new();
    told.for_each(|problem| flow.problems.push(problem));
    let drawn = draw::flow(&flow, term);
    if !drawn.is_empty() {
        term.err(drawn.trim_end_matches('\n'));
        term.err("");
    }
    let Some(plan) = plan else {
        term.err(&format!("{}. There is no plan.", draw::summary(&flow.shown, &flow.problems)));
        return Ok(ExitCode::from(USAGE));
    };
    term.out(&match args.format {
        PlanFormat::Text => plan.to_text(),
        PlanFormat::Json => table::object(&plan)?,
        PlanFormat::Mermaid => plan.to_mermaid(),
    })?;
    Ok(ExitCode::SUCCESS)
}
