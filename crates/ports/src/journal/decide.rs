//! Decisions that every journal makes in the same way: plain functions of values, apart from the storage.

mod errors;
mod lineage;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use opendmp_model::export::{IfExists, is_name_of, numbered};
use opendmp_model::fault::{Fault, FaultKind, Tries};
use opendmp_model::history::{Child, Entry, Result as Outcome, StepRecord};
use opendmp_model::ids::{Arrival, ContentHash, IdPrefix, ItemId, Pass, PathHash, SlotId, TaskId};
use opendmp_model::item::{BUNDLE_ITEMS, BUNDLE_SPAN, Item, label};
use opendmp_model::ledger::Known;
use opendmp_model::manifest::Load;

use super::draft::DraftChange;
use super::types::{
    Filter, FlowId, FlowState, GroupRow, HoldRule, Ingest, NewArrival, NewDeadLetter, NewExport, NewRevision, NewTask,
    Reader, RunMode, RunRow, RunState, RunsMeant, dead_letter_id,
};

pub use errors::*;
pub use lineage::*;

/// Claims of a task that were lost, its worker dying, before its item is a dead letter.
pub const LOST_LIMIT: u32 = 3;

/// Bundles of arrivals are also bounded in bytes, so that a bundle of small contents fits in memory.
const BUNDLE_BYTES: u64 = 16 << 20;

/// Cuts items into bundles: at most [`BUNDLE_ITEMS`] items and 16 MiB (or one item), arrivals within
/// [`BUNDLE_SPAN`], one pass each. Keeps the order.
pub fn bundles(items: Vec<Item>) -> Vec<Vec<Item>> {
    let mut out: Vec<Vec<Item>> = Vec::new();
    let (mut bytes, mut least, mut most) = (0u64, 0u64, 0u64);
    for item in items {
        let arrival = item.id.arrival.0;
        let fits = out.last().is_some_and(|bundle: &Vec<Item>| {
            bundle.len() < BUNDLE_ITEMS
                && bytes + item.content.size <= BUNDLE_BYTES
                && bundle.last().is_some_and(|last| last.id.pass == item.id.pass)
                && most.max(arrival) - least.min(arrival) < BUNDLE_SPAN
        });
        if fits {
            (least, most) = (least.min(arrival), most.max(arrival));
        } else {
            out.push(Vec::new());
            (bytes, least, most) = (0, arrival, arrival);
        }
        bytes += item.content.size;
        if let Some(bundle) = out.last_mut() {
            bundle.push(item);
        }
    }
    out
}

/// An item as it enters input `input` of a processor: items that come by a further input than the first are labelled,
/// so that two branches of one item that meet again don't fall into one dataset slot.
pub fn deliver(item: &Item, to: &Reader) -> Item {
    let mut item = item.clone();
    if to.input > 0 {
        item.label = label(item.label, &to.processor, to.input);
    }
    item
}

/// The items of an ingest and the tasks they begin with, once their numbers are known.
pub fn arrivals(ingest: &Ingest, new: &[Admitted]) -> (Vec<Item>, Vec<NewTask>) {
    let root = PathHash::root(&ingest.processor);
    let items: Vec<Item> = new
        .iter()
        .map(|admitted| {
            let arrival = &ingest.arrivals[admitted.index];
            Item {
                id: ItemId { arrival: admitted.number, pass: Pass(0), path: root },
                name: Arc::clone(&arrival.name),
                content: arrival.content,
                media_type: arrival.media_type.clone(),
                attributes: arrival.attributes.clone(),
                origin: admitted.origin,
                label: 0,
                index: 0,
                arrived: ingest.at,
            }
        })
        .collect();
    let mut tasks = Vec::new();
    for reader in &ingest.readers {
        tasks.extend(tasks_for(reader, items.iter().map(|item| deliver(item, reader)).collect()));
    }
    (items, tasks)
}

