//! Processor `compress`: makes an archive, gzip or zstd, of each item. The other way round is `decompress`.

use std::io::{self, BufRead, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use flate2::{Compression, GzBuilder};
use opendmp_model::diagnostic::codes;
use opendmp_model::document::{ByteSize, ProcessorDoc};
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_model::item::Attributes;
use opendmp_model::kinds::{Class, Determinism, Facts, Files, KindInfo, Problem, Role, schema_of};
use opendmp_processor::{
    Body, Context, Done, Emission, Input, NewContent, Opened, Processor, ProcessorKind, Registry, config, saved_config,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::blocks::{Blocks, Spill, Stop, fault, in_time, one_by_one};
use crate::scratch::Scratch;

/// The config of a `compress`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The format: `gzip`, which everything reads, or `zstd`, which is faster and smaller.
    pub format: Format,
    /// How hard to try: 1 is fastest, and the highest gives the smallest results, 9 with `gzip`, 19 with `zstd`. By
    /// default 6 with `gzip`, 3 with `zstd`.
    #[serde(default)]
    #[schemars(range(min = 1, max = 19))]
    pub level: Option<u8>,
}

/// A format of archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// RFC 1952; `.gz`.
    Gzip,
    /// RFC 8878; `.zst`.
    Zstd,
}

impl Format {
    /// What names of archives end with, the dot included.
    fn suffix(self) -> &'static str {
        match self {
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Gzip => "application/gzip",
            Self::Zstd => "application/zstd",
        }
    }

    fn default_level(self) -> u8 {
        match self {
            Self::Gzip => 6,
            Self::Zstd => 3,
        }
    }

    /// The highest level. Beyond 19 zstd takes memory by the gigabyte, in whoever reads the archive too.
    fn highest_level(self) -> u8 {
        match self {
            Self::Gzip => 9,
            Self::Zstd => 19,
        }
    }
}

/// How many items a call takes: enough that small ones don't wait for threads, few enough to be held in memory.
pub(crate) const BATCH: usize = 32;

const DOCS: &str = "\
Compresses each item. `.gz` or `.zst` is added to its name, and its media type becomes `application/gzip` or \
`application/zstd`. Equal items give equal archives: neither times nor names are written into them. A zstd archive \
carries a checksum, as a gzip one always does.
";

/// The processor kind `compress`.
#[derive(Debug)]
pub struct Kind {
    scratch: Scratch,
}

impl Kind {
    /// Large results wait in files below `scratch`.
    pub fn new(scratch: impl Into<Scratch>) -> Self {
        Self { scratch: scratch.into() }
    }
}

#[async_trait]
impl ProcessorKind for Kind {
    fn info(&self) -> &KindInfo {
        static INFO: OnceLock<KindInfo> = OnceLock::new();
        INFO.get_or_init(|| KindInfo {
            name: "compress".to_owned(),
            class: Class::Processor,
            role: Role::Transform,
            summary: "Compresses each item with gzip or zstd.".to_owned(),
            docs: DOCS.to_owned(),
            schema: schema_of::<Config>(),
            examples: vec![
                "id: pack\ntype: compress\ninputs: [clean]\nformat: zstd\n".to_owned(),
                "id: pack\ntype: compress\ninputs: [clean]\nformat: gzip\nlevel: 9\n".to_owned(),
            ],
        })
    }

    fn prepare(&self, _: &Registry, doc: &ProcessorDoc, _files: &dyn Files) -> Result<Facts, Vec<Problem>> {
        let read: Config = config(&doc.config).map_err(|problem| vec![problem])?;
        let highest = read.format.highest_level();
        if let Some(level) = read.level.filter(|level| !(1..=highest).contains(level)) {
            let message = format!("there is no level {level} of this format");
            let hint = format!("levels are 1 to {highest}; by default it is {}", read.format.default_level());
            return Err(vec![Problem::new("/level", codes::INVALID_CONFIG, message).hint(hint)]);
        }
        Ok(Facts { determinism: Determinism::ByConstruction, ..Facts::default() })
    }

    async fn open(&self, _: &Registry, doc: &ProcessorDoc, context: &Context) -> Result<Opened, Fault> {
        let read: Config = saved_config(&doc.config)?;
        let level = read.level.unwrap_or(read.format.default_level());
        let (format, scratch, timeout) = (read.format, self.scratch.clone(), context.timeout);
        Ok(Opened::Transform(Arc::new(Compress { format, level, scratch, timeout })))
    }
}

/// An open compress.
struct Compress {
    format: Format,
    level: u8,
    scratch: Scratch,
    timeout: Duration,
}

#[async_trait]
impl Processor for Compress {
    fn batch(&self) -> usize {
        BATCH
    }

    async fn process(&self, inputs: Vec<Input>) -> Result<Vec<Done>, Fault> {
        Ok(one_by_one(inputs, |input| self.one(input)).await)
    }
}

