//! What keeps an engine going by itself: claims tasks as there is room, carries intents out, and sweeps now and then for
//! what a lost hint left. The sources of enabled flows are looked at by `sources`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opendmp_model::ids::TaskId;

use opendmp_ports::journal::{ClaimRequest, Claimed, DEFAULT_SPACE, FlowId, RunId};
use opendmp_ports::transport::Hint;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::Engine;
use crate::engine::lock;
use crate::execute::{INTENTS_OF_ONE, Takes, Went};
use crate::issues::DISK;
use crate::outside::Outside;
use crate::retry::{Cause, Policy, Waits};
use crate::sources::flows;
use crate::space::Shortage;
use crate::watch::Folders;

/// How long a sweep may be late in finding what a lost hint left.
const SWEEP: Duration = Duration::from_secs(5);

/// How late something that waits for its time may be begun.
const BRIEF: Duration = Duration::from_millis(20);

/// How long everything else waits for an item with which a worker was lost before.
const ALONE: Duration = Duration::from_secs(5);

/// How long work waits at the start for flows to be made ready.
const WARM_UP: Duration = Duration::from_secs(2);

/// How often results that are remembered for too long are looked for.
const FORGET: Duration = Duration::from_secs(600);

/// How long nothing is taken in for a flow that has enough to do.
const FULL: Duration = Duration::from_millis(100);

/// How many suspects that were handed back are remembered.
const MAX_RETURNED: usize = 100;
/// How often the disks are looked at while there is work.
const DISKS_BUSY: Duration = Duration::from_millis(100);
/// The same while one of them may soon be full: a step that fills one up has mostly removed its files when it says so.
const DISKS_NEAR: Duration = Duration::from_millis(10);

/// How long one worker goes on with what follows from what it did.
const GO_ON: Duration = Duration::from_secs(1);

/// What the health issues of a reprocess are about, before the number of its run.
const REPROCESS: &str = "reprocess in run ";

/// What a live engine works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All flows, their sources included.
    All,
    /// The tasks of one run, whose sources its caller looks at.
    Run(RunId),
}

/// A live engine. Dropping it stops nothing; call [`Live::stop`].
pub struct Live {
    engine: Arc<Engine>,
    stop: watch::Sender<bool>,
    loops: Vec<JoinHandle<()>>,
    in_work: Arc<InWork>,
    outside: Outside,
}

/// The tasks that are claimed and not settled yet, with their flows.
#[derive(Debug, Default)]
struct InWork {
    tasks: Mutex<BTreeMap<TaskId, FlowId>>,
    /// Told of each task that begins.
    begun: Notify,
}

impl InWork {
    fn tasks(&self) -> std::sync::MutexGuard<'_, BTreeMap<TaskId, FlowId>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, task: TaskId, flow: FlowId) {
        self.tasks().insert(task, flow);
        self.begun.notify_one();
    }

    fn has_of(&self, flow: FlowId) -> bool {
        self.tasks().values().any(|of| *of == flow)
    }
}

impl Live {
    /// Starts to work.
    pub fn start(engine: Arc<Engine>, scope: Scope, watcher: Option<Arc<Folders>>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let in_work = Arc::<InWork>::default();
        let (outside, gathered) = Outside::new(Arc::clone(&engine));
        let workers = Workers {
            engine: Arc::clone(&engine),
            scope,
            in_work: Arc::clone(&in_work),
            outside: outside.clone(),
            handed_back: Arc::new(Mutex::new(Waits::new(Policy::PORT, "work"))),
            stopped: stopped.clone(),
        };
        let mut loops = vec![
            tokio::spawn(tasks(workers)),
            tokio::spawn(intents(Arc::clone(&engine), outside.clone(), stopped.clone())),
            tokio::spawn(Outside::gather(Arc::clone(&engine), gathered, stopped.clone())),
            tokio::spawn(reprocesses(Arc::clone(&engine), scope, stopped.clone())),
            tokio::spawn(Arc::clone(&engine).watch_clock(stopped.clone())),
            tokio::spawn(watch_disks(Arc::clone(&engine), Arc::clone(&in_work), stopped.clone())),
        ];
        if scope == Scope::All {
            loops.push(tokio::spawn(Arc::clone(&engine).keep_clean(stopped.clone())));
            loops.push(tokio::spawn(Arc::clone(&engine).watch_health(watcher.clone(), stopped.clone())));
            loops.push(tokio::spawn(Arc::clone(&engine).watch_storage(stopped.clone())));
            loops.push(tokio::spawn(flows(Arc::clone(&engine), watcher, stopped)));
        }
        Self { engine, stop, loops, in_work, outside }
    }

