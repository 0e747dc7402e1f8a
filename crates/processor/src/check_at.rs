//! The check of a flow for the place where it is to work: all that can be checked offline, and where its folders are.

use std::collections::BTreeSet;
use std::path::Path;

use opendmp_model::diagnostic::{Diagnostic, Diagnostics};
use opendmp_model::document::{Checked, ProcessorDoc, check};
use opendmp_model::kinds::Files;

use crate::PathPolicy;
use crate::places::{FoundPlace, ProcessorPlaces, conflicts};
use crate::registry::{KindsAt, Registry};

/// Checks a document, and the folders it names, for a flow whose paths begin at `base`. Looks at the file system, and
/// changes nothing there.
pub fn check_at(registry: &Registry, policy: &PathPolicy, base: &Path, text: &str, files: &dyn Files) -> Checked {
    let mut checked = check(text, &KindsAt { registry, base, policy }, files);
    let Some(flow) = &checked.flow else { return checked };
    let places = processor_places(registry, &flow.slug, flow.processors.iter(), base);
    let mut found = Diagnostics::new();
    for conflict in conflicts(&flow.slug, &places) {
        let (_, processor) = &conflict.at;
        let at = flow.processors.iter().position(|doc| doc.id == *processor);
        let mut diagnostic = Diagnostic::error(conflict.code, conflict.message).hint(conflict.hint);
        if let Some(place) = at.and_then(|at| checked.places().nth(at)) {
            diagnostic = diagnostic.at(place);
        }
        found.push(diagnostic.of_processor(Some(processor)));
    }
    checked.add(found);
    checked
}

/// The folders that the processors of a flow use, as they are now.
pub fn processor_places<'a>(
    registry: &Registry,
    flow: &str,
    docs: impl Iterator<Item = &'a ProcessorDoc> + Clone,
    base: &Path,
) -> Vec<ProcessorPlaces> {
    let with_places = docs.clone().map(|doc| (doc, registry.places(doc, base)));
    let with_places = with_places.filter(|(_, places)| !places.is_empty());
    let found = with_places.map(|(doc, places)| ProcessorPlaces {
        flow: flow.to_owned(),
        processor: doc.id.clone(),
        places: places.into_iter().map(FoundPlace::from).collect(),
        leads_to: leads_to(&doc.id, docs.clone()),
    });
    found.collect()
}

/// Every processor that something of this one can come to.
fn leads_to<'a>(from: &str, docs: impl Iterator<Item = &'a ProcessorDoc> + Clone) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(id) = open.pop() {
        for doc in docs.clone().filter(|doc| doc.common.inputs.iter().any(|input| input.processor == id)) {
            if reached.insert(doc.id.clone()) {
                open.push(doc.id.clone());
            }
        }
    }
    reached
}
