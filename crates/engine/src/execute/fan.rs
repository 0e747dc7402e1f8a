//! Many children of one item: written down in blocks as they come, settled as one manifest, and expanded block by block
//! by the task that carries it. Where they turn out to be few they go the ordinary way.
//!
//! What is written before the settlement is nobody's until then: an attempt that ends early leaves nothing but bytes.

use std::collections::HashMap;

use bytes::Bytes;
use opendmp_model::codec::Damaged;
use opendmp_model::manifest::{
    BLOCK_ITEMS, Block, Child as Spooled, Manifest, decode_blocks, decode_children, encode_blocks, encode_children,
};
use opendmp_ports::content::read_all;
use opendmp_processor::Emissions;

use super::*;

/// Bytes of new content in one block at most, but for one child alone.
const BLOCK_BYTES: usize = 4 << 20;

/// Blocks that are expanded in one go: few enough that another flow's items come in between.
const EXPANDED: usize = 4;

/// Of the children that are expanded, so many go on together. Datasets of one arrival lie in the journal by hashes: each is a
/// page of its own, so that a commit of a thousand keeps what concerns other flows waiting for long.
const TOGETHER: usize = 250;

/// Names of siblings that are told apart exactly; beyond, the place among all siblings tells them apart.
const NAMES: usize = 1 << 20;

/// The names of siblings so far, as hashes, so that a million of them take little room.
#[derive(Default)]
pub(super) struct Siblings(HashMap<u64, u32>);

impl Siblings {
    /// How many earlier siblings have this name.
    pub(super) fn nth(&mut self, name: &str, ordinal: u32) -> u32 {
        let mut first = [0; 8];
        first.copy_from_slice(&ContentHash::of(name.as_bytes()).0[..8]);
        let key = u64::from_le_bytes(first);
        if let Some(nth) = self.0.get_mut(&key) {
            *nth += 1;
            return *nth - 1;
        }
        if self.0.len() >= NAMES {
            return ordinal;
        }
        self.0.insert(key, 1);
        0
    }
}

/// What a stream of children came to.
pub(super) enum Streamed {
    /// They fit into the settlement.
    Few(Vec<Emission>),
    /// They were written down.
    Many(Manifest),
}

/// The next children of a stream.
struct Read {
    stream: Emissions,
    block: Vec<Emission>,
    bytes: usize,
    over: bool,
}

async fn read(mut stream: Emissions, most: usize) -> Result<Result<Read, Fault>, Error> {
    let work = move || {
        let (mut block, mut bytes) = (Vec::new(), 0);
        while block.len() < most && bytes < BLOCK_BYTES {
            match stream.next() {
                None => return Ok(Read { stream, block, bytes, over: true }),
                Some(Err(fault)) => return Err(fault),
                Some(Ok(emission)) => {
                    if let NewContent::Bytes(content) = &emission.content {
                        bytes += content.len();
                    }
                    block.push(emission);
                }
            }
        }
        Ok(Read { stream, block, bytes, over: false })
    };
    run_blocking(work).await
}

