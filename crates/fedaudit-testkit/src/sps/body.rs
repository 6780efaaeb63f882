//! Writes a session document as JSON, straight into the answer: all fields, or those of a projection.

use super::details::encoded;
use super::shape::{Generation, Shape};
use crate::records::SpsSession;

/// Writes members in order; objects without a wanted member are left out.
struct Members<'w> {
    out: &'w mut Vec<u8>,
    wanted: Option<&'w [&'w str]>,
    path: String,
    /// Name and whether it was written yet, from the outermost object inwards.
    open: Vec<(&'static str, bool)>,
}

impl Members<'_> {
    fn wants(&self, name: &str) -> bool {
        self.wanted.is_none_or(|wanted| {
            wanted.iter().any(|field| {
                let rest = if self.path.is_empty() {
                    Some(*field)
                } else {
                    field.strip_prefix(self.path.as_str()).and_then(|rest| rest.strip_prefix('.'))
                };
                rest == Some(name)
                    || self.path == *field
                    || (self.path.starts_with(field) && self.path.as_bytes().get(field.len()) == Some(&b'.'))
            })
        })
    }

    fn name(&mut self, name: &str) {
        for (object, written) in &mut self.open {
            if !*written {
                *written = true;
                separate(self.out);
                self.out.push(b'"');
                self.out.extend_from_slice(object.as_bytes());
                self.out.extend_from_slice(b"\":{");
            }
        }
        separate(self.out);
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn object(&mut self, name: &'static str, members: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if self.wanted.is_some() {
            if !self.path.is_empty() {
                self.path.push('.');
            }
            self.path.push_str(name);
        }
        self.open.push((name, false));
        members(self);
        if self.open.pop().is_some_and(|(_, written)| written) {
            self.out.push(b'}');
        }
        self.path.truncate(length);
    }

    fn text(&mut self, name: &str, value: &str) {
        if self.wants(name) {
            self.name(name);
            push_text(self.out, value);
        }
    }

    fn literal(&mut self, name: &str, value: &str) {
        if self.wants(name) {
            self.name(name);
            self.out.extend_from_slice(value.as_bytes());
        }
    }

    fn boolean(&mut self, name: &str, value: bool) {
        self.literal(name, if value { "true" } else { "false" });
    }

    fn int(&mut self, name: &str, value: i64) {
        self.literal(name, itoa::Buffer::new().format(value));
    }

    fn time(&mut self, name: &str, micros: i64, shape: Shape, zone: i32) {
        if self.wants(name) {
            self.name(name);
            if shape.generation == Generation::Early {
                self.out.extend_from_slice(itoa::Buffer::new().format(micros.div_euclid(1_000_000)).as_bytes());
            } else {
                self.out.push(b'"');
                push_time(self.out, micros, zone);
                self.out.push(b'"');
            }
        }
    }

    fn link(&mut self, name: &'static str, key: &str) {
        self.object(name, |link| {
            if link.wants("href") {
                link.name("href");
                link.out.extend_from_slice(b"\"/api/audit/sessions/");
                link.out.extend_from_slice(encoded(key).as_bytes());
                link.out.push(b'/');
                link.out.extend_from_slice(name.as_bytes());
                link.out.push(b'"');
            }
        });
    }

    fn endpoint(&mut self, name: &'static str, ip: &str, host: &str, port: u16) {
        self.object(name, |side| {
            side.text("ip", ip);
            side.text("name", host);
            side.int("port", i64::from(port));
        });
    }
}

