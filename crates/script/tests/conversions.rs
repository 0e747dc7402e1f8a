//! What scripts are given and what they may return.

mod common;

use common::{Bench, child, children, content, failure, is_same, item, log, numbered};
use opendmp_script::{CallItem, ChildContent, Outcome};
use serde_json::json;

#[tokio::test]
async fn annotations_decide_what_a_script_is_given() {
    let bench = Bench::new().await;
    for (parameter, input, shown) in [
        ("data: bytes", "hé", "b'h\\xc3\\xa9'"),
        ("data", "hi", "b'hi'"),
        ("text: str", "hé", "'hé'"),
        ("text: 'str'", "hé", "'hé'"),
        ("doc: dict", "{\"a\": [1, null]}", "{'a': [1, None]}"),
        ("doc: dict[str, int]", "{\"a\": 1}", "{'a': 1}"),
        ("doc: typing.Dict[str, int]", "{\"a\": 1}", "{'a': 1}"),
        ("doc: list", "[1, 2]", "[1, 2]"),
        ("doc: typing.Optional[list]", "[1, 2]", "[1, 2]"),
        ("doc: typing.Union[dict, list]", "[1]", "[1]"),
        ("doc: 'Mapping'", "{}", "{}"),
        ("item: Item", "x", "<Item 'in.txt', 1 bytes>"),
        ("item", "x", "<Item 'in.txt', 1 bytes>"),
        ("thing: opendmp.Item", "xyz", "<Item 'in.txt', 3 bytes>"),
        ("data: bytes", "", "b''"),
        ("text: str", "", "''"),
    ] {
        let code = format!(
            "import typing\nfrom collections.abc import Mapping\ndef process({parameter}):\n    return repr({})\n",
            parameter.split(':').next().unwrap()
        );
        assert_eq!(bench.content(&code, item("in.txt", input)).await, shown.as_bytes(), "{parameter}");
    }
}

#[tokio::test]
async fn annotations_may_be_strings_altogether() {
    let bench = Bench::new().await;
    let code = "from __future__ import annotations\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pathlib \
                import Path\ndef process(file: Path) -> str:\n    return file.name + file.read_text()\n";
    assert_eq!(bench.content(code, item("a.txt", "!")).await, b"a.txt!");
}

#[tokio::test]
async fn paths_bear_the_items_name_and_are_removed() {
    let bench = Bench::new().await;
    let code = "import pathlib\nseen = []\ndef process(p: pathlib.Path):\n    gone = [str(q) for q in seen if q.exists()]\n    \
                seen.append(p)\n    return f'{p.name} {p.read_bytes()} {gone}'\n";
    let names = ["a.csv", "../..", "x/y.txt", "größe.txt", &format!("{}.json", "n".repeat(300))];
    let items = names.iter().map(|name| item(name, "data")).collect();
    let results = bench.run(bench.spec(code), items).await;
    let said: Vec<String> =
        results.into_iter().map(|result| String::from_utf8(content(&child(result))).unwrap()).collect();
    assert_eq!(said[0], "a.csv b'data' []");
    assert_eq!(said[1], ".._.. b'data' []");
    assert_eq!(said[2], "x_y.txt b'data' []");
    assert_eq!(said[3], "größe.txt b'data' []");
    assert!(said[4].starts_with("nnn") && said[4].contains(".json b'data' []"), "{}", said[4]);
}

#[tokio::test]
async fn what_can_be_returned() {
    let bench = Bench::new().await;
    for (returned, expected, media) in [
        ("b'x'", "x", None),
        ("bytearray(b'x')", "x", None),
        ("memoryview(b'xyz')[1:]", "yz", None),
        ("'hé'", "hé", None),
        ("{'a': 'é'}", "{\"a\": \"é\"}", Some("application/json")),
        ("[1, 2]", "[1, 2]", Some("application/json")),
        ("pathlib.Path('out.bin')", "file", None),
        ("open('out.bin', 'rb')", "file", None),
        ("io.StringIO('text')", "text", None),
        ("b''", "", None),
        ("''", "", None),
    ] {
        let code = format!(
            "import pathlib, io\ndef process(data: bytes):\n    pathlib.Path('out.bin').write_bytes(b'file')\n    return {returned}\n"
        );
        let child = child(bench.one(&code, item("in.csv", "x")).await);
        assert_eq!(String::from_utf8(content(&child)).unwrap(), expected, "{returned}");
        assert_eq!(child.media_type.as_deref(), media, "{returned}");
        assert_eq!((child.name, child.port), (None, None), "{returned}");
    }
}

