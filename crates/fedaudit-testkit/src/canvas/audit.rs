//! The audit log's routes: what they take for parameters, which rows answer, and the links to further pages.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, NaiveDate, NaiveDateTime};

use super::directory::READER_ID;
use super::document::timestamp;
use super::listing::List;
use super::{Asked, Bookmark, Reply, Server};

/// Where a page begins: after the row of this time and, in the newer form, of this number.
type After = (i64, Option<u64>);

impl Server {
    pub(super) fn audit(&self, asked: &Asked<'_>, kind: &str, id: &str) -> Reply {
        // The object is looked up before the right: a missing one is 404 to everybody.
        let (kind, id, list) = match kind {
            "logins" if self.options.only_pseudonyms => return Reply::not_found(),
            "logins" | "pseudonyms" => match self.login_number(id) {
                Some(id) => (kind, id, self.listings.of_login(id)),
                None => return Reply::not_found(),
            },
            "users" => match self.user_number(id) {
                Some(id) => (kind, id, self.listings.of_user(id)),
                None => return Reply::not_found(),
            },
            "accounts" => match self.root_account_number(id) {
                Some(id) => (kind, id, List::All),
                None => return Reply::not_found(),
            },
            _ => return Reply::not_found(),
        };
        let own = kind == "users" && id == READER_ID;
        if !self.options.may_view && !own {
            return self.denied();
        }

        let size =
            asked.parameter("per_page").map_or(10, leading_number).clamp(1, self.options.page_cap as i64) as usize;
        let time = |name: &str| asked.parameter(name).and_then(|text| parse_time(text, self.options.zone));
        let (start, end) = (time("start_time"), time("end_time"));
        let mut page = asked.parameter("page").unwrap_or("first");
        let is_gap = self.options.empty_pages && !page.ends_with('~');
        page = page.trim_end_matches('~');
        // Whatever is no bookmark of ours is page one, with status 200.
        let after = page.strip_prefix("bookmark:").and_then(read_bookmark);

        let events = &self.world.canvas.events;
        let micros = |position: usize| self.listings.time(position, events) * 1_000_000;
        let skips = |position: usize| {
            let time = self.listings.time(position, events);
            end.is_some_and(|end| micros(position) > end)
                || after.is_some_and(|(last, row)| match row {
                    Some(row) => (time, self.listings.row_number(position)) >= (last, row),
                    None => time >= last,
                })
        };
        let stops = |position: usize| start.is_some_and(|start| micros(position) < start);
        let (mut rows, mut more) = self.listings.page(list, size, skips, stops);
        let mut next = rows.last().map(|position| self.bookmark(*position)).filter(|_| more);
        if is_gap && !rows.is_empty() {
            rows.clear();
            more = true;
            next = Some(format!("{}~", if after.is_some() { page } else { "bookmark:" }));
        }
        if self.options.endless {
            more = true;
            next = Some("bookmark:gone".to_owned());
        }

        let mut reply = Reply::json(200, self.document(&rows, asked)).header(
            "link",
            self.links(
                asked,
                kind,
                id,
                size,
                asked.parameter("page").unwrap_or("first"),
                next.as_deref().filter(|_| more),
            ),
        );
        reply.records = rows.len() as u64;
        reply
    }

    fn bookmark(&self, position: usize) -> String {
        let time = timestamp(self.listings.time(position, &self.world.canvas.events));
        let json = match self.options.bookmark {
            Bookmark::TimeAndRow => format!("[\"{time}\",{}]", self.listings.row_number(position)),
            Bookmark::TimeOnly => format!("\"{time}\""),
        };
        format!("bookmark:{}", BASE64_URL_SAFE_NO_PAD.encode(json))
    }

    /// The `Link` header, in the server's order and without a space after the comma.
    fn links(&self, asked: &Asked<'_>, kind: &str, id: i64, size: usize, page: &str, next: Option<&str>) -> String {
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
        let _ = write!(base, "/api/v1/audit/authentication/{kind}/{id}?");
        for (key, value) in query {
            let escape = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let _ = write!(base, "{}={}&", escape(key), escape(value));
        }
        let mut links = String::with_capacity(4 * base.len());
        let mut link = |page: &str, rel: &str| {
            let comma = if links.is_empty() { "" } else { "," };
            let _ = write!(links, "{comma}<{base}page={page}&per_page={size}>; rel=\"{rel}\"");
        };
        link(page, "current");
        if let Some(next) = next {
            link(next, "next");
        }
        link("first", "first");
        if next.is_none() {
            link(page, "last");
        }
        links
    }
}

fn read_bookmark(text: &str) -> Option<After> {
    let json = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
    let seconds = |time: &str| parse_time(time, 0).map(|micros| micros.div_euclid(1_000_000));
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
