//! Making a backup, or bringing one up to date; see [`super`].

use std::fs;
use std::path::{Path, PathBuf};

use opendmp_api::ask::{Event, Problem};
use opendmp_api::backup::{BackedUp, Backups};
use opendmp_content::DirectoryContent;
use opendmp_content::backup::{Past, Watch, copy, todo};
use opendmp_model::name;

use super::{
    BadPlace, CONTENT, DOCUMENT, Document, End, FORMAT, From, JOURNAL, JOURNAL_NEW, Journal, LOCK, Made, Told,
    document, hash_of, holds, holds_only, io, lacking, lock, make_folder, refused, rename, room, shown, write,
};

/// Makes backups of one data directory that is open here.
pub struct Maker {
    /// The data directory.
    pub data: PathBuf,
    /// Its content.
    pub content: DirectoryContent,
    /// The name of the installation.
    pub instance: String,
}

impl Backups for Maker {
    fn back_up(
        &self,
        to: &Path,
        at: i64,
        tell: &dyn Fn(Event),
        stopped: &dyn Fn() -> bool,
    ) -> Result<BackedUp, Problem> {
        let to = self.target(to)?;
        if to.exists() && document(&to)?.is_none() {
            // Before anything is put there.
            only_ours(&to)?;
        }
        make_folder(&to)?;
        let _lock = lock(&to)?;
        let before = self.earlier(&to)?;
        let mut told = Told::new(tell);
        let made = self.make(&to, at, before.backup.as_ref(), &mut told, stopped);
        if made.is_err() {
            // Of no use to anyone, and as large as the journal.
            let _ = fs::remove_file(to.join(JOURNAL_NEW));
        }
        let (made, copied) = made?;
        let document = Document { backup: Some(made.clone()), ..before.clone() };
        put(&to, &document)?;
        // From here on it is this backup; the other name is only for people.
        rename(&to, JOURNAL_NEW, JOURNAL)?;
        Ok(BackedUp {
            to: shown(&to),
            made: made.at,
            again: before.backup.is_some(),
            holds: made.holds,
            journal_bytes: made.journal.size,
            copied_bytes: copied.bytes,
            copied_records: copied.records,
            copied_files: copied.files,
            damaged: copied.damage.len() as u64,
            lacking: made.lacking,
        })
    }
}

/// Puts `backup.json` in place.
fn put(to: &Path, document: &Document) -> Result<(), Problem> {
    let text = serde_json::to_vec_pretty(document)
        .map_err(|error| Problem::new(500, "backup", format!("{DOCUMENT} can't be written: {error}")))?;
    write(to, DOCUMENT, &text)
}

/// Errs where a folder that is no backup yet has something in it.
fn only_ours(to: &Path) -> Result<(), Problem> {
    match holds_only(to, &[LOCK, DOCUMENT])? {
        true => Ok(()),
        false => Err(refused(
            format!("{} holds something that is not a backup", shown(to)),
            "name an empty folder, one that is not there yet, or an earlier backup",
        )),
    }
}

impl Maker {
    /// The target without links, if a backup may be there.
    fn target(&self, to: &Path) -> Result<PathBuf, Problem> {
        if !to.is_absolute() {
            return Err(Problem::new(400, "bad-request", format!("`{}` is not an absolute path", shown(to))));
        }
        let real = |path: &Path| path.canonicalize().map_err(|error| io(shown(path), &error));
        // The part that is there decides where the rest will be.
        let there = to.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let rest = to.strip_prefix(there).unwrap_or(Path::new(""));
        let (real_there, data) = (real(there)?, real(&self.data)?);
        let target = if rest.as_os_str().is_empty() { real_there } else { real_there.join(rest) };
        if rest.components().any(|part| part == std::path::Component::ParentDir) {
            return Err(Problem::new(400, "bad-request", format!("`{}` leads through what is not there", shown(to))));
        }
        if target.starts_with(&data) {
            return Err(refused(
                format!("{} is in the data directory itself", shown(&target)),
                "name a folder elsewhere, best on another disk or machine",
            ));
        }
        if target.exists() && !target.is_dir() {
            return Err(refused(format!("{} is not a folder", shown(&target)), "name a folder"));
        }
        Ok(target)
    }

