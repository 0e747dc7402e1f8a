//! Where folders are, links and mounts included, and which of them sources and destinations may use.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use opendmp_model::fault::{Fault, FaultKind};

use crate::places::{Access, Place};
use crate::registry::{is_within, normal, real};
use crate::{Names, SourceError};

/// Device and inode.
pub type FolderId = (u64, u64);

/// Where a path leads: the path without links as far as it exists, and what each folder on the way is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    real: PathBuf,
    /// Of the path itself, then of each folder above it; `None` where nothing is there yet.
    ids: Vec<Option<FolderId>>,
}

/// How one folder lies to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Neither contains the other.
    Apart,
    /// They are one.
    Same,
    /// It lies in the other, at this path.
    Within(Vec<u8>),
    /// The other lies in it, at this path.
    Contains(Vec<u8>),
}

impl Location {
    /// Looks where an absolute path leads now.
    pub fn of(path: &Path) -> Self {
        let real = real(&normal(path));
        let ids = real.ancestors().map(id_of).collect();
        Self { real, ids }
    }

    /// The path, links resolved as far as it exists.
    pub fn path(&self) -> &Path {
        &self.real
    }

    /// How this folder lies to another. Folders are told apart by device and inode, so that a folder that is mounted in
    /// two places is one; and by path where they do not exist.
    pub fn to(&self, other: &Self) -> Relation {
        match (self.depth_below(other), other.depth_below(self)) {
            (Some(0), _) | (_, Some(0)) => Relation::Same,
            (Some(depth), _) => Relation::Within(last(&self.real, depth)),
            (None, Some(depth)) => Relation::Contains(last(&other.real, depth)),
            (None, None) => Relation::Apart,
        }
    }

    /// How many folders down from `other` this is, where it is in it.
    fn depth_below(&self, other: &Self) -> Option<usize> {
        let id = other.ids.first().copied().flatten();
        let by_id = id.and_then(|id| self.ids.iter().position(|of| *of == Some(id)));
        by_id.or_else(|| self.real.ancestors().position(|folder| folder == other.real))
    }
}

/// The last names of a path.
fn last(path: &Path, depth: usize) -> Vec<u8> {
    let names: Vec<&[u8]> = path.components().map(|part| part.as_os_str().as_bytes()).collect();
    names[names.len().saturating_sub(depth)..].join(&b'/')
}

/// Which folders sources and destinations may use: only those within the data roots, where there are any, and never
/// the data directory.
#[derive(Clone, Debug, Default)]
pub struct PathPolicy {
    roots: Vec<PathBuf>,
    own: Option<Arc<DataDirectory>>,
}

/// The data directory, as it was found when the policy was made.
#[derive(Debug)]
struct DataDirectory {
    location: Location,
    /// The folder of content in it.
    content: Option<FolderId>,
}

/// The folders of a data directory that may be mounted elsewhere, too.
const INNER: [&str; 8] =
    ["content", "content/packs", "content/files", "content/tmp", "environments", "recent", "scratch", "uploads"];

/// Why a folder may not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PathRefused {
    /// `data-directory` or `outside-roots`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What can be done.
    pub hint: String,
}

impl PathRefused {
    /// As a fault.
    pub fn fault(self, kind: FaultKind) -> Fault {
        Fault::new(kind, self.code, self.message).with_hint(self.hint)
    }

    /// As a source's error.
    pub fn source_error(self) -> SourceError {
        SourceError { code: self.code, message: self.message, hint: Some(self.hint) }
    }
}

impl PathPolicy {
    /// One with these data roots (empty: no limit), and this data directory.
    pub fn new(roots: Vec<PathBuf>, data: Option<&Path>) -> Self {
        let own = data.map(|data| {
            let location = Location::of(data);
            let content = id_of(&location.real.join(INNER[0]));
            Arc::new(DataDirectory { location, content })
        });
        Self { roots, own }
    }

    /// The same without data roots: for what a person of this machine names.
    #[must_use]
    pub fn without_roots(&self) -> Self {
        Self { roots: Vec::new(), own: self.own.clone() }
    }

    /// The data roots.
    pub fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// The data directory, as it was found when this was made; `None` where there is none.
    pub fn data_directory(&self) -> Option<FolderId> {
        self.own.as_ref().and_then(|own| own.location.ids.first().copied().flatten())
    }

