//! Real items joined, and taken apart again by others: `split`, and the readers of the formats.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use std::time::Duration;

use bytes::Bytes;
use opendmp_model::document::Common;
use opendmp_processor::{Body, Input, NewContent, Outcome};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::fixtures;

fn doc(kind: &str, config: Value) -> ProcessorDoc {
    let Value::Object(map) = config else { unreachable!() };
    ProcessorDoc { id: "x".into(), kind: kind.into(), common: Common::new("x", kind), config: map }
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
}

/// Opens an aggregate; `batch` is added where it is not given.
fn open(mut config: Value) -> Aggregate {
    config.as_object_mut().unwrap().entry("batch").or_insert(json!({ "count": 10 }));
    let doc = doc("aggregate", config);
    Kind.prepare(&Registry::default(), &doc, &BTreeMap::new()).expect("a good config");
    let opened = wait(Kind.open(&Registry::default(), &doc, &fixtures::context(std::path::Path::new("/"))));
    let Ok(Opened::Aggregate(aggregate)) = opened else { panic!("it opens") };
    aggregate
}

fn input(name: &str, content: &[u8]) -> Input {
    Input { item: fixtures::item(name, content), body: Body::Bytes(Bytes::copy_from_slice(content)) }
}

/// What is made of these, and the codes of the items that did not fit.
fn join(config: Value, inputs: &[Input]) -> (Vec<u8>, Vec<Fault>) {
    let mut joining = open(config).join.begin();
    let (mut out, mut refused) = (Vec::new(), Vec::new());
    for input in inputs {
        let before = out.len();
        match joining.add(input, &mut out) {
            Ok(()) => {}
            Err(JoinError::Item(fault)) => {
                assert_eq!(out.len(), before, "nothing of a refused item is written");
                assert!(fault.kind == FaultKind::Rejected && fault.hint.is_some(), "{fault}");
                assert!(crate::explanations().iter().any(|info| info.code == fault.code), "{fault} is not explained");
                refused.push(fault);
            }
            Err(JoinError::Io(error)) => panic!("{error}"),
        }
    }
    joining.end(&mut out).unwrap();
    (out, refused)
}

fn joined(format: &str, contents: &[&[u8]]) -> String {
    let inputs: Vec<Input> = contents.iter().map(|content| input("a", content)).collect();
    let (out, refused) = join(json!({ "as": format }), &inputs);
    assert!(refused.is_empty(), "{refused:?}");
    String::from_utf8(out).unwrap()
}

/// The children that `split` makes.
fn split(config: Value, content: &[u8]) -> Vec<Input> {
    let scratch = tempfile::tempdir().unwrap();
    let kind = crate::split::Kind::new(scratch.path().to_owned());
    let doc = doc("split", config);
    kind.prepare(&Registry::default(), &doc, &BTreeMap::new()).expect("a good config");
    let done = wait(async {
        let Ok(Opened::Transform(split)) =
            kind.open(&Registry::default(), &doc, &fixtures::context(scratch.path())).await
        else {
            panic!("it opens")
        };
        split.process(vec![input("a", content)]).await.unwrap().remove(0)
    });
    let Outcome::Stream(children) = done.outcome else { panic!("{:?}", done.outcome) };
    let child = |child: opendmp_processor::Emission| match child.content {
        NewContent::Bytes(bytes) => input(&child.name.unwrap(), &bytes),
        other => panic!("{other:?}"),
    };
    children.map(|made| child(made.unwrap())).collect()
}

#[test]
fn what_makes_no_sense_is_refused() {
    let prepare = |config| Kind.prepare(&Registry::default(), &doc("aggregate", config), &BTreeMap::new());
    let count = json!({ "count": 1 });
    for (config, pointer, code) in [
        (json!({ "as": "lines" }), "/batch", "never-full"),
        (json!({ "as": "lines", "batch": {} }), "/batch", "never-full"),
        (json!({ "as": "lines", "batch": { "end_of_run": false } }), "/batch", "never-full"),
        (json!({ "as": "lines", "batch": { "count": 0 } }), "/batch/count", codes::INVALID_CONFIG),
        (json!({ "as": "lines", "batch": { "bytes": "0 B" } }), "/batch/bytes", codes::INVALID_CONFIG),
        (json!({ "as": "lines", "batch": { "quiet": "0s" } }), "/batch/quiet", codes::INVALID_CONFIG),
        (json!({ "as": "lines", "batch": count, "group_by": "" }), "/group_by", codes::INVALID_CONFIG),
        (json!({ "as": "json", "batch": count, "delimiter": ";" }), "/delimiter", codes::INVALID_CONFIG),
        (json!({ "as": "csv", "batch": count, "delimiter": "" }), "/delimiter", codes::INVALID_CONFIG),
        (json!({ "as": "zip", "batch": count, "name": "{stm}.zip" }), "/name", codes::BAD_FORMAT),
        (json!({ "as": "tar", "batch": count }), "", "bad-config"),
        (json!({ "batch": count }), "", "bad-config"),
    ] {
        let problems = prepare(config.clone()).unwrap_err();
        assert_eq!((problems.len(), problems[0].pointer.as_str(), problems[0].code), (1, pointer, code), "{config}");
        assert!(problems[0].hint.is_some() || pointer.is_empty());
    }
    let facts = |batch: Value| prepare(json!({ "as": "lines", "batch": batch })).unwrap().determinism;
    assert_eq!(facts(json!({ "count": 1, "bytes": "1 MiB", "end_of_run": true })), Determinism::ByConstruction);
    assert_eq!(facts(json!({ "count": 1, "quiet": "30s" })), Determinism::Unknown);
}

