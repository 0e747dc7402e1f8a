//! Source `file_drop`: the files of a folder, each version of each once.
//!
//! Here are the config and the source as the engine sees it. What is taken by name: `pattern`; when a file stands
//! still: `still` and `lease`; looks at the folder and at single names: `scan` over `walk`; files claimed by renaming:
//! `aside`, in folders kept by `area`. Files handed in elsewhere are written into the folder by `put`.
//!
//! A file that is replaced, appended to or removed while all this goes on is either taken as the whole it was when it
//! stood still, or offered again as it is then. Only a name in `.opendmp-claimed` is ever removed.

mod area;
mod aside;
mod audit;
mod lease;
mod pattern;
mod put;
mod roots;
mod scan;
mod still;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use opendmp_model::diagnostic::codes;
use opendmp_model::document::HumanDuration;
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::kinds::{Class, KindInfo, Problem, Role, schema_of};
use opendmp_model::ledger::FileStat;
use opendmp_model::name;
use opendmp_processor::{
    Access, Audit, Claim, Claimed, Context, Ledger, Place as FolderPlace, ReadAccess, Scan, Source, SourceError,
    SourceKind, WatchRequest, config, saved_config,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::area::Present;
use self::aside::{Life, Place, Released, Releaser};
use self::pattern::{Patterns, Selection};
use self::roots::{Reached, Roots};
use self::scan::{Answer, At, Changed, Found, Next, Over, Scanner, Shared};
use self::still::same;
use crate::beneath::{self, Guard, is_file, split, version};
use crate::location::{Location, Unmounted, Unrecorded};
use crate::temporary::Swept;

/// The config of a source `file_drop`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The folder the files are dropped into, relative to the flow file.
    #[schemars(length(min = 1))]
    pub path: String,
    /// Which files are taken, by name: `*.csv`, or a list of such patterns. A pattern with `/` is held against the path
    /// within the folder. Names that begin with a dot are left out unless the pattern begins with one.
    #[serde(default)]
    pub pattern: Patterns,
    /// Which files are left out all the same, by name: `*.bak`, or a list of such patterns. A pattern with `/` is held
    /// against the path within the folder. A folder of such a name is left out with all that is in it. By default files
    /// that other programs have not finished: `*.part`, `*.partial`, `*.filepart`, `*.crdownload`, `*.download`,
    /// `*.opdownload`, `*.!ut`, `~syncthing~*`, and locks of office programs, `~$*`, unless `pattern` names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Patterns>,
    /// Whether `pattern` and `exclude` take `A.CSV` for `a.csv`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ignore_case: bool,
    /// Whether the files of sub-folders are taken too.
    #[serde(default)]
    pub recursive: bool,
    /// How long a file must not have changed before it is taken, so that none is taken half written. `0s` takes files
    /// at once: for producers that rename finished files into the folder.
    #[serde(default = "default_settle")]
    pub settle: HumanDuration,
    /// What happens with a file once it is stored safely.
    #[serde(default)]
    pub after: After,
    /// With `after: move`, the folder files are moved to, relative to the flow file. It is made when it is missing; a
    /// name that is taken there gets a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Allow other sources to read this folder too although one of them deletes or moves files. Each file then goes to
    /// only one of the sources. Set it at all of them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub shared: bool,
    /// Allow results of this source's files to be written into this folder and processed again. You must make sure that
    /// it ends.
    #[serde(default, skip_serializing_if = "is_false")]
    pub feedback: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !value
}

fn default_settle() -> HumanDuration {
    HumanDuration::from_secs(1)
}

/// What happens with a file that was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum After {
    /// It stays; it is taken again when it changes.
    #[default]
    Keep,
    /// It is moved to the folder `to`.
    Move,
    /// It is deleted.
    Delete,
}

/// The source kind `file_drop`.
#[derive(Debug, Default)]
pub struct Kind;

const DOCS: &str = "\
Takes every regular file of a folder, and each file again when its bytes change.

