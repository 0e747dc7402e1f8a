//! What a script can't reach: hidden places, other workers, the server, the server's environment.

mod common;

use std::sync::Arc;

use common::{Bench, child, content, item, until};
use opendmp_script::Outcome;
use serde_json::Value;

/// Run an expression; what it gives as JSON, or the exception's class.
async fn said(bench: &Bench, expression: &str) -> Value {
    let code = format!(
        "import os, sys, pathlib, signal, socket, subprocess\ndef attempt():\n    return {expression}\ndef process(data: bytes):\n    \
         try:\n        return [attempt()]\n    except BaseException as error:\n        return [type(error).__name__]\n"
    );
    let list: Value = serde_json::from_slice(&bench.content(&code, item("in", "x")).await).unwrap();
    list[0].clone()
}

/// Whether an expression was refused.
fn is_refused(said: &Value) -> bool {
    ["PermissionError", "FileNotFoundError", "ProcessLookupError", "OSError"].iter().any(|error| said == error)
}

#[tokio::test]
async fn hidden_places_are_closed_and_others_can_be_read() {
    let mut data = std::path::PathBuf::new();
    let bench = Bench::with(|options| {
        let base = options.scratch_root.parent().unwrap().to_owned();
        data = base.join("data");
        std::fs::create_dir_all(data.join("inner")).unwrap();
        std::fs::write(data.join("secret"), "s").unwrap();
        std::fs::create_dir(base.join("beside")).unwrap();
        std::fs::write(base.join("beside/table.csv"), "t").unwrap();
        std::fs::write(base.join("lookup.csv"), "l").unwrap();
        std::os::unix::fs::symlink(&data, base.join("link")).unwrap();
        options.site.hidden = vec![data.clone()];
    })
    .await;
    let base = bench.path().display().to_string();
    for expression in [
        "open('BASE/data/secret').read()",
        "open('BASE/link/secret').read()",
        "open('/proc/self/root/BASE/data/secret').read()",
        "open('BASE/data/new', 'w')",
        "os.remove('BASE/data/secret')",
        "os.mkdir('BASE/data/inner/new')",
        "os.rename('BASE/beside/table.csv', 'BASE/data/table.csv')",
        "os.rename('BASE/data', 'BASE/beside/data')",
        "os.rename('BASE/beside', 'BASE/other')",
        "os.link('BASE/data/secret', 'BASE/beside/link')",
        "os.truncate('BASE/data/secret', 0)",
        "open('BASE/beside/own', 'w').write('mine')",
        "open('BASE/beside/table.csv', 'a').write('mine')",
        "os.listdir('../..')[100]",
        "open('../../lib/opendmp_worker.py', 'a')",
        "open('../../lib/new.py', 'w')",
        "open(os.path.expanduser('~/.opendmp-was-here'), 'w')",
    ] {
        let got = said(&bench, &expression.replace("BASE", &base)).await;
        assert!(is_refused(&got) || got == "IndexError", "{expression}: {got}");
    }
    for (expression, expected) in [
        ("subprocess.run(['cat', 'BASE/data/secret'], capture_output=True).returncode", "1"),
        ("open('BASE/lookup.csv').read()", "l"),
        ("open('BASE/beside/table.csv').read()", "t"),
        ("os.listdir('BASE/beside')", "[\"table.csv\"]"),
        // Its own scratch directory lies beneath a hidden place, too.
        ("open('own', 'w').write('mine')", "4"),
        ("len(open('../../lib/opendmp_worker.py').read()) > 1000", "true"),
        ("open(os.environ['XDG_CACHE_HOME'] + '/a', 'w').write('mine')", "4"),
        ("__import__('tempfile').NamedTemporaryFile().write(b'mine')", "4"),
        ("__import__('multiprocessing').Value('i', 7).value", "7"),
    ] {
        let got = said(&bench, &expression.replace("BASE", &base)).await;
        let got = got.as_str().map_or_else(|| got.to_string(), str::to_owned);
        assert_eq!(got, expected, "{expression}");
    }
    assert_eq!(std::fs::read(data.join("secret")).unwrap(), b"s");
}

#[tokio::test]
async fn the_data_directory_may_hold_the_scratch_and_the_content() {
    let bench = Bench::with(|options| {
        let data = options.scratch_root.parent().unwrap().join("data");
        options.scratch_root = data.join("scratch");
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("content"), "stored").unwrap();
        options.site.hidden = vec![data];
    })
    .await;
    // What is read through its descriptor can't be changed through it, nor be found by its path.
    let path = bench.path().join("data/content");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    let code = format!(
        "import os\ndef process(item):\n    fd = item._fd\n    for change in (lambda: os.fchmod(fd, 0o600), \
         lambda: os.chmod(f'/proc/self/fd/{{fd}}', 0o600), lambda: open(f'/proc/self/fd/{{fd}}', 'w'), \
         lambda: open({path:?}).read()):\n        try:\n            change()\n            return 'changed'\n        \
         except OSError:\n            pass\n    return item.text() + item.path().read_text()\n"
    );
    let said = bench.content(&code, common::file_item("in", &path)).await;
    if opendmp_sandbox::protection().namespaces {
        assert_eq!(said, b"storedstored");
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"stored");
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&path.metadata().unwrap()) & 0o777, 0o400);
}

