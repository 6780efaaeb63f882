//! Watches what clients ask: the product answers some requests silently wrong, and an auditor has no business with others.

use http::{HeaderMap, Method};

use super::listing::Params;

/// What was noticed so far.
#[derive(Debug, Default)]
pub(super) struct Manners {
    pub(super) complaints: Vec<String>,
    pub(super) most_in_flight: usize,
    in_flight: usize,
    agent: Option<String>,
}

impl Manners {
    pub(super) fn begin(&mut self) {
        self.in_flight += 1;
        self.most_in_flight = self.most_in_flight.max(self.in_flight);
    }

    pub(super) fn end(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    pub(super) fn watch(&mut self, method: &Method, path: &str, params: &Params, headers: &HeaderMap) {
        let login = path == "/api/authentication";
        let agent = headers.get("user-agent").and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        let other_agent = self.agent.as_deref().is_some_and(|known| known != agent);
        let number = |name: &str| params.get(name).and_then(|text| text.parse::<u64>().ok());
        let cookies = headers.get("cookie").and_then(|cookies| cookies.to_str().ok()).unwrap_or_default();
        for (wrong, what) in [
            (method != Method::GET && !(login && method == Method::DELETE), "a method that changes something"),
            (headers.contains_key("authorization") && !login, "credentials outside the login"),
            (other_agent, "another agent"),
            (agent.is_empty() || agent.contains("Mozilla"), "no plain agent"),
            (cookies.contains("ticket="), "a cookie that is not needed"),
            (number("limit").is_some_and(|limit| limit > 500), "a limit that is cut"),
            (number("offset").is_some_and(|offset| offset >= 10_000), "an offset that is ignored"),
            (params.get("end").is_some(), "a bound on end times"),
            (path.ends_with("/audit_trail"), "a recording"),
        ] {
            if wrong {
                self.complaints.push(format!("{what}: {method} {path}"));
            }
        }
        self.agent.get_or_insert_with(|| agent.to_owned());
    }
}
