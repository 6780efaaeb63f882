//! Requests to Canvas: authorised, answered with JSON or turned into an error that says what to do.

use std::fmt::Write as _;

use fedaudit_core::{Context, Error, ErrorKind, Meter, Result, Secret};
use fedaudit_transport::{
    Attempt, HttpClient, HttpRequest, HttpResponse, Login, Origin, PATIENCE, Spoken, error_for, remaining, retry_after,
};

use crate::budget::Budget;
use crate::config::Config;
use crate::links::{is_other_page, next_link};
use crate::login::Access;

/// A request is refused by the budget so often before that is an error.
const REFUSALS: usize = 6;
/// Thirty times what the largest installations are said to allow. A figure beyond it would outweigh all later ones.
pub(crate) const LARGEST_BUDGET: f64 = 1e5;

/// The wire to one Canvas installation.
#[derive(Debug)]
pub(crate) struct Api {
    client: HttpClient,
    pub(crate) access: Access,
    budget: Budget,
    rewrite_links: bool,
}

impl Api {
    pub(crate) fn new(origin: Origin, config: Config, spoken: &Spoken) -> Result<Self> {
        let client =
            HttpClient::through(origin, &config.tls, &config.proxy)?.remembering(spoken).without_throttle_retries();
        let access = match (config.token, config.oauth) {
            (Some(token), None) => Access::Token(token),
            (None, Some(oauth)) => Access::Refresh(Box::new(oauth), Login::default()),
            _ => return Err(Error::new(ErrorKind::Config, "give either token or oauth")),
        };
        Ok(Self { client, access, budget: Budget::default(), rewrite_links: config.rewrite_links })
    }

    /// Gets a path and query; anything but 200 with JSON is an error.
    pub(crate) async fn get(&self, cx: &Context, path: &str) -> Result<HttpResponse> {
        let place = place(path);
        let ask = |authorization| async {
            let response = self.ask(cx, path, authorization).await?;
            if response.status == 200 && response.is_json() {
                return Ok(Attempt::Done(response));
            }
            let error = refusal(&response).at(&place);
            if response.status == 401 && is_challenged(&response) { Ok(Attempt::Lost(error)) } else { Err(error) }
        };
        let response = self.access.with(cx, &self.client, ask).await?;
        if is_other_page(path, &response).map_err(|error| error.at(&place))? {
            let error = Error::new(ErrorKind::Malformed, "the answer is another page than the one that was asked for");
            return Err(error
                .at(place)
                .hint("something between here and Canvas gives answers to other requests, or its bookmarks changed"));
        }
        Ok(response)
    }

    /// Asks when the budget allows it, and again where it turns out that it did not.
    async fn ask(&self, cx: &Context, path: &str, authorization: Secret) -> Result<HttpResponse> {
        let mut refusals = 0;
        loop {
            let request = HttpRequest::get(path)
                .header("accept", "application/json")
                .secret_header("authorization", authorization.clone());
            let permit = self.budget.admit(cx).await.map_err(|error| error.at(place(path)))?;
            let response = self.client.send(cx, request).await?;
            let units = units_left(&response);
            if !throttled(&response) {
                permit.answered(units);
                return Ok(response);
            }
            Meter::count(&cx.meter.throttled);
            let wait = permit.refused(units, retry_after(&response, cx));
            refusals += 1;
            if refusals == REFUSALS || wait >= remaining(cx).unwrap_or(PATIENCE) {
                return Ok(response);
            }
            Meter::count(&cx.meter.retries);
        }
    }

    /// Path and query of the next page. The token goes nowhere but to the configured origin.
    pub(crate) fn next(&self, response: &HttpResponse) -> Result<Option<String>> {
        let Some(link) = next_link(response)? else { return Ok(None) };
        let path = match link.split_once("://") {
            Some((_, rest)) if self.rewrite_links => rest.find('/').map_or("/", |at| &rest[at..]),
            _ => link,
        };
        let path = self.client.origin().resolve(path)?;
        if !path.starts_with("/api/v1/") {
            return Err(Error::new(ErrorKind::Malformed, "the next page is said to lie outside the API")
                .hint("a proxy that rewrites links has that effect"));
        }
        Ok(Some(path))
    }
}

