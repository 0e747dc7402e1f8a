//! The engine: runs plans over the ports.
//!
//! One item's way: [`ingest`] claims it from its source and makes it durable; [`execute`] takes it through as many
//! processors as it can and makes one settlement of all that comes of it; [`intents`] carries out what the settlement
//! decided to do outside. [`live`] keeps these going by itself, [`control`], [`explain`] and [`items`] are what people ask of it, [`recent`]
//! what they watch. What is
//! decided on the way stands in [`decide`], and in [`retry`] when a failure is tried again, apart from what carries it out. What is counted on the way stands in
//! [`metrics`]. [`reprocess`] takes what arrived before through a new version; [`retention`] and
//! [`garbage`] let go of what is no longer kept.
//!
//! The engine knows no database, no broker, no web framework: it sees ports and kinds.

mod clock_watch;
pub mod control;
pub mod decide;
pub mod drops;
mod engine;
pub mod execute;
pub mod explain;
pub mod failpoint;
pub mod garbage;
pub mod health;
mod ingest;
mod intents;
mod issues;
pub mod items;
pub mod lineage;
pub mod live;
mod loaded;
pub mod metrics;
mod outside;
pub mod past;
mod places;
mod quota;
pub mod recent;
pub mod reprocess;
pub mod retention;
pub mod retry;
mod sources;
pub mod space;
mod spans;
pub mod tryout;
pub mod uploads;
pub mod watch;

pub use engine::{Engine, Options, Trouble};
pub use ingest::{At, ScanReport};
pub use loaded::{Loaded, Node};
pub use quota::Quotas;
