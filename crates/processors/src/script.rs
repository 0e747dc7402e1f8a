//! Processor `script`: a function of the user's, run in worker processes of its own.
//!
//! What a script may be is said in [`DOCS`]; how it is run lives in `opendmp-script`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use opendmp_model::diagnostic::codes;
use opendmp_model::document::{ByteSize, ProcessorDoc};
use opendmp_model::fault::{Fault, FaultKind, LogLine};
use opendmp_model::ids::ContentHash;
use opendmp_model::kinds::{
    self as model, Class, Determinism, Facts, FileProblem, Files, KindInfo, Problem, Role, schema_of,
};
use opendmp_processor::{
    Body, Context, Done, Emission, Emissions, Input, NewContent, Opened, Outcome, Place, Processor, ProcessorKind,
    Progress, Registry, SharedFiles, Stream, config, saved_config,
};
use opendmp_sandbox::Site;
use opendmp_script::environment::{self, Environment, Lock, Metadata, Tools};
use opendmp_script::{
    CallContent, CallItem, ChildContent, Language, PoolKey, Pools, ScratchFile, ScriptSpec, SyntaxProblem,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::isolation::{self, Home, Network, rules};
use crate::scratch::fills_the_disk;

/// The config of a `script`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The language of the script.
    #[serde(default)]
    pub language: ScriptLanguage,
    /// The script itself. Either this or `file`.
    #[serde(default)]
    #[schemars(extend("format" = "code"))]
    pub code: Option<String>,
    /// The file the script is in, relative to the flow file. Either this or `code`.
    #[serde(default)]
    pub file: Option<String>,
    /// Names of further output ports, which the script chooses with `item.with_(…, port="name")`.
    #[serde(default)]
    pub outputs: Vec<String>,
    /// The most memory a worker may take, its child processes included. The item under way when it takes more fails.
    #[serde(default = "default_memory")]
    pub memory: ByteSize,
    /// Folders the script may write to, relative to the flow file, in addition to its scratch folder (which is its working
    /// directory), `/tmp` and those of `opendmp serve --writable`.
    #[serde(default)]
    pub writable: Vec<String>,
    /// The home folder of the user that runs OpenDMP: `readable`, or `private`: it appears empty.
    #[serde(default)]
    pub home: Home,
    /// Whether it may use the network: `on` or `off`.
    #[serde(default)]
    pub network: Network,
    /// How tables of rows (CSV and the like) are read and written, where the file itself does not tell.
    #[serde(default)]
    pub table: Option<Table>,
    /// Whether equal items always give equal results, which only you can know: a script that asks the clock, the
    /// network or a random number does not.
    #[serde(default)]
    pub deterministic: bool,
}

/// How tables of rows are read and written. What is not said is found out from each file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// What is between two cells: one ASCII character, `"\t"` for a tab. Else, or with `auto`, a `sep=` line tells, or
    /// the first lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub delimiter: Option<String>,
    /// The decimal sign, `.` or `,`. Else a column has decimal commas if all its cells do and the delimiter is no comma.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decimal: Option<Decimal>,
    /// The encoding by Python's name, such as `windows-1252` or `utf-16le`. Else a byte-order mark tells, or it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// Texts that stand for a missing value, instead of the library's own (`NA`, `NaN`, `null` and more for pandas). An
    /// empty cell is one always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub na_values: Option<Vec<String>>,
    /// What columns hold, by name: `str`, `int`, `float` or `bool`. A column that is not named is looked at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dtype: BTreeMap<String, ColumnType>,
    /// Whether the first row has the names of the columns.
    #[serde(default = "yes")]
    pub header: bool,
    /// How many lines come before the header. They are written again before the header of a result.
    #[serde(default)]
    pub skip_rows: u32,
}

impl Table {
    fn problem(&self) -> Option<Problem> {
        let right = |delimiter: &str| {
            let one = matches!(delimiter.as_bytes(), [byte] if byte.is_ascii() && !b"\"\r\n\0".contains(byte));
            one || delimiter == "auto"
        };
        let wrong = self.delimiter.as_deref().is_some_and(|delimiter| !right(delimiter));
        wrong.then(|| {
            let message = "a delimiter is one ASCII character, and no quote";
            let problem = Problem::new("/table/delimiter", codes::INVALID_CONFIG, message);
            problem.hint("write `;` for example, or `\"\\t\"` for a tab, or `auto`")
        })
    }
}