    /// Tasks in work now.
    pub fn in_work(&self) -> usize {
        self.in_work.tasks().len()
    }

    /// Claims nothing more, lets what is in work finish until `grace` ends, then hands the rest back unharmed.
    pub async fn stop(self, grace: impl Future<Output = ()>) {
        let _ = self.stop.send(true);
        let aborts: Vec<_> = self.loops.iter().map(JoinHandle::abort_handle).collect();
        let outside = self.outside.clone();
        let ended = async {
            futures::future::join_all(self.loops).await;
            outside.ended().await;
        };
        tokio::pin!(ended);
        tokio::select! {
            biased;
            _ = &mut ended => {}
            () = grace => {
                aborts.iter().for_each(tokio::task::AbortHandle::abort);
                self.outside.abort();
                ended.await;
            }
        }
        // What was broken off is nobody's fault: left claimed, it would count as lost with this process.
        let left: Vec<TaskId> = std::mem::take(&mut *self.in_work.tasks()).into_keys().collect();
        if !left.is_empty()
            && let Err(error) = self.engine.journal.unclaim(self.engine.lease, left).await
        {
            tracing::warn!(%error, "what was in work could not be handed back");
        }
        self.engine.close().await;
    }
}

/// Waits for a hint that matters, for `wait`, or for the stop. Answers whether there was a hint.
pub(crate) async fn pause(
    listener: &mut dyn opendmp_ports::transport::Listener,
    stopped: &mut watch::Receiver<bool>,
    wait: Duration,
    wanted: fn(&Hint) -> bool,
) -> bool {
    let hint = async {
        loop {
            match listener.next().await {
                Some(hint) if !wanted(&hint) => {}
                Some(_) | None => break,
            }
        }
    };
    tokio::select! {
        () = hint => true,
        () = tokio::time::sleep(wait) => false,
        _ = stopped.changed() => false,
    }
}

/// Waits for something to do: a hint, or a time that comes. Answers whether there was a hint.
async fn idle(
    engine: &Engine,
    listener: &mut dyn opendmp_ports::transport::Listener,
    stopped: &mut watch::Receiver<bool>,
    wanted: fn(&Hint) -> bool,
) -> bool {
    // Where there is work, a hint mostly comes before anybody has had to ask when the next time comes.
    if pause(listener, stopped, BRIEF, wanted).await {
        return true;
    }
    if *stopped.borrow() {
        return false;
    }
    let wait = until_due(engine).await;
    pause(listener, stopped, wait, wanted).await
}

/// How long until something becomes due, at most [`SWEEP`].
async fn until_due(engine: &Engine) -> Duration {
    match engine.journal.backlog(None).await {
        Ok(backlog) => match backlog.due {
            Some(due) => Duration::from_millis(due.saturating_sub(engine.clock.now()).max(1) as u64).min(SWEEP),
            None => SWEEP,
        },
        Err(_) => Duration::from_secs(1),
    }
}

/// What those who work on tasks share.
#[derive(Clone)]
struct Workers {
    engine: Arc<Engine>,
    scope: Scope,
    in_work: Arc<InWork>,
    outside: Outside,
    /// The waits after tasks that had to be handed back.
    handed_back: Arc<Mutex<Waits>>,
    stopped: watch::Receiver<bool>,
}

