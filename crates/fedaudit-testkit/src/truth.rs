//! What really happened in a generated organisation, stated as the normalised tables would show it at best.
//! It is computed from the happenings themselves, never by decoding a product's records.

use std::fmt;
use std::io::{self, Write};

use serde::{Serialize, Serializer};

/// An instant, UTC microseconds; written as RFC 3339 with as many digits as are not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub i64);

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, rest) = (self.0.div_euclid(86_400_000_000), self.0.rem_euclid(86_400_000_000));
        let (year, month, day) = civil(days);
        let (seconds, micros) = (rest / 1_000_000, rest % 1_000_000);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if micros != 0 {
            let digits = format!("{micros:06}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Year, month and day of a day number counted from 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    // Counted in eras of 400 years from 0000-03-01, so that the leap day is the last of its year.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A person of the organisation and their accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Person {
    /// Account name that all products share in some form.
    pub name: String,
    /// As people write it.
    pub display_name: String,
    /// Address that is also their Canvas login.
    pub email: String,
    /// Whether they administer systems.
    pub admin: bool,
    /// The name forms by product, as the products record them.
    pub accounts: Vec<Account>,
}

/// One account of a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Product word.
    pub product: &'static str,
    /// Name as the product writes it.
    pub name: String,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrueEvent {
    /// Product word of the tables.
    pub product: &'static str,
    /// Name of the demo's source.
    pub source: &'static str,
    /// When, as fine as the product keeps it.
    pub time: Instant,
    /// Word of the `action` vocabulary.
    pub action: &'static str,
    /// `success`, `failure` or `unknown`.
    pub outcome: &'static str,
    /// Normalised account name.
    pub user_name: Option<String>,
    /// Client address, where the product knows one.
    pub src_ip: Option<String>,
    /// The product's session id.
    pub session_id: Option<String>,
    /// False if the product does not record it at all.
    pub observable: bool,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrueSession {
    /// Product word of the tables.
    pub product: &'static str,
    /// Name of the demo's source.
    pub source: &'static str,
    /// The product's session id.
    pub session_id: Option<String>,
    /// Normalised account name.
    pub user_name: Option<String>,
    /// Start as the records tell it.
    pub start_time: Option<Instant>,
    /// End as far as the records let anyone know.
    pub end_time: Option<Instant>,
    /// State as far as the records let anyone know, as of the end of the history.
    pub state: &'static str,
    /// When it really ended; none if it was still open.
    pub true_end_time: Option<Instant>,
    /// False if no record tells of it.
    pub observable: bool,
}

/// The truth of one world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Truth {
    /// Seed of the world.
    pub seed: u64,
    /// First instant of the history.
    pub from: Instant,
    /// End of the history, exclusive.
    pub to: Instant,
    /// Who works there.
    pub people: Vec<Person>,
    /// Everything that happened, by time.
    pub events: Vec<TrueEvent>,
    /// All sessions, by start.
    pub sessions: Vec<TrueSession>,
}

impl Truth {
    /// Writes the truth file.
    pub fn write_json(&self, out: impl Write) -> io::Result<()> {
        let mut out = io::BufWriter::new(out);
        serde_json::to_writer(&mut out, self)?;
        out.write_all(b"\n")?;
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::Instant;

    #[test]
    fn instants_are_written_short_and_exact() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00Z"),
            (1_795_317_601_120_000, "2026-11-22T03:20:01.12Z"),
            (1_795_317_601_000_007, "2026-11-22T03:20:01.000007Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(Instant(micros).to_string(), text);
        }
    }
}
