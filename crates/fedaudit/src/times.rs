//! Times on the command line, and the clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fedaudit_core::{Clock, Error, ErrorKind, Result, Time};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// Nobody keeps audit logs for longer, and a slip of the finger is told.
const LONGEST: Duration = Duration::from_hours(36_525 * 24);

/// The machine's clock.
#[derive(Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time::from_micros(since.as_micros() as i64)
    }
}

const REACH: &str = "times reach from 1970-01-01 to 2262-04-10";

/// Reads an instant: RFC 3339, a date, `now`, or an age such as `-30d`.
pub(crate) fn instant(text: &str, now: Time) -> Result<Time> {
    if text == "now" {
        return Ok(now);
    }
    if let Some(age) = text.strip_prefix('-') {
        let then = now.minus(span(age)?);
        return if then.is_storable() {
            Ok(then)
        } else {
            Err(Error::new(ErrorKind::Config, format!("'{text}' is longer ago than times reach")).hint(REACH))
        };
    }
    Time::parse(text).map(|parsed| parsed.time).ok_or_else(|| {
        let is_date = text.get(..10).is_some_and(|date| date.parse::<chrono::NaiveDate>().is_ok());
        if is_date && Time::parse(&format!("2026-01-01{}", &text[10..])).is_some() {
            return Error::new(ErrorKind::Config, format!("'{text}' lies outside of what times reach")).hint(REACH);
        }
        Error::new(ErrorKind::Config, format!("'{text}' is no time"))
            .hint("write 2026-01-31T12:00:00Z, 2026-01-31, now, or an age: -15m, -12h, -30d")
    })
}

/// Reads a span: a number and one of s, m, h, d, w.
pub(crate) fn span(text: &str) -> Result<Duration> {
    let wrong =
        || Error::new(ErrorKind::Config, format!("'{text}' is no span of time")).hint("write 90s, 15m, 12h, 30d or 4w");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| wrong())?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let span = Duration::from_secs(number.saturating_mul(seconds));
    if span > LONGEST {
        return Err(Error::new(ErrorKind::Config, format!("'{text}' is longer than a hundred years")));
    }
    Ok(span)
}

/// A span in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        span(&text).map(Self).map_err(|error| match error.hint_text() {
            Some(hint) => D::Error::custom(format!("{error}: {hint}")),
            None => D::Error::custom(error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let now = Time::parse("2026-01-31T12:00:00Z").unwrap().time;
        let text = |input| instant(input, now).map(|time| time.to_string()).ok();
        assert_eq!(text("now").as_deref(), Some("2026-01-31T12:00:00Z"));
        assert_eq!(text("-30d").as_deref(), Some("2026-01-01T12:00:00Z"));
        assert_eq!(text("-90s").as_deref(), Some("2026-01-31T11:58:30Z"));
        assert_eq!(text("2026-01-01").as_deref(), Some("2026-01-01T00:00:00Z"));
        assert_eq!(text("2026-01-01T01:00:00+01:00").as_deref(), Some("2026-01-01T00:00:00Z"));
        for wrong in ["", "-", "-3x", "-d", "yesterday", "-99999999999999999999d", "-999999999w"] {
            assert_eq!(text(wrong), None, "{wrong}");
        }
        assert!(span("36525d").is_ok() && span("36526d").is_err() && span("99999999999w").is_err());
        for outside in ["1969-12-31", "9999-12-31T23:59:59Z", "0001-01-01"] {
            let error = instant(outside, now).unwrap_err();
            assert!(error.hint_text().unwrap().contains("1970-01-01 to 2262"), "{error:?}");
        }
        assert!(!instant("2026-02-30", now).unwrap_err().to_string().contains("outside"));
    }
}
