//! What people ask of an engine: save and enable flows, run one, look after dead letters, audit a source. Each is a
//! function here, which the API and the command line call; how it is asked and shown lives there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use opendmp_model::diagnostic::Diagnostics;
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::history::Context;
use opendmp_model::ids::TaskId;
use opendmp_model::item::{Attributes, ContentRef};
use opendmp_model::ledger::FileStat;
use opendmp_model::plan::compile_checked;
use opendmp_ports::journal::{
    DEFAULT_SPACE, DeadRow, DeadState, Edit, Filter, FlowChange, FlowId, FlowRow, FlowState, NewArrival, NewVersion,
    Reentry, RunId, RunMode, RunRow, RunState, VersionId,
};
use opendmp_ports::transport::{Hint, StepCounts};
use opendmp_ports::{Error, ErrorKind};
use opendmp_processor::{Access, Audit, PathPolicy, Place, ReadAccess, check_at};
use serde::{Deserialize, Serialize};
use tracing::Instrument;

use crate::engine::SourceLedger;
use crate::ingest::identity;
use crate::loaded::run_blocking;
use crate::retry::{Cause, Policy, Waits, port_fault, source_fault};
use crate::space::{MAKE_ROOM, Shortage};
use crate::{Engine, Loaded, spans};

/// A flow as a person hands it in.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FlowText {
    /// YAML or JSON.
    pub text: String,
    /// The files it names, by path relative to it.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The folder its relative paths begin at: absolute.
    pub base: String,
}

/// A saved flow.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The flow.
    pub flow: FlowId,
    /// The version.
    pub version: VersionId,
    /// Its hash, hexadecimal.
    pub hash: String,
    /// Warnings.
    pub warnings: Diagnostics,
}

/// Why something asked for was not done.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The flow has errors.
    #[error("the flow has errors")]
    Flow(Diagnostics),
    /// Something failed, or does not fit.
    #[error("{0}")]
    Fault(Fault),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let mut fault = port_fault(error.clone());
        if error.kind == ErrorKind::NotFound {
            "not-found".clone_into(&mut fault.code);
        }
        Self::Fault(fault)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

fn refused(code: &str, message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Rejected, code, message)
}

/// How a flow is deleted that has work under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Deletion {
    /// What is under way is finished first.
    Drain,
    /// What is under way becomes dead letters.
    DeadLetter,
}

/// A file given by hand in place of a source.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GivenFile {
    /// The ingest it goes to; `None`: the flow's only one.
    pub processor: Option<String>,
    /// The file, absolute.
    pub path: PathBuf,
}

/// What a run is told about while it goes on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum RunEvent {
    /// A long preparation goes on.
    Preparing {
        /// What is being done.
        message: String,
    },
    /// It began.
    Started {
        /// Its number.
        run: RunId,
        /// The flow's name.
        name: String,
        /// The version's hash, hexadecimal.
        version: String,
        /// The processors in the order of the plan, with their kinds.
        processors: Vec<(String, String)>,
        /// Warnings about the flow, as text.
        warnings: Vec<String>,
    },
    /// It waits for space to take more in.
    Waits {
        /// The ingest that waits.
        about: String,
        /// Why.
        message: String,
        /// What can be done.
        hint: String,
    },
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
    /// It is over.
    Done {
        /// As it ended.
        row: RunRow,
        /// Whether time ran out before everything was done.
        timed_out: bool,
    },
}

