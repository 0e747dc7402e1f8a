//! Real bytes in every format, good and bad; what is made of them is counted and compared byte for byte.

use std::io::{Cursor, Write};

use bytes::Bytes;
use opendmp_model::document::Common;
use opendmp_processor::NewContent;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::fixtures;

mod archives;
mod texts;

/// A child as a user sees it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    name: String,
    media_type: String,
    member: Option<String>,
    content: Vec<u8>,
}

struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn doc(config: Value) -> ProcessorDoc {
        let Value::Object(map) = config else { unreachable!() };
        ProcessorDoc { id: "x".into(), kind: "split".into(), common: Common::new("x", "split"), config: map }
    }

    async fn call(&self, config: Value, name: &str, body: Body) -> Done {
        let kind = Kind::new(self.0.path().to_owned());
        let doc = Self::doc(config);
        kind.prepare(&Registry::default(), &doc, &std::collections::BTreeMap::new()).expect("a good config");
        let Ok(Opened::Transform(split)) =
            kind.open(&Registry::default(), &doc, &fixtures::context(self.0.path())).await
        else {
            panic!("it opens")
        };
        split.process(vec![Input { item: fixtures::item(name, b""), body }]).await.unwrap().remove(0)
    }

    async fn split(&self, config: Value, name: &str, content: &[u8]) -> Result<Vec<Seen>, Fault> {
        let done = self.call(config, name, Body::Bytes(Bytes::copy_from_slice(content))).await;
        match done.outcome {
            Outcome::Stream(children) => children.map(|child| child.map(seen)).collect(),
            Outcome::Fault(fault) => Err(fault),
            other => panic!("{other:?}"),
        }
    }

    async fn contents(&self, config: Value, content: &[u8]) -> Vec<Vec<u8>> {
        self.split(config, "a.txt", content).await.unwrap().into_iter().map(|child| child.content).collect()
    }

    /// The fault that an item is refused with.
    async fn refused(&self, config: Value, content: &[u8]) -> Fault {
        let fault = self.split(config, "a", content).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Rejected, "{fault}");
        assert!(fault.hint.is_some(), "{fault}");
        assert!(crate::explanations().iter().any(|info| info.code == fault.code), "{fault} is not explained");
        fault
    }

    fn is_empty(&self) -> bool {
        std::fs::read_dir(self.0.path()).unwrap().next().is_none()
    }
}

fn bytes(content: NewContent) -> Vec<u8> {
    match content {
        NewContent::Bytes(bytes) => bytes.to_vec(),
        NewContent::Stream(stream) => {
            let mut out = Vec::new();
            stream.open().unwrap().read_to_end(&mut out).unwrap();
            out
        }
        NewContent::Same => panic!("a part is something new"),
    }
}

fn seen(child: Emission) -> Seen {
    Seen {
        name: child.name.unwrap(),
        media_type: child.media_type.unwrap(),
        member: child.attributes.get("member").map(|path| path.as_str().unwrap().to_owned()),
        content: bytes(child.content),
    }
}

fn texts(contents: &[Vec<u8>]) -> Vec<&str> {
    contents.iter().map(|content| std::str::from_utf8(content).unwrap()).collect()
}

#[test]
fn what_makes_no_sense_is_refused() {
    let prepare = |config| {
        let kind = Kind::new("");
        kind.prepare(&Registry::default(), &Bench::doc(config), &std::collections::BTreeMap::new())
    };
    for (config, pointer) in [
        (json!({ "as": "lines", "rows": 0 }), "/rows"),
        (json!({ "as": "json", "rows": 2 }), "/rows"),
        (json!({ "as": "lines", "delimiter": ";" }), "/delimiter"),
        (json!({ "as": "csv", "delimiter": ";;" }), "/delimiter"),
        (json!({ "as": "zip", "max_size": "0 B" }), "/max_size"),
        (json!({ "as": "zip", "max_total": "0 B" }), "/max_total"),
        (json!({ "as": "lines", "name": "{member}" }), "/name"),
        (json!({ "as": "tar", "name": "{membr}" }), "/name"),
        (json!({ "as": "parquet" }), ""),
        (json!({}), ""),
    ] {
        let problems = prepare(config.clone()).unwrap_err();
        assert_eq!((problems.len(), problems[0].pointer.as_str()), (1, pointer), "{config}");
        assert!(problems[0].hint.is_some() || pointer.is_empty());
    }
    assert_eq!(prepare(json!({ "as": "lines" })).unwrap().determinism, Determinism::ByConstruction);
}

