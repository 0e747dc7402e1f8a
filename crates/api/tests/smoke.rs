//! A flow through the engine over the real journal and content, without the command line.
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opendmp_engine::control::FlowText;
use opendmp_engine::live::{Live, Scope};
use opendmp_engine::{Engine, Options};
use opendmp_ports::Journal;
use opendmp_ports::journal::{Filter, RunState};

async fn engine(data: &Path) -> Engine {
    let journal = opendmp_journal::SqliteJournal::open(data, Default::default()).unwrap();
    let content = opendmp_content::DirectoryContent::open(&data.join("content"), Default::default()).unwrap();
    let pools = Arc::new(opendmp_script::Pools::new(opendmp_script::Options::new(data.join("scratch"))).unwrap());
    let registry = opendmp_processors::register(opendmp_processors::Host {
        pools,
        tools: opendmp_script::environment::Tools::find(None),
        environments: data.join("environments"),
        scratch: data.join("external"),
    });
    let lease = journal.open_lease("w", true, 0).await.unwrap().lease;
    Engine::new(
        Arc::new(journal),
        Arc::new(content),
        Arc::new(opendmp_ports::transport::InProcess::default()),
        Arc::new(opendmp_ports::clock::SystemClock),
        Arc::new(registry),
        Options::default(),
        lease,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn smoke() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::create_dir(root.path().join("inbox")).unwrap();
    let count: usize = std::env::var("N").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    for n in 0..count {
        std::fs::write(root.path().join(format!("inbox/f{n}.txt")), format!("hello {n}\n").repeat(1000)).unwrap();
    }
    let engine = Arc::new(engine(&data).await);
    let text = "name: Up\nprocessors:\n- {id: inbox, type: ingest, source: {type: file_drop, path: ./inbox, settle: 0s, after: delete}}\n- id: up\n  type: script\n  inputs: [inbox]\n  code: |\n    def process(data: bytes) -> bytes:\n        return data.upper()\n- {id: shelf, type: collect, inputs: [up], collection: C, destination: {type: folder, path: ./outbox}}\n";
    let base = root.path().to_str().unwrap().to_owned();
    let tell: opendmp_processor::Progress = Arc::new(|line: &str| println!("{line}"));
    let saved = engine
        .save(FlowText { text: text.into(), files: Default::default(), base: base.clone() }, "me", &tell)
        .await
        .unwrap();
    let (run, loaded) = engine.begin_run(&saved, &base, "test", "me").await.unwrap();
    let began = Instant::now();
    let live = Live::start(Arc::clone(&engine), Scope::Run(run), None);
    engine.feed(run, &loaded, &[], &|event| println!("{event:?}")).await.unwrap();
    println!("fed after {:?}", began.elapsed());
    let (row, timed_out) = engine.follow(run, Some(Instant::now() + Duration::from_secs(60)), &|_| {}).await.unwrap();
    println!("{:?} {row:#?}", began.elapsed());
    assert!(!timed_out && row.state == RunState::Done && row.revisions == count as u64 && row.dead == 0);
    let page = engine.journal.datasets(Filter { limit: 3, ..Filter::default() }).await.unwrap();
    let (_, way) = engine.explain(page.rows[0].slot, None).await.unwrap();
    println!("{way:#?}");
    assert_eq!(std::fs::read_dir(root.path().join("outbox")).unwrap().count(), count);
    assert_eq!(std::fs::read_dir(root.path().join("inbox")).unwrap().count(), 0);
    live.stop(Duration::from_secs(5)).await;
}
