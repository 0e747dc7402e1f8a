//! Reading a backup whole.

use std::path::Path;

use opendmp_api::ask::{Event, Problem};
use opendmp_api::backup::Holds;
use opendmp_content::backup::{Watch, check, stored};
use serde::Serialize;

use super::{Finished, Told, lacking, shown};

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    /// The folder.
    pub backup: String,
    /// Where the data directory was.
    pub from: String,
    /// The moment it is of.
    pub made: String,
    /// What it holds.
    pub holds: Holds,
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
    let content = backup.content();
    told.begin("content", stored(&content)?);
    let checked = {
        let told = std::cell::RefCell::new(&mut told);
        let mut watch = Watch {
            moved: &mut |bytes| told.borrow_mut().moved(bytes),
            damaged: &mut |damage| told.borrow_mut().damage(damage),
            stopped: &|| false,
        };
        check(&content, &mut watch)?
    };
    told.begin("references", 0);
    // A journal that is damaged can't be trusted to be read.
    let lacking = match faults.is_empty() {
        true => lacking(&journal, &content, &checked.damage, true, &mut told, &|| false)?,
        false => 0,
    };
    Ok(Verified {
        backup: shown(dir),
        from: backup.document.from.path.clone(),
        made: backup.made.at.clone(),
        holds: backup.made.holds,
        journal_bytes: backup.made.journal.size,
        content_bytes: checked.bytes,
        contents: checked.records + checked.files,
        journal_faults: faults,
        damaged: checked.damage.len() as u64,
        lacking,
    })
}