A file is taken when it has not changed for `settle`. With `after: keep` it is copied, and read again should it change \
meanwhile; one that was only touched, got other rights, or was put back from a backup has the bytes it had, and is not \
processed again (`opendmp reprocess` does that). With `after: move` or `delete` it is first set aside in the hidden \
folder `.opendmp-claimed`, and taken once no program has it open for writing; it is moved or deleted when its content \
is stored safely, and never before. A file that takes its old name meanwhile is another file, and is taken as such.

Items are called as their files. They have the attribute `source_path`, and `folder` where they come from a \
sub-folder. Symbolic links are not followed; pipes, sockets and devices are left alone. On a network file system (NFS, \
SMB and others), which does not tell of what other machines change, the folder is scanned every 30 seconds.
";

impl Config {
    /// All that is wrong with it, as far as can be told offline.
    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        problems.extend(self.selection().compile().err().into_iter().flatten());
        match (&self.to, self.after) {
            (None, After::Move) => problems.push(
                Problem::new("", codes::MISSING_KEY, "`after: move` needs a folder to move to")
                    .hint("add `to: ./done`, or use `after: delete`"),
            ),
            (Some(_), After::Keep | After::Delete) => problems.push(
                Problem::new("/to", codes::INVALID_CONFIG, "`to` is used only with `after: move`")
                    .hint("add `after: move`, or leave `to` out"),
            ),
            (Some(to), After::Move) => {
                let (path, to) = (Path::new("/").join(&self.path), Path::new("/").join(to));
                problems.extend(self.moves_within(&plain(&path), &plain(&to)));
            }
            (None, After::Keep | After::Delete) => {}
        }
        problems
    }

    fn selection(&self) -> Selection<'_> {
        Selection {
            pattern: &self.pattern,
            exclude: self.exclude.as_ref(),
            ignore_case: self.ignore_case,
            recursive: self.recursive,
        }
    }

    /// The folder that files are taken from, and the one they are moved to.
    fn places(&self, base: &Path) -> (FolderPlace, Option<FolderPlace>) {
        let names = self.selection().names();
        let read = ReadAccess {
            names: names.clone(),
            recursive: self.recursive,
            hidden: self.pattern.means_hidden_folders(),
            removes: self.after != After::Keep,
            shared: self.shared,
            feedback: self.feedback,
        };
        let from = FolderPlace::new("/path", &self.path, base, Access::Read(read));
        let to = self.to.as_deref().map(|to| FolderPlace::new("/to", to, base, Access::Write(names.or_numbered())));
        (from, to)
    }

    /// What is wrong with moving from `path` to `to`.
    fn moves_within(&self, path: &Path, to: &Path) -> Option<Problem> {
        let within = to == path || self.recursive && to.starts_with(path);
        within.then(|| {
            Problem::new("/to", codes::INVALID_CONFIG, "files moved there would be taken again")
                .hint("choose a folder that is not within `path`")
        })
    }
}

/// The path without `.` and `..`, by text.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

impl SourceKind for Kind {
    fn info(&self) -> &KindInfo {
        static INFO: OnceLock<KindInfo> = OnceLock::new();
        INFO.get_or_init(|| KindInfo {
            name: "file_drop".to_owned(),
            class: Class::Source,
            role: Role::Ingest,
            summary: "Takes the files that are dropped into a folder.".to_owned(),
            docs: DOCS.to_owned(),
            schema: schema_of::<Config>(),
            examples: vec![
                "type: file_drop\npath: ./inbox\npattern: \"*.csv\"\n".to_owned(),
                "type: file_drop\npath: ./inbox\npattern: [\"*.jpg\", \"*.png\"]\nrecursive: true\nsettle: 5s\n\
                 after: move\nto: ./done\n"
                    .to_owned(),
            ],
        })
    }

    fn prepare(&self, map: &Map<String, Value>) -> Vec<Problem> {
        match config::<Config>(map) {
            Ok(read) => read.check(),
            Err(problem) => vec![problem],
        }
    }

    fn places(&self, map: &Map<String, Value>, base: &Path) -> Vec<FolderPlace> {
        let places = config::<Config>(map).map(|read| read.places(base));
        places.map_or_else(|_| Vec::new(), |(from, to)| std::iter::once(from).chain(to).collect())
    }

    fn open(&self, map: &Map<String, Value>, context: &Context) -> Result<Arc<dyn Source>, Fault> {
        Ok(Arc::new(FileDrop::open(saved_config(map)?, context)?))
    }
}

