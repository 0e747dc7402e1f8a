//! Durations and sizes as people write them: `30s`, `64 MiB`. One reading for all configs, with hints.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A text that is not a duration or a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ValueError {
    /// What is wrong.
    pub message: String,
    /// What a person can write instead.
    pub hint: String,
}

/// A span of time, written as a whole number and a unit: `500ms`, `30s`, `5m`, `2h`, `1d`; parts may follow each
/// other: `1h30m`. Exact to the millisecond, at most 10,000 days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HumanDuration(Duration);

const MOST_MILLIS: u64 = 10_000 * 86_400_000;
const TIME_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl HumanDuration {
    /// Of whole milliseconds, cut to what can be written.
    pub const fn from_millis(millis: u64) -> HumanDuration {
        HumanDuration(Duration::from_millis(if millis > MOST_MILLIS { MOST_MILLIS } else { millis }))
    }

    /// Of whole seconds, cut to what can be written.
    pub const fn from_secs(secs: u64) -> HumanDuration {
        HumanDuration::from_millis(secs.saturating_mul(1_000))
    }

    /// As the standard library's.
    pub const fn get(self) -> Duration {
        self.0
    }

    /// Whole milliseconds.
    pub const fn as_millis(self) -> u64 {
        // At most MOST_MILLIS, by construction.
        self.0.as_millis() as u64
    }
}

impl From<HumanDuration> for Duration {
    fn from(duration: HumanDuration) -> Duration {
        duration.0
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, millis) in TIME_UNITS {
            if rest >= millis {
                write!(f, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

impl FromStr for HumanDuration {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<HumanDuration, ValueError> {
        let bad =
            |hint: &str| ValueError { message: "expected a duration such as `30s`".to_owned(), hint: hint.to_owned() };
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(bad("write a whole number and a unit: ms, s, m, h or d"));
        }
        let (mut total, mut last) = (0u64, u64::MAX);
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            if digits == 0 {
                return Err(bad("write a whole number before the unit, for example `1h30m`"));
            }
            let (number, after) = rest.split_at(digits);
            let after = after.trim_start();
            let letters = after.len() - after.trim_start_matches(|c: char| c.is_alphabetic() || c == '.').len();
            let (unit, next) = after.split_at(letters);
            if unit.is_empty() {
                return Err(bad(&format!("write a unit: `{number}s`, or ms, m, h, d")));
            }
            if unit.starts_with('.') {
                return Err(bad("write whole numbers: `1500ms` or `1h30m`"));
            }
            let Some(&(_, millis)) = TIME_UNITS.iter().find(|(name, _)| *name == unit) else {
                let meant = match unit.to_lowercase().as_str() {
                    "sec" | "secs" | "second" | "seconds" => "s",
                    "min" | "mins" | "minute" | "minutes" => "m",
                    "hr" | "hrs" | "hour" | "hours" | "h" => "h",
                    "day" | "days" | "d" => "d",
                    "msec" | "millis" | "millisecond" | "milliseconds" | "ms" => "ms",
                    "s" => "s",
                    "y" | "year" | "years" => return Err(bad("units are ms, s, m, h and d; a year is `365d`")),
                    _ => return Err(bad("units are ms, s, m, h and d")),
                };
                return Err(bad(&format!("did you mean `{number}{meant}`?")));
            };
            if millis >= last {
                return Err(bad("write larger units first and each once, for example `1h30m`"));
            }
            last = millis;
            total = number
                .parse::<u64>()
                .ok()
                .and_then(|number| number.checked_mul(millis))
                .and_then(|part| total.checked_add(part))
                .filter(|total| *total <= MOST_MILLIS)
                .ok_or_else(|| bad("a duration is at most 10000d"))?;
            rest = next.trim_start();
        }
        Ok(HumanDuration::from_millis(total))
    }
}

/// A number of bytes, written as a number and a unit: `512 B`, `10 kB`, `64 MiB`, `1.5 GB`; `kB`, `MB`, `GB`, `TB`
/// are powers of 1000, `KiB`, `MiB`, `GiB`, `TiB` powers of 1024.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteSize(u64);

const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// Of bytes.
    pub const fn bytes(bytes: u64) -> ByteSize {
        ByteSize(bytes)
    }

    /// Of mebibytes, cut to what 64 bits hold.
    pub const fn mib(mib: u64) -> ByteSize {
        ByteSize(mib.saturating_mul(1 << 20))
    }

    /// As bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    /// Exactly, in the largest unit that divides it, so that it reads back as the same number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) =
            SIZE_UNITS.into_iter().find(|(_, size)| self.0 != 0 && self.0.is_multiple_of(*size)).unwrap_or(("B", 1));
        write!(f, "{} {unit}", self.0 / size)
    }
}

