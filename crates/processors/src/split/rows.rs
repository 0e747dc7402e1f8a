//! Texts: lines, rows of a CSV, elements of a JSON array.

use opendmp_model::fault::{Fault, FaultKind};
use opendmp_processor::Body;

use super::{Part, Parts, Room};
use crate::blocks::{BLOCK, Blocks, Stop};
use crate::json::Json;
use crate::rows::{Rows, Settings};
use crate::text::Text;

/// Some lines a child.
pub(super) struct Lines {
    text: Text,
    rows: u64,
    /// They are JSON documents: blank lines are none.
    documents: bool,
}

impl Lines {
    pub(super) fn new(body: Body, rows: u64, documents: bool, settings: Settings, stop: &Stop) -> Self {
        Self { text: Text::new(body, settings.encoding, stop), rows, documents }
    }

    /// Leaves lines behind that have nothing but white space; gives that with which the next one begins, if it was left, too.
    fn blank_lines(&mut self) -> Result<Vec<u8>, Fault> {
        let mut held = Vec::new();
        loop {
            let block = self.text.block()?;
            let count = block.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r')).count();
            match block.get(count) {
                Some(b'\n') => {
                    held.clear();
                    self.text.leave(count + 1);
                }
                None if block.is_empty() => return Ok(Vec::new()),
                // So that memory stays the same, a line of more is no longer blank.
                None if held.len() < BLOCK => {
                    held.extend_from_slice(block);
                    self.text.leave(count);
                }
                _ => return Ok(held),
            }
        }
    }
}

impl Parts for Lines {
    fn next(&mut self, room: &Room) -> Result<Option<Part>, Fault> {
        let (mut content, mut left, mut within) = (room.spill(), self.rows, false);
        while left > 0 {
            if self.documents && !within {
                content.put(&self.blank_lines()?)?;
            }
            let block = self.text.block()?;
            if block.is_empty() {
                break;
            }
            let mut end = block.len();
            within = true;
            for line_end in memchr::memchr_iter(b'\n', block) {
                left -= 1;
                if left == 0 || self.documents {
                    (end, within) = (line_end + 1, false);
                    break;
                }
            }
            content.put(&block[..end])?;
            self.text.leave(end);
        }
        Ok((content.written() > 0).then_some(Part { content, member: None }))
    }
}

/// The header and some rows a child.
pub(super) struct Csv {
    source: Rows,
    header: Option<Vec<u8>>,
    rows: u64,
}

impl Csv {
    pub(super) fn new(body: Body, rows: u64, settings: Settings, stop: &Stop) -> Self {
        Self { source: Rows::new(Text::new(body, settings.encoding, stop), settings), header: None, rows }
    }
}

impl Parts for Csv {
    fn next(&mut self, room: &Room) -> Result<Option<Part>, Fault> {
        let header = match &mut self.header {
            Some(header) => header,
            None => self.header.insert(self.source.header()?.unwrap_or_default()),
        };
        let mut content = room.spill();
        let mut rows = 0;
        while rows < self.rows {
            // Not before it is known that there is a row.
            let mut begun = rows > 0;
            let there = self.source.next(|bytes| {
                if !std::mem::replace(&mut begun, true) {
                    content.put(header)?;
                }
                content.put(bytes)
            })?;
            if !there {
                break;
            }
            rows += 1;
        }
        Ok((rows > 0).then_some(Part { content, member: None }))
    }
}

/// An element a child.
pub(super) struct Elements {
    state: State,
}

enum State {
    New(Blocks),
    Within {
        json: Box<Json>,
        /// No element was read.
        first: bool,
    },
    Over,
}

impl Elements {
    pub(super) fn new(body: Body, stop: &Stop) -> Self {
        Self { state: State::New(Blocks::new(body, stop)) }
    }
}

impl Parts for Elements {
    fn next(&mut self, room: &Room) -> Result<Option<Part>, Fault> {
        let (mut json, first) = match std::mem::replace(&mut self.state, State::Over) {
            State::New(blocks) => (Box::new(begin(blocks)?), true),
            State::Within { json, first } => (json, first),
            State::Over => return Ok(None),
        };
        match json.peek()? {
            None => return Err(json.ends_early()),
            Some(b']') => {
                json.leave();
                return json.end().map(|()| None);
            }
            Some(_) if first => {}
            Some(b',') => json.leave(),
            Some(_) => return Err(json.bad("a `,` or the end of the array is missing")),
        }
        if json.peek()?.is_none() {
            return Err(json.ends_early());
        }
        let content = json.value(Some(room.spill()))?;
        self.state = State::Within { json, first: false };
        Ok(content.map(|content| Part { content, member: None }))
    }
}

/// Behind the bracket with which the array begins.
fn begin(blocks: Blocks) -> Result<Json, Fault> {
    let mut json = Json::new(blocks)?;
    match json.peek()? {
        Some(b'[') => {
            json.leave();
            Ok(json)
        }
        None => Err(json.ends_early()),
        Some(b'{' | b'"') => {
            let message = "the item is JSON, but no array";
            Err(Fault::new(FaultKind::Rejected, "no-array", message)
                .with_hint("`as: lines` takes one document a line; a `script` can take the array out of it"))
        }
        Some(_) => Err(json.bad("it does not begin with `[`")),
    }
}
