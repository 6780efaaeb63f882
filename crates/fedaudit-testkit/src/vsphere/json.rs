//! The VI JSON front.

use std::fmt::Write as _;

use axum::body::Bytes;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::call::{Call, Fault, Reply};
use super::property::Property;
use super::state::Shown;
use super::{Inner, StandIn, before, log, text, user_agent};
use crate::records::VimValue;

/// Which release to use.
pub(super) async fn hello(Shared(StandIn(inner)): Shared<StandIn>, body: Bytes) -> Response {
    if let Some(early) = before(&inner).await {
        return early;
    }
    let asked: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let asked: Vec<&str> =
        asked["api_releases"].as_array().into_iter().flatten().filter_map(|release| release.as_str()).collect();
    if asked.is_empty() || asked.len() > 128 || asked.iter().any(|release| release.len() > 64) {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let chosen = asked.iter().find(|release| inner.options.releases.contains(release)).copied().unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], format!("{{\"api_release\":\"{chosen}\"}}")).into_response()
}

type MemberPath = Path<(String, String, String, String)>;

/// GET of a property.
pub(super) async fn property(shared: Shared<StandIn>, path: MemberPath, headers: HeaderMap) -> Response {
    method(shared, path, headers, Bytes::new()).await
}

/// POST of a method.
pub(super) async fn method(
    Shared(StandIn(inner)): Shared<StandIn>,
    Path((release, _kind, object, member)): MemberPath,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(early) = before(&inner).await {
        return early;
    }
    if !inner.options.releases.contains(&release.as_str()) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let Some(call) = Call::from_json(object, member, &body) else {
        return respond(&inner, Err(Fault::new("InvalidRequest", "The request cannot be parsed")));
    };
    let token = headers.get("vmware-api-session-id").and_then(|token| token.to_str().ok());
    let answer = inner.answer(&call, token, user_agent(&headers));
    log(&inner, &call, &answer);
    respond(&inner, answer)
}

fn respond(inner: &Inner, answer: Result<Reply<'_>, Fault>) -> Response {
    let disorder = inner.options.json_disorder;
    let mut out = String::new();
    let mut token = None;
    let mut status = StatusCode::OK;
    let answer = match answer {
        Ok(Reply::Property { value: Err(fault), .. }) => Err(fault),
        other => other,
    };
    match answer {
        Ok(Reply::Void) => return StatusCode::NO_CONTENT.into_response(),
        Ok(Reply::Value(value)) => text::json_value(&mut out, &value, disorder),
        Ok(Reply::Values(values)) => text::json_value(&mut out, &VimValue::List(values), disorder),
        Ok(Reply::LoggedIn { session, token: shown }) => {
            text::json_value(&mut out, &session, disorder);
            token = Some(shown);
        }
        Ok(Reply::Events(list)) => events(&mut out, &list, inner),
        Ok(Reply::Property { value: Ok(value), .. }) => match value {
            Property::Sessions(sessions) => text::json_value(&mut out, &VimValue::List(sessions), disorder),
            Property::Events(list) => events(&mut out, &list, inner),
            Property::Event(Some(event)) => text::json_event(&mut out, &event, disorder),
            Property::Object(Some(value)) => text::json_value(&mut out, &value, disorder),
            Property::Event(None) | Property::Object(None) => {}
        },
        Ok(Reply::Property { value: Err(fault), .. }) | Err(fault) => {
            json_fault(&mut out, &fault);
            if !inner.options.fault_in_200 {
                status = StatusCode::INTERNAL_SERVER_ERROR;
            }
        }
    }
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], out).into_response();
    if let Some(token) = token.and_then(|token| token.parse().ok()) {
        response.headers_mut().insert("vmware-api-session-id", token);
    }
    response
}

fn events(out: &mut String, events: &[Shown<'_>], inner: &Inner) {
    out.reserve(events.len() * 500);
    out.push('[');
    for (place, event) in events.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        let at = out.len();
        text::json_event(out, event, inner.options.json_disorder);
        if inner.options.broken_event == Some(event.key) {
            let broken = out[at..].replace("\"createdTime\":\"", "\"createdTime\":\"x");
            out.replace_range(at.., &broken);
        }
    }
    out.push(']');
}

/// A fault object; its type does not come first, as is seen from the product.
fn json_fault(out: &mut String, fault: &Fault) {
    out.push('{');
    for (name, value) in &fault.members {
        text::json_text(out, name);
        out.push(':');
        text::json_text(out, value);
        out.push(',');
    }
    let _ = write!(out, "\"_typeName\":\"{}\",\"faultstring\":", fault.class);
    text::json_text(out, fault.text);
    out.push('}');
}
