//! Packages by inline metadata, really resolved and installed, with `uv` and with `pip`. Needs the package index.

mod common;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use common::{Bench, child, content, item};
use opendmp_script::environment::{Environment, Lock, Progress, Tools, ensure, lock};

const SIX: &str = "# /// script\n# requires-python = \">=3.9\"\n# dependencies = [\"six==1.16.0\"]\n# ///\nimport six\n\
                   def process(data: bytes) -> str:\n    return f'{six.__version__} {six.__file__}'\n";

fn quiet() -> Progress {
    Arc::new(|_| {})
}

fn noted() -> (Progress, Arc<Mutex<Vec<String>>>) {
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let to = Arc::clone(&lines);
    (Arc::new(move |line| to.lock().unwrap().push(line.to_owned())), lines)
}

fn with_uv() -> Tools {
    Tools { uv: Some(common::uv()), ..Tools::find(None) }
}

fn with_pip() -> Tools {
    Tools { uv: None, ..Tools::find(None) }
}

async fn run_in(environment: &Environment, code: &str) -> String {
    let bench = Bench::new().await;
    let mut spec = bench.spec(code);
    spec.environment = environment.clone();
    let result = bench.run(spec, vec![item("in", "x")]).await.pop().unwrap();
    String::from_utf8(content(&child(result))).unwrap()
}

/// When each file of an environment was made: the same means that nothing was installed again.
fn stamp(environment: &Environment) -> std::time::SystemTime {
    environment.root.as_ref().unwrap().join("opendmp-complete").metadata().unwrap().modified().unwrap()
}

async fn whole_way(tools: &Tools) {
    let cache = tempfile::tempdir().unwrap();
    let (progress, lines) = noted();
    let lock = lock(SIX, tools, Arc::clone(&progress)).await.unwrap().unwrap();
    assert_eq!(lock.packages(), [("six", "1.16.0")]);
    assert!(lock.text().contains("--hash=sha256:"), "{}", lock.text());
    assert_eq!(Lock::parse(lock.text()).unwrap(), lock);

    let environment = ensure(&lock, tools, cache.path(), progress).await.unwrap();
    assert!(!lines.lock().unwrap().is_empty());
    let said = run_in(&environment, SIX).await;
    assert!(
        said.starts_with("1.16.0 ") && said.contains(environment.root.as_ref().unwrap().to_str().unwrap()),
        "{said}"
    );
    assert!(environment.version.starts_with(&lock.python()));

    // Again: nothing is done.
    let (made, (progress, lines)) = (stamp(&environment), noted());
    assert_eq!(ensure(&lock, tools, cache.path(), Arc::clone(&progress)).await.unwrap(), environment);
    assert_eq!((stamp(&environment), lines.lock().unwrap().len()), (made, 0));

    // Killed in the middle: the last file is missing, and others may be torn.
    std::fs::remove_file(environment.root.as_ref().unwrap().join("opendmp-complete")).unwrap();
    std::fs::write(environment.root.as_ref().unwrap().join("pyvenv.cfg"), "torn").unwrap();
    assert_eq!(ensure(&lock, tools, cache.path(), progress).await.unwrap(), environment);
    assert!(run_in(&environment, SIX).await.starts_with("1.16.0 "));
    assert!(!lines.lock().unwrap().is_empty());
}

#[tokio::test]
async fn uv_resolves_and_installs() {
    whole_way(&with_uv()).await;
}

#[tokio::test]
async fn so_do_venv_and_pip() {
    whole_way(&with_pip()).await;
}

/// The engine runs these on any thread of its runtime: this would not compile otherwise.
#[test]
fn futures_can_be_sent() {
    fn sent(_: impl Future + Send) {}
    let (tools, made) = (with_pip(), Lock::parse("# opendmp python lock 1\n# python 3.11\n").unwrap());
    sent(lock(SIX, &tools, quiet()));
    sent(ensure(&made, &tools, Path::new("/"), quiet()));
    sent(opendmp_script::check_syntax(Path::new("/"), "", "a.py"));
}

#[tokio::test]
async fn two_at_once_make_one_environment() {
    let (tools, cache) = (with_uv(), tempfile::tempdir().unwrap());
    let lock = lock(SIX, &tools, quiet()).await.unwrap().unwrap();
    let ((progress, first), (other, second)) = (noted(), noted());
    let (a, b) =
        tokio::join!(ensure(&lock, &tools, cache.path(), progress), ensure(&lock, &tools, cache.path(), other));
    assert_eq!(a.unwrap(), b.unwrap());
    let installed =
        |lines: &Mutex<Vec<String>>| lines.lock().unwrap().iter().any(|line| line.starts_with("installing"));
    assert!(installed(&first) != installed(&second), "one of them waits for the other");
}

