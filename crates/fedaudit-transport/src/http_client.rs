//! HTTP requests: sent, counted, retried, bounded. One client per source, so that connections are reused.
//!
//! The order for one request: wait for the pace, send, classify, perhaps follow a redirect at home, perhaps wait and retry.
//! A redirect to another origin is never followed, because the credentials would travel with it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use fedaudit_core::{Context, Error, ErrorKind, Meter, Result};
use http::{HeaderMap, Method};

use crate::discreet::Spoken;
use crate::echo::without_echo;
use crate::pace::Pace;
use crate::proxy::{ProxyConfig, Route};
use crate::retry::{PATIENCE, delays, remaining, wait_asked_for, within_deadline};
use crate::{HttpRequest, HttpResponse, Origin, TlsConfig, USER_AGENT};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Silence on an open connection for longer than this is a failure.
const READ_TIMEOUT: Duration = Duration::from_mins(1);
/// Steps from one address to the next at home.
const REDIRECTS: usize = 5;

/// How large an answer and how long an exchange may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Longest answer that is read into memory, decompressed.
    pub body: usize,
    /// Longest time from sending to the last byte of the answer.
    pub exchange: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { body: 256 << 20, exchange: Duration::from_mins(10) }
    }
}

/// An HTTP client for one origin.
pub struct HttpClient {
    origin: Origin,
    /// Why there is no client is told to who wants to send: a file that is missing on this machine is this source's trouble.
    client: Result<reqwest::Client>,
    retries_throttled: bool,
    pace: Option<Arc<Pace>>,
    bounds: Bounds,
    spoken: Spoken,
}

impl HttpClient {
    /// A client that talks to this origin only, directly or through the proxy that the environment names.
    pub fn new(origin: Origin, tls: &TlsConfig) -> Result<Self> {
        Self::through(origin, tls, &ProxyConfig::default())
    }

    /// A client that talks to this origin only, through the proxy of its own configuration if there is one.
    pub fn through(origin: Origin, tls: &TlsConfig, proxy: &ProxyConfig) -> Result<Self> {
        let route = proxy.route(&origin)?;
        let client = client(&origin, tls, route);
        Ok(Self {
            origin,
            client,
            retries_throttled: true,
            pace: None,
            bounds: Bounds::default(),
            spoken: Spoken::default(),
        })
    }

    /// Hands 429 to the caller as it comes: one who keeps a budget over all requests knows better when to ask again.
    #[must_use]
    pub fn without_throttle_retries(mut self) -> Self {
        self.retries_throttled = false;
        self
    }

    /// Sends no faster than this. Clients that share a pace share its budget.
    #[must_use]
    pub fn paced(mut self, pace: Arc<Pace>) -> Self {
        self.pace = Some(pace);
        self
    }

