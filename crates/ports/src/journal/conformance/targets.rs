//! Targets: whose a name outside is, and in which order it is written.

use opendmp_model::export::IfExists;
use opendmp_model::ids::SlotId;

use super::desk::{Desk, OK, content, export_of, fault, file, later, to};
use crate::journal::types::*;

/// The name that the only waiting export goes to; it is carried out.
async fn write(d: &Desk) -> String {
    let (intent, action) = d.export().await;
    d.finish(&intent, End::Done).await;
    String::from_utf8_lossy(&action.export.target).into_owned()
}

async fn name_of(d: &Desk, slot: SlotId) -> String {
    let (_, name) = d.newest(slot).await.target.expect("a target");
    String::from_utf8_lossy(&name).into_owned()
}

/// Claims of versions of one file, in order.
async fn versions(d: &Desk, results: &[&str]) -> Vec<Claimed> {
    let mut claimed = Vec::new();
    for (number, result) in results.iter().enumerate() {
        claimed.push(d.version_of(file("versions", &format!("version {number}")), result).await);
    }
    claimed
}

pub(super) async fn collisions_get_numbers(d: Desk) {
    let wanted = || Some(to("out/report.csv", IfExists::Version));
    let (a, _) = d.collect("a", "one", wanted()).await;
    let (b, _) = d.collect("b", "two", wanted()).await;
    assert_eq!(d.intents(10).await.len(), 2, "of two targets");
    assert_eq!((name_of(&d, a).await, name_of(&d, b).await), ("out/report.csv".into(), "out/report-2.csv".into()));
    let elsewhere = NewExport { destination: "folder:/new".into(), ..to("out/report.csv", IfExists::Version) };
    let (c, _) = d.collect("c", "three", Some(elsewhere)).await;
    assert_eq!(name_of(&d, c).await, "out/report.csv", "names are a destination's own");
    assert_eq!(write(&d).await, "out/report.csv");
    // A name that looks numbered and is wanted as it is.
    let (e, _) = d.collect("e", "five", Some(to("out/report-3.csv", IfExists::Version))).await;
    let (f, _) = d.collect("f", "six", wanted()).await;
    assert_eq!((name_of(&d, e).await, name_of(&d, f).await), ("out/report-3.csv".into(), "out/report-4.csv".into()));
}

pub(super) async fn numbers_are_kept(d: Desk) {
    let wanted = || Some(to("r.csv", IfExists::Version));
    for path in ["a", "b", "c"] {
        d.collect(path, "one", wanted()).await;
        write(&d).await;
    }
    let again = [("b", "two", "r-2.csv"), ("c", "two", "r-3.csv"), ("a", "two", "r.csv"), ("b", "three", "r-2.csv")];
    for (path, text, expected) in again {
        let (slot, _) = d.collect(path, text, wanted()).await;
        assert_eq!(name_of(&d, slot).await, expected, "its own from before");
        let (intent, action) = d.export().await;
        assert!(action.ours.is_some());
        d.finish(&intent, End::Done).await;
    }
    let (d4, _) = d.collect("d", "one", wanted()).await;
    assert_eq!(name_of(&d, d4).await, "r-4.csv");
}

pub(super) async fn collisions_overwrite(d: Desk) {
    let wanted = || Some(to("latest.csv", IfExists::Overwrite));
    let (a, _) = d.collect("a", "one", wanted()).await;
    assert_eq!(write(&d).await, "latest.csv");
    let (b, _) = d.collect("b", "two", wanted()).await;
    let (intent, action) = d.export().await;
    assert_eq!((action.export.target.as_slice(), action.ours), (&b"latest.csv"[..], None), "another's, not its own");
    d.finish(&intent, End::Done).await;
    assert_eq!(d.newest(a).await.export, ExportState::Written);
    assert_eq!(d.newest(b).await.export, ExportState::Written);
    // It is the last writer's now: one that does not overwrite goes beside it.
    let (c, _) = d.collect("a", "three", Some(to("latest.csv", IfExists::Version))).await;
    assert_eq!((c, name_of(&d, a).await), (a, "latest-2.csv".to_owned()));
    write(&d).await;
    d.collect("b", "four", wanted()).await;
    assert_eq!(d.export().await.1.ours, Some(content("two").hash));
}

pub(super) async fn collisions_keep(d: Desk) {
    d.collect("a", "one", Some(to("k.csv", IfExists::Keep))).await;
    write(&d).await;
    let (b, applied) = d.collect("b", "two", Some(to("k.csv", IfExists::Keep))).await;
    assert_eq!((applied.exports, applied.dead, applied.revisions), (0, 0, 1));
    let row = d.newest(b).await;
    assert_eq!((row.export, row.exported), (ExportState::Kept, None));
    assert_eq!(row.target, Some(("folder:/out".to_owned(), b"k.csv".to_vec())), "what was kept");
    assert_eq!(d.run(row.run).await.state, RunState::Done);
    assert!(d.intents(10).await.is_empty());
    d.collect("a", "three", Some(to("k.csv", IfExists::Keep))).await;
    assert_eq!(write(&d).await, "k.csv", "the owner goes on");
}

