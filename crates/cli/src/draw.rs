//! Diagnostics drawn beneath the line they are about.

use std::fmt::Write as _;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use opendmp_model::diagnostic::{Diagnostic, Diagnostics, Severity};

use crate::flow::CheckedFlow;
use crate::term::Term;

/// Hints up to this many characters stand at the mark; longer ones below.
const SHORT_HINT: usize = 60;

/// All that is to be said of a flow, one drawing after the other, and a summary.
pub fn flow(flow: &CheckedFlow, term: &Term) -> String {
    let mut out = String::new();
    for diagnostic in &flow.problems {
        out.push_str(&one(diagnostic, flow, term));
        out.push('\n');
    }
    out
}

/// `6 errors, 1 warning in bad.yaml`.
pub fn summary(flow: &str, problems: &Diagnostics) -> String {
    format!("{} in {flow}", problems.summary())
}

fn one(diagnostic: &Diagnostic, flow: &CheckedFlow, term: &Term) -> String {
    let head = format!("{}[{}]", diagnostic.severity, diagnostic.code);
    let head = if diagnostic.severity == Severity::Error { term.bad(&head) } else { term.warn(&head) };
    let mut out = format!("{head}: {}\n", crate::words::line(&diagnostic.message));
    let (name, text) = match &diagnostic.file {
        None => (flow.shown.clone(), flow.text.as_str()),
        Some(file) => {
            let clean = opendmp_model::kinds::clean_path(file).unwrap_or_else(|_| file.clone());
            (file.clone(), flow.files.get(&clean).and_then(|content| std::str::from_utf8(content).ok()).unwrap_or(""))
        }
    };
    let short = diagnostic.hint.as_deref().filter(|hint| hint.chars().count() <= SHORT_HINT && !hint.contains('\n'));
    let drawn = drawing(diagnostic, name, text, short, term);
    match (&drawn, &diagnostic.hint) {
        (Some(drawing), Some(_)) if short.is_some() => out.push_str(drawing),
        (drawing, hint) => {
            out.push_str(drawing.as_deref().unwrap_or(""));
            if let Some(hint) = hint {
                // Writing to a string can't fail.
                let _ = writeln!(out, "  {} {hint}", term.cyan("hint:"));
            }
        }
    }
    out
}

/// The source with marks; `None` where there is no place.
fn drawing(diagnostic: &Diagnostic, name: String, text: &str, label: Option<&str>, term: &Term) -> Option<String> {
    let span = diagnostic.span.filter(|_| !text.is_empty())?;
    let mut labels = vec![LabeledSpan::new_primary_with_span(label.map(str::to_owned), (span.offset, span.len))];
    let related = diagnostic.related.iter().map(|(span, what)| LabeledSpan::at((span.offset, span.len), what.clone()));
    labels.extend(related);
    let drawn = Drawn { labels, source: NamedSource::new(name, text.to_owned()) };
    let theme = if term.err_colors() { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(term.drawing_width())
        .with_links(false)
        .with_context_lines(0);
    let mut out = String::new();
    handler.render_report(&mut out, &drawn).ok()?;
    // The drawing begins with a head of its own, which is said better above.
    let begin = out.lines().position(|line| line.contains('\u{256d}'))?;
    let lines = out.lines().skip(begin).filter(|line| !line.trim().is_empty());
    Some(lines.map(|line| format!("{}\n", line.trim_end())).collect())
}

#[derive(Debug)]
struct Drawn {
    labels: Vec<LabeledSpan>,
    source: NamedSource<String>,
}

impl std::fmt::Display for Drawn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("-")
    }
}

impl std::error::Error for Drawn {}

impl miette::Diagnostic for Drawn {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }
}
