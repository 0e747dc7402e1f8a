//! The flow document: from text with places to a checked flow and a version with a hash.
//!
//! [`tree`] reads YAML and JSON into a tree that keeps places; `walk.rs` checks it against the kinds' schemas, `graph.rs`
//! who reads whom; [`check()`] puts everything together and reports all problems at once; [`version`] freezes a flow. Compiling a
//! version into what runs lives in [`crate::plan`].

mod check;
#[cfg(test)]
pub(crate) mod fixtures;
mod flow;
mod graph;
pub mod schema;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod values;
pub mod version;
mod walk;
mod words;

pub use check::{Checked, check, text};
pub use flow::{
    Common, DatasetRetention, Flow, FlowKeys, FlowRetention, InputRef, Memo, OnError, Phase, ProcessorDoc, slug,
};
pub use values::{ByteSize, HumanDuration};
pub use version::{CodeHash, ConfigHash, FlowSource, Version, VersionHash};
