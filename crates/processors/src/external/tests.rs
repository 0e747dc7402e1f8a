//! Real commands, good and bad.

use super::*;
use crate::fixtures;
use opendmp_model::document::Common;
use opendmp_processor::NewContent;
use serde_json::{Value, json};
use std::io::Read;
use tempfile::TempDir;

fn doc(config: Value) -> ProcessorDoc {
    let Value::Object(map) = config else { unreachable!() };
    ProcessorDoc { id: "x".into(), kind: "external".into(), common: Common::new("x", "external"), config: map }
}

struct Bench {
    scratch: TempDir,
    timeout: Duration,
}

impl Bench {
    fn new() -> Self {
        Self { scratch: tempfile::tempdir().unwrap(), timeout: Duration::from_secs(60) }
    }

    async fn call(&self, config: Value, name: &str, content: &[u8]) -> Done {
        let body = Body::Bytes(Bytes::copy_from_slice(content));
        self.call_with(config, Input { item: fixtures::item(name, content), body }).await
    }

    async fn call_with(&self, config: Value, input: Input) -> Done {
        let kind = Kind::new(self.scratch.path().to_owned(), Arc::default());
        let doc = doc(config);
        kind.prepare(&Registry::default(), &doc, &BTreeMap::new()).expect("a good config");
        let context = Context { timeout: self.timeout, ..fixtures::context(self.scratch.path()) };
        let Ok(Opened::Transform(external)) = kind.open(&Registry::default(), &doc, &context).await else {
            panic!("it opens")
        };
        external.process(vec![input]).await.unwrap().remove(0)
    }

    fn is_empty(&self) -> bool {
        std::fs::read_dir(self.scratch.path()).unwrap().next().is_none()
    }
}

fn children(done: Done) -> Vec<(Option<String>, Vec<u8>)> {
    let children: Vec<Emission> = match done.outcome {
        Outcome::Emit { children, .. } => children,
        Outcome::Stream(children) => children.map(|child| child.unwrap()).collect(),
        other => panic!("{other:?}"),
    };
    let read = |content: NewContent| match content {
        NewContent::Bytes(bytes) => bytes.to_vec(),
        NewContent::Stream(stream) => {
            let mut out = Vec::new();
            stream.open().unwrap().read_to_end(&mut out).unwrap();
            out
        }
        NewContent::Same => panic!("a command makes something new"),
    };
    children.into_iter().map(|child| (child.name, read(child.content))).collect()
}

