//! The values without keys: lists, numbers, texts, the secrets named in texts, and what is said when a value is of the
//! wrong sort.

use super::{Schema, Walk, matches_pattern, place_of};
use crate::diagnostic::{Diagnostic, Span, codes};
use crate::document::flow::{InputRef, is_id};
use crate::document::tree::{Node, Style, Value, shorten};
use crate::document::values::{ByteSize, HumanDuration, ValueError};
use serde_json::Value as Json;
use std::collections::BTreeSet;

impl Walk<'_, '_> {
    pub(super) fn list(&mut self, node: &Node, list: &[Node], schema: Schema<'_>, key: &str, key_span: Span) {
        let place = place_of(node, key_span);
        let limit = |keyword: &str| schema.node.get(keyword).and_then(Json::as_u64);
        if let Some(least) = limit("minItems")
            && (list.len() as u64) < least
        {
            let message = match list.len() {
                0 => format!("`{}` is empty", shorten(key)),
                count => format!("`{}` takes at least {least} entries, not {count}", shorten(key)),
            };
            self.report(Diagnostic::error(codes::OUT_OF_RANGE, message).at(place));
        }
        if let Some(most) = limit("maxItems")
            && list.len() as u64 > most
        {
            self.report(
                Diagnostic::error(
                    codes::OUT_OF_RANGE,
                    format!("`{}` takes at most {most} entries, not {}", shorten(key), list.len()),
                )
                .at(place),
            );
        }
        let prefix = schema.node.get("prefixItems").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        for (index, item) in list.iter().enumerate() {
            match prefix.get(index).or_else(|| schema.node.get("items")) {
                Some(node) => self.value(item, schema.of(node), key, key_span),
                None => self.value(item, Schema { node: &Json::Bool(true), root: schema.root }, key, key_span),
            }
        }
        if schema.node.get("uniqueItems") == Some(&Json::Bool(true)) {
            let mut seen = BTreeSet::new();
            for item in list {
                if !seen.insert(item.to_json().to_string()) {
                    let message = format!("`{}` has this entry twice", shorten(key));
                    self.report(
                        Diagnostic::error(codes::NOT_ALLOWED, message)
                            .at(item.first_line())
                            .hint("remove one of the two"),
                    );
                }
            }
        }
    }

    pub(super) fn number(&mut self, node: &Node, number: &serde_json::Number, schema: Schema<'_>, key: &str) {
        let (low, high) = match schema.text("format") {
            Some("uint8") => (Some(0.0), Some(f64::from(u8::MAX))),
            Some("uint16") => (Some(0.0), Some(f64::from(u16::MAX))),
            Some("uint32") => (Some(0.0), Some(f64::from(u32::MAX))),
            Some("uint64" | "uint") => (Some(0.0), None),
            Some("int8") => (Some(f64::from(i8::MIN)), Some(f64::from(i8::MAX))),
            Some("int16") => (Some(f64::from(i16::MIN)), Some(f64::from(i16::MAX))),
            Some("int32") => (Some(f64::from(i32::MIN)), Some(f64::from(i32::MAX))),
            _ => (None, None),
        };
        // Whole numbers over 64 bits were refused by the reader, so only the signed 64-bit bound is left to check.
        let signed = matches!(schema.text("format"), Some("int64" | "int")) && number.is_u64() && !number.is_i64();
        let value = number.as_f64().unwrap_or(f64::NAN);
        let limit = |keyword: &str| schema.limit(keyword).and_then(Json::as_f64);
        let low = limit("minimum").or(low);
        let high = limit("maximum").or(high);
        let fine = low.is_none_or(|low| value >= low)
            && high.is_none_or(|high| value <= high)
            && limit("exclusiveMinimum").is_none_or(|low| value > low)
            && limit("exclusiveMaximum").is_none_or(|high| value < high)
            && !signed;
        if !fine {
            let range = match (low.or(limit("exclusiveMinimum")), high.or(limit("exclusiveMaximum"))) {
                (Some(low), Some(high)) => format!("a number from {low} to {high}"),
                (Some(low), None) => format!("a number from {low}"),
                (None, Some(high)) => format!("a number up to {high}"),
                (None, None) => "a smaller number".to_owned(),
            };
            self.report(
                Diagnostic::error(codes::OUT_OF_RANGE, format!("`{}` takes {range}, not {number}", shorten(key)))
                    .at(node.span),
            );
        }
    }

