//! What aggregates hold: groups, looks, closings, and what becomes of them when a run or a flow ends.

use opendmp_model::export::IfExists;
use opendmp_model::ids::PathHash;
use opendmp_model::item::{Item, Order};
use opendmp_model::manifest::{Load, Manifest};

use super::desk::{Desk, OK, child, content, file, reader, to};
use crate::journal::types::*;

fn group() -> PathHash {
    PathHash::root("group")
}

fn rule() -> HoldRule {
    HoldRule { count: Some(2), ..HoldRule::default() }
}

fn held(items: &[Item], rule: HoldRule) -> NewHeld {
    NewHeld { group: group(), to: reader("pack", 0), rule, items: items.to_vec() }
}

impl Desk {
    /// One arrival whose items are held.
    async fn hold(&self, path: &str, rule: HoldRule) -> Item {
        let claimed = self.arrive(path).await;
        let item = claimed.task.items[0].clone();
        self.apply(Settlement { held: vec![held(&claimed.task.items, rule)], ..self.dropped(&claimed) }).await;
        item
    }

    async fn rows(&self) -> Vec<HeldRow> {
        self.j().await.held(self.flow, group(), None, 100).await.expect(OK)
    }

    async fn group_row(&self) -> GroupRow {
        self.j().await.group(self.flow, group()).await.expect(OK).expect("the group is there")
    }

    /// The look that can be claimed.
    async fn look(&self) -> Claimed {
        let mut claimed = self.claim(9).await;
        assert_eq!(claimed.len(), 1, "one look is queued");
        let look = claimed.remove(0);
        assert_eq!((look.task.load, look.task.to.clone()), (Load::Look(group()), reader("pack", 0)));
        assert!(look.task.items.is_empty());
        look
    }

    fn taken(&self, look: &Claimed, whole: Vec<HeldKey>, parts: Vec<HeldPart>, again: i64) -> Settlement {
        let closing = Some(Closing { group: group(), whole, parts, again });
        Settlement { closing, ..self.dropped(look) }
    }
}

pub(super) async fn what_is_held_is_looked_at_when_it_is_full(d: Desk) {
    let first = d.hold("a", rule()).await;
    assert!(d.claim(9).await.is_empty(), "it is not full");
    assert_eq!(d.flow_row().await.held, 1);
    assert_eq!(d.flow_row().await.outstanding, 0, "what is held is not outstanding");
    let second = d.hold("b", rule()).await;
    let row = d.group_row().await;
    assert_eq!((row.items, row.bytes, row.generation), (2, first.content.size + second.content.size, 0));
    let look = d.look().await;
    assert_eq!(d.flow_row().await.outstanding, 1, "a run is not over before the look is");
    let rows = d.rows().await;
    assert_eq!(rows.iter().flat_map(|row| row.items.clone()).collect::<Vec<_>>(), [first, second]);
    let whole = rows.iter().map(|row| row.row).collect();
    d.apply(d.taken(&look, whole, vec![], 0)).await;
    assert!(d.rows().await.is_empty() && d.claim(9).await.is_empty());
    let row = d.group_row().await;
    assert_eq!((row.items, row.bytes, row.generation), (0, 0, 1));
    assert_eq!((d.flow_row().await.held, d.flow_row().await.outstanding), (0, 0));
}

pub(super) async fn a_part_of_a_row_may_be_taken(d: Desk) {
    let claimed = d.arrive("a").await;
    let items: Vec<Item> = (0..5).map(|n| Item { index: n, ..child(&claimed.task.items[0], n).0 }).collect();
    let mut items = items;
    items.sort_by_key(Order::of);
    d.apply(Settlement { held: vec![held(&items, rule())], ..d.dropped(&claimed) }).await;
    let look = d.look().await;
    let row = d.rows().await.remove(0);
    let (taken, rest) = (items[..2].to_vec(), items[2..].to_vec());
    d.apply(d.taken(&look, vec![], vec![HeldPart { row: row.row, taken, rest: rest.clone() }], 0)).await;
    let left: Vec<Item> = d.rows().await.into_iter().flat_map(|row| row.items).collect();
    assert_eq!(left, rest, "what stays stays in order");
    let again = d.look().await;
    assert_ne!(again.task.id, look.task.id, "it is still full, and looked at anew");
}

