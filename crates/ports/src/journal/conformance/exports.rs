//! Intents: what is done outside, from what was recorded.

use opendmp_model::export::{IfExists, SinkClass};
use opendmp_model::fault::Tries;

use super::desk::{Desk, OK, content, export_of, fault, file, later, slot_of, to};
use crate::journal::types::*;

pub(super) async fn an_export_is_carried_out(d: Desk) {
    let wanted = NewExport { class: SinkClass::AtLeastOnce, ..to("caf\u{e9}/a.csv", IfExists::Keep) };
    let claimed = d.arrive_as("a", "one").await;
    let settlement = d.collected(&claimed, Some(wanted.clone()));
    let slot = slot_of(&settlement.revisions[0].item, "Shelf");
    let applied = d.apply(settlement).await;
    assert_eq!((applied.exports, applied.revisions), (1, 1), "with the revision, in its transaction");
    let row = d.newest(slot).await;
    assert_eq!(row.export, ExportState::Pending);
    assert_eq!(row.target, Some(("folder:/out".to_owned(), wanted.target.clone())));
    let run = d.run(claimed.run).await;
    assert_eq!((run.outstanding, run.state), (1, RunState::Running), "a run ends with its exports");
    let waiting = d.backlog().await;
    assert_eq!((waiting.items, waiting.intents, waiting.due), (0, 1, None));
    let (intent, action) = d.export().await;
    assert_eq!((intent.flow, intent.version, intent.run), (d.flow, d.version, claimed.run));
    assert_eq!((&*intent.processor, intent.attempt, intent.unknown), ("shelf", 1, false));
    let id = claimed.task.items[0].id;
    assert_eq!((action.slot, action.arrival, action.pass), (slot, id.arrival, id.pass));
    assert_eq!((action.item, action.export, action.ours), (claimed.task.items[0].clone(), wanted, None));
    assert!(d.intents(10).await.is_empty(), "claimed once");
    d.finish(&intent, End::Done).await;
    let row = d.newest(slot).await;
    assert_eq!((row.export, row.exported), (ExportState::Written, Some(300)));
    let run = d.run(claimed.run).await;
    assert_eq!((run.outstanding, run.exported, run.state, run.finished), (0, 1, RunState::Done, Some(300)));
    assert_eq!((d.backlog().await.intents, d.flow_row().await.outstanding), (0, 0));
    d.collect("a", "two", Some(to("caf\u{e9}/a.csv", IfExists::Keep))).await;
    let (next, action) = d.export().await;
    assert_eq!(action.ours, Some(content("one").hash), "what this slot wrote there last");
    d.finish(&next, End::Done).await;
}

pub(super) async fn equal_results_are_not_exported_again(d: Desk) {
    let wanted = || Some(to("a.csv", IfExists::Version));
    let (slot, _) = d.collect("a", "one", wanted()).await;
    d.finish(&d.export().await.0, End::Done).await;
    let again = || async {
        let changed = NewArrival { stat: None, ..file("a", "one") };
        let done = d.ingest(Ingest { source: d.source, ..d.ingest_of(vec![changed]) }).await;
        assert_eq!(done.new, 0, "known by its content");
        let claimed = d.version_of(file("a", "another"), "one").await;
        d.apply(d.collected(&claimed, wanted())).await
    };
    let applied = again().await;
    assert_eq!((applied.unchanged, applied.exports), (1, 0));
    assert!(d.intents(10).await.is_empty());
    assert_eq!(d.newest(slot).await.export, ExportState::Written);
}

/// Collects a result equal to the last one of `a`, to be exported elsewhere.
async fn again(d: &Desk, version: u64, wanted: NewExport) -> Applied {
    let claimed = d.version_of(file("a", &format!("version {version}")), "one").await;
    d.apply(d.collected(&claimed, Some(wanted))).await
}

