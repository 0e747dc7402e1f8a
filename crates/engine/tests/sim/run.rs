//! One simulation from its first step to its rest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::FutureExt;
use opendmp_engine::{Engine, Options};
use opendmp_model::fault::FaultKind;
use opendmp_model::history::Context;
use opendmp_model::ids::ContentHash;
use opendmp_ports::Journal;
use opendmp_ports::journal::{
    DEFAULT_SPACE, DeadState, Filter, LetGo, LetGoPart, NewReprocess, Reentry, RevisionRule, Selection, VersionId,
};

use super::executor::{Executor, OUTSIDE, Owner};
use super::outside::{Stored, mover, producer};
use super::ports::{Deaf, SimContent, SimJournal};
use super::time::{SimClock, sleep};
use super::world::{Gate, Law, World};
use super::{Mode, Setup, check, flows, kinds};

/// Steps after which a world in which nothing fails should long be at rest.
const PATIENCE: u64 = 400_000;

/// A broken rule, with what led to it where that was asked for.
#[derive(Debug)]
pub struct Failure {
    pub law: Law,
    pub message: String,
    pub step: u64,
    pub notes: Vec<String>,
}

/// Runs one seed. Answers how often what happened.
pub fn run(setup: &Setup, seed: u64, verbose: bool) -> Result<BTreeMap<&'static str, u64>, Failure> {
    let world = World::new(setup.clone(), seed, verbose);
    let mut sim = Sim {
        executor: Executor::new(Arc::clone(&world)),
        world,
        engines: Vec::new(),
        last: OUTSIDE,
        doomed: BTreeMap::new(),
    };
    sim.prepare();
    sim.storm();
    sim.calm();
    let counted = sim.world.seen().counted.clone();
    match sim.world.violation() {
        None => Ok(counted),
        Some(found) => {
            Err(Failure { law: found.law, message: found.message, step: sim.executor.step, notes: sim.world.notes() })
        }
    }
}

struct Sim {
    world: Arc<World>,
    executor: Executor,
    /// Engines that live, the leader last.
    engines: Vec<Owner>,
    last: Owner,
    /// Engines that were taken over from, and the step at which they notice.
    doomed: BTreeMap<Owner, u64>,
}

impl Sim {
    fn prepare(&mut self) {
        let world = &Arc::clone(&self.world);
        let registry = kinds::registry(&Gate { world: Arc::clone(world), owner: OUTSIDE });
        let saved = flows::save(&*world.truth, &registry, &world.setup.flows).now_or_never().unwrap();
        *world.plans.lock().unwrap() = saved;
        let mut places: Vec<&str> = world.setup.flows.iter().flat_map(|flow| flow.places()).copied().collect();
        places.sort_unstable();
        places.dedup();
        for place in places {
            let poison = world.setup.flows.contains(&super::Flow::Poison);
            let (changes, paths) = (world.setup.changes, world.setup.paths);
            self.executor.spawn(OUTSIDE, producer(Arc::clone(world), place.to_owned(), changes, paths, poison));
            if world.setup.moves {
                // What is copied and comes back is another version of its path once more, so such folders don't. Nor need
                // they where no engine dies.
                let returns = place.starts_with("drop") && world.setup.crashes > 0;
                self.executor.spawn(OUTSIDE, mover(Arc::clone(world), place.to_owned(), returns));
            }
        }
        if world.setup.foreign {
            self.executor.spawn(OUTSIDE, meddler(Arc::clone(world)));
        }
        if world.setup.thief {
            self.executor.spawn(OUTSIDE, thief(Arc::clone(world)));
        }
        self.executor.spawn(OUTSIDE, person(Arc::clone(world)));
        if world.setup.retention {
            self.executor.spawn(OUTSIDE, keeper(Arc::clone(world)));
        }
        self.start(true);
        if world.setup.mode == Mode::Several {
            self.start(false);
        }
    }

