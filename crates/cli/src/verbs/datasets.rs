//! `opendmp datasets`: results, their revisions, their bytes, and how they came to be.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use opendmp_api::ask::{Found, Listing, Reference, WhichRevision};
use opendmp_api::rows::{Dataset, Page};
use opendmp_api::search::{Datasets, Order};
use opendmp_api::{Client, Content};
use opendmp_ports::journal::ExportState;

use crate::args::Format;
use crate::data::Need;
use crate::fail::{Fail, USAGE};
use crate::table::{self, Listed, Value, column, wide};
use crate::target::Target;
use crate::term::Term;
use crate::verbs::history;
use crate::words;

/// What `datasets` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List datasets, each by its newest revision
    #[command(after_help = "\
Examples:
  opendmp datasets list --collection Penguins
  opendmp datasets list --name '*.csv'
  opendmp datasets list --search 'survey 2026' --sort=-size
  opendmp datasets list --all --format json | jq -r '.[].hash'")]
    List {
        /// Only in this collection
        #[arg(long, value_name = "COLLECTION")]
        collection: Option<String>,
        /// Only of this flow
        #[arg(long, value_name = "FLOW")]
        flow: Option<String>,
        /// Only whose newest revision was made in this run
        #[arg(long, value_name = "RUN")]
        run: Option<u64>,
        /// Only whose name contains this, or matches it where it has `*` or `?`
        #[arg(long, value_name = "NAME", conflicts_with = "search")]
        name: Option<String>,
        /// Only whose name has all of these words, anywhere in it: quick among very many, too. These, and those in the
        /// order of `name`, `size` or `committed`, are put in order as a whole
        #[arg(long, value_name = "WORDS")]
        search: Option<String>,
        #[command(flatten)]
        listed: Listed,
    },
    /// Show a dataset with all its revisions
    #[command(after_help = "Examples:\n  opendmp datasets show hello.upper.txt\n  opendmp datasets show 1204-7k2p")]
    Show {
        #[command(flatten)]
        which: Which,
        /// How to print it: text, or json: an array with an object for each revision, oldest first
        #[arg(long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
        format: Format,
    },
    /// Get the bytes of a dataset
    #[command(after_help = "\
Examples:
  opendmp datasets get hello.upper.txt
  opendmp datasets get 1204-7k2p --revision 1 -o old.csv

The bytes are compared with their hash on the way; a file appears whole or not at all.")]
    Get {
        #[command(flatten)]
        which: Which,
        /// Number of the revision [default: the newest]
        #[arg(long, value_name = "N")]
        revision: Option<u32>,
        /// The file to write, instead of standard output
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Replace the file if it is there
        #[arg(long, requires = "output")]
        force: bool,
    },
    /// Draw how a dataset came to be: from its export back to the source
    #[command(after_help = "\
Examples:
  opendmp datasets history hello.upper.txt
  opendmp datasets history 1204-7k2p --revision 1 --format json")]
    History {
        #[command(flatten)]
        which: Which,
        /// Number of the revision [default: the newest]
        #[arg(long, value_name = "N")]
        revision: Option<u32>,
        /// Times, hashes, workers and logs, too
        #[arg(long, short)]
        long: bool,
        /// How to print it: text, or json: one object
        #[arg(long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
        format: Format,
    },
}

/// One dataset, as a person names it.
#[derive(Debug, clap::Args)]
struct Which {
    /// Its name, or its id or the beginning of that
    #[arg(value_name = "DATASET")]
    dataset: String,
    /// Where names are not clear: only in this collection
    #[arg(long, value_name = "COLLECTION")]
    collection: Option<String>,
    /// Where names are not clear: only of this flow
    #[arg(long, value_name = "FLOW")]
    flow: Option<String>,
}

/// The order of all datasets that a column's name stands for, where there is one.
fn order(column: &str) -> Option<Order> {
    Some(match column {
        "name" => Order::Name,
        "-name" => Order::NameDown,
        "committed" => Order::Committed,
        "-committed" => Order::CommittedDown,
        "size" => Order::Size,
        "-size" => Order::SizeDown,
        _ => return None,
    })
}

/// Looks at datasets.
pub async fn datasets(args: Args, target: &Target, term: &Term) -> Result<ExitCode, Fail> {
    let session = target.session(Need::Look).await?;
    let done = verb(args.verb, &session.client, term).await;
    session.close().await;
    done
}

