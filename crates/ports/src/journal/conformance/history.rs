//! History by arrival.

use std::sync::Arc;

use opendmp_model::fault::LogLine;
use opendmp_model::history::{Child, Entry, Result as Outcome, StepRecord};
use opendmp_model::item::{BUNDLE_ITEMS, BUNDLE_SPAN};

use super::desk::{Desk, OK, arrival, child, entry, file, numbers};
use crate::journal::types::*;

pub(super) async fn history_is_of_those_concerned(d: Desk) {
    let done = d.ingest(d.ingest_of((0..5).map(|n| file(&format!("f-{n}"), "x")).collect())).await;
    let claimed = d.claim_run(done.run).await;
    let items = &claimed.task.items;
    // A record of the first and the last: it spans the others and does not concern them.
    let ends = [&items[0], &items[4]].map(|item| entry(item, Outcome::Emitted)).to_vec();
    let record = StepRecord { context: d.context, started: 150, entries: ends };
    let second = StepRecord { context: d.context, started: 160, entries: vec![entry(&items[2], Outcome::Emitted)] };
    let settlement = Settlement { history: vec![record.clone()], ..d.dropped(&claimed) };
    let next = super::desk::task(vec![child(&items[2], 0).0], "sort");
    let applied = d.apply(Settlement { tasks: vec![next], ..settlement }).await;
    let claimed = d.claim_run(done.run).await;
    let after =
        d.apply(Settlement { history: vec![second], actor: "größe".into(), at: 210, ..d.dropped(&claimed) }).await;
    let seqs = |number: u64| async move { number };
    for (number, expected) in [
        (1, vec![done.seq, applied.seq]),
        (2, vec![done.seq]),
        (3, vec![done.seq, after.seq]),
        (4, vec![done.seq]),
        (5, vec![done.seq, applied.seq]),
        (6, vec![]),
    ] {
        let rows = d.j().await.history(arrival(seqs(number).await)).await.expect(OK);
        assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), expected, "arrival {number}, in commit order");
    }
    let rows = d.j().await.history(arrival(1)).await.expect(OK);
    assert_eq!((rows[1].at, rows[1].actor.as_str(), &rows[1].steps), (200, "worker", &vec![record]));
    let rows = d.j().await.history(arrival(3)).await.expect(OK);
    assert_eq!((rows[1].at, rows[1].actor.as_str()), (210, "größe"));
    let arrived = &rows[0].steps[0];
    assert_eq!((arrived.context, arrived.started, arrived.entries.len()), (d.context, 90, 5));
    let one = &arrived.entries[2];
    assert_eq!((one.result, one.took, one.input), (Outcome::Arrived, 12, one.children[0].id));
    assert_eq!(one.children[0].name.as_deref(), Some("f-2"));
}

pub(super) async fn the_latest_are_told_newest_first(d: Desk) {
    let first = d.ingest(d.ingest_of(vec![file("a", "x"), file("b", "y")])).await;
    let second = d.ingest(d.ingest_of(vec![file("c", "z")])).await;
    let seqs = |rows: Vec<HistoryRow>| rows.into_iter().map(|row| row.seq).collect::<Vec<_>>();
    assert_eq!(seqs(d.j().await.latest(Seq(0), 10).await.expect(OK)), [second.seq, first.seq]);
    assert_eq!(seqs(d.j().await.latest(Seq(0), 1).await.expect(OK)), [second.seq]);
    let rows = d.j().await.latest(first.seq, 10).await.expect(OK);
    assert_eq!(rows[0].steps[0].entries[0].children[0].name.as_deref(), Some("c"));
    assert_eq!(seqs(rows), [second.seq]);
    assert_eq!(seqs(d.j().await.latest(second.seq, 10).await.expect(OK)), []);
}

pub(super) async fn what_waits_is_told_by_processor(d: Desk) {
    d.ingest(d.ingest_of(vec![file("a", "x"), file("b", "y")])).await;
    let claimed = d.arrive("c").await;
    let waiting = |items: u64| vec![(Arc::from("clean"), items)];
    assert_eq!(d.j().await.waiting(d.flow, 100).await.expect(OK), waiting(2), "but for what is claimed");
    d.j().await.unclaim(d.lease, vec![claimed.task.id]).await.expect(OK);
    assert_eq!(d.j().await.waiting(d.flow, 100).await.expect(OK), waiting(3));
    let least = d.j().await.waiting(d.flow, 1).await.expect(OK);
    assert!(least == waiting(1) || least == waiting(2), "no more are looked at: {least:?}");
    let (other, _) = d.save("other", "v1").await;
    assert_eq!(d.j().await.waiting(other, 100).await.expect(OK), []);
}

