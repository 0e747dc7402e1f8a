//! Folders: copying, listing, comparing. Not what is in the files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// All files below `folder` as sorted paths relative to it; names that begin with a dot are left out.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(relative) = open.pop() {
        let here = folder.join(&relative);
        for entry in fs::read_dir(&here).with_context(|| format!("can't list {}", here.display()))? {
            let entry = entry.with_context(|| format!("can't list {}", here.display()))?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = relative.join(entry.file_name());
            if entry.file_type().with_context(|| format!("can't look at {}", entry.path().display()))?.is_dir() {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Copies what [`list`] finds below `from` to `to`, which is made if it is missing.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    for relative in list(from)? {
        let target = to.join(&relative);
        let folder = target.parent().unwrap_or(to);
        fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
        fs::copy(from.join(&relative), &target).with_context(|| format!("can't write {}", target.display()))?;
    }
    Ok(())
}

/// An empty folder of our own at `path`: removed first if it is there and was made by us, else refused unless empty.
pub fn fresh(path: &Path) -> Result<()> {
    let mark = path.join(".xtask");
    if mark.is_file() {
        fs::remove_dir_all(path).with_context(|| format!("can't remove {}", path.display()))?;
    } else if path.exists()
        && fs::read_dir(path).with_context(|| format!("can't list {}", path.display()))?.next().is_some()
    {
        bail!("{} is not empty, and not of our making; name another folder", path.display());
    }
    fs::create_dir_all(path).with_context(|| format!("can't make {}", path.display()))?;
    fs::write(&mark, "made by cargo xtask, which removes this folder when it needs a fresh one\n")
        .with_context(|| format!("can't write {}", mark.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder below the system's temporary one that goes away with the value.
    pub struct Scratch(pub PathBuf);

    impl Scratch {
        pub fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_fresh_folder_is_never_somebody_elses() {
        let scratch = Scratch::new("fresh");
        let ours = scratch.0.join("ours");
        fresh(&ours).unwrap();
        fs::write(ours.join("left.txt"), "x").unwrap();
        fresh(&ours).unwrap();
        assert_eq!(list(&ours).unwrap(), Vec::<PathBuf>::new());

        let theirs = scratch.0.join("theirs");
        fs::create_dir(&theirs).unwrap();
        fs::write(theirs.join("thesis.txt"), "x").unwrap();
        assert!(fresh(&theirs).is_err());
        assert!(theirs.join("thesis.txt").is_file());
    }

    #[test]
    fn copies_are_whole_and_listed_in_order() {
        let scratch = Scratch::new("copy");
        let from = scratch.0.join("from");
        fs::create_dir_all(from.join("b/c")).unwrap();
        fs::write(from.join("z"), "1").unwrap();
        fs::write(from.join("b/c/y"), "2").unwrap();
        fs::write(from.join(".hidden"), "3").unwrap();
        copy(&from, &scratch.0.join("to")).unwrap();
        assert_eq!(list(&scratch.0.join("to")).unwrap(), [PathBuf::from("b/c/y"), PathBuf::from("z")]);
        assert_eq!(fs::read_to_string(scratch.0.join("to/b/c/y")).unwrap(), "2");
    }
}
