//! From nothing to datasets that can explain themselves.

use crate::place::{Place, UPPER, flow, steady};

#[test]
fn from_init_to_history() {
    let place = Place::new();
    let told = place.ok(&["init", "shouting"]);
    assert!(told.contains("opendmp run shouting/flow.yaml"), "{told}");
    let again = place.run(&["init", "shouting"]).exits(1);
    assert!(again.err.contains("is there already") && again.err.contains("hint: "), "{}", again.err);
    assert_eq!(place.ok(&["validate", "shouting/flow.yaml"]), "✓ no problems in shouting/flow.yaml\n");

    let run = place.run(&["run", "shouting/flow.yaml"]).exits(0);
    assert_eq!(steady(&run.out), "✓ 1 dataset in Shouting (1 new, 0 unchanged) · TOOK\n");
    assert!(
        run.err.starts_with("Uppercase · version ") && run.err.contains("inbox 1 · shout 1 · shelf 1\n"),
        "{}",
        run.err
    );
    let shouted = place.read("shouting/inbox/hello.txt").to_uppercase();
    assert_eq!(place.read("shouting/outbox/hello.upper.txt"), shouted);

    // By its name, by the name of its file, and by its id.
    for name in ["hello.txt", "hello.upper.txt", "1-"] {
        assert_eq!(place.ok(&["datasets", "get", name]), shouted, "{name}");
    }
    insta::assert_snapshot!("list", steady(&place.ok(&["datasets", "list"])));
    insta::assert_snapshot!(
        "show",
        steady(&place.ok(&["datasets", "show", "hello.txt"])).replace(&*place.path("").to_string_lossy(), "HERE/")
    );
    insta::assert_snapshot!("history", steady(&place.ok(&["datasets", "history", "hello.txt"])));
    let long = place.ok(&["datasets", "history", "hello.txt", "--long"]);
    assert!(long.contains("environment Python 3.") && long.contains(" of 72 bytes, b3:"), "{long}");

    let again = place.run(&["run", "shouting/flow.yaml"]).exits(0);
    assert_eq!(
        steady(&again.out),
        "✓ nothing new in ./inbox · TOOK\n  hint: a file is taken again when it changes; --input FILE gives one by hand\n"
    );
    place.write("shouting/inbox/hello.txt", "changed\n");
    place.ok(&["run", "shouting/flow.yaml"]);
    assert_eq!(place.ok(&["datasets", "get", "hello.txt"]), "CHANGED\n");
    assert_eq!(place.ok(&["datasets", "get", "hello.txt", "--revision", "1"]), shouted);
    let none = place.run(&["datasets", "get", "hello.txt", "--revision", "3"]).exits(1);
    assert!(
        none.err.contains("has no revision 3") && none.err.contains("hint: it has revisions 1 to 2"),
        "{}",
        none.err
    );
    assert_eq!(place.rows(&["datasets", "show", "hello.txt"]).len(), 2);
    let history =
        place.run(&["datasets", "history", "hello.txt", "--revision", "1", "--format", "json"]).exits(0).json();
    assert_eq!((&history["dataset"]["revision"], &history["steps"][1]["processor"]), (&1.into(), &"shout".into()));
}

#[test]
fn results_of_one_item_are_numbered() {
    let place = Place::new();
    let code = "def process(item: Item) -> Iterator[Item]:\n    for line in item.text().split():\n        yield item.with_(line)\n";
    place.write(
        "flow.yaml",
        flow("Lines", code, "").replace("./outbox }", "./outbox, name: \"{stem}-{index:2}.txt\" }"),
    );
    place.write("inbox/words.txt", "one two three");
    place.ok(&["run", "flow.yaml"]);
    for (name, content) in [("words-00.txt", "one"), ("words-01.txt", "two"), ("words-02.txt", "three")] {
        assert_eq!(place.read(&format!("outbox/{name}")), content);
    }
    assert_eq!(place.rows(&["datasets", "list"]).len(), 3, "each is a dataset of its own");
}