fn fault(done: Done) -> Fault {
    match done.outcome {
        Outcome::Fault(fault) => fault,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn content_goes_through_standard_streams() {
    let bench = Bench::new();
    let done = bench.call(json!({ "command": ["sort"] }), "a.txt", b"b\na\n").await;
    assert_eq!(done.note.as_deref(), Some("exit 0"));
    assert_eq!(children(done), [(None, b"a\nb\n".to_vec())]);
    assert!(bench.is_empty());
}

#[tokio::test]
async fn files_in_and_out_with_odd_names() {
    let bench = Bench::new();
    let name = "-rf a'b\"c\nd \\xe9.txt";
    let config = json!({ "command": ["cp", "--", "{input}", "{output}"], "name": "{stem}.copy" });
    assert_eq!(
        children(bench.call(config, name, b"x").await),
        [(Some("-rf a'b\"c\nd \\xe9.copy".to_owned()), b"x".to_vec())]
    );
    let config = json!({ "shell": "printf '%s' \"$NAME\"" });
    assert_eq!(children(bench.call(config, name, b"").await)[0].1, b"-rf a'b\"c\nd \xe9.txt");
}

#[tokio::test]
async fn a_folder_of_results_comes_in_the_order_of_names() {
    let bench = Bench::new();
    let config = json!({ "command": ["sh", "-c", "cd \"$0\"; printf 2 > b; printf 1 > a; : > c", "{outputs}"] });
    let done = bench.call(config, "x", b"").await;
    assert!(matches!(done.outcome, Outcome::Stream(_)));
    let expected = [("a", "1"), ("b", "2"), ("c", "")];
    assert_eq!(children(done), expected.map(|(name, text)| (Some(name.to_owned()), text.as_bytes().to_vec())));
}

#[tokio::test]
async fn large_content_streams_both_ways() {
    let bench = Bench::new();
    let content = vec![7u8; 3 << 20];
    let path = bench.scratch.path().join("content");
    std::fs::write(&path, &content).unwrap();
    let body = Body::File(Arc::new(File::open(&path).unwrap()));
    for command in [json!({ "command": ["cat"] }), json!({ "command": ["cp", "{input}", "{output}"] })] {
        let done = bench.call_with(command, Input { item: fixtures::item("x", &content), body: body.clone() }).await;
        assert!(children(done)[0].1 == content);
    }
    std::fs::remove_file(path).unwrap();
    assert!(bench.is_empty());
}

#[tokio::test]
async fn failures_say_what_happened() {
    let bench = Bench::new();
    let failed = fault(bench.call(json!({ "shell": "echo oh no >&2; exit 3" }), "x", b"").await);
    assert_eq!((failed.kind, failed.code.as_str()), (FaultKind::Failed, "exit-code"));
    assert!(failed.message.ends_with("exit code 3: oh no") && failed.traceback.as_deref() == Some("oh no\n"));
    let missing = fault(bench.call(json!({ "command": ["no-such-program"] }), "x", b"").await);
    assert!(missing.code == "not-started" && missing.hint.is_some());
    let killed = fault(bench.call(json!({ "shell": "kill -9 $$" }), "x", b"").await);
    assert_eq!(killed.kind, FaultKind::Crashed);
    let silent = fault(bench.call(json!({ "command": ["true", "{output}"] }), "x", b"").await);
    assert_eq!(silent.code, "no-output");
    let linked = fault(bench.call(json!({ "command": ["ln", "-s", "/etc/passwd", "{output}"] }), "x", b"").await);
    assert_eq!(linked.code, "no-output", "a link out of the scratch folder is not followed");
}

#[tokio::test]
async fn a_command_that_stops_reading_is_well() {
    let content = vec![b'x'; 4 << 20];
    let done = Bench::new().call(json!({ "command": ["head", "-c", "3"] }), "x", &content).await;
    assert_eq!(children(done), [(None, b"xxx".to_vec())]);
}

/// How many processes have an argument with this in it. A command knows its processes by other numbers.
fn with_argument(part: &str) -> usize {
    let has = |entry: &std::fs::DirEntry| {
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains(part)
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter(has).count()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "not yet: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_hanging_command_dies_with_all_it_started() {
    let bench = Bench { timeout: Duration::from_secs(2), ..Bench::new() };
    let mark = bench.scratch.path().join("mark").display().to_string();
    let line = "sh -c 'sleep 1000; true' \"$0\" & setsid sh -c 'sleep 1000; true' \"$0\" & wait";
    let config = json!({ "command": ["sh", "-c", line, mark] });
    let (done, ()) = tokio::join!(bench.call(config, "x", b""), until("all run", || with_argument(&mark) == 3));
    assert_eq!(fault(done).kind, FaultKind::TimedOut);
    until("all are dead", || with_argument(&mark) == 0).await;
}

#[tokio::test]
async fn floods_are_bounded() {
    let bench = Bench::new();
    let config = json!({ "command": ["head", "-c", "20000000", "/dev/zero"], "max_output": "1 MiB" });
    let flood = fault(bench.call(config, "x", b"").await);
    assert_eq!(flood.code, "too-much-output");
    let config = json!({ "shell": "head -c 20000000 /dev/zero | tr '\\0' '\\n' >&2; echo last >&2" });
    let done = bench.call(config, "x", b"").await;
    let bytes: usize = done.log.iter().map(|line| line.text.len() + 1).sum();
    assert!(bytes <= 2 * MOST_LOG + 200 && done.log.last().unwrap().text == "last");
}

#[tokio::test]
async fn a_cancelled_call_stops_its_command() {
    let bench = Bench::new();
    let mark = bench.scratch.path().join("mark").display().to_string();
    let call = bench.call(json!({ "command": ["sh", "-c", "sleep 1000; true", mark] }), "x", b"");
    tokio::select! {
        _ = call => panic!("it sleeps"),
        () = until("it runs", || with_argument(&mark) == 1) => {}
    }
    until("it is dead", || with_argument(&mark) == 0).await;
}

#[tokio::test]
async fn stored_content_cannot_be_changed_through_standard_input() {
    let bench = Bench::new();
    let path = bench.scratch.path().join("content");
    std::fs::write(&path, "stored").unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    let body = Body::File(Arc::new(File::open(&path).unwrap()));
    let config = json!({ "shell": "chmod u+w /proc/self/fd/0; echo damaged > /proc/self/fd/0; cat" });
    let done = bench.call_with(config, Input { item: fixtures::item("x", b"stored"), body }).await;
    assert_eq!(children(done), [(None, b"stored".to_vec())]);
    assert_eq!(std::fs::read(&path).unwrap(), b"stored");
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&path.metadata().unwrap()) & 0o777, 0o400);
}

#[tokio::test]
async fn a_refused_write_names_the_line_that_allows_it() {
    let bench = Bench::new();
    let folder = bench.scratch.path().join("results");
    std::fs::create_dir(&folder).unwrap();
    let config = |writable: Value| json!({ "command": ["sh", "-c", "echo x > \"$0/new\"", folder.to_str().unwrap()], "writable": writable });
    let refused = fault(bench.call(config(json!([])), "x", b"").await);
    assert_eq!(refused.code, "exit-code");
    if opendmp_sandbox::protection().namespaces {
        let line = format!("writable: [\"{}\"]", folder.display());
        assert!(refused.hint.as_ref().is_some_and(|hint| hint.contains(&line)), "{refused:?}");
    }
    assert!(!folder.join("new").exists());
    let unheeded = json!({ "command": ["sh", "-c", "echo x > \"$0/new\"; true", folder.to_str().unwrap()] });
    let done = bench.call(unheeded, "x", b"").await;
    if opendmp_sandbox::protection().namespaces {
        let last = done.log.last().unwrap();
        assert!(last.level == "warning" && last.text.contains("a write was refused"), "{last:?}");
    }
    children(bench.call(config(json!(["results"])), "x", b"").await);
    assert_eq!(std::fs::read(folder.join("new")).unwrap(), b"x\n");
    let missing = fault(bench.call(config(json!(["nowhere"])), "x", b"").await);
    assert!(missing.code == "not-started" && missing.hint.unwrap().contains("mkdir"), "{}", missing.message);
}

#[tokio::test]
async fn home_and_network_can_be_closed() {
    let bench = Bench::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = format!(
        "import socket; socket.create_connection(('127.0.0.1', {})); print('in')",
        listener.local_addr().unwrap().port()
    );
    let open = bench.call(json!({ "command": ["python3", "-c", connect] }), "x", b"").await;
    assert_eq!(children(open)[0].1, b"in\n");
    let closed = bench.call(json!({ "command": ["python3", "-c", connect], "network": "off" }), "x", b"").await;
    assert!(fault(closed).traceback.unwrap().contains("unreachable"));
    let count = |home: &str| json!({ "shell": "ls -A ~ | wc -l", "home": home });
    let count_of = async |home: &str| {
        let shown = children(bench.call(count(home), "x", b"").await).remove(0).1;
        String::from_utf8(shown).unwrap().trim().parse::<u32>().unwrap()
    };
    assert!(count_of("readable").await > 0 || !opendmp_sandbox::protection().namespaces);
    if opendmp_sandbox::protection().namespaces {
        assert_eq!(count_of("private").await, 0);
    }
}

#[test]
fn bad_configs_are_told_at_once() {
    let codes = |config: Value| -> Vec<&'static str> {
        let kind = Kind::new("", Arc::default());
        let problems = kind.prepare(&Registry::default(), &doc(config), &BTreeMap::new()).unwrap_err();
        problems.into_iter().map(|problem| problem.code).collect()
    };
    assert_eq!(codes(json!({})), ["no-command"]);
    assert_eq!(codes(json!({ "command": ["a"], "shell": "b" })), ["two-commands"]);
    assert_eq!(
        codes(json!({ "command": ["a", "{nope}", "{output}", "{outputs}"], "name": "{x", "env": { "a=b": "" } })),
        ["bad-format", "two-outputs", "bad-format", "no-name-here", "bad-variable"]
    );
}