    /// Starts an engine.
    fn start(&mut self, exclusive: bool) {
        self.last += 1;
        let (owner, world) = (self.last, Arc::clone(&self.world));
        let taken = world.truth.open_lease("test", exclusive, world.time.now()).now_or_never().unwrap().unwrap();
        if exclusive {
            check::fenced(&world);
            let until = self.executor.step + world.below(1_500);
            self.doomed.extend(self.engines.drain(..).map(|owner| (owner, until)));
        }
        world.seen().leases.insert(taken.lease);
        world.note(|| format!("#{owner} starts with lease {}, exclusive {exclusive}", taken.lease.0));
        let gate = Gate { world: Arc::clone(&world), owner };
        let memory = *world.rng().pick(&[0, 300, 32 << 20]);
        let options = Options {
            worker: format!("worker-{owner}"),
            parallel: 1 + world.below(3) as usize,
            fanout: *world.rng().pick(&[1, 3, 4, 4_000]),
            memory,
            ..Options::default()
        };
        let skew = world.below(40) as i64 - 20;
        let engine = Arc::new(Engine::new(
            Arc::new(SimJournal(gate.clone())),
            Arc::new(SimContent(gate.clone())),
            Arc::new(Deaf),
            Arc::new(SimClock { world: Arc::clone(&world), skew }),
            Arc::new(kinds::registry(&gate)),
            options,
            taken.lease,
        ));
        let crew = Arc::new(Crew::default());
        for _ in 0..1 + world.below(3) {
            self.executor.spawn(owner, work(Arc::clone(&engine), Arc::clone(&world), Arc::clone(&crew)));
        }
        for _ in 0..1 + world.below(2) {
            self.executor.spawn(owner, intents(Arc::clone(&engine), Arc::clone(&world)));
        }
        self.executor.spawn(owner, reprocess(Arc::clone(&engine), Arc::clone(&world)));
        if exclusive {
            let ingests = world.plans.lock().unwrap().ingests.clone();
            for (version, processor) in ingests {
                let look = ingest(Arc::clone(&engine), Arc::clone(&world), owner, version, processor);
                self.executor.spawn(owner, look);
            }
        }
        self.engines.push(owner);
    }

    fn kill(&mut self, owner: Owner) {
        self.executor.kill(owner);
        self.engines.retain(|other| *other != owner);
        self.doomed.remove(&owner);
        self.world.count("crashes");
    }

    /// The machine stops: what was not synced is gone.
    fn power_cut(&mut self) {
        for owner in self.engines.clone().into_iter().chain(self.doomed.clone().into_keys()) {
            self.kill(owner);
        }
        self.world.note(|| "the power is cut".to_owned());
        self.world.disk.crash();
        check::after_crash(&self.world);
    }

    fn storm(&mut self) {
        for _ in 0..self.world.setup.steps {
            self.poisoned();
            if self.world.below(100_000) < self.world.setup.crashes {
                match self.world.setup.mode {
                    Mode::Server => self.restart(),
                    Mode::Several => self.trouble(),
                }
            }
            let step = self.executor.step;
            if let Some(owner) = self.doomed.iter().find(|(_, until)| **until <= step).map(|(owner, _)| *owner) {
                self.kill(owner);
            }
            if !self.executor.step() || self.world.violation().is_some() {
                return;
            }
        }
    }

    /// The server crashes, alone or with its machine, and starts again.
    fn restart(&mut self) {
        if self.world.chance(500) {
            self.power_cut();
        }
        for owner in self.engines.clone() {
            self.world.note(|| format!("#{owner} crashes"));
            self.kill(owner);
        }
        self.start(true);
    }