#[tokio::test]
async fn the_environment_is_readable_and_not_writable_wherever_it_lies() {
    let tools = with_uv();
    let mut data = PathBuf::new();
    let bench = Bench::with(|options| {
        data = options.scratch_root.parent().unwrap().join("data");
        options.site.hidden = vec![data.clone()];
    })
    .await;
    let lock = lock(SIX, &tools, quiet()).await.unwrap().unwrap();
    let code = format!("{SIX}    # never reached\n").replace(
        "    return f'",
        "    try:\n        open(six.__file__, 'a')\n    except OSError:\n        return six.__version__\n    return f'",
    );
    for cache in [data.join("environments"), bench.path().join("elsewhere/environments")] {
        let mut spec = bench.spec(&code);
        spec.environment = ensure(&lock, &tools, &cache, quiet()).await.unwrap();
        let result = bench.run(spec, vec![item("in", "x")]).await.pop().unwrap();
        assert_eq!(content(&child(result)), b"1.16.0", "{}", cache.display());
    }
}

#[tokio::test]
async fn no_packages_and_no_metadata() {
    let (tools, cache) = (with_uv(), tempfile::tempdir().unwrap());
    assert_eq!(lock("import os\n", &tools, quiet()).await.unwrap(), None);
    for tools in [tools, with_pip()] {
        let code = "# /// script\n# dependencies = []\n# ///\ndef process(data: bytes): return b'plain'\n";
        let lock = lock(code, &tools, quiet()).await.unwrap().unwrap();
        assert!(lock.packages().is_empty());
        let environment = ensure(&lock, &tools, cache.path(), quiet()).await.unwrap();
        assert_eq!(run_in(&environment, code).await, "plain");
    }
}

