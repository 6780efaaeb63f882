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

    /// When it may be asked again, where it says so, in words for an error.
    pub fn asked_again(&self) -> Option<String> {
        let when = self.header("retry-after")?.trim();
        if let Ok(seconds) = when.parse::<u64>() {
            return Some(format!("it may be asked again in {seconds} s"));
        }
        httpdate::parse_http_date(when).ok().map(|_| format!("it may be asked again from {when} on"))
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
    let words = if is_html(response) { String::new() } else { response.text_excerpt() };
    error_saying(response, &words)
}

/// The same, with what a plugin found out that the product says, in place of the beginning of the body.
pub fn error_saying(response: &HttpResponse, words: &str) -> Error {
    let status = response.status;
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
    let mut text = match status {
        200..300 if is_html(response) => "the answer is an HTML page, not data".to_owned(),
        // A query may hold the state of somebody's login.
        300..400 => format!(
            "HTTP {status}: redirected to {}, which is not followed",
            response
                .header("location")
                .map_or("another place", |place| place.split(['?', '#', '\t']).next().unwrap_or(place))
        ),
        _ if words.is_empty() => format!("HTTP {status}"),
        _ => format!("HTTP {status}: {words}"),
    };
    if let Some(again) = response.asked_again().filter(|_| matches!(status, 429 | 503)) {
        text += "; ";
        text += &again;
    }
    let error = Error::new(kind, text);
    match status {
        200..400 => error.hint("something in front of the product answered: a login page, a proxy, a wrong port?"),
        _ => error,
    }
}

fn is_html(response: &HttpResponse) -> bool {
    response.header("content-type").is_some_and(|kind| kind.contains("html"))
}
