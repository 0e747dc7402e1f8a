//! A handful of kinds in the likeness of the real ones, for the tests of this crate.

use super::ProcessorDoc;
use super::flow::is_id;
use super::values::{ByteSize, HumanDuration};
use crate::kinds::{
    Class, DestinationConfig, Determinism, Environment, Facts, Files, KindInfo, Kinds, Problem, Role, SourceConfig,
    schema_of,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// DESIGN.md, section 3.
pub(crate) const DESIGN: &str = r#"name: Uppercase
description: Shout whatever lands in the inbox.
processors:
  - id: inbox
    type: ingest
    phase: 1
    source: { type: file_drop, path: ./inbox, pattern: "*.txt" }
  - id: shout
    type: script
    phase: 2
    inputs: [inbox]
    language: python
    code: |
      def process(data: bytes) -> bytes:
          return data.upper()
    on_error: { retries: 2, backoff: 1s }        # then: a dead letter
  - id: shelf
    type: collect
    phase: 3
    inputs: [shout]
    collection: Shouting
    destination: { type: folder, path: ./outbox, name: "{stem}.upper.txt" }
"#;

/// A flow with every sort of thing in it.
pub(crate) const PENGUINS: &str = r#"name: Penguins
description: Clean, split by island, sort.
phases: [in, work, out]
labels: { team: biology }
processors:
  - id: inbox
    type: ingest
    phase: in
    source: { type: file_drop, path: ./inbox, settle: 2s, after: move, to: ./done }
  - { id: other, type: ingest, source: { type: file_drop, path: ./other, pattern: "{{ secrets.PATTERN }}" } }
  - id: clean
    type: script
    inputs: [inbox, other]
    language: python
    file: ./clean.py
    outputs: [bad]
    deterministic: true
    timeout: 30s
  - id: island
    type: route
    inputs: clean
    ports: { biscoe: attributes.island == "Biscoe", dream: attributes.island == "Dream" }
  - id: sort
    type: external
    inputs: [island.biscoe, island.dream]
    command: [sort, "-t,"]
    limit: 64 MiB
    checkpoint: true
    memo: always
  - id: shelf
    type: collect
    phase: out
    inputs: [sort, clean.bad]
    collection: Penguins
"#;

pub(crate) const CLEAN_PY: &str = "def process(data):\n    return data\n";

/// Where the items come from.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Ingest {
    /// The source.
    source: SourceConfig,
}

