//! Turns a request into filters of `audit.query` that select at least what was asked for.
//!
//! Only the eight columns that TrueNAS filters in SQL are used: in the releases before 25.10.1 any other field makes the
//! appliance load the whole database into memory.

use fedaudit_core::{Action, Operator, PageRequest, Predicate, Window};
use serde_json::{Value as Json, json};

use crate::streams::{LATENESS, Service};

/// Longest list that is pushed: an authenticated connection takes messages of 64 kB.
const LIST_BYTES: usize = 24_000;

/// Filters of the predicates, without those of time; none if no row of the service can match.
pub(crate) fn filters(service: Service, request: &PageRequest) -> Option<Vec<Json>> {
    let mut filters = Vec::new();
    for predicate in request.predicates.iter().filter(|predicate| predicate.operator == Operator::In) {
        let Some(texts) = predicate.texts() else { continue };
        match predicate.column.as_str() {
            "event_code" => filters.extend(member("event", &texts)),
            "record_id" => filters.extend(member("audit_id", &texts)),
            "session_id" if service == Service::Middleware => filters.extend(member("session", &texts)),
            "user_name" if service != Service::System => {
                filters.extend(user_pattern(&texts).map(|pattern| json!(["username", "~", pattern])));
            }
            "action" => {
                let actions: Vec<Action> = texts.iter().filter_map(|word| Action::from_word(word)).collect();
                match crate::action::events_for(service, &actions) {
                    Some(events) if events.is_empty() => return None,
                    Some(events) => filters.extend(member("event", &events)),
                    None => {}
                }
            }
            "outcome" => filters.extend(success(service, predicate)),
            _ => {}
        }
    }
    Some(filters)
}

/// First and last `message_timestamp` that can hold rows of the window.
///
/// A row is written after it happened, so the lower bound is safe. The upper one allows for the stream's lateness.
pub(crate) fn seconds(window: &Window) -> (Option<i64>, Option<i64>) {
    (window.from.map(|from| from.seconds() - 1), window.to.map(|to| to.plus(LATENESS).seconds()))
}

fn member(field: &str, texts: &[&str]) -> Option<Json> {
    let bytes: usize = texts.iter().map(|text| text.len() + 4).sum();
    match texts {
        [one] if bytes <= LIST_BYTES => Some(json!([field, "=", one])),
        _ if bytes <= LIST_BYTES => Some(json!([field, "in", texts])),
        _ => None,
    }
}

fn success(service: Service, predicate: &Predicate) -> Option<Json> {
    match predicate.texts()?.as_slice() {
        ["success"] => Some(json!(["success", "=", true])),
        // A refused API call may be recorded as a success of the refusal.
        ["failure"] if service != Service::Middleware => Some(json!(["success", "=", false])),
        _ => None,
    }
}

/// A pattern over `username` that finds every row whose normalised name is one of these: bare, with a realm before or after
/// it, or in a distinguished name. Rows of markers (`.UNAUTHENTICATED`) and without a name may carry it in their data.
///
/// It is anchored at both ends, because the two filter engines of TrueNAS differ in where an unanchored one may match.
fn user_pattern(names: &[&str]) -> Option<String> {
    // A name beyond ASCII may be written in another Unicode form than ours.
    if names.is_empty() || !names.iter().all(|name| name.is_ascii()) {
        return None;
    }
    let names: Vec<String> = names.iter().map(|name| escape(name)).collect();
    let pattern = format!(r"(?is)^\s*(?:(?:.*[\\/:])?(?:{})\$?(?:@.*)?|\..*|.*=.*|)\s*$", names.join("|"));
    (pattern.len() <= LIST_BYTES).then_some(pattern)
}

/// Escapes a text for a regular expression of Python.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 4);
    for c in text.chars() {
        if !c.is_ascii_alphanumeric() && c != '_' {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedaudit_core::Time;

    fn request(predicate: Predicate) -> PageRequest {
        PageRequest { predicates: vec![predicate], ..PageRequest::first("audit.SMB", Window::ALL) }
    }

    #[test]
    fn bounds_are_wide_enough() {
        let window = Window::new(Time::from_micros(10_500_000), Time::from_micros(20_000_001));
        assert_eq!(seconds(&window), (Some(9), Some(140)));
        assert_eq!(seconds(&Window::ALL), (None, None));
    }

    #[test]
    fn predicates_become_filters() {
        let filters = |service, predicate| filters(service, &request(predicate)).map(|list| json!(list).to_string());
        let action = || Predicate::any_of("action", ["file.open", "file.create"]);
        assert_eq!(filters(Service::Smb, action()).unwrap(), r#"[["event","=","CREATE"]]"#);
        assert_eq!(filters(Service::Sudo, action()), None);
        assert_eq!(
            filters(Service::Smb, Predicate::any_of("outcome", ["failure"])).unwrap(),
            r#"[["success","=",false]]"#
        );
        assert_eq!(filters(Service::Middleware, Predicate::any_of("outcome", ["failure"])).unwrap(), "[]");
        assert_eq!(
            filters(Service::Middleware, Predicate::any_of("session_id", ["a", "b"])).unwrap(),
            r#"[["session","in",["a","b"]]]"#
        );
        assert_eq!(filters(Service::Smb, Predicate::any_of("user_name", ["özge"])).unwrap(), "[]");
        let long = (0..5000).map(|n| format!("id-{n}"));
        assert_eq!(filters(Service::Smb, Predicate::any_of("record_id", long)).unwrap(), "[]");
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(
            user_pattern(&["a.b$"]).unwrap(),
            r"(?is)^\s*(?:(?:.*[\\/:])?(?:a\.b\$)\$?(?:@.*)?|\..*|.*=.*|)\s*$"
        );
    }
}
