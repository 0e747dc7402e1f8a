//! Lines and CSV as programs of many sorts write them.

use super::*;

async fn texts_of(config: Value, content: &[u8]) -> Vec<String> {
    let contents = Bench::new().contents(config, content).await;
    contents.into_iter().map(|content| String::from_utf8(content).unwrap()).collect()
}

#[tokio::test]
async fn text_with_a_mark_comes_out_whole_and_as_utf_8() {
    let utf_16 = include_bytes!("../../cases/utf16le.csv");
    let rows = texts_of(json!({ "as": "csv" }), utf_16).await;
    assert!(!rows.is_empty() && rows.iter().all(|row| !row.contains('\0') && row.lines().count() == 2), "{rows:?}");
    let text = "id,name\r\n1,Zo\u{eb}\r\n2,Ann\r\n";
    let marked = format!("\u{feff}{text}");
    for written in [
        marked.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>(),
        marked.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        marked.chars().flat_map(|character| u32::from(character).to_le_bytes()).collect(),
        marked.chars().flat_map(|character| u32::from(character).to_be_bytes()).collect(),
    ] {
        let rows = texts_of(json!({ "as": "csv" }), &written).await;
        assert_eq!(rows, ["id,name\r\n1,Zo\u{eb}\r\n", "id,name\r\n2,Ann\r\n"]);
        let lines = texts_of(json!({ "as": "lines" }), &written).await;
        assert_eq!(lines, ["id,name\r\n", "1,Zo\u{eb}\r\n", "2,Ann\r\n"]);
    }
    let latin = json!({ "as": "csv", "encoding": "windows-1252" });
    assert_eq!(texts_of(latin, b"id,name\n1,Zo\xeb\n").await, ["id,name\n1,Zo\u{eb}\n"]);
    let bench = Bench::new();
    let unmarked: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for format in ["csv", "lines"] {
        assert_eq!(bench.refused(json!({ "as": format }), &unmarked).await.code, "no-mark");
        let said = json!({ "as": format, "encoding": "utf-16le" });
        assert!(bench.split(said, "a", &unmarked).await.unwrap().len() > 1);
        assert_eq!(bench.refused(json!({ "as": format, "encoding": "utf-8" }), b"a\n\xff\n").await.code, "no-text");
    }
}

#[tokio::test]
async fn the_line_that_excel_reads_is_no_header() {
    let text = b"sep=;\r\nid;name\r\n1;Ann\r\n2;\"B;C\"\r\n";
    for config in [json!({ "as": "csv" }), json!({ "as": "csv", "delimiter": ";" })] {
        assert_eq!(texts_of(config, text).await, ["id;name\r\n1;Ann\r\n", "id;name\r\n2;\"B;C\"\r\n"]);
    }
    let auto = json!({ "as": "csv", "delimiter": "auto" });
    assert_eq!(texts_of(auto, b"id;name\n1;\"a,\nb\"\n").await, ["id;name\n1;\"a,\nb\"\n"]);
    assert!(texts_of(json!({ "as": "csv" }), b"sep=;\n").await.is_empty());
}

#[tokio::test]
async fn a_row_that_does_not_fit_has_the_item_refused() {
    let bench = Bench::new();
    // A wrong delimiter cuts quoted rows in two; a quote astray takes in the rows behind it.
    for text in ["a;b\n1;\"x,\ny\"\n", "id,text\n1,a\n2,\"b\n3,c\n4,d\"\n5,e,f\n", "id,text\n1,\"a\" b\",c\n"] {
        let fault = bench.refused(json!({ "as": "csv" }), text.as_bytes()).await;
        assert!(fault.code == "other-field-count" && fault.message.contains("row "), "{fault}");
    }
    assert_eq!(texts_of(json!({ "as": "csv", "ragged": true }), b"a,b\n1\n").await, ["a,b\n1\n"]);
    let escaped = json!({ "as": "csv", "escape": "\\" });
    assert_eq!(texts_of(escaped, b"a,b\n1,\"x\\\",\ny\"\n").await.len(), 1);
}

