//! How far a store has come, in a file beside it (`content.reach` beside `content`): so that a copy from before, or a store
//! that lacks some of its packs, is not taken for the whole one. It is looked at when the store is opened, and written
//! whenever the store follows its journal; before a pack is removed, it says so.
//!
//! ```text
//! opendmp content reach 1
//! journal NAME NUMBER     what the file `journal` in the store said then
//! packs FROM TO           numbers of packs without a gap; a line for each range
//! last BYTES              bytes that the highest pack had at least; where there are more such lines, the last one counts
//! files                   only where there are folders of large content
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use opendmp_ports::journal::{JournalMark, Seq};
use opendmp_ports::{Error, ErrorKind, Result};

use crate::layout::{Paths, sync_dir, write_error};

const FOLLOW: &str = "content follow journal";
const TITLE: &str = "opendmp content reach 1";

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    pub mark: Option<JournalMark>,
    /// Numbers of all packs.
    pub packs: BTreeSet<u64>,
    /// Bytes of the highest.
    pub length: u64,
    /// Whether there is large content.
    pub files: bool,
}

/// Where it is kept for a root.
pub fn file(root: &Path) -> PathBuf {
    let mut name = root.file_name().unwrap_or_default().to_owned();
    name.push(".reach");
    root.with_file_name(name)
}

impl Reach {
    fn text(&self) -> String {
        let mut out = format!("{TITLE}\n");
        if let Some(mark) = &self.mark {
            out += &format!("journal {} {}\n", mark.journal, mark.seq.0);
        }
        let mut packs = self.packs.iter().copied().peekable();
        while let Some(from) = packs.next() {
            let mut to = from;
            while let Some(next) = packs.next_if_eq(&(to + 1)) {
                to = next;
            }
            out += &format!("packs {from} {to}\n");
        }
        if !self.packs.is_empty() {
            out += &format!("last {}\n", self.length);
        }
        if self.files {
            out += "files\n";
        }
        out
    }

    fn parsed(text: &str) -> Option<Self> {
        // The last line may be torn.
        let whole = text.get(..=text.rfind('\n')?)?;
        let mut lines = whole.lines();
        let mut reach = Self::default();
        if lines.next()? != TITLE {
            return None;
        }
        for line in lines {
            let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
            match what {
                "journal" => {
                    let (journal, seq) = rest.split_once(' ')?;
                    reach.mark = Some(JournalMark { journal: journal.to_owned(), seq: Seq(seq.parse().ok()?) });
                }
                "packs" => {
                    let (from, to) = rest.split_once(' ')?;
                    reach.packs.extend(from.parse::<u64>().ok()?..=to.parse().ok()?);
                }
                "last" => reach.length = rest.parse().ok()?,
                "files" => reach.files = true,
                _ => return None,
            }
        }
        Some(reach)
    }

    /// What is written beside a root; nothing where there is no such file.
    pub fn read(root: &Path) -> Result<Option<Self>> {
        let path = file(root);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(FOLLOW, path.display(), &error)),
        };
        Self::parsed(&text).map(Some).ok_or_else(|| {
            Error::new(ErrorKind::Damaged, FOLLOW, format!("{} is not as written", path.display())).with_hint(
                "it says how far the content beside it had come; if nothing else is wrong with the data directory, remove \
                 that file",
            )
        })
    }

    /// Writes it, durably.
    pub fn write(&self, root: &Path) -> Result<()> {
        let path = file(root);
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let write = || {
            let mut temp = tempfile::Builder::new().prefix(".reach-").tempfile_in(folder)?;
            temp.write_all(self.text().as_bytes())?;
            temp.as_file().sync_all()?;
            temp.persist(&path).map_err(|error| error.error)?;
            sync_dir(folder)
        };
        write().map_err(|error| write_error(FOLLOW, format_args!("writing {}", path.display()), &error))
    }

    /// Adds how long the highest pack is by now, without waiting for the disk: what a process that is killed leaves.
    pub fn note_length(root: &Path, length: u64) -> Result<()> {
        let path = file(root);
        let write = || OpenOptions::new().append(true).open(&path)?.write_all(format!("last {length}\n").as_bytes());
        write().map_err(|error| write_error(FOLLOW, format_args!("writing {}", path.display()), &error))
    }

    /// Errs where a store that has come so far lacks what is written here.
    pub fn check(&self, found: &Self, root: &Path) -> Result<()> {
        let paths = Paths(root);
        let lacking: Vec<u64> = self.packs.difference(&found.packs).copied().collect();
        let older = self
            .mark
            .as_ref()
            .zip(found.mark.as_ref())
            .filter(|(was, is)| was.journal == is.journal && was.seq > is.seq);
        let why = if let Some((was, is)) = older {
            let message = "is older than its journal: it followed the journal to number";
            format!("the content in {} {message} {}, and had come to {} before", root.display(), is.seq.0, was.seq.0)
        } else if let Some(first) = lacking.first() {
            let more = match lacking.len() {
                1 => String::new(),
                count => format!(" and {} more packs", count - 1),
            };
            format!("stored content is missing: {}{more}", paths.pack(*first).display())
        } else if self.packs.last() == found.packs.last() && found.length < self.length {
            let path = self.packs.last().map(|last| paths.pack(*last)).unwrap_or_default();
            format!("{} has {} bytes, and had {} before", path.display(), found.length, self.length)
        } else if self.files && !found.files {
            format!("stored content is missing: {} is empty", paths.files().display())
        } else {
            return Ok(());
        };
        Err(lacks(root, why))
    }

    /// Errs where a folder is missing that something is in.
    pub fn check_folders(&self, root: &Path) -> Result<()> {
        let paths = Paths(root);
        for (used, folder) in [(!self.packs.is_empty(), paths.packs()), (self.files, paths.files())] {
            if used && folder.metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                return Err(lacks(root, format!("stored content is missing: there is no {}", folder.display())));
            }
        }
        Ok(())
    }
}

