//! WebSockets: handshakes that fail at first, and frames that are no answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use fedaudit_core::ErrorKind;
use fedaudit_testkit::{Authority, ServerHandle, serve};
use fedaudit_transport::{Origin, TlsConfig, WebSocket};
use tokio::io::AsyncWriteExt as _;

use crate::server::{soon, within};

/// A product that refuses so many handshakes with this status, and then sends this message to everybody.
async fn product(refusals: usize, status: u16, message: Message) -> (ServerHandle, Origin, Arc<AtomicUsize>) {
    let tried = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&tried);
    let handler = async move |upgrade: WebSocketUpgrade| -> Response {
        if counter.fetch_add(1, Ordering::Relaxed) < refusals {
            let status = StatusCode::from_u16(status).unwrap();
            return (status, [("retry-after", "1"), ("location", "https://127.0.0.2/")], "no").into_response();
        }
        upgrade.on_upgrade(|mut socket| async move {
            let _ = socket.send(message).await;
            while let Some(Ok(_)) = socket.recv().await {}
        })
    };
    let router = Router::new().route("/api", get(handler));
    let server = serve(router, &Authority::new().unwrap()).await.unwrap();
    let origin = Origin::parse(&server.origin).unwrap();
    (server, origin, tried)
}

#[tokio::test]
async fn a_handshake_is_tried_again() {
    for status in [429, 503] {
        let (_server, origin, tried) = product(1, status, Message::text("hello")).await;
        let cx = soon();
        let begun = Instant::now();
        let mut socket = WebSocket::connect(&cx, &origin, "/api", &TlsConfig::Insecure).await.unwrap();
        assert_eq!(socket.next(&cx).await.unwrap(), "hello");
        assert!(begun.elapsed() >= Duration::from_secs(1), "Retry-After was not waited for");
        assert_eq!(tried.load(Ordering::Relaxed), 2);
        let meter = cx.meter.read();
        assert_eq!((meter.retries, meter.throttled), (1, u64::from(status == 429)));
    }
    for (status, kind) in [
        (401, ErrorKind::Unauthenticated),
        (403, ErrorKind::Denied),
        (404, ErrorKind::NotFound),
        (302, ErrorKind::Malformed),
        (200, ErrorKind::Malformed),
    ] {
        let (_server, origin, tried) = product(1, status, Message::text("hello")).await;
        let error = WebSocket::connect(&soon(), &origin, "/api", &TlsConfig::Insecure).await.unwrap_err();
        assert_eq!((error.kind(), tried.load(Ordering::Relaxed)), (kind, 1), "{status}: {error:?}");
    }
    let (_server, origin, _) = product(usize::MAX, 503, Message::text("hello")).await;
    let begun = Instant::now();
    let error = WebSocket::connect(&within(Duration::from_secs(4)), &origin, "/api", &TlsConfig::Insecure).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn frames_that_are_no_answers_are_errors() {
    let closed = CloseFrame { code: 1011, reason: "go away".into() };
    for (message, kind) in [
        (Message::Binary(Bytes::from_static(b"\x00")), ErrorKind::Malformed),
        (Message::Close(Some(closed)), ErrorKind::Unavailable),
        (Message::Close(None), ErrorKind::Unavailable),
    ] {
        let (_server, origin, _) = product(0, 200, message).await;
        let mut socket = WebSocket::connect(&soon(), &origin, "/api", &TlsConfig::Insecure).await.unwrap();
        assert_eq!(socket.next(&soon()).await.unwrap_err().kind(), kind);
    }
    let (_server, origin, _) = product(0, 200, Message::Ping(Bytes::new())).await;
    let mut socket = WebSocket::connect(&soon(), &origin, "/api", &TlsConfig::Insecure).await.unwrap();
    let error = socket.next(&within(Duration::from_millis(500))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "a ping is no answer");
}

#[tokio::test]
async fn a_frame_beyond_the_bound_is_refused_by_its_head() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = Origin::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let product = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        // A text frame that announces a gibibyte, of which nothing comes.
        let mut head = vec![0x81, 127];
        head.extend((1_u64 << 30).to_be_bytes());
        socket.get_mut().write_all(&head).await.unwrap();
        std::future::pending::<()>().await;
    });
    let mut socket = WebSocket::connect(&soon(), &origin, "/api", &TlsConfig::default()).await.unwrap();
    let begun = Instant::now();
    let error = socket.next(&soon()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed, "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(5) && error.to_string().contains("/api"), "{error}");
    product.abort();
}
