//! What came of trying: results that are kept as uploads, the first of them with their beginnings.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opendmp_model::document::{ByteSize, HumanDuration};
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::item::Item;
use opendmp_ports::content::{Body as Stored, PositionedReader};
use opendmp_processor::{Aggregate, Close, Emission, Input, JoinError, NewContent};

use super::sample::Given;
use super::{Leaving, TriedOutput};
use crate::Engine;
use crate::control::Refusal;
use crate::execute::{body, heir};
use crate::loaded::run_blocking;
use crate::retry::port_fault;
use crate::uploads::{Uploads, Writing};

/// Results that are told at most.
const MOST: usize = 100;

/// Bytes of all of them at most.
const MOST_BYTES: u64 = 1 << 30;

/// Bytes of the beginning of content that is told.
pub(super) const PREVIEW: usize = 64 << 10;

/// Bytes copied at a time.
const PIECE: usize = 256 << 10;

/// Results that are kept.
#[derive(Default)]
pub(super) struct Made {
    pub outputs: Vec<TriedOutput>,
    pub more: bool,
    pub note: Option<String>,
}

/// The beginning of content of that size as text, if it is text.
pub(super) fn preview(head: &[u8], size: u64) -> Option<String> {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // What is cut may be cut within a character.
        Err(error) if error.error_len().is_none() && (head.len() as u64) < size => {
            std::str::from_utf8(&head[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    (!text.contains('\0')).then(|| text.to_owned())
}

/// When a group is closed, in words.
pub(super) fn when(close: &Close) -> String {
    let mut words = Vec::new();
    words.extend(close.count.map(|count| format!("it has {count} items")));
    words.extend(close.bytes.map(|bytes| format!("it has {}", ByteSize::bytes(bytes))));
    words.extend(close.quiet.map(|quiet| {
        let millis = u64::try_from(quiet.as_millis()).unwrap_or(u64::MAX);
        format!("no item came for {}", HumanDuration::from_millis(millis))
    }));
    if close.end_of_run {
        words.push("its run has nothing else to do".to_owned());
    }
    words.join(", or ")
}

impl Engine {
    /// Keeps the results of a step.
    pub(super) async fn results(
        &self,
        given: &Given,
        children: impl Iterator<Item = Result<Emission, Fault>> + Send + 'static,
        leaving: &Leaving,
    ) -> Result<Made, Fault> {
        let keeper = Keeper {
            uploads: self.uploads()?.clone(),
            parent: given.item.clone(),
            body: given.body.clone(),
            left: Arc::clone(&leaving.0),
        };
        run_blocking(move || keeper.keep_all(children)).await.map_err(port_fault)?
    }

    /// Makes one of one, as an aggregate would.
    pub(super) async fn joined(
        &self,
        aggregate: &Aggregate,
        given: Given,
        leaving: &Leaving,
    ) -> Result<Result<Made, Fault>, Refusal> {
        let name = match aggregate.join.name(&given.item) {
            Ok(name) => name,
            Err(fault) => return Ok(Err(fault)),
        };
        let join = Arc::clone(&aggregate.join);
        let (uploads, left) = (self.uploads()?.clone(), Arc::clone(&leaving.0));
        let work = move || {
            let mut item = given.item.clone();
            item.name = name.into();
            item.media_type = Some(join.media_type().into());
            let mut out = Joined { kept: Kept::begin(&uploads, &item)?, left, failed: None };
            let input = Input { item: given.item.clone(), body: body(given.body.clone()) };
            let mut joining = join.begin();
            let joined = joining.add(&input, &mut out).and_then(|()| joining.end(&mut out).map_err(JoinError::Io));
            match (joined, out.failed) {
                (_, Some(fault)) | (Err(JoinError::Item(fault)), None) => Err(fault),
                (Err(JoinError::Io(error)), None) => Err(unreadable(&error)),
                (Ok(()), None) => Ok(Made { outputs: vec![out.kept.end(None, &item)?], more: false, note: None }),
            }
        };
        Ok(run_blocking(work).await?)
    }
}

fn unreadable(error: &std::io::Error) -> Fault {
    Fault::new(FaultKind::Failed, "result-lost", format!("a result can't be read: {error}"))
}

fn abandoned() -> Fault {
    Fault::new(FaultKind::Failed, "broken-off", "nobody waits for this any more")
}

/// Keeps results. Blocks.
struct Keeper {
    uploads: Uploads,
    parent: Item,
    body: Stored,
    left: Arc<AtomicBool>,
}

impl Keeper {
    fn keep_all(&self, children: impl Iterator<Item = Result<Emission, Fault>>) -> Result<Made, Fault> {
        let mut made = Made::default();
        let mut room = MOST_BYTES;
        let cut = |made: &mut Made, why: String| (made.more, made.note) = (true, Some(why));
        for child in children {
            let child = child?;
            if self.left.load(Ordering::Acquire) {
                return Err(abandoned());
            }
            if made.outputs.len() >= MOST {
                cut(&mut made, format!("only the first {MOST} results are kept"));
                break;
            }
            match self.keep(child) {
                Ok(output) if output.size <= room => {
                    room -= output.size;
                    made.outputs.push(output);
                }
                Ok(_) => {
                    cut(&mut made, format!("only the first {} of results are kept", ByteSize::bytes(MOST_BYTES)));
                    break;
                }
                Err(fault) if fault.code == "too-large" => {
                    cut(&mut made, format!("a result is too large to be kept: {}", fault.message));
                    break;
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(made)
    }

    fn keep(&self, child: Emission) -> Result<TriedOutput, Fault> {
        let port = child.port.clone();
        let (item, content) = heir(&self.parent, child);
        let mut kept = Kept::begin(&self.uploads, &item)?;
        match content {
            NewContent::Bytes(bytes) => kept.add(&bytes)?,
            NewContent::Stream(stream) => {
                self.copy(&mut kept, &mut *stream.open().map_err(|error| unreadable(&error))?)?;
            }
            NewContent::Same => match &self.body {
                Stored::Bytes(bytes) => kept.add(bytes)?,
                Stored::File(file) => self.copy(&mut kept, &mut PositionedReader::new(file))?,
            },
        }
        kept.end(port, &item)
    }

    fn copy(&self, kept: &mut Kept, from: &mut dyn Read) -> Result<(), Fault> {
        let mut piece = vec![0; PIECE];
        loop {
            if self.left.load(Ordering::Acquire) {
                return Err(abandoned());
            }
            match from.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(read) => kept.add(&piece[..read])?,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(&error)),
            }
        }
    }
}

/// A result on its way to an upload.
struct Kept {
    writing: Writing,
    head: Vec<u8>,
}

impl Kept {
    fn begin(uploads: &Uploads, item: &Item) -> Result<Self, Fault> {
        let media_type = item.media_type.as_deref().map(str::to_owned);
        Ok(Self { writing: uploads.writing(item.name.to_string(), media_type)?, head: Vec::new() })
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let room = PREVIEW - self.head.len();
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.writing.write(bytes)
    }

    fn end(self, port: Option<Arc<str>>, item: &Item) -> Result<TriedOutput, Fault> {
        let kept = self.writing.end()?;
        Ok(TriedOutput {
            port,
            name: Arc::clone(&item.name),
            media_type: item.media_type.clone(),
            attributes: (*item.attributes).clone(),
            size: kept.size,
            hash: kept.hash,
            upload: kept.id,
            preview: preview(&self.head, kept.size),
        })
    }
}

/// What is joined, for who writes it.
struct Joined {
    kept: Kept,
    left: Arc<AtomicBool>,
    /// Why it could not be kept.
    failed: Option<Fault>,
}

impl std::io::Write for Joined {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let kept = match self.left.load(Ordering::Acquire) {
            true => Err(abandoned()),
            false => self.kept.add(bytes),
        };
        match kept {
            Ok(()) => Ok(bytes.len()),
            Err(fault) => {
                let error = std::io::Error::other(fault.to_string());
                self.failed = Some(fault);
                Err(error)
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