/// Fresh tasks for items that enter a processor.
pub fn tasks_for(to: &Reader, items: Vec<Item>) -> Vec<NewTask> {
    let task = |items: Vec<Item>| {
        let first = items.first()?.id;
        let id = TaskId::new(first, &to.processor, to.input, 0);
        let (to, load) = (to.clone(), Load::Items);
        Some(NewTask { id, to, items, load, tries: Tries::default(), lost: 0, generation: 0, due: None, fault: None })
    };
    bundles(items).into_iter().filter_map(task).collect()
}

/// How many entries the last step of a settlement has; one at least, so that what is empty counts.
pub fn last_entries(steps: &[StepRecord]) -> usize {
    steps.last().map_or(1, |step| step.entries.len().max(1))
}

/// Whether a group has as much as it is to have.
pub fn is_full(rule: &HoldRule, items: u64, bytes: u64) -> bool {
    items > 0 && (rule.count.is_some_and(|count| items >= count) || rule.bytes.is_some_and(|most| bytes >= most))
}

/// What becomes of a draft, by its present hash: whether the change is carried out, or it counts as done already.
pub fn draft_change(present: Option<ContentHash>, change: &DraftChange) -> DraftDecision {
    let wanted = change.new.as_ref().map(|new| ContentHash::of(&new.body));
    if present == wanted && present != change.seen {
        DraftDecision::IsDone
    } else if present == change.seen {
        DraftDecision::Change
    } else {
        DraftDecision::Refuse
    }
}

/// See [`draft_change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DraftDecision {
    /// Carry it out.
    Change,
    /// It is what it is to be.
    IsDone,
    /// It is not what was seen.
    Refuse,
}

/// When a group is to be looked at; `None`: nothing closes it before more is added. 0: at once.
pub fn look_due(group: &GroupRow) -> Option<i64> {
    if group.items == 0 {
        return None;
    }
    if group.flush || is_full(&group.rule, group.items, group.bytes) {
        return Some(0);
    }
    group.rule.quiet.map(|quiet| group.changed.saturating_add(quiet))
}

/// What a flow has ready to be claimed.
#[derive(Clone, Debug)]
pub struct Queue<K> {
    /// Its tasks that are claimed.
    pub busy: usize,
    /// Order of entry and key of those that are ready, oldest first.
    pub ready: VecDeque<(i64, K)>,
}

/// Picks tasks so that one flow's backlog does not stand before another's item: always of the flow that has the least
/// under way, then the one that waits longest. What is picked comes in the order in which it entered.
pub fn fair<K>(mut queues: Vec<Queue<K>>, limit: usize) -> Vec<K> {
    let mut picked = Vec::new();
    while picked.len() < limit {
        let first = |queue: &Queue<K>| queue.ready.front().map(|(order, _)| (queue.busy, *order));
        let next = queues.iter_mut().filter_map(|queue| Some((first(queue)?, queue))).min_by_key(|(key, _)| *key);
        let Some(task) = next.and_then(|(_, queue)| {
            queue.busy += 1;
            queue.ready.pop_front()
        }) else {
            break;
        };
        picked.push(task);
    }
    picked.sort_by_key(|(order, _)| *order);
    picked.into_iter().map(|(_, key)| key).collect()
}

/// What sets off the run in which a flow that is deleted closes what it holds.
pub const FLUSH_TRIGGER: &str = "the flow is deleted: what it holds is closed";

/// The task of the `nth` look at a group. Looks come before all else of their flow, and are few.
pub fn look(flow: FlowId, group: PathHash, to: &Reader, nth: u32, due: i64) -> NewTask {
    let parts: [&[u8]; 3] = [&flow.0.to_le_bytes(), &group.0, &nth.to_le_bytes()];
    NewTask {
        id: TaskId { arrival: Arrival(0), pass: Pass(0), path: PathHash::of("opendmp 2026 look v1", &parts) },
        to: to.clone(),
        items: Vec::new(),
        load: Load::Look(group),
        tries: Tries::default(),
        lost: 0,
        generation: nth,
        due: (due > 0).then_some(due),
        fault: None,
    }
}

