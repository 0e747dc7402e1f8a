//! What is asked of one item reads what concerns it, and not more where a million others came of the same arrival.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opendmp_model::fault::{Fault, FaultKind, Tries};
use opendmp_model::history::{Child, Entry, Result as Outcome, StepRecord};
use opendmp_model::ids::{ItemId, SlotId, TaskId};
use opendmp_model::item::{ContentRef, Item};
use opendmp_model::manifest::{Load, Manifest};
use opendmp_ports::Journal;
use opendmp_ports::journal::{
    Filter, NewDeadLetter, NewRevision, NewTask, Reader, Seq, Settled, Settlement, dead_letter_id, decide,
};

use super::tests::{Desk, desk};
use super::{Options, read};

/// Siblings in one part.
const PART: u32 = 100;

impl Desk {
    async fn applied(&self, settlement: Settlement) -> Seq {
        match self.journal.settle(vec![settlement]).await.unwrap().pop() {
            Some(Settled::Applied(applied)) => applied.seq,
            other => panic!("{other:?}"),
        }
    }

    /// One arrival of which `parts` times 100 datasets are made, as a fan-out makes them. Answers the settlement and the
    /// item of one of the last part.
    pub(super) async fn fan_out(&self, parts: u32) -> (Seq, Item) {
        self.journal.ingest(self.ingest(&format!("of {parts}"), 1)).await.unwrap();
        let mut claimed = self.claim().await;
        let parent = claimed.task.items[0].clone();
        let step = |input: &Item, result, children: Vec<Child>| StepRecord {
            context: 1,
            started: 1,
            entries: vec![Entry { input: input.id, took: 1, result, children, log: Vec::new(), note: None }],
        };
        let rest = |generation: u32| NewTask {
            id: TaskId::new(parent.id, "shelf", 0, generation),
            to: Reader { processor: "shelf".into(), input: 0 },
            items: vec![parent.clone()],
            load: Load::Expand(Manifest { content: ContentRef::empty(), next: generation, left: 1 }),
            tries: Tries::default(),
            lost: 0,
            generation,
            due: None,
            fault: None,
        };
        let spooled = vec![step(&parent, Outcome::Spooled, Vec::new())];
        self.applied(Settlement { tasks: vec![rest(1)], history: spooled, ..self.nothing(&claimed) }).await;
        let mut last = None;
        for part in 0..parts {
            claimed = self.claim().await;
            let made = |n: u32| Item {
                id: parent.id.child("split", "out", part * PART + n),
                name: format!("{part}-{n}").into(),
                ..parent.clone()
            };
            let items: Vec<Item> = (0..PART).map(made).collect();
            let child = |item: &Item| Child { id: item.id, port: None, name: None, content: None, attributes: None };
            let history = vec![step(&parent, Outcome::Emitted, items.iter().map(child).collect())];
            let mut tasks = decide::tasks_for(&Reader { processor: "shelf".into(), input: 0 }, items);
            if part + 1 < parts {
                tasks.push(rest(part + 2));
            }
            self.applied(Settlement { tasks, history, ..self.nothing(&claimed) }).await;
            claimed = self.claim().await;
            let revision = |item: &Item| NewRevision {
                collection: "Shelf".into(),
                processor: "shelf".into(),
                item: item.clone(),
                export: None,
            };
            let items = claimed.task.items.clone();
            let entry = |item: &Item| step(item, Outcome::Collected, Vec::new()).entries.remove(0);
            let history = vec![StepRecord { context: 1, started: 2, entries: items.iter().map(entry).collect() }];
            let revisions = items.iter().map(revision).collect();
            let seq = self.applied(Settlement { revisions, history, ..self.nothing(&claimed) }).await;
            last = Some((seq, items[items.len() / 2].clone()));
        }
        last.unwrap()
    }

    /// Operations of the database's machine that some reading takes, and the records that it reads.
    async fn work(&self, of: impl FnOnce(&rusqlite::Connection) -> u64 + Send + 'static) -> (u64, u64) {
        let counted = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&counted);
        let read = self.journal.read("work", move |conn| {
            let count = move || {
                counter.fetch_add(1, Ordering::Relaxed);
                false
            };
            conn.progress_handler(1, Some(count))?;
            let read = of(conn);
            conn.progress_handler(1, None::<fn() -> bool>)?;
            Ok(read)
        });
        let read = read.await.unwrap();
        (counted.load(Ordering::Relaxed), read)
    }
}

fn slot(item: &Item) -> SlotId {
    SlotId::new(item.origin, "Shelf", "f", "shelf", &item.name, item.label)
}