/// Claims tasks as there is room and works on them.
async fn tasks(workers: Workers) {
    let Workers { engine, scope, in_work, mut stopped, .. } = workers.clone();
    let mut listener = engine.transport.listen();
    // Each answers the task that it handed back, if it could not be worked on.
    let mut running: JoinSet<Option<TaskId>> = JoinSet::new();
    let run = match scope {
        Scope::All => None,
        Scope::Run(run) => Some(run),
    };
    let request = |limit, suspects| ClaimRequest {
        lease: engine.lease,
        now: engine.clock.now(),
        limit,
        suspects,
        run,
        idle: false,
    };
    let mut waits = Waits::new(Policy::PORT, "tasks");
    let mut looked_for_idle = tokio::time::Instant::now();
    let mut heard = false;
    let start = |running: &mut JoinSet<Option<TaskId>>, claimed: Claimed, goes_on: bool| {
        in_work.begin(claimed.task.id, claimed.flow);
        running.spawn(work(workers.clone(), claimed, goes_on));
    };
    warm_up(&engine).await;
    let mut look_for_suspects = true;
    // Suspects that were handed back. They stay the first in the queue, and must hold up nothing else: they are left out until
    // suspects are looked for again.
    let mut returned: BTreeSet<TaskId> = BTreeSet::new();
    let mut looked_for_suspects = tokio::time::Instant::now();
    while !*stopped.borrow() {
        while running.try_join_next().is_some() {}
        if engine.space.is_low() {
            tokio::select! {
                () = tokio::time::sleep(DISKS_BUSY) => {}
                _ = stopped.changed() => {}
            }
            continue;
        }
        if look_for_suspects && running.is_empty() {
            looked_for_suspects = tokio::time::Instant::now();
            match engine.journal.claim(request(1 + returned.len(), true)).await {
                Ok(claimed) => {
                    let (mut next, mut back) = (None, Vec::new());
                    for one in claimed {
                        match next {
                            None if !returned.contains(&one.task.id) => next = Some(one),
                            _ => back.push(one.task.id),
                        }
                    }
                    if !back.is_empty()
                        && let Err(error) = engine.journal.unclaim(engine.lease, back).await
                    {
                        complain(&engine, &mut waits, &error).await;
                    }
                    match next {
                        Some(one) => {
                            start(&mut running, one, false);
                            if let Ok(Some(Ok(Some(task)))) = tokio::time::timeout(ALONE, running.join_next()).await {
                                returned.insert(task);
                            }
                            if returned.len() < MAX_RETURNED {
                                continue;
                            }
                            (look_for_suspects, returned) = (false, BTreeSet::new());
                        }
                        None => {
                            look_for_suspects = false;
                            returned.clear();
                        }
                    }
                }
                Err(error) => complain(&engine, &mut waits, &error).await,
            }
        }
        let room = engine.options.tasks.saturating_sub(running.len());
        let mut found = false;
        if room > 0 {
            match engine.journal.claim(request(room, false)).await {
                Ok(claimed) => {
                    engine.clear_trouble("queue");
                    waits.reset();
                    found = !claimed.is_empty();
                    claimed.into_iter().for_each(|claimed| start(&mut running, claimed, true));
                }
                Err(error) => complain(&engine, &mut waits, &error).await,
            }
        }
        if found {
            continue;
        }
        if running.len() >= engine.options.tasks {
            // A flow that has nothing under way need not wait for one that has much.
            let spare = (2 * engine.options.tasks).saturating_sub(running.len());
            if spare > 0 && run.is_none() && (heard || looked_for_idle.elapsed() >= BRIEF) {
                looked_for_idle = tokio::time::Instant::now();
                match engine.journal.claim(ClaimRequest { idle: true, ..request(spare, false) }).await {
                    Ok(claimed) => claimed.into_iter().for_each(|claimed| start(&mut running, claimed, true)),
                    Err(error) => complain(&engine, &mut waits, &error).await,
                }
            }
            // Such a flow is looked for as soon as it is heard of.
            let hint = async {
                while let Some(hint) = listener.next().await {
                    if matches!(hint, Hint::Tasks(flow) if !in_work.has_of(flow)) {
                        return;
                    }
                }
            };
            heard = false;
            tokio::select! {
                _ = running.join_next() => {}
                () = hint => heard = true,
                () = tokio::time::sleep(BRIEF) => {}
                _ = stopped.changed() => {}
            }
            continue;
        }
        let wanted: fn(&Hint) -> bool = |hint| matches!(hint, Hint::Tasks(_));
        if running.is_empty() {
            // What a lease that was taken over left is found by the sweep; new work need not wait for that.
            let hinted = idle(&engine, &mut *listener, &mut stopped, wanted).await;
            look_for_suspects |= !hinted || looked_for_suspects.elapsed() >= SWEEP;
        } else {
            tokio::select! {
                _ = running.join_next() => {}
                _ = idle(&engine, &mut *listener, &mut stopped, wanted) => {}
            }
        }
    }
    while running.join_next().await.is_some() {}
}

