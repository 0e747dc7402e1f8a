use super::*;
use crate::diagnostic::{Diagnostics, codes};
use proptest::prelude::*;
use serde_json::json;

fn good(text: &str) -> Node {
    let (root, diagnostics) = parse(text);
    assert!(diagnostics.is_empty(), "{text}\n{diagnostics}");
    root.expect("a value")
}

fn told(text: &str) -> Vec<(String, usize, usize)> {
    let (_, diagnostics) = parse(text);
    diagnostics
        .iter()
        .map(|d| {
            let span = d.span.unwrap_or_default();
            (d.code.to_string(), span.line, span.column)
        })
        .collect()
}

fn one(text: &str, code: &str, line: usize, column: usize) -> Diagnostics {
    let (_, diagnostics) = parse(text);
    assert_eq!(told(text), [(code.to_owned(), line, column)], "{text}\n{diagnostics}");
    diagnostics
}

#[test]
fn plain_scalars_by_the_core_schema_of_yaml_1_2() {
    for (text, value) in [
        ("no", json!("no")),
        ("Yes", json!("Yes")),
        ("on", json!("on")),
        ("true", json!(true)),
        ("False", json!(false)),
        ("~", json!(null)),
        ("null", json!(null)),
        ("12", json!(12)),
        ("+12", json!(12)),
        ("-12", json!(-12)),
        ("010", json!(10)),
        ("0o10", json!(8)),
        ("0x1F", json!(31)),
        ("0x", json!("0x")),
        ("1.5", json!(1.5)),
        (".5", json!(0.5)),
        ("5.", json!(5.0)),
        ("1e3", json!(1000.0)),
        ("1e", json!("1e")),
        (".", json!(".")),
        ("1.2.3", json!("1.2.3")),
        ("12:30:00", json!("12:30:00")),
        ("2024-01-01", json!("2024-01-01")),
        ("1_000", json!("1_000")),
        ("18446744073709551615", json!(u64::MAX)),
        ("\"12\"", json!("12")),
        ("'no'", json!("no")),
        ("!!str 12", json!("12")),
        ("!!int 12", json!(12)),
        ("!!float 1.5", json!(1.5)),
        ("! 12", json!("12")),
        ("inf", json!("inf")),
        ("nan", json!("nan")),
        ("infinity", json!("infinity")),
    ] {
        assert_eq!(good(&format!("a: {text}\n")).to_json(), json!({ "a": value }), "{text}");
    }
}

#[test]
fn numbers_that_can_not_be_kept_are_told() {
    for text in
        ["18446744073709551616", "-9223372036854775809", "1e999", ".inf", "-.INF", ".nan", "0xFFFFFFFFFFFFFFFFF"]
    {
        one(&format!("a: {text}\n"), codes::BAD_NUMBER, 1, 4);
    }
}

#[test]
fn places_are_of_bytes_lines_and_characters() {
    let text = "ä: ö\nlist:\n  - \"ü x\"\n  - b\n";
    let root = good(text);
    let entry = root.entry("ä").expect("key");
    assert_eq!(entry.key_span, Span { offset: 0, len: 2, line: 1, column: 1 });
    assert_eq!(entry.value.span, Span { offset: 4, len: 2, line: 1, column: 4 });
    let items = root.get("list").expect("list").list();
    assert_eq!(&text[items[0].span.offset..][..items[0].span.len], "\"ü x\"");
    assert_eq!((items[1].span.line, items[1].span.column), (4, 5));
    assert_eq!(&text[root.span.offset..][..root.span.len], text.trim_end());
}

#[test]
fn duplicate_keys_are_told_with_both_places() {
    let diagnostics = one("a: 1\nb: 2\na: 3\n", codes::DUPLICATE_KEY, 3, 1);
    let first = diagnostics.iter().next().expect("one");
    assert_eq!(first.related[0].0.line, 1);
    one("{\"a\": 1, \"\\u0061\": 2}", codes::DUPLICATE_KEY, 1, 10);
}

