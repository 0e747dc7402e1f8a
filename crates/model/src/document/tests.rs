use super::fixtures::{CLEAN_PY, DESIGN, PENGUINS, files, kinds};
use super::*;
use crate::diagnostic::{Diagnostic, Diagnostics, codes};
use crate::kinds::{Class, FileProblem, Files, Kinds, lint};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn checked(text: &str) -> Checked {
    check(text, &kinds(), &files())
}

fn diagnostics(text: &str) -> Diagnostics {
    checked(text).diagnostics
}

/// `line:column code message (hint)`, a line each.
fn lines(text: &str) -> String {
    diagnostics(text).iter().map(|d| format!("{d}\n")).collect()
}

fn only(text: &str, code: &str, place: &str) -> Diagnostic {
    let all = diagnostics(text);
    let (line, column) = place.split_once(':').expect("line:column");
    assert_eq!(all.len(), 1, "{text}\n{all}");
    let one = all.iter().next().expect("one");
    let span = one.span.unwrap_or_else(|| panic!("no place: {one}"));
    assert_eq!(
        (one.code.as_ref(), span.line.to_string(), span.column.to_string()),
        (code, line.to_owned(), column.to_owned()),
        "{text}\n{all}"
    );
    one.clone()
}

/// A flow that is right but for one line.
fn with(processor: &str) -> String {
    format!(
        "name: x\nprocessors:\n  - id: inbox\n    type: ingest\n    source: {{ type: file_drop, path: in }}\n  - id: step\n    inputs: [inbox]\n{processor}\n  - id: shelf\n    type: collect\n    inputs: [step]\n    collection: c\n"
    )
}

const SCRIPT: &str =
    "    type: script\n    language: python\n    code: |\n      def process(data):\n        return data";

#[test]
fn the_kinds_of_the_tests_keep_the_rules() {
    let kinds = kinds();
    for info in kinds.list() {
        assert_eq!(lint(info), Vec::<String>::new());
    }
    let mut bad = kinds.get(Class::Processor, "ingest").expect("ingest").clone();
    bad.name = "Bad Name".to_owned();
    bad.docs.clear();
    bad.examples = vec!["[".to_owned()];
    bad.schema = serde_json::json!({
        "type": "object",
        "properties": { "id": { "type": "string" }, "a": { "description": "x", "not": {} }, "t": { "description": "x", "format": "duration", "default": "5" } },
    });
    insta::assert_snapshot!(lint(&bad).join("\n"));
}

#[test]
fn the_example_of_the_design_is_right() {
    let checked = checked(DESIGN);
    assert_eq!(checked.diagnostics.to_string(), "");
    let flow = checked.flow.expect("a flow");
    assert_eq!((flow.name.as_str(), flow.slug.as_str()), ("Uppercase", "uppercase"));
    let shout = &flow.processors[1];
    assert_eq!(shout.kind, "script");
    assert_eq!(shout.common.inputs, [InputRef { processor: "inbox".into(), port: None }]);
    assert_eq!(shout.common.on_error, OnError::default());
    assert_eq!(shout.common.phase, Some(Phase::Number(2)));
    assert_eq!(shout.config.keys().collect::<Vec<_>>(), ["language", "code"]);
    let settings = &checked.facts[1];
    assert_eq!(settings.code, ["/code"]);
}

#[test]
fn a_large_flow_is_right() {
    let checked = checked(PENGUINS);
    assert_eq!(checked.diagnostics.to_string(), "");
    let flow = checked.flow.expect("a flow");
    assert_eq!(flow.processors[3].common.inputs[0].to_string(), "clean");
    assert_eq!(flow.processors[4].common.memo, Memo::Always);
    assert_eq!(checked.details[1].secrets, ["PATTERN"]);
}

