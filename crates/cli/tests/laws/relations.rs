//! Sources and destinations that are, contain or lie in the data directory, by path, link or mount, when a flow is
//! enabled and later; the data roots of a server; and flows that would take their own results, or each other's files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::harness::{Place, files, hash};
use crate::mounts::{bind, in_own_mounts};

/// What a flow does with a folder.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    Source,
    Destination,
    MoveTo,
}

const ROLES: [Role; 3] = [Role::Source, Role::Destination, Role::MoveTo];

/// A flow that uses `folder`; as dangerous as it can be made.
fn flow(role: Role, folder: &str) -> String {
    let (source, destination) = match role {
        Role::Source => (
            format!(
                "path: \"{folder}\", pattern: [\"*\", \".*\", \".*/**\"], recursive: true, settle: 0s, after: delete"
            ),
            "./out".to_owned(),
        ),
        Role::Destination => ("path: ./inbox, recursive: true, settle: 0s".to_owned(), folder.to_owned()),
        Role::MoveTo => {
            (format!("path: ./inbox, recursive: true, settle: 0s, after: move, to: \"{folder}\""), "./out".to_owned())
        }
    };
    format!(
        "name: Torture\nprocessors:\n\
         - {{ id: inbox, type: ingest, source: {{ type: file_drop, {source} }} }}\n\
         - {{ id: results, type: collect, inputs: [inbox], collection: Torture, \
         destination: {{ type: folder, path: \"{destination}\", name: \"{{path}}/{{name}}\", if_exists: overwrite }} }}\n"
    )
}

/// Every file below a folder, by path.
fn tree(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut out = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            out.extend(tree(&entry.path()));
        } else if kind.is_file() {
            out.insert(entry.path(), hash(&fs::read(entry.path()).unwrap()));
        }
    }
    out
}

/// A place with a data directory that holds something: a token, a dataset, content.
fn place() -> Place {
    let mut place = Place::new();
    place.write_flow(
        "name: First\nprocessors:\n\
         - { id: inbox, type: ingest, source: { type: file_drop, path: ./first, settle: 0s } }\n\
         - { id: results, type: collect, inputs: [inbox], collection: First }\n",
    );
    fs::create_dir(place.path("first")).unwrap();
    fs::write(place.path("first/kept.txt"), "what must not be lost").unwrap();
    fs::write(place.path("first/large.bin"), vec![7; 300 << 10]).unwrap();
    place.ok(&["run", "flow.yaml"]);
    // It makes the token.
    place.start_and_wait();
    place.stop();
    assert!(place.path("data/access-token").exists());
    place
}

/// Token and content, which nothing here may change.
fn kept(place: &Place) -> BTreeMap<PathBuf, String> {
    let mut kept = tree(&place.path("data/content/packs"));
    kept.extend(tree(&place.path("data/content/files")));
    kept.insert(place.path("data/access-token"), hash(&fs::read(place.path("data/access-token")).unwrap()));
    kept
}

/// All that was there is there, and nothing of the data directory became input.
fn all_is_well(place: &Place, before: &BTreeMap<PathBuf, String>) {
    let now = kept(place);
    for (path, content) in before {
        assert_eq!(now.get(path), Some(content), "{}", path.display());
    }
    place.ok(&["verify"]);
    assert_eq!(place.json(&["datasets", "list", "--collection", "First"]).len(), 2);
    assert!(!place.path("data/.opendmp-claimed").exists(), "nothing was set aside");
    let datasets = place.json(&["datasets", "list"]);
    let taken = |name: &str| datasets.iter().any(|row| row["name"] == name);
    assert!(!["access-token", "instance", "lock", "journal.db"].into_iter().any(taken), "{datasets:?}");
}

/// What the server reports, as one text.
fn issues(place: &Place) -> String {
    let rows = place.run(&["doctor", "--format", "json"]);
    String::from_utf8_lossy(&rows.stdout).into_owned()
}

fn refused(place: &Place, arguments: &[&str], words: &str) {
    let output = place.run(arguments);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success(), "{arguments:?}: {text}");
    assert!(text.contains(words), "{arguments:?}: {text}");
}

