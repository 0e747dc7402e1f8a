//! The kinds that come with OpenDMP, one file each.

mod beneath;
#[cfg(test)]
mod fixtures;
mod template;