/// A decimal sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Decimal {
    /// 1.5
    #[serde(rename = ".")]
    Point,
    /// 1,5
    #[serde(rename = ",")]
    Comma,
}

/// What a column of a table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// Text, as it stands in the file.
    Str,
    /// Whole numbers.
    Int,
    /// Numbers.
    Float,
    /// `true` and `false`.
    Bool,
}

fn yes() -> bool {
    true
}

/// A language of scripts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ScriptLanguage {
    /// CPython 3.9 or newer.
    #[default]
    Python,
}

fn default_memory() -> ByteSize {
    ByteSize::mib(2048)
}

const DOCS: &str = "\
A script is one function `process`. What it takes and gives is said by its annotations: `bytes`, `str`, `dict` or `list` \
(JSON), `pathlib.Path`, a pandas, polars or pyarrow table, or `Item`. Nothing has to be imported or installed for that.

    def process(data: bytes) -> bytes:
        return data.upper()

    def process(item: Item) -> Iterator[Item]:
        for key, part in split(item.json()):
            yield item.with_(part, name=f\"{item.stem}-{key}.json\", region=key)

`Item` has `name`, `stem`, `ext`, `media_type`, `attributes`, `size`, `hash`, `bytes()`, `text()`, `json()`, `path()`, \
`open()` and `with_(content, *, name=, media_type=, port=, **attributes)`. Give back one result (a list is one JSON \
document), `None` to drop the item, or an iterator for many. `opendmp.reject(\"why\")` says that the item is at fault, \
`opendmp.retry(\"why\", after=60)` that the world is. Any other exception is tried again as `on_error` says, and then \
makes a dead letter. What is printed or logged becomes the item's log.

A table is read so that nothing of a file disappears without a word, and cells that the script does not change are written \
as they stood. `table` says what a file does not tell by itself:

    table: { encoding: windows-1252, skip_rows: 2, dtype: { month: int } }

A script can read what the server's user can read, except OpenDMP's own data, and write only to its working directory, a \
`/tmp` of its own and the folders named in `writable`. It sees no other processes, and what it started ends with it.

Packages are named in the script, as PEP 723 has it, and resolved when the flow is saved:

    # /// script
    # dependencies = [\"pandas\"]
    # ///
";

/// The processor kind `script`.
pub struct Kind {
    info: KindInfo,
    tools: Tools,
    environments: PathBuf,
    pools: Arc<Pools>,
    site: Arc<Site>,
    checked: Mutex<HashMap<ContentHash, Option<SyntaxProblem>>>,
    /// The machine's own Python, and when its program was changed last.
    system: tokio::sync::Mutex<Option<(Environment, SystemTime)>>,
}

impl Kind {
    /// The machine's own Python: asked once, not by every script of every flow, since asking starts it.
    async fn system(&self) -> Result<Environment, opendmp_script::Error> {
        let mut known = self.system.lock().await;
        let changed = |environment: &Environment| environment.interpreter.metadata().and_then(|m| m.modified()).ok();
        if let Some((environment, when)) = &*known
            && changed(environment) == Some(*when)
        {
            return Ok(environment.clone());
        }
        let environment = Environment::system(self.tools.python.as_deref()).await?;
        *known = changed(&environment).map(|when| (environment.clone(), when));
        Ok(environment)
    }

    /// Scripts that run in these pools, with environments made by these tools and kept in a folder.
    pub fn new(pools: Arc<Pools>, tools: Tools, environments: PathBuf, site: Arc<Site>) -> Self {
        let info = KindInfo {
            name: "script".to_owned(),
            class: Class::Processor,
            role: Role::Transform,
            summary: "Runs a function of yours on each item.".to_owned(),
            docs: DOCS.to_owned(),
            schema: schema_of::<Config>(),
            examples: vec![
                "id: shout\ntype: script\ninputs: [inbox]\ncode: |\n  def process(data: bytes) -> bytes:\n      return data.upper()\n"
                    .to_owned(),
                "id: clean\ntype: script\ninputs: [inbox]\nfile: ./clean.py\noutputs: [bad]\ntimeout: 5m\n".to_owned(),
            ],
        };
        Self {
            info,
            tools,
            environments,
            pools,
            site,
            checked: Mutex::default(),
            system: tokio::sync::Mutex::default(),
        }
    }

    /// The code, and the name it goes by in tracebacks.
    fn code(&self, id: &str, read: &Config, files: &dyn Files) -> Result<(String, String), Problem> {
        match (&read.code, &read.file) {
            (Some(code), None) => Ok((code.clone(), format!("{id}.py"))),
            (None, Some(file)) => {
                let bytes = files.read(file).map_err(|problem| file_problem(file, &problem))?;
                let name = file.rsplit('/').next().unwrap_or(file).to_owned();
                let text = String::from_utf8(bytes).map_err(|_| {
                    Problem::new("/file", "not-utf8", format!("`{file}` is not UTF-8 text"))
                        .hint("save it with that encoding")
                })?;
                Ok((text, name))
            }
            (None, None) => Err(Problem::new("", "no-code", "a script needs `code` or `file`")
                .hint("write `code: |` and the function below it, or `file: ./clean.py`")),
            (Some(_), Some(_)) => {
                Err(Problem::new("/file", "two-codes", "a script has `code` or `file`, not both").hint("remove one"))
            }
        }
    }
}

/// How many answers about scripts are remembered.
const MOST_CHECKED: usize = 1_000;

impl Kind {
    /// Looks at a script without running it; once for each text, because it starts an interpreter. `Err` says why it
    /// could not be looked at, with a hint.
    fn check(&self, code: &str, name: &str) -> Result<Option<SyntaxProblem>, (String, Option<String>)> {
        let key = ContentHash::of(code.as_bytes());
        let mut known = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = known.get(&key) {
            return Ok(answer.clone());
        }
        let interpreter = self.tools.python.clone().unwrap_or_else(|| PathBuf::from("python3"));
        let (text, name) = (code.to_owned(), name.to_owned());
        let asked = wait_for(async move { opendmp_script::check_syntax(&interpreter, &text, &name).await });
        let answer = match asked {
            Ok(Ok(inspected)) => inspected.err(),
            Ok(Err(error)) => return Err((error.to_string(), error.hint())),
            Err(message) => return Err((message, None)),
        };
        if known.len() >= MOST_CHECKED {
            known.clear();
        }
        known.insert(key, answer.clone());
        Ok(answer)
    }
}

fn file_problem(file: &str, problem: &FileProblem) -> Problem {
    let found = Problem::new("/file", "bad-file", format!("`{file}`: {problem}"));
    found.hint("paths are relative to the flow file")
}

/// Runs something async from the offline check, which is not. Checks run beside the runtime's own threads.
fn wait_for<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, String> {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        Ok(runtime.block_on(work))
    };
    std::thread::spawn(run).join().unwrap_or_else(|_| Err("the check ended early".to_owned()))
}

