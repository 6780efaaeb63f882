//! The methods that a reader calls, besides `audit.query` and the login.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value as Json;

use super::answer::{Problem, close, open, text};
use super::{Appliance, query};

/// Methods that need no login.
const ANONYMOUS: [&str; 3] = ["auth.login_ex", "auth.mechanism_choices", "core.ping"];

impl Appliance {
    /// Answers one call on a connection.
    pub(super) async fn call(
        self: Arc<Self>,
        session: &str,
        origin: &str,
        id: &str,
        method: &str,
        params: &Json,
    ) -> String {
        tokio::time::sleep(self.options.latency).await;
        let mut out = String::new();
        open(&mut out);
        let outcome = self.dispatch(session, origin, method, params, &mut out);
        // Whoever reads the log must not find a secret in it.
        let shown = if method == "auth.login_ex" { "[***]".to_owned() } else { params.to_string() };
        match outcome {
            Ok(records) => {
                self.log("RPC", format!("{method} {shown}"), 200, records);
                close(&mut out, id);
                out
            }
            Err(problem) => {
                self.log("RPC", format!("{method} {shown}"), problem.code as i32, 0);
                problem.answer(id)
            }
        }
    }

    fn dispatch(
        &self,
        session: &str,
        origin: &str,
        method: &str,
        params: &Json,
        out: &mut String,
    ) -> Result<u64, Problem> {
        let known = self.readers().contains_key(session);
        if !known {
            if !ANONYMOUS.contains(&method) {
                return Err(Problem::call(207, "ENOTAUTHENTICATED", "Not authenticated"));
            }
            self.count_anonymous(method)?;
        }
        let roles = self.options.roles;
        let refused = || Problem::call(13, "EACCES", "Not authorized");
        match method {
            "audit.query" | "audit.config" if !roles.audit_read => Err(refused()),
            "audit.query" => query::answer(self, params, out),
            "audit.config" => {
                self.audit_config(out);
                Ok(0)
            }
            "auth.sessions" if !roles.sessions_read => Err(refused()),
            "auth.sessions" => self.sessions(session, params, out),
            "auth.login_ex" => {
                out.push_str(&self.login(session, origin, params)?);
                Ok(0)
            }
            "auth.logout" => {
                self.logout(session);
                out.push_str("true");
                Ok(0)
            }
            "auth.mechanism_choices" => {
                out.push_str(r#"["API_KEY_PLAIN", "TOKEN_PLAIN", "PASSWORD_PLAIN"]"#);
                Ok(0)
            }
            "auth.me" => {
                let _ = write!(out, r#"{{"pw_name": {}}}"#, text(&self.options.username));
                Ok(0)
            }
            "core.ping" => {
                out.push_str("\"pong\"");
                Ok(0)
            }
            "core.subscribe" if !roles.full_admin => Err(refused()),
            "core.subscribe" => {
                out.push_str(&text(&self.fresh_id()));
                Ok(0)
            }
            "core.unsubscribe" => {
                out.push_str("null");
                Ok(0)
            }
            "system.version_short" => {
                let newest = self.options.versions.last().map_or("", |version| version.trim_start_matches('v'));
                out.push_str(&text(newest));
                Ok(0)
            }
            "system.host_id" => {
                let _ = write!(out, "\"{:064x}\"", u128::from(self.world.seed) << 32 | 0xfeda);
                Ok(0)
            }
            _ => Err(Problem::protocol(-32601, "Method does not exist")),
        }
    }

    fn audit_config(&self, out: &mut String) {
        let truenas = &self.world.truenas;
        let shares: Vec<String> = truenas.audited_shares.iter().map(|share| text(share)).collect();
        let _ = write!(
            out,
            r#"{{"id": 1, "retention": {}, "reservation": 0, "quota": 0, "quota_fill_warning": 75, "quota_fill_critical": 95, "remote_logging_enabled": false, "space": {{"used": 1048576, "used_by_dataset": 1048576, "used_by_reservation": 0, "used_by_snapshots": 0, "available": 1073741824}}, "enabled_services": {{"MIDDLEWARE": [], "SMB": [{}], "SUDO": []}}}}"#,
            truenas.retention_days,
            shares.join(", ")
        );
    }

    /// The live list: the world's sessions and, where switched on, the reader's own.
    fn sessions(&self, caller: &str, params: &Json, out: &mut String) -> Result<u64, Problem> {
        let filters = params.get(0).and_then(Json::as_array).cloned().unwrap_or_default();
        let limit = params.get(1).and_then(|options| options.get("limit")).and_then(Json::as_u64).unwrap_or(0);
        let limit = if limit == 0 { usize::MAX } else { limit as usize };
        let mut rows = Vec::new();
        for session in &self.world.truenas.sessions {
            rows.push((session.id.clone(), false, session.internal, format!(
                r#""origin": {}, "credentials": "{}", "credentials_data": {}, "created_at": {{"$date": {}000}}, "secure_transport": {}"#,
                text(&session.origin), session.credentials, session.credentials_data, session.created_at, session.secure_transport
            )));
        }
        if self.options.list_reader {
            for (id, reader) in self.readers().iter() {
                rows.push((id.clone(), id == caller, false, format!(
                    r#""origin": {}, "credentials": "{}", "credentials_data": {}, "created_at": {{"$date": {}000}}, "secure_transport": {}"#,
                    text(&reader.origin), reader.kind, self.credential_data(reader), reader.login_at, self.options.secure
                )));
            }
        }
        for filter in &filters {
            match filter.as_array().map(Vec::as_slice) {
                Some([Json::String(name), Json::String(operator), value]) if operator == "=" => match name.as_str() {
                    "id" => rows.retain(|row| value.as_str() == Some(&row.0)),
                    "current" => rows.retain(|row| value.as_bool() == Some(row.1)),
                    "internal" => rows.retain(|row| value.as_bool() == Some(row.2)),
                    _ => {
                        return Err(Problem::exception(
                            "this stand-in filters sessions by id, current and internal",
                            "ValueError",
                        ));
                    }
                },
                _ => return Err(Problem::exception("this stand-in filters sessions with = alone", "ValueError")),
            }
        }
        rows.truncate(limit);
        out.push('[');
        for (index, (id, current, internal, rest)) in rows.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            let _ =
                write!(out, r#"{comma}{{"id": {}, "current": {current}, "internal": {internal}, {rest}}}"#, text(id));
        }
        out.push(']');
        Ok(rows.len() as u64)
    }
}