#[test]
fn generated_items_are_the_same_again_after_compress_and_decompress() {
    let place = Place::new();
    let flow = "name: There and back\nprocessors:\n  \
                - { id: made, type: ingest, source: { type: generate, count: 1200, size: 1KiB } }\n  \
                - { id: gz, type: compress, inputs: [made], format: gzip }\n  \
                - { id: zst, type: compress, inputs: [gz], format: zstd }\n  \
                - { id: un, type: decompress, inputs: [zst] }\n  \
                - { id: unun, type: decompress, inputs: [un] }\n  \
                - { id: plain, type: collect, inputs: [made], collection: Plain, destination: { type: folder, path: ./plain } }\n  \
                - { id: back, type: collect, inputs: [unun], collection: Back, destination: { type: folder, path: ./back } }\n";
    place.write("flow.yaml", flow);
    place.ok(&["run", "flow.yaml"]);
    let names = |folder: &str| {
        let mut names: Vec<_> =
            std::fs::read_dir(place.path(folder)).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names("plain").len(), 1200);
    assert_eq!(names("plain"), names("back"));
    let mut contents = std::collections::BTreeSet::new();
    for name in names("plain") {
        let content = std::fs::read(place.path("plain").join(&name)).unwrap();
        assert_eq!(content, std::fs::read(place.path("back").join(&name)).unwrap(), "{name:?}");
        contents.insert(content);
    }
    assert_eq!(contents.len(), 1200, "no two are the same");
    // All were made: another run makes nothing.
    place.ok(&["run", "flow.yaml"]);
    assert_eq!(place.rows(&["datasets", "list", "--collection", "Plain", "--limit", "5000"]).len(), 1200);
}

#[test]
fn datasets_are_written_to_files_whole_or_not_at_all() {
    let place = Place::new();
    place.write("flow.yaml", flow("Files", UPPER, ""));
    // Over the size of what is kept in memory, so that it is streamed from a file.
    place.write("inbox/big", "some text\n".repeat(200_000));
    place.ok(&["run", "flow.yaml"]);
    let told = place.run(&["datasets", "get", "big", "-o", "got"]).exits(0);
    assert_eq!(told.err, "2.0 MB to got\n");
    assert_eq!(place.read("got"), place.read("outbox/big"));
    place.write("got", "mine");
    let refused = place.run(&["datasets", "get", "big", "-o", "got"]).exits(2);
    assert!(refused.err.contains("hint: --force replaces it") && place.read("got") == "mine");
    place.ok(&["datasets", "get", "big", "-o", "got", "--force"]);
    assert_eq!(place.read("got"), place.read("outbox/big"));
    let names: Vec<String> = std::fs::read_dir(place.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!names.iter().any(|name| name.starts_with(".opendmp-")), "{names:?}");
}

#[test]
fn unclear_names_are_answered_with_candidates() {
    let place = Place::new();
    for name in ["One", "Two"] {
        place.write("flow.yaml", flow(name, UPPER, ""));
        place.write("inbox/same.txt", "x");
        place.ok(&["run", "flow.yaml"]);
    }
    let unclear = place.run(&["datasets", "get", "same.txt"]).exits(2);
    assert!(unclear.out.is_empty() && unclear.err.contains("`same.txt` may mean any of 2 datasets"), "{}", unclear.err);
    assert_eq!(unclear.err.lines().filter(|line| line.contains("same.txt  ")).count(), 2, "{}", unclear.err);
    assert_eq!(place.ok(&["datasets", "get", "same.txt", "--collection", "Two"]), "X");
    assert_eq!(place.ok(&["datasets", "get", "same.txt", "--flow", "one"]), "X");
    let missing = place.run(&["datasets", "history", "other.txt"]).exits(1);
    assert!(missing.err.starts_with("error: there is no dataset `other.txt`\nhint: "), "{}", missing.err);
}

