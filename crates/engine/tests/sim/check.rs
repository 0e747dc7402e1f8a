//! The rules. Some are checked in the moment of a commit (`settled`, `ingested`, …), some by walking everything the
//! journal knows, from the arrivals on (`walk`), some when nothing is left to do (`at_rest`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::FutureExt;
use opendmp_model::fault::{FaultClass, FaultKind};
use opendmp_model::history::{Entry, Result as Outcome};
use opendmp_model::ids::{Arrival, ContentHash, ItemId, Pass, SlotId};
use opendmp_model::item::{ContentRef, Item};
use opendmp_model::ledger::FileStat;
use opendmp_model::manifest::Load;
use opendmp_ports::Journal;
use opendmp_ports::journal::decide::LOST_LIMIT;
use opendmp_ports::journal::*;

use super::outside::Aside;
use super::world::{Exporting, Gate, Law, World};

/// Retries of every simulated collect.
const RETRIES: usize = 2;

/// What is named by a commit must be durable by then.
fn named(world: &World, what: &str, contents: impl IntoIterator<Item = ContentRef>) {
    for content in contents {
        if !world.disk.is_durable(&content) {
            world.broken(Law::L3, format!("{what} names {:?}, which is not durable", content.hash));
        }
        world.seen().named.insert(content);
    }
}

/// Everything that was ever named is there after a crash.
pub fn after_crash(world: &World) {
    let named: Vec<ContentRef> = world.seen().named.iter().copied().collect();
    for content in named {
        if !world.disk.is_durable(&content) {
            world.broken(Law::L3, format!("the crash took {:?}, which a commit had named", content.hash));
        }
    }
}

/// An ingest was delivered.
pub fn ingested(world: &Arc<World>, ingest: &Ingest, done: &opendmp_ports::Result<Ingested>) {
    let last = world.seen().last_arrival;
    let snapshot = world.truth.snapshot();
    let new: Vec<_> =
        snapshot.arrivals.iter().filter(|(arrival, ..)| *arrival > last).map(|(arrival, ..)| *arrival).collect();
    if !(new.is_empty() || done.is_ok() && world.seen().leases.contains(&ingest.lease)) {
        world.broken(Law::L2, "an ingest that was refused, or of a fenced lease, has arrivals");
    }
    for number in new {
        let row = world.truth.arrival(number).now_or_never().unwrap().unwrap();
        let version = row.stat.unwrap_or_default().mtime as u64;
        named(world, "an arrival", [row.content]);
        let path = String::from_utf8_lossy(&row.path).into_owned();
        world.note(|| format!("{path} version {version} arrives as {}", number.0));
        let mut seen = world.seen();
        seen.last_arrival = number;
        let times = seen.arrived.entry(version).or_default().entry(row.source).or_default();
        times.push(number);
        let times = times.clone();
        drop(seen);
        if times.len() > 1 {
            world.broken(Law::Once, format!("version {version} of {path} arrived as {times:?}"));
        }
    }
    commit(world);
}

/// Files were said to have the bytes of arrivals.
pub fn affirmed(world: &World, arrivals: &[(Arrival, FileStat)]) {
    for (arrival, stat) in arrivals {
        let row = world.truth.arrival(*arrival).now_or_never().unwrap().unwrap();
        let mut seen = world.seen();
        // Where it has changed since, or is gone, there is nothing to compare.
        let now = seen.places.values().flat_map(|place| place.files.values()).find(|file| file.stat() == *stat);
        let Some((version, hash)) = now.map(|file| (file.version, ContentHash::of(&file.bytes))) else { continue };
        if hash == row.content.hash {
            seen.unchanged.entry(version).or_default().insert(row.source);
            drop(seen);
            world.count("files that changed but for their bytes");
        } else {
            drop(seen);
            world.broken(
                Law::L1,
                format!("version {version} was taken for arrival {}, whose bytes are others", arrival.0),
            );
        }
    }
}

