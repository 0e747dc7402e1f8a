//! What is asked for: the bodies and queries of requests, and the events of long answers. What is refused
//! is a [`Problem`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use opendmp_engine::control::{Deletion, FlowText};
use opendmp_engine::reprocess::ReprocessPlan;
use opendmp_engine::{Loaded, Trouble};
use opendmp_model::diagnostic::Diagnostics;
use opendmp_model::ids::IdPrefix;
use opendmp_model::kinds::Role;
use opendmp_ports::content::Usage;
use opendmp_ports::journal::letters::parse_group;
use opendmp_ports::journal::{Backlog, Filter, RunId, RunsMeant};
use opendmp_ports::transport::StepCounts;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::backup::{BackedUp, Copying, Damaged};
use crate::garbage::Collected;
use crate::plan::text;
pub use crate::problem::Problem;
use crate::rows::{Flow, Run};
use crate::search::moment;

/// A flow with the files it names.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Upload {
    /// YAML or JSON.
    pub text: String,
    /// The files it names, by path relative to it.
    #[serde(default)]
    pub files: BTreeMap<String, FileContent>,
    /// The folder its relative paths begin at: absolute. Empty: the one it has or, for a flow that is new, one of its own
    /// in the first data root of the server.
    #[serde(default)]
    pub base: String,
}

/// A link that signs a browser in once.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SignInLink {
    /// The whole address to open.
    pub url: String,
    /// Until when it can be.
    pub expires: String,
}

/// What becomes of a draft when the flow that it was is enabled.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub struct EnableRequest {
    /// The etag of the draft: dropped on success, if nobody changed it meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft: Option<String>,
}

impl From<Upload> for FlowText {
    fn from(upload: Upload) -> Self {
        let files = upload.files.into_iter().map(|(path, content)| (path, content.0));
        Self { text: upload.text, files: files.collect(), base: upload.base }
    }
}

/// The bytes of a file; in JSON text where they are UTF-8, else a list of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileContent(pub Vec<u8>);

/// The bytes of a file.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Written {
    /// UTF-8.
    Text(String),
    /// Each a number, where they are no UTF-8.
    Bytes(Vec<u8>),
}

impl Serialize for FileContent {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => Written::Text(text.to_owned()).serialize(serializer),
            Err(_) => Written::Bytes(self.0.clone()).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for FileContent {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Written::deserialize(deserializer)? {
            Written::Text(text) => Self(text.into_bytes()),
            Written::Bytes(bytes) => Self(bytes),
        })
    }
}

impl utoipa::PartialSchema for FileContent {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        Written::schema()
    }
}

impl ToSchema for FileContent {}

/// A file given by hand in place of a source.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Given {
    /// The ingest it goes to; without it the flow's only one.
    pub processor: Option<String>,
    /// Where it is: absolute, written as an item name.
    pub path: String,
}

impl Given {
    /// The path as the operating system knows it.
    pub fn path(&self) -> PathBuf {
        use std::os::unix::ffi::OsStringExt;
        PathBuf::from(std::ffi::OsString::from_vec(opendmp_model::name::to_bytes(&self.path)))
    }
}

/// A run to be begun.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RunRequest {
    /// The flow.
    pub flow: Upload,
    /// Files in place of all sources; empty: the sources.
    #[serde(default)]
    pub given: Vec<Given>,
    /// What set it off, in words.
    pub trigger: String,
    /// How long to wait for its end, in milliseconds; without it for ever.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// A backup to be made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BackupRequest {
    /// The folder it goes to: absolute, written as an item name.
    pub to: String,
}

impl BackupRequest {
    /// The path as the operating system knows it.
    pub fn path(&self) -> PathBuf {
        Given { processor: None, path: self.to.clone() }.path()
    }
}

/// Which rows of a listing are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Listing {
    /// Of this flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
    /// Of this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
    /// In this collection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
    /// Whose name contains this, or matches it where it has `*` or `?`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Words that a dead letter has all of, in its item's name or in what is said of it; that a group of them has in what
    /// is said of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// Of this group of dead letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Ended dead letters, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
    /// At most this many; 0: 100.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: usize,
    /// What follows this cursor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// The most rows of one answer.
pub const MOST_ROWS: usize = 10_000;

impl Listing {
    /// As a filter of dead letters.
    ///
    /// # Errors
    /// For a group that is none.
    pub(crate) fn of_letters(self) -> Result<Filter, Problem> {
        match self.group.as_deref().filter(|group| parse_group(group).is_none()) {
            Some(group) => Err(Problem::new(400, "bad-group", format!("`{group}` is not a group of dead letters"))
                .with_hint("`opendmp dead-letters groups` tells them")),
            None => Ok(self.into()),
        }
    }
}

