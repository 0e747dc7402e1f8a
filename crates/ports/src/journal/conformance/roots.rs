//! What content must be kept for.

use std::collections::BTreeSet;

use opendmp_model::export::IfExists;
use opendmp_model::ids::{PathHash, TaskId};
use opendmp_model::item::ContentRef;
use opendmp_model::manifest::{Load, Manifest};
use tokio::sync::mpsc;

use super::desk::{Desk, OK, content, file, reader, task, to};
use crate::ErrorKind;
use crate::journal::types::*;

pub(super) async fn roots(d: &Desk) -> BTreeSet<ContentRef> {
    let (sender, mut batches) = mpsc::channel::<Vec<Named>>(1);
    let journal = d.j().await;
    let told = async {
        let mut all = BTreeSet::new();
        while let Some(batch) = batches.recv().await {
            all.extend(batch.into_iter().map(|named| match named {
                Named::Content(content) => content,
                Named::Manifest(manifest) => manifest.content,
            }));
        }
        all
    };
    let (done, all) = tokio::join!(journal.roots(sender), told);
    done.expect(OK);
    all
}

fn set(texts: &[&str]) -> BTreeSet<ContentRef> {
    texts.iter().map(|text| content(text)).collect()
}

/// Content is told for as long as somebody may still follow a reference to it, and no longer.
pub(super) async fn what_is_followed_is_told(d: Desk) {
    assert_eq!(roots(&d).await, set(&[]));
    let claimed = d.arrive_as("a", "source").await;
    assert_eq!(roots(&d).await, set(&["source"]));
    // Results between two steps, while they wait.
    let mut between = claimed.task.items[0].clone();
    between.id = between.id.child("clean", "out", 0);
    between.content = content("between");
    let mut settlement = d.dropped(&claimed);
    settlement.tasks = vec![task(vec![between], "sort")];
    d.apply(settlement).await;
    assert_eq!(roots(&d).await, set(&["source", "between"]));
    let claimed = d.claim(1).await.remove(0);
    assert_eq!(roots(&d).await, set(&["source", "between"]), "a claimed one, too");
    d.apply(d.failed(&claimed)).await;
    assert_eq!(roots(&d).await, set(&["source", "between"]), "and a dead one");
    assert_eq!(d.j().await.dead_held().await.expect(OK), DeadHeld { letters: 1, bytes: content("between").size });
    let letter = d.letters(Filter::default()).await.remove(0);
    d.j().await.reenter(d.reentry(std::slice::from_ref(&letter))).await.expect(OK);
    assert_eq!(roots(&d).await, set(&["source", "between"]), "and one that was sent in again");
    assert_eq!(d.j().await.dead_held().await.expect(OK), DeadHeld::default());
    let claimed = d.claim(1).await.remove(0);
    d.apply(d.failed(&claimed)).await;
    let letter = d.letters(Filter::default()).await.remove(0);
    d.j().await.discard(vec![letter.id], "known", "ada", 300).await.expect(OK);
    assert_eq!(roots(&d).await, set(&["source"]), "but nobody follows one that was given up");

    d.collect("b", "result", Some(to("b", IfExists::Version))).await;
    assert_eq!(roots(&d).await, set(&["source", "result"]));
    let (intent, _) = d.export().await;
    d.finish(&intent, End::Done).await;
    assert_eq!(roots(&d).await, set(&["source", "result"]), "a dataset, and the source it came of");
}

/// What an aggregate holds, and the manifest of many children, which whoever asks opens himself.
pub(super) async fn what_is_held_and_listed_is_told(d: Desk) {
    let claimed = d.arrive_as("a", "source").await;
    let mut item = claimed.task.items[0].clone();
    item.content = content("parent");
    let manifest = Manifest { content: content("blocks"), next: 3, left: 70_000 };
    let task = NewTask {
        load: Load::Expand(manifest),
        generation: 1,
        id: TaskId::new(item.id, "clean", 0, 1),
        ..task(vec![item.clone()], "clean")
    };
    let mut other = item;
    other.content = content("held");
    other.id = other.id.child("clean", "out", 1);
    let rule = HoldRule { count: Some(9), ..HoldRule::default() };
    let held = NewHeld { group: PathHash::root("group"), to: reader("pack", 0), rule, items: vec![other] };
    d.apply(Settlement { tasks: vec![task], held: vec![held], ..d.dropped(&claimed) }).await;
    assert_eq!(roots(&d).await, set(&["source", "parent", "blocks", "held"]));
    let claimed = d.claim(9).await.remove(0);
    assert_eq!(claimed.task.load, Load::Expand(manifest));
    d.apply(d.dropped(&claimed)).await;
    assert_eq!(roots(&d).await, set(&["source", "held"]));
}

/// Many are told in parts, and whoever leaves ends it.
pub(super) async fn many_are_told(d: Desk) {
    let names: Vec<String> = (0..9_000).map(|n| format!("f{n}")).collect();
    for part in names.chunks(1_000) {
        d.ingest(d.ingest_of(part.iter().map(|name| file(name, name)).collect())).await;
    }
    assert_eq!(roots(&d).await.len(), 9_000);
    let (sender, batches) = mpsc::channel(1);
    drop(batches);
    let error = d.j().await.roots(sender).await.expect_err("nobody listens");
    assert_eq!(error.kind, ErrorKind::Unavailable);
}
