//! Turns a request into filters of `audit.query` that select at least what was asked for.
//!
//! Only the eight columns that TrueNAS filters in SQL are used: in the releases before 25.10.1 any other field makes the
//! appliance load the whole database into memory.

use fedaudit_core::{Action, Operator, PageRequest, Window};
use serde_json::{Value as Json, json};

use crate::streams::{LATENESS, Service};

/// Longest list that is pushed.
const LIST_BYTES: usize = 24_000;
/// All filters together: a connection takes messages of 64 kB, and the question is more than its filters.
const FILTER_BYTES: usize = 56_000;

/// What is asked of the appliance besides the time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pushed {
    filters: Vec<Json>,
    /// The pattern for names. Rows without a name match no pattern, but may tell their user in their data.
    names: Option<Json>,
}

impl Pushed {
    /// Every filter.
    pub(crate) fn all(&self) -> Vec<Json> {
        self.filters.iter().chain(&self.names).cloned().collect()
    }

    /// The filters for the rows without a name, where names are asked for.
    pub(crate) fn nameless(&self) -> Option<Vec<Json>> {
        self.names.as_ref()?;
        Some(self.filters.iter().cloned().chain([json!(["username", "=", null])]).collect())
    }

    /// Whether records of opening a handle may be hidden where its uses are shown. Names hide both or neither, because all
    /// records of an SMB session are one account's, and what failed opened nothing.
    pub(crate) fn hides_openings(&self) -> bool {
        let succeeded = json!(["success", "=", true]);
        self.filters.iter().any(|filter| *filter != succeeded)
    }

    /// Whether nothing is.
    pub(crate) fn is_empty(&self) -> bool {
        self.filters.is_empty() && self.names.is_none()
    }

    /// Leaves out the longest until the rest fits into a message: without it, there are more rows, never fewer.
    fn fit(mut self) -> Self {
        let length = |filter: &Json| filter.to_string().len();
        while self.all().iter().map(length).sum::<usize>() > FILTER_BYTES {
            match self.filters.iter().enumerate().max_by_key(|(_, filter)| length(filter)) {
                Some((longest, _)) => drop(self.filters.remove(longest)),
                None => self.names = None,
            }
        }
        self
    }
}

/// Filters of the predicates, without those of time; none if no row of the service can match.
pub(crate) fn filters(service: Service, request: &PageRequest) -> Option<Pushed> {
    let mut pushed = Pushed::default();
    for predicate in &request.predicates {
        let Some(texts) = predicate.texts() else { continue };
        let field = match predicate.column.as_str() {
            "event_code" => Some("event"),
            "record_id" => Some("audit_id"),
            "session_id" if service == Service::Middleware => Some("session"),
            _ => None,
        };
        match (field, predicate.column.as_str(), predicate.operator) {
            (Some(field), _, Operator::In) => pushed.filters.extend(member(field, ["=", "in"], &texts)),
            (Some(field), _, Operator::NotIn) => pushed.filters.extend(member(field, ["!=", "nin"], &texts)),
            (Some(field), _, Operator::StartsWith) => {
                pushed.filters.extend(
                    texts.first().filter(|text| text.len() <= LIST_BYTES).map(|text| json!([field, "^", text])),
                );
            }
            (_, "user_name", Operator::In | Operator::StartsWith) if service != Service::System => {
                let open_end = predicate.operator == Operator::StartsWith;
                pushed.names =
                    user_pattern(&texts, open_end).map(|pattern| json!(["username", "~", pattern])).or(pushed.names);
            }
            (_, "action", Operator::In) => {
                let actions: Vec<Action> = texts.iter().filter_map(|word| Action::from_word(word)).collect();
                match crate::action::events_for(service, &actions) {
                    Some(events) if events.is_empty() => return None,
                    Some(events) => pushed.filters.extend(member("event", ["=", "in"], &events)),
                    None => {}
                }
            }
            (_, "outcome", Operator::In) => pushed.filters.extend(success(service, &texts)),
            _ => {}
        }
    }
    Some(pushed.fit())
}

