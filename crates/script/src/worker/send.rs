//! The server's side of sending: greetings and scripts, and calls cut into frames of bounded size.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::frame::{HEADER, Header, INLINE, Kind, Sent, Wants, put_item};
use crate::pools::Shared;
use crate::value::{CallContent, CallItem};

/// A call's frame is closed when it holds so much.
const FRAME_ITEMS: usize = 4096;
const FRAME_BYTES: usize = 2 << 20;
/// Far below what the kernel passes at once (253).
const FRAME_DESCRIPTORS: usize = 32;

/// The positions that one frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub start: usize,
    pub end: usize,
}

/// Cut a batch into frames.
pub(super) fn plan(items: &[CallItem], pending: &[usize]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let (mut start, mut bytes, mut descriptors) = (0, 0, 0);
    for (at, index) in pending.iter().enumerate() {
        let item = &items[*index];
        let (inline, descriptor) = match &item.content {
            CallContent::Bytes(data) if data.len() <= INLINE => (data.len(), 0),
            _ => (0, 1),
        };
        // Attributes are guessed: they are limited one by one, and seldom large.
        let size = inline + item.name.len() + 256;
        let full =
            bytes + size > FRAME_BYTES || at - start == FRAME_ITEMS || descriptors + descriptor > FRAME_DESCRIPTORS;
        if full && at > start {
            frames.push(Frame { start, end: at });
            (start, bytes, descriptors) = (at, 0, 0);
        }
        bytes += size;
        descriptors += descriptor;
    }
    if start < pending.len() {
        frames.push(Frame { start, end: pending.len() });
    }
    frames
}

/// Send a frame that is no call.
pub(super) async fn plain(stream: &UnixStream, kind: Kind, script: u16, payload: Vec<u8>) -> io::Result<()> {
    let header = Header { kind, length: length(&payload)?, descriptors: 0, script, count: 0, call: 0, budget: 0 };
    write_all(stream, &header.encode(), &payload).await
}

/// Send all frames of a batch, one after the other, as the worker takes them. Of the results as many bytes as
/// the options say may come inline; what is more comes in files.
pub(super) async fn calls(
    stream: &UnixStream,
    items: &[CallItem],
    pending: &[usize],
    frames: &[Frame],
    first_call: u32,
    (script, wants): (u16, Wants),
    shared: &Shared,
) -> io::Result<()> {
    let budget = shared.options.result_memory / frames.len().max(1) as u64;
    let mut payload = BytesMut::new();
    for (call, frame) in (first_call..).zip(frames) {
        payload.clear();
        let mut files: Vec<RawFd> = Vec::new();
        // Open until the frame is sent.
        let mut copies: Vec<File> = Vec::new();
        for index in &pending[frame.start..frame.end] {
            let item = &items[*index];
            let content = match &item.content {
                CallContent::Bytes(data) if data.len() <= INLINE => Sent::Inline(data),
                CallContent::Bytes(data) => {
                    let copy = in_memory_file(data.clone()).await?;
                    files.push(copy.as_raw_fd());
                    copies.push(copy);
                    Sent::Descriptor
                }
                CallContent::File(file) => {
                    // The script could change the stored file's mode through the server's own descriptor.
                    let (file, scratch) = (file.try_clone()?, shared.scratch.path().to_owned());
                    let read_only = move || opendmp_sandbox::read_only(&file, &scratch);
                    let file = tokio::task::spawn_blocking(read_only).await.map_err(io::Error::other)??;
                    files.push(file.as_raw_fd());
                    copies.push(file);
                    Sent::Descriptor
                }
            };
            if !put_item(&mut payload, item, &content, wants) {
                return Err(io::Error::other("an item that was not checked"));
            }
        }
        let header = Header {
            length: length(&payload)?,
            kind: Kind::Call,
            descriptors: u8::try_from(files.len()).map_err(io::Error::other)?,
            script,
            count: u32::try_from(frame.end - frame.start).map_err(io::Error::other)?,
            call,
            budget,
        };
        if files.is_empty() {
            write_all(stream, &header.encode(), &payload).await?;
        } else {
            send_with(stream, &header.encode(), &files).await?;
            write_all(stream, &[], &payload).await?;
        }
    }
    Ok(())
}

fn length(payload: &[u8]) -> io::Result<u32> {
    u32::try_from(payload.len()).map_err(io::Error::other)
}

/// Write a head and what follows, at once where they fit; through a shared reference, since the other direction is read
/// at the same time.
async fn write_all(stream: &UnixStream, mut head: &[u8], mut rest: &[u8]) -> io::Result<()> {
    while !head.is_empty() || !rest.is_empty() {
        stream.writable().await?;
        match stream.try_write_vectored(&[IoSlice::new(head), IoSlice::new(rest)]) {
            Ok(written) => {
                let of_head = written.min(head.len());
                head = &head[of_head..];
                rest = &rest[written - of_head..];
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Send a header with descriptors; so few bytes go as a whole or not at all.
async fn send_with(stream: &UnixStream, header: &[u8; HEADER], files: &[RawFd]) -> io::Result<()> {
    let sent = stream
        .async_io(Interest::WRITABLE, || {
            let rights = [ControlMessage::ScmRights(files)];
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            Ok(sendmsg::<UnixAddr>(stream.as_raw_fd(), &[IoSlice::new(header)], &rights, flags, None)?)
        })
        .await?;
    if sent == HEADER { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Large content that is in memory, as a descriptor.
async fn in_memory_file(data: Bytes) -> io::Result<File> {
    let copy = move || {
        let mut file = crate::os::anonymous_file("opendmp-content", Path::new(&std::env::temp_dir()))?;
        file.write_all(&data)?;
        Ok(file)
    };
    tokio::task::spawn_blocking(copy).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(content: CallContent) -> CallItem {
        CallItem { name: "n".into(), media_type: None, attributes: None, hash: [0; 32], size: 0, content }
    }

    #[test]
    fn frames_are_bounded_and_hold_all() {
        let small = || item(CallContent::Bytes(Bytes::from(vec![0; 100])));
        let medium = || item(CallContent::Bytes(Bytes::from(vec![0; 900 << 10])));
        let large = || item(CallContent::Bytes(Bytes::from(vec![0; INLINE + 1])));
        for (items, least) in [
            ((0..10_000).map(|_| small()).collect::<Vec<_>>(), 3),
            ((0..9).map(|_| medium()).collect(), 5),
            ((0..65).map(|_| large()).collect(), 3),
            (Vec::new(), 0),
        ] {
            let pending: Vec<usize> = (0..items.len()).collect();
            let frames = plan(&items, &pending);
            assert!(frames.len() >= least && frames.len() <= least + 1, "{frames:?}");
            assert!(frames.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert_eq!(frames.last().map_or(0, |frame| frame.end), items.len());
        }
    }
}