#[async_trait]
impl ProcessorKind for Kind {
    fn info(&self) -> &KindInfo {
        &self.info
    }

    fn prepare(&self, _: &Registry, doc: &ProcessorDoc, files: &dyn Files) -> Result<Facts, Vec<Problem>> {
        let read: Config = config(&doc.config).map_err(|problem| vec![problem])?;
        let mut problems = Vec::new();
        for (n, port) in read.outputs.iter().enumerate() {
            if port == model::DEFAULT_PORT || read.outputs[..n].contains(port) {
                let message = format!("`{port}` is there already");
                problems.push(Problem::new(format!("/outputs/{n}"), "port-clash", message).hint("choose another name"));
            }
        }
        problems.extend(isolation::problems(&read.writable));
        problems.extend(read.table.as_ref().and_then(Table::problem));
        let (code, name) = match self.code(&doc.id, &read, files) {
            Ok(code) => code,
            Err(problem) => {
                problems.push(problem);
                return Err(problems);
            }
        };
        let mut warnings = Vec::new();
        let place = |line: u32, column: u32, code: &'static str, message: String| {
            let at = |problem: Problem| problem.at(line.max(1) as usize, column.max(1) as usize);
            match &read.file {
                Some(file) => at(Problem::new("/file", code, message).in_file(file.clone())),
                None => at(Problem::new("/code", code, message)),
            }
        };
        let checked = if files.were_checked() { Ok(None) } else { self.check(&code, &name) };
        match checked {
            Ok(None) => {}
            Ok(Some(problem)) => {
                let (line, column) = (problem.line.unwrap_or(1), problem.column.unwrap_or(1));
                let mut found = place(line, column, "bad-code", problem.message);
                found.hint = problem.hint;
                problems.push(found);
            }
            // Without an interpreter the code can't be checked; it can't be run either, which is said at save.
            Err((message, hint)) => warnings.push(no_check(&message, hint)),
        }
        let requirements = match Metadata::parse(&code) {
            Ok(metadata) => metadata.map(|metadata| metadata.dependencies.join(", ")),
            Err(error) => {
                problems.push(place(1, 1, "bad-metadata", error.to_string()));
                None
            }
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Facts {
            outputs: read.outputs.clone(),
            determinism: if read.deterministic { Determinism::Declared } else { Determinism::Unknown },
            determinism_hint: Some("if equal items always give equal results, say `deterministic: true`".to_owned()),
            files: read.file.clone().into_iter().collect(),
            code: if read.code.is_some() { vec!["/code".to_owned()] } else { Vec::new() },
            environment: requirements
                .map(|requirements| model::Environment { language: "python".to_owned(), requirements }),
            warnings,
            ..Facts::default()
        })
    }

    async fn lock(
        &self,
        doc: &ProcessorDoc,
        files: &dyn SharedFiles,
        progress: &Progress,
    ) -> Result<Option<String>, Fault> {
        let read: Config = saved_config(&doc.config)?;
        let code = self.code(&doc.id, &read, files);
        let (code, _) = code.map_err(|problem| Fault::new(FaultKind::Failed, problem.code, problem.message))?;
        let lock = environment::lock(&code, &self.tools, Arc::clone(progress)).await.map_err(|error| fault(&error))?;
        let Some(lock) = lock else { return Ok(None) };
        // Made now, so that the first item does not wait for it, and so that what can't be made is told at save.
        let made = environment::ensure(&lock, &self.tools, &self.environments, Arc::clone(progress)).await;
        made.map_err(|error| fault(&error))?;
        Ok(Some(lock.text().to_owned()))
    }

    fn places(&self, _: &Registry, doc: &ProcessorDoc, base: &Path) -> Vec<Place> {
        config::<Config>(&doc.config).map_or_else(|_| Vec::new(), |read| isolation::places(&read.writable, base))
    }

    async fn open(&self, _: &Registry, doc: &ProcessorDoc, context: &Context) -> Result<Opened, Fault> {
        let read: Config = saved_config(&doc.config)?;
        let code = self.code(&doc.id, &read, &context.files);
        let (code, file_name) = code.map_err(|problem| Fault::new(FaultKind::Failed, problem.code, problem.message))?;
        let packages = match &context.lock {
            Some(text) => Some(Packages {
                lock: Lock::parse(text).map_err(|error| fault(&error))?,
                processor: doc.id.clone(),
                tools: self.tools.clone(),
                folder: self.environments.clone(),
            }),
            None => None,
        };
        let environment = match &packages {
            Some(packages) => packages.ensure().await,
            None => self.system().await,
        };
        let environment = environment.map_err(|error| fault(&error))?;
        let key = PoolKey::new(context.flow.clone(), &environment);
        let rules = rules(&read.writable, read.home, read.network, context, &self.site)?;
        let spec = ScriptSpec {
            language: Language::Python,
            code,
            file_name,
            outputs: read.outputs,
            environment,
            timeout: context.timeout,
            memory_limit: read.memory.get(),
            rules,
            parameters: read.table.map_or(Value::Null, |table| json!({ "table": table })),
        };
        Ok(Opened::Transform(Arc::new(Script { pools: Arc::clone(&self.pools), key, spec: Arc::new(spec), packages })))
    }
}

