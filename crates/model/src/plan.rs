//! The run plan: a flow version compiled into a graph that the engine follows. Pure, and never changed once made.
//!
//! [`compile`] is what the command line, the server and the editor share. How a plan is shown to people lives in
//! `plan/render.rs`; what runs it lives in the engine.

mod render;
#[cfg(test)]
mod tests;

use crate::diagnostic::{Diagnostic, Diagnostics, codes};
use crate::document::version::{CodeHash, ConfigHash, VersionHash, processor_hashes};
use crate::document::{Checked, FlowRetention, HumanDuration, Memo, OnError, Phase, ProcessorDoc, Version, check};
use crate::kinds::{Determinism, Environment, Files, Kinds, Role, clean_path};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A compiled flow version. Processors are named by their index in `processors`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunPlan {
    /// The flow's name as written.
    pub name: String,
    /// The flow's identity.
    pub slug: String,
    /// The version this is the plan of.
    pub version: VersionHash,
    /// How long sources and history are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<FlowRetention>,
    /// In the order of the document.
    pub processors: Vec<PlannedProcessor>,
    /// Those that read nothing: where items come in.
    pub starts: Vec<usize>,
    /// Each after all that it reads; among equals in the order of the document.
    pub order: Vec<usize>,
    /// By rank: the members of one stage read only earlier stages, so they can run at the same time.
    pub stages: Vec<Vec<usize>>,
    /// Groups of processors without any connection between them; each could be a flow of its own.
    pub parts: Vec<Vec<usize>>,
}

/// A processor of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedProcessor {
    /// Unique within the flow.
    pub id: String,
    /// The name of its kind.
    pub kind: String,
    /// Where it stands.
    pub role: Role,
    /// The kind's own keys, as written.
    pub config: Map<String, Value>,
    /// What every processor may say, defaults filled in.
    pub settings: Settings,
    /// What it reads, in the order of the document.
    pub inputs: Vec<Input>,
    /// Its ports, the default one first; empty for a collect.
    pub outputs: Vec<String>,
    /// Who reads each port; a port nobody reads has an empty list.
    pub readers: BTreeMap<String, Vec<Reader>>,
    /// Whether law L8 can be promised of it.
    pub determinism: Determinism,
    /// The longest path from a start, in steps.
    pub rank: usize,
    /// Its own config, files and lock.
    pub config_hash: ConfigHash,
    /// Its code, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_hash: Option<CodeHash>,
    /// The files it names, by clean relative path; their content is in the version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// The environment its code asks for; the lock is in the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// The names of the secrets its config asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}

/// What every processor may say, defaults filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// What the processor is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// For the layout only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The longest a call may take.
    pub timeout: HumanDuration,
    /// The most items at the same time; `None` leaves it to the engine, which takes the number of cores.
    pub concurrency: Option<u16>,
    /// Retries and the waits between them.
    pub on_error: OnError,
    /// Whether every result is committed at once.
    pub checkpoint: bool,
    /// Whether results are remembered.
    pub memo: Memo,
    /// Free labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Index of the processor that is read.
    pub processor: usize,
    /// Its port; the default one is [`crate::kinds::DEFAULT_PORT`].
    pub port: String,
}

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reader {
    /// Index of the processor that reads.
    pub processor: usize,
    /// Which of its inputs this is.
    pub input: usize,
}

impl RunPlan {
    /// The processor of that id, with its index.
    pub fn find(&self, id: &str) -> Option<(usize, &PlannedProcessor)> {
        self.processors.iter().enumerate().find(|(_, processor)| processor.id == id)
    }