    /// What the target was before, made ready to go on with: an earlier backup of this data directory, or nothing yet.
    fn earlier(&self, to: &Path) -> Result<Document, Problem> {
        let Some(found) = document(to)? else {
            only_ours(to)?;
            let document = Document {
                format: FORMAT,
                opendmp: env!("CARGO_PKG_VERSION").to_owned(),
                from: self.from(),
                backup: None,
            };
            // So that what a kill leaves from here on is known as ours.
            put(to, &document)?;
            return Ok(document);
        };
        if found.from.instance != self.instance {
            return Err(refused(
                format!("{} is a backup of another data directory, {}", shown(to), found.from.path),
                "give each data directory a backup folder of its own",
            ));
        }
        // An earlier backup may have ended between its last two steps.
        let new = to.join(JOURNAL_NEW);
        if new.exists() {
            let journal = found.backup.as_ref().map(|made| &made.journal);
            let is_it = match journal {
                Some(journal) if new.metadata().is_ok_and(|found| found.len() == journal.size) => {
                    hash_of(&new, &mut |_| {})? == journal.blake3
                }
                _ => false,
            };
            if is_it {
                rename(to, JOURNAL_NEW, JOURNAL)?;
            }
        }
        Ok(Document { opendmp: env!("CARGO_PKG_VERSION").to_owned(), from: self.from(), ..found })
    }

    fn from(&self) -> From {
        use std::os::unix::ffi::OsStrExt;
        From { instance: self.instance.clone(), path: name::from_bytes(self.data.as_os_str().as_bytes()) }
    }

    /// Brings journal and content into the target, the journal under its new name.
    fn make(
        &self,
        to: &Path,
        at: i64,
        before: Option<&Made>,
        told: &mut Told<'_>,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(Made, opendmp_content::backup::Copied), Problem> {
        let (journal, content) = (to.join(JOURNAL_NEW), to.join(CONTENT));
        let size_of = |file: &str| self.data.join(file).metadata().map_or(0, |found| found.len());
        let journal_bytes = size_of("journal.db") + size_of("journal.db-wal");
        room(to, todo(&self.content.source(), &content)?.bytes + journal_bytes)?;

        // Nothing is let go from before the one to the end of the other.
        let _untouched = opendmp_content::backup::untouched(&self.data.join(CONTENT))?;
        // First what refers, then what is referred to.
        told.begin("journal", journal_bytes);
        let mut before_step = 0;
        opendmp_journal::backup::snapshot(&self.data, &journal, &mut |done, total| {
            told.total = total;
            told.moved(done - before_step);
            before_step = done;
            !stopped()
        })?;
        let size = journal.metadata().map_err(|error| io(shown(&journal), &error))?.len();
        let blake3 = hash_of(&journal, &mut |_| {})?;
        let faults = opendmp_journal::backup::check(&journal)?;
        if let Some(fault) = faults.first() {
            return Err(Problem::new(500, "damaged", format!("the journal itself is damaged: {fault}")).with_hint(
                "the backup before is kept as it is; stop the server, and restore that one into a new directory",
            ));
        }

        let source = self.content.source();
        told.begin("content", todo(&source, &content)?.bytes);
        let past = before.map_or_else(Past::default, Made::past);
        let copied = {
            let told = std::cell::RefCell::new(&mut *told);
            let mut watch = Watch {
                moved: &mut |bytes| told.borrow_mut().moved(bytes),
                damaged: &mut |damage| told.borrow_mut().damage(damage),
                stopped,
            };
            copy(&source, &content, &past, &mut watch)?
        };
        told.begin("references", 0);
        let lacking = lacking(&journal, &content, &copied.damage, false, told, stopped)?;
        let damaged = copied.damage.iter().filter(|damage| !damage.kept).map(|damage| BadPlace::of(damage.place));
        let made = Made {
            at: opendmp_api::rows::time(at),
            journal: Journal { size, blake3 },
            holds: holds(&journal)?,
            content_end: copied.mark.map(|mark| End { pack: mark.pack, length: mark.length }),
            damaged: damaged.collect(),
            lacking,
        };
        Ok((made, copied))
    }
}