#[tokio::test]
async fn none_drops_and_iterators_are_many() {
    let bench = Bench::new().await;
    for (body, many, count) in [
        ("return None", false, 0),
        ("pass", false, 0),
        ("yield from ()", true, 0),
        ("yield b'a'", true, 1),
        ("yield b'a'; yield None; yield {'b': 1}; yield 'c'", true, 3),
        ("return iter([b'a', b'b'])", true, 2),
        ("return map(str, range(5))", true, 5),
        ("return [b.hex() for b in (b'a', b'b')]", false, 1),
    ] {
        let result = bench.one(&format!("def process(data: bytes):\n    {body}\n"), item("in", "x")).await;
        let Outcome::Emit { many: is_many, children } = result.outcome else { panic!("{body}: {result:?}") };
        assert_eq!((is_many, children.len()), (many, count), "{body}");
    }
}

#[tokio::test]
async fn a_generator_that_fails_gives_nothing() {
    let bench = Bench::new().await;
    let code = "def process(data: bytes):\n    if data == b'1':\n        yield b'y' * 2_000_000\n        for n in range(3000):\n            \
                yield b'x' * 1000\n        raise ValueError('late')\n    yield data\n";
    let mut results = bench.run(bench.spec(code), numbered(3)).await.into_iter();
    assert_eq!(content(&child(results.next().unwrap())), b"0");
    let failure = failure(results.next().unwrap());
    assert_eq!((failure.message.as_str(), failure.line), ("late", Some(6)));
    assert_eq!(content(&child(results.next().unwrap())), b"2");
}

