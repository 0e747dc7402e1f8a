//! What a script can't reach: forbidden places, other workers, the server, the server's environment.

mod common;

use std::sync::Arc;

use common::{Bench, child, content, item, until};
use opendmp_script::{Outcome, sandbox};
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

/// Landlock is what these tests are about; without it they could only pass for the wrong reason.
fn landlock() -> bool {
    let status = sandbox::status();
    if !matches!(status, sandbox::Status::Landlock { .. }) {
        eprintln!("not tested here: {status:?}");
    }
    matches!(status, sandbox::Status::Landlock { .. })
}

#[tokio::test]
async fn forbidden_places_are_closed_and_others_are_open() {
    if !landlock() {
        return;
    }
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
        options.forbidden = vec![data.clone()];
    })
    .await;
    let base = bench.path().display().to_string();
    let denied = "PermissionError";
    for (expression, expected) in [
        ("open('BASE/data/secret').read()", denied),
        ("open('BASE/link/secret').read()", denied),
        ("open('/proc/self/root/BASE/data/secret').read()", denied),
        ("os.listdir('BASE/data')", denied),
        ("os.listdir('BASE/data/inner')", denied),
        ("open('BASE/data/new', 'w')", denied),
        ("os.remove('BASE/data/secret')", denied),
        ("os.mkdir('BASE/data/inner/new')", denied),
        ("os.rename('BASE/beside/table.csv', 'BASE/data/table.csv')", denied),
        ("os.rename('BASE/data', 'BASE/beside/data')", denied),
        ("os.link('BASE/data/secret', 'BASE/beside/link')", "OSError"),
        ("os.truncate('BASE/data/secret', 0)", denied),
        ("subprocess.run(['cat', 'BASE/data/secret'], capture_output=True).returncode", "1"),
        ("open('BASE/lookup.csv').read()", "l"),
        ("open('BASE/beside/table.csv').read()", "t"),
        ("os.listdir('BASE/beside')", "[\"table.csv\"]"),
        ("open('BASE/beside/own', 'w').write('mine')", "4"),
        // Its own scratch directory lies beneath a forbidden place, too.
        ("open('own', 'w').write('mine')", "4"),
        ("sorted(os.listdir('..'))", "[\"out\",\"tmp\"]"),
        ("os.listdir('../..')", denied),
        ("open('../../lib/opendmp_worker.py', 'a')", denied),
        ("open('../../lib/new.py', 'w')", denied),
        ("len(open('../../lib/opendmp_worker.py').read()) > 1000", "true"),
    ] {
        let got = said(&bench, &expression.replace("BASE", &base)).await;
        let got = got.as_str().map_or_else(|| got.to_string(), str::to_owned);
        assert_eq!(got, expected, "{expression}");
    }
    assert_eq!(std::fs::read(data.join("secret")).unwrap(), b"s");
}

#[tokio::test]
async fn the_data_directory_may_hold_the_scratch_and_the_content() {
    if !landlock() {
        return;
    }
    let bench = Bench::with(|options| {
        let data = options.scratch_root.parent().unwrap().join("data");
        options.scratch_root = data.join("scratch");
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("content"), "stored").unwrap();
        options.forbidden = vec![data];
    })
    .await;
    // A descriptor reads what the path does not.
    let path = bench.path().join("data/content");
    let code = "import os\ndef process(item):\n    fd = item._fd\n    try:\n        open(f'/proc/self/fd/{fd}').read()\n        \
                return 'opened'\n    except PermissionError:\n        return item.text() + item.path().read_text()\n";
    assert_eq!(bench.content(code, common::file_item("in", &path)).await, b"storedstored");
}