/// Tasks were claimed.
pub fn claimed(world: &World, request: &ClaimRequest, claimed: &[Claimed]) {
    for claim in claimed {
        let before = world.seen().claims.insert(claim.task.id, (request.lease, claim.clone()));
        world.note(|| {
            let items: Vec<&str> = claim.task.items.iter().map(|item| &*item.name).collect();
            format!(
                "lease {} claims {} for {}, attempt {}, lost {}: {}",
                request.lease.0,
                claim.task.id,
                claim.task.to.processor,
                claim.attempt,
                claim.task.lost,
                items.join(", ")
            )
        });
        if let Some((lease, _)) = before.filter(|(lease, _)| world.seen().leases.contains(lease)) {
            world.broken(
                Law::L2,
                format!("task {} is claimed by {request:?} while it is under way for {lease:?}", claim.task.id),
            );
        }
        if !world.seen().leases.contains(&request.lease) {
            world.broken(Law::L2, format!("a fenced lease claims task {}", claim.task.id));
        }
        if (claim.task.lost > 0) != request.suspects {
            world.broken(
                Law::Alone,
                format!("task {} was lost {} times, and is claimed with {request:?}", claim.task.id, claim.task.lost),
            );
        }
    }
}

/// Tasks were handed back.
pub fn unclaimed(world: &World, lease: Lease, tasks: &[TaskIds]) {
    let mut seen = world.seen();
    for task in tasks {
        if seen.claims.get(task).is_some_and(|(claimer, _)| *claimer == lease) {
            seen.claims.remove(task);
        }
    }
}

type TaskIds = opendmp_model::ids::TaskId;

/// Settlements were delivered.
pub fn settled(world: &Arc<World>, batch: &[Settlement], settled: &[Settled]) {
    for (settlement, settled) in batch.iter().zip(settled) {
        let Settled::Applied(_) = settled else {
            world.count(if *settled == Settled::Already { "settled already" } else { "fenced" });
            continue;
        };
        world.count("settled");
        if !world.seen().leases.contains(&settlement.lease) {
            world.broken(Law::L2, format!("the settlement of {} by a fenced lease was applied", settlement.task));
        }
        if !world.seen().settled.insert(settlement.task) {
            world.broken(Law::L2, format!("task {} was settled twice", settlement.task));
        }
        let claim = world.seen().claims.remove(&settlement.task);
        match claim {
            None => world.broken(Law::L2, format!("task {} was settled without a claim", settlement.task)),
            Some((_, claim)) => {
                suspect(world, &claim, settlement);
                collected(world, claim.flow, &settlement.revisions);
            }
        }
        let items = settlement.tasks.iter().flat_map(|task| task.items.iter().map(|item| item.content));
        let held = settlement.held.iter().flat_map(|held| held.items.iter().map(|item| item.content));
        let manifests = settlement.tasks.iter().filter_map(|task| match task.load {
            Load::Expand(manifest) => Some(manifest.content),
            _ => None,
        });
        let revisions = settlement.revisions.iter().map(|revision| revision.item.content);
        let dead = settlement.dead_letters.iter().map(|letter| letter.item.content);
        named(world, "a settlement", items.chain(held).chain(manifests).chain(revisions).chain(dead));
        for task in &settlement.tasks {
            if matches!(task.load, Load::Expand(_)) {
                world.count("spooled");
            }
        }
        if settlement.closing.as_ref().is_some_and(|closing| closing.whole.len() + closing.parts.len() > 0) {
            world.count("closed groups");
        }
    }
    commit(world);
}

/// A dataset has one result of an arrival and pass.
fn collected(world: &World, flow: FlowId, revisions: &[NewRevision]) {
    let slugs = world.plans.lock().unwrap().flows.clone();
    let slug = slugs.iter().find(|(_, (id, _))| *id == flow).map_or("", |(slug, _)| slug);
    for revision in revisions {
        let slot = decide::slot(slug, revision, Arrival(0));
        let key = (revision.item.id.arrival, revision.item.id.pass);
        let before = world.seen().results.entry(slot).or_default().insert(key, revision.item.content.hash);
        if before.is_some() {
            world.broken(Law::L2, format!("slot {slot} has two results of arrival and pass {key:?}"));
        }
    }
}

