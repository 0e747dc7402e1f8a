//! A folder that is renamed, made anew, replaced or unmounted while files of it lie claimed.

use super::*;

/// A source whose record outlasts it.
struct Recorded {
    inbox: Inbox,
    config: Value,
    context: Context,
}

fn recorded(config: Value) -> Recorded {
    let mut inbox = inbox(config.clone());
    let context =
        Context { locations: Some(inbox.dir.path().join("records")), ..crate::fixtures::context(inbox.dir.path()) };
    inbox.source = FileDrop::open(saved_config(config.as_object().unwrap()).unwrap(), &context).unwrap();
    Recorded { inbox, config, context }
}

impl Recorded {
    /// As after a crash of the process and a start: claims stay, and nothing is known but what is recorded.
    fn restart(&mut self) {
        let kept = Vec::from_iter(std::fs::read_dir(self.inbox.dir.path().join("records")).unwrap().map(|entry| {
            let path = entry.unwrap().path();
            (path.clone(), std::fs::read(path).unwrap())
        }));
        let config = saved_config(self.config.as_object().unwrap()).unwrap();
        self.inbox.source = FileDrop::open(config, &self.context).unwrap();
        // What a source tidies up when it is closed, a killed one does not.
        kept.into_iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
    }

    fn at(&self, name: &str) -> PathBuf {
        self.inbox.dir.path().join(name)
    }

    /// `mv in NEW; mkdir in`
    fn rename(&self, new: &str) {
        std::fs::rename(self.at("in"), self.at(new)).unwrap();
        std::fs::create_dir(self.at("in")).unwrap();
    }
}

fn modes() -> [Value; 3] {
    [
        serde_json::json!({ "path": "./in" }),
        serde_json::json!({ "path": "./in", "after": "delete" }),
        serde_json::json!({ "path": "./in", "after": "move", "to": "./done" }),
    ]
}

#[tokio::test]
async fn a_renamed_inbox_is_opened_anew() {
    for config in modes() {
        let Recorded { inbox, .. } = &recorded(config.clone());
        inbox.put("a", "one");
        assert_eq!(inbox.drain().await, pairs(&[("a", "one")]), "{config}");
        std::fs::rename(inbox.path(b""), inbox.dir.path().join("in2")).unwrap();
        std::fs::create_dir(inbox.path(b"")).unwrap();
        inbox.put("b", "two");
        let scan = inbox.told(&["b"], later()).await;
        assert_eq!(scan.claims.len(), 1, "{config}");
        for claim in scan.claims {
            assert_eq!(inbox.carry_through(claim).await.as_deref(), Some(&b"two"[..]), "{config}");
        }
        assert_eq!(inbox.drain().await, [], "{config}");
        assert_eq!(inbox.audit().await, [], "{config}");
        assert!(inbox.source.shared.roots.held().len() <= 1, "the old folder is let go of");
        let left = names(&inbox.dir.path().join("in2"));
        assert_eq!(left.iter().any(|name| name == "a"), config.get("after").is_none(), "{config}: {left:?}");
    }
}

