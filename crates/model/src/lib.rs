//! The words of OpenDMP as values: ids, items, the flow document, diagnostics, the run plan.
//!
//! Everything here is pure: no I/O, no clock, no async. What runs a plan lives in `opendmp-engine`;
//! what a processor's author writes lives in `opendmp-processor`.

pub mod codec;
pub mod diagnostic;
pub mod document;
pub mod export;
pub mod fault;
pub mod history;
pub mod ids;
pub mod item;
pub mod kinds;
pub mod ledger;
pub mod manifest;
pub mod name;
pub mod plan;
