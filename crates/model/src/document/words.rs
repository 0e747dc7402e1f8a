//! How names are put into sentences, and which known name a misspelt one was probably meant to be.

use super::tree::shorten;

/// `a`, `b` or `c`.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    joined(names, "or")
}

/// "there are `a` and `b`".
pub(super) fn there_are<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match names.as_slice() {
        [] => "there are none".to_owned(),
        [only] => format!("there is only `{only}`"),
        several => format!("there are {}", joined(several.iter().copied(), "and")),
    }
}

pub(super) fn joined<'a>(names: impl IntoIterator<Item = &'a str>, word: &str) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} {word} {last}", rest.join(", ")),
    }
}

/// "an ingest", "a script".
pub(super) fn with_article(name: &str) -> String {
    let article = if name.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O', 'U']) { "an" } else { "a" };
    format!("{article} {}", shorten(name))
}

/// The known name that was probably meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > 100 {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace(['-', ' '], "_");
    let word = plain(word);
    known
        .into_iter()
        .map(|name| {
            let name_plain = plain(name);
            let longest = word.chars().count().max(name_plain.chars().count());
            let distance = strsim::osa_distance(&word, &name_plain);
            // `file` for `file_drop`, `col` for `collection`: a beginning of some length counts as one slip.
            let begins = word.len() >= 3
                && (name_plain.starts_with(&word) || word.starts_with(&name_plain) && name_plain.len() >= 3);
            (if begins { distance.min(1) } else { distance }, longest, name)
        })
        .filter(|(distance, longest, _)| *distance <= 1.max(longest / 3) && distance < longest)
        .min_by_key(|(distance, longest, _)| (*distance, *longest))
        .map(|(_, _, name)| name)
}
