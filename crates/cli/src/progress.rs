//! How a run is shown while it goes on: a bar for each processor on a terminal, a line now and then elsewhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use opendmp_api::ask::RunProcessor;
use opendmp_model::kinds::Role;
use opendmp_ports::transport::StepCounts;

use crate::term::Term;
use crate::words;

/// Cells of a bar.
const CELLS: u64 = 12;

/// At most one plain line in this time.
const PAUSE: Duration = Duration::from_secs(3);

/// Lines of the terminal that bars leave free.
const FREE: usize = 4;

/// A run, as far as it is shown.
pub struct Progress {
    processors: Vec<RunProcessor>,
    counts: BTreeMap<String, StepCounts>,
    fed: bool,
    view: View,
}

enum View {
    Bars {
        all: MultiProgress,
        bars: Vec<ProgressBar>,
    },
    /// The terminal is too low for all of them.
    One {
        all: MultiProgress,
        bar: ProgressBar,
    },
    Lines {
        last: Option<Instant>,
        told: String,
    },
}

impl Progress {
    /// Begins to show a run of these processors.
    pub fn begin(processors: Vec<RunProcessor>, term: &Term) -> Self {
        let view = if term.err_is_terminal {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            let bar = |prefix: String| {
                let bar = all.add(ProgressBar::new(CELLS));
                bar.set_style(style());
                bar.set_prefix(prefix);
                bar
            };
            if processors.len() + FREE <= term.height() {
                let width =
                    |of: fn(&RunProcessor) -> &str| processors.iter().map(|p| of(p).chars().count()).max().unwrap_or(0);
                let (ids, kinds) = (width(|p| &p.id), width(|p| &p.kind));
                let bars = processors.iter().map(|p| bar(format!("{:ids$}  {:kinds$}", p.id, p.kind)));
                View::Bars { bars: bars.collect(), all: all.clone() }
            } else {
                View::One { bar: bar(words::count(processors.len() as u64, "processor")), all: all.clone() }
            }
        } else {
            View::Lines { last: None, told: String::new() }
        };
        let mut progress = Self { processors, counts: BTreeMap::new(), fed: false, view };
        progress.draw(false);
        progress
    }

    /// New numbers.
    pub fn update(&mut self, counts: BTreeMap<String, StepCounts>, term: &Term) {
        self.counts = counts;
        self.draw(false);
        self.line(false, term);
    }

    /// The sources have nothing more.
    pub fn fed(&mut self) {
        self.fed = true;
        self.draw(false);
    }

    /// Prints a line above the bars.
    pub fn say(&self, line: &str, term: &Term) {
        match &self.view {
            View::Bars { all, .. } | View::One { all, .. } => all.suspend(|| term.err(line)),
            View::Lines { .. } => term.err(line),
        }
    }

    /// The last picture stays.
    pub fn end(mut self, counts: BTreeMap<String, StepCounts>, done: bool, term: &Term) {
        self.counts = counts;
        self.fed = true;
        self.draw(done);
        self.line(true, term);
        match &self.view {
            View::Bars { bars, .. } => bars.iter().for_each(ProgressBar::abandon),
            View::One { bar, .. } => bar.abandon(),
            View::Lines { .. } => {}
        }
    }

    fn draw(&mut self, done: bool) {
        let steps = steps(&self.processors, &self.counts, self.fed, done);
        match &self.view {
            View::Bars { bars, .. } => {
                for (bar, step) in bars.iter().zip(steps) {
                    bar.set_message(step.text);
                    bar.set_position(step.cells);
                }
            }
            View::One { bar, .. } => {
                let cells = steps.iter().map(|step| step.cells).sum::<u64>() / (steps.len() as u64).max(1);
                bar.set_position(cells);
                bar.set_message(words::count(steps.iter().map(|step| step.done).sum(), "step"));
            }
            View::Lines { .. } => {}
        }
    }

    fn line(&mut self, at_end: bool, term: &Term) {
        let View::Lines { last, told } = &mut self.view else { return };
        if !at_end && last.is_some_and(|last| last.elapsed() < PAUSE) {
            return;
        }
        let steps = steps(&self.processors, &self.counts, self.fed, at_end);
        let parts =
            self.processors.iter().zip(&steps).map(|(processor, step)| format!("{} {}", processor.id, step.short));
        let line = parts.collect::<Vec<_>>().join(" · ");
        if steps.iter().any(|step| step.done > 0 || step.dead > 0) && line != *told {
            term.err(&line);
            *told = line;
            *last = Some(Instant::now());
        }
    }
}

fn style() -> ProgressStyle {
    let style = ProgressStyle::with_template("  {prefix}  {bar:12} {msg}");
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("██░")
}

