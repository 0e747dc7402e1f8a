//! Looks at single names, and files that are taken before a further change of them would show in their stamps.

use super::*;

/// Makes the ledger's row say that a file was taken, as it is now, with other content: what a change comes to that is
/// too soon after the one before to show in the stamps.
fn pretend(inbox: &Inbox, name: &str, content: &str) {
    let stat = beneath::version_of(&std::fs::File::open(inbox.path(name.as_bytes())).unwrap()).unwrap();
    let mut known = inbox.book.known.lock().unwrap();
    let known = known.get_mut(name.as_bytes()).unwrap();
    (known.stat, known.hash) = (FileStat { recent: true, ..stat }, ContentHash::of(content.as_bytes()));
}

fn fast() -> Inbox {
    inbox(serde_json::json!({ "path": "./in", "settle": "0s" }))
}

/// The one claim, brought into the ledger.
async fn take_one(inbox: &Inbox, scan: Scan) -> Vec<u8> {
    let mut claims = scan.claims;
    assert_eq!(claims.len(), 1);
    inbox.carry_through(claims.remove(0)).await.unwrap()
}

#[tokio::test]
async fn a_file_is_taken_at_once_and_looked_at_again() {
    let inbox = fast();
    inbox.put("a", "one");
    let at = now();
    let scan = inbox.told(&["a"], at).await;
    let again = scan.again.expect("it is looked at again");
    assert!((at + 1..=at + 50).contains(&again), "after the tick: {}", again - at);
    assert_eq!(take_one(&inbox, scan).await, b"one");
    assert!(inbox.book.known.lock().unwrap()[&b"a"[..]].stat.recent, "and the ledger says so");
    assert!(inbox.told(&[], again - 1).await.claims.is_empty(), "not before");
    let scan = inbox.told(&[], again).await;
    assert!(scan.claims.is_empty() && scan.complete && scan.again.is_none());
    assert!(!inbox.book.known.lock().unwrap()[&b"a"[..]].stat.recent, "it is the same, for good");
    assert_eq!(inbox.listed(), 0);
}

#[tokio::test]
async fn a_change_that_does_not_show_is_found() {
    let inbox = fast();
    inbox.put("a", "one");
    let scan = inbox.told(&["a"], now()).await;
    let again = scan.again.unwrap();
    take_one(&inbox, scan).await;
    inbox.put("a", "two");
    pretend(&inbox, "a", "one");
    // Once the tick of that change is over, too, however late it came.
    let later = again.max(now()) + 60;
    assert_eq!(take_one(&inbox, inbox.told(&[], later).await).await, b"two");
    let scan = inbox.told(&["a"], later).await;
    assert!(scan.claims.is_empty() && scan.complete, "once");
}

#[tokio::test]
async fn a_change_that_does_not_show_is_found_after_a_crash() {
    let config = serde_json::json!({ "path": "./in", "settle": "0s" });
    let mut inbox = inbox(config.clone());
    for name in ["changed", "same"] {
        inbox.put(name, "one");
    }
    for claim in inbox.told(&["changed", "same"], now()).await.claims {
        inbox.carry_through(claim).await.unwrap();
    }
    inbox.put("changed", "two");
    pretend(&inbox, "changed", "one");
    pretend(&inbox, "same", "one");
    // The process ends before it has looked again.
    inbox.source = open(inbox.dir.path(), &config);
    assert_eq!(inbox.drain().await, pairs(&[("changed", "two")]));
    let known = inbox.book.known.lock().unwrap();
    assert!(known.values().all(|known| !known.stat.recent), "{known:?}");
}

#[tokio::test]
async fn a_file_that_is_being_written_is_not_taken_at_once() {
    let inbox = fast();
    let mut writing = std::fs::File::create(inbox.path(b"a")).unwrap();
    io::Write::write_all(&mut writing, b"half").unwrap();
    let at = now();
    let scan = inbox.told(&["a"], at).await;
    assert!(scan.claims.is_empty() && scan.again.is_some_and(|again| again <= at + 50));
    io::Write::write_all(&mut writing, b" and half").unwrap();
    drop(writing);
    assert_eq!(take_one(&inbox, inbox.told(&["a"], now()).await).await, b"half and half");
}

#[tokio::test]
async fn one_change_among_many_files_costs_one_look() {
    const MANY: u64 = 50_000;
    let inbox = keep();
    for n in 0..MANY {
        std::fs::File::create(inbox.path(format!("{n:05}").as_bytes())).unwrap();
    }
    let mut taken = 0;
    loop {
        let scan = inbox.scan().await;
        for claim in scan.claims {
            inbox.book.settle(&claim, claim.version.unwrap(), b"");
            taken += 1;
        }
        if scan.complete {
            break;
        }
        assert!(scan.everything.is_some(), "a long look is cut, and goes on");
    }
    assert_eq!((taken, inbox.listed()), (MANY, 1));
    // What the last call offered is known by now.
    inbox.told(&[], later()).await;
    let (asked, paths) = (inbox.book.asked.load(Ordering::Relaxed), inbox.book.paths.load(Ordering::Relaxed));
    inbox.put("one more", "x");
    let scan = inbox.told(&["one more"], later()).await;
    assert!(scan.everything.is_none());
    assert_eq!(take_one(&inbox, scan).await, b"x");
    assert_eq!(inbox.listed(), 1, "the folder is not listed again");
    assert_eq!(inbox.book.asked.load(Ordering::Relaxed), asked + 1);
    assert_eq!(inbox.book.paths.load(Ordering::Relaxed), paths + 1);
    // Nor is anything written when it is: every file is asked for once, and the ledger stays as it is.
    let before = inbox.book.known.lock().unwrap().clone();
    assert_eq!(inbox.drain().await, []);
    assert_eq!(*inbox.book.known.lock().unwrap(), before);
}

