//! Whether all of a data directory is there: a journal that is missing beside content, or content that is missing beside a
//! journal, is never taken for a beginning.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::fail::Fail;

/// The journal, before it is opened, which would make one. `used`: the directory has had one.
pub fn journal(data: &Path, used: bool) -> Result<(), Fail> {
    let path = data.join("journal.db");
    let what = match path.metadata() {
        Ok(meta) if meta.len() > 0 => return Ok(()),
        Ok(_) => "is empty",
        Err(error) if error.kind() == io::ErrorKind::NotFound => "is missing",
        Err(error) => return Err(Fail::io(path.display(), &error)),
    };
    if used || has_content(data) { Err(lost(data, what)) } else { Ok(()) }
}

/// The content, before it is opened, which would make a folder for it. `fresh`: the journal was never worked with.
pub fn content(data: &Path, fresh: bool) -> Result<(), Fail> {
    if fresh && has_content(data) {
        return Err(lost(data, "is a new one"));
    }
    if fresh {
        // So that a journal is there after a power cut when content is.
        return File::open(data).and_then(|folder| folder.sync_all()).map_err(|error| Fail::io(data.display(), &error));
    }
    let format = data.join("content/format");
    match format.metadata() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = data.join("content");
            let message = format!("the stored content in {} is missing", folder.display());
            Err(Fail::new(message).hint(format!(
                "mount or move it back; or restore a backup into a new directory: `opendmp restore FROM --data-dir NEW`; or \
                 give up all that was stored there for good: `mkdir -p {0} && echo 'opendmp content 1' > {0}/format && rm -f {0}.reach`",
                folder.display()
            )))
        }
        Err(error) => Err(Fail::io(format.display(), &error)),
    }
}

/// Whether anything is stored.
fn has_content(data: &Path) -> bool {
    let is_used = |folder: &str| fs::read_dir(data.join(folder)).is_ok_and(|mut entries| entries.next().is_some());
    is_used("content/packs") || is_used("content/files")
}

fn lost(data: &Path, what: &str) -> Fail {
    let shown = data.display();
    Fail::new(format!("{shown}/journal.db {what}, but the directory holds content of an earlier one")).hint(format!(
        "put the earlier file back; or restore a backup into a new directory: `opendmp restore FROM --data-dir NEW`; to begin anew, \
         move the directory away first: `mv {shown} {shown}.old`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_missing_is_no_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path();
        journal(data, false).unwrap();
        content(data, true).unwrap();
        assert!(journal(data, true).is_err(), "an instance is known");
        fs::create_dir_all(data.join("content/packs")).unwrap();
        journal(data, false).unwrap();
        assert!(content(data, false).is_err(), "a journal was worked with");
        fs::write(data.join("content/packs/00000001.pack"), "x").unwrap();
        assert!(journal(data, false).unwrap_err().message.contains("is missing"));
        fs::write(data.join("journal.db"), "").unwrap();
        let said = journal(data, false).unwrap_err();
        assert!(said.message.contains("is empty") && said.hint.unwrap().contains("opendmp restore"));
        fs::write(data.join("journal.db"), "x").unwrap();
        journal(data, true).unwrap();
        assert!(content(data, true).unwrap_err().message.contains("a new one"));
        fs::write(data.join("content/format"), "").unwrap();
        content(data, false).unwrap();
    }
}
