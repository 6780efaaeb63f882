//! A little stand-in of the product, for the tests and for `cargo run --example stand_in`. Give it the quirks of the real one:
//! it is there to find mistakes, not to be convenient.

use std::collections::HashMap;
use std::sync::Arc;

use fedaudit_core::Time;
use fedaudit_testkit::axum::Router;
use fedaudit_testkit::axum::extract::{Query, State};
use fedaudit_testkit::axum::http::{HeaderMap, StatusCode, header};
use fedaudit_testkit::axum::response::{IntoResponse, Response};
use fedaudit_testkit::axum::routing::get;
use fedaudit_testkit::conformance::{Condition, Fact, Product, Truth};

/// What it accepts.
pub const TOKEN: &str = "stand-in-token";
/// More records are on the next page.
const MOST: usize = 10;

struct Server {
    /// The oldest first.
    records: Vec<Record>,
    may_read: bool,
}

struct Record {
    id: String,
    time: Time,
    json: String,
}

/// The product in a condition at this time, and the truth about it.
pub fn product(condition: Condition, now: Time) -> Product {
    let mut records: Vec<Record> = match condition {
        Condition::Empty => Vec::new(),
        Condition::Ties => (0..60).map(|number| record(number, now.seconds() - 3600)).collect(),
        _ => (0..40).map(|number| record(number, now.seconds() - 60 * (41 - number))).collect(),
    };
    let facts = records.iter().map(|record| Fact::new(&record.id, record.time)).collect();
    if condition == Condition::BadRecord {
        let json = r#"{"id":"bad","at":"yesterday","what":"login","ok":true}"#.to_owned();
        records.insert(20, Record { id: "bad".to_owned(), time: records[20].time, json });
    }
    let server = Server { records, may_read: condition != Condition::NoRight };
    Product {
        router: Some(router(server)),
        credential: TOKEN.to_owned(),
        settings: String::new(),
        truths: vec![Truth::new("log", &["record_id"], facts)],
        now,
        end_logins: None,
        held: None,
    }
}

fn record(number: i64, seconds: i64) -> Record {
    let time = Time::from_seconds(seconds).unwrap_or_default();
    let id = format!("r{number:03}");
    let (user, what) = (["Ana", "bo", "Zoë"][number as usize % 3], ["login", "read", "logout"][number as usize % 3]);
    let ok = number % 7 != 0;
    let json =
        format!(r#"{{"id":"{id}","at":"{time}","user":"{user}","what":"{what}","ok":{ok},"from":"192.0.2.{number}"}}"#);
    Record { id, time, json }
}

fn router(server: Server) -> Router {
    Router::new().route("/api/v1/me", get(me)).route("/api/v1/log", get(log)).with_state(Arc::new(server))
}

fn json(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

fn is_known(headers: &HeaderMap) -> bool {
    headers.get(header::AUTHORIZATION).is_some_and(|value| value == &format!("Bearer {TOKEN}"))
}

async fn me(headers: HeaderMap) -> Response {
    if !is_known(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    json(r#"{"name":"auditor","version":"1.0"}"#.to_owned())
}

async fn log(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    Query(asked): Query<HashMap<String, String>>,
) -> Response {
    if !is_known(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if !server.may_read {
        return StatusCode::FORBIDDEN.into_response();
    }
    let bound = |name: &str| asked.get(name).and_then(|text| Time::parse(text)).map(|parsed| parsed.time);
    let (from, to) = (bound("from"), bound("to"));
    let limit = asked.get("limit").and_then(|text| text.parse().ok()).unwrap_or(MOST).clamp(1, MOST);
    let after = asked.get("after").and_then(|id| server.records.iter().position(|record| record.id == *id));
    let mut rest = server.records[after.map_or(0, |place| place + 1)..]
        .iter()
        .filter(|record| from.is_none_or(|from| record.time >= from) && to.is_none_or(|to| record.time < to));
    let page: Vec<&Record> = rest.by_ref().take(limit).collect();
    let next = match (page.last(), rest.next()) {
        (Some(last), Some(_)) => format!("\"{}\"", last.id),
        _ => "null".to_owned(),
    };
    let records: Vec<&str> = page.iter().map(|record| record.json.as_str()).collect();
    json(format!(r#"{{"records":[{}],"next":{next}}}"#, records.join(",")))
}
