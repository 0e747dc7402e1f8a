//! Garbage collection against those who store, commit, read and die meanwhile: random interleavings of their steps over
//! a model of the journal, on the real store and on the one in memory. Whatever the model names must open, at each
//! moment; what it does not name must be gone when all is quiet. A seed that fails is told, and can be given again with
//! `OPENDMP_SEED`. That the model finds what it is there for is shown by two mutants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use opendmp_content::{DirectoryContent, Options, backup};
use opendmp_model::item::ContentRef;
use opendmp_ports::content::conformance::sample;
use opendmp_ports::content::{Collection, Hold, MemoryContent, SMALL, Step, read_all};
use opendmp_ports::{Content, ErrorKind};

const SEEDS: u64 = 30;
const STEPS: usize = 100;
const WORKERS: usize = 4;

/// Little of everything, so that packs are many.
const SCARCE: Options =
    Options { pack_bytes: 60_000, unsynced_bytes: 400_000, recent_bytes: 20_000, unsynced_files: 8, floor: 0 };

/// A small random generator that a seed repeats (SplitMix64).
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % n
    }
}

/// How the protocol is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mutant {
    None,
    /// Nobody holds what he stores.
    NoHold,
    /// What is named is asked for before the fence is set.
    EarlyView,
}

enum Store {
    Directory { dir: tempfile::TempDir, content: Option<DirectoryContent> },
    Memory(Arc<MemoryContent>),
}

impl Store {
    fn directory() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let content = DirectoryContent::open(&dir.path().join("content"), SCARCE).unwrap();
        Self::Directory { dir, content: Some(content) }
    }

    fn content(&self) -> Arc<dyn Content> {
        match self {
            Self::Directory { content, .. } => Arc::new(content.clone().unwrap()),
            Self::Memory(content) => Arc::clone(content) as Arc<dyn Content>,
        }
    }

    fn crash(&mut self) {
        match self {
            Self::Directory { dir, content } => {
                *content = None;
                *content = Some(DirectoryContent::open(&dir.path().join("content"), SCARCE).unwrap());
            }
            Self::Memory(content) => content.crash(),
        }
    }
}

/// What a worker has at hand.
#[derive(Default)]
struct Worker {
    hold: Option<Hold>,
    /// A task it works on, which stays named until it is settled.
    task: Option<u64>,
    put: Vec<ContentRef>,
    synced: bool,
}

/// The world: a journal as a map of tasks to what they name, and the workers.
struct World {
    store: Store,
    rng: Rng,
    mutant: Mutant,
    workers: Vec<Worker>,
    named: BTreeMap<u64, Vec<ContentRef>>,
    /// All content ever named, by place.
    bytes: BTreeMap<ContentRef, Bytes>,
    /// What a crash may lose; its places may be given again.
    unsynced: BTreeSet<ContentRef>,
    last: u64,
    trace: Vec<String>,
}

impl World {
    fn new(store: Store, seed: u64, mutant: Mutant) -> Self {
        let workers = (0..WORKERS).map(|_| Worker::default()).collect();
        let (named, bytes, unsynced) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { store, rng: Rng(seed), mutant, workers, named, bytes, unsynced, last: 0, trace: Vec::new() }
    }

    fn note(&mut self, what: String) {
        self.trace.push(what);
    }

    /// One step of one worker.
    async fn work(&mut self) -> Result<(), String> {
        let n = self.rng.below(WORKERS as u64) as usize;
        let content = self.store.content();
        let (die, seed, len) = (self.rng.below(10), self.rng.below(12), self.rng.below(6));
        let worker = &mut self.workers[n];
        if worker.hold.is_none() && worker.task.is_none() && worker.put.is_empty() {
            worker.hold = (self.mutant != Mutant::NoHold).then(|| content.hold());
            // Of those that nobody works on.
            let taken: BTreeSet<u64> = self.workers.iter().filter_map(|worker| worker.task).collect();
            let free: Vec<u64> = self.named.keys().filter(|task| !taken.contains(task)).copied().collect();
            let task = free.get(die as usize % (free.len() + 1)).copied();
            self.workers[n].task = task;
            self.note(format!("{n} begins on {task:?}"));
            return self.put(n, seed, len).await;
        }
        match die {
            0..5 => self.put(n, seed, len).await,
            5 => {
                self.workers[n] = Worker::default();
                self.note(format!("{n} gives up"));
                Ok(())
            }
            _ if !worker.synced => {
                content.sync().await.map_err(|error| error.to_string())?;
                self.unsynced.clear();
                self.workers[n].synced = true;
                self.note(format!("{n} syncs"));
                Ok(())
            }
            _ => self.commit(n).await,
        }
    }

