//! The one place where kinds are registered, and what they are given of the machine they run on.

use std::path::PathBuf;
use std::sync::Arc;

use opendmp_model::diagnostic::codes::CodeInfo;
use opendmp_processor::Registry;
use opendmp_sandbox::Site;
use opendmp_script::Pools;
use opendmp_script::environment::Tools;

use crate::scratch::Scratch;
use crate::{
    aggregate, codes, collect, compress, decompress, external, file_drop, folder, generate, ingest, inline, route,
    script, split,
};

/// What the kinds may use of the machine.
#[derive(Clone)]
pub struct Host {
    /// Worker processes of scripts.
    pub pools: Arc<Pools>,
    /// Interpreter and package tools.
    pub tools: Tools,
    /// Where script environments are kept.
    pub environments: PathBuf,
    /// Where steps may write while they work; emptied at start.
    pub scratch: Scratch,
    /// What scripts and commands may see and write.
    pub site: Arc<Site>,
}

/// All kinds that come with OpenDMP.
pub fn register(host: Host) -> Registry {
    Registry::default()
        .processor(ingest::Kind)
        .processor(script::Kind::new(Arc::clone(&host.pools), host.tools, host.environments, Arc::clone(&host.site)))
        .processor(external::Kind::new(host.scratch.clone(), host.site))
        .processor(route::Kind)
        .processor(compress::Kind::new(host.scratch.clone()))
        .processor(decompress::Kind::new(host.scratch.clone()))
        .processor(split::Kind::new(host.scratch.clone()))
        .processor(aggregate::Kind)
        .processor(collect::Kind)
        .source(file_drop::Kind)
        .source(inline::Kind)
        .source(generate::Kind::new(host.scratch))
        .sink(folder::Kind)
        .codes(codes::CODES)
}

/// Explanations of the codes that kinds use in their problems.
pub fn explanations() -> &'static [CodeInfo] {
    codes::CODES
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use opendmp_model::document::check;
    use opendmp_model::kinds::{Class, Kinds, Role, lint};

    fn registry(scratch: &std::path::Path) -> Registry {
        let pools = Pools::new(opendmp_script::Options::new(scratch)).unwrap();
        register(Host {
            pools: Arc::new(pools),
            tools: Tools::find(None),
            environments: scratch.join("environments"),
            scratch: scratch.join("external").into(),
            site: Arc::default(),
        })
    }

    #[tokio::test]
    async fn every_kind_documents_every_field() {
        let scratch = tempfile::tempdir().unwrap();
        let registry = registry(scratch.path());
        let faults: Vec<String> = registry.list().into_iter().flat_map(lint).collect();
        assert!(faults.is_empty(), "{faults:#?}");
    }

    #[tokio::test]
    async fn every_example_is_a_valid_one() {
        let scratch = tempfile::tempdir().unwrap();
        let registry = registry(scratch.path());
        let indent = |text: &str, by: usize| -> String {
            let pad = " ".repeat(by);
            text.lines().map(|line| format!("{pad}{line}\n")).collect()
        };
        let files = BTreeMap::from([("clean.py".to_owned(), b"def process(data: bytes): return data".to_vec())]);
        for kind in registry.list() {
            assert!(!kind.examples.is_empty(), "{} has no example", kind.name);
            for example in &kind.examples {
                let entry = |text: &str| format!("  -\n{}", indent(text, 4));
                let inbox = entry("id: inbox\ntype: ingest\nsource: { type: inline, items: [{ name: a, text: b }] }");
                let clean = entry("id: clean\ntype: script\ninputs: [inbox]\nfile: ./clean.py");
                let shelf = entry("id: reader\ntype: collect\ncollection: C\ninputs: [inbox]");
                let processors = match (kind.class, kind.role) {
                    (Class::Source, _) => entry(&format!("id: x\ntype: ingest\nsource:\n{}", indent(example, 2))),
                    (Class::Destination, _) => {
                        let collect = format!(
                            "id: x\ntype: collect\ninputs: [inbox]\ncollection: C\ndestination:\n{}",
                            indent(example, 2)
                        );
                        inbox + &entry(&collect)
                    }
                    (Class::Processor, Role::Ingest) => entry(example),
                    (Class::Processor, _) if example.contains("id: clean") => inbox + &entry(example),
                    (Class::Processor, _) => inbox + &clean + &entry(example) + &shelf,
                };
                let checked = check(&format!("name: Example\nprocessors:\n{processors}"), &registry, &files);
                assert!(!checked.diagnostics.has_errors(), "{}: {}\n{processors}", kind.name, checked.diagnostics);
            }
        }
    }

    #[test]
    fn every_code_is_explained_once() {
        let mut seen = BTreeSet::new();
        for info in explanations() {
            assert!(seen.insert(info.code) && info.explanation.len() > 20, "{}", info.code);
            assert!(opendmp_model::diagnostic::explain(info.code).is_none(), "{} is explained by the model", info.code);
        }
    }
}
