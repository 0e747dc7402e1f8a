//! Items of which very many come: they are kept in a file, in order, and only if the call ends well.

mod common;

use std::path::Path;

use common::{Bench, child, children, content, failure, item, numbered};
use opendmp_script::{CallResult, ChildContent, Outcome, Spooled};

fn spooled(result: CallResult) -> Spooled {
    match result.outcome {
        Outcome::Spooled(children) => children,
        other => panic!("results from a file, not {other:?}"),
    }
}

/// Bytes that this process's open files without a name take on the disk.
fn nameless(root: &Path) -> u64 {
    let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|fd| {
        let link = std::fs::read_link(fd.path()).ok()?;
        let ours = link.starts_with(root) && link.to_string_lossy().ends_with(" (deleted)");
        ours.then(|| std::fs::metadata(fd.path()).map_or(0, |meta| meta.len()))
    });
    files.sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_thousand_results_of_one_item_come_in_order() {
    let bench = Bench::new().await;
    let code = "def process(item):\n    for n in range(50_000):\n        yield item.with_(f'row {n}' * 20, name=f'größe-{n}', \
                media_type='text/x', n=n, half=n / 2)\n";
    let mut results = bench.run(bench.spec(code), vec![item("a", "x"), item("b", "x")]).await;
    let few = spooled(results.pop().unwrap());
    let many = spooled(results.pop().unwrap());
    assert_eq!((many.left(), few.left()), (50_000, 50_000));
    assert!(nameless(bench.path()) > 10 << 20, "they are in files: {}", nameless(bench.path()));
    for (n, child) in many.enumerate() {
        let child = child.unwrap();
        assert_eq!(child.name, Some(format!("größe-{n}")));
        assert_eq!(child.media_type.as_deref(), Some("text/x"));
        assert_eq!((&child.attributes["n"], child.attributes["half"].as_f64()), (&n.into(), Some(n as f64 / 2.0)));
        assert_eq!(content(&child), format!("row {n}").repeat(20).as_bytes());
    }
    drop(few);
    assert_eq!(nameless(bench.path()), 0, "files go with their results");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_call_that_fails_at_its_end() {
    let bench = Bench::new().await;
    let code = "import os\ndef process(text: str):\n    for n in range(60_000):\n        yield 'x' * 100\n    if text == '1':\n        \
                raise ValueError('at the end')\n    if text == '2':\n        os._exit(3)\n";
    for (at, n) in [(1, "1"), (2, "2")] {
        let mut results = bench.run(bench.spec(code), vec![item("a", "0"), item("b", n), item("c", "0")]).await;
        assert_eq!(spooled(results.pop().unwrap()).left(), 60_000);
        let failed = results.pop().unwrap();
        match at {
            1 => assert_eq!(failure(failed).message, "at the end"),
            _ => assert!(matches!(failed.outcome, Outcome::Crashed { .. }), "{failed:?}"),
        }
        assert_eq!(spooled(results.pop().unwrap()).left(), 60_000);
        assert_eq!(nameless(bench.path()), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_million_results_are_no_failure() {
    let bench = Bench::new().await;
    let code = "def process(data: bytes):\n    for n in range(1_100_000):\n        yield b''\n";
    let made = spooled(bench.one(code, item("a", "x")).await);
    assert_eq!(made.filter(Result::is_ok).count(), 1_100_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn few_results_of_many_bytes_go_to_a_file_too() {
    let bench = Bench::new().await;
    let code = "def process(data: bytes):\n    for n in range(30):\n        yield bytes([n]) * 1_000_000\n";
    let all = spooled(bench.one(code, item("a", "x")).await);
    let contents: Vec<Vec<u8>> = all.map(|child| content(&child.unwrap())).collect();
    assert!(contents.iter().enumerate().all(|(n, content)| *content == vec![n as u8; 1_000_000]));
    assert_eq!(contents.len(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_results_among_many_keep_their_files() {
    let bench = Bench::new().await;
    let code = "def process(data: bytes):\n    for n in range(9_000):\n        yield b'%d' % n * (600_000 if n % 4_000 == 0 else 1)\n";
    let mut large = 0;
    for (n, child) in spooled(bench.one(code, item("a", "x")).await).enumerate() {
        let child = child.unwrap();
        large += usize::from(matches!(child.content, ChildContent::File(_)));
        let times = if n % 4_000 == 0 { 600_000 } else { 1 };
        assert!(content(&child) == n.to_string().repeat(times).as_bytes(), "{n}");
    }
    assert_eq!(large, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_many_results_is_not_mixed_up_with_them() {
    let bench = Bench::new().await;
    let code =
        "def process(text: str):\n    return iter([text] * (9_000 if text == '3' else 2)) if text in '23' else text\n";
    for (n, result) in bench.run(bench.spec(code), numbered(6)).await.into_iter().enumerate() {
        let expected = [1, 1, 2, 9_000, 1, 1][n];
        if expected == 1 {
            assert_eq!(content(&child(result)), n.to_string().as_bytes());
        } else {
            let got = children(result);
            assert_eq!(got.len(), expected);
            assert!(got.iter().all(|child| content(child) == n.to_string().as_bytes()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_for_what_is_in_the_file() {
    let bench = Bench::with(|options| options.max_children = 6_000).await;
    let code = "def process(data: bytes):\n    return iter([data] * int(data))\n";
    let results = bench.run(bench.spec(code), vec![item("a", "6000"), item("b", "6001")]).await;
    let mut results = results.into_iter();
    assert_eq!(spooled(results.next().unwrap()).count(), 6_000);
    assert!(failure(results.next().unwrap()).message.contains("more than 6000 results"));
}