fn no_check(message: &str, hint: Option<String>) -> Problem {
    let problem = Problem::new("", "not-checked", format!("the code was not checked: {message}"));
    match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// An error of the machinery around scripts. What the script itself does while it is loaded is its own fault; that
/// nothing can be started at all is not, and is tried again for as long as it takes.
fn fault(error: &opendmp_script::Error) -> Fault {
    use opendmp_script::Error;
    if let Error::Folder { path, source } = error
        && opendmp_sandbox::is_closed(source)
    {
        return isolation::closed(path);
    }
    let kind = match error {
        Error::FillsTheDisk { folder } => return fills_the_disk("the script", folder),
        Error::Interpreter { .. } | Error::Start { .. } | Error::Environment { .. } | Error::Closed => {
            FaultKind::Unavailable
        }
        _ => FaultKind::Failed,
    };
    let mut fault = Fault::new(kind, "script-not-started", error.to_string());
    fault.hint = error.hint();
    if let Error::Load { failure, .. } = error {
        place(&mut fault, failure);
    }
    fault
}

/// Says where in the script it was.
fn place(fault: &mut Fault, failure: &opendmp_script::Failure) {
    if fault.hint.is_none() {
        fault.hint = opendmp_sandbox::refused_write_hint(&failure.message);
    }
    fault.traceback = (!failure.traceback.is_empty()).then(|| failure.traceback.clone());
    if let (Some(file), Some(line)) = (&failure.file, failure.line) {
        fault.place = Some((format!("{file}:{line}"), failure.source_line.clone().unwrap_or_default()));
    }
}

/// The packages of a script, of which its environment is made.
struct Packages {
    lock: Lock,
    processor: String,
    tools: Tools,
    folder: PathBuf,
}

impl Packages {
    /// The environment, made where it is not there.
    async fn ensure(&self) -> Result<Environment, opendmp_script::Error> {
        let processor = self.processor.clone();
        let tell: Progress = Arc::new(move |line| tracing::info!(processor, "{line}"));
        environment::ensure(&self.lock, &self.tools, &self.folder, tell).await
    }
}

/// An open script.
struct Script {
    pools: Arc<Pools>,
    key: PoolKey,
    spec: Arc<ScriptSpec>,
    packages: Option<Packages>,
}

#[async_trait]
impl Processor for Script {
    fn environment(&self) -> Option<String> {
        let environment = &self.spec.environment;
        let packages = environment.root.as_ref().map(|_| format!(", packages {}", environment.id));
        Some(format!("Python {}{}", environment.version, packages.unwrap_or_default()))
    }

    fn batch(&self) -> usize {
        opendmp_model::item::BUNDLE_ITEMS
    }

    async fn process(&self, inputs: Vec<Input>) -> Result<Vec<Done>, Fault> {
        let mut items = Vec::with_capacity(inputs.len());
        for input in inputs {
            items.push(CallItem {
                name: input.item.name,
                media_type: input.item.media_type,
                attributes: input.item.attributes.to_json(),
                hash: input.item.content.hash.0,
                size: input.item.content.size,
                content: match input.body {
                    Body::Unread => CallContent::Bytes(bytes::Bytes::new()),
                    Body::Bytes(bytes) => CallContent::Bytes(bytes),
                    Body::File(file) => CallContent::File(file.try_clone().map_err(|error| {
                        Fault::new(
                            FaultKind::Unavailable,
                            "no-descriptor",
                            format!("a file can't be opened again: {error}"),
                        )
                    })?),
                },
            });
        }
        // Environments may be deleted, also while they are in use.
        if let Some(packages) = &self.packages
            && !tokio::fs::try_exists(&self.spec.environment.interpreter).await.unwrap_or(true)
        {
            packages.ensure().await.map_err(|error| fault(&error))?;
        }
        let results = self.pools.call(&self.key, &self.spec, items).await.map_err(|error| fault(&error))?;
        Ok(results.into_iter().map(done).collect())
    }

    async fn warm(&self) {
        // What is wrong shows at the first call, which has an item to tell it of.
        let _ = self.pools.warm(&self.key, &self.spec).await;
    }

    async fn close(&self) {
        self.pools.close(&self.key).await;
    }
}

fn done(result: opendmp_script::CallResult) -> Done {
    use opendmp_script::Outcome as Said;
    let mut log: Vec<LogLine> =
        result.log.into_iter().map(|line| LogLine { level: line.level.as_str().to_owned(), text: line.text }).collect();
    if result.log_left_out > 0 {
        let text = format!("{} more bytes of log were left out", result.log_left_out);
        log.push(LogLine { level: "warning".to_owned(), text });
    }
    let failed = |kind, code: &str, message: String| Outcome::Fault(Fault::new(kind, code, message));
    let outcome = match result.outcome {
        Said::Emit { many, children } => Outcome::Emit { many, children: children.into_iter().map(emission).collect() },
        Said::Spooled(children) => Outcome::Stream(Emissions::new(children.map(|child| match child {
            Ok(child) => Ok(emission(child)),
            Err(error) => {
                let message = format!("the results can't be read from their scratch file: {error}");
                Err(Fault::new(FaultKind::Unavailable, "scratch", message))
            }
        }))),
        Said::Reject { reason } => failed(FaultKind::Rejected, "rejected", reason),
        Said::Retry { reason, after } => {
            Outcome::Fault(Fault::new(FaultKind::Unavailable, "retry", reason).with_retry_after(after))
        }
        Said::Failed(failure) => {
            let mut fault = Fault::new(FaultKind::Failed, &failure.kind, &failure.message);
            fault.hint.clone_from(&failure.hint);
            place(&mut fault, &failure);
            Outcome::Fault(fault)
        }
        Said::TimedOut { after } => {
            failed(FaultKind::TimedOut, "timed-out", format!("it took longer than {}, and was stopped", show(after)))
        }
        Said::OverMemory { limit } => {
            let fault = Fault::new(
                FaultKind::OverMemory,
                "over-memory",
                format!("it wanted more than {} MiB of memory, and was stopped", limit >> 20),
            );
            Outcome::Fault(fault.with_hint("raise `memory`, or read the content in parts with `item.open()`"))
        }
        Said::FillsTheDisk { folder } => Outcome::Fault(fills_the_disk("the script", &folder)),
        Said::Crashed { status, stderr } => {
            let mut fault = Fault::new(FaultKind::Crashed, "crashed", format!("the worker process died: {status}"));
            fault.traceback = (!stderr.trim().is_empty()).then_some(stderr);
            Outcome::Fault(fault)
        }
    };
    Done { outcome, log, took: result.took, note: None }
}

fn show(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{} ms", duration.as_millis())
    }
}