impl Compress {
    async fn one(&self, input: Input) -> Result<Emission, Fault> {
        let (format, level, scratch, body) = (self.format, self.level, self.scratch.clone(), input.body);
        let content = in_time(self.timeout, move |stop| compress(format, level, body, scratch, stop)).await?;
        Ok(Emission {
            port: None,
            name: Some(format!("{}{}", input.item.name, format.suffix())),
            media_type: Some(format.media_type().to_owned()),
            attributes: Attributes::new(),
            content,
        })
    }
}

/// The archive of some bytes.
fn compress(format: Format, level: u8, body: Body, scratch: Scratch, stop: &Stop) -> Result<NewContent, Fault> {
    let mut blocks = Blocks::new(body, stop);
    let size = blocks.size()?;
    let spill = Spill::new(scratch, ByteSize::bytes(u64::MAX), stop);
    let packed = match format {
        Format::Gzip => gzip(level, &mut blocks, spill),
        Format::Zstd => zstd(level, size, &mut blocks, spill),
    };
    // Neither library refuses any bytes, so what is left are contexts that could not be made for want of memory.
    let other = |error: io::Error| Fault::new(FaultKind::Unavailable, "compressor", error.to_string());
    packed.map_err(|error| fault(error, other))?.finish()
}

fn gzip(level: u8, blocks: &mut Blocks, spill: Spill) -> io::Result<Spill> {
    // 255: made on no system in particular.
    let header = GzBuilder::new().mtime(0).operating_system(255);
    let mut encoder = header.write(spill, Compression::new(u32::from(level)));
    feed(blocks, &mut encoder)?;
    encoder.finish()
}

fn zstd(level: u8, size: u64, blocks: &mut Blocks, spill: Spill) -> io::Result<Spill> {
    let mut encoder = zstd::Encoder::new(spill, i32::from(level))?;
    encoder.include_checksum(true)?;
    // Told beforehand, the size goes into the header, and small items are spared tables for large ones.
    encoder.set_pledged_src_size(Some(size))?;
    feed(blocks, &mut encoder)?;
    encoder.finish()
}

