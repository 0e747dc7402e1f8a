//! Whatever somebody writes as a condition: it is refused, or its evaluation ends soon.

use std::time::{Duration, Instant};

use opendmp_model::item::Item;
use opendmp_model::kinds::Problem;
use opendmp_processor::Outcome;
use serde_json::{Value, json};

use super::expression::Expression;
use super::{Router, cost};
use crate::fixtures::item;

/// What one evaluation, or one refusal, may take here: a loose check, since this is a debug build on a busy machine. In a
/// release build the dearest takes some milliseconds.
const LOOSE: Duration = Duration::from_secs(2);

/// An item with as much text as conditions look at.
fn large() -> Item {
    let long = "ab".repeat(10_000);
    let mut attributes = json!({ "a": long, "b": long, "n": 7, "ok": true, "none": null });
    for n in 0..500 {
        attributes[format!("k{n}")] = json!("text");
    }
    let Value::Object(map) = attributes else { unreachable!() };
    Item { attributes: map.into(), media_type: Some("text/csv".into()), ..item(&"a".repeat(4_096), b"12345") }
}

/// Reads an expression; evaluates it where it is accepted. Both have to end soon.
fn tried(text: &str, item: &Item) -> Result<u64, Problem> {
    let began = Instant::now();
    let read = Expression::parse(text);
    assert!(began.elapsed() < LOOSE, "{:?} to read {text}", began.elapsed());
    let expression = read?;
    assert!(expression.steps <= cost::MAX_STEPS, "{text}");
    let steps = expression.steps;
    let router = Router::new(vec![("yes".into(), expression)]);
    let began = Instant::now();
    let root = router.functions.context();
    let done = router.route(&root, item);
    assert!(began.elapsed() < LOOSE, "{:?} to evaluate {text}", began.elapsed());
    assert!(matches!(done.outcome, Outcome::Emit { .. }), "{text}");
    assert!(done.log.iter().all(|line| line.text.len() < 500), "{text}");
    Ok(steps)
}

/// The same with half the stack that a thread of the server has: as much may be in use before.
fn on_a_small_stack(text: &str) -> Result<u64, Problem> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(1 << 20);
        thread.spawn_scoped(scope, || tried(text, &large())).unwrap().join().unwrap()
    })
}

fn refused(text: &str, code: &str, word: &str) {
    let problem = tried(text, &large()).expect_err(text);
    assert_eq!((problem.code, problem.message.contains(word)), (code, true), "{text}: {}", problem.message);
    assert!(problem.hint.is_some(), "{text}");
}

/// Loops nested as deeply as `length` bytes allow.
fn nested(kind: &str, body: &str, length: usize) -> String {
    let list = format!("[{}]", ["1"; 20].join(","));
    let mut text = body.to_owned();
    while text.len() + list.len() + kind.len() + 8 <= length {
        text = format!("{list}.{kind}(size,{text})");
    }
    text
}

#[test]
fn loops_that_multiply_are_refused() {
    for (kind, body) in [
        ("all", "true"),
        ("exists", "false"),
        ("exists_one", "true"),
        ("map", "size"),
        ("filter", "true"),
        ("all", "name.contains('x')"),
    ] {
        let text = nested(kind, body, 410);
        assert!((340..=410).contains(&text.len()), "{text}");
        refused(&text, "expression-too-costly", "20000 steps");
    }
    // The ones by which a server of two cores stood still: any name that conditions know served as the variable.
    let names = ["name", "size", "media_type", "attributes"];
    let mut text = "true".to_owned();
    for n in 0..10 {
        text = format!("[0,1,2,3,4,5,6,7,8,9].all({},{text})", names[n % 4]);
    }
    refused(&text, "expression-too-costly", "20000 steps");
}

#[test]
fn loops_over_what_has_no_known_length_are_refused() {
    for text in [
        "attributes.all(k, k != 'a')",
        "attributes.exists(k, attributes.exists(l, k == l))",
        "dyn(attributes).map(k, k).size() > 3",
        "(size > 1 ? attributes : {'a': 1}).exists(k, k == 'a')",
        "[attributes].exists(x, x.exists(k, k == 'a'))",
        "{'x': attributes}.x.filter(k, true).size() == 0",
    ] {
        refused(text, "expression-too-costly", "`attributes`");
    }
    // A text is no list, whatever it says.
    assert!(tried("attributes.a.exists(c, c == 'a')", &large()).is_ok());
}