#[test]
fn ten_faults_are_all_told_at_once() {
    let text = r#"name: Ten
procesors:
  - id: inbox
    type: ingest
    sorce: { type: file_drop, path: ./inbox, patern: "*.txt" }
  - id: shout
    type: script
    inputs: [inbx]
    language: pyton
    code: |
      def process(data):
          return !!!
    timeout: 30
    concurrency: 5000
  - id: shout
    type: colect
    inputs: [shout]
  - id: shelf
    type: collect
    inputs: [inbox.bad]
    destination: { type: folder, path: 5 }
"#;
    insta::assert_snapshot!(lines(text));
}

#[test]
fn one_slip_does_not_hide_the_next_problem() {
    let text = with("    typ: script\n    langage: python\n    cod: |\n      def process(data):\n          !!!\n");
    insta::assert_snapshot!(lines(&text));
}

#[test]
fn keys_in_the_wrong_place_are_told_where_they_belong() {
    let text = with(&format!("{SCRIPT}\n    retries: 5"));
    assert_eq!(only(&text, codes::UNKNOWN_KEY, "13:5").hint.as_deref(), Some("`retries` belongs into `on_error`"));
    let text =
        with(SCRIPT).replace("{ type: file_drop, path: in }", "{ type: file_drop, path: in }\n    recursive: true");
    assert_eq!(only(&text, codes::UNKNOWN_KEY, "6:5").hint.as_deref(), Some("`recursive` belongs into `source`"));
    let text = with(&format!("{SCRIPT}\n    quux: 5"));
    assert_eq!(only(&text, codes::UNKNOWN_KEY, "13:5").hint.as_deref(), Some("`opendmp kinds script` lists its keys"));
}

