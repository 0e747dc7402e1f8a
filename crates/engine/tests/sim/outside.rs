//! The world outside: folders that a producer changes at will, and targets that exports go to.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use opendmp_model::export::{IfExists, SinkClass};
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::ids::ContentHash;
use opendmp_model::item::{Attributes, Item};
use opendmp_model::ledger::{FileStat, Known};
use opendmp_ports::journal::ExportState;
use opendmp_processor::{Audit, Body, Claim, Claimed, Export, ExportEnd, Ledger, Scan, Sink, Source, SourceError};
use std::collections::BTreeSet;
use std::sync::Mutex;

use super::check::as_new_as;
use super::executor::Yield;
use super::mutants::Mutant;
use super::time::sleep;
use super::world::{Exporting, Gate, Law, Seen, World};

/// What lies under a name in a source.
#[derive(Clone, Debug)]
pub struct File {
    /// Which version of which file, unique in the simulation; it changes with each change of the content.
    pub version: u64,
    pub inode: u64,
    pub bytes: Vec<u8>,
    /// A producer has it open and goes on writing.
    pub writer: bool,
}

impl File {
    pub fn stat(&self) -> FileStat {
        let version = self.version as i64;
        FileStat {
            device: 1,
            inode: self.inode,
            size: self.bytes.len() as u64,
            mtime: version,
            ctime: version,
            recent: false,
        }
    }
}

/// A file that was claimed by renaming it.
#[derive(Clone, Debug)]
pub struct Aside {
    pub owner: String,
    pub path: String,
    pub file: File,
}

/// A folder that a source reads. It may be moved away, and another take its place.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Tells it from the others that had its place; the first is 0.
    pub folder: u64,
    pub files: BTreeMap<String, File>,
    pub aside: BTreeMap<u64, Aside>,
    /// Versions that were let go.
    pub released: BTreeSet<u64>,
}

/// What an export left at a target.
#[derive(Clone, Debug)]
pub struct Stored {
    pub hash: ContentHash,
    /// Of which dataset; `None`: it is foreign.
    pub by: Option<Exporting>,
    /// Whether an engine that had been fenced put it over something newer, which has the content that it was to replace.
    pub late: bool,
}

impl Seen {
    pub fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// The file of an inode, wherever it was renamed to, and wherever its folder was moved.
    fn inode(&mut self, place: &str, inode: u64) -> Option<&mut File> {
        let away = self.away.iter_mut().filter(|((name, _), _)| name == place).map(|(_, folder)| folder);
        self.places.get_mut(place).into_iter().chain(away).find_map(|folder| {
            let aside = folder.aside.values_mut().map(|aside| &mut aside.file);
            folder.files.values_mut().chain(aside).find(|file| file.inode == inode)
        })
    }

    /// Moves the folder of a place away, and puts another there.
    fn swap(&mut self, place: &str, new: Place) {
        let old = self.places.insert(place.to_owned(), new).unwrap_or_default();
        self.away.insert((place.to_owned(), old.folder), old);
    }
}

/// Renames the folders of places that claimed files are set aside in, and makes them anew; moves one back now and then.
/// When everything calms down, each is moved back once, so that what only a dead engine knew of is found.
pub async fn mover(world: Arc<World>, place: String, returns: bool) {
    while !world.is_calm() {
        let wait = 100 + world.below(300) as i64;
        sleep(&world, wait).await;
        let mut seen = world.seen();
        let back = seen.away.keys().filter(|(name, _)| *name == place).map(|(_, folder)| *folder).next_back();
        let back = back.filter(|folder| returns && folder % 3 == 0);
        let new = match back.and_then(|folder| seen.away.remove(&(place.clone(), folder))) {
            Some(back) => back,
            None => Place { folder: seen.next_number(), ..Place::default() },
        };
        let folder = new.folder;
        seen.swap(&place, new);
        drop(seen);
        world.count("moved folders");
        world.note(|| format!("{place} is folder {folder} from now on"));
    }
    let away: Vec<u64> = {
        let seen = world.seen();
        let is_owed = |key: &(String, u64), folder: &Place| !folder.files.is_empty() || seen.recorded.contains(key);
        let mine = seen.away.iter().filter(|(key, folder)| key.0 == place && is_owed(key, folder));
        mine.map(|((_, folder), _)| *folder).collect()
    };
    for folder in away.into_iter().filter(|_| returns) {
        {
            let mut seen = world.seen();
            let Some(back) = seen.away.remove(&(place.clone(), folder)) else { continue };
            seen.swap(&place, back);
        }
        world.note(|| format!("{place} is folder {folder} once more"));
        for _ in 0..200 {
            sleep(&world, 500).await;
            let seen = world.seen();
            let there = &seen.places[&place];
            let is_recorded = seen.recorded.contains(&(place.clone(), folder));
            if !is_recorded && there.files.values().all(|file| file.writer) {
                break;
            }
        }
    }
}