impl Engine {
    /// Checks a flow, resolves its environments, and saves it as a version. Enables nothing.
    ///
    /// # Errors
    /// All problems of the flow, or why an environment could not be made.
    pub async fn save(
        &self,
        text: FlowText,
        actor: &str,
        progress: &opendmp_processor::Progress,
    ) -> Result<Saved, Refusal> {
        let (registry, policy) = (Arc::clone(&self.registry), self.options.policy.clone());
        let check = move || {
            let checked = check_at(&registry, &policy, Path::new(&text.base), &text.text, &text.files);
            (checked, text.files)
        };
        let (checked, files) = run_blocking(check).await?;
        let mut locks = BTreeMap::new();
        for doc in checked.flow.iter().flat_map(|flow| &flow.processors) {
            let kind = self.registry.processor_kind(&doc.kind)?;
            if let Some(lock) = kind.lock(doc, &files, progress).await? {
                locks.insert(doc.id.clone(), lock);
            }
        }
        let version = checked.version(locks).map_err(Refusal::Flow)?;
        let (_, warnings) = compile_checked(&checked, &version).map_err(Refusal::Flow)?;
        let body = serde_json::to_vec(&version)
            .map_err(|error| refused("not-saved", format!("the version can't be written: {error}")))?;
        let new = NewVersion {
            space: DEFAULT_SPACE,
            slug: version.slug.clone(),
            name: version.name.clone(),
            hash: version.hash.to_hex(),
            body: body.into(),
            at: self.clock.now(),
            actor: actor.to_owned(),
        };
        let hash = new.hash.clone();
        let (flow, id) = self.patiently("journal", || self.journal.save_version(new.clone())).await?;
        Ok(Saved { flow, version: id, hash, warnings })
    }

    /// Enables a saved version: new items go through it from now on.
    ///
    /// # Errors
    /// Also where it uses a folder that may not be used, or gets in the way of another enabled flow.
    pub async fn enable(&self, saved: &Saved, base: &str, actor: &str) -> Result<FlowRow, Refusal> {
        let _one_at_a_time = self.enabling.lock().await;
        let before = self.journal.flow(saved.flow).await?;
        if before.state == FlowState::Deleting {
            return Err(refused("flow-deleting", format!("the flow `{}` is being deleted", before.slug))
                .with_hint("wait until it is drained, then enable it again")
                .into());
        }
        self.may_be_enabled(saved, base).await?;
        let change = FlowChange {
            flow: saved.flow,
            state: FlowState::Enabled,
            version: Some(saved.version),
            base: Some(base.to_owned()),
            at: self.clock.now(),
            actor: actor.to_owned(),
        };
        let row = self.journal.change_flow(change).await?;
        if before.base != row.base {
            self.reopen(saved.version).await;
        }
        self.turn_sources(row.id).await;
        Ok(row)
    }

    /// Enables a flow with the version and the base folder it had.
    pub async fn enable_again(&self, name: &str, actor: &str) -> Result<FlowRow, Refusal> {
        let row = self.find_flow(name).await?;
        let saved =
            Saved { flow: row.id, version: row.version, hash: row.version_hash, warnings: Diagnostics::default() };
        self.enable(&saved, &row.base, actor).await
    }

    /// A flow by slug or name.
    pub async fn find_flow(&self, name: &str) -> Result<FlowRow, Refusal> {
        let rows = self.journal.flows(DEFAULT_SPACE).await?;
        let slug = opendmp_model::document::slug(name);
        if let Some(row) = rows.iter().find(|row| row.slug == name || row.slug == slug) {
            return Ok(row.clone());
        }
        let names: Vec<&str> = rows.iter().map(|row| row.slug.as_str()).collect();
        let hint = match names.as_slice() {
            [] => "there are no flows yet; `opendmp flows enable FLOW.yaml` adds one".to_owned(),
            names => format!("there are: {}", names.join(", ")),
        };
        Err(refused("not-found", format!("there is no flow `{name}`")).with_hint(hint).into())
    }

    /// Stops looking at the sources of a flow; what is under way is finished.
    pub async fn disable(&self, name: &str, actor: &str) -> Result<FlowRow, Refusal> {
        self.change(name, FlowState::Disabled, actor).await
    }

    /// Deletes a flow: its sources are no longer looked at, what is under way is drained or becomes dead letters; its
    /// datasets and history stay.
    pub async fn delete(&self, name: &str, deletion: Deletion, actor: &str) -> Result<(FlowRow, u64), Refusal> {
        let row = self.change(name, FlowState::Deleting, actor).await?;
        let mut buried = 0;
        if deletion == Deletion::DeadLetter {
            loop {
                let items = self.journal.abandon(row.id, 1_000, actor, self.clock.now()).await?;
                if items == 0 {
                    break;
                }
                buried += items;
            }
        }
        Ok((self.journal.flow(row.id).await?, buried))
    }