#[test]
fn the_engine_is_told_when_a_group_is_full() {
    let batch = json!({ "count": 3, "bytes": "1 KiB", "quiet": "1m", "end_of_run": true });
    let aggregate = open(json!({ "as": "lines", "batch": batch, "group_by": "region" }));
    let close = Close { count: Some(3), bytes: Some(1_024), quiet: Some(Duration::from_secs(60)), end_of_run: true };
    assert_eq!((aggregate.close, aggregate.group_by.as_deref()), (close, Some("region")));
    assert_eq!(open(json!({ "as": "zip" })).group_by, None);
}

#[test]
fn names_come_from_the_first_item() {
    let named = |config: Value, item: &Item| open(config).join.name(item).map_err(|fault| fault.code);
    for (format, of, expected) in [
        ("lines", "a.log", "a.log"),
        ("lines", "a", "a.txt"),
        ("json", "a.log", "a.json"),
        ("csv", "größe.tsv", "größe.csv"),
        ("zip", "a.tar.gz", "a.tar.zip"),
    ] {
        assert_eq!(named(json!({ "as": format }), &fixtures::item(of, b"")).unwrap(), expected);
    }
    let mut item = fixtures::item("a.csv", b"");
    let config = json!({ "as": "csv", "name": "{attributes.region}.csv" });
    assert_eq!(named(config.clone(), &item).unwrap_err(), "bad-target");
    item.attributes = json!({ "region": "north" }).as_object().unwrap().clone().into();
    assert_eq!(named(config, &item).unwrap(), "north.csv");
    assert_eq!(open(json!({ "as": "zip" })).join.media_type(), "application/zip");
}

#[test]
fn texts_follow_one_another() {
    assert_eq!(joined("lines", &[]), "");
    assert_eq!(joined("lines", &[b"a\n", b"b", b"", b"c\r\n\n", b"d"]), "a\nb\nc\r\n\nd\n");
}

#[test]
fn documents_become_an_array() {
    assert_eq!(joined("json", &[]), "[]\n");
    let all = joined("json", &["\u{feff} {\"a\" : 1.00}\n".as_bytes(), b"2", b" [ ] ", b"\"x\""]);
    assert_eq!(all, "[\n{\"a\" : 1.00},\n2,\n[ ],\n\"x\"\n]\n");
    let bad = ["", " ", "{", "1 2", "[1,]", "nul", "{} x", "\"\t\""];
    let mut inputs: Vec<Input> = bad.iter().map(|text| input("a", text.as_bytes())).collect();
    inputs.push(input("a", b"\"\xff\""));
    inputs.push(input("a", b"true"));
    let (out, refused) = join(json!({ "as": "json" }), &inputs);
    assert_eq!((out.as_slice(), refused.len()), (&b"[\ntrue\n]\n"[..], 9));
}

#[test]
fn rows_come_below_one_header() {
    assert_eq!(joined("csv", &[]), "");
    let items: [&[u8]; 6] = [b"", b"a,b\n1,2", b"\xef\xbb\xbf\"a\",b\r\n3,\"x\ny\"\r\n", b"a,b", b"a,b\n", b"a,b\n5,6"];
    assert_eq!(joined("csv", &items), "a,b\n1,2\n3,\"x\ny\"\r\n5,6\n");
    // Line ends that are added are those of the first.
    assert_eq!(joined("csv", &[b"a\r\n1", b"a\n2"]), "a\r\n1\r\n2\r\n");
    assert_eq!(joined("csv", &[b"a,b", b"a,b\n1,2\n"]), "a,b\n1,2\n");
    let inputs = [
        input("first.csv", b"a;b\n1;2\n"),
        input("x", b"a;c\n3;4\n"),
        input("y", b"a;b\n\"5;6\n"),
        input("z", b"a;b\n7;\n"),
    ];
    let (out, refused) = join(json!({ "as": "csv", "delimiter": ";" }), &inputs);
    assert_eq!(out, b"a;b\n1;2\n7;\n");
    assert_eq!(refused[0].message, "its header is `a;c`, and that of the first item, `first.csv`, is `a;b`");
    assert_eq!((refused[0].code.as_str(), refused[1].code.as_str()), ("other-header", "open-quote"));
    // An item that is refused first decides nothing.
    let inputs = [input("bad", b"x\n\"\n"), input("good", b"a\n1\n")];
    let (out, refused) = join(json!({ "as": "csv" }), &inputs);
    assert_eq!((out.as_slice(), refused.len()), (&b"a\n1\n"[..], 1));
}