/// Changes the files of a place for a while.
pub async fn producer(world: Arc<World>, place: String, changes: u64, paths: u64, poison: bool) {
    for n in 0..changes {
        let wait = world.below(60) as i64;
        sleep(&world, wait).await;
        if world.is_calm() {
            return;
        }
        let path = match poison && n % 5 == 4 {
            true => format!("poison-{n}.txt"),
            false => format!("f{}.txt", world.below(paths)),
        };
        change(&world, &place, &path).await;
    }
}

async fn change(world: &Arc<World>, place: &str, path: &str) {
    // Once in a while the bytes are those of an earlier version, so that results repeat.
    let text = |world: &World, version: u64| match world.chance(world.setup.equal) {
        true => format!("{path}~{}", world.below(2)),
        false => format!("{path}@{version}"),
    };
    match world.below(10) {
        0..5 => {
            // A new file, complete, renamed to its name.
            let (version, inode) = two_numbers(world);
            let bytes = text(world, version).into_bytes();
            world.note(|| format!("producer: {place}/{path} is version {version}"));
            let file = File { version, inode, bytes, writer: false };
            world.seen().places.entry(place.to_owned()).or_default().files.insert(path.to_owned(), file);
        }
        5..8 => {
            // Written slowly under its own name; the open file follows its inode.
            let (version, inode) = two_numbers(world);
            let file = File { version, inode, bytes: Vec::new(), writer: true };
            world.seen().places.entry(place.to_owned()).or_default().files.insert(path.to_owned(), file);
            world.note(|| format!("producer: {place}/{path} is written slowly, inode {inode}"));
            let parts = 1 + world.below(3);
            for part in 0..parts {
                let wait = world.below(30) as i64;
                sleep(world, wait).await;
                let more = text(world, version);
                let Some(version) = append(world, place, inode, &more, part + 1 < parts) else { return };
                world.note(|| format!("producer: inode {inode} is version {version}"));
            }
        }
        8 => {
            // It grows, or is only touched.
            let more = ["", "+"][world.below(2) as usize];
            let mut seen = world.seen();
            let version = seen.next_number();
            let files = &mut seen.places.entry(place.to_owned()).or_default().files;
            if let Some(file) = files.get_mut(path).filter(|file| !file.writer) {
                file.version = version;
                file.bytes.extend_from_slice(more.as_bytes());
                drop(seen);
                world.note(|| format!("producer: {place}/{path} becomes version {version} by {more:?}"));
            }
        }
        _ => {
            world.note(|| format!("producer: {place}/{path} is deleted"));
            world.seen().places.entry(place.to_owned()).or_default().files.remove(path);
        }
    }
}

fn two_numbers(world: &World) -> (u64, u64) {
    let mut seen = world.seen();
    (seen.next_number(), seen.next_number())
}

/// Appends through an open file. `None`: nobody has it under any name any more.
fn append(world: &World, place: &str, inode: u64, more: &str, writer: bool) -> Option<u64> {
    let mut seen = world.seen();
    let version = seen.next_number();
    let file = seen.inode(place, inode)?;
    file.version = version;
    file.bytes.extend_from_slice(more.as_bytes());
    file.writer = writer;
    Some(version)
}

/// A source over a place: copies what stands still, or claims by renaming and lets go afterwards.
pub struct PlaceSource {
    pub gate: Gate,
    pub place: String,
    pub release: bool,
    /// Claims that are between claim and settlement, or settled and not let go.
    pub held: Mutex<BTreeSet<u64>>,
    /// Folders in which it claimed something, which it reaches wherever they are moved.
    pub open: Mutex<BTreeSet<u64>>,
}