#[tokio::test]
async fn lines_keep_their_bytes_and_get_names_of_their_own() {
    let bench = Bench::new();
    let children = bench.split(json!({ "as": "lines" }), "a.log", b"\xef\xbb\xbfone\r\n\n\xffthree").await.unwrap();
    let contents: Vec<&[u8]> = children.iter().map(|child| child.content.as_slice()).collect();
    assert_eq!(contents, [&b"\xef\xbb\xbfone\r\n"[..], b"\n", b"\xffthree"]);
    assert_eq!(
        children.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(),
        ["a-000000.log", "a-000001.log", "a-000002.log"]
    );
    assert!(children.iter().all(|child| child.media_type == "text/plain" && child.member.is_none()));
    let named = json!({ "as": "lines", "rows": 2, "name": "{stem}.{index:2}.jsonl" });
    let children = bench.split(named, "größe", b"1\n2\n3\n4\n5\n").await.unwrap();
    assert_eq!(texts(&children.iter().map(|c| c.content.clone()).collect::<Vec<_>>()), ["1\n2\n", "3\n4\n", "5\n"]);
    assert_eq!(children[2].name, "größe.02.jsonl");
    assert!(bench.contents(json!({ "as": "lines" }), b"").await.is_empty());
    assert_eq!(bench.split(json!({ "as": "lines" }), "plain", b"x").await.unwrap()[0].name, "plain-000000.txt");
}

#[tokio::test]
async fn csv_keeps_the_header_in_every_child() {
    let bench = Bench::new();
    let text = "\u{feff}name,\"no\nte\"\r\na,\"x\r\ny\"\r\nb,\"say \"\"hi\"\"\"\r\nc,";
    let header = "\u{feff}name,\"no\nte\"\r\n";
    let children = bench.contents(json!({ "as": "csv", "rows": 2 }), text.as_bytes()).await;
    let first = format!("{header}a,\"x\r\ny\"\r\nb,\"say \"\"hi\"\"\"\r\n");
    assert_eq!(texts(&children), [first.as_str(), &format!("{header}c,")]);
    for nothing in ["", "a,b", "a,b\n", "a,b\r\n\r\n", "\u{feff}", "\n\n"] {
        assert!(bench.contents(json!({ "as": "csv" }), nothing.as_bytes()).await.is_empty(), "{nothing:?}");
    }
    // A quote within a field is one only where fields are parted otherwise.
    let text = "a;b\n1,\";\"x\ny\"\n";
    assert_eq!(texts(&bench.contents(json!({ "as": "csv", "delimiter": ";" }), text.as_bytes()).await), [text]);
    let fault = bench.refused(json!({ "as": "csv" }), b"a,b\n1,2\n3,\"4\n").await;
    assert_eq!(fault.code, "open-quote");
    let long = vec![b'x'; 2 << 20];
    assert_eq!(bench.refused(json!({ "as": "csv" }), &long).await.code, "header-too-long");
    let child = bench.split(json!({ "as": "csv", "name": "row {index}" }), "a", b"h\n1\n").await.unwrap().remove(0);
    assert_eq!((child.name.as_str(), child.media_type.as_str()), ("row 0", "text/csv"));
}

#[tokio::test]
async fn elements_of_an_array_keep_their_bytes() {
    let bench = Bench::new();
    let text = " [ {\"b\" : [1, 2], \"a\":1.00} ,\n-1.5e+07,\"],\\\"\u{1F600}\",null , [ [ ] ],{},0]\n";
    let children = bench.split(json!({ "as": "json" }), "a.json", text.as_bytes()).await.unwrap();
    let contents: Vec<Vec<u8>> = children.iter().map(|child| child.content.clone()).collect();
    let expected = ["{\"b\" : [1, 2], \"a\":1.00}", "-1.5e+07", "\"],\\\"\u{1F600}\"", "null", "[ [ ] ]", "{}", "0"];
    assert_eq!(texts(&contents), expected);
    assert_eq!((children[6].name.as_str(), children[6].media_type.as_str()), ("a-000006.json", "application/json"));
    for nothing in ["[]", " [ \n ] ", "\u{feff}[]"] {
        assert!(bench.contents(json!({ "as": "json" }), nothing.as_bytes()).await.is_empty());
    }
}