#[test]
fn the_data_directory_is_refused_in_every_relation() {
    let place = place();
    symlink(place.path("data"), place.path("link")).unwrap();
    symlink(place.path("data/content"), place.path("inner-link")).unwrap();
    symlink(place.root.path(), place.path("first/up")).unwrap();
    fs::write(place.path("inbox/journal.db"), "foreign").unwrap();
    let before = kept(&place);
    for role in ROLES {
        for (folder, how) in [
            ("./data", "is the data directory"),
            ("./link", "is the data directory"),
            ("./data/content/packs", "lies in the data directory"),
            ("./data/new/folder", "lies in the data directory"),
            ("./inner-link", "lies in the data directory"),
            (".", "contains the data directory"),
            ("./first/up", "contains the data directory"),
        ] {
            place.write_flow(&flow(role, folder));
            let whole = tree(&place.path("data"));
            refused(&place, &["validate", "flow.yaml"], how);
            assert_eq!(tree(&place.path("data")), whole, "validate changes nothing");
            refused(&place, &["flows", "enable", "flow.yaml"], how);
            refused(&place, &["run", "flow.yaml"], how);
            assert!(!place.path("data/new").exists());
        }
    }
    all_is_well(&place, &before);
    assert_eq!(fs::read(place.path("inbox/journal.db")).unwrap(), b"foreign");
}

#[test]
fn what_can_do_no_harm_is_allowed() {
    let place = place();
    for (source, name) in [("path: ., pattern: \"*.csv\"", "{name}"), ("path: ./inbox, recursive: true", "out/{name}")]
    {
        place.write_flow(&format!(
            "name: Torture\nprocessors:\n\
             - {{ id: inbox, type: ingest, source: {{ type: file_drop, {source} }} }}\n\
             - {{ id: results, type: collect, inputs: [inbox], collection: T, \
             destination: {{ type: folder, path: ., name: \"{name}.txt\" }} }}\n"
        ));
        place.ok(&["validate", "flow.yaml"]);
        place.ok(&["run", "flow.yaml"]);
    }
}

#[test]
fn a_server_refuses_the_data_directory_too() {
    let mut place = place();
    let before = kept(&place);
    place.start_and_wait();
    for role in ROLES {
        place.write_flow(&flow(role, "./data"));
        refused(&place, &["flows", "enable", "flow.yaml"], "is the data directory");
        refused(&place, &["run", "flow.yaml"], "is the data directory");
    }
    place.stop();
    all_is_well(&place, &before);
}

/// A folder that is replaced by a link after the flow was enabled, while the server works or before it starts.
fn linked_later(role: Role, to: &str, running: bool) {
    let mut place = place();
    let folder = place.path("folder");
    fs::create_dir(&folder).unwrap();
    place.write_flow(&flow(role, "./folder"));
    place.ok(&["flows", "enable", "flow.yaml"]);
    let before = kept(&place);
    let input = if role == Role::Source { place.path("folder") } else { place.path("inbox") };
    if running {
        place.start_and_wait();
        fs::write(input.join("first.txt"), "first").unwrap();
        place.wait_for("the first file is exported", |place| {
            place.path("out/first.txt").exists() || place.path("folder/first.txt").exists() && role != Role::Source
        });
    }
    fs::rename(&folder, place.path("aside")).unwrap();
    symlink(place.path(to), &folder).unwrap();
    if role != Role::Source {
        // Names that would replace what matters.
        for name in ["journal.db", "access-token", "instance", "data/journal.db"] {
            let path = place.path("inbox").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, format!("foreign {name}")).unwrap();
        }
    }
    if !running {
        place.start_and_wait();
    }
    place.wait_for("it is reported", |place| issues(place).contains("data directory"));
    assert!(place.path("data/journal.db").metadata().unwrap().len() > 1_000);
    assert_eq!(fs::read(place.path("data/instance")).unwrap().len(), 17);
    // Put right, it goes on: nothing was lost.
    fs::remove_file(&folder).unwrap();
    fs::rename(place.path("aside"), &folder).unwrap();
    if role == Role::Source {
        fs::write(place.path("folder/journal.db"), "foreign journal.db").unwrap();
    }
    let exported = if role == Role::Destination { place.path("folder") } else { place.path("out") };
    place.wait_for("what waited is exported", |_| {
        files(&exported).get("journal.db").is_some_and(|content| content == b"foreign journal.db")
    });
    if role == Role::MoveTo {
        place.wait_for("what waited is moved", |place| place.path("folder/data/journal.db").exists());
    }
    let expected = usize::from(running) + if role == Role::Source { 1 } else { 4 };
    let datasets = |place: &Place| place.json(&["datasets", "list", "--collection", "Torture"]);
    place.wait_for("all are collected", |place| datasets(place).len() >= expected);
    place.stop();
    assert_eq!(place.json(&["dead-letters", "list"]).len(), 0);
    assert_eq!(datasets(&place).len(), expected, "{:?}", datasets(&place));
    let now = kept(&place);
    for (path, content) in before.iter().filter(|(path, _)| path.extension().is_none_or(|it| it != "pack")) {
        assert_eq!(now.get(path), Some(content), "{}", path.display());
    }
    place.ok(&["verify"]);
}

