//! The check of a whole document: from text to a flow with the facts of its processors, or to all its problems.

use super::flow::{Common, Flow, FlowKeys, InputRef, Phase, ProcessorDoc, slug};
use super::graph::{self, Inputs, Seen};
use super::tree::{self, Node, Value};
use super::version::{FlowSource, Version};
use super::walk::{Owner, Schema, Walk, kind_of};
use super::words::with_article;
use crate::diagnostic::{Diagnostic, Diagnostics, Severity, Span, codes};
use crate::kinds::{Class, Facts, Files, KindInfo, Kinds, Problem, Role, clean_path, schema_of};
use serde_json::{Map, Value as Json};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A document that was checked: what is wrong with it, and if nothing is, what it says.
#[derive(Debug)]
pub struct Checked {
    /// All problems, sorted by place; warnings among them.
    pub diagnostics: Diagnostics,
    /// The flow, if there are no errors.
    pub flow: Option<Flow>,
    /// What the kinds say of each processor, in the order of `flow.processors`; empty if there are errors.
    pub facts: Vec<Facts>,
    pub(crate) details: Vec<Detail>,
    /// If there are errors: the processors that have none of their own.
    apart: Vec<(ProcessorDoc, Facts, Role)>,
    text: String,
    files: BTreeMap<String, Vec<u8>>,
}

/// What the plan needs of a processor beside its document and facts.
#[derive(Debug)]
pub(crate) struct Detail {
    pub(crate) role: Role,
    pub(crate) secrets: Vec<String>,
    pub(crate) place: Span,
}

impl Checked {
    /// The version this document, its files and `locks` (by processor id) make; all problems if it has errors.
    pub fn version(&self, locks: BTreeMap<String, String>) -> Result<Version, Diagnostics> {
        if self.flow.is_none() {
            return Err(self.diagnostics.clone());
        }
        Version::new(FlowSource { text: self.text.clone(), files: self.files.clone(), locks })
    }

    /// Adds what was found elsewhere; with an error among it the flow is refused.
    pub fn add(&mut self, found: Diagnostics) {
        self.diagnostics.append(found);
        self.diagnostics.sort();
        if self.diagnostics.has_errors()
            && let Some(flow) = self.flow.take()
        {
            let (facts, details) = (std::mem::take(&mut self.facts), std::mem::take(&mut self.details));
            let all = flow.processors.into_iter().zip(facts).zip(details);
            self.apart = all.map(|((doc, facts), detail)| (doc, facts, detail.role)).collect();
        }
    }

    /// The one processor of that id, if it has no errors of its own, whatever is wrong elsewhere in the document: enough
    /// to open it by itself.
    pub fn processor(&self, id: &str) -> Option<(&ProcessorDoc, &Facts, Role)> {
        let docs = self.flow.iter().flat_map(|flow| &flow.processors);
        let whole = docs.zip(&self.facts).zip(&self.details).map(|((doc, facts), detail)| (doc, facts, detail.role));
        let apart = self.apart.iter().map(|(doc, facts, role)| (doc, facts, *role));
        let mut found = whole.chain(apart).filter(|(doc, _, _)| doc.id == id);
        let first = found.next()?;
        // Of two with the same id nobody can say which is meant.
        found.next().is_none().then_some(first)
    }
}

impl Checked {
    /// Where each processor of `flow` stands in the text, in their order; empty if there are errors.
    pub fn places(&self) -> impl Iterator<Item = Span> {
        self.details.iter().map(|detail| detail.place)
    }
}

/// The text of a flow file; refused when it is not UTF-8.
pub fn text(bytes: &[u8]) -> Result<&str, Diagnostics> {
    std::str::from_utf8(bytes).map_err(|error| {
        let good = error.valid_up_to();
        let line = bytes[..good].iter().filter(|byte| **byte == b'\n').count() + 1;
        Diagnostic::error(codes::NOT_UTF8, format!("line {line} is not UTF-8 text"))
            .hint("save the file with the encoding UTF-8")
            .into()
    })
}