    fn trouble(&mut self) {
        let engine = self.engines[self.world.below(self.engines.len() as u64) as usize];
        match self.world.below(6) {
            0 => {
                self.power_cut();
                self.start(true);
                self.start(false);
            }
            1 if self.engines.len() > 1 => {
                // What it had under way stays claimed until someone takes over.
                self.world.note(|| format!("#{engine} crashes"));
                self.kill(engine);
            }
            2 | 3 => {
                let steps = 50 + self.world.below(1_000);
                self.world.note(|| format!("#{engine} stalls for {steps} steps"));
                self.executor.stall(engine, steps);
            }
            4 => {
                self.start(false);
            }
            _ => {
                // A take-over from engines that live, stall, or both.
                self.world.count("take-overs");
                for owner in self.engines.clone() {
                    if self.world.chance(600) {
                        let steps = self.world.below(600);
                        self.executor.stall(owner, steps);
                    }
                }
                self.start(true);
                if self.world.chance(500) {
                    self.start(false);
                }
            }
        }
    }

    /// Engines that a poisonous item took down start again.
    fn poisoned(&mut self) {
        let poisoned = std::mem::take(&mut self.world.seen().poisoned);
        for owner in poisoned {
            self.kill(owner);
            self.start(true);
        }
    }

    /// Nothing fails any more; a fresh server goes on until nothing is left to do.
    fn calm(&mut self) {
        if self.world.violation().is_some() {
            return;
        }
        self.world.note(|| "everything calms down".to_owned());
        self.world.calm_down();
        if self.world.setup.fresh {
            if self.world.chance(500) {
                self.power_cut();
            }
            for owner in self.engines.clone().into_iter().chain(self.doomed.clone().into_keys()) {
                self.kill(owner);
            }
            self.start(true);
        }
        for step in 0..PATIENCE {
            self.poisoned();
            let moved = self.executor.step();
            if self.world.violation().is_some() {
                return;
            }
            if step % 32 == 0 && self.rests() {
                check::at_rest(&self.world);
                if self.world.setup.flows.contains(&super::Flow::Poison) {
                    self.poison_is_out();
                }
                return;
            }
            if !moved {
                break;
            }
        }
        let snapshot = self.world.truth.snapshot();
        let message = format!("{} tasks and {} intents are left for ever", snapshot.tasks.len(), snapshot.intents);
        self.world.broken(Law::Rest, message);
    }

    fn rests(&self) -> bool {
        let snapshot = self.world.truth.snapshot();
        let looked = self.world.plans.lock().unwrap().ingests.iter().all(|(version, processor)| {
            self.world.seen().clean.contains(&(self.last, format!("{version}/{processor}")))
        });
        let fed = self.world.truth.reprocesses().now_or_never().unwrap().unwrap().is_empty();
        snapshot.tasks.is_empty() && snapshot.intents == 0 && looked && fed && self.executor.count(OUTSIDE) == 0
    }

    /// What is poisonous is among the dead letters for that reason; what is not is not.
    fn poison_is_out(&self) {
        for row in self.world.truth.snapshot().dead {
            let poison = row.item.name.starts_with("poison");
            if poison != (row.fault.kind == FaultKind::Lost) {
                self.world.broken(Law::Alone, format!("{} is dead of {}", row.item.name, row.fault));
            }
        }
    }
}

/// The loops of one engine that work on tasks.
#[derive(Default)]
struct Crew {
    busy: AtomicUsize,
    alone: AtomicBool,
}

async fn nap(world: &Arc<World>) {
    let wait = 5 + world.below(50) as i64;
    sleep(world, wait).await;
}

async fn work(engine: Arc<Engine>, world: Arc<World>, crew: Arc<Crew>) {
    loop {
        if crew.alone.load(Ordering::Relaxed) {
            nap(&world).await;
            continue;
        }
        if crew.busy.load(Ordering::Relaxed) == 0 && world.chance(300) {
            crew.alone.store(true, Ordering::Relaxed);
            let found = engine.work_once(true).await;
            crew.alone.store(false, Ordering::Relaxed);
            if matches!(found, Ok(true)) {
                continue;
            }
        }
        crew.busy.fetch_add(1, Ordering::Relaxed);
        let found = engine.work_once(false).await;
        crew.busy.fetch_sub(1, Ordering::Relaxed);
        if !matches!(found, Ok(true)) {
            nap(&world).await;
        }
    }
}