#[tokio::test]
async fn blank_lines_are_no_json_documents() {
    let bench = Bench::new();
    let text = "\n{\"a\":1}\n \t\r\n\n  {\"a\":2}\r\n{\"a\":3}\n\n \n";
    for (name, rows, expected) in [
        ("a.jsonl", 1, &["{\"a\":1}\n", "  {\"a\":2}\r\n", "{\"a\":3}\n"][..]),
        ("a.NDJSON", 2, &["{\"a\":1}\n  {\"a\":2}\r\n", "{\"a\":3}\n"]),
        ("a.txt", 4, &["\n{\"a\":1}\n \t\r\n\n", "  {\"a\":2}\r\n{\"a\":3}\n\n \n"]),
    ] {
        let children = bench.split(json!({ "as": "lines", "rows": rows }), name, text.as_bytes()).await.unwrap();
        let contents: Vec<Vec<u8>> = children.into_iter().map(|child| child.content).collect();
        assert_eq!(texts(&contents), expected, "{name}");
    }
    assert!(bench.split(json!({ "as": "lines" }), "a.jsonl", b" \n\n  ").await.unwrap().is_empty());
    // Documents and blank lines anywhere around the edge of a block.
    let block = crate::blocks::BLOCK;
    for pad in block - 4..block + 4 {
        let first = format!("\"{}\"\n", "x".repeat(pad - 3));
        let text = format!("{first}   \n\n 2\n");
        let children = bench.split(json!({ "as": "lines" }), "a.jsonl", text.as_bytes()).await.unwrap();
        assert_eq!(children.len(), 2, "{pad}");
        assert!(children[0].content == first.as_bytes() && children[1].content == b" 2\n", "{pad}");
    }
}

/// What is no JSON is so for everybody, and is told with its line and byte, counted from the beginning of the item.
#[tokio::test]
async fn what_is_no_json_is_told_where_it_is() {
    let bench = Bench::new();
    let within = |document: &[u8]| [b"[1,\n", document, b"\n]"].concat();
    for (item, words) in [
        (include_bytes!("../../cases/nan.json").to_vec(), "NaN and Infinity are no numbers of it, in line 1 at byte 1"),
        (include_bytes!("../../cases/notutf8_line3.json").to_vec(), "it is not UTF-8, in line 3 at byte 8"),
        (include_bytes!("../../cases/lone_surrogate.json").to_vec(), "(a lone surrogate), in line 1 at byte 8"),
        (within(b"NaN"), "NaN and Infinity are no numbers of it, in line 2 at byte 4"),
        (b"[1,\n-Infinity]".to_vec(), "NaN and Infinity are no numbers of it, in line 2 at byte 5"),
        (b"[Infinity]".to_vec(), "NaN and Infinity are no numbers of it, in line 1 at byte 1"),
        (b"[1,\n2,\n \"\xff\"]".to_vec(), "not UTF-8, in line 3 at byte 9"),
        (b"[1,\n\xc3(]".to_vec(), "not UTF-8, in line 2 at byte 4"),
        (b"[\n\n\"\xed\xa0\xbd\"]".to_vec(), "not UTF-8, in line 3 at byte 4"),
        (br#"["\ud83d"]"#.to_vec(), "half a character (a lone surrogate), in line 1 at byte 8"),
        (br#"["\ude00\ud83d"]"#.to_vec(), "half a character"),
        (br#"["\ud83d\n"]"#.to_vec(), "half a character"),
        (br#"["\ud83d\ud83d"]"#.to_vec(), "half a character"),
        (b"[1,\n,2]".to_vec(), "in line 2 at byte 4"),
        (b"[1,\n {\"a\" 1}]".to_vec(), "in line 2 at byte 10"),
        (b"[1,\nx]".to_vec(), "in line 2 at byte 4"),
        (b"[\"a\nb\"]".to_vec(), "in line 1 at byte 3"),
        ("\u{feff}[]".encode_utf16().flat_map(u16::to_le_bytes).collect(), "UTF-16LE, and JSON is UTF-8"),
    ] {
        let fault = bench.refused(json!({ "as": "json" }), &item).await;
        assert!(fault.code == "bad-json" && fault.message.contains(words), "{fault} {words}");
    }
    for whole in [r#"["\ud83d\ude00"]"#, r#"["\\ud83d"]"#, r#"["\u00e9\uE000"]"#, "[\"\u{1F600}\"]"] {
        assert_eq!(texts_of(json!({ "as": "json" }), whole.as_bytes()).await, [&whole[1..whole.len() - 1]]);
    }
}
