//! Items on the binary: what went between two steps is shown and given, from the store, from what is recent, or computed
//! again; and what can't be is said.

use std::fs;

use serde_json::Value;

use crate::place::{Done, Place, until};

/// Two scripts whose middle is stored nowhere, and a third way that many things come out of.
fn flow(retention: &str, second: &str) -> String {
    format!(
        "name: Steps\n{retention}processors:\n\
         - {{ id: inbox, type: ingest, source: {{ type: file_drop, path: ./inbox, settle: 0s, after: delete }} }}\n\
         - id: first\n  type: script\n  inputs: [inbox]\n  memo: never\n  code: |\n    \
         def process(item):\n      return item.with_(item.bytes() + b'-first', name='first.txt', seen='yes')\n\
         - id: second\n  type: script\n  inputs: [first]\n  memo: never\n  code: |\n{second}\
         - id: third\n  type: script\n  inputs: [second]\n  memo: never\n  code: |\n    \
         def process(item):\n      return item.bytes() + b'-' + item.attributes['seen'].encode()\n\
         - {{ id: shelf, type: collect, inputs: [third], collection: Steps }}\n"
    )
}

const SECOND: &str = "    def process(item):\n      for n in range(3):\n        \
                      yield item.with_(item.bytes() + b'-' + str(n).encode(), name=f'{item.stem}-{n}.txt')\n";

fn drop_file(place: &Place, name: &str, text: &str) {
    fs::create_dir_all(place.path("inbox")).unwrap();
    place.write(".new", text);
    fs::rename(place.path(".new"), place.path(&format!("inbox/{name}"))).unwrap();
}