/// Name and content of all members, as another reader gives them.
fn members(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = ::zip::ZipArchive::new(Cursor::new(archive)).unwrap();
    let count = archive.len();
    let read = |n| {
        let mut member = archive.by_index(n).unwrap();
        let mut content = Vec::new();
        member.read_to_end(&mut content).unwrap();
        (member.name().unwrap().into_owned(), content)
    };
    (0..count).map(read).collect()
}

#[test]
fn an_archive_has_a_member_for_each() {
    let long = format!("{}.csv", "ö".repeat(300));
    let names = ["a.txt", "A.txt", "a.txt", "a-2.txt", "größe 日本", "../b", "x\\y\n", ".", "", "a.txt", &long];
    let inputs: Vec<Input> = names.iter().map(|name| input(name, name.repeat(9).as_bytes())).collect();
    let (archive, _) = join(json!({ "as": "zip" }), &inputs);
    let found = members(&archive);
    let got: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    let expected =
        ["a.txt", "A-2.txt", "a-3.txt", "a-2-2.txt", "größe 日本", ".._b", "x_y_", "item", "item-2", "a-4.txt"];
    assert_eq!(got[..10], expected);
    assert!(got[10].len() <= 240 && got[10].ends_with("ö.csv"));
    for ((_, content), name) in found.iter().zip(names) {
        assert_eq!(content, name.repeat(9).as_bytes());
    }
    assert!(members(&join(json!({ "as": "zip" }), &[]).0).is_empty());
}

#[test]
fn equal_items_give_equal_archives_from_memory_and_from_files() {
    let mut content = vec![0; 700_001];
    blake3::Hasher::new().finalize_xof().fill(&mut content[..350_000]);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content).unwrap();
    let from_file = Input { item: fixtures::item("a", &content), body: Body::File(Arc::new(file)) };
    let config = || json!({ "as": "zip" });
    let (one, _) = join(config(), &[input("a", &content), input("b", b"x")]);
    let (two, _) = join(config(), &[from_file, input("b", b"x")]);
    assert!(one == two);
    assert!(members(&one)[0].1 == content);
    // DOS date and time of the first header: 1980-01-01, midnight.
    assert_eq!(one[10..14], [0, 0, 0x21, 0]);
}

/// Counts what is written at once, and forgets it.
#[derive(Default)]
struct Meter {
    most: usize,
    all: u64,
}

impl Write for Meter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.most = self.most.max(bytes.len());
        self.all += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn large_items_pass_through_in_blocks() {
    let mut content = vec![b'7'; 9 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut content[..4 << 20]);
    for (format, framed) in [("lines", false), ("zip", false), ("json", true), ("csv", true)] {
        if framed {
            content.fill(b'7');
        }
        if format == "csv" {
            content[0..2].copy_from_slice(b"a\n");
        }
        let mut meter = Meter::default();
        let mut joining = open(json!({ "as": format })).join.begin();
        joining.add(&input("a", &content), &mut meter).unwrap();
        joining.end(&mut meter).unwrap();
        assert!(meter.most <= 2 * crate::blocks::BLOCK, "{format} {}", meter.most);
        assert!(meter.all > 4 << 20, "{format}");
    }
}

