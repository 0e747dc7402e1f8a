//! What the author of a processor, a source or a destination writes against.
//!
//! An author knows items in and outcomes out: never neighbours, the journal, retries or the UI. A kind is described
//! once, by a [`Registry`] entry, and that description feeds the parser, the help, the schema and the forms.
//! What runs them lives in `opendmp-engine`; the kinds that come with OpenDMP in `opendmp-processors`.

mod aggregate;
mod check_at;
mod collect;
mod location;
mod names;
mod outcome;
mod places;
mod registry;
mod source;

pub use aggregate::{Aggregate, Close, Join, JoinError, Joining};
pub use check_at::{check_at, processor_places};
pub use collect::{Collect, Export, ExportEnd, Sink};
pub use location::{FolderId, Location, PathPolicy, PathRefused, Relation, not_replaced};
pub use names::Names;
pub use outcome::{Body, Done, Emission, Emissions, Input, NewContent, Outcome, ScratchFile, Stream};
pub use places::{Access, Conflict, FoundPlace, Place, ProcessorPlaces, ReadAccess, conflicts};
pub use registry::{
    Context, KindsAt, Opened, ProcessorKind, Progress, Registry, SharedFiles, SinkKind, SourceKind, config, is_within,
    saved_config,
};
pub use source::{
    Audit, AuditEntry, AuditState, Claim, Claimed, Ledger, NotTaken, Scan, Source, SourceError, Version, WatchRequest,
};

use async_trait::async_trait;
use opendmp_model::fault::Fault;

/// One step of a flow, opened and ready to work.
///
/// It MUST answer each input with exactly one [`Done`], in the order of the inputs, MUST NOT change anything outside
/// (exports and messages are intents of the engine), and MAY be called many times at once. Dropping the future
/// cancels the call: whatever the call started must stop then.
#[async_trait]
pub trait Processor: Send + Sync {
    /// Whether [`Input::body`] is read; a router that looks at names and attributes alone says no, and no content
    /// is opened for it.
    fn reads_content(&self) -> bool {
        true
    }

    /// How many items a call takes at most. The engine calls with fewer where fewer are at hand.
    fn batch(&self) -> usize {
        1
    }

    /// Works on some items. `Err` means that the processor itself can't work now (no interpreter, an environment that
    /// can't be made): every item of the call fails with it, and is retried as `on_error` says.
    async fn process(&self, inputs: Vec<Input>) -> Result<Vec<Done>, Fault>;

    /// What it runs in, for the history: `Python 3.11.7`.
    fn environment(&self) -> Option<String> {
        None
    }

    /// Makes ready what the first call would have to wait for.
    async fn warm(&self) {}

    /// Frees what was kept warm. Called once, when the flow version is no longer used.
    async fn close(&self) {}
}
