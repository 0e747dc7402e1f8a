//! Many datasets as one zip archive, written while it is sent: neither on disk nor in memory as a whole.

use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use opendmp_engine::Engine;
use opendmp_model::name::Distinct;
use opendmp_ports::content::Body;
use opendmp_ports::journal::RevisionRow;
use tokio::sync::{Semaphore, mpsc};
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::problem::Problem;

/// Datasets in one archive at most.
pub(crate) const MOST: usize = 10_000;

/// Bytes that are read, compressed and sent at a time.
const PIECE: usize = 256 << 10;

/// Archives that are made at a time: each has a thread for as long as its asker takes.
const AT_A_TIME: usize = 32;

static ROOM: Semaphore = Semaphore::const_new(AT_A_TIME);

/// Pieces under way to one asker.
const PIECES: usize = 4;

/// From this size on a member needs numbers of 64 bits; deflate may make a content a little larger.
const LARGE: u64 = 0xf000_0000;

/// What goes to the asker; gathered into pieces.
struct Sent {
    piece: Vec<u8>,
    to: mpsc::Sender<io::Result<Bytes>>,
}

impl Sent {
    fn send(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        let left = |_| io::Error::new(io::ErrorKind::BrokenPipe, "whoever asked has left");
        if piece.is_empty() { Ok(()) } else { self.to.blocking_send(Ok(piece.into())).map_err(left) }
    }
}

impl Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends the archive of these datasets, none of which was let go, piece by piece, as fast as it is taken. What fails on
/// the way ends the stream with an error, so that nobody takes what came for the whole.
///
/// # Errors
/// Where so many are being made already.
pub(crate) fn send(engine: Arc<Engine>, rows: Vec<RevisionRow>) -> Result<mpsc::Receiver<io::Result<Bytes>>, Problem> {
    let room = ROOM.try_acquire().map_err(|_| {
        Problem::new(503, "too-many-archives", format!("{AT_A_TIME} archives are being made already"))
            .with_hint("wait until one of them is there, or stop it")
    })?;
    let (to, pieces) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        let _room = room;
        // Opened one after the other, so that not all of them are open at a time.
        let (bodies, mut opened) = mpsc::channel::<(RevisionRow, Body)>(1);
        let failed = to.clone();
        let written = tokio::task::spawn_blocking(move || {
            let mut writer = ZipWriter::new_stream(Sent { piece: Vec::with_capacity(PIECE), to });
            let mut names = Distinct::default();
            while let Some((row, body)) = opened.blocking_recv() {
                add(&mut writer, &names.take(&row.item.name), row.item.content.size, body)?;
            }
            Ok::<_, io::Error>(writer)
        });
        let mut broken = None;
        for row in rows {
            match engine.content.open(&row.item.content).await {
                Ok(body) => {
                    if bodies.send((row, body)).await.is_err() {
                        break;
                    }
                }
                Err(error) => {
                    broken = Some(io::Error::other(error.to_string()));
                    break;
                }
            }
        }
        drop(bodies);
        let written = written.await.map_err(io::Error::other).and_then(|written| written);
        let ended = match (broken, written) {
            (Some(error), _) | (None, Err(error)) => Err(error),
            (None, Ok(writer)) => tokio::task::spawn_blocking(move || finish(writer))
                .await
                .map_err(io::Error::other)
                .and_then(|ended| ended),
        };
        if let Err(error) = ended {
            if error.kind() != io::ErrorKind::BrokenPipe {
                tracing::warn!(%error, "an archive was broken off");
            }
            let _ = failed.send(Err(error)).await;
        }
    });
    Ok(pieces)
}

fn add(writer: &mut ZipWriter<StreamWriter<Sent>>, name: &str, size: u64, body: Body) -> io::Result<()> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(1))
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644)
        .large_file(size >= LARGE);
    writer.start_file(name, options)?;
    match body {
        Body::Bytes(bytes) => writer.write_all(&bytes),
        Body::File(file) => {
            let (mut piece, mut at) = (vec![0; PIECE], 0);
            loop {
                let length = file.read_at(&mut piece, at)?;
                if length == 0 {
                    return Ok(());
                }
                writer.write_all(&piece[..length])?;
                at += length as u64;
            }
        }
    }
}

fn finish(writer: ZipWriter<StreamWriter<Sent>>) -> io::Result<()> {
    let mut sent = writer.finish()?.into_inner();
    sent.send()
}
