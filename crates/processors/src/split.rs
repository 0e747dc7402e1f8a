//! Processor `split`: makes many items of one: rows of a text, members of an archive. The other way round is
//! `aggregate`.
//!
//! Children are made one after the other, as the engine reads them, and pass through in blocks: memory depends neither
//! on how many there are nor on how large they are. What each format is made of is in the files beside.

mod archive;
mod rows;
mod tar;
#[cfg(test)]
mod tests;
mod zip;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use opendmp_model::diagnostic::codes;
use opendmp_model::document::{ByteSize, ProcessorDoc};
use opendmp_model::fault::{Fault, FaultKind, LogLine};
use opendmp_model::item::{Attributes, Item};
use opendmp_model::kinds::{Class, Determinism, Facts, Files, KindInfo, Problem, Role, schema_of};
use opendmp_model::name;
use opendmp_processor::{
    Body, Context, Done, Emission, Emissions, Input, Opened, Outcome, Processor, ProcessorKind, Registry, config,
    saved_config,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::blocks::{Most, Spill, Stop, in_time};
use crate::compress::BATCH;
use crate::rows::{Said, Settings};
use crate::scratch::Scratch;
use crate::template::Template;

/// The config of a `split`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What items are: `lines` of text, `csv` rows below a header, a `json` array, a `zip` or a `tar` archive.
    #[serde(rename = "as")]
    pub format: Format,
    /// How many lines or CSV rows a child has; the last one may have fewer. By default one.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub rows: Option<u64>,
    /// What the text is written in, where it has no mark at its beginning that says so (UTF-8, UTF-16 and UTF-32 have
    /// one): `windows-1252`, `utf-16le` or `shift_jis`, for example, by the names that browsers know. What comes out is
    /// UTF-8. By default text without a mark is passed on as it stands.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub encoding: Option<String>,
    /// What parts the fields of a CSV: `,` by default, or `;`, or `"\t"` for a tab, or `auto`, which tells it by the first
    /// rows. A first line `sep=;` counts before this.
    #[serde(default)]
    #[schemars(length(min = 1, max = 4))]
    pub delimiter: Option<String>,
    /// What fields of a CSV are within that have delimiters or line ends in them: `"` by default, another character, or
    /// `none`. Within such a field it is written twice.
    #[serde(default)]
    #[schemars(length(min = 1, max = 4))]
    pub quote: Option<String>,
    /// The character before a quote that belongs to the field, `"\\"` for example. By default there is none.
    #[serde(default)]
    #[schemars(length(min = 1, max = 4))]
    pub escape: Option<String>,
    /// Whether rows of a CSV may have more or fewer fields than the header. By default an item with such a row is refused,
    /// because most often it was read with the wrong delimiter or has a quote astray.
    #[serde(default)]
    pub ragged: bool,
    /// The names of the children, a template: `{index}` counts them from 0, `{index:4}` with at least four digits, and
    /// for archives `{member}` is the member's own file name. By default `{stem}-{index:6}.{ext}`, for archives
    /// `{member}`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub name: Option<String>,
    /// The most one child may hold.
    #[serde(default = "default_max_size")]
    pub max_size: ByteSize,
    /// The most all children of an item may hold together. A small archive can hold more than any disk.
    #[serde(default = "default_max_total")]
    pub max_total: ByteSize,
}

impl Config {
    /// How text is read.
    fn text(&self) -> Result<Settings, Vec<Problem>> {
        let said = Said {
            encoding: self.encoding.as_deref(),
            delimiter: self.delimiter.as_deref(),
            quote: self.quote.as_deref(),
            escape: self.escape.as_deref(),
            ragged: self.ragged,
        };
        said.settings(matches!(self.format, Format::Lines | Format::Csv), self.format == Format::Csv)
    }
}

/// What items are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Text; a line ends with a line feed.
    Lines,
    /// RFC 4180, with a header.
    Csv,
    /// RFC 8259, an array.
    Json,
    /// Stored or deflated members.
    Zip,
    /// POSIX (pax), GNU, or older.
    Tar,
}

impl Format {
    fn is_archive(self) -> bool {
        matches!(self, Self::Zip | Self::Tar)
    }

