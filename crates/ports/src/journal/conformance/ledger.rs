//! Ingest: numbers, the ledger, repeats, releases.

use bytes::Bytes;
use opendmp_model::ids::{Arrival, ItemId, Pass, PathHash, TaskId};
use opendmp_model::item::{Attributes, BUNDLE_ITEMS};
use opendmp_model::ledger::FileStat;

use super::desk::{Desk, OK, arrival, content, file, item_arrival, numbers, reader, stat};
use crate::ErrorKind;
use crate::journal::types::*;

/// A file that is deleted after it was taken in.
fn dropped(path: &str, release: &[u8]) -> NewArrival {
    NewArrival { release: Some(Bytes::copy_from_slice(release)), ..file(path, path) }
}

pub(super) async fn arrivals_are_numbered(d: Desk) {
    let mut attributes = Attributes::new();
    attributes.insert("folder".into(), "2008/größe".into());
    let one =
        NewArrival { attributes: attributes.clone().into(), media_type: Some("text/csv".into()), ..file("a", "1") };
    let first = d.ingest(d.ingest_of(vec![one, file("b", "2")])).await;
    let second = d.ingest(d.ingest_of(vec![file("c", "3")])).await;
    assert_eq!((first.new, second.new), (2, 1));
    assert!(first.seq < second.seq && first.run != second.run);
    let claimed = d.claim_run(first.run).await;
    let later = d.claim_run(second.run).await;
    assert_eq!(numbers(&claimed.task.items), [1, 2], "from 1, in order");
    assert_eq!(numbers(&later.task.items), [3]);
    let item = &claimed.task.items[0];
    assert_eq!(item.id, ItemId { arrival: Arrival(1), pass: Pass(0), path: PathHash::root("inbox") });
    assert_eq!((&*item.name, item.content, item.media_type.as_deref()), ("a", content("1"), Some("text/csv")));
    assert_eq!((&*item.attributes, item.origin, item.label, item.arrived), (&attributes, Arrival(1), 0, 100));
    assert_eq!(claimed.task.id, TaskId::new(item.id, "clean", 0, 0));
    assert_eq!((claimed.flow, claimed.version, claimed.run), (d.flow, d.version, first.run));
    assert_eq!((claimed.mode, claimed.attempt), (RunMode::Live, 1));
    let row = d.j().await.arrival(Arrival(2)).await.expect(OK);
    assert_eq!((row.arrival, row.path.as_slice(), row.content), (Arrival(2), &b"b"[..], content("2")));
    assert_eq!((row.flow.as_str(), row.source.as_str()), ("penguins", "file_drop:/in"));
    assert_eq!((row.at, row.run, row.stat), (100, first.run, file("b", "2").stat));
}

pub(super) async fn tasks_go_to_each_reader(d: Desk) {
    let readers = vec![reader("clean", 0), reader("merge", 1)];
    let done = d.ingest(Ingest { readers, ..d.ingest_of(vec![file("a", "1"), file("b", "2")]) }).await;
    assert_eq!(d.run(done.run).await.outstanding, 4, "each reader has each item");
    let claimed = d.claim(10).await;
    let to: Vec<Reader> = claimed.iter().map(|c| c.task.to.clone()).collect();
    assert_eq!(to, [reader("clean", 0), reader("merge", 1)]);
    let labels: Vec<bool> = claimed.iter().map(|c| c.task.items.iter().all(|item| item.label != 0)).collect();
    assert_eq!(labels, [false, true], "what comes by a further input is told apart");
    let nobody = d.ingest(Ingest { readers: vec![], ..d.ingest_of(vec![file("c", "3")]) }).await;
    let run = d.run(nobody.run).await;
    assert_eq!((nobody.new, run.outstanding, run.state), (1, 0, RunState::Done));
}

