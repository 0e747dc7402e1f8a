//! Rows below one header.

use std::io::{self, Write};

use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::name;
use opendmp_processor::{Input, JoinError, Joining};

use super::fault;
use super::lines::copy;
use crate::blocks::{Blocks, Stop};
use crate::rows::{Rows, fields};

/// A CSV in the making.
pub(super) struct Joined {
    delimiter: u8,
    first: Option<Header>,
}

/// The header of the first item.
struct Header {
    /// Whose it is.
    of: String,
    fields: Vec<Vec<u8>>,
    line_end: &'static [u8],
}

impl Joined {
    pub(super) fn new(delimiter: u8) -> Self {
        Self { delimiter, first: None }
    }
}

impl Joining for Joined {
    fn add(&mut self, input: &Input, out: &mut dyn Write) -> Result<(), JoinError> {
        let stop = Stop::default();
        let mut rows = Rows::new(Blocks::new(input.body.clone(), &stop), self.delimiter);
        // An item without a header has no rows either.
        let Some(text) = rows.header().map_err(fault)? else { return Ok(()) };
        let names = fields(&text, self.delimiter);
        if let Some(first) = self.first.as_ref().filter(|first| first.fields != names) {
            return Err(JoinError::Item(differs(&names, first, self.delimiter)));
        }
        let behind = rows.position();
        // A quote that is never closed would take in the rows of the items to come.
        while rows.next(|_| Ok(())).map_err(fault)? {}
        let begin = if self.first.is_some() { behind } else { 0 };
        let first = self.first.get_or_insert_with(|| Header {
            of: input.item.name.to_string(),
            fields: names,
            line_end: if text.ends_with(b"\r\n") { b"\r\n" } else { b"\n" },
        });
        copy(Blocks::within(input.body.clone(), begin..u64::MAX, &stop), first.line_end, out)
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
        shown(&first.fields, delimiter)
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