/// What a worker was lost with is taken apart first, then goes alone, and not for ever.
fn suspect(world: &World, claim: &Claimed, settlement: &Settlement) {
    let (lost, items) = (claim.task.lost, claim.task.items.len());
    let worked = !settlement.history.is_empty() || !settlement.revisions.is_empty();
    if worked && (lost >= LOST_LIMIT || lost > 0 && items > 1) {
        world
            .broken(Law::Alone, format!("task {}, lost {lost} times, was worked on with {items} items", claim.task.id));
    }
    if lost > 0 {
        world.count("suspects");
    }
}

/// Intents were claimed.
pub fn intents_claimed(gate: &Gate, lease: Lease, intents: &[Intent]) {
    let world = &gate.world;
    for intent in intents {
        let target = match &intent.action {
            Action::Release { .. } => None,
            Action::Export(action) => Some((action.export.destination.to_string(), action.export.target.clone())),
        };
        let mut seen = world.seen();
        let busy = seen.intents.iter().find(|(id, (other, at))| {
            seen.leases.contains(other) && (**id == intent.id || at.is_some() && *at == target)
        });
        let busy = busy.map(|(id, (other, _))| (*id, *other));
        seen.intents.insert(intent.id, (lease, target.clone()));
        if let (Action::Export(action), Some((destination, target))) = (&intent.action, target.clone()) {
            let key = (action.arrival, action.pass);
            let exporting = Exporting { slot: action.slot, key, hash: action.item.content.hash, lease };
            seen.exporting.insert((gate.owner, destination, target), exporting);
        }
        drop(seen);
        world.note(|| {
            let target =
                target.map(|(destination, target)| format!("{destination}/{}", String::from_utf8_lossy(&target)));
            format!("#{} takes intent {} for {target:?}, attempt {}", gate.owner, intent.id, intent.attempt)
        });
        if let Some((id, other)) = busy {
            world.broken(
                Law::Order,
                format!(
                    "intent {} is claimed by {lease:?} while {id} for the same is under way for {other:?}",
                    intent.id
                ),
            );
        }
    }
}

/// Attempts at intents are over: nothing outside is changed any more by them.
pub fn intents_ended(world: &World, batch: &[Finished]) {
    world.note(|| {
        let ends: Vec<String> = batch.iter().map(|done| format!("{} {:?}", done.id, done.end)).collect();
        format!("intents end: {}", ends.join(", "))
    });
    let mut spent = Vec::new();
    let mut seen = world.seen();
    for finished in batch {
        if let End::Retry { fault, .. } | End::Refused(fault) = &finished.end
            && fault.kind.class() == FaultClass::Item
        {
            let failed = seen.failed_intents.entry(finished.id).or_default();
            failed.insert(finished.attempt);
            spent.push((finished, failed.len()));
        }
        if seen.intents.get(&finished.id).is_some_and(|(lease, _)| *lease == finished.lease) {
            seen.intents.remove(&finished.id);
        }
    }
    drop(seen);
    for (finished, failed) in spent {
        if matches!(finished.end, End::Refused(_)) && failed <= RETRIES {
            world.broken(Law::Retries, format!("intent {} is refused after {failed} failed tries", finished.id));
        }
    }
}

/// A lease was opened that fences all others.
pub fn fenced(world: &World) {
    let mut seen = world.seen();
    seen.leases.clear();
    seen.claims.clear();
    seen.intents.clear();
}

fn commit(world: &Arc<World>) {
    let commits = {
        let mut seen = world.seen();
        seen.commits += 1;
        seen.commits
    };
    if commits.is_multiple_of(world.setup.check_every) {
        walk(world, false);
    }
}

/// An item before a processor.
type At = (ItemId, String);

