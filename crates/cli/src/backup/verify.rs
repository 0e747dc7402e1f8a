//! Reading a backup, or a data directory, whole.

use std::path::Path;

use opendmp_api::ask::{Event, Problem};
use opendmp_api::backup::Holds;
use opendmp_content::DirectoryContent;
use opendmp_content::backup::{Watch, check, stored};
use opendmp_journal::SqliteJournal;
use opendmp_journal::lock::DataDirLock;
use opendmp_ports::ErrorKind;
use serde::Serialize;

use super::{CONTENT, Finished, JOURNAL, Told, io, lacking, make_folder, room, shown};

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    /// The folder.
    pub path: String,
    /// Of what it is a backup, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<Of>,
    /// What it holds; not known where its journal can't be read.
    pub holds: Option<Holds>,
    /// Bytes of the journal.
    pub journal_bytes: u64,
    /// Bytes of content.
    pub content_bytes: u64,
    /// Sound contents.
    pub contents: u64,
    /// What is wrong with the journal, in words.
    pub journal_faults: Vec<String>,
    /// Damaged places in the content.
    pub damaged: u64,
    /// References in the journal that don't lead to their content.
    pub lacking: u64,
}

/// Of what a backup is.
#[derive(Clone, Debug, Serialize)]
pub struct Of {
    /// Where the data directory was.
    pub from: String,
    /// The moment.
    pub made: String,
}

impl Verified {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.journal_faults.is_empty() && self.damaged + self.lacking == 0
    }
}

/// Reads a backup whole: the hash of every content, the journal, and whether everything it names is there. Blocks.
///
/// # Errors
/// Where the folder is no backup, or its journal is not the one that was written.
pub fn verify(dir: &Path, tell: &dyn Fn(Event)) -> Result<Verified, Problem> {
    let backup = Finished::open(dir)?;
    let mut told = Told::new(tell);
    told.begin("journal", backup.made.journal.size);
    let journal = backup.journal(&mut |bytes| told.moved(bytes))?;
    let faults = opendmp_journal::backup::check(&journal)?;
    for fault in &faults {
        told.wrong("journal.db".to_owned(), fault.clone());
    }
    let found = read(&backup.content(), &journal, faults, &mut told)?;
    let of = Of { from: backup.document.from.path.clone(), made: backup.made.at.clone() };
    let holds = Some(backup.made.holds);
    Ok(Verified { path: shown(dir), backup: Some(of), holds, journal_bytes: backup.made.journal.size, ..found })
}

/// Reads a data directory whole, as [`verify`] does a backup, whether a server works in it or not: what is read is its
/// journal as it is now, and the content, of which nothing is let go meanwhile. Blocks.
///
/// # Errors
/// Where there is no room for a copy of the journal, or something can't be read at all.
pub fn verify_data(dir: &Path, tell: &dyn Fn(Event)) -> Result<Verified, Problem> {
    let mut told = Told::new(tell);
    let size_of = |file: &str| dir.join(file).metadata().map_or(0, |found| found.len());
    let journal_bytes = size_of(JOURNAL) + size_of("journal.db-wal");
    room(dir, journal_bytes)?;
    // Emptied when a server starts, whatever a kill leaves here.
    let scratch = dir.join("scratch");
    make_folder(&scratch)?;
    let scratch = tempfile::Builder::new().prefix("verify-").tempdir_in(&scratch);
    let scratch = scratch.map_err(|error| io(format_args!("making a folder in {}", shown(dir)), &error))?;
    let journal = scratch.path().join(JOURNAL);
    let content = dir.join(CONTENT);
    // Before the journal is copied: nothing that it names is let go until all is read.
    let _untouched = if content.is_dir() { Some(opendmp_content::backup::untouched(&content)?) } else { None };
    told.begin("journal", journal_bytes);
    let mut before = 0;
    // Where a server works, it has looked at that itself.
    let alone = DataDirLock::acquire(dir).ok();
    let whole = alone.as_ref().map_or(Ok(()), |_| opendmp_journal::backup::check_log(dir));
    let copied = whole.and_then(|()| {
        opendmp_journal::backup::snapshot(dir, &journal, &mut |done, _| {
            told.moved(done.saturating_sub(before));
            before = done;
            true
        })
    });
    let was = alone.as_ref().map(|_| written(dir));
    drop(alone);
    let faults = match copied {
        Ok(()) => opendmp_journal::backup::check(&journal)?,
        Err(error) if error.kind == ErrorKind::Damaged => vec![error.message],
        Err(error) => return Err(error.into()),
    };
    for fault in &faults {
        told.wrong(JOURNAL.to_owned(), fault.clone());
    }
    let holds = if faults.is_empty() { Some(super::holds(&journal)?) } else { None };
    let mut found = read(&content, &journal, faults, &mut told)?;
    // Last, as the copy is not left as it is.
    if let Some(fault) = was.filter(|_| found.journal_faults.is_empty()).and_then(|was| older(dir, scratch.path(), was))
    {
        told.wrong(JOURNAL.to_owned(), fault.clone());
        found.journal_faults.push(fault);
    }
    Ok(Verified { path: shown(dir), holds, journal_bytes, ..found })
}

/// Length and time of the files of a journal: others once somebody has worked with it.
type Written = [Option<(u64, std::time::SystemTime)>; 2];

fn written(dir: &Path) -> Written {
    [JOURNAL, "journal.db-wal"].map(|file| {
        let found = dir.join(file).metadata().ok()?;
        Some((found.len(), found.modified().ok()?))
    })
}

/// Whether a journal is older than its content, or another one's, in words, where no server works with it now or has
/// since it was copied to `copy`: a server finds that by itself as it starts.
fn older(dir: &Path, copy: &Path, was: Written) -> Option<String> {
    let content = dir.join(CONTENT);
    // Locked or opened where there is none, it would be made.
    let is_there = || written(dir) == was && content.join("format").is_file();
    let _alone = if is_there() { DataDirLock::acquire(dir).ok()? } else { return None };
    if !is_there() {
        return None;
    }
    let copied = SqliteJournal::open(copy, opendmp_journal::Options::default()).ok()?;
    let opened = DirectoryContent::open(&content, opendmp_content::Options::default()).ok()?;
    let refused = opened.check_journal(&copied.opened_at()).err()?;
    (refused.kind == ErrorKind::Damaged).then_some(refused.message)
}

/// Reads content, and whether everything that a journal names is there.
fn read(content: &Path, journal: &Path, faults: Vec<String>, told: &mut Told<'_>) -> Result<Verified, Problem> {
    told.begin("content", stored(content)?);
    let checked = {
        let told = std::cell::RefCell::new(&mut *told);
        let mut watch = Watch {
            moved: &mut |bytes| told.borrow_mut().moved(bytes),
            damaged: &mut |damage| told.borrow_mut().damage(damage),
            stopped: &|| false,
        };
        check(content, &mut watch)?
    };
    told.begin("references", 0);
    // A journal that is damaged can't be trusted to be read.
    let lacking = match faults.is_empty() {
        true => lacking(journal, content, &checked.damage, true, told, &|| false)?,
        false => 0,
    };
    Ok(Verified {
        path: String::new(),
        backup: None,
        holds: None,
        journal_bytes: 0,
        content_bytes: checked.bytes,
        contents: checked.records + checked.files,
        journal_faults: faults,
        damaged: checked.damage.len() as u64,
        lacking,
    })
}
