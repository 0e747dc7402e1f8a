//! Who gets which worker, and how long workers live.

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Bench, child, content, item, lives, numbered, process_in, until};
use opendmp_script::{Error, Outcome, PoolKey, ScriptSpec};

const PID: &str = "import os\ndef process(data: bytes) -> str:\n    return os.environ['TMPDIR']\n";

/// How many processes are marked as workers of one set of pools; a zombie has no mark any more.
fn workers(mark: &str) -> usize {
    let environments =
        std::fs::read_dir("/proc").unwrap().flatten().map(|entry| std::fs::read(entry.path().join("environ")));
    environments
        .flatten()
        .filter(|text| text.split(|byte| *byte == 0).any(|entry| entry.starts_with(mark.as_bytes())))
        .count()
}

async fn pid(bench: &Bench, key: &PoolKey, spec: &Arc<ScriptSpec>) -> i32 {
    let result = bench.pools.call(key, spec, vec![item("in", "x")]).await.unwrap().pop().unwrap();
    process_in(&String::from_utf8(content(&child(result))).unwrap())
}

#[tokio::test]
async fn workers_are_reused_by_the_scripts_of_the_same_flow_only() {
    let bench = Bench::new().await;
    let (a, b) = (bench.key("a"), bench.key("b"));
    let spec = Arc::new(bench.spec(PID));
    let first = pid(&bench, &a, &spec).await;
    assert_eq!(pid(&bench, &a, &spec).await, first);
    assert_eq!(pid(&bench, &a, &Arc::new(bench.spec(PID))).await, first, "an equal script is the same");
    assert_ne!(pid(&bench, &b, &spec).await, first, "another flow");
    let other = Arc::new(bench.spec(&format!("{PID}\n# changed\n")));
    assert_eq!(pid(&bench, &a, &other).await, first, "a worker holds all scripts of its flow");
    let mut roomy = bench.spec(PID);
    roomy.memory_limit += 1;
    assert_ne!(pid(&bench, &a, &Arc::new(roomy)).await, first, "another limit of memory");
    assert_eq!(bench.pools.workers(), (0, 3));
}

#[tokio::test]
async fn scripts_of_one_worker_keep_apart() {
    let bench = Bench::new().await;
    let key = bench.key("a");
    let script = |name: &str, port: &str, code: &str| {
        let mut spec = bench.spec(code);
        (spec.file_name, spec.outputs) = (name.to_owned(), vec![port.to_owned()]);
        Arc::new(spec)
    };
    let code = "import os, sys, script\nprint('loaded', FROM)\ndef process(item: Item):\n    assert script.FROM == FROM\n    \
                if item.text() == 'fail':\n        raise ValueError(FROM)\n    \
                assert os.getcwd() == os.environ['TMPDIR']\n    os.chdir('/')\n    print('run', FROM)\n    \
                return item.with_(f'{FROM} {sys.argv[0]}', port=PORT)\n";
    let one = script("same.py", "left", &format!("FROM = 'one'\nPORT = 'left'\n{code}"));
    let two = script("same.py", "right", &format!("\n\nFROM = 'two'\nPORT = 'right'\n{code}"));
    let broken = script("broken.py", "left", "print('never told')\nraise OSError('no such luck')\n");
    bench.pools.warm(&key, &one).await.unwrap();
    bench.pools.warm(&key, &two).await.unwrap();
    for round in 0..2 {
        let error = bench.pools.warm(&key, &broken).await.unwrap_err();
        assert!(matches!(&error, Error::Load { failure, .. } if failure.message == "no such luck"), "{error:?}");
        for (spec, from, port, line) in [(&one, "one", "left", 8), (&two, "two", "right", 10)] {
            let items = vec![item("n", "x"), item("n", "fail")];
            let mut results = bench.pools.call(&key, spec, items).await.unwrap();
            let failed = results.pop().unwrap();
            let Outcome::Failed(failure) = &failed.outcome else { panic!("{failed:?}") };
            assert_eq!((failure.message.as_str(), failure.line), (from, Some(line)));
            assert_eq!(failure.source_line.as_deref(), Some("raise ValueError(FROM)"));
            assert!(failure.traceback.contains("raise ValueError(FROM)"), "{}", failure.traceback);
            let done = results.pop().unwrap();
            let log: Vec<_> = done.log.iter().map(|line| line.text.clone()).collect();
            let printed = [format!("loaded {from}"), format!("run {from}")];
            assert_eq!(log, printed[usize::from(round > 0)..], "what was printed at load comes with the first item");
            let child = child(done);
            assert_eq!(child.port.as_deref(), Some(port));
            assert_eq!(content(&child), format!("{from} same.py").into_bytes());
        }
    }
    assert_eq!(bench.pools.workers(), (0, 1));
}