/// All that the journal knows, by item and processor.
struct Known {
    snapshot: Snapshot,
    entries: BTreeMap<At, Vec<(String, Entry)>>,
    queued: BTreeMap<At, Vec<ContentHash>>,
    /// Children that are not expanded yet.
    left: BTreeMap<At, u64>,
    /// How often an aggregate holds an item, and how often it was taken to be joined.
    held: BTreeMap<At, (u64, u64)>,
    dead: BTreeMap<At, DeadRow>,
}

impl Known {
    fn new(world: &World) -> Self {
        let snapshot = world.truth.snapshot();
        let mut entries: BTreeMap<At, Vec<(String, Entry)>> = BTreeMap::new();
        let contexts = world.seen().contexts.clone();
        for step in &snapshot.history {
            let Some((version, processor)) = contexts.get(&step.context) else { continue };
            for entry in &step.entries {
                let at = (entry.input, processor.clone());
                entries.entry(at).or_default().push((version.clone(), entry.clone()));
            }
        }
        let mut queued: BTreeMap<At, Vec<ContentHash>> = BTreeMap::new();
        let mut left: BTreeMap<At, u64> = BTreeMap::new();
        let mut held: BTreeMap<At, (u64, u64)> = BTreeMap::new();
        for (_, processor, item) in &snapshot.held {
            held.entry((item.id, processor.to_string())).or_default().0 += 1;
        }
        for (_, processor, items) in &snapshot.joined {
            for item in items {
                held.entry((item.id, processor.to_string())).or_default().1 += 1;
            }
        }
        for task in &snapshot.tasks {
            if let Load::Expand(manifest) = task.load {
                *left.entry((task.items[0].id, task.to.processor.to_string())).or_default() += manifest.left;
                continue;
            }
            for item in &task.items {
                queued.entry((item.id, task.to.processor.to_string())).or_default().push(item.content.hash);
            }
        }
        let letters = snapshot.dead.iter().filter(|row| !row.export_only);
        let dead = letters.map(|row| ((row.item.id, row.at.processor.to_string()), row.clone())).collect();
        Self { snapshot, entries, queued, left, held, dead }
    }
}

