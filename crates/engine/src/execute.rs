//! Executing: one claimed task, taken through as many processors as it can be, and all that came of it as one
//! settlement.
//!
//! Which processors happen to run together appears in no id and no record. Between them content stays in memory; it
//! is stored when the settlement needs it, when it is large, or when much has gathered. Everything is settled when
//! nothing is left to do, or when [`COMMIT_AFTER`] has passed: what is done is committed, the rest goes back to the
//! queue as tasks of its own, so that a crash costs little and a long bundle does not stand in the way.

mod fan;
mod gather;
mod handed;
pub(crate) mod memo;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use opendmp_model::fault::{Fault, FaultClass, FaultKind, LogLine, Tries};
use opendmp_model::history::{Child, Entry, Result as Outcome, StepRecord};
use opendmp_model::ids::{ContentHash, PathHash, TaskId};
use opendmp_model::item::{Attributes, BUNDLE_ITEMS, ContentRef, Item, Place, SharedAttributes, label};
use opendmp_model::kinds::DEFAULT_PORT;
use opendmp_model::manifest::Load;
use opendmp_ports::content::{Body as Stored, SMALL};
use opendmp_ports::journal::{
    ClaimRequest, Claimed, Claims, Closing, HoldRule, Intent, NewDeadLetter, NewExport, NewMemo, NewRevision, NewTask,
    Reader, RunId, Settled, SettledAndClaimed, Settlement, dead_letter_id, decide as journal,
};
use opendmp_ports::transport::{Hint, Progress, StepCounts};
use opendmp_ports::{Error, ErrorKind};
use opendmp_processor::{
    Body, Collect, Done, Emission, Emissions, Input, NewContent, Opened, Outcome as Said, Processor,
};
use tracing::Instrument;

use crate::Engine;
use crate::decide::{COMMIT_AFTER, chunk};
use crate::failpoint::reach;
use crate::loaded::{Loaded, Node, run_blocking};
use crate::retry::{Cause, Next, Policy, next, port_fault, seed_of_item};
use crate::spans;

use fan::{Siblings, Streamed};
pub(crate) use fan::{read_blocks, read_children};
use handed::Handed;

/// An item under way: its bytes may be in memory only.
#[derive(Clone, Debug)]
struct Live {
    item: Item,
    /// The bytes, where they are not stored yet; then `item.content.place` is not yet true.
    bytes: Option<Bytes>,
}

/// What gathers while a task is executed.
struct Work<'a> {
    engine: &'a Engine,
    loaded: &'a Loaded,
    claimed: &'a Claimed,
    /// When it began, by the engine's clock, so that a model decides what is late.
    began: i64,
    /// Items waiting before processors, by rank and then index, so that branches that meet again meet here.
    waiting: BTreeMap<(usize, usize, u32), Vec<Live>>,
    tasks: Vec<(Reader, Vec<Live>, TaskNote)>,
    /// By group: the aggregate and its rule, and what it holds from now on.
    held: BTreeMap<PathHash, (Reader, HoldRule, Vec<Live>)>,
    closing: Option<Closing>,
    revisions: Vec<(NewRevision, Option<Bytes>)>,
    dead: Vec<(NewDeadLetter, Option<Bytes>)>,
    history: Vec<StepRecord>,
    /// What is remembered, and the bytes of its children where they are not stored yet.
    memos: Vec<(NewMemo, Vec<Option<Bytes>>)>,
    counts: BTreeMap<Arc<str>, StepCounts>,
    memory: u64,
    recent: Handed,
    /// The path that was made last: items of a bundle mostly take the same.
    path: Option<LastPath>,
}

/// A path and what it was made of.
struct LastPath {
    parent: PathHash,
    node: usize,
    port: Option<Arc<str>>,
    ordinal: u32,
    path: PathHash,
}

/// A call that has ended: the items it was given, and what was said of them.
type Call = (Vec<Live>, Result<Vec<Done>, Fault>);

/// What is noted beside the items of a task that is made.
#[derive(Clone, Debug, Default)]
struct TaskNote {
    tries: Tries,
    generation: u32,
    due: Option<i64>,
    fault: Option<Fault>,
    lost: u32,
    load: Load,
}

