//! `search.db` is made, followed, taken away, damaged: what is found is what the journal has.

use std::path::Path;
use std::time::Duration;

use opendmp_ports::Journal;
use opendmp_ports::journal::{Found, Search, Sort, SortBy};
use rusqlite::Connection;

use super::file;
use crate::sqlite::tests::desk;
use crate::sqlite::{Options, SqliteJournal};

fn named(text: &str) -> Search {
    let sort = Sort { by: SortBy::Name, descending: false };
    Search { text: text.to_owned(), sort, wait: Duration::from_secs(60), ..Search::default() }
}

async fn pages(journal: &SqliteJournal, mut search: Search) -> Vec<Found> {
    let mut pages = Vec::new();
    loop {
        let page = journal.search(search.clone()).await.unwrap();
        assert!(page.behind.is_none(), "it was waited for");
        search.after = page.next.clone();
        pages.push(page);
        if search.after.is_none() {
            return pages;
        }
    }
}

async fn names(journal: &SqliteJournal, search: Search) -> Vec<String> {
    let pages = pages(journal, search).await;
    pages.iter().flat_map(|page| page.rows.iter().map(|row| row.item.name.to_string())).collect()
}

/// The file's own number, by which it is seen whether it was made anew.
fn stamp(dir: &Path) -> Vec<u8> {
    let conn = Connection::open(dir.join(file::FILE)).unwrap();
    conn.query_row("SELECT stamp FROM state", [], |row| row.get(0)).unwrap()
}