#[tokio::test]
async fn what_cannot_be_resolved_is_said_with_a_hint() {
    let block = |text: &str| format!("# /// script\n{text}\n# ///\n");
    for tools in [with_uv(), with_pip()] {
        let code = block("# dependencies = [\"six==0.0.1234\"]");
        let error = lock(&code, &tools, quiet()).await.unwrap_err();
        assert!(error.to_string().contains("six") && error.to_string().contains("0.0.1234"), "{error}");
        assert!(error.hint().unwrap().contains("script` block"), "{:?}", error.hint());
        let error = lock(&block("# requires-python = \">=3.99\""), &tools, quiet()).await.unwrap_err();
        assert!(error.to_string().contains("no Python >=3.99 was found"), "{error}");
        assert!(error.hint().unwrap().contains("requires-python"));
        let error = lock(&block("# dependencies = 7"), &tools, quiet()).await.unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}

#[tokio::test]
async fn a_lock_whose_hash_does_not_fit_is_refused() {
    let (tools, cache) = (with_uv(), tempfile::tempdir().unwrap());
    let good = lock(SIX, &tools, quiet()).await.unwrap().unwrap();
    let text: String = good
        .text()
        .lines()
        .map(|line| match line.find("sha256:") {
            Some(at) => format!("{}sha256:{}{}\n", &line[..at], "0".repeat(64), &line[at + 7 + 64..]),
            None => format!("{line}\n"),
        })
        .collect();
    let forged = Lock::parse(&text).unwrap();
    let error = ensure(&forged, &tools, cache.path(), quiet()).await.unwrap_err();
    assert!(error.to_string().to_lowercase().contains("hash"), "{error}");
    // And it leaves nothing that would count as an environment.
    assert!(ensure(&forged, &tools, cache.path(), quiet()).await.is_err());
}

#[tokio::test]
async fn a_missing_python_is_said() {
    let tools = Tools { python: Some("/nonesuch/python".into()), uv: None, ..Tools::find(None) };
    let error = Environment::system(tools.python.as_deref()).await.unwrap_err();
    assert!(error.to_string().contains("/nonesuch/python") && error.hint().unwrap().contains("install"), "{error}");
    let old = Path::new(env!("CARGO_TARGET_TMPDIR")).join("old-python");
    std::fs::write(&old, "#!/bin/sh\necho '[\"/x\", [3, 8, 1], \"cpython\", \"/\", \"/\"]'\n").unwrap();
    std::fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let error = Environment::system(Some(&old)).await.unwrap_err();
    assert!(error.to_string().contains("cpython 3.8.1, not CPython 3.9"), "{error}");
}

/// A wheel, made here: its files, by their path in it.
fn wheel(dir: &Path, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let path = dir.join(format!("{name}-1.0-py3-none-any.whl"));
    let info = format!("{name}-1.0.dist-info");
    let mut all: Vec<(String, String)> = files.iter().map(|(path, text)| ((*path).into(), (*text).into())).collect();
    all.push((format!("{info}/METADATA"), format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")));
    all.push((format!("{info}/WHEEL"), "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n".into()));
    let mut record: String = all.iter().map(|(path, _)| format!("{path},,\n")).collect();
    record.push_str(&format!("{info}/RECORD,,\n"));
    all.push((format!("{info}/RECORD"), record));
    let make = "import json, sys, zipfile\nwith zipfile.ZipFile(sys.argv[1], 'w') as file:\n    \
                for path, text in json.loads(sys.argv[2]):\n        entry = zipfile.ZipInfo(path)\n        \
                entry.external_attr = 0o100755 << 16\n        file.writestr(entry, text)\n";
    let arguments = [path.to_str().unwrap(), &serde_json::to_string(&all).unwrap()];
    assert!(std::process::Command::new("python3").args(["-c", make]).args(arguments).status().unwrap().success());
    path
}

fn block(dependency: &str) -> String {
    format!("# /// script\n# dependencies = [\"{dependency}\"]\n# ///\ndef process(data: bytes): return b'ran'\n")
}

#[tokio::test]
async fn what_packages_put_in_place_of_python_never_runs_outside_the_sandbox() {
    // Not below /tmp, of which a process in the sandbox has its own.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mark = dir.path().join("escaped");
    let fake = format!(
        "#!/bin/sh\ntouch '{}'\necho '[\"/x\", [3, 11, 7], \"cpython\", \"/\", \"{}\"]'\n",
        mark.display(),
        dir.path().display()
    );
    let cfg = format!("home = {}\ninclude-system-site-packages = false\n", dir.path().display());
    let pth = format!("import pathlib; pathlib.Path('{}').touch()\n", mark.display());
    // uv refuses wheels that do this; a build could do it all the same.
    for (tools, place) in [(with_pip(), "scripts"), (with_pip(), "data/bin")] {
        let python = format!("evil-1.0.data/{place}/python");
        let files = [
            (python.as_str(), fake.as_str()),
            ("evil-1.0.data/data/pyvenv.cfg", cfg.as_str()),
            ("evil.pth", pth.as_str()),
        ];
        let wheel = wheel(dir.path(), "evil", &files);
        let cache = tempfile::tempdir_in(dir.path()).unwrap();
        let code = block(&format!("evil @ file://{}", wheel.display()));
        let lock = lock(&code, &tools, quiet()).await.unwrap().unwrap();
        for _ in 0..2 {
            let environment = ensure(&lock, &tools, cache.path(), quiet()).await.unwrap();
            let python = std::fs::read_to_string(&environment.interpreter).unwrap();
            assert!(python.contains("touch"), "the package did replace it");
            assert!(!environment.base.starts_with(dir.path()), "{}", environment.base.display());
            let bench = Bench::new().await;
            let mut spec = bench.spec(&code);
            spec.environment = environment;
            assert!(bench.try_run(spec, vec![item("in", "x")]).await.is_err(), "it is no worker");
            bench.pools.shutdown().await;
        }
        assert!(!mark.exists(), "it ran outside of the sandbox");
    }
}

#[tokio::test]
async fn a_direct_reference_is_not_built_unless_that_is_allowed() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let folder = dir.path().join("own");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("pyproject.toml"), "[build-system]\nrequires = []\nbuild-backend = 'back'\nbackend-path = ['.']\n[project]\nname = 'own'\nversion = '1.0'\n").unwrap();
    let back = "import zipfile\ndef build_wheel(into, settings=None, metadata=None):\n    \
                with zipfile.ZipFile(into + '/own-1.0-py3-none-any.whl', 'w') as file:\n        \
                file.writestr('own.py', 'x = 1')\n        \
                file.writestr('own-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: own\\nVersion: 1.0\\n')\n        \
                file.writestr('own-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n        \
                file.writestr('own-1.0.dist-info/RECORD', '')\n    \
                return 'own-1.0-py3-none-any.whl'\n";
    std::fs::write(folder.join("back.py"), back).unwrap();
    let address = format!("own @ file://{}", folder.display());
    for tools in [with_uv(), with_pip()] {
        let error = lock(&block(&address), &tools, quiet()).await.unwrap_err();
        assert!(error.to_string().contains("is not a wheel"), "{error}");
        assert!(error.hint().unwrap().contains("OPENDMP_ALLOW_BUILDS=1"), "{:?}", error.hint());
        let forged = Lock::parse(&format!("# opendmp python lock 1\n# python 3.11\n{address}\n")).unwrap();
        let error = ensure(&forged, &tools, &dir.path().join("forged"), quiet()).await.unwrap_err();
        assert!(error.to_string().contains("is not a wheel"), "{error}");
        // Where builds are allowed it is built.
        let builder = Tools { allow_builds: true, ..tools };
        let made = lock(&block(&address), &builder, quiet()).await.unwrap().unwrap();
        assert_eq!(made.packages().len(), 1, "{}", made.text());
    }
}

#[tokio::test]
async fn a_wheel_by_its_address_is_installed_and_compiled() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let wheel = wheel(dir.path(), "plain", &[("plain.py", "x = 1\n")]);
    let code = block(&format!("plain @ file://{}", wheel.display()));
    for tools in [with_uv(), with_pip()] {
        let lock = lock(&code, &tools, quiet()).await.unwrap().unwrap();
        let environment = ensure(&lock, &tools, &dir.path().join("environments"), quiet()).await.unwrap();
        assert_eq!(run_in(&environment, &code).await, "ran");
        let compiled = environment.root.unwrap().join("lib");
        let found = std::process::Command::new("find").arg(compiled).args(["-name", "plain.*.pyc"]).output().unwrap();
        assert!(!found.stdout.is_empty(), "it was compiled when it was installed");
    }
}