pub(super) async fn another_name_is_exported_again(d: Desk) {
    let (slot, _) = d.collect("a", "one", None).await;
    let first = again(&d, 1, to("a.csv", IfExists::Version)).await;
    assert_eq!((first.unchanged, first.exports), (1, 1), "not exported before");
    d.finish(&d.export().await.0, End::Done).await;
    let renamed = again(&d, 2, to("b.csv", IfExists::Version)).await;
    assert_eq!((renamed.unchanged, renamed.exports), (1, 1));
    let (intent, action) = d.export().await;
    assert_eq!((action.export.target.as_slice(), action.ours), (&b"b.csv"[..], None));
    assert_eq!((action.arrival.0, action.slot), (1, slot), "of the revision that is there");
    d.finish(&intent, End::Done).await;
    let row = d.newest(slot).await;
    assert_eq!((row.revision, row.export), (1, ExportState::Written));
    assert_eq!(row.target, Some(("folder:/out".to_owned(), b"b.csv".to_vec())));
    assert_eq!(again(&d, 3, to("b.csv", IfExists::Version)).await.exports, 0);
}

pub(super) async fn another_destination_is_exported_again(d: Desk) {
    let (slot, _) = d.collect("a", "one", Some(to("a.csv", IfExists::Version))).await;
    d.finish(&d.export().await.0, End::Done).await;
    let elsewhere = NewExport { destination: "folder:/new".into(), ..to("a.csv", IfExists::Version) };
    assert_eq!(again(&d, 2, elsewhere.clone()).await.exports, 1);
    let (intent, action) = d.export().await;
    assert_eq!((action.export, action.ours), (elsewhere, None));
    d.finish(&intent, End::Done).await;
    assert_eq!(d.newest(slot).await.target, Some(("folder:/new".to_owned(), b"a.csv".to_vec())));
}

pub(super) async fn occupied_targets_follow_the_policy(d: Desk) {
    for (if_exists, path) in [(IfExists::Version, "v"), (IfExists::Overwrite, "o")] {
        let (slot, _) = d.collect(path, "one", Some(to(&format!("{path}.csv"), if_exists))).await;
        let mut names = Vec::new();
        for end in [End::Occupied, End::Occupied, End::Done] {
            let (intent, action) = d.export().await;
            assert_eq!(d.newest(slot).await.target.map(|(_, name)| name), Some(action.export.target.clone()));
            names.push(String::from_utf8_lossy(&action.export.target).into_owned());
            d.finish(&intent, end).await;
        }
        assert_eq!(names, [format!("{path}.csv"), format!("{path}-2.csv"), format!("{path}-3.csv")]);
        let row = d.newest(slot).await;
        assert_eq!((row.export, d.run(row.run).await.state), (ExportState::Written, RunState::Done));
    }
    let (slot, _) = d.collect("k", "one", Some(to("k.csv", IfExists::Keep))).await;
    d.finish(&d.export().await.0, End::Occupied).await;
    let row = d.newest(slot).await;
    assert_eq!((row.export, row.exported), (ExportState::Kept, None));
    assert_eq!(d.run(row.run).await.state, RunState::Done);
    let (slot, _) = d.collect("f", "one", Some(to("f.csv", IfExists::Fail))).await;
    d.finish(&d.export().await.0, End::Occupied).await;
    let row = d.newest(slot).await;
    assert_eq!(row.export, ExportState::Refused);
    let letters = d.letters(Filter::default()).await;
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].fault.code.as_str(), letters[0].export_only), ("target-taken", true));
    let run = d.run(row.run).await;
    assert_eq!((run.state, run.dead, run.exported), (RunState::Done, 1, 0));
}

pub(super) async fn refused_exports_are_repeated_alone(d: Desk) {
    let (slot, _) = d.collect("a", "one", Some(to("a.csv", IfExists::Version))).await;
    let (intent, action) = d.export().await;
    d.finish(&intent, End::Refused(fault("no rights"))).await;
    let row = d.newest(slot).await;
    assert_eq!((row.export, row.revision), (ExportState::Refused, 1), "the dataset is there");
    let letters = d.letters(Filter::default()).await;
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!((letter.export_only, letter.attempts, &letter.fault), (true, 1, &fault("no rights")));
    assert_eq!((&letter.item, &*letter.at.processor, letter.run), (&action.item, "shelf", intent.run));
    assert_eq!((d.flow_row().await.dead_letters, d.run(intent.run).await.dead), (1, 1));
    let (run, count) = d.j().await.reenter(d.reentry(&letters)).await.expect(OK);
    assert_eq!(count, 1);
    assert!(d.claim(10).await.is_empty(), "nothing is computed again");
    assert_eq!(d.newest(slot).await.export, ExportState::Pending);
    let (again, action) = d.export().await;
    assert_eq!((again.run, again.attempt), (run, 1));
    assert_eq!(
        (action.slot, action.arrival, action.export.target.as_slice()),
        (slot, row.item.id.arrival, &b"a.csv"[..])
    );
    d.finish(&again, End::Refused(fault("still none"))).await;
    let letters = d.letters(Filter::default()).await;
    assert_eq!((letters.len(), d.flow_row().await.dead_letters), (1, 1), "the same letter, open again");
    let (run, _) = d.j().await.reenter(d.reentry(&letters)).await.expect(OK);
    d.finish(&d.export().await.0, End::Done).await;
    assert_eq!(d.newest(slot).await.export, ExportState::Written);
    let run = d.run(run).await;
    assert_eq!((run.state, run.exported, d.flow_row().await.dead_letters), (RunState::Done, 1, 0));
}

