//! The sources of enabled flows: which are looked at, and when. A source is looked through once when its flow starts,
//! then at what its folder's watcher tells, and slowly again now and then for what nobody told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use opendmp_model::fault::{Fault, FaultKind};
use opendmp_ports::journal::{DEFAULT_SPACE, FlowId, FlowRow, FlowState, VersionId};
use opendmp_ports::transport::Hint;
use opendmp_processor::WatchRequest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::Instrument;

use crate::health::WATCHER_HINT;
use crate::ingest::identity;
use crate::live::{complain, pause};
use crate::loaded::run_blocking;
use crate::retry::{Cause, Policy, Waits, port_fault};
use crate::space::Shortage;
use crate::watch::{Folders, News, Told, Unwatchable, Watching};
use crate::{At, Engine, ScanReport, spans};

/// How often flows are compared with what is running although nothing was hinted at, and how long after a source was
/// looked through that begins again.
const RECONCILE: Duration = Duration::from_secs(30);

/// How many sources are looked through at once when their flows start.
const AT_ONCE: usize = 2;

/// How many times as long as a part of a slow look took nobody goes on with one. A look goes through several threads,
/// whose waking takes as much of a processor as the look itself: with this, the slow looks of all sources together take
/// about half a hundredth of a core.
const REST: u32 = 399;

/// The same for sources whose changes are told only by looking.
const REST_UNTOLD: u32 = 4;

/// How long names are gathered where one look follows the other.
const GATHER: Duration = Duration::from_millis(1);

/// How long a flow that has enough to do takes nothing in.
const FULL: Duration = Duration::from_millis(100);

/// How long a source that can't be looked at is left alone.
const BROKEN: Duration = Duration::from_secs(2);

/// How many flows are made ready for work that is not there yet: those that changed last.
const READY: usize = 8;

/// One ingest that is being looked at.
struct Watched {
    /// What its health issues are about.
    about: String,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What all sources share.
struct Common {
    engine: Arc<Engine>,
    watcher: Option<Arc<Folders>>,
    turns: Turns,
}

/// Who may look at everything: of those that start, of those that are watched, and of those that are not.
struct Turns {
    first: Arc<Semaphore>,
    slow: Arc<Semaphore>,
    untold: Arc<Semaphore>,
}

/// The right to look at everything.
struct Turn {
    permit: OwnedSemaphorePermit,
    /// How many times as long as the look took nobody has the next turn of its sort.
    rest: u32,
}

impl Turns {
    fn new() -> Self {
        let one = || Arc::new(Semaphore::new(1));
        Self { first: Arc::new(Semaphore::new(AT_ONCE)), slow: one(), untold: one() }
    }

    fn of(&self, slowly: bool, untold: bool) -> (&Arc<Semaphore>, u32) {
        match (slowly, untold) {
            (false, _) => (&self.first, 0),
            (true, false) => (&self.slow, REST),
            (true, true) => (&self.untold, REST_UNTOLD),
        }
    }

    fn at_once(&self, slowly: bool, untold: bool) -> Option<Turn> {
        let (permits, rest) = self.of(slowly, untold);
        Arc::clone(permits).try_acquire_owned().ok().map(|permit| Turn { permit, rest })
    }

    async fn take(&self, slowly: bool, untold: bool) -> Option<Turn> {
        let (permits, rest) = self.of(slowly, untold);
        // They are never closed.
        Arc::clone(permits).acquire_owned().await.ok().map(|permit| Turn { permit, rest })
    }
}

impl Turn {
    /// Leaves it to the next one: at once, or after the rest that looks without haste make up for their time with.
    fn end(self, took: Duration) {
        if self.rest > 0 {
            tokio::spawn(async move {
                tokio::time::sleep(took * self.rest).await;
                drop(self.permit);
            });
        }
    }
}

/// Which ingest of which version, and where its paths begin.
type Key = (FlowId, VersionId, String, String);

/// How often the flows were compared with the sources that are looked at, and how often that came to its end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rounds {
    begun: u64,
    done: u64,
    /// Nobody compares any more.
    over: bool,
}

/// How long who changed a flow waits until its sources are those of the change.
const TURN: Duration = Duration::from_secs(5);

impl Engine {
    /// Tells of a changed flow, and waits until what was looked at before is let go: what comes after that is taken in by
    /// the flow as it is now, or not at all. Where nobody looks at sources, that is so already.
    pub(crate) async fn turn_sources(&self, flow: FlowId) {
        let mut rounds = self.rounds.subscribe();
        let Rounds { begun, over, .. } = *rounds.borrow();
        self.transport.send(Hint::Flow(flow));
        // One that has begun may have read the flow as it was.
        if begun > 0 && !over {
            let turned = rounds.wait_for(|rounds| rounds.done > begun || rounds.over);
            // It is done all the same, a little later.
            let _ = tokio::time::timeout(TURN, turned).await;
        }
    }
}

