//! Retention: what is let go, what stays whatever is said, and what is still told of what went.

use std::collections::{BTreeMap, BTreeSet};

use opendmp_model::export::IfExists;
use opendmp_model::ids::{Arrival, PathHash};
use tokio::sync::mpsc;

use super::desk::{Desk, OK, content, file, reader, to};
use crate::journal::types::*;
use crate::journal::{
    Feed, LetGo, LetGoPart, LetGone, MemoKey, NewMemo, NewReprocess, RevisionRule, Selection, decide,
};

const NOW: i64 = 5_000;

/// Lets all of it go, in parts; answers how many, and how many bytes.
async fn let_go_of(d: &Desk, what: LetGo, limit: usize, dry: bool) -> (u64, u64) {
    let (mut after, mut sum) = (None, (0, 0));
    loop {
        let part = LetGoPart { what: what.clone(), after, limit, dry, at: NOW };
        let LetGone { count, bytes, next } = d.j().await.let_go(part).await.expect(OK);
        sum = (sum.0 + count, sum.1 + bytes);
        after = next;
        if after.is_none() {
            return sum;
        }
    }
}

fn sources(d: &Desk, before: i64) -> LetGo {
    LetGo::Sources(BTreeMap::from([(d.flow, before)]))
}

fn history(d: &Desk, before: i64) -> LetGo {
    LetGo::History(BTreeMap::from([(d.flow, before)]))
}

fn shelf(newest: Option<u32>, since: Option<i64>) -> LetGo {
    let word = |text: &str| text.to_owned();
    LetGo::Revisions {
        space: DEFAULT_SPACE,
        collection: word("Shelf"),
        flow: word("penguins"),
        processor: word("shelf"),
        rule: RevisionRule { newest, since },
    }
}

async fn roots(d: &Desk) -> BTreeSet<u64> {
    let (sender, mut batches) = mpsc::channel::<Vec<Named>>(1);
    let journal = d.j().await;
    let told = async {
        let mut all = BTreeSet::new();
        while let Some(batch) = batches.recv().await {
            all.extend(batch.into_iter().map(|named| match named {
                Named::Content(content) => content.size,
                Named::Manifest(manifest) => manifest.content.size,
            }));
        }
        all
    };
    let (done, all) = tokio::join!(journal.roots(sender), told);
    done.expect(OK);
    all
}

async fn gone(d: &Desk, arrival: u64) -> Option<i64> {
    d.j().await.arrival(Arrival(arrival)).await.expect(OK).gone
}

/// Sources go when all that came of them has been done for long enough; they are still told of. What is written at the
/// desk is from 100 (it came) to 200 (it was settled).
pub(super) async fn sources_go_when_all_is_done(d: Desk) {
    d.collect("a", "12", None).await;
    let waits = d.arrive_as("b", "333").await;
    assert_eq!(let_go_of(&d, sources(&d, 200), 10, false).await, (0, 0), "it was done at 200");
    assert_eq!(let_go_of(&d, sources(&d, 201), 10, true).await, (1, 2));
    assert_eq!(gone(&d, 1).await, None, "only counted");
    assert_eq!(let_go_of(&d, sources(&d, 201), 1, false).await, (1, 2));
    assert_eq!(let_go_of(&d, sources(&d, 9_999), 10, false).await, (0, 0), "once, and nothing that is under way");
    assert_eq!((gone(&d, 1).await, gone(&d, 2).await), (Some(NOW), None));
    assert_eq!(roots(&d).await, BTreeSet::from([2, 3]), "the dataset has the same content");
    d.apply(d.dropped(&waits)).await;
    assert_eq!(let_go_of(&d, LetGo::Sources(BTreeMap::from([(FlowId(99), 9_999)])), 10, false).await, (0, 0));
    assert_eq!(let_go_of(&d, sources(&d, 9_999), 10, false).await, (1, 3));
    assert_eq!(roots(&d).await, BTreeSet::from([2]));
    let row = d.j().await.arrival(Arrival(2)).await.expect(OK);
    assert_eq!((row.content, row.path), (content("333"), b"b".to_vec()));
    assert!(!d.j().await.history(Arrival(2)).await.expect(OK).is_empty());
    // It is still known: the same file does not come again.
    assert_eq!(d.ingest(d.ingest_of(vec![file("b", "333")])).await.new, 0);
}