#[tokio::test]
async fn what_is_put_beside_a_forbidden_place_later_is_seen_by_a_new_worker() {
    if !landlock() {
        return;
    }
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
        assert!(began.elapsed().as_secs() < 30, "{:?}", result.outcome);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn the_server_is_out_of_reach() {
    if !landlock() {
        return;
    }
    let bench = Bench::new().await;
    let server = std::process::id();
    assert_eq!(said(&bench, "os.getppid()").await, server);
    for path in ["environ", "mem", "maps", "fd/0", "root/etc/passwd"] {
        let got = said(&bench, &format!("len(open('/proc/{server}/{path}', 'rb').read(1))")).await;
        assert_eq!(got, "PermissionError", "{path}");
    }
    if matches!(sandbox::status(), sandbox::Status::Landlock { signals: true, .. }) {
        assert_eq!(said(&bench, &format!("os.kill({server}, 0)")).await, "PermissionError");
        assert_eq!(said(&bench, "os.kill(1, 0)").await, "PermissionError");
        // Its own children are its own.
        assert_eq!(said(&bench, "subprocess.Popen(['sleep', '60']).kill()").await, Value::Null);
    }
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
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "OPENDMP_WORKER",
        "PATH",
        "POLARS_MAX_THREADS",
        "TMPDIR",
        "TZ",
    ];
    allowed.retain(|name| *name != "TZ" || std::env::var_os("TZ").is_some());
    assert_eq!(names, serde_json::json!(allowed));
    assert_eq!(said(&bench, "sys.stdin.read() + open(0, closefd=False).read()").await, "");
    assert_eq!(said(&bench, "os.getcwd() == os.environ['TMPDIR'] == os.environ['HOME']").await, true);
    let scratch = bench.path().join("scratch").canonicalize().unwrap().display().to_string();
    assert_eq!(said(&bench, &format!("os.getcwd().startswith('{scratch}/s-')")).await, true);
    assert_eq!(said(&bench, "os.getsid(0) == os.getpid()").await, true);
    assert_eq!(said(&bench, "[p for p in sys.path if p in ('', '.') or 'scratch' in p]").await, serde_json::json!([]));
    assert_eq!(said(&bench, "__import__('resource').getrlimit(4)").await, serde_json::json!([0, 0]));
    // Standard streams, the connection, the page, and the one that lists them.
    assert_eq!(said(&bench, "len(os.listdir('/proc/self/fd'))").await, 6);
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

#[tokio::test]
async fn workers_die_with_a_server_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    // The folder that holds the scratch directory is not writable for a script; one beside that is.
    std::fs::create_dir(dir.path().join("notes")).unwrap();
    let note = dir.path().join("notes/pids");
    let mut server = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_server_to_be_killed", "--ignored", "--nocapture"])
        .env("OPENDMP_TEST_DIR", dir.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut pids: Vec<i32> = Vec::new();
    until("the script has begun", || {
        pids = std::fs::read_to_string(&note)
            .ok()
            .filter(|text| text.ends_with('\n'))
            .map(|text| text.split_whitespace().map(|pid| pid.parse().unwrap()).collect())
            .unwrap_or_default();
        pids.len() == 2
    })
    .await;
    assert!(pids.iter().all(|pid| common::lives(*pid)));
    server.kill().unwrap();
    server.wait().unwrap();
    until("the worker is dead", || !common::lives(pids[0])).await;
    // What the script itself started is found by the next server.
    let _next = opendmp_script::Pools::new(opendmp_script::Options::new(dir.path().join("scratch"))).unwrap();
    until("its child is dead", || !common::lives(pids[1])).await;
    let sets = std::fs::read_dir(dir.path().join("scratch")).unwrap().flatten();
    assert_eq!(sets.filter(|entry| entry.file_name().to_string_lossy().starts_with("s-")).count(), 1);
}

/// The other side of [`workers_die_with_a_server_that_is_killed`].
#[tokio::test]
#[ignore = "run by the test before, which kills it"]
async fn a_server_to_be_killed() {
    let dir = std::path::PathBuf::from(std::env::var_os("OPENDMP_TEST_DIR").unwrap());
    let bench = Bench::with(|options| options.scratch_root = dir.join("scratch")).await;
    let note = dir.join("notes/pids");
    let code = format!(
        "import os, subprocess, time\ndef process(data: bytes):\n    child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n    \
         open({note:?}, 'w').write(f'{{os.getpid()}} {{child.pid}}\\n')\n    while True: pass\n"
    );
    bench.one(&code, item("in", "x")).await;
}