pub(super) async fn retries_wait(d: Desk) {
    d.collect("a", "one", Some(to("a.csv", IfExists::Version))).await;
    let (intent, _) = d.export().await;
    let tries = Tries { failures: 2, waits: 3 };
    d.finish(&intent, End::Retry { due: 95_000, tries, fault: fault("away") }).await;
    // Given by a clock that has been set back since.
    assert_eq!(d.j().await.clock_set_back(SetBack { by: 90_000, from: 95_000 }).await.expect(OK), 1);
    let waiting = d.backlog().await;
    assert_eq!((waiting.intents, waiting.due), (1, Some(5_000)));
    assert_eq!(d.j().await.backlog(Some(d.flow)).await.expect(OK), waiting);
    assert!(d.intents_at(4_999, 10).await.is_empty());
    let again = d.intents_at(5_000, 10).await;
    assert_eq!((again.len(), again[0].id, again[0].attempt, again[0].unknown), (1, intent.id, 2, false));
    assert_eq!((intent.tries, again[0].tries), (Tries::default(), tries));
    assert_eq!(d.backlog().await.due, None);
    let none = Tries { waits: 9, ..Tries::default() };
    d.finish(&again[0], End::Retry { due: 6_000, tries: none, fault: fault("away") }).await;
    let again = d.intents_at(6_000, 10).await;
    assert_eq!((again[0].attempt, again[0].tries), (3, none));
    d.finish(&again[0], End::Refused(fault("no"))).await;
    assert_eq!(d.backlog().await, Backlog::default());
    let letter = d.letters(Filter::default()).await.remove(0);
    assert_eq!((letter.export_only, letter.attempts), (true, 1), "waits are no attempts");
}

pub(super) async fn attempts_of_unknown_end_are_told(mut d: Desk) {
    let (slot, _) = d.collect("a", "one", Some(to("a.csv", IfExists::Version))).await;
    let (intent, _) = d.export().await;
    let over = d.take_over(true).await;
    assert_eq!((over.tasks, over.intents), (0, 1));
    d.lease = over.lease;
    let (again, _) = d.export().await;
    assert_eq!((again.id, again.attempt, again.unknown), (intent.id, 2, true));
    d.finish(&again, later(1, "away")).await;
    let (third, _) = d.export().await;
    assert_eq!((third.attempt, third.unknown), (3, true), "it stays unknown");
    d.finish(&third, End::Done).await;
    assert_eq!(d.newest(slot).await.export, ExportState::Written);
}

pub(super) async fn lost_leases_finish_nothing(mut d: Desk) {
    let (slot, _) = d.collect("a", "one", Some(to("a.csv", IfExists::Version))).await;
    let (intent, _) = d.export().await;
    let old = d.lease;
    let beside = d.lease(false).await;
    d.lease = beside;
    d.finish(&intent, End::Done).await;
    assert_eq!(d.newest(slot).await.export, ExportState::Pending, "another's intent");
    d.lease = d.lease(true).await;
    let late = Finished { id: intent.id, lease: old, attempt: intent.attempt, end: End::Done, at: 300 };
    d.j().await.finish(vec![late.clone()]).await.expect(OK);
    assert_eq!(d.newest(slot).await.export, ExportState::Pending, "taken over");
    let (again, _) = d.export().await;
    d.j().await.finish(vec![late]).await.expect(OK);
    assert_eq!(d.newest(slot).await.export, ExportState::Pending, "taken over and claimed again");
    let unknown = Finished { id: IntentId(99), lease: d.lease, attempt: 1, end: End::Done, at: 300 };
    d.j().await.finish(vec![unknown]).await.expect(OK);
    let busy = || later(0, "busy");
    d.finish(&again, busy()).await;
    let (again_later, _) = d.export().await;
    d.finish(&again, busy()).await;
    assert!(d.intents(10).await.is_empty(), "an end that is told again does not end the next attempt");
    let again = again_later;
    d.finish(&again, End::Done).await;
    d.finish(&again, End::Refused(fault("said twice"))).await;
    assert_eq!(d.newest(slot).await.export, ExportState::Written, "the first end counts");
    assert!(d.letters(Filter::default()).await.is_empty());
}