/// Walks from every arrival through all that came of it: each item before each processor that reads it is in exactly
/// one place, or went on from there exactly once.
pub fn walk(world: &World, at_rest: bool) {
    let known = Known::new(world);
    let plans = world.plans.lock().unwrap().clone();
    let mut owed: Vec<(At, ContentHash)> = Vec::new();
    let mut visited: BTreeSet<At> = BTreeSet::new();
    let mut nonces: BTreeMap<u64, At> = BTreeMap::new();
    let readers = |version: &str, processor: &str, port: &str| {
        plans.readers.get(&(version.to_owned(), processor.to_owned(), port.to_owned())).cloned().unwrap_or_default()
    };
    let mut arrived = 0;
    let mut sources: BTreeMap<ItemId, (String, ContentHash)> = BTreeMap::new();
    for ((item, processor), entries) in &known.entries {
        for (version, entry) in entries.iter().filter(|(_, entry)| entry.result == Outcome::Arrived) {
            arrived += 1;
            visited.insert((*item, processor.clone()));
            let hash = entry.children[0].content.unwrap().0;
            sources.insert(*item, (processor.clone(), hash));
            owed.extend(readers(version, processor, "out").into_iter().map(|reader| ((*item, reader), hash)));
        }
    }
    if arrived != known.snapshot.arrivals.len() {
        world.broken(Law::L1, format!("{} arrivals, {arrived} of them in the history", known.snapshot.arrivals.len()));
    }
    for item in &known.snapshot.lost_ways {
        world.broken(Law::L5, format!("{item} is collected and can't be followed back to its arrival"));
    }
    // What was sent in again is owed to the readers of its ingest, in the version it was sent through.
    for ((item, _), entries) in known.entries.iter().filter(|(at, _)| at.1 == "reprocess") {
        for (version, entry) in entries {
            let Some((ingest, hash)) = sources.get(item) else {
                world.broken(Law::L2, format!("{item} was sent in again and has never arrived"));
                return;
            };
            let again = entry.children[0].id;
            owed.extend(readers(version, ingest, "out").into_iter().map(|reader| ((again, reader), *hash)));
        }
    }
    for ((item, processor), row) in &known.dead {
        if let DeadState::Retried { pass, .. } = row.state {
            owed.push(((ItemId { pass, ..*item }, processor.clone()), row.item.content.hash));
        }
    }
    while let Some((at, hash)) = owed.pop() {
        if !visited.insert(at.clone()) {
            world.broken(Law::L2, format!("{} before {} came about twice", at.0, at.1));
            return;
        }
        let here: Vec<&(String, Entry)> = known
            .entries
            .get(&at)
            .into_iter()
            .flatten()
            .filter(|(_, entry)| entry.result != Outcome::Reentered)
            .collect();
        let parts = parts(world, &known, &at, &here);
        let ends: Vec<&&(String, Entry)> =
            here.iter().filter(|(_, entry)| entry.result != Outcome::Retried && !parts(&entry.result)).collect();
        let queued = known.queued.get(&at).map_or(&[][..], Vec::as_slice);
        let dead = known.dead.get(&at);
        let (ended, buried) = (ends.len(), usize::from(dead.is_some() && ends.is_empty()));
        match ended + queued.len() + buried {
            0 => world.broken(Law::L1, format!("{} before {} is nowhere", at.0, at.1)),
            1 => {}
            _ => world.broken(
                Law::L2,
                format!(
                    "{} before {} ended {ended} times, is queued {} times, is dead {} times",
                    at.0,
                    at.1,
                    queued.len(),
                    buried
                ),
            ),
        }
        if at_rest && !queued.is_empty() {
            world.broken(Law::Rest, format!("{} is still queued for {}", at.0, at.1));
        }
        if queued.iter().chain(dead.map(|row| &row.item.content.hash)).any(|other| *other != hash) {
            world.broken(Law::L2, format!("{} before {} has other content than history says", at.0, at.1));
        }
        for (version, entry) in here.iter().filter(|(_, entry)| entry.result != Outcome::Retried) {
            went_on(world, &known, &at, hash, entry, &mut nonces);
            for child in &entry.children {
                let hash = child.content.map_or(hash, |(hash, _)| hash);
                let port = child.port.as_deref().unwrap_or("out");
                owed.extend(readers(version, &at.1, port).into_iter().map(|reader| ((child.id, reader), hash)));
            }
        }
    }
    let all = known
        .entries
        .keys()
        .filter(|at| at.1 != "retry" && at.1 != "reprocess")
        .chain(known.queued.keys())
        .chain(known.dead.keys());
    for at in all {
        if !visited.contains(at) {
            world.broken(Law::L2, format!("{} before {} came from nowhere", at.0, at.1));
        }
    }
    joined(world, &known);
    let mut keys = BTreeSet::new();
    for row in &known.snapshot.revisions {
        if !keys.insert((row.slot, row.item.id.arrival, row.item.id.pass)) {
            world.broken(Law::L2, format!("slot {} has two revisions of one arrival and pass", row.slot));
        }
        let collected = known.entries.get(&(row.item.id, row.processor.clone())).into_iter().flatten();
        if !collected.into_iter().any(|(_, entry)| entry.result == Outcome::Collected) {
            world.broken(Law::L2, format!("a revision of slot {} was never collected", row.slot));
        }
    }
}

