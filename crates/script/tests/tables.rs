//! Tables of pandas, polars and pyarrow, in and out. Needs the package index the first time.

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use common::{Bench, child, content, failure, item};
use opendmp_script::environment::{Environment, Tools, ensure, lock};
use opendmp_script::{CallItem, ScriptSpec};
use serde_json::json;
use tokio::sync::OnceCell;

const LIBRARIES: [(&str, &str); 3] =
    [("pandas", "pandas.DataFrame"), ("polars", "polars.DataFrame"), ("pyarrow", "pyarrow.Table")];

/// An environment with all three, kept between runs of the tests.
async fn environment() -> Environment {
    static MADE: OnceCell<Environment> = OnceCell::const_new();
    MADE.get_or_init(|| async {
        let code = "# /// script\n# dependencies = [\"pandas\", \"polars\", \"pyarrow\"]\n# ///\n";
        let tools = Tools { uv: Some(common::uv()), ..Tools::find(None) };
        let lock = lock(code, &tools, Arc::new(|_| {})).await.unwrap().unwrap();
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("environments");
        ensure(&lock, &tools, &cache, Arc::new(|_| {})).await.unwrap()
    })
    .await
    .clone()
}

async fn spec(bench: &Bench, code: &str) -> ScriptSpec {
    ScriptSpec { environment: environment().await, ..bench.spec(code) }
}

async fn one(bench: &Bench, code: &str, item: CallItem) -> (Vec<u8>, Option<String>) {
    let result = bench.run(spec(bench, code).await, vec![item]).await.pop().unwrap();
    let child = child(result);
    (content(&child), child.media_type)
}

#[tokio::test]
async fn tables_are_read_and_written_in_every_format() {
    let bench = Bench::new().await;
    for (library, annotation) in LIBRARIES {
        let code = format!(
            "import {library}\ndef process(table: {annotation}) -> {annotation}:\n    assert type(table).__module__.startswith('{library}')\n    return table\n"
        );
        let spec = Arc::new(spec(&bench, &code).await);
        let key = bench.key("tables");
        for (name, input, output, media) in [
            ("a.csv", "n,t\n1,ü\n2,b\n", "n,t\n1,ü\n2,b\n", "text/csv"),
            ("a.tsv", "n\tt\n1\tx\n", "n\tt\n1\tx\n", "text/tab-separated-values"),
            ("a.jsonl", "{\"n\":1,\"t\":\"x\"}\n", "{\"n\":1,\"t\":\"x\"}\n", "application/x-ndjson"),
            ("a.json", "[{\"n\":1,\"t\":\"x\"}]", "[{\"n\":1,\"t\":\"x\"}]", "application/json"),
            ("a.txt", "n,t\n1,x\n", "n,t\n1,x\n", "text/csv"),
            ("noext", "[{\"n\":1}]", "[{\"n\":1}]", "application/json"),
            ("semicolon.csv", "n;t\n01;1,50\n", "n;t\n01;1,50\n", "text/csv"),
        ] {
            let result = bench.pools.call(&key, &spec, vec![item(name, input)]).await.unwrap().pop().unwrap();
            let child = child(result);
            let got = String::from_utf8(content(&child)).unwrap();
            // pyarrow quotes texts and headers in CSV and puts spaces into JSON: the same data.
            let plain = |text: &str| text.replace([' ', '"'], "").replace("]\n", "]");
            assert_eq!(plain(&got), plain(output), "{library} {name}");
            assert_eq!(child.media_type.as_deref(), Some(media), "{library} {name}");
        }
    }
}

#[tokio::test]
async fn parquet_goes_round_and_is_told_by_its_bytes() {
    let bench = Bench::new().await;
    for (library, annotation) in LIBRARIES {
        let make = "import pyarrow\ndef process(item):\n    return item.with_(pyarrow.table({'n': [1, 2], 't': ['x', None]}), name='t.parquet')\n";
        let (parquet, media) = one(&bench, make, item("in.txt", "x")).await;
        assert!(parquet.starts_with(b"PAR1"));
        assert_eq!(media.as_deref(), Some("application/vnd.apache.parquet"));
        let code = format!("import {library}\ndef process(table: {annotation}):\n    return table\n");
        for name in ["t.parquet", "t.pq", "told-by-its-bytes"] {
            let (back, media) = one(&bench, &code, item(name, parquet.clone())).await;
            assert!(back.starts_with(b"PAR1"), "{library} {name}");
            assert_eq!(media.as_deref(), Some("application/vnd.apache.parquet"), "{library} {name}");
        }
        let typed = CallItem { media_type: Some("application/vnd.apache.parquet".into()), ..item("t", parquet) };
        assert!(one(&bench, &code, typed).await.0.starts_with(b"PAR1"), "{library}");
    }
}

