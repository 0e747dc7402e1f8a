//! A deterministic simulation of engines over the in-memory ports: the seed decides which call goes on next, which one
//! fails, who crashes when, and what the world outside does meanwhile. The engine's code is the real one.

mod check;
mod executor;
mod flows;
mod kinds;
pub mod mutants;
mod outside;
mod ports;
mod rng;
mod run;
mod time;
mod world;

pub use flows::Flow;
pub use mutants::Mutant;
pub use run::run;
pub use world::Law;

/// How often things fail, of a thousand calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub journal: u32,
    pub content: u32,
    pub source: u32,
    pub sink: u32,
    /// How often an ingest, a settlement or the end of an intent is delivered once more.
    pub again: u32,
}

/// How engines come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One server that crashes and starts again, over and over, as the owner of a locked directory.
    Server,
    /// Several engines at once; some stall, are taken over from, and go on as if nothing had happened.
    Several,
}

/// What a simulation is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    pub flows: Vec<Flow>,
    pub mode: Mode,
    pub faults: Faults,
    /// How often an engine crashes, stalls or is taken over from, of 100,000 steps.
    pub crashes: u64,
    /// Changes a producer makes to each place, and to how many names.
    pub changes: u64,
    pub paths: u64,
    /// How often new content is equal to earlier content, of a thousand.
    pub equal: u32,
    /// Whether some results are too large to be held in memory.
    pub large: bool,
    /// Whether foreign files appear at targets, and exported ones are changed.
    pub foreign: bool,
    /// Whether the folders that sources read are moved away and made anew meanwhile.
    pub moves: bool,
    /// Whether the journal's file is removed, and put back, meanwhile.
    pub thief: bool,
    /// Whether retention lets sources and revisions go meanwhile.
    pub retention: bool,
    /// How long an export may take, in milliseconds.
    pub slow_sink: u64,
    /// Whether a fresh server takes over when everything calms down, or those that live go on. In the latter case no
    /// answer to a claim is lost: what it gave stays claimed until somebody takes over.
    pub fresh: bool,
    /// Steps until everything calms down.
    pub steps: u64,
    /// All that the journal knows is walked after so many commits.
    pub check_every: u64,
    pub mutant: Option<Mutant>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            flows: vec![Flow::Straight, Flow::Fan, Flow::Slow, Flow::Pure],
            mode: Mode::Server,
            faults: Faults { journal: 15, content: 15, source: 15, sink: 60, again: 60 },
            crashes: 60,
            changes: 8,
            paths: 3,
            equal: 0,
            large: false,
            foreign: true,
            moves: false,
            thief: false,
            retention: false,
            slow_sink: 0,
            fresh: true,
            steps: 6_000,
            check_every: 4,
            mutant: None,
        }
    }
}