#[test]
fn all_that_is_wrong_with_the_text_is_told_at_once() {
    let text = "a: *nowhere\nb: !secret x\nc: 1e999\nd: 1\nd: 2\n{x: y}: z\ne: @at\n";
    let codes: Vec<String> = told(text).into_iter().map(|(code, ..)| code).collect();
    assert_eq!(
        codes,
        [
            codes::UNKNOWN_ALIAS,
            codes::UNSUPPORTED_TAG,
            codes::BAD_NUMBER,
            codes::DUPLICATE_KEY,
            codes::BAD_KEY,
            codes::SYNTAX
        ]
    );
}

#[test]
fn aliases_and_merge_keys_unfold() {
    let text =
        "base: &base\n  a: 1\n  b: 2\none:\n  <<: *base\n  b: 3\ntwo: *base\nthree:\n  <<: [*base, {c: 4, a: 5}]\n";
    assert_eq!(
        good(text).to_json(),
        json!({ "base": { "a": 1, "b": 2 }, "one": { "b": 3, "a": 1 }, "two": { "a": 1, "b": 2 }, "three": { "a": 1, "b": 2, "c": 4 } })
    );
    // In JSON, and in quotes, it is a key like any other.
    assert_eq!(good("{\"<<\": 1}").to_json(), json!({ "<<": 1 }));
    one("a:\n  <<: 1\n", codes::BAD_MERGE, 2, 7);
    one("a: &a [*a]\n", codes::UNKNOWN_ALIAS, 1, 8);
    one("a: &a 1\n*a : 2\n", codes::BAD_KEY, 2, 1);
}

#[test]
fn syntax_errors_keep_what_was_read() {
    let (root, diagnostics) = parse("name: x\nprocessors:\n  - id: a\n    type: [\n");
    assert!(diagnostics.has_errors());
    let root = root.expect("what was read");
    assert!(!root.complete);
    assert_eq!(root.get("name").and_then(Node::text), Some("x"));
    assert_eq!(root.get("processors").expect("list").list()[0].get("id").and_then(Node::text), Some("a"));
    let diagnostics = one("a:\n\t- b\n", codes::SYNTAX, 2, 2);
    assert_eq!(diagnostics.iter().next().and_then(|d| d.hint.as_deref()), Some("indent with spaces, not tabs"));
    one("", codes::EMPTY_DOCUMENT, 1, 1);
    one("# nothing\n", codes::EMPTY_DOCUMENT, 1, 1);
    one("a: 1\n---\nb: 2\n", codes::MORE_THAN_ONE_DOCUMENT, 2, 1);
}

