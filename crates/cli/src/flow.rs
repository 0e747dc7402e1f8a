//! Flow files as they lie in a folder: read, checked with the files they name, and packed up to be sent.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use opendmp_api::ask::{FileContent, Upload};
use opendmp_model::diagnostic::Diagnostics;
use opendmp_model::document::{Checked, check};
use opendmp_model::kinds::{FileProblem, Files, Kinds, MOST_FILE_BYTES, clean_path};
use opendmp_processor::{PathPolicy, Registry, check_at};

use crate::data::DataDir;
use crate::fail::Fail;
use crate::target::Target;

/// The largest flow file that is read at all; what a flow may have is decided by the check.
const MOST_FLOW_BYTES: u64 = 16 << 20;

/// A flow file, read.
pub struct FlowFile {
    /// The path as it was given.
    pub shown: String,
    /// Its bytes as text; where they are none, what is wrong.
    pub text: Result<String, Diagnostics>,
    /// The folder its paths begin at.
    pub base: PathBuf,
}

impl FlowFile {
    /// Reads a flow file; `-` is standard input, with paths beginning here.
    pub fn read(path: &Path) -> Result<Self, Fail> {
        let shown = crate::words::name(&path.display().to_string());
        let failed = |error: &std::io::Error| {
            let mut fail = Fail::io(format_args!("the flow `{shown}` can't be read"), error);
            fail.exit = crate::fail::USAGE;
            fail
        };
        let (bytes, folder) = if path == Path::new("-") {
            (limited(std::io::stdin().lock()).map_err(|error| failed(&error))?, PathBuf::from("."))
        } else {
            let file = File::open(path).map_err(|error| failed(&error))?;
            if path.is_dir() {
                let inside = path.join("flow.yaml");
                let fail = failed(&std::io::Error::from(std::io::ErrorKind::IsADirectory));
                return Err(if inside.is_file() {
                    fail.hint(format!("did you mean `{}`?", inside.display()))
                } else {
                    fail
                });
            }
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (limited(file).map_err(|error| failed(&error))?, folder.to_owned())
        };
        if bytes.len() as u64 > MOST_FLOW_BYTES {
            return Err(Fail::usage(format!(
                "`{shown}` is larger than {} MiB, so it is no flow",
                MOST_FLOW_BYTES >> 20
            )));
        }
        let base = folder.canonicalize().map_err(|error| failed(&error))?;
        let text = opendmp_model::document::text(&bytes).map(str::to_owned);
        Ok(Self { shown, text, base })
    }

    /// Checks it and everything it names.
    pub fn check(self, kinds: &dyn Kinds) -> CheckedFlow {
        self.check_with(|text, _, files| check(text, kinds, files))
    }

    /// The same, and whether it may use its folders where it is. A server at an address has other folders, and checks
    /// them itself.
    pub fn check_for(self, target: &Target, registry: &Registry) -> CheckedFlow {
        if target.is_remote() {
            return self.check(registry);
        }
        // Without a home there is none, and nothing can be run either.
        let data = target.data_dir("checking a flow").ok();
        let policy = PathPolicy::new(Vec::new(), data.as_ref().map(DataDir::path));
        self.check_with(|text, base, files| check_at(registry, &policy, base, text, files))
    }

    fn check_with(self, check: impl Fn(&str, &Path, &dyn Files) -> Checked) -> CheckedFlow {
        let folder = Folder { base: self.base.clone(), read: RefCell::default() };
        let (text, checked, problems) = match self.text {
            Ok(text) => {
                let checked = check(&text, &self.base, &folder);
                let problems = checked.diagnostics.clone();
                (text, Some(checked), problems)
            }
            Err(problems) => (String::new(), None, problems),
        };
        CheckedFlow { shown: self.shown, text, base: self.base, files: folder.read.into_inner(), checked, problems }
    }
}

fn limited(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MOST_FLOW_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A flow with all that is to be said of it.
pub struct CheckedFlow {
    /// The path as it was given.
    pub shown: String,
    /// Its text.
    pub text: String,
    /// The folder its paths begin at.
    pub base: PathBuf,
    /// The files it names, by clean path.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What it says; `None` where it is not even text.
    pub checked: Option<Checked>,
    /// What is wrong with it, and what is probably not meant.
    pub problems: Diagnostics,
}

impl CheckedFlow {
    /// Packs it up to be sent.
    ///
    /// A server at an address has other folders than this machine: there the flow's is for it to choose.
    pub fn upload(self, target: &Target) -> Result<Upload, Fail> {
        let base = if target.is_remote() { PathBuf::new() } else { self.base };
        let base = base.into_os_string().into_string().map_err(|base| {
            Fail::usage(format!("the folder `{}` has a name that is not UTF-8", base.display()))
                .hint("give the flow's folder another name")
        })?;
        let files = self.files.into_iter().map(|(path, content)| (path, FileContent(content)));
        Ok(Upload { text: self.text, files: files.collect(), base })
    }
}

/// The files below a folder. Remembers what was read.
struct Folder {
    base: PathBuf,
    read: RefCell<BTreeMap<String, Vec<u8>>>,
}

impl Files for Folder {
    fn read(&self, relative: &str) -> Result<Vec<u8>, FileProblem> {
        let clean = clean_path(relative)?;
        if let Some(known) = self.read.borrow().get(&clean) {
            return Ok(known.clone());
        }
        let told = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => FileProblem::NotFound,
            _ => FileProblem::Unreadable(crate::words::io(&error)),
        };
        // Links are followed, but not out of the folder.
        let real = self.base.join(&clean).canonicalize().map_err(told)?;
        if !real.starts_with(&self.base) {
            return Err(FileProblem::Outside);
        }
        if !real.is_file() {
            return Err(FileProblem::Unreadable("it is not a file".to_owned()));
        }
        let mut content = Vec::new();
        File::open(&real).map_err(told)?.take(MOST_FILE_BYTES as u64 + 1).read_to_end(&mut content).map_err(told)?;
        if content.len() > MOST_FILE_BYTES {
            return Err(FileProblem::TooLarge);
        }
        self.read.borrow_mut().insert(clean, content.clone());
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stay_within_the_folder() {
        let outer = tempfile::tempdir().unwrap();
        let base = outer.path().canonicalize().unwrap().join("flow");
        std::fs::create_dir_all(base.join("sub")).unwrap();
        std::fs::write(outer.path().join("secret.py"), "x").unwrap();
        std::fs::write(base.join("sub/a.py"), "a").unwrap();
        std::os::unix::fs::symlink(outer.path().join("secret.py"), base.join("link.py")).unwrap();
        std::os::unix::fs::symlink(base.join("sub/a.py"), base.join("inner.py")).unwrap();
        File::create(base.join("big")).unwrap().set_len(MOST_FILE_BYTES as u64 + 1).unwrap();
        let folder = Folder { base, read: RefCell::default() };
        assert_eq!(folder.read("./sub/a.py"), Ok(b"a".to_vec()));
        assert_eq!(folder.read("inner.py"), Ok(b"a".to_vec()));
        assert_eq!(folder.read("link.py"), Err(FileProblem::Outside));
        assert_eq!(folder.read("../secret.py"), Err(FileProblem::Outside));
        assert_eq!(folder.read("big"), Err(FileProblem::TooLarge));
        assert_eq!(folder.read("none"), Err(FileProblem::NotFound));
        assert!(matches!(folder.read("sub"), Err(FileProblem::Unreadable(_))));
        let read: Vec<String> = folder.read.into_inner().into_keys().collect();
        assert_eq!(read, ["inner.py", "sub/a.py"]);
    }
}