/// Of a claim: the folder it was made in, and its number.
type Token = (u64, u64);

fn away(operation: &'static str) -> SourceError {
    SourceError { code: "away", message: format!("{operation} was made to fail"), hint: None }
}

impl PlaceSource {
    fn rate(&self) -> u32 {
        self.gate.world.setup.faults.source
    }

    async fn before(&self, operation: &'static str) -> Result<(), SourceError> {
        self.gate.before(self.rate(), operation).await.map_err(|_| away(operation))
    }

    async fn after(&self, operation: &'static str) -> Result<(), SourceError> {
        self.gate.after(self.rate(), operation).await.map_err(|_| away(operation))
    }

    fn held(&self) -> std::sync::MutexGuard<'_, BTreeSet<u64>> {
        self.held.lock().unwrap()
    }

    /// The folders that can be reached: the one that has the place, and those that are held open.
    fn reached<'a>(&self, seen: &'a mut Seen) -> impl Iterator<Item = &'a mut Place> {
        let Seen { places, away, .. } = seen;
        let mut open = self.open.lock().unwrap().clone();
        if self.gate.world.setup.mutant == Some(Mutant::ClaimsIntoFormerFolder) {
            open.clear();
        }
        let name = self.place.clone();
        let away = away.iter_mut().filter(move |((place, folder), _)| *place == name && open.contains(folder));
        places.get_mut(&self.place).into_iter().chain(away.map(|(_, folder)| folder))
    }

    /// The folder a claim was made in, if it can be reached.
    fn folder<'a>(&self, seen: &'a mut Seen, (folder, _): Token) -> Option<&'a mut Place> {
        self.reached(seen).find(|place| place.folder == folder)
    }

    fn claim_of(&self, path: String, file: &File, release: Option<Token>) -> Claim {
        Claim {
            known: None,
            path: path.clone().into_bytes(),
            version: Some(file.stat()),
            name: path,
            media_type: None,
            attributes: Attributes::new(),
            body: Body::Bytes(file.bytes.clone().into()),
            release: release.map(|token| text(token).into()),
        }
    }

    async fn copy(&self, ledger: &dyn Ledger, limit: usize, scan: &mut Scan) -> Result<(), SourceError> {
        let world = &self.gate.world;
        let files = |path: &str| world.seen().places.get(&self.place)?.files.get(path).cloned();
        let paths: Vec<String> =
            world.seen().places.get(&self.place).map(|place| place.files.keys().cloned().collect()).unwrap_or_default();
        let stats: Vec<Option<FileStat>> = paths.iter().map(|path| files(path).map(|file| file.stat())).collect();
        let known = ledger.known(paths.iter().map(|path| path.clone().into_bytes()).collect()).await?;
        for ((path, stat), known) in paths.into_iter().zip(stats).zip(known) {
            if known.is_some_and(|known| Some(known.stat) == stat) {
                continue;
            }
            if scan.claims.len() >= limit {
                scan.complete = false;
                break;
            }
            // Opened once, read in two pieces: a write in between shows.
            let Some(opened) = files(&path) else {
                scan.complete = false;
                continue;
            };
            let half = opened.bytes.len() / 2;
            let mut bytes = opened.bytes[..half].to_vec();
            self.gate.give_way().await;
            let rest = world.seen().inode(&self.place, opened.inode).map(|file| file.bytes[half..].to_vec());
            bytes.extend(rest.unwrap_or_else(|| opened.bytes[half..].to_vec()));
            if opened.writer {
                scan.complete = false;
                continue;
            }
            let mut claim = self.claim_of(path, &opened, None);
            claim.known = known;
            if world.setup.mutant == Some(Mutant::TakesAllForUnchanged) {
                claim.known = known.map(|known| Known { hash: ContentHash::of(&bytes), ..known });
            }
            claim.body = Body::Bytes(bytes.into());
            scan.claims.push(claim);
        }
        Ok(())
    }

    async fn set_aside(&self, ledger: &dyn Ledger, limit: usize, scan: &mut Scan) -> Result<(), SourceError> {
        let world = &self.gate.world;
        // What an earlier life claimed and did not bring in.
        let left: Vec<Token> = {
            let (mut seen, held) = (world.seen(), self.held());
            let (mut left, mut clear) = (Vec::new(), Vec::new());
            for place in self.reached(&mut seen) {
                if place.aside.is_empty() {
                    clear.push((self.place.clone(), place.folder));
                }
                let mine = place.aside.iter().filter(|(n, aside)| aside.owner == ledger.owner() && !held.contains(n));
                left.extend(mine.map(|(n, _)| (place.folder, *n)));
            }
            clear.iter().for_each(|key| _ = seen.recorded.remove(key));
            left
        };
        let paths = |seen: &mut Seen| -> Vec<Vec<u8>> {
            let path = |token: &Token| Some(self.folder(seen, *token)?.aside.get(&token.1)?.path.clone().into_bytes());
            left.iter().map(path).map(Option::unwrap_or_default).collect()
        };
        let paths = paths(&mut world.seen());
        let known = ledger.known(paths).await?;
        let releasing = ledger.releasing(left.iter().map(|token| text(*token).into()).collect()).await?;
        for ((token, releasing), known) in left.into_iter().zip(releasing).zip(known) {
            // Opened after the ledger was asked: what was let go meanwhile is not there any more.
            let aside = self.folder(&mut world.seen(), token).and_then(|place| place.aside.get(&token.1).cloned());
            let Some(aside) = aside.filter(|_| !releasing) else { continue };
            // Let go, as far as the ledger knows: left for a person to decide.
            if known.is_some_and(|known| known.stat == aside.file.stat()) {
                continue;
            }
            self.offer(token, &aside, limit, scan);
        }
        let paths: Vec<String> =
            world.seen().places.get(&self.place).map(|place| place.files.keys().cloned().collect()).unwrap_or_default();
        for path in paths {
            self.gate.give_way().await;
            if scan.claims.len() >= limit {
                scan.complete = false;
                break;
            }
            let Some((token, aside)) = self.rename(path, ledger.owner()) else { continue };
            world.note(|| {
                format!("#{} sets {} version {} aside as {token:?}", self.gate.owner, aside.path, aside.file.version)
            });
            self.offer(token, &aside, limit, scan);
            if world.setup.mutant == Some(Mutant::ReleasesAtClaim) {
                self.let_go(token)?;
            }
        }
        Ok(())
    }

    fn rename(&self, path: String, owner: &str) -> Option<(Token, Aside)> {
        let mut seen = self.gate.world.seen();
        let number = seen.next_number();
        let place = seen.places.entry(self.place.clone()).or_default();
        let file = place.files.remove(&path)?;
        let aside = Aside { owner: owner.to_owned(), path, file };
        let folder = place.folder;
        let earlier = self.open.lock().unwrap().iter().next().copied().filter(|earlier| *earlier != folder);
        self.open.lock().unwrap().insert(folder);
        seen.recorded.insert((self.place.clone(), folder));
        if self.gate.world.setup.mutant == Some(Mutant::ClaimsIntoFormerFolder)
            && let Some(earlier) = earlier.and_then(|folder| seen.away.get_mut(&(self.place.clone(), folder)))
        {
            earlier.aside.insert(number, aside.clone());
            return Some(((folder, number), aside));
        }
        seen.places.get_mut(&self.place)?.aside.insert(number, aside.clone());
        Some(((folder, number), aside))
    }

    fn offer(&self, token: Token, aside: &Aside, limit: usize, scan: &mut Scan) {
        if aside.file.writer || scan.claims.len() >= limit {
            scan.complete = false;
        } else {
            self.held().insert(token.1);
            scan.claims.push(self.claim_of(aside.path.clone(), &aside.file, Some(token)));
        }
    }

    /// Destroys what was claimed, for good; an error where the folder it is in can't be reached.
    fn let_go(&self, token: Token) -> Result<(), SourceError> {
        let world = &self.gate.world;
        let mut seen = world.seen();
        let is_recorded = seen.recorded.contains(&(self.place.clone(), token.0));
        let Some(place) = self.folder(&mut seen, token) else {
            drop(seen);
            if !is_recorded {
                return Ok(());
            }
            world.count("releases in folders that are not there");
            return match world.setup.mutant {
                Some(Mutant::ReleasesElsewhere) => Ok(()),
                _ => Err(away("a release in another folder")),
            };
        };
        let Some(aside) = place.aside.remove(&token.1) else { return Ok(()) };
        let mut gone = vec![aside.file.version];
        if world.setup.mutant == Some(Mutant::ReleasesByPath) {
            gone.extend(place.files.remove(&aside.path).map(|file| file.version));
        }
        place.released.extend(&gone);
        let lost: Vec<u64> = gone.into_iter().filter(|version| !seen.arrived.contains_key(version)).collect();
        drop(seen);
        world.count("released");
        world.changes_outside(Law::L4, &format!("{} was let go", aside.path));
        world
            .note(|| format!("#{} lets {} version {} go ({token:?})", self.gate.owner, aside.path, aside.file.version));
        for version in lost {
            world.broken(
                Law::L4,
                format!("version {version} of {} was let go before its arrival was committed", aside.path),
            );
        }
        Ok(())
    }
}

