//! `opendmp flows`: which flows there are, and which of them work by themselves.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use opendmp_api::ask::{DeleteRequest, Event};
use opendmp_api::rows::Flow;
use opendmp_engine::control::Deletion;
use opendmp_ports::journal::FlowState;

use crate::args::Format;
use crate::data::{Need, Session};
use crate::fail::Fail;
use crate::table::{self, Shown, Value, column, wide};
use crate::target::Target;
use crate::term::Term;
use crate::verbs::run;
use crate::words;

/// What `flows` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List flows
    #[command(
        after_help = "Examples:\n  opendmp flows list\n  opendmp flows list --format json | jq '.[].outstanding'"
    )]
    List {
        /// Only whose name contains this
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        shown: Shown,
    },
    /// Have a flow work by itself: check it, save it as a version, and look at its sources from now on
    #[command(after_help = "\
Examples:
  opendmp flows enable flow.yaml

Enabling a changed file again makes a new version; what is under way stays on its own. Without a
running `opendmp serve` the flow is saved and enabled, and work begins with the server.")]
    Enable {
        /// The flow file
        #[arg(value_name = "FLOW.yaml")]
        flow: PathBuf,
        /// How to print it: text, or json: one object
        #[arg(long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
        format: Format,
    },
    /// Look at a flow's sources no longer; what is under way is finished
    #[command(after_help = "Examples:\n  opendmp flows disable penguins")]
    Disable {
        /// Its name
        #[arg(value_name = "FLOW")]
        flow: String,
    },
    /// Delete a flow; its datasets and history stay
    #[command(after_help = "\
