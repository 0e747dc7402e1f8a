//! Reprocesses, repeats at aggregates, and what is remembered.

use std::collections::BTreeMap;

use opendmp_model::ids::{Arrival, ItemId, PathHash};
use opendmp_model::item::Item;

use super::desk::{Desk, OK, file, reader};
use crate::journal::types::*;
use crate::journal::{
    Feed, HistoricPage, MemoKey, MemoLimit, NewMemo, NewReprocess, Reprocess, ReprocessState, Selection, decide,
};

async fn begin(desk: &Desk, selection: Selection) -> Reprocess {
    let (flow, version, context) = (desk.flow, desk.version, desk.context);
    let (trigger, actor) = ("reprocess".to_owned(), "ada".to_owned());
    let new = NewReprocess { flow, version, selection, trigger, context, actor, at: 200 };
    desk.j().await.begin_reprocess(new).await.expect(OK)
}

async fn page(desk: &Desk, of: &Reprocess, limit: usize) -> HistoricPage {
    let (flow, selection) = (of.flow, of.selection.clone());
    desk.j().await.historic(flow, selection, of.cursor, of.upto, limit).await.expect(OK)
}

/// The next part, with its items for `clean`.
async fn part(desk: &Desk, of: &Reprocess, limit: usize) -> Feed {
    let page = page(desk, of, limit).await;
    let items: Vec<Item> = page.arrivals.iter().filter_map(|historic| historic.item(of.pass)).collect();
    let (taken, at) = (items.len() as u64, 210);
    let history = decide::sent_again(desk.context, at, items.clone());
    let (tasks, counts) = (decide::tasks_for(&reader("clean", 0), items), BTreeMap::new());
    let (lease, run, after) = (desk.lease, of.run, of.cursor);
    Feed { lease, run, after, next: page.next, tasks, taken, gone: 0, history, counts, at }
}

async fn present(desk: &Desk, run: RunId) -> Reprocess {
    desk.j().await.reprocess(run).await.expect(OK)
}

fn names(page: &HistoricPage) -> Vec<String> {
    page.arrivals.iter().map(|one| one.recorded.as_ref().map_or_else(String::new, |r| r.name.to_string())).collect()
}

pub(super) async fn historic_arrivals_are_the_newest_of_their_paths(desk: Desk) {
    for (path, content) in [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1")] {
        desk.arrive_as(path, content).await;
    }
    let all = begin(&desk, Selection::default()).await;
    assert_eq!((all.cursor, all.upto), (Arrival(0), Arrival(4)));
    // What arrives afterwards is not historic.
    desk.arrive_as("b", "2").await;
    let first = page(&desk, &all, 2).await;
    assert_eq!((names(&first), first.next), (vec!["b".to_owned(), "a".to_owned()], Some(Arrival(3))));
    let rest = page(&desk, &Reprocess { cursor: Arrival(3), ..all.clone() }, 2).await;
    assert_eq!((names(&rest), rest.next), (vec!["c".to_owned()], None));
    let a = &first.arrivals[1];
    let item = a.item(all.pass).expect("all is known of it");
    assert_eq!((a.origin, item.origin, item.id.arrival, item.id.pass), (Arrival(1), Arrival(1), Arrival(3), all.pass));
    assert_eq!((item.id.path, item.arrived), (PathHash::root("inbox"), 100));
    assert_eq!(item.content, file("a", "2").content);
    assert_eq!((item.media_type, item.attributes), (file("a", "2").media_type, file("a", "2").attributes));
    let since = Selection { since: Some(101), ..Selection::default() };
    assert!(page(&desk, &Reprocess { selection: since, ..all.clone() }, 9).await.arrivals.is_empty());
    let origins = Selection { origins: vec![Arrival(4), Arrival(1), Arrival(99)], ..Selection::default() };
    let by_origin = page(&desk, &Reprocess { selection: origins, ..all.clone() }, 9).await;
    assert_eq!(names(&by_origin), ["a", "c"]);
    let missing = desk.j().await.historic(FlowId(99), Selection::default(), all.cursor, all.upto, 1).await;
    assert!(missing.is_err());
}

