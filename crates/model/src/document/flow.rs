//! The flow as typed values: what every flow and every processor may say. The doc comments of the structs are the
//! help people read; the JSON Schema comes from them.
//!
//! A kind's own keys stay JSON here, in [`ProcessorDoc::config`]; only the kind knows their type.

use super::values::HumanDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// A flow whose every processor was read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flow {
    /// As written.
    pub name: String,
    /// The flow's identity within its space.
    pub slug: String,
    /// What it is for.
    pub description: Option<String>,
    /// Names of phases, for the layout only.
    pub phases: Vec<String>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// How long is kept what it takes to do and explain things again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<FlowRetention>,
    /// In the order of the document.
    pub processors: Vec<ProcessorDoc>,
}

/// A processor as written: the keys all have, and those of its kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProcessorDoc {
    /// Unique within the flow.
    pub id: String,
    /// The value of `type`.
    pub kind: String,
    /// What every processor may say.
    pub common: Common,
    /// The kind's own keys.
    pub config: Map<String, Value>,
}

/// The identity made from a flow's name: letters and digits in lower case, `-` for everything between, at most 64
/// characters. Empty when the name has neither letters nor digits.
pub fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars() {
        if slug.chars().count() >= 64 {
            break;
        }
        if c.is_alphanumeric() {
            slug.extend(c.to_lowercase().filter(|c| c.is_alphanumeric()));
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(slug.trim_end_matches('-').len());
    slug
}

/// A flow: what a person draws or writes, the same in the UI, the API, the command line and Git.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "OpenDMP flow")]
pub struct FlowKeys {
    /// What the flow is called. Its identity is made from it: "Penguin survey" is `penguin-survey`.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// What the flow is for, in a sentence or two.
    #[serde(default)]
    pub description: Option<String>,
    /// Names of the columns on the canvas, from left to right. They never decide the order of work.
    #[serde(default)]
    pub phases: Vec<String>,
    /// Free labels, to find and group flows by.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How long sources and history are kept. By default for ever.
    #[serde(default)]
    pub retention: Option<FlowRetention>,
    /// The steps, in any order; their `inputs` connect them.
    #[schemars(schema_with = "processors_schema")]
    pub processors: Vec<Value>,
}

/// How long is kept what it takes to do things again and to explain them. Without a time, for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FlowRetention {
    /// How long the content of sources is kept as it was taken in, for a reprocess: counted from when all that came of
    /// it was done. Files outside are never touched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources: Option<HumanDuration>,
    /// How long it can be told how each result came to be. Not shorter than `sources`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<HumanDuration>,
}

impl FlowRetention {
    /// Whether history would go before the sources that it tells of, of which then nobody knows whether they are done.
    pub fn is_upside_down(&self) -> bool {
        self.history.zip(self.sources).is_some_and(|(history, sources)| history < sources)
    }
}

/// Which revisions of a dataset are kept: those that one of the two says. Without either, all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DatasetRetention {
    /// So many of each dataset, the newest ones.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revisions: Option<u32>,
    /// Those that were committed, or came out the same again, within this time. Without `revisions` the newest goes, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<HumanDuration>,
}

/// What stands for a processor in [`FlowKeys`]' schema; replaced by the kinds' schemas in the published one.
fn processors_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": { crate::kinds::CLASS_KEYWORD: "processor", "type": "object" } })
}

/// What every processor may say, whatever its kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Common {
    /// The processor's name within the flow: letters, digits, `_` and `-`. Others name it in their `inputs`.
    #[schemars(schema_with = "id_schema")]
    pub id: String,
    /// The kind of processor: `ingest`, `script`, `collect`, …; the kind decides which further keys there are.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the processor is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The column on the canvas, a number from 1 or one of the flow's `phases`. It never decides the order of work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The processors it reads: `clean` reads the default output of `clean`, `split.bad` the output named `bad`.
    #[serde(default, with = "inputs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "inputs_schema")]
    pub inputs: Vec<InputRef>,
    /// A call that takes longer than this is stopped, and counts as a failed attempt.
    #[serde(default = "Common::default_timeout")]
    pub timeout: HumanDuration,
    /// How many items are processed at the same time, at most. By default as many as the machine has cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub concurrency: Option<u16>,
    /// What happens with an item that fails.
    #[serde(default)]
    pub on_error: OnError,
    /// Whether every result is committed at once, rather than together with those of the processors that follow.
    #[serde(default)]
    pub checkpoint: bool,
    /// Whether results are remembered, so that a reprocess does only again what changed.
    #[serde(default)]
    pub memo: Memo,
    /// Free labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Common {
    /// An hour: long enough for work that was done by hand before, short enough that a hanging script is noticed.
    pub fn default_timeout() -> HumanDuration {
        HumanDuration::from_secs(3600)
    }

    /// All defaults, for a processor of this id and kind.
    pub fn new(id: impl Into<String>, kind: impl Into<String>) -> Common {
        Common {
            id: id.into(),
            kind: kind.into(),
            description: None,
            phase: None,
            inputs: Vec::new(),
            timeout: Common::default_timeout(),
            concurrency: None,
            on_error: OnError::default(),
            checkpoint: false,
            memo: Memo::default(),
            labels: BTreeMap::new(),
        }
    }
}