/// Checks a document with everything that can be checked offline. Pure but for `files`.
pub fn check(text: &str, kinds: &dyn Kinds, files: &dyn Files) -> Checked {
    let (root, mut out) = tree::parse(text);
    let mut checked = Checked {
        diagnostics: Diagnostics::new(),
        flow: None,
        facts: Vec::new(),
        details: Vec::new(),
        apart: Vec::new(),
        text: text.to_owned(),
        files: BTreeMap::new(),
    };
    if let Some(root) = &root {
        let (common, embedded, apart) = (schema_of::<Common>(), BTreeMap::new(), Vec::new());
        let mut check = Check { text, kinds, files, common, embedded, apart };
        match check.flow(root, &mut out) {
            Some((flow, facts, details)) if !out.has_errors() => {
                checked.flow = Some(flow);
                checked.facts = facts;
                checked.details = details;
                checked.files = check.embedded;
            }
            Some((flow, facts, details)) => {
                let all = flow.processors.into_iter().zip(facts).zip(details);
                checked.apart = all.map(|((doc, facts), detail)| (doc, facts, detail.role)).collect();
            }
            None => checked.apart = check.apart,
        }
    }
    out.sort();
    checked.diagnostics = out;
    checked
}

struct Check<'a> {
    text: &'a str,
    kinds: &'a dyn Kinds,
    files: &'a dyn Files,
    /// The schema of the keys every processor has.
    common: Json,
    /// The files named, by clean path.
    embedded: BTreeMap<String, Vec<u8>>,
    /// See [`Checked`].
    apart: Vec<(ProcessorDoc, Facts, Role)>,
}

/// A processor as far as it could be read.
struct Read {
    seen: Seen,
    /// `None` if anything is wrong with it.
    whole: Option<(ProcessorDoc, Facts, Detail)>,
}

