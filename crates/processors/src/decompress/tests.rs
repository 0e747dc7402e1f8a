//! Archives whole, joined, cut, changed, and with more in them than is meant.

use super::*;
use crate::fixtures;
use bytes::Bytes;
use opendmp_model::document::Common;
use opendmp_model::fault::FaultKind;
use opendmp_processor::{Body, NewContent, Outcome};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::time::Instant;
use tempfile::TempDir;

fn doc(kind: &str, config: Value) -> ProcessorDoc {
    let Value::Object(map) = config else { unreachable!() };
    ProcessorDoc { id: "x".into(), kind: kind.into(), common: Common::new("x", kind), config: map }
}

struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn call(&self, kind: &dyn ProcessorKind, config: Value, name: &str, body: Body) -> Result<Emission, Fault> {
        let doc = doc(&kind.info().name, config);
        kind.prepare(&Registry::default(), &doc, &std::collections::BTreeMap::new()).expect("a good config");
        let context = fixtures::context(self.0.path());
        let Ok(Opened::Transform(open)) = kind.open(&Registry::default(), &doc, &context).await else {
            panic!("it opens")
        };
        let input = Input { item: fixtures::item(name, b""), body };
        match open.process(vec![input]).await.unwrap().remove(0).outcome {
            Outcome::Emit { mut children, many: false } if children.len() == 1 => Ok(children.remove(0)),
            Outcome::Fault(fault) => Err(fault),
            other => panic!("{other:?}"),
        }
    }

    async fn unpack(&self, config: Value, archive: &[u8]) -> Result<Vec<u8>, Fault> {
        let kind = Kind::new(self.0.path().to_owned());
        let body = Body::Bytes(Bytes::copy_from_slice(archive));
        self.call(&kind, config, "a", body).await.map(|child| bytes(child.content))
    }

    async fn pack(&self, config: Value, body: Body) -> Vec<u8> {
        let kind = crate::compress::Kind::new(self.0.path().to_owned());
        bytes(self.call(&kind, config, "a", body).await.unwrap().content)
    }

    /// The code of the fault that an archive is refused with.
    async fn refused(&self, config: Value, archive: &[u8]) -> String {
        let fault = self.unpack(config, archive).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Rejected, "{fault}");
        assert!(fault.hint.is_some(), "{fault}");
        assert!(crate::explanations().iter().any(|info| info.code == fault.code), "{fault} is not explained");
        fault.code
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
        NewContent::Same => panic!("what was packed is something else"),
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A zstd frame that is to be skipped, with so many bytes in it.
fn skipped(size: u32) -> Vec<u8> {
    [&[0x5a, 0x2a, 0x4d, 0x18][..], &size.to_le_bytes(), &vec![7; size as usize]].concat()
}

#[test]
fn a_limit_of_nothing_is_refused() {
    let prepare = |config| {
        let kind = Kind::new("");
        kind.prepare(&Registry::default(), &doc("decompress", config), &std::collections::BTreeMap::new())
    };
    assert_eq!(prepare(json!({ "max_size": "0 B" })).unwrap_err()[0].pointer, "/max_size");
    assert_eq!(prepare(json!({ "format": "zip" })).unwrap_err()[0].code, "bad-config");
    assert_eq!(prepare(json!({})).unwrap().determinism, Determinism::ByConstruction);
}

#[tokio::test]
async fn formats_are_told_by_the_first_bytes() {
    let bench = Bench::new();
    for (archive, own, other) in [(gzip(b"hello"), "gzip", "zstd"), (zstd(b"hello"), "zstd", "gzip")] {
        for config in [json!({}), json!({ "format": "auto" }), json!({ "format": own })] {
            assert_eq!(bench.unpack(config, &archive).await.unwrap(), b"hello");
        }
        let fault = bench.unpack(json!({ "format": other }), &archive).await.unwrap_err();
        assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::Rejected, "wrong-format"));
        assert!(fault.hint.unwrap().contains(own));
    }
    for other in ["P", "PK\u{3}\u{4}", "BZh91AY", "{\"a\": 1}", "\u{1f}"] {
        let cut = other == "\u{1f}";
        assert_eq!(bench.refused(json!({}), other.as_bytes()).await, if cut { "cut-short" } else { "not-compressed" });
        let code = bench.refused(json!({ "format": "zstd" }), other.as_bytes()).await;
        assert_eq!(code, "wrong-format");
    }
    for format in ["auto", "gzip", "zstd"] {
        assert_eq!(bench.refused(json!({ "format": format }), b"").await, "empty-archive");
    }
}

