//! Content as an answer: whole or a part of it (RFC 9110, 14), unless the asker has it already (13), under a name that
//! browsers keep (RFC 6266), and shown in place only where it can't run code there.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use opendmp_model::ids::ContentHash;
use opendmp_ports::content::Body;
use serde::Deserialize;
use utoipa::IntoParams;

use super::answer::stream_part;
use crate::HASH;
use crate::problem::Problem;

/// What is shown in place. Neither HTML nor SVG nor XML is among it: they can hold scripts, which would run as the page's.
const SAFE: [&str; 17] = [
    "text/plain",
    "text/csv",
    "text/tab-separated-values",
    "text/markdown",
    "text/x-log",
    "text/yaml",
    "application/json",
    "application/x-ndjson",
    "application/yaml",
    "application/pdf",
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/avif",
    "image/bmp",
    "image/x-icon",
];

/// Characters besides letters and digits that stand for themselves in an extended value (RFC 8187, 3.2.1).
const PLAIN: &[u8] = b"!#$&+-.^_`|~";

/// How bytes are wanted.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct How {
    /// `1`: to be kept as a file, whatever it is.
    #[serde(default)]
    pub download: Option<u8>,
}

impl How {
    pub(crate) fn is_download(self) -> bool {
        self.download.is_some_and(|download| download != 0)
    }
}

/// Bytes, and what they are.
pub(crate) struct Served<'a> {
    pub body: Body,
    pub hash: ContentHash,
    pub size: u64,
    pub name: &'a str,
    pub media_type: Option<&'a str>,
}

impl Served<'_> {
    /// The answer to a request with these headers.
    pub(crate) fn answer(self, asked: &HeaderMap, download: bool) -> Result<Response, Problem> {
        let tag = format!("\"{}\"", self.hash.to_hex());
        let mut headers = HeaderMap::new();
        let media = shown(self.media_type, self.name);
        let attachment = download || media.is_none();
        put(&mut headers, header::ETAG, &tag);
        put(&mut headers, header::CONTENT_DISPOSITION, &disposition(self.name, attachment));
        put(&mut headers, header::CONTENT_TYPE, media.as_deref().unwrap_or("application/octet-stream"));
        put(&mut headers, header::ACCEPT_RANGES, "bytes");
        put(&mut headers, header::CACHE_CONTROL, "private, no-cache");
        put(&mut headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        // The page may show it in a frame. Browsers show PDF by a program of their own, which a sandbox keeps out.
        let pdf = media.as_deref() == Some("application/pdf");
        let sandbox = if pdf { "object-src 'self'" } else { "sandbox" };
        let policy = format!("default-src 'none'; frame-ancestors 'self'; {sandbox}");
        put(&mut headers, header::CONTENT_SECURITY_POLICY, &policy);
        headers.insert(HASH, HeaderValue::from_str(&self.hash.to_hex()).unwrap_or(HeaderValue::from_static("")));
        if asked.get_all(header::IF_NONE_MATCH).iter().any(|value| names(value, &tag)) {
            return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
        }
        // What goes on where an earlier answer broke off must be of the same bytes.
        let same = asked.get(header::IF_RANGE).is_none_or(|value| value.as_bytes() == tag.as_bytes());
        let range = asked.get(header::RANGE).filter(|_| same).and_then(|value| value.to_str().ok());
        match range.map_or(Range::Whole, |range| Range::of(range, self.size)) {
            Range::Whole => {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(self.size));
                Ok((headers, stream_part(self.body, 0, self.size)).into_response())
            }
            Range::Part(first, last) => {
                put(&mut headers, header::CONTENT_RANGE, &format!("bytes {first}-{last}/{}", self.size));
                let length = last - first + 1;
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
                Ok((StatusCode::PARTIAL_CONTENT, headers, stream_part(self.body, first, length)).into_response())
            }
            Range::Beyond => {
                let problem = Problem::new(416, "bad-range", format!("there are only {} bytes", self.size))
                    .with_hint("ask for a range within them, or for the whole");
                let mut response = problem.into_response();
                put(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{}", self.size));
                Ok(response)
            }
        }
    }
}

fn put(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Whether an `If-None-Match` names this tag.
fn names(value: &HeaderValue, tag: &str) -> bool {
    let Ok(value) = value.to_str() else { return false };
    value.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

/// What of the bytes is wanted.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    /// From this one to that one.
    Part(u64, u64),
    Beyond,
}

impl Range {
    /// Reads a `Range`. What can't be understood, or is of several parts, is for the whole.
    fn of(header: &str, size: u64) -> Self {
        let Some((unit, set)) = header.split_once('=') else { return Self::Whole };
        let Some((first, last)) = set.trim().split_once('-').filter(|_| unit.trim().eq_ignore_ascii_case("bytes"))
        else {
            return Self::Whole;
        };
        // More digits than a number has are a number that is too large.
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().unwrap_or(u64::MAX))
        };
        match (number(first), number(last)) {
            (None, Some(0)) if first.is_empty() => Self::Beyond,
            (None, Some(_)) if first.is_empty() && size == 0 => Self::Beyond,
            (None, Some(length)) if first.is_empty() => Self::Part(size.saturating_sub(length), size - 1),
            (Some(first), Some(last)) if last < first => Self::Whole,
            (Some(first), upto) if upto.is_some() || last.is_empty() => {
                if first < size {
                    Self::Part(first, upto.unwrap_or(u64::MAX).min(size - 1))
                } else {
                    Self::Beyond
                }
            }
            _ => Self::Whole,
        }
    }
}

