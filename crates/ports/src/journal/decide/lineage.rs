//! How the records of the history that made one item are found, each from the one after it, whatever else was made of
//! the same arrival: a record names the one in which the items of its task were made.

use std::collections::{HashMap, HashSet};

use opendmp_model::history::{Entry, Result as Outcome, StepRecord};
use opendmp_model::ids::{Arrival, IdPrefix, ItemId, Pass, PathHash};
use opendmp_model::item::Item;
use opendmp_model::manifest::Load;

use crate::journal::types::{HistoryRow, NewTask, Seq};

/// Where the items were made that a record begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Made {
    /// Not known: recorded before this was kept, or it begins with arrivals.
    #[default]
    Unknown,
    /// All in this record.
    In(Seq),
    /// Those of its entries in order, each in its own, where that is known.
    Each(Vec<Option<Seq>>),
}

impl From<Option<Seq>> for Made {
    fn from(made: Option<Seq>) -> Self {
        made.map_or(Self::Unknown, Self::In)
    }
}

/// The record in which the items were made that a settlement leaves in tasks and groups: its own or, where it records
/// nothing, the one of the task that it settles.
pub fn maker(own: Seq, steps: &[StepRecord], settled: Option<Seq>) -> Option<Seq> {
    if super::record_span(steps).is_some() { Some(own) } else { settled }
}

/// Whether a task is the rest of a manifest. Where the one before it was, too, its item was made where that one's was,
/// so that the parts of a manifest are not one behind the other.
pub fn is_rest(task: &NewTask) -> bool {
    matches!(task.load, Load::Expand(_))
}

/// The items that a step made.
pub fn children(steps: &StepRecord) -> impl Iterator<Item = ItemId> {
    steps.entries.iter().flat_map(|entry| entry.children.iter().map(|child| child.id))
}

/// The record of dead letters that are sent in again as a task: a record each, so that the task has one that made its
/// items. `before` has of each item the one it was, and where that was made.
pub fn reentry_record(
    context: u32,
    started: i64,
    task: &NewTask,
    before: &HashMap<ItemId, (Item, Option<Seq>)>,
) -> (StepRecord, Made) {
    let known = task.items.iter().filter_map(|item| Some((item, before.get(&item.id)?)));
    let (entries, each) = known.map(|(new, (old, made))| (edited(old, new), *made)).unzip();
    (StepRecord { context, started, entries }, Made::Each(each))
}

/// The entry of an item that was sent in again, with what became of its content where a person edited that.
fn edited(old: &Item, new: &Item) -> Entry {
    let mut entry = super::reentered(old.id, new.id);
    if let Some(child) = entry.children.first_mut().filter(|_| old.content.hash != new.content.hash) {
        child.content = Some((new.content.hash, new.content.size));
        let [before, after] = [old, new].map(|item| item.content.hash.to_hex());
        entry.note = Some(format!("edited: b3:{before} became b3:{after}").into());
    }
    entry
}

/// The records of arrivals that are sent in again in another pass: a record for each bundle, so that each task made of
/// them has one that made its items.
pub fn sent_again(context: u32, started: i64, items: Vec<Item>) -> Vec<StepRecord> {
    let again = |item: &Item| super::reentered(ItemId { pass: Pass(0), ..item.id }, item.id);
    let record = |items: Vec<Item>| StepRecord { context, started, entries: items.iter().map(again).collect() };
    super::bundles(items).into_iter().map(record).collect()
}

/// The item that names what was made of a group.
pub fn joined_first(steps: &[StepRecord]) -> Option<ItemId> {
    let mut entries = steps.iter().flat_map(|step| &step.entries);
    entries.find(|entry| entry.result == Outcome::Joined).map(|entry| entry.input)
}

/// Where the way of an item goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nowhere: it arrived.
    Arrived,
    /// In this record.
    Record(Seq),
    /// In the one by which this arrival came in.
    Arrival(Arrival),
    /// That is not known: all that concerns the arrival has to be looked through.
    Unknown(Arrival),
}

/// The way of one item back to its arrival.
#[derive(Debug)]
pub struct Lineage {
    at: ItemId,
    /// The item, and those that it was made of.
    items: HashSet<ItemId>,
    rows: Vec<HistoryRow>,
}

impl Lineage {
    /// Begins with an item.
    pub fn new(item: ItemId) -> Self {
        Self { at: item, items: HashSet::from([item]), rows: Vec::new() }
    }