pub(super) async fn wide_records_are_found(d: Desk) {
    let mut claimed = Vec::new();
    for part in 0..6 {
        let arrivals = (0..BUNDLE_ITEMS).map(|n| file(&format!("f-{part}-{n}"), "x")).collect();
        let done = d.ingest(d.ingest_of(arrivals)).await;
        claimed.push(d.claim_run(done.run).await);
    }
    let (first, last) = (&claimed[0].task.items[0], &claimed[5].task.items[0]);
    assert_eq!(numbers(&[first.clone(), last.clone()]), [1, 5_001]);
    // What an aggregate makes of far arrivals: one record of both, and a child under one of them.
    let (_, made) = child(first, 0);
    let joined = Entry { children: vec![made], ..entry(last, Outcome::Emitted) };
    let wide = StepRecord { context: d.context, started: 150, entries: vec![joined] };
    let wide = d.apply(Settlement { history: vec![wide], ..d.dropped(&claimed[5]) }).await;
    let near = BUNDLE_SPAN as usize;
    for at in [1, 2, 3, 4] {
        d.apply(d.dropped(&claimed[at])).await;
    }
    let narrow = d.apply(d.dropped(&claimed[0])).await;
    let seqs = |number: u64| {
        let d = &d;
        async move { d.j().await.history(arrival(number)).await.expect(OK).iter().map(|row| row.seq).collect::<Vec<_>>() }
    };
    assert_eq!(seqs(1).await[1..], [wide.seq, narrow.seq]);
    assert_eq!(seqs(5_001).await[1..], [wide.seq]);
    assert_eq!(seqs(2).await[1..], [narrow.seq]);
    for between in [1_001, near as u64, near as u64 + 1, near as u64 + 2, 5_000] {
        assert_eq!(seqs(between).await.len(), 2, "arrival {between}: its own arrival and settlement");
    }
    assert_eq!(seqs(5_002).await.len(), 1);
}

pub(super) async fn records_come_back_whole(d: Desk) {
    let claimed = d.arrive("a").await;
    let item = &claimed.task.items[0];
    let log = vec![LogLine { level: "stdout".to_owned(), text: "größe\u{0}\n".to_owned() }];
    let content = Some((super::desk::content("new").hash, 1 << 40));
    let (_, plain) = child(item, 0);
    let full = Child {
        port: Some("biscoe".into()),
        name: Some("b\u{202e}.csv".into()),
        content,
        attributes: Some("{\"a\":1}".into()),
        ..plain.clone()
    };
    let step =
        |processor: u32, entries| StepRecord { context: d.context, started: 150 + i64::from(processor), entries };
    let one = Entry {
        took: u64::MAX >> 1,
        children: vec![full.clone()],
        log,
        note: Some("exit 0".into()),
        ..entry(item, Outcome::Emitted)
    };
    let two = Entry { input: full.id, took: 0, result: Outcome::Retried, children: vec![], log: vec![], note: None };
    let steps = vec![step(1, vec![one]), step(2, vec![two])];
    d.apply(Settlement { history: steps.clone(), ..d.dropped(&claimed) }).await;
    let rows = d.j().await.history(item.id.arrival).await.expect(OK);
    assert_eq!(rows[1].steps, steps);
}

pub(super) async fn records_are_of_a_run_or_of_a_flow(d: Desk) {
    let first = d.ingest(d.ingest_of(vec![file("a", "1")])).await;
    let second = d.ingest(d.ingest_of(vec![file("b", "2")])).await;
    let (otters, version) = d.save("otters", "o1").await;
    let third = d.ingest(Ingest { flow: otters, version, ..d.ingest_of(vec![file("c", "3")]) }).await;
    let claimed = d.claim_run(first.run).await;
    let step =
        StepRecord { context: d.context, started: 150, entries: vec![entry(&claimed.task.items[0], Outcome::Emitted)] };
    let settled = d.apply(Settlement { history: vec![step.clone()], ..d.dropped(&claimed) }).await;
    let told = async |whose: Records, after: Option<Seq>, most: usize| {
        let page = d.j().await.records(whose, after, most).await.expect(OK);
        (page.rows.iter().map(|row| row.seq).collect::<Vec<_>>(), page.next)
    };
    let of_run = Records::OfRun(first.run);
    assert_eq!(told(of_run, None, 10).await, (vec![first.seq, settled.seq], None), "in commit order");
    assert_eq!(told(of_run, None, 1).await, (vec![first.seq], Some(first.seq)));
    assert_eq!(told(of_run, Some(first.seq), 1).await, (vec![settled.seq], None));
    let of_flow = Records::OfFlow(d.flow);
    assert_eq!(told(of_flow, None, 10).await, (vec![settled.seq, second.seq, first.seq], None), "newest first");
    assert_eq!(told(of_flow, None, 2).await, (vec![settled.seq, second.seq], Some(second.seq)));
    assert_eq!(told(of_flow, Some(second.seq), 2).await, (vec![first.seq], None));
    assert_eq!(told(Records::OfFlow(otters), None, 10).await, (vec![third.seq], None));
    let page = d.j().await.records(of_run, Some(first.seq), 10).await.expect(OK);
    assert_eq!((page.rows[0].at, &page.rows[0].steps, page.rows[0].actor.as_str()), (200, &vec![step], "worker"));
    let missing = d.j().await.records(Records::OfRun(RunId(99)), None, 10).await.expect_err("no such run");
    assert_eq!(missing.kind, crate::ErrorKind::NotFound);
}
