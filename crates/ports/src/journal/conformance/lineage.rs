//! The way of one item back to its arrival.

use opendmp_model::history::{Entry, Result as Outcome, StepRecord};
use opendmp_model::ids::{IdPrefix, ItemId, PathHash, TaskId};
use opendmp_model::item::Item;
use opendmp_model::manifest::{Load, Manifest};

use super::desk::{Desk, OK, child, content, entry, reader, slot_of, task};
use crate::journal::types::*;
use crate::journal::{NewReprocess, Selection, decide};

/// Commit sequence of each record of a way, and whose entries it has.
async fn way(d: &Desk, seq: Seq, item: ItemId) -> Vec<(Seq, Vec<ItemId>)> {
    let rows = d.j().await.lineage(seq, item).await.expect(OK);
    let entries = |row: &HistoryRow| row.steps.iter().flat_map(|step| &step.entries).map(|e| e.input).collect();
    rows.iter().map(|row| (row.seq, entries(row))).collect()
}

/// A step of one item that makes children.
fn makes(d: &Desk, item: &Item, result: Outcome, children: &[Item]) -> StepRecord {
    let told = |made: &Item| opendmp_model::history::Child {
        id: made.id,
        port: None,
        name: None,
        content: None,
        attributes: None,
    };
    let entry = Entry { children: children.iter().map(told).collect(), ..entry(item, result) };
    StepRecord { context: d.context, started: 150, entries: vec![entry] }
}

pub(super) async fn one_of_many_has_a_short_way(d: Desk) {
    let claimed = d.arrive("a").await;
    let arrived = d.j().await.history(claimed.task.items[0].id.arrival).await.expect(OK)[0].seq;
    let parent = claimed.task.items[0].clone();
    let rest = |generation: u32| NewTask {
        id: TaskId::new(parent.id, "clean", 0, generation),
        load: Load::Expand(Manifest { content: content("blocks"), next: generation, left: 100 }),
        generation,
        ..task(vec![parent.clone()], "clean")
    };
    let history = vec![makes(&d, &parent, Outcome::Spooled, &[])];
    let spooled = d.apply(Settlement { tasks: vec![rest(1)], history, ..d.dropped(&claimed) }).await.seq;
    let mut parts = Vec::new();
    for part in 0..8u32 {
        let claimed = d.claim(1).await.remove(0);
        let children: Vec<Item> = (0..3).map(|n| child(&parent, part * 3 + n).0).collect();
        let children: Vec<Item> =
            children.into_iter().map(|item| Item { name: format!("{:?}", item.id.path).into(), ..item }).collect();
        let mut tasks = vec![task(children.clone(), "shelf")];
        tasks.extend((part < 7).then(|| rest(part + 2)));
        let history = vec![makes(&d, &parent, Outcome::Emitted, &children)];
        let seq = d.apply(Settlement { tasks, history, ..d.dropped(&claimed) }).await.seq;
        let claimed = d.claim(9).await;
        let shelf = claimed.iter().find(|claimed| &*claimed.task.to.processor == "shelf").expect("the children");
        let revisions = children.iter().map(|item| d.revision(item, "Shelf", None)).collect();
        let entries = children.iter().map(|item| entry(item, Outcome::Collected)).collect();
        let history = vec![StepRecord { context: d.context, started: 160, entries }];
        let collected = d.apply(Settlement { revisions, history, ..d.dropped(shelf) }).await.seq;
        let others = claimed.iter().filter(|one| one.task.id != shelf.task.id).map(|one| one.task.id).collect();
        d.j().await.unclaim(d.lease, others).await.expect(OK);
        parts.push((seq, collected, children));
    }
    for (seq, collected, children) in &parts {
        let id = children[1].id;
        let expected = vec![
            (arrived, vec![parent.id]),
            (spooled, vec![parent.id]),
            (*seq, vec![parent.id]),
            (*collected, vec![id]),
        ];
        assert_eq!(way(&d, *collected, id).await, expected, "whatever its siblings are");
        let rows = d.j().await.lineage(*collected, id).await.expect(OK);
        assert_eq!(rows[2].steps[0].entries[0].children.len(), 1, "its siblings are left out");
        assert_eq!(d.newest(slot_of(&children[1], "Shelf")).await.seq, *collected);
        let prefix: IdPrefix = id.to_string().parse().expect("an id");
        let traces = d.j().await.traces(prefix.clone(), 100).await.expect(OK);
        let told: Vec<_> = traces.iter().map(|row| (row.seq, row.steps[0].entries[0].input)).collect();
        assert_eq!(told, [(*seq, parent.id), (*collected, id)], "what made it, and what took it");
        assert_eq!(traces[0].steps[0].entries[0].children.len(), 1, "its siblings are left out");
        assert_eq!(d.j().await.traces(prefix, 2).await.expect(OK).len(), 1, "an entry and its child are two");
    }
}