/// Executes a claimed task to its settlement.
///
/// # Errors
/// Only what makes a settlement impossible, such as a version that can't be loaded for want of a service; the task
/// stays claimed then, and is to be handed back.
pub async fn execute(engine: &Engine, claimed: &Claimed) -> Result<Settlement, Error> {
    let loaded = match engine.load(claimed.version).await {
        Ok(loaded) => loaded,
        Err(error) if error.kind == ErrorKind::Damaged => return superseded(engine, claimed, error).await,
        Err(error) => return Err(error),
    };
    spans::of_flow(&loaded.plan.slug);
    let mut work = Work {
        engine,
        loaded: &loaded,
        claimed,
        began: engine.clock.steady(),
        waiting: BTreeMap::new(),
        tasks: Vec::new(),
        held: BTreeMap::new(),
        closing: None,
        revisions: Vec::new(),
        dead: Vec::new(),
        history: Vec::new(),
        memos: Vec::new(),
        counts: BTreeMap::new(),
        memory: 0,
        recent: Handed::default(),
        path: None,
    };
    let task = &claimed.task;
    let Some(node) = loaded.node(&task.to.processor) else {
        // The version says which processors it has, so only damage brings a task here.
        let fault =
            Fault::new(FaultKind::Rejected, "no-processor", format!("this version has no `{}`", task.to.processor));
        work.bury(&task.to, task.items.clone(), &fault);
        return work.settlement().await;
    };
    if let Load::Look(group) = task.load {
        work.look(node, group).await?;
        return work.settlement().await;
    }
    if task.lost >= journal::LOST_LIMIT {
        work.bury(&task.to, task.items.clone(), &journal::lost(task.lost));
        return work.settlement().await;
    }
    if let Load::Expand(manifest) = task.load {
        work.expand(node, manifest).await?;
        return work.settlement().await;
    }
    if task.lost > 0 && task.items.len() > 1 {
        // One of them may have taken the host down: from here on each goes alone.
        for item in &task.items {
            let note =
                TaskNote { tries: task.tries, generation: task.generation + 1, lost: task.lost, ..TaskNote::default() };
            work.tasks.push((task.to.clone(), vec![Live { item: item.clone(), bytes: None }], note));
        }
        return work.settlement().await;
    }
    let items = task.items.iter().map(|item| Live { item: item.clone(), bytes: None }).collect();
    work.waiting.insert((node.planned.rank, node.index, task.to.input), items);
    work.run(true).await?;
    work.settlement().await
}

/// What becomes of a task whose version this program can't compile, because an older one accepted more. While it is the
/// flow's present version the task waits: that is a health issue, and the older program could still go on. Once the flow was
/// corrected nothing will ever run the old version, so its items become dead letters, which a retry sends to the new one.
async fn superseded(engine: &Engine, claimed: &Claimed, error: Error) -> Result<Settlement, Error> {
    let task = &claimed.task;
    if task.load != Load::Items || engine.journal.flow(claimed.flow).await?.version == claimed.version {
        return Err(error);
    }
    let fault = Fault::new(FaultKind::Rejected, "old-version", error.message)
        .with_hint("retry: the flow's present version takes it from here");
    let letter = |item: &Item| NewDeadLetter {
        id: dead_letter_id(item.id, &task.to),
        at: task.to.clone(),
        item: item.clone(),
        fault: fault.clone(),
        attempts: claimed.attempt,
        log: Vec::new(),
    };
    let counts = StepCounts { dead: task.items.len() as u64, ..StepCounts::default() };
    Ok(Settlement {
        task: task.id,
        lease: engine.lease,
        attempt: claimed.attempt,
        tasks: Vec::new(),
        held: Vec::new(),
        closing: None,
        revisions: Vec::new(),
        dead_letters: task.items.iter().map(letter).collect(),
        history: Vec::new(),
        memos: Vec::new(),
        counts: BTreeMap::from([(Arc::clone(&task.to.processor), counts)]),
        at: engine.clock.now(),
        actor: "engine".into(),
    })
}

