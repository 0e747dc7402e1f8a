//! Where names stand in the text of an expression. The parser keeps no places of what it accepts.

use cel::parser::pratt_parser::{Lexer, TokenKind};

/// The names of an expression, in order.
pub(super) struct Tokens<'a>(Vec<Name<'a>>);

struct Name<'a> {
    text: &'a str,
    offset: usize,
    /// Whether it comes behind a dot, and whether a `(` follows.
    member: bool,
    called: bool,
}

impl<'a> Tokens<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let mut lexer = Lexer::new(text);
        let mut names: Vec<Name<'a>> = Vec::new();
        let mut before = TokenKind::TokEnd;
        // Each token is at least one byte.
        for _ in 0..=text.len() {
            let token = lexer.lex();
            match token.kind {
                TokenKind::TokEnd => break,
                TokenKind::TokWhitespace | TokenKind::TokComment => continue,
                TokenKind::TokIdent => names.push(Name {
                    text: text.get(token.start..token.end).unwrap_or_default(),
                    offset: token.start,
                    member: before == TokenKind::TokDot,
                    called: false,
                }),
                TokenKind::TokLeftParen if before == TokenKind::TokIdent => {
                    if let Some(name) = names.last_mut() {
                        name.called = true;
                    }
                }
                _ => {}
            }
            before = token.kind;
        }
        Self(names)
    }

    /// Where the nth call of a function, from 0, has its name.
    pub(super) fn call(&self, nth: usize) -> Option<usize> {
        self.0.iter().filter(|name| name.called).nth(nth).map(|name| name.offset)
    }

    /// Where a variable stands first.
    pub(super) fn name(&self, text: &str) -> Option<usize> {
        self.0.iter().find(|name| name.text == text && !name.member && !name.called).map(|name| name.offset)
    }
}
