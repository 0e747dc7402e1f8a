//! What scripts say and what befalls them: reject, retry, failures with their lines, logs, loading.

mod common;

use std::time::Duration;

use common::{Bench, child, content, failure, item, log, numbered};
use opendmp_script::{Error, Outcome, check_syntax};

#[tokio::test]
async fn reject_and_retry_say_whose_fault_it_is() {
    let bench = Bench::new().await;
    for (call, reason, after) in [
        ("opendmp.retry('away', after=60)", "away", Some(Duration::from_secs(60))),
        ("opendmp.retry('away', after=datetime.timedelta(minutes=2))", "away", Some(Duration::from_secs(120))),
        ("opendmp.retry('away')", "away", None),
        ("opendmp.retry()", "to be tried again", None),
    ] {
        let code = format!("import opendmp, datetime\ndef process(data: bytes):\n    {call}\n");
        let Outcome::Retry { reason: said, after: when } = bench.one(&code, item("in", "x")).await.outcome else {
            panic!("{call}")
        };
        assert_eq!((said.as_str(), when), (reason, after), "{call}");
    }
    // Neither is swallowed by a script's own handler.
    let code = "def process(data: bytes):\n    try:\n        opendmp.reject('not a survey: ü\\ud800')\n    except Exception:\n        return b''\n";
    let Outcome::Reject { reason } = bench.one(code, item("in", "x")).await.outcome else { panic!("a reject") };
    assert_eq!(reason, "not a survey: ü\\ud800");
    let code = "def process(data: bytes):\n    opendmp.retry('x', after=-1)\n";
    assert!(bench.failure(code, item("in", "x")).await.message.contains("after must be"));
}

#[tokio::test]
async fn tracebacks_show_only_the_scripts_own_lines() {
    let bench = Bench::new().await;
    let code = "import json\n\ndef inner(text):\n    return json.loads(text)\n\ndef process(text: str) -> str:\n    try:\n        \
                inner(text)\n    except ValueError as error:\n        raise LookupError('no document') from error\n";
    let failure = bench.failure(code, item("in", "{")).await;
    assert_eq!((failure.kind.as_str(), failure.message.as_str()), ("LookupError", "no document"));
    assert_eq!((failure.file.as_deref(), failure.line), (Some("clean.py"), Some(10)));
    assert_eq!(failure.source_line.as_deref(), Some("raise LookupError('no document') from error"));
    let text = &failure.traceback;
    assert!(text.contains("File \"clean.py\", line 4, in inner") && text.contains("return json.loads(text)"), "{text}");
    assert!(text.contains("File \"clean.py\", line 10, in process") && text.contains("direct cause"), "{text}");
    assert!(
        !text.contains("opendmp_worker") && !text.contains("decoder.py") && !text.contains("json/__init__"),
        "{text}"
    );
}

#[tokio::test]
async fn every_sort_of_exception_is_a_failure_of_its_item_alone() {
    let bench = Bench::new().await;
    let code = "class Mine(Exception):\n    def __str__(self): raise RuntimeError('no text')\nclass Base(BaseException): pass\n\
                def deep(n): return deep(n + 1)\ndef process(text: str):\n    if text == '0': raise Mine()\n    if text == '1': raise Base('odd')\n    \
                if text == '2': deep(0)\n    if text == '3': raise KeyboardInterrupt()\n    if text == '4': {}['gone']\n    \
                if text == '5': raise ValueError('\\ud800 ' + 'x' * 100_000)\n    if text == '6': import sys; sys.exit(3)\n    \
                if text == '7': raise SystemExit\n    if text == '8': 1 / 0\n    return text\n";
    let results = bench.run(bench.spec(code), numbered(10)).await;
    let mut results = results.into_iter();
    let kinds = [
        ("Mine", "text can't be had", 6),
        ("Base", "odd", 7),
        ("RecursionError", "recursion", 4),
        ("KeyboardInterrupt", "", 9),
        ("KeyError", "no key 'gone'", 10),
        ("ValueError", "\\ud800 xxx", 11),
        ("SystemExit", "the script called sys.exit(3)", 12),
        ("SystemExit", "the script called sys.exit()", 13),
        ("ZeroDivisionError", "division by zero", 14),
    ];
    for (kind, message, line) in kinds {
        let failure = failure(results.next().unwrap());
        assert_eq!((failure.kind.as_str(), failure.line), (kind, Some(line)), "{failure:?}");
        assert!(failure.message.contains(message) && failure.message.len() < 70_000, "{kind}: {}", failure.message);
    }
    assert_eq!(content(&child(results.next().unwrap())), b"9");
}

