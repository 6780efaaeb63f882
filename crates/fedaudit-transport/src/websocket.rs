//! One WebSocket connection: text frames in, text frames out, bounded in size and time.

use std::fmt;
use std::time::Duration;

use fedaudit_core::{Context, Error, ErrorKind, Meter, Result};
use futures::{SinkExt as _, StreamExt as _};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::http_client::untrusted;
use crate::retry::{ATTEMPTS, PATIENCE, delays, remaining, wait_asked_for, within_deadline};
use crate::{HttpResponse, Origin, ProxyConfig, TlsConfig, USER_AGENT, error_for};

/// Longest message that is read: a full page of the largest TrueNAS rows is a few tens of megabytes in one frame.
const MESSAGE_LIMIT: usize = 256 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// An open connection.
pub struct WebSocket {
    stream: WebSocketStream<Box<dyn Wire>>,
    place: String,
}

impl WebSocket {
    /// Opens a connection to a path of the origin: `wss` where the origin is `https`.
    pub async fn connect(cx: &Context, origin: &Origin, path: &str, tls: &TlsConfig) -> Result<Self> {
        Self::connect_through(cx, origin, path, tls, &ProxyConfig::default()).await
    }

    /// The same through the proxy of its own configuration, if there is one.
    pub async fn connect_through(
        cx: &Context,
        origin: &Origin,
        path: &str,
        tls: &TlsConfig,
        proxy: &ProxyConfig,
    ) -> Result<Self> {
        let place = format!("{}{path}", origin.as_str().replacen("http", "ws", 1));
        let mut delays = delays(ATTEMPTS);
        loop {
            let open = async {
                tokio::time::timeout(CONNECT_TIMEOUT, Self::open(origin, &place, tls, proxy))
                    .await
                    .unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "no connection within 10 s").into()))
            };
            let refused = match within_deadline(cx, "connecting", async { Ok(open.await) }).await {
                Ok(Ok(stream)) => return Ok(Self { stream, place }),
                Ok(Err(refused)) => refused,
                Err(error) => Refused::from(error),
            };
            if refused.error.kind() == ErrorKind::RateLimited {
                Meter::count(&cx.meter.throttled);
            }
            let wait = refused.answer.and_then(|answer| wait_asked_for(&answer, cx));
            let delay =
                delays.next().filter(|_| refused.error.kind().is_temporary()).map(|delay| wait.unwrap_or(delay));
            // Waiting in vain helps nobody.
            let Some(delay) = delay.filter(|delay| *delay < remaining(cx).unwrap_or(PATIENCE)) else {
                return Err(refused.error.at(&place));
            };
            tracing::debug!(%place, ?delay, "connecting again");
            tokio::time::sleep(delay).await;
            Meter::count(&cx.meter.retries);
        }
    }

    async fn open(
        origin: &Origin,
        url: &str,
        tls: &TlsConfig,
        proxy: &ProxyConfig,
    ) -> Result<WebSocketStream<Box<dyn Wire>>, Refused> {
        let unreachable = |error: std::io::Error| {
            Error::new(ErrorKind::Unavailable, format!("cannot connect: {error}"))
                .hint("is the address right, and is the product reachable from here?")
        };
        let tcp = match proxy.route(origin)? {
            Some(route) => route.tunnel(origin).await?,
            None => TcpStream::connect((origin.host(), origin.port())).await.map_err(unreachable)?,
        };
        tcp.set_nodelay(true).map_err(unreachable)?;
        let wire: Box<dyn Wire> = if origin.is_tls() {
            let config = tls.client_config(origin, &[b"http/1.1"])?;
            let name = ServerName::try_from(origin.host().to_owned())
                .map_err(|error| Error::new(ErrorKind::Config, format!("host name: {error}")))?;
            Box::new(TlsConnector::from(config).connect(name, tcp).await.map_err(|error| {
                let text = error.to_string();
                if text.contains("certificate") { untrusted(&text) } else { unreachable(error) }
            })?)
        } else {
            Box::new(tcp)
        };
        let mut request =
            url.into_client_request().map_err(|error| Error::new(ErrorKind::Config, format!("address: {error}")))?;
        request.headers_mut().insert("user-agent", HeaderValue::from_static(USER_AGENT));
        let limits =
            WebSocketConfig::default().max_message_size(Some(MESSAGE_LIMIT)).max_frame_size(Some(MESSAGE_LIMIT));
        let (stream, _) =
            tokio_tungstenite::client_async_with_config(request, wire, Some(limits)).await.map_err(handshake_error)?;
        Ok(stream)
    }

    /// What to call it in errors and logs.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Sends one text frame.
    pub async fn send(&mut self, cx: &Context, text: String) -> Result<()> {
        Meter::count(&cx.meter.requests);
        let sent = async { self.stream.send(Message::text(text)).await.map_err(|error| wire_error(&error)) };
        within_deadline(cx, "sending", sent).await.map_err(|error| error.at(&self.place))
    }

    /// The next text frame. Pings are answered on the way.
    pub async fn next(&mut self, cx: &Context) -> Result<String> {
        let received = async {
            loop {
                match self.stream.next().await {
                    Some(Ok(Message::Text(text))) => {
                        cx.meter.bytes.fetch_add(text.len() as u64, std::sync::atomic::Ordering::Relaxed);
                        return Ok(text.as_str().to_owned());
                    }
                    Some(Ok(Message::Close(frame))) => {
                        let kind = match &frame {
                            // Who may not be here is told so after the handshake.
                            Some(frame) if frame.code == CloseCode::Policy => ErrorKind::Denied,
                            _ => ErrorKind::Unavailable,
                        };
                        let reason =
                            frame.map_or_else(String::new, |frame| format!(" with {}: {}", frame.code, frame.reason));
                        return Err(Error::new(kind, format!("the product closed the connection{reason}")));
                    }
                    Some(Ok(Message::Binary(_))) => {
                        return Err(Error::new(ErrorKind::Malformed, "the product sent a binary frame"));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(wire_error(&error)),
                    None => return Err(Error::new(ErrorKind::Unavailable, "the connection ended")),
                }
            }
        };
        within_deadline(cx, "waiting for an answer", received).await.map_err(|error| error.at(&self.place))
    }

    /// Says good-bye; whatever the product answers, the connection is over.
    pub async fn close(&mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(2), self.stream.close(None)).await;
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Why there is no connection, with the answer in place of it if there was one.
struct Refused {
    error: Error,
    answer: Option<Box<HttpResponse>>,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error, answer: None }
    }
}

fn handshake_error(error: tungstenite::Error) -> Refused {
    match error {
        tungstenite::Error::Http(response) => {
            let (parts, body) = (*response).into_parts();
            let answer = HttpResponse {
                status: parts.status.as_u16(),
                headers: parts.headers,
                body: body.unwrap_or_default().into(),
            };
            let told = error_for(&answer);
            let error = match answer.status {
                // A proxy or a login page in front of the product answers everything.
                status @ 200..400 => Error::new(ErrorKind::Malformed, format!("no WebSocket here: HTTP {status}")),
                _ => Error::new(told.kind(), format!("no WebSocket here: {}", told.message())),
            };
            Refused { error, answer: Some(Box::new(answer)) }
        }
        other => wire_error(&other).into(),
    }
}

fn wire_error(error: &tungstenite::Error) -> Error {
    let kind = match error {
        tungstenite::Error::Protocol(_) | tungstenite::Error::Utf8(_) | tungstenite::Error::Capacity(_) => {
            ErrorKind::Malformed
        }
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, error.to_string())
}
