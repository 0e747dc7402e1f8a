//! What is left of a store whose process was killed, or whose last writes did not all reach the disk.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use opendmp_content::{DirectoryContent, Options};
use opendmp_model::codec::{Reader, Writer};
use opendmp_model::item::{ContentRef, Place};
use opendmp_ports::content::conformance::sample;
use opendmp_ports::content::{Content, SMALL, read_all};
use opendmp_ports::{Error, ErrorKind};

fn open(root: &Path) -> DirectoryContent {
    DirectoryContent::open(root, Options { pack_bytes: 1 << 20, ..Options::default() }).unwrap()
}

async fn read(content: &DirectoryContent, reference: &ContentRef) -> Result<Bytes, Error> {
    content.open(reference).await.map(|body| read_all(&body).unwrap().into())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The last pack is cut at each of many points, as if the rest had not reached the disk.
#[tokio::test]
async fn what_lies_before_a_cut_is_read() {
    const RECORD_HEADER: u64 = 48;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("content");
    let content = open(&root);
    let mut put = Vec::new();
    for seed in 0..40 {
        let bytes = sample(seed, seed * 61);
        put.push((content.put(bytes.clone()).await.unwrap(), bytes));
        if seed % 7 == 0 {
            content.sync().await.unwrap();
        }
    }
    content.sync().await.unwrap();
    drop(content);
    let pack = Path::new("packs").join("00000001.pack");
    let length = fs::metadata(root.join(&pack)).unwrap().len();
    let cuts = (0..length).step_by(997).chain(length - 60..=length);
    for (nth, cut) in cuts.enumerate() {
        let crashed = dir.path().join(format!("crashed-{nth}"));
        copy(&root, &crashed);
        OpenOptions::new().write(true).open(crashed.join(&pack)).unwrap().set_len(cut).unwrap();
        let content = open(&crashed);
        let again = content.put(sample(99, 500)).await.unwrap();
        content.sync().await.unwrap();
        for (reference, bytes) in put.iter().skip(1) {
            let Place::Pack { offset, .. } = reference.place else { unreachable!("it is small") };
            let whole = offset + RECORD_HEADER + reference.size <= cut;
            match read(&content, reference).await {
                Ok(found) => assert!(whole && found == *bytes, "cut at {cut}, record at {offset}"),
                Err(error) => {
                    assert!(!whole, "cut at {cut}, record at {offset}: {error}");
                    assert!(matches!(error.kind, ErrorKind::NotFound | ErrorKind::Damaged), "{error}");
                }
            }
        }
        assert_eq!(read(&content, &again).await.unwrap(), sample(99, 500));
        // Nothing is written to what an earlier process left.
        let left = fs::metadata(crashed.join(&pack)).map_or(0, |found| found.len());
        assert!(left == cut || left == 0, "{left} bytes after a cut at {cut}");
        drop(content);
        fs::remove_dir_all(&crashed).unwrap();
    }
}

const ROOT: &str = "OPENDMP_TEST_ROOT";
const ROUND: &str = "OPENDMP_TEST_ROUND";

fn to_hex(reference: &ContentRef) -> String {
    let mut writer = Writer::default();
    writer.content(reference);
    writer.out.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(hex: &str) -> Option<ContentRef> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    let bytes: Option<Vec<u8>> = pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect();
    Reader::new(&bytes?).content().ok()
}

fn nth(round: u64, n: u64) -> Bytes {
    sample(round * 1_000_000 + n, if n % 23 == 5 { SMALL + n } else { n * 37 % 9_000 })
}

/// Not a test of its own: puts, syncs, and says what is durable, until it is killed.
#[test]
#[ignore = "started by `a_killed_process_loses_nothing_it_had_synced`"]
fn puts_until_killed() {
    let (Ok(root), Ok(round)) = (std::env::var(ROOT), std::env::var(ROUND)) else { return };
    let round = round.parse().unwrap();
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        let content = open(Path::new(&root));
        for batch in 0.. {
            let mut lines = String::new();
            for n in batch * 10..batch * 10 + 10 {
                let reference = content.put(nth(round, n)).await.unwrap();
                lines += &format!("durable {n} {}\n", to_hex(&reference));
            }
            content.sync().await.unwrap();
            print!("{lines}");
        }
    });
}

#[tokio::test]
async fn a_killed_process_loses_nothing_it_had_synced() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("content");
    let (mut durable, mut durable_lines) = (Vec::new(), 0);
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "puts_until_killed", "--ignored", "--nocapture"])
            .env(ROOT, &root)
            .env(ROUND, round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut take = |line: &str| {
            let mut words = line.split(' ').skip_while(|word| *word != "durable").skip(1);
            let (n, hex) = (words.next()?.parse().ok()?, words.next()?);
            durable.push((from_hex(hex)?, nth(round, n)));
            Some(())
        };
        let mut left = round * 41 + 1;
        while left > 0 {
            let line = lines.next().expect("the child does not end by itself").unwrap();
            if take(&line).is_some() {
                left -= 1;
                durable_lines += 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had still said before it was killed; the last line may be torn.
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        let whole = rest.len().saturating_sub(1);
        durable_lines += rest.iter().take(whole).filter_map(|line| take(line)).count();
        let content = open(&root);
        for (reference, bytes) in &durable {
            assert!(read(&content, reference).await.unwrap() == *bytes, "{reference:?} after round {round}");
        }
    }
    assert!(durable_lines > 1_000 && durable.len() == durable_lines);
}
