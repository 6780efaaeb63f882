//! An answer with its whole body, and what its status means where the product says nothing better.

use bytes::Bytes;
use fedaudit_core::{Error, ErrorKind, Time};
use http::HeaderMap;

/// An HTTP answer, read to its end.
#[derive(Clone, Debug)]
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, decompressed.
    pub body: Bytes,
}

impl HttpResponse {
    /// A header as text; the name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether the body says that it is JSON.
    pub fn is_json(&self) -> bool {
        self.header("content-type").is_some_and(|kind| {
            let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            kind == "application/json" || kind.ends_with("+json")
        })
    }

    /// The beginning of the body for an error message, on one line.
    pub fn text_excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(600)]);
        let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        line.chars().filter(|c| !c.is_control()).take(200).collect()
    }

    /// The server's clock, from the `Date` header.
    pub fn server_time(&self) -> Option<Time> {
        let date = httpdate::parse_http_date(self.header("date")?).ok()?;
        let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
        Time::from_seconds(since.as_secs() as i64)
    }
}

/// The error for an answer that is not what was asked for. Plugins add what they know of the product.
pub fn error_for(response: &HttpResponse) -> Error {
    let status = response.status;
    let html = response.header("content-type").is_some_and(|kind| kind.contains("html"));
    let kind = match status {
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::Denied,
        404 | 410 => ErrorKind::NotFound,
        408 | 504 => ErrorKind::Timeout,
        429 => ErrorKind::RateLimited,
        501 | 505 => ErrorKind::Unsupported,
        500.. => ErrorKind::Unavailable,
        _ => ErrorKind::Malformed,
    };
    let excerpt = response.text_excerpt();
    let text = match status {
        200..300 if html => "the answer is an HTML page, not data".to_owned(),
        // A query may hold the state of somebody's login.
        300..400 => format!(
            "HTTP {status}: redirected to {}, which is not followed",
            response
                .header("location")
                .map_or("another place", |place| place.split(['?', '#', '\t']).next().unwrap_or(place))
        ),
        _ if excerpt.is_empty() || html => format!("HTTP {status}"),
        _ => format!("HTTP {status}: {excerpt}"),
    };
    let error = Error::new(kind, text);
    match status {
        200..400 => error.hint("something in front of the product answered: a login page, a proxy, a wrong port?"),
        _ => error,
    }
}
