//! Faults of HTTP requests.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use bytes::Bytes;
use hyper::body::Incoming;
use tower::Service as _;

use super::front::{Front, Recorded};
use super::{Product, RetryAfter, What, names, refusal, websocket};

/// Longest body that is looked at; the stand-ins know no longer ones.
const LIMIT: usize = 256 << 20;

/// The connection ends here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken off as planned")
    }
}

impl std::error::Error for Broken {}

impl From<Infallible> for Broken {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl Front {
    /// Answers a request, or ends its connection.
    pub(crate) async fn answer(
        self: Arc<Self>,
        mut router: Router,
        peer: SocketAddr,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Broken> {
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(ConnectInfo(peer));
        let body = to_bytes(Body::new(body), LIMIT).await.map_err(|_| Broken)?;
        let name = names::of_http(self.product, &parts, &body);
        let struck = self.strike(&name);
        if struck.is_none() && parts.headers.contains_key(header::UPGRADE) {
            return websocket::accept(self, router, peer, Request::from_parts(parts, Body::empty()));
        }
        let request = Request::from_parts(parts.clone(), Body::from(body));
        let Some(what) = struck else {
            let answer = self.forward(&mut router, request).await?;
            self.record(&answer);
            return Ok(answer.whole());
        };
        tracing::debug!(product = ?self.product, name, %what, "fault");
        match what {
            What::Unheard | What::Closed(_) | What::Gone(_) | What::NoHandshake => Err(Broken),
            What::Unanswered => {
                self.forward(&mut router, request).await?;
                Err(Broken)
            }
            What::Cut(part) => Ok(self.forward(&mut router, request).await?.cut(part)),
            What::Truncated(part) => {
                let mut answer = self.forward(&mut router, request).await?;
                answer.body = answer.body.slice(..portion(&answer.body, part));
                Ok(answer.whole())
            }
            What::Garbage => Ok(Recorded::new(200, "application/octet-stream", "\u{0}\u{1}\u{7f}{<garbage").whole()),
            What::Nothing => Ok(Recorded::new(200, "text/plain", "").whole()),
            What::LoginPage { xhtml } => {
                let kind = if xhtml { "application/xhtml+xml" } else { "text/html; charset=utf-8" };
                Ok(Recorded::new(200, kind, "<html><head><title>Sign in</title></head><body></body></html>").whole())
            }
            What::Status(status) => Ok(Recorded::new(status, "text/html", "<html><body>not now</body></html>").whole()),
            What::Throttled(after) => {
                let answer = Recorded::new(429, "text/html", "<html><body>too many requests</body></html>");
                Ok(match self.retry_after(after) {
                    Some(after) => answer.with(header::RETRY_AFTER, &after),
                    None => answer,
                }
                .whole())
            }
            What::Late(by) => {
                tokio::time::sleep(by).await;
                Ok(self.forward(&mut router, request).await?.whole())
            }
            What::Silent => std::future::pending().await,
            What::LoginLost => {
                if let Some(logout) = refusal::logout(self.product, &parts) {
                    self.forward(&mut router, logout).await?;
                } else if self.product == Product::Canvas {
                    return Ok(refusal::revoked().whole());
                }
                Ok(self.forward(&mut router, request).await?.whole())
            }
            What::Denied => Ok(refusal::denied(self.product, &parts).whole()),
            What::Repeated => match self.last() {
                Some(last) => Ok(last.whole()),
                None => Ok(self.forward(&mut router, request).await?.whole()),
            },
            What::OtherType => {
                Ok(self.forward(&mut router, request).await?.with(header::CONTENT_TYPE, "text/plain").whole())
            }
        }
    }

    /// The product's own answer.
    async fn forward(&self, router: &mut Router, request: Request<Body>) -> Result<Recorded, Broken> {
        let (parts, body) = router.call(request).await?.into_parts();
        let body = to_bytes(body, LIMIT).await.map_err(|_| Broken)?;
        Ok(Recorded { status: parts.status, headers: parts.headers, body })
    }

    fn retry_after(&self, after: RetryAfter) -> Option<String> {
        match after {
            RetryAfter::Unsaid => None,
            RetryAfter::Seconds(seconds) => Some(seconds.to_string()),
            RetryAfter::Date(seconds) => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                let then = now.as_secs() as i64 + self.clock_offset_s + i64::from(seconds);
                let then = chrono::DateTime::from_timestamp(then, 0)?;
                Some(then.format("%a, %d %b %Y %H:%M:%S GMT").to_string())
            }
        }
    }
}

/// So many thousandths of it, in bytes.
pub(super) fn portion(body: &[u8], thousandths: u16) -> usize {
    body.len() * usize::from(thousandths.min(1000)) / 1000
}

impl Recorded {
    pub(super) fn new(status: u16, content_type: &'static str, body: &'static str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, headers, body: Bytes::from_static(body.as_bytes()) }
    }

    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    fn whole(mut self) -> Response<Body> {
        self.headers.remove(header::CONTENT_LENGTH);
        let body = Body::from(self.body.clone());
        self.response(body)
    }

    /// Announces the whole body and ends in the middle of it. At least one byte is missing, or there would be no fault.
    fn cut(mut self, part: u16) -> Response<Body> {
        let length = self.body.len();
        let sent = portion(&self.body, part).min(length.saturating_sub(1));
        self.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length.max(1)));
        let first = self.body.slice(..sent);
        let chunks = futures::stream::unfold(Some(first), |next| async move {
            match next {
                Some(first) if !first.is_empty() => Some((Ok(first), Some(Bytes::new()))),
                // What was sent leaves first.
                Some(_) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    Some((Err(Broken), None))
                }
                None => None,
            }
        });
        self.response(Body::from_stream(chunks))
    }

    fn response(self, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}
