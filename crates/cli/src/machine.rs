//! The kinds, with what they may use of this machine: either only to look at flows, or to work.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use opendmp_processor::Registry;
use opendmp_processors::{Host, Scratch, register};
use opendmp_sandbox::Site;
use opendmp_sandbox::folders::TempFolder;
use opendmp_script::Pools;
use opendmp_script::environment::Tools;

use crate::fail::Fail;

/// Overrides the Python that scripts run in.
pub const PYTHON: &str = "OPENDMP_PYTHON";

/// The Python that was asked for, if one was.
pub fn python() -> Option<PathBuf> {
    std::env::var_os(PYTHON).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Kinds that can check flows; nothing of theirs may be run.
pub struct Checker {
    /// The kinds.
    pub kinds: Arc<Registry>,
    _scratch: TempFolder,
}

impl Checker {
    /// Made without a data directory.
    pub fn new() -> Result<Self, Fail> {
        let scratch = TempFolder::new(None, "opendmp-");
        let scratch = scratch.map_err(|error| {
            Fail::io("a temporary folder can't be made", &error).hint("TMPDIR names where such folders are made")
        })?;
        let (kinds, _) = kinds(scratch.path(), 0, &scratch.path().join("environments"), Site::default())?;
        Ok(Self { kinds: Arc::new(kinds), _scratch: scratch })
    }
}

/// Kinds that can work, and their pools of script workers.
pub fn kinds(scratch: &Path, floor: u64, environments: &Path, site: Site) -> Result<(Registry, Arc<Pools>), Fail> {
    let mut options = opendmp_script::Options::new(scratch.join("scripts"));
    options.site = site.clone();
    options.disk_floor = floor;
    let pools = Pools::new(options).map_err(|error| {
        let fail = Fail::new(error.to_string());
        match error.hint() {
            Some(hint) => fail.hint(hint),
            None => fail,
        }
    })?;
    let pools = Arc::new(pools);
    let host = Host {
        pools: Arc::clone(&pools),
        tools: Tools { site: site.clone(), disk_floor: floor, ..Tools::find(python()) },
        environments: environments.to_owned(),
        scratch: Scratch::new(scratch.join("external"), floor),
        site: Arc::new(site),
    };
    Ok((register(host), pools))
}