fn changes(dir: &Path) -> i64 {
    let conn = Connection::open(dir.join("journal.db")).unwrap();
    conn.query_row("SELECT count(*) FROM change", [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_before_is_found_and_what_comes_after() {
    let dir = tempfile::tempdir().unwrap();
    let d = desk(dir.path(), Options::default()).await;
    d.fan_out(3).await;
    assert_eq!(changes(dir.path()), 0, "nobody follows yet");
    assert!(!dir.path().join(file::FILE).exists());
    assert_eq!(names(&d.journal, named("2-9")).await.len(), 11);
    d.fan_out(5).await;
    assert_eq!(names(&d.journal, named("4-7")).await.len(), 11);
    assert_eq!(names(&d.journal, named("")).await.len(), 800);
    drop(d);
    assert_eq!(changes(dir.path()), 1, "what was followed is let go");
    // It is followed on, without being made anew.
    let before = stamp(dir.path());
    let d = desk(dir.path(), Options::default()).await;
    d.fan_out(6).await;
    assert_eq!(names(&d.journal, named("5-1")).await.len(), 11);
    drop(d);
    assert_eq!(stamp(dir.path()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_right_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let d = desk(dir.path(), Options::default()).await;
    d.fan_out(3).await;
    assert_eq!(names(&d.journal, named("")).await.len(), 300);
    drop(d);
    let path = dir.path().join(file::FILE);
    let whole = std::fs::read(&path).unwrap();
    let mut before = stamp(dir.path());
    let spoil: [&dyn Fn(); 5] = [
        &|| std::fs::remove_file(&path).unwrap(),
        &|| std::fs::write(&path, b"").unwrap(),
        &|| std::fs::write(&path, b"no database at all").unwrap(),
        // As an earlier program left it: too few changes in it, and no way to tell what is missing.
        &|| std::fs::write(&path, &whole).unwrap(),
        &|| Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap(),
    ];
    for (at, spoil) in spoil.iter().enumerate() {
        spoil();
        let journal = SqliteJournal::open(dir.path(), Options::default()).unwrap();
        assert_eq!(names(&journal, named("1-4")).await.len(), 11, "{at}");
        assert_eq!(names(&journal, named("")).await.len(), 300, "{at}");
        drop(journal);
        let after = stamp(dir.path());
        assert_ne!(after, before, "{at}");
        before = after;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_is_met_while_it_is_read_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let d = desk(dir.path(), Options::default()).await;
    d.fan_out(30).await;
    assert_eq!(names(&d.journal, named("")).await.len(), 3_000);
    drop(d);
    let path = dir.path().join(file::FILE);
    let before = stamp(dir.path());
    let mut bytes = std::fs::read(&path).unwrap();
    // All but the first pages, which say what there is.
    let from = 24 * 4096;
    assert!(bytes.len() > 2 * from);
    bytes[from..].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let journal = SqliteJournal::open(dir.path(), Options::default()).unwrap();
    let found = loop {
        match journal.search(Search { limit: 1_000, ..named("") }).await {
            Ok(page) if page.behind.is_none() => break page,
            Ok(_) => {}
            Err(error) => {
                assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("by itself")), "{error:?}");
            }
        }
    };
    assert_eq!((found.rows.len(), found.total), (1_000, Some(3_000)));
    assert_ne!(stamp(dir.path()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_were_not_written_down_are_made_good() {
    let dir = tempfile::tempdir().unwrap();
    let d = desk(dir.path(), Options::default()).await;
    d.fan_out(2).await;
    assert_eq!(names(&d.journal, named("")).await.len(), 200);
    // As where very many waited.
    d.journal.write("test", |tables| tables.stop_following_for_test()).await.unwrap();
    d.fan_out(3).await;
    let mut search = named("2-5");
    search.wait = Duration::ZERO;
    // The next change that is written down tells that some were not.
    let told = async {
        loop {
            let page = d.journal.search(search.clone()).await.unwrap();
            if page.rows.len() == 11 && page.behind.is_none() {
                break page;
            }
            d.journal.search.kept().feed.wake();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(60), told).await.expect("what was lost is found");
    assert_eq!(found.total, Some(11));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_costs_no_more_than_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let d = desk(dir.path(), Options { looked_at: 500, ..Options::default() }).await;
    d.fan_out(60).await;
    // Short words have no trigram, and there is none.
    let all = pages(&d.journal, Search { limit: 10, ..named("zz") }).await;
    assert!((12..=13).contains(&all.len()), "6,000 datasets, 500 at a time: {}", all.len());
    assert!(all.iter().all(|page| page.rows.is_empty()) && all.iter().rev().skip(1).all(|page| page.cut));
    // Few that are far from the beginning are found at once by their trigrams, in any order.
    for by in [SortBy::Name, SortBy::Committed, SortBy::Size] {
        for descending in [false, true] {
            let search = Search { limit: 100, sort: Sort { by, descending }, ..named("33-4") };
            let page = d.journal.search(search).await.unwrap();
            assert_eq!((page.rows.len(), page.total, page.cut), (11, Some(11), false), "{by:?}");
        }
    }
    // Many are found from page to page.
    let many = pages(&d.journal, Search { limit: 50, ..named("1-") }).await;
    assert_eq!(many.iter().map(|page| page.rows.len()).sum::<usize>(), 600);
    // Where so many are meant that a page of them is soon met, the order is walked past the others.
    for by in [SortBy::Name, SortBy::Committed, SortBy::Size] {
        for descending in [false, true] {
            for (since, text) in [(None, "-10"), (Some(0), "-10"), (None, "0-10")] {
                let search = |limit| Search { limit, since, sort: Sort { by, descending }, ..named(text) };
                let small = pages(&d.journal, search(2)).await;
                let whole = pages(&d.journal, search(1_000)).await;
                assert_eq!((whole.len(), whole[0].total.is_some()), (1, true));
                assert_eq!(small[0].total.is_none(), text == "-10", "walked, not read one by one");
                assert!(small.iter().all(|page| !page.cut));
                let slots = |pages: &[Found]| -> Vec<_> {
                    pages.iter().flat_map(|page| page.rows.iter().map(|row| row.slot)).collect()
                };
                assert_eq!(slots(&small), slots(&whole), "{by:?} {descending} {text}");
                assert!(slots(&small).len() > 5);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_may_be_read_are_found_in_the_order_itself() {
    let dir = tempfile::tempdir().unwrap();
    let d = desk(dir.path(), Options { looked_at: 60, ..Options::default() }).await;
    d.fan_out(60).await;
    let slots = |pages: &[Found]| -> Vec<_> {
        pages.iter().flat_map(|page| page.rows.iter().map(|row| (row.slot, row.item.name.to_string()))).collect()
    };
    for by in [SortBy::Name, SortBy::Committed, SortBy::Size] {
        for descending in [false, true] {
            let search = |limit, text| Search { limit, sort: Sort { by, descending }, ..named(text) };
            let all = pages(&d.journal, search(1_000, "")).await;
            let wanted: Vec<_> = slots(&all).into_iter().filter(|(_, name)| name.contains("-10")).collect();
            assert_eq!(wanted.len(), 60);
            let found = pages(&d.journal, search(2, "-10")).await;
            assert_eq!(slots(&found), wanted, "{by:?} {descending}");
            // Of no page is a part all that it could have.
            assert!(found.iter().rev().skip(1).all(|page| page.rows.len() == 2 && !page.cut), "{by:?} {descending}");
            // Where they are not met soon, pages are cut, and lose nothing either.
            assert_eq!(slots(&pages(&d.journal, search(50, "-10")).await), wanted, "{by:?} {descending}");
        }
    }
}
