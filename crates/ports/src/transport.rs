//! Who should look at what next.
//!
//! A hint may be lost, repeated or late without harm: the queue of record is the journal, a sweep finds what a lost
//! hint left, and a doubled one loses at the claim.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::journal::{FlowId, RunId};

/// A hint that something may be worth a look, or a fact for those who watch.
#[derive(Clone, Debug, PartialEq)]
pub enum Hint {
    /// A flow may have tasks to claim.
    Tasks(FlowId),
    /// There may be intents to carry out.
    Intents,
    /// A flow was enabled, disabled, given a new version or deleted.
    Flow(FlowId),
    /// A run may be over.
    Run(RunId),
    /// A reprocess was begun.
    Reprocess(RunId),
    /// Something was settled: for progress displays.
    Settled(Arc<Progress>),
}

/// What a settlement changed, in numbers per processor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// The flow.
    pub flow: FlowId,
    /// The run.
    pub run: RunId,
    /// By processor.
    pub processors: BTreeMap<String, StepCounts>,
}

/// Numbers of items in one processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct StepCounts {
    /// Went in and are done, but for those that were remembered.
    pub done: u64,
    /// Came out.
    pub emitted: u64,
    /// Became dead letters.
    pub dead: u64,
    /// Were handed back to be tried again.
    pub retried: u64,
    /// Time spent, in microseconds.
    pub took: u64,
    /// Went in, and what came of them was remembered: nothing was done.
    #[serde(default, skip_serializing_if = "is_none")]
    pub remembered: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_none(number: &u64) -> bool {
    *number == 0
}

impl StepCounts {
    /// Adds other counts.
    pub fn add(&mut self, other: &Self) {
        self.done += other.done;
        self.emitted += other.emitted;
        self.dead += other.dead;
        self.retried += other.retried;
        self.took += other.took;
        self.remembered += other.remembered;
    }
}

/// Carries hints. Sending never fails and never waits for a receiver.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Tells everyone who listens, perhaps.
    fn send(&self, hint: Hint);

    /// Listens from now on.
    fn listen(&self) -> Box<dyn Listener>;
}

/// The receiving end.
#[async_trait]
pub trait Listener: Send {
    /// The next hint; `None` when hints were lost or nobody can send any more: look at everything.
    async fn next(&mut self) -> Option<Hint>;
}

/// Hints within one process.
#[derive(Clone, Debug)]
pub struct InProcess(broadcast::Sender<Hint>);

impl Default for InProcess {
    fn default() -> Self {
        Self(broadcast::channel(1024).0)
    }
}

#[async_trait]
impl Transport for InProcess {
    fn send(&self, hint: Hint) {
        // No listener is no harm.
        let _ = self.0.send(hint);
    }

    fn listen(&self) -> Box<dyn Listener> {
        Box::new(InProcessListener(self.0.subscribe()))
    }
}

struct InProcessListener(broadcast::Receiver<Hint>);

#[async_trait]
impl Listener for InProcessListener {
    async fn next(&mut self) -> Option<Hint> {
        self.0.recv().await.ok()
    }
}

/// What every implementation keeps; hints may be lost, so only what must never happen is checked.
pub mod conformance {
    use super::{FlowId, Hint, Transport};

    /// A hint reaches a listener that was there before it was sent, or the listener is told to look at everything;
    /// sending without listeners does no harm.
    pub async fn all(transport: &dyn Transport) {
        transport.send(Hint::Tasks(FlowId(1)));
        let mut one = transport.listen();
        let mut two = transport.listen();
        transport.send(Hint::Intents);
        for listener in [&mut one, &mut two] {
            let hint = listener.next().await;
            assert!(matches!(hint, None | Some(Hint::Intents)), "a hint from before was heard: {hint:?}");
        }
        drop(two);
        transport.send(Hint::Tasks(FlowId(1)));
        assert!(matches!(one.next().await, None | Some(Hint::Tasks(FlowId(1)))));
    }
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn in_process_conforms() {
        super::conformance::all(&super::InProcess::default()).await;
    }
}