    /// Takes what a record has of the item.
    pub fn take(&mut self, row: HistoryRow, made: &Made) -> Next {
        let mut last = None;
        let mut arrived = false;
        while !arrived && let Some((n, entry)) = maker_of(&row.steps, self.at) {
            arrived = entry.result == Outcome::Arrived;
            last = Some((n, entry.result));
            self.at = entry.input;
            // An item that is its own parent would go on for ever.
            if !self.items.insert(entry.input) {
                break;
            }
        }
        let (seq, arrival) = (row.seq, self.at.arrival);
        let next = match (arrived, made, last) {
            (true, _, _) => Next::Arrived,
            (_, Made::In(made), _) => Next::Record(*made),
            (_, Made::Each(each), Some((n, Outcome::Reentered))) => {
                each.get(n).copied().flatten().map_or(Next::Unknown(arrival), Next::Record)
            }
            (_, Made::Unknown, Some((_, Outcome::Reentered))) => Next::Arrival(arrival),
            (_, Made::Unknown | Made::Each(_), _) => Next::Unknown(arrival),
        };
        self.rows.push(self.concerned(row));
        match next {
            // What was made earlier was recorded earlier.
            Next::Record(next) if next >= seq => Next::Unknown(arrival),
            next => next,
        }
    }

    /// The record without what is of other items.
    fn concerned(&self, mut row: HistoryRow) -> HistoryRow {
        for step in &mut row.steps {
            step.entries.retain(|entry| {
                self.items.contains(&entry.input) || entry.children.iter().any(|child| self.items.contains(&child.id))
            });
            for entry in &mut step.entries {
                entry.children.retain(|child| self.items.contains(&child.id));
            }
        }
        row.steps.retain(|step| !step.entries.is_empty());
        row
    }

    /// All that was found, in commit order. `rest` are records that concern the arrival, where the way got lost.
    pub fn end(mut self, rest: Vec<HistoryRow>) -> Vec<HistoryRow> {
        let known: HashSet<Seq> = rest.iter().map(|row| row.seq).collect();
        self.rows.retain(|row| !known.contains(&row.seq));
        self.rows.extend(rest);
        self.rows.sort_by_key(|row| row.seq);
        self.rows
    }
}

/// What records have of the items whose ids begin in a certain way: entries that made or took one, up to a number of them,
/// so that it is bounded however many siblings there are.
#[derive(Debug)]
pub struct Traces {
    prefix: IdPrefix,
    range: (PathHash, PathHash),
    /// How many more entries and children are taken.
    left: usize,
    rows: Vec<HistoryRow>,
}

impl Traces {
    /// At most so many entries and children.
    pub fn new(prefix: IdPrefix, most: usize) -> Self {
        let range = prefix.range();
        Self { prefix, range, left: most, rows: Vec::new() }
    }

    fn is_meant(&self, id: ItemId) -> bool {
        let (least, greatest) = self.range;
        // Whether it is in the range is cheap to ask, and nearly always says no.
        id.arrival == self.prefix.arrival
            && (least..=greatest).contains(&id.path)
            && self.prefix.pass.is_none_or(|pass| pass == id.pass)
            && self.prefix.matches(id.path)
    }

    /// Takes what a record has, in commit order. Answers whether there is room for more.
    pub fn take(&mut self, mut row: HistoryRow) -> bool {
        for step in &mut row.steps {
            step.entries.retain_mut(|entry| {
                let taken = self.is_meant(entry.input);
                if !taken {
                    entry.children.retain(|child| self.is_meant(child.id));
                }
                if self.left == 0 || (!taken && entry.children.is_empty()) {
                    return false;
                }
                self.left -= 1;
                entry.children.truncate(self.left);
                self.left -= entry.children.len();
                true
            });
        }
        row.steps.retain(|step| !step.entries.is_empty());
        if !row.steps.is_empty() {
            self.rows.push(row);
        }
        self.left > 0
    }

    /// What was found, in commit order.
    pub fn end(self) -> Vec<HistoryRow> {
        self.rows
    }
}

/// The entry that made an item, and its place in its step.
fn maker_of(steps: &[StepRecord], item: ItemId) -> Option<(usize, &Entry)> {
    let entries = steps.iter().flat_map(|step| step.entries.iter().enumerate());
    entries.into_iter().find(|(_, entry)| entry.children.iter().any(|child| child.id == item))
}

#[cfg(test)]
mod tests {
    use super::*;
    use opendmp_model::history::Child;
    use opendmp_model::ids::PathHash;

    fn root() -> ItemId {
        ItemId { arrival: Arrival(7), pass: Pass(0), path: PathHash::root("inbox") }
    }

    fn entry(input: ItemId, result: Outcome, child: Option<ItemId>) -> Entry {
        let child = child.map(|id| Child { id, port: None, name: None, content: None, attributes: None });
        Entry { input, took: 1, result, children: child.into_iter().collect(), log: Vec::new(), note: None }
    }

