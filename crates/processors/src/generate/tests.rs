//! What arrives, in which order and how fast; restarts and crashes at every point.

use super::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use opendmp_model::ids::{Arrival, ContentHash};
use opendmp_model::ledger::{FileStat, Known};
use proptest::prelude::*;
use serde_json::json;

/// A ledger in memory that counts what it is asked.
#[derive(Debug, Default)]
struct Book {
    known: Mutex<BTreeMap<Vec<u8>, Known>>,
    paths: AtomicU64,
    calls: AtomicU64,
}

impl Book {
    /// Records an arrival, which has to be the first of its path.
    fn arrive(&self, claim: &Claim) {
        let mut known = self.known.lock().unwrap();
        let arrival = Arrival(known.len() as u64 + 1);
        let hash = ContentHash::of(&bytes(&claim.body));
        let row = Known { origin: arrival, latest: arrival, stat: FileStat::default(), hash };
        assert!(known.insert(claim.path.clone(), row).is_none(), "{} arrives twice", claim.name);
    }

    fn count(&self) -> usize {
        self.known.lock().unwrap().len()
    }
}

#[async_trait]
impl Ledger for Book {
    async fn known(&self, paths: Vec<Vec<u8>>) -> Result<Vec<Option<Known>>, SourceError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.paths.fetch_add(paths.len() as u64, Ordering::Relaxed);
        assert!(paths.len() <= WINDOW as usize, "questions are bounded");
        let known = self.known.lock().unwrap();
        Ok(paths.iter().map(|path| known.get(path).copied()).collect())
    }

    async fn releasing(&self, releases: Vec<Bytes>) -> Result<Vec<bool>, SourceError> {
        Ok(vec![false; releases.len()])
    }

    fn owner(&self) -> &str {
        "book"
    }
}

fn bytes(body: &Body) -> Vec<u8> {
    match body {
        Body::Bytes(bytes) => bytes.to_vec(),
        Body::File(file) => {
            let mut out = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
            std::os::unix::fs::FileExt::read_exact_at(&**file, &mut out, 0).unwrap();
            out
        }
        Body::Unread => panic!("every item has a content"),
    }
}

fn map(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { unreachable!() };
    map
}

fn source_in(scratch: &Path, value: Value) -> Arc<dyn Source> {
    let kind = Kind::new(scratch.to_owned());
    let map = map(value);
    assert_eq!(kind.prepare(&map), []);
    kind.open(&map, &crate::fixtures::context(scratch)).unwrap()
}

fn source(value: Value) -> Arc<dyn Source> {
    source_in(Path::new("/nowhere"), value)
}

/// Looks until nothing more comes, as a run does; answers the claims by name.
async fn all(source: &dyn Source, book: &Book) -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    loop {
        let scan = source.claim(book, 0, 1_000).await.unwrap();
        if scan.claims.is_empty() {
            assert!(scan.complete && scan.again.is_none());
            return out;
        }
        for claim in &scan.claims {
            assert_eq!(source.confirm(claim).await.unwrap(), Claimed::Whole(None));
            book.arrive(claim);
            out.push((claim.name.clone(), bytes(&claim.body)));
        }
    }
}

#[test]
fn bad_configs_are_told_whole() {
    let problems = Kind::new("").prepare(&map(json!({ "count": 1, "size": "65 GiB", "name": "a/b" })));
    let told: Vec<&str> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
    assert_eq!(told, ["/size", "/name"]);
    for (config, pointer) in [
        (json!({ "count": 1, "name": "a\nb" }), "/name"),
        (json!({ "count": 1, "name": "ä".repeat(101) }), "/name"),
        (json!({ "count": 1, "rate": "0/s" }), ""),
        (json!({ "size": "1 B" }), ""),
    ] {
        let problems = Kind::new("").prepare(&map(config));
        assert_eq!(problems.iter().map(|problem| problem.pointer.as_str()).collect::<Vec<_>>(), [pointer]);
    }
}