#[tokio::test]
async fn more_names_than_can_be_held_need_a_look_at_everything() {
    let inbox = keep();
    inbox.put("a", "x");
    let names: Vec<Vec<u8>> = (0..70_000).map(|n| format!("{n}").into_bytes()).collect();
    let mut scan = inbox.source.claim_changed(&inbox.book, names, later(), 1_000).await.unwrap();
    assert!(scan.claims.is_empty() && scan.everything.is_some() && !scan.complete);
    while scan.again.is_some() {
        scan = inbox.told(&[], later()).await;
        assert!(scan.everything.is_some(), "until everything was looked at");
    }
    assert_eq!(inbox.drain().await, pairs(&[("a", "x")]));
    assert!(inbox.told(&[], later()).await.everything.is_none());
}

#[tokio::test]
async fn names_that_are_not_taken_are_left() {
    let inbox = inbox(serde_json::json!({ "path": "./in", "recursive": true, "pattern": "*.csv" }));
    for folder in [".hidden", "sub", ".opendmp-claimed/x"] {
        std::fs::create_dir_all(inbox.path(folder.as_bytes())).unwrap();
    }
    let others = ["a.txt", ".b.csv", ".hidden/c.csv", ".opendmp-claimed/x/d.csv", "sub/../e.csv", "gone.csv", ""];
    for name in others.iter().filter(|name| !name.is_empty() && **name != "gone.csv") {
        inbox.put(name, "x");
    }
    std::fs::remove_file(inbox.path(b"e.csv")).unwrap();
    std::os::unix::fs::symlink("a.txt", inbox.path(b"link.csv")).unwrap();
    let mut all = others.to_vec();
    all.extend(["link.csv", "sub/f.csv"]);
    inbox.put("sub/f.csv", "taken");
    let scan = inbox.told(&all, later()).await;
    let found: Vec<String> = scan.claims.iter().map(|claim| name::from_bytes(&claim.path)).collect();
    assert_eq!(found, ["sub/f.csv"]);
    let told: Vec<&str> = scan.problems.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(told, ["link.csv"]);
}

#[tokio::test]
async fn a_new_folder_is_looked_through() {
    let inbox = inbox(serde_json::json!({ "path": "./in", "recursive": true }));
    std::fs::create_dir_all(inbox.path(b"sub/deep")).unwrap();
    inbox.put("sub/a", "x");
    inbox.put("sub/deep/b", "y");
    let at = later();
    let scan = inbox.told(&["sub"], at).await;
    let again = scan.again.expect("once more, for what came before the watcher followed");
    assert!(again > at);
    for claim in scan.claims {
        inbox.carry_through(claim).await.unwrap();
    }
    inbox.put("sub/deep/c", "z");
    let scan = inbox.told(&[], again).await;
    assert!(scan.again.is_none());
    assert_eq!(take_one(&inbox, scan).await, b"z");
    assert_eq!(inbox.book.known.lock().unwrap().len(), 3);
    assert_eq!(inbox.listed(), 0);
}

#[tokio::test]
async fn what_is_given_back_is_found_by_its_name() {
    for inbox in [keep(), delete()] {
        inbox.put("a", "x");
        let claim = inbox.told(&["a"], later()).await.claims.pop().unwrap();
        inbox.source.forget(&claim);
        assert_eq!(take_one(&inbox, inbox.told(&[], later()).await).await, b"x");
        assert_eq!(inbox.listed(), 0);
    }
}

#[tokio::test]
async fn the_folder_of_claims_is_kept_and_goes_with_the_source() {
    let inbox = delete();
    let claimed = inbox.path(b".opendmp-claimed");
    for n in 0..3 {
        let name = format!("{n}");
        inbox.put(&name, "x");
        take_one(&inbox, inbox.told(&[&name], later()).await).await;
    }
    let folders = |dir: &Path| names(&dir.join(&names(dir)[0]));
    assert_eq!(folders(&claimed).len(), 1, "one for all");
    // The same name again, as another claim.
    let before = folders(&claimed);
    inbox.put("0", "y");
    let scan = inbox.told(&["0"], later()).await;
    assert_ne!(folders(&claimed), before);
    take_one(&inbox, scan).await;
    // Nothing is claimed from one look at everything to the next.
    for _ in 0..2 {
        assert!(inbox.scan().await.complete);
    }
    assert!(!claimed.exists());
    inbox.put("1", "z");
    take_one(&inbox, inbox.told(&["1"], later()).await).await;
    assert!(claimed.exists());
    drop(inbox.source);
    assert!(!claimed.exists());
}