impl Work<'_> {
    /// Takes what waits through its processors, the task's own `first`.
    async fn run(&mut self, mut first: bool) -> Result<(), Error> {
        while let Some(((_, index, input), items)) = self.waiting.pop_first() {
            let node = &self.loaded.nodes[index];
            let to = Reader { processor: Arc::clone(&node.id), input };
            // The task's own processor is always begun; those behind it only while there is time and room.
            if !first && (self.is_late() || items.len() > BUNDLE_ITEMS) {
                self.tasks.push((to, items, TaskNote::default()));
                continue;
            }
            let rest = self.step(node, &to, items, first).await?;
            if !rest.is_empty() {
                let note = if first { self.handed_back() } else { TaskNote::default() };
                self.tasks.push((to, rest, note));
            }
            if node.planned.settings.checkpoint {
                self.hand_over();
            }
            first = false;
        }
        Ok(())
    }

    fn is_late(&self) -> bool {
        self.engine.clock.steady().saturating_sub(self.began) > COMMIT_AFTER.as_millis() as i64
    }

    fn handed_back(&self) -> TaskNote {
        let task = &self.claimed.task;
        TaskNote { tries: task.tries, generation: task.generation + 1, ..TaskNote::default() }
    }

    /// Leaves all that waits to tasks of its own.
    fn hand_over(&mut self) {
        for ((_, index, input), items) in std::mem::take(&mut self.waiting) {
            let to = Reader { processor: Arc::clone(&self.loaded.nodes[index].id), input };
            self.tasks.push((to, items, TaskNote::default()));
        }
    }

    /// Takes items through one processor. Answers those that were not begun.
    async fn step(&mut self, node: &Node, to: &Reader, all: Vec<Live>, first: bool) -> Result<Vec<Live>, Error> {
        let started = self.engine.clock.now();
        let tries = if first { self.claimed.task.tries } else { Tries::default() };
        let mut entries = Vec::with_capacity(all.len());
        let mut recalled = Vec::new();
        let mut rest = Vec::new();
        match node.opened(self.engine).await {
            Ok(Opened::Transform(processor)) => {
                let items;
                (recalled, items) = self.recall(node, &**processor, all).await?;
                rest = self.transform(node, to, Arc::clone(processor), items, tries, &mut entries).await?;
            }
            Ok(Opened::Collect(collect)) => {
                let collect = collect.clone();
                // Finding out where that really is costs more than the rest, so once for all.
                let destination: Option<Arc<str>> = collect.sink.as_ref().map(|sink| sink.destination().into());
                for live in all {
                    entries.push(self.collect(node, to, (&collect, destination.as_ref()), live, tries).await);
                }
            }
            Ok(Opened::Aggregate(aggregate)) => {
                let aggregate = aggregate.clone();
                entries = self.gather(node, to, &aggregate, all).await?;
            }
            Ok(Opened::Ingest(_)) => {
                let fault = Fault::new(FaultKind::Rejected, "not-a-step", format!("`{}` takes no items", node.id));
                for live in all {
                    entries.push(self.fail(node, to, live, fault.clone(), tries, Vec::new(), 0).await);
                }
            }
            Err(fault) => {
                for live in all {
                    entries.push(self.fail(node, to, live, fault.clone(), tries, Vec::new(), 0).await);
                }
            }
        }
        self.count(node, &entries);
        let over = entries.iter().filter(|entry| entry.result != Outcome::Retried);
        node.end_report(self.engine, over.map(|entry| entry.input));
        entries.extend(recalled);
        if !entries.is_empty() {
            let context = self.engine.patiently("journal", || node.context(self.engine)).await?;
            self.history.push(StepRecord { context, started, entries });
        }
        Ok(rest)
    }

    async fn transform(
        &mut self,
        node: &Node,
        to: &Reader,
        processor: Arc<dyn Processor>,
        items: Vec<Live>,
        tries: Tries,
        entries: &mut Vec<Entry>,
    ) -> Result<Vec<Live>, Error> {
        let mut left = items.into_iter().collect::<std::collections::VecDeque<_>>();
        let mut calls = FuturesUnordered::new();
        let mut number = 0usize;
        let mut ended: BTreeMap<usize, Call> = BTreeMap::new();
        let mut next = 0;
        loop {
            // At least one call is made, however late: a task that is claimed moves on.
            while !left.is_empty() && calls.len() < node.parallel && (number == 0 || !self.is_late()) {
                let size = chunk(left.len(), processor.batch(), node.parallel, node.pace());
                let part: Vec<Live> = left.drain(..size).collect();
                let (engine, processor, at) = (self.engine, &processor, number);
                calls.push(async move {
                    let done = call(engine, node, &**processor, &part).await;
                    (at, part, done)
                });
                number += 1;
            }
            let Some((at, part, done)) = calls.next().await else { break };
            ended.insert(at, (part, done?));
            // Results are taken in the order of the items, so that nothing depends on which call ended first.
            while let Some((part, done)) = ended.remove(&next) {
                next += 1;
                match done {
                    Ok(done) => {
                        for (live, done) in part.into_iter().zip(done) {
                            entries.push(self.take(node, to, &*processor, live, done, tries).await?);
                        }
                    }
                    Err(fault) => {
                        for live in part {
                            entries.push(self.fail(node, to, live, fault.clone(), tries, Vec::new(), 0).await);
                        }
                    }
                }
            }
        }
        Ok(left.into())
    }

    /// Takes one outcome over: children are delivered, faults decided about.
    async fn take(
        &mut self,
        node: &Node,
        to: &Reader,
        processor: &dyn Processor,
        live: Live,
        done: Done,
        tries: Tries,
    ) -> Result<Entry, Error> {
        let Done { outcome, log, took: time, note } = done;
        let took = time.as_micros() as u64;
        let outcome = match outcome {
            Said::Emit { many: true, children } if children.len() > self.engine.options.fanout => {
                Said::Stream(Emissions::new(children.into_iter().map(Ok)))
            }
            other => other,
        };
        let (many, children) = match outcome {
            Said::Emit { many, children } => (many, children),
            Said::Stream(children) => match self.stream(node, &live, children).await? {
                Ok(Streamed::Few(children)) => (true, children),
                Ok(Streamed::Many(manifest)) => {
                    return Ok(self.spooled(node, to, live, manifest, took, (log, note)));
                }
                Err(fault) => return Ok(self.fail(node, to, live, fault, tries, log, took).await),
            },
            Said::Fault(fault) => return Ok(self.fail(node, to, live, fault, tries, log, took).await),
        };
        // What is too cheap to be remembered, however small, is not gathered for it.
        let memorable = self.may_remember(node, time);
        let mut recorded = Vec::with_capacity(children.len());
        let mut names = Siblings::default();
        let mut deliveries = Vec::new();
        let mut kept = Vec::new();
        for (ordinal, emission) in children.into_iter().enumerate() {
            let port = emission.port.clone();
            let made = match self.make(node, &live, emission, ordinal as u32, many, &mut names).await {
                Ok(made) => made,
                // Nothing of this item is kept.
                Err(error) => match not_taken(error) {
                    Ok(fault) => return Ok(self.fail(node, to, live, fault, tries, log, took).await),
                    Err(error) => return Err(error),
                },
            };
            let named = port.clone().filter(|port| &**port != DEFAULT_PORT);
            recorded.push(child_of(&live.item, &made.item, named.clone()));
            for (reader, index) in node.readers_of(port.as_deref()) {
                let delivered = Live { item: journal::deliver(&made.item, reader), bytes: made.bytes.clone() };
                let rank = self.loaded.nodes[*index].planned.rank;
                deliveries.push(((rank, *index, reader.input), delivered));
            }
            if memorable {
                kept.push((named, made));
            }
        }
        if memorable {
            self.remember(node, processor, &live.item, time, many, &kept);
        }
        drop(kept);
        for (place, delivered) in deliveries {
            self.waiting.entry(place).or_default().push(delivered);
        }
        if let Some(bytes) = live.bytes.filter(Bytes::is_unique) {
            self.memory = self.memory.saturating_sub(bytes.len() as u64);
            self.recent.add(self.engine, live.item.content.hash, bytes);
        }
        Ok(Entry {
            input: live.item.id,
            took,
            result: Outcome::Emitted,
            children: recorded,
            log,
            note: note.map(Into::into),
        })
    }

    /// The path of a child.
    fn path_of(&mut self, node: &Node, parent: PathHash, port: &Option<Arc<str>>, ordinal: u32) -> PathHash {
        let same = |last: &&LastPath| {
            (last.parent, last.node, last.ordinal) == (parent, node.index, ordinal) && last.port == *port
        };
        if let Some(last) = self.path.as_ref().filter(same) {
            return last.path;
        }
        let path = parent.child(&node.id, port.as_deref().unwrap_or(DEFAULT_PORT), ordinal);
        self.path = Some(LastPath { parent, node: node.index, port: port.clone(), ordinal, path });
        path
    }

    /// Makes a child of an emission.
    async fn make(
        &mut self,
        node: &Node,
        parent: &Live,
        emission: Emission,
        ordinal: u32,
        many: bool,
        names: &mut Siblings,
    ) -> Result<Live, Error> {
        let path = self.path_of(node, parent.item.id.path, &emission.port, ordinal);
        let (mut item, content) = heir(&parent.item, emission);
        item.id.path = path;
        if many {
            item.label = label(item.label, &item.name, names.nth(&item.name, ordinal));
            item.index = ordinal;
        }
        let bytes = match content {
            NewContent::Same => parent.bytes.clone(),
            NewContent::Bytes(bytes) => self.hold(&mut item, parent, bytes).await?,
            NewContent::Stream(stream) => {
                let engine = self.engine;
                let put = || async {
                    let reader = stream.open().map_err(|error| {
                        Error::new(ErrorKind::Invalid, "engine take", format!("a result can't be read: {error}"))
                    })?;
                    engine.content.put_reader(reader).await
                };
                item.content = match put().await {
                    // Not waited out: the result takes room itself where it lies.
                    Err(error) if error.is_temporary() && error.kind != ErrorKind::Full => {
                        engine.patiently("content", put).await?
                    }
                    put => put?,
                };
                None
            }
        };
        Ok(Live { item, bytes })
    }

    /// Keeps new bytes in memory while there is room, else stores them.
    async fn hold(&mut self, item: &mut Item, parent: &Live, bytes: Bytes) -> Result<Option<Bytes>, Error> {
        let hash = ContentHash::of(&bytes);
        if hash == parent.item.content.hash {
            return Ok(parent.bytes.clone());
        }
        let size = bytes.len() as u64;
        if size == 0 {
            item.content = ContentRef::empty();
            return Ok(None);
        }
        self.memory += size;
        if size > SMALL || self.memory > self.engine.options.memory {
            item.content = self.engine.patiently("content", || self.engine.content.put(bytes.clone())).await?;
            return Ok(None);
        }
        item.content = ContentRef { hash, size, place: Place::Empty };
        Ok(Some(bytes))
    }

    /// An item that was not processed goes back to the queue or to the dead letters.
    #[expect(clippy::too_many_arguments, reason = "each is one fact of the failure, used once")]
    async fn fail(
        &mut self,
        node: &Node,
        to: &Reader,
        live: Live,
        fault: Fault,
        tries: Tries,
        log: Vec<LogLine>,
        took: u64,
    ) -> Entry {
        let fault = self.engine.blame_disk(fault, tries.waits).await;
        let note = Some(fault.to_string().into());
        let input = live.item.id;
        if !matches!(fault.kind.class(), FaultClass::Item | FaultClass::Permanent) {
            node.report(self.engine, input, &fault);
        }
        let cause = Cause::from(&fault);
        let policy = Policy::from(&node.planned.settings.on_error);
        let result = match next(cause, tries, &policy, seed_of_item(input)) {
            Next::Wait { wait, tries } => {
                let due = self.engine.clock.now().saturating_add(wait.as_millis() as i64);
                let own = *to == self.claimed.task.to;
                let generation = if own { self.claimed.task.generation + 1 } else { 1 };
                let note = TaskNote { tries, generation, due: Some(due), fault: Some(fault), ..TaskNote::default() };
                self.tasks.push((to.clone(), vec![live], note));
                Outcome::Retried
            }
            Next::GiveUp => {
                let letter = NewDeadLetter {
                    id: dead_letter_id(live.item.id, to),
                    at: to.clone(),
                    item: live.item,
                    fault,
                    attempts: tries.failures + 1,
                    log: log.clone(),
                };
                self.dead.push((letter, live.bytes));
                Outcome::Dead
            }
        };
        Entry { input, took, result, children: Vec::new(), log, note }
    }

    /// Makes dead letters of whole items, without a step having seen them.
    fn bury(&mut self, to: &Reader, items: Vec<Item>, fault: &Fault) {
        let attempts = self.claimed.attempt;
        let counts = self.counts.entry(Arc::clone(&to.processor)).or_default();
        counts.dead += items.len() as u64;
        for item in items {
            let id = dead_letter_id(item.id, to);
            let letter = NewDeadLetter { id, at: to.clone(), item, fault: fault.clone(), attempts, log: Vec::new() };
            self.dead.push((letter, None));
        }
    }

    async fn collect(
        &mut self,
        node: &Node,
        to: &Reader,
        (collect, destination): (&Collect, Option<&Arc<str>>),
        live: Live,
        tries: Tries,
    ) -> Entry {
        let item = &live.item;
        let export = collect.sink.as_ref().zip(destination).map(|(sink, destination)| {
            Ok::<_, Fault>(NewExport {
                destination: Arc::clone(destination),
                target: sink.target(item)?,
                if_exists: sink.if_exists(),
                class: sink.class(),
            })
        });
        let export = match export.transpose() {
            Ok(export) => export,
            Err(fault) => return self.fail(node, to, live, fault, tries, Vec::new(), 0).await,
        };
        let entry = Entry {
            input: item.id,
            took: 0,
            result: Outcome::Collected,
            children: Vec::new(),
            log: Vec::new(),
            note: None,
        };
        let revision = NewRevision {
            collection: Arc::clone(&collect.collection),
            processor: Arc::clone(&node.id),
            item: live.item,
            export,
        };
        self.revisions.push((revision, live.bytes));
        entry
    }

    fn count(&mut self, node: &Node, entries: &[Entry]) {
        let counts = self.counts.entry(Arc::clone(&node.id)).or_default();
        for entry in entries {
            match entry.result {
                Outcome::Dead => counts.dead += 1,
                Outcome::Retried => counts.retried += 1,
                _ => {
                    counts.done += 1;
                    counts.emitted += entry.children.len() as u64;
                }
            }
            counts.took += entry.took;
        }
    }

    /// Stores what is still in memory and makes one settlement of everything. Content is durable when this answers.
    async fn settlement(mut self) -> Result<Settlement, Error> {
        self.hand_over_waiting();
        self.store().await?;
        let held = self.new_held();
        let mut tasks = Vec::new();
        for (to, live, note) in self.tasks {
            let items = live.into_iter().map(|live| live.item).collect();
            for mut task in journal::tasks_for(&to, items) {
                let first = task.items[0].id;
                task = NewTask {
                    id: TaskId::new(first, &to.processor, to.input, note.generation),
                    tries: note.tries,
                    lost: note.lost,
                    generation: note.generation,
                    due: note.due,
                    fault: note.fault.clone(),
                    load: note.load,
                    ..task
                };
                tasks.push(task);
            }
        }
        Ok(Settlement {
            task: self.claimed.task.id,
            lease: self.engine.lease,
            attempt: self.claimed.attempt,
            tasks,
            held,
            closing: self.closing,
            revisions: self.revisions.into_iter().map(|(revision, _)| revision).collect(),
            dead_letters: self.dead.into_iter().map(|(letter, _)| letter).collect(),
            history: self.history,
            memos: self.memos.into_iter().map(|(memo, _)| memo).collect(),
            counts: self.counts,
            at: self.engine.clock.now(),
            actor: "engine".into(),
        })
    }

    async fn store(&mut self) -> Result<(), Error> {
        let engine = self.engine;
        let tasks = self.tasks.iter_mut().flat_map(|(_, live, _)| live.iter_mut().map(|l| (&mut l.item, &mut l.bytes)));
        let revisions = self.revisions.iter_mut().map(|(revision, bytes)| (&mut revision.item, bytes));
        let dead = self.dead.iter_mut().map(|(letter, bytes)| (&mut letter.item, bytes));
        let held = self.held.values_mut().flat_map(|(_, _, live)| live.iter_mut().map(|l| (&mut l.item, &mut l.bytes)));
        let memos = self
            .memos
            .iter_mut()
            .flat_map(|(memo, bytes)| memo.children.iter_mut().zip(bytes).map(|((_, item), bytes)| (item, bytes)));
        let all = tasks.chain(revisions).chain(dead).chain(held).chain(memos);
        let unstored = all.filter_map(|(item, bytes)| Some((item, bytes.take()?))).collect();
        store_all(engine, unstored).await
    }
}