    fn row(seq: u64, entries: Vec<Entry>) -> HistoryRow {
        let steps = entries.into_iter().map(|entry| StepRecord { context: 1, started: 0, entries: vec![entry] });
        HistoryRow { seq: Seq(seq), at: 0, actor: String::new(), steps: steps.collect() }
    }

    #[test]
    fn a_way_is_gone_back_record_by_record() {
        let (one, other) = (root().child("split", "out", 0), root().child("split", "out", 1));
        let mut lineage = Lineage::new(one);
        let entries = vec![entry(one, Outcome::Collected, None), entry(other, Outcome::Collected, None)];
        assert_eq!(lineage.take(row(9, entries), &Made::In(Seq(5))), Next::Record(Seq(5)));
        let entries = vec![entry(root(), Outcome::Emitted, Some(other)), entry(root(), Outcome::Emitted, Some(one))];
        assert_eq!(lineage.take(row(5, entries), &Made::In(Seq(2))), Next::Record(Seq(2)));
        let arrived = entry(root(), Outcome::Arrived, Some(root()));
        assert_eq!(lineage.take(row(2, vec![arrived]), &Made::Unknown), Next::Arrived);
        let rows = lineage.end(Vec::new());
        assert_eq!(rows.iter().map(|row| row.seq.0).collect::<Vec<_>>(), [2, 5, 9]);
        assert_eq!(rows[2].steps.len(), 1, "the sibling's entry is left out");
    }

    #[test]
    fn a_way_that_is_not_known_is_told() {
        let collected = || row(9, vec![entry(root(), Outcome::Collected, None)]);
        assert_eq!(Lineage::new(root()).take(collected(), &Made::Unknown), Next::Unknown(Arrival(7)));
        // A record that was made of a later one, or of itself.
        for later in [9, 10] {
            assert_eq!(Lineage::new(root()).take(collected(), &Made::In(Seq(later))), Next::Unknown(Arrival(7)));
        }
        // An item that is its own parent.
        let circle = row(9, vec![entry(root(), Outcome::Emitted, Some(root()))]);
        assert_eq!(Lineage::new(root()).take(circle, &Made::Unknown), Next::Unknown(Arrival(7)));
    }

    #[test]
    fn traces_are_of_what_was_meant_and_bounded() {
        let (one, other) = (root().child("split", "out", 0), root().child("split", "out", 1));
        let prefix: IdPrefix = one.to_string().parse().unwrap();
        let made =
            || row(5, vec![entry(root(), Outcome::Emitted, Some(other)), entry(root(), Outcome::Emitted, Some(one))]);
        let taken = || row(9, vec![entry(one, Outcome::Collected, None), entry(other, Outcome::Collected, None)]);
        let mut traces = Traces::new(prefix.clone(), 10);
        assert!(traces.take(made()) && traces.take(taken()));
        let rows = traces.end();
        let inputs = |row: &HistoryRow| row.steps.iter().map(|step| step.entries[0].input).collect::<Vec<_>>();
        assert_eq!(rows.iter().map(inputs).collect::<Vec<_>>(), [vec![root()], vec![one]], "nothing of the sibling");
        // An entry and its child fill two places.
        let mut traces = Traces::new(prefix, 2);
        assert!(!traces.take(made()));
        assert!(!traces.take(taken()));
        assert_eq!(traces.end().len(), 1);
        let another = IdPrefix { pass: Some(Pass(1)), ..one.to_string().parse().unwrap() };
        let mut traces = Traces::new(another, 10);
        traces.take(made());
        assert!(traces.end().is_empty(), "of another pass");
    }

    #[test]
    fn what_was_sent_in_again_goes_on_where_it_came_from() {
        let again = ItemId { pass: Pass(3), ..root() };
        let second = root().child("clean", "out", 0);
        let entries = vec![entry(second, Outcome::Reentered, None), entry(root(), Outcome::Reentered, Some(again))];
        let of = |made: Made| {
            let step = StepRecord { context: 1, started: 0, entries: entries.clone() };
            let row = HistoryRow { seq: Seq(9), at: 0, actor: String::new(), steps: vec![step] };
            Lineage::new(again).take(row, &made)
        };
        assert_eq!(of(Made::Unknown), Next::Arrival(Arrival(7)), "a reprocess begins with arrivals");
        assert_eq!(of(Made::Each(vec![None, Some(Seq(4))])), Next::Record(Seq(4)));
        assert_eq!(of(Made::Each(vec![Some(Seq(4)), None])), Next::Unknown(Arrival(7)));
    }
}