#[tokio::test]
async fn any_number_of_results_is_read_as_it_is_needed() {
    let bench = Bench::new();
    let command =
        json!({ "command": ["sh", "-c", "cd \"$0\"; seq -f %06g 20000 | split -l 1 -a 6 -d -", "{outputs}"] });
    let done = bench.call(command, "x", b"").await;
    let Outcome::Stream(mut made) = done.outcome else { panic!("{:?}", done.outcome) };
    let first = made.next().unwrap().unwrap();
    assert_eq!(first.name.as_deref(), Some("x000000"));
    assert!(matches!(first.content, NewContent::Bytes(bytes) if bytes == "000001\n"));
    assert_eq!(made.by_ref().map(|child| child.unwrap().name.unwrap()).last().as_deref(), Some("x019999"));
    drop(made);
    assert!(bench.is_empty(), "the folder goes with the last result");
}

/// Puts a link to a folder of somebody else's files in place of a folder of the scratch folder, and gives what became
/// of the item. The files must still be there.
async fn with_a_link(bench: &Bench, command: Value, name: &str) -> Done {
    let victim = bench.scratch.path().join("victim");
    std::fs::create_dir_all(&victim).unwrap();
    let theirs = [("small", vec![b's'; 9]), ("large", vec![b'l'; 300 << 10])];
    for (name, content) in &theirs {
        std::fs::write(victim.join(name), content).unwrap();
    }
    let done = bench.call(command, name, b"x").await;
    for (name, content) in theirs {
        assert!(std::fs::read(victim.join(name)).unwrap() == content, "{name}");
    }
    done
}

