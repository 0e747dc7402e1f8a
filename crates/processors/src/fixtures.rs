//! What the tests of several kinds share.

use std::sync::Arc;

use opendmp_model::ids::{Arrival, ContentHash, ItemId, Pass, PathHash};
use opendmp_model::item::{Attributes, ContentRef, Item, Place};

/// An item of that name and content, as an ingest gives it.
pub(crate) fn item(name: &str, content: &[u8]) -> Item {
    Item {
        id: ItemId { arrival: Arrival(1), pass: Pass(0), path: PathHash::root("inbox") },
        name: Arc::from(name),
        content: ContentRef { hash: ContentHash::of(content), size: content.len() as u64, place: Place::Empty },
        media_type: None,
        attributes: Attributes::new().into(),
        origin: Arrival(1),
        label: 0,
        index: 0,
        arrived: 0,
    }
}

/// What a kind is opened with, for a flow in the folder `base`.
pub(crate) fn context(base: &std::path::Path) -> opendmp_processor::Context {
    opendmp_processor::Context {
        flow: "test".to_owned(),
        base: base.to_owned(),
        policy: opendmp_processor::PathPolicy::default(),
        files: std::collections::BTreeMap::new(),
        lock: None,
        timeout: std::time::Duration::from_secs(60),
        concurrency: 4,
        locations: None,
    }
}