#[test]
fn what_grows_is_refused() {
    let grown = |begin: &str, step: &str, end: &str| {
        let mut text = begin.to_owned();
        for _ in 0..40 {
            if text.len() + step.len() + end.len() <= 500 {
                text.push_str(step);
            }
        }
        text + end
    };
    for text in [
        grown("['ab']", ".map(x,x+x)", ".size()>1"),
        grown("[[1]]", ".map(x,x+x)", ".size()>1"),
        grown("[1]", ".map(x,[x,x])", ".size()>1"),
        grown("[name]", ".map(x,x+x)", ".size()>1"),
        grown("[b'ab']", ".map(x,x+x)", ".size()>1"),
        grown("(name", "+name", ").size()>1"),
        grown("[attributes", ",attributes", "].size()>1"),
        grown("string(attributes.a", "+attributes.a", ")==''"),
    ] {
        // By what it grows to, or by how deep that is nested.
        let problem = tried(&text, &large()).expect_err(&text);
        assert!(["expression-too-costly", "bad-expression"].contains(&problem.code), "{}", problem.message);
    }
    refused(&format!("['ab']{}.size()>1", ".map(x,x+x+x+x)".repeat(15)), "expression-too-costly", "20000 steps");
    refused(&format!("[1]{}.size()>1", ".map(x,[x,x])".repeat(15)), "expression-too-costly", "20000 steps");
}

#[test]
fn deep_and_long_ones_are_refused_or_end() {
    let item = large();
    for (open, close) in [("(", ")"), ("[", "]"), ("{1:", "}"), ("!(", ")"), ("-(", ")"), ("size(", ")"), ("[0][", "]")]
    {
        for depth in [10, 20, 24, 25, 30, 60, 120, 240] {
            let _ = tried(&format!("{}1{}", open.repeat(depth), close.repeat(depth)), &item);
            let _ = tried(&open.repeat(depth), &item);
            // Brackets in a text are none.
            let _ = tried(
                &format!("{}'{}'{}1", open.repeat(depth / 2), close.repeat(depth), open.repeat(depth / 2)),
                &item,
            );
        }
    }
    refused(&format!("{}1{}", "[".repeat(30), "]".repeat(30)), "bad-expression", "nested deeper");
    // As deep as it goes, for each way to nest.
    for depth in 5..=40 {
        let around = |open: &str, close: &str| format!("{}size{}", open.repeat(depth), close.repeat(depth));
        for text in [
            around("[1].all(x,", ")"),
            around("[1].map(x,", ")"),
            around("[1].filter(x,x==", ")"),
            around("size(string(", "))"),
            around("(1>2?1:", ")"),
            around("(size>1?", ":1)"),
            around("1+(", ")"),
            around("-(1-", ")"),
            around("!(true==", ")"),
            around("true&&(false||", ")"),
            around("[1,", "]"),
            around("{1:", "}"),
            around("name.contains(", ")"),
            around("", "[0]"),
            around("", ".a"),
            around("", "+1"),
            around("", ".map(x,x)"),
            around("", ".startsWith('x')"),
        ] {
            if text.len() <= 500 {
                let _ = on_a_small_stack(&text);
            }
        }
    }
    for text in [
        "!".repeat(490) + "true",
        "-".repeat(490) + "1",
        "!-".repeat(245) + "1",
        "size>1?1:".repeat(54) + "2",
        "true?".repeat(80) + "1" + &":2".repeat(20),
        "size".to_owned() + &".a".repeat(240),
        "{}".to_owned() + &".a".repeat(240),
        "[[1]]".to_owned() + &"[0]".repeat(160),
        "1+".repeat(240) + "1",
        "true&&".repeat(80) + "true",
        "false||".repeat(70) + "true",
        "1==".repeat(160) + "1",
        "'a' in ['a'] in ".repeat(30) + "['a']",
        format!("size in [{}1]", "1,".repeat(240)),
        format!("{{{}2:1}}[1]==1", "1:1,".repeat(110)),
        format!("[{}1].exists(x, x == size)", "1,".repeat(220)),
        // Overflows are errors, and panics would end a worker.
        "-9223372036854775808 / -1 == 1".to_owned(),
        "9223372036854775807 + size > 0 && -(-9223372036854775807 - 1) > 0".to_owned(),
        "int(1e300) == 1 || uint(-1) == 1u || int('x') == 1 || 1 % 0 == 1 || 1u / 0u == 1u".to_owned(),
        "[1][5] == 1 || [1][-1] == 1 || {}[1] == 1 || string(b'\\xff') == ''".to_owned(),
    ] {
        assert!(text.len() <= 500, "{text}");
        let _ = tried(&text, &item);
    }
    assert!(tried(&format!("[{}1].exists(x, x == size)", "1,".repeat(220)), &item).is_ok());
    assert!(tried(&("size>1?1:".repeat(15) + "2"), &item).is_ok());
    assert!(tried(&("name=='x'||".repeat(30) + "true"), &item).is_ok());
}