#[async_trait]
impl Source for PlaceSource {
    fn identity(&self) -> String {
        format!("place:{}", self.place)
    }

    async fn claim(&self, ledger: &dyn Ledger, _now: i64, limit: usize) -> Result<Scan, SourceError> {
        self.before("source claim").await?;
        // Small, so that a source is rarely taken in at once.
        let limit = limit.min(1 + self.gate.world.below(6) as usize);
        let mut scan = Scan { complete: true, ..Scan::default() };
        if self.release {
            self.set_aside(ledger, limit, &mut scan).await?;
        } else {
            self.copy(ledger, limit, &mut scan).await?;
        }
        if let Err(error) = self.after("source claim").await {
            scan.claims.iter().for_each(|claim| self.forget(claim));
            return Err(error);
        }
        Ok(scan)
    }

    async fn confirm(&self, claim: &Claim) -> Result<Claimed, SourceError> {
        self.before("source confirm").await?;
        let world = &self.gate.world;
        let whole = {
            let mut seen = world.seen();
            let found = match &claim.release {
                Some(release) => {
                    let token = token(release);
                    self.folder(&mut seen, token).and_then(|place| place.aside.get(&token.1).map(|aside| &aside.file))
                }
                None => {
                    let place = seen.places.get(&self.place);
                    place.and_then(|place| place.files.get(std::str::from_utf8(&claim.path).unwrap()))
                }
            };
            found.filter(|file| !file.writer && Some(file.stat()) == claim.version).map(|file| file.stat())
        };
        if whole.is_none() {
            self.forget(claim);
        }
        self.gate.give_way().await;
        Ok(whole.map_or(Claimed::Changed, |stat| Claimed::Whole(Some(stat))))
    }

