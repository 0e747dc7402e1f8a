//! What differs between two texts of a flow: which processors, and which of their keys. Pure, and also for texts that
//! are broken: what can be read of them is compared.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use opendmp_model::document::tree::{self, Node};
use opendmp_model::kinds::clean_path;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A flow as it is written, with the files it names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    pub text: String,
    pub files: BTreeMap<String, Vec<u8>>,
}

/// How something changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Something of it differs.
    Changed,
    /// Nothing does.
    Same,
}

/// How a processor changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangedProcessor {
    /// Its id.
    pub id: String,
    /// How.
    pub change: Change,
    /// The keys that differ, as `source.path`; that of a file, too, whose content differs.
    pub fields: Vec<String>,
}

/// How a file that the flow names changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangedFile {
    /// Its path.
    pub path: String,
    /// How.
    pub change: Change,
}

/// Both texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BothTexts {
    /// The one that is compared from.
    pub from: String,
    /// The one that is compared to.
    pub to: String,
}

/// What differs between two texts of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Diff {
    /// Hash of the version that is compared from, or `draft`.
    pub from: String,
    /// Hash of the version that is compared to, or `draft`.
    pub to: String,
    /// The flow's own keys that differ.
    pub flow: Vec<String>,
    /// All processors of both: those of `to` in their order, then those that are gone.
    pub processors: Vec<ChangedProcessor>,
    /// The files of both that differ.
    pub files: Vec<ChangedFile>,
    /// As they are written.
    pub text: BothTexts,
}

/// What can be read of a text.
struct Readable {
    own: Map<String, Value>,
    processors: Vec<(String, Value)>,
}

fn read(text: &str) -> Readable {
    let root = tree::parse(text).0;
    let mut own = Map::new();
    let mut processors = Vec::new();
    for entry in root.iter().flat_map(Node::entries) {
        if entry.key != "processors" {
            own.insert(entry.key.clone(), entry.value.to_json());
            continue;
        }
        for node in entry.value.list() {
            if let Some(id) = node.get("id").and_then(Node::text) {
                processors.push((id.to_owned(), node.to_json()));
            }
        }
    }
    Readable { own, processors }
}

/// Compares two flows; `from` and `to` are what they are called. Takes time with the size of the texts.
pub(crate) fn diff(from: (String, Written), to: (String, Written)) -> Diff {
    let (before, after) = (read(&from.1.text), read(&to.1.text));
    let files = changed_files(&from.1.files, &to.1.files);
    let differing: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let old: HashMap<&str, &Value> = before.processors.iter().map(|(id, value)| (id.as_str(), value)).collect();
    let kept: BTreeSet<&str> = after.processors.iter().map(|(id, _)| id.as_str()).collect();
    let mut processors: Vec<ChangedProcessor> = Vec::with_capacity(after.processors.len());
    for (id, value) in &after.processors {
        let mut fields = Vec::new();
        let change = match old.get(id.as_str()) {
            None => Change::Added,
            Some(old) => {
                compare(old, value, &differing, "", &mut fields);
                if fields.is_empty() { Change::Same } else { Change::Changed }
            }
        };
        processors.push(ChangedProcessor { id: id.clone(), change, fields });
    }
    for (id, _) in before.processors.iter().filter(|(id, _)| !kept.contains(id.as_str())) {
        processors.push(ChangedProcessor { id: id.clone(), change: Change::Removed, fields: Vec::new() });
    }
    let mut flow = Vec::new();
    compare(&Value::Object(before.own), &Value::Object(after.own), &BTreeSet::new(), "", &mut flow);
    let text = BothTexts { from: from.1.text, to: to.1.text };
    Diff { from: from.0, to: to.0, flow, processors, files, text }
}