#[tokio::test]
async fn what_is_no_array_is_refused_with_its_place() {
    let bench = Bench::new();
    for (text, code) in [
        ("", "cut-short"),
        (" \n", "cut-short"),
        ("{\"a\": 1}", "no-array"),
        ("\"a\"", "no-array"),
        ("hello", "bad-json"),
        ("[1,2", "cut-short"),
        ("[1,", "cut-short"),
        ("[", "cut-short"),
        ("[{\"a\":", "cut-short"),
        ("[\"abc", "cut-short"),
        ("[1,]", "bad-json"),
        ("[1 2]", "bad-json"),
        ("[1x]", "bad-json"),
        ("[,1]", "bad-json"),
        ("[1]]", "bad-json"),
        ("[1] [2]", "bad-json"),
        ("[01]", "bad-json"),
        ("[NaN]", "bad-json"),
        ("[{a:1}]", "bad-json"),
        ("[\"a\tb\"]", "bad-json"),
        ("[tru]", "bad-json"),
    ] {
        assert_eq!(bench.refused(json!({ "as": "json" }), text.as_bytes()).await.code, code, "{text:?}");
    }
    for text in [&b"[\"\xff\"]"[..], b"[\"\xc3", b"[\"\xe2\x82\"]"] {
        assert_eq!(bench.refused(json!({ "as": "json" }), text).await.code, "bad-json");
    }
    let fault = bench.refused(json!({ "as": "json" }), b"[1,\n2,\n3,\n oops]").await;
    assert!(fault.message.contains("line 4 at byte 1"), "{fault}");
    let deep = format!("[{}{}]", "[".repeat(20_000), "]".repeat(20_000));
    assert!(bench.refused(json!({ "as": "json" }), deep.as_bytes()).await.message.contains("nested"));
}

#[tokio::test]
async fn large_elements_stream_and_edges_of_blocks_do_no_harm() {
    let bench = Bench::new();
    let block = crate::blocks::BLOCK;
    let large = format!("\"{}\"", "ö".repeat(block * 3));
    for pad in block - 12..block + 4 {
        let text = format!("[1,{}23 ,{large},4]", " ".repeat(pad - 3));
        let children = bench.contents(json!({ "as": "json" }), text.as_bytes()).await;
        assert!(texts(&children) == ["1", "23", large.as_str(), "4"], "{pad}");
    }
    assert!(bench.is_empty());
}