#[tokio::test]
async fn a_link_in_place_of_a_folder_of_results_is_not_followed() {
    let bench = Bench::new();
    let victim = bench.scratch.path().join("victim").display().to_string();
    for name in ["small", "large"] {
        for line in ["d=$(dirname $0); rm -rf $d; ln -s $1 $d", "d=$(dirname $0); mv $d aside; ln -s $1 $d"] {
            let command = json!({ "command": ["sh", "-c", line, "{output}", victim], "name": name });
            let failed = fault(with_a_link(&bench, command, "x").await);
            assert_eq!((failed.kind, failed.code.as_str()), (FaultKind::Failed, "output-replaced"), "{failed}");
            assert!(failed.message.contains("the output folder was replaced"), "{failed}");
        }
    }
    let command = json!({ "command": ["sh", "-c", "rmdir $0; ln -s $1 $0", "{outputs}", victim] });
    let failed = fault(with_a_link(&bench, command, "x").await);
    assert_eq!((failed.kind, failed.code.as_str()), (FaultKind::Failed, "output-replaced"), "{failed}");
    // A link deeper down is left, and removed as the link that it is.
    let command = json!({ "command": ["sh", "-c", "ln -s $1 link; rm -rf tmp in; ln -s $1 tmp; ln -s $1 in; echo y", "x", victim] });
    assert_eq!(children(with_a_link(&bench, command, "x").await), [(None, b"y\n".to_vec())]);
    std::fs::remove_dir_all(victim).unwrap();
    assert!(bench.is_empty());
}

#[tokio::test]
async fn standard_output_is_what_was_written_to_it() {
    let bench = Bench::new();
    let victim = bench.scratch.path().join("victim").display().to_string();
    for (name, count) in [("small", 3), ("large", 400_000)] {
        let line = "head -c $2 /dev/zero; rm -rf out; ln -s $1 out";
        let command = json!({ "command": ["sh", "-c", line, "x", victim, count.to_string()] });
        let made = children(with_a_link(&bench, command, name).await);
        assert!(made == [(None, vec![0; count])], "{name}");
    }
    std::fs::remove_dir_all(victim).unwrap();
    assert!(bench.is_empty());
}