#[tokio::test]
async fn one_of_many_siblings_is_found_without_the_others() {
    let mut all = Vec::new();
    for parts in [3, 60] {
        let dir = tempfile::tempdir().unwrap();
        let d = desk(dir.path(), Options::default()).await;
        let (seq, item) = d.fan_out(parts).await;
        let rows = d.journal.lineage(seq, item.id).await.unwrap();
        let ids: Vec<Vec<ItemId>> =
            rows.iter().map(|row| row.steps[0].entries.iter().map(|e| e.input).collect()).collect();
        let parent = ItemId { path: opendmp_model::ids::PathHash::root("inbox"), ..item.id };
        assert_eq!(ids, [vec![parent], vec![parent], vec![parent], vec![item.id]], "the whole way, and nothing else");
        let id = item.id;
        let (steps, records) = d.work(move |conn| read::lineage(conn, seq, id).unwrap().1).await;
        assert_eq!(records, 4, "records that were read");
        let (slot, filter) = (slot(&item), Filter { id: slot(&item).to_string().parse().ok(), ..Filter::default() });
        let (listed, rows) = d.work(move |conn| read::datasets(conn, &filter).unwrap().rows.len() as u64).await;
        assert_eq!(rows, 1);
        let (revisions, rows) = d.work(move |conn| read::revisions(conn, slot).unwrap().len() as u64).await;
        assert_eq!(rows, 1);
        all.push([steps, listed, revisions]);
    }
    for (few, many) in all[0].into_iter().zip(all[1]) {
        assert!(few > 0 && many <= few + few / 4, "{few} operations of the database among few, {many} among many");
    }
}

#[tokio::test]
async fn one_of_many_dead_letters_is_found_without_the_others() {
    let mut all = Vec::new();
    for count in [10u32, 3_000] {
        let dir = tempfile::tempdir().unwrap();
        let d = desk(dir.path(), Options::default()).await;
        d.journal.ingest(d.ingest("one", 1)).await.unwrap();
        let claimed = d.claim().await;
        let parent = claimed.task.items[0].clone();
        let at = claimed.task.to.clone();
        let letter = |n: u32| {
            let item = Item { id: parent.id.child("split", "out", n), ..parent.clone() };
            let fault = Fault::new(FaultKind::Failed, "x", "it failed");
            NewDeadLetter {
                id: dead_letter_id(item.id, &at),
                at: at.clone(),
                item,
                fault,
                attempts: 1,
                log: Vec::new(),
            }
        };
        let dead_letters: Vec<NewDeadLetter> = (0..count).map(letter).collect();
        let one = dead_letters[7].id;
        d.applied(Settlement { dead_letters, ..d.nothing(&claimed) }).await;
        let filter = Filter { id: one.to_string().parse().ok(), ..Filter::default() };
        let found = d.journal.dead_letters(filter.clone()).await.unwrap().rows;
        assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), [one]);
        let (steps, rows) = d.work(move |conn| read::dead_letters(conn, &filter).unwrap().rows.len() as u64).await;
        assert_eq!(rows, 1);
        // And those that are alike are counted without being looked at.
        let (grouped, groups) =
            d.work(|conn| read::dead_groups(conn, &Filter::default()).unwrap().rows.len() as u64).await;
        assert_eq!(groups, 1);
        all.push([steps, grouped]);
    }
    for (few, many) in all[0].into_iter().zip(all[1]) {
        assert!(few > 0 && many <= few + few / 4, "{few} operations of the database among few, {many} among many");
    }
}

#[tokio::test]
async fn a_search_is_one_of_short_reads() {
    let dir = tempfile::tempdir().unwrap();
    let d = desk(dir.path(), Options::default()).await;
    d.fan_out(40).await;
    let found = |name: &str| Filter { name: Some(name.to_owned()), limit: 3, ..Filter::default() };
    let mut filter = found("39-5?");
    let (mut pages, mut rows) = (0, Vec::new());
    loop {
        let asked = filter.clone();
        let page = d.journal.read("search", move |conn| read::datasets_within(conn, &asked, 500)).await.unwrap();
        pages += 1;
        rows.extend(page.rows.into_iter().map(|row| row.slot));
        filter.after = page.next;
        if filter.after.is_none() {
            break;
        }
    }
    assert!((8..=12).contains(&pages), "4,000 datasets, 500 at a time: {pages}");
    let whole = d.journal.datasets(Filter { limit: 100, ..found("39-5?") }).await.unwrap();
    assert_eq!((rows.len(), whole.next), (10, None));
    assert_eq!(rows, whole.rows.into_iter().map(|row| row.slot).collect::<Vec<_>>());
    // Of a run that made none, nothing is looked at.
    let filter = Filter { run: Some(opendmp_ports::journal::RunId(99)), ..Filter::default() };
    let (steps, rows) = d.work(move |conn| read::datasets(conn, &filter).unwrap().rows.len() as u64).await;
    assert!(rows == 0 && steps < 100, "{steps} operations");
}
