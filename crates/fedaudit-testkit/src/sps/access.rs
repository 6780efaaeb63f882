//! Logins of the stand-in: Basic once, a cookie from then on, idle time-out by a clock that tests can move.

use std::collections::HashMap;

use base64::Engine as _;
use http::HeaderMap;

use super::{Answer, Options};
use crate::random::Random;

/// The appliance's logins.
#[derive(Debug)]
pub(super) struct Access {
    sessions: HashMap<String, i64>,
    random: Random,
    /// Logins that succeeded.
    pub(super) logins: u64,
}

impl Access {
    pub(super) fn new() -> Self {
        Self { sessions: HashMap::new(), random: Random::new(0x5_b5), logins: 0 }
    }

    /// Answers `GET /api/authentication`.
    pub(super) fn log_in(&mut self, options: &Options, headers: &HeaderMap, method: Option<&str>, now: i64) -> Answer {
        let expected = format!("{}:{}", options.username, options.password);
        let given = headers
            .get("authorization")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Basic "))
            .and_then(|token| base64::engine::general_purpose::STANDARD.decode(token).ok());
        let right_method = options.login_method.as_deref().is_none_or(|wanted| method == Some(wanted));
        if given.as_deref() != Some(expected.as_bytes()) || !right_method {
            return Answer::error(401, "AuthenticationFailure", "Authentication failed");
        }
        if options.second_factor {
            return Answer::error(401, "AuthenticationChallenge", "challenge: enter your one-time password");
        }
        let id = self.random.uuid().replace('-', "") + &self.random.uuid()[..8];
        self.sessions.insert(id.clone(), now);
        self.logins += 1;
        let mut answer = Answer::json(format!(
            "{{\"meta\":{{\"href\":\"/api/authentication\",\"parent\":\"/api\",\"remaining_seconds\":{}}}}}",
            options.idle.as_secs()
        ));
        // The expiry lies in the past, as for a client whose clock is ahead.
        answer.cookies = vec![
            format!("ticket={}; HttpOnly; Path=/; Secure", self.random.token(20)),
            format!(
                "session_id={id}; Expires=Thu, 01 Jan 2015 00:00:00 GMT; HttpOnly; Max-Age={}; Path=/; Secure",
                options.idle.as_secs()
            ),
        ];
        answer
    }

    /// Whether the request carries a login that has not been idle for too long; using it renews it.
    pub(super) fn admits(&mut self, options: &Options, headers: &HeaderMap, now: i64) -> bool {
        let Some(id) = session_id(headers) else { return false };
        match self.sessions.get_mut(&id) {
            Some(used) if now - *used <= options.idle.as_micros() as i64 => {
                *used = now;
                true
            }
            Some(_) => {
                self.sessions.remove(&id);
                false
            }
            None => false,
        }
    }

    pub(super) fn log_out(&mut self, headers: &HeaderMap) {
        if let Some(id) = session_id(headers) {
            self.sessions.remove(&id);
        }
    }

    pub(super) fn expire(&mut self) {
        self.sessions.clear();
    }

    /// Logins not ended yet.
    pub(super) fn open(&self) -> usize {
        self.sessions.len()
    }
}

fn session_id(headers: &HeaderMap) -> Option<String> {
    headers.get_all("cookie").iter().find_map(|cookies| {
        cookies
            .to_str()
            .ok()?
            .split(';')
            .find_map(|cookie| cookie.trim().strip_prefix("session_id=").map(str::to_owned))
    })
}