#[test]
fn patterns_are_written_out_and_small() {
    for text in ["name.matches(attributes.a)", "['a'].exists(p, name.matches(p))", "name.matches('a' + 'b')"] {
        refused(text, "expression-too-costly", "literal text");
    }
    refused(r#"name.matches("(\\w{100}){100}")"#, "expression-too-costly", "128 KiB");
    refused(r#"name.matches("(((a{100}){100}){100}){100}")"#, "expression-too-costly", "128 KiB");
    refused("name.matches('[a')", "bad-expression", "unclosed");
    refused(&format!("name.matches('{}a{}')", "(".repeat(60), ")".repeat(60)), "bad-expression", "can't be read");
    for text in [
        "name.matches('(a*)*b')",
        "name.matches('(a|aa)+$') && name.matches('(a|a?)+b')",
        "name.matches('(a?){60}a{60}b')",
        "name.matches('(?:[ab]*a[ab]{60}){3}c')",
        r#"name.matches("^\\w+-\\d{4}(\\.\\pL+)?$")"#,
        r#"name.matches("(?i)^(survey|sample)[ _-]?\\d{4}-\\d{2}-\\d{2}.*\\.(csv|tsv|txt)$")"#,
        "matches(name, 'a+')",
        "['x', 'y'].exists(x, (name + x).matches('a[xy]$'))",
    ] {
        assert!(tried(text, &large()).is_ok(), "{text}: {:?}", tried(text, &large()));
    }
}

#[test]
fn what_people_write_is_accepted() {
    let item = large();
    for text in [
        "size >= 0",
        "['Biscoe', 'Dream', 'Torgersen'].exists(i, name.startsWith(i))",
        "['a', 'b', 'c'].all(k, k in attributes)",
        "[1, 2, 3].filter(x, x > 1).map(x, x * 2).exists(x, x == size)",
        "[1, 2, 3].exists_one(x, [2, 3].exists(y, x == y))",
        "has(attributes.a) && attributes.a.contains('ab') && attributes.n in [1, 7]",
        "attributes.a + '-' + attributes.b == 'x-y' || string(attributes.n) == '7'",
        "size(attributes) > 2 && 'a' in attributes && attributes['n'] == 7",
        "{'csv': 1000, 'txt': 10}[attributes.ok ? 'csv' : 'txt'] > size",
        "type(attributes.n) == type(1) && double(attributes.n) > 6.5 && int('7') == attributes.n",
        "// only these\nname.endsWith('.csv') // and no others",
    ] {
        let steps = tried(text, &item).unwrap_or_else(|problem| panic!("{text}: {}", problem.message));
        assert!(steps > 0 && steps < cost::MAX_STEPS / 10, "{steps} steps: {text}");
    }
}

#[test]
fn a_problem_names_its_place() {
    let place = |text: &str| Expression::parse(text).err().and_then(|problem| problem.offset);
    assert_eq!(place("size > 1 && attributes.exists(k, true)"), Some((1, 24)));
    assert_eq!(place("size > 1 &&\n  has(attributes.a) && name.matches(attributes.p)"), Some((2, 29)));
    assert_eq!(place("size > 1 && (has(attributes.a) || site == 'x')"), Some((1, 35)));
    assert_eq!(place("'é' == name || name.trim() == 'site('"), Some((1, 21)));
    assert_eq!(place("size >"), Some((1, 7)));
    let list = format!("[{}1]", "1,".repeat(40));
    assert_eq!(place(&format!("{list}.exists(x, {list}.exists(y, {list}.exists(z, z == x)))")), Some((1, 179)));
}

/// Numbers that are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }

    fn of<'a>(&mut self, among: &[&'a str]) -> &'a str {
        among[self.below(among.len())]
    }
}