#[test]
fn bombs_are_bounded() {
    let mut laughs = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert_eq!(told(&laughs)[0].0, codes::TOO_LARGE);
    let text = format!("big: &big \"{}\"\nall: [{}]\n", "x".repeat(1 << 20), vec!["*big"; 40].join(", "));
    assert_eq!(told(&text)[0].0, codes::TOO_LARGE);
    for open in ["[", "{a: ", "- ", "? "] {
        let codes: Vec<String> = told(&open.repeat(5_000)).into_iter().map(|(code, ..)| code).collect();
        assert!(codes.contains(&codes::TOO_LARGE.to_owned()), "{open}: {codes:?}");
    }
    // Deep by aliases, although no place in the text is deep.
    let mut deep = String::from("a0: &a0 [x]\n");
    for level in 1..80 {
        deep.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert_eq!(told(&deep)[0].0, codes::TOO_LARGE);
    assert_eq!(told(&" ".repeat(MOST_BYTES + 1))[0].0, codes::TOO_LARGE);
    assert_eq!(told(&"- x\n".repeat(MOST_VALUES + 1))[0].0, codes::TOO_LARGE);
    let many = format!("a: [{}]", "*b, ".repeat(2_000));
    assert_eq!(told(&many).len(), crate::diagnostic::MOST_DIAGNOSTICS + 1);
}

#[test]
fn places_within_text_however_it_is_written() {
    let code = "def process(data):\n    return data\n\n  x\n";
    let literal = "code: |\n    def process(data):\n        return data\n\n      x\nnext: 1\n";
    let root = good(literal);
    let node = root.get("code").expect("code");
    assert_eq!(node.text(), Some(code));
    let place = node.place_in(literal, 2, 5);
    assert_eq!((place.line, place.column), (3, 9));
    assert!(literal[place.offset..].starts_with("return data"));
    let place = node.place_in(literal, 4, 3);
    assert!(literal[place.offset..].starts_with("x\nnext"));
    let windows = literal.replace('\n', "\r\n");
    let root = good(&windows);
    let place = root.get("code").expect("code").place_in(&windows, 2, 5);
    assert!(windows[place.offset..].starts_with("return data"));

    let blank = "- |2-  # a comment\n\n    a\n\n   b\n";
    let root = good(blank);
    let node = &root.list()[0];
    assert_eq!(node.text(), Some("\n  a\n\n b"));
    assert!(blank[node.place_in(blank, 4, 2).offset..].starts_with("b\n"));
    assert!(blank[node.place_in(blank, 2, 3).offset..].starts_with("a\n"));

    let json = serde_json::to_string(&json!({ "code": format!("ä = \"\u{1F427}\"\n{code}") })).expect("JSON");
    for json in [json.clone(), json.replace('\u{1F427}', "\\ud83d\\udc27").replace('ä', "\\u00e4")] {
        let root = good(&json);
        let node = root.get("code").expect("code");
        let place = node.place_in(&json, 3, 5);
        assert!(json[place.offset..].starts_with("return data"), "{json} {place:?}");
        // A place that is not there falls back to the text as a whole.
        assert_eq!(node.place_in(&json, 99, 1), node.span);
    }
    let single = "code: 'it''s (x'\n";
    let place = good(single).get("code").expect("code").place_in(single, 1, 6);
    assert!(single[place.offset..].starts_with("(x'"));
    let plain = "code: lambda x\n";
    let place = good(plain).get("code").expect("code").place_in(plain, 1, 8);
    assert!(plain[place.offset..].starts_with("x\n"));
    let folded = "code: >\n  a\n  b\n";
    let root = good(folded);
    let node = root.get("code").expect("code");
    assert_eq!(node.place_in(folded, 1, 3), node.span);
}

#[test]
fn a_pair_within_a_list_has_its_place() {
    let text = "[ä: ö, ü]";
    let root = good(text);
    assert_eq!(root.to_json(), json!([{ "ä": "ö" }, "ü"]));
    sound(&root, text);
    // Cut off in the middle, and in the column of its key.
    for text in ["<<: [\tä\": # c\n'", "b:\n- ä", "[ä: ["] {
        if let Some(root) = parse(text).0 {
            sound(&root, text);
        }
    }
}

#[test]
fn pointers_lead_to_places() {
    let text = "a:\n  b: [1, {c~/d: 2}]\n  e:\n";
    let root = good(text);
    let at = |pointer: &str| {
        let place = root.place(pointer);
        (place.line, place.column)
    };
    assert_eq!(at(""), (1, 1));
    assert_eq!(at("/a"), (1, 1));
    assert_eq!(at("/a/b"), (2, 3));
    assert_eq!(at("/a/b/0"), (2, 7));
    assert_eq!(at("/a/b/1/c~0~1d"), (2, 17));
    assert_eq!(at("/a/e"), (3, 3));
    assert_eq!(at("/a/nowhere/x"), (1, 1));
}

#[test]
fn json_in_all_its_forms() {
    for text in [
        "{\"a\":1,\"b\":[true,false,null],\"c\":{}}",
        "{\n\t\"a\": 1,\n\t\"b\": [\n\t\ttrue,\n\t\tfalse,\n\t\tnull\n\t],\n\t\"c\": {}\n}\n",
        "{\"a\"\n:\n1,\"b\":[true,false,null],\"c\"\t:\t{}}",
        "\u{feff}{\"a\":1,\"b\":[true,false,null],\"c\":{}}",
        "{\"a\":1,\r\n\"b\":[true,false,null],\r\n\"c\":{}}\r\n",
    ] {
        assert_eq!(good(text).to_json(), json!({ "a": 1, "b": [true, false, null], "c": {} }), "{text:?}");
    }
    let text = r#"{"a": "\u00e4\ud83d\udc27\/\\\"\b\f\n\r\t\u0000", "b": -0.5e-3, "c": 1E2}"#;
    assert_eq!(good(text).to_json(), json!({ "a": "ä\u{1F427}/\\\"\u{8}\u{c}\n\r\t\0", "b": -0.0005, "c": 100.0 }));
    let long = format!("{{\"{}\": 1}}", "k".repeat(5_000));
    assert_eq!(good(&long).entries()[0].key.len(), 5_000);
    for text in ["{\"a\": \"\\ud83d\"}", "{\"a\": 1", "{\"a\" 1}", "{\"a\": \"\\q\"}"] {
        assert_eq!(told(text).first().map(|told| told.0.as_str()), Some(codes::SYNTAX), "{text}");
    }
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Json::from),
        any::<String>().prop_map(Json::from),
        "[ -~\n\t]{0,12}".prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::btree_map("[ -~äλ]{0,8}", inner, 0..6)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}

