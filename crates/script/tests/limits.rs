//! What goes wrong under an item stays with that item: time, memory, crashes, children, broken protocol.

mod common;

use std::time::{Duration, Instant};

use common::{Bench, child, content, failure, file_item, item, log, numbered, until};
use opendmp_sandbox::disk::Disk;
use opendmp_script::{CallResult, Outcome};

/// The positions whose result is not their own content back.
fn odd(results: &[CallResult]) -> Vec<usize> {
    let fine = |(n, result): (usize, &CallResult)| match &result.outcome {
        Outcome::Emit { children, .. } if children.len() == 1 => content(&children[0]) == n.to_string().as_bytes(),
        _ => false,
    };
    (0..results.len()).filter(|n| !fine((*n, &results[*n]))).collect()
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_batch_blames_only_its_item() {
    let bench = Bench::new().await;
    let code = "import os, signal\ndef process(data: bytes):\n    if data in (b'0', b'437', b'999'):\n        os.kill(os.getpid(), signal.SIGKILL)\n    return data\n";
    let results = bench.run(bench.spec(code), numbered(1000)).await;
    assert_eq!(odd(&results), [0, 437, 999]);
    for n in [0, 437, 999] {
        let Outcome::Crashed { status, .. } = &results[n].outcome else { panic!("{:?}", results[n].outcome) };
        assert_eq!(status, "killed by signal 9 (SIGKILL)");
    }
}

#[tokio::test]
async fn exits_and_faults_are_told_apart() {
    let bench = Bench::new().await;
    let code = "import os, ctypes\ndef process(text: str):\n    if text == '1':\n        os.write(2, b'last words\\n')\n        os._exit(3)\n    \
                if text == '3':\n        ctypes.string_at(0)\n    if text == '5':\n        os.abort()\n    return text\n";
    let results = bench.run(bench.spec(code), numbered(7)).await;
    assert_eq!(odd(&results), [1, 3, 5]);
    for (n, expected, said) in [
        (1, "exit code 3", "last words"),
        (3, "killed by signal 11 (SIGSEGV)", "File \"clean.py\", line 7 in process"),
        (5, "killed by signal 6 (SIGABRT)", "line 9 in process"),
    ] {
        let Outcome::Crashed { status, stderr } = &results[n].outcome else { panic!("{:?}", results[n].outcome) };
        assert!(status == expected && stderr.contains(said), "{status}: {stderr}");
    }
}

#[tokio::test]
async fn a_hanging_item_is_stopped_and_the_others_go_on() {
    let bench = Bench::new().await;
    for hang in [
        "while True: pass",
        "import time; time.sleep(600)",
        "import threading; threading.Lock().acquire(); threading.Event().wait()",
    ] {
        let code = format!(
            "def process(text: str):\n    if text in ('3', '7'):\n        print('hanging')\n        {hang}\n    return text\n"
        );
        let mut spec = bench.spec(&code);
        spec.timeout = Duration::from_millis(400);
        let began = Instant::now();
        let results = bench.run(spec, numbered(10)).await;
        assert_eq!(odd(&results), [3, 7], "{hang}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        for n in [3, 7] {
            let Outcome::TimedOut { after } = results[n].outcome else { panic!("{:?}", results[n].outcome) };
            assert_eq!(after, Duration::from_millis(400));
            assert!(results[n].took >= Duration::from_millis(400) && results[n].took < Duration::from_secs(3));
            assert_eq!(log(&results[n]), ["stdout: hanging"]);
        }
    }
}

#[tokio::test]
async fn the_time_limit_is_for_each_item() {
    let bench = Bench::new().await;
    let mut spec = bench.spec("import time\ndef process(data: bytes):\n    time.sleep(0.1)\n    return data\n");
    spec.timeout = Duration::from_millis(600);
    let results = bench.run(spec, numbered(12)).await;
    assert_eq!(odd(&results), [0_usize; 0], "together they take twice the limit");
}

#[tokio::test]
async fn children_die_with_a_call_that_is_stopped() {
    let bench = Bench::new().await;
    let mark = format!("{}/child", bench.path().display());
    // One child in the process group, one in a session of its own.
    let wait = format!("import time; time.sleep(600)  # {mark}");
    let code = format!(
        "import subprocess, sys, time\ndef process(text: str):\n    command = [sys.executable, '-c', {wait:?}]\n    \
         subprocess.Popen(command)\n    subprocess.Popen(command, start_new_session=True)\n    time.sleep(600)\n"
    );
    let mut spec = bench.spec(&code);
    spec.timeout = Duration::from_secs(2);
    let call = bench.run(spec, vec![item("in", "x")]);
    let begun = until("both children run", || common::with_argument(&mark) == 2);
    let (results, ()) = tokio::join!(call, begun);
    assert!(matches!(results[0].outcome, Outcome::TimedOut { .. }), "{:?}", results[0].outcome);
    until("both children are dead", || common::with_argument(&mark) == 0).await;
}

#[tokio::test]
async fn a_script_that_takes_too_much_memory_is_stopped() {
    let bench = Bench::new().await;
    let bombs = [
        // Python's own allocations fail at the limit.
        "'x' * (600 << 20)",
        "[bytes(1 << 20) for _ in range(100_000)]",
        // Shared memory is not what setrlimit limits.
        "__import__('mmap').mmap(-1, 600 << 20).write(b'x' * (600 << 20))",
        // Each child has a limit of its own; together they are too much.
        "[__import__('subprocess').Popen([sys.executable, '-c', 'import time; x = bytearray(120 << 20); time.sleep(60)']) for _ in range(6)] and time.sleep(60)",
    ];
    for bomb in bombs {
        let code = format!(
            "import sys, time\ndef process(text: str):\n    if text == '2':\n        {bomb}\n    return text\n"
        );
        let mut spec = bench.spec(&code);
        spec.memory_limit = 256 << 20;
        let results = bench.run(spec, numbered(5)).await;
        assert_eq!(odd(&results), [2], "{bomb}");
        assert!(
            matches!(results[2].outcome, Outcome::OverMemory { limit } if limit == 256 << 20),
            "{:?}",
            results[2].outcome
        );
    }
}

/// Whether its file has a name or none: both go with the worker.
#[tokio::test]
async fn a_script_that_fills_the_disk_is_stopped() {
    // Much, since other tests write to that disk, too.
    const MARGIN: u64 = 1 << 30;
    for file in ["open('large', 'wb')", "tempfile.TemporaryFile()"] {
        let mut disk = None;
        let bench = Bench::with(|options| {
            let free = u64::MAX - Disk::new(options.scratch_root.clone(), u64::MAX).lacks(0);
            options.disk_floor = free.saturating_sub(MARGIN);
            disk = Some(Disk::new(options.scratch_root.clone(), options.disk_floor));
        })
        .await;
        let code = format!(
            "import os, tempfile, time\ndef process(text: str):\n    if text == '2':\n        large = {file}\n        \
             os.posix_fallocate(large.fileno(), 0, {})\n        time.sleep(60)\n    return text\n",
            2 * MARGIN
        );
        let began = Instant::now();
        let results = bench.run(bench.spec(&code), numbered(5)).await;
        assert_eq!(odd(&results), [2], "{file}");
        assert!(matches!(results[2].outcome, Outcome::FillsTheDisk { .. }), "{:?}", results[2].outcome);
        assert!(began.elapsed() < Duration::from_secs(50), "it was not waited for");
        until("its files are gone", || disk.as_ref().is_some_and(|disk| disk.lacks(0) == 0)).await;
    }
}

#[tokio::test]
async fn children_of_a_fork_do_not_count_their_shared_pages_twice() {
    let bench = Bench::new().await;
    let code = "import os, time\nheap = bytearray(b'x' * (150 << 20))\ndef process(data: bytes):\n    children = []\n    for _ in range(4):\n        \
                pid = os.fork()\n        if not pid:\n            time.sleep(1)\n            os._exit(0)\n        children.append(pid)\n    \
                for pid in children: os.waitpid(pid, 0)\n    return data\n";
    let mut spec = bench.spec(code);
    spec.memory_limit = 400 << 20;
    let results = bench.run(spec, vec![item("0", "0")]).await;
    assert_eq!(odd(&results), [0_usize; 0], "{:?}", results[0].outcome);
}

#[tokio::test]
async fn a_fork_that_comes_back_is_no_second_worker() {
    let bench = Bench::new().await;
    // The child returns into the worker program, too.
    let code = "import os\ndef process(data: bytes):\n    if os.fork() == 0:\n        print('child')\n    else:\n        os.wait()\n    return data\n";
    let results = bench.run(bench.spec(code), numbered(40)).await;
    assert_eq!(odd(&results), [0_usize; 0]);
    let code = "import multiprocessing\ndef double(n): return n * 2\ndef process(data: bytes):\n    with \
                multiprocessing.get_context('fork').Pool(2) as pool:\n        return pool.map(double, range(5))\n";
    assert_eq!(bench.content(code, item("in", "x")).await, b"[0, 2, 4, 6, 8]");
}

#[tokio::test]
async fn a_script_that_breaks_the_protocol_harms_only_its_item() {
    let bench = Bench::new().await;
    let header = "import os, struct, time\nwire = [int(n) for n in os.listdir('/proc/self/fd') if os.path.islink('/proc/self/fd/' + n) and \
                  'socket:' in os.readlink('/proc/self/fd/' + n)][0]\ndef head(length, kind=131, count=1, call=1): return struct.pack('<IBBxxIIQ', length, kind, 0, count, call, 0)\n";
    for garbage in [
        "os.write(wire, b'\\xff' * 100)",
        "os.write(wire, head(0xffffffff))",
        "os.write(wire, head(1 << 20)); os.close(wire)",
        "os.write(wire, head(100_000_000) + b'x' * 100_000)",
        "os.write(wire, head(4) + b'\\x07abc')",
        "os.write(wire, head(0, kind=129))",
        "os.write(wire, head(24, call=99) + struct.pack('<BBBxIQII', 2, 0, 0, 0, 0, 0, 0))",
        "os.write(wire, head(24) + struct.pack('<BBBxIQII', 2, 0, 0, 900, 0, 0, 0))",
        "os.write(wire, head(40) + struct.pack('<BBHHxxIIIxxxxQQ', 1, 2, 0, 0, 0, 0, 77, 0, 5))",
        "os.close(wire)",
        "os.read(wire, 10)",
    ] {
        let code = format!(
            "{header}def process(text: str):\n    if text == '2':\n        {garbage}\n        time.sleep(600)\n    return text\n"
        );
        let mut spec = bench.spec(&code);
        spec.timeout = Duration::from_secs(2);
        let results = bench.run(spec, numbered(5)).await;
        assert_eq!(odd(&results), [2], "{garbage}: {results:?}");
        assert!(
            matches!(results[2].outcome, Outcome::Crashed { .. } | Outcome::TimedOut { .. }),
            "{garbage}: {:?}",
            results[2].outcome
        );
    }
}

#[tokio::test]
async fn an_endless_stream_of_good_results_is_bounded() {
    let bench = Bench::with(|options| {
        options.result_memory = 4 << 20;
        options.max_metadata = 4 << 20;
    })
    .await;
    // It goes round the worker's own count.
    let code = "import os, struct\nwire = max(int(n) for n in os.listdir('/proc/self/fd') if os.path.islink('/proc/self/fd/' + n) and \
                'socket:' in os.readlink('/proc/self/fd/' + n))\ndef process(text: str):\n    if text == '1':\n        one = struct.pack('<BBHHxxIIIxxxxQQ', 1, 1, 0, 0, 0, 0, 0, 0, 0)\n        \
                frame = struct.pack('<IBBxxIIQ', 4000, 131, 0, 100, 1, 0) + one * 100\n        while True:\n            os.write(wire, frame)\n    return text\n";
    let results = bench.run(bench.spec(code), numbered(3)).await;
    assert_eq!(odd(&results), [1]);
    let Outcome::Crashed { status, .. } = &results[1].outcome else { panic!("{:?}", results[1].outcome) };
    assert!(status.contains("more results than it was allowed"), "{status}");
}

#[tokio::test]
async fn a_script_that_forges_the_page_is_stopped_all_the_same() {
    let bench = Bench::new().await;
    // A thread of its own pretends that item after item begins; the item itself never ends.
    let code = "import sys, threading, time\ndef forge(words):\n    n = 0\n    while True:\n        n += 1\n        words[0] = (1 << 32) | n % 3\n        \
                words[1] = 1 << 62\n        time.sleep(0.001)\ndef process(text: str):\n    if text == '0':\n        worker = \
                [f.f_locals['self'] for f in iter_frames() if 'words' in f.f_locals][0]\n        \
                threading.Thread(target=forge, args=(worker.words,), daemon=True).start()\n        time.sleep(600)\n    return text\n\
                def iter_frames():\n    frame = sys._getframe()\n    while frame:\n        yield frame\n        frame = frame.f_back\n";
    let mut spec = bench.spec(code);
    spec.timeout = Duration::from_millis(300);
    let began = Instant::now();
    let results = bench.run(spec, numbered(3)).await;
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    assert!(results.iter().any(|result| matches!(result.outcome, Outcome::TimedOut { .. })), "{results:?}");
}

#[tokio::test]
async fn descriptors_and_small_items_may_be_mixed() {
    let bench = Bench::new().await;
    let path = bench.path().join("file");
    std::fs::write(&path, b"from a file").unwrap();
    let items = (0..200)
        .map(|n| match n % 3 {
            0 => item("small", "small"),
            1 => file_item("file", &path),
            _ => item("large", vec![b'l'; 1_500_000]),
        })
        .collect();
    let code = "def process(data: bytes) -> str:\n    return f'{len(data)} {data[:5]!r}'\n";
    let results = bench.run(bench.spec(code), items).await;
    for (n, result) in results.into_iter().enumerate() {
        let expected = ["5 b'small'", "11 b'from '", "1500000 b'lllll'"][n % 3];
        assert_eq!(String::from_utf8(content(&child(result))).unwrap(), expected, "{n}");
    }
}

#[tokio::test]
async fn items_too_large_to_pass_are_refused_by_themselves() {
    let bench = Bench::new().await;
    let mut odd = item("b", "b");
    odd.attributes = Some(format!("{{\"k\":\"{}\"}}", "v".repeat(2 << 20)).into());
    let items = vec![item("a", "a"), odd, item(&"n".repeat(100_000), "c"), item("d", "d")];
    let results = bench.run(bench.spec("def process(data: bytes): return data\n"), items).await;
    let mut results = results.into_iter();
    assert_eq!(content(&child(results.next().unwrap())), b"a");
    assert!(failure(results.next().unwrap()).message.contains("attributes are too long"));
    assert!(failure(results.next().unwrap()).message.contains("name is too long"));
    assert_eq!(content(&child(results.next().unwrap())), b"d");
}

#[tokio::test]
async fn items_whose_results_would_not_fit_into_memory_are_put_off() {
    let bench = Bench::with(|options| {
        options.result_memory = 64 << 10;
        options.max_metadata = 256 << 10;
    })
    .await;
    // Each is within its own limit; all together are not within that of the call.
    let code = "def process(item):\n    for n in range(400):\n        yield item.with_(b'', name=f'{item.name}-{n}')\n";
    let results = bench.run(bench.spec(code), numbered(20)).await;
    let done = results
        .iter()
        .take_while(|result| matches!(&result.outcome, Outcome::Emit { children, .. } if children.len() == 400));
    let done = done.count();
    assert!((2..10).contains(&done), "{done}");
    for result in &results[done..] {
        let Outcome::Retry { reason, after } = &result.outcome else { panic!("{:?}", result.outcome) };
        assert!(reason.contains("memory") && *after == Some(Duration::ZERO), "{reason}");
    }
}

#[tokio::test]
async fn looking_at_code_has_limits() {
    let python = std::env::var_os("OPENDMP_TEST_PYTHON").unwrap_or("python3".into());
    let check = async |code: String| opendmp_script::check_syntax(std::path::Path::new(&python), &code, "a.py").await;
    let function = "def process(data: bytes): return data\n";
    let began = Instant::now();
    let problem = check("x=1\n".repeat(600_000) + function).await.unwrap().unwrap_err();
    assert!(problem.message.contains("1048576 at most"), "{problem}");
    assert!(began.elapsed().as_secs() < 2, "that is told at once");
    // Many small things take much memory.
    let problem = check("x=1\n".repeat(262_000)).await.unwrap().unwrap_err();
    assert!(problem.message.contains("memory") && problem.hint.is_some(), "{problem}");
    // What is large and simple can be read, in a time that grows no faster than it does.
    let large = format!("text = '''{}'''\n{}{function}", "x".repeat(500_000), "x=1\n".repeat(80_000));
    let began = Instant::now();
    let found = check(large).await.unwrap().unwrap();
    assert_eq!(found.line, Some(80_002));
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}
