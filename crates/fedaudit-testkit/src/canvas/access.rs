//! Who may ask: access tokens, the refresh grant, and the budget of requests.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::bucket::{Bucket, Limits};
use super::{Options, Reply};

/// A developer key and the refresh token that a user once granted to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuthClient {
    /// Id of the key.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// The refresh token.
    pub refresh_token: String,
}

#[derive(Debug)]
pub(super) struct Access {
    token: String,
    oauth: Option<OAuthClient>,
    token_requests: Option<u64>,
    refreshes: Option<usize>,
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// One for each token.
    buckets: HashMap<String, Bucket>,
    /// Access tokens bought so far, with the requests made with each.
    bought: Vec<(String, u64)>,
    requests: u64,
    audits: u64,
    in_flight: usize,
    peak: usize,
}

/// A request in flight. Dropped without being settled (the client went away), it costs nothing.
#[derive(Debug)]
pub(super) struct Reservation<'a> {
    access: &'a Access,
    token: &'a str,
    since: f64,
    is_settled: bool,
}

impl Reservation<'_> {
    /// Ends it at its real cost; returns what remains of the budget.
    pub(super) fn settle(&mut self, now: f64, cost: f64) -> f64 {
        self.is_settled = true;
        let mut state = self.access.state();
        state.in_flight -= 1;
        state.bucket(self.token, self.access.limits).settle(now, cost)
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.settle(self.since, 0.0);
        }
    }
}

impl State {
    fn bucket(&mut self, token: &str, limits: Limits) -> &mut Bucket {
        self.buckets.entry(token.to_owned()).or_insert_with(|| Bucket::new(limits))
    }
}

impl Access {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            token: options.token.clone(),
            oauth: options.oauth.clone(),
            token_requests: options.token_requests,
            refreshes: options.refreshes,
            limits: options.limits,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Knows the token, or refuses it as Canvas does: with a challenge.
    pub(super) fn admit(&self, token: &str) -> Result<(), Reply> {
        const CHALLENGE: &str = r#"Bearer realm="canvas-lms""#;
        if token.is_empty() {
            let body = r#"{"status":"unauthenticated","errors":[{"message":"user authorization required"}]}"#;
            return Err(Reply::json(401, body).header("www-authenticate", CHALLENGE));
        }
        if token == self.token {
            return Ok(());
        }
        let invalid = |message: &str| {
            Err(Reply::json(401, format!(r#"{{"errors":[{{"message":"{message}"}}]}}"#))
                .header("www-authenticate", CHALLENGE))
        };
        let mut state = self.state();
        let Some((_, used)) = state.bought.iter_mut().find(|(bought, _)| bought == token) else {
            return invalid("Invalid access token.");
        };
        *used += 1;
        if self.token_requests.is_some_and(|most| *used > most) { invalid("Expired access token.") } else { Ok(()) }
    }

    /// Lets a request in, if the token's budget allows it.
    pub(super) fn reserve<'a>(&'a self, token: &'a str, now: f64) -> Option<Reservation<'a>> {
        let mut state = self.state();
        state.bucket(token, self.limits).reserve(now).ok()?;
        state.in_flight += 1;
        state.peak = state.peak.max(state.in_flight);
        Some(Reservation { access: self, token, since: now, is_settled: false })
    }

    /// What remains of a token's budget.
    pub(super) fn remaining(&self, token: &str, now: f64) -> f64 {
        self.state().bucket(token, self.limits).remaining(now)
    }

    pub(super) fn peak(&self) -> usize {
        self.state().peak
    }

    pub(super) fn next_audit(&self) -> u64 {
        let mut state = self.state();
        state.audits += 1;
        state.audits
    }

    pub(super) fn next_request(&self) -> u64 {
        let mut state = self.state();
        state.requests += 1;
        state.requests
    }

    /// The refresh grant: a new access token for one hour, and no new refresh token.
    pub(super) fn refresh(&self, form: &[u8]) -> Reply {
        let form: Vec<(String, String)> = url::form_urlencoded::parse(form).into_owned().collect();
        let field = |name: &str| form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
        let wrong = |error: &str, description: &str| {
            Reply::json(400, format!(r#"{{"error":"{error}","error_description":"{description}"}}"#))
        };
        let unknown = || {
            let body = r#"{"error":"invalid_client","error_description":"unknown client"}"#;
            Reply::json(401, body).header("www-authenticate", "Canvas OAuth 2.0")
        };
        let Some(client) = &self.oauth else { return unknown() };
        if field("client_id") != client.client_id || field("client_secret") != client.client_secret {
            return unknown();
        }
        if field("grant_type") != "refresh_token" {
            return wrong(
                "unsupported_grant_type",
                "The grant_type you requested is not currently supported by Canvas",
            );
        }
        if field("refresh_token") != client.refresh_token {
            return wrong("invalid_request", "refresh_token not found");
        }
        let mut state = self.state();
        if self.refreshes.is_some_and(|most| state.bought.len() >= most) {
            return wrong("invalid_grant", "refresh_token revoked");
        }
        let token = format!("7~bought-{}", state.bought.len() + 1);
        let body = format!(
            r#"{{"access_token":"{token}","token_type":"Bearer","user":{{"id":{},"name":"Auditor","global_id":"10000000000{}"}},"expires_in":3600,"canvas_region":"us-east-1"}}"#,
            super::directory::READER_ID,
            super::directory::READER_ID
        );
        state.bought.push((token, 0));
        Reply::json(200, body)
    }
}
