//! Claims.

use std::collections::BTreeSet;

use opendmp_model::fault::Tries;
use opendmp_model::ids::TaskId;
use opendmp_model::manifest::Load;

use super::desk::{Desk, OK, child, fault, file, reader};
use crate::journal::types::*;

pub(super) async fn claims_are_exclusive(d: Desk) {
    for path in ["a", "b", "c"] {
        d.ingest(d.ingest_of(vec![file(path, "1")])).await;
    }
    let first = d.claim(2).await;
    assert_eq!(first.len(), 2, "no more than asked for");
    let other = d.lease(false).await;
    let rest = d.j().await.claim(ClaimRequest { lease: other, ..d.request(10) }).await.expect(OK);
    assert_eq!(rest.len(), 1, "what is claimed is nobody else's");
    assert!(d.claim(10).await.is_empty());
    assert_eq!(d.backlog().await.items, 3, "claimed is not done");
    assert!(d.claim(0).await.is_empty());
}

pub(super) async fn claims_keep_order(d: Desk) {
    let paths: Vec<String> = (0..20).map(|n| format!("f-{:02}", (n * 7) % 20)).collect();
    for path in &paths {
        d.ingest(d.ingest_of(vec![file(path, "1")])).await;
    }
    let names = |claimed: &[Claimed]| claimed.iter().map(|c| c.task.items[0].name.to_string()).collect::<Vec<_>>();
    let mut seen = Vec::new();
    for limit in [1, 5, 100] {
        seen.extend(names(&d.claim(limit).await));
    }
    assert_eq!(seen, paths, "oldest first");
}

/// Settles a claim with a task that waits until `due`.
async fn later(d: &Desk, claimed: &Claimed, due: Option<i64>) -> TaskId {
    let to = reader("clean", 0);
    let id = TaskId::new(claimed.task.items[0].id, "clean", 0, claimed.task.generation + 1);
    let generation = claimed.task.generation + 1;
    let again = NewTask {
        id,
        to,
        due,
        generation,
        tries: Tries { failures: 1, waits: 0 },
        fault: Some(fault("later")),
        ..claimed.task.clone()
    };
    d.apply(Settlement { tasks: vec![again], ..d.dropped(claimed) }).await;
    id
}

/// The clock showed a time far ahead for a while: what got its due time then waits as long as it was to wait.
pub(super) async fn a_clock_set_back_stops_nothing(d: Desk) {
    const AHEAD: i64 = 10 * 365 * 24 * 3_600_000;
    let mut ids = Vec::new();
    for (path, due) in [("a", Some(AHEAD + 5_000)), ("b", Some(AHEAD + 700)), ("c", Some(900))] {
        let claimed = d.arrive(path).await;
        ids.push(later(&d, &claimed, due).await);
    }
    let back = SetBack { by: AHEAD, from: 1_000 };
    assert_eq!(d.j().await.clock_set_back(back).await.expect(OK), 2);
    assert_eq!(d.backlog().await.due, Some(700));
    let due = |now| ClaimRequest { now, ..d.request(9) };
    let claimed = d.j().await.claim(due(1_000)).await.expect(OK);
    assert_eq!(claimed.iter().map(|claimed| claimed.task.id).collect::<Vec<_>>(), ids[1..]);
    assert_eq!(d.j().await.claim(due(5_000)).await.expect(OK).len(), 1);
    // Never a time that stands for none.
    let claimed = d.arrive("d").await;
    later(&d, &claimed, Some(AHEAD)).await;
    assert_eq!(d.j().await.clock_set_back(SetBack { by: AHEAD + 9, from: AHEAD }).await.expect(OK), 1);
    assert_eq!(d.backlog().await.due, Some(1));
}

pub(super) async fn due_times_are_kept(d: Desk) {
    let mut ids = Vec::new();
    for (path, due) in [("a", Some(5_000)), ("b", Some(4_000)), ("c", None), ("d", Some(900))] {
        let claimed = d.arrive(path).await;
        ids.push(later(&d, &claimed, due).await);
    }
    assert_eq!(d.backlog().await.due, Some(900));
    let claim = |now: i64| async move { ClaimRequest { now, ..d_request(now) } };
    async fn d_ids(d: &Desk, request: ClaimRequest) -> Vec<TaskId> {
        let request = ClaimRequest { lease: d.lease, ..request };
        d.j().await.claim(request).await.expect(OK).iter().map(|c| c.task.id).collect()
    }
    assert_eq!(d_ids(&d, claim(1_000).await).await, [ids[2], ids[3]], "by entry, whether they waited or not");
    assert_eq!(d.backlog().await.due, Some(4_000), "what is claimed waits no more");
    assert!(d_ids(&d, claim(3_999).await).await.is_empty());
    assert_eq!(d_ids(&d, claim(9_000).await).await, [ids[0], ids[1]], "oldest first, not by their time");
    assert_eq!(d.backlog().await.due, None);
    assert_eq!(d.backlog().await.items, 4);
}

fn d_request(now: i64) -> ClaimRequest {
    ClaimRequest { lease: Lease(0), now, limit: 10, suspects: false, run: None, idle: false }
}