/// Entries that follow another end of the same item, and are none themselves: the children that were written down, the
/// joining of what was held, or that it was turned away then. Says which, and whether they fit to the end.
fn parts(world: &World, known: &Known, at: &At, here: &[&(String, Entry)]) -> fn(&Outcome) -> bool {
    let of = |result: Outcome| here.iter().filter(move |(_, entry)| entry.result == result).map(|(_, entry)| entry);
    if let Some(entry) = of(Outcome::Spooled).next() {
        let told: u64 = entry.note.as_deref().and_then(|note| note.split(' ').next()?.parse().ok()).unwrap();
        let expanded: u64 = of(Outcome::Emitted).map(|entry| entry.children.len() as u64).sum();
        let left = known.left.get(at).copied().unwrap_or(0);
        // An item whose manifest took its host down too often is a dead letter for what is not expanded, and only then: that
        // its manifest ends early, or can't be read, happens to nobody whose ports tell the truth.
        let buried = known.dead.get(at).is_some_and(|letter| letter.fault.kind == FaultKind::Lost);
        if if buried { left > 0 || expanded >= told } else { told != expanded + left } {
            let message = format!("{told} children of {} at {}: {expanded} expanded, {left} left", at.0, at.1);
            world.broken(if told > expanded + left { Law::L1 } else { Law::L2 }, message);
        }
        return |result| *result == Outcome::Emitted;
    }
    if of(Outcome::Held).next().is_some() {
        let (held, joined) = known.held.get(at).copied().unwrap_or_default();
        if held + joined != 1 {
            let message = format!("{} is held {held} times by {}, and was joined {joined} times", at.0, at.1);
            world.broken(if held + joined == 0 { Law::L1 } else { Law::L2 }, message);
        }
        if joined == 0 && (of(Outcome::Joined).next().is_some() || of(Outcome::Dead).next().is_some()) {
            world.broken(Law::L2, format!("{} was joined or turned away by {}, which holds it", at.0, at.1));
        }
        return |result| matches!(result, Outcome::Joined | Outcome::Dead);
    }
    |_| false
}

/// Whatever was taken to be joined was turned away, or there is what was made of it.
fn joined(world: &World, known: &Known) {
    for (_, processor, items) in &known.snapshot.joined {
        let at = |item: &Item| (item.id, processor.to_string());
        let made = |item: &&Item| {
            let entries = known.entries.get(&at(item)).into_iter().flatten();
            entries.into_iter().any(|(_, entry)| entry.result == Outcome::Joined && entry.children.len() == 1)
        };
        let first = items.iter().find(|item| !known.dead.contains_key(&at(item)));
        let count = items.iter().filter(made).count();
        if count != usize::from(first.is_some()) || first.is_some_and(|first| !made(&first)) {
            world.broken(Law::L1, format!("{} items of {processor} were joined into {count}", items.len()));
        }
    }
}

/// What history says of the end of an item before a processor: its letter, its revision, its children.
fn went_on(world: &World, known: &Known, at: &At, hash: ContentHash, entry: &Entry, nonces: &mut BTreeMap<u64, At>) {
    let (item, processor) = at;
    match entry.result {
        Outcome::Dead if !known.dead.contains_key(at) => {
            world.broken(Law::L1, format!("{item} died at {processor}, and there is no letter"));
        }
        Outcome::Collected => {
            let row = known.snapshot.revisions.iter().find(|row| row.item.id == *item && row.processor == *processor);
            if row.is_none_or(|row| row.item.content.hash != hash) {
                world.broken(Law::L1, format!("{item} was collected at {processor}, and its revision is not there"));
            }
        }
        Outcome::Unchanged => {
            let equal = |row: &RevisionRow| row.item.content.hash == hash && row.processor == *processor;
            if !known.snapshot.revisions.iter().any(equal) {
                world.broken(Law::L1, format!("{item} equalled a dataset at {processor} that is not there"));
            }
        }
        _ => {}
    }
    // All children of an item, and their bytes, come from one attempt, and no two items share one.
    let mut own: BTreeSet<u64> = BTreeSet::new();
    for child in &entry.children {
        let attributes: serde_json::Value =
            child.attributes.as_deref().map_or_else(Default::default, |text| serde_json::from_str(text).unwrap());
        own.extend(attributes.get(processor).and_then(serde_json::Value::as_u64));
        let Some((made, size)) = child.content.filter(|(_, size)| *size > 0) else { continue };
        let origin = world.seen().made.get(&made).cloned();
        match origin {
            Some(origin) if origin.parent == hash && origin.processor == *processor => {
                own.extend((origin.nonce > 0).then_some(origin.nonce));
            }
            other => world.broken(Law::L2, format!("a child of {item} at {processor} has {size} bytes of {other:?}")),
        }
    }
    if own.len() > 1 {
        world.broken(Law::L2, format!("the children of {item} at {processor} are of {} attempts", own.len()));
    }
    for nonce in own {
        if let Some(other) = nonces.insert(nonce, at.clone()).filter(|other| other != at) {
            world.broken(Law::L2, format!("{item} at {processor} shares an attempt with {other:?}"));
        }
    }
}

