//! Which folders a flow reads and writes, and where two of these get in each other's way: results that are taken in
//! again, and files that two sources take from each other. Decided from what is known of each place; where the folders
//! are is looked up before ([`Location`]).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::Names;
use crate::location::{Location, Relation};

/// A folder that a source or a destination uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// JSON pointer to its path, within the config that it is of.
    pub pointer: String,
    /// The path as it is written there.
    pub written: String,
    /// The path, absolute; links are not resolved.
    pub path: PathBuf,
    /// What is done there.
    pub access: Access,
}

/// What is done with the files of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// They are taken in.
    Read(ReadAccess),
    /// Files of these names, relative to the folder, are written.
    Write(Names),
    /// A script or a command may write there what it likes; it is no destination of the flow.
    Program,
}

/// How a source takes the files of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadAccess {
    /// Which, relative to the folder.
    pub names: Names,
    /// Whether sub-folders are entered.
    pub recursive: bool,
    /// Whether those whose names begin with a dot are entered, too.
    pub hidden: bool,
    /// Whether it deletes or moves what it took.
    pub removes: bool,
    /// Whether it is meant that other sources take from the same folder.
    pub shared: bool,
    /// Whether it is meant that the flow takes its own results in again.
    pub feedback: bool,
}

impl Place {
    /// The folder that `written` means for a flow whose paths begin at `base`.
    pub fn new(pointer: &str, written: &str, base: &Path, access: Access) -> Self {
        let path = crate::registry::normal(&base.join(written));
        Self { pointer: pointer.to_owned(), written: written.to_owned(), path, access }
    }

    /// The same, of a config that is nested below `prefix`.
    #[must_use]
    pub fn below(mut self, prefix: &str) -> Self {
        self.pointer.insert_str(0, prefix);
        self
    }
}

/// A place, looked up.
#[derive(Clone, Debug)]
pub struct FoundPlace {
    /// The place.
    pub place: Place,
    /// Where it is now.
    pub location: Location,
}

impl From<Place> for FoundPlace {
    fn from(place: Place) -> Self {
        let location = Location::of(&place.path);
        Self { place, location }
    }
}

/// What a processor of a flow uses, and what it leads to.
#[derive(Clone, Debug)]
pub struct ProcessorPlaces {
    /// The flow, by slug.
    pub flow: String,
    /// The processor's id.
    pub processor: String,
    /// Its places.
    pub places: Vec<FoundPlace>,
    /// Of an ingest: the collects that its items can come to, by id.
    pub leads_to: BTreeSet<String>,
}

/// Two processors that get in each other's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The processor that it is said of: flow and id.
    pub at: (String, String),
    /// `feedback-loop` or `shared-source`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What can be done.
    pub hint: String,
}

/// What is wrong with the flow `flow` among all that are to work at the same time.
pub fn conflicts(flow: &str, all: &[ProcessorPlaces]) -> Vec<Conflict> {
    let own = || all.iter().filter(|one| one.flow == flow);
    let mut found: Vec<Conflict> = own().filter_map(|ingest| feedback(ingest, all)).collect();
    for (at, one) in all.iter().enumerate().filter(|(_, one)| one.flow == flow) {
        // Of two of its own, once.
        let others = all.iter().enumerate().filter(|(other, two)| *other != at && (two.flow != flow || *other < at));
        found.extend(others.filter_map(|(_, two)| shared(one, two)));
    }
    found
}

impl ProcessorPlaces {
    fn reads(&self) -> impl Iterator<Item = (&FoundPlace, &ReadAccess)> {
        self.places.iter().filter_map(|found| match &found.place.access {
            Access::Read(read) => Some((found, read)),
            Access::Write(_) | Access::Program => None,
        })
    }

    fn writes(&self) -> impl Iterator<Item = (&FoundPlace, &Names)> {
        self.places.iter().filter_map(|found| match &found.place.access {
            Access::Write(names) => Some((found, names)),
            Access::Read(_) | Access::Program => None,
        })
    }

    fn named(&self, from: &str) -> String {
        match self.flow == from {
            true => format!("`{}`", self.processor),
            false => format!("`{}` of the flow `{}`", self.processor, self.flow),
        }
    }
}

/// Whether a file of these names in one folder can be one of those in the other.
fn may_meet(one: &Location, names: &Names, two: &Location, others: &Names) -> bool {
    match one.to(two) {
        Relation::Apart => false,
        Relation::Same => names.may_meet(others),
        Relation::Within(below) => names.clone().below(&below).may_meet(others),
        Relation::Contains(below) => names.may_meet(&others.clone().below(&below)),
    }
}