#[tokio::test]
async fn calls_at_the_same_time_use_several_workers() {
    let bench = Bench::new().await;
    let key = bench.key("a");
    // Each waits until it sees the other.
    let code = "import os, time\ndef process(text: str) -> str:\n    open(f'{DIR}/{text}', 'w')\n    end = time.time() + 20\n    \
                while len(os.listdir(DIR)) < 2 and time.time() < end: time.sleep(0.01)\n    return os.environ['TMPDIR'] + f' {len(os.listdir(DIR))}'\n";
    let meeting = bench.path().join("meeting");
    std::fs::create_dir(&meeting).unwrap();
    let mut spec = bench.spec(&format!("DIR = {meeting:?}\n{code}"));
    spec.rules.writable.push(meeting);
    let spec = Arc::new(spec);
    let (one, two) = tokio::join!(
        bench.pools.call(&key, &spec, vec![item("1", "1")]),
        bench.pools.call(&key, &spec, vec![item("2", "2")])
    );
    let said: HashSet<_> = [one, two].into_iter().map(|r| content(&child(r.unwrap().pop().unwrap()))).collect();
    assert_eq!(said.len(), 2);
    assert!(said.iter().all(|text| text.ends_with(b" 2")), "{said:?}");
}

#[tokio::test]
async fn at_the_limit_the_longest_idle_worker_gives_way() {
    let bench = Bench::with(|options| options.max_workers = 2).await;
    let spec = Arc::new(bench.spec(PID));
    let (a, b, c) = (bench.key("a"), bench.key("b"), bench.key("c"));
    let (first, second) = (pid(&bench, &a, &spec).await, pid(&bench, &b, &spec).await);
    let third = pid(&bench, &c, &spec).await;
    assert_eq!(bench.pools.workers(), (0, 2));
    assert!(!lives(first) && lives(second) && lives(third));
    assert_eq!(pid(&bench, &b, &spec).await, second);
}