fn emission(child: opendmp_script::Child) -> Emission {
    Emission {
        port: child.port.map(Into::into),
        name: child.name,
        media_type: child.media_type,
        attributes: child.attributes,
        content: match child.content {
            ChildContent::Same => NewContent::Same,
            ChildContent::Bytes(bytes) => NewContent::Bytes(bytes),
            ChildContent::File(file) => NewContent::Stream(Arc::new(Large(file))),
        },
    }
}

/// A large result in a scratch file of the worker.
#[derive(Debug)]
struct Large(ScratchFile);

impl Stream for Large {
    fn open(&self) -> std::io::Result<Box<dyn std::io::Read + Send>> {
        Ok(Box::new(self.0.open()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Result<Value, String> {
        let read: Config = serde_json::from_str(text).map_err(|error| error.to_string())?;
        serde_json::to_value(read.table).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_said_of_tables_goes_to_the_worker_as_it_stands() {
        let all = r#"{"table":{"delimiter":";","decimal":",","encoding":"cp1252","na_values":["-"],
            "dtype":{"id":"str","n":"int"},"header":false,"skip_rows":2}}"#;
        let said: Value = serde_json::from_str(all).unwrap();
        assert_eq!(table(all).unwrap(), said["table"]);
        assert_eq!(table(r#"{"table":{}}"#).unwrap(), json!({ "header": true, "skip_rows": 0 }));
        assert_eq!(table("{}").unwrap(), Value::Null);
        for wrong in [r#"{"decimal":";"}"#, r#"{"dtype":{"a":"date"}}"#, r#"{"sep":";"}"#, r#"{"skip_rows":-1}"#] {
            assert!(table(&format!(r#"{{"table":{wrong}}}"#)).is_err(), "{wrong}");
        }
        let delimited = |said: &str| Table { delimiter: Some(said.to_owned()), ..Table::default() }.problem();
        assert!([";", "\t", "auto"].iter().all(|said| delimited(said).is_none()));
        assert!(["", ";;", "\"", "\n", "·"].iter().all(|said| delimited(said).is_some()));
    }
}
