//! Dataset slots and their revisions.

use opendmp_model::export::IfExists;
use opendmp_model::history::{Result as Outcome, StepRecord};
use opendmp_model::item::Item;

use super::desk::{Desk, OK, child, content, entry, file, slot_of, to};
use crate::journal::decide;
use crate::journal::types::*;

pub(super) async fn equal_results_add_only_history(d: Desk) {
    let (slot, first) = d.collect("a", "one", None).await;
    assert_eq!((first.revisions, first.unchanged), (1, 0));
    let claimed = d.version_of(file("a", "another"), "one").await;
    let applied = d.apply(d.collected(&claimed, None)).await;
    assert_eq!((applied.revisions, applied.unchanged), (0, 1));
    let rows = d.revisions(slot).await;
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].item.id.arrival.0, rows[0].seq, rows[0].revision), (1, first.seq, 1));
    let run = d.run(claimed.run).await;
    assert_eq!((run.revisions, run.unchanged, run.state), (0, 1, RunState::Done));
    let history = d.j().await.history(claimed.task.items[0].id.arrival).await.expect(OK);
    let results: Vec<Outcome> = history.iter().map(|row| row.steps[0].entries[0].result).collect();
    assert_eq!(results, [Outcome::Arrived, Outcome::Unchanged]);
    let history = d.j().await.history(rows[0].item.id.arrival).await.expect(OK);
    assert_eq!(history[1].steps[0].entries[0].result, Outcome::Collected);
    d.collect("a", "two", None).await;
    let rows = d.revisions(slot).await;
    let told: Vec<_> = rows.iter().map(|row| (row.revision, row.item.content.hash)).collect();
    assert_eq!(told, [(1, content("one").hash), (2, content("two").hash)], "a changed result is a revision");
}

/// Claims of versions of one file, in order, and what comes of each.
async fn versions(d: &Desk, results: &[&str]) -> Vec<Claimed> {
    let mut claimed = Vec::new();
    for (number, result) in results.iter().enumerate() {
        claimed.push(d.version_of(file("a", &format!("version {number}")), result).await);
    }
    claimed
}

pub(super) async fn revisions_are_in_order_of_arrival(d: Desk) {
    let claimed = versions(&d, &["one", "two", "three"]).await;
    for at in [1, 2, 0] {
        assert_eq!(d.apply(d.collected(&claimed[at], None)).await.revisions, 1);
    }
    let rows = d.revisions(slot_of(&claimed[0].task.items[0], "Shelf")).await;
    let told: Vec<_> = rows.iter().map(|row| (row.revision, row.item.id.arrival.0, row.run)).collect();
    assert_eq!(told, [(1, 1, claimed[0].run), (2, 2, claimed[1].run), (3, 3, claimed[2].run)]);
    assert!(rows[0].seq > rows[1].seq, "whenever they were settled");
    let row = &rows[2];
    assert_eq!((row.collection.as_str(), row.flow.as_str(), row.processor.as_str()), ("Shelf", "penguins", "shelf"));
    assert_eq!((row.version.as_str(), row.at, row.export), ("v1", 200, ExportState::None));
    assert_eq!((&row.target, row.exported, &row.item), (&None, None, &claimed[2].task.items[0]));
    let newest = d.datasets(Filter::default()).await;
    assert_eq!(newest.len(), 1);
    assert_eq!((newest[0].revision, newest[0].item.id.arrival.0), (3, 3));
}

pub(super) async fn equality_is_with_the_one_before(d: Desk) {
    let claimed = versions(&d, &["one", "one", "two", "one"]).await;
    let mut new = Vec::new();
    for at in [0, 2, 1, 3] {
        new.push(d.apply(d.collected(&claimed[at], None)).await.revisions);
    }
    assert_eq!(new, [1, 1, 0, 1], "the second equals the first, though the third was there before it");
    let rows = d.revisions(slot_of(&claimed[0].task.items[0], "Shelf")).await;
    assert_eq!(rows.iter().map(|row| row.item.id.arrival.0).collect::<Vec<_>>(), [1, 3, 4]);
}

