//! What went in and out of steps and is stored nowhere, or only until it was worked on, is handed over to those who keep
//! it for a while ([`Recent`](opendmp_ports::content::Recent)): in few, larger parts, and never waited for.

use bytes::Bytes;
use opendmp_model::ids::ContentHash;

use super::Work;
use crate::Engine;

/// Bytes that are gathered before they are handed over.
const PART: usize = 256 << 10;

/// The same in contents.
const CONTENTS: usize = 256;

/// What is to be handed over.
#[derive(Default)]
pub(super) struct Handed {
    some: Vec<(ContentHash, Bytes)>,
    bytes: usize,
}

impl Handed {
    /// Adds content that nobody works on any more.
    pub(super) fn add(&mut self, engine: &Engine, hash: ContentHash, bytes: Bytes) {
        if engine.recent.is_none() {
            return;
        }
        self.bytes += bytes.len();
        self.some.push((hash, bytes));
        if self.bytes >= PART || self.some.len() >= CONTENTS {
            self.flush(engine);
        }
    }

    fn flush(&mut self, engine: &Engine) {
        self.bytes = 0;
        let some = std::mem::take(&mut self.some);
        if let Some(recent) = engine.recent.as_ref().filter(|_| !some.is_empty()) {
            recent.keep(some);
        }
    }
}

impl Work<'_> {
    /// Hands over what gathered, and what is stored only until the step that waits for it has had it.
    pub(super) fn hand_over_waiting(&mut self) {
        if self.engine.recent.is_none() {
            return;
        }
        let waiting = self.tasks.iter().flat_map(|(_, live, _)| live);
        let held = self.held.values().flat_map(|(_, _, live)| live);
        for live in waiting.chain(held) {
            if let Some(bytes) = &live.bytes {
                self.recent.add(self.engine, live.item.content.hash, bytes.clone());
            }
        }
        self.recent.flush(self.engine);
    }
}