/// The schema, not `prepare`, refuses these, at their own place in the document.
#[test]
fn the_schema_bounds_counts_and_rates() {
    let registry = opendmp_processor::Registry::default().processor(crate::ingest::Kind).source(Kind::new(""));
    let errors = |source: &str| {
        let text =
            format!("name: N\nprocessors: [{{ id: a, type: ingest, source: {{ type: generate, {source} }} }}]\n");
        let checked = opendmp_model::document::check(&text, &registry, &BTreeMap::new());
        checked.diagnostics.has_errors().then(|| checked.diagnostics.to_string())
    };
    for good in ["count: 1", "count: 10000000, rate: 12/h, size: 0 B, seed: 18446744073709551615, name: 'Größe 日本'"]
    {
        assert_eq!(errors(good), None, "{good}");
    }
    for bad in [
        "count: 0",
        "count: 10000001",
        "count: 1.5",
        "count: 1, rate: 0/s",
        "count: 1, rate: 1000",
        "count: 1, rate: fast",
        "count: 1, size: 5",
        "count: 1, seed: -1",
        "count: 1, name: ''",
        "name: a",
    ] {
        assert!(errors(bad).is_some(), "{bad}");
    }
}

#[tokio::test]
async fn items_are_made_once_and_differ() {
    let config = || json!({ "count": 2_500, "size": "16 B", "name": "größe 日本" });
    let book = Book::default();
    let made = all(&*source(config()), &book).await;
    assert_eq!(made.len(), 2_500);
    assert_eq!((made[0].0.as_str(), made[2_499].0.as_str()), ("größe 日本-0000000.bin", "größe 日本-0002499.bin"));
    assert!(made.is_sorted_by(|a, b| a.0 < b.0) && made.iter().all(|(_, bytes)| bytes.len() == 16));
    let contents: std::collections::BTreeSet<&Vec<u8>> = made.iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(contents.len(), 2_500);
    // Another process makes the same of the same, and nothing that has arrived.
    assert_eq!(all(&*source(config()), &Book::default()).await, made);
    assert!(all(&*source(config()), &book).await.is_empty());
    // A first part is the same whatever the size, another seed gives other bytes.
    let longer = all(&*source(json!({ "count": 3, "size": "40 B", "name": "größe 日本" })), &Book::default()).await;
    assert!(longer.iter().zip(&made).all(|(longer, made)| longer.1.starts_with(&made.1)));
    let other = all(&*source(json!({ "count": 3, "size": "16 B", "seed": 1 })), &Book::default()).await;
    assert!(other.iter().zip(&made).all(|(other, made)| other.1 != made.1));
}

#[tokio::test]
async fn claims_say_their_number_and_ask_for_no_release() {
    let scan = source(json!({ "count": 3 })).claim(&Book::default(), 0, 2).await.unwrap();
    assert!(!scan.complete && scan.again.is_none() && scan.problems.is_empty());
    let claim = &scan.claims[1];
    assert_eq!((claim.name.as_str(), claim.path.as_slice()), ("item-0000001.bin", b"item-0000001.bin".as_slice()));
    assert_eq!(Value::Object(claim.attributes.clone()), json!({ "number": 1 }));
    assert_eq!(claim.media_type.as_deref(), Some("application/octet-stream"));
    assert!(claim.release.is_none() && claim.version.is_none() && bytes(&claim.body).is_empty());
}

#[tokio::test]
async fn more_of_the_same_are_further_ones_and_others_are_others() {
    let book = Book::default();
    assert_eq!(all(&*source(json!({ "count": 5 })), &book).await.len(), 5);
    let further = all(&*source(json!({ "count": 8 })), &book).await;
    assert_eq!(
        further.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["item-0000005.bin", "item-0000006.bin", "item-0000007.bin"]
    );
    assert!(all(&*source(json!({ "count": 2 })), &book).await.is_empty());
    let identity = |config| source(config).identity();
    assert_eq!(identity(json!({ "count": 1, "rate": "1/s" })), identity(json!({ "count": 2 })));
    for other in
        [json!({ "count": 1, "seed": 1 }), json!({ "count": 1, "size": "1 B" }), json!({ "count": 1, "name": "x" })]
    {
        assert_ne!(identity(json!({ "count": 1 })), identity(other));
    }
}

#[tokio::test]
async fn large_items_are_files_one_at_a_time_and_memory_is_bounded() {
    let scratch = tempfile::tempdir().unwrap();
    let large = source_in(scratch.path(), json!({ "count": 2, "size": "1048577 B", "seed": 9 }));
    let scan = large.claim(&Book::default(), 0, 1_000).await.unwrap();
    assert_eq!(scan.claims.len(), 1);
    let Body::File(_) = &scan.claims[0].body else { panic!("too large for memory") };
    // The same bytes as in memory.
    let made = bytes(&scan.claims[0].body);
    assert_eq!(made.len(), (1 << 20) + 1);
    assert!(made.starts_with(&in_memory(9, 0, SMALL)));
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "the file has no name");
    let small = source(json!({ "count": 1_000, "size": "1 MiB" })).claim(&Book::default(), 0, 1_000).await.unwrap();
    assert_eq!(small.claims.len(), 16);
}

