//! What the server, the launcher and init say to each other.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use serde::{Deserialize, Serialize};

use crate::policy::{Mount, Network};

/// Descriptors that one message takes.
const MAX_DESCRIPTORS: usize = 80;

/// What the launcher is asked for: the first byte of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A command with namespaces of its own.
    Apart,
    /// A command without.
    Plain,
    /// A process that opens files read-only.
    View,
}

impl Wanted {
    pub(super) fn byte(self) -> u8 {
        match self {
            Self::Apart => b'a',
            Self::Plain => b'p',
            Self::View => b'v',
        }
    }

    pub(super) fn of(byte: u8) -> Option<Self> {
        [Self::Apart, Self::Plain, Self::View].into_iter().find(|wanted| wanted.byte() == byte)
    }
}

/// What init needs to know; sent over the socket of the command.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// Empty: only the mounts are made, to see whether they can be.
    pub program: OsString,
    pub arguments: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    pub directory: PathBuf,
    pub memory: Option<u64>,
    pub file_size: Option<u64>,
    pub mounts: Vec<Mount>,
    /// All that is hidden: for where rules have to do it.
    pub hidden: BTreeSet<PathBuf>,
    /// Device and number of what may not be shown because somebody asks for it.
    pub closed: BTreeSet<(u64, u64)>,
    pub network: Network,
    pub shared_memory: u64,
    /// Whether it has namespaces of its own.
    pub apart: bool,
}

impl Request {
    pub(super) fn send(&self, mut stream: &UnixStream) -> io::Result<()> {
        let body = serde_json::to_vec(self)?;
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        stream.write_all(&length.to_le_bytes())?;
        stream.write_all(&body)
    }

    pub(super) fn receive(mut stream: &UnixStream) -> io::Result<Self> {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_le_bytes(length) as usize];
        stream.read_exact(&mut body)?;
        Ok(serde_json::from_slice(&body)?)
    }
}

/// What the server is told of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// Its process ID; comes with a descriptor of the process.
    Begun(i32),
    /// The program runs.
    Started,
    /// It could not be started: the system's error number, and at which step.
    Failed(i32, Step),
    /// The program ended with this wait status, and all that it had started is gone.
    Ended(i32),
}

/// What was being done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Step {
    /// The program was to be run.
    Program,
    /// A folder was to be mounted or entered.
    Folder(PathBuf),
    /// A folder that was asked for is or lies in what is closed.
    Closed(PathBuf),
    /// It has become a link.
    Link(PathBuf),
    /// Something else, in words.
    Other(String),
}

impl Report {
    /// Bytes before the text.
    pub(super) const HEAD: usize = 7;

    pub(super) fn encode(&self) -> Vec<u8> {
        let (kind, value, text) = match self {
            Self::Begun(pid) => (b'b', *pid, Vec::new()),
            Self::Started => (b's', 0, Vec::new()),
            // Paths have 4096 bytes at most, so this is written and has room.
            Self::Failed(error, step) => (b'f', *error, serde_json::to_vec(step).unwrap_or_default()),
            Self::Ended(status) => (b'e', *status, Vec::new()),
        };
        let mut out = vec![kind];
        out.extend(value.to_le_bytes());
        out.extend((text.len() as u16).to_le_bytes());
        out.extend(text);
        out
    }

    /// The first one in `bytes`, which it is taken from; none where it is not whole yet.
    pub(super) fn take(bytes: &mut Vec<u8>) -> io::Result<Option<Self>> {
        let Some((head, rest)) = bytes.split_first_chunk::<{ Self::HEAD }>() else { return Ok(None) };
        let [kind, a, b, c, d, e, f] = *head;
        let (value, length) = (i32::from_le_bytes([a, b, c, d]), usize::from(u16::from_le_bytes([e, f])));
        let Some(text) = rest.get(..length) else { return Ok(None) };
        let step = |text: &[u8]| serde_json::from_slice(text).unwrap_or(Step::Other("start it".to_owned()));
        let report = match kind {
            b'b' => Self::Begun(value),
            b's' => Self::Started,
            b'f' => Self::Failed(value, step(text)),
            b'e' => Self::Ended(value),
            _ => return Err(io::Error::other("the launcher sent what is no report")),
        };
        bytes.drain(..Self::HEAD + length);
        Ok(Some(report))
    }
}

/// Sends a message with descriptors; as a whole or not at all.
pub(super) fn send(socket: &impl AsRawFd, body: &[u8], descriptors: &[RawFd]) -> io::Result<()> {
    let rights = [ControlMessage::ScmRights(descriptors)];
    let rights = if descriptors.is_empty() { &rights[..0] } else { &rights[..] };
    let sent = loop {
        match sendmsg::<UnixAddr>(socket.as_raw_fd(), &[IoSlice::new(body)], rights, MsgFlags::MSG_NOSIGNAL, None) {
            Err(nix::Error::EINTR) => {}
            sent => break sent?,
        }
    };
    if sent == body.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives a message into `body`: how many bytes, and its descriptors. No bytes: the other end is closed.
#[expect(unsafe_code, reason = "received descriptors are numbers that nobody owns yet")]
pub(super) fn receive(socket: &impl AsRawFd, body: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]);
    let mut slices = [IoSliceMut::new(body)];
    let message = loop {
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags) {
            Err(nix::Error::EINTR) => {}
            message => break message?,
        }
    };
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            // SAFETY: the kernel has just made these descriptors for us.
            descriptors.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok((message.bytes, descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_come_back_as_they_were_sent() {
        let all = [Report::Begun(7), Report::Started, Report::Failed(13, Step::Folder("/x".into())), Report::Ended(-1)];
        let mut bytes: Vec<u8> = all.iter().flat_map(Report::encode).collect();
        let last = bytes.pop().unwrap();
        let mut seen = Vec::new();
        while let Some(report) = Report::take(&mut bytes).unwrap() {
            seen.push(report);
        }
        assert_eq!(seen, all[..3], "the last one is not whole");
        bytes.push(last);
        assert_eq!(Report::take(&mut bytes).unwrap(), Some(all[3].clone()));
        assert!(bytes.is_empty());
    }
}