pub(super) async fn a_look_may_be_put_off(d: Desk) {
    d.hold("a", rule()).await;
    d.hold("b", rule()).await;
    let look = d.look().await;
    d.apply(d.taken(&look, vec![], vec![], 5_000)).await;
    assert!(d.claim(9).await.is_empty(), "not before its time");
    let later = ClaimRequest { now: 5_000, ..d.request(9) };
    assert_eq!(d.j().await.claim(later).await.expect(OK).len(), 1);
}

pub(super) async fn rows_come_in_order_and_in_parts(d: Desk) {
    let none = HoldRule { quiet: Some(1 << 40), ..HoldRule::default() };
    for path in ["a", "b", "c", "d", "e"] {
        d.hold(path, none).await;
    }
    let all = d.rows().await;
    assert!(all.is_sorted_by_key(|row| row.row));
    let (mut some, mut after) = (Vec::new(), None);
    loop {
        let part = d.j().await.held(d.flow, group(), after, 2).await.expect(OK);
        let Some(last) = part.last() else { break };
        after = Some(last.row);
        some.extend(part);
    }
    assert_eq!(some, all);
}

pub(super) async fn quiet_groups_are_looked_at_in_time(d: Desk) {
    d.hold("a", HoldRule { quiet: Some(300), ..HoldRule::default() }).await;
    let changed = d.group_row().await.changed;
    assert_eq!(d.backlog().await.due, Some(changed + 300));
    let before = ClaimRequest { now: changed + 299, ..d.request(9) };
    assert!(d.j().await.claim(before).await.expect(OK).is_empty());
    let then = ClaimRequest { now: changed + 300, ..d.request(9) };
    assert_eq!(d.j().await.claim(then).await.expect(OK).len(), 1);
}

/// A group that was changed while the clock showed a time far ahead is closed when it was quiet for long enough.
pub(super) async fn a_clock_set_back_keeps_no_group_open(d: Desk) {
    d.hold("a", HoldRule { quiet: Some(300), ..HoldRule::default() }).await;
    let changed = d.group_row().await.changed;
    let by = changed - 10;
    assert_eq!(d.j().await.clock_set_back(SetBack { by, from: changed }).await.expect(OK), 1);
    assert_eq!((d.group_row().await.changed, d.backlog().await.due), (10, Some(310)));
    let then = ClaimRequest { now: 310, ..d.request(9) };
    assert_eq!(d.j().await.claim(then).await.expect(OK).len(), 1);
}

pub(super) async fn a_run_that_ends_closes_its_groups(d: Desk) {
    let rule = HoldRule { end_of_run: true, ..HoldRule::default() };
    let claimed = d.arrive("a").await;
    d.apply(Settlement { held: vec![held(&claimed.task.items, rule)], ..d.dropped(&claimed) }).await;
    assert_eq!(d.run(claimed.run).await.state, RunState::Running, "what it holds is still to come");
    assert!(d.group_row().await.flush);
    let look = d.look().await;
    assert_eq!(look.run, claimed.run);
    let whole = d.rows().await.iter().map(|row| row.row).collect();
    d.apply(d.taken(&look, whole, vec![], 0)).await;
    assert_eq!(d.run(claimed.run).await.state, RunState::Done);
}

pub(super) async fn the_last_export_of_a_run_closes_its_groups(d: Desk) {
    let rule = HoldRule { end_of_run: true, ..HoldRule::default() };
    let claimed = d.arrive("a").await;
    let collected = d.collected(&claimed, Some(to("a.csv", IfExists::Version)));
    d.apply(Settlement { held: vec![held(&claimed.task.items, rule)], ..collected }).await;
    assert!(d.claim(9).await.is_empty(), "an export is still to come");
    let (intent, _) = d.export().await;
    let done = Finished { id: intent.id, lease: d.lease, attempt: intent.attempt, end: End::Done, at: 300 };
    assert!(d.j().await.finish(vec![done.clone()]).await.expect(OK), "whoever works is to be told");
    assert!(!d.j().await.finish(vec![done]).await.expect(OK), "once");
    assert_eq!(d.look().await.run, claimed.run);
}