/// The history of arrivals.
pub fn arrival_record(ingest: &Ingest, new: &[Admitted], items: &[Item]) -> StepRecord {
    let entries = new
        .iter()
        .zip(items)
        .map(|(admitted, item)| Entry {
            input: item.id,
            took: ingest.arrivals[admitted.index].took,
            result: Outcome::Arrived,
            children: vec![Child {
                id: item.id,
                port: None,
                name: Some(Arc::clone(&item.name)),
                content: Some((item.content.hash, item.content.size)),
                attributes: (!item.attributes.is_empty()).then(|| item.attributes.json().into()),
            }],
            log: Vec::new(),
            note: None,
        })
        .collect();
    StepRecord { context: ingest.context, started: ingest.started, entries }
}

/// The arrivals that a record concerns: those of what went in, and of what came of it.
fn concerned(steps: &[StepRecord]) -> impl Iterator<Item = Arrival> + Clone {
    let entries = steps.iter().flat_map(|step| &step.entries);
    entries
        .flat_map(|entry| std::iter::once(entry.input).chain(entry.children.iter().map(|child| child.id)))
        .map(|id| id.arrival)
}

/// The least and greatest arrival that a record concerns, so that it is found by arrival.
pub fn record_span(steps: &[StepRecord]) -> Option<(Arrival, Arrival)> {
    concerned(steps).fold(None, |span: Option<(Arrival, Arrival)>, arrival| {
        let (least, most) = span.unwrap_or((arrival, arrival));
        Some((least.min(arrival), most.max(arrival)))
    })
}

/// Whether a record concerns an arrival, and does not only span it.
pub fn concerns(steps: &[StepRecord], arrival: Arrival) -> bool {
    concerned(steps).any(|one| one == arrival)
}

/// What a slot holds next to a new result, in order of (arrival, pass).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its content.
    pub hash: ContentHash,
    /// Where it was or is being exported to.
    pub target: Option<(Arc<str>, Vec<u8>)>,
}

/// What becomes of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevisionChoice {
    /// Whether it is a revision of its own, or equal to the one before it.
    pub new: bool,
    /// Whether it is to be exported.
    pub export: bool,
}

/// Compares a result with the revision just before it: an equal hash adds only history, and is exported again only
/// where the destination or the name there is another one.
pub fn revision(before: Option<&Neighbour>, hash: ContentHash, export: Option<&NewExport>) -> RevisionChoice {
    let Some(before) = before.filter(|before| before.hash == hash) else {
        return RevisionChoice { new: true, export: export.is_some() };
    };
    let same_target = match (&before.target, export) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some((destination, target)), Some(export)) => {
            *destination == export.destination && is_name_of(target, &export.target)
        }
    };
    RevisionChoice { new: false, export: !same_target }
}

/// What a journal knows of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetState {
    /// The slot that wrote it last or, where none did, the one that reserved it. `None`: a foreign file was in the way.
    pub owner: Option<SlotId>,
    /// For a wanted name: its numbered names up to this one were found taken, so that a search begins behind it.
    pub numbers: u32,
}

/// What a journal knows of the targets at one destination.
pub trait Targets {
    /// Why it can't say.
    type Error;

    /// What is known of a target, by name.
    ///
    /// # Errors
    /// Where the journal can't be read.
    fn state(&mut self, target: &[u8]) -> Result<Option<TargetState>, Self::Error>;

    /// The least number, from `from` on, of a numbered name of `wanted` that `slot` owns.
    ///
    /// # Errors
    /// Where the journal can't be read.
    fn owned(&mut self, slot: SlotId, wanted: &[u8], from: u32) -> Result<Option<u32>, Self::Error>;
}

/// What becomes of a wish to export to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// This target is written; it is the slot's own where nobody owns it yet.
    Take {
        /// Its name.
        target: Vec<u8>,
        /// 1: the wanted name; more: the numbered one.
        number: u32,
    },
    /// What is there is kept, and nothing is exported.
    Keep,
    /// Refused.
    Refuse(Fault),
}

