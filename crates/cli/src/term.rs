//! The two ends of a terminal: standard output for what was asked, standard error for everything else; colours and
//! widths as each of them has them.

use std::io::{IsTerminal, Write};

use crate::args::Color;

/// See the module.
#[derive(Clone, Debug)]
pub struct Term {
    /// Whether standard output is a terminal.
    pub out_is_terminal: bool,
    /// Whether standard error is a terminal.
    pub err_is_terminal: bool,
    /// Whether a person can be asked.
    pub in_is_terminal: bool,
    out_colors: bool,
    err_colors: bool,
}

/// Columns where nobody can say how many there are.
const USUAL_WIDTH: usize = 100;

impl Term {
    /// The process's own.
    pub fn new(color: Color) -> Self {
        let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        let plain = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let wanted = |terminal: bool| match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !plain,
        };
        let (out_colors, err_colors) = (wanted(out), wanted(err));
        console::set_colors_enabled(out_colors);
        console::set_colors_enabled_stderr(err_colors);
        Self {
            out_is_terminal: out,
            err_is_terminal: err,
            in_is_terminal: std::io::stdin().is_terminal(),
            out_colors,
            err_colors,
        }
    }

    /// Whether standard error has colours.
    pub fn err_colors(&self) -> bool {
        self.err_colors
    }

    /// Columns of standard output, where it is a terminal.
    pub fn width(&self) -> Option<usize> {
        self.out_is_terminal
            .then(|| usize::from(console::Term::stdout().size_checked().map_or(80, |(_, columns)| columns)))
    }

    /// Columns for what is drawn on standard error.
    pub fn drawing_width(&self) -> usize {
        let terminal = console::Term::stderr();
        if self.err_is_terminal {
            terminal.size_checked().map_or(80, |(_, columns)| usize::from(columns))
        } else {
            USUAL_WIDTH
        }
    }

    /// Lines of standard error.
    pub fn height(&self) -> usize {
        console::Term::stderr().size_checked().map_or(24, |(rows, _)| usize::from(rows))
    }

    /// Prints text as it is.
    ///
    /// # Errors
    /// Those of standard output; a reader that has left among them.
    pub fn out(&self, text: &str) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Prints a line on standard error.
    pub fn err(&self, line: &str) {
        // There is nobody left to tell.
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    fn paint(&self, on: bool, codes: &str, text: &str) -> String {
        if on { format!("\u{1b}[{codes}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Red and bold, on standard error.
    pub fn bad(&self, text: &str) -> String {
        self.paint(self.err_colors, "1;31", text)
    }

    /// Yellow and bold, on standard error.
    pub fn warn(&self, text: &str) -> String {
        self.paint(self.err_colors, "1;33", text)
    }

    /// Cyan, on standard error.
    pub fn cyan(&self, text: &str) -> String {
        self.paint(self.err_colors, "36", text)
    }

    /// Green, on standard output.
    pub fn green(&self, text: &str) -> String {
        self.paint(self.out_colors, "32", text)
    }

    /// Red, on standard output.
    pub fn red(&self, text: &str) -> String {
        self.paint(self.out_colors, "31", text)
    }

    /// Yellow, on standard output.
    pub fn yellow(&self, text: &str) -> String {
        self.paint(self.out_colors, "33", text)
    }

    /// Faint, on standard output.
    pub fn dim(&self, text: &str) -> String {
        self.paint(self.out_colors, "2", text)
    }

    /// Bold, on standard output.
    pub fn bold(&self, text: &str) -> String {
        self.paint(self.out_colors, "1", text)
    }
}
