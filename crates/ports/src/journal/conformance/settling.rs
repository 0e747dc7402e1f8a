//! Settlement: the first one counts, whole or not at all.

use super::desk::{Desk, OK, child, file, task, to};
use crate::ErrorKind;
use crate::journal::types::*;

pub(super) async fn the_first_settlement_counts(d: Desk) {
    let claimed = d.arrive("a").await;
    let next = task(vec![child(&claimed.task.items[0], 0).0, child(&claimed.task.items[0], 1).0], "sort");
    let settlement = Settlement { tasks: vec![next.clone()], ..d.dropped(&claimed) };
    let applied = d.apply(settlement.clone()).await;
    assert_eq!((applied.tasks, applied.revisions, applied.unchanged, applied.exports, applied.dead), (1, 0, 0, 0, 0));
    assert_eq!(d.backlog().await.items, 2);
    let other = Settlement { tasks: vec![], ..settlement.clone() };
    assert_eq!(d.settle(other).await, Settled::Already, "whatever a later one says");
    assert_eq!(d.settle(settlement.clone()).await, Settled::Already);
    let stale = Settlement { attempt: 9, lease: Lease(77), ..settlement };
    assert_eq!(d.settle(stale).await, Settled::Already, "a task that is not there was settled");
    assert_eq!(d.backlog().await.items, 2);
    let claimed = d.claim(10).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].task, next);
    let twice = d.dropped(&claimed[0]);
    let settled = d.j().await.settle(vec![twice.clone(), twice]).await.expect(OK);
    assert!(matches!(settled[..], [Settled::Applied(_), Settled::Already]), "{settled:?}");
    assert!(d.j().await.settle(vec![]).await.expect(OK).is_empty());
}

pub(super) async fn lost_claims_are_fenced(mut d: Desk) {
    let claimed = d.arrive("a").await;
    let wrong = Settlement { attempt: 2, ..d.dropped(&claimed) };
    assert_eq!(d.settle(wrong).await, Settled::Fenced, "another attempt");
    let beside = Settlement { lease: d.lease(false).await, ..d.dropped(&claimed) };
    assert_eq!(d.settle(beside).await, Settled::Fenced, "another worker");
    let b = d.arrive("b").await;
    d.j().await.unclaim(d.lease, vec![b.task.id]).await.expect(OK);
    assert_eq!(d.settle(d.dropped(&b)).await, Settled::Fenced, "handed back");
    let late = d.dropped(&claimed);
    d.lease = d.lease(true).await;
    assert_eq!(d.settle(late.clone()).await, Settled::Fenced, "taken over");
    let mut again = d.j().await.claim(ClaimRequest { suspects: true, ..d.request(10) }).await.expect(OK);
    assert_eq!(d.settle(late.clone()).await, Settled::Fenced, "taken over and claimed again");
    let stale = Settlement { lease: d.lease, ..late.clone() };
    assert_eq!(d.settle(stale).await, Settled::Fenced, "an earlier attempt under the new lease");
    d.apply(d.dropped(&again.remove(0))).await;
    assert_eq!(d.settle(late).await, Settled::Already);
}

pub(super) async fn fenced_changes_nothing(d: Desk) {
    let claimed = d.arrive("a").await;
    let item = claimed.task.items[0].clone();
    let full = Settlement {
        tasks: vec![task(vec![child(&item, 0).0], "sort")],
        dead_letters: d.failed(&claimed).dead_letters,
        attempt: 5,
        ..d.collected(&claimed, Some(to("a", Default::default())))
    };
    let (run, flow) = (d.run(claimed.run).await, d.flow_row().await);
    assert_eq!(d.settle(full.clone()).await, Settled::Fenced);
    assert_eq!(d.backlog().await.items, 1);
    assert!(d.claim(10).await.is_empty() && d.intents(10).await.is_empty());
    assert!(d.datasets(Filter::default()).await.is_empty() && d.letters(Filter::default()).await.is_empty());
    assert_eq!(d.j().await.history(item.id.arrival).await.expect(OK).len(), 1, "only its arrival");
    assert_eq!(format!("{run:?}"), format!("{:?}", d.run(claimed.run).await));
    assert_eq!(format!("{flow:?}"), format!("{:?}", d.flow_row().await));
    let applied = d.apply(Settlement { attempt: 1, ..full }).await;
    assert_eq!((applied.tasks, applied.revisions, applied.exports, applied.dead), (1, 1, 1, 1));
    let run = d.run(claimed.run).await;
    assert_eq!((run.outstanding, run.revisions, run.dead, run.exported), (2, 1, 1, 0));
    let flow = d.flow_row().await;
    assert_eq!((flow.outstanding, flow.dead_letters), (2, 1));
}