/// Appends the body of a document.
pub(super) fn push_body(out: &mut Vec<u8>, session: &SpsSession, wanted: Option<&[&str]>, shape: Shape, indexed: bool) {
    out.push(b'{');
    let mut body = Members { out, wanted, path: String::new(), open: Vec::new() };
    let key = session.key.as_str();
    let early = shape.generation == Generation::Early;
    let current = shape.generation == Generation::Current;
    body.boolean("active", session.active);
    body.link("alerts", key);
    if !early {
        body.object("analytics", |analytics| {
            analytics.literal("interesting_events", "[]");
            if let Some(risk) = session.risk.filter(|_| current) {
                analytics.object("score", |score| {
                    score.int("aggregated", i64::from(risk));
                    score.literal("details", "{}");
                });
            }
            analytics.literal("scripted", "false");
            analytics.literal("scripted_results", "{}");
            analytics.literal("similar_sessions", "[]");
            analytics.literal("tags", "[]");
        });
    }
    body.link("channels", key);
    body.endpoint("client", &session.client_ip, &session.client_name, session.client_port);
    body.time("creation_time", session.creation, Shape { generation: Generation::Current, ..shape }, 0);
    match session.end {
        Some(end) => body.int("duration", (end - session.start).div_euclid(1_000_000)),
        None => body.literal("duration", "null"),
    }
    match session.end {
        Some(end) => body.time("end_time", end, shape, shape.zone),
        None => body.literal("end_time", "null"),
    }
    body.link("events", key);
    body.boolean("hidden", session.hidden);
    body.link(if current { "indexing" } else { "indexer" }, key);
    body.text("node_id", &session.node_id);
    body.text("origin", session.origin);
    body.boolean("phantom", session.phantom);
    body.text("protocol", session.protocol);
    body.object("recording", |recording| {
        recording.boolean("archived", false);
        if session.has_trail {
            recording.object("audit_trail", |trail| {
                trail.literal("archive", "null");
                trail.object("download", |download| {
                    if download.wants("href") {
                        download.text("href", &format!("/api/audit/sessions/{}/audit_trail", encoded(key)));
                    }
                });
            });
        }
        recording.text("auth_method", session.auth_method);
        recording.text("channel_policy", session.channel_policy);
        recording.boolean("command_extracted", session.protocol == "SSH" && session.has_trail);
        recording.text("connection_policy", session.connection_policy);
        recording.text("connection_policy_id", &session.connection_policy_id);
        recording.int("content_reference_id", session.content_reference_id);
        recording.boolean("has_accepted_channel", session.has_accepted_channel);
        match (early, session.has_trail, indexed) {
            (true, true, true) => recording.int("index_status", 3),
            (true, true, false) => recording.int("index_status", 5),
            (true, false, _) => recording.int("index_status", 6),
            (false, true, true) => recording.text("index_status", "INDEXED"),
            (false, true, false) => recording.text("index_status", "INDEXING_FAILED"),
            (false, false, _) => recording.text("index_status", "NO_TRAIL"),
        }
        recording.endpoint(
            "server_local",
            &session.server_local_ip,
            &session.server_local_ip,
            session.server_local_port,
        );
        recording.text("session_id", &session.sid);
        recording.endpoint("target", &session.target_ip, &session.target_ip, session.target_port);
        recording.text("verdict", session.recording_verdict);
        recording.boolean("window_title_extracted", session.protocol == "RDP" && session.has_trail);
    });
    body.int("revision", session.revision);
    if let Some(ip) = &session.server_ip {
        body.endpoint("server", ip, &session.server_name, session.server_port);
    }
    body.time("start_time", session.start, shape, shape.zone);
    if !early {
        body.link("trail_downloads", key);
    }
    body.object("user", |user| {
        user.text("id", &session.user_id);
        user.text("name", &session.user_name);
        if current {
            user.literal("name_domain", "null");
            match &session.gateway_username {
                Some(name) => user.text("gateway_username", name),
                None => user.literal("gateway_username", "null"),
            }
            user.literal("gateway_username_domain", "null");
            if user.wants("server_username") {
                user.name("server_username");
                user.out.push(b'[');
                push_text(user.out, &session.server_username);
                user.out.push(b']');
            }
            user.literal("server_username_domain", "[]");
        } else {
            user.text("server_username", &session.server_username);
        }
    });
    body.text("verdict", session.verdict);
    out.push(b'}');
}

fn separate(out: &mut Vec<u8>) {
    if !matches!(out.last(), None | Some(b'{' | b'[')) {
        out.push(b',');
    }
}

/// Appends a JSON text.
pub(super) fn push_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.extend_from_slice(text.as_bytes());
    } else {
        for c in text.chars() {
            match c {
                '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
                c if c < ' ' => out.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes()),
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
    out.push(b'"');
}

/// Appends `2018-10-11T09:23:38.000+02:00`.
pub(super) fn push_time(out: &mut Vec<u8>, micros: i64, zone: i32) {
    let local = micros + i64::from(zone) * 60_000_000;
    let (days, rest) = (local.div_euclid(86_400_000_000), local.rem_euclid(86_400_000_000));
    let (year, month, day) = civil(days);
    let millis = rest / 1000;
    let two = |out: &mut Vec<u8>, number: i64, after: u8| {
        out.extend_from_slice(&[b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8, after]);
    };
    two(out, year / 100, 0);
    out.pop();
    two(out, year % 100, b'-');
    two(out, month, b'-');
    two(out, day, b'T');
    two(out, millis / 3_600_000, b':');
    two(out, millis / 60_000 % 60, b':');
    two(out, millis / 1000 % 60, b'.');
    out.push(b'0' + (millis % 1000 / 100) as u8);
    two(out, millis % 100, 0);
    out.pop();
    if zone == 0 {
        out.push(b'Z');
    } else {
        out.push(if zone < 0 { b'-' } else { b'+' });
        two(out, i64::from(zone.abs() / 60), b':');
        two(out, i64::from(zone.abs() % 60), 0);
        out.pop();
    }
}

/// Year, month and day of a day number since 1970 (proleptic Gregorian, by eras of 400 years).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day_of_year - (153 * shifted_month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projections_build_nested_bodies() {
        let world =
            crate::World::generate(&crate::Settings { events: 400, ..crate::Settings::new(3, 1_772_409_600_000_000) });
        let session = &world.sps.sessions[0];
        let body = |wanted: Option<&[&str]>, old: bool| {
            let mut out = Vec::new();
            let generation = if old { Generation::Early } else { Generation::Current };
            push_body(&mut out, session, wanted, Shape { generation, zone: 120, naive_local: false }, true);
            let text = String::from_utf8(out).unwrap();
            let value: serde_json::Value =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            value
        };
        assert_eq!(
            body(Some(&["protocol", "user.name", "recording.target"]), false),
            serde_json::json!({
                "protocol": session.protocol,
                "recording": {"target": {
                    "ip": session.target_ip, "name": session.target_ip, "port": session.target_port,
                }},
                "user": {"name": session.user_name},
            })
        );
        assert_eq!(body(Some(&["nothing"]), false), serde_json::json!({}));
        assert!(body(None, false)["user"]["server_username"].is_array());
        assert!(body(None, true)["start_time"].is_i64());
    }

    #[test]
    fn times_in_the_zone_of_the_appliance() {
        for (micros, zone, expected) in [
            (1_537_008_780_000_000, 300, "2018-09-15T15:53:00.000+05:00"),
            (0, -210, "1969-12-31T20:30:00.000-03:30"),
            (1_709_251_199_999_000, 0, "2024-02-29T23:59:59.999Z"),
        ] {
            let mut out = Vec::new();
            push_time(&mut out, micros, zone);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
