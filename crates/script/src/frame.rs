//! The frames of the script protocol (sdk/PROTOCOL.md): how calls are written and results are read.
//!
//! Pure functions of bytes. What a worker says is not trusted: every length is checked before it is used.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::value::{CallItem, Failure};

/// The version both sides must speak.
pub(crate) const PROTOCOL: u32 = 1;
/// Contents beyond this many bytes travel as descriptors or files.
pub(crate) const INLINE: usize = 1 << 20;
/// No frame of a worker may be longer than this many bytes.
pub(crate) const LARGEST_RESULTS: usize = 16 << 20;
/// Attributes of one item beyond this many bytes of JSON are refused.
pub(crate) const LARGEST_ATTRIBUTES: usize = 8 << 20;
/// Bytes of a frame's header.
pub(crate) const HEADER: usize = 24;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Hello = 1,
    Call = 2,
    Load = 3,
    Ready = 129,
    Refused = 130,
    Results = 131,
}

/// A worker broke the protocol; says how.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Garbage(pub String);

fn garbage<T>(text: impl Into<String>) -> Result<T, Garbage> {
    Err(Garbage(text.into()))
}

/// The header before every frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub length: u32,
    pub kind: Kind,
    pub descriptors: u8,
    /// The number of the script in its worker.
    pub script: u16,
    pub count: u32,
    pub call: u32,
    pub budget: u64,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        let mut w = &mut out[..];
        w.put_u32_le(self.length);
        w.put_u8(self.kind as u8);
        w.put_u8(self.descriptors);
        w.put_u16_le(self.script);
        w.put_u32_le(self.count);
        w.put_u32_le(self.call);
        w.put_u64_le(self.budget);
        out
    }

    /// The header of a worker's frame, from at least [`HEADER`] bytes.
    pub(crate) fn decode(mut bytes: &[u8]) -> Result<Self, Garbage> {
        let length = bytes.get_u32_le();
        let kind = match bytes.get_u8() {
            129 => Kind::Ready,
            130 => Kind::Refused,
            131 => Kind::Results,
            other => return garbage(format!("a frame of unknown kind {other}")),
        };
        let descriptors = bytes.get_u8();
        let header = Self {
            length,
            kind,
            descriptors,
            script: bytes.get_u16_le(),
            count: bytes.get_u32_le(),
            call: bytes.get_u32_le(),
            budget: bytes.get_u64_le(),
        };
        if length as usize > LARGEST_RESULTS {
            return garbage(format!("a frame of {length} bytes"));
        }
        Ok(header)
    }
}

/// How an item's content travels.
pub(crate) enum Sent<'a> {
    Inline(&'a [u8]),
    Descriptor,
}

/// What of an item the script wants to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wants {
    /// Attributes and hash.
    pub attributes: bool,
}

/// Add one item to the payload of a call. Returns false, and adds nothing, if its attributes are too large.
pub(crate) fn put_item(out: &mut BytesMut, item: &CallItem, content: &Sent<'_>, wants: Wants) -> bool {
    let attributes = item.attributes.as_deref().filter(|_| wants.attributes).unwrap_or_default().as_bytes();
    let digits = wants.attributes.then(|| blake3::Hash::from_bytes(item.hash).to_hex());
    let hash = digits.as_ref().map_or("", |digits| digits.as_str());
    let media = item.media_type.as_deref().unwrap_or_default().as_bytes();
    let (where_, inline): (u8, &[u8]) = match content {
        Sent::Inline(bytes) => (0, bytes),
        Sent::Descriptor => (1, b""),
    };
    let Ok(media_length) = u16::try_from(media.len()) else { return false };
    if attributes.len() > LARGEST_ATTRIBUTES || item.name.len() > INLINE || inline.len() > INLINE {
        return false;
    }
    out.put_u8(where_);
    out.put_u8(0);
    out.put_u16_le(media_length);
    // The casts hold: the hash has 64 digits or none, and the others were just compared with less than 4 GiB.
    out.put_u16_le(hash.len() as u16);
    out.put_u16_le(0);
    out.put_u32_le(item.name.len() as u32);
    out.put_u32_le(attributes.len() as u32);
    out.put_u32_le(inline.len() as u32);
    out.put_u32_le(0);
    out.put_u64_le(item.size);
    out.put_slice(inline);
    out.put_slice(item.name.as_bytes());
    out.put_slice(media);
    out.put_slice(hash.as_bytes());
    out.put_slice(attributes);
    true
}

