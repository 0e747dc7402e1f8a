//! What a flow would do, as people look at it: processors with what they read, where they stand in the text, and in
//! which order they work. How the engine follows a plan lives in [`opendmp_model::plan`].

use std::collections::BTreeMap;

use opendmp_model::diagnostic::Diagnostics;
use opendmp_model::document::{Checked, Phase, Version, check};
use opendmp_model::kinds::{Class, Determinism, Kinds, Role};
use opendmp_model::plan::{PlannedProcessor, RunPlan, compile_checked};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// The flow's name as written.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How many phases there are.
    pub phases: u32,
    /// In the order of the document.
    pub processors: Vec<PlanProcessor>,
    /// Ids of those that read nothing: where items come in.
    pub starts: Vec<String>,
    /// Ids in the order of work; those of one list read only such as stand before, and may run beside each other.
    pub order: Vec<Vec<String>>,
}

/// A processor of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanProcessor {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub r#type: String,
    /// Where it stands.
    pub role: Role,
    /// Its column, from 1: as written, else by how far it is from where items come in.
    pub phase: u32,
    /// What it reads.
    pub reads: Vec<Reads>,
    /// Its ports, the default one first; none of a collect.
    pub outputs: Vec<String>,
    /// The language of its code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The collection it fills.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
    /// The place of its source or destination as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Whether it gives the same output for the same input.
    pub deterministic: Determinism,
    /// The line of the text where it begins, from 1.
    pub line: u64,
}

/// What a processor reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reads {
    /// Id of the processor that is read.
    pub processor: String,
    /// Its port.
    pub port: String,
}

/// Checks a flow and plans it: what is wrong with it and, if that does not stop it, the plan. Takes time with the size
/// of the text: not for the threads of the runtime.
pub(crate) fn plan(text: &str, files: &BTreeMap<String, Vec<u8>>, kinds: &dyn Kinds) -> (Diagnostics, Option<Plan>) {
    of_checked(&check(text, kinds, files), kinds)
}

/// The same of a document that was checked.
pub(crate) fn of_checked(checked: &Checked, kinds: &dyn Kinds) -> (Diagnostics, Option<Plan>) {
    // The locks, which only a save makes, change nothing of what is shown.
    match checked.version(BTreeMap::new()).and_then(|version| compile_checked(checked, &version)) {
        Ok((plan, warnings)) => (warnings, Some(shown(checked, &plan, kinds))),
        Err(problems) => (problems, None),
    }
}

/// The plan of a saved version; none where this program refuses it, which an earlier one did not.
pub(crate) fn plan_of(version: &Version, kinds: &dyn Kinds) -> Option<Plan> {
    plan(&version.text, &version.files, kinds).1
}

fn shown(checked: &Checked, plan: &RunPlan, kinds: &dyn Kinds) -> Plan {
    let names = checked.flow.as_ref().map(|flow| flow.phases.as_slice()).unwrap_or_default();
    let phase = |processor: &PlannedProcessor| match &processor.settings.phase {
        Some(Phase::Number(number)) => *number,
        Some(Phase::Name(name)) => names.iter().position(|known| known == name).map_or(1, |at| at as u32 + 1),
        None => processor.rank as u32 + 1,
    };
    let ids = |indexes: &[usize]| indexes.iter().map(|at| plan.processors[*at].id.clone()).collect();
    let lines = checked.places().map(|place| place.line as u64);
    let processors: Vec<PlanProcessor> = plan
        .processors
        .iter()
        .zip(lines)
        .map(|(processor, line)| PlanProcessor {
            id: processor.id.clone(),
            r#type: processor.kind.clone(),
            role: processor.role,
            phase: phase(processor),
            reads: processor
                .inputs
                .iter()
                .map(|input| Reads { processor: plan.processors[input.processor].id.clone(), port: input.port.clone() })
                .collect(),
            outputs: processor.outputs.clone(),
            language: text(processor, &["language"]).or_else(|| default(processor, kinds)),
            collection: if processor.role == Role::Collect { text(processor, &["collection"]) } else { None },
            place: text(processor, &["source", "path"]).or_else(|| text(processor, &["destination", "path"])),
            deterministic: processor.determinism,
            line,
        })
        .collect();
    let most = processors.iter().map(|processor| processor.phase).max().unwrap_or_default();
    Plan {
        name: plan.name.clone(),
        description: checked.flow.as_ref().and_then(|flow| flow.description.clone()),
        phases: most.max(names.len() as u32),
        processors,
        starts: ids(&plan.starts),
        order: plan.stages.iter().map(|stage| ids(stage)).collect(),
    }
}

/// The language of code that does not say which it is in.
fn default(processor: &PlannedProcessor, kinds: &dyn Kinds) -> Option<String> {
    let info = kinds.get(Class::Processor, &processor.kind)?;
    info.schema.pointer("/properties/language/default")?.as_str().map(str::to_owned)
}

/// A text in the config of a processor, by the keys that lead to it.
pub(crate) fn text(processor: &PlannedProcessor, keys: &[&str]) -> Option<String> {
    let (first, rest) = keys.split_first()?;
    let value = rest.iter().try_fold(processor.config.get(*first)?, |value, key| value.get(key))?;
    value.as_str().map(str::to_owned)
}