/// What a person put in place of an item's content stays as long as its source.
pub(super) async fn edits_go_with_their_source(d: Desk) {
    let claimed = d.arrive_as("a", "1").await;
    d.apply(d.failed(&claimed)).await;
    let letter = d.letters(Filter::default()).await.remove(0);
    let edit = Some(Edit { content: content("mended"), note: None });
    let reentry = Reentry { edit, ..d.reentry(std::slice::from_ref(&letter)) };
    let (run, _) = d.j().await.reenter(reentry).await.expect(OK);
    d.apply(d.dropped(&d.claim_run(run).await)).await;
    assert_eq!(roots(&d).await, BTreeSet::from([1, 6]));
    assert_eq!(let_go_of(&d, sources(&d, 9_999), 10, false).await, (1, 1));
    assert_eq!(roots(&d).await, BTreeSet::new());
}

/// Whatever may still need a source keeps it.
pub(super) async fn sources_stay_while_somebody_may_need_them(d: Desk) {
    // Held by an aggregate.
    let claimed = d.arrive_as("a", "1").await;
    let rule = HoldRule { count: Some(9), ..HoldRule::default() };
    let items = claimed.task.items.clone();
    let held = NewHeld { group: PathHash::root("group"), to: reader("pack", 0), rule, items };
    d.apply(Settlement { held: vec![held], ..d.dropped(&claimed) }).await;
    // An open dead letter.
    let claimed = d.arrive_as("b", "22").await;
    d.apply(d.failed(&claimed)).await;
    // An export.
    d.collect("c", "333", Some(to("c", IfExists::Version))).await;
    // A release.
    let arrival = NewArrival { release: Some("claim".into()), ..file("d", "4444") };
    let run = d.ingest(d.ingest_of(vec![arrival])).await.run;
    let claimed = d.claim_run(run).await;
    d.apply(d.dropped(&claimed)).await;
    let all = async |d: &Desk| let_go_of(d, sources(d, 9_999), 10, false).await;
    assert_eq!(all(&d).await, (0, 0));
    for intent in d.intents(10).await {
        d.finish(&intent, End::Done).await;
    }
    assert_eq!(all(&d).await, (2, 7), "exported and released");
    let letter = d.letters(Filter::default()).await.remove(0);
    d.j().await.discard(vec![letter.id], "known", "ada", 700).await.expect(OK);
    assert_eq!(let_go_of(&d, sources(&d, 700), 10, false).await, (0, 0), "counted from when it ended");
    assert_eq!(let_go_of(&d, sources(&d, 701), 10, false).await, (1, 2));
    assert_eq!(gone(&d, 1).await, None);
}

/// A reprocess that is being fed keeps the sources of its flow, and one that is fed their content after it went is not.
pub(super) async fn what_went_is_not_sent_in_again(d: Desk) {
    for path in ["a", "b"] {
        let claimed = d.arrive(path).await;
        d.apply(d.dropped(&claimed)).await;
    }
    let new = NewReprocess {
        flow: d.flow,
        version: d.version,
        selection: Selection::default(),
        trigger: "reprocess".to_owned(),
        context: d.context,
        actor: "ada".to_owned(),
        at: 300,
    };
    let begun = d.j().await.begin_reprocess(new.clone()).await.expect(OK);
    assert_eq!(let_go_of(&d, sources(&d, 9_999), 10, false).await, (0, 0));
    let page = d.j().await.historic(d.flow, Selection::default(), begun.cursor, begun.upto, 9).await.expect(OK);
    d.j().await.stop_reprocess(begun.run, "ada", 310).await.expect(OK);
    assert_eq!(let_go_of(&d, sources(&d, 9_999), 10, false).await, (2, 2));
    let after = d.j().await.historic(d.flow, Selection::default(), begun.cursor, begun.upto, 9).await.expect(OK);
    assert!(page.arrivals.iter().all(|one| one.row.gone.is_none()));
    assert!(after.arrivals.iter().all(|one| one.row.gone == Some(NOW) && one.recorded.is_some()));
    let begun = d.j().await.begin_reprocess(new).await.expect(OK);
    let items: Vec<_> = page.arrivals.iter().filter_map(|one| one.item(begun.pass)).collect();
    let feed = Feed {
        lease: d.lease,
        run: begun.run,
        after: begun.cursor,
        next: None,
        taken: 2,
        gone: 0,
        tasks: decide::tasks_for(&reader("clean", 0), items),
        history: Vec::new(),
        counts: BTreeMap::new(),
        at: 320,
    };
    assert!(!d.j().await.feed(feed.clone()).await.expect(OK), "what was found before it went");
    assert_eq!(d.backlog().await.items, 0);
    assert!(d.j().await.feed(Feed { tasks: Vec::new(), taken: 0, gone: 2, ..feed }).await.expect(OK));
}