/// The type under which content may be shown in place, by what it was said to be, or else by its name; `None` where it
/// may not.
fn shown(media: Option<&str>, name: &str) -> Option<String> {
    let guessed = || mime_guess::from_path(name).first().map(|media| media.essence_str().to_owned());
    let media = media.map(str::to_owned).or_else(guessed)?;
    let essence = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !SAFE.contains(&essence.as_str()) {
        return None;
    }
    let text = essence.starts_with("text/") || essence.contains("json") || essence.contains("yaml");
    Some(if text { format!("{essence}; charset=utf-8") } else { essence })
}

/// How the bytes are to be kept: by the last part of the name, once in ASCII for those who know no more, once whole.
fn disposition(name: &str, attachment: bool) -> String {
    let kind = if attachment { "attachment" } else { "inline" };
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name.chars().map(|char| if char.is_control() { '_' } else { char }).collect();
    let name = if name.trim_matches('.').is_empty() { "content".to_owned() } else { name };
    let ascii: String = name
        .chars()
        .map(|char| if char.is_ascii() && !matches!(char, '"' | '\\' | '%') { char } else { '_' })
        .collect();
    let mut whole = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || PLAIN.contains(&byte) {
            whole.push(char::from(byte));
        } else {
            whole.push_str(&format!("%{byte:02X}"));
        }
    }
    format!("{kind}; filename=\"{ascii}\"; filename*=UTF-8''{whole}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        use Range::{Beyond, Part, Whole};
        for (header, range) in [
            ("bytes=0-0", Part(0, 0)),
            ("bytes=2-5", Part(2, 5)),
            ("bytes=2-", Part(2, 9)),
            ("bytes=-3", Part(7, 9)),
            ("bytes=-30", Part(0, 9)),
            ("bytes=5-99", Part(5, 9)),
            ("bytes=9-99999999999999999999999", Part(9, 9)),
            ("Bytes = 1-2", Part(1, 2)),
            ("bytes=10-", Beyond),
            ("bytes=10-20", Beyond),
            ("bytes=99999999999999999999999-", Beyond),
            ("bytes=-0", Beyond),
            ("bytes=5-2", Whole),
            ("bytes=0-1,3-4", Whole),
            ("bytes=", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("bytes=1-b", Whole),
            ("items=1-2", Whole),
            ("bytes", Whole),
        ] {
            assert_eq!(Range::of(header, 10), range, "{header}");
        }
        assert_eq!(Range::of("bytes=0-", 0), Beyond);
        assert_eq!(Range::of("bytes=-1", 0), Beyond);
    }

    #[test]
    fn only_what_is_safe_is_shown() {
        assert_eq!(shown(Some("text/csv"), "x").as_deref(), Some("text/csv; charset=utf-8"));
        assert_eq!(shown(None, "a.PNG").as_deref(), Some("image/png"));
        assert_eq!(shown(Some("Application/PDF; x=y"), "x.html").as_deref(), Some("application/pdf"));
        for (media, name) in [
            (Some("text/html"), "x.txt"),
            (None, "x.html"),
            (None, "x.svg"),
            (Some("image/svg+xml"), "x.png"),
            (Some("application/xhtml+xml"), "x"),
            (Some("text/javascript"), "x"),
            (None, "unknown"),
        ] {
            assert_eq!(shown(media, name), None, "{media:?} {name}");
        }
    }

    #[test]
    fn names_are_written_twice() {
        assert_eq!(disposition("a b.csv", false), "inline; filename=\"a b.csv\"; filename*=UTF-8''a%20b.csv");
        let odd = disposition("x/größe \"1\"%\n.txt", true);
        assert_eq!(odd, "attachment; filename=\"gr__e _1___.txt\"; filename*=UTF-8''gr%C3%B6%C3%9Fe%20%221%22%25_.txt");
        assert_eq!(disposition("..", true), "attachment; filename=\"content\"; filename*=UTF-8''content");
    }

    #[test]
    fn tags_are_compared() {
        let is = |value: &str| names(&HeaderValue::from_str(value).unwrap(), "\"ab\"");
        assert!(is("\"ab\"") && is("*") && is("W/\"ab\"") && is("\"x\", \"ab\""));
        assert!(!is("\"abc\"") && !is("ab") && !is(""));
    }
}
