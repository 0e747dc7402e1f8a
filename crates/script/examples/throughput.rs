//! How many items of 1 KiB a second go through chained scripts that return what they are given.
//!
//! `cargo run --release -p opendmp-script --example throughput [STAGES] [SECONDS]`

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use opendmp_script::environment::Environment;
use opendmp_script::{
    CallContent, CallItem, CallResult, ChildContent, Language, Options, Outcome, PoolKey, Pools, ScriptSpec,
};
use tokio::sync::mpsc::{Receiver, channel};

const BATCH: usize = 1000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let stages: usize = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let seconds: u64 = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let scratch = tempfile::tempdir()?;
    let pools = Pools::new(Options::new(scratch.path()))?;
    let environment = Environment::system(None).await?;
    let key = PoolKey::new("bench", &environment);

    let (source, mut end) = channel::<Vec<CallItem>>(2);
    let mut tasks = Vec::new();
    for stage in 0..stages {
        let spec = Arc::new(ScriptSpec {
            rules: opendmp_sandbox::Rules::default(),
            language: Language::Python,
            code: format!("def process(data: bytes) -> bytes:\n    return data\n# stage {stage}\n"),
            file_name: "same.py".into(),
            outputs: Vec::new(),
            environment: environment.clone(),
            timeout: Duration::from_secs(10),
            memory_limit: 1 << 30,
            parameters: serde_json::Value::Null,
        });
        pools.warm(&key, &spec).await?;
        let (next, behind) = channel(2);
        let before = std::mem::replace(&mut end, behind);
        tasks.push(tokio::spawn(run(pools.clone(), key.clone(), spec, before, next)));
    }

    let began = Instant::now();
    let until = began + Duration::from_secs(seconds);
    let feed = tokio::spawn(async move {
        let content = Bytes::from(vec![b'x'; 1024]);
        while Instant::now() < until {
            let batch = (0..BATCH).map(|_| item(content.clone())).collect();
            if source.send(batch).await.is_err() {
                return;
            }
        }
    });
    let mut items = 0;
    while let Some(batch) = end.recv().await {
        items += batch.len();
    }
    let took = began.elapsed().as_secs_f64();
    println!("{stages} stages: {items} items in {took:.2} s: {:.0} items/s", items as f64 / took);
    feed.await?;
    pools.shutdown().await;
    Ok(())
}

fn item(content: Bytes) -> CallItem {
    CallItem {
        name: "item.txt".into(),
        media_type: Some("text/plain".into()),
        attributes: None,
        hash: [0; 32],
        size: content.len() as u64,
        content: CallContent::Bytes(content),
    }
}

async fn run(
    pools: Pools,
    key: PoolKey,
    spec: Arc<ScriptSpec>,
    mut before: Receiver<Vec<CallItem>>,
    next: tokio::sync::mpsc::Sender<Vec<CallItem>>,
) {
    while let Some(batch) = before.recv().await {
        let results = match pools.call(&key, &spec, batch).await {
            Ok(results) => results,
            Err(error) => return eprintln!("{error}"),
        };
        let batch = results.into_iter().filter_map(content).map(item).collect();
        if next.send(batch).await.is_err() {
            return;
        }
    }
}

fn content(result: CallResult) -> Option<Bytes> {
    match result.outcome {
        Outcome::Emit { mut children, .. } => match children.pop()?.content {
            ChildContent::Bytes(bytes) => Some(bytes),
            _ => None,
        },
        _ => None,
    }
}
