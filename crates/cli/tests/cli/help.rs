//! What the binary says of itself.

use std::fmt::Write as _;

use crate::place::Place;

/// Every verb and verb of a verb.
const VERBS: [&[&str]; 43] = [
    &[],
    &["init"],
    &["validate"],
    &["plan"],
    &["run"],
    &["serve"],
    &["token"],
    &["flows"],
    &["flows", "list"],
    &["flows", "enable"],
    &["flows", "disable"],
    &["flows", "delete"],
    &["runs"],
    &["runs", "list"],
    &["runs", "show"],
    &["collections"],
    &["datasets"],
    &["datasets", "list"],
    &["datasets", "show"],
    &["datasets", "get"],
    &["datasets", "history"],
    &["items"],
    &["items", "show"],
    &["items", "content"],
    &["dead-letters"],
    &["dead-letters", "list"],
    &["dead-letters", "groups"],
    &["dead-letters", "show"],
    &["dead-letters", "retry"],
    &["dead-letters", "discard"],
    &["reprocess"],
    &["ingest"],
    &["ingest", "audit"],
    &["backup"],
    &["restore"],
    &["verify"],
    &["gc"],
    &["doctor"],
    &["kinds"],
    &["schema"],
    &["explain"],
    &["completions"],
    &["help"],
];

#[test]
fn the_help_of_every_verb() {
    let place = Place::new();
    let mut all = String::new();
    for verb in VERBS {
        let mut arguments = verb.to_vec();
        if verb != ["help"] {
            arguments.push("--help");
        }
        let text = place.ok(&arguments);
        if verb == ["help"] {
            assert_eq!(text, place.ok(&["--help"]));
            continue;
        }
        write!(all, "$ opendmp {}\n{text}\n", arguments.join(" ")).unwrap();
        // Every verb that does something shows how.
        let does = !matches!(verb, [] | ["flows" | "runs" | "datasets" | "items" | "dead-letters" | "ingest"]);
        assert!(!does || text.contains("Examples:"), "{verb:?}");
    }
    insta::assert_snapshot!(all);
}

#[test]
fn all_verbs_are_here() {
    // Those of the help that the snapshot would miss if a verb were added.
    let place = Place::new();
    for group in ["", "flows", "runs", "datasets", "items", "dead-letters", "ingest"] {
        let arguments: Vec<&str> = group.split_whitespace().chain(["--help"]).collect();
        let help = place.ok(&arguments);
        let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap().to_owned();
        for verb in commands
            .lines()
            .filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|verb| !verb.is_empty()))
        {
            let path: Vec<&str> = group.split_whitespace().chain([verb]).collect();
            assert!(verb == "help" || VERBS.iter().any(|known| *known == path), "{path:?} is not in the snapshot");
        }
    }
}

#[test]
fn wrong_usage_is_told_with_code_2() {
    let place = Place::new();
    let nothing = place.run(&[]).exits(2);
    assert!(nothing.out.is_empty() && nothing.err.contains("Begin here:"));
    let misspelt = place.run(&["datsets"]).exits(2);
    assert!(misspelt.err.contains("datasets"), "{}", misspelt.err);
    for arguments in
        [&["run"][..], &["datasets", "get"], &["dead-letters", "retry"], &["run", "x.yaml", "--timeout", "5"]]
    {
        place.run(arguments).exits(2);
    }
    let column = place.run(&["kinds", "--sort", "colour"]).exits(2);
    assert!(column.err.contains("hint: there are: name, class, summary"), "{}", column.err);
    assert_eq!(place.ok(&["--version"]), format!("opendmp {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_know_the_verbs() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(place.ok(&["completions", shell]).contains("dead-letters"), "{shell}");
    }
}

#[test]
fn kinds_and_codes_are_explained() {
    let place = Place::new();
    let kinds = place.rows(&["kinds"]);
    let processors =
        ["ingest", "script", "external", "route", "compress", "decompress", "split", "aggregate", "collect"];
    for name in processors.into_iter().chain(["file_drop", "inline", "generate", "folder"]) {
        assert!(kinds.iter().any(|kind| kind["name"] == name), "{name}");
        let page = place.ok(&["kinds", name]);
        assert!(page.contains("\nkeys\n") && page.contains("\nexample\n"), "{page}");
    }
    let unknown = place.run(&["kinds", "scrpt"]).exits(2);
    assert!(unknown.err.contains("there is no kind `scrpt`") && unknown.err.contains("script"));
    assert!(place.ok(&["explain", "unknown-key"]).contains("misspelt key"));
    assert!(place.ok(&["explain"]).contains("reserved-port"), "the kinds' own codes, too");
    place.run(&["explain", "no-such-code"]).exits(2);
    let schema = place.run(&["schema", "flow"]).exits(0).json();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(schema.pointer("/$defs/processor.script").is_some());
}

/// The page's forms are tested with `web/src/form/testdata/kinds.json`, which is what `kinds` says.
#[test]
fn the_forms_of_the_page_are_tested_with_the_kinds_as_they_are() {
    let place = Place::new();
    let kinds = place.run(&["kinds", "--format", "json"]).exits(0).json();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/src/form/testdata/kinds.json");
    if std::env::var("INSTA_UPDATE").is_ok_and(|value| value == "always") {
        std::fs::write(&path, serde_json::to_string_pretty(&kinds).unwrap() + "\n").unwrap();
    }
    let kept: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert!(
        kept == kinds,
        "{} is not what the kinds are: renew it with INSTA_UPDATE=always cargo test -p opendmp --test cli",
        path.display()
    );
}