impl Work<'_> {
    /// Reads the children of an item. An error of the step's own process is a fault.
    pub(super) async fn stream(
        &mut self,
        node: &Node,
        parent: &Live,
        mut stream: Emissions,
    ) -> Result<Result<Streamed, Fault>, Error> {
        let limit = self.engine.options.fanout.max(1);
        let block = (limit / EXPANDED).clamp(1, BLOCK_ITEMS);
        let (mut few, mut bytes, mut over) = (Vec::new(), 0, false);
        while !over && few.len() <= limit && bytes <= BLOCK_BYTES * EXPANDED {
            let part = match read(stream, block).await? {
                Ok(part) => part,
                Err(fault) => return Ok(Err(fault)),
            };
            bytes += part.bytes;
            few.extend(part.block);
            (stream, over) = (part.stream, part.over);
        }
        if over && few.len() <= limit {
            return Ok(Ok(Streamed::Few(few)));
        }
        let mut names = Siblings::default();
        let (mut blocks, mut ordinal) = (Vec::new(), 0u32);
        let mut waiting = few.into_iter();
        loop {
            let mut part: Vec<Emission> = waiting.by_ref().take(block).collect();
            if part.is_empty() {
                if over {
                    break;
                }
                match read(stream, block).await? {
                    Ok(read) => (stream, over, part) = (read.stream, read.over, read.block),
                    Err(fault) => return Ok(Err(fault)),
                }
                if part.is_empty() {
                    continue;
                }
            }
            let mut children: Vec<(Option<Arc<str>>, Live)> = Vec::with_capacity(part.len());
            for emission in part {
                let port = emission.port.clone().filter(|port| &**port != DEFAULT_PORT);
                match self.make(node, parent, emission, ordinal, true, &mut names).await {
                    Ok(live) => children.push((port, live)),
                    Err(error) => return not_taken(error).map(Err),
                }
                let Some(next) = ordinal.checked_add(1) else {
                    let fault =
                        Fault::new(FaultKind::Rejected, "too-many", "more than 4,294,967,295 results of one item");
                    return Ok(Err(fault));
                };
                ordinal = next;
            }
            blocks.push(self.write_block(children).await?);
        }
        let index = Bytes::from(encode_blocks(&blocks));
        let content = self.engine.patiently("content", || self.engine.content.put(index.clone())).await?;
        Ok(Ok(Streamed::Many(Manifest { content, next: 0, left: u64::from(ordinal) })))
    }

    async fn write_block(&mut self, mut children: Vec<(Option<Arc<str>>, Live)>) -> Result<Block, Error> {
        let unstored: Vec<(&mut Item, Bytes)> =
            children.iter_mut().filter_map(|(_, live)| Some((&mut live.item, live.bytes.take()?))).collect();
        let bytes: u64 = unstored.iter().map(|(item, _)| item.content.size).sum();
        store_all(self.engine, unstored).await?;
        self.memory = self.memory.saturating_sub(bytes);
        let spooled: Vec<Spooled> = children.into_iter().map(|(port, live)| (port, live.item)).collect();
        let encoded = Bytes::from(encode_children(&spooled));
        let content = self.engine.patiently("content", || self.engine.content.put(encoded.clone())).await?;
        Ok(Block { content, children: spooled.len() as u32 })
    }

    /// The item goes on as its manifest; `noted` is what the step logged and remarked.
    pub(super) fn spooled(
        &mut self,
        node: &Node,
        to: &Reader,
        live: Live,
        manifest: Manifest,
        took: u64,
        noted: (Vec<LogLine>, Option<String>),
    ) -> Entry {
        let (log, note) = noted;
        let own = *to == self.claimed.task.to;
        let generation = if own { self.claimed.task.generation + 1 } else { 1 };
        self.counts.entry(Arc::clone(&node.id)).or_default().emitted += manifest.left;
        let entry = Entry {
            input: live.item.id,
            took,
            result: Outcome::Spooled,
            children: Vec::new(),
            log,
            note: Some(note.unwrap_or_else(|| format!("{} results", manifest.left)).into()),
        };
        let note = TaskNote { generation, load: Load::Expand(manifest), ..TaskNote::default() };
        self.tasks.push((to.clone(), vec![live], note));
        entry
    }

    /// Makes tasks of the next blocks of a manifest, and goes on with those behind them later.
    pub(super) async fn expand(&mut self, node: &Node, mut manifest: Manifest) -> Result<(), Error> {
        let task = &self.claimed.task;
        let to = task.to.clone();
        let Some(parent) = task.items.first().cloned() else { return Ok(()) };
        let started = self.engine.clock.now();
        let mut entries = Vec::new();
        let mut delivered: BTreeMap<Reader, Vec<Live>> = BTreeMap::new();
        let expanded = async {
            let blocks = read_blocks(self.engine, &manifest).await?;
            for block in blocks.into_iter().skip(manifest.next as usize).take(EXPANDED) {
                let children = read_children(self.engine, &block).await?;
                let mut recorded = Vec::with_capacity(children.len());
                for (port, item) in children {
                    recorded.push(child_of(&parent, &item, port.clone()));
                    for (reader, _) in node.readers_of(port.as_deref()) {
                        let live = Live { item: journal::deliver(&item, reader), bytes: None };
                        delivered.entry(reader.clone()).or_default().push(live);
                    }
                }
                manifest.left = manifest.left.saturating_sub(recorded.len() as u64);
                manifest.next += 1;
                let result = Outcome::Emitted;
                entries.push(Entry {
                    input: parent.id,
                    took: 0,
                    result,
                    children: recorded,
                    log: Vec::new(),
                    note: None,
                });
            }
            // Else it would be expanded for ever.
            if entries.is_empty() { Err(damaged(Damaged("it ends early"))) } else { Ok(()) }
        };
        match expanded.await {
            Ok(()) => {}
            Err(error) if matches!(error.kind, ErrorKind::Damaged | ErrorKind::NotFound) => {
                // What was expanded before stays; a retry makes the rest anew, and what is equal adds only history.
                let fault = lost_content(error);
                self.bury(&to, vec![parent], &fault);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let context = self.engine.patiently("journal", || node.context(self.engine)).await?;
        self.history.push(StepRecord { context, started, entries });
        for (reader, live) in delivered {
            let mut live = live.into_iter().peekable();
            while live.peek().is_some() {
                self.tasks.push((reader.clone(), live.by_ref().take(TOGETHER).collect(), TaskNote::default()));
            }
        }
        if manifest.left > 0 {
            let note = TaskNote { load: Load::Expand(manifest), ..self.handed_back() };
            self.tasks.push((to, vec![Live { item: parent, bytes: None }], note));
        }
        Ok(())
    }
}

/// All blocks that a manifest lists.
pub(crate) async fn read_blocks(engine: &Engine, manifest: &Manifest) -> Result<Vec<Block>, Error> {
    decode_blocks(&whole(engine, &manifest.content).await?).map_err(damaged)
}

/// The children in a block.
pub(crate) async fn read_children(engine: &Engine, block: &Block) -> Result<Vec<Spooled>, Error> {
    decode_children(&whole(engine, &block.content).await?).map_err(damaged)
}

/// Reads stored content whole.
async fn whole(engine: &Engine, content: &ContentRef) -> Result<Vec<u8>, Error> {
    let stored = engine.patiently("content", || engine.content.open(content)).await?;
    let read = run_blocking(move || read_all(&stored)).await?;
    read.map_err(|error| Error::io("engine expand", "reading a manifest", &error))
}

fn damaged(error: Damaged) -> Error {
    Error::new(ErrorKind::Damaged, "engine expand", format!("a manifest can't be read: {error}"))
}