/// Watches the disks that work writes to: while one of them has too little room, no task is claimed. What is under way,
/// exports and releases go on.
async fn watch_disks(engine: Arc<Engine>, in_work: Arc<InWork>, mut stopped: watch::Receiver<bool>) {
    let mut known: Option<bool> = None;
    while !*stopped.borrow() {
        let busy = !in_work.tasks().is_empty();
        if busy || known != Some(false) {
            let shortage = engine.look_at_disks().await;
            if let Some(Shortage { message, hint }) = &shortage {
                engine.trouble(DISK, message, Some(hint));
            } else if known == Some(true) {
                engine.clear_trouble(DISK);
            }
            known = Some(shortage.is_some());
        }
        // Looked at by others meanwhile, for a step that failed.
        if engine.space.is_low() {
            known = Some(true);
        }
        let again = async {
            if busy || known == Some(true) {
                tokio::time::sleep(if engine.space.is_near() { DISKS_NEAR } else { DISKS_BUSY }).await;
            } else {
                in_work.begun.notified().await;
            }
        };
        tokio::select! {
            () = again => {}
            _ = stopped.changed() => {}
        }
    }
}

/// Makes flows ready that have work waiting, before any of it is claimed: what a claim waits for counts as being under
/// way, and a server that is killed again and again while it starts would blame items that it never began.
async fn warm_up(engine: &Engine) {
    let warm = async {
        let rows = engine.journal.flows(DEFAULT_SPACE).await.unwrap_or_default();
        for row in rows.iter().filter(|row| row.outstanding > 0) {
            if let Ok(loaded) = engine.load(row.version).await {
                loaded.warm(engine).await;
            }
        }
    };
    // An environment that has to be made first takes longer, and is no reason to let the others wait.
    let _ = tokio::time::timeout(WARM_UP, warm).await;
}

/// Reports that the journal did not answer, and waits before it is asked again.
pub(crate) async fn complain(engine: &Engine, waits: &mut Waits, error: &opendmp_ports::Error) {
    engine.trouble("queue", &error.to_string(), error.hint.as_deref());
    engine.clock.sleep(waits.next(Cause::from(error))).await;
}