#[tokio::test]
async fn nothing_is_taken_while_the_data_directory_is_away_nor_missed_afterwards() {
    let config = serde_json::json!({ "path": "./in", "after": "delete" });
    let mut inbox = inbox(config.clone());
    let at = |name: &str| inbox.dir.path().join(name);
    std::fs::create_dir(at("data")).unwrap();
    let context = Context {
        locations: Some(at("data/locations")),
        policy: opendmp_processor::PathPolicy::new(Vec::new(), Some(&at("data"))),
        ..crate::fixtures::context(inbox.dir.path())
    };
    inbox.source = FileDrop::open(saved_config(config.as_object().unwrap()).unwrap(), &context).unwrap();
    let at = |name: &str| inbox.dir.path().join(name);
    inbox.put("a", "one");
    assert_eq!(inbox.drain().await, pairs(&[("a", "one")]));
    std::fs::rename(at("data"), at("away")).unwrap();
    inbox.put("b", "two");
    let error = inbox.source.claim(&inbox.book, later(), 10).await.unwrap_err();
    assert_eq!(error.code, "data-directory-away");
    assert!(error.hint.unwrap().contains("move the directory back"));
    assert_eq!(inbox.names(), ["b"], "it is not set aside");
    // The folder of claims is done with, which can't be recorded now.
    inbox.source.shared.present.end();
    inbox.source.shared.roots.tidy(None);
    std::fs::rename(at("in"), at("in2")).unwrap();
    std::fs::create_dir(at("in")).unwrap();
    inbox.put("c", "three");
    assert_eq!(inbox.source.claim(&inbox.book, later(), 10).await.unwrap_err().code, "data-directory-away");
    assert!(!at("data").exists(), "nothing is made in its place");
    std::fs::rename(at("away"), at("data")).unwrap();
    assert_eq!(inbox.drain().await, pairs(&[("c", "three")]));
    assert!(inbox.scan().await.issues.is_empty(), "no folder is missed");
}

#[tokio::test]
async fn what_is_claimed_is_finished_where_it_was_claimed() {
    for config in modes().into_iter().skip(1) {
        let place = recorded(config.clone());
        let inbox = &place.inbox;
        for name in ["arrives", "given-back", "released"] {
            inbox.put(name, name);
        }
        let mut claims = inbox.scan().await.claims;
        let released = claims.pop().unwrap();
        let Claimed::Whole(stat) = inbox.source.confirm(&released).await.unwrap() else { panic!("it is whole") };
        inbox.book.settle(&released, stat.unwrap(), b"released");
        place.rename("in2");
        inbox.put("new", "new");
        // Between claim and settlement, and between settlement and release.
        let given_back = claims.pop().unwrap();
        assert_eq!(inbox.carry_through(claims.pop().unwrap()).await.unwrap(), b"arrives");
        inbox.source.forget(&given_back);
        let audit = inbox.audit().await;
        let of = |name: &str| audit.iter().find(|(path, _)| path == name).map(|(_, state)| *state);
        assert_eq!(of("released"), Some(AuditState::Releasing), "{audit:?}");
        assert_eq!(of("given-back"), Some(AuditState::Waiting), "{audit:?}");
        inbox.source.release(released.release.as_ref().unwrap()).await.unwrap();
        inbox.book.releasing.lock().unwrap().clear();
        let mut taken = inbox.drain().await;
        taken.sort();
        assert_eq!(taken, pairs(&[("given-back", "given-back"), ("new", "new")]));
        assert_eq!(inbox.audit().await, []);
        assert!(!holds_files(&place.at("in2")), "{config}: {:?}", names(&place.at("in2")));
        if config["after"] == "move" {
            assert_eq!(names(&place.at("done")), ["arrives", "given-back", "new", "released"]);
        }
        inbox.scan().await;
        assert!(inbox.source.shared.roots.location.claims().unwrap().len() <= 1);
    }
}

#[tokio::test]
async fn a_folder_swapped_in_the_middle_of_a_scan_is_not_mistaken() {
    for config in modes() {
        let place = recorded(config);
        let inbox = &place.inbox;
        for n in 0..9_000 {
            inbox.put(&format!("old-{n:04}"), "x");
        }
        let first = inbox.scan().await;
        assert!(!first.complete && first.claims.len() == 1_000);
        place.rename("in2");
        for n in 0..10 {
            inbox.put(&format!("new-{n}"), "x");
        }
        let (keeps, held) = (place.config.get("after").is_none(), first.claims.len());
        let mut carried = 0;
        for claim in first.claims {
            carried += usize::from(inbox.carry_through(claim).await.is_some());
        }
        // What stays in its place has gone with it; what was set aside is finished.
        assert_eq!(carried, if keeps { 0 } else { held });
        let mut taken = inbox.drain().await;
        taken.sort();
        assert_eq!(taken.len(), 10, "{:?}", taken.first());
        assert!(taken.iter().all(|(path, _)| path.starts_with("new-")));
        assert_eq!(inbox.audit().await, []);
        let left = names(&place.at("in2")).iter().filter(|name| name.starts_with("old-")).count();
        assert_eq!(left, if keeps { 9_000 } else { 8_000 });
    }
}

