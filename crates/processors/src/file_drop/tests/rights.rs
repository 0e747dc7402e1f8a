//! As a user who may not do everything: the threads that touch files give up their rights for themselves.

use super::*;
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use std::os::unix::fs::PermissionsExt;

const NOBODY: u32 = 65_534;

/// Runs a test whose file work is done without root's rights; other users have none to give up.
fn as_nobody<F: Future<Output = ()>>(test: F) {
    let give_up = || {
        if Uid::effective().is_root() {
            setfsgid(Gid::from_raw(NOBODY));
            setfsuid(Uid::from_raw(NOBODY));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().on_thread_start(give_up).build().unwrap();
    runtime.block_on(test);
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn an_unreadable_file_stops_no_other() {
    let inbox = keep();
    as_nobody(async {
        chmod(inbox.dir.path(), 0o755);
        for name in ["a", "closed", "z"] {
            inbox.put(name, name);
        }
        chmod(&inbox.path(b"closed"), 0);
        let scan = inbox.scan().await;
        assert_eq!(scan.claims.iter().map(|claim| claim.name.as_str()).collect::<Vec<_>>(), ["a", "z"]);
        assert_eq!(
            (scan.problems[0].0.as_str(), scan.problems[0].1.code, scan.problems.len()),
            ("closed", "no-rights", 1)
        );
        for claim in scan.claims {
            inbox.carry_through(claim).await.unwrap();
        }
        assert!(inbox.scan().await.problems.is_empty(), "told once for each version");
        assert_eq!(inbox.audit().await, [("closed".to_owned(), AuditState::Problem)]);
        chmod(&inbox.path(b"closed"), 0o644);
        assert_eq!(inbox.drain().await, pairs(&[("closed", "closed")]));
    });
}

#[test]
fn a_folder_without_rights_is_told_with_what_to_do() {
    let inbox = delete();
    as_nobody(async {
        chmod(inbox.dir.path(), 0o755);
        chmod(&inbox.path(b""), 0o555);
        inbox.put("a", "x");
        let error = inbox.source.claim(&inbox.book, later(), 10).await.unwrap_err();
        assert_eq!(error.code, "no-claims");
        assert!(error.hint.unwrap().contains("after: keep"));
        assert_eq!(inbox.names(), ["a"]);
        chmod(&inbox.path(b""), 0o777);
        assert_eq!(inbox.drain().await, pairs(&[("a", "x")]));
    });
}

#[test]
fn a_closed_sub_folder_stops_no_other() {
    let inbox = inbox(serde_json::json!({ "path": "./in", "recursive": true }));
    as_nobody(async {
        chmod(inbox.dir.path(), 0o755);
        for folder in ["closed", "open"] {
            std::fs::create_dir(inbox.path(folder.as_bytes())).unwrap();
            inbox.put(&format!("{folder}/a"), folder);
        }
        chmod(&inbox.path(b"closed"), 0);
        let scan = inbox.scan().await;
        assert_eq!((scan.claims.len(), scan.claims[0].path.as_slice()), (1, &b"open/a"[..]));
        assert_eq!((scan.problems[0].0.as_str(), scan.problems[0].1.code), ("closed", "no-rights"));
        chmod(&inbox.path(b"closed"), 0o755);
    });
}