#[tokio::test]
async fn what_cannot_be_returned_is_said() {
    let bench = Bench::new().await;
    for (returned, message, hint) in [
        ("7", "a int can't become an item", "return bytes"),
        ("(1, 2)", "a tuple can't become an item", "a list for one JSON document"),
        ("{'a': 1}.keys()", "a dict_keys can't become an item", "yield"),
        ("{'a': object()}", "can't be written as JSON: Object of type object is not JSON serializable", "dates"),
        ("[float('nan')]", "can't be written as JSON", "NaN"),
        ("'\\ud800'", "half a surrogate pair at 0", "errors="),
        ("pathlib.Path('none')", "the file 'none' can't be read: No such file", ""),
        ("pathlib.Path('.')", "can't be read", ""),
        ("iter([iter([b'x'])])", "a list_iterator can't become an item", "yield"),
    ] {
        let code = format!("import pathlib\ndef process(data: bytes):\n    return {returned}\n");
        let failure = bench.failure(&code, item("in", "x")).await;
        assert!(failure.message.contains(message), "{returned}: {failure:?}");
        assert!(failure.hint.clone().unwrap_or_default().contains(hint), "{returned}: {failure:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_given_is_said() {
    let bench = Bench::new().await;
    for (annotation, input, message, hint) in [
        ("str", &b"a\xffb"[..], "not utf-8 text: byte 0xff at 1", "take it as bytes"),
        ("dict", b"", "the item is empty, which is not a JSON document", ""),
        ("dict", b"{\"a\": }", "the item is not JSON: Expecting value: line 1 column 7", ""),
        ("dict", b"[1]", "the item's JSON document is an array, not an object", "item.json()"),
        ("list", b"{}", "the item's JSON document is an object, not an array", "item.json()"),
        ("list", b"3", "neither object nor array", "item.json()"),
        ("dict", b"\xff", "not JSON", ""),
    ] {
        let code = format!("def process(x: {annotation}):\n    return b''\n");
        let failure = bench.failure(&code, item("in", input)).await;
        assert!(failure.message.contains(message), "{annotation}: {failure:?}");
        assert!(failure.hint.clone().unwrap_or_default().contains(hint), "{annotation}: {failure:?}");
        assert_eq!((failure.kind.as_str(), failure.line), ("ValueError", None), "not raised in the script");
    }
}

#[tokio::test]
async fn an_item_has_all_that_is_known_of_it() {
    let bench = Bench::new().await;
    let code = "def process(item: Item):\n    return [item.name, item.stem, item.ext, item.media_type, dict(item.attributes), \
                item.size, item.hash, item.text(), item.json(), item.open().read(2).decode(), item.path().name, \
                item.open().seek(0, 2), item.path() == item.path()]\n";
    let attributes = json!({"n": 1, "t": "é", "f": 1.5, "b": true, "none": null});
    let given = CallItem {
        media_type: Some("application/json".into()),
        attributes: Some(attributes.to_string().into()),
        ..item("a.tar.json", "[\"ü\"]")
    };
    let said: serde_json::Value = serde_json::from_slice(&bench.content(code, given).await).unwrap();
    let hash = "ab".repeat(32);
    assert_eq!(
        said,
        json!([
            "a.tar.json",
            "a.tar",
            "json",
            "application/json",
            attributes,
            6,
            hash,
            "[\"ü\"]",
            ["ü"],
            "[\"",
            "a.tar.json",
            6,
            true
        ])
    );
    for (name, stem, ext) in [(".profile", ".profile", ""), ("plain", "plain", ""), ("dot.", "dot", "")] {
        let code = "def process(item): return [item.stem, item.ext]";
        let said: Vec<String> = serde_json::from_slice(&bench.content(code, item(name, "")).await).unwrap();
        assert_eq!(said, [stem, ext], "{name}");
    }
}

#[tokio::test]
async fn with_changes_what_it_is_told_and_keeps_the_rest() {
    let bench = Bench::new().await;
    let code = "def process(item: Item) -> Iterator[Item]:\n    yield item\n    yield item.with_(name='b.csv')\n    yield \
                item.with_(b'new', region='eu', n=None)\n    yield item.with_({'a': 1}, name='c.json', port='rest')\n    twice = \
                item.with_('one', a=1).with_(name='d.txt', b=2)\n    assert dict(twice.attributes) == {'old': 0, 'a': 1, 'b': 2}\n    \
                assert (twice.bytes(), twice.size, twice.hash, twice.name) == (b'one', 3, None, 'd.txt')\n    yield twice\n    \
                yield item.with_(b'x', media_type='image/png')\n";
    let mut spec = bench.spec(code);
    spec.outputs = vec!["rest".into()];
    let given = CallItem {
        media_type: Some("text/plain".into()),
        attributes: Some(json!({"old": 0}).to_string().into()),
        ..item("a.txt", "content")
    };
    let result = bench.run(spec, vec![given]).await.pop().unwrap();
    let got = children(result);
    let shown: Vec<_> = got
        .iter()
        .map(|c| {
            let content = if is_same(c) { "same".into() } else { String::from_utf8(content(c)).unwrap() };
            (c.name.as_deref(), c.media_type.as_deref(), c.port.as_deref(), json!(c.attributes).to_string(), content)
        })
        .collect();
    let expected = [
        (None, None, None, "{}", "same"),
        (Some("b.csv"), Some("text/csv"), None, "{}", "same"),
        (None, None, None, "{\"region\":\"eu\",\"n\":null}", "new"),
        (Some("c.json"), Some("application/json"), Some("rest"), "{}", "{\"a\": 1}"),
        (Some("d.txt"), None, None, "{\"a\":1,\"b\":2}", "one"),
        (None, Some("image/png"), None, "{}", "x"),
    ];
    assert_eq!(shown.len(), expected.len());
    for (shown, (name, media, port, attributes, content)) in shown.into_iter().zip(expected) {
        assert_eq!(shown, (name, media, port, attributes.to_owned(), content.to_owned()));
    }
}

#[tokio::test]
async fn media_types_follow_the_extension_then_the_content() {
    let bench = Bench::new().await;
    for (with, media) in [
        ("b'x', name='a.png'", Some("image/png")),
        ("b'x', name='a.geojson'", Some("application/geo+json")),
        ("b'x', name='a.md'", Some("text/markdown")),
        ("b'x', name='a.strange'", Some("application/octet-stream")),
        ("'x', name='a.strange'", Some("text/plain")),
        ("{}, name='a.strange'", Some("application/json")),
        ("name='a.strange'", None),
        ("b'x', name='other.txt'", None),
        ("{}", Some("application/json")),
        ("{}, name='a.txt'", Some("application/json")),
    ] {
        let code = format!("def process(item):\n    return item.with_({with})\n");
        let child = child(bench.one(&code, item("in.txt", "x")).await);
        assert_eq!(child.media_type.as_deref(), media, "{with}");
    }
    let code = "def process(item):\n    return item.with_({'type': 'Point'})\n";
    let given = CallItem { media_type: Some("application/geo+json".into()), ..item("in.geojson", "x") };
    assert_eq!(child(bench.one(code, given).await).media_type, None, "it is JSON already");
}

#[tokio::test]
async fn what_with_cannot_take_is_said_at_the_users_line() {
    let bench = Bench::new().await;
    for (with, kind, message) in [
        ("b'x', port='nope'", "ValueError", "there is no port 'nope'; declared are left, right"),
        ("b'x', name=''", "ValueError", "name must not be empty"),
        ("b'x', name=7", "TypeError", "name must be a str, not int"),
        ("b'x', name='\\ud800'", "ValueError", "half a surrogate pair"),
        ("b'x', a=[1]", "TypeError", "attribute a is a list"),
        ("b'x', a=float('inf')", "ValueError", "attribute a is inf"),
        ("b'x', a=1 << 70", "ValueError", "attribute a is"),
        ("None", "TypeError", "a NoneType can't become an item"),
        ("item", "TypeError", "the content is an Item"),
    ] {
        let mut spec = bench.spec(&format!("def process(item):\n    return item.with_({with})\n"));
        spec.outputs = vec!["left".into(), "right".into()];
        let failure = failure(bench.run(spec, vec![item("in", "x")]).await.pop().unwrap());
        assert!(failure.kind == kind && failure.message.contains(message), "{with}: {failure:?}");
        assert_eq!((failure.line, failure.file.as_deref()), (Some(2), Some("clean.py")), "{with}");
    }
}

#[tokio::test]
async fn an_item_kept_from_an_earlier_call_stays_what_it_was() {
    let bench = Bench::new().await;
    let code = "kept = []\ndef process(item: Item):\n    kept.append(item)\n    return kept[0]\n";
    let results = bench.run(bench.spec(code), numbered(3)).await;
    let mut results = results.into_iter().map(child);
    assert!(is_same(&results.next().unwrap()));
    for later in results {
        assert_eq!((content(&later), later.name.as_deref()), (b"0".to_vec(), Some("0")));
    }
}

#[tokio::test]
async fn numbers_of_numpy_would_be_attributes() {
    let bench = Bench::new().await;
    let code =
        "class Number:\n    def item(self): return 5\ndef process(item):\n    return item.with_(b'', n=Number())\n";
    assert_eq!(child(bench.one(code, item("in", "")).await).attributes["n"], 5);
}

#[tokio::test]
async fn helpers_classes_and_imports_of_a_script_work() {
    let bench = Bench::new().await;
    let code = "import opendmp, dataclasses, pickle\nfrom opendmp import Item, reject\n@dataclasses.dataclass\nclass Row:\n    x: int\n\
                class Callable:\n    def __call__(self, data: bytes) -> str:\n        return repr(pickle.loads(pickle.dumps(Row(3))))\n\
                process = Callable()\nif __name__ == '__main__':\n    raise SystemExit('not run')\n";
    assert_eq!(bench.content(code, item("in", "x")).await, b"Row(x=3)");
    let decorated = "import functools\ndef shout(f):\n    @functools.wraps(f)\n    def wrapper(*args): return f(*args).upper()\n    \
                     return wrapper\n@shout\ndef process(text: str) -> str:\n    return text\n";
    assert_eq!(bench.content(decorated, item("in", "abc")).await, b"ABC");
    let partial =
        "import functools\ndef join(a: str, b: str) -> str: return a + b\nprocess = functools.partial(join, b='!')\n";
    assert_eq!(bench.content(partial, item("in", "abc")).await, b"abc!");
}

#[tokio::test]
async fn large_results_come_in_files_and_go_with_them() {
    let bench = Bench::new().await;
    let code = "import pathlib\ndef process(item):\n    yield b'a' * 3_000_000\n    yield item.with_('b' * 3_000_000, name='b')\n    \
                pathlib.Path('c').write_bytes(b'c' * 3_000_000)\n    yield item.with_(pathlib.Path('c'))\n    \
                pathlib.Path('c').write_bytes(b'')\n    item.with_(b'never used' * 300_000)\n    same = item.with_(b'd' * 2_000_000)\n    \
                yield same\n    yield same\n";
    let result = bench.one(code, item("in", "x")).await;
    let got = children(result);
    assert_eq!(got.len(), 5);
    for (child, (byte, size)) in
        got.iter().zip([(b'a', 3_000_000), (b'b', 3_000_000), (b'c', 3_000_000), (b'd', 2_000_000), (b'd', 2_000_000)])
    {
        let ChildContent::File(file) = &child.content else { panic!("a file: {child:?}") };
        assert_eq!(file.size(), size);
        assert!(content(child).iter().all(|b| *b == byte));
    }
    drop(got);
    let scratch = bench.path().join("scratch");
    let files = move || {
        let mut count = 0;
        for set in std::fs::read_dir(&scratch).unwrap().flatten() {
            for worker in std::fs::read_dir(set.path()).into_iter().flatten().flatten() {
                count += std::fs::read_dir(worker.path().join("out")).map_or(0, |dir| dir.count());
            }
        }
        count
    };
    common::until("no result file is left", || files() == 0).await;
}

#[tokio::test]
async fn many_small_results_beyond_the_memory_of_a_call_share_a_file() {
    let bench = Bench::with(|options| options.result_memory = 100_000).await;
    let code = "def process(data: bytes):\n    for n in range(3000):\n        yield b'%06d' % n * 20\n";
    let got = children(bench.one(code, item("in", "x")).await);
    assert_eq!(got.len(), 3000);
    let inline = got.iter().filter(|child| matches!(child.content, ChildContent::Bytes(_))).count();
    assert!((100..1000).contains(&inline), "{inline}");
    for (n, child) in got.iter().enumerate() {
        assert_eq!(content(child), format!("{n:06}").repeat(20).as_bytes());
    }
}

#[tokio::test]
async fn too_many_results_are_a_failure_of_their_item() {
    let bench = Bench::with(|options| options.max_children = 100).await;
    let code = "def process(data: bytes):\n    return iter([data] * (101 if data == b'1' else 100))\n";
    let mut results = bench.run(bench.spec(code), numbered(3)).await.into_iter();
    assert_eq!(children(results.next().unwrap()).len(), 100);
    assert!(failure(results.next().unwrap()).message.contains("more than 100 results"));
    assert_eq!(children(results.next().unwrap()).len(), 100);
    let bench = Bench::with(|options| options.max_metadata = 100_000).await;
    let code = "def process(item):\n    for n in range(10_000):\n        yield item.with_(b'', name='n' * 100, n=n)\n";
    assert!(bench.failure(code, item("in", "x")).await.message.contains("too many names and attributes"));
}

#[tokio::test]
async fn logs_of_items_that_give_nothing_are_kept_apart() {
    let bench = Bench::new().await;
    let code = "def process(text: str):\n    print('saw', text)\n";
    let results = bench.run(bench.spec(code), numbered(50)).await;
    for (n, result) in results.iter().enumerate() {
        assert_eq!(log(result), [format!("stdout: saw {n}")]);
    }
}
