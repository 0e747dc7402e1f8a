//! Walks a folder without ever holding more of it than the way down to where it is.

use std::io;

use opendmp_model::name;
use opendmp_processor::NotTaken;
use rustix::fs::FileType;

use super::pattern::Matcher;
use crate::beneath::{Folder, Listing, join, split};
use crate::template::OWN_PREFIX;

/// How deep folders may be nested: each level keeps two files open.
pub(super) const DEEPEST: usize = 64;

/// What a walk comes across.
#[derive(Debug)]
pub(super) enum Met {
    /// Something of the name of a file that is to be taken, by its path.
    File(Vec<u8>),
    /// A symbolic link of such a name.
    Link(Vec<u8>),
    /// A folder that can't be listed.
    Closed(Vec<u8>, io::Error),
    /// A folder that is nested too deep.
    TooDeep(Vec<u8>),
    /// A folder that was replaced by another while it was walked.
    Replaced,
}

#[derive(Debug)]
struct Level {
    folder: Folder,
    listing: Listing,
    path: Vec<u8>,
}

/// A walk under way; over, as it is by default.
#[derive(Debug, Default)]
pub(super) struct Walk {
    levels: Vec<Level>,
    recursive: bool,
    /// What it came across and left out.
    pub(super) not_taken: NotTaken,
}

/// So many of what is not taken are named.
const EXAMPLES: usize = 10;

fn note(not_taken: &mut NotTaken, path: &[u8], end: &str) {
    not_taken.count += 1;
    if not_taken.examples.len() < EXAMPLES {
        not_taken.examples.push(name::from_bytes(path) + end);
    }
}

impl Level {
    /// Whether it still has `inner`, or nothing of that name: what was walked there is gone then, and nothing was missed.
    fn has(&self, inner: &Level) -> bool {
        match self.folder.stat(split(&inner.path).1) {
            Ok(stat) => inner.folder.identity().is_ok_and(|walked| walked == (stat.st_dev, stat.st_ino)),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

impl Walk {
    /// Begins at `folder`.
    ///
    /// # Errors
    /// Where it can't be listed.
    pub(super) fn new(folder: Folder, recursive: bool) -> io::Result<Self> {
        Self::within(folder, Vec::new(), recursive)
    }

    /// Begins at `folder`, whose path from the root is `path`.
    ///
    /// # Errors
    /// Where it can't be listed.
    pub(super) fn within(folder: Folder, path: Vec<u8>, recursive: bool) -> io::Result<Self> {
        let listing = folder.list()?;
        Ok(Self { levels: vec![Level { folder, listing, path }], recursive, not_taken: NotTaken::default() })
    }

    /// The next of what `matcher` takes; all files where there is none.
    pub(super) fn next(&mut self, matcher: Option<&Matcher>) -> Option<Met> {
        loop {
            let depth = self.levels.len();
            let level = self.levels.last_mut()?;
            let (name, kind) = match level.listing.next() {
                Some(Ok(entry)) => entry,
                Some(Err(error)) => {
                    let path = level.path.clone();
                    self.levels.pop();
                    return Some(Met::Closed(path, error));
                }
                None => {
                    let walked = self.levels.pop()?;
                    if self.levels.last().is_some_and(|parent| !parent.has(&walked)) {
                        return Some(Met::Replaced);
                    }
                    continue;
                }
            };
            if name.starts_with(OWN_PREFIX) {
                continue;
            }
            let path = join(&level.path, &name);
            let kind = match kind {
                FileType::Unknown => {
                    level.folder.stat(&name).map_or(kind, |stat| FileType::from_raw_mode(stat.st_mode))
                }
                known => known,
            };
            match kind {
                FileType::RegularFile if matcher.is_none_or(|matcher| matcher.takes(&path)) => {
                    return Some(Met::File(path));
                }
                FileType::Symlink if matcher.is_some_and(|matcher| matcher.takes(&path)) => {
                    return Some(Met::Link(path));
                }
                FileType::Directory if self.recursive && matcher.is_none_or(|matcher| matcher.enters(&path)) => {
                    if depth >= DEEPEST {
                        return Some(Met::TooDeep(path));
                    }
                    let entered = level.folder.enter(&name).and_then(|folder| Ok((folder.list()?, folder)));
                    match entered {
                        Ok((listing, folder)) => self.levels.push(Level { folder, listing, path }),
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => return Some(Met::Closed(path, error)),
                    }
                }
                FileType::RegularFile => note(&mut self.not_taken, &path, ""),
                FileType::Directory => note(&mut self.not_taken, &path, "/"),
                _ => {}
            }
        }
    }
}

/// Removes the folders in `folder` that hold nothing but such folders.
pub(super) fn remove_empty(folder: &Folder, depth: usize) {
    for (name, _) in folder.list().into_iter().flatten().flatten() {
        // Each of these fails where something is left, and that is all that is meant.
        if folder.remove_folder(&name).is_err()
            && depth < DEEPEST
            && let Ok(inner) = folder.enter(&name)
        {
            remove_empty(&inner, depth + 1);
            let _ = folder.remove_folder(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pattern::{Patterns, Selection};
    use super::*;
    use std::os::unix::fs::symlink;

    fn walk(dir: &std::path::Path, recursive: bool) -> (Vec<String>, Vec<String>) {
        let pattern = Patterns::default();
        let selection = Selection { pattern: &pattern, exclude: None, ignore_case: false, recursive };
        let matcher = selection.compile().unwrap();
        let mut walk = Walk::new(Folder::open(dir).unwrap(), recursive).unwrap();
        let (mut files, mut others) = (Vec::new(), Vec::new());
        while let Some(met) = walk.next(Some(&matcher)) {
            match met {
                Met::File(path) => files.push(String::from_utf8(path).unwrap()),
                Met::Link(path) | Met::Closed(path, _) | Met::TooDeep(path) => {
                    others.push(String::from_utf8(path).unwrap());
                }
                Met::Replaced => {}
            }
        }
        files.sort();
        others.sort();
        (files, others)
    }

    #[test]
    fn only_regular_files_are_met() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("sub/deep")).unwrap();
        std::fs::create_dir(at(".hidden")).unwrap();
        std::fs::create_dir(at(".opendmp-claimed")).unwrap();
        for name in ["a", "sub/b", "sub/deep/c", ".d", ".hidden/e", ".opendmp-claimed/f"] {
            std::fs::write(at(name), "").unwrap();
        }
        symlink("a", at("link")).unwrap();
        symlink("sub", at("folder-link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert_eq!(walk(dir.path(), false).0, ["a"]);
        let (files, others) = walk(dir.path(), true);
        assert_eq!(files, ["a", "sub/b", "sub/deep/c"]);
        assert_eq!(others, ["folder-link", "link"]);
    }

    #[test]
    fn depth_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let deep: std::path::PathBuf = std::iter::repeat_n("d", DEEPEST + 3).collect();
        std::fs::create_dir_all(dir.path().join(&deep)).unwrap();
        std::fs::write(dir.path().join(&deep).join("f"), "").unwrap();
        let (files, others) = walk(dir.path(), true);
        assert_eq!((files.len(), others.len()), (0, 1));
    }
}