/// What retention let go just now has nothing under way.
pub fn let_go(world: &World, at: i64) {
    let snapshot = world.truth.snapshot();
    let open = snapshot.dead.iter().filter(|row| row.state == DeadState::Open).map(|row| &row.item);
    let tasks = snapshot.tasks.iter().flat_map(|task| &task.items);
    let held = snapshot.held.iter().map(|(_, _, item)| item);
    let under_way: BTreeSet<Arrival> = open.chain(tasks).chain(held).map(|item| item.id.arrival).collect();
    for (arrival, ..) in snapshot.arrivals {
        let row = world.truth.arrival(arrival).now_or_never().unwrap().unwrap();
        if row.gone == Some(at) && under_way.contains(&arrival) {
            world.broken(Law::L1, format!("the source of {arrival:?} was let go while it is under way"));
        }
    }
}

/// When nothing is left to do and nothing fails any more.
pub fn at_rest(world: &World) {
    walk(world, true);
    sources(world);
    results(world);
    targets(world);
    numbers(world);
}

/// What stood still in a source has arrived, and what was claimed was let go.
fn sources(world: &World) {
    let (places, away, arrived, unchanged) = {
        let seen = world.seen();
        (seen.places.clone(), seen.away.clone(), seen.arrived.clone(), seen.unchanged.clone())
    };
    for ((name, folder), place) in away {
        for (token, aside) in place.aside.iter().filter(|(_, aside)| !aside.file.writer) {
            let law = if arrived.contains_key(&aside.file.version) { Law::L4 } else { Law::L1 };
            let Aside { path, file, .. } = aside;
            let version = file.version;
            world.broken(law, format!("version {version} of {name}/{path} is aside as {token} in folder {folder}"));
        }
    }
    for (name, place) in places {
        let readers = world.setup.flows.iter().flat_map(|flow| flow.places()).filter(|place| **place == name).count();
        for (path, file) in place.files.iter().filter(|(_, file)| !file.writer) {
            let by = arrived.get(&file.version).into_iter().flat_map(BTreeMap::keys);
            let by: BTreeSet<&String> = by.chain(unchanged.get(&file.version).into_iter().flatten()).collect();
            if by.len() < readers {
                world.broken(
                    Law::L1,
                    format!("version {} of {name}/{path} stands still and has not arrived", file.version),
                );
            }
        }
        for (token, aside) in place.aside.iter().filter(|(_, aside)| !aside.file.writer) {
            let law = if arrived.contains_key(&aside.file.version) { Law::L4 } else { Law::L1 };
            world.broken(
                law,
                format!("version {} of {name}/{} is still aside as {token}", aside.file.version, aside.path),
            );
        }
    }
}

/// The newest revision of a slot is the newest result.
fn results(world: &World) {
    let results = world.seen().results.clone();
    for (slot, results) in results {
        let newest = world.truth.revisions(slot).now_or_never().unwrap().unwrap().pop();
        let last = results.last_key_value();
        if newest.as_ref().map(|row| row.item.content.hash) != last.map(|(_, hash)| *hash) {
            let keys: Vec<_> = results.iter().map(|(key, hash)| (key.0.0, key.1.0, hash)).collect();
            world.broken(
                Law::Order,
                format!("slot {slot} shows {:?}, its results are {keys:?}", newest.map(|row| row.item.content.hash)),
            );
        }
    }
}

