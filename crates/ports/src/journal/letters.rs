//! Dead letters by what went wrong: which belong together, decided the same for every journal.

use opendmp_model::fault::Fault;
use opendmp_model::ids::{PathHash, TaskId};

use super::decide;
use super::types::{DeadRow, Filter, FlowId, Page};
use crate::Result;

/// What stands for what differs.
const DIFFERS: char = '…';

/// Characters of a message that tell groups apart at most.
const MOST: usize = 300;

/// Open dead letters of one flow and processor whose errors differ only in what differs from item to item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadGroup {
    /// Its id.
    pub group: PathHash,
    /// Slug of the flow.
    pub flow: String,
    /// Where they failed.
    pub processor: String,
    /// The error's code.
    pub code: String,
    /// Its message, with `…` for what differs.
    pub message: String,
    /// How many there are.
    pub count: u64,
    /// When the first of them failed.
    pub first: i64,
    /// When the last of them failed.
    pub last: i64,
    /// The last of them.
    pub sample: TaskId,
}

/// What of an error is the same for all letters of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Same {
    /// The group's id.
    pub group: PathHash,
    /// The error's code.
    pub code: String,
    /// [`folded`].
    pub message: String,
}

/// The group of a dead letter.
pub fn group_of(flow: FlowId, processor: &str, fault: &Fault) -> Same {
    let message = folded(&fault.message);
    let parts: [&[u8]; 4] = [&flow.0.to_le_bytes(), processor.as_bytes(), fault.code.as_bytes(), message.as_bytes()];
    Same { group: PathHash::of("opendmp 2026 letter group v1", &parts), code: fault.code.clone(), message }
}

/// A message without what differs from item to item: its first line, with `…` for what stands in quotes, and for words
/// with digits or slashes in them: numbers, ids, names of files.
pub fn folded(message: &str) -> String {
    let line = message.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let chars: Vec<char> = line.chars().take(4 * MOST).collect();
    let mut out = String::new();
    let mut at = 0;
    while at < chars.len() && out.len() < MOST {
        let char = chars[at];
        if let Some(end) = quoted(&chars, at) {
            out.extend([char, DIFFERS, chars[end]]);
            at = end + 1;
        } else if is_word(char) {
            let mut end = at;
            while end < chars.len() && (is_word(chars[end]) || quoted(&chars, end).is_none() && chars[end] == '\'') {
                end += 1;
            }
            // A full stop or colon behind a word is not of it.
            let mut of_word = end;
            while of_word > at + 1 && matches!(chars[of_word - 1], '.' | ':' | '-' | '\'') {
                of_word -= 1;
            }
            let word = &chars[at..of_word];
            if word.iter().any(|char| char.is_numeric() || matches!(char, '/' | '\\')) {
                if !out.ends_with(DIFFERS) {
                    out.push(DIFFERS);
                }
            } else {
                out.extend(word);
            }
            at = of_word;
        } else {
            out.push(char);
            at += 1;
        }
    }
    out
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '/' | '\\' | '.' | ':' | '-' | '+' | '@' | '%' | '~' | '#')
}

/// Where what is quoted from here on ends: an apostrophe within a word is no quote.
fn quoted(chars: &[char], at: usize) -> Option<usize> {
    let close = match chars[at] {
        same @ ('"' | '\'' | '`') => same,
        '“' | '„' => '”',
        '‘' => '’',
        '«' => '»',
        _ => return None,
    };
    if at > 0 && chars[at - 1].is_alphanumeric() {
        return None;
    }
    let length = chars[at + 1..].iter().position(|char| *char == close)?;
    (length > 0).then_some(at + 1 + length)
}

/// Whether a letter has all these words (in lower case) in its item's name, or in what is said of it.
pub fn has_words(words: &[String], row: &DeadRow) -> bool {
    if words.is_empty() {
        return true;
    }
    let fault = &row.fault;
    let said = [&*row.item.name, &row.flow, &*row.at.processor, &fault.code, &fault.message];
    let said = said.join("\n").to_lowercase();
    words.iter().all(|word| said.contains(word.as_str()))
}

