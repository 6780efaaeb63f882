//! The SOAP front.

use std::fmt::Write as _;

use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::call::{Call, Fault, Reply};
use super::property::Property;
use super::state::Shown;
use super::{Inner, StandIn, before, log, text, user_agent};
use crate::records::VimValue;

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<soapenv:Envelope xmlns:soapenc=\"http://schemas.xmlsoap.org/soap/encoding/\"\n \
    xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\"\n xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\"\n \
    xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\n<soapenv:Body>\n";

/// Which versions this server speaks.
pub(super) async fn versions(Shared(StandIn(inner)): Shared<StandIn>) -> Response {
    if let Some(early) = before(&inner).await {
        return early;
    }
    let releases = &inner.options.releases;
    let prior = releases.iter().skip(1).fold(String::new(), |mut list, release| {
        let _ = write!(list, "<version>{release}</version>");
        list
    });
    let newest = releases.first().copied().unwrap_or("7.0.3.0");
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><namespaces version=\"1.0\"><namespace><name>urn:vim25</name>\
         <version>{newest}</version><priorVersions>{prior}<version>7.0.3.0</version></priorVersions></namespace></namespaces>"
    );
    ([(header::CONTENT_TYPE, "text/xml")], body).into_response()
}

/// A call.
pub(super) async fn call(Shared(StandIn(inner)): Shared<StandIn>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(early) = before(&inner).await {
        return early;
    }
    let Some(call) = std::str::from_utf8(&body).ok().and_then(Call::from_soap) else {
        let fault = Fault::new("InvalidRequest", "The request cannot be parsed");
        return respond(&inner, &Call::default(), Err(fault));
    };
    let token = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|cookie| cookie.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .find_map(|cookie| cookie.trim().strip_prefix("vmware_soap_session="))
        .map(|token| token.trim_matches('"'));
    let answer = inner.answer(&call, token, user_agent(&headers));
    log(&inner, &call, &answer);
    respond(&inner, &call, answer)
}

