use super::*;
use crate::document::fixtures::{CLEAN_PY, DESIGN, PENGUINS, files, kinds};
use crate::document::{FlowSource, check};

fn compiled(text: &str) -> (RunPlan, Diagnostics) {
    let version = check(text, &kinds(), &files()).version(BTreeMap::new()).unwrap_or_else(|e| panic!("{e}"));
    compile(&version, &kinds()).unwrap_or_else(|e| panic!("{e}"))
}

const TWO_PARTS: &str = r#"name: Two
processors:
  - { id: z, type: collect, collection: c, inputs: [y, w] }
  - { id: y, type: external, command: [x], inputs: [a] }
  - { id: w, type: external, command: [x], inputs: [v] }
  - { id: v, type: external, command: [x], inputs: [a], checkpoint: true }
  - { id: a, type: ingest, source: { type: file_drop, path: a } }
  - { id: b, type: ingest, source: { type: file_drop, path: b } }
  - { id: s, type: script, language: python, code: "def process(data): pass", outputs: [bad], inputs: [b] }
"#;

#[test]
fn plans_as_text() {
    insta::assert_snapshot!("design", compiled(DESIGN).0.to_text());
    insta::assert_snapshot!("penguins", compiled(PENGUINS).0.to_text());
    insta::assert_snapshot!("two_parts", compiled(TWO_PARTS).0.to_text());
}

#[test]
fn plans_as_mermaid() {
    insta::assert_snapshot!("penguins_mermaid", compiled(PENGUINS).0.to_mermaid());
}

#[test]
fn plans_as_json_read_back() {
    let plan = compiled(PENGUINS).0;
    insta::assert_snapshot!("penguins_json", serde_json::to_string_pretty(&plan.to_json()).expect("JSON"));
    let again: RunPlan = serde_json::from_value(plan.to_json()).expect("a plan");
    assert_eq!(again, plan);
}

#[test]
fn order_ranks_and_parts() {
    let (plan, warnings) = compiled(TWO_PARTS);
    let at = |id: &str| plan.find(id).expect("a processor").0;
    assert_eq!(plan.starts, [at("a"), at("b")]);
    assert_eq!(plan.order, [at("a"), at("y"), at("v"), at("w"), at("z"), at("b"), at("s")]);
    assert_eq!(plan.stages, [vec![at("a"), at("b")], vec![at("y"), at("v"), at("s")], vec![at("w")], vec![at("z")]]);
    assert_eq!(plan.parts, [vec![at("z"), at("y"), at("w"), at("v"), at("a")], vec![at("b"), at("s")]]);
    assert_eq!(
        plan.processors[at("a")].readers["out"],
        [Reader { processor: at("y"), input: 0 }, Reader { processor: at("v"), input: 0 }]
    );
    assert_eq!(plan.processors[at("w")].readers["out"], [Reader { processor: at("z"), input: 1 }]);
    assert_eq!(plan.processors[at("s")].readers["bad"], []);
    assert!(plan.processors[at("z")].outputs.is_empty());
    let said: Vec<(&str, Option<&str>)> = warnings.iter().map(|d| (d.code.as_ref(), d.processor.as_deref())).collect();
    let unknown = codes::DETERMINISM_UNKNOWN;
    assert_eq!(
        said,
        [
            (unknown, Some("y")),
            (unknown, Some("w")),
            (unknown, Some("v")),
            (unknown, Some("s")),
            (codes::UNREAD_OUTPUT, Some("s")),
            (codes::UNREAD_OUTPUT, Some("s"))
        ]
    );
}

#[test]
fn defaults_are_filled_in() {
    let (plan, warnings) = compiled(DESIGN);
    let shout = &plan.processors[1];
    assert_eq!(shout.settings.timeout, HumanDuration::from_secs(3600));
    assert_eq!(
        (shout.settings.on_error.retries, shout.settings.memo, shout.settings.concurrency),
        (2, Memo::Auto, None)
    );
    assert_eq!(shout.inputs, [Input { processor: 0, port: "out".into() }]);
    assert_eq!(shout.determinism, Determinism::Unknown);
    assert_eq!(
        warnings.to_string(),
        "8:9: warning[determinism-unknown]: it is not known whether `shout` gives the same output for the same input (say `deterministic: true` if equal inputs give equal outputs)"
    );
}

#[test]
fn hashes_of_processors_follow_what_they_do() {
    let with = |text: &str, file: &str, lock: Option<&str>| {
        let files = BTreeMap::from([("clean.py".to_owned(), file.as_bytes().to_vec())]);
        let locks = lock.map(|lock| ("clean".to_owned(), lock.to_owned())).into_iter().collect();
        let version = Version::new(FlowSource { text: text.to_owned(), files, locks }).expect("a version");
        let plan = compile(&version, &kinds()).unwrap_or_else(|e| panic!("{e}")).0;
        let clean = plan.find("clean").expect("clean").1.clone();
        (clean.config_hash, clean.code_hash.expect("code"))
    };
    let first = with(PENGUINS, CLEAN_PY, None);
    // What does not touch the processor does not touch its hashes.
    assert_eq!(
        with(&PENGUINS.replace("timeout: 30s", "timeout: 31s").replace("Penguins", "Others"), CLEAN_PY, None),
        first
    );
    let code = with(PENGUINS, &format!("{CLEAN_PY}#\n"), None);
    assert!(code.0 != first.0 && code.1 != first.1);
    let lock = with(PENGUINS, CLEAN_PY, Some("lock"));
    assert!(lock.0 != first.0 && lock.1 == first.1);
    assert_ne!(with(PENGUINS, CLEAN_PY, Some("")).0, first.0);
    let parameter =
        with(&PENGUINS.replace("outputs: [bad]", "outputs: [bad]\n    parameters: { a: 1 }"), CLEAN_PY, None);
    assert!(parameter.0 != first.0 && parameter.1 == first.1);
    // Code that moves into the document stays the same code.
    let inline = with(
        &PENGUINS.replace("file: ./clean.py", "code: \"def process(data):\\n    return data\\n\""),
        CLEAN_PY,
        None,
    );
    assert!(inline.0 != first.0 && inline.1 == first.1);
}

#[test]
fn the_hashes_of_processors_are_frozen() {
    // Held state and remembered results are found by these.
    let plan = compiled(PENGUINS).0;
    let hashes: Vec<String> = plan
        .processors
        .iter()
        .map(|p| format!("{} {} {}", p.id, p.config_hash, p.code_hash.map_or("-".to_owned(), CodeHash::to_hex)))
        .collect();
    insta::assert_snapshot!("processor_hashes", hashes.join("\n"));
}

#[test]
fn a_version_that_no_longer_fits_is_refused_with_all_problems() {
    let version =
        Version::new(FlowSource { text: PENGUINS.replace("type: route", "type: gone"), ..FlowSource::default() })
            .expect("a version");
    let problems = compile(&version, &kinds()).expect_err("problems");
    let codes: Vec<&str> = problems.iter().map(|d| d.code.as_ref()).collect();
    assert_eq!(codes, [codes::BAD_FILE, codes::UNKNOWN_KIND]);
}

#[test]
fn a_long_chain_is_compiled_without_recursion() {
    let mut text =
        String::from("name: long\nprocessors:\n  - { id: p0, type: ingest, source: { type: file_drop, path: a } }\n");
    for number in 1..3_000 {
        text.push_str(&format!("  - {{ id: p{number}, type: external, command: [x], inputs: p{} }}\n", number - 1));
    }
    let (plan, _) = compiled(&text);
    assert_eq!(plan.stages.len(), 3_000);
}