/// A folder of the store that was removed while it was in use, and was made again.
#[derive(Debug)]
pub struct Removed {
    pub name: &'static str,
    /// The folder that was there.
    pub former: File,
}

impl Removed {
    /// Errs where something that was in it is not in the new folder.
    pub fn check(&self, packs: &BTreeSet<u64>, root: &Path) -> Result<()> {
        let now = root.join(self.name);
        let missing = match self.name {
            crate::layout::PACKS => packs.iter().filter(|number| !Paths(root).pack(**number).exists()).count() as u64,
            _ => self.missing_files(&now).map_err(|error| Error::io(FOLLOW, now.display(), &error))?,
        };
        if missing == 0 {
            return Ok(());
        }
        let (now, file) = (now.display(), file(root));
        let message = format!(
            "{now} was removed or moved away while it was in use, and was made again: what was stored in it before is missing"
        );
        Err(Error::new(ErrorKind::Damaged, FOLLOW, message).with_hint(format!(
            "copy it back beside what is new, which may be done while the server works: `cp -an MOVED/. {now}/`; or `opendmp \
             restore` a backup into a new directory. To go on without it, stop the server, remove `{}` and start it again: \
             what was in it is lost for good then",
            file.display()
        )))
    }

    /// How many files of the former folder are not in the new one; where nothing is left in it, it can't be told what
    /// was there.
    fn missing_files(&self, now: &Path) -> io::Result<u64> {
        let (mut seen, mut missing) = (0, 0);
        let former = Path::new("/proc/self/fd").join(std::os::fd::AsRawFd::as_raw_fd(&self.former).to_string());
        for folder in fs::read_dir(former).into_iter().flatten() {
            let folder = folder?;
            for entry in fs::read_dir(folder.path()).into_iter().flatten() {
                seen += 1;
                missing += u64::from(!now.join(folder.file_name()).join(entry?.file_name()).exists());
            }
        }
        Ok(if seen == 0 { 1 } else { missing })
    }
}

fn lacks(root: &Path, why: String) -> Error {
    Error::new(ErrorKind::Damaged, FOLLOW, why).with_hint(format!(
            "put back what belongs there; or `opendmp restore` a backup into a new directory; `opendmp verify` tells what can't \
             be read. To go on without it, remove `{}`: what was in it is lost for good then",
            file(root).display()
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(seq: u64, packs: &[u64], length: u64, files: bool) -> Reach {
        let mark = JournalMark { journal: "a".to_owned(), seq: Seq(seq) };
        Reach { mark: Some(mark), packs: packs.iter().copied().collect(), length, files }
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("content");
        assert_eq!(Reach::read(&root).unwrap(), None);
        for reach in
            [Reach::default(), reach(7, &[], 0, true), reach(7, &[1], 100, false), reach(7, &[2, 3, 7, 9, 10], 5, true)]
        {
            reach.write(&root).unwrap();
            assert_eq!(Reach::read(&root).unwrap(), Some(reach));
        }
        fs::write(file(&root), "something").unwrap();
        assert_eq!(Reach::read(&root).unwrap_err().kind, ErrorKind::Damaged);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn less_than_before_is_found() {
        let before = reach(7, &[2, 4], 100, true);
        let check = |found: Reach| before.check(&found, Path::new("/data/content")).map_err(|error| error.message);
        for good in [before.clone(), reach(8, &[1, 2, 3, 4, 5], 1, true), reach(7, &[2, 4], 101, true)] {
            check(good).unwrap();
        }
        assert!(check(reach(6, &[2, 4], 100, true)).unwrap_err().contains("older"));
        assert!(check(reach(7, &[2], 100, true)).unwrap_err().contains("packs/00000004.pack"));
        assert!(check(reach(7, &[], 0, true)).unwrap_err().contains("00000002.pack and 1 more"));
        assert!(check(reach(7, &[2, 4], 99, true)).unwrap_err().contains("99 bytes"));
        assert!(check(reach(7, &[2, 4], 100, false)).unwrap_err().contains("files is empty"));
    }
}
