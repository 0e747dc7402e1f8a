//! Numbers, times, names and ids as people read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `1 file`, `3 files`.
pub fn count(number: u64, one: &str) -> String {
    let many = match one {
        "dead letter" => "dead letters".to_owned(),
        one if one.ends_with('y') => format!("{}ies", one.trim_end_matches('y')),
        one => format!("{one}s"),
    };
    format!("{} {}", grouped(number), if number == 1 { one } else { &many })
}

/// Digits in groups of three: `12,482`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `44.1 kB`; powers of 1,000.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1_000.0;
    let mut unit = 0;
    // What would be printed as 1000.0 belongs to the next unit.
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Microseconds as `12 ms`, `0.9 s`, `3 min 20 s`.
pub fn took(microseconds: u64) -> String {
    let milliseconds = microseconds / 1_000;
    match milliseconds {
        0 if microseconds == 0 => "0 ms".to_owned(),
        0 => "<1 ms".to_owned(),
        1..100 => format!("{milliseconds} ms"),
        100..60_000 => format!("{:.1} s", milliseconds as f64 / 1_000.0),
        60_000..3_600_000 => format!("{} min {} s", milliseconds / 60_000, milliseconds / 1_000 % 60),
        _ => format!("{} h {} min", milliseconds / 3_600_000, milliseconds / 60_000 % 60),
    }
}

/// A time of the API in the person's own time zone: `2026-11-22 14:02:11`.
pub fn when(time: &str) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => time.to_owned(),
    }
}

/// The same without the day where it is that of `other`.
pub fn when_beside(time: &str, other: &str) -> String {
    let (text, beside) = (when(time), when(other));
    match (text.split_once(' '), beside.split_once(' ')) {
        (Some((day, hour)), Some((same, _))) if day == same => hour.to_owned(),
        _ => text,
    }
}

/// A name as it can stand on one line.
pub fn name(name: &str) -> String {
    opendmp_model::name::printable(name)
}

/// Text that others wrote, as it can stand on one line.
pub fn line(text: &str) -> String {
    name(text.trim())
}

/// The first six digits of a hash.
pub fn short_hash(hash: &str) -> &str {
    hash.get(..6).unwrap_or(hash)
}

/// Letters of an id behind its dash that are shown at least.
const SHORT: usize = 4;

/// Ids cut as short as they can be told apart among themselves.
pub fn short_ids<'a>(ids: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let ids: Vec<&str> = ids.into_iter().collect();
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    sorted.dedup();
    let shared = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let cut = |id: &str| {
        let at = sorted.partition_point(|other| *other < id);
        let before = at.checked_sub(1).map_or(0, |before| shared(sorted[before], id));
        let after = sorted.get(at + 1).map_or(0, |after| shared(after, id));
        let dash = id.find('-').map_or(0, |at| at + 1);
        let length = (dash + SHORT).max(before.max(after) + 1).min(id.len());
        id.get(..length).unwrap_or(id).to_owned()
    };
    ids.iter().map(|id| cut(id)).collect()
}

/// One id, cut.
pub fn short_id(id: &str) -> String {
    short_ids([id]).remove(0)
}

/// Attributes, a line each, set in as the other lines of a page are.
pub fn attributes(attributes: &opendmp_model::item::Attributes) -> String {
    let width = attributes.keys().map(|key| name(key).chars().count()).max().unwrap_or(0).max(9);
    let lines = attributes.iter().map(|(key, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("  {:<width$} {}\n", name(key), line(&value))
    });
    lines.collect()
}

/// An error of the operating system in few words: without `(os error 2)`.
pub fn io(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        std::io::ErrorKind::AlreadyExists => "it is there already".to_owned(),
        std::io::ErrorKind::StorageFull => "no room is left on the disk".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_owned()
        }
    }
}

/// A path as people wrote it or would: relative to where they are if it is below, with `./` before it.
pub fn path(path: &str) -> String {
    let here = std::env::current_dir().ok().and_then(|here| here.canonicalize().ok());
    let below = here.and_then(|here| {
        let rest = std::path::Path::new(path).strip_prefix(&here).ok()?;
        Some(if rest.as_os_str().is_empty() { ".".to_owned() } else { format!("./{}", rest.display()) })
    });
    name(&below.unwrap_or_else(|| path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_numbers() {
        let shown: Vec<String> = [0, 999, 1_000, 44_120, 999_949, 999_950, 5 << 40].map(size).into();
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "44.1 kB", "999.9 kB", "1.0 MB", "5.5 TB"]);
        assert_eq!([1, 12, 123, 1_234, 1_234_567].map(grouped), ["1", "12", "123", "1,234", "1,234,567"]);
        assert_eq!(count(1, "dataset"), "1 dataset");
        assert_eq!(count(2_000, "dead letter"), "2,000 dead letters");
    }

    #[test]
    fn durations() {
        let shown = [0, 900, 12_300, 99_999, 912_000, 59_940_000, 200_000_000, 7_380_000_000].map(took);
        assert_eq!(shown, ["0 ms", "<1 ms", "12 ms", "99 ms", "0.9 s", "59.9 s", "3 min 20 s", "2 h 3 min"]);
    }

    #[test]
    fn ids_are_cut_so_that_they_differ() {
        let ids = ["1204-7k2pabcdefgh", "1204-7k2pabzzzzzz", "7-0000aaaa"];
        assert_eq!(short_ids(ids), ["1204-7k2pabc", "1204-7k2pabz", "7-0000"]);
        assert_eq!(short_id("1204.3-7k2pabcd"), "1204.3-7k2p");
        assert_eq!(short_id("odd"), "odd");
    }

    #[test]
    fn days_are_left_out_beside_the_same_day() {
        assert_eq!(when("not a time"), "not a time");
        let (a, b) = ("2026-11-22T12:02:11.000Z", "2026-11-22T12:02:12.500Z");
        assert_eq!(when_beside(a, b).len(), "12:02:11".len());
        assert_eq!(when_beside(a, "2026-11-24T12:02:12.500Z").len(), "2026-11-22 12:02:11".len());
    }
}