/// Works on a task, and for a while on what its settlement was claimed along with. Answers the task that was handed back
/// last, because it could not be worked on.
async fn work(workers: Workers, first: Claimed, goes_on: bool) -> Option<TaskId> {
    let Workers { engine, scope, in_work, outside, handed_back, stopped } = workers;
    let run = match scope {
        Scope::All => None,
        Scope::Run(run) => Some(run),
    };
    let began = tokio::time::Instant::now();
    let room = || outside.room().min(INTENTS_OF_ONE);
    let mut next = Some(first);
    let mut returned = None;
    while let Some(claimed) = next.take() {
        let about = format!("flow {}, processor {}", claimed.flow, claimed.task.to.processor);
        let task = goes_on && began.elapsed() < GO_ON && !*stopped.borrow() && !engine.space.is_low();
        let Went { task, intents, failed, .. } = engine.work_on(&claimed, Takes { task, run, intents: &room }).await;
        {
            // The next one is noted before this one is let go: a stop in between finds one of them.
            let mut tasks = in_work.tasks();
            tasks.extend(task.iter().map(|claimed| (claimed.task.id, claimed.flow)));
            tasks.remove(&claimed.task.id);
        }
        outside.carry_out(intents);
        match failed {
            None => {
                engine.clear_trouble(&about);
                lock(&handed_back).reset();
            }
            Some(error) => {
                returned = Some(claimed.task.id);
                engine.trouble(&about, &error.to_string(), error.hint.as_deref());
                // Whoever claims it next meets the same trouble, so not at once.
                let wait = lock(&handed_back).next(Cause::from(&error));
                engine.clock.sleep(wait).await;
            }
        }
        next = task;
    }
    returned
}

/// Carries intents out as they come.
async fn intents(engine: Arc<Engine>, outside: Outside, mut stopped: watch::Receiver<bool>) {
    let mut listener = engine.transport.listen();
    let mut waits = Waits::new(Policy::PORT, "intents");
    while !*stopped.borrow() {
        let room = outside.room();
        if room == 0 {
            tokio::select! {
                () = outside.has_room() => {}
                _ = stopped.changed() => {}
            }
            continue;
        }
        match engine.journal.claim_intents(engine.lease, engine.clock.now(), room).await {
            Ok(intents) => {
                waits.reset();
                let more = intents.len() >= room;
                outside.carry_out(intents);
                if more {
                    continue;
                }
            }
            Err(error) => complain(&engine, &mut waits, &error).await,
        }
        idle(&engine, &mut *listener, &mut stopped, |hint| matches!(hint, Hint::Intents)).await;
    }
}

/// Sends in what is reprocessed, as far as its flow has room. A server forgets old results now and then, too.
async fn reprocesses(engine: Arc<Engine>, scope: Scope, mut stopped: watch::Receiver<bool>) {
    let mut listener = engine.transport.listen();
    let mut forgot: Option<tokio::time::Instant> = None;
    let mut waits = Waits::new(Policy::PORT, "reprocesses");
    while !*stopped.borrow() {
        if scope == Scope::All && forgot.is_none_or(|forgot| forgot.elapsed() >= FORGET) {
            forgot = Some(tokio::time::Instant::now());
            if let Err(error) = engine.forget_memos().await {
                tracing::warn!(%error, "old results could not be forgotten");
            }
        }
        let mut wait = SWEEP;
        match engine.journal.reprocesses().await {
            Ok(open) => {
                engine.withdraw_troubles(|about| {
                    let run = about.strip_prefix(REPROCESS);
                    run.is_some_and(|run| !open.iter().any(|one| one.run.to_string() == run))
                });
                waits.reset();
                let ours = open.iter().filter(|one| scope == Scope::All || scope == Scope::Run(one.run));
                for one in ours {
                    let about = format!("{REPROCESS}{}", one.run);
                    wait = match engine.holds_back(one.flow).await {
                        Some(reason) => {
                            if let Some(Shortage { message, hint }) = reason {
                                engine.trouble(&about, &message, Some(hint));
                            }
                            wait.min(FULL)
                        }
                        None => match engine.reprocess_once(one).await {
                            Ok(more) => {
                                engine.clear_trouble(&about);
                                if more { Duration::ZERO } else { wait }
                            }
                            Err(error) => {
                                engine.trouble(&about, &error.to_string(), error.hint.as_deref());
                                wait.min(Duration::from_secs(1))
                            }
                        },
                    };
                }
            }
            Err(error) => complain(&engine, &mut waits, &error).await,
        }
        if !wait.is_zero() {
            pause(&mut *listener, &mut stopped, wait, |hint| matches!(hint, Hint::Reprocess(_))).await;
        }
    }
}