#[tokio::test]
async fn after_a_restart_a_moved_folder_is_missed_until_it_is_back() {
    let mut place = recorded(serde_json::json!({ "path": "./in", "after": "delete" }));
    for name in ["claimed", "settled"] {
        place.inbox.put(name, name);
    }
    let claims = place.inbox.scan().await.claims;
    let Claimed::Whole(stat) = place.inbox.source.confirm(&claims[1]).await.unwrap() else { panic!("it is whole") };
    place.inbox.book.settle(&claims[1], stat.unwrap(), b"settled");
    let release = claims[1].release.clone().unwrap();
    place.rename("in2");
    place.restart();
    // The release is not done because another folder does not have the file.
    let inbox = &place.inbox;
    assert_eq!(inbox.source.release(&release).await.unwrap_err().code, "folder-moved");
    inbox.put("new", "new");
    let scan = inbox.scan().await;
    assert_eq!(scan.issues.iter().map(|issue| issue.code).collect::<Vec<_>>(), ["folder-moved"]);
    for claim in scan.claims {
        inbox.carry_through(claim).await.unwrap();
    }
    assert_eq!(inbox.told(&["x"], later()).await.issues.len(), 1, "with each scan");
    let audit = inbox.audit().await;
    assert!(audit.contains(&("settled".to_owned(), AuditState::Problem)), "{audit:?}");
    assert!(audit.contains(&(".opendmp-claimed".to_owned(), AuditState::Problem)), "{audit:?}");
    // It is moved back.
    std::fs::rename(place.at("in"), place.at("in3")).unwrap();
    std::fs::rename(place.at("in2"), place.at("in")).unwrap();
    inbox.source.release(&release).await.unwrap();
    inbox.book.releasing.lock().unwrap().clear();
    let scan = inbox.scan().await;
    assert!(scan.issues.is_empty(), "{:?}", scan.issues);
    assert_eq!(scan.claims.iter().map(|claim| claim.name.as_str()).collect::<Vec<_>>(), ["claimed"]);
    for claim in scan.claims {
        inbox.carry_through(claim).await.unwrap();
    }
    assert_eq!((inbox.drain().await, inbox.audit().await), (vec![], vec![]));
    assert!(inbox.source.release(&release).await.is_ok(), "repeatable");
}

#[tokio::test]
async fn a_person_says_that_the_folder_that_is_there_is_meant() {
    let mut place = recorded(serde_json::json!({ "path": "./in", "after": "delete" }));
    place.inbox.put("a", "x");
    let claim = place.inbox.scan().await.claims.pop().unwrap();
    let Claimed::Whole(stat) = place.inbox.source.confirm(&claim).await.unwrap() else { panic!("it is whole") };
    place.inbox.book.settle(&claim, stat.unwrap(), b"x");
    std::fs::remove_dir_all(place.at("in")).unwrap();
    std::fs::create_dir(place.at("in")).unwrap();
    place.restart();
    let (inbox, release) = (&place.inbox, claim.release.unwrap());
    assert_eq!(inbox.scan().await.issues.len(), 1);
    assert_eq!(inbox.source.release(&release).await.unwrap_err().code, "folder-moved");
    inbox.put(".opendmp-accept", "");
    assert_eq!(inbox.scan().await.issues.len(), 0);
    assert_eq!(inbox.names(), Vec::<String>::new(), "it is said once");
    inbox.source.release(&release).await.unwrap();
    inbox.book.releasing.lock().unwrap().clear();
    assert_eq!(inbox.audit().await, []);
}