#[tokio::test]
async fn a_scratch_folder_that_can_not_be_made_is_told() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let large = source_in(&file.path().join("below a file"), json!({ "count": 2, "size": "2 MiB" }));
    let error = large.claim(&Book::default(), 0, 10).await.unwrap_err();
    assert_eq!(error.code, "scratch");
}

#[tokio::test]
async fn the_rate_follows_the_clock_it_is_given() {
    let source = source(json!({ "count": 1_000, "rate": "100/s" }));
    let book = Book::default();
    let mut arrived = Vec::new();
    let start = 1_700_000_000_000;
    // Two looks a step: the second finds nothing due.
    for now in (start..).step_by(50).take(41) {
        let scan = source.claim(&book, now, 1_000).await.unwrap();
        assert!(!scan.complete && scan.again.is_some_and(|again| again > now && again <= now + 100));
        scan.claims.iter().for_each(|claim| book.arrive(claim));
        arrived.push(book.count());
    }
    let expected: Vec<usize> = (0..41).map(|look| look / 2 * 10 + 1).collect();
    assert_eq!(arrived, expected, "2 s at 100/s, and the first");
    // What was late comes at once, and no more of it than was asked for.
    let late = source.claim(&book, start + 5_000, 200).await.unwrap();
    assert_eq!((late.claims.len(), late.again), (200, None));
    late.claims.iter().for_each(|claim| book.arrive(claim));
    let rest = source.claim(&book, start + 5_000, 200).await.unwrap();
    assert_eq!((rest.claims.len(), rest.again), (100, Some(start + 5_100)));
    // A claim that was given back is due already.
    let again = source.claim(&book, start + 5_000, 200).await.unwrap();
    assert_eq!(again.claims.len(), 100);
    again.claims.iter().for_each(|claim| book.arrive(claim));
    // The clock is set back by a year: one comes at once, the next after a step.
    let back = source.claim(&book, start - 31_536_000_000, 200).await.unwrap();
    assert_eq!((back.claims.len(), back.again), (1, Some(start - 31_536_000_000 + 100)));
}

#[tokio::test]
async fn a_rate_ends_with_the_last_item() {
    let source = source(json!({ "count": 2, "rate": "1/h" }));
    let book = Book::default();
    let first = source.claim(&book, 0, 10).await.unwrap();
    assert_eq!((first.claims.len(), first.complete, first.again), (1, false, Some(3_600_000)));
    book.arrive(&first.claims[0]);
    let none = source.claim(&book, 3_599_999, 10).await.unwrap();
    assert_eq!((none.claims.len(), none.complete, none.again), (0, false, Some(3_600_000)));
    let last = source.claim(&book, 3_600_000, 10).await.unwrap();
    assert_eq!((last.claims.len(), last.complete, last.again), (1, true, None));
    book.arrive(&last.claims[0]);
    let over = source.claim(&book, 3_600_001, 10).await.unwrap();
    assert_eq!((over.claims.len(), over.complete, over.again), (0, true, None));
}

