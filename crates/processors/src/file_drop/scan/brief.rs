//! Begins a look at names.

use super::super::aside::Place;
use super::super::walk::DEEPEST;
use super::super::{failed, no_root};
use super::{Found, Pass, Scanner, Shared};
use crate::beneath::{is_folder, names, split, version};
use crate::template::OWN_PREFIX;
use opendmp_processor::SourceError;
use std::io;

/// How long after a folder came it is looked through once more, in milliseconds: a watcher that follows it in may have
/// begun after files were put there.
const FOLLOWED: i64 = 500;

impl Pass {
    /// A look at what was told, given back, or has waited for its time; `None` where there is nothing of that.
    pub(super) fn of_names(scanner: &mut Scanner, shared: &Shared, now: i64) -> Result<Option<Self>, SourceError> {
        let (mut names, more) = shared.changed().take();
        scanner.unseen |= more;
        names.extend(scanner.waiting.take_due(now));
        let offered = shared.offered_in_place();
        if names.is_empty() && offered.is_empty() {
            return Ok(None);
        }
        let root = match shared.roots.now() {
            Ok(root) => root,
            Err(error) => {
                scanner.unseen = true;
                return Err(no_root(&shared.roots.location, &error));
            }
        };
        // Of another folder than the one that was looked at as a whole, these names are not all there is.
        scanner.unseen |= scanner.looked_at.is_some_and(|looked_at| looked_at != root.identity);
        let mut pass = Self::of(root, scanner.passes, shared);
        pass.walked = true;
        let mut found: Vec<Found> = Vec::new();
        for name in names {
            if let Some(place) = Place::from_key(&name) {
                let Some(reached) = shared.roots.of(&place, Some(&pass.root)) else { continue };
                let looked = place.open(&reached.root.folder).and_then(|(folder, name)| folder.stat(name));
                match looked {
                    Ok(stat) => found.push(Found::Left(place, version(&stat))),
                    // What is gone was released meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => {
                        scanner.unseen = true;
                        scanner.problems.push((name_of(&place.path), failed("looking at", &place.path, &error)));
                    }
                }
                continue;
            }
            // A folder that is looked through once more.
            if let Some(folder) = name.strip_suffix(b"/") {
                pass.folders.push_back(folder.to_vec());
                continue;
            }
            if !shared.reaches(&name) {
                continue;
            }
            let is_new_folder = shared.recursive && pass.is_folder(&name);
            if is_new_folder {
                let again = [&name[..], b"/"].concat();
                scanner.unseen |= !scanner.waiting.put(&again, now.saturating_add(FOLLOWED), pass.number);
                pass.folders.push_back(name);
            } else if shared.matcher.takes(&name) {
                found.push(Found::Fresh(name));
            }
        }
        found.extend(offered);
        found.sort_by(|one, other| (one.path(), one.age()).cmp(&(other.path(), other.age())));
        pass.window = found.into();
        Ok(Some(pass))
    }

    fn is_folder(&self, path: &[u8]) -> bool {
        let (folder, name) = split(path);
        self.root.folder.descend(folder).and_then(|folder| folder.stat(name)).is_ok_and(|stat| is_folder(&stat))
    }
}

fn name_of(path: &[u8]) -> String {
    opendmp_model::name::from_bytes(path)
}

impl Shared {
    /// Whether a look at everything would come to that name.
    fn reaches(&self, path: &[u8]) -> bool {
        let (folder, name) = split(path);
        let depth = names(folder).count();
        let mut ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        !name.is_empty()
            && (depth == 0 || self.recursive && depth < DEEPEST)
            && !names(path).any(|name| name.starts_with(OWN_PREFIX))
            && ends.all(|end| self.matcher.enters(&path[..end]))
    }
}
