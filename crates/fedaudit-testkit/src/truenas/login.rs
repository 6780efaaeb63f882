//! `auth.login_ex`: who may come in, and what each attempt leaves behind.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::answer::{Problem, text};
use super::{Appliance, Reader, Regime, scram};
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
        let mechanism = member("mechanism");
        if options.assurance_level_2 && matches!(mechanism, "API_KEY_PLAIN" | "TOKEN_PLAIN" | "SCRAM") {
            return Err(Problem::call(95, "EOPNOTSUPP", "mechanism is not supported at the current assurance level"));
        }
        let (kind, outcome) = match mechanism {
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
                let outcome = match (right, options.second_factor || options.assurance_level_2) {
                    (true, true) => "OTP_REQUIRED",
                    (true, false) => "SUCCESS",
                    (false, _) => "AUTH_ERR",
                };
                ("LOGIN_PASSWORD", outcome)
            }
            "TOKEN_PLAIN" => {
                let right = options.token.is_some() && options.token.as_deref() == Some(member("token"));
                ("TOKEN", if right { "SUCCESS" } else { "AUTH_ERR" })
            }
            "OTP_TOKEN" => return Err(Problem::call(22, "EINVAL", "OTP_TOKEN: no authentication is in progress")),
            "SCRAM" if self.regime == Regime::C => match self.scram(session, &attempt) {
                Ok(scram::Step::Challenge(answer)) => return Ok(answer),
                Ok(scram::Step::Proven(answer)) => {
                    self.enter(session, origin, "API_KEY");
                    return Ok(answer);
                }
                Err(()) => ("API_KEY", "AUTH_ERR"),
            },
            other => {
                let message =
                    format!("Input tag '{other}' found using 'mechanism' does not match any of the expected tags");
                return Err(Problem::invalid("login_data", &message));
            }
        };
        let outcome = match (outcome, options.login_answer) {
            ("SUCCESS", Some(answer)) => answer,
            (outcome, _) => outcome,
        };
        match outcome {
            "SUCCESS" => {
                self.enter(session, origin, kind);
                let authenticator = if self.regime >= Regime::C { r#", "reconnect_token": null"# } else { "" };
                Ok(format!(
                    r#"{{"response_type": "SUCCESS", "user_info": {}, "authenticator": "LEVEL_1"{authenticator}}}"#,
                    self.user_info()
                ))
            }
            "OTP_REQUIRED" => {
                Ok(format!(r#"{{"response_type": "OTP_REQUIRED", "username": {}}}"#, text(&options.username)))
            }
            other => {
                let reader = self.reader(origin, kind);
                // The product writes a refused token down as it was presented.
                let presented = match kind {
                    "TOKEN" => format!(r#"{{"token": {}}}"#, text(member("token"))),
                    _ => format!(r#"{{"username": {}}}"#, text(member("username"))),
                };
                self.record("AUTHENTICATION", session, &reader, Some(&presented));
                Ok(format!(r#"{{"response_type": "{other}"}}"#))
            }
        }
    }

    pub(super) fn user_info(&self) -> String {
        format!(r#"{{"pw_name": {}, "pw_uid": 3000, "local": true}}"#, text(&self.options.username))
    }

    fn reader(&self, origin: &str, kind: &'static str) -> Reader {
        Reader { origin: origin.to_owned(), login_id: self.fresh_id(), login_at: chrono::Utc::now().timestamp(), kind }
    }

    /// A credential was right. Subscribers hear of it before the caller does.
    fn enter(&self, session: &str, origin: &str, kind: &'static str) {
        let reader = self.reader(origin, kind);
        self.record("AUTHENTICATION", session, &reader, None);
        if self.options.list_reader {
            self.tell_added(&self.listed(session, &reader));
        }
        self.readers().insert(session.to_owned(), reader);
    }

    /// Ends the login of a connection.
    pub(super) fn logout(&self, session: &str) {
        let reader = self.readers().remove(session);
        if let Some(reader) = reader {
            self.record("LOGOUT", session, &reader, None);
            if self.options.list_reader {
                self.tell_removed(session);
            }
        }
        // Logging out ends subscriptions, after the connection has heard of its own end.
        self.unsubscribe(session);
    }

    /// What describes the reader's credential, as JSON.
    pub(super) fn credential_data(&self, reader: &Reader) -> String {
        let key = match &self.options.api_key {
            Some(key) if reader.kind == "API_KEY" => {
                format!(r#", "api_key": {{"id": {}, "name": "fedaudit"}}"#, key.split('-').next().unwrap_or("1"))
            }
            _ => String::new(),
        };
        if reader.kind == "TOKEN" {
            return format!(
                r#"{{"parent": {{"credentials": "LOGIN_PASSWORD", "credentials_data": {{"username": {0}}}}}, "login_id": "{1}", "username": {0}}}"#,
                text(&self.options.username),
                reader.login_id
            );
        }
        format!(
            r#"{{"username": {}, "login_id": "{}", "login_at": {{"$date": {}000}}{key}}}"#,
            text(&self.options.username),
            reader.login_id,
            reader.login_at
        )
    }

    /// Adds an audit row about the reader itself; a failed attempt names the account in its data only.
    fn record(&self, event: &'static str, session: &str, reader: &Reader, presented: Option<&str>) {
        if !self.options.list_reader {
            return;
        }
        let address = reader.origin.rsplit_once(':').map_or(reader.origin.as_str(), |(ip, _)| ip).to_owned();
        let credential = match presented {
            None => {
                format!(r#"{{"credentials": "{}", "credentials_data": {}}}"#, reader.kind, self.credential_data(reader))
            }
            Some(data) => format!(r#"{{"credentials": "{}", "credentials_data": {data}}}"#, reader.kind),
        };
        let known = if presented.is_none() { credential.as_str() } else { "null" };
        let service_data = format!(
            r#"{{"vers": {{"major": 0, "minor": 1}}, "origin": {}, "protocol": "WEBSOCKET", "credentials": {known}}}"#,
            text(&address)
        );
        let error = match (event, presented) {
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
            username: if presented.is_none() { self.options.username.clone() } else { ".UNAUTHENTICATED".to_owned() },
            session: session.to_owned(),
            service: TrueNasService::Middleware,
            service_data: service_data.into(),
            event,
            event_data: format!(r#"{{"credentials": {credential}{error}}}"#).into(),
            success: presented.is_none(),
        });
    }
}