impl From<Listing> for Filter {
    fn from(asked: Listing) -> Self {
        Self {
            flow: asked.flow.map(|name| opendmp_model::document::slug(&name)),
            run: asked.run.map(RunId),
            collection: asked.collection,
            name: asked.name,
            id: None,
            text: asked.q,
            group: asked.group.as_deref().and_then(parse_group),
            ended: asked.ended,
            limit: if asked.limit == 0 { 100 } else { asked.limit.min(MOST_ROWS) },
            after: asked.after,
            ..Self::default()
        }
    }
}

/// Which runs are wanted, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Runs {
    /// Of this flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
    /// Only this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
    /// That stand so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<RunsMeant>,
    /// Words that a run has all of, in its number, its flow, its version or what set it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// Set off by what contains this, or matches it where it has `*` or `?`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Begun at this time or later: RFC 3339, or a date (UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Begun before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// At most this many; 0: 100. A page may have fewer and yet a cursor: so many are looked through for it.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: usize,
    /// What follows this cursor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

impl Runs {
    /// As a filter.
    ///
    /// # Errors
    /// For a time that is none.
    pub(crate) fn filter(self) -> Result<Filter, Problem> {
        let Self { flow, run, state, q, name, since, until, limit, after } = self;
        let moment = |of: &str, text: Option<String>| text.map(|text| moment(of, &text)).transpose();
        let (since, until) = (moment("since", since)?, moment("until", until)?);
        let listing = Listing { flow, run, name, q, limit, after, ..Listing::default() };
        Ok(Filter { runs: state, since, until, ..listing.into() })
    }
}

/// What a person typed to name one dataset or dead letter.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Reference {
    /// The beginning of an id, or a dataset's name.
    pub name: String,
    /// Only in this collection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
    /// Only of this flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
}

impl Reference {
    pub(crate) fn id(&self) -> Option<IdPrefix> {
        self.name.parse().ok()
    }
}

/// What a reference may mean.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Found<T> {
    /// One where it is clear.
    pub rows: Vec<T>,
    /// Whether more were left out.
    pub more: bool,
}

/// Which revision.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WhichRevision {
    /// Its number; without it the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u32>,
}

/// How a flow is deleted that has work under way.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeleteRequest {
    /// What becomes of it.
    #[param(inline)]
    pub work: Deletion,
}

/// A deleted flow.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Deleted {
    /// The flow, perhaps still draining.
    pub flow: Flow,
    /// Items that became dead letters.
    pub buried: u64,
}

/// Which dead letters.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Letters {
    /// By id or its beginning.
    pub ids: Vec<String>,
    /// All open ones that this names, in place of ids.
    pub all: Option<Listing>,
    /// Why, for a discard.
    pub reason: String,
}

/// A run that dead letters were sent into.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Retried {
    /// The run.
    pub run: u64,
    /// Its flow.
    pub flow: String,
    /// How many dead letters.
    pub letters: u64,
}

/// What of a flow goes through its present version again. The newest arrival of each path is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReprocessRequest {
    /// Only what arrived at this time or later, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// Only that of which something is in this collection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
    /// Only that of which these datasets came, by id.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub datasets: Vec<String>,
    /// How long to wait for its end, in milliseconds; without it for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// What a reprocess would do.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReprocessForeseen {
    /// The flow.
    pub flow: String,
    /// Hash of its present version.
    pub version: String,
    /// What would be done.
    #[serde(flatten)]
    pub plan: ReprocessPlan,
}

/// A reprocess that somebody stopped.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReprocessStopped {
    /// Its run, which ends when what was sent in is done.
    pub run: Run,
    /// Whether this stopped it; else all was sent in already, or it was stopped before.
    pub stopped: bool,
    /// Arrivals that were sent in.
    pub taken: u64,
}

/// How many dead letters were discarded.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct Discarded {
    /// Their number.
    pub letters: u64,
}

/// How long a run is followed.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Follow {
    /// In milliseconds; without it to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// How a service does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A server: it works on everything by itself.
    Server,
    /// One command: it works only on what it is asked to run.
    Command,
}

/// How a service is, for `opendmp doctor` and the health endpoint.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// `ok`, `degraded` (a flow has a trouble), `troubled` (nothing goes on).
    pub status: String,
    /// Version of OpenDMP.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// How it works.
    pub mode: Mode,
    /// Since when.
    pub started: String,
    /// What waits.
    pub backlog: Option<Backlog>,
    /// Tasks in work now.
    pub in_work: usize,
    /// Bytes stored and free.
    pub usage: Option<Usage>,
    /// What keeps it, or a flow, from going on.
    pub troubles: Vec<Trouble>,
}