async fn intents(engine: Arc<Engine>, world: Arc<World>) {
    loop {
        if !matches!(engine.intents_once().await, Ok(1..)) {
            nap(&world).await;
        }
    }
}

async fn ingest(engine: Arc<Engine>, world: Arc<World>, owner: Owner, version: VersionId, processor: String) {
    loop {
        if let Ok(loaded) = engine.load(version).await {
            let node = loaded.node(&processor).unwrap();
            match engine.ingest_once(&loaded, node, None).await {
                Ok(report) if report.arrived == 0 && report.complete && report.problems.is_empty() => {
                    if world.is_calm() {
                        world.seen().clean.insert((owner, format!("{version}/{processor}")));
                    }
                }
                Ok(report) => {
                    if report.arrived > 0 && world.chance(500) {
                        continue;
                    }
                }
                Err(fault) => world.note(|| format!("#{owner} ingest {processor}: {fault}")),
            }
        }
        nap(&world).await;
    }
}

/// Sends in what a person wants to be done again.
async fn reprocess(engine: Arc<Engine>, world: Arc<World>) {
    loop {
        for one in engine.journal.reprocesses().await.unwrap_or_default() {
            match engine.reprocess_once(&one).await {
                Ok(_) => world.count("fed reprocesses"),
                Err(error) => world.note(|| format!("reprocess of run {}: {error}", one.run)),
            }
        }
        nap(&world).await;
    }
}

/// Removes the journal's file, and puts it back after a while; in the end it is there.
async fn thief(world: Arc<World>) {
    while !world.is_calm() {
        let wait = 50 + world.below(400) as i64;
        sleep(&world, wait).await;
        world.note(|| "the journal is gone".to_owned());
        world.count("journals that were gone");
        let now = world.time.now();
        world.seen().gone = Some(now);
        let until = now + 500 + world.below(2_500) as i64;
        while world.time.now() < until && !world.is_calm() {
            sleep(&world, 50).await;
        }
        world.note(|| "the journal is there again".to_owned());
        world.seen().gone = None;
    }
}

/// Puts foreign files where exports go, and changes exported ones.
async fn meddler(world: Arc<World>) {
    for _ in 0..6 {
        let wait = 20 + world.below(200) as i64;
        sleep(&world, wait).await;
        if world.is_calm() {
            return;
        }
        let destination = format!("targets:{}", world.rng().pick(&["a", "b", "c"]));
        let target = format!("f{}.txt", world.below(world.setup.paths)).into_bytes();
        world.note(|| format!("a foreign {} appears in {destination}", String::from_utf8_lossy(&target)));
        let mut seen = world.seen();
        let hash = ContentHash::of(format!("foreign {}", seen.next_number()).as_bytes());
        seen.targets.insert((destination, target), Stored { hash, by: None, late: false });
    }
}

/// Has all of a flow, or a part of it, done again; or thinks better of what was begun.
async fn wish(world: &Arc<World>) {
    let at = world.time.now();
    if let Some(begun) = world.truth.reprocesses().await.unwrap().first().filter(|_| world.chance(200)) {
        world.note(|| format!("a person stops the reprocess of run {}", begun.run));
        world.truth.stop_reprocess(begun.run, "person", at).await.unwrap();
        return;
    }
    let flows = world.plans.lock().unwrap().flows.clone();
    let Some((slug, (flow, version))) = flows.into_iter().nth(world.below(world.setup.flows.len() as u64) as usize)
    else {
        return;
    };
    let hash = world.truth.version(version).await.unwrap().hash;
    let context = context_of(&slug, &hash, "reprocess");
    let context = world.truth.context(context).await.unwrap();
    world.seen().contexts.insert(context, (hash, "reprocess".to_owned()));
    let since = world.chance(300).then(|| at - world.below(400) as i64);
    let (selection, trigger) = (Selection { since, ..Selection::default() }, "again".to_owned());
    let new = NewReprocess { flow, version, selection, trigger, context, actor: "person".to_owned(), at };
    let begun = world.truth.begin_reprocess(new).await.unwrap();
    world.note(|| format!("a person reprocesses {slug} in run {}, pass {}", begun.run, begun.pass.0));
    world.count("reprocesses");
}