impl Check<'_> {
    fn flow(&mut self, root: &Node, out: &mut Diagnostics) -> Option<(Flow, Vec<Facts>, Vec<Detail>)> {
        let start = Span::of(self.text, root.span.offset, 0);
        if !matches!(root.value, Value::Map(_)) {
            if !matches!(root.value, Value::Broken) {
                out.push(
                    Diagnostic::error(codes::WRONG_TYPE, "a flow is a map with `name` and `processors`")
                        .at(root.first_line())
                        .hint("begin with `name:` and `processors:`"),
                );
            }
            return None;
        }
        let schema = schema_of::<FlowKeys>();
        let schemas = [Schema::root(&schema)];
        let owner = Owner { name: "a flow", kind: None, place: start };
        let mut walk = Walk::new(self.kinds, out);
        let entries = walk.entries(root, &schemas, owner);
        let mut head = Map::new();
        for (key, entry) in entries.iter().filter(|(key, _)| key != "processors") {
            let before = walk.faults;
            if let Some(schema) = schemas[0].property(key) {
                walk.value(&entry.value, schema, key, entry.key_span);
            }
            if walk.faults == before {
                head.insert(key.to_string(), walk.corrected(&entry.value).to_json());
            }
        }
        let has = |name: &str| entries.iter().find(|(key, _)| key == name).map(|(_, entry)| *entry);
        if has("name").is_none() && root.complete {
            walk.report(
                Diagnostic::error(codes::MISSING_KEY, "a flow needs a `name`")
                    .at(start)
                    .hint("add `name:`, the flow's identity is made from it"),
            );
        }
        let name = head.get("name").and_then(Json::as_str).unwrap_or("").to_owned();
        if let Some(entry) = has("name")
            && !name.is_empty()
            && slug(&name).is_empty()
        {
            walk.report(
                Diagnostic::error(codes::BAD_NAME, "the name has neither letters nor digits").at(entry.value.span),
            );
        }
        let list = match has("processors") {
            None => {
                if root.complete {
                    walk.report(
                        Diagnostic::error(codes::MISSING_KEY, "a flow needs `processors`")
                            .at(start)
                            .hint("add `processors:`, a list of steps"),
                    );
                }
                return None;
            }
            Some(entry) => match &entry.value.value {
                Value::List(list) if list.is_empty() && entry.value.complete => {
                    walk.report(
                        Diagnostic::error(codes::NO_PROCESSORS, "the flow has no processors")
                            .at(entry.key_span)
                            .hint("the first is usually one with `type: ingest`"),
                    );
                    return None;
                }
                Value::List(list) => list,
                Value::Broken => return None,
                Value::Null => {
                    walk.report(
                        Diagnostic::error(codes::NO_PROCESSORS, "the flow has no processors")
                            .at(entry.key_span)
                            .hint("the first is usually one with `type: ingest`"),
                    );
                    return None;
                }
                _ => {
                    let message = "`processors` takes a list";
                    walk.report(
                        Diagnostic::error(codes::WRONG_TYPE, message)
                            .at(entry.key_span)
                            .hint("begin each processor with `- id:`"),
                    );
                    return None;
                }
            },
        };
        let read: Vec<Read> = list.iter().map(|node| self.processor(node, out)).collect();
        let (seen, whole): (Vec<Seen>, Vec<_>) = read.into_iter().map(|read| (read.seen, read.whole)).unzip();
        // What stands behind a syntax error is not known, so nothing can be said of the graph.
        if !root.complete {
            self.set_apart(whole);
            return None;
        }
        head.insert("processors".to_owned(), Json::Array(Vec::new()));
        let keys: FlowKeys = serde_json::from_value(Json::Object(head)).unwrap_or_default();
        graph::check(&seen, &keys.phases, out);
        if keys.retention.is_some_and(|retention| retention.is_upside_down()) {
            let place = has("retention").map_or(start, |entry| entry.key_span);
            out.push(
                Diagnostic::error(codes::OUT_OF_RANGE, "`history` is kept for a shorter time than `sources`")
                    .at(place)
                    .hint("keep history at least as long as sources: it tells whether they are done"),
            );
        }
        if whole.iter().any(Option::is_none) {
            self.set_apart(whole);
            return None;
        }
        let mut flow = Flow {
            slug: slug(&keys.name),
            name: keys.name,
            description: keys.description,
            phases: keys.phases,
            labels: keys.labels,
            retention: keys.retention,
            processors: Vec::new(),
        };
        let (mut facts, mut details) = (Vec::new(), Vec::new());
        for (doc, fact, detail) in whole.into_iter().flatten() {
            flow.processors.push(doc);
            facts.push(fact);
            details.push(detail);
        }
        Some((flow, facts, details))
    }

    fn set_apart(&mut self, read: Vec<Option<(ProcessorDoc, Facts, Detail)>>) {
        self.apart = read.into_iter().flatten().map(|(doc, facts, detail)| (doc, facts, detail.role)).collect();
    }

    fn processor(&mut self, node: &Node, out: &mut Diagnostics) -> Read {
        let mut seen = Seen {
            id: None,
            place: node.first_line(),
            role: None,
            inputs: Inputs { key: None, list: Vec::new(), whole: false },
            ports: None,
            ports_place: node.first_line(),
            phase: None,
        };
        let mut walk = Walk::new(self.kinds, out);
        if !matches!(node.value, Value::Map(_)) {
            if !matches!(node.value, Value::Broken) {
                let message = "a processor is a map with an `id` and a `type`";
                walk.report(
                    Diagnostic::error(codes::WRONG_TYPE, message)
                        .at(node.first_line())
                        .hint("write `- id: …` and `type: …` below it"),
                );
            }
            return Read { seen, whole: None };
        }
        // Every message about this processor names it, as soon as it has a name.
        walk.processor = node.get("id").and_then(Node::text).map(str::to_owned);
        let kind = kind_of(&mut walk, node, Class::Processor, "a processor", node.first_line());
        let (entries, own_schema) = self.keys(&mut walk, node, kind);
        let common_schema = Schema::root(&self.common);
        let (mut common, mut config) = (Map::new(), Map::new());
        let (mut common_bad, mut config_bad) = (false, false);
        for (key, entry) in entries.iter().filter(|(key, _)| key != "type") {
            let before = walk.faults;
            match common_schema.property(key) {
                Some(schema) => {
                    walk.secrets_allowed = false;
                    walk.value(&entry.value, schema, key, entry.key_span);
                    if walk.faults == before {
                        common.insert(key.to_string(), walk.corrected(&entry.value).to_json());
                    } else {
                        common_bad = true;
                    }
                    match key.as_ref() {
                        "id" => {
                            // Even if it can't be one, others may name it as it stands here.
                            seen.id = match &entry.value.value {
                                Value::Number(number) => Some(number.to_string()),
                                _ => entry.value.text().map(str::to_owned),
                            };
                            seen.place = entry.value.span;
                            walk.processor = seen.id.clone();
                        }
                        "inputs" => seen.inputs.key = Some(entry.key_span),
                        "phase" if walk.faults == before => seen.phase = phase(&entry.value),
                        _ => {}
                    }
                }
                None => {
                    walk.secrets_allowed = true;
                    if let Some(schema) = own_schema.and_then(|schema| schema.property(key)) {
                        walk.value(&entry.value, schema, key, entry.key_span);
                    }
                    config.insert(key.to_string(), walk.corrected(&entry.value).to_json());
                    config_bad |= walk.faults != before;
                }
            }
        }
        let has = |name: &str| entries.iter().any(|(key, _)| key == name);
        if !has("id") {
            common_bad = true;
            if node.complete {
                walk.report(
                    Diagnostic::error(codes::MISSING_KEY, "a processor needs an `id`")
                        .at(seen.place)
                        .hint("add `id:`, a short name that others can write in their `inputs`"),
                );
            }
        }
        let inputs = entries.iter().find(|(key, _)| key == "inputs").map(|(_, entry)| &entry.value);
        (seen.inputs.list, seen.inputs.whole) = inputs.map_or((Vec::new(), true), read_inputs);
        if !node.complete {
            return Read { seen, whole: None };
        }
        let Some((kind, info)) = kind else { return Read { seen, whole: None } };
        seen.role = Some(info.role);
        for key in own_schema.into_iter().flat_map(Schema::required).filter(|key| !has(key)) {
            config_bad = true;
            let name = with_article(kind);
            let diagnostic = Diagnostic::error(codes::MISSING_KEY, format!("{name} needs `{key}`")).at(seen.place);
            let words = own_schema.and_then(|schema| schema.property(key)).map(|schema| walk.missing_hint(key, schema));
            walk.report(match words {
                Some(words) => diagnostic.hint(words),
                None => diagnostic,
            });
        }
        let corrected = walk.corrected(node);
        let secrets = std::mem::take(&mut walk.secrets).into_iter().collect();
        let full = with_identity(&common, seen.id.as_deref().unwrap_or("processor"), kind);
        // Defaults stand for common keys that are wrong, so that the kind can still look at its own.
        let common = serde_json::from_value(full).unwrap_or_else(|_| {
            common_bad = true;
            Common::new(seen.id.clone().unwrap_or_default(), kind)
        });
        let doc = ProcessorDoc { id: common.id.clone(), kind: kind.to_owned(), common, config };
        if config_bad {
            return Read { seen, whole: None };
        }
        let facts = match self.kinds.prepare(&doc, self.files) {
            Ok(facts) => facts,
            Err(problems) => {
                for problem in problems {
                    out.push(self.told(&corrected, problem, Severity::Error, seen.id.as_deref()));
                }
                return Read { seen, whole: None };
            }
        };
        for warning in facts.warnings.clone() {
            out.push(self.told(&corrected, warning, Severity::Warning, seen.id.as_deref()));
        }
        self.embed(&corrected, &facts, seen.id.as_deref(), out);
        let ports = if info.role == Role::Collect { Vec::new() } else { facts.ports() };
        seen.ports = Some(ports);
        if let Some(entry) = node.entry("outputs").or_else(|| node.entry("ports")) {
            seen.ports_place = entry.key_span;
        } else {
            seen.ports_place = seen.place;
        }
        let detail = Detail { role: info.role, secrets, place: seen.place };
        Read { seen, whole: (!common_bad).then_some((doc, facts, detail)) }
    }

    /// The entries under the keys that were meant. Of an unknown kind only the common keys can be judged.
    fn keys<'n, 'k>(
        &self,
        walk: &mut Walk<'_, '_>,
        node: &'n Node,
        kind: Option<(&str, &'k KindInfo)>,
    ) -> (Vec<(Cow<'n, str>, &'n tree::Entry)>, Option<Schema<'k>>) {
        let common = Schema::root(&self.common);
        let Some((kind, info)) = kind else {
            let entries = node.entries().iter().filter(|entry| common.property(&entry.key).is_some());
            return (entries.map(|entry| (Cow::Borrowed(entry.key.as_str()), entry)).collect(), None);
        };
        let own = Schema::root(&info.schema).resolved();
        let name = with_article(kind);
        let owner = Owner { name: &name, kind: Some(kind), place: node.first_line() };
        (walk.entries(node, &[common, own], owner), Some(own))
    }

    /// A kind's problem with its place in the document, or in the file it is in.
    fn told(&self, node: &Node, problem: Problem, severity: Severity, id: Option<&str>) -> Diagnostic {
        let mut diagnostic = match severity {
            Severity::Error => Diagnostic::error(problem.code, problem.message),
            Severity::Warning => Diagnostic::warning(problem.code, problem.message),
        };
        diagnostic.hint = problem.hint;
        let (target, place) = node.resolve(&problem.pointer);
        let content = problem.file.as_deref().and_then(|file| self.files.read(file).ok());
        match (problem.file, content, problem.offset) {
            (Some(file), Some(content), Some((line, column))) => {
                diagnostic.file = Some(file);
                diagnostic = diagnostic.at(Span::at(&String::from_utf8_lossy(&content), line, column));
            }
            (None, _, Some((line, column))) => diagnostic = diagnostic.at(target.place_in(self.text, line, column)),
            _ => diagnostic = diagnostic.at(place),
        }
        diagnostic.of_processor(id)
    }

    /// Keeps the content of the files a processor names, for the version.
    fn embed(&mut self, node: &Node, facts: &Facts, id: Option<&str>, out: &mut Diagnostics) {
        for name in &facts.files {
            match clean_path(name).and_then(|path| self.files.read(name).map(|content| (path, content))) {
                Ok((path, content)) => {
                    self.embedded.insert(path, content);
                }
                Err(problem) => {
                    let place = node.entry("file").map_or_else(|| node.first_line(), |entry| entry.value.span);
                    out.push(
                        Diagnostic::error(codes::BAD_FILE, format!("`{}`: {problem}", tree::shorten(name)))
                            .at(place)
                            .of_processor(id),
                    );
                }
            }
        }
    }
}

fn with_identity(common: &Map<String, Json>, id: &str, kind: &str) -> Json {
    let mut full = common.clone();
    full.insert("id".to_owned(), Json::String(id.to_owned()));
    full.insert("type".to_owned(), Json::String(kind.to_owned()));
    // Nothing behind a key with a default means the default.
    full.retain(|_, value| !value.is_null());
    Json::Object(full)
}

fn phase(node: &Node) -> Option<(Phase, Span)> {
    serde_json::from_value(node.to_json()).ok().map(|phase| (phase, node.span))
}

/// The inputs that can be read, and whether these are all.
fn read_inputs(node: &Node) -> (Vec<(InputRef, Span)>, bool) {
    let one = |node: &Node| node.text().and_then(InputRef::parse).map(|input| (input, node.span));
    match &node.value {
        Value::List(list) => {
            let inputs: Vec<_> = list.iter().filter_map(one).collect();
            let whole = inputs.len() == list.len() && node.complete;
            (inputs, whole)
        }
        _ => {
            let input = one(node);
            let whole = input.is_some();
            (input.into_iter().collect(), whole)
        }
    }
}
