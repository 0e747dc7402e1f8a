//! From a backup to a data directory.
//!
//! The data directory is marked with [`RESTORING`] until it is whole; nothing works in one that is, and another restore
//! from the same backup goes on with it. Its journal comes last.

use std::fs;
use std::path::Path;

use opendmp_api::ask::{Event, Problem};
use opendmp_api::backup::Holds;
use opendmp_content::backup::{Past, Source, Watch, copy, todo};
use opendmp_journal::lock::DataDirLock;
use serde::Serialize;

use super::{CONTENT, Finished, JOURNAL, LOCK, Told, hash_of, holds_only, io, lacking, refused, rename, room, shown};

/// The file in a data directory that is being restored.
pub const RESTORING: &str = "restoring";

/// The journal on its way.
const JOURNAL_PART: &str = "journal.db.part";

/// What was restored.
#[derive(Clone, Debug, Serialize)]
pub struct Restored {
    /// The backup.
    pub backup: String,
    /// The moment it is of.
    pub made: String,
    /// Where the data directory was.
    pub from: String,
    /// The data directory it is in now.
    pub data: String,
    /// What it holds.
    pub holds: Holds,
    /// Bytes that were copied.
    pub bytes: u64,
    /// Damaged places in the content of the backup.
    pub damaged: u64,
    /// References in the journal that don't lead to their content.
    pub lacking: u64,
}

/// Restores a backup into a data directory, which the caller has locked. Blocks.
///
/// # Errors
/// Where the folder is no backup, its journal is damaged, or the data directory is in use or can't be written.
pub fn restore(from: &Path, data: &Path, _lock: &DataDirLock, tell: &dyn Fn(Event)) -> Result<Restored, Problem> {
    let backup = Finished::open(from)?;
    let mark = data.join(RESTORING);
    let of = format!("{} {}\n", backup.document.from.instance, backup.made.journal.blake3);
    match fs::read_to_string(&mark) {
        Ok(text) if text == of => {}
        Ok(_) => {
            return Err(refused(
                format!("the restore of another backup into {} was broken off", shown(data)),
                "go on with that one, or remove the directory",
            ));
        }
        Err(_) => must_be_empty(data)?,
    }
    if let (Ok(from), Ok(data)) = (from.canonicalize(), data.canonicalize())
        && data.starts_with(from)
    {
        return Err(refused(format!("{} is in the backup itself", shown(&data)), "name another directory"));
    }
    let content = data.join(CONTENT);
    let source = Source::still(&backup.content());
    let bytes = todo(&source, &content)?.bytes;
    room(data, bytes + backup.made.journal.size)?;
    super::write(data, RESTORING, of.as_bytes())?;

    let mut told = Told::new(tell);
    told.begin("journal", backup.made.journal.size);
    let journal = backup.journal(&mut |bytes| told.moved(bytes))?;
    told.begin("content", bytes);
    let copied = {
        let told = std::cell::RefCell::new(&mut told);
        let mut watch = Watch {
            moved: &mut |bytes| told.borrow_mut().moved(bytes),
            damaged: &mut |damage| told.borrow_mut().damage(damage),
            stopped: &|| false,
        };
        copy(&source, &content, &Past::default(), &mut watch)?
    };
    super::write(data, "instance", format!("{}\n", backup.document.from.instance).as_bytes())?;
    told.begin("references", 0);
    let lacking = lacking(&journal, &content, &copied.damage, true, &mut told, &|| false)?;
    take_journal(&journal, data, &backup.made.journal.blake3)?;
    fs::remove_file(&mark).map_err(|error| io(shown(&mark), &error))?;
    super::sync_names(data)?;
    Ok(Restored {
        backup: shown(from),
        made: backup.made.at.clone(),
        from: backup.document.from.path.clone(),
        data: shown(data),
        holds: backup.made.holds,
        bytes: copied.bytes + backup.made.journal.size,
        damaged: copied.damage.len() as u64,
        lacking,
    })
}

/// Copies the journal, durable and compared, to its name.
fn take_journal(from: &Path, data: &Path, hash: &str) -> Result<(), Problem> {
    let part = data.join(JOURNAL_PART);
    let failed = |error: std::io::Error| io(format_args!("writing {}", shown(&part)), &error);
    fs::copy(from, &part).map_err(failed)?;
    let file = fs::OpenOptions::new().write(true).open(&part).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    if hash_of(&part, &mut |_| {})? != hash {
        return Err(Problem::new(500, "damaged", "the journal was not copied as it is")
            .with_hint("check both disks, and begin again"));
    }
    rename(data, JOURNAL_PART, JOURNAL)
}

/// Errs where a directory has something in it that no restore has begun.
pub fn must_be_empty(data: &Path) -> Result<(), Problem> {
    if !data.exists() || data.join(RESTORING).exists() || holds_only(data, &[LOCK, RESTORING])? {
        return Ok(());
    }
    Err(refused(
        format!("{} is not empty", shown(data)),
        "restore into a new directory with --data-dir DIR, look at what is in it, then put it in the place of the old one",
    ))
}