    fn forget(&self, claim: &Claim) {
        if let Some(release) = &claim.release {
            self.held().remove(&token(release).1);
        }
    }

    async fn release(&self, release: &[u8]) -> Result<(), SourceError> {
        self.before("source release").await?;
        let token = token(release);
        self.let_go(token)?;
        self.held().remove(&token.1);
        self.after("source release").await
    }

    async fn audit(&self, _: &dyn Ledger, _: &[Vec<u8>]) -> Result<Audit, SourceError> {
        Ok(Audit::default())
    }
}

/// A claim, as its release names it.
fn text((folder, number): Token) -> String {
    format!("{folder}/{number}")
}

/// The inverse of [`text`].
fn token(release: &[u8]) -> Token {
    let (folder, number) = std::str::from_utf8(release).unwrap().split_once('/').unwrap();
    (folder.parse().unwrap(), number.parse().unwrap())
}

/// A sink over the targets.
pub struct TargetSink {
    pub gate: Gate,
    pub place: String,
    pub if_exists: IfExists,
}

#[async_trait]
impl Sink for TargetSink {
    fn class(&self) -> SinkClass {
        SinkClass::Overwrite
    }

    fn destination(&self) -> String {
        format!("targets:{}", self.place)
    }

    fn target(&self, item: &Item) -> Result<Vec<u8>, Fault> {
        if item.name.starts_with("1-1-") {
            return Err(Fault::new(
                FaultKind::Failed,
                "no-target",
                "that name gives no target, however often it is tried",
            ));
        }
        Ok(item.name.as_bytes().to_vec())
    }

