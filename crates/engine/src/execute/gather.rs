//! Aggregates: items that are held, and groups that are closed and made into one item.
//!
//! A group is looked at by a task of its own, which the journal puts into the queue when the group may have to be closed.
//! Its items are read in order, part by part, and go through the author's [`Joining`] as they come, so that memory does
//! not grow with them. A group that is closed because it is full takes only items before which none can come any more
//! ([`Journal::watermark`](opendmp_ports::Journal::watermark)): so what is made of them does not depend on who was
//! faster.

use std::collections::BTreeSet;
use std::io::Read;

use bytes::Bytes;
use opendmp_model::ids::{Arrival, PathHash};
use opendmp_model::item::Order;
use opendmp_ports::journal::{Closing, GroupRow, HeldKey, HeldPart, HeldRow, HoldRule, NewHeld};
use opendmp_processor::{Aggregate, JoinError, Joining};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::decide::{Cut, again, cut};

/// Rows of a group that are read at once.
const ROWS: usize = 8;

/// Items, and bytes of them, that are added beside the async runtime in one go.
const PART: usize = 256;
const PART_BYTES: u64 = 1 << 20;

/// Items that become dead letters in one go where a group takes its host down.
const BURIED: usize = 1_000;

impl Work<'_> {
    /// Adds items to their groups.
    pub(super) async fn gather(
        &mut self,
        node: &Node,
        to: &Reader,
        aggregate: &Aggregate,
        items: Vec<Live>,
    ) -> Result<Vec<Entry>, Error> {
        let close = &aggregate.close;
        let rule = HoldRule {
            count: close.count,
            bytes: close.bytes,
            quiet: close.quiet.map(|quiet| quiet.as_millis() as i64),
            end_of_run: close.end_of_run,
        };
        let run = if rule.end_of_run { self.claimed.run.0.to_le_bytes().to_vec() } else { Vec::new() };
        let mut groups: BTreeMap<PathHash, Vec<Live>> = BTreeMap::new();
        for live in items {
            let of = aggregate.group_by.as_deref().and_then(|key| live.item.attributes.get(key));
            let of = of.map(ToString::to_string).unwrap_or_default();
            let parts: [&[u8]; 4] = [node.id.as_bytes(), &node.planned.config_hash.0.0, of.as_bytes(), &run];
            groups.entry(PathHash::of("opendmp 2026 group v1", &parts)).or_default().push(live);
        }
        let mut entries = Vec::new();
        for (group, all) in groups {
            let (repeats, fresh) = self.apart(group, all).await?;
            for (live, before) in repeats {
                entries.push(self.repeat(to, live, before));
            }
            entries.extend(fresh.iter().map(|live| ended(live, Outcome::Held, None)));
            if !fresh.is_empty() {
                self.held.entry(group).or_insert_with(|| (to.clone(), rule, Vec::new())).2.extend(fresh);
            }
        }
        Ok(entries)
    }

    /// Tells apart what a group has had in an earlier pass, with the content that it had then.
    async fn apart(&self, group: PathHash, items: Vec<Live>) -> Result<(Vec<(Live, ContentHash)>, Vec<Live>), Error> {
        let again: Vec<_> = items.iter().map(|live| live.item.id).filter(|id| id.pass.0 > 0).collect();
        if again.is_empty() {
            return Ok((Vec::new(), items));
        }
        let (engine, flow) = (self.engine, self.claimed.flow);
        let before = engine.patiently("journal", || engine.journal.repeats(flow, group, again.clone())).await?;
        let mut before = before.into_iter();
        let (mut repeats, mut fresh) = (Vec::new(), Vec::new());
        for live in items {
            match if live.item.id.pass.0 > 0 { before.next().flatten() } else { None } {
                Some(hash) => repeats.push((live, hash)),
                None => fresh.push(live),
            }
        }
        Ok((repeats, fresh))
    }

    /// An item that its group has had before: never a second time in it.
    fn repeat(&mut self, to: &Reader, live: Live, before: ContentHash) -> Entry {
        if live.item.content.hash == before {
            return ended(&live, Outcome::Emitted, Some("the same as its group has had before".to_owned()));
        }
        let message = "its group has had this item before, with other content";
        let fault = Fault::new(FaultKind::Rejected, "late-repeat", message)
            .with_hint("what is made of a group is not made anew; a change of the aggregate's own settings does that");
        self.turned_away(to, live, fault)
    }

    /// What is held from now on, in order. Its bytes are stored.
    pub(super) fn new_held(&mut self) -> Vec<NewHeld> {
        let mut out = Vec::new();
        for (group, (to, rule, held)) in std::mem::take(&mut self.held) {
            let mut items: Vec<Item> = held.into_iter().map(|live| live.item).collect();
            items.sort_by_key(Order::of);
            let rows = items.chunks(BUNDLE_ITEMS);
            out.extend(rows.map(|items| NewHeld { group, to: to.clone(), rule, items: items.to_vec() }));
        }
        out
    }

    /// Looks at a group, and closes it where it is time.
    pub(super) async fn look(&mut self, node: &Node, group: PathHash) -> Result<(), Error> {
        let engine = self.engine;
        let flow = self.claimed.flow;
        let mut closing = Closing { group, whole: Vec::new(), parts: Vec::new(), again: 0 };
        let Some(row) = engine.journal.group(flow, group).await? else {
            self.closing = Some(closing);
            return Ok(());
        };
        let mut cursor = Cursor::new(engine, flow, group);
        if self.claimed.task.lost >= journal::LOST_LIMIT {
            self.bury_group(&row, &mut cursor).await?;
            self.closing = Some(cursor.closing(closing));
            return Ok(());
        }
        let aggregate = match node.opened(engine).await {
            Ok(Opened::Aggregate(aggregate)) => aggregate.clone(),
            other => {
                // It can't be opened now; nothing of it is lost, and it is looked at again.
                let message =
                    other.err().map_or_else(|| format!("`{}` is no aggregate", node.id), |fault| fault.message);
                return Err(Error::new(ErrorKind::Unavailable, "engine look", message));
            }
        };
        let now = engine.clock.now();
        let before = match cut(&row, now) {
            Cut::NotYet => {
                self.closing = Some(closing);
                return Ok(());
            }
            Cut::All => None,
            Cut::Full => {
                // Asked first: what is read afterwards has everything before it.
                let before = engine.journal.watermark(flow, upstream(self.loaded, node)).await?;
                if !fills(&row.rule, &mut cursor, before).await? {
                    closing.again = again(&row, now);
                    self.closing = Some(closing);
                    return Ok(());
                }
                Some(before)
            }
        };
        let started = engine.clock.now();
        let began = Instant::now();
        let joined = self.join(&row, &aggregate, &mut cursor, before).await?;
        self.closing = Some(cursor.closing(closing));
        let Joined { made, bytes, items, mut entries } = joined;
        if let Some((first, mut item)) = made {
            item.id = first.id.child(&node.id, DEFAULT_PORT, 0);
            entries.push(Entry {
                input: first.id,
                took: began.elapsed().as_micros() as u64,
                result: Outcome::Joined,
                children: vec![child_of(&first, &item, None)],
                log: Vec::new(),
                note: Some(format!("{items} items").into()),
            });
            for (reader, index) in node.readers_of(None) {
                let delivered = Live { item: journal::deliver(&item, reader), bytes: bytes.clone() };
                let rank = self.loaded.nodes[*index].planned.rank;
                self.waiting.entry((rank, *index, reader.input)).or_default().push(delivered);
            }
        }
        if !entries.is_empty() {
            self.count(node, &entries);
            let context = engine.patiently("journal", || node.context(engine)).await?;
            self.history.push(StepRecord { context, started, entries });
        }
        self.run(false).await
    }

    /// Makes one of many.
    async fn join(
        &mut self,
        row: &GroupRow,
        aggregate: &Aggregate,
        cursor: &mut Cursor<'_>,
        before: Option<Arrival>,
    ) -> Result<Joined, Error> {
        let mut joining = aggregate.join.begin();
        let mut sink = Sink::default();
        let mut out = Joined::default();
        let mut taken = Taken::new(&row.rule, before);
        loop {
            // One by one until there is a first: it names what is made.
            let most = if out.made.is_some() { PART } else { 1 };
            let (mut part, mut bytes, mut name) = (Vec::new(), 0u64, String::new());
            while part.len() < most && bytes < PART_BYTES {
                let Some(item) = taken.next(cursor).await? else { break };
                if out.made.is_none() {
                    match aggregate.join.name(&item) {
                        Ok(made) => name = made,
                        Err(fault) => {
                            out.entries.push(self.turned_away(&row.to, Live { item, bytes: None }, fault));
                            continue;
                        }
                    }
                }
                bytes += item.content.size;
                match open(self.engine, &item).await? {
                    Ok(body) => part.push(Input { item, body }),
                    Err(fault) => out.entries.push(self.turned_away(&row.to, Live { item, bytes: None }, fault)),
                }
            }
            if part.is_empty() && taken.over {
                break;
            }
            let work = move || add(joining, part);
            let added = run_blocking(work).await?.map_err(|e| Error::io("engine join", "joining items", &e))?;
            joining = added.joining;
            sink.write(self.engine, added.bytes).await?;
            for (item, said) in added.items {
                if let Err(fault) = said {
                    out.entries.push(self.turned_away(&row.to, Live { item, bytes: None }, fault));
                    continue;
                }
                out.items += 1;
                match &mut out.made {
                    Some((_, made)) => shared(&mut made.attributes, &item.attributes),
                    None => {
                        let made = begin(&item, std::mem::take(&mut name), aggregate.join.media_type());
                        out.made = Some((item, made));
                    }
                }
            }
        }
        let ended = run_blocking(move || {
            let mut bytes = Vec::new();
            joining.end(&mut bytes).map(|()| bytes)
        });
        let last = ended.await?.map_err(|e| Error::io("engine join", "ending what is joined", &e))?;
        sink.write(self.engine, last).await?;
        if let Some((_, item)) = &mut out.made {
            out.bytes = sink.end(self.engine, item).await?;
        }
        Ok(out)
    }

    /// An item that its group can't take is a dead letter; the others go on without it.
    fn turned_away(&mut self, to: &Reader, live: Live, fault: Fault) -> Entry {
        let entry = ended(&live, Outcome::Dead, Some(fault.to_string()));
        let id = dead_letter_id(live.item.id, to);
        let letter = NewDeadLetter { id, at: to.clone(), item: live.item, fault, attempts: 1, log: Vec::new() };
        self.dead.push((letter, live.bytes));
        entry
    }

    /// A group that takes its host down again and again is given up, a part at a time.
    async fn bury_group(&mut self, row: &GroupRow, cursor: &mut Cursor<'_>) -> Result<(), Error> {
        let mut items = Vec::new();
        while items.len() < BURIED {
            match cursor.peek().await? {
                Some(_) => items.extend(cursor.take()),
                None => break,
            }
        }
        self.bury(&row.to, items, &journal::lost(self.claimed.task.lost));
        Ok(())
    }
}