/// Stores bytes that are in memory only, and says where.
async fn store_all(engine: &Engine, mut unstored: Vec<(&mut Item, Bytes)>) -> Result<(), Error> {
    // The same bytes may wait in several branches: stored once.
    let mut places: BTreeMap<ContentHash, usize> = BTreeMap::new();
    let mut many: Vec<Bytes> = Vec::new();
    for (item, bytes) in &unstored {
        places.entry(item.content.hash).or_insert_with(|| {
            many.push(bytes.clone());
            many.len() - 1
        });
    }
    if !many.is_empty() {
        let stored = engine.patiently("content", || engine.content.put_many(many.clone())).await?;
        for (item, _) in &mut unstored {
            item.content = stored[places[&item.content.hash]];
        }
    }
    Ok(())
}

/// What an emission makes of an item, and the content it is to have: what is not said is inherited.
pub(crate) fn heir(parent: &Item, emission: Emission) -> (Item, NewContent) {
    let mut item = parent.clone();
    if let Some(name) = emission.name {
        item.name = name.into();
    }
    if let Some(media_type) = emission.media_type {
        item.media_type = Some(media_type.into());
    }
    if !emission.attributes.is_empty() {
        let mut attributes = (*item.attributes).clone();
        attributes.extend(emission.attributes);
        item.attributes = attributes.into();
    }
    (item, emission.content)
}

