//! Pages of an audit log: the parameters as leniently read as the server reads them, bookmarks, and the `Link` header.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, NaiveDate, NaiveDateTime};

use super::document::timestamp;
use super::{Asked, Bookmark, Server};

/// A row's place in its list: its time and its number.
pub(super) type Place = (i64, u64);

/// Where a page begins: after the row of this time and, in the newer form, of this number.
type After = (i64, Option<u64>);

/// Which rows of a list a request asks for.
#[derive(Debug)]
pub(super) struct Paging<'a> {
    pub(super) size: usize,
    /// `page` as asked.
    page: &'a str,
    /// The same without the mark of an empty page.
    pub(super) bookmark: &'a str,
    /// This page is to be empty, with a link to the real one.
    pub(super) is_gap: bool,
    start: Option<i64>,
    end: Option<i64>,
    after: Option<After>,
}

impl Paging<'_> {
    /// Whether a row lies before the page.
    pub(super) fn skips(&self, (time, row): Place) -> bool {
        self.end.is_some_and(|end| time * 1_000_000 > end)
            || self.after.is_some_and(|(last, after)| match after {
                Some(after) => (time, row) >= (last, after),
                None => time >= last,
            })
    }

    /// Whether a row lies before the asked range.
    pub(super) fn stops(&self, time: i64) -> bool {
        self.start.is_some_and(|start| time * 1_000_000 < start)
    }

    pub(super) fn is_first(&self) -> bool {
        self.after.is_none()
    }
}

impl Server {
    pub(super) fn paging<'a>(&self, asked: &'a Asked<'_>) -> Paging<'a> {
        let size =
            asked.parameter("per_page").map_or(10, leading_number).clamp(1, self.options.page_cap as i64) as usize;
        let time = |name: &str| asked.parameter(name).and_then(|text| parse_time(text, self.options.zone));
        let page = asked.parameter("page").unwrap_or("first");
        let bookmark = page.trim_end_matches('~');
        Paging {
            size,
            page,
            bookmark,
            is_gap: self.options.empty_pages && !page.ends_with('~'),
            start: time("start_time"),
            end: time("end_time"),
            // Whatever is no bookmark of ours is page one, with status 200.
            after: bookmark.strip_prefix("bookmark:").and_then(read_bookmark),
        }
    }

    /// The bookmark of the page after this row. A merged list puts a label in front.
    pub(super) fn bookmark(&self, (time, row): Place, merged: bool) -> String {
        let time = timestamp(time);
        let json = match self.options.bookmark {
            _ if merged => format!("[\"shard-1\",[\"{time}\",{row}]]"),
            Bookmark::TimeAndRow => format!("[\"{time}\",{row}]"),
            Bookmark::TimeOnly => format!("\"{time}\""),
        };
        format!("bookmark:{}", BASE64_URL_SAFE_NO_PAD.encode(json))
    }

    /// The `Link` header, in the server's order and without a space after the comma.
    pub(super) fn links(&self, asked: &Asked<'_>, path: &str, paging: &Paging<'_>, next: Option<&str>) -> String {
        let mut query: Vec<&(Cow<'_, str>, Cow<'_, str>)> = asked
            .query
            .iter()
            .filter(|(key, _)| !matches!(key.as_ref(), "page" | "per_page" | "access_token" | "api_key"))
            .collect();
        query.sort();
        let mut base = match &self.options.link_base {
            Some(base) => base.clone(),
            None => format!("https://{}", asked.host),
        };
        let _ = write!(base, "/api/v1/audit/{path}?");
        for (key, value) in query {
            let escape = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let _ = write!(base, "{}={}&", escape(key), escape(value));
        }
        let mut links = String::with_capacity(4 * base.len());
        let mut link = |page: &str, rel: &str| {
            let comma = if links.is_empty() { "" } else { "," };
            let _ = write!(links, "{comma}<{base}page={page}&per_page={}>; rel=\"{rel}\"", paging.size);
        };
        link(paging.page, "current");
        if let Some(next) = next {
            link(next, "next");
        }
        link("first", "first");
        if next.is_none() {
            link(paging.page, "last");
        }
        links
    }
}

fn read_bookmark(text: &str) -> Option<After> {
    let json = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
    let seconds = |time: &str| parse_time(time, 0).map(|micros| micros.div_euclid(1_000_000));
    if let Ok((_label, (time, row))) = serde_json::from_slice::<(String, (String, u64))>(&json) {
        return Some((seconds(&time)?, Some(row)));
    }
    match serde_json::from_slice::<(String, u64)>(&json) {
        Ok((time, row)) => Some((seconds(&time)?, Some(row))),
        Err(_) => Some((seconds(&serde_json::from_slice::<String>(&json).ok()?)?, None)),
    }
}

/// The number that a text begins with, as Ruby reads it: 0 if there is none.
fn leading_number(text: &str) -> i64 {
    let text = text.trim_start();
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = &digits[..digits.bytes().take_while(u8::is_ascii_digit).count().min(12)];
    digits.parse::<i64>().map_or(0, |number| if text.starts_with('-') { -number } else { number })
}

/// A time in Unix microseconds; what cannot be read is as good as not sent.
fn parse_time(text: &str, zone: i64) -> Option<i64> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_micros());
    }
    let naive = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0))?;
    Some(naive.and_utc().timestamp_micros() - zone * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_leniently_as_ruby_does() {
        assert_eq!(leading_number("50x"), 50);
        assert_eq!(leading_number("many"), 0);
        assert_eq!(leading_number("-3"), -3);
        assert_eq!(parse_time("2026-03-02T08:15:30Z", -3600), Some(1_772_439_330_000_000));
        assert_eq!(parse_time("2026-03-02T08:15:30", -3600), Some(1_772_442_930_000_000));
        assert_eq!(parse_time("2026-03-02T08:15:30 01:00", 0), None);
        assert_eq!(parse_time("yesterday", 0), None);
    }

    #[test]
    fn foreign_bookmarks_are_none() {
        assert_eq!(read_bookmark("WyIyMDI2LTAzLTAyVDA4OjE1OjMwWiIsNDJd"), Some((1_772_439_330, Some(42))));
        assert_eq!(read_bookmark("IjIwMjYtMDMtMDJUMDg6MTU6MzBaIg"), Some((1_772_439_330, None)));
        assert_eq!(read_bookmark("gone"), None);
        assert_eq!(read_bookmark(""), None);
    }
}