#[test]
fn every_code_of_a_flow_is_told_at_its_place() {
    let script = with(SCRIPT);
    let external = |line: &str| with(&format!("    type: external\n    command: [x]\n    {line}"));
    let no_file = with("    type: script\n    language: python\n    file: nowhere.py");
    let cases: Vec<(&str, String, &str)> = vec![
        // The text.
        (codes::SYNTAX, "name: [\n".to_owned(), "1:7"),
        (codes::EMPTY_DOCUMENT, "\n".to_owned(), "1:1"),
        (codes::MORE_THAN_ONE_DOCUMENT, format!("{script}---\n{script}"), "17:1"),
        (codes::DUPLICATE_KEY, format!("{script}name: y\n"), "17:1"),
        (codes::BAD_KEY, format!("{script}[a]: y\n"), "17:1"),
        (codes::BAD_MERGE, format!("{script}<<: y\n"), "17:5"),
        (codes::UNKNOWN_ALIAS, format!("{script}description: *y\n"), "17:14"),
        (codes::UNSUPPORTED_TAG, format!("{script}description: !t y\n"), "17:17"),
        (codes::BAD_NUMBER, format!("{script}description: 1e999\n"), "17:14"),
        // Values.
        (codes::UNKNOWN_KEY, script.replace("name: x", "nam: x"), "1:1"),
        (codes::MISSING_KEY, script.replace("name: x\n", ""), "1:1"),
        (codes::MISSING_KEY, "name: x\n".to_owned(), "1:1"),
        (
            codes::MISSING_KEY,
            script.replace("  - id: step\n    inputs", "  - inputs").replace("[step]", "[inbox]"),
            "6:5",
        ),
        (codes::MISSING_KEY, script.replace("    type: script\n", ""), "6:5"),
        (codes::MISSING_KEY, script.replace("path: in ", ""), "5:5"),
        (codes::MISSING_KEY, with("    type: external"), "6:9"),
        (codes::WRONG_TYPE, "[1]".to_owned(), "1:1"),
        (codes::WRONG_TYPE, "name: x\nprocessors: 5\n".to_owned(), "2:1"),
        (codes::WRONG_TYPE, "name: x\nprocessors: [5]\n".to_owned(), "2:14"),
        (codes::WRONG_TYPE, script.replace("name: x", "name: 5"), "1:7"),
        (codes::WRONG_TYPE, script.replace("{ type: file_drop, path: in }", "in"), "5:13"),
        (codes::WRONG_TYPE, external("timeout: 30"), "10:14"),
        (codes::WRONG_TYPE, external("timeout:"), "10:5"),
        (codes::NOT_ALLOWED, script.replace("python", "pythn"), "9:15"),
        (codes::OUT_OF_RANGE, external("concurrency: 0"), "10:18"),
        (codes::OUT_OF_RANGE, script.replace("path: in ", "path: '' "), "5:38"),
        (codes::BAD_FORMAT, external("timeout: soon"), "10:14"),
        (codes::BAD_SECRET, external("word: '{{ secret.X }}'"), "10:11"),
        (codes::UNKNOWN_KIND, script.replace("type: script", "type: scrpt"), "8:11"),
        (codes::BAD_FILE, no_file, "10:11"),
        // The graph.
        (codes::BAD_NAME, script.replace("name: x", "name: '…'"), "1:7"),
        (codes::NO_PROCESSORS, "name: x\nprocessors: []\n".to_owned(), "2:1"),
        (codes::NO_PROCESSORS, "name: x\nprocessors:\n".to_owned(), "2:1"),
        (codes::DUPLICATE_ID, script.replace("id: shelf", "id: step"), "13:9"),
        (codes::UNKNOWN_INPUT, script.replace("[step]", "[stpe]"), "15:14"),
        (codes::UNKNOWN_PORT, script.replace("[step]", "[step, step.bad]"), "15:20"),
        (codes::DUPLICATE_INPUT, script.replace("[step]", "[step, step.out]"), "15:20"),
        (codes::CYCLE, script.replace("[inbox]", "[inbox, step]"), "7:21"),
        (codes::INGEST_WITH_INPUTS, script.replace("type: ingest", "type: ingest\n    inputs: [shelf]"), "5:5"),
        (codes::MISSING_INPUTS, script.replace("    inputs: [step]\n", "").replace("[inbox]", "[]"), "7:5"),
        (
            codes::READS_COLLECT,
            format!("{script}  - {{ id: z, type: collect, collection: c, inputs: [shelf] }}\n"),
            "17:53",
        ),
        (codes::PORT_CLASH, with(&format!("{SCRIPT}\n    outputs: [out]")), "13:5"),
        // Warnings.
        (codes::UNREAD_OUTPUT, with(&format!("{SCRIPT}\n    outputs: [bad]")), "6:9"),
        (
            codes::UNKNOWN_PHASE,
            script.replace("name: x", "name: x\nphases: [one]").replace("id: step", "id: step\n    phase: two"),
            "8:12",
        ),
    ];
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (code, text, place) in &cases {
        let all = diagnostics(text);
        let found = all.iter().find(|d| d.code == *code).unwrap_or_else(|| panic!("no {code} in\n{text}\n{all}"));
        let span = found.span.unwrap_or_else(|| panic!("no place: {found}"));
        assert_eq!(format!("{}:{}", span.line, span.column), *place, "{text}\n{all}");
        seen.insert((*code).to_owned());
    }
    // Those that need more than a text.
    let (_, all) = tree::parse(&" ".repeat(tree::MOST_BYTES + 1));
    seen.extend(all.iter().map(|d| d.code.to_string()));
    seen.extend(text(b"name: \xff").expect_err("not UTF-8").iter().map(|d| d.code.to_string()));
    seen.extend(
        diagnostics("name: x\nprocessors:\n  - { id: a, type: ingest, source: { type: file_drop, path: a } }\n")
            .iter()
            .map(|d| d.code.to_string()),
    );
    seen.extend(
        diagnostics(&format!("name: x\nprocessors:\n{}", "  - 5\n".repeat(1_000))).iter().map(|d| d.code.to_string()),
    );
    let version = checked(DESIGN).version(BTreeMap::new()).expect("a version");
    seen.extend(crate::plan::compile(&version, &kinds()).expect("a plan").1.iter().map(|d| d.code.to_string()));
    // A kind says this when its own decoder refuses what its schema allows.
    seen.insert(codes::INVALID_CONFIG.to_owned());
    let known: BTreeSet<String> = codes().iter().map(|info| info.code.to_owned()).collect();
    let never: Vec<&String> = known.difference(&seen).collect();
    assert!(never.is_empty(), "never told here: {never:?}");
}

