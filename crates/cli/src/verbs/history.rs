//! How a dataset came to be, drawn: the export first, each step beneath what came of it, the source last.

use std::fmt::Write as _;

use opendmp_api::rows::{Dataset, History, WayStep};
use opendmp_model::history::Result as Outcome;
use opendmp_ports::journal::ExportState;

use crate::term::Term;
use crate::words;

/// Draws a history.
pub fn draw(history: &History, long: bool, term: &Term) -> String {
    let mut out = String::new();
    let row = &history.dataset;
    // Writing to a string can't fail.
    let _ = writeln!(
        out,
        "{} · revision {} · {} · {}{}",
        term.bold(&words::name(&row.name)),
        row.revision,
        words::size(row.size),
        hash(&row.hash),
        export(row)
    );
    if let Some(gone) = &row.gone {
        let _ = writeln!(out, "its content was let go {}, as the flow's retention says", words::when(gone));
    }
    let lines = lines(history);
    let heads: Vec<String> = lines
        .iter()
        .enumerate()
        .map(|(depth, line)| format!("{}└─ {}", "   ".repeat(depth.min(DEEPEST)), line.processor))
        .collect();
    let heads_width = heads.iter().map(|head| head.chars().count()).max().unwrap_or(0);
    let steps = || lines.iter().filter_map(|line| line.step.as_ref());
    let kinds = steps().map(|step| step[0].chars().count()).max().unwrap_or(0);
    let whats = steps().map(|step| step[1].chars().count()).max().unwrap_or(0);
    for (head, (depth, line)) in heads.iter().zip(lines.iter().enumerate()) {
        let text = match &line.step {
            Some([kind, what, rest]) => format!("{head:heads_width$}  {kind:kinds$}  {what:whats$}  {rest}"),
            None => format!("{head:heads_width$}  {}", line.source),
        };
        let _ = writeln!(out, "{}", text.trim_end());
        let indent = "   ".repeat(depth.min(DEEPEST) + 2);
        if long {
            for more in &line.more {
                let _ = writeln!(out, "{indent}{}", term.dim(more));
            }
        }
        for failed in &line.failed {
            let _ = writeln!(out, "{indent}{} {}", term.yellow("failed before:"), words::line(failed));
        }
    }
    if let Some(last) = history.confirmed.last() {
        let times = words::count(history.confirmed.len() as u64, "later result");
        let version = words::short_hash(&last.version);
        let _ = writeln!(out, "{times} had the same bytes, the last at {} by version {version}", words::when(&last.at));
    }
    if !long {
        let _ = writeln!(out, "{}", term.dim("--long tells times, hashes, items, workers and logs"));
    }
    out
}

fn hash(hash: &str) -> String {
    format!("b3:{}…", words::short_hash(hash))
}

/// `  ->  ./outbox/biscoe.csv, written 14:02:11`.
fn export(row: &Dataset) -> String {
    let target = row.export.target.as_deref().unwrap_or("");
    let folder =
        row.export.destination.as_deref().and_then(|place| place.split_once(' ').or_else(|| place.split_once(':')));
    let target = match folder {
        Some((_, folder)) if folder.starts_with('/') && !target.starts_with('/') => {
            words::path(&format!("{folder}/{target}"))
        }
        _ => words::path(target),
    };
    match row.export.state {
        ExportState::None => String::new(),
        ExportState::Written => match &row.export.written {
            Some(written) => format!("  ->  {target}, written {}", words::when_beside(written, &row.committed)),
            None => format!("  ->  {target}"),
        },
        ExportState::Pending => format!("  ->  {target}, to be written"),
        ExportState::Superseded => format!("  ->  {target}, which a newer one had written"),
        ExportState::Kept => format!("  ->  {target}, where another file was kept"),
        ExportState::Refused => format!("  ->  {target}, refused: opendmp dead-letters list --flow {}", row.flow),
    }
}

/// How deep lines are set in at most: long ways would run off the terminal.
const DEEPEST: usize = 8;

/// One line of the drawing.
struct Line {
    processor: String,
    /// Of a step: its kind, what it did, the rest.
    step: Option<[String; 3]>,
    /// Of the source: what arrived.
    source: String,
    more: Vec<String>,
    failed: Vec<String>,
}