/// Where a result's content is.
#[derive(Debug, PartialEq)]
pub(crate) enum Place {
    Same,
    Inline(Bytes),
    File { number: u32, offset: u64, size: u64 },
}

/// One record of a results frame.
#[derive(Debug, PartialEq)]
pub(crate) enum Record {
    /// A result of the item under way.
    Child {
        name: Option<String>,
        media_type: Option<String>,
        port: Option<String>,
        attributes: Map<String, Value>,
        place: Place,
    },
    /// The item under way is done.
    End { outcome: Said, many: bool, index: u32, took: Duration, log: Bytes },
}

/// What the script said of an item.
#[derive(Debug, PartialEq)]
pub(crate) enum Said {
    Emit,
    Reject { reason: String },
    Retry { reason: String, after: Option<Duration> },
    Failed(Failure),
    OverMemory,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    after: Option<f64>,
}

/// A failure as JSON says it; `hint` and the place may be missing.
#[derive(Deserialize)]
pub(crate) struct FailureDetail {
    kind: String,
    message: String,
    #[serde(default)]
    traceback: String,
    #[serde(default)]
    file: Option<String>,
    #[serde(default)]
    line: Option<u32>,
    #[serde(default)]
    source_line: Option<String>,
    #[serde(default)]
    hint: Option<String>,
}

impl From<FailureDetail> for Failure {
    fn from(d: FailureDetail) -> Self {
        let FailureDetail { kind, message, traceback, file, line, source_line, hint } = d;
        Self { kind, message, traceback, file, line, source_line, hint }
    }
}

/// Take the next record off a payload; none when it is used up.
pub(crate) fn take_record(payload: &mut Bytes) -> Result<Option<Record>, Garbage> {
    if payload.is_empty() {
        return Ok(None);
    }
    match payload[0] {
        1 => take_child(payload).map(Some),
        2 => take_end(payload).map(Some),
        other => garbage(format!("a record of unknown kind {other}")),
    }
}

fn take_child(payload: &mut Bytes) -> Result<Record, Garbage> {
    if payload.len() < 40 {
        return garbage("a result is cut off");
    }
    let mut head = payload.split_to(40);
    head.advance(1);
    let where_ = head.get_u8();
    let media_length = usize::from(head.get_u16_le());
    let port_length = usize::from(head.get_u16_le());
    head.advance(2);
    let name_length = head.get_u32_le() as usize;
    let attributes_length = head.get_u32_le() as usize;
    let number = head.get_u32_le();
    head.advance(4);
    let offset = head.get_u64_le();
    let size = head.get_u64_le();
    let name = take_text(payload, name_length, "name")?;
    let media_type = take_text(payload, media_length, "media type")?;
    let port = take_text(payload, port_length, "port")?;
    let attributes = match take(payload, attributes_length)? {
        text if text.is_empty() => Map::new(),
        text => match serde_json::from_slice(&text) {
            Ok(map) => map,
            Err(error) => return garbage(format!("attributes that are not JSON: {error}")),
        },
    };
    let place = match where_ {
        0 => Place::Same,
        1 if size <= INLINE as u64 => Place::Inline(take(payload, size as usize)?),
        1 => return garbage(format!("an inline content of {size} bytes")),
        2 => Place::File { number, offset, size },
        other => return garbage(format!("a content of unknown kind {other}")),
    };
    Ok(Record::Child { name, media_type, port, attributes, place })
}

fn take_end(payload: &mut Bytes) -> Result<Record, Garbage> {
    if payload.len() < 24 {
        return garbage("the end of an item is cut off");
    }
    let mut head = payload.split_to(24);
    head.advance(1);
    let outcome = head.get_u8();
    let many = head.get_u8() != 0;
    head.advance(1);
    let index = head.get_u32_le();
    let took = Duration::from_nanos(head.get_u64_le());
    let log_length = head.get_u32_le() as usize;
    let detail_length = head.get_u32_le() as usize;
    let log = take(payload, log_length)?;
    let detail = take(payload, detail_length)?;
    let outcome = match outcome {
        0 => Said::Emit,
        1 => Said::Reject { reason: json::<Detail>(&detail)?.reason },
        2 => {
            let Detail { reason, after } = json(&detail)?;
            // What is no duration (negative, infinite) is as good as none said.
            Said::Retry { reason, after: after.and_then(|s| Duration::try_from_secs_f64(s).ok()) }
        }
        3 => Said::Failed(json::<FailureDetail>(&detail)?.into()),
        4 => Said::OverMemory,
        other => return garbage(format!("an unknown outcome {other}")),
    };
    Ok(Record::End { outcome, many, index, took, log })
}