/// How an item ended here, without children.
fn ended(live: &Live, result: Outcome, note: Option<String>) -> Entry {
    let (input, note) = (live.item.id, note.map(Into::into));
    Entry { input, took: 0, result, children: Vec::new(), log: Vec::new(), note }
}

/// What came of a join.
#[derive(Default)]
struct Joined {
    /// The first item that is in it, and what was made.
    made: Option<(Item, Item)>,
    /// Its bytes, where they are not stored.
    bytes: Option<Bytes>,
    items: u64,
    entries: Vec<Entry>,
}

/// What is made of a group that begins with this item.
fn begin(first: &Item, name: String, media_type: &str) -> Item {
    Item {
        label: label(first.label, "joined", first.index),
        name: name.into(),
        media_type: Some(media_type.into()),
        content: ContentRef::empty(),
        ..first.clone()
    }
}

/// Keeps the attributes that are the same in both.
fn shared(attributes: &mut SharedAttributes, other: &SharedAttributes) {
    if attributes.is_shared_with(other) || attributes.is_empty() || *attributes == *other {
        return;
    }
    let mut left = (**attributes).clone();
    left.retain(|key, value| other.get(key) == Some(value));
    *attributes = left.into();
}

/// Items that were added, and what was written.
struct Added {
    joining: Box<dyn Joining>,
    bytes: Vec<u8>,
    items: Vec<(Item, Result<(), Fault>)>,
}