pub(super) async fn historic_arrivals_of_a_collection(desk: Desk) {
    for path in ["a", "b", "c"] {
        let claimed = desk.arrive(path).await;
        let settlement = if path == "b" { desk.dropped(&claimed) } else { desk.collected(&claimed, None) };
        desk.apply(settlement).await;
    }
    let of = |name: &str| Selection { collection: Some(name.to_owned()), ..Selection::default() };
    let begun = begin(&desk, of("Shelf")).await;
    let first = page(&desk, &begun, 1).await;
    assert_eq!((names(&first), first.next), (vec!["a".to_owned()], Some(Arrival(1))));
    let rest = page(&desk, &Reprocess { cursor: Arrival(1), ..begun.clone() }, 1).await;
    assert_eq!((names(&rest), rest.next), (vec!["c".to_owned()], None));
    assert!(page(&desk, &Reprocess { selection: of("None"), ..begun }, 9).await.arrivals.is_empty());
}

pub(super) async fn a_reprocess_is_fed_part_by_part(desk: Desk) {
    for path in ["a", "b", "c"] {
        let claimed = desk.arrive(path).await;
        desk.apply(desk.dropped(&claimed)).await;
    }
    let begun = begin(&desk, Selection::default()).await;
    let first = part(&desk, &begun, 2).await;
    assert!(desk.j().await.feed(first.clone()).await.expect(OK));
    assert!(!desk.j().await.feed(first).await.expect(OK), "a part is sent in once");
    let half = present(&desk, begun.run).await;
    assert_eq!((half.cursor, half.taken, half.state), (Arrival(2), 2, ReprocessState::Feeding));
    assert_eq!(desk.j().await.reprocesses().await.expect(OK), vec![half.clone()]);
    // It is not closed by anybody who finds it, nor by its work being done.
    desk.j().await.close_run(begun.run, 220).await.expect(OK);
    let claimed = desk.claim_run(begun.run).await;
    assert_eq!((claimed.task.items.len(), claimed.task.items[0].id.pass), (2, begun.pass));
    desk.apply(desk.dropped(&claimed)).await;
    assert_eq!(desk.j().await.run(begun.run).await.expect(OK).state, RunState::Running);
    let last = part(&desk, &half, 2).await;
    assert!(desk.j().await.feed(last).await.expect(OK));
    assert_eq!(desk.j().await.reprocesses().await.expect(OK), vec![]);
    let claimed = desk.claim_run(begun.run).await;
    desk.apply(desk.dropped(&claimed)).await;
    let run = desk.j().await.run(begun.run).await.expect(OK);
    assert_eq!((run.state, run.arrivals, run.outstanding), (RunState::Done, 3, 0));
    let history = desk.j().await.history(Arrival(3)).await.expect(OK);
    let again = history.iter().flat_map(|row| &row.steps).flat_map(|step| &step.entries);
    assert!(again.into_iter().any(|entry| entry.children.iter().any(|child| child.id.pass == begun.pass)));
}

pub(super) async fn a_reprocess_may_be_stopped(desk: Desk) {
    for path in ["a", "b"] {
        let claimed = desk.arrive(path).await;
        desk.apply(desk.dropped(&claimed)).await;
    }
    let begun = begin(&desk, Selection::default()).await;
    let (first, second) = (part(&desk, &begun, 1).await, Reprocess { cursor: Arrival(1), ..begun.clone() });
    assert!(desk.j().await.feed(first).await.expect(OK));
    assert!(desk.j().await.stop_reprocess(begun.run, "ada", 220).await.expect(OK));
    assert!(!desk.j().await.stop_reprocess(begun.run, "ada", 221).await.expect(OK));
    let late = part(&desk, &second, 1).await;
    assert!(!desk.j().await.feed(late).await.expect(OK), "nothing more is sent in");
    let claimed = desk.claim_run(begun.run).await;
    desk.apply(desk.dropped(&claimed)).await;
    assert_eq!(desk.j().await.run(begun.run).await.expect(OK).state, RunState::Done);
    assert_eq!(present(&desk, begun.run).await.state, ReprocessState::Stopped);
    assert!(desk.j().await.stop_reprocess(RunId(99), "ada", 1).await.is_err());
    assert!(desk.j().await.reprocess(RunId(99)).await.is_err());
}