#[test]
fn messages_say_it_in_words() {
    let external = |line: &str| with(&format!("    type: external\n    command: [x]\n    {line}"));
    let mut out = String::new();
    for line in [
        "timeout: 30",
        "timeout: 5 minutes",
        "timeout:",
        "timeout: [1s]",
        "limit: 64",
        "limit: 64 M",
        "checkpoint: yes",
        "checkpoint: 1",
        "concurrency: 1025",
        "concurrency: 2.5",
        "concurrency: \"4\"",
        "nice: 200",
        "share: 1.5",
        "word: UPPER",
        "word: loooooooooong",
        "word: 5",
        "memo: sometimes",
        "memo: Always",
        "labels: { a: 1 }",
        "labels: [a]",
        "on_error: 3",
        "on_error: { retires: 3 }",
        "on_error: { retries: -1, backoff: 1 }",
        "phase: 0",
        "phase: [a]",
        "phase: 1.5",
        "close: { mode: count }",
        "close: { mode: cuont, items: 1 }",
        "close: { mode: quiet, time: 5, items: 1 }",
        "close: 5",
        "description: 5",
    ] {
        out.push_str(&format!("{line}\n"));
        for diagnostic in &diagnostics(&external(line)) {
            out.push_str(&format!("    {diagnostic}\n"));
        }
    }
    for (from, to) in [
        ("inputs: [inbox]", "inputs: [5]"),
        ("inputs: [inbox]", "inputs: inbox.a.b"),
        ("inputs: [inbox]", "inputs: { a: b }"),
        ("inputs: [inbox]", "inputs:"),
        ("command: [x]", "command: x y"),
        ("command: [x]", "command: []"),
        ("id: step", "id: 1"),
        ("id: step", "id: a step"),
        ("type: external", "type: folder"),
        ("type: external", "type: [x]"),
        ("type: file_drop", "type: http"),
        ("source: {", "source: { tpye: x, "),
    ] {
        out.push_str(&format!("{to}\n"));
        for diagnostic in &diagnostics(&external("nice: 1").replace(from, to)) {
            out.push_str(&format!("    {diagnostic}\n"));
        }
    }
    insta::assert_snapshot!(out);
}

#[test]
fn problems_of_kinds_have_their_place_in_the_code() {
    let text =
        with("    type: script\n    language: python\n    code: |\n      def process(data):\n        return !!!");
    let one = only(&text, "bad-code", "12:16");
    assert_eq!(one.processor.as_deref(), Some("step"));
    let text = with("    type: script\n    language: python\n    file: ./bad.py");
    let files = BTreeMap::from([("bad.py".to_owned(), b"def process(x):\n  !!!\n".to_vec())]);
    let all = check(&text, &kinds(), &files).diagnostics;
    let one = all.iter().next().expect("one");
    assert_eq!(
        (one.file.as_deref(), one.span.map(|s| (s.offset, s.line, s.column))),
        (Some("./bad.py"), Some((18, 2, 3)))
    );
    let text = with("    type: route\n    ports: { a: x }").replace("[step]", "[step.a]");
    only(&text, "bad-expression", "9:17");
    let text = with(SCRIPT).replace("path: in", "path: in, after: move");
    only(&text, "missing-to", "5:49");
    let text = with("    type: external\n    command: [x]\n    nice: -5");
    let one = only(&text, "not-nice", "10:11");
    assert_eq!(one.severity, crate::diagnostic::Severity::Warning);
}