/// Why a result could not be taken over, where that is not the engine's error: the step's own process has changed it, or
/// there is no room for it.
fn not_taken(error: Error) -> Result<Fault, Error> {
    match error.kind {
        ErrorKind::Invalid => Ok(Fault::new(FaultKind::Failed, "result-lost", error.message)),
        ErrorKind::Full => Ok(port_fault(error)),
        _ => Err(error),
    }
}

/// Stored bytes are not there any more, or not what they were.
fn lost_content(error: Error) -> Fault {
    let fault = Fault::new(FaultKind::Rejected, "content-lost", error.to_string());
    match error.hint {
        Some(hint) => fault.with_hint(hint),
        None => fault,
    }
}

/// A child as the history has it.
fn child_of(parent: &Item, child: &Item, port: Option<Arc<str>>) -> Child {
    Child {
        id: child.id,
        port,
        name: (child.name != parent.name).then(|| Arc::clone(&child.name)),
        content: (child.content.hash != parent.content.hash).then_some((child.content.hash, child.content.size)),
        attributes: changed(&parent.attributes, &child.attributes),
    }
}

/// What a child's attributes have that its parent's have not, as JSON.
fn changed(parent: &SharedAttributes, child: &SharedAttributes) -> Option<Box<str>> {
    if parent.is_shared_with(child) {
        return None;
    }
    let differs = |(key, value): &(&String, &serde_json::Value)| parent.get(*key) != Some(*value);
    let map: Attributes = child.iter().filter(differs).map(|(k, v)| (k.clone(), v.clone())).collect();
    (!map.is_empty()).then(|| serde_json::Value::Object(map).to_string().into())
}