/// Finds the target for a slot. `from` is the number of the name to begin with: 1 is the wanted one, and a caller
/// that found numbers up to `n` taken by foreign files goes on with `n + 1`.
///
/// # Errors
/// What `targets` errs with.
pub fn reserve<T: Targets>(
    slot: SlotId,
    export: &NewExport,
    from: u32,
    targets: &mut T,
) -> Result<Reservation, T::Error> {
    let take = |number: u32| Reservation::Take { target: name(&export.target, number), number };
    let wanted = targets.state(&export.target)?;
    if from <= 1 {
        match (wanted.and_then(|state| state.owner), export.if_exists) {
            (None, _) | (_, IfExists::Overwrite) => return Ok(take(1)),
            (Some(owner), _) if owner == slot => return Ok(take(1)),
            (_, IfExists::Keep) => return Ok(Reservation::Keep),
            (_, IfExists::Fail) => return Ok(Reservation::Refuse(taken(&export.target))),
            (_, IfExists::Version) => {}
        }
    }
    let from = from.max(2);
    if let Some(number) = targets.owned(slot, &export.target, from)? {
        return Ok(take(number));
    }
    let mut number = from.max(wanted.map_or(0, |state| state.numbers).saturating_add(1));
    loop {
        let state = targets.state(&name(&export.target, number))?;
        let taken = state.and_then(|state| state.owner).is_some_and(|owner| owner != slot);
        if !taken || export.if_exists == IfExists::Overwrite || number == u32::MAX {
            return Ok(take(number));
        }
        number += 1;
    }
}

/// The fault of an export whose target is taken.
pub fn taken(target: &[u8]) -> Fault {
    let name = opendmp_model::name::from_bytes(target);
    Fault::new(
        FaultKind::ExportRefused,
        "target-taken",
        format!("`{name}` is there already, and is not this dataset's"),
    )
    .with_hint("move it away and retry, or choose another `name` or `if_exists`")
}

/// The fault of a task whose worker died too often.
pub fn lost(times: u32) -> Fault {
    Fault::new(FaultKind::Lost, "worker-lost", format!("the server died {times} times while this item was under way"))
        .with_hint("if it was stopped by hand, retry; otherwise look at the item and at the memory of the machine")
}

/// The `n`-th name for a target: the wanted one for 1.
pub fn name(wanted: &[u8], n: u32) -> Vec<u8> {
    if n <= 1 { wanted.to_vec() } else { numbered(wanted, n) }
}

/// Whether what was `written` to a target is newer than `this`, which must then not be written over it.
pub fn supersedes(written: Option<(Arrival, Pass)>, this: (Arrival, Pass)) -> bool {
    written.is_some_and(|written| written > this)
}

/// Whether an arrival is new: not one whose claim is recorded and waits to be let go, and not the very version that
/// the ledger has as the latest of its path.
fn is_fresh(arrival: &NewArrival, known: Option<&Known>, releasing: bool) -> bool {
    match (&arrival.release, known) {
        (Some(_), _) => !releasing,
        (None, Some(known)) => match &arrival.stat {
            // The times of a recent version may hide a change; its content doesn't.
            Some(stat) if known.stat.recent && stat.settled() == known.stat.settled() => {
                arrival.content.hash != known.hash
            }
            Some(stat) => stat.settled() != known.stat,
            None => arrival.content.hash != known.hash,
        },
        (None, None) => true,
    }
}

/// An arrival that is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Which of the ingest's arrivals.
    pub index: usize,
    /// Its number.
    pub number: Arrival,
    /// The first arrival of its path.
    pub origin: Arrival,
}

/// What a journal knows of a source.
pub trait SourceLedger {
    /// Why it can't say.
    type Error;

    /// The latest arrival of a path.
    ///
    /// # Errors
    /// Where the journal can't be read.
    fn known(&mut self, path: &[u8]) -> Result<Option<Known>, Self::Error>;

    /// Whether a release is recorded and not yet carried out.
    ///
    /// # Errors
    /// Where the journal can't be read.
    fn releasing(&mut self, release: &[u8]) -> Result<bool, Self::Error>;

    /// The next arrival number.
    fn next(&mut self) -> Arrival;
}

