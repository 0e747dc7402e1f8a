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
pub mod tree;
pub mod values;
pub mod version;
#[cfg(test)]
mod tests;
mod walk;

pub use check::{Checked, check, text};
pub(crate) use flow::is_id;
pub use flow::{Common, Flow, FlowKeys, InputRef, Memo, OnError, Phase, ProcessorDoc, slug};
pub use values::{ByteSize, HumanDuration};
pub use version::{CodeHash, ConfigHash, FlowSource, Version, VersionHash};
