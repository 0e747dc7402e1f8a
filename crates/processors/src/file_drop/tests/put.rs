//! Files that are put into the folder.

use super::*;

async fn put(inbox: &Inbox, name: &str, bytes: &[u8], replace: bool) -> Result<(), Fault> {
    inbox.source.put(name, Box::new(io::Cursor::new(bytes.to_vec())), replace).await
}

#[tokio::test]
async fn a_file_is_put_whole_and_taken_as_any_other() {
    let inbox = inbox(serde_json::json!({ "path": "./in", "pattern": ["*.csv", "caf*"], "recursive": true }));
    let large = vec![7; 700_000];
    put(&inbox, "größe 日本.csv", &large, false).await.unwrap();
    put(&inbox, "sub/deep/b.csv", b"b", false).await.unwrap();
    put(&inbox, "caf\\xe9", b"", false).await.unwrap();
    assert!(std::fs::read(inbox.path("größe 日本.csv".as_bytes())).unwrap() == large);
    assert!(inbox.path(b"caf\xe9").exists(), "names are bytes");
    let mut names: Vec<String> = inbox.scan().await.claims.into_iter().map(|claim| claim.name).collect();
    names.sort();
    assert_eq!(names, ["b.csv", "caf\\xe9", "größe 日本.csv"]);
}

#[tokio::test]
async fn nothing_is_replaced_unless_that_is_asked_for() {
    let inbox = keep();
    put(&inbox, "a", b"one", false).await.unwrap();
    let taken = put(&inbox, "a", b"two", false).await.unwrap_err();
    assert_eq!((taken.code.as_str(), taken.kind), ("name-taken", FaultKind::Rejected));
    assert_eq!(std::fs::read(inbox.path(b"a")).unwrap(), b"one");
    put(&inbox, "a", b"three", true).await.unwrap();
    assert_eq!(std::fs::read(inbox.path(b"a")).unwrap(), b"three");
    // A link is replaced itself, and nothing behind it.
    std::fs::write(inbox.dir.path().join("outside"), "outside").unwrap();
    std::os::unix::fs::symlink("../outside", inbox.path(b"link")).unwrap();
    assert_eq!(put(&inbox, "link", b"x", false).await.unwrap_err().code, "name-taken");
    put(&inbox, "link", b"x", true).await.unwrap();
    assert_eq!(std::fs::read(inbox.dir.path().join("outside")).unwrap(), b"outside");
    std::fs::create_dir(inbox.path(b"folder")).unwrap();
    assert_eq!(put(&inbox, "folder", b"x", true).await.unwrap_err().code, "bad-name");
    assert_eq!(inbox.names(), ["a", "folder", "link"]);
}

#[tokio::test]
async fn names_that_are_not_taken_are_refused() {
    let inbox = inbox(serde_json::json!({ "path": "./in", "pattern": "*.csv", "recursive": true }));
    let long = format!("{}.csv", "x".repeat(255));
    for (name, code) in [
        ("", "bad-name"),
        ("..", "bad-name"),
        ("../out.csv", "bad-name"),
        ("sub/../../out.csv", "bad-name"),
        ("/etc/out.csv", "bad-name"),
        ("sub//a.csv", "bad-name"),
        ("a\0.csv", "bad-name"),
        (".opendmp-claimed/a.csv", "bad-name"),
        (long.as_str(), "bad-name"),
        ("a.txt", "no-match"),
        (".a.csv", "no-match"),
        (".hidden/a.csv", "no-match"),
        ("~$a.csv", "no-match"),
    ] {
        let refused = put(&inbox, name, b"x", true).await.unwrap_err();
        assert_eq!((refused.code.as_str(), refused.kind), (code, FaultKind::Rejected), "{name}: {refused}");
        assert!(refused.hint.is_some());
        let why = if name.starts_with('~') { "leaves such names out" } else { "`*.csv`" };
        assert!(code != "no-match" || refused.message.contains(why), "{}", refused.message);
    }
    assert!(inbox.names().is_empty() && !inbox.dir.path().join("out.csv").exists());
    // Nor through a link that leads out.
    std::fs::create_dir(inbox.dir.path().join("outside")).unwrap();
    std::os::unix::fs::symlink("../outside", inbox.path(b"way")).unwrap();
    assert_eq!(put(&inbox, "way/a.csv", b"x", false).await.unwrap_err().code, "bad-name");
    assert!(std::fs::read_dir(inbox.dir.path().join("outside")).unwrap().next().is_none());
    let flat = keep();
    assert!(put(&flat, "sub/a", b"x", false).await.unwrap_err().message.contains("sub-folder"));
    std::fs::remove_dir(flat.path(b"")).unwrap();
    assert_eq!(put(&flat, "a", b"x", false).await.unwrap_err().code, "no-folder");
}

struct Broken(usize);

impl io::Read for Broken {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(buf.len())
    }
}

#[tokio::test]
async fn what_is_broken_off_leaves_nothing() {
    let inbox = keep();
    put(&inbox, "a", b"as it was", false).await.unwrap();
    let broken = inbox.source.put("a", Box::new(Broken(5)), true).await.unwrap_err();
    assert_eq!((broken.code.as_str(), inbox.names()), ("broken-off", vec!["a".to_owned()]));
    assert_eq!(std::fs::read(inbox.path(b"a")).unwrap(), b"as it was");
    // What a killed process left is never taken, and goes when something is put there again.
    let other = keep();
    other.put(".opendmp-dead.tmp", "half");
    assert!(other.scan().await.claims.is_empty());
    put(&other, "b", b"b", false).await.unwrap();
    assert_eq!(other.names(), ["b"]);
}
