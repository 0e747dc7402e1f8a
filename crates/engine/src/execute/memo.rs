//! What need not be done again: results of steps that are remembered, within their arrival, and found in a later pass.
//!
//! A hit is as good as a call that answered the same: its children have the ids of the present pass, and the history
//! says where they are from. What is remembered keeps no content alive, so that content is looked for first.

use opendmp_model::ids::{ContentHash, PathHash};
use opendmp_model::manifest::Child as Spooled;
use opendmp_ports::journal::{Memo, MemoKey, MemoLimit, NewMemo, RunMode};

use super::*;
use crate::decide::worth_remembering;

/// Bytes of remembered results at most, without their content, which nothing keeps for them.
const MOST_BYTES: u64 = 256 << 20;

/// How long a result is remembered.
const MOST_AGE: i64 = 90 * 86_400_000;

/// Results that are forgotten in one transaction.
const AT_ONCE: usize = 10_000;

impl Engine {
    /// Forgets the oldest results where too many are remembered. Answers how many.
    ///
    /// # Errors
    /// Where the journal can't be written.
    pub async fn forget_memos(&self) -> Result<u64, Error> {
        let limit = MemoLimit { bytes: MOST_BYTES, before: self.clock.now().saturating_sub(MOST_AGE) };
        let mut count = 0;
        loop {
            let some = self.journal.forget_memos(limit, AT_ONCE).await?;
            count += some;
            if some < AT_ONCE as u64 {
                return Ok(count);
            }
        }
    }
}

/// What a step's results are found by.
pub(crate) struct MemoScope {
    config: [u8; 32],
    environment: String,
}

impl MemoScope {
    /// Of a processor that is open.
    pub(crate) fn of(node: &Node, processor: &dyn Processor) -> Self {
        Self { config: node.planned.config_hash.0.0, environment: processor.environment().unwrap_or_default() }
    }

    /// The key of a result: everything that it may depend on, but for the clock and the world.
    pub(crate) fn key(&self, item: &Item) -> MemoKey {
        let attributes = item.attributes.json();
        let parts: [&[u8]; 8] = [
            &self.config,
            self.environment.as_bytes(),
            // The built-in kinds are its code.
            env!("CARGO_PKG_VERSION").as_bytes(),
            &item.content.hash.0,
            item.name.as_bytes(),
            item.media_type.as_deref().unwrap_or("").as_bytes(),
            attributes.as_bytes(),
            &item.index.to_le_bytes(),
        ];
        MemoKey(PathHash::of("opendmp 2026 memo v1", &parts))
    }
}

