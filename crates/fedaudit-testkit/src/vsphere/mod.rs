//! The stand-in vCenter: SOAP at `/sdk`, VI JSON below `/sdk/vim25/RELEASE/`, one log and one list of sessions behind both.
//!
//! As the product does, it answers faults with status 500, hands out a cookie with quotes in its value, ends collectors
//! with their login, and holds a limit of collectors for the whole server.

mod call;
mod methods;
mod state;
mod text;

mod outside;

use std::fmt;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use self::call::{Call, Fault, Reply};
use self::state::State;
use crate::records::{VimValue, World};
use crate::request_log::{LogEntry, RequestLog};

const SESSION_PRIVILEGE: &str = "Sessions.TerminateSession";
const RELEASES: &[&str] = &["8.0.3.0", "8.0.2.0", "8.0.1.0"];

/// How the stand-in behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// The account that may log in, as `reader@vsphere.local`.
    pub username: String,
    /// Its password.
    pub password: String,
    /// VI JSON and its negotiation exist, as from 8.0 U2 on.
    pub json: bool,
    /// The account may see the live list.
    pub may_list_sessions: bool,
    /// Collectors that all clients together may hold.
    pub max_collectors: usize,
    /// Days after which the product says it deletes events.
    pub event_max_age: i64,
    /// All logins end before this call (counted without logins) is answered.
    pub expire_after: Option<u64>,
    /// The event with this key is sent in a form that cannot be decoded.
    pub broken_event: Option<i32>,
    /// XML names types with the odd prefix of one simulator, and the cookie has no quotes.
    pub odd_prefix: bool,
    /// Something in front of the product answers everything with an HTML page.
    pub html: bool,
    /// Calls that are answered with 503 first.
    pub unavailable: u64,
    /// The reader's own session is in the live list.
    pub list_reader: bool,
    /// Time that every answer takes.
    pub latency: Duration,
    /// What was asked.
    pub log: RequestLog,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            username: "reader@vsphere.local".to_owned(),
            password: "correct horse".to_owned(),
            json: true,
            may_list_sessions: true,
            max_collectors: 32,
            event_max_age: 30,
            expire_after: None,
            broken_event: None,
            odd_prefix: false,
            html: false,
            unavailable: 0,
            list_reader: false,
            latency: Duration::ZERO,
            log: RequestLog::default(),
        }
    }
}

/// A vCenter that shows one world.
#[derive(Clone)]
pub struct StandIn(Arc<Inner>);

struct Inner {
    world: Arc<World>,
    options: Options,
    state: Mutex<State>,
    refused: std::sync::atomic::AtomicU64,
}

impl StandIn {
    /// A vCenter with nobody logged in.
    pub fn new(world: Arc<World>, options: Options) -> Self {
        Self(Arc::new(Inner { world, options, state: Mutex::default(), refused: 0.into() }))
    }

    /// Its whole HTTP surface.
    pub fn router(&self) -> Router {
        let router = Router::new().route("/sdk", post(soap)).route("/sdk/vimServiceVersions.xml", get(versions));
        let router = if self.0.options.json {
            router
                .route("/api/vcenter/system", post(hello))
                .route("/sdk/vim25/{release}/{kind}/{object}/{member}", get(property).post(method))
        } else {
            router
        };
        router.with_state(self.clone())
    }

    /// Logins that are open now.
    pub fn open_logins(&self) -> usize {
        self.0.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner).logins.len()
    }

    /// Collectors that are held now.
    pub fn open_collectors(&self) -> usize {
        let state = self.0.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.logins.values().map(|login| login.collectors.len()).sum()
    }
}

impl fmt::Debug for StandIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandIn").field("product", &"vsphere").finish_non_exhaustive()
    }
}

async fn versions(Shared(StandIn(inner)): Shared<StandIn>) -> Response {
    if let Some(early) = before(&inner).await {
        return early;
    }
    let prior = RELEASES[1..].iter().fold(String::new(), |mut list, release| {
        let _ = write!(list, "<version>{release}</version>");
        list
    });
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><namespaces version=\"1.0\"><namespace><name>urn:vim25</name>\
         <version>{}</version><priorVersions>{prior}<version>7.0.3.0</version></priorVersions></namespace></namespaces>",
        RELEASES[0]
    );
    ([(header::CONTENT_TYPE, "text/xml")], body).into_response()
}

