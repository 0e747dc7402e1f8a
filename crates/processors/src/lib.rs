//! The kinds that come with OpenDMP, one file each.

mod beneath;
mod blocks;
mod codes;
pub mod collect;
pub mod compress;
pub mod decompress;
pub mod external;
pub mod file_drop;
#[cfg(test)]
mod fixtures;
pub mod folder;
pub mod generate;
pub mod ingest;
pub mod inline;
mod life;
mod register;
pub mod route;
pub mod script;
mod template;

pub use register::{Host, explanations, register};