/// The members of a zip archive: name, content.
fn zip_of(members: &[(&str, &[u8])], method: ::zip::CompressionMethod) -> Vec<u8> {
    let mut writer = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = ::zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, content) in members {
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

const METHODS: [::zip::CompressionMethod; 2] = [::zip::CompressionMethod::Stored, ::zip::CompressionMethod::Deflated];

#[tokio::test]
async fn members_of_a_zip_become_items() {
    let bench = Bench::new();
    let large = vec![7; 1 << 20];
    for method in METHODS {
        let members: [(&str, &[u8]); 5] = [
            ("a/b/c.csv", b"1,2\n"),
            ("größe 日本.txt", b""),
            ("../../etc/passwd", b"root"),
            ("b/c.csv", b"other"),
            ("large.bin", &large),
        ];
        let children = bench.split(json!({ "as": "zip" }), "a.zip", &zip_of(&members, method)).await.unwrap();
        let names: Vec<&str> = children.iter().map(|child| child.name.as_str()).collect();
        assert_eq!(names, ["c.csv", "größe 日本.txt", "passwd", "c.csv", "large.bin"]);
        for (child, (path, content)) in children.iter().zip(members) {
            assert_eq!((child.member.as_deref(), child.content.as_slice()), (Some(path), content));
        }
        assert_eq!(
            (children[0].media_type.as_str(), children[2].media_type.as_str()),
            ("text/csv", "application/octet-stream")
        );
    }
    let named = json!({ "as": "zip", "name": "{stem}-{index:2}-{member}" });
    let archive = zip_of(&[("x/a.txt", b"1"), ("y/a.txt", b"2")], METHODS[1]);
    let children = bench.split(named, "all.zip", &archive).await.unwrap();
    assert_eq!(children[1].name, "all-01-a.txt");
    assert!(bench.split(json!({ "as": "zip" }), "a", &zip_of(&[], METHODS[0])).await.unwrap().is_empty());
    // What stands before the archive, and a comment behind it.
    let mut odd = [b"#!/bin/sh\nexit\n".as_slice(), &archive].concat();
    let at = odd.len() - 2;
    odd[at..].copy_from_slice(&3u16.to_le_bytes());
    odd.extend_from_slice(b"end");
    assert_eq!(bench.split(json!({ "as": "zip" }), "a", &odd).await.unwrap().len(), 2);
    assert!(bench.is_empty());
}

#[tokio::test]
async fn members_of_the_same_name_are_all_there() {
    let bench = Bench::new();
    let mut archive = zip_of(&[("a.txt", b"1"), ("b.txt", b"2")], METHODS[1]);
    while let Some(at) = archive.windows(5).position(|name| name == b"b.txt") {
        archive[at] = b'a';
    }
    let children = bench.split(json!({ "as": "zip" }), "a.zip", &archive).await.unwrap();
    let seen: Vec<(&str, &[u8])> = children.iter().map(|c| (c.name.as_str(), c.content.as_slice())).collect();
    assert_eq!(seen, [("a.txt", &b"1"[..]), ("a.txt", b"2")]);
}

/// More members than 16 bits can count: the directory has an end with 64-bit numbers.
#[tokio::test]
async fn an_archive_may_have_any_number_of_members() {
    let bench = Bench::new();
    let mut writer = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = ::zip::write::SimpleFileOptions::default().compression_method(METHODS[0]).large_file(true);
    for n in 0..70_000 {
        writer.start_file(format!("{n}.txt"), options).unwrap();
        writer.write_all(format!("{n}").as_bytes()).unwrap();
    }
    let archive = Bytes::from(writer.finish().unwrap().into_inner());
    let done = bench.call(json!({ "as": "zip" }), "a", Body::Bytes(archive.clone())).await;
    let Outcome::Stream(children) = done.outcome else { panic!("{:?}", done.outcome) };
    let mut count = 0;
    for (n, child) in children.enumerate() {
        assert_eq!(bytes(child.unwrap().content), n.to_string().as_bytes());
        count += 1;
    }
    assert_eq!(count, 70_000);
    // One entry less than the end says.
    let mut changed = archive.to_vec();
    let end = changed.windows(4).rposition(|part| part == b"PK\x06\x06").unwrap();
    changed[end + 32] += 1;
    assert_eq!(bench.refused(json!({ "as": "zip" }), &changed).await.code, "damaged");
}

#[tokio::test]
async fn folders_and_links_are_left_out_and_told() {
    let bench = Bench::new();
    let options = ::zip::write::SimpleFileOptions::default();
    let mut writer = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer.add_directory("folder/", options).unwrap();
    writer.add_symlink("li\nnk", "/etc/passwd", options).unwrap();
    writer.start_file("a.txt", options).unwrap();
    let zip = writer.finish().unwrap().into_inner();

    let mut tar = ::tar::Builder::new(Vec::new());
    let mut header = ::tar::Header::new_gnu();
    header.set_size(0);
    header.set_entry_type(EntryType::Directory);
    tar.append_data(&mut header, "folder", &b""[..]).unwrap();
    header.set_entry_type(EntryType::Symlink);
    tar.append_link(&mut header, "li\nnk", "/etc/passwd").unwrap();
    header.set_entry_type(EntryType::Regular);
    tar.append_data(&mut header, "a.txt", &b""[..]).unwrap();
    let tar = tar.into_inner().unwrap();

    for (format, archive) in [("zip", zip), ("tar", tar)] {
        let done = bench.call(json!({ "as": format }), "a", Body::Bytes(archive.into())).await;
        let log: Vec<&str> = done.log.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(log, ["`li\\nnk` was left out: it is a link"], "{format}");
        let Outcome::Stream(children) = done.outcome else { panic!("{:?}", done.outcome) };
        assert_eq!(children.map(|child| child.unwrap().name.unwrap()).collect::<Vec<_>>(), ["a.txt"]);
    }
}

use ::tar::EntryType;

#[tokio::test]
async fn a_zip_that_can_not_be_read_whole_is_refused() {
    let bench = Bench::new();
    let config = || json!({ "as": "zip" });
    let text = b"bill length, flipper length\n".repeat(40);
    for method in METHODS {
        let good = zip_of(&[("one.txt", &text), ("two.txt", b"2")], method);
        for length in 0..good.len() {
            let code = bench.refused(config(), &good[..length]).await.code;
            let expected = match length {
                0 => "empty-archive",
                1..4 => "wrong-format",
                _ => "cut-short",
            };
            assert_eq!(code, expected, "{length} of {}", good.len());
        }
        let at = good.windows(9).position(|part| part == b"flipper l").unwrap_or(60);
        let mut changed = good.clone();
        changed[at] ^= 1;
        let fault = bench.refused(config(), &changed).await;
        assert!(fault.code == "damaged" && fault.message.contains("one.txt"), "{fault}");
        // Whatever byte is changed: never other content without a word.
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 0b0001_0000;
            if let Ok(children) = bench.split(config(), "a", &changed).await {
                assert!(children.iter().all(|child| child.content == text || child.content == b"2"), "byte {at}");
            }
        }
        // The flag of encryption, in the directory.
        let mut secret = good.clone();
        let entry = secret.windows(4).position(|part| part == b"PK\x01\x02").unwrap();
        secret[entry + 8] |= 1;
        let fault = bench.refused(config(), &secret).await;
        assert!(fault.code == "encrypted" && fault.message.contains("one.txt"), "{fault}");
        let mut other = good.clone();
        other[entry + 10] = 12;
        assert_eq!(bench.refused(config(), &other).await.code, "unknown-method");
    }
    for other in [&b"hello, this is no archive at all"[..], b"\x1f\x8b\x08"] {
        assert_eq!(bench.refused(config(), other).await.code, "wrong-format");
    }
}

