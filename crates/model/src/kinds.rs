//! What the document and the plan need to know of the kinds: a descriptor each, and a pure check of one processor.
//!
//! The kinds themselves (constructors, code that does the work) live elsewhere; here is only what a parser, a form, a
//! help page and the plan read.

mod lint;

pub use lint::lint;

use crate::document::ProcessorDoc;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// The key of a schema node that says "here stands the config of a kind of this class, chosen by its `type`".
pub const CLASS_KEYWORD: &str = "x-opendmp-class";

/// The port an input without a port reads.
pub const DEFAULT_PORT: &str = "out";

/// What a kind is a kind of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Class {
    /// A step of a flow: `script`, `route`, …
    Processor,
    /// Where an ingest takes from: `file_drop`, …
    Source,
    /// Where a collect puts to: `folder`, …
    Destination,
}

impl Class {
    /// As written in schemas.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Processor => "processor",
            Class::Source => "source",
            Class::Destination => "destination",
        }
    }

    pub(crate) fn from_keyword(word: &str) -> Option<Class> {
        [Class::Processor, Class::Source, Class::Destination].into_iter().find(|class| class.as_str() == word)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where in a flow a processor may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Role {
    /// Takes from a source; has no inputs.
    Ingest,
    /// Reads other processors and is read by others.
    Transform,
    /// Puts results on a shelf; nothing reads it.
    Collect,
}

/// The descriptor of a kind. One of these feeds parser, help, reference and form.
#[derive(Clone, Debug, Serialize)]
pub struct KindInfo {
    /// As written under `type`.
    pub name: String,
    /// What it is a kind of.
    pub class: Class,
    /// Where it may stand; of no meaning for sources and destinations.
    pub role: Role,
    /// One line.
    pub summary: String,
    /// Markdown.
    pub docs: String,
    /// JSON Schema of its own keys, from [`schema_of`]: without the keys every processor has, without `type`.
    pub schema: Value,
    /// YAML, each a list entry of `processors`, or the value of `source` or `destination`.
    pub examples: Vec<String>,
}

/// The JSON Schema (2020-12) of a config struct, whose doc comments are its descriptions.
pub fn schema_of<C: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<C>().to_value()
}

/// All kinds there are, and what each says of a processor.
pub trait Kinds: Send + Sync {
    /// The kind of that name. Names are unique within a class.
    fn get(&self, class: Class, name: &str) -> Option<&KindInfo>;

    /// All of them, in the order in which they are to be shown.
    fn list(&self) -> Vec<&KindInfo>;

    /// Checks everything of one processor that can be checked offline. MUST be pure but for `files`.
    ///
    /// `processor.config` already satisfies the schemas of its kind and of the kinds nested in it (`source`,
    /// `destination`). MUST report all problems, not the first.
    fn prepare(&self, processor: &ProcessorDoc, files: &dyn Files) -> Result<Facts, Vec<Problem>>;

    /// What the codes mean that [`Kinds::prepare`] uses beyond those of this crate.
    fn codes(&self) -> &'static [crate::diagnostic::CodeInfo] {
        &[]
    }
}

/// A problem found by a kind in the config of one processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// JSON pointer within the processor: `/code`, `/source/pattern`; `""` is the processor itself.
    pub pointer: String,
    /// Line and column, both from 1, within the string at `pointer`, or within `file`.
    pub offset: Option<(usize, usize)>,
    /// The file the problem is in, as it is named in the config; `None`: the document.
    pub file: Option<String>,
    /// Kebab case; explained by [`Kinds::codes`] or [`crate::diagnostic::codes()`].
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What a person can do.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem with the value at `pointer`.
    pub fn new(pointer: impl Into<String>, code: &'static str, message: impl Into<String>) -> Problem {
        Problem { pointer: pointer.into(), offset: None, file: None, code, message: message.into(), hint: None }
    }

    /// The same at a line and column (both from 1) of the string at the pointer.
    pub fn at(mut self, line: usize, column: usize) -> Problem {
        self.offset = Some((line, column));
        self
    }

    /// The same in a file that the config names.
    pub fn in_file(mut self, file: impl Into<String>) -> Problem {
        self.file = Some(file.into());
        self
    }

    /// The same with a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }

    /// The same below `prefix`: a kind that nests another passes on its problems with this.
    pub fn below(mut self, prefix: &str) -> Problem {
        self.pointer.insert_str(0, prefix);
        self
    }
}

/// Whether equal inputs give equal outputs, which law L8 rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Determinism {
    /// The kind can't do otherwise.
    ByConstruction,
    /// Its author says so.
    Declared,
    /// Nobody says so.
    Unknown,
}

impl fmt::Display for Determinism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Determinism::ByConstruction => "by construction",
            Determinism::Declared => "declared",
            Determinism::Unknown => "unknown",
        })
    }
}

/// What an environment lock is made from when a version is saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// `python`, `clojure`, …: who is to resolve it.
    pub language: String,
    /// What the code asks for, as the language writes it (PEP 723, `deps.edn`).
    pub requirements: String,
}

