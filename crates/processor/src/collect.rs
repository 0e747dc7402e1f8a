//! Collecting: where a result is put on a shelf, and the sinks it is exported to.

use std::sync::Arc;

use async_trait::async_trait;
use opendmp_model::export::{IfExists, SinkClass};
use opendmp_model::fault::Fault;
use opendmp_model::ids::ContentHash;
use opendmp_model::item::Item;

use crate::Body;

/// A processor of the role collect, opened: a shelf, and where its results go.
#[derive(Clone)]
pub struct Collect {
    /// The collection's name.
    pub collection: Arc<str>,
    /// Where results are exported to, if anywhere.
    pub sink: Option<Arc<dyn Sink>>,
}

/// One export to carry out.
#[derive(Debug)]
pub struct Export {
    /// The target, reserved for this dataset in the journal.
    pub target: Vec<u8>,
    /// What this dataset wrote there last, if it did: a target that holds it is its own to replace.
    pub ours: Option<ContentHash>,
    /// Whether something foreign may be replaced.
    pub overwrite: bool,
    /// The bytes.
    pub body: Body,
    /// Their hash.
    pub hash: ContentHash,
    /// Their number.
    pub size: u64,
}

/// How an export ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportEnd {
    /// It is there, durably.
    Written,
    /// Something that is not this dataset's is there, and nothing was changed.
    Occupied,
}

/// A destination outside, opened.
///
/// `export` MUST leave the target either as it was or whole, and MUST be durable when it answers
/// [`ExportEnd::Written`].
#[async_trait]
pub trait Sink: Send + Sync {
    /// What repeating does.
    fn class(&self) -> SinkClass;

    /// What makes two destinations the same one: kind and resolved place.
    fn destination(&self) -> String;

    /// The target of an item in this destination: resolved bytes. Pure.
    ///
    /// # Errors
    /// A fault where the item gives no target that stays within the destination.
    fn target(&self, item: &Item) -> Result<Vec<u8>, Fault>;

    /// What to do where a target is taken by something that is not the dataset's own.
    fn if_exists(&self) -> IfExists;

    /// The target as people read it.
    fn display(&self, target: &[u8]) -> String;

    /// Carries one export out.
    async fn export(&self, export: Export) -> Result<ExportEnd, Fault>;

    /// Carries some small ones out, answered in order; cheaper than one by one where making them durable costs.
    async fn export_all(&self, exports: Vec<Export>) -> Vec<Result<ExportEnd, Fault>> {
        let mut ends = Vec::with_capacity(exports.len());
        for export in exports {
            ends.push(self.export(export).await);
        }
        ends
    }
}