    /// The extension of children whose item has none, and the media type of children.
    fn usual(self) -> (&'static str, &'static str) {
        match self {
            Self::Lines => ("txt", "text/plain"),
            Self::Csv => ("csv", "text/csv"),
            Self::Json => ("json", "application/json"),
            Self::Zip | Self::Tar => ("", "application/octet-stream"),
        }
    }
}

fn default_max_size() -> ByteSize {
    ByteSize::mib(64 << 10)
}

fn default_max_total() -> ByteSize {
    ByteSize::mib(256 << 10)
}

/// Placeholders of names in archives, beyond those of names.
const OWN: &[&str] = &["member"];

const DOCS: &str = "\
Makes many items of each. Bytes are passed on as they stand, so `aggregate` with the same `as` can put them together \
again; lines and CSV that are not UTF-8, by their mark or by `encoding`, come out as UTF-8 without a mark.

- `lines`: a child has `rows` lines with their line ends. Of JSON lines (`.jsonl`, `.ndjson`) blank ones are left out.
- `csv`: a child has the header and `rows` rows below it. Quoted fields may have line ends in them (RFC 4180). A \
first line `sep=;` is left out. A row with more or fewer fields than the header has the item refused. A file with \
nothing but a header gives no children.
- `json`: the item is an array, and each of its elements becomes a document. For one JSON document a line use `lines`.
- `zip` and `tar`: each member becomes an item, with its path in the archive as the attribute `member`. A hard link has \
the content of the member that it names. Folders are left out, and so are symbolic links and devices, which the log \
tells. Compressed archives (`.tar.gz`) go through `decompress` before.

An item that is damaged, cut, encrypted, no such format, or holds more than `max_size` or `max_total` becomes a dead letter, \
and none of its children goes on. Its children inherit its attributes.
";

/// The processor kind `split`.
#[derive(Debug)]
pub struct Kind {
    scratch: Scratch,
}

impl Kind {
    /// Large children wait in files below `scratch`.
    pub fn new(scratch: impl Into<Scratch>) -> Self {
        Self { scratch: scratch.into() }
    }
}

#[async_trait]
impl ProcessorKind for Kind {
    fn info(&self) -> &KindInfo {
        static INFO: OnceLock<KindInfo> = OnceLock::new();
        INFO.get_or_init(|| KindInfo {
            name: "split".to_owned(),
            class: Class::Processor,
            role: Role::Transform,
            summary: "Makes many items of one: lines, CSV rows, JSON elements, members of archives.".to_owned(),
            docs: DOCS.to_owned(),
            schema: schema_of::<Config>(),
            examples: vec![
                "id: parts\ntype: split\ninputs: [inbox]\nas: csv\nrows: 1000\nname: \"{stem}-part-{index:4}.csv\"\n"
                    .to_owned(),
                "id: records\ntype: split\ninputs: [inbox]\nas: json\n".to_owned(),
                "id: members\ntype: split\ninputs: [inbox]\nas: zip\nmax_size: 2 GiB\nmax_total: 100 GiB\n".to_owned(),
            ],
        })
    }

    fn prepare(&self, _: &Registry, doc: &ProcessorDoc, _files: &dyn Files) -> Result<Facts, Vec<Problem>> {
        let read: Config = config(&doc.config).map_err(|problem| vec![problem])?;
        let mut problems = Vec::new();
        let mut wrong = |pointer: &str, message: String, hint: &str| {
            problems.push(Problem::new(pointer, codes::INVALID_CONFIG, message).hint(hint));
        };
        if read.rows == Some(0) {
            wrong("/rows", "a child has at least one row".to_owned(), "write `rows: 1` or more");
        }
        if read.rows.is_some() && !matches!(read.format, Format::Lines | Format::Csv) {
            wrong("/rows", "only lines and CSV have rows".to_owned(), "remove it: each element or member is a child");
        }
        for (key, size) in [("max_size", read.max_size), ("max_total", read.max_total)] {
            if size.get() == 0 {
                let message = format!("with a `{key}` of nothing every item is refused");
                wrong(&format!("/{key}"), message, "write `64 GiB`, for example");
            }
        }
        problems.extend(read.text().err().into_iter().flatten());
        if let Some(text) = &read.name
            && let Err(error) = Template::parse_with(text, own(read.format))
        {
            problems.push(error.problem("/name", text));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Facts { determinism: Determinism::ByConstruction, ..Facts::default() })
    }