/// Opens what is stored; that it is not there is the item's fault, or rather the disk's.
async fn open(engine: &Engine, item: &Item) -> Result<Result<Body, Fault>, Error> {
    Ok(match engine.patiently("content", || engine.content.open(&item.content)).await {
        Ok(stored) => Ok(body(stored)),
        Err(error) => Err(lost_content(error)),
    })
}

/// One call of a processor.
async fn call(
    engine: &Engine,
    node: &Node,
    processor: &dyn Processor,
    part: &[Live],
) -> Result<Result<Vec<Done>, Fault>, Error> {
    let _permit = node.permits.acquire().await.ok();
    let mut inputs = Vec::with_capacity(part.len());
    for live in part {
        let body = match &live.bytes {
            _ if !processor.reads_content() => Body::Unread,
            Some(bytes) => Body::Bytes(bytes.clone()),
            None => match open(engine, &live.item).await? {
                Ok(body) => body,
                Err(fault) => return Ok(Err(fault)),
            },
        };
        inputs.push(Input { item: live.item.clone(), body });
    }
    let began = Instant::now();
    let done = ask(processor, &node.planned.kind, inputs).await;
    node.learn(part.len(), began.elapsed());
    Ok(done)
}

/// Hands items to a processor of that kind, and looks its answer over.
pub(crate) async fn ask(processor: &dyn Processor, kind: &str, inputs: Vec<Input>) -> Result<Vec<Done>, Fault> {
    let given: Vec<Option<Bytes>> = inputs
        .iter()
        .map(|input| match &input.body {
            Body::Bytes(bytes) => Some(bytes.clone()),
            Body::File(_) | Body::Unread => None,
        })
        .collect();
    let mut done = processor.process(inputs).await?;
    if done.len() != given.len() {
        let message = format!("`{kind}` answered {} of {} items", done.len(), given.len());
        return Err(Fault::new(FaultKind::Failed, "wrong-count", message));
    }
    given.iter().zip(&mut done).for_each(|(given, done)| find_same(given.as_ref(), done));
    Ok(done)
}