/// A processor of a run, for displays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunProcessor {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// Where it stands.
    pub role: Role,
    /// The processors it reads.
    pub reads: Vec<String>,
    /// Whether it reads every output of each of them, so that what comes out there is what goes in here.
    pub whole: bool,
    /// The collection it fills, if it is a collect.
    pub collection: Option<String>,
    /// The place of its source or destination as written.
    pub place: Option<String>,
}

pub(crate) fn processors(loaded: &Loaded) -> Vec<RunProcessor> {
    let plan = &loaded.plan;
    let in_order = plan.order.iter().map(|at| (*at, &plan.processors[*at]));
    in_order
        .map(|(at, processor)| {
            let mut reads: Vec<usize> = processor.inputs.iter().map(|input| input.processor).collect();
            reads.sort_unstable();
            reads.dedup();
            let whole = reads.iter().all(|read| {
                let read = &plan.processors[*read];
                let reads_port = |port: &String| {
                    read.readers.get(port).is_some_and(|readers| readers.iter().any(|reader| reader.processor == at))
                };
                read.outputs.iter().all(reads_port)
            });
            RunProcessor {
                id: processor.id.clone(),
                kind: processor.kind.clone(),
                role: processor.role,
                reads: reads.iter().map(|read| plan.processors[*read].id.clone()).collect(),
                whole,
                collection: if processor.role == Role::Collect { text(processor, &["collection"]) } else { None },
                place: text(processor, &["source", "path"]).or_else(|| text(processor, &["destination", "path"])),
            }
        })
        .collect()
}

/// How a run that was followed stands when it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunEnd {
    /// All is settled and exported.
    Done,
    /// Time ran out before.
    TimedOut,
    /// The service stopped before.
    Interrupted,
}

/// What is told of a long request while it goes on, a line of JSON each.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// A long preparation goes on.
    Preparing {
        /// What is being done.
        message: String,
    },
    /// A flow was saved, and enabled where that was asked.
    Enabled {
        /// The flow.
        flow: Flow,
        /// Warnings.
        warnings: Diagnostics,
    },
    /// A run began.
    Started {
        /// Its number.
        run: u64,
        /// The flow.
        flow: String,
        /// The flow's name.
        name: String,
        /// The version's hash, hexadecimal.
        version: String,
        /// The processors in the order of work.
        processors: Vec<RunProcessor>,
        /// Runs of this flow that were interrupted before, and go on with this one.
        resumed: Vec<u64>,
    },
    /// Its sources have nothing more.
    Fed,
    /// Numbers since the beginning, by processor.
    Progress {
        /// By processor.
        processors: BTreeMap<String, StepCounts>,
    },
    /// Something could not be taken from a source.
    Problem {
        /// What.
        about: String,
        /// Why.
        message: String,
        /// What can be done.
        hint: Option<String>,
    },
    /// Something keeps the work from going on; it is waited out.
    Trouble(Trouble),
    /// A run is left.
    Ended {
        /// As it stands.
        run: Run,
        /// How.
        end: RunEnd,
        /// How many problems there were, those that were not told included.
        problems: u64,
        /// The runs that went on with this one, as they stand.
        resumed: Vec<Run>,
    },
    /// A backup goes on.
    Copying(Copying),
    /// Something is wrong with what is backed up, or with the backup.
    Damaged(Damaged),
    /// A backup is made.
    BackedUp(BackedUp),
    /// Garbage was collected.
    Collected(Collected),
    /// It failed.
    Failed(Problem),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_keep_their_bytes() {
        for bytes in [&b"def process"[..], b"\xff\x00", b""] {
            let json = serde_json::to_string(&FileContent(bytes.to_vec())).unwrap();
            assert_eq!(serde_json::from_str::<FileContent>(&json).unwrap().0, bytes);
        }
        assert_eq!(serde_json::to_string(&FileContent(b"x".to_vec())).unwrap(), r#"{"text":"x"}"#);
    }

    #[test]
    fn given_paths_keep_their_bytes() {
        use std::os::unix::ffi::OsStrExt;
        let path = opendmp_model::name::from_bytes(b"/tmp/caf\xe9");
        assert_eq!(Given { processor: None, path }.path().as_os_str().as_bytes(), b"/tmp/caf\xe9");
    }

    #[test]
    fn flows_are_filtered_by_their_identity() {
        let filter =
            Filter::from(Listing { flow: Some("Penguin survey".to_owned()), limit: 1_000_000, ..Listing::default() });
        assert_eq!((filter.flow.as_deref(), filter.limit), (Some("penguin-survey"), MOST_ROWS));
        assert_eq!(Filter::from(Listing::default()).limit, 100);
    }
}