pub(super) async fn suspects_stand_apart(mut d: Desk) {
    for path in ["a", "b"] {
        d.ingest(d.ingest_of(vec![file(path, "1")])).await;
    }
    assert_eq!(d.claim(1).await.len(), 1);
    let over = d.take_over(true).await;
    assert_eq!((over.tasks, over.intents), (1, 0));
    d.lease = over.lease;
    let calm = d.claim(10).await;
    assert_eq!(calm.iter().map(|c| &*c.task.items[0].name).collect::<Vec<_>>(), ["b"]);
    let suspects = ClaimRequest { suspects: true, ..d.request(10) };
    let found = d.j().await.claim(suspects).await.expect(OK);
    assert_eq!(found.len(), 1, "only those with which a worker was lost");
    assert_eq!((&*found[0].task.items[0].name, found[0].task.lost, found[0].attempt), ("a", 1, 2));
    d.lease = d.lease(true).await;
    let mut found = d.j().await.claim(ClaimRequest { suspects: true, ..d.request(10) }).await.expect(OK);
    found.sort_by_key(|c| c.task.id);
    let lost: Vec<(u32, u32)> = found.iter().map(|c| (c.task.lost, c.attempt)).collect();
    assert_eq!(lost, [(2, 3), (1, 2)], "each loss counts");
}

pub(super) async fn runs_are_claimed_alone(d: Desk) {
    let one = d.ingest(d.ingest_of(vec![file("a", "1")])).await;
    let two = d.ingest(d.ingest_of(vec![file("b", "1")])).await;
    let of = |run| ClaimRequest { run: Some(run), ..d.request(10) };
    let claimed = d.j().await.claim(of(two.run)).await.expect(OK);
    assert_eq!(claimed.iter().map(|c| c.run).collect::<Vec<_>>(), [two.run]);
    assert!(d.j().await.claim(of(two.run)).await.expect(OK).is_empty());
    assert!(d.j().await.claim(of(RunId(99))).await.expect(OK).is_empty());
    let id = later(&d, &claimed[0], Some(2_000)).await;
    assert!(d.j().await.claim(of(two.run)).await.expect(OK).is_empty(), "not before its time");
    let due = ClaimRequest { now: 2_000, ..of(two.run) };
    assert_eq!(d.j().await.claim(due).await.expect(OK)[0].task.id, id);
    assert_eq!(d.claim(10).await[0].run, one.run);
}

pub(super) async fn unclaimed_is_unharmed(d: Desk) {
    let claimed = d.arrive("a").await;
    let other = d.lease(false).await;
    d.j().await.unclaim(other, vec![claimed.task.id]).await.expect(OK);
    assert!(d.claim(10).await.is_empty(), "another's claim is not handed back");
    d.j().await.unclaim(d.lease, vec![claimed.task.id]).await.expect(OK);
    d.j().await.unclaim(d.lease, vec![claimed.task.id]).await.expect(OK);
    let again = d.claim(10).await;
    assert_eq!(again, [claimed], "the claim does not count, and nothing is lost");
}

pub(super) async fn tasks_come_back_whole(d: Desk) {
    let claimed = d.arrive("a").await;
    let item = &claimed.task.items[0];
    let items = vec![child(item, 0).0, child(item, 1).0];
    let task = NewTask {
        id: TaskId::new(items[0].id, "sort", 2, 5),
        to: reader("sort", 2),
        items,
        load: Load::Items,
        tries: Tries { failures: 4, waits: 7 },
        lost: 2,
        generation: 5,
        due: Some(700),
        fault: Some(fault("größe\n'\"")),
    };
    d.apply(Settlement { tasks: vec![task.clone()], ..d.dropped(&claimed) }).await;
    let suspects = ClaimRequest { suspects: true, ..d.request(10) };
    let found = d.j().await.claim(suspects).await.expect(OK);
    assert_eq!(found.len(), 1, "work that was lost before it was handed back is suspect");
    assert_eq!(found[0].task, task);
    assert_eq!((found[0].flow, found[0].version, found[0].run), (d.flow, d.version, claimed.run));
}

pub(super) async fn many_claim_at_once(d: Desk) {
    for n in 0..40 {
        d.ingest(d.ingest_of(vec![file(&format!("f-{n}"), "1")])).await;
    }
    let journal = d.same().await;
    let mut claims = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (journal, request) = (journal.clone(), d.request(3));
        claims.spawn(async move { journal.claim(request).await.expect(OK) });
    }
    let mut ids = BTreeSet::new();
    while let Some(claimed) = claims.join_next().await {
        for one in claimed.expect("a claim that answers") {
            assert!(ids.insert(one.task.id), "claimed twice");
        }
    }
    assert_eq!(ids.len(), 40);
}

pub(super) async fn flows_take_turns(d: Desk) {
    // Many of one flow, then one of another.
    for n in 0..6 {
        d.ingest(d.ingest_of(vec![file(&format!("{n}"), "x")])).await;
    }
    let (flow, version) = d.save("other", "h").await;
    d.change(flow, FlowState::Enabled).await.expect(OK);
    d.ingest(Ingest { flow, version, ..d.ingest_of(vec![file("late", "x")]) }).await;
    let first = d.claim(2).await;
    assert_eq!(
        first.iter().map(|claimed| claimed.flow).collect::<Vec<_>>(),
        [d.flow, flow],
        "none waits for another's"
    );
    let idle = d.j().await.claim(ClaimRequest { idle: true, ..d.request(9) }).await.expect(OK);
    assert!(idle.is_empty(), "both have something under way");
    let more = d.claim(9).await;
    assert!(more.len() == 5 && more.iter().all(|claimed| claimed.flow == d.flow));
}