fn lines(history: &History) -> Vec<Line> {
    let origin = &history.origin;
    let steps = history.steps.iter().rev();
    let mut out: Vec<Line> = steps.filter(|step| step.result != Outcome::Arrived).map(step).collect();
    let ingest = history.steps.iter().find(|step| step.result == Outcome::Arrived);
    let name = ingest.map_or("source", |step| step.processor.as_str());
    let place = origin.source.rsplit_once(':').map_or(origin.source.as_str(), |(_, place)| place);
    let path = if origin.path.starts_with('/') {
        origin.path.clone()
    } else {
        format!("{}/{}", place.trim_end_matches('/'), origin.path)
    };
    let arrived = words::when_beside(&origin.arrived, &history.dataset.committed);
    let gone = origin.gone.as_deref().map(|gone| format!(", let go {}", words::when(gone))).unwrap_or_default();
    let what = format!("{}  {}  arrived {arrived} as {}{gone}", words::path(&path), hash(&origin.hash), origin.arrival);
    let mut more = vec![
        format!("source {}", words::line(&origin.source)),
        format!("arrived {}, {} bytes, b3:{}", words::when(&origin.arrived), words::grouped(origin.size), origin.hash),
    ];
    more.extend(ingest.and_then(|step| step.output.as_ref()).map(|item| format!("item {item}")));
    more.extend(ingest.map(by));
    out.push(Line { processor: name.to_owned(), step: None, source: what, more, failed: Vec::new() });
    out
}

fn step(step: &WayStep) -> Line {
    let mut what = Vec::new();
    if let Some(port) = &step.port {
        what.push(format!("port {port}"));
    }
    if let Some(environment) = &step.environment {
        let runs = environment.split(", lock ").next().unwrap_or(environment);
        what.push(format!("at {}, {}", words::short_hash(&step.version), words::line(runs)));
    }
    match step.result {
        Outcome::Unchanged => what.push("the same bytes as before".to_owned()),
        Outcome::Reentered if edit(step).is_some() => {
            what.push(format!("edited and sent in again by {}", words::line(&step.actor)));
        }
        Outcome::Reentered => what.push(format!("sent in again by {}", words::line(&step.actor))),
        _ => {}
    }
    let mut rest = Vec::new();
    if !matches!(step.result, Outcome::Collected | Outcome::Unchanged | Outcome::Reentered) {
        rest.push(words::took(step.took_us));
    }
    match (&step.note, edit(step)) {
        (_, Some((before, after))) => rest.push(format!("{} became {}", hash(before), hash(after))),
        (Some(note), None) => rest.push(words::line(note)),
        (None, None) => {}
    }
    if !step.log.is_empty() {
        rest.push(words::count(step.log.len() as u64, "log line"));
    }
    let mut more = vec![
        by(step),
        format!(
            "started {}, took {}, committed {}",
            words::when(&step.started),
            words::took(step.took_us),
            words::when(&step.committed)
        ),
        format!("gave {} of {} bytes, b3:{}", words::name(&step.name), words::grouped(step.size), step.hash),
    ];
    if let Some((before, after)) = edit(step) {
        more.push(format!("before b3:{before}"));
        more.push(format!("after b3:{after}"));
    }
    if let Some(item) = &step.output {
        more.push(format!("item {item}"));
    }
    if let Some(environment) = &step.environment {
        more.push(format!("environment {}", words::line(environment)));
    }
    more.extend(step.log.iter().map(|line| format!("{}: {}", words::line(&line.level), words::line(&line.text))));
    Line {
        processor: step.processor.clone(),
        step: Some([step.kind.clone(), what.join(", "), rest.join("   ")]),
        source: String::new(),
        more,
        failed: step.failed.clone(),
    }
}

/// What a person's edit changed, as its record has it: the hash before and after.
fn edit(step: &WayStep) -> Option<(&str, &str)> {
    let note = step.note.as_deref().filter(|_| step.result == Outcome::Reentered)?;
    let (before, after) = note.strip_prefix("edited: b3:")?.split_once(" became b3:")?;
    Some((before, after))
}

/// Version, configuration and worker.
fn by(step: &WayStep) -> String {
    format!(
        "version {}, config {}, opendmp {}, on {}, by {}",
        words::short_hash(&step.version),
        words::short_hash(&step.config),
        words::line(&step.opendmp),
        words::line(&step.worker),
        words::line(&step.actor)
    )
}