pub(crate) fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Garbage> {
    serde_json::from_slice(bytes).map_err(|error| Garbage(format!("a message that is not as agreed: {error}")))
}

fn take(payload: &mut Bytes, length: usize) -> Result<Bytes, Garbage> {
    if length > payload.len() {
        return garbage(format!("a part of {length} bytes where {} are left", payload.len()));
    }
    Ok(payload.split_to(length))
}

fn take_text(payload: &mut Bytes, length: usize, what: &str) -> Result<Option<String>, Garbage> {
    if length == 0 {
        return Ok(None);
    }
    match std::str::from_utf8(&take(payload, length)?) {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => garbage(format!("a {what} that is not UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(name: &[u8], attributes: &[u8], where_: u8, size: u64, inline: &[u8]) -> Vec<u8> {
        let mut out = vec![1, where_, 0, 0, 0, 0, 0, 0];
        out.put_u32_le(name.len() as u32);
        out.put_u32_le(attributes.len() as u32);
        out.put_u32_le(7);
        out.put_u32_le(0);
        out.put_u64_le(3);
        out.put_u64_le(size);
        out.put_slice(name);
        out.put_slice(attributes);
        out.put_slice(inline);
        out
    }

    fn read(bytes: Vec<u8>) -> Result<Option<Record>, Garbage> {
        take_record(&mut Bytes::from(bytes))
    }

    #[test]
    fn headers_round_trip() {
        let header =
            Header { length: 5, kind: Kind::Results, descriptors: 0, script: 513, count: 9, call: 77, budget: 1 << 40 };
        assert_eq!(Header::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn long_and_unknown_frames_are_refused() {
        let long =
            Header { length: u32::MAX, kind: Kind::Results, descriptors: 0, script: 0, count: 1, call: 0, budget: 0 };
        assert!(Header::decode(&long.encode()).is_err());
        assert!(Header::decode(&[0x55; HEADER]).is_err());
        assert!(Header::decode(&Header { length: 0, kind: Kind::Call, ..long }.encode()).is_err(), "not a worker's");
    }

    #[test]
    fn children_are_read() {
        let Ok(Some(Record::Child { name, attributes, place, .. })) = read(child(b"a.txt", b"{\"k\":1}", 1, 2, b"hi"))
        else {
            panic!("a child")
        };
        assert_eq!(name.as_deref(), Some("a.txt"));
        assert_eq!(attributes["k"], 1);
        assert_eq!(place, Place::Inline(Bytes::from_static(b"hi")));
        let Ok(Some(Record::Child { place, .. })) = read(child(b"", b"", 2, 9, b"")) else { panic!("a child") };
        assert_eq!(place, Place::File { number: 7, offset: 3, size: 9 });
    }

    #[test]
    fn what_does_not_add_up_is_garbage() {
        for bytes in [
            child(b"a", b"", 1, 3, b"hi"),
            child(b"\xff", b"", 0, 0, b""),
            child(b"a", b"[1]", 0, 0, b""),
            child(b"a", b"", 1, u64::MAX, b"hi"),
            child(b"a", b"", 9, 0, b""),
            vec![1; 39],
            vec![2; 23],
            vec![7],
        ] {
            assert!(read(bytes.clone()).is_err(), "{bytes:?}");
        }
        // Every cut of a good record is refused, too, and never panics.
        let good = child(b"name", b"{}", 1, 4, b"data");
        for end in 1..good.len() {
            assert!(read(good[..end].to_vec()).is_err(), "{end}");
        }
    }

    #[test]
    fn odd_retry_times_are_none() {
        let mut out = vec![2, 2, 0, 0];
        let detail = br#"{"reason":"busy","after":-1.0}"#;
        out.put_u32_le(4);
        out.put_u64_le(1500);
        out.put_u32_le(0);
        out.put_u32_le(detail.len() as u32);
        out.put_slice(detail);
        let Ok(Some(Record::End { outcome, index, took, .. })) = read(out) else { panic!("an end") };
        assert_eq!(outcome, Said::Retry { reason: "busy".into(), after: None });
        assert_eq!((index, took), (4, Duration::from_nanos(1500)));
    }
}
