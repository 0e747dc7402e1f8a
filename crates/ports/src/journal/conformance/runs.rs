//! Runs.

use std::collections::BTreeMap;

use super::desk::{Desk, OK, child, file, task};
use crate::ErrorKind;
use crate::journal::types::*;
use crate::transport::StepCounts;

pub(super) async fn runs_end(d: Desk) {
    let done = d.ingest(d.ingest_of(vec![file("a", "1"), file("b", "2")])).await;
    let run = d.run(done.run).await;
    assert_eq!((run.id, run.flow.as_str(), run.version.as_str()), (done.run, "penguins", "v1"));
    assert_eq!((run.mode, run.trigger.as_str(), run.started), (RunMode::Live, "files in ./in", 100));
    assert_eq!((run.state, run.finished, run.arrivals, run.outstanding), (RunState::Running, None, 2, 2));
    assert_eq!(d.flow_row().await.outstanding, 2);
    let claimed = d.claim_run(done.run).await;
    let next = task(vec![child(&claimed.task.items[0], 0).0], "sort");
    d.apply(Settlement { tasks: vec![next], ..d.dropped(&claimed) }).await;
    assert_eq!((d.run(done.run).await.outstanding, d.flow_row().await.outstanding), (1, 1));
    let claimed = d.claim_run(done.run).await;
    d.apply(Settlement { at: 250, ..d.failed(&claimed) }).await;
    let run = d.run(done.run).await;
    assert_eq!((run.state, run.finished, run.outstanding, run.dead), (RunState::Done, Some(250), 0, 1));
    let flow = d.flow_row().await;
    assert_eq!((flow.outstanding, flow.dead_letters), (0, 1), "a dead letter is not outstanding");
}

pub(super) async fn open_runs_wait(d: Desk) {
    let run = d.j().await.open_run(d.flow, d.version, RunMode::Live, "scan", 50).await.expect(OK);
    let row = d.run(run).await;
    assert_eq!((row.state, row.started, row.trigger.as_str()), (RunState::Running, 50, "scan"));
    d.ingest(Ingest { run: RunChoice::Existing(run), ..d.ingest_of(vec![file("a", "1")]) }).await;
    let claimed = d.claim_run(run).await;
    d.apply(d.dropped(&claimed)).await;
    assert_eq!(d.run(run).await.state, RunState::Running, "more may come");
    d.j().await.close_run(run, 260).await.expect(OK);
    assert_eq!((d.run(run).await.state, d.run(run).await.finished), (RunState::Done, Some(260)));
    d.j().await.close_run(run, 270).await.expect(OK);
    assert_eq!(d.run(run).await.finished, Some(260), "closed once");
    let other = d.j().await.open_run(d.flow, d.version, RunMode::Trial, "look", 50).await.expect(OK);
    d.ingest(Ingest { run: RunChoice::Existing(other), ..d.ingest_of(vec![file("b", "1")]) }).await;
    d.j().await.close_run(other, 260).await.expect(OK);
    assert_eq!(d.run(other).await.state, RunState::Running, "something is outstanding");
    let claimed = d.claim_run(other).await;
    d.apply(d.dropped(&claimed)).await;
    assert_eq!((d.run(other).await.state, d.run(other).await.finished), (RunState::Done, Some(200)));
}

pub(super) async fn flows_tell_since_when(d: Desk) {
    assert_eq!((d.flow_row().await.unfinished_since, d.flow_row().await.last_run), (None, None));
    let first = d.j().await.open_run(d.flow, d.version, RunMode::Live, "scan", 50).await.expect(OK);
    let second = d.ingest(Ingest { at: 70, started: 60, ..d.ingest_of(vec![file("a", "1")]) }).await;
    let begun = d.run(second.run).await.started;
    assert_eq!(d.flow_row().await.unfinished_since, Some(50), "the oldest run that is not done");
    d.j().await.close_run(first, 260).await.expect(OK);
    assert_eq!(d.flow_row().await.unfinished_since, Some(begun));
    assert_eq!(d.flow_row().await.last_run, Some(begun), "the newest that had items");
    let listed = d.j().await.flows(d.flow_row().await.space).await.expect(OK);
    assert_eq!(listed.iter().map(|row| row.unfinished_since).collect::<Vec<_>>(), [Some(begun)]);
    let claimed = d.claim_run(second.run).await;
    d.apply(d.dropped(&claimed)).await;
    assert_eq!(d.flow_row().await.unfinished_since, None, "nothing is outstanding");
}

pub(super) async fn runs_count(d: Desk) {
    let done = d.ingest(d.ingest_of(vec![file("a", "1")])).await;
    let claimed = d.claim_run(done.run).await;
    let next = task(vec![child(&claimed.task.items[0], 0).0], "sort");
    let step = StepCounts { done: 1, emitted: 2, dead: 3, retried: 4, took: 500, remembered: 6 };
    let counts = BTreeMap::from([("clean".into(), step), ("größe".into(), StepCounts { took: 9, ..step })]);
    d.apply(Settlement { tasks: vec![next], counts, ..d.dropped(&claimed) }).await;
    let claimed = d.claim_run(done.run).await;
    d.apply(Settlement { counts: BTreeMap::from([("clean".into(), step)]), ..d.dropped(&claimed) }).await;
    let run = d.run(done.run).await;
    let arrived = StepCounts { done: 1, emitted: 1, ..StepCounts::default() };
    let twice = StepCounts { done: 2, emitted: 4, dead: 6, retried: 8, took: 1_000, remembered: 12 };
    let expected = [("clean", twice), ("größe", StepCounts { took: 9, ..step }), ("inbox", arrived)];
    assert_eq!(run.processors, expected.map(|(name, counts)| (name.to_owned(), counts)).into());
    let listed = d.j().await.runs(Filter::default()).await.expect(OK).rows;
    assert!(listed[0].processors.is_empty(), "not in a listing");
}

pub(super) async fn runs_are_listed(d: Desk) {
    let (otters, version) = d.save("otters", "o1").await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let (flow, version) = if n % 2 == 0 { (d.flow, d.version) } else { (otters, version) };
        ids.push(d.j().await.open_run(flow, version, RunMode::Live, &format!("file-{n}.csv"), n).await.expect(OK));
    }
    let listed = |filter: Filter| async {
        let page = d.j().await.runs(filter).await.expect(OK);
        (page.rows.iter().map(|row| row.id).collect::<Vec<_>>(), page.next)
    };
    let none = Filter::default;
    assert_eq!(listed(none()).await, (vec![ids[4], ids[3], ids[2], ids[1], ids[0]], None), "newest first");
    let (first, next) = listed(Filter { limit: 2, ..none() }).await;
    assert_eq!(first, [ids[4], ids[3]]);
    let (second, next) = listed(Filter { limit: 2, after: next, ..none() }).await;
    assert_eq!(second, [ids[2], ids[1]]);
    assert_eq!(listed(Filter { limit: 2, after: next, ..none() }).await, (vec![ids[0]], None));
    assert_eq!(listed(Filter { flow: Some("otters".into()), ..none() }).await.0, [ids[3], ids[1]]);
    assert_eq!(listed(Filter { flow: Some("nobody".into()), ..none() }).await.0, []);
    assert_eq!(listed(Filter { run: Some(ids[2]), ..none() }).await.0, [ids[2]]);
    assert_eq!(listed(Filter { name: Some("file-1*".into()), ..none() }).await.0, [ids[1]], "by what set them off");
    let bad = d.j().await.runs(Filter { after: Some("x".into()), ..none() }).await.expect_err("not a cursor");
    assert_eq!(bad.kind, ErrorKind::Invalid);
}