fn add(mut joining: Box<dyn Joining>, part: Vec<Input>) -> std::io::Result<Added> {
    let (mut bytes, mut items) = (Vec::new(), Vec::with_capacity(part.len()));
    for input in part {
        match joining.add(&input, &mut bytes) {
            Ok(()) => items.push((input.item, Ok(()))),
            Err(JoinError::Item(fault)) => items.push((input.item, Err(fault))),
            Err(JoinError::Io(error)) => return Err(error),
        }
    }
    Ok(Added { joining, bytes, items })
}

/// The processors from which items come to this one, itself among them.
fn upstream(loaded: &Loaded, node: &Node) -> Vec<Arc<str>> {
    let mut found = BTreeSet::from([node.index]);
    loop {
        let reads = |other: &&Node| other.readers.values().flatten().any(|(_, index)| found.contains(index));
        let more: Vec<usize> = loaded.nodes.iter().filter(reads).map(|other| other.index).collect();
        let before = found.len();
        found.extend(more);
        if found.len() == before {
            return found.into_iter().map(|index| Arc::clone(&loaded.nodes[index].id)).collect();
        }
    }
}

/// Whether what may be taken already is enough. The cursor is at the beginning before and after.
async fn fills(rule: &HoldRule, cursor: &mut Cursor<'_>, before: Arrival) -> Result<bool, Error> {
    let mut taken = Taken::new(rule, Some(before));
    while taken.head(cursor).await? {
        cursor.pass();
    }
    cursor.rewind();
    Ok(journal::is_full(rule, taken.items, taken.bytes))
}

