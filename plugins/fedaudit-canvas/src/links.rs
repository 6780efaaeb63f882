//! Links between pages: which one leads on, and what its bookmark proves about rows of the same second.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use fedaudit_core::{Error, ErrorKind, Result};
use fedaudit_transport::HttpResponse;
use serde_json::Value;

/// The link with `rel="next"` of all `Link` headers. None is the end of a list, so a header that cannot be read, or not to
/// its end, is an error.
pub(crate) fn next_link(response: &HttpResponse) -> Result<Option<&str>> {
    link(response, "next")
}

/// Whether an answer says of itself that it is the first page where a later one was asked for, or the other way round: the
/// answer to another request, or a bookmark that Canvas could not read. Very long answers leave the link out.
pub(crate) fn is_other_page(asked: &str, response: &HttpResponse) -> Result<bool> {
    Ok(link(response, "current")?.is_some_and(|current| is_later(current) != is_later(asked)))
}

/// Whether a link leads to a page behind the first.
fn is_later(link: &str) -> bool {
    link.contains("page=bookmark")
}

fn link<'r>(response: &'r HttpResponse, rel: &str) -> Result<Option<&'r str>> {
    for value in response.headers.get_all("link") {
        let header = value.to_str().map_err(|_| damaged())?;
        if let Some(found) = link_in(header, rel)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn damaged() -> Error {
    Error::new(ErrorKind::Malformed, "the links between pages cannot be read, so it is not known whether more follows")
        .hint("a proxy that cuts long headers or rewrites links has that effect")
}

/// The first link of this relation; an error for a header that is damaged before it comes.
pub(crate) fn link_in<'h>(header: &'h str, wanted: &str) -> Result<Option<&'h str>> {
    let next_of = |rest: &'h str| rest.trim_start_matches([',', ' ', '\t']);
    let mut rest = next_of(header);
    while !rest.is_empty() {
        let (target, rel, behind) = first_link(rest).ok_or_else(damaged)?;
        if rel.split(' ').any(|rel| rel.eq_ignore_ascii_case(wanted)) {
            return Ok(Some(target));
        }
        rest = next_of(behind);
    }
    Ok(None)
}

/// Target and relation of the link that a text begins with, and what follows it; nothing where it is not whole.
fn first_link(text: &str) -> Option<(&str, &str, &str)> {
    let (target, parameters) = text.strip_prefix('<')?.split_once('>')?;
    let (rel, behind) = relation(parameters)?;
    (!target.contains(['<', '"', ' '])).then_some((target, rel, behind))
}

/// The relation that the parameters of a link state, and what follows them.
fn relation(mut rest: &str) -> Option<(&str, &str)> {
    let mut rel = None;
    while let Some(parameter) = rest.trim_start().strip_prefix(';') {
        let (name, behind) = word(parameter, &['=', ';', ','])?;
        let (value, behind) = match behind.strip_prefix('=').map(str::trim_start) {
            None => ("", behind),
            Some(value) => match value.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => word(value, &[';', ','])?,
            },
        };
        if name.eq_ignore_ascii_case("rel") {
            rel = rel.or(Some(value));
        }
        rest = behind;
    }
    let rest = rest.trim_start();
    (rest.is_empty() || rest.starts_with(',')).then_some(())?;
    rel.filter(|rel| !rel.trim().is_empty()).map(|rel| (rel, rest))
}

/// A text up to one of these, and the rest; nothing where quotes or brackets show that it is none.
fn word<'t>(text: &'t str, ends: &[char]) -> Option<(&'t str, &'t str)> {
    let (word, rest) = text.split_at(text.find(ends).unwrap_or(text.len()));
    (!word.contains(['"', '<', '>'])).then_some((word.trim(), rest))
}

/// Where the next page begins, as far as its bookmark shows. The token is the server's own and goes back untouched; it is
/// looked at only because some of its forms are known to lose rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bookmark {
    /// Behind one certain row, also within its second.
    Row,
    /// Before a second: the first releases on SQL skip what is left of it.
    Second,
    /// Something else: several lists merged into one, or a form that is not known.
    Unknown,
}