/// Bits of YAML, to make texts that get further than the first line.
fn yamlish() -> impl Strategy<Value = String> {
    let bits = [
        "a",
        "b: ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "&x ",
        "*x",
        "<<: ",
        "|\n",
        ">-\n",
        "\"",
        "'",
        "\\",
        "# c",
        "!!str ",
        "!t ",
        "---",
        "...",
        "? ",
        ": ",
        "\t",
        "%YAML 1.2\n",
        "1e5",
        "~",
        "ä",
        "\u{feff}",
        "\r\n",
        "\u{85}",
        "\0",
        "\u{2028}",
    ];
    prop::collection::vec(prop::sample::select(bits.to_vec()), 0..40).prop_map(|bits| bits.concat())
}

fn sound(node: &Node, text: &str) {
    let Span { offset, len, .. } = node.span;
    assert!(text.get(offset..offset + len).is_some(), "{:?} in {text:?}", node.span);
    node.list().iter().for_each(|item| sound(item, text));
    node.entries().iter().for_each(|entry| {
        assert!(text.get(entry.key_span.offset..entry.key_span.offset + entry.key_span.len).is_some());
        sound(&entry.value, text);
    });
    for Span { offset, len, .. } in [node.place_in(text, 1, 1), node.place_in(text, 3, 7), node.first_line()] {
        assert!(text.get(offset..offset + len).is_some(), "{node:?} in {text:?}");
    }
}

proptest! {
    #[test]
    fn json_reads_as_json_does(value in any_json()) {
        for text in [value.to_string(), serde_json::to_string_pretty(&value).expect("JSON"), serde_json::to_string_pretty(&value).expect("JSON").replace("\n  ", "\n\t")] {
            let (root, diagnostics) = parse(&text);
            prop_assert!(diagnostics.is_empty(), "{}\n{}", text, diagnostics);
            prop_assert_eq!(root.expect("a value").to_json(), value.clone(), "{}", text);
        }
    }

    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        let (root, diagnostics) = parse(&text);
        prop_assert!(root.is_some() || diagnostics.has_errors());
        if let Some(root) = root { sound(&root, &text); }
    }

    #[test]
    fn anything_like_yaml_is_answered(text in yamlish()) {
        let (root, diagnostics) = parse(&text);
        prop_assert!(root.is_some() || diagnostics.has_errors());
        if let Some(root) = root { sound(&root, &text); }
        for diagnostic in &diagnostics {
            if let Some(span) = diagnostic.span {
                prop_assert!(text.get(span.offset..span.offset + span.len).is_some());
            }
        }
    }
}
