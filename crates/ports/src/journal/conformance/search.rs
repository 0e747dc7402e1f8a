//! Searches of datasets.

use std::time::Duration;

use super::desk::{Desk, OK, file};
use crate::ErrorKind;
use crate::journal::types::*;
use crate::journal::{Found, Search, Sort, SortBy};

/// Waits for whatever was committed before.
fn all() -> Search {
    Search { wait: Duration::from_secs(60), ..Search::default() }
}

fn by(by: SortBy, descending: bool) -> Search {
    Search { sort: Sort { by, descending }, ..all() }
}

async fn found(d: &Desk, search: Search) -> Found {
    let found = d.j().await.search(search).await.expect(OK);
    assert!(found.behind.is_none(), "it was waited for");
    found
}

async fn names(d: &Desk, search: Search) -> Vec<String> {
    found(d, search).await.rows.iter().map(|row| row.item.name.to_string()).collect()
}

/// Datasets of two flows in two collections, one after the other; content is as long as is said.
async fn some(d: &Desk) -> Vec<RunId> {
    let (otters, version) = d.save("otters", "o1").await;
    let mut runs = Vec::new();
    let files = [
        ("Report March.CSV", "12345", "Even"),
        ("report april.csv", "1", "Odd"),
        ("größe 日本語.txt", "123", "Even"),
        ("zebra", "123", "Odd"),
        ("a\"b'c%_*.csv", "12", "Even"),
        ("ab", "", "Odd"),
    ];
    for (n, (path, bytes, collection)) in files.into_iter().enumerate() {
        let base = d.ingest_of(vec![file(path, bytes)]);
        let ingest = if n == 3 { Ingest { flow: otters, version, ..base } } else { base };
        let done = d.ingest(ingest).await;
        let claimed = d.claim_run(done.run).await;
        let revisions = vec![d.revision(&claimed.task.items[0], collection, None)];
        d.apply(Settlement { revisions, at: 100 + n as i64, ..d.dropped(&claimed) }).await;
        runs.push(done.run);
    }
    runs
}

pub(super) async fn datasets_are_put_in_order(d: Desk) {
    some(&d).await;
    let newest = ["ab", "a\"b'c%_*.csv", "zebra", "größe 日本語.txt", "report april.csv", "Report March.CSV"];
    assert_eq!(names(&d, all()).await, newest);
    let mut oldest = newest;
    oldest.reverse();
    assert_eq!(names(&d, by(SortBy::Committed, false)).await, oldest);
    let named = ["a\"b'c%_*.csv", "ab", "größe 日本語.txt", "report april.csv", "Report March.CSV", "zebra"];
    assert_eq!(names(&d, by(SortBy::Name, false)).await, named);
    // Equal ones in order of their slots.
    let sized = ["ab", "report april.csv", "a\"b'c%_*.csv", "größe 日本語.txt", "zebra", "Report March.CSV"];
    assert_eq!(names(&d, by(SortBy::Size, false)).await, sized);
    // A new revision takes the place of the one before.
    d.collect("zebra of penguins", "1", None).await;
    d.collect("zebra of penguins", "1234567", None).await;
    let rows = found(&d, by(SortBy::Size, true)).await.rows;
    assert_eq!((rows.len(), &*rows[0].item.name, rows[0].revision), (7, "zebra of penguins", 2));
}

pub(super) async fn words_are_found_anywhere(d: Desk) {
    some(&d).await;
    let search = |text: &str| names(&d, Search { text: text.to_owned(), ..by(SortBy::Name, false) });
    assert_eq!(search("REPORT").await, ["report april.csv", "Report March.CSV"]);
    assert_eq!(search("csv report").await, ["report april.csv", "Report March.CSV"]);
    assert_eq!(search("port ch").await, ["Report March.CSV"]);
    assert_eq!(search("日本").await, ["größe 日本語.txt"]);
    assert_eq!(search("GRÖSSE").await, [""; 0]);
    assert_eq!(search("GRÖ").await, ["größe 日本語.txt"]);
    assert_eq!(search("b").await, ["a\"b'c%_*.csv", "ab", "zebra"]);
    assert_eq!(search("\"b'").await, ["a\"b'c%_*.csv"]);
    assert_eq!(search("a\"b'c%_*.csv").await, ["a\"b'c%_*.csv"]);
    assert_eq!(search("%_*").await, ["a\"b'c%_*.csv"]);
    assert_eq!(search("nothing of the kind").await, [""; 0]);
    assert_eq!(search(" \t").await.len(), 6);
}

