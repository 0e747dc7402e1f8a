//! Listings: aligned columns for people, arrays of rows for programs; order and pages.

use clap::Args;
use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Row, Table};
use opendmp_api::ask::{Listing, Problem};
use opendmp_api::rows::Page;
use serde::Serialize;

use crate::args::Format;
use crate::fail::Fail;
use crate::term::Term;
use crate::words;

/// Rows asked for at a time where all are wanted.
const PIECE: usize = 1_000;

/// What every long listing takes.
#[derive(Clone, Debug, Args)]
pub struct Listed {
    /// At most this many rows
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Every row, however many there are
    #[arg(long, conflicts_with_all = ["limit", "after"])]
    pub all: bool,
    /// What follows this cursor of an earlier listing
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<String>,
    #[command(flatten)]
    pub shown: Shown,
}

/// What every listing takes.
#[derive(Clone, Debug, Args)]
pub struct Shown {
    /// Order the rows shown by a column; `--sort=-COLUMN` for the reverse order
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    pub sort: Option<String>,
    /// How to print it: text, or json: an array with an object for each row
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
    pub format: Format,
}

/// What a cell holds: shown in one way, ordered in another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text that others wrote.
    Text(String),
    /// A number.
    Number(u64),
    /// Bytes.
    Size(u64),
    /// A time of the API.
    Time(Option<String>),
    /// A number that is shown as this text.
    As(u64, String),
    /// An id, cut as short as it can be told apart from the others of the table.
    Id(String),
}

impl Value {
    fn shown(&self) -> String {
        match self {
            Self::Text(text) => words::line(text),
            Self::Number(number) => words::grouped(*number),
            Self::Size(bytes) => words::size(*bytes),
            Self::Time(time) => time.as_deref().map_or_else(|| "-".to_owned(), words::when),
            Self::As(_, text) => text.clone(),
            Self::Id(id) => words::short_id(id),
        }
    }

    fn is_number(&self) -> bool {
        matches!(self, Self::Number(_) | Self::Size(_) | Self::As(..))
    }

    fn key(&self) -> (u64, &str) {
        match self {
            Self::Text(text) => (0, text),
            Self::Number(number) | Self::Size(number) | Self::As(number, _) => (*number, ""),
            Self::Time(time) => (0, time.as_deref().unwrap_or("")),
            // Arrivals in their order, whatever their length.
            Self::Id(id) => (id.split(['-', '.']).next().and_then(|number| number.parse().ok()).unwrap_or(0), id),
        }
    }
}

/// One column of rows `R`.
pub struct Column<R> {
    /// Its name for `--sort`; in capitals its head.
    pub name: &'static str,
    /// Whether it is cut where the terminal is too narrow.
    pub shrinks: bool,
    /// Its cell.
    pub cell: fn(&R) -> Value,
}

/// A column that keeps its width.
pub fn column<R>(name: &'static str, cell: fn(&R) -> Value) -> Column<R> {
    Column { name, shrinks: false, cell }
}

/// A column that is cut where the terminal is too narrow.
pub fn wide<R>(name: &'static str, cell: fn(&R) -> Value) -> Column<R> {
    Column { name, shrinks: true, cell }
}

/// Orders rows as `--sort` says.
pub fn sort<R>(rows: &mut [R], columns: &[Column<R>], by: Option<&str>) -> Result<(), Fail> {
    let Some(by) = by else { return Ok(()) };
    let (name, reverse) = by.strip_prefix('-').map_or((by, false), |name| (name, true));
    let Some(column) = columns.iter().find(|column| column.name == name) else {
        let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
        return Err(Fail::usage(format!("there is no column `{name}` to sort by"))
            .hint(format!("there are: {}", names.join(", "))));
    };
    rows.sort_by(|a, b| {
        let (a, b) = ((column.cell)(a), (column.cell)(b));
        let order = a.key().cmp(&b.key());
        if reverse { order.reverse() } else { order }
    });
    Ok(())
}