#[test]
fn every_listing_is_json_for_programs() {
    let place = Place::new();
    let early = place.run(&["datasets", "list"]).exits(1);
    assert!(early.err.contains("there is no data directory at") && !place.data.exists(), "{}", early.err);
    place.write("flow.yaml", flow("Listed", UPPER, ""));
    for n in 0..5 {
        place.write(&format!("inbox/{n}.txt"), format!("file {n}{}", "x".repeat(n)));
    }
    place.ok(&["run", "flow.yaml"]);
    let collections = place.rows(&["collections"]);
    let [collection] = collections.as_slice() else { panic!("{collections:?}") };
    assert_eq!(
        (&collection["name"], &collection["datasets"], &collection["revisions"]),
        (&"Listed".into(), &5.into(), &5.into())
    );
    assert_eq!(collection["bytes"], 5 * 6 + 10);
    assert_eq!(place.rows(&["flows", "list"])[0]["state"], "disabled");
    assert_eq!(place.rows(&["flows", "list", "--name", "other"]).len(), 0);
    assert_eq!(place.rows(&["runs", "list"])[0]["arrivals"], 5);
    assert_eq!(place.run(&["runs", "show", "1", "--format", "json"]).exits(0).json()["processors"]["work"]["done"], 5);
    assert_eq!(place.rows(&["dead-letters", "list"]).len(), 0);
    assert_eq!(place.rows(&["ingest", "audit", "listed"])[0]["compared"], 5);
    assert_eq!(place.rows(&["ingest", "audit", "flow.yaml"])[0]["entries"].as_array().map(Vec::len), Some(0));

    // Pages, order, filters.
    let names = |rows: Vec<serde_json::Value>| {
        rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = place.run(&["datasets", "list", "--limit", "2"]).exits(0);
    let cursor = first.err.split("--after ").nth(1).unwrap().split(' ').next().unwrap();
    assert_eq!((first.out.lines().count(), first.err.contains("--all every one")), (3, true), "{}", first.err);
    assert_eq!(names(place.rows(&["datasets", "list", "--limit", "2", "--after", cursor])), ["2.txt", "3.txt"]);
    assert_eq!(names(place.rows(&["datasets", "list", "--sort=-size"])), ["4.txt", "3.txt", "2.txt", "1.txt", "0.txt"]);
    assert_eq!(
        names(place.rows(&["datasets", "list", "--name", "[34]*"])),
        Vec::<String>::new(),
        "no classes, only * and ?"
    );
    assert_eq!(names(place.rows(&["datasets", "list", "--name", "?.txt", "--all"])).len(), 5);
    assert_eq!(
        names(place.rows(&["datasets", "list", "--name", "3", "--collection", "Listed", "--flow", "Listed"])),
        ["3.txt"]
    );
    let bad = place.run(&["datasets", "list", "--after", "nonsense"]).exits(2);
    assert!(bad.err.contains("error: "), "{}", bad.err);
    let doctor = place.rows(&["doctor"]);
    assert!(doctor.iter().any(|check| check["check"] == "python" && check["state"] == "ok"), "{doctor:?}");
    assert!(doctor.iter().all(|check| check["state"] != "fail"), "{doctor:?}");
}

#[test]
fn names_can_do_no_harm_to_a_terminal() {
    let place = Place::new();
    place.write(
        "flow.yaml",
        flow(
            "Odd",
            "def process(data: bytes) -> bytes:\n    raise ValueError('\\x1b[31mred')\n",
            "  on_error: { retries: 0 }\n",
        ),
    );
    place.write("inbox/a\u{1b}[31m\u{202e}b.txt", "x");
    let done = place.run(&["run", "flow.yaml"]).exits(3);
    let listed = place.ok(&["dead-letters", "list"]);
    for text in [&done.out, &done.err, &listed, &place.ok(&["dead-letters", "show", "1-"])] {
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text:?}");
    }
    assert!(listed.contains("a\\u{1b}[31m\\u{202e}b.txt"), "{listed}");
}
