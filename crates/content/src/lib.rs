//! Where bytes are kept: implementations of the port [`Content`](opendmp_ports::Content).
//!
//! [`DirectoryContent`] keeps them in a directory of its own: small content in packs, large content in files. What a
//! reference means and what a sync promises is said at the port; who refers to what, and when content may be removed,
//! is the journal's and the engine's concern. [`Ring`] keeps what went in and out of steps lately. [`backup`] copies such a directory while it is in use, and checks copies.

pub mod backup;
mod collect;
mod directory;
mod disk;
mod freed;
mod gone;
mod holds;
mod large;
mod layout;
mod packs;
mod place;
mod reach;
mod record;
mod ring;
mod sync;
mod tail;
#[cfg(test)]
mod tests;

pub use directory::{DirectoryContent, Options};
pub use ring::Ring;