#[tokio::test]
async fn ten_million_are_not_walked_through() {
    let count = 10_000_000u32;
    let arrived = 7_654_321u32;
    /// Knows all below a number.
    struct Tall(u32, Book);
    #[async_trait]
    impl Ledger for Tall {
        async fn known(&self, paths: Vec<Vec<u8>>) -> Result<Vec<Option<Known>>, SourceError> {
            self.1.known(paths.clone()).await?;
            let number = |path: &[u8]| std::str::from_utf8(&path[5..12]).unwrap().parse::<u32>().unwrap();
            let known =
                Known { origin: Arrival(1), latest: Arrival(1), stat: FileStat::default(), hash: ContentHash::of(b"") };
            Ok(paths.iter().map(|path| (number(path) < self.0).then_some(known)).collect())
        }
        async fn releasing(&self, _: Vec<Bytes>) -> Result<Vec<bool>, SourceError> {
            Ok(Vec::new())
        }
        fn owner(&self) -> &str {
            "tall"
        }
    }
    let ledger = Tall(arrived, Book::default());
    let source = source(json!({ "count": count }));
    let scan = source.claim(&ledger, 0, 1_000).await.unwrap();
    assert_eq!(scan.claims[0].name, "item-7654321.bin");
    assert_eq!(scan.claims.len(), 1_000);
    let (calls, paths) = (ledger.1.calls.load(Ordering::Relaxed), ledger.1.paths.load(Ordering::Relaxed));
    assert!(calls <= 27 && paths <= 24 + 2 * u64::from(WINDOW) + 1, "{calls} questions of {paths} paths");
    let audit = source.audit(&ledger, &[]).await.unwrap();
    assert_eq!((audit.compared, audit.entries.len(), audit.more), (10_000_000, MOST_ENTRIES, true));
    assert_eq!(audit.entries[0].path, "item-7654321.bin");
}

#[tokio::test]
async fn an_audit_tells_what_is_missing() {
    let book = Book::default();
    let source = source(json!({ "count": 3 }));
    let scan = source.claim(&book, 0, 10).await.unwrap();
    let audit = source.audit(&book, &[]).await.unwrap();
    assert_eq!((audit.compared, audit.entries.len(), audit.more), (3, 3, false));
    // A hole, as a claim leaves it that could not be stored.
    for n in [0, 2] {
        book.arrive(&scan.claims[n]);
    }
    let audit = source.audit(&book, &[]).await.unwrap();
    let waiting: Vec<_> = audit.entries.iter().map(|entry| (entry.path.as_str(), entry.state)).collect();
    assert_eq!(waiting, [("item-0000001.bin", AuditState::Waiting)]);
    book.arrive(&scan.claims[1]);
    let audit = source.audit(&book, &[]).await.unwrap();
    assert_eq!((audit.compared, audit.entries.len(), audit.more), (3, 0, false));
}

/// What happens after one look.
#[derive(Clone, Debug)]
struct Turn {
    /// At most so many are claimed.
    limit: usize,
    /// Of these, by place, what does not arrive.
    lost: Vec<usize>,
    /// Whether the process dies then.
    crash: bool,
    /// Whether nothing at all arrives: it died, or was cancelled, between claim and arrival.
    before: bool,
}

fn turn() -> impl Strategy<Value = Turn> {
    let limit = prop_oneof![Just(1_000), 1usize..1_200, Just(3_000)];
    let lost = proptest::collection::vec(0usize..1_000, 0..8);
    (limit, lost, any::<bool>(), any::<bool>()).prop_map(|(limit, lost, crash, before)| Turn {
        limit,
        lost,
        crash,
        before,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// However looks, failures to store and crashes follow each other: each item arrives once, and only numbers near
    /// the first missing one are offered.
    #[test]
    fn every_item_arrives_once(count in 1u32..6_000, turns in proptest::collection::vec(turn(), 0..14)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let begin = || source(json!({ "count": count }));
            let book = Book::default();
            let mut source = begin();
            for turn in turns {
                let missing = |number: &u32| {
                    !book.known.lock().unwrap().contains_key(format!("item-{number:07}.bin").as_bytes())
                };
                let first = (0..count).find(missing);
                let scan = source.claim(&book, 0, turn.limit).await.unwrap();
                assert_eq!(scan.claims.is_empty(), first.is_none());
                assert!(scan.claims.len() <= turn.limit);
                assert_eq!(scan.claims.first().map(|claim| claim.name.clone()), first.map(|n| format!("item-{n:07}.bin")));
                for claim in &scan.claims {
                    let number = claim.attributes["number"].as_u64().unwrap();
                    assert!(number < u64::from(first.unwrap() + WINDOW));
                }
                let mut kept = 0;
                for (n, claim) in scan.claims.iter().enumerate() {
                    if turn.before || turn.lost.contains(&n) {
                        source.forget(claim);
                    } else {
                        kept += 1;
                        book.arrive(claim);
                    }
                }
                if scan.complete && kept == scan.claims.len() {
                    assert_eq!(book.count(), count as usize, "complete is told only where nothing is left out");
                }
                if turn.crash {
                    source = begin();
                }
            }
            all(&*source, &book).await;
            assert_eq!(book.count(), count as usize);
        });
    }
}