fn id_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "id", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$" })
}

/// Whether `text` can be the id of a processor or the name of a port.
pub(crate) fn is_id(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 64 && text.starts_with(word) && text.chars().all(|c| word(c) || c == '-')
}

/// What happens with an item that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OnError {
    /// How often a failed item is tried again before it becomes a dead letter. A rejected item is not tried again.
    #[schemars(range(max = 1000))]
    pub retries: u16,
    /// The wait before the first retry; every further wait is twice as long.
    pub backoff: HumanDuration,
    /// The longest wait between two retries.
    pub max_backoff: HumanDuration,
}

impl Default for OnError {
    fn default() -> OnError {
        OnError { retries: 2, backoff: HumanDuration::from_secs(1), max_backoff: HumanDuration::from_secs(300) }
    }
}

/// Whether results are remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Memo {
    /// When a result was dearer to compute than to remember.
    #[default]
    Auto,
    /// Every result.
    Always,
    /// None.
    Never,
}

/// A column on the canvas.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Counted from 1.
    Number(u32),
    /// One of the flow's `phases`.
    Name(String),
}

impl Serialize for Phase {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Phase::Number(number) => serializer.serialize_u32(*number),
            Phase::Name(name) => serializer.serialize_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for Phase {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Phase, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(name) => Ok(Phase::Name(name)),
            Value::Number(number) => number
                .as_u64()
                .and_then(|number| u32::try_from(number).ok())
                .map(Phase::Number)
                .ok_or_else(|| de::Error::custom("a phase is a number from 1 or a name")),
            _ => Err(de::Error::custom("a phase is a number from 1 or a name")),
        }
    }
}

impl JsonSchema for Phase {
    fn schema_name() -> Cow<'static, str> {
        "Phase".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "integer", "minimum": 1, "maximum": 1000 }, { "type": "string", "minLength": 1 }] })
    }
}

/// An input as written: `processor` or `processor.port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InputRef {
    /// The id of the processor that is read.
    pub processor: String,
    /// The named output; `None` is the default one.
    pub port: Option<String>,
}

impl InputRef {
    /// Reads `processor` or `processor.port`.
    pub fn parse(text: &str) -> Option<InputRef> {
        match text.split_once('.') {
            None => is_id(text).then(|| InputRef { processor: text.to_owned(), port: None }),
            Some((processor, port)) => (is_id(processor) && is_id(port))
                .then(|| InputRef { processor: processor.to_owned(), port: Some(port.to_owned()) }),
        }
    }

    /// The port by name.
    pub fn port(&self) -> &str {
        self.port.as_deref().unwrap_or(crate::kinds::DEFAULT_PORT)
    }
}

impl fmt::Display for InputRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.processor)?;
        match &self.port {
            Some(port) => write!(f, ".{port}"),
            None => Ok(()),
        }
    }
}

/// `inputs` is a list, or one text for a single input.
mod inputs {
    use super::{Deserialize, Deserializer, InputRef, Serializer, Value, de};

    pub(super) fn serialize<S: Serializer>(inputs: &[InputRef], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(inputs.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<InputRef>, D::Error> {
        let one = |value: &Value| {
            value
                .as_str()
                .and_then(InputRef::parse)
                .ok_or_else(|| de::Error::custom("an input is `processor` or `processor.port`"))
        };
        match Value::deserialize(deserializer)? {
            Value::Array(list) => list.iter().map(one).collect(),
            single => Ok(vec![one(&single)?]),
        }
    }
}

fn inputs_schema(_: &mut SchemaGenerator) -> Schema {
    let pattern = "^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}([.][A-Za-z0-9_][A-Za-z0-9_-]{0,63})?$";
    let input = serde_json::json!({ "type": "string", "format": "input", "pattern": pattern });
    json_schema!({ "anyOf": [{ "type": "array", "items": input }, input] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs() {
        for (name, expected) in [
            ("Uppercase", "uppercase"),
            ("  Penguin survey, 2008! ", "penguin-survey-2008"),
            ("Käse & Brot", "käse-brot"),
            ("日報", "日報"),
            ("…", ""),
            ("İ", "i"),
        ] {
            assert_eq!(slug(name), expected, "{name}");
        }
        assert_eq!(slug(&"x".repeat(500)).chars().count(), 64);
        assert!(!slug(&"xy ".repeat(50)).ends_with('-'));
    }

    #[test]
    fn inputs_name_a_processor_and_perhaps_a_port() {
        assert_eq!(InputRef::parse("a"), Some(InputRef { processor: "a".into(), port: None }));
        assert_eq!(InputRef::parse("a-b.c_d").map(|i| i.to_string()).as_deref(), Some("a-b.c_d"));
        for bad in ["", ".", "a.", ".a", "a.b.c", "a b", "-a", "ä", &"x".repeat(65)] {
            assert_eq!(InputRef::parse(bad), None, "{bad}");
        }
    }
}
