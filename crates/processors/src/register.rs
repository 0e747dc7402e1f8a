//! The one place where kinds are registered, and what they are given of the machine they run on.

use std::path::PathBuf;
use std::sync::Arc;

use opendmp_model::diagnostic::codes::CodeInfo;
use opendmp_processor::Registry;
use opendmp_script::Pools;
use opendmp_script::environment::Tools;

use crate::{codes, collect, external, file_drop, folder, ingest, inline, route, script};

/// What the kinds may use of the machine.
#[derive(Clone)]
pub struct Host {
    /// Worker processes of scripts.
    pub pools: Arc<Pools>,
    /// Interpreter and package tools.
    pub tools: Tools,
    /// Where script environments are kept.
    pub environments: PathBuf,
    /// Where steps may write while they work; emptied at start.
    pub scratch: PathBuf,
}

/// All kinds that come with OpenDMP.
pub fn register(host: Host) -> Registry {
    Registry::default()
        .processor(ingest::Kind)
        .processor(script::Kind::new(Arc::clone(&host.pools), host.tools, host.environments))
        .processor(external::Kind::new(host.scratch))
        .processor(route::Kind)
        .processor(collect::Kind)
        .source(file_drop::Kind)
        .source(inline::Kind)
        .sink(folder::Kind)
        .codes(codes::CODES)
}

/// Explanations of the codes that kinds use in their problems.
pub fn explanations() -> &'static [CodeInfo] {
    codes::CODES
}
