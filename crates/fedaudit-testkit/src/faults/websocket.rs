//! Faults of a WebSocket: the front accepts the socket itself, opens one to the product in memory, and passes messages on.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use futures::{SinkExt as _, StreamExt as _};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tower::Service as _;

use super::front::Front;
use super::http::{Broken, portion};
use super::{What, refusal};

/// Id of the call that ends a login from behind; no reader uses a text.
const OURS: &str = "\"fault\"";

/// Takes over an upgrade.
pub(super) fn accept(
    front: Arc<Front>,
    router: Router,
    peer: SocketAddr,
    mut request: Request<Body>,
) -> Result<Response<Body>, Broken> {
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).ok_or(Broken)?;
    let accepted = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| Broken)?;
    let path = request.uri().path().to_owned();
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let outer = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        let Some(inner) = connect(router, peer, &path).await else { return };
        tokio::select! {
            () = front.cut() => {}
            () = relay(&front, outer, inner) => {}
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accepted);
    Ok(response)
}

/// A socket to the product behind.
async fn connect(router: Router, peer: SocketAddr, path: &str) -> Option<WebSocketStream<DuplexStream>> {
    let (near, far) = tokio::io::duplex(1 << 16);
    tokio::spawn(async move {
        let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().call(request)
        });
        let http = hyper::server::conn::http1::Builder::new();
        let _ = http.serve_connection(TokioIo::new(far), service).with_upgrades().await;
    });
    let (socket, _) = tokio_tungstenite::client_async(format!("ws://stand-in{path}"), near).await.ok()?;
    Some(socket)
}

/// Passes messages on until one side is done or a fault ends it. Dropping both sockets ends the connection and, behind it,
/// the login.
async fn relay<S>(front: &Arc<Front>, mut outer: WebSocketStream<S>, mut inner: WebSocketStream<DuplexStream>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // What happens to the answer of a call, by the id of the call.
    let mut planned: HashMap<String, What> = HashMap::new();
    let mut last: Option<String> = None;
    let (late, mut due) = mpsc::unbounded_channel::<Message>();
    loop {
        let done = tokio::select! {
            Some(message) = due.recv() => outer.send(message).await.is_err(),
            message = outer.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let (id, method) = call(&text);
                    match front.strike(&method) {
                        None => inner.send(Message::Text(text)).await.is_err(),
                        Some(what) => {
                            tracing::debug!(method, %what, "fault");
                            ask(&what, id, text.to_string(), last.as_deref(), &mut planned, &mut outer, &mut inner).await
                        }
                    }
                }
                Some(Ok(Message::Close(frame))) => {
                    let _ = inner.close(frame).await;
                    let _ = outer.flush().await;
                    true
                }
                Some(Ok(other)) => inner.send(other).await.is_err(),
                Some(Err(_)) | None => true,
            },
            message = inner.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let (id, _) = call(&text);
                    match planned.remove(&id) {
                        None if id == OURS => false,
                        None => {
                            last = Some(text.to_string());
                            outer.send(Message::Text(text)).await.is_err()
                        }
                        Some(what) => answer(&what, text.to_string(), &late, &mut outer).await,
                    }
                }
                Some(Ok(Message::Close(frame))) => {
                    let _ = outer.close(frame).await;
                    true
                }
                Some(Ok(other)) => outer.send(other).await.is_err(),
                Some(Err(_)) | None => true,
            },
        };
        if done {
            return;
        }
    }
}

/// Id and method of a message, as texts.
fn call(text: &str) -> (String, String) {
    let message: Json = serde_json::from_str(text).unwrap_or_default();
    let method = message["method"].as_str().unwrap_or_default().to_owned();
    (message["id"].to_string(), method)
}

/// A fault of a call, where the call comes in. True ends the connection.
async fn ask<S>(
    what: &What,
    id: String,
    text: String,
    last: Option<&str>,
    planned: &mut HashMap<String, What>,
    outer: &mut WebSocketStream<S>,
    inner: &mut WebSocketStream<DuplexStream>,
) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let error = |number, name: &str, reason: &str| refusal::rpc_error(&id, number, name, reason);
    let instead = match what {
        What::Unheard | What::Gone(_) | What::NoHandshake => return true,
        What::Closed(code) => {
            let frame = CloseFrame { code: (*code).into(), reason: "".into() };
            let _ = outer.close(Some(frame)).await;
            return true;
        }
        What::Silent => return false,
        What::Garbage => Message::text("\u{1}\u{7f}{<garbage"),
        What::Nothing => Message::text(""),
        What::LoginPage { .. } => Message::text("<html><head><title>Sign in</title></head><body></body></html>"),
        What::Status(_) => Message::text(error(14, "EFAULT", "not now")),
        What::Throttled(_) => Message::text(error(16, "EBUSY", "Rate Limit Exceeded")),
        What::Denied => Message::text(error(13, "EACCES", "Not authorized")),
        What::Repeated if last.is_some() => Message::text(last.unwrap_or_default()),
        What::LoginLost => {
            let logout = format!(r#"{{"jsonrpc":"2.0","id":{OURS},"method":"auth.logout","params":[]}}"#);
            if inner.send(Message::text(logout)).await.is_err() {
                return true;
            }
            // Its end is known before the call is made.
            loop {
                match inner.next().await {
                    Some(Ok(Message::Text(answer))) if call(&answer).0 == OURS => break,
                    Some(Ok(other)) => {
                        if outer.send(other).await.is_err() {
                            return true;
                        }
                    }
                    Some(Err(_)) | None => return true,
                }
            }
            return inner.send(Message::text(text)).await.is_err();
        }
        What::Repeated => return inner.send(Message::text(text)).await.is_err(),
        What::Unanswered | What::Cut(_) | What::Truncated(_) | What::Late(_) | What::OtherType => {
            planned.insert(id, what.clone());
            return inner.send(Message::text(text)).await.is_err();
        }
    };
    outer.send(instead).await.is_err()
}

/// A fault of a call, where its answer comes back. True ends the connection.
async fn answer<S>(
    what: &What,
    text: String,
    late: &mpsc::UnboundedSender<Message>,
    outer: &mut WebSocketStream<S>,
) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match what {
        What::Cut(part) => {
            // The head of an unmasked text frame that announces all of it, and only a part.
            let mut frame = vec![0x81, 127];
            frame.extend((text.len() as u64).to_be_bytes());
            frame.extend(&text.as_bytes()[..portion(text.as_bytes(), *part).min(text.len().saturating_sub(1))]);
            let socket = outer.get_mut();
            let _ = socket.write_all(&frame).await;
            let _ = socket.flush().await;
            true
        }
        What::Truncated(part) => {
            let mut end = portion(text.as_bytes(), *part);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            outer.send(Message::text(&text[..end])).await.is_err()
        }
        What::Late(by) => {
            let (late, by) = (late.clone(), *by);
            tokio::spawn(async move {
                tokio::time::sleep(by).await;
                let _ = late.send(Message::text(text));
            });
            false
        }
        What::OtherType => outer.send(Message::binary(text)).await.is_err(),
        _ => true,
    }
}