    async fn change(&self, name: &str, state: FlowState, actor: &str) -> Result<FlowRow, Refusal> {
        let row = self.find_flow(name).await?;
        let change = FlowChange {
            flow: row.id,
            state,
            version: None,
            base: None,
            at: self.clock.now(),
            actor: actor.to_owned(),
        };
        let row = self.journal.change_flow(change).await?;
        self.turn_sources(row.id).await;
        Ok(row)
    }

    /// Opens a run of a saved version, to be fed by [`Engine::feed`]. `scans`: from its sources, and not from files that
    /// are given in their place.
    ///
    /// # Errors
    /// Also where the flow would take files from enabled flows, or they from it.
    pub async fn begin_run(
        &self,
        saved: &Saved,
        base: &str,
        scans: bool,
        trigger: &str,
        actor: &str,
    ) -> Result<(RunId, Arc<Loaded>), Refusal> {
        let before = self.journal.flow(saved.flow).await?;
        if before.state == FlowState::Deleting {
            return Err(refused("flow-deleting", format!("the flow `{}` is being deleted", before.slug)).into());
        }
        if scans && before.state != FlowState::Enabled {
            self.may_be_enabled(saved, base).await?;
        }
        if before.state != FlowState::Enabled && (before.base != base || before.version != saved.version) {
            let change = FlowChange {
                flow: saved.flow,
                state: before.state,
                version: Some(saved.version),
                base: Some(base.to_owned()),
                at: self.clock.now(),
                actor: actor.to_owned(),
            };
            self.journal.change_flow(change).await?;
            self.reopen(saved.version).await;
        } else if before.state == FlowState::Enabled && before.base != base {
            let message = format!("the flow `{}` is enabled in `{}`", before.slug, before.base);
            return Err(refused("flow-elsewhere", message)
                .with_hint("disable it first, or run the flow file in that folder")
                .into());
        }
        let loaded = self.load(saved.version).await?;
        let at = self.clock.now();
        let run = self.journal.open_run(saved.flow, saved.version, RunMode::Live, trigger, at).await?;
        Ok((run, loaded))
    }

    /// Feeds a run: all sources until a look finds nothing more, or the files given in their place. Then closes it.
    pub async fn feed(
        &self,
        run: RunId,
        loaded: &Loaded,
        given: &[GivenFile],
        tell: &(dyn Fn(RunEvent) + Send + Sync),
    ) -> Result<(), Refusal> {
        let fed = if given.is_empty() {
            self.feed_sources(run, loaded, tell).await
        } else {
            self.feed_files(run, loaded, given, tell).await
        };
        self.close_run(run, loaded.flow.id).await?;
        fed
    }

    /// Says that nothing more is fed into a run of a flow, and tells those who work of what that closes.
    pub async fn close_run(&self, run: RunId, flow: FlowId) -> Result<(), Error> {
        if self.journal.close_run(run, self.clock.now()).await? {
            self.transport.send(Hint::Tasks(flow));
        }
        self.transport.send(Hint::Run(run));
        Ok(())
    }

    async fn feed_sources(
        &self,
        run: RunId,
        loaded: &Loaded,
        tell: &(dyn Fn(RunEvent) + Send + Sync),
    ) -> Result<(), Refusal> {
        let mut told = std::collections::BTreeSet::new();
        let mut waits = Waits::new(Policy::SOURCE, &loaded.plan.slug);
        for node in loaded.ingests() {
            let mut tell_shortage = waits_for_space(node, tell);
            loop {
                let about = format!("flow {}, ingest {}", loaded.plan.slug, node.id);
                if let Some(reason) = self.holds_back(loaded.flow.id).await {
                    match &reason {
                        Some(Shortage { message, hint }) => self.trouble(&about, message, Some(hint)),
                        None => self.clear_trouble(&about),
                    }
                    tell_shortage(reason);
                    self.clock.sleep(Duration::from_millis(50)).await;
                    continue;
                }
                self.clear_trouble(&about);
                let report = self
                    .ingest_once(loaded, node, Some(run))
                    .instrument(spans::source(&loaded.plan.slug, &node.id))
                    .await?;
                for (path, problem) in report.problems {
                    if told.insert((path.clone(), problem.code)) {
                        let about = opendmp_model::name::printable(&path);
                        tell(RunEvent::Problem { about, message: problem.message, hint: problem.hint });
                    }
                }
                if report.complete && report.arrived == 0 {
                    break;
                }
                if report.arrived > 0 {
                    waits.reset();
                } else if report.shortage.is_some() {
                    tell_shortage(report.shortage);
                    self.clock.sleep(waits.next(Cause::TRANSIENT)).await;
                    continue;
                }
                let now = self.clock.now();
                // A long look goes on at once.
                if report.arrived == 0 && report.everything.is_none_or(|at| at > now) {
                    let at = report.again.into_iter().chain(report.everything).min();
                    let wait = at.map_or(50, |at| at.saturating_sub(now).clamp(5, 1_000));
                    self.clock.sleep(Duration::from_millis(wait as u64)).await;
                }
            }
        }
        Ok(())
    }