/// One step of a way: what is written where, and the ingest that takes it in.
struct Step<'a> {
    writer: &'a ProcessorPlaces,
    written: &'a FoundPlace,
    ingest: &'a ProcessorPlaces,
}

/// The ingests that take in what comes of the items of `from`, or what it moves.
fn steps<'a>(from: &'a ProcessorPlaces, all: &'a [ProcessorPlaces]) -> impl Iterator<Item = Step<'a>> {
    let writers = all
        .iter()
        .filter(move |one| std::ptr::eq(*one, from) || one.flow == from.flow && from.leads_to.contains(&one.processor));
    writers.flat_map(move |writer| {
        writer.writes().flat_map(move |(written, names)| {
            let takes = move |ingest: &&ProcessorPlaces| {
                let mut reads = ingest.reads().filter(|(_, read)| !read.feedback);
                reads.any(|(found, read)| may_meet(&written.location, names, &found.location, &read.names))
            };
            all.iter().filter(takes).map(move |ingest| Step { writer, written, ingest })
        })
    })
}

/// Whether what comes of the items of an ingest can come to it again.
fn feedback(ingest: &ProcessorPlaces, all: &[ProcessorPlaces]) -> Option<Conflict> {
    ingest.reads().next()?;
    let mut seen: Vec<&ProcessorPlaces> = Vec::new();
    let mut open = vec![ingest];
    while let Some(from) = open.pop() {
        for step in steps(from, all) {
            if std::ptr::eq(step.ingest, ingest) {
                let into = step.written.place.written.clone();
                let way = match std::ptr::eq(from, ingest) {
                    true => String::new(),
                    false => format!(" after the flow `{}` read its results", from.flow),
                };
                return Some(Conflict {
                    at: (ingest.flow.clone(), ingest.processor.clone()),
                    code: "feedback-loop",
                    message: format!(
                        "endless loop: {} writes files into `{into}`, which `{}` reads again{way}",
                        step.writer.named(&ingest.flow),
                        ingest.processor
                    ),
                    hint: "write to another folder, name this one in `exclude` of the source, or write names that its \
                           `pattern` does not match; to allow it, set `feedback: true` at the source"
                        .to_owned(),
                });
            }
            if !seen.iter().any(|known| std::ptr::eq(*known, step.ingest)) {
                seen.push(step.ingest);
                open.push(step.ingest);
            }
        }
    }
    None
}

