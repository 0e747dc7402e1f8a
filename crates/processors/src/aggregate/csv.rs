//! Rows below one header.

use std::io::{self, Write};

use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::name;
use opendmp_processor::{Input, JoinError, Joining};

use super::fault;
use super::lines::copy;
use crate::blocks::Stop;
use crate::rows::{Rows, Settings};
use crate::text::Text;

/// A CSV in the making.
pub(super) struct Joined {
    settings: Settings,
    first: Option<Header>,
}

/// The header of the first item.
struct Header {
    /// Whose it is.
    of: String,
    fields: Vec<Vec<u8>>,
    delimiter: u8,
    line_end: &'static [u8],
}

impl Joined {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, first: None }
    }
}

impl Joining for Joined {
    fn add(&mut self, input: &Input, out: &mut dyn Write) -> Result<(), JoinError> {
        let stop = Stop::default();
        let text = || Text::new(input.body.clone(), self.settings.encoding, &stop);
        let mut rows = Rows::new(text(), self.settings);
        // An item without a header has no rows either.
        let Some(header) = rows.header().map_err(fault)? else { return Ok(()) };
        let (names, delimiter) = (rows.fields_of(&header), rows.delimiter());
        if let Some(first) = self
            .first
            .as_ref()
            .filter(|first| first.fields != names || (first.delimiter != delimiter && names.len() > 1))
        {
            return Err(JoinError::Item(differs(&names, first, delimiter)));
        }
        let (begin, behind) = rows.positions();
        // A quote that is never closed would take in the rows of the items to come.
        while rows.next(|_| Ok(())).map_err(fault)? {}
        let begin = if self.first.is_some() { behind } else { begin };
        let mut rest = text();
        rest.go_to(begin).map_err(fault)?;
        let first = self.first.get_or_insert_with(|| Header {
            of: input.item.name.to_string(),
            fields: names,
            delimiter,
            line_end: if header.ends_with(b"\r\n") { b"\r\n" } else { b"\n" },
        });
        copy(rest, first.line_end, out)
    }

    fn end(self: Box<Self>, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

fn differs(names: &[Vec<u8>], first: &Header, delimiter: u8) -> Fault {
    let message = format!(
        "its header is `{}`, and that of the first item, `{}`, is `{}`",
        shown(names, delimiter),
        name::printable(&first.of),
        shown(&first.fields, first.delimiter)
    );
    Fault::new(FaultKind::Rejected, "other-header", message)
        .with_hint("give all the same columns in an earlier step, or set an attribute there and `group_by` it")
}

/// So many characters of a header are told.
const MOST_SHOWN: usize = 300;

fn shown(fields: &[Vec<u8>], delimiter: u8) -> String {
    let text = name::printable(&name::from_bytes(&fields.join(&delimiter)));
    match text.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