/// An expression that mostly can be read.
fn expression(random: &mut Random, depth: usize) -> String {
    const LEAVES: &[&str] = &[
        "1",
        "size",
        "name",
        "attributes.a",
        "attributes",
        "'ab'",
        "x",
        "y",
        "true",
        "1.5",
        "2u",
        "b'ab'",
        "null",
        "[1,2,3]",
        "['a','b','c','d']",
        "{'a':1}",
        "[name,'b']",
    ];
    if depth == 0 {
        return random.of(LEAVES).to_owned();
    }
    let mut part = || expression(random, depth - 1);
    let (one, two, three) = (part(), part(), part());
    match random.below(12) {
        0 | 1 => {
            let kind = random.of(&["all", "exists", "exists_one", "map", "filter"]);
            format!("[{one},{two}].{kind}({},{three})", random.of(&["x", "y", "size"]))
        }
        2 => format!("{one}.{}(x,{two})", random.of(&["all", "exists", "map", "filter"])),
        3 => format!("({one}+{two})"),
        4 => format!("({one}{}{two})", random.of(&["==", "<", ">=", "!=", "&&", "||", "-", "*", "/", "%", " in "])),
        5 => format!("({one}?{two}:{three})"),
        6 => format!("{one}.{}({two})", random.of(&["contains", "startsWith", "endsWith", "matches"])),
        7 => format!("{}({one})", random.of(&["size", "string", "int", "dyn", "type", "!", "-", "bytes"])),
        8 => format!("{one}[{two}]"),
        9 => format!("[{one},{two},{three}]"),
        10 => format!("{{{one}:{two}}}"),
        _ => format!("[{one}].map(x,{two})"),
    }
}

#[test]
fn nothing_that_is_made_up_takes_long() {
    const TOKENS: &[&str] = &[
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "!",
        "-",
        ".",
        "size",
        "name",
        ",",
        ":",
        "?",
        "&&",
        "||",
        "==",
        "in",
        "1",
        "'x'",
        "b'",
        ".map(x,",
        ".exists(x,",
        "has(",
        "attributes.a",
        ".?b",
        "[?",
        "+",
        "`a-b`",
        "\"",
        "'''",
        "null",
        "if",
        "\n",
        "//",
        "é",
        "\\",
        "a{b:",
        "{'a':",
        "0x",
        "1e",
        "r'",
        "x",
    ];
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let item = large();
    let mut accepted = 0;
    for _ in 0..1_000 {
        let few: Vec<&str> = (0..=random.below(5)).map(|_| random.of(TOKENS)).collect();
        let among = if random.below(2) == 0 { TOKENS } else { &few };
        let mut text = String::new();
        while text.len() < 480 && random.below(60) > 0 {
            text.push_str(random.of(among));
        }
        accepted += usize::from(tried(&text, &item).is_ok());
        let depth = 1 + random.below(4);
        accepted += usize::from(tried(&expression(&mut random, depth), &item).is_ok());
    }
    assert!(accepted > 100, "{accepted}");
}

/// More of them by a seed; many more with `OPENDMP_FUZZ_TRIES=1000000 cargo test --release … more_random`.
#[test]
fn more_random_expressions_end_soon() {
    let count = std::env::var("OPENDMP_FUZZ_TRIES").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    let (item, mut random) = (large(), Random(0x2545_f491_4f6c_dd1d));
    let accepted = (0..count).filter(|_| {
        let depth = 1 + random.below(5);
        tried(&expression(&mut random, depth), &item).is_ok()
    });
    assert!(accepted.count() > 0);
}