#[tokio::test]
async fn what_is_put_beside_a_hidden_place_later_is_seen() {
    let bench = Bench::new().await;
    let file = bench.path().join("later.csv");
    let code = format!("def process(data: bytes):\n    return open({file:?}).read()\n");
    let spec = Arc::new(bench.spec(&code));
    let key = bench.key("flow");
    bench.pools.warm(&key, &spec).await.unwrap();
    std::fs::write(&file, "there").unwrap();
    let began = std::time::Instant::now();
    loop {
        let result = bench.pools.call(&key, &spec, vec![item("in", "x")]).await.unwrap().pop().unwrap();
        if let Outcome::Emit { .. } = result.outcome {
            assert_eq!(content(&child(result)), b"there");
            break;
        }
        // Without namespaces a new worker sees it, once the old one is some seconds old.
        assert!(!opendmp_sandbox::protection().namespaces && began.elapsed().as_secs() < 30, "{:?}", result.outcome);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn the_server_is_out_of_reach() {
    let bench = Bench::new().await;
    let server = std::process::id();
    for path in ["environ", "mem", "maps", "fd/0", "root/etc/passwd"] {
        let got = said(&bench, &format!("len(open('/proc/{server}/{path}', 'rb').read(1))")).await;
        assert!(is_refused(&got), "{path}: {got}");
    }
    for attack in [
        "os.kill(SERVER, 0)",
        "os.setpriority(os.PRIO_PROCESS, SERVER, 19)",
        "__import__('resource').prlimit(SERVER, 7, (10, 10))",
        "os.sched_setscheduler(SERVER, os.SCHED_IDLE, os.sched_param(0))",
        "open('/proc/SERVER/oom_score_adj', 'w').write('1000')",
    ] {
        let got = said(&bench, &attack.replace("SERVER", &server.to_string())).await;
        assert!(is_refused(&got), "{attack}: {got}");
    }
    // Its own children are its own.
    assert_eq!(said(&bench, "subprocess.Popen(['sleep', '60']).kill()").await, Value::Null);
}

#[tokio::test]
async fn files_in_memory_count_as_memory() {
    let bench = Bench::new().await;
    // Without namespaces `/dev/shm` is everybody's, as docs/ISOLATION.md says.
    let own_shared_memory = usize::from(opendmp_sandbox::protection().namespaces);
    for hoard in &[
        "import os\ndef process(data: bytes):\n    fd = os.memfd_create('m')\n    while True: os.write(fd, bytes(1 << 20))\n",
        "def process(data: bytes):\n    n = 0\n    while True:\n        open(f'/dev/shm/opendmp-test-{n}', 'wb').write(bytes(1 << 20))\n        n += 1\n",
    ][..=own_shared_memory]
    {
        let mut spec = bench.spec(hoard);
        spec.memory_limit = 100 << 20;
        let outcome = bench.run(spec, vec![item("in", "x")]).await.pop().unwrap().outcome;
        let full = matches!(&outcome, Outcome::Failed(failure) if failure.message.contains("No space left"));
        assert!(full || matches!(outcome, Outcome::OverMemory { .. }), "{outcome:?}");
    }
}

#[tokio::test]
async fn what_is_declared_can_be_written_by_those_who_declare_it() {
    let bench = Bench::new().await;
    let shared = bench.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let code =
        format!("def process(data: bytes):\n    open({:?}, 'w').write('x')\n    return b'done'\n", shared.join("a"));
    let failed = bench.failure(&code, item("in", "x")).await;
    // A file system that is read-only, or else a refusal by Landlock.
    let refused = if opendmp_sandbox::protection().namespaces { "OSError" } else { "PermissionError" };
    assert_eq!(failed.kind, refused);
    let mut spec = bench.spec(&code);
    spec.rules.writable.push(shared.clone());
    let result = bench.run(spec.clone(), vec![item("in", "x")]).await.pop().unwrap();
    assert_eq!(content(&child(result)), b"done");
    spec.rules.writable.push(bench.path().join("missing"));
    let error = bench.try_run(spec, vec![item("in", "x")]).await.unwrap_err();
    assert!(error.to_string().contains("missing") && error.hint().unwrap().contains("mkdir"), "{error}");
}

#[tokio::test]
async fn a_worker_gets_a_clean_start() {
    let bench = Bench::with(|options| options.env = vec![("GIVEN".into(), "yes".into())]).await;
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "cargo sets it, and it is not passed on");
    let names = said(&bench, "sorted(os.environ)").await;
    let mut allowed = vec![
        "GIVEN",
        "HOME",
        "LANG",
        "LC_ALL",
        "MKL_NUM_THREADS",
        "MPLCONFIGDIR",
        "NUMBA_CACHE_DIR",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "PATH",
        "POLARS_MAX_THREADS",
        "TMPDIR",
        "TZ",
        "XDG_CACHE_HOME",
    ];
    allowed.retain(|name| *name != "TZ" || std::env::var_os("TZ").is_some());
    assert_eq!(names, serde_json::json!(allowed));
    assert_eq!(said(&bench, "sys.stdin.read() + open(0, closefd=False).read()").await, "");
    assert_eq!(said(&bench, "os.getcwd() == os.environ['TMPDIR']").await, true);
    assert_eq!(said(&bench, "os.environ['HOME']").await, std::env::var("HOME").unwrap());
    let scratch = bench.path().join("scratch").canonicalize().unwrap().display().to_string();
    assert_eq!(said(&bench, &format!("os.getcwd().startswith('{scratch}/s-')")).await, true);
    assert_eq!(said(&bench, "os.getsid(0) == os.getpid()").await, true);
    assert_eq!(said(&bench, "[p for p in sys.path if p in ('', '.') or 'scratch' in p]").await, serde_json::json!([]));
    assert_eq!(said(&bench, "__import__('resource').getrlimit(4)").await, serde_json::json!([0, 0]));
    // Standard streams, the connection, the page, and the one that lists them; with namespaces the number of the last
    // process.
    let open = 6 + u64::from(opendmp_sandbox::protection().namespaces);
    assert_eq!(said(&bench, "len(os.listdir('/proc/self/fd'))").await, open);
    assert_eq!(
        said(
            &bench,
            "subprocess.run('ls /proc/self/fd | wc -l', shell=True, capture_output=True).stdout.decode().strip()"
        )
        .await,
        "4"
    );
    assert_eq!(said(&bench, "sys.flags.utf8_mode").await, 1);
    assert_eq!(said(&bench, "__name__ + sys.argv[0]").await, "scriptclean.py");
}

#[tokio::test]
async fn a_script_cannot_write_endlessly_into_one_file() {
    let bench = Bench::with(|options| options.file_limit = 10 << 20).await;
    assert_eq!(said(&bench, "open('big', 'wb').write(bytes(11 << 20))").await, "OSError");
    assert_eq!(said(&bench, "open('fits', 'wb').write(bytes(9 << 20))").await, 9 << 20);
}

/// The script's other processes as the script sees them: those with its folder or a mark of the test in them.
const OTHERS: &str = "
import os, subprocess, sys, time
def others():
    found = []
    for name in os.listdir('/proc'):
        if name.isdigit() and int(name) != os.getpid():
            try:
                if os.environ['TMPDIR'].encode() in open(f'/proc/{name}/environ', 'rb').read():
                    found.append(int(name))
            except OSError:
                pass
    return found
def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            open('daemon', 'w').write('lives')
            while True:
                time.sleep(0.01)
        os._exit(0)
    os.wait()
    while not os.path.exists('daemon'):
        time.sleep(0.001)
    os.remove('daemon')
";

#[tokio::test]
async fn what_an_item_started_ends_with_it() {
    let bench = Bench::new().await;
    let code = format!(
        "{OTHERS}
def process(text: str):
    before = others()
    if text == 'orphan':
        daemon()
    elif text == 'child':
        subprocess.Popen(['sleep', '600'])
    elif text == 'both and fail':
        daemon()
        subprocess.Popen(['sh', '-c', 'setsid sleep 600 & sleep 600'])
        raise ValueError('x')
    elif text == 'zombie':
        os.fork() or os._exit(0)
    return [before, len(others())]
"
    );
    let texts = ["plain", "orphan", "plain", "child", "plain", "both and fail", "plain", "zombie", "plain"];
    let spec = Arc::new(bench.spec(&code));
    // In one batch, and in one call each.
    let items = || texts.map(|text| item(text, text)).into_iter().collect::<Vec<_>>();
    let mut results = bench.pools.call(&bench.key("flow"), &spec, items()).await.unwrap();
    for item in items() {
        results.extend(bench.pools.call(&bench.key("flow"), &spec, vec![item]).await.unwrap());
    }
    let started = |text: &str| u64::from(text == "orphan" || text == "child");
    for (text, result) in texts.iter().chain(&texts).zip(results) {
        if *text == "both and fail" {
            assert!(matches!(result.outcome, Outcome::Failed(_)));
            continue;
        }
        let said: Value = serde_json::from_slice(&content(&child(result))).unwrap();
        assert_eq!(said[0], serde_json::json!([]), "{text}: nothing is left of what came before");
        assert!(said[1].as_u64().unwrap() >= started(text), "{text}: {said}");
    }
    assert_eq!(bench.pools.numbers().started, 1, "the worker lives on");
}

#[tokio::test]
async fn what_was_started_while_loading_stays() {
    let bench = Bench::new().await;
    let code = format!(
        "{OTHERS}
helper = subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
def process(data: bytes):
    before = len(others())
    daemon()
    helper.stdin.write(data + b'\\n')
    helper.stdin.flush()
    return [before, helper.stdout.readline().decode()]
"
    );
    for result in bench.run(bench.spec(&code), vec![item("a", "x"), item("b", "x"), item("c", "x")]).await {
        assert_eq!(content(&child(result)), br#"[1, "x\n"]"#);
    }
}

#[tokio::test]
async fn pools_of_processes_work_for_many_items() {
    let bench = Bench::new().await;
    let head = "import multiprocessing, concurrent.futures as futures\ndef double(n): return n * 2\n";
    let within = "def process(data: bytes):\n    with multiprocessing.get_context('METHOD').Pool(2) as pool:\n        \
                  return pool.map(double, range(3))\n";
    let executor = "def process(data: bytes):\n    with futures.ProcessPoolExecutor(2, \
                    multiprocessing.get_context('fork')) as pool:\n        return list(pool.map(double, range(3)))\n";
    let loaded = "pool = multiprocessing.get_context('fork').Pool(2)\ndef process(data: bytes):\n    \
                  return pool.map(double, range(3))\n";
    let shared = "from multiprocessing.shared_memory import SharedMemory\ndef process(data: bytes):\n    \
                  memory = SharedMemory(create=True, size=10)\n    memory.close()\n    memory.unlink()\n    \
                  return [0, 2, 4]\n";
    for code in [within.replace("METHOD", "fork"), executor.into(), loaded.into(), shared.into()] {
        for result in bench.run(bench.spec(&format!("{head}{code}")), common::numbered(20)).await {
            assert!(common::log(&result).is_empty(), "{:?}", result.log);
            assert_eq!(content(&child(result)), b"[0, 2, 4]", "{code}");
        }
    }
}

#[tokio::test]
async fn a_pool_that_an_item_leaves_open_is_closed() {
    let bench = Bench::new().await;
    let code = "import multiprocessing\npool = None\ndef process(data: bytes):\n    global pool\n    \
                pool = pool or multiprocessing.get_context('fork').Pool(2)\n    return pool.map(abs, [-1])\n";
    let mut results = bench.run(bench.spec(code), common::numbered(2)).await;
    let failed = common::failure(results.pop().unwrap());
    assert_eq!((failed.kind.as_str(), failed.message.as_str()), ("ValueError", "Pool not running"));
    assert_eq!(content(&child(results.pop().unwrap())), b"[1]");
}

#[tokio::test]
async fn workers_die_with_a_server_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_server_to_be_killed", "--ignored", "--nocapture"])
        .env("OPENDMP_TEST_DIR", dir.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // The worker, and its child that left its session: both have the folder on their command line.
    let living = || common::with_argument(&format!("{}/", dir.path().canonicalize().unwrap().display()));
    until("the script has begun", || living() == 2).await;
    server.kill().unwrap();
    server.wait().unwrap();
    until("both are dead", || living() == 0).await;
    let _next = opendmp_script::Pools::new(opendmp_script::Options::new(dir.path().join("scratch"))).unwrap();
    let sets = std::fs::read_dir(dir.path().join("scratch")).unwrap().flatten();
    assert_eq!(sets.filter(|entry| entry.file_name().to_string_lossy().starts_with("s-")).count(), 1);
}

/// The other side of [`workers_die_with_a_server_that_is_killed`].
#[tokio::test]
#[ignore = "run by the test before, which kills it"]
async fn a_server_to_be_killed() {
    let dir = std::path::PathBuf::from(std::env::var_os("OPENDMP_TEST_DIR").unwrap());
    let bench = Bench::with(|options| options.scratch_root = dir.join("scratch")).await;
    let wait = format!("import sys, time; time.sleep(600)  # {}/", dir.canonicalize().unwrap().display());
    let code = format!(
        "import subprocess, sys\ndef process(data: bytes):\n    \
         child = subprocess.Popen([sys.executable, '-c', {wait:?}], start_new_session=True)\n    child.wait()\n"
    );
    bench.one(&code, item("in", "x")).await;
}