/// How much of a group is taken: as much as it is to have, of what comes before a certain arrival.
struct Taken {
    rule: HoldRule,
    before: Option<Arrival>,
    items: u64,
    bytes: u64,
    over: bool,
}

impl Taken {
    fn new(rule: &HoldRule, before: Option<Arrival>) -> Self {
        Self { rule: *rule, before, items: 0, bytes: 0, over: false }
    }

    /// Whether the next item is one of them; it is counted.
    async fn head(&mut self, cursor: &mut Cursor<'_>) -> Result<bool, Error> {
        if self.over || journal::is_full(&self.rule, self.items, self.bytes) {
            self.over = true;
            return Ok(false);
        }
        match cursor.peek().await? {
            Some((head, size)) if self.before.is_none_or(|before| head.arrival < before) => {
                self.items += 1;
                self.bytes += size;
                Ok(true)
            }
            _ => {
                self.over = true;
                Ok(false)
            }
        }
    }

    async fn next(&mut self, cursor: &mut Cursor<'_>) -> Result<Option<Item>, Error> {
        Ok(if self.head(cursor).await? { cursor.take() } else { None })
    }
}

/// Rows that are kept for a second time through a group: beyond, they are read again.
const KEPT: usize = 32;

/// A row of a group, and how far it was gone through.
struct Open {
    row: HeldKey,
    items: Vec<Item>,
    at: usize,
}

/// Goes through a group in order. Rows overlap little, so few of them are open at a time.
struct Cursor<'a> {
    engine: &'a Engine,
    flow: opendmp_ports::journal::FlowId,
    group: PathHash,
    after: Option<HeldKey>,
    /// All rows were read.
    over: bool,
    open: Vec<Open>,
    /// Rows that were gone through, the first [`KEPT`] of them with their items.
    passed: Vec<Open>,
    /// The next items of all open rows were compared last, and this one is the first.
    first: Option<usize>,
}

impl<'a> Cursor<'a> {
    fn new(engine: &'a Engine, flow: opendmp_ports::journal::FlowId, group: PathHash) -> Self {
        let (open, passed) = (Vec::new(), Vec::new());
        Self { engine, flow, group, after: None, over: false, open, passed, first: None }
    }

    /// Back to the beginning.
    fn rewind(&mut self) {
        if self.passed.len() > KEPT {
            *self = Self::new(self.engine, self.flow, self.group);
            return;
        }
        self.first = None;
        self.open.append(&mut self.passed);
        self.open.iter_mut().for_each(|open| open.at = 0);
    }

    /// The next item's place in the order, and its size in bytes.
    async fn peek(&mut self) -> Result<Option<(Order, u64)>, Error> {
        loop {
            if self.first.is_none() {
                let heads = self.open.iter().enumerate().map(|(n, open)| (Order::of(&open.items[open.at]), n));
                self.first = heads.min().map(|(_, n)| n);
            }
            let item = self.first.map(|n| &self.open[n].items[self.open[n].at]);
            let head = item.map(|item| (Order::of(item), item.content.size));
            // Rows come in the order of their first items: those to come begin behind the last one read.
            let complete = self.over || head.is_some_and(|(head, _)| self.after.is_some_and(|(least, _)| head < least));
            if complete {
                return Ok(head);
            }
            let rows = self.engine.journal.held(self.flow, self.group, self.after, ROWS).await?;
            self.over = rows.len() < ROWS;
            self.first = None;
            for HeldRow { row, items } in rows {
                self.after = Some(row);
                if !items.is_empty() {
                    self.open.push(Open { row, items, at: 0 });
                }
            }
        }
    }