    pub(super) fn text(&mut self, node: &Node, text: &str, style: Style, schema: Schema<'_>, key: &str) {
        let format = schema.text("format");
        let bad = |why: Result<(), ValueError>| match why {
            Ok(()) => None,
            Err(error) => Some(
                Diagnostic::error(
                    codes::BAD_FORMAT,
                    format!("`{}` takes {}, not `{}`", shorten(key), schema.words(), shorten(text)),
                )
                .at(node.span)
                .hint(error.hint),
            ),
        };
        let by_format = match format {
            Some("duration") => bad(text.parse::<HumanDuration>().map(drop)),
            Some("bytesize") => bad(text.parse::<ByteSize>().map(drop)),
            Some("id") if is_id(text) => None,
            Some("input") if InputRef::parse(text).is_some() => None,
            Some("id" | "input") => {
                let hint =
                    "use letters, digits, `_` and `-`, at most 64 of them; a dot stands before the name of an output"
                        .to_owned();
                bad(Err(ValueError { message: String::new(), hint }))
            }
            _ => match schema.text("pattern") {
                Some(pattern) if !matches_pattern(pattern, text) => {
                    bad(Err(ValueError { message: String::new(), hint: format!("it has to match `{pattern}`") }))
                }
                _ => None,
            },
        };
        if let Some(diagnostic) = by_format {
            self.report(diagnostic);
        }
        let length = text.chars().count() as u64;
        let limit = |keyword: &str| schema.node.get(keyword).and_then(Json::as_u64);
        if limit("minLength").is_some_and(|least| length < least) {
            let message = if length == 0 {
                format!("`{}` is empty", shorten(key))
            } else {
                format!("`{}` is too short", shorten(key))
            };
            self.report(Diagnostic::error(codes::OUT_OF_RANGE, message).at(node.span));
        }
        if let Some(most) = limit("maxLength")
            && length > most
        {
            let message = format!("`{}` takes at most {most} characters, not {length}", shorten(key));
            self.report(Diagnostic::error(codes::OUT_OF_RANGE, message).at(node.span));
        }
        // Code is never filled in, and braces are part of many languages.
        if self.secrets_allowed && format != Some("code") {
            self.find_secrets(node, text, style);
        }
    }

    fn find_secrets(&mut self, node: &Node, text: &str, style: Style) {
        let mut at = 0;
        while let Some(begin) = text[at..].find("{{").map(|found| at + found) {
            let inner_at = begin + 2;
            let end = text[inner_at..].find("}}").map(|found| inner_at + found);
            let inner = text[inner_at..end.unwrap_or(text.len())].trim();
            let looks = inner.get(..6).is_some_and(|word| word.eq_ignore_ascii_case("secret"));
            match (inner.strip_prefix("secrets."), end) {
                (Some(name), Some(_)) if is_secret_name(name) => {
                    self.secrets.insert(name.to_owned());
                }
                _ if looks => {
                    let message = if end.is_none() {
                        "the name of a secret ends with `}}`"
                    } else {
                        "this is not the name of a secret"
                    };
                    // Without escapes and folds the place within the text is known as well.
                    let place = if style == Style::Plain && text.len() == node.span.len {
                        Span {
                            offset: node.span.offset + begin,
                            len: end.map_or(2, |end| end + 2 - begin),
                            column: node.span.column + text[..begin].chars().count(),
                            ..node.span
                        }
                    } else {
                        node.span
                    };
                    self.report(
                        Diagnostic::error(codes::BAD_SECRET, message).at(place).hint("write `{{ secrets.NAME }}`"),
                    );
                }
                _ => {}
            }
            at = end.map_or(text.len(), |end| end + 2);
        }
    }

    pub(super) fn wrong_type(&mut self, node: &Node, schema: Schema<'_>, key: &str, key_span: Span) {
        if !node.complete {
            // It might have become right.
            self.faults += 1;
            return;
        }
        let key = shorten(key);
        let message = match node.value {
            Value::Null => format!("`{key}` is empty; it takes {}", schema.words()),
            _ => format!("`{key}` takes {}, not {}", schema.words(), found(node)),
        };
        let mut diagnostic = Diagnostic::error(codes::WRONG_TYPE, message).at(place_of(node, key_span));
        if let Some(hint) = type_hint(node, schema) {
            diagnostic = diagnostic.hint(hint);
        }
        self.report(diagnostic);
    }
}

fn is_secret_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

pub(super) fn found(node: &Node) -> String {
    match &node.value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(number) => format!("the number {number}"),
        Value::Text(text, _) if text.is_empty() => "empty text".to_owned(),
        Value::Text(text, _) => format!("`{}`", shorten(text)),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a map".to_owned(),
        Value::Broken => "this".to_owned(),
    }
}

fn type_hint(node: &Node, schema: Schema<'_>) -> Option<String> {
    let types = schema.types();
    let takes = |name: &str| types.contains(&name);
    match &node.value {
        Value::Null => Some("give it a value or remove the key".to_owned()),
        Value::Number(number) if schema.text("format") == Some("duration") => {
            Some(format!("did you mean `{number}s`?"))
        }
        Value::Number(number) if schema.text("format") == Some("bytesize") => {
            Some(format!("did you mean `{number} B`?"))
        }
        Value::Number(number) if takes("integer") && number.is_f64() => Some("write it without a fraction".to_owned()),
        Value::Bool(_) | Value::Number(_) if takes("string") => Some(format!("quote it: \"{}\"", node.to_json())),
        Value::Text(text, _) if takes("boolean") => match text.to_lowercase().as_str() {
            "yes" | "on" | "y" | "true" => Some("write `true`, without quotes".to_owned()),
            "no" | "off" | "n" | "false" => Some("write `false`, without quotes".to_owned()),
            _ => None,
        },
        Value::Text(text, _) if (takes("integer") || takes("number")) && text.trim().parse::<f64>().is_ok() => {
            Some("remove the quotes".to_owned())
        }
        Value::Map(_) if takes("array") => Some("begin each entry with `- `".to_owned()),
        Value::Text(_, _) | Value::Number(_) | Value::Bool(_) if takes("array") => {
            Some(format!("write `[{}]`", shorten(&node.to_json().to_string())))
        }
        _ => None,
    }
}