#[tokio::test]
async fn no_more_than_the_limit_live_at_once() {
    let bench = Arc::new(Bench::with(|options| options.max_workers = 3).await);
    let slow =
        "import os, time\ndef process(data: bytes) -> str:\n    time.sleep(0.05)\n    return os.environ['TMPDIR']\n";
    let spec = Arc::new(bench.spec(slow));
    let calls: Vec<_> = (0..12)
        .map(|n| {
            let (bench, spec) = (Arc::clone(&bench), Arc::clone(&spec));
            tokio::spawn(async move {
                let key = bench.key(&format!("flow {}", n % 5));
                pid(&bench, &key, &spec).await
            })
        })
        .collect();
    let watching = {
        let bench = Arc::clone(&bench);
        let mark = format!("TMPDIR={}/", bench.path().canonicalize().unwrap().display());
        tokio::spawn(async move {
            loop {
                assert!(bench.pools.workers().0 <= 3);
                let living = workers(&mark);
                assert!(living <= 3, "{living} workers");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    };
    for call in calls {
        call.await.unwrap();
    }
    assert!(!watching.is_finished());
    watching.abort();
}

#[tokio::test]
async fn one_flow_cannot_take_every_worker() {
    let bench = Arc::new(
        Bench::with(|options| {
            options.max_workers = 2;
            options.max_per_pool = 1;
        })
        .await,
    );
    let mut hanging = bench.spec("import time\ndef process(data: bytes):\n    time.sleep(600)\n");
    hanging.timeout = Duration::from_secs(600);
    let hanging = Arc::new(hanging);
    let stuck: Vec<_> = (0..3)
        .map(|_| {
            let (bench, spec) = (Arc::clone(&bench), Arc::clone(&hanging));
            tokio::spawn(async move { bench.pools.call(&bench.key("stuck"), &spec, numbered(1)).await })
        })
        .collect();
    until("one hangs", || bench.pools.workers().0 == 1).await;
    pid(&bench, &bench.key("other"), &Arc::new(bench.spec(PID))).await;
    assert!(stuck.iter().all(|call| !call.is_finished()));
    bench.pools.shutdown().await;
    for call in stuck {
        assert!(matches!(call.await.unwrap(), Err(Error::Closed)));
    }
}

#[tokio::test]
async fn workers_are_recycled_and_idle_ones_closed() {
    let bench = Bench::with(|options| {
        options.recycle_after_calls = 2;
        options.idle = Duration::from_millis(200);
    })
    .await;
    let (key, spec) = (bench.key("a"), Arc::new(bench.spec(PID)));
    let first = pid(&bench, &key, &spec).await;
    assert_eq!(pid(&bench, &key, &spec).await, first);
    let second = pid(&bench, &key, &spec).await;
    assert_ne!(second, first, "it had its two items");
    until("the idle worker is closed", || bench.pools.workers() == (0, 0) && !lives(second)).await;
}

#[tokio::test]
async fn a_worker_that_died_while_idle_is_replaced() {
    let bench = Bench::new().await;
    let (key, spec) = (bench.key("a"), Arc::new(bench.spec(PID)));
    let first = pid(&bench, &key, &spec).await;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first), nix::sys::signal::Signal::SIGKILL).unwrap();
    until("it is dead", || !lives(first)).await;
    assert_ne!(pid(&bench, &key, &spec).await, first);
}

#[tokio::test]
async fn a_worker_that_ran_out_of_memory_or_leaks_is_not_used_again() {
    let bench = Bench::new().await;
    let code = "import os\nkept = []\ndef process(text: str) -> str:\n    if text == 'bomb': bytearray(1 << 40)\n    if text == 'leak':\n        \
                import time; kept.append(b'x' * (150 << 20)); time.sleep(0.1)\n    return os.environ['TMPDIR']\n";
    let mut spec = bench.spec(code);
    spec.memory_limit = 256 << 20;
    let (key, spec) = (bench.key("a"), Arc::new(spec));
    let mut last = pid(&bench, &key, &spec).await;
    for odd in ["bomb", "leak"] {
        bench.pools.call(&key, &spec, vec![item("in", odd)]).await.unwrap();
        let next = pid(&bench, &key, &spec).await;
        assert_ne!(next, last, "{odd}");
        last = next;
    }
}

#[tokio::test]
async fn closing_a_pool_ends_its_workers_and_no_others() {
    let bench = Arc::new(Bench::new().await);
    let spec = Arc::new(bench.spec(PID));
    let (a, b) = (bench.key("a"), bench.key("b"));
    let (first, other) = (pid(&bench, &a, &spec).await, pid(&bench, &b, &spec).await);
    bench.pools.close(&a).await;
    assert!(!lives(first) && lives(other));
    // One that is busy meanwhile is not kept afterwards.
    let slow = bench.spec(
        "import os, time\ndef process(data: bytes) -> str:\n    time.sleep(0.5)\n    return os.environ['TMPDIR']\n",
    );
    let call = {
        let (bench, a) = (Arc::clone(&bench), a.clone());
        tokio::spawn(async move { pid(&bench, &a, &Arc::new(slow)).await })
    };
    until("it is under way", || bench.pools.workers().0 == 1).await;
    bench.pools.close(&a).await;
    let busy = call.await.unwrap();
    until("it is gone", || !lives(busy)).await;
    assert_eq!(bench.pools.workers(), (0, 1));
}

#[tokio::test]
async fn warm_workers_wait_and_loading_errors_show_early() {
    let bench = Bench::new().await;
    let key = bench.key("a");
    bench.pools.warm(&key, &Arc::new(bench.spec(PID))).await.unwrap();
    assert_eq!(bench.pools.workers(), (0, 1));
    let error = bench.pools.warm(&key, &Arc::new(bench.spec("import nonesuch"))).await.unwrap_err();
    assert!(matches!(error, Error::Load { .. }), "{error}");
    assert_eq!(bench.pools.workers(), (0, 1));
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_any_more_is_killed() {
    let bench = Bench::new().await;
    let notes = bench.path().join("notes");
    std::fs::create_dir(&notes).unwrap();
    let note = notes.join("pid");
    let code = format!(
        "import os, time\ndef process(data: bytes):\n    open({note:?}, 'w').write(os.environ['TMPDIR'] + '\\n')\n    time.sleep(600)\n"
    );
    let mut spec = bench.spec(&code);
    spec.rules.writable.push(notes);
    let call = bench.run(spec, numbered(1));
    let mut running = 0;
    tokio::select! {
        _ = call => panic!("it hangs"),
        () = until("it runs", || {
            running = std::fs::read_to_string(&note).ok().filter(|t| t.ends_with('\n')).map_or(0, |t| process_in(t.trim()));
            running > 0
        }) => {}
    }
    until("it is dead", || !lives(running)).await;
    assert_eq!(bench.pools.workers(), (0, 0));
}

#[tokio::test]
async fn shutdown_ends_all_and_leaves_nothing() {
    let bench = Arc::new(Bench::new().await);
    let spec = Arc::new(bench.spec(PID));
    let idle = pid(&bench, &bench.key("a"), &spec).await;
    let hanging = bench.spec("import time\ndef process(data: bytes):\n    time.sleep(600)\n");
    let call = {
        let bench = Arc::clone(&bench);
        tokio::spawn(async move { bench.try_run(hanging, numbered(1)).await })
    };
    until("it hangs", || bench.pools.workers().0 == 1).await;
    let began = Instant::now();
    bench.pools.shutdown().await;
    assert!(began.elapsed() < Duration::from_secs(60), "it waits for no script");
    assert!(matches!(call.await.unwrap(), Err(Error::Closed)));
    assert!(!lives(idle));
    assert!(matches!(bench.try_run(bench.spec(PID), numbered(1)).await, Err(Error::Closed)));
    let bench = Arc::into_inner(bench).unwrap();
    let scratch = bench.path().join("scratch");
    drop(bench.pools);
    until("the scratch directory is empty", || {
        std::fs::read_dir(&scratch).unwrap().flatten().all(|entry| entry.file_name() == ".lock")
    })
    .await;
}

#[tokio::test]
async fn an_empty_call_needs_no_worker() {
    let bench = Bench::new().await;
    assert!(bench.run(bench.spec("never loaded"), Vec::new()).await.is_empty());
    assert_eq!(bench.pools.workers(), (0, 0));
}