async fn hello(Shared(StandIn(inner)): Shared<StandIn>, body: Bytes) -> Response {
    if let Some(early) = before(&inner).await {
        return early;
    }
    let asked: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let asked: Vec<&str> =
        asked["api_releases"].as_array().into_iter().flatten().filter_map(|release| release.as_str()).collect();
    if asked.is_empty() || asked.len() > 128 {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let chosen = asked.iter().find(|release| RELEASES.contains(release)).copied().unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], format!("{{\"api_release\":\"{chosen}\"}}")).into_response()
}

/// What comes before any understanding: latency, a busy front, a wrong front.
async fn before(inner: &Inner) -> Option<Response> {
    if !inner.options.latency.is_zero() {
        tokio::time::sleep(inner.options.latency).await;
    }
    if inner.options.html {
        return Some(
            ([(header::CONTENT_TYPE, "text/html")], "<html><body>Please sign in</body></html>").into_response(),
        );
    }
    let refused = inner.refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    (refused < inner.options.unavailable).then(|| {
        (StatusCode::SERVICE_UNAVAILABLE, [(header::CONTENT_TYPE, "text/html")], "<html>503 Service Unavailable</html>")
            .into_response()
    })
}

fn user_agent(headers: &HeaderMap) -> &str {
    headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default()
}

fn log(inner: &Inner, call: &Call, status: u16, records: usize) {
    inner.options.log.push(LogEntry {
        product: "vsphere",
        method: "RPC".to_owned(),
        target: call.described(),
        status: i32::from(status),
        records: records as u64,
    });
}

fn records_of(answer: &Result<Reply<'_>, Fault>) -> usize {
    match answer {
        Ok(Reply::Events(events)) => events.len(),
        Ok(Reply::Values(values) | Reply::Property { values: Ok(values), .. }) => values.len(),
        _ => 0,
    }
}

async fn soap(Shared(StandIn(inner)): Shared<StandIn>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(early) = before(&inner).await {
        return early;
    }
    let Some(call) = std::str::from_utf8(&body).ok().and_then(Call::from_soap) else {
        let fault = Fault::new("InvalidRequest", "The request cannot be parsed");
        return soap_response(&inner, "", Err(fault));
    };
    let token = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|cookie| cookie.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .find_map(|cookie| cookie.trim().strip_prefix("vmware_soap_session="))
        .map(|token| token.trim_matches('"'));
    let answer = inner.answer(&call, token, user_agent(&headers));
    log(&inner, &call, if answer.is_ok() { 200 } else { 500 }, records_of(&answer));
    soap_response(&inner, &call.method, answer)
}

fn soap_response(inner: &Inner, method: &str, answer: Result<Reply<'_>, Fault>) -> Response {
    const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<soapenv:Envelope xmlns:soapenc=\"http://schemas.xmlsoap.org/soap/encoding/\"\n \
        xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\"\n xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\"\n \
        xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\n<soapenv:Body>\n";
    let odd = inner.options.odd_prefix;
    let mut out = String::from(HEAD);
    // A failed login sets a cookie too, which opens nothing.
    let mut cookie = (method == "Login").then(|| "0".repeat(40));
    let status = match answer {
        Err(fault) => {
            out.push_str("<soapenv:Fault><faultcode>ServerFaultCode</faultcode>");
            text::xml_text(&mut out, "faultstring", fault.text);
            let class = fault.class;
            let _ = write!(out, "<detail><{class}Fault xmlns=\"urn:vim25\"{}>", text::xsi(odd, class));
            for (name, value) in &fault.members {
                text::xml_text(&mut out, name, value);
            }
            let _ = write!(out, "</{class}Fault></detail></soapenv:Fault>");
            StatusCode::INTERNAL_SERVER_ERROR
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
                Reply::Events(events) => {
                    out.reserve(events.len() * 600);
                    for event in events {
                        let at = out.len();
                        text::xml_event(&mut out, event, odd);
                        if inner.options.broken_event == Some(event.key) {
                            let broken = out[at..].replace("</createdTime>", "</createdTme>");
                            out.replace_range(at.., &broken);
                        }
                    }
                }
                Reply::Property { name, values } => property_xml(&mut out, name, values, odd),
            }
            let _ = write!(out, "</{method}Response>");
            StatusCode::OK
        }
    };
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