    /// Other bounds than the usual.
    #[must_use]
    pub fn bounded(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Remembers the secrets that it sends, for who has to keep them out of an error.
    #[must_use]
    pub fn remembering(mut self, spoken: &Spoken) -> Self {
        self.spoken = spoken.clone();
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
        request.secrets.iter().for_each(|secret| self.spoken.remember(secret));
        let response = self.deliver(cx, &request).await?;
        Ok(without_echo(response, &request.secrets))
    }

    async fn deliver(&self, cx: &Context, request: &HttpRequest) -> Result<HttpResponse> {
        let place = request.place(&self.origin);
        let headers = request.header_map().map_err(|error| error.at(&place))?;
        let mut delays = delays(request.attempts);
        loop {
            let outcome = self.exchange(cx, request, &headers).await;
            let (wait, throttled) = match &outcome {
                // What was throttled was not done: it may be sent again whatever it is.
                Ok(response) if self.is_throttled(response) => (wait_asked_for(response, cx), true),
                _ if !request.idempotent => return received(cx, outcome, &place),
                Ok(response) if matches!(response.status, 500 | 502 | 503 | 504) => {
                    (wait_asked_for(response, cx), false)
                }
                Err(error) if error.kind().is_temporary() => (None, false),
                _ => return received(cx, outcome, &place),
            };
            if throttled {
                Meter::count(&cx.meter.throttled);
            }
            let Some(delay) = delays.next() else { return received(cx, outcome, &place) };
            let delay = wait.unwrap_or(delay);
            // Waiting in vain helps nobody: what the product said is the answer.
            if delay >= remaining(cx).unwrap_or(PATIENCE) {
                return received(cx, outcome, &place);
            }
            tracing::debug!(%place, ?delay, "trying again");
            tokio::time::sleep(delay).await;
            Meter::count(&cx.meter.retries);
        }
    }

    fn is_throttled(&self, response: &HttpResponse) -> bool {
        self.retries_throttled && response.status == 429
    }

    /// One exchange, with the redirects that stay at home. Only questions are repeated at another address: what a redirect
    /// makes of a POST differs from server to server.
    async fn exchange(&self, cx: &Context, request: &HttpRequest, headers: &HeaderMap) -> Result<HttpResponse> {
        let mut target = request.path_and_query.clone();
        for _ in 0..REDIRECTS {
            let response = self.attempt(cx, request, &target, headers).await?;
            match self.at_home(request, &target, &response) {
                Some(next) => target = next,
                None => return Ok(response),
            }
        }
        self.attempt(cx, request, &target, headers).await
    }

    /// Where a redirect leads, if it may be followed.
    fn at_home(&self, request: &HttpRequest, target: &str, response: &HttpResponse) -> Option<String> {
        let moved = matches!(response.status, 301 | 302 | 303 | 307 | 308);
        if !moved || request.method != Method::GET {
            return None;
        }
        self.origin.resolve_from(target, response.header("location")?).ok()
    }

    /// Sends once and reads the answer to its end.
    async fn attempt(
        &self,
        cx: &Context,
        request: &HttpRequest,
        target: &str,
        headers: &HeaderMap,
    ) -> Result<HttpResponse> {
        let turn = match &self.pace {
            Some(pace) => Some(pace.turn(cx).await?),
            None => None,
        };
        Meter::count(&cx.meter.requests);
        let sent = async {
            tokio::time::timeout(self.bounds.exchange, self.read(request, target, headers)).await.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Timeout, format!("no whole answer within {:?}", self.bounds.exchange)))
            })
        };
        let response = within_deadline(cx, "the request", sent).await;
        drop(turn);
        response
    }

    async fn read(&self, request: &HttpRequest, target: &str, headers: &HeaderMap) -> Result<HttpResponse> {
        let url = format!("{}{target}", self.origin);
        let client = self.client.as_ref().map_err(Clone::clone)?;
        let mut builder = client.request(request.method.clone(), url).headers(headers.clone());
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        let mut response = builder.send().await.map_err(|error| wire_error(&error))?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let mut body = BytesMut::with_capacity(response.content_length().unwrap_or(0).min(8 << 20) as usize);
        while let Some(chunk) = response.chunk().await.map_err(|error| wire_error(&error))? {
            if body.len() + chunk.len() > self.bounds.body {
                let text = format!("the answer is longer than {} bytes", self.bounds.body);
                return Err(Error::new(ErrorKind::Malformed, text).hint("ask for fewer records a page"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(HttpResponse { status, headers, body: body.freeze() })
    }
}

fn client(origin: &Origin, tls: &TlsConfig, route: Option<Route>) -> Result<reqwest::Client> {
    let unusable = |error: reqwest::Error| Error::new(ErrorKind::Config, format!("HTTP client: {}", chain(&error)));
    let config = tls.client_config(origin, &[b"h2", b"http/1.1"])?;
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .tls_backend_preconfigured((*config).clone())
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .referer(false)
        .retry(reqwest::retry::never())
        // The environment is read in one place, for WebSockets as well.
        .no_proxy();
    if let Some(route) = route {
        builder = builder.proxy(route.for_requests().map_err(unusable)?);
    }
    builder.build().map_err(unusable)
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