    /// As JSON, for `--format json` and the API.
    pub fn to_json(&self) -> Value {
        // Every map of a plan has text as keys, which is all that could fail.
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// Compiles a version. Gives the plan with its warnings, or all problems.
///
/// A version that compiled once may be refused later, when a kind it uses was removed or has become stricter.
pub fn compile(version: &Version, kinds: &dyn Kinds) -> Result<(RunPlan, Diagnostics), Diagnostics> {
    let checked = check(&version.text, kinds, &version.files);
    compile_checked(&checked, version)
}

/// The same for a document that was just checked; `version` MUST be made of it by [`Checked::version`].
pub fn compile_checked(checked: &Checked, version: &Version) -> Result<(RunPlan, Diagnostics), Diagnostics> {
    let Some(flow) = &checked.flow else { return Err(checked.diagnostics.clone()) };
    let index: HashMap<&str, usize> =
        flow.processors.iter().enumerate().map(|(at, doc)| (doc.id.as_str(), at)).collect();
    let mut warnings = checked.diagnostics.clone();
    let mut processors = Vec::new();
    for ((doc, facts), detail) in flow.processors.iter().zip(&checked.facts).zip(&checked.details) {
        // The check refused inputs that name nothing.
        let inputs = doc.common.inputs.iter().filter_map(|input| {
            index.get(input.processor.as_str()).map(|at| Input { processor: *at, port: input.port().to_owned() })
        });
        let files: Vec<(String, Vec<u8>)> = facts
            .files
            .iter()
            .filter_map(|name| Some((clean_path(name).ok()?, version.files.read(name).ok()?)))
            .collect();
        let borrowed: Vec<(String, &[u8])> =
            files.iter().map(|(name, content)| (name.clone(), content.as_slice())).collect();
        let lock = version.locks.get(&doc.id).map(String::as_str);
        let (config_hash, code_hash) = processor_hashes(&doc.kind, &doc.config, &facts.code, &borrowed, lock);
        let outputs = if detail.role == Role::Collect { Vec::new() } else { facts.ports() };
        if facts.determinism == Determinism::Unknown {
            warnings.push(unknown_determinism(doc, facts.determinism_hint.as_deref()).at(detail.place));
        }
        processors.push(PlannedProcessor {
            id: doc.id.clone(),
            kind: doc.kind.clone(),
            role: detail.role,
            config: doc.config.clone(),
            settings: settings(doc),
            inputs: inputs.collect(),
            readers: outputs.iter().map(|port| (port.clone(), Vec::new())).collect(),
            outputs,
            determinism: facts.determinism,
            rank: 0,
            config_hash,
            code_hash,
            files: files.into_iter().map(|(name, _)| name).collect(),
            environment: facts.environment.clone(),
            secrets: detail.secrets.clone(),
        });
    }
    connect(&mut processors);
    let order = order(&mut processors);
    let mut stages: Vec<Vec<usize>> = Vec::new();
    for (at, processor) in processors.iter().enumerate() {
        if stages.len() <= processor.rank {
            stages.resize(processor.rank + 1, Vec::new());
        }
        stages[processor.rank].push(at);
    }
    let plan = RunPlan {
        name: flow.name.clone(),
        slug: flow.slug.clone(),
        version: version.hash,
        retention: flow.retention,
        starts: (0..processors.len()).filter(|at| processors[*at].inputs.is_empty()).collect(),
        order,
        stages,
        parts: parts(&processors),
        processors,
    };
    warnings.sort();
    Ok((plan, warnings))
}

fn settings(doc: &ProcessorDoc) -> Settings {
    let common = doc.common.clone();
    Settings {
        description: common.description,
        phase: common.phase,
        timeout: common.timeout,
        concurrency: common.concurrency,
        on_error: common.on_error,
        checkpoint: common.checkpoint,
        memo: common.memo,
        labels: common.labels,
    }
}

fn unknown_determinism(doc: &ProcessorDoc, hint: Option<&str>) -> Diagnostic {
    let message = format!("it is not known whether `{}` gives the same output for the same input", doc.id);
    Diagnostic::warning(codes::DETERMINISM_UNKNOWN, message)
        .hint(hint.unwrap_or("the same results on a laptop and on a cluster can't be promised from here on"))
        .of_processor(Some(&doc.id))
}

/// Tells each port who reads it.
fn connect(processors: &mut [PlannedProcessor]) {
    for reader in 0..processors.len() {
        for (input, from) in processors[reader].inputs.clone().into_iter().enumerate() {
            processors[from.processor].readers.entry(from.port).or_default().push(Reader { processor: reader, input });
        }
    }
}

/// The order of work; sets the ranks. Kahn's algorithm; the check refused circles, so all are reached.
fn order(processors: &mut [PlannedProcessor]) -> Vec<usize> {
    let mut waiting: Vec<usize> = processors.iter().map(|processor| processor.inputs.len()).collect();
    let mut ready: BTreeSet<usize> = (0..processors.len()).filter(|at| waiting[*at] == 0).collect();
    let mut order = Vec::new();
    while let Some(at) = ready.pop_first() {
        order.push(at);
        let readers: Vec<Reader> = processors[at].readers.values().flatten().copied().collect();
        for reader in readers {
            processors[reader.processor].rank = processors[reader.processor].rank.max(processors[at].rank + 1);
            waiting[reader.processor] -= 1;
            if waiting[reader.processor] == 0 {
                ready.insert(reader.processor);
            }
        }
    }
    debug_assert_eq!(order.len(), processors.len());
    order
}

/// The connected groups, each sorted.
fn parts(processors: &[PlannedProcessor]) -> Vec<Vec<usize>> {
    let mut part: Vec<Option<usize>> = vec![None; processors.len()];
    let mut parts: Vec<Vec<usize>> = Vec::new();
    for start in 0..processors.len() {
        if part[start].is_some() {
            continue;
        }
        let (mut members, mut work) = (BTreeSet::from([start]), vec![start]);
        while let Some(at) = work.pop() {
            part[at] = Some(parts.len());
            let read = processors[at].inputs.iter().map(|input| input.processor);
            let readers = processors[at].readers.values().flatten().map(|reader| reader.processor);
            work.extend(read.chain(readers).filter(|other| members.insert(*other)));
        }
        parts.push(members.into_iter().collect());
    }
    parts
}