#[test]
fn names_lose_what_said_that_they_were_packed() {
    for (name, left) in [
        ("a.csv.gz", Some("a.csv")),
        ("a.csv.zst", Some("a.csv")),
        ("a.tgz", Some("a.tar")),
        ("a.tzst", Some("a.tar")),
        ("A.GZ", Some("A")),
        ("A.TGZ", Some("A.tar")),
        ("a.gz.zst", Some("a.gz")),
        ("größe 日本\n.gz", Some("größe 日本\n")),
        ("x\\xe9.gz", Some("x\\xe9")),
        ("日本", None),
        ("gz", None),
        (".gz", None),
        ("..gz", None),
        ("...gz", None),
        ("a.gzip", None),
        ("", None),
    ] {
        assert_eq!(without_suffix(name).as_deref(), left, "{name}");
    }
}

#[tokio::test]
async fn media_types_are_those_of_the_new_names() {
    let bench = Bench::new();
    let kind = Kind::new(bench.0.path().to_owned());
    for (name, renamed, media_type) in [
        ("a.csv.gz", Some("a.csv"), "text/csv"),
        ("a.json", None, "application/json"),
        ("a.tgz", Some("a.tar"), "application/x-tar"),
        ("a.gz", Some("a"), "application/octet-stream"),
        (".gz", None, "application/octet-stream"),
    ] {
        let child = bench.call(&kind, json!({}), name, Body::Bytes(gzip(b"x").into())).await.unwrap();
        assert_eq!((child.name.as_deref(), child.media_type.as_deref()), (renamed, Some(media_type)));
    }
}

#[tokio::test]
async fn joined_archives_are_read_to_the_end() {
    let bench = Bench::new();
    let joined = [gzip(b"one "), gzip(b""), gzip(b"two")].concat();
    assert_eq!(bench.unpack(json!({}), &joined).await.unwrap(), b"one two");
    let joined = [skipped(300), zstd(b"one "), skipped(0), zstd(b""), zstd(b"two"), skipped(9)].concat();
    assert_eq!(bench.unpack(json!({}), &joined).await.unwrap(), b"one two");
    for archive in [gzip(b""), zstd(b""), skipped(3)] {
        assert!(bench.unpack(json!({}), &archive).await.unwrap().is_empty());
    }
}

/// As `gzip` itself does: zeros behind an archive are no part of it, wherever blocks end.
#[tokio::test]
async fn gzip_may_be_filled_up_with_zeros() {
    let bench = Bench::new();
    let block = crate::blocks::BLOCK;
    let archive = gzip(b"a,b\n1,2\n");
    for zeros in [1, 2, 512, block - archive.len(), block, 3 * block + 1] {
        let padded = [archive.as_slice(), &vec![0; zeros]].concat();
        assert_eq!(bench.unpack(json!({}), &padded).await.unwrap(), b"a,b\n1,2\n", "{zeros}");
        // And more archives may follow.
        let joined = [padded.as_slice(), &gzip(b"more"), &[0]].concat();
        assert_eq!(bench.unpack(json!({ "format": "gzip" }), &joined).await.unwrap(), b"a,b\n1,2\nmore", "{zeros}");
        assert_eq!(bench.refused(json!({}), &[padded.as_slice(), b"x"].concat()).await, "trailing-bytes");
    }
    // Zeros before an archive are none.
    assert_eq!(bench.refused(json!({}), &[&[0], archive.as_slice()].concat()).await, "not-compressed");
    assert_eq!(bench.refused(json!({}), &[zstd(b"a").as_slice(), &[0; 8]].concat()).await, "trailing-bytes");
}

/// Without a checksum nothing follows the last block, so all input is read while much of the output is still to come.
#[tokio::test]
async fn frames_without_a_checksum_come_out_whole() {
    let bench = Bench::new();
    let block = crate::blocks::BLOCK;
    for size in [1, block - 1, block, block + 1, 2 * block, 2 * block + 70_000, 5 * block + 1] {
        for level in [1, 3, 19] {
            let mut content = vec![0; size];
            content.iter_mut().step_by(4_096).enumerate().for_each(|(n, byte)| *byte = n as u8);
            let archive = zstd::encode_all(content.as_slice(), level).unwrap();
            assert!(bench.unpack(json!({}), &archive).await.unwrap() == content, "{size} at {level}");
            let joined = [archive.as_slice(), &archive].concat();
            assert!(bench.unpack(json!({}), &joined).await.unwrap() == content.repeat(2), "{size} at {level}");
        }
    }
}