pub(super) async fn collisions_fail(d: Desk) {
    d.collect("a", "one", Some(to("f.csv", IfExists::Fail))).await;
    write(&d).await;
    let (b, applied) = d.collect("b", "two", Some(to("f.csv", IfExists::Fail))).await;
    assert_eq!((applied.exports, applied.dead, applied.revisions), (0, 1, 1));
    let row = d.newest(b).await;
    assert_eq!(row.export, ExportState::Refused);
    let run = d.run(row.run).await;
    assert_eq!((run.state, run.dead), (RunState::Done, 1));
    let letters = d.letters(Filter::default()).await;
    assert_eq!((letters.len(), letters[0].export_only, letters[0].fault.code.as_str()), (1, true, "target-taken"));
    let (run, count) = d.j().await.reenter(d.reentry(&letters)).await.expect(OK);
    assert_eq!((count, d.run(run).await.state), (1, RunState::Done), "still taken");
    let again = d.letters(Filter::default()).await;
    assert_eq!((again.len(), again[0].id, d.flow_row().await.dead_letters), (1, letters[0].id, 1));
    d.collect("a", "three", Some(to("f.csv", IfExists::Fail))).await;
    assert_eq!(write(&d).await, "f.csv", "the owner goes on");
}

pub(super) async fn older_never_overwrites_newer(d: Desk) {
    let wanted = to("v.csv", IfExists::Overwrite);
    let claimed = versions(&d, &["one", "two", "three"]).await;
    let settle = |at: usize| d.collected(&claimed[at], Some(wanted.clone()));
    d.apply(settle(2)).await;
    let (newer, action) = d.export().await;
    assert_eq!(action.arrival.0, 3);
    d.apply(settle(0)).await;
    d.apply(settle(1)).await;
    assert!(d.intents(10).await.is_empty(), "while the newer one is under way");
    let (row, run) = (d.datasets(Filter::default()).await.remove(0), claimed[0].run);
    d.finish(&newer, End::Done).await;
    assert!(d.intents(10).await.is_empty(), "the older ones are ended, not carried out");
    let states: Vec<ExportState> = d.revisions(row.slot).await.iter().map(|row| row.export).collect();
    assert_eq!(states, [ExportState::Superseded, ExportState::Superseded, ExportState::Written]);
    assert_eq!((d.run(run).await.state, d.run(run).await.exported), (RunState::Done, 0));
    assert_eq!(d.backlog().await, Backlog::default());
    // Among slots that overwrite each other the newest arrival stays, in whatever order they are settled.
    let (first, second) = (d.arrive("x").await, d.arrive("y").await);
    let shared = || Some(to("shared.csv", IfExists::Overwrite));
    d.apply(d.collected(&second, shared())).await;
    write(&d).await;
    d.apply(d.collected(&first, shared())).await;
    assert!(d.intents(10).await.is_empty());
    let slot = super::desk::slot_of(&first.task.items[0], "Shelf");
    assert_eq!(d.newest(slot).await.export, ExportState::Superseded);
    // And the claim goes on behind what was superseded.
    let (third, fourth) = (d.arrive("z").await, d.arrive("w").await);
    d.apply(d.collected(&third, Some(to("own.csv", IfExists::Version)))).await;
    d.apply(d.collected(&fourth, shared())).await;
    assert_eq!(d.intents(10).await.len(), 2);
}

pub(super) async fn one_at_a_time_and_in_order(d: Desk) {
    let wanted = to("v.csv", IfExists::Version);
    let claimed = versions(&d, &["one", "two", "three"]).await;
    for one in &claimed {
        d.apply(d.collected(one, Some(wanted.clone()))).await;
    }
    d.collect("other", "x", Some(to("other.csv", IfExists::Version))).await;
    let first = d.intents(10).await;
    let arrivals: Vec<u64> = first.iter().map(|intent| export_of(intent).arrival.0).collect();
    assert_eq!(arrivals, [1, 4], "one of each target, the oldest");
    assert!(d.intents(10).await.is_empty());
    d.finish(&first[0], later(5_000, "away")).await;
    assert!(d.intents(10).await.is_empty(), "one that waits keeps its place");
    assert_eq!(d.backlog().await.due, Some(5_000));
    let again = d.intents_at(5_000, 10).await;
    assert_eq!((again.len(), again[0].id), (1, first[0].id));
    d.finish(&again[0], End::Done).await;
    let (second, action) = d.export().await;
    assert_eq!((action.arrival.0, action.ours), (2, Some(content("one").hash)));
    d.finish(&second, End::Refused(fault("no"))).await;
    let (third, action) = d.export().await;
    assert_eq!((action.arrival.0, action.ours), (3, Some(content("one").hash)));
    d.finish(&third, End::Done).await;
    let states: Vec<ExportState> = d.revisions(action.slot).await.iter().map(|row| row.export).collect();
    assert_eq!(states, [ExportState::Written, ExportState::Refused, ExportState::Written]);
}

