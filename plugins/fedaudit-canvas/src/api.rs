//! Requests to Canvas: authorised, answered with JSON or turned into an error that says what to do.

use std::fmt::Write as _;

use fedaudit_core::{Context, Error, ErrorKind, Result};
use fedaudit_transport::{HttpClient, HttpRequest, HttpResponse, Origin, error_for};

use crate::config::Config;
use crate::login::{Grant, Login};

/// The wire to one Canvas installation.
#[derive(Debug)]
pub(crate) struct Api {
    client: HttpClient,
    pub(crate) login: Login,
}

impl Api {
    pub(crate) fn new(origin: Origin, config: Config) -> Result<Self> {
        let client = HttpClient::through(origin, &config.tls, &config.proxy)?.throttled_when(throttled);
        let grant = match (config.token, config.oauth) {
            (Some(token), None) => Grant::Token(token),
            (None, Some(oauth)) => Grant::Refresh(oauth),
            _ => return Err(Error::new(ErrorKind::Config, "give either token or oauth")),
        };
        Ok(Self { client, login: Login::new(grant) })
    }

    pub(crate) fn origin(&self) -> &Origin {
        self.client.origin()
    }

    /// Gets a path and query; anything but 200 with JSON is an error.
    pub(crate) async fn get(&self, cx: &Context, path: &str) -> Result<HttpResponse> {
        let place = path.split('?').next().unwrap_or_default();
        let mut refused = None;
        loop {
            let access = self.login.access(cx, &self.client, refused).await?;
            let request = HttpRequest::get(path)
                .header("accept", "application/json")
                .secret_header("authorization", access.authorization);
            let response = self.client.send(cx, request).await?;
            let lost = response.status == 401 && response.header("www-authenticate").is_some();
            if lost && refused.is_none() && self.login.can_renew() {
                refused = Some(access.generation);
                continue;
            }
            return if response.status == 200 && response.is_json() {
                Ok(response)
            } else {
                Err(refusal(&response).at(format!("GET {place}")))
            };
        }
    }
}

/// Canvas asks to slow down with 429, older releases with a 403 that only its text or its budget header gives away.
pub(crate) fn throttled(response: &HttpResponse) -> bool {
    const MARKER: &[u8] = b"Rate Limit Exceeded";
    let spent = || {
        response
            .header("x-rate-limit-remaining")
            .and_then(|text| text.trim().parse::<f64>().ok())
            .is_some_and(|left| left <= 0.0)
    };
    match response.status {
        429 => true,
        403 => spent() || response.body.windows(MARKER.len()).any(|part| part == MARKER),
        _ => false,
    }
}

/// Decided by status and header, never by text: older servers translate their messages.
fn refusal(response: &HttpResponse) -> Error {
    if throttled(response) {
        return Error::new(ErrorKind::RateLimited, format!("Canvas asks to slow down (HTTP {})", response.status))
            .hint("another program may be using the same token: the budget is counted per token");
    }
    let said = || {
        let mut text = format!("HTTP {}: {}", response.status, response.text_excerpt());
        if let Some(id) = response.header("x-request-context-id") {
            let _ = write!(text, " (request {id})");
        }
        text
    };
    let challenged = response.header("www-authenticate").is_some();
    match response.status {
        401 if challenged => Error::new(ErrorKind::Unauthenticated, said())
            .hint("the access token is wrong, expired or revoked: create one under Account > Settings > New Access Token"),
        401 | 403 if response.is_json() => Error::new(ErrorKind::Denied, said()).hint(
            "the token's user needs the right 'Statistics - view' (view_statistics) in the root account; a developer key that \
             enforces scopes needs url:GET|/api/v1/audit/authentication/accounts/:account_id as well",
        ),
        403 => error_for(response)
            .hint("this 403 is not Canvas's own: a firewall or a rate limiter in front of it seems to answer"),
        404 => Error::new(ErrorKind::NotFound, said())
            .hint("login activity belongs to root accounts: a sub-account, a deleted object and an unknown id all look like this"),
        _ => error_for(response),
    }
}

/// The link with `rel="next"` of all `Link` headers.
pub(crate) fn next_link(response: &HttpResponse) -> Option<&str> {
    response.headers.get_all("link").iter().filter_map(|value| value.to_str().ok()).find_map(next_of)
}

fn next_of(mut header: &str) -> Option<&str> {
    loop {
        let (_, rest) = header.split_once('<')?;
        let (target, rest) = rest.split_once('>')?;
        let (parameters, rest) = rest.split_once('<').map_or((rest, ""), |(head, _)| (head, &rest[head.len()..]));
        let is_next = parameters.split([';', ',']).any(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel")
                    && value.trim().trim_matches('"').split(' ').any(|rel| rel.eq_ignore_ascii_case("next"))
            })
        });
        if is_next {
            return Some(target);
        }
        header = rest;
    }
}

/// Percent-encodes one path segment or query value.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_is_found_among_the_links() {
        let header = r#"<https://c.example/a?page=first>; rel="current",<https://c.example/a?page=bookmark:Wy,J>; rel="next",<https://c.example/a>; rel="first""#;
        assert_eq!(next_of(header), Some("https://c.example/a?page=bookmark:Wy,J"));
        assert_eq!(next_of(r#"<https://c.example/a>; rel="current",<https://c.example/a>; rel="last""#), None);
        assert_eq!(next_of("<x>; rel=next"), Some("x"));
        assert_eq!(next_of(""), None);
        assert_eq!(next_of("<broken"), None);
    }

    #[test]
    fn segments_cannot_break_out() {
        assert_eq!(encode("sis_account_id:A/B?c d"), "sis_account_id:A%2FB%3Fc%20d");
        assert_eq!(encode("1~23"), "1~23");
    }
}