    async fn open(&self, _: &Registry, doc: &ProcessorDoc, context: &Context) -> Result<Opened, Fault> {
        let read: Config = saved_config(&doc.config)?;
        let template = |text: &String| {
            Template::parse_with(text, own(read.format))
                .map_err(|error| Fault::new(FaultKind::Failed, "bad-template", error.message).with_hint(error.hint))
        };
        let name = read.name.as_ref().map(template).transpose()?.map(Arc::new);
        let settings = read.text().map_err(|problems| {
            let message = problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; ");
            Fault::new(FaultKind::Failed, codes::INVALID_CONFIG, message)
        })?;
        let (scratch, timeout) = (self.scratch.clone(), context.timeout);
        Ok(Opened::Transform(Arc::new(Split { read, name, settings, scratch, timeout })))
    }
}

fn own(format: Format) -> &'static [&'static str] {
    if format.is_archive() { OWN } else { &[] }
}

/// An open split.
struct Split {
    read: Config,
    name: Option<Arc<Template>>,
    settings: Settings,
    scratch: Scratch,
    timeout: Duration,
}

#[async_trait]
impl Processor for Split {
    fn batch(&self) -> usize {
        BATCH
    }

    async fn process(&self, inputs: Vec<Input>) -> Result<Vec<Done>, Fault> {
        let mut done = Vec::with_capacity(inputs.len());
        for input in inputs {
            let began = Instant::now();
            let (outcome, log) = match self.one(input, began).await {
                Ok((children, log)) => (Outcome::Stream(Emissions::new(children)), log),
                Err(fault) => (Outcome::Fault(fault), Vec::new()),
            };
            done.push(Done { log, took: began.elapsed(), ..Done::silent(outcome) });
        }
        Ok(done)
    }
}

impl Split {
    async fn one(&self, input: Input, began: Instant) -> Result<(Children, Vec<LogLine>), Fault> {
        let (read, body) = (&self.read, input.body);
        let (mut log, mut links) = (Vec::new(), tar::Links::default());
        if read.format.is_archive() {
            // What is left out is told before the first child is read; what can't be read is found early.
            let (body, format) = (body.clone(), read.format);
            (log, links) = in_time(self.timeout, move |stop| survey(format, body, stop)).await?;
        }
        let stop = Stop::default();
        let documents = is_json_lines(&input.item);
        let parts = parts(read.format, body, (read.rows.unwrap_or(1), self.settings), documents, links, &stop);
        let room =
            Room { scratch: self.scratch.clone(), stop, max_size: read.max_size, max_total: read.max_total, used: 0 };
        let names = Names { item: input.item, template: self.name.clone(), format: read.format };
        let left = self.timeout.saturating_sub(began.elapsed());
        Ok((Children { parts: Some(parts), room, names, index: 0, left, timeout: self.timeout }, log))
    }
}

/// One JSON document a line, by the media type or the name.
fn is_json_lines(item: &Item) -> bool {
    let media_type = item.media_type.as_deref();
    matches!(media_type, Some("application/x-ndjson" | "application/jsonl" | "application/x-jsonlines"))
        || ["jsonl", "ndjson"].iter().any(|ending| name::extension(&item.name).eq_ignore_ascii_case(ending))
}

fn parts(
    format: Format,
    body: Body,
    (rows, settings): (u64, Settings),
    documents: bool,
    links: tar::Links,
    stop: &Stop,
) -> Box<dyn Parts> {
    match format {
        Format::Lines => Box::new(rows::Lines::new(body, rows, documents, settings, stop)),
        Format::Csv => Box::new(rows::Csv::new(body, rows, settings, stop)),
        Format::Json => Box::new(rows::Elements::new(body, stop)),
        Format::Zip => Box::new(zip::Members::new(body, stop)),
        Format::Tar => Box::new(tar::Members::new(body, links, stop)),
    }
}