#[tokio::test]
async fn prints_and_logging_become_the_items_log() {
    let bench = Bench::new().await;
    let code = "import sys, logging, warnings, os\nprint('loaded')\ndef process(text: str):\n    print('one', end=' ')\n    print('two\\nthree')\n    \
                print('bad', file=sys.stderr)\n    logging.info('told %s', text)\n    logging.getLogger('x.y').warning('careful')\n    \
                logging.debug('not shown')\n    logging.error('worse')\n    sys.stdout.buffer.write(b'raw \\xff\\n')\n    os.write(1, b'from C\\n')\n    \
                os.system('echo child >&2')\n    print(sys.stdout.isatty(), input.__name__)\n";
    let results = bench.run(bench.spec(code), vec![item("a", "1")]).await;
    let lines = log(&results[0]);
    let expected = [
        "stdout: loaded",
        "stdout: one two",
        "stdout: three",
        "stderr: bad",
        "info: told 1",
        "warning: careful",
        "error: worse",
        "stdout: raw \u{fffd}",
        "stdout: False input",
        "stdout: from C",
        "stderr: child",
    ];
    assert_eq!(lines, expected);
    assert_eq!(results[0].log_left_out, 0);
}

#[tokio::test]
async fn a_script_may_set_its_level_of_logging() {
    let bench = Bench::new().await;
    let code = "import logging\nlogging.basicConfig(level=logging.DEBUG)\ndef process(data: bytes):\n    logging.debug('fine')\n    \
                try:\n        1 / 0\n    except ZeroDivisionError:\n        logging.exception('caught')\n";
    let lines = log(&bench.one(code, item("in", "x")).await);
    assert_eq!(lines[..2], ["debug: fine", "error: caught"]);
    assert!(lines.last().unwrap().starts_with("error: ZeroDivisionError"), "{lines:?}");
}

#[tokio::test]
async fn the_log_of_an_item_that_dies_is_kept() {
    let bench = Bench::new().await;
    let code = "import os, signal\ndef process(text: str):\n    print('before', text)\n    if text == '1':\n        os.kill(os.getpid(), signal.SIGKILL)\n";
    let results = bench.run(bench.spec(code), numbered(3)).await;
    assert!(matches!(results[1].outcome, Outcome::Crashed { .. }), "{:?}", results[1].outcome);
    for (n, result) in results.iter().enumerate() {
        assert_eq!(log(result), [format!("stdout: before {n}")]);
    }
}

#[tokio::test]
async fn a_flood_of_output_is_cut_and_counted() {
    let bench = Bench::new().await;
    let code = "import os\ndef process(text: str):\n    for n in range(20_000):\n        print('x' * 99)\n    for n in range(2_000):\n        \
                os.write(1, b'y' * 999 + b'\\n')\n        os.write(2, b'z' * 999 + b'\\n')\n    return text\n";
    let results = bench.run(bench.spec(code), numbered(2)).await;
    for result in results {
        let kept: usize = result.log.iter().map(|line| line.text.len() + 1).sum();
        assert!((60_000..500_000).contains(&kept), "{kept}");
        assert!(result.log_left_out > 1_900_000, "{}", result.log_left_out);
        assert!(result.log.iter().any(|line| line.text.starts_with('x')));
        child(result);
    }
}

#[tokio::test]
async fn what_stops_a_script_from_loading_is_an_error_with_its_line() {
    let bench = Bench::new().await;
    for (code, kind, message, line) in [
        ("x = 1\nimport nonesuch\ndef process(d): pass\n", "ModuleNotFoundError", "nonesuch", Some(2)),
        ("def process(d):\n    return (\n", "SyntaxError", "", Some(2)),
        ("print('hello')\nraise SystemExit(4)\n", "SystemExit", "sys.exit(4)", Some(2)),
        ("x = 1\n", "Unusable", "there is no function `process`", None),
        ("process = 3\n", "Unusable", "`process` is a int", None),
        ("def process(): pass\n", "Unusable", "process takes no parameter", None),
        ("def process(a, b): pass\n", "Unusable", "more than one parameter", None),
        ("def process(a, *, b): pass\n", "Unusable", "more than one parameter", None),
        ("async def process(a): pass\n", "Unusable", "async", None),
        ("def process(a: int): pass\n", "Unusable", "process can't be given a int", None),
        ("class Own: pass\ndef process(a: Own): pass\n", "Unusable", "can't be given a Own", None),
    ] {
        let error = bench.try_run(bench.spec(code), vec![item("in", "x")]).await.unwrap_err();
        let Error::Load { failure, .. } = &error else { panic!("{code}: {error}") };
        assert_eq!((failure.kind.as_str(), failure.line), (kind, line), "{code}: {failure:?}");
        assert!(failure.message.contains(message), "{code}: {failure:?}");
        assert!(line.is_some() || error.hint().is_some(), "{code}");
    }
    let error = bench.try_run(bench.spec("import nonesuch\n"), vec![item("in", "x")]).await.unwrap_err();
    assert!(error.hint().unwrap().contains("dependencies"));
}