/// First and last `message_timestamp` that can hold rows of the window.
///
/// A row is written after it happened, so the lower bound is safe. The upper one allows for the stream's lateness.
pub(crate) fn seconds(window: &Window) -> (Option<i64>, Option<i64>) {
    (window.from.map(|from| from.seconds() - 1), window.to.map(|to| to.plus(LATENESS).seconds()))
}

fn member(field: &str, [one, many]: [&str; 2], texts: &[&str]) -> Option<Json> {
    let bytes: usize = texts.iter().map(|text| text.len() + 4).sum();
    match texts {
        [text] if bytes <= LIST_BYTES => Some(json!([field, one, text])),
        _ if bytes <= LIST_BYTES => Some(json!([field, many, texts])),
        _ => None,
    }
}

fn success(service: Service, texts: &[&str]) -> Option<Json> {
    match texts {
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
fn user_pattern(names: &[&str], open_end: bool) -> Option<String> {
    // A name beyond ASCII may be written in another Unicode form than ours.
    if names.is_empty() || !names.iter().all(|name| name.is_ascii()) {
        return None;
    }
    let names: Vec<String> = names.iter().map(|name| escape(name)).collect();
    let end = if open_end { ".*" } else { r"\$?(?:@.*)?" };
    let pattern = format!(r"(?is)^\s*(?:(?:.*[\\/:])?(?:{}){end}|\..*|.*=.*|)\s*$", names.join("|"));
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
    use fedaudit_core::{Predicate, Time};

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
        let filters =
            |service, predicate| filters(service, &request(predicate)).map(|pushed| json!(pushed.all()).to_string());
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
        let with = |operator, predicate: Predicate| Predicate { operator, ..predicate };
        let not = |column, value: &str| with(Operator::NotIn, Predicate::any_of(column, [value]));
        assert_eq!(filters(Service::Smb, not("event_code", "READ")).unwrap(), r#"[["event","!=","READ"]]"#);
        let several = with(Operator::NotIn, Predicate::any_of("event_code", ["READ", "WRITE"]));
        assert_eq!(filters(Service::Smb, several).unwrap(), r#"[["event","nin",["READ","WRITE"]]]"#);
        // An unknown outcome is neither: a negation would lose it.
        assert_eq!(filters(Service::Smb, not("outcome", "success")).unwrap(), "[]");
        assert_eq!(filters(Service::Smb, not("user_name", "ana")).unwrap(), "[]");
        let begins = with(Operator::StartsWith, Predicate::any_of("record_id", ["a_%"]));
        assert_eq!(filters(Service::Smb, begins).unwrap(), r#"[["audit_id","^","a_%"]]"#);
        let long = (0..5000).map(|n| format!("id-{n}"));
        assert_eq!(filters(Service::Smb, Predicate::any_of("record_id", long)).unwrap(), "[]");
    }

    #[test]
    fn long_lists_stay_below_the_limit_of_a_message() {
        let list = |column: &str| Predicate::any_of(column, (0..700).map(|n| format!("{column}-of-quite-some-{n}")));
        let columns = ["event_code", "record_id", "session_id", "user_name"];
        let request = PageRequest {
            predicates: columns.map(list).to_vec(),
            ..PageRequest::first("audit.MIDDLEWARE", Window::ALL)
        };
        let pushed = filters(Service::Middleware, &request).unwrap();
        let length = json!(pushed.all()).to_string().len();
        assert!(length < 60_000 && !pushed.is_empty(), "{length}");
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(
            user_pattern(&["a.b$"], false).unwrap(),
            r"(?is)^\s*(?:(?:.*[\\/:])?(?:a\.b\$)\$?(?:@.*)?|\..*|.*=.*|)\s*$"
        );
    }
}
