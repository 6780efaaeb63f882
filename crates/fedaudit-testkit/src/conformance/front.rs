//! What stands between a source and its product: it keeps what was asked and sent, and breaks answers as told.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Write as _;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::secrets::Secrets;

/// How an answer is broken.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// This is answered, and the product is not asked.
    Answer(Canned),
    /// The product's answer ends in the middle.
    Cut,
    /// The product's answer comes late.
    Late(Duration),
    /// The product's answer names this place in place of its own.
    Foreign(String),
    /// The request itself is answered, as data with status 200, and the product is not asked.
    Echo(Form),
    /// The product's answer is compressed, for a client that says it understands that.
    Gzip,
}

/// The form of data.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    Json,
    Xml,
}

/// An answer that is known beforehand.
#[derive(Clone, Debug)]
pub(crate) struct Canned {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: &'static str,
}

impl Fault {
    /// A status with a text.
    pub(crate) fn status(status: u16) -> Self {
        Self::Answer(Canned { status, headers: vec![("content-type", "text/plain".into())], body: "no" })
    }

    /// The product asks for patience.
    pub(crate) fn throttled(retry_after: &str) -> Self {
        let headers = vec![("content-type", "text/plain".into()), ("retry-after", retry_after.to_owned())];
        Self::Answer(Canned { status: 429, headers, body: "slow down" })
    }

    /// A page for people.
    pub(crate) fn html() -> Self {
        let headers = vec![("content-type", "text/html; charset=utf-8".into())];
        Self::Answer(Canned { status: 200, headers, body: "<!DOCTYPE html><html><body>Please sign in</body></html>" })
    }

    /// JSON that means nothing here.
    pub(crate) fn json(body: &'static str) -> Self {
        Self::Answer(Canned { status: 200, headers: vec![("content-type", "application/json".into())], body })
    }

    /// Sends the client to another address.
    pub(crate) fn redirect(status: u16, to: &str) -> Self {
        Self::Answer(Canned { status, headers: vec![("location", to.to_owned())], body: "" })
    }
}

/// A request that was seen.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) at: Instant,
}

/// The front of one product. Clones are the same front.
#[derive(Clone)]
pub(crate) struct Front(Arc<Mutex<Inside>>);

struct Inside {
    secrets: Secrets,
    own: String,
    script: Vec<(RangeInclusive<usize>, Fault)>,
    seen: Vec<Seen>,
    sent: Vec<u8>,
    /// Paths where a connection became a WebSocket.
    sockets: BTreeSet<String>,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").finish_non_exhaustive()
    }
}

impl Front {
    pub(crate) fn new(secrets: &Secrets) -> Self {
        let secrets = secrets.clone();
        Self(Arc::new(Mutex::new(Inside {
            secrets,
            own: String::new(),
            script: Vec::new(),
            seen: Vec::new(),
            sent: Vec::new(),
            sockets: BTreeSet::new(),
        })))
    }

    /// The product behind this front.
    pub(crate) fn before(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), pass))
    }

    /// The address of the product itself.
    pub(crate) fn set_origin(&self, origin: &str) {
        origin.clone_into(&mut self.lock().own);
    }

    /// Breaks the answers to these requests, counted from one as of now.
    pub(crate) fn break_answers(&self, requests: RangeInclusive<usize>, fault: Fault) {
        let mut inside = self.lock();
        let from = inside.seen.len();
        let range = requests.start() + from..=requests.end().saturating_add(from);
        inside.script.push((range, fault));
    }

    /// Breaks nothing any more.
    pub(crate) fn heal(&self) {
        self.lock().script.clear();
    }

    /// What was asked.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.lock().seen.clone()
    }

    /// Number of requests.
    pub(crate) fn requests(&self) -> usize {
        self.lock().seen.len()
    }

    /// Whether a request like the n-th one became a WebSocket.
    pub(crate) fn upgraded(&self, number: usize) -> bool {
        let inside = self.lock();
        inside.seen.get(number - 1).is_some_and(|seen| inside.sockets.contains(&seen.line))
    }

    /// Whether the product sent these bytes.
    pub(crate) fn sent(&self, text: &str) -> bool {
        memchr::memmem::find(&self.lock().sent, text.as_bytes()).is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arrived(&self, request: &Request) -> (Option<Fault>, String) {
        let mut inside = self.lock();
        inside.seen.push(Seen { line: line(request), at: Instant::now() });
        let number = inside.seen.len();
        let fault = inside.script.iter().find(|(range, _)| range.contains(&number)).map(|(_, fault)| fault.clone());
        (fault, inside.own.clone())
    }

    /// Logins that the product hands out are secrets.
    fn leaving(&self, headers: &HeaderMap, body: &[u8]) {
        let mut inside = self.lock();
        inside.sent.extend_from_slice(body);
        for name in ["set-cookie", "vmware-api-session-id"] {
            for value in headers.get_all(name).iter().filter_map(|value| value.to_str().ok()) {
                let value = value.split(';').next().unwrap_or_default();
                let token = value.split_once('=').map_or(value, |(_, token)| token);
                inside.secrets.learn(token.trim_matches('"'));
            }
        }
    }
}

fn line(request: &Request) -> String {
    format!("{} {}", request.method(), request.uri().path())
}

async fn pass(State(front): State<Front>, request: Request, next: Next) -> Response {
    let line = line(&request);
    let (fault, own) = front.arrived(&request);
    let understands_gzip = request
        .headers()
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("gzip"));
    match &fault {
        Some(Fault::Answer(canned)) => return canned.response(),
        Some(Fault::Echo(form)) => return echo(request, *form).await,
        Some(Fault::Late(delay)) => tokio::time::sleep(*delay).await,
        _ => {}
    }
    let response = next.run(request).await;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        front.lock().sockets.insert(line);
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    front.leaving(&parts.headers, &body);
    let body = match fault {
        Some(Fault::Cut) => {
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len() + 2));
            return Response::from_parts(parts, half(&body));
        }
        Some(Fault::Foreign(place)) => {
            for value in parts.headers.values_mut() {
                if let Ok(text) = value.to_str().map(|text| text.replace(&own, &place)) {
                    *value = HeaderValue::from_str(&text).unwrap_or_else(|_| value.clone());
                }
            }
            Bytes::from(String::from_utf8_lossy(&body).replace(&own, &place))
        }
        Some(Fault::Gzip) if understands_gzip => {
            parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            gzip(&body)
        }
        _ => body,
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(body))
}

/// Everything of a request, as data.
async fn echo(request: Request, form: Form) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let body = String::from_utf8_lossy(&body).into_owned();
    let headers =
        parts.headers.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
    let said: Vec<String> = headers.chain([body]).collect();
    let (kind, body) = match form {
        Form::Json => ("application/json", serde_json::Value::from(said.join(" ")).to_string()),
        Form::Xml => {
            let text = said.join(" ").replace('&', "&amp;").replace('<', "&lt;");
            ("text/xml", format!("<Envelope><Body><echo>{text}</echo></Body></Envelope>"))
        }
    };
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The first half of a body, and then the connection breaks.
fn half(body: &Bytes) -> Body {
    let first = Ok(body.slice(..body.len() / 2));
    let broken = Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
    // The half has to leave before the break is noticed, or the client sees a reset only.
    let pieces = futures::stream::unfold(vec![broken, first], |mut rest| async move {
        let piece = rest.pop()?;
        if piece.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Some((piece, rest))
    });
    Body::from_stream(pieces)
}

fn gzip(body: &[u8]) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default().into()
}

impl Canned {
    fn response(&self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in &self.headers {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(*name, value);
            }
        }
        response
    }
}