/// Archives whose parts begin and end anywhere around the edge of a block.
#[tokio::test]
async fn members_and_frames_may_meet_the_edge_of_a_block() {
    let bench = Bench::new();
    let mut noise = vec![0; crate::blocks::BLOCK];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    for (pack, second) in [(gzip as fn(&[u8]) -> Vec<u8>, gzip(b"two")), (zstd, zstd(b"two"))] {
        let over = pack(&noise).len() - noise.len();
        let room = crate::blocks::BLOCK - over;
        for size in (room - 25..=room + 3).filter(|size| *size <= noise.len()) {
            let first = pack(&noise[..size]);
            let joined = [first.as_slice(), &second].concat();
            let expected = [&noise[..size], b"two"].concat();
            assert!(bench.unpack(json!({}), &joined).await.unwrap() == expected, "{size}");
            for trailing in [&b"?"[..], b"? and more than a few bytes"] {
                let joined = [first.as_slice(), trailing].concat();
                assert_eq!(bench.refused(json!({}), &joined).await, "trailing-bytes", "{size}");
            }
        }
    }
}

#[tokio::test]
async fn what_follows_the_end_is_refused() {
    let bench = Bench::new();
    for archive in [gzip(b"hello"), zstd(b"hello")] {
        for trailing in [&b"\0x"[..], b"x", b"\0\0\0\0\0\0\0\0!", b"garbage that is long enough"] {
            let code = bench.refused(json!({}), &[archive.as_slice(), trailing].concat()).await;
            assert_eq!(code, "trailing-bytes", "{trailing:?}");
        }
    }
    let mixed = [gzip(b"hello"), zstd(b"hello")].concat();
    assert_eq!(bench.refused(json!({}), &mixed).await, "trailing-bytes");
}

#[tokio::test]
async fn an_archive_that_is_cut_anywhere_is_refused() {
    let bench = Bench::new();
    let text = "bill length, flipper length\n".repeat(9);
    let named = flate2::GzBuilder::new().filename("a.csv").comment("c").extra(vec![1, 2, 3]);
    let mut named = named.write(Vec::new(), flate2::Compression::best());
    named.write_all(text.as_bytes()).unwrap();
    for archive in [gzip(text.as_bytes()), named.finish().unwrap(), zstd(text.as_bytes()), skipped(20)] {
        for length in 1..archive.len() {
            let code = bench.refused(json!({}), &archive[..length]).await;
            // Of less than its first four bytes can't be told that a frame was to be skipped.
            let expected = if archive[0] == 0x5a && length < 4 { "not-compressed" } else { "cut-short" };
            assert_eq!(code, expected, "{length} of {}", archive.len());
        }
        // The same behind a whole one.
        let whole = if archive[0] == 0x1f { gzip(b"a") } else { zstd(b"a") };
        for length in 1..archive.len() {
            let code = bench.refused(json!({}), &[whole.as_slice(), &archive[..length]].concat()).await;
            assert!(code == "cut-short" || length < 4 && code == "trailing-bytes", "{code} at {length}");
        }
    }
}

#[tokio::test]
async fn a_changed_byte_is_never_passed_on_as_if_it_were_none() {
    let bench = Bench::new();
    let text = b"flipper length, body mass\n".repeat(5);
    for archive in [gzip(&text), zstd(&text)] {
        let mut refused = 0;
        for at in 0..archive.len() {
            let mut changed = archive.clone();
            changed[at] ^= 0b0001_0000;
            match bench.unpack(json!({}), &changed).await {
                // Only in a header are there bytes that say nothing of the content: a time, a level, a system.
                Ok(unpacked) => assert!(unpacked == text && (4..10).contains(&at), "byte {at}"),
                Err(fault) => {
                    assert_eq!(fault.kind, FaultKind::Rejected, "{fault}");
                    refused += 1;
                }
            }
        }
        assert!(refused >= archive.len() - 6);
        let mut changed = archive.clone();
        changed[archive.len() - 3] ^= 1;
        assert_eq!(bench.refused(json!({}), &changed).await, "damaged");
    }
}

