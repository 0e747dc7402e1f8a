//! An array of documents.

use std::io::{self, Write};

use opendmp_model::fault::Fault;
use opendmp_processor::{Body, Input, JoinError, Joining};

use super::fault;
use crate::blocks::{Blocks, Stop};
use crate::json::Json;

/// An array in the making.
#[derive(Default)]
pub(super) struct Joined {
    begun: bool,
}

impl Joining for Joined {
    fn add(&mut self, input: &Input, out: &mut dyn Write) -> Result<(), JoinError> {
        let stop = Stop::default();
        // Looked at to its end before anything is written.
        let (begin, end) = document(&input.body, &stop).map_err(fault)?;
        out.write_all(if std::mem::replace(&mut self.begun, true) { b",\n" } else { b"[\n" })?;
        let mut blocks = Blocks::within(input.body.clone(), begin..end, &stop);
        loop {
            let block = blocks.take_block().map_err(fault)?;
            if block.is_empty() {
                return Ok(());
            }
            out.write_all(&block)?;
        }
    }

    fn end(self: Box<Self>, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(if self.begun { b"\n]\n" } else { b"[]\n" })
    }
}

/// From where to where the one document of an item goes, without what is around it.
fn document(body: &Body, stop: &Stop) -> Result<(u64, u64), Fault> {
    let mut json = Json::new(Blocks::new(body.clone(), stop))?;
    if json.peek()?.is_none() {
        return Err(json.ends_early());
    }
    let begin = json.position();
    json.value(None)?;
    let end = json.position();
    json.end()?;
    Ok((begin, end))
}