#[tokio::test]
async fn an_empty_item_is_an_empty_table() {
    let bench = Bench::new().await;
    for (library, annotation) in LIBRARIES {
        let code = format!("import {library}\ndef process(table: {annotation}) -> str:\n    return str(table.shape)\n");
        for name in ["a.csv", "a.parquet", "a.json", "a"] {
            assert_eq!(one(&bench, &code, item(name, "")).await.0, b"(0, 0)", "{library} {name}");
        }
    }
}

#[tokio::test]
async fn an_index_that_holds_data_is_written() {
    let bench = Bench::new().await;
    for (expression, csv) in [
        ("table[table.n > 1]", "k,n\nb,2\na,3\n"),
        ("table.groupby('k').sum()", "k,n\na,4\nb,2\n"),
        ("table.groupby('k')['n'].max()", "k,n\na,3\nb,2\n"),
    ] {
        let code = format!("import pandas as pd\ndef process(table: 'pd.DataFrame'):\n    return {expression}\n");
        let (got, _) = one(&bench, &code, item("a.csv", "k,n\na,1\nb,2\na,3\n")).await;
        assert_eq!(String::from_utf8(got).unwrap(), csv, "{expression}");
    }
    let lazy =
        "import polars as pl\ndef process(table: pl.DataFrame):\n    yield table.lazy().select(pl.col('n').sum())\n";
    assert_eq!(one(&bench, lazy, item("a.csv", "n\n1\n2\n")).await.0, b"n\n3\n");
}

#[tokio::test]
async fn what_is_no_table_is_said() {
    let bench = Bench::new().await;
    for (library, annotation) in LIBRARIES {
        let code = format!("import {library}\ndef process(table: {annotation}):\n    return table\n");
        let result = bench.run(spec(&bench, &code).await, vec![item("a.parquet", "not at all")]).await.pop().unwrap();
        let failure = failure(result);
        assert!(failure.message.contains("can't be read as a parquet table"), "{library}: {failure:?}");
        assert!(failure.hint.is_some() && failure.line.is_none());
    }
}

#[tokio::test]
async fn a_result_names_its_format_and_its_media_type_together() {
    let bench = Bench::new().await;
    for (library, annotation) in LIBRARIES {
        let code = format!("import {library}\ndef process(table: {annotation}):\n    return table\n");
        let json = CallItem { media_type: Some("application/json".into()), ..item("a.csv", "[{\"n\":1}]") };
        let result = bench.run(spec(&bench, &code).await, vec![json]).await.pop().unwrap();
        let child = child(result);
        assert_eq!(content(&child), b"[{\"n\":1}]", "{library}");
        assert_eq!(child.name.as_deref(), Some("a.json"), "{library}");
        let code = format!(
            "import {library}\ndef process(item):\n    return item.with_({library}.{}({{'n': [1]}}), name='a.xlsx')\n",
            if library == "pyarrow" { "table" } else { "DataFrame" }
        );
        let result = bench.run(spec(&bench, &code).await, vec![item("a.csv", "x")]).await.pop().unwrap();
        let failure = failure(result);
        assert!(failure.message.contains("can't be written under the name 'a.xlsx'"), "{library}: {failure:?}");
        assert!(failure.hint.is_some_and(|hint| hint.contains("item.stem + \".csv\"")), "{library}");
    }
}

#[tokio::test]
async fn the_settings_of_tables_reach_the_worker() {
    let bench = Bench::new().await;
    for (library, annotation) in LIBRARIES {
        let code = format!("import {library}\ndef process(table: {annotation}):\n    return table\n");
        let parameters = json!({ "table": { "encoding": "cp1252", "delimiter": ":", "skip_rows": 1 } });
        let spec = ScriptSpec { parameters, ..spec(&bench, &code).await };
        let bytes = b"title: of it: all\nn:t\n1:\xfc\n";
        let result = bench.run(spec, vec![item("a.csv", &bytes[..])]).await.pop().unwrap();
        assert_eq!(content(&child(result)), bytes, "{library}");
    }
}

/// The many cases are tried in one process, beside the worker's own functions.
#[tokio::test]
async fn what_files_md_says_of_tables_holds() {
    let python = environment().await.interpreter;
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../workers/python/test_opendmp_tables.py");
    let ran = Command::new(python).arg("-B").arg(tests).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[tokio::test]
async fn the_libraries_load_within_a_modest_limit() {
    let bench = Bench::new().await;
    let code = "import pandas, polars, pyarrow, pyarrow.parquet\ndef process(data: bytes): return data\n";
    let mut spec = spec(&bench, code).await;
    spec.memory_limit = 512 << 20;
    let result = bench.run(spec, vec![item("a", "x")]).await.pop().unwrap();
    assert_eq!(content(&child(result)), b"x");
}