/// Starts and ends the sources of flows as they are enabled, changed, disabled and deleted.
pub(crate) async fn flows(engine: Arc<Engine>, watcher: Option<Arc<Folders>>, mut stopped: watch::Receiver<bool>) {
    let mut listener = engine.transport.listen();
    let common = Arc::new(Common { engine: Arc::clone(&engine), watcher, turns: Turns::new() });
    let mut ready = BTreeSet::new();
    let mut watched: BTreeMap<Key, Watched> = BTreeMap::new();
    let mut waits = Waits::new(Policy::PORT, "flows");
    while !*stopped.borrow() {
        engine.rounds.send_modify(|rounds| rounds.begun += 1);
        match engine.journal.flows(DEFAULT_SPACE).await {
            Ok(rows) => {
                waits.reset();
                let enabled: Vec<&FlowRow> = rows.iter().filter(|row| row.state == FlowState::Enabled).collect();
                make_ready(&engine, &enabled, &mut ready);
                let mut wanted: BTreeSet<Key> = BTreeSet::new();
                engine.withdraw_idle(&rows);
                for row in enabled {
                    if *stopped.borrow() {
                        break;
                    }
                    let about = format!("flow {}", row.slug);
                    match engine.load(row.version).await {
                        Ok(loaded) => {
                            engine.clear_trouble(&about);
                            for node in loaded.ingests() {
                                let key = (row.id, row.version, row.base.clone(), node.id.to_string());
                                // Begun at once: with many flows, the first need not wait for the last.
                                if !watched.contains_key(&key) {
                                    watched.insert(key.clone(), Watched::begin(&common, &row.slug, &key));
                                }
                                wanted.insert(key);
                            }
                        }
                        Err(error) => engine.trouble(&about, &error.to_string(), error.hint.as_deref()),
                    }
                }
                let gone: Vec<Key> = watched.keys().filter(|key| !wanted.contains(*key)).cloned().collect();
                for key in gone {
                    let Some(old) = watched.remove(&key) else { continue };
                    let about = old.about.clone();
                    old.end().await;
                    // Where another version has that ingest, it says itself what is wrong.
                    if !watched.values().any(|other| other.about == about) {
                        engine.withdraw_troubles(|other| other == about || other == unwatched(&about));
                    }
                }
                engine.unload(&rows).await;
            }
            Err(error) => complain(&engine, &mut waits, &error).await,
        }
        engine.rounds.send_modify(|rounds| rounds.done = rounds.begun);
        pause(&mut *listener, &mut stopped, RECONCILE, |hint| matches!(hint, Hint::Flow(_))).await;
    }
    engine.rounds.send_modify(|rounds| rounds.over = true);
    for old in watched.into_values() {
        old.end().await;
    }
}

/// Makes the flows that changed last ready for work, each once. The others are made ready by their first item.
fn make_ready(engine: &Arc<Engine>, enabled: &[&FlowRow], ready: &mut BTreeSet<(VersionId, String)>) {
    let mut latest = enabled.to_vec();
    latest.sort_by_key(|row| std::cmp::Reverse((row.changed, row.id)));
    latest.truncate(READY);
    ready.retain(|(version, base)| enabled.iter().any(|row| row.version == *version && row.base == *base));
    for row in latest {
        if ready.insert((row.version, row.base.clone())) {
            let (version, engine) = (row.version, Arc::clone(engine));
            tokio::spawn(async move {
                // What can't be opened is told by those who look at its sources.
                if let Ok(loaded) = engine.load(version).await {
                    loaded.warm(&engine).await;
                }
            });
        }
    }
}

impl Watched {
    fn begin(common: &Arc<Common>, flow: &str, (_, version, _, processor): &Key) -> Self {
        let (stop, ended) = watch::channel(false);
        let source = SourceLoop::new(common, *version, flow, processor);
        let span = spans::source(flow, processor);
        Self { about: source.about.clone(), stop, task: tokio::spawn(source.run(ended).instrument(span)) }
    }

