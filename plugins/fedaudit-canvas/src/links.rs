//! Links between pages: which one leads on, and what its bookmark proves about rows of the same second.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use fedaudit_transport::HttpResponse;
use serde_json::Value;

/// The link with `rel="next"` of all `Link` headers.
pub(crate) fn next_link(response: &HttpResponse) -> Option<&str> {
    link(response, "next")
}

/// Whether an answer says of itself that it is the first page where a later one was asked for, or the other way round: the
/// answer to another request, or a bookmark that Canvas could not read. Very long answers leave the link out.
pub(crate) fn is_other_page(asked: &str, response: &HttpResponse) -> bool {
    link(response, "current").is_some_and(|current| is_later(current) != is_later(asked))
}

/// Whether a link leads to a page behind the first.
fn is_later(link: &str) -> bool {
    link.contains("page=bookmark")
}

fn link<'r>(response: &'r HttpResponse, rel: &str) -> Option<&'r str> {
    response
        .headers
        .get_all("link")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .find_map(|links| link_in(links, rel))
}

pub(crate) fn link_in<'h>(mut header: &'h str, wanted: &str) -> Option<&'h str> {
    loop {
        let (_, rest) = header.split_once('<')?;
        let (target, rest) = rest.split_once('>')?;
        let (parameters, rest) = rest.split_once('<').map_or((rest, ""), |(head, _)| (head, &rest[head.len()..]));
        let is_wanted = parameters.split([';', ',']).any(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel")
                    && value.trim().trim_matches('"').split(' ').any(|rel| rel.eq_ignore_ascii_case(wanted))
            })
        });
        if is_wanted {
            return Some(target);
        }
        header = rest;
    }
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
        assert_eq!(link_in(header, "next"), Some("https://c.example/a?page=bookmark:Wy,J"));
        assert_eq!(link_in(r#"<https://c.example/a>; rel="current",<https://c.example/a>; rel="last""#, "next"), None);
        assert_eq!(link_in("<x>; rel=next", "next"), Some("x"));
        assert_eq!(link_in("<y>; rel=\"first\", <x>; title=\"a\"; REL=\"next\"", "next"), Some("x"));
        assert_eq!(link_in("", "next"), None);
        assert_eq!(link_in("<broken", "next"), None);
    }

    #[test]
    fn an_answer_knows_its_own_page() {
        let links =
            r#"<https://c.example/a?page=bookmark:Wy&per_page=9>; rel="current",<https://c.example/a>; rel="first""#;
        assert!(is_later(link_in(links, "current").unwrap()));
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
