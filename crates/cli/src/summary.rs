//! What is said of a run when it is over: what was collected, what failed and where, and what to do about it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use opendmp_api::ask::{RunEnd, RunProcessor};
use opendmp_api::rows::{DeadLetter, Run};
use opendmp_ports::journal::RunState;

use crate::term::Term;
use crate::words;

/// Dead letters that are told one by one.
pub const TOLD: usize = 5;

/// What there is to say.
pub struct Summary<'a> {
    /// The run, with its numbers by processor.
    pub run: &'a Run,
    /// Its processors, as far as they are known.
    pub processors: &'a [RunProcessor],
    /// Its first dead letters.
    pub letters: &'a [DeadLetter],
    /// How it is left.
    pub end: RunEnd,
    /// The runs that went on with it.
    pub resumed: &'a [Run],
    /// How long it took, in microseconds.
    pub took: u64,
    /// Files were given by hand.
    pub given: bool,
    /// How many source items could not be taken.
    pub problems: u64,
}

impl Summary<'_> {
    /// In words, each line with its end.
    pub fn text(&self, term: &Term) -> String {
        let mut out = String::new();
        let run = self.run;
        let took = words::took(self.took);
        // Writing to a string can't fail.
        for before in self.resumed.iter().filter(|before| before.state == RunState::Done) {
            let collected = words::count(before.revisions + before.unchanged, "dataset");
            let dead = if before.dead_letters > 0 {
                format!(", {}", words::count(before.dead_letters, "dead letter"))
            } else {
                String::new()
            };
            let _ = writeln!(out, "{} run {} is done now, too: {collected}{dead}", term.green("✓"), before.run);
        }
        let nothing = run.arrivals == 0 && run.dead_letters == 0;
        if run.revisions + run.unchanged > 0 {
            let numbers = format!("{} new, {} unchanged", words::grouped(run.revisions), words::grouped(run.unchanged));
            let _ = writeln!(out, "{} {} ({numbers}) · {took}", term.green("✓"), self.collected());
        } else if self.end == RunEnd::Done && nothing && self.problems == 0 {
            let _ = writeln!(out, "{} nothing new{} · {took}", term.green("✓"), self.places());
            if !self.given {
                let hint = "a file is taken again when it changes; --input FILE gives one by hand";
                let _ = writeln!(out, "  {} {hint}", term.dim("hint:"));
            }
        } else if self.end == RunEnd::Done && run.arrivals > 0 && run.dead_letters == 0 {
            let _ = writeln!(out, "{} nothing was collected · {took}", term.yellow("·"));
            let hint = format!("every item was dropped on its way; `opendmp runs show {}` tells where", run.run);
            let _ = writeln!(out, "  {} {hint}", term.dim("hint:"));
        }
        self.dead(&mut out, term);
        out
    }

    /// `6 datasets in Penguins`, or in each collection.
    fn collected(&self) -> String {
        let mut by_collection: BTreeMap<&str, u64> = BTreeMap::new();
        for processor in self.processors {
            let Some(collection) = &processor.collection else { continue };
            let done = self.run.processors.get(&processor.id).map_or(0, |counts| counts.done);
            if done > 0 {
                *by_collection.entry(collection).or_default() += done;
            }
        }
        match by_collection.len() {
            0 => words::count(self.run.revisions + self.run.unchanged, "dataset"),
            _ => {
                let parts = by_collection.iter().enumerate().map(|(n, (collection, done))| {
                    let number = if n == 0 { words::count(*done, "dataset") } else { words::grouped(*done) };
                    format!("{number} in {}", words::name(collection))
                });
                parts.collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// ` in ./inbox`, where that can be said.
    fn places(&self) -> String {
        let places: Vec<String> =
            self.processors.iter().filter(|p| p.reads.is_empty()).filter_map(|p| p.place.clone()).collect();
        if places.is_empty() || self.given { String::new() } else { format!(" in {}", words::name(&places.join(", "))) }
    }

    fn dead(&self, out: &mut String, term: &Term) {
        let dead = self.run.dead_letters;
        if dead == 0 {
            return;
        }
        let _ = writeln!(out, "{} {}", term.red("✗"), words::count(dead, "dead letter"));
        let ids = words::short_ids(self.letters.iter().map(|letter| letter.id.as_str()));
        let processors = width(self.letters, |letter| letter.processor.clone());
        let names = width(self.letters, |letter| words::name(&letter.item.name));
        for letter in self.letters.iter().take(TOLD) {
            let fault = words::line(letter.fault.to_string().lines().next().unwrap_or_default());
            let name = words::name(&letter.item.name);
            let _ = writeln!(out, "  {:processors$}  {name:names$}  {fault}", letter.processor);
            if let Some((place, line)) = &letter.fault.place {
                let _ = writeln!(
                    out,
                    "  {:processors$}  {}",
                    "",
                    term.dim(&format!("{}     {}", words::line(place), words::line(line)))
                );
            }
            if let Some(hint) = &letter.fault.hint {
                let _ = writeln!(out, "  {:processors$}  {} {}", "", term.dim("hint:"), words::line(hint));
            }
        }
        let told = (self.letters.len().min(TOLD)) as u64;
        if dead > told {
            let _ = writeln!(out, "  and {} more", words::grouped(dead - told));
        }
        match ids.as_slice() {
            [id] if dead == 1 => {
                let _ = writeln!(out, "  see    opendmp dead-letters show {id}");
                let _ = writeln!(out, "  retry  opendmp dead-letters retry {id}");
            }
            ids => {
                let list = format!("opendmp dead-letters list --flow {}", self.run.flow);
                let see = ids.first().map_or_else(|| list.clone(), |id| format!("opendmp dead-letters show {id}"));
                if ids.len() as u64 != dead || dead > 1 {
                    let _ = writeln!(out, "  list   {list} --run {}", self.run.run);
                }
                let _ = writeln!(out, "  see    {see}");
                let _ = writeln!(out, "  retry  opendmp dead-letters retry --all --flow {}", self.run.flow);
            }
        }
    }
}

/// The widest of these texts among those that are told.
fn width(letters: &[DeadLetter], text: impl Fn(&DeadLetter) -> String) -> usize {
    letters
        .iter()
        .take(TOLD)
        .map(|letter| unicode_width::UnicodeWidthStr::width(text(letter).as_str()))
        .max()
        .unwrap_or(0)
}