pub(super) async fn a_revision_is_as_new_as_its_latest_result(d: Desk) {
    let claimed = versions(&d, &["one", "two", "one", "one", "three"]).await;
    let wanted = || Some(to("a.csv", IfExists::Version));
    let slot = slot_of(&claimed[0].task.items[0], "Shelf");
    d.apply(d.collected(&claimed[0], wanted())).await;
    let (intent, _) = d.export().await;
    d.finish(&intent, End::Done).await;
    assert_eq!(d.apply(d.collected(&claimed[2], wanted())).await.unchanged, 1);
    // The second comes last, and is older than what the first one was found to be again.
    assert_eq!(d.apply(d.collected(&claimed[1], wanted())).await.revisions, 1);
    let told = |rows: &[RevisionRow]| rows.iter().map(|row| (row.revision, row.item.id.arrival.0)).collect::<Vec<_>>();
    assert_eq!(told(&d.revisions(slot).await), [(1, 2), (2, 1)]);
    assert_eq!(d.datasets(Filter::default()).await[0].item.content, content("one"));
    assert!(d.intents(10).await.is_empty(), "the older one does not overwrite it outside");
    assert_eq!(d.revisions(slot).await[0].export, ExportState::Superseded);
    assert_eq!(d.apply(d.collected(&claimed[3], wanted())).await.unchanged, 1, "equal to the newest");
    assert_eq!(d.apply(d.collected(&claimed[4], wanted())).await.revisions, 1);
    assert_eq!(told(&d.revisions(slot).await), [(1, 2), (2, 1), (3, 5)]);
    assert_eq!(d.export().await.1.ours, Some(content("one").hash));
}

pub(super) async fn two_items_never_share_a_revision(d: Desk) {
    let claimed = d.arrive("a").await;
    let item = &claimed.task.items[0];
    let made = |nth, text| Item { content: content(text), ..child(item, nth).0 };
    let (one, two, same) = (made(0, "one"), made(1, "two"), made(2, "one"));
    let slot = slot_of(item, "Shelf");
    let revision = |item: &Item| d.revision(item, "Shelf", None);
    let entries = [&one, &two, &same].map(|item| entry(item, Outcome::Collected)).to_vec();
    let history = vec![StepRecord { context: d.context, started: 150, entries }];
    let revisions = vec![revision(&one), revision(&two), revision(&same)];
    let applied = d.apply(Settlement { revisions, history, ..d.dropped(&claimed) }).await;
    assert_eq!((applied.revisions, applied.unchanged), (2, 1), "nothing is lost, an equal one adds only history");
    assert_eq!(d.newest(slot).await.item, one);
    assert_eq!(d.newest(decide::slot_beside(slot, two.id)).await.item, two);
    assert_eq!(d.datasets(Filter::default()).await.len(), 2);
}

pub(super) async fn retried_items_add_revisions(d: Desk) {
    let claimed = d.arrive("a").await;
    let item = claimed.task.items[0].clone();
    d.apply(Settlement { dead_letters: d.failed(&claimed).dead_letters, ..d.collected(&claimed, None) }).await;
    let letters = d.letters(Filter::default()).await;
    let (run, count) = d.j().await.reenter(d.reentry(&letters)).await.expect(OK);
    assert_eq!(count, 1);
    let again = d.claim_run(run).await;
    let changed = Item { content: content("mended"), ..again.task.items[0].clone() };
    let settlement = Settlement { revisions: vec![d.revision(&changed, "Shelf", None)], ..d.dropped(&again) };
    assert_eq!(d.apply(settlement).await.revisions, 1);
    let rows = d.revisions(slot_of(&item, "Shelf")).await;
    let told: Vec<_> = rows.iter().map(|row| (row.revision, row.item.id.arrival.0, row.item.id.pass.0)).collect();
    assert_eq!(told, [(1, 1, 0), (2, 1, 1)], "a later pass of one arrival");
}

pub(super) async fn collections_are_counted(d: Desk) {
    assert!(d.j().await.collections(DEFAULT_SPACE).await.expect(OK).is_empty());
    d.collect("a", "one", None).await;
    d.collect("a", "four", None).await;
    d.collect("b", "three", None).await;
    let claimed = d.arrive("c").await;
    let item = &claimed.task.items[0];
    let elsewhere = vec![d.revision(item, "Attic", None), d.revision(item, "Shelf", None)];
    d.apply(Settlement { revisions: elsewhere, at: 250, ..d.dropped(&claimed) }).await;
    let rows = d.j().await.collections(DEFAULT_SPACE).await.expect(OK);
    let told: Vec<_> =
        rows.iter().map(|row| (row.name.as_str(), row.datasets, row.revisions, row.bytes, row.changed)).collect();
    assert_eq!(told, [("Attic", 1, 1, 1, 250), ("Shelf", 3, 4, 13, 250)]);
}