/// The words of a search, in lower case.
pub fn words(text: Option<&str>) -> Vec<String> {
    text.unwrap_or_default().to_lowercase().split_whitespace().map(str::to_owned).collect()
}

/// The page of groups that is asked for: the largest first. Meant by the filter are flow and words.
pub fn groups_page(mut groups: Vec<DeadGroup>, filter: &Filter) -> Result<Page<DeadGroup>> {
    let after = filter.after.as_deref().map(|cursor| {
        let parse = || {
            let (count, group) = cursor.split_once('-')?;
            Some((count.parse::<u64>().ok()?, parse_group(group)?))
        };
        parse().ok_or_else(|| decide::bad_cursor("journal dead groups"))
    });
    let after = after.transpose()?;
    let words = words(filter.text.as_deref());
    groups.retain(|row| {
        let said = || [&*row.flow, &row.processor, &row.code, &row.message].join("\n").to_lowercase();
        filter.flow.as_ref().is_none_or(|flow| *flow == row.flow)
            && (words.is_empty() || words.iter().all(|word| said().contains(word.as_str())))
    });
    let place = |row: &DeadGroup| (std::cmp::Reverse(row.count), row.group);
    groups.sort_by_key(place);
    if let Some((count, group)) = after {
        groups.retain(|row| place(row) > (std::cmp::Reverse(count), group));
    }
    let limit = decide::page_limit(filter);
    let more = groups.len() > limit;
    groups.truncate(limit);
    let next = groups.last().filter(|_| more).map(|row| format!("{}-{}", row.count, group_text(row.group)));
    Ok(Page { rows: groups, next })
}

/// A group's id as text.
pub fn group_text(group: PathHash) -> String {
    group.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The inverse of [`group_text`].
pub fn parse_group(text: &str) -> Option<PathHash> {
    let mut group = PathHash::default();
    if text.len() != 2 * group.0.len() || !text.is_ascii() {
        return None;
    }
    for (at, byte) in group.0.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_left_out() {
        for (message, same) in [
            ("", ""),
            ("no column `price` in this file", "no column `…` in this file"),
            ("invalid literal for int() with base 10: 'n/a'", "invalid literal for int() with base …: '…'"),
            ("can't decode byte 0xff in position 12: bad", "can't decode byte … in position …: bad"),
            ("line 3, column 14.5-16: it's \"x y\"", "line …, column …: it's \"…\""),
            ("/data/in/a.csv is missing", "… is missing"),
            ("item-00012.txt: not a number.", "…: not a number."),
            ("exit code 3\nand more", "exit code …"),
            ("\n  first line that says something \nx", "first line that says something"),
            ("don't 'know' what's this", "don't '…' what's this"),
            ("'", "'"),
            ("''", "''"),
        ] {
            assert_eq!(folded(message), same, "{message}");
        }
        assert!(folded(&"wörter und mehr ".repeat(500)).len() < 2 * MOST);
        assert_eq!(folded("3 of 17 rows, at 9:30"), folded("12 of 8 rows, at 10:31"));
    }

    #[test]
    fn groups_are_of_flow_processor_code_and_message() {
        let fault = |message: &str| Fault::new(opendmp_model::fault::FaultKind::Failed, "ValueError", message);
        let one = group_of(FlowId(1), "clean", &fault("row 1"));
        assert_eq!(one, group_of(FlowId(1), "clean", &fault("row 2")));
        assert_ne!(one.group, group_of(FlowId(2), "clean", &fault("row 1")).group);
        assert_ne!(one.group, group_of(FlowId(1), "sort", &fault("row 1")).group);
        assert_ne!(one.group, group_of(FlowId(1), "clean", &fault("column 1")).group);
        assert_eq!(parse_group(&group_text(one.group)), Some(one.group));
        assert_eq!(parse_group("zz"), None);
    }
}