/// An open source.
struct FileDrop {
    shared: Arc<Shared>,
    scanner: Arc<tokio::sync::Mutex<Scanner>>,
    swept: Arc<Swept>,
}

/// Runs what waits for a disk apart from the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, SourceError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| SourceError {
        code: "interrupted",
        message: format!("looking at the folder was interrupted: {error}"),
        hint: None,
    })
}

fn no_root(root: &Location, error: &io::Error) -> SourceError {
    if let Some(known) = known(error) {
        return known;
    }
    let shown = root.shown();
    match error.kind() {
        io::ErrorKind::NotFound => SourceError {
            code: "no-folder",
            message: format!("there is no folder `{shown}`"),
            hint: Some(format!(
                "create it (`mkdir -p '{shown}'`), or correct `path`; OpenDMP looks for it again by itself"
            )),
        },
        io::ErrorKind::NotADirectory => SourceError {
            code: "no-folder",
            message: format!("`{shown}` is not a folder"),
            hint: Some("let `path` name the folder, and `pattern` the files in it".to_owned()),
        },
        _ => failed("opening", root.path().as_os_str().as_encoded_bytes(), error),
    }
}

/// An error that says by itself what it is about, which may be another thing than what was looked at.
fn known(error: &io::Error) -> Option<SourceError> {
    if let Some(refused) = beneath::refused(error) {
        return Some(refused.clone().source_error());
    }
    if let Some(unmounted) = Unmounted::of(error) {
        let (message, hint) = (unmounted.to_string(), Some(unmounted.hint()));
        return Some(SourceError { code: Unmounted::CODE, message, hint });
    }
    let unrecorded = Unrecorded::of(error)?;
    let (message, hint) = (unrecorded.to_string(), Some(unrecorded.hint.clone()));
    Some(SourceError { code: unrecorded.code, message, hint })
}

/// An error with a file, in words.
fn failed(doing: &str, path: &[u8], error: &io::Error) -> SourceError {
    if let Some(known) = known(error) {
        return known;
    }
    let shown = name::printable(&name::from_bytes(path));
    let (code, hint) = match error.kind() {
        io::ErrorKind::PermissionDenied => ("no-rights", "give the user OpenDMP runs as the right to do so"),
        io::ErrorKind::ReadOnlyFilesystem => ("read-only", "mount the file system writable, or use `after: keep`"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ("no-space", "make room on the disk of that folder")
        }
        _ => ("io", "check the disk; it is tried again"),
    };
    SourceError { code, message: format!("{doing} `{shown}`: {error}"), hint: Some(hint.to_owned()) }
}

impl FileDrop {
    fn open(read: Config, context: &Context) -> Result<Self, Fault> {
        let wrong = |problem: Problem| Fault {
            hint: problem.hint,
            ..Fault::new(FaultKind::Failed, problem.code, problem.message)
        };
        let matcher = read.selection().compile().map_err(|mut problems| {
            wrong(problems.pop().unwrap_or_else(|| Problem::new("", codes::BAD_FORMAT, "the pattern can't be used")))
        })?;
        let (from, moved) = read.places(&context.base);
        let root = context.allowed(&from)?;
        let to = moved.as_ref().map(|place| context.allowed(place)).transpose()?;
        if let Some(problem) = to.as_deref().and_then(|to| read.moves_within(&beneath::real(&root), &beneath::real(to)))
        {
            return Err(wrong(problem));
        }
        let location = |path, place| {
            let location = Location::new(path, context.locations.as_deref()).at_home(&context.policy);
            location.guarded(Guard::new(&context.policy, place))
        };
        let shared = Shared {
            roots: Roots::new(location(root, from)),
            written: read.path,
            matcher,
            patterns: read.pattern,
            recursive: read.recursive,
            settle: i64::try_from(read.settle.as_millis()).unwrap_or(i64::MAX),
            after: read.after,
            to: to.zip(moved).map(|(to, place)| location(to, place)),
            life: Life::begin(),
            present: Present::default(),
            changed: Mutex::new(Changed::default()),
            listed: AtomicU64::default(),
            leases: OnceLock::new(),
            foreign_clock: OnceLock::new(),
            offered: Mutex::new(HashMap::new()),
        };
        let scanner = Scanner::new(&shared.present);
        let scanner = Arc::new(tokio::sync::Mutex::new(scanner));
        Ok(Self { shared: Arc::new(shared), scanner, swept: Arc::default() })
    }