    fn if_exists(&self) -> IfExists {
        self.if_exists
    }

    fn display(&self, target: &[u8]) -> String {
        String::from_utf8_lossy(target).into_owned()
    }

    async fn export(&self, export: Export) -> Result<ExportEnd, Fault> {
        let world = &self.gate.world;
        let kind = *world.rng().pick(&[
            FaultKind::Unavailable,
            FaultKind::Unavailable,
            FaultKind::Failed,
            FaultKind::ExportRefused,
        ]);
        let fault = |when: &str| Fault::new(kind, "made", format!("made to fail {when}"));
        let rate = world.setup.faults.sink;
        self.gate.before(rate, "sink export").await.map_err(|_| fault("before its effect"))?;
        // A temporary file is written here; the rename is one step.
        Yield::default().await;
        let takes = world.below(world.setup.slow_sink) as i64;
        sleep(world, takes).await;
        let end = put(&self.gate, &self.destination(), &export);
        // Refused is an end that says that nothing was changed.
        let unknown = Fault::new(FaultKind::Unavailable, "made", "made to fail after its effect");
        self.gate.after(rate, "sink export").await.map_err(|_| unknown)?;
        Ok(end)
    }
}

/// The one step in which an export changes the world.
pub fn put(gate: &Gate, destination: &str, export: &Export) -> ExportEnd {
    let world = &gate.world;
    let key = (destination.to_owned(), export.target.clone());
    let shown = format!("{destination}/{}", String::from_utf8_lossy(&export.target));
    let by = world.seen().exporting.get(&(gate.owner, key.0.clone(), key.1.clone())).copied();
    let there = world.seen().targets.get(&key).cloned();
    let replace = match &there {
        None => true,
        Some(there) if there.hash == export.hash => return ExportEnd::Written,
        Some(there) => export.overwrite || export.ours == Some(there.hash),
    };
    if !replace {
        world.count("exports that met something foreign");
        return ExportEnd::Occupied;
    }
    let bytes = match &export.body {
        Body::Bytes(bytes) => bytes.clone(),
        _ => Bytes::new(),
    };
    let hash = match world.setup.mutant {
        Some(Mutant::TornSink) => ContentHash::of(&bytes[..bytes.len() / 2]),
        _ => ContentHash::of(&bytes),
    };
    world.note(|| {
        format!(
            "#{} writes {:?} of {:?} to {shown}, ours {:?}",
            gate.owner,
            export.hash,
            by.map(|by| by.key),
            export.ours
        )
    });
    world.count("exported");
    world.changes_outside(Law::L3, &format!("{shown} was written"));
    let mut late = false;
    match by.filter(|by| by.hash == export.hash) {
        None => world.broken(Law::L3, format!("{shown} was written although no intent says so")),
        Some(by) => {
            let revisions = world.truth.snapshot().revisions;
            let committed = revisions.iter().any(|row| {
                let key = (row.item.id.arrival, row.item.id.pass);
                row.slot == by.slot && key <= by.key && row.item.content.hash == hash && row.export != ExportState::None
            });
            if !committed {
                world.broken(Law::L3, format!("{shown} was written with {hash:?}, which no committed revision says"));
            }
            let newest = |of: &Exporting| as_new_as(world, &revisions, of.slot, of.key, of.hash);
            let there = there.and_then(|there| there.by).filter(|there| there.slot == by.slot);
            if let Some(newer) = there.filter(|there| there.key > by.key && newest(there) > newest(&by)) {
                // Content is all that a file tells: where it is once more what this attempt was to replace, an engine
                // that outlived its lease can't know better. One server of a locked data directory has no such engine.
                late = !world.seen().leases.contains(&by.lease) && export.ours == Some(newer.hash);
                if late {
                    world.count("late exports over what came again");
                } else {
                    world.broken(
                        Law::Order,
                        format!("{shown} of {:?} was written over by the older {:?}", newer.key, by.key),
                    );
                }
            }
        }
    }
    world.seen().targets.insert(key, Stored { hash, by, late });
    ExportEnd::Written
}
