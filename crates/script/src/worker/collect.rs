//! What comes back: records are checked, put together to outcomes, and counted against the limits of a call.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::send::Frame;
use super::take_frame;
use crate::frame::{Garbage, Kind, Place, Record, Said, take_record};
use crate::log::{Lines, call_room};
use crate::pools::Options;
use crate::scratch::{Numbered, ScratchFile, WorkerDir};
use crate::spool::Spool;
use crate::value::{CallResult, Child, ChildContent, LogLevel, Outcome};

/// What one result costs in memory besides its parts.
const CHILD_COST: u64 = 200;

/// So many results of one item are held in memory at most; where there are more, all go to a file.
const MOST_HELD: usize = 4_000;

/// So many bytes of results of one item are held in memory at most.
const MOST_BYTES: u64 = 8 << 20;

/// Names and attributes of the results of a run take at most so much memory, or what one item may have where that is
/// less.
const MOST_METADATA: u64 = 256 << 20;

/// The results of one run, as they come in.
pub(super) struct Collect<'a> {
    options: &'a Options,
    dir: &'a Arc<WorkerDir>,
    frames: &'a [Frame],
    first_call: u32,
    pending: &'a [usize],
    results: &'a mut [Option<CallResult>],
    /// How many items have their result: also the position of the next.
    received: usize,
    /// Results so far of the item at `received`, where they are few.
    children: Vec<Child>,
    /// The same as they came: parts of what was received, and of no further cost.
    records: Vec<Bytes>,
    /// Bytes of memory that they take.
    item_held: u64,
    /// All of them, where they are many.
    spool: Option<Spool>,
    /// Files taken over in this run; several results may lie in one.
    files: HashMap<u32, Arc<Numbered>>,
    /// Bytes of memory that the results of this run take.
    held: u64,
    log_room: usize,
    memory_limit: u64,
    /// The script ran out of memory and survived it.
    pub saw_memory_error: bool,
}