pub(super) async fn searches_are_filtered(d: Desk) {
    let runs = some(&d).await;
    let is = |search: Search| names(&d, Search { sort: by(SortBy::Name, false).sort, ..search });
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(is(Search { flow: text("otters"), ..all() }).await, ["zebra"]);
    assert_eq!(is(Search { collection: text("Odd"), ..all() }).await, ["ab", "report april.csv", "zebra"]);
    assert_eq!(
        is(Search { collection: text("Odd"), text: "a".into(), flow: text("penguins"), ..all() }).await,
        ["ab", "report april.csv"]
    );
    assert_eq!(is(Search { processor: text("nobody"), ..all() }).await, [""; 0]);
    assert_eq!(is(Search { run: Some(runs[2]), ..all() }).await, ["größe 日本語.txt"]);
    assert_eq!(is(Search { run: Some(RunId(999)), ..all() }).await, [""; 0]);
    assert_eq!(
        is(Search { since: Some(101), until: Some(103), ..all() }).await,
        ["größe 日本語.txt", "report april.csv"]
    );
    assert_eq!(
        is(Search { least_size: Some(2), most_size: Some(3), ..all() }).await,
        ["a\"b'c%_*.csv", "größe 日本語.txt", "zebra"]
    );
    for sort in [SortBy::Committed, SortBy::Size] {
        for descending in [false, true] {
            let search = Search {
                since: Some(101),
                until: Some(105),
                least_size: Some(2),
                most_size: Some(3),
                ..by(sort, descending)
            };
            assert_eq!(found(&d, search).await.rows.len(), 3, "{sort:?}");
        }
    }
    assert_eq!(is(Search { export: Some(ExportState::Written), ..all() }).await, [""; 0]);
    assert_eq!(is(Search { export: Some(ExportState::None), ..all() }).await.len(), 6);
    assert_eq!(is(Search { media: text("text"), ..all() }).await, [""; 0]);
}

pub(super) async fn searches_are_paged(d: Desk) {
    some(&d).await;
    for sort in [SortBy::Name, SortBy::Committed, SortBy::Size] {
        for descending in [false, true] {
            for limit in [1, 2, 5, 6, 7] {
                let search = || Search { limit, ..by(sort, descending) };
                let whole = names(&d, by(sort, descending)).await;
                let (mut seen, mut after) = (Vec::new(), None);
                loop {
                    let page = found(&d, Search { after, ..search() }).await;
                    assert!(page.rows.len() <= limit && !page.cut);
                    assert!(page.total.is_none_or(|total| total == 6));
                    seen.extend(page.rows.iter().map(|row| row.item.name.to_string()));
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                    assert!(seen.len() < 6, "a cursor only where more follows");
                }
                assert_eq!(seen, whole);
            }
        }
    }
    // What comes meanwhile does not shift what was to follow.
    let first = found(&d, Search { limit: 3, ..by(SortBy::Name, false) }).await;
    d.collect("aaa", "1", None).await;
    let second = found(&d, Search { after: first.next, ..by(SortBy::Name, false) }).await;
    let rest: Vec<_> = second.rows.iter().map(|row| &*row.item.name).collect();
    assert_eq!(rest, ["report april.csv", "Report March.CSV", "zebra"]);
    for bad in ["", "x", "7-00", "c.x.1", "n.zz.1-000000000000000000000000"] {
        let asked = Search { after: Some(bad.to_owned()), ..all() };
        let error = d.j().await.search(asked).await.expect_err("not a cursor");
        assert_eq!(error.kind, ErrorKind::Invalid, "{bad}");
    }
}