#[tokio::test]
async fn an_archive_that_holds_too_much_is_at_fault() {
    let bench = Bench::new();
    let zeros = vec![0; 3 << 20];
    let zip = zip_of(&[("a", &zeros), ("b", &zeros)], METHODS[1]);
    assert!(zip.len() < 10_000);
    let fault = bench.refused(json!({ "as": "zip", "max_size": "3145727 B" }), &zip).await;
    assert!(fault.code == "holds-too-much" && fault.hint.unwrap().contains("max_size"));
    let fault = bench.refused(json!({ "as": "zip", "max_total": "6291455 B" }), &zip).await;
    assert!(fault.code == "holds-too-much" && fault.hint.unwrap().contains("max_total"));
    let all = json!({ "as": "zip", "max_size": "3 MiB", "max_total": "6 MiB" });
    assert_eq!(bench.split(all, "a", &zip).await.unwrap().len(), 2);
    assert_eq!(bench.refused(json!({ "as": "lines", "max_size": "3 B" }), b"123\n").await.code, "holds-too-much");
    assert!(bench.is_empty(), "nothing is left behind");
}

/// A tar archive of these.
fn tar_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = ::tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        // Past the builder's own check, which refuses paths that go up.
        let path = name.as_bytes();
        if path.len() < 100 {
            header.as_old_mut().name[..path.len()].copy_from_slice(path);
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        } else {
            builder.append_data(&mut header, name, *content).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

#[tokio::test]
async fn members_of_a_tar_become_items() {
    let bench = Bench::new();
    let long = format!("{}/größe 日本.csv", "folder".repeat(30));
    let large = vec![7; (1 << 20) + 5];
    let members: [(&str, &[u8]); 6] = [
        ("a/b.txt", b"1"),
        (&long, b"1,2\n"),
        ("../../etc/passwd", b"root"),
        ("a/b.txt", b"again"),
        ("x", b""),
        ("l", &large),
    ];
    let archive = tar_of(&members);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&archive).unwrap();
    for body in [Body::Bytes(Bytes::from(archive)), Body::File(Arc::new(file))] {
        let done = bench.call(json!({ "as": "tar" }), "a.tar", body).await;
        let Outcome::Stream(children) = done.outcome else { panic!("{:?}", done.outcome) };
        let children: Vec<Seen> = children.map(|child| seen(child.unwrap())).collect();
        let names: Vec<&str> = children.iter().map(|child| child.name.as_str()).collect();
        assert_eq!(names, ["b.txt", "größe 日本.csv", "passwd", "b.txt", "x", "l"]);
        for (child, (path, content)) in children.iter().zip(members) {
            assert_eq!((child.member.as_deref(), child.content.as_slice()), (Some(path), content));
        }
        assert_eq!(children[1].media_type, "text/csv");
    }
    let none = ::tar::Builder::new(Vec::new()).into_inner().unwrap();
    assert!(bench.split(json!({ "as": "tar" }), "a", &none).await.unwrap().is_empty());
}