pub(super) async fn a_persons_run_closes_what_it_added_to(d: Desk) {
    let j = d.j().await;
    let run = j.open_run(d.flow, d.version, RunMode::Live, "by hand", 10).await.expect(OK);
    d.ingest(Ingest { run: RunChoice::Existing(run), ..d.ingest_of(vec![file("a", "one")]) }).await;
    let claimed = d.claim_run(run).await;
    d.apply(Settlement { held: vec![held(&claimed.task.items, rule())], ..d.dropped(&claimed) }).await;
    assert!(d.claim(9).await.is_empty(), "more may come");
    assert!(d.j().await.close_run(run, 20).await.expect(OK), "whoever works is to be told");
    assert!(!d.j().await.close_run(run, 20).await.expect(OK), "once");
    assert_eq!(d.run(run).await.state, RunState::Running);
    let look = d.look().await;
    let whole = d.rows().await.iter().map(|row| row.row).collect();
    d.apply(d.taken(&look, whole, vec![], 0)).await;
    assert_eq!(d.run(run).await.state, RunState::Done);
}

pub(super) async fn a_deleted_flow_closes_what_it_holds(d: Desk) {
    d.hold("a", rule()).await;
    let row = d.change(d.flow, FlowState::Deleting).await.expect(OK);
    assert_eq!(row.state, FlowState::Deleting, "something is held");
    let look = d.look().await;
    assert!(d.group_row().await.flush);
    let whole = d.rows().await.iter().map(|row| row.row).collect();
    d.apply(d.taken(&look, whole, vec![], 0)).await;
    assert_eq!(d.j().await.flow(d.flow).await.expect(OK).state, FlowState::Deleted);
}

pub(super) async fn what_is_held_may_be_abandoned(d: Desk) {
    let item = d.hold("a", rule()).await;
    d.change(d.flow, FlowState::Deleting).await.expect(OK);
    assert_eq!(d.j().await.abandon(d.flow, 100, "ada", 300).await.expect(OK), 1, "a look is no item");
    let letters = d.letters(Filter::default()).await;
    assert_eq!((letters[0].item.clone(), letters[0].at.clone()), (item, reader("pack", 0)));
    assert_eq!(d.j().await.abandon(d.flow, 100, "ada", 300).await.expect(OK), 0);
    assert_eq!(d.j().await.flow(d.flow).await.expect(OK).state, FlowState::Deleted);
}

pub(super) async fn watermarks_tell_how_far_all_has_come(d: Desk) {
    let upstream = || vec!["clean".into(), "pack".into()];
    let first = d.arrive("a").await;
    let second = d.arrive("b").await;
    let arrival = |claimed: &Claimed| claimed.task.items[0].id.arrival;
    assert_eq!(d.j().await.watermark(d.flow, upstream()).await.expect(OK), arrival(&first));
    let none = d.j().await.watermark(d.flow, vec!["shelf".into()]).await.expect(OK);
    assert!(none > arrival(&second), "nothing is on its way there, up to what comes next");
    d.apply(Settlement { held: vec![held(&first.task.items, rule())], ..d.dropped(&first) }).await;
    assert_eq!(d.j().await.watermark(d.flow, upstream()).await.expect(OK), arrival(&second));
    d.apply(Settlement { held: vec![held(&second.task.items, rule())], ..d.dropped(&second) }).await;
    let end = d.j().await.watermark(d.flow, upstream()).await.expect(OK);
    assert!(end > arrival(&second), "a look is not on its way");
}

pub(super) async fn manifests_count_for_what_they_hold(d: Desk) {
    let claimed = d.arrive("a").await;
    let manifest = Manifest { content: content("blocks"), next: 3, left: 70_000 };
    let item = claimed.task.items[0].clone();
    let task = NewTask { load: Load::Expand(manifest), ..super::desk::task(vec![item.clone()], "clean") };
    let task = NewTask { generation: 1, id: opendmp_model::ids::TaskId::new(item.id, "clean", 0, 1), ..task };
    d.apply(Settlement { tasks: vec![task.clone()], ..d.dropped(&claimed) }).await;
    assert_eq!((d.backlog().await.items, d.flow_row().await.outstanding), (70_000, 70_000));
    let claimed = d.claim(9).await.remove(0);
    assert_eq!(claimed.task, task);
    d.apply(d.dropped(&claimed)).await;
    assert_eq!((d.backlog().await.items, d.run(claimed.run).await.state), (0, RunState::Done));
}