    async fn end(self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

/// What the health issue of an ingest is about whose folder can't be watched.
fn unwatched(about: &str) -> String {
    format!("{about}, watcher")
}

/// Looks at one source for as long as its flow is enabled.
struct SourceLoop {
    common: Arc<Common>,
    version: VersionId,
    processor: String,
    about: String,
    told: Arc<Told>,
    watching: Option<Watching>,
    /// Why it is not watched, and how often all of it was looked at without.
    unwatched: Option<(Unwatchable, u32)>,
    /// Names that were told and not yet looked at.
    names: Vec<Vec<u8>>,
    /// When names are to be looked at again. This and the next are by a clock that nobody can set back.
    again: Option<Instant>,
    /// Until when nothing is taken in, because the flow has enough to do.
    full: Option<Instant>,
    /// When everything is to be looked at.
    everything: Instant,
    /// Whether that has time: it was looked at before, and nothing says that anything was missed.
    slowly: bool,
    /// Whether names were looked at last, so that it is the other's turn.
    turn: bool,
    /// Whether changes are told only by looking.
    untold: bool,
    /// Whether it was said that the folder is on a network file system.
    remote: bool,
    room: Room,
    /// The waits after scans that failed.
    waits: Waits,
    /// What was wrong with its place when it was looked at last; at the start, that it was not looked at.
    place: Option<String>,
}

/// What is to be done next.
enum Next {
    Names,
    Everything(Turn),
    Wait,
}

impl SourceLoop {
    fn new(common: &Arc<Common>, version: VersionId, flow: &str, processor: &str) -> Self {
        let about = format!("flow {flow}, ingest {processor}");
        Self {
            common: Arc::clone(common),
            version,
            processor: processor.to_owned(),
            waits: Waits::new(Policy::SOURCE, &about),
            about,
            told: Arc::default(),
            watching: None,
            unwatched: None,
            names: Vec::new(),
            again: None,
            full: None,
            everything: Instant::now(),
            slowly: false,
            turn: false,
            untold: false,
            remote: false,
            room: Room::default(),
            place: Some(String::new()),
        }
    }

    async fn run(mut self, mut ended: watch::Receiver<bool>) {
        let mut looked: Option<Instant> = None;
        while !*ended.borrow() {
            if looked.is_some_and(|at| at.elapsed() < GATHER) {
                tokio::time::sleep(GATHER).await;
            }
            self.listen();
            match self.next(&mut ended).await {
                Next::Wait => {}
                Next::Names => {
                    let names = std::mem::take(&mut self.names);
                    self.again = None;
                    self.look(At::Names(names)).await;
                    looked = Some(Instant::now());
                }
                Next::Everything(turn) => {
                    let began = Instant::now();
                    self.watch().await;
                    self.look(At::Everything).await;
                    turn.end(began.elapsed());
                }
            }
        }
        if let (Some(watcher), Some(watching)) = (&self.common.watcher, &self.watching) {
            watcher.unwatch(watching, &self.told);
        }
        self.common.engine.clear_trouble(&its_place(&self.about));
    }

    /// Takes note of what the watcher told.
    fn listen(&mut self) {
        // While the flow has enough to do, it waits with the watcher, which has bounds.
        if !self.names.is_empty() {
            return;
        }
        let News { names, everything, gone, .. } = self.told.take();
        self.names.extend(names);
        if gone {
            self.unwatch();
        }
        if everything {
            (self.everything, self.slowly) = (Instant::now(), false);
        }
    }

    /// What is to be done, once there is something to do.
    async fn next(&mut self, ended: &mut watch::Receiver<bool>) -> Next {
        let now = Instant::now();
        self.full = self.full.filter(|at| *at > now);
        if let Some(full) = self.full {
            tokio::select! {
                _ = ended.changed() => {}
                () = tokio::time::sleep_until(full) => {}
            }
            return Next::Wait;
        }
        let turns = &self.common.turns;
        if std::mem::take(&mut self.turn)
            && self.everything <= Instant::now()
            && let Some(turn) = turns.at_once(self.slowly, self.untold)
        {
            return Next::Everything(turn);
        }
        if !self.names.is_empty() || self.again.is_some_and(|at| at <= now) {
            self.turn = true;
            return Next::Names;
        }
        let due = async {
            tokio::time::sleep_until(self.everything).await;
            turns.take(self.slowly, self.untold).await
        };
        tokio::select! {
            biased;
            _ = ended.changed() => Next::Wait,
            () = self.told.changed() => Next::Wait,
            turn = due => turn.map_or(Next::Wait, Next::Everything),
            () = tokio::time::sleep_until(self.again.unwrap_or(now + RECONCILE)) => Next::Wait,
        }
    }

    /// Begins to watch the folder, before everything is looked at: what changes from then on is told.
    async fn watch(&mut self) {
        let Some(request) = self.request().await else { return };
        let Some(watcher) = self.common.watcher.clone() else {
            self.untold = true;
            return;
        };
        let (told, asked, before) = (Arc::clone(&self.told), request.clone(), self.watching.take());
        // Beside the runtime: a file system may be slow to answer, and sub-folders are gone through one by one.
        let watched = run_blocking(move || match before {
            Some(watching) if !watching.is_stale() => Ok(watching),
            before => {
                before.iter().for_each(|watching| watcher.unwatch(watching, &told));
                watcher.watch(&asked, &told)
            }
        });
        match watched.await.unwrap_or_else(|error| Err(Unwatchable { message: error.to_string(), hint: WATCHER_HINT }))
        {
            Ok(watching) => {
                (self.watching, self.unwatched) = (Some(watching), None);
                self.common.engine.clear_trouble(&unwatched(&self.about));
            }
            Err(why) => {
                let looks = self.unwatched.take().map_or(0, |(_, looks)| looks);
                self.unwatched = Some((why, looks));
            }
        }
        if request.remote && !std::mem::replace(&mut self.remote, true) {
            let (folder, seconds) = (request.folder.display(), RECONCILE.as_secs());
            tracing::info!(%folder, "the folder is on a network file system, which does not tell of what other machines change: it is scanned every {seconds} s");
        }
        self.untold = request.remote || self.watching.is_none();
    }

    async fn request(&self) -> Option<WatchRequest> {
        let loaded = self.common.engine.load(self.version).await.ok()?;
        let source = loaded.node(&self.processor)?.source(&self.common.engine).await.ok()?;
        source.watch()
    }

    fn unwatch(&mut self) {
        if let (Some(watcher), Some(watching)) = (&self.common.watcher, self.watching.take()) {
            watcher.unwatch(&watching, &self.told);
        }
    }

    /// Looks, and works out when to look again.
    async fn look(&mut self, at: At) {
        let now = self.common.engine.clock.now();
        let after = |at: i64| Instant::now() + Duration::from_millis(at.saturating_sub(now).max(0) as u64);
        let all = at == At::Everything;
        match look(&self.common.engine, self.version, &self.processor, &self.about, &mut self.room, at).await {
            Ok(Look::Full(at)) => {
                self.full = Some(Instant::now() + FULL);
                if let At::Names(names) = at {
                    self.names = names;
                    self.again = self.full;
                }
            }
            Ok(Look::Saw(report)) => {
                let place = report.issues.first().map(|issue| issue.message.clone());
                if self.place.is_some() && self.place != place {
                    // Something of what was away may be there again.
                    self.retry_releases().await;
                }
                self.place = place;
                let retried = match report.not_stored {
                    false => {
                        self.waits.reset();
                        None
                    }
                    // Not at once: what could not be stored is read, or moved, each time.
                    true => Some(Instant::now() + self.waits.next(Cause::TRANSIENT)),
                };
                self.again = report.again.map(|again| {
                    let again = after(again);
                    retried.map_or(again, |retried| again.max(retried))
                });
                if !report.complete && report.again.is_none() && report.everything.is_none() {
                    self.again = Some(Instant::now() + if report.arrived > 0 { Duration::ZERO } else { FULL });
                }
                match report.everything {
                    // A long look goes on.
                    Some(at) if all => self.everything = after(at),
                    None if all => (self.everything, self.slowly) = (Instant::now() + RECONCILE, true),
                    Some(at) => (self.everything, self.slowly) = (self.everything.min(after(at)), false),
                    None => {}
                }
                if let Some((Unwatchable { message, hint }, looks)) = self.unwatched.as_mut().filter(|_| all) {
                    *looks = looks.saturating_add(1);
                    if *looks == 1 {
                        // Perhaps the folder was made just now: once more, soon.
                        (self.everything, self.slowly) = (self.everything.min(Instant::now() + BROKEN), false);
                    } else {
                        let message = format!("{message}: the folder is scanned now and then instead");
                        self.common.engine.trouble(&unwatched(&self.about), &message, Some(hint));
                    }
                }
            }
            // What was told is not known any more.
            Err(cause) => {
                self.place.get_or_insert_default();
                let wait = self.waits.next(cause);
                (self.everything, self.slowly) = (Instant::now() + wait, false);
                if let Some((_, looks)) = &mut self.unwatched {
                    *looks = 0;
                }
            }
        }
    }
}

impl SourceLoop {
    /// Has releases tried again now that failed while the source was away, however long they were to wait.
    async fn retry_releases(&self) {
        let engine = &self.common.engine;
        match engine.retry_releases(self.version, &self.processor).await {
            Ok(0) => {}
            Ok(_) => engine.transport.send(Hint::Intents),
            // They are tried again all the same, later.
            Err(fault) => tracing::debug!(%fault, "releases that wait are not hastened"),
        }
    }
}

impl Engine {
    async fn retry_releases(&self, version: VersionId, processor: &str) -> Result<u64, Fault> {
        let loaded = self.load(version).await.map_err(port_fault)?;
        let node = loaded.node(processor).ok_or_else(|| no_processor(processor))?;
        let source = node.source(self).await?;
        let id = self.source_id(&loaded.flow, &identity(&loaded, node, &*source)).await.map_err(port_fault)?;
        self.journal.retry_releases(id, self.clock.now()).await.map_err(port_fault)
    }
}

fn no_processor(id: &str) -> Fault {
    Fault::new(FaultKind::Failed, "no-processor", format!("this version of the flow has no processor `{id}`"))
}

enum Look {
    Saw(ScanReport),
    /// The flow has enough to do: nothing was looked at.
    Full(At),
}

/// What a source may still take in before anybody asks again whether its flow has too much to do.
#[derive(Default)]
struct Room {
    asked: Option<Instant>,
    arrived: u64,
    /// When it was checked last whether the flow would take its own results in.
    checked: Option<Instant>,
}

impl Room {
    /// So many items later, or so much time, it is asked again.
    const ITEMS: u64 = 1_000;
    const TIME: Duration = Duration::from_millis(200);
    /// How often the folders of the flow are checked.
    const CHECK: Duration = Duration::from_secs(1);

    fn is_known(&self) -> bool {
        self.arrived < Self::ITEMS && self.asked.is_some_and(|asked| asked.elapsed() < Self::TIME)
    }
}

/// Under what the health says what is wrong with the place that a source reads, apart from what is in it.
fn its_place(about: &str) -> String {
    format!("{about}: its folder")
}

async fn look(
    engine: &Engine,
    version: VersionId,
    processor: &str,
    about: &str,
    room: &mut Room,
    at: At,
) -> Result<Look, Cause> {
    let tell = |message: &str, hint: Option<&str>| engine.trouble(about, message, hint);
    let failed = |fault: Fault| {
        tell(&fault.message, fault.hint.as_deref());
        Cause::from(&fault)
    };
    let loaded = engine.load(version).await.map_err(port_fault).map_err(failed)?;
    let node = loaded.node(processor).ok_or_else(|| failed(no_processor(processor)))?;
    if room.checked.is_none_or(|checked| checked.elapsed() >= Room::CHECK) {
        engine.may_take_in(&loaded).await.map_err(failed)?;
        room.checked = Some(Instant::now());
    }
    if !room.is_known() {
        *room = Room { checked: room.checked, ..Room::default() };
        if let Some(reason) = engine.holds_back(loaded.flow.id).await {
            if let Some(Shortage { message, hint }) = reason {
                tell(&message, Some(hint));
            }
            return Ok(Look::Full(at));
        }
        room.asked = Some(Instant::now());
    }
    let report = engine.ingest_at(&loaded, node, None, at).await;
    let report = report.map_err(failed)?;
    room.arrived += report.arrived;
    match report.issues.first() {
        Some(issue) => engine.trouble(&its_place(about), &issue.message, issue.hint.as_deref()),
        None => engine.clear_trouble(&its_place(about)),
    }
    match (report.problems.first(), &report.shortage) {
        (Some((path, problem)), _) => {
            tell(&format!("{}: {}", opendmp_model::name::printable(path), problem.message), problem.hint.as_deref());
        }
        (None, Some(Shortage { message, hint })) => tell(message, Some(hint)),
        (None, None) => engine.clear_trouble(about),
    }
    Ok(Look::Saw(report))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_looks_without_haste_make_up_for_their_time() {
        let (turns, took) = (Turns::new(), Duration::from_secs(1));
        // A source that starts never waits for the rest of one that has started.
        for _ in 0..3 {
            let both = [turns.at_once(false, false).unwrap(), turns.at_once(false, false).unwrap()];
            assert!(turns.at_once(false, false).is_none(), "but for those that are at it");
            both.into_iter().for_each(|turn| turn.end(took));
        }
        for (untold, rest) in [(false, REST), (true, REST_UNTOLD)] {
            turns.at_once(true, untold).unwrap().end(took);
            let begun = Instant::now();
            turns.take(true, untold).await.unwrap().end(Duration::ZERO);
            assert_eq!(begun.elapsed().as_secs(), u64::from(rest));
        }
    }
}
