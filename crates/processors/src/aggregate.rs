//! Processor `aggregate`: makes one item of many. The other way round is `split`.
//!
//! Here is when a group is full, as a flow says it, and what is made of it. That items are held meanwhile, in which order
//! they come, and that nothing of them is lost, is the engine's.

mod csv;
mod json;
mod lines;
#[cfg(test)]
mod tests;
mod zip;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use opendmp_model::diagnostic::codes;
use opendmp_model::document::{ByteSize, HumanDuration, ProcessorDoc};
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::item::Item;
use opendmp_model::kinds::{Class, Determinism, Facts, Files, KindInfo, Problem, Role, schema_of};
use opendmp_model::name;
use opendmp_processor::{
    Aggregate, Close, Context, Join, JoinError, Joining, Opened, ProcessorKind, Registry, config, saved_config,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rows::{Said, Settings};
use crate::template::Template;

/// The config of an `aggregate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// When a group is full and becomes an item, at whichever comes first of: `count: 1000` items; `bytes: 64 MiB` of
    /// content, the item that reaches it included; `quiet: 30s`, so long no item came; `end_of_run: true`, the run has
    /// nothing else to do, and items of different runs are in different groups. At least one is needed.
    #[serde(default)]
    #[schemars(transform = without_default)]
    pub batch: Batch,
    /// What is made of the items: their `lines`, a `json` array of documents, a `csv` with one header, or a `zip`
    /// archive.
    #[serde(rename = "as")]
    pub format: Format,
    /// The attribute by whose value items are grouped: each value has a group of its own, and so have the items without
    /// it. By default all are of one group.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub group_by: Option<String>,
    /// The name of what is made, a template filled in from the first item of the group. By default the first item's
    /// `{stem}` with the extension of the format; with `lines` its own name.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub name: Option<String>,
    /// What the text is written in, where it has no mark at its beginning that says so (UTF-8, UTF-16 and UTF-32 have
    /// one): `windows-1252`, `utf-16le` or `shift_jis`, for example, by the names that browsers know. What comes out is
    /// UTF-8. By default text without a mark is passed on as it stands.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub encoding: Option<String>,
    /// What parts the fields of CSV items: `,` by default, or `;`, or `"\t"` for a tab, or `auto`, which tells it by the first
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

/// A batch that says nothing is read only to be told of with a better hint; it is no default to be shown.
fn without_default(schema: &mut schemars::Schema) {
    schema.remove("default");
}

/// When a group is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// So many items.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub count: Option<u64>,
    /// So many bytes of content. The item that reaches it still belongs to the group.
    #[serde(default)]
    pub bytes: Option<ByteSize>,
    /// So long no item was added.
    #[serde(default)]
    pub quiet: Option<HumanDuration>,
    /// The run has nothing else to do. Items of different runs are in different groups then.
    #[serde(default)]
    pub end_of_run: bool,
}

/// What is made of items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One text after the other.
    Lines,
    /// An array, RFC 8259.
    Json,
    /// Rows below one header, RFC 4180.
    Csv,
    /// An archive with a member for each.
    Zip,
}

impl Format {
    /// The extension of what is made, and its media type.
    fn usual(self) -> (&'static str, &'static str) {
        match self {
            Self::Lines => ("txt", "text/plain"),
            Self::Json => ("json", "application/json"),
            Self::Csv => ("csv", "text/csv"),
            Self::Zip => ("zip", "application/zip"),
        }
    }
}

const DOCS: &str = "\
Holds items until a group of them is full, and makes one item of each group, in the order in which they arrived. Held items \
survive a restart; each becomes part of exactly one group. Bytes are passed on as they stand, so `split` with the same `as` \
takes them apart again; lines and CSV that are not UTF-8, by their mark or by `encoding`, are made UTF-8.

- `lines`: the texts, one after the other. Where one does not end with a line end, one is added.
- `json`: an array with the items as its elements. Each has to be one JSON document.
- `csv`: the header of the first item, and the rows of all. An item with another header or delimiter \
becomes a dead letter, and so does one with a row of more or fewer fields than the header.
- `zip`: a member for each item, named as it is. Where two have the same name, the later ones get a number.

An item that does not fit becomes a dead letter, and the others go on without it. `batch` says when a group is full: `count` \
and `bytes` give groups of the same size whatever the weather, `quiet` waits for a lull, `end_of_run` for the end of the \
run, such as all that comes of one archive. With `quiet` what is in a group depends on when items come; the others depend on \
the items alone.
";

/// The processor kind `aggregate`.
#[derive(Debug)]
pub struct Kind;