pub(super) async fn kept_versions_come_once(d: Desk) {
    let known = |path: &'static str| async { d.j().await.known(d.source, vec![path.into()]).await.expect(OK)[0] };
    assert_eq!(known("a").await, None);
    let first = d.ingest(d.ingest_of(vec![file("a", "1"), file("b", "1")])).await;
    let again = d.ingest(d.ingest_of(vec![file("a", "1"), file("b", "2")])).await;
    assert_eq!((first.new, again.new), (2, 1), "only the changed one is new");
    let run = d.run(again.run).await;
    assert_eq!((run.arrivals, run.outstanding), (1, 1));
    let b = known("b").await.expect("a known path");
    assert_eq!(
        (b.origin, b.latest, b.stat, b.hash),
        (Arrival(2), Arrival(3), file("b", "2").stat.unwrap_or_default(), content("2").hash)
    );
    let item = d.claim_run(again.run).await.task.items.remove(0);
    assert_eq!((item.id.arrival, item.origin), (Arrival(3), Arrival(2)), "a changed file keeps its origin");
    let nothing = d.ingest(d.ingest_of(vec![file("a", "1"), file("b", "2")])).await;
    assert_eq!(nothing.new, 0);
    let run = d.run(nothing.run).await;
    assert_eq!((run.state, run.arrivals, run.finished), (RunState::Done, 0, Some(100)));
    let back = d.ingest(d.ingest_of(vec![file("b", "1")])).await;
    assert_eq!(back.new, 1, "only the latest version counts as known");
    let elsewhere = d.j().await.source(DEFAULT_SPACE, "file_drop:/other").await.expect(OK);
    let other = d.ingest(Ingest { source: elsewhere, ..d.ingest_of(vec![file("a", "1")]) }).await;
    assert_eq!(other.new, 1, "a path of another source is another path");
    let rows = d.j().await.known(d.source, vec![b"b".to_vec(), b"?".to_vec(), b"a".to_vec()]).await.expect(OK);
    let latest: Vec<Option<u64>> = rows.iter().map(|known| known.map(|known| known.latest.0)).collect();
    assert_eq!(latest, [Some(4), None, Some(1)], "in the order of the question");
}

pub(super) async fn recent_versions_go_by_content(d: Desk) {
    let recent = |text: &str| {
        let mut arrival = file("a", text);
        arrival.stat = Some(FileStat { recent: true, ..stat(7) });
        arrival
    };
    let settled = |text: &str| NewArrival { stat: Some(stat(7)), ..recent(text) };
    let known =
        || async { d.j().await.known(d.source, vec![b"a".to_vec()]).await.expect(OK)[0].expect("a known path") };
    assert_eq!(d.ingest(d.ingest_of(vec![recent("1")])).await.new, 1);
    assert!(known().await.stat.recent, "and it is written down");
    assert_eq!(
        d.ingest(d.ingest_of(vec![recent("1"), settled("1")])).await.new,
        0,
        "the same content is the same version"
    );
    assert_eq!(d.ingest(d.ingest_of(vec![recent("2")])).await.new, 1, "its times don't tell of the change");
    let elsewhere = d.j().await.source(DEFAULT_SPACE, "file_drop:/other").await.expect(OK);
    d.j().await.affirm(elsewhere, vec![(Arrival(2), stat(8))]).await.expect(OK);
    d.j().await.affirm(d.source, vec![(Arrival(1), stat(8)), (Arrival(77), stat(8))]).await.expect(OK);
    assert!(known().await.stat.recent, "another arrival, another source");
    d.j().await.affirm(d.source, vec![(Arrival(2), stat(7))]).await.expect(OK);
    assert_eq!(known().await.stat, stat(7));
    assert_eq!(d.j().await.arrival(Arrival(2)).await.expect(OK).stat, Some(stat(7)));
    assert_eq!(d.ingest(d.ingest_of(vec![settled("2"), recent("2")])).await.new, 0);
}

