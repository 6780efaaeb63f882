//! HTTP requests: sent, counted, retried, bounded. One client per source, so that connections are reused.
//!
//! The order for one request: wait for the delay of the last attempt, send, classify, perhaps retry. Redirects are never
//! followed, because the credentials would travel with them.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fedaudit_core::{Context, Error, ErrorKind, Meter, Result, Secret};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method};

use crate::echo::without_echo;
use crate::retry::{delays, remaining, retry_after, within_deadline};
use crate::{HttpResponse, Origin, TlsConfig, USER_AGENT};

/// Longest answer that is read into memory.
const BODY_LIMIT: usize = 256 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Silence on an open connection for longer than this is a failure.
const READ_TIMEOUT: Duration = Duration::from_mins(1);
const ATTEMPTS: usize = 4;

/// A request, built by the plugin.
pub struct HttpRequest {
    method: Method,
    path_and_query: String,
    headers: Vec<(&'static str, Result<HeaderValue>)>,
    secrets: Vec<Secret>,
    body: Option<Bytes>,
    idempotent: bool,
    attempts: usize,
}

impl HttpRequest {
    /// GET of an absolute path with its query.
    pub fn get(path_and_query: impl Into<String>) -> Self {
        Self::new(Method::GET, path_and_query.into(), true)
    }

    /// DELETE of an absolute path.
    pub fn delete(path_and_query: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path_and_query.into(), true)
    }

    /// POST of a body. Not retried unless said to be [`idempotent`](Self::idempotent).
    pub fn post(path_and_query: impl Into<String>, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut request = Self::new(Method::POST, path_and_query.into(), false);
        request.body = Some(body.into());
        request.header("content-type", content_type)
    }

    fn new(method: Method, path_and_query: String, idempotent: bool) -> Self {
        Self {
            method,
            path_and_query,
            headers: Vec::new(),
            secrets: Vec::new(),
            body: None,
            idempotent,
            attempts: ATTEMPTS,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, header_value(name, &value.into())));
        self
    }

    /// Adds a header that is never shown.
    #[must_use]
    pub fn secret_header(mut self, name: &'static str, secret: Secret) -> Self {
        let value = header_value(name, secret.reveal()).map(|mut value| {
            value.set_sensitive(true);
            value
        });
        self.headers.push((name, value));
        self.hiding(secret)
    }

    /// Names a secret that is sent in the body: should the answer to it be no data, what it repeats of the secret is cut out.
    /// Headers that are never shown need not be named.
    #[must_use]
    pub fn hiding(mut self, secret: Secret) -> Self {
        self.secrets.push(secret);
        self
    }

    /// Whether sending it twice does no harm.
    #[must_use]
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self
    }

    /// How often it is sent at most.
    #[must_use]
    pub fn attempts(mut self, attempts: usize) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    fn place(&self, origin: &Origin) -> String {
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        format!("{} {origin}{path}", self.method)
    }
}

fn header_value(name: &str, value: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(value).map_err(|_| {
        Error::new(ErrorKind::Config, format!("the value for header {name} has characters that HTTP forbids"))
    })
}

/// An HTTP client for one origin.
pub struct HttpClient {
    origin: Origin,
    client: reqwest::Client,
    retries_throttled: bool,
}

impl HttpClient {
    /// A client that talks to this origin only.
    pub fn new(origin: Origin, tls: &TlsConfig) -> Result<Self> {
        let config = tls.client_config(&origin, &[b"h2", b"http/1.1"])?;
        let client = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .tls_backend_preconfigured((*config).clone())
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .referer(false)
            .retry(reqwest::retry::never())
            .build()
            .map_err(|error| Error::new(ErrorKind::Config, format!("HTTP client: {}", chain(&error))))?;
        Ok(Self { origin, client, retries_throttled: true })
    }

    /// Hands 429 to the caller as it comes: one who keeps a budget over all requests knows better when to ask again.
    #[must_use]
    pub fn without_throttle_retries(mut self) -> Self {
        self.retries_throttled = false;
        self
    }