/// Whether all of a result is still there. `own`: the content of what went in, which is there.
pub(crate) async fn is_there(engine: &Engine, memo: &Memo, own: ContentHash) -> Result<bool, Error> {
    for (_, child) in &memo.children {
        if child.content.hash == own || child.content.size == 0 {
            continue;
        }
        let there = async || {
            engine.content.open(&child.content).await?;
            engine.content.vouch(&[child.content]).await
        };
        match engine.patiently("content", &there).await {
            Ok(()) => {}
            // `Conflict`: it is about to go.
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Damaged | ErrorKind::Conflict) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// A child that is remembered, as a child of `parent` in its pass.
pub(crate) fn recalled(node: &Node, parent: &Item, ordinal: u32, many: bool, child: &Spooled, nth: u32) -> Item {
    let (port, known) = child;
    let mut item = known.clone();
    item.id = parent.id.child(&node.id, port.as_deref().unwrap_or(DEFAULT_PORT), ordinal);
    item.origin = parent.origin;
    item.arrived = parent.arrived;
    (item.label, item.index) = match many {
        true => (label(parent.label, &item.name, nth), ordinal),
        false => (parent.label, parent.index),
    };
    if item.content.hash == parent.content.hash {
        item.content = parent.content;
    }
    item
}

impl Work<'_> {
    /// Whether results of a step are remembered at all in this run.
    fn remembers(&self, node: &Node) -> bool {
        self.claimed.mode == RunMode::Live && node.planned.settings.memo != opendmp_model::document::Memo::Never
    }

    /// Takes what is remembered in place of calling the step. Answers the entries, and the items that are left.
    pub(super) async fn recall(
        &mut self,
        node: &Node,
        processor: &dyn Processor,
        items: Vec<Live>,
    ) -> Result<(Vec<Entry>, Vec<Live>), Error> {
        // Nothing can be known of what goes through for the first time.
        if !self.remembers(node) || items.iter().all(|live| live.item.id.pass.0 == 0) {
            return Ok((Vec::new(), items));
        }
        let engine = self.engine;
        let scope = MemoScope::of(node, processor);
        let keys: Vec<_> = items.iter().map(|live| (live.item.id.arrival, scope.key(&live.item))).collect();
        let found = engine.patiently("journal", || engine.journal.memos(keys.clone())).await?;
        let (mut entries, mut rest) = (Vec::new(), Vec::new());
        for (live, memo) in items.into_iter().zip(found) {
            match memo {
                Some(memo) if is_there(engine, &memo, live.item.content.hash).await? => {
                    entries.push(self.take_recalled(node, &live, &memo));
                }
                _ => rest.push(live),
            }
        }
        if !entries.is_empty() {
            let counts = self.counts.entry(Arc::clone(&node.id)).or_default();
            counts.remembered += entries.len() as u64;
            counts.emitted += entries.iter().map(|entry| entry.children.len() as u64).sum::<u64>();
        }
        Ok((entries, rest))
    }

    fn take_recalled(&mut self, node: &Node, live: &Live, memo: &Memo) -> Entry {
        let mut names = Siblings::default();
        let mut children = Vec::with_capacity(memo.children.len());
        for (ordinal, child) in memo.children.iter().enumerate() {
            let nth = if memo.many { names.nth(&child.1.name, ordinal as u32) } else { 0 };
            let item = recalled(node, &live.item, ordinal as u32, memo.many, child, nth);
            let same = item.content.hash == live.item.content.hash;
            let bytes = live.bytes.clone().filter(|_| same);
            children.push(child_of(&live.item, &item, child.0.clone()));
            for (reader, index) in node.readers_of(child.0.as_deref()) {
                let delivered = Live { item: journal::deliver(&item, reader), bytes: bytes.clone() };
                let rank = self.loaded.nodes[*index].planned.rank;
                self.waiting.entry((rank, *index, reader.input)).or_default().push(delivered);
            }
        }
        Entry {
            input: live.item.id,
            took: 0,
            result: Outcome::Emitted,
            children,
            log: Vec::new(),
            note: Some(format!("remembered from run {}", memo.run).into()),
        }
    }

    /// Whether a result that took so long is worth remembering if it is small.
    pub(super) fn may_remember(&self, node: &Node, took: Duration) -> bool {
        self.remembers(node) && worth_remembering(node.planned.settings.memo, took, 0)
    }

    /// Remembers a result that [may be](Self::may_remember) remembered, where it is not too large for that.
    pub(super) fn remember(
        &mut self,
        node: &Node,
        processor: &dyn Processor,
        parent: &Item,
        took: Duration,
        many: bool,
        made: &[(Option<Arc<str>>, Live)],
    ) {
        let new: u64 = made.iter().filter(|(_, live)| live.bytes.is_some()).map(|(_, l)| l.item.content.size).sum();
        if !worth_remembering(node.planned.settings.memo, took, new) {
            return;
        }
        let key = MemoScope::of(node, processor).key(parent);
        let children = made.iter().map(|(port, live)| (port.clone(), live.item.clone())).collect();
        let bytes = made.iter().map(|(_, live)| live.bytes.clone()).collect();
        self.memos.push((NewMemo { arrival: parent.id.arrival, key, many, children }, bytes));
    }
}