pub(super) async fn an_older_one_goes_first(mut d: Desk) {
    let wanted = to("v.csv", IfExists::Version);
    let claimed = versions(&d, &["one", "two", "three"]).await;
    let settle = |d: &Desk, at: usize| d.collected(&claimed[at], Some(wanted.clone()));
    d.apply(settle(&d, 2)).await;
    d.apply(settle(&d, 1)).await;
    let (second, action) = d.export().await;
    assert_eq!(action.arrival.0, 2, "settled later, and older");
    d.apply(settle(&d, 0)).await;
    assert!(d.intents(10).await.is_empty(), "not while another is under way");
    d.finish(&second, later(1, "away")).await;
    let (tried, action) = d.export().await;
    assert_eq!((tried.id, action.arrival.0), (second.id, 2), "what was tried goes on: nobody knows what it wrote");
    d.lease = d.lease(true).await;
    let (again, action) = d.export().await;
    assert_eq!((again.id, again.unknown, action.arrival.0), (second.id, true, 2));
    d.finish(&again, End::Done).await;
    let (third, action) = d.export().await;
    assert_eq!(action.arrival.0, 3, "the oldest would overwrite what is newer");
    d.finish(&third, End::Done).await;
    let states: Vec<ExportState> = d.revisions(action.slot).await.iter().map(|row| row.export).collect();
    assert_eq!(states, [ExportState::Superseded, ExportState::Written, ExportState::Written]);
    assert_eq!(d.backlog().await, Backlog::default());
}

pub(super) async fn many_numbers_are_found(d: Desk) {
    let wanted = || Some(to("n.csv", IfExists::Version));
    for n in 1..=30 {
        let (slot, _) = d.collect(&format!("f-{n}"), "x", wanted()).await;
        let expected = if n == 1 { "n.csv".to_owned() } else { format!("n-{n}.csv") };
        assert_eq!(name_of(&d, slot).await, expected);
    }
    let (slot, _) = d.collect("f-17", "changed", wanted()).await;
    assert_eq!(name_of(&d, slot).await, "n-17.csv");
}

pub(super) async fn a_foreign_target_is_given_up(d: Desk) {
    let fails = || Some(to("f.csv", IfExists::Fail));
    d.collect("a", "one", fails()).await;
    d.finish(&d.export().await.0, End::Occupied).await;
    // It was never written: when the foreign file is gone, whoever comes may have the name.
    let (b, applied) = d.collect("b", "two", fails()).await;
    assert_eq!((applied.exports, name_of(&d, b).await), (1, "f.csv".to_owned()));
    write(&d).await;
    let numbered = || Some(to("n.csv", IfExists::Version));
    d.collect("c", "one", numbered()).await;
    d.finish(&d.export().await.0, End::Occupied).await;
    assert_eq!(write(&d).await, "n-2.csv");
    let (c, _) = d.collect("c", "changed", numbered()).await;
    assert_eq!(name_of(&d, c).await, "n.csv", "the name that was wanted is tried again");
    d.finish(&d.export().await.0, End::Occupied).await;
    assert_eq!(write(&d).await, "n-2.csv", "and then its own");
}

pub(super) async fn a_moved_revision_is_not_confused(d: Desk) {
    let (slot, _) = d.collect("a", "one", Some(to("old.csv", IfExists::Version))).await;
    let claimed = d.version_of(file("a", "another"), "one").await;
    assert_eq!(d.apply(d.collected(&claimed, Some(to("new.csv", IfExists::Version)))).await.exports, 1);
    let intents = d.intents(10).await;
    let names: Vec<String> =
        intents.iter().map(|i| String::from_utf8_lossy(&export_of(i).export.target).into_owned()).collect();
    assert_eq!(names, ["old.csv", "new.csv"], "each goes where it was decided to go");
    d.finish(&intents[0], End::Refused(fault("no"))).await;
    assert_eq!(d.newest(slot).await.export, ExportState::Pending, "the revision goes to the new one");
    d.finish(&intents[1], End::Done).await;
    let row = d.newest(slot).await;
    assert_eq!((row.export, row.target.map(|(_, name)| name)), (ExportState::Written, Some(b"new.csv".to_vec())));
}