impl<'a> Collect<'a> {
    pub(super) fn new(
        options: &'a Options,
        dir: &'a Arc<WorkerDir>,
        memory_limit: u64,
        (frames, first_call): (&'a [Frame], u32),
        pending: &'a [usize],
        results: &'a mut [Option<CallResult>],
    ) -> Self {
        Self {
            memory_limit,
            options,
            dir,
            frames,
            first_call,
            pending,
            results,
            received: 0,
            children: Vec::new(),
            records: Vec::new(),
            item_held: 0,
            spool: None,
            files: HashMap::new(),
            held: 0,
            log_room: call_room(),
            saw_memory_error: false,
        }
    }

    pub(super) fn received(&self) -> usize {
        self.received
    }

    /// The position of the item that the page names, if there is such an item in this run.
    pub(super) fn position(&self, item: Option<(u32, u32)>) -> Option<usize> {
        let (call, index) = item?;
        let frame = self.frames.get(call.wrapping_sub(self.first_call) as usize)?;
        let at = frame.start.checked_add(index as usize)?;
        (at < frame.end).then_some(at)
    }

    /// Take in all whole frames of the inbox. Break: no more is to come, because all is there (false) or because
    /// the memory for results is full (true).
    pub(super) fn take_all(&mut self, inbox: &mut BytesMut) -> Result<ControlFlow<bool>, Garbage> {
        while let Some((header, mut payload)) = take_frame(inbox)? {
            if header.kind != Kind::Results {
                return Err(Garbage("a second greeting".into()));
            }
            loop {
                let rest = payload.clone();
                let Some(record) = take_record(&mut payload)? else { break };
                self.take(header.call, record, rest.slice(..rest.len() - payload.len()))?;
                let between = self.children.is_empty() && self.spool.is_none();
                if self.received < self.pending.len() && between && self.held > self.most() {
                    return Ok(ControlFlow::Break(true));
                }
            }
        }
        if self.received == self.pending.len() {
            return Ok(ControlFlow::Break(false));
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Bytes after which no further item of this run is waited for.
    fn most(&self) -> u64 {
        self.options.result_memory.saturating_add(self.options.max_metadata.min(MOST_METADATA))
    }

    /// Writes out what is to go to a file, once it is enough.
    pub(super) async fn write_out(&mut self) {
        if let Some(spool) = &mut self.spool {
            spool.write_out(self.dir).await;
        }
    }

    /// Takes in a record, which came as `bytes`.
    fn take(&mut self, call: u32, record: Record, bytes: Bytes) -> Result<(), Garbage> {
        let number = call.wrapping_sub(self.first_call) as usize;
        let frame = self.frames.get(number).copied().filter(|frame| (frame.start..frame.end).contains(&self.received));
        let Some(frame) = frame else {
            return Err(Garbage(format!("a result of call {call}, which is not under way")));
        };
        match record {
            Record::Child { name, media_type, port, attributes, place } => {
                let texts = [&name, &media_type, &port].map(|text| text.as_ref().map_or(0, String::len));
                let mut cost = CHILD_COST + texts.iter().sum::<usize>() as u64;
                // JSON takes several times its text in memory.
                cost += attributes.iter().map(|(key, value)| 64 + key.len() + weight(value)).sum::<usize>() as u64;
                let content = match place {
                    Place::Same => ChildContent::Same,
                    Place::Inline(bytes) => {
                        cost += bytes.len() as u64;
                        ChildContent::Bytes(bytes)
                    }
                    Place::File { number, offset, size } => ChildContent::File(self.file(number, offset, size)?),
                };
                self.add(Child { name, media_type, port, attributes, content }, cost, bytes)?;
            }
            Record::End { outcome, many, index, took, log } => {
                if frame.start + index as usize != self.received {
                    return Err(Garbage(format!("the end of item {index} out of turn")));
                }
                let (children, spool) = (std::mem::take(&mut self.children), self.spool.take());
                self.records.clear();
                self.item_held = 0;
                let outcome = match (outcome, spool) {
                    (Said::Emit, None) => Outcome::Emit { many, children },
                    (Said::Emit, Some(spool)) => spool.finish(&self.files),
                    (outcome, _) => self.other(outcome),
                };
                self.put(self.received, outcome, &log, took);
                self.received += 1;
            }
        }
        Ok(())
    }

    /// Adds a result to those of the item under way.
    fn add(&mut self, child: Child, cost: u64, record: Bytes) -> Result<(), Garbage> {
        let too_many = || Garbage("more results than it was allowed".into());
        let spool = match &mut self.spool {
            Some(spool) => spool,
            None => {
                self.item_held += cost;
                self.held += cost;
                if self.children.len() as u64 >= self.options.max_children {
                    return Err(too_many());
                }
                self.children.push(child);
                self.records.push(record);
                if self.children.len() <= MOST_HELD && self.item_held <= MOST_BYTES {
                    return Ok(());
                }
                self.children.clear();
                self.held -= std::mem::take(&mut self.item_held);
                let spool = self.spool.insert(Spool::default());
                self.records.drain(..).for_each(|record| spool.push(&record));
                return Ok(());
            }
        };
        spool.push(&record);
        // A worker counts more for each than it takes here.
        let most = self.options.result_memory.saturating_add(self.options.max_metadata).saturating_mul(2);
        if spool.count() > self.options.max_children || spool.bytes() > most {
            return Err(too_many());
        }
        Ok(())
    }

    /// What a script said that has no results.
    fn other(&mut self, outcome: Said) -> Outcome {
        match outcome {
            Said::Emit => Outcome::Emit { many: false, children: Vec::new() },
            Said::Reject { reason } => Outcome::Reject { reason },
            Said::Retry { reason, after } => Outcome::Retry { reason, after },
            Said::Failed(failure) => Outcome::Failed(failure),
            Said::OverMemory => {
                self.saw_memory_error = true;
                Outcome::OverMemory { limit: self.memory_limit }
            }
        }
    }

    fn put(&mut self, position: usize, outcome: Outcome, log: &[u8], took: Duration) {
        let mut lines = Lines::default();
        lines.add_entries(log, &mut self.log_room);
        let Lines { lines: log, left_out } = lines;
        self.results[self.pending[position]] = Some(CallResult { outcome, log, log_left_out: left_out, took });
    }

    fn file(&mut self, number: u32, offset: u64, size: u64) -> Result<ScratchFile, Garbage> {
        let bad = |error: std::io::Error| Garbage(format!("a result file that can't be had: {error}"));
        let end = offset.checked_add(size).ok_or_else(|| Garbage("a result file without an end".into()))?;
        let file = match self.files.get(&number) {
            Some(file) => {
                file.check(end).map_err(bad)?;
                Arc::clone(file)
            }
            None => {
                let file = self.dir.take(number, end).map_err(bad)?;
                self.files.insert(number, Arc::clone(&file));
                file
            }
        };
        Ok(ScratchFile::new(file, offset, size))
    }

    /// Give the item at `position` what happened to the worker under it; its index in the caller's list.
    pub(super) fn blame(&mut self, position: usize, outcome: Outcome, log: &[u8], took: Duration) -> usize {
        self.children.clear();
        self.records.clear();
        self.spool = None;
        self.put(position, outcome, log, took);
        self.pending[position]
    }

    /// Add what the process wrote by itself to the logs of the items that have a result.
    pub(super) fn add_raw(&mut self, (chunks, left_out): (Vec<(usize, LogLevel, Vec<u8>)>, u64)) {
        let mut last = None;
        for (position, level, text) in chunks {
            let index = self.pending[position.min(self.pending.len() - 1)];
            if let Some(result) = &mut self.results[index] {
                let mut lines = Lines { lines: std::mem::take(&mut result.log), left_out: result.log_left_out };
                lines.add(level, &text, &mut self.log_room);
                (result.log, result.log_left_out) = (lines.lines, lines.left_out);
                last = Some(index);
            }
        }
        let index = last.or_else(|| self.received.checked_sub(1).map(|at| self.pending[at]));
        if let Some(result) = index.and_then(|index| self.results[index].as_mut()) {
            result.log_left_out += left_out;
        }
    }
}

/// About how many bytes a JSON value takes.
fn weight(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    32 + match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(weight).sum(),
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + 64 + weight(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}