    async fn put(&mut self, n: usize, seed: u64, len: u64) -> Result<(), String> {
        // Few different ones, so that equal content is put again and again.
        let bytes = sample(seed, [10, 900, 5_000, 30_000, SMALL + 1, SMALL + 5_000][len as usize]);
        let put = self.store.content().put(bytes.clone()).await.map_err(|error| error.to_string())?;
        if self.bytes.insert(put, bytes).is_none() {
            self.unsynced.insert(put);
        }
        self.workers[n].put.push(put);
        self.workers[n].synced = false;
        self.note(format!("{n} puts {put:?}"));
        Ok(())
    }

    /// The settlement: what was put is named, what the task named is passed on in part.
    async fn commit(&mut self, n: usize) -> Result<(), String> {
        let worker = std::mem::take(&mut self.workers[n]);
        let mut names = worker.put;
        if let Some(task) = worker.task {
            let inherited = self.named.get(&task).cloned().unwrap_or_default();
            names.extend(inherited.into_iter().filter(|_| self.rng.below(3) == 0));
        }
        if let Err(error) = self.store.content().vouch(&names).await {
            return Err(format!("a settlement was refused: {error}"));
        }
        if let Some(task) = worker.task {
            self.named.remove(&task);
        }
        self.last += 1;
        self.note(format!("{n} commits {} {names:?} for {:?}", self.last, worker.task));
        self.named.insert(self.last, names);
        if self.named.len() > 6 {
            // Retention.
            let taken: BTreeSet<u64> = self.workers.iter().filter_map(|worker| worker.task).collect();
            if let Some(oldest) = self.named.keys().find(|task| !taken.contains(task)).copied() {
                self.note(format!("{oldest} is let go"));
                self.named.remove(&oldest);
            }
        }
        drop(worker.hold);
        Ok(())
    }

    fn roots(&self) -> Vec<ContentRef> {
        self.named.values().flatten().copied().collect()
    }

    async fn check(&self) -> Result<(), String> {
        let content = self.store.content();
        for (task, names) in &self.named {
            for name in names {
                let found = content.open(name).await.map_err(|error| format!("{task} lost {name:?}: {error}"))?;
                if read_all(&found).unwrap() != self.bytes[name] {
                    return Err(format!("{task} has other bytes at {name:?}"));
                }
            }
        }
        Ok(())
    }

    fn crash(&mut self) {
        self.note("a crash".to_owned());
        self.workers = (0..WORKERS).map(|_| Worker::default()).collect();
        for lost in std::mem::take(&mut self.unsynced) {
            self.bytes.remove(&lost);
        }
        self.store.crash();
    }
}

/// A collection from its beginning to its end, with steps of the workers in between; it may be ended early.
async fn collect(world: &Arc<tokio::sync::Mutex<World>>) -> Result<(), String> {
    let (mut collection, view): (Box<dyn Collection>, Vec<ContentRef>) = {
        let mut world = world.lock().await;
        let early = (world.mutant == Mutant::EarlyView).then(|| world.roots());
        if early.is_some() {
            for _ in 0..6 {
                world.work().await?;
            }
        }
        let collection = world.store.content().collect().await.map_err(|error| error.to_string())?;
        world.note("the fence".to_owned());
        for _ in 0..world.rng.below(4) {
            world.work().await?;
        }
        let view = early.unwrap_or_else(|| world.roots());
        world.note("the view".to_owned());
        (collection, view)
    };
    for part in view.chunks(3) {
        collection.keep(part.to_vec()).await.map_err(|error| error.to_string())?;
        let mut world = world.lock().await;
        for _ in 0..world.rng.below(3) {
            world.work().await?;
        }
    }
    let (ends, failed) = (world.lock().await.rng.below(30), Arc::new(Mutex::new(Ok(()))));
    let (between, told, left) = (Arc::clone(world), Arc::clone(&failed), Mutex::new(ends));
    let handle = tokio::runtime::Handle::current();
    let watch = move |step: Step| {
        let worked = handle.block_on(async {
            let mut world = between.lock().await;
            if step == Step::Look {
                return Ok(());
            }
            world.note(format!("{step:?}"));
            for _ in 0..world.rng.below(3) {
                world.work().await?;
            }
            world.check().await
        });
        let went_well = worked.is_ok();
        if let Err(error) = worked {
            *told.lock().unwrap() = Err(error);
        }
        let mut left = left.lock().unwrap();
        // In two thirds of all cases it comes to its end.
        *left = left.saturating_sub(1);
        went_well && (ends >= 10 || *left > 0)
    };
    let finish = collection.finish(false, Arc::new(watch));
    finish.await.map_err(|error| error.to_string())?;
    world.lock().await.note("the end of the collection".to_owned());
    failed.lock().unwrap().clone()
}