/// Picks the arrivals that are new, and numbers them in order. What comes twice in one ingest counts as known the
/// second time. A trial looks at everything, and takes nothing from the live runs after it: to it all is new, and the
/// ledger is not to know of it.
///
/// # Errors
/// What `ledger` errs with.
pub fn admit<L: SourceLedger>(
    arrivals: &[NewArrival],
    mode: RunMode,
    ledger: &mut L,
) -> Result<Vec<Admitted>, L::Error> {
    let mut here: HashMap<&[u8], Known> = HashMap::with_capacity(arrivals.len());
    let mut releases: HashSet<&[u8]> = HashSet::new();
    let mut out = Vec::with_capacity(arrivals.len());
    for (index, arrival) in arrivals.iter().enumerate() {
        let known = match here.get(arrival.path.as_slice()) {
            Some(known) => Some(*known),
            None => ledger.known(&arrival.path)?,
        };
        if mode == RunMode::Live {
            let releasing = match arrival.release.as_deref() {
                Some(release) => !releases.insert(release) || ledger.releasing(release)?,
                None => false,
            };
            if !is_fresh(arrival, known.as_ref(), releasing) {
                continue;
            }
        }
        let number = ledger.next();
        let origin = known.map_or(number, |known| known.origin);
        let (stat, hash) = (arrival.stat.unwrap_or_default(), arrival.content.hash);
        here.insert(&arrival.path, Known { origin, latest: number, stat, hash });
        out.push(Admitted { index, number, origin });
    }
    Ok(out)
}

/// The state a flow is in after a change to `wanted`: one that is to be deleted is gone once nothing of it is
/// outstanding. `None`: it is gone already and does not come back; save it again under its name.
pub fn flow_state(present: FlowState, wanted: FlowState, outstanding: u64) -> Option<FlowState> {
    match (present, wanted) {
        (FlowState::Deleted, FlowState::Deleting | FlowState::Deleted) => Some(FlowState::Deleted),
        (FlowState::Deleted, _) => None,
        (_, FlowState::Deleting | FlowState::Deleted) if outstanding == 0 => Some(FlowState::Deleted),
        (_, FlowState::Deleting | FlowState::Deleted) => Some(FlowState::Deleting),
        (_, other) => Some(other),
    }
}

/// The slot of a result of a flow. `hashed`: the last arrival there was before slots were named by numbers, too.
pub fn slot(flow: &str, new: &NewRevision, hashed: Arrival) -> SlotId {
    let Item { origin, name, label, .. } = &new.item;
    let named = if *origin <= hashed { SlotId::hashed } else { SlotId::new };
    named(*origin, &new.collection, flow, &new.processor, name, *label)
}

/// The slot of a result whose own slot already has another result of the same arrival and pass: two different items
/// that claim one slot, which a plan does not make. Nothing is lost by it: the second has a slot beside the first.
pub fn slot_beside(slot: SlotId, item: ItemId) -> SlotId {
    SlotId { hash: PathHash::of("opendmp 2026 slot beside v1", &[&slot.hash.0, &item.path.0]), ..slot }
}

/// Says in the history which results equalled their dataset's.
pub fn mark_unchanged(steps: &mut [StepRecord], items: &HashSet<ItemId>) {
    for entry in steps.iter_mut().flat_map(|step| &mut step.entries) {
        if entry.result == Outcome::Collected && items.contains(&entry.input) {
            entry.result = Outcome::Unchanged;
        }
    }
}

/// The dead letter of an item whose flow is deleted under it.
pub fn abandoned(at: &Reader, item: Item, attempts: u32) -> NewDeadLetter {
    let fault = Fault::new(FaultKind::Abandoned, "flow-deleted", "the flow was deleted while this item was under way")
        .with_hint("enable the flow again under its name and retry, or discard");
    NewDeadLetter { id: dead_letter_id(item.id, at), at: at.clone(), item, fault, attempts, log: Vec::new() }
}

/// Of dead letters that are sent in together, those of the newest pass of each arrival: in the pass that they get, what
/// comes of two earlier ones would have the same ids. The others stay open.
pub fn newest_passes<T>(letters: &mut Vec<T>, id: impl Fn(&T) -> TaskId) {
    let mut newest: HashMap<Arrival, Pass> = HashMap::new();
    for letter in letters.iter().map(&id) {
        let pass = newest.entry(letter.arrival).or_insert(letter.pass);
        *pass = letter.pass.max(*pass);
    }
    letters.retain(|letter| newest.get(&id(letter).arrival) == Some(&id(letter).pass));
}

