//! What answers: an engine, the way it works (by itself, or only on what one command asks), and the runs that are
//! followed. How it is asked over HTTP lives in [`crate::router()`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use opendmp_engine::control::{FlowText, GivenFile, Refusal, RunEvent};
use opendmp_engine::live::{Live, Scope};
use opendmp_engine::watch::Folders;
use opendmp_engine::{Engine, Loaded, Trouble};
use opendmp_model::ids::ContentHash;
use opendmp_ports::content::Body;
use opendmp_ports::journal::{
    self, DeadRow, DeadState, Filter, FlowId, FlowRow, RevisionRow, RunId, RunRow, RunsMeant, Search, Selection,
    VersionId,
};
use opendmp_processor::Progress;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::access::Access;
use crate::access::Via;
use crate::ask::{
    Event, Follow, Found, Letters, Listing, Mode, Problem, Reference, ReprocessForeseen, ReprocessRequest, Retried,
    RunEnd, RunRequest, Status, Upload, processors,
};
use crate::backup::Backups;
use crate::drafts::DraftSizes;
use crate::events::Hub;
use crate::flows::Brief;
use crate::links::{Links, Target};
use crate::request;
use crate::rows::{Flow, Run, Setting, time};

/// Problems with source items that are told one by one; more are only counted.
const MOST_PROBLEMS: u64 = 100;

/// Events under way to one listener. Numbers are left out when half of it is taken, because later ones say it all.
pub(crate) const EVENTS: usize = 256;

/// Rows looked at for one name: names are not unique.
const MOST_LOOKED_AT: usize = 200_000;

/// Candidates told where a reference is not clear.
const CANDIDATES: usize = 20;

/// How many of the newest runs are looked through for such as were interrupted.
const LOOK_BACK: usize = 1_000;

/// How often those who follow a run are told of troubles.
const TROUBLES: Duration = Duration::from_millis(250);

/// How long a single command waits for what is searched to be made.
const COMMAND_PATIENCE: Duration = Duration::from_secs(600);

/// See the module.
pub struct Service {
    pub(crate) engine: Arc<Engine>,
    mode: Mode,
    started: i64,
    live: Mutex<Option<Live>>,
    jobs: Mutex<JoinSet<()>>,
    /// Where they run, in a server: requests may be answered in another one.
    runtime: OnceLock<Handle>,
    pub(crate) stop: watch::Sender<bool>,
    hurry: watch::Sender<bool>,
    /// The folder in which flows that come without one get theirs.
    pub(crate) home: OnceLock<PathBuf>,
    pub(crate) settings: OnceLock<Vec<Setting>>,
    pub(crate) briefs: Mutex<HashMap<VersionId, Arc<Brief>>>,
    pub(crate) backups: OnceLock<Arc<dyn Backups>>,
    pub(crate) links: Links<Target>,
    /// Whom it lets in over TCP, where it listens there.
    pub(crate) access: OnceLock<Arc<Access>>,
    pub(crate) draft_sizes: tokio::sync::Mutex<DraftSizes>,
    /// Who publishes what happens; only a server does.
    pub(crate) hub: OnceLock<Arc<Hub>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is kept here is changed by single calls, so a panic leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    fn new(engine: Arc<Engine>, mode: Mode) -> Arc<Self> {
        let started = engine.clock.now();
        let (live, jobs) = (Mutex::default(), Mutex::default());
        Arc::new(Self {
            engine,
            mode,
            started,
            live,
            jobs,
            stop: watch::Sender::new(false),
            hurry: watch::Sender::new(false),
            home: OnceLock::new(),
            settings: OnceLock::new(),
            briefs: Mutex::default(),
            backups: OnceLock::new(),
            links: Links::default(),
            access: OnceLock::new(),
            draft_sizes: tokio::sync::Mutex::default(),
            hub: OnceLock::new(),
            runtime: OnceLock::new(),
        })
    }