/// A step that passes items on as they are is common, and comparing takes a tenth of hashing.
fn find_same(given: Option<&Bytes>, done: &mut Done) {
    let Said::Emit { children, .. } = &mut done.outcome else { return };
    for child in children {
        if matches!((&child.content, given), (NewContent::Bytes(bytes), Some(given)) if bytes == given) {
            child.content = NewContent::Same;
        }
    }
}

/// Stored bytes as a processor gets them.
pub(crate) fn body(stored: Stored) -> Body {
    match stored {
        Stored::Bytes(bytes) => Body::Bytes(bytes),
        Stored::File(file) => Body::File(file),
    }
}

/// What a worker takes on of what follows, in the commit of its settlement.
#[derive(Clone, Copy)]
pub struct Takes<'a> {
    /// Whether it goes on with a task, where the settlement has made some.
    pub task: bool,
    /// Only with a task of this run.
    pub run: Option<RunId>,
    /// How many intents there is room for; asked when it settles.
    pub intents: &'a (dyn Fn() -> usize + Sync),
}

/// Intents that the work on one task takes on at most.
pub(crate) const INTENTS_OF_ONE: usize = 16;

/// How the work on a task went, and what was claimed along with its settlement.
#[derive(Debug, Default)]
pub struct Went {
    /// A task to go on with: mostly what was just made, but whatever has precedence.
    pub task: Option<Claimed>,
    /// Intents to be carried out.
    pub intents: Vec<Intent>,
    /// Why the task was handed back.
    pub failed: Option<Error>,
}

impl Went {
    /// Whether the task that was claimed is all that a settlement has made.
    fn takes_all(&self, made: &Made) -> bool {
        self.task.as_ref().is_some_and(|claimed| made.tasks == 1 && made.ready == [claimed.task.id])
    }
}

/// What a settlement makes that somebody will want to know of.
#[derive(Debug)]
struct Made {
    tasks: usize,
    /// The tasks that wait for no time.
    ready: Vec<TaskId>,
    exports: bool,
}