#[test]
fn circles_are_drawn_with_the_flow() {
    let script =
        |id: &str, inputs: &str| format!("  - {{ id: {id}, type: external, command: [x], inputs: [{inputs}] }}\n");
    let text = format!(
        "name: x\nprocessors:\n  - {{ id: in, type: ingest, source: {{ type: file_drop, path: p }} }}\n{}{}{}{}{}{}  - {{ id: z, type: collect, collection: c, inputs: [d, f] }}\n",
        script("a", "in, c"),
        script("b", "a"),
        script("c", "b"),
        script("d", "c"),
        script("e", "f"),
        script("f", "e"),
    );
    insta::assert_snapshot!(lines(&text));
    let mut long = String::from("name: x\nprocessors:\n");
    for number in 0..3_000 {
        long.push_str(&script(&format!("p{number}"), &format!("p{}", (number + 1) % 3_000)));
    }
    let all = diagnostics(&long);
    assert!(
        all.to_string()
            .contains("p0 -> p2999 -> p2998 -> p2997 -> p2996 -> p2995 -> … 2990 more … -> p4 -> p3 -> p2 -> p1 -> p0"),
        "{all}"
    );
}

#[test]
fn files_stay_below_the_flow() {
    let files = BTreeMap::from([("lib/a.py".to_owned(), vec![1])]);
    assert_eq!(files.read("./lib//a.py"), Ok(vec![1]));
    assert_eq!(files.read("lib/x/../a.py"), Ok(vec![1]));
    for path in ["../a.py", "/etc/passwd", "lib/../../a", "a\\b", "a\0"] {
        assert_eq!(files.read(path), Err(FileProblem::Outside), "{path}");
    }
    assert_eq!(files.read("."), Err(FileProblem::NotFound));
}

#[test]
fn secrets_are_named_and_never_in_code() {
    let text = with("    type: external\n    command: [\"{{ secrets.A }} {{secrets.B_2}}\", \"{{ other }}\", \"{{\"]");
    let checked = check(&text, &kinds(), &files());
    assert_eq!(checked.diagnostics.to_string(), "");
    assert_eq!(checked.details[1].secrets, ["A", "B_2"]);
    let text = with(
        "    type: external\n    command: [\"{{ secrets.2a }}\", \"{{ Secrets.a }}\", \"x {{ secrets.a\", \"{{ secrets.a b }}\"]",
    );
    assert_eq!(lines(&text).matches("bad-secret").count(), 4);
    let text = with(&SCRIPT.replace("return data", "return f\"{{secrets}}\""));
    assert_eq!(lines(&text), "");
    let text = with(&format!("{SCRIPT}\n    parameters: {{ a: [{{ b: \"{{{{ secrets.DEEP }}}}\" }}] }}"));
    assert_eq!(check(&text, &kinds(), &files()).details[1].secrets, ["DEEP"]);
}

// ---- versions

fn version(text: &str) -> Version {
    Version::new(FlowSource {
        text: text.to_owned(),
        files: files(),
        locks: BTreeMap::from([("clean".to_owned(), "lock".to_owned())]),
    })
    .expect("a version")
}

#[test]
fn yaml_and_json_of_one_flow_are_one_version() {
    let first = version(PENGUINS);
    let json = serde_json::to_string(&first.document).expect("JSON");
    let pretty = serde_json::to_string_pretty(&first.document).expect("JSON").replace("  ", "\t");
    let commented = PENGUINS
        .replace('\n', " # a comment\n")
        .replace("description: Clean, split by island, sort. # a comment\n", "")
        .replace("processors:", "description: \"Clean, split by island, sort.\"\nprocessors:");
    for text in [&json, &pretty, &commented] {
        assert_eq!(version(text).hash, first.hash, "{text}");
        assert_eq!(check(text, &kinds(), &files()).diagnostics.to_string(), "");
    }
    assert_eq!(first.text, PENGUINS);
}

