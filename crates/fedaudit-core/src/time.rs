//! Instants: UTC microseconds, and the many ways in which products write them.
//!
//! Stored values stay inside the range that nanoseconds can hold, because SQL functions such as `date_bin` compute in
//! nanoseconds and would fail the whole query on one odd record.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant in UTC microseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

/// First microsecond that cannot be stored: 2262-04-11.
const STORABLE_END: i64 = 9_223_286_400_000_000;
const MICROS: i64 = 1_000_000;

/// A time as a product wrote it, and what had to be said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParsedTime {
    /// The instant.
    pub time: Time,
    /// The text had no zone, UTC was assumed.
    pub assumed_zone: bool,
    /// The text named a 60th second; it is stored as the last microsecond before it.
    pub leap_second: bool,
}

impl Time {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// From microseconds since 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From seconds since 1970; `None` outside what can be stored.
    pub fn from_seconds(seconds: i64) -> Option<Self> {
        seconds.checked_mul(MICROS).map(Self).filter(|time| time.is_storable())
    }

    /// From milliseconds since 1970; `None` outside what can be stored.
    pub fn from_millis(millis: i64) -> Option<Self> {
        millis.checked_mul(1000).map(Self).filter(|time| time.is_storable())
    }

    /// Microseconds since 1970.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, toward the past.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(MICROS)
    }

    /// Whether the value lies in [1970-01-01, 2262-04-11).
    pub const fn is_storable(self) -> bool {
        self.0 >= 0 && self.0 < STORABLE_END
    }

    /// Earlier by a span.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(saturated(span)))
    }

    /// Later by a span.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(saturated(span)))
    }

    /// Reads RFC 3339 and its relatives: any offset form, a comma as decimal point, a space for the `T`, no zone, a date
    /// alone, a leap second. `None` for anything that is no instant, and for what cannot be stored.
    pub fn parse(text: &str) -> Option<ParsedTime> {
        let bytes = text.as_bytes();
        let date = (number(bytes, 0, 4)?, number(bytes, 5, 2)?, number(bytes, 8, 2)?);
        if bytes.get(4) != Some(&b'-') || bytes.get(7) != Some(&b'-') {
            return None;
        }
        let days = i64::from(NaiveDate::from_ymd_opt(date.0 as i32, date.1, date.2)?.to_epoch_days());
        let mut parsed = ParsedTime { time: Self(days * 86_400 * MICROS), assumed_zone: true, leap_second: false };
        if bytes.len() == 10 {
            return parsed.time.is_storable().then_some(parsed);
        }
        if !matches!(bytes[10], b'T' | b't' | b' ') || bytes.get(13) != Some(&b':') {
            return None;
        }
        let (hour, minute) = (number(bytes, 11, 2)?, number(bytes, 14, 2)?);
        let mut at = 16;
        let mut second = 0;
        let mut fraction = 0;
        if bytes.get(at) == Some(&b':') {
            second = number(bytes, 17, 2)?;
            at = 19;
            if matches!(bytes.get(at), Some(b'.' | b',')) {
                let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                if digits == 0 {
                    return None;
                }
                for place in 0..6 {
                    let digit = if place < digits { i64::from(bytes[at + 1 + place] - b'0') } else { 0 };
                    fraction = fraction * 10 + digit;
                }
                at += 1 + digits;
            }
        }
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        if second == 60 {
            parsed.leap_second = true;
            (second, fraction) = (59, MICROS - 1);
        }
        let offset = offset_seconds(&bytes[at..])?;
        parsed.assumed_zone = offset.is_none();
        let seconds = i64::from(hour * 3600 + minute * 60 + second) - offset.unwrap_or(0);
        parsed.time = Self(parsed.time.0 + seconds * MICROS + fraction);
        parsed.time.is_storable().then_some(parsed)
    }

    /// Reads a number of unknown unit by its size: seconds below 10¹¹, then milli-, micro- and nanoseconds.
    pub fn from_number(number: i64) -> Option<Self> {
        let micros = match number.unsigned_abs() {
            0..100_000_000_000 => number * MICROS,
            100_000_000_000..100_000_000_000_000 => number * 1000,
            100_000_000_000_000..100_000_000_000_000_000 => number,
            _ => number.div_euclid(1000),
        };
        Some(Self(micros)).filter(|time| time.is_storable())
    }
}