fn property_xml(out: &mut String, name: &str, values: Result<Vec<VimValue>, &'static str>, odd: bool) {
    out.push_str("<returnval><objects><obj type=\"SessionManager\">SessionManager</obj>");
    match values {
        Ok(values) => {
            let _ = write!(out, "<propSet><name>{name}</name><val{}>", text::xsi(odd, "ArrayOfUserSession"));
            for value in values {
                text::xml_value(out, "UserSession", &untyped(value), odd);
            }
            out.push_str("</val></propSet>");
        }
        // A property without the right to read it is left out, inside a successful answer.
        Err(privilege) => drop(write!(
            out,
            "<missingSet><path>{name}</path><fault><fault{}><object type=\"Folder\">group-d1</object><privilegeId>{privilege}</privilegeId></fault>\
             <localizedMessage>Permission to perform this operation was denied.</localizedMessage></fault></missingSet>",
            text::xsi(odd, "NoPermission")
        )),
    }
    out.push_str("</objects></returnval>");
}

type MemberPath = Path<(String, String, String, String)>;

async fn property(shared: Shared<StandIn>, path: MemberPath, headers: HeaderMap) -> Response {
    json_front(shared, path, headers, Bytes::new()).await
}

async fn method(shared: Shared<StandIn>, path: MemberPath, headers: HeaderMap, body: Bytes) -> Response {
    json_front(shared, path, headers, body).await
}

async fn json_front(
    Shared(StandIn(inner)): Shared<StandIn>,
    Path((release, _kind, object, member)): MemberPath,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(early) = before(&inner).await {
        return early;
    }
    if !RELEASES.contains(&release.as_str()) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let Some(call) = Call::from_json(object, member, &body) else {
        return json_response(&inner, Err(Fault::new("InvalidRequest", "The request cannot be parsed")));
    };
    let token = headers.get("vmware-api-session-id").and_then(|token| token.to_str().ok());
    let answer = inner.answer(&call, token, user_agent(&headers));
    log(&inner, &call, if answer.is_ok() { 200 } else { 500 }, records_of(&answer));
    json_response(&inner, answer)
}

fn json_response(inner: &Inner, answer: Result<Reply<'_>, Fault>) -> Response {
    let mut out = String::new();
    let mut token = None;
    let mut status = StatusCode::OK;
    match answer {
        Ok(Reply::Void) => return StatusCode::NO_CONTENT.into_response(),
        Ok(Reply::Value(value)) => text::json_value(&mut out, &value),
        Ok(Reply::Values(values) | Reply::Property { values: Ok(values), .. }) => {
            text::json_value(&mut out, &VimValue::List(values));
        }
        Ok(Reply::LoggedIn { session, token: shown }) => {
            text::json_value(&mut out, &session);
            token = Some(shown);
        }
        Ok(Reply::Events(events)) => {
            out.reserve(events.len() * 500);
            out.push('[');
            for (place, event) in events.into_iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                let at = out.len();
                text::json_event(&mut out, event);
                if inner.options.broken_event == Some(event.key) {
                    let broken = out[at..].replace("\"createdTime\":\"", "\"createdTime\":\"x");
                    out.replace_range(at.., &broken);
                }
            }
            out.push(']');
        }
        Ok(Reply::Property { values: Err(privilege), .. }) => {
            json_fault(
                &mut out,
                &Fault::new("NoPermission", "Permission to perform this operation was denied.")
                    .with("privilegeId", privilege),
            );
            status = StatusCode::INTERNAL_SERVER_ERROR;
        }
        Err(fault) => {
            json_fault(&mut out, &fault);
            status = StatusCode::INTERNAL_SERVER_ERROR;
        }
    }
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], out).into_response();
    if let Some(token) = token.and_then(|token| token.parse().ok()) {
        response.headers_mut().insert("vmware-api-session-id", token);
    }
    response
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