#[tokio::test]
async fn an_item_that_holds_too_much_is_at_fault() {
    let bench = Bench::new();
    let zeros = vec![0; 3 << 20];
    for format in ["gzip", "zstd"] {
        let bomb = bench.pack(json!({ "format": format }), Body::Bytes(zeros.clone().into())).await;
        assert!(bomb.len() < 10_000);
        assert_eq!(bench.refused(json!({ "max_size": "3145727 B" }), &bomb).await, "holds-too-much");
        assert_eq!(bench.refused(json!({ "max_size": "1 B" }), &bomb).await, "holds-too-much");
        assert!(bench.unpack(json!({ "max_size": "3 MiB" }), &bomb).await.unwrap() == zeros);
        // Many small ones, joined, are as large as a large one.
        let joined =
            bench.pack(json!({ "format": format }), Body::Bytes(Bytes::from_static(&[0; 1_000]))).await.repeat(9);
        assert_eq!(bench.refused(json!({ "max_size": "8999 B" }), &joined).await, "holds-too-much");
    }
    assert_eq!(std::fs::read_dir(bench.0.path()).unwrap().count(), 0, "nothing is left behind");
}

#[tokio::test]
async fn a_window_that_would_take_too_much_memory_is_refused() {
    let bench = Bench::new();
    // A frame header by RFC 8878: no single segment, no size told, a window of 2^28 (exponent 18 above 2^10).
    let wide = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 18 << 3][..], &[0x01, 0x00, 0x00]].concat();
    assert_eq!(bench.refused(json!({}), &wide).await, "window-too-large");
    // One of 2^27 is read: an empty last block.
    let allowed = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3][..], &[0x01, 0x00, 0x00]].concat();
    assert!(bench.unpack(json!({}), &allowed).await.unwrap().is_empty());
}

#[tokio::test]
async fn large_archives_stream_from_files() {
    let bench = Bench::new();
    let mut content = vec![0; (3 << 20) + 7];
    blake3::Hasher::new().finalize_xof().fill(&mut content[..1 << 20]);
    for archive in [gzip(&content), zstd(&content)] {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&archive).unwrap();
        let kind = Kind::new(bench.0.path().to_owned());
        let child = bench.call(&kind, json!({}), "a.gz", Body::File(Arc::new(file))).await.unwrap();
        assert!(matches!(child.content, NewContent::Stream(_)) && bytes(child.content) == content);
    }
    assert_eq!(std::fs::read_dir(bench.0.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_call_ends_with_its_time() {
    let scratch = tempfile::tempdir().unwrap();
    // Four GiB of a frame to be skipped, and another: a file of holes, that takes a while to read.
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff]).unwrap();
    file.set_len(1 << 36).unwrap();
    let file = Arc::new(file);
    let read = Config { format: Format::Auto, max_size: default_max_size() };
    let open = Decompress { read, scratch: scratch.path().into(), timeout: Duration::from_millis(20) };
    let body = Body::File(Arc::clone(&file));
    let done = open.process(vec![Input { item: fixtures::item("a", b""), body }]).await.unwrap().remove(0);
    let Outcome::Fault(fault) = done.outcome else { panic!("{:?}", done.outcome) };
    assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::TimedOut, "timed-out"));
    let deadline = Instant::now() + Duration::from_secs(30);
    while Arc::strong_count(&file) > 1 {
        assert!(Instant::now() < deadline, "the decompressor goes on");
        tokio::task::yield_now().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_packed_comes_out_again(
        seed in proptest::collection::vec(any::<u8>(), 0..3_000),
        times in 1usize..300,
        gzip in any::<bool>(),
        level in proptest::option::of(1u8..=9),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new();
            let content = Bytes::from(seed.repeat(times));
            let config = json!({ "format": if gzip { "gzip" } else { "zstd" }, "level": level });
            let packed = bench.pack(config, Body::Bytes(content.clone())).await;
            assert!(bench.unpack(json!({}), &packed).await.unwrap() == content);
        });
    }

    /// Whatever comes: an answer, and the item's fault where it is one.
    #[test]
    fn no_bytes_do_harm(
        magic in prop_oneof![Just(&[0x1f, 0x8b, 8][..]), Just(&[0x28, 0xb5, 0x2f, 0xfd][..]), Just(&[][..])],
        rest in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let archive = [magic, &rest].concat();
            if let Err(fault) = Bench::new().unpack(json!({ "max_size": "1 MiB" }), &archive).await {
                assert_eq!(fault.kind, FaultKind::Rejected, "{fault}");
            }
        });
    }
}
