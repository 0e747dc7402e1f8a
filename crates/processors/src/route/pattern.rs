//! Patterns of `matches`, compiled within bounds.

use regex::{Error, Regex, RegexBuilder};

/// The largest program that a pattern may become, in bytes. `\w` takes some 10 KiB.
pub(super) const MAX_BYTES: usize = 128 << 10;

/// Up to this size a pattern is small.
const SMALL: usize = 8 << 10;

/// The most memory that is built from it while it is used, in bytes.
const MAX_CACHE: usize = 256 << 10;

/// How deeply groups may nest.
const MAX_NESTING: u32 = 32;

/// The steps of one match with a small pattern, and with a larger one: at worst each character is looked at once for each
/// state of the program.
const STEPS_SMALL: u64 = 200;
const STEPS_LARGE: u64 = 2_000;

/// Compiles a pattern, and says what matching with it takes.
pub(super) fn compile(pattern: &str) -> Result<(Regex, u64), Error> {
    let within = |limit: usize| {
        RegexBuilder::new(pattern).size_limit(limit).dfa_size_limit(MAX_CACHE).nest_limit(MAX_NESTING).build()
    };
    match within(SMALL) {
        Ok(regex) => Ok((regex, STEPS_SMALL)),
        Err(Error::CompiledTooBig(_)) => within(MAX_BYTES).map(|regex| (regex, STEPS_LARGE)),
        Err(error) => Err(error),
    }
}