    /// A server: works on everything from now on, what an earlier process left behind included. Call inside a Tokio
    /// runtime, by whoever holds the data directory.
    ///
    /// # Errors
    /// When the journal can't be read or written.
    pub async fn server(engine: Arc<Engine>, watcher: Option<Arc<Folders>>) -> Result<Arc<Self>, Problem> {
        let service = Self::new(Arc::clone(&engine), Mode::Server);
        let _ = service.runtime.set(Handle::current());
        let left = service.interrupted(None, None).await?;
        if !left.is_empty() {
            tracing::info!(runs = left.len(), "runs that were interrupted go on");
        }
        let hub = Arc::new(Hub::new(service.started));
        let _ = service.hub.set(Arc::clone(&hub));
        lock(&service.jobs).spawn(hub.publish(Arc::clone(&engine), service.stop.subscribe()));
        // The first search begins to keep what is searched.
        let journal = Arc::clone(&engine.journal);
        lock(&service.jobs).spawn(async move {
            if let Err(error) = journal.search(Search { limit: 1, ..Search::default() }).await {
                tracing::warn!(%error, "datasets can't be searched now");
            }
        });
        *lock(&service.live) = Some(Live::start(engine, Scope::All, watcher));
        Ok(service)
    }

    /// For one command: works only on runs that it begins or follows.
    pub fn command(engine: Arc<Engine>) -> Arc<Self> {
        Self::new(engine, Mode::Command)
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Claims nothing more, lets what is in work finish for `grace`, hands the rest back unharmed, and tells those who
    /// follow a run.
    pub async fn stop(&self, grace: Duration) {
        self.stop.send_replace(true);
        let live = lock(&self.live).take();
        if let Some(live) = live {
            live.stop(self.patience(grace)).await;
        }
        let mut jobs = std::mem::take(&mut *lock(&self.jobs));
        let all = async { while jobs.join_next().await.is_some() {} };
        if tokio::time::timeout(grace + Duration::from_secs(1), all).await.is_err() {
            jobs.shutdown().await;
        }
        self.engine.close().await;
    }

    /// Ends the grace of a stop that is under way or comes.
    pub fn hurry(&self) {
        self.hurry.send_replace(true);
    }

    async fn patience(&self, grace: Duration) {
        let mut hurry = self.hurry.subscribe();
        // An error is the time that has passed.
        let _ = tokio::time::timeout(grace, hurry.wait_for(|hurry| *hurry)).await;
    }

    /// How it is. The HTTP status that says the same, and whether the journal answers, come with it.
    pub async fn status(&self) -> (u16, Status) {
        let (backlog, usage) = self.engine.check().await;
        // Both what it is called and what is listed follow from this.
        let troubles = self.engine.troubles();
        let (code, status) = match (troubles.iter().any(Trouble::is_central), troubles.is_empty()) {
            (true, _) => (503, "troubled"),
            (false, false) => (200, "degraded"),
            (false, true) => (200, "ok"),
        };
        let status = Status {
            status: status.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            mode: self.mode,
            started: time(self.started),
            backlog,
            in_work: lock(&self.live).as_ref().map_or(0, Live::in_work),
            usage,
            troubles,
        };
        (code, status)
    }

    /// Saves and enables a flow, and drops the draft with that hash, which it was.
    pub(crate) async fn enable(
        &self,
        upload: Upload,
        draft: Option<ContentHash>,
        via: Via,
        actor: &str,
        tell: &Teller,
    ) -> Result<(), Problem> {
        let base = self.base(&upload.base, &upload.text, via).await?;
        let chosen = upload.base.is_empty();
        let text = FlowText { base: base.clone(), ..upload.into() };
        let saved = self.engine.save(text, actor, &tell.progress_of_work()).await?;
        if chosen {
            self.make_base(&base, saved.version).await?;
        }
        let row = self.engine.enable(&saved, &base, actor).await?;
        if let Some(draft) = draft {
            self.drop_enabled_draft(&row.slug, draft, actor).await?;
        }
        tell.send(Event::Enabled { flow: Flow::from(&row), warnings: saved.warnings }).await;
        Ok(())
    }

    /// Enables a flow with the version it has.
    pub(crate) async fn enable_again(&self, flow: &str, actor: &str, tell: &Teller) -> Result<(), Problem> {
        let row = self.engine.enable_again(flow, actor).await?;
        tell.send(Event::Enabled { flow: Flow::from(&row), warnings: Default::default() }).await;
        Ok(())
    }

    /// Begins a run and follows it to its end, the end of its time, or the end of the service.
    pub(crate) async fn run(&self, request: RunRequest, via: Via, actor: &str, tell: &Teller) -> Result<(), Problem> {
        let until = request.timeout_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
        for given in &request.given {
            self.may_name(&given.path(), via).await?;
        }
        let base = self.base(&request.flow.base, &request.flow.text, via).await?;
        let chosen = request.flow.base.is_empty();
        let text = FlowText { base: base.clone(), ..request.flow.into() };
        let saved = self.engine.save(text, actor, &tell.progress_of_work()).await?;
        if chosen {
            self.make_base(&base, saved.version).await?;
        }
        let (run, loaded) =
            self.engine.begin_run(&saved, &base, request.given.is_empty(), &request.trigger, actor).await?;
        tracing::debug!(run = run.0, flow = loaded.plan.slug, "a run begins");
        let resumed = match self.mode {
            Mode::Command => self.interrupted(Some(&loaded.flow.slug), Some(run)).await?,
            Mode::Server => Vec::new(),
        };
        tell.send(Event::Started {
            run: run.0,
            flow: loaded.plan.slug.clone(),
            name: loaded.plan.name.clone(),
            version: saved.hash.clone(),
            processors: processors(&loaded),
            resumed: resumed.iter().map(|run| run.0).collect(),
        })
        .await;
        let given: Vec<GivenFile> = request
            .given
            .iter()
            .map(|given| GivenFile { processor: given.processor.clone(), path: given.path() })
            .collect();
        let runs: Vec<RunId> = resumed.into_iter().chain([run]).collect();
        let problems = AtomicU64::new(0);
        let fed = self.feed(run, &loaded, &given, until, tell, &problems);
        let (fed, mut end) = self.drive(&runs, until, tell, fed).await?;
        let row = self.engine.journal.run(run).await?;
        if let Some(fed) = fed
            && !fed?
            && end == RunEnd::Done
        {
            // All that was taken in is done, but not everything was taken in.
            end = RunEnd::TimedOut;
        }
        let mut resumed = Vec::new();
        for run in runs.iter().filter(|other| **other != run) {
            resumed.push(Run::from(&self.engine.journal.run(*run).await?));
        }
        tell.send(Event::Ended { run: Run::from(&row), end, problems: problems.into_inner(), resumed }).await;
        Ok(())
    }

    /// Follows a run that was begun before; where no server does, works on it.
    pub async fn follow(&self, run: RunId, follow: Follow, tell: &Teller) -> Result<(), Problem> {
        let until = follow.timeout_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
        self.follow_until(run, until, tell).await
    }

    async fn follow_until(&self, run: RunId, until: Option<Instant>, tell: &Teller) -> Result<(), Problem> {
        let (_, end) = self.drive(&[run], until, tell, async {}).await?;
        let row = self.engine.journal.run(run).await?;
        tell.send(Event::Ended { run: Run::from(&row), end, problems: 0, resumed: Vec::new() }).await;
        Ok(())
    }

    /// Sends what arrived before through a flow's present version, in a run that is followed as others are.
    pub async fn reprocess(
        &self,
        flow: &str,
        request: ReprocessRequest,
        actor: &str,
        tell: &Teller,
    ) -> Result<(), Problem> {
        let until = request.timeout_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
        let flow = self.engine.find_flow(flow).await?;
        let selection = self.selection(&flow, &request).await?;
        let trigger = match (&request.collection, request.datasets.len()) {
            (Some(collection), _) => format!("reprocess of collection {collection}"),
            (None, 0) => "reprocess".to_owned(),
            (None, 1) => format!("reprocess of dataset {}", request.datasets[0]),
            (None, number) => format!("reprocess of {number} datasets"),
        };
        let (begun, loaded) = self.engine.begin_reprocess(&flow, selection, &trigger, actor).await?;
        tell.send(Event::Started {
            run: begun.run.0,
            flow: loaded.plan.slug.clone(),
            name: loaded.plan.name.clone(),
            version: flow.version_hash.clone(),
            processors: processors(&loaded),
            resumed: Vec::new(),
        })
        .await;
        self.follow_until(begun.run, until, tell).await
    }

    /// What a reprocess would do.
    pub async fn foresee(&self, flow: &str, request: &ReprocessRequest) -> Result<ReprocessForeseen, Problem> {
        let flow = self.engine.find_flow(flow).await?;
        let selection = self.selection(&flow, request).await?;
        let plan = self.engine.plan_reprocess(&flow, &selection).await?;
        Ok(ReprocessForeseen { flow: flow.slug, version: flow.version_hash, plan })
    }

    async fn selection(&self, flow: &FlowRow, request: &ReprocessRequest) -> Result<Selection, Problem> {
        let mut origins = Vec::with_capacity(request.datasets.len());
        for id in &request.datasets {
            let row = self.dataset(id).await?;
            if row.flow != flow.slug {
                return Err(Problem::new(409, "other-flow", format!("dataset `{id}` is of the flow {}", row.flow))
                    .with_hint(format!("`opendmp reprocess {} {id}`", row.flow)));
            }
            origins.push(row.slot.origin);
        }
        if let Some(collection) = &request.collection {
            let known = self.engine.journal.collections(flow.space).await?;
            if !known.iter().any(|row| row.name == *collection) {
                return Err(Problem::new(404, "not-found", format!("there is no collection `{collection}`"))
                    .with_hint("`opendmp collections` lists them"));
            }
        }
        Ok(Selection { since: request.since, collection: request.collection.clone(), origins })
    }

    /// Runs that an earlier process left behind, oldest first, closed so that they can end: nobody feeds them any more,
    /// since this process holds the data directory. Of one flow, or of all.
    async fn interrupted(&self, flow: Option<&str>, but: Option<RunId>) -> Result<Vec<RunId>, Problem> {
        let flow = flow.map(str::to_owned);
        let filter = Filter { flow, runs: Some(RunsMeant::Running), limit: LOOK_BACK, ..Filter::default() };
        let page = self.engine.journal.runs(filter).await?;
        let mut left = Vec::new();
        for row in page.rows.iter().rev().filter(|row| Some(row.id) != but) {
            self.engine.journal.close_run(row.id, self.engine.clock.now()).await?;
            left.push(row.id);
        }
        Ok(left)
    }

    /// Feeds a run. Answers whether all was taken in before time ran out.
    async fn feed(
        &self,
        run: RunId,
        loaded: &Loaded,
        given: &[GivenFile],
        until: Option<Instant>,
        tell: &Teller,
        problems: &AtomicU64,
    ) -> Result<bool, Refusal> {
        let told = |event: RunEvent| match event {
            RunEvent::Problem { about, message, hint } if problems.fetch_add(1, Ordering::Relaxed) < MOST_PROBLEMS => {
                tell.now(Event::Problem { about, message, hint });
            }
            // No item is left out because of it, so it does not count among the problems.
            RunEvent::Waits { about, message, hint } => {
                let since = self.engine.clock.now();
                tell.now(Event::Trouble(Trouble { about, message, hint: Some(hint), since }));
            }
            _ => {}
        };
        let feed = self.engine.feed(run, loaded, given, &told);
        let fed = match until {
            None => feed.await.map(|()| true),
            Some(until) => match tokio::time::timeout_at(until.into(), feed).await {
                Ok(fed) => fed.map(|()| true),
                Err(_) => {
                    self.engine.close_run(run, loaded.flow.id).await?;
                    Ok(false)
                }
            },
        };
        tell.send(Event::Fed).await;
        fed
    }

    /// Does `meanwhile` and waits for the ends of runs; where no server does, works on them. The last run's numbers
    /// are told.
    async fn drive<T>(
        &self,
        runs: &[RunId],
        until: Option<Instant>,
        tell: &Teller,
        meanwhile: impl Future<Output = T>,
    ) -> Result<(Option<T>, RunEnd), Problem> {
        let live: Vec<Live> = match self.mode {
            Mode::Server => Vec::new(),
            Mode::Command => {
                runs.iter().map(|run| Live::start(Arc::clone(&self.engine), Scope::Run(*run), None)).collect()
            }
        };
        let told = |event: RunEvent| {
            if let RunEvent::Progress { processors } = event {
                tell.progress(processors);
            }
        };
        let silent = |_: RunEvent| {};
        let ends = async {
            let mut timed_out = false;
            let (last, before) =
                runs.split_last().ok_or_else(|| Problem::new(500, "no-run", "there is no run to follow"))?;
            let (_, out): (RunRow, bool) = self.engine.follow(*last, until, &told).await?;
            timed_out |= out;
            for run in before {
                timed_out |= self.engine.follow(*run, until, &silent).await?.1;
            }
            Ok::<bool, Problem>(timed_out)
        };
        let mut stopped = self.stop.subscribe();
        let result = tokio::select! {
            biased;
            (done, ended) = async { tokio::join!(meanwhile, ends) } => {
                ended.map(|timed_out| (Some(done), if timed_out { RunEnd::TimedOut } else { RunEnd::Done }))
            }
            _ = stopped.wait_for(|stop| *stop) => Ok((None, RunEnd::Interrupted)),
            () = self.tell_troubles(tell) => Ok((None, RunEnd::Interrupted)),
        };
        if let Ok((_, RunEnd::Interrupted)) = &result
            && let Some(run) = runs.last()
        {
            // Nobody feeds it any more; what it has taken in is finished by whoever comes next.
            self.engine.journal.close_run(*run, self.engine.clock.now()).await?;
        }
        for live in live {
            live.stop(self.patience(crate::GRACE)).await;
        }
        result
    }

    /// Tells what keeps the work from going on, each trouble once; never ends.
    async fn tell_troubles(&self, tell: &Teller) {
        let mut told = BTreeSet::new();
        loop {
            self.engine.clock.sleep(TROUBLES).await;
            for trouble in self.engine.troubles() {
                // Of a server's many flows it can't be told here whose trouble it is.
                let ours = self.mode == Mode::Command || trouble.is_central();
                if ours && told.insert((trouble.about.clone(), trouble.message.clone())) {
                    tell.now(Event::Trouble(trouble));
                }
            }
        }
    }

    /// Datasets that are looked for.
    pub async fn search(&self, mut search: Search) -> Result<journal::Found, Problem> {
        if self.mode == Mode::Command {
            // Nobody kept what is searched until now, and nobody will be there for a second try.
            search.wait = COMMAND_PATIENCE;
        }
        Ok(self.engine.journal.search(search).await?)
    }

    /// What a reference to a dataset may mean: its newest revisions.
    pub async fn find_datasets(&self, reference: &Reference) -> Result<Found<RevisionRow>, Problem> {
        let base = Filter {
            flow: reference.flow.as_deref().map(opendmp_model::document::slug),
            collection: reference.collection.clone(),
            ..Filter::default()
        };
        let mut found: Vec<RevisionRow> = Vec::new();
        if let Some(id) = reference.id() {
            let filter = Filter { id: Some(id), limit: CANDIDATES + 1, ..base.clone() };
            found = self.engine.journal.datasets(filter).await?.rows;
            // Nobody means a name with that; and names are looked for among all there are.
            if !found.is_empty() && reference.name.contains('-') {
                return Ok(few(found));
            }
        }
        let by_name = Filter { name: Some(reference.name.clone()), ..base.clone() };
        self.look(&mut found, by_name, |row| *row.item.name == *reference.name).await?;
        if found.is_empty() {
            // People also know a result by the file it was written to.
            let wanted = opendmp_model::name::to_bytes(&reference.name);
            self.look(&mut found, base, |row| exported_as(row, &wanted)).await?;
        }
        Ok(few(found))
    }

    /// Adds to `found` what a listing has of the datasets that are meant, until it is too many.
    async fn look(
        &self,
        found: &mut Vec<RevisionRow>,
        mut filter: Filter,
        meant: impl Fn(&RevisionRow) -> bool,
    ) -> Result<(), Problem> {
        filter.limit = 1_000;
        let mut looked_at = 0;
        while found.len() <= CANDIDATES && looked_at < MOST_LOOKED_AT {
            let page = self.engine.journal.datasets(filter.clone()).await?;
            looked_at += page.rows.len();
            for row in page.rows {
                if meant(&row) && !found.iter().any(|known| known.slot == row.slot) {
                    found.push(row);
                }
            }
            match page.next {
                Some(next) => filter.after = Some(next),
                None => break,
            }
        }
        Ok(())
    }

    /// The one dataset of that id, or of an unambiguous beginning of it.
    pub async fn dataset(&self, id: &str) -> Result<RevisionRow, Problem> {
        let parsed = id.parse().map_err(|error| Problem::new(400, "bad-id", format!("`{id}`: {error}")))?;
        let filter = Filter { id: Some(parsed), limit: 2, ..Filter::default() };
        let mut rows = self.engine.journal.datasets(filter).await?.rows;
        match (rows.pop(), rows.is_empty()) {
            (Some(row), true) => Ok(row),
            (Some(_), false) => Err(ambiguous("dataset", id)),
            (None, _) => Err(Problem::new(404, "not-found", format!("there is no dataset `{id}`"))
                .with_hint("`opendmp datasets list` shows them with their ids")),
        }
    }

    /// One revision of a dataset, the newest for `None`.
    pub async fn revision(&self, id: &str, revision: Option<u32>) -> Result<RevisionRow, Problem> {
        let newest = self.dataset(id).await?;
        let Some(number) = revision else { return Ok(newest) };
        let rows = self.engine.journal.revisions(newest.slot).await?;
        let count = rows.len();
        rows.into_iter().find(|row| row.revision == number).ok_or_else(|| {
            Problem::new(404, "not-found", format!("dataset `{id}` has no revision {number}"))
                .with_hint(format!("it has revisions 1 to {count}"))
        })
    }

    /// Refuses where the bytes of a revision were let go.
    pub(crate) fn is_there(&self, row: &RevisionRow) -> Result<(), Problem> {
        let Some(gone) = row.gone else { return Ok(()) };
        let message =
            format!("the content of revision {} of `{}` was let go at {}", row.revision, row.slot, time(gone));
        Err(Problem::new(410, "let-go", message)
            .with_hint("`retention` of its collect says what is kept; `opendmp items content` may make it again"))
    }

    /// Opens the bytes of a revision.
    pub async fn open(&self, row: &RevisionRow) -> Result<(Body, ContentHash), Problem> {
        self.is_there(row)?;
        let content = row.item.content;
        Ok((self.engine.content.open(&content).await?, content.hash))
    }

    /// What a reference to a dead letter may mean.
    pub async fn find_letters(&self, reference: &Reference) -> Result<Found<DeadRow>, Problem> {
        let id = reference.id().ok_or_else(|| {
            Problem::new(
                400,
                "bad-id",
                format!("`{}` is not the id of a dead letter: {}", reference.name, opendmp_model::ids::BadId),
            )
            .with_hint("`opendmp dead-letters list` shows them with their ids")
        })?;
        let filter = Filter { id: Some(id), ended: true, limit: CANDIDATES + 1, ..Filter::default() };
        let mut rows = self.engine.journal.dead_letters(filter).await?.rows;
        // An id without a pass names all passes; as it is shown it names the first.
        let shown = |row: &DeadRow| row.id.to_string().starts_with(&reference.name.to_ascii_lowercase());
        if rows.iter().any(shown) {
            rows.retain(shown);
        }
        Ok(few(rows))
    }

    /// The one dead letter of that id, or of an unambiguous beginning of it.
    pub async fn letter(&self, id: &str) -> Result<DeadRow, Problem> {
        let mut found = self.find_letters(&Reference { name: id.to_owned(), ..Reference::default() }).await?.rows;
        match (found.pop(), found.is_empty()) {
            (Some(row), true) => Ok(row),
            (Some(_), false) => Err(ambiguous("dead letter", id)),
            (None, _) => Err(Problem::new(404, "not-found", format!("there is no dead letter `{id}`"))
                .with_hint("`opendmp dead-letters list` shows them with their ids")),
        }
    }

    pub(crate) async fn open_letter(&self, id: &str) -> Result<DeadRow, Problem> {
        let row = self.letter(id).await?;
        match &row.state {
            DeadState::Open => Ok(row),
            DeadState::Retried { at, actor, .. } => Err(Problem::new(
                409,
                "letter-ended",
                format!("dead letter `{id}` was retried by {actor} at {}", time(*at)),
            )),
            DeadState::Discarded { at, actor, .. } => Err(Problem::new(
                409,
                "letter-ended",
                format!("dead letter `{id}` was discarded by {actor} at {}", time(*at)),
            )),
        }
    }

    /// Sends dead letters in again: a run for each flow, and for each 1,000 of them.
    pub async fn retry(&self, letters: Letters, actor: &str) -> Result<Vec<Retried>, Problem> {
        let mut retried: Vec<Retried> = Vec::new();
        let mut pages = self.pages(letters).await?;
        while let Some(page) = pages.next(self).await? {
            // Of an arrival that failed in several passes, one pass after the other, so that the newest comes last.
            let mut passes: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
            for id in page.iter().map(|row| row.item.id) {
                passes.entry(id.arrival).or_default().insert(id.pass);
            }
            let mut flows: BTreeMap<(FlowId, usize), Vec<DeadRow>> = BTreeMap::new();
            for row in page {
                let id = row.item.id;
                let earlier = passes.get(&id.arrival).map_or(0, |passes| passes.range(..id.pass).count());
                flows.entry((row.flow_id, earlier)).or_default().push(row);
            }
            for rows in flows.into_values() {
                let flow = rows[0].flow.clone();
                let (run, letters) = self.engine.retry(&rows, actor).await?;
                if letters > 0 {
                    retried.push(Retried { run: run.0, flow, letters });
                }
            }
        }
        Ok(retried)
    }

    /// Gives dead letters up; answers how many.
    pub async fn discard(&self, letters: Letters, actor: &str) -> Result<u64, Problem> {
        let reason = letters.reason.clone();
        let mut discarded = 0;
        let mut pages = self.pages(letters).await?;
        while let Some(page) = pages.next(self).await? {
            let ids = page.iter().map(|row| row.id).collect();
            discarded += self.engine.discard(ids, &reason, actor).await?;
        }
        Ok(discarded)
    }

    async fn pages(&self, letters: Letters) -> Result<Pages, Problem> {
        match letters.all {
            Some(listing) => {
                if let Some(flow) = &listing.flow {
                    // So that a misspelt name is told.
                    self.engine.find_flow(flow).await?;
                }
                let open = Listing { ended: false, limit: 1_000, after: None, ..listing };
                Ok(Pages::All(Box::new(open.of_letters()?), false))
            }
            None => {
                let mut rows: Vec<DeadRow> = Vec::with_capacity(letters.ids.len());
                for id in &letters.ids {
                    let row = self.open_letter(id).await?;
                    if !rows.iter().any(|known| known.id == row.id) {
                        rows.push(row);
                    }
                }
                Ok(Pages::These(rows))
            }
        }
    }

    /// Does something that tells events, beside the request that asked for it: it goes on when the asker leaves.
    pub(crate) fn spawn<F>(self: &Arc<Self>, work: impl FnOnce(Arc<Self>, Teller) -> F) -> mpsc::Receiver<Event>
    where
        F: Future<Output = Result<(), Problem>> + Send + 'static,
    {
        let (sender, events) = mpsc::channel(EVENTS);
        let tell = Teller(sender);
        let failed = tell.clone();
        let job = work(Arc::clone(self), tell);
        let mut jobs = lock(&self.jobs);
        while jobs.try_join_next().is_some() {}
        let job = async move {
            if let Err(problem) = job.await {
                let problem = problem.of_present_request();
                tracing::debug!(code = problem.code, "{problem}");
                failed.send(Event::Failed(problem)).await;
            }
        };
        let job = request::within(request::present(), job).in_current_span();
        match self.runtime.get() {
            Some(runtime) => jobs.spawn_on(job, runtime),
            None => jobs.spawn(job),
        };
        events
    }
}

fn ambiguous(what: &str, id: &str) -> Problem {
    Problem::new(409, "ambiguous", format!("`{id}` is the beginning of more than one {what}'s id"))
        .with_hint("write more of it")
}

/// Whether a revision was written to a file of this name, or of this path in its destination.
fn exported_as(row: &RevisionRow, wanted: &[u8]) -> bool {
    let Some((_, target)) = &row.target else { return false };
    target == wanted || target.rsplit(|byte| *byte == b'/').next() == Some(wanted)
}

fn few<T>(mut rows: Vec<T>) -> Found<T> {
    let more = rows.len() > CANDIDATES;
    rows.truncate(CANDIDATES);
    Found { rows, more }
}

/// Dead letters, a bounded number at a time.
enum Pages {
    These(Vec<DeadRow>),
    /// Where to go on, and whether the end was reached.
    All(Box<Filter>, bool),
}

impl Pages {
    async fn next(&mut self, service: &Service) -> Result<Option<Vec<DeadRow>>, Problem> {
        match self {
            Self::These(rows) => {
                let rows = std::mem::take(rows);
                Ok((!rows.is_empty()).then_some(rows))
            }
            Self::All(_, true) => Ok(None),
            Self::All(filter, ended) => {
                let page = service.engine.journal.dead_letters(Filter::clone(filter)).await?;
                *ended = page.next.is_none();
                filter.after = page.next;
                Ok(Some(page.rows.into_iter().filter(|row| row.state == DeadState::Open).collect()))
            }
        }
    }
}

/// Tells events to whoever asked, if he still listens.
#[derive(Clone)]
pub struct Teller(mpsc::Sender<Event>);

impl Teller {
    /// Waits for room.
    pub(crate) async fn send(&self, event: Event) {
        // He has left.
        let _ = self.0.send(event).await;
    }

    /// Tells it if there is room.
    pub(crate) fn now(&self, event: Event) {
        let _ = self.0.try_send(event);
    }

    fn progress_of_work(&self) -> Progress {
        let tell = self.clone();
        Arc::new(move |line: &str| tell.now(Event::Preparing { message: line.to_owned() }))
    }

    fn progress(&self, processors: BTreeMap<String, opendmp_ports::transport::StepCounts>) {
        self.number(Event::Progress { processors });
    }

    /// Tells numbers that later ones replace.
    pub(crate) fn number(&self, event: Event) {
        if self.0.capacity() > EVENTS / 2 {
            self.now(event);
        }
    }
}