#[async_trait]
impl ProcessorKind for Kind {
    fn info(&self) -> &KindInfo {
        static INFO: OnceLock<KindInfo> = OnceLock::new();
        INFO.get_or_init(|| KindInfo {
            name: "aggregate".to_owned(),
            class: Class::Processor,
            role: Role::Transform,
            summary: "Makes one item of many: lines, a JSON array, a CSV, a zip archive.".to_owned(),
            docs: DOCS.to_owned(),
            schema: schema_of::<Config>(),
            examples: vec![
                "id: batch\ntype: aggregate\ninputs: [clean]\nbatch: { count: 10000, quiet: 30s }\nas: lines\n".to_owned(),
                "id: regions\ntype: aggregate\ninputs: [clean]\nbatch: { end_of_run: true }\nas: csv\ngroup_by: region\n\
                 name: \"{attributes.region}.csv\"\n"
                    .to_owned(),
                "id: pack\ntype: aggregate\ninputs: [clean]\nbatch: { bytes: 1 GiB, end_of_run: true }\nas: zip\n\
                 name: \"results-{date:%Y-%m-%d}-{hash:8}.zip\"\n"
                    .to_owned(),
            ],
        })
    }

    fn prepare(&self, _: &Registry, doc: &ProcessorDoc, _files: &dyn Files) -> Result<Facts, Vec<Problem>> {
        let read: Config = config(&doc.config).map_err(|problem| vec![problem])?;
        let mut problems = Vec::new();
        let batch = read.batch;
        if batch == Batch::default() {
            problems.push(
                Problem::new("/batch", "never-full", "nothing says when a group is full")
                    .hint("for example `batch: { count: 1000 }`; others are `bytes`, `quiet` and `end_of_run`"),
            );
        }
        let mut wrong = |pointer: &str, message: &str, hint: &str| {
            problems.push(Problem::new(pointer, codes::INVALID_CONFIG, message).hint(hint));
        };
        if batch.count == Some(0) {
            wrong("/batch/count", "a group has at least one item", "write `count: 1` or more");
        }
        if batch.bytes.is_some_and(|bytes| bytes.get() == 0) {
            wrong("/batch/bytes", "a group of no bytes is full before it begins", "write `64 MiB`, for example");
        }
        if batch.quiet.is_some_and(|quiet| quiet.as_millis() == 0) {
            wrong("/batch/quiet", "a group that waits for nothing is over at once", "write `30s`, for example");
        }
        if read.group_by.as_deref() == Some("") {
            wrong("/group_by", "the attribute has no name", "write `group_by: region`, for example");
        }
        problems.extend(read.text().err().into_iter().flatten());
        if let Some(text) = &read.name
            && let Err(error) = Template::parse(text)
        {
            problems.push(error.problem("/name", text));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let by_clock = batch.quiet.is_some();
        Ok(Facts {
            determinism: if by_clock { Determinism::Unknown } else { Determinism::ByConstruction },
            determinism_hint: by_clock.then(|| {
                "what is in a group depends on the clock with `quiet`; `count`, `bytes` and `end_of_run` do not"
                    .to_owned()
            }),
            ..Facts::default()
        })
    }

    async fn open(&self, _: &Registry, doc: &ProcessorDoc, _: &Context) -> Result<Opened, Fault> {
        let read: Config = saved_config(&doc.config)?;
        let template = |text: &String| {
            Template::parse(text)
                .map_err(|error| Fault::new(FaultKind::Failed, "bad-template", error.message).with_hint(error.hint))
        };
        let name = read.name.as_ref().map(template).transpose()?;
        let settings = read.text().map_err(|problems| {
            let message = problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; ");
            Fault::new(FaultKind::Failed, codes::INVALID_CONFIG, message)
        })?;
        let Batch { count, bytes, quiet, end_of_run } = read.batch;
        Ok(Opened::Aggregate(Aggregate {
            close: Close { count, bytes: bytes.map(ByteSize::get), quiet: quiet.map(Into::into), end_of_run },
            group_by: read.group_by.map(Into::into),
            join: Arc::new(Joiner { format: read.format, name, settings }),
        }))
    }
}

/// How items become one.
struct Joiner {
    format: Format,
    name: Option<Template>,
    settings: Settings,
}

impl Join for Joiner {
    fn name(&self, first: &Item) -> Result<String, Fault> {
        if let Some(template) = &self.name {
            return template.item_name(first, &[]);
        }
        let (stem, ext) = (name::stem(&first.name), name::extension(&first.name));
        let (usual, _) = self.format.usual();
        Ok(match self.format {
            Format::Lines if !ext.is_empty() => first.name.to_string(),
            _ => format!("{stem}.{usual}"),
        })
    }

    fn media_type(&self) -> &str {
        self.format.usual().1
    }

    fn begin(&self) -> Box<dyn Joining> {
        match self.format {
            Format::Lines => Box::new(lines::Joined(self.settings.encoding)),
            Format::Json => Box::new(json::Joined::default()),
            Format::Csv => Box::new(csv::Joined::new(self.settings)),
            Format::Zip => Box::new(zip::Joined::default()),
        }
    }
}

/// A fault met on the way: the item's, or that its bytes can't be read now.
fn fault(fault: Fault) -> JoinError {
    match fault.kind {
        FaultKind::Rejected => JoinError::Item(fault),
        _ => JoinError::Io(std::io::Error::other(fault)),
    }
}
