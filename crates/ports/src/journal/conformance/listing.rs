//! Listings of datasets.

use opendmp_model::ids::Arrival;

use super::desk::{Desk, OK, file};
use crate::ErrorKind;
use crate::journal::decide;
use crate::journal::types::*;

/// Seven datasets, by turns in two collections, of two flows.
async fn seven(d: &Desk) -> Vec<RunId> {
    let (otters, version) = d.save("otters", "o1").await;
    let mut runs = Vec::new();
    for (n, path) in ["ant.csv", "bee.txt", "Cat.csv", "dog", "eel.csv", "fox.CSV", "gnu*.csv"].into_iter().enumerate()
    {
        let of_otters = n >= 5;
        let base = d.ingest_of(vec![file(path, path)]);
        let ingest = if of_otters { Ingest { flow: otters, version, ..base } } else { base };
        let done = d.ingest(ingest).await;
        let claimed = d.claim_run(done.run).await;
        let collection = if n % 2 == 0 { "Even" } else { "Odd" };
        let revisions = vec![d.revision(&claimed.task.items[0], collection, None)];
        d.apply(Settlement { revisions, ..d.dropped(&claimed) }).await;
        runs.push(done.run);
    }
    runs
}

fn names(rows: &[RevisionRow]) -> Vec<&str> {
    rows.iter().map(|row| &*row.item.name).collect()
}

pub(super) async fn datasets_are_listed_in_order(d: Desk) {
    seven(&d).await;
    let rows = d.datasets(Filter::default()).await;
    assert_eq!(names(&rows), ["ant.csv", "bee.txt", "Cat.csv", "dog", "eel.csv", "fox.CSV", "gnu*.csv"]);
    let flows: Vec<&str> = rows.iter().map(|row| row.flow.as_str()).collect();
    assert_eq!(flows[4..], ["penguins", "otters", "otters"]);
    // Two slots of one origin, and a newer revision of an old one.
    let claimed = d.arrive("hen").await;
    let item = &claimed.task.items[0];
    let revisions = vec![d.revision(item, "Even", None), d.revision(item, "Odd", None)];
    d.apply(Settlement { revisions, ..d.dropped(&claimed) }).await;
    let rows = d.datasets(Filter::default()).await;
    assert_eq!(rows.len(), 9);
    assert!(rows.is_sorted_by_key(|row| row.slot));
}

pub(super) async fn datasets_are_filtered(d: Desk) {
    let runs = seven(&d).await;
    let found = |filter: Filter| async {
        let rows = d.datasets(filter).await;
        rows.iter().map(|row| row.item.name.to_string()).collect::<Vec<_>>()
    };
    let none = Filter::default;
    let named = |name: &str| Filter { name: Some(name.to_owned()), ..none() };
    assert_eq!(found(Filter { collection: Some("Odd".into()), ..none() }).await, ["bee.txt", "dog", "fox.CSV"]);
    assert_eq!(found(Filter { flow: Some("otters".into()), ..none() }).await, ["fox.CSV", "gnu*.csv"]);
    let both = Filter { flow: Some("otters".into()), collection: Some("Odd".into()), ..none() };
    assert_eq!(found(both).await, ["fox.CSV"]);
    assert!(found(Filter { flow: Some("nobody".into()), ..none() }).await.is_empty());
    assert_eq!(found(Filter { run: Some(runs[3]), ..none() }).await, ["dog"]);
    assert_eq!(found(named("a")).await, ["ant.csv", "Cat.csv"]);
    assert_eq!(found(named("*.csv")).await, ["ant.csv", "Cat.csv", "eel.csv", "fox.CSV", "gnu*.csv"]);
    assert_eq!(found(named("?og")).await, ["dog"]);
    let slot = d.datasets(named("dog")).await[0].slot;
    for id in [slot.to_string(), slot.to_string()[..3].to_owned(), "4".to_owned()] {
        assert_eq!(found(Filter { id: id.parse().ok(), ..none() }).await, ["dog"], "{id}");
    }
    assert!(found(Filter { id: "4-zzzz".parse().ok(), ..none() }).await.is_empty());
    assert!(found(Filter { id: "99".parse().ok(), ..none() }).await.is_empty());
    d.collect("ant.csv", "changed", None).await;
    assert_eq!(found(Filter { run: Some(runs[0]), ..none() }).await, ["ant.csv"], "still the newest in its slot");
}

pub(super) async fn pages_follow_each_other(d: Desk) {
    seven(&d).await;
    for limit in [1, 2, 3, 6, 7, 8] {
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = d.j().await.datasets(Filter { limit, after, ..Filter::default() }).await.expect(OK);
            assert!(page.rows.len() <= limit);
            seen.extend(page.rows.iter().map(|row| row.slot));
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
            assert!(seen.len() < 7, "a cursor only where more follows");
        }
        assert_eq!(seen.len(), 7);
        assert!(seen.is_sorted());
    }
    let filter = || Filter { name: Some("*.csv".into()), limit: 2, ..Filter::default() };
    let first = d.j().await.datasets(filter()).await.expect(OK);
    let second = d.j().await.datasets(Filter { after: first.next, ..filter() }).await.expect(OK);
    assert_eq!((names(&first.rows), names(&second.rows)), (vec!["ant.csv", "Cat.csv"], vec!["eel.csv", "fox.CSV"]));
    for bad in ["", "x", "7", "7-00", "7-zzzzzzzzzzzzzzzzzzzzzzzz", "-"] {
        let filter = Filter { after: Some(bad.to_owned()), ..Filter::default() };
        let error = d.j().await.datasets(filter).await.expect_err("not a cursor");
        assert_eq!(error.kind, ErrorKind::Invalid, "{bad}");
    }
}

pub(super) async fn names_stay_as_they_are(d: Desk) {
    let odd = ["größe 日本.txt", "new\nline", "a'b\"c;--", "\\xe9", "\u{202e}gnp.exe", "%_[*?]"];
    for name in odd {
        let claimed = d.arrive(name).await;
        let mut revision = d.revision(&claimed.task.items[0], name, None);
        revision.processor = name.into();
        let slot = decide::slot("penguins", &revision, Arrival(0));
        d.apply(Settlement { revisions: vec![revision], ..d.dropped(&claimed) }).await;
        let row = d.newest(slot).await;
        assert_eq!((&*row.item.name, row.collection.as_str(), row.processor.as_str()), (name, name, name));
        let rows = d.datasets(Filter { collection: Some(name.to_owned()), ..Filter::default() }).await;
        assert_eq!(names(&rows), [name]);
    }
    assert_eq!(d.datasets(Filter::default()).await.len(), odd.len());
}