/// Revisions stay while they are among the newest, or young enough.
pub(super) async fn revisions_go_by_number_and_age(d: Desk) {
    let mut slots = Vec::new();
    for (n, text) in ["1", "22", "333", "4444"].into_iter().enumerate() {
        let claimed = d.arrive_as("a", text).await;
        let settlement = Settlement { at: 1_000 + n as i64, ..d.collected(&claimed, None) };
        d.apply(settlement).await;
        slots.push(super::desk::slot_of(&claimed.task.items[0], "Shelf"));
    }
    d.collect("b", "55555", None).await;
    let slot = slots[0];
    assert_eq!(let_go_of(&d, sources(&d, 9_999), 10, false).await, (5, 15));
    assert_eq!(let_go_of(&d, shelf(Some(4), Some(1)), 10, false).await, (0, 0));
    assert_eq!(let_go_of(&d, shelf(Some(2), Some(1_001)), 1, true).await, (1, 1), "one is young enough");
    assert_eq!(let_go_of(&d, shelf(Some(2), Some(1_001)), 1, false).await, (1, 1));
    assert_eq!(let_go_of(&d, shelf(Some(2), None), 1, false).await, (1, 2));
    assert_eq!(let_go_of(&d, shelf(Some(2), None), 99, false).await, (0, 0));
    assert_eq!(roots(&d).await, BTreeSet::from([3, 4, 5]));
    let rows = d.revisions(slot).await;
    assert_eq!(rows.iter().map(|row| row.revision).collect::<Vec<_>>(), [1, 2, 3, 4], "all are still told of");
    assert_eq!(rows.iter().map(|row| row.gone).collect::<Vec<_>>(), [Some(NOW), Some(NOW), None, None]);
    assert_eq!(d.j().await.collections(DEFAULT_SPACE).await.expect(OK)[0].bytes, 12);
    let nowhere = LetGo::Revisions {
        space: DEFAULT_SPACE,
        collection: "Nowhere".to_owned(),
        flow: "penguins".to_owned(),
        processor: "shelf".to_owned(),
        rule: RevisionRule { newest: Some(1), since: None },
    };
    assert_eq!(let_go_of(&d, nowhere, 10, false).await, (0, 0));
    assert_eq!(let_go_of(&d, shelf(None, Some(1_004)), 10, false).await, (3, 12), "by age only, the newest, too");
    assert_eq!(roots(&d).await, BTreeSet::new());
}

/// What comes out the same again is as young as that, and brings back what went.
pub(super) async fn equal_results_bring_revisions_back(d: Desk) {
    let (slot, _) = d.collect("a", "12", None).await;
    assert_eq!(let_go_of(&d, shelf(None, Some(201)), 10, false).await, (1, 2));
    assert_eq!(d.newest(slot).await.gone, Some(NOW));
    let claimed = d.arrive_as("a", "other").await;
    let mut again = d.collected(&claimed, None);
    again.at = 900;
    let elsewhere = opendmp_model::item::Place::Pack { pack: 77, offset: 7 };
    again.revisions[0].item.content = opendmp_model::item::ContentRef { place: elsewhere, ..content("12") };
    let applied = d.apply(again).await;
    assert_eq!((applied.revisions, applied.unchanged), (0, 1));
    let row = d.newest(slot).await;
    assert_eq!((row.revision, row.gone, row.item.content.place, row.at), (1, None, elsewhere, 200));
    assert_eq!(d.j().await.collections(DEFAULT_SPACE).await.expect(OK)[0].bytes, 2);
    assert_eq!(let_go_of(&d, shelf(None, Some(900)), 10, false).await, (0, 0));
    assert_eq!(let_go_of(&d, shelf(None, Some(901)), 10, false).await, (1, 2));
}