/// What happens to a file that was taken.
#[derive(Deserialize, Serialize, JsonSchema, Default, PartialEq)]
#[serde(rename_all = "lowercase")]
enum After {
    /// It stays.
    #[default]
    Keep,
    /// It goes.
    Delete,
    /// It goes to `to`.
    Move,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileDrop {
    /// The folder.
    #[schemars(length(min = 1))]
    path: String,
    /// Which names.
    #[serde(default)]
    pattern: Option<String>,
    /// Whether folders below count.
    #[serde(default)]
    recursive: bool,
    /// How long a file has to be quiet.
    #[serde(default)]
    settle: Option<HumanDuration>,
    /// What happens then.
    #[serde(default)]
    after: After,
    /// Where to.
    #[serde(default)]
    to: Option<String>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Language {
    Python,
    Clojure,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Script {
    /// The language.
    language: Language,
    /// The code.
    #[serde(default)]
    #[schemars(extend("format" = "code"))]
    code: Option<String>,
    /// Or its file.
    #[serde(default)]
    file: Option<String>,
    /// Further ports.
    #[serde(default)]
    outputs: Vec<String>,
    /// Whether equal inputs give equal outputs.
    #[serde(default)]
    deterministic: bool,
    /// Free parameters.
    #[serde(default)]
    parameters: BTreeMap<String, Value>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Route {
    /// Expressions by port.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 8))]
    ports: BTreeMap<String, String>,
}

/// How a group closes.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(tag = "mode", rename_all = "lowercase", deny_unknown_fields)]
enum Close {
    /// By number.
    Count {
        /// How many.
        items: u32,
    },
    /// By time.
    Quiet {
        /// How long.
        time: HumanDuration,
    },
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct External {
    /// The command and its arguments.
    #[schemars(length(min = 1, max = 100))]
    command: Vec<String>,
    /// The most it may write.
    #[serde(default)]
    limit: Option<ByteSize>,
    /// How nice.
    #[serde(default)]
    nice: Option<i8>,
    /// What share of the processor.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    share: Option<f64>,
    /// A word.
    #[serde(default)]
    #[schemars(regex(pattern = "^[a-z]+$"), length(max = 8))]
    word: Option<String>,
    /// When a group closes.
    #[serde(default)]
    close: Option<Close>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Collect {
    /// The shelf.
    collection: String,
    /// Where results go.
    #[serde(default)]
    destination: Option<DestinationConfig>,
}

/// What happens when the name is taken.
#[derive(Deserialize, Serialize, JsonSchema, Default)]
#[serde(rename_all = "lowercase")]
enum IfExists {
    /// A new version.
    #[default]
    Version,
    /// Over it.
    Overwrite,
    /// A dead letter.
    Fail,
    /// Leave it.
    Keep,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Folder {
    /// The folder.
    path: String,
    /// The name.
    #[serde(default)]
    name: Option<String>,
    /// When the name is taken.
    #[serde(default)]
    if_exists: IfExists,
}

/// The kinds of the tests.
pub(crate) struct Fake(Vec<KindInfo>);

pub(crate) fn kinds() -> Fake {
    let info = |class, role, name: &str, schema| KindInfo {
        name: name.to_owned(),
        class,
        role,
        summary: format!("A {name}."),
        docs: format!("What a {name} does."),
        schema,
        examples: vec![format!("type: {name}\n")],
    };
    Fake(vec![
        info(Class::Processor, Role::Ingest, "ingest", schema_of::<Ingest>()),
        info(Class::Processor, Role::Transform, "script", schema_of::<Script>()),
        info(Class::Processor, Role::Transform, "route", schema_of::<Route>()),
        info(Class::Processor, Role::Transform, "external", schema_of::<External>()),
        info(Class::Processor, Role::Collect, "collect", schema_of::<Collect>()),
        info(Class::Source, Role::Transform, "file_drop", schema_of::<FileDrop>()),
        info(Class::Destination, Role::Transform, "folder", schema_of::<Folder>()),
    ])
}

pub(crate) fn files() -> BTreeMap<String, Vec<u8>> {
    BTreeMap::from([("clean.py".to_owned(), CLEAN_PY.as_bytes().to_vec())])
}

fn typed<C: serde::de::DeserializeOwned>(config: &Map<String, Value>) -> Result<C, Vec<Problem>> {
    serde_json::from_value(Value::Object(config.clone()))
        .map_err(|e| vec![Problem::new("", crate::diagnostic::codes::INVALID_CONFIG, e.to_string())])
}

impl Kinds for Fake {
    fn get(&self, class: Class, name: &str) -> Option<&KindInfo> {
        self.0.iter().find(|info| info.class == class && info.name == name)
    }

    fn list(&self) -> Vec<&KindInfo> {
        self.0.iter().collect()
    }

    fn prepare(&self, processor: &ProcessorDoc, files: &dyn Files) -> Result<Facts, Vec<Problem>> {
        let fixed = Facts { determinism: Determinism::ByConstruction, ..Facts::default() };
        match processor.kind.as_str() {
            "ingest" => {
                let config: Ingest = typed(&processor.config)?;
                let drop: FileDrop = typed(&config.source.0.config)?;
                if drop.after == After::Move && drop.to.is_none() {
                    let problem = Problem::new("/after", "missing-to", "`after: move` needs `to`").hint("add `to:`");
                    return Err(vec![problem.below("/source")]);
                }
                Ok(fixed)
            }
            "script" => script(&typed(&processor.config)?, files),
            "route" => {
                let config: Route = typed(&processor.config)?;
                let mut problems = Vec::new();
                for (port, expression) in &config.ports {
                    if let Some(at) = expression.find("==").is_none().then_some(1) {
                        problems.push(
                            Problem::new(format!("/ports/{port}"), "bad-expression", "not an expression").at(1, at),
                        );
                    }
                }
                if !problems.is_empty() {
                    return Err(problems);
                }
                let outputs = config.ports.into_keys().filter(|port| is_id(port)).collect();
                Ok(Facts { default_output: false, outputs, ..fixed })
            }
            "external" => {
                let config: External = typed(&processor.config)?;
                Ok(Facts {
                    warnings: config
                        .nice
                        .filter(|nice| *nice < 0)
                        .map(|_| Problem::new("/nice", "not-nice", "only root may do that"))
                        .into_iter()
                        .collect(),
                    ..Facts::default()
                })
            }
            "collect" => typed::<Collect>(&processor.config).map(|_| fixed),
            other => Err(vec![Problem::new("", crate::diagnostic::codes::UNKNOWN_KIND, other.to_owned())]),
        }
    }
}

fn script(config: &Script, files: &dyn Files) -> Result<Facts, Vec<Problem>> {
    let (pointer, file, code) = match (&config.code, &config.file) {
        (Some(code), None) => ("/code", None, code.clone()),
        (None, Some(file)) => match files.read(file) {
            Ok(bytes) => ("/file", Some(file.clone()), String::from_utf8_lossy(&bytes).into_owned()),
            Err(problem) => {
                return Err(vec![Problem::new(
                    "/file",
                    crate::diagnostic::codes::BAD_FILE,
                    format!("`{file}`: {problem}"),
                )]);
            }
        },
        _ => {
            return Err(vec![Problem::new("", "no-code", "a script needs `code` or `file`").hint("write one of them")]);
        }
    };
    let mut problems = Vec::new();
    for (number, line) in code.lines().enumerate() {
        if let Some(column) = line.find("!!!") {
            let mut problem = Problem::new(pointer, "bad-code", "invalid syntax").at(number + 1, column + 1);
            problem.file.clone_from(&file);
            problems.push(problem);
        }
    }
    if !code.contains("def process") {
        problems.push(Problem::new(pointer, "no-process", "there is no function `process`"));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Facts {
        outputs: config.outputs.clone(),
        determinism: if config.deterministic { Determinism::Declared } else { Determinism::Unknown },
        determinism_hint: Some("say `deterministic: true` if equal inputs give equal outputs".to_owned()),
        files: file.into_iter().collect(),
        code: if config.code.is_some() { vec!["/code".to_owned()] } else { Vec::new() },
        environment: code
            .contains("# ///")
            .then(|| Environment { language: "python".to_owned(), requirements: code.clone() }),
        ..Facts::default()
    })
}