/// A revision is as new as the newest result that confirmed it: of those that came to the same, the ones before the
/// slot's next revision of that content.
pub fn as_new_as(
    world: &World,
    revisions: &[RevisionRow],
    slot: SlotId,
    from: (Arrival, Pass),
    hash: ContentHash,
) -> Option<(Arrival, Pass)> {
    let same = revisions.iter().filter(|row| row.slot == slot && row.item.content.hash == hash);
    let next = same.map(|row| (row.item.id.arrival, row.item.id.pass)).filter(|key| *key > from).min();
    let seen = world.seen();
    let own = seen.results.get(&slot)?.iter().filter(|(key, of)| **of == hash && next.is_none_or(|next| **key < next));
    own.map(|(key, _)| *key).max()
}

/// What was exported is what the datasets say, and every export came to an end.
fn targets(world: &World) {
    let slots: BTreeSet<_> = world.seen().results.keys().copied().collect();
    let revisions = slots.into_iter().flat_map(|slot| world.truth.revisions(slot).now_or_never().unwrap().unwrap());
    let revisions: Vec<RevisionRow> = revisions.collect();
    let targets = world.seen().targets.clone();
    let dead = world.truth.snapshot().dead;
    for row in &revisions {
        let key = (row.item.id.arrival, row.item.id.pass);
        match row.export {
            ExportState::Pending => {
                world.broken(Law::Rest, format!("the export of slot {} {key:?} is pending for ever", row.slot));
            }
            ExportState::Refused
                if !dead
                    .iter()
                    .any(|letter| letter.export_only && letter.item.content.hash == row.item.content.hash) =>
            {
                world.broken(Law::L1, format!("the export of slot {} {key:?} was refused without a letter", row.slot));
            }
            _ => {}
        }
    }
    for ((destination, target), stored) in targets {
        let Some(by) = stored.by.filter(|_| !stored.late) else { continue };
        let shown = String::from_utf8_lossy(&target);
        let mut written = revisions.iter().filter(|row| {
            row.export == ExportState::Written
                && row.target.as_ref().is_some_and(|(d, t)| *d == destination && *t == target)
        });
        let last = written.rfind(|row| row.slot == by.slot);
        // What was refused after an attempt of unknown end may be there all the same.
        let refused = |row: &&RevisionRow| {
            row.slot == by.slot && row.item.content.hash == stored.hash && row.export == ExportState::Refused
        };
        if revisions.iter().any(|row| refused(&row)) {
            continue;
        }
        let key_of = |row: &RevisionRow| (row.item.id.arrival, row.item.id.pass);
        let newest = |from, hash| as_new_as(world, &revisions, by.slot, from, hash);
        let there = newest(by.key, stored.hash);
        let other = last.filter(|last| last.item.content.hash != stored.hash);
        if let Some(last) = other.filter(|last| there < newest(key_of(last), last.item.content.hash)) {
            let key = key_of(last);
            world.broken(
                Law::L2,
                format!(
                    "{destination}/{shown} holds {:?} of {:?}, and {:?} of {key:?} is said to be written there",
                    stored.hash, by.key, last.item.content.hash
                ),
            );
        }
    }
}

/// Every run is over, and the counts agree with the rows.
fn numbers(world: &World) {
    let filter = Filter { limit: 10_000, ended: true, ..Filter::default() };
    let runs = world.truth.runs(filter).now_or_never().unwrap().unwrap().rows;
    for run in runs.iter().filter(|run| run.state != RunState::Done || run.outstanding > 0) {
        world.broken(Law::Rest, format!("run {} is {:?} with {} outstanding", run.id, run.state, run.outstanding));
    }
    let dead = world.truth.snapshot().dead;
    for flow in world.truth.flows(DEFAULT_SPACE).now_or_never().unwrap().unwrap() {
        let open = dead.iter().filter(|row| row.flow_id == flow.id && row.state == DeadState::Open).count() as u64;
        if flow.outstanding > 0 || flow.dead_letters != open {
            let (outstanding, counted) = (flow.outstanding, flow.dead_letters);
            world.broken(
                Law::Rest,
                format!("flow {} counts {outstanding} outstanding and {counted} of {open} dead letters", flow.slug),
            );
        }
    }
}