/// Ids of the items on the way of the dataset that came of `n`, by the step that made them.
fn way(place: &Place, n: u32) -> Vec<(String, String)> {
    let name = format!("first-{n}.txt");
    let told = place.run(&["datasets", "history", &name, "--format", "json"]).exits(0).json();
    let steps = told["steps"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    steps.filter_map(|step| Some((text(&step["processor"])?, text(&step["output"])?))).collect()
}

fn content(place: &Place, item: &str) -> Done {
    place.run(&["items", "content", item])
}

#[test]
fn what_went_between_two_steps_is_computed_again() {
    let place = Place::new();
    place.write("flow.yaml", flow("", SECOND));
    drop_file(&place, "a.txt", "a");
    place.ok(&["run", "flow.yaml"]);
    let way = way(&place, 1);
    assert_eq!(way.iter().map(|(step, _)| step.as_str()).collect::<Vec<_>>(), ["inbox", "first", "second", "third"]);
    for ((_, item), (bytes, from)) in way.iter().zip([
        ("a", "stored"),
        ("a-first", "computed again"),
        ("a-first-1", "computed again"),
        ("a-first-1-yes", "stored"),
    ]) {
        let done = content(&place, item).exits(0);
        assert_eq!(done.out, bytes);
        assert!(done.err.contains(from), "{}", done.err);
    }
    // Nothing of that was recorded.
    assert_eq!(place.rows(&["runs", "list"]).len(), 1);
    assert_eq!(place.rows(&["datasets", "list"]).len(), 3);
    let shown = place.run(&["items", "show", &way[2].1, "--format", "json"]).exits(0).json();
    assert_eq!((&shown["name"], &shown["attributes"]["seen"]), (&"first-1.txt".into(), &"yes".into()));
    assert_eq!((&shown["made"]["processor"], &shown["made"]["input"]), (&"second".into(), &way[1].1.as_str().into()));
    assert_eq!(
        (&shown["read"][0]["processor"], &shown["read"][0]["children"][0]),
        (&"third".into(), &way[3].1.as_str().into())
    );
    assert!(shown["at_hand"].is_null());
    let text = place.ok(&["items", "show", &way[3].1]);
    assert!(text.contains("bytes     stored") && text.contains("taken     by shelf (collect), collected"), "{text}");

    // An edit changes nothing of what was: the version of then is the one that is asked.
    place.write("flow.yaml", flow("", "    def process(data: bytes) -> bytes:\n      return b'other'\n"));
    place.ok(&["run", "flow.yaml"]);
    place.ok(&["items", "content", &way[2].1, "-o", "between.txt"]);
    assert_eq!(place.read("between.txt"), "a-first-1");

    for (item, words, exit) in
        [("1-zzzzzzz", "there is no such item", 1), ("99-7k2p", "arrival 99", 1), ("x", "an id looks like", 2)]
    {
        let failed = content(&place, item).exits(exit);
        assert!(failed.err.contains(words), "{}", failed.err);
    }
}

#[test]
fn a_step_that_answers_differently_is_named() {
    let place = Place::new();
    let second = "    import os\n    def process(item):\n      yield item.with_(os.urandom(8).hex().encode(), name='first-0.txt')\n";
    place.write("flow.yaml", flow("retention: { sources: 1ms }\n", second));
    drop_file(&place, "a.txt", "a");
    place.ok(&["run", "flow.yaml"]);
    let way = way(&place, 0);
    let failed = content(&place, &way[2].1).exits(1);
    assert!(failed.err.contains("`second` answers differently each time"), "{}", failed.err);
    assert_eq!(content(&place, &way[1].1).exits(0).out, "a-first");
    // Without its source there is nothing to begin with.
    place.ok(&["gc"]);
    let failed = content(&place, &way[1].1).exits(1);
    assert!(failed.err.contains("the flow's retention let the source go"), "{}", failed.err);
    assert!(content(&place, &way[3].1).exits(0).out.ends_with("-yes"), "what is stored is given all the same");
}

#[test]
fn a_server_gives_what_is_recent() {
    let place = Place::new();
    place.write("flow.yaml", flow("", SECOND));
    place.ok(&["flows", "enable", "flow.yaml"]);
    let server = place.serve(&["--recent", "1MiB"]);
    drop_file(&place, "a.txt", "a");
    until("all is there", || place.rows(&["datasets", "list"]).len() == 3);
    let way = way(&place, 2);
    let mut last = String::new();
    until("it is kept", || {
        let done = content(&place, &way[2].1).exits(0);
        assert_eq!(done.out, "a-first-2");
        last = done.err;
        last.contains("kept for a while")
    });
    assert!(place.data.join("recent").read_dir().unwrap().count() > 0);
    assert!(place.ok(&["items", "show", &way[2].1]).contains("bytes     kept for a while"));
    server.stop().exits(0);
    // It is not kept over a restart, and given all the same.
    assert!(content(&place, &way[2].1).exits(0).err.contains("computed again"));
    let server = place.serve_with(&[], &[("OPENDMP_RECENT", "0")]);
    assert!(!place.data.join("recent").exists());
    let done = content(&place, &way[2].1).exits(0);
    assert!(done.err.contains("computed again") && done.out == "a-first-2", "{}", done.err);
    server.stop().exits(0);
}

#[test]
fn what_is_large_is_computed_again_as_a_stream() {
    let place = Place::new();
    place.write(
        "flow.yaml",
        "name: Large\nprocessors:\n\
         - { id: inbox, type: ingest, source: { type: file_drop, path: ./inbox, settle: 0s, after: delete } }\n\
         - { id: shout, type: external, inputs: [inbox], memo: never, command: [tr, a-z, A-Z] }\n\
         - id: count\n  type: script\n  inputs: [shout]\n  memo: never\n  code: |\n    \
         def process(data: bytes) -> str:\n      return str(len(data))\n\
         - { id: shelf, type: collect, inputs: [count], collection: Large }\n",
    );
    drop_file(&place, "a.txt", &"some text\n".repeat(300_000));
    place.ok(&["run", "flow.yaml"]);
    let told = place.run(&["datasets", "history", "a.txt", "--format", "json"]).exits(0).json();
    let item = told["steps"][1]["output"].as_str().unwrap().to_owned();
    assert!(place.ok(&["gc"]).contains("freed"), "it was stored until the script had had it");
    place.ok(&["items", "content", &item, "-o", "large.txt"]);
    assert_eq!(place.read("large.txt"), "SOME TEXT\n".repeat(300_000));
    assert!(content(&place, &item).exits(0).err.contains("3.0 MB, computed again"));
}
