//! How fast the store is on this disk: `cargo run --release -p opendmp-content --example bench [DIRECTORY]`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use opendmp_content::{DirectoryContent, Options};
use opendmp_ports::Result;
use opendmp_ports::content::conformance::{file_of, sample};
use opendmp_ports::content::{Body, Content};

fn report(what: &str, count: u64, bytes: u64, begun: Instant) {
    let seconds = begun.elapsed().as_secs_f64();
    let (rate, mb) = (count as f64 / seconds, bytes as f64 / seconds / 1e6);
    println!("{what:<58} {seconds:>7.3} s {rate:>9.0} /s {mb:>7.0} MB/s");
}

fn samples(count: u64, len: u64) -> Vec<Bytes> {
    (0..count).map(|n| sample(n, len)).collect()
}

#[tokio::main]
async fn main() -> Result<()> {
    let parent = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let root = parent.join(format!("opendmp-bench-{}", std::process::id()));
    let content = DirectoryContent::open(&root, Options::default())?;

    let many = samples(2_000, 10 << 10);
    let begun = Instant::now();
    for (n, bytes) in many.into_iter().enumerate() {
        content.put(bytes).await?;
        if n % 256 == 255 {
            content.sync().await?;
        }
    }
    content.sync().await?;
    report("put, 10 KiB, a sync every 256", 2_000, 2_000 * (10 << 10), begun);

    let many = samples(200_000, 1 << 10);
    let begun = Instant::now();
    let mut put = Vec::new();
    for bundle in many.chunks(1_000) {
        put.extend(content.put_many(bundle.to_vec()).await?);
    }
    content.sync().await?;
    report("put_many of 1,000, 1 KiB, one sync", 200_000, 200_000 << 10, begun);

    let begun = Instant::now();
    for bundle in many.chunks(1_000) {
        put.extend(content.put_many(bundle.to_vec()).await?);
        content.sync().await?;
    }
    report("put_many of 1,000, 1 KiB, a sync each", 200_000, 200_000 << 10, begun);

    let begun = Instant::now();
    let all = content.put_many(many.clone()).await?;
    content.sync().await?;
    report("put_many of 200,000, 1 KiB, one sync", 200_000, 200_000 << 10, begun);

    let begun = Instant::now();
    for reference in all.iter().rev().take(20_000) {
        content.open(reference).await?;
    }
    report("open, 1 KiB, just put", 20_000, 20_000 << 10, begun);
    let begun = Instant::now();
    for reference in put.iter().take(20_000) {
        content.open(reference).await?;
    }
    report("open, 1 KiB, from a pack", 20_000, 20_000 << 10, begun);

    let begun = Instant::now();
    let tasks: Vec<_> = (0..16u64)
        .map(|task| {
            let content = content.clone();
            tokio::spawn(async move {
                for n in 0..200 {
                    content.put(sample(task * 1_000 + n, 1_000)).await?;
                    content.sync().await?;
                }
                Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap_or(Ok(()))?;
    }
    report("16 tasks, each put of 1 KB with its own sync", 3_200, 3_200_000, begun);

    for (count, len) in [(400, 300 << 10), (50, 4 << 20), (2, 300 << 20)] {
        let files: Vec<_> = (0..count).map(|n| Arc::new(file_of(&sample(n, len)))).collect();
        let begun = Instant::now();
        for file in files {
            let reference = content.put_file(file).await?;
            debug_assert!(matches!(content.open(&reference).await?, Body::File(_)));
        }
        content.sync().await?;
        report(&format!("put_file, {} KiB, one sync", len >> 10), count, count * len, begun);
    }

    drop(content);
    let begun = Instant::now();
    let content = DirectoryContent::open(&root, Options::default())?;
    report("open of the store", 1, 0, begun);
    drop(content);
    if let Err(error) = std::fs::remove_dir_all(&root) {
        eprintln!("{}: {error}", root.display());
    }
    Ok(())
}