#[tokio::test]
async fn names_and_sizes_of_pax_headers_are_taken() {
    let bench = Bench::new();
    let mut builder = ::tar::Builder::new(Vec::new());
    builder.append_pax_extensions([("path", "in/größe.txt".as_bytes())]).unwrap();
    let mut header = ::tar::Header::new_ustar();
    header.set_size(5);
    header.set_path("short").unwrap();
    header.set_cksum();
    builder.append(&header, &b"hello"[..]).unwrap();
    let children = bench.split(json!({ "as": "tar" }), "a", &builder.into_inner().unwrap()).await.unwrap();
    assert_eq!((children[0].name.as_str(), children[0].member.as_deref()), ("größe.txt", Some("in/größe.txt")));
    let mut builder = ::tar::Builder::new(Vec::new());
    builder.append_pax_extensions([("GNU.sparse.major", &b"1"[..])]).unwrap();
    builder.append(&header, &b"hello"[..]).unwrap();
    assert_eq!(bench.refused(json!({ "as": "tar" }), &builder.into_inner().unwrap()).await.code, "sparse-member");
}

/// What the programs make that people have: GNU's `tar`, in its own format and in that of POSIX.
#[tokio::test]
async fn archives_of_the_usual_programs_are_read() {
    let bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    let long = "x".repeat(150);
    for (name, content) in [("größe.txt", &b"hello"[..]), (&long, b"long"), ("-rf", b"")] {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let sparse = std::fs::File::create(folder.path().join("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"island", 2 << 20).unwrap();
    let pack = |options: &[&str]| {
        let mut command = std::process::Command::new("tar");
        command.args(options).args(["--sort=name", "-cf", "-", "-C"]).arg(folder.path()).arg(".");
        command.output().unwrap().stdout
    };
    for options in [&["--format=gnu"][..], &["--format=gnu", "--sparse"], &["--format=pax"], &["--format=ustar"]] {
        if options == ["--format=ustar"] {
            // Which has no room for such a name.
            std::fs::remove_file(folder.path().join(&long)).unwrap();
        }
        let children = bench.split(json!({ "as": "tar" }), "a.tar", &pack(options)).await.unwrap();
        let get = |name: &str| &children.iter().find(|child| child.name == name).expect(name).content;
        assert_eq!((get("größe.txt").as_slice(), get("-rf").as_slice()), (&b"hello"[..], &b""[..]), "{options:?}");
        let island = get("sparse");
        assert!(
            island.len() == 3 << 20 && island[2 << 20..].starts_with(b"island") && island[..2 << 20] == [0; 2 << 20]
        );
        assert_eq!(children.len(), 3 + usize::from(options != ["--format=ustar"]));
    }
    let fault = bench.refused(json!({ "as": "tar" }), &pack(&["--format=pax", "--sparse"])).await;
    assert_eq!(fault.code, "sparse-member");
}

#[tokio::test]
async fn a_tar_that_can_not_be_read_whole_is_refused() {
    let bench = Bench::new();
    let config = || json!({ "as": "tar" });
    let good = tar_of(&[("one.txt", &b"flipper".repeat(90)), ("two.txt", b"2")]);
    for length in (0..good.len()).step_by(37).chain([512, 1_024, 1_536, 2_048, 2_560]) {
        // Behind the first record of the mark, nothing is missing.
        if length >= good.len() - 512 {
            continue;
        }
        let code = bench.refused(config(), &good[..length]).await.code;
        assert_eq!(code, if length == 0 { "empty-archive" } else { "cut-short" }, "{length}");
    }
    assert_eq!(bench.refused(config(), &[good.as_slice(), b"x"].concat()).await.code, "trailing-bytes");
    let mut changed = good.clone();
    changed[1_536 + 3] ^= 1;
    let fault = bench.refused(config(), &changed).await;
    assert!(fault.code == "damaged" && fault.message.contains("byte 1536"), "{fault}");
    for other in [&b"x".repeat(600), zip_of(&[("a", &b"y".repeat(600))], METHODS[0]).as_slice()] {
        assert_eq!(bench.refused(config(), other).await.code, "wrong-format");
    }
    // A long name that would take more memory than the archive is worth.
    let mut header = ::tar::Header::new_gnu();
    header.set_size(9 << 20);
    header.set_entry_type(EntryType::GNULongName);
    header.set_cksum();
    let archive = [header.as_bytes().as_slice(), &vec![b'n'; 9 << 20], &good].concat();
    assert!(bench.refused(config(), &archive).await.message.contains("headers"));
}

/// Children are made as they are asked for: an item without end gives its first ones.
#[tokio::test]
async fn an_item_of_any_size_is_read_as_it_is_needed() {
    let bench = Bench::new();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"[1,2,\n3").unwrap();
    file.set_len(1 << 40).unwrap();
    let file = Arc::new(file);
    for (format, first) in [("lines", &b"[1,2,\n"[..]), ("json", b"1")] {
        let done = bench.call(json!({ "as": format }), "a", Body::File(Arc::clone(&file))).await;
        let Outcome::Stream(mut children) = done.outcome else { panic!("{:?}", done.outcome) };
        assert_eq!(bytes(children.next().unwrap().unwrap().content), first);
    }
}

#[tokio::test]
async fn the_time_of_a_call_is_that_in_which_children_are_made() {
    let bench = Bench::new();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"1\n").unwrap();
    file.set_len(1 << 40).unwrap();
    let kind = Kind::new(bench.0.path().to_owned());
    let context = Context { timeout: Duration::from_millis(200), ..fixtures::context(bench.0.path()) };
    let doc = Bench::doc(json!({ "as": "lines", "max_size": "2 TiB" }));
    let Ok(Opened::Transform(split)) = kind.open(&Registry::default(), &doc, &context).await else { panic!() };
    let input = Input { item: fixtures::item("a", b""), body: Body::File(Arc::new(file)) };
    let Outcome::Stream(mut children) = split.process(vec![input]).await.unwrap().remove(0).outcome else { panic!() };
    assert!(children.next().unwrap().is_ok());
    // The second line has no end for a terabyte.
    let fault = children.next().unwrap().unwrap_err();
    assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::TimedOut, "timed-out"));
    assert!(children.next().is_none());
    drop(children);
    assert!(bench.is_empty());
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn elements_are_those_that_were_written(values in proptest::collection::vec(any_json(), 0..12), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_vec_pretty(&values) } else { serde_json::to_vec(&values) }.unwrap();
        let contents = wait(Bench::new().contents(json!({ "as": "json" }), &text));
        let read: Vec<Value> = contents.iter().map(|content| serde_json::from_slice(content).unwrap()).collect();
        assert_eq!(read, values);
    }

    /// Whatever comes: an answer, and the item's fault where it is one.
    #[test]
    fn no_bytes_do_harm(
        format in prop_oneof![Just("zip"), Just("tar"), Just("json"), Just("csv"), Just("lines")],
        at in 0usize..2_000, noise in proptest::collection::vec(any::<u8>(), 0..60), cut in 0usize..4_000,
    ) {
        let mut item = match format {
            "zip" => zip_of(&[("a.txt", &b"hello ".repeat(30)), ("b/c", b"1")], METHODS[1]),
            "tar" => tar_of(&[("a.txt", &b"hello ".repeat(30)), ("b/c", b"1")]),
            _ => b"[{\"a\":[1,2]},\n\"x, y\",3]\n\"1\",2\n".repeat(20),
        };
        let at = at % item.len();
        let end = item.len().min(at + noise.len());
        item[at..end].copy_from_slice(&noise[..end - at]);
        item.truncate(cut.max(1));
        if let Err(fault) = wait(Bench::new().split(json!({ "as": format, "max_total": "8 MiB" }), "a", &item)) {
            assert_eq!(fault.kind, FaultKind::Rejected, "{fault}");
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[\\[\\]{},\"\\\\a-zäß\n\u{1F600}]{0,9}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 30, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec(("[a-z\"]{0,4}", inner), 0..5)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}