#[test]
fn all_that_matters_is_in_the_hash() {
    let source = || FlowSource { text: PENGUINS.to_owned(), files: files(), locks: BTreeMap::new() };
    let mut hashes = BTreeSet::new();
    let mut add = |source: FlowSource| assert!(hashes.insert(Version::new(source).expect("a version").hash));
    add(source());
    add(FlowSource { text: PENGUINS.replace("30s", "31s"), ..source() });
    add(FlowSource { text: PENGUINS.replace("phase: in", "phase: 1"), ..source() });
    add(FlowSource { text: PENGUINS.replace("phase: in", "phase: \"1\""), ..source() });
    add(FlowSource { text: PENGUINS.replace("phase: in", "phase: 1.0"), ..source() });
    add(FlowSource { text: PENGUINS.replace("phase: in", "phase: -1"), ..source() });
    add(FlowSource { text: PENGUINS.replace("phase: in", "phase: null"), ..source() });
    add(FlowSource { text: PENGUINS.replace("phase: in", "phase: [in]"), ..source() });
    add(FlowSource { files: BTreeMap::new(), ..source() });
    add(FlowSource { files: BTreeMap::from([("clean.py".to_owned(), vec![])]), ..source() });
    add(FlowSource { files: BTreeMap::from([("clean.p".to_owned(), b"y".to_vec())]), ..source() });
    add(FlowSource {
        files: BTreeMap::from([("clean.py".to_owned(), CLEAN_PY.as_bytes().to_vec()), ("x".to_owned(), vec![])]),
        ..source()
    });
    add(FlowSource { locks: BTreeMap::from([("clean".to_owned(), String::new())]), ..source() });
    add(FlowSource { locks: BTreeMap::from([("clean".to_owned(), "x".to_owned())]), ..source() });
    // How a path is written is in the document, not in the list of files.
    let dotted =
        FlowSource { files: BTreeMap::from([("./clean.py".to_owned(), CLEAN_PY.as_bytes().to_vec())]), ..source() };
    assert_eq!(Version::new(dotted).expect("a version").hash, Version::new(source()).expect("a version").hash);
}

#[test]
fn the_encoding_of_hashes_is_frozen() {
    // Stored versions are found by these. If this test fails, the encoding has changed: that needs a new domain.
    let text = "name: frozen\nprocessors: [{ id: a, n: [0, -1, 1.5, 18446744073709551615], t: [null, true, false, \"ä\\n\"] }]\n";
    let source = FlowSource {
        text: text.to_owned(),
        files: BTreeMap::from([("a.py".to_owned(), b"x".to_vec()), ("b".to_owned(), vec![0xff])]),
        locks: BTreeMap::from([("a".to_owned(), "lock".to_owned())]),
    };
    let version = Version::new(source).expect("a version");
    insta::assert_snapshot!(version.hash.to_hex());
    insta::assert_snapshot!(serde_json::to_string_pretty(&version).expect("JSON"));
    let stored: Version = serde_json::from_str(&serde_json::to_string(&version).expect("JSON")).expect("a version");
    assert_eq!(stored, version);
    assert!(stored.is_intact());
    let newer = serde_json::to_string(&version).expect("JSON").replace("\"format\":1", "\"format\":2");
    let error = serde_json::from_str::<Version>(&newer).expect_err("a newer format").to_string();
    assert!(error.contains("stored in format 2; this program reads up to 1"), "{error}");
    let mut damaged = stored.clone();
    damaged.files.insert("a.py".to_owned(), b"y".to_vec());
    assert!(!damaged.is_intact());
    let mut damaged = stored;
    damaged.text.push_str("# only a comment\n");
    assert!(damaged.is_intact());
    damaged.text.push_str("x: y\n");
    assert!(!damaged.is_intact());
}

#[test]
fn a_checked_flow_embeds_the_files_it_names_and_no_others() {
    let mut files = files();
    files.insert("unrelated.csv".to_owned(), vec![0; 100]);
    let checked = check(PENGUINS, &kinds(), &files);
    let version = checked.version(BTreeMap::new()).expect("a version");
    assert_eq!(version.files.keys().collect::<Vec<_>>(), ["clean.py"]);
    assert!(check("name: x\n", &kinds(), &files).version(BTreeMap::new()).is_err());
}