#[test]
fn texts_of_any_encoding_become_one_in_utf_8() {
    let utf_16 = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let marked = utf_16("\u{feff}id,name\r\n1,Zoë\r\n");
    let latin = b"id,name\r\n2,Zo\xeb".as_slice();
    let inputs = [input("a", &marked), input("b", b"id,name\n3,c\n"), input("c", b"sep=,\nid,name\n4,d\n")];
    let (out, refused) = join(json!({ "as": "csv" }), &inputs);
    assert_eq!(String::from_utf8(out).unwrap(), "id,name\r\n1,Zoë\r\n3,c\n4,d\n");
    assert!(refused.is_empty(), "{refused:?}");
    for (format, expected) in
        [("csv", "id,name\r\n1,Zoë\r\n2,Zoë\r\n"), ("lines", "id,name\r\n1,Zoë\r\nid,name\r\n2,Zoë\n")]
    {
        let config = json!({ "as": format, "encoding": "windows-1252" });
        let (out, refused) = join(config, &[input("a", &marked), input("b", latin)]);
        assert_eq!((String::from_utf8(out).unwrap().as_str(), refused.len()), (expected, 0));
    }
    // What is no text of its encoding is not written, not in part either.
    for format in ["csv", "lines"] {
        let cut = &marked[..marked.len() - 1];
        let (out, refused) = join(json!({ "as": format }), &[input("a", cut), input("b", b"id,name\n3,c\n")]);
        assert_eq!((out.as_slice(), refused.len(), refused[0].code.as_str()), (&b"id,name\n3,c\n"[..], 1, "no-text"));
    }
}

#[test]
fn rows_that_would_not_fit_the_header_are_refused() {
    let inputs =
        [input("a", b"a;b\n1;2\n"), input("b", b"a;b\n1;2;3\n"), input("c", b"a,b\n3,4\n"), input("d", b"a;b\n5;6\n")];
    let (out, refused) = join(json!({ "as": "csv", "delimiter": "auto" }), &inputs);
    assert_eq!(out, b"a;b\n1;2\n5;6\n");
    let codes: Vec<&str> = refused.iter().map(|fault| fault.code.as_str()).collect();
    assert_eq!(codes, ["other-field-count", "other-header"]);
    let (out, refused) = join(json!({ "as": "csv", "delimiter": ";", "ragged": true }), &inputs[..2]);
    assert_eq!((out.as_slice(), refused.len()), (&b"a;b\n1;2\n1;2;3\n"[..], 0));
}

/// By the same rule as `split` has.
#[test]
fn what_is_no_json_is_not_put_into_an_array() {
    let bad =
        [&b"{\"a\": NaN}"[..], b"[Infinity]", br#""\ud83d""#, b"\"\xff\"", b"{\"a\": 1,}", b"{\"a\":1}\n{\"a\":2}"];
    let inputs: Vec<Input> = bad.iter().chain([&&b"1"[..]]).map(|content| input("a", content)).collect();
    let (out, refused) = join(json!({ "as": "json" }), &inputs);
    assert_eq!((out.as_slice(), refused.len()), (&b"[\n1\n]\n"[..], bad.len()));
    assert!(refused.iter().all(|fault| fault.code == "bad-json" && fault.message.contains("in line ")), "{refused:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lines_taken_apart_and_joined_are_the_same(text in "([a-c]{0,3}\r?\n){0,20}", rows in 1u64..5) {
        let parts = split(json!({ "as": "lines", "rows": rows }), text.as_bytes());
        assert_eq!(join(json!({ "as": "lines" }), &parts).0, text.as_bytes());
    }

    #[test]
    fn rows_taken_apart_and_joined_are_the_same(
        rows in proptest::collection::vec(proptest::collection::vec("[a,\"\n\r ö]{0,5}", 3..4), 2..12),
        end in prop_oneof![Just("\n"), Just("\r\n")],
        bom in any::<bool>(),
        each in 1u64..4,
    ) {
        let quoted = |field: &String| format!("\"{}\"", field.replace('"', "\"\""));
        let row = |row: &Vec<String>| row.iter().map(quoted).collect::<Vec<_>>().join(",") + end;
        let text = if bom { "\u{feff}" } else { "" }.to_owned() + &rows.iter().map(row).collect::<String>();
        let parts = split(json!({ "as": "csv", "rows": each }), text.as_bytes());
        assert_eq!(parts.len() as u64, (rows.len() as u64 - 1).div_ceil(each));
        assert_eq!(join(json!({ "as": "csv" }), &parts).0, text.as_bytes());
    }

    #[test]
    fn archives_taken_apart_are_what_was_joined(
        contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..12),
    ) {
        let inputs: Vec<Input> = contents.iter().enumerate().map(|(n, c)| input(&format!("{n}.bin"), c)).collect();
        let (archive, _) = join(json!({ "as": "zip" }), &inputs);
        let parts = split(json!({ "as": "zip" }), &archive);
        let got: Vec<(&str, &Body)> = parts.iter().map(|part| (&*part.item.name, &part.body)).collect();
        assert_eq!(got.len(), inputs.len());
        for ((name, body), input) in got.iter().zip(&inputs) {
            let (Body::Bytes(got), Body::Bytes(expected)) = (body, &input.body) else { panic!() };
            assert_eq!((*name, got), (&*input.item.name, expected));
        }
    }
}
