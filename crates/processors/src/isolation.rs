//! What scripts and commands may touch, as people write it: the keys `writable`, `home` and `network` of both kinds.

use std::path::Path;

use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::kinds::Problem;
use opendmp_processor::{Access, Context, Place, not_replaced};
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

/// The folders of `writable`, as places of a processor.
pub fn places(writable: &[String], base: &Path) -> Vec<Place> {
    let place = |(n, path): (usize, &String)| Place::new(&format!("/writable/{n}"), path, base, Access::Program);
    writable.iter().enumerate().map(place).collect()
}

/// What is wrong with `writable`, whatever is there.
pub fn problems(writable: &[String]) -> impl Iterator<Item = Problem> + '_ {
    let empty = writable.iter().enumerate().filter(|(_, path)| path.trim().is_empty());
    empty.map(|(n, _)| {
        Problem::new(format!("/writable/{n}"), "no-folder", "this names no folder")
            .hint("name a folder, or remove the entry")
    })
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
        if let Some(refused) = not_replaced(path) {
            return Err(refused.fault(FaultKind::Failed));
        }
        // Links are followed now and never again: what they lead to later may be of a script's choosing.
        let folder = opendmp_sandbox::real_path(&context.resolve(path)?);
        if folder.exists() && !folder.is_dir() {
            let message = format!("`writable` names folders, and `{path}` is a file");
            return Err(Fault::new(FaultKind::Failed, "not-a-folder", message)
                .with_hint("name the folder that it is in: programs often write other files beside it"));
        }
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

/// For a folder that turns out to lie in the data directory only when a script or command is to be given it.
pub fn closed(folder: &Path) -> Fault {
    let message = format!(
        "`{}` can't be given to a script or command: it lies in the data directory, or in a folder of sockets that lead \
         out of the sandbox",
        folder.display()
    );
    Fault::new(FaultKind::Rejected, "data-directory", message)
        .with_hint("choose a folder outside of it, and see whether a link leads there: `realpath`")
}

fn data_directory(path: &str, hidden: &Path) -> Fault {
    let message = format!("`writable: {path}` lies in the data directory `{}`", hidden.display());
    Fault::new(FaultKind::Rejected, "data-directory", message).with_hint("choose a folder outside of it")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_when_the_flow_is_opened_and_not_later() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        for folder in ["data", "real"] {
            std::fs::create_dir(base.join(folder)).unwrap();
        }
        symlink("real", base.join("link")).unwrap();
        symlink("data", base.join("to-data")).unwrap();
        let (context, site) =
            (crate::fixtures::context(&base), Site { hidden: vec![base.join("data")], ..Site::default() });
        let asked = |path: &str| rules(&[path.to_owned()], Home::Readable, Network::On, &context, &site);
        assert_eq!(asked("link").unwrap().writable, [base.join("real")]);
        assert_eq!(asked("link/new").unwrap().writable, [base.join("real/new")]);
        for path in ["data", "to-data", "to-data/content"] {
            assert_eq!(asked(path).unwrap_err().code, "data-directory", "{path}");
        }
    }
}
