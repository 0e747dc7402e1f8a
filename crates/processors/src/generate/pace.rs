//! How fast numbered items may come, counted from the first look; the clock is whoever asks.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// So many items in a second, a minute or an hour, written `1000/s`, `90/m`, `12/h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// From 1 to 9,999,999.
    items: u32,
    unit: char,
}

const PATTERN: &str = "^[1-9][0-9]{0,6}/[smh]$";

/// Items that become due within so many milliseconds come together, so that a high rate does not cost a transaction
/// for each item.
const STEP: u64 = 100;

impl Rate {
    /// The unit in milliseconds.
    fn per(self) -> u64 {
        match self.unit {
            'h' => 3_600_000,
            'm' => 60_000,
            _ => 1_000,
        }
    }
}

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = "expected a rate such as `1000/s`, `90/m` or `12/h`, of at least 1 and at most 9999999";
        let (number, unit) = text.split_once('/').ok_or(bad)?;
        let unit = unit.parse().ok().filter(|unit| matches!(unit, 's' | 'm' | 'h')).ok_or(bad)?;
        let digits = (1..=7).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || number.starts_with('0') {
            return Err(bad);
        }
        Ok(Self { items: number.parse().map_err(|_| bad)?, unit })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.items, self.unit)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PATTERN, "description": "A rate: `1000/s`.", "examples": ["1000/s"] })
    }
}

/// Since when items have been coming. Times are in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    began: i64,
    /// The number that was due then.
    first: u32,
    /// The last time it was asked.
    asked: i64,
}

impl Pace {
    /// Begins now.
    pub(super) fn begin(now: i64, first: u32) -> Self {
        Self { began: now, first, asked: now }
    }

    /// Goes on; begins anew where the clock was set back, rather than to stand still until it has caught up.
    pub(super) fn at(self, now: i64, first: u32) -> Self {
        if now < self.asked { Self::begin(now, first) } else { Self { asked: now, ..self } }
    }

    /// When a number is due.
    pub(super) fn due(self, rate: Rate, number: u32) -> i64 {
        // At most 10 million items of an hour each, so far from what 64 bits hold.
        let after = (u64::from(number.saturating_sub(self.first)) * rate.per()).div_ceil(u64::from(rate.items));
        self.began.saturating_add_unsigned(after.next_multiple_of(STEP))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_as_people_write_them() {
        for good in ["1/s", "1000/s", "9999999/s", "90/m", "12/h"] {
            assert_eq!(good.parse::<Rate>().unwrap().to_string(), good);
        }
        for bad in
            ["", "/", "0/s", "01/s", "1", "1/", "/s", "1/d", "1/ss", "1 /s", "+1/s", "-1/s", "1.5/s", "10000000/s"]
        {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn items_come_in_steps_and_no_faster_than_told() {
        let pace = Pace::begin(5_000, 40);
        let due = |rate: &str, number| pace.due(rate.parse().unwrap(), number) - 5_000;
        assert_eq!([40, 41, 140, 141, 1_040].map(|number| due("1000/s", number)), [0, 100, 100, 200, 1_000]);
        assert_eq!([40, 41, 42, 43].map(|number| due("3/s", number)), [0, 400, 700, 1_000]);
        assert_eq!([40, 41, 42].map(|number| due("6/m", number)), [0, 10_000, 20_000]);
        assert_eq!(due("1/h", 64), 24 * 3_600_000);
        assert_eq!(due("1/h", 10_000_000), (10_000_000 - 40) * 3_600_000);
        assert_eq!(due("1000/s", 0), 0, "what was due before is due");
    }

    #[test]
    fn a_clock_that_is_set_back_begins_anew() {
        let rate = "10/s".parse().unwrap();
        let pace = Pace::begin(5_000, 0).at(6_000, 10);
        assert_eq!(pace.due(rate, 20), 7_000);
        assert_eq!(pace.at(1_000, 11).due(rate, 21), 2_000);
    }
}