fn respond(inner: &Inner, call: &Call, answer: Result<Reply<'_>, Fault>) -> Response {
    let method = call.method.as_str();
    let odd = inner.options.odd_prefix;
    let mut out = String::from(HEAD);
    // A failed login sets a cookie too, which opens nothing.
    let mut cookie = (method == "Login").then(|| "0".repeat(40));
    let mut status = StatusCode::OK;
    match answer {
        Err(fault) if inner.options.fault_in_200 && method == "RetrievePropertiesEx" => {
            let _ = write!(out, "<{method}Response xmlns=\"urn:vim25\">");
            property(&mut out, ("SessionManager", "SessionManager"), "sessionList", Err(fault), inner);
            let _ = write!(out, "</{method}Response>");
        }
        Err(fault) => {
            let class = fault.class;
            out.push_str("<soapenv:Fault><faultcode>ServerFaultCode</faultcode>");
            text::xml_text(&mut out, "faultstring", fault.text);
            let _ = write!(out, "<detail><{class}Fault xmlns=\"urn:vim25\"{}>", text::xsi(odd, class));
            for (name, value) in &fault.members {
                text::xml_text(&mut out, name, value);
            }
            let _ = write!(out, "</{class}Fault></detail></soapenv:Fault>");
            if !inner.options.fault_in_200 {
                status = StatusCode::INTERNAL_SERVER_ERROR;
            }
        }
        Ok(reply) => {
            let _ = write!(out, "<{method}Response xmlns=\"urn:vim25\">");
            match reply {
                Reply::Void => {}
                Reply::Value(value) => text::xml_value(&mut out, "returnval", &untyped(value), odd),
                Reply::Values(values) => {
                    for value in &values {
                        text::xml_value(&mut out, "returnval", value, odd);
                    }
                }
                Reply::LoggedIn { session, token } => {
                    text::xml_value(&mut out, "returnval", &untyped(session), odd);
                    cookie = Some(token);
                }
                Reply::Events(list) => events(&mut out, "returnval", &list, inner),
                Reply::Property { value, .. } if method == "Fetch" => match value {
                    Ok(value) => fetched(&mut out, "returnval", value, inner),
                    Err(fault) => return respond(inner, call, Err(fault)),
                },
                Reply::Property { kind, object, name, value } => {
                    property(&mut out, (kind, &object), name, value, inner);
                }
            }
            let _ = write!(out, "</{method}Response>");
        }
    }
    out.push_str("\n</soapenv:Body>\n</soapenv:Envelope>");
    let mut response = (status, [(header::CONTENT_TYPE, "text/xml; charset=utf-8")], out).into_response();
    if let Some(cookie) = cookie {
        let cookie = if odd {
            format!("vmware_soap_session={cookie}")
        } else {
            format!("vmware_soap_session=\"{cookie}\"; Path=/; HttpOnly; Secure; ")
        };
        if let Ok(cookie) = cookie.parse() {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
    }
    response
}

fn events(out: &mut String, element: &str, events: &[Shown<'_>], inner: &Inner) {
    out.reserve(events.len() * 600);
    for event in events {
        let at = out.len();
        text::xml_event(out, element, event, inner.options.odd_prefix);
        if inner.options.broken_event == Some(event.key) {
            let broken = out[at..].replace("</createdTime>", "</createdTme>");
            out.replace_range(at.., &broken);
        }
    }
}

/// A value whose type is the method's own: XML does not repeat it.
fn untyped(value: VimValue) -> VimValue {
    match value {
        VimValue::Object { members, .. } => {
            let members = members.into_iter().map(|(name, value)| (name, untyped(value))).collect();
            // Ends in the suffix of types that are never named.
            VimValue::Object { type_name: "EventArgument", members }
        }
        other => other,
    }
}

/// A property in a slot of declared type `any`, so that its type is named.
fn fetched(out: &mut String, element: &str, value: Property<'_>, inner: &Inner) {
    let odd = inner.options.odd_prefix;
    match value {
        Property::Sessions(sessions) => {
            let _ = write!(out, "<{element}{}>", text::xsi(odd, "ArrayOfUserSession"));
            for session in sessions {
                text::xml_value(out, "UserSession", &untyped(session), odd);
            }
            let _ = write!(out, "</{element}>");
        }
        Property::Events(list) => {
            let _ = write!(out, "<{element}{}>", text::xsi(odd, "ArrayOfEvent"));
            events(out, "Event", &list, inner);
            let _ = write!(out, "</{element}>");
        }
        Property::Event(event) => events(out, element, event.as_slice(), inner),
        Property::Object(Some(VimValue::Object { type_name, members })) => {
            let _ = write!(out, "<{element}{}>", text::xsi(odd, type_name));
            for (name, value) in members {
                text::xml_value(out, name, &untyped(value), odd);
            }
            let _ = write!(out, "</{element}>");
        }
        Property::Object(other) => {
            if let Some(value) = other {
                text::xml_value(out, element, &value, odd);
            }
        }
    }
}

fn property(
    out: &mut String,
    (kind, object): (&str, &str),
    name: &str,
    value: Result<Property<'_>, Fault>,
    inner: &Inner,
) {
    let _ = write!(out, "<returnval><objects><obj type=\"{kind}\">{object}</obj>");
    match value {
        Ok(value) => {
            let _ = write!(out, "<propSet><name>{name}</name>");
            fetched(out, "val", value, inner);
            out.push_str("</propSet>");
        }
        // A property that may not be read is left out, inside a successful answer.
        Err(fault) => {
            let odd = inner.options.odd_prefix;
            let _ = write!(out, "<missingSet><path>{name}</path><fault><fault{}>", text::xsi(odd, fault.class));
            out.push_str("<object type=\"Folder\">group-d1</object>");
            for (member, value) in &fault.members {
                text::xml_text(out, member, value);
            }
            out.push_str("</fault>");
            text::xml_text(out, "localizedMessage", fault.text);
            out.push_str("</fault></missingSet>");
        }
    }
    out.push_str("</objects></returnval>");
}