fn feed(blocks: &mut Blocks, encoder: &mut impl Write) -> io::Result<()> {
    loop {
        let block = blocks.fill_buf()?;
        if block.is_empty() {
            return Ok(());
        }
        encoder.write_all(block)?;
        let count = block.len();
        blocks.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use opendmp_processor::Outcome;

    use super::*;
    use crate::fixtures;
    use bytes::Bytes;
    use opendmp_model::document::Common;
    use serde_json::{Value, json};
    use std::fs::File;
    use std::io::Read;

    fn doc(config: Value) -> ProcessorDoc {
        let Value::Object(map) = config else { unreachable!() };
        ProcessorDoc { id: "x".into(), kind: "compress".into(), common: Common::new("x", "compress"), config: map }
    }

    async fn process(config: Value, scratch: &std::path::Path, inputs: Vec<Input>) -> Vec<Emission> {
        let kind = Kind::new(scratch.to_owned());
        let doc = doc(config);
        kind.prepare(&Registry::default(), &doc, &std::collections::BTreeMap::new()).expect("a good config");
        let Ok(Opened::Transform(compress)) = kind.open(&Registry::default(), &doc, &fixtures::context(scratch)).await
        else {
            panic!("it opens")
        };
        let child = |done: Done| match done.outcome {
            Outcome::Emit { mut children, many: false } if children.len() == 1 => children.remove(0),
            other => panic!("{other:?}"),
        };
        compress.process(inputs).await.unwrap().into_iter().map(child).collect()
    }

    fn bytes(content: NewContent) -> Vec<u8> {
        match content {
            NewContent::Bytes(bytes) => bytes.to_vec(),
            NewContent::Stream(stream) => {
                let mut out = Vec::new();
                stream.open().unwrap().read_to_end(&mut out).unwrap();
                out
            }
            NewContent::Same => panic!("an archive is something new"),
        }
    }

    /// What another reader of the format than `decompress` makes of an archive.
    fn unpacked(format: &str, archive: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match format {
            "gzip" => flate2::read::GzDecoder::new(archive).read_to_end(&mut out).map(drop).unwrap(),
            _ => out = zstd::decode_all(archive).unwrap(),
        }
        out
    }

    #[test]
    fn levels_belong_to_a_format() {
        let prepare = |config| {
            let kind = Kind::new("");
            kind.prepare(&Registry::default(), &doc(config), &std::collections::BTreeMap::new())
        };
        for (format, level, good) in
            [("gzip", 9, true), ("gzip", 10, false), ("zstd", 19, true), ("zstd", 20, false), ("zstd", 0, false)]
        {
            let prepared = prepare(json!({ "format": format, "level": level }));
            assert_eq!(prepared.is_ok(), good, "{format} {level}");
            if let Err(problems) = prepared {
                assert_eq!((problems.len(), problems[0].pointer.as_str()), (1, "/level"));
                assert!(problems[0].hint.as_deref().unwrap().contains("1 to"));
            }
        }
        assert_eq!(prepare(json!({ "format": "lzw" })).unwrap_err()[0].code, "bad-config");
        assert_eq!(prepare(json!({})).unwrap_err()[0].code, "bad-config");
        assert_eq!(prepare(json!({ "format": "gzip" })).unwrap().determinism, Determinism::ByConstruction);
    }

    #[tokio::test]
    async fn names_and_media_types_follow() {
        let scratch = tempfile::tempdir().unwrap();
        for (format, suffix) in [("gzip", ".gz"), ("zstd", ".zst")] {
            let names = ["a.csv", "größe 日本\n", "x\\xe9", ".gz", "a.gz"];
            let input = |name: &&str| Input { item: fixtures::item(name, b"x"), body: Body::Bytes("x".into()) };
            let made = process(json!({ "format": format }), scratch.path(), names.iter().map(input).collect()).await;
            for (name, child) in names.iter().zip(made) {
                assert_eq!(child.name, Some(format!("{name}{suffix}")));
                assert_eq!(child.media_type, Some(format!("application/{format}")));
                assert!(child.port.is_none() && child.attributes.is_empty());
                assert_eq!(unpacked(format, &bytes(child.content)), b"x");
            }
        }
    }

    #[tokio::test]
    async fn an_empty_item_gives_an_archive_of_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        for format in ["gzip", "zstd"] {
            let input = Input { item: fixtures::item("a", b""), body: Body::Bytes(Bytes::new()) };
            let made = process(json!({ "format": format }), scratch.path(), vec![input]).await.remove(0);
            let archive = bytes(made.content);
            assert!(!archive.is_empty() && unpacked(format, &archive).is_empty());
        }
    }

    #[tokio::test]
    async fn equal_items_give_equal_archives_from_memory_and_from_files() {
        let scratch = tempfile::tempdir().unwrap();
        // Larger than a few blocks, and no multiple of one; half of it can be compressed.
        let mut content = vec![0; 700_001];
        let text = b"flipper length, body mass".iter().cycle();
        content.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
        blake3::Hasher::new().finalize_xof().fill(&mut content[..350_000]);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        let file = Arc::new(file);
        for config in
            [json!({ "format": "gzip" }), json!({ "format": "gzip", "level": 1 }), json!({ "format": "zstd" })]
        {
            let format = config["format"].as_str().unwrap().to_owned();
            let bodies = [
                Body::Bytes(Bytes::from(content.clone())),
                Body::File(Arc::clone(&file)),
                Body::File(Arc::clone(&file)),
            ];
            let input = |body| Input { item: fixtures::item("a", &content), body };
            let made = process(config, scratch.path(), bodies.map(input).into()).await;
            assert!(made.iter().all(|child| matches!(child.content, NewContent::Stream(_))), "it spills");
            let archives: Vec<Vec<u8>> = made.into_iter().map(|child| bytes(child.content)).collect();
            assert!(archives.iter().all(|archive| *archive == archives[0]));
            assert!(archives[0].len() < 400_000 && unpacked(&format, &archives[0]) == content);
        }
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing is left behind");
    }

    #[tokio::test]
    async fn headers_say_nothing_of_when_and_where() {
        let scratch = tempfile::tempdir().unwrap();
        let input = || vec![Input { item: fixtures::item("secret.txt", b"x"), body: Body::Bytes("x".into()) }];
        let gzip = bytes(process(json!({ "format": "gzip" }), scratch.path(), input()).await.remove(0).content);
        // RFC 1952: magic, deflate, no flags (so no name), time 0, some level, unknown system.
        assert_eq!(gzip[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
        assert_eq!(gzip[9], 255);
        let zstd = bytes(process(json!({ "format": "zstd" }), scratch.path(), input()).await.remove(0).content);
        // RFC 8878: the frame header descriptor has bit 2 for the checksum, bit 5 for a single segment of told size.
        assert_eq!(zstd[4] & 0b10_0100, 0b10_0100);
    }

    #[tokio::test]
    async fn time_and_patience_end() {
        let scratch = tempfile::tempdir().unwrap();
        let endless = Arc::new(File::open("/dev/zero").unwrap());
        let compress = Compress {
            format: Format::Gzip,
            level: 1,
            scratch: scratch.path().into(),
            timeout: Duration::from_millis(30),
        };
        let input = Input { item: fixtures::item("zero", b""), body: Body::File(Arc::clone(&endless)) };
        let done = compress.process(vec![input]).await.unwrap().remove(0);
        let Outcome::Fault(fault) = done.outcome else { panic!("{:?}", done.outcome) };
        assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::TimedOut, "timed-out"));
        let deadline = Instant::now() + Duration::from_secs(30);
        while Arc::strong_count(&endless) > 1 {
            assert!(Instant::now() < deadline, "the compressor goes on");
            tokio::task::yield_now().await;
        }
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
}
