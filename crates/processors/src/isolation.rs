//! What scripts and commands may touch, as people write it: the keys `writable`, `home` and `network` of both kinds.

use std::path::Path;

use opendmp_model::fault::{Fault, FaultKind};
use opendmp_processor::Context;
use opendmp_sandbox::{Rules, Site};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether a script or command sees the home folder of the server's user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Home {
    /// It can be read, so that tools find their libraries and settings; it can't be written.
    #[default]
    Readable,
    /// It appears empty.
    Private,
}

/// Whether a script or command may use the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The network can be used.
    #[default]
    On,
    /// There is no network.
    Off,
}

/// What a processor's keys come to, with paths resolved as all paths of its flow are.
pub fn rules(
    writable: &[String],
    home: Home,
    network: Network,
    context: &Context,
    site: &Site,
) -> Result<Rules, Fault> {
    let mut folders = Vec::with_capacity(writable.len());
    for path in writable {
        let folder = context.resolve(path)?;
        if let Some(hidden) = site.hides(&folder) {
            return Err(data_directory(path, &hidden));
        }
        folders.push(folder);
    }
    Ok(Rules {
        writable: folders,
        home: match home {
            Home::Readable => opendmp_sandbox::Home::Readable,
            Home::Private => opendmp_sandbox::Home::Private,
        },
        network: match network {
            Network::On => opendmp_sandbox::Network::On,
            Network::Off => opendmp_sandbox::Network::Off,
        },
        readable: vec![context.base.clone()],
    })
}

fn data_directory(path: &str, hidden: &Path) -> Fault {
    let message = format!("`writable: {path}` lies in the data directory `{}`", hidden.display());
    Fault::new(FaultKind::Rejected, "data-directory", message).with_hint("choose a folder outside of it")
}
