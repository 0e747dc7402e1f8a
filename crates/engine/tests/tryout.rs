//! Try-outs with the kinds as they are and a real Python, over ports in memory: what is told, what is kept, and that
//! nothing else changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use opendmp_engine::control::{FlowText, Refusal};
use opendmp_engine::tryout::{Sample, Tried, TryOutcome, TryRequest};
use opendmp_engine::uploads::{UploadLimits, Uploads};
use opendmp_engine::{Engine, Options};
use opendmp_model::fault::FaultKind;
use opendmp_model::item::Attributes;
use opendmp_ports::Clock;
use opendmp_ports::clock::SystemClock;
use opendmp_ports::content::MemoryContent;
use opendmp_ports::journal::{Filter, Lease, MemoryJournal};
use opendmp_ports::transport::InProcess;
use opendmp_processor::PathPolicy;
use opendmp_processors::{Host, register};
use opendmp_script::environment::Tools;
use opendmp_script::{Options as PoolOptions, Pools};

struct Bench {
    folder: tempfile::TempDir,
    pools: Arc<Pools>,
    engine: Arc<Engine>,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let pools = Arc::new(Pools::new(PoolOptions::new(at("scratch/scripts"))).unwrap());
        let host = Host {
            pools: Arc::clone(&pools),
            tools: Tools::find(None),
            site: Arc::default(),
            environments: at("environments"),
            scratch: at("scratch/external").into(),
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let limits = UploadLimits { each: 8 << 20, ..UploadLimits::default() };
        let uploads = Uploads::open(&at("uploads"), limits, Arc::clone(&clock)).unwrap();
        let engine = Engine::new(
            Arc::new(MemoryJournal::default()),
            Arc::new(MemoryContent::default()),
            Arc::new(InProcess::default()),
            clock,
            Arc::new(register(host)),
            Options { policy: PathPolicy::new(vec![folder.path().to_owned()], None), ..Options::default() },
            Lease::default(),
        );
        Self { pools, engine: Arc::new(engine.with_uploads(uploads)), folder }
    }

    fn request(&self, processor: &str, config: &str, sample: Sample) -> TryRequest {
        let config: String = config.lines().map(|line| format!("    {line}\n")).collect();
        let text = format!(
            "name: Tried\nprocessors:\n  - id: inbox\n    type: ingest\n    source: {{ type: file_drop, path: ./inbox }}\n\
             \x20 - id: step\n    inputs: [inbox]\n{config}  - id: shelf\n    type: collect\n    inputs: [step]\n    \
             collection: Results\n    destination: {{ type: folder, path: ./out, name: \"{{stem}}-{{hash:8}}.{{ext}}\" }}\n"
        );
        let base = self.folder.path().display().to_string();
        TryRequest {
            flow: FlowText { text, files: BTreeMap::new(), base },
            processor: processor.to_owned(),
            sample,
            name: None,
            attributes: Attributes::new(),
            timeout: Some(Duration::from_secs(20)),
        }
    }

    async fn python(&self, code: &str, sample: Sample) -> Tried {
        let code: String = code.lines().map(|line| format!("  {line}\n")).collect();
        let request = self.request("step", &format!("type: script\ncode: |\n{code}"), sample);
        self.engine.try_out(request).await.unwrap_or_else(|refusal| panic!("{refusal:?}"))
    }

    async fn upload(&self, name: &str, bytes: &[u8]) -> Sample {
        let mut receiving = self.engine.uploads().unwrap().begin(name, None).await.unwrap();
        receiving.write(&Bytes::copy_from_slice(bytes)).await.unwrap();
        Sample::Upload(receiving.end().await.unwrap().id)
    }

