//! What the tests of real workers share.

#![allow(dead_code, clippy::allow_attributes, reason = "each test binary uses only a part, so `expect` would not hold")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use opendmp_sandbox::Rules;
use opendmp_script::environment::Environment;
use opendmp_script::{
    CallContent, CallItem, CallResult, Child, ChildContent, Error, Failure, Language, Options, Outcome, PoolKey, Pools,
    ScriptSpec,
};
use serde_json::Value;

/// Pools with a scratch directory that goes with them.
pub struct Bench {
    pub pools: Pools,
    pub environment: Environment,
    pub dir: tempfile::TempDir,
}

impl Bench {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path().join("scratch"));
        options.max_workers = 4;
        change(&mut options);
        // Another version of Python than the usual one, to try the worker with.
        let python = std::env::var_os("OPENDMP_TEST_PYTHON");
        let environment = Environment::system(python.as_deref().map(Path::new)).await.unwrap();
        Self { pools: Pools::new(options).unwrap(), environment, dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn key(&self, flow: &str) -> PoolKey {
        PoolKey::new(flow, &self.environment)
    }

    pub fn spec(&self, code: &str) -> ScriptSpec {
        ScriptSpec {
            language: Language::Python,
            code: code.into(),
            file_name: "clean.py".into(),
            outputs: Vec::new(),
            environment: self.environment.clone(),
            timeout: Duration::from_secs(60),
            memory_limit: 1 << 30,
            rules: Rules { readable: vec![self.dir.path().to_owned()], ..Rules::default() },
            parameters: Value::Null,
        }
    }

    pub async fn try_run(&self, spec: ScriptSpec, items: Vec<CallItem>) -> Result<Vec<CallResult>, Error> {
        self.pools.call(&self.key("flow"), &Arc::new(spec), items).await
    }

    pub async fn run(&self, spec: ScriptSpec, items: Vec<CallItem>) -> Vec<CallResult> {
        let count = items.len();
        let results = self.try_run(spec, items).await.unwrap();
        assert_eq!(results.len(), count);
        results
    }

    /// Run code on one item.
    pub async fn one(&self, code: &str, item: CallItem) -> CallResult {
        self.run(self.spec(code), vec![item]).await.pop().unwrap()
    }

    /// Run code on one item that it turns into one result; that result's content.
    pub async fn content(&self, code: &str, item: CallItem) -> Vec<u8> {
        content(&child(self.one(code, item).await))
    }

    /// Run code on one item that it fails on.
    pub async fn failure(&self, code: &str, item: CallItem) -> Failure {
        failure(self.one(code, item).await)
    }
}

pub fn item(name: &str, content: impl Into<Bytes>) -> CallItem {
    let content = content.into();
    CallItem {
        name: name.into(),
        media_type: None,
        attributes: None,
        hash: [0xab; 32],
        size: content.len() as u64,
        content: CallContent::Bytes(content),
    }
}

/// An item whose content is a file.
pub fn file_item(name: &str, path: &Path) -> CallItem {
    let file = std::fs::File::open(path).unwrap();
    let size = file.metadata().unwrap().len();
    CallItem { size, content: CallContent::File(file), ..item(name, "") }
}

/// Items named 0, 1, … that hold their number.
pub fn numbered(count: usize) -> Vec<CallItem> {
    (0..count).map(|n| item(&n.to_string(), n.to_string())).collect()
}

#[track_caller]
pub fn children(result: CallResult) -> Vec<Child> {
    match result.outcome {
        Outcome::Emit { children, .. } => children,
        Outcome::Spooled(children) => children.map(|child| child.unwrap()).collect(),
        other => panic!("results, not {other:?}"),
    }
}

#[track_caller]
pub fn child(result: CallResult) -> Child {
    let mut children = children(result);
    assert_eq!(children.len(), 1, "{children:?}");
    children.remove(0)
}

#[track_caller]
pub fn content(child: &Child) -> Vec<u8> {
    match &child.content {
        ChildContent::Bytes(bytes) => bytes.to_vec(),
        ChildContent::File(file) => file.read().unwrap(),
        ChildContent::Same => panic!("new content, not the same"),
    }
}

#[track_caller]
pub fn failure(result: CallResult) -> Failure {
    match result.outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("a failure, not {other:?}"),
    }
}

pub fn is_same(child: &Child) -> bool {
    matches!(child.content, ChildContent::Same)
}

/// The log as `level: text`.
pub fn log(result: &CallResult) -> Vec<String> {
    result.log.iter().map(|line| format!("{}: {}", line.level.as_str(), line.text)).collect()
}

/// Look again until it holds; fails after half a minute.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "in vain waited until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether a process lives (a zombie does not).
pub fn lives(pid: i32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')),
        Err(_) => false,
    }
}

/// `uv`: the one on this machine, else one that is installed for the tests from the package index.
pub fn uv() -> std::path::PathBuf {
    if let Some(uv) = opendmp_script::environment::Tools::find(None).uv {
        return uv;
    }
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("uv");
    let guard = std::fs::File::create(dir.with_extension("lock")).unwrap();
    guard.lock().unwrap();
    let uv = dir.join("bin/uv");
    let works = std::process::Command::new(&uv).arg("--version").output().is_ok_and(|output| output.status.success());
    if !works {
        let run = |program: &Path, arguments: &[&str]| {
            assert!(std::process::Command::new(program).args(arguments).status().unwrap().success(), "{arguments:?}");
        };
        run(Path::new("python3"), &["-m", "venv", "--clear", dir.to_str().unwrap()]);
        run(&dir.join("bin/python"), &["-m", "pip", "install", "--quiet", "uv"]);
    }
    uv
}

/// How many processes have an argument with this in it.
pub fn with_argument(part: &str) -> usize {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let has = |entry: &std::fs::DirEntry| {
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains(part)
    };
    all.filter(has).count()
}

/// The number of a worker by its working directory; it knows itself by another one.
pub fn process_in(tmp: &str) -> i32 {
    let wanted = format!("TMPDIR={tmp}");
    let is_it = |pid: &i32| {
        let env = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        env.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
    };
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(is_it).min().expect("the worker lives")
}