pub(super) async fn how_a_file_is_now_is_noted(d: Desk) {
    let with = |text: &str, number: u64| NewArrival { stat: Some(stat(number)), ..file("a", text) };
    let known = || async { d.j().await.known(d.source, vec![b"a".to_vec()]).await.expect(OK)[0].expect("known") };
    assert_eq!(d.ingest(d.ingest_of(vec![with("1", 1)])).await.new, 1);
    // Touched, or put there again with the same bytes.
    d.j().await.affirm(d.source, vec![(Arrival(1), stat(2))]).await.expect(OK);
    assert_eq!((known().await.stat, known().await.latest), (stat(2), Arrival(1)));
    assert_eq!(d.j().await.arrival(Arrival(1)).await.expect(OK).stat, Some(stat(2)));
    assert_eq!(d.ingest(d.ingest_of(vec![with("1", 2)])).await.new, 0, "the version that was noted");
    assert_eq!(d.ingest(d.ingest_of(vec![with("1", 3)])).await.new, 1, "who offers it as another one means it");
    d.j().await.affirm(d.source, vec![(Arrival(1), stat(4))]).await.expect(OK);
    assert_eq!((known().await.stat, known().await.latest), (stat(3), Arrival(2)), "the latest is another one by now");
    d.ingest(d.ingest_of(vec![item_arrival(b"k", "k", "x")])).await;
    d.j().await.affirm(d.source, vec![(Arrival(3), stat(5))]).await.expect(OK);
    assert_eq!(d.j().await.arrival(Arrival(3)).await.expect(OK).stat, None, "it is no file");
}

pub(super) async fn items_without_a_version_go_by_content(d: Desk) {
    let one = |text: &str| d.ingest_of(vec![item_arrival(b"k", "k", text)]);
    assert_eq!(d.ingest(one("x")).await.new, 1);
    assert_eq!(d.ingest(one("x")).await.new, 0);
    assert_eq!(d.ingest(one("y")).await.new, 1);
    assert_eq!(d.j().await.arrival(Arrival(1)).await.expect(OK).stat, None);
}

pub(super) async fn repeats_within_an_ingest(d: Desk) {
    let twice = vec![file("a", "1"), file("a", "1"), file("a", "2"), file("b", "1")];
    let done = d.ingest(d.ingest_of(twice)).await;
    assert_eq!(done.new, 3, "the very same version counts once");
    let items = d.claim_run(done.run).await.task.items;
    let origins: Vec<(u64, u64)> = items.iter().map(|item| (item.id.arrival.0, item.origin.0)).collect();
    assert_eq!(origins, [(1, 1), (2, 1), (3, 3)]);
    let releases = vec![dropped("x", b"claim-1"), dropped("y", b"claim-1")];
    assert_eq!(d.ingest(d.ingest_of(releases)).await.new, 1, "a release is one item's");
}

pub(super) async fn releases_come_once(d: Desk) {
    let names = vec![b"claim-\xff".to_vec(), b"claim-2".to_vec(), b"other".to_vec()];
    let both = || d.ingest_of(vec![dropped("a", &names[0]), dropped("b", &names[1])]);
    let first = d.ingest(both()).await;
    assert_eq!((first.new, d.ingest(both()).await.new), (2, 0), "their claim is recorded");
    let releasing = d.j().await.releasing(d.source, names.clone()).await.expect(OK);
    assert_eq!(releasing, [true, true, false]);
    let mut pending = d.j().await.pending_releases(d.source, 10).await.expect(OK);
    pending.sort();
    assert_eq!(pending, [names[1].clone(), names[0].clone()]);
    assert_eq!(d.j().await.pending_releases(d.source, 1).await.expect(OK).len(), 1);
    let elsewhere = d.j().await.source(DEFAULT_SPACE, "file_drop:/other").await.expect(OK);
    assert_eq!(d.j().await.releasing(elsewhere, names.clone()).await.expect(OK), [false; 3]);
    let intents = d.intents(10).await;
    assert_eq!(intents.len(), 1, "one intent an ingest");
    d.finish(&intents[0], End::Done).await;
    assert_eq!(d.j().await.releasing(d.source, names.clone()).await.expect(OK), [false; 3]);
    assert!(d.j().await.pending_releases(d.source, 10).await.expect(OK).is_empty());
    let again = d.ingest(both()).await;
    assert_eq!(again.new, 2, "let go and there again: dropped again");
    let origins: Vec<u64> = d.claim_run(again.run).await.task.items.iter().map(|item| item.origin.0).collect();
    assert_eq!(origins, [1, 2]);
}