/// Rows as an aligned table, cut to `width` columns where that is given.
pub fn table<R>(rows: &[R], columns: &[Column<R>], width: Option<usize>) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_truncation_indicator("…");
    match width {
        Some(width) => {
            let width = u16::try_from(width).unwrap_or(u16::MAX);
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    let mut head = Row::from(columns.iter().map(|column| column.name.to_uppercase().replace('_', " ")));
    head.max_height(1);
    table.set_header(head);
    let mut ids = cut_ids(rows, columns);
    for row in rows {
        let cells = columns.iter().zip(&mut ids).map(|(column, ids)| {
            let value = (column.cell)(row);
            let alignment = if value.is_number() { CellAlignment::Right } else { CellAlignment::Left };
            Cell::new(ids.next().unwrap_or_else(|| value.shown())).set_alignment(alignment)
        });
        let mut row = Row::from(cells);
        row.max_height(1);
        table.add_row(row);
    }
    for (at, column) in columns.iter().enumerate() {
        let numbers = rows.first().is_some_and(|row| (column.cell)(row).is_number());
        if let Some(drawn) = table.column_mut(at) {
            drawn.set_padding((0, 2));
            if numbers {
                drawn.set_cell_alignment(CellAlignment::Right);
            }
            if !column.shrinks && width.is_some() {
                drawn.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
    }
    let lines = table.lines().map(|line| format!("{}\n", line.trim_end()));
    lines.collect()
}

/// Of each column what its rows show, where these are ids.
fn cut_ids<R>(rows: &[R], columns: &[Column<R>]) -> Vec<std::vec::IntoIter<String>> {
    let of = |column: &Column<R>| {
        let ids = rows.iter().map_while(|row| match (column.cell)(row) {
            Value::Id(id) => Some(id),
            _ => None,
        });
        let ids: Vec<String> = ids.collect();
        words::short_ids(ids.iter().map(String::as_str)).into_iter()
    };
    columns.iter().map(of).collect()
}

/// Prints a listing that is there as a whole.
pub fn whole<R: Serialize>(
    mut rows: Vec<R>,
    columns: &[Column<R>],
    shown: &Shown,
    nothing: &str,
    term: &Term,
) -> Result<(), Fail> {
    sort(&mut rows, columns, shown.sort.as_deref())?;
    match shown.format {
        Format::Json => term.out(&json(&rows)?)?,
        Format::Text if rows.is_empty() => term.err(nothing),
        Format::Text => term.out(&table(&rows, columns, term.width()))?,
    }
    Ok(())
}

/// Prints a listing that is asked for page by page, as much of it as is wanted.
pub async fn pages<R, F>(
    listing: Listing,
    listed: &Listed,
    columns: &[Column<R>],
    nothing: &str,
    term: &Term,
    ask: impl Fn(Listing) -> F,
) -> Result<(), Fail>
where
    R: Serialize,
    F: Future<Output = Result<Page<R>, Problem>>,
{
    let first = Listing {
        limit: if listed.all { PIECE } else { listed.limit as usize },
        after: listed.after.clone(),
        ..listing
    };
    // Only an order needs all rows at once.
    sort::<R>(&mut [], columns, listed.shown.sort.as_deref())?;
    let at_once = listed.all && listed.shown.sort.is_some();
    let mut page = full(first.clone(), &ask).await?;
    while at_once && let Some(next) = page.next.take() {
        let more = ask(Listing { after: Some(next), ..first.clone() }).await?;
        page.rows.extend(more.rows);
        page.next = more.next;
    }
    let ask = async |listing: Listing| full(listing, &ask).await;
    if page.rows.is_empty() && listed.shown.format == Format::Text {
        term.err(nothing);
        return Ok(());
    }
    let mut lines = Lines { begun: false };
    loop {
        sort(&mut page.rows, columns, listed.shown.sort.as_deref())?;
        match listed.shown.format {
            Format::Json => term.out(&lines.json(&page.rows)?)?,
            Format::Text => {
                let text = table(&page.rows, columns, term.width());
                let head = if lines.begun { text.find('\n').map_or(0, |end| end + 1) } else { 0 };
                lines.begun = true;
                term.out(&text[head..])?;
            }
        }
        match page.next {
            Some(next) if listed.all => page = ask(Listing { after: Some(next), ..first.clone() }).await?,
            Some(next) => {
                if listed.shown.format == Format::Text {
                    let shown = words::count(page.rows.len() as u64, "row");
                    term.err(&format!("{shown} of more; --after {next} shows the next ones, --all every one"));
                }
                break;
            }
            None => break,
        }
    }
    if listed.shown.format == Format::Json {
        term.out(lines.end())?;
    }
    Ok(())
}

/// A page with as many rows as were asked for, where there are so many: an answer may have fewer although more follow.
async fn full<R, F>(listing: Listing, ask: &impl Fn(Listing) -> F) -> Result<Page<R>, Problem>
where
    F: Future<Output = Result<Page<R>, Problem>>,
{
    let mut page = ask(listing.clone()).await?;
    // Without a limit the server says how many a page has.
    while page.rows.len() < listing.limit
        && let Some(next) = page.next.take()
    {
        let rest = Listing { after: Some(next), limit: listing.limit - page.rows.len(), ..listing.clone() };
        let more = ask(rest).await?;
        page.rows.extend(more.rows);
        page.next = more.next;
    }
    Ok(page)
}

/// An array, printed in pieces.
struct Lines {
    begun: bool,
}

impl Lines {
    fn json<R: Serialize>(&mut self, rows: &[R]) -> Result<String, Fail> {
        let mut out = String::new();
        for row in rows {
            out.push_str(if self.begun { ",\n" } else { "[\n" });
            self.begun = true;
            out.push_str(&line(row)?);
        }
        Ok(out)
    }

    fn end(&self) -> &'static str {
        if self.begun { "\n]\n" } else { "[]\n" }
    }
}

fn line(row: &impl Serialize) -> Result<String, Fail> {
    serde_json::to_string(row).map_err(|error| Fail::new(format!("a row can't be written as JSON: {error}")))
}

/// Rows as an array, a line each.
pub fn json<R: Serialize>(rows: &[R]) -> Result<String, Fail> {
    let mut lines = Lines { begun: false };
    Ok(lines.json(rows)? + lines.end())
}

/// One value as indented JSON.
pub fn object(value: &impl Serialize) -> Result<String, Fail> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n").map_err(|error| Fail::new(format!("the answer can't be written as JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Fruit {
        name: &'static str,
        size: u64,
    }

    const COLUMNS: [Column<Fruit>; 2] = [
        Column { name: "name", shrinks: true, cell: |fruit| Value::Text(fruit.name.to_owned()) },
        Column { name: "size", shrinks: false, cell: |fruit| Value::Size(fruit.size) },
    ];

    fn fruits() -> Vec<Fruit> {
        vec![Fruit { name: "a very long pineapple", size: 1_500 }, Fruit { name: "fig\u{1b}[31m\n", size: 12 }]
    }

    #[test]
    fn tables_are_aligned_and_names_are_safe() {
        let shown = table(&fruits(), &COLUMNS, None);
        assert_eq!(
            shown,
            "NAME                     SIZE\na very long pineapple  1.5 kB\nfig\\u{1b}[31m            12 B\n"
        );
    }

    #[test]
    fn tables_are_cut_to_the_terminal() {
        let shown = table(&fruits(), &COLUMNS, Some(22));
        assert!(shown.lines().all(|line| line.chars().count() <= 22), "{shown}");
        assert!(shown.contains("…") && shown.contains("1.5 kB"), "{shown}");
        assert_eq!(shown.lines().count(), 3, "{shown}");
    }

    #[test]
    fn rows_are_sorted_by_value() {
        let mut rows = fruits();
        sort(&mut rows, &COLUMNS, Some("size")).unwrap();
        assert_eq!(rows[0].size, 12);
        sort(&mut rows, &COLUMNS, Some("-size")).unwrap();
        assert_eq!(rows[0].size, 1_500);
        let fail = sort(&mut rows, &COLUMNS, Some("colour")).unwrap_err();
        assert_eq!(fail.hint.as_deref(), Some("there are: name, size"));
    }

    #[test]
    fn ids_are_told_apart_and_in_the_order_of_arrivals() {
        let id: Column<&str> = Column { name: "id", shrinks: false, cell: |id| Value::Id((*id).to_owned()) };
        let mut rows = ["10-7k2pabcd", "9-00000yr62zrc", "9-00000zr62zrc"];
        sort(&mut rows, std::slice::from_ref(&id), Some("id")).unwrap();
        assert_eq!(table(&rows, &[id], None), "ID\n9-00000y\n9-00000z\n10-7k2p\n");
    }

    #[test]
    fn arrays_are_json() {
        assert_eq!(json::<Fruit>(&[]).unwrap(), "[]\n");
        let text = json(&fruits()).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()[1]["size"], 12);
    }
}