Examples:
  opendmp flows delete penguins                    asks first
  opendmp flows delete penguins --dead-letter --yes")]
    Delete {
        /// Its name
        #[arg(value_name = "FLOW")]
        flow: String,
        /// Finish what is under way first (the default)
        #[arg(long, conflicts_with = "dead_letter")]
        drain: bool,
        /// Make dead letters of what is under way
        #[arg(long)]
        dead_letter: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// Looks after flows.
pub async fn flows(args: Args, target: &Target, term: &Term) -> Result<ExitCode, Fail> {
    match args.verb {
        Verb::List { name, shown } => {
            let session = target.session(Need::Look).await?;
            let page = session.client.flows().await;
            session.close().await;
            let mut rows = page?.rows;
            if let Some(name) = name {
                let name = name.to_lowercase();
                rows.retain(|row| row.name.to_lowercase().contains(&name) || row.flow.contains(&name));
            }
            list(rows, &shown, term)
        }
        Verb::Enable { flow, format } => enable(&flow, format, target, term).await,
        Verb::Disable { flow } => {
            let session = target.session(Need::Look).await?;
            let row = session.client.disable(&flow).await;
            session.close().await;
            let row = row?;
            term.out(&format!("{} {} is disabled{}\n", term.green("✓"), row.flow, under_way(row.outstanding)))?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Delete { flow, drain: _, dead_letter, yes } => {
            let session = target.session(Need::Look).await?;
            let done = delete(&flow, dead_letter, yes, &session, term).await;
            session.close().await;
            done
        }
    }
}

fn list(rows: Vec<Flow>, shown: &Shown, term: &Term) -> Result<ExitCode, Fail> {
    let columns = [
        column("flow", |row: &Flow| Value::Text(row.flow.clone())),
        column("state", |row| Value::Text(state(row.state).to_owned())),
        column("version", |row| Value::Text(words::short_hash(&row.version).to_owned())),
        column("outstanding", |row| Value::Number(row.outstanding)),
        column("dead_letters", |row| Value::Number(row.dead_letters)),
        column("changed", |row| Value::Time(Some(row.changed.clone()))),
        wide("base", |row| Value::Text(words::path(&row.base))),
    ];
    table::whole(rows, &columns, shown, "no flows yet; `opendmp flows enable FLOW.yaml` adds one", term)?;
    Ok(ExitCode::SUCCESS)
}

fn state(state: FlowState) -> &'static str {
    match state {
        FlowState::Disabled => "disabled",
        FlowState::Enabled => "enabled",
        FlowState::Deleting => "deleting",
        FlowState::Deleted => "deleted",
    }
}

fn under_way(outstanding: u64) -> String {
    match outstanding {
        0 => String::new(),
        number => format!("; {} under way is finished", words::count(number, "item")),
    }
}

async fn enable(flow: &std::path::Path, format: Format, target: &Target, term: &Term) -> Result<ExitCode, Fail> {
    let flow = run::checked(flow, target, term)?;
    let inbox: Vec<String> = sources(&flow);
    let upload = flow.upload(target)?;
    let session = target.session(Need::Begin).await?;
    let saved = async {
        let mut events = session.client.enable(&upload).await?;
        while let Some(event) = events.next().await? {
            match event {
                Event::Preparing { message } => term.err(&format!("  {}", words::line(&message))),
                // They were drawn already, but for those that only the server finds.
                Event::Enabled { flow, .. } => return Ok(flow),
                _ => {}
            }
        }
        Err(Fail::new("the server did not say that the flow is enabled").hint("`opendmp flows list` tells"))
    };
    let saved = saved.await;
    let by_server = !session.is_own();
    session.close().await;
    let row = saved?;
    if format == Format::Json {
        term.out(&table::object(&row)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = format!(
        "{} {} is enabled · version {} · {}\n",
        term.green("✓"),
        words::name(&row.name),
        words::short_hash(&row.version),
        words::path(&row.base)
    );
    for place in inbox {
        out.push_str(&format!("  looks at  {place}\n"));
    }
    if !by_server {
        out.push_str("  work begins with `opendmp serve`\n");
    }
    term.out(&out)?;
    Ok(ExitCode::SUCCESS)
}

/// Where the ingests of a flow look: `inbox  file_drop ./inbox`.
fn sources(flow: &crate::flow::CheckedFlow) -> Vec<String> {
    let processors = flow.checked.iter().filter_map(|checked| checked.flow.as_ref()).flat_map(|flow| &flow.processors);
    let sources = processors.filter_map(|processor| {
        let source = processor.config.get("source")?;
        let part = |key: &str| source.get(key).and_then(serde_json::Value::as_str);
        let parts: Vec<&str> = [part("type"), part("path"), part("pattern")].into_iter().flatten().collect();
        Some(format!("{}  {}", processor.id, words::line(&parts.join(" "))))
    });
    sources.collect()
}

async fn delete(flow: &str, dead_letter: bool, yes: bool, session: &Session, term: &Term) -> Result<ExitCode, Fail> {
    let rows = session.client.flows().await?.rows;
    let identity = opendmp_model::document::slug(flow);
    let known = rows.iter().find(|row| row.flow == flow || row.flow == identity);
    let work = if dead_letter { Deletion::DeadLetter } else { Deletion::Drain };
    if let Some(row) = known {
        let fate = match (row.outstanding, work) {
            (0, _) => String::new(),
            (number, Deletion::Drain) => {
                format!(" {} under way would be finished first.", words::count(number, "item"))
            }
            (number, Deletion::DeadLetter) => {
                format!(" {} under way would become dead letters.", words::count(number, "item"))
            }
        };
        confirm(&format!("Delete the flow {}?{fate} Its datasets and history stay.", row.flow), yes, term)?;
    }
    let deleted = session.client.delete(flow, DeleteRequest { work }).await?;
    let mut out = match deleted.flow.state {
        FlowState::Deleting => {
            let left = words::count(deleted.flow.outstanding, "item");
            let server = if session.is_own() { "; that begins with `opendmp serve`" } else { "" };
            format!("{} {} is deleted once {left} under way are finished{server}\n", term.green("✓"), deleted.flow.flow)
        }
        _ => format!("{} {} is deleted\n", term.green("✓"), deleted.flow.flow),
    };
    if deleted.buried > 0 {
        out.push_str(&format!(
            "  {} became dead letters: opendmp dead-letters list --flow {}\n",
            words::count(deleted.buried, "item"),
            deleted.flow.flow
        ));
    }
    term.out(&out)?;
    Ok(ExitCode::SUCCESS)
}

/// Asks a person; where nobody can be asked, `--yes` has to say so.
pub fn confirm(question: &str, yes: bool, term: &Term) -> Result<(), Fail> {
    if yes {
        return Ok(());
    }
    if !term.in_is_terminal || !term.err_is_terminal {
        return Err(Fail::usage("there is nobody to ask").hint("add --yes to do it without asking"));
    }
    term.err(&format!("{question} [y/N]"));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|error| Fail::io("the answer can't be read", &error))?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Fail::new("nothing was changed")),
    }
}
