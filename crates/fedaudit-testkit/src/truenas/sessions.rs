//! `auth.sessions`: the live list, and the event stream that tells of changes in it.

use std::fmt::Write as _;
use std::sync::PoisonError;

use axum::extract::ws::Message;
use serde_json::Value as Json;
use tokio::sync::mpsc;

use super::answer::{Problem, text};
use super::{Appliance, Reader};
use crate::records::TrueNasSession;

impl Appliance {
    /// The live list: the world's sessions and, where switched on, the reader's own.
    pub(super) fn sessions(&self, caller: &str, params: &Json, out: &mut String) -> Result<u64, Problem> {
        let filters = params.get(0).and_then(Json::as_array).cloned().unwrap_or_default();
        let limit = params.get(1).and_then(|options| options.get("limit")).and_then(Json::as_u64).unwrap_or(0);
        let limit = if limit == 0 { usize::MAX } else { limit as usize };
        let mut rows = Vec::new();
        for session in self.live().iter().filter(|_| !self.options.lists_nobody) {
            rows.push((session.id.clone(), false, session.internal, self.members(session)));
        }
        // Whoever reads the list is in it, whatever a test wants to see of that: there is no empty list.
        let with_own = self.options.list_reader || rows.is_empty() || self.world.truenas.sessions.is_empty();
        if with_own && !self.options.lists_nobody {
            for (id, reader) in self.readers().iter() {
                rows.push((id.clone(), id == caller, false, self.members(&self.listed(id, reader))));
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

    /// What both the list and its notifications say of a session, in the shape of the release.
    fn members(&self, session: &TrueNasSession) -> String {
        // Addresses of IPv6 had no brackets at first.
        let bare = session.origin.strip_prefix('[').filter(|_| !self.since(&[25, 10, 1]));
        let origin = bare.map_or_else(|| session.origin.clone(), |rest| rest.replacen(']', "", 1));
        format!(
            r#""origin": {}, "credentials": "{}", "credentials_data": {}, "created_at": {{"$date": {}000}}, "secure_transport": {}"#,
            text(&origin),
            session.credentials,
            self.without_login_id(&session.credentials_data),
            session.created_at,
            session.secure_transport
        )
    }

    /// A login has an id of its own since 25.10.
    pub(super) fn without_login_id(&self, data: &str) -> String {
        if self.since(&[25, 10]) {
            return data.to_owned();
        }
        let mut out = data.to_owned();
        while let Some(start) = out.find(r#""login_id":"#) {
            let value = start + r#""login_id":"#.len();
            let open = out[value..].find('"').map_or(value, |quote| value + quote + 1);
            let mut end = out[open..].find('"').map_or(out.len(), |quote| open + quote + 1);
            end += out[end..].len() - out[end..].trim_start_matches([',', ' ']).len();
            out.replace_range(start..end, "");
        }
        out.replace(",}", "}").replace(", }", "}")
    }

    /// The reader's own session as the list has it.
    pub(super) fn listed(&self, id: &str, reader: &Reader) -> TrueNasSession {
        TrueNasSession {
            id: id.to_owned(),
            internal: false,
            origin: reader.origin.clone(),
            credentials: reader.kind,
            credentials_data: self.credential_data(reader).into(),
            created_at: reader.login_at,
            secure_transport: self.options.secure,
        }
    }

    /// Messages to a connection go here.
    pub(super) fn open_line(&self, session: &str, line: mpsc::UnboundedSender<Message>) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).insert(session.to_owned(), line);
    }

    /// The connection is gone.
    pub(super) fn close_line(&self, session: &str) {
        self.unsubscribe(session);
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).remove(session);
    }

    pub(super) fn subscribe(&self, session: &str, id: &str) {
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.insert(session.to_owned(), id.to_owned());
    }

    pub(super) fn unsubscribe(&self, session: &str) {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).remove(session);
    }

    /// Tells subscribers of a login. The event has neither `current` nor `internal`.
    pub(super) fn tell_added(&self, session: &TrueNasSession) {
        if session.internal {
            return;
        }
        self.notify(&format!(
            r#"{{"jsonrpc": "2.0", "method": "collection_update", "params": {{"msg": "added", "collection": "auth.sessions", "fields": {{"id": {}, {}}}}}}}"#,
            text(&session.id),
            self.members(session)
        ));
    }

    /// Tells subscribers of an end: the id is not where it is documented to be.
    pub(super) fn tell_removed(&self, id: &str) {
        self.notify(&format!(
            r#"{{"jsonrpc": "2.0", "method": "collection_update", "params": {{"msg": "removed", "collection": "auth.sessions", "extra": {{"fields": {{"id": {}}}}}}}}}"#,
            text(id)
        ));
    }

    pub(super) fn end_subscriptions(&self) {
        self.notify(
            r#"{"jsonrpc": "2.0", "method": "notify_unsubscribed", "params": {"collection": "auth.sessions", "error": null}}"#,
        );
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn notify(&self, message: &str) {
        let subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        for line in subscribers.keys().filter_map(|session| lines.get(session)) {
            let _ = line.send(Message::Text(message.to_owned().into()));
        }
    }
}