    /// Asks the ledger for a batch.
    async fn ask(ledger: &dyn Ledger, asked: Vec<Found>) -> Result<Vec<(Found, Answer)>, SourceError> {
        let known = ledger.known(asked.iter().map(|found| found.path().to_vec()).collect()).await?;
        let releases: Vec<Bytes> = asked.iter().filter_map(Found::release).collect();
        let releasing = if releases.is_empty() { Vec::new() } else { ledger.releasing(releases).await? };
        let mut releasing = releasing.into_iter();
        let mut known = known.into_iter();
        Ok(asked
            .into_iter()
            .map(|found| {
                let releasing = found.release().is_some() && releasing.next().unwrap_or(false);
                let known = known.next().flatten();
                (found, Answer { known, releasing })
            })
            .collect())
    }

    /// Steps until the call is over.
    async fn look(
        &self,
        scanner: tokio::sync::OwnedMutexGuard<Scanner>,
        ledger: &dyn Ledger,
        at: At,
        now: i64,
        limit: usize,
    ) -> (tokio::sync::OwnedMutexGuard<Scanner>, Result<Over, SourceError>) {
        let mut guard = scanner;
        guard.begin(&self.shared, at);
        let mut seen = 0;
        loop {
            let (shared, owner) = (self.shared.clone(), ledger.owner().to_owned());
            let stepped = blocking(move || {
                let next = guard.step(&shared, &owner, at, now, limit, &mut seen);
                (guard, seen, next)
            });
            let next = match stepped.await {
                Ok((back, looked_at, next)) => {
                    (guard, seen) = (back, looked_at);
                    next
                }
                // The guard is gone with the thread that panicked; whatever it held is looked for again.
                Err(error) => return (self.scanner.clone().lock_owned().await, Err(error)),
            };
            match next {
                Ok(Next::Over(over)) => return (guard, Ok(over)),
                Ok(Next::Ask(asked)) => match Self::ask(ledger, asked).await {
                    Ok(answers) => guard.answer(at, answers.into_iter()),
                    Err(error) => return (guard, Err(error)),
                },
                Err(error) => return (guard, Err(error)),
            }
        }
    }

    /// A whole call.
    async fn claim_at(&self, ledger: &dyn Ledger, at: At, now: i64, limit: usize) -> Result<Scan, SourceError> {
        let guard = self.scanner.clone().lock_owned().await;
        let (mut guard, end) = if guard.has_ready() || limit == 0 {
            let rest = guard.rest(now);
            (guard, Ok(Over { complete: false, again: Some(now), ..rest }))
        } else {
            self.look(guard, ledger, at, now, limit).await
        };
        let sure = guard.hand_over_sure();
        if !sure.is_empty() {
            // What the ledger was not told is looked at once more, the next time that everything is.
            let _ = ledger.affirm(sure).await;
        }
        let Over { complete, again, everything } = match end {
            Ok(end) => end,
            Err(error) => {
                guard.stop();
                if !guard.has_ready() {
                    return Err(error);
                }
                // What was claimed comes first; the error will be there again with the next look.
                Over { complete: false, again: Some(now), everything: Some(now) }
            }
        };
        let issues = guard.issues();
        // From here on nothing waits, so that a cancelled call loses nothing.
        let (claims, problems) = guard.hand_over();
        Ok(Scan { claims, complete, again, everything, problems, issues })
    }

    /// What names a claim among everything offered.
    fn key(claim: &Claim) -> Result<Vec<u8>, SourceError> {
        match &claim.release {
            Some(release) => Ok(Place::from_release(release)?.0.key()),
            None => Ok(claim.path.clone()),
        }
    }
}

#[async_trait]
impl Source for FileDrop {
    fn identity(&self) -> String {
        let real = self.shared.roots.location.real();
        format!("file_drop:{}", name::from_bytes(real.as_os_str().as_encoded_bytes()))
    }

