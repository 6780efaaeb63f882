//! A small product with an audit log behind REST: logins, pages with links, empty pages in between, a filter by user.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use fedaudit_core::Time;
use fedaudit_testkit::conformance::{Condition, Fact, Product, Truth};

/// 2026-03-01T12:00:00Z.
const NOW: i64 = 1_772_366_400_000_000;
const PASSWORD: &str = "not-a-secret-at-all";

struct Record {
    at: i64,
    id: String,
    user: &'static str,
    what: &'static str,
    json: String,
}

struct Server {
    records: Vec<Record>,
    may_read: bool,
    tokens: Mutex<Tokens>,
}

#[derive(Default)]
struct Tokens {
    open: BTreeSet<String>,
    made: usize,
}

type Shared = Arc<Server>;

/// The product in a condition.
#[expect(clippy::unnecessary_wraps, reason = "other products are never in some conditions")]
pub(crate) fn product(condition: Condition) -> Result<Product, &'static str> {
    let count = match condition {
        Condition::Empty => 0,
        Condition::Ties => 150,
        _ => 60,
    };
    let mut records: Vec<Record> = (0..count).map(|number| record(number, condition == Condition::Ties)).collect();
    let facts = records.iter().map(|record| Fact::new(&record.id, Time::from_micros(record.at))).collect();
    if condition == Condition::BadRecord {
        let at = records[20].at;
        let json = format!(r#"{{"id":"broken","at":"yesterday","user":"ana","what":"login","seq":{at}}}"#);
        records.push(Record { at, id: "broken".to_owned(), user: "ana", what: "login", json });
    }
    records.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
    let may_read = condition != Condition::NoRight;
    let server = Arc::new(Server { records, may_read, tokens: Mutex::default() });
    let (ending, counting) = (Arc::clone(&server), Arc::clone(&server));
    Ok(Product {
        router: Some(
            Router::new()
                .route("/login", post(log_in).delete(log_out))
                .route("/me", get(me))
                .route("/log", get(log))
                .with_state(server),
        ),
        credential: PASSWORD.to_owned(),
        settings: String::new(),
        truths: vec![Truth::new("log", &["record_id"], facts)],
        now: Time::from_micros(NOW),
        end_logins: Some(Box::new(move || ending.tokens().open.clear())),
        held: Some(Box::new(move || counting.tokens().open.len())),
    })
}

/// One record; its time has an offset, and the newest is a minute old.
fn record(number: i64, tie: bool) -> Record {
    let at = if tie { NOW - 3_600_000_000 } else { NOW - 60_000_000 - number * 7_130_250 };
    let user = ["Ana", "bob", "ANA", "Zoë", ""][number as usize % 5];
    let what = ["login", "logout", "read", "write"][number as usize % 4];
    let id = format!("r{number:03}");
    let local = Time::from_micros(at + 2 * 3_600_000_000).to_string().replace('Z', "+02:00");
    let json = format!(
        r#"{{ "id":"{id}", "at":"{local}", "user":"{user}", "what":"{what}", "from":"2001:DB8::{number}", "note":"" }}"#
    );
    Record { at, id, user, what, json }
}

impl Server {
    fn tokens(&self) -> std::sync::MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn knows(&self, headers: &HeaderMap) -> bool {
        token(headers).is_some_and(|token| self.tokens().open.contains(token))
    }
}

fn token(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

async fn log_in(State(server): State<Shared>, body: String) -> Response {
    if body != PASSWORD {
        return (StatusCode::UNAUTHORIZED, "wrong password").into_response();
    }
    let mut tokens = server.tokens();
    tokens.made += 1;
    let token = format!("token-number-{}", tokens.made);
    tokens.open.insert(token.clone());
    ([(header::SET_COOKIE, format!("token={token}"))], "{}").into_response()
}

async fn log_out(State(server): State<Shared>, headers: HeaderMap) -> StatusCode {
    let known = token(&headers).is_some_and(|token| server.tokens().open.remove(token));
    if known { StatusCode::NO_CONTENT } else { StatusCode::UNAUTHORIZED }
}

async fn me(State(server): State<Shared>, headers: HeaderMap) -> Response {
    if !server.knows(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    (json_type(), r#"{"name":"reader","version":"1.2"}"#).into_response()
}

fn json_type() -> [(header::HeaderName, &'static str); 1] {
    [(header::CONTENT_TYPE, "application/json")]
}

/// `from` and `to` in microseconds, `user` in any case, `user_exact` as written, `what`, `limit`, and `after`: the place behind
/// a record, or `at:` and a time. Before every third page comes an empty one.
async fn log(
    State(server): State<Shared>,
    headers: HeaderMap,
    Query(asked): Query<HashMap<String, String>>,
) -> Response {
    if !server.knows(&headers) {
        return (StatusCode::UNAUTHORIZED, "log in first").into_response();
    }
    if !server.may_read {
        return (StatusCode::FORBIDDEN, "the right AUDITOR is missing").into_response();
    }
    let number = |name: &str| asked.get(name).and_then(|text| text.parse::<i64>().ok());
    let (from, to) = (number("from").unwrap_or(i64::MIN), number("to").unwrap_or(i64::MAX));
    let limit = number("limit").unwrap_or(100).clamp(1, 100) as usize;
    let users: Option<Vec<String>> = asked.get("user").map(|list| list.split('|').map(str::to_lowercase).collect());
    let wanted = |record: &&Record| {
        (from..to).contains(&record.at)
            && users.as_ref().is_none_or(|users| users.contains(&record.user.to_lowercase()))
            && asked.get("user_exact").is_none_or(|list| list.split('|').any(|user| user == record.user))
            && asked.get("what").is_none_or(|list| list.split('|').any(|what| what == record.what))
    };
    let matching: Vec<&Record> = server.records.iter().filter(wanted).collect();
    let after = asked.get("after").map_or("", String::as_str);
    let (start, empty) = if let Some(time) = after.strip_prefix("at:").and_then(|text| text.parse().ok()) {
        (matching.partition_point(|record| record.at <= time), false)
    } else {
        let (place, empty) = after.strip_suffix('e').map_or((after, false), |place| (place, true));
        (place.parse().unwrap_or(0), empty)
    };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let link = |after: String| {
        let rest: Vec<String> = asked
            .iter()
            .filter(|(name, _)| *name != "after")
            .map(|(name, value)| {
                format!("{name}={}", url::form_urlencoded::byte_serialize(value.as_bytes()).collect::<String>())
            })
            .collect();
        format!(r#""https://{host}/log?after={after}&{}""#, rest.join("&"))
    };
    if empty {
        return (json_type(), format!(r#"{{"records":[],"next":{}}}"#, link(start.to_string()))).into_response();
    }
    let end = (start + limit).min(matching.len());
    let page: Vec<&str> = matching[start.min(end)..end].iter().map(|record| record.json.as_str()).collect();
    let next = match end {
        end if end == matching.len() => "null".to_owned(),
        end if (end / limit).is_multiple_of(3) => link(format!("{end}e")),
        end => link(end.to_string()),
    };
    let total = matching.len();
    (json_type(), format!(r#"{{"records":[{}],"total":{total},"next":{next}}}"#, page.join(","))).into_response()
}
