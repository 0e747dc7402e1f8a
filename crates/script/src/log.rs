//! What scripts print and log, and what their processes write to standard output and error, bounded.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use tokio::net::unix::pipe::Receiver;

use crate::value::{LogLevel, LogLine};

/// Bytes of log that the results of one call may hold in all, besides some for each line.
const CALL_ROOM: usize = 4 << 20;
/// Bytes of raw output kept for one call.
const RAW_ROOM: usize = 256 << 10;
/// What a line costs besides its text.
const LINE_COST: usize = 32;
/// Bytes of standard error kept for a crash.
const TAIL: usize = 8 << 10;

/// A log under construction.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pub lines: Vec<LogLine>,
    pub left_out: u64,
}

impl Lines {
    /// Add text, a line for each of its lines; what `room` has no place for is counted.
    pub(crate) fn add(&mut self, level: LogLevel, text: &[u8], room: &mut usize) {
        if text.is_empty() {
            return;
        }
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        for line in text.split(|byte| *byte == b'\n') {
            if line.len() + LINE_COST > *room {
                self.left_out += line.len() as u64 + 1;
            } else {
                *room -= line.len() + LINE_COST;
                self.lines.push(LogLine { level, text: String::from_utf8_lossy(line).into_owned() });
            }
        }
    }

    /// Add a log as a worker writes it: what it left out, then entries of stream, length and text.
    pub(crate) fn add_entries(&mut self, mut bytes: &[u8], room: &mut usize) {
        if let Some((left_out, rest)) = bytes.split_first_chunk() {
            self.left_out = self.left_out.saturating_add(u64::from_le_bytes(*left_out));
            bytes = rest;
        }
        while let Some(([stream, length @ ..], rest)) = bytes.split_first_chunk::<5>() {
            // A crash in the middle of writing can leave a length that is ahead of the text.
            let length = (u32::from_le_bytes(*length) as usize).min(rest.len());
            let (text, rest) = rest.split_at(length);
            self.add(LogLevel::from_code(*stream), text, room);
            bytes = rest;
        }
    }
}

/// The room that one call has for logs.
pub(crate) fn call_room() -> usize {
    CALL_ROOM
}

/// The pipes behind a process's descriptors 1 and 2.
///
/// They are drained only while the worker is called: between calls a process that writes more than the pipe holds
/// waits, which harms nobody.
#[derive(Debug)]
pub(crate) struct RawOutput {
    out: Option<Receiver>,
    err: Option<Receiver>,
    tail: VecDeque<u8>,
    /// What came during this call: position of the item under way, stream, bytes.
    chunks: Vec<(usize, LogLevel, Vec<u8>)>,
    room: usize,
    left_out: u64,
}

impl RawOutput {
    /// For the reading ends of the pipes. Needs a runtime.
    pub(crate) fn new((out, err): (Option<OwnedFd>, Option<OwnedFd>)) -> io::Result<Self> {
        Ok(Self {
            out: out.map(Receiver::from_owned_fd).transpose()?,
            err: err.map(Receiver::from_owned_fd).transpose()?,
            tail: VecDeque::new(),
            chunks: Vec::new(),
            room: RAW_ROOM,
            left_out: 0,
        })
    }

    /// Wait until there is something to [`RawOutput::drain`]; for ever if both are closed.
    pub(crate) async fn readable(&self) {
        async fn one(pipe: Option<&Receiver>) {
            match pipe {
                Some(pipe) if pipe.readable().await.is_ok() => {}
                _ => std::future::pending().await,
            }
        }
        tokio::select! {
            () = one(self.out.as_ref()) => {}
            () = one(self.err.as_ref()) => {}
        }
    }

    /// Read what is known to be there, and note it for the item at `position`. Reads at most so much that a flood
    /// can't keep the server from anything else.
    pub(crate) fn drain(&mut self, position: usize) {
        self.read(position, |pipe, buffer| pipe.try_read(buffer));
    }

    /// The same, asking the system itself: for the last time of a call, when what the runtime knows may be too old.
    pub(crate) fn drain_all(&mut self, position: usize) {
        self.read(position, |pipe, buffer| Ok(nix::unistd::read(pipe, buffer)?));
    }

    fn read(&mut self, position: usize, read: impl Fn(&Receiver, &mut [u8]) -> io::Result<usize>) {
        let mut buffer = [0; 16 << 10];
        for level in [LogLevel::Stdout, LogLevel::Stderr] {
            for _ in 0..16 {
                let pipe = if level == LogLevel::Stdout { &mut self.out } else { &mut self.err };
                let Some(open) = pipe else { break };
                match read(open, &mut buffer) {
                    Ok(0) => *pipe = None,
                    Ok(length) => self.note(position, level, &buffer[..length]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => *pipe = None,
                }
            }
        }
    }

    fn note(&mut self, position: usize, level: LogLevel, bytes: &[u8]) {
        if level == LogLevel::Stderr {
            self.tail.extend(bytes);
            let excess = self.tail.len().saturating_sub(TAIL);
            self.tail.drain(..excess);
        }
        let fits = bytes.len().min(self.room);
        self.room -= fits;
        self.left_out += (bytes.len() - fits) as u64;
        match self.chunks.last_mut() {
            Some((at, of, text)) if *at == position && *of == level => text.extend(&bytes[..fits]),
            _ if fits > 0 => self.chunks.push((position, level, bytes[..fits].to_vec())),
            _ => {}
        }
    }

    /// What came since the last time, by position; and how many bytes were left out.
    pub(crate) fn take(&mut self) -> (Vec<(usize, LogLevel, Vec<u8>)>, u64) {
        self.room = RAW_ROOM;
        (std::mem::take(&mut self.chunks), std::mem::take(&mut self.left_out))
    }

    /// The end of standard error, since the process began.
    pub(crate) fn tail(&self) -> String {
        let bytes: Vec<u8> = self.tail.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(stream: u8, length: u32, text: &[u8]) -> Vec<u8> {
        [&[stream][..], &length.to_le_bytes(), text].concat()
    }

    #[test]
    fn entries_become_lines() {
        let bytes = [&7_u64.to_le_bytes()[..], &entry(1, 8, b"one\n\ntwo"), &entry(5, 4, b"bad\n")].concat();
        let (mut log, mut room) = (Lines::default(), 1000);
        log.add_entries(&bytes, &mut room);
        let lines: Vec<_> = log.lines.iter().map(|line| (line.level.as_str(), line.text.as_str())).collect();
        assert_eq!(lines, [("stdout", "one"), ("stdout", ""), ("stdout", "two"), ("warning", "bad")]);
        assert_eq!((log.left_out, room), (7, 1000 - 4 * LINE_COST - 9));
    }

    #[test]
    fn torn_entries_are_cut() {
        let bytes = [&0_u64.to_le_bytes()[..], &entry(1, 900, b"half"), &[9][..]].concat();
        let mut log = Lines::default();
        log.add_entries(&bytes, &mut 1000);
        assert_eq!(log.lines.len(), 1);
        log.add_entries(&[1, 2], &mut 1000);
        assert_eq!(log.lines.len(), 1);
    }

    #[test]
    fn what_there_is_no_room_for_is_counted() {
        let mut log = Lines::default();
        log.add(LogLevel::Stdout, b"first\nsecond\n", &mut (LINE_COST + 5));
        assert_eq!((log.lines.len(), log.left_out), (1, 7));
    }
}
