//! Diagnostics drawn beneath the line they are about.

use std::fmt::Write as _;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, SourceCode, SourceSpan,
    SpanContents,
};
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

/// Lines longer than this many bytes are not drawn: a flow in one line of JSON would fill the screen.
const LONGEST_LINE: usize = 500;

/// The source with marks; only the place in words where there is nothing to draw.
fn drawing(diagnostic: &Diagnostic, name: String, text: &str, label: Option<&str>, term: &Term) -> Option<String> {
    let span = diagnostic.span.filter(|_| !text.is_empty())?;
    let place = format!("  at {name}:{}:{}\n", span.line, span.column);
    let mut labels = vec![LabeledSpan::new_primary_with_span(label.map(str::to_owned), (span.offset, span.len))];
    let related = diagnostic.related.iter().map(|(span, what)| LabeledSpan::at((span.offset, span.len), what.clone()));
    labels.extend(related);
    let source = Source { name, text: harmless(text) };
    if labels.iter().any(|label| source.lines_of(label.offset(), label.len()).len() > LONGEST_LINE) {
        return Some(place);
    }
    let drawn = Drawn { labels, source };
    let theme = if term.err_colors() { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(term.drawing_width()).with_links(false);
    let mut out = String::new();
    handler.render_report(&mut out, &drawn).ok()?;
    // The drawing begins with a head of its own, which is said better above.
    let begin = out.lines().position(|line| line.contains('\u{256d}'))?;
    let lines = out.lines().skip(begin).filter(|line| !line.trim().is_empty());
    Some(lines.map(|line| format!("{}\n", line.trim_end())).collect())
}

/// The text, byte for byte as long, without what a terminal would obey.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            '\r' => out.push(' '),
            c if c.is_control() => out.extend(std::iter::repeat_n('?', c.len_utf8())),
            // What would reorder the line has three bytes, as has its substitute.
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[derive(Debug)]
struct Drawn {
    labels: Vec<LabeledSpan>,
    source: Source,
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

/// A text of which only the lines are shown that are marked.
#[derive(Debug)]
struct Source {
    name: String,
    text: String,
}

impl Source {
    /// The bytes of the lines that a span touches, without the last line's end.
    fn lines_of(&self, offset: usize, length: usize) -> std::ops::Range<usize> {
        let start = offset.min(self.text.len());
        let end = (start + length).min(self.text.len());
        let bytes = self.text.as_bytes();
        let begin = bytes[..start].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let stop = bytes[end..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| end + at);
        begin..stop
    }
}

impl SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        _: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let lines = self.lines_of(span.offset(), span.len());
        let line = self.text.as_bytes()[..lines.start].iter().filter(|byte| **byte == b'\n').count();
        let data = &self.text.as_bytes()[lines.clone()];
        let count = data.iter().filter(|byte| **byte == b'\n').count() + 1;
        let shown = SourceSpan::from((lines.start, lines.len()));
        // Without lines around it the drawing asks only where it is.
        let column = match before {
            0 => self.text.get(lines.start..span.offset()).map_or(0, |text| text.chars().count()),
            _ => 0,
        };
        Ok(Box::new(MietteSpanContents::new_named(self.name.clone(), data, shown, line, column, count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_obey_nothing() {
        let text = "a\u{1b}[31m\u{9b}b\u{202e}c\r\n\t";
        let shown = harmless(text);
        assert_eq!(shown, "a?[31m??b\u{fffd}c \n\t");
        assert_eq!(shown.len(), text.len());
    }

    #[test]
    fn whole_lines_are_shown() {
        let source = Source { name: "x".to_owned(), text: "one\ntwo\nthree".to_owned() };
        let shown = |offset, length| &source.text[source.lines_of(offset, length)];
        assert_eq!(
            [shown(5, 1), shown(4, 3), shown(2, 3), shown(99, 5), shown(0, 0)],
            ["two", "two", "one\ntwo", "three", "one"]
        );
    }
}