pub(super) async fn all_or_nothing(d: Desk) {
    let (a, b, c) = (d.arrive("a").await, d.arrive("b").await, d.arrive("c").await);
    let next = |claimed: &Claimed| task(vec![child(&claimed.task.items[0], 0).0], "sort");
    let good = Settlement { tasks: vec![next(&a)], ..d.collected(&a, None) };
    // The same work twice: it can't be applied, and takes its whole call with it.
    let bad = Settlement { tasks: vec![next(&b), next(&b)], ..d.collected(&b, None) };
    let error = d.j().await.settle(vec![good.clone(), bad]).await.expect_err("one task twice");
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(d.datasets(Filter::default()).await.is_empty(), "nothing of the call is there");
    assert_eq!(d.backlog().await.items, 3);
    d.apply(good).await;
    assert_eq!(d.backlog().await.items, 3, "what was taken back can be said again");
    let taken = Settlement { tasks: vec![next(&a)], ..d.dropped(&c) };
    assert_eq!(d.j().await.settle(vec![taken]).await.expect_err("a task of another").kind, ErrorKind::Conflict);
    d.apply(d.dropped(&c)).await;
    d.apply(d.dropped(&b)).await;
    assert_eq!(d.backlog().await.items, 1);
}

pub(super) async fn sequences_grow(d: Desk) {
    let mut last = d.ingest(d.ingest_of(vec![file("x", "1")])).await.seq;
    for path in ["a", "b", "c"] {
        let claimed = d.arrive(path).await;
        let applied = d.apply(d.collected(&claimed, None)).await;
        assert!(applied.seq > last);
        last = applied.seq;
        assert_eq!(d.datasets(Filter::default()).await.last().map(|row| (row.seq, row.at)), Some((last, 200)));
    }
}

pub(super) async fn many_settle_at_once(d: Desk) {
    let claimed = d.arrive("a").await;
    let journal = d.same().await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (journal, settlement) = (journal.clone(), d.collected(&claimed, None));
        calls.spawn(async move { journal.settle(vec![settlement]).await.expect(OK).remove(0) });
    }
    let mut applied = 0;
    while let Some(settled) = calls.join_next().await {
        match settled.expect("a call that answers") {
            Settled::Applied(_) => applied += 1,
            other => assert_eq!(other, Settled::Already),
        }
    }
    assert_eq!(applied, 1);
    assert_eq!(d.datasets(Filter::default()).await.len(), 1);
}

pub(super) async fn what_follows_may_be_claimed_along(d: Desk) {
    let claimed = d.arrive("a").await;
    let item = claimed.task.items[0].clone();
    let next = task(vec![child(&item, 0).0], "sort");
    let later = NewTask { due: Some(1_000_000), ..task(vec![child(&item, 1).0], "sort") };
    let settlement =
        Settlement { tasks: vec![next.clone(), later], ..d.collected(&claimed, Some(to("a", Default::default()))) };
    let claims = Claims { tasks: Some(d.request(10)), intents: 10 };
    let fenced = Settlement { attempt: 9, ..settlement.clone() };
    let done = d.j().await.settle_and_claim(fenced, claims).await.expect(OK);
    assert_eq!((done.settled, done.tasks.len(), done.intents.len()), (Settled::Fenced, 0, 0), "nothing of another's");
    let done = d.j().await.settle_and_claim(settlement.clone(), claims).await.expect(OK);
    assert!(matches!(done.settled, Settled::Applied(Applied { tasks: 2, exports: 1, .. })), "{:?}", done.settled);
    let tasks: Vec<_> = done.tasks.iter().map(|claimed| (claimed.task.clone(), claimed.attempt)).collect();
    assert_eq!(tasks, [(next, 1)], "not what waits for its time");
    assert_eq!(done.intents.len(), 1);
    assert_eq!(done.intents[0].attempt, 1);
    assert!(d.claim(10).await.is_empty(), "claimed already");
    assert!(d.j().await.claim_intents(d.lease, 1_000, 10).await.expect(OK).is_empty(), "claimed already");
    let again = d.j().await.settle_and_claim(settlement, claims).await.expect(OK);
    assert_eq!((again.settled, again.tasks.len(), again.intents.len()), (Settled::Already, 0, 0));
    d.finish(&done.intents[0], End::Done).await;
    let none = Claims::default();
    let last = d.j().await.settle_and_claim(d.dropped(&done.tasks[0]), none).await.expect(OK);
    assert!(matches!(last.settled, Settled::Applied(_)) && last.tasks.is_empty() && last.intents.is_empty());
    let backlog = d.backlog().await;
    assert_eq!((backlog.items, backlog.due), (1, Some(1_000_000)), "only what waits for its time is left");
}