/// Runs one seed; what is wrong, with what led to it.
async fn run(store: Store, seed: u64, mutant: Mutant) -> Result<(), String> {
    let world = Arc::new(tokio::sync::Mutex::new(World::new(store, seed, mutant)));
    let done = async {
        for _ in 0..STEPS {
            let die = world.lock().await.rng.below(40);
            match die {
                0 => world.lock().await.crash(),
                1..5 => collect(&world).await?,
                _ => world.lock().await.work().await?,
            }
            world.lock().await.check().await?;
        }
        // Quiet: nobody holds anything, so what nobody names goes.
        let mut world = world.lock().await;
        if seed.is_multiple_of(2) {
            world.crash();
        } else {
            world.workers.clear();
        }
        let content = world.store.content();
        content.sync().await.unwrap();
        world.unsynced.clear();
        let mut last = content.collect().await.map_err(|error| error.to_string())?;
        last.keep(world.roots()).await.unwrap();
        last.finish(false, Arc::new(|_| true)).await.unwrap();
        world.check().await?;
        let named: BTreeSet<ContentRef> = world.roots().into_iter().collect();
        for reference in world.bytes.keys().filter(|reference| !named.contains(reference)) {
            match content.open(reference).await {
                Err(error) if error.kind == ErrorKind::NotFound => {}
                other => return Err(format!("{reference:?} is garbage and still there: {other:?}")),
            }
        }
        drop(content);
        world.crash();
        world.check().await?;
        if let Store::Directory { dir, .. } = &world.store {
            let root = dir.path().join("content");
            let mut watch = backup::Watch { moved: &mut |_| {}, damaged: &mut |_| {}, stopped: &|| false };
            let checked = backup::check(&root, &mut watch).unwrap();
            if !checked.damage.is_empty() {
                return Err(format!("what was let go looks like damage: {:?}", checked.damage));
            }
            let mut found = backup::look(&root, &checked.damage).unwrap();
            if let Some(why) = named.iter().find_map(|reference| found.lacks(reference, true)) {
                return Err(format!("a verification misses something: {why}"));
            }
        }
        Ok(())
    }
    .await;
    done.map_err(|error: String| {
        let trace = world.try_lock().map(|world| world.trace.join("\n")).unwrap_or_default();
        format!("OPENDMP_SEED={seed}\n{trace}\n{error}")
    })
}