impl Made {
    fn by(settlement: &Settlement) -> Self {
        let ready = settlement.tasks.iter().filter(|task| task.due.is_none() && task.lost == 0);
        Self {
            tasks: settlement.tasks.len(),
            ready: ready.map(|task| task.id).collect(),
            exports: settlement.revisions.iter().any(|revision| revision.export.is_some()),
        }
    }
}

impl Engine {
    /// Settles: content first made durable, then the journal's transaction (law L3), then hints. What comes of it is
    /// claimed in the same breath, as far as the worker takes anything on.
    async fn settle(&self, claimed: &Claimed, settlement: Settlement, takes: Takes<'_>) -> Result<Went, Error> {
        reach("before-sync");
        // Not waited out: what a failed sync has lost must be put again, so the whole task is done again.
        self.content.sync().await?;
        reach("after-sync");
        self.content.vouch(&crate::garbage::named(&settlement)).await?;
        let counts = settlement.counts.clone();
        let made = Made::by(&settlement);
        let (lease, now, run) = (self.lease, self.clock.now(), takes.run);
        let request = ClaimRequest { lease, now, limit: 1, suspects: false, run, idle: false };
        let tasks = (takes.task && !made.ready.is_empty()).then_some(request);
        // Older ones come first, so there may be more than the settlement's own.
        let claims = Claims { tasks, intents: if made.exports { (takes.intents)() } else { 0 } };
        let settle = || self.journal.settle_and_claim(settlement.clone(), claims);
        let SettledAndClaimed { settled, mut tasks, intents } = self.patiently("journal", settle).await?;
        reach("after-settle");
        let went = Went { task: tasks.pop(), intents, failed: None };
        if let Settled::Applied(applied) = &settled {
            if applied.dead > 0 {
                self.count_dead_again();
                tracing::warn!(
                    dead_letters = applied.dead,
                    "items could not be processed; `opendmp dead-letters` tells"
                );
            }
            if applied.tasks > 0 && !went.takes_all(&made) {
                self.transport.send(Hint::Tasks(claimed.flow));
            }
            if applied.exports > 0 && went.intents.len() >= claims.intents {
                self.transport.send(Hint::Intents);
            }
            let processors = counts.iter().map(|(processor, counts)| (processor.to_string(), *counts)).collect();
            let progress = Progress { flow: claimed.flow, run: claimed.run, processors };
            self.transport.send(Hint::Settled(Arc::new(progress)));
            self.transport.send(Hint::Run(claimed.run));
        }
        Ok(went)
    }

    /// Claims one task, executes and settles it. Answers whether there was one. What the live loop does many times
    /// at once, and what the models step through.
    pub async fn work_once(&self, suspects: bool) -> Result<bool, Error> {
        let request =
            ClaimRequest { lease: self.lease, now: self.clock.now(), limit: 1, suspects, run: None, idle: false };
        let Some(claimed) = self.journal.claim(request).await?.pop() else { return Ok(false) };
        // A suspect is alone, so nothing follows it.
        let takes = Takes { task: !suspects, run: None, intents: &|| INTENTS_OF_ONE };
        let mut next = Some(claimed);
        while let Some(claimed) = next.take() {
            let went = self.work_on(&claimed, takes).await;
            let carried = self.carry_out(went.intents).await;
            if let Some(error) = went.failed.or(carried.err()) {
                let left: Vec<_> = went.task.iter().map(|claimed| claimed.task.id).collect();
                self.patiently("journal", || self.journal.unclaim(self.lease, left.clone())).await?;
                return Err(error);
            }
            next = went.task;
        }
        Ok(true)
    }

    /// Executes and settles a claimed task; hands it back where it can't be. What was claimed along with the
    /// settlement is the caller's to go on with, however this went.
    pub async fn work_on(&self, claimed: &Claimed, takes: Takes<'_>) -> Went {
        let _in_work = self.metrics.begin_work();
        self.work_out(claimed, takes).instrument(spans::task(claimed)).await
    }

    async fn work_out(&self, claimed: &Claimed, takes: Takes<'_>) -> Went {
        reach("after-queue-claim");
        // Until what is stored for it is named, or never will be.
        let _hold = self.content.hold();
        let done = async {
            let settlement = execute(self, claimed).await?;
            self.settle(claimed, settlement, takes).await
        };
        let mut went = done.await.unwrap_or_else(|error| Went { failed: Some(error), ..Went::default() });
        if went.failed.is_some() {
            self.metrics.returned();
            // Patiently: what stays claimed is not worked on again until somebody takes over.
            let back = self.patiently("journal", || self.journal.unclaim(self.lease, vec![claimed.task.id])).await;
            if let Err(error) = back {
                went.failed = Some(error);
            }
        }
        went
    }
}