/// What of an archive is to be told, as lines of log, and what its hard links name.
fn survey(format: Format, body: Body, stop: &Stop) -> Result<(Vec<LogLine>, tar::Links), Fault> {
    let mut left_out = archive::LeftOut::default();
    let links = match format {
        Format::Zip => zip::Members::new(body, stop).survey(&mut left_out).map(|()| tar::Links::default())?,
        _ => tar::Members::survey(&body, stop, &mut left_out)?,
    };
    Ok((left_out.lines(), links))
}

/// What an item is taken apart to.
trait Parts: Send {
    /// The next part; `None` at the end.
    fn next(&mut self, room: &Room) -> Result<Option<Part>, Fault>;
}

/// What becomes a child.
struct Part {
    content: Spill,
    /// The path of a member in its archive.
    member: Option<Vec<u8>>,
}

/// Where parts are put, and how much may be.
struct Room {
    scratch: Scratch,
    stop: Stop,
    max_size: ByteSize,
    max_total: ByteSize,
    /// Bytes of the children before.
    used: u64,
}

impl Room {
    /// For one part.
    fn spill(&self) -> Spill {
        let left = self.max_total.get().saturating_sub(self.used);
        let most = if self.max_size.get() <= left {
            Most { bytes: self.max_size.get(), what: "one child holds", said: (self.max_size, "max_size") }
        } else {
            Most { bytes: left, what: "the children together hold", said: (self.max_total, "max_total") }
        };
        Spill::within(self.scratch.clone(), most, &self.stop)
    }
}

/// The children of an item.
struct Children {
    /// `None` once all were read, or one could not be.
    parts: Option<Box<dyn Parts>>,
    room: Room,
    names: Names,
    index: u32,
    /// How much time is left: only that counts in which a child is made, not what its reader does with it.
    left: Duration,
    timeout: Duration,
}

impl Iterator for Children {
    type Item = Result<Emission, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut parts = self.parts.take()?;
        let began = Instant::now();
        self.room.stop.at(began + self.left, self.timeout);
        let made = parts.next(&self.room).and_then(|part| part.map(|part| self.child(part)).transpose());
        self.left = self.left.saturating_sub(began.elapsed());
        if let Ok(Some(_)) = &made {
            self.parts = Some(parts);
        }
        made.transpose()
    }
}

impl Children {
    fn child(&mut self, part: Part) -> Result<Emission, Fault> {
        self.room.used += part.content.written();
        let (name, media_type) = self.names.of(self.index, part.member.as_deref())?;
        self.index = self.index.checked_add(1).ok_or_else(|| {
            Fault::new(
                FaultKind::Rejected,
                "too-many-children",
                format!("the item has more than {} children", u32::MAX),
            )
            .with_hint("let a child have more rows")
        })?;
        let member = |path: Vec<u8>| ("member".to_owned(), Value::String(name::from_bytes(&path)));
        Ok(Emission {
            port: None,
            name: Some(name),
            media_type: Some(media_type),
            attributes: part.member.into_iter().map(member).collect::<Attributes>(),
            content: part.content.finish()?,
        })
    }
}

/// How children are called.
struct Names {
    item: Item,
    template: Option<Arc<Template>>,
    format: Format,
}

impl Names {
    /// Name and media type of a child.
    fn of(&mut self, index: u32, member: Option<&[u8]>) -> Result<(String, String), Fault> {
        let own = member.map(|path| archive::file_name(path, index));
        let (usual, media_type) = self.format.usual();
        let name = match (&self.template, own) {
            (Some(template), own) => {
                // A template asks the item, whose own place is of no use here.
                self.item.index = index;
                template.item_name(&self.item, &[own.as_deref().unwrap_or_default()])?
            }
            (None, Some(own)) => own,
            (None, None) => {
                let (stem, ext) = (name::stem(&self.item.name), name::extension(&self.item.name));
                format!("{stem}-{index:06}.{}", if ext.is_empty() { usual } else { ext })
            }
        };
        let guessed = mime_guess::from_ext(name::extension(&name)).first_raw();
        // The bytes of rows and elements are known, whatever the names say.
        let media_type = match self.format {
            Format::Csv | Format::Json => media_type,
            Format::Lines | Format::Zip | Format::Tar => guessed.unwrap_or(media_type),
        };
        Ok((name, media_type.to_owned()))
    }
}