    async fn feed_files(
        &self,
        run: RunId,
        loaded: &Loaded,
        given: &[GivenFile],
        tell: &(dyn Fn(RunEvent) + Send + Sync),
    ) -> Result<(), Refusal> {
        let ingests: Vec<&crate::Node> = loaded.ingests().collect();
        for (n, file) in given.iter().enumerate() {
            let node = match (&file.processor, ingests.as_slice()) {
                (Some(name), all) => *all.iter().find(|node| *node.id == **name).ok_or_else(|| {
                    let names: Vec<&str> = all.iter().map(|node| &*node.id).collect();
                    refused("not-found", format!("the flow has no ingest `{name}`"))
                        .with_hint(format!("it has: {}", names.join(", ")))
                })?,
                (None, [only]) => only,
                (None, all) => {
                    let names: Vec<&str> = all.iter().map(|node| &*node.id).collect();
                    return Err(refused("which-ingest", format!("the flow has {} ingests", all.len()))
                        .with_hint(format!("write --input PROCESSOR=FILE, with one of: {}", names.join(", ")))
                        .into());
                }
            };
            let started = self.clock.now();
            let began = Instant::now();
            let (opened, stat, path) = open_given(&self.options.policy, &file.path, started, n).await?;
            let (mut tell_shortage, mut waits) = (waits_for_space(node, tell), Waits::new(Policy::SOURCE, &node.id));
            let _hold = self.content.hold();
            let content = loop {
                let admitted = self.admit(&[stat.size]).await;
                if admitted.fits == [true] {
                    match self.content.put_file(Arc::clone(&opened)).await {
                        Err(error) if error.kind == ErrorKind::Full => {
                            tell_shortage(Some(Shortage { message: error.message, hint: MAKE_ROOM }));
                        }
                        put => break put?,
                    }
                } else {
                    tell_shortage(admitted.shortage.clone());
                }
                drop(admitted);
                self.clock.sleep(waits.next(Cause::TRANSIENT)).await;
            };
            let source = self.source_id(&loaded.flow, &format!("{}/{}/given", loaded.plan.slug, node.id)).await?;
            let name = opendmp_model::name::from_bytes(path.rsplit(|b| *b == b'/').next().unwrap_or(&path));
            let arrival = NewArrival {
                path,
                stat: Some(stat),
                media_type: None,
                name: name.into(),
                content,
                attributes: Attributes::new().into(),
                release: None,
                took: began.elapsed().as_micros() as u64,
            };
            self.arrive(loaded, node, source, vec![arrival], Some(run), started).await?;
        }
        Ok(())
    }

    /// Waits until a run is done or time is up; tells its numbers when they change.
    pub async fn follow(
        &self,
        run: RunId,
        until: Option<Instant>,
        tell: &(dyn Fn(RunEvent) + Send + Sync),
    ) -> Result<(RunRow, bool), Refusal> {
        let mut listener = self.transport.listen();
        let mut last = BTreeMap::new();
        loop {
            let row = self.journal.run(run).await?;
            if row.processors != last {
                last.clone_from(&row.processors);
                tell(RunEvent::Progress { processors: row.processors.clone() });
            }
            if row.state == RunState::Done {
                return Ok((row, false));
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok((row, true));
            }
            let left = until.map_or(Duration::from_secs(1), |until| until.saturating_duration_since(Instant::now()));
            // Told of every settlement, but looking twenty times a second is enough for people.
            let settled = async {
                while !matches!(listener.next().await, None | Some(Hint::Run(_))) {}
                self.clock.sleep(Duration::from_millis(50)).await;
            };
            tokio::select! {
                () = settled => {}
                () = tokio::time::sleep(left.min(Duration::from_secs(1))) => {}
            }
        }
    }

