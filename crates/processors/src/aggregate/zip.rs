//! A zip archive with a member for each item. Equal items give equal bytes: no time, no user, no system is written down.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use opendmp_model::name::Distinct;
use opendmp_processor::{Input, JoinError, Joining};
use zip::result::ZipError;
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, ZipWriter};

use super::fault;
use crate::blocks::{Blocks, Stop};

/// From this size on a member needs numbers of 64 bits; deflate may make a content a little larger.
const LARGE: u64 = 0xf000_0000;

/// An archive in the making. What it holds is its directory, which a zip archive has at its end, and names.
pub(super) struct Joined {
    /// `None` where writing failed.
    writer: Option<ZipWriter<StreamWriter<Outgoing>>>,
    out: Outgoing,
    names: Distinct,
}

/// What the writer wrote and was not passed on; it wants a place of its own to write to.
#[derive(Clone, Default)]
struct Outgoing(Arc<Mutex<Vec<u8>>>);

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Outgoing {
    fn pass_on(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        out.write_all(&bytes)?;
        bytes.clear();
        Ok(())
    }
}

impl Default for Joined {
    fn default() -> Self {
        let out = Outgoing::default();
        Self { writer: Some(ZipWriter::new_stream(out.clone())), out, names: Distinct::default() }
    }
}

impl Joining for Joined {
    fn add(&mut self, input: &Input, out: &mut dyn Write) -> Result<(), JoinError> {
        let mut blocks = Blocks::new(input.body.clone(), &Stop::default());
        let size = blocks.size().map_err(fault)?;
        let name = self.names.take(&input.item.name);
        let writer = self.writer.as_mut().ok_or_else(|| io::Error::other("the archive was given up"))?;
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(zip::DateTime::default())
            .unix_permissions(0o644)
            .large_file(size >= LARGE);
        writer.start_file(name, options).map_err(error)?;
        loop {
            let block = blocks.take_block().map_err(fault)?;
            if block.is_empty() {
                break;
            }
            writer.write_all(&block)?;
            self.out.pass_on(out)?;
        }
        self.out.pass_on(out).map_err(JoinError::Io)
    }

    fn end(mut self: Box<Self>, out: &mut dyn Write) -> io::Result<()> {
        if let Some(writer) = self.writer.take() {
            writer.finish().map_err(error)?;
        }
        self.out.pass_on(out)
    }
}

fn error(error: ZipError) -> io::Error {
    match error {
        ZipError::Io(error) => error,
        other => io::Error::other(other),
    }
}