#[tokio::test]
async fn a_folder_of_results_may_be_made_anew() {
    let bench = Bench::new();
    let command = json!({ "command": ["sh", "-c", "rmdir $0; mkdir $0; echo a > $0/a", "{outputs}"] });
    assert_eq!(children(bench.call(command, "x", b"").await), [(Some("a".to_owned()), b"a\n".to_vec())]);
    let gone = fault(bench.call(json!({ "command": ["rmdir", "{outputs}"] }), "x", b"").await);
    assert_eq!((gone.kind, gone.code.as_str()), (FaultKind::Failed, "output-replaced"));
}

#[tokio::test]
async fn results_that_are_no_files_end_the_item_at_once() {
    let bench = Bench::new();
    let pipe = fault(bench.call(json!({ "command": ["mkfifo", "{output}"] }), "x", b"").await);
    assert_eq!(pipe.code, "no-output");
    let pipe = fault(bench.call(json!({ "command": ["mkfifo", "{outputs}/p"] }), "x", b"").await);
    assert_eq!(pipe.code, "bad-output");
}

#[tokio::test]
async fn large_results_go_when_they_were_read() {
    let bench = Bench::new();
    let command =
        json!({ "command": ["sh", "-c", "for n in a b; do head -c 400000 /dev/zero > $0/$n; done", "{outputs}"] });
    let done = bench.call(command, "x", b"").await;
    let Outcome::Stream(mut made) = done.outcome else { panic!("{:?}", done.outcome) };
    let room = std::fs::read_dir(bench.scratch.path()).unwrap().next().unwrap().unwrap().path();
    let left = || std::fs::read_dir(room.join("outputs")).unwrap().count();
    let first = made.next().unwrap().unwrap();
    assert!(matches!(first.content, NewContent::Stream(_)) && left() == 2);
    drop(first);
    assert_eq!(left(), 1, "its room on the disk is free");
    let second = made.next().unwrap().unwrap();
    drop(made);
    assert!(!bench.is_empty(), "it is kept while it is needed");
    let NewContent::Stream(stream) = &second.content else { panic!("it is large") };
    let mut read = Vec::new();
    stream.open().unwrap().read_to_end(&mut read).unwrap();
    assert_eq!(read.len(), 400_000);
    drop(second);
    assert!(bench.is_empty());
}

#[tokio::test]
async fn whatever_a_command_left_is_removed() {
    let bench = Bench::new();
    let program = "
import os
os.makedirs('closed/inner')
open('closed/inner/file', 'w').close()
os.chmod('closed/inner', 0)
os.chmod('closed', 0o500)
os.symlink('.', 'loop')
for n in range(20):
    os.mkdir('d')
    os.chdir('d')
";
    let done = bench.call(json!({ "command": ["python3", "-c", program] }), "x", b"").await;
    assert_eq!(children(done), [(None, Vec::new())]);
    assert!(bench.is_empty());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn memory_counts_what_processes_share_and_take_together() {
    let bench = Bench::new();
    let shared =
        "import mmap, time\nm = mmap.mmap(-1, 128 << 20)\nfor at in range(0, len(m), 4096): m[at] = 1\ntime.sleep(60)";
    let nameless =
        "import os, time\nfd = os.memfd_create('x')\nfor _ in range(128): os.write(fd, bytes(1 << 20))\ntime.sleep(60)";
    let together =
        "import os, time\nfor _ in range(4): os.fork()\nx = bytearray(os.urandom(1 << 20)) * 30\ntime.sleep(60)";
    for code in [shared, nameless, together] {
        let command = json!({ "command": ["python3", "-c", code], "memory": "100 MiB" });
        let fault = fault(bench.call(command, "x", b"").await);
        assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::OverMemory, "over-memory"), "{fault:?}");
        assert!(fault.hint.is_some());
    }
    assert!(bench.is_empty(), "nothing of them is left");
}