pub(super) async fn a_way_goes_through_what_records_nothing(d: Desk) {
    let claimed = d.arrive("a").await;
    let item = claimed.task.items[0].clone();
    let arrived = d.j().await.history(item.id.arrival).await.expect(OK)[0].seq;
    let later = NewTask { generation: 1, id: TaskId::new(item.id, "clean", 0, 1), ..task(vec![item.clone()], "clean") };
    d.apply(Settlement { tasks: vec![later], history: Vec::new(), ..d.dropped(&claimed) }).await;
    let claimed = d.claim(1).await.remove(0);
    let retried = vec![StepRecord { context: d.context, started: 150, entries: vec![entry(&item, Outcome::Retried)] }];
    let later = NewTask { generation: 2, id: TaskId::new(item.id, "clean", 0, 2), ..task(vec![item.clone()], "clean") };
    let retried = d.apply(Settlement { tasks: vec![later], history: retried, ..d.dropped(&claimed) }).await.seq;
    let claimed = d.claim(1).await.remove(0);
    let collected = d.apply(d.collected(&claimed, None)).await.seq;
    let own = vec![item.id];
    let expected = vec![(arrived, own.clone()), (retried, own.clone()), (collected, own)];
    assert_eq!(way(&d, collected, item.id).await, expected, "attempts that failed are part of it");
}

pub(super) async fn a_way_goes_through_a_group(d: Desk) {
    let group = PathHash::root("group");
    let rule = HoldRule { count: Some(3), ..HoldRule::default() };
    let mut seqs = Vec::new();
    let mut items = Vec::new();
    for path in ["a", "b", "c"] {
        let claimed = d.arrive(path).await;
        let item = claimed.task.items[0].clone();
        let held = vec![NewHeld { group, to: reader("pack", 0), rule, items: vec![item.clone()] }];
        let history = vec![makes(&d, &item, Outcome::Held, &[])];
        let arrived = d.j().await.history(item.id.arrival).await.expect(OK)[0].seq;
        let seq = d.apply(Settlement { held, history, ..d.dropped(&claimed) }).await.seq;
        seqs.push((arrived, seq));
        items.push(item);
    }
    // The first can't be taken and is a dead letter; of the others, one of which stays, something is made.
    let look = d.claim(1).await.remove(0);
    let rows = d.j().await.held(d.flow, group, None, 9).await.expect(OK);
    let closing = Some(Closing { group, whole: vec![rows[0].row, rows[1].row], parts: Vec::new(), again: 1 << 40 });
    let made = Item { name: "pack".into(), ..child(&items[1], 0).0 };
    let history = vec![
        makes(&d, &items[0], Outcome::Dead, &[]),
        makes(&d, &items[1], Outcome::Joined, std::slice::from_ref(&made)),
    ];
    let dead_letters = vec![super::desk::letter(items[0].clone(), &reader("pack", 0))];
    let tasks = vec![task(vec![made.clone()], "shelf")];
    let looked = d.apply(Settlement { closing, history, dead_letters, tasks, ..d.dropped(&look) }).await.seq;
    let claimed = d.claim(9).await;
    let shelf = claimed.iter().find(|claimed| &*claimed.task.to.processor == "shelf").expect("what was made");
    let collected = d.apply(d.collected(shelf, None)).await.seq;
    let first = items[1].id;
    let expected =
        vec![(seqs[1].0, vec![first]), (seqs[1].1, vec![first]), (looked, vec![first]), (collected, vec![made.id])];
    assert_eq!(way(&d, collected, made.id).await, expected);
    // And from the dead letter, sent in again.
    let letters = d.letters(Filter::default()).await;
    let (run, _) = d.j().await.reenter(d.reentry(&letters)).await.expect(OK);
    let claimed = d.claim_run(run).await;
    let again = claimed.task.items[0].clone();
    let collected = d.apply(d.collected(&claimed, None)).await.seq;
    let ways = way(&d, collected, again.id).await;
    let old = items[0].id;
    let found: Vec<_> = ways.iter().map(|(seq, ids)| (*seq, ids.clone())).collect();
    let reentered = found[2].0;
    let expected =
        vec![(seqs[0].0, vec![old]), (seqs[0].1, vec![old]), (reentered, vec![old]), (collected, vec![again.id])];
    assert_eq!(found, expected);
}

