//! The kinds that come with OpenDMP, one file each.

pub mod aggregate;
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
mod isolation;
mod json;
mod life;
mod location;
mod register;
pub mod route;
mod rows;
mod scratch;
pub mod script;
pub mod split;
mod template;
mod temporary;
mod text;

pub use register::{Host, explanations, register};
pub use scratch::Scratch;