/// A revision that is still to be exported stays.
pub(super) async fn revisions_stay_until_they_are_exported(d: Desk) {
    d.collect("a", "12", Some(to("a", IfExists::Version))).await;
    assert_eq!(let_go_of(&d, shelf(None, Some(9_999)), 10, false).await, (0, 0));
    let (intent, _) = d.export().await;
    d.finish(&intent, End::Done).await;
    assert_eq!(let_go_of(&d, shelf(None, Some(9_999)), 10, false).await, (1, 2));
}

/// History goes by age; how an arrival came in is known as long as its content is there.
pub(super) async fn history_goes(d: Desk) {
    d.collect("a", "12", None).await;
    let waits = d.arrive_as("b", "333").await;
    assert_eq!(let_go_of(&d, history(&d, 100), 10, false).await, (0, 0));
    assert_eq!(let_go_of(&d, history(&d, 9_999), 10, true).await.0, 1, "of what is done, and not how it came in");
    assert_eq!(d.j().await.arrival(Arrival(1)).await.expect(OK).forgot, None);
    let told = d.j().await.history(Arrival(1)).await.expect(OK);
    assert_eq!(let_go_of(&d, history(&d, 250), 1, false).await.0, 1);
    let left = d.j().await.history(Arrival(1)).await.expect(OK);
    assert_eq!((told.len(), left.len(), left[0].actor.as_str()), (2, 1, "source"));
    assert_eq!(d.j().await.arrival(Arrival(1)).await.expect(OK).forgot, Some(250));
    // What may have been recorded until then is not known any more.
    assert_eq!(let_go_of(&d, sources(&d, 249), 10, false).await, (0, 0));
    assert_eq!(let_go_of(&d, sources(&d, 250), 10, false).await, (1, 2));
    assert_eq!(let_go_of(&d, history(&d, 250), 10, false).await.0, 1);
    assert!(d.j().await.history(Arrival(1)).await.expect(OK).is_empty());
    d.apply(d.dropped(&waits)).await;
    assert_eq!(d.j().await.history(Arrival(2)).await.expect(OK).len(), 2);
}

async fn found(d: &Desk, arrival: u64, text: &str) -> usize {
    d.j().await.content_of(Arrival(arrival), content(text).hash).await.expect(OK).len()
}

/// Content is found by its hash with the arrival that it is of, whatever became of it.
pub(super) async fn content_is_found_by_its_hash(d: Desk) {
    let claimed = d.arrive_as("a", "source").await;
    let mut between = claimed.task.items[0].clone();
    between.id = between.id.child("clean", "out", 0);
    between.content = content("between");
    let memo = NewMemo {
        arrival: between.id.arrival,
        key: MemoKey(PathHash::root("key")),
        many: false,
        children: vec![(None, opendmp_model::item::Item { content: content("remembered"), ..between.clone() })],
    };
    let tasks = vec![super::desk::task(vec![between], "sort")];
    d.apply(Settlement { tasks, memos: vec![memo], ..d.dropped(&claimed) }).await;
    for text in ["source", "between", "remembered"] {
        assert_eq!((found(&d, 1, text).await, found(&d, 2, text).await), (1, 0), "{text}");
    }
    let claimed = d.claim(1).await.remove(0);
    d.apply(d.failed(&claimed)).await;
    assert_eq!(found(&d, 1, "between").await, 1, "a dead letter");
    d.collect("b", "result", None).await;
    d.collect("b", "newer", None).await;
    assert_eq!((found(&d, 2, "result").await, found(&d, 3, "result").await), (1, 1), "of the same origin");
    assert_eq!(found(&d, 1, "result").await, 0);
    let_go_of(&d, shelf(Some(1), None), 10, false).await;
    assert_eq!(found(&d, 2, "result").await, 1, "perhaps it is still there");
    assert_eq!(found(&d, 2, "nothing").await, 0);
}

pub(super) async fn versions_are_found_by_their_hash(d: Desk) {
    let (_, later) = d.save("penguins", "v2").await;
    let find = async |slug: &'static str, hash: &'static str| {
        d.j().await.find_version(DEFAULT_SPACE, slug, hash).await.expect(OK)
    };
    assert_eq!((find("penguins", "v1").await, find("penguins", "v2").await), (Some(d.version), Some(later)));
    assert_eq!((find("penguins", "v3").await, find("seals", "v1").await), (None, None));
    d.change(d.flow, FlowState::Deleting).await.expect(OK);
    assert_eq!(find("penguins", "v1").await, Some(d.version), "of a flow that is gone, too");
}