fn changed_files(before: &BTreeMap<String, Vec<u8>>, after: &BTreeMap<String, Vec<u8>>) -> Vec<ChangedFile> {
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let change = |path: &String| match (before.get(path), after.get(path)) {
        (None, _) => Some(Change::Added),
        (_, None) => Some(Change::Removed),
        (old, new) => (old != new).then_some(Change::Changed),
    };
    paths.into_iter().filter_map(|path| Some(ChangedFile { path: path.clone(), change: change(path)? })).collect()
}

/// Adds the keys below `at` that differ; a text that names a differing file differs, too.
fn compare(old: &Value, new: &Value, files: &BTreeSet<&str>, at: &str, out: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let gone = old.keys().filter(|key| !new.contains_key(*key));
            for key in new.keys().chain(gone) {
                let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                match (old.get(key), new.get(key)) {
                    (Some(old), Some(new)) => compare(old, new, files, &path, out),
                    _ => out.push(path),
                }
            }
        }
        (Value::String(old), Value::String(new)) if old == new => {
            if clean_path(new).is_ok_and(|path| files.contains(path.as_str())) {
                out.push(at.to_owned());
            }
        }
        (old, new) if old == new => {}
        _ => out.push(at.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, files: &[(&str, &str)]) -> Written {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()));
        Written { text: text.to_owned(), files: files.collect() }
    }

    #[test]
    fn keys_that_differ_are_named() {
        let before = written(
            "name: A\nphases: [x]\nprocessors:\n  - {id: in, type: ingest, source: {type: file_drop, path: ./a}}\n  \
             - {id: clean, type: script, inputs: [in], file: ./clean.py}\n  - {id: old, type: collect, inputs: [clean]}\n",
            &[("clean.py", "1"), ("gone.py", "")],
        );
        let after = written(
            "name: A # said\nprocessors:\n  - {id: clean, type: script, inputs: [in], file: clean.py}\n  - {id: in, \
             type: ingest, source: {type: file_drop, path: ./b, pattern: x}}\n  - {id: new, type: collect}\n",
            &[("clean.py", "2"), ("new.py", "")],
        );
        let told = diff(("v1".to_owned(), before.clone()), ("draft".to_owned(), after));
        let rows: Vec<(&str, Change, String)> =
            told.processors.iter().map(|row| (row.id.as_str(), row.change, row.fields.join(" "))).collect();
        assert_eq!(
            rows,
            [
                ("clean", Change::Changed, "file".to_owned()),
                ("in", Change::Changed, "source.path source.pattern".to_owned()),
                ("new", Change::Added, String::new()),
                ("old", Change::Removed, String::new()),
            ]
        );
        assert_eq!((told.flow, told.from.as_str(), told.to.as_str()), (vec!["phases".to_owned()], "v1", "draft"));
        let files: Vec<(&str, Change)> = told.files.iter().map(|file| (file.path.as_str(), file.change)).collect();
        assert_eq!(files, [("clean.py", Change::Changed), ("gone.py", Change::Removed), ("new.py", Change::Added)]);
        // A file whose content alone differs is a change of whoever names it.
        let other = Written { files: [("clean.py".to_owned(), b"3".to_vec())].into(), ..before.clone() };
        let told = diff(("v1".to_owned(), before.clone()), ("v2".to_owned(), other));
        assert_eq!((told.processors[1].change, told.processors[1].fields.join(" ")), (Change::Changed, "file".into()));
        let told = diff(("v1".to_owned(), before.clone()), ("v1".to_owned(), before));
        assert!(told.processors.iter().all(|row| row.change == Change::Same) && told.files.is_empty());
    }

    #[test]
    fn broken_texts_are_compared_as_far_as_they_can_be_read() {
        let whole = written("name: A\nprocessors:\n  - {id: a, type: ingest}\n", &[]);
        for broken in ["", "name: [", "processors: 3", "processors:\n  - 5\n  - {type: x}\n", "- a\n"] {
            let told = diff(("v1".to_owned(), whole.clone()), ("draft".to_owned(), written(broken, &[])));
            assert_eq!(told.processors[0].change, Change::Removed, "{broken:?}");
        }
    }
}