fn context_of(flow: &str, version: &str, processor: &str) -> Context {
    Context {
        flow: flow.to_owned(),
        version: version.to_owned(),
        processor: processor.to_owned(),
        kind: processor.to_owned(),
        config: String::new(),
        environment: None,
        worker: "person".to_owned(),
        opendmp: String::new(),
    }
}

/// Lets sources go that were done with some time ago, and all but the newest revisions.
async fn keeper(world: Arc<World>) {
    loop {
        let wait = 50 + world.below(200) as i64;
        sleep(&world, wait).await;
        if world.is_calm() {
            return;
        }
        let flows = world.plans.lock().unwrap().flows.clone();
        let before = world.time.now() - world.below(300) as i64;
        let mut all = vec![LetGo::Sources(flows.values().map(|(flow, _)| (*flow, before)).collect())];
        for collection in world.truth.collections(DEFAULT_SPACE).await.unwrap() {
            for flow in flows.keys().cloned() {
                let (space, collection, processor) = (DEFAULT_SPACE, collection.name.clone(), "shelf".to_owned());
                let rule = RevisionRule { newest: Some(1), since: Some(before) };
                all.push(LetGo::Revisions { space, collection, flow, processor, rule });
            }
        }
        for what in all {
            let part = LetGoPart { what, after: None, limit: usize::MAX, dry: false, at: world.time.now() };
            let gone = world.truth.let_go(part.clone()).await.unwrap();
            world.note(|| format!("retention lets go: {part:?}: {gone:?}"));
            if gone.count > 0 {
                world.count(if matches!(part.what, LetGo::Sources(_)) { "sources let go" } else { "revisions let go" });
            }
            if matches!(part.what, LetGo::Sources(_)) {
                check::let_go(&world, part.at);
            }
        }
    }
}

/// Looks after dead letters: retries some, gives some up. Has something done again now and then.
async fn person(world: Arc<World>) {
    loop {
        let wait = 100 + world.below(300) as i64;
        sleep(&world, wait).await;
        if world.is_calm() {
            return;
        }
        if !world.setup.flows.contains(&super::Flow::Poison) && world.chance(250) {
            wish(&world).await;
        }
        let open = world.truth.dead_letters(Filter::default()).await.unwrap().rows;
        let Some(first) = open.first() else { continue };
        if world.setup.flows.contains(&super::Flow::Poison) {
            continue;
        }
        let (flow, slug) = (first.flow_id, first.flow.clone());
        let of_flow = open.iter().filter(|row| row.flow_id == flow && row.state == DeadState::Open);
        let letters: Vec<_> = of_flow.filter(|_| world.chance(600)).map(|row| row.id).collect();
        if letters.is_empty() {
            continue;
        }
        let at = world.time.now();
        if world.chance(250) {
            world.note(|| format!("a person discards {letters:?}"));
            world.truth.discard(letters, "no use", "person", at).await.unwrap();
            continue;
        }
        let version = world.plans.lock().unwrap().flows[&slug].1;
        let row = world.truth.version(version).await.unwrap();
        let context = context_of(&slug, &row.hash, "retry");
        let context = world.truth.context(context).await.unwrap();
        world.seen().contexts.insert(context, (row.hash, "retry".to_owned()));
        world.note(|| format!("a person retries {letters:?}"));
        world.count("retried letters");
        world
            .truth
            .reenter(Reentry { letters, edit: None, version, context, actor: "person".to_owned(), at })
            .await
            .unwrap();
    }
}