/// How one processor is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Step {
    done: u64,
    dead: u64,
    /// Of [`CELLS`].
    cells: u64,
    /// `2 of 3        12 ms each`.
    text: String,
    /// `2 of 3`.
    short: String,
}

/// Numbers and bars, in the order of `processors`, each of which comes after all that it reads.
///
/// What goes into a processor is known where it reads every output of what it reads; elsewhere its bar follows the
/// slowest of those. A bar is full only when nothing more can come.
fn steps(processors: &[RunProcessor], counts: &BTreeMap<String, StepCounts>, fed: bool, done: bool) -> Vec<Step> {
    let count = |id: &str| counts.get(id).copied().unwrap_or_default();
    let mut shares: BTreeMap<&str, f64> = BTreeMap::new();
    let mut out = Vec::with_capacity(processors.len());
    for processor in processors {
        let own = count(&processor.id);
        let through = own.done + own.remembered + own.dead;
        let expected: u64 = processor.reads.iter().map(|read| count(read).emitted).sum();
        let before = processor.reads.iter().filter_map(|read| shares.get(read.as_str())).copied().fold(1.0, f64::min);
        let known = processor.role != Role::Ingest && processor.whole;
        let share = match processor.role {
            _ if done => 1.0,
            Role::Ingest if fed => 1.0,
            Role::Ingest => 0.5,
            _ if known && expected == 0 => before,
            _ if known => before * (through as f64 / expected as f64).min(1.0),
            _ => before * 0.9,
        };
        shares.insert(&processor.id, share);
        let number = if processor.role == Role::Ingest { own.done } else { through };
        let mut short = words::grouped(number);
        if known && expected > number && !done {
            short = format!("{short} of {}", words::grouped(expected));
        }
        let mut notes = String::new();
        if own.retried > 0 {
            notes.push_str(&format!(", {} retried", words::grouped(own.retried)));
        }
        if own.remembered > 0 {
            notes.push_str(&format!(", {} remembered", words::grouped(own.remembered)));
        }
        if own.dead > 0 {
            notes.push_str(&format!(", {} dead", words::grouped(own.dead)));
        }
        short.push_str(&notes);
        let each = own
            .took
            .checked_div(own.done + own.dead)
            .filter(|each| *each >= 1_000 && processor.role == Role::Transform);
        let text = match each {
            Some(each) => format!("{short:<13} {} each", words::took(each)),
            None => short.clone(),
        };
        // Rounded down, so that only what is full looks full.
        let cells = (share * CELLS as f64) as u64;
        out.push(Step { done: number, dead: own.dead, cells, text, short });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processor(id: &str, role: Role, reads: &[&str], whole: bool) -> RunProcessor {
        RunProcessor {
            id: id.to_owned(),
            kind: "kind".to_owned(),
            role,
            reads: reads.iter().map(|read| (*read).to_owned()).collect(),
            whole,
            collection: None,
            place: None,
        }
    }

    fn counts(of: &[(&str, u64, u64)]) -> BTreeMap<String, StepCounts> {
        of.iter()
            .map(|(id, done, emitted)| {
                (
                    (*id).to_owned(),
                    StepCounts { done: *done, emitted: *emitted, took: done * 12_400, ..StepCounts::default() },
                )
            })
            .collect()
    }

    #[test]
    fn bars_say_what_is_known() {
        let flow = [
            processor("inbox", Role::Ingest, &[], true),
            processor("clean", Role::Transform, &["inbox"], true),
            processor("island", Role::Transform, &["clean"], true),
            processor("sort", Role::Transform, &["island"], false),
            processor("shelf", Role::Collect, &["sort"], true),
        ];
        let numbers = counts(&[("inbox", 3, 3), ("clean", 2, 6), ("island", 6, 6), ("sort", 3, 3)]);
        let shown = steps(&flow, &numbers, true, false);
        let bars: Vec<(u64, &str)> = shown.iter().map(|step| (step.cells, step.short.as_str())).collect();
        assert_eq!(bars, [(12, "3"), (8, "2 of 3"), (8, "6"), (7, "3"), (0, "0 of 3")]);
        assert_eq!(shown[1].text, "2 of 3        12 ms each");
        assert!(steps(&flow, &numbers, true, true).iter().all(|step| step.cells == CELLS));
        assert!(steps(&flow, &numbers, false, false).iter().all(|step| step.cells < CELLS));
    }

    #[test]
    fn retries_and_dead_letters_show() {
        let flow = [processor("clean", Role::Transform, &[], true)];
        let numbers = BTreeMap::from([(
            "clean".to_owned(),
            StepCounts { done: 1, dead: 2, retried: 4, ..StepCounts::default() },
        )]);
        assert_eq!(steps(&flow, &numbers, true, true)[0].short, "3, 4 retried, 2 dead");
    }
}