#[test]
fn a_source_that_is_linked_to_the_data_directory_later_takes_nothing() {
    linked_later(Role::Source, "data", true);
    linked_later(Role::Source, "data/content", false);
    linked_later(Role::Source, ".", true);
}

#[test]
fn a_destination_that_is_linked_to_the_data_directory_later_gets_nothing() {
    linked_later(Role::Destination, "data", true);
    linked_later(Role::Destination, "data/content", false);
    linked_later(Role::Destination, ".", true);
}

#[test]
fn nothing_is_moved_into_a_data_directory_that_is_linked_later() {
    linked_later(Role::MoveTo, "data", true);
    linked_later(Role::MoveTo, "data/content", false);
    linked_later(Role::MoveTo, ".", true);
}

#[test]
fn a_data_directory_that_is_mounted_elsewhere_is_known() {
    in_own_mounts(|| {
        let mut place = place();
        for name in ["mounted", "deep", "above", "above/in"] {
            fs::create_dir(place.path(name)).unwrap();
        }
        bind(&place.path("data"), &place.path("mounted"));
        bind(&place.path("data/content"), &place.path("deep"));
        let before = kept(&place);
        for role in ROLES {
            for (folder, how) in [("./mounted", "is the data"), ("./mounted/new", "lies in"), ("./deep", "lies in")] {
                place.write_flow(&flow(role, folder));
                refused(&place, &["validate", "flow.yaml"], how);
                refused(&place, &["run", "flow.yaml"], how);
            }
        }
        // Nothing says before that it is below; the walk does not enter it.
        bind(&place.path("data"), &place.path("above/in"));
        fs::write(place.path("above/note.txt"), "note").unwrap();
        place.write_flow(&flow(Role::Source, "./above"));
        place.ok(&["flows", "enable", "flow.yaml"]);
        place.start_and_wait();
        place.wait_for("the rest is taken", |place| place.path("out/note.txt").exists());
        place.wait_for("it is reported", |place| issues(place).contains("data directory"));
        place.stop();
        all_is_well(&place, &before);
        assert_eq!(place.json(&["datasets", "list", "--collection", "Torture"]).len(), 1);
    });
}

#[test]
fn a_link_that_is_set_later_does_not_lead_out_of_the_data_roots() {
    for role in ROLES {
        let mut place = Place::new();
        let root = place.path("root");
        for name in ["root", "root/inbox", "root/folder", "secret"] {
            fs::create_dir(place.path(name)).unwrap();
        }
        fs::write(place.path("secret/key.txt"), "secret").unwrap();
        fs::write(root.join("flow.yaml"), flow(role, "./folder")).unwrap();
        place.ok(&["flows", "enable", "root/flow.yaml"]);
        place.start_with(&["--data-root", root.to_str().unwrap()]);
        let input = if role == Role::Source { root.join("folder") } else { root.join("inbox") };
        fs::write(input.join("first.txt"), "first").unwrap();
        let exported = if role == Role::Destination { root.join("folder") } else { root.join("out") };
        place.wait_for("the first file is exported", |_| exported.join("first.txt").exists());
        fs::rename(root.join("folder"), root.join("aside")).unwrap();
        symlink(place.path("secret"), root.join("folder")).unwrap();
        if role != Role::Source {
            fs::write(root.join("inbox/second.txt"), "second").unwrap();
        }
        place.wait_for("it is reported", |place| issues(place).contains("outside the data roots"));
        assert_eq!(files(&place.path("secret")).len(), 1, "{role:?}");
        assert!(!place.path("secret/.opendmp-claimed").exists());
        fs::remove_file(root.join("folder")).unwrap();
        fs::rename(root.join("aside"), root.join("folder")).unwrap();
        if role == Role::Source {
            fs::write(root.join("folder/second.txt"), "second").unwrap();
        }
        place.wait_for("the second file is exported", |_| exported.join("second.txt").exists());
        place.settle_down();
        assert_eq!(place.datasets().len(), 2, "{role:?}");
        place.stop();
    }
}

fn copy(name: &str, source: &str, destination: &str) -> String {
    format!(
        "name: {name}\nprocessors:\n\
         - {{ id: inbox, type: ingest, source: {{ type: file_drop, settle: 0s, {source} }} }}\n\
         - {{ id: results, type: collect, inputs: [inbox], collection: {name}, \
         destination: {{ type: folder, {destination} }} }}\n"
    )
}