    /// Sends open dead letters of one flow in again, through its present version. Answers run and number.
    pub async fn retry(&self, letters: &[DeadRow], actor: &str) -> Result<(RunId, u64), Refusal> {
        self.send_in(letters, None, actor).await
    }

    /// The same with one, whose item has the bytes of an upload from now on: a person's edit, which the history tells.
    pub async fn retry_edited(
        &self,
        letter: &DeadRow,
        upload: &str,
        note: Option<String>,
        actor: &str,
    ) -> Result<(RunId, u64), Refusal> {
        let (kept, file) = self.uploads()?.open_one(upload).await?;
        if letter.export_only {
            return Err(refused("export-only", "only the export of this one failed: there is nothing to edit")
                .with_hint("retry it as it is; that repeats the export")
                .into());
        }
        if kept.hash == letter.item.content.hash {
            return Err(refused("not-edited", "the upload has the very bytes that failed")
                .with_hint("retry without an upload, or hand in the edited file")
                .into());
        }
        let admitted = self.admit(&[kept.size]).await;
        if admitted.fits != [true] {
            let why = admitted
                .shortage
                .clone()
                .map_or_else(|| "too much is being stored now".to_owned(), |shortage| shortage.message);
            return Err(Fault::new(FaultKind::NoSpace, "no-space", why)
                .with_hint("make room (`opendmp gc`), then retry")
                .into());
        }
        // Until it is named.
        let _hold = self.content.hold();
        let content = match kept.size {
            0 => ContentRef::empty(),
            _ => self.content.put_file(file).await?,
        };
        if content.hash != kept.hash {
            return Err(Fault::new(FaultKind::Failed, "damaged", format!("upload `{upload}` is not what it was"))
                .with_hint("hand the file in again")
                .into());
        }
        self.content.sync().await?;
        self.send_in(std::slice::from_ref(letter), Some(Edit { content, note }), actor).await
    }