#[tokio::test]
async fn a_script_that_never_finishes_loading_or_dies_of_it_is_an_error() {
    let bench = Bench::with(|options| options.start_timeout = Duration::from_millis(700)).await;
    let code = "print('working')\nimport time\ntime.sleep(600)\n";
    let error = bench.try_run(bench.spec(code), vec![item("in", "x")]).await.unwrap_err();
    assert!(matches!(error, Error::LoadTimeout { .. }), "{error}");
    let bench = Bench::new().await;
    let code = "import os\nprint('so far', flush=True)\nos.write(2, b'oh no\\n')\nos._exit(9)\n";
    let error = bench.try_run(bench.spec(code), vec![item("in", "x")]).await.unwrap_err();
    let Error::Load { failure, log } = error else { panic!("{error}") };
    assert!(failure.message.contains("exit code 9") && failure.traceback.contains("oh no"), "{failure:?}");
    assert!(log.iter().any(|line| line.text == "so far"), "{log:?}");
}

#[tokio::test]
async fn a_missing_interpreter_is_an_error_with_a_hint() {
    let bench = Bench::new().await;
    let mut spec = bench.spec("def process(d): pass\n");
    spec.environment.interpreter = "/nonesuch/python3".into();
    let error = bench.try_run(spec, vec![item("in", "x")]).await.unwrap_err();
    assert!(matches!(error, Error::Interpreter { .. }), "{error}");
    assert!(error.hint().unwrap().contains("install"));
    let none = opendmp_script::environment::Environment::system(Some("/bin/true".as_ref())).await.unwrap_err();
    assert!(none.to_string().contains("not a Python 3"), "{none}");
}

#[tokio::test]
async fn scripts_are_looked_at_without_being_run() {
    let python = Bench::new().await.environment.interpreter;
    let run = "import os\nos._exit(7)\n";
    for (code, parameter, input, many) in [
        ("def process(data: bytes) -> bytes:\n    return data\n", "data", Some("bytes"), false),
        ("import pandas as pd\ndef process(t: pd.DataFrame):\n    yield t\n", "t", Some("pandas"), true),
        ("from pandas import DataFrame as D\ndef process(t: 'D'):\n    yield t\n", "t", Some("pandas"), true),
        ("def process(item):\n    def inner(): yield 1\n    return inner()\n", "item", Some("item"), false),
        ("Own = bytes\ndef process(x: Own): pass\n", "x", None, false),
    ] {
        let found = check_syntax(&python, &format!("{run}{code}"), "a.py").await.unwrap().unwrap();
        assert_eq!(found.parameter.as_deref(), Some(parameter), "{code}");
        assert_eq!((found.input.as_deref(), found.many), (input, Some(many)), "{code}");
        assert_eq!(found.wants_item(), input.is_none_or(|input| input == "item"));
    }
    let found = check_syntax(&python, "from shared import *\n", "a.py").await.unwrap().unwrap();
    assert_eq!(found.input, None);
    for (code, line, column, message, hint) in [
        ("def process(d):\n    return d +\n", Some(2), Some(15), "invalid syntax", ""),
        ("def process(d):\nreturn d\n", Some(2), Some(1), "indented block", ""),
        ("def clean(d): pass\n", Some(1), None, "there is no function `process`", "rename `clean` to `process`"),
        ("x = '''\n", Some(1), None, "", ""),
        ("def process(a: int): pass\n", Some(1), Some(13), "can't be given a int", "annotate `a` as bytes"),
        ("async def process(a): pass\n", Some(1), Some(1), "async", "asyncio.run"),
        ("a\0b", None, None, "null bytes", ""),
        ("", None, None, "no function `process`", "define it"),
        (&format!("x = {}1{}\n", "(".repeat(5000), ")".repeat(5000)), Some(1), None, "too many nested", ""),
    ] {
        let problem = check_syntax(&python, code, "a.py").await.unwrap().unwrap_err();
        assert!(problem.message.contains(message), "{code:.50}: {problem:?}");
        assert!(line.is_none() || problem.line == line, "{code:.50}: {problem:?}");
        assert!(column.is_none() || problem.column == column, "{code:.50}: {problem:?}");
        assert!(problem.hint.clone().unwrap_or_default().contains(hint), "{code:.50}: {problem:?}");
    }
    assert!(check_syntax("/nonesuch".as_ref(), "", "a.py").await.is_err());
}
