//! Verbs that ask a server at an address, with its token.

use std::fs;

use crate::place::{Place, Server, UPPER, flow, until};

/// A place without a data directory, and how it asks a server elsewhere.
fn elsewhere(server: &Server, other: &Place) -> (Place, Vec<String>) {
    let here = Place::new();
    let token = other.data.join("access-token").display().to_string();
    let target = vec!["--server".to_owned(), format!("http://{}", server.address), "--token-file".to_owned(), token];
    (here, target)
}

fn with<'a>(arguments: &[&'a str], target: &'a [String]) -> Vec<&'a str> {
    arguments.iter().copied().chain(target.iter().map(String::as_str)).collect()
}

#[test]
fn a_server_at_an_address_is_asked_like_any_other() {
    let there = Place::new();
    let root = there.path("root");
    fs::create_dir(&root).unwrap();
    let server = there.serve(&["--data-root", root.to_str().unwrap()]);
    let (here, target) = elsewhere(&server, &there);
    here.write("code.py", UPPER);
    here.write(
        "flow.yaml",
        flow("Far", UPPER, "").replace(
            "  code: |\n      def process(data: bytes) -> bytes:\n          return data.upper()\n",
            "  file: ./code.py\n",
        ),
    );
    let said = here.ok(&with(&["flows", "enable", "flow.yaml"], &target));
    assert!(said.contains("Far is enabled") && said.contains("root/far"), "{said}");
    there.write("root/far/inbox/a.txt", "hello");
    until("the result is there", || !here.rows(&with(&["datasets", "list"], &target)).is_empty());
    here.ok(&with(&["datasets", "get", "a.txt", "--output", "got.txt"], &target));
    assert_eq!(here.read("got.txt"), "HELLO");
    assert!(here.ok(&with(&["datasets", "history", "a.txt"], &target)).contains("shelf"));
    let said = here.ok(&with(&["run", "flow.yaml"], &target));
    assert!(said.contains("nothing new in ./inbox"), "{said}");
    assert_eq!(here.rows(&with(&["runs", "list"], &target)).len(), 2);
    here.ok(&with(&["flows", "disable", "far"], &target));
    here.ok(&with(&["gc", "--dry-run"], &target));
    let backup = root.join("backup");
    here.ok(&with(&["backup", backup.to_str().unwrap()], &target));
    assert!(backup.is_dir());
    assert!(!here.data.exists(), "nothing is kept here");

    // The token may come from the environment.
    let mut command = here.command(&["flows", "list", "--server", &target[1]]);
    let output = command.env("OPENDMP_TOKEN", format!("{}\n", server.token)).output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("far"), "{output:?}");
}

#[test]
fn what_can_not_be_asked_of_a_server_elsewhere_says_so() {
    let there = Place::new();
    let server = there.serve(&[]);
    let (here, target) = elsewhere(&server, &there);
    here.write("flow.yaml", flow("Far", UPPER, ""));
    here.write("given.txt", "x");
    for (arguments, words) in [
        (&["serve"][..], "needs the data directory at hand"),
        (&["verify"], "needs the data directory at hand"),
        (&["doctor"], "needs the data directory at hand"),
        (&["restore", "from"], "needs the data directory at hand"),
        (&["backup", "--verify", "/x"], "needs the data directory at hand"),
        (&["backup", "here"], "one of the server's machine"),
        (&["run", "flow.yaml", "--input", "given.txt"], "files of this machine"),
    ] {
        let done = here.run(&with(arguments, &target)).exits(2);
        assert!(done.err.contains(words), "{arguments:?}: {}", done.err);
    }
    let list = |server: &str, more: &[&str]| {
        let mut arguments = vec!["flows", "list", "--server", server];
        arguments.extend(more);
        let mut command = here.command(&arguments);
        let output = command.env_remove("OPENDMP_TOKEN").output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let token = target[3].as_str();
    here.write("wrong", "0123456789abcdef0123456789abcdef");
    for (server, more, code, words) in [
        (target[1].as_str(), &[][..], 2, "there is no access token"),
        (&target[1], &["--token-file", "none"], 2, "can't be read"),
        (&target[1], &["--token-file", "wrong"], 1, "needs the access token"),
        ("https://example.org", &["--token-file", token], 2, "does not speak TLS"),
        ("127.0.0.1:1", &["--token-file", token], 2, "no address of a server"),
        ("http://127.0.0.1:1", &["--token-file", token], 1, "can't be reached"),
    ] {
        let (exit, said) = list(server, more);
        assert!(
            exit == Some(code) && said.contains(words) && said.contains("hint"),
            "{server} {more:?}: {exit:?} {said}"
        );
        assert!(!said.contains(&fs::read_to_string(token).unwrap()), "{said}");
    }
}
