//! Law L7: memory does not grow with the size of content, nor with its number. One test, since it measures the process.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use opendmp_content::{DirectoryContent, Options};
use opendmp_ports::content::conformance::sample;
use opendmp_ports::content::{Body, Content};

const MIB: u64 = 1 << 20;

/// The most memory this process ever had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn memory_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let content = DirectoryContent::open(&dir.path().join("content"), Options::default()).unwrap();
    let source = File::options().read(true).write(true).create_new(true).open(dir.path().join("large")).unwrap();
    let piece = sample(1, MIB);
    for at in 0..300 {
        source.write_all_at(&piece, at * MIB).unwrap();
    }
    let before = peak();
    let reference = content.put_file(Arc::new(source)).await.unwrap();
    assert_eq!(reference.size, 300 * MIB);
    content.sync().await.unwrap();
    content.check(&reference).await.unwrap();
    assert!(matches!(content.open(&reference).await, Ok(Body::File(_))));
    let grown = peak() - before;
    assert!(grown < 16 * MIB, "{} MiB for a file of 300 MiB", grown / MIB);

    // Small content without any sync by the caller: what waits is bounded, and what is remembered.
    let before = peak();
    for n in 0..40 {
        content.put_many((0..100).map(|m| sample(n * 100 + m, 100_000)).collect()).await.unwrap();
    }
    let grown = peak() - before;
    assert!(grown < 180 * MIB, "{} MiB for 400 MB of small content", grown / MIB);
}