    /// Takes what was seen.
    fn take(&mut self) -> Option<Item> {
        let open = &self.open[self.first?];
        let item = open.items[open.at].clone();
        self.pass();
        Some(item)
    }

    /// Goes on to the next.
    fn pass(&mut self) {
        let Some(n) = self.first.take() else { return };
        let open = &mut self.open[n];
        open.at += 1;
        if open.at < open.items.len() {
            let next = Order::of(&open.items[open.at]);
            // Mostly the same row goes on: the others are looked at only where there are any.
            let same = |(other, open): (usize, &Open)| other == n || next < Order::of(&open.items[open.at]);
            self.first = self.open.iter().enumerate().all(same).then_some(n);
            return;
        }
        let mut passed = self.open.swap_remove(n);
        if self.passed.len() >= KEPT {
            passed.items = Vec::new();
        }
        self.passed.push(passed);
    }

    /// What was taken.
    fn closing(self, closing: Closing) -> Closing {
        let parts = self.open.into_iter().filter(|open| open.at > 0).map(|Open { row, mut items, at }| {
            let rest = items.split_off(at);
            HeldPart { row, taken: items, rest }
        });
        let whole = self.passed.into_iter().map(|passed| passed.row).collect();
        Closing { whole, parts: parts.collect(), ..closing }
    }
}

/// Content that is being stored.
type Storing = JoinHandle<Result<ContentRef, Error>>;

/// Where what is made goes: small, it stays in memory; large, it is stored as it comes.
#[derive(Default)]
struct Sink {
    bytes: Vec<u8>,
    stored: Option<(mpsc::Sender<Bytes>, Storing)>,
}

impl Sink {
    async fn write(&mut self, engine: &Engine, bytes: Vec<u8>) -> Result<(), Error> {
        self.bytes.extend_from_slice(&bytes);
        // Without a runtime, in a model, there is nobody beside it to read.
        if self.bytes.len() as u64 <= SMALL || tokio::runtime::Handle::try_current().is_err() {
            return Ok(());
        }
        let (sender, _) = self.stored.get_or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(4);
            let content = Arc::clone(&engine.content);
            let pipe = Box::new(Pipe { receiver, present: Bytes::new() });
            (sender, tokio::spawn(async move { content.put_reader(pipe).await }))
        });
        // A reader that is gone says why at the end.
        let _ = sender.send(std::mem::take(&mut self.bytes).into()).await;
        Ok(())
    }

    /// Ends it; the bytes, where they were not stored.
    async fn end(mut self, engine: &Engine, item: &mut Item) -> Result<Option<Bytes>, Error> {
        let Some((sender, stored)) = self.stored.take() else {
            let bytes = Bytes::from(self.bytes);
            let (hash, size) = (ContentHash::of(&bytes), bytes.len() as u64);
            if size == 0 {
                return Ok(None);
            }
            if size > SMALL {
                item.content = engine.patiently("content", || engine.content.put(bytes.clone())).await?;
                return Ok(None);
            }
            item.content = ContentRef { hash, size, place: Place::Empty };
            return Ok(Some(bytes));
        };
        let _ = sender.send(self.bytes.into()).await;
        drop(sender);
        let ended = stored.await.map_err(|error| {
            Error::new(ErrorKind::Unavailable, "engine join", format!("storing ended early: {error}"))
        })?;
        item.content = ended?;
        Ok(None)
    }
}

/// What is written, for the store to read.
struct Pipe {
    receiver: mpsc::Receiver<Bytes>,
    present: Bytes,
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        while self.present.is_empty() {
            match self.receiver.blocking_recv() {
                Some(bytes) => self.present = bytes,
                None => return Ok(0),
            }
        }
        let n = buf.len().min(self.present.len());
        buf[..n].copy_from_slice(&self.present.split_to(n));
        Ok(n)
    }
}