    /// Where it talks to.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Sends a request and reads the whole answer.
    ///
    /// Temporary failures of idempotent requests are retried within the deadline. Every status that is not retried, or
    /// whose retries are spent, is an answer: its meaning is the plugin's.
    pub async fn send(&self, cx: &Context, request: HttpRequest) -> Result<HttpResponse> {
        let response = self.deliver(cx, &request).await?;
        Ok(without_echo(response, &request.secrets))
    }

    async fn deliver(&self, cx: &Context, request: &HttpRequest) -> Result<HttpResponse> {
        let place = request.place(&self.origin);
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let value = value.clone().map_err(|error| error.at(&place))?;
            headers.append(HeaderName::from_static(name), value);
        }
        let mut delays = delays(if request.idempotent { request.attempts } else { 1 });
        loop {
            Meter::count(&cx.meter.requests);
            let outcome = within_deadline(cx, "the request", self.attempt(request, &headers)).await;
            let (wait, throttled) = match &outcome {
                Ok(response) if response.status == 429 && self.retries_throttled => (retry_after(response, cx), true),
                Ok(response) if matches!(response.status, 500 | 502 | 503 | 504) => (retry_after(response, cx), false),
                Err(error) if error.kind().is_temporary() => (None, false),
                _ => return received(cx, outcome, &place),
            };
            if throttled {
                Meter::count(&cx.meter.throttled);
            }
            let Some(delay) = delays.next() else { return received(cx, outcome, &place) };
            let delay = wait.unwrap_or(delay);
            if remaining(cx).is_some_and(|left| left <= delay) {
                return received(cx, outcome, &place);
            }
            tracing::debug!(%place, ?delay, "trying again");
            tokio::time::sleep(delay).await;
            Meter::count(&cx.meter.retries);
        }
    }

    async fn attempt(&self, request: &HttpRequest, headers: &HeaderMap) -> Result<HttpResponse> {
        let url = format!("{}{}", self.origin, request.path_and_query);
        let mut builder = self.client.request(request.method.clone(), url).headers(headers.clone());
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        let mut response = builder.send().await.map_err(|error| wire_error(&error))?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let mut body = BytesMut::with_capacity(response.content_length().unwrap_or(0).min(8 << 20) as usize);
        while let Some(chunk) = response.chunk().await.map_err(|error| wire_error(&error))? {
            if body.len() + chunk.len() > BODY_LIMIT {
                return Err(Error::new(
                    ErrorKind::Malformed,
                    format!("the answer is longer than {} MiB", BODY_LIMIT >> 20),
                ));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(HttpResponse { status, headers, body: body.freeze() })
    }
}

/// Counts an answer, names the place of an error.
fn received(cx: &Context, outcome: Result<HttpResponse>, place: &str) -> Result<HttpResponse> {
    if let Ok(response) = &outcome {
        cx.meter.bytes.fetch_add(response.body.len() as u64, std::sync::atomic::Ordering::Relaxed);
    }
    outcome.map_err(|error| error.at(place))
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// The kind of a failure on the wire, and what to try.
fn wire_error(error: &reqwest::Error) -> Error {
    let text = chain(error);
    if text.contains("certificate") || text.contains("UnknownIssuer") {
        return untrusted(&text);
    }
    let kind = if error.is_timeout() {
        ErrorKind::Timeout
    } else if error.is_builder() {
        ErrorKind::Internal
    } else {
        // A refused connection, a reset, and an answer cut off in the middle.
        ErrorKind::Unavailable
    };
    let wrapped = Error::new(kind, text);
    if error.is_connect() {
        wrapped.hint("is the address right, and is the product reachable from here?")
    } else {
        wrapped
    }
}

/// The error for a certificate that is not trusted: retrying does not help, and the login was not sent.
pub(crate) fn untrusted(text: &str) -> Error {
    Error::new(ErrorKind::Config, format!("the server's certificate is not trusted: {text}"))
        .hint("name the product's CA with tls = { ca_file = \"…\" }, or pin its certificate with pin_sha256; nothing was sent")
}

/// An error with its causes on one line, without the address that stands in the place already.
fn chain(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
        cause = error.source();
    }
    if text.is_empty() { "the request failed".to_owned() } else { text }
}
