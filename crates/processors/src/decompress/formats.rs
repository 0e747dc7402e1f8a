//! The formats of archives: how each begins, how it is read, and what can be wrong with it.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use opendmp_model::fault::{Fault, FaultKind};
use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode;
use zstd::zstd_safe::{DCtx, ErrorCode, InBuffer, OutBuffer, get_error_name};

use super::Format;
use crate::blocks::{BLOCK, Blocks, Spill, fault};

/// How a gzip archive begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// How a zstd frame begins.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// How a zstd frame begins that is to be skipped; its first byte may be 15 greater. Parallel compressors write them.
const SKIPPED: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];

/// The largest window an archive may have been made with, as a power of 2: that many bytes are held while it is read.
const MOST_WINDOW: u32 = 27;

/// Takes all out of an archive, which has to be of that format and nothing else.
pub(super) fn unpack(wanted: Format, blocks: &mut Blocks, spill: &mut Spill) -> Result<(), Fault> {
    let found = found(blocks.block()?)?;
    match (wanted, found) {
        (Format::Auto | Format::Gzip, Some(Format::Gzip)) => gzip(blocks, spill),
        (Format::Auto | Format::Zstd, Some(Format::Zstd)) => zstd(blocks, spill),
        (Format::Auto, _) => Err(rejected("not-compressed", "the item is neither gzip nor zstd")
            .with_hint("its first bytes tell; a `route` before this step can send other items past it")),
        (Format::Gzip, other) => Err(wrong("gzip", other)),
        (Format::Zstd, other) => Err(wrong("zstd", other)),
    }
}

/// What the first block begins like.
fn found(first: &[u8]) -> Result<Option<Format>, Fault> {
    if first.is_empty() {
        return Err(rejected("empty-archive", "the item is empty: even an archive of nothing has some bytes")
            .with_hint("look at what made it, or send empty items past this step with a `route`"));
    }
    // What ends within the first bytes is an archive that was cut, as far as can be told.
    let begins = |magic: &[u8]| first.starts_with(magic) || magic.starts_with(first);
    let skipped = matches!(first, [byte, rest @ ..] if byte & 0xf0 == SKIPPED[0] && rest.starts_with(&SKIPPED[1..]));
    Ok(if begins(&GZIP) {
        Some(Format::Gzip)
    } else if begins(&ZSTD) || skipped {
        Some(Format::Zstd)
    } else {
        None
    })
}

/// Reads one member after the other: a gzip archive may be several, joined.
fn gzip(blocks: &mut Blocks, spill: &mut Spill) -> Result<(), Fault> {
    let mut buffer = vec![0; BLOCK];
    let mut first = true;
    loop {
        // Tapes and disks fill archives up with zeros, which every reader of gzip leaves out.
        while !first && blocks.block()?.first() == Some(&0) {
            let zeros = blocks.block()?.iter().take_while(|byte| **byte == 0).count();
            blocks.leave(zeros);
        }
        let rest = blocks.block()?;
        if rest.is_empty() {
            return Ok(());
        }
        // At the edge of a block only one byte may be seen; the decoder looks at both.
        if !(first || rest.starts_with(&GZIP) || rest == &GZIP[..1]) {
            return Err(trailing());
        }
        first = false;
        let mut member = GzDecoder::new(&mut *blocks);
        loop {
            match member.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => spill.put(&buffer[..read])?,
                Err(error) => return Err(fault(error, |error| gzip_fault(&error))),
            }
        }
    }
}

fn gzip_fault(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => cut_short(),
        _ => damaged(&error.to_string()),
    }
}

/// Reads one frame after the other: a zstd archive may be several, joined.
fn zstd(blocks: &mut Blocks, spill: &mut Spill) -> Result<(), Fault> {
    let mut context = DCtx::try_create().ok_or_else(|| memory("no context"))?;
    let parameter = zstd::zstd_safe::DParameter::WindowLogMax(MOST_WINDOW);
    context.set_parameter(parameter).map_err(|code| memory(get_error_name(code)))?;
    let mut buffer = vec![0; BLOCK];
    // How many frames have ended, and how many bytes of the present one were read.
    let (mut ended, mut read) = (0u64, 0usize);
    loop {
        let block = blocks.block()?;
        if block.is_empty() {
            return match (ended, read) {
                (1.., 0) => Ok(()),
                (1.., 1..4) => Err(trailing()),
                _ => Err(cut_short()),
            };
        }
        let mut input = InBuffer::around(block);
        // A full buffer may leave more to come of bytes that were read already.
        let mut full = false;
        while input.pos < block.len() || full {
            let before = input.pos;
            let mut output = OutBuffer::around(buffer.as_mut_slice());
            let left = context.decompress_stream(&mut output, &mut input).map_err(|code| zstd_fault(code, ended))?;
            let made = output.pos();
            full = made == BLOCK;
            read = read.saturating_add(input.pos - before);
            if left == 0 {
                // Flushed too, so nothing is to come although the buffer may be full.
                (ended, read, full) = (ended + 1, 0, false);
            }
            spill.put(&buffer[..made])?;
        }
        let count = block.len();
        blocks.consume(count);
    }
}

fn zstd_fault(code: ErrorCode, ended: u64) -> Fault {
    // An error is the number of its kind, below zero.
    let is = |kind: ZSTD_ErrorCode| code.wrapping_neg() == kind as usize;
    if is(ZSTD_ErrorCode::ZSTD_error_prefix_unknown) && ended > 0 {
        trailing()
    } else if is(ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge) {
        let message = format!("reading the item would take more than {} MiB of memory", (1 << MOST_WINDOW) >> 20);
        rejected("window-too-large", message).with_hint("make it again without `--long`, or with `--long=27`")
    } else if is(ZSTD_ErrorCode::ZSTD_error_memory_allocation) {
        memory(get_error_name(code))
    } else {
        damaged(get_error_name(code))
    }
}

fn rejected(code: &str, message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Rejected, code, message)
}

fn wrong(wanted: &str, other: Option<Format>) -> Fault {
    let is = match other {
        Some(Format::Gzip) => "gzip",
        Some(Format::Zstd) => "zstd",
        Some(Format::Auto) | None => return not(wanted).with_hint("look at what made it; its first bytes tell"),
    };
    not(wanted).with_hint(format!("it is {is}: `format: auto` takes both"))
}

fn not(wanted: &str) -> Fault {
    rejected("wrong-format", format!("the item is not {wanted}"))
}

fn cut_short() -> Fault {
    rejected("cut-short", "the archive ends too early").with_hint("send it again; its end was not copied")
}

fn damaged(error: &str) -> Fault {
    rejected("damaged", format!("the archive is damaged: {}", error.to_lowercase()))
        .with_hint("send it again; its bytes were changed on the way")
}

fn trailing() -> Fault {
    rejected("trailing-bytes", "other bytes follow the end of the archive")
        .with_hint("remove them, or look at what made the item")
}

/// Want of memory is the machine's fault.
fn memory(error: &str) -> Fault {
    Fault::new(FaultKind::Unavailable, "decompressor", format!("the decompressor could not be made: {error}"))
}
