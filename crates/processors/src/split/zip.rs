//! Members of a zip archive, in the order of its directory.
//!
//! Read here and not with the crate `zip`, whose reader holds the whole directory in memory and keeps one of two members
//! with the same name: memory must not grow with the members, and no member may be lost. What is read is APPNOTE.TXT 6.3
//! of PKWARE without encryption and spanning: the directory with its Zip64 fields, stored and deflated members, and their
//! checksums. Archives are written by that crate, in `aggregate`.

mod directory;

use std::io::Read;

use flate2::Crc;
use flate2::bufread::DeflateDecoder;
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_processor::Body;

use self::directory::{Directory, Member, exactly};
use super::archive::{LeftOut, damaged, shown};
use super::{Part, Parts, Room};
use crate::blocks::{BLOCK, Blocks, Spill, Stop, fault};

/// The members of an archive.
pub(super) struct Members {
    body: Body,
    stop: Stop,
    directory: Option<Directory>,
}

impl Members {
    pub(super) fn new(body: Body, stop: &Stop) -> Self {
        Self { body, stop: stop.clone(), directory: None }
    }

    /// Looks at the whole directory.
    pub(super) fn survey(mut self, left_out: &mut LeftOut) -> Result<(), Fault> {
        while let Some(member) = self.member()? {
            if member.is_link() {
                left_out.add(&member.path, "a link");
            } else if member.is_folder() && member.size > 0 {
                left_out.add(&member.path, "a folder, although it has a content");
            }
        }
        if let Some(behind) = self.directory.map(|directory| directory.behind).filter(|behind| *behind > 0) {
            left_out.tell(format!("{behind} bytes behind the end of the archive were left out"));
        }
        Ok(())
    }

    /// The next entry of the directory that can be read.
    fn member(&mut self) -> Result<Option<Member>, Fault> {
        let directory = match &mut self.directory {
            Some(directory) => directory,
            None => self.directory.insert(Directory::open(&self.body, &self.stop)?),
        };
        let Some(member) = directory.next()? else { return Ok(None) };
        if member.is_encrypted() {
            let message = format!("`{}` is encrypted", shown(&member.path));
            return Err(Fault::new(FaultKind::Rejected, "encrypted", message)
                .with_hint("send the archive without a password, or decrypt it with an `external` before"));
        }
        if !matches!(member.method, STORED | DEFLATED) && !member.is_folder() {
            let message =
                format!("`{}` was packed by method {}, which is not known", shown(&member.path), member.method);
            return Err(Fault::new(FaultKind::Rejected, "unknown-method", message)
                .with_hint("make the archive with deflate, which every program has"));
        }
        Ok(Some(member))
    }

    fn content(&self, member: &Member, room: &Room) -> Result<Spill, Fault> {
        let begin = member.begin(&self.body, &self.stop)?;
        let mut packed = Blocks::within(self.body.clone(), begin..begin + member.packed, &self.stop);
        let mut content = room.spill();
        let mut crc = Crc::new();
        let broken = |why: &str| damaged(format_args!("{why}, in `{}`", shown(&member.path)));
        let mut put = |bytes: &[u8]| {
            crc.update(bytes);
            content.put(bytes)
        };
        if member.method == STORED {
            loop {
                let block = packed.take_block()?;
                if block.is_empty() {
                    break;
                }
                put(&block)?;
            }
        } else {
            let mut decoder = DeflateDecoder::new(&mut packed);
            let mut buffer = vec![0; BLOCK.min(usize::try_from(member.size).unwrap_or(BLOCK).max(1))];
            loop {
                match decoder.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(read) => put(&buffer[..read])?,
                    Err(error) => return Err(fault(error, |error| broken(&error.to_string()))),
                }
            }
        }
        if content.written() != member.size {
            return Err(broken(&format!("{} bytes came out instead of {}", content.written(), member.size)));
        }
        if crc.sum() != member.crc {
            return Err(broken("the checksum differs"));
        }
        Ok(content)
    }
}

/// Compression methods.
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

impl Parts for Members {
    fn next(&mut self, room: &Room) -> Result<Option<Part>, Fault> {
        while let Some(member) = self.member()? {
            if !member.is_folder() && !member.is_link() {
                let content = self.content(&member, room)?;
                return Ok(Some(Part { content, member: Some(member.path) }));
            }
        }
        Ok(None)
    }
}

/// Where the content of a member begins: behind its own header, which has its name once more.
impl Member {
    fn begin(&self, body: &Body, stop: &Stop) -> Result<u64, Fault> {
        let at = || damaged(format_args!("`{}` is not where the directory says", shown(&self.path)));
        let header: [u8; 30] = exactly(&mut Blocks::within(body.clone(), self.header..self.limit, stop), at)?;
        if !header.starts_with(b"PK\x03\x04") {
            return Err(at());
        }
        let long = |at: usize| u64::from(u16::from_le_bytes([header[at], header[at + 1]]));
        let begin = self.header + 30 + long(26) + long(28);
        match begin.checked_add(self.packed) {
            Some(end) if end <= self.limit => Ok(begin),
            _ => Err(at()),
        }
    }
}
