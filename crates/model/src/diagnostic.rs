//! What is wrong with a flow, as values: severity, code, message, hint and place.
//!
//! Every check adds to one [`Diagnostics`] list, so that a person sees all problems at once. The drawing on a
//! terminal lives in the cli; the form's red marks live in the web UI; both read these values. The codes with their
//! explanations live in [`mod@codes`].

pub mod codes;

pub use codes::{CodeInfo, codes, explain};

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// How many diagnostics are kept of one document; beyond it only their number is told.
pub const MOST_DIAGNOSTICS: usize = 500;

/// Whether a diagnostic stops a flow from being saved and run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Severity {
    /// The flow can't be saved or run.
    Error,
    /// The flow runs, but probably not as meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

/// A place in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Span {
    /// Bytes from the beginning of the text.
    pub offset: usize,
    /// Bytes; 0 marks a point between two characters.
    pub len: usize,
    /// From 1.
    pub line: usize,
    /// From 1, in Unicode characters.
    pub column: usize,
}

impl Span {
    /// The span of `len` bytes at byte `offset` of `text`; both are cut to what the text has, at character bounds.
    pub fn of(text: &str, offset: usize, len: usize) -> Span {
        let start = floor(text, offset.min(text.len()));
        let end = floor(text, start.saturating_add(len).min(text.len()));
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Span {
            offset: start,
            len: end.saturating_sub(start),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// The point at `line` and `column` (both from 1, columns in characters) of `text`, cut to what the text has.
    pub fn at(text: &str, line: usize, column: usize) -> Span {
        let line = line.max(1);
        let mut start = 0;
        for _ in 1..line {
            match text[start..].find('\n') {
                Some(at) => start += at + 1,
                None => return Span::of(text, text.len(), 0),
            }
        }
        let rest = &text[start..];
        let row = rest.split('\n').next().unwrap_or(rest);
        let within = row.char_indices().nth(column.max(1) - 1).map_or(row.len(), |(at, _)| at);
        Span::of(text, start + within, 0)
    }
}

fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// One problem with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// What sort of problem, in kebab case; [`explain`] tells more about it.
    pub code: Cow<'static, str>,
    /// What is wrong: lower case, one sentence without a full stop.
    pub message: String,
    /// What a person can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The file the place is in; absent for the flow document itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where in that file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
    /// Further places in the same file, each with what is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<(Span, String)>,
    /// The id of the processor it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<String>,
}

impl Diagnostic {
    /// An error without a place yet.
    pub fn error(code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Severity::Error, code, message)
    }

    /// A warning without a place yet.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Severity::Warning, code, message)
    }

    fn new(severity: Severity, code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity,
            code: Cow::Borrowed(code),
            message: message.into(),
            hint: None,
            file: None,
            span: None,
            related: Vec::new(),
            processor: None,
        }
    }

    /// The same at `span`.
    pub fn at(mut self, span: Span) -> Diagnostic {
        self.span = Some(span);
        self
    }

    /// The same with a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Diagnostic {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a further place and what is there.
    pub fn related(mut self, span: Span, what: impl Into<String>) -> Diagnostic {
        self.related.push((span, what.into()));
        self
    }

    /// The same, said of a processor.
    pub fn of_processor(mut self, id: Option<&str>) -> Diagnostic {
        self.processor = id.map(str::to_owned);
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
        }
        if let Some(span) = &self.span {
            write!(f, "{}:{}: ", span.line, span.column)?;
        } else if self.file.is_some() {
            f.write_str(" ")?;
        }
        write!(f, "{}[{}]: {}", self.severity, self.code, self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

/// All that is to be said of a flow, in the order of its places once [`Diagnostics::sort`] was called; every function
/// of this crate that returns a list returns it sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Diagnostics {
    items: Vec<Diagnostic>,
    #[serde(skip)]
    dropped: usize,
}

// By hand, because what a derive makes of it is not transparent.
#[cfg(feature = "schema")]
impl utoipa::PartialSchema for Diagnostics {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        let item = utoipa::openapi::Ref::from_schema_name(<Diagnostic as utoipa::ToSchema>::name());
        utoipa::openapi::ArrayBuilder::new().items(item).into()
    }
}

#[cfg(feature = "schema")]
impl utoipa::ToSchema for Diagnostics {
    fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>) {
        schemas.push((Diagnostic::name().into_owned(), <Diagnostic as utoipa::PartialSchema>::schema()));
        Diagnostic::schemas(schemas);
    }
}

impl Diagnostics {
    /// An empty list.
    pub fn new() -> Diagnostics {
        Diagnostics::default()
    }

    /// Adds one; beyond [`MOST_DIAGNOSTICS`] it is only counted, so that a hostile document can't fill the memory.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.is_full() {
            self.dropped += 1;
        } else {
            self.items.push(diagnostic);
        }
    }

    /// Whether further ones are only counted.
    pub fn is_full(&self) -> bool {
        self.items.len() >= MOST_DIAGNOSTICS
    }

    /// Adds all of `other`.
    pub fn append(&mut self, other: Diagnostics) {
        self.dropped += other.dropped;
        for diagnostic in other.items {
            self.push(diagnostic);
        }
    }

    /// Sorts by file and place, errors before warnings at one place, and says how many were left out.
    pub fn sort(&mut self) {
        self.items.sort_by(|a, b| {
            // What has no place belongs to the document as a whole and comes last.
            let place = |d: &Diagnostic| d.span.map_or((1, 0), |span| (0, span.offset));
            (&a.file, place(a), a.severity, &a.code, &a.message).cmp(&(
                &b.file,
                place(b),
                b.severity,
                &b.code,
                &b.message,
            ))
        });
        self.items.dedup();
        if self.dropped > 0 {
            let more = std::mem::take(&mut self.dropped);
            self.items.push(
                Diagnostic::error(codes::TOO_MANY_PROBLEMS, format!("{more} more problems are not shown"))
                    .hint("mend the first ones and check again"),
            );
        }
    }

    /// Says of which file the places are that so far are of the flow document.
    pub fn in_file(mut self, name: &str) -> Diagnostics {
        for diagnostic in &mut self.items {
            if diagnostic.file.is_none() && diagnostic.span.is_some() {
                diagnostic.file = Some(name.to_owned());
            }
        }
        self
    }

    /// Whether anything stops the flow.
    pub fn has_errors(&self) -> bool {
        self.items.iter().any(|d| d.severity == Severity::Error)
    }

    /// How many errors.
    pub fn errors(&self) -> usize {
        self.items.iter().filter(|d| d.severity == Severity::Error).count()
    }

    /// How many warnings.
    pub fn warnings(&self) -> usize {
        self.items.len() - self.errors()
    }

    /// How many in all.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// One after the other.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.items.iter()
    }

    /// "6 errors, 1 warning".
    pub fn summary(&self) -> String {
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        match (self.errors(), self.warnings()) {
            (0, 0) => "no problems".to_owned(),
            (errors, 0) => count(errors, "error"),
            (0, warnings) => count(warnings, "warning"),
            (errors, warnings) => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
        }
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Diagnostics {
        Diagnostics { items: vec![diagnostic], dropped: 0 }
    }
}

impl fmt::Display for Diagnostics {
    /// A line for each, for logs and plain output.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, diagnostic) in self.items.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
