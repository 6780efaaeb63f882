//! `auth.login_ex`: who may come in, and what each attempt leaves behind.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::answer::{Problem, text};
use super::{Appliance, Reader, Regime};
use crate::records::{TrueNasRecord, TrueNasService};

const MINUTE: Duration = Duration::from_mins(1);

impl Appliance {
    /// Counts a call of a client that is not logged in; the product refuses more than so many a minute.
    pub(super) fn count_anonymous(&self, method: &str) -> Result<(), Problem> {
        let Some(limit) = self.options.anonymous_calls else { return Ok(()) };
        let mut calls = self.anonymous.lock().unwrap_or_else(PoisonError::into_inner);
        let times = calls.entry(method.to_owned()).or_default();
        times.retain(|time| time.elapsed() < MINUTE);
        times.push(Instant::now());
        if times.len() > limit { Err(Problem::call(16, "EBUSY", "Rate Limit Exceeded")) } else { Ok(()) }
    }

    /// One attempt on a connection; the result as text.
    pub(super) fn login(&self, session: &str, origin: &str, params: &Json) -> Result<String, Problem> {
        let options = &self.options;
        let attempt = params.get(0).cloned().unwrap_or_default();
        let member = |name: &str| attempt.get(name).and_then(Json::as_str).unwrap_or_default();
        if options.standby {
            return Ok(r#"{"response_type": "REDIRECT", "urls": ["https://nas-1-active.example"]}"#.to_owned());
        }
        let known = member("username") == options.username;
        let (kind, outcome) = match member("mechanism") {
            "API_KEY_PLAIN" => {
                let right = known && options.api_key.as_deref() == Some(member("api_key"));
                if right && !options.secure {
                    self.revoked.store(true, Relaxed);
                }
                let outcome = match (right, self.revoked.load(Relaxed)) {
                    (true, true) => "EXPIRED",
                    (true, false) => "SUCCESS",
                    (false, _) => "AUTH_ERR",
                };
                ("API_KEY", outcome)
            }
            "PASSWORD_PLAIN" => {
                let right = known && options.password.as_deref() == Some(member("password"));
                let outcome = match (right, options.second_factor) {
                    (true, true) => "OTP_REQUIRED",
                    (true, false) => "SUCCESS",
                    (false, _) => "AUTH_ERR",
                };
                ("LOGIN_PASSWORD", outcome)
            }
            other => {
                let message =
                    format!("Input tag '{other}' found using 'mechanism' does not match any of the expected tags");
                return Err(Problem::invalid("login_data", &message));
            }
        };
        let now = chrono::Utc::now().timestamp();
        let login_id = self.fresh_id();
        match outcome {
            "SUCCESS" => {
                let reader = Reader { origin: origin.to_owned(), login_id, login_at: now, kind };
                self.record("AUTHENTICATION", session, &reader, None);
                self.readers().insert(session.to_owned(), reader);
                let authenticator = if self.regime >= Regime::C { r#", "reconnect_token": null"# } else { "" };
                Ok(format!(
                    r#"{{"response_type": "SUCCESS", "user_info": {{"pw_name": {}, "pw_uid": 3000, "local": true}}, "authenticator": "LEVEL_1"{authenticator}}}"#,
                    text(&options.username)
                ))
            }
            "OTP_REQUIRED" => {
                Ok(format!(r#"{{"response_type": "OTP_REQUIRED", "username": {}}}"#, text(&options.username)))
            }
            other => {
                let reader = Reader { origin: origin.to_owned(), login_id, login_at: now, kind };
                self.record("AUTHENTICATION", session, &reader, Some(member("username")));
                Ok(format!(r#"{{"response_type": "{other}"}}"#))
            }
        }
    }

    /// Ends the login of a connection.
    pub(super) fn logout(&self, session: &str) {
        let reader = self.readers().remove(session);
        if let Some(reader) = reader {
            self.record("LOGOUT", session, &reader, None);
        }
    }

    /// What describes the reader's credential, as JSON.
    pub(super) fn credential_data(&self, reader: &Reader) -> String {
        let key = match &self.options.api_key {
            Some(key) if reader.kind == "API_KEY" => {
                format!(r#", "api_key": {{"id": {}, "name": "fedaudit"}}"#, key.split('-').next().unwrap_or("1"))
            }
            _ => String::new(),
        };
        format!(
            r#"{{"username": {}, "login_id": "{}", "login_at": {{"$date": {}000}}{key}}}"#,
            text(&self.options.username),
            reader.login_id,
            reader.login_at
        )
    }

    /// Adds an audit row about the reader itself; a failed attempt names the account in its data only.
    fn record(&self, event: &'static str, session: &str, reader: &Reader, failed_as: Option<&str>) {
        if !self.options.list_reader {
            return;
        }
        let address = reader.origin.rsplit_once(':').map_or(reader.origin.as_str(), |(ip, _)| ip).to_owned();
        let credential = match failed_as {
            None => {
                format!(r#"{{"credentials": "{}", "credentials_data": {}}}"#, reader.kind, self.credential_data(reader))
            }
            Some(name) => {
                format!(r#"{{"credentials": "{}", "credentials_data": {{"username": {}}}}}"#, reader.kind, text(name))
            }
        };
        let known = if failed_as.is_none() { credential.as_str() } else { "null" };
        let service_data = format!(
            r#"{{"vers": {{"major": 0, "minor": 1}}, "origin": {}, "protocol": "WEBSOCKET", "credentials": {known}}}"#,
            text(&address)
        );
        let error = match (event, failed_as) {
            ("LOGOUT", _) => "",
            (_, None) => r#", "error": null"#,
            (_, Some(_)) => r#", "error": "Bad username or password""#,
        };
        let now = chrono::Utc::now().timestamp();
        self.own_rows.lock().unwrap_or_else(PoisonError::into_inner).push(TrueNasRecord {
            audit_id: self.fresh_id(),
            message_timestamp: now,
            timestamp: now,
            address,
            username: if failed_as.is_none() { self.options.username.clone() } else { ".UNAUTHENTICATED".to_owned() },
            session: session.to_owned(),
            service: TrueNasService::Middleware,
            service_data: service_data.into(),
            event,
            event_data: format!(r#"{{"credentials": {credential}{error}}}"#).into(),
            success: failed_as.is_none(),
        });
    }
}