    async fn send_in(&self, letters: &[DeadRow], edit: Option<Edit>, actor: &str) -> Result<(RunId, u64), Refusal> {
        let Some(first) = letters.first() else {
            return Err(refused("nothing-to-retry", "there is no open dead letter to retry").into());
        };
        if letters.iter().any(|letter| letter.flow_id != first.flow_id) {
            return Err(refused("several-flows", "these dead letters are of several flows")
                .with_hint("retry them flow by flow, with --flow")
                .into());
        }
        let flow = self.journal.flow(first.flow_id).await?;
        let version = match flow.state {
            FlowState::Deleted | FlowState::Deleting => {
                // A flow that was saved again under the name takes its dead letters over.
                let again = self.find_flow(&flow.slug).await.ok().filter(|row| row.state != FlowState::Deleting);
                again.map(|row| row.version).ok_or_else(|| {
                    refused("flow-deleted", format!("the flow `{}` is deleted", flow.slug))
                        .with_hint("enable it again, then retry")
                })?
            }
            FlowState::Enabled | FlowState::Disabled => flow.version,
        };
        let loaded = self.load(version).await?;
        for letter in letters {
            let node = loaded.node(&letter.at.processor).ok_or_else(|| {
                refused(
                    "no-processor",
                    format!("the present version of `{}` has no processor `{}`", flow.slug, letter.at.processor),
                )
                .with_hint("discard the dead letter, or bring the processor back")
            })?;
            let inputs = node.planned.inputs.len() as u32;
            if letter.at.input >= inputs {
                let message =
                    format!("`{}` has {inputs} inputs now, and this came by number {}", node.id, letter.at.input + 1);
                return Err(refused("no-input", message).into());
            }
        }
        let context = Context {
            flow: loaded.plan.slug.clone(),
            version: loaded.plan.version.to_hex(),
            processor: "retry".to_owned(),
            kind: "person".to_owned(),
            config: String::new(),
            environment: None,
            worker: self.options.worker.clone(),
            opendmp: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let reentry = Reentry {
            letters: letters.iter().map(|letter| letter.id).collect(),
            edit,
            version,
            context: self.journal.context(context).await?,
            actor: actor.to_owned(),
            at: self.clock.now(),
        };
        let answer = self.journal.reenter(reentry).await?;
        self.count_dead_again();
        self.transport.send(Hint::Tasks(loaded.flow.id));
        self.transport.send(Hint::Intents);
        Ok(answer)
    }

    /// Every open dead letter that a filter names, page by page.
    pub async fn open_letters(&self, mut filter: Filter) -> Result<Vec<DeadRow>, Refusal> {
        let mut all = Vec::new();
        filter.limit = 1_000;
        filter.ended = false;
        loop {
            let page = self.journal.dead_letters(filter.clone()).await?;
            all.extend(page.rows.into_iter().filter(|row| row.state == DeadState::Open));
            match page.next {
                Some(next) => filter.after = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// Gives dead letters up.
    pub async fn discard(&self, letters: Vec<TaskId>, reason: &str, actor: &str) -> Result<u64, Refusal> {
        if reason.trim().is_empty() {
            return Err(refused("no-reason", "a discard needs a reason").with_hint("give one with --reason").into());
        }
        let discarded = self.journal.discard(letters, reason, actor, self.clock.now()).await?;
        self.count_dead_again();
        Ok(discarded)
    }

    /// Compares the sources of a flow with the ledger.
    pub async fn audit(&self, flow: &FlowRow) -> Result<Vec<(String, Audit)>, Refusal> {
        let loaded = self.load(flow.version).await?;
        let mut out = Vec::new();
        for node in loaded.ingests() {
            let source = node.source(self).await?;
            let id = self.source_id(&loaded.flow, &identity(&loaded, node, &*source)).await?;
            let ledger = SourceLedger::new(self, id);
            let releasing = self.journal.pending_releases(id, 100_000).await?;
            let audit = source.audit(&ledger, &releasing).await.map_err(source_fault)?;
            out.push((node.id.to_string(), audit));
        }
        Ok(out)
    }
}

/// Says of an ingest that it waits for space, each reason once.
fn waits_for_space<'a>(
    node: &crate::Node,
    tell: &'a (dyn Fn(RunEvent) + Send + Sync),
) -> impl FnMut(Option<Shortage>) + Send + 'a {
    let about = format!("ingest {}", node.id);
    let mut told: Option<Shortage> = None;
    move |shortage| {
        if let Some(shortage) = shortage.filter(|shortage| told.as_ref() != Some(shortage)) {
            let message = format!("{}; it waits for space", shortage.message);
            tell(RunEvent::Waits { about: about.clone(), message, hint: shortage.hint.to_owned() });
            told = Some(shortage);
        }
    }
}

/// Opens a file given by hand. Each time it is given it is a new version of its path, because a person asked for it.
async fn open_given(
    policy: &PathPolicy,
    path: &Path,
    now: i64,
    nth: usize,
) -> Result<(Arc<std::fs::File>, FileStat, Vec<u8>), Refusal> {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    // Whoever may ask from outside was held to the data roots before; nobody's input is the data directory itself.
    let (policy, path) = (policy.without_roots(), path.to_owned());
    let open = move || {
        let file = std::fs::File::open(&path)?;
        let meta = file.metadata()?;
        let real = path.canonicalize()?;
        let place = Place {
            pointer: String::new(),
            written: path.display().to_string(),
            path: real.parent().unwrap_or(&real).to_owned(),
            access: Access::Read(ReadAccess::default()),
        };
        if let Some(why) = policy.refuses(&place) {
            return Ok(Err(why.fault(FaultKind::Failed)));
        }
        if !meta.is_file() {
            return Err(std::io::Error::other("it is not a regular file"));
        }
        let stat = FileStat {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            mtime: now.saturating_mul(1_000_000).saturating_add(nth as i64),
            ctime: 0,
            recent: false,
        };
        Ok(Ok((Arc::new(file), stat, path.as_os_str().as_bytes().to_vec())))
    };
    let opened: std::io::Result<_> = run_blocking(open).await?;
    Ok(opened.map_err(|error| refused("no-input", format!("the input can't be read: {error}")))??)
}