#[test]
fn a_processor_that_is_right_is_found_whatever_is_wrong_elsewhere() {
    let ids = |text: &str| {
        let checked = checked(text);
        let found = ["inbox", "step", "shelf"].map(|id| checked.processor(id).map(|(doc, _, _)| doc.id.clone()));
        (checked.diagnostics.has_errors(), found.into_iter().flatten().collect::<Vec<_>>())
    };
    let right = with(SCRIPT);
    assert_eq!(ids(&right), (false, vec!["inbox".into(), "step".into(), "shelf".into()]));
    // A value that can't be one, a slip of which it is clear what is meant, an input that is not there, no name, and a
    // line that is no YAML.
    assert_eq!(ids(&right.replace("collection: c", "collection: [c]")), (true, vec!["inbox".into(), "step".into()]));
    let all = || vec!["inbox".to_owned(), "step".to_owned(), "shelf".to_owned()];
    assert_eq!(ids(&right.replace("collection: c", "colection: c")), (true, all()));
    let unread = right.replace("inputs: [step]", "inputs: [nobody]");
    assert_eq!(ids(&unread), (true, vec!["inbox".into(), "step".into(), "shelf".into()]));
    assert_eq!(ids(&right.replace("name: x", "label: x")).1.len(), 3);
    assert_eq!(ids(&format!("{right}  - id: [\n")), (true, vec!["inbox".into(), "step".into(), "shelf".into()]));
    // Of two with one id nobody can say which is meant; of none there is nothing to say.
    assert_eq!(ids(&right.replace("id: shelf", "id: step")), (true, vec!["inbox".into()]));
    let (_, facts, role) =
        checked(&right).processor("shelf").map(|(doc, facts, role)| (doc.id.clone(), facts.clone(), role)).expect("it");
    assert_eq!((role, facts.code.len()), (crate::kinds::Role::Collect, 0));
    assert!(checked("").processor("step").is_none());
}

// ---- whatever people write

/// DESIGN.md's example with some of its pieces exchanged.
fn mutated() -> impl Strategy<Value = String> {
    let pieces = [
        "",
        " ",
        "\n",
        ": ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        "\"",
        "&a ",
        "*a",
        "<<: ",
        "!!int ",
        "null",
        "5",
        "-1",
        "1e9",
        "inbox",
        "script",
        "type",
        "id",
        "{{ secrets.",
        "}}",
        "|",
        "\t",
        "ä",
        ".",
        "out",
    ];
    let edit = (0..1_000usize, 0..30usize, prop::sample::select(pieces.to_vec()));
    (prop::sample::select(vec![DESIGN, PENGUINS]), prop::collection::vec(edit, 1..6)).prop_map(|(text, edits)| {
        let mut text: Vec<char> = text.chars().collect();
        for (at, len, piece) in edits {
            let at = at.min(text.len());
            let end = (at + len).min(text.len());
            text.splice(at..end, piece.chars());
        }
        text.into_iter().collect()
    })
}

proptest! {
    #[test]
    fn any_flow_is_answered(text in mutated()) {
        let checked = check(&text, &kinds(), &files());
        prop_assert_eq!(checked.flow.is_some(), !checked.diagnostics.has_errors());
        for diagnostic in &checked.diagnostics {
            if let (Some(span), None) = (diagnostic.span, &diagnostic.file) {
                prop_assert!(text.get(span.offset..span.offset + span.len).is_some());
                let again = crate::diagnostic::Span::of(&text, span.offset, span.len);
                prop_assert_eq!((again.line, again.column), (span.line, span.column), "{}", diagnostic);
            }
        }
        if checked.flow.is_some() {
            let version = checked.version(BTreeMap::new()).expect("a version");
            let (plan, _) = crate::plan::compile(&version, &kinds()).expect("a plan");
            prop_assert_eq!(plan.order.len(), plan.processors.len());
        }
    }
}