    async fn kept(&self, id: &str) -> Vec<u8> {
        use std::io::Read;
        let (_, file) = self.engine.uploads().unwrap().open_one(id).await.unwrap();
        let mut bytes = Vec::new();
        (&*file).read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// All that a journal and a store can tell of work.
    async fn seen(&self) -> String {
        let engine = &self.engine;
        let journal = &engine.journal;
        let filter = || Filter { ended: true, ..Filter::default() };
        let counts = (
            journal.backlog(None).await.unwrap(),
            journal.runs(filter()).await.unwrap().rows.len(),
            journal.datasets(filter()).await.unwrap().rows.len(),
            journal.dead_letters(filter()).await.unwrap().rows.len(),
            journal.flows(opendmp_ports::journal::DEFAULT_SPACE).await.unwrap().len(),
            journal.arrival(opendmp_model::ids::Arrival(1)).await.is_ok(),
            // No context was interned, so the first one has the first number.
            journal.contexts(vec![1]).await.is_ok(),
        );
        format!("{counts:?} {}", engine.content.usage().await.unwrap().stored)
    }

    fn is_exported(&self) -> bool {
        self.folder.path().join("out").exists()
    }
}

fn text(text: &str) -> Sample {
    Sample::Text(text.to_owned())
}

const UPPER: &str = "def process(data: bytes) -> bytes:\n    print('shouting')\n    return data.upper()\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_is_tried_and_nothing_is_left_but_uploads() {
    let bench = Bench::new();
    let before = bench.seen().await;
    let tried = bench.python(UPPER, text("häuser\n")).await;
    assert_eq!((tried.outcome, tried.more, tried.fault.is_none()), (TryOutcome::Emitted, false, true));
    assert_eq!((tried.log[0].level.as_str(), tried.log[0].text.as_str()), ("stdout", "shouting"));
    let output = &tried.outputs[0];
    assert_eq!(
        (&*output.name, output.media_type.as_deref(), output.port.is_none()),
        ("sample.txt", Some("text/plain"), true)
    );
    // Bytes, not text: the umlaut stays.
    assert_eq!(output.preview.as_deref(), Some("HäUSER\n"));
    assert_eq!(bench.kept(&output.upload).await, "HäUSER\n".as_bytes());
    assert_eq!(
        (output.size, tried.input.preview.as_deref(), tried.input.upload.is_none()),
        (8, Some("häuser\n"), true)
    );
    // What came out is the next sample.
    let next = Sample::Upload(output.upload.clone());
    let again =
        bench.python("def process(item):\n  return item.with_(item.bytes() * 2, name='x.bin', n=1)\n", next).await;
    assert_eq!((&*again.outputs[0].name, again.outputs[0].size), ("x.bin", 16));
    assert_eq!(
        (again.outputs[0].attributes["n"].as_i64(), again.input.upload.as_deref()),
        (Some(1), Some(output.upload.as_str()))
    );
    let dropped = bench.python("def process(data: bytes):\n  return None\n", text("x")).await;
    assert_eq!((dropped.outcome, dropped.outputs.len()), (TryOutcome::Dropped, 0));
    assert_eq!(bench.seen().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_that_fails_gives_its_line() {
    let bench = Bench::new();
    let before = bench.seen().await;
    let code = "import json\n\ndef helper(data):\n    return json.loads(data)['missing']\n\n\
                def process(data: bytes) -> bytes:\n    print('so far')\n    return helper(data)\n";
    let failed = bench.python(code, text("{}")).await;
    let fault = failed.fault.unwrap();
    assert_eq!(
        (failed.outcome, fault.code.as_str(), failed.log[0].text.as_str()),
        (TryOutcome::Failed, "KeyError", "so far")
    );
    assert_eq!(fault.place.unwrap(), ("step.py:4".to_owned(), "return json.loads(data)['missing']".to_owned()));
    assert!(fault.traceback.unwrap().contains("line 8"));

    // What stands outside of the function runs when it is loaded.
    let failed = bench.python("x = 1\ny = 1 / 0\ndef process(data: bytes) -> bytes:\n  return data\n", text("")).await;
    let fault = failed.fault.unwrap();
    assert_eq!((failed.outcome, fault.code.as_str()), (TryOutcome::Failed, "script-not-started"));
    assert_eq!(fault.place.map(|(place, _)| place).as_deref(), Some("step.py:2"));

    let rejected = bench
        .python("import opendmp\ndef process(data: bytes) -> bytes:\n  opendmp.reject('too short')\n", text(""))
        .await;
    assert_eq!((rejected.outcome, rejected.fault.unwrap().message.as_str()), (TryOutcome::Rejected, "too short"));
    let later = bench
        .python("import opendmp\ndef process(data: bytes) -> bytes:\n  opendmp.retry('away', after=7)\n", text(""))
        .await;
    assert_eq!((later.outcome, later.after), (TryOutcome::Retry, Some(Duration::from_secs(7))));
    let crashed = bench
        .python(
            "import os\ndef process(data: bytes) -> bytes:\n  os.write(2, b'last words')\n  os._exit(3)\n",
            text(""),
        )
        .await;
    let fault = crashed.fault.unwrap();
    assert_eq!((crashed.outcome, fault.kind), (TryOutcome::Failed, FaultKind::Crashed));
    assert!(fault.traceback.unwrap().contains("last words"));
    assert_eq!(bench.seen().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_floods_hangs_or_is_huge_is_bounded() {
    let bench = Bench::new();
    let flood = "def process(data: bytes) -> bytes:\n  for n in range(100_000):\n    print('x' * 100)\n  return data\n";
    let flooded = bench.python(flood, text("x")).await;
    assert_eq!(flooded.outcome, TryOutcome::Emitted);
    assert!(flooded.log.len() <= 2_001 && flooded.log.iter().map(|line| line.text.len()).sum::<usize>() < 300_000);
    let last = &flooded.log.last().unwrap().text;
    assert!(last.contains("not shown") || last.contains("left out"), "{last}");

    let code = "def process(data: bytes) -> bytes:\n      while True: pass\n";
    let mut request = bench.request("step", &format!("type: script\ncode: |\n  {code}"), text("x"));
    request.timeout = Some(Duration::from_millis(300));
    let began = Instant::now();
    let hung = bench.engine.try_out(request).await.unwrap();
    assert_eq!(hung.fault.as_ref().map(|fault| fault.kind), Some(FaultKind::TimedOut), "{hung:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());

    let many = "def process(item):\n  for n in range(5_000):\n    yield item.with_(str(n), name=f'{n}.txt')\n";
    let many = bench.python(many, text("x")).await;
    assert_eq!((many.outcome, many.outputs.len(), many.more), (TryOutcome::Emitted, 100, true));
    assert_eq!((&*many.outputs[99].name, many.outputs[99].preview.as_deref()), ("99.txt", Some("99")));
    assert!(many.notes.iter().any(|note| note.contains("first 100")), "{:?}", many.notes);

    let large = "def process(data: bytes) -> bytes:\n  return 'ü'.encode() * (1 << 21)\n";
    let large = bench.python(large, text("x")).await;
    let output = &large.outputs[0];
    assert_eq!((output.size, output.preview.as_ref().unwrap().len()), (4 << 20, 64 << 10));
    let huge = bench.python("def process(data: bytes) -> bytes:\n  return bytes(9 << 20)\n", text("x")).await;
    assert_eq!((huge.outcome, huge.outputs.len(), huge.more), (TryOutcome::Emitted, 0, true));
    assert!(huge.notes[0].contains("too large"), "{:?}", huge.notes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_are_bytes_and_names_are_odd() {
    let bench = Bench::new();
    let same = "def process(item):\n  assert item.attributes['k'] == 'v', item.attributes\n  return item\n";
    for (name, bytes) in [("\u{202e}odd\nname.csv", &b"\xff\xfe\x00"[..]), ("caf\\xe9", b"")] {
        let sample = bench.upload(name, bytes).await;
        let code: String = same.lines().map(|line| format!("  {line}\n")).collect();
        let mut request = bench.request("step", &format!("type: script\ncode: |\n{code}"), sample);
        request.attributes.insert("k".to_owned(), "v".into());
        let tried = bench.engine.try_out(request).await.unwrap();
        assert_eq!(tried.outcome, TryOutcome::Emitted, "{:?}", tried.fault);
        assert_eq!((&*tried.outputs[0].name, bench.kept(&tried.outputs[0].upload).await.as_slice()), (name, bytes));
        assert_eq!(tried.outputs[0].preview.is_none(), !bytes.is_empty());
    }
    // Large ones go as an open file.
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let sample = bench.upload("large", &bytes).await;
    let tried = bench.python("def process(item):\n  return item\n", sample).await;
    assert!(bench.kept(&tried.outputs[0].upload).await == bytes);

    let mut bad = bench.request("step", "type: script\ncode: \"def process(d): return d\"", text("x"));
    bad.attributes.insert("list".to_owned(), serde_json::json!([1]));
    assert!(matches!(bench.engine.try_out(bad).await, Err(Refusal::Fault(fault)) if fault.code == "bad-attributes"));
    let gone =
        bench.request("step", "type: script\ncode: \"def process(d): return d\"", Sample::Upload("0".repeat(32)));
    assert!(matches!(bench.engine.try_out(gone).await, Err(Refusal::Fault(fault)) if fault.code == "not-found"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_step_but_an_ingest_can_be_tried() {
    let bench = Bench::new();
    let before = bench.seen().await;
    let tried =
        async |config: &str, sample: Sample| bench.engine.try_out(bench.request("step", config, sample)).await.unwrap();
    let sorted = tried("type: external\ncommand: [sort]", text("b\na\n")).await;
    assert_eq!((sorted.outputs[0].preview.as_deref(), sorted.notes[0].as_str()), (Some("a\nb\n"), "exit 0"));
    let refused = tried("type: external\ncommand: [sh, -c, \"echo why >&2; exit 4\"]", text("")).await;
    assert_eq!((refused.outcome, refused.log[0].text.as_str()), (TryOutcome::Failed, "why"));
    let outside = tried("type: external\ncommand: [/bin/cat]", text("x")).await;
    assert_eq!(outside.fault.unwrap().code, "outside-roots");
    let split = tried("type: split\nas: lines", text("1\n2\n3\n")).await;
    assert_eq!((split.outputs.len(), split.outputs[2].preview.as_deref()), (3, Some("3\n")), "{split:?}");
    let packed = tried("type: compress\nformat: gzip", text("again and again")).await;
    let unpacked = tried("type: decompress", Sample::Upload(packed.outputs[0].upload.clone())).await;
    assert_eq!(unpacked.outputs[0].preview.as_deref(), Some("again and again"));
    let held = tried("type: aggregate\nas: json\nbatch: { count: 10 }\ngroup_by: region", text("{\"a\": 1}")).await;
    assert_eq!((held.outcome, held.outputs.len()), (TryOutcome::Held, 1));
    assert!(held.notes[0].contains("what has no `region` until it has 10 items"), "{:?}", held.notes);
    assert!(held.outputs[0].preview.as_ref().unwrap().starts_with('['));
    let unfit = tried("type: aggregate\nas: json\nbatch: { count: 10 }", text("{")).await;
    assert_eq!((unfit.outcome, unfit.outputs.len()), (TryOutcome::Rejected, 0));

    let shelf = bench.request("shelf", "type: script\ncode: \"def process(d): return d\"", text("abc"));
    let shelf = bench.engine.try_out(shelf).await.unwrap();
    let collected = shelf.collected.unwrap();
    let target = collected.target.unwrap().0;
    assert_eq!((shelf.outcome, &*collected.collection), (TryOutcome::Collected, "Results"));
    assert!(target.starts_with("./out/sample-") && target.ends_with(".txt"), "{target}");
    assert!(!bench.is_exported());
    let inbox = bench.request("inbox", "type: script\ncode: \"def process(d): return d\"", text("abc"));
    assert!(matches!(bench.engine.try_out(inbox).await, Err(Refusal::Fault(fault)) if fault.code == "not-a-step"));
    assert_eq!(bench.seen().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_tried_has_to_be_right() {
    let bench = Bench::new();
    let code = "type: script\ncode: \"def process(data: bytes): return data\"";
    let mut request = bench.request("step", code, text("x"));
    request.flow.text = request.flow.text.replace("collection:", "colection:");
    let tried = bench.engine.try_out(request).await.unwrap();
    assert!(tried.outcome == TryOutcome::Emitted && tried.diagnostics.has_errors());
    for (broken, place) in [("def process(data: bytes)\n  return data", "bad-code"), ("", "no-code")] {
        let config =
            if broken.is_empty() { "type: script".to_owned() } else { format!("type: script\ncode: |\n  {broken}") };
        match bench.engine.try_out(bench.request("step", &config, text("x"))).await {
            Err(Refusal::Flow(told)) => assert!(told.iter().any(|one| one.code == place), "{told}"),
            other => panic!("{other:?}"),
        }
    }
    match bench.engine.try_out(bench.request("none", code, text("x"))).await {
        Err(Refusal::Fault(fault)) => {
            assert_eq!((fault.code.as_str(), fault.hint.unwrap().contains("step")), ("not-found", true));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_environment_that_can_not_be_made_is_told_as_what_came_of_it() {
    let bench = Bench::new();
    let code = "# /// script\n# requires-python = \">=99\"\n# ///\ndef process(data: bytes) -> bytes:\n  return data\n";
    let failed = bench.python(code, text("x")).await;
    let fault = failed.fault.unwrap();
    assert_eq!((failed.outcome, fault.code.as_str()), (TryOutcome::Retry, "script-not-started"), "{fault}");
    assert!(fault.message.contains("99") || fault.hint.is_some(), "{fault:?}");
    assert_eq!(failed.input.preview.as_deref(), Some("x"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_ends_it_and_a_few_go_at_a_time() {
    let bench = Bench::new();
    let gate = bench.folder.path().join("gate");
    std::fs::create_dir(&gate).unwrap();
    let code = format!(
        "import os, time\n  def process(data: bytes) -> bytes:\n      open(os.path.join({:?}, data.decode()), 'w')\n      \
         time.sleep(60)\n      return data\n",
        gate.display().to_string()
    );
    let config = format!("type: script\nwritable: [{:?}]\ncode: |\n  {code}", gate.display().to_string());
    let mut waiting = Vec::new();
    for n in 0..4 {
        let (engine, request) = (Arc::clone(&bench.engine), bench.request("step", &config, text(&n.to_string())));
        waiting.push(tokio::spawn(async move { engine.try_out(request).await.map(|_| ()) }));
    }
    let all = async {
        while std::fs::read_dir(&gate).unwrap().count() < 4 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all).await.expect("all four begin");
    match bench.engine.try_out(bench.request("step", &config, text("5"))).await {
        Err(Refusal::Fault(fault)) => {
            assert_eq!((fault.code.as_str(), fault.kind), ("too-many-tries", FaultKind::Unavailable));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.pools.workers().0, 4);
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    let gone = async {
        while bench.pools.workers().0 > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("their processes end with them");
    let again = bench.python(UPPER, text("x")).await;
    assert_eq!(again.outcome, TryOutcome::Emitted);
}