pub(super) async fn a_way_goes_through_what_was_sent_in_again(d: Desk) {
    let claimed = d.arrive("a").await;
    let old = claimed.task.items[0].clone();
    let arrived = d.j().await.history(old.id.arrival).await.expect(OK)[0].seq;
    let dead = d.apply(d.failed(&claimed)).await.seq;
    let letters = d.letters(Filter::default()).await;
    let (run, _) = d.j().await.reenter(d.reentry(&letters)).await.expect(OK);
    let claimed = d.claim_run(run).await;
    let item = claimed.task.items[0].clone();
    let collected = d.apply(d.collected(&claimed, None)).await.seq;
    let ways = way(&d, collected, item.id).await;
    assert_eq!(ways.len(), 4);
    assert_eq!((&ways[0], &ways[1]), (&(arrived, vec![old.id]), &(dead, vec![old.id])));
    assert_eq!((&ways[2].1, &ways[3]), (&vec![old.id], &(collected, vec![item.id])));
    // A reprocess begins with the arrival.
    let new = NewReprocess {
        flow: d.flow,
        version: d.version,
        selection: Selection::default(),
        trigger: "reprocess".to_owned(),
        context: d.context,
        actor: "ada".to_owned(),
        at: 500,
    };
    let begun = d.j().await.begin_reprocess(new).await.expect(OK);
    let page = d.j().await.historic(d.flow, Selection::default(), begun.cursor, begun.upto, 9).await.expect(OK);
    let items: Vec<Item> = page.arrivals.iter().filter_map(|one| one.item(begun.pass)).collect();
    let feed = crate::journal::Feed {
        lease: d.lease,
        run: begun.run,
        after: begun.cursor,
        next: None,
        history: decide::sent_again(d.context, 510, items.clone()),
        tasks: decide::tasks_for(&reader("clean", 0), items.clone()),
        taken: 1,
        gone: 0,
        counts: Default::default(),
        at: 510,
    };
    assert!(d.j().await.feed(feed).await.expect(OK));
    let claimed = d.claim_run(begun.run).await;
    let again = claimed.task.items[0].clone();
    let made = Settlement { at: 520, ..d.collected(&claimed, None) };
    let applied = d.apply(made).await;
    assert_eq!((applied.revisions, applied.unchanged), (0, 1));
    let ways = way(&d, applied.seq, again.id).await;
    assert_eq!(ways.len(), 3, "the arrival, the reprocess and the settlement: {ways:?}");
    assert_eq!(ways[0], (arrived, vec![old.id]));
    // What equalled the revision is named at it.
    let row = d.newest(slot_of(&old, "Shelf")).await;
    assert_eq!(row.seq, collected);
    assert_eq!(row.confirmed, [Confirmed { seq: applied.seq, at: 520, version: "v1".to_owned() }]);
}

pub(super) async fn the_last_equal_results_are_named(d: Desk) {
    let (slot, _) = d.collect("a", "1", None).await;
    let mut seqs = Vec::new();
    for n in 0..CONFIRMED as u64 + 3 {
        let claimed = d.version_of(super::desk::file("a", &format!("version {n}")), "1").await;
        seqs.push(d.apply(d.collected(&claimed, None)).await.seq);
    }
    let row = d.newest(slot).await;
    assert_eq!(row.confirmed.iter().map(|one| one.seq).collect::<Vec<_>>(), seqs[3..]);
}
