//! The three ports of the engine, Journal, Transport and Content, and its clock: traits with their contracts,
//! in-memory implementations, and the conformance suites that every implementation passes.
//!
//! Nothing here knows a database, a broker or an object store; those live in `opendmp-journal`, `opendmp-content`
//! and `opendmp-transport`.

pub mod clock;
pub mod content;
mod error;
pub mod journal;
pub mod transport;

pub use clock::Clock;
pub use content::Content;
pub use error::{Error, ErrorKind, Result};
pub use journal::Journal;
pub use transport::Transport;