/// Whether two ingests take the same files, and one of them away from the other.
fn shared(one: &ProcessorPlaces, two: &ProcessorPlaces) -> Option<Conflict> {
    for (found, read) in one.reads() {
        for (other, theirs) in two.reads() {
            if !(read.removes || theirs.removes)
                || read.shared && theirs.shared
                || !may_meet(&found.location, &read.names, &other.location, &theirs.names)
            {
                continue;
            }
            let remover = if read.removes { one } else { two };
            return Some(Conflict {
                at: (one.flow.clone(), one.processor.clone()),
                code: "shared-source",
                message: format!(
                    "{} takes files from {} as well, and {} deletes or moves them: each file would come to one of the \
                     two only",
                    two.named(&one.flow),
                    found.location,
                    remover.named("")
                ),
                hint:
                    "use separate folders, patterns that can't match the same file, or `after: keep` at both sources; \
                       to allow it, set `shared: true` at both"
                        .to_owned(),
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processor(flow: &str, id: &str, leads_to: &[&str], places: Vec<(&str, Access)>) -> ProcessorPlaces {
        let base = Path::new("/nowhere/opendmp-test");
        let place = |(path, access)| FoundPlace::from(Place::new("/path", path, base, access));
        ProcessorPlaces {
            flow: flow.to_owned(),
            processor: id.to_owned(),
            places: places.into_iter().map(place).collect(),
            leads_to: leads_to.iter().map(|&id| id.to_owned()).collect(),
        }
    }

    fn read(pattern: &str) -> ReadAccess {
        ReadAccess { names: Names::glob(pattern), ..ReadAccess::default() }
    }

    fn ingest(flow: &str, leads_to: &[&str], path: &str, read: ReadAccess) -> ProcessorPlaces {
        processor(flow, "inbox", leads_to, vec![(path, Access::Read(read))])
    }

    fn collect(flow: &str, path: &str, names: &str) -> ProcessorPlaces {
        processor(flow, "results", &[], vec![(path, Access::Write(Names::glob(names)))])
    }

    fn codes(flow: &str, all: &[ProcessorPlaces]) -> Vec<&'static str> {
        conflicts(flow, all).into_iter().map(|conflict| conflict.code).collect()
    }

    #[test]
    fn results_that_the_source_matches_are_a_loop() {
        let with = |names: &str, source: ReadAccess| {
            codes("a", &[ingest("a", &["results"], "in", source), collect("a", "in", names)])
        };
        assert_eq!(with("*.upper.txt", read("*.txt")), ["feedback-loop"]);
        assert_eq!(with("*.csv", read("*.txt")), [""; 0]);
        assert_eq!(with("*.txt", ReadAccess { feedback: true, ..read("*.txt") }), [""; 0]);
        // What does not come of this ingest does not come back to it.
        assert_eq!(codes("a", &[ingest("a", &[], "in", read("*")), collect("a", "in", "*")]), [""; 0]);
    }

    #[test]
    fn folders_below_count_where_they_are_entered() {
        let recursive = ReadAccess { names: Names::glob("*").in_any_folder(), recursive: true, ..read("*") };
        let with = |from: &str, read: ReadAccess, to: &str, names: &str| {
            codes("a", &[ingest("a", &["results"], from, read), collect("a", to, names)])
        };
        assert_eq!(with("in", recursive, "in/out", "*"), ["feedback-loop"]);
        assert_eq!(with("in", read("*"), "in/out", "*"), [""; 0]);
        assert_eq!(with("x/in", read("*"), "x", "*/*"), ["feedback-loop"]);
        assert_eq!(with("x/in", read("*"), "x", "out/*"), [""; 0]);
        assert_eq!(with("x/in", read("*"), "x", "*"), [""; 0]);
    }

    #[test]
    fn flows_may_follow_each_other_but_not_in_a_circle() {
        let chain = [
            ingest("a", &["results"], "one", read("*")),
            collect("a", "two", "*"),
            ingest("b", &["results"], "two", read("*")),
            collect("b", "three", "*"),
        ];
        assert_eq!((codes("a", &chain), codes("b", &chain)), (vec![], vec![]));
        let mut circle = chain.to_vec();
        circle[3] = collect("b", "one", "*");
        assert_eq!((codes("a", &circle), codes("b", &circle)), (vec!["feedback-loop"], vec!["feedback-loop"]));
        let message = &conflicts("b", &circle)[0].message;
        assert!(message.contains("`results` of the flow `a`"), "{message}");
        circle[0] = ingest("a", &["results"], "one", ReadAccess { feedback: true, ..read("*") });
        assert_eq!((codes("a", &circle), codes("b", &circle)), (vec![], vec![]));
    }

    #[test]
    fn files_that_are_moved_count_as_written() {
        let moves = |to: &'static str| {
            let source = ReadAccess { removes: true, ..read("*") };
            vec![("in", Access::Read(source)), (to, Access::Write(Names::glob("*")))]
        };
        let circle = [processor("a", "inbox", &[], moves("done")), ingest("b", &["results"], "done", read("*"))];
        assert_eq!(codes("b", &circle), [""; 0]);
        let circle = [circle[0].clone(), circle[1].clone(), collect("b", "in", "*")];
        assert_eq!((codes("a", &circle), codes("b", &circle)), (vec!["feedback-loop"], vec!["feedback-loop"]));
    }

    #[test]
    fn sources_share_a_folder_only_where_neither_removes_or_both_mean_it() {
        let keep = || ingest("a", &[], "in", read("*.txt"));
        let delete = |pattern: &str| ReadAccess { removes: true, ..read(pattern) };
        let with = |other: ReadAccess| codes("b", &[keep(), ingest("b", &[], "in", other)]);
        assert_eq!(with(read("*")), [""; 0]);
        assert_eq!(with(delete("*")), ["shared-source"]);
        assert_eq!(with(delete("*.csv")), [""; 0]);
        assert_eq!(with(ReadAccess { shared: true, ..delete("*") }), ["shared-source"]);
        let shared = |flow| ingest(flow, &[], "in", ReadAccess { shared: true, ..delete("*") });
        assert_eq!(codes("b", &[shared("a"), shared("b")]), [""; 0]);
        // The other way round, and within one flow, once.
        assert_eq!(codes("a", &[keep(), ingest("b", &[], "in", delete("*"))]), ["shared-source"]);
        assert_eq!(codes("a", &[keep(), ingest("a", &[], "in", delete("*"))]), ["shared-source"]);
        assert_eq!(codes("c", &[keep(), ingest("b", &[], "in", delete("*"))]), [""; 0]);
    }
}
