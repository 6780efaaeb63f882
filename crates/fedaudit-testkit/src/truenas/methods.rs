//! The methods that a reader calls, besides `audit.query` and the login.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value as Json;

use super::answer::{Problem, close, open, text};
use super::{Appliance, Regime, query};

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
        let shown = match method {
            "auth.login_ex" => {
                params.pointer("/0/mechanism").and_then(Json::as_str).unwrap_or("no mechanism").to_owned()
            }
            _ => params.to_string(),
        };
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
            "audit.config" if self.options.hidden_config => Err(refused()),
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
                out.push_str(match (self.options.assurance_level_2, self.regime) {
                    (true, _) => r#"["PASSWORD_PLAIN"]"#,
                    (false, Regime::C) => r#"["API_KEY_PLAIN", "TOKEN_PLAIN", "PASSWORD_PLAIN", "SCRAM"]"#,
                    (false, _) => r#"["API_KEY_PLAIN", "TOKEN_PLAIN", "PASSWORD_PLAIN"]"#,
                });
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
                let id = self.fresh_id();
                // Any name is taken; only that of the sessions is ever heard of again.
                if matches!(params.get(0).and_then(Json::as_str), Some("auth.sessions" | "*")) {
                    self.subscribe(session, &id);
                }
                out.push_str(&text(&id));
                Ok(0)
            }
            "core.unsubscribe" => {
                self.unsubscribe(session);
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
}