fn seeds() -> std::ops::Range<u64> {
    match std::env::var("OPENDMP_SEED") {
        Ok(text) => {
            let seed = text.parse().expect("OPENDMP_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..SEEDS,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_named_is_ever_collected() {
    for seed in seeds() {
        if let Err(error) = run(Store::directory(), seed, Mutant::None).await {
            panic!("on the real store: {error}");
        }
        if let Err(error) = run(Store::Memory(Arc::default()), seed, Mutant::None).await {
            panic!("in memory: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_protocol_is_found() {
    for (mutant, what) in [(Mutant::NoHold, "without holds"), (Mutant::EarlyView, "with a view before the fence")] {
        let mut found = false;
        for seed in 0..SEEDS {
            found |= run(Store::directory(), seed, mutant).await.is_err();
            if found {
                break;
            }
        }
        assert!(found, "{what} nothing was lost in {SEEDS} runs");
    }
}

fn blocks(root: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut sum = 0;
    for part in ["packs", "files"] {
        let mut folders = vec![root.join(part)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                match entry.file_type().unwrap().is_dir() {
                    true => folders.push(entry.path()),
                    false => sum += entry.metadata().unwrap().blocks() * 512,
                }
            }
        }
    }
    sum
}

/// Copies, expects no damage anywhere, and answers how far it came.
fn copied(from: &backup::Source, to: &std::path::Path, mark: Option<backup::Mark>) -> Option<backup::Mark> {
    let mut watch = backup::Watch { moved: &mut |_| {}, damaged: &mut |_| {}, stopped: &|| false };
    let past = backup::Past { mark, damage: Vec::new() };
    let copied = backup::copy(from, to, &past, &mut watch).unwrap();
    assert_eq!(copied.damage, []);
    assert_eq!(backup::check(to, &mut watch).unwrap().damage, []);
    copied.mark
}

fn lacking(root: &std::path::Path, named: &[ContentRef]) -> Vec<String> {
    let mut found = backup::look(root, &[]).unwrap();
    named.iter().filter_map(|reference| found.lacks(reference, true)).collect()
}

/// What is let go comes back from the disk, breaks no earlier copy, and is missed by no later one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_gets_it_back_and_backups_stay_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let content = DirectoryContent::open(&path("content"), Options { pack_bytes: 1 << 20, ..SCARCE }).unwrap();
    let mut put = Vec::new();
    for seed in 0..300 {
        let bytes = sample(seed, if seed % 60 == 0 { SMALL + seed } else { 12_000 });
        put.push((content.put(bytes.clone()).await.unwrap(), bytes));
    }
    content.sync().await.unwrap();
    let all: Vec<ContentRef> = put.iter().map(|(reference, _)| *reference).collect();
    let mark = copied(&content.source(), &path("old"), None);
    let before = blocks(&path("content"));

    // Of the first packs a third stays, the next are dead, of the last a third stays.
    let stays = |n: usize| n.is_multiple_of(3) && !(100..280).contains(&n);
    let named: Vec<ContentRef> = all.iter().enumerate().filter(|(n, _)| stays(*n)).map(|(_, one)| *one).collect();
    let mut collection = content.collect().await.unwrap();
    collection.keep(named.clone()).await.unwrap();
    let freed = collection.finish(false, Arc::new(|_| true)).await.unwrap();
    assert_eq!(freed.contents, 300 - named.len() as u64);
    let after = blocks(&path("content"));
    assert!(after < before / 2 && freed.disk >= before - after, "{before} {after} {freed:?}");
    assert!(std::fs::read_dir(path("content/packs")).unwrap().count() > 0);

    let mut later = Vec::new();
    for seed in 1_000..1_100 {
        later.push(content.put(sample(seed, 20_000)).await.unwrap());
    }
    content.sync().await.unwrap();
    let both = [named.clone(), later.clone()].concat();
    // An earlier copy goes on, keeps what it has, and gets what is new.
    let mark = copied(&content.source(), &path("old"), mark);
    assert_eq!(lacking(&path("old"), &[all.clone(), later].concat()), Vec::<String>::new());
    // A new one has what is named and knows what it never had.
    let new = copied(&content.source(), &path("new"), None);
    assert_eq!(lacking(&path("new"), &both), Vec::<String>::new());
    assert_eq!(lacking(&path("new"), &all).len(), 300 - named.len());
    assert_eq!((mark, copied(&content.source(), &path("new"), new)), (new, new), "nothing more to do");
    assert!(blocks(&path("new")) < before);

    // Back again, and on from there: no place is given twice.
    drop(content);
    copied(&backup::Source::still(&path("new")), &path("restored"), None);
    for root in ["restored", "content"] {
        let again = DirectoryContent::open(&path(root), SCARCE).unwrap();
        for (reference, bytes) in &put {
            match again.open(reference).await {
                Ok(body) => assert!(named.contains(reference) && read_all(&body).unwrap() == *bytes),
                Err(error) => assert!(!named.contains(reference) && error.kind == ErrorKind::NotFound, "{error}"),
            }
        }
        let next = again.put(sample(7, 100)).await.unwrap();
        let highest = both.iter().map(|reference| reference.place).max().unwrap();
        assert!(next.place > highest || matches!(highest, opendmp_model::item::Place::File { .. }));
    }
}

/// Whoever copies or checks everything keeps it there until he is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_collected_while_everything_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let content = DirectoryContent::open(&dir.path().join("content"), SCARCE).unwrap();
    let untouched = backup::untouched(&dir.path().join("content")).unwrap();
    let also = backup::untouched(&dir.path().join("content")).unwrap();
    drop(untouched);
    let error = content.collect().await.map(drop).unwrap_err();
    assert!(error.kind == ErrorKind::Conflict && error.hint.is_some(), "{error}");
    drop(also);
    drop(content.collect().await.unwrap());
}