    fn watch(&self) -> Option<WatchRequest> {
        Some(WatchRequest {
            folder: self.shared.roots.location.path().to_owned(),
            recursive: self.shared.recursive,
            remote: self.shared.foreign_clock.get() == Some(&true),
        })
    }

    async fn claim(&self, ledger: &dyn Ledger, now: i64, limit: usize) -> Result<Scan, SourceError> {
        self.claim_at(ledger, At::Everything, now, limit).await
    }

    async fn claim_changed(
        &self,
        ledger: &dyn Ledger,
        changed: Vec<Vec<u8>>,
        now: i64,
        limit: usize,
    ) -> Result<Scan, SourceError> {
        {
            let mut told = self.shared.changed();
            // What is set aside is told by nobody but ourselves.
            let names = changed.into_iter().filter(|name| !name.starts_with(aside::CLAIMED));
            names.for_each(|name| told.tell(name));
        }
        self.claim_at(ledger, At::Names, now, limit).await
    }

    async fn confirm(&self, claim: &Claim) -> Result<Claimed, SourceError> {
        let key = Self::key(claim)?;
        let claimed = claim.release.is_some();
        let (shared, of, path) = (self.shared.clone(), claim.version, key.clone());
        let looked: io::Result<Option<FileStat>> = blocking(move || {
            let (folder, file_name) = split(&path);
            let root = match Place::from_key(&path).and_then(|place| shared.roots.of(&place, None)) {
                Some(Reached { root, .. }) => root,
                None => shared.roots.now()?,
            };
            let folder = root.folder.descend(folder)?;
            let Some(stat) = folder.look(file_name)?.filter(is_file) else { return Ok(None) };
            // A claimed file is only reached by who has it open already, or through another hard link.
            if claimed && shared.asks_writers() && lease::writer(&folder.read(file_name)?) == lease::Writer::Someone {
                return Ok(None);
            }
            Ok(Some(version(&stat)))
        })
        .await?;
        let now = match looked {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            looked => looked.map_err(|error| failed("looking at", &key, &error))?,
        };
        match (of, now) {
            (Some(of), Some(now)) if same(&of, &now) => Ok(Claimed::Whole(Some(of))),
            _ => {
                self.shared.take_back(key);
                Ok(Claimed::Changed)
            }
        }
    }

    fn forget(&self, claim: &Claim) {
        if let Ok(key) = Self::key(claim) {
            self.shared.take_back(key);
        }
    }

    async fn release(&self, release: &[u8]) -> Result<(), SourceError> {
        let mut ends = self.release_all(&[Bytes::copy_from_slice(release)]).await;
        ends.pop().unwrap_or(Ok(()))
    }

    async fn release_all(&self, releases: &[Bytes]) -> Vec<Result<(), SourceError>> {
        let (shared, list) = (self.shared.clone(), releases.to_vec());
        let done = blocking(move || {
            let Shared { roots, to, present, .. } = &*shared;
            let releaser = Releaser { roots, to: to.as_ref(), ask_writer: shared.asks_writers(), present };
            let ends = releaser.release_all(&list);
            let let_go = |Released { place, changed }: Released| {
                if changed {
                    shared.take_back(place.key());
                } else {
                    shared.offered().remove(&place.key());
                }
            };
            ends.into_iter().map(|end| end.map(let_go)).collect::<Vec<_>>()
        });
        done.await.unwrap_or_else(|error| releases.iter().map(|_| Err(error.clone())).collect())
    }

    async fn put(&self, name: &str, content: Box<dyn io::Read + Send>, replace: bool) -> Result<(), Fault> {
        let (shared, swept, name, mut content) = (self.shared.clone(), self.swept.clone(), name.to_owned(), content);
        let put = blocking(move || put::put(&shared, &swept, &name, &mut *content, replace)).await;
        put.map_err(|error| Fault::new(FaultKind::Unavailable, error.code, error.message))?
    }

    async fn audit(&self, ledger: &dyn Ledger, releasing: &[Vec<u8>]) -> Result<Audit, SourceError> {
        audit::audit(self.shared.clone(), ledger, releasing, audit::RECENT).await
    }
}