impl Bookmark {
    /// Reads the bookmark of a link.
    pub(crate) fn of(link: &str) -> Self {
        let token = link
            .split(['?', '&'])
            .find_map(|part| part.strip_prefix("page=bookmark:").or_else(|| part.strip_prefix("page=bookmark%3A")));
        let json = token
            .and_then(|token| BASE64_URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).ok())
            .and_then(|json| serde_json::from_slice(&json).ok());
        match json {
            Some(Value::String(_)) => Self::Second,
            Some(Value::Array(parts)) => match parts.as_slice() {
                // Time and row number, as of today.
                [Value::String(_), Value::Number(_)] => Self::Row,
                // Bucket, and second with the beginning of the row's id, as Cassandra had it.
                [Value::String(_) | Value::Number(_), Value::String(place)] if place.contains('/') => Self::Row,
                _ => Self::Unknown,
            },
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_is_found_among_the_links() {
        let header = r#"<https://c.example/a?page=first>; rel="current",<https://c.example/a?page=bookmark:Wy,J>; rel="next",<https://c.example/a>; rel="first""#;
        let next = |header| link_in(header, "next").unwrap();
        assert_eq!(next(header), Some("https://c.example/a?page=bookmark:Wy,J"));
        assert_eq!(next(r#"<https://c.example/a>; rel="current",<https://c.example/a>; rel="last""#), None);
        assert_eq!(next("<x>; rel=next"), Some("x"));
        assert_eq!(next("<y>; rel=\"first\", <x>; title=\"a, <b>\"; REL=\"prev next\""), Some("x"));
        assert_eq!(next(""), None);
    }

    #[test]
    fn a_damaged_header_is_not_the_end() {
        let whole =
            r#"<https://c.example/a?page=first>; rel="current",<https://c.example/a?page=bookmark:Wy>; rel="next""#;
        let first = whole.find(",<").unwrap();
        for end in 1..whole.len() {
            // Cut between two links it cannot be told from a header that ends there.
            let is_whole = end == first || end == first + 1;
            assert_eq!(link_in(&whole[..end], "next").is_ok(), is_whole, "{}", &whole[..end]);
        }
        for damaged in [
            "<a>",
            "a; rel=\"next\"",
            "<a>; rel=\"\"",
            "<a; rel=\"x\",<b>; rel=\"next\"",
            "<a> rel=\"next\"",
            "<a>; title=\"next\"",
        ] {
            assert!(link_in(damaged, "next").is_err(), "{damaged}");
        }
        let answer = |values: &[&[u8]]| {
            let value = |bytes: &&[u8]| ("link".parse().unwrap(), (*bytes).try_into().unwrap());
            HttpResponse { status: 200, headers: values.iter().map(value).collect(), body: Vec::new().into() }
        };
        for values in
            [&[b"<https://c.example/\xe9>; rel=\"next\"".as_slice()] as &[&[u8]], &[b"<a>; rel=\"first\"", b"<b"]]
        {
            let error = next_link(&answer(values)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed);
        }
        assert_eq!(next_link(&answer(&[b"<a>; rel=\"first\"", b"<b>; rel=\"next\""])).unwrap(), Some("b"));
        assert_eq!(next_link(&answer(&[])).unwrap(), None);
    }

    #[test]
    fn an_answer_knows_its_own_page() {
        let links =
            r#"<https://c.example/a?page=bookmark:Wy&per_page=9>; rel="current",<https://c.example/a>; rel="first""#;
        assert!(is_later(link_in(links, "current").unwrap().unwrap()));
        for first in ["/a?per_page=9", "https://c.example/a?page=first&per_page=9", "/a?page=2"] {
            assert!(!is_later(first), "{first}");
        }
    }

    #[test]
    fn bookmarks_by_era() {
        let of =
            |json: &str| Bookmark::of(&format!("/x?page=bookmark:{}&per_page=9", BASE64_URL_SAFE_NO_PAD.encode(json)));
        assert_eq!(of(r#"["2026-03-02T08:15:30Z",42]"#), Bookmark::Row);
        assert_eq!(of(r#"[1405000000,"1405000123/6f3c1a52"]"#), Bookmark::Row);
        assert_eq!(of(r#""2026-03-02T08:15:30Z""#), Bookmark::Second);
        for unknown in [
            r#"["shard-1",["2026-03-02T08:15:30Z",42]]"#,
            r#"[1,"2026-03-02T08:15:30Z"]"#,
            r#"["a","2026-03-02T08:15:30Z",42]"#,
            "17",
        ] {
            assert_eq!(of(unknown), Bookmark::Unknown, "{unknown}");
        }
        assert_eq!(Bookmark::of("/x?page=bookmark:%%%"), Bookmark::Unknown);
        assert_eq!(Bookmark::of("/x?page=2"), Bookmark::Unknown);
    }
}
