//! `opendmp collections`: the shelves.

use std::process::ExitCode;

use opendmp_api::rows::Collection;

use crate::data::Need;
use crate::fail::Fail;
use crate::table::{self, Shown, Value, column, wide};
use crate::target::Target;
use crate::term::Term;

/// What `collections` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opendmp collections
  opendmp collections --sort=-bytes
  opendmp datasets list --collection NAME      what is in one")]
pub struct Args {
    #[command(flatten)]
    shown: Shown,
}

/// Lists collections.
pub async fn collections(args: &Args, target: &Target, term: &Term) -> Result<ExitCode, Fail> {
    let session = target.session(Need::Look).await?;
    let page = session.client.collections().await;
    session.close().await;
    let columns = [
        wide("name", |row: &Collection| Value::Text(row.name.clone())),
        column("datasets", |row| Value::Number(row.datasets)),
        column("revisions", |row| Value::Number(row.revisions)),
        column("bytes", |row| Value::Size(row.bytes)),
        column("changed", |row| Value::Time(Some(row.changed.clone()))),
    ];
    table::whole(page?.rows, &columns, &args.shown, "no collections yet; a `collect` in a flow makes one", term)?;
    Ok(ExitCode::SUCCESS)
}