#[test]
fn results_that_would_be_taken_in_again_are_refused() {
    let place = Place::new();
    symlink(place.path("inbox"), place.path("also")).unwrap();
    let inbox = "path: ./inbox, pattern: \"*.txt\"";
    for (source, destination) in [
        (inbox, "path: ./inbox"),
        (inbox, "path: ./inbox, name: \"{stem}.upper.txt\""),
        (inbox, "path: ./also"),
        (inbox, "path: ., name: \"inbox/{name}\""),
        ("path: ./inbox, recursive: true", "path: ./inbox/out"),
        ("path: ./inbox, pattern: [\"*.a\", \"*.b\"]", "path: ./inbox, name: \"{stem}.{hash:8}\""),
    ] {
        place.write_flow(&copy("Torture", source, destination));
        for arguments in [&["validate", "flow.yaml"][..], &["flows", "enable", "flow.yaml"], &["run", "flow.yaml"]] {
            refused(&place, arguments, "endless loop");
        }
        let meant = source.replace("path: ", "feedback: true, path: ");
        place.write_flow(&copy("Torture", &meant, destination));
        place.ok(&["validate", "flow.yaml"]);
    }
    for (source, destination) in [
        (inbox, "path: ./inbox, name: \"{stem}.csv\""),
        ("path: ./inbox", "path: ./inbox/out"),
        ("path: ./inbox", "path: ./inbox, name: \"{date:%Y}/{name}\""),
        ("path: ./inbox", "path: ./outbox"),
    ] {
        place.write_flow(&copy("Torture", source, destination));
        place.ok(&["validate", "flow.yaml"]);
        place.ok(&["flows", "enable", "flow.yaml"]);
    }
}

#[test]
fn enabled_flows_that_take_each_others_files_are_refused() {
    let mut place = Place::new();
    let enable = |place: &Place, text: &str| {
        place.write_flow(text);
        place.run(&["flows", "enable", "flow.yaml"])
    };
    let words = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    for server in [false, true] {
        if server {
            place.start_and_wait();
        }
        assert!(enable(&place, &copy("One", "path: ./inbox, pattern: \"*.txt\"", "path: ./one")).status.success());
        let other = copy("Two", "path: ./inbox, after: delete", "path: ./two");
        let output = enable(&place, &other);
        assert!(!output.status.success() && words(&output).contains("as well"), "{}", words(&output));
        let enabled = place.json(&["flows", "list"]).iter().filter(|row| row["state"] == "enabled").count();
        assert_eq!(enabled, 1);
        // One of them alone can't say so.
        let shared = other.replace("after: delete", "after: delete, shared: true");
        assert!(!enable(&place, &shared).status.success());
        assert!(
            enable(&place, &copy("Two", "path: ./inbox, pattern: \"*.csv\", after: delete", "path: ./two"))
                .status
                .success()
        );
        // A chain is no circle.
        assert!(enable(&place, &copy("Three", "path: ./one", "path: ./three")).status.success());
        let output = enable(&place, &copy("Three", "path: ./one", "path: ./inbox"));
        assert!(!output.status.success() && words(&output).contains("endless loop"), "{}", words(&output));
        assert!(words(&output).contains("flow `one`"), "{}", words(&output));
        // What was enabled by its name is checked as well.
        place.ok(&["flows", "disable", "one"]);
        assert!(
            enable(&place, &copy("Four", "path: ./inbox, after: delete, pattern: \"*.txt\"", "path: ./four"))
                .status
                .success()
        );
        for name in ["two", "three", "four"] {
            place.ok(&["flows", "disable", name]);
        }
    }
    place.stop();
}

#[test]
fn a_loop_by_a_link_that_is_set_later_ends_by_itself() {
    let mut place = Place::new();
    place.write_flow(&copy("Torture", "path: ./inbox", "path: ./out, name: \"{stem}.again.txt\""));
    place.ok(&["flows", "enable", "flow.yaml"]);
    place.start_and_wait();
    symlink(place.path("inbox"), place.path("out")).unwrap();
    fs::write(place.path("inbox/a.txt"), "a").unwrap();
    place.wait_for("it is reported", |place| issues(place).contains("endless loop"));
    let runs = |place: &Place| place.json(&["runs", "list", "--limit", "10000"]).len();
    place.wait_for("nothing is under way", |place| place.json(&["flows", "list"])[0]["outstanding"] == 0);
    let before = runs(&place);
    fs::write(place.path("inbox/b.txt"), "b").unwrap();
    place.wait_for("it was looked at again", |place| {
        crate::harness::pause(3_000);
        issues(place).contains("endless loop")
    });
    assert_eq!(runs(&place), before, "nothing more is taken in");
    place.stop();
}