/// What sets off a run of retried dead letters.
pub fn retry_trigger(letters: usize) -> String {
    format!("retry of {letters} dead letter{}", if letters == 1 { "" } else { "s" })
}

/// The history of a dead letter that is sent in again.
pub fn reentered(old: ItemId, new: ItemId) -> Entry {
    let child = Child { id: new, port: None, name: None, content: None, attributes: None };
    Entry { input: old, took: 0, result: Outcome::Reentered, children: vec![child], log: Vec::new(), note: None }
}

/// Whether an edit fits dead letters that are sent in: `open` says of each whether only its export failed.
///
/// # Errors
/// `Invalid` where it does not.
pub fn fits_edit(open: &[bool]) -> crate::Result<()> {
    let wrong = |message: &str| Err(crate::Error::new(crate::ErrorKind::Invalid, "journal reenter", message));
    match open {
        [false] => Ok(()),
        [true] => wrong("only the export failed: there is nothing to edit"),
        _ => wrong("one dead letter is edited at a time"),
    }
}

/// Whether an item was the same one in an earlier pass.
pub fn is_repeat(item: ItemId, before: ItemId) -> bool {
    item.arrival == before.arrival && item.path == before.path && before.pass < item.pass
}

/// Whether a name contains a pattern, or matches it whole where it has `*` or `?`. Letter case does not count.
pub fn name_matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_lowercase(), name.to_lowercase());
    if !pattern.contains(['*', '?']) {
        return name.contains(&pattern);
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    // Greedy matching with one point to go back to: linear in practice, quadratic at worst, never exponential.
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == '?' || c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Whether a typed id means this one.
pub fn id_matches(prefix: &IdPrefix, id: TaskId) -> bool {
    prefix.arrival == id.arrival && prefix.pass.is_none_or(|pass| pass == id.pass) && prefix.matches(id.path)
}

/// Where a page of datasets ended.
pub fn slot_cursor(slot: SlotId) -> String {
    let hex: String = slot.hash.0.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{hex}", slot.origin.0)
}

/// The inverse of [`slot_cursor`].
pub fn slot_at(cursor: &str) -> Option<SlotId> {
    let (origin, hex) = cursor.split_once('-')?;
    let mut hash = PathHash::default();
    if hex.len() != 2 * hash.0.len() || !hex.is_ascii() {
        return None;
    }
    for (at, byte) in hash.0.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(SlotId { origin: Arrival(origin.parse().ok()?), hash })
}

/// Whether a run is meant, by what its row says.
pub fn run_is_meant(filter: &Filter, run: &RunRow) -> bool {
    let went = match filter.runs {
        None => true,
        Some(RunsMeant::Running) => run.state == RunState::Running,
        Some(RunsMeant::Done) => run.state == RunState::Done,
        Some(RunsMeant::Failures) => run.dead > 0,
    };
    went && filter.flow.as_ref().is_none_or(|flow| *flow == run.flow)
        && filter.run.is_none_or(|wanted| wanted == run.id)
        && filter.since.is_none_or(|since| run.started >= since)
        && filter.until.is_none_or(|until| run.started < until)
        && filter.name.as_ref().is_none_or(|pattern| name_matches(pattern, &run.trigger))
        && filter.text.as_ref().is_none_or(|text| {
            let told = format!("{} {} {} {}", run.id, run.flow, run.trigger, run.version).to_lowercase();
            text.to_lowercase().split_whitespace().all(|word| told.contains(word))
        })
}

/// How many rows a page has at most.
pub fn page_limit(filter: &Filter) -> usize {
    match filter.limit {
        0 => 100,
        limit => limit.min(10_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match() {
        for (pattern, name, expected) in [
            ("isco", "Biscoe.csv", true),
            ("*.csv", "biscoe.csv", true),
            ("*.csv", "biscoe.csv.gz", false),
            ("b?sc*e*", "biscoe", true),
            ("*a*a*a*b", &"a".repeat(2000), false),
            ("", "x", true),
            ("?", "ü", true),
        ] {
            assert_eq!(name_matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