/// What a kind says of a processor whose config is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whether it has the port [`DEFAULT_PORT`].
    pub default_output: bool,
    /// Its further ports: `outputs:` of a script, the ports of a route.
    pub outputs: Vec<String>,
    /// Whether L8 can be promised.
    pub determinism: Determinism,
    /// How an author can promise it, when it is unknown.
    pub determinism_hint: Option<String>,
    /// The files it names, relative to the document; their content becomes part of the version.
    pub files: Vec<String>,
    /// JSON pointers to the code within the config (`/code`), for the code hash.
    pub code: Vec<String>,
    /// The environment to be locked when the version is saved.
    pub environment: Option<Environment>,
    /// What is not wrong but probably not meant.
    pub warnings: Vec<Problem>,
}

impl Default for Facts {
    /// One default output, nothing promised, no files.
    fn default() -> Facts {
        Facts {
            default_output: true,
            outputs: Vec::new(),
            determinism: Determinism::Unknown,
            determinism_hint: None,
            files: Vec::new(),
            code: Vec::new(),
            environment: None,
            warnings: Vec::new(),
        }
    }
}

impl Facts {
    /// All ports, the default one first.
    pub fn ports(&self) -> Vec<String> {
        let default = self.default_output.then(|| DEFAULT_PORT.to_owned());
        default.into_iter().chain(self.outputs.iter().cloned()).collect()
    }
}

/// The files beside a flow document. Reading them is the only thing a check asks of the world.
pub trait Files {
    /// The content of the file at `relative`, a path below the document's folder with `/` as separator, as written
    /// in the document (it may begin with `./`).
    ///
    /// MUST refuse paths that leave the folder. SHOULD refuse files over [`MOST_FILE_BYTES`].
    fn read(&self, relative: &str) -> Result<Vec<u8>, FileProblem>;

    /// Whether the document was found right before, with these very files: what is dear to check (by an interpreter)
    /// need not be checked again.
    fn were_checked(&self) -> bool {
        false
    }
}

/// The largest file a version embeds: code, not data.
pub const MOST_FILE_BYTES: usize = 4 << 20;

/// Why a file named in a document can't be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileProblem {
    /// Nothing is there.
    #[error("there is no such file")]
    NotFound,
    /// The path leaves the folder of the document, or is absolute.
    #[error("the path leaves the folder of the flow")]
    Outside,
    /// Over [`MOST_FILE_BYTES`].
    #[error("the file is larger than {} MiB", MOST_FILE_BYTES >> 20)]
    TooLarge,
    /// It is there but can't be read.
    #[error("the file can't be read: {0}")]
    Unreadable(String),
}

/// A path as files are keyed: without `./`, empty parts or `\`, refused when it leaves the folder.
pub fn clean_path(relative: &str) -> Result<String, FileProblem> {
    if relative.starts_with('/') || relative.contains(['\\', '\0']) {
        return Err(FileProblem::Outside);
    }
    let mut parts = Vec::new();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or(FileProblem::Outside)?;
            }
            other => parts.push(other),
        }
    }
    if parts.is_empty() { Err(FileProblem::NotFound) } else { Ok(parts.join("/")) }
}

/// Files in memory: those of a saved version, or those of a test.
impl Files for BTreeMap<String, Vec<u8>> {
    fn read(&self, relative: &str) -> Result<Vec<u8>, FileProblem> {
        let path = clean_path(relative)?;
        let content = self.get(&path).or_else(|| self.get(relative)).ok_or(FileProblem::NotFound)?;
        if content.len() > MOST_FILE_BYTES { Err(FileProblem::TooLarge) } else { Ok(content.clone()) }
    }
}

/// The files of a saved version, which was checked when it was saved.
#[derive(Debug)]
pub struct SavedFiles<'a>(pub &'a BTreeMap<String, Vec<u8>>);

impl Files for SavedFiles<'_> {
    fn read(&self, relative: &str) -> Result<Vec<u8>, FileProblem> {
        self.0.read(relative)
    }

    fn were_checked(&self) -> bool {
        true
    }
}

/// The config of a nested kind as written: `type` and the kind's own keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Nested {
    /// The kind's name.
    pub kind: String,
    /// Its own keys, without `type`.
    pub config: Map<String, Value>,
}

impl Nested {
    fn from_value<E: de::Error>(value: Value) -> Result<Nested, E> {
        let Value::Object(mut config) = value else {
            return Err(E::custom("expected a map with a `type`"));
        };
        match config.shift_remove("type") {
            Some(Value::String(kind)) => Ok(Nested { kind, config }),
            _ => Err(E::custom("a `type` is missing")),
        }
    }
}

impl Serialize for Nested {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            std::iter::once(("type", &Value::String(self.kind.clone())))
                .chain(self.config.iter().map(|(key, value)| (key.as_str(), value))),
        )
    }
}

impl<'de> Deserialize<'de> for Nested {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Nested, D::Error> {
        Nested::from_value(Value::deserialize(deserializer)?)
    }
}

macro_rules! nested_of_class {
    ($(#[$doc:meta])* $name:ident, $class:expr, $description:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Nested);

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "object",
                    "description": $description,
                    CLASS_KEYWORD: $class.as_str(),
                })
            }
        }
    };
}

nested_of_class!(
    /// The `source` of an ingest: put this type into a config struct, and its schema, its check and its form follow.
    SourceConfig,
    Class::Source,
    "Where the items come from; `type` chooses the kind of source."
);
nested_of_class!(
    /// The `destination` of a collect.
    DestinationConfig,
    Class::Destination,
    "Where the results go; `type` chooses the kind of destination."
);
