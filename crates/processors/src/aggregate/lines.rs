//! Texts, one after the other.

use std::io::{self, Write};

use opendmp_processor::{Input, JoinError, Joining};

use super::fault;
use crate::blocks::Stop;
use crate::text::{Encoding, Text};

/// A text in the making. It needs to know nothing of what came before.
pub(super) struct Joined(pub Option<Encoding>);

impl Joining for Joined {
    fn add(&mut self, input: &Input, out: &mut dyn Write) -> Result<(), JoinError> {
        let stop = Stop::default();
        // Of an item that is no text nothing is to be written.
        Text::new(input.body.clone(), self.0, &stop).check().map_err(fault)?;
        copy(Text::new(input.body.clone(), self.0, &stop), b"\n", out)
    }

    fn end(self: Box<Self>, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// Copies what there is; `line_end` follows where it is something and does not end with a line end.
pub(super) fn copy(mut text: Text, line_end: &[u8], out: &mut dyn Write) -> Result<(), JoinError> {
    let mut last = None;
    loop {
        let block = text.block().map_err(fault)?;
        let Some(byte) = block.last() else { break };
        out.write_all(block)?;
        last = Some(*byte);
        let count = block.len();
        text.leave(count);
    }
    if !matches!(last, None | Some(b'\n')) {
        out.write_all(line_end)?;
    }
    Ok(())
}