/// What to call a request in errors: without the query, which may name people.
fn place(path: &str) -> String {
    format!("GET {}", path.split('?').next().unwrap_or_default())
}

/// What remains of the token's budget, where the answer says so.
pub(crate) fn units_left(response: &HttpResponse) -> Option<f64> {
    let left: f64 = response.header("x-rate-limit-remaining")?.trim().parse().ok()?;
    left.is_finite().then(|| left.clamp(-LARGEST_BUDGET, LARGEST_BUDGET))
}

/// Canvas asks to slow down with 429, older releases with a 403 that only its text or its budget header gives away.
pub(crate) fn throttled(response: &HttpResponse) -> bool {
    const MARKER: &[u8] = b"Rate Limit Exceeded";
    match response.status {
        429 => true,
        403 => {
            units_left(response).is_some_and(|left| left <= 0.0)
                || response.body.windows(MARKER.len()).any(|part| part == MARKER)
        }
        _ => false,
    }
}

/// The token itself is refused, not a right that it lacks.
fn is_challenged(response: &HttpResponse) -> bool {
    response.header("www-authenticate").is_some()
}

/// Decided by status and header, never by text: older servers translate their messages.
pub(crate) fn refusal(response: &HttpResponse) -> Error {
    if throttled(response) {
        let mut text = format!("Canvas asks to slow down (HTTP {})", response.status);
        if let Some(again) = response.asked_again() {
            let _ = write!(text, "; {again}");
        }
        return Error::new(ErrorKind::RateLimited, text)
            .hint("another program may be using the same token: the budget is counted per token");
    }
    let said = || {
        let mut text = format!("HTTP {}: {}", response.status, response.text_excerpt());
        if let Some(id) = response.header("x-request-context-id") {
            let _ = write!(text, " (request {id})");
        }
        text
    };
    match response.status {
        401 if is_challenged(response) => Error::new(ErrorKind::Unauthenticated, said())
            .hint("the access token is wrong, expired or revoked: create one under Account > Settings > New Access Token"),
        // The caller knows which right it takes.
        401 | 403 if response.is_json() => Error::new(ErrorKind::Denied, said()),
        403 => error_for(response)
            .hint("this 403 is not Canvas's own: a firewall or a rate limiter in front of it seems to answer"),
        404 => Error::new(ErrorKind::NotFound, said())
            .hint("login activity belongs to root accounts: a sub-account, a deleted object and an unknown id all look like this"),
        _ => error_for(response),
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
    fn throttled_by_status_text_or_figure() {
        let answer = |status, body: &'static str, remaining: Option<&'static str>| {
            let header = |text: &str| ("x-rate-limit-remaining".parse().unwrap(), text.parse().unwrap());
            let headers = remaining.into_iter().map(header).collect();
            let response = HttpResponse { status, headers, body: body.into() };
            throttled(&response)
        };
        assert!(answer(429, "", None));
        assert!(answer(403, "403 Forbidden (Rate Limit Exceeded)\n", None));
        assert!(answer(403, "{}", Some("0.0")) && answer(403, "{}", Some(" -12.5 ")));
        assert!(!answer(403, "{}", Some("0.1")) && !answer(403, "{}", None) && !answer(403, "{}", Some("NaN")));
        assert!(!answer(200, "Rate Limit Exceeded", Some("-3")) && !answer(401, "", Some("0")));
    }

    #[test]
    fn a_budget_that_no_installation_has_is_bounded() {
        let units = |text: &str| {
            let headers = [("x-rate-limit-remaining".parse().unwrap(), text.parse().unwrap())].into_iter().collect();
            units_left(&HttpResponse { status: 200, headers, body: Vec::new().into() })
        };
        assert_eq!((units("-12.5"), units(" 2999.75 ")), (Some(-12.5), Some(2999.75)));
        assert_eq!((units("-1e300"), units("1e300")), (Some(-LARGEST_BUDGET), Some(LARGEST_BUDGET)));
        assert_eq!((units("1e999"), units("NaN"), units("-inf"), units("")), (None, None, None, None));
    }

    #[test]
    fn segments_cannot_break_out() {
        assert_eq!(encode("sis_account_id:A/B?c d"), "sis_account_id:A%2FB%3Fc%20d");
        assert_eq!(encode("1~23"), "1~23");
    }
}