pub(super) async fn origins_stay(d: Desk) {
    let mut seen = Vec::new();
    for version in 1..=5 {
        let changed = file("a", &format!("version {version}"));
        let done = d.ingest(d.ingest_of(vec![file(&format!("other-{version}"), "x"), changed])).await;
        seen.extend(d.claim_run(done.run).await.task.items.iter().map(|item| item.origin.0));
    }
    assert_eq!(seen, [1, 2, 3, 2, 5, 2, 7, 2, 9, 2]);
}

pub(super) async fn trials_leave_no_trace(d: Desk) {
    let trial = |mode| {
        let run = RunChoice::New { mode, trigger: "a look".to_owned() };
        Ingest { run, ..d.ingest_of(vec![file("a", "1"), dropped("b", b"claim-1")]) }
    };
    for mode in [RunMode::Trial, RunMode::Shadow, RunMode::Trial] {
        let done = d.ingest(trial(mode)).await;
        assert_eq!(done.new, 2, "to a trial all is new");
        assert_eq!(d.run(done.run).await.mode, mode);
        assert_eq!(d.claim_run(done.run).await.mode, mode);
    }
    assert_eq!(d.j().await.known(d.source, vec![b"a".to_vec(), b"b".to_vec()]).await.expect(OK), [None, None]);
    assert!(d.intents(10).await.is_empty(), "a trial lets nothing go");
    assert_eq!(d.j().await.arrival(Arrival(1)).await.expect(OK).path, b"a", "its history can be told");
    let live = d.ingest(trial(RunMode::Live)).await;
    assert_eq!(live.new, 2, "nothing was taken from the live runs");
    let origins: Vec<u64> = d.claim_run(live.run).await.task.items.iter().map(|item| item.origin.0).collect();
    assert_eq!(origins, [7, 8]);
    assert_eq!(d.ingest(trial(RunMode::Live)).await.new, 0);
    assert_eq!(d.ingest(trial(RunMode::Trial)).await.new, 2);
    let open = d.j().await.open_run(d.flow, d.version, RunMode::Trial, "a look", 1).await.expect(OK);
    let inside = Ingest { run: RunChoice::Existing(open), ..trial(RunMode::Live) };
    assert_eq!(d.ingest(inside).await.new, 2, "the run's mode counts");
}

pub(super) async fn a_lost_lease_takes_nothing_in(d: Desk) {
    d.lease(true).await;
    let error = d.j().await.ingest(d.ingest_of(vec![file("a", "1")])).await.expect_err("the lease is lost");
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert_eq!(d.j().await.known(d.source, vec![b"a".to_vec()]).await.expect(OK), [None]);
    assert!(d.j().await.runs(Filter::default()).await.expect(OK).rows.is_empty());
    let unknown = Ingest { source: SourceId(77), lease: d.lease(false).await, ..d.ingest_of(vec![file("a", "1")]) };
    let error = d.j().await.ingest(unknown).await.expect_err("no such source");
    assert_eq!(error.kind, ErrorKind::NotFound);
}