/// Digits at a fixed place.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<u32> {
    bytes
        .get(at..at + length)?
        .iter()
        .try_fold(0, |value: u32, byte| byte.is_ascii_digit().then(|| value * 10 + u32::from(byte - b'0')))
}

/// `Z`, `±hh`, `±hhmm`, `±hh:mm`, or nothing.
#[expect(clippy::option_option, reason = "unreadable and absent are two things")]
fn offset_seconds(text: &[u8]) -> Option<Option<i64>> {
    let (sign, digits) = match text {
        [] => return Some(None),
        [b'Z' | b'z'] => return Some(Some(0)),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits.len() {
        2 => (number(digits, 0, 2)?, 0),
        4 => (number(digits, 0, 2)?, number(digits, 2, 2)?),
        5 if digits[2] == b':' => (number(digits, 0, 2)?, number(digits, 3, 2)?),
        _ => return None,
    };
    (hours <= 23 && minutes <= 59).then(|| Some(sign * i64::from(hours * 3600 + minutes * 60)))
}

/// A span in microseconds.
fn saturated(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

impl fmt::Display for Time {
    /// RFC 3339 with `Z` and as many digits as are not zero, at most six.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(time) = DateTime::<Utc>::from_timestamp_micros(self.0) else {
            return write!(f, "{} µs since 1970", self.0);
        };
        let text = time.to_rfc3339_opts(SecondsFormat::Micros, true);
        let digits = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
        write!(f, "{digits}{}Z", if digits.len() == 16 { "00" } else { "" })
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .map(|parsed| parsed.time)
            .ok_or_else(|| D::Error::custom(format!("'{text}' is no RFC 3339 time")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn utc(text: &str) -> Option<String> {
        Time::parse(text).map(|parsed| parsed.time.to_string())
    }

    #[test]
    fn forms_of_the_products() {
        for (input, expected) in [
            ("2018-09-15T15:53:00+05:00", "2018-09-15T10:53:00Z"),
            ("2012-07-19T15:00:00-06:00", "2012-07-19T21:00:00Z"),
            ("2018-11-14T12:26:59.244Z", "2018-11-14T12:26:59.244Z"),
            ("2026-01-01T00:00:00.123456789Z", "2026-01-01T00:00:00.123456Z"),
            ("2026-01-01T00:00:00,5Z", "2026-01-01T00:00:00.5Z"),
            ("2026-01-01T00:00:00+0500", "2025-12-31T19:00:00Z"),
            ("2026-01-01T00:00:00+05", "2025-12-31T19:00:00Z"),
            ("2026-01-01 00:00:00", "2026-01-01T00:00:00Z"),
            ("2026-01-01", "2026-01-01T00:00:00Z"),
            ("2017-01-25T10:00", "2017-01-25T10:00:00Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(utc(input).as_deref(), Some(expected), "{input}");
        }
        for input in [
            "2026-02-29T00:00:00Z",
            "25:00",
            "",
            "-",
            "2026-01-01T24:00:00Z",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
            "1601-01-01",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+25:00",
        ] {
            assert_eq!(utc(input), None, "{input}");
        }
        assert!(Time::parse("2026-01-01T00:00:00").unwrap().assumed_zone);
        assert!(!Time::parse("2026-01-01T00:00:00Z").unwrap().assumed_zone);
        assert!(Time::parse("2016-12-31T23:59:60Z").unwrap().leap_second);
    }

    #[test]
    fn numbers_by_size() {
        let second = Time::from_seconds(1_767_225_600).unwrap();
        for number in [1_767_225_600, 1_767_225_600_000, 1_767_225_600_000_000, 1_767_225_600_000_000_000] {
            assert_eq!(Time::from_number(number), Some(second));
        }
        assert_eq!(Time::from_number(-1), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(micros in 0..STORABLE_END) {
            let time = Time::from_micros(micros);
            prop_assert_eq!(Time::parse(&time.to_string()).map(|parsed| parsed.time), Some(time));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = Time::parse(&text);
        }
    }
}
