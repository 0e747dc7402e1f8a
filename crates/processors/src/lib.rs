//! The kinds that come with OpenDMP, one file each.
// NOTE to helpers: the lead writes ingest.rs, collect.rs, route.rs, inline.rs, script.rs and register.rs; external.rs is the other helper's.

mod beneath;
#[cfg(test)]
mod fixtures;
pub mod file_drop;
pub mod folder;
mod life;
mod template;