pub(super) async fn runs_are_chosen(d: Desk) {
    let run = d.j().await.open_run(d.flow, d.version, RunMode::Live, "first scan", 50).await.expect(OK);
    for path in ["a", "b"] {
        let done = d.ingest(Ingest { run: RunChoice::Existing(run), ..d.ingest_of(vec![file(path, "1")]) }).await;
        assert_eq!((done.run, done.new), (run, 1));
    }
    assert_eq!(d.run(run).await.arrivals, 2);
    let unknown = Ingest { run: RunChoice::Existing(RunId(99)), ..d.ingest_of(vec![file("c", "1")]) };
    assert_eq!(d.j().await.ingest(unknown).await.expect_err("no such run").kind, ErrorKind::NotFound);
    let (flow, version) = d.save("otters", "o1").await;
    let foreign = Ingest { flow, version, run: RunChoice::Existing(run), ..d.ingest_of(vec![file("c", "1")]) };
    assert_eq!(d.j().await.ingest(foreign).await.expect_err("another flow's run").kind, ErrorKind::Invalid);
    for claimed in d.claim(10).await {
        d.apply(d.dropped(&claimed)).await;
    }
    d.j().await.close_run(run, 60).await.expect(OK);
    let other = d.j().await.open_run(d.flow, d.version, RunMode::Live, "by hand", 70).await.expect(OK);
    let listed = async |filter: Filter| -> Vec<RunId> {
        let rows = d.j().await.runs(filter).await.expect(OK).rows;
        rows.into_iter().map(|row| row.id).collect()
    };
    let of = |runs| Filter { runs: Some(runs), ..Filter::default() };
    assert_eq!(listed(of(RunsMeant::Done)).await, [run]);
    assert_eq!(listed(of(RunsMeant::Running)).await, [other]);
    assert_eq!(listed(of(RunsMeant::Failures)).await, []);
    assert_eq!(listed(Filter { since: Some(51), ..Filter::default() }).await, [other]);
    assert_eq!(listed(Filter { until: Some(70), ..Filter::default() }).await, [run]);
    assert_eq!(listed(Filter { since: Some(50), until: Some(71), ..Filter::default() }).await, [other, run]);
    let words = |text: &str| Filter { text: Some(text.to_owned()), ..Filter::default() };
    assert_eq!(listed(words("SCAN  first")).await, [run]);
    assert_eq!(listed(words(&format!("hand {other}"))).await, [other]);
    assert_eq!(listed(words("neither")).await, []);
    let over = Ingest { run: RunChoice::Existing(run), ..d.ingest_of(vec![file("c", "1")]) };
    assert_eq!(d.j().await.ingest(over).await.expect_err("the run is over").kind, ErrorKind::Conflict);
    assert_eq!(d.j().await.known(d.source, vec![b"c".to_vec()]).await.expect(OK), [None]);
}

pub(super) async fn odd_paths_stay_as_they_are(d: Desk) {
    let long = [b'x'; 4_000];
    let paths: [&[u8]; 8] =
        [b"caf\xe9/\xff\xfe.csv", b"", b"with\0zero", b"-rf", b"new\nline", "日本/größe".as_bytes(), &long, b"a'\";--"];
    let arrivals = paths.iter().map(|path| item_arrival(path, &opendmp_model::name::from_bytes(path), "x")).collect();
    let done = d.ingest(d.ingest_of(arrivals)).await;
    assert_eq!(done.new, 8);
    let items = d.claim_run(done.run).await.task.items;
    for ((number, path), item) in (1..).zip(paths).zip(items) {
        let row = d.j().await.arrival(arrival(number)).await.expect(OK);
        assert_eq!(row.path, path);
        assert_eq!(opendmp_model::name::to_bytes(&item.name), path);
    }
    let known = d.j().await.known(d.source, paths.iter().map(|path| path.to_vec()).collect()).await.expect(OK);
    let latest: Vec<u64> = known.into_iter().flatten().map(|known| known.latest.0).collect();
    assert_eq!(latest, [1, 2, 3, 4, 5, 6, 7, 8]);
}

pub(super) async fn large_ingests_are_cut(d: Desk) {
    let many = (0..2 * BUNDLE_ITEMS + 1).map(|n| file(&format!("f-{n}"), "x")).collect();
    let done = d.ingest(d.ingest_of(many)).await;
    assert_eq!(done.new, 2 * BUNDLE_ITEMS as u64 + 1);
    let sizes: Vec<usize> = d.claim(10).await.iter().map(|claimed| claimed.task.items.len()).collect();
    assert_eq!(sizes, [BUNDLE_ITEMS, BUNDLE_ITEMS, 1]);
    assert_eq!(d.backlog().await.items, 2 * BUNDLE_ITEMS as u64 + 1);
    let large = |n: u32| {
        let mut one = file(&format!("large-{n}"), "x");
        one.content.size = 12 << 20;
        one
    };
    let done = d.ingest(d.ingest_of((0..3).map(large).collect())).await;
    assert_eq!((done.new, d.claim(10).await.len()), (3, 3), "a bundle is bounded in bytes too");
}
