//! What a processor is tried on: something handed in, something of the past, or text written by hand.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use opendmp_model::fault::Fault;
use opendmp_model::ids::{Arrival, ContentHash, IdPrefix, ItemId, Pass, PathHash};
use opendmp_model::item::{Attributes, ContentRef, Item, Place, is_scalar};
use opendmp_ports::Error;
use opendmp_ports::content::{Body as Stored, Hold, PositionedReader, SMALL};
use opendmp_ports::journal::{DeadRow, RevisionRow};

use super::outputs::{PREVIEW, preview};
use super::{TriedInput, refused};
use crate::Engine;
use crate::control::Refusal;
use crate::loaded::run_blocking;
use crate::uploads::{file_name, media_type_of};

/// The name of text that was given none.
const NAMELESS: &str = "sample.txt";

/// Bytes of attributes at most, as JSON.
const ATTRIBUTES: usize = 64 << 10;

/// On what a processor is tried.
#[derive(Debug)]
pub enum Sample {
    /// An upload, by id.
    Upload(String),
    /// An item of the past; its bytes are computed again where they are not at hand.
    Item(IdPrefix),
    /// A dataset revision.
    Revision(Box<RevisionRow>),
    /// The input of a dead letter.
    Letter(Box<DeadRow>),
    /// Text.
    Text(String),
}

/// A sample with its bytes.
pub(super) struct Given {
    pub item: Item,
    pub body: Stored,
    upload: Option<String>,
    /// Keeps bytes that were computed for this.
    _hold: Option<Hold>,
}

impl Given {
    fn new(item: Item, body: Stored) -> Self {
        Self { item, body, upload: None, _hold: None }
    }

    /// What is told of it.
    pub(super) async fn told(&self) -> Result<TriedInput, Error> {
        let body = self.body.clone();
        let head = run_blocking(move || head(&body)).await?;
        let (item, upload) = (self.item.clone(), self.upload.clone());
        let preview = head.ok().and_then(|head| preview(&head, item.content.size));
        Ok(TriedInput { item, upload, preview })
    }
}

/// The beginning of some bytes.
fn head(body: &Stored) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    match body {
        Stored::Bytes(bytes) => out.extend_from_slice(&bytes[..bytes.len().min(PREVIEW)]),
        Stored::File(file) => {
            PositionedReader::new(file).take(PREVIEW as u64).read_to_end(&mut out)?;
        }
    }
    Ok(out)
}

/// An item that never arrived.
fn made_up(name: String, media_type: Option<String>, hash: ContentHash, size: u64, now: i64) -> Item {
    Item {
        id: ItemId { arrival: Arrival(0), pass: Pass(0), path: PathHash::root("try") },
        name: name.into(),
        content: ContentRef { hash, size, place: Place::Empty },
        media_type: media_type.map(Into::into),
        attributes: Attributes::new().into(),
        origin: Arrival(0),
        label: 0,
        index: 0,
        arrived: now,
    }
}

impl Engine {
    /// A sample with its bytes.
    pub(super) async fn sample(
        self: &Arc<Self>,
        sample: Sample,
        name: Option<String>,
        attributes: Attributes,
    ) -> Result<Given, Refusal> {
        if let Some(name) = &name {
            file_name(name)?;
        }
        check_attributes(&attributes)?;
        let now = self.clock.now();
        let mut given = match sample {
            Sample::Upload(id) => {
                let (kept, file) = self.uploads()?.open_one(&id).await?;
                let body = match kept.size <= SMALL {
                    // As content of that size comes from the store.
                    true => Stored::Bytes(read_small(file).await?),
                    false => Stored::File(file),
                };
                let item = made_up(kept.name, kept.media_type, kept.hash, kept.size, now);
                Given { upload: Some(id), ..Given::new(item, body) }
            }
            Sample::Item(prefix) => {
                // Beside this, so that a step of the flow that was computed again is not broken off in the middle.
                let engine = Arc::clone(self);
                let found = tokio::spawn(async move { engine.whole_item(&prefix).await }).await;
                let (item, content) = found.map_err(|_| refused("broken-off", "the sample could not be made"))??;
                Given { _hold: content.hold, ..Given::new(item, content.body) }
            }
            Sample::Revision(row) => match row.gone {
                Some(_) => {
                    let message = format!("the content of revision {} was let go", row.revision);
                    return Err(refused("let-go", message).with_hint("choose another sample").into());
                }
                None => Given::new(row.item.clone(), self.content.open(&row.item.content).await?),
            },
            Sample::Letter(row) => Given::new(row.item.clone(), self.content.open(&row.item.content).await?),
            Sample::Text(text) => {
                let name = name.clone().unwrap_or_else(|| NAMELESS.to_owned());
                let media_type = media_type_of(None, &name)?;
                let bytes = Bytes::from(text);
                let (hash, size) = (ContentHash::of(&bytes), bytes.len() as u64);
                Given::new(made_up(name, media_type, hash, size, now), Stored::Bytes(bytes))
            }
        };
        if let Some(name) = name {
            given.item.name = name.into();
        }
        if !attributes.is_empty() {
            let mut all = (*given.item.attributes).clone();
            all.extend(attributes);
            given.item.attributes = all.into();
        }
        Ok(given)
    }
}

fn check_attributes(attributes: &Attributes) -> Result<(), Fault> {
    if let Some((key, _)) = attributes.iter().find(|(_, value)| !is_scalar(value)) {
        return Err(refused("bad-attributes", format!("the attribute `{key}` is a list or an object"))
            .with_hint("an attribute is text, a number, true, false or null"));
    }
    let size: usize = attributes.iter().map(|(key, value)| key.len() + value.as_str().map_or(8, str::len)).sum();
    if size > ATTRIBUTES {
        return Err(refused("bad-attributes", format!("the attributes have more than {} KiB", ATTRIBUTES >> 10))
            .with_hint("keep large values in the content"));
    }
    Ok(())
}

async fn read_small(file: Arc<std::fs::File>) -> Result<Bytes, Refusal> {
    let read = run_blocking(move || {
        let mut bytes = Vec::new();
        PositionedReader::new(&file).read_to_end(&mut bytes).map(|_| bytes)
    });
    let failed = |error| Error::io("try-out", "reading the sample", &error);
    Ok(read.await?.map_err(failed)?.into())
}