pub(super) async fn releases_are_intents_too(d: Desk) {
    d.collect("x", "one", Some(to("x.csv", IfExists::Version))).await;
    let dropped = |path: &str| NewArrival { release: Some(format!("claim {path}").into()), ..file(path, path) };
    let done = d.ingest(d.ingest_of(vec![dropped("b"), file("keep", "1"), dropped("a")])).await;
    assert_eq!(d.run(done.run).await.outstanding, 4, "three items and one intent");
    let intents = d.intents(1).await;
    assert_eq!(intents.len(), 1, "no more than asked for");
    let Action::Release { releases } = &intents[0].action else { panic!("a release goes first") };
    assert_eq!(releases.iter().map(|release| &release[..]).collect::<Vec<_>>(), [&b"claim b"[..], b"claim a"]);
    assert_eq!((&*intents[0].processor, intents[0].run, intents[0].flow), ("inbox", done.run, d.flow));
    d.finish(&intents[0], later(900, "busy")).await;
    assert_eq!(d.j().await.pending_releases(d.source, 10).await.expect(OK).len(), 2, "not let go yet");
    let again = d.intents(10).await;
    assert_eq!(again.len(), 2);
    assert_eq!(export_of(&again[1]).export.target, b"x.csv");
    d.finish(&again[0], End::Refused(fault("gone"))).await;
    assert!(d.j().await.pending_releases(d.source, 10).await.expect(OK).is_empty());
    assert!(d.letters(Filter::default()).await.is_empty(), "no item is lost with it");
    assert_eq!(d.run(done.run).await.outstanding, 3);
}

/// A folder that was away is there again: what waited to be let go need not wait longer; other sources and exports do.
pub(super) async fn waiting_releases_can_be_made_due(d: Desk) {
    let dropped = |path: &str| NewArrival { release: Some(format!("claim {path}").into()), ..file(path, path) };
    for path in ["a", "b"] {
        d.ingest(d.ingest_of(vec![dropped(path)])).await;
    }
    d.collect("x", "one", Some(to("x.csv", IfExists::Version))).await;
    for intent in d.intents(10).await {
        d.finish(&intent, later(90_000, "away")).await;
    }
    let elsewhere = d.j().await.source(DEFAULT_SPACE, "file_drop:/other").await.expect(OK);
    assert_eq!(d.j().await.retry_releases(elsewhere, 500).await.expect(OK), 0);
    assert!(d.intents(10).await.is_empty());
    assert_eq!(d.j().await.retry_releases(d.source, 200).await.expect(OK), 2);
    assert_eq!(d.j().await.retry_releases(d.source, 200).await.expect(OK), 0, "they are due");
    let due = d.intents(10).await;
    assert_eq!(due.len(), 2, "the export still waits");
    assert!(due.iter().all(|intent| matches!(intent.action, Action::Release { .. })));
}

pub(super) async fn what_is_done_is_done(d: Desk) {
    let wanted = |n: u32| Some(to(&format!("{n}.csv"), IfExists::Version));
    for n in 0..5 {
        d.collect(&format!("f-{n}"), "one", wanted(n)).await;
    }
    let intents = d.intents(10).await;
    let order: Vec<u64> = intents.iter().map(|intent| export_of(intent).arrival.0).collect();
    assert_eq!(order, [1, 2, 3, 4, 5], "oldest first");
    let done =
        |intent: &Intent| Finished { id: intent.id, lease: d.lease, attempt: intent.attempt, end: End::Done, at: 300 };
    d.j().await.finish(intents.iter().map(done).collect()).await.expect(OK);
    assert!(d.datasets(Filter::default()).await.iter().all(|row| row.export == ExportState::Written));
    assert_eq!(d.backlog().await, Backlog::default());
}