pub(super) async fn a_lost_lease_feeds_nothing(desk: Desk) {
    let begun = begin(&desk, Selection::default()).await;
    let feed = part(&desk, &begun, 1).await;
    let lease = desk.lease(true).await;
    assert!(desk.j().await.feed(feed.clone()).await.is_err());
    assert!(desk.j().await.feed(Feed { lease, ..feed }).await.expect(OK), "nothing to send in ends it, too");
    assert_eq!(desk.j().await.run(begun.run).await.expect(OK).state, RunState::Done);
}

pub(super) async fn repeats_are_known(desk: Desk) {
    let claimed = desk.arrive("a").await;
    let item = claimed.task.items[0].clone();
    let group = PathHash::root("group");
    let of = |pass: u32| ItemId { pass: opendmp_model::ids::Pass(pass), ..item.id };
    let asked = vec![of(1), of(0), ItemId { path: PathHash::root("else"), ..of(1) }];
    assert_eq!(desk.j().await.repeats(desk.flow, group, asked.clone()).await.expect(OK), [None; 3]);
    let rule = HoldRule { count: Some(9), ..HoldRule::default() };
    let held = NewHeld { group, to: reader("pack", 0), rule, items: vec![item.clone()] };
    let settlement = Settlement { held: vec![held], ..desk.dropped(&claimed) };
    desk.apply(settlement).await;
    let known = desk.j().await.repeats(desk.flow, group, asked).await.expect(OK);
    assert_eq!(known, [Some(item.content.hash), None, None], "only of an earlier pass");
}

fn memo(item: &Item, key: &str) -> NewMemo {
    let children = vec![(None, item.clone()), (Some("bad".into()), item.clone())];
    NewMemo { arrival: item.id.arrival, key: MemoKey(PathHash::root(key)), many: true, children }
}

pub(super) async fn results_are_remembered(desk: Desk) {
    let claimed = desk.arrive("a").await;
    let item = claimed.task.items[0].clone();
    let key = |name: &str| (item.id.arrival, MemoKey(PathHash::root(name)));
    let new = memo(&item, "one");
    let settlement = Settlement { memos: vec![new.clone()], ..desk.dropped(&claimed) };
    desk.apply(settlement).await;
    let found = desk.j().await.memos(vec![key("one"), key("two")]).await.expect(OK);
    let one = found[0].clone().expect("it is remembered");
    assert_eq!((one.run, one.many, one.children), (claimed.run, true, new.children));
    assert_eq!(found[1], None);
    assert_eq!(desk.j().await.memos(vec![(Arrival(99), key("one").1)]).await.expect(OK), [None]);
}

pub(super) async fn what_was_remembered_first_is_forgotten_first(desk: Desk) {
    let mut keys = Vec::new();
    for (n, path) in ["a", "b", "c"].into_iter().enumerate() {
        let claimed = desk.arrive(path).await;
        let new = memo(&claimed.task.items[0], path);
        keys.push((new.arrival, new.key));
        let settlement = Settlement { memos: vec![new], at: 100 + n as i64, ..desk.dropped(&claimed) };
        desk.apply(settlement).await;
    }
    let left = async || {
        let found = desk.j().await.memos(keys.clone()).await.expect(OK);
        found.iter().map(Option::is_some).collect::<Vec<_>>()
    };
    let forget = async |bytes: u64, before: i64, most: usize| {
        desk.j().await.forget_memos(MemoLimit { bytes, before }, most).await.expect(OK)
    };
    assert_eq!((forget(u64::MAX, 100, 9).await, left().await), (0, vec![true; 3]));
    assert_eq!((forget(u64::MAX, 101, 9).await, left().await), (1, vec![false, true, true]));
    assert_eq!((forget(0, 0, 1).await, left().await), (1, vec![false, false, true]));
    assert_eq!((forget(0, 0, 9).await, left().await), (1, vec![false; 3]));
    assert_eq!(forget(0, 0, 9).await, 0);
}