#[tokio::test]
async fn a_folder_deleted_with_its_claims_is_not_waited_for() {
    let place = recorded(serde_json::json!({ "path": "./in", "after": "delete" }));
    let inbox = &place.inbox;
    inbox.put("a", "x");
    let claim = inbox.scan().await.claims.pop().unwrap();
    std::fs::remove_dir_all(place.at("in")).unwrap();
    std::fs::create_dir(place.at("in")).unwrap();
    inbox.put("b", "y");
    assert_eq!(inbox.source.confirm(&claim).await.unwrap(), Claimed::Changed);
    assert_eq!(inbox.drain().await, pairs(&[("b", "y")]));
    assert!(inbox.scan().await.issues.is_empty());
    assert!(inbox.source.release(&claim.release.unwrap()).await.is_ok());
}

#[tokio::test]
async fn without_claims_a_folder_may_come_and_go() {
    let mut place = recorded(serde_json::json!({ "path": "./in", "after": "delete" }));
    place.inbox.put("a", "x");
    assert_eq!(place.inbox.drain().await.len(), 1);
    // Nothing was taken for a while.
    place.inbox.scan().await;
    place.inbox.scan().await;
    assert_eq!(place.inbox.source.shared.roots.location.claims().unwrap(), []);
    place.rename("in2");
    place.restart();
    assert!(place.inbox.scan().await.issues.is_empty());
    assert!(names(&place.at("in2")).is_empty());
}

#[tokio::test]
async fn a_folder_that_goes_with_nothing_claimed_is_not_missed() {
    let mut place = recorded(serde_json::json!({ "path": "./in", "after": "delete" }));
    place.inbox.put("a", "x");
    assert_eq!(place.inbox.drain().await.len(), 1);
    assert_eq!(place.inbox.source.shared.roots.location.claims().unwrap().len(), 1, "more may come");
    std::fs::rename(place.at("in"), place.at("in2")).unwrap();
    assert_eq!(place.inbox.source.claim(&place.inbox.book, later(), 9).await.unwrap_err().code, "no-folder");
    assert_eq!(place.inbox.source.shared.roots.location.claims().unwrap(), []);
    std::fs::create_dir(place.at("in")).unwrap();
    place.restart();
    assert!(place.inbox.scan().await.issues.is_empty());
}

#[tokio::test]
async fn replaced_by_a_link() {
    for after in ["keep", "delete"] {
        let place = recorded(serde_json::json!({ "path": "./in", "after": after }));
        let inbox = &place.inbox;
        inbox.put("a", "x");
        let claim = inbox.scan().await.claims.pop().unwrap();
        std::fs::rename(place.at("in"), place.at("in2")).unwrap();
        std::fs::create_dir(place.at("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", place.at("in")).unwrap();
        std::fs::write(place.at("elsewhere/b"), "y").unwrap();
        assert_eq!(inbox.carry_through(claim).await.is_some(), after == "delete");
        assert_eq!(inbox.drain().await, pairs(&[("b", "y")]));
        assert_eq!(inbox.audit().await, []);
        assert_eq!(place.at("in2/a").exists(), after == "keep");
    }
}

#[tokio::test]
async fn a_sub_folder_renamed_and_made_anew_is_looked_at_as_it_is() {
    let place = recorded(serde_json::json!({ "path": "./in", "after": "delete", "recursive": true }));
    let inbox = &place.inbox;
    std::fs::create_dir(inbox.path(b"sub")).unwrap();
    inbox.put("sub/a", "one");
    inbox.put("sub/b", "one");
    let claims = inbox.source.claim(&inbox.book, later(), 1).await.unwrap().claims;
    std::fs::rename(inbox.path(b"sub"), inbox.path(b"sub2")).unwrap();
    std::fs::create_dir(inbox.path(b"sub")).unwrap();
    inbox.put("sub/b", "two");
    for claim in claims {
        assert_eq!(inbox.carry_through(claim).await.unwrap(), b"one");
    }
    let mut taken = inbox.drain().await;
    taken.extend(inbox.drain().await);
    taken.sort();
    assert_eq!(taken, pairs(&[("sub/b", "two"), ("sub2/b", "one")]));
}