    /// Whether that is the data directory, or its folder of content: never to be entered on the way through others.
    pub fn is_own(&self, id: FolderId) -> bool {
        let is = |own: &Arc<DataDirectory>| own.location.ids.first() == Some(&Some(id)) || own.content == Some(id);
        self.own.as_ref().is_some_and(is)
    }

    /// What is said where [`PathPolicy::is_own`] holds.
    pub fn never_entered(&self) -> PathRefused {
        let data = self.own.as_ref().map_or_else(String::new, |own| format!(" {}", own.location));
        PathRefused {
            code: "data-directory",
            message: format!(
                "this is the data directory{data}: nothing is taken from it, and nothing is written there"
            ),
            hint: "keep the data directory elsewhere with --data-dir, or choose another folder".to_owned(),
        }
    }

    /// Why a place may not be used as it is now.
    pub fn refuses(&self, place: &Place) -> Option<PathRefused> {
        if let Some(refused) = not_replaced(&place.written) {
            return Some(refused);
        }
        let found = Location::of(&place.path);
        self.refuses_at(&found, &place.written, &place.access).or_else(|| {
            // One of its folders may be mounted elsewhere.
            let own = self.own.as_ref()?;
            let mut inner = INNER.into_iter().filter_map(|inner| id_of(&own.location.real.join(inner)));
            let is_inner = inner.any(|id| found.ids.contains(&Some(id)));
            is_inner.then(|| own.refused("lies in", &found, &place.written, &place.access))
        })
    }

    /// The same of a folder that was opened. `written` names it for people.
    pub fn refuses_at(&self, found: &Location, written: &str, access: &Access) -> Option<PathRefused> {
        if !self.roots.is_empty() && !is_within(found.path(), &self.roots) {
            return Some(self.outside(written, found));
        }
        let own = self.own.as_ref()?;
        let how = match found.to(&own.location) {
            Relation::Same => "is",
            Relation::Within(_) => "lies in",
            Relation::Contains(below) if access.reaches(&below) => "contains",
            Relation::Apart | Relation::Contains(_) => {
                let id = found.ids.first().copied().flatten();
                id.is_some_and(|id| self.is_own(id)).then_some("lies in")?
            }
        };
        Some(own.refused(how, found, written, access))
    }

    /// What is said of a path outside the roots.
    pub(crate) fn outside(&self, written: &str, found: &Location) -> PathRefused {
        let roots: Vec<String> = self.roots.iter().map(|root| root.display().to_string()).collect();
        let leads = if Path::new(written) == found.path() { String::new() } else { leads(found) };
        PathRefused {
            code: "outside-roots",
            message: format!("`{written}` is outside the data roots of this server{leads}"),
            hint: format!("the data roots are: {}; `opendmp serve --data-root` adds one", roots.join(", ")),
        }
    }
}

impl DataDirectory {
    fn refused(&self, how: &str, found: &Location, written: &str, access: &Access) -> PathRefused {
        let (found, data) = (found.path().display(), self.location.real.display());
        let named = if *written == found.to_string() { String::new() } else { format!(" ({found})") };
        let danger = match access {
            Access::Read(_) => "its files are never input",
            Access::Write(_) => "nothing is written there but by OpenDMP itself",
            Access::Program => "no script or command may write there",
        };
        PathRefused {
            code: "data-directory",
            message: format!("`{written}`{named} {how} the data directory {data}: {danger}"),
            hint: match how {
                "contains" => format!(
                    "choose a folder that does not contain {data}, leave sub-folders out, name that one in `exclude`, or \
                     keep the data directory elsewhere with --data-dir"
                ),
                _ => "choose a folder outside the data directory".to_owned(),
            },
        }
    }
}

/// Refuses a path that a shell would have replaced: a folder named `~` is hardly ever meant.
pub fn not_replaced(written: &str) -> Option<PathRefused> {
    let home = written == "~" || written.starts_with("~/");
    if !home && !written.starts_with('$') {
        return None;
    }
    let whole = std::env::home_dir().filter(|_| home).map(|home| home.join(written.trim_start_matches(['~', '/'])));
    let example = whole.map_or_else(String::new, |path| format!(", as `{}`", path.display()));
    Some(PathRefused {
        code: "not-replaced",
        message: format!("`{written}`: neither `~` nor variables are replaced in paths"),
        hint: format!("write the whole path{example}; a folder that is really named so is `./{written}`"),
    })
}