async fn verb(verb: Verb, client: &Client, term: &Term) -> Result<ExitCode, Fail> {
    match verb {
        Verb::List { collection, flow, run, name, search, mut listed } => {
            let order = listed.shown.sort.as_deref().filter(|_| name.is_none()).and_then(order);
            if order.is_some() {
                listed.shown.sort = None;
            }
            let listing = Listing { collection, flow, run, name, q: search, ..Listing::default() };
            let nothing = if listing == Listing::default() {
                "no datasets yet; `opendmp run FLOW.yaml` makes some"
            } else {
                "no such datasets"
            };
            table::pages(listing, &listed, &columns(), nothing, term, |listing| async move {
                let page = client.datasets(&Datasets { sort: order, ..listing.into() }).await?;
                if page.behind.is_some() {
                    term.err("the latest datasets are not among these yet; ask again in a moment");
                }
                Ok(Page { rows: page.rows, next: page.next })
            })
            .await?;
        }
        Verb::Show { which, format } => {
            let row = one(&which, client, term).await?;
            let revisions = client.revisions(&row.id).await?.revisions;
            term.out(&match format {
                Format::Json => table::json(&revisions)?,
                Format::Text => page(&row, &revisions, term),
            })?;
        }
        Verb::Get { which, revision, output, force } => {
            let row = one(&which, client, term).await?;
            let content = client.content(&row.id, WhichRevision { revision }).await?;
            match output {
                Some(path) => to_file(content, &path, force, term).await?,
                None => to_out(content, term).await?,
            }
        }
        Verb::History { which, revision, long, format } => {
            let row = one(&which, client, term).await?;
            let history = client.history(&row.id, WhichRevision { revision }).await?;
            term.out(&match format {
                Format::Json => table::object(&history)?,
                Format::Text => history::draw(&history, long, term),
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn columns() -> [table::Column<Dataset>; 7] {
    [
        column("id", |row: &Dataset| Value::Id(row.id.clone())),
        wide("name", |row| Value::Text(row.name.clone())),
        wide("collection", |row| Value::Text(row.collection.clone())),
        column("revision", |row| Value::Number(u64::from(row.revision))),
        column("size", |row| Value::Size(row.size)),
        column("committed", |row| Value::Time(Some(row.committed.clone()))),
        wide("export", |row| Value::Text(exported(row))),
    ]
}

/// Whether a revision's content is kept, in few words.
fn kept(row: &Dataset) -> String {
    row.gone.as_deref().map_or("kept".to_owned(), |gone| format!("let go {}", words::when(gone)))
}

/// Where a revision's export stands, in few words.
pub fn exported(row: &Dataset) -> String {
    let target = row.export.target.as_deref().unwrap_or("");
    match row.export.state {
        ExportState::None => "-".to_owned(),
        ExportState::Pending => "pending".to_owned(),
        ExportState::Written => target.to_owned(),
        ExportState::Superseded => "superseded by a newer one".to_owned(),
        ExportState::Kept => "kept what was there".to_owned(),
        ExportState::Refused => "refused".to_owned(),
    }
}

/// The dataset of a flow that is named.
pub async fn named(dataset: &str, flow: &str, client: &Client, term: &Term) -> Result<Dataset, Fail> {
    let which = Which { dataset: dataset.to_owned(), collection: None, flow: Some(flow.to_owned()) };
    one(&which, client, term).await
}

/// The dataset that is meant; where that is not clear, the candidates are told.
async fn one(which: &Which, client: &Client, term: &Term) -> Result<Dataset, Fail> {
    let reference =
        Reference { name: which.dataset.clone(), collection: which.collection.clone(), flow: which.flow.clone() };
    let Found { mut rows, more } = client.find_datasets(&reference).await?;
    let shown = words::line(&which.dataset);
    match rows.len() {
        0 => Err(Fail::new(format!("there is no dataset `{shown}`"))
            .hint("`opendmp datasets list --name PART` finds names that contain a part")),
        1 => Ok(rows.remove(0)),
        number => {
            let columns = [
                column("id", |row: &Dataset| Value::Id(row.id.clone())),
                wide("name", |row| Value::Text(row.name.clone())),
                wide("collection", |row| Value::Text(row.collection.clone())),
                column("flow", |row| Value::Text(row.flow.clone())),
                column("committed", |row| Value::Time(Some(row.committed.clone()))),
            ];
            let many = if more { format!("more than {number}") } else { number.to_string() };
            let mut fail = Fail::new(format!("`{shown}` may mean any of {many} datasets"))
                .hint("give its id, or --collection or --flow");
            fail.exit = USAGE;
            term.err(table::table(&rows, &columns, None).trim_end());
            Err(fail)
        }
    }
}

fn page(newest: &Dataset, revisions: &[Dataset], term: &Term) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = writeln!(out, "{} · {}", term.bold(&words::name(&newest.name)), words::name(&newest.collection));
    let _ = writeln!(out, "  id        {}", newest.id);
    let _ = writeln!(
        out,
        "  flow      {} · {} · version {}",
        newest.flow,
        newest.processor,
        words::short_hash(&newest.version)
    );
    let exact = if newest.size < 1_000 { String::new() } else { format!(" ({} bytes)", words::grouped(newest.size)) };
    let _ = writeln!(out, "  size      {}{exact}", words::size(newest.size));
    let _ = writeln!(out, "  hash      b3:{}", newest.hash);
    let _ = writeln!(out, "  item      {}", newest.item);
    if let Some(media_type) = &newest.media_type {
        let _ = writeln!(out, "  type      {}", words::line(media_type));
    }
    out.push_str(&words::attributes(&newest.attributes));
    if newest.gone.is_some() {
        let _ = writeln!(out, "  content   {}", kept(newest));
    }
    if newest.export.state != ExportState::None {
        let place = newest.export.destination.as_deref().map(words::line).unwrap_or_default();
        let written =
            newest.export.written.as_deref().map(|time| format!(", written {}", words::when(time))).unwrap_or_default();
        let _ = writeln!(out, "  export    {} ({place}){written}", words::line(&exported(newest)));
    }
    let columns = [
        column("revision", |row: &Dataset| Value::Number(u64::from(row.revision))),
        column("committed", |row| Value::Time(Some(row.committed.clone()))),
        column("run", |row| Value::Number(row.run)),
        column("size", |row| Value::Size(row.size)),
        column("hash", |row| Value::Text(row.hash.get(..12).unwrap_or(&row.hash).to_owned())),
        column("version", |row| Value::Text(words::short_hash(&row.version).to_owned())),
        column("content", |row| Value::Text(kept(row))),
    ];
    let _ = write!(out, "\n{}", table::table(revisions, &columns, term.width()));
    out
}

/// Takes the pieces in order, and compares the whole with its hash.
async fn pour(mut content: Content, mut into: impl FnMut(&[u8]) -> Result<(), Fail>) -> Result<(), Fail> {
    let mut hasher = blake3::Hasher::new();
    let mut size = 0u64;
    while let Some(piece) = content.next().await? {
        hasher.update(&piece);
        size += piece.len() as u64;
        into(&piece)?;
    }
    if size != content.size || hasher.finalize().to_hex().as_str() != content.hash {
        return Err(Fail::new(format!(
            "the bytes are not those that were asked for: {size} of {} came, or their hash is wrong",
            content.size
        ))
        .hint("`opendmp doctor` checks the data directory"));
    }
    Ok(())
}

/// Writes content to standard output.
pub async fn to_out(content: Content, term: &Term) -> Result<(), Fail> {
    if term.out_is_terminal && std::io::stdout().is_terminal() && content.size > MOST_ON_A_TERMINAL {
        return Err(Fail::usage(format!("{} are much for a terminal", words::size(content.size)))
            .hint("write them to a file with -o FILE"));
    }
    let mut out = std::io::stdout();
    pour(content, |piece| Ok(out.write_all(piece)?)).await?;
    Ok(out.flush()?)
}

/// What scrolls by and can't be stopped.
const MOST_ON_A_TERMINAL: u64 = 1 << 20;

/// Writes content to a file, which appears whole or not at all.
pub async fn to_file(content: Content, path: &Path, force: bool, term: &Term) -> Result<(), Fail> {
    let shown = words::name(&path.display().to_string());
    let failed = |error: std::io::Error| Fail::io(format_args!("`{shown}` can't be written"), &error);
    if !force && path.symlink_metadata().is_ok() {
        return Err(Fail::usage(format!("`{shown}` is there already")).hint("--force replaces it"));
    }
    if path.is_dir() {
        return Err(Fail::usage(format!("`{shown}` is a folder")).hint("name a file in it"));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".opendmp-").tempfile_in(folder).map_err(failed)?;
    pour(content, |piece| file.write_all(piece).map_err(failed)).await?;
    // A temporary file is nobody else's; a result is as open as other files of the user.
    let mode = 0o666 & !umask();
    std::fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(mode)).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    let size = file.as_file().metadata().map_err(failed)?.len();
    let put = if force { file.persist(path) } else { file.persist_noclobber(path) };
    put.map_err(|error| failed(error.error))?;
    term.err(&format!("{} to {shown}", words::size(size)));
    Ok(())
}

/// What this process takes away from the rights of new files. There is no way to look without a change, but no other
/// thread makes files now.
fn umask() -> u32 {
    let mask = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    nix::sys::stat::umask(mask);
    mask.bits()
}