impl FromStr for ByteSize {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<ByteSize, ValueError> {
        let bad =
            |hint: &str| ValueError { message: "expected a size such as `64 MiB`".to_owned(), hint: hint.to_owned() };
        let text = text.trim();
        let split = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (number, unit) = text.split_at(split);
        let unit = unit.trim_start();
        if number.is_empty() {
            return Err(bad("write a number and a unit: B, kB, MB, GB, TB, KiB, MiB, GiB or TiB"));
        }
        if unit.is_empty() {
            return Err(bad(&format!("write a unit: `{number} B`, or kB, MB, GB, KiB, MiB, GiB")));
        }
        // Nobody means millibits; upper and lower case are only told apart where people do.
        let Some(&(_, size)) = SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) else {
            let meant = match unit.to_lowercase().as_str() {
                "k" | "ki" => "KiB",
                "m" | "mi" => "MiB",
                "g" | "gi" => "GiB",
                "t" | "ti" => "TiB",
                "byte" | "bytes" => "B",
                _ => return Err(bad("units are B, kB, MB, GB, TB, KiB, MiB, GiB and TiB")),
            };
            return Err(bad(&format!("did you mean `{number} {meant}`?")));
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty()
            || (number.contains('.') && fraction.is_empty())
            || fraction.contains('.')
            || fraction.len() > 9
        {
            return Err(bad("write a number such as `64` or `1.5`"));
        }
        let too_large = || bad("a size is less than 16 EiB");
        let size = u128::from(size);
        let scale = 10u128.pow(fraction.len() as u32); // at most 9 digits, see above
        let digits: u128 = format!("{whole}{fraction}").parse().map_err(|_| too_large())?;
        let scaled = digits.checked_mul(size).ok_or_else(too_large)?;
        if scaled % scale != 0 {
            return Err(bad("that is not a whole number of bytes"));
        }
        u64::try_from(scaled / scale).map(ByteSize).map_err(|_| too_large())
    }
}

macro_rules! as_text {
    ($type:ty, $name:literal, $format:literal, $description:literal, $example:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(|e: ValueError| de::Error::custom(format!("{e}; {}", e.hint)))
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format, "description": $description, "examples": [$example] })
            }
        }
    };
}

as_text!(HumanDuration, "Duration", "duration", "A duration: `500ms`, `30s`, `5m`, `2h`, `1d`, `1h30m`.", "30s");
as_text!(ByteSize, "ByteSize", "bytesize", "A size: `512 B`, `10 kB`, `64 MiB`, `1.5 GB`.", "64 MiB");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_as_people_write_them() {
        for (text, millis) in [
            ("30s", 30_000),
            ("500ms", 500),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("1h30m", 5_400_000),
            (" 1 h ", 3_600_000),
            ("0s", 0),
        ] {
            assert_eq!(text.parse::<HumanDuration>().map(HumanDuration::as_millis), Ok(millis), "{text}");
        }
        for (text, hint) in [
            ("30", "write a unit: `30s`, or ms, m, h, d"),
            ("5 minutes", "did you mean `5m`?"),
            ("5M", "units are ms, s, m, h and d"),
            ("1.5h", "write whole numbers: `1500ms` or `1h30m`"),
            ("30m1h", "write larger units first and each once, for example `1h30m`"),
            ("-3s", "write a whole number before the unit, for example `1h30m`"),
            ("10001d", "a duration is at most 10000d"),
            ("99999999999999999999s", "a duration is at most 10000d"),
            ("", "write a whole number and a unit: ms, s, m, h or d"),
        ] {
            assert_eq!(text.parse::<HumanDuration>().expect_err(text).hint, hint, "{text}");
        }
    }

    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in [
            ("64 MiB", 64 << 20),
            ("1GB", 1_000_000_000),
            ("1.5 kb", 1_500),
            ("0 B", 0),
            ("10kB", 10_000),
            ("1.5 KiB", 1_536),
        ] {
            assert_eq!(text.parse::<ByteSize>().map(ByteSize::get), Ok(bytes), "{text}");
        }
        for (text, hint) in [
            ("64", "write a unit: `64 B`, or kB, MB, GB, KiB, MiB, GiB"),
            ("64 M", "did you mean `64 MiB`?"),
            ("lots", "write a number and a unit: B, kB, MB, GB, TB, KiB, MiB, GiB or TiB"),
            ("1. MB", "write a number such as `64` or `1.5`"),
            ("0.1 B", "that is not a whole number of bytes"),
            ("99999999 TiB", "a size is less than 16 EiB"),
            ("3 parsecs", "units are B, kB, MB, GB, TB, KiB, MiB, GiB and TiB"),
        ] {
            assert_eq!(text.parse::<ByteSize>().expect_err(text).hint, hint, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(millis in 0..=MOST_MILLIS, bytes: u64) {
            let duration = HumanDuration::from_millis(millis);
            prop_assert_eq!(duration.to_string().parse::<HumanDuration>(), Ok(duration));
            prop_assert_eq!(ByteSize(bytes).to_string().parse::<ByteSize>(), Ok(ByteSize(bytes)));
        }

        #[test]
        fn any_text_is_answered(text in "\\PC{0,12}") {
            let _ = text.parse::<HumanDuration>();
            let _ = text.parse::<ByteSize>();
        }
    }
}
