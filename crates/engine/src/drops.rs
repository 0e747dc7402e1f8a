//! Files that people hand to the server for a source: they are put where the source takes from, and go from there the way
//! of every other file.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_ports::Content;
use opendmp_ports::content::Usage;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::Engine;
use crate::control::Refusal;
use crate::space::{Shortage, below_reserve};

/// Pieces on their way into the folder.
const PIECES: usize = 4;

/// After so many bytes it is looked again whether the data directory's disk, which the folder may lie on, has room.
const LOOK: u64 = 4 << 20;

/// A file that is coming in. Dropped before its end, it leaves nothing.
pub struct Dropping {
    content: Arc<dyn Content>,
    reserve: u64,
    written: u64,
    /// Why the rest of it is not taken.
    refused: Option<Fault>,
    /// `None` says that it is whole.
    pieces: mpsc::Sender<Option<Bytes>>,
    put: JoinHandle<Result<(), Fault>>,
}

impl Engine {
    /// Begins to put a file into the source of an ingest of a flow's present version; `name` is that of the file, with the
    /// folder within the source's where it looks into these.
    ///
    /// # Errors
    /// Where there is no such flow or ingest, or its source can't be opened. What the source says of the file is told by
    /// [`Dropping::end`].
    pub async fn drop_into(&self, flow: &str, processor: &str, name: &str, replace: bool) -> Result<Dropping, Refusal> {
        let flow = self.find_flow(flow).await?;
        let loaded = self.load(flow.version).await?;
        let Some(node) = loaded.ingests().find(|node| *node.id == *processor) else {
            let names: Vec<&str> = loaded.ingests().map(|node| &*node.id).collect();
            let message = format!("the flow `{}` has no ingest `{processor}`", flow.slug);
            let fault = Fault::new(FaultKind::Rejected, "not-found", message);
            return Err(fault.with_hint(format!("it has: {}", names.join(", "))).into());
        };
        let source = node.source(self).await?;
        // The folder may lie on the data directory's disk. Elsewhere, the file would only wait there.
        if let Some(Some(Shortage { message, hint })) = self.holds_back(flow.id).await {
            return Err(Fault::new(FaultKind::NoSpace, "no-space", message).with_hint(hint).into());
        }
        let (pieces, coming) = mpsc::channel(PIECES);
        let name = name.to_owned();
        let content = Box::new(Coming { coming, present: Bytes::new(), whole: false });
        let put = tokio::spawn(async move { source.put(&name, content, replace).await });
        let (content, reserve) = (Arc::clone(&self.content), self.options.reserve);
        Ok(Dropping { content, reserve, written: 0, refused: None, pieces, put })
    }
}

impl Dropping {
    /// Adds bytes. Answers whether they are wanted: where they are not, [`Dropping::end`] says why.
    pub async fn write(&mut self, piece: Bytes) -> bool {
        let before = self.written;
        self.written += piece.len() as u64;
        if before / LOOK != self.written / LOOK
            && let Ok(Usage { free: Some(free), .. }) = self.content.usage().await
            && free < self.reserve
        {
            let Shortage { message, hint } = below_reserve(self.reserve);
            self.refused = Some(Fault::new(FaultKind::NoSpace, "no-space", message).with_hint(hint));
            return false;
        }
        self.pieces.send(Some(piece)).await.is_ok()
    }

    /// Says that this was all, and waits until it is in its place.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn end(self) -> Result<(), Fault> {
        if let Some(refused) = self.refused {
            // Without the rest nothing is left of it.
            drop(self.pieces);
            let _ = self.put.await;
            return Err(refused);
        }
        // Who reads no more has said why.
        let _ = self.pieces.send(None).await;
        let interrupted =
            |error| Fault::new(FaultKind::Unavailable, "interrupted", format!("it was broken off: {error}"));
        self.put.await.map_err(interrupted)?
    }
}

/// What comes in, for the source to read.
struct Coming {
    coming: mpsc::Receiver<Option<Bytes>>,
    present: Bytes,
    whole: bool,
}

impl Read for Coming {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.present.is_empty() && !self.whole {
            match self.coming.blocking_recv() {
                Some(Some(bytes)) => self.present = bytes,
                Some(None) => self.whole = true,
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the sender has left")),
            }
        }
        let n = buf.len().min(self.present.len());
        buf[..n].copy_from_slice(&self.present.split_to(n));
        Ok(n)
    }
}