fn leads(found: &Location) -> String {
    format!(": it leads to {}", found.path().display())
}

fn id_of(folder: &Path) -> Option<FolderId> {
    folder.metadata().ok().map(|meta| (meta.dev(), meta.ino()))
}

impl Access {
    /// Whether it can come to something in the folder at this path below its own.
    fn reaches(&self, below: &[u8]) -> bool {
        match self {
            Self::Read(read) => read.recursive && (read.hidden || !hidden(below)) && !read.names.leaves_out(below),
            Self::Write(names) => names.may_meet(&Names::all().below(below)),
            // The sandbox hides it.
            Self::Program => false,
        }
    }
}

/// Whether a name on the way begins with a dot.
fn hidden(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|name| name.starts_with(b"."))
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.real.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::places::ReadAccess;

    fn read(recursive: bool, hidden: bool) -> Access {
        Access::Read(ReadAccess { recursive, hidden, ..ReadAccess::default() })
    }

    fn write(name: &str) -> Access {
        Access::Write(Names::glob(name))
    }

    fn refused(policy: &PathPolicy, path: &Path, access: Access) -> Option<String> {
        let place = Place { pointer: String::new(), written: "./x".to_owned(), path: path.to_owned(), access };
        policy.refuses(&place).map(|refused| {
            assert!(!refused.hint.is_empty());
            assert_eq!(refused.code, "data-directory", "{refused}");
            refused.message
        })
    }

    #[test]
    fn the_data_directory_is_known_in_every_relation() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        std::fs::create_dir_all(at("here/data/content/packs")).unwrap();
        std::fs::create_dir_all(at("here/inbox")).unwrap();
        symlink(at("here/data"), at("link")).unwrap();
        symlink(at("here"), at("above")).unwrap();
        let policy = PathPolicy::new(Vec::new(), Some(&at("here/data")));
        for path in ["here/data", "here/data/", "here/inbox/../data", "link", "above/data"] {
            assert!(
                refused(&policy, &at(path), read(false, false)).unwrap().contains(" is the data directory"),
                "{path}"
            );
            assert!(refused(&policy, &at(path), write("*")).unwrap().contains(" is the data directory"), "{path}");
        }
        for path in ["here/data/content", "link/new/folder", "above/data/scratch"] {
            assert!(refused(&policy, &at(path), read(false, false)).unwrap().contains(" lies in "), "{path}");
            assert!(refused(&policy, &at(path), write("*")).unwrap().contains(" lies in "), "{path}");
        }
        for path in ["here", "above", "."] {
            assert!(refused(&policy, &at(path), read(true, false)).unwrap().contains(" contains "), "{path}");
            assert!(refused(&policy, &at(path), write("**")).unwrap().contains(" contains "), "{path}");
            let names = Names::all().without_folder(true, b"data");
            let without = Access::Read(ReadAccess { names, recursive: true, ..ReadAccess::default() });
            assert_eq!(refused(&policy, &at(path), without), None, "it is excluded");
            // Its folder is no file, and no name leads into it.
            assert_eq!(refused(&policy, &at(path), read(false, true)), None);
            assert_eq!(refused(&policy, &at(path), write("*")), None);
            assert_eq!(refused(&policy, &at(path), write("out/*")), None);
        }
        for path in ["here/inbox", "elsewhere", "here/database"] {
            assert_eq!(refused(&policy, &at(path), read(true, true)), None, "{path}");
        }
    }

    #[test]
    fn a_hidden_data_directory_is_not_entered() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join(".local/share/opendmp");
        let policy = PathPolicy::new(Vec::new(), Some(&data));
        assert_eq!(refused(&policy, dir.path(), read(true, false)), None);
        assert!(refused(&policy, dir.path(), read(true, true)).is_some());
    }

    #[test]
    fn folders_are_where_they_lead() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| Location::of(&dir.path().join(path));
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        symlink("a", dir.path().join("link")).unwrap();
        assert_eq!(at("a").to(&at("link")), Relation::Same);
        assert_eq!(at("link/b/c").to(&at("a")), Relation::Within(b"b/c".to_vec()));
        assert_eq!(at("a").to(&at("link/b")), Relation::Contains(b"b".to_vec()));
        assert_eq!(at("new/x").to(&at("new")), Relation::Within(b"x".to_vec()));
        assert_eq!(at("new").to(&at("newer")), Relation::Apart);
    }
}
